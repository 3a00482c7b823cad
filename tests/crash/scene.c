/* SPDX-License-Identifier: MIT */
/*
 * scene.c - what the scenarios begin with; see scene.h
 */
#include "scene.h"

#include <time.h>

#include "../../libshm/atomic.h"

struct shared *make_shared(struct lshm_region *region)
{
	struct shared *shared;

	UT_OK(lshm_object_create(region, "shared", "shared", sizeof(*shared),
	    NULL, NULL, (void **)&shared));
	return shared;
}

struct lshm_region *create(struct shared **shared)
{
	struct lshm_region *region = ut_create(UT_SMALL);

	*shared = make_shared(region);
	return region;
}

struct shared *find(struct lshm_region *region)
{
	struct shared *shared;

	UT_OK(lshm_object_open(
	    region, "shared", "shared", sizeof(*shared), (void **)&shared));
	return shared;
}

struct lshm_message take(struct lshm_consumer *in)
{
	struct lshm_message m;

	UT_OK(lshm_consumer_take(in, &m, UT_SOON));
	return m;
}

uint64_t number_in(const struct lshm_message *m)
{
	return *(const uint64_t *)m->data;
}

uint64_t microseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

uint64_t milliseconds(void)
{
	return microseconds() / 1000;
}

void sleep_ms(long ms)
{
	struct timespec pause = {ms / 1000, ms % 1000 * 1000000};

	nanosleep(&pause, NULL);
}

uint32_t state_of(struct lshm_region *region, uint32_t slot)
{
	struct lshm_participant_info info;

	UT_OK(lshm_region_participant(region, slot, &info));
	return info.state;
}

void attach_block(
    struct lshm_region *region, struct shared *shared, uint64_t value)
{
	void *block = lshm_alloc(region, 100);

	UT_SOME(block);
	crash_fill(block, 96, value);
	UT_CMP((uint64_t)lshm_mutex_lock(region, &shared->mutex, UT_SOON), <=,
	    LSHM_OWNER_DIED);
	UT_OK(lshm_attach(region, &shared->mutex, &shared->field, block));
	UT_OK(lshm_mutex_unlock(region, &shared->mutex));
}

void free_field(
    struct lshm_region *region, struct lshm_mutex *mutex, lshm_off *field)
{
	void *block;

	UT_OK(lshm_detach(region, mutex, field, &block));
	CRASH_WHOLE(block, 96);
	UT_OK(lshm_free(region, block));
}

void locks_body(struct lshm_region *region, int fd, void *other)
{
	struct shared *shared = find(region);

	UT_OK(lshm_mutex_lock(
	    region, other ? &shared->other_mutex : &shared->mutex, UT_SOON));
	ut_say(fd, 0);
	pause();
}

void reaps_body(struct lshm_region *region, int fd, void *arg)
{
	/* its lane; a slab of such blocks has few words to be swept */
	UT_OK(lshm_free(region, lshm_alloc(region, 6000)));
	crash_mark();
	lshm_region_reap(region);
	ut_say(fd, 0);
	ut_hear(fd);
}

/* ---- where to step to ---- */

bool word_is_set(void *arg)
{
	return lshmi_load_relaxed((uint64_t *)arg) != 0;
}

bool word_is_clear(void *arg)
{
	return !word_is_set(arg);
}

uint64_t slot_state(const struct lshmi_slot *slot)
{
	return lshmi_load_relaxed(&slot->word) & 3;
}

bool is_reaping(void *arg)
{
	struct slot_watch *w = arg;
	uint64_t state = slot_state(w->slot);

	return state == LSHMI_SLOT_FREE ||
	       (state == LSHMI_SLOT_REAPING && w->more-- == 0);
}

/* ---- a victim ---- */

/*
 * The victim holds a lock, a block in a field, drafts, two messages and a loan;
 * then does @arg, a function, with the number that it hears.
 */
static void victim_body(struct lshm_region *region, int fd, void *arg)
{
	struct shared *shared = find(region);
	struct lshm_producer *out = producer(region, "c", &work);
	struct lshm_consumer *in = consumer(region, "c", &work);
	void (*then)(int fd) = *(void (**)(int))arg;
	void *loan;

	attach_block(region, shared, 5);
	UT_OK(lshm_mutex_lock(region, &shared->mutex, UT_SOON));
	UT_SOME(lshm_alloc(region, 100));
	UT_SOME(lshm_alloc(region, MIB));
	UT_EQ(1, take(in).deliveries);
	UT_EQ(1, take(in).deliveries);
	UT_OK(lshm_producer_loan(out, 300, UT_SOON, &loan));
	ut_say(fd, 0);
	ut_hear(fd);
	then(fd);
}

void victim_start(struct victim *v, void (*then)(int fd))
{
	v->region = create(&v->shared);
	v->out = producer(v->region, "c", &work);
	v->in = consumer(v->region, "c", &work);
	for (uint64_t i = 0; i < 4; i++)
		UT_OK(send_number(v->out, 100 + i, UT_SOON));
	v->child = ut_spawn(v->region, 0, victim_body, &then);
	ut_hear(v->child.fd);
	v->slot = crash_slot_of(v->region, v->child.pid);
	UT_EQ(LSHM_PARTICIPANT_ALIVE, state_of(v->region, v->slot));
	ut_say(v->child.fd, 0);
}

/* Everything that it held must be had, within the bound. */
void victim_is_dead(struct victim *v)
{
	uint64_t start = milliseconds();
	bool seen[4] = {false};

	UT_EQ(LSHM_OWNER_DIED,
	    lshm_mutex_lock(v->region, &v->shared->mutex, UT_SOON));
	free_field(v->region, &v->shared->mutex, &v->shared->field);
	UT_OK(lshm_mutex_unlock(v->region, &v->shared->mutex));
	for (int i = 0; i < 4; i++) {
		struct lshm_message m = take(v->in);

		UT_CMP(m.sequence, <, 4);
		UT_TRUE(!seen[m.sequence]);
		seen[m.sequence] = true;
		UT_EQ(100 + m.sequence, number_in(&m));
		UT_EQ(m.sequence < 2 ? 2 : 1, m.deliveries);
		UT_OK(lshm_consumer_release(v->in, &m));
	}
	UT_CMP(milliseconds() - start, <, BOUND_MS);
	lshm_region_reap(v->region);
	lshm_producer_close(v->out);
	lshm_consumer_close(v->in);
	UT_OK(lshm_channel_remove(v->region, "c"));
	v->books = CRASH_BOOKS(v->region);
	UT_EQ(1, v->books.participants);
	UT_EQ(2, v->books.attached_blocks); /* "shared"; descriptors */
	lshm_region_close(v->region);
}

/* It lives: nothing may be taken from it. */
void victim_is_alive(struct victim *v)
{
	struct lshm_message m;

	UT_EQ(LSHM_PARTICIPANT_ALIVE, state_of(v->region, v->slot));
	UT_EQ(0, lshm_region_reap(v->region));
	UT_EQ(-ETIMEDOUT, lshm_mutex_lock(v->region, &v->shared->mutex,
			      lshm_deadline_ms(300)));
	for (int i = 0; i < 2; i++) {
		m = take(v->in);
		UT_CMP(m.sequence, >=, 2);
		UT_OK(lshm_consumer_release(v->in, &m));
	}
	UT_EQ(-ETIMEDOUT, lshm_consumer_take(v->in, &m, lshm_deadline_ms(300)));
	UT_EQ(LSHM_PARTICIPANT_ALIVE, state_of(v->region, v->slot));
}

/* Then it is killed after all; the two it did not hold are done already. */
void victim_dies_at_last(struct victim *v)
{
	struct lshm_message m;

	ut_kill(&v->child);
	UT_EQ(LSHM_OWNER_DIED,
	    lshm_mutex_lock(v->region, &v->shared->mutex, UT_SOON));
	UT_OK(lshm_mutex_unlock(v->region, &v->shared->mutex));
	for (int i = 0; i < 2; i++) {
		m = take(v->in);
		UT_EQ(2, m.deliveries);
		UT_OK(lshm_consumer_release(v->in, &m));
	}
	lshm_producer_close(v->out);
	lshm_consumer_close(v->in);
	lshm_region_close(v->region);
}

void waits(int fd)
{
	pause();
}
