/* SPDX-License-Identifier: MIT */
/*
 * world.h - what the explorer's own files share
 */
#ifndef EXPLORE_WORLD_H
#define EXPLORE_WORLD_H

#include "explore.h"

#define ARENA	      ((char *)UINT64_C(0x100000000000))
#define REGION_MAX    (UINT64_C(4) << 20)
#define ARENA_SIZE    (UINT64_C(8) << 20)
#define PAGE	      UINT64_C(4096)
#define PAGES	      (ARENA_SIZE / PAGE)
#define GRANULES      (ARENA_SIZE / 8)
#define STACK_SIZE    (UINT64_C(128) << 10)
#define XP_BUFFER_MAX 8
#define STEPS_MAX     1000000 /* accesses of an execution */
#define FORCED_MAX    8	      /* times that time passed in one */
#define LONG_NAP      1000000000

enum status { T_READY, T_ASLEEP, T_NAPPING, T_DONE, T_DEAD };

struct buffered {
	uint32_t at; /* in the arena */
	uint32_t size;
	uint64_t value;
};

/* Everything that changes besides the arena and the stacks. */
struct world {
	int64_t clock;
	uint32_t deaths, timeouts, forced;
	uint32_t status[XP_ALL];
	uint32_t buffered[XP_ALL];
	struct buffered buffer[XP_ALL][XP_BUFFER_MAX];
	struct buffered delayed[XP_ALL]; /* by a seed; size 0: none */
	uint32_t delayed_for[XP_ALL];	 /* so many stores */
	/* who sleeps */
	uint64_t word[XP_ALL];
	int64_t deadline[XP_ALL];
	uint32_t order[XP_ALL];
	int32_t woken[XP_ALL]; /* what the wait returns */
	/* the kernel */
	uint32_t holder[64]; /* 1 + process, of each slot's lock */
	/* thread-local */
	struct lshmi_lane_cache cache[XP_ALL];
	const void *specific[XP_ALL];
	uint64_t brk; /* private memory in use */
};

struct thread {
	char *stack;
	void *sp;
	struct xp_site *site; /* of the access it stands before */
	const volatile void *at;
};

extern const struct xp_scenario *scenario;
extern const struct xp_bounds *bounds;
extern const struct xp_seed *seed;
extern struct xp_result *result;
extern struct world world;
extern struct thread threads[XP_THREADS];
extern bool in_thread, checking, failed;

/* world.c: memory that is put back, coroutines */
void make_arena(void);
void protect_arena(void);
void put_back(void);
uint64_t mix(uint64_t h, uint64_t v);
uint64_t hash_bytes(uint64_t h, const void *p, size_t size);
uint64_t hash_arena(void);
void make_thread(uint32_t i);
/* Let a thread run until it stands before a shared access, sleeps or ends. */
void resume(uint32_t i);
void to_scheduler(void);
/* Call @f; false: it, or what it called, has failed. */
bool guarded(bool (*f)(const char *), const char *argument);

/* access.c: accesses, store buffers, the printed schedule */
extern bool tracing, grown;
extern uint32_t trace_step, steps;
bool is_shared(const volatile void *p, uint32_t size, bool loads, bool stores);
uint64_t share(void);
enum xp_effect effect_of(struct xp_site *s);
/* Stand here until chosen to go on. */
void stand(struct xp_site *site, const volatile void *p);
void flush_one(uint32_t i);
void drain(uint32_t i);
void trace(const struct xp_site *s, const volatile void *p, const char *what,
    uint64_t from, uint64_t value);
char letter(uint32_t thread);

/* kernel.c: the operating system, and a backend of its own */
void wake_from(uint32_t i, int32_t ret);

#endif
