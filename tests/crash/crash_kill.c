/* SPDX-License-Identifier: MIT */
/*
 * crash_kill.c - death at a random moment of every operation, again and again
 *
 * A child repeats an operation until it is killed, some random microseconds
 * later. Meanwhile a survivor works with the same structures; afterwards it
 * reaps, and the books must be in order. The seed is printed: with
 * LSHM_TEST_SEED the moments are the same, but for what the scheduler does.
 */
#include "scene.h"

#include <sched.h>
#include <sys/mman.h>

/* What the survivor knows; the children start with a copy. */
struct storm {
	struct lshm_region *region;
	struct shared *shared;
	struct crash_books books;
	uint64_t seed;
	uint64_t kills;
	const struct lshm_channel_opts *opts;
	struct lshm_producer *out;
	struct lshm_consumer *in;
	uint64_t next; /* the sequence it expects */
};

static void storm_begin(struct storm *s)
{
	memset(s, 0, sizeof(*s));
	s->seed = ut_seed();
	s->region = create(&s->shared);
	UT_OK(lshm_free(s->region, lshm_alloc(s->region, 100)));
	s->books = CRASH_BOOKS(s->region);
}

/*
 * Kill one child after the other, in the midst of @body; the survivor does
 * @meanwhile until then, and @afterwards, when the dead one has been reaped.
 */
static void storm(struct storm *s, ut_body *body,
    void (*meanwhile)(struct storm *s), void (*afterwards)(struct storm *s))
{
	uint64_t rounds =
	    ut_scale(ut_backend->id == LSHM_BACKEND_POSIX ? 400 : 80);

	for (s->kills = 0; s->kills < rounds; s->kills++) {
		struct ut_child child = ut_spawn(s->region, 0, body, s);
		uint64_t end;

		ut_hear(child.fd);
		end = microseconds() + ut_random(&s->seed) % 1500;
		do
			meanwhile(s);
		while (microseconds() < end);
		ut_kill(&child);
		lshm_region_reap(s->region);
		afterwards(s);
	}
}

static void balanced(struct storm *s)
{
	CRASH_BALANCED(s->region, &s->books);
}

static void storm_end(struct storm *s)
{
	balanced(s);
	lshm_region_close(s->region);
}

/* ---- the heap ---- */

static void alloc_free(struct lshm_region *region, uint64_t *seed)
{
	void *blocks[20];

	for (size_t i = 0; i < UT_COUNT(blocks); i++) {
		size_t size = 8 + ut_random(seed) % (i % 10 ? 2000 : 400000);

		blocks[i] = lshm_alloc(region, size);
		UT_SOME(blocks[i]);
		crash_fill(blocks[i], size, i * 10000);
	}
	for (size_t i = 0; i < UT_COUNT(blocks); i++) {
		UT_EQ(i * 10000, CRASH_WHOLE(blocks[i], 8));
		UT_OK(lshm_free(region, blocks[i]));
	}
}

static void alloc_free_body(struct lshm_region *region, int fd, void *arg)
{
	struct storm *s = arg;

	ut_say(fd, 0);
	for (;;)
		alloc_free(region, &s->seed);
}

static void alloc_free_too(struct storm *s)
{
	alloc_free(s->region, &s->seed);
}

UT_TEST(alloc_and_free, UT_EACH)
{
	struct storm s;

	storm_begin(&s);
	storm(&s, alloc_free_body, alloc_free_too, balanced);
	storm_end(&s);
}

static void grow_body(struct lshm_region *region, int fd, void *arg)
{
	struct lshm_region_info info;

	ut_say(fd, 0);
	for (;;) {
		UT_OK(lshm_region_stat(region, &info));
		if (info.size < info.max_size)
			UT_OK(lshm_region_grow(region, info.size + 1));
	}
}

static void grow_too(struct storm *s)
{
	struct lshm_region_info info;

	alloc_free(s->region, &s->seed);
	UT_OK(lshm_region_stat(s->region, &info));
	if (info.size < info.max_size)
		UT_OK(lshm_region_grow(s->region, info.size + 1));
}

UT_TEST(grow, UT_EACH)
{
	struct storm s;

	storm_begin(&s);
	storm(&s, grow_body, grow_too, balanced);
	storm_end(&s);
}

/* ---- fields, under their lock ---- */

static bool lock(struct lshm_region *region, struct lshm_mutex *mutex)
{
	int ret = lshm_mutex_lock(region, mutex, UT_SOON);

	UT_TRUE(ret == 0 || ret == LSHM_OWNER_DIED);
	return ret == LSHM_OWNER_DIED;
}

static void replace(
    struct lshm_region *region, struct shared *shared, uint64_t random)
{
	void *block = random % 3 ? lshm_alloc(region, 100) : NULL, *old;

	if (block)
		crash_fill(block, 96, random);
	lock(region, &shared->mutex);
	UT_OK(
	    lshm_replace(region, &shared->mutex, &shared->field, block, &old));
	UT_OK(lshm_mutex_unlock(region, &shared->mutex));
	if (old)
		CRASH_WHOLE(old, 96);
	UT_OK(lshm_free(region, old));
}

static void replace_body(struct lshm_region *region, int fd, void *arg)
{
	struct storm *s = arg;
	struct shared *shared = find(region);

	ut_say(fd, 0);
	for (;;)
		replace(region, shared, ut_random(&s->seed));
}

static void replace_too(struct storm *s)
{
	replace(s->region, s->shared, ut_random(&s->seed));
}

/* The field's block, if there is one, is whole, and is all there is. */
static void field_is_well(struct storm *s)
{
	struct crash_books now = CRASH_BOOKS(s->region);
	void *block = lshm_at(s->region, s->shared->field, 96);

	UT_EQ(s->books.attached_blocks + (block != NULL), now.attached_blocks);
	if (block) {
		CRASH_WHOLE(block, 96);
		UT_CMP(lshm_usable_size(s->region, block), >=, 100);
	}
}

UT_TEST(attach_detach_replace, UT_EACH)
{
	struct storm s;

	storm_begin(&s);
	storm(&s, replace_body, replace_too, field_is_well);
	replace(s.region, s.shared, 0);
	storm_end(&s);
}

/* The lock protects that these two words are the same. */
static void lock_unlock(struct lshm_region *region, struct shared *shared)
{
	volatile lshm_off *one = &shared->field, *two = &shared->other_field;

	if (lock(region, &shared->mutex))
		*two = *one;
	UT_EQ(*one, *two);
	++*one;
	++*two;
	UT_OK(lshm_mutex_unlock(region, &shared->mutex));
}

static void lock_body(struct lshm_region *region, int fd, void *arg)
{
	struct shared *shared = find(region);

	ut_say(fd, 0);
	for (;;)
		lock_unlock(region, shared);
}

static void lock_too(struct storm *s)
{
	lock_unlock(s->region, s->shared);
}

UT_TEST(lock_and_unlock, UT_EACH)
{
	struct storm s;

	storm_begin(&s);
	storm(&s, lock_body, lock_too, lock_too);
	storm_end(&s);
}

/* ---- objects ---- */

#define NAMES 80 /* more than one block of the directory has entries */

static int fill_object(void *block, void *arg)
{
	crash_fill(block, 200, *(uint64_t *)arg);
	return 0;
}

static void create_or_remove(struct lshm_region *region, uint64_t random)
{
	uint64_t n = random % NAMES, value = n * 1000;
	char name[16];
	int ret;

	snprintf(name, sizeof(name), "object %d", (int)n);
	if (random / NAMES % 2) {
		ret = lshm_object_create(
		    region, name, "test", 200, fill_object, &value, NULL);
		UT_TRUE(ret == 0 || ret == -EEXIST);
	} else {
		ret = lshm_object_remove(region, name, "test");
		UT_TRUE(ret == 0 || ret == -ENOENT);
	}
}

static void objects_body(struct lshm_region *region, int fd, void *arg)
{
	struct storm *s = arg;

	ut_say(fd, 0);
	for (;;)
		create_or_remove(region, ut_random(&s->seed));
}

static void objects_too(struct storm *s)
{
	create_or_remove(s->region, ut_random(&s->seed));
}

/* Each object is whole, and has one name. */
static void objects_are_well(struct storm *s)
{
	struct crash_books now = CRASH_BOOKS(s->region);
	struct lshm_object_info info;
	bool there[NAMES] = {false};
	uint64_t cursor = 0, count = 0;

	while (lshm_object_next(s->region, &cursor, &info) == 0) {
		void *block = lshm_at(s->region, info.offset, 200);
		int n = -1;

		if (sscanf(info.name, "object %d", &n) != 1)
			continue;
		UT_CMP((uint64_t)n, <, NAMES);
		UT_TRUE(!there[n]);
		there[n] = true;
		UT_EQ(n * 1000, CRASH_WHOLE(block, 200));
		count++;
	}
	/* the first 63 entries need no block, and a second one stays */
	UT_CMP(now.attached_blocks - s->books.attached_blocks - count, <=, 1);
}

UT_TEST(object_create_and_remove, UT_EACH)
{
	struct storm s;

	storm_begin(&s);
	/* the directory's second block comes now, and stays */
	for (uint64_t n = 0; n < NAMES; n++)
		create_or_remove(s.region, NAMES + n);
	for (uint64_t n = 0; n < NAMES; n++)
		create_or_remove(s.region, n);
	s.books = CRASH_BOOKS(s.region);
	storm(&s, objects_body, objects_too, objects_are_well);
	for (uint64_t n = 0; n < NAMES; n++)
		create_or_remove(s.region, n);
	storm_end(&s);
}

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
	storm(&s, publish_body, take_too, all_was_got);
	UT_CMP(s.next, >, 0);
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
	storm(&s, take_broadcast_body, publish_and_take_too, all_was_got);
	UT_CMP(s.next, >, 0);
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
	int ret = lshm_channel_remove(s->region, "theirs");

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

static void regions_body(struct lshm_region *region, int fd, void *arg)
{
	ut_say(fd, 0);
	for (;;) {
		struct lshm_region *again = ut_reopen(region, 0);

		UT_SOME(lshm_alloc(again, 100)); /* closing gives it back */
		lshm_region_close(again);
	}
}

static void regions_too(struct storm *s)
{
	lshm_region_close(ut_reopen(s->region, 0));
}

UT_TEST(open_and_close_regions, UT_EACH)
{
	struct storm s;

	storm_begin(&s);
	storm(&s, regions_body, regions_too, balanced);
	storm_end(&s);
}
