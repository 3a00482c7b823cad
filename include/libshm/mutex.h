/* SPDX-License-Identifier: MIT */
/*
 * mutex.h - a lock that outlives its owner
 *
 * It lies anywhere in the region, in the user's own structures. Its owner is a
 * lane: one thread of one participant. When the owner's process dies, or closes
 * the region, one of those who wait, or else the next one to ask, gets the lock
 * with LSHM_OWNER_DIED as news: what the lock protects is as the dead one left
 * it, and its new owner repairs that.
 *
 * Unlocking says that it is repaired; nothing else has to be called. If whoever
 * repairs dies, too, before unlocking, the next owner gets the news in turn.
 */
#ifndef LIBSHM_MUTEX_H
#define LIBSHM_MUTEX_H

#include <libshm/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * struct lshm_mutex - in shared memory; all zero is unlocked and ready
 * @word: the library's; see libshm/layout.h
 */
struct lshm_mutex {
	uint64_t word __attribute__((aligned(8)));
};

/**
 * lshm_mutex_lock() - obtain the lock
 * @region:   [in] a participant's handle
 * @mutex:    [in] inside @region
 * @deadline: [in] LSHM_NOW, LSHM_FOREVER or a time
 *
 * Not recursive: an owner who asks again is told so. Not fair: whoever comes by
 * first gets it. The compiler warns where the result is not looked at, since
 * the news would be lost.
 *
 * Return: 0; LSHM_OWNER_DIED (obtained; repair what it protects); -EAGAIN it
 * is held, and @deadline is LSHM_NOW; -ETIMEDOUT; -EDEADLK this thread holds
 * it, by this handle; -EINVAL outside the region; -ENOMEM what its dead owner
 * had begun lies in memory that this process cannot map: the lock is left to
 * others; -EROFS; -ECHILD; -EUSERS no lane.
 * Crash: one that waits gets the lock at the latest a second after the kernel
 * has taken the dead process's memory down; one that asks later, at once. A
 * thread that ends inside a living process with the lock held is not detected.
 */
LSHM_API int lshm_mutex_lock(
    struct lshm_region *region, struct lshm_mutex *mutex, int64_t deadline)
    __attribute__((warn_unused_result));

/**
 * lshm_mutex_unlock() - give the lock up
 * @region, @mutex: [in] as for lshm_mutex_lock()
 *
 * Return: 0; -EPERM this thread does not hold it; -EINVAL; -ECHILD.
 * Blocks: never.
 */
LSHM_API int lshm_mutex_unlock(
    struct lshm_region *region, struct lshm_mutex *mutex);

#ifdef __cplusplus
}
#endif

#endif
