/* SPDX-License-Identifier: MIT */
/*
 * kmod.c - the harness, and what the tests have in common; see kmod.h
 */
#include "kmod.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

#include "inject.h"

#define WATCHDOG 240 /* s: software emulation is slow */

int ctl = -1;
size_t page;

void failed(const char *file, int line, const char *what)
{
	int error = errno;
	const char *slash = strrchr(file, '/');

	printf("# %s:%d: %s (errno %d, %s)\n", slash ? slash + 1 : file, line,
	    what, error, strerror(error));
	fflush(stdout);
	_exit(1);
}

/* -- what the tests have in common ---------------------------------------- */

int make_with(struct lshm_ioc_create *with)
{
	with->size = sizeof(*with);
	if (ioctl(ctl, LSHM_IOC_CREATE, with) < 0)
		return -1;
	return with->fd;
}

int make(uint64_t length)
{
	struct lshm_ioc_create c = {.length = length, .mode = 0600, .node = -1};

	return make_with(&c);
}

int make_named(const char *name, uint64_t length, unsigned int mode)
{
	struct lshm_ioc_create c = {
	    .name = (uintptr_t)name,
	    .length = length,
	    .mode = mode,
	    .node = -1,
	};

	return make_with(&c);
}

int open_named(const char *name, unsigned int rights)
{
	struct lshm_ioc_open o = {
	    .size = sizeof(o),
	    .name = (uintptr_t)name,
	    .rights = rights,
	};

	if (ioctl(ctl, LSHM_IOC_OPEN, &o) < 0)
		return -1;
	return o.fd;
}

int dup_with(int fd, unsigned int rights)
{
	struct lshm_ioc_dup d = {.size = sizeof(d), .rights = rights};

	if (ioctl(fd, LSHM_IOC_DUP, &d) < 0)
		return -1;
	return d.fd;
}

void stat_of(int fd, struct lshm_ioc_stat *s)
{
	memset(s, 0, sizeof(*s));
	s->size = sizeof(*s);
	CHECK(ioctl(fd, LSHM_IOC_STAT, s) == 0);
}

uint64_t handle_of(int fd)
{
	struct lshm_ioc_stat s;

	stat_of(fd, &s);
	return s.handle;
}

void info_now(struct lshm_ioc_info *i)
{
	memset(i, 0, sizeof(*i));
	i->size = sizeof(*i);
	CHECK(ioctl(ctl, LSHM_IOC_INFO, i) == 0);
}

void *map(int fd, size_t length, int prot)
{
	return mmap(NULL, length, prot, MAP_SHARED, fd, 0);
}

void *claim(int fd, unsigned int slot)
{
	return mmap(NULL, page, PROT_NONE, MAP_SHARED, fd,
	    (off_t)LSHM_IOC_CLAIM_OFFSET(slot, page));
}

bool claimed(int fd, unsigned int slot)
{
	struct lshm_ioc_peer p = {.size = sizeof(p), .slot = slot};

	CHECK(ioctl(fd, LSHM_IOC_PEER, &p) == 0);
	return p.flags & LSHM_IOC_PEER_CLAIMED;
}

int revoke_handle(int fd, uint64_t handle)
{
	struct lshm_ioc_revoke r = {.size = sizeof(r), .handle = handle};

	return ioctl(fd, LSHM_IOC_REVOKE, &r);
}

int unlink_name(const char *name)
{
	struct lshm_ioc_unlink u = {.size = sizeof(u), .name = (uintptr_t)name};

	return ioctl(ctl, LSHM_IOC_UNLINK, &u);
}

void *edge(size_t size)
{
	size_t whole = (size + page - 1) / page * page;
	char *p = mmap(NULL, whole + page, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	CHECK(mprotect(p + whole, page, PROT_NONE) == 0);
	return p + whole - size;
}

int signal_of_touch(volatile char *p, bool write)
{
	int status;
	pid_t pid = child();

	if (pid == 0) {
		if (write)
			*p = 1;
		else
			(void)*p;
		_exit(0);
	}
	CHECK(waitpid(pid, &status, 0) == pid);
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

uint64_t in_ms(int64_t ms)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)((int64_t)t.tv_sec * 1000000000 + t.tv_nsec +
			  ms * 1000000);
}

int wait_word(int fd, uint64_t offset, uint32_t expected, uint64_t deadline)
{
	struct lshm_ioc_wait w = {
	    .size = sizeof(w),
	    .offset = offset,
	    .expected = expected,
	    .deadline = deadline,
	};

	return ioctl(fd, LSHM_IOC_WAIT, &w);
}

int wake_word(int fd, uint64_t offset, uint32_t count)
{
	struct lshm_ioc_wake w = {
	    .size = sizeof(w), .offset = offset, .count = count};

	if (ioctl(fd, LSHM_IOC_WAKE, &w) < 0)
		return -1;
	return (int)w.count;
}

void until_waiters(int fd, unsigned int count)
{
	struct lshm_ioc_stat s;

	do {
		usleep(1000);
		stat_of(fd, &s);
	} while (s.waiters != count);
}

pid_t child(void)
{
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (pid == 0)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}

void exited_well(pid_t pid)
{
	int status;

	CHECK(waitpid(pid, &status, 0) > 0);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

void kill_and_reap(pid_t pid)
{
	CHECK(kill(pid, SIGKILL) == 0);
	CHECK(waitpid(pid, NULL, 0) == pid);
}

/* -- the harness ---------------------------------------------------------- */

static unsigned int module_users(void)
{
	FILE *f = fopen("/sys/module/lshm/refcnt", "re");
	unsigned int n = 0;

	if (!f || fscanf(f, "%u", &n) != 1)
		n = 1;
	if (f)
		fclose(f);
	return n;
}

void unlink_all(void)
{
	struct lshm_ioc_unlink u = {.size = sizeof(u)};
	struct lshm_ioc_stat s = {0};
	struct lshm_ioc_list l = {.size = sizeof(l),
	    .records = (uintptr_t)&s,
	    .record_size = sizeof(s),
	    .count = 1};

	while (ioctl(ctl, LSHM_IOC_LIST, &l) == 0 && l.count) {
		u.id = s.id;
		ioctl(ctl, LSHM_IOC_UNLINK, &u);
		if (!l.next)
			break;
	}
}

/* Nothing may be left; the last of it may be on its way out. */
static bool nothing_left(void)
{
	struct lshm_ioc_info i;

	for (int ms = 0; ms < 5000; ms += 10) {
		info_now(&i);
		if (!i.regions && !i.handles && !i.total && module_users() == 1)
			return true;
		usleep(10000);
	}
	unlink_all();
	printf("# left behind: %u regions, %u handles, %llu bytes, %u users of "
	       "the module\n",
	    i.regions, i.handles, (unsigned long long)i.total, module_users());
	return false;
}

static bool run(const struct test *t)
{
	const char *limit = getenv("LSHM_TEST_TIMEOUT");
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		setpgid(0, 0);
		alarm(limit ? (unsigned int)atoi(limit) : WATCHDOG);
		close(ctl);
		ctl = open(LSHM_IOC_DEVICE, O_RDWR | O_CLOEXEC);
		CHECK(ctl >= 0);
		t->run();
		fflush(stdout);
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return false;
	kill(-pid, SIGKILL);
	if (WIFSIGNALED(status))
		printf("# ended by signal %d\n", WTERMSIG(status));
	return nothing_left() && status == 0;
}

static bool wanted(const char *name, char **prefixes)
{
	if (!*prefixes)
		return true;
	for (; *prefixes; prefixes++)
		if (strncmp(name, *prefixes, strlen(*prefixes)) == 0)
			return true;
	return false;
}

int main(int argc, char **argv)
{
	static const struct test none[] = {{0}};
	const struct test *const all[] = {tests_calls, tests_rights,
	    tests_mapping, tests_wait, tests_claim, tests_limits,
	    can_inject() ? tests_fail : none};
	unsigned int count = 0, bad = 0;
	struct lshm_ioc_info i;

	ctl = open(LSHM_IOC_DEVICE, O_RDWR | O_CLOEXEC);
	if (ctl < 0) {
		printf("Bail out! %s: %s\n", LSHM_IOC_DEVICE, strerror(errno));
		return 1;
	}
	info_now(&i);
	page = i.page_size;
	if (can_inject())
		set_up_injection();
	for (size_t n = 0; n < sizeof(all) / sizeof(*all); n++)
		for (const struct test *t = all[n]; t->name; t++)
			count += wanted(t->name, argv + (argc > 0));
	printf("TAP version 13\n1..%u\n", count);
	count = 0;
	for (size_t n = 0; n < sizeof(all) / sizeof(*all); n++) {
		for (const struct test *t = all[n]; t->name; t++) {
			bool ok;

			if (!wanted(t->name, argv + (argc > 0)))
				continue;
			ok = run(t);
			bad += !ok;
			printf(
			    "%sok %u %s\n", ok ? "" : "not ", ++count, t->name);
		}
	}
	printf("# Totals: pass:%u fail:%u\n", count - bad, bad);
	return bad || !count;
}
