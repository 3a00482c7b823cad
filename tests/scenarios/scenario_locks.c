/* SPDX-License-Identifier: MIT */
/*
 * scenario_locks.c - a holder of the library's own locks is killed
 */
#include "scenario.h"

#include "../../libshm/atomic.h"

enum { BIG = 256 << 10 };

static void needs_heap_lock(struct lshm_region *region)
{
	void *block = lshm_alloc(region, BIG);

	UT_SOME(block);
	UT_OK(lshm_free(region, block));
}

static void needs_directory_lock(struct lshm_region *region)
{
	UT_OK(lshm_object_create(
	    region, "passing", "scenario", 100, NULL, NULL, NULL));
	UT_OK(lshm_object_remove(region, "passing", "scenario"));
}

static void heap_body(struct lshm_region *region, int fd, void *arg)
{
	UT_SOME(lshm_alloc(region, 16)); /* it has its lane */
	crash_mark();
	UT_SOME(lshm_alloc(region, BIG));
	crash_mark();
}

static void directory_body(struct lshm_region *region, int fd, void *arg)
{
	UT_SOME(lshm_alloc_aligned(region, 64, 100));
	crash_mark();
	UT_OK(lshm_object_create(
	    region, "doomed", "scenario", 100, NULL, NULL, NULL));
	crash_mark();
}

struct grip {
	struct lshm_mutex *lock;
	uint64_t more; /* instructions it holds it for */
};

static bool has_grip(void *arg)
{
	struct grip *grip = arg;

	return lshmi_load_seq(&grip->lock->word) != 0 && grip->more-- == 0;
}

/* Step to where it has held the lock for so many instructions, and kill it. */
static bool kill_with_lock(bool heap, uint64_t more, uint64_t *slowest)
{
	struct lshm_region *region = ut_create(&few_slots);
	struct lshmi_header *h = crash_header(region);
	struct grip grip = {heap ? &h->heap_lock : &h->directory_lock, more};
	struct ut_child child;
	uint64_t start;
	bool held;
	int ret;

	UT_OK(lshm_free(region, lshm_alloc(region, BIG)));
	child = ut_spawn(region, 0, heap ? heap_body : directory_body, NULL);
	crash_await_mark(&child);
	held = crash_step(&child, has_grip, &grip);
	crash_leave_stopped(&child);
	if (held && more == 0) { /* a stopped holder is alive */
		if (heap)
			UT_NULL(lshm_alloc(region, BIG), "heap", "stopped");
		else
			UT_ERR(-EAGAIN,
			    lshm_object_create(region, "passing", "scenario",
				100, NULL, NULL, NULL),
			    "directory", "stopped");
		UT_EQ(2, count_state(region, LSHM_PARTICIPANT_ALIVE));
	}
	ut_kill(&child);
	start = milliseconds();
	needs_heap_lock(region);
	needs_directory_lock(region);
	if (milliseconds() - start > *slowest)
		*slowest = milliseconds() - start;
	UT_CMP(*slowest, <, GO_ON_MS);
	UT_EQ(0, lshmi_load_seq(&grip.lock->word));
	/* Its object is there, whole, or not at all. */
	ret = lshm_object_remove(region, "doomed", "scenario");
	UT_TRUE(ret == 0 || ret == -ENOENT);
	end_balanced(region);
	return held;
}

static void kill_with_locks(bool heap, int *kills, uint64_t *slowest)
{
	for (uint64_t more = 0; kill_with_lock(heap, more, slowest);
	     more = more * 3 + 20)
		++*kills;
}

UT_TEST(lock_holder_killed, UT_EACH)
{
	uint64_t slowest = 0;
	int heap = 0, directory = 0;

	kill_with_locks(true, &heap, &slowest);
	kill_with_locks(false, &directory, &slowest);
	TELL("others go on within 3000 ms, the books balance",
	    "%d holders of the heap's lock killed, %d of the directory's, the "
	    "slowest went on after %llu ms",
	    heap, directory, (unsigned long long)slowest);
	UT_CMP(heap, >=, 2);
	UT_CMP(directory, >=, 2);
}
