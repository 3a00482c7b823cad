/* SPDX-License-Identifier: MIT */
/*
 * bench.h - cases measured by two pinned processes, as medians and ratios
 *
 * A program is a table of cases and a call of bench_main(), which starts two
 * workers, pins them to two cores, and has both of them run every case once in
 * each repetition, so that whatever disturbs the machine disturbs all cases
 * alike. A case's figure is the sum of what its two workers return; a worker
 * that has no part in it returns 0. Each figure is divided by the one that
 * another case had in the same repetition.
 *
 * No worker outlives the program or its peer, and the regions used are memfd
 * regions, or lose their name at once: nothing is ever left behind.
 */
#ifndef BENCH_H
#define BENCH_H

#include <libshm/libshm.h>
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One of the two workers. */
struct bench {
	unsigned int role;	    /* 0 or 1 */
	int cores[2];		    /* each worker's */
	bool one_core;		    /* both workers share a core: do not poll */
	uint64_t ns;		    /* how long to run a case */
	struct lshm_region *region; /* both workers' */
	void *memory; /* zeroed, page aligned, outside the region, both's */
	int socket;   /* to the other one */
};

/*
 * @group: what the figures are, with their unit; a heading
 * @over:  name of the case to divide by, in the same group; NULL: none
 * @with:  what the program wants to tell @run
 */
struct bench_case {
	const char *group;
	const char *name;
	const char *over;
	double (*run)(struct bench *b, const struct bench_case *c);
	const void *with;
};

struct bench_program {
	const char *summary; /* for --help */
	const char *note;    /* lines for the report; may be NULL */
	const struct bench_case *cases;
	size_t count;
	size_t memory; /* bytes of struct bench.memory */
	bool zero;     /* 0 is a figure too, not: nothing was measured */
};

int bench_main(int argc, char **argv, const struct bench_program *program);

/* Wait, asleep, until the other worker is here too. */
void bench_meet(const struct bench *b);

/* A new region of that backend, "posix" say, which loses its name at once. */
struct lshm_region *bench_region(
    const char *kind, unsigned int flags, const struct lshm_region_opts *opts);

/* Worker 0 hands a region on, and worker 1 attaches to it. */
void bench_share(const struct bench *b, struct lshm_region **region);

/* Let the calling thread run on one worker's core. */
void bench_pin(const struct bench *b, unsigned int role);

uint64_t bench_now(void);

#define BENCH_LAPS 40

/* A rate, taken in laps, whose median counts. */
struct bench_laps {
	uint64_t ns; /* a lap, at least */
	uint64_t begin;
	uint64_t count;
	size_t done;
	double rates[BENCH_LAPS];
};

void bench_laps_begin(struct bench_laps *l, const struct bench *b);
/* So many were done: true once all laps are. */
bool bench_laps_add(struct bench_laps *l, uint64_t count);
/* Millions a second. */
double bench_laps_end(struct bench_laps *l);

/* The median of @values, which get sorted. */
double bench_median(double *values, size_t count);
/* Leave with libshm's message. */
void bench_failed(void) __attribute__((noreturn, cold));

/* Do so if a call failed. */
static inline void bench_must(int ret)
{
	if (ret < 0)
		bench_failed();
}

/* What a polling loop does between two looks. */
static inline void bench_look_again(const struct bench *b)
{
	if (b->one_core)
		sched_yield();
}

#endif
