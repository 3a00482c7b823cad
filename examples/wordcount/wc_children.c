/* SPDX-License-Identifier: MIT */
/* wc_children.c - the processes that the launcher starts; see the header */
#include "wc_children.h"

#include <bsd/err.h>
#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHILDREN_MAX 128

static struct child children[CHILDREN_MAX];
static size_t n_children;
static sigset_t signals;

static const char *const kind_names[] = {
    "reader", "worker", "reducer", "command"};

void children_begin(void)
{
	static const int ours[] = {SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM};

	sigemptyset(&signals);
	for (size_t i = 0; i < sizeof(ours) / sizeof(*ours); i++) {
		/* a shell starts its background jobs with some ignored */
		signal(ours[i], SIG_DFL);
		sigaddset(&signals, ours[i]);
	}
	signal(SIGPIPE, SIG_IGN);
	sigprocmask(SIG_BLOCK, &signals, NULL);
}

const struct child *child_start(
    enum child_kind kind, uint32_t number, char *const *argv, int socket)
{
	short flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	struct child *child;
	sigset_t none, all;
	pid_t pid;
	int ret;

	if (n_children == CHILDREN_MAX)
		errx(1, "too many children");
	if (kind == CHILD_SHELL)
		flags |= POSIX_SPAWN_SETPGROUP;
	sigemptyset(&none);
	sigfillset(&all);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setsigmask(&attributes, &none);
	posix_spawnattr_setsigdefault(&attributes, &all);
	posix_spawnattr_setflags(&attributes, flags);
	posix_spawn_file_actions_init(&actions);
	if (socket >= 0)
		posix_spawn_file_actions_adddup2(&actions, socket, 3);
	fflush(stdout);
	ret = posix_spawn(&pid, argv[0], &actions, &attributes, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attributes);
	if (ret)
		errc(1, ret, "%s", argv[0]);
	child = &children[n_children++];
	*child = (struct child){.kind = kind, .number = number, .pid = pid};
	return child;
}

/* Write down what waitpid(2) told. */
static void update(struct child *child, int status)
{
	char number[16] = "";

	if (WIFSTOPPED(status)) {
		child->state = CHILD_STOPPED;
		return;
	}
	child->state = CHILD_ENDED;
	child->well = WIFEXITED(status) && WEXITSTATUS(status) == 0;
	if (child->kind == CHILD_WORKER)
		snprintf(number, sizeof(number), " %u", child->number);
	if (WIFSIGNALED(status))
		warnx("%s%s, pid %d, was killed by signal %d (%s)",
		    kind_names[child->kind], number, child->pid,
		    WTERMSIG(status), strsignal(WTERMSIG(status)));
	else if (!child->well)
		warnx("%s%s, pid %d, ended with exit status %d",
		    kind_names[child->kind], number, child->pid,
		    WEXITSTATUS(status));
}

/* Return: a child that has ended or stopped since it was last asked for. */
static struct child *poll_child(void)
{
	pid_t pid;
	int status;

	while ((pid = waitpid(-1, &status, WNOHANG | WUNTRACED)) > 0)
		for (size_t i = 0; i < n_children; i++)
			if (children[i].pid == pid &&
			    children[i].state != CHILD_ENDED) {
				update(&children[i], status);
				return &children[i];
			}
	return NULL;
}

const struct child *children_next(uint32_t ms)
{
	struct timespec time = {ms / 1000, ms % 1000 * 1000000L};
	struct child *child;
	int got;

	while (!(child = poll_child())) {
		got = sigtimedwait(&signals, NULL, &time);
		if (got < 0)
			break;
		if (got != SIGCHLD) {
			warnx("ended by signal %d (%s)", got, strsignal(got));
			exit(128 + got);
		}
	}
	return child;
}

bool children_running(void)
{
	for (size_t i = 0; i < n_children; i++)
		if (children[i].state != CHILD_ENDED)
			return true;
	return false;
}

unsigned int children_failed(enum child_kind kind)
{
	unsigned int n = 0;

	for (size_t i = 0; i < n_children; i++)
		n += children[i].kind == kind &&
		     children[i].state == CHILD_ENDED && !children[i].well;
	return n;
}

const struct child *children_find(enum child_kind kind, uint32_t number)
{
	for (size_t i = 0; i < n_children; i++)
		if (children[i].kind == kind && children[i].number == number)
			return &children[i];
	return NULL;
}

void children_signal(int signal)
{
	for (size_t i = 0; i < n_children; i++) {
		const struct child *child = &children[i];

		if (child->state != CHILD_ENDED)
			kill(child->kind == CHILD_SHELL ? -child->pid
							: child->pid,
			    signal);
	}
}

void children_kill(void)
{
	children_signal(SIGKILL);
	while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
		;
}

bool children_shell(char *const *argv)
{
	const struct child *shell = child_start(CHILD_SHELL, 0, argv, -1);

	while (shell->state != CHILD_ENDED)
		children_next(1000);
	return shell->well;
}
