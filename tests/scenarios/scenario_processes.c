/* SPDX-License-Identifier: MIT */
/*
 * scenario_processes.c - exec, children, closed descriptors, zombies
 */
#include "scenario.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

extern char **environ;

/* ---- exec, children, closed descriptors ---- */

/* Becomes another program, which waits for the end of its input. */
static void exec_body(struct lshm_region *region, int fd, void *arg)
{
	hold_things(region);
	ut_say(fd, 0);
	dup2(fd, STDIN_FILENO);
	execl("/bin/cat", "cat", NULL);
	ut_fail(UT_AT("execl(/bin/cat)"), "%m");
}

UT_TEST(exec_is_death, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	siginfo_t info = {0};
	struct ut_child child;
	uint64_t taken;

	make_shared(region);
	child = ut_spawn(region, 0, exec_body, NULL);
	ut_hear(child.fd);
	taken = inherit_lock(region);
	UT_EQ(0,
	    waitid(P_PID, (id_t)child.pid, &info, WEXITED | WNOHANG | WNOWAIT));
	UT_EQ(0, info.si_pid); /* the process itself lives */
	lshm_region_reap(region);
	TELL("an exec counts as a death within 3000 ms",
	    "its lock inherited after %llu ms, %llu deaths, process alive",
	    (unsigned long long)taken, (unsigned long long)deaths(region));
	UT_EQ(1, deaths(region));
	ut_kill(&child);
	end_balanced(region);
}

/* A child that outlives the participant; it ends when the socket does. */
static void fork_child(int fd)
{
	char byte;
	pid_t pid = fork();

	if (pid == 0) {
		ut_say(fd, (uint64_t)getpid());
		_exit(read(fd, &byte, 1) != 0);
	}
}

/* This one has its parent's memory, and its parent sleeps meanwhile. */
static void vfork_child(int fd)
{
	static char byte;
	static uint64_t pid;

	if (vfork() == 0) {
		pid = (uint64_t)getpid();
		if (write(fd, &pid, sizeof(pid)) != sizeof(pid))
			_exit(1);
		_exit(read(fd, &byte, 1) != 0);
	}
}

static void spawn_child(int fd)
{
	char *const arguments[] = {(char[]){"cat"}, NULL};
	posix_spawn_file_actions_t actions;
	pid_t pid;

	UT_EQ(0, posix_spawn_file_actions_init(&actions));
	UT_EQ(0, posix_spawn_file_actions_adddup2(&actions, fd, STDIN_FILENO));
	UT_EQ(0,
	    posix_spawn(&pid, "/bin/cat", &actions, NULL, arguments, environ));
	posix_spawn_file_actions_destroy(&actions);
	ut_say(fd, (uint64_t)pid);
}

static const struct parent {
	const char *name;
	void (*make)(int fd);
} parents[] = {
    {"fork", fork_child},
    {"vfork", vfork_child},
    {"posix_spawn", spawn_child},
};

static void parent_body(struct lshm_region *region, int fd, void *arg)
{
	const struct parent *parent = arg;

	hold_things(region);
	parent->make(fd);
	pause();
}

UT_TEST(child_outlives_parent, UT_EACH)
{
	uint64_t taken[UT_COUNT(parents)];

	for (size_t i = 0; i < UT_COUNT(parents); i++) {
		struct lshm_region *region = ut_create(UT_SMALL);
		struct ut_child child;
		pid_t grandchild;

		make_shared(region);
		child = ut_spawn(region, 0, parent_body, (void *)&parents[i]);
		grandchild = (pid_t)ut_hear(child.fd);
		UT_EQ(2, count_state(region, LSHM_PARTICIPANT_ALIVE));
		ut_kill_unreaped(&child);
		taken[i] = inherit_lock(region);
		UT_EQ(0, kill(grandchild, 0));
		lshm_region_reap(region);
		UT_EQ(1, deaths(region));
		/* It lives until the socket is closed. */
		ut_kill(&child);
		ut_wait_gone(grandchild);
		end_balanced(region);
	}
	TELL("a living child does not keep its dead parent alive",
	    "lock inherited after %llu ms (fork), %llu ms (vfork), %llu ms "
	    "(posix_spawn)",
	    (unsigned long long)taken[0], (unsigned long long)taken[1],
	    (unsigned long long)taken[2]);
}

static void closer_body(struct lshm_region *region, int fd, void *arg)
{
	struct lshm_consumer *in = consumer(region, "there", NULL);
	struct lshm_producer *out = producer(region, "back", NULL);
	int files[32];
	uint64_t number;
	size_t size;
	void *block;
	int ret;

	UT_EQ(STDIN_FILENO, dup2(fd, STDIN_FILENO));
	UT_EQ(0, close_range(3, ~0u, 0));
	ut_say(STDIN_FILENO, 0);
	while ((ret = lshm_consumer_receive(
		    in, &number, sizeof(number), &size, UT_SOON)) == 0) {
		UT_SOME(block = lshm_alloc(region, 1000));
		crash_fill(block, 1000, number);
		UT_EQ(number, CRASH_WHOLE(block, 1000));
		UT_OK(lshm_free(region, block));
		if (number == 20) /* others have got the descriptors now */
			for (size_t i = 0; i < UT_COUNT(files); i++)
				files[i] = open("/dev/zero", O_RDWR);
		UT_OK(send_number(out, number, UT_SOON));
	}
	UT_EQ(-ENODATA, ret);
	UT_EQ(0, lshm_region_reap(region)); /* it cannot tell who is dead */
	for (size_t i = 0; i < UT_COUNT(files); i++)
		UT_EQ(0, close(files[i])); /* they are still ours */
	lshm_consumer_close(in);
	lshm_producer_close(out);
}

UT_TEST(descriptors_closed, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_producer *there = producer(region, "there", &broadcast);
	struct lshm_consumer *back = consumer(region, "back", &broadcast);
	struct ut_child child = ut_spawn(region, 0, closer_body, NULL);

	ut_hear(child.fd);
	for (uint64_t n = 0; n < 40; n++) {
		UT_EQ(2, count_state(region, LSHM_PARTICIPANT_ALIVE));
		UT_EQ(0, lshm_region_reap(region));
		UT_OK(send_number(there, n, UT_SOON));
		UT_EQ(n, receive_number(back, UT_SOON));
	}
	UT_OK(lshm_producer_end(there));
	ut_join(&child);
	TELL("after close_range(3, ~0u) it is alive, allocates and talks",
	    "40 messages there and back, %llu deaths",
	    (unsigned long long)deaths(region));
	UT_EQ(0, deaths(region));
	lshm_producer_close(there);
	lshm_consumer_close(back);
	UT_OK(lshm_channel_remove(region, "there"));
	UT_OK(lshm_channel_remove(region, "back"));
	end_balanced(region);
}

/* ---- a zombie is dead ---- */

static void exit_body(struct lshm_region *region, int fd, void *arg)
{
	hold_things(region);
	_exit(EXIT_SUCCESS); /* without a word */
}

UT_TEST(zombie, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct ut_child killed, exited;
	siginfo_t info;
	uint64_t taken[2];

	make_shared(region);
	killed = ut_spawn(region, 0, hold_body, NULL);
	ut_hear(killed.fd);
	ut_kill_unreaped(&killed);
	UT_EQ(1, count_state(region, LSHM_PARTICIPANT_DEAD));
	taken[0] = inherit_lock(region);
	exited = ut_spawn(region, 0, exit_body, NULL);
	UT_EQ(0, waitid(P_PID, (id_t)exited.pid, &info, WEXITED | WNOWAIT));
	taken[1] = inherit_lock(region);
	lshm_region_reap(region);
	TELL("a zombie that nobody waits for counts as dead",
	    "locks inherited after %llu and %llu ms, %llu deaths",
	    (unsigned long long)taken[0], (unsigned long long)taken[1],
	    (unsigned long long)deaths(region));
	UT_EQ(2, deaths(region));
	UT_EQ(1, count_state(region, LSHM_PARTICIPANT_ALIVE));
	ut_kill(&killed);
	ut_join(&exited);
	end_balanced(region);
}
