/* SPDX-License-Identifier: MIT */
/*
 * crash_kill_channel.c - death at a random moment in calls on channels; see
 * kill.h
 */
#include "kill.h"

#include <sched.h>
#include <sys/mman.h>

/* ---- publishing ---- */

static void channel_begin(struct storm *s, const struct lshm_channel_opts *opts)
{
	void *loan;

	storm_begin(s);
	s->opts = opts;
	s->out = producer(s->region, "c", opts);
	for (int i = 0; i < 60; i++) /* the descriptors come now, and stay */
		UT_OK(lshm_producer_loan(s->out, 1, LSHM_NOW, &loan));
	lshm_producer_close(s->out);
	UT_OK(lshm_channel_remove(s->region, "c"));
	s->books = CRASH_BOOKS(s->region);
	s->out = producer(s->region, "c", opts);
	s->in = consumer(s->region, "c", opts);
}

static void channel_end(struct storm *s)
{
	lshm_producer_close(s->out);
	lshm_consumer_close(s->in);
	UT_OK(lshm_channel_remove(s->region, "c"));
	storm_end(s);
}

static int loan_and_publish(
    struct lshm_producer *out, uint64_t random, int64_t deadline)
{
	size_t size = 16 + random % 3000 / 8 * 8;
	void *message;
	int ret = lshm_producer_loan(out, size, deadline, &message);

	if (ret < 0)
		return ret;
	crash_fill(message, size, random);
	if (random % 5 == 0)
		return lshm_producer_discard(out, message);
	ret = lshm_producer_publish(out, message, deadline);
	if (ret < 0)
		UT_OK(lshm_producer_discard(out, message));
	return ret;
}

static void publish_body(struct lshm_region *region, int fd, void *arg)
{
	struct storm *s = arg;
	struct lshm_producer *out = producer(region, "c", s->opts);

	ut_say(fd, 0);
	for (;;)
		UT_OK(loan_and_publish(out, ut_random(&s->seed), UT_SOON));
}

static bool take_next(struct storm *s)
{
	struct lshm_message m;
	int ret = lshm_consumer_take(s->in, &m, LSHM_NOW);

	if (ret == -EAGAIN) {
		sched_yield(); /* to those who publish */
		return false;
	}
	UT_OK(ret);
	UT_EQ(s->next, m.sequence);
	UT_EQ(1, m.deliveries);
	s->next++;
	CRASH_WHOLE(m.data, m.size);
	UT_OK(lshm_consumer_release(s->in, &m));
	return true;
}

static void take_too(struct storm *s)
{
	take_next(s);
}

/* All that was published is got, in order, and nothing else. */
static void all_was_got(struct storm *s)
{
	lshm_region_reap(s->region);
	while (take_next(s))
		;
	UT_EQ(s->next, channel_info(s->region, "c").published);
	UT_EQ(0, channel_info(s->region, "c").backlog);
	UT_EQ(1, channel_info(s->region, "c").producers);
	UT_EQ(1, channel_info(s->region, "c").consumers);
	UT_EQ(0, CRASH_BOOKS(s->region).participants - 1);
}

static void publish(const struct lshm_channel_opts *opts)
{
	struct storm s;

	channel_begin(&s, opts);
	s.done = &s.next;
	storm(&s, publish_body, take_too, all_was_got);
	channel_end(&s);
}

UT_TEST(publish_broadcast, UT_EACH)
{
	publish(&broadcast);
}

UT_TEST(publish_work, UT_EACH)
{
	publish(&work);
}

/* ---- taking ---- */

/* What each message has met with; shared with the children. */
static struct fate {
	uint8_t taken;	  /* by a child */
	uint8_t released; /* by whoever, or just about to be */
} * fates;

#define FATES 4000000

static void take_work_body(struct lshm_region *region, int fd, void *arg)
{
	struct storm *s = arg;
	struct lshm_consumer *in = consumer(region, "c", s->opts);
	struct lshm_message held[4];
	unsigned int n = 0;

	ut_say(fd, 0);
	for (;;) {
		UT_OK(lshm_consumer_take(in, &held[n], UT_SOON));
		UT_CMP(held[n].sequence, <, FATES);
		fates[held[n].sequence].taken = 1;
		CRASH_WHOLE(held[n].data, held[n].size);
		if (++n < 4)
			continue;
		for (; n; n--) {
			/* done, as far as the child is concerned: between the
			 * two it may die, and it is delivered again */
			fates[held[n - 1].sequence].released = 1;
			UT_OK(lshm_consumer_release(in, &held[n - 1]));
		}
	}
}

static void publish_too(struct storm *s)
{
	int ret = loan_and_publish(s->out, ut_random(&s->seed), LSHM_NOW);

	UT_TRUE(ret == 0 || ret == -EAGAIN);
	if (ret < 0)
		sched_yield(); /* to those who make room */
}

/*
 * The survivor takes what is left. A message that was never released is here;
 * one that is delivered again was in the hands of one who died.
 */
static void all_was_done(struct storm *s)
{
	struct lshm_channel_info info;
	struct lshm_message m;

	lshm_region_reap(s->region);
	while (lshm_consumer_take(s->in, &m, LSHM_NOW) == 0) {
		UT_CMP(m.sequence, <, FATES);
		CRASH_WHOLE(m.data, m.size);
		UT_TRUE(m.deliveries == 1 || m.deliveries == 2);
		if (m.deliveries == 1)
			UT_EQ(0, fates[m.sequence].taken);
		fates[m.sequence].released = 1;
		UT_OK(lshm_consumer_release(s->in, &m));
	}
	info = channel_info(s->region, "c");
	UT_EQ(0, info.backlog);
	UT_EQ(1, info.consumers);
	UT_CMP(info.published, <, FATES);
	for (; s->next < info.published; s->next++)
		UT_EQ(1, fates[s->next].released);
	UT_CMP(info.redelivered, <=, 4 * (s->kills + 1));
	UT_EQ(0, CRASH_BOOKS(s->region).participants - 1);
}

UT_TEST(take_and_release_work, UT_EACH)
{
	struct storm s;

	fates = mmap(NULL, FATES * sizeof(*fates), PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	channel_begin(&s, &work);
	storm(&s, take_work_body, publish_too, all_was_done);
	UT_CMP(s.next, >, 0);
	channel_end(&s);
}

static void take_broadcast_body(struct lshm_region *region, int fd, void *arg)
{
	struct storm *s = arg;
	struct lshm_consumer *in = consumer(region, "c", s->opts);
	struct lshm_message held[4];
	uint64_t first;

	ut_say(fd, 0);
	UT_OK(lshm_consumer_take(in, &held[0], UT_SOON));
	first = held[0].sequence;
	for (uint64_t n = 0;; n++) {
		CRASH_WHOLE(held[n % 4].data, held[n % 4].size);
		UT_EQ(first + n, held[n % 4].sequence);
		if (n >= 3)
			UT_OK(lshm_consumer_release(in, &held[(n + 1) % 4]));
		UT_OK(lshm_consumer_take(in, &held[(n + 1) % 4], UT_SOON));
	}
}

static void publish_and_take_too(struct storm *s)
{
	publish_too(s);
	take_next(s);
}

UT_TEST(take_and_release_broadcast, UT_EACH)
{
	struct storm s;

	channel_begin(&s, &broadcast);
	s.done = &s.next;
	storm(&s, take_broadcast_body, publish_and_take_too, all_was_got);
	channel_end(&s);
}

/* ---- joining and leaving ---- */

static void ends_body(struct lshm_region *region, int fd, void *arg)
{
	struct storm *s = arg;

	ut_say(fd, 0);
	for (;;) {
		struct lshm_producer *out = producer(region, "c", s->opts);
		struct lshm_consumer *in = consumer(region, "c", s->opts);

		if (ut_random(&s->seed) % 2)
			loan_and_publish(out, 1 + 5 * s->seed, LSHM_NOW);
		lshm_consumer_close(in);
		lshm_producer_close(out);
	}
}

static void open_and_close_ends(const struct lshm_channel_opts *opts)
{
	struct storm s;

	channel_begin(&s, opts);
	storm(&s, ends_body, publish_and_take_too, all_was_got);
	channel_end(&s);
}

UT_TEST(open_and_close_ends_broadcast, UT_EACH)
{
	open_and_close_ends(&broadcast);
}

UT_TEST(open_and_close_ends_work, UT_EACH)
{
	open_and_close_ends(&work);
}

static void channels(struct lshm_region *region, const char *name)
{
	struct lshm_producer *out;

	for (int i = 0; i < 2; i++) {
		UT_OK(lshm_producer_open(&out, region, name, &broadcast));
		UT_OK(send_number(out, 1, UT_SOON));
		lshm_producer_close(out);
	}
	UT_OK(lshm_channel_remove(region, name));
}

static void channels_body(struct lshm_region *region, int fd, void *arg)
{
	ut_say(fd, 0);
	for (;;)
		channels(region, "theirs");
}

static void channels_too(struct storm *s)
{
	channels(s->region, "ours");
}

static void no_channel_is_left(struct storm *s)
{
	int ret;

	lshm_region_reap(s->region);
	ret = lshm_channel_remove(s->region, "theirs");
	UT_TRUE(ret == 0 || ret == -ENOENT);
	balanced(s);
}

UT_TEST(create_and_remove_channels, UT_EACH)
{
	struct storm s;

	channel_begin(&s, &broadcast);
	lshm_producer_close(s.out);
	lshm_consumer_close(s.in);
	UT_OK(lshm_channel_remove(s.region, "c"));
	storm(&s, channels_body, channels_too, no_channel_is_left);
	storm_end(&s);
}
