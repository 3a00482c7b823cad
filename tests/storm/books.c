/* SPDX-License-Identifier: MIT */
/*
 * books.c - what must be there when everybody is gone, to the byte
 */
#include "storm.h"

#include "../../libshm/layout.h"

void enter(struct books *b, uint64_t offset, uint64_t size, uint64_t alignment)
{
	void *block = lshm_at(b->region, offset, size), *like;
	struct lshm_heap_info before, after;

	UT_SOME(block);
	UT_CMP(lshm_usable_size(b->region, block), >=, size);
	for (uint64_t i = 0; i < b->blocks; i++)
		UT_CMP(offset, !=, b->offsets[i]);
	UT_CMP(b->blocks, <, UT_COUNT(b->offsets));
	b->offsets[b->blocks++] = offset;
	if (alignment <= 16) {
		b->bytes += lshm_usable_size(b->region, block);
		return;
	}
	/* it may begin before: as large as one made like it */
	UT_OK(lshm_heap_stat(b->region, &before));
	UT_SOME(like = lshm_alloc_aligned(b->region, alignment, size));
	UT_OK(lshm_heap_stat(b->region, &after));
	b->bytes += after.draft_bytes - before.draft_bytes;
	UT_OK(lshm_free(b->region, like));
}

void enter_text(struct books *b, uint64_t offset)
{
	const struct text *text = lshm_at(b->region, offset, TEXT_MIN);

	UT_SOME(text);
	check_block(b->region, text);
	enter(b, offset, text->size, text->number);
}

static void enter_descriptors(struct books *b)
{
	struct lshmi_header *header = lshm_region_base(b->region);

	for (int k = 0; k < LSHMI_DESC_SEGMENTS; k++) {
		uint64_t count = UINT64_C(64) << k;
		uint64_t offset = header->desc_segments[k];
		struct lshmi_desc *d;

		if (!offset)
			continue;
		enter(b, offset, count * sizeof(*d), 64);
		d = lshm_at(b->region, offset, count * sizeof(*d));
		for (uint64_t i = 0; i < count; i++)
			if (d[i].payload)
				enter(b, d[i].payload, 1, 16);
	}
}

static void compare(const struct books *b)
{
	struct lshm_heap_info heap;

	UT_OK(lshm_heap_stat(b->region, &heap));
	UT_EQ(0, heap.draft_blocks);
	UT_EQ(b->blocks, heap.attached_blocks);
	UT_EQ(b->bytes, heap.attached_bytes);
	UT_EQ(heap.total_bytes,
	    heap.free_bytes + heap.slab_bytes + heap.run_bytes);
}

static void nobody_is_left(struct lshm_region *region)
{
	struct lshm_region_info info;

	UT_TRUE(lshm_region_reap(region) >= 0);
	UT_OK(lshm_region_stat(region, &info));
	UT_EQ(1, info.participants);
	UT_EQ(0, info.dead);
	UT_CMP(info.lanes, <=, 1);
}

static void remove_objects(struct lshm_region *region)
{
	struct lshm_object_info object;
	uint64_t cursor = 0;

	while (lshm_object_next(region, &cursor, &object) == 0) {
		UT_OK(lshm_object_remove(region, object.name, object.type));
		cursor = 0;
	}
}

/*
 * Slabs that lost their owner while something was in them stay slabs until a
 * lane that needs blocks of that size adopts them. So: one of each size, and
 * more until fresh memory is taken; who then leaves gives back all that is
 * empty.
 */
static void adopt_all(struct lshm_region *region)
{
	struct lshm_heap_info before, heap;
	uint64_t *first = NULL, *block;

	for (uint64_t size = 16; size <= 131072;) {
		UT_OK(lshm_heap_stat(region, &before));
		for (uint64_t n = 0;; n++) {
			UT_SOME(block = lshm_alloc(region, size));
			*block = lshm_offset(region, first);
			first = block;
			if (n % 64 && size < 4096)
				continue;
			UT_OK(lshm_heap_stat(region, &heap));
			if (heap.free_bytes != before.free_bytes ||
			    heap.total_bytes != before.total_bytes)
				break;
		}
		size = lshm_usable_size(region, block) + 1;
	}
	UT_OK(lshm_heap_stat(region, &heap));
	UT_EQ(0, heap.orphan_slabs);
	while ((block = first)) {
		first = lshm_at(region, *block, 8);
		UT_OK(lshm_free(region, block));
	}
}

/* Nothing but what is attached keeps memory from being free. */
static void all_else_is_free(struct books *b)
{
	struct lshm_heap_info heap;

	UT_OK(lshm_heap_stat(b->region, &heap));
	UT_CMP(heap.slabs, <=, b->blocks);
	UT_CMP(heap.run_bytes, <=, b->bytes);
	UT_EQ(0, heap.draft_blocks);
	UT_EQ(b->bytes, heap.attached_bytes);
}

void take_books(struct worker *w)
{
	struct books b = {.region = w->region};
	struct lshm_object_info object;
	uint64_t cursor = 0;

	nobody_is_left(b.region);
	for (int a = 0; a < AREAS; a++)
		areas[a]->audit(&b, w->shared[a]);
	while (lshm_object_next(b.region, &cursor, &object) == 0)
		enter(&b, object.offset, object.size, 64);
	enter_descriptors(&b);
	compare(&b);
	/* and it can all be given back */
	for (int a = 0; a < AREAS; a++)
		if (areas[a]->clear)
			areas[a]->clear(b.region, w->shared[a]);
	remove_objects(b.region);
	b = (struct books){.region = b.region};
	enter_descriptors(&b);
	compare(&b);
	adopt_all(b.region);
	compare(&b);
	lshm_region_close(w->region);
	UT_OK(w->fd < 0 ? lshm_region_open(&w->region, ut_name, 0, NULL)
			: lshm_region_open_fd(&w->region, w->fd, 0, NULL));
	b.region = w->region;
	all_else_is_free(&b);
	nobody_is_left(w->region);
}
