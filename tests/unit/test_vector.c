/* SPDX-License-Identifier: MIT */
/*
 * test_vector.c - arrays that grow; see vector.h
 */
#include "unit.h"

struct shared {
	struct lshm_mutex mutex;
	struct lshm_vector vector;
};

static struct shared *make(struct lshm_region *region, uint32_t element)
{
	struct shared *shared;

	UT_OK(lshm_object_create(region, "shared", "shared", sizeof(*shared),
	    NULL, NULL, (void **)&shared));
	shared->vector.element = element;
	UT_OK(lshm_mutex_lock(region, &shared->mutex, UT_SOON));
	return shared;
}

static struct shared *find(struct lshm_region *region)
{
	struct shared *shared;

	UT_OK(lshm_object_open(
	    region, "shared", "shared", sizeof(*shared), (void **)&shared));
	return shared;
}

static uint64_t attached(struct lshm_region *region)
{
	struct lshm_heap_info info;

	UT_OK(lshm_heap_stat(region, &info));
	UT_EQ(0, info.draft_blocks);
	return info.attached_blocks;
}

static int push(struct lshm_region *region, struct shared *s, uint64_t value)
{
	return lshm_vector_push(region, &s->mutex, &s->vector, &value);
}

static uint64_t at(struct lshm_region *region, struct shared *s, uint64_t i)
{
	uint64_t *p = lshm_vector_at(region, &s->vector, i);

	UT_SOME(p);
	return *p;
}

UT_TEST(push_pop_at, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *s = make(region, 8);
	uint64_t blocks = attached(region), value, *first;

	UT_PTR(NULL, lshm_vector_at(region, &s->vector, 0));
	UT_ERR(-ENOENT, lshm_vector_pop(region, &s->mutex, &s->vector, NULL),
	    "empty");
	for (uint64_t i = 0; i < 100000; i++) {
		UT_OK(push(region, s, i));
		UT_EQ(i, at(region, s, i));
		UT_PTR(NULL, lshm_vector_at(region, &s->vector, i + 1));
	}
	UT_PTR(NULL, lshm_vector_at(region, &s->vector, UINT64_MAX));
	UT_EQ(blocks + 1, attached(region));
	first = lshm_vector_at(region, &s->vector, 0);
	for (uint64_t i = 0; i < 100000; i++)
		UT_EQ(i, first[i]);
	for (uint64_t i = 100000; i > 50000; i--) {
		UT_OK(lshm_vector_pop(region, &s->mutex, &s->vector, &value));
		UT_EQ(i - 1, value);
	}
	UT_PTR(NULL, lshm_vector_at(region, &s->vector, 50000));
	UT_EQ(49999, at(region, s, 49999));
	UT_OK(lshm_vector_push(region, &s->mutex, &s->vector, NULL));
	UT_EQ(0, at(region, s, 50000));
	UT_OK(lshm_vector_pop(region, &s->mutex, &s->vector, NULL));
	UT_OK(lshm_mutex_unlock(region, &s->mutex));
	lshm_region_close(region);
}

UT_TEST(reserve_truncate_clear, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *s = make(region, 8);
	uint64_t blocks = attached(region);
	lshm_off block;

	UT_OK(lshm_vector_clear(region, &s->mutex, &s->vector));
	UT_OK(lshm_vector_reserve(region, &s->mutex, &s->vector, 0));
	UT_EQ(0, s->vector.block);
	UT_OK(lshm_vector_reserve(region, &s->mutex, &s->vector, 1000));
	block = s->vector.block;
	for (uint64_t i = 0; i < 1000; i++)
		UT_OK(push(region, s, i));
	UT_EQ(block, s->vector.block);
	UT_ERR(-EINVAL,
	    lshm_vector_truncate(region, &s->mutex, &s->vector, 1001), "1000",
	    "1001");
	UT_OK(lshm_vector_truncate(region, &s->mutex, &s->vector, 1000));
	UT_OK(lshm_vector_truncate(region, &s->mutex, &s->vector, 10));
	UT_EQ(10, s->vector.count);
	UT_EQ(9, at(region, s, 9));
	UT_PTR(NULL, lshm_vector_at(region, &s->vector, 10));
	UT_EQ(block, s->vector.block);
	UT_OK(lshm_vector_reserve(region, &s->mutex, &s->vector, 5000));
	UT_EQ(9, at(region, s, 9));
	UT_EQ(blocks + 1, attached(region));
	UT_OK(lshm_vector_clear(region, &s->mutex, &s->vector));
	UT_EQ(0, s->vector.count);
	UT_EQ(blocks, attached(region));
	UT_OK(push(region, s, 5));
	UT_EQ(5, at(region, s, 0));
	UT_OK(lshm_mutex_unlock(region, &s->mutex));
	lshm_region_close(region);
}

/* An element of its own is pushed while the vector grows. */
UT_TEST(push_its_own, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *s = make(region, 8);
	lshm_off block = 0;
	int grown = 0;

	UT_OK(push(region, s, 42));
	for (uint64_t i = 1; grown < 4; i++) {
		UT_OK(lshm_vector_push(region, &s->mutex, &s->vector,
		    lshm_vector_at(region, &s->vector, i - 1)));
		UT_EQ(42, at(region, s, i));
		grown += block != s->vector.block;
		block = s->vector.block;
	}
	UT_OK(lshm_mutex_unlock(region, &s->mutex));
	lshm_region_close(region);
}

/* Elements of odd sizes, against an array; large ones. */
UT_TEST(random_against_an_array, UT_ONCE)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *s = make(region, 1);
	static const uint32_t sizes[] = {1, 3, 8, 24, 1000, 100000};
	uint64_t blocks = attached(region), seed = ut_seed();
	unsigned char *model = calloc(500, 100000), *one = malloc(100000);

	for (size_t k = 0; k < UT_COUNT(sizes); k++) {
		uint32_t size = s->vector.element = sizes[k];
		size_t n = 0, max = size == 100000 ? 20 : 500;

		for (uint64_t i = ut_scale(5000); i; i--) {
			uint64_t r = ut_random(&seed);

			if (n && (n == max || r % 3 == 0)) {
				UT_OK(lshm_vector_pop(
				    region, &s->mutex, &s->vector, one));
				n--;
				UT_EQ(0, memcmp(one, model + n * size, size));
			} else if (r % 1000 == 1) {
				n = n ? r / 1000 % n : 0;
				UT_OK(lshm_vector_truncate(
				    region, &s->mutex, &s->vector, n));
			} else if (r % 1000 == 2) {
				n = 0;
				UT_OK(lshm_vector_clear(
				    region, &s->mutex, &s->vector));
			} else {
				memset(model + n * size, (int)(r >> 32), size);
				UT_OK(lshm_vector_push(region, &s->mutex,
				    &s->vector, model + n * size));
				n++;
			}
			UT_EQ(n, s->vector.count);
			if (n) {
				size_t j = (size_t)(r >> 16) % n;
				void *p = lshm_vector_at(region, &s->vector, j);

				UT_SOME(p);
				UT_EQ(0, memcmp(p, model + j * size, size));
			}
		}
		UT_OK(lshm_vector_clear(region, &s->mutex, &s->vector));
		UT_EQ(blocks, attached(region));
	}
	free(model);
	free(one);
	lshm_region_close(region);
}

static void push_body(struct lshm_region *region, int fd, void *arg)
{
	uint64_t id = (uint64_t)(uintptr_t)arg, rounds = ut_scale(3000);
	struct shared *s = find(region);

	for (uint64_t i = 0; i < rounds; i++) {
		UT_OK(lshm_mutex_lock(region, &s->mutex, UT_SOON));
		UT_OK(push(region, s, id << 32 | i));
		UT_OK(lshm_mutex_unlock(region, &s->mutex));
	}
}

/* Everybody's elements are there, each one's in the order of their coming. */
UT_TEST(processes, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *s = make(region, 8);
	uint64_t next[4] = {0};
	struct ut_child children[4];

	UT_OK(lshm_mutex_unlock(region, &s->mutex));
	for (size_t i = 0; i < 4; i++)
		children[i] =
		    ut_spawn(region, 0, push_body, (void *)(uintptr_t)i);
	for (size_t i = 0; i < 4; i++)
		ut_join(&children[i]);
	UT_EQ(4 * ut_scale(3000), s->vector.count);
	for (uint64_t i = 0; i < s->vector.count; i++) {
		uint64_t value = at(region, s, i);

		UT_CMP(value >> 32, <, 4);
		UT_EQ(next[value >> 32]++, value & 0xffffffff);
	}
	lshm_region_close(region);
}

UT_TEST(errors, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL), *observer;
	struct shared *s = make(region, 8);
	struct lshm_vector elsewhere = {.element = 8};
	struct lshm_mutex unlocked = {0};
	uint64_t blocks = attached(region), value = 1;

	UT_OK(push(region, s, 1));
	UT_ERR(-EINVAL, lshm_vector_push(region, &s->mutex, &elsewhere, &value),
	    "vector");
	UT_ERR(-EINVAL, lshm_vector_push(region, &unlocked, &s->vector, &value),
	    "mutex");
	s->vector.element = 0;
	UT_ERR(-EINVAL, push(region, s, 1), "element");
	UT_PTR(NULL, lshm_vector_at(region, &s->vector, 0));
	s->vector.element = 8;
	UT_ERR(-ENOMEM,
	    lshm_vector_reserve(region, &s->mutex, &s->vector, UINT64_MAX));
	UT_ERR(-ENOMEM,
	    lshm_vector_reserve(region, &s->mutex, &s->vector, 64 * MIB / 8));
	UT_EQ(1, at(region, s, 0));
	/* full to the brim: all is as it was */
	while (push(region, s, 1) == 0)
		;
	UT_ERR(-ENOMEM, push(region, s, 1));
	UT_EQ(blocks + 1, attached(region));
	UT_EQ(1, at(region, s, s->vector.count - 1));
	UT_OK(lshm_mutex_unlock(region, &s->mutex));
	UT_ERR(-EPERM, push(region, s, 1), "lock");
	UT_ERR(-EPERM, lshm_vector_pop(region, &s->mutex, &s->vector, NULL));
	UT_ERR(-EPERM, lshm_vector_reserve(region, &s->mutex, &s->vector, 1));
	UT_ERR(-EPERM, lshm_vector_truncate(region, &s->mutex, &s->vector, 0));
	UT_ERR(-EPERM, lshm_vector_clear(region, &s->mutex, &s->vector));
	observer = ut_reopen(region, LSHM_RDONLY);
	UT_ERR(-EROFS, push(observer, s, 1), "observer");
	s = find(observer);
	UT_EQ(1, at(observer, s, 0)); /* looking is allowed */
	lshm_region_close(observer);
	lshm_region_close(region);
}

static void inherited_body(struct lshm_region *unused, int fd, void *region)
{
	struct lshm_vector v = {.count = 1, .element = 8};
	struct lshm_mutex mutex = {0};

	UT_ERR(-ECHILD, lshm_vector_push(region, &mutex, &v, NULL), "fork");
	UT_ERR(-ECHILD, lshm_vector_pop(region, &mutex, &v, NULL), "fork");
	UT_ERR(-ECHILD, lshm_vector_reserve(region, &mutex, &v, 1), "fork");
	UT_ERR(-ECHILD, lshm_vector_truncate(region, &mutex, &v, 1), "fork");
	UT_ERR(-ECHILD, lshm_vector_clear(region, &mutex, &v), "fork");
	UT_PTR(NULL, lshm_vector_at(region, &v, 0));
}

UT_TEST(fork_child_is_refused, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct ut_child child = ut_spawn(NULL, 0, inherited_body, region);

	ut_join(&child);
	lshm_region_close(region);
}

UT_TEST(damaged, UT_EACH)
{
	static const uint64_t bad[] = {
	    1, 8, 4096, 12345, UINT64_C(1) << 40, UINT64_MAX, UINT64_MAX - 7};
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *s = make(region, 8);
	lshm_off block;

	UT_OK(push(region, s, 1));
	block = s->vector.block;
	for (size_t i = 0; i < UT_COUNT(bad); i++) {
		s->vector.block = bad[i];
		UT_ERR(-LSHM_ECORRUPT, push(region, s, 1), "damaged");
		UT_ERR(-LSHM_ECORRUPT,
		    lshm_vector_pop(region, &s->mutex, &s->vector, NULL));
		UT_ERR(-LSHM_ECORRUPT,
		    lshm_vector_clear(region, &s->mutex, &s->vector));
		UT_PTR(NULL, lshm_vector_at(region, &s->vector, 0));
		s->vector.block = block;
		s->vector.count = bad[i] * 1000;
		UT_ERR(-LSHM_ECORRUPT, push(region, s, 1), "damaged");
		UT_ERR(-LSHM_ECORRUPT, lshm_vector_reserve(region, &s->mutex,
					   &s->vector, UINT64_MAX));
		if (bad[i] > MIB) /* else it is in the region */
			UT_PTR(NULL, lshm_vector_at(region, &s->vector,
					 s->vector.count - 1));
		s->vector.count = 1;
	}
	s->vector.element = UINT32_MAX;
	UT_ERR(-LSHM_ECORRUPT, push(region, s, 1), "damaged");
	s->vector.element = 8;
	s->vector.block = 0;
	UT_ERR(-LSHM_ECORRUPT, push(region, s, 1), "damaged");
	s->vector.block = block;
	UT_EQ(1, at(region, s, 0));
	UT_OK(lshm_mutex_unlock(region, &s->mutex));
	lshm_region_close(region);
}
