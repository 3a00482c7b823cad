/* SPDX-License-Identifier: MIT */
/*
 * test_calls.c - every ioctl, called well and badly; names, labels, lists,
 * read(2) and write(2), events
 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/stat.h>
#include <time.h>

#include "kmod.h"

static void info(void)
{
	struct lshm_ioc_info i;
	uint64_t total;
	int fd;

	info_now(&i);
	CHECK(i.abi == LSHM_IOC_ABI);
	CHECK(i.page_size == (unsigned int)sysconf(_SC_PAGESIZE));
	CHECK(i.max_total && i.max_user && i.max_region && i.max_waitv);
	total = i.total;
	fd = make(3 * page);
	CHECK(fd >= 0);
	info_now(&i);
	CHECK(i.total == total + 3 * page && i.user == i.total);
	CHECK(i.regions == 1 && i.handles == 1);
}

/* -- what all calls do alike ----------------------------------------------- */

union any {
	struct {
		uint32_t size;
		uint32_t flags;
	} head;
	char bytes[1024];
	struct lshm_ioc_info info;
	struct lshm_ioc_create create;
	struct lshm_ioc_open open;
	struct lshm_ioc_list list;
	struct lshm_ioc_unlink unlink;
	struct lshm_ioc_stat stat;
	struct lshm_ioc_grow grow;
	struct lshm_ioc_link link;
	struct lshm_ioc_dup dup;
	struct lshm_ioc_seal seal;
	struct lshm_ioc_revoke revoke;
	struct lshm_ioc_wait wait;
	struct lshm_ioc_wake wake;
	struct lshm_ioc_waitv waitv;
	struct lshm_ioc_bind bind;
	struct lshm_ioc_peer peer;
	struct lshm_ioc_label label;
	struct lshm_ioc_frames frames;
};

static const struct call {
	unsigned long cmd;
	size_t size;
	bool control;
	bool out;
} calls[] = {
    {LSHM_IOC_INFO, sizeof(struct lshm_ioc_info), true, true},
    {LSHM_IOC_CREATE, sizeof(struct lshm_ioc_create), true, true},
    {LSHM_IOC_OPEN, sizeof(struct lshm_ioc_open), true, true},
    {LSHM_IOC_LIST, sizeof(struct lshm_ioc_list), true, true},
    {LSHM_IOC_UNLINK, sizeof(struct lshm_ioc_unlink), true, false},
    {LSHM_IOC_STAT, sizeof(struct lshm_ioc_stat), false, true},
    {LSHM_IOC_GROW, sizeof(struct lshm_ioc_grow), false, true},
    {LSHM_IOC_LINK, sizeof(struct lshm_ioc_link), false, false},
    {LSHM_IOC_DUP, sizeof(struct lshm_ioc_dup), false, true},
    {LSHM_IOC_SEAL, sizeof(struct lshm_ioc_seal), false, true},
    {LSHM_IOC_REVOKE, sizeof(struct lshm_ioc_revoke), false, false},
    {LSHM_IOC_HANDLES, sizeof(struct lshm_ioc_list), false, true},
    {LSHM_IOC_WAIT, sizeof(struct lshm_ioc_wait), false, true},
    {LSHM_IOC_WAKE, sizeof(struct lshm_ioc_wake), false, true},
    {LSHM_IOC_WAITV, sizeof(struct lshm_ioc_waitv), false, true},
    {LSHM_IOC_BIND, sizeof(struct lshm_ioc_bind), false, false},
    {LSHM_IOC_PEER, sizeof(struct lshm_ioc_peer), false, true},
    {LSHM_IOC_LABEL, sizeof(struct lshm_ioc_label), false, false},
    {LSHM_IOC_FRAMES, sizeof(struct lshm_ioc_frames), false, true},
};

#define END (calls + sizeof(calls) / sizeof(*calls))

static int prepared;

/* The names that are left where a call did not get far. */
static void clean_up(void)
{
	char name[40];

	for (int i = 1; i <= prepared; i++) {
		snprintf(name, sizeof(name), "prepare-%d", i);
		unlink_name(name);
	}
	unlink_name("calls");
}

/* Arguments with which it does something; to be done before each call. */
static void prepare(union any *a, const struct call *c, int region)
{
	static const struct lshm_ioc_waiton words = {.expected = 0, .fd = -1};
	static char name[40];
	int fd;

	memset(a, 0, sizeof(*a));
	a->head.size = (uint32_t)c->size;
	snprintf(name, sizeof(name), "prepare-%d", ++prepared);
	switch (c->cmd) {
	case LSHM_IOC_CREATE:
		a->create.length = page;
		a->create.node = -1;
		break;
	case LSHM_IOC_OPEN:
		a->open.name = (uintptr_t) "calls";
		break;
	case LSHM_IOC_LIST:
	case LSHM_IOC_HANDLES:
		a->list.record_size = 64;
		break;
	case LSHM_IOC_UNLINK:
		fd = make_named(name, page, 0600);
		CHECK(fd >= 0);
		close(fd);
		a->unlink.name = (uintptr_t)name;
		break;
	case LSHM_IOC_LINK:
		unlink_name("calls");
		break;
	case LSHM_IOC_REVOKE:
		fd = dup_with(region, 0);
		CHECK(fd >= 0);
		a->revoke.handle = handle_of(fd);
		break;
	case LSHM_IOC_WAIT:
		a->wait.expected = 1; /* it is 0: EAGAIN */
		break;
	case LSHM_IOC_WAITV:
		a->waitv.words = (uintptr_t)&words;
		a->waitv.count = 1;
		a->waitv.deadline = 1; /* long ago: ETIMEDOUT */
		break;
	case LSHM_IOC_BIND:
		a->bind.flags = LSHM_IOC_BIND_DEATHS;
		a->bind.fd = 1234; /* none: EBADF */
		break;
	case LSHM_IOC_LABEL:
		a->label.label = (uintptr_t) "label";
		break;
	}
}

/* It got as far as to do something. */
static bool understood(const struct call *c, int ret)
{
	switch (c->cmd) {
	case LSHM_IOC_WAIT:
		return ret == -1 && errno == EAGAIN;
	case LSHM_IOC_WAITV:
		return ret == -1 && errno == ETIMEDOUT;
	case LSHM_IOC_BIND:
		return ret == -1 && errno == EBADF;
	default:
		return ret == 0;
	}
}

static void sizes(void)
{
	int region = make_named("calls", page, 0600), fd;
	union any a;

	CHECK(region >= 0);
	for (const struct call *c = calls; c < END; c++) {
		fd = c->control ? ctl : region;
		prepare(&a, c, region);
		CHECK(understood(c, ioctl(fd, c->cmd, &a)));
		for (uint32_t size = 0; size < c->size; size += 4) {
			prepare(&a, c, region);
			a.head.size = size;
			REFUSED(ioctl(fd, c->cmd, &a), EINVAL);
		}
		/* One that knows more, and uses it, or not. */
		prepare(&a, c, region);
		a.head.size = (uint32_t)c->size + 64;
		CHECK(understood(c, ioctl(fd, c->cmd, &a)));
		CHECK(a.head.size == c->size + 64);
		for (size_t i = c->size; i < c->size + 64; i++)
			CHECK(a.bytes[i] == 0);
		prepare(&a, c, region);
		a.head.size = (uint32_t)c->size + 64;
		a.bytes[c->size + 63] = 1;
		REFUSED(ioctl(fd, c->cmd, &a), E2BIG);
		CHECK(a.head.size == c->size);
		prepare(&a, c, region);
		a.head.size = UINT32_MAX;
		REFUSED(ioctl(fd, c->cmd, &a), E2BIG);
	}
	clean_up();
}

static void flags(void)
{
	int region = make_named("calls", page, 0600);
	union any a;

	CHECK(region >= 0);
	for (const struct call *c = calls; c < END; c++) {
		for (int bit = 3; bit < 32; bit++) {
			prepare(&a, c, region);
			a.head.flags |= 1u << bit;
			REFUSED(ioctl(c->control ? ctl : region, c->cmd, &a),
			    EINVAL);
		}
	}
	clean_up();
}

static void pointers(void)
{
	int region = make_named("calls", page, 0600), fd;
	union any a;
	char *p;

	CHECK(region >= 0);
	for (const struct call *c = calls; c < END; c++) {
		fd = c->control ? ctl : region;
		REFUSED(ioctl(fd, c->cmd, NULL), EFAULT);
		REFUSED(ioctl(fd, c->cmd, (void *)-8L), EFAULT);
		/* As near to the edge as can be is good... */
		p = edge(c->size);
		prepare(&a, c, region);
		memcpy(p, &a, c->size);
		CHECK(understood(c, ioctl(fd, c->cmd, p)));
		/* ... and each step beyond is not. */
		for (size_t n = 0; n < c->size; n += 4) {
			prepare(&a, c, region);
			p = (char *)edge(c->size) + c->size - n;
			memcpy(p, &a, n);
			REFUSED(ioctl(fd, c->cmd, p), EFAULT);
			munmap((void *)((uintptr_t)(p - 1) & -page), 2 * page);
		}
		/* The tail of a larger struct is cleared: it must be there. */
		p = edge(c->size + 8);
		prepare(&a, c, region);
		a.head.size = (uint32_t)c->size + 16;
		memcpy(p, &a, c->size + 8);
		REFUSED(ioctl(fd, c->cmd, p), EFAULT);
		if (!c->out)
			continue;
		/* What can be read, but not written. */
		p = mmap(NULL, page, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		prepare(&a, c, region);
		memcpy(p, &a, c->size);
		CHECK(mprotect(p, page, PROT_READ) == 0);
		if (understood(c, ioctl(fd, c->cmd, p)))
			CHECK(c->cmd == LSHM_IOC_WAITV);
		else
			CHECK(errno == EFAULT);
	}
	clean_up();
}

static void commands(void)
{
	int region = make(page);
	char buffer[1024];

	for (unsigned int nr = 0; nr < 256; nr++) {
		memset(buffer, 0, sizeof(buffer));
		/* of another type; of the other descriptor; of none */
		REFUSED(ioctl(ctl, _IOWR('x', nr, int), buffer), ENOTTY);
		REFUSED(ioctl(region, _IOWR('x', nr, int), buffer), ENOTTY);
		if (nr >= 5)
			REFUSED(
			    ioctl(ctl, _IOWR(LSHM_IOC_TYPE, nr, int), buffer),
			    ENOTTY);
		if (nr < 0x20 || nr > _IOC_NR(LSHM_IOC_FRAMES))
			REFUSED(ioctl(region, _IOWR(LSHM_IOC_TYPE, nr, int),
				    buffer),
			    ENOTTY);
	}
	/* A number that fits, of another size: the same call. */
	memset(buffer, 0, sizeof(buffer));
	((struct lshm_ioc_info *)buffer)->size = sizeof(struct lshm_ioc_info);
	CHECK(ioctl(ctl, _IOWR(LSHM_IOC_TYPE, 0, long[40]), buffer) == 0);
}

/* -- create ---------------------------------------------------------------- */

static void create_values(void)
{
	struct lshm_ioc_create good = {.length = page,
				   .mode = 0600,
				   .node = -1},
			       c;
	struct lshm_ioc_info i;
	struct lshm_ioc_stat s;
	int fd;

	info_now(&i);
#define BAD(what, error) \
	c = good;        \
	what;            \
	REFUSED(make_with(&c), error)
	BAD(c.length = 1, EINVAL);
	BAD(c.length = page - 1, EINVAL);
	BAD(c.length = i.max_region + page, E2BIG);
	BAD(c.length = UINT64_MAX - page + 1, E2BIG);
	BAD(c.length = 1ull << 63, E2BIG);
	BAD(c.max_length = 1, EINVAL);
	BAD((c.length = 2 * page, c.max_length = page), EINVAL);
	BAD(c.mode = 01000, EINVAL);
	BAD(c.node = -2, EINVAL);
	BAD(c.node = 1 << 20, EINVAL);
	BAD(c.node = 63, EINVAL);
	BAD(c.map = 3, EINVAL);
	BAD(c.rights = 1 << 4, EINVAL);
	BAD(c.rights = LSHM_IOC_RIGHT_WRITE, EINVAL);
	BAD(c.pad = 1, EINVAL);
	BAD(c.name = 1, EFAULT);
	BAD((c.flags = LSHM_IOC_CREATE_CONTIGUOUS, c.length = 64 << 20),
	    ENOMEM);
#undef BAD
	c = good;
	c.length = 0;
	fd = make_with(&c);
	CHECK(fd >= 0 && c.id && c.handle);
	REFUSED(map(fd, page, PROT_READ), ENXIO);
	c = good;
	c.length = 3 << 20;
	c.flags = LSHM_IOC_CREATE_CONTIGUOUS;
	c.node = 0;
	fd = make_with(&c);
	CHECK(fd >= 0);
	stat_of(fd, &s);
	CHECK(s.runs == 1 && s.flags & LSHM_IOC_STAT_CONTIGUOUS);
	CHECK(s.length == 3 << 20 && s.node == 0);
	CHECK(fcntl(fd, F_GETFD) == FD_CLOEXEC);
	info_now(&i);
	CHECK(i.total == 3 << 20); /* not what order 10 had left over */
}

static void stat_values(void)
{
	struct lshm_ioc_stat s;
	struct stat st;
	int fd;

	umask(027);
	fd = make_named("stat", 5 * page, 0666);
	CHECK(fd >= 0);
	stat_of(fd, &s);
	CHECK(s.size == sizeof(s) && s.length == 5 * page && s.mode == 0640);
	CHECK(s.id && s.handle && s.pid == (uint32_t)getpid() && s.uid == 0);
	CHECK(s.rights == LSHM_IOC_RIGHTS && s.handles == 1 && s.maps == 0);
	CHECK(strcmp(s.name, "stat") == 0 && s.label[0] == 0);
	CHECK(s.flags == LSHM_IOC_STAT_LINKED && s.runs >= 1);
	CHECK(fstat(fd, &st) == 0 && (uint64_t)st.st_size == 5 * page);
	CHECK((st.st_mode & 0777) == 0640);
	CHECK(unlink_name("stat") == 0);
	stat_of(fd, &s);
	CHECK(s.flags == 0 && strcmp(s.name, "stat") == 0);
}

/* -- names ----------------------------------------------------------------- */

static void names(void)
{
	char name[300], *p;
	struct lshm_ioc_link l = {.size = sizeof(l)};
	struct lshm_ioc_create c = {.length = page, .node = -1};
	struct lshm_ioc_stat s;
	int fd, other;

	REFUSED(make_named("", page, 0600), EINVAL);
	REFUSED(make_named("a/b", page, 0600), EINVAL);
	REFUSED(make_named("a\nb", page, 0600), EINVAL);
	memset(name, 'n', sizeof(name));
	name[256] = '\0';
	REFUSED(make_named(name, page, 0600), ENAMETOOLONG);
	name[255] = '\0';
	fd = make_named(name, page, 0600);
	CHECK(fd >= 0);
	REFUSED(make_named(name, page, 0600), EEXIST);
	close(fd);
	/* It lives by its name alone; ended by the end of memory or not. */
	p = edge(256);
	memcpy(p, name, 256);
	fd = open_named(p, 0);
	CHECK(fd >= 0);
	p = edge(100);
	memset(p, 'n', 100);
	REFUSED(open_named(p, 0), EFAULT);
	REFUSED(make_named(p, page, 0600), EFAULT);
	CHECK(unlink_name(name) == 0);
	REFUSED(unlink_name(name), ENOENT);
	REFUSED(open_named(name, 0), ENOENT);
	close(fd);

	/* Hidden, then linked, as a file is made under O_TMPFILE. */
	c.name = (uintptr_t) "hidden";
	c.flags = LSHM_IOC_CREATE_HIDDEN;
	fd = make_with(&c);
	CHECK(fd >= 0);
	REFUSED(open_named("hidden", 0), ENOENT);
	other = make_with(&c);
	CHECK(other >= 0);
	CHECK(ioctl(fd, LSHM_IOC_LINK, &l) == 0);
	REFUSED(ioctl(fd, LSHM_IOC_LINK, &l), EEXIST);
	REFUSED(ioctl(other, LSHM_IOC_LINK, &l), EEXIST);
	close(other);
	other = open_named("hidden", 0);
	CHECK(other >= 0);
	stat_of(other, &s);
	CHECK(s.id == c.id - 2); /* the first: a region and a handle before */
	CHECK(unlink_name("hidden") == 0);
	CHECK(ioctl(fd, LSHM_IOC_LINK, &l) == 0);
	CHECK(unlink_name("hidden") == 0);
	fd = make(page);
	REFUSED(ioctl(fd, LSHM_IOC_LINK, &l), ENOENT);
}

static void open_by_id(void)
{
	struct lshm_ioc_open o = {.size = sizeof(o)};
	struct lshm_ioc_unlink u = {.size = sizeof(u)};
	struct lshm_ioc_stat s;
	int fd = make_named("by-id", page, 0600);

	stat_of(fd, &s);
	REFUSED(ioctl(ctl, LSHM_IOC_OPEN, &o), ENOENT);
	o.id = s.id;
	CHECK(ioctl(ctl, LSHM_IOC_OPEN, &o) == 0);
	CHECK(o.rights == LSHM_IOC_RIGHTS && o.handle > s.handle);
	close(o.fd);
	u.id = s.id;
	CHECK(ioctl(ctl, LSHM_IOC_UNLINK, &u) == 0);
	REFUSED(ioctl(ctl, LSHM_IOC_UNLINK, &u), ENOENT);
	close(fd);
	o.rights = 0;
	REFUSED(ioctl(ctl, LSHM_IOC_OPEN, &o), ENOENT);
	o.id = UINT64_MAX;
	REFUSED(ioctl(ctl, LSHM_IOC_OPEN, &o), ENOENT);
}

static void label(void)
{
	struct lshm_ioc_label l = {.size = sizeof(l)};
	struct lshm_ioc_stat s;
	char text[300], *p;
	int fd = make(page);

	l.label = (uintptr_t) "camera 3";
	CHECK(ioctl(fd, LSHM_IOC_LABEL, &l) == 0);
	stat_of(fd, &s);
	CHECK(strcmp(s.label, "camera 3") == 0);
	memset(text, 'l', sizeof(text));
	text[256] = '\0';
	l.label = (uintptr_t)text;
	REFUSED(ioctl(fd, LSHM_IOC_LABEL, &l), ENAMETOOLONG);
	text[255] = '\0';
	CHECK(ioctl(fd, LSHM_IOC_LABEL, &l) == 0);
	stat_of(fd, &s);
	CHECK(strcmp(s.label, text) == 0);
	p = edge(10);
	memset(p, 'l', 10);
	l.label = (uintptr_t)p;
	REFUSED(ioctl(fd, LSHM_IOC_LABEL, &l), EFAULT);
	p[9] = '\0';
	CHECK(ioctl(fd, LSHM_IOC_LABEL, &l) == 0);
	stat_of(fd, &s);
	CHECK(strlen(s.label) == 9);
	for (size_t i = 9; i < sizeof(s.label); i++)
		CHECK(s.label[i] == 0);
	l.label = 0;
	REFUSED(ioctl(fd, LSHM_IOC_LABEL, &l), EFAULT);
}

/* -- lists ----------------------------------------------------------------- */

static void list(void)
{
	struct lshm_ioc_stat all[10];
	struct lshm_ioc_list l = {.size = sizeof(l),
	    .records = (uintptr_t)all,
	    .record_size = sizeof(all[0]),
	    .count = 10};
	char *p;
	int fds[5];

	memset(all, 0xff, sizeof(all));
	CHECK(ioctl(ctl, LSHM_IOC_LIST, &l) == 0);
	CHECK(l.count == 0 && l.next == 0);
	for (size_t i = 0; i < sizeof(all); i++)
		CHECK(((char *)all)[i] == 0);
	for (int i = 0; i < 5; i++)
		CHECK((fds[i] = make((uint64_t)(i + 1) * page)) >= 0);
	l.count = 10;
	memset(all, 0xff, sizeof(all));
	CHECK(ioctl(ctl, LSHM_IOC_LIST, &l) == 0);
	CHECK(l.count == 5 && l.next == 0);
	for (uint32_t i = 0; i < 5; i++)
		CHECK(all[i].length == (i + 1) * page && !all[i].handle);
	CHECK(all[5].size == 0 && all[9].length == 0);
	/* In pieces. */
	l.count = 2;
	l.next = 0;
	CHECK(ioctl(ctl, LSHM_IOC_LIST, &l) == 0);
	CHECK(l.count == 2 && l.next == all[2].id);
	l.count = 10;
	CHECK(ioctl(ctl, LSHM_IOC_LIST, &l) == 0);
	CHECK(l.count == 3 && l.next == 0 && all[0].length == 3 * page);
	/* A record that is smaller, larger, of no size; too many. */
	p = edge(5 * 32);
	l.records = (uintptr_t)p;
	l.record_size = 32;
	l.count = 5;
	CHECK(ioctl(ctl, LSHM_IOC_LIST, &l) == 0 && l.count == 5);
	l.count = 6;
	REFUSED(ioctl(ctl, LSHM_IOC_LIST, &l), EFAULT);
	l.record_size = 0;
	REFUSED(ioctl(ctl, LSHM_IOC_LIST, &l), EINVAL);
	l.record_size = 1u << 31;
	REFUSED(ioctl(ctl, LSHM_IOC_LIST, &l), EINVAL);
	l.record_size = 1024;
	l.count = 65537;
	REFUSED(ioctl(ctl, LSHM_IOC_LIST, &l), EINVAL);
	l.count = 5;
	l.records = (uintptr_t)edge(5 * 1024);
	CHECK(ioctl(ctl, LSHM_IOC_LIST, &l) == 0 && l.count == 5);
	l.records = (uintptr_t)-page;
	REFUSED(ioctl(ctl, LSHM_IOC_LIST, &l), EFAULT);
	l.records = 0;
	l.count = 0;
	CHECK(ioctl(ctl, LSHM_IOC_LIST, &l) == 0 && l.next);
}

static void handles(void)
{
	struct lshm_ioc_handle h[4];
	struct lshm_ioc_list l = {.size = sizeof(l),
	    .records = (uintptr_t)h,
	    .record_size = sizeof(h[0]),
	    .count = 4};
	int fd = make(page), other = dup_with(fd, LSHM_IOC_RIGHT_READ);

	CHECK(map(other, page, PROT_READ) != MAP_FAILED);
	CHECK(ioctl(fd, LSHM_IOC_HANDLES, &l) == 0);
	CHECK(l.count == 2 && l.next == 0 && h[0].handle == handle_of(fd));
	CHECK(h[1].rights == LSHM_IOC_RIGHT_READ && h[1].maps == 1);
	CHECK(h[1].pid == (uint32_t)getpid() && h[1].flags == 0 && !h[2].pid);
	CHECK(revoke_handle(fd, h[1].handle) == 0);
	l.count = 4;
	CHECK(ioctl(fd, LSHM_IOC_HANDLES, &l) == 0);
	CHECK(h[1].flags == LSHM_IOC_HANDLE_REVOKED);
	REFUSED(ioctl(other, LSHM_IOC_HANDLES, &l), ENODEV);
	other = dup_with(fd, LSHM_IOC_RIGHT_READ);
	REFUSED(ioctl(other, LSHM_IOC_HANDLES, &l), EACCES);
}

/* Made by several at a time, they are all told of. */
enum { MAKERS = 4, MADE = 50, ROUNDS = 40 };

static void *make_handles(void *arg)
{
	for (int i = 0; i < MADE; i++)
		CHECK(dup_with(*(int *)arg, 0) >= 0);
	return NULL;
}

static void handles_complete(void)
{
	static struct lshm_ioc_handle h[MAKERS * MADE + 2];
	struct lshm_ioc_list l = {.size = sizeof(l),
	    .records = (uintptr_t)h,
	    .record_size = sizeof(h[0])};
	pthread_t t[MAKERS];
	int fd = make(page);

	for (int round = 0; round < ROUNDS; round++) {
		for (int i = 0; i < MAKERS; i++)
			CHECK(pthread_create(&t[i], NULL, make_handles, &fd) ==
			      0);
		for (int i = 0; i < MAKERS; i++)
			pthread_join(t[i], NULL);
		l.count = MAKERS * MADE + 2;
		CHECK(ioctl(fd, LSHM_IOC_HANDLES, &l) == 0);
		CHECK(l.count == MAKERS * MADE + 1 && l.next == 0);
		for (int i = 0; i < MAKERS * MADE; i++)
			close(fd + 1 + i);
	}
}

/* -- as a file ------------------------------------------------------------- */

static void frames(void)
{
	uint64_t *got = edge(3 * sizeof(*got));
	struct lshm_ioc_frames f = {
	    .size = sizeof(f),
	    .offset = page,
	    .frames = (uintptr_t)got,
	    .count = 3,
	};
	struct lshm_ioc_create c = {
	    .length = 4 * page,
	    .flags = LSHM_IOC_CREATE_CONTIGUOUS,
	};
	int fd = make_with(&c);

	CHECK(fd >= 0);
	CHECK(ioctl(fd, LSHM_IOC_FRAMES, &f) == 0 && f.count == 3);
	CHECK(got[0] && got[1] == got[0] + 1 && got[2] == got[0] + 2);
	/* fewer where it ends; none beyond */
	f.offset = 3 * page;
	CHECK(ioctl(fd, LSHM_IOC_FRAMES, &f) == 0 && f.count == 1);
	CHECK(got[0] == got[2]);
	f.offset = 4 * page;
	REFUSED(ioctl(fd, LSHM_IOC_FRAMES, &f), ERANGE);
	f.offset = ~UINT64_C(0) * page;
	REFUSED(ioctl(fd, LSHM_IOC_FRAMES, &f), ERANGE);
	f.offset = 1;
	REFUSED(ioctl(fd, LSHM_IOC_FRAMES, &f), EINVAL);
	/* the array reaches beyond what may be touched */
	f.offset = 0;
	f.count = 4;
	REFUSED(ioctl(fd, LSHM_IOC_FRAMES, &f), EFAULT);
	if (child() == 0) {
		CHECK(setuid(65534) == 0);
		f.count = 1;
		REFUSED(ioctl(fd, LSHM_IOC_FRAMES, &f), EPERM);
		_exit(0);
	}
	exited_well(-1);
}

static void read_write(void)
{
	int fd = make(2 * page);
	char *p = edge(3 * page), *m = map(fd, 2 * page, PROT_READ);

	CHECK(m != MAP_FAILED);
	memset(p, 'x', 3 * page);
	CHECK(write(fd, p, 3 * page) == (ssize_t)(2 * page));
	CHECK(m[0] == 'x' && m[2 * page - 1] == 'x');
	REFUSED(write(fd, p, 1), ENOSPC);
	CHECK(read(fd, p, 1) == 0);
	CHECK(lseek(fd, 0, SEEK_END) == (off_t)(2 * page));
	CHECK(pwrite(fd, "abc", 3, (off_t)page - 1) == 3);
	CHECK(memcmp(m + page - 1, "abc", 3) == 0);
	CHECK(pread(fd, p, 3, (off_t)page - 1) == 3);
	CHECK(memcmp(p, "abc", 3) == 0);
	/* Up to the edge, and beyond. */
	p = edge(10);
	CHECK(pread(fd, p, 10, 0) == 10 && p[9] == 'x');
	REFUSED(pread(fd, p, 11, 0), EFAULT);
	REFUSED(pread(fd, p + 10, 1, 0), EFAULT);
	REFUSED(pwrite(fd, p + 10, 1, 0), EFAULT);
	p = (char *)(uintptr_t)(ctl < 0); /* NULL, but do not tell gcc */
	REFUSED(pread(fd, p, 4, 0), EFAULT);
	REFUSED(pwrite(fd, p, 4, 0), EFAULT);
	p = edge(10);
	REFUSED(pread(fd, p, 10, -1), EINVAL);
	REFUSED(pread(fd, p, 10, INT64_MAX), EINVAL);
	CHECK(pread(fd, p, 10, INT64_MAX - 100) == 0);
	REFUSED(pwrite(fd, p, 10, INT64_MAX - 100), ENOSPC);
	/* The region's own memory as the buffer. */
	CHECK(pread(fd, p, 10, (off_t)(2 * page) - 4) == 4);
	REFUSED(pread(fd, m, 10, 0), EFAULT); /* mapped read-only */
}

/* -- events ---------------------------------------------------------------- */

static void next_event(int fd, uint32_t type, struct lshm_ioc_event *e)
{
	CHECK(read(fd, e, sizeof(*e)) == sizeof(*e));
	CHECK(e->type == type && e->pid == (uint32_t)getpid());
}

static void events(void)
{
	int fd = open(LSHM_IOC_DEVICE, O_RDONLY | O_NONBLOCK), region;
	struct pollfd p = {.fd = fd, .events = POLLIN};
	struct lshm_ioc_event e, *many;
	void *c;

	REFUSED(read(fd, &e, sizeof(e)), EAGAIN);
	REFUSED(read(fd, &e, sizeof(e) - 1), EINVAL);
	CHECK(poll(&p, 1, 0) == 0);
	region = make_named("events", page, 0600);
	CHECK(poll(&p, 1, 0) == 1);
	REFUSED(read(fd, (char *)edge(8), sizeof(e)), EFAULT);
	next_event(fd, LSHM_IOC_EVENT_CREATE, &e);
	next_event(fd, LSHM_IOC_EVENT_LINK, &e);
	c = claim(region, 7);
	next_event(fd, LSHM_IOC_EVENT_CLAIM, &e);
	CHECK(e.value == 7 && e.handle == handle_of(region));
	munmap(c, page);
	next_event(fd, LSHM_IOC_EVENT_RELEASE, &e);
	CHECK(unlink_name("events") == 0);
	next_event(fd, LSHM_IOC_EVENT_UNLINK, &e);
	close(region);
	next_event(fd, LSHM_IOC_EVENT_DESTROY, &e);
	REFUSED(read(fd, &e, sizeof(e)), EAGAIN);
	/* More than there is room for: the oldest go, and that is said. */
	for (int i = 0; i < 1000; i++)
		close(make(page));
	CHECK(read(fd, &e, sizeof(e)) == sizeof(e));
	CHECK(e.type == LSHM_IOC_EVENT_LOST && e.value == 2000 - 1024);
	many = calloc(2000, sizeof(*many));
	CHECK(read(fd, many, 2000 * sizeof(*many)) ==
	      (ssize_t)(1024 * sizeof(*many)));
	for (int i = 1; i < 1024; i++)
		CHECK(many[i].sequence == many[i - 1].sequence + 1);
	free(many);
	/* Of other people's regions nothing is told. */
	close(make_named("mine", page, 0600));
	if (child() == 0) {
		CHECK(setgid(65534) == 0 && setuid(65534) == 0);
		CHECK(poll(&p, 1, 0) == 0);
		_exit(0);
	}
	exited_well(-1);
	CHECK(poll(&p, 1, 0) == 1);
	close(make_named("yours", page, 0604));
	if (child() == 0) {
		CHECK(setgid(65534) == 0 && setuid(65534) == 0);
		for (int i = 0; i < 2; i++) /* to look takes nothing away */
			CHECK(poll(&p, 1, 0) == 1);
		CHECK(read(fd, &e, sizeof(e)) == sizeof(e));
		CHECK(e.type == LSHM_IOC_EVENT_CREATE);
		CHECK(read(fd, &e, sizeof(e)) == sizeof(e));
		CHECK(e.type == LSHM_IOC_EVENT_LINK);
		CHECK(poll(&p, 1, 0) == 0);
		REFUSED(read(fd, &e, sizeof(e)), EAGAIN);
		_exit(0);
	}
	exited_well(-1);
	CHECK(unlink_name("mine") == 0 && unlink_name("yours") == 0);
}

static void *read_event(void *arg)
{
	struct lshm_ioc_event e;
	ssize_t n;

	do /* O_NONBLOCK is the other's, and only for now */
		n = read(*(int *)arg, &e, sizeof(e));
	while (n < 0 && errno == EAGAIN);
	CHECK(n == sizeof(e));
	return NULL;
}

/* Who does not want to wait does not, though another reader does. */
static void events_at_once(void)
{
	int fd = open(LSHM_IOC_DEVICE, O_RDONLY);
	struct lshm_ioc_event e;
	pthread_t t[2];

	for (int i = 0; i < 2; i++)
		CHECK(pthread_create(&t[i], NULL, read_event, &fd) == 0);
	usleep(200000); /* most likely they sleep by now */
	CHECK(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
	alarm(20);
	REFUSED(read(fd, &e, sizeof(e)), EAGAIN);
	CHECK(fcntl(fd, F_SETFL, 0) == 0);
	for (int i = 0; i < 2; i++)
		close(make(page));
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
}

const struct test tests_calls[] = {
    {"info", info},
    {"call_sizes", sizes},
    {"call_flags", flags},
    {"call_pointers", pointers},
    {"call_commands", commands},
    {"create_values", create_values},
    {"stat_values", stat_values},
    {"names", names},
    {"open_by_id", open_by_id},
    {"label", label},
    {"list", list},
    {"handles", handles},
    {"handles_complete", handles_complete},
    {"frames", frames},
    {"read_write", read_write},
    {"events", events},
    {"events_at_once", events_at_once},
    {0},
};
