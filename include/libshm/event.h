/* SPDX-License-Identifier: MIT */
/*
 * event.h - a count that only goes up, and can be waited for
 *
 * It lies anywhere in the region, in the user's own structures. Whoever has
 * seen it at some count waits until it is at another one, so nothing is missed
 * between looking and waiting, and any number of waiters see each post. What
 * holds for all waiting is in waiters.h.
 *
 *     lshm_event_count(region, &s->changed, &seen);
 *     while (!look_at(s))
 *             lshm_event_wait(region, &s->changed, seen, LSHM_FOREVER, &seen);
 */
#ifndef LIBSHM_EVENT_H
#define LIBSHM_EVENT_H

#include <libshm/waiters.h>

#ifdef __cplusplus
extern "C" {
#endif

/** struct lshm_event - in shared memory; all zero is ready, at count 0 */
struct lshm_event {
	struct lshm_waiters waiters;
	uint64_t count __attribute__((aligned(8)));
};

/**
 * lshm_event_post() - raise the count, and wake all who wait
 * @region: [in] a participant's handle
 * @event:  [in] inside @region
 * @n:      [in] by how much; 0 does nothing
 *
 * What the caller wrote before is seen by whoever sees the new count.
 *
 * Return: 0; -EINVAL outside the region; -EROFS; -ECHILD.
 * Blocks: never. Makes no system call where nobody waits.
 * Crash: it has gone up or not. If nobody was woken, waiters look by
 * themselves, after a second at most.
 */
LSHM_API int lshm_event_post(
    struct lshm_region *region, struct lshm_event *event, uint64_t n);

/**
 * lshm_event_wait() - wait until the count has gone on
 * @region:   [in] a participant's handle
 * @event:    [in] inside @region
 * @seen:     [in] the count beyond which it is to be
 * @deadline: [in] LSHM_NOW, LSHM_FOREVER or a time
 * @count:    [out] where it is now; may be NULL, and the address of what was
 *            given as @seen
 *
 * All who wait are woken at each post.
 *
 * Return: 0; -EAGAIN; -ETIMEDOUT; -EINVAL outside the region; -EROFS: observers
 * cannot wait, but look at lshm_event_count(); -ECHILD.
 */
LSHM_API int lshm_event_wait(struct lshm_region *region,
    struct lshm_event *event, uint64_t seen, int64_t deadline, uint64_t *count);

/**
 * lshm_event_count() - the count, as it is now
 * @region: [in] any handle
 * @event:  [in] inside @region
 * @count:  [out] the count
 *
 * Return: 0; -EINVAL; -ECHILD.
 * Blocks: never.
 */
LSHM_API int lshm_event_count(struct lshm_region *region,
    const struct lshm_event *event, uint64_t *count);

#ifdef __cplusplus
}
#endif

#endif
