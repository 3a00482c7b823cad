/* SPDX-License-Identifier: MIT */
/*
 * pages.h - what the heap's files share: see heap.c for how it works
 */
#ifndef LSHMI_PAGES_H
#define LSHMI_PAGES_H

#include "internal.h"

#define LIKELY(x)   __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
#define NOINLINE    __attribute__((noinline))
#define COLD	    __attribute__((noinline, cold))
/* The fast ones begin at a cache line: else it is chance how fast they are. */
#define HOT __attribute__((hot, aligned(64)))

/* -- page map entries ----------------------------------------------------- */

#define HOLDER_SHIFT 30
#define GEN_SHIFT    46
#define KIND_SHIFT   53
#define SHAPE_SHIFT  55
#define EXTENT	     ((UINT64_C(1) << HOLDER_SHIFT) - 1)
#define HOLDER_BITS  (UINT64_C(0xffff) << HOLDER_SHIFT)
#define GENS	     128
#define SHAPES	     512

static inline uint64_t make_entry(uint32_t kind, uint32_t shape,
    uint32_t holder, uint64_t extent, uint32_t gen)
{
	return extent | (uint64_t)holder << HOLDER_SHIFT |
	       (uint64_t)shape << SHAPE_SHIFT | (uint64_t)kind << KIND_SHIFT |
	       (uint64_t)(gen % GENS) << GEN_SHIFT;
}

static inline uint32_t entry_kind(uint64_t e)
{
	return (e >> KIND_SHIFT) & 3;
}

static inline uint16_t entry_holder(uint64_t e)
{
	return (uint16_t)(e >> HOLDER_SHIFT);
}

static inline uint32_t entry_shape(uint64_t e)
{
	return (uint32_t)(e >> SHAPE_SHIFT);
}

static inline uint32_t entry_gen(uint64_t e)
{
	return (e >> GEN_SHIFT) % GENS;
}

/* As the layout has it: what it means depends on the kind. */
static inline uint64_t entry_extent(uint64_t e)
{
	return e & EXTENT;
}

/* Does a slab begin here? */
static inline bool entry_is_slab(uint64_t e)
{
	return entry_kind(e) == LSHMI_PM_SLAB && entry_extent(e) == 0;
}

static inline uint32_t entry_class(uint64_t e)
{
	return entry_shape(e) >> 3;
}

static inline uint64_t shape_pages(uint32_t shape)
{
	return UINT64_C(1) << (shape & 7);
}

/* How many pages a head spans; 0: this is no head. */
static inline uint64_t entry_pages(uint64_t e)
{
	switch (entry_kind(e)) {
	case LSHMI_PM_BODY:
		return 0;
	case LSHMI_PM_SLAB:
		return entry_is_slab(e) ? shape_pages(entry_shape(e)) : 0;
	default:
		return entry_extent(e);
	}
}

static inline uint64_t with_holder(uint64_t e, uint16_t holder)
{
	return (e & ~HOLDER_BITS) | (uint64_t)holder << HOLDER_SHIFT;
}

/* What a head becomes when its pages become free. */
static inline uint64_t freed_entry(uint64_t e)
{
	return make_entry(LSHMI_PM_FREE, 0, 0, entry_pages(e), entry_gen(e));
}

static inline uint64_t *pm(struct lshm_region *r, uint64_t page)
{
	return &r->pagemap[page];
}

static inline uint64_t first_page(const struct lshm_region *r)
{
	return r->heap_off >> LSHMI_PAGE_SHIFT;
}

/* -- pages.c -------------------------------------------------------------- */

/* Pages that exist now, as far as this process can reach them. */
uint64_t lshmi_page_count(struct lshm_region *r);

/*
 * Take a run: the first page's number, or 0. Where there are no pages, what the
 * dead hold comes back first.
 */
uint64_t lshmi_run_take(
    struct lshmi_lane *lane, uint64_t pages, uint64_t align);
/* Take a slab of this shape, or a smaller one of the class. */
uint64_t lshmi_slab_take(struct lshmi_lane *lane, uint32_t shape);

/* -- slab.c --------------------------------------------------------------- */

/* How a slab of some shape is cut; see struct lshmi_slab. */
struct lshmi_cut {
	uint64_t inverse;
	uint32_t shift;
	uint32_t first; /* where the first block lies */
	uint32_t size;	/* of a block */
	uint32_t count; /* blocks; 0: there is no such shape */
};

extern struct lshmi_cut lshmi_cuts[SHAPES]
    __attribute__((visibility("hidden")));

/* How the slab behind a head entry is cut; NULL: no such slab can be. */
static inline const struct lshmi_cut *cut_of(uint64_t entry)
{
	const struct lshmi_cut *c = &lshmi_cuts[entry_shape(entry)];

	return c->count ? c : NULL;
}

static inline uint16_t *words_of(struct lshm_region *r, uint64_t head)
{
	return (uint16_t *)(r->base + (head << LSHMI_PAGE_SHIFT));
}

/* For sizes from 1 to 128 KiB. */
static inline uint32_t class_of(uint64_t size)
{
	uint64_t n = size - 1;
	uint32_t msb = 63 - (uint32_t)__builtin_clzll(n | 64);

	return (msb - 6) * 4 + (uint32_t)(n >> (msb - 2));
}

/*
 * The number of the block that begins @distance from the first one; if none
 * does, more than there can be. A size is an odd number shifted to the left. To
 * multiply with the inverse of that, modulo 2^64, divides what is a multiple of
 * it; in any other case a bit is set at the left end by the one or the other
 * (Granlund and Montgomery, Division by invariant integers, 1994, section 9).
 */
static inline uint64_t number_of(
    uint64_t distance, uint64_t inverse, uint32_t shift)
{
	uint64_t n = distance * inverse;

	return n >> (shift & 63) | n << (-shift & 63);
}

/* What lies where in the slab with this head, cut like that. */
static inline struct lshmi_slab lshmi_slab_at(
    struct lshm_region *r, uint64_t head, const struct lshmi_cut *c)
{
	uint16_t *words = words_of(r, head);

	return (struct lshmi_slab){
	    .first = (char *)words + c->first,
	    .inverse = c->inverse,
	    .words = words,
	    .count = c->count,
	    .shift = (uint8_t)c->shift,
	    .head = (uint32_t)head,
	};
}

/* The place of an address's page in a lane's tries. */
static inline uint32_t lshmi_try(const void *address)
{
	return ((uintptr_t)address >> LSHMI_PAGE_SHIFT) % LSHMI_TRIES;
}

/* Does a block begin at @block in that slab? Then it has this word. */
static inline __attribute__((always_inline)) bool word_in(
    const struct lshmi_slab *s, const void *block, uint16_t **word)
{
	uint64_t distance = (uintptr_t)block - (uintptr_t)s->first;
	uint64_t index = number_of(distance, s->inverse, s->shift);

	if (UNLIKELY(index >= s->count))
		return false;
	*word = s->words + index;
	return true;
}

/*
 * The fast way: the slab of this lane in which a block begins at @block, and
 * the block's word. All that is needed is the lane's own knowledge, so that a
 * damaged region cannot lead it astray.
 */
static inline __attribute__((always_inline)) struct lshmi_slab *find(
    struct lshmi_lane *lane, const void *block, uint16_t **word)
{
	struct lshmi_slab *s = lane->tries[lshmi_try(block)];

	return word_in(s, block, word) ? s : NULL;
}

bool lshmi_slab_empty(
    struct lshm_region *r, uint64_t head, const struct lshmi_cut *c);

/*
 * A block of a slab that is ours has been freed, and is on no stack: if it was
 * the slab's last one, others shall have its pages.
 */
void lshmi_slab_freed(
    struct lshmi_lane *lane, struct lshmi_slab *slab, const uint16_t *word);

/* Our slab with this head, or NULL: the slow way. */
struct lshmi_slab *lshmi_slab_of(
    struct lshmi_lane *lane, struct lshmi_class *cl, uint64_t head);

/* There are enough free blocks at hand: leave them to be found by others. */
void lshmi_slabs_spill(struct lshmi_lane *lane, struct lshmi_class *cl);

/* Have free blocks at hand, from anywhere. */
bool lshmi_slab_refill(struct lshmi_lane *lane, struct lshmi_class *cl);

/* -- heap.c --------------------------------------------------------------- */

/* Any block, found. */
struct lshmi_where {
	uint64_t head;	/* page */
	uint64_t entry; /* of the head, as read */
	uint16_t *word; /* NULL: the holder is in the head's entry */
	uint64_t start; /* offset of the block */
	uint64_t size;
};

/*
 * The block that begins at @off: or, for aligned ones, the block within which
 * @off is the first multiple of the largest power of two that divides it.
 */
bool lshmi_locate(struct lshm_region *r, uint64_t off, struct lshmi_where *w);

static inline uint16_t holder_of(const struct lshmi_where *w)
{
	return w->word ? lshmi_load_relaxed(w->word) : entry_holder(w->entry);
}

static inline int lshmi_no_block(const char *why)
{
	return lshmi_fail(EINVAL, "%s", why);
}

/* By whom [W] allows to. */
void lshmi_set_holder(
    struct lshm_region *r, const struct lshmi_where *w, uint16_t holder);

/* Does a lane of this participant hold it? */
static inline bool ours(struct lshm_region *r, uint16_t holder)
{
	uint32_t lane = (uint32_t)holder - LSHMI_HOLDER_LANE;

	return holder >= LSHMI_HOLDER_LANE && lane < r->max_lanes &&
	       (lshmi_load_relaxed(&r->lanes[lane].word) & 0xffff) ==
		   r->slot + 1;
}

#endif
