/* SPDX-License-Identifier: MIT */
/*
 * test_channel_open.c - channels of all sizes, their ends and figures, and what
 * they leave in the heap; see channel.h
 */
#include "channels.h"

/* ---- opening ---- */

UT_MODES(options)
{
	struct lshm_channel_opts opts = LSHM_CHANNEL_OPTS(.mode = mode);
	struct lshm_producer *out = NULL;
	struct lshm_consumer *in = NULL;
	struct lshm_channel_info info;

	UT_ERR(-ENOENT, lshm_producer_open(&out, region, "c", NULL), "c");
	UT_ERR(-ENOENT, lshm_consumer_open(&in, region, "c", NULL), "c");
	UT_ERR(-ENOENT, lshm_channel_stat(region, "c", &info), "c");
	UT_ERR(-ENOENT, lshm_channel_remove(region, "c"), "c");
	UT_OK(lshm_producer_open(&out, region, "c", &opts));
	info = channel_info(region, "c");
	UT_EQ(mode, info.mode);
	UT_EQ(64, info.depth);
	UT_EQ(64 * KIB, info.max_message);
	/* the same said otherwise */
	opts.depth = 64;
	opts.max_message = 64 * KIB;
	UT_OK(lshm_consumer_open(&in, region, "c", &opts));
	lshm_consumer_close(in);
	opts.depth = 33; /* rounded up */
	UT_OK(lshm_consumer_open(&in, region, "c", &opts));
	lshm_consumer_close(in);
	in = NULL;
	opts.depth = 65;
	UT_ERR(-EPROTOTYPE, lshm_consumer_open(&in, region, "c", &opts), "64",
	    "128");
	opts.depth = 0;
	opts.max_message = 10;
	UT_ERR(-EPROTOTYPE, lshm_consumer_open(&in, region, "c", &opts),
	    "65536", "10");
	opts.max_message = 0;
	opts.mode = !mode;
	UT_ERR(
	    -EPROTOTYPE, lshm_consumer_open(&in, region, "c", &opts), "mode");
	opts.mode = 2;
	UT_ERR(-EINVAL, lshm_consumer_open(&in, region, "d", &opts), "mode");
	opts.mode = mode;
	opts.depth = 1048577;
	UT_ERR(-EINVAL, lshm_consumer_open(&in, region, "d", &opts), "1048576");
	opts.depth = UINT32_MAX;
	UT_ERR(-EINVAL, lshm_consumer_open(&in, region, "d", &opts), "1048576");
	opts.depth = 0;
	UT_ERR(-EINVAL, lshm_consumer_open(&in, region, "", &opts), "name");
	UT_ERR(-ENAMETOOLONG,
	    lshm_consumer_open(&in, region,
		"a name of fifty-six bytes is one byte more than there can be",
		&opts),
	    "55");
	UT_OK(lshm_object_create(region, "o", "t", 1, NULL, NULL, NULL));
	UT_ERR(-EPROTOTYPE, lshm_consumer_open(&in, region, "o", &opts), "t");
	UT_ERR(-EPROTOTYPE, lshm_producer_open(&out, region, "o", NULL), "t");
	UT_ERR(-EPROTOTYPE, lshm_channel_stat(region, "o", &info), "t");
	UT_ERR(-EPROTOTYPE, lshm_channel_remove(region, "o"), "t");
	UT_PTR(NULL, in);
	lshm_producer_close(out);
}

UT_MODES(depth_one)
{
	struct lshm_producer *out =
	    producer(region, "c", UT_CHANNEL(mode, .depth = 1));
	struct lshm_consumer *in = consumer(region, "c", NULL);

	UT_EQ(1, channel_info(region, "c").depth);
	for (uint64_t n = 0; n < 1000; n++) {
		UT_OK(send_number(out, n, LSHM_NOW));
		UT_ERR(-EAGAIN, lshm_producer_send(out, "x", 1, LSHM_NOW));
		UT_EQ(n, receive_number(in, LSHM_NOW));
	}
	lshm_consumer_close(in);
	lshm_producer_close(out);
}

UT_MODES(great_depth)
{
	struct lshm_producer *out =
	    producer(region, "c", UT_CHANNEL(mode, .depth = 100000));
	struct lshm_consumer *in = consumer(region, "c", NULL);
	uint64_t n = ut_scale(20000);

	UT_EQ(131072, channel_info(region, "c").depth);
	for (uint64_t i = 0; i < n; i++)
		UT_OK(send_number(out, i, LSHM_NOW));
	UT_EQ(n, channel_info(region, "c").backlog);
	for (uint64_t i = 0; i < n; i++)
		UT_EQ(i, receive_number(in, LSHM_NOW));
	lshm_consumer_close(in);
	lshm_producer_close(out);
}

UT_MODES(endpoints)
{
	struct lshm_producer *outs[LSHM_ENDPOINTS_MAX], *out;
	struct lshm_consumer *ins[LSHM_ENDPOINTS_MAX], *in;
	struct lshm_endpoint_info info;
	unsigned int producers = 0, consumers = 0;

	for (size_t i = 0; i < LSHM_ENDPOINTS_MAX; i++) {
		outs[i] = producer(region, "c", UT_CHANNEL(mode, .depth = 8));
		ins[i] = consumer(region, "c", NULL);
	}
	UT_ERR(-EUSERS, lshm_producer_open(&out, region, "c", NULL), "64");
	UT_ERR(-EUSERS, lshm_consumer_open(&in, region, "c", NULL), "64");
	UT_EQ(64, channel_info(region, "c").producers);
	UT_EQ(64, channel_info(region, "c").consumers);
	UT_OK(lshm_producer_send(outs[0], "x", 1, LSHM_NOW));
	for (uint32_t i = 0; i < 2 * LSHM_ENDPOINTS_MAX; i++) {
		UT_OK(lshm_channel_endpoint(region, "c", i, &info));
		UT_EQ(1, info.alive);
		UT_EQ(0, info.held);
		UT_EQ(0, info.slot);
		producers += info.producer == 1;
		consumers += info.producer == 0;
	}
	UT_EQ(64, producers);
	UT_EQ(64, consumers);
	UT_ERR(-EINVAL, lshm_channel_endpoint(region, "c", 128, &info));
	for (size_t i = 0; i < LSHM_ENDPOINTS_MAX; i++) {
		lshm_producer_close(outs[i]);
		lshm_consumer_close(ins[i]);
	}
	UT_ERR(-ENOENT, lshm_channel_endpoint(region, "c", 0, &info));
	UT_ERR(-ENOENT, lshm_channel_endpoint(region, "d", 0, &info));
	out = producer(region, "c", UT_CHANNEL(mode, .depth = 8));
	lshm_producer_close(out);
}

UT_MODES(figures)
{
	struct lshm_producer *out =
	    producer(region, "c", UT_CHANNEL(mode, .depth = 8));
	struct lshm_consumer *in = consumer(region, "c", NULL);
	struct lshm_endpoint_info info;
	struct lshm_message held[2];

	for (uint64_t n = 0; n < 5; n++)
		UT_OK(send_number(out, n, LSHM_NOW));
	UT_EQ(0, receive_number(in, LSHM_NOW));
	UT_OK(lshm_consumer_take(in, &held[0], LSHM_NOW));
	UT_OK(lshm_consumer_take(in, &held[1], LSHM_NOW));
	UT_EQ(5, channel_info(region, "c").published);
	UT_EQ(4, channel_info(region, "c").backlog);
	UT_EQ(1, channel_info(region, "c").producers);
	UT_EQ(1, channel_info(region, "c").consumers);
	UT_EQ(0, channel_info(region, "c").ended);
	UT_EQ(0, channel_info(region, "c").redelivered);
	for (uint32_t i = 0; i < 128; i++) {
		if (lshm_channel_endpoint(region, "c", i, &info) < 0 ||
		    info.producer)
			continue;
		if (mode == LSHM_WORK)
			UT_EQ(2, info.held);
		else
			UT_EQ(1, info.position); /* the oldest one held */
	}
	UT_OK(lshm_consumer_release(in, &held[0]));
	UT_OK(lshm_consumer_release(in, &held[1]));
	UT_EQ(2, channel_info(region, "c").backlog);
	lshm_consumer_close(in);
	lshm_producer_close(out);
	UT_EQ(0, channel_info(region, "c").producers);
	UT_EQ(0, channel_info(region, "c").consumers);
}

UT_MODES(waiting_for_others)
{
	struct lshm_producer *out =
	    producer(region, "c", UT_CHANNEL(mode, .depth = 8));
	struct lshm_consumer *in;

	UT_OK(lshm_producer_wait(out, 0, LSHM_NOW));
	UT_ERR(-EAGAIN, lshm_producer_wait(out, 1, LSHM_NOW));
	UT_ERR(-ETIMEDOUT, lshm_producer_wait(out, 1, UT_BRIEF));
	in = consumer(region, "c", NULL);
	UT_OK(lshm_producer_wait(out, 1, LSHM_FOREVER));
	UT_ERR(-EAGAIN, lshm_producer_wait(out, 2, LSHM_NOW));
	UT_OK(lshm_consumer_wait(in, 1, LSHM_FOREVER));
	UT_ERR(-ETIMEDOUT, lshm_consumer_wait(in, 2, UT_BRIEF));
	lshm_producer_close(out);
	UT_ERR(-EAGAIN, lshm_consumer_wait(in, 1, LSHM_NOW));
	lshm_consumer_close(in);
}

UT_MODES(remove_it)
{
	struct lshm_heap_info before, after;
	struct lshm_channel_info info;
	struct lshm_producer *out;
	struct lshm_consumer *in;
	uint64_t rest = 0;

	for (int round = 0; round < 5; round++) {
		before = ut_heap(region);
		out = producer(region, "c",
		    UT_CHANNEL(mode, .depth = 64, .max_message = 200000));
		in = consumer(region, "c", NULL);
		for (uint64_t n = 0; n < 50; n++)
			UT_OK(send_number(out, n, LSHM_NOW));
		UT_OK(lshm_producer_send(
		    out, lshm_region_base(region), 150000, LSHM_NOW));
		UT_ERR(-EBUSY, lshm_channel_remove(region, "c"), "producer");
		lshm_producer_close(out);
		UT_ERR(-EBUSY, lshm_channel_remove(region, "c"), "consumer");
		lshm_consumer_close(in);
		UT_OK(lshm_channel_remove(region, "c"));
		UT_ERR(-ENOENT, lshm_channel_remove(region, "c"));
		UT_ERR(-ENOENT, lshm_channel_stat(region, "c", &info));
		after = ut_heap(region);
		if (round == 0) { /* the table of descriptors stays */
			rest = after.attached_blocks;
			continue;
		}
		UT_EQ(rest, after.attached_blocks);
		UT_EQ(before.attached_bytes, after.attached_bytes);
		UT_EQ(before.draft_bytes, after.draft_bytes);
	}
	/* a new one of that name begins anew, and may be of another kind */
	out = producer(
	    region, "c", UT_CHANNEL(!mode, .depth = 4, .max_message = 100));
	UT_EQ(0, channel_info(region, "c").published);
	lshm_producer_close(out);
}

/* ---- memory ---- */

UT_MODES(larger_than_the_heap)
{
	struct lshm_region *small = ut_create(
	    &(struct lshm_region_opts)LSHM_REGION_OPTS(.size = 2 * MIB));
	struct lshm_producer *out = producer(
	    small, "c", UT_CHANNEL(mode, .depth = 8, .max_message = 64 * MIB));
	struct lshm_consumer *in = consumer(small, "c", NULL);
	struct lshm_message message;
	void *loan;

	UT_ERR(-ENOMEM, lshm_producer_loan(out, 8 * MIB, LSHM_FOREVER, &loan),
	    "full");
	/* more than half: one at a time */
	UT_OK(lshm_producer_loan(out, MIB, LSHM_NOW, &loan));
	UT_OK(lshm_producer_publish(out, loan, LSHM_NOW));
	UT_ERR(-EAGAIN, lshm_producer_loan(out, MIB, LSHM_NOW, &loan), "heap");
	UT_ERR(
	    -ETIMEDOUT, lshm_producer_loan(out, MIB, UT_BRIEF, &loan), "heap");
	UT_OK(lshm_consumer_take(in, &message, LSHM_NOW));
	UT_ERR(-EAGAIN, lshm_producer_loan(out, MIB, LSHM_NOW, &loan), "heap");
	UT_OK(lshm_consumer_release(in, &message));
	UT_OK(lshm_producer_loan(out, MIB, LSHM_NOW, &loan));
	UT_OK(lshm_producer_publish(out, loan, LSHM_NOW));
	lshm_consumer_close(in);
	if (mode == LSHM_WORK)
		UT_ERR(-EPIPE,
		    lshm_producer_loan(out, MIB, LSHM_FOREVER, &loan),
		    "consumer");
	lshm_producer_close(out);
	lshm_region_close(small);
}

/* Many large messages, of all sizes, flow through a small heap. */
UT_MODES(through_a_small_heap)
{
	struct lshm_region *small = ut_create(
	    &(struct lshm_region_opts)LSHM_REGION_OPTS(.size = 2 * MIB));
	struct lshm_producer *out = producer(
	    small, "c", UT_CHANNEL(mode, .depth = 16, .max_message = MIB));
	struct lshm_consumer *in = consumer(small, "c", NULL);
	uint64_t seed = ut_seed();
	uint64_t sent = 0, received = 0;

	while (received < ut_scale(2000)) {
		size_t size = 8 + ut_random(&seed) % (600 * KIB) / 8 * 8;
		struct lshm_message message;
		uint64_t *loan;
		int ret =
		    lshm_producer_loan(out, size, LSHM_NOW, (void **)&loan);

		if (ret == 0) {
			loan[0] = sent;
			loan[size / 8 - 1] = sent;
			ret = lshm_producer_publish(out, loan, LSHM_NOW);
			if (ret)
				UT_OK(lshm_producer_discard(out, loan));
			else
				sent++;
		}
		if (ret)
			UT_EQ(-EAGAIN, ret);
		if (ret || ut_random(&seed) % 2) {
			const uint64_t *data;

			ret = lshm_consumer_take(in, &message, LSHM_NOW);
			if (sent == received) {
				UT_EQ(-EAGAIN, ret);
				continue;
			}
			UT_OK(ret);
			data = message.data;
			UT_EQ(received, message.sequence);
			UT_EQ(received, data[0]);
			UT_EQ(received, data[message.size / 8 - 1]);
			UT_OK(lshm_consumer_release(in, &message));
			received++;
		}
	}
	lshm_consumer_close(in);
	lshm_producer_close(out);
	UT_OK(lshm_channel_remove(small, "c"));
	UT_EQ(0, ut_heap(small).run_bytes);
	lshm_region_close(small);
}
