/* SPDX-License-Identifier: MIT */
/*
 * crash_stopped.c - stopped, or killed, at a certain point, and in the way
 *
 * A process is stepped until a word in the region says that it is there.
 */
#include "../../libshm/atomic.h"
#include "scene.h"

#include <pthread.h>
#include <sched.h>

/* ---- a rescuer in the midst of it ---- */

/*
 * A rescuer is in the midst of a sweep. False: it was through before it came
 * that far.
 */
static bool start_rescuer(
    struct victim *v, struct ut_child *rescuer, uint64_t more)
{
	struct slot_watch watch = {.more = more};

	victim_start(v, waits);
	*rescuer = ut_spawn(v->region, 0, reaps_body, NULL);
	crash_await_mark(rescuer);
	ut_kill(&v->child);
	watch.slot = crash_slot(v->region, v->slot);
	UT_TRUE(crash_step(rescuer, is_reaping, &watch));
	return slot_state(watch.slot) == LSHMI_SLOT_REAPING;
}

static uint64_t drafts(struct lshm_region *region)
{
	struct lshm_heap_info heap;

	UT_OK(lshm_heap_stat(region, &heap));
	return heap.draft_blocks;
}

/* A channel comes and goes; its memory too, whoever may be looking at it. */
static void make_and_remove_channel(struct lshm_region *region)
{
	uint64_t before = drafts(region);
	struct lshm_producer *out;

	UT_OK(lshm_producer_open(&out, region, "d", &work));
	lshm_producer_close(out);
	UT_OK(lshm_channel_remove(region, "d"));
	UT_EQ(before, drafts(region));
}

/* Nobody waits for a sweep: whoever needs what the dead one had can have it. */
static void others_go_on(struct victim *v)
{
	struct lshm_region *newcomer = ut_reopen(v->region, 0);
	uint64_t start = milliseconds();
	struct lshm_consumer *in;
	void *block;

	UT_EQ(0, lshm_region_reap(v->region)); /* it is being done */
	UT_EQ(LSHM_OWNER_DIED,
	    lshm_mutex_lock(v->region, &v->shared->mutex, UT_SOON));
	free_field(v->region, &v->shared->mutex, &v->shared->field);
	UT_OK(lshm_mutex_unlock(v->region, &v->shared->mutex));
	attach_block(v->region, v->shared, 77);
	UT_OK(lshm_mutex_lock(v->region, &v->shared->mutex, UT_SOON));
	free_field(v->region, &v->shared->mutex, &v->shared->field);
	UT_OK(lshm_mutex_unlock(v->region, &v->shared->mutex));
	for (size_t size = 16; size <= 4 * MIB; size *= 4) {
		block = lshm_alloc(v->region, size);
		UT_SOME(block);
		UT_OK(lshm_free(v->region, block));
	}
	in = consumer(newcomer, "c", &work);
	for (int i = 0; i < 4; i++) {
		struct lshm_message m = take(in);

		UT_EQ(m.sequence < 2 ? 2 : 1, m.deliveries);
		UT_OK(lshm_consumer_release(in, &m));
	}
	for (uint64_t i = 0; i < 20; i++) {
		struct lshm_message m;

		UT_OK(send_number(v->out, i, UT_SOON));
		m = take(in);
		UT_EQ(i, number_in(&m));
		UT_OK(lshm_consumer_release(in, &m));
	}
	UT_OK(lshm_object_create(
	    newcomer, "another", "test", 100, NULL, NULL, NULL));
	UT_OK(lshm_object_remove(newcomer, "another", "test"));
	lshm_consumer_close(in);
	make_and_remove_channel(newcomer);
	lshm_region_close(newcomer);
	UT_CMP(milliseconds() - start, <, BOUND_MS);
}

static void all_is_well(struct victim *v)
{
	lshm_region_reap(v->region);
	lshm_producer_close(v->out);
	lshm_consumer_close(v->in);
	UT_OK(lshm_channel_remove(v->region, "c"));
	v->books = CRASH_BOOKS(v->region);
	UT_EQ(1, v->books.participants);
	UT_EQ(2, v->books.attached_blocks);
	lshm_region_close(v->region);
}

/* At some points of the sweep, as many as there are. */
static void rescuer_stops(bool dies)
{
	bool reached = true;

	for (uint64_t more = 0; reached; more = more * 3 + 500) {
		struct ut_child rescuer;
		struct victim v;

		reached = start_rescuer(&v, &rescuer, more);
		if (reached && dies) {
			ut_kill(&rescuer);
			UT_EQ(2, lshm_region_reap(v.region));
			others_go_on(&v);
		} else {
			crash_leave_stopped(&rescuer);
			others_go_on(&v);
			ut_continue(&rescuer);
			ut_hear(rescuer.fd);
			ut_say(rescuer.fd, 0);
			ut_join(&rescuer);
		}
		all_is_well(&v);
		if (ut_backend->id != LSHM_BACKEND_POSIX)
			break;
	}
}

UT_TEST(stopped_rescuer_harms_nobody, UT_EACH)
{
	rescuer_stops(false);
}

UT_TEST(dead_rescuer_is_followed, UT_EACH)
{
	rescuer_stops(true);
}

/* A user of a channel that is dead is not said to be a living one. */
UT_TEST(dead_users_keep_a_channel_for_a_while, UT_EACH)
{
	struct ut_child rescuer;
	struct victim v;

	UT_TRUE(start_rescuer(&v, &rescuer, 0));
	crash_leave_stopped(&rescuer);
	lshm_producer_close(v.out);
	UT_EQ(-EBUSY, lshm_channel_remove(v.region, "c")); /* us */
	lshm_consumer_close(v.in);
	UT_EQ(-EAGAIN, lshm_channel_remove(v.region, "c"));
	ut_continue(&rescuer);
	ut_hear(rescuer.fd);
	ut_say(rescuer.fd, 0);
	ut_join(&rescuer);
	UT_OK(lshm_channel_remove(v.region, "c"));
	lshm_region_close(v.region);
}

static bool is_logged(void *arg)
{
	struct lshmi_header *header = arg;
	uint64_t count = lshmi_load_acquire(&header->death_count);

	return count && lshmi_load_acquire(&header->deaths[0].stamp) == count;
}

/* A rescuer dies when it has all but told that it is done. */
UT_TEST(death_is_told_once, UT_ONCE)
{
	struct lshm_participant_info first, second;
	struct ut_child rescuer;
	struct victim v;

	victim_start(&v, waits);
	rescuer = ut_spawn(v.region, 0, reaps_body, NULL);
	crash_await_mark(&rescuer);
	ut_kill(&v.child);
	UT_TRUE(crash_step(&rescuer, is_logged, crash_header(v.region)));
	UT_EQ(LSHMI_SLOT_REAPING, slot_state(crash_slot(v.region, v.slot)));
	ut_kill(&rescuer);
	UT_EQ(2, lshm_region_reap(v.region));
	UT_EQ(2, crash_header(v.region)->death_count);
	UT_OK(lshm_region_death(v.region, 0, &second));
	UT_OK(lshm_region_death(v.region, 1, &first));
	UT_EQ(v.slot, first.slot);
	UT_TRUE(second.slot != first.slot);
	others_go_on(&v);
	all_is_well(&v);
}

/* ---- a table full of the dead ---- */

static void stays_body(struct lshm_region *region, int fd, void *arg)
{
	ut_say(fd, 0);
	pause();
}

/* Slot 0 is the caller's; the others have dead owners. */
static struct lshm_region *full_of_the_dead(uint32_t slots)
{
	struct ut_child dead[64];
	struct lshm_region *region =
	    ut_create(&(struct lshm_region_opts)LSHM_REGION_OPTS(.size = MIB,
		.max_participants = slots));

	for (uint32_t i = 1; i < slots; i++) {
		dead[i] = ut_spawn(region, 0, stays_body, NULL);
		ut_hear(dead[i].fd);
	}
	for (uint32_t i = 1; i < slots; i++)
		ut_kill(&dead[i]);
	return region;
}

static void attaches_body(struct lshm_region *none, int fd, void *arg)
{
	struct lshm_region *region;

	ut_hear(fd); /* all at once */
	if (ut_backend->named)
		UT_OK(lshm_region_open(&region, ut_name, 0, NULL));
	else
		UT_OK(lshm_region_receive(&region, fd, 0, NULL));
	UT_OK(lshm_free(region, lshm_alloc(region, 100)));
	ut_say(fd, crash_own_slot(region));
	ut_hear(fd);
	lshm_region_close(region);
}

/* As many newcomers as there are slots of the dead: each finds a place. */
UT_TEST(newcomers_find_a_place, UT_EACH)
{
	enum { SLOTS = 5 };
	uint64_t rounds =
	    ut_scale(ut_backend->id == LSHM_BACKEND_POSIX ? 200 : 40);

	while (rounds--) {
		struct lshm_region *region = full_of_the_dead(SLOTS);
		struct ut_child newcomers[SLOTS];
		bool taken[SLOTS] = {true};

		for (int i = 1; i < SLOTS; i++)
			newcomers[i] = ut_spawn(NULL, 0, attaches_body, NULL);
		for (int i = 1; i < SLOTS; i++) {
			ut_say(newcomers[i].fd, 0);
			if (!ut_backend->named)
				UT_OK(lshm_region_send(
				    region, newcomers[i].fd, 0));
		}
		for (int i = 1; i < SLOTS; i++) {
			uint64_t slot = ut_hear(newcomers[i].fd);

			UT_CMP(slot, <, SLOTS);
			UT_TRUE(!taken[slot]);
			taken[slot] = true;
		}
		for (int i = 1; i < SLOTS; i++) {
			ut_say(newcomers[i].fd, 0);
			ut_join(&newcomers[i]);
		}
		UT_EQ(1, CRASH_BOOKS(region).participants);
		lshm_region_close(region);
		if (ut_backend->named)
			UT_OK(
			    lshm_region_unlink(ut_name, LSHM_BACKEND_DEFAULT));
	}
}

static void moves_in_body(struct lshm_region *none, int fd, void *arg)
{
	struct lshm_region *region;

	crash_mark();
	if (ut_backend->named)
		UT_OK(lshm_region_open(&region, ut_name, 0, NULL));
	else
		UT_OK(lshm_region_receive(&region, fd, 0, NULL));
	UT_SOME(lshm_alloc(region, 100));
	ut_say(fd, 0);
	ut_hear(fd);
	lshm_region_close(region);
}

/* One who is moving in is alive, though the slot still tells of the dead one */
static void moving_in(bool dies)
{
	struct lshm_region *region = full_of_the_dead(2);
	struct ut_child newcomer = ut_spawn(NULL, 0, moves_in_body, NULL);
	struct slot_watch watch = {.slot = crash_slot(region, 1)};

	if (!ut_backend->named)
		UT_OK(lshm_region_send(region, newcomer.fd, 0));
	crash_await_mark(&newcomer);
	UT_TRUE(crash_step(&newcomer, is_reaping, &watch));
	if (dies) {
		ut_kill(&newcomer);
		UT_EQ(1, lshm_region_reap(region));
	} else {
		crash_leave_stopped(&newcomer);
		UT_EQ(0, lshm_region_reap(region));
		UT_EQ(LSHMI_SLOT_REAPING, slot_state(watch.slot));
		ut_continue(&newcomer);
		ut_hear(newcomer.fd);
		UT_EQ(LSHM_PARTICIPANT_ALIVE, state_of(region, 1));
		UT_EQ(0, lshm_region_reap(region));
		ut_say(newcomer.fd, 0);
		ut_join(&newcomer);
	}
	UT_EQ(1, CRASH_BOOKS(region).participants);
	lshm_region_close(region);
}

UT_TEST(stopped_while_moving_in, UT_EACH)
{
	moving_in(false);
}

UT_TEST(killed_while_moving_in, UT_EACH)
{
	moving_in(true);
}

/* ---- the library's own locks ---- */

static void needs_pages_body(struct lshm_region *region, int fd, void *arg)
{
	UT_OK(lshm_free(region, lshm_alloc(region, 6000)));
	crash_mark();
	UT_SOME(lshm_alloc(region, 3 * LSHMI_PAGE));
}

static void needs_directory_body(struct lshm_region *region, int fd, void *arg)
{
	UT_OK(lshm_free(region, lshm_alloc(region, 6000)));
	crash_mark();
	UT_OK(lshm_object_create(region, "x", "test", 6000, NULL, NULL, NULL));
}

static void lock_holder(ut_body *body, bool dies)
{
	struct shared *shared;
	struct lshm_region *region = create(&shared);
	struct lshmi_header *h = crash_header(region);
	struct lshm_mutex *lock =
	    body == needs_pages_body ? &h->heap_lock : &h->directory_lock;
	struct crash_books books = CRASH_BOOKS(region);
	struct ut_child child = ut_spawn(region, 0, body, NULL);
	uint64_t start;
	void *block;

	crash_await_mark(&child);
	UT_TRUE(crash_step(&child, word_is_set, &lock->word));
	if (!dies) {
		/* It costs a second, and an error; what needs no lock works. */
		crash_leave_stopped(&child);
		UT_OK(lshm_mutex_lock(region, &shared->mutex, LSHM_NOW));
		UT_OK(lshm_mutex_unlock(region, &shared->mutex));
		start = milliseconds();
		if (body == needs_pages_body)
			UT_NULL(lshm_alloc(region, 300000), "stopped");
		else
			UT_ERR(-EAGAIN,
			    lshm_object_create(
				region, "y", "test", 8, NULL, NULL, NULL),
			    "stopped");
		UT_CMP(milliseconds() - start, <, BOUND_MS);
	}
	ut_kill(&child);
	start = milliseconds();
	for (int i = 0; i < 4; i++) {
		block = lshm_alloc(region, 300000);
		UT_SOME(block);
		UT_OK(lshm_free(region, block));
		UT_OK(lshm_object_create(
		    region, "y", "test", 8, NULL, NULL, NULL));
		UT_OK(lshm_object_remove(region, "y", "test"));
	}
	UT_CMP(milliseconds() - start, <, BOUND_MS);
	books.lanes = 1;
	CRASH_BALANCED(region, &books);
	lshm_region_close(region);
}

UT_TEST(heap_lock_holder_killed, UT_EACH)
{
	lock_holder(needs_pages_body, true);
}

UT_TEST(heap_lock_holder_stopped, UT_ONCE)
{
	lock_holder(needs_pages_body, false);
}

UT_TEST(directory_lock_holder_killed, UT_EACH)
{
	lock_holder(needs_directory_body, true);
}

UT_TEST(directory_lock_holder_stopped, UT_ONCE)
{
	lock_holder(needs_directory_body, false);
}

/* That somebody is stopped is not a lack of memory, whoever needs some. */
UT_TEST(stopped_heap_is_not_full, UT_EACH)
{
	static const char large[300000];
	struct shared *shared;
	struct lshm_region *region = create(&shared);
	struct lshm_channel_opts opts =
	    LSHM_CHANNEL_OPTS(.max_message = sizeof(large));
	struct lshm_producer *out = producer(region, "c", &opts);
	struct lshm_consumer *in = consumer(region, "c", &opts);
	struct ut_child child = ut_spawn(region, 0, needs_pages_body, NULL);
	struct lshm_vector *vector;
	struct lshm_map *map;
	void *loan;

	UT_OK(lshm_object_create(region, "vector", "vector", sizeof(*vector),
	    NULL, NULL, (void **)&vector));
	vector->element = sizeof(large);
	UT_OK(lshm_map_create(region, "map", &map));
	UT_OK(send_number(out, 1, UT_SOON)); /* consumers have it to take */
	UT_OK(lshm_mutex_lock(region, &shared->mutex, LSHM_NOW));
	crash_await_mark(&child);
	UT_TRUE(crash_step(
	    &child, word_is_set, &crash_header(region)->heap_lock.word));
	crash_leave_stopped(&child);
	UT_ERR(-EAGAIN,
	    lshm_object_create(
		region, "y", "test", sizeof(large), NULL, NULL, NULL),
	    "heap lock", "stopped");
	UT_ERR(-EAGAIN, lshm_vector_push(region, &shared->mutex, vector, large),
	    "heap lock", "stopped");
	UT_ERR(-EAGAIN,
	    lshm_map_put(region, map, "key", 3, large, sizeof(large)),
	    "heap lock", "stopped");
	UT_ERR(-EAGAIN,
	    lshm_producer_loan(out, sizeof(large), LSHM_FOREVER, &loan),
	    "heap lock", "stopped");
	UT_OK(lshm_mutex_unlock(region, &shared->mutex));
	ut_kill(&child);
	UT_OK(lshm_producer_loan(out, sizeof(large), LSHM_FOREVER, &loan));
	lshm_consumer_close(in);
	lshm_producer_close(out);
	lshm_region_close(region);
}

struct asker {
	struct lshm_region *region;
	pid_t tid;
	int ret;
};

static void *asks(void *arg)
{
	struct asker *a = arg;

	lshmi_store_release((uint32_t *)&a->tid, (uint32_t)gettid());
	a->ret =
	    lshm_object_create(a->region, "y", "test", 8, NULL, NULL, NULL);
	return NULL;
}

static uint64_t lane_in(const struct lshm_mutex *mutex)
{
	return lshmi_load_relaxed(&mutex->word) & ~UINT64_C(1);
}

/* A lock that changes hands has no stopped owner: it is only much wanted. */
UT_TEST(much_wanted_lock, UT_ONCE)
{
	struct shared *shared;
	struct lshm_region *region = create(&shared);
	uint64_t *word = &crash_header(region)->directory_lock.word, owners[2];
	struct ut_child first = ut_spawn(region, 0, locks_body, NULL);
	struct ut_child second = ut_spawn(region, 0, locks_body, "other");
	struct asker a = {.region = region, .ret = 1};
	pthread_t thread;
	uint64_t start;
	bool in_time;

	ut_hear(first.fd);
	ut_hear(second.fd);
	owners[0] = lane_in(&shared->mutex);
	owners[1] = lane_in(&shared->other_mutex);
	lshmi_store_release(word, owners[0]);
	start = milliseconds();
	UT_EQ(0, pthread_create(&thread, NULL, asks, &a));
	while (!lshmi_load_acquire((uint32_t *)&a.tid))
		sched_yield();
	ut_wait_asleep(a.tid);
	lshmi_store_release(word, owners[1] | 1);
	in_time = milliseconds() - start < 900;
	while (milliseconds() - start < 1500)
		usleep(10000);
	lshmi_store_release(word, 0);
	UT_EQ(0, pthread_join(thread, NULL));
	if (in_time) /* the machine has not stood still meanwhile */
		UT_OK(a.ret);
	ut_kill(&first);
	ut_kill(&second);
	lshm_region_close(region);
}

/* ---- a reader who has nothing ---- */

static struct lshm_rwlock *rwlock(struct lshm_region *region)
{
	void *lock;

	UT_OK(lshm_object_open(region, "rwlock", "rwlock", 0, &lock));
	return lock;
}

static void writes_body(struct lshm_region *region, int fd, void *arg)
{
	UT_EQ(0, lshm_rwlock_write(region, rwlock(region), LSHM_NOW));
	ut_say(fd, 0);
	pause();
}

static void tries_to_read_body(struct lshm_region *region, int fd, void *arg)
{
	struct lshm_rwlock *lock = rwlock(region);
	int ret;

	UT_SOME(lshm_alloc(region, 6000)); /* its lane, before it is stepped */
	crash_mark();
	ret = lshm_rwlock_read(region, lock, LSHM_NOW);
	ut_say(fd, (uint64_t)ret);
	ut_hear(fd);
}

struct door_watch {
	struct lshm_rwlock *lock;
	uint64_t shut;
};

static bool is_opened(void *arg)
{
	const struct door_watch *w = arg;

	return lshmi_load_relaxed(&w->lock->writer.word) != w->shut;
}

/*
 * A reader opens the door that a writer died behind. It does not hold the lock,
 * nor ever will, since the data may be torn: that it is stopped just then keeps
 * nobody out.
 */
UT_TEST(opening_the_door_keeps_nobody_out, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct ut_child writer, reader;
	struct door_watch watch;

	UT_OK(lshm_object_create(
	    region, "rwlock", "rwlock", sizeof(*watch.lock), NULL, NULL, NULL));
	watch.lock = rwlock(region);
	writer = ut_spawn(region, 0, writes_body, NULL);
	ut_hear(writer.fd);
	reader = ut_spawn(region, 0, tries_to_read_body, NULL);
	crash_await_mark(&reader);
	ut_kill(&writer);
	watch.shut = watch.lock->writer.word;
	UT_TRUE(crash_step(&reader, is_opened, &watch));
	crash_leave_stopped(&reader);
	UT_ERR(-EOWNERDEAD, lshm_rwlock_read(region, watch.lock, LSHM_NOW));
	UT_EQ(LSHM_OWNER_DIED, lshm_rwlock_write(region, watch.lock, LSHM_NOW));
	UT_OK(lshm_rwlock_unlock(region, watch.lock));
	ut_continue(&reader);
	UT_EQ(0, ut_hear(reader.fd));
	ut_say(reader.fd, 0);
	ut_join(&reader);
	lshm_region_close(region);
}
