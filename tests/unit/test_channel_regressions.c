/* SPDX-License-Identifier: MIT */
/*
 * test_channel_regressions.c - what has been wrong once in channels, and must
 * not be again
 *
 * As test_regressions.c.
 */
#include "channels.h"

#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/time.h>

#include "../../libshm/atomic.h"
#include "../../libshm/layout.h"

static const struct lshm_channel_opts work4 =
    LSHM_CHANNEL_OPTS(.mode = LSHM_WORK, .depth = 4);
static const struct lshm_channel_opts broadcast4 =
    LSHM_CHANNEL_OPTS(.mode = LSHM_BROADCAST, .depth = 4);

static struct lshmi_channel *channel(
    struct lshm_region *region, const char *name)
{
	void *block;

	UT_OK(lshm_object_open(region, name, LSHM_CHANNEL_TYPE, 0, &block));
	return block;
}

/* How many descriptors the region's table has room for. */
static uint64_t descriptors(struct lshm_region *region)
{
	struct lshmi_header *header = lshm_region_base(region);
	uint64_t n = 0;

	for (int k = 0; k < LSHMI_DESC_SEGMENTS; k++)
		if (header->desc_segments[k])
			n += UINT64_C(64) << k;
	return n;
}

static void publish_hard(struct lshm_region *region, int fd, void *arg)
{
	struct lshm_producer *out = producer(region, "c", NULL);

	ut_say(fd, 0);
	ut_hear(fd);
	for (uint64_t n = ut_scale(30000); n; n--)
		UT_OK(lshm_producer_send(out, "x", 1, LSHM_NOW));
	lshm_producer_close(out);
}

/* Who loses one slot after another to faster producers sees no damage. */
static void contended_publish(uint32_t depth)
{
	const struct lshm_channel_opts opts = LSHM_CHANNEL_OPTS(.depth = depth);
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_producer *out = producer(region, "c", &opts);
	struct lshm_channel_info info;
	struct ut_child child[3];

	for (size_t i = 0; i < UT_COUNT(child); i++)
		child[i] = ut_spawn(region, 0, publish_hard, NULL);
	for (size_t i = 0; i < UT_COUNT(child); i++)
		ut_hear(child[i].fd);
	for (size_t i = 0; i < UT_COUNT(child); i++)
		ut_say(child[i].fd, 0);
	for (size_t i = 0; i < UT_COUNT(child); i++)
		ut_join(&child[i]);
	UT_OK(lshm_channel_stat(region, "c", &info));
	UT_EQ(UT_COUNT(child) * ut_scale(30000), info.published);
	lshm_producer_close(out);
	lshm_region_close(region);
}

UT_TEST(contended_publish_at_depth_1, UT_EACH)
{
	contended_publish(1);
}

UT_TEST(contended_publish_at_depth_2, UT_EACH)
{
	contended_publish(2);
}

/*
 * Descriptors are never given back: as long as one in the table is free none
 * is added, however far away from the last one taken it lies.
 */
UT_TEST(descriptors_do_not_grow, UT_EACH)
{
	const struct lshm_channel_opts full = LSHM_CHANNEL_OPTS(.depth = 1024);
	const struct lshm_channel_opts opts = LSHM_CHANNEL_OPTS(.depth = 64);
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_producer *other = producer(region, "full", &full);
	struct lshm_producer *out = producer(region, "c", &opts);
	void *message[2];

	for (int i = 0; i < 1024; i++)
		UT_OK(lshm_producer_send(other, "x", 1, LSHM_NOW));
	for (uint64_t n = ut_scale(20000); n; n--) {
		for (int i = 0; i < 2; i++)
			UT_OK(
			    lshm_producer_loan(out, 8, LSHM_NOW, &message[i]));
		for (int i = 0; i < 2; i++)
			UT_OK(lshm_producer_publish(out, message[i], LSHM_NOW));
	}
	/* 1024 + 64 in the logs and a few in hand: 64 + 128 + ... + 1024 */
	UT_EQ(1984, descriptors(region));
	lshm_producer_close(out);
	lshm_producer_close(other);
	lshm_region_close(region);
}

static void first_producer(struct lshm_region *region, int fd, void *arg)
{
	for (uint64_t n = ut_scale(500); n; n--) {
		struct lshm_producer *out;

		ut_hear(fd);
		out = producer(region, "c", NULL);
		UT_OK(lshm_producer_send(out, "x", 1, UT_SOON));
		ut_hear(fd);
		lshm_producer_close(out);
		ut_say(fd, 0);
	}
}

/* The first producer is about to join: nobody has gone, no -EPIPE. */
UT_TEST(no_epipe_while_the_first_joins, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct ut_child child = ut_spawn(region, 0, first_producer, NULL);
	struct lshm_message m;

	for (uint64_t n = ut_scale(500); n; n--) {
		struct lshm_consumer *in = consumer(region, "c", &broadcast4);
		int ret;

		ut_say(child.fd, 0);
		do {
			ret = lshm_consumer_take(in, &m, LSHM_NOW);
			if (n % 2)
				sched_yield();
		} while (ret == -EAGAIN);
		UT_OK(ret);
		UT_OK(lshm_consumer_release(in, &m));
		ut_say(child.fd, 0);
		ut_hear(child.fd);
		lshm_consumer_close(in);
		UT_OK(lshm_channel_remove(region, "c"));
	}
	ut_join(&child);
	lshm_region_close(region);
}

/* Whose turn it is: even the consumer's, odd the producer's. */
static void await_turn(const uint64_t *turn, uint64_t number)
{
	for (uint32_t i = 0; lshmi_load_acquire(turn) != number; i++)
		if (i % 1024 == 1023)
			sched_yield();
}

static void new_consumers(struct lshm_region *region, int fd, void *arg)
{
	uint64_t *turn = arg;

	for (uint64_t n = 0; n < ut_scale(5000); n++) {
		struct lshm_consumer *in;
		uint64_t number;
		size_t size;

		await_turn(turn, 2 * n);
		in = consumer(region, "c", NULL);
		UT_OK(lshm_consumer_receive(in, &number, sizeof(number), &size,
		    lshm_deadline_ms(2000)));
		UT_EQ(n, number);
		lshm_consumer_close(in);
		lshmi_store_release(turn, 2 * n + 1);
	}
	ut_say(fd, 0);
}

/*
 * A consumer is seen before its place in the log is settled: who waits for it
 * and publishes then must not be the one whose message it skips.
 */
UT_TEST(waited_for_consumers_miss_nothing, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_producer *out = producer(region, "c", &broadcast4);
	uint64_t *turn = mmap(NULL, sizeof(*turn), PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct ut_child child;

	UT_TRUE(turn != MAP_FAILED);
	child = ut_spawn(region, 0, new_consumers, turn);
	for (uint64_t n = 0; n < ut_scale(5000); n++) {
		void *message;
		int ret;

		UT_OK(lshm_producer_loan(out, sizeof(n), UT_SOON, &message));
		memcpy(message, &n, sizeof(n));
		for (uint32_t i = 0;; i++) {
			ret = lshm_producer_wait(out, 1, LSHM_NOW);
			if (ret != -EAGAIN)
				break;
			if (i % 1024 == 1023)
				sched_yield();
		}
		UT_OK(ret);
		UT_OK(lshm_producer_publish(out, message, UT_SOON));
		await_turn(turn, 2 * n + 1);
		lshmi_store_release(turn, 2 * n + 2);
	}
	ut_hear(child.fd);
	ut_join(&child);
	UT_EQ(0, munmap(turn, sizeof(*turn)));
	lshm_producer_close(out);
	lshm_region_close(region);
}

static void join_and_sit(struct lshm_region *region, int fd, void *arg)
{
	consumer(region, "c", NULL);
	ut_say(fd, 0);
	pause();
}

static void on_alarm(int signal)
{
}

/* Signals that come faster than a sleep ends do not put off the look at who
 * lives: a producer blocked by a dead consumer learns of it all the same. */
UT_TEST(signals_do_not_hide_the_dead, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_producer *out = producer(region, "c", &broadcast4);
	struct ut_child child = ut_spawn(region, 0, join_and_sit, NULL);
	const struct itimerval often = {{0, 20000}, {0, 20000}}, never = {0};
	struct sigaction action = {
	    .sa_handler = on_alarm, .sa_flags = SA_RESTART};
	int64_t late;

	ut_hear(child.fd);
	for (int i = 0; i < 4; i++)
		UT_OK(lshm_producer_send(out, "x", 1, LSHM_NOW));
	ut_kill(&child);
	UT_EQ(0, sigaction(SIGALRM, &action, NULL));
	UT_EQ(0, setitimer(ITIMER_REAL, &often, NULL));
	late = lshm_deadline_ms(5000);
	UT_OK(lshm_producer_send(out, "x", 1, lshm_deadline_ms(10000)));
	UT_CMP(lshm_deadline_ms(0), <, late);
	UT_EQ(0, setitimer(ITIMER_REAL, &never, NULL));
	lshm_producer_close(out);
	lshm_region_close(region);
}

/* After 2^39 laps the laps begin at 0 again: nobody notices. */
static void laps_wrap(const struct lshm_channel_opts *opts, uint32_t depth)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_producer *out = producer(region, "c", opts);
	struct lshm_consumer *in;
	struct lshmi_channel *ch = channel(region, "c");
	uint64_t lap = (UINT64_C(1) << 39) - 3, first = lap * depth;
	struct lshm_channel_info info;
	struct lshm_message m;

	lshm_producer_close(out);
	for (uint32_t i = 0; i < depth; i++) /* as after that many laps */
		ch->slots[i] = lap << LSHMI_SLOT_LAP_SHIFT | LSHMI_NO_DESC;
	ch->tail = ch->head = first;
	out = producer(region, "c", opts);
	in = consumer(region, "c", opts);
	for (uint64_t i = 0; i < 6 * (uint64_t)depth; i++) {
		UT_OK(lshm_producer_send(out, &i, sizeof(i), LSHM_NOW));
		if (i + 1 < depth)
			continue; /* from then on it is full each time */
		UT_ERR(-EAGAIN, lshm_producer_send(out, &i, 1, LSHM_NOW));
		UT_OK(lshm_consumer_take(in, &m, LSHM_NOW));
		UT_EQ(first + i + 1 - depth, m.sequence);
		UT_EQ(i + 1 - depth, *(const uint64_t *)m.data);
		UT_OK(lshm_consumer_release(in, &m));
	}
	UT_OK(lshm_channel_stat(region, "c", &info));
	UT_EQ(first + 6 * depth, info.published);
	UT_EQ(depth - 1, info.backlog);
	lshm_producer_close(out);
	lshm_consumer_close(in);
	UT_OK(lshm_channel_remove(region, "c"));
	lshm_region_close(region);
}

UT_TEST(laps_wrap_around, UT_EACH)
{
	laps_wrap(&(struct lshm_channel_opts)LSHM_CHANNEL_OPTS(.depth = 1), 1);
	laps_wrap(
	    &(struct lshm_channel_opts)LSHM_CHANNEL_OPTS(.mode = LSHM_WORK,
		.depth = 1),
	    1);
	laps_wrap(&broadcast4, 4);
	laps_wrap(&work4, 4);
}

/* The hint where work begins was left behind by more than the log holds: it
 * catches up, or each look at an empty channel walks all that way. */
UT_TEST(head_catches_up, UT_EACH)
{
	const struct lshm_channel_opts opts =
	    LSHM_CHANNEL_OPTS(.mode = LSHM_WORK, .depth = 1024);
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_producer *out = producer(region, "c", &opts);
	struct lshm_consumer *in = consumer(region, "c", &opts);
	struct lshmi_channel *ch = channel(region, "c");
	struct lshm_message m;

	for (int i = 0; i < 10; i++)
		UT_OK(lshm_producer_send(out, "x", 1, LSHM_NOW));
	for (int i = 0; i < 5000; i++) {
		UT_OK(lshm_producer_send(out, "x", 1, LSHM_NOW));
		UT_OK(lshm_consumer_take(in, &m, LSHM_NOW));
		UT_OK(lshm_consumer_release(in, &m));
	}
	for (int i = 0; i < 10; i++) {
		UT_OK(lshm_consumer_take(in, &m, LSHM_NOW));
		UT_OK(lshm_consumer_release(in, &m));
	}
	UT_ERR(-EAGAIN, lshm_consumer_take(in, &m, LSHM_NOW));
	UT_EQ(5010, ch->head);
	lshm_producer_close(out);
	lshm_consumer_close(in);
	lshm_region_close(region);
}

/* ---- hostile bytes: an error, or no harm; never a crash, nor for ever ---- */

static struct lshmi_desc *first_descriptors(struct lshm_region *region)
{
	struct lshmi_header *header = lshm_region_base(region);

	return (void *)((char *)header + header->desc_segments[0]);
}

UT_TEST(hostile_payload, UT_EACH)
{
	static const uint64_t bad[] = {UINT64_C(1) << 45, UINT64_MAX,
	    UINT64_MAX - 3, 2 * MIB, MIB - 3, 64 * MIB - 1, 64 * MIB};
	struct lshm_region *region = ut_create(UT_SMALL);
	char *base = lshm_region_base(region);
	struct lshm_producer *out = producer(region, "c", &work4);
	struct lshm_consumer *in = consumer(region, "c", &work4);
	struct lshm_message m;
	struct lshmi_desc *d;
	uint64_t good;
	void *loan;

	for (size_t i = 0; i < UT_COUNT(bad); i++) {
		/* of a message that lies in the log */
		UT_OK(lshm_producer_send(out, "bad", 3, LSHM_NOW));
		UT_OK(lshm_producer_send(out, "good", 4, LSHM_NOW));
		d = first_descriptors(region);
		while (d->size != 3)
			d++;
		good = d->payload;
		d->payload = bad[i];
		d->size = 4;
		UT_ERR(-LSHM_ECORRUPT, lshm_consumer_take(in, &m, LSHM_NOW));
		d->payload = good;
		UT_OK(lshm_consumer_take(in, &m, LSHM_NOW));
		UT_EQ(0, memcmp(m.data, "good", 4));
		UT_OK(lshm_consumer_release(in, &m));
	}
	for (size_t i = 0; i < UT_COUNT(bad); i++) {
		/* of the one a producer has at hand */
		UT_OK(lshm_producer_loan(out, 8, LSHM_NOW, &loan));
		UT_OK(lshm_producer_discard(out, loan));
		d = first_descriptors(region);
		while (d->payload != lshm_offset(region, loan))
			d++;
		good = d->payload;
		d->payload = bad[i];
		if (lshm_producer_loan(out, 8, LSHM_NOW, &loan) == 0) {
			UT_TRUE((char *)loan > base);
			UT_TRUE((char *)loan + 8 <= base + MIB);
			memset(loan, 1, 8);
			UT_OK(lshm_producer_discard(out, loan));
		} else {
			d->payload = good;
		}
	}
	lshm_producer_close(out);
	lshm_consumer_close(in);
	lshm_region_close(region);
}
