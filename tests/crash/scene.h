/* SPDX-License-Identifier: MIT */
/*
 * scene.h - what the scenarios begin with: a region with a few things in it,
 * and a victim that holds one of each kind
 */
#ifndef LIBSHM_SCENE_H
#define LIBSHM_SCENE_H

#include "../unit/channels.h"
#include "crash.h"

/** In the region, named "shared". */
struct shared {
	struct lshm_mutex mutex;
	lshm_off field;
	struct lshm_mutex other_mutex;
	lshm_off other_field;
};

/** What a survivor is promised is about a second; a busy machine needs more. */
#define BOUND_MS 5000

struct shared *make_shared(struct lshm_region *region);
struct lshm_region *create(struct shared **shared);
struct shared *find(struct lshm_region *region);

struct lshm_message take(struct lshm_consumer *in);
uint64_t number_in(const struct lshm_message *m);

uint64_t microseconds(void);
uint64_t milliseconds(void);
void sleep_ms(long ms);

uint32_t state_of(struct lshm_region *region, uint32_t slot);
/** A new block in shared->field, under shared->mutex. */
void attach_block(
    struct lshm_region *region, struct shared *shared, uint64_t value);
/** Free the block in a field, which must be whole; the lock is held. */
void free_field(
    struct lshm_region *region, struct lshm_mutex *mutex, lshm_off *field);

/** Children: who locks mutex (@other: not NULL, other_mutex), and keeps it; */
void locks_body(struct lshm_region *region, int fd, void *other);
/** and who reaps, from its mark on. */
void reaps_body(struct lshm_region *region, int fd, void *arg);

/** Where to step to: @arg is a word in the region, which is or is not 0; */
bool word_is_set(void *arg);
bool word_is_clear(void *arg);

/** or a sweep of this slot, some way into it, or that it is over. */
struct slot_watch {
	struct lshmi_slot *slot;
	uint64_t more; /* instructions to go on after that */
};

bool is_reaping(void *arg);
/** LSHMI_SLOT_... */
uint64_t slot_state(const struct lshmi_slot *slot);

/**
 * struct victim - a child that holds a lock, a block in a field, drafts, two of
 * the channel's four messages and a loan; and then does as it was told
 */
struct victim {
	struct ut_child child;
	struct lshm_region *region;
	struct shared *shared;
	struct lshm_producer *out;
	struct lshm_consumer *in;
	struct crash_books books;
	uint32_t slot;
};

void victim_start(struct victim *v, void (*then)(int fd));
/** Everything that it held must be had, within the bound; and all is undone. */
void victim_is_dead(struct victim *v);
/** It lives: nothing may be taken from it. */
void victim_is_alive(struct victim *v);
/** Then it is killed after all. */
void victim_dies_at_last(struct victim *v);
/** To be done by victims that wait. */
void waits(int fd);

#endif
