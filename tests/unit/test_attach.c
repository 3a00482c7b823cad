/* SPDX-License-Identifier: MIT */
/*
 * test_attach.c - fields of shared data that refer to blocks; see heap.h
 */
#include "blocks.h"

#include <time.h>

struct shelf {
	struct lshm_mutex mutex;
	lshm_off field;
	lshm_off other;
};

static struct shelf *make_shelf(struct lshm_region *region)
{
	struct shelf *shelf;

	UT_OK(lshm_object_create(region, "shelf", "shelf", sizeof(*shelf), NULL,
	    NULL, (void **)&shelf));
	return shelf;
}

static struct shelf *find_shelf(struct lshm_region *region)
{
	struct shelf *shelf;

	UT_OK(lshm_object_open(
	    region, "shelf", "shelf", sizeof(*shelf), (void **)&shelf));
	return shelf;
}

UT_TEST(replace, UT_EACH)
{
	static const size_t sizes[] = {10, 1000, 100000, 1000000};
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shelf *shelf = make_shelf(region);
	struct lshm_mutex *mutex = &shelf->mutex;
	uint64_t base = heap_stat(region).attached_blocks;

	UT_OK(lshm_mutex_lock(region, mutex, LSHM_FOREVER));
	for (size_t i = 0; i < UT_COUNT(sizes); i++) {
		void *one, *two, *old = shelf;

		UT_SOME(one = lshm_alloc(region, sizes[i]));
		UT_SOME(two = lshm_alloc(region, sizes[i]));
		block_fill(one, sizes[i], 1);
		UT_OK(lshm_attach(region, mutex, &shelf->field, one));
		UT_EQ(lshm_offset(region, one), shelf->field);
		UT_EQ(1, heap_stat(region).draft_blocks);
		UT_EQ(base + 1, heap_stat(region).attached_blocks);
		/* full: whoever does not take the old block is refused */
		UT_ERR(-EBUSY, lshm_attach(region, mutex, &shelf->field, two),
		    "already");
		UT_EQ(lshm_offset(region, one), shelf->field);
		/* an attached block is nobody's draft */
		UT_ERR(-EPERM, lshm_attach(region, mutex, &shelf->other, one),
		    "draft");
		UT_EQ(0, shelf->other);
		UT_OK(lshm_replace(region, mutex, &shelf->field, two, &old));
		UT_PTR(one, old);
		UT_EQ(lshm_offset(region, two), shelf->field);
		UT_EQ(1, heap_stat(region).draft_blocks);
		block_check(one, sizes[i], 1);
		UT_OK(lshm_detach(region, mutex, &shelf->field, &old));
		UT_PTR(two, old);
		UT_EQ(0, shelf->field);
		UT_OK(lshm_detach(region, mutex, &shelf->field, &old));
		UT_PTR(NULL, old);
		UT_OK(lshm_free(region, one));
		UT_OK(lshm_free(region, two));
		UT_EQ(0, heap_stat(region).draft_blocks);
		UT_EQ(base, heap_stat(region).attached_blocks);
	}
	UT_OK(lshm_mutex_unlock(region, mutex));
	lshm_region_close(region);
}

UT_TEST(replace_refusals, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shelf *shelf = make_shelf(region);
	struct lshm_mutex *mutex = &shelf->mutex;
	struct lshm_mutex outside = {0};
	lshm_off field = 0;
	void *old = shelf;
	char *block;

	UT_SOME(block = lshm_alloc(region, 100));
	UT_ERR(
	    -EPERM, lshm_attach(region, mutex, &shelf->field, block), "lock");
	UT_OK(lshm_mutex_lock(region, mutex, LSHM_FOREVER));
	UT_ERR(-EINVAL, lshm_attach(region, mutex, &field, block));
	UT_ERR(-EINVAL, lshm_attach(region, &outside, &shelf->field, block));
	UT_ERR(-EINVAL, lshm_attach(region, mutex, &shelf->field, &field));
	UT_ERR(-EINVAL, lshm_attach(region, mutex, &shelf->field, block + 16));
	UT_ERR(-EINVAL, lshm_attach(region, mutex, &shelf->field,
			    lshm_region_base(region)));
	/* a field that refers to nothing sensible */
	shelf->field = 12345;
	UT_TRUE(lshm_detach(region, mutex, &shelf->field, &old) < 0);
	shelf->field = UINT64_MAX;
	UT_TRUE(lshm_detach(region, mutex, &shelf->field, &old) < 0);
	UT_PTR(shelf, old); /* left alone on failure */
	shelf->field = 0;
	UT_EQ(1, heap_stat(region).draft_blocks);
	UT_OK(lshm_free(region, block));
	UT_TRUE(lshm_attach(region, mutex, &shelf->field, block) < 0);
	UT_EQ(0, shelf->field);
	UT_OK(lshm_mutex_unlock(region, mutex));
	lshm_region_close(region);
}

/* Have a certain block, shelve it, and, when it is freed, have it again. */
static void has_it_twice(struct lshm_region *region, int fd, void *arg)
{
	struct shelf *shelf = find_shelf(region);
	lshm_off wanted = ut_hear(fd);
	uint64_t times = 0;
	void *block;

	do
		UT_SOME(block = lshm_alloc(region, 16));
	while (lshm_offset(region, block) != wanted);
	UT_OK(lshm_mutex_lock(region, &shelf->mutex, UT_SOON));
	UT_OK(lshm_attach(region, &shelf->mutex, &shelf->field, block));
	UT_OK(lshm_mutex_unlock(region, &shelf->mutex));
	ut_say(fd, 0);
	ut_hear(fd);
	while ((block = lshm_alloc(region, 16)))
		times += lshm_offset(region, block) == wanted;
	ut_say(fd, times);
	ut_hear(fd);
}

/*
 * What lies above the top of a lane's stack is of slabs that it has: a block of
 * one that it had, and another one has now, does not come to lie on the stack.
 * The first group of 64 blocks lay there with the last one at the bottom.
 */
UT_TEST(freed_where_the_slab_was_ours, UT_EACH)
{
	struct lshm_region *region = ut_create(FIXED(MIB));
	struct shelf *shelf = make_shelf(region);
	struct ut_child child;
	lshm_off off;
	void *block;

	UT_SOME(block = lshm_alloc(region, 16));
	off = lshm_offset(region, block) + (lshm_off)(63 * 16);
	UT_OK(lshm_free(region, block));
	UT_NULL(lshm_alloc(region, MIB), "full"); /* all slabs are given back */
	child = ut_spawn(region, 0, has_it_twice, NULL);
	ut_say(child.fd, off);
	ut_hear(child.fd);
	UT_OK(lshm_mutex_lock(region, &shelf->mutex, UT_SOON));
	UT_OK(lshm_detach(region, &shelf->mutex, &shelf->field, &block));
	UT_OK(lshm_mutex_unlock(region, &shelf->mutex));
	UT_EQ(off, lshm_offset(region, block));
	UT_OK(lshm_free(region, block));
	ut_say(child.fd, 0);
	UT_EQ(1, ut_hear(child.fd));
	UT_NULL(lshm_alloc(region, 16), "full");
	ut_say(child.fd, 0);
	ut_join(&child);
	lshm_region_close(region);
}

static void put_body(struct lshm_region *region, int fd, void *arg)
{
	struct shelf *shelf = find_shelf(region);
	size_t size = *(size_t *)arg;
	void *block;

	UT_OK(lshm_mutex_lock(region, &shelf->mutex, LSHM_FOREVER));
	UT_SOME(block = lshm_alloc(region, size));
	block_fill(block, size, 5);
	UT_OK(lshm_attach(region, &shelf->mutex, &shelf->field, block));
	UT_OK(lshm_mutex_unlock(region, &shelf->mutex));
	UT_SOME(lshm_alloc(region, size)); /* and this one is a draft */
	ut_say(fd, 0);
	ut_hear(fd);
}

/* What is attached stays when its maker dies, and passes on to others. */
UT_TEST(attached_blocks_survive, UT_EACH)
{
	static size_t sizes[] = {100, 10000, 200000};
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shelf *shelf = make_shelf(region);

	for (size_t i = 0; i < UT_COUNT(sizes); i++) {
		struct ut_child child =
		    ut_spawn(region, 0, put_body, &sizes[i]);
		void *block;

		ut_hear(child.fd);
		UT_EQ(1, heap_stat(region).draft_blocks);
		ut_kill(&child);
		UT_EQ(1, lshm_region_reap(region));
		UT_EQ(0, heap_stat(region).draft_blocks);
		UT_EQ(2, heap_stat(region).attached_blocks);
		UT_OK(lshm_mutex_lock(region, &shelf->mutex, UT_SOON));
		UT_OK(
		    lshm_detach(region, &shelf->mutex, &shelf->field, &block));
		UT_OK(lshm_mutex_unlock(region, &shelf->mutex));
		block_check(block, sizes[i], 5);
		UT_OK(lshm_free(region, block));
		UT_EQ(1, heap_stat(region).attached_blocks);
	}
	lshm_region_close(region);
}

UT_TEST(attached_blocks_may_be_freed, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shelf *shelf = make_shelf(region);
	static size_t size = 100;
	struct ut_child child = ut_spawn(region, 0, put_body, &size);

	ut_hear(child.fd);
	UT_OK(lshm_free(region, lshm_at(region, shelf->field, size)));
	UT_ERR(-EINVAL, lshm_free(region, lshm_at(region, shelf->field, size)),
	    "block");
	UT_EQ(1, heap_stat(region).attached_blocks);
	ut_say(child.fd, 0);
	ut_join(&child);
	lshm_region_close(region);
}

static void take_body(struct lshm_region *region, int fd, void *arg)
{
	struct shelf *shelf = find_shelf(region);

	for (;;) {
		uint64_t size = ut_hear(fd);
		void *block;

		if (!size)
			return;
		UT_OK(lshm_mutex_lock(region, &shelf->mutex, UT_SOON));
		UT_OK(
		    lshm_detach(region, &shelf->mutex, &shelf->field, &block));
		UT_OK(lshm_mutex_unlock(region, &shelf->mutex));
		block_check(block, size, size);
		UT_OK(lshm_free(region, block));
		ut_say(fd, 0);
	}
}

/* Allocated here, freed there, many times: nothing is lost. */
UT_TEST(handed_over_and_freed_there, UT_EACH)
{
	struct lshm_region *region = ut_create(FIXED(2 * MIB));
	struct shelf *shelf = make_shelf(region);
	uint64_t seed = ut_seed();
	struct ut_child child = ut_spawn(region, 0, take_body, NULL);

	for (uint64_t i = ut_scale(4000); i; i--) {
		size_t size = 1 + block_size(&seed) % 100000;
		void *block;

		UT_SOME(block = lshm_alloc(region, size));
		block_fill(block, size, size);
		UT_OK(lshm_mutex_lock(region, &shelf->mutex, UT_SOON));
		UT_OK(lshm_attach(region, &shelf->mutex, &shelf->field, block));
		UT_OK(lshm_mutex_unlock(region, &shelf->mutex));
		ut_say(child.fd, size);
		ut_hear(child.fd);
	}
	ut_say(child.fd, 0);
	ut_join(&child);
	UT_EQ(0, heap_stat(region).draft_blocks);
	UT_EQ(1, heap_stat(region).attached_blocks);
	lshm_region_close(region);
}

static void replaces_body(struct lshm_region *region, int fd, void *arg)
{
	struct shelf *shelf = find_shelf(region);
	uint64_t seed = *(uint64_t *)arg + (uint64_t)getpid();

	ut_say(fd, 0);
	for (;;) {
		size_t size = 8 + block_size(&seed);
		uint64_t *block = lshm_alloc(region, size);
		int ret = lshm_mutex_lock(region, &shelf->mutex, UT_SOON);
		void *old;

		UT_TRUE(ret == 0 || ret == LSHM_OWNER_DIED);
		if (block)
			*block = ~lshm_offset(region, block);
		UT_OK(lshm_replace(
		    region, &shelf->mutex, &shelf->field, block, &old));
		UT_OK(lshm_mutex_unlock(region, &shelf->mutex));
		if (!old)
			continue;
		UT_EQ(~lshm_offset(region, old), *(uint64_t *)old);
		UT_OK(lshm_free(region, old));
	}
}

/* Killed while replacing: the field names an attached block, or null. */
UT_TEST(killed_while_replacing, UT_EACH)
{
	struct lshm_region *region = ut_create(FIXED(8 * MIB));
	struct shelf *shelf = make_shelf(region);
	uint64_t seed = ut_seed();

	for (uint64_t i = ut_scale(50); i; i--) {
		struct ut_child child =
		    ut_spawn(region, 0, replaces_body, &seed);
		struct timespec pause = {
		    .tv_nsec = (long)(ut_random(&seed) % 2000000)};
		struct lshm_heap_info info;
		int ret;

		ut_hear(child.fd);
		nanosleep(&pause, NULL); /* where it dies is left to chance */
		ut_kill(&child);
		if (i % 2)
			UT_EQ(1, lshm_region_reap(region));
		ret = lshm_mutex_lock(region, &shelf->mutex, UT_SOON);
		UT_TRUE(ret == 0 || ret == LSHM_OWNER_DIED);
		if (shelf->field)
			UT_EQ(~shelf->field,
			    *(uint64_t *)lshm_at(region, shelf->field, 8));
		UT_OK(lshm_mutex_unlock(region, &shelf->mutex));
		UT_CMP((uint64_t)lshm_region_reap(region), <=, 1);
		info = heap_stat(region);
		UT_EQ(0, info.draft_blocks);
		UT_EQ(shelf->field ? 2 : 1, info.attached_blocks);
	}
	lshm_region_close(region);
}
