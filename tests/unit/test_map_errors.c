/* SPDX-License-Identifier: MIT */
/*
 * test_map_errors.c - what the calls on maps refuse, and that no damage makes
 * them leave the mapping; see map.h
 */
#include "maps.h"

#include "../../libshm/layout.h"

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
	UT_ERR(-EINVAL, lshm_map_view(region, outside, "k", 1, touch, NULL));
	UT_ERR(-EINVAL, lshm_map_next(region, outside, &cursor, touch, NULL));
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
	UT_ERR(-EROFS, lshm_map_next(observer, map, &cursor, touch, NULL));
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
	UT_ERR(-ECHILD, lshm_map_view(region, map, "k", 1, touch, NULL));
	UT_ERR(-ECHILD, lshm_map_next(region, map, &cursor, touch, NULL));
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
	attached = ut_heap(region).attached_blocks;
	UT_ERR(-ENOMEM, put(region, map, n, 1));
	UT_ERR(-ENOMEM, put(region, map, 1, 1));
	UT_ERR(-ENOMEM, lshm_map_put_block(region, map, &n, 8, block, &old));
	UT_EQ(attached, ut_heap(region).attached_blocks);
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
	UT_EQ(1, ut_heap(region).draft_blocks);
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
