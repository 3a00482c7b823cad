/* SPDX-License-Identifier: MIT */
/*
 * trial.c - one run of an operation; see trial.h
 *
 *   survivor                      child             rescuer        other
 *   fresh region
 *   prepare()
 *                                 attach, begin()
 *                                                   (attach)
 *                                                                  sleeps
 *   meanwhile()
 *                                 run() ... killed
 *                                                   rescue() ... killed
 *                                                                  goes on
 *   check(), and the books                                         returns
 *
 * A rescuer attaches at one of two times: before the first death, or, stepped,
 * after it, which is a rescue too.
 */
#include "trial.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tracee.h"

/* What the heap holds, and who takes part. */
struct books {
	uint64_t attached_blocks;
	uint64_t attached_bytes;
	uint32_t participants;
	uint32_t lanes;
};

/* This process's part in the run. */
static struct {
	const struct trial_plan *plan;
	const struct lshm_testing_operation *operation;
	int socket; /* child, rescuer, other: to get the region through */
	pid_t other;
	bool other_joined;
	struct books books;
	uint64_t sp; /* of the one that is stepped, at its begin */
} here;

static volatile int place;

void lshm_testing_fail(const char *format, ...)
{
	va_list arguments;

	fflush(stdout);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	fflush(stderr);
	_exit(EXIT_FAILURE);
}

/* ---- the books ---- */

static void same(const char *what, uint64_t expected, uint64_t seen)
{
	if (expected != seen)
		lshm_testing_fail("the books do not balance: expected %llu "
				  "%s, found %llu",
		    (unsigned long long)expected, what,
		    (unsigned long long)seen);
}

static struct books take_books(struct lshm_region *region)
{
	struct lshm_region_info info;
	struct lshm_heap_info heap;

	LSHM_TESTING_EXPECT(lshm_region_reap(region) >= 0);
	LSHM_TESTING_EXPECT(lshm_region_stat(region, &info) == 0);
	LSHM_TESTING_EXPECT(lshm_heap_stat(region, &heap) == 0);
	same("dead participants", 0, info.dead);
	same("drafts", 0, heap.draft_blocks);
	same("bytes of the heap", heap.total_bytes,
	    heap.free_bytes + heap.slab_bytes + heap.run_bytes);
	return (struct books){
	    .attached_blocks = heap.attached_blocks,
	    .attached_bytes = heap.attached_bytes,
	    .participants = info.participants,
	    .lanes = info.lanes,
	};
}

void lshm_testing_keep(struct lshm_region *region)
{
	here.books = take_books(region);
}

static void compare_books(struct lshm_region *region)
{
	struct books now = take_books(region);

	same(
	    "attached blocks", here.books.attached_blocks, now.attached_blocks);
	same("attached bytes", here.books.attached_bytes, now.attached_bytes);
	same("participants", here.books.participants, now.participants);
	same("lanes", here.books.lanes, now.lanes);
}

/* ---- processes ---- */

static bool is_named(void)
{
	return strncmp(here.plan->region_name, "memfd:", 6) != 0;
}

int lshm_testing_attach(struct lshm_region **out)
{
	if (is_named())
		return lshm_region_open(out, here.plan->region_name, 0, NULL);
	return lshm_region_receive(out, here.socket, 0, NULL);
}

static struct lshm_region *attach(void)
{
	struct lshm_region *region;

	LSHM_TESTING_EXPECT(lshm_testing_attach(&region) == 0);
	return region;
}

static __attribute__((noinline)) void place_begin(void)
{
	place = 1;
}

static __attribute__((noinline)) void place_end(void)
{
	place = 2;
}

static __attribute__((noreturn)) void wait_for_death(void)
{
	place_end();
	for (;;)
		pause();
}

static void ready(void)
{
	if (tracee_ready() < 0)
		lshm_testing_fail("PTRACE_TRACEME: %m");
}

static void be_child(void)
{
	const struct lshm_testing_operation *op = here.operation;
	struct lshm_region *region =
	    op->flags & LSHM_TESTING_ATTACHES ? NULL : attach();

	if (op->begin)
		op->begin(region, op->arg);
	if (region && here.plan->first.how == LEG_LEARN)
		watch_protect(region, &here.plan->first.trace->pages);
	ready();
	place_begin();
	op->run(region, op->arg);
	wait_for_death();
}

static void be_rescuer(void)
{
	const struct lshm_testing_operation *op = here.operation;
	struct lshm_region *region = here.plan->late ? NULL : attach();

	if (region && here.plan->second.how == LEG_LEARN)
		watch_protect(region, &here.plan->second.trace->pages);
	ready();
	place_begin();
	if (!region)
		region = attach();
	if (op->rescue)
		op->rescue(region, op->arg);
	else
		lshm_region_reap(region);
	wait_for_death();
}

static void be_other(void)
{
	struct lshm_region *region = attach();

	here.operation->other(region, here.operation->arg);
	lshm_region_close(region);
	_exit(EXIT_SUCCESS);
}

static pid_t spawn(struct lshm_region *region, void (*body)(void))
{
	pid_t pid, parent = getpid();
	int sockets[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0)
		lshm_testing_fail("socketpair(): %m");
	fflush(NULL);
	pid = fork();
	if (pid < 0)
		lshm_testing_fail("fork(): %m");
	if (pid == 0) {
		close(sockets[0]);
		here.socket = sockets[1];
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(EXIT_FAILURE);
		body();
	}
	close(sockets[1]);
	if (!is_named())
		LSHM_TESTING_EXPECT(
		    lshm_region_send(region, sockets[0], 0) == 0);
	close(sockets[0]);
	return pid;
}

/* A line of /proc/PID/NAME, or nothing. */
static void read_proc(pid_t pid, const char *name, char *line, int capacity)
{
	char path[64];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	file = fopen(path, "re");
	if (!file || !fgets(line, capacity, file))
		line[0] = '\0';
	if (file)
		fclose(file);
}

/* Does it sleep on a futex? Where the kernel does not tell: does it sleep? */
static bool sleeps(pid_t pid)
{
	char line[512], *state;

	read_proc(pid, "stat", line, sizeof(line));
	state = strrchr(line, ')');
	if (!state || strncmp(state, ") S", 3) != 0)
		return false;
	read_proc(pid, "syscall", line, sizeof(line));
	return !line[0] || strtol(line, NULL, 10) == SYS_futex;
}

static void start_other(struct lshm_region *region)
{
	struct timespec pause = {0, 100000};
	int status;

	if (!here.operation->other)
		return;
	here.other = spawn(region, be_other);
	while (!sleeps(here.other)) {
		if (waitpid(here.other, &status, WNOHANG) != 0)
			lshm_testing_fail("other() did not wait for anything: "
					  "wait status 0x%x",
			    (unsigned int)status);
		nanosleep(&pause, NULL);
	}
	kill(here.other, SIGSTOP);
	waitpid(here.other, &status, WUNTRACED);
}

void lshm_testing_join(void)
{
	int status;

	if (!here.other || here.other_joined)
		return;
	here.other_joined = true;
	if (waitpid(here.other, &status, 0) != here.other || status != 0)
		lshm_testing_fail("other() did not go on: wait status 0x%x",
		    (unsigned int)status);
}

/* ---- a leg ---- */

static void check_alive(const struct tracee *t, uint64_t steps)
{
	if (!t->ended)
		return;
	if (WIFSIGNALED(t->status))
		lshm_testing_fail("it died by itself, of signal %d (%s), after "
				  "%llu instructions",
		    WTERMSIG(t->status), strsignal(WTERMSIG(t->status)),
		    (unsigned long long)steps);
	lshm_testing_fail("it ended by itself, with status %d, after %llu "
			  "instructions",
	    WEXITSTATUS(t->status), (unsigned long long)steps);
}

static uint64_t begin_pc(void)
{
	return (uintptr_t)place_begin;
}

static uint64_t end_pc(void)
{
	return (uintptr_t)place_end;
}

static uint32_t check_of(const struct tracee *t, const struct watch *w)
{
	uint64_t sum =
	    ((here.sp - t->sp) ^ w->digest) * UINT64_C(0x9e3779b97f4a7c15);

	return (uint32_t)(sum >> 32);
}

static void record(
    struct tracee *t, struct watch *w, struct trace_step *step, bool changed)
{
	step->pc = t->pc;
	step->check = check_of(t, w);
	step->flags = (changed ? TRACE_CHANGED : 0) |
		      (tracee_at_syscall(t) ? TRACE_SYSCALL : 0);
}

static unsigned int time_limit(void)
{
	return here.operation->timeout_s ? here.operation->timeout_s : 20;
}

static void watch_all(struct tracee *t, struct watch *w, struct trace *trace)
{
	uint64_t n = 0;

	record(t, w, &trace->steps[0], false);
	while (t->pc != end_pc()) {
		bool kernel = trace->steps[n].flags & TRACE_SYSCALL, changed;

		if (n == TRACE_MAX) {
			here.plan->news->too_long = true;
			_exit(EXIT_FAILURE);
		}
		if (n % 4096 == 0)
			alarm(time_limit());
		tracee_step(t);
		check_alive(t, n);
		changed = kernel && watch_kernel_changed(w);
		changed = watch_changed(w) || changed;
		record(t, w, &trace->steps[++n], changed);
	}
	trace->count = n;
}

/* To the instruction before which it shall die, or where it strays to. */
static void go_there(struct tracee *t, struct watch *w, const struct leg *leg)
{
	const struct trace_step *hit = &leg->trace->steps[leg->hit];
	const struct trace_step *step = &leg->trace->steps[leg->at];
	uint64_t times = t->pc == hit->pc;

	while (times < leg->times) {
		tracee_run_to(t, hit->pc, end_pc());
		check_alive(t, leg->at);
		if (t->pc == end_pc() && hit->pc != end_pc())
			break;
		times++;
	}
	for (uint64_t i = leg->hit; i < leg->at && t->pc != end_pc(); i++) {
		tracee_step(t);
		check_alive(t, i);
	}
	watch_kernel_changed(w);
	watch_changed(w);
	if (t->pc != step->pc || check_of(t, w) != step->check)
		here.plan->news->strayed = true;
}

/* One goes through its part, and is killed. Had it come to the end? */
static bool go_leg(
    struct tracee *t, const struct leg *leg, struct lshm_region *region)
{
	struct watch w;
	bool done;

	watch_open(&w, region);
	tracee_share_processor(t);
	here.sp = t->sp;
	switch (leg->how) {
	case LEG_LEARN:
	case LEG_GUESS:
		watch_begin(&w, NULL);
		tracee_run_to(t, end_pc(), end_pc());
		check_alive(t, 0);
		watch_learn(&w, &leg->trace->pages, leg->how == LEG_GUESS);
		break;
	case LEG_WATCH:
		watch_begin(&w, &leg->trace->pages);
		watch_all(t, &w, leg->trace);
		break;
	default:
		watch_begin(&w, &leg->trace->pages);
		go_there(t, &w, leg);
	}
	done = t->pc == end_pc();
	tracee_kill(t);
	watch_close(&w);
	return done;
}

/* A child stands still at its begin. */
static void adopt(struct tracee *t, pid_t pid)
{
	if (tracee_adopt(t, pid))
		tracee_run_to(t, begin_pc(), begin_pc());
	check_alive(t, 0);
}

/* ---- all of it ---- */

static struct lshm_region *create(void)
{
	static const struct lshm_region_opts defaults =
	    LSHM_REGION_OPTS(.size = UINT64_C(4) << 20, .max_size = UINT64_C(16)
								    << 20);
	const struct lshm_region_opts *opts = here.operation->region;
	struct lshm_region *region;
	void *block;

	LSHM_TESTING_EXPECT(
	    lshm_region_open(&region, here.plan->region_name,
		LSHM_CREATE | LSHM_EXCL, opts ? opts : &defaults) == 0);
	/* its lane comes now; a slab of large blocks is soon swept */
	block = lshm_alloc(region, 8000);
	LSHM_TESTING_EXPECT(lshm_free(region, block) == 0);
	return region;
}

void trial_run(const struct trial_plan *plan)
{
	const struct lshm_testing_operation *op = plan->operation;
	struct tracee child, rescuer;
	struct lshm_region *region;
	bool done;

	here.plan = plan;
	here.operation = op;
	alarm(time_limit());
	region = create();
	lshm_testing_keep(region);
	if (op->prepare)
		op->prepare(region, op->arg);
	adopt(&child, spawn(region, be_child));
	if (plan->second.how != LEG_NONE && !plan->late)
		adopt(&rescuer, spawn(region, be_rescuer));
	start_other(region);
	if (op->meanwhile)
		op->meanwhile(region, op->arg);
	done = go_leg(&child, &plan->first, region);
	if (plan->second.how != LEG_NONE) {
		if (plan->late)
			adopt(&rescuer, spawn(region, be_rescuer));
		go_leg(&rescuer, &plan->second, region);
	}
	alarm(time_limit());
	if (here.other)
		kill(here.other, SIGCONT);
	op->check(region, op->arg, done);
	lshm_testing_join();
	compare_books(region);
	lshm_region_close(region);
	_exit(EXIT_SUCCESS);
}
