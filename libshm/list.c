/* SPDX-License-Identifier: MIT */
/*
 * list.c - lists of blocks
 *
 * The chain from head along next is the truth: what is in it is in the list.
 * prev and tail follow from it. All words are written by whoever holds the
 * caller's lock.
 *
 *   dirty := 1                        prev and tail may be wrong from here on
 *   the field that leads to the block, with an intent: see lane.c
 *     inserting:  := block, whose next and prev were set while it was a draft
 *     removing:   := the block's next
 *   prev of the block behind, or tail
 *   dirty := 0
 *
 * After a death the chain is the old one or the new one, and the block
 * accordingly attached or the dead one's draft, which its reaper frees. Whoever
 * finds dirty set, on entering, derives prev and tail anew; he may die too.
 *
 * A block is in the list if what its prev names leads to it. That is looked at
 * before anything is changed, and at every step of a walk, which therefore
 * cannot run in a circle: the first block met twice would need two prevs.
 */
#include "internal.h"

static int damaged(uint64_t off)
{
	return lshmi_fail(LSHM_ECORRUPT,
	    "the list is damaged: it leads to %#llx, where no block of it is",
	    (unsigned long long)off);
}

static int not_in_list(void)
{
	return lshmi_fail(EINVAL, "this block is not in this list");
}

static struct lshm_link *link_at(struct lshm_region *r, uint64_t off)
{
	return lshmi_in_heap(r, off, sizeof(struct lshm_link));
}

/* prev and tail anew. */
static int repair(struct lshm_region *r, struct lshm_list *list)
{
	uint64_t prev = 0, steps = 0, off = lshmi_load_relaxed(&list->head);
	struct lshm_link *link;

	while (off) {
		link = link_at(r, off);
		if (!link || ++steps > lshmi_load_relaxed(&r->size) /
					   sizeof(struct lshm_link))
			return damaged(off);
		lshmi_store_release(&link->prev, prev);
		prev = off;
		off = lshmi_load_relaxed(&link->next);
	}
	lshmi_store_release(&list->tail, prev);
	lshmi_store_release(&list->dirty, 0);
	return 0;
}

static int enter(struct lshm_region *r, struct lshm_mutex *mutex,
    struct lshm_list *list, struct lshmi_lane **lane)
{
	int ret = lshmi_enter_held(r, mutex, lane);

	if (ret < 0 || (ret = lshmi_check(r, list, sizeof(*list), "list")) < 0)
		return ret;
	return lshmi_load_relaxed(&list->dirty) ? repair(r, list) : 0;
}

/* The field that leads to a block; NULL: it is not in this list. */
static uint64_t *field_of(struct lshm_region *r, struct lshm_list *list,
    const struct lshm_link *link, uint64_t off)
{
	uint64_t prev = lshmi_load_relaxed(&link->prev);
	struct lshm_link *p = prev ? link_at(r, prev) : NULL;
	uint64_t *field = p ? &p->next : &list->head;

	if ((prev && !p) || lshmi_load_relaxed(field) != off)
		return NULL;
	/* The last one of another list would make this one's tail wrong. */
	if (lshmi_load_relaxed(&link->next) == 0 &&
	    lshmi_load_relaxed(&list->tail) != off)
		return NULL;
	return field;
}

/* Change the chain; @prev comes to stand before what was, or is, behind. */
static int change(struct lshm_region *r, struct lshmi_lane *lane,
    struct lshm_list *list, uint64_t *field, const struct lshmi_change *c,
    uint64_t behind, uint64_t prev)
{
	struct lshm_link *link = behind ? link_at(r, behind) : NULL;
	int ret;

	if (behind && !link)
		return damaged(behind);
	lshmi_store_release(&list->dirty, 1);
	ret = lshmi_change(r, lane, field, c);
	if (ret == 0)
		lshmi_store_release(link ? &link->prev : &list->tail, prev);
	lshmi_store_release(&list->dirty, 0);
	return ret;
}

/* @after 0: before all others. */
static int insert(struct lshm_region *r, struct lshmi_lane *lane,
    struct lshm_list *list, uint64_t after, struct lshm_link *link)
{
	uint64_t off = (uint64_t)((char *)link - r->base), behind;
	struct lshm_link *a = after ? link_at(r, after) : NULL;
	uint64_t *field = a ? &a->next : &list->head;
	int ret;

	if (after && (!a || !field_of(r, list, a, after)))
		return not_in_list();
	ret = lshmi_lane_draft(r, lane, link);
	if (ret < 0)
		return ret;
	behind = lshmi_load_relaxed(field);
	lshmi_store_relaxed(&link->next, behind);
	lshmi_store_relaxed(&link->prev, after);
	return change(r, lane, list, field,
	    &(struct lshmi_change){.value = off, .take = off}, behind, off);
}

int lshm_list_push_front(struct lshm_region *region, struct lshm_mutex *mutex,
    struct lshm_list *list, struct lshm_link *link)
{
	struct lshmi_lane *lane;
	int ret = enter(region, mutex, list, &lane);

	return ret < 0 ? ret : insert(region, lane, list, 0, link);
}

int lshm_list_push_back(struct lshm_region *region, struct lshm_mutex *mutex,
    struct lshm_list *list, struct lshm_link *link)
{
	struct lshmi_lane *lane;
	struct lshm_link *last;
	uint64_t tail;
	int ret = enter(region, mutex, list, &lane);

	if (ret < 0)
		return ret;
	tail = lshmi_load_relaxed(&list->tail);
	last = tail ? link_at(region, tail) : NULL;
	/* What is behind the last one is nothing. */
	if ((tail && !last) ||
	    lshmi_load_relaxed(last ? &last->next : &list->head) != 0 ||
	    (last && !field_of(region, list, last, tail)))
		return damaged(tail);
	return insert(region, lane, list, tail, link);
}

int lshm_list_insert_after(struct lshm_region *region, struct lshm_mutex *mutex,
    struct lshm_list *list, struct lshm_link *after, struct lshm_link *link)
{
	struct lshmi_lane *lane;
	int ret = enter(region, mutex, list, &lane);
	uint64_t off = (uint64_t)((char *)after - region->base);

	if (ret < 0)
		return ret;
	if (off == 0)
		return not_in_list();
	return insert(region, lane, list, off, link);
}

int lshm_list_remove(struct lshm_region *region, struct lshm_mutex *mutex,
    struct lshm_list *list, struct lshm_link *link)
{
	uint64_t off = (uint64_t)((char *)link - region->base), next, prev;
	struct lshmi_lane *lane;
	uint64_t *field;
	int ret = enter(region, mutex, list, &lane);

	if (ret < 0)
		return ret;
	if (!link_at(region, off) ||
	    !(field = field_of(region, list, link, off)))
		return not_in_list();
	next = lshmi_load_relaxed(&link->next);
	prev = lshmi_load_relaxed(&link->prev);
	if (next == off)
		return damaged(next);
	return change(region, lane, list, field,
	    &(struct lshmi_change){.value = next, .give = off}, next, prev);
}

int lshm_list_next(struct lshm_region *region, struct lshm_mutex *mutex,
    struct lshm_list *list, const struct lshm_link *after,
    struct lshm_link **out)
{
	uint64_t off = 0, next;
	struct lshmi_lane *lane;
	struct lshm_link *link;
	int ret = enter(region, mutex, list, &lane);

	if (ret < 0)
		return ret;
	if (after) {
		off = (uint64_t)((const char *)after - region->base);
		if (!link_at(region, off) ||
		    !field_of(region, list, after, off))
			return not_in_list();
	}
	next = lshmi_load_relaxed(after ? &after->next : &list->head);
	if (next == 0)
		return lshmi_fail_with(ENOENT, "there are no more blocks");
	link = link_at(region, next);
	if (!link || lshmi_load_relaxed(&link->prev) != off)
		return damaged(next);
	*out = link;
	return 0;
}
