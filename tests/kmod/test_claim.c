/* SPDX-License-Identifier: MIT */
/*
 * test_claim.c - who takes part, and how that ends: every kind of death, and
 * what is none
 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>

#include "kmod.h"

static void claims(void)
{
	int fd = make(page), writer;
	struct lshm_ioc_peer p = {.size = sizeof(p), .slot = 3};
	struct lshm_ioc_waiton word = {.fd = -1};
	struct lshm_ioc_wait w = {
	    .size = sizeof(w), .flags = LSHM_IOC_WAIT_DEATHS};
	struct lshm_ioc_waitv v = {.size = sizeof(v),
	    .flags = LSHM_IOC_WAIT_DEATHS,
	    .words = (uintptr_t)&word,
	    .count = 1};
	struct lshm_ioc_stat s;
	char *c, *d;

	CHECK(!claimed(fd, 3));
	c = claim(fd, 3);
	CHECK(c != MAP_FAILED && claimed(fd, 3) && !claimed(fd, 2));
	REFUSED(claim(fd, 3), EAGAIN);
	writer = dup_with(fd, LSHM_IOC_RIGHT_READ | LSHM_IOC_RIGHT_WRITE);
	REFUSED(claim(writer, 3), EAGAIN);
	CHECK(ioctl(fd, LSHM_IOC_PEER, &p) == 0);
	CHECK(p.pid == (uint32_t)getpid() && p.handle == handle_of(fd));
	d = claim(writer, LSHM_IOC_SLOTS - 1);
	CHECK(d != MAP_FAILED && claimed(fd, LSHM_IOC_SLOTS - 1));
	REFUSED(claim(fd, LSHM_IOC_SLOTS), ENXIO);
	p.flags = 0;
	p.slot = LSHM_IOC_SLOTS;
	REFUSED(ioctl(fd, LSHM_IOC_PEER, &p), ERANGE);
	p.region = 999999;
	REFUSED(ioctl(fd, LSHM_IOC_PEER, &p), ESTALE);
	stat_of(fd, &s);
	CHECK(s.claims == 2 && s.deaths == 0 && s.maps == 0);
#define BAD(length, prot, flags, error)                     \
	REFUSED(mmap(NULL, length, prot, flags, fd,         \
		    (off_t)LSHM_IOC_CLAIM_OFFSET(9, page)), \
	    error)
	BAD(2 * page, PROT_NONE, MAP_SHARED, EINVAL);
	BAD(page, PROT_READ, MAP_SHARED, EINVAL);
	BAD(page, PROT_WRITE, MAP_SHARED, EINVAL);
	BAD(page, PROT_NONE, MAP_PRIVATE, EINVAL);
#undef BAD
	/* The page is nothing but a sign. */
	REFUSED(mprotect(c, page, PROT_READ), EACCES);
	CHECK(signal_of_touch(c, false) == SIGSEGV);
	REFUSED(madvise(c, page, MADV_DOFORK), EINVAL);
	/* Moved: still held; longer or doubled: no. */
	REFUSED(mremap(c, page, 2 * page, MREMAP_MAYMOVE), EFAULT);
	REFUSED(mremap(c, 0, page, MREMAP_MAYMOVE), EFAULT);
	d = mmap(NULL, page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(mremap(c, page, page, MREMAP_MAYMOVE | MREMAP_FIXED, d) == d);
	CHECK(claimed(fd, 3));
	/* The descriptors do not matter. */
	close(writer);
	CHECK(claimed(fd, LSHM_IOC_SLOTS - 1));
	munmap(d, page);
	CHECK(!claimed(fd, 3));
	stat_of(fd, &s);
	CHECK(s.claims == 1 && s.deaths == 1);
	CHECK(claim(fd, 3) != MAP_FAILED);
	/* It is told to who has not heard of it, and once. */
	w.deadline = v.deadline = in_ms(20000);
	REFUSED(ioctl(fd, LSHM_IOC_WAIT, &w), EOWNERDEAD);
	REFUSED(ioctl(fd, LSHM_IOC_WAITV, &v), EOWNERDEAD);
	CHECK(w.deaths == 1 && v.deaths == 1);
	w.deadline = v.deadline = 1;
	REFUSED(ioctl(fd, LSHM_IOC_WAIT, &w), ETIMEDOUT);
	REFUSED(ioctl(fd, LSHM_IOC_WAITV, &v), ETIMEDOUT);
}

static uint64_t deaths(int fd)
{
	struct lshm_ioc_stat s;

	stat_of(fd, &s);
	return s.deaths;
}

/* Sleep until somebody dies after @seen deaths; the test has a watchdog. */
static void until_death(int fd, uint64_t seen)
{
	struct lshm_ioc_wait w = {.size = sizeof(w),
	    .flags = LSHM_IOC_WAIT_DEATHS,
	    .offset = 0,
	    .deadline = LSHM_IOC_FOREVER,
	    .deaths = seen};

	REFUSED(ioctl(fd, LSHM_IOC_WAIT, &w), EOWNERDEAD);
	CHECK(w.deaths > seen);
}

enum end { KILL, EXIT, EXEC, SEGV, UNMAP, THREAD_EXEC };

static void *exec_there(void *arg)
{
	(void)arg;
	execl("/bin/sleep", "sleep", "1000", NULL);
	return NULL;
}

/*
 * A process claims a slot and ends in some way, while a child of its own has
 * inherited the descriptor and its mappings: it does not hold the slot.
 */
static void ends_by(enum end how)
{
	int fd = make(page), to[2], back[2];
	uint64_t seen = deaths(fd);
	pthread_t t;
	char byte = 0;
	pid_t pid, heir;

	CHECK(pipe(to) == 0 && pipe(back) == 0);
	pid = child();
	if (pid == 0) {
		char *p = map(fd, page, PROT_READ | PROT_WRITE);
		void *c = claim(fd, 5);

		CHECK(p != MAP_FAILED && c != MAP_FAILED);
		fcntl(fd, F_SETFD, 0);
		heir = fork();
		if (heir == 0) {
			for (;;)
				pause();
		}
		CHECK(write(back[1], &heir, sizeof(heir)) == sizeof(heir));
		CHECK(read(to[0], &byte, 1) == 1);
		switch (how) {
		case KILL:
			for (;;)
				pause();
		case EXIT:
			_exit(0);
		case EXEC:
			exec_there(NULL);
			_exit(1);
		case SEGV:
			signal(SIGSEGV, SIG_DFL);
			*(volatile int *)c = 1;
			_exit(0);
		case UNMAP:
			munmap(c, page);
			for (;;)
				pause();
		case THREAD_EXEC:
			pthread_create(&t, NULL, exec_there, NULL);
			for (;;)
				pause();
		}
	}
	CHECK(read(back[0], &heir, sizeof(heir)) == sizeof(heir));
	CHECK(claimed(fd, 5));
	CHECK(write(to[1], &byte, 1) == 1);
	if (how == KILL)
		kill(pid, SIGKILL);
	until_death(fd, seen);
	CHECK(!claimed(fd, 5));
	CHECK(deaths(fd) == seen + 1);
	CHECK(kill(heir, 0) == 0); /* it has the descriptor to this day */
	CHECK(claim(fd, 5) != MAP_FAILED);
	kill(heir, SIGKILL);
	kill_and_reap(pid);
}

static void killed(void)
{
	ends_by(KILL);
}

static void exits(void)
{
	ends_by(EXIT);
}

static void execs(void)
{
	ends_by(EXEC);
}

static void crashes(void)
{
	ends_by(SEGV);
}

static void unmaps(void)
{
	ends_by(UNMAP);
}

static void thread_execs(void)
{
	ends_by(THREAD_EXEC);
}

/* What is no end of the one who claimed. */
static void survives(void)
{
	int fd = make(page), status;
	void *c = claim(fd, 1);
	pid_t pid;

	CHECK(c != MAP_FAILED);
	pid = child();
	if (pid == 0)
		_exit(0);
	exited_well(pid);
	pid = vfork();
	if (pid == 0) {
		execl("/bin/true", "true", NULL);
		_exit(1);
	}
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	CHECK(claimed(fd, 1) && deaths(fd) == 0);
	/* A child has its own, after the fork, through the same file. */
	pid = child();
	if (pid == 0) {
		CHECK(claim(fd, 1) == MAP_FAILED && errno == EAGAIN);
		CHECK(claim(fd, 2) != MAP_FAILED);
		pause();
	}
	while (!claimed(fd, 2))
		sched_yield();
	kill(pid, SIGSTOP);
	CHECK(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status));
	CHECK(claimed(fd, 2)); /* stopped is alive */
	kill_and_reap(pid);
	until_death(fd, 0);
	CHECK(!claimed(fd, 2) && claimed(fd, 1));
}

/* All who sleep anywhere in the region are told, at once. */
static void wakes_all(void)
{
	enum { SLEEPERS = 70 };
	int fd = make(page);
	pid_t victim = child(), p[SLEEPERS];
	struct pollfd region = {.fd = fd, .events = POLLPRI};

	if (victim == 0) {
		CHECK(claim(fd, 0) != MAP_FAILED);
		pause();
	}
	while (!claimed(fd, 0))
		sched_yield();
	CHECK(poll(&region, 1, 0) == 0);
	for (unsigned int i = 0; i < SLEEPERS; i++) {
		p[i] = child();
		if (p[i] == 0) {
			REFUSED(wait_word(fd, 4 * i, 0, LSHM_IOC_FOREVER),
			    EOWNERDEAD);
			_exit(0);
		}
	}
	until_waiters(fd, SLEEPERS);
	kill_and_reap(victim);
	for (int i = 0; i < SLEEPERS; i++)
		exited_well(p[i]);
	CHECK(poll(&region, 1, 0) == 1 && region.revents == POLLPRI);
	CHECK(deaths(fd) == 1);
	CHECK(poll(&region, 1, 0) == 0);
}

/*
 * Claims come and go by death as fast as can be, and one watches: each death is
 * told, whether it came before the wait, during, or in between.
 */
static void no_death_lost(void)
{
	enum { DEATHS = 150 };
	int fd = make(page);
	uint64_t seen = 0;
	pid_t pid = child();

	if (pid == 0) {
		for (int i = 0; i < DEATHS; i++) {
			pid_t victim = child();

			if (victim == 0) {
				while (claim(fd, 0) == MAP_FAILED)
					CHECK(errno == EAGAIN);
				if (i % 2)
					raise(SIGKILL);
				_exit(0);
			}
			if (i % 3 == 0)
				CHECK(waitpid(victim, NULL, 0) == victim);
		}
		while (wait(NULL) > 0)
			;
		_exit(0);
	}
	while (seen < DEATHS) {
		until_death(fd, seen);
		seen = deaths(fd);
	}
	exited_well(pid);
	CHECK(seen == DEATHS && !claimed(fd, 0));
}

static void revoked_claims(void)
{
	int fd = make(page), bad = dup_with(fd, 0);
	struct lshm_ioc_stat s;
	void *c = claim(bad, 1);

	CHECK(claim(bad, 2) != MAP_FAILED && claim(fd, 3) != MAP_FAILED);
	CHECK(revoke_handle(fd, handle_of(bad)) == 0);
	CHECK(!claimed(fd, 1) && !claimed(fd, 2) && claimed(fd, 3));
	CHECK(claim(fd, 1) != MAP_FAILED);
	munmap(c, page); /* what is left of the old one */
	CHECK(claimed(fd, 1));
	stat_of(fd, &s);
	CHECK(s.claims == 2 && s.deaths == 1);
}

const struct test tests_claim[] = {
    {"claim", claims},
    {"claim_killed", killed},
    {"claim_exits", exits},
    {"claim_execs", execs},
    {"claim_crashes", crashes},
    {"claim_unmaps", unmaps},
    {"claim_thread_execs", thread_execs},
    {"claim_survives", survives},
    {"claim_wakes_all", wakes_all},
    {"claim_no_death_lost", no_death_lost},
    {"claim_revoked", revoked_claims},
    {0},
};
