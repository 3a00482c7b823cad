/* SPDX-License-Identifier: MIT */
/*
 * once.c - a thing done once
 *
 * `attempts` and `done` are written by the mutex's owner only: `attempts` goes
 * up before the attempt begins, `done` is 1 after it has ended well. A death in
 * between leaves the mutex to the next, who finds `done` 0 and knows from
 * `attempts` that he is not the first. A death after `done` leaves it done.
 */
#include "internal.h"

int lshm_once_run(struct lshm_region *region, struct lshm_once *once,
    int (*init)(void *arg, unsigned int earlier), void *arg, int64_t deadline)
{
	uint32_t earlier;
	int ret;

	if (region->serial == 0)
		return lshmi_fail_fork();
	ret = lshmi_check(region, once, sizeof(*once), "once");
	if (ret < 0 || lshmi_load_acquire(&once->done))
		return ret;
	ret = lshmi_enter(region);
	if (ret < 0 || (ret = lshmi_lock(region, &once->mutex, deadline)) < 0)
		return ret;
	ret = 0;
	if (!lshmi_load_acquire(&once->done)) {
		earlier = lshmi_load_relaxed(&once->attempts);
		lshmi_exchange(&once->attempts, earlier + 1);
		ret = init(arg, earlier);
		if (ret >= 0) {
			ret = 0;
			lshmi_store_release(&once->done, 1);
		}
	}
	lshmi_unlock(region, &once->mutex);
	return ret;
}
