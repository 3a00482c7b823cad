/* SPDX-License-Identifier: MIT */
/*
 * test_object.c - blocks with a name in the region's directory; see object.h
 */
#include "unit.h"

#include <limits.h>
#include <time.h>

static unsigned int count(struct lshm_region *region)
{
	struct lshm_object_info info;
	uint64_t cursor = 0;
	unsigned int n = 0;
	int ret;

	while ((ret = lshm_object_next(region, &cursor, &info)) == 0)
		n++;
	UT_EQ(-ENOENT, ret);
	return n;
}

UT_TEST(create_and_open, UT_EACH)
{
	static const char zero[1000];
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_region *other = ut_reopen(region, 0);
	char *one, *two;

	UT_OK(lshm_object_create(
	    region, "name", "type", 1000, NULL, NULL, (void **)&one));
	UT_EQ(0, lshm_offset(region, one) % 64);
	UT_EQ(0, (uintptr_t)one % 64);
	UT_EQ(0, memcmp(one, zero, sizeof(zero)));
	UT_CMP(lshm_usable_size(region, one), >=, 1000);
	UT_OK(lshm_object_open(other, "name", "type", 1000, (void **)&two));
	UT_EQ(lshm_offset(region, one), lshm_offset(other, two));
	UT_OK(lshm_object_open(region, "name", "type", 0, (void **)&two));
	UT_PTR(one, two);
	UT_EQ(0, ut_heap(region).draft_blocks);
	UT_OK(lshm_object_create(region, "n2", "type", 1, NULL, NULL, NULL));
	lshm_region_close(region);
	/* it stays when its creator leaves */
	UT_OK(lshm_object_open(other, "name", "type", 1000, (void **)&two));
	lshm_region_close(other);
}

/* Memory that was used before is zero all the same. */
UT_TEST(zero_after_use, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);

	for (size_t size = 64; size <= 200000; size *= 5) {
		uint8_t *block;

		UT_SOME(block = lshm_alloc(region, size));
		memset(block, 0xee, size);
		UT_OK(lshm_free(region, block));
		UT_OK(lshm_object_create(
		    region, "o", "t", size, NULL, NULL, (void **)&block));
		for (size_t i = 0; i < size; i++)
			if (block[i])
				UT_EQ(0, block[i]);
		memset(block, 0xee, size);
		UT_OK(lshm_object_remove(region, "o", "t"));
	}
	lshm_region_close(region);
}

UT_TEST(mismatch, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	void *out = region;

	UT_OK(lshm_object_create(
	    region, "frame", "camera", 100, NULL, NULL, NULL));
	UT_ERR(-EPROTOTYPE,
	    lshm_object_open(region, "frame", "lidar", 100, &out), "frame",
	    "camera", "lidar");
	UT_ERR(-EPROTOTYPE,
	    lshm_object_open(region, "frame", "camera", 200, &out), "frame",
	    "100", "200");
	UT_ERR(
	    -EPROTOTYPE, lshm_object_open(region, "frame", "camera", 99, &out));
	UT_ERR(
	    -EPROTOTYPE, lshm_object_open(region, "frame", "camer", 0, &out));
	UT_ERR(
	    -EPROTOTYPE, lshm_object_open(region, "frame", "cameras", 0, &out));
	UT_ERR(-ENOENT, lshm_object_open(region, "fram", "camera", 0, &out),
	    "fram");
	UT_ERR(-ENOENT, lshm_object_open(region, "frames", "camera", 0, &out),
	    "frames");
	UT_PTR(region, out);
	UT_ERR(-EPROTOTYPE, lshm_object_remove(region, "frame", "lidar"),
	    "camera", "lidar");
	UT_ERR(-EEXIST,
	    lshm_object_create(region, "frame", "x", 1, NULL, NULL, &out),
	    "frame");
	UT_EQ(1, count(region));
	lshm_region_close(region);
}

UT_TEST(names, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	char longest[LSHM_OBJECT_NAME_MAX + 1];
	char longer[LSHM_OBJECT_NAME_MAX + 2];
	char type[LSHM_OBJECT_TYPE_MAX + 1];
	char type_longer[LSHM_OBJECT_TYPE_MAX + 2];
	struct lshm_object_info info;
	uint64_t cursor = 0;
	void *out;

	memset(longest, 'n', sizeof(longest));
	longest[sizeof(longest) - 1] = 0;
	memset(longer, 'n', sizeof(longer));
	longer[sizeof(longer) - 1] = 0;
	memset(type, 't', sizeof(type));
	type[sizeof(type) - 1] = 0;
	memset(type_longer, 't', sizeof(type_longer));
	type_longer[sizeof(type_longer) - 1] = 0;

	UT_ERR(-EINVAL,
	    lshm_object_create(region, "", "t", 1, NULL, NULL, &out), "name");
	UT_ERR(-EINVAL,
	    lshm_object_create(region, "n", "", 1, NULL, NULL, &out), "type");
	UT_ERR(-EINVAL,
	    lshm_object_create(region, "n", "t", 0, NULL, NULL, &out), "byte");
	UT_ERR(-EINVAL,
	    lshm_object_create(region, "n", "lshm.mine", 1, NULL, NULL, &out),
	    "lshm.");
	UT_ERR(-ENAMETOOLONG,
	    lshm_object_create(region, longer, "t", 1, NULL, NULL, &out), "55");
	UT_ERR(-ENAMETOOLONG,
	    lshm_object_create(region, "n", type_longer, 1, NULL, NULL, &out),
	    "23");
	UT_EQ(0, count(region));
	UT_OK(lshm_object_create(region, longest, type, 1, NULL, NULL, NULL));
	UT_OK(lshm_object_open(region, longest, type, 1, &out));
	UT_OK(lshm_object_next(region, &cursor, &info));
	UT_STR(longest, info.name);
	UT_STR(type, info.type);
	UT_EQ(1, info.size);
	UT_EQ(lshm_offset(region, out), info.offset);
	UT_ERR(-ENOENT, lshm_object_next(region, &cursor, &info));
	UT_OK(lshm_object_remove(region, longest, type));
	lshm_region_close(region);
}

struct initial {
	unsigned int calls;
	int ret;
	bool zero;
};

static int fill_in(void *block, void *arg)
{
	struct initial *initial = arg;
	uint64_t *words = block;

	initial->calls++;
	initial->zero = words[0] == 0 && words[9] == 0;
	words[0] = 42;
	return initial->ret;
}

UT_TEST(init, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct initial initial = {0};
	uint64_t *block;

	UT_OK(lshm_object_create(
	    region, "o", "t", 80, fill_in, &initial, (void **)&block));
	UT_EQ(1, initial.calls);
	UT_TRUE(initial.zero);
	UT_EQ(42, block[0]);
	/* there is one: not called */
	UT_ERR(-EEXIST,
	    lshm_object_create(region, "o", "t", 80, fill_in, &initial, NULL));
	UT_EQ(1, initial.calls);
	lshm_region_close(region);
}

UT_TEST(init_gives_up, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct initial initial = {.ret = -77};
	struct lshm_heap_info before = ut_heap(region);
	void *block = region;

	UT_EQ(-77, lshm_object_create(
		       region, "o", "t", 80, fill_in, &initial, &block));
	initial.ret = INT_MIN;
	UT_EQ(INT_MIN, lshm_object_create(region, "o", "t", 200000, fill_in,
			   &initial, &block));
	UT_EQ(2, initial.calls);
	UT_PTR(region, block);
	UT_EQ(0, count(region));
	UT_ERR(-ENOENT, lshm_object_open(region, "o", "t", 0, &block));
	UT_EQ(0, ut_heap(region).draft_blocks);
	UT_EQ(before.attached_blocks, ut_heap(region).attached_blocks);
	initial.ret = 0;
	UT_OK(lshm_object_create(
	    region, "o", "t", 80, fill_in, &initial, &block));
	lshm_region_close(region);
}

UT_TEST(remove_it, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_heap_info before = ut_heap(region);
	void *block;

	for (size_t size = 1; size < 1000000; size *= 10) {
		UT_OK(lshm_object_create(
		    region, "o", "t", size, NULL, NULL, &block));
		UT_OK(lshm_object_remove(region, "o", "t"));
		UT_EQ(0, lshm_usable_size(region, block));
		UT_ERR(-ENOENT, lshm_object_open(region, "o", "t", 0, &block));
		UT_ERR(-ENOENT, lshm_object_remove(region, "o", "t"), "o");
	}
	UT_EQ(before.attached_blocks, ut_heap(region).attached_blocks);
	UT_EQ(0, ut_heap(region).draft_blocks);
	UT_EQ(0, ut_heap(region).run_bytes);
	lshm_region_close(region);
}

/* Channels are the library's: they are removed otherwise. */
UT_TEST(channels_are_objects, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_object_info info;
	struct lshm_producer *out;
	uint64_t cursor = 0;
	void *block;

	UT_OK(lshm_producer_open(
	    &out, region, "c", &(struct lshm_channel_opts)LSHM_CHANNEL_OPTS()));
	lshm_producer_close(out);
	UT_OK(lshm_object_next(region, &cursor, &info));
	UT_STR("c", info.name);
	UT_STR(LSHM_CHANNEL_TYPE, info.type);
	UT_ERR(-EINVAL, lshm_object_remove(region, "c", LSHM_CHANNEL_TYPE),
	    "lshm_channel_remove");
	UT_ERR(-EPROTOTYPE, lshm_object_remove(region, "c", "mine"));
	UT_ERR(-EPROTOTYPE, lshm_object_open(region, "c", "mine", 0, &block));
	UT_OK(lshm_channel_remove(region, "c"));
	UT_EQ(0, count(region));
	lshm_region_close(region);
}

UT_TEST(no_memory, UT_EACH)
{
	struct lshm_region *region =
	    ut_create(&(struct lshm_region_opts)LSHM_REGION_OPTS(.size = MIB));
	struct lshm_heap_info before = ut_heap(region);
	void *block = region;

	UT_ERR(-ENOMEM,
	    lshm_object_create(region, "o", "t", 2 * MIB, NULL, NULL, &block),
	    "full");
	UT_ERR(-ENOMEM, lshm_object_create(
			    region, "o", "t", UINT64_MAX, NULL, NULL, &block));
	UT_PTR(region, block);
	UT_EQ(0, count(region));
	UT_EQ(before.free_bytes, ut_heap(region).free_bytes);
	lshm_region_close(region);
}

static void walk(struct lshm_region *region, unsigned int expected)
{
	static bool seen[1000];
	struct lshm_object_info info;
	uint64_t cursor = 0;
	unsigned int n = 0;

	memset(seen, 0, sizeof(seen));
	for (; lshm_object_next(region, &cursor, &info) == 0; n++) {
		unsigned long i = strtoul(info.name, NULL, 10);
		uint32_t *block;

		UT_CMP(i, <, 1000);
		UT_TRUE(!seen[i]);
		seen[i] = true;
		UT_EQ(4 + i % 5, info.size);
		UT_SOME(block = lshm_at(region, info.offset, info.size));
		UT_EQ(i, *block);
	}
	UT_EQ(expected, n);
}

static void walk_body(struct lshm_region *region, int fd, void *arg)
{
	walk(region, 1000);
}

UT_TEST(a_thousand, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct ut_child child;
	char name[20];

	for (uint32_t i = 0; i < 1000; i++) {
		uint32_t *block;

		snprintf(name, sizeof(name), "%u", i);
		UT_OK(lshm_object_create(region, name, "number", 4 + i % 5,
		    NULL, NULL, (void **)&block));
		*block = i;
	}
	walk(region, 1000);
	child = ut_spawn(region, 0, walk_body, NULL);
	ut_join(&child);
	child = ut_spawn(region, LSHM_RDONLY, walk_body, NULL);
	ut_join(&child);
	for (uint32_t i = 0; i < 1000; i += 2) {
		snprintf(name, sizeof(name), "%u", i);
		UT_OK(lshm_object_remove(region, name, "number"));
	}
	walk(region, 500);
	for (uint32_t i = 0; i < 1000; i++) {
		void *block;
		int ret;

		snprintf(name, sizeof(name), "%u", i);
		ret = lshm_object_open(region, name, "number", 0, &block);
		UT_EQ(i % 2 ? 0 : -ENOENT, ret);
	}
	lshm_region_close(region);
}

UT_TEST(over_and_over, UT_EACH)
{
	struct lshm_region *region =
	    ut_create(&(struct lshm_region_opts)LSHM_REGION_OPTS(.size = MIB));

	for (uint64_t i = 0; i < 3 * ut_scale(1000); i++) {
		char name[30];

		snprintf(
		    name, sizeof(name), "object %llu", (unsigned long long)i);
		UT_OK(lshm_object_create(
		    region, name, "t", 1 + i % 1000, NULL, NULL, NULL));
		UT_OK(lshm_object_remove(region, name, "t"));
	}
	UT_EQ(0, count(region));
	UT_EQ(0, ut_heap(region).draft_blocks);
	UT_SOME(lshm_alloc(region, 256 * KIB));
	lshm_region_close(region);
}

/* ---- several processes ---- */

static int sign(void *block, void *arg)
{
	*(uint64_t *)block = (uint64_t)getpid();
	return 0;
}

static void racer_body(struct lshm_region *region, int fd, void *arg)
{
	uint64_t round;

	while ((round = ut_hear(fd))) {
		uint64_t *block;
		char name[30];
		int ret;

		snprintf(name, sizeof(name), "round %llu",
		    (unsigned long long)round);
		ret = lshm_object_create(
		    region, name, "pid", 8, sign, NULL, (void **)&block);
		if (ret)
			UT_EQ(-EEXIST, ret);
		else
			UT_EQ(getpid(), *block);
		ut_say(fd, ret == 0);
	}
}

UT_TEST(creation_race, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct ut_child children[2];
	uint64_t rounds = ut_scale(300);

	for (size_t i = 0; i < 2; i++)
		children[i] = ut_spawn(region, 0, racer_body, NULL);
	for (uint64_t round = 1; round <= rounds; round++) {
		uint64_t won[2], *block;
		char name[30];

		for (size_t i = 0; i < 2; i++)
			ut_say(children[i].fd, round);
		for (size_t i = 0; i < 2; i++)
			won[i] = ut_hear(children[i].fd);
		UT_EQ(1, won[0] + won[1]); /* exactly one wins */
		snprintf(name, sizeof(name), "round %llu",
		    (unsigned long long)round);
		UT_OK(
		    lshm_object_open(region, name, "pid", 8, (void **)&block));
		UT_EQ(children[won[1]].pid, *block);
	}
	for (size_t i = 0; i < 2; i++) {
		ut_say(children[i].fd, 0);
		ut_join(&children[i]);
	}
	UT_EQ(rounds, count(region));
	UT_EQ(0, ut_heap(region).draft_blocks);
	lshm_region_close(region);
}

static int number(void *block, void *arg)
{
	uint64_t *words = block;

	for (size_t i = 0; i < 20; i++)
		words[i] = i + 1;
	return 0;
}

static void creates_body(struct lshm_region *region, int fd, void *arg)
{
	ut_say(fd, 0);
	for (uint64_t i = 0;; i++) {
		char name[30];
		int ret;

		snprintf(name, sizeof(name), "object %llu",
		    (unsigned long long)i % 100);
		ret = i / 100 % 2 ? lshm_object_remove(region, name, "words")
				  : lshm_object_create(region, name, "words",
					160, number, NULL, NULL);
		UT_TRUE(ret == 0 || ret == -EEXIST || ret == -ENOENT);
	}
}

/* Killed while creating and removing: each is complete, or not there. */
UT_TEST(killed_while_creating, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	uint64_t seed = ut_seed();

	for (uint64_t i = ut_scale(40); i; i--) {
		struct ut_child child = ut_spawn(region, 0, creates_body, NULL);
		struct timespec pause = {
		    .tv_nsec = (long)(ut_random(&seed) % 2000000)};
		struct lshm_object_info info;
		uint64_t cursor = 0;
		unsigned int n = 0;

		ut_hear(child.fd);
		nanosleep(&pause, NULL); /* where it dies is left to chance */
		ut_kill(&child);
		UT_EQ(1, lshm_region_reap(region));
		for (; lshm_object_next(region, &cursor, &info) == 0; n++) {
			uint64_t *words;

			UT_STR("words", info.type);
			UT_OK(lshm_object_open(
			    region, info.name, "words", 160, (void **)&words));
			for (size_t j = 0; j < 20; j++)
				UT_EQ(j + 1, words[j]);
		}
		UT_CMP(n, <=, 100);
		/* the directory's lock was taken over */
		UT_OK(lshm_object_create(
		    region, "mine", "mine", 8, NULL, NULL, NULL));
		UT_OK(lshm_object_remove(region, "mine", "mine"));
		UT_EQ(0, ut_heap(region).draft_blocks);
		/* the objects, and one block more of the directory */
		UT_CMP(ut_heap(region).attached_blocks, <=, n + 1);
	}
	lshm_region_close(region);
}
