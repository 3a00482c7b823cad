/* SPDX-License-Identifier: MIT */
/*
 * pages.h - what the heap's files share: see heap.c for how it works
 */
#ifndef LSHMI_PAGES_H
#define LSHMI_PAGES_H

#include "internal.h"

/* -- page map entries ----------------------------------------------------- */

static inline uint64_t make_entry(uint32_t kind, uint32_t class,
    uint32_t holder, uint64_t pages, uint32_t gen)
{
	return pages | (uint64_t)holder << 32 | (uint64_t) class << 48 |
	       (uint64_t)kind << 55 | (uint64_t)(gen & 63) << 58;
}

static inline uint64_t entry_pages(uint64_t e)
{
	return e & 0xffffffff;
}

static inline uint16_t entry_holder(uint64_t e)
{
	return (uint16_t)(e >> 32);
}

static inline uint32_t entry_class(uint64_t e)
{
	return (e >> 48) & 127;
}

static inline uint32_t entry_kind(uint64_t e)
{
	return (e >> 55) & 7;
}

static inline uint32_t entry_gen(uint64_t e)
{
	return (uint32_t)(e >> 58);
}

#define HOLDER_BITS (UINT64_C(0xffff) << 32)

static inline uint64_t with_holder(uint64_t e, uint16_t holder)
{
	return (e & ~HOLDER_BITS) | (uint64_t)holder << 32;
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

/* The same; where there are none, what the dead hold comes back first. */
uint64_t lshmi_pages_take(struct lshmi_lane *lane, uint64_t pages,
    uint64_t least, uint64_t align, uint32_t kind, uint32_t class);

/* -- slab.c --------------------------------------------------------------- */

/* How a slab of a class is cut. */
struct lshmi_cut {
	uint32_t size;	/* of a block */
	uint32_t pages; /* of a slab, where memory allows */
	uint32_t first; /* where the first block lies */
	uint32_t count; /* blocks */
	uint64_t reciprocal;
};

#define RECIPROCAL_SHIFT 44

extern struct lshmi_cut lshmi_cuts[LSHMI_CLASSES]
    __attribute__((visibility("hidden")));

void lshmi_slab_cut(struct lshmi_cut *c, uint32_t class, uint64_t pages);

/* How the slab behind a head entry is cut; NULL: no such slab can be. */
static inline const struct lshmi_cut *cut_of(
    uint64_t entry, struct lshmi_cut *odd)
{
	uint32_t class = entry_class(entry);
	uint64_t pages = entry_pages(entry);

	if (class >= LSHMI_CLASSES || pages == 0 ||
	    pages > lshmi_cuts[class].pages)
		return NULL;
	if (pages == lshmi_cuts[class].pages)
		return &lshmi_cuts[class];
	lshmi_slab_cut(odd, class, pages);
	return odd->count ? odd : NULL;
}

/* A block, found. */
struct lshmi_where {
	uint64_t head;	/* page */
	uint64_t entry; /* of the head, as read */
	uint16_t *word; /* NULL: the holder is in the head's entry */
	uint64_t start; /* offset of the block */
	uint64_t size;
};

bool lshmi_slab_empty(
    struct lshm_region *r, uint64_t head, const struct lshmi_cut *c);

/* Give back the slabs of this lane in which nothing is left: how many. */
uint32_t lshmi_slabs_trim(struct lshmi_lane *lane);

/*
 * A block of one of our slabs has been freed. If that was its last one, and we
 * are not allocating from it, others shall have its pages. The groups beside it
 * are looked at first: they tell in nearly every case that it is not empty.
 */
void lshmi_slab_freed(struct lshmi_lane *lane, const struct lshmi_where *w);

/* Fill the class's mask from anywhere. */
bool lshmi_slab_refill(struct lshmi_lane *lane, uint32_t class);

#endif
