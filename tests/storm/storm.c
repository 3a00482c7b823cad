/* SPDX-License-Identifier: MIT */
/*
 * storm.c - processes that do everything at random, and are killed and stopped
 * at random; then the books balance to the byte
 *
 * The workers check what they see while they live: no torn byte, no lost lock,
 * no permit too many, no gap in a stream. What must be true whoever died is
 * noted in a ledger that is the test's own memory, outside the region. No call
 * of a survivor may block for longer than patience.c says. A quarter of the
 * workers are survivors, which are stopped, but not killed before the end;
 * another quarter lives long. When the storm is over the survivors go on for a
 * moment, half of them are killed too, and the rest leave.
 *
 * What is done when depends on the seed, and on how fast the machine is: the
 * same seed gives a storm like the last one, not the same.
 *
 * Environment, beside that of ../unit/unit.h (LSHM_TEST_SEED; LSHM_TEST_SCALE
 * for the length):
 *
 *     LSHM_STORM_SECONDS  of each storm; there are several on each backend
 *     LSHM_STORM_WORKERS  2 to 32; else 8 to 12
 *
 * For minutes of it, on one backend:
 *
 *     LSHM_STORM_SECONDS=300 LSHM_STORM_WORKERS=24 storm posix
 */
#include "storm.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

struct ledger *ledger;

/* A worker, as the controller sees it. */
struct charge {
	struct ut_child child;
	uint64_t life;
	int64_t resume; /* when it goes on; 0: it runs */
};

struct storm {
	uint64_t *seed;
	uint32_t workers, survivors;
	struct charge charges[WORKERS_MAX];
	struct worker worker; /* as it is given to the next one */
	uint32_t stopped;     /* how many are just now */
	uint64_t kills, stops, lives;
};

static uint64_t from_environment(const char *name, uint64_t otherwise)
{
	const char *value = getenv(name);

	return value ? strtoull(value, NULL, 0) : otherwise;
}

/* A raw descriptor of a region without a name; -1 for one with. */
static int descriptor(struct lshm_region *region)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {0};
	char byte;
	struct iovec iov = {&byte, 1};
	struct msghdr message = {.msg_iov = &iov,
	    .msg_iovlen = 1,
	    .msg_control = &control,
	    .msg_controllen = sizeof(control)};
	int sockets[2], fd;

	if (ut_backend->named)
		return -1;
	UT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
	UT_OK(lshm_region_send(region, sockets[0], 0));
	UT_EQ(1, recvmsg(sockets[1], &message, 0));
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(fd));
	close(sockets[0]);
	close(sockets[1]);
	return fd;
}

/* A region with what the areas need in it, and nobody attached. */
static int prepare(uint32_t slots)
{
	struct lshm_region *region = ut_create(
	    &(struct lshm_region_opts)LSHM_REGION_OPTS(.size = 2 * MIB,
		.max_size = 32 * MIB, .max_participants = slots));
	int fd = descriptor(region);
	void *shared;

	for (int a = 0; a < AREAS; a++) {
		UT_OK(lshm_object_create(region, areas[a]->name, "area",
		    areas[a]->size, NULL, NULL, &shared));
		areas[a]->prepare(region, shared);
	}
	lshm_region_close(region);
	return fd;
}

/* ---- what is done to workers ---- */

static bool ended(const struct ut_child *child, siginfo_t *info)
{
	*info = (siginfo_t){0};
	UT_EQ(0,
	    waitid(P_PID, (id_t)child->pid, info, WEXITED | WNOHANG | WNOWAIT));
	return info->si_pid;
}

/* A worker that ends by itself has found something wrong. */
static void still_there(const struct charge *c)
{
	siginfo_t info;

	if (ended(&c->child, &info))
		ut_fail(UT_AT("a worker"),
		    "it ended by itself (%s %d); if it saw something it is "
		    "above",
		    info.si_code == CLD_EXITED ? "exit" : "signal",
		    info.si_status);
}

static void stop(struct storm *s, uint32_t i, int64_t ns)
{
	note_stop(&ledger->stopped[i], true);
	if (s->stopped++ == 0)
		note_stop(&ledger->stopped[WORKERS_MAX], true);
	ut_stop(&s->charges[i].child);
	s->charges[i].resume = now() + ns;
	s->stops++;
}

/* It is noted after it runs again: no time of the stop is missed. */
static void resume(struct storm *s, uint32_t i)
{
	struct charge *c = &s->charges[i];

	if (!c->resume)
		return;
	if (c->child.pid)
		ut_continue(&c->child);
	c->resume = 0;
	note_stop(&ledger->stopped[i], false);
	if (--s->stopped == 0)
		note_stop(&ledger->stopped[WORKERS_MAX], false);
}

static void start(struct storm *s, uint32_t i)
{
	struct charge *c = &s->charges[i];

	c->life = ++s->lives;
	s->worker.index = i;
	s->worker.life = c->life;
	s->worker.random = ut_random(s->seed);
	c->child = ut_spawn(NULL, 0, work, &s->worker);
}

static void nobody_sits(uint32_t i)
{
	memset(
	    &ledger->seats[i * THREADS], 0, THREADS * sizeof(ledger->seats[0]));
}

/* Wait a little for one of its threads to begin a call, and a bit longer. */
static void aim(struct storm *s, uint32_t i)
{
	struct seat *seat =
	    &ledger->seats[i * THREADS + ut_random(s->seed) % THREADS];
	uint64_t step = lshmi_load_seq(&seat->step), last;
	int64_t until = now() + 300000 /* ns */;

	do
		last = lshmi_load_seq(&seat->step);
	while ((last == step || !(last & 1)) && now() < until);
	for (step = ut_random(s->seed) % 400; step; step--)
		lshmi_pause();
}

static void finish_off(struct storm *s, uint32_t i)
{
	struct charge *c = &s->charges[i];

	if (!c->child.pid)
		return;
	still_there(c);
	lshmi_store_seq(&ledger->dying[c->life], 1);
	ut_kill(&c->child);
	c->child.pid = 0;
	nobody_sits(i);
	resume(s, i); /* its death ends the stop */
	s->kills++;
}

static void judge_all(const struct storm *s, uint32_t i)
{
	for (uint32_t k = 0; k < THREADS; k++)
		judge(&ledger->seats[i * THREADS + k]);
}

/* See that all are there, none waits too long, and stops end. */
static void watch(struct storm *s)
{
	for (uint32_t i = 0; i < s->workers; i++) {
		struct charge *c = &s->charges[i];

		if (!c->child.pid)
			continue;
		still_there(c);
		if (c->resume && c->resume <= now())
			resume(s, i);
		judge_all(s, i);
	}
}

/* ---- the storm ---- */

/*
 * Whom does it hit now? Half of the time there are stops; while there are none
 * nothing excuses who waits.
 */
static void strike(struct storm *s, bool windy)
{
	uint32_t i = (uint32_t)(ut_random(s->seed) % s->workers);
	struct charge *c = &s->charges[i];

	if (!c->child.pid) {
		start(s, i);
		return;
	}
	if (windy && !c->resume && ut_random(s->seed) % 2) {
		uint64_t most = ut_random(s->seed) % 16 ? 20 : 600;

		stop(s, i,
		    INT64_C(1000000) *
			(int64_t)(1 + ut_random(s->seed) % most));
		return;
	}
	if (i < s->survivors)
		return;
	if (i < 2 * s->survivors && ut_random(s->seed) % 64)
		return; /* it lives long */
	if (ut_random(s->seed) % 4)
		aim(s, i);
	finish_off(s, i);
	start(s, i);
}

static void pause_for(struct storm *s, int64_t ns)
{
	for (int64_t until = now() + ns; now() < until; usleep(2000))
		watch(s);
}

static void rage(struct storm *s, int64_t ns)
{
	int64_t until = now() + ns;
	siginfo_t info;
	uint64_t pace = 1000 + ut_random(s->seed) % 12000; /* us, at most */

	for (uint32_t i = 0; i < s->survivors; i++)
		start(s, i);
	while (now() < until && s->lives < LIVES - 2) {
		watch(s);
		strike(s, (until - now()) / INT64_C(1000000000) % 2);
		usleep((useconds_t)(ut_random(s->seed) % pace));
	}
	for (uint32_t i = 0; i < s->workers; i++)
		resume(s, i);
	/* survivors recover from many deaths at once; then from their own */
	for (uint32_t i = s->survivors; i < s->workers; i++)
		finish_off(s, i);
	pause_for(s, INT64_C(1500000000));
	for (uint32_t i = 0; i < s->survivors / 2; i++)
		finish_off(s, i);
	pause_for(s, INT64_C(300000000));
	watch(s);
	lshmi_store_seq(&ledger->finish, 1);
	for (uint32_t i = s->survivors / 2; i < s->survivors; i++) {
		while (!ended(&s->charges[i].child, &info)) {
			judge_all(s, i);
			usleep(1000);
		}
		ut_join(&s->charges[i].child);
		nobody_sits(i);
	}
}

static void tell(const struct storm *s, uint32_t slots)
{
	uint64_t calls = 0;

	for (int k = 0; k < KINDS_MAX; k++)
		calls += ledger->calls[k];
	UT_CMP(calls, >, 0);
	printf("\n    %u workers, %u slots: %" PRIu64 " kills, %" PRIu64
	       " stops, %" PRIu64 " calls, %" PRIu64
	       " times news of a death;\n    longest blocked: ",
	    s->workers, slots, s->kills, s->stops, calls, ledger->news);
	print_longest();
	if (ledger->pulse.missed)
		printf("; the machine stood still for %.1f ms",
		    (double)ledger->pulse.missed / 1e6);
	printf(" ");
	fflush(stdout);
}

static void storm(uint64_t *seed, uint64_t ms)
{
	uint32_t workers = (uint32_t)from_environment(
	    "LSHM_STORM_WORKERS", 8 + ut_random(seed) % 5);
	struct storm s = {.seed = seed,
	    .workers = workers < 2	       ? 2
		       : workers > WORKERS_MAX ? WORKERS_MAX
					       : workers};
	struct ut_child pulse;
	uint32_t slots;

	s.survivors = s.workers / 4 + (s.workers < 4);
	/* there may be less slots than workers */
	slots = s.survivors + 2 + (uint32_t)(ut_random(seed) % (2 * s.workers));
	ledger = mmap(NULL, sizeof(*ledger), PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	UT_TRUE(ledger != MAP_FAILED);
	s.worker.fd = prepare(slots);
	ledger->pulse.last = now();
	pulse = ut_spawn(NULL, 0, beat, NULL);
	alarm((unsigned int)(ms / 1000 + 60));
	rage(&s, (int64_t)ms * 1000000);
	s.worker.seat = &ledger->seats[0];
	attach(&s.worker);
	take_books(&s.worker);
	lshm_region_close(s.worker.region);
	ut_kill(&pulse);
	tell(&s, slots);
	UT_EQ(0, munmap(ledger, sizeof(*ledger)));
	if (s.worker.fd >= 0)
		close(s.worker.fd);
}

UT_TEST(storm, UT_EACH)
{
	uint64_t seed = ut_seed();
	uint64_t ms = ut_scale(4000);

	ms = 1000 * from_environment("LSHM_STORM_SECONDS", 0) ?: ms;
	for (int i = 0; i < 2; i++)
		storm(&seed, ms);
}
