/* SPDX-License-Identifier: MIT */
/*
 * scene_heap.c - the heap: blocks freed by others, slabs adopted, pages taken,
 * fields replaced
 *
 * A slab of one page has three blocks of 16384 bytes.
 */
#include "explore.h"

#define SIZE   16384
#define BLOCKS 8

enum state { NOBODYS, HELD, ATTACHED, LEAVING };

static struct ghost {
	struct block {
		void *at;
		enum state state;
		uint32_t holder;
	} block[BLOCKS];
	struct lshm_mutex *mutex;
	lshm_off *field;
} * ghost;

static struct block *block_at(void *p)
{
	uint32_t i = 0;

	while (ghost->block[i].at && ghost->block[i].at != p)
		XP_TRUE(++i < BLOCKS);
	ghost->block[i].at = p;
	return &ghost->block[i];
}

/* Nobody else has it; it is ours now. */
static void *obtain(size_t size)
{
	void *p = lshm_alloc(xp_region(), size);
	struct block *b;

	if (!p)
		return NULL;
	b = block_at(p);
	if (b->state == ATTACHED || (b->state == HELD && !xp_dead(b->holder)))
		XP_FAIL(
		    "%c gets a block that is in use", (char)('A' + xp_self));
	/* Of who is being killed while freeing it: it may be free already. */
	b->state = HELD;
	b->holder = xp_self;
	return p;
}

static void give(void *p)
{
	struct block *b = block_at(p);

	b->state = LEAVING;
	XP_EQ(0, lshm_free(xp_region(), p));
	if (b->state == LEAVING)
		b->state = NOBODYS;
}

/* A block that some field refers to. */
static void *attached(void)
{
	struct lshm_region *r = xp_region();
	void *p = obtain(SIZE);

	XP_TRUE(p);
	XP_TRUE(lshmi_holder_cas(
	    r, lshm_offset(r, p), lshmi_lane(r)->mark, LSHMI_HOLDER_ATTACHED));
	block_at(p)->state = ATTACHED;
	return p;
}

/* All that is not attached can be allocated once all threads are dead. */
static void check(void)
{
	uint32_t taken = 0, got = 0;
	struct lshm_heap_info info;

	for (uint32_t i = 0; i < XP_THREADS; i++)
		if (xp_region_of(i))
			xp_kill(i);
	for (uint32_t i = 0; i < 4; i++)
		lshm_region_reap(xp_region());
	XP_EQ(0, lshm_heap_stat(xp_region(), &info));
	XP_EQ(0, info.draft_blocks);
	for (uint32_t i = 0; i < BLOCKS; i++)
		taken += ghost->block[i].state == ATTACHED;
	/* A death in the middle of freeing leaves it attached, or free. */
	XP_TRUE(info.attached_blocks >= taken);
	if (xp_deaths() == 0)
		XP_EQ(taken, info.attached_blocks);
	while (obtain(SIZE))
		got++;
	XP_EQ(3, info.attached_blocks + got);
}

/* -- blocks freed by others ------------------------------------------------ */

static void *first, *second;

static void setup_free(void)
{
	ghost = xp_ghost(sizeof(*ghost));
	xp_open_all();
	xp_as(0);
	first = attached();
	second = attached();
	xp_as(XP_JUDGE);
}

static void allocate(void)
{
	void *p = obtain(SIZE);

	XP_TRUE(p);
	XP_STEP("held");
	obtain(SIZE);
	obtain(SIZE);
	give(p);
	obtain(SIZE);
}

static void free_both(void)
{
	give(first);
	give(second);
}

static uint64_t none(uint64_t word)
{
	return 0;
}

static const struct xp_seed seeds_free[] = {
    XP_SEED("what is in use looks free", "free_among", "&quad[i / 4]", XP_ALTER,
	.alter = none),
    XP_SEED("the slab looks empty", "lshmi_slab_empty", "&quad[i]", XP_ALTER,
	.alter = none),
    XP_SEED("allocating leaves no mark", "take", "spot->word", XP_SKIP),
    {0},
};

XP_SCENARIO(heap_free) = {
    .name = "heap-free",
    .what = "the owner allocates while another frees blocks of its slab",
    .threads = 2,
    .setup = setup_free,
    .run = {allocate, free_both},
    .check = check,
    .seeds = seeds_free,
};

/* -- a dead one's slab ----------------------------------------------------- */

static void setup_adopt(void)
{
	ghost = xp_ghost(sizeof(*ghost));
	xp_open_all();
	xp_as(XP_JUDGE + 1);
	XP_TRUE(lshmi_lane(xp_open()));
	first = attached();
	XP_TRUE(obtain(SIZE));
	xp_as(XP_JUDGE);
	xp_kill(XP_JUDGE + 1);
}

static void reap_and_take(void)
{
	lshm_region_reap(xp_region());
	obtain(SIZE);
}

static void take_and_free(void)
{
	void *p = obtain(SIZE);

	give(first);
	if (p)
		give(p);
}

static const struct xp_seed seeds_adopt[] = {
    XP_SEED("adopting is a plain store", "adopt", "pm(r, p)", XP_BLIND),
    XP_SEED("a lane is given back before its blocks are swept", "sweep_words",
	"&words[i]", XP_SKIP),
    {0},
};

XP_SCENARIO(heap_adopt) = {
    .name = "heap-adopt",
    .what = "two want a dead one's slab; one of them reaps",
    .threads = 2,
    .participants = 4,
    .setup = setup_adopt,
    .run = {reap_and_take, take_and_free},
    .check = check,
    .seeds = seeds_adopt,
};

XP_SCENARIO(heap_reapers) = {
    .name = "heap-reapers",
    .what = "two reap a dead one, and take its slab",
    .threads = 2,
    .participants = 4,
    .setup = setup_adopt,
    .run = {reap_and_take, reap_and_take},
    .check = check,
    .seeds = seeds_adopt,
};

/* -- pages ----------------------------------------------------------------- */

#define LARGE (3 * LSHMI_PAGE)

static void setup_pages(void)
{
	ghost = xp_ghost(sizeof(*ghost));
	xp_open_all();
	xp_as(1);
	first = obtain(LARGE);
	xp_as(XP_JUDGE);
}

static void take_large(void)
{
	obtain(LARGE);
}

static void free_and_take_large(void)
{
	give(first);
	obtain(LARGE);
}

static void check_pages(void)
{
	struct lshm_heap_info info;

	for (uint32_t i = 0; i < XP_THREADS; i++)
		if (xp_region_of(i))
			xp_kill(i);
	for (uint32_t i = 0; i < 4; i++)
		lshm_region_reap(xp_region());
	XP_TRUE(obtain(LARGE));
	XP_TRUE(obtain(LARGE));
	XP_TRUE(!obtain(LARGE));
	XP_EQ(0, lshm_heap_stat(xp_region(), &info));
	XP_EQ(2, info.draft_blocks);
}

static const struct xp_seed seeds_pages[] = {
    XP_SEED(
	"the lock is no compare-and-swap", "quick_lock", "&m->word", XP_BLIND),
    {0},
};

XP_SCENARIO(heap_pages) = {
    .name = "heap-pages",
    .what = "one takes pages while the other frees and takes some",
    .threads = 2,
    .pages = 6,
    .setup = setup_pages,
    .run = {take_large, free_and_take_large},
    .check = check_pages,
    .seeds = seeds_pages,
};

/* -- fields ---------------------------------------------------------------- */

#define SMALL 1024 /* slabs have one page, for each lane one */

struct pair {
	struct lshm_mutex mutex;
	lshm_off field;
};

static void setup_field(void)
{
	struct lshm_region *r;
	struct pair *pair;
	void *p;

	ghost = xp_ghost(sizeof(*ghost));
	xp_open_all();
	r = xp_region();
	pair = lshm_alloc(r, SMALL);
	XP_TRUE(pair);
	memset(pair, 0, sizeof(*pair));
	XP_TRUE(lshmi_holder_cas(r, lshm_offset(r, pair), lshmi_lane(r)->mark,
	    LSHMI_HOLDER_ATTACHED));
	ghost->mutex = &pair->mutex;
	ghost->field = &pair->field;
	xp_name(&pair->mutex, 8, 8, "mutex");
	xp_name(&pair->field, 8, 8, "field");
	XP_TRUE(lshm_mutex_lock(r, ghost->mutex, LSHM_NOW) == 0);
	p = lshm_alloc(r, SMALL);
	XP_TRUE(p);
	XP_EQ(0, lshm_attach(r, ghost->mutex, ghost->field, p));
	XP_EQ(0, lshm_mutex_unlock(r, ghost->mutex));
	for (uint32_t i = 0; i < 2; i++) {
		xp_as(i);
		ghost->block[i].at = lshm_alloc(xp_region(), SMALL);
		XP_TRUE(ghost->block[i].at);
	}
	xp_as(XP_JUDGE);
}

static void replace(void)
{
	struct lshm_region *r = xp_region();
	void *old;

	XP_TRUE(lshm_mutex_lock(r, ghost->mutex, LSHM_FOREVER) >= 0);
	/* Whatever happened to the other one, this names a block in use. */
	XP_EQ(0, lshm_replace(r, ghost->mutex, ghost->field,
		     ghost->block[xp_self].at, &old));
	lshmi_unlock(r, ghost->mutex);
	XP_TRUE(old);
	XP_EQ(0, lshm_free(r, old));
}

static void reap_and_replace(void)
{
	lshm_region_reap(xp_region());
	replace();
}

static void check_field(void)
{
	struct lshm_region *r = xp_region();
	struct lshm_heap_info info;
	void *old = NULL;

	for (uint32_t i = 0; i < 4; i++)
		lshm_region_reap(r);
	XP_TRUE(lshm_mutex_lock(r, ghost->mutex, LSHM_NOW) >= 0);
	for (uint32_t i = 0; i < 4; i++)
		lshm_region_reap(r);
	/* The pair, and the one block that the field names; all else free. */
	XP_EQ(0, lshm_heap_stat(r, &info));
	XP_EQ(2, info.attached_blocks);
	for (uint32_t i = 0; i < 2; i++)
		if (!xp_dead(i) && !xp_finished(i))
			XP_FAIL("%c has not come to its end", (char)('A' + i));
	XP_EQ(0, info.draft_blocks);
	XP_EQ(0, lshm_replace(r, ghost->mutex, ghost->field, NULL, &old));
	XP_EQ(0, lshm_free(r, old));
}

static const struct xp_seed seeds_field[] = {
    XP_SEED("the old block is taken before the intent is there", "note_intent",
	"&rec->intent", XP_DELAY, .stores = 2),
    XP_SEED("a takeover decides nothing", "lshmi_lane_decide", "&rec->intent",
	XP_SKIP),
    {0},
};

XP_SCENARIO(heap_field) = {
    .name = "heap-field",
    .what = "two replace a field; one may die, and the other takes the lock",
    .threads = 2,
    .pages = 3,
    .setup = setup_field,
    .run = {replace, replace},
    .check = check_field,
    .seeds = seeds_field,
};

XP_SCENARIO(heap_field_reaper) = {
    .name = "heap-field-reaper",
    .what = "as heap-field; the other one is reaping, too",
    .threads = 2,
    .pages = 3,
    .setup = setup_field,
    .run = {replace, reap_and_replace},
    .check = check_field,
    .seeds = seeds_field,
};
