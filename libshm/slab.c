/* SPDX-License-Identifier: MIT */
/*
 * slab.c - blocks of one size, and the lane that owns them: [W], [O] in heap.c
 */
#include <stdlib.h>

#include "pages.h"

#define LOOK_SLABS 8 /* own slabs looked at before taking a new one */

struct lshmi_cut lshmi_cuts[LSHMI_CLASSES];

static uint32_t class_size(uint32_t class)
{
	if (class < 8)
		return (class + 1) * 16;
	return (5 + class % 4) << (class / 4 + 3);
}

void lshmi_slab_cut(struct lshmi_cut *c, uint32_t class, uint64_t pages)
{
	uint64_t bytes = pages << LSHMI_PAGE_SHIFT;
	uint64_t n;

	c->size = class_size(class);
	c->pages = (uint32_t)pages;
	n = bytes / (c->size + 2);
	while (((n * 2 + 63) & ~UINT64_C(63)) + n * c->size > bytes)
		n--;
	c->count = (uint32_t)n;
	c->first = (uint32_t)((n * 2 + 63) & ~UINT64_C(63));
	/* Exact for all offsets below 2^20, the largest slab. */
	c->reciprocal = (UINT64_C(1) << RECIPROCAL_SHIFT) / c->size + 1;
}

static void make_cuts(void)
{
	for (uint32_t i = 0; i < LSHMI_CLASSES; i++) {
		uint32_t size = class_size(i);

		lshmi_slab_cut(&lshmi_cuts[i], i,
		    size <= 1024    ? 1
		    : size <= 8192  ? 4
		    : size <= 32768 ? 8
				    : 16);
	}
}

void lshmi_heap_setup(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, make_cuts);
}

bool lshmi_slab_empty(
    struct lshm_region *r, uint64_t head, const struct lshmi_cut *c)
{
	uint16_t *words = (uint16_t *)(r->base + (head << LSHMI_PAGE_SHIFT));

	for (uint32_t i = 0; i < c->count; i++)
		if (lshmi_load_acquire(&words[i]) != 0)
			return false;
	return true;
}

uint32_t lshmi_slabs_trim(struct lshmi_lane *lane)
{
	struct lshm_region *r = lane->region;
	uint32_t given = 0;

	for (uint32_t i = 0; i < LSHMI_CLASSES; i++) {
		struct lshmi_class *cl = &lane->classes[i];
		uint32_t kept = 0;

		for (uint32_t k = 0; k < cl->count; k++) {
			uint32_t head = cl->slabs[k];
			uint64_t e = lshmi_load_relaxed(pm(r, head));
			const struct lshmi_cut *c;
			struct lshmi_cut odd;

			if (!(c = cut_of(e, &odd)) ||
			    !lshmi_slab_empty(r, head, c)) {
				cl->slabs[kept++] = head;
				continue;
			}
			if (cl->current == head) {
				cl->current = 0;
				cl->mask = 0;
				cl->left = 0;
			}
			lshmi_store_release(
			    pm(r, head), make_entry(LSHMI_PM_FREE, 0, 0,
					     entry_pages(e), entry_gen(e)));
			given++;
		}
		cl->count = kept;
	}
	return given;
}

static bool group_empty(const uint16_t *words, uint32_t group)
{
	const uint64_t *quad = (const uint64_t *)&words[group * 32];

	for (uint32_t i = 0; i < 8; i++)
		if (lshmi_load_acquire(&quad[i]) != 0)
			return false;
	return true;
}

void lshmi_slab_freed(struct lshmi_lane *lane, const struct lshmi_where *w)
{
	struct lshm_region *r = lane->region;
	struct lshmi_class *cl = &lane->classes[entry_class(w->entry)];
	uint16_t *words = (uint16_t *)(r->base + (w->head << LSHMI_PAGE_SHIFT));
	uint32_t group = (uint32_t)(w->word - words) / 32, groups, k = 0;
	const struct lshmi_cut *c;
	struct lshmi_cut odd;

	if (cl->current == w->head || !(c = cut_of(w->entry, &odd)))
		return;
	groups = (c->count + 31) / 32;
	if (!group_empty(words, group) ||
	    !group_empty(words, (group + 1) % groups) ||
	    !group_empty(words, (group + groups - 1) % groups) ||
	    !lshmi_slab_empty(r, w->head, c))
		return;
	while (k < cl->count && cl->slabs[k] != w->head)
		k++;
	if (k == cl->count)
		return;
	cl->slabs[k] = cl->slabs[--cl->count];
	lshmi_store_release(
	    pm(r, w->head), make_entry(LSHMI_PM_FREE, 0, 0,
				entry_pages(w->entry), entry_gen(w->entry)));
}

static bool remember_slab(struct lshmi_class *cl, uint64_t head)
{
	if (cl->count == cl->room) {
		uint32_t room = cl->room ? cl->room * 2 : 8;
		uint32_t *more = realloc(cl->slabs, room * sizeof(*more));

		if (!more) {
			lshmi_fail(ENOMEM, "this process is out of memory");
			return false;
		}
		cl->slabs = more;
		cl->room = room;
	}
	cl->slabs[cl->count++] = (uint32_t)head;
	return true;
}

/* Make a slab the one to allocate from. */
static bool use_slab(
    struct lshmi_lane *lane, struct lshmi_class *cl, uint64_t head)
{
	const struct lshmi_cut *c;
	struct lshmi_cut odd;

	if (!(c = cut_of(lshmi_load_relaxed(pm(lane->region, head)), &odd)))
		return false;
	cl->current = (uint32_t)head;
	cl->next = 0;
	cl->left = (c->count + 31) / 32;
	return true;
}

/* Pick up the free words among the next groups of the current slab. */
static bool pick_up(struct lshmi_lane *lane, struct lshmi_class *cl)
{
	struct lshm_region *r = lane->region;
	uint64_t *quad;
	uint16_t *words;
	const struct lshmi_cut *c;
	struct lshmi_cut odd;

	if (!cl->current ||
	    !(c = cut_of(lshmi_load_relaxed(pm(r, cl->current)), &odd)) ||
	    c->size != cl->size || c->pages > lshmi_page_count(r) - cl->current)
		return false;
	words =
	    (uint16_t *)(r->base + ((uint64_t)cl->current << LSHMI_PAGE_SHIFT));
	while (cl->left) {
		uint32_t base = cl->next * 32, mask = 0;

		cl->left--;
		cl->next++;
		quad = (uint64_t *)&words[base];
		for (uint32_t i = 0; i < 8; i++) {
			uint64_t v = lshmi_load_acquire(&quad[i]);

			for (uint32_t k = 0; k < 4; k++)
				if (((v >> k * 16) & 0xffff) == 0)
					mask |= 1u << (i * 4 + k);
		}
		if (c->count - base < 32)
			mask &= (1u << (c->count - base)) - 1;
		if (mask) {
			cl->mask = mask;
			cl->words = &words[base];
			cl->blocks =
			    (char *)words + c->first + (uint64_t)base * c->size;
			return true;
		}
	}
	return false;
}

/* Take over a slab that has lost its owner: its page, or 0. */
static uint64_t adopt(struct lshmi_lane *lane, uint32_t class)
{
	struct lshm_region *r = lane->region;
	struct lshmi_class *cl = &lane->classes[class];
	uint64_t orphans = lshmi_load_acquire(&r->header->orphans);
	uint64_t total = lshmi_page_count(r);

	if (orphans == cl->orphans_seen)
		return 0;
	for (uint64_t p = first_page(r); p < total; p++) {
		uint64_t e = lshmi_load_acquire(pm(r, p));

		if (entry_kind(e) == LSHMI_PM_SLAB && entry_class(e) == class &&
		    entry_holder(e) == LSHMI_HOLDER_ATTACHED &&
		    lshmi_cas(pm(r, p), e, with_holder(e, lane->mark)))
			return p;
	}
	cl->orphans_seen = orphans;
	return 0;
}

bool lshmi_slab_refill(struct lshmi_lane *lane, uint32_t class)
{
	struct lshmi_class *cl = &lane->classes[class];
	struct lshmi_cut one;
	uint32_t look;
	uint64_t head, least;

	if (pick_up(lane, cl))
		return true;
	/* Once more from its beginning, then others of this lane. */
	if (cl->current && use_slab(lane, cl, cl->current) && pick_up(lane, cl))
		return true;
	look = cl->count < LOOK_SLABS ? cl->count : LOOK_SLABS;
	for (int round = 0; round < 2; round++) {
		for (uint32_t i = 0; i < look && cl->count; i++) {
			cl->turn = (cl->turn + 1) % cl->count;
			if (use_slab(lane, cl, cl->slabs[cl->turn]) &&
			    pick_up(lane, cl))
				return true;
		}
		if (round == 1)
			break;
		while ((head = adopt(lane, class))) {
			if (!remember_slab(cl, head))
				return false;
			if (use_slab(lane, cl, head) && pick_up(lane, cl))
				return true;
		}
		for (least = 1;; least++) {
			lshmi_slab_cut(&one, class, least);
			if (one.count)
				break;
		}
		head = lshmi_pages_take(lane, lshmi_cuts[class].pages, least, 1,
		    LSHMI_PM_SLAB, class);
		if (head)
			return remember_slab(cl, head) &&
			       use_slab(lane, cl, head) && pick_up(lane, cl);
		/* Out of memory: what a death has just left, all of ours. */
		head = adopt(lane, class);
		if (head && !remember_slab(cl, head))
			return false;
		look = cl->count;
	}
	return false;
}

void lshmi_heap_lane_init(struct lshmi_lane *lane)
{
	for (uint32_t i = 0; i < LSHMI_CLASSES; i++)
		lane->classes[i].size = lshmi_cuts[i].size;
}

void lshmi_heap_lane_fini(struct lshmi_lane *lane)
{
	for (uint32_t i = 0; i < LSHMI_CLASSES; i++)
		free(lane->classes[i].slabs);
}
