/* SPDX-License-Identifier: MIT */
/*
 * test_event.c - a count that can be waited for; see event.h
 */
#include "sync.h"

struct shared {
	struct lshm_event event;
	struct lshm_event back;
	uint64_t value;
};

/* Waits beyond the count it is told; says where it is then. */
static void waits(struct lshm_region *region, int fd, void *arg)
{
	struct shared *s = sync_find(region);
	uint64_t seen;

	while ((seen = ut_hear(fd)) != UINT64_MAX) {
		UT_EQ(0, lshm_event_wait(
			     region, &s->event, seen, LSHM_FOREVER, &seen));
		ut_say(fd, seen);
	}
}

UT_TEST(what_it_is, UT_ONCE)
{
	UT_EQ(24, sizeof(struct lshm_event));
}

UT_TEST(alone, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_region *looks = ut_reopen(region, LSHM_RDONLY);
	struct shared *s = sync_make(region, sizeof(*s)), *seen;
	struct lshm_event here = {0};
	uint64_t count = 7;
	int64_t deadline = UT_BRIEF;

	UT_ERR(-EAGAIN, lshm_event_wait(region, &s->event, 0, LSHM_NOW, &count),
	    "posted");
	UT_ERR(-ETIMEDOUT,
	    lshm_event_wait(region, &s->event, 0, deadline, &count));
	UT_CMP((uint64_t)lshm_deadline_ms(0), >=, (uint64_t)deadline);
	UT_EQ(7, count);
	UT_OK(lshm_event_post(region, &s->event, 0));
	UT_ERR(-EAGAIN, lshm_event_wait(region, &s->event, 0, LSHM_NOW, NULL));
	UT_OK(lshm_event_post(region, &s->event, 3));
	UT_OK(lshm_event_wait(region, &s->event, 0, LSHM_NOW, NULL));
	UT_OK(lshm_event_wait(region, &s->event, 0, 1, &count));
	UT_EQ(3, count);
	UT_ERR(-EAGAIN, lshm_event_wait(region, &s->event, 3, LSHM_NOW, NULL));
	/* who was there before it wrapped around */
	s->event.count = UINT64_MAX;
	UT_OK(lshm_event_post(region, &s->event, 1));
	UT_OK(lshm_event_wait(region, &s->event, UINT64_MAX, LSHM_NOW, &count));
	UT_EQ(0, count);

	UT_ERR(-EINVAL, lshm_event_post(region, &here, 1), "event");
	UT_ERR(-EINVAL, lshm_event_wait(region, &here, 0, LSHM_NOW, NULL));
	UT_ERR(-EINVAL, lshm_event_count(region, &here, &count));
	seen = sync_find(looks);
	UT_ERR(-EROFS, lshm_event_post(looks, &seen->event, 1));
	UT_ERR(-EROFS, lshm_event_wait(looks, &seen->event, 9, UT_SOON, NULL));
	UT_OK(lshm_event_post(region, &s->event, 5));
	UT_OK(lshm_event_count(looks, &seen->event, &count));
	UT_EQ(5, count);
	lshm_region_close(looks);
	lshm_region_close(region);
}

UT_TEST(nobody_waits, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *s = sync_make(region, sizeof(*s));

	for (int i = 0; i < 1000; i++)
		UT_OK(lshm_event_post(region, &s->event, 1));
	UT_EQ(0, s->event.waiters.event); /* so nobody was woken */
	/* who gave up waiting is looked for once */
	UT_ERR(-ETIMEDOUT,
	    lshm_event_wait(region, &s->event, 1000, UT_BRIEF, NULL));
	for (int i = 0; i < 1000; i++)
		UT_OK(lshm_event_post(region, &s->event, 1));
	UT_EQ(1, s->event.waiters.event);
	lshm_region_close(region);
}

UT_TEST(post_wakes_all, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *s = sync_make(region, sizeof(*s));
	struct ut_child children[3];

	sync_age(&s->event.waiters);
	for (size_t i = 0; i < UT_COUNT(children); i++)
		children[i] = ut_spawn(region, 0, waits, NULL);
	for (uint64_t n = 0; n < 50; n++) {
		uint32_t sleeps = s->event.waiters.sleeps;
		uint32_t event = s->event.waiters.event;

		for (size_t i = 0; i < UT_COUNT(children); i++)
			sync_tell(&children[i], n);
		sync_await_sleep(&s->event.waiters, sleeps, UT_COUNT(children));
		UT_OK(lshm_event_post(region, &s->event, 1));
		UT_CMP(s->event.waiters.event, !=, event);
		for (size_t i = 0; i < UT_COUNT(children); i++)
			UT_EQ(n + 1, ut_hear(children[i].fd));
	}
	for (size_t i = 0; i < UT_COUNT(children); i++) {
		sync_tell(&children[i], UINT64_MAX);
		ut_join(&children[i]);
	}
	lshm_region_close(region);
}

/* A poster that dies before it wakes; a waiter that dies. */
UT_TEST(deaths, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *s = sync_make(region, sizeof(*s));
	struct ut_child dies = ut_spawn(region, 0, waits, NULL);
	struct ut_child lives = ut_spawn(region, 0, waits, NULL);

	sync_tell(&dies, 0);
	sync_tell(&lives, 0);
	sync_await_sleep(&s->event.waiters, 0, 2);
	ut_kill(&dies);
	SYNC_LOAD(s->event.count) = 1; /* and no wake-up */
	UT_EQ(1, ut_hear(lives.fd));
	/* nor does it harm if it died after having raised the event */
	sync_tell(&lives, 1);
	sync_await_sleep(&s->event.waiters, 0, 3);
	s->event.waiters.event++;
	UT_OK(lshm_event_post(region, &s->event, 1));
	UT_EQ(2, ut_hear(lives.fd));
	sync_tell(&lives, UINT64_MAX);
	ut_join(&lives);
	lshm_region_close(region);
}

static void echoes(struct lshm_region *region, int fd, void *arg)
{
	struct shared *s = sync_find(region);
	uint64_t seen = 0;

	for (uint64_t n = ut_scale(3000); seen < n;) {
		UT_EQ(0, lshm_event_wait(
			     region, &s->event, seen, LSHM_FOREVER, &seen));
		UT_EQ(seen, SYNC_LOAD(s->value));
		UT_OK(lshm_event_post(region, &s->back, 1));
	}
}

/* Each waits for the other: were wake-ups lost, it would take hours. */
UT_TEST(to_and_fro, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *s = sync_make(region, sizeof(*s));
	struct ut_child child = ut_spawn(region, 0, echoes, NULL);
	uint64_t seen = 0;

	for (uint64_t n = ut_scale(3000); seen < n;) {
		SYNC_LOAD(s->value) = seen + 1;
		UT_OK(lshm_event_post(region, &s->event, 1));
		UT_EQ(0, lshm_event_wait(
			     region, &s->back, seen, LSHM_FOREVER, &seen));
	}
	ut_join(&child);
	lshm_region_close(region);
}
