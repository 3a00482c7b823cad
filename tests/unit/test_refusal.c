/* SPDX-License-Identifier: MIT */
/*
 * test_refusal.c - what lshm_region_open() refuses, and what it says then
 *
 * That is: for the name, the options, the caller's rights, or want of room. For
 * what it finds in a file see test_refusal_files.c. LSHM_TEST_VERBOSE=1 prints
 * every message.
 */
#include "unit.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define STRANGER 12345 /* a user id that nobody has */

/* ---- names, flags, options ---- */

static char *long_name(size_t length)
{
	static char name[6000];

	memset(name, 'n', length);
	name[length] = 0;
	return name;
}

UT_TEST(names, UT_ONCE)
{
	static const struct {
		const char *name;
		const char *word;
	} bad[] = {
	    {"", "empty"},
	    {"posix:", "empty"},
	    {"memfd:", "empty"},
	    {"file:", "empty"},
	    {"a/b", "slash"},
	    {"/a", "slash"},
	    {"posix:../a", "slash"},
	    {"memfd:a/b", "slash"},
	    {".", "name"},
	    {"..", "name"},
	    {"posix:.", "name"},
	};
	struct lshm_region *region = NULL;

	for (size_t i = 0; i < UT_COUNT(bad); i++) {
		UT_ERR(-EINVAL,
		    lshm_region_open(&region, bad[i].name, LSHM_CREATE, NULL),
		    bad[i].word);
		UT_PTR(NULL, region);
		if (strncmp(bad[i].name, "memfd:", 6) == 0)
			continue;
		UT_ERR(-EINVAL, lshm_region_open(&region, bad[i].name, 0, NULL),
		    bad[i].word);
		UT_ERR(-EINVAL,
		    lshm_region_unlink(bad[i].name, LSHM_BACKEND_DEFAULT),
		    bad[i].word);
	}
}

UT_TEST(name_too_long, UT_ONCE)
{
	char name[300] = "memfd:";
	struct lshm_region *region;

	UT_ERR(-ENAMETOOLONG,
	    lshm_region_open(&region, long_name(201), LSHM_CREATE, NULL), "200",
	    "201");
	UT_ERR(-ENAMETOOLONG,
	    lshm_region_open(&region, long_name(201), 0, NULL), "200", "201");
	UT_ERR(-ENAMETOOLONG,
	    lshm_region_unlink(long_name(5000), LSHM_BACKEND_DEFAULT), "200");
	strlcat(name, long_name(201), sizeof(name));
	UT_ERR(-ENAMETOOLONG,
	    lshm_region_open(&region, name, LSHM_CREATE, NULL), "200", "201");
	UT_ERR(-ENAMETOOLONG,
	    lshm_region_open(&region, long_name(5000), LSHM_CREATE,
		&(struct lshm_region_opts)
		    LSHM_REGION_OPTS(.backend = LSHM_BACKEND_FILE)),
	    "path");
	/* the longest there may be */
	UT_OK(lshm_region_open(&region, long_name(200), LSHM_CREATE, NULL));
	lshm_region_close(region);
	UT_OK(lshm_region_unlink(long_name(200), LSHM_BACKEND_POSIX));
}

UT_TEST(flags, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_region *none = NULL;

	UT_ERR(
	    -EINVAL, lshm_region_open(&none, ut_name, 1 << 20, NULL), "flag");
	UT_ERR(-EINVAL, ut_try_reopen(&none, region, 1 << 20, NULL), "flag");
	UT_PTR(NULL, none);
	lshm_region_close(region);
}

UT_TEST(options, UT_EACH)
{
	static const struct {
		struct lshm_region_opts opts;
		const char *word;
	} bad[] = {
	    {LSHM_REGION_OPTS(.max_participants = 4096), "4095"},
	    {LSHM_REGION_OPTS(.size = 2 * MIB, .max_size = MIB), "max_size"},
	    {LSHM_REGION_OPTS(.mode = 010000), "mode"},
	    {LSHM_REGION_OPTS(.size = MIB, .max_participants = 4095), "size"},
	    {{.opts_size = 0}, "opts_size"},
	};
	struct lshm_region *region = NULL;

	for (size_t i = 0; i < UT_COUNT(bad); i++) {
		UT_ERR(-EINVAL,
		    lshm_region_open(
			&region, ut_new_name(), LSHM_CREATE, &bad[i].opts),
		    bad[i].word);
		UT_PTR(NULL, region);
	}
}

UT_TEST(backends, UT_ONCE)
{
	struct lshm_region_opts opts = LSHM_REGION_OPTS(.backend = 99);
	struct lshm_region *region;

	UT_ERR(-EINVAL, lshm_region_open(&region, "a", LSHM_CREATE, &opts),
	    "backend", "99");
	UT_ERR(-EINVAL, lshm_region_unlink("a", 99), "backend", "99");
	opts.backend = LSHM_BACKEND_FILE;
	UT_ERR(-EINVAL,
	    lshm_region_open(&region, "posix:a", LSHM_CREATE, &opts), "posix");
}

UT_TEST(no_kernel_module, UT_ONCE)
{
	struct lshm_region_opts opts =
	    LSHM_REGION_OPTS(.backend = LSHM_BACKEND_KERNEL);
	struct lshm_region *region;

	if (access("/dev/lshm", F_OK) == 0)
		ut_skip("there is one");
	UT_ERR(-ENOTSUP, lshm_region_open(&region, "a", LSHM_CREATE, &opts),
	    "kernel");
	UT_ERR(-ENOTSUP, lshm_region_open(&region, "a", 0, &opts), "kernel");
	UT_ERR(
	    -ENOTSUP, lshm_region_open(&region, "kernel:a", 0, NULL), "kernel");
	UT_ERR(
	    -ENOTSUP, lshm_region_unlink("a", LSHM_BACKEND_KERNEL), "kernel");
	/* by the environment too; another one only if that says so */
	UT_EQ(0, setenv("LSHM_BACKEND", "kernel", 1));
	UT_ERR(-ENOTSUP, lshm_region_open(&region, "a", LSHM_CREATE, NULL),
	    "kernel");
	UT_EQ(0, setenv("LSHM_BACKEND", "posix,kernel", 1));
	UT_ERR(-ENOENT, lshm_region_open(&region, "a", 0, NULL), "\"a\"");
	UT_EQ(0, setenv("LSHM_BACKEND", "kernel,memfd", 1));
	UT_OK(lshm_region_open(&region, "a", LSHM_CREATE, UT_SMALL));
	lshm_region_close(region);
	UT_EQ(0, setenv("LSHM_BACKEND", "kernel,floppy", 1));
	UT_ERR(-EINVAL, lshm_region_open(&region, "a", 0, NULL), "floppy");
}

UT_TEST(memfd_has_no_name, UT_ONCE)
{
	struct lshm_region *region;

	UT_ERR(-ENOENT, lshm_region_open(&region, "memfd:a", 0, NULL), "memfd",
	    "lshm_region_receive");
	UT_ERR(-ENOTSUP, lshm_region_unlink("memfd:a", LSHM_BACKEND_DEFAULT),
	    "memfd");
	UT_ERR(-ENOTSUP, lshm_region_unlink("a", LSHM_BACKEND_MEMFD), "memfd");
}

/* A region's name without its prefix: what every message is to contain. */
static const char *rest(void)
{
	return strchr(ut_name, ':') + 1;
}

UT_TEST(no_such_region, UT_NAMED)
{
	struct lshm_region *region;

	ut_new_name();
	UT_ERR(-ENOENT, lshm_region_open(&region, ut_name, 0, NULL), rest());
	UT_ERR(-ENOENT, lshm_region_open(&region, ut_name, LSHM_RDONLY, NULL),
	    rest());
	UT_ERR(
	    -ENOENT, lshm_region_unlink(ut_name, LSHM_BACKEND_DEFAULT), rest());
}

UT_TEST(exists_already, UT_NAMED)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_region *none;

	UT_ERR(-EEXIST,
	    lshm_region_open(&none, ut_name, LSHM_CREATE | LSHM_EXCL, NULL),
	    rest(), "already");
	lshm_region_close(region);
}

UT_TEST(no_such_directory, UT_ONCE)
{
	struct lshm_region *region;

	UT_ERR(-ENOENT,
	    lshm_region_open(
		&region, "file:/no/such/directory/region", LSHM_CREATE, NULL),
	    "/no/such/directory/region");
}

/* ---- who may ---- */

static void need_root(void)
{
	if (geteuid() != 0)
		ut_skip("only root can be somebody else");
}

static void become(uid_t user)
{
	UT_EQ(0, setgid(user));
	UT_EQ(0, setuid(user));
}

struct attempt {
	uid_t user;
	unsigned int flags;
	int expected;
};

static void attempt_body(struct lshm_region *none, int fd, void *arg)
{
	const struct attempt *attempt = arg;
	struct lshm_region *region;

	become(attempt->user);
	for (; attempt->user; attempt++) {
		int ret =
		    lshm_region_open(&region, ut_name, attempt->flags, NULL);

		if (attempt->expected == -EACCES) {
			UT_ERR(-EACCES, ret, rest(), "permission");
		} else if (attempt->expected) {
			UT_ERR(-EPERM, ret, "12346", "LSHM_ANY_OWNER");
		} else {
			UT_OK(ret);
			lshm_region_close(region);
		}
	}
}

static void attempts(mode_t mode, uid_t owner, struct attempt *list)
{
	struct lshm_region *region;
	struct ut_child child;

	need_root();
	umask(0);
	UT_EQ(0, chmod(ut_dir(), 0711));
	if (!ut_backend->files) /* it stays its creator's */
		UT_EQ(0, seteuid(owner));
	region =
	    ut_create(&(struct lshm_region_opts)LSHM_REGION_OPTS(.mode = mode));
	if (ut_backend->files)
		UT_EQ(0, chown(ut_path(ut_name), owner, owner));
	UT_EQ(0, seteuid(0));
	child = ut_spawn(NULL, 0, attempt_body, list);
	ut_join(&child);
	UT_EQ(0, chmod(ut_dir(), 0700));
	lshm_region_close(region);
}

UT_TEST(no_permission, UT_NAMED)
{
	attempts(0600, 0,
	    (struct attempt[]){{STRANGER, 0, -EACCES},
		{STRANGER, LSHM_RDONLY, -EACCES},
		{STRANGER, LSHM_CREATE, -EACCES}, {0}});
}

UT_TEST(permission_to_read_only, UT_NAMED)
{
	attempts(0644, 0,
	    (struct attempt[]){
		{STRANGER, 0, -EACCES}, {STRANGER, LSHM_RDONLY, 0}, {0}});
}

/* Regions of root are trusted, those of third parties are not. */
UT_TEST(region_of_root, UT_NAMED)
{
	attempts(0666, 0,
	    (struct attempt[]){
		{STRANGER, 0, 0}, {STRANGER, LSHM_RDONLY, 0}, {0}});
}

UT_TEST(region_of_a_third_party, UT_NAMED)
{
	attempts(0666, STRANGER + 1,
	    (struct attempt[]){{STRANGER, 0, -EPERM},
		{STRANGER, LSHM_RDONLY, -EPERM}, {STRANGER, LSHM_ANY_OWNER, 0},
		{0}});
}

UT_TEST(descriptor_without_the_right, UT_NAMED)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_region *other;
	int fd = ut_open_backing(ut_name, O_RDONLY);

	/* root may open a file for writing all the same */
	if (geteuid() != 0 || !ut_backend->files)
		UT_ERR(-EACCES, lshm_region_open_fd(&other, fd, 0, NULL));
	UT_OK(lshm_region_open_fd(&other, fd, LSHM_RDONLY, NULL));
	lshm_region_close(other);
	close(fd);
	lshm_region_close(region);
}

static void locks_body(struct lshm_region *none, int fd, void *arg)
{
	struct rlimit limit = {64 * KIB, 64 * KIB};
	struct lshm_region *region;

	become(STRANGER);
	UT_EQ(0, setrlimit(RLIMIT_MEMLOCK, &limit));
	if (ut_backend->id == LSHM_BACKEND_KERNEL) { /* it has its own */
		UT_OK(lshm_region_open(
		    &region, ut_new_name(), LSHM_CREATE | LSHM_LOCK, UT_SMALL));
		lshm_region_close(region);
		return;
	}
	UT_ERR(-ENOMEM,
	    lshm_region_open(
		&region, ut_new_name(), LSHM_CREATE | LSHM_LOCK, UT_SMALL),
	    "lock", "limit");
	if (ut_backend->named)
		UT_TRUE(!ut_exists(ut_name));
}

UT_TEST(memory_lock_limit, UT_EACH)
{
	struct ut_child child;

	if (UT_NO_MLOCK)
		ut_skip("this sanitizer makes mlock() do nothing");
	need_root();
	UT_EQ(0, chmod(ut_dir(), 0777));
	child = ut_spawn(NULL, 0, locks_body, NULL);
	ut_join(&child);
	UT_EQ(0, chmod(ut_dir(), 0700));
}

/* ---- no room ---- */

/* Cover the place where this backend keeps its files by another file system. */
static const char *mount_private(const char *type, const char *options)
{
	const char *where =
	    ut_backend->id == LSHM_BACKEND_POSIX ? "/dev/shm" : ut_dir();

	need_root();
	if (!ut_backend->files)
		ut_skip("its memory is in no file system");
	if (unshare(CLONE_NEWNS) < 0 ||
	    mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("ut", where, type, 0, options) < 0)
		ut_skip("cannot mount a %s of my own: %m", type);
	return where;
}

static uint64_t free_bytes(const char *where)
{
	struct statvfs fs;

	UT_EQ(0, statvfs(where, &fs));
	return fs.f_bfree * fs.f_frsize;
}

static unsigned int count_files(const char *where)
{
	DIR *dir = opendir(where);
	unsigned int n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n - 2;
}

UT_TEST(no_space_left, UT_NAMED)
{
	const char *where = mount_private("tmpfs", "size=4m");
	uint64_t before = free_bytes(where);
	struct lshm_region *region;

	UT_ERR(-ENOSPC,
	    lshm_region_open(&region, ut_new_name(), LSHM_CREATE,
		&(struct lshm_region_opts)LSHM_REGION_OPTS(.size = 5 * MIB)),
	    "space", "5242880");
	UT_EQ(0, count_files(where));
	UT_EQ(before, free_bytes(where));
	UT_OK(lshm_region_open(&region, ut_name, LSHM_CREATE,
	    &(struct lshm_region_opts)LSHM_REGION_OPTS(.size = 3 * MIB)));
	lshm_region_close(region);
	UT_EQ(1, count_files(where));
}

/* Growing there fails likewise, and everything is as it was. */
UT_TEST(no_space_left_to_grow, UT_NAMED)
{
	const char *where = mount_private("tmpfs", "size=4m");
	struct lshm_region_info info;
	struct lshm_region *region = ut_create(UT_SMALL);
	void *block;

	UT_ERR(-ENOSPC, lshm_region_grow(region, 8 * MIB), "space");
	UT_OK(lshm_region_stat(region, &info));
	UT_EQ(1 * MIB, info.size);
	UT_NULL(lshm_alloc(region, 8 * MIB), "space");
	UT_SOME(block = lshm_alloc(region, 1000));
	memset(block, 1, 1000);
	UT_OK(lshm_region_grow(region, 2 * MIB));
	UT_EQ(0, mount("none", where, "tmpfs", MS_REMOUNT, "size=16m"));
	UT_OK(lshm_region_grow(region, 8 * MIB));
	UT_SOME(lshm_alloc(region, 5 * MIB));
	lshm_region_close(region);
}

UT_TEST(more_than_there_is, UT_ONCE)
{
	struct lshm_region *region;
	struct statvfs fs;
	uint64_t size;

	UT_EQ(0, statvfs("/dev/shm", &fs));
	if (fs.f_blocks == 0)
		ut_skip("/dev/shm has no limit");
	size = (fs.f_blocks + 1024) * fs.f_frsize;
	UT_ERR(-ENOSPC,
	    lshm_region_open(&region, ut_new_name(), LSHM_CREATE,
		&(struct lshm_region_opts)LSHM_REGION_OPTS(.size = size)),
	    "space");
	UT_TRUE(!ut_exists(ut_name));
}

UT_TEST(file_system_without_fallocate, UT_NAMED)
{
	const char *where = mount_private("ramfs", NULL);
	struct lshm_region *region;

	UT_ERR(-ENOTSUP,
	    lshm_region_open(&region, ut_new_name(), LSHM_CREATE, UT_SMALL),
	    "file system", "fallocate");
	UT_EQ(0, count_files(where));
}

UT_TEST(no_regions_in_proc, UT_ONCE)
{
	struct lshm_region *region;

	UT_TRUE(lshm_region_open(
		    &region, "file:/proc/region", LSHM_CREATE, NULL) < 0);
	UT_TRUE(strstr(lshm_error(), "/proc/region"));
	UT_ERR(-EBADMSG,
	    lshm_region_open(&region, "file:/proc/version", LSHM_RDONLY, NULL),
	    "not a libshm region");
}

UT_TEST(no_address_space_anywhere, UT_EACH)
{
	static const uint64_t sizes[] = {UINT64_C(1) << 50, UINT64_C(1) << 63,
	    UINT64_MAX - 65535, UINT64_MAX};
	struct lshm_region *region;

	for (size_t i = 0; i < UT_COUNT(sizes); i++) {
		UT_ERR(-ENOMEM,
		    lshm_region_open(&region, ut_new_name(), LSHM_CREATE,
			&(struct lshm_region_opts)
			    LSHM_REGION_OPTS(.max_size = sizes[i])),
		    "address space");
		UT_ERR(-ENOMEM,
		    lshm_region_open(&region, ut_new_name(), LSHM_CREATE,
			&(struct lshm_region_opts)
			    LSHM_REGION_OPTS(.size = sizes[i])),
		    "address space");
	}
}

/* This process may not have more address space than it has now, or a bit. */
static void limit_address_space(void)
{
	FILE *statm = fopen("/proc/self/statm", "r");
	struct rlimit limit;
	unsigned long pages;

	UT_EQ(1, fscanf(statm, "%lu", &pages));
	fclose(statm);
	limit.rlim_cur = pages * (rlim_t)sysconf(_SC_PAGESIZE) + 64 * MIB;
	limit.rlim_max = limit.rlim_cur;
	UT_EQ(0, setrlimit(RLIMIT_AS, &limit));
}

UT_TEST(no_address_space, UT_EACH)
{
	struct lshm_region *one =
	    ut_create(&(struct lshm_region_opts)LSHM_REGION_OPTS(.size = MIB,
		.max_size = 512 * MIB));
	struct lshm_region *two;

	limit_address_space();
	UT_ERR(-ENOMEM, ut_try_reopen(&two, one, 0, NULL), "address space",
	    "536870912");
	UT_ERR(-ENOMEM,
	    lshm_region_open(&two, ut_new_name(), LSHM_CREATE, NULL),
	    "address space");
	if (ut_backend->named)
		UT_TRUE(!ut_exists(ut_name));
	lshm_region_close(one);
}
