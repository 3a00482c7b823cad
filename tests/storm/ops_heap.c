/* SPDX-License-Identifier: MIT */
/*
 * ops_heap.c - the heap and the directory: blocks of all sizes, freed by
 * whoever comes by; fields that refer to them; names
 */
#include "storm.h"

#define FIELDS	8 /* each protected by a mutex */
#define GUARDED 2 /* each protected by a lock for readers and writers */
#define OBJECTS 6

/* Shared data of this area. */
struct heap {
	struct {
		struct lshm_mutex mutex;
		lshm_off block;
		struct pair pair;
	} fields[FIELDS];
	struct {
		struct lshm_rwlock lock;
		lshm_off block;
	} guarded[GUARDED];
	struct lshm_mutex object_mutex[OBJECTS];
};

static_assert(LOCK_FIELD + FIELDS <= LOCK_OBJECT, "numbers of locks");
static_assert(LOCK_OBJECT + OBJECTS <= LOCK_QUEUE, "numbers of locks");

/* ---- blocks ---- */

static uint64_t some_size(struct worker *w)
{
	switch (pick(w, 16)) {
	case 0:
		return TEXT_MIN + pick(w, 600000); /* runs of pages */
	case 1:
	case 2:
		return TEXT_MIN + pick(w, 60000);
	case 3 ... 6:
		return TEXT_MIN + pick(w, 4000);
	default:
		return TEXT_MIN + pick(w, 300);
	}
}

void *new_block(struct worker *w)
{
	uint64_t size = some_size(w), alignment = 16;
	struct text *block;

	if (pick(w, 6) == 0)
		alignment <<= pick(w, pick(w, 8) ? 8 : 18);
	begin(w, OWN, LSHM_NOW);
	block = alignment > 16 ? lshm_alloc_aligned(w->region, alignment, size)
			       : lshm_alloc(w->region, size);
	end(w);
	if (!block) {
		UT_TRUE(lshm_error()[0]);
		return NULL;
	}
	UT_EQ(0, (uintptr_t)block % alignment);
	write_text(block, size, w->life, alignment);
	return block;
}

void check_block(struct lshm_region *region, const void *block)
{
	check_text(block, lshm_usable_size(region, block));
}

void free_block(struct worker *w, void *block)
{
	check_block(w->region, block);
	begin(w, OWN, LSHM_NOW);
	UT_OK(lshm_free(w->region, block));
	end(w);
}

static void use_drafts(struct worker *w)
{
	void **draft = &w->drafts[pick(w, DRAFTS)];

	if (*draft)
		free_block(w, *draft);
	*draft = *draft ? NULL : new_block(w);
}

static void use_string(struct worker *w)
{
	char text[200], *copy;
	size_t n = pick(w, sizeof(text));

	memset(text, 'x', n);
	text[n] = '\0';
	begin(w, OWN, LSHM_NOW);
	copy = lshm_strdup(w->region, text);
	end(w);
	if (!copy)
		return;
	dawdle(w);
	UT_STR(text, copy);
	UT_OK(lshm_free(w->region, copy));
}

/* ---- fields ---- */

/* What to do with a field: attach, detach or replace; the old block. */
static void *change(
    struct worker *w, struct lshm_mutex *mutex, lshm_off *field, void *block)
{
	void *old = NULL;

	if (*field)
		check_block(w->region,
		    lshm_at(w->region, *field, TEXT_MIN)); /* by another */
	begin(w, OWN, LSHM_NOW);
	if (!*field && block)
		UT_OK(lshm_attach(w->region, mutex, field, block));
	else if (!block)
		UT_OK(lshm_detach(w->region, mutex, field, &old));
	else
		UT_OK(lshm_replace(w->region, mutex, field, block, &old));
	end(w);
	return old;
}

static void use_field(struct worker *w)
{
	struct heap *h = w->shared[HEAP];
	uint32_t i = (uint32_t)pick(w, FIELDS);
	void *block = pick(w, 3) ? new_block(w) : NULL, *old;
	struct pair *pair = &h->fields[i].pair;
	bool died;

	if (!lock_by(w, &h->fields[i].mutex, LOCK_FIELD + i,
		pick(w, 4) ? LSHM_FOREVER : some_deadline(w), &died)) {
		if (block)
			free_block(w, block);
		return;
	}
	if (died)
		repair_pair(pair);
	check_pair(pair);
	old = change(w, &h->fields[i].mutex, &h->fields[i].block, block);
	write_pair(w, pair);
	unlock(w, &h->fields[i].mutex, LOCK_FIELD + i);
	if (old)
		free_block(w, old);
}

/* The same with a lock for readers and writers; readers look at the block. */
static void use_guarded(struct worker *w)
{
	struct heap *h = w->shared[HEAP];
	uint64_t i = pick(w, GUARDED);
	struct lshm_rwlock *lock = &h->guarded[i].lock;
	lshm_off *field = &h->guarded[i].block;
	void *block = NULL, *old = NULL;
	bool writes = pick(w, 3) == 0;

	if (!writes) {
		begin(w, OTHERS, LSHM_FOREVER);
		writes =
		    !MAY_FAIL(lshm_rwlock_read(w->region, lock, LSHM_FOREVER),
			EOWNERDEAD);
		end(w);
	}
	if (!writes) {
		if (*field)
			check_block(
			    w->region, lshm_at(w->region, *field, TEXT_MIN));
		dawdle(w);
	} else {
		block = pick(w, 3) ? new_block(w) : NULL;
		begin(w, OTHERS, LSHM_FOREVER);
		UT_TRUE(lshm_rwlock_write(w->region, lock, LSHM_FOREVER) >= 0);
		end(w);
		old = change(w, &lock->writer, field, block);
	}
	UT_OK(lshm_rwlock_unlock(w->region, lock));
	if (old)
		free_block(w, old);
}

/* ---- names ---- */

static int write_object(void *block, void *arg)
{
	struct worker *w = arg;

	write_text(block, 64 + 8 * (w->life % 100), w->life, 64);
	return 0;
}

/* Make, look at, or remove a named object, under a lock of its own. */
static void use_object(struct worker *w)
{
	struct heap *h = w->shared[HEAP];
	uint32_t i = (uint32_t)pick(w, OBJECTS);
	struct lshm_mutex *mutex = &h->object_mutex[i];
	char name[16];
	bool died;
	void *block;
	int ret;

	snprintf(name, sizeof(name), "o%" PRIu32, i);
	lock_by(w, mutex, LOCK_OBJECT + i, LSHM_FOREVER, &died);
	begin(w, OWN, LSHM_NOW);
	ret = lshm_object_open(w->region, name, "text", 0, &block);
	if (ret == -ENOENT) {
		MAY_FAIL(lshm_object_create(w->region, name, "text",
			     64 + 8 * (w->life % 100), write_object, w, NULL),
		    ENOMEM, EAGAIN);
	} else {
		UT_OK(ret);
		check_block(w->region, block);
		MAY_FAIL(lshm_object_remove(w->region, name, "text"), EAGAIN);
	}
	end(w);
	unlock(w, mutex, LOCK_OBJECT + i);
}

/* ---- the region ---- */

static void grow(struct worker *w)
{
	struct lshm_region_info info;
	uint64_t size;

	UT_OK(lshm_region_stat(w->region, &info));
	size = info.size + pick(w, 2) * info.granule;
	if (size > info.max_size)
		size = info.max_size;
	begin(w, OWN, LSHM_NOW);
	MAY_FAIL(lshm_region_grow(w->region, size), EAGAIN);
	end(w);
}

static void reap(struct worker *w)
{
	begin(w, OWN, LSHM_NOW);
	UT_TRUE(lshm_region_reap(w->region) >= 0);
	end(w);
}

static void look(struct lshm_region *region)
{
	struct lshm_object_info object;
	struct lshm_heap_info heap;
	struct lshm_participant_info who;
	uint64_t cursor = 0, n = 0;

	while (lshm_object_next(region, &cursor, &object) == 0)
		UT_CMP(n++, <, 1000);
	UT_OK(lshm_heap_stat(region, &heap));
	UT_OK(lshm_region_participant(region, 0, &who));
	MAY_FAIL(lshm_region_death(region, 0, &who), ENOENT);
}

/* As a participant, or as an observer. */
static void look_on(struct worker *w)
{
	struct lshm_region *region = w->region;

	if (pick(w, 2)) {
		look(region);
		return;
	}
	begin(w, OWN, LSHM_NOW);
	UT_OK(w->fd < 0
		  ? lshm_region_open(&region, ut_name, LSHM_RDONLY, NULL)
		  : lshm_region_open_fd(&region, w->fd, LSHM_RDONLY, NULL));
	end(w);
	look(region);
	lshm_region_close(region);
}

/* ---- this area ---- */

static void idle(struct worker *w)
{
	for (int i = 0; i < DRAFTS; i++) {
		if (w->drafts[i])
			free_block(w, w->drafts[i]);
		w->drafts[i] = NULL;
	}
}

static void prepare(struct lshm_region *region, void *shared)
{
	struct heap *h = shared;

	for (int i = 0; i < FIELDS; i++)
		h->fields[i].pair.canary = CANARY;
}

static void audit(struct books *b, void *shared)
{
	struct heap *h = shared;
	int ret;

	for (int i = 0; i < FIELDS; i++) {
		ret = lshm_mutex_lock(b->region, &h->fields[i].mutex, LSHM_NOW);
		UT_TRUE(ret >= 0);
		if (ret == LSHM_OWNER_DIED)
			repair_pair(&h->fields[i].pair);
		check_pair(&h->fields[i].pair);
		UT_OK(lshm_mutex_unlock(b->region, &h->fields[i].mutex));
		if (h->fields[i].block)
			enter_text(b, h->fields[i].block);
	}
	for (int i = 0; i < OBJECTS; i++) {
		UT_TRUE(lshm_mutex_lock(
			    b->region, &h->object_mutex[i], LSHM_NOW) >= 0);
		UT_OK(lshm_mutex_unlock(b->region, &h->object_mutex[i]));
	}
	for (int i = 0; i < GUARDED; i++)
		if (h->guarded[i].block)
			enter_text(b, h->guarded[i].block);
}

static void give_up(
    struct lshm_region *region, struct lshm_mutex *mutex, lshm_off *field)
{
	void *block;

	UT_OK(lshm_detach(region, mutex, field, &block));
	if (block)
		check_block(region, block);
	UT_OK(lshm_free(region, block));
}

static void clear(struct lshm_region *region, void *shared)
{
	struct heap *h = shared;

	for (int i = 0; i < FIELDS; i++) {
		UT_OK(lshm_mutex_lock(region, &h->fields[i].mutex, LSHM_NOW));
		give_up(region, &h->fields[i].mutex, &h->fields[i].block);
		UT_OK(lshm_mutex_unlock(region, &h->fields[i].mutex));
	}
	for (int i = 0; i < GUARDED; i++) {
		struct lshm_rwlock *lock = &h->guarded[i].lock;

		UT_TRUE(lshm_rwlock_write(region, lock, LSHM_NOW) >= 0);
		give_up(region, &lock->writer, &h->guarded[i].block);
		UT_OK(lshm_rwlock_unlock(region, lock));
	}
}

static const struct op ops[] = {
    {"draft", 60, use_drafts},
    {"string", 6, use_string},
    {"field", 80, use_field},
    {"guarded field", 20, use_guarded},
    {"object", 20, use_object},
    {"grow", 1, grow},
    {"reap", 1, reap},
    {"look on", 2, look_on},
    {0},
};

const struct area area_heap = {
    .name = "area.heap",
    .size = sizeof(struct heap),
    .ops = ops,
    .prepare = prepare,
    .idle = idle,
    .audit = audit,
    .clear = clear,
};
