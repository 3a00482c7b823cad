/* SPDX-License-Identifier: MIT */
/*
 * scene_slot.c - the table of participants: moving in, leaving, reaping
 *
 * Whoever has moved in takes a lane, which a sweep that is not meant for it
 * would take away. The dead one had a block of the heap.
 */
#include "explore.h"

static struct ghost {
	bool there[XP_ALL]; /* it has moved in */
	bool left[XP_ALL];  /* it has moved out */
	uint64_t lane[XP_ALL];
	int reaped; /* how many, as told */
} * ghost;

/* With a handle, but not in the table. */
static void outside(uint32_t thread)
{
	xp_as(thread);
	lshmi_participant_detach(xp_open());
}

static void take_lane(void)
{
	uint32_t i = xp_self;
	struct lshmi_lane *lane = lshmi_lane(xp_region());

	if (!lane)
		XP_FAIL("%c has no lane: %s", (char)('A' + i), lshm_error());
	ghost->lane[i] = lane->lockword;
	ghost->there[i] = true;
	for (uint32_t k = 0; k < XP_ALL; k++)
		if (k != i && !xp_dead(k) && ghost->there[k] &&
		    (ghost->lane[k] & 0x1ffff) == (ghost->lane[i] & 0x1ffff))
			XP_FAIL("%c and %c have the same lane", (char)('A' + i),
			    (char)('A' + k));
}

static void inside(uint32_t thread)
{
	xp_as(thread);
	xp_open();
	take_lane();
}

static void move_in(void)
{
	bool room = ghost->left[0] || xp_region()->max_participants > 2;
	int ret = lshmi_participant_attach(xp_region());

	if (ret == -EUSERS && !room)
		return; /* the other one was still there */
	if (ret < 0)
		XP_FAIL("%c cannot attach: %s", (char)('A' + xp_self),
		    lshm_error());
	for (uint32_t k = 0; k < XP_THREADS; k++)
		if (ghost->there[k] && !xp_dead(k) &&
		    xp_region_of(k)->slot == xp_region()->slot)
			XP_FAIL("%c and %c have the same slot",
			    (char)('A' + xp_self), (char)('A' + k));
	take_lane();
}

static void move_out(void)
{
	ghost->there[xp_self] = false;
	lshmi_participant_detach(xp_region());
	ghost->left[xp_self] = true;
}

static void reap(void)
{
	int ret = lshm_region_reap(xp_region());

	XP_TRUE(ret >= 0);
	ghost->reaped += ret;
}

static void check(void)
{
	struct lshm_region *r = xp_region();
	struct lshm_heap_info info;
	uint32_t living = 0;

	for (uint32_t i = 0; i < 8; i++)
		reap();
	for (uint32_t i = 0; i < XP_THREADS; i++) {
		struct lshm_region *of = xp_region_of(i);
		uint32_t lane = (uint32_t)(ghost->lane[i] >> 1 & 0xffff) - 1;

		if (!ghost->there[i] || xp_dead(i))
			continue;
		living++;
		XP_TRUE(lshmi_participant_active(r, of->slot, of->generation));
		XP_EQ((ghost->lane[i] >> 17) << 16 | (of->slot + 1),
		    lshmi_load_seq(&r->lanes[lane].word));
	}
	for (uint32_t i = 0; i < r->max_participants; i++) {
		uint64_t w = lshmi_load_seq(&r->slots[i].word);

		XP_TRUE((w & 3) != LSHMI_SLOT_REAPING);
		if ((w & 3) == LSHMI_SLOT_ACTIVE && i != r->slot)
			XP_TRUE(living-- > 0);
	}
	XP_EQ(0, living);
	XP_EQ(0, lshm_heap_stat(r, &info));
	XP_EQ(0, info.draft_blocks);
	/* Each death is told once. */
	XP_TRUE(ghost->reaped <= (int)xp_deaths() + 1);
}

/* The judge, and one who will be dead: kill() at the end of each setup. */
static void begin(void)
{
	ghost = xp_ghost(sizeof(*ghost));
	xp_as(XP_JUDGE);
	XP_TRUE(lshmi_lane(xp_open()));
	xp_as(XP_JUDGE + 1);
	XP_TRUE(lshm_alloc(xp_open(), 16384));
}

static void end(void)
{
	xp_kill(XP_JUDGE + 1);
}

#define SLOTS .check = check

/* -- two newcomers --------------------------------------------------------- */

static void setup_newcomers(void)
{
	begin();
	outside(0);
	outside(1);
	end();
}

static const struct xp_seed seeds_newcomers[] = {
    XP_SEED("moving in is a plain store", "move_in", "&s->word", XP_BLIND),
    {0},
};

XP_SCENARIO(slot_newcomers) = {
    .name = "slot-newcomers",
    .what = "two newcomers, one free slot and one of a dead participant",
    .threads = 2,
    .full = {.deaths = 2, .buffer = 6},
    .participants = 3,
    SLOTS,
    .setup = setup_newcomers,
    .run = {move_in, move_in},
    .seeds = seeds_newcomers,
};

/* -- two reapers ----------------------------------------------------------- */

static void setup_reapers(void)
{
	begin();
	inside(0);
	inside(1);
	end();
}

static const struct xp_seed seeds_reapers[] = {
    XP_SEED("to become the reaper is a plain store", "lshmi_reap",
	"&r->slots[slot].word", XP_BLIND),
    {0},
};

XP_SCENARIO(slot_reapers) = {
    .name = "slot-reapers",
    .what = "two reap one dead participant, and may die of it",
    .threads = 2,
    .full = {.deaths = 2, .buffer = 6},
    .participants = 4,
    SLOTS,
    .setup = setup_reapers,
    .run = {reap, reap},
    .seeds = seeds_reapers,
};

/* -- a reaper and a newcomer ----------------------------------------------- */

static void setup_reaper_newcomer(void)
{
	begin();
	outside(1);
	inside(0);
	end();
}

XP_SCENARIO(slot_full) = {
    .name = "slot-full",
    .what = "one reaps the dead one whose slot the other needs",
    .threads = 2,
    .full = {.deaths = 2, .buffer = 6},
    .participants = 3,
    SLOTS,
    .setup = setup_reaper_newcomer,
    .run = {reap, move_in},
    .seeds = seeds_reapers,
};

/* -- leaving --------------------------------------------------------------- */

static void setup_leaving(void)
{
	ghost = xp_ghost(sizeof(*ghost));
	xp_as(XP_JUDGE);
	XP_TRUE(lshmi_lane(xp_open()));
	outside(1);
	inside(0);
	XP_TRUE(lshm_alloc(xp_region(), 16384));
}

static uint64_t free_at_once(uint64_t word)
{
	return (word & 3) == LSHMI_SLOT_REAPING ? word >> 32 << 32 : word;
}

static const struct xp_seed seeds_leaving[] = {
    XP_SEED("the slot is free before it is swept", "lshmi_participant_detach",
	"&s->word", XP_ALTER, .alter = free_at_once),
    {0},
};

XP_SCENARIO(slot_leaving) = {
    .name = "slot-leaving",
    .what = "one leaves; the other needs its slot",
    .threads = 2,
    .full = {.deaths = 2, .buffer = 6},
    .participants = 2,
    SLOTS,
    .setup = setup_leaving,
    .run = {move_out, move_in},
    .seeds = seeds_leaving,
};

/* -- a stale reaper -------------------------------------------------------- */

static void setup_stale(void)
{
	begin();
	outside(2);
	inside(0);
	inside(1);
	end();
}

XP_SCENARIO(slot_stale) = {
    .name = "slot-stale",
    .what = "two reapers of a dead participant, and who moves in after it",
    .threads = 3,
    .bounds = {.preemptions = 2, .deaths = 1, .buffer = 2},
    .full = {.preemptions = 3, .deaths = 1, .buffer = 4},
    .participants = 4,
    SLOTS,
    .setup = setup_stale,
    .run = {reap, reap, move_in},
    .seeds = seeds_reapers,
};
