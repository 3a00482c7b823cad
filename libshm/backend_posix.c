/* SPDX-License-Identifier: MIT */
/*
 * backend_posix.c - regions under a name: shm_open(3)
 *
 * The region NAME is the shared memory object /lshm.NAME, which on Linux is
 * the file /dev/shm/lshm.NAME: that is where it is made and listed.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "internal.h"

#define DIRECTORY "/dev/shm"
#define PREFIX	  "lshm."

static int posix_path(char path[PATH_MAX], const char *name)
{
	int ret = lshmi_check_name(name);

	if (ret == 0)
		snprintf(path, PATH_MAX, DIRECTORY "/" PREFIX "%s", name);
	return ret;
}

static int posix_create(struct lshmi_store *s, const char *name,
    const struct lshm_region_opts *o, unsigned int flags)
{
	char path[PATH_MAX];
	int ret = posix_path(path, name);

	return ret < 0 ? ret : lshmi_file_create(s, path, o->mode, flags);
}

static int posix_open(struct lshmi_store *s, const char *name, bool writable)
{
	int fd, ret = posix_path(s->path, name);

	if (ret < 0)
		return ret;
	s->writable = writable;
	fd = shm_open(s->path + strlen(DIRECTORY), writable ? O_RDWR : O_RDONLY,
	    0); /* close-on-exec by definition */
	if (fd < 0 && errno == ENOENT)
		return lshmi_fail(ENOENT,
		    "there is no region \"%s\": create it with LSHM_CREATE or "
		    "\"shmctl create\"",
		    name);
	if (fd < 0)
		return lshmi_fail(errno, "cannot open the region \"%s\": %s",
		    name, strerror(errno));
	ret = lshmi_file_adopt(s, fd);
	if (ret < 0)
		close(fd);
	return ret;
}

static int posix_unlink(const char *name)
{
	char path[PATH_MAX];
	int ret = posix_path(path, name);

	if (ret < 0)
		return ret;
	if (shm_unlink(path + strlen(DIRECTORY)) < 0)
		return lshmi_fail(errno, "cannot remove the region \"%s\": %s",
		    name, strerror(errno));
	return 0;
}

static int posix_list(int (*callback)(const char *name, void *arg), void *arg)
{
	DIR *d = opendir(DIRECTORY);
	struct dirent *e;
	int ret = 0;

	if (!d)
		return lshmi_fail(
		    errno, "cannot read " DIRECTORY ": %s", strerror(errno));
	while (ret == 0 && (e = readdir(d)))
		if (strncmp(e->d_name, PREFIX, strlen(PREFIX)) == 0)
			ret = callback(e->d_name + strlen(PREFIX), arg);
	closedir(d);
	return ret;
}

const struct lshmi_backend lshmi_backend_posix = {
    .name = "posix",
    .id = LSHM_BACKEND_POSIX,
    .create = posix_create,
    .reveal = lshmi_file_reveal,
    .open = posix_open,
    .unlink = posix_unlink,
    .list = posix_list,
    LSHMI_FILE_BACKEND,
};
