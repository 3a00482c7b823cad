/* SPDX-License-Identifier: MIT */
/*
 * test_region_memory.c - memory as asked for: locked, prefaulted, of huge
 * pages, of one node; what cannot be had is said
 */
#include "unit.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* Open with this flag; NULL and a message if the machine does not allow it. */
static struct lshm_region *try_flag(unsigned int flag, int allowed)
{
	struct lshm_region *region;
	int ret = lshm_region_open(&region, ut_new_name(), LSHM_CREATE | flag,
	    &(struct lshm_region_opts)LSHM_REGION_OPTS(.size = 4 * MIB,
		.max_size = 8 * MIB));

	if (!ret)
		return region;
	UT_EQ(allowed, ret);
	UT_TRUE(lshm_error()[0]);
	ut_skip("%s", lshm_error());
}

UT_TEST(locked_in_memory, UT_EACH)
{
	struct lshm_region *region;

	if (UT_NO_MLOCK)
		ut_skip("this sanitizer makes mlock() do nothing");
	region = try_flag(LSHM_LOCK, -ENOMEM);
	UT_EQ(4 * MIB, ut_info(region).locked_bytes);
	UT_OK(lshm_region_grow(region, 6 * MIB));
	UT_SOME(lshm_at(region, 5 * MIB, MIB));
	UT_CMP(ut_info(region).locked_bytes, >=, 4 * MIB);
	lshm_region_close(region);
}

UT_TEST(prefaulted, UT_EACH)
{
	struct lshm_region *region = try_flag(LSHM_PREFAULT, -ENOMEM);
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	unsigned char core[4 * MIB / 4096];

	if (ut_backend->id == LSHM_BACKEND_KERNEL)
		ut_skip("mincore(2) cannot see into it");
	UT_EQ(0, mincore(lshm_region_base(region), 4 * MIB, core));
	for (size_t i = 0; i < 4 * MIB / page; i++)
		UT_EQ(1, core[i] & 1);
	lshm_region_close(region);
}

/* It works with huge pages or without them, and the figure is true. */
UT_TEST(huge_pages_reported, UT_EACH)
{
	struct lshm_region *region = try_flag(LSHM_HUGE, -ENOMEM);
	struct lshm_region_info info;
	void *block;

	UT_SOME(block = lshm_alloc(region, MIB));
	memset(block, 1, MIB);
	info = ut_info(region);
	UT_CMP(info.huge_bytes, <=, info.size);
	UT_EQ(0, info.huge_bytes % (64 * KIB));
	UT_EQ(0, info.size % info.granule);
	lshm_region_close(region);
}

/* Mount something on a directory that only this test's process sees. */
static const char *mount_here(const char *type, const char *options)
{
	static char path[200];

	if (geteuid() != 0)
		ut_skip("only root may mount");
	snprintf(path, sizeof(path), "%s/mnt", ut_dir());
	UT_EQ(0, mkdir(path, 0700));
	if (unshare(CLONE_NEWNS) < 0 ||
	    mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("none", path, type, 0, options) < 0) {
		int error = errno;

		rmdir(path);
		ut_skip("cannot mount a %s with %s: %s", type, options,
		    strerror(error));
	}
	return path;
}

static void unmount(const char *path)
{
	UT_EQ(0, umount(path));
	UT_EQ(0, rmdir(path));
}

/* A tmpfs mounted with huge pages has them, and grows by them. */
UT_TEST(huge_pages_of_tmpfs, UT_ONCE)
{
	const char *path = mount_here("tmpfs", "huge=always,size=32m");
	struct lshm_region *region;
	struct lshm_region_info info;
	char name[256], *block;

	snprintf(name, sizeof(name), "file:%s/region", path);
	UT_OK(lshm_region_open(&region, name,
	    LSHM_CREATE | LSHM_HUGE | LSHM_PREFAULT,
	    &(struct lshm_region_opts)LSHM_REGION_OPTS(.size = 4 * MIB,
		.max_size = 16 * MIB)));
	info = ut_info(region);
	UT_EQ(4 * MIB, info.huge_bytes);
	UT_OK(lshm_region_grow(region, 8 * MIB));
	UT_SOME(block = lshm_alloc(region, 5 * MIB));
	memset(block, 1, 5 * MIB);
	info = ut_info(region);
	UT_EQ(8 * MIB, info.size);
	UT_EQ(8 * MIB, info.huge_bytes);
	lshm_region_close(region);
	UT_OK(lshm_region_unlink(name, LSHM_BACKEND_DEFAULT));
	unmount(path);
}

#define NR_HUGEPAGES "/proc/sys/vm/nr_hugepages"

static long read_huge_pages(void)
{
	FILE *file = fopen(NR_HUGEPAGES, "re");
	long n = -1;

	if (file && fscanf(file, "%ld", &n) != 1)
		n = -1;
	if (file)
		fclose(file);
	return n;
}

static void set_huge_pages(long n)
{
	FILE *file = fopen(NR_HUGEPAGES, "we");

	if (!file)
		return;
	fprintf(file, "%ld\n", n);
	fclose(file);
}

static bool huge_page_is_2_mib(void)
{
	FILE *file = fopen("/proc/meminfo", "re");
	char line[128];
	long kb = 0;

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "Hugepagesize: %ld kB", &kb) == 1)
			break;
	if (file)
		fclose(file);
	return kb == 2048;
}

/*
 * Ask for so many more pages, under a lock against others who do. They go back
 * when the descriptor returned, and all copies of it, are closed: a process
 * outside the test's group, *guard, sees to that even if the test is killed.
 */
static int more_huge_pages(long more, pid_t *guard)
{
	int file = open(NR_HUGEPAGES, O_RDONLY | O_CLOEXEC), ends[2];
	long before, got;
	char byte;

	if (file < 0 || flock(file, LOCK_EX) < 0)
		ut_skip(NR_HUGEPAGES ": %m");
	before = read_huge_pages();
	UT_EQ(0, pipe2(ends, O_CLOEXEC));
	*guard = fork();
	UT_TRUE(*guard >= 0);
	if (*guard == 0) {
		setsid();
		signal(SIGALRM, SIG_IGN);
		close(ends[1]);
		while (read(ends[0], &byte, 1) < 0 && errno == EINTR)
			;
		set_huge_pages(before);
		_exit(read_huge_pages() != before);
	}
	close(ends[0]);
	close(file);
	set_huge_pages(before + more);
	got = read_huge_pages();
	if (got < before + more)
		ut_skip("%ld huge pages were asked for, %ld came: " NR_HUGEPAGES
			" may not be written, or memory is in pieces",
		    before + more, got);
	return ends[1];
}

/* A file in a hugetlbfs: every page of it is huge. */
UT_TEST(huge_pages_of_hugetlbfs, UT_ONCE)
{
	struct lshm_region *region, *again;
	struct lshm_region_info info;
	char name[256], *block, *seen;
	const char *path;
	void *base;
	int pages, status;
	pid_t guard;

	if (!huge_page_is_2_mib())
		ut_skip("this kernel has no huge pages of 2 MiB");
	path = mount_here("hugetlbfs", "pagesize=2M");
	pages = more_huge_pages(6, &guard);
	snprintf(name, sizeof(name), "file:%s/region", path);
	UT_OK(lshm_region_open(&region, name, LSHM_CREATE | LSHM_HUGE,
	    &(struct lshm_region_opts)LSHM_REGION_OPTS(.size = 8 * MIB,
		.max_size = 16 * MIB)));
	UT_OK(lshm_region_open(&again, name, 0, NULL));
	info = ut_info(region);
	UT_EQ(2 * MIB, info.granule);
	UT_EQ(2 * MIB, info.page_size);
	UT_EQ(8 * MIB, info.size);
	base = lshm_region_base(region);
	UT_SOME(block = lshm_alloc(region, 6 * MIB));
	memset(block, 0x5a, 6 * MIB);
	UT_SOME(seen = lshm_at(again, lshm_offset(region, block), 6 * MIB));
	UT_TRUE(seen != block);
	UT_EQ(0, memcmp(seen, block, 6 * MIB));
	UT_OK(lshm_region_grow(region, 9 * MIB));
	UT_SOME(seen = lshm_at(region, 10 * MIB - 1, 1));
	*seen = 7;
	UT_SOME(seen = lshm_at(again, 10 * MIB - 1, 1));
	UT_EQ(7, *seen);
	UT_PTR(base, lshm_region_base(region));
	for (uint64_t i = 0; i < 10 * MIB; i += 2 * MIB)
		(void)*(volatile char *)lshm_at(region, i + 1, 1);
	info = ut_info(region);
	UT_EQ(10 * MIB, info.size);
	UT_EQ(info.size, info.huge_bytes);
	UT_OK(lshm_free(region, block));
	lshm_region_close(again);
	lshm_region_close(region);
	UT_OK(lshm_region_unlink(name, LSHM_BACKEND_DEFAULT));
	unmount(path);
	close(pages);
	UT_EQ(guard, waitpid(guard, &status, 0));
	UT_EQ(0, status); /* there are as many as before */
}

UT_TEST(numa_node, UT_EACH)
{
	struct lshm_region_opts opts =
	    LSHM_REGION_OPTS(.size = MIB, .numa_node = 1);
	struct lshm_region *region;
	int ret = lshm_region_open(&region, ut_new_name(), LSHM_CREATE, &opts);

	if (ret) { /* a kernel or sandbox without mbind(2) */
		UT_TRUE(strcasestr(lshm_error(), "numa"));
		ut_skip("%s", lshm_error());
	}
	UT_SOME(lshm_alloc(region, 1000));
	lshm_region_close(region);
	opts.numa_node = 1 + 1000000;
	UT_ERR(-EINVAL,
	    lshm_region_open(&region, ut_new_name(), LSHM_CREATE, &opts),
	    "numa");
}
