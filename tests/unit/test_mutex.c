/* SPDX-License-Identifier: MIT */
/*
 * test_mutex.c - a lock that outlives its owner; see mutex.h
 */
#include "unit.h"

#include <sched.h>
#include <signal.h>
#include <time.h>

struct shared {
	struct lshm_mutex mutex;
	struct lshm_mutex second;
	uint64_t before; /* counted up on entry, and */
	uint64_t after;	 /* on leaving: equal unless somebody died between */
};

static struct shared *make(struct lshm_region *region)
{
	struct shared *shared;

	UT_OK(lshm_object_create(region, "shared", "shared", sizeof(*shared),
	    NULL, NULL, (void **)&shared));
	return shared;
}

static struct shared *find(struct lshm_region *region)
{
	struct shared *shared;

	UT_OK(lshm_object_open(
	    region, "shared", "shared", sizeof(*shared), (void **)&shared));
	return shared;
}

static int64_t now(void)
{
	return lshm_deadline_ms(0);
}

/* Takes the lock, says with what news, and lets go of it when told to. */
static void hold_body(struct lshm_region *region, int fd, void *arg)
{
	struct shared *shared = find(region);

	ut_say(fd, (uint64_t)lshm_mutex_lock(region, &shared->mutex, UT_SOON));
	ut_hear(fd);
	UT_OK(lshm_mutex_unlock(region, &shared->mutex));
	ut_say(fd, 0);
	ut_hear(fd);
}

UT_TEST(what_it_is, UT_ONCE)
{
	UT_EQ(8, sizeof(struct lshm_mutex));
	UT_EQ(8, _Alignof(struct lshm_mutex));
}

UT_TEST(lock_and_unlock, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *shared = make(region);

	for (int i = 0; i < 1000; i++) {
		UT_OK(lshm_mutex_lock(region, &shared->mutex,
		    i % 3 == 0	 ? LSHM_NOW
		    : i % 3 == 1 ? LSHM_FOREVER
				 : UT_BRIEF));
		UT_OK(lshm_mutex_lock(region, &shared->second, LSHM_NOW));
		UT_OK(lshm_mutex_unlock(region, &shared->mutex));
		UT_OK(lshm_mutex_unlock(region, &shared->second));
	}
	UT_EQ(0, shared->mutex.word); /* all zero is unlocked */
	lshm_region_close(region);
}

UT_TEST(not_recursive, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *shared = make(region);

	UT_OK(lshm_mutex_lock(region, &shared->mutex, LSHM_NOW));
	UT_ERR(-EDEADLK, lshm_mutex_lock(region, &shared->mutex, LSHM_NOW));
	UT_ERR(-EDEADLK, lshm_mutex_lock(region, &shared->mutex, UT_BRIEF));
	UT_ERR(-EDEADLK, lshm_mutex_lock(region, &shared->mutex, LSHM_FOREVER));
	UT_OK(lshm_mutex_unlock(region, &shared->mutex));
	UT_OK(lshm_mutex_lock(region, &shared->mutex, LSHM_NOW));
	UT_OK(lshm_mutex_unlock(region, &shared->mutex));
	lshm_region_close(region);
}

UT_TEST(not_held, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_region *other = ut_reopen(region, 0);
	struct shared *shared = make(region);

	UT_ERR(-EPERM, lshm_mutex_unlock(region, &shared->mutex));
	UT_OK(lshm_mutex_lock(region, &shared->mutex, LSHM_NOW));
	/* another handle is another participant */
	UT_ERR(-EPERM, lshm_mutex_unlock(other, &find(other)->mutex));
	UT_ERR(-EAGAIN, lshm_mutex_lock(other, &find(other)->mutex, LSHM_NOW));
	UT_OK(lshm_mutex_unlock(region, &shared->mutex));
	UT_ERR(-EPERM, lshm_mutex_unlock(region, &shared->mutex));
	lshm_region_close(other);
	lshm_region_close(region);
}

UT_TEST(outside, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_region *other = ut_reopen(region, 0);
	struct lshm_mutex here = {0};
	char *base = lshm_region_base(region);

	UT_ERR(-EINVAL, lshm_mutex_lock(region, &here, LSHM_NOW), "region");
	UT_ERR(-EINVAL, lshm_mutex_unlock(region, &here), "region");
	UT_ERR(-EINVAL, lshm_mutex_lock(region, NULL, LSHM_NOW));
	UT_ERR(-EINVAL, lshm_mutex_lock(region,
			    (struct lshm_mutex *)(base + MIB), LSHM_NOW));
	UT_ERR(-EINVAL, lshm_mutex_lock(region, &make(other)->mutex, LSHM_NOW));
	lshm_region_close(other);
	lshm_region_close(region);
}

UT_TEST(held_by_another, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *shared = make(region);
	struct ut_child child = ut_spawn(region, 0, hold_body, NULL);
	int64_t begin, deadline;

	UT_EQ(0, ut_hear(child.fd));
	UT_ERR(-EPERM, lshm_mutex_unlock(region, &shared->mutex));
	UT_ERR(-EAGAIN, lshm_mutex_lock(region, &shared->mutex, LSHM_NOW));
	begin = now();
	deadline = UT_BRIEF;
	UT_ERR(-ETIMEDOUT, lshm_mutex_lock(region, &shared->mutex, deadline));
	UT_CMP((uint64_t)now(), >=, (uint64_t)deadline); /* not too early */
	/* a deadline long past */
	UT_ERR(-ETIMEDOUT, lshm_mutex_lock(region, &shared->mutex, 1));
	UT_ERR(-ETIMEDOUT, lshm_mutex_lock(region, &shared->mutex, begin));
	ut_say(child.fd, 0);
	UT_OK(lshm_mutex_lock(region, &shared->mutex, LSHM_FOREVER));
	UT_OK(lshm_mutex_unlock(region, &shared->mutex));
	/* past, but nobody holds it */
	UT_OK(lshm_mutex_lock(region, &shared->mutex, 1));
	UT_OK(lshm_mutex_unlock(region, &shared->mutex));
	ut_hear(child.fd);
	ut_say(child.fd, 0);
	ut_join(&child);
	lshm_region_close(region);
}

static void waits_body(struct lshm_region *region, int fd, void *arg)
{
	struct shared *shared = find(region);

	ut_say(fd, 0);
	ut_say(fd,
	    (uint64_t)lshm_mutex_lock(region, &shared->mutex, LSHM_FOREVER));
	UT_OK(lshm_mutex_unlock(region, &shared->mutex));
}

UT_TEST(unlock_wakes, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *shared = make(region);
	struct ut_child children[3];

	for (int i = 0; i < 20; i++) {
		UT_OK(lshm_mutex_lock(region, &shared->mutex, UT_SOON));
		for (size_t j = 0; j < 3; j++)
			children[j] = ut_spawn(region, 0, waits_body, NULL);
		for (size_t j = 0; j < 3; j++)
			ut_hear(children[j].fd);
		UT_OK(lshm_mutex_unlock(region, &shared->mutex));
		for (size_t j = 0; j < 3; j++) {
			UT_EQ(0, ut_hear(children[j].fd));
			ut_join(&children[j]);
		}
	}
	lshm_region_close(region);
}

/* ---- exclusion ---- */

static void counts_body(struct lshm_region *region, int fd, void *arg)
{
	struct shared *shared = find(region);
	volatile uint64_t *before = &shared->before;
	volatile uint64_t *after = &shared->after;

	for (uint64_t i = ut_scale(20000); i; i--) {
		uint64_t value;

		UT_EQ(0, lshm_mutex_lock(region, &shared->mutex, LSHM_FOREVER));
		value = *before;
		UT_EQ(value, *after);
		*before = value + 1;
		if (i % 256 == 0)
			sched_yield(); /* let the others try to get in */
		*after = value + 1;
		UT_OK(lshm_mutex_unlock(region, &shared->mutex));
	}
}

UT_TEST(exclusion, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *shared = make(region);
	struct ut_child children[4];

	for (size_t i = 0; i < UT_COUNT(children); i++)
		children[i] = ut_spawn(region, 0, counts_body, NULL);
	for (size_t i = 0; i < UT_COUNT(children); i++)
		ut_join(&children[i]);
	UT_EQ(4 * ut_scale(20000), shared->before);
	UT_EQ(4 * ut_scale(20000), shared->after);
	lshm_region_close(region);
}

/* ---- death ---- */

UT_TEST(owner_died, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *shared = make(region);
	struct ut_child child = ut_spawn(region, 0, hold_body, NULL);

	UT_EQ(0, ut_hear(child.fd));
	ut_kill(&child);
	/* the second owner dies while it repairs */
	child = ut_spawn(region, 0, hold_body, NULL);
	UT_EQ(LSHM_OWNER_DIED, ut_hear(child.fd));
	ut_kill(&child);
	UT_EQ(
	    LSHM_OWNER_DIED, lshm_mutex_lock(region, &shared->mutex, UT_SOON));
	UT_ERR(-EDEADLK, lshm_mutex_lock(region, &shared->mutex, LSHM_NOW));
	UT_OK(lshm_mutex_unlock(region, &shared->mutex));
	/* that was the news: it is told once */
	UT_OK(lshm_mutex_lock(region, &shared->mutex, LSHM_NOW));
	UT_OK(lshm_mutex_unlock(region, &shared->mutex));
	lshm_region_close(region);
}

/* It needs no waiting, and no reaping before. */
UT_TEST(owner_died_now, UT_EACH)
{
	for (int reaped = 0; reaped < 2; reaped++) {
		struct lshm_region *region = ut_create(UT_SMALL);
		struct shared *shared = make(region);
		struct ut_child child = ut_spawn(region, 0, hold_body, NULL);

		UT_EQ(0, ut_hear(child.fd));
		ut_kill(&child);
		if (reaped)
			UT_EQ(1, lshm_region_reap(region));
		UT_EQ(LSHM_OWNER_DIED,
		    lshm_mutex_lock(region, &shared->mutex, LSHM_NOW));
		UT_OK(lshm_mutex_unlock(region, &shared->mutex));
		lshm_region_close(region);
	}
}

/* Its slot is somebody else's by now: it is the dead one's lock all the same */
UT_TEST(owner_died_and_was_replaced, UT_EACH)
{
	struct lshm_region *region =
	    ut_create(&(struct lshm_region_opts)LSHM_REGION_OPTS(.size = MIB,
		.max_participants = 2));
	struct shared *shared = make(region);
	struct ut_child child = ut_spawn(region, 0, hold_body, NULL);
	struct lshm_region *next;

	UT_EQ(0, ut_hear(child.fd));
	ut_kill(&child);
	next = ut_reopen(region, 0);
	UT_SOME(lshm_alloc(next, 1));
	UT_ERR(-EPERM, lshm_mutex_unlock(next, &find(next)->mutex));
	UT_EQ(
	    LSHM_OWNER_DIED, lshm_mutex_lock(region, &shared->mutex, LSHM_NOW));
	UT_OK(lshm_mutex_unlock(region, &shared->mutex));
	lshm_region_close(next);
	lshm_region_close(region);
}

UT_TEST(owner_dies_while_others_wait, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct ut_child holder, waiters[3];
	unsigned int news = 0;

	make(region);
	holder = ut_spawn(region, 0, hold_body, NULL);
	UT_EQ(0, ut_hear(holder.fd));
	for (size_t i = 0; i < UT_COUNT(waiters); i++) {
		waiters[i] = ut_spawn(region, 0, waits_body, NULL);
		ut_hear(waiters[i].fd);
	}
	ut_kill(&holder);
	for (size_t i = 0; i < UT_COUNT(waiters); i++) {
		news += ut_hear(waiters[i].fd);
		ut_join(&waiters[i]);
	}
	UT_EQ(1, news); /* the first one learns of it, and only he */
	lshm_region_close(region);
}

/* A handle that is closed gives back what it held as on death. */
UT_TEST(owner_detached, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_region *other = ut_reopen(region, 0);
	struct shared *shared = make(region);

	UT_OK(lshm_mutex_lock(other, &find(other)->mutex, LSHM_NOW));
	lshm_region_close(other);
	UT_EQ(
	    LSHM_OWNER_DIED, lshm_mutex_lock(region, &shared->mutex, UT_SOON));
	UT_OK(lshm_mutex_unlock(region, &shared->mutex));
	lshm_region_close(region);
}

UT_TEST(stopped_owner_keeps_it, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *shared = make(region);
	struct ut_child child = ut_spawn(region, 0, hold_body, NULL);

	UT_EQ(0, ut_hear(child.fd));
	ut_stop(&child);
	UT_EQ(0, lshm_region_reap(region));
	UT_ERR(-EAGAIN, lshm_mutex_lock(region, &shared->mutex, LSHM_NOW));
	UT_ERR(-ETIMEDOUT, lshm_mutex_lock(region, &shared->mutex, UT_BRIEF));
	ut_continue(&child);
	ut_say(child.fd, 0);
	UT_EQ(0, lshm_mutex_lock(region, &shared->mutex, UT_SOON));
	UT_OK(lshm_mutex_unlock(region, &shared->mutex));
	ut_hear(child.fd);
	ut_say(child.fd, 0);
	ut_join(&child);
	lshm_region_close(region);
}

/* A killed waiter takes nothing with it. */
UT_TEST(waiter_dies, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *shared = make(region);

	for (int i = 0; i < 5; i++) {
		struct ut_child dies, lives;

		UT_OK(lshm_mutex_lock(region, &shared->mutex, UT_SOON));
		dies = ut_spawn(region, 0, waits_body, NULL);
		ut_hear(dies.fd);
		lives = ut_spawn(region, 0, waits_body, NULL);
		ut_hear(lives.fd);
		ut_kill(&dies);
		UT_OK(lshm_mutex_unlock(region, &shared->mutex));
		UT_EQ(0, ut_hear(lives.fd));
		ut_join(&lives);
	}
	lshm_region_close(region);
}

static void repairs_body(struct lshm_region *region, int fd, void *arg)
{
	struct shared *shared = find(region);
	volatile uint64_t *before = &shared->before;
	volatile uint64_t *after = &shared->after;

	ut_say(fd, 0);
	for (;;) {
		int ret = lshm_mutex_lock(region, &shared->mutex, UT_SOON);

		UT_TRUE(ret == 0 || ret == LSHM_OWNER_DIED);
		if (ret == LSHM_OWNER_DIED)
			*after = *before;
		UT_EQ(*before, *after);
		++*before;
		++*after;
		UT_OK(lshm_mutex_unlock(region, &shared->mutex));
	}
}

/* Owners and waiters killed at random: torn data is always announced. */
UT_TEST(killed_at_random, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *shared = make(region);
	uint64_t seed = ut_seed();
	struct ut_child children[3];
	volatile uint64_t *after = &shared->after;

	for (size_t i = 0; i < UT_COUNT(children); i++) {
		children[i] = ut_spawn(region, 0, repairs_body, NULL);
		ut_hear(children[i].fd);
	}
	for (uint64_t n = ut_scale(60); n; n--) {
		size_t i = ut_random(&seed) % UT_COUNT(children);
		struct timespec pause = {
		    .tv_nsec = (long)(ut_random(&seed) % 2000000)};

		nanosleep(&pause, NULL); /* where it dies is left to chance */
		ut_kill(&children[i]);
		children[i] = ut_spawn(region, 0, repairs_body, NULL);
		ut_hear(children[i].fd);
	}
	while (*after == 0) /* on slow machines */
		sched_yield();
	for (size_t i = 0; i < UT_COUNT(children); i++)
		ut_kill(&children[i]);
	UT_CMP((uint64_t)lshm_mutex_lock(region, &shared->mutex, UT_SOON), <=,
	    LSHM_OWNER_DIED);
	UT_CMP(shared->before - shared->after, <=, 1);
	UT_CMP(shared->after, >, 0);
	UT_OK(lshm_mutex_unlock(region, &shared->mutex));
	lshm_region_close(region);
}

/* Whatever is in the word, asking for the lock ends. */
UT_TEST(hostile_words, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *shared = make(region);
	uint64_t seed = ut_seed();

	for (uint64_t i = ut_scale(2000); i; i--) {
		int ret;

		shared->mutex.word = ut_random(&seed) >> ut_random(&seed) % 64;
		ret = lshm_mutex_lock(region, &shared->mutex, LSHM_NOW);
		UT_TRUE(ret == 0 || ret == LSHM_OWNER_DIED || ret < 0);
		if (ret >= 0)
			UT_OK(lshm_mutex_unlock(region, &shared->mutex));
		shared->mutex.word = 0;
	}
	lshm_region_close(region);
}
