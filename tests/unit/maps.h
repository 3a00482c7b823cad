/* SPDX-License-Identifier: MIT */
/*
 * maps.h - what the tests of maps share: a map, and numbers in it
 */
#ifndef LIBSHM_TEST_MAPS_H
#define LIBSHM_TEST_MAPS_H

#include "unit.h"

/** The map of a test, named "map". */
static inline struct lshm_map *make(struct lshm_region *region)
{
	struct lshm_map *map;

	UT_OK(lshm_map_create(region, "map", &map));
	return map;
}

static inline struct lshm_map *find(struct lshm_region *region)
{
	struct lshm_map *map;

	UT_OK(lshm_map_open(region, "map", &map));
	return map;
}

static inline uint64_t count(struct lshm_region *region, struct lshm_map *map)
{
	uint64_t n;

	UT_OK(lshm_map_count(region, map, &n));
	return n;
}

/** Numbers as keys and values. */
static inline int put(
    struct lshm_region *r, struct lshm_map *map, uint64_t key, uint64_t value)
{
	return lshm_map_put(r, map, &key, sizeof(key), &value, sizeof(value));
}

static inline int insert(
    struct lshm_region *r, struct lshm_map *map, uint64_t key, uint64_t value)
{
	return lshm_map_insert(
	    r, map, &key, sizeof(key), &value, sizeof(value));
}

static inline int get(
    struct lshm_region *r, struct lshm_map *map, uint64_t key, uint64_t *value)
{
	size_t size;
	int ret = lshm_map_get(
	    r, map, &key, sizeof(key), value, sizeof(*value), &size);

	if (ret == 0)
		UT_EQ(sizeof(*value), size);
	return ret;
}

static inline int del(struct lshm_region *r, struct lshm_map *map, uint64_t key)
{
	return lshm_map_remove(r, map, &key, sizeof(key), NULL);
}

#endif
