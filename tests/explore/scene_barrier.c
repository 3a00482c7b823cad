/* SPDX-License-Identifier: MIT */
/*
 * scene_barrier.c - the barrier: no phase ends before all living members have
 * arrived, and a death is told to all
 */
#include "explore.h"

#define DEAD_ONE (XP_JUDGE + 1) /* setup() may have one die */

static struct ghost {
	uint32_t members;	/* a bit for each */
	uint32_t since[XP_ALL]; /* the phase in which it has joined */
	bool told[XP_ALL];	/* of a death, at least once */
	uint32_t came[4];	/* to each phase */
} * ghost;

static struct lshm_barrier *barrier;

static uint32_t phase(void)
{
	return (uint32_t)(lshmi_load_seq(&barrier->phase) >> 2);
}

static void join(void)
{
	XP_EQ(0, lshm_barrier_join(xp_region(), barrier));
	ghost->since[xp_self] = phase();
	ghost->members |= 1u << xp_self;
}

static void leave(void)
{
	ghost->members &= ~(1u << xp_self);
	XP_EQ(0, lshm_barrier_leave(xp_region(), barrier));
}

/* A is a member; or all are. */
static void setup_one(void)
{
	xp_open_all();
	barrier = lshm_alloc(xp_region(), sizeof(*barrier));
	XP_TRUE(barrier);
	memset(barrier, 0, sizeof(*barrier));
	xp_name(barrier->members, sizeof(barrier->members), 8, "member");
	xp_name(barrier, sizeof(*barrier), sizeof(*barrier), "barrier");
	ghost = xp_ghost(sizeof(*ghost));
	xp_as(0);
	join();
}

static void setup(void)
{
	setup_one();
	for (uint32_t i = 1; i < XP_THREADS && xp_region_of(i); i++) {
		xp_as(i);
		join();
	}
}

/* Of those that were members from the beginning of a phase, who lives came. */
static void check_phase(uint32_t n)
{
	for (uint32_t i = 0; i < XP_ALL; i++) {
		if (!(ghost->members >> i & 1) || ghost->since[i] > n ||
		    (ghost->came[n] >> i & 1))
			continue;
		if (!xp_dead(i))
			XP_FAIL("phase %u ends without %c", n, (char)('A' + i));
		if (ghost->since[i] == 0 && !ghost->told[xp_self])
			XP_FAIL("%c is not told of the death of %c",
			    (char)('A' + xp_self), (char)('A' + i));
	}
}

/* To its @n-th phase. */
static int arrive(uint32_t n, int64_t deadline)
{
	int ret;

	ghost->came[n] |= 1u << xp_self;
	ret = lshm_barrier_wait(xp_region(), barrier, deadline);
	if (ret < 0) {
		XP_EQ(-EAGAIN, ret);
		ghost->came[n] &= ~(1u << xp_self);
	} else {
		XP_TRUE(ret == 0 || xp_deaths() || xp_dead(DEAD_ONE));
		ghost->told[xp_self] |= ret == LSHM_OWNER_DIED;
		check_phase(n);
	}
	return ret;
}

static void arrive_and_stay(void)
{
	XP_TRUE(arrive(0, LSHM_FOREVER) >= 0);
}

static void arrive_once(void)
{
	arrive_and_stay();
	leave();
}

static void arrive_twice(void)
{
	XP_TRUE(arrive(0, LSHM_FOREVER) >= 0);
	XP_TRUE(arrive(1, LSHM_FOREVER) >= 0);
	leave();
}

/* All have left, or are dead: whoever comes is alone in the end. */
static void check(void)
{
	XP_EQ(0, lshm_barrier_join(xp_region(), barrier));
	for (int i = 0; i < 2; i++)
		XP_TRUE(lshm_barrier_wait(xp_region(), barrier, LSHM_NOW) >= 0);
	XP_EQ(0, lshm_barrier_wait(xp_region(), barrier, LSHM_NOW));
	XP_EQ(0, lshm_barrier_leave(xp_region(), barrier));
	for (uint32_t i = 0; i < LSHM_MEMBERS_MAX; i++)
		XP_EQ(0, barrier->members[i]);
}

static const struct xp_seed seeds[] = {
    XP_SEED("counting the sleep is no barrier", "lshmi_await", "&q->sleeps",
	XP_WEAKEN),
    XP_SEED("nobody is told", "bury", "&a->barrier->phase", XP_SKIP),
    XP_SEED("no wake", "kernel", "wake", XP_SKIP),
    {0},
};

XP_SCENARIO(barrier_two) = {
    .name = "barrier-two",
    .what = "two members pass two phases; one may die anywhere",
    .threads = 2,
    .setup = setup,
    .run = {arrive_twice, arrive_twice},
    .check = check,
    .seeds = seeds,
};

/* Nobody leaves, which would wake all. */
static const struct xp_seed seeds_three[] = {
    XP_SEED("no wake", "kernel", "wake", XP_SKIP),
    {0},
};

XP_SCENARIO(barrier_three) = {
    .name = "barrier-three",
    .what = "three members pass a phase, and stay",
    .threads = 3,
    .bounds = {.buffer = 2},
    .full = {.preemptions = 3, .deaths = 1, .buffer = 2},
    .setup = setup,
    .run = {arrive_and_stay, arrive_and_stay, arrive_and_stay},
    .seeds = seeds_three,
};

/* ---- who joins, leaves or withdraws changes what is waited for ---- */

/* As if nothing had been added; what is loaded there has it cut off. */
static uint64_t not_counted(uint64_t word)
{
	return word - (UINT64_C(1) << 34);
}

/* Impatient at first. */
static void withdraw(void)
{
	if (arrive(0, LSHM_NOW) < 0) {
		XP_STEP("withdrawn");
		XP_TRUE(arrive(0, LSHM_FOREVER) >= 0);
	}
	leave();
}

static const struct xp_seed seeds_withdraw[] = {
    XP_SEED("withdrawing does not change the phase word", "lshm_barrier_wait",
	"&barrier->phase", XP_ALTER, .alter = not_counted),
    XP_SEED("a phase ends on an old look", "pass", "&b->phase", XP_BLIND),
    {0},
};

XP_SCENARIO(barrier_withdraw) = {
    .name = "barrier-withdraw",
    .what = "one takes its arrival back and comes again; one may die",
    .threads = 2,
    .setup = setup,
    .run = {withdraw, arrive_once},
    .check = check,
    .seeds = seeds_withdraw,
};

/* From when it has joined, no phase ends without it. */
static void join_and_arrive(void)
{
	uint32_t now;

	join();
	now = ghost->since[xp_self];
	XP_STEP("joined");
	XP_EQ(now, phase());
	XP_TRUE(arrive(now, LSHM_FOREVER) >= 0);
	leave();
}

static const struct xp_seed seeds_join[] = {
    XP_SEED("joining does not change the phase word", "lshm_barrier_join",
	"&barrier->phase", XP_ALTER, .alter = not_counted),
    XP_SEED("joining changes the phase word first", "lshm_barrier_join",
	"member", XP_DELAY),
    XP_SEED("a phase ends on an old look", "pass", "&b->phase", XP_BLIND),
    {0},
};

XP_SCENARIO(barrier_join) = {
    .name = "barrier-join",
    .what = "one passes and leaves, one joins and passes; one may die",
    .threads = 2,
    .setup = setup_one,
    .run = {arrive_once, join_and_arrive},
    .check = check,
    .seeds = seeds_join,
};

static const struct xp_seed seeds_leave[] = {
    XP_SEED(
	"leaving is no barrier", "lshm_barrier_leave", "a.member", XP_WEAKEN),
    XP_SEED("no wake", "kernel", "wake", XP_SKIP),
    {0},
};

XP_SCENARIO(barrier_leave) = {
    .name = "barrier-leave",
    .what = "one arrives, one leaves; one may die",
    .threads = 2,
    .setup = setup,
    .run = {arrive_once, leave},
    .check = check,
    .seeds = seeds_leave,
};

/* ---- one was dead before ---- */

static void setup_dead(void)
{
	setup();
	xp_as(DEAD_ONE);
	xp_open();
	join();
	xp_kill(DEAD_ONE);
}

static const struct xp_seed seeds_dead[] = {
    XP_SEED("the dead is taken out before that is noted", "bury",
	"&a->barrier->phase", XP_DELAY),
    {0},
};

XP_SCENARIO(barrier_dead) = {
    .name = "barrier-dead",
    .what = "two pass a phase in which one is missing; one may die",
    .threads = 2,
    .participants = 4,
    .naps = true,
    .setup = setup_dead,
    .run = {arrive_once, arrive_once},
    .check = check,
    .seeds = seeds_dead,
};
