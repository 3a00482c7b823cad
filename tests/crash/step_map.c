/* SPDX-License-Identifier: MIT */
/*
 * step_map.c - sweeps of maps
 *
 * Ten keys, all in one shard. Even values are bytes, odd ones blocks; either is
 * filled from the value. Entry i has the value 100 + i beforehand.
 */
#include "step.h"

#define KEYS 10
#define SIZE 600 /* of the bytes of a value */

static uint64_t keys[KEYS];

static struct lshm_map *map(struct world *w)
{
	struct lshm_map *m;

	UT_OK(lshm_map_open(w->region, "map", &m));
	return m;
}

static void put(struct world *w, uint64_t key, uint64_t value)
{
	char bytes[SIZE];
	void *block, *old;

	if (value % 2 == 0) {
		crash_fill(bytes, SIZE, value);
		UT_OK(lshm_map_put(
		    w->region, map(w), &keys[key], 8, bytes, SIZE));
		return;
	}
	block = lshm_alloc(w->region, SMALL_BLOCK);
	UT_SOME(block);
	crash_fill(block, SIZE, value);
	UT_OK(
	    lshm_map_put_block(w->region, map(w), &keys[key], 8, block, &old));
	UT_OK(lshm_free(w->region, old));
}

/* 0: it has none. */
static uint64_t get(struct world *w, uint64_t key)
{
	char bytes[SIZE];
	void *block;
	int ret =
	    lshm_map_get(w->region, map(w), &keys[key], 8, bytes, SIZE, NULL);

	if (ret == -ENOENT)
		return 0;
	if (ret == 0)
		return CRASH_WHOLE(bytes, SIZE);
	UT_EQ(-EPROTOTYPE, ret);
	UT_OK(lshm_map_get_block(w->region, map(w), &keys[key], 8, &block));
	return CRASH_WHOLE(block, SIZE);
}

/* The first ten numbers that belong to shard 0 by a seed that is known. */
static void choose_keys(struct world *w)
{
	struct lshmi_map *m = (struct lshmi_map *)map(w);
	uint64_t found = 0;

	m->seed[0] = 1;
	m->seed[1] = 2;
	for (uint64_t k = 0; found < KEYS; k++) {
		UT_OK(lshm_map_put(w->region, map(w), &k, 8, &k, 8));
		if (m->shards[0].count)
			keys[found++] = k;
		UT_OK(lshm_map_remove(w->region, map(w), &k, 8, NULL));
	}
	UT_OK(lshm_map_clear(w->region, map(w)));
}

static void make_map(struct world *w, uint64_t entries)
{
	struct lshm_map *m;

	UT_OK(lshm_map_create(w->region, "map", &m));
	choose_keys(w);
	for (uint64_t i = 0; i < entries; i++)
		put(w, i, 100 + i);
}

static void prepare_empty(struct world *w)
{
	make_map(w, 0);
}

static void prepare_4(struct world *w)
{
	make_map(w, 4);
}

/* One more, and the table grows. */
static void prepare_8(struct world *w)
{
	make_map(w, 8);
}

/* Its lane, and the sizes it will need, are in use. */
static void begin_map(struct world *w)
{
	UT_OK(lshm_free(w->region, lshm_alloc(w->region, SIZE)));
	get(w, KEYS - 1);
}

static void count_one(const struct lshm_map_item *item, void *arg)
{
	++*(uint64_t *)arg;
}

static void destroy(struct world *w)
{
	UT_OK(lshm_map_destroy(w->region, "map"));
}

/* It counts and walks what get() finds, and goes on with all the keys. */
static void finish_sound(struct world *w)
{
	uint64_t there = 0, count, cursor = 0, walked = 0;

	for (uint64_t i = 0; i < KEYS; i++)
		there += get(w, i) != 0;
	UT_OK(lshm_map_count(w->region, map(w), &count));
	UT_EQ(there, count);
	while (
	    lshm_map_next(w->region, map(w), &cursor, count_one, &walked) == 0)
		;
	UT_EQ(there, walked);
	for (uint64_t i = 0; i < KEYS; i++) {
		put(w, i, 1000 + i);
		UT_EQ(1000 + i, get(w, i));
	}
	UT_OK(lshm_map_remove(w->region, map(w), &keys[3], 8, NULL));
	UT_EQ(0, get(w, 3));
	destroy(w);
}

/* Of @entries one has become another, 0: none, or is as it was. */
static void finish_map(
    struct world *w, uint64_t entries, uint64_t key, uint64_t value)
{
	for (uint64_t i = 0; i < KEYS; i++) {
		uint64_t before = i < entries ? 100 + i : 0, seen = get(w, i);

		if (i == key)
			UT_TRUE(seen == value || (seen == before && !w->done));
		else
			UT_EQ(before, seen);
	}
	finish_sound(w);
}

/* MAP(name, entries, key, value): the key gets the value; 0: it is removed */
#define MAP(name, entries, key, value)                                \
	static void run_##name(struct world *w)                       \
	{                                                             \
		if (value)                                            \
			put(w, (key), (value));                       \
		else                                                  \
			UT_OK(lshm_map_remove(                        \
			    w->region, map(w), &keys[key], 8, NULL)); \
	}                                                             \
	static void finish_##name(struct world *w)                    \
	{                                                             \
		finish_map(w, (entries), (key), (value));             \
	}

MAP(first, 0, 5, 500)
MAP(first_block, 0, 5, 501)
MAP(new, 4, 5, 500)
MAP(new_block, 4, 5, 501)
MAP(replaced, 4, 2, 500)
MAP(replace_by_block, 4, 2, 501)
MAP(replace_block, 4, 1, 500)
MAP(replace_block_by_block, 4, 1, 501)
MAP(growing, 8, 9, 500)
MAP(growing_block, 8, 9, 501)
MAP(remove, 4, 2, 0)
MAP(remove_block, 4, 1, 0)

STEP(map_put_first, UT_ONCE, .prepare = prepare_empty, .begin = begin_map,
    .run = run_first, .finish = finish_first)
STEP(map_put_first_block, UT_ONCE, .prepare = prepare_empty, .begin = begin_map,
    .run = run_first_block, .finish = finish_first_block)
STEP(map_put_new, UT_ONCE, .prepare = prepare_4, .begin = begin_map,
    .run = run_new, .finish = finish_new)
STEP(map_put_new_block, UT_ONCE, .prepare = prepare_4, .begin = begin_map,
    .run = run_new_block, .finish = finish_new_block)
STEP(map_put_over_bytes, UT_ONCE, .prepare = prepare_4, .begin = begin_map,
    .run = run_replaced, .finish = finish_replaced)
STEP(map_put_block_over_bytes, UT_ONCE, .prepare = prepare_4,
    .begin = begin_map, .run = run_replace_by_block,
    .finish = finish_replace_by_block)
STEP(map_put_over_block, UT_ONCE, .prepare = prepare_4, .begin = begin_map,
    .run = run_replace_block, .finish = finish_replace_block)
STEP(map_put_block_over_block, UT_ONCE, .prepare = prepare_4,
    .begin = begin_map, .run = run_replace_block_by_block,
    .finish = finish_replace_block_by_block)
STEP(map_put_grows, UT_ONCE, .prepare = prepare_8, .begin = begin_map,
    .run = run_growing, .finish = finish_growing)
STEP(map_put_block_grows, UT_ONCE, .prepare = prepare_8, .begin = begin_map,
    .run = run_growing_block, .finish = finish_growing_block)
STEP(map_remove, UT_ONCE, .prepare = prepare_4, .begin = begin_map,
    .run = run_remove, .finish = finish_remove)
STEP(map_remove_block, UT_ONCE, .prepare = prepare_4, .begin = begin_map,
    .run = run_remove_block, .finish = finish_remove_block)

/* ---- the other calls on keys ---- */

static int insert(struct world *w, uint64_t key)
{
	char bytes[SIZE];

	crash_fill(bytes, SIZE, 500);
	return lshm_map_insert(w->region, map(w), &keys[key], 8, bytes, SIZE);
}

static void insert_new(struct world *w)
{
	UT_OK(insert(w, 5));
}

static void insert_in_vain(struct world *w)
{
	UT_EQ(-EEXIST, insert(w, 2));
}

static void put_new_block_in_vain(struct world *w)
{
	alloc_small(w);
	UT_EQ(-EEXIST,
	    lshm_map_put_block(w->region, map(w), &keys[1], 8, w->block, NULL));
	free_block(w);
}

/* The block is the caller's again. */
static void take_block_out(struct world *w)
{
	UT_OK(lshm_map_remove(w->region, map(w), &keys[1], 8, &w->block));
	UT_EQ(101, CRASH_WHOLE(w->block, SIZE));
	free_block(w);
}

static void remove_missing(struct world *w)
{
	UT_EQ(-ENOENT, lshm_map_remove(w->region, map(w), &keys[9], 8, NULL));
}

static void look_at(const struct lshm_map_item *item, void *arg)
{
	uint64_t *sum = arg;

	*sum += CRASH_WHOLE(item->value, SIZE);
}

static void get_all(struct world *w)
{
	uint64_t cursor = 0, sum = 0, count;

	UT_EQ(101, get(w, 1));
	UT_EQ(102, get(w, 2));
	UT_EQ(0, get(w, 9));
	UT_OK(lshm_map_view(w->region, map(w), &keys[2], 8, look_at, &sum));
	UT_EQ(102, sum);
	UT_OK(lshm_map_count(w->region, map(w), &count));
	UT_EQ(4, count);
	while (lshm_map_next(w->region, map(w), &cursor, look_at, &sum) == 0)
		;
	UT_EQ(102 + 100 + 101 + 102 + 103, sum);
}

static void finish_unchanged(struct world *w)
{
	finish_map(w, 4, 0, 100);
}

STEP(map_insert, UT_ONCE, .prepare = prepare_4, .begin = begin_map,
    .run = insert_new, .finish = finish_new)
STEP(map_insert_in_vain, UT_ONCE, .prepare = prepare_4, .begin = begin_map,
    .run = insert_in_vain, .finish = finish_unchanged)
STEP(map_put_block_in_vain, UT_ONCE, .prepare = prepare_4, .begin = begin_map,
    .run = put_new_block_in_vain, .finish = finish_unchanged)
STEP(map_remove_to_have, UT_ONCE, .prepare = prepare_4, .begin = begin_map,
    .run = take_block_out, .finish = finish_remove_block)
STEP(map_remove_missing, UT_ONCE, .prepare = prepare_4, .begin = begin_map,
    .run = remove_missing, .finish = finish_unchanged)
STEP(map_looks, UT_ONCE, .prepare = prepare_4, .begin = begin_map,
    .run = get_all, .finish = finish_unchanged)

/* ---- all of it ---- */

static void create(struct world *w)
{
	struct lshm_map *m;

	UT_OK(lshm_map_create(w->region, "map", &m));
}

static void create_again(struct world *w)
{
	struct lshm_map *m;

	UT_EQ(-EEXIST, lshm_map_create(w->region, "map", &m));
}

static void clear(struct world *w)
{
	UT_OK(lshm_map_clear(w->region, map(w)));
}

static bool map_is_there(struct world *w)
{
	struct lshm_map *m;
	int ret = lshm_map_open(w->region, "map", &m);

	UT_TRUE(ret == 0 || ret == -ENOENT);
	return ret == 0;
}

static void finish_created(struct world *w)
{
	if (map_is_there(w))
		destroy(w);
	else
		UT_TRUE(!w->done);
	make_map(w, 4);
	finish_unchanged(w);
}

static void finish_cleared(struct world *w)
{
	for (uint64_t i = 0; i < KEYS; i++) {
		uint64_t seen = get(w, i);

		UT_TRUE(seen == 0 || (seen == 100 + i && !w->done));
	}
	finish_sound(w);
}

static void finish_destroyed(struct world *w)
{
	if (map_is_there(w)) {
		UT_TRUE(!w->done);
		w->done = false;
		finish_cleared(w);
	}
	UT_TRUE(!map_is_there(w));
	make_map(w, 4);
	finish_unchanged(w);
}

STEP(map_create, UT_ONCE, .run = create, .finish = finish_created)
STEP(map_create_again, UT_ONCE, .prepare = prepare_4, .run = create_again,
    .finish = finish_unchanged)
STEP(map_clear, UT_ONCE, .prepare = prepare_4, .begin = begin_map, .run = clear,
    .finish = finish_cleared)
STEP(map_destroy, UT_ONCE, .prepare = prepare_4, .begin = begin_map,
    .run = destroy, .finish = finish_destroyed)

/* ---- the dead hold the shard's lock, and have not counted ---- */

static void torn_body(struct lshm_region *region, int fd, void *arg)
{
	struct world w = {.region = region};

	find_shared(&w);
	begin_map(&w);
	crash_mark();
	put(&w, 4, 104);
}

/* Has an intent been pending, and is none now? */
static bool changed(void *arg)
{
	struct world *w = arg;
	uint32_t lanes = crash_header(w->region)->max_lanes;
	bool pending = false;

	for (uint32_t i = 0; i < lanes; i++)
		pending |=
		    (*(volatile uint64_t *)&crash_lane(w->region, i)->intent &
			LSHMI_INTENT_STATE) != 0;
	w->done |= pending;
	return w->done && !pending;
}

static void prepare_uncounted(struct world *w)
{
	struct lshmi_map_shard *shard;

	prepare_4(w);
	shard = &((struct lshmi_map *)map(w))->shards[0];
	start_victim(w, torn_body);
	crash_await_mark(&w->victim);
	w->done = false;
	UT_TRUE(crash_step(&w->victim, changed, w));
	UT_EQ(4, shard->count);
	UT_TRUE(shard->mutex.word != 0);
}

static void put_fifth(struct world *w)
{
	put(w, 5, 500);
}

static void rescue_by_getting(struct world *w)
{
	UT_EQ(104, get(w, 4));
}

static void finish_counted(struct world *w)
{
	finish_map(w, 5, 5, 500);
}

STEP(map_put_after_uncounted, UT_ONCE, .prepare = prepare_uncounted,
    .begin = alloc_free, .meanwhile = kill_victim, .run = put_fifth,
    .rescue = rescue_by_getting, .finish = finish_counted)

/* Another one sleeps on that lock, to put the seventh. */
static void other_puts(struct world *w)
{
	put(w, 6, 106);
}

static void finish_slept(struct world *w)
{
	lshm_testing_join();
	UT_EQ(106, get(w, 6));
	UT_OK(lshm_map_remove(w->region, map(w), &keys[6], 8, NULL));
	finish_counted(w);
}

STEP(map_put_among_sleepers, UT_ONCE, .prepare = prepare_uncounted,
    .begin = alloc_free, .other = other_puts, .meanwhile = kill_victim,
    .run = put_fifth, .rescue = rescue_by_getting, .finish = finish_slept)
