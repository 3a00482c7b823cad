/* SPDX-License-Identifier: MIT */
/*
 * step_harness.c - a sweep that cannot fail is worthless: each kind of mistake
 * must be caught
 */
#include "step.h"

#include <signal.h>

/* A sweep that must find something; these words are in what it says. */
#define CAUGHT(name, words, ...)                                         \
	static const struct step step_##name = {__VA_ARGS__};            \
	UT_TEST(name##_is_caught, UT_ONCE)                               \
	{                                                                \
		struct lshm_testing_result result;                       \
                                                                         \
		UT_TRUE(step_sweep(#name, &step_##name, true, &result)); \
		if (!strstr(result.message, words))                      \
			ut_fail(UT_AT("the message"),                    \
			    "expected \"%s\" in it, seen:\n%s", words,   \
			    result.message);                             \
		last = result;                                           \
	}

static struct lshm_testing_result last;

static volatile uint64_t *words(struct world *w)
{
	return w->shared->words;
}

/* ---- two words, of which one vouches for the other ---- */

static void write_right(struct world *w)
{
	words(w)[1] = 42;
	words(w)[0] = 1;
}

static void write_wrong(struct world *w)
{
	words(w)[0] = 1;
	words(w)[1] = 42;
}

static void finish_words(struct world *w)
{
	UT_TRUE(!words(w)[0] || words(w)[1] == 42);
	UT_TRUE(!w->done || words(w)[0]);
}

STEP(right_order, UT_EACH, .run = write_right, .finish = finish_words)
CAUGHT(wrong_order, "words(w)[1] == 42", .run = write_wrong,
    .finish = finish_words)

/* ---- recovery that must not be interrupted ---- */

/* Accounts 0 and 1; 2: a transfer goes on, and 3 and 4 are what they were. */
static void open_accounts(struct world *w)
{
	words(w)[0] = words(w)[1] = 100;
}

static void transfer(struct world *w)
{
	words(w)[3] = words(w)[0];
	words(w)[4] = words(w)[1];
	words(w)[2] = 1;
	words(w)[0] -= 10;
	words(w)[1] += 10;
	words(w)[2] = 0;
}

static void undo(struct world *w)
{
	if (!words(w)[2])
		return;
	words(w)[0] = words(w)[3];
	words(w)[1] = words(w)[4];
	words(w)[2] = 0;
}

/* Whoever comes after one who died in here believes that all is well. */
static void undo_wrong(struct world *w)
{
	if (!words(w)[2])
		return;
	words(w)[2] = 0;
	words(w)[0] = words(w)[3];
	words(w)[1] = words(w)[4];
}

static void check_accounts(struct world *w)
{
	UT_EQ(200, words(w)[0] + words(w)[1]);
	transfer(w);
	UT_EQ(200, words(w)[0] + words(w)[1]);
}

static void finish_accounts(struct world *w)
{
	undo(w);
	check_accounts(w);
}

static void finish_accounts_wrong(struct world *w)
{
	undo_wrong(w);
	check_accounts(w);
}

STEP(right_recovery, UT_ONCE, .prepare = open_accounts, .run = transfer,
    .rescue = undo, .finish = finish_accounts, .first_deaths = 20)
/* one death is not enough to see it */
STEP(wrong_recovery_after_one_death, UT_ONCE, .prepare = open_accounts,
    .run = transfer, .finish = finish_accounts_wrong,
    .first_deaths = STEP_ONE_DEATH)
CAUGHT(wrong_recovery, "200 == words(w)[0] + words(w)[1]",
    .prepare = open_accounts, .run = transfer, .rescue = undo_wrong,
    .finish = finish_accounts_wrong, .first_deaths = 20)

/* ---- what the sweep looks at by itself ---- */

static void leak(struct world *w)
{
	alloc_small(w);
	lock(w);
	attach(w);
	unlock(w);
}

static void finish_blind(struct world *w)
{
	w->books = CRASH_BOOKS(w->region);
}

CAUGHT(leak, "attached blocks", .run = leak, .finish = finish_blind)

static void finish_with_draft(struct world *w)
{
	alloc_small(w);
	w->books = (struct crash_books){0};
}

CAUGHT(draft_of_the_survivor, "drafts", .run = write_right,
    .finish = finish_with_draft)

static void hang(struct world *w)
{
	if (w->done)
		return;
	for (;;)
		pause();
}

CAUGHT(hanging_survivor, "it hangs", .run = write_right, .finish = hang,
    .timeout_s = 1)

static void segfault(struct world *w)
{
	raise(SIGSEGV);
}

CAUGHT(failing_operation, "died by itself", .run = segfault,
    .finish = finish_words)

/* The lock goes to nobody: the one who sleeps on it never gets it. */
static void lock_and_unlock(struct world *w)
{
	lock(w);
	unlock(w);
}

static void finish_keeping_lock(struct world *w)
{
	lock(w);
	lshm_testing_join();
}

CAUGHT(other_left_behind, "", .begin = lock, .other = lock_and_unlock,
    .run = unlock, .finish = finish_keeping_lock, .timeout_s = 2)

/* ---- what cannot be swept ---- */

static void nothing(struct lshm_region *region, void *arg)
{
}

static void nothing_wrong(struct lshm_region *region, void *arg, int done)
{
}

UT_TEST(bad_operations_are_refused, UT_ONCE)
{
	struct lshm_testing_operation op =
	    LSHM_TESTING_OPERATION(.run = nothing);
	struct lshm_testing_result result;

	UT_EQ(-EINVAL, lshm_testing_sweep(&op, &result)); /* no check() */
	op.check = nothing_wrong;
	op.flags = 1 << 5;
	UT_EQ(-EINVAL, lshm_testing_sweep(&op, &result));
	op.flags = 0;
	op.opts_size--;
	UT_EQ(-EINVAL, lshm_testing_sweep(&op, &result));
	op.opts_size++;
	UT_EQ(0, lshm_testing_sweep(&op, &result));
	UT_CMP(result.kills, >, 0);
	UT_EQ(1, result.states);
	setenv("LSHM_TEST_KILL", "100000", 1);
	UT_EQ(-EINVAL, lshm_testing_sweep(&op, &result));
}

/* ---- where it was ---- */

UT_TEST(failure_says_where, UT_ONCE)
{
	char command[512], line[256] = "";
	FILE *pipe;

	test_wrong_order_is_caught();
	UT_CMP(last.failed_at, >, 0);
	UT_CMP(last.failed_at, <=, last.instructions);
	snprintf(command, sizeof(command), "addr2line -e %s 0x%llx",
	    last.failed_file, (unsigned long long)last.failed_address);
	pipe = popen(command, "r");
	if (!pipe || !fgets(line, sizeof(line), pipe))
		ut_skip("there is no addr2line here");
	pclose(pipe);
	/* that file, or the one it was called from */
	UT_TRUE(strstr(line, "/step"));
}
