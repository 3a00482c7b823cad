/* SPDX-License-Identifier: MIT */
/*
 * step_barrier.c - sweeps of the barrier
 *
 * No phase ends before all living members have arrived; all are told of a
 * member that died without having arrived, at least once.
 */
#include "step.h"

#include <pthread.h>

static void join(struct world *w)
{
	UT_OK(lshm_barrier_join(w->region, &w->shared->barrier));
}

static void leave(struct world *w)
{
	UT_OK(lshm_barrier_leave(w->region, &w->shared->barrier));
}

static int arrive(struct world *w, int64_t deadline)
{
	return lshm_barrier_wait(w->region, &w->shared->barrier, deadline);
}

/* The phase ends, with news or without. */
static void pass(struct world *w)
{
	int ret = arrive(w, UT_SOON);

	UT_TRUE(ret == 0 || ret == LSHM_OWNER_DIED);
}

static void join_and_pass(struct world *w)
{
	join(w);
	pass(w);
	leave(w);
}

static uint32_t phase(struct world *w)
{
	return (uint32_t)(w->shared->barrier.phase >> 2);
}

/* A member alone, it passes as often as it likes; then there is none. */
static void finish_alone(struct world *w)
{
	uint32_t before;

	pass(w); /* the dead may have arrived for this one, */
	pass(w); /* but not for this one */
	before = phase(w);
	for (int i = 0; i < 3; i++)
		UT_EQ(0, arrive(w, LSHM_NOW));
	UT_EQ(before + 3, phase(w));
	leave(w);
	for (int i = 0; i < LSHM_MEMBERS_MAX; i++)
		UT_EQ(0, w->shared->barrier.members[i]);
}

static void finish(struct world *w)
{
	join(w);
	finish_alone(w);
}

/* ---- nobody else is there ---- */

static void pass_alone(struct world *w)
{
	UT_EQ(0, arrive(w, LSHM_NOW));
}

static void finish_passed(struct world *w)
{
	UT_TRUE(phase(w) == 1 || (phase(w) == 0 && !w->done));
	finish(w);
}

static void no_member(struct world *w)
{
	UT_EQ(-EPERM, arrive(w, LSHM_FOREVER));
	UT_EQ(-EPERM, lshm_barrier_leave(w->region, &w->shared->barrier));
}

static void join_twice(struct world *w)
{
	UT_EQ(-EEXIST, lshm_barrier_join(w->region, &w->shared->barrier));
}

STEP(barrier_join, UT_ONCE, .run = join, .finish = finish)
STEP(barrier_leave, UT_ONCE, .begin = join, .run = leave, .finish = finish)
STEP(barrier_wait, UT_ONCE, .begin = join, .run = pass_alone,
    .finish = finish_passed)
STEP(barrier_no_member, UT_ONCE, .prepare = join, .run = no_member,
    .finish = finish_alone)
STEP(barrier_join_twice, UT_ONCE, .begin = join, .run = join_twice,
    .finish = finish)

/* ---- the survivor is a member, and has not come ---- */

static void arrive_in_vain(struct world *w)
{
	UT_EQ(-EAGAIN, arrive(w, LSHM_NOW));
}

static void arrive_awake(struct world *w)
{
	UT_EQ(-ETIMEDOUT, arrive(w, lshm_deadline_ms(30)));
}

static void arrive_asleep(struct world *w)
{
	UT_EQ(-ETIMEDOUT, arrive(w, lshm_deadline_ms(700)));
}

/* Having withdrawn, it is missed in this phase; else in this or the next. */
static void finish_withdrawn(struct world *w)
{
	int first, second;

	UT_EQ(0, phase(w));
	first = arrive(w, UT_SOON);
	second = arrive(w, UT_SOON);
	UT_TRUE(first >= 0 && second >= 0);
	UT_EQ(2, phase(w));
	UT_EQ(1, first + second >= 1);
	UT_TRUE(!w->done || first == LSHM_OWNER_DIED);
	finish_alone(w);
}

/* Dead before it became a member or after; told only of a member. */
static void finish_not_alone(struct world *w)
{
	UT_EQ(0, phase(w));
	UT_TRUE(arrive(w, UT_SOON) == LSHM_OWNER_DIED || !w->done);
	finish_alone(w);
}

/* Having left, it is no dead member. */
static void finish_left(struct world *w)
{
	int ret;

	UT_EQ(0, phase(w));
	ret = arrive(w, UT_SOON);
	UT_TRUE(ret == 0 || (ret == LSHM_OWNER_DIED && !w->done));
	finish_alone(w);
}

STEP(barrier_join_another, UT_ONCE, .prepare = join, .run = join,
    .finish = finish_not_alone)
STEP(barrier_leave_another, UT_ONCE, .prepare = join, .begin = join,
    .run = leave, .finish = finish_left)
STEP(barrier_wait_in_vain, UT_ONCE, .prepare = join, .begin = join,
    .run = arrive_in_vain, .finish = finish_withdrawn)
STEP(barrier_wait_times_out, UT_ONCE, .prepare = join, .begin = join,
    .run = arrive_awake, .finish = finish_withdrawn)
STEP(barrier_wait_sleeps, UT_ONCE, .prepare = join, .begin = join,
    .run = arrive_asleep, .first_deaths = STEP_ONE_DEATH,
    .finish = finish_withdrawn)

/* ---- another one has arrived, and sleeps: he must go on ---- */

/* Told of the child's death if it had not arrived. */
static void other_arrives(struct world *w)
{
	join_and_pass(w);
}

static void finish_slept(struct world *w)
{
	lshm_testing_join();
	UT_EQ(1, phase(w));
	finish(w);
}

static void arrive_last(struct world *w)
{
	UT_EQ(0, arrive(w, LSHM_NOW));
}

static void survivor_leaves(struct world *w)
{
	leave(w);
}

STEP(barrier_wait_as_last, UT_ONCE, .begin = join, .other = other_arrives,
    .run = arrive_last, .finish = finish_slept)
STEP(barrier_leave_with_sleeper, UT_ONCE, .begin = join, .other = other_arrives,
    .run = leave, .finish = finish_slept)
/* The survivor was there and left, and rings; a dead one joins meanwhile. */
STEP(barrier_join_with_sleeper, UT_ONCE, .prepare = join,
    .other = other_arrives, .meanwhile = survivor_leaves, .run = join,
    .finish = finish_slept)

static void finish_slept_member(struct world *w)
{
	pass(w);
	lshm_testing_join();
	finish_alone(w);
}

STEP(barrier_wait_times_out_among_sleepers, UT_ONCE, .prepare = join,
    .begin = join, .other = other_arrives, .run = arrive_awake,
    .finish = finish_slept_member)

/* ---- the dead are members ---- */

static void prepare_member(struct world *w)
{
	start_holder(w, join);
}

static void pass_with_news(struct world *w)
{
	UT_EQ(LSHM_OWNER_DIED, arrive(w, UT_SOON));
}

/* The victim is told of: to the child, to a rescuer, or to who is here now. */
static void finish_dead_member(struct world *w)
{
	int ret;

	join(w);
	ret = arrive(w, UT_SOON);
	if (ret != LSHM_OWNER_DIED) {
		UT_EQ(0, ret);
		UT_CMP(phase(w), >=, 2);
	}
	finish_alone(w);
}

STEP(barrier_wait_for_the_dead, UT_ONCE, .prepare = prepare_member,
    .begin = join, .meanwhile = kill_victim, .run = pass_with_news,
    .rescue = join_and_pass, .finish = finish_dead_member)
STEP(barrier_wait_for_the_dead_among_sleepers, UT_ONCE,
    .prepare = prepare_member, .begin = join, .other = other_arrives,
    .meanwhile = kill_victim, .run = pass_with_news, .finish = finish_slept)

static void join_and_arrive(struct world *w)
{
	join(w);
	ut_say(w->sockets[0], 0);
	pass(w);
}

static void arrived_body(struct lshm_region *region, int fd, void *arg)
{
	struct world w = {.region = region, .sockets = {fd}};

	find_shared(&w);
	join_and_arrive(&w);
}

/* Killed when it waits for the survivor. */
static void prepare_arrived(struct world *w)
{
	volatile uint64_t *member = &w->shared->barrier.members[1];

	join(w);
	start_victim(w, arrived_body);
	ut_hear(w->victim.fd);
	while (!(*member & 1))
		usleep(100);
}

static void leave_it(struct world *w)
{
	kill_victim(w);
	leave(w);
}

/* For this phase it has arrived, and it is missed in the next. */
static void pass_twice(struct world *w)
{
	UT_EQ(0, arrive(w, UT_SOON));
	UT_EQ(LSHM_OWNER_DIED, arrive(w, UT_SOON));
}

STEP(barrier_wait_for_one_who_had_arrived, UT_ONCE, .prepare = prepare_arrived,
    .begin = join, .meanwhile = leave_it, .run = pass_twice, .finish = finish)

/* ---- full of the dead ---- */

static void *joins(void *arg)
{
	join(arg);
	for (;;)
		pause();
	return NULL;
}

static void fill_with_members(struct world *w)
{
	volatile uint64_t *member = w->shared->barrier.members;
	volatile uint64_t *end = member + LSHM_MEMBERS_MAX;
	pthread_t thread;

	for (int i = 0; i < LSHM_MEMBERS_MAX; i++) {
		UT_EQ(0, pthread_create(&thread, NULL, joins, w));
		pthread_detach(thread);
	}
	while (member < end)
		if (*member)
			member++;
		else
			usleep(100);
}

static void prepare_full(struct world *w)
{
	start_holder(w, fill_with_members);
}

STEP(barrier_join_full_of_the_dead, UT_ONCE, .participants = 20,
    .prepare = prepare_full, .meanwhile = kill_victim, .run = join,
    .rescue = join, .finish = finish)
