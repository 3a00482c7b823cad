/* SPDX-License-Identifier: MIT */
/*
 * wait.c - time, the futex, and the barrier of those who go to sleep
 */
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"

/*
 * Where long has 32 bits and time_t 64, the call that takes the C library's
 * struct timespec is another one, and may be the only one.
 */
#ifndef SYS_futex
#define FUTEX SYS_futex_time64
#elif defined(SYS_futex_time64)
#define FUTEX (sizeof(time_t) > sizeof(long) ? SYS_futex_time64 : SYS_futex)
#else
#define FUTEX SYS_futex
#endif

int64_t lshmi_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int64_t lshm_deadline_ms(int64_t ms)
{
	int64_t now = lshmi_now();

	if (ms < 0)
		ms = 0;
	return ms > (INT64_MAX - now) / 1000000 ? LSHM_FOREVER
						: now + ms * 1000000;
}

/*
 * A process that has registered executes a full barrier whenever a sleeper
 * anywhere calls membarrier(MEMBARRIER_CMD_GLOBAL_EXPEDITED).
 */
bool lshmi_membarrier_register(void)
{
	return syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED,
		   0, 0) == 0;
}

int lshmi_futex_wait(struct lshmi_store *s, uint32_t *word, uint32_t expected,
    int64_t deadline, uint64_t *deaths)
{
	struct timespec t = {
	    .tv_sec = deadline / 1000000000,
	    .tv_nsec = deadline % 1000000000,
	};

	if (syscall(FUTEX, word, FUTEX_WAIT_BITSET, expected,
		deadline == LSHM_FOREVER ? NULL : &t, NULL,
		FUTEX_BITSET_MATCH_ANY) == 0)
		return 0;
	return -errno;
}

int lshmi_futex_wake(struct lshmi_store *s, uint32_t *word, int count)
{
	long woken = syscall(FUTEX, word, FUTEX_WAKE, count, NULL, NULL, 0);

	return woken < 0 ? -errno : (int)woken;
}
