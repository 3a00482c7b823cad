/* SPDX-License-Identifier: MIT */
/*
 * scene_event.c - waiters.c, by events: nobody sleeps on what has changed
 */
#include "explore.h"

static struct lshm_event *event;

static void setup(void)
{
	xp_open_all();
	event = lshm_alloc(xp_region(), sizeof(*event));
	XP_TRUE(event);
	memset(event, 0, sizeof(*event));
	xp_name(event, sizeof(*event), sizeof(*event), "event");
}

static void post(void)
{
	XP_EQ(0, lshm_event_post(xp_region(), event, 1));
}

static void post_twice(void)
{
	post();
	post();
}

static void await_one(void)
{
	uint64_t count = 0;

	XP_EQ(0, lshm_event_wait(xp_region(), event, 0, LSHM_FOREVER, &count));
	XP_TRUE(count > 0);
}

/* Until both posts have been made, by whomever. */
static void await_two(void)
{
	uint64_t count = 0;

	while (count < 2)
		XP_EQ(0, lshm_event_wait(
			     xp_region(), event, count, LSHM_FOREVER, &count));
}

static void check(void)
{
	uint64_t count;

	XP_EQ(0, lshm_event_count(xp_region(), event, &count));
	XP_TRUE(count <= 2);
	XP_EQ(0, lshm_event_post(xp_region(), event, 1));
	XP_EQ(0, lshm_event_wait(xp_region(), event, count, LSHM_NOW, &count));
	XP_EQ(event->waiters.sleeps, event->waiters.rung);
}

static uint64_t too_far(uint64_t rung)
{
	return rung + 1;
}

/* What it finds when it stores, not what it had found before it raised. */
static uint64_t found_late(uint64_t rung)
{
	return event->waiters.sleeps;
}

static const struct xp_seed seeds[] = {
    XP_SEED("counting the sleep is no barrier", "lshmi_await", "&q->sleeps",
	XP_WEAKEN),
    XP_SEED(
	"posting is no barrier", "lshm_event_post", "&event->count", XP_WEAKEN),
    XP_SEED("no wake", "kernel", "wake", XP_SKIP),
    XP_SEED("the event is not raised", "lshmi_wake", "&q->event", XP_SKIP),
    XP_SEED("the sleep is not counted", "lshmi_await", "&q->sleeps", XP_SKIP),
    XP_SEED("asleep whatever the event is", "kernel", "wait", XP_BLIND),
    {0},
};

XP_SCENARIO(event_post) = {
    .name = "event-post",
    .what = "one posts, one waits; one may die",
    .threads = 2,
    .patient = true,
    .setup = setup,
    .run = {post, await_one},
    .check = check,
    .seeds = seeds,
};

/* Who has rung does not ring again until somebody has taken a ticket since. */
static const struct xp_seed seeds_twice[] = {
    XP_SEED("rung says too much", "lshmi_wake", "&q->rung", XP_ALTER,
	.alter = too_far),
    XP_SEED("tickets are looked at after the event is raised", "lshmi_wake",
	"&q->rung", XP_ALTER, .alter = found_late),
    XP_SEED("asleep whatever the event is", "kernel", "wait", XP_BLIND),
    {0},
};

XP_SCENARIO(event_twice) = {
    .name = "event-twice",
    .what = "one posts twice, one waits for each; one may die",
    .threads = 2,
    .patient = true,
    .setup = setup,
    .run = {post_twice, await_two},
    .check = check,
    .seeds = seeds_twice,
};

XP_SCENARIO(event_posters) = {
    .name = "event-posters",
    .what = "two post, a third waits for both",
    .threads = 3,
    .bounds = {.buffer = 2},
    .full = {.preemptions = 3, .deaths = 1, .buffer = 2},
    .patient = true,
    .setup = setup,
    .run = {post, post, await_two},
    .check = check,
    .seeds = seeds_twice,
};

XP_SCENARIO(event_waiters) = {
    .name = "event-waiters",
    .what = "one posts twice, two wait for each",
    .threads = 3,
    .bounds = {.buffer = 2},
    .full = {.preemptions = 3, .deaths = 1, .buffer = 2},
    .patient = true,
    .setup = setup,
    .run = {post_twice, await_two, await_two},
    .check = check,
    .seeds = seeds_twice,
};
