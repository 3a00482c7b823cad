/* SPDX-License-Identifier: MIT */
/* step_object.c - sweeps of named objects */
#include "step.h"

#define OBJECT 100

static int fill_object(void *block, void *arg)
{
	crash_fill(block, FILLED, 7);
	return 0;
}

static int refuse(void *block, void *arg)
{
	return -EDOM;
}

static void create_object(struct world *w)
{
	UT_OK(lshm_object_create(
	    w->region, "object", "test", OBJECT, fill_object, NULL, NULL));
}

static void remove_object(struct world *w)
{
	UT_OK(lshm_object_remove(w->region, "object", "test"));
}

/* Is it there? Then it is whole. The books know about it. */
static bool object_is_there(struct world *w)
{
	struct crash_books now = CRASH_BOOKS(w->region);
	void *block;
	int ret = lshm_object_open(w->region, "object", "test", OBJECT, &block);

	UT_EQ(w->books.attached_blocks + (ret == 0), now.attached_blocks);
	if (ret == 0)
		UT_EQ(7, CRASH_WHOLE(block, FILLED));
	else
		UT_EQ(-ENOENT, ret);
	return ret == 0;
}

static void finish_object(struct world *w, bool there)
{
	if (there)
		remove_object(w);
	create_object(w);
	UT_TRUE(object_is_there(w));
	remove_object(w);
}

static void finish_create(struct world *w)
{
	bool there = object_is_there(w);

	UT_TRUE(!w->done || there);
	finish_object(w, there);
}

static void finish_remove(struct world *w)
{
	bool there = object_is_there(w);

	UT_TRUE(!w->done || !there);
	finish_object(w, there);
}

static void finish_unchanged(struct world *w)
{
	finish_object(w, object_is_there(w));
}

STEP(object_create, UT_ONCE, .run = create_object, .finish = finish_create)
STEP(object_remove, UT_ONCE, .prepare = create_object, .run = remove_object,
    .finish = finish_remove)

/* ---- what fails leaves all as it was ---- */

static void create_again(struct world *w)
{
	UT_EQ(-EEXIST, lshm_object_create(w->region, "object", "test", OBJECT,
			   fill_object, NULL, NULL));
}

static void create_refused(struct world *w)
{
	UT_EQ(-EDOM, lshm_object_create(w->region, "object", "test", OBJECT,
			 refuse, NULL, NULL));
}

static void remove_missing(struct world *w)
{
	UT_EQ(-ENOENT, lshm_object_remove(w->region, "object", "test"));
}

STEP(object_create_again, UT_ONCE, .prepare = create_object,
    .run = create_again, .finish = finish_unchanged)
STEP(object_create_refused, UT_ONCE, .run = create_refused,
    .finish = finish_unchanged)
STEP(object_remove_missing, UT_ONCE, .run = remove_missing,
    .finish = finish_unchanged)

/* ---- the directory gets a second block ---- */

static void create_many(struct world *w)
{
	char name[16];

	/* one is there, "shared"; the next one does not fit any more */
	for (int i = 1; i < LSHMI_DIRECTORY_ENTRIES; i++) {
		snprintf(name, sizeof(name), "%d", i);
		UT_OK(lshm_object_create(
		    w->region, name, "test", 16, NULL, NULL, NULL));
	}
}

static void finish_many(struct world *w)
{
	struct crash_books now = CRASH_BOOKS(w->region), before = w->books;
	char name[16];
	void *block;
	int ret = lshm_object_open(w->region, "object", "test", OBJECT, &block);

	UT_TRUE(ret == 0 || (ret == -ENOENT && !w->done));
	/* the block is there before the first name in it */
	UT_CMP(now.attached_blocks - before.attached_blocks -
		   (LSHMI_DIRECTORY_ENTRIES - 1) - (ret == 0),
	    <=, 1);
	if (ret == 0)
		UT_EQ(7, CRASH_WHOLE(block, FILLED));
	else
		create_object(w);
	remove_object(w);
	for (int i = 1; i < LSHMI_DIRECTORY_ENTRIES; i++) {
		snprintf(name, sizeof(name), "%d", i);
		UT_OK(lshm_object_remove(w->region, name, "test"));
	}
	keep(w); /* that block stays, and nothing else */
	UT_EQ(before.attached_blocks + 1, w->books.attached_blocks);
}

STEP(object_create_in_new_block, UT_ONCE, .prepare = create_many,
    .run = create_object, .finish = finish_many)

/* ---- looking ---- */

static void look(struct world *w)
{
	struct lshm_object_info info;
	uint64_t cursor = 0;
	void *block;

	UT_OK(lshm_object_open(w->region, "object", "test", OBJECT, &block));
	while (lshm_object_next(w->region, &cursor, &info) == 0)
		UT_SOME(lshm_at(w->region, info.offset, info.size));
}

STEP(object_looks, UT_ONCE, .prepare = create_object, .run = look,
    .finish = finish_unchanged)
