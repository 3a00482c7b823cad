/* SPDX-License-Identifier: MIT */
/*
 * test_kernel.c - what the kernel backend has and others do not; the rest of
 * the tests runs on it, too
 */
#include "unit.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>

#define PARAMETERS "/sys/module/lshm/parameters/"

/* The same on all machines, wherever the module is not. */
UT_TEST(not_contiguous_elsewhere, UT_EACH)
{
	struct lshm_region *region;

	if (ut_backend->id == LSHM_BACKEND_KERNEL)
		ut_skip("it can be had");
	UT_ERR(-ENOTSUP,
	    lshm_region_open(&region, ut_new_name(),
		LSHM_CREATE | LSHM_CONTIGUOUS, UT_SMALL),
	    "contiguous", "kernel");
}

UT_TEST(by_environment, UT_KERNEL)
{
	const char *plain = strchr(ut_new_name(), ':') + 1;
	struct lshm_region *one, *two;

	UT_EQ(0, setenv("LSHM_BACKEND", "kernel", 1));
	UT_OK(lshm_region_open(&one, plain, LSHM_CREATE, UT_SMALL));
	UT_EQ(LSHM_BACKEND_KERNEL, ut_info(one).backend);
	UT_OK(lshm_region_open(&two, ut_name, 0, NULL));
	lshm_region_close(two);
	lshm_region_close(one);
	/* the first of several that is there; a prefix has the last word */
	UT_EQ(0, setenv("LSHM_BACKEND", "kernel,posix", 1));
	UT_OK(lshm_region_open(&one, plain, 0, NULL));
	lshm_region_close(one);
	UT_EQ(0, setenv("LSHM_BACKEND", "posix", 1));
	UT_ERR(-ENOENT, lshm_region_open(&one, plain, 0, NULL));
	UT_OK(lshm_region_open(&one, ut_name, 0, NULL));
	lshm_region_close(one);
}

UT_TEST(no_access_to_the_device, UT_KERNEL)
{
	struct lshm_region *region;
	struct stat st;

	UT_EQ(0, stat("/dev/lshm", &st));
	UT_EQ(0, chmod("/dev/lshm", 0600));
	UT_EQ(0, seteuid(12345));
	UT_ERR(-EACCES,
	    lshm_region_open(&region, ut_new_name(), LSHM_CREATE, UT_SMALL),
	    "/dev/lshm", "group");
	UT_EQ(0, setenv("LSHM_BACKEND", "kernel,memfd", 1));
	UT_OK(lshm_region_open(&region, "x", LSHM_CREATE, UT_SMALL));
	UT_EQ(LSHM_BACKEND_MEMFD, ut_info(region).backend);
	lshm_region_close(region);
	UT_EQ(0, seteuid(0));
	UT_EQ(0, chmod("/dev/lshm", st.st_mode & 07777));
}

UT_TEST(contiguous, UT_KERNEL)
{
	struct lshm_region *region;
	unsigned int flags = LSHM_CREATE | LSHM_CONTIGUOUS;

	UT_OK(lshm_region_open(&region, ut_new_name(), flags,
	    &(struct lshm_region_opts)LSHM_REGION_OPTS(.size = MIB)));
	UT_EQ(1, ut_info(region).runs);
	UT_EQ(MIB, ut_info(region).size);
	UT_ERR(-E2BIG, lshm_region_grow(region, 2 * MIB));
	lshm_region_close(region);
	UT_ERR(-EINVAL,
	    lshm_region_open(&region, ut_new_name(), flags, UT_SMALL),
	    "contiguous", "grow");
}

static bool readable_from_outside(struct lshm_region *region)
{
	char buffer[64];
	struct iovec local = {buffer, sizeof(buffer)};
	struct iovec remote = {lshm_region_base(region), sizeof(buffer)};

	return process_vm_readv(getpid(), &local, 1, &remote, 1, 0) ==
	       sizeof(buffer);
}

UT_TEST(pinnable, UT_KERNEL)
{
	struct lshm_region *region = ut_create(UT_SMALL);

	UT_TRUE(!readable_from_outside(region));
	lshm_region_close(region);
	UT_OK(lshm_region_open(
	    &region, ut_new_name(), LSHM_CREATE | LSHM_PINNABLE, UT_SMALL));
	UT_TRUE(readable_from_outside(region));
	lshm_region_close(region);
}

static long faults(void)
{
	struct rusage usage;

	UT_EQ(0, getrusage(RUSAGE_THREAD, &usage));
	return usage.ru_minflt + usage.ru_majflt;
}

/* After opening and after growing alike. */
UT_TEST(no_page_fault, UT_KERNEL)
{
	struct lshm_region *one = ut_create(UT_SMALL);
	struct lshm_region *two = ut_reopen(one, 0);
	volatile char *base = lshm_region_base(two);
	uint64_t sum = 0;
	long before;

	UT_OK(lshm_region_grow(one, 8 * MIB));
	UT_SOME(lshm_at(two, 7 * MIB, MIB));
	before = faults();
	for (uint64_t i = 0; i < 8 * MIB; i += 4096) {
		sum += base[i];
		if (i > MIB)
			base[i] = 1;
	}
	UT_EQ(before, faults());
	UT_CMP(sum, !=, 1);
	lshm_region_close(two);
	lshm_region_close(one);
}

/* An observer's memory, and its descriptor, cannot be made writable. */
UT_TEST(read_only_beyond_doubt, UT_KERNEL)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_region *observer = ut_reopen(region, LSHM_RDONLY);
	char path[64], byte = 0;
	struct stat st;
	int mem;

	UT_EQ(-1,
	    mprotect(lshm_region_base(observer), 4096, PROT_READ | PROT_WRITE));
	UT_EQ(EACCES, errno);
	mem = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	UT_EQ(-1, pwrite(mem, &byte, 1,
		      (off_t)(uintptr_t)lshm_region_base(observer)));
	close(mem);
	for (int fd = 3; fd < 32; fd++) {
		if (fstat(fd, &st) < 0 || st.st_ino != ut_info(observer).inode)
			continue;
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		UT_EQ(-1, open(path, O_RDWR | O_CLOEXEC));
	}
	lshm_region_close(observer);
	lshm_region_close(region);
}

/* Who is handed a region on may use it, not take it away from its owner. */
UT_TEST(received_cannot_revoke, UT_KERNEL)
{
	struct lshm_region *owner = ut_create(UT_SMALL), *other;
	int sockets[2];

	UT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
	UT_OK(lshm_region_send(owner, sockets[0], 0));
	UT_OK(lshm_region_receive(&other, sockets[1], 0, NULL));
	UT_SOME(lshm_alloc(other, 100));
	UT_OK(lshm_region_grow(other, 2 * MIB));
	UT_ERR(-EACCES, lshm_region_revoke(other, 0), "owner");
	close(sockets[0]);
	close(sockets[1]);
	lshm_region_close(other);
	lshm_region_close(owner);
}

/* Who was handed the region on by one who is revoked loses it, too. */
UT_TEST(revoked_with_its_sender, UT_KERNEL)
{
	struct lshm_region *owner = ut_create(UT_SMALL), *sender, *other;
	struct lshm_participant_info info;
	uint32_t slot = 0;
	int sockets[2];

	UT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
	UT_OK(lshm_region_open(&sender, ut_name, LSHM_GUARD, NULL));
	UT_OK(lshm_region_send(sender, sockets[0], 0));
	UT_OK(lshm_region_receive(&other, sockets[1], LSHM_GUARD, NULL));
	/* the owner has the first slot, the sender the next */
	UT_OK(lshm_region_participant(owner, ++slot, &info));
	UT_OK(lshm_region_revoke(owner, slot));
	UT_EQ(0, *(volatile char *)lshm_region_base(other));
	UT_NULL(lshm_alloc(other, 10), "revoked");
	UT_EQ(0, *(volatile char *)lshm_region_base(sender));
	UT_NULL(lshm_alloc(sender, 10), "revoked");
	UT_SOME(lshm_alloc(owner, 10));
	close(sockets[0]);
	close(sockets[1]);
	lshm_region_close(other);
	lshm_region_close(sender);
	lshm_region_close(owner);
}

/* What is wrong with it is said: the name, or something else. */
UT_TEST(what_is_invalid, UT_KERNEL)
{
	struct lshm_region_opts opts = LSHM_REGION_OPTS(.numa_node = 1000);
	struct lshm_region *region;

	UT_ERR(-EINVAL,
	    lshm_region_open(&region, "kernel:a\nb", LSHM_CREATE, NULL),
	    "control character 0xa", "byte 1");
	UT_ERR(-EINVAL, lshm_region_open(&region, "kernel:\x7f", 0, NULL),
	    "control character 0x7f", "byte 0");
	UT_ERR(-EINVAL, lshm_region_unlink("kernel:a\x1f", 0),
	    "control character 0x1f");
	UT_ERR(-EINVAL,
	    lshm_region_open(&region, ut_new_name(), LSHM_CREATE, &opts),
	    "NUMA node 999");
}

static void in_another_namespace(struct lshm_region *region, int fd, void *arg)
{
	UT_EQ(0, unshare(CLONE_NEWUSER));
	UT_OK(lshm_region_open(&region, ut_name, LSHM_CREATE, UT_SMALL));
	ut_say(fd, 0);
	ut_hear(fd);
	lshm_region_close(region);
	UT_OK(lshm_region_unlink(ut_name, 0));
}

static int count_name(const char *name, void *arg)
{
	*(int *)arg += strcmp(name, ut_name) == 0;
	return 0;
}

/* Names of another user namespace: root could not open them. */
UT_TEST(lists_what_can_be_opened, UT_KERNEL)
{
	struct lshm_region *region;
	struct ut_child child;
	int count = 0;

	ut_new_name();
	child = ut_spawn(NULL, 0, in_another_namespace, NULL);
	ut_hear(child.fd);
	UT_OK(lshm_region_list(count_name, &count));
	UT_EQ(0, count);
	UT_ERR(-ENOENT, lshm_region_open(&region, ut_name, 0, NULL));
	ut_say(child.fd, 0);
	ut_join(&child);
	region = ut_create(UT_SMALL);
	UT_OK(lshm_region_list(count_name, &count));
	UT_EQ(1, count);
	lshm_region_close(region);
}

static void set_parameter(const char *name, const char *value, char old[32])
{
	char path[128];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), PARAMETERS "%s", name);
	fd = open(path, O_RDWR | O_CLOEXEC);
	UT_TRUE(fd >= 0);
	if (old) {
		n = read(fd, old, 31);
		UT_CMP(n, >, 0);
		old[n] = '\0';
	}
	UT_EQ(strlen(value), pwrite(fd, value, strlen(value), 0));
	close(fd);
}

UT_TEST(limits, UT_KERNEL)
{
	const char *parameter = "max_region_mb";
	struct lshm_region *region;
	char old[32];

	set_parameter(parameter, "2", old);
	UT_ERR(-ENOSPC,
	    lshm_region_open(&region, ut_new_name(), LSHM_CREATE,
		&(struct lshm_region_opts)LSHM_REGION_OPTS(.size = 3 * MIB)),
	    "space", parameter);
	/* what is there goes on, within the limit */
	UT_OK(lshm_region_open(&region, ut_new_name(), LSHM_CREATE, UT_SMALL));
	UT_NULL(lshm_alloc(region, 4 * MIB), parameter);
	UT_SOME(lshm_alloc(region, 100));
	lshm_region_close(region);
	UT_OK(lshm_region_unlink(ut_name, LSHM_BACKEND_DEFAULT));
	set_parameter(parameter, old, NULL);
}
