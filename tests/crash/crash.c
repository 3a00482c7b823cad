/* SPDX-License-Identifier: MIT */
/*
 * crash.c - what the crash tests share; see crash.h
 */
#include "crash.h"

#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>

#include <elf.h>

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

/*
 * The one in the kernel's vdso begins anew whenever the clock is adjusted while
 * it reads it, and stepped it reads it for longer than that takes.
 */
int clock_gettime(clockid_t clock, struct timespec *now)
{
	return (int)syscall(SYS_clock_gettime, clock, now);
}

void crash_mark(void)
{
	static bool traced;

	if (!traced && ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
		ut_fail(UT_AT("PTRACE_TRACEME"), "%m");
	traced = true;
	raise(SIGSTOP);
}

/* Is its next instruction a system call? Its code is a copy of ours. */
static bool at_system_call(pid_t pid)
{
#if defined(__x86_64__) || defined(__aarch64__)
	struct user_regs_struct registers;
	struct iovec io = {&registers, sizeof(registers)};
	uint32_t code;

	if (ptrace(PTRACE_GETREGSET, pid, NT_PRSTATUS, &io) < 0)
		ut_fail(UT_AT("PTRACE_GETREGSET"), "%m");
#if defined(__x86_64__)
	memcpy(&code, (const void *)registers.rip, 2);
	return (code & 0xffff) == 0x050f; /* syscall */
#else
	memcpy(&code, (const void *)registers.pc, 4);
	return code == 0xd4000001; /* svc #0 */
#endif
#else
	return false; /* then only changes of the region count */
#endif
}

/* Wait until it stands still: the signal that it stopped for. */
static int wait_stopped(struct ut_child *child)
{
	int status;

	if (waitpid(child->pid, &status, 0) != child->pid)
		ut_fail(UT_AT("waitpid()"), "%m");
	if (!WIFSTOPPED(status))
		ut_fail(UT_AT("stepping"),
		    "the child ended meanwhile: wait status 0x%x",
		    (unsigned int)status);
	return WSTOPSIG(status);
}

void crash_await_mark(struct ut_child *child)
{
	UT_EQ(SIGSTOP, wait_stopped(child));
	ptrace(PTRACE_SETOPTIONS, child->pid, NULL, PTRACE_O_EXITKILL);
}

bool crash_step(struct ut_child *child, crash_condition *condition, void *arg,
    uint64_t *steps)
{
	for (;;) {
		bool kernel = at_system_call(child->pid);
		int signal;

		if (ptrace(PTRACE_SINGLESTEP, child->pid, NULL, NULL) < 0)
			ut_fail(UT_AT("PTRACE_SINGLESTEP"), "%m");
		signal = wait_stopped(child);
		if (signal == SIGSTOP)
			return false;
		if (signal != SIGTRAP)
			ut_fail(UT_AT("stepping"), "the child got signal %d",
			    signal);
		if (steps)
			++*steps;
		if (condition(arg, kernel))
			return true;
	}
}

void crash_let_go(struct ut_child *child)
{
	ptrace(PTRACE_DETACH, child->pid, NULL, NULL);
}

void crash_leave_stopped(struct ut_child *child)
{
	siginfo_t info;

	ptrace(PTRACE_DETACH, child->pid, NULL, (void *)(intptr_t)SIGSTOP);
	if (waitid(P_PID, (id_t)child->pid, &info, WSTOPPED | WEXITED) < 0 ||
	    info.si_code != CLD_STOPPED)
		ut_fail(UT_AT("crash_leave_stopped()"), "it did not stop");
}
