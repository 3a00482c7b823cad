/* SPDX-License-Identifier: MIT */
/*
 * scene_mutex.c - the lock: one owner at a time, no lost wake-up, takeover
 */
#include "explore.h"

static struct ghost {
	uint32_t inside;  /* a bit for each thread */
	uint32_t died;	  /* how often OWNER_DIED was told */
	uint32_t corpses; /* owners that were dead before */
	uint32_t got;	  /* how often the lock was obtained */
} * ghost;

static struct lshm_mutex *mutex;

static void setup(void)
{
	xp_open_all();
	mutex = lshm_alloc(xp_region(), 16);
	XP_TRUE(mutex);
	memset(mutex, 0, sizeof(*mutex));
	xp_name(mutex, sizeof(*mutex), sizeof(*mutex), "mutex");
	ghost = xp_ghost(sizeof(*ghost));
}

static void use(void)
{
	int ret = lshm_mutex_lock(xp_region(), mutex, LSHM_FOREVER);

	XP_TRUE(ret >= 0);
	ghost->got++;
	for (uint32_t i = 0; i < XP_ALL; i++)
		if ((ghost->inside >> i & 1) && !xp_dead(i))
			XP_FAIL("two have the lock: %c and %c",
			    (char)('A' + xp_self), (char)('A' + i));
	if (ret == LSHM_OWNER_DIED) {
		ghost->died++;
		ghost->inside = 0;
	} else if (ghost->inside) {
		XP_FAIL("the owner died inside, and nobody is told");
	}
	ghost->inside |= 1u << xp_self;
	XP_STEP("inside");
	ghost->inside &= ~(1u << xp_self);
	if (xp_self == 0) /* as the library does with its own locks */
		lshmi_unlock(xp_region(), mutex);
	else
		XP_EQ(0, lshm_mutex_unlock(xp_region(), mutex));
}

static void check(void)
{
	int ret;

	for (uint32_t i = 0; i < XP_ALL; i++)
		XP_TRUE(!(ghost->inside >> i & 1) || xp_dead(i));
	if (xp_deaths() == 0)
		XP_EQ(ghost->corpses, ghost->died);
	ret = lshm_mutex_lock(xp_region(), mutex, lshm_deadline_ms(10000));
	XP_TRUE(ret >= 0);
	if (ghost->inside)
		XP_EQ(LSHM_OWNER_DIED, ret);
	XP_EQ(0, lshm_mutex_unlock(xp_region(), mutex));
}

static uint64_t no_waiters(uint64_t word)
{
	return word & ~UINT64_C(1);
}

static const struct xp_seed seeds[] = {
    XP_SEED("unlock is a plain load and store", "lshmi_unlock", "&m->word",
	XP_WEAKEN),
    XP_SEED("the fast unlock sees nobody asleep", "lshm_mutex_unlock",
	"&mutex->word", XP_BLIND),
    XP_SEED("no wake", "kernel", "wake", XP_SKIP),
    XP_SEED("lock is no compare-and-swap", "quick_lock", "&m->word", XP_BLIND),
    XP_SEED("waiters bit is lost", "lock_slow", "&m->word", XP_ALTER,
	.alter = no_waiters),
    {0},
};

XP_SCENARIO(mutex_two) = {
    .name = "mutex-two",
    .what = "two threads lock and unlock; one may die anywhere",
    .threads = 2,
    .setup = setup,
    .run = {use, use},
    .check = check,
    .seeds = seeds,
};

/* Who has slept keeps the waiters bit for the others. */
static const struct xp_seed seeds_three[] = {
    XP_SEED("unlock is a plain load and store", "lshmi_unlock", "&m->word",
	XP_WEAKEN),
    {0},
};

XP_SCENARIO(mutex_three) = {
    .name = "mutex-three",
    .what = "three threads lock and unlock; nobody dies",
    .threads = 3,
    .bounds = {.buffer = 2},
    .full = {.deaths = 1, .timeouts = 1, .buffer = 2},
    .setup = setup,
    .run = {use, use, use},
    .check = check,
    .seeds = seeds_three,
};

/* The owner was dead before. */
static void setup_dead(void)
{
	setup();
	xp_as(XP_JUDGE + 1);
	XP_EQ(0, lshm_mutex_lock(xp_open(), mutex, LSHM_NOW));
	xp_kill(XP_JUDGE + 1);
	ghost->inside = 1 << (XP_JUDGE + 1);
	ghost->corpses = 1;
}

static const struct xp_seed seeds_dead[] = {
    XP_SEED("takeover is a plain store", "take_over", "&m->word", XP_BLIND),
    {0},
};

XP_SCENARIO(mutex_dead) = {
    .name = "mutex-dead",
    .what = "two threads take a dead one's lock over; one may die doing so",
    .threads = 2,
    .participants = 4,
    .setup = setup_dead,
    .run = {use, use},
    .check = check,
    .seeds = seeds_dead,
};

XP_SCENARIO(mutex_dead_three) = {
    .name = "mutex-dead-three",
    .what = "three threads take a dead one's lock over",
    .threads = 3,
    .bounds = {.preemptions = 2, .buffer = 2},
    .full = {.preemptions = 3, .deaths = 1, .buffer = 4},
    .participants = 5,
    .setup = setup_dead,
    .run = {use, use, use},
    .check = check,
    .seeds = seeds_dead,
};
