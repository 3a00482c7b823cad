/* SPDX-License-Identifier: MIT */
/*
 * scene_sync.c - condition variables, semaphores, once
 */
#include "explore.h"

#define DEAD_ONE (XP_JUDGE + 1) /* setup() may have one die */

static struct shared {
	struct lshm_mutex mutex;
	struct lshm_cond cond;
	struct lshm_once once;
	lshmi_u64 word;
	struct lshm_semaphore semaphore;
	struct lshm_permit permits[2];
} * shared;

static struct ghost {
	uint32_t holders; /* a bit for each thread: of a permit, inside once */
	uint32_t begun, done;
} * ghost;

static void setup(void)
{
	xp_open_all();
	shared = lshm_alloc(xp_region(), sizeof(*shared));
	XP_TRUE(shared);
	memset(shared, 0, sizeof(*shared));
	xp_name(&shared->mutex, 8, 8, "mutex");
	xp_name(&shared->cond, sizeof(shared->cond), 16, "cond");
	xp_name(&shared->once, sizeof(shared->once), 16, "once");
	xp_name(&shared->word, 8, 8, "word");
	xp_name(&shared->semaphore, sizeof(shared->semaphore),
	    sizeof(shared->semaphore), "semaphore");
	xp_name(shared->permits, sizeof(shared->permits), 8, "permit");
	ghost = xp_ghost(sizeof(*ghost));
}

/* How many that live are in @holders? */
static uint32_t living(uint32_t holders)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < XP_ALL; i++)
		n += (holders >> i & 1) && !xp_dead(i);
	return n;
}

/* ---- condition variables ---- */

static void lock(void)
{
	XP_TRUE(
	    lshm_mutex_lock(xp_region(), &shared->mutex, LSHM_FOREVER) >= 0);
}

static void unlock(void)
{
	XP_EQ(0, lshm_mutex_unlock(xp_region(), &shared->mutex));
}

static void set_and_signal(void)
{
	lock();
	lshmi_store_relaxed(
	    &shared->word, lshmi_load_relaxed(&shared->word) + 1);
	unlock();
	XP_EQ(0, lshm_cond_signal(xp_region(), &shared->cond));
}

static void set_and_broadcast(void)
{
	lock();
	lshmi_store_relaxed(&shared->word, 2);
	unlock();
	XP_EQ(0, lshm_cond_broadcast(xp_region(), &shared->cond));
}

/* Takes one of what there is. */
static void await_word(void)
{
	lock();
	while (lshmi_load_relaxed(&shared->word) == 0)
		XP_TRUE(lshm_cond_wait(xp_region(), &shared->cond,
			    &shared->mutex, LSHM_FOREVER) >= 0);
	lshmi_store_relaxed(
	    &shared->word, lshmi_load_relaxed(&shared->word) - 1);
	unlock();
}

static void await_twice(void)
{
	await_word();
	await_word();
}

static const struct xp_seed seeds_cond[] = {
    XP_SEED("the mutex is let go of before the sleep is counted",
	"lshm_cond_wait", "&cond->waiters.sleeps", XP_DELAY),
    XP_SEED("asleep whatever the event is", "kernel", "wait", XP_BLIND),
    XP_SEED("no wake", "kernel", "wake", XP_SKIP),
    XP_SEED("the event is not raised", "lshmi_wake", "&q->event", XP_SKIP),
    {0},
};

XP_SCENARIO(cond_signal) = {
    .name = "cond-signal",
    .what = "one waits until the other has set a word; one may die",
    .threads = 2,
    .patient = true,
    .setup = setup,
    .run = {set_and_signal, await_word},
    .seeds = seeds_cond,
};

static const struct xp_seed seeds_broadcast[] = {
    XP_SEED("the mutex is let go of before the sleep is counted",
	"lshm_cond_wait", "&cond->waiters.sleeps", XP_DELAY),
    {0},
};

XP_SCENARIO(cond_broadcast) = {
    .name = "cond-broadcast",
    .what = "two wait for what a third one sets for both",
    .threads = 3,
    .bounds = {.buffer = 2},
    .full = {.preemptions = 3, .deaths = 1, .buffer = 2},
    .patient = true,
    .setup = setup,
    .run = {set_and_broadcast, await_word, await_word},
    .seeds = seeds_broadcast,
};

static uint64_t too_far(uint64_t rung)
{
	return rung + 1;
}

static const struct xp_seed seeds_signals[] = {
    XP_SEED("rung says too much", "lshmi_wake", "&q->rung", XP_ALTER,
	.alter = too_far),
    {0},
};

XP_SCENARIO(cond_signals) = {
    .name = "cond-signals",
    .what = "two signal, each once; a third waits for both",
    .threads = 3,
    .bounds = {.buffer = 2},
    .full = {.preemptions = 3, .deaths = 1, .buffer = 2},
    .patient = true,
    .setup = setup,
    .run = {set_and_signal, set_and_signal, await_twice},
    .seeds = seeds_signals,
};

/* ---- semaphores ---- */

static void setup_plain(void)
{
	setup();
	XP_EQ(
	    0, lshm_semaphore_init(xp_region(), &shared->semaphore, 1, false));
}

static void setup_tracked(void)
{
	uint32_t permits = xp_arg() ? *(const uint32_t *)xp_arg() : 1;

	setup();
	XP_EQ(0, lshm_semaphore_init(
		     xp_region(), &shared->semaphore, permits, true));
}

static void use_permit(void)
{
	struct lshm_semaphore *s = &shared->semaphore;
	uint32_t permits = s->total ? s->total : 1;
	int ret = lshm_semaphore_wait(xp_region(), s, LSHM_FOREVER);

	XP_TRUE(ret >= 0);
	if (ret == LSHM_OWNER_DIED)
		XP_TRUE(xp_deaths() || xp_dead(DEAD_ONE));
	ghost->holders |= 1u << xp_self;
	if (living(ghost->holders) > permits)
		XP_FAIL("more have a permit than there are");
	XP_STEP("with a permit");
	ghost->holders &= ~(1u << xp_self);
	XP_EQ(0, lshm_semaphore_post(xp_region(), s));
}

static void check_plain(void)
{
	uint64_t value;

	XP_EQ(0, lshm_semaphore_value(xp_region(), &shared->semaphore, &value));
	XP_TRUE(value == 1 || (value == 0 && xp_deaths()));
}

/* Those of the dead, too. */
static void check_tracked(void)
{
	struct lshm_semaphore *s = &shared->semaphore;
	uint64_t value;

	XP_EQ(0, lshm_semaphore_value(xp_region(), s, &value));
	XP_EQ(s->total, value);
	for (uint32_t i = 0; i < s->total; i++)
		XP_TRUE(lshm_semaphore_wait(xp_region(), s, LSHM_NOW) >= 0);
	XP_EQ(-EAGAIN, lshm_semaphore_wait(xp_region(), s, LSHM_NOW));
}

static const struct xp_seed seeds_plain[] = {
    XP_SEED(
	"posting is a plain load and store", "post_plain", "value", XP_WEAKEN),
    XP_SEED("taking is no compare-and-swap", "take_plain", "value", XP_BLIND),
    XP_SEED("no wake", "kernel", "wake", XP_SKIP),
    {0},
};

XP_SCENARIO(semaphore_plain) = {
    .name = "semaphore-plain",
    .what = "two take the one permit and post it; one may die",
    .threads = 2,
    .patient = true,
    .setup = setup_plain,
    .run = {use_permit, use_permit},
    .check = check_plain,
    .seeds = seeds_plain,
};

/* The first post may wake one of those who sleep; the second, the other. */
static void post_twice(void)
{
	XP_EQ(0, lshm_semaphore_post(xp_region(), &shared->semaphore));
	XP_EQ(0, lshm_semaphore_post(xp_region(), &shared->semaphore));
}

static void take_one(void)
{
	XP_EQ(0,
	    lshm_semaphore_wait(xp_region(), &shared->semaphore, LSHM_FOREVER));
}

XP_SCENARIO(semaphore_posts) = {
    .name = "semaphore-posts",
    .what = "one posts twice, two take a permit each",
    .threads = 3,
    .bounds = {.buffer = 2},
    .full = {.preemptions = 3, .deaths = 1, .buffer = 2},
    .patient = true,
    .setup = setup,
    .run = {post_twice, take_one, take_one},
    .seeds = seeds_signals,
};

static const struct xp_seed seeds_tracked[] = {
    XP_SEED(
	"posting is a plain store", "post_tracked", "permit(a, i)", XP_WEAKEN),
    XP_SEED("taking is no compare-and-swap", "take_tracked", "permit(a, i)",
	XP_BLIND),
    {0},
};

XP_SCENARIO(semaphore_tracked) = {
    .name = "semaphore-tracked",
    .what = "two take the one permit and post it, or die with it",
    .threads = 2,
    .setup = setup_tracked,
    .run = {use_permit, use_permit},
    .check = check_tracked,
    .seeds = seeds_tracked,
};

static const uint32_t two_permits = 2;

XP_SCENARIO(semaphore_three) = {
    .name = "semaphore-three",
    .what = "three take two permits and post them",
    .threads = 3,
    .bounds = {.buffer = 2},
    .full = {.preemptions = 3, .deaths = 1, .buffer = 2},
    .setup = setup_tracked,
    .run = {use_permit, use_permit, use_permit},
    .check = check_tracked,
    .arg = &two_permits,
    .seeds = seeds_tracked,
};

static void setup_dead(void)
{
	setup_tracked();
	xp_as(DEAD_ONE);
	XP_EQ(0, lshm_semaphore_wait(xp_open(), &shared->semaphore, LSHM_NOW));
	ghost->holders = 1u << DEAD_ONE;
	xp_kill(DEAD_ONE);
}

static const struct xp_seed seeds_dead[] = {
    XP_SEED("taking from the dead is no compare-and-swap", "take_tracked",
	"permit(a, i)", XP_BLIND),
    {0},
};

XP_SCENARIO(semaphore_dead) = {
    .name = "semaphore-dead",
    .what = "two take the permit of a dead one; one may die doing so",
    .threads = 2,
    .participants = 4,
    .naps = true,
    .setup = setup_dead,
    .run = {use_permit, use_permit},
    .check = check_tracked,
    .seeds = seeds_dead,
};

/* ---- once ---- */

static int init(void *arg, unsigned int earlier)
{
	XP_EQ(0, living(ghost->holders));
	XP_TRUE(!ghost->done);
	/* who was killed amid this has left the word set */
	if (lshmi_load_relaxed(&shared->word))
		XP_TRUE(earlier > 0);
	ghost->holders |= 1u << xp_self;
	lshmi_store_relaxed(&shared->word, 1);
	XP_STEP("doing it");
	lshmi_store_relaxed(&shared->word, 2);
	ghost->holders &= ~(1u << xp_self);
	return 0;
}

static void do_once(void)
{
	XP_EQ(0, lshm_once_run(
		     xp_region(), &shared->once, init, NULL, LSHM_FOREVER));
	XP_EQ(2, lshmi_load_relaxed(&shared->word));
	ghost->done = 1;
}

static void check_once(void)
{
	uint32_t attempts = shared->once.attempts;
	bool done = shared->once.done;

	XP_TRUE(attempts <= xp_deaths() + 1);
	XP_TRUE(!ghost->done || done);
	XP_EQ(
	    0, lshm_once_run(xp_region(), &shared->once, init, NULL, LSHM_NOW));
	XP_EQ(attempts + !done, shared->once.attempts);
	XP_EQ(2, shared->word);
}

static const struct xp_seed seeds_once[] = {
    XP_SEED(
	"the lock is no compare-and-swap", "lock_slow", "&m->word", XP_BLIND),
    XP_SEED("the attempt is counted too late", "lshm_once_run",
	"&once->attempts", XP_DELAY, .stores = 2),
    XP_SEED("it is never done", "lshm_once_run", "&once->done", XP_SKIP),
    {0},
};

XP_SCENARIO(once_two) = {
    .name = "once-two",
    .what = "two do it, or see it done; one may die",
    .threads = 2,
    .setup = setup,
    .run = {do_once, do_once},
    .check = check_once,
    .seeds = seeds_once,
};

static const struct xp_seed seeds_three[] = {
    XP_SEED("it is never done", "lshm_once_run", "&once->done", XP_SKIP),
    {0},
};

XP_SCENARIO(once_three) = {
    .name = "once-three",
    .what = "three do it, or see it done",
    .threads = 3,
    .bounds = {.buffer = 2},
    .full = {.preemptions = 3, .deaths = 1, .buffer = 2},
    .setup = setup,
    .run = {do_once, do_once, do_once},
    .check = check_once,
    .seeds = seeds_three,
};
