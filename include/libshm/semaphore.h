/* SPDX-License-Identifier: MIT */
/*
 * semaphore.h - a number of permits to be taken and put back
 *
 * It lies anywhere in the region, in the user's own structures. What holds for
 * all waiting is in waiters.h. There are two kinds. Plain: a number, which
 * anybody raises and lowers; a permit that was taken by a process that died is
 * lost. Tracked: each permit knows who holds it, and those of the dead come
 * back by themselves; its total is fixed, and the permits follow it in memory:
 *
 *     struct {
 *             struct lshm_semaphore semaphore;
 *             struct lshm_permit permits[8];
 *     };
 */
#ifndef LIBSHM_SEMAPHORE_H
#define LIBSHM_SEMAPHORE_H

#include <stdbool.h>

#include <libshm/waiters.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The most permits of a tracked semaphore. */
#define LSHM_PERMITS_MAX 4096

/**
 * struct lshm_semaphore - in shared memory; all zero is plain, without a permit
 * @value: plain: the permits there are
 * @total: tracked: how many permits follow; 0: plain
 */
struct lshm_semaphore {
	struct lshm_waiters waiters;
	uint64_t value __attribute__((aligned(8)));
	uint32_t total;
	uint32_t reserved;
};

/**
 * struct lshm_permit - in shared memory, after a tracked struct lshm_semaphore
 * @word: 0, or who holds it
 */
struct lshm_permit {
	uint64_t word __attribute__((aligned(8)));
};

/**
 * lshm_semaphore_init() - give a semaphore its kind and its permits
 * @region:    [in] a participant's handle
 * @semaphore: [in] inside @region, in use by nobody
 * @value:     [in] how many permits there are at first; tracked: and for ever,
 *             1 to LSHM_PERMITS_MAX
 * @tracked:   [in] @value struct lshm_permit follow the semaphore
 *
 * Return: 0; -EINVAL: outside the region, the permits too, or a bad @value;
 * -EROFS; -ECHILD.
 * Crash: in the middle of it, the semaphore is to be initialised again.
 */
LSHM_API int lshm_semaphore_init(struct lshm_region *region,
    struct lshm_semaphore *semaphore, uint32_t value, bool tracked);

/**
 * lshm_semaphore_wait() - take a permit
 * @region:    [in] a participant's handle
 * @semaphore: [in] inside @region
 * @deadline:  [in] LSHM_NOW, LSHM_FOREVER or a time
 *
 * A thread may take several. Waiters get permits in no particular order.
 *
 * Return: 0; tracked: LSHM_OWNER_DIED: taken, and its last holder died with it;
 * -EAGAIN; -ETIMEDOUT; -EINVAL outside the region; -EROFS; -ECHILD; tracked:
 * -EUSERS no lane; -LSHM_ECORRUPT the permits are outside the region.
 * Crash: tracked: permits of the dead go to those who wait, at the latest a
 * second after the kernel has taken the dead process's memory down. A thread
 * that ends inside a living process keeps its permits.
 */
LSHM_API int lshm_semaphore_wait(struct lshm_region *region,
    struct lshm_semaphore *semaphore, int64_t deadline)
    __attribute__((warn_unused_result));

/**
 * lshm_semaphore_post() - put a permit back; plain: or in
 * @region, @semaphore: [in] as for lshm_semaphore_wait()
 *
 * Wakes one who waits.
 *
 * Return: 0; tracked: -EPERM the calling thread holds none; -EOVERFLOW there
 * are 2^64 - 1 permits; -EINVAL; -EROFS; -ECHILD; -EUSERS; -LSHM_ECORRUPT.
 * Blocks: never.
 */
LSHM_API int lshm_semaphore_post(
    struct lshm_region *region, struct lshm_semaphore *semaphore);

/**
 * lshm_semaphore_value() - how many permits can be taken just now
 * @region:    [in] any handle
 * @semaphore: [in] inside @region
 * @value:     [out] their number; tracked: those of the dead are among them
 *
 * Return: 0; -EINVAL; -ECHILD; -LSHM_ECORRUPT.
 * Blocks: never.
 */
LSHM_API int lshm_semaphore_value(struct lshm_region *region,
    const struct lshm_semaphore *semaphore, uint64_t *value);

#ifdef __cplusplus
}
#endif

#endif
