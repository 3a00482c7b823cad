/* SPDX-License-Identifier: MIT */
/*
 * test_map.c - from keys to values, for many processes at once; see map.h
 */
#include "unit.h"

#include "../../libshm/layout.h"
#include "../../libshm/siphash.h"

static struct lshm_map *make(struct lshm_region *region)
{
	struct lshm_map *map;

	UT_OK(lshm_map_create(region, "map", &map));
	return map;
}

static struct lshm_map *find(struct lshm_region *region)
{
	struct lshm_map *map;

	UT_OK(lshm_map_open(region, "map", &map));
	return map;
}

static struct lshm_heap_info heap(struct lshm_region *region)
{
	struct lshm_heap_info info;

	UT_OK(lshm_heap_stat(region, &info));
	return info;
}

static uint64_t count(struct lshm_region *region, struct lshm_map *map)
{
	uint64_t n;

	UT_OK(lshm_map_count(region, map, &n));
	return n;
}

/* Numbers as keys and values. */
static int put(
    struct lshm_region *r, struct lshm_map *map, uint64_t key, uint64_t value)
{
	return lshm_map_put(r, map, &key, sizeof(key), &value, sizeof(value));
}

static int insert(
    struct lshm_region *r, struct lshm_map *map, uint64_t key, uint64_t value)
{
	return lshm_map_insert(
	    r, map, &key, sizeof(key), &value, sizeof(value));
}

static int get(
    struct lshm_region *r, struct lshm_map *map, uint64_t key, uint64_t *value)
{
	size_t size;
	int ret = lshm_map_get(
	    r, map, &key, sizeof(key), value, sizeof(*value), &size);

	if (ret == 0)
		UT_EQ(sizeof(*value), size);
	return ret;
}

static int del(struct lshm_region *r, struct lshm_map *map, uint64_t key)
{
	return lshm_map_remove(r, map, &key, sizeof(key), NULL);
}

UT_TEST(hash, UT_ONCE)
{
	/* SipHash-2-4 of 0, 1, 2 ...: its authors' vectors */
	static const struct {
		size_t size;
		uint64_t hash;
	} known[] = {
	    {0, UINT64_C(0x726fdb47dd0e0e31)},
	    {1, UINT64_C(0x74f839c593dc67fd)},
	    {15, UINT64_C(0xa129ca6149be45e5)},
	};
	unsigned char data[16], key_bytes[16];
	uint64_t key[2];

	for (unsigned char i = 0; i < 16; i++)
		data[i] = key_bytes[i] = i;
	key[0] = lshmi_sip_word(key_bytes, 8);
	key[1] = lshmi_sip_word(key_bytes + 8, 8);
	for (size_t i = 0; i < UT_COUNT(known); i++)
		UT_EQ(known[i].hash,
		    lshmi_siphash(2, 4, key, data, known[i].size));
	/* SipHash-1-3 of nothing */
	UT_EQ(UINT64_C(0xabac0158050fc4dc), lshmi_siphash(1, 3, key, data, 0));
}

UT_TEST(put_get_remove, UT_EACH)
{
	static char large[MIB], copy[MIB];
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_map *map = make(region);
	char buffer[16] = "";
	size_t size = 99;

	UT_PTR(map, find(region));
	UT_EQ(0, count(region, map));
	UT_ERR(-ENOENT, lshm_map_get(region, map, "a", 1, buffer, 16, &size));
	UT_ERR(-ENOENT, lshm_map_remove(region, map, "a", 1, NULL));
	UT_OK(lshm_map_put(region, map, "a", 1, "hello", 6));
	UT_OK(lshm_map_put(region, map, "a\0b", 3, "world", 6));
	UT_OK(lshm_map_put(region, map, NULL, 0, NULL, 0));
	UT_EQ(3, count(region, map));
	UT_OK(lshm_map_get(region, map, "a", 1, buffer, 16, &size));
	UT_STR("hello", buffer);
	UT_EQ(6, size);
	UT_OK(lshm_map_get(region, map, "a\0b", 3, buffer, 6, NULL));
	UT_STR("world", buffer);
	UT_OK(lshm_map_get(region, map, "", 0, NULL, 0, &size));
	UT_EQ(0, size);
	UT_ERR(-ENOENT, lshm_map_get(region, map, "a\0", 2, buffer, 16, NULL));
	UT_ERR(-EMSGSIZE, lshm_map_get(region, map, "a", 1, buffer, 5, &size),
	    "6 bytes", "5");
	UT_EQ(6, size);
	/* replaced by shorter and longer ones, as a whole */
	UT_OK(lshm_map_put(region, map, "a", 1, "hi", 3));
	UT_OK(lshm_map_get(region, map, "a", 1, buffer, 16, &size));
	UT_STR("hi", buffer);
	UT_EQ(3, size);
	memset(large, 7, sizeof(large));
	UT_OK(lshm_map_put(region, map, "a", 1, large, sizeof(large)));
	UT_OK(lshm_map_get(region, map, "a", 1, copy, sizeof(copy), &size));
	UT_EQ(MIB, size);
	UT_EQ(0, memcmp(large, copy, MIB));
	UT_ERR(-EEXIST, lshm_map_insert(region, map, "a", 1, "x", 2), "value");
	UT_OK(lshm_map_insert(region, map, "b", 1, "x", 2));
	/* the longest key */
	UT_OK(lshm_map_put(region, map, large, LSHM_MAP_KEY_MAX, "long", 5));
	UT_OK(lshm_map_get(
	    region, map, large, LSHM_MAP_KEY_MAX, buffer, 16, &size));
	UT_STR("long", buffer);
	UT_EQ(5, count(region, map));
	UT_OK(lshm_map_remove(region, map, "a", 1, NULL));
	UT_ERR(-ENOENT, lshm_map_remove(region, map, "a", 1, NULL), "key");
	UT_ERR(-ENOENT, lshm_map_get(region, map, "a", 1, buffer, 16, &size));
	UT_EQ(4, count(region, map));
	UT_EQ(0, heap(region).draft_blocks);
	lshm_region_close(region);
}

UT_TEST(blocks, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_map *map = make(region);
	void *a = lshm_alloc(region, 100), *b = lshm_alloc(region, 100), *seen;
	uint64_t attached = heap(region).attached_blocks, value = 5;

	UT_OK(lshm_map_put_block(region, map, "k", 1, a, NULL));
	/* the block, its entry, the shard's table */
	UT_EQ(attached + 3, heap(region).attached_blocks);
	UT_OK(lshm_map_get_block(region, map, "k", 1, &seen));
	UT_PTR(a, seen);
	UT_ERR(-EPROTOTYPE, lshm_map_get(region, map, "k", 1, &value, 8, NULL),
	    "block");
	UT_ERR(-EEXIST, lshm_map_put_block(region, map, "k", 1, b, NULL));
	UT_ERR(
	    -EPERM, lshm_map_put_block(region, map, "l", 1, a, NULL), "draft");
	UT_ERR(-EINVAL,
	    lshm_map_put_block(region, map, "l", 1, (char *)b + 8, &seen),
	    "block");
	UT_OK(lshm_map_put_block(region, map, "k", 1, b, &seen));
	UT_PTR(a, seen);
	UT_EQ(1, heap(region).draft_blocks);
	UT_EQ(attached + 3, heap(region).attached_blocks);
	/* a block gives way to bytes, and bytes to a block */
	UT_OK(lshm_map_put(region, map, "k", 1, &value, 8));
	UT_ERR(-EPROTOTYPE, lshm_map_get_block(region, map, "k", 1, &seen),
	    "bytes");
	UT_EQ(attached + 2, heap(region).attached_blocks);
	UT_OK(lshm_map_put_block(region, map, "k", 1, a, &seen));
	UT_PTR(NULL, seen);
	UT_EQ(0, heap(region).draft_blocks);
	UT_OK(lshm_map_remove(region, map, "k", 1, &seen));
	UT_PTR(a, seen);
	UT_EQ(1, heap(region).draft_blocks);
	UT_OK(lshm_map_put(region, map, "k", 1, &value, 8));
	UT_OK(lshm_map_remove(region, map, "k", 1, &seen));
	UT_PTR(NULL, seen);
	UT_OK(lshm_map_put_block(region, map, "k", 1, a, NULL));
	UT_OK(lshm_map_remove(region, map, "k", 1, NULL)); /* frees it */
	UT_EQ(0, heap(region).draft_blocks);
	UT_EQ(attached + 1, heap(region).attached_blocks);
	lshm_region_close(region);
}

struct seen {
	struct lshm_region *region;
	struct lshm_map *map;
	uint64_t *times; /* by key */
	uint64_t keys;
	uint64_t calls;
	uint64_t sum;
};

static void look(const struct lshm_map_item *item, void *arg)
{
	struct seen *seen = arg;
	uint64_t key;

	UT_EQ(sizeof(key), item->key_size);
	memcpy(&key, item->key, sizeof(key));
	UT_CMP(key, <, seen->keys);
	UT_EQ(0, (uintptr_t)item->value % 8);
	UT_CMP(item->value_size, >=, 8);
	seen->times[key]++;
	seen->sum += *(uint64_t *)item->value;
	seen->calls++;
}

static struct seen walk(
    struct lshm_region *region, struct lshm_map *map, uint64_t keys)
{
	struct seen seen = {.keys = keys, .times = calloc(keys, 8)};
	uint64_t cursor = 0;
	int ret;

	while ((ret = lshm_map_next(region, map, &cursor, look, &seen)) == 0)
		;
	UT_EQ(-ENOENT, ret);
	UT_ERR(-ENOENT, lshm_map_next(region, map, &cursor, look, &seen));
	return seen;
}

UT_TEST(growth, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	uint64_t n = ut_scale(30000), value, tables;
	uint64_t before = heap(region).attached_blocks;
	struct lshm_map *map = make(region);
	struct seen seen;

	for (uint64_t i = 0; i < n; i++)
		UT_OK(put(region, map, i, i * 3));
	UT_EQ(n, count(region, map));
	for (uint64_t i = 0; i < n; i++) {
		UT_OK(get(region, map, i, &value));
		UT_EQ(i * 3, value);
	}
	UT_ERR(-ENOENT, get(region, map, n, &value));
	seen = walk(region, map, n);
	UT_EQ(n, seen.calls);
	UT_EQ(n * (n - 1) / 2 * 3, seen.sum);
	for (uint64_t i = 0; i < n; i++)
		UT_EQ(1, seen.times[i]);
	free(seen.times);
	tables = heap(region).attached_blocks - before - 1 - n;
	UT_CMP(tables, <=, LSHMI_MAP_SHARDS);
	for (uint64_t i = 0; i < n; i += 2)
		UT_OK(del(region, map, i));
	UT_EQ(n / 2, count(region, map));
	UT_EQ(before + 1 + tables + n / 2, heap(region).attached_blocks);
	UT_OK(lshm_map_clear(region, map));
	UT_EQ(0, count(region, map));
	UT_EQ(before + 1, heap(region).attached_blocks);
	seen = walk(region, map, n);
	UT_EQ(0, seen.calls);
	free(seen.times);
	UT_OK(put(region, map, 1, 1));
	UT_OK(lshm_map_destroy(region, "map"));
	UT_EQ(before, heap(region).attached_blocks);
	UT_EQ(0, heap(region).draft_blocks);
	UT_ERR(-ENOENT, lshm_map_open(region, "map", &map), "map");
	lshm_region_close(region);
}

/* The same operations on the map and on an array. */
UT_TEST(random_against_an_array, UT_ONCE)
{
	enum { KEYS = 600 };
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_map *map = make(region);
	uint64_t model[KEYS] = {0}, seed = ut_seed(), n = 0, value;
	bool block[KEYS] = {false};
	struct seen seen;

	for (uint64_t i = ut_scale(60000); i; i--) {
		uint64_t r = ut_random(&seed), k = r % KEYS;
		uint64_t new = (r >> 20) | 1, *p;
		void *old = NULL;

		switch (r / KEYS % 8) {
		case 0:
		case 1:
			UT_OK(put(region, map, k, new));
			n += model[k] == 0;
			model[k] = new;
			block[k] = false;
			break;
		case 2:
			UT_EQ(model[k] ? -EEXIST : 0,
			    insert(region, map, k, new));
			if (model[k])
				break;
			model[k] = new;
			block[k] = false;
			n++;
			break;
		case 3:
			p = lshm_alloc(region, 8 + r % 1000);
			UT_SOME(p);
			*p = new;
			UT_OK(lshm_map_put_block(region, map, &k, 8, p, &old));
			UT_EQ(model[k] && block[k], old != NULL);
			if (old)
				UT_EQ(model[k], *(uint64_t *)old);
			UT_OK(lshm_free(region, old));
			n += model[k] == 0;
			model[k] = new;
			block[k] = true;
			break;
		case 4:
		case 5:
			UT_EQ(model[k] ? 0 : -ENOENT,
			    lshm_map_remove(region, map, &k, 8, &old));
			UT_EQ(model[k] && block[k], old != NULL);
			UT_OK(lshm_free(region, old));
			n -= model[k] != 0;
			model[k] = 0;
			break;
		default:
			if (model[k] && block[k]) {
				UT_OK(lshm_map_get_block(
				    region, map, &k, 8, (void **)&p));
				UT_EQ(model[k], *p);
			} else {
				UT_EQ(model[k] ? 0 : -ENOENT,
				    get(region, map, k, &value));
				if (model[k])
					UT_EQ(model[k], value);
			}
		}
		if (r >> 50 == 0) {
			UT_OK(lshm_map_clear(region, map));
			memset(model, 0, sizeof(model));
			n = 0;
		}
		if (i % 512)
			continue;
		UT_EQ(n, count(region, map));
		seen = walk(region, map, KEYS);
		UT_EQ(n, seen.calls);
		for (k = 0; k < KEYS; k++)
			UT_EQ(model[k] != 0, seen.times[k]);
		free(seen.times);
	}
	UT_EQ(0, heap(region).draft_blocks);
	lshm_region_close(region);
}

/* ---- walking while others change it ---- */

UT_TEST(walk_while_it_changes, UT_EACH)
{
	enum { STAY = 500, KEYS = 20000 };
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_map *map = make(region);
	struct seen seen = {.keys = KEYS, .times = calloc(KEYS, 8)};
	uint64_t seed = ut_seed(), cursor = 0, next = STAY;

	for (uint64_t i = 0; i < STAY; i++)
		UT_OK(put(region, map, i, 0));
	while (lshm_map_next(region, map, &cursor, look, &seen) == 0) {
		/* others come, and make the tables grow; some go */
		for (int i = 0; i < 20 && next < KEYS; i++) {
			UT_OK(insert(region, map, next, 0));
			if (ut_random(&seed) % 2)
				UT_OK(del(region, map, next));
			next++;
		}
		/* those that stay are replaced */
		UT_OK(put(region, map, ut_random(&seed) % STAY, 0));
	}
	for (uint64_t i = 0; i < STAY; i++)
		UT_EQ(1, seen.times[i]);
	for (uint64_t i = STAY; i < KEYS; i++)
		UT_CMP(seen.times[i], <=, 1);
	UT_CMP(next, >, 5000);
	free(seen.times);
	lshm_region_close(region);
}

/* ---- in place ---- */

static void add_one(const struct lshm_map_item *item, void *arg)
{
	UT_EQ(8, item->value_size);
	UT_EQ(0, item->block);
	++*(uint64_t *)item->value;
}

static void call_the_map(const struct lshm_map_item *item, void *arg)
{
	struct seen *seen = arg;
	uint64_t value, cursor = 0, n;

	UT_ERR(-EDEADLK, get(seen->region, seen->map, 1, &value), "lock");
	UT_ERR(-EDEADLK, put(seen->region, seen->map, 1, 1), "lock");
	UT_ERR(-EDEADLK, lshm_map_count(seen->region, seen->map, &n), "lock");
	UT_ERR(-EDEADLK, lshm_map_clear(seen->region, seen->map), "lock");
	while (lshm_map_next(seen->region, seen->map, &cursor, look, NULL) >= 0)
		;
	seen->calls++;
}

UT_TEST(view, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_map *map = make(region);
	struct seen seen = {.region = region, .map = map};
	uint64_t key = 1, value;

	UT_ERR(-ENOENT, lshm_map_view(region, map, &key, 8, add_one, NULL));
	UT_OK(put(region, map, key, 41));
	UT_OK(lshm_map_view(region, map, &key, 8, add_one, NULL));
	UT_OK(get(region, map, key, &value));
	UT_EQ(42, value);
	UT_OK(lshm_map_view(region, map, &key, 8, call_the_map, &seen));
	UT_EQ(1, seen.calls);
	UT_OK(put(region, map, key, 1));
	lshm_region_close(region);
}

/* ---- several processes ---- */

#define RACE_KEYS 4000

/* All want the same keys; and count in the same value. */
static void race_body(struct lshm_region *region, int fd, void *arg)
{
	struct lshm_map *map = find(region);
	uint64_t id = (uint64_t)(uintptr_t)arg, won = 0, value, counter;

	counter = UINT64_MAX;
	ut_hear(fd);
	for (uint64_t key = 0; key < ut_scale(RACE_KEYS); key++) {
		int ret = insert(region, map, key, id);

		UT_TRUE(ret == 0 || ret == -EEXIST);
		won += ret == 0;
		UT_OK(lshm_map_view(region, map, &counter, 8, add_one, NULL));
		/* its own: nobody else touches them */
		UT_OK(put(region, map, RACE_KEYS * (id + 1) + key % 50, key));
		UT_OK(
		    get(region, map, RACE_KEYS * (id + 1) + key % 50, &value));
		UT_EQ(key, value);
		if (key % 3 == 0)
			UT_OK(
			    del(region, map, RACE_KEYS * (id + 1) + key % 50));
	}
	for (uint64_t i = 0; i < 50; i++)
		del(region, map, RACE_KEYS * (id + 1) + i);
	ut_say(fd, won);
}

UT_TEST(processes, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_map *map = make(region);
	uint64_t n = ut_scale(RACE_KEYS), won = 0, value, winners[4] = {0};
	struct ut_child children[4];

	UT_OK(put(region, map, UINT64_MAX, 0));
	for (uint64_t i = 0; i < 4; i++)
		children[i] =
		    ut_spawn(region, 0, race_body, (void *)(uintptr_t)i);
	for (size_t i = 0; i < 4; i++)
		ut_say(children[i].fd, 0);
	for (size_t i = 0; i < 4; i++) {
		winners[i] = ut_hear(children[i].fd);
		won += winners[i];
		ut_join(&children[i]);
	}
	UT_EQ(n, won);
	UT_OK(get(region, map, UINT64_MAX, &value));
	UT_EQ(4 * n, value);
	UT_EQ(n + 1, count(region, map));
	for (uint64_t key = 0; key < n; key++) {
		UT_OK(get(region, map, key, &value));
		UT_CMP(value, <, 4);
		winners[value]--;
	}
	for (size_t i = 0; i < 4; i++)
		UT_EQ(0, winners[i]);
	UT_EQ(0, heap(region).draft_blocks);
	lshm_region_close(region);
}

/* ---- errors ---- */

UT_TEST(names, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_map *map, *other;

	UT_ERR(-ENOENT, lshm_map_open(region, "m", &map), "m");
	UT_ERR(-ENOENT, lshm_map_destroy(region, "m"), "m");
	UT_ERR(-EINVAL, lshm_map_create(region, "", &map), "empty");
	UT_ERR(-ENAMETOOLONG,
	    lshm_map_create(region,
		"a name of 56 bytes is one longer than an object's name is",
		&map),
	    "55");
	UT_OK(lshm_map_create(region, "m", &map));
	UT_ERR(-EEXIST, lshm_map_create(region, "m", &map), "m");
	UT_OK(lshm_map_open(region, "m", &other));
	UT_PTR(map, other);
	UT_ERR(-EINVAL, lshm_object_remove(region, "m", LSHM_MAP_TYPE),
	    "lshm_map_destroy");
	UT_OK(lshm_object_create(region, "o", "t", 1, NULL, NULL, NULL));
	UT_ERR(-EPROTOTYPE, lshm_map_open(region, "o", &map), "t");
	UT_ERR(-EPROTOTYPE, lshm_map_destroy(region, "o"), "t");
	UT_ERR(-EEXIST, lshm_map_create(region, "o", &map), "o");
	UT_OK(lshm_map_destroy(region, "m"));
	lshm_region_close(region);
}

UT_TEST(errors, UT_EACH)
{
	static char key[LSHM_MAP_KEY_MAX + 1];
	struct lshm_region *region = ut_create(UT_SMALL), *observer;
	struct lshm_map *map = make(region), *outside = (void *)key;
	uint64_t value, cursor = 0, n;
	void *block = lshm_alloc(region, 8), *old;
	struct seen seen = {0};

	UT_ERR(-EINVAL, lshm_map_put(region, map, key, sizeof(key), NULL, 0),
	    "65536");
	UT_ERR(-EINVAL,
	    lshm_map_get(region, map, key, sizeof(key), NULL, 0, NULL));
	UT_ERR(-EINVAL, put(region, outside, 1, 1), "region");
	UT_ERR(-EINVAL, insert(region, outside, 1, 1), "region");
	UT_ERR(-EINVAL, get(region, outside, 1, &value), "region");
	UT_ERR(-EINVAL, del(region, outside, 1), "region");
	UT_ERR(
	    -EINVAL, lshm_map_put_block(region, outside, "k", 1, block, &old));
	UT_ERR(-EINVAL, lshm_map_get_block(region, outside, "k", 1, &old));
	UT_ERR(-EINVAL, lshm_map_view(region, outside, "k", 1, look, &seen));
	UT_ERR(-EINVAL, lshm_map_next(region, outside, &cursor, look, &seen));
	UT_ERR(-EINVAL, lshm_map_count(region, outside, &n), "region");
	UT_ERR(-EINVAL, lshm_map_clear(region, outside), "region");
	UT_ERR(-ENOENT, lshm_map_get_block(region, map, "k", 1, &old));
	UT_ERR(-EINVAL, lshm_map_put_block(region, map, "k", 1, key, &old));
	UT_ERR(-ENOMEM, lshm_map_put(region, map, "k", 1, key, (size_t)1 << 40),
	    "bytes");
	UT_ERR(-ENOMEM, lshm_map_put(region, map, "k", 1, key, SIZE_MAX));
	UT_EQ(0, count(region, map));
	observer = ut_reopen(region, LSHM_RDONLY);
	UT_ERR(-EROFS, lshm_map_open(observer, "map", &outside), "observer");
	UT_ERR(-EROFS, lshm_map_create(observer, "map", &outside), "observer");
	UT_ERR(-EROFS, lshm_map_destroy(observer, "map"), "observer");
	UT_ERR(-EROFS, get(observer, map, 1, &value), "observer");
	UT_ERR(-EROFS, put(observer, map, 1, 1), "observer");
	UT_ERR(-EROFS, lshm_map_count(observer, map, &n), "observer");
	UT_ERR(-EROFS, lshm_map_clear(observer, map), "observer");
	UT_ERR(-EROFS, lshm_map_next(observer, map, &cursor, look, &seen));
	lshm_region_close(observer);
	lshm_region_close(region);
}

static void inherited_body(struct lshm_region *unused, int fd, void *region)
{
	struct lshm_map *map = NULL;
	uint64_t value, cursor = 0;
	void *old;

	UT_ERR(-ECHILD, lshm_map_create(region, "m", &map), "fork");
	UT_ERR(-ECHILD, lshm_map_open(region, "m", &map), "fork");
	UT_ERR(-ECHILD, lshm_map_destroy(region, "m"), "fork");
	UT_ERR(-ECHILD, put(region, map, 1, 1), "fork");
	UT_ERR(-ECHILD, insert(region, map, 1, 1), "fork");
	UT_ERR(-ECHILD, get(region, map, 1, &value), "fork");
	UT_ERR(-ECHILD, del(region, map, 1), "fork");
	UT_ERR(-ECHILD, lshm_map_put_block(region, map, "k", 1, &old, &old));
	UT_ERR(-ECHILD, lshm_map_get_block(region, map, "k", 1, &old));
	UT_ERR(-ECHILD, lshm_map_view(region, map, "k", 1, look, NULL));
	UT_ERR(-ECHILD, lshm_map_next(region, map, &cursor, look, NULL));
	UT_ERR(-ECHILD, lshm_map_count(region, map, &value), "fork");
	UT_ERR(-ECHILD, lshm_map_clear(region, map), "fork");
}

UT_TEST(fork_child_is_refused, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct ut_child child = ut_spawn(NULL, 0, inherited_body, region);

	ut_join(&child);
	lshm_region_close(region);
}

/* Without memory nothing changes, but what is there can be had and removed. */
UT_TEST(full, UT_EACH)
{
	struct lshm_region *region = ut_create(
	    &(struct lshm_region_opts)LSHM_REGION_OPTS(.size = 2 * MIB));
	struct lshm_map *map = make(region);
	uint64_t n = 0, value, attached;
	void *block = lshm_alloc(region, 8), *old;

	while (put(region, map, n, n) == 0)
		n++;
	UT_CMP(n, >, 50);
	attached = heap(region).attached_blocks;
	UT_ERR(-ENOMEM, put(region, map, n, 1));
	UT_ERR(-ENOMEM, put(region, map, 1, 1));
	UT_ERR(-ENOMEM, lshm_map_put_block(region, map, &n, 8, block, &old));
	UT_EQ(attached, heap(region).attached_blocks);
	UT_EQ(n, count(region, map));
	for (uint64_t i = 0; i < n; i++) {
		UT_OK(get(region, map, i, &value));
		UT_EQ(i, value);
	}
	UT_OK(del(region, map, 1));
	UT_OK(put(region, map, 1, 2));
	UT_OK(lshm_map_clear(region, map));
	UT_EQ(0, count(region, map));
	lshm_region_close(region);
}

static void stand_still(const struct lshm_map_item *item, void *arg)
{
	ut_say(*(int *)arg, 0);
	ut_hear(*(int *)arg);
}

static void stand_still_body(struct lshm_region *region, int fd, void *arg)
{
	uint64_t key = 1;

	UT_OK(lshm_map_view(region, find(region), &key, 8, stand_still, &fd));
}

UT_TEST(holder_that_stands_still, UT_ONCE)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_map *map = make(region);
	struct ut_child child;
	uint64_t value;

	UT_OK(put(region, map, 1, 5));
	child = ut_spawn(region, 0, stand_still_body, NULL);
	ut_hear(child.fd);
	UT_ERR(-EAGAIN, get(region, map, 1, &value), "map", "stopped");
	ut_say(child.fd, 0);
	ut_join(&child);
	UT_OK(get(region, map, 1, &value));
	lshm_region_close(region);
}

/* ---- damaged, or hostile ---- */

static const uint64_t bad[] = {1, 8, 4096, 12345, UINT64_C(1) << 40,
    UINT64_C(1) << 63, UINT64_MAX, UINT64_MAX - 7};

/* All of it can be read. */
static void touch(const struct lshm_map_item *item, void *arg)
{
	const char *key = item->key, *value = item->value;
	volatile char sum = 0;

	for (uint64_t i = 0; i < item->key_size; i++)
		sum = (char)(sum + key[i]);
	for (uint64_t i = 0; i < item->value_size; i += 512)
		sum = (char)(sum + value[i]);
	if (item->value_size)
		sum = (char)(sum + value[item->value_size - 1]);
}

/* Whatever is in the map, each call ends, and says so or not. */
static bool try_all(struct lshm_region *region, struct lshm_map *map)
{
	uint64_t value, cursor = 0, key = 1, n;
	void *old;
	int ret, corrupt = 0;

#define TRY(call)                                                       \
	do {                                                            \
		ret = (call);                                           \
		UT_TRUE(ret == 0 || ret == -ENOENT || ret == -EEXIST || \
			ret == -EMSGSIZE || ret == -EPROTOTYPE ||       \
			ret == -LSHM_ECORRUPT || ret == -ENOMEM);       \
		corrupt += ret == -LSHM_ECORRUPT;                       \
	} while (0)
	TRY(lshm_map_get(region, map, &key, 8, &value, 8, NULL));
	TRY(lshm_map_get_block(region, map, &key, 8, &old));
	TRY(insert(region, map, 1, 1));
	TRY(lshm_map_count(region, map, &n));
	for (int i = 0; i < 2000; i++) {
		TRY(lshm_map_next(region, map, &cursor, touch, NULL));
		if (ret < 0)
			break;
	}
	return corrupt;
}

UT_TEST(damaged, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_map *map = make(region);
	struct lshmi_map *m = (struct lshmi_map *)map;
	struct lshmi_map_shard *shard = NULL;
	struct lshmi_map_table *table;
	struct lshmi_map_entry *entry;
	lshmi_u64 *bucket = NULL, kept;
	uint64_t value, old_value, seen = 0;
	void *block = lshm_alloc(region, 8), *old;
	uint64_t key = 1;

	UT_OK(put(region, map, 1, 1));
	for (int i = 0; i < LSHMI_MAP_SHARDS; i++)
		if (m->shards[i].table)
			shard = &m->shards[i];
	table = lshm_at(region, shard->table, sizeof(*table));
	for (uint64_t i = 0; i < table->buckets; i++)
		if (table->bucket[i])
			bucket = &table->bucket[i];
	entry = lshm_at(region, *bucket, sizeof(*entry));
#define DAMAGE(word, with, sure)                          \
	do {                                              \
		__typeof__(word) kept_ = (word);          \
		(word) = (__typeof__(word))(with);        \
		UT_TRUE(try_all(region, map) || !(sure)); \
		(word) = kept_;                           \
		UT_OK(get(region, map, 1, &value));       \
	} while (0)
	for (size_t i = 0; i < UT_COUNT(bad); i++) {
		DAMAGE(shard->table, bad[i], true);
		DAMAGE(table->buckets, bad[i], bad[i] != 8 && bad[i] != 4096);
		DAMAGE(*bucket, bad[i], true);
		DAMAGE(entry->next[0], bad[i], true);
		if (bad[i] > MIB) {
			DAMAGE(entry->key_size, bad[i] >> 32 | UINT32_MAX << 31,
			    true);
			DAMAGE(entry->value, bad[i], true);
		}
		DAMAGE(entry->kind, bad[i], (uint32_t)bad[i] != 0);
	}
	DAMAGE(entry->next[0], lshm_offset(region, entry), true);
	DAMAGE(shard->count, 0, true);
	DAMAGE(shard->count, UINT64_MAX, true);
	DAMAGE(shard->count, UINT64_MAX / 40 - 1, true);
	DAMAGE(table->which, 1, false);
	kept = entry->next[0]; /* a circle, and a count that allows for it */
	entry->next[0] = lshm_offset(region, entry);
	UT_ERR(-LSHM_ECORRUPT, del(region, map, 1), "damaged");
	UT_ERR(-LSHM_ECORRUPT, lshm_map_clear(region, map), "damaged");
	for (uint64_t other = 2; other < 10000; other++)
		seen += get(region, map, other, &value) == -LSHM_ECORRUPT;
	UT_CMP(seen, >, 0);
	entry->next[0] = kept;
	UT_OK(get(region, map, 1, &value));
	/* blocks that are none */
	UT_OK(lshm_map_put_block(region, map, &key, 8, block, &old));
	entry = lshm_at(region, *bucket, sizeof(*entry));
	for (size_t i = 0; i < UT_COUNT(bad); i++) {
		old_value = entry->value;
		entry->value = bad[i];
		UT_ERR(-LSHM_ECORRUPT,
		    lshm_map_get_block(region, map, &key, 8, &old));
		UT_ERR(-LSHM_ECORRUPT,
		    lshm_map_remove(region, map, &key, 8, &old));
		UT_ERR(-LSHM_ECORRUPT, put(region, map, 1, 1));
		UT_ERR(-LSHM_ECORRUPT, lshm_map_clear(region, map));
		entry->value = old_value;
	}
	UT_OK(lshm_map_remove(region, map, &key, 8, &old));
	UT_PTR(block, old);
	UT_EQ(1, heap(region).draft_blocks);
	lshm_region_close(region);
}

/* Random words in everything a map consists of: no call leaves the mapping. */
UT_TEST(random_damage, UT_EACH)
{
	uint64_t seed = ut_seed();

	for (uint64_t round = ut_scale(300); round; round--) {
		struct lshm_region *region = ut_create(UT_SMALL);
		struct lshm_map *map = make(region);
		struct lshmi_map *m = (struct lshmi_map *)map;

		for (uint64_t i = 0; i < 200; i++)
			UT_OK(put(region, map, i, i));
		for (int i = 0; i < 20; i++) {
			uint64_t r = ut_random(&seed), w = ut_random(&seed);
			struct lshmi_map_shard *s =
			    &m->shards[r % LSHMI_MAP_SHARDS];
			uint64_t *table = lshm_at(region, s->table & ~7, 80);
			uint64_t *entry = NULL;

			if (table)
				entry = lshm_at(
				    region, table[2 + r / 64 % 8] & ~7, 40);
			w >>= r >> 9 & 63;
			if (r / 32 % 2 && s->table)
				w = s->table + (w & 0xfff8);
			if (r % 7 == 0)
				(r & 1024 ? &s->table : &s->count)[0] = w;
			else if (r % 7 < 3 && table)
				table[r / 64 % 10] = w;
			else if (entry)
				entry[r / 512 % 5] = w;
			try_all(region, map);
		}
		lshm_map_clear(region, map);
		lshm_region_close(region);
		UT_OK(ut_backend->named ? lshm_region_unlink(ut_name, 0) : 0);
	}
}
