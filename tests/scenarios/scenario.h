/* SPDX-License-Identifier: MIT */
/*
 * scenario.h - what the stories share, of processes that die, stop or move at a
 * bad moment
 *
 * Each is a test of the harness in ../unit/unit.h: it has a time limit, may
 * leave nothing behind, and is run alone by
 *
 *     scenario_reaper BACKEND NAME
 *
 * Each says what it expected and what it saw. Whoever is to be hit is first
 * brought to a known point: it says so itself, or its word in the region does,
 * or it is stepped there. Nothing depends on how long anything takes, but for
 * the bound within which survivors must notice a death.
 */
#ifndef LIBSHM_SCENARIO_H
#define LIBSHM_SCENARIO_H

#include "../crash/scene.h"

/** Survivors go on after a death within this. */
#define GO_ON_MS 3000
#define GO_ON	 lshm_deadline_ms(GO_ON_MS)

/** What was expected, what was seen (as for printf), and how to see it again */
void tell(const char *function, const char *expected, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
#define TELL(expected, ...) tell(__func__, expected, __VA_ARGS__)

/** A table of participants that is soon full, and soon looked through. */
enum { SLOTS = 4 };
extern const struct lshm_region_opts few_slots;

uint32_t count_state(struct lshm_region *region, uint32_t state);
uint64_t deaths(struct lshm_region *region);

/** Hold what survivors must get back: the lock of "shared", and drafts. */
void hold_things(struct lshm_region *region);
/** For ut_spawn(): say 0, and wait for a number; the same with things held. */
void wait_body(struct lshm_region *region, int fd, void *arg);
void hold_body(struct lshm_region *region, int fd, void *arg);
/** Take the lock from a dead owner: how many milliseconds it took. */
uint64_t inherit_lock(struct lshm_region *region);

/** All but the caller are gone, and nothing of theirs is left; close it. */
void end_balanced(struct lshm_region *region);

#endif
