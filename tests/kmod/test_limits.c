/* SPDX-License-Identifier: MIT */
/*
 * test_limits.c - quotas, many regions, a module in use, hostile calls
 */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "kmod.h"

#define MIB (1ull << 20)

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_TRUNC);

	CHECK(fd >= 0);
	CHECK(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
}

static void parameter(const char *name, unsigned int value)
{
	char path[100], text[20];

	snprintf(path, sizeof(path), "/sys/module/lshm/parameters/%s", name);
	snprintf(text, sizeof(text), "%u", value);
	put(path, text);
}

static void quotas(void)
{
	struct lshm_ioc_grow g = {.size = sizeof(g)};
	struct lshm_ioc_info i;
	int fd;

	parameter("max_total_mb", 16);
	parameter("max_user_mb", 8);
	parameter("max_region_mb", 6);
	info_now(&i);
	CHECK(i.max_total == 16 * MIB && i.max_user == 8 * MIB);
	CHECK(i.max_region == 6 * MIB);
	if (child() == 0) {
		CHECK(setuid(65534) == 0);
		REFUSED(make(7 * MIB), E2BIG);
		fd = make(6 * MIB);
		CHECK(fd >= 0);
		REFUSED(make(3 * MIB), EDQUOT);
		CHECK((fd = make(2 * MIB)) >= 0);
		REFUSED(make(page), EDQUOT);
		g.length = 2 * MIB + page;
		REFUSED(ioctl(fd, LSHM_IOC_GROW, &g), EDQUOT);
		info_now(&i);
		CHECK(i.user == 8 * MIB && i.total == 8 * MIB);
		close(fd);
		CHECK(make(page) >= 0);
		_exit(0);
	}
	exited_well(-1);
	/* Who is capable is above that, but not above the whole. */
	for (int n = 0; n < 16; n += 4)
		CHECK(make(4 * MIB) >= 0);
	REFUSED(make(page), ENOSPC);
	parameter("max_total_mb", 0);
	parameter("max_user_mb", 0);
	parameter("max_region_mb", 0);
	CHECK(make(page) >= 0);
}

static void counts(void)
{
	int fd;

	parameter("max_regions_per_user", 10);
	parameter("max_handles_per_user", 20);
	if (child() == 0) {
		CHECK(setuid(65534) == 0);
		for (int i = 0; i < 10; i++)
			CHECK((fd = make(page)) >= 0);
		REFUSED(make(page), EDQUOT);
		for (int i = 0; i < 10; i++)
			CHECK(dup_with(fd, 0) >= 0);
		REFUSED(dup_with(fd, 0), EDQUOT);
		_exit(0);
	}
	exited_well(-1);
	parameter("max_regions_per_user", 4096);
	parameter("max_handles_per_user", 16384);
}

static void thousands(void)
{
	struct lshm_ioc_unlink u = {.size = sizeof(u)};
	struct lshm_ioc_stat s = {0};
	struct lshm_ioc_list l = {.size = sizeof(l),
	    .records = (uintptr_t)&s,
	    .record_size = sizeof(s),
	    .count = 1};
	struct lshm_ioc_info i;
	char name[40];
	int fd;

	for (int n = 0; n < 3000; n++) {
		snprintf(name, sizeof(name), "thousands-%d", n);
		fd = make_named(name, (uint64_t)(1 + n % 3) * page, 0600);
		CHECK(fd >= 0);
		close(fd);
	}
	info_now(&i);
	CHECK(i.regions == 3000 && i.handles == 0);
	fd = open_named("thousands-1234", 0);
	CHECK(fd >= 0);
	for (int n = 0; n < 3000; n++) {
		l.count = 1;
		CHECK(ioctl(ctl, LSHM_IOC_LIST, &l) == 0 && l.count == 1);
		CHECK(atoi(s.name + 10) == n);
	}
	CHECK(l.next == 0);
	for (int n = 0; n < 3000; n++) {
		snprintf(name, sizeof(name), "thousands-%d", n);
		u.name = (uintptr_t)name;
		u.flags = n % 2 ? LSHM_IOC_UNLINK_REVOKE : 0;
		CHECK(ioctl(ctl, LSHM_IOC_UNLINK, &u) == 0);
	}
	/* 1234 is even: unlinked, not revoked. */
	CHECK(map(fd, page, PROT_READ) != MAP_FAILED);
}

/* Out of memory in a small cgroup: an error, and nobody's end. */
static void small_cgroup(void)
{
	int status;
	pid_t pid;

	put("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
	CHECK(mkdir("/sys/fs/cgroup/lshm", 0755) == 0);
	put("/sys/fs/cgroup/lshm/memory.max", "16M");
	put("/sys/fs/cgroup/lshm/memory.oom.group", "0");
	pid = child();
	if (pid == 0) {
		int fd = make(4 * MIB);

		CHECK(fd >= 0);
		put("/sys/fs/cgroup/lshm/cgroup.procs", "0");
		CHECK(make(4 * MIB) >= 0); /* it is charged there */
		for (;;)
			if (make(4 * MIB) < 0)
				_exit(errno != ENOMEM);
	}
	CHECK(waitpid(pid, &status, 0) == pid);
	CHECK(status == 0);
	CHECK(rmdir("/sys/fs/cgroup/lshm") == 0);
}

/* The module stays while anything of it is used. */
static void stays_loaded(void)
{
	int fd;
	void *c;

	close(make_named("stays", page, 0600));
	close(ctl);
	REFUSED(syscall(SYS_delete_module, "lshm", O_NONBLOCK), EAGAIN);
	ctl = open(LSHM_IOC_DEVICE, O_RDWR);
	fd = open_named("stays", 0);
	CHECK(unlink_name("stays") == 0);
	close(ctl);
	REFUSED(syscall(SYS_delete_module, "lshm", O_NONBLOCK), EAGAIN);
	c = claim(fd, 0);
	CHECK(c != MAP_FAILED);
	close(fd);
	REFUSED(syscall(SYS_delete_module, "lshm", O_NONBLOCK), EAGAIN);
}

/* Does a file say so? */
static bool says(const char *path, const char *what)
{
	static char text[65536];
	int fd = open(path, O_RDONLY);
	ssize_t n = 0, got;

	CHECK(fd >= 0);
	while ((got = read(fd, text + n, sizeof(text) - 1 - (size_t)n)) > 0)
		n += got;
	CHECK(got == 0);
	close(fd);
	text[n] = '\0';
	return strstr(text, what);
}

#define TRACING "/sys/kernel/debug/tracing/"

static void visible(void)
{
	char path[64];
	int fd;
	void *p;

	put(TRACING "events/lshm/enable", "1");
	fd = make_named("visible region", 3 * page, 0600);
	CHECK(fd >= 0);
	CHECK(says("/sys/class/misc/lshm/abi", "1\n"));
	CHECK(says("/sys/class/misc/lshm/regions", "1\n"));
	CHECK(says("/sys/class/misc/lshm/handles", "1\n"));
	CHECK(says("/sys/class/misc/lshm/total_bytes", "12288\n"));
	CHECK(says("/sys/kernel/debug/lshm/regions", " visible\\040region\n"));
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	CHECK(says(path, "lshm-name:\tvisible\\040region\n"));
	CHECK(says(path, "lshm-length:\t12288\n"));
	p = map(fd, 3 * page, PROT_READ);
	CHECK(p != MAP_FAILED);
	CHECK(says("/proc/self/maps", "/lshm:visible region"));
	CHECK(says(path, "lshm-maps:\t1\n"));
	CHECK(wake_word(fd, 8, 1) == 0);
	REFUSED(wait_word(fd, 8, 1, 0), EAGAIN);
	CHECK(claim(fd, 77) != MAP_FAILED);
	CHECK(unlink_name("visible region") == 0);
	put(TRACING "events/lshm/enable", "0");
	CHECK(says(TRACING "trace", "lshm_event: create region="));
	CHECK(says(TRACING "trace", "lshm_event: claim region="));
	CHECK(says(TRACING "trace", "value=77"));
	CHECK(says(TRACING "trace", "lshm_map: region="));
	CHECK(says(TRACING "trace", "page=0 pages=3"));
	CHECK(says(TRACING "trace", "offset=8 result=0"));
	CHECK(says(TRACING "trace", "offset=8 result=-11"));
	put(TRACING "trace", "\n");
}

/* -- any bytes, to any call ------------------------------------------------ */

static uint64_t state = 88172645463325252ull;

static uint64_t roll(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	return state ^= state << 17;
}

/* A number that somebody might have forgotten. */
static uint64_t odd(void)
{
	static const uint64_t n[] = {0, 1, 2, 3, 4, 8, 64, 4095, 4096, 8192,
	    1 << 20, INT32_MAX, 1ull << 31, UINT32_MAX, 1ull << 32, 1ull << 43,
	    INT64_MAX, 1ull << 63, UINT64_MAX, UINT64_MAX - 4095};

	return roll() % 4 ? n[roll() % (sizeof(n) / sizeof(*n))] : roll();
}

static void fuzz(void)
{
	int fds[8], seconds = 20;
	const char *text = getenv("LSHM_FUZZ_SECONDS");
	uint64_t until, calls = 0, done = 0;
	/* The module clears what a caller says is there: up to a page. */
	uint32_t *good = edge(page), *w = edge(page);
	uint64_t *a = (uint64_t *)w;
	static const uint8_t sizes[2][14] = {
	    {72, 72, 40, 32, 24},
	    {0, 16, 8, 24, 16, 16, 32, 48, 32, 40, 24, 40, 16, 32},
	};

	if (text)
		seconds = atoi(text);
	if ((text = getenv("LSHM_TEST_SEED")))
		state = strtoull(text, NULL, 0) | 1;
	parameter("max_total_mb", 64);
	for (int i = 0; i < 8; i++)
		fds[i] = i < 2 ? ctl : make((uint64_t)i * page);
	until = in_ms(seconds * 1000);
	while (in_ms(0) < until) {
		int fd = fds[roll() % 8];
		bool control = fd == ctl;
		unsigned int nr = control ? roll() % 5 : 0x20 + roll() % 0xe;

		for (int i = 0; i < 100; i++)
			a[i] = roll() % 2 ? 0 : odd();
		w[0] =
		    roll() % 8 ? sizes[nr / 0x20][nr % 0x20] : (uint32_t)odd();
		if (roll() % 4)
			w[1] = roll() % 2 ? 0 : roll() % 4;
		for (int i = 1; i < 12; i++)
			if (roll() % 3 == 0)
				a[i] = roll() % 2 ? (uintptr_t)good : 0;
		if (nr == 0x27) /* WAIT: not for long */
			a[2] = in_ms(roll() % 2);
		if (nr == 0x29)
			a[3] = in_ms(roll() % 2);
		if (nr == 0x25 && roll() % 16)
			continue; /* REVOKE: then all is over */
		done += ioctl(fd, _IOWR(LSHM_IOC_TYPE, nr, int),
			    roll() % 16 ? (void *)a
					: (void *)(uintptr_t)odd()) == 0;
		calls++;
		if (roll() % 4 == 0) {
			size_t n = (roll() % 8) * page;
			char *p = mmap(NULL, n, (int)(roll() % 8),
			    roll() % 4 ? MAP_SHARED : MAP_PRIVATE, fd,
			    (off_t)(odd() & -page));

			if (p != MAP_FAILED && n > page)
				munmap(p + page, n - page);
			if (p != MAP_FAILED)
				munmap(p, page);
			for (unsigned int i = 40; i < 400; i++)
				if (calls % 64 == 0)
					close((int)i);
		}
		if (calls % 512 == 0) { /* begin anew */
			for (int i = 2; i < 8; i++) {
				close(fds[i]);
				fds[i] = make((uint64_t)i * page);
			}
		}
	}
	printf("# %llu calls, %llu of them did something\n",
	    (unsigned long long)calls, (unsigned long long)done);
	CHECK(done > 0);
	unlink_all(); /* the names it has made */
	parameter("max_total_mb", 0);
}

const struct test tests_limits[] = {
    {"quotas", quotas},
    {"counts", counts},
    {"thousands", thousands},
    {"small_cgroup", small_cgroup},
    {"stays_loaded", stays_loaded},
    {"visible", visible},
    {"fuzz", fuzz},
    {0},
};
