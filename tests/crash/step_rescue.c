/* SPDX-License-Identifier: MIT */
/*
 * step_rescue.c - sweeps of recovery: a victim has died, and whoever recovers
 * from that dies too
 */
#include "step.h"

#include <pthread.h>

STEP(rescue_by_attaching, UT_EACH, .prepare = prepare_dead, .attaches = true,
    .run = open_region, .finish = finish_much)
STEP(rescue_by_reaping, UT_ONCE, .prepare = prepare_victim,
    .meanwhile = kill_victim, .run = reap, .finish = finish_much)
STEP(rescue_by_locking, UT_ONCE, .prepare = prepare_victim,
    .meanwhile = kill_victim, .run = take_over, .finish = finish_much)
STEP(rescue_by_taking, UT_ONCE, .prepare = prepare_victim,
    .begin = open_consumer, .meanwhile = kill_victim, .run = take,
    .finish = finish_much)

/* ---- in a table that is full of the dead ---- */

static void stays_body(struct lshm_region *region, int fd, void *arg)
{
	ut_say(fd, 0);
	pause();
}

/* The survivor has a slot, a victim one, and another dead one the third. */
static void prepare_full_table(struct world *w)
{
	struct ut_child second;

	prepare_victim(w);
	second = ut_spawn(w->region, 0, stays_body, NULL);
	ut_hear(second.fd);
	ut_kill(&second);
	kill_victim(w);
}

STEP(rescue_in_full_table, UT_ONCE, .participants = 3,
    .prepare = prepare_full_table, .attaches = true, .run = open_region,
    .finish = finish_much)

/* ---- of synchronisation objects ---- */

static void hold_objects(struct world *w)
{
	struct shared *s = w->shared;

	UT_OK(lshm_rwlock_write(w->region, &s->rwlock, LSHM_NOW));
	UT_OK(lshm_semaphore_wait(w->region, &s->tracked, LSHM_NOW));
	UT_OK(lshm_barrier_join(w->region, &s->barrier));
	UT_OK(lshm_mutex_lock(w->region, &s->once.mutex, LSHM_NOW));
	lock(w);
}

static int do_it(void *arg, unsigned int earlier)
{
	return 0;
}

static void prepare_objects(struct world *w)
{
	UT_OK(lshm_semaphore_init(w->region, &w->shared->tracked, 1, true));
	start_holder(w, hold_objects);
}

static void prepare_objects_of_the_dead(struct world *w)
{
	prepare_objects(w);
	kill_victim(w);
}

/* That it has been reaped is no end of the news. */
static void finish_objects(struct world *w)
{
	struct lshm_region *r = w->region;
	struct shared *s = w->shared;

	lshm_region_reap(r);
	UT_EQ(-EOWNERDEAD, lshm_rwlock_read(r, &s->rwlock, LSHM_NOW));
	UT_EQ(LSHM_OWNER_DIED, lshm_rwlock_write(r, &s->rwlock, LSHM_NOW));
	UT_OK(lshm_rwlock_unlock(r, &s->rwlock));
	UT_EQ(LSHM_OWNER_DIED, lshm_semaphore_wait(r, &s->tracked, LSHM_NOW));
	UT_OK(lshm_semaphore_post(r, &s->tracked));
	UT_OK(lshm_barrier_join(r, &s->barrier));
	UT_EQ(LSHM_OWNER_DIED, lshm_barrier_wait(r, &s->barrier, LSHM_NOW));
	UT_OK(lshm_barrier_wait(r, &s->barrier, LSHM_NOW));
	UT_OK(lshm_barrier_leave(r, &s->barrier));
	UT_OK(lshm_once_run(r, &s->once, do_it, NULL, LSHM_NOW));
	take_over(w);
	unlock(w);
}

STEP(rescue_objects_by_reaping, UT_ONCE, .prepare = prepare_objects,
    .meanwhile = kill_victim, .run = reap, .finish = finish_objects)
STEP(rescue_objects_by_attaching, UT_ONCE,
    .prepare = prepare_objects_of_the_dead, .attaches = true,
    .run = open_region, .finish = finish_objects)

/* ---- of an intent ---- */

/* The victim dies amid a replacement, when the field has just changed. */
static void torn_body(struct lshm_region *region, int fd, void *arg)
{
	struct world w = {.region = region};

	find_shared(&w);
	lock_with_block(&w);
	crash_mark();
	replace(&w);
}

static bool field_changed(void *arg)
{
	struct world *w = arg;
	volatile lshm_off *field = &w->shared->field;

	return *field != lshm_offset(w->region, w->block);
}

static void prepare_torn(struct world *w)
{
	prepare_small(w);
	start_victim(w, torn_body);
	crash_await_mark(&w->victim);
	UT_TRUE(crash_step(&w->victim, field_changed, w));
}

static void take_over_and_replace(struct world *w)
{
	take_over(w);
	replace(w);
}

STEP(rescue_torn_by_locking, UT_ONCE, .prepare = prepare_torn,
    .meanwhile = kill_victim, .run = take_over, .rescue = lock,
    .finish = finish_replace)
STEP(rescue_torn_by_reaping, UT_ONCE, .prepare = prepare_torn,
    .meanwhile = kill_victim, .run = reap, .rescue = lock,
    .finish = finish_replace)
STEP(replace_after_torn, UT_ONCE, .prepare = prepare_torn, .begin = alloc_small,
    .meanwhile = kill_victim, .run = take_over_and_replace, .rescue = lock,
    .finish = finish_replace)

/* ---- of the last lanes ---- */

static void *holds_lane(void *arg)
{
	struct world *w = arg;
	void *block;

	/* until none is left */
	block = lshm_alloc(w->region, SMALL_BLOCK);
	ut_say(w->sockets[0], block != NULL);
	for (;;)
		pause();
	return block;
}

static void crowd_body(struct lshm_region *region, int fd, void *arg)
{
	struct world w = {.region = region, .sockets = {fd}};
	struct lshm_region_info info;
	pthread_t thread;

	do {
		UT_EQ(0, pthread_create(&thread, NULL, holds_lane, &w));
		UT_OK(lshm_region_stat(region, &info));
	} while (info.lanes < info.max_lanes);
	ut_say(fd, 2);
	pause();
}

static void prepare_crowd(struct world *w)
{
	start_victim(w, crowd_body);
	while (ut_hear(w->victim.fd) != 2)
		;
}

STEP(alloc_with_lanes_of_the_dead, UT_ONCE, .participants = 4, .cold = true,
    .prepare = prepare_crowd, .meanwhile = kill_victim, .run = alloc_small,
    .finish = finish_heap)
