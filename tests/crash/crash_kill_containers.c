/* SPDX-License-Identifier: MIT */
/*
 * crash_kill_containers.c - death in the calls on lists and vectors; see
 * containers.h
 *
 * Those on maps are in crash_kill_map.c.
 */
#include "containers.h"

#define LIST_MAX 40

struct item {
	struct lshm_link link;
	uint64_t value;
};

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

	container_begin(&s);
	storm(&s, list_body, list_change, list_is_well);
	lock(&s);
	while (lshm_list_next(
		   s.region, &s.box->mutex, &s.box->list, NULL, &link) == 0) {
		UT_OK(lshm_list_remove(
		    s.region, &s.box->mutex, &s.box->list, link));
		UT_OK(lshm_free(s.region, link));
	}
	unlock(&s);
	container_end(&s);
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

	container_begin(&s);
	storm(&s, vector_body, vector_change, vector_is_well);
	lock(&s);
	UT_OK(lshm_vector_clear(s.region, &s.box->mutex, &s.box->vector));
	unlock(&s);
	container_end(&s);
}

/* ---- at the very moment ---- */

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

	container_begin(&s);
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
	container_end(&s);
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

	container_begin(&s);
	vector = &s.box->vector;
	for (int i = 0; i < 3; i++) {
		kill_at(&s, push_until_it_grows, &vector->block);
		vector_is_well(&s);
		UT_CMP(vector->count, >=, i ? 8 : 0);
	}
	kill_at(&s, clear_vector, &vector->block);
	vector_is_well(&s);
	UT_EQ(0, vector->block);
	container_end(&s);
}
