/* SPDX-License-Identifier: MIT */
/*
 * once.h - do a thing once, whoever dies doing it
 *
 * It lies anywhere in the region, in the user's own structures. Waiting for
 * another's attempt is waiting for a mutex: see mutex.h.
 */
#ifndef LIBSHM_ONCE_H
#define LIBSHM_ONCE_H

#include <libshm/mutex.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * struct lshm_once - in shared memory; all zero: not done yet
 * @mutex:    held by who does it
 * @done:     1 when it is done
 * @attempts: how often it was begun
 */
struct lshm_once {
	struct lshm_mutex mutex;
	uint32_t done;
	uint32_t attempts;
};

/**
 * lshm_once_run() - do it, unless it is done; wait for who does it just now
 * @region:   [in] a participant's handle; an observer's where it is done
 * @once:     [in] inside @region
 * @init:     [in] does it: 0 or more, done; negative: not done, and this is
 *            what lshm_once_run() returns; no other caller runs at the same
 *            time. @earlier: how many attempts were begun before: each of them
 *            failed or died, and may have left half of it behind
 * @arg:      [in] passed on to @init
 * @deadline: [in] of waiting for another's attempt
 *
 * After 0 everything that @init wrote is seen. One load where it is done.
 *
 * Return: 0; what @init returned, if that is negative; -EAGAIN; -ETIMEDOUT;
 * -EDEADLK asked for from within @init; -EINVAL outside the region; -ENOMEM as
 * for lshm_mutex_lock(); -EROFS; -ECHILD; -EUSERS no lane.
 * Crash: of who does it: the next caller, or one that waits, does it, at the
 * latest a second after the kernel has taken the dead process's memory down.
 */
LSHM_API int lshm_once_run(struct lshm_region *region, struct lshm_once *once,
    int (*init)(void *arg, unsigned int earlier), void *arg, int64_t deadline);

#ifdef __cplusplus
}
#endif

#endif
