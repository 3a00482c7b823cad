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

#include "scene.h"

#include <sys/mman.h>

#include "../../libshm/atomic.h"

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

struct storm {
	struct lshm_region *region;
	struct box *box;
	struct lshm_map *map;
	struct crash_books books;
	struct notes *notes;
	uint64_t seed;
};

static inline void storm_begin(struct storm *s)
{
	memset(s, 0, sizeof(*s));
	s->seed = ut_seed();
	s->region = ut_create(UT_SMALL);
	UT_OK(lshm_object_create(s->region, "box", "box", sizeof(*s->box), NULL,
	    NULL, (void **)&s->box));
	UT_OK(lshm_free(s->region, lshm_alloc(s->region, 100)));
	s->books = CRASH_BOOKS(s->region);
	s->box->vector.element = 24;
	UT_OK(lshm_map_create(s->region, "map", &s->map));
	s->notes = mmap(NULL, sizeof(*s->notes), PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	UT_TRUE(s->notes != MAP_FAILED);
	s->notes->key = KEYS;
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

static inline void storm(struct storm *s, ut_body *body,
    void (*meanwhile)(struct storm *s), void (*afterwards)(struct storm *s))
{
	uint64_t rounds =
	    ut_scale(ut_backend->id == LSHM_BACKEND_POSIX ? 400 : 80);

	for (; rounds; rounds--) {
		struct ut_child child = ut_spawn(s->region, 0, body, s);
		uint64_t end;

		ut_hear(child.fd);
		end = microseconds() + ut_random(&s->seed) % 1500;
		do
			meanwhile(s);
		while (microseconds() < end || /* on slow machines, at last */
		       (rounds == 1 && s->notes->done == 0));
		ut_kill(&child);
		/* sometimes the lock is met before the reaping */
		if (ut_random(&s->seed) % 2)
			lshm_region_reap(s->region);
		s->seed += s->notes->done;
		afterwards(s);
	}
	UT_CMP(s->notes->done, >, 0);
}

static inline void nothing(struct storm *s)
{
}

static inline void storm_end(struct storm *s)
{
	UT_OK(lshm_map_destroy(s->region, "map"));
	CRASH_BALANCED(s->region, &s->books);
	munmap(s->notes, sizeof(*s->notes));
	lshm_region_close(s->region);
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
