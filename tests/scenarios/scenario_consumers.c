/* SPDX-License-Identifier: MIT */
/*
 * scenario_consumers.c - consumers are killed, or stopped, with messages in
 * their hands
 */
#include "scenario.h"

#include <sched.h>

#include "../../libshm/atomic.h"

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

/* ---- a worker is killed while it holds messages ---- */

enum { JOBS = 2000, HELD = 3, ANSWERED = 2, BEFORE = 100 };

static const struct lshm_channel_opts work64 =
    LSHM_CHANNEL_OPTS(.mode = LSHM_WORK, .depth = 64);
static const struct lshm_channel_opts results4096 =
    LSHM_CHANNEL_OPTS(.mode = LSHM_BROADCAST, .depth = 4096);

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

/* ---- consumers are killed ---- */

UT_TEST(blocking_consumer_killed, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_consumer *in = consumer(region, "c", &broadcast);
	struct ut_child keeper =
	    ut_spawn(region, 0, keep_body, (void *)&broadcast);
	struct lshmi_channel *channel = find_channel(region, "c");
	uint64_t count = 100, n, number;
	struct ut_child sender;
	uint64_t start, taken;
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
	start = milliseconds();
	UT_EQ(n++, receive_number(in, GO_ON));
	taken = milliseconds() - start;
	for (; n < count; n++)
		UT_EQ(n, receive_number(in, UT_SOON));
	ut_join(&sender);
	TELL("the producer goes on within 3000 ms, the others miss nothing",
	    "it went on after %llu ms, %llu messages in order",
	    (unsigned long long)taken, (unsigned long long)n);
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
			UT_OK(send_number(out, n, GO_ON));
	} else {
		UT_ERR(-EPIPE, send_number(out, 8, GO_ON));
		in = consumer(region, "c", NULL);
		for (uint64_t n = 0; n < 8; n++) {
			UT_OK(lshm_consumer_take(in, &m, GO_ON));
			UT_EQ(n, m.sequence);
			UT_EQ(n < 2 ? 2 : 1, m.deliveries);
			UT_OK(lshm_consumer_release(in, &m));
		}
		UT_OK(send_number(out, 8, GO_ON));
		UT_EQ(8, receive_number(in, UT_SOON));
		lshm_consumer_close(in);
	}
	lshm_producer_close(out);
	UT_OK(lshm_channel_remove(region, "c"));
}

UT_TEST(all_consumers_killed, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);

	kill_all_consumers(region, &broadcast);
	kill_all_consumers(region, &work);
	TELL("broadcast: goes on; work-sharing: -EPIPE when full, not before, "
	     "until somebody joins, who gets everything",
	    "so it was");
	end_balanced(region);
}

/* ---- a stopped consumer is alive ---- */

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

	stop_consumer(region, &broadcast);
	stop_consumer(region, &work);
	TELL("back-pressure holds, nothing is reaped, nothing is lost",
	    "%llu deaths, 100 messages in order twice",
	    (unsigned long long)deaths(region));
	end_balanced(region);
}
