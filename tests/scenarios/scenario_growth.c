/* SPDX-License-Identifier: MIT */
/*
 * scenario_growth.c - the region grows while others use it
 */
#include "scenario.h"

#include "../../libshm/atomic.h"

enum { GROWERS = 4, PIECES = 160, PIECE = 128 << 10 };

/* In the region, by its own name. */
struct pieces {
	struct lshm_mutex mutex;
	uint64_t count;
	lshm_off blocks[PIECES];
};

struct grower {
	uintptr_t address;
};

static void check_piece(
    struct lshm_region *region, struct pieces *pieces, uint64_t n)
{
	void *block = lshm_at(region, pieces->blocks[n], PIECE);

	UT_SOME(block);
	UT_EQ(n << 32, CRASH_WHOLE(block, PIECE));
}

static void add_piece(struct lshm_region *region, struct pieces *pieces)
{
	void *block;

	UT_OK(lshm_mutex_lock(region, &pieces->mutex, UT_SOON));
	if (pieces->count < PIECES) {
		UT_SOME(block = lshm_alloc(region, PIECE));
		crash_fill(block, PIECE, pieces->count << 32);
		pieces->blocks[pieces->count] = lshm_offset(region, block);
		lshmi_store_release(&pieces->count, pieces->count + 1);
	}
	UT_OK(lshm_mutex_unlock(region, &pieces->mutex));
}

static void grower_body(struct lshm_region *none, int fd, void *arg)
{
	const struct grower *grower = arg;
	struct lshm_region_opts opts =
	    LSHM_REGION_OPTS(.address = (void *)grower->address);
	struct lshm_region *region;
	struct pieces *pieces;
	uint64_t checked = 0, size;

	if (ut_backend->named)
		UT_OK(lshm_region_open(&region, ut_name, 0, &opts));
	else
		UT_OK(lshm_region_receive(&region, fd, 0, &opts));
	ut_say(fd, (uintptr_t)lshm_region_base(region));
	UT_OK(lshm_object_open(
	    region, "pieces", "pieces", sizeof(*pieces), (void **)&pieces));
	ut_hear(fd);
	while (checked < PIECES) {
		add_piece(region, pieces);
		while (checked < lshmi_load_acquire(&pieces->count))
			check_piece(region, pieces, checked++);
	}
	for (uint64_t n = 0; n < PIECES; n++)
		check_piece(region, pieces, n);
	ut_say(fd, 0);
	/* Grown by somebody else, just now. */
	size = ut_hear(fd);
	UT_SOME(lshm_at(region, size - 8, 8));
	UT_EQ(0, *(volatile uint64_t *)lshm_at(region, size - 8, 8));
	for (uint64_t n = 0; n < PIECES; n++)
		check_piece(region, pieces, n);
	ut_say(fd, 0);
	ut_hear(fd); /* until then others look at its blocks */
	lshm_region_close(region);
}

UT_TEST(growth, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	uintptr_t base = (uintptr_t)lshm_region_base(region),
		  bases[GROWERS + 1];
	struct grower growers[GROWERS];
	struct ut_child children[GROWERS];
	struct lshm_region_info before, after;

	UT_OK(lshm_object_create(region, "pieces", "pieces",
	    sizeof(struct pieces), NULL, NULL, NULL));
	bases[GROWERS] = base;
	for (uintptr_t i = 0; i < GROWERS; i++) {
		growers[i].address = base - (i + 1) * 256 * MIB;
		children[i] = ut_spawn(NULL, 0, grower_body, &growers[i]);
		if (!ut_backend->named)
			UT_OK(lshm_region_send(region, children[i].fd, 0));
		bases[i] = ut_hear(children[i].fd);
	}
	for (int i = 0; i <= GROWERS; i++)
		for (int k = 0; k < i; k++)
			UT_CMP(bases[i], !=, bases[k]);
	UT_OK(lshm_region_stat(region, &before));
	for (int i = 0; i < GROWERS; i++)
		ut_say(children[i].fd, 0);
	for (int i = 0; i < GROWERS; i++)
		ut_hear(children[i].fd);
	UT_OK(lshm_region_stat(region, &after));
	UT_CMP(after.size, >=, before.size + 18 * MIB);
	UT_CMP(after.size, <, 60 * MIB);
	UT_OK(lshm_region_grow(region, 64 * MIB));
	for (int i = 0; i < GROWERS; i++)
		ut_say(children[i].fd, 64 * MIB);
	for (int i = 0; i < GROWERS; i++)
		ut_hear(children[i].fd);
	for (int i = 0; i < GROWERS; i++) {
		ut_say(children[i].fd, 0);
		ut_join(&children[i]);
	}
	UT_PTR((void *)base, lshm_region_base(region));
	TELL("5 different bases, all see 160 pieces and the last byte at once",
	    "bases %lx %lx %lx %lx %lx; %llu bytes, %llu, 67108864",
	    (unsigned long)bases[4], (unsigned long)bases[0],
	    (unsigned long)bases[1], (unsigned long)bases[2],
	    (unsigned long)bases[3], (unsigned long long)before.size,
	    (unsigned long long)after.size);
	UT_OK(lshm_object_remove(region, "pieces", "pieces"));
	end_balanced(region);
}
