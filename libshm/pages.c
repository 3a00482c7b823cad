/* SPDX-License-Identifier: MIT */
/*
 * pages.c - runs of pages: [R] in heap.c
 */
#include "pages.h"

uint64_t lshmi_page_count(struct lshm_region *r)
{
	uint64_t size = lshmi_load_acquire(&r->header->size);

	if (size > lshmi_load_relaxed(&r->size))
		lshmi_refresh(r);
	return lshmi_load_relaxed(&r->size) >> LSHMI_PAGE_SHIFT;
}

static void store_free(
    struct lshm_region *r, uint64_t p, uint64_t pages, uint32_t gen)
{
	lshmi_store_release(
	    pm(r, p), make_entry(LSHMI_PM_FREE, 0, 0, pages, gen));
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
			if (n == 0 || n > total - p)
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
				store_free(r, p, n, entry_gen(e));
			}
			if ((p + align - 1) / align * align + pages <= p + n) {
				*length = n;
				return (int64_t)p;
			}
		}
	}
	return 0;
}

/* What is taken: @pages at a multiple of @align, as a run or a slab. */
struct taking {
	uint64_t pages;
	uint64_t align;
	uint32_t kind;
	uint32_t shape;
};

/*
 * Take it from the free run at @p. [R] From the back to the front: the last
 * store makes it visible.
 */
static uint64_t cut_run(struct lshm_region *r, uint64_t p, uint64_t length,
    const struct taking *t, uint16_t holder)
{
	uint64_t at = (p + t->align - 1) / t->align * t->align;
	uint64_t left = p + length - at - t->pages;
	uint64_t *words = (uint64_t *)(r->base + (at << LSHMI_PAGE_SHIFT));
	bool slab = t->kind == LSHMI_PM_SLAB;

	if (left)
		store_free(r, at + t->pages, left,
		    entry_gen(lshmi_load_relaxed(pm(r, at + t->pages))) + 1);
	for (uint64_t i = t->pages - 1; i > 0; i--)
		lshmi_store_relaxed(pm(r, at + i),
		    make_entry(slab ? LSHMI_PM_SLAB : LSHMI_PM_BODY, t->shape,
			0, slab ? i : 0, 0));
	for (uint32_t i = 0; slab && i < lshmi_cuts[t->shape].first / 8; i++)
		lshmi_store_relaxed(&words[i], 0); /* its blocks are free */
	lshmi_store_release(pm(r, at),
	    make_entry(t->kind, t->shape, holder, slab ? 0 : t->pages,
		entry_gen(lshmi_load_relaxed(pm(r, at))) + 1));
	if (at != p)
		store_free(
		    r, p, at - p, entry_gen(lshmi_load_relaxed(pm(r, p))));
	lshmi_store_relaxed(&r->header->heap_rover, left ? at + t->pages : at);
	return at;
}

void lshmi_heap_grown(struct lshm_region *r, uint64_t from, uint64_t to)
{
	store_free(
	    r, from >> LSHMI_PAGE_SHIFT, (to - from) >> LSHMI_PAGE_SHIFT, 0);
}

void lshmi_heap_format(struct lshm_region *r)
{
	lshmi_heap_grown(r, r->heap_off, r->size);
	r->header->heap_rover = first_page(r);
}

/* Take it from anywhere, growing the region if need be: the first page, or 0.
 * A slab may become smaller. */
static uint64_t try_pages(struct lshmi_lane *lane, struct taking t)
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
	/* A free run may end in what others have grown the region by. */
	if (lshmi_refresh(r) < 0) {
		lshmi_unlock(r, &r->header->heap_lock);
		return 0;
	}
	p = find_run(r, t.pages, t.align, &length);
	if (p == 0 && lshmi_slabs_trim(lane))
		p = find_run(r, t.pages, t.align, &length);
	if (p == 0) {
		size = lshmi_load_acquire(&r->header->size);
		want = (t.pages + t.align - 1) << LSHMI_PAGE_SHIFT;
		if (want < size / 4)
			want = size / 4;
		if (want > r->max_size - size)
			want = r->max_size - size;
		grown = want == 0 || lshmi_grow(r, size + want) == 0;
		if (grown)
			p = find_run(r, t.pages, t.align, &length);
	}
	while (p == 0 && t.kind == LSHMI_PM_SLAB && t.pages > 1 &&
	       lshmi_cuts[t.shape - 1].count) {
		t.pages /= 2;
		t.shape--;
		p = find_run(r, t.pages, t.align, &length);
	}
	if (p > 0)
		at = cut_run(r, (uint64_t)p, length, &t, lane->mark);
	lshmi_unlock(r, &r->header->heap_lock);
	if (p == 0 && grown) /* else lshm_error() says why it could not grow */
		lshmi_fail(ENOMEM,
		    "the region's heap is full: no %llu free bytes in a row "
		    "and max_size is %llu",
		    (unsigned long long)(t.pages << LSHMI_PAGE_SHIFT),
		    (unsigned long long)r->max_size);
	return at;
}

static uint64_t take(struct lshmi_lane *lane, const struct taking *t)
{
	uint64_t at = try_pages(lane, *t);

	if (at == 0 && lshm_region_reap(lane->region) > 0)
		at = try_pages(lane, *t);
	return at;
}

uint64_t lshmi_run_take(struct lshmi_lane *lane, uint64_t pages, uint64_t align)
{
	return take(
	    lane, &(struct taking){
		      .pages = pages, .align = align, .kind = LSHMI_PM_RUN});
}

uint64_t lshmi_slab_take(struct lshmi_lane *lane, uint32_t shape)
{
	return take(lane, &(struct taking){.pages = shape_pages(shape),
			      .align = 1,
			      .kind = LSHMI_PM_SLAB,
			      .shape = shape});
}
