/* SPDX-License-Identifier: MIT */
/*
 * scene_litmus.c - the explorer itself: what TSO allows is found, what it
 * forbids is not
 */
#include "explore.h"

static uint64_t *words; /* of the region, on lines of their own */
static struct ghost {
	uint64_t seen[XP_THREADS][2];
} * ghost;

static void setup(void)
{
	xp_open_all();
	words = lshm_alloc(xp_region(), 256);
	XP_TRUE(words);
	memset(words, 0, 256);
	xp_name(&words[0], 8, 8, "x");
	xp_name(&words[16], 8, 8, "y");
	ghost = xp_ghost(sizeof(*ghost));
}

static uint64_t *word_x(void)
{
	return &words[0];
}

static uint64_t *word_y(void)
{
	return &words[16];
}

/* Store buffering: not both may miss the other's store. */
static void store_x_load_y(void)
{
	lshmi_store_seq(word_x(), 1);
	ghost->seen[0][0] = lshmi_load_seq(word_y());
}

static void store_y_load_x(void)
{
	lshmi_store_seq(word_y(), 1);
	ghost->seen[1][0] = lshmi_load_seq(word_x());
}

static void check_one_seen(void)
{
	XP_TRUE(ghost->seen[0][0] || ghost->seen[1][0]);
}

static const struct xp_seed seeds_buffering[] = {
    XP_SEED("one store is plain", "store_x_load_y", "word_x()", XP_WEAKEN),
    XP_SEED(
	"the other store is plain", "store_y_load_x", "word_y()", XP_WEAKEN),
    {0},
};

XP_SCENARIO(litmus_buffering) = {
    .name = "litmus-buffering",
    .what = "store, then load what the other stores",
    .threads = 2,
    .bounds = {.buffer = 2},
    .setup = setup,
    .run = {store_x_load_y, store_y_load_x},
    .check = check_one_seen,
    .seeds = seeds_buffering,
};

/* Message passing: plain stores become visible in order. */
static void send(void)
{
	lshmi_store_relaxed(word_x(), 1);
	lshmi_store_relaxed(word_y(), 1);
}

static void receive(void)
{
	ghost->seen[1][0] = lshmi_load_relaxed(word_y());
	ghost->seen[1][1] = lshmi_load_relaxed(word_x());
}

static void check_order(void)
{
	if (xp_finished(1))
		XP_TRUE(!ghost->seen[1][0] || ghost->seen[1][1]);
	/* After a death, too. */
	XP_TRUE(!lshmi_load_relaxed(word_y()) || lshmi_load_relaxed(word_x()));
}

static const struct xp_seed seeds_message[] = {
    XP_SEED("stores the other way round", "send", "word_x()", XP_DELAY),
    {0},
};

XP_SCENARIO(litmus_message) = {
    .name = "litmus-message",
    .what = "two plain stores, loaded in the other order",
    .threads = 2,
    .bounds = {.deaths = 1, .buffer = 2},
    .setup = setup,
    .run = {send, receive},
    .check = check_order,
    .seeds = seeds_message,
};

/* Read-modify-writes are one step. */
static void count(void)
{
	lshmi_fetch_add(word_x(), 1);
	lshmi_fetch_add(word_x(), 1);
}

static void check_count(void)
{
	XP_EQ(6, lshmi_load_relaxed(word_x()));
}

static const struct xp_seed seeds_count[] = {
    XP_SEED("a load and a store", "count", "word_x()", XP_WEAKEN),
    {0},
};

XP_SCENARIO(litmus_count) = {
    .name = "litmus-count",
    .what = "three threads count",
    .threads = 3,
    .bounds = {.buffer = 2},
    .setup = setup,
    .run = {count, count, count},
    .check = check_count,
    .seeds = seeds_count,
};

/* A thread that waits for another one's store is woken, if it is waited for. */
static void sleep_on(void)
{
	while (lshmi_load_seq((uint32_t *)word_x()) == 0)
		xp_region()->store.backend->wait(
		    &xp_region()->store, (uint32_t *)word_x(), 0, LSHM_FOREVER);
}

static void rouse(void)
{
	lshmi_store_seq((uint32_t *)word_x(), 1);
	xp_region()->store.backend->wake(
	    &xp_region()->store, (uint32_t *)word_x(), 1);
}

static const struct xp_seed seeds_wake[] = {
    XP_SEED("no wake", "kernel", "wake", XP_SKIP),
    XP_SEED("nothing is stored", "rouse", "(uint32_t *)word_x()", XP_SKIP),
    {0},
};

XP_SCENARIO(litmus_wake) = {
    .name = "litmus-wake",
    .what = "wait while a word is 0, against store and wake",
    .threads = 2,
    .bounds = {.buffer = 2},
    .setup = setup,
    .run = {sleep_on, rouse},
    .seeds = seeds_wake,
};
