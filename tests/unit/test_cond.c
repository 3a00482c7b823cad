/* SPDX-License-Identifier: MIT */
/*
 * test_cond.c - waiting, with a mutex, for a change; see cond.h
 */
#include "sync.h"

struct shared {
	struct lshm_mutex mutex;
	struct lshm_cond cond;
	struct lshm_cond other;
	uint64_t value;
	uint64_t news; /* how many were told that an owner died */
};

enum { END, WAIT, WAIT_SOON, LOCK, UNLOCK, SIGNAL };

/* Waits until the value is not 0, and takes one off. */
static int take(struct lshm_region *region, struct shared *shared, bool forever)
{
	int ret, news = 0;

	UT_EQ(0, lshm_mutex_lock(region, &shared->mutex, LSHM_FOREVER));
	while (shared->value == 0) {
		ret = lshm_cond_wait(region, &shared->cond, &shared->mutex,
		    forever ? LSHM_FOREVER : UT_SOON);
		UT_TRUE(ret == 0 || ret == LSHM_OWNER_DIED);
		news |= ret;
	}
	shared->value--;
	UT_OK(lshm_mutex_unlock(region, &shared->mutex));
	return news;
}

static void obeys(struct lshm_region *region, int fd, void *arg)
{
	struct shared *shared = sync_find(region);
	uint64_t what;
	int ret;

	while ((what = ut_hear(fd)) != END) {
		if (what == WAIT || what == WAIT_SOON)
			ret = take(region, shared, what == WAIT);
		else if (what == LOCK)
			ret = lshm_mutex_lock(region, &shared->mutex, UT_SOON);
		else if (what == UNLOCK)
			ret = lshm_mutex_unlock(region, &shared->mutex);
		else
			ret = lshm_cond_signal(region, &shared->cond);
		ut_say(fd, (uint64_t)ret);
	}
}

static void add(struct lshm_region *region, struct shared *shared, uint64_t n)
{
	UT_EQ(0, lshm_mutex_lock(region, &shared->mutex, UT_SOON));
	shared->value += n;
	UT_OK(lshm_mutex_unlock(region, &shared->mutex));
}

UT_TEST(what_it_is, UT_ONCE)
{
	UT_EQ(16, sizeof(struct lshm_cond));
}

UT_TEST(wrong_calls, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_region *looks = ut_reopen(region, LSHM_RDONLY);
	struct shared *s = sync_make(region, sizeof(*s)), *seen;
	struct lshm_mutex here = {0};
	struct lshm_cond mine = {0};

	UT_ERR(-EPERM, lshm_cond_wait(region, &s->cond, &s->mutex, UT_SOON),
	    "hold");
	UT_EQ(0, s->cond.waiters.sleeps);
	UT_EQ(0, lshm_mutex_lock(region, &s->mutex, LSHM_NOW));
	UT_ERR(-EAGAIN, lshm_cond_wait(region, &s->cond, &s->mutex, LSHM_NOW));
	UT_ERR(-EINVAL, lshm_cond_wait(region, &mine, &s->mutex, UT_SOON));
	UT_ERR(-EINVAL, lshm_cond_wait(region, &s->cond, &here, UT_SOON));
	UT_ERR(-EINVAL, lshm_cond_signal(region, &mine), "cond");
	UT_ERR(-EINVAL, lshm_cond_broadcast(region, NULL));
	UT_OK(lshm_mutex_unlock(region, &s->mutex)); /* it was kept */
	seen = sync_find(looks);
	UT_ERR(
	    -EROFS, lshm_cond_wait(looks, &seen->cond, &seen->mutex, UT_SOON));
	UT_ERR(-EROFS, lshm_cond_signal(looks, &seen->cond));
	UT_ERR(-EROFS, lshm_cond_broadcast(looks, &seen->cond));
	lshm_region_close(looks);
	lshm_region_close(region);
}

UT_TEST(nobody_waits, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *s = sync_make(region, sizeof(*s));

	for (int i = 0; i < 1000; i++) {
		UT_OK(lshm_cond_signal(region, &s->cond));
		UT_OK(lshm_cond_broadcast(region, &s->cond));
	}
	UT_EQ(0, s->cond.waiters.event); /* so nobody was woken */
	lshm_region_close(region);
}

UT_TEST(deadline, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *s = sync_make(region, sizeof(*s));
	int64_t deadline = UT_BRIEF;

	UT_EQ(0, lshm_mutex_lock(region, &s->mutex, LSHM_NOW));
	UT_ERR(-ETIMEDOUT,
	    lshm_cond_wait(region, &s->cond, &s->mutex, deadline), "signal");
	UT_CMP((uint64_t)lshm_deadline_ms(0), >=, (uint64_t)deadline);
	UT_ERR(-ETIMEDOUT, lshm_cond_wait(region, &s->cond, &s->mutex, 1));
	UT_OK(lshm_mutex_unlock(region, &s->mutex)); /* it is held */
	/* the first signal finds those two gone, and the next does not ask */
	UT_OK(lshm_cond_signal(region, &s->cond));
	UT_EQ(1, s->cond.waiters.event);
	UT_OK(lshm_cond_signal(region, &s->cond));
	UT_EQ(1, s->cond.waiters.event);
	lshm_region_close(region);
}

UT_TEST(signal_wakes_one, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *s = sync_make(region, sizeof(*s));
	struct ut_child child = ut_spawn(region, 0, obeys, NULL);

	sync_age(&s->cond.waiters);
	for (int i = 0; i < 300; i++) {
		uint32_t sleeps = s->cond.waiters.sleeps;
		uint32_t event = s->cond.waiters.event;

		sync_tell(&child, WAIT);
		sync_await_sleep(&s->cond.waiters, sleeps, 1);
		if (i % 2) { /* with the mutex, without it */
			add(region, s, 1);
			UT_OK(lshm_cond_signal(region, &s->cond));
		} else {
			UT_EQ(0, lshm_mutex_lock(region, &s->mutex, UT_SOON));
			s->value++;
			UT_OK(lshm_cond_signal(region, &s->cond));
			UT_OK(lshm_mutex_unlock(region, &s->mutex));
		}
		UT_EQ(0, sync_answer(&child));
		UT_CMP(s->cond.waiters.event, !=, event);
	}
	sync_end(&child);
	lshm_region_close(region);
}

/* Were a signal lost on the second, it would take longer than it may. */
UT_TEST(each_signal_wakes_one, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *s = sync_make(region, sizeof(*s));
	struct ut_child children[] = {
	    ut_spawn(region, 0, obeys, NULL), ut_spawn(region, 0, obeys, NULL)};

	for (uint64_t n = ut_scale(1000); n; n--) {
		uint32_t sleeps = s->cond.waiters.sleeps;

		sync_tell(&children[0], WAIT);
		sync_tell(&children[1], WAIT);
		sync_await_sleep(&s->cond.waiters, sleeps, 2);
		for (int i = 0; i < 2; i++)
			ut_wait_asleep(children[i].pid);
		add(region, s, 2);
		UT_OK(lshm_cond_signal(region, &s->cond));
		UT_OK(lshm_cond_signal(region, &s->cond));
		UT_EQ(0, sync_answer(&children[0]));
		UT_EQ(0, sync_answer(&children[1]));
	}
	sync_end(&children[0]);
	sync_end(&children[1]);
	lshm_region_close(region);
}

UT_TEST(broadcast_wakes_all, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *s = sync_make(region, sizeof(*s));
	struct ut_child children[4];

	for (size_t i = 0; i < UT_COUNT(children); i++)
		children[i] = ut_spawn(region, 0, obeys, NULL);
	for (int n = 0; n < 20; n++) {
		uint32_t sleeps = s->cond.waiters.sleeps;

		for (size_t i = 0; i < UT_COUNT(children); i++)
			sync_tell(&children[i], i % 2 ? WAIT : WAIT_SOON);
		sync_await_sleep(&s->cond.waiters, sleeps, UT_COUNT(children));
		add(region, s, UT_COUNT(children));
		UT_OK(lshm_cond_broadcast(region, &s->cond));
		for (size_t i = 0; i < UT_COUNT(children); i++)
			UT_EQ(0, sync_answer(&children[i]));
		UT_EQ(0, s->value);
	}
	for (size_t i = 0; i < UT_COUNT(children); i++)
		sync_end(&children[i]);
	lshm_region_close(region);
}

/* ---- death ---- */

/* The next owner dies with the mutex, after it has signalled. */
UT_TEST(owner_died, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *s = sync_make(region, sizeof(*s));
	struct ut_child waits = ut_spawn(region, 0, obeys, NULL);
	struct ut_child dies = ut_spawn(region, 0, obeys, NULL);

	sync_tell(&waits, WAIT);
	sync_await_sleep(&s->cond.waiters, 0, 1);
	UT_EQ(0, sync_ask(&dies, LOCK));
	s->value = 1;
	UT_EQ(0, sync_ask(&dies, SIGNAL));
	ut_kill(&dies);
	UT_EQ(LSHM_OWNER_DIED, sync_answer(&waits));
	sync_end(&waits);
	lshm_region_close(region);
}

/* It is told rather than that the deadline has passed. */
static void times_out(struct lshm_region *region, int fd, void *arg)
{
	struct shared *s = sync_find(region);
	int ret;

	UT_EQ(0, lshm_mutex_lock(region, &s->mutex, UT_SOON));
	ut_say(fd, 0);
	do /* until the other one was faster */
		ret = lshm_cond_wait(region, &s->cond, &s->mutex, UT_BRIEF);
	while (ret == -ETIMEDOUT);
	UT_EQ(LSHM_OWNER_DIED, ret);
	UT_OK(lshm_mutex_unlock(region, &s->mutex));
}

UT_TEST(owner_died_and_deadline_passed, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *s = sync_make(region, sizeof(*s));
	struct ut_child waits, dies = ut_spawn(region, 0, obeys, NULL);

	waits = ut_spawn(region, 0, times_out, NULL);
	ut_hear(waits.fd);
	UT_EQ(0, sync_ask(&dies, LOCK));
	while (!(SYNC_LOAD(s->mutex.word) & 1)) /* until that one is late */
		sched_yield();
	ut_kill(&dies);
	ut_join(&waits);
	lshm_region_close(region);
}

/* Somebody dies after the change, before the signal. */
UT_TEST(signal_that_never_came, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *s = sync_make(region, sizeof(*s));
	struct ut_child child = ut_spawn(region, 0, obeys, NULL);

	sync_tell(&child, WAIT);
	sync_await_sleep(&s->cond.waiters, 0, 1);
	add(region, s, 1);
	UT_EQ(0, sync_answer(&child));
	sync_end(&child);
	lshm_region_close(region);
}

/* The one that is woken may be the one that dies. */
UT_TEST(waiter_died, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *s = sync_make(region, sizeof(*s));

	for (int i = 0; i < 3; i++) {
		uint32_t sleeps = s->cond.waiters.sleeps;
		struct ut_child dies = ut_spawn(region, 0, obeys, NULL);
		struct ut_child lives = ut_spawn(region, 0, obeys, NULL);

		sync_tell(&dies, WAIT);
		sync_await_sleep(&s->cond.waiters, sleeps, 1);
		ut_stop(&dies);
		sync_tell(&lives, WAIT);
		sync_await_sleep(&s->cond.waiters, sleeps, 2);
		add(region, s, 1);
		UT_OK(lshm_cond_signal(region, &s->cond));
		if (i % 2)
			ut_kill(&dies);
		UT_EQ(0, sync_answer(&lives));
		if (i % 2 == 0)
			ut_kill(&dies);
		sync_end(&lives);
	}
	lshm_region_close(region);
}

/* ---- many ---- */

static void hands_on(struct lshm_region *region, int fd, void *arg)
{
	struct shared *s = sync_find(region);
	uint64_t me = ut_hear(fd);

	for (uint64_t n = ut_scale(2000); n; n--) {
		UT_EQ(0, lshm_mutex_lock(region, &s->mutex, UT_SOON));
		while (s->value % 2 != me)
			UT_EQ(
			    0, lshm_cond_wait(region, me ? &s->cond : &s->other,
				   &s->mutex, UT_SOON));
		s->value++;
		UT_OK(lshm_cond_signal(region, me ? &s->other : &s->cond));
		UT_OK(lshm_mutex_unlock(region, &s->mutex));
	}
}

/* Each waits for the other: were signals lost, it would take hours. */
UT_TEST(to_and_fro, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *s = sync_make(region, sizeof(*s));
	struct ut_child children[2];

	for (size_t i = 0; i < 2; i++) {
		children[i] = ut_spawn(region, 0, hands_on, NULL);
		ut_say(children[i].fd, i);
	}
	for (size_t i = 0; i < 2; i++)
		ut_join(&children[i]);
	UT_EQ(2 * ut_scale(2000), s->value);
	lshm_region_close(region);
}
