/* SPDX-License-Identifier: MIT */
/*
 * test_once.c - a thing done once, whoever dies doing it; see once.h
 */
#include "sync.h"

struct shared {
	struct lshm_once once;
	uint64_t begun;
	uint64_t done;
};

/* What an attempt does, and what it is to find. */
struct attempt {
	struct lshm_region *region;
	struct shared *shared;
	unsigned int earlier;
	int ret;
	int fd;	    /* 0, or to be told to go on */
	bool again; /* ask for it from within */
};

static int init(void *arg, unsigned int earlier)
{
	struct attempt *a = arg;

	SYNC_LOAD(a->shared->begun) = a->shared->begun + 1;
	UT_EQ(a->earlier, earlier);
	if (a->fd) {
		ut_say(a->fd, 0);
		ut_hear(a->fd);
	}
	if (a->again) {
		UT_ERR(-EDEADLK, lshm_once_run(a->region, &a->shared->once,
				     init, a, LSHM_NOW));
		UT_ERR(-EDEADLK, lshm_once_run(a->region, &a->shared->once,
				     init, a, LSHM_FOREVER));
	}
	if (a->ret >= 0)
		SYNC_LOAD(a->shared->done) = a->shared->done + 1;
	return a->ret;
}

static int try(struct lshm_region *region, struct attempt a, int64_t deadline)
{
	a.region = region;
	a.shared = sync_find(region);
	return lshm_once_run(region, &a.shared->once, init, &a, deadline);
}

#define ATTEMPT(...) ((struct attempt){__VA_ARGS__})

static void tries(struct lshm_region *region, int fd, void *arg)
{
	int ret = try(region,
	    ATTEMPT(.fd = fd, .earlier = *(unsigned int *)arg), LSHM_FOREVER);

	ut_say(fd, (uint64_t)ret);
	ut_hear(fd);
}

UT_TEST(what_it_is, UT_ONCE)
{
	UT_EQ(16, sizeof(struct lshm_once));
}

UT_TEST(done_once, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_region *looks = ut_reopen(region, LSHM_RDONLY);
	struct shared *s = sync_make(region, sizeof(*s));
	struct lshm_once here = {0};

	UT_ERR(-EROFS, try(looks, ATTEMPT(), LSHM_NOW));
	UT_EQ(0, s->begun);
	/* what fails is begun again */
	UT_EQ(-ENOMEM, try(region, ATTEMPT(.ret = -ENOMEM), LSHM_NOW));
	UT_EQ(-EIO,
	    try(region, ATTEMPT(.ret = -EIO, .earlier = 1), LSHM_FOREVER));
	UT_EQ(0, s->done);
	UT_EQ(0, try(region, ATTEMPT(.ret = 5, .earlier = 2), LSHM_NOW));
	for (int i = 0; i < 100; i++)
		UT_EQ(0, try(i % 2 ? looks : region, ATTEMPT(), LSHM_NOW));
	UT_EQ(1, s->done);
	UT_EQ(3, s->begun);
	UT_EQ(3, s->once.attempts);
	UT_ERR(-EINVAL, lshm_once_run(region, &here, init, NULL, LSHM_NOW),
	    "once");
	lshm_region_close(looks);
	lshm_region_close(region);
}

UT_TEST(not_from_within, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *s = sync_make(region, sizeof(*s));

	UT_EQ(-EIO, try(region, ATTEMPT(.ret = -EIO, .again = true), 1));
	UT_EQ(0, try(region, ATTEMPT(.earlier = 1, .again = true), 1));
	UT_EQ(1, s->done);
	lshm_region_close(region);
}

UT_TEST(done_by_another, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *s = sync_make(region, sizeof(*s));
	unsigned int earlier = 0;
	struct ut_child child = ut_spawn(region, 0, tries, &earlier);

	ut_hear(child.fd); /* it is at it */
	UT_EQ(-EAGAIN, try(region, ATTEMPT(), LSHM_NOW));
	UT_EQ(-ETIMEDOUT, try(region, ATTEMPT(), UT_BRIEF));
	ut_stop(&child); /* and lives */
	UT_EQ(-EAGAIN, try(region, ATTEMPT(), LSHM_NOW));
	ut_continue(&child);
	ut_say(child.fd, 0);
	UT_EQ(0, try(region, ATTEMPT(), LSHM_FOREVER));
	UT_EQ(1, s->begun);
	UT_EQ(1, s->done);
	UT_EQ(0, sync_answer(&child));
	sync_end(&child);
	lshm_region_close(region);
}

UT_TEST(died_doing_it, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *s = sync_make(region, sizeof(*s));
	struct ut_child child;

	for (unsigned int earlier = 0; earlier < 3; earlier++) {
		child = ut_spawn(region, 0, tries, &earlier);
		ut_hear(child.fd);
		ut_kill(&child);
	}
	UT_EQ(0, try(region, ATTEMPT(.earlier = 3), LSHM_NOW));
	UT_EQ(1, s->done);
	lshm_region_close(region);
}

/* It dies while another waits, and that one does it. */
UT_TEST(died_while_others_wait, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *s = sync_make(region, sizeof(*s));
	unsigned int earlier = 0;
	struct ut_child dies = ut_spawn(region, 0, tries, &earlier), waits;

	ut_hear(dies.fd);
	earlier = 1;
	waits = ut_spawn(region, 0, tries, &earlier);
	while (!(SYNC_LOAD(s->once.mutex.word) & 1)) /* until it sleeps */
		sched_yield();
	ut_kill(&dies);
	ut_hear(waits.fd); /* it is at it */
	ut_say(waits.fd, 0);
	UT_EQ(0, sync_answer(&waits));
	sync_end(&waits);
	UT_EQ(1, s->done);
	UT_EQ(2, s->begun);
	lshm_region_close(region);
}

/* It dies after it is done, before it says so: it is done. */
UT_TEST(died_with_it_done, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *s = sync_make(region, sizeof(*s));
	unsigned int earlier = 0;
	struct ut_child child = ut_spawn(region, 0, tries, &earlier);

	ut_hear(child.fd);
	s->once.done = 1;
	ut_kill(&child);
	UT_EQ(0, try(region, ATTEMPT(), LSHM_NOW));
	UT_EQ(1, s->begun);
	lshm_region_close(region);
}

static void all_try(struct lshm_region *region, int fd, void *arg)
{
	ut_hear(fd);
	UT_EQ(0, try(region, ATTEMPT(), LSHM_FOREVER));
	UT_EQ(1, SYNC_LOAD(((struct shared *)sync_find(region))->done));
}

UT_TEST(many, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *s = sync_make(region, sizeof(*s));
	struct ut_child children[4];

	for (int n = 0; n < 20; n++) {
		memset(s, 0, sizeof(*s));
		for (size_t i = 0; i < UT_COUNT(children); i++)
			children[i] = ut_spawn(region, 0, all_try, NULL);
		for (size_t i = 0; i < UT_COUNT(children); i++)
			ut_say(children[i].fd, 0);
		for (size_t i = 0; i < UT_COUNT(children); i++)
			ut_join(&children[i]);
		UT_EQ(1, s->begun);
		UT_EQ(1, s->done);
	}
	lshm_region_close(region);
}
