/* SPDX-License-Identifier: MIT */
/* step_region.c - sweeps of making, attaching to, and leaving a region */
#include "step.h"

#include <fcntl.h>
#include <sys/socket.h>

static void finish_opened(struct world *w)
{
	struct lshm_region *again;

	CRASH_BALANCED(w->region, &w->books);
	again = ut_reopen(w->region, 0); /* the slot can be used anew */
	lshm_region_close(again);
	finish_heap(w);
}

STEP(region_open, UT_EACH, .attaches = true, .run = open_region,
    .finish = finish_opened)

static void open_by_descriptor(struct world *w)
{
	int fd = ut_open_backing(ut_name, O_RDWR);

	UT_TRUE(fd >= 0);
	UT_OK(lshm_region_open_fd(&w->region, fd, 0, NULL));
	close(fd);
}

STEP(region_open_fd, UT_NAMED, .attaches = true, .run = open_by_descriptor,
    .finish = finish_opened)

static void open_observer(struct world *w)
{
	UT_OK(lshm_region_open(&w->region, ut_name, LSHM_RDONLY, NULL));
}

STEP(region_open_observer, UT_NAMED, .attaches = true, .run = open_observer,
    .finish = finish_opened)

static void close_region(struct world *w)
{
	lshm_region_close(w->region);
	w->region = NULL;
}

STEP(region_close, UT_EACH, .prepare = prepare_work_waiting, .begin = hold_much,
    .run = close_region, .finish = finish_much)

static void make_sockets(struct world *w)
{
	UT_EQ(0,
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, w->sockets));
}

static void send_region(struct world *w)
{
	UT_OK(lshm_region_send(w->region, w->sockets[0], 0));
}

STEP(region_send, UT_EACH, .begin = make_sockets, .run = send_region,
    .finish = finish_opened)

/* ---- a name comes and goes ---- */

static const char *second_name(void)
{
	static char name[sizeof(ut_name) + 8];

	snprintf(name, sizeof(name), "%s.second", ut_name);
	return name;
}

static void create_second(struct world *w)
{
	struct lshm_region *region;

	UT_OK(lshm_region_open(
	    &region, second_name(), LSHM_CREATE | LSHM_EXCL, UT_SMALL));
	if (!w->block) /* the survivor closes it, the child dies with it */
		lshm_region_close(region);
}

static void begin_second(struct world *w)
{
	w->block = w;
}

static void remove_second(struct world *w)
{
	UT_OK(lshm_region_unlink(second_name(), LSHM_BACKEND_DEFAULT));
}

/* Complete, or not there at all. */
static void finish_second(struct world *w, bool there)
{
	struct lshm_region *region;
	int ret = lshm_region_open(&region, second_name(), 0, NULL);

	UT_TRUE(ret == 0 || ret == -ENOENT);
	UT_TRUE(!w->done || there == (ret == 0));
	if (ret == 0) {
		UT_EQ(1, CRASH_BOOKS(region).participants);
		UT_EQ(0, CRASH_BOOKS(region).attached_blocks);
		lshm_region_close(region);
		remove_second(w);
	}
	create_second(w);
	remove_second(w);
}

static void finish_created(struct world *w)
{
	finish_second(w, true);
}

static void finish_unlinked(struct world *w)
{
	finish_second(w, false);
}

STEP(region_create, UT_NAMED, .begin = begin_second, .run = create_second,
    .finish = finish_created)
STEP(region_unlink, UT_NAMED, .prepare = create_second, .run = remove_second,
    .finish = finish_unlinked)

/* ---- looking ---- */

static void look(struct world *w)
{
	struct lshm_participant_info info;

	UT_OK(lshm_region_participant(w->region, 0, &info));
	UT_EQ(LSHM_PARTICIPANT_ALIVE, info.state);
	UT_EQ(-ENOENT, lshm_region_death(w->region, 0, &info));
	UT_EQ(0, lshm_region_reap(w->region));
}

STEP(region_looks, UT_ONCE, .run = look, .finish = finish_opened)
