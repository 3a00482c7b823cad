/* SPDX-License-Identifier: MIT */
/*
 * test_channel.c - producers and consumers in one process; see channel.h
 *
 * Opening, removing and memory are in test_channel_open.c; what needs several
 * processes is in test_channel_processes.c.
 */
#include "channels.h"

/* ---- messages ---- */

UT_MODES(loan_publish_take_release)
{
	struct lshm_producer *out = producer(
	    region, "c", UT_CHANNEL(mode, .depth = 8, .max_message = 1000));
	struct lshm_consumer *in = consumer(region, "c", NULL);
	struct lshm_message message = {0};
	char *text;

	UT_ERR(-EAGAIN, lshm_consumer_take(in, &message, LSHM_NOW));
	UT_OK(lshm_producer_loan(out, 6, LSHM_NOW, (void **)&text));
	UT_EQ(0, (uintptr_t)text % 16);
	UT_CMP(lshm_offset(region, text), >, 0);
	strlcpy(text, "hello", 6);
	UT_ERR(-EAGAIN, lshm_consumer_take(in, &message, LSHM_NOW));
	UT_OK(lshm_producer_publish(out, text, LSHM_NOW));
	UT_OK(lshm_consumer_take(in, &message, LSHM_NOW));
	UT_PTR(text, message.data); /* it was not copied */
	UT_EQ(6, message.size);
	UT_STR("hello", message.data);
	UT_EQ(0, message.sequence);
	UT_EQ(1, message.deliveries);
	UT_EQ(0, message.reserved);
	UT_ERR(-EAGAIN, lshm_consumer_take(in, &message, LSHM_NOW));
	UT_OK(lshm_consumer_release(in, &message));
	UT_ERR(-EAGAIN, lshm_consumer_take(in, &message, LSHM_NOW));
	lshm_consumer_close(in);
	lshm_producer_close(out);
}

UT_MODES(discard)
{
	struct lshm_producer *out = producer(
	    region, "c", UT_CHANNEL(mode, .depth = 8, .max_message = 1000));
	struct lshm_consumer *in = consumer(region, "c", NULL);
	struct lshm_message message;
	uint64_t before = ut_heap(region).draft_blocks;
	void *loan;

	UT_OK(lshm_producer_loan(out, 100, LSHM_NOW, &loan));
	UT_OK(lshm_producer_discard(out, loan));
	UT_ERR(-EINVAL, lshm_producer_discard(out, loan), "loan");
	UT_ERR(-EINVAL, lshm_producer_publish(out, loan, LSHM_NOW), "loan");
	UT_ERR(-EAGAIN, lshm_consumer_take(in, &message, LSHM_NOW));
	UT_OK(send_number(out, 1, LSHM_NOW));
	UT_OK(lshm_consumer_take(in, &message, LSHM_NOW));
	UT_EQ(0, message.sequence); /* what was discarded has none */
	UT_OK(lshm_consumer_release(in, &message));
	UT_CMP(ut_heap(region).draft_blocks, <=, before);
	lshm_consumer_close(in);
	lshm_producer_close(out);
}

UT_MODES(sizes)
{
	struct lshm_producer *out = producer(
	    region, "c", UT_CHANNEL(mode, .depth = 4, .max_message = 300000));
	struct lshm_consumer *in = consumer(region, "c", NULL);
	static uint8_t data[300001], seen[300001];
	struct lshm_message message;
	size_t size, n = 0;

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7 + i / 255);
	for (size = 0; size <= 300000; size += 1 + size / 3, n++) {
		size_t got = SIZE_MAX;

		memset(seen, 0, sizeof(seen));
		UT_OK(lshm_producer_send(out, data, size, LSHM_NOW));
		UT_OK(lshm_consumer_receive(
		    in, seen, sizeof(seen), &got, LSHM_NOW));
		UT_EQ(size, got);
		UT_EQ(0, memcmp(data, seen, size));
		UT_EQ(0, seen[size]);
	}
	UT_OK(lshm_producer_send(out, data, 300000, LSHM_NOW));
	UT_OK(lshm_consumer_take(in, &message, LSHM_NOW));
	UT_EQ(300000, message.size);
	UT_EQ(n, message.sequence);
	UT_EQ(0, (uintptr_t)message.data % 16);
	UT_EQ(0, memcmp(data, message.data, 300000));
	UT_OK(lshm_consumer_release(in, &message));
	lshm_consumer_close(in);
	lshm_producer_close(out);
}

UT_MODES(empty_messages)
{
	struct lshm_producer *out = producer(
	    region, "c", UT_CHANNEL(mode, .depth = 4, .max_message = 10));
	struct lshm_consumer *in = consumer(region, "c", NULL);
	struct lshm_message message;
	size_t size = 77;
	void *loan;

	UT_OK(lshm_producer_loan(out, 0, LSHM_NOW, &loan));
	UT_OK(lshm_producer_publish(out, loan, LSHM_NOW));
	UT_OK(lshm_producer_send(out, NULL, 0, LSHM_NOW));
	UT_OK(lshm_consumer_take(in, &message, LSHM_NOW));
	UT_EQ(0, message.size);
	UT_OK(lshm_consumer_release(in, &message));
	UT_OK(lshm_consumer_receive(in, NULL, 0, &size, LSHM_NOW));
	UT_EQ(0, size);
	lshm_consumer_close(in);
	lshm_producer_close(out);
}

UT_MODES(too_large)
{
	struct lshm_producer *out = producer(
	    region, "c", UT_CHANNEL(mode, .depth = 4, .max_message = 100));
	struct lshm_consumer *in = consumer(region, "c", NULL);
	char buffer[101] = {0};
	size_t size = 0;
	void *loan = out;

	UT_ERR(-EMSGSIZE, lshm_producer_loan(out, 101, LSHM_NOW, &loan), "100",
	    "101");
	UT_ERR(-EMSGSIZE, lshm_producer_loan(out, SIZE_MAX, LSHM_NOW, &loan));
	UT_PTR(out, loan);
	UT_ERR(-EMSGSIZE, lshm_producer_send(out, buffer, 101, LSHM_NOW));
	UT_OK(lshm_producer_send(out, buffer, 100, LSHM_NOW));
	UT_ERR(-EMSGSIZE,
	    lshm_consumer_receive(in, buffer, 99, &size, LSHM_NOW), "99",
	    "100");
	UT_EQ(100, size); /* how large it is; and it is still there */
	UT_ERR(
	    -EMSGSIZE, lshm_consumer_receive(in, buffer, 0, &size, LSHM_NOW));
	UT_OK(lshm_consumer_receive(in, buffer, 100, &size, LSHM_NOW));
	UT_EQ(100, size);
	UT_EQ(0, channel_info(region, "c").redelivered);
	lshm_consumer_close(in);
	lshm_producer_close(out);
}

UT_MODES(sequence)
{
	struct lshm_producer *out =
	    producer(region, "c", UT_CHANNEL(mode, .depth = 4));
	struct lshm_consumer *in = consumer(region, "c", NULL);
	struct lshm_message message;

	for (uint64_t i = 0; i < ut_scale(10000); i++) {
		UT_OK(send_number(out, i * 3, LSHM_NOW));
		UT_OK(lshm_consumer_take(in, &message, LSHM_NOW));
		UT_EQ(i, message.sequence);
		UT_EQ(i * 3, *(const uint64_t *)message.data);
		UT_OK(lshm_consumer_release(in, &message));
	}
	UT_EQ(ut_scale(10000), channel_info(region, "c").published);
	lshm_consumer_close(in);
	lshm_producer_close(out);
}

/* ---- loans and holds, many and in any order ---- */

UT_MODES(many_loans)
{
	struct lshm_producer *out =
	    producer(region, "c", UT_CHANNEL(mode, .depth = 128));
	struct lshm_consumer *in = consumer(region, "c", NULL);
	uint64_t *loans[64];
	void *more;

	for (uint64_t i = 0; i < 64; i++) {
		UT_OK(lshm_producer_loan(
		    out, sizeof(i), LSHM_NOW, (void **)&loans[i]));
		*loans[i] = i;
	}
	UT_ERR(-EUSERS, lshm_producer_loan(out, 8, LSHM_NOW, &more), "64");
	/* published last first; the odd ones not at all */
	for (size_t i = 64; i; i--) {
		if (i % 2)
			UT_OK(
			    lshm_producer_publish(out, loans[i - 1], LSHM_NOW));
		else
			UT_OK(lshm_producer_discard(out, loans[i - 1]));
	}
	for (uint64_t i = 64; i; i--)
		if (i % 2)
			UT_EQ(i - 1, receive_number(in, LSHM_NOW));
	UT_OK(lshm_producer_loan(out, 8, LSHM_NOW, &more));
	lshm_consumer_close(in);
	lshm_producer_close(out); /* with a loan open */
	UT_CMP(ut_heap(region).draft_blocks, ==, 0);
}

UT_MODES(many_holds)
{
	struct lshm_producer *out =
	    producer(region, "c", UT_CHANNEL(mode, .depth = 128));
	struct lshm_consumer *in = consumer(region, "c", NULL);
	struct lshm_message held[64], more;

	for (uint64_t i = 0; i < 65; i++)
		UT_OK(send_number(out, i, LSHM_NOW));
	for (uint64_t i = 0; i < 64; i++) {
		UT_OK(lshm_consumer_take(in, &held[i], LSHM_NOW));
		UT_EQ(i, *(const uint64_t *)held[i].data);
	}
	UT_ERR(-EUSERS, lshm_consumer_take(in, &more, LSHM_NOW), "64");
	/* the even ones downwards, then the odd ones upwards */
	for (size_t i = 64; i; i -= 2) {
		UT_EQ(i - 2, *(const uint64_t *)held[i - 2].data);
		UT_OK(lshm_consumer_release(in, &held[i - 2]));
	}
	for (size_t i = 1; i < 64; i += 2) {
		UT_EQ(i, *(const uint64_t *)held[i].data);
		UT_OK(lshm_consumer_release(in, &held[i]));
	}
	UT_OK(lshm_consumer_take(in, &more, LSHM_NOW));
	UT_EQ(64, more.sequence);
	UT_OK(lshm_consumer_release(in, &more));
	UT_EQ(0, channel_info(region, "c").backlog);
	lshm_consumer_close(in);
	lshm_producer_close(out);
}

UT_MODES(not_mine)
{
	struct lshm_producer *out =
	    producer(region, "c", UT_CHANNEL(mode, .depth = 8));
	struct lshm_producer *other_out =
	    producer(region, "c", UT_CHANNEL(mode, .depth = 8));
	struct lshm_consumer *in = consumer(region, "c", NULL);
	struct lshm_consumer *other_in = consumer(region, "c", NULL);
	struct lshm_message message, copy;
	void *loan;
	char here[16];

	UT_OK(lshm_producer_loan(out, 8, LSHM_NOW, &loan));
	UT_ERR(-EINVAL, lshm_producer_publish(other_out, loan, LSHM_NOW));
	UT_ERR(-EINVAL, lshm_producer_discard(other_out, loan));
	UT_ERR(-EINVAL, lshm_producer_publish(out, here, LSHM_NOW), "loan");
	UT_ERR(-EINVAL, lshm_producer_publish(out, NULL, LSHM_NOW), "loan");
	UT_ERR(-EINVAL, lshm_producer_publish(out, (char *)loan + 16, LSHM_NOW),
	    "loan");
	UT_OK(lshm_producer_publish(out, loan, LSHM_NOW));
	UT_ERR(-EINVAL, lshm_producer_publish(out, loan, LSHM_NOW), "loan");
	UT_OK(lshm_consumer_take(in, &message, LSHM_NOW));
	copy = message;
	UT_ERR(-EINVAL, lshm_consumer_release(other_in, &message));
	copy.sequence += 8;
	UT_ERR(-EINVAL, lshm_consumer_release(in, &copy));
	UT_OK(lshm_consumer_release(in, &message));
	UT_ERR(-EINVAL, lshm_consumer_release(in, &message));
	lshm_consumer_close(in);
	lshm_consumer_close(other_in);
	lshm_producer_close(out);
	lshm_producer_close(other_out);
}

/* ---- the log is full ---- */

UT_MODES(back_pressure)
{
	struct lshm_producer *out =
	    producer(region, "c", UT_CHANNEL(mode, .depth = 4));
	struct lshm_consumer *in = consumer(region, "c", NULL);
	struct lshm_message first, message;
	int64_t deadline;
	void *loan;

	for (uint64_t i = 0; i < 4; i++)
		UT_OK(send_number(out, i, LSHM_NOW));
	UT_EQ(4, channel_info(region, "c").backlog);
	UT_OK(lshm_producer_loan(out, 8, LSHM_NOW, &loan));
	UT_ERR(-EAGAIN, lshm_producer_publish(out, loan, LSHM_NOW), "full");
	deadline = UT_BRIEF;
	UT_ERR(-ETIMEDOUT, lshm_producer_publish(out, loan, deadline), "full");
	UT_CMP((uint64_t)lshm_deadline_ms(0), >=, (uint64_t)deadline);
	UT_ERR(-ETIMEDOUT, lshm_producer_publish(out, loan, 1), "full");
	/* taken is not yet released */
	UT_OK(lshm_consumer_take(in, &first, LSHM_NOW));
	UT_ERR(-EAGAIN, lshm_producer_publish(out, loan, LSHM_NOW));
	/* and a later one released makes no room before the first */
	UT_OK(lshm_consumer_take(in, &message, LSHM_NOW));
	UT_OK(lshm_consumer_release(in, &message));
	UT_ERR(-EAGAIN, lshm_producer_publish(out, loan, LSHM_NOW));
	UT_OK(lshm_consumer_release(in, &first));
	*(uint64_t *)loan = 4; /* the loan is still the caller's */
	UT_OK(lshm_producer_publish(out, loan, LSHM_NOW));
	UT_OK(send_number(out, 5, LSHM_NOW));
	UT_ERR(-EAGAIN, lshm_producer_send(out, "x", 1, LSHM_NOW), "full");
	for (uint64_t i = 2; i < 6; i++)
		UT_EQ(i, receive_number(in, LSHM_NOW));
	lshm_consumer_close(in);
	lshm_producer_close(out);
}

/* Nobody has ever joined: work is kept, up to the depth. */
UT_TEST(work_before_any_consumer, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_producer *out =
	    producer(region, "c", UT_CHANNEL(LSHM_WORK, .depth = 4));
	struct lshm_consumer *in;

	for (uint64_t i = 0; i < 4; i++)
		UT_OK(send_number(out, i, LSHM_NOW));
	UT_ERR(-EAGAIN, lshm_producer_send(out, "x", 1, LSHM_NOW), "full");
	UT_ERR(-ETIMEDOUT, lshm_producer_send(out, "x", 1, UT_BRIEF), "full");
	in = consumer(region, "c", NULL);
	for (uint64_t i = 0; i < 4; i++)
		UT_EQ(i, receive_number(in, LSHM_NOW));
	lshm_consumer_close(in);
	lshm_producer_close(out);
	lshm_region_close(region);
}

UT_MODES(consumers_gone)
{
	struct lshm_producer *out =
	    producer(region, "c", UT_CHANNEL(mode, .depth = 2));
	struct lshm_consumer *in = consumer(region, "c", NULL);
	void *loan;
	int ret = 0;

	UT_OK(send_number(out, 0, LSHM_NOW));
	lshm_consumer_close(in);
	UT_OK(lshm_producer_loan(out, 8, LSHM_NOW, &loan));
	/* in broadcast nobody has to be waited for; work is kept */
	for (int i = 0; i < 4 && !ret; i++)
		ret = lshm_producer_send(out, "x", 1, LSHM_NOW);
	if (mode == LSHM_WORK)
		UT_ERR(-EPIPE, ret, "consumer");
	if (ret) {
		UT_ERR(-EPIPE, ret, "consumer");
		UT_ERR(-EPIPE, lshm_producer_publish(out, loan, LSHM_FOREVER),
		    "consumer");
		/* one who joins now gets it going again */
		in = consumer(region, "c", NULL);
		if (mode == LSHM_WORK) {
			UT_EQ(0, receive_number(in, LSHM_NOW));
			UT_OK(lshm_producer_publish(out, loan, LSHM_NOW));
		}
		lshm_consumer_close(in);
	}
	lshm_producer_close(out);
}

/* ---- the end ---- */

UT_MODES(end_of_stream)
{
	struct lshm_producer *out =
	    producer(region, "c", UT_CHANNEL(mode, .depth = 8));
	struct lshm_producer *other =
	    producer(region, "c", UT_CHANNEL(mode, .depth = 8));
	struct lshm_consumer *in = consumer(region, "c", NULL);
	struct lshm_message message;
	void *loan;

	UT_OK(send_number(out, 0, LSHM_NOW));
	UT_OK(send_number(out, 1, LSHM_NOW));
	UT_OK(lshm_producer_loan(other, 8, LSHM_NOW, &loan));
	UT_OK(lshm_producer_end(out));
	UT_OK(lshm_producer_end(out)); /* it does no harm twice */
	UT_OK(lshm_producer_end(other));
	UT_EQ(1, channel_info(region, "c").ended);
	/* nothing more, by anybody */
	UT_ERR(-ESHUTDOWN, lshm_producer_send(out, "x", 1, LSHM_NOW), "end");
	UT_ERR(-ESHUTDOWN, lshm_producer_publish(other, loan, LSHM_FOREVER),
	    "end");
	UT_OK(lshm_producer_discard(other, loan)); /* it still was other's */
	UT_ERR(
	    -ESHUTDOWN, lshm_producer_loan(other, 8, LSHM_NOW, &loan), "end");
	UT_EQ(0, receive_number(in, LSHM_NOW));
	UT_OK(lshm_consumer_take(in, &message, LSHM_NOW));
	UT_OK(lshm_consumer_release(in, &message));
	UT_ERR(-ENODATA, lshm_consumer_take(in, &message, LSHM_NOW), "end");
	UT_ERR(-ENODATA, lshm_consumer_take(in, &message, LSHM_FOREVER), "end");
	UT_EQ(2, channel_info(region, "c").published);
	lshm_producer_close(out);
	lshm_producer_close(other);
	/* ended is not "everybody died" */
	UT_ERR(-ENODATA, lshm_consumer_take(in, &message, LSHM_FOREVER), "end");
	lshm_consumer_close(in);
}

/* In work-sharing, what another one holds may come back. */
UT_TEST(end_waits_for_what_is_held, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_producer *out =
	    producer(region, "c", UT_CHANNEL(LSHM_WORK, .depth = 8));
	struct lshm_consumer *one = consumer(region, "c", NULL);
	struct lshm_consumer *two = consumer(region, "c", NULL);
	struct lshm_message message, other;

	UT_OK(send_number(out, 7, LSHM_NOW));
	UT_OK(lshm_producer_end(out));
	UT_OK(lshm_consumer_take(one, &message, LSHM_NOW));
	UT_ERR(-EAGAIN, lshm_consumer_take(two, &other, LSHM_NOW));
	UT_ERR(-ETIMEDOUT, lshm_consumer_take(two, &other, UT_BRIEF));
	lshm_consumer_close(one); /* not released */
	UT_OK(lshm_consumer_take(two, &other, LSHM_NOW));
	UT_EQ(message.sequence, other.sequence);
	UT_EQ(2, other.deliveries);
	UT_EQ(1, channel_info(region, "c").redelivered);
	UT_OK(lshm_consumer_release(two, &other));
	UT_ERR(-ENODATA, lshm_consumer_take(two, &other, LSHM_NOW), "end");
	lshm_consumer_close(two);
	lshm_producer_close(out);
	lshm_region_close(region);
}

UT_MODES(producers_gone)
{
	struct lshm_producer *out =
	    producer(region, "c", UT_CHANNEL(mode, .depth = 8));
	struct lshm_consumer *in = consumer(region, "c", NULL);
	struct lshm_message message;

	UT_OK(send_number(out, 5, LSHM_NOW));
	lshm_producer_close(out);
	UT_EQ(5, receive_number(in, LSHM_NOW)); /* what was published stays */
	UT_ERR(-EPIPE, lshm_consumer_take(in, &message, LSHM_NOW), "producer");
	UT_ERR(
	    -EPIPE, lshm_consumer_take(in, &message, LSHM_FOREVER), "producer");
	out = producer(region, "c", UT_CHANNEL(mode, .depth = 8));
	UT_ERR(-EAGAIN, lshm_consumer_take(in, &message, LSHM_NOW));
	UT_OK(send_number(out, 6, LSHM_NOW));
	UT_EQ(6, receive_number(in, LSHM_NOW));
	lshm_consumer_close(in);
	lshm_producer_close(out);
}

/* Before the first producer has come nobody is gone. */
UT_MODES(no_producer_yet)
{
	struct lshm_message message;
	struct lshm_consumer *in;

	UT_OK(lshm_consumer_open(&in, region, "c",
	    &(struct lshm_channel_opts)LSHM_CHANNEL_OPTS(.mode = mode)));
	UT_ERR(-EAGAIN, lshm_consumer_take(in, &message, LSHM_NOW));
	UT_ERR(-ETIMEDOUT, lshm_consumer_take(in, &message, UT_BRIEF));
	lshm_consumer_close(in);
}

UT_TEST(close_null, UT_ONCE)
{
	lshm_producer_close(NULL);
	lshm_consumer_close(NULL);
	UT_STR("", lshm_error());
}

/* ---- who gets what ---- */

UT_TEST(broadcast_to_all, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_producer *out =
	    producer(region, "c", UT_CHANNEL(LSHM_BROADCAST, .depth = 8));
	struct lshm_consumer *in[5];

	for (size_t i = 0; i < 5; i++)
		in[i] = consumer(region, "c", NULL);
	for (uint64_t n = 0; n < 100; n++) {
		UT_OK(send_number(out, n, LSHM_NOW));
		for (size_t i = 0; i < 5; i++)
			UT_EQ(n, receive_number(in[i], LSHM_NOW));
	}
	/* the slowest one sets the pace */
	for (uint64_t n = 0; n < 8; n++)
		UT_OK(send_number(out, n, LSHM_NOW));
	for (size_t i = 1; i < 5; i++)
		UT_EQ(0, receive_number(in[i], LSHM_NOW));
	UT_ERR(-EAGAIN, lshm_producer_send(out, "x", 1, LSHM_NOW), "full");
	UT_EQ(8, channel_info(region, "c").backlog);
	lshm_consumer_close(in[0]); /* and when it leaves, no more */
	UT_OK(send_number(out, 8, LSHM_NOW));
	UT_EQ(8, channel_info(region, "c").backlog);
	for (size_t i = 1; i < 5; i++)
		for (uint64_t n = 1; n < 9; n++)
			UT_EQ(n, receive_number(in[i], LSHM_NOW));
	UT_EQ(0, channel_info(region, "c").backlog);
	for (size_t i = 1; i < 5; i++)
		lshm_consumer_close(in[i]);
	lshm_producer_close(out);
	lshm_region_close(region);
}

/* Who joins late gets what is published from then on, and all of it. */
UT_TEST(broadcast_joiners, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_producer *out =
	    producer(region, "c", UT_CHANNEL(LSHM_BROADCAST, .depth = 8));
	struct lshm_consumer *early = consumer(region, "c", NULL);

	for (uint64_t n = 0; n < 100; n++) {
		struct lshm_consumer *late;
		struct lshm_message message;

		UT_OK(send_number(out, 3 * n, LSHM_NOW));
		late = consumer(region, "c", NULL);
		UT_OK(send_number(out, 3 * n + 1, LSHM_NOW));
		UT_OK(send_number(out, 3 * n + 2, LSHM_NOW));
		UT_OK(lshm_consumer_take(late, &message, LSHM_NOW));
		UT_EQ(3 * n + 1, message.sequence);
		UT_OK(lshm_consumer_release(late, &message));
		UT_EQ(3 * n + 2, receive_number(late, LSHM_NOW));
		UT_ERR(-EAGAIN, lshm_consumer_take(late, &message, LSHM_NOW));
		for (uint64_t i = 0; i < 3; i++)
			UT_EQ(3 * n + i, receive_number(early, LSHM_NOW));
		lshm_consumer_close(late);
	}
	lshm_consumer_close(early);
	lshm_producer_close(out);
	lshm_region_close(region);
}

UT_TEST(work_to_one, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_producer *out =
	    producer(region, "c", UT_CHANNEL(LSHM_WORK, .depth = 8));
	struct lshm_consumer *one = consumer(region, "c", NULL);
	struct lshm_consumer *two = consumer(region, "c", NULL);
	struct lshm_message message;

	for (uint64_t n = 0; n < 100; n++) {
		UT_OK(send_number(out, 2 * n, LSHM_NOW));
		UT_OK(send_number(out, 2 * n + 1, LSHM_NOW));
		UT_EQ(2 * n, receive_number(n % 3 ? one : two, LSHM_NOW));
		UT_EQ(2 * n + 1, receive_number(n % 2 ? one : two, LSHM_NOW));
		UT_ERR(-EAGAIN, lshm_consumer_take(one, &message, LSHM_NOW));
		UT_ERR(-EAGAIN, lshm_consumer_take(two, &message, LSHM_NOW));
	}
	lshm_consumer_close(one);
	lshm_consumer_close(two);
	lshm_producer_close(out);
	lshm_region_close(region);
}

/* Held by one who leaves: each goes to another one, the oldest first. */
UT_TEST(work_of_one_who_leaves, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_producer *out =
	    producer(region, "c", UT_CHANNEL(LSHM_WORK, .depth = 8));
	struct lshm_consumer *one = consumer(region, "c", NULL);
	struct lshm_consumer *two = consumer(region, "c", NULL);
	struct lshm_message message;

	for (uint64_t n = 0; n < 8; n++)
		UT_OK(send_number(out, n, LSHM_NOW));
	for (uint64_t n = 0; n < 6; n++) {
		UT_OK(lshm_consumer_take(one, &message, LSHM_NOW));
		if (n == 2)
			UT_OK(lshm_consumer_release(one, &message));
	}
	UT_EQ(7, channel_info(region, "c").backlog);
	lshm_consumer_close(one);
	for (uint64_t n = 0; n < 8; n++) {
		if (n == 2)
			continue;
		UT_OK(lshm_consumer_take(two, &message, LSHM_NOW));
		UT_EQ(n, message.sequence);
		UT_EQ(n, *(const uint64_t *)message.data);
		UT_EQ(n < 6 ? 2 : 1, message.deliveries);
		UT_OK(lshm_consumer_release(two, &message));
	}
	UT_EQ(5, channel_info(region, "c").redelivered);
	UT_EQ(0, channel_info(region, "c").backlog);
	UT_ERR(-EAGAIN, lshm_consumer_take(two, &message, LSHM_NOW));
	for (uint64_t n = 8; n < 16; n++)
		UT_OK(send_number(out, n, LSHM_NOW));
	for (uint64_t n = 8; n < 16; n++)
		UT_EQ(n, receive_number(two, LSHM_NOW));
	lshm_consumer_close(two);
	lshm_producer_close(out);
	lshm_region_close(region);
}
