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

#include "../../libshm/atomic.h"

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
	/* of those of containers; see containers.h */
	struct box *box;
	struct lshm_map *map;
	struct notes *notes;
	const uint64_t *done; /* calls whose outcome was seen; or NULL */
};

static inline void storm_begin(struct storm *s)
{
	memset(s, 0, sizeof(*s));
	s->seed = ut_seed();
	s->region = create(&s->shared);
	UT_OK(lshm_free(s->region, lshm_alloc(s->region, 100)));
	s->books = CRASH_BOOKS(s->region);
}

/* Has any of those that are counted been done? */
static inline bool any_done(const struct storm *s)
{
	return !s->done || lshmi_load_relaxed(s->done) > 0;
}

/*
 * Kill one child after the other, in the midst of @body; the survivor does
 * @meanwhile until then, and @afterwards, when the dead one may have been
 * reaped or not.
 */
static inline void storm(struct storm *s, ut_body *body,
    void (*meanwhile)(struct storm *s), void (*afterwards)(struct storm *s))
{
	uint64_t rounds =
	    ut_scale(ut_backend->id == LSHM_BACKEND_POSIX ? 400 : 80);

	for (s->kills = 0; s->kills < rounds; s->kills++) {
		bool last = s->kills + 1 == rounds;
		struct ut_child child;
		uint64_t end;

		/* what one child does is not what the one before did */
		s->seed = ut_random(&s->seed);
		child = ut_spawn(s->region, 0, body, s);
		ut_hear(child.fd);
		end = microseconds() + ut_random(&s->seed) % 1500;
		for (;;) {
			meanwhile(s);
			if (microseconds() < end)
				continue;
			if (!last || any_done(s))
				break;
			usleep(1000); /* the machine is slow: let it come */
		}
		ut_kill(&child);
		/* sometimes what it held is met before the reaping */
		if (ut_random(&s->seed) % 2)
			lshm_region_reap(s->region);
		afterwards(s);
	}
	UT_TRUE(any_done(s));
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
