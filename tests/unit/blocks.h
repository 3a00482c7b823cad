/* SPDX-License-Identifier: MIT */
/*
 * blocks.h - what the tests of the heap share: its figures, and what is in a
 * block
 */
#ifndef LIBSHM_TEST_BLOCKS_H
#define LIBSHM_TEST_BLOCKS_H

#include "unit.h"

/** Options of a region that cannot grow. */
#define FIXED(bytes) \
	(&(struct lshm_region_opts)LSHM_REGION_OPTS(.size = (bytes)))

/** Mostly small. */
static inline size_t block_size(uint64_t *seed)
{
	uint64_t kind = ut_random(seed) % 100;

	if (kind < 70)
		return ut_random(seed) % 512;
	if (kind < 95)
		return ut_random(seed) % (32 * KIB);
	return ut_random(seed) % (512 * KIB);
}

/** The figures, which must agree with each other. */
static inline struct lshm_heap_info heap_stat(struct lshm_region *region)
{
	struct lshm_heap_info info;

	memset(&info, 0xff, sizeof(info));
	UT_OK(lshm_heap_stat(region, &info));
	UT_EQ(info.total_bytes,
	    info.free_bytes + info.slab_bytes + info.run_bytes);
	UT_CMP(info.largest_free_bytes, <=, info.free_bytes);
	UT_CMP(info.total_bytes, <=, info.max_bytes);
	UT_CMP(info.orphan_slabs, <=, info.slabs);
	return info;
}

/** Fill a block with what follows from @tag, and check that it is so. */
static inline void block_fill(void *block, size_t size, uint64_t tag)
{
	uint8_t *bytes = block;

	for (size_t i = 0; i < size; i++)
		bytes[i] = (uint8_t)(tag + i * 7);
}

static inline void block_check(const void *block, size_t size, uint64_t tag)
{
	const uint8_t *bytes = block;

	for (size_t i = 0; i < size; i++)
		if (bytes[i] != (uint8_t)(tag + i * 7))
			UT_EQ((uint8_t)(tag + i * 7), bytes[i]);
}

#endif
