/* SPDX-License-Identifier: MIT */
/*
 * scene_rwlock.c - the reader-writer lock: a writer is alone, and whoever comes
 * after one that died inside is told
 */
#include "explore.h"

#define DEAD_ONE (XP_JUDGE + 1) /* setup() may have one die */

static struct ghost {
	uint32_t readers, writers; /* a bit for each that is inside */
	bool torn;		   /* and nobody has repaired it */
} * ghost;

static struct lshm_rwlock *rwlock;

static void setup(void)
{
	xp_open_all();
	rwlock = lshm_alloc(xp_region(), sizeof(*rwlock));
	XP_TRUE(rwlock);
	memset(rwlock, 0, sizeof(*rwlock));
	xp_name(rwlock->readers, sizeof(rwlock->readers), 8, "reader");
	xp_name(rwlock, sizeof(*rwlock), sizeof(*rwlock), "rwlock");
	ghost = xp_ghost(sizeof(*ghost));
}

static bool anybody(uint32_t inside)
{
	for (uint32_t i = 0; i < XP_ALL; i++)
		if ((inside >> i & 1) && !xp_dead(i))
			return true;
	return false;
}

static void write_inside(int ret)
{
	XP_TRUE(ret >= 0);
	if (anybody(ghost->readers | ghost->writers))
		XP_FAIL("a writer is not alone");
	XP_TRUE(!ghost->torn || ret == LSHM_OWNER_DIED);
	XP_TRUE(ret == 0 || xp_deaths() || xp_dead(DEAD_ONE));
	ghost->writers = 1u << xp_self;
	ghost->torn = true;
	XP_STEP("writing");
	ghost->torn = false;
	ghost->writers = 0;
	XP_EQ(0, lshm_rwlock_unlock(xp_region(), rwlock));
}

static void write_it(void)
{
	write_inside(lshm_rwlock_write(xp_region(), rwlock, LSHM_FOREVER));
}

static void try_to_write(void)
{
	int ret = lshm_rwlock_write(xp_region(), rwlock, LSHM_NOW);

	if (ret != -EAGAIN)
		write_inside(ret);
}

static void read_it(void)
{
	int ret = lshm_rwlock_read(xp_region(), rwlock, LSHM_FOREVER);

	if (ret == -EOWNERDEAD) {
		XP_TRUE(xp_deaths() || xp_dead(DEAD_ONE));
		write_it();
		return;
	}
	XP_EQ(0, ret);
	if (anybody(ghost->writers) || ghost->torn)
		XP_FAIL("a reader is inside together with a writer");
	ghost->readers |= 1u << xp_self;
	XP_STEP("reading");
	ghost->readers &= ~(1u << xp_self);
	XP_EQ(0, lshm_rwlock_unlock(xp_region(), rwlock));
}

static void check(void)
{
	int ret = lshm_rwlock_read(xp_region(), rwlock, LSHM_NOW);

	XP_TRUE(ret == 0 ? !ghost->torn : ret == -EOWNERDEAD);
	if (ret == 0)
		XP_EQ(0, lshm_rwlock_unlock(xp_region(), rwlock));
	XP_EQ(ret ? LSHM_OWNER_DIED : 0,
	    lshm_rwlock_write(xp_region(), rwlock, LSHM_NOW));
	XP_EQ(0, lshm_rwlock_unlock(xp_region(), rwlock));
	XP_EQ(0, rwlock->writer.word);
	for (uint32_t i = 0; i < LSHM_READERS_MAX; i++)
		XP_EQ(0, rwlock->readers[i]);
}

static uint64_t open_door(uint64_t writer)
{
	return 0;
}

static const struct xp_seed seeds[] = {
    XP_SEED("entering is no barrier", "enter", "entry", XP_WEAKEN),
    XP_SEED(
	"shutting the door is no barrier", "quick_lock", "&m->word", XP_WEAKEN),
    XP_SEED("a reader does not look at the door", "come_in", "&l->writer.word",
	XP_ALTER, .alter = open_door),
    XP_SEED("leaving is no barrier", "leave", "a->entry", XP_WEAKEN),
    XP_SEED("writing is not noted", "lshm_rwlock_write", "&rwlock->writing",
	XP_SKIP),
    XP_SEED("the door is opened before writing is 0", "lshm_rwlock_unlock",
	"&rwlock->writing", XP_DELAY, .stores = 2),
    XP_SEED("no wake", "kernel", "wake", XP_SKIP),
    {0},
};

XP_SCENARIO(rwlock_two) = {
    .name = "rwlock-two",
    .what = "one reads, one writes; one may die anywhere",
    .threads = 2,
    .setup = setup,
    .run = {read_it, write_it},
    .check = check,
    .seeds = seeds,
};

static const struct xp_seed seeds_writers[] = {
    XP_SEED("writing is not noted", "lshm_rwlock_write", "&rwlock->writing",
	XP_SKIP),
    {0},
};

XP_SCENARIO(rwlock_writers) = {
    .name = "rwlock-writers",
    .what = "two write; one may die anywhere",
    .threads = 2,
    .setup = setup,
    .run = {write_it, write_it},
    .check = check,
    .seeds = seeds_writers,
};

static const struct xp_seed seeds_three[] = {
    XP_SEED("entering is no barrier", "enter", "entry", XP_WEAKEN),
    XP_SEED("no wake", "kernel", "wake", XP_SKIP),
    {0},
};

XP_SCENARIO(rwlock_readers) = {
    .name = "rwlock-readers",
    .what = "two read, one writes",
    .threads = 3,
    .bounds = {.buffer = 2},
    .full = {.preemptions = 3, .deaths = 1, .buffer = 2},
    .setup = setup,
    .run = {read_it, read_it, write_it},
    .check = check,
    .seeds = seeds_three,
};

XP_SCENARIO(rwlock_three) = {
    .name = "rwlock-three",
    .what = "one reads, two write",
    .threads = 3,
    .bounds = {.buffer = 2},
    .full = {.preemptions = 3, .deaths = 1, .buffer = 2},
    .setup = setup,
    .run = {read_it, write_it, write_it},
    .check = check,
    .seeds = seeds_three,
};

/* Who gives up opens the door to those who sleep there. */
static const struct xp_seed seeds_try[] = {
    XP_SEED("opening the door is no barrier", "lshmi_unlock", "&m->word",
	XP_WEAKEN),
    XP_SEED("no wake", "kernel", "wake", XP_SKIP),
    {0},
};

XP_SCENARIO(rwlock_try) = {
    .name = "rwlock-try",
    .what = "two read, one writes if it can at once",
    .threads = 3,
    .bounds = {.buffer = 2},
    .full = {.preemptions = 3, .deaths = 1, .buffer = 2},
    .setup = setup,
    .run = {read_it, try_to_write, read_it},
    .check = check,
    .seeds = seeds_try,
};

/* ---- somebody died with it before ---- */

static void setup_dead_reader(void)
{
	setup();
	xp_as(DEAD_ONE);
	XP_EQ(0, lshm_rwlock_read(xp_open(), rwlock, LSHM_NOW));
	xp_kill(DEAD_ONE);
}

static void setup_dead_writer(void)
{
	setup();
	xp_as(DEAD_ONE);
	XP_EQ(0, lshm_rwlock_write(xp_open(), rwlock, LSHM_NOW));
	ghost->torn = true;
	xp_kill(DEAD_ONE);
}

XP_SCENARIO(rwlock_dead_reader) = {
    .name = "rwlock-dead-reader",
    .what = "one reads, one writes, and a dead one is inside",
    .threads = 2,
    .participants = 4,
    .naps = true,
    .setup = setup_dead_reader,
    .run = {read_it, write_it},
    .check = check,
    .seeds = seeds_writers,
};

static const struct xp_seed seeds_dead_writer[] = {
    XP_SEED("writing is not noted", "lshm_rwlock_write", "&rwlock->writing",
	XP_SKIP),
    XP_SEED("taking over is a plain store", "take_over", "&m->word", XP_BLIND),
    {0},
};

XP_SCENARIO(rwlock_dead_writer) = {
    .name = "rwlock-dead-writer",
    .what = "one reads, one writes, after a dead writer",
    .threads = 2,
    .bounds = {.deaths = 1, .timeouts = 1, .buffer = 4},
    .full = {.deaths = 2, .timeouts = 2, .buffer = 6},
    .participants = 4,
    .naps = true,
    .setup = setup_dead_writer,
    .run = {read_it, write_it},
    .check = check,
    .seeds = seeds_dead_writer,
};
