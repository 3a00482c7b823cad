/* SPDX-License-Identifier: MIT */
/*
 * backend_memfd.c - nameless regions: memfd_create(2)
 *
 * Handed on as a descriptor, sealed against shrinking. The name is a label,
 * seen in /proc/PID/fd as "/memfd:lshm.NAME".
 */
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "internal.h"

#define LABEL "lshm."

static int memfd_create_store(struct lshmi_store *s, const char *name,
    const struct lshm_region_opts *o, unsigned int flags)
{
	unsigned int f = MFD_CLOEXEC | MFD_ALLOW_SEALING;
	char label[256];
	int fd = -1, ret = lshmi_check_name(name);

	if (ret < 0)
		return ret;
	snprintf(label, sizeof(label), LABEL "%s", name);
	if (flags & LSHM_HUGE)
		fd = memfd_create(label, f | MFD_HUGETLB);
	if (fd >= 0 && fallocate(fd, 0, 0, 1) < 0) {
		close(fd); /* no huge page is configured: plain ones then */
		fd = -1;
	}
	if (fd < 0)
		fd = memfd_create(label, f);
	if (fd < 0)
		return lshmi_fail(
		    errno, "cannot create a memfd: %s", strerror(errno));
	s->writable = true;
	s->nameless = true;
	fchmod(fd, o->mode);
	ret = lshmi_file_adopt(s, fd);
	if (ret < 0)
		close(fd);
	return ret;
}

/* Complete: from now on it cannot shrink, and its seals stay as they are. */
static int memfd_reveal(struct lshmi_store *s)
{
	if (fcntl(s->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_SEAL) < 0)
		return lshmi_fail(
		    errno, "cannot seal the memfd: %s", strerror(errno));
	return 0;
}

static int memfd_open(struct lshmi_store *s, const char *name, bool writable)
{
	return lshmi_fail(ENOENT,
	    "a memfd region has no name to open \"%s\" by: create it, or get it "
	    "with lshm_region_receive() or lshm_region_open_fd()",
	    name);
}

static int memfd_unlink(const char *name)
{
	return lshmi_fail(ENOTSUP,
	    "a memfd region has no name to remove: it goes with its last user");
}

struct seen {
	dev_t device;
	ino_t inode;
};

/* Every memfd region once, by some process that has it open. */
static int memfd_list(int (*callback)(const char *name, void *arg), void *arg)
{
	struct seen *seen = NULL;
	size_t count = 0;
	DIR *proc = opendir("/proc"), *fds;
	struct dirent *p, *f;
	int ret = 0;

	if (!proc)
		return 0;
	while (ret == 0 && (p = readdir(proc))) {
		char path[300], link[300], target[64];

		if (!isdigit((unsigned char)p->d_name[0]))
			continue;
		snprintf(path, sizeof(path), "/proc/%s/fd", p->d_name);
		fds = opendir(path);
		while (fds && ret == 0 && (f = readdir(fds))) {
			struct stat st;
			struct seen *more;
			size_t i;
			ssize_t n;

			snprintf(link, sizeof(link), "/proc/%.20s/fd/%.20s",
			    p->d_name, f->d_name);
			n = readlink(link, target, sizeof(target) - 1);
			if (n < 0)
				continue;
			target[n] = '\0';
			if (strncmp(target, "/memfd:" LABEL, 7 + 5) != 0 ||
			    stat(link, &st) < 0)
				continue;
			for (i = 0; i < count; i++)
				if (seen[i].device == st.st_dev &&
				    seen[i].inode == st.st_ino)
					break;
			if (i < count)
				continue;
			more = realloc(seen, (count + 1) * sizeof(*seen));
			if (!more)
				break;
			seen = more;
			seen[count++] = (struct seen){st.st_dev, st.st_ino};
			snprintf(path, sizeof(path), "file:%.200s", link);
			ret = callback(path, arg);
		}
		if (fds)
			closedir(fds);
	}
	closedir(proc);
	free(seen);
	return ret;
}

const struct lshmi_backend lshmi_backend_memfd = {
    .name = "memfd",
    .id = LSHM_BACKEND_MEMFD,
    .nameless = true,
    .create = memfd_create_store,
    .reveal = memfd_reveal,
    .open = memfd_open,
    .unlink = memfd_unlink,
    .list = memfd_list,
    LSHMI_FILE_BACKEND,
};
