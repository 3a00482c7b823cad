/* SPDX-License-Identifier: MIT */
/*
 * crash_kill_map.c - death in the calls on maps; see containers.h
 */
#include "containers.h"

#include "../../libshm/siphash.h"

/*
 * The child alone changes the keys below KEYS, and notes what they have. The
 * survivor meanwhile changes others, in the same shards.
 */
static size_t size_of(uint64_t value)
{
	return 16 + value % 500;
}

/* A key's value follows from one number: bytes, or a block of that many. */
static int map_put(struct storm *s, uint64_t key, uint64_t value)
{
	char bytes[600];
	void *block, *old = NULL;
	int ret;

	if (!(value & 1)) {
		crash_fill(bytes, size_of(value), value);
		return lshm_map_put(
		    s->region, s->map, &key, 8, bytes, size_of(value));
	}
	block = lshm_alloc(s->region, size_of(value));
	UT_SOME(block);
	crash_fill(block, size_of(value), value);
	ret = lshm_map_put_block(s->region, s->map, &key, 8, block, &old);
	if (old)
		CRASH_WHOLE(old, 16);
	UT_OK(lshm_free(s->region, old));
	return ret;
}

/* The number, whose bytes must be whole; 0: there is none. */
static uint64_t map_get(struct storm *s, uint64_t key)
{
	char bytes[600];
	size_t size;
	uint64_t value;
	void *block;
	int ret = lshm_map_get(
	    s->region, s->map, &key, 8, bytes, sizeof(bytes), &size);

	if (ret == -ENOENT)
		return 0;
	if (ret == -EPROTOTYPE) {
		UT_OK(lshm_map_get_block(s->region, s->map, &key, 8, &block));
		value = *(uint64_t *)block;
		UT_EQ(value, CRASH_WHOLE(block, size_of(value)));
		UT_EQ(1, value & 1);
		return value;
	}
	UT_OK(ret);
	value = CRASH_WHOLE(bytes, size);
	UT_EQ(size_of(value), size);
	UT_EQ(0, value & 1);
	return value;
}

static void map_body(struct lshm_region *region, int fd, void *arg)
{
	struct storm s = *(struct storm *)arg;
	struct notes *n = s.notes;

	enter(&s, region, fd);
	for (;;) {
		uint64_t random = ut_random(&s.seed), key = random % KEYS;
		uint64_t value = random / KEYS % 3 ? random >> 12 | 2 : 0;

		if (random >> 54 == 0) {
			lshmi_store_release(&n->clear, 1);
			UT_OK(lshm_map_clear(region, s.map));
			memset(n->values, 0, sizeof(n->values));
			lshmi_store_release(&n->clear, 0);
			continue;
		}
		n->value = value;
		lshmi_store_release(&n->key, key);
		if (value)
			UT_OK(map_put(&s, key, value));
		else
			UT_EQ(n->values[key] ? 0 : -ENOENT,
			    lshm_map_remove(region, s.map, &key, 8, NULL));
		lshmi_store_release(&n->values[key], value);
		lshmi_store_release(&n->key, KEYS);
		UT_EQ(value, map_get(&s, key));
		n->done++;
	}
}

static void map_too(struct storm *s)
{
	uint64_t random = ut_random(&s->seed), key = KEYS + random % KEYS;

	if (random / KEYS % 3)
		UT_OK(map_put(s, key, random >> 12 | 2));
	else
		lshm_map_remove(s->region, s->map, &key, 8, NULL);
}

static void count_item(const struct lshm_map_item *item, void *arg)
{
	uint64_t *counts = arg, key;

	memcpy(&key, item->key, sizeof(key));
	UT_CMP(key, <, 2 * KEYS);
	counts[0]++;
	counts[1] += item->block != 0;
}

/*
 * Each key has what was noted; the one under way, that or what it was to get.
 * Every entry, block and table is attached, and nothing else.
 */
static void map_is_well(struct storm *s)
{
	struct lshmi_map *map = (struct lshmi_map *)s->map;
	uint64_t counts[2] = {0, 0}, cursor = 0, tables = 0, count;
	struct notes *n = s->notes;

	for (uint64_t key = 0; key < KEYS; key++) {
		uint64_t value = map_get(s, key);

		if (value != n->values[key])
			UT_TRUE((key == n->key && value == n->value) ||
				(n->clear && value == 0));
		n->values[key] = value;
	}
	n->key = KEYS;
	n->clear = 0;
	while (
	    lshm_map_next(s->region, s->map, &cursor, count_item, counts) == 0)
		;
	UT_OK(lshm_map_count(s->region, s->map, &count));
	UT_EQ(counts[0], count);
	for (int i = 0; i < LSHMI_MAP_SHARDS; i++)
		tables += map->shards[i].table != 0;
	UT_EQ(s->books.attached_blocks + 1 + tables + counts[0] + counts[1],
	    CRASH_BOOKS(s->region).attached_blocks);
}

UT_TEST(map, UT_EACH)
{
	struct storm s;

	container_begin(&s);
	storm(&s, map_body, map_too, map_is_well);
	container_end(&s);
}

/* A map of its own, made, filled so that it grows, and destroyed. */
static void maps_body(struct lshm_region *region, int fd, void *arg)
{
	struct storm s = *(struct storm *)arg;

	enter(&s, region, fd);
	for (;;) {
		int ret = lshm_map_create(region, "theirs", &s.map);

		UT_TRUE(ret == 0 || ret == -EEXIST);
		if (ret == -EEXIST)
			UT_OK(lshm_map_open(region, "theirs", &s.map));
		for (uint64_t i = 0; i < 300; i++)
			UT_OK(map_put(&s, i, i + 2));
		UT_OK(lshm_map_destroy(region, "theirs"));
		lshmi_fetch_add(&s.notes->done, 1);
	}
}

static void no_map_is_left(struct storm *s)
{
	int ret = lshm_map_destroy(s->region, "theirs");

	UT_TRUE(ret == 0 || ret == -ENOENT);
	UT_EQ(s->books.attached_blocks + 1,
	    CRASH_BOOKS(s->region).attached_blocks);
}

UT_TEST(maps, UT_EACH)
{
	struct storm s;

	container_begin(&s);
	storm(&s, maps_body, nothing, no_map_is_left);
	container_end(&s);
}

/* ---- at the very moment ---- */

/* Keys below KEYS that are all in the first shard. */
static uint64_t first_shard_key(struct storm *s, uint64_t n)
{
	struct lshmi_map *map = (struct lshmi_map *)s->map;
	uint64_t key = 0;

	while (lshmi_siphash(1, 3, map->seed, &key, 8) >>
		   (64 - LSHMI_MAP_SHARD_BITS) ||
	       n--)
		key++;
	return key;
}

static void map_act(struct storm *s)
{
	struct notes *n = s->notes;

	if (n->value)
		UT_OK(map_put(s, n->key, n->value));
	else
		UT_OK(lshm_map_remove(s->region, s->map, &n->key, 8, NULL));
}

/* Kill it there, and all must be as noted. */
static void map_at(
    struct storm *s, uint64_t key, uint64_t value, const uint64_t *word)
{
	s->notes->key = key;
	s->notes->value = value;
	kill_at(s, map_act, word);
	/* but for a new table it is the change itself, which has happened */
	if (word !=
	    (const uint64_t *)&((struct lshmi_map *)s->map)->shards[0].table)
		UT_EQ(value, map_get(s, key));
	map_is_well(s);
}

UT_TEST(map_at_the_change, UT_ONCE)
{
	struct lshmi_map_shard *shard;
	struct lshmi_map_table *table;
	struct storm s;
	uint64_t key, n = 0;
	uint64_t *bucket;

	container_begin(&s);
	shard = &((struct lshmi_map *)s.map)->shards[0];
	/* keys of one shard are seldom below KEYS: a seed that suits */
	((struct lshmi_map *)s.map)->seed[0] = 1;
	((struct lshmi_map *)s.map)->seed[1] = 2;
	key = first_shard_key(&s, 0);
	map_at(&s, key, 2, &shard->table);
	table = lshm_at(s.region, shard->table, sizeof(*table));
	UT_SOME(table);
	bucket = (uint64_t *)&table
		     ->bucket[lshmi_siphash(1, 3,
				  ((struct lshmi_map *)s.map)->seed, &key, 8) &
			      (table->buckets - 1)];
	/* new, replaced in each way, removed; bytes are even, blocks odd */
	for (const uint64_t *v = (const uint64_t[]){2, 4, 3, 5, 6, 0, 7, 0, 1};
	     *v != 1; v++)
		map_at(&s, key, *v, bucket);
	while (shard->count < table->buckets) {
		key = first_shard_key(&s, n++);
		s.notes->values[key] = 100 + n;
		UT_OK(map_put(&s, key, 100 + n));
	}
	map_at(&s, first_shard_key(&s, n), 8, &shard->table);
	UT_CMP(lshm_offset(s.region, table), !=, shard->table);
	container_end(&s);
}
