/* SPDX-License-Identifier: MIT */
/*
 * test_semaphore.c - permits, plain and tracked; see semaphore.h
 */
#include "sync.h"

#include <time.h>

#define PERMITS 3

struct shared {
	struct lshm_semaphore plain;
	struct lshm_semaphore tracked;
	struct lshm_permit permits[PERMITS];
	uint64_t guard; /* what lies after the permits */
	uint64_t inside;
	uint64_t most;
};

enum { END, TAKE, TAKE_NOW, TAKE_BRIEF, PUT };

static struct shared *make(struct lshm_region *region)
{
	struct shared *s = sync_make(region, sizeof(*s));

	UT_OK(lshm_semaphore_init(region, &s->tracked, PERMITS, true));
	return s;
}

static int obey(
    struct lshm_region *region, struct lshm_semaphore *s, uint64_t what)
{
	switch (what) {
	case TAKE:
		return lshm_semaphore_wait(region, s, LSHM_FOREVER);
	case TAKE_NOW:
		return lshm_semaphore_wait(region, s, LSHM_NOW);
	case TAKE_BRIEF:
		return lshm_semaphore_wait(region, s, UT_BRIEF);
	default:
		return lshm_semaphore_post(region, s);
	}
}

static void obeys(struct lshm_region *region, int fd, void *arg)
{
	struct shared *s = sync_find(region);
	uint64_t what;

	while ((what = ut_hear(fd)) != END)
		ut_say(fd, (uint64_t)obey(
			       region, arg ? &s->tracked : &s->plain, what));
}

#define PLAIN	NULL
#define TRACKED ((void *)1)

static uint64_t value(struct lshm_region *region, struct lshm_semaphore *s)
{
	uint64_t n = UINT64_MAX;

	UT_OK(lshm_semaphore_value(region, s, &n));
	return n;
}

UT_TEST(what_it_is, UT_ONCE)
{
	UT_EQ(32, sizeof(struct lshm_semaphore));
	UT_EQ(8, sizeof(struct lshm_permit));
}

UT_TEST(plain, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_semaphore *s = &make(region)->plain;
	int64_t deadline = UT_BRIEF;

	UT_EQ(0, value(region, s)); /* all zero is ready */
	UT_ERR(-EAGAIN, lshm_semaphore_wait(region, s, LSHM_NOW), "permit");
	UT_ERR(-ETIMEDOUT, lshm_semaphore_wait(region, s, deadline), "permit");
	UT_CMP((uint64_t)lshm_deadline_ms(0), >=, (uint64_t)deadline);
	UT_OK(lshm_semaphore_post(region, s));
	UT_OK(lshm_semaphore_post(region, s));
	UT_EQ(2, value(region, s));
	UT_EQ(0, lshm_semaphore_wait(region, s, LSHM_NOW));
	UT_EQ(0, lshm_semaphore_wait(region, s, 1));
	UT_ERR(-EAGAIN, lshm_semaphore_wait(region, s, LSHM_NOW));
	UT_OK(lshm_semaphore_init(region, s, 5, false));
	UT_EQ(5, value(region, s));
	UT_EQ(0, lshm_semaphore_wait(region, s, LSHM_FOREVER));
	UT_EQ(4, value(region, s));
	s->value = UINT64_MAX;
	UT_ERR(-EOVERFLOW, lshm_semaphore_post(region, s));
	UT_EQ(UINT64_MAX, value(region, s));
	UT_EQ(0, lshm_semaphore_wait(region, s, LSHM_NOW));
	UT_OK(lshm_semaphore_post(region, s));
	lshm_region_close(region);
}

UT_TEST(tracked, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_region *other = ut_reopen(region, 0);
	struct shared *s = make(region), *theirs = sync_find(other);

	for (int n = 0; n < 100; n++) {
		UT_EQ(PERMITS, value(region, &s->tracked));
		UT_ERR(-EPERM, lshm_semaphore_post(region, &s->tracked), "no");
		for (int i = 0; i < PERMITS - 1; i++) /* several at a time */
			UT_EQ(0, obey(region, &s->tracked, TAKE_NOW));
		UT_EQ(0, obey(other, &theirs->tracked, TAKE));
		UT_EQ(0, value(region, &s->tracked));
		UT_EQ(-EAGAIN, obey(region, &s->tracked, TAKE_NOW));
		UT_EQ(-EAGAIN, obey(other, &theirs->tracked, TAKE_NOW));
		if (n == 0)
			UT_EQ(
			    -ETIMEDOUT, obey(region, &s->tracked, TAKE_BRIEF));
		UT_OK(lshm_semaphore_post(other, &theirs->tracked));
		/* what is another's cannot be put back */
		UT_ERR(-EPERM, lshm_semaphore_post(other, &theirs->tracked));
		UT_EQ(0, obey(region, &s->tracked, TAKE_NOW));
		for (int i = 0; i < PERMITS; i++)
			UT_OK(lshm_semaphore_post(region, &s->tracked));
	}
	UT_EQ(0, s->guard);
	UT_EQ(0, s->tracked.waiters.event - 1); /* of the one that gave up */
	lshm_region_close(other);
	lshm_region_close(region);
}

UT_TEST(wrong_calls, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_region *looks = ut_reopen(region, LSHM_RDONLY);
	struct shared *s = make(region), *seen = sync_find(looks);
	struct lshm_semaphore here = {0};
	struct lshm_semaphore *last =
	    (void *)((char *)lshm_region_base(region) + MIB - sizeof(here));
	uint64_t n = 7;

	UT_ERR(
	    -EINVAL, lshm_semaphore_wait(region, &here, LSHM_NOW), "semaphore");
	UT_ERR(-EINVAL, lshm_semaphore_post(region, &here));
	UT_ERR(-EINVAL, lshm_semaphore_value(region, &here, &n));
	UT_ERR(-EINVAL, lshm_semaphore_init(region, &here, 1, false));
	UT_ERR(-EINVAL, lshm_semaphore_init(region, &s->tracked, 0, true));
	UT_ERR(-EINVAL, lshm_semaphore_init(
			    region, &s->tracked, LSHM_PERMITS_MAX + 1, true));
	UT_ERR(-EINVAL, lshm_semaphore_init(region, last, 1, true));
	UT_EQ(7, n);
	UT_ERR(-EROFS, lshm_semaphore_init(looks, &seen->plain, 1, false));
	UT_ERR(-EROFS, lshm_semaphore_wait(looks, &seen->tracked, LSHM_NOW));
	UT_ERR(-EROFS, lshm_semaphore_post(looks, &seen->tracked));
	UT_EQ(PERMITS, value(looks, &seen->tracked));
	UT_EQ(0, obey(region, &s->tracked, TAKE));
	UT_EQ(PERMITS - 1, value(looks, &seen->tracked));
	/* a total that another process has spoilt */
	s->tracked.total = LSHM_PERMITS_MAX + 1;
	UT_ERR(-LSHM_ECORRUPT,
	    lshm_semaphore_wait(region, &s->tracked, LSHM_NOW), "permits");
	UT_ERR(-LSHM_ECORRUPT, lshm_semaphore_post(region, &s->tracked));
	UT_ERR(-LSHM_ECORRUPT, lshm_semaphore_value(region, &s->tracked, &n));
	lshm_region_close(looks);
	lshm_region_close(region);
}

UT_TEST(post_wakes_one, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *s = make(region);

	for (int tracked = 0; tracked < 2; tracked++) {
		struct lshm_semaphore *it = tracked ? &s->tracked : &s->plain;
		struct ut_child children[3];

		for (size_t i = 0; i < UT_COUNT(children); i++)
			children[i] = ut_spawn(
			    region, 0, obeys, tracked ? TRACKED : PLAIN);
		sync_age(&it->waiters);
		if (tracked)
			for (int i = 0; i < PERMITS; i++)
				UT_EQ(0, obey(region, it, TAKE_NOW));
		/* were posts not to wake, it would take longer than it may */
		for (uint64_t n = ut_scale(2500); n; n--) {
			uint32_t sleeps = it->waiters.sleeps;
			uint32_t event = it->waiters.event;

			for (size_t i = 0; i < UT_COUNT(children); i++)
				sync_tell(&children[i], TAKE);
			sync_await_sleep(
			    &it->waiters, sleeps, UT_COUNT(children));
			for (size_t i = 0; i < UT_COUNT(children); i++)
				ut_wait_asleep(children[i].pid);
			for (size_t i = 0; i < UT_COUNT(children); i++)
				UT_EQ(0, obey(region, it, PUT));
			UT_CMP(it->waiters.event, !=, event);
			for (size_t i = 0; i < UT_COUNT(children); i++)
				UT_EQ(0, sync_answer(&children[i]));
			UT_EQ(0, value(region, it));
			for (size_t i = 0; i < UT_COUNT(children); i++)
				UT_EQ(0, sync_ask(&children[i], PUT));
			for (size_t i = 0; i < UT_COUNT(children); i++)
				UT_EQ(0, obey(region, it, TAKE));
		}
		for (size_t i = 0; i < UT_COUNT(children); i++)
			sync_end(&children[i]);
	}
	lshm_region_close(region);
}

/* ---- death ---- */

UT_TEST(holder_died, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *s = make(region);
	struct ut_child dies = ut_spawn(region, 0, obeys, TRACKED);
	struct ut_child lives = ut_spawn(region, 0, obeys, TRACKED);

	for (int i = 0; i < PERMITS; i++)
		UT_EQ(0, sync_ask(&dies, TAKE));
	ut_stop(&dies); /* and lives */
	UT_EQ(0, value(region, &s->tracked));
	UT_EQ(-EAGAIN, obey(region, &s->tracked, TAKE_NOW));
	UT_EQ(-ETIMEDOUT, obey(region, &s->tracked, TAKE_BRIEF));
	sync_tell(&lives, TAKE); /* it sleeps */
	sync_await_sleep(&s->tracked.waiters, 0, 2);
	ut_kill(&dies);
	UT_EQ(LSHM_OWNER_DIED, sync_answer(&lives));
	/* at once, without anybody having waited */
	UT_EQ(PERMITS - 1, value(region, &s->tracked));
	UT_EQ(LSHM_OWNER_DIED, obey(region, &s->tracked, TAKE_NOW));
	UT_EQ(LSHM_OWNER_DIED, obey(region, &s->tracked, TAKE_BRIEF));
	UT_EQ(-EAGAIN, obey(region, &s->tracked, TAKE_NOW));
	/* that was the news, told once for each */
	UT_EQ(0, obey(region, &s->tracked, PUT));
	UT_EQ(0, obey(region, &s->tracked, TAKE_NOW));
	sync_end(&lives); /* with a permit: leaving is like dying */
	UT_EQ(1, value(region, &s->tracked));
	UT_EQ(LSHM_OWNER_DIED, obey(region, &s->tracked, TAKE_NOW));
	lshm_region_close(region);
}

/* What is not tracked does not come back. */
UT_TEST(plain_holder_died, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *s = make(region);
	struct ut_child dies = ut_spawn(region, 0, obeys, PLAIN);

	UT_OK(lshm_semaphore_post(region, &s->plain));
	UT_EQ(0, sync_ask(&dies, TAKE));
	ut_kill(&dies);
	UT_EQ(0, lshm_region_reap(region) - 1);
	UT_EQ(-EAGAIN, obey(region, &s->plain, TAKE_NOW));
	lshm_region_close(region);
}

/* The one that is woken may be the one that dies; or nobody is woken. */
UT_TEST(waiter_or_poster_died, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *s = make(region);
	struct ut_child dies = ut_spawn(region, 0, obeys, PLAIN);
	struct ut_child lives = ut_spawn(region, 0, obeys, PLAIN);

	sync_tell(&dies, TAKE);
	sync_await_sleep(&s->plain.waiters, 0, 1);
	ut_stop(&dies);
	sync_tell(&lives, TAKE);
	sync_await_sleep(&s->plain.waiters, 0, 2);
	UT_OK(lshm_semaphore_post(region, &s->plain));
	ut_kill(&dies);
	UT_EQ(0, sync_answer(&lives));
	sync_tell(&lives, TAKE);
	sync_await_sleep(&s->plain.waiters, 0, 3);
	SYNC_LOAD(s->plain.value) = 1;
	UT_EQ(0, sync_answer(&lives));
	sync_end(&lives);
	lshm_region_close(region);
}

/* ---- many ---- */

static void works(struct lshm_region *region, int fd, void *arg)
{
	struct shared *s = sync_find(region);
	struct lshm_semaphore *it = arg ? &s->tracked : &s->plain;
	uint64_t n = ut_hear(fd);

	while (n--) {
		int ret = lshm_semaphore_wait(region, it, LSHM_FOREVER);

		UT_TRUE(ret == 0 || (arg && ret == LSHM_OWNER_DIED));
		if (n % 64 == 0)
			sched_yield();
		UT_OK(lshm_semaphore_post(region, it));
	}
}

UT_TEST(many, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *s = make(region);

	UT_OK(lshm_semaphore_init(region, &s->plain, PERMITS, false));
	for (int tracked = 0; tracked < 2; tracked++) {
		struct ut_child children[5];

		for (size_t i = 0; i < UT_COUNT(children); i++) {
			children[i] = ut_spawn(
			    region, 0, works, tracked ? TRACKED : PLAIN);
			ut_say(children[i].fd, ut_scale(5000));
		}
		for (size_t i = 0; i < UT_COUNT(children); i++)
			ut_join(&children[i]);
		UT_EQ(
		    PERMITS, value(region, tracked ? &s->tracked : &s->plain));
	}
	UT_EQ(0, s->guard);
	lshm_region_close(region);
}

/* Holders and waiters killed at random: no permit is lost, none is made. */
UT_TEST(killed_at_random, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *s = make(region);
	uint64_t seed = ut_seed();
	struct ut_child children[5];

	for (size_t i = 0; i < UT_COUNT(children); i++) {
		children[i] = ut_spawn(region, 0, works, TRACKED);
		ut_say(children[i].fd, UINT64_MAX);
	}
	for (uint64_t n = ut_scale(60); n; n--) {
		size_t i = ut_random(&seed) % UT_COUNT(children);
		struct timespec pause = {
		    .tv_nsec = (long)(ut_random(&seed) % 2000000)};

		nanosleep(&pause, NULL); /* where it dies is left to chance */
		ut_kill(&children[i]);
		children[i] = ut_spawn(region, 0, works, TRACKED);
		ut_say(children[i].fd, UINT64_MAX);
	}
	for (size_t i = 0; i < UT_COUNT(children); i++)
		ut_kill(&children[i]);
	UT_EQ(PERMITS, value(region, &s->tracked));
	for (int i = 0; i < PERMITS; i++)
		UT_TRUE(obey(region, &s->tracked, TAKE_NOW) >= 0);
	UT_EQ(-EAGAIN, obey(region, &s->tracked, TAKE_NOW));
	UT_EQ(0, s->guard);
	lshm_region_close(region);
}

/* Whatever is in it, asking for it ends. */
UT_TEST(hostile_words, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *s = make(region);
	uint64_t seed = ut_seed(), *words = (uint64_t *)&s->tracked, n;

	for (n = ut_scale(1000); n; n--) {
		uint64_t seen;

		for (size_t i = 0; i < 4 + PERMITS; i++)
			words[i] = ut_random(&seed) >> ut_random(&seed) % 64;
		if (obey(region, &s->tracked, TAKE_NOW) >= 0)
			(void)lshm_semaphore_post(region, &s->tracked);
		(void)lshm_semaphore_value(region, &s->tracked, &seen);
	}
	lshm_region_close(region);
}
