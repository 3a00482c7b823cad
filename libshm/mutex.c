/* SPDX-License-Identifier: MIT */
/*
 * mutex.c - the robust lock
 *
 * Its word: waiters 1 | lane + 1 in 16 bits | the lane's generation 32; 0 is
 * unlocked. Who writes it:
 *
 *   0 -> owner                 whoever wants it, by compare-and-swap
 *   owner -> owner | waiters   whoever goes to sleep, by compare-and-swap
 *   owner(dead) -> owner(me)   whoever has proof, by compare-and-swap on the
 *                              word the proof was about; waiters is kept
 *   owner(dead) -> 0           the same, but who does not want the lock: a
 *                              reader before a door that was shut by the dead
 *   owner -> 0                 the owner, by compare-and-swap if nobody waits,
 *                              else by exchange, and then it wakes one
 *
 * Who has slept takes the lock with the waiters bit set, since others may still
 * sleep. A death between the exchange and the wake leaves 0: sleepers look
 * again at the latest after a second. A lane's number is used anew only after
 * its generation has gone up, so a stale owner is never taken for a live one.
 *
 * Uncontended: one compare-and-swap, one exchange. Contended: back off (plain
 * polling takes the line away from the owner and is slower than sleeping).
 */
#include "internal.h"

#define WAITERS	     UINT64_C(1)
#define ROUNDS	     24 /* of polling before sleep */
#define PAUSE_MIN    32 /* pauses between two looks */
#define PAUSE_MAX    256
#define SLEEP_MIN    100000000	/* ns of the first sleep */
#define SLEEP_MAX    1000000000 /* ns: the bound on noticing a death */
#define OWN_LIMIT_MS 1000	/* for the library's own locks */

static uint32_t *low_half(struct lshm_mutex *m)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	return (uint32_t *)&m->word;
#else
	return (uint32_t *)&m->word + 1;
#endif
}

/*
 * The owner named by @w is dead: it is @next's, unless others were faster (0),
 * or unless what the dead one had begun cannot be decided here (negative).
 */
static int take_over(
    struct lshm_region *r, struct lshm_mutex *m, uint64_t w, uint64_t next)
{
	uint32_t dead = (uint32_t)((w >> 1) & 0xffff) - 1;
	int ret = 0;

	/* What it had begun is decided before anybody can change the field. */
	if (dead < r->max_lanes)
		ret = lshmi_lane_decide(r, dead, (uint32_t)(w >> 17));
	return ret < 0 ? ret : lshmi_cas(&m->word, w, next);
}

/*
 * Not had at the first try: all other ways to get it. @stuck: it has slept, and
 * there was no sign that the lock was free since.
 */
static __attribute__((noinline)) int lock_slow(
    struct lshm_region *r, struct lshm_mutex *m, int64_t deadline, bool *stuck)
{
	struct lshmi_lane *lane = lshmi_lane(r);
	uint64_t w, slept_on = 0; /* the word; has WAITERS, if it has slept */
	int64_t sleep = SLEEP_MIN, until;
	/* Loaded before the look at who lives: a later death ends the sleep. */
	uint64_t deaths = lshmi_load_relaxed(&r->deaths);
	int round = 0, pauses = PAUSE_MIN, ret;

	*stuck = false;
	if (!lane)
		return lshmi_failed();
	for (;;) {
		w = lshmi_load_relaxed(&m->word);
		if (w != slept_on)
			*stuck = false;
		if (w == 0) {
			if (!lshmi_cas(&m->word, 0,
				lane->lockword | (slept_on & WAITERS)))
				continue;
			/* Or is this the empty memory of guard.c? */
			return r->serial ? 0 : lshmi_fail_gone(r);
		}
		if (lshmi_holds(lane, m))
			return lshmi_fail(
			    EDEADLK, "this thread holds the lock already");
		if (deadline != LSHM_NOW && round++ < ROUNDS) {
			for (int i = 0; i < pauses; i++)
				lshmi_pause();
			if (pauses < PAUSE_MAX)
				pauses *= 2;
			continue;
		}
		if (lshmi_lane_dead(r, w)) {
			ret = take_over(r, m, w,
			    lane->lockword | ((w | slept_on) & WAITERS));
			if (ret < 0)
				return ret;
			if (ret == 0)
				continue;
			lshmi_lane_reap(r, w);
			return LSHM_OWNER_DIED;
		}
		if (deadline == LSHM_NOW)
			return lshmi_fail(EAGAIN, "the lock is held");
		until = lshmi_now();
		if (until >= deadline) {
			/* The wake may have been for others who sleep. */
			if (slept_on && !(w & WAITERS) &&
			    !lshmi_cas(&m->word, w, w | WAITERS))
				continue;
			return lshmi_fail(
			    ETIMEDOUT, "the lock was held until the deadline");
		}
		until = deadline - until > sleep ? until + sleep : deadline;
		if (!(w & WAITERS) && !lshmi_cas(&m->word, w, w | WAITERS))
			continue;
		if (!slept_on)
			*stuck = true;
		slept_on = w | WAITERS;
		ret = r->store.backend->wait(
		    &r->store, low_half(m), (uint32_t)slept_on, until, &deaths);
		if (ret == 0 || ret == -EAGAIN)
			*stuck = false;
		if (ret == -ETIMEDOUT) {
			if (sleep < SLEEP_MAX / 2)
				sleep *= 2;
			else
				sleep = SLEEP_MAX;
		}
		if (r->serial == 0)
			return lshmi_fail_gone(r);
	}
}

/* Had at the first try, being free? */
static inline bool quick_lock(struct lshm_region *r, struct lshm_mutex *m)
{
	return lshmi_lane_cached(r) && lshmi_load_relaxed(&m->word) == 0 &&
	       lshmi_cas(&m->word, 0, lshmi_lane_cache.lane->lockword);
}

int lshmi_lock(struct lshm_region *r, struct lshm_mutex *m, int64_t deadline)
{
	bool stuck;

	return quick_lock(r, m) ? 0 : lock_slow(r, m, deadline, &stuck);
}

void lshmi_unlock(struct lshm_region *r, struct lshm_mutex *m)
{
	if (lshmi_exchange(&m->word, 0) & WAITERS)
		r->store.backend->wake(&r->store, low_half(m), 1);
}

int lshmi_unlock_dead(struct lshm_region *r, struct lshm_mutex *m)
{
	uint64_t w = lshmi_load_seq(&m->word);
	int ret;

	if (w == 0 || !lshmi_lane_dead(r, w))
		return 0;
	ret = take_over(r, m, w, 0);
	if (ret <= 0)
		return ret;
	if (w & WAITERS)
		r->store.backend->wake(&r->store, low_half(m), 1);
	lshmi_lane_reap(r, w);
	return 1;
}

int lshmi_lock_own(
    struct lshm_region *r, struct lshm_mutex *m, const char *what)
{
	bool stuck;
	int ret;

	if (quick_lock(r, m))
		return 0;
	/* not stuck: nobody is stopped, many want it */
	do
		ret = lock_slow(r, m, lshm_deadline_ms(OWN_LIMIT_MS), &stuck);
	while (ret == -ETIMEDOUT && !stuck);
	if (ret == -ETIMEDOUT)
		return lshmi_fail(EAGAIN,
		    "the region's %s lock has been held for a second: its "
		    "holder is stopped or very slow (\"shmctl info\" tells who "
		    "takes part)",
		    what);
	return ret;
}

/* -- the calls ------------------------------------------------------------ */

/* Does it lie in what is mapped now? Right for a handle of a parent too. */
static inline bool seen(struct lshm_region *r, const struct lshm_mutex *m)
{
	uint64_t off = (uint64_t)((const char *)m - r->base);

	return off % 8 == 0 && off < lshmi_load_relaxed(&r->size);
}

/* May the call be made at all? */
static int check(struct lshm_region *r, const struct lshm_mutex *m)
{
	int ret = lshmi_enter(r);

	return ret < 0 ? ret : lshmi_check(r, m, sizeof(*m), "mutex");
}

static __attribute__((noinline)) int call_lock_slow(
    struct lshm_region *r, struct lshm_mutex *m, int64_t deadline)
{
	int ret = check(r, m);
	bool stuck;

	return ret < 0 ? ret : lock_slow(r, m, deadline, &stuck);
}

int lshmi_enter_held(
    struct lshm_region *r, struct lshm_mutex *m, struct lshmi_lane **lane)
{
	int ret = check(r, m);

	if (ret < 0)
		return ret;
	*lane = lshmi_lane(r);
	if (!*lane)
		return lshmi_failed();
	if (!lshmi_holds(*lane, m))
		return lshmi_fail(EPERM,
		    "the caller must hold the lock that protects what it "
		    "changes: see lshm_mutex_lock()");
	return 0;
}

int lshm_mutex_lock(
    struct lshm_region *region, struct lshm_mutex *mutex, int64_t deadline)
{
	if (seen(region, mutex) && quick_lock(region, mutex))
		return 0;
	return call_lock_slow(region, mutex, deadline);
}

static __attribute__((noinline)) int call_unlock_slow(
    struct lshm_region *r, struct lshm_mutex *m)
{
	struct lshmi_lane *lane;
	int ret = check(r, m);

	if (ret < 0)
		return ret;
	lane = lshmi_lane(r);
	if (!lane || !lshmi_holds(lane, m))
		return lshmi_fail(EPERM, "this thread does not hold the lock");
	lshmi_unlock(r, m);
	return 0;
}

int lshm_mutex_unlock(struct lshm_region *region, struct lshm_mutex *mutex)
{
	/* Its owner, and nobody asleep? */
	if (seen(region, mutex) && lshmi_lane_cached(region) &&
	    lshmi_cas(&mutex->word, lshmi_lane_cache.lane->lockword, 0))
		return 0;
	return call_unlock_slow(region, mutex);
}
