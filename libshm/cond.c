/* SPDX-License-Identifier: MIT */
/*
 * cond.c - condition variables
 *
 * There is no state but that of waiters.c. A waiter takes its ticket (S1, S2
 * there) while it holds the mutex, and makes no further attempt: the change it
 * waits for is made with the mutex held, so after the ticket, and the signal
 * comes after the change, so it finds the ticket counted. From then on it is as
 * there: either the event has gone up by the time of falling asleep, or the
 * sleeper is among those that can be woken.
 *
 * A death anywhere leaves a ticket that somebody rings for in vain. A sleep
 * ends after a second, whoever has died.
 */
#include "internal.h"

#define SLEEP INT64_C(1000000000) /* ns: the bound on noticing a death */

int lshm_cond_wait(struct lshm_region *region, struct lshm_cond *cond,
    struct lshm_mutex *mutex, int64_t deadline)
{
	int64_t now, until;
	struct lshmi_lane *lane;
	uint64_t deaths = lshmi_load_relaxed(&region->deaths);
	uint32_t event;
	int ret = lshmi_enter(region), relocked;

	if (ret < 0 ||
	    (ret = lshmi_check(region, cond, sizeof(*cond), "cond")) < 0 ||
	    (ret = lshmi_check(region, mutex, sizeof(*mutex), "mutex")) < 0)
		return ret;
	lane = lshmi_lane(region);
	if (!lane)
		return lshmi_failed();
	if (!lshmi_holds(lane, mutex))
		return lshmi_fail(EPERM, "this thread does not hold the mutex");
	if (deadline == LSHM_NOW)
		return lshmi_fail_with(EAGAIN, "there is nothing to wait for");
	now = lshmi_now();
	until = deadline > now + SLEEP ? now + SLEEP : deadline;
	event = lshmi_load_seq(&cond->waiters.event); /* [Z] */
	lshmi_fetch_add(&cond->waiters.sleeps, 1);
	lshmi_unlock(region, mutex);
	do {
		ret = region->store.backend->wait(&region->store,
		    &cond->waiters.event, event, until, &deaths);
		if (region->serial == 0)
			return lshmi_fail_gone(region);
		now = lshmi_now();
	} while (ret < 0 && now < until &&
		 lshmi_load_seq(&cond->waiters.event) == event);
	relocked = lshmi_lock(region, mutex, LSHM_FOREVER);
	if (relocked != 0)
		return relocked;
	if (ret == 0 || lshmi_load_seq(&cond->waiters.event) != event ||
	    now < deadline)
		return 0;
	return lshmi_fail_with(
	    ETIMEDOUT, "nobody signalled until the deadline");
}

static int wake(struct lshm_region *r, struct lshm_cond *c, int count)
{
	int ret = lshmi_enter(r);

	if (ret < 0 || (ret = lshmi_check(r, c, sizeof(*c), "cond")) < 0)
		return ret;
	lshmi_wake(r, &c->waiters, count);
	return 0;
}

int lshm_cond_signal(struct lshm_region *region, struct lshm_cond *cond)
{
	return wake(region, cond, 1);
}

int lshm_cond_broadcast(struct lshm_region *region, struct lshm_cond *cond)
{
	return wake(region, cond, INT_MAX);
}
