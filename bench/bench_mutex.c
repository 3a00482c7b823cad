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
	uint64_t turns[2];	  /* of each worker */
	uint64_t longest_wait[2]; /* ns */
};

struct contest {
	bool libshm;
	unsigned int workers;
	unsigned int think; /* ns */
	bool timed;	    /* take the longest wait */
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
	uint64_t until, wait, longest = 0, count = 0;

	do {
		for (int i = 0; i < BATCH; i++) {
			wait = c->timed ? bench_now() : 0;
			if (c->libshm)
				bench_must(lshm_mutex_lock(
				    b->region, &g->libshm, LSHM_FOREVER));
			else
				must(pthread_mutex_lock(&g->pthread));
			*(volatile uint64_t *)&g->counter += 1;
			wait = c->timed ? bench_now() - wait : 0;
			if (wait > longest)
				longest = wait;
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
	g->turns[b->role] = count;
	g->longest_wait[b->role] = longest;
	return count;
}

/* What is to be told of a contest. */
enum figure { RATE, SHARE, WAIT };

static double contest(
    struct bench *b, const struct bench_case *c, enum figure figure)
{
	const struct contest *contest = c->with;
	double rate, share, wait;
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
	share = (double)g->turns[0] / (double)(g->turns[0] + g->turns[1]);
	wait = (double)g->longest_wait[b->role] / 1e3;
	bench_meet(b);
	if (b->role == 0)
		bench_must(lshm_object_remove(b->region, "guarded", "guarded"));
	rate = bench_laps_end(&laps);
	switch (figure) {
	case SHARE:
		return b->role ? 0 : 100 * (share < 0.5 ? share : 1 - share);
	case WAIT:
		return wait / 2;
	default:
		return rate;
	}
}

/* Million turns a second. */
static double contend(struct bench *b, const struct bench_case *c)
{
	return contest(b, c, RATE);
}

/* Nanoseconds a turn, of one process alone. */
static double alone(struct bench *b, const struct bench_case *c)
{
	double rate = contest(b, c, RATE);

	return rate > 0 ? 1e3 / rate : 0;
}

/* Of all turns those of the worker that had fewer, in percent. */
static double fairness(struct bench *b, const struct bench_case *c)
{
	return contest(b, c, SHARE);
}

/* The longest wait for a turn in microseconds, the mean of both workers'. */
static double longest(struct bench *b, const struct bench_case *c)
{
	return contest(b, c, WAIT);
}

#define ALONE  "one process, ns a turn"
#define TIGHT  "two processes, million turns a second"
#define THINK  "two processes that think, million turns a second"
#define SHARES "two processes, percent of the turns had by the slower one"
#define WAITS  "two processes, longest wait for a turn, us"

static const struct bench_case cases[] = {
    {ALONE, "pthread, robust", NULL, alone, &(struct contest){.workers = 1}},
    {ALONE, "libshm", "pthread, robust", alone,
	&(struct contest){.libshm = true, .workers = 1}},
    {TIGHT, "pthread, robust", NULL, contend, &(struct contest){.workers = 2}},
    {TIGHT, "libshm", "pthread, robust", contend,
	&(struct contest){.libshm = true, .workers = 2}},
    {THINK, "pthread, robust", NULL, contend,
	&(struct contest){.workers = 2, .think = 200}},
    {THINK, "libshm", "pthread, robust", contend,
	&(struct contest){.libshm = true, .workers = 2, .think = 200}},
    {SHARES, "pthread, robust", NULL, fairness,
	&(struct contest){.workers = 2}},
    {SHARES, "libshm", "pthread, robust", fairness,
	&(struct contest){.libshm = true, .workers = 2}},
    {WAITS, "pthread, robust", NULL, longest,
	&(struct contest){.workers = 2, .timed = true}},
    {WAITS, "libshm", "pthread, robust", longest,
	&(struct contest){.libshm = true, .workers = 2, .timed = true}},
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
