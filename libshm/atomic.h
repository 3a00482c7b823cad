/* SPDX-License-Identifier: MIT */
/*
 * atomic.h - the only door to shared words
 *
 * Every access to memory that another process may change goes through here,
 * so that its order is the program's in every build, and so that a test build
 * can put an explorer of interleavings in this file's place. Each works on
 * naturally aligned words of 16, 32 or 64 bits. There are no fences: where a
 * store must be seen before a later load (a "store-load pair") both sides use
 * the sequentially consistent forms, or the sleeper runs membarrier(2); each
 * such pair is listed in docs/design.md.
 *
 * Whoever acts on a death learnt of it through the kernel, which orders all
 * the dead process's stores before that: recovery needs program order only.
 */
#ifndef LSHMI_ATOMIC_H
#define LSHMI_ATOMIC_H

#include <stdbool.h>
#include <stdint.h>

#define lshmi_load_relaxed(p) __atomic_load_n(p, __ATOMIC_RELAXED)
#define lshmi_load_acquire(p) __atomic_load_n(p, __ATOMIC_ACQUIRE)
#define lshmi_load_seq(p)     __atomic_load_n(p, __ATOMIC_SEQ_CST)

#define lshmi_store_relaxed(p, v) __atomic_store_n(p, v, __ATOMIC_RELAXED)
#define lshmi_store_release(p, v) __atomic_store_n(p, v, __ATOMIC_RELEASE)
#define lshmi_store_seq(p, v)	  __atomic_store_n(p, v, __ATOMIC_SEQ_CST)

#define lshmi_exchange(p, v)  __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST)
#define lshmi_fetch_add(p, v) __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST)
#define lshmi_fetch_or(p, v)  __atomic_fetch_or(p, v, __ATOMIC_SEQ_CST)
#define lshmi_fetch_and(p, v) __atomic_fetch_and(p, v, __ATOMIC_SEQ_CST)

static inline bool lshmi_cas(uint64_t *p, uint64_t from, uint64_t to)
{
	return __atomic_compare_exchange_n(
	    p, &from, to, false, __ATOMIC_SEQ_CST, __ATOMIC_ACQUIRE);
}

static inline bool lshmi_cas16(uint16_t *p, uint16_t from, uint16_t to)
{
	return __atomic_compare_exchange_n(
	    p, &from, to, false, __ATOMIC_SEQ_CST, __ATOMIC_ACQUIRE);
}

/* Tell the processor that this is a polling loop. */
static inline void lshmi_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__) || defined(__arm__)
	__asm__ volatile("yield");
#endif
}

#endif
