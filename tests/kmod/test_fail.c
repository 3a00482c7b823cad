/* SPDX-License-Identifier: MIT */
/*
 * test_fail.c - every allocation, and every copy from and to user memory, fails
 * once in each call; on kernels with fault injection
 *
 * A call is made with its first such step failing, then with its second, until
 * there are no more of them. It must say so, or do without, and leave nothing:
 * what it has made is closed, and the harness counts what is left. In the end
 * it must succeed. The number of steps differs a little from call to call, as
 * the kernel has memory at hand or not: so some more calls are made.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/eventfd.h>

#include "inject.h"
#include "kmod.h"

#define RW   (PROT_READ | PROT_WRITE)
#define HUGE (2ul << 20)

#define BEYOND 8 /* calls in a row in which the step was not reached */

static int region, lazy, event;
static unsigned int number; /* of the call: for names */

/* -- the calls: a negative value is a failure ------------------------------ */

static int close_good(int ret, const int32_t *fd)
{
	if (ret >= 0)
		close(*fd);
	return ret;
}

static int do_info(void)
{
	struct lshm_ioc_info i = {.size = sizeof(i)};

	return ioctl(ctl, LSHM_IOC_INFO, &i);
}

static int create(uint32_t map, uint32_t flags, uint64_t length)
{
	struct lshm_ioc_create c = {
	    .size = sizeof(c),
	    .flags = flags,
	    .length = length,
	    .map = map,
	    .mode = 0600,
	    .node = -1,
	};

	return close_good(ioctl(ctl, LSHM_IOC_CREATE, &c), &c.fd);
}

static int do_create(void)
{
	return create(LSHM_IOC_MAP_EAGER, 0, 3 * page);
}

static int do_create_large(void)
{
	return create(LSHM_IOC_MAP_LAZY, 0, HUGE + 70 * page);
}

static int do_create_contiguous(void)
{
	return create(
	    LSHM_IOC_MAP_EAGER, LSHM_IOC_CREATE_CONTIGUOUS, 16 * page);
}

static int do_create_named(void)
{
	struct lshm_ioc_create c = {
	    .size = sizeof(c), .length = page, .mode = 0600, .node = -1};
	char name[32];
	int ret, failure;

	snprintf(name, sizeof(name), "fail-%u", ++number);
	c.name = (uintptr_t)name;
	ret = close_good(ioctl(ctl, LSHM_IOC_CREATE, &c), &c.fd);
	failure = errno;
	if (ret == 0)
		while (unlink_name(name) < 0) /* it may fail, too */
			;
	errno = failure;
	return ret;
}

static int do_open(void)
{
	struct lshm_ioc_open o = {
	    .size = sizeof(o), .name = (uintptr_t) "fail"};

	return close_good(ioctl(ctl, LSHM_IOC_OPEN, &o), &o.fd);
}

static int list(int fd, unsigned long cmd, size_t size)
{
	char records[8][1024];
	struct lshm_ioc_list l = {
	    .size = sizeof(l),
	    .records = (uintptr_t)records,
	    .record_size = (uint32_t)size,
	    .count = 4,
	};

	return ioctl(fd, cmd, &l);
}

static int do_list(void)
{
	return list(ctl, LSHM_IOC_LIST, sizeof(struct lshm_ioc_stat));
}

static int do_handles(void)
{
	return list(region, LSHM_IOC_HANDLES, sizeof(struct lshm_ioc_handle));
}

static int do_stat(void)
{
	struct lshm_ioc_stat s = {.size = sizeof(s)};

	return ioctl(region, LSHM_IOC_STAT, &s);
}

static int do_grow(void)
{
	static uint64_t length;
	struct lshm_ioc_grow g = {.size = sizeof(g)};

	if (length == 0)
		length = 4 * page;
	length += 300 * page;
	g.length = length;
	return ioctl(region, LSHM_IOC_GROW, &g);
}

static int do_dup(void)
{
	struct lshm_ioc_dup d = {.size = sizeof(d)};

	return close_good(ioctl(region, LSHM_IOC_DUP, &d), &d.fd);
}

static int do_seal(void)
{
	struct lshm_ioc_seal s = {.size = sizeof(s)};

	return ioctl(region, LSHM_IOC_SEAL, &s);
}

static int do_wait(void)
{
	return wait_word(region, 0, 0, 1); /* long ago */
}

static int do_wake(void)
{
	return wake_word(region, 0, 1);
}

static int do_waitv(void)
{
	struct lshm_ioc_waiton words[3] = {
	    {.fd = -1}, {.offset = 8, .fd = -1}, {.offset = 16, .fd = region}};
	struct lshm_ioc_waitv w = {
	    .size = sizeof(w),
	    .words = (uintptr_t)words,
	    .count = 3,
	    .deadline = 1,
	};

	return ioctl(region, LSHM_IOC_WAITV, &w);
}

static int do_bind(void)
{
	struct lshm_ioc_bind b = {
	    .size = sizeof(b),
	    .flags = LSHM_IOC_BIND_WAKE,
	    .fd = event,
	};
	int ret = ioctl(region, LSHM_IOC_BIND, &b), failure = errno;

	b.flags |= LSHM_IOC_BIND_REMOVE;
	if (ret == 0)
		while (ioctl(region, LSHM_IOC_BIND, &b) < 0)
			;
	errno = failure;
	return ret;
}

static int do_peer(void)
{
	struct lshm_ioc_peer p = {.size = sizeof(p)};

	return ioctl(region, LSHM_IOC_PEER, &p);
}

static int do_label(void)
{
	struct lshm_ioc_label l = {
	    .size = sizeof(l), .label = (uintptr_t) "some label"};

	return ioctl(region, LSHM_IOC_LABEL, &l);
}

static int do_frames(void)
{
	uint64_t frames[4];
	struct lshm_ioc_frames f = {
	    .size = sizeof(f), .frames = (uintptr_t)frames, .count = 4};

	return ioctl(region, LSHM_IOC_FRAMES, &f);
}

static int do_read(void)
{
	char buffer[100];

	return (int)pread(region, buffer, sizeof(buffer), 10);
}

static int do_write(void)
{
	return (int)pwrite(region, "written", 7, (off_t)page - 3);
}

static int do_mmap(void)
{
	void *p = mmap(NULL, 4 * page, RW, MAP_SHARED, region, 0);

	if (p == MAP_FAILED)
		return -1;
	while (munmap(p, 4 * page) < 0) /* it needs memory, too */
		;
	return 0;
}

static sigjmp_buf back;

static void jump(int s)
{
	siglongjmp(back, s);
}

/* The first page that is touched of a block is not the block's first. */
static int do_touch(void)
{
	char *p = mmap(NULL, 2 * HUGE, RW, MAP_SHARED, lazy, 0);
	volatile char *block = (char *)(((uintptr_t)p + HUGE - 1) & -HUGE);
	int ret = 0;

	if (p == MAP_FAILED)
		return -1;
	if (sigsetjmp(back, 1) == 0)
		block[7 * page] = 1;
	else
		ret = -1;
	while (munmap(p, 2 * HUGE) < 0)
		;
	errno = EIO; /* whatever failed, the program need not know */
	return ret;
}

static int do_claim(void)
{
	void *p = claim(region, 3);

	if (p == MAP_FAILED)
		return -1;
	while (munmap(p, page) < 0)
		;
	return 0;
}

static int do_open_device(void)
{
	int fd = open(LSHM_IOC_DEVICE, O_RDWR | O_CLOEXEC);

	return close_good(fd, &fd);
}

/* -- the sweep ------------------------------------------------------------- */

/* What a failed step may look like to who calls. */
static bool said(int error)
{
	return error == ENOMEM || error == EFAULT || error == ENFILE ||
	       error == EAGAIN;
}

static void sweep(int (*call)(void), int otherwise)
{
	unsigned int nth = 0, failures = 0, beyond = 0;
	bool reached;
	int ret, error;

	do {
		inject(++nth);
		errno = 0;
		ret = call();
		error = errno;
		reached = injected();
		if (ret < 0 && error != otherwise) {
			failures++;
			if (!reached || !said(error))
				printf(
				    "# %s at step %u\n", strerror(error), nth);
			CHECK(reached && said(error));
		}
		beyond = reached ? 0 : beyond + 1;
		CHECK(nth < 100000);
	} while (beyond < BEYOND);
	printf("# %u steps, %u of them made it fail\n", nth - BEYOND, failures);
	CHECK(failures);
}

static void begin(void)
{
	struct lshm_ioc_create c = {
	    .map = LSHM_IOC_MAP_LAZY,
	    .length = 2 * HUGE,
	    .mode = 0600,
	    .node = -1,
	};

	region = make_named("fail", 4 * page, 0600);
	lazy = make_with(&c);
	event = eventfd(0, EFD_CLOEXEC);
	CHECK(region >= 0 && lazy >= 0 && event >= 0);
	signal(SIGBUS, jump);
}

#define SWEEP(name, otherwise)                   \
	static void fail_##name(void)            \
	{                                        \
		begin();                         \
		sweep(do_##name, otherwise);     \
		CHECK(unlink_name("fail") == 0); \
	}

SWEEP(info, 0)
SWEEP(create, 0)
SWEEP(create_large, 0)
SWEEP(create_contiguous, 0)
SWEEP(create_named, 0)
SWEEP(open, 0)
SWEEP(list, 0)
SWEEP(handles, 0)
SWEEP(stat, 0)
SWEEP(grow, 0)
SWEEP(dup, 0)
SWEEP(seal, 0)
SWEEP(wait, ETIMEDOUT)
SWEEP(wake, 0)
SWEEP(waitv, ETIMEDOUT)
SWEEP(bind, 0)
SWEEP(peer, 0)
SWEEP(label, 0)
SWEEP(frames, 0)
SWEEP(read, 0)
SWEEP(write, 0)
SWEEP(mmap, 0)
SWEEP(touch, 0)
SWEEP(claim, 0)
SWEEP(open_device, 0)

#define ROW(name)                          \
	{                                  \
		"fail_" #name, fail_##name \
	}

const struct test tests_fail[] = {
    ROW(info),
    ROW(create),
    ROW(create_large),
    ROW(create_contiguous),
    ROW(create_named),
    ROW(open),
    ROW(list),
    ROW(handles),
    ROW(stat),
    ROW(grow),
    ROW(dup),
    ROW(seal),
    ROW(wait),
    ROW(wake),
    ROW(waitv),
    ROW(bind),
    ROW(peer),
    ROW(label),
    ROW(frames),
    ROW(read),
    ROW(write),
    ROW(mmap),
    ROW(touch),
    ROW(claim),
    ROW(open_device),
    {0},
};
