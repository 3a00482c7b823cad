/* SPDX-License-Identifier: MIT */
/*
 * map.c - the calls on maps: keys, all entries, the map as an object
 *
 * A key's hash says in which shard it is; each call locks that one, or one
 * after the other. What a shard is, who writes what of it, and why that is
 * enough, is said in shard.c.
 */
#include <string.h>
#include <unistd.h>

#include "shard.h"
#include "siphash.h"

static struct lshmi_map *map_of(struct lshm_map *map)
{
	return (struct lshmi_map *)map;
}

static int no_such_key(void)
{
	return lshmi_fail_with(ENOENT, "there is no such key in the map");
}

static int check_map(struct lshm_region *r, struct lshm_map *map)
{
	uint64_t off = (uint64_t)((char *)map - r->base);
	int ret = lshmi_enter(r);

	if (ret < 0)
		return ret;
	if (!lshmi_in_heap(r, off, sizeof(struct lshmi_map)))
		return lshmi_fail(
		    EINVAL, "the map does not lie in this region");
	return 0;
}

/* -- the calls on keys ----------------------------------------------------- */

static int check(struct lshm_region *r, struct lshm_map *map, size_t key_size)
{
	if (key_size > LSHM_MAP_KEY_MAX)
		return lshmi_fail(EINVAL,
		    "the key has %zu bytes: expected at most %d", key_size,
		    LSHM_MAP_KEY_MAX);
	return check_map(r, map);
}

static uint64_t hash_of(struct lshm_map *map, const void *key, size_t size)
{
	const uint64_t seed[2] = {
	    lshmi_load_relaxed(&map_of(map)->seed[0]),
	    lshmi_load_relaxed(&map_of(map)->seed[1]),
	};

	return lshmi_siphash(1, 3, seed, key, size) & ~LSHMI_HASH_SPARE;
}

/* The value of a key is to become bytes, or a block. */
static int put(struct lshm_region *r, struct lshm_map *map, const void *key,
    size_t key_size, const void *value, size_t value_size, uint64_t block,
    bool replace, uint64_t *old)
{
	struct lshmi_map_entry *e;
	struct lshmi_shard h;
	struct lshmi_found f;
	uint64_t hash = hash_of(map, key, key_size);
	int ret;

	e = lshmi_shard_entry(r, hash, key, key_size, value, value_size, block);
	if (!e)
		return lshmi_failed();
	ret = lshmi_shard_lock(&h, r, map_of(map), hash >> LSHMI_SHARD_SHIFT);
	if (ret < 0)
		goto out;
	ret = lshmi_shard_find(&h, hash, key, key_size, &f);
	if (ret == 0 && f.off && !replace)
		ret = lshmi_fail(EEXIST, "the key has a value already");
	if (ret == 0)
		ret = lshmi_shard_link(&h, &f, e, block);
	lshmi_shard_unlock(&h);
	if (ret == 0) {
		e = f.off ? f.entry : NULL;
		*old = f.item.block;
	}
out:
	lshm_free(r, e);
	return ret;
}

static int put_bytes(struct lshm_region *region, struct lshm_map *map,
    const void *key, size_t key_size, const void *value, size_t value_size,
    bool replace)
{
	uint64_t old = 0;
	int ret = check(region, map, key_size);

	if (ret < 0)
		return ret;
	ret = put(
	    region, map, key, key_size, value, value_size, 0, replace, &old);
	if (ret == 0 && old)
		lshm_free(region, region->base + old);
	return ret;
}

int lshm_map_put(struct lshm_region *region, struct lshm_map *map,
    const void *key, size_t key_size, const void *value, size_t value_size)
{
	return put_bytes(region, map, key, key_size, value, value_size, true);
}

int lshm_map_insert(struct lshm_region *region, struct lshm_map *map,
    const void *key, size_t key_size, const void *value, size_t value_size)
{
	return put_bytes(region, map, key, key_size, value, value_size, false);
}

int lshm_map_put_block(struct lshm_region *region, struct lshm_map *map,
    const void *key, size_t key_size, void *block, void **old)
{
	struct lshmi_lane *lane;
	uint64_t was = 0;
	int ret = check(region, map, key_size);

	if (ret < 0)
		return ret;
	lane = lshmi_lane(region);
	if (!lane)
		return lshmi_failed();
	ret = lshmi_lane_draft(region, lane, block);
	if (ret < 0)
		return ret;
	ret = put(region, map, key, key_size, NULL, 0,
	    (uint64_t)((char *)block - region->base), old != NULL, &was);
	if (ret == 0 && old)
		*old = was ? region->base + was : NULL;
	return ret;
}

/* Look for a key; if it is there the lock is held on return. */
static int find_locked(struct lshm_region *r, struct lshm_map *map,
    const void *key, size_t key_size, struct lshmi_shard *h,
    struct lshmi_found *f)
{
	uint64_t hash;
	int ret = check(r, map, key_size);

	if (ret < 0)
		return ret;
	hash = hash_of(map, key, key_size);
	ret = lshmi_shard_lock(h, r, map_of(map), hash >> LSHMI_SHARD_SHIFT);
	if (ret < 0)
		return ret;
	ret = lshmi_shard_find(h, hash, key, key_size, f);
	if (ret == 0 && f->off)
		return 0;
	lshmi_shard_unlock(h);
	return ret < 0 ? ret : no_such_key();
}

int lshm_map_get(struct lshm_region *region, struct lshm_map *map,
    const void *key, size_t key_size, void *buffer, size_t capacity,
    size_t *size)
{
	struct lshmi_shard h;
	struct lshmi_found f;
	int ret = find_locked(region, map, key, key_size, &h, &f);

	if (ret < 0)
		return ret;
	if (f.item.block) {
		ret = lshmi_fail(EPROTOTYPE,
		    "the value is a block: see lshm_map_get_block()");
	} else {
		if (size)
			*size = f.item.value_size;
		if (f.item.value_size > capacity)
			ret = lshmi_fail(EMSGSIZE,
			    "the value has %llu bytes: the buffer has room for "
			    "%zu",
			    (unsigned long long)f.item.value_size, capacity);
		else if (f.item.value_size)
			memcpy(buffer, f.item.value, f.item.value_size);
	}
	lshmi_shard_unlock(&h);
	return ret;
}

int lshm_map_get_block(struct lshm_region *region, struct lshm_map *map,
    const void *key, size_t key_size, void **block)
{
	struct lshmi_shard h;
	struct lshmi_found f;
	int ret = find_locked(region, map, key, key_size, &h, &f);

	if (ret < 0)
		return ret;
	lshmi_shard_unlock(&h);
	if (!f.item.block)
		return lshmi_fail(EPROTOTYPE,
		    "the value is no block, but bytes: see lshm_map_get()");
	*block = f.item.value;
	return 0;
}

int lshm_map_view(struct lshm_region *region, struct lshm_map *map,
    const void *key, size_t key_size,
    void (*look)(const struct lshm_map_item *item, void *arg), void *arg)
{
	struct lshmi_shard h;
	struct lshmi_found f;
	int ret = find_locked(region, map, key, key_size, &h, &f);

	if (ret < 0)
		return ret;
	look(&f.item, arg);
	lshmi_shard_unlock(&h);
	return 0;
}

int lshm_map_remove(struct lshm_region *region, struct lshm_map *map,
    const void *key, size_t key_size, void **old)
{
	struct lshmi_shard h;
	struct lshmi_found f;
	int ret = find_locked(region, map, key, key_size, &h, &f);

	if (ret < 0)
		return ret;
	ret = lshmi_shard_unlink(&h, &f);
	lshmi_shard_unlock(&h);
	if (ret < 0)
		return ret;
	if (old)
		*old = f.item.block ? f.item.value : NULL;
	else if (f.item.block)
		lshm_free(region, f.item.value);
	lshm_free(region, f.entry);
	return 0;
}

/* -- the calls on all entries ---------------------------------------------- */

int lshm_map_next(struct lshm_region *region, struct lshm_map *map,
    uint64_t *cursor, void (*look)(const struct lshm_map_item *item, void *arg),
    void *arg)
{
	uint64_t from = *cursor, place;
	int ret = check_map(region, map);

	for (uint64_t n = from >> LSHMI_SHARD_SHIFT;
	     ret == 0 && n < LSHMI_MAP_SHARDS; n++) {
		struct lshmi_shard h;

		ret = lshmi_shard_lock(&h, region, map_of(map), n);
		if (ret < 0)
			break;
		if (n != from >> LSHMI_SHARD_SHIFT)
			from = n << LSHMI_SHARD_SHIFT;
		ret = lshmi_shard_look(&h, from, &place, look, arg);
		lshmi_shard_unlock(&h);
	}
	if (ret == 1) {
		*cursor = place + 1;
		return 0;
	}
	return ret < 0 ? ret
		       : lshmi_fail_with(ENOENT, "there are no more entries");
}

int lshm_map_count(
    struct lshm_region *region, struct lshm_map *map, uint64_t *count)
{
	uint64_t sum = 0;
	struct lshmi_shard h;
	int ret = check_map(region, map);

	for (uint64_t n = 0; n < LSHMI_MAP_SHARDS && ret == 0; n++) {
		ret = lshmi_shard_lock(&h, region, map_of(map), n);
		if (ret < 0)
			break;
		sum += h.count;
		lshmi_shard_unlock(&h);
	}
	if (ret == 0)
		*count = sum;
	return ret;
}

int lshm_map_clear(struct lshm_region *region, struct lshm_map *map)
{
	struct lshmi_shard h;
	int ret = check_map(region, map);

	for (uint64_t n = 0; n < LSHMI_MAP_SHARDS && ret == 0; n++) {
		ret = lshmi_shard_lock(&h, region, map_of(map), n);
		if (ret < 0)
			break;
		ret = lshmi_shard_clear(&h);
		lshmi_shard_unlock(&h);
	}
	return ret;
}

/* -- the map as an object -------------------------------------------------- */

static int seed(void *block, void *arg)
{
	struct lshmi_map *map = block;

	if (getentropy(map->seed, sizeof(map->seed)) < 0)
		return lshmi_fail(errno, "getentropy(3): %m");
	return 0;
}

int lshm_map_create(
    struct lshm_region *region, const char *name, struct lshm_map **out)
{
	void *block;
	int ret = lshmi_enter(region);

	if (ret < 0)
		return ret;
	/* Is that a name? If there is one already, the next call says so. */
	ret = lshm_object_open(region, name, LSHM_MAP_TYPE, 0, &block);
	if (ret < 0 && ret != -ENOENT && ret != -EPROTOTYPE)
		return ret;
	ret = lshmi_object_make(region, name, LSHM_MAP_TYPE,
	    sizeof(struct lshmi_map), seed, NULL, &block);
	if (ret == 0)
		*out = block;
	return ret;
}

int lshm_map_open(
    struct lshm_region *region, const char *name, struct lshm_map **out)
{
	void *block;
	int ret = lshmi_enter(region);

	if (ret < 0)
		return ret;
	ret = lshm_object_open(
	    region, name, LSHM_MAP_TYPE, sizeof(struct lshmi_map), &block);
	if (ret < 0 || (ret = check_map(region, block)) < 0)
		return ret;
	*out = block;
	return 0;
}

int lshm_map_destroy(struct lshm_region *region, const char *name)
{
	struct lshm_map *map, *again;
	void *block;
	int ret = lshm_map_open(region, name, &map);

	/* Emptied first: while it has a name nothing of it can be lost. */
	if (ret < 0 || (ret = lshm_map_clear(region, map)) < 0)
		return ret;
	ret = lshmi_lock_own(
	    region, &region->header->directory_lock, "directory");
	if (ret < 0)
		return ret;
	ret = lshm_map_open(region, name, &again);
	for (int i = 0; i < LSHMI_MAP_SHARDS && ret == 0; i++)
		if (again != map ||
		    lshmi_load_relaxed(&map_of(map)->shards[i].table))
			ret = lshmi_fail(
			    EBUSY, "the map \"%s\" is in use by others", name);
	if (ret == 0)
		ret = lshmi_object_drop(region, name, LSHM_MAP_TYPE, &block);
	lshmi_unlock(region, &region->header->directory_lock);
	return ret < 0 ? ret : lshm_free(region, block);
}
