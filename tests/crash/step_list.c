/* SPDX-License-Identifier: MIT */
/*
 * step_list.c - sweeps of lists and vectors
 *
 * A list is told by its values as digits: 1 2 3 is 123. A vector's elements are
 * filled from their index.
 */
#include "step.h"

#define ELEMENT 104
#define FULL	20 /* elements that a survivor fills it up to */

/* ---- lists ---- */

struct item {
	struct lshm_link link;
	uint64_t value;
};

static int list_next(
    struct world *w, struct lshm_link *after, struct lshm_link **out)
{
	return lshm_list_next(
	    w->region, &w->shared->mutex, &w->shared->list, after, out);
}

/* Walked through, and it is whole; with the lock held. */
static uint64_t digits(struct world *w)
{
	const struct lshm_list *list = &w->shared->list;
	struct lshm_link *link = NULL;
	uint64_t sum = 0;
	lshm_off before = 0;

	while (list_next(w, link, &link) == 0) {
		sum = 10 * sum + ((struct item *)link)->value;
		UT_EQ(before, link->prev);
		before = lshm_offset(w->region, link);
	}
	UT_EQ(before, list->tail);
	UT_EQ(0, list->dirty);
	return sum;
}

/* The @n-th, by its offsets alone. */
static struct item *nth(struct world *w, int n)
{
	lshm_off off = w->shared->list.head;
	struct item *item = lshm_at(w->region, off, sizeof(*item));

	while (n--) {
		UT_SOME(item);
		item = lshm_at(w->region, item->link.next, sizeof(*item));
	}
	return item;
}

static void make_item(struct world *w, uint64_t value)
{
	struct item *item;

	alloc_small(w);
	item = w->block;
	*item = (struct item){.value = value};
}

static void push_back(struct world *w)
{
	UT_OK(lshm_list_push_back(
	    w->region, &w->shared->mutex, &w->shared->list, w->block));
}

static void push_front(struct world *w)
{
	UT_OK(lshm_list_push_front(
	    w->region, &w->shared->mutex, &w->shared->list, w->block));
}

static void insert_second(struct world *w)
{
	UT_OK(lshm_list_insert_after(w->region, &w->shared->mutex,
	    &w->shared->list, &nth(w, 0)->link, w->block));
}

static void list_remove(struct world *w, int n)
{
	w->block = nth(w, n);
	UT_OK(lshm_list_remove(
	    w->region, &w->shared->mutex, &w->shared->list, w->block));
}

static void remove_first(struct world *w)
{
	list_remove(w, 0);
}

static void remove_second(struct world *w)
{
	list_remove(w, 1);
}

static void remove_third(struct world *w)
{
	list_remove(w, 2);
}

static void remove_and_free(struct world *w)
{
	list_remove(w, 1);
	free_block(w);
}

static void walk(struct world *w)
{
	digits(w);
}

static void insert_refused(struct world *w)
{
	UT_EQ(-EPERM, lshm_list_push_back(w->region, &w->shared->mutex,
			  &w->shared->list, &nth(w, 1)->link));
}

/* 1 2 3 */
static void prepare_list(struct world *w)
{
	lock(w);
	for (uint64_t i = 1; i <= 3; i++) {
		make_item(w, i);
		push_back(w);
	}
	unlock(w);
}

static void begin_list(struct world *w)
{
	make_item(w, 9);
	lock(w);
}

static void finish_list(struct world *w, uint64_t before, uint64_t after)
{
	uint64_t seen;

	lock(w);
	seen = digits(w);
	UT_TRUE(seen == after || (seen == before && !w->done));
	make_item(w, 7);
	push_back(w);
	UT_EQ(seen * 10 + 7, digits(w));
	make_item(w, 6);
	push_front(w);
	while (w->shared->list.head) {
		remove_first(w);
		free_block(w);
	}
	UT_EQ(0, digits(w));
	unlock(w);
}

#define FINISH_LIST(name, before, after)           \
	static void finish_##name(struct world *w) \
	{                                          \
		finish_list(w, (before), (after)); \
	}

FINISH_LIST(none, 0, 9)
FINISH_LIST(front, 123, 9123)
FINISH_LIST(back, 123, 1239)
FINISH_LIST(second, 123, 1923)
FINISH_LIST(without_first, 123, 23)
FINISH_LIST(without_second, 123, 13)
FINISH_LIST(without_third, 123, 12)
FINISH_LIST(unchanged, 123, 123)

STEP(list_push_first, UT_ONCE, .begin = begin_list, .run = push_back,
    .finish = finish_none)
STEP(list_push_front, UT_ONCE, .prepare = prepare_list, .begin = begin_list,
    .run = push_front, .rescue = lock, .finish = finish_front)
STEP(list_push_back, UT_ONCE, .prepare = prepare_list, .begin = begin_list,
    .run = push_back, .finish = finish_back)
STEP(list_insert_after, UT_ONCE, .prepare = prepare_list, .begin = begin_list,
    .run = insert_second, .rescue = lock, .finish = finish_second)
STEP(list_remove_first, UT_ONCE, .prepare = prepare_list, .begin = lock,
    .run = remove_first, .finish = finish_without_first)
STEP(list_remove_middle, UT_ONCE, .prepare = prepare_list, .begin = lock,
    .run = remove_second, .rescue = lock, .finish = finish_without_second)
STEP(list_remove_last, UT_ONCE, .prepare = prepare_list, .begin = lock,
    .run = remove_third, .finish = finish_without_third)
STEP(list_remove_and_free, UT_ONCE, .prepare = prepare_list, .begin = lock,
    .run = remove_and_free, .finish = finish_without_second)
STEP(list_next, UT_ONCE, .prepare = prepare_list, .begin = lock, .run = walk,
    .finish = finish_unchanged)
STEP(list_push_refused, UT_ONCE, .prepare = prepare_list, .begin = lock,
    .run = insert_refused, .finish = finish_unchanged)

/* ---- a list that the dead left in disorder ---- */

/* Dies with 9 in the chain, which 3's prev and the tail do not know of. */
static void disorder_body(struct lshm_region *region, int fd, void *arg)
{
	struct world w = {.region = region};

	find_shared(&w);
	begin_list(&w);
	crash_mark();
	insert_second(&w);
}

static bool in_chain(void *arg)
{
	struct world *w = arg;
	volatile struct item *first = nth(w, 0);
	struct item *second = lshm_at(w->region, first->link.next, 16);

	return second && second->value == 9;
}

static void prepare_disorder(struct world *w)
{
	prepare_list(w);
	start_victim(w, disorder_body);
	crash_await_mark(&w->victim);
	UT_TRUE(crash_step(&w->victim, in_chain, w));
	UT_EQ(1, w->shared->list.dirty);
}

/* Whoever takes the lock over need not have touched the list. */
static void kill_and_pass_lock_on(struct world *w)
{
	kill_victim(w);
	lock(w);
	unlock(w);
}

static void begin_item(struct world *w)
{
	make_item(w, 9);
}

static void lock_and_push_back(struct world *w)
{
	lock(w);
	push_back(w);
}

static void lock_and_walk(struct world *w)
{
	lock(w);
	walk(w);
}

/* The first 9 is 1 9 2 3 already. */
FINISH_LIST(repaired_back, 1923, 19239)
FINISH_LIST(repaired, 1923, 1923)

STEP(list_repair, UT_ONCE, .prepare = prepare_disorder, .begin = begin_item,
    .meanwhile = kill_victim, .run = lock_and_push_back, .rescue = lock,
    .finish = finish_repaired_back)
STEP(list_repair_by_walking, UT_ONCE, .prepare = prepare_disorder,
    .meanwhile = kill_and_pass_lock_on, .run = lock_and_walk,
    .rescue = lock_and_walk, .finish = finish_repaired)

/* ---- vectors ---- */

static char element[ELEMENT];

static void fill_element(struct world *w)
{
	crash_fill(element, ELEMENT, w->shared->vector.count * 1000);
}

static void push(struct world *w)
{
	UT_OK(lshm_vector_push(
	    w->region, &w->shared->mutex, &w->shared->vector, element));
}

static void pop(struct world *w)
{
	UT_OK(lshm_vector_pop(
	    w->region, &w->shared->mutex, &w->shared->vector, element));
	UT_EQ(w->shared->vector.count * 1000, CRASH_WHOLE(element, ELEMENT));
}

static void truncate_to_1(struct world *w)
{
	UT_OK(lshm_vector_truncate(
	    w->region, &w->shared->mutex, &w->shared->vector, 1));
}

static void reserve(struct world *w)
{
	UT_OK(lshm_vector_reserve(
	    w->region, &w->shared->mutex, &w->shared->vector, 100));
}

static void reserve_grows(struct world *w)
{
	UT_OK(lshm_vector_reserve(w->region, &w->shared->mutex,
	    &w->shared->vector, 4 * MIB / ELEMENT));
}

static void reserve_in_vain(struct world *w)
{
	UT_EQ(-ENOMEM, lshm_vector_reserve(w->region, &w->shared->mutex,
			   &w->shared->vector, 4 * MIB / ELEMENT));
}

static void clear(struct world *w)
{
	UT_OK(lshm_vector_clear(
	    w->region, &w->shared->mutex, &w->shared->vector));
}

static void prepare_empty(struct world *w)
{
	w->shared->vector.element = ELEMENT;
}

static void fill_up_to(struct world *w, uint64_t count)
{
	while (w->shared->vector.count < count) {
		fill_element(w);
		push(w);
	}
}

static void prepare_vector(struct world *w)
{
	prepare_empty(w);
	lock(w);
	fill_up_to(w, 3);
	unlock(w);
}

static uint64_t room(struct world *w)
{
	return lshm_usable_size(w->region,
		   lshm_at(w->region, w->shared->vector.block, ELEMENT)) /
	       ELEMENT;
}

static void prepare_full(struct world *w)
{
	prepare_vector(w);
	lock(w);
	fill_up_to(w, room(w));
	unlock(w);
	w->next = w->shared->vector.count;
}

static void begin_vector(struct world *w)
{
	lock(w);
	fill_element(w);
}

static void look_at_elements(struct world *w)
{
	struct lshm_vector *v = &w->shared->vector;

	for (uint64_t i = 0; i < v->count; i++)
		UT_EQ(i * 1000,
		    CRASH_WHOLE(lshm_vector_at(w->region, v, i), ELEMENT));
	UT_TRUE(!lshm_vector_at(w->region, v, v->count));
}

static void finish_vector(struct world *w, uint64_t before, uint64_t after)
{
	struct lshm_vector *v = &w->shared->vector;

	lock(w);
	UT_TRUE(v->count == after || (v->count == before && !w->done));
	look_at_elements(w);
	fill_up_to(w, FULL);
	look_at_elements(w);
	pop(w);
	clear(w);
	UT_EQ(0, v->block);
	UT_EQ(0, v->count);
	unlock(w);
}

#define FINISH_VECTOR(name, before, after)           \
	static void finish_##name(struct world *w)   \
	{                                            \
		finish_vector(w, (before), (after)); \
	}

FINISH_VECTOR(first, 0, 1)
FINISH_VECTOR(push, 3, 4)
FINISH_VECTOR(push_full, w->next, w->next + 1)
FINISH_VECTOR(pop, 3, 2)
FINISH_VECTOR(truncate, 3, 1)
FINISH_VECTOR(same, 3, 3)
FINISH_VECTOR(clear, 3, 0)

STEP(vector_push_first, UT_ONCE, .prepare = prepare_empty,
    .begin = begin_vector, .run = push, .finish = finish_first)
STEP(vector_push, UT_ONCE, .prepare = prepare_vector, .begin = begin_vector,
    .run = push, .finish = finish_push)
STEP(vector_push_full, UT_ONCE, .prepare = prepare_full, .begin = begin_vector,
    .run = push, .rescue = lock, .finish = finish_push_full)
STEP(vector_pop, UT_ONCE, .prepare = prepare_vector, .begin = lock, .run = pop,
    .finish = finish_pop)
STEP(vector_truncate, UT_ONCE, .prepare = prepare_vector, .begin = lock,
    .run = truncate_to_1, .finish = finish_truncate)
STEP(vector_reserve, UT_ONCE, .prepare = prepare_vector, .begin = lock,
    .run = reserve, .rescue = lock, .finish = finish_same)
STEP(vector_reserve_grows, UT_ONCE, .prepare = prepare_vector, .begin = lock,
    .run = reserve_grows, .finish = finish_same)
STEP(vector_reserve_when_heap_is_full, UT_ONCE, .rigid = true,
    .prepare = prepare_vector, .begin = lock, .run = reserve_in_vain,
    .finish = finish_same)
STEP(vector_clear, UT_ONCE, .prepare = prepare_vector, .begin = lock,
    .run = clear, .rescue = lock, .finish = finish_clear)
STEP(vector_at, UT_ONCE, .prepare = prepare_vector, .begin = lock,
    .run = look_at_elements, .finish = finish_same)

/* ---- a vector that the dead were growing ---- */

static void growing_body(struct lshm_region *region, int fd, void *arg)
{
	struct world w = {.region = region};

	find_shared(&w);
	begin_vector(&w);
	crash_mark();
	push(&w);
}

static bool block_changed(void *arg)
{
	struct world *w = arg;
	volatile lshm_off *block = &w->shared->vector.block;

	return *block != lshm_offset(w->region, w->block);
}

static void prepare_growing(struct world *w)
{
	prepare_full(w);
	w->block = lshm_at(w->region, w->shared->vector.block, 1);
	start_victim(w, growing_body);
	crash_await_mark(&w->victim);
	UT_TRUE(crash_step(&w->victim, block_changed, w));
}

static void take_over_and_push(struct world *w)
{
	take_over(w);
	fill_element(w);
	push(w);
}

STEP(vector_push_after_torn_growth, UT_ONCE, .prepare = prepare_growing,
    .meanwhile = kill_victim, .run = take_over_and_push, .rescue = lock,
    .finish = finish_push_full)
