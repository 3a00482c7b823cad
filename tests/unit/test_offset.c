/* SPDX-License-Identifier: MIT */
/*
 * test_offset.c - addresses that mean the same everywhere; see offset.h
 */
#include "unit.h"

#include <stdalign.h>

struct node {
	LSHM_OFF(struct node) next;
	LSHM_OFF(char) text;
	uint64_t value;
};

UT_TEST(what_an_offset_is, UT_ONCE)
{
	struct node node = {.value = 1};

	UT_EQ(8, sizeof(lshm_off));
	UT_EQ(8, alignof(lshm_off));
	UT_EQ(8, sizeof(node.next));
	UT_EQ(8, alignof(struct node));
	UT_EQ(0, node.next.off);
}

UT_TEST(there_and_back, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	char *base = lshm_region_base(region);
	lshm_off off;
	char *block;

	UT_SOME(block = lshm_alloc(region, 100));
	UT_CMP(off = lshm_offset(region, block), !=, 0);
	UT_EQ((uintptr_t)block - (uintptr_t)base, off);
	UT_PTR(block, lshm_at(region, off, 100));
	UT_PTR(block + 99, lshm_at(region, off + 99, 1));
	UT_EQ(off + 50, lshm_offset(region, block + 50));
	lshm_region_close(region);
}

UT_TEST(null_and_outside, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	char *base = lshm_region_base(region);
	char outside;

	UT_PTR(NULL, lshm_at(region, 0, 0));
	UT_PTR(NULL, lshm_at(region, 0, 1));
	UT_EQ(0, lshm_offset(region, NULL));
	UT_EQ(0, lshm_offset(region, &outside));
	UT_EQ(0, lshm_offset(region, base - 1));
	UT_EQ(0, lshm_offset(region, base + 64 * MIB));
	UT_EQ(MIB - 1, lshm_offset(region, base + MIB - 1));
	lshm_region_close(region);
}

/* Every byte up to the last one, and none behind it. */
UT_TEST(the_edges, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	char *base = lshm_region_base(region);

	UT_PTR(base + MIB - 1, lshm_at(region, MIB - 1, 1));
	UT_PTR(base + MIB - 1, lshm_at(region, MIB - 1, 0));
	UT_PTR(base + MIB - 8, lshm_at(region, MIB - 8, 8));
	UT_PTR(base + 8, lshm_at(region, 8, MIB - 8));
	UT_PTR(NULL, lshm_at(region, MIB - 8, 9));
	UT_PTR(NULL, lshm_at(region, MIB - 1, 2));
	UT_PTR(NULL, lshm_at(region, MIB, 0)); /* 0 counts as 1 */
	UT_PTR(NULL, lshm_at(region, MIB, 1));
	UT_PTR(NULL, lshm_at(region, 8, MIB));
	UT_PTR(NULL, lshm_at(region, 8, UINT64_MAX));
	UT_PTR(NULL, lshm_at(region, UINT64_MAX, 1));
	UT_PTR(NULL, lshm_at(region, UINT64_MAX - 7, 8));
	UT_PTR(NULL, lshm_at(region, UINT64_MAX, UINT64_MAX));
	lshm_region_close(region);
}

UT_TEST(arrays, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	uint64_t *array;
	lshm_off off;

	UT_SOME(array = lshm_alloc(region, 100 * sizeof(*array)));
	off = lshm_offset(region, array);
	UT_PTR(array, lshm_at_array(region, off, 100, sizeof(*array)));
	UT_PTR(NULL, lshm_at_array(region, off, MIB, sizeof(*array)));
	UT_PTR(NULL, lshm_at_array(region, off, UINT64_MAX, 2));
	UT_PTR(NULL, lshm_at_array(region, off, 2, UINT64_MAX));
	/* products that wrap round to something small */
	UT_PTR(NULL, lshm_at_array(region, off, UINT64_C(1) << 61, 8));
	UT_PTR(NULL,
	    lshm_at_array(region, off, UINT64_C(1) << 32, UINT64_C(1) << 32));
	UT_PTR(NULL, lshm_at_array(region, off, (UINT64_C(1) << 61) + 1, 8));
	UT_PTR(NULL, lshm_at_array(region, 0, 1, 1));
	UT_PTR(array, lshm_at_array(region, off, 0, 8));
	lshm_region_close(region);
}

UT_TEST(strings, UT_EACH)
{
	struct lshm_region *region =
	    ut_create(&(struct lshm_region_opts)LSHM_REGION_OPTS(.size = MIB));
	char *base = lshm_region_base(region);
	size_t length = 77;
	lshm_off off;
	char *text;

	UT_SOME(text = lshm_strdup(region, "a string"));
	off = lshm_offset(region, text);
	UT_PTR(text, lshm_at_string(region, off, &length));
	UT_EQ(8, length);
	UT_PTR(text, lshm_at_string(region, off, NULL));
	UT_PTR(text + 8, lshm_at_string(region, off + 8, &length));
	UT_EQ(0, length);
	UT_PTR(NULL, lshm_at_string(region, 0, &length));
	UT_PTR(NULL, lshm_at_string(region, MIB, &length));
	UT_PTR(NULL, lshm_at_string(region, UINT64_MAX, &length));
	/* the last bytes of the region: with an end, and without */
	base[MIB - 3] = 'x';
	base[MIB - 2] = 'y';
	base[MIB - 1] = 0;
	UT_STR("xy", lshm_at_string(region, MIB - 3, &length));
	UT_EQ(2, length);
	base[MIB - 1] = 'z';
	length = 77;
	UT_PTR(NULL, lshm_at_string(region, MIB - 3, &length));
	UT_EQ(77, length);
	UT_SOME(text = lshm_strdup(region, ""));
	UT_STR("", text);
	lshm_region_close(region);
}

UT_TEST(typed, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_region *other = ut_reopen(region, 0);
	struct node *first, *second, *seen;

	UT_SOME(first = lshm_alloc(region, sizeof(*first)));
	UT_SOME(second = lshm_alloc(region, sizeof(*second)));
	*first = (struct node){.value = 1};
	*second = (struct node){.value = 2};
	UT_PTR(NULL, LSHM_PTR(region, first->next));
	LSHM_SET(region, first->next, second);
	UT_EQ(lshm_offset(region, second), first->next.off);
	UT_PTR(second, LSHM_PTR(region, first->next));
	/* the same in another mapping */
	seen = lshm_at(other, lshm_offset(region, first), sizeof(*seen));
	UT_TRUE(seen && seen != first);
	UT_EQ(2, LSHM_PTR(other, seen->next)->value);
	LSHM_SET(region, first->text, lshm_strdup(region, "text"));
	UT_EQ('t', *LSHM_PTR(other, seen->text));
	LSHM_SET(region, first->next, (struct node *)NULL);
	UT_EQ(0, first->next.off);
	lshm_region_close(other);
	lshm_region_close(region);
}

/* Whatever is written in an offset, what comes out is inside or NULL. */
UT_TEST(hostile, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	uintptr_t base = (uintptr_t)lshm_region_base(region);
	uint64_t seed = ut_seed();

	for (uint64_t i = ut_scale(300000); i; i--) {
		lshm_off off = ut_random(&seed) >> ut_random(&seed) % 64;
		uint64_t size = ut_random(&seed) >> ut_random(&seed) % 64;
		const char *text;
		uintptr_t at;
		size_t length;

		if (ut_random(&seed) % 8 == 0)
			off = -off;
		at = (uintptr_t)lshm_at(region, off, size);
		if (at && (at != base + off || off >= MIB || size > MIB - off))
			UT_EQ(0, at);
		if (!at && off && off < MIB && size <= MIB - off)
			UT_CMP(at, !=, 0);
		at = (uintptr_t)lshm_at_array(region, off, size, size);
		if (at && (off >= MIB || size > MIB))
			UT_EQ(0, at);
		if (i % 64)
			continue;
		text = lshm_at_string(region, off, &length);
		if (text && off + length >= MIB)
			UT_PTR(NULL, text);
	}
	UT_PTR(NULL, lshm_at(region, MIB, 1));
	lshm_region_close(region);
}

static void grows_body(struct lshm_region *region, int fd, void *arg)
{
	UT_OK(lshm_region_grow(region, 32 * MIB));
}

/* A conversion extends this process's view, if another has grown the region. */
UT_TEST(grown_by_another, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct ut_child child;

	UT_PTR(NULL, lshm_at(region, 2 * MIB, 1));
	child = ut_spawn(region, 0, grows_body, NULL);
	ut_join(&child);
	UT_SOME(lshm_at(region, 2 * MIB, 30 * MIB));
	UT_PTR(NULL, lshm_at(region, 2 * MIB, 30 * MIB + 1));
	memset(lshm_at(region, 31 * MIB, MIB), 1, MIB);
	UT_EQ(31 * MIB,
	    lshm_offset(region, (char *)lshm_region_base(region) + 31 * MIB));
	lshm_region_close(region);
}
