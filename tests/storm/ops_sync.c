/* SPDX-License-Identifier: MIT */
/*
 * ops_sync.c - what lets others wait: conditions, semaphores, events, barriers
 */
#include "storm.h"

#define QUEUES	 2
#define CAPACITY 4 /* of a queue */
#define PERMITS	 3 /* of each tracked semaphore */
#define PLAIN	 4 /* permits that the plain one has at first */

#define WAIT_MS 100 /* for what perhaps nobody brings about */

/* Shared data of this area. */
struct sync {
	struct {
		struct lshm_mutex mutex;
		struct lshm_cond filled;
		struct lshm_cond emptied;
		struct pair pair; /* its value, in each half: what is in it */
	} queues[QUEUES];
	struct {
		struct lshm_semaphore semaphore;
		struct lshm_permit permits[PERMITS];
	} tracked[TRACKED];
	struct lshm_semaphore plain;
	struct lshm_event event;
	struct lshm_barrier barriers[BARRIERS];
};

static_assert(LOCK_QUEUE + QUEUES <= LOCK_BRIEF, "numbers of locks");

/* ---- conditions ---- */

static void wake(struct worker *w, struct lshm_cond *cond)
{
	if (pick(w, 4))
		UT_OK(lshm_cond_signal(w->region, cond));
	else
		UT_OK(lshm_cond_broadcast(w->region, cond));
}

/* Put one in, or take one out, once there is room, or something. */
static void use_queue(struct worker *w)
{
	struct sync *s = w->shared[SYNC];
	uint32_t i = (uint32_t)pick(w, QUEUES);
	__typeof__(&s->queues[0]) q = &s->queues[i];
	bool puts = pick(w, 2), died;
	uint64_t blocked = puts ? CAPACITY : 0, value;
	int64_t deadline = lshm_deadline_ms((int64_t)pick(w, WAIT_MS));
	int ret = 0;

	lock_by(w, &q->mutex, LOCK_QUEUE + i, LSHM_FOREVER, &died);
	if (died)
		repair_pair(&q->pair);
	check_pair(&q->pair);
	while (q->pair.first == blocked && ret != -ETIMEDOUT) {
		disowned(w, LOCK_QUEUE + i);
		begin(w, OTHERS, deadline);
		ret = lshm_cond_wait(w->region, puts ? &q->emptied : &q->filled,
		    &q->mutex, deadline);
		end(w);
		owned(w, LOCK_QUEUE + i, ret == LSHM_OWNER_DIED);
		MAY_FAIL(ret, ETIMEDOUT);
		if (ret == LSHM_OWNER_DIED)
			repair_pair(&q->pair);
		check_pair(&q->pair);
	}
	value = q->pair.first;
	UT_CMP(value, <=, CAPACITY);
	if (value != blocked) {
		lshmi_store_relaxed(
		    &q->pair.first, puts ? value + 1 : value - 1);
		dawdle(w);
		lshmi_store_relaxed(&q->pair.second, q->pair.first);
		wake(w, puts ? &q->filled : &q->emptied);
	}
	unlock(w, &q->mutex, LOCK_QUEUE + i);
	if (pick(w, 2)) /* allowed without the mutex, too */
		wake(w, puts ? &q->filled : &q->emptied);
}

/* ---- tracked semaphores ---- */

/* life 40 | version 16 | how many 8 */
static void note_permits(struct worker *w, uint64_t i, int change)
{
	uint64_t *p = &w->seat->permits[i], n = lshmi_load_seq(p);

	lshmi_store_seq(p, w->life << 24 | (((n >> 8) + 1) & 0xffff) << 8 |
			       (uint64_t)((n & 0xff) + (uint64_t)change));
}

/* At no moment are there more in living hands than there are. */
static void count_permits(uint64_t i)
{
	uint64_t seen[SEATS], held = 0;

	for (int k = 0; k < SEATS; k++)
		seen[k] = lshmi_load_seq(&ledger->seats[k].permits[i]);
	for (int k = 0; k < SEATS; k++)
		if (seen[k] != lshmi_load_seq(&ledger->seats[k].permits[i]))
			return; /* not all of the same moment */
	for (int k = 0; k < SEATS; k++)
		if (!dead(seen[k] >> 24))
			held += seen[k] & 0xff;
	if (held > PERMITS)
		ut_fail(UT_AT("permits are not multiplied"),
		    "semaphore %" PRIu64 " has %d permits, and living threads "
		    "hold %" PRIu64,
		    i, PERMITS, held);
}

static bool take(struct worker *w, struct lshm_semaphore *s, int64_t deadline)
{
	int ret;

	begin(w, OTHERS, deadline);
	ret = lshm_semaphore_wait(w->region, s, deadline);
	end(w);
	if (deadline == LSHM_FOREVER)
		UT_TRUE(ret >= 0);
	return MAY_FAIL(ret, EAGAIN, ETIMEDOUT);
}

static void use_tracked(struct worker *w)
{
	struct sync *s = w->shared[SYNC];
	uint64_t i = pick(w, TRACKED), value;
	struct lshm_semaphore *semaphore = &s->tracked[i].semaphore;
	int held = 0;

	/* only who holds none may wait for ever */
	while (held < PERMITS && pick(w, 3) < 2) {
		if (!take(w, semaphore,
			held || !pick(w, 4) ? some_deadline(w) : LSHM_FOREVER))
			break;
		note_permits(w, i, 1);
		held++;
		count_permits(i);
		dawdle(w);
	}
	UT_OK(lshm_semaphore_value(w->region, semaphore, &value));
	UT_CMP(value, <=, PERMITS);
	for (; held; held--) {
		note_permits(w, i, -1);
		begin(w, OWN, LSHM_NOW);
		UT_OK(lshm_semaphore_post(w->region, semaphore));
		end(w);
	}
}

/* ---- the plain semaphore, and the event ---- */

/* Put in and taken out about as often; what the dead took is lost. */
static void use_plain(struct worker *w)
{
	struct sync *s = w->shared[SYNC];
	uint64_t value;

	UT_OK(lshm_semaphore_value(w->region, &s->plain, &value));
	if (value < 1 + pick(w, 2 * PLAIN)) {
		lshmi_fetch_add(&ledger->posts[0].begun, 1);
		UT_OK(lshm_semaphore_post(w->region, &s->plain));
		lshmi_fetch_add(&ledger->posts[0].ended, 1);
		return;
	}
	lshmi_fetch_add(&ledger->takes[0].begun, 1);
	if (take(w, &s->plain, lshm_deadline_ms((int64_t)pick(w, WAIT_MS))))
		lshmi_fetch_add(&ledger->takes[0].ended, 1);
	else
		lshmi_fetch_add(&ledger->takes[0].begun, UINT64_MAX);
}

static void use_event(struct worker *w)
{
	struct sync *s = w->shared[SYNC];
	int64_t deadline = lshm_deadline_ms((int64_t)pick(w, WAIT_MS));
	uint64_t n = 1 + pick(w, 3), count, least;

	least = lshmi_load_seq(&ledger->posts[1].ended);
	UT_OK(lshm_event_count(w->region, &s->event, &count));
	UT_CMP(count, >=, least);
	UT_CMP(count, <=, lshmi_load_seq(&ledger->posts[1].begun));
	UT_CMP(count, >=, w->event_seen);
	w->event_seen = count;
	if (pick(w, 2)) {
		lshmi_fetch_add(&ledger->posts[1].begun, n);
		UT_OK(lshm_event_post(w->region, &s->event, n));
		lshmi_fetch_add(&ledger->posts[1].ended, n);
		return;
	}
	begin(w, OTHERS, deadline);
	if (MAY_FAIL(lshm_event_wait(
			 w->region, &s->event, w->event_seen, deadline, &count),
		ETIMEDOUT)) {
		UT_CMP(count, >, w->event_seen);
		w->event_seen = count;
	}
	end(w);
}

/* ---- barriers ---- */

static uint32_t phase_now(const struct lshm_barrier *b)
{
	return (uint32_t)(lshmi_load_seq(&b->phase) >> 2);
}

/* Who were members before I came, and are, have come to this phase. */
static void all_have_come(
    struct worker *w, uint64_t i, const uint64_t members[SEATS], uint32_t phase)
{
	for (int k = 0; k < SEATS; k++) {
		struct seat *s = &ledger->seats[k];
		uint64_t life = lshmi_load_seq(&s->life);
		uint64_t come = lshmi_load_seq(&s->arrived[i]);

		if (!members[k] || s == w->seat ||
		    (int32_t)((uint32_t)come - phase) >= 0 ||
		    lshmi_load_seq(&s->member[i]) != members[k] || dead(life))
			continue;
		ut_fail(UT_AT("a phase ends when all have come"),
		    "phase %u of barrier %" PRIu64 " has ended; worker %d, "
		    "thread %d, is a member and has come to %u only",
		    phase, i, k / THREADS, k % THREADS, (uint32_t)come);
	}
}

static void use_barrier(struct worker *w)
{
	struct sync *s = w->shared[SYNC];
	uint64_t i = pick(w, BARRIERS), members[SEATS];
	struct lshm_barrier *b = &s->barriers[i];
	struct seat *seat = w->seat;
	int64_t deadline;
	uint32_t phase;
	int ret;

	if (!MAY_FAIL(lshm_barrier_join(w->region, b), EUSERS))
		return;
	/* From here on no phase ends without this thread. */
	phase = phase_now(b);
	lshmi_store_seq(&seat->arrived[i], phase - 1);
	lshmi_store_seq(
	    &seat->member[i], lshmi_fetch_add(&ledger->joins, 1) + 1);
	for (uint64_t n = pick(w, 4); n; n--) {
		dawdle(w);
		for (int k = 0; k < SEATS; k++)
			members[k] =
			    lshmi_load_seq(&ledger->seats[k].member[i]);
		UT_EQ(phase, phase_now(b));
		lshmi_store_seq(&seat->arrived[i], phase);
		deadline = pick(w, 4) ? LSHM_FOREVER : some_deadline(w);
		begin(w, OTHERS, deadline);
		ret = lshm_barrier_wait(w->region, b, deadline);
		end(w);
		if (deadline == LSHM_FOREVER)
			UT_TRUE(ret >= 0);
		if (!MAY_FAIL(ret, EAGAIN, ETIMEDOUT)) {
			lshmi_store_seq(&seat->arrived[i], phase - 1);
			UT_EQ(phase, phase_now(b));
			continue;
		}
		all_have_come(w, i, members, phase);
		phase++;
	}
	lshmi_store_seq(&seat->member[i], 0);
	begin(w, OWN, LSHM_NOW);
	UT_OK(lshm_barrier_leave(w->region, b));
	end(w);
}

/* ---- this area ---- */

static void prepare(struct lshm_region *region, void *shared)
{
	struct sync *s = shared;

	for (int i = 0; i < QUEUES; i++)
		s->queues[i].pair.canary = CANARY;
	for (int i = 0; i < TRACKED; i++)
		UT_OK(lshm_semaphore_init(
		    region, &s->tracked[i].semaphore, PERMITS, true));
	UT_OK(lshm_semaphore_init(region, &s->plain, PLAIN, false));
}

static void audit_permits(struct books *b, struct lshm_semaphore *s)
{
	uint64_t value;

	UT_OK(lshm_semaphore_value(b->region, s, &value));
	UT_EQ(PERMITS, value);
	for (int i = 0; i < PERMITS; i++)
		UT_TRUE(lshm_semaphore_wait(b->region, s, LSHM_NOW) >= 0);
	UT_ERR(-EAGAIN, lshm_semaphore_wait(b->region, s, LSHM_NOW));
	for (int i = 0; i < PERMITS; i++)
		UT_OK(lshm_semaphore_post(b->region, s));
	UT_OK(lshm_semaphore_value(b->region, s, &value));
	UT_EQ(PERMITS, value);
}

static void audit(struct books *b, void *shared)
{
	struct sync *s = shared;
	uint64_t value;
	int ret;

	for (int i = 0; i < QUEUES; i++) {
		ret = lshm_mutex_lock(b->region, &s->queues[i].mutex, LSHM_NOW);
		UT_TRUE(ret >= 0);
		if (ret == LSHM_OWNER_DIED)
			repair_pair(&s->queues[i].pair);
		check_pair(&s->queues[i].pair);
		UT_OK(lshm_mutex_unlock(b->region, &s->queues[i].mutex));
	}
	for (int i = 0; i < TRACKED; i++)
		audit_permits(b, &s->tracked[i].semaphore);
	UT_OK(lshm_semaphore_value(b->region, &s->plain, &value));
	UT_CMP(
	    value + ledger->takes[0].begun, >=, PLAIN + ledger->posts[0].ended);
	UT_CMP(
	    value + ledger->takes[0].ended, <=, PLAIN + ledger->posts[0].begun);
	for (; value; value--)
		UT_OK(lshm_semaphore_wait(b->region, &s->plain, LSHM_NOW));
	UT_ERR(-EAGAIN, lshm_semaphore_wait(b->region, &s->plain, LSHM_NOW));
	UT_OK(lshm_event_count(b->region, &s->event, &value));
	UT_CMP(value, >=, ledger->posts[1].ended);
	UT_CMP(value, <=, ledger->posts[1].begun);
	for (int i = 0; i < BARRIERS; i++) {
		UT_OK(lshm_barrier_join(b->region, &s->barriers[i]));
		UT_TRUE(lshm_barrier_wait(
			    b->region, &s->barriers[i], LSHM_NOW) >= 0);
		UT_OK(lshm_barrier_leave(b->region, &s->barriers[i]));
		for (int k = 0; k < LSHM_MEMBERS_MAX; k++)
			UT_EQ(0, s->barriers[i].members[k]);
	}
}

static const struct op ops[] = {
    {"cond", 30, use_queue},
    {"tracked semaphore", 30, use_tracked},
    {"plain semaphore", 20, use_plain},
    {"event", 20, use_event},
    {"barrier", 20, use_barrier},
    {0},
};

const struct area area_sync = {
    .name = "area.sync",
    .size = sizeof(struct sync),
    .ops = ops,
    .prepare = prepare,
    .audit = audit,
};
