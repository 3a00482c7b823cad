/* SPDX-License-Identifier: MIT */
/*
 * bench_boost.h - the allocator of Boost.Interprocess's managed memories,
 * rbtree_best_fit with a process-shared mutex, in memory of the caller's
 */
#ifndef BENCH_BOOST_H
#define BENCH_BOOST_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifdef HAVE_BOOST
/* Make a heap out of it. */
void bench_boost_make(void *memory, size_t size);
/* The heap made there, for any process. */
void *bench_boost_find(void *memory, size_t size);
/* NULL: it is full. */
void *bench_boost_alloc(void *heap, size_t size);
void bench_boost_free(void *heap, void *block);
#endif

#ifdef __cplusplus
}
#endif

#endif
