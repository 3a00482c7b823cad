/* SPDX-License-Identifier: MIT */
/*
 * crash_late.c - what a late-comer may not touch
 *
 * It is stopped at a certain point until what it was about to look at, or to
 * write, is another's.
 */
#include "../../libshm/internal.h"
#include "scene.h"

/* ---- what is decided already ---- */

static void attaches_other_body(struct lshm_region *region, int fd, void *arg)
{
	struct shared *shared = find(region);
	void *block = lshm_alloc(region, 100);

	UT_SOME(block);
	crash_fill(block, 96, 1);
	UT_OK(lshm_mutex_lock(region, &shared->other_mutex, UT_SOON));
	crash_mark();
	UT_OK(lshm_attach(
	    region, &shared->other_mutex, &shared->other_field, block));
}

static bool at_once(void *arg)
{
	return true;
}

/*
 * A lock's owner is dead and reaped, and its lane is a living one's by now, who
 * is in the midst of a replacement elsewhere. Who takes the lock over decides
 * what the dead one had begun, and must not decide for the living one.
 */
UT_TEST(lane_used_anew, UT_EACH)
{
	struct shared *shared;
	struct lshm_region *region = create(&shared);
	struct crash_books books = CRASH_BOOKS(region);
	struct ut_child first = ut_spawn(region, 0, locks_body, NULL), second;
	uint32_t lane;

	ut_hear(first.fd);
	ut_kill(&first);
	UT_EQ(1, lshm_region_reap(region));
	lane = (uint32_t)(shared->mutex.word >> 1 & 0xffff) - 1;
	second = ut_spawn(region, 0, attaches_other_body, NULL);
	crash_await_mark(&second);
	UT_EQ(crash_slot_of(region, second.pid) + 1,
	    crash_lane(region, lane)->word & 0xffff);
	/* pending, and the field not yet written */
	while ((crash_lane(region, lane)->intent & LSHMI_INTENT_STATE) !=
	       LSHMI_INTENT_PENDING)
		UT_TRUE(crash_step(&second, at_once, NULL));
	UT_EQ(0, shared->other_field);
	UT_EQ(
	    LSHM_OWNER_DIED, lshm_mutex_lock(region, &shared->mutex, UT_SOON));
	UT_OK(lshm_mutex_unlock(region, &shared->mutex));
	UT_TRUE(crash_step(&second, word_is_set, (void *)&shared->other_field));
	ut_kill(&second);
	UT_EQ(1, lshm_region_reap(region));
	UT_EQ(LSHM_OWNER_DIED,
	    lshm_mutex_lock(region, &shared->other_mutex, UT_SOON));
	UT_CMP(
	    lshm_usable_size(region, lshm_at(region, shared->other_field, 1)),
	    >=, 100);
	free_field(region, &shared->other_mutex, &shared->other_field);
	UT_OK(lshm_mutex_unlock(region, &shared->other_mutex));
	CRASH_BALANCED(region, &books);
	lshm_region_close(region);
}

static void replaces_body(struct lshm_region *region, int fd, void *arg)
{
	struct shared *shared = find(region);
	void *block = lshm_alloc(region, 100), *old;

	UT_SOME(block);
	crash_fill(block, 96, 2);
	UT_OK(lshm_mutex_lock(region, &shared->mutex, UT_SOON));
	crash_mark();
	UT_OK(
	    lshm_replace(region, &shared->mutex, &shared->field, block, &old));
}

struct field_watch {
	struct shared *shared;
	struct lshmi_lane_rec *lane;
	lshm_off old;
	bool changed;
};

/* In the midst of a replacement: before the field changes, or after. */
static bool is_torn(void *arg)
{
	struct field_watch *w = arg;
	uint64_t field = lshmi_load_relaxed(&w->shared->field);

	return w->changed ? field != w->old
			  : (lshmi_load_relaxed(&w->lane->intent) &
				LSHMI_INTENT_STATE) == LSHMI_INTENT_PENDING;
}

/*
 * Its rescuer stops before it has looked at the field; who takes the lock over
 * changes the field meanwhile.
 */
static void torn(bool changed)
{
	struct shared *shared;
	struct lshm_region *region = create(&shared);
	struct crash_books books = CRASH_BOOKS(region);
	struct field_watch watch = {.shared = shared, .changed = changed};
	struct slot_watch slot = {0};
	struct ut_child child, rescuer;
	uint32_t lane;

	attach_block(region, shared, 1);
	watch.old = shared->field;
	child = ut_spawn(region, 0, replaces_body, NULL);
	crash_await_mark(&child);
	lane = (uint32_t)(shared->mutex.word >> 1 & 0xffff) - 1;
	watch.lane = crash_lane(region, lane);
	UT_TRUE(crash_step(&child, is_torn, &watch));
	slot.slot = crash_slot(region, crash_slot_of(region, child.pid));
	rescuer = ut_spawn(region, 0, reaps_body, NULL);
	crash_await_mark(&rescuer);
	ut_kill(&child);
	UT_TRUE(crash_step(&rescuer, is_reaping, &slot));
	UT_EQ(LSHMI_SLOT_REAPING, slot_state(slot.slot));
	UT_EQ(
	    LSHM_OWNER_DIED, lshm_mutex_lock(region, &shared->mutex, UT_SOON));
	UT_EQ(changed, shared->field != watch.old);
	free_field(region, &shared->mutex, &shared->field);
	UT_OK(lshm_mutex_unlock(region, &shared->mutex));
	attach_block(region, shared, 3);
	crash_let_go(&rescuer);
	ut_hear(rescuer.fd);
	ut_say(rescuer.fd, 0);
	ut_join(&rescuer);
	UT_OK(lshm_mutex_lock(region, &shared->mutex, UT_SOON));
	free_field(region, &shared->mutex, &shared->field);
	UT_OK(lshm_mutex_unlock(region, &shared->mutex));
	books.lanes = 1;
	CRASH_BALANCED(region, &books);
	lshm_region_close(region);
}

UT_TEST(decided_before_the_field_changed, UT_EACH)
{
	torn(false);
}

UT_TEST(decided_after_the_field_changed, UT_EACH)
{
	torn(true);
}

/* ---- what others may have freed ---- */

static void closes_end_body(struct lshm_region *region, int fd, void *arg)
{
	struct lshm_producer *out = producer(region, "c", &broadcast);

	crash_mark();
	lshm_producer_close(out);
	ut_say(fd, 0);
	ut_hear(fd);
}

/*
 * A producer that closes has left as soon as others may remove the channel: it
 * must not touch the memory after that, which may be somebody else's by then.
 */
UT_TEST(closed_end_touches_nothing, UT_ONCE)
{
	struct shared *shared;
	struct lshm_region *region = create(&shared);
	struct lshm_producer *out = producer(region, "c", &broadcast);
	struct ut_child child = ut_spawn(region, 0, closes_end_body, NULL);
	struct lshmi_channel *channel;
	static const char zero[8192];
	void *block;

	crash_await_mark(&child);
	UT_OK(lshm_object_open(
	    region, "c", LSHM_CHANNEL_TYPE, 0, (void **)&channel));
	lshm_producer_close(out);
	UT_TRUE(crash_step(
	    &child, word_is_clear, &channel->ends[LSHMI_PRODUCER][1].word));
	UT_OK(lshm_channel_remove(region, "c"));
	memset(channel, 0, sizeof(zero));
	crash_let_go(&child);
	ut_hear(child.fd);
	UT_TRUE(memcmp(channel, zero, sizeof(zero)) == 0);
	ut_say(child.fd, 0);
	ut_join(&child);
	block = lshm_alloc(region, sizeof(zero));
	UT_OK(lshm_free(region, block));
	lshm_region_close(region);
}

static void signals_body(struct lshm_region *region, int fd, void *arg)
{
	struct {
		struct lshm_mutex mutex;
		struct lshm_cond cond;
	} * q;

	UT_OK(lshm_object_open(region, "q", "q", 0, (void **)&q));
	UT_OK(lshm_mutex_lock(region, &q->mutex, UT_SOON));
	UT_OK(lshm_cond_signal(region, &q->cond));
	crash_mark();
	UT_OK(lshm_mutex_unlock(region, &q->mutex));
	ut_say(fd, 0);
	ut_hear(fd);
}

/*
 * Whoever gets the lock may free the memory in which it lies: who gives it up
 * has written its last there, also if it has yet to wake somebody.
 */
UT_TEST(unlock_touches_nothing_after, UT_ONCE)
{
	for (int waiters = 0; waiters < 2; waiters++) {
		struct shared *shared;
		struct lshm_region *region = create(&shared);
		struct ut_child child;
		uint64_t *q;

		UT_OK(lshm_object_create(
		    region, "q", "q", 24, NULL, NULL, (void **)&q));
		child = ut_spawn(region, 0, signals_body, NULL);
		crash_await_mark(&child);
		q[0] |= (uint64_t)waiters;
		UT_TRUE(crash_step(&child, word_is_clear, q));
		for (int i = 0; i < 3; i++)
			q[i] = 0x0102030405060708 * (uint64_t)(i + 1);
		crash_let_go(&child);
		ut_hear(child.fd);
		for (int i = 0; i < 3; i++)
			UT_EQ(0x0102030405060708 * (uint64_t)(i + 1), q[i]);
		ut_say(child.fd, 0);
		ut_join(&child);
		lshm_region_close(region);
	}
}

/* ---- what cannot be seen ---- */

/* The last word of a block that begins where the region may have ended. */
static lshm_off *last_word(struct lshm_region *region, lshm_off block)
{
	return lshm_at(region, block + 4 * MIB - 8, 8);
}

static void replaces_far_body(struct lshm_region *region, int fd, void *arg)
{
	struct shared *shared = find(region);
	void *far = lshm_alloc(region, 4 * MIB), *old;
	void *block = lshm_alloc(region, 100);
	lshm_off *field = last_word(region, lshm_offset(region, far));

	UT_SOME(field);
	UT_SOME(block);
	crash_fill(block, 96, 1);
	*field = 0;
	UT_OK(lshm_mutex_lock(region, &shared->mutex, UT_SOON));
	UT_OK(lshm_attach(region, &shared->mutex, &shared->field, far));
	ut_say(fd, 0);
	ut_hear(fd);
	crash_mark();
	UT_OK(lshm_replace(region, &shared->mutex, field, block, &old));
}

/*
 * The dead one had changed a field in memory by which the region has grown, and
 * which the survivor cannot map: nobody may believe that it had not.
 */
static void unseen(bool reap_first)
{
	struct shared *shared;
	struct lshm_region *region = create(&shared), *watcher;
	struct ut_child child = ut_spawn(region, 0, replaces_far_body, NULL);
	struct lshmi_lane_rec *lane;
	struct lshmi_slot *slot;
	lshm_off *field;
	void *block;

	region->store.overmap = false; /* as on hugetlbfs, or kernel memory */
	ut_hear(child.fd);
	watcher = ut_reopen(region, 0); /* the same process, but it sees it */
	field = last_word(watcher, shared->field);
	UT_SOME(field);
	lane = crash_lane(region, (shared->mutex.word >> 1 & 0xffff) - 1);
	slot = crash_slot(region, crash_slot_of(region, child.pid));
	ut_say(child.fd, 0);
	crash_await_mark(&child);
	UT_TRUE(crash_step(&child, word_is_set, field));
	ut_kill(&child);
	UT_EQ(LSHMI_INTENT_PENDING, lane->intent & LSHMI_INTENT_STATE);
	ut_allow_mapping(false);
	for (int i = 0; i < 2; i++) {
		UT_ERR(-ENOMEM,
		    lshm_mutex_lock(region, &shared->mutex, UT_SOON), "map");
		UT_ERR(-ENOMEM, lshm_region_reap(region), "map");
		UT_EQ(LSHMI_INTENT_PENDING, lane->intent & LSHMI_INTENT_STATE);
		UT_EQ(LSHMI_SLOT_ACTIVE, slot_state(slot));
		UT_ERR(-ENOMEM, lshm_heap_check(region), "map");
		UT_NULL(lshm_alloc(region, 300000), "map");
	}
	ut_allow_mapping(true);
	if (reap_first)
		UT_EQ(1, lshm_region_reap(region));
	UT_EQ(
	    LSHM_OWNER_DIED, lshm_mutex_lock(region, &shared->mutex, UT_SOON));
	lshm_region_reap(region);
	UT_EQ(LSHMI_SLOT_FREE, slot_state(slot));
	field = last_word(region, shared->field);
	UT_SOME(field);
	block = lshm_at(region, *field, 96);
	UT_EQ(1, CRASH_WHOLE(block, 96));
	UT_CMP(lshm_usable_size(region, block), >=, 100);
	free_field(region, &shared->mutex, field);
	UT_OK(lshm_detach(region, &shared->mutex, &shared->field, &block));
	UT_OK(lshm_free(region, block));
	UT_OK(lshm_mutex_unlock(region, &shared->mutex));
	lshm_region_close(watcher);
	UT_EQ(1, CRASH_BOOKS(region).attached_blocks);
	lshm_region_close(region);
}

UT_TEST(unseen_change_is_not_undone, UT_EACH)
{
	unseen(false);
}

UT_TEST(unseen_memory_is_not_swept, UT_EACH)
{
	unseen(true);
}
