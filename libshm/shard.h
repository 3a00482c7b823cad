/* SPDX-License-Identifier: MIT */
/*
 * shard.h - what the map's files share: see shard.c for how it works
 */
#ifndef LSHMI_SHARD_H
#define LSHMI_SHARD_H

#include "internal.h"

/* Of a hash: its highest bits choose the shard. */
#define LSHMI_SHARD_SHIFT (64 - LSHMI_MAP_SHARD_BITS)
/* Cleared in every hash, so that a place + 1 is no entry's place, nor 0. */
#define LSHMI_HASH_SPARE (UINT64_C(1) << (LSHMI_SHARD_SHIFT - 1))

/* A shard whose lock is held, and what was read of it, once. */
struct lshmi_shard {
	struct lshm_region *r;
	struct lshmi_lane *lane;
	struct lshmi_map_shard *s;
	uint64_t count;
	uint64_t *bucket; /* NULL: there is no table */
	uint64_t buckets;
	unsigned int which;
};

/* An entry, and what was read of it, once. */
struct lshmi_found {
	uint64_t *field; /* that leads to it */
	uint64_t off;	 /* 0: there is none */
	struct lshmi_map_entry *entry;
	struct lshm_map_item item;
};

/* The map lies in the region, and @n is below LSHMI_MAP_SHARDS. */
int lshmi_shard_lock(struct lshmi_shard *h, struct lshm_region *r,
    struct lshmi_map *map, uint64_t n);
void lshmi_shard_unlock(struct lshmi_shard *h);

/* Where the key is; if it is not there, where it may be inserted. */
int lshmi_shard_find(struct lshmi_shard *h, uint64_t hash, const void *key,
    size_t size, struct lshmi_found *f);
/* A draft of an entry, complete but for its links; NULL: lshmi_failed(). */
struct lshmi_map_entry *lshmi_shard_entry(struct lshm_region *r, uint64_t hash,
    const void *key, size_t key_size, const void *value, size_t value_size,
    uint64_t block);
/* Make @e stand in the place of what was found, or where it is to be. */
int lshmi_shard_link(struct lshmi_shard *h, struct lshmi_found *f,
    struct lshmi_map_entry *e, uint64_t block);
/* Take what was found out of its chain. */
int lshmi_shard_unlink(struct lshmi_shard *h, struct lshmi_found *f);

/* Look at the first entry at or behind a place; 1 there is one, at @place. */
int lshmi_shard_look(struct lshmi_shard *h, uint64_t from, uint64_t *place,
    void (*look)(const struct lshm_map_item *item, void *arg), void *arg);
/* Remove and free the entries, one by one; at last the table. */
int lshmi_shard_clear(struct lshmi_shard *h);

#endif
