/* SPDX-License-Identifier: MIT */
/*
 * test_list.c - lists of blocks, linked in both directions; see list.h
 */
#include "unit.h"

#include <pthread.h>

struct shared {
	struct lshm_mutex mutex;
	struct lshm_list list;
	lshm_off field;
};

struct item {
	struct lshm_link link;
	uint64_t value;
};

#define ITEMS 200

static struct shared *make(struct lshm_region *region)
{
	struct shared *shared;

	UT_OK(lshm_object_create(region, "shared", "shared", sizeof(*shared),
	    NULL, NULL, (void **)&shared));
	return shared;
}

static struct shared *find(struct lshm_region *region)
{
	struct shared *shared;

	UT_OK(lshm_object_open(
	    region, "shared", "shared", sizeof(*shared), (void **)&shared));
	return shared;
}

static void lock(struct lshm_region *region, struct shared *shared)
{
	UT_TRUE(lshm_mutex_lock(region, &shared->mutex, UT_SOON) >= 0);
}

static void unlock(struct lshm_region *region, struct shared *shared)
{
	UT_OK(lshm_mutex_unlock(region, &shared->mutex));
}

static struct item *item(struct lshm_region *region, uint64_t value)
{
	struct item *i = lshm_alloc(region, sizeof(*i));

	UT_SOME(i);
	i->value = value;
	return i;
}

/* The list has exactly these, in this order, and its hints are right. */
static void list_is(struct lshm_region *region, struct shared *shared,
    const uint64_t *values, size_t count)
{
	struct lshm_link *link = NULL;

	for (size_t i = 0; i < count; i++) {
		lshm_off before = lshm_offset(region, link);

		UT_OK(lshm_list_next(
		    region, &shared->mutex, &shared->list, link, &link));
		UT_EQ(values[i], ((struct item *)link)->value);
		UT_EQ(before, link->prev);
	}
	UT_ERR(-ENOENT,
	    lshm_list_next(region, &shared->mutex, &shared->list, link, &link));
	UT_EQ(lshm_offset(region, link), shared->list.tail);
	UT_EQ(0, shared->list.dirty);
}

#define LIST_IS(region, shared, ...)                             \
	list_is(region, shared, (const uint64_t[]){__VA_ARGS__}, \
	    sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t))

static uint64_t drafts(struct lshm_region *region)
{
	struct lshm_heap_info info;

	UT_OK(lshm_heap_stat(region, &info));
	return info.draft_blocks;
}

UT_TEST(order, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *s = make(region);
	struct item *a = item(region, 1), *b = item(region, 2);
	struct item *c = item(region, 3), *d = item(region, 4);

	lock(region, s);
	list_is(region, s, NULL, 0);
	UT_OK(lshm_list_push_back(region, &s->mutex, &s->list, &b->link));
	LIST_IS(region, s, 2);
	UT_OK(lshm_list_push_front(region, &s->mutex, &s->list, &a->link));
	UT_OK(lshm_list_push_back(region, &s->mutex, &s->list, &d->link));
	UT_OK(lshm_list_insert_after(
	    region, &s->mutex, &s->list, &b->link, &c->link));
	LIST_IS(region, s, 1, 2, 3, 4);
	UT_EQ(0, drafts(region));
	/* the middle, the first, the last, the only one */
	UT_OK(lshm_list_remove(region, &s->mutex, &s->list, &b->link));
	LIST_IS(region, s, 1, 3, 4);
	UT_OK(lshm_list_remove(region, &s->mutex, &s->list, &a->link));
	UT_OK(lshm_list_remove(region, &s->mutex, &s->list, &d->link));
	LIST_IS(region, s, 3);
	UT_OK(lshm_list_remove(region, &s->mutex, &s->list, &c->link));
	list_is(region, s, NULL, 0);
	UT_EQ(4, drafts(region));
	UT_OK(lshm_list_insert_after(
		  region, &s->mutex, &s->list, &b->link, &c->link) == -EINVAL
		  ? 0
		  : -1);
	UT_OK(lshm_list_push_front(region, &s->mutex, &s->list, &d->link));
	UT_OK(lshm_list_insert_after(
	    region, &s->mutex, &s->list, &d->link, &a->link));
	LIST_IS(region, s, 4, 1);
	UT_OK(lshm_free(region, b));
	UT_OK(lshm_free(region, c));
	UT_EQ(0, drafts(region));
	unlock(region, s);
	lshm_region_close(region);
}

/* The same operations on the list and on an array. */
UT_TEST(random_against_an_array, UT_ONCE)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *s = make(region);
	uint64_t seed = ut_seed(), values[ITEMS], n = 0, next = 1;
	struct item *items[ITEMS];

	lock(region, s);
	for (uint64_t i = ut_scale(20000); i; i--) {
		uint64_t what = ut_random(&seed), at;
		struct item *new;

		if (n == ITEMS || (n && what % 5 == 0)) {
			at = ut_random(&seed) % n;
			UT_OK(lshm_list_remove(
			    region, &s->mutex, &s->list, &items[at]->link));
			UT_OK(lshm_free(region, items[at]));
			n--;
			memmove(&items[at], &items[at + 1],
			    (n - at) * sizeof(*items));
			memmove(&values[at], &values[at + 1],
			    (n - at) * sizeof(*values));
			continue;
		}
		new = item(region, next);
		at = what % 3 == 0 ? 0 : what % 3 == 1 ? n : what / 3 % (n + 1);
		if (what % 3 == 0)
			UT_OK(lshm_list_push_front(
			    region, &s->mutex, &s->list, &new->link));
		else if (what % 3 == 1 || at == 0)
			UT_OK(lshm_list_push_back(
			    region, &s->mutex, &s->list, &new->link));
		else
			UT_OK(lshm_list_insert_after(region, &s->mutex,
			    &s->list, &items[at - 1]->link, &new->link));
		if (what % 3 == 2 && at == 0)
			at = n;
		memmove(&items[at + 1], &items[at], (n - at) * sizeof(*items));
		memmove(
		    &values[at + 1], &values[at], (n - at) * sizeof(*values));
		items[at] = new;
		values[at] = next++;
		n++;
		if (i % 16 == 0)
			list_is(region, s, values, n);
	}
	list_is(region, s, values, n);
	UT_EQ(0, drafts(region));
	unlock(region, s);
	lshm_region_close(region);
}

/* ---- several processes, several threads ---- */

static void *draft_body(void *region)
{
	return item(region, 7);
}

UT_TEST(draft_of_another_thread, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *s = make(region);
	pthread_t thread;
	void *i;

	UT_OK(lshm_free(region, lshm_alloc(region, 16)));
	UT_EQ(0, pthread_create(&thread, NULL, draft_body, region));
	UT_EQ(0, pthread_join(thread, &i));
	lock(region, s);
	UT_OK(lshm_list_push_back(
	    region, &s->mutex, &s->list, &((struct item *)i)->link));
	LIST_IS(region, s, 7);
	UT_EQ(0, drafts(region));
	unlock(region, s);
	lshm_region_close(region);
}

/* Each adds one at an end, then removes the first: first in, first out. */
static void queue_body(struct lshm_region *region, int fd, void *arg)
{
	struct shared *s = find(region);
	uint64_t rounds = ut_scale(3000);
	struct lshm_link *first;

	ut_hear(fd);
	for (uint64_t i = 0; i < rounds; i++) {
		struct item *new = item(region, i);

		lock(region, s);
		UT_OK(lshm_list_push_back(
		    region, &s->mutex, &s->list, &new->link));
		unlock(region, s);
		lock(region, s);
		UT_OK(
		    lshm_list_next(region, &s->mutex, &s->list, NULL, &first));
		UT_OK(lshm_list_remove(region, &s->mutex, &s->list, first));
		unlock(region, s);
		UT_OK(lshm_free(region, first));
	}
}

UT_TEST(processes, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *s = make(region);
	struct ut_child children[4];

	for (size_t i = 0; i < UT_COUNT(children); i++)
		children[i] = ut_spawn(region, 0, queue_body, NULL);
	for (size_t i = 0; i < UT_COUNT(children); i++)
		ut_say(children[i].fd, 0);
	for (size_t i = 0; i < UT_COUNT(children); i++)
		ut_join(&children[i]);
	lock(region, s);
	list_is(region, s, NULL, 0);
	unlock(region, s);
	UT_EQ(0, drafts(region));
	lshm_region_close(region);
}

/* ---- errors ---- */

static void hold_draft_body(struct lshm_region *region, int fd, void *arg)
{
	ut_say(fd, lshm_offset(region, item(region, 1)));
	ut_hear(fd);
}

UT_TEST(errors, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL), *observer;
	struct shared *s = make(region);
	struct item *in = item(region, 1), *out = item(region, 2);
	struct ut_child child = ut_spawn(region, 0, hold_draft_body, NULL);
	struct lshm_link *theirs = lshm_at(region, ut_hear(child.fd), 16);
	struct lshm_link *link;
	struct lshm_list elsewhere = {0};
	struct lshm_mutex unlocked = {0};

	UT_ERR(-EPERM,
	    lshm_list_push_back(region, &s->mutex, &s->list, &in->link),
	    "lock");
	UT_ERR(-EINVAL,
	    lshm_list_push_back(region, &unlocked, &s->list, &in->link),
	    "mutex", "region");
	lock(region, s);
	UT_OK(lshm_list_push_back(region, &s->mutex, &s->list, &in->link));
	UT_ERR(-EINVAL,
	    lshm_list_push_back(region, &s->mutex, &elsewhere, &out->link),
	    "list", "region");
	/* what is in a list, or another's, or no block, is not inserted */
	UT_ERR(-EPERM,
	    lshm_list_push_front(region, &s->mutex, &s->list, &in->link),
	    "draft");
	UT_ERR(-EPERM, lshm_list_push_back(region, &s->mutex, &s->list, theirs),
	    "draft");
	UT_ERR(-EINVAL,
	    lshm_list_push_back(region, &s->mutex, &s->list,
		(struct lshm_link *)((char *)out + 8)),
	    "block");
	UT_ERR(-EINVAL, lshm_list_push_back(region, &s->mutex, &s->list, NULL),
	    "block");
	UT_ERR(-EINVAL,
	    lshm_list_remove(region, &s->mutex, &s->list, &out->link),
	    "not in this list");
	UT_ERR(-EINVAL, lshm_list_remove(region, &s->mutex, &s->list, NULL));
	UT_ERR(-EINVAL,
	    lshm_list_insert_after(
		region, &s->mutex, &s->list, &out->link, &out->link),
	    "not in this list");
	UT_ERR(-EINVAL,
	    lshm_list_insert_after(
		region, &s->mutex, &s->list, NULL, &out->link),
	    "not in this list");
	UT_ERR(-EINVAL,
	    lshm_list_next(region, &s->mutex, &s->list, &out->link, &link),
	    "not in this list");
	LIST_IS(region, s, 1);
	unlock(region, s);
	UT_ERR(-EPERM, lshm_list_remove(region, &s->mutex, &s->list, &in->link),
	    "lock");
	UT_ERR(-EPERM, lshm_list_next(region, &s->mutex, &s->list, NULL, &link),
	    "lock");
	observer = ut_reopen(region, LSHM_RDONLY);
	UT_ERR(-EROFS,
	    lshm_list_next(observer, &s->mutex, &s->list, NULL, &link),
	    "observer");
	lshm_region_close(observer);
	ut_say(child.fd, 0);
	ut_join(&child);
	lshm_region_close(region);
}

/*
 * The last block of another list is told from one's own: it would become this
 * list's tail, or leave its neighbour as that.
 */
UT_TEST(last_of_another_list, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *s = make(region);
	struct item *a = item(region, 1), *b = item(region, 2);
	struct item *c = item(region, 3), *d = item(region, 4);
	struct lshm_list *other = lshm_alloc(region, sizeof(*other));

	memset(other, 0, sizeof(*other));
	lock(region, s);
	UT_OK(lshm_list_push_back(region, &s->mutex, &s->list, &a->link));
	UT_OK(lshm_list_push_back(region, &s->mutex, other, &b->link));
	UT_OK(lshm_list_push_back(region, &s->mutex, other, &c->link));
	UT_ERR(-EINVAL, lshm_list_remove(region, &s->mutex, &s->list, &c->link),
	    "not in this list");
	UT_ERR(-EINVAL,
	    lshm_list_insert_after(
		region, &s->mutex, &s->list, &c->link, &d->link),
	    "not in this list");
	UT_EQ(lshm_offset(region, a), s->list.tail);
	UT_EQ(lshm_offset(region, c), other->tail);
	UT_OK(lshm_list_push_back(region, &s->mutex, &s->list, &d->link));
	LIST_IS(region, s, 1, 4);
	unlock(region, s);
	lshm_region_close(region);
}

static void inherited_body(struct lshm_region *unused, int fd, void *region)
{
	struct lshm_mutex mutex = {0};
	struct lshm_list list = {0};
	struct lshm_link link, *out;

	UT_ERR(-ECHILD, lshm_list_push_front(region, &mutex, &list, &link));
	UT_ERR(-ECHILD, lshm_list_push_back(region, &mutex, &list, &link));
	UT_ERR(-ECHILD,
	    lshm_list_insert_after(region, &mutex, &list, &link, &link));
	UT_ERR(-ECHILD, lshm_list_remove(region, &mutex, &list, &link));
	UT_ERR(-ECHILD, lshm_list_next(region, &mutex, &list, NULL, &out));
}

UT_TEST(fork_child_is_refused, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct ut_child child = ut_spawn(NULL, 0, inherited_body, region);

	ut_join(&child);
	lshm_region_close(region);
}

/* ---- what a death leaves, and what a hostile process may ---- */

/* A death between the change of the chain and that of the hints. */
UT_TEST(hints_are_made_anew, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *s = make(region);
	struct item *items[4];

	lock(region, s);
	for (size_t i = 0; i < UT_COUNT(items); i++) {
		items[i] = item(region, i);
		UT_OK(lshm_list_push_back(
		    region, &s->mutex, &s->list, &items[i]->link));
	}
	for (size_t i = 0; i < UT_COUNT(items); i++)
		items[i]->link.prev = 4096 + i;
	s->list.tail = 12345;
	s->list.dirty = 1;
	LIST_IS(region, s, 0, 1, 2, 3);
	items[2]->link.prev = 0;
	s->list.dirty = 1;
	UT_OK(lshm_list_remove(region, &s->mutex, &s->list, &items[2]->link));
	s->list.tail = 0;
	s->list.dirty = 1;
	UT_OK(
	    lshm_list_push_back(region, &s->mutex, &s->list, &items[2]->link));
	LIST_IS(region, s, 0, 1, 3, 2);
	unlock(region, s);
	lshm_region_close(region);
}

static int walk(struct lshm_region *region, struct shared *s)
{
	struct lshm_link *link = NULL;
	int ret;

	while ((ret = lshm_list_next(
		    region, &s->mutex, &s->list, link, &link)) == 0)
		;
	return ret;
}

UT_TEST(damaged, UT_EACH)
{
	static const lshm_off bad[] = {
	    1, 8, 4096, 12345, UINT64_C(1) << 40, UINT64_MAX, UINT64_MAX - 7};
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *s = make(region);
	struct item *a = item(region, 1), *b = item(region, 2);
	struct item *c = item(region, 3), *d = item(region, 4);
	lshm_off kept;

	lock(region, s);
	UT_OK(lshm_list_push_back(region, &s->mutex, &s->list, &a->link));
	UT_OK(lshm_list_push_back(region, &s->mutex, &s->list, &b->link));
	UT_OK(lshm_list_push_back(region, &s->mutex, &s->list, &c->link));
	for (size_t i = 0; i < UT_COUNT(bad); i++) {
		kept = s->list.head;
		s->list.head = bad[i];
		UT_ERR(-LSHM_ECORRUPT, walk(region, s), "damaged");
		UT_ERR(-LSHM_ECORRUPT, lshm_list_push_front(region, &s->mutex,
					   &s->list, &d->link));
		s->list.dirty = 1;
		UT_ERR(-LSHM_ECORRUPT, walk(region, s), "damaged");
		s->list.dirty = 0;
		s->list.head = kept;
		kept = b->link.next;
		b->link.next = bad[i];
		UT_ERR(-LSHM_ECORRUPT, walk(region, s), "damaged");
		UT_ERR(-LSHM_ECORRUPT,
		    lshm_list_remove(region, &s->mutex, &s->list, &b->link));
		UT_ERR(-LSHM_ECORRUPT, lshm_list_insert_after(region, &s->mutex,
					   &s->list, &b->link, &d->link));
		b->link.next = kept;
		kept = s->list.tail;
		s->list.tail = bad[i];
		UT_ERR(-LSHM_ECORRUPT,
		    lshm_list_push_back(region, &s->mutex, &s->list, &d->link));
		s->list.tail = kept;
		kept = b->link.prev;
		b->link.prev = bad[i];
		UT_ERR(-LSHM_ECORRUPT, walk(region, s), "damaged");
		UT_ERR(-EINVAL,
		    lshm_list_remove(region, &s->mutex, &s->list, &b->link));
		b->link.prev = kept;
		LIST_IS(region, s, 1, 2, 3);
	}
	/* circles */
	c->link.next = lshm_offset(region, a);
	UT_ERR(-LSHM_ECORRUPT, walk(region, s), "damaged");
	UT_ERR(-LSHM_ECORRUPT,
	    lshm_list_push_back(region, &s->mutex, &s->list, &d->link));
	s->list.dirty = 1;
	UT_ERR(-LSHM_ECORRUPT, walk(region, s), "damaged");
	s->list.dirty = 0;
	c->link.next = lshm_offset(region, c);
	UT_ERR(-LSHM_ECORRUPT,
	    lshm_list_remove(region, &s->mutex, &s->list, &c->link));
	c->link.next = 0;
	/* it leads to what is no block in use */
	a->link.prev = b->link.prev = 0;
	c->link.prev = lshm_offset(region, b);
	s->list.head = lshm_offset(region, d);
	d->link.next = lshm_offset(region, b);
	d->link.prev = 0;
	b->link.prev = s->list.head;
	UT_OK(lshm_free(region, d));
	UT_ERR(-LSHM_ECORRUPT,
	    lshm_list_remove(region, &s->mutex, &s->list, &d->link));
	unlock(region, s);
	lshm_region_close(region);
}
