/* SPDX-License-Identifier: MIT */
/*
 * step_waiting.c - sweeps of channels that are full or empty, with somebody who
 * waits for that to change
 *
 * The one who waits must go on, whether the child did what wakes him or died
 * before.
 */
#include "step.h"

/* ---- nobody else waits ---- */

static void prepare_full_broadcast(struct world *w)
{
	prepare_broadcast(w);
	fill_log(w);
}

static void prepare_full_work(struct world *w)
{
	prepare_work(w);
	fill_log(w);
}

static void begin_loan(struct world *w)
{
	open_producer(w);
	loan(w);
}

static void publish_in_vain(struct world *w)
{
	UT_EQ(-EAGAIN, lshm_producer_publish(w->out, w->block, LSHM_NOW));
}

static void publish_times_out(struct world *w)
{
	UT_EQ(-ETIMEDOUT,
	    lshm_producer_publish(w->out, w->block, lshm_deadline_ms(200)));
}

static void take_in_vain(struct world *w)
{
	UT_EQ(-EAGAIN, lshm_consumer_take(w->in, &w->message, LSHM_NOW));
}

static void take_times_out(struct world *w)
{
	UT_EQ(-ETIMEDOUT,
	    lshm_consumer_take(w->in, &w->message, lshm_deadline_ms(200)));
}

static void finish_full(struct world *w)
{
	lshm_region_reap(w->region);
	UT_EQ(4, drain(w, false));
	finish_channel(w);
}

static void finish_empty(struct world *w)
{
	lshm_region_reap(w->region);
	UT_EQ(0, drain(w, false));
	finish_channel(w);
}

STEP(publish_full, UT_ONCE, .prepare = prepare_full_broadcast,
    .begin = begin_loan, .run = publish_in_vain, .finish = finish_full)
STEP(publish_full_work, UT_ONCE, .prepare = prepare_full_work,
    .begin = begin_loan, .run = publish_in_vain, .finish = finish_full)
STEP(publish_times_out, UT_ONCE, .prepare = prepare_full_broadcast,
    .begin = begin_loan, .run = publish_times_out,
    .first_deaths = STEP_ONE_DEATH, .finish = finish_full)
STEP(take_empty, UT_ONCE, .prepare = prepare_broadcast, .begin = open_consumer,
    .run = take_in_vain, .finish = finish_empty)
STEP(take_empty_work, UT_ONCE, .prepare = prepare_work, .begin = open_consumer,
    .run = take_in_vain, .finish = finish_empty)
STEP(take_times_out, UT_ONCE, .prepare = prepare_work, .begin = open_consumer,
    .run = take_times_out, .first_deaths = STEP_ONE_DEATH,
    .finish = finish_empty)

/* ---- somebody waits for a message ---- */

static void other_takes(struct world *w)
{
	struct lshm_message m;

	open_consumer(w);
	UT_OK(lshm_consumer_take(w->in, &m, UT_SOON));
	UT_EQ(5, CRASH_WHOLE(m.data, FILLED));
	UT_EQ(1, m.deliveries);
	UT_OK(lshm_consumer_release(w->in, &m));
	close_consumer(w);
}

/* The survivor publishes, too: one message or two, and somebody took one. */
static void finish_woken_work(struct world *w)
{
	uint64_t published, got;
	struct lshm_message m;

	published = channel_info(w).published - w->next;
	UT_TRUE(w->done ? published == 1 : published <= 1);
	if (!published)
		send_one(w);
	lshm_testing_join();
	lshm_region_reap(w->region);
	for (got = 0; lshm_consumer_take(w->in, &m, LSHM_NOW) == 0; got++)
		UT_OK(lshm_consumer_release(w->in, &m));
	UT_EQ(0, got);
	finish_channel(w);
}

static void finish_woken(struct world *w)
{
	uint64_t published = channel_info(w).published - w->next;

	UT_TRUE(w->done ? published == 1 : published <= 1);
	if (!published)
		send_one(w);
	lshm_testing_join();
	lshm_region_reap(w->region);
	UT_EQ(1, drain(w, false));
	finish_channel(w);
}

STEP(publish_to_sleeper, UT_EACH, .prepare = prepare_broadcast,
    .begin = begin_loan, .other = other_takes, .run = publish,
    .finish = finish_woken)
STEP(publish_work_to_sleeper, UT_ONCE, .prepare = prepare_work,
    .begin = begin_loan, .other = other_takes, .run = publish,
    .finish = finish_woken_work)

/* ---- somebody waits for the end of the stream ---- */

static void other_hears_end(struct world *w)
{
	struct lshm_message m;

	open_consumer(w);
	UT_EQ(-ENODATA, lshm_consumer_take(w->in, &m, UT_SOON));
	close_consumer(w);
}

static void end_stream(struct world *w)
{
	UT_OK(lshm_producer_end(w->out));
}

static void remove_all(struct world *w)
{
	close_producer(w);
	close_consumer(w);
	UT_OK(lshm_channel_remove(w->region, "c"));
}

static void finish_ended(struct world *w)
{
	UT_TRUE(!w->done || channel_info(w).ended);
	end_stream(w);
	lshm_testing_join();
	lshm_region_reap(w->region);
	remove_all(w);
}

STEP(end_with_sleeper, UT_ONCE, .prepare = prepare_broadcast,
    .begin = open_producer, .other = other_hears_end, .run = end_stream,
    .finish = finish_ended)

/* The last producer leaves, or dies: nobody will ever publish. */
static void other_hears_nobody(struct world *w)
{
	struct lshm_message m;

	open_consumer(w);
	UT_EQ(-EPIPE, lshm_consumer_take(w->in, &m, UT_SOON));
	close_consumer(w);
}

static void finish_left(struct world *w)
{
	lshm_testing_join();
	lshm_region_reap(w->region);
	UT_EQ(0, channel_info(w).producers);
	open_producer(w);
	finish_channel(w);
}

STEP(producer_close_with_sleeper, UT_ONCE, .prepare = prepare_broadcast,
    .begin = open_producer, .meanwhile = close_producer,
    .other = other_hears_nobody, .run = close_producer, .finish = finish_left)

/* ---- somebody waits for room ---- */

static void other_publishes(struct world *w)
{
	open_producer(w);
	loan(w);
	UT_OK(lshm_producer_publish(w->out, w->block, UT_SOON));
	close_producer(w);
}

/* The child is the slowest consumer; the survivor has taken all. */
static void begin_slowest(struct world *w)
{
	open_consumer(w);
	open_producer(w);
	fill_log(w);
	close_producer(w);
	take(w);
}

static void take_four(struct world *w)
{
	for (int i = 0; i < 4; i++) {
		take(w);
		release(w);
		w->next++;
	}
}

static void finish_room(struct world *w)
{
	lshm_testing_join();
	lshm_region_reap(w->region);
	UT_EQ(1, drain(w, false));
	finish_channel(w);
}

STEP(release_to_sleeper, UT_EACH, .prepare = prepare_broadcast,
    .begin = begin_slowest, .other = other_publishes, .meanwhile = take_four,
    .run = release, .finish = finish_room)
STEP(consumer_close_with_sleeper, UT_ONCE, .prepare = prepare_broadcast,
    .begin = begin_slowest, .other = other_publishes, .meanwhile = take_four,
    .run = close_consumer, .finish = finish_room)

static void begin_work_taken(struct world *w)
{
	open_consumer(w);
	take(w);
}

/* Four were there, one more is the other's; the child may have done one. */
static void finish_room_work(struct world *w)
{
	struct lshm_message m;
	uint64_t got = 0, again = 0;

	lshm_region_reap(w->region);
	while (got < 4 && lshm_consumer_take(w->in, &m, LSHM_NOW) == 0) {
		got++;
		again += m.deliveries - 1;
		UT_OK(lshm_consumer_release(w->in, &m));
	}
	lshm_testing_join();
	while (lshm_consumer_take(w->in, &m, LSHM_NOW) == 0) {
		got++;
		again += m.deliveries - 1;
		UT_OK(lshm_consumer_release(w->in, &m));
	}
	UT_EQ(4 + again, got);
	UT_TRUE(!w->done || again == 0);
	finish_channel(w);
}

STEP(release_work_to_sleeper, UT_ONCE, .prepare = prepare_full_work,
    .begin = begin_work_taken, .other = other_publishes, .run = release,
    .finish = finish_room_work)

/* ---- a dead one's message, and all the ends are the dead's ---- */

static void taker_body(struct lshm_region *region, int fd, void *arg)
{
	struct world w = {.region = region};

	open_consumer(&w);
	take(&w);
	ut_say(fd, 0);
	pause();
}

static void prepare_taken(struct world *w)
{
	prepare_work(w);
	send_one(w);
	start_victim(w, taker_body);
	ut_hear(w->victim.fd);
}

static void take_again(struct world *w)
{
	UT_OK(lshm_consumer_take(w->in, &w->message, UT_SOON));
	UT_EQ(2, w->message.deliveries);
}

static void finish_again(struct world *w)
{
	struct lshm_message m;

	lshm_region_reap(w->region);
	UT_OK(lshm_consumer_take(w->in, &m, LSHM_NOW));
	UT_CMP(m.deliveries, >=, 2);
	UT_CMP(m.deliveries, <=, 3);
	UT_OK(lshm_consumer_release(w->in, &m));
	finish_channel(w);
}

STEP(take_from_the_dead, UT_ONCE, .prepare = prepare_taken,
    .begin = open_consumer, .meanwhile = kill_victim, .run = take_again,
    .finish = finish_again)

static void crowd_body(struct lshm_region *region, int fd, void *arg)
{
	struct world w = {.region = region};

	for (int i = 1; i < LSHM_ENDPOINTS_MAX; i++)
		open_producer(&w);
	ut_say(fd, 0);
	pause();
}

static void prepare_crowd(struct world *w)
{
	prepare_broadcast(w);
	start_victim(w, crowd_body);
	ut_hear(w->victim.fd);
}

STEP(producer_open_among_the_dead, UT_ONCE, .prepare = prepare_crowd,
    .meanwhile = kill_victim, .run = open_producer, .finish = finish_empty)
