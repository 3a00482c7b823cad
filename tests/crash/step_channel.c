/* SPDX-License-Identifier: MIT */
/* step_channel.c - sweeps of a channel's ends, and of coming and going */
#include "step.h"

/* ---- before the operation ---- */

/* The child sends them, so that it has joined before. */
static void begin_waiting(struct world *w)
{
	open_consumer(w);
	open_producer(w);
	send_one(w);
	send_one(w);
}

static void begin_taken(struct world *w)
{
	begin_waiting(w);
	take(w);
}

static void begin_loan(struct world *w)
{
	open_producer(w);
	loan(w);
}

static void begin_work_taken(struct world *w)
{
	open_consumer(w);
	take(w);
}

/* ---- after it ---- */

static void finish_none(struct world *w)
{
	lshm_region_reap(w->region);
	UT_EQ(0, drain(w, false));
	finish_channel(w);
}

static void finish_one(struct world *w)
{
	uint64_t got;

	lshm_region_reap(w->region);
	got = drain(w, false);
	UT_TRUE(w->done ? got == 1 : got <= 1);
	finish_channel(w);
}

static void finish_released(struct world *w)
{
	uint64_t got;

	lshm_region_reap(w->region);
	got = drain(w, true);
	UT_TRUE(w->done ? got == 1 : got == 1 || got == 2);
	/* a rescuer may die between giving it out again and counting that */
	UT_CMP(channel_info(w).redelivered, <=, got - 1);
	finish_channel(w);
}

/* ---- a producer ---- */

static void discard(struct world *w)
{
	UT_OK(lshm_producer_discard(w->out, w->block));
}

STEP(producer_open, UT_ONCE, .prepare = prepare_broadcast, .run = open_producer,
    .finish = finish_none)
STEP(producer_close, UT_ONCE, .prepare = prepare_broadcast,
    .begin = open_producer, .run = close_producer, .finish = finish_none)
STEP(producer_close_with_loan, UT_ONCE, .prepare = prepare_broadcast,
    .begin = begin_loan, .run = close_producer, .finish = finish_none)
STEP(loan, UT_ONCE, .prepare = prepare_broadcast, .begin = open_producer,
    .run = loan, .finish = finish_none)
STEP(discard, UT_ONCE, .prepare = prepare_broadcast, .begin = begin_loan,
    .run = discard, .finish = finish_none)
STEP(publish_broadcast, UT_ONCE, .prepare = prepare_broadcast,
    .begin = begin_loan, .run = publish, .finish = finish_one)
STEP(publish_work, UT_ONCE, .prepare = prepare_work, .begin = begin_loan,
    .run = publish, .finish = finish_one)
STEP(send, UT_ONCE, .prepare = prepare_broadcast, .begin = open_producer,
    .run = send_one, .finish = finish_one)

static void wait_for_consumer(struct world *w)
{
	UT_OK(lshm_producer_wait(w->out, 1, LSHM_NOW));
}

STEP(producer_wait, UT_ONCE, .prepare = prepare_broadcast,
    .begin = open_producer, .run = wait_for_consumer, .finish = finish_none)

/* ---- a consumer ---- */

static void wait_for_producer(struct world *w)
{
	UT_OK(lshm_consumer_wait(w->in, 1, LSHM_NOW));
}

static void receive(struct world *w)
{
	char buffer[MESSAGE];
	size_t size;

	UT_OK(lshm_consumer_receive(
	    w->in, buffer, sizeof(buffer), &size, LSHM_NOW));
	UT_EQ(MESSAGE, size);
	UT_EQ(5, CRASH_WHOLE(buffer, FILLED));
}

static void receive_too_large(struct world *w)
{
	char buffer[16];
	size_t size;

	UT_EQ(-EMSGSIZE, lshm_consumer_receive(
			     w->in, buffer, sizeof(buffer), &size, LSHM_NOW));
}

static void finish_received(struct world *w)
{
	uint64_t got;

	lshm_region_reap(w->region);
	got = drain(w, true);
	UT_TRUE(w->done ? got == 1 : got == 1 || got == 2);
	finish_channel(w);
}

STEP(consumer_open_broadcast, UT_ONCE, .prepare = prepare_broadcast,
    .run = open_consumer, .finish = finish_none)
STEP(consumer_open_work, UT_ONCE, .prepare = prepare_work_waiting,
    .run = open_consumer, .finish = finish_two)
STEP(consumer_close_broadcast, UT_ONCE, .prepare = prepare_broadcast,
    .begin = begin_taken, .run = close_consumer, .finish = finish_two)
STEP(consumer_close_work, UT_ONCE, .prepare = prepare_work_waiting,
    .begin = begin_work_taken, .run = close_consumer, .finish = finish_two)
STEP(take_broadcast, UT_ONCE, .prepare = prepare_broadcast,
    .begin = begin_waiting, .run = take, .finish = finish_two)
STEP(release_broadcast, UT_ONCE, .prepare = prepare_broadcast,
    .begin = begin_taken, .run = release, .finish = finish_two)
STEP(take_work, UT_ONCE, .prepare = prepare_work_waiting,
    .begin = open_consumer, .run = take, .finish = finish_two)
STEP(release_work, UT_ONCE, .prepare = prepare_work_waiting,
    .begin = begin_work_taken, .run = release, .finish = finish_released)
STEP(receive_broadcast, UT_ONCE, .prepare = prepare_broadcast,
    .begin = begin_waiting, .run = receive, .finish = finish_two)
STEP(receive_work, UT_ONCE, .prepare = prepare_work_waiting,
    .begin = open_consumer, .run = receive, .finish = finish_received)
STEP(receive_too_large, UT_ONCE, .prepare = prepare_work_waiting,
    .begin = open_consumer, .run = receive_too_large, .finish = finish_two)
STEP(consumer_wait, UT_ONCE, .prepare = prepare_broadcast,
    .begin = open_consumer, .run = wait_for_producer, .finish = finish_none)

/* ---- the end of the stream ---- */

static void end_stream(struct world *w)
{
	UT_OK(lshm_producer_end(w->out));
}

static void finish_ended(struct world *w)
{
	struct lshm_message m;

	lshm_region_reap(w->region);
	UT_TRUE(!w->done || channel_info(w).ended);
	end_stream(w);
	UT_EQ(-ENODATA, lshm_consumer_take(w->in, &m, LSHM_NOW));
	close_producer(w);
	close_consumer(w);
	UT_OK(lshm_channel_remove(w->region, "c"));
}

STEP(end, UT_ONCE, .prepare = prepare_broadcast, .begin = open_producer,
    .run = end_stream, .finish = finish_ended)

static void publish_after_end(struct world *w)
{
	UT_EQ(-ESHUTDOWN, lshm_producer_publish(w->out, w->block, LSHM_NOW));
}

STEP(publish_after_end, UT_ONCE, .prepare = prepare_broadcast,
    .begin = begin_loan, .meanwhile = end_stream, .run = publish_after_end,
    .finish = finish_ended)

/* ---- a channel comes and goes ---- */

static void prepare_gone(struct world *w)
{
	prepare_broadcast(w);
	close_producer(w);
	close_consumer(w);
	UT_OK(lshm_channel_remove(w->region, "c"));
}

static void prepare_left(struct world *w)
{
	prepare_broadcast(w);
	send_one(w);
	send_one(w);
	close_producer(w);
	close_consumer(w);
}

static void create_channel(struct world *w)
{
	UT_OK(lshm_producer_open(&w->out, w->region, "c", &work));
}

static void remove_channel(struct world *w)
{
	UT_OK(lshm_channel_remove(w->region, "c"));
}

static void finish_made(struct world *w)
{
	struct lshm_channel_info info;

	lshm_region_reap(w->region);
	UT_TRUE(!w->done || lshm_channel_stat(w->region, "c", &info) == 0);
	create_channel(w);
	open_consumer(w);
	finish_channel(w);
}

/* "The channel is there, perhaps ended and emptied, or gone." */
static void finish_removed(struct world *w)
{
	int ret;

	lshm_region_reap(w->region);
	ret = lshm_channel_remove(w->region, "c");
	UT_TRUE(w->done ? ret == -ENOENT : ret == 0 || ret == -ENOENT);
	create_channel(w);
	open_consumer(w);
	finish_channel(w);
}

STEP(channel_create, UT_ONCE, .prepare = prepare_gone, .run = create_channel,
    .finish = finish_made)
STEP(channel_remove, UT_ONCE, .prepare = prepare_left, .run = remove_channel,
    .finish = finish_removed)

/* The first channel of a region: the table of descriptors comes and stays. */
static void finish_first(struct world *w)
{
	lshm_region_reap(w->region);
	create_channel(w);
	open_consumer(w);
	finish_channel(w);
	keep(w);
	UT_CMP(w->books.attached_blocks, <=, 2);
}

static void create_and_loan(struct world *w)
{
	create_channel(w);
	loan(w);
}

STEP(channel_create_first, UT_ONCE, .run = create_and_loan,
    .finish = finish_first)

/* ---- looking ---- */

static void look(struct world *w)
{
	struct lshm_endpoint_info end;

	UT_EQ(1, channel_info(w).producers);
	for (uint32_t i = 0; i < 4; i++) {
		int ret = lshm_channel_endpoint(w->region, "c", i, &end);

		UT_TRUE(ret == 0 || ret == -ENOENT);
	}
}

STEP(channel_looks, UT_ONCE, .prepare = prepare_work_waiting, .run = look,
    .finish = finish_two)
