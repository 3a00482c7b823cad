/* SPDX-License-Identifier: MIT */
/*
 * test_sync.c - what the synchronisation objects have in common; see waiters.h
 */
#include "channels.h"
#include "sync.h"

#include <signal.h>

struct shared {
	struct lshm_mutex mutex;
	struct lshm_mutex other;
	struct lshm_rwlock rwlock;
	struct lshm_rwlock read;
	struct lshm_cond cond;
	struct lshm_semaphore semaphore;
	struct lshm_event event;
	struct lshm_barrier barrier;
	struct lshm_once once;
};

static int init(void *arg, unsigned int earlier)
{
	return 0;
}

/* ---- where they may lie ---- */

/*
 * The compiler puts an object of theirs only where the library takes it: a
 * condition variable has 32-bit words only, and could come to lie at any 4.
 */
UT_TEST(any_member_of_a_structure_will_do, UT_ONCE)
{
	struct {
		uint32_t before;
		struct lshm_cond cond;
	} * c;
	struct lshm_region *region = ut_create(UT_SMALL);

	UT_EQ(8, _Alignof(struct lshm_rwlock));
	UT_EQ(8, _Alignof(struct lshm_cond));
	UT_EQ(8, _Alignof(struct lshm_semaphore));
	UT_EQ(8, _Alignof(struct lshm_permit));
	UT_EQ(8, _Alignof(struct lshm_event));
	UT_EQ(8, _Alignof(struct lshm_barrier));
	UT_EQ(8, _Alignof(struct lshm_once));
	UT_EQ(8, _Alignof(struct lshm_list));
	UT_EQ(8, _Alignof(struct lshm_vector));
	c = sync_make(region, sizeof(*c));
	UT_OK(lshm_cond_signal(region, &c->cond));
	lshm_region_close(region);
}

/* ---- fork ---- */

struct inherited {
	struct lshm_region *region;
	struct shared *shared;
};

static void holds_nothing(struct lshm_region *none, int fd, void *arg)
{
	const struct inherited *i = arg;
	struct lshm_region *r = i->region;
	struct shared *s = i->shared;
	uint64_t value;

	UT_ERR(-ECHILD, lshm_mutex_unlock(r, &s->mutex), "fork");
	UT_ERR(-ECHILD, lshm_rwlock_read(r, &s->rwlock, LSHM_NOW));
	UT_ERR(-ECHILD, lshm_rwlock_write(r, &s->rwlock, LSHM_NOW));
	UT_ERR(-ECHILD, lshm_rwlock_unlock(r, &s->rwlock));
	UT_ERR(-ECHILD, lshm_cond_wait(r, &s->cond, &s->mutex, LSHM_NOW));
	UT_ERR(-ECHILD, lshm_cond_signal(r, &s->cond));
	UT_ERR(-ECHILD, lshm_cond_broadcast(r, &s->cond));
	UT_ERR(-ECHILD, lshm_semaphore_init(r, &s->semaphore, 1, false));
	UT_ERR(-ECHILD, lshm_semaphore_wait(r, &s->semaphore, LSHM_NOW));
	UT_ERR(-ECHILD, lshm_semaphore_post(r, &s->semaphore));
	UT_ERR(-ECHILD, lshm_semaphore_value(r, &s->semaphore, &value));
	UT_ERR(-ECHILD, lshm_event_post(r, &s->event, 1));
	UT_ERR(-ECHILD, lshm_event_wait(r, &s->event, 0, LSHM_NOW, NULL));
	UT_ERR(-ECHILD, lshm_event_count(r, &s->event, &value));
	UT_ERR(-ECHILD, lshm_barrier_join(r, &s->barrier));
	UT_ERR(-ECHILD, lshm_barrier_wait(r, &s->barrier, LSHM_NOW));
	UT_ERR(-ECHILD, lshm_barrier_leave(r, &s->barrier));
	UT_ERR(-ECHILD, lshm_once_run(r, &s->once, init, NULL, LSHM_NOW));
}

UT_TEST(fork_child_holds_nothing, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *s = sync_make(region, sizeof(*s));
	struct inherited inherited = {region, s};
	struct ut_child child;

	UT_EQ(0, lshm_mutex_lock(region, &s->mutex, LSHM_NOW));
	UT_EQ(0, lshm_rwlock_write(region, &s->rwlock, LSHM_NOW));
	UT_OK(lshm_barrier_join(region, &s->barrier));
	child = ut_spawn(NULL, 0, holds_nothing, &inherited);
	ut_join(&child);
	/* its end is no death */
	UT_OK(lshm_mutex_unlock(region, &s->mutex));
	UT_OK(lshm_rwlock_unlock(region, &s->rwlock));
	UT_EQ(0, lshm_barrier_wait(region, &s->barrier, LSHM_NOW));
	lshm_region_close(region);
}

/* Its life does not keep what its parent held, either. */
static void holds_and_forks(struct lshm_region *region, int fd, void *arg)
{
	struct shared *s = sync_find(region);
	pid_t pid;

	UT_EQ(0, lshm_rwlock_write(region, &s->rwlock, LSHM_NOW));
	UT_OK(lshm_barrier_join(region, &s->barrier));
	pid = fork();
	if (pid == 0) {
		ut_hear(fd); /* as long as the test likes */
		_exit(0);
	}
	ut_say(fd, (uint64_t)pid);
	pause();
}

UT_TEST(fork_parent_dies, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct shared *s = sync_make(region, sizeof(*s));
	struct ut_child child = ut_spawn(region, 0, holds_and_forks, NULL);
	pid_t orphan = (pid_t)ut_hear(child.fd);
	int fd = dup(child.fd);

	UT_OK(lshm_barrier_join(region, &s->barrier));
	ut_kill(&child);
	UT_EQ(LSHM_OWNER_DIED, lshm_rwlock_write(region, &s->rwlock, LSHM_NOW));
	UT_OK(lshm_rwlock_unlock(region, &s->rwlock));
	UT_EQ(
	    LSHM_OWNER_DIED, lshm_barrier_wait(region, &s->barrier, LSHM_NOW));
	ut_say(fd, 0);
	ut_wait_gone(orphan);
	close(fd);
	lshm_region_close(region);
}

/* ---- signals ---- */

enum {
	MUTEX = 1,
	RWLOCK_READ,
	RWLOCK_WRITE,
	RWLOCK_DRAIN,
	COND,
	SEMAPHORE,
	EVENT,
	BARRIER,
	ONCE,
	TAKE,
	ALL
};

static void nothing(int signal)
{
}

static struct lshm_producer *out;

static int take(struct lshm_region *region)
{
	struct lshm_consumer *in = consumer(region, "c", NULL);
	struct lshm_message message;
	int ret = lshm_consumer_take(in, &message, LSHM_FOREVER);

	if (ret == 0)
		UT_OK(lshm_consumer_release(in, &message));
	lshm_consumer_close(in);
	return ret;
}

static int await(struct lshm_region *region, struct shared *s, uint64_t what)
{
	int ret;

	switch (what) {
	case MUTEX:
		return lshm_mutex_lock(region, &s->other, LSHM_FOREVER);
	case RWLOCK_READ:
		return lshm_rwlock_read(region, &s->rwlock, LSHM_FOREVER);
	case RWLOCK_WRITE:
		return lshm_rwlock_write(region, &s->rwlock, LSHM_FOREVER);
	case RWLOCK_DRAIN:
		return lshm_rwlock_write(region, &s->read, LSHM_FOREVER);
	case COND:
		UT_EQ(0, lshm_mutex_lock(region, &s->mutex, LSHM_FOREVER));
		do
			ret = lshm_cond_wait(
			    region, &s->cond, &s->mutex, LSHM_FOREVER);
		while (ret == 0 && !SYNC_LOAD(s->event.count));
		return ret;
	case SEMAPHORE:
		return lshm_semaphore_wait(region, &s->semaphore, LSHM_FOREVER);
	case EVENT:
		return lshm_event_wait(
		    region, &s->event, 0, LSHM_FOREVER, NULL);
	case BARRIER:
		UT_OK(lshm_barrier_join(region, &s->barrier));
		return lshm_barrier_wait(region, &s->barrier, LSHM_FOREVER);
	case ONCE:
		return lshm_once_run(
		    region, &s->once, init, NULL, LSHM_FOREVER);
	default:
		return take(region);
	}
}

/* What each of them waits for is held, or has not come. */
static void hold_all(struct lshm_region *region, struct shared *s)
{
	UT_EQ(0, lshm_mutex_lock(region, &s->other, LSHM_NOW));
	UT_EQ(0, lshm_rwlock_write(region, &s->rwlock, LSHM_NOW));
	UT_EQ(0, lshm_rwlock_read(region, &s->read, LSHM_NOW));
	UT_EQ(0, lshm_mutex_lock(region, &s->once.mutex, LSHM_NOW));
	UT_OK(lshm_barrier_join(region, &s->barrier));
	out = producer(region, "c", &work);
}

/* Now the one that waits for @what goes on. */
static void let_all_go(
    struct lshm_region *region, struct shared *s, uint64_t what)
{
	UT_OK(lshm_mutex_unlock(region, &s->other));
	UT_OK(lshm_rwlock_unlock(region, &s->rwlock));
	UT_OK(lshm_rwlock_unlock(region, &s->read));
	UT_OK(lshm_mutex_unlock(region, &s->once.mutex));
	UT_OK(lshm_semaphore_post(region, &s->semaphore));
	UT_OK(lshm_event_post(region, &s->event, 1));
	UT_OK(lshm_cond_signal(region, &s->cond));
	UT_EQ(0, lshm_barrier_wait(region, &s->barrier,
		     what == BARRIER ? UT_SOON : LSHM_NOW));
	UT_OK(send_number(out, 1, UT_SOON));
	lshm_producer_close(out);
}

static void waits(struct lshm_region *region, int fd, void *arg)
{
	signal(SIGUSR1, nothing);
	ut_say(fd, 0);
	ut_say(fd, (uint64_t)await(region, sync_find(region), *(int *)arg));
	ut_hear(fd);
}

UT_TEST(signals_end_no_wait, UT_EACH)
{
	for (int what = MUTEX; what < ALL; what++) {
		struct lshm_region *region = ut_create(UT_SMALL);
		struct shared *s = sync_make(region, sizeof(*s));
		struct ut_child child;

		hold_all(region, s);
		child = ut_spawn(region, 0, waits, &what);
		ut_hear(child.fd);
		for (int i = 0; i < 20; i++) {
			UT_EQ(0, kill(child.pid, SIGUSR1));
			ut_wait_asleep(child.pid);
		}
		let_all_go(region, s, what);
		UT_EQ(0, sync_answer(&child));
		sync_end(&child);
		lshm_region_close(region);
	}
}

enum { TOUCHED_INHERITED = 1 };

static pid_t forked = -1;
static int answer_fd;

static void says_and_ends(int answer)
{
	ut_say(answer_fd, (uint64_t)getpid());
	ut_say(answer_fd, (uint64_t)answer);
	_exit(0);
}

static void touched(int signal)
{
	says_and_ends(TOUCHED_INHERITED);
}

static void forks(int sig)
{
	forked = fork();
	if (forked == 0)
		signal(SIGSEGV, touched);
}

static void waits_and_forks(struct lshm_region *region, int fd, void *arg)
{
	int ret;

	answer_fd = fd;
	signal(SIGCHLD, SIG_IGN);
	signal(SIGUSR1, forks);
	ut_say(fd, 0);
	ret = await(region, sync_find(region), *(int *)arg);
	if (forked == 0)
		says_and_ends(ret);
	ut_say(fd, (uint64_t)ret);
	ut_hear(fd);
}

/*
 * A handler forks while the call sleeps, and returns in the child, too. (If it
 * is just looking around, the child cannot but touch what it has not
 * inherited: then once more.)
 */
UT_TEST(fork_while_asleep, UT_EACH)
{
	for (int what = MUTEX; what < ALL; what++) {
		struct lshm_region *region = ut_create(UT_SMALL);
		struct shared *s = sync_make(region, sizeof(*s));
		struct ut_child child;
		int answer = 0;
		pid_t pid;

		hold_all(region, s);
		child = ut_spawn(region, 0, waits_and_forks, &what);
		ut_hear(child.fd);
		for (int i = 0; i < 5 && answer != -ECHILD; i++) {
			ut_wait_asleep(child.pid);
			UT_EQ(0, kill(child.pid, SIGUSR1));
			pid = (pid_t)ut_hear(child.fd);
			answer = sync_answer(&child);
			ut_wait_gone(pid);
			UT_TRUE(
			    answer == -ECHILD || answer == TOUCHED_INHERITED);
		}
		UT_EQ(-ECHILD, answer);
		let_all_go(region, s, what);
		UT_EQ(0, sync_answer(&child));
		sync_end(&child);
		lshm_region_close(region);
	}
}
