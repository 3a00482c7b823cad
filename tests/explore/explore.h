/* SPDX-License-Identifier: MIT */
/*
 * explore.h - a stateless model checker for the library's lock-free parts
 *
 * The library's own sources run here, as two or three coroutines in one
 * process, each a participant of its own. A coroutine stops before each access
 * to a word that another one uses too; the explorer then tries everything that
 * may happen next:
 *
 *   step      a thread makes its access and runs on to the next one
 *   flush     the oldest store in a thread's store buffer becomes visible (TSO)
 *   kill      a thread's process dies; what is in its buffer becomes visible
 *             later, but before the kernel tells anybody of the death
 *   time      the next sleeper's time is up, though others could still run
 *
 * Every order of these is tried, within the bounds, but for states that were
 * seen before: memory, private memory, stacks, buffers and the kernel's state,
 * compared by a 64-bit hash. After each execution the scenario's check() looks
 * at what is left, as a participant of its own. If nobody can run, time passes,
 * and the sleepers wake up; without a death before, that is a lost wake-up, and
 * a failure.
 *
 * A scenario is an XP_SCENARIO() and some functions, in scene_*.c; a seed
 * is a bug put into the library, at a place named by function and expression,
 * that the explorer must find. docs/explore.md says what is proved by all this,
 * and what is not.
 */
#ifndef EXPLORE_H
#define EXPLORE_H

#define XP_OUTSIDE /* the real C library, please */
#include "explore_atomic.h"

#include <string.h>

#include "log.h"
#include "pages.h"

#define XP_THREADS    3
#define XP_BUFFER_MAX 8
#define XP_JUDGE      XP_THREADS /* check() runs as this one */
#define XP_OTHERS     4 /* more participants, which only setup() plays */
#define XP_ALL	      (XP_THREADS + 1 + XP_OTHERS)

/* What is done instead of an access. */
enum xp_effect {
	XP_NONE,
	XP_WEAKEN, /* no barrier: a plain load, if any, and a plain store */
	XP_SKIP,   /* nothing is stored; a system call is not made */
	XP_DELAY,  /* it is done after the thread's next store */
	XP_BLIND,  /* a compare-and-swap stores, a wait sleeps, whatever it
		    * finds */
	XP_ALTER,  /* another value: see @alter */
};

struct xp_seed {
	const char *name;     /* what has been broken */
	const char *function; /* NULL ends a list */
	const char *word;
	enum xp_effect effect;
	uint64_t (*alter)(uint64_t value);
	uint32_t stores;
};

#define XP_SEED(bug, where, expression, what, ...)                  \
	{                                                           \
		.name = bug, .function = where, .word = expression, \
		.effect = what, __VA_ARGS__                         \
	}

struct xp_bounds {
	uint32_t preemptions; /* 0: any number */
	uint32_t deaths;
	uint32_t timeouts; /* chosen though others could run */
	uint32_t buffer;   /* stores in a thread's buffer */
};

struct xp_scenario {
	const char *name;
	const char *what; /* is explored */
	uint32_t threads;
	struct xp_bounds bounds; /* 0: the usual ones for two threads */
	struct xp_bounds full;	 /* 0: the larger ones for two threads */
	uint32_t participants;	 /* slots of the region; 0: threads and judge */
	uint32_t pages;		 /* of the heap; 0: 1 */
	uint32_t immortal;	 /* a bit for each thread that is not killed */
	bool naps;		 /* timeouts are no failure */
	bool patient;		 /* after a death one may wait for ever */
	void (*setup)(void);
	void (*run[XP_THREADS])(void);
	void (*check)(void);
	const void *arg; /* see xp_arg() */
	const struct xp_seed *seeds;
};

/* XP_SCENARIO(name) = {...}; defines one, and puts it on the list. */
#define XP_SCENARIO(id)                                            \
	static const struct xp_scenario xp_##id;                   \
	__attribute__((constructor)) static void xp_add_##id(void) \
	{                                                          \
		xp_add(&xp_##id);                                  \
	}                                                          \
	static const struct xp_scenario xp_##id

void xp_add(const struct xp_scenario *scenario);

/* ---- for setup() ---- */

/* Act as this thread, or as the judge, or another. */
void xp_as(uint32_t thread);
/* The scenario's argument. */
const void *xp_arg(void);
/* Open the region (the first time: make it) as who one acts as. */
struct lshm_region *xp_open(void);
/* The judge, and all threads: each with a lane. One acts as the judge then. */
void xp_open_all(void);
/* Memory that is put back before each execution, all zero: ghost state. */
void *xp_ghost(size_t size);
/* What a word is called in a printed schedule: name, or name[i]. */
void xp_name(const void *p, size_t size, size_t each, const char *name);
/* Kill the process of a thread that setup() has played. */
void xp_kill(uint32_t thread);

/* ---- for threads and check() ---- */

extern uint32_t xp_self;
/* The region as opened by who is running; of somebody else. */
struct lshm_region *xp_region(void);
struct lshm_region *xp_region_of(uint32_t thread);
/* Has this thread's process been killed? How many have, in this execution? */
bool xp_dead(uint32_t thread);
uint32_t xp_deaths(void);
/* Has this thread come to its end? */
bool xp_finished(uint32_t thread);
/* A step of the scenario's own, so that others can come between. */
void xp_step_at(struct xp_site *site);
#define XP_STEP(what)                                                \
	do {                                                         \
		static struct xp_site site_ = {.function = __func__, \
		    .word = (what),                                  \
		    .op = XP_USER,                                   \
		    .line = __LINE__};                               \
		xp_step_at(&site_);                                  \
	} while (0)

void xp_fail(const char *file, int line, const char *format, ...)
    __attribute__((noreturn, format(printf, 3, 4)));
#define XP_FAIL(...) xp_fail(__FILE__, __LINE__, __VA_ARGS__)
#define XP_TRUE(condition)                              \
	do {                                            \
		if (!(condition))                       \
			XP_FAIL("not so: " #condition); \
	} while (0)
#define XP_EQ(expected, seen)                                           \
	do {                                                            \
		int64_t e_ = (int64_t)(expected), s_ = (int64_t)(seen); \
		if (e_ != s_)                                           \
			XP_FAIL(#seen " is %lld: expected %lld",        \
			    (long long)s_, (long long)e_);              \
	} while (0)

/* ---- explore.c ---- */

/* Do not end where a state was seen before: to check that that is right. */
extern bool xp_plain;

struct xp_result {
	bool failed;
	bool seed_used;
	char why[512];
	const char *schedule; /* of the failure */
	uint64_t executions;
	uint64_t points; /* where there was a choice */
	uint64_t states;
	uint64_t ends;	  /* different states at the end */
	uint64_t words;	  /* that more than one thread uses */
	uint32_t longest; /* steps in an execution */
	double seconds;	  /* of the processor */
};

/*
 * In a process of its own; once. @show: print the schedule that failed, step by
 * step, or @replay if it is given.
 */
void xp_explore(struct xp_result *result, const struct xp_scenario *scenario,
    const struct xp_bounds *bounds, const struct xp_seed *seed,
    const char *replay, bool show);

#endif
