/* SPDX-License-Identifier: MIT */
/*
 * log.h - what the log's files share: see channel.c for how it works
 */
#ifndef LSHMI_LOG_H
#define LSHMI_LOG_H

#include "internal.h"

#define LSHMI_HELD_MAX 64      /* loans, or messages held, at a time */
#define LSHMI_LOSSES   1000000 /* more lost races than this: damaged */
#define LSHMI_SPIN_MAX 2000    /* looks before sleep, each after a pause */

/* -- words ---------------------------------------------------------------- */

enum { FREE = 0, OWNED = 1, READY = 2, TAKEN = 3, DONE = 4 };

/* What producers and consumers have in common. */
struct lshmi_end {
	struct lshm_region *region;
	struct lshmi_channel *channel;
	uint64_t offset; /* of the channel */
	uint32_t depth;
	uint32_t shift; /* depth is 1 << shift */
	uint32_t mode;
	uint64_t max_message;
	uint32_t kind;
	uint32_t index;
	uint32_t spin;
	uint32_t polls;
	uint32_t rung[2];	   /* `sleeps` of data, space when last rung */
	struct lshmi_waitq *queue; /* where to wait, as the attempt found */
};

static inline uint64_t lap_of(uint64_t slot_word)
{
	return slot_word >> LSHMI_SLOT_LAP_SHIFT;
}

static inline uint32_t desc_of(uint64_t slot_word)
{
	return slot_word & LSHMI_SLOT_INDEX;
}

/* The lap a slot has when it is filled with @position. */
static inline uint64_t lap_at(const struct lshmi_end *e, uint64_t position)
{
	return (position >> e->shift) + 1;
}

static inline uint64_t *slot_at(const struct lshmi_end *e, uint64_t position)
{
	return &e->channel->slots[position & (e->depth - 1)];
}

/*
 * How many laps a slot is beyond being filled with @position: 0 it is filled
 * with it, -1 it is the next to be. Laps wrap around.
 */
static inline int64_t ahead(
    const struct lshmi_end *e, uint64_t word, uint64_t position)
{
	return (int64_t)((lap_of(word) - lap_at(e, position))
			 << LSHMI_SLOT_LAP_SHIFT) >>
	       LSHMI_SLOT_LAP_SHIFT;
}

/* The position a slot is filled with, given its word and any position in it. */
static inline uint64_t filled_with(
    const struct lshmi_end *e, uint64_t word, uint64_t position)
{
	return position + ((uint64_t)ahead(e, word, position) << e->shift);
}

static inline uint32_t state_of(uint64_t w)
{
	return w & 7;
}

static inline uint32_t owner_of(uint64_t w)
{
	return (w >> 3) & 0x1fff;
}

#define DELIVERIES (UINT64_C(0xff) << 16)

static inline uint32_t deliveries_of(uint64_t w)
{
	return (w & DELIVERIES) >> 16;
}

/* @w with another state and owner; @life: of a new epoch. */
static inline uint64_t turn(
    uint64_t w, uint32_t state, uint32_t owner, bool life)
{
	w &= ~UINT64_C(0xffff);
	if (life)
		w += UINT64_C(1) << 24;
	return w | state | (uint64_t)owner << 3;
}

/* -- descriptors: descriptor.c -------------------------------------------- */

#define SEGMENT_SHIFT 6 /* segment k has 64 << k descriptors */

static inline struct lshmi_desc *desc_at(struct lshm_region *r, uint32_t index)
{
	uint32_t n = index + (1u << SEGMENT_SHIFT);
	uint32_t k = 31 - (uint32_t)__builtin_clz(n) - SEGMENT_SHIFT;
	uint64_t off, count = UINT64_C(1) << (SEGMENT_SHIFT + k);
	struct lshmi_desc *d;

	if (k >= LSHMI_DESC_SEGMENTS)
		return NULL;
	d = lshmi_load_relaxed(&r->descs[k]);
	if (__builtin_expect(!d, 0)) {
		off = lshmi_load_acquire(&r->header->desc_segments[k]);
		if (off % 64 != 0 ||
		    !(d = lshmi_at(r, off, count * sizeof(*d))))
			return NULL;
		lshmi_store_relaxed(&r->descs[k], d);
	}
	return d + (n - count);
}

/* How many descriptors there are. */
uint32_t lshmi_desc_count(struct lshm_region *r);
int lshmi_desc_more(struct lshm_region *r);
/* Does the slot that a descriptor says it is in name it? */
bool lshmi_desc_in_log(
    struct lshm_region *r, const struct lshmi_desc *d, uint32_t index);
/* Claim one that is in no log: true if it is ours now. [D] */
bool lshmi_desc_claim(
    struct lshm_region *r, struct lshmi_desc *d, uint32_t index);
/* Give the payload of a descriptor that the caller owns back to the heap. */
int lshmi_desc_drop(
    struct lshm_region *r, struct lshmi_lane *lane, struct lshmi_desc *d);
/* Give a descriptor of ours back. */
void lshmi_desc_put(struct lshm_region *r, uint32_t index);

/* -- ends and waiting: end.c ---------------------------------------------- */

#define JOINING UINT64_C(2) /* it is there, but its place is not settled yet */

static inline uint32_t end_slot(uint64_t w)
{
	return (w >> 2) & 0xfff;
}

static inline uint32_t end_generation(uint64_t w)
{
	return (uint32_t)(w >> 16);
}

static inline bool end_live(struct lshm_region *r, uint64_t w)
{
	return w && lshmi_participant_active(r, end_slot(w), end_generation(w));
}

/* Call for each end in use of one kind: i its index, w its word. */
#define FOR_ENDS(e, k, i, w)                                            \
	for (uint64_t bits_ = lshmi_load_seq(&(e)->channel->active[k]); \
	     bits_ &&                                                   \
	     (i = (uint32_t)__builtin_ctzll(bits_),                     \
	     w = lshmi_load_seq(&(e)->channel->ends[k][i].word), true); \
	     bits_ &= bits_ - 1)

uint32_t lshmi_ends_live(const struct lshmi_end *e, uint32_t kind);
/* Has everybody of that kind gone who ever joined? */
bool lshmi_ends_gone(const struct lshmi_end *e, uint32_t kind);
/* Ask the kernel about every end, and reap the dead. */
void lshmi_ends_reap(struct lshmi_end *e);
void lshmi_ring(struct lshm_region *r, struct lshmi_waitq *q);
/* Something has changed on a queue: wake those who have gone to sleep. */
void lshmi_ring_if(
    struct lshmi_end *e, struct lshmi_waitq *q, uint64_t sleepers);
void lshmi_ring_both(struct lshm_region *r, struct lshmi_channel *ch);
/*
 * Repeat @attempt until it returns something other than -EAGAIN, or until the
 * deadline: poll for about as long as a wake-up takes, then sleep.
 */
int lshmi_end_await(struct lshmi_end *e, int64_t deadline,
    int (*attempt)(struct lshmi_end *e, void *arg), void *arg);
/* The sentence for what an attempt returned. */
int lshmi_end_explain(const struct lshmi_end *e, int ret);

/* -- the log as a whole: channel.c ---------------------------------------- */

/* A channel's parts, found by its offset and checked; false: damaged. */
bool lshmi_log_find(
    struct lshmi_end *e, struct lshm_region *r, uint64_t offset, uint32_t kind);
/* The first position from @x on that is not filled; its slot's word in *w. */
uint64_t lshmi_log_tail(const struct lshmi_end *e, uint64_t x, uint64_t *w);
/* [C] the oldest position that some live consumer needs, at most @x. */
uint64_t lshmi_log_needed(const struct lshmi_end *e, uint64_t x);
/* A taken message whose consumer is dead becomes available again. [D] */
bool lshmi_log_redeliver(
    const struct lshmi_end *e, struct lshmi_desc *d, uint64_t w);
/* Work-sharing: may the message behind this slot word be overwritten? */
bool lshmi_log_done(const struct lshmi_end *e, uint64_t slot_word);
int lshmi_end_open(struct lshmi_end *e, struct lshm_region *r, const char *name,
    uint32_t kind, const struct lshm_channel_opts *opts, uint64_t *position);
/* Let go of all that one end has; by itself, or by its reaper. */
void lshmi_end_leave(struct lshmi_end *e, uint32_t kind, uint32_t index);
int lshmi_end_meet(struct lshmi_end *e, uint32_t wanted, int64_t deadline);

#endif
