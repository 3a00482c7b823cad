/* SPDX-License-Identifier: MIT */
/*
 * heap.c - the region's allocator
 *
 * Pages of 64 KiB form runs; the page map has an entry for each page. A run is
 * free, one large block, or a slab: blocks of one size class, owned by one
 * lane. One word per block says whose it is: 0 free, 1 attached, 2 + lane held
 * by that lane. A slab's words (16 bits each) are its first bytes; a large
 * block's word is the holder in the page map entry of its head.
 *
 * Who writes what, and why that is enough:
 *
 * [W] A block's word that is 0 is written by the slab's owner only; any other
 *     by the block's holder only (for an attached block: whoever holds the
 *     lock of the field that refers to it). So every transition, a free by
 *     another process too, is one plain store, and no two race. Before it the
 *     block is as it was, after it as it shall be.
 * [S] Words marked with a dead lane are written by that lane's one reaper, and
 *     by the owner of the field that names the block (lshmi_change), both by
 *     compare-and-swap from the dead mark. A lane's number is not used anew
 *     before its reaper is done.
 * [O] A slab's head entry is written by its owner; by the reaper of a dead
 *     owner (to FREE or to no owner, after its words are swept); by adopters,
 *     compare-and-swap from no owner. Sweep before adoption: an adopter finds
 *     no word of the dead.
 * [R] Runs are split and merged under heap_lock. A change becomes visible by
 *     one store, to the first page's entry; all entries behind it are written
 *     before, where no walk from head to head comes by. Freeing a run is one
 *     store to its head by its holder, without the lock; runs of free pages
 *     that lie side by side are merged by the next search. A death anywhere
 *     leaves the old runs or the new ones. Entries left behind in the middle
 *     of a free run are of kind FREE, BODY, SLAB but no head, or RUN of a dead
 *     lane: none of them leads a sweep or an adoption to memory in use, since
 *     a slab's head is always the first page of the run it was cut from.
 * [G] The generation in an entry goes up whenever a page becomes a head anew: a
 *     sweep that finds a dead lane's mark in a foreign slab looks at the entry
 *     again before it believes that what it read was a word at all. A word
 *     that is not 0 keeps its slab from being given back, so a believed mark
 *     stays one until it is swept.
 *
 * What a lane knows of its own slabs it keeps in memory of its own: where their
 * blocks lie, and free blocks to hand out (slab.c). So no shared memory is read
 * in order to find something, and a death loses nothing but that knowledge. Of
 * shared memory the fast ways touch this, and none does a read-modify-write:
 *
 *   lshm_alloc()  stores the block's word
 *   lshm_free()   loads and stores the block's word, in a slab of the lane's
 *                 own; in another's, its head's entry is loaded before
 *
 * A cache line has 32 words. Of private memory an allocation touches two lines,
 * the class and the top of its stack; a free two more: which slab the page is
 * of, and the slab. A block that was handed out last, and is freed first, lies
 * above the top still, with its word: it need not be looked for in the slab.
 *
 * Of another lane's slab all that is needed follows from its head's entry. That
 * is kept with it: what is known is true as long as the entry is the same, and
 * whoever holds a block there keeps the slab from being cut anew.
 */
#include <string.h>

#include "pages.h"

#define CLASS_MAX UINT64_C(131072)
#define ALIGN_MAX (UINT64_C(2) << 20)

/* -- finding a block ------------------------------------------------------ */

bool lshmi_locate(struct lshm_region *r, uint64_t off, struct lshmi_where *w)
{
	uint64_t total = lshmi_page_count(r), page = off >> LSHMI_PAGE_SHIFT;
	uint64_t e, index, distance, step = off & -off;
	const struct lshmi_cut *c;

	if (off < r->heap_off || page >= total)
		return false;
	e = lshmi_load_relaxed(pm(r, page));
	w->head = page;
	if (entry_kind(e) == LSHMI_PM_SLAB && !entry_is_slab(e)) {
		if (entry_extent(e) > page - first_page(r))
			return false;
		w->head -= entry_extent(e);
		e = lshmi_load_relaxed(pm(r, w->head));
		if (!entry_is_slab(e))
			return false;
	}
	w->entry = e;
	w->start = w->head << LSHMI_PAGE_SHIFT;
	if (entry_pages(e) > total - w->head)
		return false;
	if (entry_kind(e) == LSHMI_PM_RUN) {
		w->word = NULL;
		w->size = entry_pages(e) << LSHMI_PAGE_SHIFT;
		return w->size && off == w->start;
	}
	if (!entry_is_slab(e) || !(c = cut_of(e)))
		return false;
	w->size = c->size;
	distance = off - w->start - c->first;
	index = number_of(distance, c->inverse, c->shift);
	if (index < c->count) {
		w->word = words_of(r, w->head) + index;
		w->start = off;
		return true;
	}
	index = distance / c->size;
	if (index >= c->count)
		return false;
	w->word = words_of(r, w->head) + index;
	w->start += c->first + index * c->size;
	return ((w->start + step - 1) & ~(step - 1)) == off;
}

void lshmi_set_holder(
    struct lshm_region *r, const struct lshmi_where *w, uint16_t holder)
{
	if (w->word)
		lshmi_store_release(w->word, holder);
	else
		lshmi_store_release(
		    pm(r, w->head), holder == LSHMI_HOLDER_NONE
					? freed_entry(w->entry)
					: with_holder(w->entry, holder));
}

bool lshmi_holder_cas(
    struct lshm_region *r, uint64_t off, uint16_t from, uint16_t to)
{
	struct lshmi_where w;

	if (!lshmi_locate(r, off, &w) || holder_of(&w) != from)
		return false;
	if (w.word)
		return lshmi_cas16(w.word, from, to);
	return lshmi_cas(pm(r, w.head), w.entry, with_holder(w.entry, to));
}

/* -- allocating ----------------------------------------------------------- */

static void *large(struct lshmi_lane *lane, uint64_t size, uint64_t align)
{
	uint64_t pages, page;

	pages = (size >> LSHMI_PAGE_SHIFT) + (size % LSHMI_PAGE != 0);
	if (pages > EXTENT) {
		lshmi_fail(ENOMEM, "no block can have %llu bytes",
		    (unsigned long long)size);
		return NULL;
	}
	page = lshmi_run_take(lane, pages, align);
	return page ? lane->region->base + (page << LSHMI_PAGE_SHIFT) : NULL;
}

/* Hand out the block on top. */
static inline void *take(struct lshmi_class *cl)
{
	struct lshmi_spot *spot = cl->top;
	char *block = spot->block;

	if (UNLIKELY(!block))
		return NULL;
	cl->top = spot - 1;
	/* [W] ours from here on; a death gives it back */
	lshmi_store_relaxed(spot->word, cl->mark);
	return block;
}

static NOINLINE void *alloc_slow(struct lshm_region *region, uint64_t size)
{
	struct lshmi_lane *lane = lshmi_lane(region);
	struct lshmi_class *cl;
	void *block;

	if (!lane)
		return NULL;
	if (size > CLASS_MAX)
		return large(lane, size, 1);
	cl = &lane->classes[class_of(size ? size : 1)];
	block = take(cl);
	if (!block && lshmi_slab_refill(lane, cl))
		block = take(cl);
	return block;
}

HOT void *lshm_alloc(struct lshm_region *region, size_t size)
{
	struct lshmi_lane *lane = lshmi_lane_cache.lane;
	void *block;

	if (UNLIKELY(!lshmi_lane_cached(region) || size > LSHMI_SMALL))
		return alloc_slow(region, size);
	block = take(lane->small[(size + 15) / 16]);
	return LIKELY(block) ? block : alloc_slow(region, size);
}

void *lshm_alloc_aligned(
    struct lshm_region *region, size_t alignment, size_t size)
{
	struct lshmi_lane *lane;
	uintptr_t block;

	if (alignment == 0 || (alignment & (alignment - 1)) ||
	    alignment > ALIGN_MAX) {
		lshmi_fail(EINVAL,
		    "alignment %zu: expected a power of two up to 2 MiB",
		    alignment);
		return NULL;
	}
	if (size == 0)
		size = 1;
	if (alignment <= 16)
		return lshm_alloc(region, size);
	if (size <= CLASS_MAX && alignment + size <= CLASS_MAX) {
		block = (uintptr_t)lshm_alloc(region, size + alignment - 16);
		return (void *)((block + alignment - 1) & ~(alignment - 1));
	}
	lane = lshmi_lane(region);
	return lane ? large(lane, size,
			  alignment > LSHMI_PAGE ? alignment / LSHMI_PAGE : 1)
		    : NULL;
}

char *lshm_strdup(struct lshm_region *region, const char *string)
{
	size_t n = strlen(string) + 1;
	char *copy = lshm_alloc(region, n);

	if (copy)
		memcpy(copy, string, n);
	return copy;
}

/* -- freeing -------------------------------------------------------------- */

/* A block of a slab of ours is free; it goes on no stack. */
static void freed(struct lshmi_lane *lane, const struct lshmi_where *w)
{
	struct lshmi_class *cl = &lane->classes[entry_class(w->entry)];
	struct lshmi_slab *s;

	s = lane->tries[lshmi_try(lane->region->base + w->start)];
	if (s->class != cl || s->head != w->head)
		s = lshmi_slab_of(lane, cl, w->head);
	if (!s)
		return;
	lshmi_slab_freed(lane, s, w->word);
	if (cl->top == cl->full)
		lshmi_slabs_spill(lane, cl);
}

/* By page: what is known of slabs that are not this lane's. */
static inline struct lshmi_other *other_of(
    struct lshmi_lane *lane, const void *block)
{
	return &lane->others[lshmi_try(block) % LSHMI_OTHERS];
}

/* May this lane free a block whose word or entry says that? */
static inline bool may_free(struct lshmi_lane *lane, uint16_t holder)
{
	return holder == lane->mark || holder == LSHMI_HOLDER_ATTACHED ||
	       ours(lane->region, holder);
}

/* Whatever is not a draft of this lane's in a slab of its own. */
static NOINLINE int free_slow(struct lshm_region *region, void *block)
{
	struct lshmi_lane *lane;
	struct lshmi_where w;
	uint16_t holder;

	if (!block)
		return 0;
	lane = lshmi_lane(region);
	if (!lane)
		return lshmi_failed();
	if (!lshmi_locate(region, (uint64_t)((char *)block - region->base), &w))
		return lshmi_no_block("this is no block of the region's heap");
	holder = holder_of(&w);
	if (holder == LSHMI_HOLDER_NONE)
		return lshmi_no_block("this block is free already");
	if (!may_free(lane, holder))
		return lshmi_fail(EPERM,
		    "this block is a draft of another process: only its holder "
		    "may free it");
	lshmi_set_holder(region, &w, LSHMI_HOLDER_NONE);
	if (w.word && entry_holder(w.entry) != lane->mark)
		*other_of(lane, block) = (struct lshmi_other){
		    .slab = lshmi_slab_at(region, w.head, cut_of(w.entry)),
		    .entry = w.entry};
	else if (w.word && entry_class(w.entry) < LSHMI_CLASSES)
		freed(lane, &w);
	return 0;
}

/* A block of another lane's slab, if that is known. */
static NOINLINE HOT int free_other(
    struct lshm_region *region, struct lshmi_lane *lane, void *block)
{
	const struct lshmi_other *o = other_of(lane, block);
	uint16_t *word;

	if (UNLIKELY(!word_in(&o->slab, block, &word) ||
		     lshmi_load_relaxed(pm(region, o->slab.head)) != o->entry ||
		     !may_free(lane, lshmi_load_relaxed(word))))
		return free_slow(region, block);
	lshmi_store_release(word, LSHMI_HOLDER_NONE);
	return 0;
}

HOT int lshm_free(struct lshm_region *region, void *block)
{
	struct lshmi_lane *lane = lshmi_lane_cache.lane;
	struct lshmi_class *cl;
	struct lshmi_spot *spot;
	struct lshmi_slab *s;
	uint16_t *word;

	if (UNLIKELY(!lshmi_lane_cached(region)))
		return free_slow(region, block);
	s = lane->tries[lshmi_try(block)];
	cl = s->class;
	spot = cl->top + 1;
	if (spot->block == block) { /* handed out last: here is its word */
		word = spot->word;
		if (UNLIKELY(lshmi_load_relaxed(word) != cl->mark))
			return free_slow(region, block);
		lshmi_store_release(word, LSHMI_HOLDER_NONE);
		cl->top = spot;
		return 0;
	}
	if (UNLIKELY(!word_in(s, block, &word)))
		return free_other(region, lane, block);
	if (UNLIKELY(lshmi_load_relaxed(word) != s->mark || spot > cl->full))
		return free_slow(region, block);
	lshmi_store_release(word, LSHMI_HOLDER_NONE);
	spot->block = block;
	spot->word = word;
	cl->top = spot;
	return 0;
}

size_t lshm_usable_size(struct lshm_region *region, const void *block)
{
	uint64_t off = (uint64_t)((const char *)block - region->base);
	struct lshmi_where w;

	if (!block || region->serial == 0 || !lshmi_locate(region, off, &w) ||
	    holder_of(&w) == LSHMI_HOLDER_NONE)
		return 0;
	return w.size - (off - w.start);
}

/* -- sweeping -------------------------------------------------------- */

/* Of four words: is there one that is neither free nor attached? */
#define HELD (~UINT64_C(0x0001000100010001))

/* Free the words of a slab that dead lanes hold. */
static void sweep_words(struct lshm_region *r, uint64_t head, uint64_t entry,
    const struct lshmi_cut *c, const bool *dead)
{
	uint16_t *words = words_of(r, head);
	const uint64_t *quad = (const uint64_t *)words;

	for (uint32_t i = 0; i < c->count; i++) {
		uint16_t w;

		if (i % 4 == 0 && !(lshmi_load_seq(&quad[i / 4]) & HELD)) {
			i += 3;
			continue;
		}
		w = lshmi_load_seq(&words[i]);
		if (w < LSHMI_HOLDER_LANE ||
		    w - LSHMI_HOLDER_LANE >= (int)r->max_lanes ||
		    !dead[w - LSHMI_HOLDER_LANE])
			continue;
		/* [G] was that a word, or is the slab something else now? */
		if ((lshmi_load_seq(pm(r, head)) ^ entry) & ~HOLDER_BITS)
			return;
		lshmi_cas16(&words[i], w, LSHMI_HOLDER_NONE);
	}
}

void lshmi_heap_sweep(struct lshm_region *r, const bool *dead)
{
	uint64_t total = lshmi_page_count(r);
	bool foreign = false;

	for (uint32_t i = 0; i < r->max_lanes; i++)
		if (dead[i] && lshmi_load_acquire(&r->lanes[i].foreign))
			foreign = true;
	for (uint64_t p = first_page(r); p < total; p++) {
		uint64_t e = lshmi_load_seq(pm(r, p));
		uint32_t lane = (uint32_t)entry_holder(e) - LSHMI_HOLDER_LANE;
		bool orphan = lane < r->max_lanes && dead[lane];
		const struct lshmi_cut *c;

		if (entry_kind(e) == LSHMI_PM_RUN && orphan)
			lshmi_cas(pm(r, p), e, freed_entry(e));
		if (!entry_is_slab(e) || !(orphan || foreign) ||
		    entry_pages(e) > total - p || !(c = cut_of(e)))
			continue;
		sweep_words(r, p, e, c, dead);
		if (!orphan)
			continue;
		if (lshmi_slab_empty(r, p, c)) {
			lshmi_cas(pm(r, p), e, freed_entry(e));
		} else {
			lshmi_cas(
			    pm(r, p), e, with_holder(e, LSHMI_HOLDER_ATTACHED));
		}
	}
	/* In any case: a reaper before us may have died before it told. */
	lshmi_fetch_add(&r->header->orphans, 1);
}
