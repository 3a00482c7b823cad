/* SPDX-License-Identifier: MIT */
/*
 * step.h - what the sweeps of libshm's own operations share
 *
 * Each STEP() in a step_*.c is a test: one operation, swept by libshm-testing
 * (see libshm/testing.h for what that is). It prints its instructions, states,
 * deaths and failures; a failure says how to see it again.
 *
 * To add a sweep: functions of a struct world for what comes before, the
 * operation, and what a survivor must find after; then a line STEP(name, where,
 * .begin = ..., .run = ..., .finish = ...). docs/crash.md must list it: see
 * scripts/crash.
 *
 * Environment: as for libshm/testing.h and ../unit/unit.h; besides
 *              LSHM_CRASH_REPORT  a file to which each sweep adds a line
 */
#ifndef LIBSHM_STEP_H
#define LIBSHM_STEP_H

#include "crash.h"

#include <libshm/testing.h>

/* In the region, named "shared". */
struct shared {
	struct lshm_mutex mutex;
	lshm_off field;
	uint64_t words[5]; /* a test's own */
	struct lshm_rwlock rwlock;
	struct lshm_cond cond;
	struct lshm_event event;
	struct lshm_once once;
	struct lshm_barrier barrier;
	struct lshm_semaphore plain;
	struct lshm_semaphore tracked;
	struct lshm_permit permits[2];
	struct lshm_list list;
	struct lshm_vector vector;
};

/* Slabs of such blocks have few words, so that a sweep is short. */
#define SMALL_BLOCK 6000
#define SMALL_COUNT 43 /* more than such a slab has */
#define LARGE_BLOCK 200000
#define FILLED	    32 /* of a block's bytes */
#define REGION	    (3 * MIB)

/* What a process has at hand; the child and the survivor have one each. */
struct world {
	struct lshm_region *region;
	struct shared *shared;
	struct lshm_producer *out;
	struct lshm_consumer *in;
	struct lshm_message message;
	void *block;
	void *blocks[SMALL_COUNT];
	uint64_t next;		  /* survivor: messages got so far */
	struct crash_books books; /* survivor: how it must be in the end */
	bool done;		  /* the operation came to its end */
	struct ut_child victim;	  /* survivor: a third process */
	int sockets[2];
};

struct step {
	void (*prepare)(struct world *w);   /* the survivor, beforehand */
	void (*begin)(struct world *w);	    /* the child, unwatched */
	void (*other)(struct world *w);	    /* another one, that must wait */
	void (*meanwhile)(struct world *w); /* the survivor, after that */
	void (*run)(struct world *w);	    /* the child, stepped */
	void (*finish)(struct world *w);    /* the survivor: check, then undo */
	void (*rescue)(struct world *w);    /* the second one to die */
	bool attaches;	       /* run() attaches the child itself */
	bool cold;	       /* the child has done nothing before */
	bool rigid;	       /* the region cannot grow */
	uint32_t participants; /* 0: 8 */
	uint32_t first_deaths; /* 0: 2; STEP_ONE_DEATH: no rescuer dies */
	uint32_t timeout_s;
};

#define STEP_ONE_DEATH UINT32_MAX

/* Does any run find fault? The first one is told unless @quiet. */
bool step_sweep(const char *name, const struct step *step, bool quiet,
    struct lshm_testing_result *result);

/** STEP(name, where, members of struct step) - a test of one operation */
#define STEP(name, where, ...)                                             \
	static const struct step step_##name = {__VA_ARGS__};              \
	UT_TEST(name, where)                                               \
	{                                                                  \
		struct lshm_testing_result result;                         \
                                                                           \
		UT_TRUE(!step_sweep(#name, &step_##name, false, &result)); \
	}

/* ---- the heap, a lock, a field and its block ---- */

void find_shared(struct world *w);
/* What is in the region now may stay. */
void keep(struct world *w);

void alloc_small(struct world *w);
void alloc_large(struct world *w);
void alloc_grows(struct world *w);
void free_block(struct world *w);
void alloc_free(struct world *w);
/* Every size can be had, and given back. */
void finish_heap(struct world *w);

void lock(struct world *w);
void unlock(struct world *w);
void take_over(struct world *w);
void attach(struct world *w);
void detach(struct world *w);
void replace(struct world *w);
void lock_with_block(struct world *w);
/* A block in the field. */
void prepare_small(struct world *w);
/* The field names a block in use, whole, or none; and no block is lost. */
void finish_field(struct world *w);
void finish_replace(struct world *w);

/* ---- a channel, "c" ---- */

#define MESSAGE 6500

extern const struct lshm_channel_opts broadcast; /* both of depth 4 */
extern const struct lshm_channel_opts work;

void open_producer(struct world *w);
void close_producer(struct world *w);
void open_consumer(struct world *w);
void close_consumer(struct world *w);
void loan(struct world *w);
void publish(struct world *w);
void send_one(struct world *w);
void take(struct world *w);
void release(struct world *w);
/* The survivor takes part. The channel has been in use for some laps. */
void prepare_broadcast(struct world *w);
void prepare_work(struct world *w);
/* Two messages are waiting; until the log is full. */
void prepare_work_waiting(struct world *w);
void fill_log(struct world *w);
struct lshm_channel_info channel_info(struct world *w);
/*
 * The survivor takes what is there: each message whole, of the right sequence.
 * One may be missing if the dead one may have done it.
 */
uint64_t drain(struct world *w, bool may_miss);
/* After that, alone in the channel, it goes on, and removes it all. */
void finish_channel(struct world *w);
void finish_two(struct world *w);

/* ---- a victim, and who comes after it ---- */

/* A third process, w->victim. It ends with the survivor, if not before. */
void start_victim(struct world *w, ut_body *body);
/* One that has done @hold, and waits for its end. */
void start_holder(struct world *w, void (*hold)(struct world *w));
/* Attach, in begin() or run() of a child that .attaches. */
void open_region(struct world *w);
/* A lock, a field's block, drafts, a message and a loan. */
void hold_much(struct world *w);
void finish_much(struct world *w);
/* A third process that holds much; it is killed once the child is there. */
void prepare_victim(struct world *w);
void kill_victim(struct world *w);
void prepare_dead(struct world *w);
void reap(struct world *w);

#endif
