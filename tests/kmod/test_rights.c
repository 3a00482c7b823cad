/* SPDX-License-Identifier: MIT */
/*
 * test_rights.c - who may do what: owner, group and mode, handles with fewer
 * rights, seals
 */
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "kmod.h"

#define READ   LSHM_IOC_RIGHT_READ
#define WRITE  LSHM_IOC_RIGHT_WRITE
#define GROW   LSHM_IOC_RIGHT_GROW
#define MANAGE LSHM_IOC_RIGHT_MANAGE

static void fewer_rights(void)
{
	struct lshm_ioc_grow g = {.size = sizeof(g)};
	struct lshm_ioc_seal s = {.size = sizeof(s)};
	struct lshm_ioc_label l = {.size = sizeof(l), .label = (uintptr_t) ""};
	int fd = make(page), reader = dup_with(fd, READ),
	    writer = dup_with(fd, READ | WRITE);
	char *p;

	CHECK(reader >= 0 && writer >= 0);
	REFUSED(dup_with(reader, READ | WRITE), EACCES);
	REFUSED(dup_with(writer, READ | MANAGE), EACCES);
	REFUSED(dup_with(fd, WRITE), EINVAL);
	REFUSED(dup_with(fd, READ | 1 << 7), EINVAL);
	CHECK(dup_with(reader, 0) >= 0);
	REFUSED(ioctl(reader, LSHM_IOC_GROW, &g), EACCES);
	REFUSED(ioctl(writer, LSHM_IOC_GROW, &g), EACCES);
	REFUSED(ioctl(writer, LSHM_IOC_SEAL, &s), EACCES);
	REFUSED(ioctl(writer, LSHM_IOC_LABEL, &l), EACCES);
	REFUSED(revoke_handle(writer, handle_of(fd)), EACCES);
	REFUSED(wake_word(reader, 0, 1), EACCES);
	CHECK(wake_word(writer, 0, 1) == 0);
	REFUSED(claim(reader, 0), EACCES);
	REFUSED(wait_word(reader, 0, 1, 0), EAGAIN);

	/* Read-only is so, beyond doubt. */
	REFUSED(map(reader, page, PROT_READ | PROT_WRITE), EACCES);
	REFUSED(map(reader, page, PROT_WRITE), EACCES);
	REFUSED(write(reader, "x", 1), EBADF);
	p = map(reader, page, PROT_READ);
	CHECK(p != MAP_FAILED);
	REFUSED(mprotect(p, page, PROT_READ | PROT_WRITE), EACCES);
	CHECK(signal_of_touch(p, true) == SIGSEGV);
	CHECK(signal_of_touch(p, false) == 0);
}

static void no_way_around(void)
{
	int fd = make(page), reader = dup_with(fd, READ), mem;
	char path[64], link[64], *p = map(reader, page, PROT_READ), c = 'x';

	snprintf(path, sizeof(path), "/proc/self/fd/%d", reader);
	REFUSED(open(path, O_RDWR), ENXIO);
	REFUSED(open(path, O_RDONLY), ENXIO);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	REFUSED(open(path, O_RDWR), ENXIO);
	/* A debugger reads, but does not write what is read-only. */
	mem = open("/proc/self/mem", O_RDWR);
	CHECK(mem >= 0);
	CHECK(pread(mem, &c, 1, (off_t)(uintptr_t)p) == 1 && c == 0);
	REFUSED(pwrite(mem, "x", 1, (off_t)(uintptr_t)p), EIO);
	p = map(fd, page, PROT_READ | PROT_WRITE);
	CHECK(pwrite(mem, "y", 1, (off_t)(uintptr_t)p + 5) == 1 && p[5] == 'y');
	/* No code is run from it. */
	REFUSED(map(fd, page, PROT_READ | PROT_EXEC), EPERM);
	REFUSED(mprotect(p, page, PROT_READ | PROT_EXEC), EACCES);
	/* A path to its inode outlives the file, and does no harm. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	mem = open(path, O_PATH);
	CHECK(mem >= 0);
	munmap(p, page);
	close(fd);
	close(reader);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", mem);
	CHECK(readlink(path, link, sizeof(link)) > 0);
	REFUSED(open(path, O_RDWR), ENXIO);
}

/* As another user: what OPEN gives for a mode. */
static unsigned int rights_of(const char *name, unsigned int wanted)
{
	struct lshm_ioc_open o = {
	    .size = sizeof(o), .name = (uintptr_t)name, .rights = wanted};

	if (ioctl(ctl, LSHM_IOC_OPEN, &o) < 0)
		return (unsigned int)-errno;
	close(o.fd);
	return o.rights;
}

static void modes(void)
{
	close(make_named("m600", page, 0600));
	close(make_named("m644", page, 0644));
	umask(0);
	close(make_named("m666", page, 0666));
	close(make_named("m602", page, 0602));
	close(make_named("m060", page, 0060));
	CHECK(rights_of("m600", 0) == LSHM_IOC_RIGHTS); /* capable */
	if (child() == 0) {
		CHECK(setgroups(0, NULL) == 0 && setgid(65534) == 0);
		CHECK(setuid(65534) == 0);
		CHECK(rights_of("m600", 0) == (unsigned int)-EACCES);
		CHECK(rights_of("m644", 0) == READ);
		CHECK(rights_of("m644", READ | WRITE) == (unsigned int)-EACCES);
		CHECK(rights_of("m666", 0) == (READ | WRITE | GROW));
		CHECK(rights_of("m666", READ) == READ);
		CHECK(
		    rights_of("m666", READ | MANAGE) == (unsigned int)-EACCES);
		CHECK(rights_of("m602", 0) == (unsigned int)-EACCES);
		REFUSED(unlink_name("m666"), EPERM);
		/* its own: no capability, but the owner */
		close(make_named("own", page, 0400));
		CHECK(rights_of("own", 0) == (READ | MANAGE));
		CHECK(unlink_name("own") == 0);
		_exit(0);
	}
	exited_well(-1);
	if (child() == 0) { /* of its group */
		CHECK(setgroups(0, NULL) == 0 && setuid(65534) == 0);
		CHECK(rights_of("m060", 0) == (READ | WRITE | GROW));
		_exit(0);
	}
	exited_well(-1);
	for (const char *const *n = (const char *const[]){"m600", "m644",
		 "m666", "m602", "m060", NULL};
	     *n; n++)
		CHECK(unlink_name(*n) == 0);
}

/* Names are those of the user namespace; so is root. */
static void user_namespaces(void)
{
	int outside = make_named("outside", page, 0600);
	struct lshm_ioc_stat s, in;
	struct lshm_ioc_open o = {.size = sizeof(o)};

	stat_of(outside, &s);
	CHECK(s.flags & LSHM_IOC_STAT_LINKED);
	o.id = s.id;
	if (child() == 0) {
		int fd;

		CHECK(unshare(CLONE_NEWUSER) == 0);
		REFUSED(open_named("outside", 0), ENOENT);
		REFUSED(ioctl(ctl, LSHM_IOC_OPEN, &o), ENOENT);
		fd = make_named("outside", page, 0600); /* another one */
		CHECK(fd >= 0);
		/* each has a name, of which the other is none */
		stat_of(outside, &in);
		CHECK(!(in.flags & LSHM_IOC_STAT_LINKED));
		stat_of(fd, &in);
		CHECK(in.flags & LSHM_IOC_STAT_LINKED);
		CHECK(unlink_name("outside") == 0);
		_exit(0);
	}
	exited_well(-1);
	CHECK(unlink_name("outside") == 0);
}

static int seal(int fd, unsigned int seals)
{
	struct lshm_ioc_seal s = {.size = sizeof(s), .seals = seals};

	if (ioctl(fd, LSHM_IOC_SEAL, &s) < 0)
		return -1;
	return (int)s.seals;
}

static void seals(void)
{
	struct lshm_ioc_grow g = {.size = sizeof(g), .length = 2 * page};
	int fd = make(page);
	char *p, *q;
	pid_t pid;

	REFUSED(seal(fd, 1 << 9), EINVAL);
	CHECK(seal(fd, 0) == 0);
	p = map(fd, page, PROT_READ | PROT_WRITE);
	REFUSED(seal(fd, LSHM_IOC_SEAL_WRITE), EBUSY);
	CHECK(mprotect(p, page, PROT_READ) == 0);
	REFUSED(seal(fd, LSHM_IOC_SEAL_WRITE), EBUSY); /* it could again */
	pid = child();
	if (pid == 0) {
		pause();
		_exit(0);
	}
	munmap(p, page);
	REFUSED(seal(fd, LSHM_IOC_SEAL_WRITE), EBUSY); /* the child has it */
	kill_and_reap(pid);
	p = map(fd, page, PROT_READ | PROT_WRITE);
	*p = 'a';
	CHECK(seal(fd, LSHM_IOC_SEAL_FUTURE_WRITE) > 0);
	*p = 'b';
	REFUSED(map(fd, page, PROT_READ | PROT_WRITE), EPERM);
	REFUSED(write(fd, "x", 1), EPERM);
	q = map(fd, page, PROT_READ);
	CHECK(q != MAP_FAILED && *q == 'b');
	REFUSED(mprotect(q, page, PROT_READ | PROT_WRITE), EACCES);
	munmap(p, page);
	CHECK(seal(fd, LSHM_IOC_SEAL_WRITE) > 0);
	CHECK(*q == 'b');
	CHECK(seal(fd, LSHM_IOC_SEAL_GROW) > 0);
	REFUSED(ioctl(fd, LSHM_IOC_GROW, &g), EPERM);
	CHECK(seal(fd, LSHM_IOC_SEAL_SEAL) == LSHM_IOC_SEALS);
	CHECK(seal(fd, LSHM_IOC_SEAL_GROW) == LSHM_IOC_SEALS);
	fd = make(page);
	CHECK(seal(fd, LSHM_IOC_SEAL_SEAL) == LSHM_IOC_SEAL_SEAL);
	REFUSED(seal(fd, LSHM_IOC_SEAL_GROW), EPERM);
}

/*
 * What was not mapped writable, and may not be, does not become so: neither
 * whole nor in part, nor moved, in a child, or in small pieces.
 */
static void stays_read_only(char *p)
{
	char *q;

	REFUSED(mprotect(p, 3 * page, PROT_READ | PROT_WRITE), EACCES);
	REFUSED(mprotect(p + page, page, PROT_WRITE), EACCES);
	CHECK(mprotect(p + page, page, PROT_NONE) == 0); /* now it is three */
	REFUSED(mprotect(p + page, page, PROT_READ | PROT_WRITE), EACCES);
	CHECK(mprotect(p + page, page, PROT_READ) == 0 && p[page] == 's');
	REFUSED(mprotect(p, 3 * page, PROT_READ | PROT_WRITE), EACCES);
	if (child() == 0) {
		REFUSED(mprotect(p, page, PROT_READ | PROT_WRITE), EACCES);
		CHECK(signal_of_touch(p, true) == SIGSEGV);
		_exit(0);
	}
	exited_well(-1);
	q = mmap(NULL, page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(mremap(p, page, page, MREMAP_MAYMOVE | MREMAP_FIXED, q) == q);
	REFUSED(mprotect(q, page, PROT_READ | PROT_WRITE), EACCES);
	CHECK(*q == 's' && p[page] == 's' && p[2 * page] == 's');
	munmap(q, page);
	munmap(p + page, 2 * page);
}

static void no_upgrade(void)
{
	for (uint32_t how = 0; how <= LSHM_IOC_MAP_PAGES; how++) {
		struct lshm_ioc_create c = {
		    .length = 3 * page, .mode = 0600, .node = -1, .map = how};
		struct lshm_ioc_stat s;
		int fd = make_with(&c), reader = dup_with(fd, READ);
		char *p = map(fd, 3 * page, PROT_READ | PROT_WRITE);

		memset(p, 's', 3 * page);
		stays_read_only(map(reader, 3 * page, PROT_READ));
		/* a mapping from before the seal goes on: as it could be */
		CHECK(mprotect(p, page, PROT_READ) == 0);
		CHECK(seal(fd, LSHM_IOC_SEAL_FUTURE_WRITE) > 0);
		CHECK(mprotect(p, page, PROT_READ | PROT_WRITE) == 0);
		stays_read_only(map(fd, 3 * page, PROT_READ));
		stat_of(fd, &s);
		CHECK(s.maps == s.writable_maps);
		REFUSED(seal(fd, LSHM_IOC_SEAL_WRITE), EBUSY);
		munmap(p, 3 * page);
		p = map(fd, 3 * page, PROT_READ);
		CHECK(seal(fd, LSHM_IOC_SEAL_WRITE) > 0);
		stays_read_only(p);
		stays_read_only(map(fd, 3 * page, PROT_READ));
		REFUSED(map(fd, page, PROT_WRITE), EPERM);
		stat_of(fd, &s);
		CHECK(s.maps == 0 && s.writable_maps == 0);
		close(reader);
		close(fd);
	}
}

/* What the kernel has been given to write to is not sealed. */
static void seal_pinned(void)
{
	struct lshm_ioc_create c = {.length = 600 * page,
	    .mode = 0600,
	    .node = -1,
	    .map = LSHM_IOC_MAP_PAGES};
	int fd = make_with(&c), ends[2];
	char *p = map(fd, 600 * page, PROT_READ | PROT_WRITE), byte[4];
	char *q = map(dup_with(fd, READ), 600 * page, PROT_READ);
	struct iovec io = {p + 599 * page, 4};

	CHECK(pipe(ends) == 0);
	memcpy(p + 599 * page, "held", 4);
	CHECK(vmsplice(ends[1], &io, 1, 0) == 4);
	munmap(p, 600 * page);
	for (size_t i = 0; i < 600; i++)
		CHECK(q[i * page] == (i == 599 ? 'h' : 0));
	REFUSED(seal(fd, LSHM_IOC_SEAL_WRITE), EBUSY);
	CHECK(seal(fd, LSHM_IOC_SEAL_FUTURE_WRITE) > 0);
	CHECK(read(ends[0], byte, 4) == 4 && memcmp(byte, "held", 4) == 0);
	/* now there are only mappings, which do not count */
	CHECK(seal(fd, LSHM_IOC_SEAL_WRITE) > 0);
	CHECK(q[599 * page] == 'h');
}

static void *grow_much(void *arg)
{
	struct lshm_ioc_grow g = {
	    .size = sizeof(g), .length = 512 * (uint64_t)page};

	if (ioctl(*(int *)arg, LSHM_IOC_GROW, &g) < 0)
		CHECK(errno == EPERM);
	return NULL;
}

/* When the seal is there, the length is the last. */
static void seal_grow_races(void)
{
	for (int round = 0; round < 50; round++) {
		struct lshm_ioc_stat before, after;
		int fd = make(page);
		pthread_t t;

		CHECK(pthread_create(&t, NULL, grow_much, &fd) == 0);
		usleep((useconds_t)(round * 20));
		CHECK(seal(fd, LSHM_IOC_SEAL_GROW) == LSHM_IOC_SEAL_GROW);
		stat_of(fd, &before);
		pthread_join(t, NULL);
		stat_of(fd, &after);
		CHECK(before.length == after.length);
		close(fd);
	}
}

/* A descriptor is handed on with its rights, and the first one closed. */
static void passed_on(void)
{
	char byte = 0, control[CMSG_SPACE(sizeof(int))];
	struct iovec io = {&byte, 1};
	struct msghdr m = {.msg_iov = &io,
	    .msg_iovlen = 1,
	    .msg_control = control,
	    .msg_controllen = sizeof(control)};
	struct cmsghdr *c;
	int pair[2], fd;
	char *p;

	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
	if (child() == 0) {
		int region = make(page);

		CHECK(setuid(65534) == 0);
		CHECK(pwrite(region, "passed", 6, 0) == 6);
		fd = dup_with(region, READ);
		memset(control, 0, sizeof(control));
		c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(fd));
		CHECK(sendmsg(pair[1], &m, 0) == 1);
		_exit(0);
	}
	exited_well(-1);
	CHECK(recvmsg(pair[0], &m, MSG_CMSG_CLOEXEC) == 1);
	c = CMSG_FIRSTHDR(&m);
	CHECK(c);
	memcpy(&fd, CMSG_DATA(c), sizeof(fd));
	p = map(fd, page, PROT_READ);
	CHECK(p != MAP_FAILED && memcmp(p, "passed", 6) == 0);
	REFUSED(map(fd, page, PROT_WRITE), EACCES);
}

const struct test tests_rights[] = {
    {"fewer_rights", fewer_rights},
    {"no_way_around", no_way_around},
    {"modes", modes},
    {"user_namespaces", user_namespaces},
    {"seals", seals},
    {"no_upgrade", no_upgrade},
    {"seal_pinned", seal_pinned},
    {"seal_grow_races", seal_grow_races},
    {"passed_on", passed_on},
    {0},
};
