/* SPDX-License-Identifier: MIT */
/*
 * test_map.c - from keys to values, for many processes at once; see map.h
 *
 * What calls refuse, and what damage does to them, is in test_map_errors.c.
 */
#include "maps.h"

#include "../../libshm/layout.h"
#include "../../libshm/siphash.h"

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
	UT_EQ(0, ut_heap(region).draft_blocks);
	lshm_region_close(region);
}

UT_TEST(blocks, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_map *map = make(region);
	void *a = lshm_alloc(region, 100), *b = lshm_alloc(region, 100), *seen;
	uint64_t attached = ut_heap(region).attached_blocks, value = 5;

	UT_OK(lshm_map_put_block(region, map, "k", 1, a, NULL));
	/* the block, its entry, the shard's table */
	UT_EQ(attached + 3, ut_heap(region).attached_blocks);
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
	UT_EQ(1, ut_heap(region).draft_blocks);
	UT_EQ(attached + 3, ut_heap(region).attached_blocks);
	/* a block gives way to bytes, and bytes to a block */
	UT_OK(lshm_map_put(region, map, "k", 1, &value, 8));
	UT_ERR(-EPROTOTYPE, lshm_map_get_block(region, map, "k", 1, &seen),
	    "bytes");
	UT_EQ(attached + 2, ut_heap(region).attached_blocks);
	UT_OK(lshm_map_put_block(region, map, "k", 1, a, &seen));
	UT_PTR(NULL, seen);
	UT_EQ(0, ut_heap(region).draft_blocks);
	UT_OK(lshm_map_remove(region, map, "k", 1, &seen));
	UT_PTR(a, seen);
	UT_EQ(1, ut_heap(region).draft_blocks);
	UT_OK(lshm_map_put(region, map, "k", 1, &value, 8));
	UT_OK(lshm_map_remove(region, map, "k", 1, &seen));
	UT_PTR(NULL, seen);
	UT_OK(lshm_map_put_block(region, map, "k", 1, a, NULL));
	UT_OK(lshm_map_remove(region, map, "k", 1, NULL)); /* frees it */
	UT_EQ(0, ut_heap(region).draft_blocks);
	UT_EQ(attached + 1, ut_heap(region).attached_blocks);
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
	uint64_t before = ut_heap(region).attached_blocks;
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
	tables = ut_heap(region).attached_blocks - before - 1 - n;
	UT_CMP(tables, <=, LSHMI_MAP_SHARDS);
	for (uint64_t i = 0; i < n; i += 2)
		UT_OK(del(region, map, i));
	UT_EQ(n / 2, count(region, map));
	UT_EQ(before + 1 + tables + n / 2, ut_heap(region).attached_blocks);
	UT_OK(lshm_map_clear(region, map));
	UT_EQ(0, count(region, map));
	UT_EQ(before + 1, ut_heap(region).attached_blocks);
	seen = walk(region, map, n);
	UT_EQ(0, seen.calls);
	free(seen.times);
	UT_OK(put(region, map, 1, 1));
	UT_OK(lshm_map_destroy(region, "map"));
	UT_EQ(before, ut_heap(region).attached_blocks);
	UT_EQ(0, ut_heap(region).draft_blocks);
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
	UT_EQ(0, ut_heap(region).draft_blocks);
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
	UT_EQ(0, ut_heap(region).draft_blocks);
	lshm_region_close(region);
}
