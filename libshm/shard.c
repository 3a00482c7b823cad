/* SPDX-License-Identifier: MIT */
/*
 * shard.c - a part of a hash map that many processes change at once
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

#include "shard.h"

static int damaged(uint64_t off)
{
	return lshmi_fail(LSHM_ECORRUPT,
	    "the map is damaged: it leads to %#llx, where nothing of it is",
	    (unsigned long long)off);
}

/* -- a shard and its lock -------------------------------------------------- */

static struct lshmi_map_entry *entry_at(struct lshm_region *r, uint64_t off)
{
	return lshmi_in_heap(r, off, sizeof(struct lshmi_map_entry));
}

static int read_table(struct lshmi_shard *h)
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
static int count_anew(struct lshmi_shard *h)
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

int lshmi_shard_lock(struct lshmi_shard *h, struct lshm_region *r,
    struct lshmi_map *map, uint64_t n)
{
	int died, ret;

	h->r = r;
	h->s = &map->shards[n];
	h->lane = lshmi_lane(r);
	if (!h->lane)
		return lshmi_failed();
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

void lshmi_shard_unlock(struct lshmi_shard *h)
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

int lshmi_shard_find(struct lshmi_shard *h, uint64_t hash, const void *key,
    size_t size, struct lshmi_found *f)
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
				*f = (struct lshmi_found){field, off, e, item};
				return 0;
			}
		}
		field = &e->next[h->which];
	}
}

struct lshmi_map_entry *lshmi_shard_entry(struct lshm_region *r, uint64_t hash,
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
static int grow(struct lshmi_shard *h)
{
	uint64_t n = h->bucket ? 2 * h->buckets : LSHMI_MAP_BUCKETS_MIN;
	unsigned int other = h->bucket ? !h->which : 0;
	struct lshmi_map_table *t;
	uint64_t old, seen = 0;
	int ret;

	t = lshm_alloc(h->r, sizeof(*t) + n * sizeof(t->bucket[0]));
	if (!t)
		return lshmi_failed();
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
int lshmi_shard_link(struct lshmi_shard *h, struct lshmi_found *f,
    struct lshmi_map_entry *e, uint64_t block)
{
	uint64_t off = (uint64_t)((char *)e - h->r->base);
	int ret = 0;

	if (f->off == 0 && (!h->bucket || h->count >= h->buckets)) {
		ret = grow(h);
		/* Without memory, or the heap, the chains become longer. */
		if (ret < 0 && (ret == -LSHM_ECORRUPT || !h->bucket))
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
int lshmi_shard_unlink(struct lshmi_shard *h, struct lshmi_found *f)
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

/* -- walking and clearing -------------------------------------------------- */

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
	return (hash >> LSHMI_SHARD_SHIFT) << LSHMI_SHARD_SHIFT |
	       reverse(hash << LSHMI_MAP_SHARD_BITS);
}

/* The lowest place at or behind @from in a bucket, 0 none; look at it too. */
static int look_at_bucket(struct lshmi_shard *h, uint64_t bucket, uint64_t from,
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
		here =
		    place_of(lshmi_load_relaxed(&e->hash) & ~LSHMI_HASH_SPARE);
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

int lshmi_shard_look(struct lshmi_shard *h, uint64_t from, uint64_t *place,
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

int lshmi_shard_clear(struct lshmi_shard *h)
{
	uint64_t left = h->count, old;
	struct lshmi_found f;
	int ret;

	for (uint64_t i = 0; i < h->buckets; i++) {
		f.field = &h->bucket[i];
		while ((f.off = lshmi_load_relaxed(f.field))) {
			f.entry = entry_at(h->r, f.off);
			if (!f.entry || left-- == 0)
				return damaged(f.off);
			ret = read_item(h->r, f.off, f.entry, &f.item);
			if (ret < 0 || (ret = lshmi_shard_unlink(h, &f)) < 0)
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
