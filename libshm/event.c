/* SPDX-License-Identifier: MIT */
/*
 * event.c - a count that can be waited for
 *
 * `count` is raised by one fetch-and-add, which is the whole of a post; waiting
 * is as in waiters.c. There is nothing that a death could leave half done.
 */
#include "internal.h"

struct ask {
	const lshmi_u64 *count;
	uint64_t seen;
	uint64_t now;
};

static int gone_on(void *arg, bool look)
{
	struct ask *a = arg;

	a->now = lshmi_load_seq(a->count);
	return a->now == a->seen ? -EAGAIN : 0;
}

static int check(struct lshm_region *r, const struct lshm_event *e)
{
	return lshmi_check(r, e, sizeof(*e), "event");
}

int lshm_event_post(
    struct lshm_region *region, struct lshm_event *event, uint64_t n)
{
	int ret = lshmi_enter(region);

	if (ret < 0 || (ret = check(region, event)) < 0 || n == 0)
		return ret;
	lshmi_fetch_add(&event->count, n);
	lshmi_wake(region, &event->waiters, INT_MAX);
	return 0;
}

int lshm_event_wait(struct lshm_region *region, struct lshm_event *event,
    uint64_t seen, int64_t deadline, uint64_t *count)
{
	struct ask a = {.count = &event->count, .seen = seen};
	int ret = lshmi_enter(region);

	if (ret < 0 || (ret = check(region, event)) < 0)
		return ret;
	ret = lshmi_await(region, &event->waiters, deadline, gone_on, &a,
	    "the event has not been posted");
	if (ret == 0 && count)
		*count = a.now;
	return ret;
}

int lshm_event_count(
    struct lshm_region *region, const struct lshm_event *event, uint64_t *count)
{
	int ret;

	if (region->serial == 0)
		return lshmi_fail_fork();
	ret = check(region, event);
	if (ret == 0)
		*count = lshmi_load_seq(&event->count);
	return ret;
}
