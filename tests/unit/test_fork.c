/* SPDX-License-Identifier: MIT */
/*
 * test_fork.c - what fork, vfork and exec do to participants; see region.h
 */
#include "participants.h"

#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>

/* Every call on an inherited handle says so. */
static void inherited_body(struct lshm_region *none, int fd, void *arg)
{
	struct lshm_region *region = arg;
	struct lshm_participant_info participant;
	struct lshm_endpoint_info endpoint;
	struct lshm_channel_info channel;
	struct lshm_object_info object;
	struct lshm_region_info info;
	struct lshm_heap_info heap;
	struct lshm_channel_opts opts = LSHM_CHANNEL_OPTS();
	struct lshm_producer *producer;
	struct lshm_consumer *consumer;
	struct lshm_mutex mutex = {0};
	lshm_off field = 0;
	uint64_t cursor = 0;
	size_t length;
	void *block;

	UT_ERR(-ECHILD, lshm_region_send(region, fd, 0), "fork");
	UT_ERR(-ECHILD, lshm_region_grow(region, 2 * MIB), "fork");
	UT_PTR(NULL, lshm_region_base(region));
	UT_ERR(-ECHILD, lshm_region_stat(region, &info), "fork");
	UT_ERR(-ECHILD, lshm_region_participant(region, 0, &participant));
	UT_TRUE(lshm_region_death(region, 0, &participant) < 0);
	UT_ERR(-ECHILD, lshm_region_reap(region), "fork");
	UT_PTR(NULL, lshm_at(region, 4096, 1));
	UT_PTR(NULL, lshm_at_array(region, 4096, 1, 1));
	UT_PTR(NULL, lshm_at_string(region, 4096, &length));
	UT_EQ(0, lshm_offset(region, &mutex));
	UT_NULL(lshm_alloc(region, 1), "fork");
	UT_NULL(lshm_alloc_aligned(region, 64, 1), "fork");
	UT_NULL(lshm_strdup(region, "a"), "fork");
	UT_ERR(-ECHILD, lshm_free(region, &mutex), "fork");
	UT_EQ(0, lshm_usable_size(region, &mutex));
	UT_ERR(-ECHILD, lshm_replace(region, &mutex, &field, NULL, &block));
	UT_ERR(-ECHILD, lshm_heap_stat(region, &heap), "fork");
	UT_ERR(-ECHILD, lshm_mutex_lock(region, &mutex, LSHM_NOW), "fork");
	UT_ERR(-ECHILD, lshm_mutex_unlock(region, &mutex), "fork");
	UT_ERR(
	    -ECHILD, lshm_object_create(region, "o", "t", 1, NULL, NULL, NULL));
	UT_ERR(-ECHILD, lshm_object_open(region, "o", "t", 0, &block));
	UT_ERR(-ECHILD, lshm_object_remove(region, "o", "t"), "fork");
	UT_ERR(-ECHILD, lshm_object_next(region, &cursor, &object), "fork");
	UT_ERR(-ECHILD, lshm_producer_open(&producer, region, "c", &opts));
	UT_ERR(-ECHILD, lshm_consumer_open(&consumer, region, "c", &opts));
	UT_ERR(-ECHILD, lshm_channel_stat(region, "c", &channel), "fork");
	UT_ERR(-ECHILD, lshm_channel_endpoint(region, "c", 0, &endpoint));
	UT_ERR(-ECHILD, lshm_channel_remove(region, "c"), "fork");
	lshm_region_close(region);
}

UT_TEST(fork_child_is_refused, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct ut_child child = ut_spawn(NULL, 0, inherited_body, region);

	ut_join(&child);
	/* and it has done no harm to its parent */
	UT_EQ(LSHM_PARTICIPANT_ALIVE, find(region, getpid()).state);
	UT_SOME(lshm_alloc(region, 1));
	lshm_region_close(region);
}

UT_TEST(fork_child_is_refused_observers_too, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_region *observer = ut_reopen(region, LSHM_RDONLY);
	struct ut_child child = ut_spawn(NULL, 0, inherited_body, observer);

	ut_join(&child);
	UT_EQ(1, ut_info(observer).participants);
	lshm_region_close(observer);
	lshm_region_close(region);
}

static void touch_body(struct lshm_region *none, int fd, void *base)
{
	signal(SIGSEGV, SIG_DFL);
	UT_TRUE(*(volatile char *)base || true);
	UT_TRUE(!"the mapping was inherited");
}

UT_TEST(fork_child_has_no_mapping, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct ut_child child =
	    ut_spawn(NULL, 0, touch_body, lshm_region_base(region));

	ut_died_of(&child, SIGSEGV);
	lshm_region_close(region);
}

struct ends {
	struct lshm_producer *out;
	struct lshm_consumer *in;
};

static void inherited_ends_body(struct lshm_region *none, int fd, void *arg)
{
	struct ends *ends = arg;
	struct lshm_message message = {0};
	char buffer[8];
	size_t size;
	void *loan;

	UT_ERR(-ECHILD, lshm_producer_loan(ends->out, 1, LSHM_NOW, &loan));
	UT_ERR(-ECHILD, lshm_producer_publish(ends->out, buffer, LSHM_NOW));
	UT_ERR(-ECHILD, lshm_producer_discard(ends->out, buffer), "fork");
	UT_ERR(-ECHILD, lshm_producer_send(ends->out, "x", 1, LSHM_NOW));
	UT_ERR(-ECHILD, lshm_producer_end(ends->out), "fork");
	UT_ERR(-ECHILD, lshm_producer_wait(ends->out, 1, LSHM_NOW), "fork");
	UT_ERR(-ECHILD, lshm_consumer_take(ends->in, &message, LSHM_NOW));
	UT_ERR(-ECHILD, lshm_consumer_release(ends->in, &message), "fork");
	UT_ERR(-ECHILD,
	    lshm_consumer_receive(ends->in, buffer, 8, &size, LSHM_NOW));
	UT_ERR(-ECHILD, lshm_consumer_wait(ends->in, 1, LSHM_NOW), "fork");
	lshm_producer_close(ends->out);
	lshm_consumer_close(ends->in);
}

UT_TEST(fork_child_is_refused_channels, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_channel_opts opts = LSHM_CHANNEL_OPTS();
	struct lshm_channel_info info;
	struct ends ends;
	struct ut_child child;

	UT_OK(lshm_producer_open(&ends.out, region, "c", &opts));
	UT_OK(lshm_consumer_open(&ends.in, region, "c", NULL));
	child = ut_spawn(NULL, 0, inherited_ends_body, &ends);
	ut_join(&child);
	UT_OK(lshm_channel_stat(region, "c", &info));
	UT_EQ(1, info.producers);
	UT_EQ(1, info.consumers);
	UT_OK(lshm_producer_send(ends.out, "x", 1, LSHM_NOW));
	lshm_producer_close(ends.out);
	lshm_consumer_close(ends.in);
	lshm_region_close(region);
}

/* Attaches, then leaves a fork child behind that outlives it. */
static void forks_body(struct lshm_region *region, int fd, void *arg)
{
	if (fork() == 0) {
		struct lshm_region *own;

		if (ut_backend->named) {
			UT_OK(lshm_region_open(&own, ut_name, 0, NULL));
			ut_say(fd, (uint64_t)getpid());
			ut_hear(fd);
			lshm_region_close(own);
		} else {
			ut_say(fd, (uint64_t)getpid());
			ut_hear(fd);
		}
		exit(EXIT_SUCCESS);
	}
	pause();
}

/* A fork child does not keep its dead parent alive. */
UT_TEST(parent_dies_fork_child_lives, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct ut_child child = ut_spawn(region, 0, forks_body, NULL);
	int fd = dup(child.fd);
	pid_t grandchild = (pid_t)ut_hear(child.fd);

	ut_kill(&child);
	UT_EQ(LSHM_PARTICIPANT_DEAD, find(region, child.pid).state);
	UT_EQ(1, lshm_region_reap(region));
	UT_EQ(0, kill(grandchild, 0));
	if (ut_backend->named) /* it is a participant of its own */
		UT_EQ(LSHM_PARTICIPANT_ALIVE, find(region, grandchild).state);
	ut_say(fd, 0);
	ut_wait_gone(grandchild);
	close(fd);
	UT_EQ(0, lshm_region_reap(region));
	lshm_region_close(region);
}

extern char **environ;

static void cat(pid_t *pid, int fd, bool in_place)
{
	char *argv[] = {"cat", NULL};

	if (in_place) {
		dup2(fd, STDIN_FILENO);
		dup2(fd, STDOUT_FILENO);
		execvp(argv[0], argv);
	} else {
		posix_spawn_file_actions_t actions;

		posix_spawn_file_actions_init(&actions);
		posix_spawn_file_actions_adddup2(&actions, fd, STDIN_FILENO);
		posix_spawn_file_actions_adddup2(&actions, fd, STDOUT_FILENO);
		UT_EQ(0,
		    posix_spawnp(pid, argv[0], &actions, NULL, argv, environ));
		posix_spawn_file_actions_destroy(&actions);
	}
}

static void execs_body(struct lshm_region *region, int fd, void *arg)
{
	pid_t pid;

	cat(&pid, fd, true);
	_exit(EXIT_FAILURE);
}

/* The process lives on as another program: the participant is dead. */
UT_TEST(exec_is_death, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct ut_child child = ut_spawn(region, 0, execs_body, NULL);

	ut_say(child.fd, 42);
	UT_EQ(42, ut_hear(child.fd)); /* cat answers: it has happened */
	UT_EQ(LSHM_PARTICIPANT_DEAD, find(region, child.pid).state);
	UT_EQ(1, lshm_region_reap(region));
	shutdown(child.fd, SHUT_WR);
	ut_join(&child);
	lshm_region_close(region);
}

static void spawns_body(struct lshm_region *region, int fd, void *arg)
{
	pid_t pid;

	cat(&pid, fd, false);
	ut_say(fd, (uint64_t)pid);
	pause();
}

/* posix_spawn(3) is a vfork and an exec. */
UT_TEST(parent_dies_spawned_program_lives, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct ut_child child = ut_spawn(region, 0, spawns_body, NULL);
	int fd = dup(child.fd);
	pid_t program = (pid_t)ut_hear(fd);

	ut_say(fd, 42);
	UT_EQ(42, ut_hear(fd));
	UT_EQ(LSHM_PARTICIPANT_ALIVE, find(region, child.pid).state);
	UT_EQ(0, lshm_region_reap(region));
	ut_kill(&child);
	UT_EQ(1, lshm_region_reap(region));
	ut_say(fd, 43);
	UT_EQ(43, ut_hear(fd)); /* the program lives */
	shutdown(fd, SHUT_WR);
	ut_wait_gone(program);
	close(fd);
	lshm_region_close(region);
}
