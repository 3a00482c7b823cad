/* SPDX-License-Identifier: MIT */
/*
 * scenario_reaper.c - a reaper is stopped in the middle of its sweep
 */
#include "scenario.h"

#include "../../libshm/atomic.h"

/* Large ones: a sweep looks at every block there might be, step by step. */
enum { BLOCKS = 200, EARLY = 20, LATE = 180, BLOCK = 1000 };

enum stage { NAMED, SWEEPING, SWEPT };

struct dead {
	struct lshm_region *region;
	enum stage stage; /* to stop its reaper at */
	uint32_t slot;
	const void *early; /* two of its blocks */
	const void *late;
};

/* Has the reaper come to the stage where it is to be stopped? */
static bool at_stage(void *arg)
{
	struct dead *d = arg;
	struct lshm_region *r = d->region;

	if ((lshmi_load_seq(&crash_slot(r, d->slot)->word) & 3) !=
	    LSHMI_SLOT_REAPING)
		return false;
	if (d->stage == SWEEPING)
		return !lshm_usable_size(r, d->early) &&
		       lshm_usable_size(r, d->late);
	if (d->stage == SWEPT)
		for (uint32_t i = 0; i < crash_header(r)->max_lanes; i++)
			if ((lshmi_load_seq(&crash_lane(r, i)->word) &
				0xffff) == d->slot + 1)
				return false;
	return true;
}

static void holder_body(struct lshm_region *region, int fd, void *arg)
{
	struct lshm_consumer *in = consumer(region, "c", NULL);
	struct lshm_producer *out = producer(region, "c", NULL);
	struct lshm_message m;
	void *blocks[BLOCKS], *loan;

	for (int i = 0; i < BLOCKS; i++)
		UT_SOME(blocks[i] = lshm_alloc(region, BLOCK));
	UT_OK(lshm_mutex_lock(region, &find(region)->mutex, UT_SOON));
	UT_OK(lshm_consumer_take(in, &m, UT_SOON));
	UT_OK(lshm_consumer_take(in, &m, UT_SOON));
	UT_OK(lshm_producer_loan(out, BLOCK, UT_SOON, &loan));
	ut_say(fd, lshm_offset(region, blocks[EARLY]));
	ut_say(fd, lshm_offset(region, blocks[LATE]));
	ut_hear(fd);
}

static void reaper_body(struct lshm_region *region, int fd, void *arg)
{
	UT_SOME(lshm_alloc(region, BLOCK)); /* it leaves something, too */
	crash_mark();
	ut_say(fd, (uint64_t)lshm_region_reap(region));
}

/* Everything that others do, done. */
static void live_on(struct lshm_region *region)
{
	struct shared *shared = find(region);
	struct lshm_producer *out = producer(region, "talk", &broadcast);
	struct lshm_consumer *in = consumer(region, "talk", NULL);
	void *blocks[100];

	for (size_t i = 0; i < UT_COUNT(blocks); i++) {
		UT_SOME(blocks[i] = lshm_alloc(region, 16 << i % 13));
		memset(blocks[i], 1, 16 << i % 13);
	}
	for (size_t i = 0; i < UT_COUNT(blocks); i++)
		UT_OK(lshm_free(region, blocks[i]));
	UT_CMP((uint64_t)(lshm_mutex_lock(region, &shared->mutex, GO_ON)), <=,
	    LSHM_OWNER_DIED);
	UT_OK(lshm_mutex_unlock(region, &shared->mutex));
	for (uint64_t i = 0; i < 20; i++) {
		UT_OK(send_number(out, i, GO_ON));
		UT_EQ(i, receive_number(in, GO_ON));
	}
	lshm_consumer_close(in);
	lshm_producer_close(out);
	UT_OK(lshm_object_create(
	    region, "passing", "scenario", 100, NULL, NULL, NULL));
	UT_OK(lshm_object_remove(region, "passing", "scenario"));
}

static void live_on_body(struct lshm_region *region, int fd, void *arg)
{
	live_on(region);
}

/* The dead one's messages come to another, though its sweep stands still. */
static void take_over_messages(struct lshm_region *region)
{
	struct lshm_consumer *in = consumer(region, "c", NULL);
	struct lshm_message m;

	for (uint64_t n = 0; n < 2; n++) {
		UT_OK(lshm_consumer_take(in, &m, GO_ON));
		UT_EQ(n, m.sequence);
		UT_EQ(2, m.deliveries);
		UT_OK(lshm_consumer_release(in, &m));
	}
	lshm_consumer_close(in);
}

static void stop_reaper(enum stage stage, bool kill_it)
{
	struct lshm_region *region = ut_create(&few_slots);
	struct dead dead = {.region = region, .stage = stage};
	struct lshm_producer *out = producer(region, "c", &work);
	struct ut_child holder, reaper, newcomer;
	char message[BLOCK] = "";

	make_shared(region);
	for (int i = 0; i < 2; i++)
		UT_OK(
		    lshm_producer_send(out, message, sizeof(message), UT_SOON));
	holder = ut_spawn(region, 0, holder_body, NULL);
	dead.early = lshm_at(region, ut_hear(holder.fd), BLOCK);
	dead.late = lshm_at(region, ut_hear(holder.fd), BLOCK);
	dead.slot = crash_slot_of(region, holder.pid);
	reaper = ut_spawn(region, 0, reaper_body, NULL);
	crash_await_mark(&reaper);
	ut_kill(&holder);
	UT_TRUE(crash_step(&reaper, at_stage, &dead));
	crash_leave_stopped(&reaper);

	live_on(region);
	take_over_messages(region);
	newcomer = ut_spawn(region, 0, live_on_body, NULL);
	ut_join(&newcomer);
	UT_EQ(0, lshm_region_reap(region)); /* a stopped reaper is alive */
	UT_EQ(1, count_state(region, LSHM_PARTICIPANT_REAPING));
	UT_EQ(2, count_state(region, LSHM_PARTICIPANT_ALIVE));
	UT_TRUE(at_stage(&dead));

	if (kill_it) {
		ut_kill(&reaper);
		UT_EQ(2, lshm_region_reap(region));
		UT_EQ(2, deaths(region));
	} else {
		ut_continue(&reaper);
		UT_EQ(1, ut_hear(reaper.fd));
		ut_join(&reaper);
		UT_EQ(1, deaths(region));
	}
	lshm_producer_close(out);
	UT_OK(lshm_channel_remove(region, "c"));
	UT_OK(lshm_channel_remove(region, "talk"));
	end_balanced(region);
}

UT_TEST(reaper_stopped_before_sweep, UT_EACH)
{
	stop_reaper(NAMED, true);
	TELL("others live on; when it is killed, another one finishes",
	    "so it was, and the books balance");
}

UT_TEST(reaper_stopped_in_sweep, UT_EACH)
{
	stop_reaper(SWEEPING, true);
	TELL("others live on; when it is killed, another one finishes",
	    "so it was, and the books balance");
}

UT_TEST(reaper_stopped_in_sweep_goes_on, UT_EACH)
{
	stop_reaper(SWEEPING, false);
	TELL("others live on; when it is continued, it finishes itself",
	    "so it was, and the books balance");
}

UT_TEST(reaper_stopped_after_sweep, UT_EACH)
{
	stop_reaper(SWEPT, true);
	TELL("others live on; when it is killed, another one finishes",
	    "so it was, and the books balance");
}
