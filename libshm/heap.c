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
 *     of a free run are of kind FREE, BODY, SLAB_BODY, or RUN of a dead lane:
 *     none of them leads a sweep or an adoption to memory in use, since a
 *     slab's head is always the first page of the run it was cut from.
 * [G] The generation in an entry goes up whenever a page becomes a head anew: a
 *     sweep that finds a dead lane's mark in a foreign slab looks at the entry
 *     again before it believes that what it read was a word at all. A word
 *     that is not 0 keeps its slab from being given back, so a believed mark
 *     stays one until it is swept.
 *
 * The owner picks up free words 32 at a time, a cache line, into a mask of its
 * own; allocating then takes a bit and stores a word: no shared line is read,
 * no read-modify-write is done. A free reads a page map entry and the word, and
 * stores the word.
 */
#include <string.h>

#include "pages.h"

#define CLASS_MAX UINT64_C(131072)
#define ALIGN_MAX (UINT64_C(2) << 20)

/* -- finding a block ------------------------------------------------------ */

/*
 * The block that begins at @off: or, for aligned ones, the block within which
 * @off is the first multiple of the largest power of two that divides it.
 */
static inline __attribute__((always_inline)) bool locate(
    struct lshm_region *r, uint64_t off, struct lshmi_where *w)
{
	uint64_t page = off >> LSHMI_PAGE_SHIFT, total, e, rel, index, step;
	const struct lshmi_cut *c;
	struct lshmi_cut odd;

	total = lshmi_load_relaxed(&r->size) >> LSHMI_PAGE_SHIFT;
	if (__builtin_expect(page >= total, 0))
		total = lshmi_page_count(r);
	if (off < r->heap_off || page >= total)
		return false;
	e = lshmi_load_relaxed(pm(r, page));
	w->head = page;
	if (entry_kind(e) == LSHMI_PM_SLAB_BODY) {
		if (entry_pages(e) > page - first_page(r))
			return false;
		w->head = page - entry_pages(e);
		e = lshmi_load_relaxed(pm(r, w->head));
		if (entry_kind(e) != LSHMI_PM_SLAB)
			return false;
	}
	w->entry = e;
	if (entry_pages(e) <= page - w->head ||
	    (entry_pages(e) > total - w->head &&
		entry_pages(e) > lshmi_page_count(r) - w->head))
		return false;
	if (entry_kind(e) == LSHMI_PM_RUN) {
		w->word = NULL;
		w->start = w->head << LSHMI_PAGE_SHIFT;
		w->size = entry_pages(e) << LSHMI_PAGE_SHIFT;
		return off == w->start;
	}
	if (entry_kind(e) != LSHMI_PM_SLAB || !(c = cut_of(e, &odd)))
		return false;
	rel = off - (w->head << LSHMI_PAGE_SHIFT);
	if (rel < c->first)
		return false;
	index = (rel - c->first) * c->reciprocal >> RECIPROCAL_SHIFT;
	if (index >= c->count)
		return false;
	w->word = (uint16_t *)(r->base + (w->head << LSHMI_PAGE_SHIFT)) + index;
	w->start = (w->head << LSHMI_PAGE_SHIFT) + c->first + index * c->size;
	w->size = c->size;
	step = off & -off;
	return off == w->start || ((w->start + step - 1) & ~(step - 1)) == off;
}

static uint16_t holder_of(const struct lshmi_where *w)
{
	return w->word ? lshmi_load_relaxed(w->word) : entry_holder(w->entry);
}

/* By whom [W] allows to. */
static void set_holder(
    struct lshm_region *r, const struct lshmi_where *w, uint16_t holder)
{
	if (w->word)
		lshmi_store_release(w->word, holder);
	else if (holder == LSHMI_HOLDER_NONE)
		lshmi_store_release(pm(r, w->head),
		    make_entry(LSHMI_PM_FREE, 0, 0, entry_pages(w->entry),
			entry_gen(w->entry)));
	else
		lshmi_store_release(
		    pm(r, w->head), with_holder(w->entry, holder));
}

bool lshmi_holder_cas(
    struct lshm_region *r, uint64_t off, uint16_t from, uint16_t to)
{
	struct lshmi_where w;

	if (!locate(r, off, &w) || holder_of(&w) != from)
		return false;
	if (w.word)
		return lshmi_cas16(w.word, from, to);
	return lshmi_cas(pm(r, w.head), w.entry, with_holder(w.entry, to));
}

/* Does a lane of this participant hold it? */
static bool ours(struct lshm_region *r, uint16_t holder)
{
	uint32_t lane = (uint32_t)holder - LSHMI_HOLDER_LANE;

	return holder >= LSHMI_HOLDER_LANE && lane < r->max_lanes &&
	       (lshmi_load_relaxed(&r->lanes[lane].word) & 0xffff) ==
		   r->slot + 1;
}

/* -- the calls ------------------------------------------------------------ */

static uint32_t class_of(uint64_t size)
{
	uint64_t n = size - 1;
	uint32_t msb;

	if (size <= 128)
		return size ? (uint32_t)(n / 16) : 0;
	msb = 63 - (uint32_t)__builtin_clzll(n);
	return 8 + (msb - 7) * 4 + ((n >> (msb - 2)) & 3);
}

void *lshm_alloc(struct lshm_region *region, size_t size)
{
	struct lshmi_lane *lane = lshmi_lane(region);
	struct lshmi_class *cl;
	uint32_t class, i;
	uint64_t page, pages;

	if (!lane)
		return NULL;
	if (__builtin_expect(size > CLASS_MAX, 0)) {
		pages = (size >> LSHMI_PAGE_SHIFT) +
			((size & (LSHMI_PAGE - 1)) != 0);
		if (pages > UINT32_MAX) {
			lshmi_fail(ENOMEM, "no block can have %zu bytes", size);
			return NULL;
		}
		page = lshmi_pages_take(lane, pages, 0, 1, LSHMI_PM_RUN, 0);
		return page ? region->base + (page << LSHMI_PAGE_SHIFT) : NULL;
	}
	class = class_of(size);
	cl = &lane->classes[class];
	if (__builtin_expect(cl->mask == 0, 0) &&
	    !lshmi_slab_refill(lane, class))
		return NULL;
	i = (uint32_t)__builtin_ctz(cl->mask);
	cl->mask &= cl->mask - 1;
	/* [W] ours from here on; a death gives it back */
	lshmi_store_relaxed(&cl->words[i], lane->mark);
	return cl->blocks + (uint64_t)i * cl->size;
}

void *lshm_alloc_aligned(
    struct lshm_region *region, size_t alignment, size_t size)
{
	struct lshmi_lane *lane;
	uint64_t page, pages, align;
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
	if (alignment <= LSHMI_PAGE)
		return lshm_alloc(
		    region, size > CLASS_MAX ? size : CLASS_MAX + 1);
	lane = lshmi_lane(region);
	if (!lane)
		return NULL;
	pages = (size >> LSHMI_PAGE_SHIFT) + ((size & (LSHMI_PAGE - 1)) != 0);
	align = alignment >> LSHMI_PAGE_SHIFT;
	if (pages == 0)
		pages = 1;
	if (pages > UINT32_MAX) {
		lshmi_fail(ENOMEM, "no block can have %zu bytes", size);
		return NULL;
	}
	page = lshmi_pages_take(lane, pages, 0, align, LSHMI_PM_RUN, 0);
	return page ? region->base + (page << LSHMI_PAGE_SHIFT) : NULL;
}

char *lshm_strdup(struct lshm_region *region, const char *string)
{
	size_t n = strlen(string) + 1;
	char *copy = lshm_alloc(region, n);

	if (copy)
		memcpy(copy, string, n);
	return copy;
}

static int no_block(const char *why)
{
	return lshmi_fail(EINVAL, "%s", why);
}

int lshm_free(struct lshm_region *region, void *block)
{
	struct lshmi_lane *lane;
	struct lshmi_where w;
	uint16_t holder;

	if (!block)
		return 0;
	lane = lshmi_lane(region);
	if (!lane)
		return region->serial ? (region->observer ? -EROFS : -EUSERS)
				      : -ECHILD;
	if (!locate(region, (uint64_t)((char *)block - region->base), &w))
		return no_block("this is no block of the region's heap");
	holder = holder_of(&w);
	if (holder == LSHMI_HOLDER_NONE)
		return no_block("this block is free already");
	if (holder != lane->mark && holder != LSHMI_HOLDER_ATTACHED &&
	    !ours(region, holder))
		return lshmi_fail(EPERM,
		    "this block is a draft of another process: only its holder "
		    "may free it");
	set_holder(region, &w, LSHMI_HOLDER_NONE);
	if (w.word && entry_holder(w.entry) == lane->mark)
		lshmi_slab_freed(lane, &w);
	return 0;
}

size_t lshm_usable_size(struct lshm_region *region, const void *block)
{
	uint64_t off = (uint64_t)((const char *)block - region->base);
	struct lshmi_where w;

	if (!block || region->serial == 0 || !locate(region, off, &w) ||
	    holder_of(&w) == LSHMI_HOLDER_NONE)
		return 0;
	return w.size - (off - w.start);
}

/* Become the holder of a block that is in use: see [W] and [S]. */
static bool hold(struct lshm_region *r, struct lshmi_lane *lane, uint64_t off)
{
	struct lshmi_where w;
	uint16_t holder;

	for (int i = 0; i < 8; i++) {
		if (!locate(r, off, &w))
			return false;
		holder = holder_of(&w);
		if (holder == LSHMI_HOLDER_NONE)
			return false;
		if (w.word && entry_holder(w.entry) != lane->mark &&
		    !lshmi_load_relaxed(&lane->rec->foreign))
			lshmi_store_release(&lane->rec->foreign, 1);
		if (holder == lane->mark)
			return true;
		if (holder == LSHMI_HOLDER_ATTACHED || ours(r, holder)) {
			set_holder(r, &w, lane->mark);
			return true;
		}
		/* Marked with a dead lane whose reaper is still under way? */
		if (!lshmi_lane_gone(r, holder - LSHMI_HOLDER_LANE))
			continue; /* its lane is used anew: look again */
		if (lshmi_holder_cas(r, off, holder, lane->mark))
			return true;
	}
	return false;
}

/* A block that is held by this lane is referred to by shared data from now. */
static void attach(struct lshm_region *r, uint64_t off)
{
	struct lshmi_where w;

	if (off && locate(r, off, &w))
		set_holder(r, &w, LSHMI_HOLDER_ATTACHED);
}

int lshmi_change(struct lshm_region *r, struct lshmi_lane *lane,
    uint64_t *field, const struct lshmi_change *c)
{
	struct lshmi_lane_rec *rec = lane->rec;
	uint64_t n = (lshmi_load_relaxed(&rec->intent) >> 2) + 1;
	uint64_t lost = 0;

	lshmi_store_relaxed(&rec->intent_field, (char *)field - r->base);
	lshmi_store_relaxed(&rec->intent_value, c->value);
	lshmi_store_relaxed(&rec->intent_take, c->take);
	lshmi_store_relaxed(&rec->intent_give, c->give);
	lshmi_store_relaxed(&rec->intent_take_too, c->take_too);
	lshmi_store_relaxed(&rec->intent_give_too, c->give_too);
	lshmi_store_release(&rec->intent, n << 2 | LSHMI_INTENT_PENDING);
	if (c->give && !hold(r, lane, c->give))
		lost = c->give;
	else if (c->give_too && !hold(r, lane, c->give_too))
		lost = c->give_too;
	if (!lost) {
		lshmi_store_release(field, c->value);
		attach(r, c->take);
		attach(r, c->take_too);
	} else if (lost != c->give) {
		attach(r, c->give);
	}
	lshmi_store_release(&rec->intent, n << 2 | LSHMI_INTENT_IDLE);
	if (lost)
		return lshmi_fail(LSHM_ECORRUPT,
		    "%#llx is referred to, but is no block in use",
		    (unsigned long long)lost);
	return 0;
}

int lshmi_replace(struct lshm_region *r, struct lshmi_lane *lane,
    uint64_t *field, uint64_t block, uint64_t *old)
{
	uint64_t was = lshmi_load_acquire(field);
	int ret = lshmi_change(r, lane, field,
	    &(struct lshmi_change){.value = block, .take = block, .give = was});

	if (ret == 0 && old)
		*old = was;
	return ret;
}

int lshm_replace(struct lshm_region *region, struct lshm_mutex *mutex,
    lshm_off *field, void *block, void **old)
{
	uint64_t field_off = (uint64_t)((char *)field - region->base);
	uint64_t off = block ? (uint64_t)((char *)block - region->base) : 0;
	uint64_t was;
	struct lshmi_lane *lane;
	struct lshmi_where w;
	int ret = lshmi_enter(region);

	if (ret < 0)
		return ret;
	lane = lshmi_lane(region);
	if (!lane)
		return -EUSERS;
	if (field_off % 8 != 0 || !lshmi_at(region, field_off, 8))
		return no_block("the field does not lie in this region");
	if (!lshmi_at(region, (uint64_t)((char *)mutex - region->base), 8))
		return no_block("the mutex does not lie in this region");
	if (!lshmi_holds(lane, mutex))
		return lshmi_fail(EPERM,
		    "the caller must hold the lock that protects the field");
	if (!old && lshmi_load_relaxed(field) != 0)
		return lshmi_fail(EBUSY,
		    "the field refers to a block already: use lshm_replace()");
	if (block) {
		uint16_t holder;

		if (!locate(region, off, &w))
			return no_block(
			    "this is no block of the region's heap");
		holder = holder_of(&w);
		if (holder != lane->mark && !ours(region, holder))
			return lshmi_fail(EPERM,
			    "only a draft of the caller's can be attached");
		if (!hold(region, lane, off))
			return no_block("this block is free");
	}
	ret = lshmi_replace(region, lane, field, off, &was);
	if (ret == 0 && old)
		*old = was ? region->base + was : NULL;
	return ret;
}

/* -- sweeping and looking ------------------------------------------------- */

/* Free the words of a slab that dead lanes hold. */
static void sweep_words(struct lshm_region *r, uint64_t head, uint64_t entry,
    const struct lshmi_cut *c, const bool *dead)
{
	uint16_t *words = (uint16_t *)(r->base + (head << LSHMI_PAGE_SHIFT));

	for (uint32_t i = 0; i < c->count; i++) {
		uint16_t w = lshmi_load_seq(&words[i]);

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
		struct lshmi_cut odd;

		if (entry_kind(e) == LSHMI_PM_RUN && orphan)
			lshmi_cas(pm(r, p), e,
			    make_entry(LSHMI_PM_FREE, 0, 0, entry_pages(e),
				entry_gen(e)));
		if (entry_kind(e) != LSHMI_PM_SLAB || !(orphan || foreign) ||
		    entry_pages(e) > total - p || !(c = cut_of(e, &odd)))
			continue;
		sweep_words(r, p, e, c, dead);
		if (!orphan)
			continue;
		if (lshmi_slab_empty(r, p, c)) {
			lshmi_cas(pm(r, p), e,
			    make_entry(LSHMI_PM_FREE, 0, 0, entry_pages(e),
				entry_gen(e)));
		} else {
			lshmi_cas(pm(r, p), e,
			    with_holder(e, LSHMI_HOLDER_ATTACHED));
		}
	}
	/* In any case: a reaper before us may have died before it told. */
	lshmi_fetch_add(&r->header->orphans, 1);
}

static void count_block(
    struct lshm_heap_info *info, uint16_t holder, uint64_t size)
{
	if (holder == LSHMI_HOLDER_ATTACHED) {
		info->attached_blocks++;
		info->attached_bytes += size;
	} else if (holder != LSHMI_HOLDER_NONE) {
		info->draft_blocks++;
		info->draft_bytes += size;
	}
}

static bool look_at_heap(
    struct lshm_region *region, struct lshm_heap_info *info)
{
	uint64_t total, bytes, in_a_row = 0, e;
	const struct lshmi_cut *c;
	struct lshmi_cut odd;

	memset(info, 0, sizeof(*info));
	total = lshmi_page_count(region);
	info->total_bytes = (total - first_page(region)) << LSHMI_PAGE_SHIFT;
	info->max_bytes = region->max_size - region->heap_off;
	for (uint64_t p = first_page(region); p < total; p += entry_pages(e)) {
		e = lshmi_load_acquire(pm(region, p));
		if (entry_pages(e) == 0 || entry_pages(e) > total - p)
			return false;
		bytes = entry_pages(e) << LSHMI_PAGE_SHIFT;
		if (entry_kind(e) != LSHMI_PM_FREE)
			in_a_row = 0;
		switch (entry_kind(e)) {
		case LSHMI_PM_FREE:
			info->free_bytes += bytes;
			in_a_row += bytes;
			if (in_a_row > info->largest_free_bytes)
				info->largest_free_bytes = in_a_row;
			break;
		case LSHMI_PM_RUN:
			info->run_bytes += bytes;
			count_block(info, entry_holder(e), bytes);
			break;
		case LSHMI_PM_SLAB: {
			uint16_t *words = (uint16_t *)(region->base +
						       (p << LSHMI_PAGE_SHIFT));

			if (!(c = cut_of(e, &odd)))
				return false;
			info->slab_bytes += bytes;
			info->slabs++;
			info->orphan_slabs +=
			    entry_holder(e) == LSHMI_HOLDER_ATTACHED;
			for (uint32_t i = 0; i < c->count; i++)
				count_block(info, lshmi_load_relaxed(&words[i]),
				    c->size);
			break;
		}
		default:
			return false;
		}
	}
	return true;
}

int lshm_heap_stat(struct lshm_region *region, struct lshm_heap_info *info)
{
	if (region->serial == 0)
		return lshmi_fail_fork();
	/* Runs that are cut or merged meanwhile make it look damaged. */
	for (int i = 0; i < 100; i++)
		if (look_at_heap(region, info))
			return 0;
	return lshmi_fail(LSHM_ECORRUPT, "the heap's page map is damaged");
}
