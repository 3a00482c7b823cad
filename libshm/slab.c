/* SPDX-License-Identifier: MIT */
/*
 * slab.c - blocks of one size, and the lane that owns them: [W], [O] in heap.c
 *
 * A lane hands out blocks that it has at hand: their addresses lie on a private
 * stack for each class, what was freed last on top. Nothing but this lane makes
 * a free word of its slabs anything else [W], so what is on a stack stays free.
 * Words are looked at only when the stack is empty: so no free block is on it
 * twice. Whenever that is in doubt, as when a slab is given back, the stack is
 * forgotten; the words still say what is free. A death forgets it, too.
 */
#include <stdlib.h>

#include "pages.h"

#define GROUP	   64 /* words that are looked at at a time, at most */
#define LOOK_SLABS 8  /* own slabs looked at before taking a new one */
#define LOG_MAX	   6  /* log2 of the most pages a slab has */

/* How much a lane keeps at hand of what it has freed, of each class. */
#define AT_HAND_BYTES 262144
#define AT_HAND_LEAST 8
#define AT_HAND_MOST  512

struct lshmi_cut lshmi_cuts[SHAPES];

/* Multiples of 4 KiB would have all blocks begin in the same cache sets. */
static uint32_t class_size(uint32_t class)
{
	uint32_t size =
	    class < 8 ? (class + 1) * 16 : (5 + class % 4) << (class / 4 + 3);

	return size % 4096 == 0 ? size + 64 : size;
}

static void make_cut(struct lshmi_cut *c, uint32_t size, uint64_t bytes)
{
	uint64_t n = bytes / (size + 2), odd;

	while (((n * 2 + 63) & ~UINT64_C(63)) + n * size > bytes)
		n--;
	c->size = size;
	c->count = (uint32_t)n;
	c->first = (uint32_t)((n * 2 + 63) & ~UINT64_C(63));
	c->shift = (uint32_t)__builtin_ctz(size);
	c->inverse = odd = size >> c->shift;
	/* Newton's method: three bits are right, and each turn doubles that. */
	for (int bits = 3; bits < 64; bits *= 2)
		c->inverse *= 2 - odd * c->inverse;
}

static void make_cuts(void)
{
	for (uint32_t class = 0; class < LSHMI_CLASSES; class ++)
		for (uint32_t log = 0; log <= LOG_MAX; log++)
			make_cut(&lshmi_cuts[class * 8 + log],
			    class_size(class), LSHMI_PAGE << log);
}

void lshmi_heap_setup(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, make_cuts);
}

/* The more a lane has of a class, the larger are further slabs. */
static uint32_t next_shape(uint32_t class, const struct lshmi_class *cl)
{
	uint32_t log = cl->size <= 1024	   ? 0
		       : cl->size <= 8256  ? 2
		       : cl->size <= 32832 ? 3
					   : 4;

	return class * 8 + log + (cl->count >= 4) + (cl->count >= 12);
}

bool lshmi_slab_empty(
    struct lshm_region *r, uint64_t head, const struct lshmi_cut *c)
{
	const uint64_t *quad = (const uint64_t *)words_of(r, head);

	for (uint32_t i = 0; i < c->first / 8; i++)
		if (lshmi_load_acquire(&quad[i]) != 0)
			return false;
	return true;
}

/*
 * Our slab's entry, and how it is cut: NULL if somebody has damaged it, who
 * could have us reach beyond the region's end.
 */
static const struct lshmi_cut *own_cut(
    struct lshmi_lane *lane, uint64_t head, uint64_t *entry)
{
	struct lshm_region *r = lane->region;
	const struct lshmi_cut *c;

	*entry = lshmi_load_relaxed(pm(r, head));
	if (!entry_is_slab(*entry) || entry_holder(*entry) != lane->mark ||
	    !(c = cut_of(*entry)) ||
	    entry_pages(*entry) > lshmi_page_count(r) - head)
		return NULL;
	return c;
}

/* -- what is at hand ------------------------------------------------------ */

static uint32_t at_hand(const struct lshmi_class *cl)
{
	uint32_t n = AT_HAND_BYTES / cl->size;

	return n < AT_HAND_LEAST  ? AT_HAND_LEAST
	       : n > AT_HAND_MOST ? AT_HAND_MOST
				  : n;
}

/* No block, and a word that nobody holds. */
static void make_no_spot(struct lshmi_spot *spot)
{
	static uint16_t free_word;

	*spot = (struct lshmi_spot){.word = &free_word};
}

/* A slab is not ours any more: its blocks may not lie above the top, either. */
static void forget(struct lshmi_class *cl, const struct lshmi_slab *s)
{
	cl->top = cl->stack;
	for (struct lshmi_spot *spot = cl->stack; spot <= cl->full; spot++)
		if (spot->word >= s->words && spot->word < s->words + s->count)
			make_no_spot(spot);
}

/* The stack of a class, if it has none yet. */
static bool have_stack(struct lshmi_class *cl)
{
	uint32_t n = at_hand(cl);

	if (cl->stack)
		return true;
	cl->stack = calloc(n + 2, sizeof(*cl->stack));
	if (!cl->stack) {
		lshmi_fail(ENOMEM, "this process is out of memory");
		return false;
	}
	for (uint32_t i = 0; i < n + 2; i++)
		make_no_spot(&cl->stack[i]);
	cl->top = cl->stack;
	cl->full = cl->stack + n;
	return true;
}

/* How many words are looked at at a time: what is found fills half a stack. */
static uint32_t group_of(const struct lshmi_class *cl)
{
	uint32_t n = at_hand(cl) / 2;

	return n < GROUP ? n & ~UINT32_C(3) : GROUP;
}

/* -- the slabs of a class ------------------------------------------------- */

/* Of each page, which slab it is of: where pages collide, the last one's. */
static void note_pages(
    struct lshmi_lane *lane, struct lshmi_slab *s, struct lshmi_slab *from)
{
	const char *slab = (char *)s->words, *end;

	end = s->first + (uint64_t)s->count * s->class->size;
	for (; slab < end; slab += LSHMI_PAGE)
		if (!from || lane->tries[lshmi_try(slab)] == from)
			lane->tries[lshmi_try(slab)] =
			    from ? &lane->no_slab : s;
}

/* Memory for one more slab in the class's list: NULL: there is none. */
static struct lshmi_slab *new_slab(struct lshmi_class *cl)
{
	struct lshmi_slab *s;

	if (cl->count == cl->room) {
		uint32_t room = cl->room ? cl->room * 2 : 8;
		void *more = realloc(cl->slabs, room * sizeof(*cl->slabs));

		if (!more)
			goto none;
		cl->slabs = more;
		cl->room = room;
	}
	s = calloc(1, sizeof(*s));
	if (s)
		return s;
none:
	lshmi_fail(ENOMEM, "this process is out of memory");
	return NULL;
}

/* A slab is ours now: its head is that page. */
static bool enlist(struct lshmi_lane *lane, struct lshmi_class *cl,
    struct lshmi_slab *s, uint64_t head)
{
	uint64_t e;
	const struct lshmi_cut *c = own_cut(lane, head, &e);

	if (!c || c->size != cl->size) {
		free(s);
		return false;
	}
	*s = lshmi_slab_at(lane->region, head, c);
	s->mark = lane->mark;
	s->class = cl;
	s->index = cl->count;
	cl->slabs[cl->count++] = s;
	return true;
}

/* Give back a slab of ours if it is empty. */
static bool give_back(struct lshmi_lane *lane, struct lshmi_slab *s)
{
	struct lshmi_class *cl = s->class;
	uint64_t head = s->head, e;
	const struct lshmi_cut *c = own_cut(lane, head, &e);

	if (!c || !lshmi_slab_empty(lane->region, head, c))
		return false;
	forget(cl, s);
	if (cl->slab == s) {
		cl->slab = NULL;
		cl->left = 0;
	}
	if (cl->hint == s)
		cl->hint = NULL;
	note_pages(lane, s, s);
	cl->slabs[s->index] = cl->slabs[--cl->count];
	cl->slabs[s->index]->index = s->index;
	free(s);
	/* [O] */
	lshmi_store_release(pm(lane->region, head), freed_entry(e));
	return true;
}

uint32_t lshmi_slabs_trim(struct lshmi_lane *lane)
{
	uint32_t given = 0;

	for (uint32_t i = 0; i < LSHMI_CLASSES; i++)
		for (uint32_t k = lane->classes[i].count; k > 0; k--)
			given += give_back(lane, lane->classes[i].slabs[k - 1]);
	return given;
}

void lshmi_slab_freed(
    struct lshmi_lane *lane, struct lshmi_slab *s, const uint16_t *word)
{
	/* Its neighbours tell in nearly every case that it is not empty. */
	if ((word > s->words && lshmi_load_relaxed(word - 1)) ||
	    (word < s->words + s->count - 1 && lshmi_load_relaxed(word + 1)) ||
	    s == s->class->slab || !give_back(lane, s))
		s->class->hint = s;
}

struct lshmi_slab *lshmi_slab_of(
    struct lshmi_lane *lane, struct lshmi_class *cl, uint64_t head)
{
	for (uint32_t i = 0; i < cl->count; i++) {
		if (cl->slabs[i]->head != head)
			continue;
		note_pages(lane, cl->slabs[i], NULL);
		return cl->slabs[i];
	}
	return NULL;
}

void lshmi_slabs_spill(struct lshmi_lane *lane, struct lshmi_class *cl)
{
	struct lshmi_spot *top = cl->top;
	struct lshmi_slab *s;
	uint16_t *word;

	cl->top = cl->stack;
	for (; top > cl->stack; top--)
		if ((s = find(lane, top->block, &word)))
			lshmi_slab_freed(lane, s, word);
}

/* -- more blocks ---------------------------------------------------------- */

/* Of four words, which are 0: a bit each. */
static inline uint64_t zeros(uint64_t v)
{
	const uint64_t low = UINT64_C(0x7fff7fff7fff7fff);
	uint64_t z = ~(((v & low) + low) | v | low) >> 15;

	return z * UINT64_C(0x0001000200040008) >> 48;
}

/* Which of @n words, up to GROUP, are 0? Often all of them. */
static uint64_t free_among(const uint64_t *quad, uint32_t n)
{
	uint64_t mask = 0, any = 0, v[GROUP / 4];

	for (uint32_t i = 0; i < n; i += 4)
		any |= v[i / 4] = lshmi_load_acquire(&quad[i / 4]);
	for (uint32_t i = 0; i < n && any; i += 4)
		mask |= zeros(v[i / 4]) << i;
	if (!any)
		mask = ~mask;
	return n < GROUP ? mask & ((UINT64_C(1) << n) - 1) : mask;
}

/* Unless there is something at hand: what is free in the next groups. */
static bool pick_up(struct lshmi_class *cl)
{
	struct lshmi_slab *s = cl->slab;
	uint32_t group = group_of(cl);

	if (cl->top->block)
		return true;
	while (cl->left) {
		uint32_t base = cl->next * group, n = s->count - base;
		uint16_t *words = s->words + base;
		char *blocks = s->first + (uint64_t)base * cl->size;
		uint64_t mask =
		    free_among((const uint64_t *)words, n < group ? n : group);

		cl->left--;
		cl->next++;
		if (!mask)
			continue;
		while (mask) { /* the first one comes to lie on top */
			uint32_t i = 63 - (uint32_t)__builtin_clzll(mask);

			mask ^= UINT64_C(1) << i;
			*++cl->top = (struct lshmi_spot){
			    .block = blocks + (uint64_t)i * cl->size,
			    .word = &words[i]};
		}
		return true;
	}
	return false;
}

/* Look at all words of a slab, as far as is needed. */
static bool use_slab(struct lshmi_lane *lane, struct lshmi_slab *s)
{
	struct lshmi_class *cl = s->class;

	note_pages(lane, s, NULL);
	cl->slab = s;
	cl->next = 0;
	cl->left = (s->count + group_of(cl) - 1) / group_of(cl);
	return pick_up(cl);
}

/* Take over a slab that has lost its owner: its page, or 0. */
static uint64_t adopt(
    struct lshmi_lane *lane, uint32_t class, struct lshmi_class *cl)
{
	struct lshm_region *r = lane->region;
	uint64_t orphans = lshmi_load_acquire(&r->header->orphans);
	uint64_t total = lshmi_page_count(r);

	for (uint64_t p = first_page(r); p < total; p++) {
		uint64_t e = lshmi_load_acquire(pm(r, p));

		if (entry_is_slab(e) && entry_class(e) == class &&
		    entry_holder(e) == LSHMI_HOLDER_ATTACHED &&
		    lshmi_cas(pm(r, p), e, with_holder(e, lane->mark)))
			return p;
	}
	cl->orphans_seen = orphans;
	return 0;
}

/* One that has lost its owner, with a free block in it. */
static bool adopt_slab(
    struct lshmi_lane *lane, uint32_t class, struct lshmi_class *cl)
{
	struct lshmi_slab *s;
	uint64_t head;

	while (lshmi_load_acquire(&lane->region->header->orphans) !=
	       cl->orphans_seen) {
		s = new_slab(cl);
		if (!s)
			return false;
		head = adopt(lane, class, cl);
		if (!head)
			free(s);
		else if (enlist(lane, cl, s, head) && use_slab(lane, s))
			return true;
	}
	return false;
}

static bool take_slab(
    struct lshmi_lane *lane, uint32_t class, struct lshmi_class *cl)
{
	struct lshmi_slab *s = new_slab(cl);
	uint64_t head;

	if (!s)
		return false;
	head = lshmi_slab_take(lane, next_shape(class, cl));
	if (head) {
		if (enlist(lane, cl, s, head) && use_slab(lane, s))
			return true;
		lshmi_fail(LSHM_ECORRUPT,
		    "the heap's page %llu has just been damaged",
		    (unsigned long long)head);
		return false;
	}
	free(s);
	return false;
}

/* Those of the class, one after the other, @look of them. */
static bool look_around(
    struct lshmi_lane *lane, struct lshmi_class *cl, uint32_t look)
{
	while (look-- && cl->count) {
		cl->turn = (cl->turn + 1) % cl->count;
		if (use_slab(lane, cl->slabs[cl->turn]))
			return true;
	}
	return false;
}

bool lshmi_slab_refill(struct lshmi_lane *lane, struct lshmi_class *cl)
{
	uint32_t class = (uint32_t)(cl - lane->classes);
	struct lshmi_slab *hint = cl->hint;

	if (!have_stack(cl))
		return false;
	if (pick_up(cl))
		return true;
	cl->hint = NULL;
	if (hint && use_slab(lane, hint))
		return true;
	/* Once more from its beginning, then others of this lane. */
	if (cl->slab && use_slab(lane, cl->slab))
		return true;
	if (look_around(
		lane, cl, cl->count < LOOK_SLABS ? cl->count : LOOK_SLABS) ||
	    adopt_slab(lane, class, cl) || take_slab(lane, class, cl))
		return true;
	/* Out of memory: all of ours, and what a death has just left. */
	return look_around(lane, cl, cl->count) || adopt_slab(lane, class, cl);
}

/* -- lanes ---------------------------------------------------------------- */

void lshmi_heap_lane_init(struct lshmi_lane *lane)
{
	for (uint32_t i = 0; i < LSHMI_CLASSES; i++) {
		struct lshmi_class *cl = &lane->classes[i];

		cl->size = lshmi_cuts[i * 8 + LOG_MAX].size;
		cl->mark = lane->mark;
		cl->top = lane->no_spots;
	}
	make_no_spot(&lane->no_spots[0]);
	make_no_spot(&lane->no_spots[1]);
	lane->no_slab.class = lane->classes;
	for (uint32_t i = 0; i <= LSHMI_SMALL / 16; i++)
		lane->small[i] = &lane->classes[class_of(i ? i * 16 : 1)];
	for (uint32_t i = 0; i < LSHMI_TRIES; i++)
		lane->tries[i] = &lane->no_slab;
}

void lshmi_heap_lane_fini(struct lshmi_lane *lane)
{
	for (uint32_t i = 0; i < LSHMI_CLASSES; i++) {
		struct lshmi_class *cl = &lane->classes[i];

		for (uint32_t k = 0; k < cl->count; k++)
			free(cl->slabs[k]);
		free(cl->slabs);
		free(cl->stack);
	}
}
