/* SPDX-License-Identifier: MIT */
/*
 * scenarios.c - stories of processes that die, stop or move at a bad moment
 *
 * Each is a test of the harness in ../unit/unit.h: it has a time limit, may
 * leave nothing behind, and is run alone by
 *
 *     scenarios BACKEND NAME
 *
 * Each says what it expected and what it saw. Whoever is to be hit is first
 * brought to a known point: it says so itself, or its word in the region does,
 * or it is stepped there. Nothing depends on how long anything takes, but for
 * the bound within which survivors must notice a death.
 */
#include "../crash/crash.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "../../libshm/atomic.h"

/* Survivors go on after a death within this. */
#define BOUND_MS 3000
#define BOUND	 lshm_deadline_ms(BOUND_MS)

extern char **environ;

/* ---- what the scenarios share ---- */

/* What was expected, what was seen, and how to see it again. */
static void tell(const char *function, const char *expected, const char *format,
    ...) __attribute__((format(printf, 3, 4)));

static void tell(
    const char *function, const char *expected, const char *format, ...)
{
	va_list arguments;

	printf("\n    expected: %s\n    saw:      ", expected);
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	printf("\n    alone:    %s %s %s\n    ", program_invocation_name,
	    ut_backend->name, function + strlen("test_"));
	fflush(stdout);
}

#define TELL(expected, ...) tell(__func__, expected, __VA_ARGS__)

static int64_t now_ms(void)
{
	return lshm_deadline_ms(0) / 1000000;
}

static uint32_t count_state(struct lshm_region *region, uint32_t state)
{
	struct lshm_participant_info info;
	uint32_t n = 0;

	for (uint32_t i = 0; i < crash_header(region)->max_participants; i++) {
		UT_OK(lshm_region_participant(region, i, &info));
		n += info.state == state;
	}
	return n;
}

static uint64_t deaths(struct lshm_region *region)
{
	return lshmi_load_acquire(&crash_header(region)->death_count);
}

/* What every scenario's processes find in the region. */
struct shared {
	struct lshm_mutex mutex;
	uint64_t count;
	lshm_off blocks[256];
};

static struct shared *make_shared(struct lshm_region *region)
{
	void *shared;

	UT_OK(lshm_object_create(region, "shared", "scenario",
	    sizeof(struct shared), NULL, NULL, &shared));
	return shared;
}

static struct shared *find_shared(struct lshm_region *region)
{
	void *shared;

	UT_OK(lshm_object_open(
	    region, "shared", "scenario", sizeof(struct shared), &shared));
	return shared;
}

/* Take the lock from a dead owner: how long it took. */
static int64_t inherit_lock(struct lshm_region *region)
{
	struct shared *shared = find_shared(region);
	int64_t start = now_ms(), taken;

	UT_EQ(LSHM_OWNER_DIED, lshm_mutex_lock(region, &shared->mutex, BOUND));
	taken = now_ms() - start;
	UT_OK(lshm_mutex_unlock(region, &shared->mutex));
	return taken;
}

/* Hold what survivors must get back. */
static void hold_things(struct lshm_region *region)
{
	UT_OK(lshm_mutex_lock(region, &find_shared(region)->mutex, UT_SOON));
	UT_SOME(lshm_alloc(region, 100));
	UT_SOME(lshm_alloc(region, 3 * LSHMI_PAGE));
}

static void wait_body(struct lshm_region *region, int fd, void *arg)
{
	ut_say(fd, 0);
	ut_hear(fd);
}

static void hold_body(struct lshm_region *region, int fd, void *arg)
{
	hold_things(region);
	wait_body(region, fd, arg);
}

/* All but the caller are gone, and nothing of theirs is left. */
static void end_balanced(struct lshm_region *region)
{
	struct crash_books books;
	uint64_t tables = 0;
	int ret = lshm_object_remove(region, "shared", "scenario");

	UT_TRUE(ret == 0 || ret == -ENOENT);
	books = CRASH_BOOKS(region);
	for (size_t i = 0; i < LSHMI_DESC_SEGMENTS; i++)
		tables += crash_header(region)->desc_segments[i] != 0;
	UT_EQ(1, books.participants);
	UT_CMP(books.lanes, <=, 1);
	UT_EQ(tables, books.attached_blocks);
	lshm_region_close(region);
}

/* A table that is soon full, and soon looked through. */
enum { SLOTS = 4 };

static const struct lshm_region_opts few_slots = LSHM_REGION_OPTS(.size = MIB,
    .max_size = 64 * MIB, .max_participants = SLOTS);

/* ---- channels ---- */

static const struct lshm_channel_opts broadcast8 =
    LSHM_CHANNEL_OPTS(.mode = LSHM_BROADCAST, .depth = 8);
static const struct lshm_channel_opts work8 =
    LSHM_CHANNEL_OPTS(.mode = LSHM_WORK, .depth = 8);
static const struct lshm_channel_opts work64 =
    LSHM_CHANNEL_OPTS(.mode = LSHM_WORK, .depth = 64);
static const struct lshm_channel_opts results4096 =
    LSHM_CHANNEL_OPTS(.mode = LSHM_BROADCAST, .depth = 4096);

static struct lshm_producer *producer(struct lshm_region *region,
    const char *name, const struct lshm_channel_opts *opts)
{
	struct lshm_producer *out;

	UT_OK(lshm_producer_open(&out, region, name, opts));
	return out;
}

static struct lshm_consumer *consumer(struct lshm_region *region,
    const char *name, const struct lshm_channel_opts *opts)
{
	struct lshm_consumer *in;

	UT_OK(lshm_consumer_open(&in, region, name, opts));
	return in;
}

static int send_number(
    struct lshm_producer *out, uint64_t number, int64_t deadline)
{
	return lshm_producer_send(out, &number, sizeof(number), deadline);
}

static uint64_t receive_number(struct lshm_consumer *in, int64_t deadline)
{
	uint64_t number;
	size_t size;

	UT_OK(lshm_consumer_receive(
	    in, &number, sizeof(number), &size, deadline));
	UT_EQ(sizeof(number), size);
	return number;
}

static struct lshm_channel_info channel_info(
    struct lshm_region *region, const char *name)
{
	struct lshm_channel_info info;

	UT_OK(lshm_channel_stat(region, name, &info));
	return info;
}

static struct lshmi_channel *find_channel(
    struct lshm_region *region, const char *name)
{
	void *channel;

	UT_OK(lshm_object_open(region, name, LSHM_CHANNEL_TYPE, 0, &channel));
	return channel;
}

/* Takes a message, and keeps it. */
static void keep_body(struct lshm_region *region, int fd, void *arg)
{
	struct lshm_consumer *in = consumer(region, "c", arg);
	struct lshm_message message;

	ut_say(fd, 0);
	UT_OK(lshm_consumer_take(in, &message, LSHM_FOREVER));
	wait_body(region, fd, arg);
	lshm_consumer_close(in);
}

/* Sends the numbers from 0 to *arg - 1, however long it takes. */
static void send_body(struct lshm_region *region, int fd, void *arg)
{
	struct lshm_producer *out = producer(region, "c", NULL);

	for (uint64_t n = 0; n < *(uint64_t *)arg; n++)
		UT_OK(send_number(out, n, LSHM_FOREVER));
	UT_OK(lshm_producer_end(out));
	lshm_producer_close(out);
}

/* ---- 1: a worker is killed while it holds messages ---- */

enum { JOBS = 2000, HELD = 3, ANSWERED = 2, BEFORE = 100 };

struct answer {
	uint64_t job; /* its sequence */
	uint64_t value;
	uint64_t deliveries;
};

static uint64_t value_of(uint64_t job)
{
	return job * job + 7;
}

static void answer(struct lshm_producer *out, const struct lshm_message *m)
{
	struct answer a = {
	    .job = m->sequence,
	    .value = value_of(*(const uint64_t *)m->data),
	    .deliveries = m->deliveries,
	};

	UT_OK(lshm_producer_send(out, &a, sizeof(a), UT_SOON));
}

static void worker_body(struct lshm_region *region, int fd, void *arg)
{
	struct lshm_consumer *in = consumer(region, "c", NULL);
	struct lshm_producer *out = producer(region, "results", NULL);
	struct lshm_message m;
	int ret;

	while ((ret = lshm_consumer_take(in, &m, UT_SOON)) == 0) {
		answer(out, &m);
		UT_OK(lshm_consumer_release(in, &m));
	}
	UT_EQ(-ENODATA, ret);
	lshm_consumer_close(in);
	lshm_producer_close(out);
}

/* Some jobs well done; then some are held, not all of them answered. */
static void doomed_worker_body(struct lshm_region *region, int fd, void *arg)
{
	struct lshm_consumer *in = consumer(region, "c", NULL);
	struct lshm_producer *out = producer(region, "results", NULL);
	struct lshm_message m;

	for (int i = 0; i < BEFORE; i++) {
		UT_OK(lshm_consumer_take(in, &m, UT_SOON));
		answer(out, &m);
		UT_OK(lshm_consumer_release(in, &m));
	}
	for (int i = 0; i < HELD; i++) {
		UT_OK(lshm_consumer_take(in, &m, UT_SOON));
		if (i < ANSWERED)
			answer(out, &m);
		ut_say(fd, m.sequence);
	}
	ut_hear(fd);
}

UT_TEST(worker_killed, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_consumer *results =
	    consumer(region, "results", &results4096);
	uint64_t jobs = JOBS, held[HELD], sum = 0, expected = 0;
	uint64_t distinct = 0, repeats = 0, again = 0;
	struct ut_child doomed, sender, workers[2];
	struct lshm_producer *out;
	static bool seen[JOBS];
	struct answer a;
	size_t size;

	out = producer(region, "c", &work64);
	doomed = ut_spawn(region, 0, doomed_worker_body, NULL);
	sender = ut_spawn(region, 0, send_body, &jobs);
	for (int i = 0; i < HELD; i++)
		held[i] = ut_hear(doomed.fd);
	for (int i = 0; i < 2; i++)
		workers[i] = ut_spawn(region, 0, worker_body, NULL);
	/* The others are in the middle of it, too. */
	while (
	    channel_info(region, "results").published < BEFORE + ANSWERED + 20)
		sched_yield();
	ut_kill(&doomed);
	while (distinct < JOBS) {
		UT_OK(lshm_consumer_receive(
		    results, &a, sizeof(a), &size, UT_SOON));
		UT_CMP(a.job, <, JOBS);
		again += a.deliveries == 2;
		if (a.deliveries == 2)
			UT_TRUE(a.job == held[0] || a.job == held[1] ||
				a.job == held[2]);
		if (seen[a.job]) {
			repeats++;
			continue;
		}
		seen[a.job] = true;
		distinct++;
		sum += a.value;
	}
	ut_join(&sender);
	ut_join(&workers[0]);
	ut_join(&workers[1]);
	while (lshm_consumer_receive(results, &a, sizeof(a), &size, LSHM_NOW) ==
	       0) {
		UT_TRUE(seen[a.job]);
		again += a.deliveries == 2;
		repeats++;
	}
	for (uint64_t i = 0; i < JOBS; i++)
		expected += value_of(i);
	TELL("the sum as without a death; 3 held, 2 of them answered twice",
	    "sum %llu of %llu, %llu redelivered, %llu repeated",
	    (unsigned long long)sum, (unsigned long long)expected,
	    (unsigned long long)again, (unsigned long long)repeats);
	UT_EQ(expected, sum);
	UT_EQ(HELD, again);
	UT_EQ(ANSWERED, repeats);
	UT_EQ(HELD, channel_info(region, "c").redelivered);
	lshm_consumer_close(results);
	lshm_producer_close(out);
	UT_OK(lshm_channel_remove(region, "c"));
	UT_OK(lshm_channel_remove(region, "results"));
	end_balanced(region);
}

/* ---- 2: consumers are killed ---- */

UT_TEST(blocking_consumer_killed, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_consumer *in = consumer(region, "c", &broadcast8);
	struct ut_child keeper =
	    ut_spawn(region, 0, keep_body, (void *)&broadcast8);
	struct lshmi_channel *channel = find_channel(region, "c");
	uint64_t count = 100, n, number;
	struct ut_child sender;
	int64_t start, taken;
	size_t size;

	ut_hear(keeper.fd);
	sender = ut_spawn(region, 0, send_body, &count);
	ut_hear(keeper.fd); /* it keeps the first: 8 fit, the 9th blocks */
	for (n = 0; n < 8; n++)
		UT_EQ(n, receive_number(in, UT_SOON));
	while (!lshmi_load_seq(&channel->space.sleepers[LSHMI_PRODUCER]))
		sched_yield();
	UT_ERR(-EAGAIN, lshm_consumer_receive(
			    in, &number, sizeof(number), &size, LSHM_NOW));
	ut_kill(&keeper);
	start = now_ms();
	UT_EQ(n++, receive_number(in, BOUND));
	taken = now_ms() - start;
	for (; n < count; n++)
		UT_EQ(n, receive_number(in, UT_SOON));
	ut_join(&sender);
	TELL("the producer goes on within 3000 ms, the others miss nothing",
	    "it went on after %lld ms, %llu messages in order",
	    (long long)taken, (unsigned long long)n);
	lshm_consumer_close(in);
	UT_OK(lshm_channel_remove(region, "c"));
	end_balanced(region);
}

/* Two consumers keep a message each and die; how publishing goes on. */
static void kill_all_consumers(
    struct lshm_region *region, const struct lshm_channel_opts *opts)
{
	struct lshm_producer *out = producer(region, "c", opts);
	struct lshm_consumer *in;
	struct lshm_message m;
	struct ut_child keepers[2];

	for (int i = 0; i < 2; i++) {
		keepers[i] = ut_spawn(region, 0, keep_body, (void *)opts);
		ut_hear(keepers[i].fd);
	}
	for (uint64_t n = 0; n < 3; n++)
		UT_OK(send_number(out, n, UT_SOON));
	for (int i = 0; i < 2; i++)
		ut_hear(keepers[i].fd);
	for (int i = 0; i < 2; i++)
		ut_kill(&keepers[i]);
	for (uint64_t n = 3; n < 8; n++)
		UT_OK(send_number(out, n, LSHM_NOW));
	if (opts->mode == LSHM_BROADCAST) {
		for (uint64_t n = 8; n < 100; n++)
			UT_OK(send_number(out, n, BOUND));
	} else {
		UT_ERR(-EPIPE, send_number(out, 8, BOUND));
		in = consumer(region, "c", NULL);
		for (uint64_t n = 0; n < 8; n++) {
			UT_OK(lshm_consumer_take(in, &m, BOUND));
			UT_EQ(n, m.sequence);
			UT_EQ(n < 2 ? 2 : 1, m.deliveries);
			UT_OK(lshm_consumer_release(in, &m));
		}
		UT_OK(send_number(out, 8, BOUND));
		UT_EQ(8, receive_number(in, UT_SOON));
		lshm_consumer_close(in);
	}
	lshm_producer_close(out);
	UT_OK(lshm_channel_remove(region, "c"));
}

UT_TEST(all_consumers_killed, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);

	kill_all_consumers(region, &broadcast8);
	kill_all_consumers(region, &work8);
	TELL("broadcast: goes on; work-sharing: -EPIPE when full, not before, "
	     "until somebody joins, who gets everything",
	    "so it was");
	end_balanced(region);
}

/* ---- 3: a stopped consumer is alive ---- */

static void in_order_body(struct lshm_region *region, int fd, void *arg)
{
	struct lshm_consumer *in = consumer(region, "c", arg);
	uint64_t n = 0, number;
	size_t size;
	int ret;

	ut_say(fd, 0);
	while ((ret = lshm_consumer_receive(
		    in, &number, sizeof(number), &size, LSHM_FOREVER)) == 0)
		UT_EQ(n++, number);
	UT_EQ(-ENODATA, ret);
	ut_say(fd, n);
	lshm_consumer_close(in);
}

static void stop_consumer(
    struct lshm_region *region, const struct lshm_channel_opts *opts)
{
	struct lshm_producer *out = producer(region, "c", opts);
	struct ut_child child =
	    ut_spawn(region, 0, in_order_body, (void *)opts);
	uint64_t n = 0, before;

	ut_hear(child.fd);
	while (n < 50)
		UT_OK(send_number(out, n++, UT_SOON));
	ut_stop(&child);
	before = n;
	while (send_number(out, n, LSHM_NOW) == 0)
		n++;
	UT_CMP(n - before, <=, 8);
	/* Longer than it takes to look for the dead. */
	UT_ERR(-ETIMEDOUT, send_number(out, n, lshm_deadline_ms(1500)));
	UT_EQ(0, lshm_region_reap(region));
	UT_EQ(2, count_state(region, LSHM_PARTICIPANT_ALIVE));
	UT_EQ(0, deaths(region));
	UT_EQ(1, channel_info(region, "c").consumers);
	ut_continue(&child);
	while (n < 100)
		UT_OK(send_number(out, n++, UT_SOON));
	UT_OK(lshm_producer_end(out));
	UT_EQ(100, ut_hear(child.fd));
	ut_join(&child);
	lshm_producer_close(out);
	UT_OK(lshm_channel_remove(region, "c"));
}

UT_TEST(stopped_consumer, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);

	stop_consumer(region, &broadcast8);
	stop_consumer(region, &work8);
	TELL("back-pressure holds, nothing is reaped, nothing is lost",
	    "%llu deaths, 100 messages in order twice",
	    (unsigned long long)deaths(region));
	end_balanced(region);
}

/* ---- 4: the reaper is stopped in the middle of its sweep ---- */

/* Large ones: a sweep looks at every block there might be, step by step. */
enum { BLOCKS = 200, EARLY = 20, LATE = 180, BLOCK = 1000 };

enum stage { NAMED, SWEEPING, SWEPT };

struct dead {
	struct lshm_region *region;
	enum stage stage; /* to stop its reaper at */
	uint32_t slot;
	const void *early; /* two of its blocks */
	const void *late;
};

/* Has the reaper come to the stage where it is to be stopped? */
static bool at_stage(void *arg)
{
	struct dead *d = arg;
	struct lshm_region *r = d->region;

	if ((lshmi_load_seq(&crash_slot(r, d->slot)->word) & 3) !=
	    LSHMI_SLOT_REAPING)
		return false;
	if (d->stage == SWEEPING)
		return !lshm_usable_size(r, d->early) &&
		       lshm_usable_size(r, d->late);
	if (d->stage == SWEPT)
		for (uint32_t i = 0; i < crash_header(r)->max_lanes; i++)
			if ((lshmi_load_seq(&crash_lane(r, i)->word) &
				0xffff) == d->slot + 1)
				return false;
	return true;
}

static void holder_body(struct lshm_region *region, int fd, void *arg)
{
	struct lshm_consumer *in = consumer(region, "c", NULL);
	struct lshm_producer *out = producer(region, "c", NULL);
	struct lshm_message m;
	void *blocks[BLOCKS], *loan;

	for (int i = 0; i < BLOCKS; i++)
		UT_SOME(blocks[i] = lshm_alloc(region, BLOCK));
	UT_OK(lshm_mutex_lock(region, &find_shared(region)->mutex, UT_SOON));
	UT_OK(lshm_consumer_take(in, &m, UT_SOON));
	UT_OK(lshm_consumer_take(in, &m, UT_SOON));
	UT_OK(lshm_producer_loan(out, BLOCK, UT_SOON, &loan));
	ut_say(fd, lshm_offset(region, blocks[EARLY]));
	ut_say(fd, lshm_offset(region, blocks[LATE]));
	ut_hear(fd);
}

static void reaper_body(struct lshm_region *region, int fd, void *arg)
{
	UT_SOME(lshm_alloc(region, BLOCK)); /* it leaves something, too */
	crash_mark();
	ut_say(fd, (uint64_t)lshm_region_reap(region));
}

/* Everything that others do, done. */
static void live_on(struct lshm_region *region)
{
	struct shared *shared = find_shared(region);
	struct lshm_producer *out = producer(region, "talk", &broadcast8);
	struct lshm_consumer *in = consumer(region, "talk", NULL);
	void *blocks[100];

	for (size_t i = 0; i < UT_COUNT(blocks); i++) {
		UT_SOME(blocks[i] = lshm_alloc(region, 16 << i % 13));
		memset(blocks[i], 1, 16 << i % 13);
	}
	for (size_t i = 0; i < UT_COUNT(blocks); i++)
		UT_OK(lshm_free(region, blocks[i]));
	UT_CMP((uint64_t)(lshm_mutex_lock(region, &shared->mutex, BOUND)), <=,
	    LSHM_OWNER_DIED);
	UT_OK(lshm_mutex_unlock(region, &shared->mutex));
	for (uint64_t i = 0; i < 20; i++) {
		UT_OK(send_number(out, i, BOUND));
		UT_EQ(i, receive_number(in, BOUND));
	}
	lshm_consumer_close(in);
	lshm_producer_close(out);
	UT_OK(lshm_object_create(
	    region, "passing", "scenario", 100, NULL, NULL, NULL));
	UT_OK(lshm_object_remove(region, "passing", "scenario"));
}

static void live_on_body(struct lshm_region *region, int fd, void *arg)
{
	live_on(region);
}

/* The dead one's messages come to another, though its sweep stands still. */
static void take_over_messages(struct lshm_region *region)
{
	struct lshm_consumer *in = consumer(region, "c", NULL);
	struct lshm_message m;

	for (uint64_t n = 0; n < 2; n++) {
		UT_OK(lshm_consumer_take(in, &m, BOUND));
		UT_EQ(n, m.sequence);
		UT_EQ(2, m.deliveries);
		UT_OK(lshm_consumer_release(in, &m));
	}
	lshm_consumer_close(in);
}

static void stop_reaper(enum stage stage, bool kill_it)
{
	struct lshm_region *region = ut_create(&few_slots);
	struct dead dead = {.region = region, .stage = stage};
	struct lshm_producer *out = producer(region, "c", &work8);
	struct ut_child holder, reaper, newcomer;
	char message[BLOCK] = "";

	make_shared(region);
	for (int i = 0; i < 2; i++)
		UT_OK(
		    lshm_producer_send(out, message, sizeof(message), UT_SOON));
	holder = ut_spawn(region, 0, holder_body, NULL);
	dead.early = lshm_at(region, ut_hear(holder.fd), BLOCK);
	dead.late = lshm_at(region, ut_hear(holder.fd), BLOCK);
	dead.slot = crash_slot_of(region, holder.pid);
	reaper = ut_spawn(region, 0, reaper_body, NULL);
	crash_await_mark(&reaper);
	ut_kill(&holder);
	UT_TRUE(crash_step(&reaper, at_stage, &dead));
	crash_leave_stopped(&reaper);

	live_on(region);
	take_over_messages(region);
	newcomer = ut_spawn(region, 0, live_on_body, NULL);
	ut_join(&newcomer);
	UT_EQ(0, lshm_region_reap(region)); /* a stopped reaper is alive */
	UT_EQ(1, count_state(region, LSHM_PARTICIPANT_REAPING));
	UT_EQ(2, count_state(region, LSHM_PARTICIPANT_ALIVE));
	UT_TRUE(at_stage(&dead));

	if (kill_it) {
		ut_kill(&reaper);
		UT_EQ(2, lshm_region_reap(region));
		UT_EQ(2, deaths(region));
	} else {
		ut_continue(&reaper);
		UT_EQ(1, ut_hear(reaper.fd));
		ut_join(&reaper);
		UT_EQ(1, deaths(region));
	}
	lshm_producer_close(out);
	UT_OK(lshm_channel_remove(region, "c"));
	UT_OK(lshm_channel_remove(region, "talk"));
	end_balanced(region);
}

UT_TEST(reaper_stopped_before_sweep, UT_EACH)
{
	stop_reaper(NAMED, true);
	TELL("others live on; when it is killed, another one finishes",
	    "so it was, and the books balance");
}

UT_TEST(reaper_stopped_in_sweep, UT_EACH)
{
	stop_reaper(SWEEPING, true);
	TELL("others live on; when it is killed, another one finishes",
	    "so it was, and the books balance");
}

UT_TEST(reaper_stopped_in_sweep_goes_on, UT_EACH)
{
	stop_reaper(SWEEPING, false);
	TELL("others live on; when it is continued, it finishes itself",
	    "so it was, and the books balance");
}

UT_TEST(reaper_stopped_after_sweep, UT_EACH)
{
	stop_reaper(SWEPT, true);
	TELL("others live on; when it is killed, another one finishes",
	    "so it was, and the books balance");
}

/* ---- 5: the table is full ---- */

UT_TEST(table_full, UT_EACH)
{
	struct lshm_region *region = ut_create(&few_slots), *extra;
	struct ut_child children[SLOTS - 1];

	make_shared(region);
	for (int round = 0; round < 4; round++) {
		for (int i = 0; i < SLOTS - 1; i++) {
			children[i] = ut_spawn(
			    region, 0, i ? wait_body : hold_body, NULL);
			ut_hear(children[i].fd);
		}
		UT_ERR(-EUSERS, ut_try_reopen(&extra, region, 0, NULL),
		    "max_participants");
		UT_EQ(SLOTS, count_state(region, LSHM_PARTICIPANT_ALIVE));
		UT_EQ(round * (SLOTS - 1), deaths(region));
		for (int i = 0; i < SLOTS - 1; i++)
			ut_kill(&children[i]);
		/* Nobody has reaped them when the next ones come. */
		UT_EQ(SLOTS - 1, count_state(region, LSHM_PARTICIPANT_DEAD));
		extra = ut_reopen(region, 0);
		UT_EQ(2, count_state(region, LSHM_PARTICIPANT_ALIVE));
		UT_EQ(0, count_state(region, LSHM_PARTICIPANT_DEAD));
		lshm_region_close(extra);
		inherit_lock(region);
	}
	TELL("3 newcomers after 3 dead, 4 times; -EUSERS after 4 living",
	    "%llu deaths, -EUSERS each time",
	    (unsigned long long)deaths(region));
	end_balanced(region);
}

/* Nobody at all is alive. */
UT_TEST(table_full_of_dead_only, UT_NAMED)
{
	struct lshm_region *region = ut_create(&few_slots);
	struct ut_child children[SLOTS];

	make_shared(region);
	lshm_region_close(region);
	for (int i = 0; i < SLOTS; i++) {
		children[i] =
		    ut_spawn(region, 0, i ? wait_body : hold_body, NULL);
		ut_hear(children[i].fd);
	}
	for (int i = 0; i < SLOTS; i++)
		ut_kill(&children[i]);
	UT_OK(lshm_region_open(&region, ut_name, 0, NULL));
	TELL("4 dead reaped by the first newcomer", "%llu deaths",
	    (unsigned long long)deaths(region));
	UT_EQ(SLOTS, deaths(region));
	UT_EQ(1, count_state(region, LSHM_PARTICIPANT_ALIVE));
	inherit_lock(region);
	end_balanced(region);
}

/* ---- 6: a holder of the library's own locks is killed ---- */

enum { BIG = 256 << 10 };

static void needs_heap_lock(struct lshm_region *region)
{
	void *block = lshm_alloc(region, BIG);

	UT_SOME(block);
	UT_OK(lshm_free(region, block));
}

static void needs_directory_lock(struct lshm_region *region)
{
	UT_OK(lshm_object_create(
	    region, "passing", "scenario", 100, NULL, NULL, NULL));
	UT_OK(lshm_object_remove(region, "passing", "scenario"));
}

static void heap_body(struct lshm_region *region, int fd, void *arg)
{
	UT_SOME(lshm_alloc(region, 16)); /* it has its lane */
	crash_mark();
	UT_SOME(lshm_alloc(region, BIG));
	crash_mark();
}

static void directory_body(struct lshm_region *region, int fd, void *arg)
{
	UT_SOME(lshm_alloc_aligned(region, 64, 100));
	crash_mark();
	UT_OK(lshm_object_create(
	    region, "doomed", "scenario", 100, NULL, NULL, NULL));
	crash_mark();
}

struct grip {
	struct lshm_mutex *lock;
	uint64_t more; /* instructions it holds it for */
};

static bool has_grip(void *arg)
{
	struct grip *grip = arg;

	return lshmi_load_seq(&grip->lock->word) != 0 && grip->more-- == 0;
}

/* Step to where it has held the lock for so many instructions, and kill it. */
static bool kill_with_lock(bool heap, uint64_t more, int64_t *slowest)
{
	struct lshm_region *region = ut_create(&few_slots);
	struct lshmi_header *h = crash_header(region);
	struct grip grip = {heap ? &h->heap_lock : &h->directory_lock, more};
	struct ut_child child;
	int64_t start;
	bool held;
	int ret;

	UT_OK(lshm_free(region, lshm_alloc(region, BIG)));
	child = ut_spawn(region, 0, heap ? heap_body : directory_body, NULL);
	crash_await_mark(&child);
	held = crash_step(&child, has_grip, &grip);
	crash_leave_stopped(&child);
	if (held && more == 0) { /* a stopped holder is alive */
		if (heap)
			UT_NULL(lshm_alloc(region, BIG), "heap", "stopped");
		else
			UT_ERR(-EAGAIN,
			    lshm_object_create(region, "passing", "scenario",
				100, NULL, NULL, NULL),
			    "directory", "stopped");
		UT_EQ(2, count_state(region, LSHM_PARTICIPANT_ALIVE));
	}
	ut_kill(&child);
	start = now_ms();
	needs_heap_lock(region);
	needs_directory_lock(region);
	if (now_ms() - start > *slowest)
		*slowest = now_ms() - start;
	UT_CMP(*slowest, <, BOUND_MS);
	UT_EQ(0, lshmi_load_seq(&grip.lock->word));
	/* Its object is there, whole, or not at all. */
	ret = lshm_object_remove(region, "doomed", "scenario");
	UT_TRUE(ret == 0 || ret == -ENOENT);
	end_balanced(region);
	return held;
}

static void kill_with_locks(bool heap, int *kills, int64_t *slowest)
{
	for (uint64_t more = 0; kill_with_lock(heap, more, slowest);
	     more = more * 3 + 20)
		++*kills;
}

UT_TEST(lock_holder_killed, UT_EACH)
{
	int64_t slowest = 0;
	int heap = 0, directory = 0;

	kill_with_locks(true, &heap, &slowest);
	kill_with_locks(false, &directory, &slowest);
	TELL("others go on within 3000 ms, the books balance",
	    "%d holders of the heap's lock killed, %d of the directory's, the "
	    "slowest went on after %lld ms",
	    heap, directory, (long long)slowest);
	UT_CMP(heap, >=, 2);
	UT_CMP(directory, >=, 2);
}

/* ---- 7: pid namespaces ---- */

enum command { COUNT, LOCK, UNLOCK, PARTNER, STRANGER, KILL };

/* Let the next process that is forked in this namespace have this pid. */
static bool next_pid(pid_t pid)
{
	FILE *file = fopen("/proc/sys/kernel/ns_last_pid", "we");
	bool done;

	if (!file)
		return false;
	done = fprintf(file, "%d", (int)pid - 1) > 0;
	return fclose(file) == 0 && done;
}

static void stranger_body(struct lshm_region *region, int fd, void *arg)
{
	ut_say(fd, 0);
	ut_hear(fd);
}

/* Pid 1 of the other namespace: does what it is told. */
static void inside_body(struct lshm_region *region, int fd, void *arg)
{
	struct lshm_mutex *mutex = &find_shared(region)->mutex;
	int talk = *(int *)arg;
	struct ut_child child;

	UT_EQ(1, getpid());
	for (;;) {
		uint64_t command = ut_hear(talk), pid;

		switch (command) {
		case COUNT:
			ut_say(
			    talk, count_state(region, LSHM_PARTICIPANT_ALIVE));
			break;
		case LOCK:
			ut_say(talk,
			    (uint64_t)lshm_mutex_lock(region, mutex, BOUND));
			break;
		case UNLOCK:
			ut_say(
			    talk, (uint64_t)lshm_mutex_unlock(region, mutex));
			break;
		case PARTNER:
		case STRANGER:
			pid = ut_hear(talk);
			if (!next_pid((pid_t)pid)) {
				ut_say(talk, 0);
				break;
			}
			child = command == PARTNER
				    ? ut_spawn(region, 0, hold_body, NULL)
				    : ut_spawn(NULL, 0, stranger_body, NULL);
			ut_hear(child.fd);
			ut_say(talk, (uint64_t)child.pid);
			break;
		case KILL:
			ut_kill(&child);
			ut_say(talk, 0);
			break;
		}
	}
}

/* In the first namespace, parent of the other one's pid 1. */
static void outside_body(struct lshm_region *region, int fd, void *arg)
{
	struct ut_child inside;

	if (unshare(CLONE_NEWPID) < 0) {
		ut_say(fd, 0);
		return;
	}
	ut_say(fd, 1);
	inside = ut_spawn(region, 0, inside_body, arg);
	ut_hear(fd);
	ut_kill(&inside);
	ut_say(fd, 0);
	ut_hear(fd);
	lshm_region_close(region);
	/* The namespace is dead: nothing that forks or clones works here. */
	_exit(EXIT_SUCCESS);
}

static uint64_t ask(int talk, enum command command)
{
	ut_say(talk, command);
	return ut_hear(talk);
}

static void spawn_inside(int talk, enum command command, pid_t pid)
{
	uint64_t seen;

	ut_say(talk, command);
	ut_say(talk, (uint64_t)pid);
	seen = ut_hear(talk);
	if (!seen)
		ut_skip("pids cannot be chosen here (ns_last_pid)");
	UT_EQ(pid, seen);
}

static void count_pid(
    struct lshm_region *region, pid_t pid, int here, int there)
{
	struct lshm_participant_info info;

	for (uint32_t i = 0; lshm_region_participant(region, i, &info) == 0;
	     i++)
		if (info.state != LSHM_PARTICIPANT_FREE &&
		    info.pid == (uint32_t)pid)
			--*(info.same_pid_namespace ? &here : &there);
	UT_EQ(0, here);
	UT_EQ(0, there);
}

UT_TEST(pid_namespaces, UT_NAMED)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct ut_child outside, here;
	int talk[2];

	make_shared(region);
	UT_EQ(0, socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, talk));
	outside = ut_spawn(region, 0, outside_body, &talk[1]);
	if (!ut_hear(outside.fd))
		ut_skip("no pid namespace can be made (not root?)");
	close(talk[1]);
	/* Each side sees the other alive. */
	UT_EQ(3, ask(talk[0], COUNT));
	UT_EQ(3, count_state(region, LSHM_PARTICIPANT_ALIVE));
	UT_EQ(0, ask(talk[0], LOCK));
	UT_ERR(-EAGAIN,
	    lshm_mutex_lock(region, &find_shared(region)->mutex, LSHM_NOW));
	UT_EQ(0, ask(talk[0], UNLOCK));
	/* One in there has my pid, and dies: I do not, and it is seen. */
	spawn_inside(talk[0], PARTNER, getpid());
	count_pid(region, getpid(), 1, 1);
	UT_EQ(4, ask(talk[0], COUNT));
	UT_EQ(4, count_state(region, LSHM_PARTICIPANT_ALIVE));
	ask(talk[0], KILL);
	inherit_lock(region);
	UT_EQ(3, ask(talk[0], COUNT));
	UT_EQ(3, count_state(region, LSHM_PARTICIPANT_ALIVE));
	count_pid(region, getpid(), 1, 0);
	/* One out here dies whose pid is in use in there. */
	here = ut_spawn(region, 0, hold_body, NULL);
	ut_hear(here.fd);
	spawn_inside(talk[0], STRANGER, here.pid);
	UT_EQ(4, ask(talk[0], COUNT));
	ut_kill(&here);
	UT_EQ(LSHM_OWNER_DIED, ask(talk[0], LOCK));
	UT_EQ(3, ask(talk[0], COUNT));
	/* Pid 1 in there dies, with the lock; pid 1 out here lives. */
	ut_say(outside.fd, 0);
	ut_hear(outside.fd);
	inherit_lock(region);
	UT_EQ(2, count_state(region, LSHM_PARTICIPANT_ALIVE));
	ut_say(outside.fd, 0);
	ut_join(&outside);
	close(talk[0]);
	TELL("both sides see each other live and die; equal pids do not "
	     "confuse",
	    "%llu deaths, each noticed by the other side",
	    (unsigned long long)deaths(region));
	UT_EQ(3, deaths(region));
	end_balanced(region);
}

/* ---- 8: exec, children, closed descriptors ---- */

/* Becomes another program, which waits for the end of its input. */
static void exec_body(struct lshm_region *region, int fd, void *arg)
{
	hold_things(region);
	ut_say(fd, 0);
	dup2(fd, STDIN_FILENO);
	execl("/bin/cat", "cat", NULL);
	ut_fail(UT_AT("execl(/bin/cat)"), "%m");
}

UT_TEST(exec_is_death, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	siginfo_t info = {0};
	struct ut_child child;
	int64_t taken;

	make_shared(region);
	child = ut_spawn(region, 0, exec_body, NULL);
	ut_hear(child.fd);
	taken = inherit_lock(region);
	UT_EQ(0,
	    waitid(P_PID, (id_t)child.pid, &info, WEXITED | WNOHANG | WNOWAIT));
	UT_EQ(0, info.si_pid); /* the process itself lives */
	lshm_region_reap(region);
	TELL("an exec counts as a death within 3000 ms",
	    "its lock inherited after %lld ms, %llu deaths, process alive",
	    (long long)taken, (unsigned long long)deaths(region));
	UT_EQ(1, deaths(region));
	ut_kill(&child);
	end_balanced(region);
}

/* A child that outlives the participant; it ends when the socket does. */
static void fork_child(int fd)
{
	char byte;
	pid_t pid = fork();

	if (pid == 0) {
		ut_say(fd, (uint64_t)getpid());
		_exit(read(fd, &byte, 1) != 0);
	}
}

/* This one has its parent's memory, and its parent sleeps meanwhile. */
static void vfork_child(int fd)
{
	static char byte;
	static uint64_t pid;

	if (vfork() == 0) {
		pid = (uint64_t)getpid();
		if (write(fd, &pid, sizeof(pid)) != sizeof(pid))
			_exit(1);
		_exit(read(fd, &byte, 1) != 0);
	}
}

static void spawn_child(int fd)
{
	char *const arguments[] = {(char[]){"cat"}, NULL};
	posix_spawn_file_actions_t actions;
	pid_t pid;

	UT_EQ(0, posix_spawn_file_actions_init(&actions));
	UT_EQ(0, posix_spawn_file_actions_adddup2(&actions, fd, STDIN_FILENO));
	UT_EQ(0,
	    posix_spawn(&pid, "/bin/cat", &actions, NULL, arguments, environ));
	posix_spawn_file_actions_destroy(&actions);
	ut_say(fd, (uint64_t)pid);
}

static const struct parent {
	const char *name;
	void (*make)(int fd);
} parents[] = {
    {"fork", fork_child},
    {"vfork", vfork_child},
    {"posix_spawn", spawn_child},
};

static void parent_body(struct lshm_region *region, int fd, void *arg)
{
	const struct parent *parent = arg;

	hold_things(region);
	parent->make(fd);
	pause();
}

UT_TEST(child_outlives_parent, UT_EACH)
{
	int64_t taken[UT_COUNT(parents)];

	for (size_t i = 0; i < UT_COUNT(parents); i++) {
		struct lshm_region *region = ut_create(UT_SMALL);
		struct ut_child child;
		pid_t grandchild;

		make_shared(region);
		child = ut_spawn(region, 0, parent_body, (void *)&parents[i]);
		grandchild = (pid_t)ut_hear(child.fd);
		UT_EQ(2, count_state(region, LSHM_PARTICIPANT_ALIVE));
		ut_kill_unreaped(&child);
		taken[i] = inherit_lock(region);
		UT_EQ(0, kill(grandchild, 0));
		lshm_region_reap(region);
		UT_EQ(1, deaths(region));
		/* It lives until the socket is closed. */
		ut_kill(&child);
		ut_wait_gone(grandchild);
		end_balanced(region);
	}
	TELL("a living child does not keep its dead parent alive",
	    "lock inherited after %lld ms (fork), %lld ms (vfork), %lld ms "
	    "(posix_spawn)",
	    (long long)taken[0], (long long)taken[1], (long long)taken[2]);
}

static void closer_body(struct lshm_region *region, int fd, void *arg)
{
	struct lshm_consumer *in = consumer(region, "there", NULL);
	struct lshm_producer *out = producer(region, "back", NULL);
	int files[32];
	uint64_t number;
	size_t size;
	void *block;
	int ret;

	UT_EQ(STDIN_FILENO, dup2(fd, STDIN_FILENO));
	UT_EQ(0, close_range(3, ~0u, 0));
	ut_say(STDIN_FILENO, 0);
	while ((ret = lshm_consumer_receive(
		    in, &number, sizeof(number), &size, UT_SOON)) == 0) {
		UT_SOME(block = lshm_alloc(region, 1000));
		crash_fill(block, 1000, number);
		UT_EQ(number, CRASH_WHOLE(block, 1000));
		UT_OK(lshm_free(region, block));
		if (number == 20) /* others have got the descriptors now */
			for (size_t i = 0; i < UT_COUNT(files); i++)
				files[i] = open("/dev/zero", O_RDWR);
		UT_OK(send_number(out, number, UT_SOON));
	}
	UT_EQ(-ENODATA, ret);
	UT_EQ(0, lshm_region_reap(region)); /* it cannot tell who is dead */
	for (size_t i = 0; i < UT_COUNT(files); i++)
		UT_EQ(0, close(files[i])); /* they are still ours */
	lshm_consumer_close(in);
	lshm_producer_close(out);
}

UT_TEST(descriptors_closed, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_producer *there = producer(region, "there", &broadcast8);
	struct lshm_consumer *back = consumer(region, "back", &broadcast8);
	struct ut_child child = ut_spawn(region, 0, closer_body, NULL);

	ut_hear(child.fd);
	for (uint64_t n = 0; n < 40; n++) {
		UT_EQ(2, count_state(region, LSHM_PARTICIPANT_ALIVE));
		UT_EQ(0, lshm_region_reap(region));
		UT_OK(send_number(there, n, UT_SOON));
		UT_EQ(n, receive_number(back, UT_SOON));
	}
	UT_OK(lshm_producer_end(there));
	ut_join(&child);
	TELL("after close_range(3, ~0u) it is alive, allocates and talks",
	    "40 messages there and back, %llu deaths",
	    (unsigned long long)deaths(region));
	UT_EQ(0, deaths(region));
	lshm_producer_close(there);
	lshm_consumer_close(back);
	UT_OK(lshm_channel_remove(region, "there"));
	UT_OK(lshm_channel_remove(region, "back"));
	end_balanced(region);
}

/* ---- 9: the region grows while others use it ---- */

enum { GROWERS = 4, PIECES = 160, PIECE = 128 << 10 };

struct grower {
	uintptr_t address;
};

static void check_piece(
    struct lshm_region *region, struct shared *shared, uint64_t n)
{
	void *block = lshm_at(region, shared->blocks[n], PIECE);

	UT_SOME(block);
	UT_EQ(n << 32, CRASH_WHOLE(block, PIECE));
}

static void add_piece(struct lshm_region *region, struct shared *shared)
{
	void *block;

	UT_OK(lshm_mutex_lock(region, &shared->mutex, UT_SOON));
	if (shared->count < PIECES) {
		UT_SOME(block = lshm_alloc(region, PIECE));
		crash_fill(block, PIECE, shared->count << 32);
		shared->blocks[shared->count] = lshm_offset(region, block);
		lshmi_store_release(&shared->count, shared->count + 1);
	}
	UT_OK(lshm_mutex_unlock(region, &shared->mutex));
}

static void grower_body(struct lshm_region *none, int fd, void *arg)
{
	const struct grower *grower = arg;
	struct lshm_region_opts opts =
	    LSHM_REGION_OPTS(.address = (void *)grower->address);
	struct lshm_region *region;
	struct shared *shared;
	uint64_t checked = 0, size;

	if (ut_backend->named)
		UT_OK(lshm_region_open(&region, ut_name, 0, &opts));
	else
		UT_OK(lshm_region_receive(&region, fd, 0, &opts));
	ut_say(fd, (uintptr_t)lshm_region_base(region));
	shared = find_shared(region);
	ut_hear(fd);
	while (checked < PIECES) {
		add_piece(region, shared);
		while (checked < lshmi_load_acquire(&shared->count))
			check_piece(region, shared, checked++);
	}
	for (uint64_t n = 0; n < PIECES; n++)
		check_piece(region, shared, n);
	ut_say(fd, 0);
	/* Grown by somebody else, just now. */
	size = ut_hear(fd);
	UT_SOME(lshm_at(region, size - 8, 8));
	UT_EQ(0, *(volatile uint64_t *)lshm_at(region, size - 8, 8));
	for (uint64_t n = 0; n < PIECES; n++)
		check_piece(region, shared, n);
	ut_say(fd, 0);
	ut_hear(fd); /* until then others look at its blocks */
	lshm_region_close(region);
}

UT_TEST(growth, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	uintptr_t base = (uintptr_t)lshm_region_base(region),
		  bases[GROWERS + 1];
	struct grower growers[GROWERS];
	struct ut_child children[GROWERS];
	struct lshm_region_info before, after;

	make_shared(region);
	bases[GROWERS] = base;
	for (uintptr_t i = 0; i < GROWERS; i++) {
		growers[i].address = base - (i + 1) * 256 * MIB;
		children[i] = ut_spawn(NULL, 0, grower_body, &growers[i]);
		if (!ut_backend->named)
			UT_OK(lshm_region_send(region, children[i].fd, 0));
		bases[i] = ut_hear(children[i].fd);
	}
	for (int i = 0; i <= GROWERS; i++)
		for (int k = 0; k < i; k++)
			UT_CMP(bases[i], !=, bases[k]);
	UT_OK(lshm_region_stat(region, &before));
	for (int i = 0; i < GROWERS; i++)
		ut_say(children[i].fd, 0);
	for (int i = 0; i < GROWERS; i++)
		ut_hear(children[i].fd);
	UT_OK(lshm_region_stat(region, &after));
	UT_CMP(after.size, >=, before.size + 18 * MIB);
	UT_CMP(after.size, <, 60 * MIB);
	UT_OK(lshm_region_grow(region, 64 * MIB));
	for (int i = 0; i < GROWERS; i++)
		ut_say(children[i].fd, 64 * MIB);
	for (int i = 0; i < GROWERS; i++)
		ut_hear(children[i].fd);
	for (int i = 0; i < GROWERS; i++) {
		ut_say(children[i].fd, 0);
		ut_join(&children[i]);
	}
	UT_PTR((void *)base, lshm_region_base(region));
	TELL("5 different bases, all see 160 pieces and the last byte at once",
	    "bases %lx %lx %lx %lx %lx; %llu bytes, %llu, 67108864",
	    (unsigned long)bases[4], (unsigned long)bases[0],
	    (unsigned long)bases[1], (unsigned long)bases[2],
	    (unsigned long)bases[3], (unsigned long long)before.size,
	    (unsigned long long)after.size);
	end_balanced(region);
}

/* ---- 10: a zombie is dead ---- */

static void exit_body(struct lshm_region *region, int fd, void *arg)
{
	hold_things(region);
	_exit(EXIT_SUCCESS); /* without a word */
}

UT_TEST(zombie, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct ut_child killed, exited;
	siginfo_t info;
	int64_t taken[2];

	make_shared(region);
	killed = ut_spawn(region, 0, hold_body, NULL);
	ut_hear(killed.fd);
	ut_kill_unreaped(&killed);
	UT_EQ(1, count_state(region, LSHM_PARTICIPANT_DEAD));
	taken[0] = inherit_lock(region);
	exited = ut_spawn(region, 0, exit_body, NULL);
	UT_EQ(0, waitid(P_PID, (id_t)exited.pid, &info, WEXITED | WNOWAIT));
	taken[1] = inherit_lock(region);
	lshm_region_reap(region);
	TELL("a zombie that nobody waits for counts as dead",
	    "locks inherited after %lld and %lld ms, %llu deaths",
	    (long long)taken[0], (long long)taken[1],
	    (unsigned long long)deaths(region));
	UT_EQ(2, deaths(region));
	UT_EQ(1, count_state(region, LSHM_PARTICIPANT_ALIVE));
	ut_kill(&killed);
	ut_join(&exited);
	end_balanced(region);
}

/* ---- 11: nothing is left of all that ---- */

/* How many processes have this parent? */
static int count_children(pid_t parent)
{
	DIR *dir = opendir("/proc");
	struct dirent *entry;
	int n = 0;

	UT_TRUE(dir);
	while ((entry = readdir(dir))) {
		char path[300];
		FILE *file;
		int seen;

		snprintf(path, sizeof(path), "/proc/%s/stat", entry->d_name);
		if (entry->d_name[0] > '9') /* "self" is no other */
			continue;
		file = fopen(path, "re");
		if (!file)
			continue;
		if (fscanf(file, "%*d (%*[^)]) %*c %d", &seen) == 1)
			n += seen == parent;
		fclose(file);
	}
	closedir(dir);
	return n;
}

/* The harness looks after each scenario; this looks after the harness. */
UT_TEST(nothing_left, UT_EACH)
{
	DIR *dir = opendir("/dev/shm");
	struct dirent *entry;
	char prefix[64];
	int files = 0, processes = count_children(getppid());

	UT_TRUE(dir);
	snprintf(prefix, sizeof(prefix), "lshm.ut.%d.", (int)getppid());
	while ((entry = readdir(dir)))
		files += strncmp(entry->d_name, prefix, strlen(prefix)) == 0;
	closedir(dir);
	TELL("no file, and no process but this one", "%d files, %d processes",
	    files, processes);
	UT_EQ(0, files);
	UT_EQ(1, processes);
}
