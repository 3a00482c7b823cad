/* SPDX-License-Identifier: MIT */
/* step_heap.c - sweeps of the heap, and of fields that refer to its blocks */
#include "step.h"

/* ---- allocating ---- */

static void alloc_aligned(struct world *w)
{
	w->block = lshm_alloc_aligned(w->region, 2 * LSHMI_PAGE, LARGE_BLOCK);
	UT_SOME(w->block);
}

static void copy_string(struct world *w)
{
	w->block = lshm_strdup(w->region, "a string");
	UT_STR("a string", w->block);
}

STEP(alloc_first, UT_ONCE, .cold = true, .run = alloc_small,
    .finish = finish_heap)
STEP(alloc, UT_ONCE, .begin = alloc_free, .run = alloc_small,
    .finish = finish_heap)
STEP(strdup, UT_ONCE, .run = copy_string, .finish = finish_heap)
STEP(alloc_run, UT_ONCE, .run = alloc_large, .finish = finish_heap)
STEP(alloc_aligned, UT_ONCE, .run = alloc_aligned, .finish = finish_heap)
STEP(alloc_that_grows, UT_EACH, .run = alloc_grows, .finish = finish_heap)

/* A slab's blocks and some of the next one's. */
static void alloc_many(struct world *w)
{
	for (int i = 0; i < SMALL_COUNT; i++) {
		alloc_small(w);
		w->blocks[i] = w->block;
	}
}

static void free_many(struct world *w, int from)
{
	for (int i = from; i < SMALL_COUNT; i++)
		UT_OK(lshm_free(w->region, w->blocks[i]));
}

/* Free all but the first of a slab: the next free gives the slab back. */
static void leave_one(struct world *w)
{
	alloc_many(w);
	free_many(w, 1);
	w->block = w->blocks[0];
}

/* All blocks of its first slab of this size: the next one needs another. */
static void exhaust_slab(struct world *w)
{
	struct lshm_heap_info before, after;
	uint64_t count;

	UT_OK(lshm_heap_stat(w->region, &before));
	alloc_small(w);
	UT_OK(lshm_heap_stat(w->region, &after));
	count = (after.slab_bytes - before.slab_bytes) /
		(lshm_usable_size(w->region, w->block) + 2);
	UT_CMP(count, >, 1);
	while (--count)
		alloc_small(w);
	UT_OK(lshm_heap_stat(w->region, &before));
	UT_EQ(after.slabs, before.slabs);
}

STEP(alloc_when_slab_is_exhausted, UT_ONCE, .cold = true, .begin = exhaust_slab,
    .run = alloc_small, .finish = finish_heap)

/* The heap has no page left: it takes back those of empty slabs. */
static void fill_heap(struct world *w)
{
	alloc_many(w);
	while (lshm_alloc(w->region, LSHMI_PAGE * 3))
		;
	while (lshm_alloc(w->region, SMALL_BLOCK))
		;
}

static void alloc_in_vain(struct world *w)
{
	UT_NULL(lshm_alloc(w->region, LARGE_BLOCK));
}

static void finish_rigid(struct world *w)
{
	CRASH_BALANCED(w->region, &w->books);
	alloc_free(w);
	alloc_large(w);
	free_block(w);
}

STEP(alloc_when_heap_is_full, UT_ONCE, .rigid = true, .begin = fill_heap,
    .run = alloc_in_vain, .finish = finish_rigid)

/* A dead one's slab, with an attached block in it, has no owner. */
static void orphan_body(struct lshm_region *region, int fd, void *arg)
{
	struct world w = {.region = region};

	find_shared(&w);
	prepare_small(&w);
	alloc_small(&w);
	ut_say(fd, 0);
	pause();
}

static void prepare_orphan(struct world *w)
{
	start_victim(w, orphan_body);
	ut_hear(w->victim.fd);
	kill_victim(w);
	reap(w);
}

static void finish_orphan(struct world *w)
{
	UT_TRUE(w->shared->field);
	finish_field(w);
}

STEP(alloc_that_adopts, UT_ONCE, .prepare = prepare_orphan, .cold = true,
    .run = alloc_small, .finish = finish_orphan)

/* Freed by somebody else, in a slab of the child's that has no other block. */
static void begin_remote(struct world *w)
{
	exhaust_slab(w);
	lock(w);
	attach(w);
	unlock(w);
}

static void free_remotely(struct world *w)
{
	lock(w);
	detach(w);
	unlock(w);
	free_block(w);
}

STEP(alloc_with_remote_free_pending, UT_ONCE, .cold = true,
    .begin = begin_remote, .meanwhile = free_remotely, .run = alloc_small,
    .finish = finish_heap)

/* ---- freeing ---- */

STEP(free, UT_ONCE, .begin = alloc_small, .run = free_block,
    .finish = finish_heap)
STEP(free_run, UT_ONCE, .begin = alloc_large, .run = free_block,
    .finish = finish_heap)
STEP(free_last_of_slab, UT_ONCE, .begin = leave_one, .run = free_block,
    .finish = finish_heap)

/* Two of one slab, which is another's: it is known when the second is freed. */
static void prepare_two(struct world *w)
{
	lock_with_block(w);
	UT_OK(lshm_attach(
	    w->region, &w->shared->mutex, &w->shared->words[0], w->block));
	unlock(w);
	prepare_small(w);
}

static void lock_and_detach_two(struct world *w)
{
	lock(w);
	UT_OK(lshm_detach(
	    w->region, &w->shared->mutex, &w->shared->words[0], &w->blocks[0]));
	detach(w);
}

static void free_two(struct world *w)
{
	UT_OK(lshm_free(w->region, w->blocks[0]));
	free_block(w);
}

STEP(free_remote, UT_ONCE, .prepare = prepare_two, .begin = lock_and_detach_two,
    .run = free_two, .finish = finish_field)

/* Runs side by side are merged by the next search. */
static void free_runs(struct world *w)
{
	for (int i = 0; i < 3; i++) {
		alloc_large(w);
		w->blocks[i] = w->block;
	}
	for (int i = 0; i < 3; i++)
		UT_OK(lshm_free(w->region, w->blocks[i]));
}

static void alloc_merged(struct world *w)
{
	w->block = lshm_alloc(w->region, 3 * LARGE_BLOCK);
	UT_SOME(w->block);
}

STEP(alloc_that_merges_runs, UT_ONCE, .begin = free_runs, .run = alloc_merged,
    .finish = finish_heap)

/* ---- growing ---- */

static void grow(struct world *w)
{
	UT_OK(lshm_region_grow(w->region, 5 * MIB));
}

static void finish_grow(struct world *w)
{
	struct lshm_region_info info;

	UT_OK(lshm_region_stat(w->region, &info));
	UT_TRUE(info.size == REGION || info.size == 5 * MIB);
	UT_TRUE(!w->done || info.size == 5 * MIB);
	finish_heap(w);
	UT_OK(lshm_region_grow(w->region, 12 * MIB));
	UT_OK(lshm_region_stat(w->region, &info));
	UT_EQ(12 * MIB, info.size);
}

STEP(grow, UT_EACH, .run = grow, .finish = finish_grow)

/* It has grown meanwhile: the child sees that when it meets a new offset. */
static void look_behind(struct world *w)
{
	UT_SOME(lshm_at(w->region, 4 * MIB, 8));
}

static void finish_grown(struct world *w)
{
	finish_heap(w);
	UT_SOME(lshm_at(w->region, 4 * MIB, 8));
}

STEP(at_after_growth, UT_EACH, .meanwhile = grow, .run = look_behind,
    .finish = finish_grown)

/* ---- a field and its block ---- */

static void lock_with_run(struct world *w)
{
	alloc_large(w);
	lock(w);
}

static void prepare_run(struct world *w)
{
	lock_with_run(w);
	attach(w);
	unlock(w);
}

static void finish_attach(struct world *w)
{
	UT_TRUE(!w->done || w->shared->field);
	finish_field(w);
}

static void finish_detach(struct world *w)
{
	UT_TRUE(!w->done || !w->shared->field);
	finish_field(w);
}

static void detach_free(struct world *w)
{
	detach(w);
	free_block(w);
}

STEP(attach, UT_ONCE, .begin = lock_with_block, .run = attach, .rescue = lock,
    .finish = finish_attach)
STEP(attach_run, UT_ONCE, .begin = lock_with_run, .run = attach,
    .finish = finish_attach)
STEP(detach, UT_ONCE, .prepare = prepare_small, .begin = lock, .run = detach,
    .rescue = lock, .finish = finish_detach)
STEP(replace, UT_ONCE, .prepare = prepare_small, .begin = lock_with_block,
    .run = replace, .rescue = lock, .finish = finish_replace)
STEP(replace_runs, UT_ONCE, .prepare = prepare_run, .begin = lock_with_run,
    .run = replace, .finish = finish_replace)
/* the block lies in a slab of the survivor's */
STEP(detach_and_free, UT_ONCE, .prepare = prepare_small, .begin = lock,
    .run = detach_free, .finish = finish_detach)

/* ---- looking ---- */

static void look(struct world *w)
{
	struct lshm_heap_info heap;

	UT_CMP(lshm_usable_size(w->region, w->block), >=, SMALL_BLOCK);
	UT_OK(lshm_heap_stat(w->region, &heap));
	UT_EQ(1, heap.draft_blocks);
}

STEP(heap_looks, UT_ONCE, .begin = alloc_small, .run = look,
    .finish = finish_heap)
