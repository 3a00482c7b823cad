/* SPDX-License-Identifier: MIT */
/*
 * channels.h - what the tests of channels share: ends, and numbers as messages
 */
#ifndef LIBSHM_TEST_CHANNELS_H
#define LIBSHM_TEST_CHANNELS_H

#include "unit.h"

/** A channel's options: UT_CHANNEL(mode[, .depth = 4, ...]). */
#define UT_CHANNEL(mode_, ...)             \
	(&(const struct lshm_channel_opts) \
		LSHM_CHANNEL_OPTS(.mode = (mode_)__VA_OPT__(, ) __VA_ARGS__))

static const struct lshm_channel_opts broadcast =
    LSHM_CHANNEL_OPTS(.mode = LSHM_BROADCAST, .depth = 8);
static const struct lshm_channel_opts work =
    LSHM_CHANNEL_OPTS(.mode = LSHM_WORK, .depth = 8);

/** The ends of a channel; without options it must be there. */
static inline struct lshm_producer *producer(struct lshm_region *region,
    const char *name, const struct lshm_channel_opts *opts)
{
	struct lshm_producer *out;

	UT_OK(lshm_producer_open(&out, region, name, opts));
	return out;
}

static inline struct lshm_consumer *consumer(struct lshm_region *region,
    const char *name, const struct lshm_channel_opts *opts)
{
	struct lshm_consumer *in;

	UT_OK(lshm_consumer_open(&in, region, name, opts));
	return in;
}

static inline struct lshm_channel_info channel_info(
    struct lshm_region *region, const char *name)
{
	struct lshm_channel_info info;

	memset(&info, 0xff, sizeof(info));
	UT_OK(lshm_channel_stat(region, name, &info));
	return info;
}

/** As lshm_producer_send(). */
static inline int send_number(
    struct lshm_producer *out, uint64_t number, int64_t deadline)
{
	return lshm_producer_send(out, &number, sizeof(number), deadline);
}

static inline uint64_t receive_number(
    struct lshm_consumer *in, int64_t deadline)
{
	uint64_t number = 0;
	size_t size;

	UT_OK(lshm_consumer_receive(
	    in, &number, sizeof(number), &size, deadline));
	UT_EQ(sizeof(number), size);
	return number;
}

/** Once the channel is empty and removed, the heap is as if it had not been. */
static inline void nothing_leaks(struct lshm_region *region)
{
	struct lshm_heap_info info;

	lshm_region_reap(region);
	UT_OK(lshm_channel_remove(region, "c"));
	UT_OK(lshm_heap_stat(region, &info));
	UT_EQ(0, info.draft_blocks);
	/* what stays is the table of descriptors, 64 KiB and up */
	UT_CMP(info.attached_blocks, <=, 4);
}

/** Waits for a message. */
static inline void blocked_take_body(
    struct lshm_region *region, int fd, void *arg)
{
	struct lshm_consumer *in = consumer(region, "c", NULL);
	struct lshm_message message;
	int ret;

	ut_say(fd, 0);
	while ((ret = lshm_consumer_take(in, &message, LSHM_FOREVER)) == 0)
		UT_OK(lshm_consumer_release(in, &message));
	ut_say(fd, (uint64_t)-ret);
	lshm_consumer_close(in);
}

/** Run a test in both modes, each with a region of its own. */
#define UT_MODES(name)                                                        \
	static void name##_in(struct lshm_region *region, uint32_t mode);     \
	UT_TEST(name, UT_EACH)                                                \
	{                                                                     \
		static const uint32_t modes_[] = {LSHM_BROADCAST, LSHM_WORK}; \
                                                                              \
		for (size_t m_ = 0; m_ < UT_COUNT(modes_); m_++) {            \
			struct lshm_region *region_ = ut_create(UT_SMALL);    \
                                                                              \
			name##_in(region_, modes_[m_]);                       \
			lshm_region_close(region_);                           \
		}                                                             \
	}                                                                     \
	static void name##_in(struct lshm_region *region, uint32_t mode)

#endif
