/* SPDX-License-Identifier: MIT */
/*
 * liveness.c - who is alive, by open-file-description locks
 *
 * A participant write-locks one byte of the region's own file, at a fixed
 * offset far beyond its end, through a description of its own. One PROT_NONE
 * page is mapped through that description, not inherited by fork, and the
 * descriptor is closed: the lock then lives exactly as long as the address
 * space. Nothing is left to leak, inherit or close by accident; exec and any
 * kind of death drop it; pids, their reuse and their namespaces do not matter.
 *
 * Who tests uses another description, and F_RDLCK, so that read locks of
 * observers do not count. A "free" is believed only if the descriptor still is
 * the region's file and, for a participant, its own byte reads as held through
 * it, looked at after the verdict: otherwise the program has closed or reused
 * the descriptor, and the answer is "unknown", which counts as alive.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "internal.h"

static int byte_lock(int fd, int command, short type, uint32_t slot)
{
	struct flock l = {
	    .l_type = type,
	    .l_whence = SEEK_SET,
	    .l_start = LSHMI_LOCK_BASE + slot,
	    .l_len = 1,
	};

	if (fcntl(fd, command, &l) < 0)
		return -errno;
	return l.l_type;
}

/* 1 held, 0 free, negative: it cannot be told. */
static int held(struct lshmi_store *s, uint32_t slot)
{
	struct stat st;
	int type;

	if (fstat(s->fd, &st) < 0 || st.st_dev != s->device ||
	    st.st_ino != s->inode)
		return -EBADF;
	type = byte_lock(s->fd, F_OFD_GETLK, F_RDLCK, slot);
	return type < 0 ? type : type != F_UNLCK;
}

int lshmi_ofd_claim(struct lshmi_store *s, uint32_t slot)
{
	int fd, ret;
	void *anchor;

	/* A fork() while the descriptor is open would hand the lock on. */
	lshmi_process_lock();
	fd = s->backend->share(s, true);
	if (fd < 0) {
		ret = fd;
		goto out;
	}
	ret = byte_lock(fd, F_OFD_SETLK, F_WRLCK, slot);
	if (ret < 0) {
		if (ret == -EACCES)
			ret = -EAGAIN;
		if (ret != -EAGAIN)
			ret = lshmi_fail(ENOTSUP,
			    "the file system has no open-file-description "
			    "locks (%s), which tell the living from the dead: "
			    "use a local one",
			    strerror(-ret));
		goto out_close;
	}
	anchor = mmap(
	    NULL, s->page_size, PROT_NONE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	if (anchor == MAP_FAILED) {
		ret = lshmi_fail(
		    errno, "cannot map the lock's page: %s", strerror(errno));
		goto out_close;
	}
	if (madvise(anchor, s->page_size, MADV_DONTFORK) < 0) {
		/* a child would live on in this one's place */
		ret = lshmi_fail(errno,
		    "cannot keep the lock's page from children: %s",
		    strerror(errno));
		lshmi_unmap(anchor, s->page_size);
		goto out_close;
	}
	close(fd);
	fd = -1;
	if (held(s, slot) != 1) {
		lshmi_unmap(anchor, s->page_size);
		ret = lshmi_fail(ENOTSUP,
		    "the file system's locks do not work as they should: use a "
		    "local one");
		goto out;
	}
	s->anchor = anchor;
	ret = 0;
out_close:
	if (fd >= 0)
		close(fd);
out:
	lshmi_process_unlock();
	return ret;
}

enum lshmi_life lshmi_ofd_alive(struct lshmi_store *s, uint32_t slot, int own)
{
	int verdict = held(s, slot);

	if (verdict == 1)
		return LSHMI_ALIVE;
	if (verdict < 0 || (own >= 0 && held(s, (uint32_t)own) != 1))
		return LSHMI_UNKNOWN;
	return LSHMI_DEAD;
}

void lshmi_ofd_release(struct lshmi_store *s)
{
	if (s->anchor)
		lshmi_unmap(s->anchor, s->page_size);
	s->anchor = NULL;
}
