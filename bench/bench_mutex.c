/* SPDX-License-Identifier: MIT */
/*
 * bench_mutex.c - the robust lock beside pthread's
 *
 * Both lie in shared memory and guard a counter, which is compared at the end.
 * "think": between two turns a process does 200 ns of something else.
 */
#include "bench.h"

#include <err.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define BATCH 256

#define APART 256 /* bytes: farther than what is fetched with a line */

/* An object of the region. What is fought for lies far apart. */
struct guarded {
	pthread_mutex_t pthread;
	char space0[APART];
	struct lshm_mutex libshm;
	char space1[APART];
	uint64_t counter;
	char space2[APART];
	uint64_t expected;
};

struct contest {
	bool libshm;
	unsigned int workers;
	unsigned int think; /* ns */
};

static void must(int error)
{
	if (error)
		errx(EXIT_FAILURE, "pthread: %s", strerror(error));
}

static int setup(void *block, void *arg)
{
	struct guarded *g = block;
	pthread_mutexattr_t attr;

	must(pthread_mutexattr_init(&attr));
	must(pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED));
	must(pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST));
	must(pthread_mutex_init(&g->pthread, &attr));
	must(pthread_mutexattr_destroy(&attr));
	return 0;
}

/* Lock, count and unlock for a while: how often. */
static uint64_t turns(struct bench *b, struct guarded *g,
    const struct contest *c, struct bench_laps *laps)
{
	uint64_t until, count = 0;

	do {
		for (int i = 0; i < BATCH; i++) {
			if (c->libshm)
				bench_must(lshm_mutex_lock(
				    b->region, &g->libshm, LSHM_FOREVER));
			else
				must(pthread_mutex_lock(&g->pthread));
			*(volatile uint64_t *)&g->counter += 1;
			if (c->libshm)
				bench_must(
				    lshm_mutex_unlock(b->region, &g->libshm));
			else
				must(pthread_mutex_unlock(&g->pthread));
			if (c->think)
				for (until = bench_now() + c->think;
				     bench_now() < until;)
					;
		}
		count += BATCH;
	} while (!bench_laps_add(laps, BATCH));
	return count;
}

/* Million turns a second. */
static double contend(struct bench *b, const struct bench_case *c)
{
	const struct contest *contest = c->with;
	struct bench_laps laps;
	struct guarded *g;
	uint64_t count = 0;
	void *block;

	if (b->role == 0)
		bench_must(lshm_object_create(b->region, "guarded", "guarded",
		    sizeof(*g), setup, NULL, NULL));
	bench_meet(b);
	bench_must(lshm_object_open(
	    b->region, "guarded", "guarded", sizeof(*g), &block));
	g = block;
	bench_laps_begin(&laps, b);
	if (b->role < contest->workers)
		count = turns(b, g, contest, &laps);
	__atomic_add_fetch(&g->expected, count, __ATOMIC_SEQ_CST);
	bench_meet(b);
	if (g->counter != g->expected)
		errx(EXIT_FAILURE, "%s: %llu turns were counted as %llu",
		    c->name, (unsigned long long)g->expected,
		    (unsigned long long)g->counter);
	bench_meet(b);
	if (b->role == 0)
		bench_must(lshm_object_remove(b->region, "guarded", "guarded"));
	return bench_laps_end(&laps);
}

/* Nanoseconds a turn, of one process alone. */
static double alone(struct bench *b, const struct bench_case *c)
{
	double rate = contend(b, c);

	return rate > 0 ? 1e3 / rate : 0;
}

#define ALONE "one process, ns a turn"
#define TIGHT "two processes, million turns a second"
#define THINK "two processes that think, million turns a second"

static const struct bench_case cases[] = {
    {ALONE, "pthread, robust", NULL, alone, &(struct contest){false, 1, 0}},
    {ALONE, "libshm", "pthread, robust", alone, &(struct contest){true, 1, 0}},
    {TIGHT, "pthread, robust", NULL, contend, &(struct contest){false, 2, 0}},
    {TIGHT, "libshm", "pthread, robust", contend,
	&(struct contest){true, 2, 0}},
    {THINK, "pthread, robust", NULL, contend, &(struct contest){false, 2, 200}},
    {THINK, "libshm", "pthread, robust", contend,
	&(struct contest){true, 2, 200}},
};

int main(int argc, char **argv)
{
	static const struct bench_program program = {
	    .summary = "The robust lock beside a robust pthread mutex: lock, "
		       "count, unlock. Of two\nprocesses the sum.",
	    .cases = cases,
	    .count = sizeof(cases) / sizeof(cases[0]),
	};

	return bench_main(argc, argv, &program);
}
