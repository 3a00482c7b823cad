/* SPDX-License-Identifier: MIT */
/*
 * test_channel_processes.c - producers and consumers in several processes, and
 * blocking; see channel.h
 *
 * What becomes of the messages of the dead is in test_channel_death.c.
 */
#include "channels.h"

#include <sched.h>
#include <sys/wait.h>

/* ---- blocking ---- */

static void echo_body(struct lshm_region *region, int fd, void *arg)
{
	struct lshm_consumer *in;
	struct lshm_producer *out;
	uint64_t number;
	size_t size;
	int ret;

	UT_OK(lshm_consumer_open(&in, region, "ping", &broadcast));
	UT_OK(lshm_producer_open(&out, region, "pong", &broadcast));
	while ((ret = lshm_consumer_receive(
		    in, &number, sizeof(number), &size, LSHM_FOREVER)) == 0)
		UT_OK(send_number(out, number + 1, UT_SOON));
	UT_EQ(-ENODATA, ret);
	lshm_consumer_close(in);
	lshm_producer_close(out);
}

UT_TEST(ping_pong, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_producer *out;
	struct lshm_consumer *in;
	struct ut_child child;

	UT_OK(lshm_producer_open(&out, region, "ping", &broadcast));
	UT_OK(lshm_consumer_open(&in, region, "pong", &broadcast));
	child = ut_spawn(region, 0, echo_body, NULL);
	UT_OK(lshm_producer_wait(out, 1, UT_SOON));
	UT_OK(lshm_consumer_wait(in, 1, UT_SOON));
	for (uint64_t n = ut_scale(2000); n; n--) {
		UT_OK(send_number(out, n, UT_SOON));
		UT_EQ(n + 1, receive_number(in, UT_SOON));
	}
	UT_OK(lshm_producer_end(out));
	ut_join(&child);
	lshm_producer_close(out);
	lshm_consumer_close(in);
	lshm_region_close(region);
}

static void slow_body(struct lshm_region *region, int fd, void *arg)
{
	struct lshm_consumer *in = consumer(region, "c", NULL);

	ut_say(fd, 0);
	for (uint64_t n = 0; n < 100; n++) {
		if (n % 10 == 0)
			ut_hear(fd); /* until then it is full */
		UT_EQ(n, receive_number(in, UT_SOON));
	}
	lshm_consumer_close(in);
}

static void back_pressure(const struct lshm_channel_opts *opts)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_producer *out = producer(region, "c", opts);
	struct ut_child child = ut_spawn(region, 0, slow_body, NULL);
	uint64_t n = 0;

	ut_hear(child.fd);
	for (int round = 0; round < 10; round++) {
		for (; n - 10 * (uint64_t)round < 8; n++)
			UT_OK(send_number(out, n, UT_SOON));
		UT_ERR(-EAGAIN, lshm_producer_send(out, &n, 8, LSHM_NOW));
		UT_ERR(-ETIMEDOUT, lshm_producer_send(out, &n, 8, UT_BRIEF));
		ut_say(child.fd, 0);
		/* goes on as soon as there is room */
		UT_OK(lshm_producer_send(out, &n, 8, LSHM_FOREVER));
		n++;
		UT_OK(lshm_producer_send(out, &n, 8, UT_SOON));
		n++;
		/* all ten are taken before the next round begins */
		while (channel_info(region, "c").backlog)
			sched_yield();
	}
	ut_join(&child);
	lshm_producer_close(out);
	nothing_leaks(region);
	lshm_region_close(region);
}

UT_TEST(back_pressure_broadcast, UT_EACH)
{
	back_pressure(&broadcast);
}

UT_TEST(back_pressure_work, UT_EACH)
{
	back_pressure(&work);
}

static void producer_body(struct lshm_region *region, int fd, void *arg)
{
	struct lshm_producer *out = producer(region, "c", NULL);

	UT_OK(send_number(out, 1, UT_SOON));
	ut_say(fd, 0);
	ut_hear(fd);
	lshm_producer_close(out);
}

/* A blocked consumer learns of the end, of leaving, and of death. */
static void the_end(const struct lshm_channel_opts *opts, int how)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_producer *out = producer(region, "c", opts);
	struct ut_child taker = ut_spawn(region, 0, blocked_take_body, NULL);
	struct ut_child giver;

	ut_hear(taker.fd);
	giver = ut_spawn(region, 0, producer_body, NULL);
	ut_hear(giver.fd);
	if (how == ENODATA)
		UT_OK(lshm_producer_end(out));
	lshm_producer_close(out);
	if (how == EPIPE) {
		ut_kill(&giver);
	} else {
		ut_say(giver.fd, 0);
		ut_join(&giver);
	}
	UT_EQ(how == ENODATA ? ENODATA : EPIPE, ut_hear(taker.fd));
	ut_join(&taker);
	UT_EQ(1, channel_info(region, "c").published);
	nothing_leaks(region);
	lshm_region_close(region);
}

UT_TEST(stream_ends, UT_EACH)
{
	the_end(&broadcast, ENODATA);
	the_end(&work, ENODATA);
}

UT_TEST(last_producer_leaves, UT_EACH)
{
	the_end(&broadcast, 0);
	the_end(&work, 0);
}

UT_TEST(last_producer_is_killed, UT_EACH)
{
	the_end(&broadcast, EPIPE);
	the_end(&work, EPIPE);
}

static void blocked_send_body(struct lshm_region *region, int fd, void *arg)
{
	struct lshm_producer *out = producer(region, "c", NULL);
	uint64_t n = 0;
	int ret;

	ut_say(fd, 0);
	do
		ret = lshm_producer_send(out, &n, 8, LSHM_FOREVER);
	while (ret == 0 && ++n < 100);
	ut_say(fd, (uint64_t)-ret);
	lshm_producer_close(out);
}

static void consumer_body(struct lshm_region *region, int fd, void *arg)
{
	struct lshm_consumer *in = consumer(region, "c", arg);
	struct lshm_message message;

	UT_OK(lshm_consumer_take(in, &message, LSHM_FOREVER));
	ut_say(fd, 0);
	ut_hear(fd);
	lshm_consumer_close(in);
}

/*
 * A blocked producer learns that the last consumer is gone. In broadcast
 * nobody is waited for then; in work-sharing nobody will ever make room.
 */
static void consumers_gone(const struct lshm_channel_opts *opts, bool killed)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_producer *out = producer(region, "c", opts);
	struct ut_child taker =
	    ut_spawn(region, 0, consumer_body, (void *)opts);
	struct ut_child giver;

	UT_OK(lshm_producer_wait(out, 1, UT_SOON));
	giver = ut_spawn(region, 0, blocked_send_body, NULL);
	ut_hear(giver.fd);
	ut_hear(taker.fd);
	if (killed) {
		ut_kill(&taker);
	} else {
		ut_say(taker.fd, 0);
		ut_join(&taker);
	}
	UT_EQ(opts->mode == LSHM_WORK ? EPIPE : 0, ut_hear(giver.fd));
	ut_join(&giver);
	lshm_producer_close(out);
	nothing_leaks(region);
	lshm_region_close(region);
}

UT_TEST(last_consumer_leaves, UT_EACH)
{
	consumers_gone(&broadcast, false);
	consumers_gone(&work, false);
}

UT_TEST(last_consumer_is_killed, UT_EACH)
{
	consumers_gone(&broadcast, true);
	consumers_gone(&work, true);
}

/* ---- several to several ---- */

enum { PRODUCERS = 3, CONSUMERS = 3 };

struct letter {
	uint32_t producer;
	uint32_t size; /* of the data */
	uint64_t number;
	uint64_t sum;
	uint8_t data[];
};

static uint64_t sum(const uint8_t *data, size_t size)
{
	uint64_t total = size;

	for (size_t i = 0; i < size; i++)
		total = total * 31 + data[i];
	return total;
}

struct traffic {
	uint32_t index;
	uint64_t letters;
	uint64_t seed;
};

static void writes_body(struct lshm_region *region, int fd, void *arg)
{
	struct traffic traffic = *(struct traffic *)arg;
	struct lshm_producer *out = producer(region, "c", NULL);

	UT_OK(lshm_producer_wait(out, CONSUMERS, UT_SOON));
	for (uint64_t n = 0; n < traffic.letters; n++) {
		uint32_t size = (uint32_t)(ut_random(&traffic.seed) % 500);
		struct letter *letter;

		if (ut_random(&traffic.seed) % 50 == 0)
			size *= 100;
		UT_OK(lshm_producer_loan(
		    out, sizeof(*letter) + size, UT_SOON, (void **)&letter));
		letter->producer = traffic.index;
		letter->size = size;
		letter->number = n;
		memset(letter->data, (int)(n * 7), size);
		letter->sum = sum(letter->data, size);
		UT_OK(lshm_producer_publish(out, letter, UT_SOON));
	}
	lshm_producer_close(out);
}

/* Says how many it got, and the sum of their numbers by producer. */
static void reads_body(struct lshm_region *region, int fd, void *arg)
{
	struct lshm_consumer *in = consumer(region, "c", NULL);
	uint64_t next[PRODUCERS] = {0}, total = 0, count = 0, last = 0;
	struct lshm_message message;
	bool all = channel_info(region, "c").mode == LSHM_BROADCAST;
	int ret;

	while ((ret = lshm_consumer_take(in, &message, UT_SOON)) == 0) {
		const struct letter *letter = message.data;

		UT_EQ(sizeof(*letter) + letter->size, message.size);
		UT_EQ(sum(letter->data, letter->size), letter->sum);
		UT_CMP(letter->producer, <, PRODUCERS);
		UT_EQ(1, message.deliveries);
		if (count)
			UT_CMP(message.sequence, >, last);
		if (all && count)
			UT_EQ(last + 1, message.sequence);
		last = message.sequence;
		/* each producer's in their order, and in broadcast all */
		UT_CMP(letter->number, >=, next[letter->producer]);
		if (all)
			UT_EQ(next[letter->producer], letter->number);
		next[letter->producer] = letter->number + 1;
		total += letter->number;
		count++;
		UT_OK(lshm_consumer_release(in, &message));
	}
	UT_EQ(-ENODATA, ret);
	ut_say(fd, count);
	ut_say(fd, total);
	lshm_consumer_close(in);
}

static void many_to_many(const struct lshm_channel_opts *opts)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_producer *out = producer(region, "c", opts);
	struct ut_child readers[CONSUMERS], writers[PRODUCERS];
	uint64_t letters = ut_scale(2000);
	uint64_t seed = ut_seed();
	uint64_t count = 0, total = 0;
	uint64_t expected = PRODUCERS * letters;
	uint64_t expected_total = PRODUCERS * (letters * (letters - 1) / 2);

	for (size_t i = 0; i < CONSUMERS; i++)
		readers[i] = ut_spawn(region, 0, reads_body, NULL);
	for (uint32_t i = 0; i < PRODUCERS; i++) {
		struct traffic traffic = {i, letters, seed + i};

		writers[i] = ut_spawn(region, 0, writes_body, &traffic);
	}
	for (size_t i = 0; i < PRODUCERS; i++)
		ut_join(&writers[i]);
	UT_OK(lshm_producer_end(out));
	for (size_t i = 0; i < CONSUMERS; i++) {
		count += ut_hear(readers[i].fd);
		total += ut_hear(readers[i].fd);
		ut_join(&readers[i]);
	}
	if (opts->mode == LSHM_BROADCAST) {
		expected *= CONSUMERS;
		expected_total *= CONSUMERS;
	}
	UT_EQ(expected, count);
	UT_EQ(expected_total, total);
	UT_EQ(PRODUCERS * letters, channel_info(region, "c").published);
	UT_EQ(0, channel_info(region, "c").backlog);
	UT_EQ(0, channel_info(region, "c").redelivered);
	lshm_producer_close(out);
	nothing_leaks(region);
	lshm_region_close(region);
}

UT_TEST(many_to_many_broadcast, UT_EACH)
{
	many_to_many(&broadcast);
}

UT_TEST(many_to_many_work, UT_EACH)
{
	many_to_many(&work);
}

/* A late joiner gets everything published after its open has returned. */
static void joins_body(struct lshm_region *region, int fd, void *arg)
{
	for (uint64_t i = ut_scale(100); i; i--) {
		uint64_t published = channel_info(region, "c").published;
		struct lshm_consumer *in = consumer(region, "c", NULL);
		struct lshm_message message;
		uint64_t first = 0;

		for (int n = 0; n < 5; n++) {
			UT_OK(lshm_consumer_take(in, &message, UT_SOON));
			if (n == 0)
				first = message.sequence;
			UT_EQ(first + (uint64_t)n, message.sequence);
			UT_EQ(
			    message.sequence, *(const uint64_t *)message.data);
			UT_OK(lshm_consumer_release(in, &message));
		}
		UT_CMP(first, >=, published);
		lshm_consumer_close(in);
	}
}

UT_TEST(broadcast_joiners, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_producer *out = producer(region, "c", &broadcast);
	struct ut_child children[2];
	siginfo_t info;
	uint64_t n = 0;

	for (size_t i = 0; i < 2; i++)
		children[i] = ut_spawn(region, 0, joins_body, NULL);
	for (size_t i = 0; i < 2; i++) {
		do
			UT_OK(send_number(out, n++, UT_SOON));
		while (waitid(P_PID, (id_t)children[i].pid, &info,
			   WEXITED | WNOHANG | WNOWAIT) == 0 &&
		       (info.si_pid == 0 || n % 64));
		ut_join(&children[i]);
	}
	lshm_producer_close(out);
	nothing_leaks(region);
	lshm_region_close(region);
}
