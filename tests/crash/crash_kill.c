/* SPDX-License-Identifier: MIT */
/*
 * crash_kill.c - death at a random moment in calls on the heap, fields, locks,
 * objects and regions; see kill.h
 */
#include "kill.h"

/* ---- the heap ---- */

static void alloc_free(struct lshm_region *region, uint64_t *seed)
{
	void *blocks[20];

	for (size_t i = 0; i < UT_COUNT(blocks); i++) {
		size_t size = 8 + ut_random(seed) % (i % 10 ? 2000 : 400000);

		blocks[i] = lshm_alloc(region, size);
		UT_SOME(blocks[i]);
		crash_fill(blocks[i], size, i * 10000);
	}
	for (size_t i = 0; i < UT_COUNT(blocks); i++) {
		UT_EQ(i * 10000, CRASH_WHOLE(blocks[i], 8));
		UT_OK(lshm_free(region, blocks[i]));
	}
}

static void alloc_free_body(struct lshm_region *region, int fd, void *arg)
{
	struct storm *s = arg;

	ut_say(fd, 0);
	for (;;)
		alloc_free(region, &s->seed);
}

static void alloc_free_too(struct storm *s)
{
	alloc_free(s->region, &s->seed);
}

UT_TEST(alloc_and_free, UT_EACH)
{
	struct storm s;

	storm_begin(&s);
	storm(&s, alloc_free_body, alloc_free_too, balanced);
	storm_end(&s);
}

static void grow_body(struct lshm_region *region, int fd, void *arg)
{
	struct lshm_region_info info;

	ut_say(fd, 0);
	for (;;) {
		UT_OK(lshm_region_stat(region, &info));
		if (info.size < info.max_size)
			UT_OK(lshm_region_grow(region, info.size + 1));
	}
}

static void grow_too(struct storm *s)
{
	struct lshm_region_info info;

	alloc_free(s->region, &s->seed);
	UT_OK(lshm_region_stat(s->region, &info));
	if (info.size < info.max_size)
		UT_OK(lshm_region_grow(s->region, info.size + 1));
}

UT_TEST(grow, UT_EACH)
{
	struct storm s;

	storm_begin(&s);
	storm(&s, grow_body, grow_too, balanced);
	storm_end(&s);
}

/* ---- fields, under their lock ---- */

static bool lock(struct lshm_region *region, struct lshm_mutex *mutex)
{
	int ret = lshm_mutex_lock(region, mutex, UT_SOON);

	UT_TRUE(ret == 0 || ret == LSHM_OWNER_DIED);
	return ret == LSHM_OWNER_DIED;
}

static void replace(
    struct lshm_region *region, struct shared *shared, uint64_t random)
{
	void *block = random % 3 ? lshm_alloc(region, 100) : NULL, *old;

	if (block)
		crash_fill(block, 96, random);
	lock(region, &shared->mutex);
	UT_OK(
	    lshm_replace(region, &shared->mutex, &shared->field, block, &old));
	UT_OK(lshm_mutex_unlock(region, &shared->mutex));
	if (old)
		CRASH_WHOLE(old, 96);
	UT_OK(lshm_free(region, old));
}

static void replace_body(struct lshm_region *region, int fd, void *arg)
{
	struct storm *s = arg;
	struct shared *shared = find(region);

	ut_say(fd, 0);
	for (;;)
		replace(region, shared, ut_random(&s->seed));
}

static void replace_too(struct storm *s)
{
	replace(s->region, s->shared, ut_random(&s->seed));
}

/* The field's block, if there is one, is whole, and is all there is. */
static void field_is_well(struct storm *s)
{
	struct crash_books now = CRASH_BOOKS(s->region);
	void *block = lshm_at(s->region, s->shared->field, 96);

	UT_EQ(s->books.attached_blocks + (block != NULL), now.attached_blocks);
	if (block) {
		CRASH_WHOLE(block, 96);
		UT_CMP(lshm_usable_size(s->region, block), >=, 100);
	}
}

UT_TEST(attach_detach_replace, UT_EACH)
{
	struct storm s;

	storm_begin(&s);
	storm(&s, replace_body, replace_too, field_is_well);
	replace(s.region, s.shared, 0);
	storm_end(&s);
}

/* The lock protects that these two words are the same. */
static void lock_unlock(struct lshm_region *region, struct shared *shared)
{
	volatile lshm_off *one = &shared->field, *two = &shared->other_field;

	if (lock(region, &shared->mutex))
		*two = *one;
	UT_EQ(*one, *two);
	++*one;
	++*two;
	UT_OK(lshm_mutex_unlock(region, &shared->mutex));
}

static void lock_body(struct lshm_region *region, int fd, void *arg)
{
	struct shared *shared = find(region);

	ut_say(fd, 0);
	for (;;)
		lock_unlock(region, shared);
}

static void lock_too(struct storm *s)
{
	lock_unlock(s->region, s->shared);
}

UT_TEST(lock_and_unlock, UT_EACH)
{
	struct storm s;

	storm_begin(&s);
	storm(&s, lock_body, lock_too, lock_too);
	storm_end(&s);
}

/* ---- objects ---- */

#define NAMES 80 /* more than one block of the directory has entries */

static int fill_object(void *block, void *arg)
{
	crash_fill(block, 200, *(uint64_t *)arg);
	return 0;
}

static void create_or_remove(struct lshm_region *region, uint64_t random)
{
	uint64_t n = random % NAMES, value = n * 1000;
	char name[16];
	int ret;

	snprintf(name, sizeof(name), "object %d", (int)n);
	if (random / NAMES % 2) {
		ret = lshm_object_create(
		    region, name, "test", 200, fill_object, &value, NULL);
		UT_TRUE(ret == 0 || ret == -EEXIST);
	} else {
		ret = lshm_object_remove(region, name, "test");
		UT_TRUE(ret == 0 || ret == -ENOENT);
	}
}

static void objects_body(struct lshm_region *region, int fd, void *arg)
{
	struct storm *s = arg;

	ut_say(fd, 0);
	for (;;)
		create_or_remove(region, ut_random(&s->seed));
}

static void objects_too(struct storm *s)
{
	create_or_remove(s->region, ut_random(&s->seed));
}

/* Each object is whole, and has one name. */
static void objects_are_well(struct storm *s)
{
	struct crash_books now = CRASH_BOOKS(s->region);
	struct lshm_object_info info;
	bool there[NAMES] = {false};
	uint64_t cursor = 0, count = 0;

	while (lshm_object_next(s->region, &cursor, &info) == 0) {
		void *block = lshm_at(s->region, info.offset, 200);
		int n = -1;

		if (sscanf(info.name, "object %d", &n) != 1)
			continue;
		UT_CMP((uint64_t)n, <, NAMES);
		UT_TRUE(!there[n]);
		there[n] = true;
		UT_EQ(n * 1000, CRASH_WHOLE(block, 200));
		count++;
	}
	/* the first 63 entries need no block, and a second one stays */
	UT_CMP(now.attached_blocks - s->books.attached_blocks - count, <=, 1);
}

UT_TEST(object_create_and_remove, UT_EACH)
{
	struct storm s;

	storm_begin(&s);
	/* the directory's second block comes now, and stays */
	for (uint64_t n = 0; n < NAMES; n++)
		create_or_remove(s.region, NAMES + n);
	for (uint64_t n = 0; n < NAMES; n++)
		create_or_remove(s.region, n);
	s.books = CRASH_BOOKS(s.region);
	storm(&s, objects_body, objects_too, objects_are_well);
	for (uint64_t n = 0; n < NAMES; n++)
		create_or_remove(s.region, n);
	storm_end(&s);
}

/* ---- regions ---- */

static void regions_body(struct lshm_region *region, int fd, void *arg)
{
	ut_say(fd, 0);
	for (;;) {
		struct lshm_region *again = ut_reopen(region, 0);

		UT_SOME(lshm_alloc(again, 100)); /* closing gives it back */
		lshm_region_close(again);
	}
}

static void regions_too(struct storm *s)
{
	lshm_region_close(ut_reopen(s->region, 0));
}

UT_TEST(open_and_close_regions, UT_EACH)
{
	struct storm s;

	storm_begin(&s);
	storm(&s, regions_body, regions_too, balanced);
	storm_end(&s);
}
