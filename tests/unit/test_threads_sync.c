/* SPDX-License-Identifier: MIT */
/*
 * test_threads_sync.c - locks and the like between many threads of one process
 *
 * As test_threads.c.
 */
#include "threads.h"

#include <sched.h>

/* ---- mutex ---- */

struct counter {
	struct lshm_mutex mutex;
	uint64_t value;
};

static void *counts(void *arg)
{
	struct worker *w = arg;
	struct counter *counter = w->arg;

	for (uint64_t n = ut_scale(5000); n; n--) {
		UT_EQ(0,
		    lshm_mutex_lock(w->region, &counter->mutex, LSHM_FOREVER));
		counter->value++;
		UT_OK(lshm_mutex_unlock(w->region, &counter->mutex));
	}
	return NULL;
}

UT_TEST(mutex, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct counter *counter;

	UT_OK(lshm_object_create(region, "counter", "counter", sizeof(*counter),
	    NULL, NULL, (void **)&counter));
	together(region, counts, counter);
	UT_EQ(THREADS * ut_scale(5000), counter->value);
	lshm_region_close(region);
}

static void *not_mine(void *arg)
{
	struct worker *w = arg;
	struct counter *counter = w->arg;

	UT_ERR(-EPERM, lshm_mutex_unlock(w->region, &counter->mutex));
	UT_ERR(-EAGAIN, lshm_mutex_lock(w->region, &counter->mutex, LSHM_NOW));
	UT_ERR(
	    -ETIMEDOUT, lshm_mutex_lock(w->region, &counter->mutex, UT_BRIEF));
	return NULL;
}

/* A lock belongs to the thread, not to the process. */
UT_TEST(mutex_of_another_thread, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct counter *counter;

	UT_OK(lshm_object_create(region, "counter", "counter", sizeof(*counter),
	    NULL, NULL, (void **)&counter));
	UT_OK(lshm_mutex_lock(region, &counter->mutex, LSHM_NOW));
	together(region, not_mine, counter);
	UT_OK(lshm_mutex_unlock(region, &counter->mutex));
	lshm_region_close(region);
}

/* ---- the other synchronisation objects ---- */

struct objects {
	struct lshm_rwlock rwlock;
	struct lshm_mutex mutex;
	struct lshm_cond cond;
	struct lshm_semaphore plain;
	struct lshm_event event;
	struct lshm_barrier barrier;
	struct lshm_once once;
	struct lshm_semaphore tracked;
	struct lshm_permit permits[2];
	uint64_t left, right; /* equal, but for a writer at work */
	uint64_t queue[4];
	uint64_t head, tail;
	uint64_t slots[2]; /* what the permits are for */
	uint64_t steps[THREADS];
	uint64_t done;
};

static struct objects *objects(struct lshm_region *region)
{
	struct objects *o;

	UT_OK(lshm_object_create(
	    region, "objects", "objects", sizeof(*o), NULL, NULL, (void **)&o));
	return o;
}

static void *reads_and_writes(void *arg)
{
	struct worker *w = arg;
	struct objects *o = w->arg;

	for (uint64_t n = ut_scale(3000); n; n--) {
		bool write = ut_random(&w->seed) % 4 == 0;
		int64_t deadline =
		    ut_random(&w->seed) % 8 ? LSHM_FOREVER : LSHM_NOW;
		int ret =
		    write ? lshm_rwlock_write(w->region, &o->rwlock, deadline)
			  : lshm_rwlock_read(w->region, &o->rwlock, deadline);

		if (ret == -EAGAIN && deadline == LSHM_NOW)
			continue;
		UT_EQ(0, ret);
		UT_EQ(o->left, o->right);
		if (write) {
			o->left++;
			if (n % 16 == 0)
				sched_yield();
			o->right++;
		}
		UT_OK(lshm_rwlock_unlock(w->region, &o->rwlock));
	}
	return NULL;
}

UT_TEST(rwlock, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct objects *o = objects(region);

	together(region, reads_and_writes, o);
	UT_EQ(o->left, o->right);
	lshm_region_close(region);
}

/* Half of them put numbers into a queue, half take them out. */
static void *queues(void *arg)
{
	struct worker *w = arg;
	struct objects *o = w->arg;
	bool puts = w->seed % 2;

	for (uint64_t n = ut_scale(2000); n; n--) {
		UT_EQ(0, lshm_mutex_lock(w->region, &o->mutex, LSHM_FOREVER));
		while (puts ? o->tail - o->head == UT_COUNT(o->queue)
			    : o->tail == o->head)
			UT_EQ(0, lshm_cond_wait(w->region, &o->cond, &o->mutex,
				     LSHM_FOREVER));
		if (puts) {
			o->queue[o->tail % UT_COUNT(o->queue)] = o->tail;
			o->tail++;
		} else {
			UT_EQ(o->head, o->queue[o->head % UT_COUNT(o->queue)]);
			o->head++;
		}
		UT_OK(lshm_cond_broadcast(w->region, &o->cond));
		UT_OK(lshm_mutex_unlock(w->region, &o->mutex));
	}
	return NULL;
}

UT_TEST(cond, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct objects *o = objects(region);

	together(region, queues, o);
	UT_EQ(THREADS / 2 * ut_scale(2000), o->head);
	UT_EQ(o->head, o->tail);
	lshm_region_close(region);
}

/* One permit is a lock. */
static void *takes_the_only_permit(void *arg)
{
	struct worker *w = arg;
	struct objects *o = w->arg;

	for (uint64_t n = ut_scale(3000); n; n--) {
		UT_EQ(
		    0, lshm_semaphore_wait(w->region, &o->plain, LSHM_FOREVER));
		UT_EQ(o->left, o->right);
		o->left++;
		o->right++;
		UT_OK(lshm_semaphore_post(w->region, &o->plain));
	}
	return NULL;
}

UT_TEST(semaphore_plain, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct objects *o = objects(region);

	UT_OK(lshm_semaphore_init(region, &o->plain, 1, false));
	together(region, takes_the_only_permit, o);
	UT_EQ(THREADS * ut_scale(3000), o->left);
	lshm_region_close(region);
}

/* Not more inside than there are permits, and all of them come back. */
static void *takes_permits(void *arg)
{
	struct worker *w = arg;
	struct objects *o = w->arg;

	for (uint64_t n = ut_scale(3000); n; n--) {
		uint64_t inside;

		UT_EQ(0,
		    lshm_semaphore_wait(w->region, &o->tracked, LSHM_FOREVER));
		UT_EQ(0, lshm_mutex_lock(w->region, &o->mutex, LSHM_FOREVER));
		inside = ++o->slots[0];
		UT_OK(lshm_mutex_unlock(w->region, &o->mutex));
		UT_CMP(inside, <=, UT_COUNT(o->permits));
		UT_EQ(0, lshm_mutex_lock(w->region, &o->mutex, LSHM_FOREVER));
		o->slots[0]--;
		UT_OK(lshm_mutex_unlock(w->region, &o->mutex));
		UT_OK(lshm_semaphore_post(w->region, &o->tracked));
	}
	return NULL;
}

UT_TEST(semaphore_tracked, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct objects *o = objects(region);
	uint64_t value;

	UT_OK(lshm_semaphore_init(
	    region, &o->tracked, UT_COUNT(o->permits), true));
	together(region, takes_permits, o);
	UT_OK(lshm_semaphore_value(region, &o->tracked, &value));
	UT_EQ(UT_COUNT(o->permits), value);
	lshm_region_close(region);
}

/* Each posts when it is its turn; what was written before is seen after. */
static void *takes_turns(void *arg)
{
	struct worker *w = arg;
	struct objects *o = w->arg;
	uint64_t me, seen = 0, n = ut_scale(1000);

	UT_EQ(0, lshm_mutex_lock(w->region, &o->mutex, LSHM_FOREVER));
	me = o->head++;
	UT_OK(lshm_mutex_unlock(w->region, &o->mutex));
	while (seen < n * THREADS) {
		if (seen % THREADS == me) {
			UT_EQ(seen, o->left);
			o->left++;
			UT_OK(lshm_event_post(w->region, &o->event, 1));
			seen++;
			continue;
		}
		UT_OK(lshm_event_wait(
		    w->region, &o->event, seen, LSHM_FOREVER, &seen));
	}
	return NULL;
}

UT_TEST(event, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct objects *o = objects(region);

	together(region, takes_turns, o);
	UT_EQ(THREADS * ut_scale(1000), o->left);
	lshm_region_close(region);
}

/* Between two phases only the one writes, between the next two all read. */
static void *steps(void *arg)
{
	struct worker *w = arg;
	struct objects *o = w->arg;
	uint64_t me, n = ut_scale(500);

	UT_EQ(0, lshm_mutex_lock(w->region, &o->mutex, LSHM_FOREVER));
	me = o->head++;
	UT_OK(lshm_barrier_join(w->region, &o->barrier));
	if (o->head == THREADS)
		UT_OK(lshm_event_post(w->region, &o->event, 1));
	UT_OK(lshm_mutex_unlock(w->region, &o->mutex));
	UT_OK(lshm_event_wait(w->region, &o->event, 0, LSHM_FOREVER, NULL));
	for (uint64_t i = 1; i <= n; i++) {
		int ret;

		o->steps[me] = i;
		do
			ret = lshm_barrier_wait(w->region, &o->barrier,
			    ut_random(&w->seed) % 4 ? LSHM_FOREVER : LSHM_NOW);
		while (ret == -EAGAIN);
		UT_EQ(0, ret);
		for (size_t j = 0; j < THREADS; j++)
			UT_EQ(i, o->steps[j]);
		UT_EQ(
		    0, lshm_barrier_wait(w->region, &o->barrier, LSHM_FOREVER));
	}
	UT_OK(lshm_barrier_leave(w->region, &o->barrier));
	return NULL;
}

UT_TEST(barrier, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct objects *o = objects(region);

	together(region, steps, o);
	for (size_t i = 0; i < LSHM_MEMBERS_MAX; i++)
		UT_EQ(0, o->barrier.members[i]);
	lshm_region_close(region);
}

static int does(void *arg, unsigned int earlier)
{
	struct objects *o = arg;

	o->done += 5;
	return earlier < 3 ? -EIO : 0;
}

static void *does_once(void *arg)
{
	struct worker *w = arg;
	struct objects *o = w->arg;
	int ret;

	do
		ret = lshm_once_run(w->region, &o->once, does, o, LSHM_FOREVER);
	while (ret == -EIO);
	UT_EQ(0, ret);
	UT_EQ(20, o->done);
	return NULL;
}

UT_TEST(once, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct objects *o = objects(region);

	for (uint64_t n = ut_scale(200); n; n--) {
		o->done = 0;
		memset(&o->once, 0, sizeof(o->once));
		together(region, does_once, o);
	}
	lshm_region_close(region);
}
