/* SPDX-License-Identifier: MIT */
/*
 * ops_container.c - lists, vectors and a map
 */
#include "storm.h"

#define LISTS	2
#define VECTORS 2
#define KEYS	32
#define LONGEST 12 /* a list */
#define MAP	"a map"

/*
 * Shared data of this area, beside the map. Of each list and vector it is
 * known how long it is, unless somebody died changing it.
 */
struct containers {
	struct {
		struct lshm_mutex mutex;
		struct lshm_list list;
		struct pair length;
	} lists[LISTS];
	struct {
		struct lshm_mutex mutex;
		struct lshm_vector vector;
		struct pair length;
	} vectors[VECTORS];
};

struct item {
	struct lshm_link link;
	struct text text;
};

#define ITEM_MIN sizeof(struct item)

static_assert(LOCK_LIST + LISTS <= LOCK_VECTOR, "numbers of locks");
static_assert(LOCK_VECTOR + VECTORS <= LOCKS, "numbers of locks");

static void set_length(struct pair *length, uint64_t n)
{
	lshmi_store_relaxed(&length->first, n);
	lshmi_store_relaxed(&length->second, n);
}

static void check_length(struct pair *length, uint64_t n, bool died)
{
	if (died)
		set_length(length, n);
	check_pair(length);
	UT_EQ(length->first, n);
}

/* ---- lists ---- */

/* All of it is whole; its length, and its n-th item. */
static uint64_t walk(struct lshm_region *region, struct lshm_mutex *mutex,
    struct lshm_list *list, uint64_t n, struct item **nth)
{
	struct lshm_link *link = NULL;
	struct item *item;
	uint64_t length = 0;
	int ret;

	*nth = NULL;
	while ((ret = lshm_list_next(region, mutex, list, link, &link)) == 0) {
		item = (struct item *)link;
		check_text(&item->text,
		    lshm_usable_size(region, item) - sizeof(item->link));
		if (length++ == n)
			*nth = item;
	}
	UT_EQ(-ENOENT, ret);
	return length;
}

static void insert(struct worker *w, struct lshm_mutex *mutex,
    struct lshm_list *list, struct item *after, struct item *item)
{
	if (after)
		UT_OK(lshm_list_insert_after(
		    w->region, mutex, list, &after->link, &item->link));
	else if (pick(w, 2))
		UT_OK(
		    lshm_list_push_front(w->region, mutex, list, &item->link));
	else
		UT_OK(lshm_list_push_back(w->region, mutex, list, &item->link));
}

static void use_list(struct worker *w)
{
	struct containers *c = w->shared[CONTAINER];
	uint32_t i = (uint32_t)pick(w, LISTS);
	struct lshm_mutex *mutex = &c->lists[i].mutex;
	struct lshm_list *list = &c->lists[i].list;
	uint64_t size = ITEM_MIN + pick(w, 500), length;
	struct item *item, *nth;
	bool died;

	begin(w, OWN, LSHM_NOW);
	item = lshm_alloc(w->region, size);
	end(w);
	if (item)
		write_text(&item->text, size - sizeof(item->link), w->life, 16);
	lock_by(w, mutex, LOCK_LIST + i, LSHM_FOREVER, &died);
	length = walk(w->region, mutex, list, pick(w, LONGEST), &nth);
	check_length(&c->lists[i].length, length, died);
	dawdle(w);
	begin(w, OWN, LSHM_NOW);
	if (item && length < LONGEST && pick(w, 2)) {
		insert(w, mutex, list, nth, item);
		item = NULL;
		set_length(&c->lists[i].length, length + 1);
	} else if (nth) {
		UT_OK(lshm_list_remove(w->region, mutex, list, &nth->link));
		set_length(&c->lists[i].length, length - 1);
		UT_OK(lshm_free(w->region, nth));
	}
	end(w);
	dawdle(w);
	unlock(w, mutex, LOCK_LIST + i);
	UT_OK(lshm_free(w->region, item));
}

/* ---- vectors ---- */

static uint64_t element(uint64_t i)
{
	return i * UINT64_C(0x9e3779b97f4a7c15) + 1;
}

static uint64_t check_vector(
    struct lshm_region *region, struct lshm_vector *vector)
{
	const uint64_t *at;
	uint64_t n = vector->count;

	for (uint64_t i = 0; i < n; i++) {
		UT_SOME(at = lshm_vector_at(region, vector, i));
		UT_EQ(element(i), *at);
	}
	UT_TRUE(!lshm_vector_at(region, vector, n));
	return n;
}

static void use_vector(struct worker *w)
{
	struct containers *c = w->shared[CONTAINER];
	uint32_t i = (uint32_t)pick(w, VECTORS);
	struct lshm_mutex *m = &c->vectors[i].mutex;
	struct lshm_vector *v = &c->vectors[i].vector;
	uint64_t n, value, more = 0;
	bool died;

	lock_by(w, m, LOCK_VECTOR + i, LSHM_FOREVER, &died);
	n = check_vector(w->region, v);
	check_length(&c->vectors[i].length, n, died);
	dawdle(w);
	begin(w, OWN, LSHM_NOW);
	switch (pick(w, 32)) {
	case 0:
		UT_OK(lshm_vector_clear(w->region, m, v));
		break;
	case 1:
		UT_OK(lshm_vector_truncate(w->region, m, v, n / 2));
		break;
	case 2:
		MAY_FAIL(lshm_vector_reserve(w->region, m, v, n + pick(w, 99)),
		    ENOMEM, EAGAIN);
		break;
	case 3 ... 10:
		if (MAY_FAIL(lshm_vector_pop(w->region, m, v, &value), ENOENT))
			UT_EQ(element(n - 1), value);
		break;
	default:
		for (more = pick(w, 5); more; more--) {
			value = element(v->count);
			MAY_FAIL(lshm_vector_push(w->region, m, v, &value),
			    ENOMEM, EAGAIN);
		}
	}
	end(w);
	set_length(&c->vectors[i].length, v->count);
	unlock(w, m, LOCK_VECTOR + i);
}

/* ---- the map ---- */

static struct lshm_map *map_of(struct lshm_region *region)
{
	struct lshm_map *map;

	UT_OK(lshm_map_open(region, MAP, &map));
	return map;
}

/* Under the map's lock: it is whole, bytes or a block. */
static void look_at(const struct lshm_map_item *item, void *arg)
{
	uint64_t *count = arg;

	check_text(item->value, item->value_size);
	++*count;
}

static void walk_map(struct lshm_region *region, struct lshm_map *map)
{
	uint64_t cursor = 0, count = 0;
	int ret;

	while (
	    MAY_FAIL(ret = lshm_map_next(region, map, &cursor, look_at, &count),
		ENOENT, EAGAIN))
		UT_CMP(count, <, 100000);
}

static void put_or_remove_block(
    struct worker *w, struct lshm_map *map, uint64_t key)
{
	void *block = pick(w, 3) ? new_block(w) : NULL, *old = NULL;
	bool done;

	begin(w, OWN, LSHM_NOW);
	if (block)
		done = MAY_FAIL(lshm_map_put_block(w->region, map, &key,
				    sizeof(key), block, &old),
		    ENOMEM, EAGAIN);
	else
		done = MAY_FAIL(
		    lshm_map_remove(w->region, map, &key, sizeof(key), &old),
		    ENOENT, EAGAIN);
	end(w);
	if (block && !done)
		free_block(w, block);
	if (old)
		free_block(w, old);
}

static void put_or_remove_bytes(
    struct worker *w, struct lshm_map *map, uint64_t key)
{
	uint64_t room[64];
	struct text *text = (void *)room;
	uint64_t size = TEXT_MIN + pick(w, sizeof(room) - TEXT_MIN);

	write_text(text, size, w->life, 16);
	begin(w, OWN, LSHM_NOW);
	switch (pick(w, 3)) {
	case 0:
		MAY_FAIL(
		    lshm_map_remove(w->region, map, &key, sizeof(key), NULL),
		    ENOENT, EAGAIN);
		break;
	case 1:
		MAY_FAIL(lshm_map_insert(
			     w->region, map, &key, sizeof(key), text, size),
		    EEXIST, ENOMEM, EAGAIN);
		break;
	default:
		MAY_FAIL(
		    lshm_map_put(w->region, map, &key, sizeof(key), text, size),
		    ENOMEM, EAGAIN);
	}
	end(w);
}

/* A key that only this thread changes: its value is as it was left. */
static void use_own_key(struct worker *w, struct lshm_map *map)
{
	uint64_t key = KEYS + (uint64_t)(w->seat - ledger->seats);
	struct text text;
	size_t size;
	bool done;
	int ret;

	begin(w, OWN, LSHM_NOW);
	ret = lshm_map_get(
	    w->region, map, &key, sizeof(key), &text, sizeof(text), &size);
	end(w);
	done = MAY_FAIL(ret, EAGAIN, ENOENT);
	if (done)
		check_text(&text, size);
	if (w->own_value && ret != -EAGAIN) {
		UT_OK(ret);
		UT_EQ(w->own_value, text.number);
	}
	write_text(&text, sizeof(text), w->life, 1 + pick(w, UINT32_MAX));
	begin(w, OWN, LSHM_NOW);
	done = MAY_FAIL(lshm_map_put(w->region, map, &key, sizeof(key), &text,
			    sizeof(text)),
	    EAGAIN, ENOMEM);
	end(w);
	if (done)
		w->own_value = text.number;
}

static void use_map(struct worker *w)
{
	struct lshm_map *map = map_of(w->region);
	uint64_t key = pick(w, KEYS), count = 0;

	if (pick(w, 64) == 0) {
		walk_map(w->region, map);
	} else if (pick(w, 4) == 0) {
		use_own_key(w, map);
	} else if (pick(w, 2)) {
		begin(w, OWN, LSHM_NOW);
		MAY_FAIL(lshm_map_view(w->region, map, &key, sizeof(key),
			     look_at, &count),
		    ENOENT, EAGAIN);
		end(w);
	} else if (key % 2) {
		put_or_remove_block(w, map, key);
	} else {
		put_or_remove_bytes(w, map, key);
	}
}

/* ---- this area ---- */

static void prepare(struct lshm_region *region, void *shared)
{
	struct containers *c = shared;
	struct lshm_map *map;

	for (int i = 0; i < LISTS; i++)
		c->lists[i].length.canary = CANARY;
	for (int i = 0; i < VECTORS; i++) {
		c->vectors[i].length.canary = CANARY;
		c->vectors[i].vector.element = sizeof(uint64_t);
	}
	UT_OK(lshm_map_create(region, MAP, &map));
}

static void audit(struct books *b, void *shared)
{
	struct containers *c = shared;
	struct lshm_map *map = map_of(b->region);
	uint64_t count, seen = 0, cursor = 0;
	struct item *nth;
	int ret;

	for (int i = 0; i < LISTS; i++) {
		struct lshm_mutex *m = &c->lists[i].mutex;

		ret = lshm_mutex_lock(b->region, m, LSHM_NOW);
		UT_TRUE(ret >= 0);
		count = walk(b->region, m, &c->lists[i].list, 0, &nth);
		check_length(&c->lists[i].length, count, ret);
		for (uint64_t n = 0; n < count; n++) {
			walk(b->region, m, &c->lists[i].list, n, &nth);
			enter(b, lshm_offset(b->region, nth), ITEM_MIN, 16);
		}
		UT_OK(lshm_mutex_unlock(b->region, m));
	}
	for (int i = 0; i < VECTORS; i++) {
		struct lshm_vector *v = &c->vectors[i].vector;

		ret =
		    lshm_mutex_lock(b->region, &c->vectors[i].mutex, LSHM_NOW);
		UT_TRUE(ret >= 0);
		count = check_vector(b->region, v);
		check_length(&c->vectors[i].length, count, ret);
		if (v->block)
			enter(b, v->block, count ? 8 * count : 1, 16);
		UT_OK(lshm_mutex_unlock(b->region, &c->vectors[i].mutex));
	}
	while (lshm_map_next(b->region, map, &cursor, look_at, &seen) == 0)
		;
	UT_OK(lshm_map_count(b->region, map, &count));
	UT_EQ(seen, count);
	/* now, so that what it has leaked is found */
	UT_OK(lshm_map_destroy(b->region, MAP));
}

static void clear(struct lshm_region *region, void *shared)
{
	struct containers *c = shared;
	struct item *nth;

	for (int i = 0; i < LISTS; i++) {
		struct lshm_mutex *m = &c->lists[i].mutex;

		UT_OK(lshm_mutex_lock(region, m, LSHM_NOW));
		while (walk(region, m, &c->lists[i].list, 0, &nth)) {
			UT_OK(lshm_list_remove(
			    region, m, &c->lists[i].list, &nth->link));
			UT_OK(lshm_free(region, nth));
		}
		UT_OK(lshm_mutex_unlock(region, m));
	}
	for (int i = 0; i < VECTORS; i++) {
		struct lshm_mutex *m = &c->vectors[i].mutex;

		UT_OK(lshm_mutex_lock(region, m, LSHM_NOW));
		UT_OK(lshm_vector_clear(region, m, &c->vectors[i].vector));
		UT_OK(lshm_mutex_unlock(region, m));
	}
}

static const struct op ops[] = {
    {"list", 30, use_list},
    {"vector", 20, use_vector},
    {"map", 60, use_map},
    {0},
};

const struct area area_container = {
    .name = "area.container",
    .size = sizeof(struct containers),
    .ops = ops,
    .prepare = prepare,
    .audit = audit,
    .clear = clear,
};
