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
 *     by the owner of the field that names the block (lshmi_replace), both by
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
#include <stdlib.h>
#include <string.h>

#include "internal.h"

#define CLASS_MAX  UINT64_C(131072)
#define LOOK_SLABS 8 /* own slabs looked at before taking a new one */
#define ALIGN_MAX  (UINT64_C(2) << 20)

/* -- page map entries ----------------------------------------------------- */

static uint64_t make_entry(uint32_t kind, uint32_t class, uint32_t holder,
    uint64_t pages, uint32_t gen)
{
	return pages | (uint64_t)holder << 32 | (uint64_t) class << 48 |
	       (uint64_t)kind << 55 | (uint64_t)(gen & 63) << 58;
}

static uint64_t entry_pages(uint64_t e)
{
	return e & 0xffffffff;
}

static uint16_t entry_holder(uint64_t e)
{
	return (uint16_t)(e >> 32);
}

static uint32_t entry_class(uint64_t e)
{
	return (e >> 48) & 127;
}

static uint32_t entry_kind(uint64_t e)
{
	return (e >> 55) & 7;
}

static uint32_t entry_gen(uint64_t e)
{
	return (uint32_t)(e >> 58);
}

#define HOLDER_BITS (UINT64_C(0xffff) << 32)

static uint64_t with_holder(uint64_t e, uint16_t holder)
{
	return (e & ~HOLDER_BITS) | (uint64_t)holder << 32;
}

static uint64_t *pm(struct lshm_region *r, uint64_t page)
{
	return &r->pagemap[page];
}

static uint64_t first_page(const struct lshm_region *r)
{
	return r->heap_off >> LSHMI_PAGE_SHIFT;
}

/* Pages that exist now, as far as this process can reach them. */
static uint64_t page_count(struct lshm_region *r)
{
	uint64_t size = lshmi_load_acquire(&r->header->size);

	if (size > lshmi_load_relaxed(&r->size))
		lshmi_refresh(r, 0);
	return lshmi_load_relaxed(&r->size) >> LSHMI_PAGE_SHIFT;
}

/* -- size classes --------------------------------------------------------- */

/* How a slab of a class is cut. */
struct cut {
	uint32_t size;	/* of a block */
	uint32_t pages; /* of a slab, where memory allows */
	uint32_t first; /* where the first block lies */
	uint32_t count; /* blocks */
	uint64_t reciprocal;
};

#define RECIPROCAL_SHIFT 44

static struct cut cuts[LSHMI_CLASSES];

static uint32_t class_of(uint64_t size)
{
	uint64_t n = size - 1;
	uint32_t msb;

	if (size <= 128)
		return size ? (uint32_t)(n / 16) : 0;
	msb = 63 - (uint32_t)__builtin_clzll(n);
	return 8 + (msb - 7) * 4 + ((n >> (msb - 2)) & 3);
}

static uint32_t class_size(uint32_t class)
{
	if (class < 8)
		return (class + 1) * 16;
	return (5 + class % 4) << (class / 4 + 3);
}

static void cut_slab(struct cut *c, uint32_t class, uint64_t pages)
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

		cut_slab(&cuts[i], i,
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

/* How the slab behind a head entry is cut; false: no such slab can be. */
static bool cut_of(struct cut *c, uint64_t entry)
{
	uint32_t class = entry_class(entry);
	uint64_t pages = entry_pages(entry);

	if (class >= LSHMI_CLASSES || pages == 0 || pages > cuts[class].pages)
		return false;
	if (pages == cuts[class].pages)
		*c = cuts[class];
	else
		cut_slab(c, class, pages);
	return c->count > 0;
}

/* -- finding a block ------------------------------------------------------ */

struct where {
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
static bool locate(struct lshm_region *r, uint64_t off, struct where *w)
{
	uint64_t page = off >> LSHMI_PAGE_SHIFT, e, rel, index, step;
	struct cut c;

	if (off < r->heap_off || page >= page_count(r))
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
	    entry_pages(e) > page_count(r) - w->head)
		return false;
	if (entry_kind(e) == LSHMI_PM_RUN) {
		w->word = NULL;
		w->start = w->head << LSHMI_PAGE_SHIFT;
		w->size = entry_pages(e) << LSHMI_PAGE_SHIFT;
		return off == w->start;
	}
	if (entry_kind(e) != LSHMI_PM_SLAB || !cut_of(&c, e))
		return false;
	rel = off - (w->head << LSHMI_PAGE_SHIFT);
	if (rel < c.first)
		return false;
	index = (rel - c.first) * c.reciprocal >> RECIPROCAL_SHIFT;
	if (index >= c.count)
		return false;
	w->word = (uint16_t *)(r->base + (w->head << LSHMI_PAGE_SHIFT)) + index;
	w->start = (w->head << LSHMI_PAGE_SHIFT) + c.first + index * c.size;
	w->size = c.size;
	step = off & -off;
	return off == w->start || ((w->start + step - 1) & ~(step - 1)) == off;
}

static uint16_t holder_of(struct lshm_region *r, const struct where *w)
{
	return w->word ? lshmi_load_relaxed(w->word) : entry_holder(w->entry);
}

/* By whom [W] allows to. */
static void set_holder(
    struct lshm_region *r, const struct where *w, uint16_t holder)
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
	struct where w;

	if (!locate(r, off, &w) || holder_of(r, &w) != from)
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

/* -- runs of pages: heap_lock is held ------------------------------------- */

/*
 * Find @pages free pages at a multiple of @align, merging free runs on the way.
 * Return: the first page of the run they lie in, its length in *length; 0 none;
 * negative: the page map is damaged.
 */
static int64_t find_run(
    struct lshm_region *r, uint64_t pages, uint64_t align, uint64_t *length)
{
	uint64_t total = page_count(r), begin = first_page(r);
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
	struct cut c;

	cut_slab(&c, class, pages);
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

/* -- slabs ---------------------------------------------------------------- */

static bool slab_empty(
    struct lshm_region *r, uint64_t head, const struct cut *c)
{
	uint16_t *words = (uint16_t *)(r->base + (head << LSHMI_PAGE_SHIFT));

	for (uint32_t i = 0; i < c->count; i++)
		if (lshmi_load_acquire(&words[i]) != 0)
			return false;
	return true;
}

/* Give back the slabs of this lane in which nothing is left: how many. */
static uint32_t trim(struct lshmi_lane *lane)
{
	struct lshm_region *r = lane->region;
	uint32_t given = 0;

	for (uint32_t i = 0; i < LSHMI_CLASSES; i++) {
		struct lshmi_class *cl = &lane->classes[i];
		uint32_t kept = 0;

		for (uint32_t k = 0; k < cl->count; k++) {
			uint32_t head = cl->slabs[k];
			uint64_t e = lshmi_load_relaxed(pm(r, head));
			struct cut c;

			if (!cut_of(&c, e) || !slab_empty(r, head, &c)) {
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

/*
 * A block of one of our slabs has been freed. If that was its last one, and we
 * are not allocating from it, others shall have its pages. The groups beside it
 * are looked at first: they tell in nearly every case that it is not empty.
 */
static void give_back_empty(struct lshmi_lane *lane, const struct where *w)
{
	struct lshm_region *r = lane->region;
	struct lshmi_class *cl = &lane->classes[entry_class(w->entry)];
	uint16_t *words = (uint16_t *)(r->base + (w->head << LSHMI_PAGE_SHIFT));
	uint32_t group = (uint32_t)(w->word - words) / 32, groups, k = 0;
	struct cut c;

	if (cl->current == w->head || !cut_of(&c, w->entry))
		return;
	groups = (c.count + 31) / 32;
	if (!group_empty(words, group) ||
	    !group_empty(words, (group + 1) % groups) ||
	    !group_empty(words, (group + groups - 1) % groups) ||
	    !slab_empty(r, w->head, &c))
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
	if (p == 0 && trim(lane))
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

/* The same; where there are none, what the dead hold comes back first. */
static uint64_t take_pages(struct lshmi_lane *lane, uint64_t pages,
    uint64_t least, uint64_t align, uint32_t kind, uint32_t class)
{
	uint64_t at = try_pages(lane, pages, least, align, kind, class);

	if (at == 0 && lshm_region_reap(lane->region) > 0)
		at = try_pages(lane, pages, least, align, kind, class);
	return at;
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
	struct cut c;

	if (!cut_of(&c, lshmi_load_relaxed(pm(lane->region, head))))
		return false;
	cl->current = (uint32_t)head;
	cl->next = 0;
	cl->left = (c.count + 31) / 32;
	return true;
}

/* Pick up the free words among the next groups of the current slab. */
static bool pick_up(struct lshmi_lane *lane, struct lshmi_class *cl)
{
	struct lshm_region *r = lane->region;
	uint64_t *quad;
	uint16_t *words;
	struct cut c;

	if (!cl->current ||
	    !cut_of(&c, lshmi_load_relaxed(pm(r, cl->current))) ||
	    c.size != cl->size || c.pages > page_count(r) - cl->current)
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
		if (c.count - base < 32)
			mask &= (1u << (c.count - base)) - 1;
		if (mask) {
			cl->mask = mask;
			cl->words = &words[base];
			cl->blocks =
			    (char *)words + c.first + (uint64_t)base * c.size;
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
	uint64_t total = page_count(r);

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

/* Fill the class's mask from anywhere. */
static bool refill(struct lshmi_lane *lane, uint32_t class)
{
	struct lshmi_class *cl = &lane->classes[class];
	struct cut one;
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
			cut_slab(&one, class, least);
			if (one.count)
				break;
		}
		head = take_pages(
		    lane, cuts[class].pages, least, 1, LSHMI_PM_SLAB, class);
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

/* -- the calls ------------------------------------------------------------ */

void lshmi_heap_lane_init(struct lshmi_lane *lane)
{
	for (uint32_t i = 0; i < LSHMI_CLASSES; i++)
		lane->classes[i].size = cuts[i].size;
}

void lshmi_heap_lane_fini(struct lshmi_lane *lane)
{
	for (uint32_t i = 0; i < LSHMI_CLASSES; i++)
		free(lane->classes[i].slabs);
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
		page = take_pages(lane, pages, 0, 1, LSHMI_PM_RUN, 0);
		return page ? region->base + (page << LSHMI_PAGE_SHIFT) : NULL;
	}
	class = class_of(size);
	cl = &lane->classes[class];
	if (__builtin_expect(cl->mask == 0, 0) && !refill(lane, class))
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
	page = take_pages(lane, pages, 0, align, LSHMI_PM_RUN, 0);
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
	struct where w;
	uint16_t holder;

	if (!block)
		return 0;
	lane = lshmi_lane(region);
	if (!lane)
		return region->serial ? (region->observer ? -EROFS : -EUSERS)
				      : -ECHILD;
	if (!locate(region, (uint64_t)((char *)block - region->base), &w))
		return no_block("this is no block of the region's heap");
	holder = holder_of(region, &w);
	if (holder == LSHMI_HOLDER_NONE)
		return no_block("this block is free already");
	if (holder != lane->mark && holder != LSHMI_HOLDER_ATTACHED &&
	    !ours(region, holder))
		return lshmi_fail(EPERM,
		    "this block is a draft of another process: only its holder "
		    "may free it");
	set_holder(region, &w, LSHMI_HOLDER_NONE);
	if (w.word && entry_holder(w.entry) == lane->mark)
		give_back_empty(lane, &w);
	return 0;
}

size_t lshm_usable_size(struct lshm_region *region, const void *block)
{
	uint64_t off = (uint64_t)((const char *)block - region->base);
	struct where w;

	if (!block || region->serial == 0 || !locate(region, off, &w) ||
	    holder_of(region, &w) == LSHMI_HOLDER_NONE)
		return 0;
	return w.size - (off - w.start);
}

/* Become the holder of a block that is attached: see [W] and [S]. */
static bool hold(struct lshm_region *r, struct lshmi_lane *lane, uint64_t off)
{
	struct where w;
	uint16_t holder;

	for (int i = 0; i < 8; i++) {
		if (!locate(r, off, &w))
			return false;
		holder = holder_of(r, &w);
		if (holder == LSHMI_HOLDER_NONE)
			return false;
		if (w.word && entry_holder(w.entry) != lane->mark)
			lshmi_store_release(&lane->rec->foreign, 1);
		if (holder == lane->mark)
			return true;
		/* Marked with a dead lane whose reaper is still under way? */
		if (holder != LSHMI_HOLDER_ATTACHED && !ours(r, holder) &&
		    !lshmi_lane_gone(r, holder - LSHMI_HOLDER_LANE))
			continue; /* its lane is used anew: look again */
		if (lshmi_holder_cas(r, off, holder, lane->mark))
			return true;
	}
	return false;
}

int lshmi_replace(struct lshm_region *r, struct lshmi_lane *lane,
    uint64_t *field, uint64_t block, uint64_t *old)
{
	struct lshmi_lane_rec *rec = lane->rec;
	uint64_t was = lshmi_load_acquire(field);
	uint64_t n = lshmi_load_relaxed(&rec->intent) >> 2;

	lshmi_store_relaxed(&rec->intent_field, (char *)field - r->base);
	lshmi_store_relaxed(&rec->intent_new, block);
	lshmi_store_relaxed(&rec->intent_old, was);
	lshmi_store_release(&rec->intent, (n + 1) << 2 | LSHMI_INTENT_PENDING);
	if (was && !hold(r, lane, was)) {
		lshmi_store_release(
		    &rec->intent, (n + 1) << 2 | LSHMI_INTENT_IDLE);
		return lshmi_fail(LSHM_ECORRUPT,
		    "the field names %#llx, which is no block in use",
		    (unsigned long long)was);
	}
	lshmi_store_release(field, block);
	if (block)
		lshmi_holder_cas(r, block, lane->mark, LSHMI_HOLDER_ATTACHED);
	lshmi_store_release(&rec->intent, (n + 1) << 2 | LSHMI_INTENT_IDLE);
	if (old)
		*old = was;
	return 0;
}

int lshm_replace(struct lshm_region *region, struct lshm_mutex *mutex,
    lshm_off *field, void *block, void **old)
{
	uint64_t field_off = (uint64_t)((char *)field - region->base);
	uint64_t off = block ? (uint64_t)((char *)block - region->base) : 0;
	uint64_t was;
	struct lshmi_lane *lane;
	struct where w;
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
	if ((lshmi_load_relaxed(&mutex->word) & ~UINT64_C(1)) != lane->lockword)
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
		holder = holder_of(region, &w);
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
    const struct cut *c, const bool *dead)
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
	uint64_t total = page_count(r);
	bool foreign = false;

	for (uint32_t i = 0; i < r->max_lanes; i++)
		if (dead[i] && lshmi_load_acquire(&r->lanes[i].foreign))
			foreign = true;
	for (uint64_t p = first_page(r); p < total; p++) {
		uint64_t e = lshmi_load_seq(pm(r, p));
		uint32_t lane = (uint32_t)entry_holder(e) - LSHMI_HOLDER_LANE;
		bool orphan = lane < r->max_lanes && dead[lane];
		struct cut c;

		if (entry_kind(e) == LSHMI_PM_RUN && orphan)
			lshmi_cas(pm(r, p), e,
			    make_entry(LSHMI_PM_FREE, 0, 0, entry_pages(e),
				entry_gen(e)));
		if (entry_kind(e) != LSHMI_PM_SLAB || !(orphan || foreign) ||
		    entry_pages(e) > total - p || !cut_of(&c, e))
			continue;
		sweep_words(r, p, e, &c, dead);
		if (!orphan)
			continue;
		if (slab_empty(r, p, &c)) {
			lshmi_cas(pm(r, p), e,
			    make_entry(LSHMI_PM_FREE, 0, 0, entry_pages(e),
				entry_gen(e)));
		} else if (lshmi_cas(pm(r, p), e,
			       with_holder(e, LSHMI_HOLDER_ATTACHED))) {
			lshmi_fetch_add(&r->header->orphans, 1);
		}
	}
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
	struct cut c;

	memset(info, 0, sizeof(*info));
	total = page_count(region);
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

			if (!cut_of(&c, e))
				return false;
			info->slab_bytes += bytes;
			info->slabs++;
			info->orphan_slabs +=
			    entry_holder(e) == LSHMI_HOLDER_ATTACHED;
			for (uint32_t i = 0; i < c.count; i++)
				count_block(info, lshmi_load_relaxed(&words[i]),
				    c.size);
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
