/* SPDX-License-Identifier: MIT */
/*
 * crash_between.c - one stands still at any instruction, another one comes by
 *
 * A child is stepped through an operation, up to its first instruction, then up
 * to its second, and so on. Where it stands still the test does a whole
 * operation on the same object, and then lets the child go on to the end. Both
 * results together must be possible: a lock has not been given to both, a phase
 * has not ended without a member, a signal has not been missed.
 *
 * Each test prints at how many instructions the child stood still. Where there
 * are many, only some are tried; LSHM_TEST_SCALE=100000 tries all.
 *
 * Not covered: reordering by the processor, more than one switch.
 */
#include "crash.h"

/* In the region, named "shared". */
struct shared {
	struct lshm_rwlock rwlock;
	struct lshm_barrier barrier;
	struct lshm_mutex mutex;
	struct lshm_cond cond;
	struct lshm_semaphore plain;
	struct lshm_semaphore tracked;
	struct lshm_permit permits[1];
	uint64_t value;
	int64_t result; /* what the child's operation returned */
};

typedef int verb(struct lshm_region *region, struct shared *shared);

/* Two operations, how they are made ready and undone. */
struct meeting {
	verb *before;	/* the child, unwatched; may be NULL */
	verb *stepped;	/* the child */
	verb *undo;	/* the child, if that returned 0 or more */
	verb *ready;	/* the test, first of all; may be NULL */
	verb *between;	/* the test, while the child stands still */
	verb *put_back; /* the test, if that returned 0 or more */
	/* the test, before anything is undone */
	void (*judge)(const struct shared *shared, int child, int test);
};

#define BUDGET 60000 /* steps in a test */

static void child_body(struct lshm_region *region, int fd, void *arg)
{
	const struct meeting *m = arg;
	struct shared *s;

	UT_OK(lshm_object_open(
	    region, "shared", "shared", sizeof(*s), (void **)&s));
	UT_SOME(lshm_alloc(region, 8)); /* its lane, before anybody steps */
	for (;;) {
		if (m->before)
			UT_TRUE(m->before(region, s) >= 0);
		crash_mark();
		s->result = m->stepped(region, s);
		crash_mark();
		if (s->result >= 0)
			UT_TRUE(m->undo(region, s) >= 0);
	}
}

static bool count_down(void *arg)
{
	uint64_t *left = arg;

	return --*left == 0;
}

static bool count_up(void *arg)
{
	uint64_t *n = arg;

	++*n;
	return false;
}

static bool never(void *arg)
{
	return false;
}

static void meet(const struct meeting *m)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	uint64_t n = 0, seed = ut_seed(), stride, tried = 0;
	struct ut_child child;
	struct shared *s;
	int ret;

	UT_OK(lshm_object_create(
	    region, "shared", "shared", sizeof(*s), NULL, NULL, (void **)&s));
	UT_OK(lshm_semaphore_init(region, &s->plain, 1, false));
	UT_OK(lshm_semaphore_init(region, &s->tracked, 1, true));
	if (m->ready)
		UT_TRUE(m->ready(region, s) >= 0);
	child = ut_spawn(region, 0, child_body, (void *)m);
	crash_await_mark(&child);
	/* alone, to know how long it is, with the linker's work done */
	for (int i = 0; i < 2; i++) {
		n = 0;
		UT_TRUE(!crash_step(&child, count_up, &n));
		crash_step(&child, never, NULL);
	}
	stride = 1 + n * n / ut_scale(BUDGET);
	stride = stride < n ? stride : n - 1;
	for (uint64_t at = 1 + ut_random(&seed) % stride; at < n;
	     at += stride) {
		uint64_t left = at;

		if (!crash_step(&child, count_down, &left))
			break; /* it came to an end sooner than before */
		ret = m->between(region, s);
		UT_TRUE(!crash_step(&child, never, NULL));
		m->judge(s, (int)s->result, ret);
		if (ret >= 0)
			UT_TRUE(m->put_back(region, s) >= 0);
		crash_step(&child, never, NULL); /* undoes, is ready */
		tried++;
	}
	printf("%5llu of %5llu instructions ... ", (unsigned long long)tried,
	    (unsigned long long)n);
	UT_CMP(tried, >, 0);
	ut_kill(&child);
	lshm_region_close(region);
}

/** MEET(name, members of struct meeting) - a test of two operations */
#define MEET(name, ...)                                     \
	UT_TEST(name, UT_ONCE)                              \
	{                                                   \
		meet(&(const struct meeting){__VA_ARGS__}); \
	}

/* Exactly one of them has got it. */
static void one_of_them(const struct shared *s, int child, int test)
{
	UT_TRUE(child == 0 || child == -EAGAIN);
	UT_TRUE(test == 0 || test == -EAGAIN);
	UT_TRUE((child == 0) != (test == 0));
}

static int nothing(struct lshm_region *region, struct shared *s)
{
	return 0;
}

/* ---- reader-writer locks ---- */

static int reads(struct lshm_region *region, struct shared *s)
{
	return lshm_rwlock_read(region, &s->rwlock, LSHM_NOW);
}

static int writes(struct lshm_region *region, struct shared *s)
{
	return lshm_rwlock_write(region, &s->rwlock, LSHM_NOW);
}

static int unlocks(struct lshm_region *region, struct shared *s)
{
	return lshm_rwlock_unlock(region, &s->rwlock);
}

MEET(writer_amid_read, .stepped = reads, .undo = unlocks, .between = writes,
    .put_back = unlocks, .judge = one_of_them)
MEET(reader_amid_write, .stepped = writes, .undo = unlocks, .between = reads,
    .put_back = unlocks, .judge = one_of_them)
MEET(writer_amid_write, .stepped = writes, .undo = unlocks, .between = writes,
    .put_back = unlocks, .judge = one_of_them)

/* ---- semaphores ---- */

static int takes_plain(struct lshm_region *region, struct shared *s)
{
	return lshm_semaphore_wait(region, &s->plain, LSHM_NOW);
}

static int posts_plain(struct lshm_region *region, struct shared *s)
{
	return lshm_semaphore_post(region, &s->plain);
}

static int takes_tracked(struct lshm_region *region, struct shared *s)
{
	return lshm_semaphore_wait(region, &s->tracked, LSHM_NOW);
}

static int posts_tracked(struct lshm_region *region, struct shared *s)
{
	return lshm_semaphore_post(region, &s->tracked);
}

MEET(one_permit, .stepped = takes_plain, .undo = posts_plain,
    .between = takes_plain, .put_back = posts_plain, .judge = one_of_them)
MEET(one_tracked_permit, .stepped = takes_tracked, .undo = posts_tracked,
    .between = takes_tracked, .put_back = posts_tracked, .judge = one_of_them)

/* ---- barriers ---- */

static int joins(struct lshm_region *region, struct shared *s)
{
	int ret = lshm_barrier_join(region, &s->barrier);

	s->value = s->barrier.phase >> 2 & UINT32_MAX; /* as it was then */
	return ret;
}

static int joins_once(struct lshm_region *region, struct shared *s)
{
	int ret = lshm_barrier_join(region, &s->barrier);

	return ret == -EEXIST ? 0 : ret;
}

static int leaves(struct lshm_region *region, struct shared *s)
{
	return lshm_barrier_leave(region, &s->barrier);
}

static int waits(struct lshm_region *region, struct shared *s)
{
	return lshm_barrier_wait(region, &s->barrier, LSHM_NOW);
}

/* No phase ends without somebody who had joined in it. */
static void not_without(const struct shared *s, int child, int test)
{
	UT_EQ(0, test);
	UT_EQ(s->value, s->barrier.phase >> 2 & UINT32_MAX);
}

/* It ends for both or for none. */
static void both_or_none(const struct shared *s, int child, int test)
{
	UT_TRUE(child == 0 || child == -EAGAIN);
	UT_EQ(child, test);
}

MEET(join_amid_wait, .before = joins_once, .stepped = waits, .undo = nothing,
    .between = joins, .put_back = leaves, .judge = not_without)
MEET(wait_amid_wait, .before = joins_once, .stepped = waits, .undo = nothing,
    .ready = joins_once, .between = waits, .put_back = nothing,
    .judge = both_or_none)

/* ---- condition variables ---- */

static int locks(struct lshm_region *region, struct shared *s)
{
	return lshm_mutex_lock(region, &s->mutex, LSHM_FOREVER);
}

static int sleeps(struct lshm_region *region, struct shared *s)
{
	return lshm_cond_wait(region, &s->cond, &s->mutex, 1);
}

static int signals(struct lshm_region *region, struct shared *s)
{
	int ret = lshm_mutex_lock(region, &s->mutex, LSHM_NOW);

	if (ret < 0)
		return ret;
	UT_OK(lshm_cond_signal(region, &s->cond));
	return lshm_mutex_unlock(region, &s->mutex);
}

/* A signal that came after the mutex was free is not missed. */
static void not_missed(const struct shared *s, int child, int test)
{
	UT_EQ(test == 0 ? 0 : -ETIMEDOUT, child);
}

static int undoes(struct lshm_region *region, struct shared *s)
{
	return lshm_mutex_unlock(region, &s->mutex);
}

static int locks_again(struct lshm_region *region, struct shared *s)
{
	int ret = locks(region, s);

	return ret == -EDEADLK ? 0 : ret; /* it has timed out, and holds it */
}

MEET(signal_amid_wait, .before = locks_again, .stepped = sleeps, .undo = undoes,
    .between = signals, .put_back = nothing, .judge = not_missed)
