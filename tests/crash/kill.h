/* SPDX-License-Identifier: MIT */
/*
 * kill.h - death at a random moment of every operation, again and again
 *
 * A child repeats an operation until it is killed, some random microseconds
 * later. Meanwhile a survivor works with the same structures; afterwards it
 * reaps, and the books must be in order. The seed is printed: with
 * LSHM_TEST_SEED the moments are the same, but for what the scheduler does.
 */
#ifndef LIBSHM_KILL_H
#define LIBSHM_KILL_H

#include "scene.h"

/* What the survivor knows; the children start with a copy. */
struct storm {
	struct lshm_region *region;
	struct shared *shared;
	struct crash_books books;
	uint64_t seed;
	uint64_t kills;
	/* of the tests of channels */
	const struct lshm_channel_opts *opts;
	struct lshm_producer *out;
	struct lshm_consumer *in;
	uint64_t next; /* the sequence it expects */
};

static inline void storm_begin(struct storm *s)
{
	memset(s, 0, sizeof(*s));
	s->seed = ut_seed();
	s->region = create(&s->shared);
	UT_OK(lshm_free(s->region, lshm_alloc(s->region, 100)));
	s->books = CRASH_BOOKS(s->region);
}

/*
 * Kill one child after the other, in the midst of @body; the survivor does
 * @meanwhile until then, and @afterwards, when the dead one has been reaped.
 */
static inline void storm(struct storm *s, ut_body *body,
    void (*meanwhile)(struct storm *s), void (*afterwards)(struct storm *s))
{
	uint64_t rounds =
	    ut_scale(ut_backend->id == LSHM_BACKEND_POSIX ? 400 : 80);

	for (s->kills = 0; s->kills < rounds; s->kills++) {
		struct ut_child child = ut_spawn(s->region, 0, body, s);
		uint64_t end;

		ut_hear(child.fd);
		end = microseconds() + ut_random(&s->seed) % 1500;
		do
			meanwhile(s);
		while (microseconds() < end);
		ut_kill(&child);
		lshm_region_reap(s->region);
		afterwards(s);
	}
}

static inline void balanced(struct storm *s)
{
	CRASH_BALANCED(s->region, &s->books);
}

static inline void storm_end(struct storm *s)
{
	balanced(s);
	lshm_region_close(s->region);
}

#endif
