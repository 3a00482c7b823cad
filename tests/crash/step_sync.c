/* SPDX-License-Identifier: MIT */
/*
 * step_sync.c - sweeps of condition variables, events, semaphores and once
 */
#include "step.h"

/* Stepped, one comes to sleep within the second, and not within the first. */
#define AWAKE  lshm_deadline_ms(30)
#define ASLEEP lshm_deadline_ms(700)

/* A ticket was taken and nobody sleeps: the next who wakes makes its calls. */
static void take_ticket(struct world *w, struct lshm_waiters *q)
{
	q->sleeps++;
}

/* ---- condition variables: words[0] is waited for ---- */

static void cond_wait(struct world *w, int64_t deadline)
{
	UT_EQ(-ETIMEDOUT, lshm_cond_wait(w->region, &w->shared->cond,
			      &w->shared->mutex, deadline));
}

static void cond_asleep(struct world *w)
{
	cond_wait(w, lshm_deadline_ms(100));
}

static void cond_too_late(struct world *w)
{
	cond_wait(w, 1);
}

static void cond_now(struct world *w)
{
	UT_EQ(-EAGAIN, lshm_cond_wait(w->region, &w->shared->cond,
			   &w->shared->mutex, LSHM_NOW));
}

static void cond_without_mutex(struct world *w)
{
	UT_EQ(-EPERM, lshm_cond_wait(w->region, &w->shared->cond,
			  &w->shared->mutex, LSHM_FOREVER));
}

static void signal_one(struct world *w)
{
	UT_OK(lshm_cond_signal(w->region, &w->shared->cond));
}

static void signal_all(struct world *w)
{
	UT_OK(lshm_cond_broadcast(w->region, &w->shared->cond));
}

static void prepare_ticket(struct world *w)
{
	take_ticket(w, &w->shared->cond.waiters);
}

/* Whoever waits is woken, and nobody is left for whom to make a call. */
static void finish_cond(struct world *w)
{
	const struct lshm_waiters *q = &w->shared->cond.waiters;

	lock(w);
	signal_one(w);
	UT_EQ(q->sleeps, q->rung);
	cond_now(w);
	cond_too_late(w);
	UT_EQ(q->sleeps, q->rung + 1);
	signal_all(w);
	UT_EQ(q->sleeps, q->rung);
	unlock(w);
}

/* It was the owner of the mutex when it died. */
static void finish_cond_held(struct world *w)
{
	int ret = lshm_mutex_lock(w->region, &w->shared->mutex, UT_SOON);

	UT_TRUE(ret == LSHM_OWNER_DIED || (ret == 0 && !w->done));
	unlock(w);
	finish_cond(w);
}

STEP(cond_wait_times_out, UT_ONCE, .begin = lock, .run = cond_asleep,
    .finish = finish_cond_held)
STEP(cond_wait_too_late, UT_ONCE, .begin = lock, .run = cond_too_late,
    .finish = finish_cond_held)
STEP(cond_wait_now, UT_ONCE, .begin = lock, .run = cond_now,
    .finish = finish_cond_held)
STEP(cond_wait_without_mutex, UT_ONCE, .run = cond_without_mutex,
    .finish = finish_cond)
STEP(cond_signal, UT_ONCE, .prepare = prepare_ticket, .run = signal_one,
    .finish = finish_cond)
STEP(cond_signal_nobody, UT_ONCE, .run = signal_one, .finish = finish_cond)
STEP(cond_broadcast, UT_ONCE, .prepare = prepare_ticket, .run = signal_all,
    .finish = finish_cond)

static void other_awaits_word(struct world *w)
{
	int ret;

	lock(w);
	while (!w->shared->words[0]) {
		ret = lshm_cond_wait(
		    w->region, &w->shared->cond, &w->shared->mutex, UT_SOON);
		UT_TRUE(ret == 0 || ret == LSHM_OWNER_DIED);
	}
	unlock(w);
}

static void set_and_signal(struct world *w)
{
	lock(w);
	w->shared->words[0] = 1;
	signal_one(w);
	unlock(w);
}

static void set_and_broadcast(struct world *w)
{
	lock(w);
	w->shared->words[0] = 1;
	unlock(w);
	signal_all(w);
}

/* If it did not come to that, the survivor does it. */
static void finish_cond_slept(struct world *w)
{
	if (!w->shared->words[0])
		set_and_signal(w);
	lshm_testing_join();
	finish_cond(w);
}

static void finish_cond_woken(struct world *w)
{
	UT_TRUE(!w->done || w->shared->words[0]);
	finish_cond_slept(w);
}

STEP(cond_signal_to_sleeper, UT_ONCE, .other = other_awaits_word,
    .run = set_and_signal, .finish = finish_cond_woken)
STEP(cond_broadcast_to_sleeper, UT_ONCE, .other = other_awaits_word,
    .run = set_and_broadcast, .finish = finish_cond_woken)
/* This one waits beside another, who then must be the one to be signalled. */
STEP(cond_wait_among_sleepers, UT_ONCE, .begin = lock,
    .other = other_awaits_word, .run = cond_asleep, .finish = finish_cond_slept)

/* ---- events ---- */

static void post(struct world *w)
{
	UT_OK(lshm_event_post(w->region, &w->shared->event, 3));
}

static void event_wait(struct world *w, int expected, int64_t deadline)
{
	UT_EQ(expected, lshm_event_wait(w->region, &w->shared->event, 0,
			    deadline, &w->next));
}

static void event_there(struct world *w)
{
	event_wait(w, 0, LSHM_FOREVER);
	UT_EQ(3, w->next);
}

static void event_in_vain(struct world *w)
{
	event_wait(w, -EAGAIN, LSHM_NOW);
}

static void event_awake(struct world *w)
{
	event_wait(w, -ETIMEDOUT, AWAKE);
}

static void event_asleep(struct world *w)
{
	event_wait(w, -ETIMEDOUT, ASLEEP);
}

static uint64_t event_count(struct world *w)
{
	uint64_t count;

	UT_OK(lshm_event_count(w->region, &w->shared->event, &count));
	return count;
}

static void event_look(struct world *w)
{
	UT_EQ(3, event_count(w));
}

static void prepare_event_ticket(struct world *w)
{
	take_ticket(w, &w->shared->event.waiters);
}

static void finish_event(struct world *w)
{
	uint64_t count = event_count(w);

	post(w);
	UT_EQ(count + 3, event_count(w));
	UT_EQ(w->shared->event.waiters.sleeps, w->shared->event.waiters.rung);
	event_wait(w, 0, LSHM_NOW);
}

static void finish_post(struct world *w)
{
	uint64_t count = event_count(w);

	UT_TRUE(count == 3 || (count == 0 && !w->done));
	finish_event(w);
}

static void finish_event_slept(struct world *w)
{
	if (event_count(w) == 0)
		post(w);
	lshm_testing_join();
	finish_event(w);
}

static void finish_event_woken(struct world *w)
{
	UT_TRUE(!w->done || event_count(w) == 3);
	finish_event_slept(w);
}

static void other_awaits_event(struct world *w)
{
	event_wait(w, 0, UT_SOON);
}

STEP(event_post, UT_ONCE, .run = post, .finish = finish_post)
STEP(event_post_after_ticket, UT_ONCE, .prepare = prepare_event_ticket,
    .run = post, .finish = finish_post)
STEP(event_post_to_sleeper, UT_ONCE, .other = other_awaits_event, .run = post,
    .finish = finish_event_woken)
STEP(event_wait, UT_ONCE, .prepare = post, .run = event_there,
    .finish = finish_event)
STEP(event_wait_in_vain, UT_ONCE, .run = event_in_vain, .finish = finish_event)
STEP(event_wait_times_out, UT_ONCE, .run = event_awake, .finish = finish_event)
STEP(event_wait_sleeps, UT_ONCE, .run = event_asleep,
    .first_deaths = STEP_ONE_DEATH, .finish = finish_event)
STEP(event_wait_times_out_among_sleepers, UT_ONCE, .other = other_awaits_event,
    .run = event_awake, .finish = finish_event_slept)
STEP(event_looks, UT_ONCE, .prepare = post, .run = event_look,
    .finish = finish_event)

/* ---- once: words[0] and words[1] are set alike, words[2] counts ---- */

static int begin_init(void *arg, unsigned int earlier)
{
	volatile struct shared *s = arg;

	UT_EQ(s->words[2], earlier);
	s->words[2]++;
	s->words[0] = s->words[1] + 1;
	return 0;
}

static int init(void *arg, unsigned int earlier)
{
	struct shared *s = arg;

	/* its death may have been before it had counted itself */
	if (earlier > s->words[2])
		s->words[2] = earlier;
	begin_init(arg, earlier);
	s->words[1] = s->words[0];
	return 0;
}

static int fail_init(void *arg, unsigned int earlier)
{
	begin_init(arg, earlier);
	return -EDOM;
}

static int hang_init(void *arg, unsigned int earlier)
{
	struct world *w = arg;

	begin_init(w->shared, earlier);
	ut_say(w->sockets[0], 0);
	pause();
	return 0;
}

static int call_once(struct world *w, int64_t deadline,
    int (*function)(void *arg, unsigned int earlier))
{
	return lshm_once_run(
	    w->region, &w->shared->once, function, w->shared, deadline);
}

static void do_once(struct world *w)
{
	UT_EQ(0, call_once(w, UT_SOON, init));
	UT_EQ(w->shared->words[1], w->shared->words[0]);
}

static void once_failing(struct world *w)
{
	UT_EQ(-EDOM, call_once(w, UT_SOON, fail_init));
}

static void once_in_vain(struct world *w)
{
	UT_EQ(-EAGAIN, call_once(w, LSHM_NOW, init));
}

static void once_too_late(struct world *w)
{
	UT_EQ(-ETIMEDOUT, call_once(w, AWAKE, init));
}

static void once_hanging(struct lshm_region *region, int fd, void *arg)
{
	struct world w = {.region = region, .sockets = {fd}};

	find_shared(&w);
	UT_OK(lshm_once_run(region, &w.shared->once, hang_init, &w, LSHM_NOW));
}

static void prepare_once_hanging(struct world *w)
{
	start_victim(w, once_hanging);
	ut_hear(w->victim.fd);
}

/* Done: once, and whole. If not, it is done now. */
static void finish_once(struct world *w)
{
	struct shared *s = w->shared;
	bool done = s->once.done;
	uint64_t attempts;

	UT_TRUE(!done || (s->words[1] == s->words[0] && s->words[0] > 0));
	attempts = s->once.attempts;
	do_once(w);
	UT_EQ(attempts + !done, s->once.attempts);
	do_once(w);
	UT_EQ(attempts + !done, s->once.attempts);
	UT_EQ(1, s->once.done);
}

static void finish_once_done(struct world *w)
{
	UT_TRUE(!w->done || w->shared->once.done);
	finish_once(w);
}

static void finish_once_failed(struct world *w)
{
	UT_TRUE(!w->shared->once.done);
	finish_once(w);
}

static void finish_once_hanging(struct world *w)
{
	kill_victim(w);
	finish_once_failed(w);
}

static void finish_once_slept(struct world *w)
{
	lshm_testing_join();
	UT_EQ(1, w->shared->once.done);
	finish_once(w);
}

STEP(once, UT_ONCE, .run = do_once, .rescue = do_once,
    .finish = finish_once_done)
STEP(once_again, UT_ONCE, .prepare = do_once, .run = do_once,
    .finish = finish_once_done)
STEP(
    once_that_fails, UT_ONCE, .run = once_failing, .finish = finish_once_failed)
STEP(once_in_vain, UT_ONCE, .prepare = prepare_once_hanging,
    .run = once_in_vain, .finish = finish_once_hanging)
STEP(once_times_out, UT_ONCE, .prepare = prepare_once_hanging,
    .run = once_too_late, .finish = finish_once_hanging)
STEP(once_after_the_dead, UT_ONCE, .prepare = prepare_once_hanging,
    .meanwhile = kill_victim, .run = do_once, .rescue = do_once,
    .finish = finish_once_done)
STEP(once_after_the_dead_among_sleepers, UT_ONCE,
    .prepare = prepare_once_hanging, .other = do_once, .meanwhile = kill_victim,
    .run = do_once, .finish = finish_once_slept)
