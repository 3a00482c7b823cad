/* SPDX-License-Identifier: MIT */
/*
 * containers.h - death at a random moment of a container's calls, and at the
 * very moment of each change
 *
 * As in kill.h: a child works on a list, a vector or a map until it is
 * killed; before and after each call it notes in memory of its own, which the
 * survivor shares, what it is about to do. Afterwards the call it died in has
 * happened wholly or not at all, all others have happened, and no block is
 * lost.
 */
#ifndef LIBSHM_CONTAINERS_H
#define LIBSHM_CONTAINERS_H

#include "kill.h"

#include <sys/mman.h>

#define KEYS 300

struct box {
	struct lshm_mutex mutex;
	struct lshm_list list;
	struct lshm_vector vector;
};

/* Of a value: 0 none; its lowest bit: it is a block. */
struct notes {
	uint64_t done; /* calls that have returned */
	uint64_t values[KEYS];
	uint64_t key;	/* of the call under way; KEYS: none */
	uint64_t value; /* that it is to have */
	uint64_t clear; /* everything is being cleared */
};

static inline void container_begin(struct storm *s)
{
	storm_begin(s);
	UT_OK(lshm_object_create(s->region, "box", "box", sizeof(*s->box), NULL,
	    NULL, (void **)&s->box));
	s->books = CRASH_BOOKS(s->region);
	s->box->vector.element = 24;
	UT_OK(lshm_map_create(s->region, "map", &s->map));
	s->notes = mmap(NULL, sizeof(*s->notes), PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	UT_TRUE(s->notes != MAP_FAILED);
	s->notes->key = KEYS;
	s->done = &s->notes->done;
}

/* The child's view: the same things at its own addresses. */
static inline void enter(struct storm *s, struct lshm_region *region, int fd)
{
	s->region = region;
	UT_OK(lshm_object_open(
	    region, "box", "box", sizeof(*s->box), (void **)&s->box));
	UT_OK(lshm_map_open(region, "map", &s->map));
	ut_say(fd, 0);
}

static inline void nothing(struct storm *s)
{
}

static inline void container_end(struct storm *s)
{
	UT_OK(lshm_map_destroy(s->region, "map"));
	munmap(s->notes, sizeof(*s->notes));
	storm_end(s);
}

/*
 * What follows from a change has a window of a few instructions, which chance
 * would seldom hit. So the child is stepped until the one word changes that
 * decides, and killed right there: the call has happened, and nothing else has.
 */
struct moment {
	struct storm *storm;
	void (*act)(struct storm *s);
	const volatile uint64_t *word;
	uint64_t before;
};

static inline void moment_body(struct lshm_region *region, int fd, void *arg)
{
	struct moment *m = arg;
	struct storm s = *m->storm;

	enter(&s, region, fd);
	/* its lane, and blocks at hand: to have these takes many steps */
	for (size_t size = 16; size <= 1024; size += 16)
		UT_OK(lshm_free(region, lshm_alloc(region, size)));
	crash_mark();
	m->act(&s);
	crash_mark();
}

static inline bool has_changed(void *arg)
{
	struct moment *m = arg;

	return *m->word != m->before;
}

static inline void kill_at(
    struct storm *s, void (*act)(struct storm *s), const uint64_t *word)
{
	struct moment m = {s, act, word, *word};
	struct ut_child child = ut_spawn(s->region, 0, moment_body, &m);

	ut_hear(child.fd);
	crash_await_mark(&child);
	UT_TRUE(crash_step(&child, has_changed, &m));
	ut_kill(&child);
}

#endif
