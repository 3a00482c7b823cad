/* SPDX-License-Identifier: MIT */
/*
 * bench_heap.c - the region's heap beside others
 *
 * By one process or thread, and by two at once: libshm's in the same region,
 * Boost.Interprocess's in the same memory, malloc() and mimalloc with what they
 * do for processes or threads. Every block's first word is written when it is
 * allocated and compared when it is freed: a block handed out twice ends the
 * run.
 */
#include "bench.h"

#include <dlfcn.h>
#include <err.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "bench_boost.h"

#ifdef HAVE_BOOST
#define BOOST_ONLY(...) __VA_ARGS__
#else
#define BOOST_ONLY(...)
#define bench_boost_make(memory, size) ((void)(memory))
#define bench_boost_find(memory, size) ((void *)NULL)
#define bench_boost_alloc(heap, n)     ((void *)NULL)
#define bench_boost_free(heap, p)      ((void)(p))
#endif

/* Linked in, it would take malloc()'s place. */
#ifdef HAVE_MIMALLOC
#define MIMALLOC_ONLY(...) __VA_ARGS__
#else
#define MIMALLOC_ONLY(...)
#endif
static void *(*mi_malloc)(size_t size);
static void (*mi_free)(void *block);

#define LIVE_MAX 1024
#define STEPS	 65536 /* powers of two */
#define SOME	 1024
#define RING	 1024
#define BATCH	 32		      /* blocks a side hands over at once */
#define SHARED	 (UINT64_C(64) << 20) /* memory for Boost */

/* NOTHING has more blocks than a ring, and uses them in turn. */
enum heap { NOTHING, MALLOC, MIMALLOC, BOOST, LIBSHM };

/*
 * @workers: how many, each with blocks of its own
 * @threads: they are threads of one process
 * @burst:   that many are allocated, then freed; 0: there are @live blocks, and
 *           one of them, at random, is freed and allocated anew
 * @attach:  each block is attached to a field and detached again between
 */
struct pattern {
	enum heap heap;
	bool threads;
	unsigned int workers;
	unsigned int burst;
	unsigned int live;
	uint32_t least, most; /* bytes */
	bool attach;
};

/* What a block may be attached to. */
struct shelf {
	struct lshm_mutex mutex;
	lshm_off field;
};

/* What one worker has of a case. */
struct user {
	struct bench *b;
	const struct pattern *p;
	pthread_barrier_t *ready; /* of two threads */
	unsigned int role;
	double rate;
	struct lshm_region *r;
	void *boost;
	struct shelf *shelf;
	char *spare; /* of NOTHING: blocks, side by side */
	uint64_t spare_at;
	uint64_t number; /* in its blocks; differs between workers */
	uint64_t *blocks[LIVE_MAX];
	struct step {
		uint32_t which;
		uint32_t size;
	} steps[STEPS];
};

/* Inlined where @heap is a constant, so that all have the same loop. */
#define INLINE static inline __attribute__((always_inline))

INLINE void *allocate(struct user *u, enum heap heap, size_t size)
{
	switch (heap) {
	case NOTHING:
		return u->spare + u->spare_at++ % (2 * RING) * size;
	case MALLOC:
		return malloc(size);
	case MIMALLOC:
		return mi_malloc(size);
	case BOOST:
		return bench_boost_alloc(u->boost, size);
	default:
		return lshm_alloc(u->r, size);
	}
}

INLINE void release(struct user *u, enum heap heap, void *block)
{
	switch (heap) {
	case NOTHING:
		break;
	case MALLOC:
		free(block);
		break;
	case MIMALLOC:
		mi_free(block);
		break;
	case BOOST:
		bench_boost_free(u->boost, block);
		break;
	default:
		bench_must(lshm_free(u->r, block));
	}
}

static __attribute__((noreturn, cold)) void no_memory(enum heap heap)
{
	errx(EXIT_FAILURE, "%s", heap == LIBSHM ? lshm_error() : "no memory");
}

static __attribute__((noreturn, cold)) void twice(void)
{
	errx(EXIT_FAILURE, "a block was given to two");
}

/* The block at @at holds the user's number and its own. */
INLINE void get(struct user *u, enum heap heap, uint32_t at, size_t size)
{
	uint64_t *block = allocate(u, heap, size);

	if (!block)
		no_memory(heap);
	*(volatile uint64_t *)block = u->number + at;
	u->blocks[at] = block;
}

INLINE void put(struct user *u, enum heap heap, uint32_t at)
{
	uint64_t *block = u->blocks[at];

	if (*(volatile uint64_t *)block != u->number + at)
		twice();
	release(u, heap, block);
}

/* Some pairs of allocation and free, from the @at-th on. */
INLINE void play(struct user *u, enum heap heap, uint32_t at)
{
	const struct step *step = &u->steps[at % STEPS];
	const struct pattern *p = u->p;
	unsigned int live = p->live, burst = p->burst;
	size_t size = p->least;

	for (unsigned int i = 0; i < SOME && live; i++, step++) {
		put(u, heap, step->which);
		get(u, heap, step->which, step->size);
	}
	for (unsigned int i = 0; i < SOME && burst == 1; i++) {
		get(u, heap, 0, size);
		put(u, heap, 0);
	}
	for (unsigned int k = 0; burst > 1 && k < SOME / burst; k++) {
		for (unsigned int i = 0; i < burst; i++)
			get(u, heap, i, size);
		for (unsigned int i = 0; i < burst; i++)
			put(u, heap, i);
	}
}

static void play_attached(struct user *u)
{
	struct shelf *s = u->shelf;
	void *old;

	for (unsigned int i = 0; i < SOME; i++) {
		get(u, LIBSHM, 0, u->p->least);
		bench_must(
		    lshm_attach(u->r, &s->mutex, &s->field, u->blocks[0]));
		bench_must(lshm_detach(u->r, &s->mutex, &s->field, &old));
		if (old != u->blocks[0])
			twice();
		put(u, LIBSHM, 0);
	}
}

static uint32_t some(struct user *u, uint32_t at)
{
	switch (u->p->heap) {
	case MALLOC:
		play(u, MALLOC, at);
		break;
	case MIMALLOC:
		play(u, MIMALLOC, at);
		break;
	case BOOST:
		play(u, BOOST, at);
		break;
	default:
		if (u->p->attach)
			play_attached(u);
		else
			play(u, LIBSHM, at);
	}
	return SOME;
}

static uint32_t random_size(const struct pattern *p)
{
	return p->least + (uint32_t)random() % (p->most - p->least + 1);
}

static struct user *new_user(
    struct bench *b, const struct pattern *p, unsigned int role)
{
	struct user *u = calloc(1, sizeof(*u));

	if (!u)
		err(EXIT_FAILURE, NULL);
	u->b = b;
	u->p = p;
	u->role = role;
	u->r = b->region;
	u->number = (UINT64_C(0x5eed) + role) << 32;
	srandom(1 + role);
	for (uint32_t i = 0; i < STEPS && p->live; i++) {
		u->steps[i].which = (uint32_t)random() % p->live;
		u->steps[i].size = random_size(p);
	}
	if (p->heap == BOOST)
		u->boost = bench_boost_find(b->memory, SHARED);
	return u;
}

static void meet(struct user *u)
{
	if (!u->p->threads)
		bench_meet(u->b);
	else if (u->ready)
		pthread_barrier_wait(u->ready);
}

/* Everything one worker does of a case. */
static void run_user(struct user *u)
{
	const struct pattern *p = u->p;
	struct bench_laps laps;
	uint32_t at = 0;

	for (unsigned int i = 0; i < p->live; i++) {
		u->blocks[i] = allocate(u, p->heap, random_size(p));
		if (!u->blocks[i])
			no_memory(p->heap);
		*u->blocks[i] = u->number + i;
	}
	if (p->attach) {
		u->shelf = lshm_alloc(u->r, sizeof(*u->shelf));
		if (!u->shelf)
			no_memory(p->heap);
		memset(u->shelf, 0, sizeof(*u->shelf));
		bench_must(
		    lshm_mutex_lock(u->r, &u->shelf->mutex, LSHM_FOREVER));
	}
	while (at < STEPS / 4) /* to have the memory */
		at += some(u, at);
	meet(u);
	bench_laps_begin(&laps, u->b);
	do
		at += some(u, at);
	while (!bench_laps_add(&laps, SOME));
	for (unsigned int i = 0; i < p->live; i++) {
		if (*u->blocks[i] != u->number + i)
			twice();
		release(u, p->heap, u->blocks[i]);
	}
	if (p->attach) {
		bench_must(lshm_mutex_unlock(u->r, &u->shelf->mutex));
		bench_must(lshm_free(u->r, u->shelf));
	}
	u->rate = bench_laps_end(&laps);
}

static void *thread(void *arg)
{
	struct user *u = arg;

	bench_pin(u->b, u->role);
	run_user(u);
	return NULL;
}

/* Two threads of the first worker. */
static double two_threads(struct bench *b, const struct pattern *p)
{
	struct user *users[2];
	pthread_barrier_t ready;
	pthread_t other;
	double rate;

	pthread_barrier_init(&ready, NULL, 2);
	for (unsigned int i = 0; i < 2; i++) {
		users[i] = new_user(b, p, i);
		users[i]->ready = &ready;
	}
	if (pthread_create(&other, NULL, thread, users[1]) != 0)
		errx(EXIT_FAILURE, "cannot start a thread");
	run_user(users[0]);
	pthread_join(other, NULL);
	pthread_barrier_destroy(&ready);
	rate = users[0]->rate + users[1]->rate;
	free(users[0]);
	free(users[1]);
	return rate;
}

/* Million pairs a second. */
static double pairs(struct bench *b, const struct bench_case *c)
{
	const struct pattern *p = c->with;
	struct user *u;
	double rate;

	if (p->heap == BOOST && b->role == 0)
		bench_boost_make(b->memory, SHARED);
	bench_meet(b); /* it is made */
	if (p->threads)
		return b->role == 0 ? two_threads(b, p) : 0;
	if (b->role >= p->workers) {
		bench_meet(b);
		return 0;
	}
	u = new_user(b, p, b->role);
	run_user(u);
	rate = u->rate;
	free(u);
	return rate;
}

/* Nanoseconds a pair. */
static double nanoseconds(struct bench *b, const struct bench_case *c)
{
	double rate = pairs(b, c);

	return rate > 0 ? 1000 / rate : 0;
}

/* -- blocks that another one frees ----------------------------------------- */

/*
 * One producer, one consumer. A slot refers to a block, as an offset or
 * address; in a region it is a field to which the block is attached.
 */
struct ring {
	uint64_t tail;
	uint64_t pad1[7];
	uint64_t head;
	uint64_t pad2[7];
	struct lshm_mutex mutex; /* the producer's */
	uint64_t pad3[7];
	lshm_off slots[RING];
};

#define LAST 1 /* instead of a block */

/* One side of a case. */
struct side {
	struct user *u __attribute__((aligned(128))); /* written to */
	struct ring *ring;
	bool attach; /* the other side is another process */
	uint64_t at;
	uint64_t limit; /* how far the other side was, as last seen */
};

static void await_room(struct side *s)
{
	while (s->at - s->limit == RING) {
		s->limit = __atomic_load_n(&s->ring->head, __ATOMIC_ACQUIRE);
		bench_look_again(s->u->b);
	}
}

INLINE void produce(struct side *s, enum heap heap)
{
	struct user *u = s->u;
	lshm_off *slot = &s->ring->slots[s->at % RING];
	uint64_t *block = allocate(u, heap, u->p->least);

	if (!block)
		no_memory(heap);
	*(volatile uint64_t *)block = u->number + s->at;
	await_room(s);
	if (heap == LIBSHM && s->attach)
		bench_must(lshm_attach(u->r, &s->ring->mutex, slot, block));
	else
		*slot = (uintptr_t)block;
	if (++s->at % BATCH == 0)
		__atomic_store_n(&s->ring->tail, s->at, __ATOMIC_RELEASE);
}

INLINE bool consume(struct side *s, enum heap heap)
{
	struct user *u = s->u;
	lshm_off *slot = &s->ring->slots[s->at % RING];
	uint64_t *block;

	while (s->at == s->limit) {
		s->limit = __atomic_load_n(&s->ring->tail, __ATOMIC_ACQUIRE);
		bench_look_again(u->b);
	}
	if (*slot == LAST)
		return false;
	block = heap == LIBSHM && s->attach ? lshm_at(u->r, *slot, 8)
					    : (void *)(uintptr_t)*slot;
	if (*(volatile uint64_t *)block != u->number + s->at)
		twice();
	*slot = 0;
	release(u, heap, block);
	if (++s->at % BATCH == 0)
		__atomic_store_n(&s->ring->head, s->at, __ATOMIC_RELEASE);
	return true;
}

INLINE void produce_all(struct side *s, enum heap heap)
{
	struct bench_laps laps;

	bench_laps_begin(&laps, s->u->b);
	do
		for (unsigned int i = 0; i < SOME; i++)
			produce(s, heap);
	while (!bench_laps_add(&laps, SOME));
	s->u->rate = bench_laps_end(&laps);
	await_room(s);
	s->ring->slots[s->at % RING] = LAST;
	__atomic_store_n(&s->ring->tail, s->at + 1, __ATOMIC_RELEASE);
}

static void do_side(struct side *s, bool producer)
{
	enum heap heap = s->u->p->heap;

#define WITH(h)                                 \
	do {                                    \
		if (heap != (h))                \
			break;                  \
		if (producer)                   \
			produce_all(s, h);      \
		else                            \
			while (consume(s, h)) { \
			}                       \
	} while (0)
	WITH(NOTHING);
	WITH(MALLOC);
	WITH(MIMALLOC);
	WITH(BOOST);
	WITH(LIBSHM);
#undef WITH
}

static void *consumer(void *arg)
{
	struct side *s = arg;

	bench_pin(s->u->b, 1);
	do_side(s, false);
	return NULL;
}

/* Between two threads of the first worker, million blocks a second. */
static double to_thread(struct bench *b, const struct bench_case *c)
{
	struct side sides[2] __attribute__((aligned(128))) = {0};
	pthread_t other;
	double rate;

	bench_meet(b);
	if (b->role > 0)
		return 0;
	for (unsigned int i = 0; i < 2; i++) {
		sides[i].u = new_user(b, c->with, 0);
		sides[i].ring = b->memory;
	}
	memset(sides[0].ring, 0, sizeof(*sides[0].ring));
	sides[0].u->spare = (char *)(sides[0].ring + 1);
	if (pthread_create(&other, NULL, consumer, &sides[1]) != 0)
		errx(EXIT_FAILURE, "cannot start a thread");
	do_side(&sides[0], true);
	pthread_join(other, NULL);
	rate = sides[0].u->rate;
	free(sides[0].u);
	free(sides[1].u);
	return rate;
}

/* Between the two processes. */
static double to_process(struct bench *b, const struct bench_case *c)
{
	const struct pattern *p = c->with;
	struct side s = {.attach = true};
	size_t size = sizeof(*s.ring);
	double rate;

	if (b->role == 0) {
		bench_boost_make(b->memory, SHARED);
		bench_must(lshm_object_create(
		    b->region, "ring", "ring", size, NULL, NULL, NULL));
	}
	bench_meet(b);
	s.u = new_user(b, p, 0);
	bench_must(lshm_object_open(
	    b->region, "ring", "ring", size, (void **)&s.ring));
	if (b->role == 0)
		bench_must(
		    lshm_mutex_lock(b->region, &s.ring->mutex, LSHM_FOREVER));
	do_side(&s, b->role == 0);
	if (b->role == 0)
		bench_must(lshm_mutex_unlock(b->region, &s.ring->mutex));
	bench_meet(b);
	if (b->role == 0)
		bench_must(lshm_object_remove(b->region, "ring", "ring"));
	rate = b->role == 0 ? s.u->rate : 0;
	free(s.u);
	return rate;
}

/* -- the cases ------------------------------------------------------------ */

#define PATTERN(...) (&(const struct pattern){__VA_ARGS__})
#define CASE(group, name, over, run, ...)                    \
	{                                                    \
		group, name, over, run, PATTERN(__VA_ARGS__) \
	}
/* libshm, and others in relation to it. */
#define EACH(group, run, ...)                                           \
	CASE(group, "libshm", NULL, run, LIBSHM, __VA_ARGS__),          \
	    CASE(group, "malloc()", "libshm", run, MALLOC, __VA_ARGS__) \
		MIMALLOC_ONLY(, CASE(group, "mimalloc", "libshm", run,  \
				    MIMALLOC, __VA_ARGS__))
#define BOOST_TOO(group, run, ...) \
	BOOST_ONLY(, CASE(group, "Boost", "libshm", run, BOOST, __VA_ARGS__))
#define PAIRS(what) what ", million pairs a second"

/* By one process, by two, and by two threads. */
#define ALL(what, ...)                                                        \
	EACH(PAIRS(what ", one process"), pairs, false, 1, __VA_ARGS__)       \
	BOOST_TOO(PAIRS(what ", one process"), pairs, false, 1, __VA_ARGS__), \
	    EACH(PAIRS(what ", two processes"), pairs, false, 2, __VA_ARGS__) \
		BOOST_TOO(PAIRS(what ", two processes"), pairs, false, 2,     \
		    __VA_ARGS__),                                             \
	    EACH(PAIRS(what ", two threads"), pairs, true, 2, __VA_ARGS__)

#define BETWEEN	   "64 B, attached and detached between, ns"
#define BY_THREAD  "64 B, freed by another thread, million blocks a second"
#define BY_PROCESS "64 B, freed by another process, million blocks a second"

/* clang-format off */
static const struct bench_case cases[] = {
    ALL("64 B, one at a time", 1, 0, 64, 64, false),
    ALL("64 B, bursts of 256", 256, 0, 64, 64, false),
    ALL("16 B to 4 KiB, 1000 live", 0, 1000, 16, 4096, false),
    ALL("64 KiB, 64 live", 0, 64, 65536, 65536, false),
    EACH(BY_THREAD, to_thread, true, 2, 1, 0, 64, 64, false),
    CASE(BY_THREAD, "the same blocks, never freed", "libshm", to_thread,
	NOTHING, true, 2, 1, 0, 64, 64, false),
    CASE(BY_PROCESS, "libshm", NULL, to_process,
	LIBSHM, false, 2, 1, 0, 64, 64, false)
    BOOST_TOO(BY_PROCESS, to_process, false, 2, 1, 0, 64, 64, false),
    CASE(BETWEEN, "allocate, free", NULL, nanoseconds,
	LIBSHM, false, 1, 1, 0, 64, 64, false),
    CASE(BETWEEN, "allocate, attach, detach, free", "allocate, free",
	nanoseconds, LIBSHM, false, 1, 1, 0, 64, 64, true),
};
/* clang-format on */

int main(int argc, char **argv)
{
	static const struct bench_program program = {
	    .summary = "The heap of a region, beside others. Of two processes "
		       "or threads the sum.",
	    .note = ""
#ifndef HAVE_MIMALLOC
		    "mimalloc is left out: it was not there when this was "
		    "built (libmimalloc-dev).\n"
#endif
#ifndef HAVE_BOOST
		    "Boost is left out: it was not there when this was built "
		    "(libboost-dev, g++).\n"
#endif
	    ,
	    .cases = cases,
	    .count = sizeof(cases) / sizeof(cases[0]),
	    .memory = SHARED,
	};

#ifdef HAVE_MIMALLOC
	void *library = dlopen(MIMALLOC_SO, RTLD_NOW | RTLD_LOCAL);

	if (!library)
		errx(EXIT_FAILURE, "%s", dlerror());
	mi_malloc = (void *(*)(size_t))dlsym(library, "mi_malloc");
	mi_free = (void (*)(void *))dlsym(library, "mi_free");
	if (!mi_malloc || !mi_free)
		errx(EXIT_FAILURE, "%s", dlerror());
#endif
	return bench_main(argc, argv, &program);
}
