/* SPDX-License-Identifier: MIT */
/*
 * threads.h - what the tests of threads share: some that do the same at once
 */
#ifndef LIBSHM_TEST_THREADS_H
#define LIBSHM_TEST_THREADS_H

#include "unit.h"

#include <pthread.h>

enum { THREADS = 4 };

struct worker {
	pthread_t thread;
	struct lshm_region *region;
	uint64_t seed;
	void *arg;
};

/** Run @run in THREADS threads, and wait for them. */
static inline void together(
    struct lshm_region *region, void *(*run)(void *worker), void *arg)
{
	struct worker workers[THREADS];
	uint64_t seed = ut_seed();

	for (size_t i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){
		    .region = region, .seed = seed + i, .arg = arg};
		UT_EQ(0,
		    pthread_create(&workers[i].thread, NULL, run, &workers[i]));
	}
	for (size_t i = 0; i < THREADS; i++)
		UT_EQ(0, pthread_join(workers[i].thread, NULL));
}

#endif
