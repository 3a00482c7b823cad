/* SPDX-License-Identifier: MIT */
/*
 * barrier.c - a barrier whose members may die
 *
 * The phase word: died 1 | missing 1 | phase 32 | changes 30. Who writes it:
 *
 *   phase +1, died := missing, missing := 0   any member that has found all
 *            members arrived, by compare-and-swap on what it loaded before
 *   missing := 1   who is about to take a dead member out
 *   changes +1     who has joined, or takes its arrival back
 *
 * A member's word: arrived 1 | its lockword's 48 | for which phase 15. 0: none.
 *
 *   0 -> lockword              a lane that joins, by compare-and-swap
 *   lockword -> arrived, phase that lane, and back
 *   -> 0                       that lane; or, if it is dead, anybody, by
 *                              compare-and-swap, after `missing` is 1
 *
 * Whoever arrives stores so and then looks at the others: of those who arrive
 * at the same time the last one sees all (a store-load pair, [B]). Anybody who
 * waits looks for all again before each sleep, so if the last one dies having
 * arrived, another ends the phase.
 *
 * What was found of the members holds until the phase word is swapped: who
 * becomes a member, or is not arrived any more, changes the word after its own
 * (`changes`), and a swap based on an older look fails [C]. What changes that
 * word for a withdrawal tells, at the same instant, whether the phase had
 * ended. A member cannot miss a phase: the next one does not end without it.
 *
 * News. A death is entered in the phase word before its member's word is
 * cleared, and goes from there into `died` of the phase that ends next, which
 * every member reads. Killed in between, the dead member is there to be found,
 * and told of, again.
 */
#include "internal.h"

#define DIED	    UINT64_C(1) /* of the phase that ended last */
#define MISSING	    UINT64_C(2) /* of this phase */
#define PHASE_SHIFT 2
#define CHANGE	    (UINT64_C(1) << 34)
#define CHANGES	    (~UINT64_C(0) << 34)

#define LOSSES 1000 /* of races for the phase word, after which to back off */

#define ARRIVED	  UINT64_C(1)
#define FOR_SHIFT 49

struct ask {
	struct lshm_region *region;
	struct lshmi_lane *lane;
	struct lshm_barrier *barrier;
	lshmi_u64 *member; /* its own */
	uint32_t phase;
};

static uint32_t phase_of(uint64_t word)
{
	return (uint32_t)(word >> PHASE_SHIFT);
}

/* What a member's word has beside its lockword, once it has arrived. */
static uint64_t arrived(uint32_t phase)
{
	return ARRIVED | (uint64_t)phase << FOR_SHIFT;
}

/* Whose it is: the word as it was when its member joined. */
static uint64_t lockword_of(uint64_t member)
{
	return member & ((UINT64_C(1) << FOR_SHIFT) - 1) & ~ARRIVED;
}

static lshmi_u64 *find(const struct ask *a)
{
	struct lshm_barrier *b = a->barrier;

	for (uint32_t i = 0; i < LSHM_MEMBERS_MAX; i++)
		if (lockword_of(lshmi_load_relaxed(&b->members[i])) ==
		    a->lane->lockword)
			return &b->members[i];
	return NULL;
}

/* Take a member out if it is dead. */
static bool bury(const struct ask *a, lshmi_u64 *member, uint64_t w)
{
	if (!lshmi_lane_dead(a->region, w))
		return false;
	lshmi_fetch_or(&a->barrier->phase, MISSING); /* first */
	lshmi_cas(member, w, 0);
	lshmi_lane_reap(a->region, w);
	return true;
}

/* Has everybody arrived? */
static bool all_arrived(const struct ask *a, bool look)
{
	bool all = true;

	for (uint32_t i = 0; i < LSHM_MEMBERS_MAX; i++) {
		lshmi_u64 *member = &a->barrier->members[i];
		uint64_t w = lshmi_load_seq(member); /* [B] */

		if (w == 0 || w == (lockword_of(w) | arrived(a->phase)))
			continue;
		if (!look)
			return false;
		all &= bury(a, member, w);
	}
	return all;
}

/* Has the phase ended, or can it? Attempt of a member that has arrived. */
static int pass(void *arg, bool look)
{
	const struct ask *a = arg;
	struct lshm_barrier *b = a->barrier;
	uint64_t w, next;

	for (int i = 0; i < LOSSES; i++) {
		w = lshmi_load_seq(&b->phase); /* [C] before the look */
		if (phase_of(w) != a->phase)
			return w & DIED ? LSHM_OWNER_DIED : 0;
		if (!all_arrived(a, look))
			return -EAGAIN;
		next = (w & CHANGES) |
		       (uint64_t)(uint32_t)(a->phase + 1) << PHASE_SHIFT |
		       (w & MISSING ? DIED : 0);
		if (lshmi_cas(&b->phase, w, next))
			lshmi_wake(a->region, &b->waiters, INT_MAX);
	}
	return -EAGAIN;
}

static int ask(struct ask *a, struct lshm_region *r, struct lshm_barrier *b)
{
	int ret = lshmi_enter(r);

	if (ret < 0 || (ret = lshmi_check(r, b, sizeof(*b), "barrier")) < 0)
		return ret;
	*a = (struct ask){.region = r, .barrier = b, .lane = lshmi_lane(r)};
	if (!a->lane)
		return lshmi_failed();
	a->member = find(a);
	return 0;
}

static int no_member(void)
{
	return lshmi_fail(
	    EPERM, "this thread is no member of the barrier: join first");
}

int lshm_barrier_join(struct lshm_region *region, struct lshm_barrier *barrier)
{
	struct ask a;
	int ret = ask(&a, region, barrier);

	if (ret < 0)
		return ret;
	if (a.member)
		return lshmi_fail(
		    EEXIST, "this thread is a member of the barrier already");
	for (int look = 0; look < 2; look++) {
		for (uint32_t i = 0; i < LSHM_MEMBERS_MAX; i++) {
			lshmi_u64 *member = &barrier->members[i];
			uint64_t w = lshmi_load_seq(member);

			if (w && (!look || !bury(&a, member, w)))
				continue;
			if (!lshmi_cas(member, 0, a.lane->lockword))
				continue;
			lshmi_fetch_add(&barrier->phase, CHANGE); /* [C] */
			return 0;
		}
	}
	return lshmi_fail(
	    EUSERS, "the barrier has %d members already", LSHM_MEMBERS_MAX);
}

int lshm_barrier_wait(
    struct lshm_region *region, struct lshm_barrier *barrier, int64_t deadline)
{
	struct ask a;
	uint64_t w;
	int ret = ask(&a, region, barrier);

	if (ret < 0)
		return ret;
	if (!a.member)
		return no_member();
	a.phase = phase_of(lshmi_load_seq(&barrier->phase));
	lshmi_exchange(a.member, a.lane->lockword | arrived(a.phase)); /* [B] */
	ret = lshmi_await(region, &barrier->waiters, deadline, pass, &a,
	    "not all members have come to the barrier");
	if (ret != -EAGAIN && ret != -ETIMEDOUT)
		return ret;
	lshmi_exchange(a.member, a.lane->lockword);
	w = lshmi_fetch_add(&barrier->phase, CHANGE); /* [C] */
	if (phase_of(w) == a.phase)
		return ret;
	return w & DIED ? LSHM_OWNER_DIED : 0;
}

int lshm_barrier_leave(struct lshm_region *region, struct lshm_barrier *barrier)
{
	struct ask a;
	int ret = ask(&a, region, barrier);

	if (ret < 0)
		return ret;
	if (!a.member)
		return no_member();
	lshmi_exchange(a.member, 0);
	/* Who waits may have waited for this one. */
	lshmi_wake(region, &barrier->waiters, INT_MAX);
	return 0;
}
