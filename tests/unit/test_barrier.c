/* SPDX-License-Identifier: MIT */
/*
 * test_barrier.c - members that meet, and may die; see barrier.h
 */
#include "sync.h"

#include <time.h>

struct shared {
	struct lshm_barrier barrier;
	uint64_t steps[4]; /* of each worker */
	uint64_t dead;
};

enum { END, JOIN, LEAVE, WAIT, WAIT_NOW, WAIT_BRIEF, JOIN_MANY };

/* As many handles as there is room for, each of which joins. */
static void join_many(struct lshm_region *region)
{
	for (int i = 0; i < LSHM_MEMBERS_MAX; i++) {
		struct lshm_region *other = ut_reopen(region, 0);
		struct shared *s = sync_find(other);

		UT_EQ(0, lshm_barrier_join(other, &s->barrier));
	}
}

static int obey(
    struct lshm_region *region, struct lshm_barrier *b, uint64_t what)
{
	switch (what) {
	case JOIN:
		return lshm_barrier_join(region, b);
	case LEAVE:
		return lshm_barrier_leave(region, b);
	case WAIT:
		return lshm_barrier_wait(region, b, LSHM_FOREVER);
	case WAIT_NOW:
		return lshm_barrier_wait(region, b, LSHM_NOW);
	case WAIT_BRIEF:
		return lshm_barrier_wait(region, b, UT_BRIEF);
	default:
		join_many(region);
		return 0;
	}
}

static void obeys(struct lshm_region *region, int fd, void *arg)
{
	struct shared *s = sync_find(region);
	uint64_t what;

	while ((what = ut_hear(fd)) != END)
		ut_say(fd, (uint64_t)obey(region, &s->barrier, what));
}

/* A child that has joined. */
static struct ut_child member(struct lshm_region *region)
{
	struct ut_child child = ut_spawn(region, 0, obeys, NULL);

	UT_EQ(0, sync_ask(&child, JOIN));
	return child;
}

static void is_empty(const struct lshm_barrier *b)
{
	for (size_t i = 0; i < LSHM_MEMBERS_MAX; i++)
		UT_EQ(0, b->members[i]);
}

UT_TEST(what_it_is, UT_ONCE)
{
	UT_EQ(512, sizeof(struct lshm_barrier));
}

UT_TEST(alone, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_region *looks = ut_reopen(region, LSHM_RDONLY);
	struct lshm_barrier *b = sync_make(region, sizeof(struct shared));
	struct lshm_barrier here = {0}, *seen = sync_find(looks);

	UT_ERR(-EPERM, lshm_barrier_wait(region, b, LSHM_NOW), "join");
	UT_ERR(-EPERM, lshm_barrier_leave(region, b));
	UT_OK(lshm_barrier_join(region, b));
	UT_ERR(-EEXIST, lshm_barrier_join(region, b), "already");
	for (int i = 0; i < 100; i++)
		UT_EQ(0, lshm_barrier_wait(region, b,
			     i % 3 == 0	  ? LSHM_NOW
			     : i % 3 == 1 ? LSHM_FOREVER
					  : 1));
	UT_OK(lshm_barrier_leave(region, b));
	UT_ERR(-EPERM, lshm_barrier_wait(region, b, LSHM_NOW));
	UT_EQ(0, b->waiters.event); /* nobody was woken */
	is_empty(b);
	UT_ERR(-EINVAL, lshm_barrier_join(region, &here), "barrier");
	UT_ERR(-EINVAL, lshm_barrier_wait(region, &here, LSHM_NOW));
	UT_ERR(-EINVAL, lshm_barrier_leave(region, &here));
	UT_ERR(-EROFS, lshm_barrier_join(looks, seen));
	UT_ERR(-EROFS, lshm_barrier_wait(looks, seen, LSHM_NOW));
	UT_ERR(-EROFS, lshm_barrier_leave(looks, seen));
	lshm_region_close(looks);
	lshm_region_close(region);
}

UT_TEST(meet, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_barrier *b = sync_make(region, sizeof(struct shared));
	struct ut_child one, two;
	uint32_t sleeps, event;

	sync_age(&b->waiters);
	b->phase = (uint64_t)(UINT32_MAX - 5) << 2 | UINT64_MAX << 34;
	one = member(region);
	two = member(region);
	UT_OK(lshm_barrier_join(region, b));
	for (int i = 0; i < 50; i++) {
		sleeps = b->waiters.sleeps;
		event = b->waiters.event;
		sync_tell(&one, WAIT);
		sync_tell(&two, WAIT);
		sync_await_sleep(&b->waiters, sleeps, 2);
		UT_EQ(0, obey(region, b, i % 2 ? WAIT_NOW : WAIT));
		UT_CMP(b->waiters.event, !=, event);
		UT_EQ(0, sync_answer(&one));
		UT_EQ(0, sync_answer(&two));
	}
	/* who leaves is not waited for */
	sleeps = b->waiters.sleeps;
	sync_tell(&one, WAIT);
	sync_tell(&two, WAIT);
	sync_await_sleep(&b->waiters, sleeps, 2);
	event = b->waiters.event;
	UT_OK(lshm_barrier_leave(region, b));
	UT_CMP(b->waiters.event, !=, event);
	UT_EQ(0, sync_answer(&one));
	UT_EQ(0, sync_answer(&two));
	UT_EQ(0, sync_ask(&one, LEAVE));
	UT_EQ(0, sync_ask(&two, WAIT));
	UT_EQ(0, sync_ask(&two, LEAVE));
	sync_end(&one);
	sync_end(&two);
	is_empty(b);
	lshm_region_close(region);
}

/* Whose time is up has not arrived, and comes again. */
UT_TEST(deadline, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_barrier *b = sync_make(region, sizeof(struct shared));
	struct ut_child other = member(region);
	int64_t deadline = UT_BRIEF;
	uint32_t sleeps;

	UT_OK(lshm_barrier_join(region, b));
	UT_ERR(-EAGAIN, lshm_barrier_wait(region, b, LSHM_NOW), "members");
	UT_ERR(-ETIMEDOUT, lshm_barrier_wait(region, b, deadline), "members");
	UT_CMP((uint64_t)lshm_deadline_ms(0), >=, (uint64_t)deadline);
	/* so the other one waits for us */
	UT_EQ(-EAGAIN, sync_ask(&other, WAIT_NOW));
	UT_EQ(-ETIMEDOUT, sync_ask(&other, WAIT_BRIEF));
	sleeps = b->waiters.sleeps;
	sync_tell(&other, WAIT);
	sync_await_sleep(&b->waiters, sleeps, 1);
	UT_EQ(0, obey(region, b, WAIT_NOW));
	UT_EQ(0, sync_answer(&other));
	/* who joins is waited for from then on, whoever has arrived */
	UT_OK(lshm_barrier_leave(region, b));
	UT_OK(lshm_barrier_join(region, b));
	UT_EQ(-EAGAIN, sync_ask(&other, WAIT_NOW));
	UT_OK(lshm_barrier_leave(region, b));
	UT_EQ(0, sync_ask(&other, WAIT_NOW));
	sync_end(&other);
	lshm_region_close(region);
}

/* ---- death ---- */

UT_TEST(member_died, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_barrier *b = sync_make(region, sizeof(struct shared));
	struct ut_child dies = member(region), lives = member(region);

	UT_OK(lshm_barrier_join(region, b));
	/* a stopped one is alive */
	ut_stop(&dies);
	sync_tell(&lives, WAIT);
	sync_await_sleep(&b->waiters, 0, 1);
	UT_EQ(-EAGAIN, obey(region, b, WAIT_NOW));
	UT_EQ(-ETIMEDOUT, obey(region, b, WAIT_BRIEF));
	/* every member is told, the one that sleeps already, too */
	ut_kill(&dies);
	UT_EQ(LSHM_OWNER_DIED, obey(region, b, WAIT_NOW));
	UT_EQ(LSHM_OWNER_DIED, sync_answer(&lives));
	/* once */
	sync_tell(&lives, WAIT);
	UT_EQ(0, obey(region, b, WAIT));
	UT_EQ(0, sync_answer(&lives));
	sync_end(&lives);
	UT_EQ(LSHM_OWNER_DIED, obey(region, b, WAIT_NOW)); /* without leaving */
	UT_OK(lshm_barrier_leave(region, b));
	is_empty(b);
	lshm_region_close(region);
}

UT_TEST(member_died_while_others_wait, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_barrier *b = sync_make(region, sizeof(struct shared));
	struct ut_child dies = member(region);
	struct ut_child lives[2] = {member(region), member(region)};

	sync_tell(&lives[0], WAIT);
	sync_tell(&lives[1], WAIT);
	sync_await_sleep(&b->waiters, 0, 2);
	ut_kill(&dies);
	for (int i = 0; i < 2; i++)
		UT_EQ(LSHM_OWNER_DIED, sync_answer(&lives[i]));
	for (int i = 0; i < 2; i++)
		sync_end(&lives[i]);
	lshm_region_close(region);
}

/* It arrived, and is missed in the next phase. */
UT_TEST(member_died_waiting, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_barrier *b = sync_make(region, sizeof(struct shared));
	struct ut_child dies = member(region);

	UT_OK(lshm_barrier_join(region, b));
	sync_tell(&dies, WAIT);
	sync_await_sleep(&b->waiters, 0, 1);
	ut_kill(&dies);
	UT_EQ(0, obey(region, b, WAIT));
	UT_EQ(LSHM_OWNER_DIED, obey(region, b, WAIT));
	UT_EQ(0, obey(region, b, WAIT));
	lshm_region_close(region);
}

/* The last one to arrive dies before it ends the phase; or before it wakes. */
UT_TEST(last_one_died, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_barrier *b = sync_make(region, sizeof(struct shared));
	struct ut_child dies = member(region), lives = member(region);
	uint32_t phase = (uint32_t)(b->phase >> 2);

	sync_tell(&lives, WAIT);
	sync_await_sleep(&b->waiters, 0, 1);
	for (size_t i = 0; i < LSHM_MEMBERS_MAX; i++) /* as if it had stored */
		if (b->members[i] && !(b->members[i] & 1))
			SYNC_LOAD(b->members[i]) =
			    b->members[i] | 1 | (uint64_t)phase << 49;
	ut_kill(&dies);
	UT_EQ(0, sync_answer(&lives));
	UT_EQ(LSHM_OWNER_DIED, sync_ask(&lives, WAIT));
	sync_end(&lives);
	lshm_region_close(region);
}

UT_TEST(full, UT_ONCE)
{
	struct lshm_region *region =
	    ut_create(&(struct lshm_region_opts)LSHM_REGION_OPTS(.size = MIB,
		.max_participants = 128));
	struct lshm_barrier *b = sync_make(region, sizeof(struct shared));
	struct ut_child dies = ut_spawn(region, 0, obeys, NULL);

	UT_EQ(0, sync_ask(&dies, JOIN_MANY));
	UT_ERR(-EUSERS, lshm_barrier_join(region, b), "60");
	ut_kill(&dies);
	/* the dead make room; what is known of them is not lost */
	UT_OK(lshm_barrier_join(region, b));
	UT_EQ(LSHM_OWNER_DIED, obey(region, b, WAIT_NOW));
	UT_EQ(0, obey(region, b, WAIT_NOW));
	UT_OK(lshm_barrier_leave(region, b));
	is_empty(b);
	lshm_region_close(region);
}

/* ---- many ---- */

/* Nobody is ever more than a step ahead. */
static void steps(struct lshm_region *region, int fd, void *arg)
{
	struct shared *s = sync_find(region);
	uint64_t me = ut_hear(fd), seed = ut_hear(fd), n = ut_hear(fd);
	int ret;

	UT_OK(lshm_barrier_join(region, &s->barrier));
	ut_say(fd, 0);
	ut_hear(fd);
	for (uint64_t i = 1; i <= n; i++) {
		SYNC_LOAD(s->steps[me]) = i;
		do /* some lose patience, and come again */
			ret = lshm_barrier_wait(region, &s->barrier,
			    ut_random(&seed) % 4 ? LSHM_FOREVER
			    : ut_random(&seed) % 2
				? LSHM_NOW
				: lshm_deadline_ms(0) + 50000);
		while (ret == -EAGAIN || ret == -ETIMEDOUT);
		UT_EQ(0, ret);
		for (size_t j = 0; j < UT_COUNT(s->steps); j++) {
			UT_CMP(SYNC_LOAD(s->steps[j]), >=, i);
			UT_CMP(SYNC_LOAD(s->steps[j]), <=, i + 1);
		}
	}
	UT_OK(lshm_barrier_leave(region, &s->barrier));
}

UT_TEST(in_step, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *s = sync_make(region, sizeof(*s));
	struct ut_child children[UT_COUNT(s->steps)];
	uint64_t seed = ut_seed();

	for (size_t i = 0; i < UT_COUNT(children); i++) {
		children[i] = ut_spawn(region, 0, steps, NULL);
		ut_say(children[i].fd, i);
		ut_say(children[i].fd, ut_random(&seed));
		ut_say(children[i].fd, ut_scale(1000));
		ut_hear(children[i].fd);
	}
	for (size_t i = 0; i < UT_COUNT(children); i++)
		ut_say(children[i].fd, 0);
	for (size_t i = 0; i < UT_COUNT(children); i++)
		ut_join(&children[i]);
	is_empty(&s->barrier);
	lshm_region_close(region);
}

static void comes(struct lshm_region *region, int fd, void *arg)
{
	struct shared *s = sync_find(region);

	UT_OK(lshm_barrier_join(region, &s->barrier));
	ut_say(fd, 0);
	for (;;)
		UT_TRUE(
		    lshm_barrier_wait(region, &s->barrier, LSHM_FOREVER) >= 0);
}

/* Members killed at random: each death is told, and nobody waits for ever. */
UT_TEST(killed_at_random, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *s = sync_make(region, sizeof(*s));
	uint64_t seed = ut_seed();
	struct ut_child children[3];

	UT_OK(lshm_barrier_join(region, &s->barrier));
	for (size_t i = 0; i < UT_COUNT(children); i++) {
		children[i] = ut_spawn(region, 0, comes, NULL);
		ut_hear(children[i].fd);
	}
	for (uint64_t n = ut_scale(20); n; n--) {
		size_t i = ut_random(&seed) % UT_COUNT(children);
		int told = 0, ret;

		for (uint64_t k = ut_random(&seed) % 200; k; k--)
			UT_EQ(0, obey(region, &s->barrier, WAIT));
		ut_kill(&children[i]);
		for (int k = 0; k < 3; k++) { /* it may have arrived for one */
			ret = obey(region, &s->barrier, WAIT);
			UT_TRUE(ret >= 0);
			told += ret;
		}
		UT_CMP(told, >=, 1);
		children[i] = ut_spawn(region, 0, comes, NULL);
		ut_hear(children[i].fd);
	}
	for (size_t i = 0; i < UT_COUNT(children); i++)
		ut_kill(&children[i]);
	for (int k = 0; k < 3; k++)
		UT_TRUE(obey(region, &s->barrier, WAIT) >= 0);
	UT_EQ(0, obey(region, &s->barrier, WAIT_NOW));
	UT_OK(lshm_barrier_leave(region, &s->barrier));
	is_empty(&s->barrier);
	lshm_region_close(region);
}

/* Whatever is in it, waiting ends. */
UT_TEST(hostile_words, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *s = sync_make(region, sizeof(*s));
	uint64_t seed = ut_seed(), *words = (uint64_t *)&s->barrier;

	for (uint64_t n = ut_scale(300); n; n--) {
		for (size_t i = 0; i < sizeof(s->barrier) / 8; i++)
			words[i] =
			    ut_random(&seed) % 2
				? ut_random(&seed) >> ut_random(&seed) % 64
				: 0;
		(void)obey(region, &s->barrier, JOIN);
		(void)obey(region, &s->barrier, WAIT_NOW);
		(void)obey(region, &s->barrier, LEAVE);
	}
	lshm_region_close(region);
}
