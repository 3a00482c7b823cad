/* SPDX-License-Identifier: MIT */
/*
 * bench_heap.c - the region's heap beside malloc()
 *
 * By one process, and by two at once in the same region; malloc() has a heap
 * for each. Every block's first word is written when it is allocated and
 * compared when it is freed: a block handed out twice ends the run.
 */
#include "bench.h"

#include <err.h>
#include <stdlib.h>
#include <string.h>

#define LIVE_MAX 1024
#define STEPS	 65536 /* powers of two */
#define SOME	 1024

/*
 * @burst: that many are allocated, then freed; 0: there are @live blocks, and
 *         one of them, at random, is freed and allocated anew
 */
struct pattern {
	bool libshm;
	unsigned int workers;
	unsigned int burst;
	unsigned int live;
	uint32_t least, most; /* bytes */
};

/* What one worker has of a case; @r is NULL for malloc(). */
struct user {
	struct lshm_region *r;
	uint64_t number; /* in its blocks; differs between workers */
	uint64_t *blocks[LIVE_MAX];
	struct step {
		uint32_t which;
		uint32_t size;
	} steps[STEPS];
};

/* The block at @at holds the user's number and its own. */
static void get(struct user *u, uint32_t at, size_t size)
{
	uint64_t *block = u->r ? lshm_alloc(u->r, size) : malloc(size);

	if (!block)
		errx(EXIT_FAILURE, "%s", u->r ? lshm_error() : "no memory");
	*(volatile uint64_t *)block = u->number + at;
	u->blocks[at] = block;
}

static void put(const struct user *u, uint32_t at)
{
	uint64_t *block = u->blocks[at];

	if (*(volatile uint64_t *)block != u->number + at)
		errx(EXIT_FAILURE, "a block was given to two");
	if (u->r)
		bench_must(lshm_free(u->r, block));
	else
		free(block);
}

static uint32_t random_size(const struct pattern *p)
{
	return p->least + (uint32_t)random() % (p->most - p->least + 1);
}

static struct user *new_user(struct bench *b, const struct pattern *p)
{
	struct user *u = calloc(1, sizeof(*u));

	if (!u)
		err(EXIT_FAILURE, NULL);
	u->r = p->libshm ? b->region : NULL;
	u->number = (UINT64_C(0x5eed) + b->role) << 32;
	srandom(1 + b->role);
	for (uint32_t i = 0; i < STEPS && p->live; i++) {
		u->steps[i].which = (uint32_t)random() % p->live;
		u->steps[i].size = random_size(p);
	}
	for (unsigned int i = 0; i < p->live; i++)
		get(u, i, random_size(p));
	return u;
}

static void free_user(struct user *u, const struct pattern *p)
{
	for (unsigned int i = 0; i < p->live; i++)
		put(u, i);
	free(u);
}

/* Some pairs of allocation and free, from the @at-th on: how many. */
static uint32_t some(struct user *u, const struct pattern *p, uint32_t at)
{
	const struct step *step = &u->steps[at % STEPS];

	for (unsigned int i = 0; i < SOME && p->live; i++, step++) {
		put(u, step->which);
		get(u, step->which, step->size);
	}
	for (unsigned int k = 0; !p->live && k < SOME / p->burst; k++) {
		for (unsigned int i = 0; i < p->burst; i++)
			get(u, i, p->least);
		for (unsigned int i = 0; i < p->burst; i++)
			put(u, i);
	}
	return SOME;
}

/* Million pairs a second. */
static double pairs(struct bench *b, const struct bench_case *c)
{
	const struct pattern *p = c->with;
	struct bench_laps laps;
	uint32_t at = 0;
	struct user *u;

	if (b->role >= p->workers) {
		bench_meet(b);
		return 0;
	}
	u = new_user(b, p);
	while (at < STEPS / 4) /* to have the memory */
		at += some(u, p, at);
	bench_meet(b);
	bench_laps_begin(&laps, b);
	do
		at += some(u, p, at);
	while (!bench_laps_add(&laps, SOME));
	free_user(u, p);
	return bench_laps_end(&laps);
}

/* malloc() and libshm, each by @n processes. */
#define PATTERN(...) (&(const struct pattern){__VA_ARGS__})
#define BOTH(group, n, ...)                                               \
	{group, "malloc()", NULL, pairs, PATTERN(false, n, __VA_ARGS__)}, \
	{                                                                 \
		group, "libshm", "malloc()", pairs,                       \
		    PATTERN(true, n, __VA_ARGS__)                         \
	}
#define PAIRS(what) what ", million pairs a second"

static const struct bench_case cases[] = {
    BOTH(PAIRS("64 B, one at a time, one process"), 1, 1, 0, 64, 64),
    BOTH(PAIRS("64 B, one at a time, two processes"), 2, 1, 0, 64, 64),
    BOTH(PAIRS("64 B, bursts of 256, one process"), 1, 256, 0, 64, 64),
    BOTH(PAIRS("64 B, bursts of 256, two processes"), 2, 256, 0, 64, 64),
    BOTH(PAIRS("16 B to 4 KiB, 1000 live, one process"), 1, 0, 1000, 16, 4096),
    BOTH(
	PAIRS("16 B to 4 KiB, 1000 live, two processes"), 2, 0, 1000, 16, 4096),
    BOTH(PAIRS("64 KiB, 64 live, one process"), 1, 0, 64, 65536, 65536),
    BOTH(PAIRS("64 KiB, 64 live, two processes"), 2, 0, 64, 65536, 65536),
};

int main(int argc, char **argv)
{
	static const struct bench_program program = {
	    .summary = "The heap of a region, beside malloc(). Of two "
		       "processes the sum.",
	    .cases = cases,
	    .count = sizeof(cases) / sizeof(cases[0]),
	};

	return bench_main(argc, argv, &program);
}
