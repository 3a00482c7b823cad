/* SPDX-License-Identifier: MIT */
/*
 * scenario_namespaces.c - participants in several pid namespaces
 */
#include "scenario.h"

#include <sched.h>
#include <sys/socket.h>

enum command { COUNT, LOCK, UNLOCK, PARTNER, STRANGER, KILL };

/* Let the next process that is forked in this namespace have this pid. */
static bool next_pid(pid_t pid)
{
	FILE *file = fopen("/proc/sys/kernel/ns_last_pid", "we");
	bool done;

	if (!file)
		return false;
	done = fprintf(file, "%d", (int)pid - 1) > 0;
	return fclose(file) == 0 && done;
}

static void stranger_body(struct lshm_region *region, int fd, void *arg)
{
	ut_say(fd, 0);
	ut_hear(fd);
}

/* Pid 1 of the other namespace: does what it is told. */
static void inside_body(struct lshm_region *region, int fd, void *arg)
{
	struct lshm_mutex *mutex = &find(region)->mutex;
	int talk = *(int *)arg;
	struct ut_child child;

	UT_EQ(1, getpid());
	for (;;) {
		uint64_t command = ut_hear(talk), pid;

		switch (command) {
		case COUNT:
			ut_say(
			    talk, count_state(region, LSHM_PARTICIPANT_ALIVE));
			break;
		case LOCK:
			ut_say(talk,
			    (uint64_t)lshm_mutex_lock(region, mutex, GO_ON));
			break;
		case UNLOCK:
			ut_say(
			    talk, (uint64_t)lshm_mutex_unlock(region, mutex));
			break;
		case PARTNER:
		case STRANGER:
			pid = ut_hear(talk);
			if (!next_pid((pid_t)pid)) {
				ut_say(talk, 0);
				break;
			}
			child = command == PARTNER
				    ? ut_spawn(region, 0, hold_body, NULL)
				    : ut_spawn(NULL, 0, stranger_body, NULL);
			ut_hear(child.fd);
			ut_say(talk, (uint64_t)child.pid);
			break;
		case KILL:
			ut_kill(&child);
			ut_say(talk, 0);
			break;
		}
	}
}

/* In the first namespace, parent of the other one's pid 1. */
static void outside_body(struct lshm_region *region, int fd, void *arg)
{
	struct ut_child inside;

	if (unshare(CLONE_NEWPID) < 0) {
		ut_say(fd, 0);
		return;
	}
	ut_say(fd, 1);
	inside = ut_spawn(region, 0, inside_body, arg);
	ut_hear(fd);
	ut_kill(&inside);
	ut_say(fd, 0);
	ut_hear(fd);
	lshm_region_close(region);
	/* The namespace is dead: nothing that forks or clones works here. */
	_exit(EXIT_SUCCESS);
}

static uint64_t ask(int talk, enum command command)
{
	ut_say(talk, command);
	return ut_hear(talk);
}

static void spawn_inside(int talk, enum command command, pid_t pid)
{
	uint64_t seen;

	ut_say(talk, command);
	ut_say(talk, (uint64_t)pid);
	seen = ut_hear(talk);
	if (!seen)
		ut_skip("pids cannot be chosen here (ns_last_pid)");
	UT_EQ(pid, seen);
}

static void count_pid(
    struct lshm_region *region, pid_t pid, int here, int there)
{
	struct lshm_participant_info info;

	for (uint32_t i = 0; lshm_region_participant(region, i, &info) == 0;
	     i++)
		if (info.state != LSHM_PARTICIPANT_FREE &&
		    info.pid == (uint32_t)pid)
			--*(info.same_pid_namespace ? &here : &there);
	UT_EQ(0, here);
	UT_EQ(0, there);
}

UT_TEST(pid_namespaces, UT_NAMED)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct ut_child outside, here;
	int talk[2];

	make_shared(region);
	UT_EQ(0, socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, talk));
	outside = ut_spawn(region, 0, outside_body, &talk[1]);
	if (!ut_hear(outside.fd))
		ut_skip("no pid namespace can be made (not root?)");
	close(talk[1]);
	/* Each side sees the other alive. */
	UT_EQ(3, ask(talk[0], COUNT));
	UT_EQ(3, count_state(region, LSHM_PARTICIPANT_ALIVE));
	UT_EQ(0, ask(talk[0], LOCK));
	UT_ERR(
	    -EAGAIN, lshm_mutex_lock(region, &find(region)->mutex, LSHM_NOW));
	UT_EQ(0, ask(talk[0], UNLOCK));
	/* One in there has my pid, and dies: I do not, and it is seen. */
	spawn_inside(talk[0], PARTNER, getpid());
	count_pid(region, getpid(), 1, 1);
	UT_EQ(4, ask(talk[0], COUNT));
	UT_EQ(4, count_state(region, LSHM_PARTICIPANT_ALIVE));
	ask(talk[0], KILL);
	inherit_lock(region);
	UT_EQ(3, ask(talk[0], COUNT));
	UT_EQ(3, count_state(region, LSHM_PARTICIPANT_ALIVE));
	count_pid(region, getpid(), 1, 0);
	/* One out here dies whose pid is in use in there. */
	here = ut_spawn(region, 0, hold_body, NULL);
	ut_hear(here.fd);
	spawn_inside(talk[0], STRANGER, here.pid);
	UT_EQ(4, ask(talk[0], COUNT));
	ut_kill(&here);
	UT_EQ(LSHM_OWNER_DIED, ask(talk[0], LOCK));
	UT_EQ(3, ask(talk[0], COUNT));
	/* Pid 1 in there dies, with the lock; pid 1 out here lives. */
	ut_say(outside.fd, 0);
	ut_hear(outside.fd);
	inherit_lock(region);
	UT_EQ(2, count_state(region, LSHM_PARTICIPANT_ALIVE));
	ut_say(outside.fd, 0);
	ut_join(&outside);
	close(talk[0]);
	TELL("both sides see each other live and die; equal pids do not "
	     "confuse",
	    "%llu deaths, each noticed by the other side",
	    (unsigned long long)deaths(region));
	UT_EQ(3, deaths(region));
	end_balanced(region);
}
