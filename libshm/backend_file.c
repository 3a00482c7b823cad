/* SPDX-License-Identifier: MIT */
/*
 * backend_file.c - regions in a file with a path, and what all backends that
 * keep an open file have in common
 *
 * A new file is made nameless (O_TMPFILE) and linked to its name when it is
 * complete. Where the file system cannot do that it gets a private name first,
 * PATH.lshm-PID-N; one left by a dead creator is removed by the next.
 */
#include <dirent.h>
#include <fcntl.h>
#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <bsd/string.h>

#include "internal.h"

#define HUGETLBFS 0x958458f6

static int fail_path(int error, const char *what, const char *path)
{
	return lshmi_fail(error, "%s %s: %s", what, path, strerror(error));
}

/* Learn what a file is; the store takes the descriptor over. */
int lshmi_file_adopt(struct lshmi_store *s, int fd)
{
	struct stat st;
	struct statfs fs;

	if (fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0)
		return lshmi_fail(
		    errno, "descriptor %d: %s", fd, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return lshmi_fail(EBADMSG,
		    "not a libshm region: expected a regular file, found %s",
		    S_ISDIR(st.st_mode) ? "a directory" : "something else");
	s->fd = fd;
	s->device = st.st_dev;
	s->inode = st.st_ino;
	s->overmap = (unsigned long)fs.f_type != HUGETLBFS;
	s->page_size =
	    s->overmap ? (uint64_t)sysconf(_SC_PAGESIZE) : (uint64_t)fs.f_bsize;
	return 0;
}

/* Remove what creators that died here have left. */
static void remove_left(const char *path)
{
	char dir[PATH_MAX], base[PATH_MAX], full[PATH_MAX + 256];
	char *dname, *bname;
	DIR *d;
	struct dirent *e;

	strlcpy(dir, path, sizeof(dir));
	strlcpy(base, path, sizeof(base));
	dname = dirname(dir);
	bname = basename(base);
	d = opendir(dname);
	if (!d)
		return;
	while ((e = readdir(d))) {
		size_t n = strlen(bname);
		int pid;

		if (strncmp(e->d_name, bname, n) != 0 ||
		    sscanf(e->d_name + n, ".lshm-%d-", &pid) != 1)
			continue;
		if (kill(pid, 0) < 0 && errno == ESRCH) {
			snprintf(full, sizeof(full), "%s/%s", dname, e->d_name);
			unlink(full);
		}
	}
	closedir(d);
}

int lshmi_file_create(
    struct lshmi_store *s, const char *path, mode_t mode, unsigned int flags)
{
	static uint32_t number;
	char copy[PATH_MAX];
	int fd, ret;

	if (strlcpy(s->path, path, sizeof(s->path)) >= sizeof(s->path) ||
	    strlcpy(copy, path, sizeof(copy)) >= sizeof(copy) - 64)
		return lshmi_fail(ENAMETOOLONG, "the path is too long");
	s->writable = true;
	fd = open(dirname(copy), O_TMPFILE | O_RDWR | O_CLOEXEC, mode);
	if (fd < 0 && errno != EOPNOTSUPP && errno != EISDIR &&
	    errno != EINVAL && errno != ENOENT)
		return fail_path(errno, "cannot create", path);
	if (fd >= 0 && access("/proc/self/fd", X_OK) < 0) {
		close(fd); /* it could not be linked */
		fd = -1;
	}
	if (fd < 0) {
		remove_left(path);
		snprintf(s->temporary, sizeof(s->temporary), "%.*s.lshm-%d-%u",
		    PATH_MAX - 64, path, (int)getpid(),
		    lshmi_fetch_add(&number, 1));
		fd = open(
		    s->temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode);
		if (fd < 0)
			return fail_path(errno, "cannot create", path);
		s->linked = true;
	}
	ret = lshmi_file_adopt(s, fd);
	if (ret < 0) {
		close(fd);
		if (s->linked)
			unlink(s->temporary);
	}
	return ret;
}

int lshmi_file_reveal(struct lshmi_store *s)
{
	char self[64];

	if (s->linked) {
		if (renameat2(AT_FDCWD, s->temporary, AT_FDCWD, s->path,
			RENAME_NOREPLACE) < 0) {
			/* not every file system can */
			if (errno != EINVAL || link(s->temporary, s->path) < 0)
				return fail_path(errno, "cannot name", s->path);
			unlink(s->temporary);
		}
		s->linked = false;
		return 0;
	}
	snprintf(self, sizeof(self), "/proc/self/fd/%d", s->fd);
	if (linkat(AT_FDCWD, self, AT_FDCWD, s->path, AT_SYMLINK_FOLLOW) < 0)
		return fail_path(errno, "cannot name", s->path);
	return 0;
}

int lshmi_file_open(struct lshmi_store *s, const char *path, bool writable)
{
	int fd, ret;

	if (strlcpy(s->path, path, sizeof(s->path)) >= sizeof(s->path))
		return lshmi_fail(ENAMETOOLONG, "the path is too long");
	s->writable = writable;
	fd = open(path,
	    (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0 && errno == EISDIR)
		return lshmi_fail(
		    EBADMSG, "not a libshm region: %s is a directory", path);
	if (fd < 0)
		return fail_path(errno, "cannot open", path);
	ret = lshmi_file_adopt(s, fd);
	if (ret < 0)
		close(fd);
	return ret;
}

/* The program may have closed the descriptor, and its number be reused. */
static int check_ours(const struct lshmi_store *s)
{
	struct stat st;

	if (fstat(s->fd, &st) == 0 && st.st_dev == s->device &&
	    st.st_ino == s->inode)
		return 0;
	return lshmi_fail(
	    EBADF, "the region's descriptor was closed by this program");
}

int lshmi_file_inspect(struct lshmi_store *s, struct lshmi_backing *b)
{
	struct stat st;
	int ret = check_ours(s);

	if (ret < 0)
		return ret;
	if (fstat(s->fd, &st) < 0)
		return lshmi_fail(errno, "fstat: %s", strerror(errno));
	b->size = (uint64_t)st.st_size;
	b->uid = st.st_uid;
	b->gid = st.st_gid;
	b->mode = st.st_mode & 07777;
	b->runs = 0;
	return 0;
}

ssize_t lshmi_file_read(struct lshmi_store *s, void *to, size_t size)
{
	ssize_t n = pread(s->fd, to, size, 0);

	return n < 0 ? lshmi_fail(errno, "cannot read the region's header: %s",
			   strerror(errno))
		     : n;
}

bool lshmi_file_current(const struct lshmi_store *s)
{
	struct stat st;

	if (s->nameless)
		return true;
	return stat(s->path, &st) == 0 && st.st_dev == s->device &&
	       st.st_ino == s->inode;
}

/*
 * The descriptor may have been closed behind our back, and its number be
 * somebody else's by now: close it only if it still is ours.
 */
void lshmi_file_close(struct lshmi_store *s)
{
	struct stat st;
	int ret = -1;

	if (s->linked)
		unlink(s->temporary);
	s->linked = false;
	for (int i = 0; i < LSHMI_NOMEM_RETRIES && s->fd >= 0; i++) {
		ret = fstat(s->fd, &st);
		if (ret == 0 || errno == EBADF)
			break;
	}
	if (ret == 0 && st.st_dev == s->device && st.st_ino == s->inode)
		close(s->fd);
	s->fd = -1;
}

int lshmi_file_unlink(const char *path)
{
	if (unlink(path) < 0)
		return fail_path(errno, "cannot remove", path);
	return 0;
}

/*
 * fallocate(2) and never ftruncate(2): a slow grower must not shrink what a
 * faster one has made. And never posix_fallocate(3), whose emulation writes.
 */
int lshmi_file_extend(struct lshmi_store *s, uint64_t from, uint64_t to)
{
	struct statfs fs;
	int ret = check_ours(s);
	LSHMI_UNCANCELLED;

	if (ret < 0)
		return ret;
	do
		ret = fallocate(s->fd, 0, (off_t)from, (off_t)(to - from));
	while (ret < 0 && errno == EINTR);
	if (ret == 0)
		return 0;
	if (errno == ENOSPC || errno == ENOMEM) {
		uint64_t left = 0;

		if (fstatfs(s->fd, &fs) == 0)
			left = (uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize;
		return lshmi_fail(ENOSPC,
		    "no space left to reserve %llu bytes: %llu are free on the "
		    "file system; make the region smaller, or the file system "
		    "larger (mount -o remount,size=...)",
		    (unsigned long long)(to - from), (unsigned long long)left);
	}
	if (errno == EOPNOTSUPP || errno == ENOSYS)
		return lshmi_fail(ENOTSUP,
		    "the file system cannot reserve memory (fallocate(2)): use "
		    "another one");
	if (errno == EFBIG)
		return lshmi_fail(ENOSPC,
		    "%llu bytes are more than a file may have here",
		    (unsigned long long)to);
	return lshmi_fail(errno, "cannot reserve %llu bytes: %s",
	    (unsigned long long)(to - from), strerror(errno));
}

int lshmi_file_map(
    struct lshmi_store *s, char *base, uint64_t from, uint64_t to)
{
	int prot = PROT_READ | (s->writable ? PROT_WRITE : 0);

	if (from == to)
		return 0;
	if (check_ours(s) < 0)
		return -EBADF;
	if (mmap(base + from, to - from, prot, MAP_SHARED | MAP_FIXED, s->fd,
		(off_t)from) == MAP_FAILED)
		return lshmi_fail(errno == EAGAIN ? ENOMEM : errno,
		    "cannot map %llu bytes: %s",
		    (unsigned long long)(to - from), strerror(errno));
	/* A fork child must open the region itself. */
	madvise(base + from, to - from, MADV_DONTFORK);
	return 0;
}

/* A fresh description: locks, and rights, of its own. */
int lshmi_file_share(struct lshmi_store *s, bool writable)
{
	int flags = (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC;
	char self[64];
	struct stat st;
	int fd;
	LSHMI_UNCANCELLED;

	snprintf(self, sizeof(self), "/proc/self/fd/%d", s->fd);
	fd = open(self, flags);
	if (fd < 0 && !s->nameless)
		fd = open(s->path, flags);
	if (fd < 0)
		return lshmi_fail(errno,
		    "cannot open the region's file once more: %s (is /proc "
		    "mounted?)",
		    strerror(errno));
	if (fstat(fd, &st) < 0 || st.st_dev != s->device ||
	    st.st_ino != s->inode) {
		close(fd);
		return lshmi_fail(EBADF,
		    "the region's descriptor was closed by this program");
	}
	return fd;
}

static int file_check(const char *path)
{
	if (!*path)
		return lshmi_fail(EINVAL, "the path is empty");
	if (strlen(path) >= PATH_MAX - 64)
		return lshmi_fail(ENAMETOOLONG,
		    "the path has %zu bytes: expected at most %d", strlen(path),
		    PATH_MAX - 65);
	return 0;
}

static int file_create(struct lshmi_store *s, const char *name,
    const struct lshm_region_opts *o, unsigned int flags)
{
	int ret = file_check(name);

	return ret < 0 ? ret : lshmi_file_create(s, name, o->mode, flags);
}

static int file_open(struct lshmi_store *s, const char *name, bool writable)
{
	int ret = file_check(name);

	return ret < 0 ? ret : lshmi_file_open(s, name, writable);
}

static int file_open_fd(struct lshmi_store *s, int fd, bool writable)
{
	char path[64];

	s->nameless = true;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return lshmi_file_open(s, path, writable);
}

static int file_unlink(const char *name)
{
	int ret = file_check(name);

	return ret < 0 ? ret : lshmi_file_unlink(name);
}

const struct lshmi_backend lshmi_backend_file = {
    .name = "file",
    .id = LSHM_BACKEND_FILE,
    .create = file_create,
    .reveal = lshmi_file_reveal,
    .open = file_open,
    .open_fd = file_open_fd,
    .unlink = file_unlink,
    LSHMI_FILE_BACKEND,
};
