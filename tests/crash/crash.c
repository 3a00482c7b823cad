/* SPDX-License-Identifier: MIT */
/*
 * crash.c - what the crash tests share; see crash.h
 */
#include "crash.h"

#include <signal.h>
#include <sys/wait.h>

#include "../../testing/tracee.h"

/* ---- what is in the region ---- */

static uint32_t find_slot(struct lshm_region *region, pid_t pid)
{
	struct lshm_participant_info info;

	for (uint32_t i = 0; lshm_region_participant(region, i, &info) == 0;
	     i++)
		if (info.state != LSHM_PARTICIPANT_FREE &&
		    (pid ? info.pid == (uint32_t)pid : info.self))
			return i;
	ut_fail(UT_AT("find_slot()"), "no participant has pid %d", (int)pid);
}

uint32_t crash_own_slot(struct lshm_region *region)
{
	return find_slot(region, 0);
}

uint32_t crash_slot_of(struct lshm_region *region, pid_t pid)
{
	return find_slot(region, pid);
}

/* ---- the books ---- */

static void same(
    struct ut_at at, const char *what, uint64_t expected, uint64_t seen)
{
	if (expected != seen)
		ut_fail(at, "expected %llu %s, seen %llu",
		    (unsigned long long)expected, what,
		    (unsigned long long)seen);
	ut_check(at, true);
}

struct crash_books crash_take_books(struct ut_at at, struct lshm_region *region)
{
	struct lshm_region_info info;
	struct lshm_heap_info heap;
	int ret = lshm_region_reap(region);

	ut_check_ok(at, ret < 0 ? ret : 0, 0);
	ut_check_ok(at, lshm_region_stat(region, &info), 0);
	ut_check_ok(at, lshm_heap_stat(region, &heap), 0);
	same(at, "dead participants", 0, info.dead);
	same(at, "drafts", 0, heap.draft_blocks);
	same(at, "bytes of the heap in all", heap.total_bytes,
	    heap.free_bytes + heap.slab_bytes + heap.run_bytes);
	return (struct crash_books){
	    .attached_blocks = heap.attached_blocks,
	    .attached_bytes = heap.attached_bytes,
	    .participants = info.participants,
	    .lanes = info.lanes,
	};
}

void crash_compare_books(struct ut_at at, struct lshm_region *region,
    const struct crash_books *expected)
{
	struct crash_books seen = crash_take_books(at, region);

	same(at, "participants", expected->participants, seen.participants);
	same(at, "lanes", expected->lanes, seen.lanes);
	same(at, "attached blocks", expected->attached_blocks,
	    seen.attached_blocks);
	same(at, "attached bytes", expected->attached_bytes,
	    seen.attached_bytes);
}

/* ---- messages and blocks ---- */

void crash_fill(void *block, size_t size, uint64_t value)
{
	uint64_t *words = block;

	for (size_t i = 0; i < size / 8; i++)
		words[i] = value + i;
}

uint64_t crash_check(struct ut_at at, const void *block, size_t size)
{
	const uint64_t *words = block;

	for (size_t i = 0; i < size / 8; i++)
		if (words[i] != words[0] + i)
			ut_fail(at, "word %zu of %zu: expected %llu, seen %llu",
			    i, size / 8, (unsigned long long)(words[0] + i),
			    (unsigned long long)words[i]);
	ut_check(at, true);
	return words[0];
}

/* ---- stepping ---- */

void crash_mark(void)
{
	static bool traced;

	if (traced)
		raise(SIGSTOP);
	else if (tracee_ready() < 0)
		ut_fail(UT_AT("tracee_ready()"), "%m");
	traced = true;
}

/* The children that are stepped now and then; few at a time. */
static struct tracee *tracee_of(const struct ut_child *child)
{
	static struct tracee tracees[8];

	for (size_t i = 0; i < UT_COUNT(tracees); i++)
		if (tracees[i].pid == child->pid)
			return &tracees[i];
	for (size_t i = 0; i < UT_COUNT(tracees); i++)
		if (tracees[i].pid == 0 || kill(tracees[i].pid, 0) < 0) {
			tracees[i].pid = 0;
			return &tracees[i];
		}
	ut_fail(UT_AT("stepping"), "too many children at a time");
}

static void ended(const struct tracee *t)
{
	if (t->ended)
		ut_fail(UT_AT("stepping"),
		    "the child ended meanwhile: wait status 0x%x",
		    (unsigned int)t->status);
}

void crash_await_mark(struct ut_child *child)
{
	struct tracee *t = tracee_of(child);

	tracee_adopt(t, child->pid);
	ended(t);
}

bool crash_step(struct ut_child *child, crash_condition *condition, void *arg)
{
	struct tracee *t = tracee_of(child);
	bool there;

	tracee_share_processor(t);
	do {
		there = tracee_step(t);
		ended(t);
	} while (there && !condition(arg));
	tracee_part(t);
	return there;
}

void crash_let_go(struct ut_child *child)
{
	tracee_release(tracee_of(child), 0);
	tracee_of(child)->pid = 0;
}

void crash_leave_stopped(struct ut_child *child)
{
	siginfo_t info;

	tracee_release(tracee_of(child), SIGSTOP);
	tracee_of(child)->pid = 0;
	if (waitid(P_PID, (id_t)child->pid, &info, WSTOPPED | WEXITED) < 0 ||
	    info.si_code != CLD_STOPPED)
		ut_fail(UT_AT("crash_leave_stopped()"), "it did not stop");
}
