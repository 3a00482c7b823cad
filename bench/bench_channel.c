/* SPDX-License-Identifier: MIT */
/*
 * bench_channel.c - messages between two processes
 *
 * Round trips: worker 0 says a number, worker 1 says it back. The bare cache
 * line, one in each direction, is what no queue can beat. A figure is the
 * median of batches.
 *
 * One way: worker 1 sends as fast as it can, worker 0 receives and takes the
 * time; again the median of batches, here of a millisecond or so. The bare ring
 * is a floor: one producer, one consumer, a sequence before each message, and
 * nothing else: no recovery, no memory management, no waiting but by polling.
 *
 * "copied": from a private buffer into the message and out of it into another
 * one; one word in each cache line of a message is written anew by the sender,
 * and all of them are summed up and compared by the receiver. "in place": a
 * loan, its first word written; taken, that word read, released.
 *
 * Everybody waits with LSHM_FOREVER: the library polls for a while, then
 * sleeps.
 */
#include "bench.h"

#include <err.h>
#include <stdlib.h>
#include <string.h>

#define BATCH		64 /* round trips timed at once */
#define LAPS_MAX	8192
#define LINE		64
#define APART		256 /* bytes: more than is fetched at a time */
#define STOP		(UINT64_C(1) << 63) /* in a number: the last message */
#define SIZE_MAX_COPIED 65536

/* What goes to and fro: in a channel, or bare; size 0 is the bare line. */
struct traffic {
	bool bare;
	enum lshm_channel_mode mode;
	bool in_place;
	size_t size;
};

static uint32_t depth_for(size_t size)
{
	return size <= 64 ? 1024 : size <= 1024 ? 256 : size <= 65536 ? 16 : 4;
}

/* -- what is in a message ------------------------------------------------- */

static size_t word_count(size_t size)
{
	return size < LINE ? 1 : size / LINE;
}

/* One word in each line: the message's number, and the line's own. */
static void stamp(void *message, size_t size, uint64_t number)
{
	uint64_t *word = message;

	for (size_t i = 0, n = word_count(size); i < n; i++)
		word[i * (LINE / 8)] = number + i;
}

/* Return the message's number; leave if it is not the one expected. */
static uint64_t check(const void *message, size_t size, uint64_t expected)
{
	const uint64_t *word = message;
	uint64_t number = word[0], sum = 0, n = word_count(size);

	for (size_t i = 0; i < n; i++)
		sum += word[i * (LINE / 8)];
	if ((number & ~STOP) != expected || sum != n * number + n * (n - 1) / 2)
		errx(EXIT_FAILURE,
		    "message %llu of %zu bytes came as %llu, sum %llx: lost, "
		    "torn or out of order",
		    (unsigned long long)expected, size,
		    (unsigned long long)(number & ~STOP),
		    (unsigned long long)sum);
	return number;
}

/* -- something to talk through -------------------------------------------- */

/* A line, and a ring, in one direction: one each, in struct bench.memory. */
struct raw {
	uint64_t line[APART / 8];
	uint64_t taken[APART / 8]; /* how many the receiver has copied out */
	bool enough; /* the receiver has its figure: the sender may stop */
	char slots[16 * (SIZE_MAX_COPIED + 16)];
};

/* A worker's ends, and where it stands. */
struct link {
	struct bench *b;
	size_t size;
	bool in_place;
	struct lshm_producer *out;
	struct lshm_consumer *in;
	struct raw *raw_out;
	struct raw *raw_in;
	size_t stride;
	uint64_t depth;
	uint64_t limit; /* the ring has room for messages below */
	char *buffer;
	void (*say)(struct link *l, uint64_t number);
	uint64_t (*hear)(struct link *l, uint64_t expected);
};

static void line_say(struct link *l, uint64_t number)
{
	__atomic_store_n(l->raw_out->line, number, __ATOMIC_RELEASE);
}

static uint64_t line_hear(struct link *l, uint64_t expected)
{
	uint64_t *line = l->raw_in->line, number;

	while (((number = __atomic_load_n(line, __ATOMIC_ACQUIRE)) & ~STOP) !=
	       expected)
		bench_look_again(l->b);
	return number;
}

static uint64_t *slot_of(const struct link *l, struct raw *raw, uint64_t number)
{
	return (uint64_t *)(raw->slots + (number & (l->depth - 1)) * l->stride);
}

static void ring_say(struct link *l, uint64_t number)
{
	uint64_t n = number & ~STOP;
	uint64_t *slot = slot_of(l, l->raw_out, n);

	stamp(l->buffer, l->size, number);
	while (n > l->limit) {
		l->limit = l->depth +
			   __atomic_load_n(l->raw_out->taken, __ATOMIC_ACQUIRE);
		if (n > l->limit)
			bench_look_again(l->b);
	}
	memcpy(slot + 1, l->buffer, l->size);
	__atomic_store_n(slot, n, __ATOMIC_RELEASE);
}

static uint64_t ring_hear(struct link *l, uint64_t expected)
{
	uint64_t *slot = slot_of(l, l->raw_in, expected);

	while (__atomic_load_n(slot, __ATOMIC_ACQUIRE) != expected)
		bench_look_again(l->b);
	memcpy(l->buffer, slot + 1, l->size);
	__atomic_store_n(l->raw_in->taken, expected, __ATOMIC_RELEASE);
	return check(l->buffer, l->size, expected);
}

static void channel_say(struct link *l, uint64_t number)
{
	void *message;

	if (l->in_place) {
		bench_must(lshm_producer_loan(
		    l->out, l->size, LSHM_FOREVER, &message));
		stamp(message, 8, number);
		bench_must(
		    lshm_producer_publish(l->out, message, LSHM_FOREVER));
	} else {
		stamp(l->buffer, l->size, number);
		bench_must(lshm_producer_send(
		    l->out, l->buffer, l->size, LSHM_FOREVER));
	}
}

static uint64_t channel_hear(struct link *l, uint64_t expected)
{
	struct lshm_message m;
	uint64_t number;
	size_t size;

	if (l->in_place) {
		bench_must(lshm_consumer_take(l->in, &m, LSHM_FOREVER));
		number = check(m.data, 8, expected);
		bench_must(lshm_consumer_release(l->in, &m));
		return number;
	}
	bench_must(lshm_consumer_receive(
	    l->in, l->buffer, l->size, &size, LSHM_FOREVER));
	if (size != l->size)
		errx(EXIT_FAILURE, "message %llu has %zu bytes: expected %zu",
		    (unsigned long long)expected, size, l->size);
	return check(l->buffer, size, expected);
}

static const char *const channels[2] = {"there", "back"};

static void open_channels(struct link *l, const struct traffic *t)
{
	struct lshm_region *region = l->b->region;
	struct lshm_channel_opts opts = LSHM_CHANNEL_OPTS(.mode = t->mode,
	    .depth = (uint32_t)l->depth, .max_message = t->size);
	const char *out = channels[l->b->role], *in = channels[!l->b->role];

	bench_must(lshm_producer_open(&l->out, region, out, &opts));
	bench_must(lshm_consumer_open(&l->in, region, in, &opts));
}

static struct link *open_link(struct bench *b, const struct traffic *t)
{
	struct link *l = calloc(1, sizeof(*l));

	if (!l || !(l->buffer = calloc(1, SIZE_MAX_COPIED)))
		err(EXIT_FAILURE, NULL);
	((struct raw *)b->memory)->enough = false;
	l->b = b;
	l->size = t->size;
	l->in_place = t->in_place;
	l->depth = depth_for(t->size);
	if (t->bare) {
		l->say = t->size ? ring_say : line_say;
		l->hear = t->size ? ring_hear : line_hear;
		l->raw_out = (struct raw *)b->memory + b->role;
		l->raw_in = (struct raw *)b->memory + !b->role;
		l->stride = (8 + t->size + 15) / 16 * 16;
		memset(l->raw_out, 0, sizeof(*l->raw_out));
	} else {
		l->say = channel_say;
		l->hear = channel_hear;
		open_channels(l, t);
	}
	bench_meet(b);
	return l;
}

static void close_link(struct link *l)
{
	lshm_producer_close(l->out);
	lshm_consumer_close(l->in);
	bench_meet(l->b);
	if (l->out)
		bench_must(
		    lshm_channel_remove(l->b->region, channels[l->b->role]));
	free(l->buffer);
	free(l);
}

/* -- the cases ------------------------------------------------------------ */

/* Nanoseconds, at worker 0. */
static double round_trip(struct bench *b, const struct bench_case *c)
{
	static double laps[LAPS_MAX];
	struct link *l = open_link(b, c->with);
	uint64_t begin = bench_now(), now = begin, last, number = 0;
	double figure = 0;
	size_t n = 0;

	if (b->role == 1) {
		while (!((number = l->hear(l, number + 1)) & STOP))
			l->say(l, number);
		goto out;
	}
	while (now - begin < b->ns) {
		last = now;
		for (int i = 0; i < BATCH; i++) {
			l->say(l, ++number);
			l->hear(l, number);
		}
		now = bench_now();
		laps[n++ % LAPS_MAX] = (double)(now - last) / BATCH;
	}
	l->say(l, ++number | STOP);
	figure = bench_median(laps, n < LAPS_MAX ? n : LAPS_MAX);
out:
	close_link(l);
	return figure;
}

/* Million messages a second, at worker 0, after the first few. */
static double one_way(struct bench *b, const struct bench_case *c)
{
	struct link *l = open_link(b, c->with);
	struct raw *raw = b->memory;
	uint64_t first = 4 * l->depth, number = 0;
	struct bench_laps laps = {0};
	double figure = 0;

	if (b->role == 1) {
		while (!__atomic_load_n(&raw->enough, __ATOMIC_RELAXED))
			l->say(l, ++number);
		l->say(l, ++number | STOP);
		goto out;
	}
	while (!((number = l->hear(l, number + 1)) & STOP)) {
		if (number == first)
			bench_laps_begin(&laps, b);
		else if (number > first && number % BATCH == 0 &&
			 bench_laps_add(&laps, BATCH))
			__atomic_store_n(&raw->enough, true, __ATOMIC_RELAXED);
	}
	figure = bench_laps_end(&laps);
out:
	close_link(l);
	return figure;
}

#define ROUND_TRIP "round trip, ns"
#define ONE_WAY	   "one way, million messages a second"

#define TRAFFIC(...) (&(const struct traffic){__VA_ARGS__})
#define TRIP(name, ...)                                    \
	{                                                  \
		ROUND_TRIP, name, "bare line", round_trip, \
		    TRAFFIC(__VA_ARGS__)                   \
	}
#define WAY(name, over, ...)                                       \
	{                                                          \
		ONE_WAY, name, over, one_way, TRAFFIC(__VA_ARGS__) \
	}

static const struct bench_case cases[] = {
    {ROUND_TRIP, "bare line", NULL, round_trip, TRAFFIC(.bare = true)},
    TRIP("bare ring, 8 B", .bare = true, .size = 8),
    TRIP("bare ring, 64 B", .bare = true, .size = 64),
    TRIP("bare ring, 1 KiB", .bare = true, .size = 1024),
    TRIP("bare ring, 64 KiB", .bare = true, .size = 65536),
    TRIP("broadcast, 8 B, copied", .size = 8),
    TRIP("broadcast, 64 B, copied", .size = 64),
    TRIP("broadcast, 1 KiB, copied", .size = 1024),
    TRIP("broadcast, 64 KiB, copied", .size = 65536),
    TRIP("broadcast, 64 B, in place", .size = 64, .in_place = true),
    TRIP("broadcast, 1 MiB, in place", .size = 1 << 20, .in_place = true),
    TRIP("work-sharing, 8 B, copied", .size = 8, .mode = LSHM_WORK),
    TRIP("work-sharing, 64 B, in place", .size = 64, .mode = LSHM_WORK,
	.in_place = true),
    WAY("bare ring, 8 B", NULL, .bare = true, .size = 8),
    WAY("bare ring, 64 B", NULL, .bare = true, .size = 64),
    WAY("bare ring, 1 KiB", NULL, .bare = true, .size = 1024),
    WAY("bare ring, 64 KiB", NULL, .bare = true, .size = 65536),
    WAY("broadcast, 8 B, copied", "bare ring, 8 B", .size = 8),
    WAY("broadcast, 64 B, copied", "bare ring, 64 B", .size = 64),
    WAY("broadcast, 1 KiB, copied", "bare ring, 1 KiB", .size = 1024),
    WAY("broadcast, 64 KiB, copied", "bare ring, 64 KiB", .size = 65536),
    WAY("broadcast, 64 KiB, in place", "bare ring, 64 KiB", .size = 65536,
	.in_place = true),
    WAY("work-sharing, 8 B, copied", "bare ring, 8 B", .size = 8,
	.mode = LSHM_WORK),
    WAY("work-sharing, 64 B, copied", "bare ring, 64 B", .size = 64,
	.mode = LSHM_WORK),
};

int main(int argc, char **argv)
{
	static const struct bench_program program = {
	    .summary = "Messages between two processes, beside a bare cache "
		       "line and a bare ring.",
	    .cases = cases,
	    .count = sizeof(cases) / sizeof(cases[0]),
	    .memory = 2 * sizeof(struct raw),
	};

	return bench_main(argc, argv, &program);
}
