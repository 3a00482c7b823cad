/* SPDX-License-Identifier: MIT */
/*
 * test_channel_death.c - what becomes of the messages and loans of producers
 * and consumers that are killed, or stopped; see channel.h
 */
#include "channels.h"

static void takes_and_keeps_body(struct lshm_region *region, int fd, void *arg)
{
	struct lshm_consumer *in = consumer(region, "c", NULL);
	struct lshm_message message;

	for (int i = 0; i < 3; i++) {
		UT_OK(lshm_consumer_take(in, &message, UT_SOON));
		ut_say(fd, message.sequence);
	}
	ut_hear(fd);
}

/* What a dead consumer held is delivered to another one. */
UT_TEST(work_of_the_dead, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_producer *out = producer(region, "c", &work);
	struct lshm_consumer *in = consumer(region, "c", NULL);
	struct ut_child child;
	struct lshm_endpoint_info endpoint;
	struct lshm_message message;
	uint32_t held = 0, seen = 0;

	for (uint64_t n = 0; n < 5; n++)
		UT_OK(send_number(out, n, UT_SOON));
	child = ut_spawn(region, 0, takes_and_keeps_body, NULL);
	for (uint64_t n = 0; n < 3; n++)
		UT_EQ(n, ut_hear(child.fd));
	for (uint32_t i = 0; i < 2 * LSHM_ENDPOINTS_MAX; i++)
		if (lshm_channel_endpoint(region, "c", i, &endpoint) == 0 &&
		    endpoint.slot != 0) {
			UT_EQ(0, endpoint.producer);
			UT_EQ(1, endpoint.alive);
			held += endpoint.held;
		}
	UT_EQ(3, held);
	/* the living one gets what is left */
	UT_EQ(3, receive_number(in, UT_SOON));
	ut_kill(&child);
	for (uint32_t i = 0; i < 2 * LSHM_ENDPOINTS_MAX; i++)
		if (lshm_channel_endpoint(region, "c", i, &endpoint) == 0 &&
		    endpoint.slot != 0)
			UT_EQ(0, endpoint.alive);
	for (uint64_t n = 0; n < 4; n++) { /* in whatever order */
		UT_OK(lshm_consumer_take(in, &message, UT_SOON));
		UT_EQ(message.sequence, *(const uint64_t *)message.data);
		UT_EQ(message.sequence < 3 ? 2 : 1, message.deliveries);
		UT_EQ(0, seen & 1U << message.sequence);
		seen |= 1U << message.sequence;
		UT_OK(lshm_consumer_release(in, &message));
	}
	UT_EQ(0x17, seen); /* all but the one that was done before */
	UT_EQ(3, channel_info(region, "c").redelivered);
	UT_EQ(0, channel_info(region, "c").backlog);
	UT_EQ(1, channel_info(region, "c").consumers);
	UT_ERR(-EAGAIN, lshm_consumer_take(in, &message, LSHM_NOW));
	lshm_producer_close(out);
	lshm_consumer_close(in);
	nothing_leaks(region);
	lshm_region_close(region);
}

/* The same for one who waits already, and with no other message coming. */
UT_TEST(work_of_the_dead_to_one_who_waits, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_producer *out = producer(region, "c", &work);
	struct ut_child holder =
	    ut_spawn(region, 0, takes_and_keeps_body, NULL);
	struct ut_child waiter;

	for (uint64_t n = 0; n < 3; n++)
		UT_OK(send_number(out, n, UT_SOON));
	for (uint64_t n = 0; n < 3; n++)
		ut_hear(holder.fd);
	waiter = ut_spawn(region, 0, blocked_take_body, NULL);
	ut_hear(waiter.fd);
	UT_OK(lshm_producer_end(out));
	ut_kill(&holder);
	UT_EQ(ENODATA, ut_hear(waiter.fd)); /* it has done all three */
	ut_join(&waiter);
	UT_EQ(3, channel_info(region, "c").redelivered);
	UT_EQ(0, channel_info(region, "c").backlog);
	lshm_producer_close(out);
	nothing_leaks(region);
	lshm_region_close(region);
}

/* A stopped consumer is alive: its work is not given to others. */
UT_TEST(work_of_the_stopped, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_producer *out = producer(region, "c", &work);
	struct lshm_consumer *in = consumer(region, "c", NULL);
	struct ut_child child;
	struct lshm_message message;

	for (uint64_t n = 0; n < 3; n++)
		UT_OK(send_number(out, n, UT_SOON));
	child = ut_spawn(region, 0, takes_and_keeps_body, NULL);
	for (uint64_t n = 0; n < 3; n++)
		ut_hear(child.fd);
	ut_stop(&child);
	UT_ERR(-ETIMEDOUT, lshm_consumer_take(in, &message, UT_BRIEF));
	UT_EQ(3, channel_info(region, "c").backlog);
	ut_kill(&child);
	UT_OK(lshm_consumer_take(in, &message, UT_SOON));
	UT_EQ(2, message.deliveries);
	UT_OK(lshm_consumer_release(in, &message));
	lshm_consumer_close(in);
	lshm_producer_close(out);
	nothing_leaks(region);
	lshm_region_close(region);
}

/* A dead broadcast consumer holds nobody up. */
UT_TEST(broadcast_consumer_killed, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_producer *out = producer(region, "c", &broadcast);
	struct lshm_consumer *in = consumer(region, "c", NULL);
	struct ut_child child = ut_spawn(region, 0, takes_and_keeps_body, NULL);

	UT_OK(lshm_producer_wait(out, 2, UT_SOON));
	for (uint64_t n = 0; n < 8; n++)
		UT_OK(send_number(out, n, UT_SOON));
	for (uint64_t n = 0; n < 8; n++)
		UT_EQ(n, receive_number(in, UT_SOON));
	for (uint64_t n = 0; n < 3; n++)
		UT_EQ(n, ut_hear(child.fd));
	UT_ERR(-EAGAIN, lshm_producer_send(out, "x", 1, LSHM_NOW), "full");
	ut_kill(&child);
	for (uint64_t n = 8; n < 30; n++) {
		UT_OK(send_number(out, n, UT_SOON));
		UT_EQ(n, receive_number(in, UT_SOON));
	}
	UT_EQ(1, channel_info(region, "c").consumers);
	lshm_consumer_close(in);
	lshm_producer_close(out);
	nothing_leaks(region);
	lshm_region_close(region);
}

static void loans_body(struct lshm_region *region, int fd, void *arg)
{
	struct lshm_producer *out = producer(region, "c", NULL);
	void *loan;

	for (size_t i = 0; i < 20; i++)
		UT_OK(lshm_producer_loan(out, 1000 * i, UT_SOON, &loan));
	UT_OK(send_number(out, 77, UT_SOON));
	ut_say(fd, 0);
	ut_hear(fd);
}

/* A dead producer's loans are never seen, and come back. */
UT_TEST(producer_killed_with_loans, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_producer *out = producer(region, "c", &broadcast);
	struct lshm_consumer *in = consumer(region, "c", NULL);
	struct lshm_heap_info before, after;
	struct lshm_message message;

	UT_OK(send_number(out, 1, UT_SOON));
	UT_EQ(1, receive_number(in, UT_SOON));
	UT_OK(lshm_heap_stat(region, &before));
	for (int i = 0; i < 50; i++) {
		struct ut_child child = ut_spawn(region, 0, loans_body, NULL);

		ut_hear(child.fd);
		ut_kill(&child);
		UT_EQ(1, lshm_region_reap(region));
		UT_EQ(77, receive_number(in, UT_SOON));
		UT_ERR(-EAGAIN, lshm_consumer_take(in, &message, LSHM_NOW));
	}
	UT_OK(lshm_heap_stat(region, &after));
	UT_EQ(before.draft_blocks, after.draft_blocks);
	/* what the log keeps for its own use is bounded by its depth */
	UT_CMP(after.attached_blocks, <=, before.attached_blocks + 8);
	UT_CMP(after.run_bytes, <=, before.run_bytes + 64 * KIB);
	lshm_consumer_close(in);
	lshm_producer_close(out);
	nothing_leaks(region);
	lshm_region_close(region);
}

static void works_body(struct lshm_region *region, int fd, void *arg)
{
	struct lshm_consumer *in = consumer(region, "c", NULL);
	struct lshm_producer *out;
	struct lshm_message message;
	int ret;

	UT_OK(lshm_producer_open(&out, region, "results", NULL));
	ut_say(fd, 0);
	while ((ret = lshm_consumer_take(in, &message, UT_SOON)) == 0) {
		uint64_t result[2] = {
		    message.sequence, *(const uint64_t *)message.data * 3};

		UT_OK(lshm_producer_send(out, result, sizeof(result), UT_SOON));
		UT_OK(lshm_consumer_release(in, &message));
	}
	UT_EQ(-ENODATA, ret);
	lshm_producer_close(out);
	lshm_consumer_close(in);
}

static void feeds_body(struct lshm_region *region, int fd, void *arg)
{
	struct lshm_producer *out = producer(region, "c", NULL);

	for (uint64_t n = 0; n < *(uint64_t *)arg; n++)
		UT_OK(send_number(out, n, UT_SOON));
	UT_OK(lshm_producer_end(out));
	lshm_producer_close(out);
}

/*
 * Reader, workers, reducer. Workers are killed at random; every input has its
 * result, because results carry the input's sequence and repeats are ignored.
 */
UT_TEST(workers_killed_at_random, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_producer *out = producer(region, "c", &work);
	struct lshm_consumer *results;
	struct ut_child workers[3], feeder;
	uint64_t total = ut_scale(3000), seen = 0, kills = 0;
	uint64_t seed = ut_seed();
	bool *done = calloc(total, 1);

	UT_OK(lshm_consumer_open(&results, region, "results", &work));
	for (size_t i = 0; i < UT_COUNT(workers); i++) {
		workers[i] = ut_spawn(region, 0, works_body, NULL);
		ut_hear(workers[i].fd);
	}
	feeder = ut_spawn(region, 0, feeds_body, &total);
	while (seen < total) {
		uint64_t result[2];
		size_t size;

		UT_OK(lshm_consumer_receive(
		    results, result, sizeof(result), &size, UT_SOON));
		UT_EQ(sizeof(result), size);
		UT_CMP(result[0], <, total);
		UT_EQ(result[0] * 3, result[1]);
		seen += !done[result[0]];
		done[result[0]] = true;
		if (seen < total * 9 / 10 && ut_random(&seed) % 100 == 0) {
			size_t i = ut_random(&seed) % UT_COUNT(workers);

			ut_kill(&workers[i]);
			kills++;
			workers[i] = ut_spawn(region, 0, works_body, NULL);
			ut_hear(workers[i].fd); /* never all of them dead */
		}
	}
	ut_join(&feeder);
	for (size_t i = 0; i < UT_COUNT(workers); i++)
		ut_join(&workers[i]);
	UT_EQ(total, channel_info(region, "c").published);
	UT_EQ(0, channel_info(region, "c").backlog);
	UT_CMP(channel_info(region, "c").redelivered, <=, 64 * kills);
	free(done);
	lshm_consumer_close(results);
	lshm_producer_close(out);
	UT_OK(lshm_channel_remove(region, "results"));
	nothing_leaks(region);
	lshm_region_close(region);
}

static void sends_body(struct lshm_region *region, int fd, void *arg)
{
	struct lshm_producer *out = producer(region, "c", NULL);
	uint64_t message[50];

	ut_say(fd, 0);
	for (uint64_t n = 0;; n++) {
		for (size_t i = 0; i < 50; i++)
			message[i] = n;
		UT_OK(lshm_producer_send(
		    out, message, 8 + n % 50 * 8, LSHM_FOREVER));
	}
}

/* Producers killed at random: each message is whole, the log has no gap. */
static void producers_killed(const struct lshm_channel_opts *opts)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_producer *out = producer(region, "c", opts);
	struct lshm_consumer *in = consumer(region, "c", NULL);
	uint64_t seed = ut_seed(), next = 0;
	struct ut_child children[2];

	for (size_t i = 0; i < 2; i++) {
		children[i] = ut_spawn(region, 0, sends_body, NULL);
		ut_hear(children[i].fd);
	}
	for (uint64_t kills = ut_scale(40); kills; kills--) {
		size_t i = ut_random(&seed) % 2;

		for (uint64_t n = ut_random(&seed) % 200; n; n--) {
			const uint64_t *data;
			struct lshm_message message;

			UT_OK(lshm_consumer_take(in, &message, UT_SOON));
			UT_EQ(next, message.sequence);
			next++;
			data = message.data;
			UT_EQ(8 + data[0] % 50 * 8, message.size);
			for (size_t j = 0; j < message.size / 8; j++)
				UT_EQ(data[0], data[j]);
			UT_OK(lshm_consumer_release(in, &message));
		}
		ut_kill(&children[i]);
		children[i] = ut_spawn(region, 0, sends_body, NULL);
		ut_hear(children[i].fd);
	}
	for (size_t i = 0; i < 2; i++)
		ut_kill(&children[i]);
	UT_OK(lshm_producer_end(out));
	for (int ret = 0; ret == 0;) {
		struct lshm_message message;

		ret = lshm_consumer_take(in, &message, UT_SOON);
		if (ret)
			UT_EQ(-ENODATA, ret);
		else
			UT_OK(lshm_consumer_release(in, &message));
	}
	lshm_consumer_close(in);
	lshm_producer_close(out);
	nothing_leaks(region);
	lshm_region_close(region);
}

UT_TEST(producers_killed_broadcast, UT_EACH)
{
	producers_killed(&broadcast);
}

UT_TEST(producers_killed_work, UT_EACH)
{
	producers_killed(&work);
}
