/* SPDX-License-Identifier: MIT */
/*
 * barrier.h - wait until all members have come to the same point
 *
 * It lies anywhere in the region, in the user's own structures. Members are
 * lanes: threads of participants, each of which joins for itself. A phase ends
 * when every member that lives has arrived: the dead are not waited for, but
 * their death is told to all. What holds for all waiting is in waiters.h.
 */
#ifndef LIBSHM_BARRIER_H
#define LIBSHM_BARRIER_H

#include <libshm/waiters.h>

#ifdef __cplusplus
extern "C" {
#endif

/** How many members a barrier can have. */
#define LSHM_MEMBERS_MAX 60

/**
 * struct lshm_barrier - in shared memory; all zero is ready, without members
 * @phase:   the phase, and what has happened in it
 * @members: each 0, or who it is and whether it has arrived
 */
struct lshm_barrier {
	struct lshm_waiters waiters;
	uint64_t phase __attribute__((aligned(8)));
	uint64_t reserved __attribute__((aligned(8)));
	uint64_t members[LSHM_MEMBERS_MAX] __attribute__((aligned(8)));
};

/**
 * lshm_barrier_join() - become a member
 * @region:  [in] a participant's handle
 * @barrier: [in] inside @region
 *
 * From when it has returned, no phase ends before the calling thread has
 * arrived. Who wants to begin together with others makes sure first that all
 * have joined.
 *
 * Return: 0; -EEXIST the calling thread is a member; -EUSERS there are
 * LSHM_MEMBERS_MAX living members, or no lane; -EINVAL outside the region;
 * -EROFS; -ECHILD.
 * Blocks: never.
 * Crash: the dead are removed by who waits for them, or wants their place.
 */
LSHM_API int lshm_barrier_join(
    struct lshm_region *region, struct lshm_barrier *barrier);

/**
 * lshm_barrier_wait() - arrive, and wait until all members have
 * @region, @barrier: [in] as for lshm_barrier_join(), joined
 * @deadline: [in] LSHM_NOW (the phase ends if this is the last member to
 *            arrive), LSHM_FOREVER or a time
 *
 * After -EAGAIN or -ETIMEDOUT the calling thread has not arrived: the phase
 * goes on, for all, until it has come again or left. Whatever a member wrote
 * before it arrived is seen by all after the phase has ended.
 *
 * Return: 0; LSHM_OWNER_DIED: the phase has ended, and a member died, without
 * having arrived; every member is told so, at least once; -EAGAIN; -ETIMEDOUT;
 * -EPERM the calling thread is no member; -EINVAL; -EROFS; -ECHILD; -EUSERS.
 * Crash: a member that dies before it arrives is waited for no longer than a
 * second after the kernel has taken its memory down. One that dies after it has
 * arrived is missed in the next phase.
 */
LSHM_API int lshm_barrier_wait(
    struct lshm_region *region, struct lshm_barrier *barrier, int64_t deadline)
    __attribute__((warn_unused_result));

/**
 * lshm_barrier_leave() - be a member no longer
 * @region, @barrier: [in] as for lshm_barrier_join()
 *
 * A thread that ends without leaving, in a process that lives on, is waited
 * for.
 *
 * Return: 0; -EPERM the calling thread is no member; -EINVAL; -EROFS; -ECHILD;
 * -EUSERS.
 * Blocks: never.
 */
LSHM_API int lshm_barrier_leave(
    struct lshm_region *region, struct lshm_barrier *barrier);

#ifdef __cplusplus
}
#endif

#endif
