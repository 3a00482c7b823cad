/* SPDX-License-Identifier: MIT */
/* step_semaphore.c - sweeps of semaphores, plain and tracked */
#include "step.h"

#define PERMITS 2 /* of the tracked one */

static uint64_t value(struct world *w, struct lshm_semaphore *s)
{
	uint64_t permits;

	UT_OK(lshm_semaphore_value(w->region, s, &permits));
	return permits;
}

/* With news, or without. */
static void get(struct world *w, struct lshm_semaphore *s)
{
	int ret = lshm_semaphore_wait(w->region, s, UT_SOON);

	UT_TRUE(ret == 0 || (ret == LSHM_OWNER_DIED && s->total));
}

static void put(struct world *w, struct lshm_semaphore *s)
{
	UT_OK(lshm_semaphore_post(w->region, s));
}

static void get_in_vain(struct world *w, struct lshm_semaphore *s)
{
	UT_EQ(-EAGAIN, lshm_semaphore_wait(w->region, s, LSHM_NOW));
}

static void get_late(struct world *w, struct lshm_semaphore *s, int64_t ms)
{
	UT_EQ(-ETIMEDOUT,
	    lshm_semaphore_wait(w->region, s, lshm_deadline_ms(ms)));
}

/* ---- plain: a permit that the dead have taken is lost ---- */

static void put_plain(struct world *w)
{
	put(w, &w->shared->plain);
}

static void get_plain(struct world *w)
{
	get(w, &w->shared->plain);
}

static void plain_in_vain(struct world *w)
{
	get_in_vain(w, &w->shared->plain);
}

static void plain_awake(struct world *w)
{
	get_late(w, &w->shared->plain, 30);
}

static void plain_asleep(struct world *w)
{
	get_late(w, &w->shared->plain, 700);
}

static void init_plain(struct world *w)
{
	UT_OK(lshm_semaphore_init(w->region, &w->shared->plain, 5, false));
}

static void prepare_plain_ticket(struct world *w)
{
	w->shared->plain.waiters.sleeps++;
}

/* What there is can be taken, and no more. */
static void finish_plain(struct world *w)
{
	struct lshm_semaphore *s = &w->shared->plain;

	for (uint64_t left = value(w, s); left > 0; left--) {
		get_plain(w);
		UT_EQ(left - 1, value(w, s));
	}
	plain_in_vain(w);
	put_plain(w);
	get_plain(w);
	plain_in_vain(w);
}

static void finish_put(struct world *w)
{
	uint64_t left = value(w, &w->shared->plain);

	UT_TRUE(left == 1 || (left == 0 && !w->done));
	finish_plain(w);
}

static void put_two(struct world *w)
{
	put_plain(w);
	put_plain(w);
}

static void finish_got(struct world *w)
{
	uint64_t left = value(w, &w->shared->plain);

	UT_TRUE(left == 1 || (left == 2 && !w->done));
	finish_plain(w);
}

static void finish_none(struct world *w)
{
	UT_EQ(0, value(w, &w->shared->plain));
	finish_plain(w);
}

static void finish_init(struct world *w)
{
	UT_TRUE(!w->done || value(w, &w->shared->plain) == 5);
	init_plain(w);
	UT_EQ(5, value(w, &w->shared->plain));
	finish_plain(w);
}

/* The sleeper has taken one; the dead may have posted one that is left. */
static void finish_put_slept(struct world *w)
{
	if (!w->done)
		put_plain(w);
	lshm_testing_join();
	UT_TRUE(value(w, &w->shared->plain) <= !w->done);
	finish_plain(w);
}

static void finish_slept(struct world *w)
{
	put_plain(w);
	lshm_testing_join();
	finish_none(w);
}

STEP(semaphore_init, UT_ONCE, .run = init_plain, .finish = finish_init)
STEP(semaphore_post, UT_ONCE, .run = put_plain, .finish = finish_put)
STEP(semaphore_post_after_ticket, UT_ONCE, .prepare = prepare_plain_ticket,
    .run = put_plain, .finish = finish_put)
STEP(semaphore_post_to_sleeper, UT_ONCE, .other = get_plain, .run = put_plain,
    .finish = finish_put_slept)
STEP(semaphore_wait, UT_ONCE, .prepare = put_two, .run = get_plain,
    .finish = finish_got)
STEP(semaphore_wait_in_vain, UT_ONCE, .run = plain_in_vain,
    .finish = finish_none)
STEP(semaphore_wait_times_out, UT_ONCE, .run = plain_awake,
    .finish = finish_none)
STEP(semaphore_wait_sleeps, UT_ONCE, .run = plain_asleep,
    .first_deaths = STEP_ONE_DEATH, .finish = finish_none)
STEP(semaphore_wait_times_out_among_sleepers, UT_ONCE, .other = get_plain,
    .run = plain_awake, .finish = finish_slept)

/* ---- tracked: it comes back ---- */

static void init_tracked(struct world *w)
{
	UT_OK(
	    lshm_semaphore_init(w->region, &w->shared->tracked, PERMITS, true));
}

static void get_tracked(struct world *w)
{
	get(w, &w->shared->tracked);
}

static void put_tracked(struct world *w)
{
	put(w, &w->shared->tracked);
}

static void get_both(struct world *w)
{
	get_tracked(w);
	get_tracked(w);
}

static void get_and_put(struct world *w)
{
	get_tracked(w);
	put_tracked(w);
}

static void init_and_get_both(struct world *w)
{
	init_tracked(w);
	get_both(w);
}

static void tracked_in_vain(struct world *w)
{
	get_in_vain(w, &w->shared->tracked);
}

static void tracked_awake(struct world *w)
{
	get_late(w, &w->shared->tracked, 30);
}

static void tracked_asleep(struct world *w)
{
	get_late(w, &w->shared->tracked, 700);
}

static void put_not_mine(struct world *w)
{
	UT_EQ(-EPERM, lshm_semaphore_post(w->region, &w->shared->tracked));
}

static void get_from_the_dead(struct world *w)
{
	UT_EQ(LSHM_OWNER_DIED,
	    lshm_semaphore_wait(w->region, &w->shared->tracked, UT_SOON));
}

static void look(struct world *w)
{
	UT_EQ(PERMITS, value(w, &w->shared->tracked));
}

static void prepare_dead_holder(struct world *w)
{
	init_tracked(w);
	start_holder(w, get_both);
}

/* All are there, in whatever hands they were, and no more than all. */
static void finish_tracked(struct world *w)
{
	look(w);
	get_both(w);
	tracked_in_vain(w);
	UT_EQ(0, value(w, &w->shared->tracked));
	put_tracked(w);
	put_tracked(w);
	put_not_mine(w);
	for (int i = 0; i < PERMITS; i++)
		UT_EQ(0, w->shared->permits[i].word);
}

static void finish_tracked_init(struct world *w)
{
	if (!w->done)
		init_tracked(w);
	finish_tracked(w);
}

static void finish_tracked_held(struct world *w)
{
	UT_EQ(0, value(w, &w->shared->tracked));
	put_tracked(w);
	put_tracked(w);
	finish_tracked(w);
}

static void finish_tracked_slept(struct world *w)
{
	lshm_testing_join();
	finish_tracked(w);
}

static void finish_tracked_held_slept(struct world *w)
{
	put_tracked(w);
	lshm_testing_join();
	put_tracked(w);
	finish_tracked(w);
}

STEP(tracked_init, UT_ONCE, .run = init_tracked, .finish = finish_tracked_init)
STEP(tracked_wait, UT_ONCE, .prepare = init_tracked, .run = get_tracked,
    .rescue = get_both, .finish = finish_tracked)
STEP(tracked_post, UT_ONCE, .prepare = init_tracked, .begin = get_both,
    .run = put_tracked, .rescue = get_both, .finish = finish_tracked)
STEP(tracked_post_not_mine, UT_ONCE, .prepare = init_and_get_both,
    .run = put_not_mine, .finish = finish_tracked_held)
STEP(tracked_post_to_sleeper, UT_ONCE, .prepare = init_tracked,
    .begin = get_both, .other = get_and_put, .run = put_tracked,
    .finish = finish_tracked_slept)
STEP(tracked_wait_in_vain, UT_ONCE, .prepare = init_and_get_both,
    .run = tracked_in_vain, .finish = finish_tracked_held)
STEP(tracked_wait_times_out, UT_ONCE, .prepare = init_and_get_both,
    .run = tracked_awake, .finish = finish_tracked_held)
STEP(tracked_wait_sleeps, UT_ONCE, .prepare = init_and_get_both,
    .run = tracked_asleep, .first_deaths = STEP_ONE_DEATH,
    .finish = finish_tracked_held)
STEP(tracked_wait_times_out_among_sleepers, UT_ONCE,
    .prepare = init_and_get_both, .other = get_and_put, .run = tracked_awake,
    .finish = finish_tracked_held_slept)
STEP(tracked_wait_for_the_dead, UT_ONCE, .prepare = prepare_dead_holder,
    .meanwhile = kill_victim, .run = get_from_the_dead, .rescue = get_both,
    .finish = finish_tracked)
STEP(tracked_wait_for_the_dead_among_sleepers, UT_ONCE,
    .prepare = prepare_dead_holder, .other = get_and_put,
    .meanwhile = kill_victim, .run = get_from_the_dead,
    .finish = finish_tracked_slept)
STEP(semaphore_looks, UT_ONCE, .prepare = prepare_dead_holder,
    .meanwhile = kill_victim, .run = look, .finish = finish_tracked)
