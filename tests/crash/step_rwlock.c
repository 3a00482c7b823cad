/* SPDX-License-Identifier: MIT */
/*
 * step_rwlock.c - sweeps of the reader-writer lock
 *
 * It protects two words, which are equal but while somebody changes them: a
 * reader never finds them different, and a writer only with the news that the
 * last one died.
 */
#include "step.h"

#include <pthread.h>

static int ask_read(struct world *w, int64_t deadline)
{
	return lshm_rwlock_read(w->region, &w->shared->rwlock, deadline);
}

static int ask_write(struct world *w, int64_t deadline)
{
	return lshm_rwlock_write(w->region, &w->shared->rwlock, deadline);
}

static void give_up(struct world *w)
{
	UT_OK(lshm_rwlock_unlock(w->region, &w->shared->rwlock));
}

static bool torn(struct world *w)
{
	volatile uint64_t *words = w->shared->words;

	return words[0] != words[1];
}

static void read_lock(struct world *w)
{
	UT_EQ(0, ask_read(w, UT_SOON));
	UT_TRUE(!torn(w));
}

static void write_lock(struct world *w)
{
	int ret = ask_write(w, UT_SOON);

	UT_TRUE(ret == 0 || ret == LSHM_OWNER_DIED);
	if (ret == LSHM_OWNER_DIED)
		w->shared->words[1] = w->shared->words[0];
	UT_TRUE(!torn(w));
}

static void change(struct world *w)
{
	volatile uint64_t *words = w->shared->words;

	words[0]++;
	words[1]++;
}

static void change_and_give_up(struct world *w)
{
	change(w);
	give_up(w);
}

static void write_all(struct world *w)
{
	write_lock(w);
	change_and_give_up(w);
}

static void read_all(struct world *w)
{
	read_lock(w);
	give_up(w);
}

/* All find room in it, without news, and then it is as if never used. */
static void finish_without_news(struct world *w)
{
	const struct lshm_rwlock *l = &w->shared->rwlock;

	UT_EQ(0, ask_read(w, LSHM_NOW));
	UT_TRUE(!torn(w));
	give_up(w);
	UT_EQ(0, ask_write(w, LSHM_NOW));
	UT_TRUE(!torn(w));
	change_and_give_up(w);
	read_all(w);
	UT_EQ(0, l->writer.word);
	UT_EQ(0, l->writing);
	for (int i = 0; i < LSHM_READERS_MAX; i++)
		UT_EQ(0, l->readers[i]);
}

/* Readers are told of it as writers are. */
static bool news(struct world *w)
{
	int ret = ask_read(w, LSHM_NOW);

	if (ret == 0) {
		UT_TRUE(!torn(w));
		give_up(w);
	} else {
		UT_EQ(-EOWNERDEAD, ret);
	}
	UT_EQ(ret ? LSHM_OWNER_DIED : 0, ask_write(w, LSHM_NOW));
	w->shared->words[1] = w->shared->words[0];
	give_up(w);
	return ret != 0;
}

static void finish_write(struct world *w)
{
	bool told = news(w);

	UT_TRUE(!w->done || told);
	finish_without_news(w);
}

static void finish_given_up(struct world *w)
{
	bool told = news(w);

	UT_TRUE(!w->done || !told);
	UT_TRUE(!w->done || w->shared->words[0] == 1);
	finish_without_news(w);
}

static void finish_writer_first(struct world *w)
{
	write_all(w);
	finish_without_news(w);
}

STEP(rwlock_read, UT_ONCE, .run = read_lock, .finish = finish_without_news)
STEP(rwlock_unlock_reading, UT_ONCE, .begin = read_lock, .run = give_up,
    .finish = finish_without_news)
STEP(rwlock_write, UT_ONCE, .run = write_lock, .rescue = write_lock,
    .finish = finish_write)
STEP(rwlock_unlock_writing, UT_ONCE, .begin = write_lock,
    .run = change_and_give_up, .rescue = write_all,
    .finish = finish_writer_first)
STEP(rwlock_unlock_writing_before_reader, UT_ONCE, .begin = write_lock,
    .run = change_and_give_up, .finish = finish_given_up)

/* ---- refused ---- */

static void write_twice(struct world *w)
{
	UT_EQ(-EDEADLK, ask_read(w, LSHM_FOREVER));
	UT_EQ(-EDEADLK, ask_write(w, LSHM_FOREVER));
}

static void give_up_not_mine(struct world *w)
{
	UT_EQ(-EPERM, lshm_rwlock_unlock(w->region, &w->shared->rwlock));
}

static void finish_held(struct world *w)
{
	give_up(w);
	finish_without_news(w);
}

STEP(rwlock_write_twice, UT_ONCE, .begin = write_lock, .run = write_twice,
    .finish = finish_write)
STEP(rwlock_unlock_not_mine, UT_ONCE, .prepare = read_lock,
    .run = give_up_not_mine, .finish = finish_held)

/* ---- held by a living one ---- */

static void read_in_vain(struct world *w)
{
	UT_EQ(-EAGAIN, ask_read(w, LSHM_NOW));
}

static void write_in_vain(struct world *w)
{
	UT_EQ(-EAGAIN, ask_write(w, LSHM_NOW));
}

/* Stepped, it does not come to sleep within that; it does within the other. */
static void read_awake(struct world *w)
{
	UT_EQ(-ETIMEDOUT, ask_read(w, lshm_deadline_ms(30)));
}

static void write_awake(struct world *w)
{
	UT_EQ(-ETIMEDOUT, ask_write(w, lshm_deadline_ms(30)));
}

static void read_asleep(struct world *w)
{
	UT_EQ(-ETIMEDOUT, ask_read(w, lshm_deadline_ms(700)));
}

static void write_asleep(struct world *w)
{
	UT_EQ(-ETIMEDOUT, ask_write(w, lshm_deadline_ms(700)));
}

STEP(rwlock_read_held, UT_ONCE, .prepare = write_lock, .run = read_in_vain,
    .finish = finish_held)
STEP(rwlock_read_times_out, UT_ONCE, .prepare = write_lock, .run = read_awake,
    .finish = finish_held)
STEP(rwlock_read_sleeps, UT_ONCE, .prepare = write_lock, .run = read_asleep,
    .first_deaths = STEP_ONE_DEATH, .finish = finish_held)
STEP(rwlock_write_held, UT_ONCE, .prepare = read_lock, .run = write_in_vain,
    .rescue = read_all, .finish = finish_held)
STEP(rwlock_write_times_out, UT_ONCE, .prepare = read_lock, .run = write_awake,
    .rescue = read_all, .finish = finish_held)
STEP(rwlock_write_sleeps, UT_ONCE, .prepare = read_lock, .run = write_asleep,
    .first_deaths = STEP_ONE_DEATH, .finish = finish_held)

/* ---- somebody else sleeps on it: he must get it ---- */

/* A reader that meets torn data becomes a writer. */
static void read_or_repair(struct world *w)
{
	int ret = ask_read(w, UT_SOON);

	if (ret == -EOWNERDEAD) {
		write_all(w);
	} else {
		UT_EQ(0, ret);
		UT_TRUE(!torn(w));
		give_up(w);
	}
}

static void finish_slept(struct world *w)
{
	lshm_testing_join();
	finish_without_news(w);
}

static void finish_slept_held(struct world *w)
{
	give_up(w);
	finish_slept(w);
}

STEP(rwlock_unlock_reading_with_writer_asleep, UT_ONCE, .begin = read_lock,
    .other = write_all, .run = give_up, .finish = finish_slept)
STEP(rwlock_unlock_writing_with_reader_asleep, UT_ONCE, .begin = write_lock,
    .other = read_or_repair, .run = change_and_give_up, .finish = finish_slept)
STEP(rwlock_unlock_writing_with_writer_asleep, UT_ONCE, .begin = write_lock,
    .other = write_all, .run = change_and_give_up, .finish = finish_slept)
STEP(rwlock_read_behind_writer, UT_ONCE, .prepare = read_lock,
    .other = write_all, .run = read_awake, .finish = finish_slept_held)
STEP(rwlock_write_behind_writer, UT_ONCE, .prepare = read_lock,
    .other = write_all, .run = write_awake, .finish = finish_slept_held)

/* ---- held by the dead ---- */

/* Killed in the middle of its change. */
static void begin_change(struct world *w)
{
	write_lock(w);
	w->shared->words[0]++;
}

/* As one who waits for readers to leave does. */
static void shut_door(struct world *w)
{
	UT_OK(lshm_mutex_lock(w->region, &w->shared->rwlock.writer, LSHM_NOW));
}

static void prepare_reader(struct world *w)
{
	start_holder(w, read_lock);
}

static void prepare_writer(struct world *w)
{
	start_holder(w, begin_change);
}

static void prepare_shut(struct world *w)
{
	start_holder(w, shut_door);
}

static void read_torn(struct world *w)
{
	UT_EQ(-EOWNERDEAD, ask_read(w, LSHM_NOW));
}

static void take_over_rwlock(struct world *w)
{
	UT_EQ(LSHM_OWNER_DIED, ask_write(w, UT_SOON));
	UT_TRUE(torn(w));
}

static void take_over_and_give_up(struct world *w)
{
	take_over_rwlock(w);
	w->shared->words[1] = w->shared->words[0];
	give_up(w);
}

static void finish_torn(struct world *w)
{
	UT_TRUE(news(w));
	finish_without_news(w);
}

STEP(rwlock_write_after_dead_reader, UT_ONCE, .prepare = prepare_reader,
    .meanwhile = kill_victim, .run = write_lock, .rescue = write_lock,
    .finish = finish_write)
STEP(rwlock_write_after_dead_writer, UT_ONCE, .prepare = prepare_writer,
    .meanwhile = kill_victim, .run = take_over_rwlock, .rescue = write_lock,
    .finish = finish_torn)
STEP(rwlock_repair_after_dead_writer, UT_ONCE, .prepare = prepare_writer,
    .meanwhile = kill_victim, .run = take_over_and_give_up, .rescue = write_all,
    .finish = finish_writer_first)
STEP(rwlock_read_after_dead_writer, UT_ONCE, .prepare = prepare_writer,
    .meanwhile = kill_victim, .run = read_torn, .rescue = read_torn,
    .finish = finish_torn)
STEP(rwlock_write_after_dead_at_door, UT_ONCE, .prepare = prepare_shut,
    .meanwhile = kill_victim, .run = write_lock, .rescue = write_lock,
    .finish = finish_write)
STEP(rwlock_read_after_dead_at_door, UT_ONCE, .prepare = prepare_shut,
    .meanwhile = kill_victim, .run = read_lock, .rescue = read_all,
    .finish = finish_without_news)
STEP(rwlock_give_on_to_reader, UT_ONCE, .prepare = prepare_writer,
    .other = read_or_repair, .meanwhile = kill_victim,
    .run = take_over_and_give_up, .finish = finish_slept)
STEP(rwlock_give_on_to_writer, UT_ONCE, .prepare = prepare_writer,
    .other = write_all, .meanwhile = kill_victim, .run = take_over_and_give_up,
    .finish = finish_slept)

/* ---- full of the dead ---- */

static void *reads(void *arg)
{
	read_lock(arg);
	for (;;)
		pause();
	return NULL;
}

static void fill_with_readers(struct world *w)
{
	volatile uint64_t *entry = w->shared->rwlock.readers;
	volatile uint64_t *end = entry + LSHM_READERS_MAX;
	pthread_t thread;

	for (int i = 0; i < LSHM_READERS_MAX; i++) {
		UT_EQ(0, pthread_create(&thread, NULL, reads, w));
		pthread_detach(thread);
	}
	while (entry < end)
		if (*entry)
			entry++;
		else
			usleep(100);
}

static void prepare_full(struct world *w)
{
	start_holder(w, fill_with_readers);
}

STEP(rwlock_read_full_of_the_dead, UT_ONCE, .participants = 20,
    .prepare = prepare_full, .meanwhile = kill_victim, .run = read_lock,
    .rescue = read_all, .finish = finish_without_news)
