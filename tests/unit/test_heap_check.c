/* SPDX-License-Identifier: MIT */
/*
 * test_heap_check.c - the verdict on the heap; see lshm_heap_check()
 */
#include "../../libshm/layout.h"
#include "unit.h"

/* A page map entry's parts, see layout.h. */
#define PAGES(n)  ((uint64_t)(n))
#define HOLDER(h) ((uint64_t)(h) << 30)
#define KIND(k)	  ((uint64_t)(k) << 53)
#define SHAPE(s)  ((uint64_t)(s) << 55)

#define NO_LANE 0xfff0 /* there are not that many */
#define LARGE	(UINT64_C(3) << LSHMI_PAGE_SHIFT)

static struct lshmi_header *header_of(struct lshm_region *region)
{
	return (void *)((char *)lshm_at(region, 8, 8) - 8);
}

static lshmi_u64 *entry_of(struct lshm_region *region, const void *block)
{
	struct lshmi_header *h = header_of(region);
	uint64_t page = lshm_offset(region, block) >> LSHMI_PAGE_SHIFT;

	return (lshmi_u64 *)((char *)h + h->pagemap_off) + page;
}

/* Something of each kind. */
struct things {
	struct lshm_region *region;
	struct lshmi_header *header;
	char *small;
	lshmi_u64 *slab; /* its entry, of several pages */
	uint16_t *word;	 /* its */
	lshmi_u64 *run;	 /* the entry of a large block */
	lshmi_u64 *hole; /* the entry of a free run */
	void *object;
};

static void make(struct things *t)
{
	char *large, *hole;

	t->region = ut_create(
	    &(struct lshm_region_opts)LSHM_REGION_OPTS(.size = 4 << 20));
	t->header = header_of(t->region);
	UT_SOME(t->small = lshm_alloc(t->region, 8000));
	UT_SOME(hole = lshm_alloc(t->region, LARGE));
	UT_SOME(large = lshm_alloc(t->region, LARGE));
	UT_OK(lshm_object_create(
	    t->region, "object", "test", LARGE, NULL, NULL, &t->object));
	UT_OK(lshm_free(t->region, hole));
	t->slab = entry_of(t->region, t->small);
	t->slab -= *t->slab & 0x3fffffff;
	t->word =
	    (uint16_t *)((char *)t->header +
			 ((uint64_t)(t->slab - entry_of(t->region, t->header))
			     << LSHMI_PAGE_SHIFT));
	t->run = entry_of(t->region, large);
	t->hole = entry_of(t->region, hole);
	UT_OK(lshm_heap_check(t->region));
}

static void bad(struct things *t, const void *where, const char *why)
{
	struct lshm_heap_info info;
	char offset[32];

	snprintf(offset, sizeof(offset), "at offset %#llx:",
	    (unsigned long long)((char *)where - (char *)t->header));
	UT_ERR(-LSHM_ECORRUPT, lshm_heap_check(t->region), offset);
	UT_ERR(-LSHM_ECORRUPT, lshm_heap_check(t->region), why);
	UT_ERR(-LSHM_ECORRUPT, lshm_heap_stat(t->region, &info), why);
}

/* The word is this, for a moment. */
#define BAD(t, word, value, why)                     \
	do {                                         \
		__typeof__(*(word)) k_ = *(word);    \
                                                     \
		*(word) = (value);                   \
		bad(t, word, why);                   \
		*(word) = k_;                        \
		UT_OK(lshm_heap_check((t)->region)); \
	} while (0)

UT_TEST(damaged_pages, UT_EACH)
{
	struct things t;
	uint64_t hole;

	make(&t);
	hole = *t.hole;
	BAD(&t, t.hole, 0, "no run begins here");
	BAD(&t, t.hole, *t.hole & ~PAGES(0x3fffffff), "no run begins here");
	BAD(&t, t.hole, *t.hole | PAGES(0x3fffffff), "beyond the heap");
	BAD(&t, t.hole, *t.hole | HOLDER(1), "a free run has a holder");
	BAD(&t, t.run, *t.run & ~HOLDER(0xffff), "a large block is held by");
	BAD(&t, t.run, *t.run | HOLDER(NO_LANE), "a large block is held by");
	BAD(&t, t.run + 1, *t.slab, "a page of a large block");
	BAD(&t, t.run + 1, hole, "a page of a large block");
	*t.run -= PAGES(1); /* its last page is no head */
	bad(&t, t.run + 2, "no run begins here");
	*t.run += PAGES(1);
	t.header->heap_rover =
	    (uint64_t)(t.run + 1 - entry_of(t.region, t.header));
	bad(&t, &t.header->heap_rover, "where pages are searched next");
	/* whoever has the lock is about to see to it */
	t.header->heap_lock.word = 2;
	UT_OK(lshm_heap_check(t.region));
	t.header->heap_lock.word = 0;
	t.header->heap_rover = 0;
	UT_OK(lshm_heap_check(t.region));
	lshm_region_close(t.region);
}

UT_TEST(damaged_slabs, UT_EACH)
{
	struct things t;
	uint32_t last;

	make(&t);
	BAD(&t, t.slab, *t.slab | SHAPE(0x1f8), "no slab can be cut");
	BAD(&t, t.slab, *t.slab & ~HOLDER(0xffff), "a slab is owned by");
	BAD(&t, t.slab, *t.slab | HOLDER(NO_LANE), "a slab is owned by");
	BAD(&t, t.slab + 1, *t.slab, "a page of a slab");
	BAD(&t, t.slab + 1, t.slab[1] + 1, "a page of a slab");
	BAD(&t, t.slab + 1, t.slab[1] ^ SHAPE(8), "a page of a slab");
	BAD(&t, t.slab + 1, KIND(LSHMI_PM_BODY), "a page of a slab");
	BAD(&t, t.word + 1, NO_LANE, "a block is held by");
	/* the words end where the first block begins, at a cache line */
	last = (uint32_t)(t.small - (char *)t.word) / 2 - 1;
	BAD(&t, t.word + last, 1, "a word for a block that it has not");
	lshm_region_close(t.region);
}

/* A lane that was given back holds nothing. */
UT_TEST(marks_of_nobody, UT_EACH)
{
	struct lshmi_lane_rec *lanes;
	struct things t;
	uint32_t free_lane = 0;

	make(&t);
	lanes = (void *)((char *)t.header + t.header->lanes_off);
	while (lanes[free_lane].word & 0xffff)
		free_lane++;
	BAD(&t, t.word + 1, (uint16_t)(LSHMI_HOLDER_LANE + free_lane),
	    "a block is held by");
	lanes[free_lane].word |= 1;
	t.word[1] = (uint16_t)(LSHMI_HOLDER_LANE + free_lane);
	UT_OK(lshm_heap_check(t.region));
	t.word[1] = 0;
	lanes[free_lane].word &= ~UINT64_C(1);
	lshm_region_close(t.region);
}

UT_TEST(names_of_nothing, UT_EACH)
{
	struct things t;
	lshmi_u64 *entry;

	make(&t);
	entry = entry_of(t.region, t.object);
	*entry = (*entry & PAGES(0x3fffffff)) | KIND(LSHMI_PM_FREE);
	bad(&t, t.object, "an object's name refers to no block");
	lshm_region_close(t.region);
}

static void work_body(struct lshm_region *region, int fd, void *arg)
{
	void *blocks[32] = {NULL};
	uint64_t seed = (uint64_t)getpid();

	ut_say(fd, 0);
	for (uint32_t i = 0;; i++) {
		uint32_t k = (uint32_t)(seed >> 33) % UT_COUNT(blocks);

		seed = seed * UINT64_C(6364136223846793005) + i * 2 + 1;
		if (lshm_free(region, blocks[k]) < 0)
			_exit(1);
		blocks[k] = lshm_alloc(region, (seed >> 40) % 400000);
	}
}

/* Whatever others do, and wherever they die: it is sound. */
UT_TEST(while_others_work, UT_EACH)
{
	struct lshm_region *region = ut_create(
	    &(struct lshm_region_opts)LSHM_REGION_OPTS(.size = 16 << 20));

	for (int round = 0; round < 10; round++) {
		struct ut_child children[2];

		for (int i = 0; i < 2; i++) {
			children[i] = ut_spawn(region, 0, work_body, NULL);
			ut_hear(children[i].fd);
		}
		for (int i = 0; i < 50; i++) {
			int ret = lshm_heap_check(region);

			UT_TRUE(ret == 0 || ret == -EAGAIN);
		}
		for (int i = 0; i < 2; i++)
			ut_kill(&children[i]);
		UT_OK(lshm_heap_check(region));
		/* the second may have reaped the first */
		UT_CMP(lshm_region_reap(region), >=, 1);
		UT_OK(lshm_heap_check(region));
	}
	lshm_region_close(region);
}
