/* SPDX-License-Identifier: MIT */
/*
 * sync.h - what the tests of the synchronisation objects share
 *
 * A child does what it is told, one number at a time, and answers with what the
 * call returned. So a test says in which order things happen, and nothing
 * depends on time; a call that is to sleep is known to by its ticket.
 */
#ifndef LIBSHM_TEST_SYNC_H
#define LIBSHM_TEST_SYNC_H

#include "unit.h"

#include <sched.h>

/** The object of a test, named "shared". */
static inline void *sync_make(struct lshm_region *region, size_t size)
{
	void *shared;

	UT_OK(lshm_object_create(
	    region, "shared", "shared", size, NULL, NULL, &shared));
	return shared;
}

static inline void *sync_find(struct lshm_region *region)
{
	void *shared;

	UT_OK(lshm_object_open(region, "shared", "shared", 0, &shared));
	return shared;
}

/** Tell a child what to do. 0: to end. */
static inline void sync_tell(struct ut_child *child, uint64_t what)
{
	ut_say(child->fd, what);
}

/** What its call returned. */
static inline int sync_answer(struct ut_child *child)
{
	return (int)(int64_t)ut_hear(child->fd);
}

static inline int sync_ask(struct ut_child *child, uint64_t what)
{
	sync_tell(child, what);
	return sync_answer(child);
}

static inline void sync_end(struct ut_child *child)
{
	sync_tell(child, 0);
	ut_join(child);
}

/** The counters of an object that has been in use for long. */
static inline void sync_age(struct lshm_waiters *w)
{
	w->event = UINT32_MAX - 1;
	w->sleeps = w->rung = UINT32_MAX - 1;
}

/** Wait until somebody has gone to sleep, @n times since it was @from. */
static inline void sync_await_sleep(
    const struct lshm_waiters *w, uint32_t from, uint32_t n)
{
	int64_t limit = UT_SOON;

	while (*(volatile const uint32_t *)&w->sleeps - from < n) {
		UT_TRUE(lshm_deadline_ms(0) < limit);
		sched_yield();
	}
}

/** A number that others change. */
#define SYNC_LOAD(word) (*(volatile uint64_t *)&(word))

#endif
