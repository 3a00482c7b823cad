/* SPDX-License-Identifier: MIT */
/*
 * map.c - a hash map that many processes change at once
 *
 * 32 shards, chosen by the highest bits of a key's hash, each with a lock and a
 * table of chains, chosen by the lowest bits. All words of a shard, its table
 * and its entries are written by whoever holds its lock; an entry but for its
 * links, before it is linked.
 *
 * [E] Each change of a chain is one change of one field with an intent (see
 *     lane.c), which takes the new entry and its block and gives the old entry
 *     and its block: inserting (at the front), replacing (in place), removing.
 *     A death leaves the old chain or the new one; what is in no chain is a
 *     draft of the dead.
 * [G] Growing: an entry has two links. The table says which one is its own;
 *     through the others a larger table, a draft, is built over the same
 *     entries, and then takes the table's place by one change of one field.
 *     A death before that leaves the old table, whose links nobody touched, and
 *     nonsense in the others, which the next growth writes over.
 * [N] The count is stored after the change it counts. Whoever takes the lock
 *     over from the dead, and is told so by it, counts anew; should he die too,
 *     so is the next. It bounds every walk along a chain.
 * [I] Walks go through each shard in the order of the hash with its bits
 *     reversed. A bucket is a range of that order, whatever the size of the
 *     table; so a cursor needs to know nothing but the place it has come to.
 */
#include <string.h>
#include <unistd.h>

#include "internal.h"
#include "siphash.h"

#define SHARD_SHIFT (64 - LSHMI_MAP_SHARD_BITS)
/* Cleared in every hash, so that a place + 1 is no entry's place, nor 0. */
#define HASH_SPARE (UINT64_C(1) << (SHARD_SHIFT - 1))

/* A shard whose lock is held, and what was read of it, once. */
struct shard {
	struct lshm_region *r;
	struct lshmi_lane *lane;
	struct lshmi_map_shard *s;
	uint64_t count;
	uint64_t *bucket; /* NULL: there is no table */
	uint64_t buckets;
	unsigned int which;
};

/* An entry, and what was read of it, once. */
struct found {
	uint64_t *field; /* that leads to it */
	uint64_t off;	 /* 0: there is none */
	struct lshmi_map_entry *entry;
	struct lshm_map_item item;
};

static struct lshmi_map *map_of(struct lshm_map *map)
{
	return (struct lshmi_map *)map;
}

static int damaged(uint64_t off)
{
	return lshmi_fail(LSHM_ECORRUPT,
	    "the map is damaged: it leads to %#llx, where nothing of it is",
	    (unsigned long long)off);
}

static int no_such_key(void)
{
	return lshmi_fail_with(ENOENT, "there is no such key in the map");
}

/* -- a shard and its lock -------------------------------------------------- */

static struct lshmi_map_entry *entry_at(struct lshm_region *r, uint64_t off)
{
	return lshmi_in_heap(r, off, sizeof(struct lshmi_map_entry));
}

static int read_table(struct shard *h)
{
	uint64_t off = lshmi_load_relaxed(&h->s->table), bytes;
	struct lshmi_map_table *t;

	h->count = lshmi_load_relaxed(&h->s->count);
	h->bucket = NULL;
	h->buckets = 0;
	h->which = 0;
	if (off == 0)
		return 0;
	/* It bounds walks, so the heap must have room for that many. */
	if (__builtin_mul_overflow(
		h->count, sizeof(struct lshmi_map_entry), &bytes) ||
	    !lshmi_at(h->r, h->r->heap_off, bytes))
		return lshmi_fail(LSHM_ECORRUPT,
		    "the map is damaged: it counts more entries than the "
		    "region has room for");
	t = lshmi_in_heap(h->r, off, sizeof(*t));
	if (!t)
		return damaged(off);
	h->buckets = lshmi_load_relaxed(&t->buckets);
	h->which = lshmi_load_relaxed(&t->which) & 1;
	if (h->buckets < LSHMI_MAP_BUCKETS_MIN ||
	    (h->buckets & (h->buckets - 1)) ||
	    h->buckets > h->r->max_size / sizeof(t->bucket[0]) ||
	    !lshmi_at(
		h->r, off + sizeof(*t), h->buckets * sizeof(t->bucket[0])))
		return damaged(off);
	h->bucket = t->bucket;
	return 0;
}

/* [N] The last one to hold the lock died. */
static int count_anew(struct shard *h)
{
	struct lshmi_map_entry *e;
	uint64_t n = 0;

	for (uint64_t i = 0; i < h->buckets; i++) {
		uint64_t off = lshmi_load_relaxed(&h->bucket[i]);

		for (; off; off = lshmi_load_relaxed(&e->next[h->which])) {
			e = entry_at(h->r, off);
			if (!e ||
			    ++n > lshmi_load_relaxed(&h->r->size) / sizeof(*e))
				return damaged(off);
		}
	}
	h->count = n;
	lshmi_store_relaxed(&h->s->count, n);
	return 0;
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

static int lock(
    struct shard *h, struct lshm_region *r, struct lshm_map *map, uint64_t n)
{
	int died, ret;

	h->r = r;
	h->s = &map_of(map)->shards[n];
	h->lane = lshmi_lane(r);
	if (!h->lane)
		return -EUSERS;
	died = lshmi_lock_own(r, &h->s->mutex, "map");
	if (died < 0)
		return died;
	ret = read_table(h);
	if (ret == 0 && died == LSHM_OWNER_DIED)
		ret = count_anew(h);
	if (ret < 0)
		lshmi_unlock(r, &h->s->mutex);
	return ret;
}

static void unlock(struct shard *h)
{
	lshmi_unlock(h->r, &h->s->mutex);
}

/* -- entries --------------------------------------------------------------- */

static uint64_t round8(uint64_t n)
{
	return (n + 7) & ~UINT64_C(7);
}

/* What is in an entry: it may claim no memory that is not there. */
static int read_item(struct lshm_region *r, uint64_t off,
    struct lshmi_map_entry *e, struct lshm_map_item *item)
{
	uint64_t value = lshmi_load_relaxed(&e->value), size;
	uint32_t kind = lshmi_load_relaxed(&e->kind);

	item->key_size = lshmi_load_relaxed(&e->key_size);
	size = sizeof(*e) + round8(item->key_size);
	item->key = e->bytes;
	if (kind == LSHMI_MAP_BYTES) {
		item->block = 0;
		item->value = e->bytes + round8(item->key_size);
		item->value_size = value;
		size += value;
		if (value > r->max_size)
			return damaged(off);
	} else {
		item->block = value;
		item->value = lshmi_in_heap(r, value, 1);
		item->value_size =
		    item->value ? lshm_usable_size(r, item->value) : 0;
		if (kind != LSHMI_MAP_BLOCK || item->value_size == 0 ||
		    !lshmi_at(r, value, item->value_size))
			return damaged(value);
	}
	return lshmi_at(r, off, size) ? 0 : damaged(off);
}

/* Where the key is; if it is not there, where it may be inserted. */
static int find(struct shard *h, uint64_t hash, const void *key, size_t size,
    struct found *f)
{
	uint64_t *field;
	int ret;

	f->off = 0;
	f->item.block = 0;
	f->field = h->bucket ? &h->bucket[hash & (h->buckets - 1)] : NULL;
	if (!h->bucket)
		return 0;
	field = f->field;
	for (uint64_t n = 0;; n++) {
		uint64_t off = lshmi_load_relaxed(field);
		struct lshmi_map_entry *e;

		if (off == 0)
			return 0;
		e = entry_at(h->r, off);
		if (!e || n >= h->count)
			return damaged(off);
		if (lshmi_load_relaxed(&e->hash) == hash) {
			struct lshm_map_item item;

			ret = read_item(h->r, off, e, &item);
			if (ret < 0)
				return ret;
			if (item.key_size == size &&
			    (size == 0 || memcmp(item.key, key, size) == 0)) {
				*f = (struct found){field, off, e, item};
				return 0;
			}
		}
		field = &e->next[h->which];
	}
}

/* A draft of an entry, complete but for its links. */
static struct lshmi_map_entry *make(struct lshm_region *r, uint64_t hash,
    const void *key, size_t key_size, const void *value, size_t value_size,
    uint64_t block)
{
	uint64_t begin = round8(key_size), size;
	struct lshmi_map_entry *e;

	if (__builtin_add_overflow(sizeof(*e) + begin, value_size, &size) ||
	    size > r->max_size) {
		lshmi_fail(ENOMEM, "no value can have %zu bytes", value_size);
		return NULL;
	}
	e = lshm_alloc(r, size);
	if (!e)
		return NULL;
	e->next[0] = e->next[1] = 0;
	e->hash = hash;
	e->value = block ? block : value_size;
	e->key_size = (uint32_t)key_size;
	e->kind = block ? LSHMI_MAP_BLOCK : LSHMI_MAP_BYTES;
	if (key_size)
		memcpy(e->bytes, key, key_size);
	memset(e->bytes + key_size, 0, begin - key_size);
	if (value_size)
		memcpy(e->bytes + begin, value, value_size);
	return e;
}

/* [G] A table twice as large, or the first one. */
static int grow(struct shard *h)
{
	uint64_t n = h->bucket ? 2 * h->buckets : LSHMI_MAP_BUCKETS_MIN;
	unsigned int other = h->bucket ? !h->which : 0;
	struct lshmi_map_table *t;
	uint64_t old, seen = 0;
	int ret;

	t = lshm_alloc(h->r, sizeof(*t) + n * sizeof(t->bucket[0]));
	if (!t)
		return -ENOMEM;
	memset(t, 0, sizeof(*t) + n * sizeof(t->bucket[0]));
	t->which = other;
	t->buckets = n;
	for (uint64_t i = 0; i < h->buckets; i++) {
		uint64_t off = lshmi_load_relaxed(&h->bucket[i]);

		while (off) {
			struct lshmi_map_entry *e = entry_at(h->r, off);
			lshmi_u64 *b;

			if (!e || ++seen > h->count) {
				lshm_free(h->r, t);
				return damaged(off);
			}
			b = &t->bucket[lshmi_load_relaxed(&e->hash) & (n - 1)];
			lshmi_store_relaxed(&e->next[other], *b);
			*b = off;
			off = lshmi_load_relaxed(&e->next[h->which]);
		}
	}
	ret = lshmi_replace(h->r, h->lane, &h->s->table,
	    (uint64_t)((char *)t - h->r->base), &old);
	if (ret < 0) {
		lshm_free(h->r, t);
		return ret;
	}
	if (old)
		lshm_free(h->r, h->r->base + old);
	return read_table(h);
}

/* [E] Make @e stand in the place of what was found, or where it is to be. */
static int link_entry(
    struct shard *h, struct found *f, struct lshmi_map_entry *e, uint64_t block)
{
	uint64_t off = (uint64_t)((char *)e - h->r->base);
	int ret = 0;

	if (f->off == 0 && (!h->bucket || h->count >= h->buckets)) {
		ret = grow(h);
		/* Without memory the chains become longer. */
		if (ret < 0 && (ret != -ENOMEM || !h->bucket))
			return ret;
		f->field = &h->bucket[e->hash & (h->buckets - 1)];
	}
	e->next[h->which] = lshmi_load_relaxed(
	    f->off ? (uint64_t *)&f->entry->next[h->which] : f->field);
	ret = lshmi_change(h->r, h->lane, f->field,
	    &(struct lshmi_change){.value = off,
		.take = off,
		.take_too = block,
		.give = f->off,
		.give_too = f->item.block});
	if (ret == 0 && f->off == 0)
		lshmi_store_release(&h->s->count, ++h->count);
	return ret;
}

/* [E] Take what was found out of its chain. */
static int unlink_entry(struct shard *h, struct found *f)
{
	uint64_t next = lshmi_load_relaxed(&f->entry->next[h->which]);
	int ret;

	if (next == f->off)
		return damaged(next);
	ret = lshmi_change(h->r, h->lane, f->field,
	    &(struct lshmi_change){
		.value = next, .give = f->off, .give_too = f->item.block});
	if (ret == 0 && h->count)
		lshmi_store_release(&h->s->count, --h->count);
	return ret;
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

	return lshmi_siphash(1, 3, seed, key, size) & ~HASH_SPARE;
}

/* The value of a key is to become bytes, or a block. */
static int put(struct lshm_region *r, struct lshm_map *map, const void *key,
    size_t key_size, const void *value, size_t value_size, uint64_t block,
    bool replace, uint64_t *old)
{
	struct lshmi_map_entry *e;
	struct shard h;
	struct found f;
	uint64_t hash = hash_of(map, key, key_size);
	int ret;

	e = make(r, hash, key, key_size, value, value_size, block);
	if (!e)
		return -ENOMEM;
	ret = lock(&h, r, map, hash >> SHARD_SHIFT);
	if (ret < 0)
		goto out;
	ret = find(&h, hash, key, key_size, &f);
	if (ret == 0 && f.off && !replace)
		ret = lshmi_fail(EEXIST, "the key has a value already");
	if (ret == 0)
		ret = link_entry(&h, &f, e, block);
	unlock(&h);
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
		return -EUSERS;
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
    const void *key, size_t key_size, struct shard *h, struct found *f)
{
	uint64_t hash;
	int ret = check(r, map, key_size);

	if (ret < 0)
		return ret;
	hash = hash_of(map, key, key_size);
	ret = lock(h, r, map, hash >> SHARD_SHIFT);
	if (ret < 0)
		return ret;
	ret = find(h, hash, key, key_size, f);
	if (ret == 0 && f->off)
		return 0;
	unlock(h);
	return ret < 0 ? ret : no_such_key();
}

int lshm_map_get(struct lshm_region *region, struct lshm_map *map,
    const void *key, size_t key_size, void *buffer, size_t capacity,
    size_t *size)
{
	struct shard h;
	struct found f;
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
	unlock(&h);
	return ret;
}

int lshm_map_get_block(struct lshm_region *region, struct lshm_map *map,
    const void *key, size_t key_size, void **block)
{
	struct shard h;
	struct found f;
	int ret = find_locked(region, map, key, key_size, &h, &f);

	if (ret < 0)
		return ret;
	unlock(&h);
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
	struct shard h;
	struct found f;
	int ret = find_locked(region, map, key, key_size, &h, &f);

	if (ret < 0)
		return ret;
	look(&f.item, arg);
	unlock(&h);
	return 0;
}

int lshm_map_remove(struct lshm_region *region, struct lshm_map *map,
    const void *key, size_t key_size, void **old)
{
	struct shard h;
	struct found f;
	int ret = find_locked(region, map, key, key_size, &h, &f);

	if (ret < 0)
		return ret;
	ret = unlink_entry(&h, &f);
	unlock(&h);
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

static uint64_t reverse(uint64_t x)
{
	x = (x >> 1 & UINT64_C(0x5555555555555555)) |
	    (x & UINT64_C(0x5555555555555555)) << 1;
	x = (x >> 2 & UINT64_C(0x3333333333333333)) |
	    (x & UINT64_C(0x3333333333333333)) << 2;
	x = (x >> 4 & UINT64_C(0x0f0f0f0f0f0f0f0f)) |
	    (x & UINT64_C(0x0f0f0f0f0f0f0f0f)) << 4;
	return __builtin_bswap64(x);
}

/* [I] The place of a hash: its shard, then its other bits reversed. */
static uint64_t place_of(uint64_t hash)
{
	return (hash >> SHARD_SHIFT) << SHARD_SHIFT |
	       reverse(hash << LSHMI_MAP_SHARD_BITS);
}

/* The lowest place at or behind @from in a bucket, 0 none; look at it too. */
static int look_at_bucket(struct shard *h, uint64_t bucket, uint64_t from,
    bool at, uint64_t *place,
    void (*look)(const struct lshm_map_item *item, void *arg), void *arg)
{
	uint64_t off = lshmi_load_relaxed(&h->bucket[bucket]), n = 0;
	struct lshmi_map_entry *e;

	*place = UINT64_MAX;
	for (; off; off = lshmi_load_relaxed(&e->next[h->which])) {
		uint64_t here;

		e = entry_at(h->r, off);
		if (!e || ++n > h->count)
			return damaged(off);
		here = place_of(lshmi_load_relaxed(&e->hash) & ~HASH_SPARE);
		if (at && here == from) {
			struct lshm_map_item item;
			int ret = read_item(h->r, off, e, &item);

			if (ret < 0)
				return ret;
			look(&item, arg);
		}
		if (here >= from && here < *place)
			*place = here;
	}
	return 0;
}

/* The first entry of a shard at or behind a place: 1 there is one. */
static int look_at_shard(struct shard *h, uint64_t from, uint64_t *place,
    void (*look)(const struct lshm_map_item *item, void *arg), void *arg)
{
	int bits = h->bucket ? __builtin_ctzll(h->buckets) : 0, ret;
	/* A bucket is a range of places: the how-manieth, bits reversed. */
	uint64_t range =
	    (from << LSHMI_MAP_SHARD_BITS) >> (bits ? 64 - bits : 0);

	for (; h->bucket && range < h->buckets; range++) {
		uint64_t bucket = reverse(range) >> (64 - bits);

		ret = look_at_bucket(h, bucket, from, false, place, look, arg);
		if (ret < 0)
			return ret;
		if (*place == UINT64_MAX)
			continue;
		ret = look_at_bucket(h, bucket, *place, true, &from, look, arg);
		return ret < 0 ? ret : 1;
	}
	return 0;
}

int lshm_map_next(struct lshm_region *region, struct lshm_map *map,
    uint64_t *cursor, void (*look)(const struct lshm_map_item *item, void *arg),
    void *arg)
{
	uint64_t from = *cursor, place;
	int ret = check_map(region, map);

	for (uint64_t n = from >> SHARD_SHIFT; ret == 0 && n < LSHMI_MAP_SHARDS;
	     n++) {
		struct shard h;

		ret = lock(&h, region, map, n);
		if (ret < 0)
			break;
		if (n != from >> SHARD_SHIFT)
			from = n << SHARD_SHIFT;
		ret = look_at_shard(&h, from, &place, look, arg);
		unlock(&h);
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
	struct shard h;
	int ret = check_map(region, map);

	for (uint64_t n = 0; n < LSHMI_MAP_SHARDS && ret == 0; n++) {
		ret = lock(&h, region, map, n);
		if (ret < 0)
			break;
		sum += h.count;
		unlock(&h);
	}
	if (ret == 0)
		*count = sum;
	return ret;
}

/* One by one; at last the table. */
static int clear_shard(struct shard *h)
{
	uint64_t left = h->count, old;
	struct found f;
	int ret;

	for (uint64_t i = 0; i < h->buckets; i++) {
		f.field = &h->bucket[i];
		while ((f.off = lshmi_load_relaxed(f.field))) {
			f.entry = entry_at(h->r, f.off);
			if (!f.entry || left-- == 0)
				return damaged(f.off);
			ret = read_item(h->r, f.off, f.entry, &f.item);
			if (ret < 0 || (ret = unlink_entry(h, &f)) < 0)
				return ret;
			if (f.item.block)
				lshm_free(h->r, f.item.value);
			lshm_free(h->r, f.entry);
		}
	}
	if (!h->bucket)
		return 0;
	ret = lshmi_replace(h->r, h->lane, &h->s->table, 0, &old);
	return ret < 0 ? ret : lshm_free(h->r, h->r->base + old);
}

int lshm_map_clear(struct lshm_region *region, struct lshm_map *map)
{
	struct shard h;
	int ret = check_map(region, map);

	for (uint64_t n = 0; n < LSHMI_MAP_SHARDS && ret == 0; n++) {
		ret = lock(&h, region, map, n);
		if (ret < 0)
			break;
		ret = clear_shard(&h);
		unlock(&h);
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
