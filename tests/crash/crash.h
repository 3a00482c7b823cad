/* SPDX-License-Identifier: MIT */
/*
 * crash.h - what the crash tests share: the books of a region, messages that
 * show if they are torn, and stepping through a child instruction by
 * instruction
 *
 * The harness is that of the unit tests, ../unit/unit.h: how to run one test
 * alone, on one backend, with which seed, is said there.
 */
#ifndef LIBSHM_CRASH_H
#define LIBSHM_CRASH_H

#include "../unit/unit.h"

#include "../../libshm/layout.h"

/* ---- what is in the region ---- */

/** The tables, for those who want to stop a process at a certain word. */
static inline struct lshmi_header *crash_header(struct lshm_region *region)
{
	return lshm_region_base(region);
}

static inline struct lshmi_slot *crash_slot(
    struct lshm_region *region, uint32_t slot)
{
	char *base = lshm_region_base(region);

	return (struct lshmi_slot *)(base +
				     crash_header(region)->participants_off) +
	       slot;
}

static inline struct lshmi_lane_rec *crash_lane(
    struct lshm_region *region, uint32_t lane)
{
	char *base = lshm_region_base(region);

	return (struct lshmi_lane_rec *)(base +
					 crash_header(region)->lanes_off) +
	       lane;
}

/** The slot of the participant that asks, or of the one with this pid. */
uint32_t crash_own_slot(struct lshm_region *region);
uint32_t crash_slot_of(struct lshm_region *region, pid_t pid);

/* ---- the books ---- */

/** struct crash_books - what is in a region while nobody does anything */
struct crash_books {
	uint64_t attached_blocks;
	uint64_t attached_bytes;
	uint32_t participants;
	uint32_t lanes;
};

/**
 * Reap, and take the books. They must be in order: no draft (the caller has
 * none), no dead participant, every byte of the heap free or in a slab or run.
 */
struct crash_books crash_take_books(
    struct ut_at at, struct lshm_region *region);
void crash_compare_books(struct ut_at at, struct lshm_region *region,
    const struct crash_books *expected);

#define CRASH_BOOKS(region) crash_take_books(UT_AT("the books"), region)
#define CRASH_BALANCED(region, expected) \
	crash_compare_books(UT_AT("the books balance"), region, expected)

/* ---- messages and blocks that show if they are torn ---- */

/** Fill @size bytes with what follows from @value; the first 8 are @value. */
void crash_fill(void *block, size_t size, uint64_t value);
/** It must be filled like that; the value. */
uint64_t crash_check(struct ut_at at, const void *block, size_t size);

#define CRASH_WHOLE(block, size) \
	crash_check(UT_AT("the bytes are whole"), block, size)

/* ---- stepping ---- */

/**
 * In a child: the first time, be traced by the parent from here on. Stands
 * still until the parent steps on, or lets it go.
 */
void crash_mark(void);

/** Does the stepping end here? */
typedef bool crash_condition(void *arg);

/** Wait until a child has come to its first crash_mark(). */
void crash_await_mark(struct ut_child *child);
/**
 * Step on from there until the condition holds (true; it stands still then) or
 * until it comes to the next mark (false).
 */
bool crash_step(struct ut_child *child, crash_condition *condition, void *arg);
/** Trace it no more: it goes on, or stays stopped as by SIGSTOP. */
void crash_let_go(struct ut_child *child);
void crash_leave_stopped(struct ut_child *child);

#endif
