/* SPDX-License-Identifier: MIT */
/*
 * bench_memory.c - what the kernel module's memory costs, and what it saves
 *
 * Beside POSIX shared memory: how soon a sleeper goes on that is woken, through
 * the module or a futex; how long it takes until memory can be used; and reads
 * all over it, which show how many page table entries it takes.
 */
#include "bench.h"

#include <err.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SIZE	    (UINT64_C(64) << 20)
#define PAGE	    4096
#define SLEEPS	    40
#define LONG_ENOUGH 1000000 /* ns, for somebody to be asleep */

struct memory {
	const char *backend;
	uint32_t flags;
};

static struct lshm_region *make(const struct memory *m)
{
	return bench_region(m->backend, m->flags,
	    &(struct lshm_region_opts)LSHM_REGION_OPTS(.size = SIZE));
}

/* Nanoseconds a page of 4 KiB, from opening until all of it was written to. */
static double touch(struct bench *b, const struct bench_case *c)
{
	uint64_t begin = bench_now(), end;
	struct lshm_region *r;
	char *at;

	if (b->role == 1)
		return 0;
	r = make(c->with);
	at = lshm_region_base(r);
	/* the region's own structures lie at its begin */
	for (uint64_t i = SIZE / 4; i < SIZE; i += PAGE)
		*(volatile char *)(at + i) = 1;
	end = bench_now();
	lshm_region_close(r);
	return (double)(end - begin) / (SIZE / 4 * 3 / PAGE);
}

/* Nanoseconds, of reads each of which needs the last one's result. */
static double chase(struct bench *b, const struct bench_case *c)
{
	uint64_t pages = SIZE / 4 * 3 / PAGE, at = 0, swap, count = 0, begin;
	struct lshm_region *r;
	uint64_t *order;
	char *base;

	if (b->role == 1)
		return 0;
	r = make(c->with);
	base = (char *)lshm_region_base(r) + SIZE / 4;
	order = calloc(pages, sizeof(*order));
	if (!order)
		err(EXIT_FAILURE, NULL);
	/* one round trip by all pages, in any order, over different lines */
	for (uint64_t i = 0; i < pages; i++)
		order[i] = i;
	for (uint64_t i = pages - 1; i > 0; i--) {
		uint64_t k = (uint64_t)random() % (i + 1);

		swap = order[i];
		order[i] = order[k];
		order[k] = swap;
	}
#define PLACE(i) ((i)*PAGE + (i)*64 % PAGE)
	for (uint64_t i = 0; i < pages; i++)
		*(uint64_t *)(base + PLACE(order[i])) =
		    PLACE(order[(i + 1) % pages]);
	at = PLACE(order[0]);
#undef PLACE
	free(order);
	begin = bench_now();
	do
		for (uint64_t i = 0; i < pages; i++, count++)
			at = *(volatile uint64_t *)(base + at);
	while (bench_now() - begin < b->ns);
	begin = bench_now() - begin;
	lshm_region_close(r);
	return (double)begin / (double)count;
}

/* What both workers see. */
struct shared {
	uint64_t waits; /* how often worker 1 has begun to wait */
	uint64_t begun; /* when it was woken */
};

/* Microseconds from a post until the one who slept goes on, at worker 1. */
static double wake(struct bench *b, const struct bench_case *c)
{
	static const struct timespec nap = {.tv_nsec = LONG_ENOUGH};
	struct shared *s = b->memory;
	struct lshm_semaphore *semaphore;
	struct lshm_region *r = NULL;
	double times[SLEEPS];

	if (b->role == 0) {
		r = make(c->with);
		s->waits = 0;
		bench_must(lshm_object_create(r, "s", "semaphore",
		    sizeof(*semaphore), NULL, NULL, (void **)&semaphore));
	}
	bench_share(b, &r);
	bench_must(lshm_object_open(
	    r, "s", "semaphore", sizeof(*semaphore), (void **)&semaphore));
	for (uint64_t i = 0; i < SLEEPS; i++) {
		if (b->role == 1) {
			__atomic_store_n(&s->waits, i + 1, __ATOMIC_RELEASE);
			bench_must(
			    lshm_semaphore_wait(r, semaphore, LSHM_FOREVER));
			times[i] = (double)(bench_now() - s->begun) / 1000;
			continue;
		}
		while (__atomic_load_n(&s->waits, __ATOMIC_ACQUIRE) <= i)
			sched_yield();
		nanosleep(&nap, NULL);
		s->begun = bench_now();
		bench_must(lshm_semaphore_post(r, semaphore));
	}
	bench_meet(b);
	lshm_region_close(r);
	return b->role == 1 ? bench_median(times, SLEEPS) : 0;
}

#define POSIX	 (&(const struct memory){"posix", 0})
#define KERNEL	 (&(const struct memory){"kernel", 0})
#define LAZY	 (&(const struct memory){"kernel", LSHM_HUGE})
#define PINNABLE (&(const struct memory){"kernel", LSHM_PINNABLE})
#define EACH(what, run)                                         \
	{what, "posix", NULL, run, POSIX},                      \
	    {what, "kernel, eager", "posix", run, KERNEL},      \
	    {what, "kernel, lazy (2 MiB)", "posix", run, LAZY}, \
	{                                                       \
		what, "kernel, pages", "posix", run, PINNABLE   \
	}

static const struct bench_case cases[] = {
    {"a sleeper is woken, us", "futex", NULL, wake, POSIX},
    {"a sleeper is woken, us", "module", "futex", wake, KERNEL},
    EACH("opened, and touched for the first time, ns a page of 4 KiB", touch),
    EACH("a read anywhere in 48 MiB, ns", chase),
};

#define CASES (sizeof(cases) / sizeof(cases[0]))

int main(int argc, char **argv)
{
	static struct bench_case here[CASES];
	static struct bench_program program = {
	    .summary = "The memory of the kernel module, beside POSIX shared "
		       "memory.",
	    .cases = here,
	    .memory = sizeof(struct shared),
	};
	bool module = access("/dev/lshm", F_OK) == 0;

	for (size_t i = 0; i < CASES; i++) {
		const struct memory *m = cases[i].with;

		if (module || strcmp(m->backend, "kernel") != 0)
			here[program.count++] = cases[i];
	}
	if (!module)
		program.note = "The kernel's is left out: there is no "
			       "/dev/lshm. scripts/vm has one.\n";
	return bench_main(argc, argv, &program);
}
