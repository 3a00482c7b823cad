/* SPDX-License-Identifier: MIT */
/*
 * heap_check.c - a look at the whole heap: its figures, and whether it is sound
 *
 * What is looked for holds at each instant, whatever others are doing, and
 * after a death at any instruction: see [R], [O] and [W] in heap.c. But a look
 * takes time, and what it puts together from different instants may look like
 * a fault: a run that was merged while we stood at its head, a lane given up
 * after we saw its mark. Nobody leaves the heap like that. So a fault is
 * believed when the same word, with the same value, is met again and again.
 */
#include <string.h>

#include "pages.h"

#define BELIEVE 16   /* looks in a row that meet the same fault */
#define LOOKS	1000 /* at most */

struct look {
	struct lshm_region *r;
	struct lshm_heap_info *info;
	uint64_t total; /* pages */
	/* the fault, if there is one: what is wrong, where, what was seen */
	const char *why;
	uint64_t offset;
	uint64_t seen;
};

static bool fault(
    struct look *l, const char *why, const void *word, uint64_t seen)
{
	l->why = why;
	l->offset = (uint64_t)((const char *)word - l->r->base);
	l->seen = seen;
	return false;
}

static bool page_fault(struct look *l, const char *why, uint64_t p, uint64_t e)
{
	return fault(l, why, pm(l->r, p), e);
}

/* Does it say "attached", or name a lane that somebody has? */
static bool somebodys(const struct look *l, uint16_t holder)
{
	uint32_t lane = (uint32_t)holder - LSHMI_HOLDER_LANE;

	return holder == LSHMI_HOLDER_ATTACHED ||
	       (holder != LSHMI_HOLDER_NONE && lane < l->r->max_lanes &&
		   (lshmi_load_acquire(&l->r->lanes[lane].word) & 0xffff));
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

static bool look_at_run(struct look *l, uint64_t p, uint64_t e)
{
	uint64_t pages = entry_pages(e), body;

	if (!somebodys(l, entry_holder(e)))
		return page_fault(
		    l, "a large block is held by a lane that nobody has", p, e);
	for (uint64_t i = 1; i < pages; i++) {
		body = lshmi_load_acquire(pm(l->r, p + i));
		if (entry_kind(body) != LSHMI_PM_BODY)
			return page_fault(l,
			    "a page of a large block is marked otherwise",
			    p + i, body);
	}
	l->info->run_bytes += pages << LSHMI_PAGE_SHIFT;
	count_block(l->info, entry_holder(e), pages << LSHMI_PAGE_SHIFT);
	return true;
}

static bool look_at_slab(struct look *l, uint64_t p, uint64_t e)
{
	const struct lshmi_cut *c = cut_of(e);
	uint16_t *words = words_of(l->r, p), w;
	uint64_t pages = entry_pages(e), body;

	if (!c)
		return page_fault(l, "no slab can be cut like this", p, e);
	if (!somebodys(l, entry_holder(e)))
		return page_fault(
		    l, "a slab is owned by a lane that nobody has", p, e);
	for (uint64_t i = 1; i < pages; i++) {
		body = lshmi_load_acquire(pm(l->r, p + i));
		if (entry_kind(body) != LSHMI_PM_SLAB ||
		    entry_extent(body) != i ||
		    entry_shape(body) != entry_shape(e))
			return page_fault(l,
			    "a page of a slab is marked otherwise", p + i,
			    body);
	}
	for (uint32_t i = 0; i < c->first / 2; i++) {
		w = lshmi_load_acquire(&words[i]);
		if (w == LSHMI_HOLDER_NONE)
			continue;
		if (i >= c->count)
			return fault(l,
			    "a slab has a word for a block that it has not",
			    &words[i], w);
		if (!somebodys(l, w))
			return fault(l,
			    "a block is held by a lane that nobody has",
			    &words[i], w);
		count_block(l->info, w, c->size);
	}
	l->info->slab_bytes += pages << LSHMI_PAGE_SHIFT;
	l->info->slabs++;
	l->info->orphan_slabs += entry_holder(e) == LSHMI_HOLDER_ATTACHED;
	return true;
}

static bool look_at_pages(struct look *l)
{
	struct lshmi_header *h = l->r->header;
	uint64_t begin = first_page(l->r), in_a_row = 0, e, n;
	uint64_t rover = lshmi_load_acquire(&h->heap_rover);
	bool locked = lshmi_load_acquire(&h->heap_lock.word) != 0;
	bool met = locked || rover < begin || rover >= l->total;

	for (uint64_t p = begin; p < l->total; p += n) {
		e = lshmi_load_acquire(pm(l->r, p));
		n = entry_pages(e);
		met |= p == rover;
		if (n == 0)
			return page_fault(l, "no run begins here", p, e);
		if (n > l->total - p)
			return page_fault(
			    l, "a run reaches beyond the heap", p, e);
		if (entry_kind(e) != LSHMI_PM_FREE) {
			in_a_row = 0;
			if (entry_kind(e) == LSHMI_PM_RUN
				? !look_at_run(l, p, e)
				: !look_at_slab(l, p, e))
				return false;
			continue;
		}
		if (entry_holder(e) != LSHMI_HOLDER_NONE)
			return page_fault(l, "a free run has a holder", p, e);
		l->info->free_bytes += n << LSHMI_PAGE_SHIFT;
		in_a_row += n << LSHMI_PAGE_SHIFT;
		if (in_a_row > l->info->largest_free_bytes)
			l->info->largest_free_bytes = in_a_row;
	}
	return met || fault(l, "where pages are searched next no run begins",
			  &h->heap_rover, rover);
}

/* What the region's names refer to is there. */
static bool look_at_names(struct look *l)
{
	struct lshm_object_info object;
	uint64_t cursor = 0, version;
	struct lshmi_where w;

	while (lshmi_object_next(l->r, &cursor, &object, &version) == 0) {
		if (lshmi_locate(l->r, object.offset, &w) &&
		    holder_of(&w) != LSHMI_HOLDER_NONE)
			continue;
		/* It is the block that is wrong, or the name. */
		return fault(l, "an object's name refers to no block in use",
		    l->r->base + object.offset, 0);
	}
	return true;
}

static bool look(struct look *l)
{
	struct lshm_region *r = l->r;

	memset(l->info, 0, sizeof(*l->info));
	l->total = lshmi_page_count(r);
	l->info->total_bytes = (l->total - first_page(r)) << LSHMI_PAGE_SHIFT;
	l->info->max_bytes = r->max_size - r->heap_off;
	return look_at_pages(l) && look_at_names(l);
}

int lshm_heap_stat(struct lshm_region *region, struct lshm_heap_info *info)
{
	struct lshm_heap_info seen;
	struct look now = {.r = region, .info = &seen}, last = now;
	int met = 0, ret;

	if (region->serial == 0)
		return lshmi_fail_gone(region);
	for (int i = 0; i < LOOKS && met < BELIEVE; i++, last = now) {
		ret = lshmi_refresh(region);
		if (ret < 0)
			return ret; /* what cannot be seen is not damaged */
		if (look(&now)) {
			*info = seen;
			return 0;
		}
		met = now.why == last.why && now.offset == last.offset &&
			      now.seen == last.seen
			  ? met + 1
			  : 1;
	}
	if (met < BELIEVE)
		return lshmi_fail(EAGAIN,
		    "the heap was never the same for as long as it takes to "
		    "look at it: ask again");
	return lshmi_fail(LSHM_ECORRUPT,
	    "the heap is damaged at offset %#llx: %s (%#llx was found)",
	    (unsigned long long)now.offset, now.why,
	    (unsigned long long)now.seen);
}

int lshm_heap_check(struct lshm_region *region)
{
	struct lshm_heap_info info;

	return lshm_heap_stat(region, &info);
}
