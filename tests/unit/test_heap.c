/* SPDX-License-Identifier: MIT */
/*
 * test_heap.c - memory inside a region; see heap.h
 *
 * Blocks that fields refer to are in test_attach.c.
 */
#include "blocks.h"

#include <time.h>

/* ---- one block ---- */

static void one_block(struct lshm_region *region, size_t size)
{
	void *block;

	UT_SOME(block = lshm_alloc(region, size));
	UT_EQ(0, (uintptr_t)block % 16);
	UT_EQ(0, lshm_offset(region, block) % 16);
	UT_CMP(lshm_usable_size(region, block), >=, size);
	UT_PTR(block, lshm_at(region, lshm_offset(region, block),
			  lshm_usable_size(region, block)));
	memset(block, 0xa5, lshm_usable_size(region, block));
	UT_OK(lshm_free(region, block));
	UT_EQ(0, lshm_usable_size(region, block));
}

UT_TEST(every_size, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);

	for (size_t size = 1; size <= 3000; size++)
		one_block(region, size);
	for (size_t size = 3000; size <= 8 * MIB; size += size / 13)
		for (size_t d = 0; d < 3; d++)
			one_block(region, size - 1 + d);
	for (size_t power = 16; power <= 16 * MIB; power *= 2)
		for (size_t d = 0; d < 3; d++)
			one_block(region, power - 1 + d);
	UT_EQ(0, heap_stat(region).draft_blocks);
	UT_EQ(0, heap_stat(region).run_bytes);
	lshm_region_close(region);
}

UT_TEST(a_large_one, UT_EACH)
{
	struct lshm_region *region =
	    ut_create(&(struct lshm_region_opts)LSHM_REGION_OPTS(.size = MIB,
		.max_size = 300 * MIB));
	char *block = lshm_alloc(region, 256 * MIB);

	if (!block && strcasestr(lshm_error(), "space")) {
		lshm_region_close(region);
		ut_skip("%s", lshm_error());
	}
	UT_SOME(block);
	UT_CMP(lshm_usable_size(region, block), >=, 256 * MIB);
	block[0] = 1;
	block[256 * MIB - 1] = 2;
	UT_EQ(1, heap_stat(region).draft_blocks);
	UT_OK(lshm_free(region, block));
	UT_EQ(0, heap_stat(region).draft_blocks);
	UT_SOME(block = lshm_alloc(region, 256 * MIB));
	UT_OK(lshm_free(region, block));
	lshm_region_close(region);
}

UT_TEST(nothing, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	char *block;

	UT_SOME(block = lshm_alloc(region, 0)); /* counts as 1 */
	UT_CMP(lshm_usable_size(region, block), >=, 1);
	UT_OK(lshm_free(region, block));
	UT_OK(lshm_free(region, NULL));
	UT_EQ(0, lshm_usable_size(region, NULL));
	lshm_region_close(region);
}

UT_TEST(strings, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	char *one, *two;

	UT_SOME(one = lshm_strdup(region, "a string"));
	UT_SOME(two = lshm_strdup(region, ""));
	UT_STR("a string", one);
	UT_STR("", two);
	UT_OK(lshm_free(region, one));
	UT_OK(lshm_free(region, two));
	lshm_region_close(region);
}

UT_TEST(aligned, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_region *other = ut_reopen(region, 0);

	for (size_t alignment = 1; alignment <= 2 * MIB; alignment *= 2) {
		static const size_t sizes[] = {0, 1, 17, 100, 5000, 70000, MIB};
		void *blocks[2 * UT_COUNT(sizes)];

		for (size_t i = 0; i < UT_COUNT(blocks); i++) {
			size_t size = sizes[i / 2];

			UT_SOME(blocks[i] = lshm_alloc_aligned(
				    region, alignment, size));
			UT_EQ(0, (uintptr_t)blocks[i] % alignment);
			UT_EQ(0, (uintptr_t)blocks[i] % 16);
			UT_EQ(0, (uintptr_t)lshm_at(
				     other, lshm_offset(region, blocks[i]), 1) %
				     alignment);
			UT_CMP(lshm_usable_size(region, blocks[i]), >=, size);
			block_fill(blocks[i], size, i);
		}
		for (size_t i = 0; i < UT_COUNT(blocks); i++) {
			block_check(blocks[i], sizes[i / 2], i);
			UT_OK(lshm_free(region, blocks[i]));
		}
	}
	UT_EQ(0, heap_stat(region).draft_blocks);
	UT_EQ(0, heap_stat(region).run_bytes);
	lshm_region_close(other);
	lshm_region_close(region);
}

UT_TEST(bad_alignment, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);

	UT_NULL(lshm_alloc_aligned(region, 0, 1), "power of two");
	UT_NULL(lshm_alloc_aligned(region, 24, 1), "power of two");
	UT_NULL(lshm_alloc_aligned(region, 4 * MIB, 1), "2 MiB");
	UT_NULL(lshm_alloc_aligned(region, SIZE_MAX, 1), "power of two");
	lshm_region_close(region);
}

/* ---- many blocks, and a model of them ---- */

struct block {
	uint8_t *address;
	size_t size;
	uint64_t tag;
};

/* Allocate and free at random; no block ever changes but by its holder. */
static void play(struct lshm_region *region, uint64_t seed, uint64_t steps)
{
	static struct block blocks[300];

	for (; steps; steps--) {
		struct block *b = &blocks[ut_random(&seed) % UT_COUNT(blocks)];

		if (b->address) {
			block_check(b->address, b->size, b->tag);
			UT_OK(lshm_free(region, b->address));
			b->address = NULL;
			continue;
		}
		b->size = block_size(&seed);
		b->tag = ut_random(&seed);
		b->address =
		    ut_random(&seed) % 8
			? lshm_alloc(region, b->size)
			: lshm_alloc_aligned(region,
			      UINT64_C(1) << ut_random(&seed) % 17, b->size);
		if (b->address)
			block_fill(b->address, b->size, b->tag);
		else
			UT_TRUE(strcasestr(lshm_error(), "heap is full"));
	}
	for (size_t i = 0; i < UT_COUNT(blocks); i++) {
		if (!blocks[i].address)
			continue;
		block_check(blocks[i].address, blocks[i].size, blocks[i].tag);
		UT_OK(lshm_free(region, blocks[i].address));
		blocks[i].address = NULL;
	}
}

UT_TEST(random_blocks, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);

	play(region, ut_seed(), ut_scale(10000));
	UT_EQ(0, heap_stat(region).draft_blocks);
	UT_EQ(0, heap_stat(region).draft_bytes);
	UT_EQ(0, heap_stat(region).run_bytes);
	lshm_region_close(region);
}

/* The same with too little memory for all of it. */
UT_TEST(random_blocks_in_a_small_heap, UT_EACH)
{
	struct lshm_region *region = ut_create(FIXED(2 * MIB));

	play(region, ut_seed(), ut_scale(10000));
	UT_EQ(0, heap_stat(region).draft_blocks);
	UT_EQ(0, heap_stat(region).run_bytes);
	lshm_region_close(region);
}

static void play_body(struct lshm_region *region, int fd, void *arg)
{
	play(region, *(uint64_t *)arg + (uint64_t)getpid(), ut_scale(5000));
}

UT_TEST(random_blocks_of_several_processes, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	uint64_t seed = ut_seed();
	struct ut_child children[3];

	for (size_t i = 0; i < UT_COUNT(children); i++)
		children[i] = ut_spawn(region, 0, play_body, &seed);
	for (size_t i = 0; i < UT_COUNT(children); i++)
		ut_join(&children[i]);
	UT_EQ(0, heap_stat(region).draft_blocks);
	UT_EQ(0, heap_stat(region).run_bytes);
	UT_EQ(0, heap_stat(region).attached_blocks);
	lshm_region_close(region);
}

/* Free neighbours become one again, in whatever order they are freed. */
UT_TEST(neighbours_join, UT_EACH)
{
	struct lshm_region *region = ut_create(FIXED(8 * MIB));
	uint64_t seed = ut_seed();
	uint64_t largest = heap_stat(region).largest_free_bytes;
	void *blocks[16];

	for (int round = 0; round < 20; round++) {
		for (size_t i = 0; i < UT_COUNT(blocks); i++)
			UT_SOME(blocks[i] = lshm_alloc(region, 300 * KIB));
		for (size_t i = UT_COUNT(blocks); i; i--) {
			size_t pick = ut_random(&seed) % i;

			UT_OK(lshm_free(region, blocks[pick]));
			blocks[pick] = blocks[i - 1];
		}
		UT_EQ(largest, heap_stat(region).largest_free_bytes);
	}
	lshm_region_close(region);
}

/* ---- figures ---- */

UT_TEST(figures, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_region_info info;
	struct lshm_heap_info heap = heap_stat(region);
	void *small, *large;

	UT_OK(lshm_region_stat(region, &info));
	UT_EQ(info.size - info.heap_offset, heap.total_bytes);
	UT_EQ(info.max_size - info.heap_offset, heap.max_bytes);
	UT_EQ(0, heap.draft_blocks);
	UT_EQ(0, heap.attached_blocks);
	UT_EQ(0, heap.slabs);
	UT_SOME(small = lshm_alloc(region, 100));
	UT_SOME(large = lshm_alloc(region, 600 * KIB));
	UT_CMP(lshm_offset(region, small), >=, info.heap_offset);
	heap = heap_stat(region);
	UT_EQ(2, heap.draft_blocks);
	UT_EQ(lshm_usable_size(region, small) + lshm_usable_size(region, large),
	    heap.draft_bytes);
	UT_EQ(1, heap.slabs);
	UT_EQ(0, heap.orphan_slabs);
	UT_CMP(heap.slab_bytes, >, 0);
	UT_CMP(heap.run_bytes, >=, 600 * KIB);
	UT_OK(lshm_object_create(region, "o", "t", 50, NULL, NULL, NULL));
	UT_EQ(2, heap_stat(region).draft_blocks);
	UT_EQ(1, heap_stat(region).attached_blocks);
	UT_CMP(heap_stat(region).attached_bytes, >=, 50);
	UT_OK(lshm_free(region, small));
	UT_OK(lshm_free(region, large));
	heap = heap_stat(region);
	UT_EQ(0, heap.draft_blocks);
	UT_EQ(0, heap.draft_bytes);
	UT_EQ(0, heap.run_bytes);
	lshm_region_close(region);
}

/* ---- what cannot be freed ---- */

UT_TEST(double_free, UT_EACH)
{
	static const size_t sizes[] = {
	    1, 16, 100, 1000, 10000, 50000, 100000, 500000, 2000000};
	struct lshm_region *region = ut_create(UT_SMALL);

	for (size_t i = 0; i < UT_COUNT(sizes); i++) {
		void *block;

		UT_SOME(block = lshm_alloc(region, sizes[i]));
		UT_OK(lshm_free(region, block));
		UT_ERR(-EINVAL, lshm_free(region, block), "block");
		UT_ERR(-EINVAL, lshm_free(region, block), "block");
		UT_EQ(0, heap_stat(region).draft_blocks);
	}
	lshm_region_close(region);
}

UT_TEST(foreign_pointers, UT_EACH)
{
	static const size_t sizes[] = {40, 1000, 20000, 100000, 2000000};
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_region *other = ut_reopen(region, 0);
	char *base = lshm_region_base(region);
	struct lshm_region_info info;
	char here[64];
	char *block;

	UT_ERR(-EINVAL, lshm_free(region, here), "block");
	UT_ERR(-EINVAL, lshm_free(region, base), "block");
	UT_ERR(-EINVAL, lshm_free(region, base + 64), "block");
	UT_ERR(-EINVAL, lshm_free(region, base - 1), "block");
	UT_ERR(-EINVAL, lshm_free(region, base + MIB), "block");
	UT_ERR(-EINVAL, lshm_free(region, (void *)UINTPTR_MAX), "block");
	UT_EQ(0, lshm_usable_size(region, here));
	UT_EQ(0, lshm_usable_size(region, base));
	for (size_t i = 0; i < UT_COUNT(sizes); i++) {
		static const size_t inside[] = {1, 8, 24, 33};

		UT_SOME(block = lshm_alloc(region, sizes[i]));
		for (size_t j = 0; j < UT_COUNT(inside); j++) {
			UT_ERR(-EINVAL, lshm_free(region, block + inside[j]),
			    "block");
			UT_EQ(0, lshm_usable_size(region, block + inside[j]));
		}
		UT_ERR(-EINVAL, lshm_free(other, block), "block");
		UT_CMP(lshm_usable_size(region, block), >=, sizes[i]);
		UT_OK(lshm_free(region, block));
	}
	/* every byte of the tables, and of what is free */
	UT_OK(lshm_region_stat(region, &info));
	for (uint64_t off = 0; off < info.size; off += 509)
		UT_CMP((uint64_t)-lshm_free(region, base + off), ==, EINVAL);
	UT_EQ(0, heap_stat(region).draft_blocks);
	lshm_region_close(other);
	lshm_region_close(region);
}

static void allocate_body(struct lshm_region *region, int fd, void *arg)
{
	static const size_t sizes[] = {10, 100, 5000, 100000, 1000000};
	void *blocks[UT_COUNT(sizes)];

	for (size_t i = 0; i < UT_COUNT(sizes); i++) {
		UT_SOME(blocks[i] = lshm_alloc(region, sizes[i]));
		block_fill(blocks[i], sizes[i], i);
		ut_say(fd, lshm_offset(region, blocks[i]));
	}
	ut_say(fd, 0);
	ut_hear(fd);
	for (size_t i = 0; i < UT_COUNT(sizes); i++) {
		block_check(blocks[i], sizes[i], i);
		UT_OK(lshm_free(region, blocks[i]));
	}
	ut_say(fd, 0);
	ut_hear(fd);
}

UT_TEST(drafts_of_another_process, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct ut_child child = ut_spawn(region, 0, allocate_body, NULL);
	lshm_off off;
	unsigned int n = 0;

	for (; (off = ut_hear(child.fd)); n++) {
		void *block = lshm_at(region, off, 1);

		UT_ERR(-EPERM, lshm_free(region, block), "draft");
		UT_CMP(lshm_usable_size(region, block), >, 0);
	}
	UT_EQ(n, heap_stat(region).draft_blocks);
	ut_say(child.fd, 0);
	ut_hear(child.fd);
	UT_EQ(0, heap_stat(region).draft_blocks);
	ut_say(child.fd, 0);
	ut_join(&child);
	lshm_region_close(region);
}

/* ---- no memory ---- */

/* Fill the heap with blocks of one size, chained; how many there are. */
static unsigned int exhaust(
    struct lshm_region *region, size_t size, void ***chain)
{
	unsigned int n = 0;

	for (;; n++) {
		void **block = lshm_alloc(region, size);

		if (!block)
			return n;
		*block = *chain;
		*chain = block;
	}
}

static void free_chain(struct lshm_region *region, void ***chain)
{
	while (*chain) {
		void **block = *chain;

		*chain = *block;
		UT_OK(lshm_free(region, block));
	}
}

UT_TEST(out_of_memory, UT_EACH)
{
	static const size_t sizes[] = {48, 1000, 30000, 70000, 500000};
	volatile size_t enormous = SIZE_MAX; /* the compiler would warn */
	struct lshm_region *region = ut_create(FIXED(4 * MIB));

	for (size_t i = 0; i < UT_COUNT(sizes); i++) {
		struct lshm_heap_info before, after;
		void **chain = NULL;
		void **block;
		unsigned int n = exhaust(region, sizes[i], &chain);

		UT_CMP(n * sizes[i], >, 5 * MIB / 2); /* it was used well */
		before = heap_stat(region);
		UT_NULL(lshm_alloc(region, sizes[i]), "full");
		UT_NULL(lshm_alloc(region, 8 * MIB), "full");
		UT_NULL(lshm_alloc(region, enormous));
		UT_NULL(lshm_alloc(region, enormous - 65536));
		UT_ERR(-ENOMEM, lshm_object_create(region, "o", "t", 8 * MIB,
				    NULL, NULL, NULL));
		after = heap_stat(region);
		UT_EQ(0, memcmp(&before, &after, sizeof(before)));
		UT_EQ(n, after.draft_blocks);
		/* one freed is one to be had */
		block = chain;
		chain = *chain;
		UT_OK(lshm_free(region, block));
		UT_SOME(block = lshm_alloc(region, sizes[i]));
		*block = chain;
		chain = block;
		free_chain(region, &chain);
		UT_EQ(0, heap_stat(region).draft_blocks);
		/* and about as many as before, again: how memory is cut into
		 * slabs depends on what was there */
		UT_CMP(exhaust(region, sizes[i], &chain), >=, n - n / 16);
		free_chain(region, &chain);
	}
	lshm_region_close(region);
}

/* What slabs of one size have taken is there for other sizes again. */
UT_TEST(memory_returns_from_slabs, UT_EACH)
{
	struct lshm_region *region = ut_create(FIXED(4 * MIB));
	unsigned int large = 0;

	for (int round = 0; round < 3; round++) {
		static const size_t sizes[] = {32, 64, 512, 4096, 16384};

		for (size_t i = 0; i < UT_COUNT(sizes); i++) {
			void **chain = NULL;

			UT_CMP(exhaust(region, sizes[i], &chain) * sizes[i], >,
			    2 * MIB);
			free_chain(region, &chain);
		}
		{
			void **chain = NULL;
			unsigned int n = exhaust(region, 200 * KIB, &chain);

			if (!large)
				large = n;
			UT_CMP(n, >=, 8);
			UT_EQ(large, n);
			free_chain(region, &chain);
		}
	}
	lshm_region_close(region);
}

UT_TEST(grows_up_to_the_limit, UT_EACH)
{
	struct lshm_region *region =
	    ut_create(&(struct lshm_region_opts)LSHM_REGION_OPTS(.size = MIB,
		.max_size = 6 * MIB));
	struct lshm_region_info info;
	void **chain = NULL;
	unsigned int n;

	UT_NULL(lshm_alloc(region, 7 * MIB), "full", "6291456");
	UT_OK(lshm_region_stat(region, &info));
	UT_CMP(info.size, <=, 6 * MIB);
	n = exhaust(region, 100 * KIB, &chain);
	UT_CMP(n * 100 * KIB, >, 4 * MIB);
	UT_OK(lshm_region_stat(region, &info));
	UT_EQ(6 * MIB, info.size);
	UT_EQ(info.size - info.heap_offset, heap_stat(region).total_bytes);
	UT_EQ(heap_stat(region).max_bytes, heap_stat(region).total_bytes);
	free_chain(region, &chain);
	/* what was grown is one piece with what was there */
	UT_SOME(chain = lshm_alloc(region, 5 * MIB));
	UT_OK(lshm_free(region, chain));
	lshm_region_close(region);
}

/* ---- drafts and deaths ---- */

UT_TEST(drafts_of_the_dead_return, UT_EACH)
{
	struct lshm_region *region = ut_create(FIXED(4 * MIB));
	struct lshm_heap_info before, after;
	struct ut_child child;
	void **chain = NULL;
	void *mine;

	UT_SOME(mine = lshm_alloc(region, 5000));
	block_fill(mine, 5000, 1);
	before = heap_stat(region);
	child = ut_spawn(region, 0, allocate_body, NULL);
	while (ut_hear(child.fd))
		;
	UT_EQ(before.draft_blocks + 5, heap_stat(region).draft_blocks);
	ut_kill(&child);
	UT_EQ(1, lshm_region_reap(region));
	after = heap_stat(region);
	UT_EQ(before.draft_blocks, after.draft_blocks);
	UT_EQ(before.draft_bytes, after.draft_bytes);
	UT_EQ(before.run_bytes, after.run_bytes);
	UT_EQ(0, after.attached_blocks);
	block_check(mine, 5000, 1);
	UT_CMP(exhaust(region, 64 * KIB, &chain), >=, 40);
	free_chain(region, &chain);
	lshm_region_close(region);
}

static void exhaust_body(struct lshm_region *region, int fd, void *arg)
{
	void **chain = NULL;
	unsigned int n = exhaust(region, 1000, &chain);

	free_chain(region, &chain);
	ut_say(fd, n);
	ut_hear(fd);
}

/* What one process has freed another one can have. */
UT_TEST(free_memory_is_everybodys, UT_EACH)
{
	struct lshm_region *region = ut_create(FIXED(4 * MIB));
	struct ut_child child = ut_spawn(region, 0, exhaust_body, NULL);
	uint64_t n = ut_hear(child.fd);
	void **chain = NULL;

	UT_EQ(0, heap_stat(region).draft_blocks);
	UT_CMP(exhaust(region, 2000, &chain), >, n / 4);
	free_chain(region, &chain);
	ut_say(child.fd, 0);
	ut_join(&child);
	lshm_region_close(region);
}

static void leave_body(struct lshm_region *region, int fd, void *arg)
{
	for (size_t size = 16; size < MIB; size *= 2)
		UT_SOME(lshm_alloc(region, size));
}

UT_TEST(drafts_return_on_detach, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);

	for (int i = 0; i < 20; i++) {
		struct ut_child child = ut_spawn(region, 0, leave_body, NULL);

		ut_join(&child);
		UT_EQ(0, heap_stat(region).draft_blocks);
		UT_EQ(0, heap_stat(region).run_bytes);
	}
	/* nor do slabs pile up that nobody owns */
	UT_CMP(heap_stat(region).slab_bytes, <, 8 * MIB);
	lshm_region_close(region);
}

static void play_for_ever_body(struct lshm_region *region, int fd, void *seed)
{
	ut_say(fd, 0);
	play(region, *(uint64_t *)seed + (uint64_t)getpid(), UINT64_MAX);
}

/* Killed anywhere: what it had comes back, what others have stays. */
UT_TEST(killed_anywhere, UT_EACH)
{
	struct lshm_region *region = ut_create(
	    &(struct lshm_region_opts)LSHM_REGION_OPTS(.size = 8 * MIB,
		.max_size = 16 * MIB));
	uint64_t seed = ut_seed();
	struct lshm_heap_info info;
	uint8_t *mine;

	UT_SOME(mine = lshm_alloc(region, 20000));
	block_fill(mine, 20000, 9);
	for (uint64_t i = ut_scale(30); i; i--) {
		struct ut_child children[2];
		struct timespec pause;

		for (size_t j = 0; j < 2; j++)
			children[j] =
			    ut_spawn(region, 0, play_for_ever_body, &seed);
		for (size_t j = 0; j < 2; j++)
			ut_hear(children[j].fd);
		/* where they die is left to chance */
		pause = (struct timespec){
		    .tv_nsec = (long)(ut_random(&seed) % 5000000)};
		nanosleep(&pause, NULL);
		for (size_t j = 0; j < 2; j++)
			ut_kill(&children[j]);
		/* the second may have reaped the first, for its memory */
		UT_CMP(lshm_region_reap(region), >=, 1);
		UT_EQ(0, lshm_region_reap(region));
		info = heap_stat(region);
		UT_EQ(1, info.draft_blocks);
		UT_EQ(0, info.run_bytes);
		block_check(mine, 20000, 9);
	}
	UT_OK(lshm_free(region, mine));
	UT_SOME(mine = lshm_alloc(region, 4 * MIB));
	lshm_region_close(region);
}
