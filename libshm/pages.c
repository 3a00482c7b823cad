/* SPDX-License-Identifier: MIT */
/*
 * pages.c - runs of pages: [R] in heap.c
 */
#include "pages.h"

uint64_t lshmi_page_count(struct lshm_region *r)
{
	uint64_t size = lshmi_load_acquire(&r->header->size);

	if (size > lshmi_load_relaxed(&r->size))
		lshmi_refresh(r, 0);
	return lshmi_load_relaxed(&r->size) >> LSHMI_PAGE_SHIFT;
}

/*
 * Find @pages free pages at a multiple of @align, merging free runs on the way.
 * Return: the first page of the run they lie in, its length in *length; 0 none;
 * negative: the page map is damaged.
 */
static int64_t find_run(
    struct lshm_region *r, uint64_t pages, uint64_t align, uint64_t *length)
{
	uint64_t total = lshmi_page_count(r), begin = first_page(r);
	uint64_t rover = lshmi_load_relaxed(&r->header->heap_rover);
	uint64_t p, end, n, e, next;

	if (rover < begin || rover >= total)
		rover = begin;
	for (int pass = 0; pass < 2; pass++) {
		p = pass == 0 ? rover : begin;
		end = pass == 0 ? total : rover;
		for (; p < end; p += n) {
			e = lshmi_load_acquire(pm(r, p));
			n = entry_pages(e);
			if (entry_kind(e) < LSHMI_PM_FREE ||
			    entry_kind(e) > LSHMI_PM_SLAB || n == 0 ||
			    n > total - p)
				return lshmi_fail(LSHM_ECORRUPT,
				    "the heap's page map is damaged at page "
				    "%llu",
				    (unsigned long long)p);
			if (entry_kind(e) != LSHMI_PM_FREE)
				continue;
			while (p + n < total) {
				next = lshmi_load_acquire(pm(r, p + n));
				if (entry_kind(next) != LSHMI_PM_FREE ||
				    entry_pages(next) == 0 ||
				    entry_pages(next) > total - p - n)
					break;
				n += entry_pages(next);
			}
			if (n != entry_pages(e)) {
				if (rover > p && rover < p + n)
					lshmi_store_relaxed(
					    &r->header->heap_rover, p);
				lshmi_store_release(
				    pm(r, p), make_entry(LSHMI_PM_FREE, 0, 0, n,
						  entry_gen(e)));
			}
			if ((p + align - 1) / align * align + pages <= p + n) {
				*length = n;
				return (int64_t)p;
			}
		}
	}
	return 0;
}

static void zero_words(
    struct lshm_region *r, uint64_t head, uint32_t class, uint64_t pages)
{
	uint64_t *words = (uint64_t *)(r->base + (head << LSHMI_PAGE_SHIFT));
	struct lshmi_cut c;

	lshmi_slab_cut(&c, class, pages);
	for (uint32_t i = 0; i < c.first / 8; i++)
		lshmi_store_relaxed(&words[i], 0);
}

/* Cut @pages pages at a multiple of @align out of the free run at @p. */
static uint64_t cut_run(struct lshm_region *r, uint64_t p, uint64_t length,
    uint64_t pages, uint64_t align, uint32_t kind, uint32_t class,
    uint16_t holder)
{
	uint64_t at = (p + align - 1) / align * align;
	uint64_t left = p + length - at - pages;
	uint32_t gen;

	/* [R] from the back to the front; the last store makes it visible */
	if (left)
		lshmi_store_relaxed(pm(r, at + pages),
		    make_entry(LSHMI_PM_FREE, 0, 0, left,
			entry_gen(lshmi_load_relaxed(pm(r, at + pages))) + 1));
	for (uint64_t i = pages - 1; i > 0; i--)
		lshmi_store_relaxed(pm(r, at + i),
		    kind == LSHMI_PM_SLAB
			? make_entry(LSHMI_PM_SLAB_BODY, class, 0, i, 0)
			: make_entry(LSHMI_PM_BODY, 0, 0, 0, 0));
	if (kind == LSHMI_PM_SLAB) /* all its blocks are free */
		zero_words(r, at, class, pages);
	gen = entry_gen(lshmi_load_relaxed(pm(r, at))) + 1;
	lshmi_store_release(
	    pm(r, at), make_entry(kind, class, holder, pages, gen));
	if (at != p)
		lshmi_store_release(
		    pm(r, p), make_entry(LSHMI_PM_FREE, 0, 0, at - p,
				  entry_gen(lshmi_load_relaxed(pm(r, p)))));
	lshmi_store_relaxed(&r->header->heap_rover, left ? at + pages : at);
	return at;
}

void lshmi_heap_grown(struct lshm_region *r, uint64_t from, uint64_t to)
{
	lshmi_store_release(pm(r, from >> LSHMI_PAGE_SHIFT),
	    make_entry(
		LSHMI_PM_FREE, 0, 0, (to - from) >> LSHMI_PAGE_SHIFT, 0));
}

void lshmi_heap_format(struct lshm_region *r)
{
	lshmi_heap_grown(r, r->heap_off, r->size);
	r->header->heap_rover = first_page(r);
}

/* Get pages, growing the region if need be: the first one's number, or 0. */
static uint64_t try_pages(struct lshmi_lane *lane, uint64_t pages,
    uint64_t least, uint64_t align, uint32_t kind, uint32_t class)
{
	struct lshm_region *r = lane->region;
	uint64_t length, at = 0, size, want;
	bool grown = true;
	int64_t p;
	int ret;

	ret = lshmi_lock_own(r, &r->header->heap_lock, "heap");
	if (ret < 0)
		return 0;
	if (ret == LSHM_OWNER_DIED) /* it may name no head any more */
		lshmi_store_relaxed(&r->header->heap_rover, first_page(r));
	p = find_run(r, pages, align, &length);
	if (p == 0 && lshmi_slabs_trim(lane))
		p = find_run(r, pages, align, &length);
	if (p == 0) {
		size = lshmi_load_acquire(&r->header->size);
		want = (pages + align - 1) << LSHMI_PAGE_SHIFT;
		if (want < size / 4)
			want = size / 4;
		if (want > r->max_size - size)
			want = r->max_size - size;
		grown = want == 0 || lshmi_grow(r, size + want) == 0;
		if (grown)
			p = find_run(r, pages, align, &length);
	}
	for (; p == 0 && pages / 2 >= least && least;) {
		pages /= 2;
		p = find_run(r, pages, align, &length);
	}
	if (p > 0)
		at = cut_run(r, (uint64_t)p, length, pages, align, kind, class,
		    lane->mark);
	lshmi_unlock(r, &r->header->heap_lock);
	if (p == 0 && grown) /* else lshm_error() says why it could not grow */
		lshmi_fail(ENOMEM,
		    "the region's heap is full: no %llu free bytes in a row "
		    "and max_size is %llu",
		    (unsigned long long)(pages << LSHMI_PAGE_SHIFT),
		    (unsigned long long)r->max_size);
	return at;
}

uint64_t lshmi_pages_take(struct lshmi_lane *lane, uint64_t pages,
    uint64_t least, uint64_t align, uint32_t kind, uint32_t class)
{
	uint64_t at = try_pages(lane, pages, least, align, kind, class);

	if (at == 0 && lshm_region_reap(lane->region) > 0)
		at = try_pages(lane, pages, least, align, kind, class);
	return at;
}
