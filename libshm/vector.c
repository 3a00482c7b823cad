/* SPDX-License-Identifier: MIT */
/*
 * vector.c - arrays that grow
 *
 * All words are written by whoever holds the caller's lock. The vector has the
 * elements below count, and nothing else counts:
 *
 *   push    the element behind the last; then count := count + 1
 *   pop     count := count - 1
 *   grow    a draft is filled with the same elements; then block := draft, with
 *           an intent, which gives the old block (lane.c); it is freed
 *   clear   count := 0; then block := 0, likewise
 *
 * After a death between the two steps of clear the vector is empty and has its
 * block still; everywhere else it is as it was or as it shall be, and a block
 * that is not its own is a draft of the dead. How many elements there is room
 * for is not stored: the heap knows how large the block is.
 */
#include <string.h>

#include "internal.h"

#define GROW_MIN 8 /* elements of the first block */

/* What was read of the vector, once. */
struct view {
	struct lshm_region *r;
	struct lshmi_lane *lane;
	uint64_t off; /* of the block; 0: none */
	char *block;
	uint64_t count;
	uint64_t element;
	uint64_t room; /* for how many */
	char *old;     /* what a larger one replaced: to be freed */
};

static int damaged(void)
{
	return lshmi_fail(LSHM_ECORRUPT,
	    "the vector is damaged: it has more elements than its block has "
	    "room for");
}

static int enter(struct lshm_region *r, struct lshm_mutex *mutex,
    struct lshm_vector *vector, struct view *v)
{
	int ret = lshmi_enter_held(r, mutex, &v->lane);
	uint64_t bytes;

	if (ret < 0 ||
	    (ret = lshmi_check(r, vector, sizeof(*vector), "vector")) < 0)
		return ret;
	v->r = r;
	v->element = lshmi_load_relaxed(&vector->element);
	if (v->element == 0)
		return lshmi_fail(EINVAL,
		    "the vector's elements have no size: set its field "
		    "\"element\" first");
	v->count = lshmi_load_relaxed(&vector->count);
	v->off = lshmi_load_relaxed(&vector->block);
	v->block = v->old = NULL;
	v->room = 0;
	if (v->off) {
		v->block = lshmi_in_heap(r, v->off, 1);
		bytes = v->block ? lshm_usable_size(r, v->block) : 0;
		/* the page map is shared memory, too */
		if (bytes == 0 || !lshmi_at(r, v->off, bytes))
			return damaged();
		v->room = bytes / v->element;
	}
	return v->count > v->room ? damaged() : 0;
}

static int grow(struct lshm_vector *vector, struct view *v, uint64_t room)
{
	struct lshmi_change c;
	uint64_t bytes;
	char *block;
	int ret;

	if (__builtin_mul_overflow(room, v->element, &bytes) ||
	    bytes > v->r->max_size)
		return lshmi_fail(ENOMEM,
		    "the region cannot have room for %llu elements of %llu "
		    "bytes",
		    (unsigned long long)room, (unsigned long long)v->element);
	block = lshm_alloc(v->r, bytes);
	if (!block)
		return lshmi_failed();
	if (v->count)
		memcpy(block, v->block, v->count * v->element);
	c = (struct lshmi_change){.give = v->off};
	c.value = c.take = (uint64_t)(block - v->r->base);
	ret = lshmi_change(v->r, v->lane, &vector->block, &c);
	if (ret < 0) {
		lshm_free(v->r, block);
		return ret;
	}
	v->old = v->block;
	v->block = block;
	return 0;
}

int lshm_vector_push(struct lshm_region *region, struct lshm_mutex *mutex,
    struct lshm_vector *vector, const void *element)
{
	struct view v;
	int ret = enter(region, mutex, vector, &v);
	char *to;

	if (ret < 0)
		return ret;
	if (v.count == v.room) {
		ret = grow(vector, &v, v.room ? 2 * v.room : GROW_MIN);
		if (ret < 0)
			return ret;
	}
	to = v.block + v.count * v.element;
	if (element)
		memcpy(to, element, v.element);
	else
		memset(to, 0, v.element);
	lshmi_store_release(&vector->count, v.count + 1);
	lshm_free(region, v.old); /* @element may have been in it */
	return 0;
}

int lshm_vector_pop(struct lshm_region *region, struct lshm_mutex *mutex,
    struct lshm_vector *vector, void *element)
{
	struct view v;
	int ret = enter(region, mutex, vector, &v);

	if (ret < 0)
		return ret;
	if (v.count == 0)
		return lshmi_fail_with(ENOENT, "the vector is empty");
	if (element)
		memcpy(element, v.block + (v.count - 1) * v.element, v.element);
	lshmi_store_release(&vector->count, v.count - 1);
	return 0;
}

void *lshm_vector_at(struct lshm_region *region,
    const struct lshm_vector *vector, uint64_t index)
{
	uint64_t element, behind;
	char *block;

	if (region->serial == 0 || index >= lshmi_load_acquire(&vector->count))
		return NULL;
	element = lshmi_load_relaxed(&vector->element);
	if (element == 0 || __builtin_mul_overflow(index + 1, element, &behind))
		return NULL;
	block =
	    lshmi_in_heap(region, lshmi_load_relaxed(&vector->block), behind);
	return block ? block + (behind - element) : NULL;
}

int lshm_vector_reserve(struct lshm_region *region, struct lshm_mutex *mutex,
    struct lshm_vector *vector, uint64_t count)
{
	struct view v;
	int ret = enter(region, mutex, vector, &v);

	if (ret < 0 || count <= v.room)
		return ret;
	ret = grow(vector, &v, count);
	lshm_free(region, v.old);
	return ret;
}

int lshm_vector_truncate(struct lshm_region *region, struct lshm_mutex *mutex,
    struct lshm_vector *vector, uint64_t count)
{
	struct view v;
	int ret = enter(region, mutex, vector, &v);

	if (ret < 0)
		return ret;
	if (count > v.count)
		return lshmi_fail(EINVAL,
		    "the vector has %llu elements, not %llu",
		    (unsigned long long)v.count, (unsigned long long)count);
	lshmi_store_release(&vector->count, count);
	return 0;
}

int lshm_vector_clear(struct lshm_region *region, struct lshm_mutex *mutex,
    struct lshm_vector *vector)
{
	struct view v;
	int ret = enter(region, mutex, vector, &v);

	if (ret < 0 || v.off == 0)
		return ret;
	lshmi_store_release(&vector->count, 0);
	ret = lshmi_change(region, v.lane, &vector->block,
	    &(struct lshmi_change){.value = 0, .give = v.off});
	return ret < 0 ? ret : lshm_free(region, v.block);
}
