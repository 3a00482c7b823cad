// SPDX-License-Identifier: MIT
// bench_boost.cpp - see bench_boost.h
#include "bench_boost.h"

#include <boost/interprocess/indexes/null_index.hpp>
#include <boost/interprocess/mem_algo/rbtree_best_fit.hpp>
#include <boost/interprocess/segment_manager.hpp>
#include <boost/interprocess/sync/mutex_family.hpp>

// What managed_shared_memory has inside.
using heap =
    boost::interprocess::rbtree_best_fit<boost::interprocess::mutex_family>;

void bench_boost_make(void *memory, size_t size)
{
	new (memory) heap(size, 0);
}

void *bench_boost_find(void *memory, size_t)
{
	return memory;
}

void *bench_boost_alloc(void *h, size_t size)
{
	return static_cast<heap *>(h)->allocate(size);
}

void bench_boost_free(void *h, void *block)
{
	static_cast<heap *>(h)->deallocate(block);
}
