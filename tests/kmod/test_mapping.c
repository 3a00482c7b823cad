/* SPDX-License-Identifier: MIT */
/*
 * test_mapping.c - what can be done to a mapping, in each of the three ways to
 * map, and revocation
 */
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "kmod.h"

#define RW   (PROT_READ | PROT_WRITE)
#define HUGE (2ul << 20)

static int make_mapped(uint32_t how, uint64_t length)
{
	struct lshm_ioc_create c = {
	    .length = length, .mode = 0600, .node = -1, .map = how};

	return make_with(&c);
}

static void *map_at(int fd, size_t length, int prot, uint64_t offset)
{
	return mmap(NULL, length, prot, MAP_SHARED, fd, (off_t)offset);
}

static int grow(int fd, uint64_t length)
{
	struct lshm_ioc_grow g = {.size = sizeof(g), .length = length};

	return ioctl(fd, LSHM_IOC_GROW, &g);
}

static void bounds(uint32_t how)
{
	int fd = make_mapped(how, 5 * page);
	uint64_t far = LSHM_IOC_CLAIM_BASE;

	CHECK(map_at(fd, 5 * page, RW, 0) != MAP_FAILED);
	CHECK(map_at(fd, page, RW, 4 * page) != MAP_FAILED);
	REFUSED(map_at(fd, 6 * page, RW, 0), ENXIO);
	REFUSED(map_at(fd, 2 * page, RW, 4 * page), ENXIO);
	REFUSED(map_at(fd, page, RW, 5 * page), ENXIO);
	REFUSED(map_at(fd, page, RW, far - page), ENXIO);
	/* Sums that wrap; a 32-bit C library refuses the largest itself. */
	if (sizeof(long) == 8) {
		uint64_t top = -(uint64_t)page;

		REFUSED(map_at(fd, page, RW, 1ull << 62), ENXIO);
		REFUSED(map_at(fd, page, RW, INT64_MAX & top), ENXIO);
		REFUSED(map_at(fd, page, RW, top), EOVERFLOW);
		REFUSED(map_at(fd, 2 * page, RW, top), EOVERFLOW);
		REFUSED(map_at(fd, 6 * page, RW, 5 * top), EOVERFLOW);
	} else {
		uint64_t top = UINT32_MAX * (uint64_t)page;

		REFUSED(map_at(fd, page, RW, top), ENXIO);
		REFUSED(map_at(fd, 2 * page, RW, top), ENXIO);
	}
	REFUSED(map_at(fd, page, RW, 1), EINVAL);
	REFUSED(mmap(NULL, page, RW, MAP_PRIVATE, fd, 0), EINVAL);
	REFUSED(mmap(NULL, page, PROT_READ, MAP_PRIVATE, fd, 0), EINVAL);
	REFUSED(
	    mmap(NULL, page, PROT_NONE, MAP_PRIVATE, fd, (off_t)far), EINVAL);
	fd = dup_with(fd, LSHM_IOC_RIGHT_READ);
	REFUSED(mmap(NULL, page, RW, MAP_PRIVATE, fd, 0), EINVAL);
	REFUSED(mmap(NULL, page, PROT_READ, MAP_PRIVATE, fd, 0), EINVAL);
}

/* All memory zero; the same bytes at two addresses, and through read(2). */
static void contents(uint32_t how)
{
	size_t n = 3 * HUGE + 7 * page;
	int fd = make_mapped(how, n);
	char *p = map(fd, n, RW), *q = map(fd, n, PROT_READ), c;

	CHECK(p != MAP_FAILED && q != MAP_FAILED && p != q);
	for (size_t i = 0; i < n; i++)
		CHECK(p[i] == 0);
	for (size_t i = 0; i < n; i += page)
		*(size_t *)(p + i) = i + 1;
	for (size_t i = 0; i < n; i += page) {
		size_t v;

		CHECK(*(size_t *)(q + i) == i + 1);
		CHECK(pread(fd, &v, sizeof(v), (off_t)i) == sizeof(v));
		CHECK(v == i + 1);
	}
	/* A window into the middle. */
	munmap(q, n);
	q = map_at(fd, HUGE, RW, HUGE - 3 * page);
	CHECK(q != MAP_FAILED && *(size_t *)q == HUGE - 3 * page + 1);
	CHECK(pread(fd, &c, 1, 0) == 1);
}

static void pieces(uint32_t how)
{
	int fd = make_mapped(how, 8 * page), other;
	char *p = map(fd, 8 * page, RW), *q, vec;
	struct lshm_ioc_stat s;

	for (size_t i = 0; i < 8; i++)
		p[i * page] = (char)('a' + i);
	stat_of(fd, &s);
	CHECK(s.maps == 1 && s.writable_maps == 1);
	/* Split in three, each with its own protection. */
	CHECK(mprotect(p + 2 * page, page, PROT_READ) == 0);
	stat_of(fd, &s);
	CHECK(s.maps == 3 && s.writable_maps == 3);
	CHECK(signal_of_touch(p + 2 * page, true) == SIGSEGV);
	CHECK(mprotect(p + 2 * page, page, RW) == 0);
	p[2 * page] = 'C';
	CHECK(mprotect(p, 8 * page, PROT_NONE) == 0);
	CHECK(mprotect(p, 8 * page, RW) == 0 && p[page] == 'b');
	/* A hole. */
	CHECK(munmap(p + 4 * page, 2 * page) == 0);
	CHECK(signal_of_touch(p + 4 * page, false) == SIGSEGV);
	CHECK(p[3 * page] == 'd' && p[6 * page] == 'g');
	/* Moved, but neither longer nor doubled. */
	REFUSED(mremap(p, page, 2 * page, MREMAP_MAYMOVE), EFAULT);
	REFUSED(mremap(p, 0, page, MREMAP_MAYMOVE), EFAULT);
	q = mmap(NULL, 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(mremap(p + 6 * page, 2 * page, 2 * page,
		  MREMAP_MAYMOVE | MREMAP_FIXED, q) == q);
	CHECK(q[0] == 'g' && q[page] == 'h');
	CHECK(mremap(q, 2 * page, page, 0) == q && q[0] == 'g');
	q[0] = 'G';
	/* The descriptor goes, the mapping stays. */
	other = dup_with(fd, 0);
	close(fd);
	CHECK(p[0] == 'a');
	CHECK(pread(other, &vec, 1, (off_t)(6 * page)) == 1 && vec == 'G');
	munmap(p, 4 * page);
	munmap(q, page);
	stat_of(other, &s);
	CHECK(s.maps == 0 && s.writable_maps == 0);
}

static void advice(uint32_t how)
{
	int fd = make_mapped(how, 4 * page);
	char *p = map(fd, 4 * page, RW);
	struct lshm_ioc_stat s;

	memset(p, 'x', 4 * page);
	/* Whatever the answers, nothing is lost. */
	for (int a = 0; a < 30; a++)
		if (a != MADV_DONTFORK)
			madvise(p, 4 * page, a);
	mlock(p, 4 * page);
	munlock(p, 4 * page);
	msync(p, 4 * page, MS_SYNC);
	fallocate(fd, 0, 0, 1);
	REFUSED(ftruncate(fd, 0), EINVAL);
	for (size_t i = 0; i < 4 * page; i++)
		CHECK(p[i] == 'x');
	CHECK(madvise(p, 4 * page, MADV_DONTFORK) == 0);
	CHECK(signal_of_touch(p, false) == SIGSEGV);
	stat_of(fd, &s);
	CHECK(s.maps == 1);
	if (how == LSHM_IOC_MAP_EAGER)
		CHECK(s.faults == 0);
}

static void forks(uint32_t how)
{
	int fd = make_mapped(how, 2 * page);
	char *p = map(fd, 2 * page, RW);
	struct lshm_ioc_stat s;
	pid_t pid;

	p[0] = 'a';
	pid = child();
	if (pid == 0) {
		CHECK(p[0] == 'a');
		p[1] = 'b';
		stat_of(fd, &s);
		CHECK(s.maps == 2 && s.handles == 1);
		close(fd);
		munmap(p, page);
		CHECK(p[page] == 0);
		_exit(0);
	}
	exited_well(pid);
	CHECK(p[1] == 'b');
	stat_of(fd, &s);
	CHECK(s.maps == 1);
}

/* It is there after its name, and after everybody else, are gone. */
static void unlinked(uint32_t how)
{
	struct lshm_ioc_create c = {.name = (uintptr_t) "unlinked",
	    .length = HUGE,
	    .mode = 0600,
	    .node = -1,
	    .map = how};
	struct lshm_ioc_info i;
	int fd = make_with(&c);
	char *p = map(fd, HUGE, RW);

	memset(p, 'u', HUGE);
	CHECK(unlink_name("unlinked") == 0);
	close(fd);
	info_now(&i);
	CHECK(i.regions == 1 && i.total == HUGE);
	for (size_t n = 0; n < HUGE; n++)
		CHECK(p[n] == 'u');
	munmap(p, HUGE);
	do
		info_now(&i);
	while (i.regions);
}

static void revoked(uint32_t how)
{
	int fd = make_mapped(how, 3 * page), bad = dup_with(fd, 0);
	char *p = map(fd, 3 * page, RW), *q = map(bad, 3 * page, RW);
	char *one = map(bad, page, RW); /* all of it one physical piece */
	uint64_t id = handle_of(bad);
	struct lshm_ioc_stat s = {.size = sizeof(s)};
	int to[2], back[2], mem;
	pid_t pid;
	char c;

	q[0] = 'q';
	q[page] = 'r';
	CHECK(pipe(to) == 0 && pipe(back) == 0);
	pid = child();
	if (pid == 0) { /* it inherits both mappings */
		CHECK(read(to[0], &c, 1) == 1);
		CHECK(p[0] == 'q');
		CHECK(signal_of_touch(q, false) == SIGBUS);
		CHECK(signal_of_touch(q + page, true) == SIGBUS);
		_exit(0);
	}
	REFUSED(revoke_handle(fd, 0), EINVAL);
	REFUSED(revoke_handle(fd, 12345678), ENOENT);
	CHECK(revoke_handle(fd, id) == 0);
	CHECK(revoke_handle(fd, id) == 0);
	CHECK(write(to[1], "x", 1) == 1);
	exited_well(pid);
	CHECK(p[0] == 'q' && p[page] == 'r');
	p[0] = 'p';
	CHECK(signal_of_touch(q, false) == SIGBUS);
	CHECK(signal_of_touch(q + 2 * page, true) == SIGBUS);
	mem = open("/proc/self/mem", O_RDWR);
	REFUSED(pread(mem, &c, 1, (off_t)(uintptr_t)q), EIO);
	REFUSED(map(bad, page, RW), ENODEV);
	REFUSED(claim(bad, 0), ENODEV);
	REFUSED(ioctl(bad, LSHM_IOC_STAT, &s), ENODEV);
	REFUSED(dup_with(bad, 0), ENODEV);
	REFUSED(wait_word(bad, 0, 0, LSHM_IOC_FOREVER), ENODEV);
	REFUSED(read(bad, &c, 1), ENODEV);
	REFUSED(write(bad, "x", 1), ENODEV);
	/* As a buffer for the kernel, too. */
	REFUSED(pread(fd, q, 1, 0), EFAULT);
	CHECK(munmap(q + page, page) == 0 && munmap(one, page) == 0);
	/* All others, then all. */
	for (int i = 0; i < 10; i++)
		CHECK(dup_with(fd, 0) >= 0);
	CHECK(ioctl(fd, LSHM_IOC_REVOKE,
		  &(struct lshm_ioc_revoke){
		      .size = sizeof(struct lshm_ioc_revoke),
		      .flags = LSHM_IOC_REVOKE_OTHERS}) == 0);
	CHECK(p[0] == 'p' && map(fd, page, RW) != MAP_FAILED);
}

/* On the memory as the kernel's own buffer. */
static void as_buffer(uint32_t how)
{
	int fd = make_mapped(how, 2 * page), zero = open("/dev/zero", O_RDONLY);
	char *p = map(fd, 2 * page, RW), copy[8] = "";
	struct iovec mine = {copy, 8}, theirs = {p, 8};
	ssize_t n;

	memset(p, 'b', 2 * page);
	CHECK(read(zero, p + page - 4, 8) == 8);
	CHECK(p[page - 5] == 'b' && p[page - 4] == 0 && p[page + 4] == 'b');
	/* What needs struct pages works in PAGES only. */
	n = process_vm_readv(getpid(), &mine, 1, &theirs, 1, 0);
	if (how == LSHM_IOC_MAP_PAGES)
		CHECK(n == 8 && memcmp(copy, "bbbbbbbb", 8) == 0);
	else
		CHECK(n == -1 && errno == EFAULT);
}

/* In place: what was mapped stays, what is new is mapped by itself. */
static void grown(uint32_t how)
{
	struct lshm_ioc_create c = {.length = page,
	    .max_length = 5 * HUGE,
	    .mode = 0600,
	    .node = -1,
	    .map = how};
	int fd = make_with(&c);
	struct lshm_ioc_stat s;
	char *base, *p;
	uint64_t was = page;

	base =
	    mmap(NULL, 5 * HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	p = mmap(base, page, RW, MAP_SHARED | MAP_FIXED, fd, 0);
	CHECK(p == base);
	p[0] = 'g';
	REFUSED(grow(fd, 2 * page - 1), EINVAL);
	REFUSED(grow(fd, 5 * HUGE + page), E2BIG);
	CHECK(grow(fd, 0) == 0 && grow(fd, page) == 0);
	while (was < 5 * HUGE) {
		uint64_t now = was * 3 > 5 * HUGE ? 5 * HUGE : was * 3;

		CHECK(grow(fd, now) == 0);
		p = mmap(base + was, now - was, RW, MAP_SHARED | MAP_FIXED, fd,
		    (off_t)was);
		CHECK(p == base + was && p[0] == 0);
		p[0] = 'n';
		CHECK(base[now - 1] == 0);
		was = now;
	}
	CHECK(base[0] == 'g');
	CHECK(lseek(fd, 0, SEEK_END) == (off_t)(5 * HUGE));
	stat_of(fd, &s);
	CHECK(s.length == 5 * HUGE && s.max_length == 5 * HUGE);
	p = map(fd, 5 * HUGE, PROT_READ);
	CHECK(p != MAP_FAILED && memcmp(p, base, 5 * HUGE) == 0);
}

static void no_faults(void)
{
	int fd = make(3 * HUGE);
	char *p = map(fd, 3 * HUGE, RW);
	struct lshm_ioc_stat s;
	struct rusage before, after;

	p[0] = 1;
	getrusage(RUSAGE_SELF, &before);
	for (size_t i = 0; i < 3 * HUGE; i += page)
		p[i] = 1;
	getrusage(RUSAGE_SELF, &after);
	CHECK(after.ru_minflt - before.ru_minflt <= 2);
	stat_of(fd, &s);
	CHECK(s.faults == 0);
}

/* 2 MiB at a time, where the kernel can, and where the memory is so. */
static void huge_entries(void)
{
	int fd = make_mapped(LSHM_IOC_MAP_LAZY, 4 * HUGE);
	char *p = map(fd, 4 * HUGE, RW);
	struct lshm_ioc_info i;
	struct lshm_ioc_stat s;

	info_now(&i);
	stat_of(fd, &s);
	CHECK(s.huge <= 4);
	for (size_t n = 0; n < 4 * HUGE; n += page)
		p[n] = 1;
	stat_of(fd, &s);
	printf("# %u of 4 blocks are 2 MiB pieces, %llu faults, entries %s\n",
	    s.huge, (unsigned long long)s.faults,
	    i.features & LSHM_IOC_FEATURE_HUGE ? "can be huge" : "are 4 KiB");
	CHECK(s.faults <= 4 + 1); /* a whole block each, in either case */
	/* A 32-bit process is not given aligned addresses. */
	if (i.features & LSHM_IOC_FEATURE_HUGE && sizeof(long) == 8)
		CHECK((uintptr_t)p % HUGE == 0);
	/* A split one is filled again in small. */
	CHECK(mprotect(p + page, page, PROT_READ) == 0);
	CHECK(munmap(p + HUGE + 5 * page, page) == 0);
	for (size_t n = 0; n < 4 * HUGE; n += page) {
		if (n != HUGE + 5 * page)
			CHECK(p[n] == 1);
	}
	CHECK(revoke_handle(fd, handle_of(fd)) == 0);
	CHECK(signal_of_touch(p, false) == SIGBUS);
	CHECK(signal_of_touch(p + HUGE, false) == SIGBUS);
}

/*
 * Mapping and unmapping, while being revoked: the last mapping that was made is
 * kept, for it may have been under way when the revocation came.
 */
static void *map_until_revoked(void *arg)
{
	int fd = *(int *)arg;
	char *last = NULL, *p;

	while ((p = map(fd, 16 * page, RW)) != MAP_FAILED) {
		if (last)
			munmap(last, 16 * page);
		last = p;
	}
	CHECK(errno == ENODEV);
	return last;
}

static void revoke_races(uint32_t how)
{
	int fd = make_mapped(how, 16 * page);

	for (int round = 0; round < 60; round++) {
		int bad = dup_with(fd, 0);
		uint64_t id = handle_of(bad);
		struct lshm_ioc_stat s;
		pthread_t t[3];
		char *p;
		pid_t pid = 0;

		for (int i = 0; i < 3; i++)
			CHECK(pthread_create(
				  &t[i], NULL, map_until_revoked, &bad) == 0);
		if (round % 3 == 0) {
			pid = child();
			if (pid == 0)
				for (;;)
					munmap(map(bad, page, RW), page);
		}
		sched_yield();
		p = map(bad, page, RW);
		CHECK(p != MAP_FAILED);
		CHECK(revoke_handle(fd, id) == 0);
		CHECK(signal_of_touch(p, true) == SIGBUS);
		for (int i = 0; i < 3; i++) {
			void *last;

			pthread_join(t[i], &last);
			if (!last)
				continue;
			CHECK(signal_of_touch(last, false) == SIGBUS);
			munmap(last, 16 * page);
		}
		if (pid)
			kill_and_reap(pid);
		munmap(p, page);
		close(bad);
		do
			stat_of(fd, &s);
		while (s.maps || s.handles != 1);
	}
}

/*
 * Processes that have mapped the handle die while it is revoked, and while
 * somebody goes on asking for it: what the module remembers of the dead is
 * forgotten by one and looked at by another. They die in an mmap that takes
 * long, for which revocation waits.
 */
static atomic_bool over;

static void *map_on(void *arg)
{
	int fd = *(int *)arg;

	while (!over) {
		void *p = map(fd, page, RW);

		if (p != MAP_FAILED)
			munmap(p, page);
	}
	return NULL;
}

static void revoke_among_dying(void)
{
	enum { ROUNDS = 30, PEOPLE = 4 };
	int fd = make(page), large = make(16 * HUGE);

	for (int round = 0; round < ROUNDS; round++) {
		int bad = dup_with(fd, 0), mapped[2];
		uint64_t id = handle_of(bad);
		pid_t people[PEOPLE];
		pthread_t t;
		char c;

		CHECK(bad >= 0 && pipe(mapped) == 0);
		for (int i = 0; i < PEOPLE; i++) {
			people[i] = child();
			if (people[i] == 0) {
				CHECK(map(bad, page, RW) != MAP_FAILED);
				CHECK(write(mapped[1], "m", 1) == 1);
				for (;;)
					munmap(map(large, 16 * HUGE, RW),
					    16 * HUGE);
			}
		}
		for (int i = 0; i < PEOPLE; i++)
			CHECK(read(mapped[0], &c, 1) == 1);
		over = false;
		CHECK(pthread_create(&t, NULL, map_on, &bad) == 0);
		for (int i = 0; i < PEOPLE; i++)
			CHECK(kill(people[i], SIGKILL) == 0);
		CHECK(revoke_handle(fd, id) == 0);
		over = true;
		pthread_join(t, NULL);
		for (int i = 0; i < PEOPLE; i++)
			CHECK(waitpid(people[i], NULL, 0) == people[i]);
		close(bad);
		close(mapped[0]);
		close(mapped[1]);
	}
}

static bool is_revoked(int fd)
{
	struct lshm_ioc_stat s = {.size = sizeof(s)};

	if (ioctl(fd, LSHM_IOC_STAT, &s) == 0)
		return false;
	CHECK(errno == ENODEV);
	return true;
}

/* What was made from a handle goes with it, and nothing else. */
static void revoke_descent(void)
{
	int fd = make_named("descent", page, 0600);
	int a = dup_with(fd, 0), b = dup_with(a, 0), c = dup_with(b, 0);
	int sister = dup_with(fd, 0), other = open_named("descent", 0);
	char *p = map(c, page, RW), *q = map(sister, page, RW);
	uint64_t id;

	CHECK(p != MAP_FAILED && q != MAP_FAILED && other >= 0);
	CHECK(unlink_name("descent") == 0);
	/* what was made from it, mapped or not; not what it was made from */
	CHECK(revoke_handle(fd, handle_of(b)) == 0);
	CHECK(!is_revoked(fd) && !is_revoked(a));
	CHECK(is_revoked(b) && is_revoked(c));
	CHECK(!is_revoked(sister) && !is_revoked(other));
	CHECK(signal_of_touch(p, false) == SIGBUS);
	CHECK(signal_of_touch(q, false) == 0);
	close(b);
	close(c);
	/* one on the way is closed: it does not cut off the rest */
	b = dup_with(a, 0);
	c = dup_with(b, LSHM_IOC_RIGHT_READ);
	id = handle_of(b);
	close(b);
	b = dup_with(c, 0);
	REFUSED(revoke_handle(fd, id), ENOENT);
	CHECK(!is_revoked(c));
	CHECK(revoke_handle(fd, handle_of(a)) == 0);
	CHECK(is_revoked(a) && is_revoked(b) && is_revoked(c));
	CHECK(!is_revoked(fd) && !is_revoked(sister) && !is_revoked(other));
	/* the first is closed: each stands for itself */
	a = dup_with(sister, 0);
	b = dup_with(sister, 0);
	close(sister);
	munmap(q, page);
	close(fd);
	CHECK(revoke_handle(other, handle_of(a)) == 0);
	CHECK(is_revoked(a) && !is_revoked(b) && !is_revoked(other));
	/* all others: who calls stays, though it descends from one of them */
	a = dup_with(b, 0);
	CHECK(ioctl(a, LSHM_IOC_REVOKE,
		  &(struct lshm_ioc_revoke){
		      .size = sizeof(struct lshm_ioc_revoke),
		      .flags = LSHM_IOC_REVOKE_OTHERS}) == 0);
	CHECK(is_revoked(b) && is_revoked(other) && !is_revoked(a));
	/* of itself: its duplicates, too */
	b = dup_with(a, 0);
	CHECK(revoke_handle(a, handle_of(a)) == 0);
	CHECK(is_revoked(a) && is_revoked(b));
}

/* Duplicates of duplicates, closing most, for as long as it gets any. */
static void *flee(void *arg)
{
	int first = *(int *)arg, now = first, next;

	for (int i = 0; (next = dup_with(now, 0)) >= 0; i++) {
		void *p = map(next, page, RW);

		if (p != MAP_FAILED && i % 8)
			munmap(p, page);
		if (now != first && i % 16)
			close(now);
		if (i % 64 == 0) /* this one stays open, out of sight */
			CHECK(dup_with(next, 0) >= 0 || errno == ENODEV);
		now = next;
		if (i > 4000) /* revocation is late: begin again */
			now = first;
	}
	CHECK(errno == ENODEV || errno == EMFILE);
	return NULL;
}

static void revoke_who_flees(void)
{
	static struct lshm_ioc_handle h[4000];
	struct lshm_ioc_list l = {.size = sizeof(l),
	    .records = (uintptr_t)h,
	    .record_size = sizeof(h[0])};
	int fd = make(page);

	for (int round = 0; round < 40; round++) {
		int bad = dup_with(fd, 0), done[2];
		uint64_t id = handle_of(bad);
		pid_t pid;
		char c;

		CHECK(pipe(done) == 0);
		pid = child();
		if (pid == 0) { /* its descriptors go with it */
			pthread_t t[3];

			for (int i = 0; i < 3; i++)
				CHECK(pthread_create(&t[i], NULL, flee, &bad) ==
				      0);
			for (int i = 0; i < 3; i++)
				pthread_join(t[i], NULL);
			CHECK(write(done[1], "d", 1) == 1);
			pause();
		}
		do { /* until it is at it */
			l.count = 4000;
			CHECK(ioctl(fd, LSHM_IOC_HANDLES, &l) == 0);
		} while (l.count < 8);
		CHECK(revoke_handle(fd, id) == 0);
		CHECK(read(done[0], &c, 1) == 1);
		l.count = 4000;
		CHECK(ioctl(fd, LSHM_IOC_HANDLES, &l) == 0);
		CHECK(l.count >= 2 && l.next == 0);
		for (uint32_t i = 1; i < l.count; i++)
			CHECK(h[i].flags == LSHM_IOC_HANDLE_REVOKED);
		kill_and_reap(pid);
		close(bad);
		close(done[0]);
		close(done[1]);
		do {
			l.count = 4000;
			CHECK(ioctl(fd, LSHM_IOC_HANDLES, &l) == 0);
		} while (l.count != 1);
	}
}

/*
 * A call whose other buffer is not there yet, until somebody puts it there:
 * when the handle is revoked in the meantime, it gets through no more.
 */
struct stuck {
	pthread_t thread;
	int fd;
	char *buffer;
	bool write;
	ssize_t result;
};

static void *get_stuck(void *arg)
{
	struct stuck *s = arg;

	s->result = s->write ? pwrite(s->fd, s->buffer, 4, 0)
			     : pread(s->fd, s->buffer, 4, 0);
	if (s->result < 0)
		s->result = -errno;
	return NULL;
}

/* Memory whose first touch waits; the descriptor that tells of it. */
static int user_faults(char *p, size_t size)
{
	struct uffdio_api api = {.api = UFFD_API};
	struct uffdio_register r = {
	    .range = {.start = (uintptr_t)p, .len = size},
	    .mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);

	if (fd >= 0) {
		CHECK(ioctl(fd, UFFDIO_API, &api) == 0);
		CHECK(ioctl(fd, UFFDIO_REGISTER, &r) == 0);
	}
	return fd;
}

static void revoked_midway(void)
{
	int fd = make(page), bad = dup_with(fd, 0), uffd;
	char *p = mmap(NULL, 2 * page, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *mine = map(fd, page, RW), *data = edge(page);
	struct stuck s[2];
	struct uffd_msg m;

	CHECK(p != MAP_FAILED && mine != MAP_FAILED);
	uffd = user_faults(p, 2 * page);
	if (uffd < 0) {
		printf("# no userfaultfd: %s\n", strerror(errno));
		return;
	}
	memcpy(mine, "mine", 4);
	memset(data, 'x', page);
	for (int i = 0; i < 2; i++) {
		s[i] = (struct stuck){
		    .fd = bad,
		    .buffer = p + (size_t)i * page,
		    .write = i == 0,
		};
		CHECK(
		    pthread_create(&s[i].thread, NULL, get_stuck, &s[i]) == 0);
		CHECK(read(uffd, &m, sizeof(m)) == sizeof(m));
	}
	/* What is stuck is in nobody's way. */
	CHECK(munmap(mine, page) == 0);
	CHECK(ioctl(fd, LSHM_IOC_SEAL,
		  &(struct lshm_ioc_seal){.size = sizeof(struct lshm_ioc_seal),
		      .seals = LSHM_IOC_SEAL_GROW}) == 0);
	CHECK(revoke_handle(fd, handle_of(bad)) == 0);
	for (size_t i = 0; i < 2; i++) {
		struct uffdio_copy c = {
		    .dst = (uintptr_t)p + i * page,
		    .src = (uintptr_t)data,
		    .len = page,
		};

		CHECK(ioctl(uffd, UFFDIO_COPY, &c) == 0);
		pthread_join(s[i].thread, NULL);
	}
	/* It came too late; what had been read before was read in time. */
	CHECK(pread(fd, data, 4, 0) == 4 && memcmp(data, "mine", 4) == 0);
	CHECK(s[0].result == -ENODEV);
	CHECK(s[1].result == 4);
}

#define EACH_WAY(test)                    \
	static void test##_eager(void)    \
	{                                 \
		test(LSHM_IOC_MAP_EAGER); \
	}                                 \
	static void test##_lazy(void)     \
	{                                 \
		test(LSHM_IOC_MAP_LAZY);  \
	}                                 \
	static void test##_pages(void)    \
	{                                 \
		test(LSHM_IOC_MAP_PAGES); \
	}
EACH_WAY(bounds)
EACH_WAY(contents)
EACH_WAY(pieces)
EACH_WAY(advice)
EACH_WAY(forks)
EACH_WAY(unlinked)
EACH_WAY(revoked)
EACH_WAY(as_buffer)
EACH_WAY(grown)
EACH_WAY(revoke_races)

#define ROWS(test)                                                    \
	{#test "_eager", test##_eager}, {#test "_lazy", test##_lazy}, \
	{                                                             \
#test "_pages", test##_pages                          \
	}

const struct test tests_mapping[] = {
    ROWS(bounds),
    ROWS(contents),
    ROWS(pieces),
    ROWS(advice),
    ROWS(forks),
    ROWS(unlinked),
    ROWS(revoked),
    ROWS(as_buffer),
    ROWS(grown),
    ROWS(revoke_races),
    {"revoke_among_dying", revoke_among_dying},
    {"revoke_descent", revoke_descent},
    {"revoke_who_flees", revoke_who_flees},
    {"revoked_midway", revoked_midway},
    {"no_faults", no_faults},
    {"huge_entries", huge_entries},
    {0},
};
