/* SPDX-License-Identifier: MIT */
/*
 * test_rwlock.c - many readers or one writer; see rwlock.h
 */
#include "sync.h"

#include <poll.h>
#include <signal.h>
#include <time.h>

struct shared {
	struct lshm_rwlock lock;
	lshm_off field;
	uint64_t left; /* equal to right, unless a writer is at work */
	uint64_t right;
};

enum { END, READ, READ_NOW, WRITE, WRITE_NOW, WRITE_BRIEF, UNLOCK, READ_MANY };

static struct shared *make(struct lshm_region *region)
{
	return sync_make(region, sizeof(struct shared));
}

/* As many handles as there is room for, each of which reads. */
static void read_many(struct lshm_region *region)
{
	for (int i = 0; i < LSHM_READERS_MAX; i++) {
		struct lshm_region *other = ut_reopen(region, 0);
		struct shared *shared = sync_find(other);

		UT_EQ(0, lshm_rwlock_read(other, &shared->lock, LSHM_NOW));
	}
}

static int obey(
    struct lshm_region *region, struct lshm_rwlock *l, uint64_t what)
{
	switch (what) {
	case READ:
		return lshm_rwlock_read(region, l, LSHM_FOREVER);
	case READ_NOW:
		return lshm_rwlock_read(region, l, LSHM_NOW);
	case WRITE:
		return lshm_rwlock_write(region, l, LSHM_FOREVER);
	case WRITE_NOW:
		return lshm_rwlock_write(region, l, LSHM_NOW);
	case WRITE_BRIEF:
		return lshm_rwlock_write(region, l, UT_BRIEF);
	case UNLOCK:
		return lshm_rwlock_unlock(region, l);
	default:
		read_many(region);
		return 0;
	}
}

static void nothing(int signal)
{
}

static void obeys(struct lshm_region *region, int fd, void *arg)
{
	struct shared *shared = sync_find(region);
	uint64_t what;

	signal(SIGUSR1, nothing);
	while ((what = ut_hear(fd)) != END)
		ut_say(fd, (uint64_t)obey(region, &shared->lock, what));
}

static void is_free(const struct shared *shared)
{
	UT_EQ(0, shared->lock.writer.word);
	UT_EQ(0, shared->lock.writing);
	for (size_t i = 0; i < LSHM_READERS_MAX; i++)
		UT_EQ(0, shared->lock.readers[i]);
}

UT_TEST(what_it_is, UT_ONCE)
{
	UT_EQ(512, sizeof(struct lshm_rwlock));
	UT_EQ(8, _Alignof(struct lshm_rwlock));
}

UT_TEST(read_and_write, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *shared = make(region);

	for (int i = 0; i < 1000; i++) {
		int64_t deadline = i % 3 == 0	? LSHM_NOW
				   : i % 3 == 1 ? LSHM_FOREVER
						: 1;

		UT_EQ(0, lshm_rwlock_read(region, &shared->lock, deadline));
		UT_OK(lshm_rwlock_unlock(region, &shared->lock));
		UT_EQ(0, lshm_rwlock_write(region, &shared->lock, deadline));
		UT_OK(lshm_rwlock_unlock(region, &shared->lock));
	}
	is_free(shared);
	/* nobody waited, so nobody was woken */
	UT_EQ(0, shared->lock.door.event);
	UT_EQ(0, shared->lock.exits.event);
	lshm_region_close(region);
}

UT_TEST(not_recursive, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_rwlock *l = &make(region)->lock;
	const int64_t deadlines[] = {LSHM_NOW, UT_BRIEF, LSHM_FOREVER};

	for (int i = 0; i < 2; i++) {
		UT_EQ(0, obey(region, l, i ? WRITE : READ));
		for (size_t j = 0; j < UT_COUNT(deadlines); j++) {
			UT_ERR(-EDEADLK,
			    lshm_rwlock_read(region, l, deadlines[j]), "holds");
			UT_ERR(-EDEADLK,
			    lshm_rwlock_write(region, l, deadlines[j]));
		}
		UT_OK(lshm_rwlock_unlock(region, l));
	}
	is_free((struct shared *)l);
	lshm_region_close(region);
}

UT_TEST(wrong_calls, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_region *other = ut_reopen(region, 0);
	struct lshm_region *looks = ut_reopen(region, LSHM_RDONLY);
	struct shared *shared = make(region);
	struct lshm_rwlock here = {0}, *l = &shared->lock;
	struct lshm_rwlock *odd = (void *)((char *)l + 4);

	UT_ERR(-EPERM, lshm_rwlock_unlock(region, l));
	UT_EQ(0, lshm_rwlock_read(region, l, LSHM_NOW));
	UT_ERR(-EPERM, lshm_rwlock_unlock(
			   other, &((struct shared *)sync_find(other))->lock));
	UT_OK(lshm_rwlock_unlock(region, l));
	UT_ERR(-EPERM, lshm_rwlock_unlock(region, l));
	UT_ERR(-EINVAL, lshm_rwlock_read(region, &here, LSHM_NOW), "rwlock");
	UT_ERR(-EINVAL, lshm_rwlock_write(region, &here, LSHM_NOW));
	UT_ERR(-EINVAL, lshm_rwlock_unlock(region, &here));
	UT_ERR(-EINVAL, lshm_rwlock_read(region, NULL, LSHM_NOW));
	UT_ERR(-EINVAL, lshm_rwlock_read(region, odd, LSHM_NOW));
	lshm_region_close(other);
	l = &((struct shared *)sync_find(looks))->lock;
	UT_ERR(-EROFS, lshm_rwlock_read(looks, l, LSHM_NOW));
	UT_ERR(-EROFS, lshm_rwlock_write(looks, l, LSHM_NOW));
	UT_ERR(-EROFS, lshm_rwlock_unlock(looks, l));
	lshm_region_close(looks);
	lshm_region_close(region);
}

UT_TEST(readers_share, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *shared = make(region);
	struct ut_child other = ut_spawn(region, 0, obeys, NULL);
	struct ut_child third = ut_spawn(region, 0, obeys, NULL);

	UT_EQ(0, obey(region, &shared->lock, READ));
	UT_EQ(0, sync_ask(&other, READ_NOW));
	UT_EQ(-EAGAIN, sync_ask(&third, WRITE_NOW));
	UT_EQ(-ETIMEDOUT, sync_ask(&third, WRITE_BRIEF));
	/* a writer that has given up leaves the door open */
	UT_EQ(0, sync_ask(&third, READ_NOW));
	UT_EQ(0, sync_ask(&third, UNLOCK));
	UT_OK(lshm_rwlock_unlock(region, &shared->lock));
	UT_EQ(-EAGAIN, sync_ask(&third, WRITE_NOW));
	UT_EQ(0, sync_ask(&other, UNLOCK));
	UT_EQ(0, sync_ask(&third, WRITE_NOW));
	UT_EQ(0, sync_ask(&third, UNLOCK));
	is_free(shared);
	sync_end(&other);
	sync_end(&third);
	lshm_region_close(region);
}

UT_TEST(writer_excludes, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *shared = make(region);
	struct ut_child other = ut_spawn(region, 0, obeys, NULL);
	int64_t deadline = UT_BRIEF;

	UT_EQ(0, sync_ask(&other, WRITE));
	UT_ERR(-EAGAIN, lshm_rwlock_read(region, &shared->lock, LSHM_NOW));
	UT_ERR(-EAGAIN, lshm_rwlock_write(region, &shared->lock, LSHM_NOW));
	UT_ERR(-ETIMEDOUT, lshm_rwlock_read(region, &shared->lock, deadline));
	UT_CMP((uint64_t)lshm_deadline_ms(0), >=, (uint64_t)deadline);
	UT_ERR(-ETIMEDOUT, lshm_rwlock_read(region, &shared->lock, 1));
	UT_ERR(-ETIMEDOUT, lshm_rwlock_write(region, &shared->lock, UT_BRIEF));
	UT_ERR(-EPERM, lshm_rwlock_unlock(region, &shared->lock));
	UT_EQ(0, sync_ask(&other, UNLOCK));
	UT_EQ(0, lshm_rwlock_read(region, &shared->lock, 1));
	UT_OK(lshm_rwlock_unlock(region, &shared->lock));
	is_free(shared);
	sync_end(&other);
	lshm_region_close(region);
}

/* Those who sleep are woken, and the counters may wrap around. */
UT_TEST(unlock_wakes, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *shared = make(region);
	struct lshm_rwlock *l = &shared->lock;
	struct ut_child a = ut_spawn(region, 0, obeys, NULL);
	struct ut_child b = ut_spawn(region, 0, obeys, NULL);

	sync_age(&l->door);
	sync_age(&l->exits);
	for (int i = 0; i < 20; i++) {
		uint32_t sleeps = l->door.sleeps, event = l->door.event;

		/* readers, by a writer */
		UT_EQ(0, obey(region, l, WRITE));
		sync_tell(&a, READ);
		sync_tell(&b, READ);
		sync_await_sleep(&l->door, sleeps, 2);
		UT_OK(lshm_rwlock_unlock(region, l));
		UT_CMP(l->door.event, !=, event);
		UT_EQ(0, sync_answer(&a));
		UT_EQ(0, sync_answer(&b));
		/* a writer, by the last reader */
		sleeps = l->exits.sleeps;
		UT_EQ(0, sync_ask(&b, UNLOCK));
		sync_tell(&b, WRITE);
		sync_await_sleep(&l->exits, sleeps, 1);
		UT_ERR(-EAGAIN, lshm_rwlock_read(region, l, LSHM_NOW));
		event = l->exits.event;
		UT_EQ(0, sync_ask(&a, UNLOCK));
		UT_EQ(0, sync_answer(&b));
		UT_CMP(l->exits.event, !=, event);
		UT_EQ(0, sync_ask(&b, UNLOCK));
	}
	is_free(shared);
	sync_end(&a);
	sync_end(&b);
	lshm_region_close(region);
}

/* ---- a table that is full ---- */

UT_TEST(full_of_readers, UT_ONCE)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_region *others[LSHM_READERS_MAX];
	struct shared *shared = make(region);
	struct lshm_rwlock *l = &shared->lock;
	struct ut_child child = ut_spawn(region, 0, obeys, NULL);
	uint32_t sleeps;

	for (size_t i = 0; i < UT_COUNT(others); i++) {
		struct shared *theirs;

		others[i] = ut_reopen(region, 0);
		theirs = sync_find(others[i]);
		UT_EQ(0, lshm_rwlock_read(others[i], &theirs->lock, LSHM_NOW));
	}
	UT_ERR(-EAGAIN, lshm_rwlock_read(region, l, LSHM_NOW), "readers");
	UT_ERR(-ETIMEDOUT, lshm_rwlock_read(region, l, UT_BRIEF), "readers");
	UT_ERR(-EAGAIN, lshm_rwlock_write(region, l, LSHM_NOW), "readers");
	sleeps = l->exits.sleeps;
	sync_tell(&child, READ);
	sync_await_sleep(&l->exits, sleeps, 1);
	for (size_t i = 0; i < UT_COUNT(others); i++) {
		struct shared *theirs = sync_find(others[i]);

		UT_OK(lshm_rwlock_unlock(others[i], &theirs->lock));
		if (i == 0)
			UT_EQ(0, sync_answer(&child));
		lshm_region_close(others[i]);
	}
	UT_EQ(0, sync_ask(&child, UNLOCK));
	is_free(shared);
	sync_end(&child);
	lshm_region_close(region);
}

UT_TEST(full_of_the_dead, UT_ONCE)
{
	for (int write = 0; write < 2; write++) {
		struct lshm_region *region = ut_create(UT_SMALL);
		struct shared *shared = make(region);
		struct ut_child child = ut_spawn(region, 0, obeys, NULL);

		UT_EQ(0, sync_ask(&child, READ_MANY));
		UT_EQ(-EAGAIN, obey(region, &shared->lock, READ_NOW));
		ut_kill(&child);
		UT_EQ(0,
		    obey(region, &shared->lock, write ? WRITE_NOW : READ_NOW));
		UT_OK(lshm_rwlock_unlock(region, &shared->lock));
		is_free(shared);
		lshm_region_close(region);
	}
}

/* ---- death ---- */

UT_TEST(reader_died, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *shared = make(region);
	struct ut_child dies = ut_spawn(region, 0, obeys, NULL);
	struct ut_child waits = ut_spawn(region, 0, obeys, NULL);
	uint32_t sleeps;

	/* before it is waited for */
	UT_EQ(0, sync_ask(&dies, READ));
	ut_kill(&dies);
	UT_EQ(0, obey(region, &shared->lock, WRITE_NOW));
	UT_OK(lshm_rwlock_unlock(region, &shared->lock));
	/* while it is waited for */
	dies = ut_spawn(region, 0, obeys, NULL);
	UT_EQ(0, sync_ask(&dies, READ));
	sleeps = shared->lock.exits.sleeps;
	sync_tell(&waits, WRITE);
	sync_await_sleep(&shared->lock.exits, sleeps, 1);
	ut_kill(&dies);
	UT_EQ(0, sync_answer(&waits));
	UT_EQ(0, sync_ask(&waits, UNLOCK));
	/* and its deadline is no excuse */
	dies = ut_spawn(region, 0, obeys, NULL);
	UT_EQ(0, sync_ask(&dies, READ));
	ut_kill(&dies);
	UT_EQ(0, sync_ask(&waits, WRITE_BRIEF));
	UT_EQ(0, sync_ask(&waits, UNLOCK));
	is_free(shared);
	sync_end(&waits);
	lshm_region_close(region);
}

/* Rings in vain, and signals, do not put off the look at who lives. */
UT_TEST(reader_died_amid_noise, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *shared = make(region);
	struct ut_child dies = ut_spawn(region, 0, obeys, NULL);
	struct ut_child waits = ut_spawn(region, 0, obeys, NULL);
	struct pollfd answer = {.fd = waits.fd, .events = POLLIN};

	UT_EQ(0, sync_ask(&dies, READ));
	sync_tell(&waits, WRITE);
	sync_await_sleep(&shared->lock.exits, 0, 1);
	ut_kill(&dies);
	for (int i = 0; poll(&answer, 1, 1) == 0; i++) {
		if (i % 2) /* an event has its waiters first, too */
			UT_OK(lshm_event_post(region,
			    (struct lshm_event *)&shared->lock.exits, 1));
		else
			UT_EQ(0, kill(waits.pid, SIGUSR1));
	}
	UT_EQ(0, sync_answer(&waits));
	UT_EQ(0, sync_ask(&waits, UNLOCK));
	sync_end(&waits);
	lshm_region_close(region);
}

UT_TEST(writer_died, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *shared = make(region);
	struct lshm_rwlock *l = &shared->lock;
	struct ut_child dies = ut_spawn(region, 0, obeys, NULL);

	UT_EQ(0, sync_ask(&dies, WRITE));
	ut_kill(&dies);
	UT_ERR(-EOWNERDEAD, lshm_rwlock_read(region, l, LSHM_NOW), "repair");
	/* the next one dies while it repairs */
	dies = ut_spawn(region, 0, obeys, NULL);
	UT_EQ(LSHM_OWNER_DIED, sync_ask(&dies, WRITE));
	UT_EQ(-EAGAIN, obey(region, l, READ_NOW));
	ut_kill(&dies);
	UT_ERR(-EOWNERDEAD, lshm_rwlock_read(region, l, LSHM_FOREVER));
	UT_ERR(-EOWNERDEAD, lshm_rwlock_read(region, l, 1));
	UT_EQ(LSHM_OWNER_DIED, lshm_rwlock_write(region, l, LSHM_NOW));
	UT_OK(lshm_rwlock_unlock(region, l));
	UT_EQ(0, lshm_rwlock_read(region, l, LSHM_NOW));
	UT_OK(lshm_rwlock_unlock(region, l));
	UT_EQ(0, lshm_rwlock_write(region, l, LSHM_NOW));
	UT_OK(lshm_rwlock_unlock(region, l));
	is_free(shared);
	lshm_region_close(region);
}

UT_TEST(writer_died_while_others_wait, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *shared = make(region);
	struct lshm_rwlock *l = &shared->lock;
	struct ut_child dies = ut_spawn(region, 0, obeys, NULL);
	struct ut_child reads = ut_spawn(region, 0, obeys, NULL);
	struct ut_child writes = ut_spawn(region, 0, obeys, NULL);
	int ret;

	UT_EQ(0, sync_ask(&dies, WRITE));
	sync_tell(&reads, READ);
	sync_await_sleep(&l->door, 0, 1);
	sync_tell(&writes, WRITE);
	ut_kill(&dies);
	UT_EQ(LSHM_OWNER_DIED, sync_answer(&writes));
	UT_EQ(0, sync_ask(&writes, UNLOCK));
	/* it may have looked before the repair, or after it */
	ret = sync_answer(&reads);
	UT_TRUE(ret == 0 || ret == -EOWNERDEAD);
	if (ret == 0)
		UT_EQ(0, sync_ask(&reads, UNLOCK));
	is_free(shared);
	sync_end(&reads);
	sync_end(&writes);
	lshm_region_close(region);
}

/* It had not got the lock: nothing is torn. */
UT_TEST(writer_died_waiting, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_region *other = ut_reopen(region, 0);
	struct shared *shared = make(region), *theirs = sync_find(other);
	struct ut_child dies;

	for (int write = 0; write < 2; write++) {
		uint32_t sleeps = shared->lock.exits.sleeps;

		dies = ut_spawn(region, 0, obeys, NULL);
		UT_EQ(0, obey(region, &shared->lock, READ));
		sync_tell(&dies, WRITE);
		sync_await_sleep(&shared->lock.exits, sleeps, 1);
		UT_EQ(-EAGAIN, obey(other, &theirs->lock, READ_NOW));
		ut_kill(&dies);
		if (write) {
			UT_EQ(-EAGAIN, obey(other, &theirs->lock, WRITE_NOW));
			UT_OK(lshm_rwlock_unlock(region, &shared->lock));
			UT_EQ(0, obey(other, &theirs->lock, WRITE_NOW));
		} else {
			UT_EQ(0, obey(other, &theirs->lock, READ_NOW));
			UT_OK(lshm_rwlock_unlock(region, &shared->lock));
		}
		UT_OK(lshm_rwlock_unlock(other, &theirs->lock));
	}
	is_free(shared);
	lshm_region_close(other);
	lshm_region_close(region);
}

/* A handle that is closed gives back what it held as on death. */
UT_TEST(holder_detached, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *shared = make(region);

	for (int write = 0; write < 2; write++) {
		struct lshm_region *other = ut_reopen(region, 0);
		struct shared *theirs = sync_find(other);

		UT_EQ(0, obey(other, &theirs->lock, write ? WRITE : READ));
		lshm_region_close(other);
		UT_EQ(write ? LSHM_OWNER_DIED : 0,
		    obey(region, &shared->lock, WRITE_NOW));
		UT_OK(lshm_rwlock_unlock(region, &shared->lock));
	}
	is_free(shared);
	lshm_region_close(region);
}

UT_TEST(stopped_is_alive, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *shared = make(region);
	struct ut_child stops = ut_spawn(region, 0, obeys, NULL);

	UT_EQ(0, sync_ask(&stops, READ));
	ut_stop(&stops);
	UT_EQ(-EAGAIN, obey(region, &shared->lock, WRITE_NOW));
	UT_EQ(-ETIMEDOUT, obey(region, &shared->lock, WRITE_BRIEF));
	UT_EQ(0, obey(region, &shared->lock, READ_NOW));
	UT_OK(lshm_rwlock_unlock(region, &shared->lock));
	ut_continue(&stops);
	UT_EQ(0, sync_ask(&stops, UNLOCK));
	UT_EQ(0, sync_ask(&stops, WRITE));
	ut_stop(&stops);
	UT_EQ(-EAGAIN, obey(region, &shared->lock, READ_NOW));
	UT_EQ(-EAGAIN, obey(region, &shared->lock, WRITE_NOW));
	ut_continue(&stops);
	UT_EQ(0, sync_ask(&stops, UNLOCK));
	is_free(shared);
	sync_end(&stops);
	lshm_region_close(region);
}

/* What was begun under the lock is decided before the next one has it. */
UT_TEST(names_a_lock_for_replace, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *shared = make(region);
	void *block = lshm_alloc(region, 100);

	UT_SOME(block);
	UT_ERR(-EPERM,
	    lshm_attach(region, &shared->lock.writer, &shared->field, block));
	UT_EQ(0, lshm_rwlock_write(region, &shared->lock, LSHM_NOW));
	UT_OK(lshm_attach(region, &shared->lock.writer, &shared->field, block));
	UT_EQ(lshm_offset(region, block), shared->field);
	UT_OK(lshm_rwlock_unlock(region, &shared->lock));
	lshm_region_close(region);
}

/* ---- many ---- */

static void works(struct lshm_region *region, int fd, void *arg)
{
	struct shared *shared = sync_find(region);
	uint64_t seed = ut_hear(fd), n = ut_hear(fd), left;

	while (n--) {
		bool write = ut_random(&seed) % 4 == 0;
		int ret = obey(region, &shared->lock, write ? WRITE : READ);

		if (ret == -EOWNERDEAD) {
			write = true;
			ret = obey(region, &shared->lock, WRITE);
		}
		UT_TRUE(ret == 0 || (write && ret == LSHM_OWNER_DIED));
		if (ret == LSHM_OWNER_DIED)
			SYNC_LOAD(shared->right) = SYNC_LOAD(shared->left);
		left = SYNC_LOAD(shared->left);
		UT_EQ(left, SYNC_LOAD(shared->right));
		if (write) {
			SYNC_LOAD(shared->left) = left + 1;
			if (n % 64 == 0)
				sched_yield(); /* let others try to get in */
			SYNC_LOAD(shared->right) = left + 1;
		} else if (n % 64 == 0) {
			sched_yield();
			UT_EQ(left, SYNC_LOAD(shared->left));
		}
		UT_OK(lshm_rwlock_unlock(region, &shared->lock));
	}
}

UT_TEST(exclusion, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *shared = make(region);
	struct ut_child children[4];
	uint64_t seed = ut_seed();

	for (size_t i = 0; i < UT_COUNT(children); i++) {
		children[i] = ut_spawn(region, 0, works, NULL);
		ut_say(children[i].fd, ut_random(&seed));
		ut_say(children[i].fd, ut_scale(10000));
	}
	for (size_t i = 0; i < UT_COUNT(children); i++)
		ut_join(&children[i]);
	UT_CMP(shared->left, >, 0);
	UT_EQ(shared->left, shared->right);
	is_free(shared);
	lshm_region_close(region);
}

UT_TEST(killed_at_random, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *shared = make(region);
	uint64_t seed = ut_seed();
	struct ut_child children[3];

	for (size_t i = 0; i < UT_COUNT(children); i++) {
		children[i] = ut_spawn(region, 0, works, NULL);
		ut_say(children[i].fd, ut_random(&seed));
		ut_say(children[i].fd, UINT64_MAX);
	}
	for (uint64_t n = ut_scale(60); n; n--) {
		size_t i = ut_random(&seed) % UT_COUNT(children);
		struct timespec pause = {
		    .tv_nsec = (long)(ut_random(&seed) % 2000000)};

		nanosleep(&pause, NULL); /* where it dies is left to chance */
		ut_kill(&children[i]);
		children[i] = ut_spawn(region, 0, works, NULL);
		ut_say(children[i].fd, ut_random(&seed));
		ut_say(children[i].fd, UINT64_MAX);
	}
	while (SYNC_LOAD(shared->right) == 0) /* on slow machines */
		sched_yield();
	for (size_t i = 0; i < UT_COUNT(children); i++)
		ut_kill(&children[i]);
	UT_CMP((uint64_t)lshm_rwlock_write(region, &shared->lock, UT_SOON), <=,
	    LSHM_OWNER_DIED);
	UT_CMP(shared->left - shared->right, <=, 1);
	UT_CMP(shared->right, >, 0);
	UT_OK(lshm_rwlock_unlock(region, &shared->lock));
	is_free(shared);
	lshm_region_close(region);
}

/* Whatever is in it, asking for it ends. */
UT_TEST(hostile_words, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *shared = make(region);
	uint64_t seed = ut_seed(), *words = (uint64_t *)&shared->lock;

	for (uint64_t n = ut_scale(300); n; n--) {
		int ret;

		for (size_t i = 0; i < sizeof(shared->lock) / 8; i++)
			words[i] = ut_random(&seed) >> ut_random(&seed) % 64;
		ret = obey(region, &shared->lock, n % 2 ? READ_NOW : WRITE_NOW);
		if (ret >= 0)
			UT_OK(lshm_rwlock_unlock(region, &shared->lock));
		memset(&shared->lock, 0, sizeof(shared->lock));
	}
	lshm_region_close(region);
}
