/* SPDX-License-Identifier: MIT */
/*
 * slow.h - atomic.h with pauses: between any two accesses to shared words some
 * time may pass, so that deaths and others' doings meet it there
 *
 * Included before anything else when the library is built for a storm.
 */
#ifndef LIBSHM_STORM_SLOW_H
#define LIBSHM_STORM_SLOW_H

#include <sched.h>
#include <unistd.h>

#include "../../libshm/atomic.h"

/* In the workers only: the books would take minutes. */
extern bool storm_slow;

static inline void storm_pause(void)
{
	static __thread uint64_t state;
	uint64_t n;

	if (!storm_slow)
		return;
	if (!state) /* each thread its own pauses */
		state = (uint64_t)(uintptr_t)&state ^ (uint64_t)getpid() << 32;
	state = state * UINT64_C(6364136223846793005) + 1442695040888963407;
	n = state >> 33;
	if (n % 32 != 0)
		return;
	n /= 32;
	if (n % 32 == 0)
		usleep((useconds_t)(n / 32 % 300));
	else if (n % 8 == 0)
		sched_yield();
	else
		for (n = n / 8 % 128; n; n--)
			lshmi_pause();
}

#define STORM_THEN(access) (storm_pause(), access)

#undef lshmi_load_relaxed
#undef lshmi_load_acquire
#undef lshmi_load_seq
#undef lshmi_store_relaxed
#undef lshmi_store_release
#undef lshmi_store_seq
#undef lshmi_exchange
#undef lshmi_fetch_add
#undef lshmi_fetch_or
#undef lshmi_fetch_and

#define lshmi_load_relaxed(p) STORM_THEN(__atomic_load_n(p, __ATOMIC_RELAXED))
#define lshmi_load_acquire(p) STORM_THEN(__atomic_load_n(p, __ATOMIC_ACQUIRE))
#define lshmi_load_seq(p)     STORM_THEN(__atomic_load_n(p, __ATOMIC_SEQ_CST))
#define lshmi_store_relaxed(p, v) \
	STORM_THEN(__atomic_store_n(p, v, __ATOMIC_RELAXED))
#define lshmi_store_release(p, v) \
	STORM_THEN(__atomic_store_n(p, v, __ATOMIC_RELEASE))
#define lshmi_store_seq(p, v) \
	STORM_THEN(__atomic_store_n(p, v, __ATOMIC_SEQ_CST))
#define lshmi_exchange(p, v) \
	STORM_THEN(__atomic_exchange_n(p, v, __ATOMIC_SEQ_CST))
#define lshmi_fetch_add(p, v) \
	STORM_THEN(__atomic_fetch_add(p, v, __ATOMIC_SEQ_CST))
#define lshmi_fetch_or(p, v) \
	STORM_THEN(__atomic_fetch_or(p, v, __ATOMIC_SEQ_CST))
#define lshmi_fetch_and(p, v) \
	STORM_THEN(__atomic_fetch_and(p, v, __ATOMIC_SEQ_CST))
#define lshmi_cas(p, from, to)	 STORM_THEN((lshmi_cas)(p, from, to))
#define lshmi_cas16(p, from, to) STORM_THEN((lshmi_cas16)(p, from, to))

#endif
