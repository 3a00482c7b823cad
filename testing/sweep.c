/* SPDX-License-Identifier: MIT */
/*
 * sweep.c - which runs an operation has, and what they tell
 *
 * First without a death, twice: at full speed, which tells which pages are
 * written, and step by step, which tells at which instructions something
 * happens. Then a run for each death. To come to an instruction by stepping
 * takes as long as the first run did; instead a breakpoint is set at one that
 * is met shortly before and has not been met often, and the rest is stepped.
 * What is found there must be what the first run had found.
 */
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "trial.h"

#define SAMPLES	      16
#define FIRST_DEATHS  2
#define SECOND_DEATHS 16
#define NONE	      UINT32_MAX
#define FAILURES      5 /* are enough */
#define STOP_COST     3 /* a stop at a breakpoint costs so many steps */

struct shared {
	struct trial_news news;
	struct trace first;
	struct trace second;
};

struct sweep {
	const struct lshm_testing_operation *operation;
	struct lshm_testing_result *result;
	struct shared *shared;
	uint32_t *times; /* how often an instruction has been met, of a trace */
	uint64_t seed;
	bool hung;
};

/* splitmix64 */
static uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

/* ---- how to get to an instruction ---- */

/* For each step how often its address has been met by then, this one counts. */
static int count_times(struct sweep *s, const struct trace *trace)
{
	uint64_t room = 1024, slot;
	struct meeting {
		uint64_t pc;
		uint32_t times;
	} * table;

	while (room < 2 * trace->count + 2)
		room *= 2;
	table = calloc(room, sizeof(*table));
	free(s->times);
	s->times = calloc(trace->count + 1, sizeof(*s->times));
	if (!table || !s->times) {
		free(table);
		return -ENOMEM;
	}
	for (uint64_t i = 0; i <= trace->count; i++) {
		uint64_t pc = trace->steps[i].pc;

		slot = (pc * UINT64_C(0x9e3779b97f4a7c15)) >> 20 & (room - 1);
		while (table[slot].pc && table[slot].pc != pc)
			slot = (slot + 1) & (room - 1);
		table[slot].pc = pc;
		s->times[i] = ++table[slot].times;
	}
	free(table);
	return 0;
}

static struct leg kill_at(struct sweep *s, struct trace *trace, uint64_t at)
{
	struct leg leg = {.how = LEG_KILL, .trace = trace, .at = at};
	uint64_t best = UINT64_MAX;

	for (uint64_t i = at + 1; i-- > 0 && at - i < best;) {
		uint64_t cost = at - i;

		if (i) /* it stands at the first one anyway */
			cost += (uint64_t)s->times[i] * STOP_COST;
		if (cost >= best)
			continue;
		best = cost;
		leg.hit = i;
		leg.times = s->times[i];
	}
	return leg;
}

/* Is it a point to be killed at in any case? */
static bool is_point(const struct trace *trace, uint64_t i)
{
	return i == 0 || i == trace->count ||
	       trace->steps[i].flags & (TRACE_CHANGED | TRACE_SYSCALL) ||
	       trace->steps[i - 1].flags & TRACE_SYSCALL;
}

/* Does the region, or the kernel's state, differ from the step before? */
static bool is_change(const struct trace *trace, uint64_t i)
{
	return i == 0 || trace->steps[i].flags & TRACE_CHANGED;
}

/*
 * The @k-th of @n that are spread at random over the changes, or if @any over
 * all instructions. If there are fewer than @n: each in turn.
 */
static uint64_t random_point(struct sweep *s, const struct trace *trace,
    bool any, uint64_t k, uint64_t n)
{
	uint64_t points = 0, from, to, at = 0;

	for (uint64_t i = 0; i <= trace->count; i++)
		points += any || is_change(trace, i);
	from = points * k / n;
	to = points * (k + 1) / n;
	if (to <= from) {
		from = k % points;
		to = from + 1;
	}
	from += next_random(&s->seed) % (to - from);
	for (; !(any || is_change(trace, at)) || from-- > 0; at++)
		;
	return at;
}

/* ---- what went wrong ---- */

/* Where in its file a program's address lies. */
static int find_file(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct lshm_testing_result *r = arg;
	uint64_t pc = r->failed_address;

	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];
		uint64_t begin = info->dlpi_addr + p->p_vaddr;

		if (p->p_type != PT_LOAD || pc < begin ||
		    pc - begin >= p->p_memsz)
			continue;
		r->failed_address = pc - info->dlpi_addr;
		if (info->dlpi_name && *info->dlpi_name)
			snprintf(r->failed_file, sizeof(r->failed_file), "%s",
			    info->dlpi_name);
		else if (readlink("/proc/self/exe", r->failed_file,
			     sizeof(r->failed_file) - 1) < 0)
			r->failed_file[0] = '\0';
		return 1;
	}
	return 0;
}

static void locate(struct lshm_testing_result *r, uint64_t pc)
{
	Dl_info info;

	r->failed_address = pc;
	dl_iterate_phdr(find_file, r);
	if (dladdr((void *)(uintptr_t)pc, &info) && info.dli_sname)
		snprintf(r->failed_symbol, sizeof(r->failed_symbol),
		    "%s+0x%llx", info.dli_sname,
		    (unsigned long long)(pc - (uintptr_t)info.dli_saddr));
}

static void read_message(struct lshm_testing_result *r, int fd)
{
	ssize_t n = pread(fd, r->message, sizeof(r->message) - 1, 0);

	while (n > 0 && r->message[n - 1] == '\n')
		n--;
	r->message[n > 0 ? n : 0] = '\0';
}

static void describe(
    struct sweep *s, const struct trial_plan *plan, int status, int messages)
{
	struct lshm_testing_result *r = s->result;
	const struct leg *last =
	    plan->second.how == LEG_NONE ? &plan->first : &plan->second;

	if (r->failures++)
		return; /* the first one is told */
	r->failed_at = plan->first.how == LEG_KILL ? plan->first.at
						   : plan->first.trace->count;
	if (plan->second.how == LEG_KILL)
		r->failed_rescue = plan->second.at;
	r->failed_late = plan->late;
	read_message(r, messages);
	if (last->how == LEG_KILL)
		locate(r, last->trace->steps[last->at].pc);
	if (r->message[0])
		return;
	if (WIFSIGNALED(status))
		snprintf(r->message, sizeof(r->message), "%s",
		    s->hung ? "it hangs: killed when its time was up"
			    : strsignal(WTERMSIG(status)));
	else
		snprintf(r->message, sizeof(r->message),
		    "the survivor ended with status %d", WEXITSTATUS(status));
}

/* ---- runs ---- */

/*
 * What a run leaves behind if it is ended amid: children of it, and processes
 * that the operation's functions have started. They are in its process group,
 * and ours when it is gone.
 */
static void end_group(pid_t group)
{
	kill(-group, SIGKILL);
	while (waitpid(-group, NULL, 0) > 0 || errno == EINTR)
		;
}

/* True: nothing was wrong. */
static bool attempt(
    struct sweep *s, struct leg first, struct leg second, bool late, bool tell)
{
	struct trial_plan plan = {
	    .operation = s->operation,
	    .first = first,
	    .second = second,
	    .late = late,
	    .news = &s->shared->news,
	};
	const char *name = s->operation->region_name;
	int messages = memfd_create("messages", MFD_CLOEXEC), status = 0;
	pid_t pid, ended;

	snprintf(plan.region_name, sizeof(plan.region_name), "%s",
	    name ? name : "memfd:lshm-testing");
	memset(&s->shared->news, 0, sizeof(s->shared->news));
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		setpgid(0, 0);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(messages, STDERR_FILENO);
		trial_run(&plan);
	}
	do
		ended = waitpid(pid, &status, 0);
	while (ended < 0 && errno == EINTR);
	if (pid < 0 || ended != pid) /* not as it should: no verdict */
		status = EXIT_FAILURE << 8;
	else
		end_group(pid);
	if (strncmp(plan.region_name, "memfd:", 6) != 0)
		lshm_region_unlink(plan.region_name, LSHM_BACKEND_DEFAULT);
	s->hung = WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM;
	if (status && tell)
		describe(s, &plan, status, messages);
	close(messages);
	return status == 0;
}

static bool enough(const struct sweep *s)
{
	return s->hung || s->result->failures >= FAILURES;
}

static const struct leg no_rescuer = {.how = LEG_NONE};

/* By the short way; if it strayed, once more step by step. */
static void kill_child(
    struct sweep *s, struct leg first, struct leg second, bool late)
{
	struct leg *last = second.how == LEG_NONE ? &first : &second;

	attempt(s, first, second, late, true);
	s->result->kills++;
	s->result->second_kills += second.how != LEG_NONE;
	if (!s->shared->news.strayed || enough(s))
		return;
	s->result->strayed++;
	last->hit = 0;
	last->times = 1;
	attempt(s, first, second, late, true);
	s->result->kills++;
	s->result->second_kills += second.how != LEG_NONE;
}

/* The child's run, or the rescuer's: which pages, which instructions. */
static bool learn(struct sweep *s, struct leg first, bool rescuer, bool late)
{
	struct trace *trace = rescuer ? &s->shared->second : &s->shared->first;
	struct leg leg = {.how = LEG_LEARN, .trace = trace};
	bool guess =
	    rescuer ? late : s->operation->flags & LSHM_TESTING_ATTACHES;

	memset(&trace->pages, 0, sizeof(trace->pages));
	trace->count = 0;
	if (guess || !attempt(s, rescuer ? first : leg,
			 rescuer ? leg : no_rescuer, late, false)) {
		leg.how = LEG_GUESS;
		if (!attempt(s, rescuer ? first : leg,
			rescuer ? leg : no_rescuer, late, true))
			return false;
	}
	leg.how = LEG_WATCH;
	return attempt(
	    s, rescuer ? first : leg, rescuer ? leg : no_rescuer, late, true);
}

static void measure(struct sweep *s)
{
	const struct trace *trace = &s->shared->first;

	s->result->instructions = trace->count;
	s->result->states = 1;
	for (uint64_t i = 0; i <= trace->count; i++) {
		s->result->system_calls +=
		    (trace->steps[i].flags & TRACE_SYSCALL) != 0;
		s->result->states +=
		    (trace->steps[i].flags & TRACE_CHANGED) != 0;
	}
}

static void sweep_child(struct sweep *s)
{
	struct trace *trace = &s->shared->first;
	uint64_t samples =
	    s->operation->samples ? s->operation->samples : SAMPLES;

	for (uint64_t i = 0; i <= trace->count && !enough(s); i++)
		/* so many of those that are left, evenly at random */
		if (is_point(trace, i) ||
		    next_random(&s->seed) % (trace->count + 1) < samples)
			kill_child(s, kill_at(s, trace, i), no_rescuer, false);
}

static uint32_t or_default(uint32_t value, uint32_t otherwise)
{
	return value == NONE ? 0 : value ? value : otherwise;
}

static int sweep_rescuers(struct sweep *s)
{
	uint32_t n = or_default(s->operation->first_deaths, FIRST_DEATHS);
	uint32_t m = or_default(s->operation->second_deaths, SECOND_DEATHS);
	struct trace *trace = &s->shared->second;
	int ret;

	for (uint32_t i = 0; i < n && m && !enough(s); i++) {
		uint64_t at = random_point(s, &s->shared->first, false, i, n);
		/* whoever attaches rescues: not before the child does so */
		bool late = next_random(&s->seed) & 1 ||
			    s->operation->flags & LSHM_TESTING_ATTACHES;
		struct leg first;

		ret = count_times(s, &s->shared->first);
		if (ret < 0)
			return ret;
		first = kill_at(s, &s->shared->first, at);
		if (!learn(s, first, true, late))
			continue;
		if (trace->count > s->result->rescue_instructions)
			s->result->rescue_instructions = trace->count;
		ret = count_times(s, trace);
		if (ret < 0)
			return ret;
		for (uint32_t k = 0; k < m && !enough(s); k++) {
			at = random_point(s, trace, k % 2, k / 2, (m + 1) / 2);
			kill_child(s, first, kill_at(s, trace, at), late);
		}
	}
	return 0;
}

/* LSHM_TEST_KILL and LSHM_TEST_RESCUE: one run. */
static int sweep_one(struct sweep *s, const char *kill, const char *rescue)
{
	uint64_t at = strtoull(kill, NULL, 0);
	bool late = rescue && *rescue == 'l';
	struct leg first;
	int ret;

	if (at > s->shared->first.count)
		return -EINVAL;
	first = kill_at(s, &s->shared->first, at);
	if (!rescue) {
		kill_child(s, first, no_rescuer, false);
		return 0;
	}
	if (!learn(s, first, true, late))
		return 0;
	ret = count_times(s, &s->shared->second);
	at = strtoull(rescue + late, NULL, 0);
	if (ret < 0 || at > s->shared->second.count)
		return ret < 0 ? ret : -EINVAL;
	kill_child(s, first, kill_at(s, &s->shared->second, at), late);
	return 0;
}

static uint64_t choose_seed(void)
{
	const char *seed = getenv("LSHM_TEST_SEED");
	struct timespec now;

	if (seed)
		return strtoull(seed, NULL, 0);
	clock_gettime(CLOCK_REALTIME, &now);
	return ((uint64_t)now.tv_nsec ^ (uint64_t)now.tv_sec << 10) %
	       1000000000;
}

static int run_sweep(struct sweep *s)
{
	const char *kill = getenv("LSHM_TEST_KILL");
	int ret;

	if (!learn(s, no_rescuer, false, false))
		return s->shared->news.too_long ? -E2BIG : 0;
	measure(s);
	ret = count_times(s, &s->shared->first);
	if (ret < 0)
		return ret;
	if (kill)
		return sweep_one(s, kill, getenv("LSHM_TEST_RESCUE"));
	sweep_child(s);
	return sweep_rescuers(s);
}

int lshm_testing_sweep(const struct lshm_testing_operation *operation,
    struct lshm_testing_result *result)
{
	struct sweep s = {.operation = operation, .result = result};
	int ret, subreaper = 0;

	if (operation->opts_size != sizeof(*operation) || !operation->run ||
	    !operation->check || operation->flags & ~LSHM_TESTING_ATTACHES)
		return -EINVAL;
	memset(result, 0, sizeof(*result));
	result->seed = s.seed = choose_seed();
	s.shared = mmap(NULL, sizeof(*s.shared), PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (s.shared == MAP_FAILED)
		return -ENOMEM;
	prctl(PR_GET_CHILD_SUBREAPER, &subreaper);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	ret = run_sweep(&s);
	prctl(PR_SET_CHILD_SUBREAPER, subreaper);
	munmap(s.shared, sizeof(*s.shared));
	free(s.times);
	return ret < 0 ? ret : result->failures ? LSHM_TESTING_FAILED : 0;
}

/* ---- the report ---- */

static void report_failure(const struct lshm_testing_operation *operation,
    const struct lshm_testing_result *r)
{
	const char *name = operation->name ? operation->name : "operation";

	if (r->kills == 0) {
		fprintf(stderr,
		    "%s: fails although nobody has been killed:\n"
		    "  %s\n",
		    name, r->message);
		return;
	}
	fprintf(stderr, "%s: killed before instruction %llu of %llu", name,
	    (unsigned long long)r->failed_at,
	    (unsigned long long)r->instructions);
	if (r->failed_rescue || r->failed_late)
		fprintf(stderr, ", the rescuer before its instruction %llu",
		    (unsigned long long)r->failed_rescue);
	fprintf(stderr, ":\n  %s\n", r->message);
	if (r->failed_file[0])
		fprintf(stderr, "  where: %s%saddr2line -fipe %s 0x%llx\n",
		    r->failed_symbol, r->failed_symbol[0] ? "; " : "",
		    r->failed_file, (unsigned long long)r->failed_address);
	fprintf(stderr, "  again: LSHM_TEST_KILL=%llu",
	    (unsigned long long)r->failed_at);
	if (r->failed_rescue || r->failed_late)
		fprintf(stderr, " LSHM_TEST_RESCUE=%s%llu",
		    r->failed_late ? "l" : "",
		    (unsigned long long)r->failed_rescue);
	fputc('\n', stderr);
}

int lshm_testing_report(int ret, const struct lshm_testing_operation *operation,
    const struct lshm_testing_result *r)
{
	const char *name = operation->name ? operation->name : "operation";

	if (ret < 0) {
		fprintf(
		    stderr, "%s: cannot be swept: %s\n", name, strerror(-ret));
		return 1;
	}
	printf("%s: %llu instructions, %llu system calls, %llu states, "
	       "%llu deaths, %llu second deaths, %llu strayed, %llu failures "
	       "(LSHM_TEST_SEED=%llu)\n",
	    name, (unsigned long long)r->instructions,
	    (unsigned long long)r->system_calls, (unsigned long long)r->states,
	    (unsigned long long)r->kills, (unsigned long long)r->second_kills,
	    (unsigned long long)r->strayed, (unsigned long long)r->failures,
	    (unsigned long long)r->seed);
	fflush(stdout);
	if (r->failures)
		report_failure(operation, r);
	return r->failures != 0;
}
