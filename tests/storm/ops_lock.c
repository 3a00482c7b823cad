/* SPDX-License-Identifier: MIT */
/*
 * ops_lock.c - what excludes others: mutex, lock for readers and writers, once
 *
 * Who holds what is noted in the ledger, too: after it was had, and until just
 * before it is given up. So whoever finds a note of somebody who is not dying
 * where there may be none has found two holders at a time.
 */
#include "storm.h"

#define RWLOCKS 3

/* Shared data of this area. */
struct locks {
	struct {
		struct lshm_rwlock lock;
		struct pair pair;
	} rw[RWLOCKS];
	struct {
		struct lshm_once once;
		struct pair pair;
	} once[ONCES];
};

/* ---- mutex ---- */

void owned(struct worker *w, uint32_t number, bool died)
{
	uint64_t other = lshmi_exchange(&ledger->owner[number], w->life);

	if (other && !dead(other))
		ut_fail(UT_AT("a lock has one holder"),
		    "lock %u is held by worker life %" PRIu64
		    " and by %" PRIu64,
		    number, other, w->life);
	if (other && !died)
		ut_fail(UT_AT("the death of a holder is told"),
		    "lock %u: its holder died; expected LSHM_OWNER_DIED, "
		    "seen 0",
		    number);
}

void disowned(struct worker *w, uint32_t number)
{
	UT_EQ(w->life, lshmi_exchange(&ledger->owner[number], 0));
}

bool lock_by(struct worker *w, struct lshm_mutex *mutex, uint32_t number,
    int64_t deadline, bool *died)
{
	int ret;

	begin(w, OTHERS, deadline);
	ret = lshm_mutex_lock(w->region, mutex, deadline);
	end(w);
	if (!MAY_FAIL(ret, EAGAIN, ETIMEDOUT)) {
		UT_CMP(deadline, !=, LSHM_FOREVER);
		return false;
	}
	*died = ret == LSHM_OWNER_DIED;
	owned(w, number, *died);
	return true;
}

void unlock(struct worker *w, struct lshm_mutex *mutex, uint32_t number)
{
	disowned(w, number);
	begin(w, OWN, LSHM_NOW);
	UT_OK(lshm_mutex_unlock(w->region, mutex));
	end(w);
}

/* ---- rwlock ---- */

static uint64_t note(struct worker *w, uint64_t i, bool writing)
{
	return w->life << 24 | (i + 1) << 1 | writing;
}

/* Nobody else may be inside; for a reader: no writer. */
static void nobody_else(struct worker *w, uint64_t i, bool writing)
{
	for (int s = 0; s < SEATS; s++) {
		uint64_t n = lshmi_load_seq(&ledger->seats[s].rwlock);

		if (&ledger->seats[s] == w->seat ||
		    (n >> 1 & 0x7fffff) != i + 1 || !(writing || (n & 1)) ||
		    dead(n >> 24))
			continue;
		ut_fail(UT_AT("a writer is alone"),
		    "rwlock %" PRIu64 ": a %s is inside, and a %s", i,
		    writing ? "writer" : "reader", n & 1 ? "writer" : "reader");
	}
}

static int ask(struct worker *w, struct lshm_rwlock *lock, bool writing)
{
	int64_t deadline = pick(w, 4) ? LSHM_FOREVER : some_deadline(w);
	int ret;

	begin(w, OTHERS, deadline);
	ret = writing ? lshm_rwlock_write(w->region, lock, deadline)
		      : lshm_rwlock_read(w->region, lock, deadline);
	end(w);
	if (deadline != LSHM_FOREVER)
		MAY_FAIL(ret, EAGAIN, ETIMEDOUT, EOWNERDEAD);
	else
		MAY_FAIL(ret, EOWNERDEAD);
	UT_TRUE(!writing || ret != -EOWNERDEAD);
	return ret;
}

static void use_rwlock(struct worker *w)
{
	struct locks *l = w->shared[LOCK];
	uint64_t i = pick(w, RWLOCKS);
	struct lshm_rwlock *lock = &l->rw[i].lock;
	struct pair *pair = &l->rw[i].pair;
	bool writing = pick(w, 3) == 0;
	int ret = ask(w, lock, writing);

	if (ret == -EOWNERDEAD) {
		writing = true;
		ret = ask(w, lock, true);
	}
	if (ret < 0)
		return;
	lshmi_store_seq(&w->seat->rwlock, note(w, i, writing));
	nobody_else(w, i, writing);
	if (ret == LSHM_OWNER_DIED)
		repair_pair(pair);
	check_pair(pair);
	if (writing)
		write_pair(w, pair);
	else
		dawdle(w);
	check_pair(pair);
	nobody_else(w, i, writing);
	lshmi_store_seq(&w->seat->rwlock, 0);
	begin(w, OWN, LSHM_NOW);
	UT_OK(lshm_rwlock_unlock(w->region, lock));
	end(w);
}

/* ---- once ---- */

struct attempt {
	struct worker *w;
	struct pair *pair;
	uint64_t i;
};

/*
 * Nobody else is doing it, nor has anybody done it who is not dead: who died at
 * the end of it may not have come to say that it is done.
 */
static int body(void *arg, unsigned int earlier)
{
	struct attempt *a = arg;
	__typeof__(&ledger->once[0]) o = &ledger->once[a->i];

	if (!dead(lshmi_exchange(&o->running, a->w->life)))
		ut_fail(UT_AT("once: one at a time"),
		    "%" PRIu64 ": two do it at the same time", a->i);
	if (!dead(lshmi_load_seq(&o->done)))
		ut_fail(UT_AT("once: done once"),
		    "%" PRIu64 ": it was done before", a->i);
	if (earlier == 0)
		UT_EQ(0, lshmi_load_seq(&o->begun));
	lshmi_fetch_add(&o->begun, 1);
	a->pair->canary = CANARY; /* the first one may have died before this */
	write_pair(a->w, a->pair);
	if (pick(a->w, 4) == 0) { /* given up: with half of it done */
		a->pair->first++;
		lshmi_store_seq(&o->running, 0);
		return -ENODATA;
	}
	lshmi_store_seq(&o->done, a->w->life);
	lshmi_store_seq(&o->running, 0);
	return 0;
}

static void use_once(struct worker *w)
{
	struct locks *l = w->shared[LOCK];
	uint64_t next = lshmi_load_seq(&ledger->once_next);
	struct attempt a = {.w = w, .i = next - pick(w, next < 4 ? 1 : 4)};
	int ret;

	a.pair = &l->once[a.i].pair;
	begin(w, OTHERS, LSHM_FOREVER);
	ret = lshm_once_run(
	    w->region, &l->once[a.i].once, body, &a, LSHM_FOREVER);
	end(w);
	if (!MAY_FAIL(ret, ENODATA))
		return;
	UT_CMP(lshmi_load_seq(&ledger->once[a.i].done), !=, 0);
	check_pair(a.pair);
	if (a.i == next && next + 1 < ONCES)
		lshmi_cas(&ledger->once_next, next, next + 1);
}

/* ---- this area ---- */

static void prepare(struct lshm_region *region, void *shared)
{
	struct locks *l = shared;

	for (int i = 0; i < RWLOCKS; i++)
		l->rw[i].pair.canary = CANARY;
}

static void audit(struct books *b, void *shared)
{
	struct locks *l = shared;
	struct worker w = {.life = LIVES - 1, .random = 1};
	int ret;

	for (int i = 0; i < RWLOCKS; i++) {
		struct lshm_rwlock *lock = &l->rw[i].lock;

		ret = lshm_rwlock_write(b->region, lock, LSHM_NOW);
		UT_TRUE(ret >= 0);
		if (ret == LSHM_OWNER_DIED)
			repair_pair(&l->rw[i].pair);
		check_pair(&l->rw[i].pair);
		UT_OK(lshm_rwlock_unlock(b->region, lock));
		UT_OK(lshm_rwlock_read(b->region, lock, LSHM_NOW));
		UT_OK(lshm_rwlock_unlock(b->region, lock));
		for (int k = 0; k < LSHM_READERS_MAX; k++)
			UT_EQ(0, lock->readers[k]);
	}
	for (uint64_t i = 0; i <= ledger->once_next; i++) {
		struct attempt a = {.w = &w, .pair = &l->once[i].pair, .i = i};

		do
			ret = lshm_once_run(
			    b->region, &l->once[i].once, body, &a, LSHM_NOW);
		while (ret == -ENODATA);
		UT_OK(ret);
		check_pair(a.pair);
	}
}

static const struct op ops[] = {
    {"rwlock", 50, use_rwlock},
    {"once", 14, use_once},
    {0},
};

const struct area area_lock = {
    .name = "area.lock",
    .size = sizeof(struct locks),
    .ops = ops,
    .prepare = prepare,
    .audit = audit,
};
