/* SPDX-License-Identifier: MIT */
/*
 * test_wait.c - sleeping on words, waking, eventfds: nothing lost, nothing
 * that was meant for somebody else
 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "kmod.h"

#define RW (PROT_READ | PROT_WRITE)

static void values(void)
{
	int fd = make(2 * page);
	_Atomic uint32_t *w = map(fd, 2 * page, RW);
	struct lshm_ioc_wait a = {.size = sizeof(a)};

	REFUSED(wait_word(fd, 0, 1, LSHM_IOC_FOREVER), EAGAIN);
	REFUSED(wait_word(fd, 1, 0, LSHM_IOC_FOREVER), EINVAL);
	REFUSED(wait_word(fd, 2, 0, LSHM_IOC_FOREVER), EINVAL);
	REFUSED(wait_word(fd, 2 * page, 0, LSHM_IOC_FOREVER), ERANGE);
	REFUSED(wait_word(fd, UINT64_MAX - 3, 0, LSHM_IOC_FOREVER), ERANGE);
	REFUSED(wake_word(fd, 3, 1), EINVAL);
	REFUSED(wake_word(fd, 2 * page, 1), ERANGE);
	REFUSED(wait_word(fd, 2 * page - 4, 0, 0), ETIMEDOUT);
	REFUSED(wait_word(fd, 0, 0, 1), ETIMEDOUT);
	w[1] = 77;
	REFUSED(wait_word(fd, 4, 0, LSHM_IOC_FOREVER), EAGAIN);
	REFUSED(wait_word(fd, 4, 77, in_ms(-5)), ETIMEDOUT);
	CHECK(wake_word(fd, 0, 1) == 0);
	CHECK(wake_word(fd, 0, UINT32_MAX) == 0);
	/* What it says of deaths comes with an answer only. */
	munmap(claim(fd, 0), page);
	a.deadline = 1;
	REFUSED(ioctl(fd, LSHM_IOC_WAIT, &a), ETIMEDOUT);
	CHECK(a.deaths == 0);
	a.expected = 1;
	REFUSED(ioctl(fd, LSHM_IOC_WAIT, &a), EAGAIN);
	CHECK(a.deaths == 1);
	a.pad = 1;
	REFUSED(ioctl(fd, LSHM_IOC_WAIT, &a), EINVAL);
	a.pad = 0;
	a.region = 12345;
	REFUSED(ioctl(fd, LSHM_IOC_WAIT, &a), ESTALE);
}

static void deadline(void)
{
	int fd = make(page);
	uint64_t until = in_ms(150);

	REFUSED(wait_word(fd, 0, 0, until), ETIMEDOUT);
	CHECK(in_ms(0) >= until);
}

/* In a time namespace whose clock is behind, the last moment is one, too. */
static void deadline_elsewhere(void)
{
	int fd = make(page), offsets;
	pid_t pid;

	if (unshare(CLONE_NEWTIME) < 0) {
		printf("# no time namespaces: %s\n", strerror(errno));
		return;
	}
	offsets = open("/proc/self/timens_offsets", O_WRONLY | O_CLOEXEC);
	CHECK(write(offsets, "monotonic -1 0", 14) == 14);
	alarm(30);
	pid = child(); /* it is in there */
	if (pid == 0) {
		uint64_t until = in_ms(50);

		REFUSED(wait_word(fd, 4, 0, until), ETIMEDOUT);
		CHECK(in_ms(0) >= until);
		CHECK(wait_word(fd, 0, 0, LSHM_IOC_FOREVER - 1) == 0);
		_exit(0);
	}
	while (wake_word(fd, 0, 1) == 0 && waitpid(pid, NULL, WNOHANG) == 0)
		usleep(1000);
	exited_well(pid);
}

struct who {
	pthread_t thread;
	int fd;
	uint64_t offset;
	int result;
};

static void *sleep_there(void *arg)
{
	struct who *w = arg;

	w->result =
	    wait_word(w->fd, w->offset, 0, LSHM_IOC_FOREVER) == 0 ? 0 : -errno;
	return NULL;
}

static void begin(struct who *w, int fd, uint64_t offset)
{
	w->fd = fd;
	w->offset = offset;
	CHECK(pthread_create(&w->thread, NULL, sleep_there, w) == 0);
}

/*
 * Sleepers on all words of a page, so in all buckets, several in each: a
 * wake-up reaches those of its own word only, and not more than were asked for.
 */
static void keyed(void)
{
	enum { WORDS = 100, EACH = 2 };
	static struct who w[WORDS][EACH];
	int fd = make(page);

	for (unsigned int i = 0; i < WORDS; i++)
		for (int j = 0; j < EACH; j++) {
			begin(&w[i][j], fd, 4 * i);
			until_waiters(fd, i * EACH + (unsigned int)j + 1);
		}
	CHECK(wake_word(fd, 4 * WORDS, 100) == 0);
	for (unsigned int i = 0; i < WORDS; i++) {
		CHECK(wake_word(fd, 4 * i, 0) == 0);
		CHECK(wake_word(fd, 4 * i, 1) == 1);
		pthread_join(w[i][0].thread, NULL); /* it came first */
		CHECK(w[i][0].result == 0);
		until_waiters(fd, WORDS * EACH - 2 * i - 1);
		CHECK(wake_word(fd, 4 * i, 100) == 1);
		pthread_join(w[i][1].thread, NULL);
	}
	until_waiters(fd, 0);
}

/* Through a read-only handle, and another process; the mapping is gone. */
static void elsewhere(void)
{
	int fd = make(page), reader = dup_with(fd, LSHM_IOC_RIGHT_READ);
	char *p = map(reader, page, PROT_READ);
	pid_t pid = child();

	if (pid == 0) {
		munmap(p, page);
		CHECK(wait_word(reader, 8, 0, LSHM_IOC_FOREVER) == 0);
		_exit(0);
	}
	until_waiters(fd, 1);
	munmap(p, page);
	CHECK(wake_word(fd, 8, 1) == 1);
	exited_well(pid);
}

static atomic_int signals;

static void on_signal(int s)
{
	(void)s;
	signals++;
}

static void interrupted(void)
{
	int fd = make(page);
	struct sigaction a = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
	struct who w;
	pid_t pid;

	/* A handler ends the wait, restart asked for or not. */
	sigaction(SIGUSR1, &a, NULL);
	begin(&w, fd, 0);
	until_waiters(fd, 1);
	pthread_kill(w.thread, SIGUSR1);
	pthread_join(w.thread, NULL);
	CHECK(w.result == -EINTR && signals == 1);
	/* A stop does not. */
	pid = child();
	if (pid == 0) {
		CHECK(wait_word(fd, 0, 0, LSHM_IOC_FOREVER) == 0);
		_exit(0);
	}
	until_waiters(fd, 1);
	kill(pid, SIGSTOP);
	until_waiters(fd, 0);
	kill(pid, SIGCONT);
	until_waiters(fd, 1);
	CHECK(wake_word(fd, 0, 1) == 1);
	exited_well(pid);
	/* Death does. */
	pid = child();
	if (pid == 0)
		_exit(wait_word(fd, 0, 0, LSHM_IOC_FOREVER));
	until_waiters(fd, 1);
	kill_and_reap(pid);
	until_waiters(fd, 0);
	CHECK(wake_word(fd, 0, 1) == 0);
}

static void revoked_wait(void)
{
	int fd = make(page), bad = dup_with(fd, 0);
	struct who w[2];

	begin(&w[0], fd, 0);
	begin(&w[1], bad, 0);
	until_waiters(fd, 2);
	CHECK(revoke_handle(fd, handle_of(bad)) == 0);
	pthread_join(w[1].thread, NULL);
	CHECK(w[1].result == -ENODEV);
	until_waiters(fd, 1);
	CHECK(wake_word(fd, 0, 2) == 1);
	pthread_join(w[0].thread, NULL);
	CHECK(w[0].result == 0);
}

/*
 * Two processes hand a number to and fro. Neither spins nor has a deadline, so
 * a lost wake-up stops them, and the watchdog tells.
 */
static void ping_pong(void)
{
	enum { ROUNDS = 20000 };
	int fd = make(page);
	_Atomic uint32_t *w = map(fd, page, RW);
	pid_t pid = child();
	uint32_t me = pid == 0, v;

	for (uint32_t i = 0; i < ROUNDS; i++) {
		while ((v = *w) % 2 != me)
			CHECK(wait_word(fd, 0, v, LSHM_IOC_FOREVER) == 0 ||
			      errno == EAGAIN);
		*w = v + 1;
		CHECK(wake_word(fd, 0, 1) >= 0);
	}
	if (pid == 0)
		_exit(0);
	exited_well(pid);
	CHECK(*w == 2 * ROUNDS);
}

/*
 * A semaphore with many on each side: each wake-up of one is for one. Late
 * sleepers with short deadlines must not swallow those of others.
 */
enum { TOKENS = 4000, SIDES = 4 };
static _Atomic uint32_t *tokens;
static int tokens_fd;

static void *take_tokens(void *arg)
{
	bool hasty = arg;

	for (int i = 0; i < TOKENS;) {
		uint32_t v = *tokens;

		if (v && atomic_compare_exchange_strong(tokens, &v, v - 1)) {
			i++;
			continue;
		}
		if (v == 0)
			wait_word(tokens_fd, 0, 0,
			    hasty ? in_ms(1) : LSHM_IOC_FOREVER);
	}
	return NULL;
}

static void *give_tokens(void *arg)
{
	(void)arg;
	for (int i = 0; i < TOKENS; i++) {
		(*tokens)++;
		CHECK(wake_word(tokens_fd, 0, 1) >= 0);
	}
	return NULL;
}

static void semaphore(void)
{
	pthread_t t[2 * SIDES];

	tokens_fd = make(page);
	tokens = map(tokens_fd, page, RW);
	for (intptr_t i = 0; i < SIDES; i++) {
		pthread_create(&t[2 * i], NULL, take_tokens, (void *)(i % 2));
		pthread_create(&t[2 * i + 1], NULL, give_tokens, NULL);
	}
	for (int i = 0; i < 2 * SIDES; i++)
		pthread_join(t[i], NULL);
	CHECK(*tokens == 0);
}

/* -- many words ------------------------------------------------------------ */

static int wait_many(int fd, const struct lshm_ioc_waiton *words,
    uint32_t count, uint64_t until, uint32_t *index)
{
	struct lshm_ioc_waitv v = {.size = sizeof(v),
	    .words = (uintptr_t)words,
	    .count = count,
	    .index = 999,
	    .deadline = until};
	int ret = ioctl(fd, LSHM_IOC_WAITV, &v);

	*index = v.index;
	return ret;
}

static void many_values(void)
{
	int fd = make(page), other = make(page), null = eventfd(0, 0);
	_Atomic uint32_t *w = map(other, page, RW);
	struct lshm_ioc_waiton words[200] = {0}, *at;
	struct lshm_ioc_stat s;
	uint32_t i;

	for (unsigned int n = 0; n < 200; n++) {
		words[n].offset = 4 * n;
		words[n].fd = n % 2 ? other : -1;
	}
	REFUSED(wait_many(fd, words, 0, 0, &i), EINVAL);
	REFUSED(wait_many(fd, words, 129, 0, &i), EINVAL);
	REFUSED(wait_many(fd, words, UINT32_MAX, 0, &i), EINVAL);
	REFUSED(wait_many(fd, words, 128, in_ms(2), &i), ETIMEDOUT);
	REFUSED(wait_many(fd, NULL, 1, 0, &i), EFAULT);
	REFUSED(wait_many(fd, (void *)-8l, 1, 0, &i), EFAULT);
	at = edge(10 * sizeof(*at));
	memcpy(at, words, 10 * sizeof(*at));
	REFUSED(wait_many(fd, at, 10, 0, &i), ETIMEDOUT);
	REFUSED(wait_many(fd, at, 11, 0, &i), EFAULT);
	w[5] = 1;
	REFUSED(wait_many(fd, words, 10, LSHM_IOC_FOREVER, &i), EAGAIN);
	CHECK(i == 5);
	w[5] = 0;
	words[3].fd = null;
	REFUSED(wait_many(fd, words, 10, 0, &i), EBADF);
	words[3].fd = 999;
	REFUSED(wait_many(fd, words, 10, 0, &i), EBADF);
	words[3].fd = -1;
	words[3].offset = page;
	REFUSED(wait_many(fd, words, 10, 0, &i), ERANGE);
	words[3].offset = 7;
	REFUSED(wait_many(fd, words, 10, 0, &i), EINVAL);
	stat_of(fd, &s);
	CHECK(s.waiters == 0);
}

static void many_woken(void)
{
	int fd = make(page), other = make(page);
	struct lshm_ioc_waiton words[128] = {0};
	uint32_t i;

	for (unsigned int n = 0; n < 128; n++) {
		words[n].offset = 4 * (n / 2);
		words[n].fd = n % 2 ? other : -1;
	}
	for (unsigned int n = 0; n < 128; n += 9) {
		pid_t pid = child();

		if (pid == 0) {
			CHECK(wait_many(fd, words, 128, LSHM_IOC_FOREVER, &i) ==
			      0);
			CHECK(i == n);
			_exit(0);
		}
		until_waiters(fd, 1);
		CHECK(wake_word(n % 2 ? other : fd, 4 * 100, 9) == 0);
		CHECK(wake_word(n % 2 ? other : fd, 4 * (n / 2), 9) == 1);
		exited_well(pid);
		CHECK(wake_word(fd, 0, 9) == 0 && wake_word(other, 0, 9) == 0);
	}
}

/* One WAITV is one sleeper, however many of its words are rung. */
static void many_once(void)
{
	enum { ROUNDS = 3000 };
	int fd = make(page);
	_Atomic uint32_t *w = map(fd, page, RW);
	pid_t pid = child();
	uint32_t i;

	if (pid == 0) {
		struct lshm_ioc_waiton words[8] = {0};
		uint32_t seen = 0;

		while (seen < ROUNDS) {
			uint32_t sum = 0;

			for (int n = 0; n < 8; n++) {
				words[n].offset = (uint64_t)(64 * n);
				words[n].fd = -1;
				words[n].expected = w[16 * n];
				sum += words[n].expected;
			}
			seen = sum;
			if (seen < ROUNDS)
				CHECK(wait_many(fd, words, 8, LSHM_IOC_FOREVER,
					  &i) == 0 ||
				      errno == EAGAIN);
		}
		_exit(0);
	}
	for (i = 0; i < ROUNDS; i++) {
		w[16 * (i % 8)]++;
		CHECK(wake_word(fd, 64 * (i % 8), 1) <= 1);
	}
	exited_well(pid);
}

static int wait_other(int fd, int other, uint64_t until, uint64_t deaths)
{
	struct lshm_ioc_waiton word = {.fd = other};
	struct lshm_ioc_waitv v = {.size = sizeof(v),
	    .flags = LSHM_IOC_WAIT_DEATHS,
	    .words = (uintptr_t)&word,
	    .count = 1,
	    .deadline = until,
	    .deaths = deaths};

	return ioctl(fd, LSHM_IOC_WAITV, &v) == 0 ? 0 : errno;
}

static void *wait_there(void *arg)
{
	const int *fds = arg;

	return (void *)(intptr_t)wait_other(
	    fds[0], fds[1], LSHM_IOC_FOREVER, 0);
}

/* It counts what it is called on, also where no word is of that region. */
static void many_deaths(void)
{
	int fd = make(page), fds[2] = {dup_with(fd, 0), make(page)};
	pthread_t t;
	void *c, *got;

	munmap(claim(fds[1], 0), page);
	CHECK(wait_other(fd, fds[1], in_ms(2), 0) == ETIMEDOUT);
	c = claim(fd, 0);
	CHECK(pthread_create(&t, NULL, wait_there, fds) == 0);
	until_waiters(fd, 1);
	munmap(c, page);
	pthread_join(t, &got);
	CHECK((intptr_t)got == EOWNERDEAD);
	CHECK(wait_other(fd, fds[1], LSHM_IOC_FOREVER, 0) == EOWNERDEAD);
	CHECK(wait_other(fd, fds[1], in_ms(2), 1) == ETIMEDOUT);
}

static void many_revoked(void)
{
	int fd = make(page), fds[2] = {dup_with(fd, 0), make(page)};
	uint64_t id = handle_of(fds[0]);
	pthread_t t;
	void *got;

	CHECK(pthread_create(&t, NULL, wait_there, fds) == 0);
	until_waiters(fd, 1);
	CHECK(revoke_handle(fd, id) == 0);
	pthread_join(t, &got);
	CHECK((intptr_t)got == ENODEV);
}

/* -- eventfds -------------------------------------------------------------- */

static int bind_event(int fd, uint32_t flags, int event, uint64_t offset)
{
	struct lshm_ioc_bind b = {
	    .size = sizeof(b), .flags = flags, .fd = event, .offset = offset};

	return ioctl(fd, LSHM_IOC_BIND, &b);
}

static uint64_t rung(int event)
{
	uint64_t n;

	return read(event, &n, sizeof(n)) == sizeof(n) ? n : 0;
}

static void eventfds(void)
{
	int fd = make(page), other = dup_with(fd, 0);
	int e = eventfd(0, EFD_NONBLOCK), d = eventfd(0, EFD_NONBLOCK);
	void *c;

	REFUSED(bind_event(fd, 0, e, 0), EINVAL);
	REFUSED(bind_event(fd, LSHM_IOC_BIND_WAKE | LSHM_IOC_BIND_DEATHS, e, 0),
	    EINVAL);
	REFUSED(bind_event(fd, LSHM_IOC_BIND_DEATHS, e, 4), EINVAL);
	REFUSED(bind_event(fd, LSHM_IOC_BIND_WAKE, e, 2), EINVAL);
	REFUSED(bind_event(fd, LSHM_IOC_BIND_WAKE, e, page), ERANGE);
	REFUSED(bind_event(fd, LSHM_IOC_BIND_WAKE, 999, 0), EBADF);
	REFUSED(bind_event(fd, LSHM_IOC_BIND_WAKE, fd, 0), EINVAL);
	REFUSED(bind_event(fd, LSHM_IOC_BIND_WAKE | LSHM_IOC_BIND_REMOVE, e, 0),
	    ENOENT);
	CHECK(bind_event(fd, LSHM_IOC_BIND_WAKE, e, 16) == 0);
	REFUSED(bind_event(fd, LSHM_IOC_BIND_WAKE, e, 16), EEXIST);
	CHECK(bind_event(other, LSHM_IOC_BIND_DEATHS, d, 0) == 0);
	CHECK(wake_word(fd, 12, 1) == 0 && rung(e) == 0);
	CHECK(wake_word(other, 16, 1) == 0 && rung(e) == 1 && rung(d) == 0);
	c = claim(fd, 0);
	CHECK(rung(d) == 0);
	munmap(c, page);
	CHECK(rung(d) == 1 && rung(e) == 0);
	CHECK(bind_event(
		  fd, LSHM_IOC_BIND_WAKE | LSHM_IOC_BIND_REMOVE, e, 16) == 0);
	CHECK(wake_word(fd, 16, 1) == 0 && rung(e) == 0);
	/* It goes with its handle: closed; or revoked, which it tells. */
	CHECK(bind_event(other, LSHM_IOC_BIND_WAKE, e, 16) == 0);
	close(other);
	CHECK(wake_word(fd, 16, 1) == 0 && rung(e) == 0);
	other = dup_with(fd, 0);
	CHECK(bind_event(other, LSHM_IOC_BIND_WAKE, e, 16) == 0);
	CHECK(bind_event(other, LSHM_IOC_BIND_DEATHS, d, 0) == 0);
	CHECK(revoke_handle(fd, handle_of(other)) == 0);
	CHECK(rung(e) == 1 && rung(d) == 1);
	CHECK(wake_word(fd, 16, 1) == 0 && rung(e) == 0);
}

/* Enough is enough: of a region, whoever binds. */
static void eventfds_many(void)
{
	int fd = make(2 * page), other = dup_with(fd, 0);
	int e = eventfd(0, EFD_NONBLOCK);
	uint64_t n;

	for (n = 0; n < 1024; n++)
		CHECK(bind_event(n % 2 ? fd : other, LSHM_IOC_BIND_WAKE, e,
			  4 * n) == 0);
	REFUSED(bind_event(fd, LSHM_IOC_BIND_WAKE, e, 4 * n), ENOSPC);
	REFUSED(bind_event(other, LSHM_IOC_BIND_DEATHS, e, 0), ENOSPC);
	CHECK(bind_event(fd, LSHM_IOC_BIND_WAKE | LSHM_IOC_BIND_REMOVE, e, 4) ==
	      0);
	CHECK(bind_event(other, LSHM_IOC_BIND_DEATHS, e, 0) == 0);
	close(other);
	for (n = 0; n < 512; n++)
		CHECK(bind_event(fd, LSHM_IOC_BIND_WAKE, e, 8 * n) == 0);
	CHECK(bind_event(fd, LSHM_IOC_BIND_DEATHS, e, 0) == 0);
	REFUSED(bind_event(fd, LSHM_IOC_BIND_WAKE, e, 4), ENOSPC);
}

const struct test tests_wait[] = {
    {"wait_values", values},
    {"wait_deadline", deadline},
    {"wait_deadline_elsewhere", deadline_elsewhere},
    {"wait_keyed", keyed},
    {"wait_elsewhere", elsewhere},
    {"wait_interrupted", interrupted},
    {"wait_revoked", revoked_wait},
    {"wait_ping_pong", ping_pong},
    {"wait_semaphore", semaphore},
    {"waitv_values", many_values},
    {"waitv_woken", many_woken},
    {"waitv_once", many_once},
    {"waitv_deaths", many_deaths},
    {"waitv_revoked", many_revoked},
    {"eventfds", eventfds},
    {"eventfds_many", eventfds_many},
    {0},
};
