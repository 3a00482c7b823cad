/* SPDX-License-Identifier: MIT */
/*
 * crash_kill_containers.c - death at a random moment of the containers' calls,
 * and at the very moment of each change
 *
 * As crash_kill.c: a child works on a list, a vector and a map until it is
 * killed; before and after each call it notes in memory of its own, which the
 * survivor shares, what it is about to do. Afterwards the call it died in has
 * happened wholly or not at all, all others have happened, and no block is
 * lost.
 */
#include "scene.h"

#include <sys/mman.h>
#include <time.h>

#include "../../libshm/atomic.h"
#include "../../libshm/siphash.h"

#define KEYS	 300
#define LIST_MAX 40

struct box {
	struct lshm_mutex mutex;
	struct lshm_list list;
	struct lshm_vector vector;
};

struct item {
	struct lshm_link link;
	uint64_t value;
};

/* Of a value: 0 none; its lowest bit: it is a block. */
struct notes {
	uint64_t done; /* calls that have returned */
	uint64_t values[KEYS];
	uint64_t key;	/* of the call under way; KEYS: none */
	uint64_t value; /* that it is to have */
	uint64_t clear; /* everything is being cleared */
};

struct storm {
	struct lshm_region *region;
	struct box *box;
	struct lshm_map *map;
	struct crash_books books;
	struct notes *notes;
	uint64_t seed;
};

static uint64_t microseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void storm_begin(struct storm *s)
{
	memset(s, 0, sizeof(*s));
	s->seed = ut_seed();
	s->region = ut_create(UT_SMALL);
	UT_OK(lshm_object_create(s->region, "box", "box", sizeof(*s->box), NULL,
	    NULL, (void **)&s->box));
	UT_OK(lshm_free(s->region, lshm_alloc(s->region, 100)));
	s->books = CRASH_BOOKS(s->region);
	s->box->vector.element = 24;
	UT_OK(lshm_map_create(s->region, "map", &s->map));
	s->notes = mmap(NULL, sizeof(*s->notes), PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	UT_TRUE(s->notes != MAP_FAILED);
	s->notes->key = KEYS;
}

/* The child's view: the same things at its own addresses. */
static void enter(struct storm *s, struct lshm_region *region, int fd)
{
	s->region = region;
	UT_OK(lshm_object_open(
	    region, "box", "box", sizeof(*s->box), (void **)&s->box));
	UT_OK(lshm_map_open(region, "map", &s->map));
	ut_say(fd, 0);
}

static void storm(struct storm *s, ut_body *body,
    void (*meanwhile)(struct storm *s), void (*afterwards)(struct storm *s))
{
	uint64_t rounds =
	    ut_scale(ut_backend->id == LSHM_BACKEND_POSIX ? 400 : 80);

	for (; rounds; rounds--) {
		struct ut_child child = ut_spawn(s->region, 0, body, s);
		uint64_t end;

		ut_hear(child.fd);
		end = microseconds() + ut_random(&s->seed) % 1500;
		do
			meanwhile(s);
		while (microseconds() < end);
		ut_kill(&child);
		/* sometimes the lock is met before the reaping */
		if (ut_random(&s->seed) % 2)
			lshm_region_reap(s->region);
		s->seed += s->notes->done;
		afterwards(s);
	}
	UT_CMP(s->notes->done, >, 0);
}

static void nothing(struct storm *s)
{
}

static void storm_end(struct storm *s)
{
	UT_OK(lshm_map_destroy(s->region, "map"));
	CRASH_BALANCED(s->region, &s->books);
	munmap(s->notes, sizeof(*s->notes));
	lshm_region_close(s->region);
}

static void lock(struct storm *s)
{
	int ret = lshm_mutex_lock(s->region, &s->box->mutex, UT_SOON);

	UT_TRUE(ret == 0 || ret == LSHM_OWNER_DIED);
}

static void unlock(struct storm *s)
{
	UT_OK(lshm_mutex_unlock(s->region, &s->box->mutex));
}

/* ---- the list ---- */

/* Its n-th block; they have the values 1 to LIST_MAX, each once at most. */
static struct lshm_link *nth(struct storm *s, uint64_t n)
{
	struct lshm_link *link = NULL;

	do
		UT_OK(lshm_list_next(
		    s->region, &s->box->mutex, &s->box->list, link, &link));
	while (n--);
	return link;
}

/* All blocks are whole, no value twice; of each whether it is there. */
static uint64_t list_check(struct storm *s, bool there[LIST_MAX])
{
	struct lshm_link *link = NULL;
	uint64_t n = 0;
	int ret;

	memset(there, 0, LIST_MAX * sizeof(*there));
	while ((ret = lshm_list_next(s->region, &s->box->mutex, &s->box->list,
		    link, &link)) == 0) {
		uint64_t v = ((struct item *)link)->value;

		UT_CMP(v, <, LIST_MAX);
		UT_TRUE(!there[v]);
		there[v] = true;
		n++;
	}
	UT_EQ(-ENOENT, ret);
	UT_EQ(lshm_offset(s->region, link), s->box->list.tail);
	return n;
}

static void list_change(struct storm *s)
{
	struct lshm_region *r = s->region;
	struct lshm_mutex *m = &s->box->mutex;
	struct lshm_list *list = &s->box->list;
	uint64_t random = ut_random(&s->seed), n, value;
	bool there[LIST_MAX];
	struct lshm_link *link;
	struct item *new;

	lock(s);
	n = list_check(s, there);
	if (n && (n == LIST_MAX || random % 5 < 2)) {
		link = nth(s, random / 8 % n);
		UT_OK(lshm_list_remove(r, m, list, link));
		unlock(s);
		UT_OK(lshm_free(r, link));
		goto out;
	}
	for (value = 0; there[value]; value++)
		;
	new = lshm_alloc(r, sizeof(*new));
	UT_SOME(new);
	new->value = value;
	if (random % 5 == 2)
		UT_OK(lshm_list_push_front(r, m, list, &new->link));
	else if (random % 5 == 3 || n == 0)
		UT_OK(lshm_list_push_back(r, m, list, &new->link));
	else
		UT_OK(lshm_list_insert_after(
		    r, m, list, nth(s, random / 8 % n), &new->link));
	unlock(s);
out:
	lshmi_fetch_add(&s->notes->done, 1);
}

static void list_body(struct lshm_region *region, int fd, void *arg)
{
	struct storm s = *(struct storm *)arg;

	enter(&s, region, fd);
	for (;;)
		list_change(&s);
}

/* What is in the list is attached, and nothing else. */
static void list_is_well(struct storm *s)
{
	bool there[LIST_MAX];
	uint64_t n;

	lock(s);
	n = list_check(s, there);
	unlock(s);
	/* the map's block is there, too */
	UT_EQ(s->books.attached_blocks + 1 + n,
	    CRASH_BOOKS(s->region).attached_blocks);
}

UT_TEST(list, UT_EACH)
{
	struct lshm_link *link;
	struct storm s;

	storm_begin(&s);
	storm(&s, list_body, list_change, list_is_well);
	lock(&s);
	while (lshm_list_next(
		   s.region, &s.box->mutex, &s.box->list, NULL, &link) == 0) {
		UT_OK(lshm_list_remove(
		    s.region, &s.box->mutex, &s.box->list, link));
		UT_OK(lshm_free(s.region, link));
	}
	unlock(&s);
	storm_end(&s);
}

/* ---- the vector ---- */

/* Element i is three words that follow from i. */
static void vector_check(struct storm *s)
{
	uint64_t n = s->box->vector.count;

	for (uint64_t i = 0; i < n; i++) {
		uint64_t *e = lshm_vector_at(s->region, &s->box->vector, i);

		UT_SOME(e);
		for (uint64_t k = 0; k < 3; k++)
			UT_EQ(3 * i + k, e[k]);
	}
	UT_PTR(NULL, lshm_vector_at(s->region, &s->box->vector, n));
}

static void vector_change(struct storm *s)
{
	struct lshm_region *r = s->region;
	struct lshm_mutex *m = &s->box->mutex;
	struct lshm_vector *v = &s->box->vector;
	uint64_t random = ut_random(&s->seed), n;

	lock(s);
	n = v->count;
	if (random % 64 == 0) {
		UT_OK(lshm_vector_clear(r, m, v));
	} else if (random % 64 == 1) {
		UT_OK(lshm_vector_truncate(r, m, v, random / 64 % (n + 1)));
	} else if (random % 64 == 2) {
		UT_OK(lshm_vector_reserve(r, m, v, random / 64 % 200));
	} else if (random % 4 == 3 && n) {
		uint64_t e[3];

		UT_OK(lshm_vector_pop(r, m, v, e));
		UT_EQ(3 * (n - 1), e[0]);
	} else {
		uint64_t e[3] = {3 * n, 3 * n + 1, 3 * n + 2};

		UT_OK(lshm_vector_push(r, m, v, e));
	}
	unlock(s);
	lshmi_fetch_add(&s->notes->done, 1);
}

static void vector_body(struct lshm_region *region, int fd, void *arg)
{
	struct storm s = *(struct storm *)arg;

	enter(&s, region, fd);
	for (;;)
		vector_change(&s);
}

static void vector_is_well(struct storm *s)
{
	bool block;

	lock(s);
	vector_check(s);
	block = s->box->vector.block != 0;
	unlock(s);
	UT_EQ(s->books.attached_blocks + 1 + block,
	    CRASH_BOOKS(s->region).attached_blocks);
}

UT_TEST(vector, UT_EACH)
{
	struct storm s;

	storm_begin(&s);
	storm(&s, vector_body, vector_change, vector_is_well);
	lock(&s);
	UT_OK(lshm_vector_clear(s.region, &s.box->mutex, &s.box->vector));
	unlock(&s);
	storm_end(&s);
}

/* ---- the map ---- */

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

	storm_begin(&s);
	storm(&s, map_body, map_too, map_is_well);
	storm_end(&s);
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

	storm_begin(&s);
	storm(&s, maps_body, nothing, no_map_is_left);
	storm_end(&s);
}

/* ---- at the very moment ---- */

/*
 * What follows from a change has a window of a few instructions, which chance
 * would seldom hit. So the child is stepped until the one word changes that
 * decides, and killed right there: the call has happened, and nothing else has.
 */
struct moment {
	struct storm *storm;
	void (*act)(struct storm *s);
	const volatile uint64_t *word;
	uint64_t before;
};

static void moment_body(struct lshm_region *region, int fd, void *arg)
{
	struct moment *m = arg;
	struct storm s = *m->storm;

	enter(&s, region, fd);
	crash_mark();
	m->act(&s);
	crash_mark();
}

static bool has_changed(void *arg)
{
	struct moment *m = arg;

	return *m->word != m->before;
}

static void kill_at(
    struct storm *s, void (*act)(struct storm *s), const uint64_t *word)
{
	struct moment m = {s, act, word, *word};
	struct ut_child child = ut_spawn(s->region, 0, moment_body, &m);

	ut_hear(child.fd);
	crash_await_mark(&child);
	UT_TRUE(crash_step(&child, has_changed, &m));
	ut_kill(&child);
}

/* Blocks with the values 0 and 1 in the list. */
static void add(struct storm *s, uint64_t value, bool front)
{
	struct item *new = lshm_alloc(s->region, sizeof(*new));

	UT_SOME(new);
	new->value = value;
	lock(s);
	UT_OK((front ? lshm_list_push_front : lshm_list_push_back)(
	    s->region, &s->box->mutex, &s->box->list, &new->link));
	unlock(s);
}

static void add_first(struct storm *s)
{
	add(s, 0, false);
}

static void add_behind(struct storm *s)
{
	add(s, 1, false);
}

static void add_before(struct storm *s)
{
	add(s, 2, true);
}

static void remove_first(struct storm *s)
{
	struct lshm_link *link;

	lock(s);
	link = nth(s, 0);
	UT_OK(lshm_list_remove(s->region, &s->box->mutex, &s->box->list, link));
	unlock(s);
	UT_OK(lshm_free(s->region, link));
}

UT_TEST(list_at_the_change, UT_ONCE)
{
	struct lshm_list *list;
	struct item *first;
	struct storm s;

	storm_begin(&s);
	list = &s.box->list;
	kill_at(&s, add_first, &list->head);
	list_is_well(&s);
	first = lshm_at(s.region, list->head, sizeof(*first));
	UT_SOME(first);
	kill_at(&s, add_behind, &first->link.next);
	list_is_well(&s);
	UT_CMP(first->link.next, !=, 0);
	kill_at(&s, add_before, &list->head);
	list_is_well(&s);
	for (int left = 2; left >= 0; left--) {
		kill_at(&s, remove_first, &list->head);
		list_is_well(&s);
	}
	UT_EQ(0, list->head);
	storm_end(&s);
}

static void push_until_it_grows(struct storm *s)
{
	lshm_off block = s->box->vector.block;

	lock(s);
	while (s->box->vector.block == block) {
		uint64_t n = s->box->vector.count;
		uint64_t e[3] = {3 * n, 3 * n + 1, 3 * n + 2};

		UT_OK(lshm_vector_push(
		    s->region, &s->box->mutex, &s->box->vector, e));
	}
	unlock(s);
}

static void clear_vector(struct storm *s)
{
	lock(s);
	UT_OK(lshm_vector_clear(s->region, &s->box->mutex, &s->box->vector));
	unlock(s);
}

UT_TEST(vector_at_the_change, UT_ONCE)
{
	struct lshm_vector *vector;
	struct storm s;

	storm_begin(&s);
	vector = &s.box->vector;
	for (int i = 0; i < 3; i++) {
		kill_at(&s, push_until_it_grows, &vector->block);
		vector_is_well(&s);
		UT_CMP(vector->count, >=, i ? 8 : 0);
	}
	kill_at(&s, clear_vector, &vector->block);
	vector_is_well(&s);
	UT_EQ(0, vector->block);
	storm_end(&s);
}

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

	storm_begin(&s);
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
	storm_end(&s);
}
