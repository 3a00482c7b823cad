/* SPDX-License-Identifier: MIT */
/*
 * test_participant.c - who takes part, who is dead, who cannot be; region.h
 *
 * What fork(2) and exec(3) do to participants is in test_fork.c.
 */
#include "participants.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>

/* Says that it is there, and stays until told to go. */
static void stay_body(struct lshm_region *region, int fd, void *arg)
{
	ut_say(fd, 0);
	ut_hear(fd);
}

static struct ut_child start(struct lshm_region *region, ut_body *body)
{
	struct ut_child child = ut_spawn(region, 0, body, NULL);

	ut_hear(child.fd);
	return child;
}

static void finish(struct ut_child *child)
{
	ut_say(child->fd, 0);
	ut_join(child);
}

/* ---- looking at participants ---- */

UT_TEST(information, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_participant_info info;
	struct timespec now;
	struct ut_child child;
	char command[16] = "";

	prctl(PR_GET_NAME, command);
	info = find(region, getpid());
	UT_EQ(LSHM_PARTICIPANT_ALIVE, info.state);
	UT_EQ(geteuid(), info.uid);
	UT_EQ(1, info.same_pid_namespace);
	UT_EQ(1, info.self);
	UT_EQ((uintptr_t)lshm_region_base(region), info.base);
	UT_EQ(0, strncmp(command, info.command, 15));
	UT_TRUE(memchr(info.command, 0, sizeof(info.command)));
	clock_gettime(CLOCK_REALTIME, &now);
	UT_CMP(info.time_ns, <=,
	    (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec);
	UT_CMP(info.time_ns, >, (uint64_t)(now.tv_sec - 100) * 1000000000);
	UT_CMP(info.lanes, <=, 1);
	UT_SOME(lshm_alloc(region, 1));
	UT_EQ(1, find(region, getpid()).lanes);
	UT_EQ(1, ut_info(region).lanes);

	child = start(region, stay_body);
	info = find(region, child.pid);
	UT_EQ(LSHM_PARTICIPANT_ALIVE, info.state);
	UT_EQ(0, info.self);
	UT_EQ(2, ut_info(region).participants);
	finish(&child);
	info = find(region, child.pid);
	UT_EQ(LSHM_PARTICIPANT_FREE, info.state);
	UT_EQ(1, ut_info(region).participants);
	UT_EQ(0, ut_info(region).deaths); /* it went of its own will */
	lshm_region_close(region);
}

UT_TEST(no_such_slot, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_participant_info info;

	UT_OK(lshm_region_participant(region, 63, &info));
	UT_EQ(LSHM_PARTICIPANT_FREE, info.state);
	UT_ERR(-EINVAL, lshm_region_participant(region, 64, &info), "slot");
	UT_ERR(-EINVAL, lshm_region_participant(region, UINT32_MAX, &info));
	lshm_region_close(region);
}

static void command_body(struct lshm_region *none, int fd, void *arg)
{
	struct lshm_region *region;

	prctl(PR_SET_NAME, "odd \"name\" \xff");
	UT_OK(lshm_region_open(&region, ut_name, 0, NULL));
	ut_say(fd, 0);
	ut_hear(fd);
	lshm_region_close(region);
}

UT_TEST(command_name, UT_NAMED)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct ut_child child = ut_spawn(NULL, 0, command_body, NULL);

	ut_hear(child.fd);
	UT_STR("odd \"name\" \xff", find(region, child.pid).command);
	finish(&child);
	lshm_region_close(region);
}

UT_TEST(generations, UT_EACH)
{
	struct lshm_region *region =
	    ut_create(&(struct lshm_region_opts)LSHM_REGION_OPTS(.size = MIB,
		.max_participants = 2));
	uint32_t last = 0;

	for (int i = 0; i < 5; i++) {
		struct ut_child child = start(region, stay_body);
		struct lshm_participant_info info = find(region, child.pid);

		UT_EQ(1, info.slot);
		if (i)
			UT_EQ(last + 1, info.generation);
		last = info.generation;
		finish(&child);
	}
	lshm_region_close(region);
}

/* ---- how many ---- */

UT_TEST(full_of_the_living, UT_EACH)
{
	struct lshm_region *region =
	    ut_create(&(struct lshm_region_opts)LSHM_REGION_OPTS(.size = MIB,
		.max_participants = 2));
	struct ut_child child = start(region, stay_body);
	struct lshm_region *third = NULL;
	struct lshm_region *observer;

	UT_ERR(-EUSERS, ut_try_reopen(&third, region, 0, NULL), "2");
	UT_PTR(NULL, third);
	observer = ut_reopen(region, LSHM_RDONLY); /* it needs no slot */
	lshm_region_close(observer);
	ut_kill(&child); /* and a dead one's is free */
	third = ut_reopen(region, 0);
	UT_EQ(1, ut_info(third).deaths);
	UT_EQ(2, ut_info(third).participants);
	lshm_region_close(third);
	lshm_region_close(region);
}

/* All slots of dead processes: whoever comes has none to reap from. */
UT_TEST(full_of_the_dead, UT_NAMED)
{
	struct lshm_region *region =
	    ut_create(&(struct lshm_region_opts)LSHM_REGION_OPTS(.size = MIB,
		.max_participants = 3));
	struct lshm_participant_info info;
	struct ut_child children[3];

	children[0] = start(region, stay_body);
	children[1] = start(region, stay_body);
	lshm_region_close(region);
	children[2] = ut_spawn(region, 0, stay_body, NULL);
	ut_hear(children[2].fd);
	for (size_t i = 0; i < UT_COUNT(children); i++)
		ut_kill(&children[i]);
	UT_OK(lshm_region_open(&region, ut_name, 0, NULL));
	UT_EQ(3, ut_info(region).deaths);
	UT_EQ(1, ut_info(region).participants);
	for (uint32_t i = 0; i < 3; i++)
		UT_OK(lshm_region_death(region, i, &info));
	lshm_region_close(region);
}

/* Each who comes looks at all the others. */
UT_TEST(every_slot_is_taken, UT_ONCE)
{
	static struct lshm_region *regions[4095];
	uint32_t many = (uint32_t)ut_scale(1100);
	struct rlimit limit;
	struct lshm_region *more;
	char number[16];

	if (many > UT_COUNT(regions))
		many = UT_COUNT(regions);
	UT_EQ(0, getrlimit(RLIMIT_NOFILE, &limit));
	if (limit.rlim_max < 3 * many)
		ut_skip("the limit of open files is %lu",
		    (unsigned long)limit.rlim_max);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	regions[0] = ut_create(
	    &(struct lshm_region_opts)LSHM_REGION_OPTS(.size = 4 * MIB,
		.max_participants = many));
	for (uint32_t i = 1; i < many; i++)
		regions[i] = ut_reopen(regions[0], 0);
	UT_EQ(many, ut_info(regions[0]).participants);
	snprintf(number, sizeof(number), "%u", many);
	UT_ERR(-EUSERS, ut_try_reopen(&more, regions[0], 0, NULL), number);
	UT_SOME(lshm_alloc(regions[many - 1], 1));
	UT_EQ(0, lshm_region_reap(regions[many / 2]));
	for (uint32_t i = many; i-- > 1;)
		lshm_region_close(regions[i]);
	UT_EQ(1, ut_info(regions[0]).participants);
	lshm_region_close(regions[0]);
}

UT_TEST(as_many_as_there_can_be, UT_EACH)
{
	struct lshm_region *region = ut_create(
	    &(struct lshm_region_opts)LSHM_REGION_OPTS(.size = 16 * MIB,
		.max_participants = 4095));

	UT_EQ(4095, ut_info(region).max_participants);
	UT_SOME(lshm_alloc(region, 1));
	lshm_region_close(region);
}

/* ---- death ---- */

UT_TEST(killed_is_dead_then_reaped, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct ut_child child = start(region, stay_body);
	struct lshm_participant_info before = find(region, child.pid);
	struct lshm_participant_info info;

	ut_kill(&child);
	info = find(region, child.pid);
	UT_EQ(LSHM_PARTICIPANT_DEAD, info.state);
	UT_EQ(1, ut_info(region).dead);
	UT_EQ(0, ut_info(region).deaths);
	UT_EQ(1, lshm_region_reap(region));
	UT_EQ(0, lshm_region_reap(region));
	UT_EQ(0, ut_info(region).dead);
	UT_EQ(1, ut_info(region).deaths);
	UT_EQ(1, ut_info(region).participants);
	UT_EQ(LSHM_PARTICIPANT_FREE, find(region, child.pid).state);
	UT_OK(lshm_region_death(region, 0, &info));
	UT_EQ(LSHM_PARTICIPANT_REAPED, info.state);
	UT_EQ(child.pid, info.pid);
	UT_EQ(geteuid(), info.uid);
	UT_EQ(before.slot, info.slot);
	UT_EQ(before.generation, info.generation);
	UT_STR(before.command, info.command);
	UT_CMP(info.time_ns, >=, before.time_ns);
	lshm_region_close(region);
}

UT_TEST(observer_sees_the_dead, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_region *observer = ut_reopen(region, LSHM_RDONLY);
	struct ut_child child = start(region, stay_body);
	struct lshm_participant_info info;

	UT_EQ(2, ut_info(observer).participants);
	ut_kill(&child);
	UT_EQ(1, ut_info(observer).dead);
	UT_EQ(LSHM_PARTICIPANT_DEAD, find(observer, child.pid).state);
	UT_EQ(LSHM_PARTICIPANT_ALIVE, find(observer, getpid()).state);
	UT_EQ(1, lshm_region_reap(region));
	UT_OK(lshm_region_death(observer, 0, &info));
	UT_EQ(child.pid, info.pid);
	lshm_region_close(observer);
	lshm_region_close(region);
}

UT_TEST(attaching_reaps, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct ut_child child = start(region, stay_body);
	struct lshm_region *again;

	ut_kill(&child);
	again = ut_reopen(region, 0);
	UT_EQ(1, ut_info(region).deaths);
	UT_EQ(0, ut_info(region).dead);
	lshm_region_close(again);
	lshm_region_close(region);
}

UT_TEST(deaths_are_remembered, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_participant_info info;
	pid_t pids[20];

	UT_ERR(-ENOENT, lshm_region_death(region, 0, &info));
	for (size_t i = 0; i < UT_COUNT(pids); i++) {
		struct ut_child child = start(region, stay_body);

		pids[i] = child.pid;
		ut_kill(&child);
		UT_EQ(1, lshm_region_reap(region));
	}
	UT_EQ(20, ut_info(region).deaths);
	for (uint32_t back = 0; back < 16; back++) {
		UT_OK(lshm_region_death(region, back, &info));
		UT_EQ(pids[19 - back], info.pid);
		UT_EQ(LSHM_PARTICIPANT_REAPED, info.state);
	}
	UT_ERR(-ENOENT, lshm_region_death(region, 16, &info));
	UT_ERR(-ENOENT, lshm_region_death(region, UINT32_MAX, &info));
	lshm_region_close(region);
}

UT_TEST(zombie_is_dead, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct ut_child child = start(region, stay_body);

	ut_kill_unreaped(&child); /* nobody waits for it */
	UT_EQ(0, kill(child.pid, 0));
	UT_EQ(LSHM_PARTICIPANT_DEAD, find(region, child.pid).state);
	UT_EQ(1, lshm_region_reap(region));
	UT_EQ(0, kill(child.pid, 0));
	ut_kill(&child);
	lshm_region_close(region);
}

UT_TEST(stopped_is_alive, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct ut_child child = start(region, stay_body);

	ut_stop(&child);
	UT_EQ(LSHM_PARTICIPANT_ALIVE, find(region, child.pid).state);
	UT_EQ(0, lshm_region_reap(region));
	ut_continue(&child);
	finish(&child);
	UT_EQ(0, ut_info(region).deaths);
	lshm_region_close(region);
}

UT_TEST(killed_while_stopped, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct ut_child child = start(region, stay_body);

	ut_stop(&child);
	ut_kill(&child);
	UT_EQ(1, lshm_region_reap(region));
	lshm_region_close(region);
}

/* ---- descriptors and liveness ---- */

/* Close every descriptor but the one to talk through, as daemons do. */
static void close_others(int fd)
{
	syscall(SYS_close_range, 3, fd - 1, 0);
	syscall(SYS_close_range, fd + 1, ~0U, 0);
}

static void closes_all_body(struct lshm_region *region, int fd, void *arg)
{
	int numbers[64];

	close_others(fd);
	/* the numbers belong to other files now */
	for (size_t i = 0; i < UT_COUNT(numbers); i++)
		numbers[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	ut_say(fd, 0);
	ut_hear(fd);
	/* and it sees nobody else as dead */
	UT_EQ(0, lshm_region_reap(region));
	UT_SOME(lshm_alloc(region, 100));
	lshm_region_close(region);
	/* nor does closing the region close what is not its own */
	for (size_t i = 0; i < UT_COUNT(numbers); i++)
		UT_CMP((uint64_t)fcntl(numbers[i], F_GETFD), ==, FD_CLOEXEC);
	fflush(NULL);
	exit(EXIT_SUCCESS);
}

UT_TEST(closing_descriptors_is_not_death, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct ut_child child = start(region, closes_all_body);

	UT_EQ(LSHM_PARTICIPANT_ALIVE, find(region, child.pid).state);
	UT_EQ(0, lshm_region_reap(region));
	finish(&child);
	UT_EQ(0, ut_info(region).deaths);
	UT_EQ(1, ut_info(region).participants);
	lshm_region_close(region);
}

UT_TEST(killed_after_closing_descriptors, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct ut_child child = start(region, closes_all_body);

	ut_kill(&child);
	UT_EQ(1, lshm_region_reap(region));
	lshm_region_close(region);
}

/* ---- all at once ---- */

static void comes_and_goes_body(struct lshm_region *region, int fd, void *arg)
{
	ut_say(fd, 0);
	for (;;) {
		struct lshm_region *own;

		UT_OK(lshm_region_open(&own, ut_name, 0, NULL));
		UT_SOME(lshm_alloc(own, 1000));
		UT_CMP((uint64_t)lshm_region_reap(own), <=, 4);
		lshm_region_close(own);
	}
}

/* Killed while attaching, detaching and reaping. */
UT_TEST(killed_while_coming_and_going, UT_NAMED)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	uint64_t seed = ut_seed();

	for (uint64_t i = ut_scale(30); i; i--) {
		struct ut_child child = start(region, comes_and_goes_body);
		struct timespec pause = {
		    .tv_nsec = (long)(ut_random(&seed) % 3000000)};

		nanosleep(&pause, NULL); /* where it dies is left to chance */
		ut_kill(&child);
	}
	lshm_region_reap(region);
	UT_EQ(1, ut_info(region).participants);
	UT_EQ(0, ut_info(region).dead);
	lshm_region_close(region);
}
