/* SPDX-License-Identifier: MIT */
/*
 * cond.h - wait, with a mutex, until what it protects has changed
 *
 *     ret = lshm_mutex_lock(region, &q->mutex, LSHM_FOREVER);
 *     while (ret >= 0) {
 *             if (ret == LSHM_OWNER_DIED)
 *                     repair(q);
 *             if (!q->empty)
 *                     break;
 *             ret = lshm_cond_wait(region, &q->cond, &q->mutex, LSHM_FOREVER);
 *     }
 *
 * It lies anywhere in the region, in the user's own structures. Always wait in
 * a loop like this one: a wait also ends for no reason, and the state may have
 * changed again before the mutex was had. What holds for all waiting is in
 * waiters.h.
 */
#ifndef LIBSHM_COND_H
#define LIBSHM_COND_H

#include <libshm/mutex.h>
#include <libshm/waiters.h>

#ifdef __cplusplus
extern "C" {
#endif

/** struct lshm_cond - in shared memory; all zero is ready */
struct lshm_cond {
	struct lshm_waiters waiters;
};

/**
 * lshm_cond_wait() - let go of a mutex, sleep until signalled, obtain it again
 * @region:   [in] a participant's handle
 * @cond:     [in] inside @region
 * @mutex:    [in] inside @region, held by the calling thread; different waiters
 *            may name different ones
 * @deadline: [in] of the sleep; LSHM_NOW: nothing is done, -EAGAIN. The mutex
 *            is waited for without a limit afterwards
 *
 * No signal is missed that comes after the mutex was let go of. Ends without a
 * signal at most about once a second.
 *
 * Return, the mutex being held: 0, perhaps for no reason; LSHM_OWNER_DIED: the
 * last owner of the mutex died with it, repair (told rather than that the
 * deadline has passed); -ETIMEDOUT; -EAGAIN.
 * With the mutex given up: -ENOMEM as for lshm_mutex_lock().
 * With the mutex as it was: -EPERM the calling thread does not hold it; -EINVAL
 * outside the region; -EROFS; -ECHILD; -EUSERS no lane.
 * Crash: whoever waits leaves nothing behind. If a signaller dies between its
 * change and the wake-up, or the waiter that was woken dies before it acts,
 * another waiter looks after a second at most.
 */
LSHM_API int lshm_cond_wait(struct lshm_region *region, struct lshm_cond *cond,
    struct lshm_mutex *mutex, int64_t deadline)
    __attribute__((warn_unused_result));

/**
 * lshm_cond_signal() - wake one who waits
 * @region: [in] a participant's handle
 * @cond:   [in] inside @region
 *
 * With or without the mutex; wakes at least one of those who wait, the one that
 * has slept longest, if there is one. More than one may be woken.
 *
 * Return: 0; -EINVAL; -EROFS; -ECHILD.
 * Blocks: never. Makes no system call where nobody waits.
 */
LSHM_API int lshm_cond_signal(
    struct lshm_region *region, struct lshm_cond *cond);

/**
 * lshm_cond_broadcast() - wake all who wait
 * @region, @cond: [in] as for lshm_cond_signal()
 *
 * Return: as lshm_cond_signal().
 */
LSHM_API int lshm_cond_broadcast(
    struct lshm_region *region, struct lshm_cond *cond);

#ifdef __cplusplus
}
#endif

#endif
