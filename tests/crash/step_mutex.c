/* SPDX-License-Identifier: MIT */
/* step_mutex.c - sweeps of the lock */
#include "step.h"

static void lock_free(struct world *w)
{
	UT_OK(lshm_mutex_lock(w->region, &w->shared->mutex, UT_SOON));
}

static void finish_lock(struct world *w)
{
	int ret = lshm_mutex_lock(w->region, &w->shared->mutex, UT_SOON);

	UT_TRUE(w->done ? ret == LSHM_OWNER_DIED
			: ret == 0 || ret == LSHM_OWNER_DIED);
	unlock(w);
}

static void finish_unlock(struct world *w)
{
	int ret = lshm_mutex_lock(w->region, &w->shared->mutex, UT_SOON);

	UT_TRUE(w->done ? ret == 0 : ret == 0 || ret == LSHM_OWNER_DIED);
	unlock(w);
}

STEP(mutex_lock, UT_ONCE, .run = lock_free, .finish = finish_lock)
STEP(mutex_unlock, UT_ONCE, .begin = lock, .run = unlock,
    .finish = finish_unlock)

static void lock_twice(struct world *w)
{
	UT_EQ(-EDEADLK,
	    lshm_mutex_lock(w->region, &w->shared->mutex, LSHM_FOREVER));
}

STEP(mutex_lock_twice, UT_ONCE, .begin = lock, .run = lock_twice,
    .finish = finish_lock)

/* ---- held by a living one ---- */

static void lock_in_vain(struct world *w)
{
	UT_EQ(-EAGAIN, lshm_mutex_lock(w->region, &w->shared->mutex, LSHM_NOW));
}

static void lock_until(struct world *w, int64_t ms)
{
	UT_EQ(-ETIMEDOUT, lshm_mutex_lock(w->region, &w->shared->mutex,
			      lshm_deadline_ms(ms)));
}

/* Stepped, it comes to sleep within that; it does not within the other. */
static void lock_asleep(struct world *w)
{
	lock_until(w, 700);
}

static void lock_awake(struct world *w)
{
	lock_until(w, 30);
}

static void unlock_not_mine(struct world *w)
{
	UT_EQ(-EPERM, lshm_mutex_unlock(w->region, &w->shared->mutex));
}

/* It is still the survivor's, and can be given up and had. */
static void finish_held(struct world *w)
{
	unlock(w);
	UT_OK(lshm_mutex_lock(w->region, &w->shared->mutex, UT_SOON));
	unlock(w);
}

STEP(mutex_lock_held, UT_ONCE, .prepare = lock, .run = lock_in_vain,
    .finish = finish_held)
STEP(mutex_lock_times_out, UT_ONCE, .prepare = lock, .run = lock_awake,
    .finish = finish_held)
STEP(mutex_lock_sleeps, UT_ONCE, .prepare = lock, .run = lock_asleep,
    .finish = finish_held, .first_deaths = STEP_ONE_DEATH)
STEP(mutex_unlock_not_mine, UT_ONCE, .prepare = lock, .run = unlock_not_mine,
    .finish = finish_held)

/* ---- somebody else sleeps on it: he must get it ---- */

static void lock_and_unlock(struct world *w)
{
	lock(w);
	unlock(w);
}

/* Once that one has had it, a death is no news any more. */
static void finish_slept(struct world *w)
{
	lshm_testing_join();
	lock_free(w);
	unlock(w);
}

STEP(mutex_unlock_with_sleeper, UT_EACH, .begin = lock,
    .other = lock_and_unlock, .run = unlock, .finish = finish_slept)

static void finish_slept_held(struct world *w)
{
	unlock(w);
	lshm_testing_join();
	lock_and_unlock(w);
}

STEP(mutex_lock_times_out_among_sleepers, UT_ONCE, .prepare = lock,
    .other = lock_and_unlock, .run = lock_awake, .finish = finish_slept_held)

/* The word's owner dies while somebody sleeps on it; the child is faster. */
static void prepare_holder(struct world *w)
{
	start_holder(w, lock);
}

STEP(mutex_take_over, UT_ONCE, .prepare = prepare_holder,
    .meanwhile = kill_victim, .run = take_over, .rescue = lock,
    .finish = finish_lock)
STEP(mutex_take_over_among_sleepers, UT_ONCE, .prepare = prepare_holder,
    .other = lock_and_unlock, .meanwhile = kill_victim, .run = take_over,
    .finish = finish_slept)

static void take_over_and_unlock(struct world *w)
{
	take_over(w);
	unlock(w);
}

STEP(mutex_give_on_to_sleeper, UT_ONCE, .prepare = prepare_holder,
    .other = lock_and_unlock, .meanwhile = kill_victim,
    .run = take_over_and_unlock, .finish = finish_slept)

/* It was given up just now, with the bit set that somebody sleeps. */
STEP(mutex_lock_before_sleeper, UT_ONCE, .prepare = lock,
    .other = lock_and_unlock, .meanwhile = unlock, .run = lock_free,
    .finish = finish_slept)
