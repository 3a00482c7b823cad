/* SPDX-License-Identifier: MIT */
/*
 * semaphore.c - permits, as a number or as a set of holders
 *
 *   value    plain: +1 by who posts, -1 by who takes, by compare-and-swap
 *   permits  tracked: 0 -> a lane's lockword   who takes it
 *                     lockword -> 0            that lane
 *                     lockword(dead) -> lockword  who has proof of the death,
 *                     by compare-and-swap on the word the proof was about
 *   total    by lshm_semaphore_init() only
 *
 * A permit that can be taken is not counted anywhere: it is one whose word is 0
 * or names somebody dead. So a death needs no repair, and a permit is never in
 * two hands or in none. Taking from the dead is a decision: many may try, one
 * succeeds.
 *
 * Waiting is as in waiters.c; whoever posts wakes one. Death between the change
 * and the wake-up: the permit is there, and found by who looks next.
 */
#include "internal.h"

#define LOSSES 1000 /* of races for one word, after which to back off */

struct ask {
	struct lshm_region *region;
	struct lshmi_lane *lane; /* tracked */
	struct lshm_semaphore *semaphore;
	struct lshm_permit *permits; /* NULL: plain */
	uint32_t total;
};

/* Where, of what kind? */
static int look_up(
    struct ask *a, struct lshm_region *r, const struct lshm_semaphore *s)
{
	int ret = lshmi_check(r, s, sizeof(*s), "semaphore");

	if (ret < 0)
		return ret;
	*a = (struct ask){.region = r,
	    .semaphore = (struct lshm_semaphore *)s,
	    .total = lshmi_load_acquire(&s->total)};
	if (a->total == 0)
		return 0;
	a->permits = (struct lshm_permit *)(a->semaphore + 1);
	if (a->total > LSHM_PERMITS_MAX ||
	    !lshmi_at(r, (uint64_t)((char *)a->permits - r->base),
		a->total * sizeof(*a->permits)))
		return lshmi_fail(LSHM_ECORRUPT,
		    "the semaphore's %u permits do not lie in the region",
		    a->total);
	return 0;
}

static int ask(struct ask *a, struct lshm_region *r, struct lshm_semaphore *s)
{
	int ret = lshmi_enter(r);

	if (ret < 0 || (ret = look_up(a, r, s)) < 0 || !a->permits)
		return ret;
	a->lane = lshmi_lane(r);
	return a->lane ? 0 : lshmi_failed();
}

/* Can it be taken? @alive: the last that could not, about whom was asked. */
static bool is_free(struct lshm_region *r, uint64_t w, uint64_t *alive)
{
	if (w == 0)
		return true;
	if (w == *alive) /* it holds several */
		return false;
	if (lshmi_lane_dead(r, w))
		return true;
	*alive = w;
	return false;
}

/* The permits, beginning with a different one for each lane. */
static lshmi_u64 *permit(const struct ask *a, uint32_t i)
{
	uint32_t lane = (uint32_t)(a->lane->rec - a->region->lanes);

	return &a->permits[(lane + i) % a->total].word;
}

static int take_tracked(void *arg, bool look)
{
	const struct ask *a = arg;
	uint64_t w, alive = 0;

	for (uint32_t i = 0; i < a->total; i++)
		if (lshmi_load_seq(permit(a, i)) == 0 &&
		    lshmi_cas(permit(a, i), 0, a->lane->lockword))
			return 0;
	for (uint32_t i = 0; look && i < a->total; i++) {
		w = lshmi_load_seq(permit(a, i));
		if (!is_free(a->region, w, &alive) ||
		    !lshmi_cas(permit(a, i), w, a->lane->lockword))
			continue;
		lshmi_lane_reap(a->region, w);
		return w ? LSHM_OWNER_DIED : 0;
	}
	return -EAGAIN;
}

static int take_plain(void *arg, bool look)
{
	const struct ask *a = arg;
	lshmi_u64 *value = &a->semaphore->value, v;

	for (int i = 0; i < LOSSES; i++) {
		v = lshmi_load_seq(value);
		if (v == 0)
			break;
		if (lshmi_cas(value, v, v - 1))
			return 0;
	}
	return -EAGAIN;
}

int lshm_semaphore_init(struct lshm_region *region,
    struct lshm_semaphore *semaphore, uint32_t value, bool tracked)
{
	struct lshm_permit *permits = (struct lshm_permit *)(semaphore + 1);
	uint64_t size = sizeof(*semaphore);
	int ret = lshmi_enter(region);

	if (ret < 0)
		return ret;
	if (tracked && (value == 0 || value > LSHM_PERMITS_MAX))
		return lshmi_fail(EINVAL,
		    "%u permits to be tracked: expected 1 to %u", value,
		    LSHM_PERMITS_MAX);
	if (tracked)
		size += value * sizeof(*permits);
	ret = lshmi_check(region, semaphore, size, "semaphore");
	if (ret < 0)
		return ret;
	*semaphore = (struct lshm_semaphore){.value = tracked ? 0 : value};
	for (uint32_t i = 0; tracked && i < value; i++)
		permits[i].word = 0;
	lshmi_store_release(&semaphore->total, tracked ? value : 0);
	return 0;
}

int lshm_semaphore_wait(struct lshm_region *region,
    struct lshm_semaphore *semaphore, int64_t deadline)
{
	struct ask a;
	int ret = ask(&a, region, semaphore);

	if (ret < 0)
		return ret;
	return lshmi_await(region, &semaphore->waiters, deadline,
	    a.permits ? take_tracked : take_plain, &a,
	    "the semaphore has no permit left");
}

static int post_tracked(const struct ask *a)
{
	for (uint32_t i = 0; i < a->total; i++) {
		if (lshmi_load_relaxed(permit(a, i)) == a->lane->lockword) {
			lshmi_exchange(permit(a, i), 0);
			return 0;
		}
	}
	return lshmi_fail(
	    EPERM, "this thread holds no permit of the semaphore");
}

static int post_plain(const struct ask *a)
{
	lshmi_u64 *value = &a->semaphore->value, v;

	for (int i = 0; i < 1000 * LOSSES; i++) {
		v = lshmi_load_relaxed(value);
		if (v == UINT64_MAX)
			return lshmi_fail(EOVERFLOW,
			    "the semaphore has as many permits as it can");
		if (lshmi_cas(value, v, v + 1))
			return 0;
	}
	return lshmi_fail(LSHM_ECORRUPT, "the semaphore's value never stays");
}

int lshm_semaphore_post(
    struct lshm_region *region, struct lshm_semaphore *semaphore)
{
	struct ask a;
	int ret = ask(&a, region, semaphore);

	if (ret < 0)
		return ret;
	ret = a.permits ? post_tracked(&a) : post_plain(&a);
	if (ret < 0)
		return ret;
	lshmi_wake(region, &semaphore->waiters, 1);
	return 0;
}

int lshm_semaphore_value(struct lshm_region *region,
    const struct lshm_semaphore *semaphore, uint64_t *value)
{
	struct ask a;
	uint64_t count = 0, alive = 0;
	int ret;

	if (region->serial == 0)
		return lshmi_fail_gone(region);
	ret = look_up(&a, region, semaphore);
	if (ret < 0)
		return ret;
	for (uint32_t i = 0; i < a.total; i++)
		count +=
		    is_free(region, lshmi_load_seq(&a.permits[i].word), &alive);
	*value = a.permits ? count : lshmi_load_seq(&semaphore->value);
	return 0;
}
