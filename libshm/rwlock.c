/* SPDX-License-Identifier: MIT */
/*
 * rwlock.c - many readers or one writer
 *
 *   writer   a mutex: taken, taken over and given back as in mutex.c. Held, it
 *            shuts the door to readers
 *   writing  0 -> 1  the holder of `writer`, once no reader is left
 *            1 -> 0  the same, before it gives `writer` up
 *   readers  0 -> a lane's lockword  that lane, by compare-and-swap
 *            lockword -> 0           that lane; or anybody who has proof that
 *                                    it is dead, by compare-and-swap
 *
 * A reader enters its lockword and then looks at the door; a writer shuts the
 * door and then looks at the entries: one of them sees the other (a store-load
 * pair, [R]). A reader who finds the door shut takes its entry back and waits;
 * a writer waits. So 1 in `writing` and an entry whose reader has found the
 * door open exclude each other.
 *
 * `writing` outlives whoever set it: while it is 1 and the door is not held by
 * who set it, the data may be torn. Then a writer gets the lock with news, and
 * a reader does not get it. A writer whose time is up while readers are inside
 * just opens the door again; if the one before it died, `writing` still says
 * so.
 *
 * Death. A reader: its entry is no more than the name of somebody dead, and
 * recognised as that for ever, since a lane's generation only goes up; whoever
 * waits for it takes it out. A writer, before `writing` is 1, or after it is 0
 * again: the door is shut by the dead; a writer takes it over, a reader opens
 * it, in one step. In between: the same, and `writing` stays 1 until a writer
 * has given the lock up.
 */
#include "internal.h"

/* Somebody asks for a lock. */
struct ask {
	struct lshm_region *region;
	struct lshmi_lane *lane;
	struct lshm_rwlock *lock;
	lshmi_u64 *entry; /* its own, or NULL */
};

/*
 * The @i-th place where a lane looks for its entry. Lanes that follow each
 * other begin on different lines of 8 entries.
 */
static lshmi_u64 *place(const struct ask *a, uint32_t i)
{
	uint32_t lane = (uint32_t)(a->lane->rec - a->region->lanes);
	uint32_t n = (lane + i) % LSHM_READERS_MAX;

	return &a->lock->readers[n % 7 * 8 + n / 7];
}

/* The entry that holds @word, first looked for where it is likely, or NULL. */
static lshmi_u64 *find(const struct ask *a, uint64_t word)
{
	for (uint32_t i = 0; i < LSHM_READERS_MAX; i++)
		if (lshmi_load_seq(place(a, i)) == word)
			return place(a, i);
	return NULL;
}

static bool reading(const struct ask *a)
{
	return a->lane->reads && find(a, a->lane->lockword);
}

/* Take an entry: false, there is none. */
static bool enter(struct ask *a)
{
	for (uint32_t i = 0; i < LSHM_READERS_MAX; i++) {
		lshmi_u64 *entry = place(a, i);

		if (lshmi_load_relaxed(entry) == 0 &&
		    lshmi_cas(entry, 0, a->lane->lockword)) { /* [R] */
			a->entry = entry;
			return true;
		}
	}
	return false;
}

static void leave(struct ask *a)
{
	if (!a->entry)
		return;
	lshmi_exchange(a->entry, 0);
	a->entry = NULL;
	lshmi_wake(a->region, &a->lock->exits, INT_MAX);
}

static void open_door(struct ask *a)
{
	lshmi_unlock(a->region, &a->lock->writer);
	lshmi_wake(a->region, &a->lock->door, INT_MAX);
}

/* Take the dead out, if asked to. How many are left? */
static unsigned int readers(const struct ask *a, bool look)
{
	unsigned int count = 0;

	for (uint32_t i = 0; i < LSHM_READERS_MAX; i++) {
		lshmi_u64 *entry = &a->lock->readers[i];
		uint64_t w = lshmi_load_seq(entry);

		if (w == 0)
			continue;
		if (look && lshmi_lane_dead(a->region, w)) {
			lshmi_cas(entry, w, 0);
			lshmi_lane_reap(a->region, w);
			continue;
		}
		count++;
	}
	return count;
}

/* ---- reading ---- */

/* Is the door open? Attempt of a reader; -ENOBUFS: no entry is free. */
static int come_in(void *arg, bool look)
{
	struct ask *a = arg;
	struct lshm_rwlock *l = a->lock;
	int ret;

	if (lshmi_load_seq(&l->writer.word) != 0) {
		leave(a);
		/* If it was shut by the dead, we open it. */
		ret = look ? lshmi_unlock_dead(a->region, &l->writer) : 0;
		if (ret <= 0)
			return ret < 0 ? ret : -EAGAIN;
		lshmi_wake(a->region, &l->door, INT_MAX);
	}
	if (!a->entry && !enter(a))
		return -ENOBUFS;
	if (lshmi_load_seq(&l->writer.word) != 0) { /* [R] */
		leave(a);
		return -EAGAIN;
	}
	if (lshmi_load_seq(&l->writing)) {
		leave(a);
		return lshmi_fail(EOWNERDEAD,
		    "a writer died with the lock: obtain it for writing, and "
		    "repair what it protects");
	}
	return 0;
}

/* Is there an entry? Attempt of a reader. */
static int find_room(void *arg, bool look)
{
	struct ask *a = arg;

	if (enter(a))
		return 0;
	if (look && readers(a, true) < LSHM_READERS_MAX && enter(a))
		return 0;
	return -EAGAIN;
}

/* ---- writing ---- */

/* Have all readers left? Attempt of a writer. */
static int drained(void *arg, bool look)
{
	return readers(arg, look) ? -EAGAIN : 0; /* [R] */
}

/* ---- public ---- */

static int ask(struct ask *a, struct lshm_region *r, struct lshm_rwlock *l)
{
	int ret = lshmi_enter(r);

	if (ret < 0 || (ret = lshmi_check(r, l, sizeof(*l), "rwlock")) < 0)
		return ret;
	*a = (struct ask){.region = r, .lock = l, .lane = lshmi_lane(r)};
	return a->lane ? 0 : lshmi_failed();
}

static int ask_anew(struct ask *a, struct lshm_region *r, struct lshm_rwlock *l)
{
	int ret = ask(a, r, l);

	if (ret == 0 && (reading(a) || lshmi_holds(a->lane, &l->writer)))
		return lshmi_fail(
		    EDEADLK, "this thread holds the lock already");
	return ret;
}

int lshm_rwlock_read(
    struct lshm_region *region, struct lshm_rwlock *rwlock, int64_t deadline)
{
	struct ask a;
	int ret = ask_anew(&a, region, rwlock);

	if (ret < 0)
		return ret;
	while ((ret = lshmi_await(region, &rwlock->door, deadline, come_in, &a,
		    "a writer holds the lock")) == -ENOBUFS) {
		ret = lshmi_await(region, &rwlock->exits, deadline, find_room,
		    &a, "too many readers hold the lock");
		if (ret < 0)
			return ret;
	}
	if (ret == 0)
		a.lane->reads++;
	return ret;
}

int lshm_rwlock_write(
    struct lshm_region *region, struct lshm_rwlock *rwlock, int64_t deadline)
{
	struct ask a;
	int ret = ask_anew(&a, region, rwlock);

	if (ret < 0 ||
	    (ret = lshmi_lock(region, &rwlock->writer, deadline)) < 0)
		return ret;
	ret = lshmi_await(region, &rwlock->exits, deadline, drained, &a,
	    "readers hold the lock");
	if (ret == -ECHILD)
		return ret; /* a handler has forked: this is not ours */
	if (ret < 0) {
		open_door(&a);
		return ret;
	}
	return lshmi_exchange(&rwlock->writing, 1) ? LSHM_OWNER_DIED : 0;
}

int lshm_rwlock_unlock(struct lshm_region *region, struct lshm_rwlock *rwlock)
{
	struct ask a;
	int ret = ask(&a, region, rwlock);

	if (ret < 0)
		return ret;
	if (lshmi_holds(a.lane, &rwlock->writer)) {
		lshmi_store_release(&rwlock->writing, 0);
		open_door(&a);
		return 0;
	}
	if (a.lane->reads)
		a.entry = find(&a, a.lane->lockword);
	if (!a.entry)
		return lshmi_fail(EPERM, "this thread does not hold the lock");
	a.lane->reads--;
	leave(&a);
	return 0;
}
