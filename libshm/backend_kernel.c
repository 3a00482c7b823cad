/* SPDX-License-Identifier: MIT */
/*
 * backend_kernel.c - regions of pinned kernel memory: the module lshm.ko
 *
 * The region NAME is the module's NAME; uapi.h is the interface. The store
 * keeps one region descriptor, which is a handle of its own with an inode of
 * its own; who is handed the region on gets another handle, with no more rights
 * than this one, and without the right to manage.
 *
 * Participation is the module's claim: one page, mapped, that neither fork nor
 * exec hands on. Waiting and waking are the module's, too, since futexes do not
 * work on this memory. Each such call names the region, so that a descriptor
 * that the program has closed, and whose number is another region's by now, is
 * noticed. Without it the memory can still be used: sleepers then poll.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <libshm/uapi.h>

#include <bsd/string.h>

#include "internal.h"

#define LIST_ROOM 16
#define POLL_NS	  1000000 /* between looks, where WAIT is not to be had */

/* A control descriptor of a module that will do. */
static int control(struct lshm_ioc_info *info)
{
	int fd = open(LSHM_IOC_DEVICE, O_RDWR | O_CLOEXEC), error = errno;

	if (fd < 0 && (error == ENOENT || error == ENODEV || error == ENXIO))
		return lshmi_fail(ENOTSUP,
		    "there is no kernel backend: " LSHM_IOC_DEVICE
		    " is missing; load the module lshm, or use posix, memfd or "
		    "file");
	if (fd < 0 && (error == EACCES || error == EPERM))
		return lshmi_fail(EACCES,
		    "no access to the kernel backend: " LSHM_IOC_DEVICE
		    " may be opened by its owner and group only; have this "
		    "user added to the group");
	if (fd < 0)
		return lshmi_fail(error, "cannot open " LSHM_IOC_DEVICE ": %s",
		    strerror(error));
	memset(info, 0, sizeof(*info));
	info->size = sizeof(*info);
	if (ioctl(fd, LSHM_IOC_INFO, info) < 0) {
		error = errno;
		close(fd);
		return lshmi_fail(EPROTONOSUPPORT,
		    LSHM_IOC_DEVICE " is not the module lshm as this library "
				    "(%s) knows it: %s; load that of the same "
				    "version",
		    LSHMI_VERSION, strerror(error));
	}
	if (info->abi < LSHM_IOC_ABI) {
		close(fd);
		return lshmi_fail(EPROTONOSUPPORT,
		    "the kernel module lshm is too old: expected interface "
		    "version %u, found %u; load a newer one",
		    LSHM_IOC_ABI, info->abi);
	}
	return fd;
}

static bool kernel_there(void)
{
	struct lshm_ioc_info info;
	int fd = control(&info);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

/* What has gone wrong with a region: as a sentence. */
static int fail_call(int error, const char *what)
{
	switch (error) {
	case ENODEV:
		return lshmi_fail(ENODEV,
		    "%s: this process's access to the region was revoked",
		    what);
	case EDQUOT:
		return lshmi_fail(ENOSPC,
		    "%s: it is more than this user may have of the kernel's "
		    "memory (/sys/module/lshm/parameters/max_user_mb, "
		    "max_regions_per_user, max_handles_per_user)",
		    what);
	case ENOSPC:
		return lshmi_fail(ENOSPC,
		    "%s: no space left: it is more than all users together "
		    "may have of the kernel's memory "
		    "(/sys/module/lshm/parameters/max_total_mb)",
		    what);
	case E2BIG:
		return lshmi_fail(ENOSPC,
		    "%s: no space: it is more than one region may have "
		    "(/sys/module/lshm/parameters/max_region_mb), or it was "
		    "made contiguous and cannot grow",
		    what);
	case ENOMEM:
		return lshmi_fail(ENOSPC,
		    "%s: no space left: the kernel has no such memory, or the "
		    "memory cgroup is at its limit",
		    what);
	default:
		return lshmi_fail(error, "%s: %s", what, strerror(error));
	}
}

static int stat_fd(int fd, struct lshm_ioc_stat *st)
{
	memset(st, 0, sizeof(*st));
	st->size = sizeof(*st);
	return ioctl(fd, LSHM_IOC_STAT, st) < 0 ? -errno : 0;
}

/* STAT of the store's own region. */
static int stat_store(const struct lshmi_store *s, struct lshm_ioc_stat *st)
{
	int ret = stat_fd(s->fd, st);

	if (ret == -EBADF || ret == -ENOTTY || (ret == 0 && st->id != s->id))
		return lshmi_fail(EBADF,
		    "the region's descriptor was closed by this program");
	return ret < 0 ? fail_call(-ret, "cannot look at the region") : 0;
}

/* The store takes the descriptor over. */
static int adopt(struct lshmi_store *s, int fd, uint64_t page_size, uint64_t id)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return lshmi_fail(
		    errno, "descriptor %d: %s", fd, strerror(errno));
	s->fd = fd;
	s->id = id;
	s->device = st.st_dev;
	s->inode = st.st_ino;
	s->page_size = page_size;
	s->overmap = false;
	s->pinned = true;
	return 0;
}

/* The module has fewer than files. */
static int check_name(const char *name)
{
	int ret = lshmi_check_name(name);

	for (const char *c = name; ret == 0 && *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			ret = lshmi_fail(EINVAL,
			    "the name has the control character %#x at byte "
			    "%zu: expected none in a kernel region's name",
			    (unsigned int)*c, (size_t)(c - name));
	return ret;
}

static int kernel_create(struct lshmi_store *s, const char *name,
    const struct lshm_region_opts *o, unsigned int flags)
{
	struct lshm_ioc_create c = {
	    .size = sizeof(c),
	    .flags = LSHM_IOC_CREATE_HIDDEN,
	    .name = (uintptr_t)name,
	    .mode = o->mode,
	    .node = o->numa_node ? (int32_t)o->numa_node - 1 : -1,
	    .map = LSHM_IOC_MAP_EAGER,
	};
	struct lshm_ioc_info info;
	int ret = check_name(name), fd;

	if (ret < 0)
		return ret;
	if (flags & LSHM_HUGE)
		c.map = LSHM_IOC_MAP_LAZY;
	if (flags & LSHM_PINNABLE)
		c.map = LSHM_IOC_MAP_PAGES;
	if (flags & LSHM_CONTIGUOUS) {
		if (o->max_size != o->size)
			return lshmi_fail(EINVAL,
			    "a contiguous region cannot grow: expected "
			    "max_size %llu like size, found %llu",
			    (unsigned long long)o->size,
			    (unsigned long long)o->max_size);
		c.flags |= LSHM_IOC_CREATE_CONTIGUOUS;
		c.length = (o->size + LSHMI_PAGE - 1) / LSHMI_PAGE * LSHMI_PAGE;
	}
	strlcpy(s->path, name, sizeof(s->path));
	s->writable = true;
	fd = control(&info);
	if (fd < 0)
		return fd;
	ret = ioctl(fd, LSHM_IOC_CREATE, &c) < 0 ? -errno : 0;
	close(fd);
	if (ret == -EINVAL && c.node >= 0)
		return lshmi_fail(
		    EINVAL, "there is no NUMA node %d with memory", c.node);
	if (ret == -EINVAL)
		return lshmi_fail(EINVAL,
		    "the kernel module does not know what is asked for, mode "
		    "%#o, map %u, flags %#x, %llu bytes: load a newer one",
		    c.mode, c.map, c.flags, (unsigned long long)c.length);
	if (ret < 0)
		return fail_call(-ret, "cannot create the region");
	ret = adopt(s, c.fd, info.page_size, c.id);
	if (ret < 0)
		close(c.fd);
	return ret;
}

static int kernel_reveal(struct lshmi_store *s)
{
	struct lshm_ioc_link l = {.size = sizeof(l)};

	if (ioctl(s->fd, LSHM_IOC_LINK, &l) == 0)
		return 0;
	return errno == EEXIST ? -EEXIST
			       : fail_call(errno, "cannot name the region");
}

static int kernel_open(struct lshmi_store *s, const char *name, bool writable)
{
	struct lshm_ioc_open o = {
	    .size = sizeof(o),
	    .name = (uintptr_t)name,
	    .rights = writable ? 0 : LSHM_IOC_RIGHT_READ,
	};
	struct lshm_ioc_info info;
	int ret = check_name(name), fd;

	if (ret < 0)
		return ret;
	strlcpy(s->path, name, sizeof(s->path));
	s->writable = writable;
	fd = control(&info);
	if (fd < 0)
		return fd;
	ret = ioctl(fd, LSHM_IOC_OPEN, &o) < 0 ? -errno : 0;
	close(fd);
	if (ret == -ENOENT)
		return lshmi_fail(ENOENT,
		    "there is no region \"%s\": create it with LSHM_CREATE or "
		    "\"shmctl create\"",
		    name);
	if (ret == 0 && writable && !(o.rights & LSHM_IOC_RIGHT_WRITE)) {
		close(o.fd);
		ret = -EACCES;
	}
	if (ret == -EACCES)
		return lshmi_fail(EACCES, "cannot open the region \"%s\": %s",
		    name, strerror(EACCES));
	if (ret < 0)
		return fail_call(-ret, "cannot open the region");
	ret = adopt(s, o.fd, info.page_size, o.id);
	if (ret < 0)
		close(o.fd);
	return ret;
}

/* Another handle of what @fd is one of. */
static int dup_fd(int fd, uint32_t rights)
{
	struct lshm_ioc_dup d = {.size = sizeof(d), .rights = rights};

	if (ioctl(fd, LSHM_IOC_DUP, &d) == 0)
		return d.fd;
	if (errno == EACCES)
		return lshmi_fail(EACCES,
		    "the region's descriptor does not have the right to "
		    "write: use LSHM_RDONLY");
	return fail_call(errno, "cannot make another descriptor of the region");
}

static uint32_t rights_of(const struct lshm_ioc_stat *st, bool writable)
{
	return writable ? st->rights | LSHM_IOC_RIGHT_WRITE
			: LSHM_IOC_RIGHT_READ;
}

static int kernel_open_fd(struct lshmi_store *s, int fd, bool writable)
{
	struct lshm_ioc_stat st;
	int own, ret = stat_fd(fd, &st);

	if (ret == -ENODEV || ret == -ENOMEM)
		return fail_call(-ret, "cannot look at the region");
	if (ret < 0) /* of some other kind */
		return -EBADMSG;
	own = dup_fd(fd, rights_of(&st, writable));
	if (own < 0)
		return own;
	s->writable = writable;
	s->nameless = true;
	strlcpy(s->path, st.name, sizeof(s->path));
	ret = adopt(s, own, (uint64_t)sysconf(_SC_PAGESIZE), st.id);
	if (ret < 0)
		close(own);
	return ret;
}

static int kernel_inspect(struct lshmi_store *s, struct lshmi_backing *b)
{
	struct lshm_ioc_stat st;
	int ret = stat_store(s, &st);

	if (ret < 0)
		return ret;
	b->size = st.length;
	b->uid = st.uid;
	b->gid = st.gid;
	b->mode = st.mode & 07777;
	b->runs = st.runs;
	return 0;
}

static bool kernel_current(const struct lshmi_store *s)
{
	struct lshm_ioc_stat st;

	return s->nameless ||
	       (stat_store(s, &st) == 0 && (st.flags & LSHM_IOC_STAT_LINKED));
}

static int kernel_unlink(const char *name)
{
	struct lshm_ioc_unlink u = {
	    .size = sizeof(u),
	    .name = (uintptr_t)name,
	};
	struct lshm_ioc_info info;
	int ret = check_name(name), fd;

	if (ret < 0)
		return ret;
	fd = control(&info);
	if (fd < 0)
		return fd;
	ret = ioctl(fd, LSHM_IOC_UNLINK, &u) < 0 ? -errno : 0;
	close(fd);
	if (ret == -EPERM) /* as shm_unlink(3) has it */
		ret = -EACCES;
	if (ret < 0)
		return lshmi_fail(-ret, "cannot remove the region \"%s\": %s",
		    name, strerror(-ret));
	return 0;
}

/* Those one may read, and of whose names one is: root sees others, too. */
static int kernel_list(int (*callback)(const char *name, void *arg), void *arg)
{
	struct lshm_ioc_stat records[LIST_ROOM];
	struct lshm_ioc_list l = {
	    .size = sizeof(l),
	    .records = (uintptr_t)records,
	    .record_size = sizeof(records[0]),
	};
	char name[LSHM_IOC_NAME_SIZE + 8];
	struct lshm_ioc_info info;
	int fd = control(&info), ret = 0;

	if (fd == -ENOTSUP || fd == -EACCES || fd == -EPROTONOSUPPORT)
		return 0; /* then there are none */
	if (fd < 0)
		return fd;
	do {
		l.count = LIST_ROOM;
		if (ioctl(fd, LSHM_IOC_LIST, &l) < 0) {
			ret = lshmi_fail(errno,
			    "cannot list the regions of the kernel: %s",
			    strerror(errno));
			break;
		}
		for (uint32_t i = 0; i < l.count && ret == 0; i++) {
			if (!(records[i].flags & LSHM_IOC_STAT_LINKED))
				continue;
			snprintf(name, sizeof(name), "kernel:%.*s",
			    LSHM_IOC_NAME_SIZE, records[i].name);
			ret = callback(name, arg);
		}
	} while (ret == 0 && l.next);
	close(fd);
	return ret;
}

/* The module makes it larger, never smaller. */
static int kernel_extend(struct lshmi_store *s, uint64_t from, uint64_t to)
{
	struct lshm_ioc_grow g = {.size = sizeof(g), .length = to};
	struct lshm_ioc_stat st;
	char what[64];
	int ret = stat_store(s, &st);

	if (ret < 0)
		return ret;
	do
		ret = ioctl(s->fd, LSHM_IOC_GROW, &g);
	while (ret < 0 && errno == EINTR);
	if (ret == 0)
		return 0;
	snprintf(what, sizeof(what), "cannot reserve %llu bytes",
	    (unsigned long long)(to - from));
	return fail_call(errno, what);
}

static int kernel_map(
    struct lshmi_store *s, char *base, uint64_t from, uint64_t to)
{
	int ret = lshmi_file_map(s, base, from, to);

	if (ret == 0)
		s->base = base;
	return ret;
}

/* To revoke and to seal is the owner's, not of who is handed the region. */
static int kernel_share(struct lshmi_store *s, bool writable)
{
	struct lshm_ioc_stat st;
	int ret = stat_store(s, &st);

	if (ret < 0)
		return ret;
	return dup_fd(s->fd, rights_of(&st, writable) & ~LSHM_IOC_RIGHT_MANAGE);
}

static int kernel_claim(struct lshmi_store *s, uint32_t slot)
{
	struct lshm_ioc_stat st;
	int ret = stat_store(s, &st);
	void *anchor;

	if (ret < 0)
		return ret;
	anchor = mmap(NULL, s->page_size, PROT_NONE, MAP_SHARED, s->fd,
	    (off_t)LSHM_IOC_CLAIM_OFFSET(slot, s->page_size));
	if (anchor == MAP_FAILED)
		return errno == EAGAIN
			   ? -EAGAIN
			   : fail_call(errno, "cannot take part in the region");
	s->anchor = anchor;
	return 0;
}

/* A verdict is the module's, and about the very region: @own is not needed. */
static enum lshmi_life kernel_alive(
    struct lshmi_store *s, uint32_t slot, int own)
{
	struct lshm_ioc_peer p = {
	    .size = sizeof(p),
	    .region = s->id,
	    .slot = slot,
	};

	if (ioctl(s->fd, LSHM_IOC_PEER, &p) < 0)
		return LSHMI_UNKNOWN;
	return p.flags & LSHM_IOC_PEER_CLAIMED ? LSHMI_ALIVE : LSHMI_DEAD;
}

static int kernel_revoke(struct lshmi_store *s, uint32_t slot)
{
	struct lshm_ioc_peer p = {
	    .size = sizeof(p),
	    .region = s->id,
	    .slot = slot,
	};
	struct lshm_ioc_revoke r = {.size = sizeof(r)};

	if (ioctl(s->fd, LSHM_IOC_PEER, &p) == 0) {
		r.handle = p.handle;
		if (!(p.flags & LSHM_IOC_PEER_CLAIMED))
			errno = ENOENT;
		else if (ioctl(s->fd, LSHM_IOC_REVOKE, &r) == 0)
			return 0;
	}
	if (errno == ENOENT)
		return lshmi_fail(ENOENT, "nobody has slot %u", slot);
	if (errno == EACCES)
		return lshmi_fail(
		    EACCES, "only the region's owner may revoke access to it");
	return fail_call(errno, "cannot revoke access to the region");
}

/* The descriptor is gone: a nap, instead of a wake-up. */
static int nap(int64_t deadline)
{
	int64_t until = lshmi_now() + POLL_NS;
	struct timespec t;
	LSHMI_UNCANCELLED;

	if (until > deadline)
		until = deadline;
	t.tv_sec = until / 1000000000;
	t.tv_nsec = until % 1000000000;
	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
	return until == deadline ? -ETIMEDOUT : -EINTR;
}

static int kernel_wait(struct lshmi_store *s, uint32_t *word, uint32_t expected,
    int64_t deadline, uint64_t *deaths)
{
	struct lshm_ioc_wait w = {
	    .size = sizeof(w),
	    .flags = LSHM_IOC_WAIT_DEATHS,
	    .offset = (uint64_t)((char *)word - s->base),
	    .deadline = deadline < 0 ? 0 : (uint64_t)deadline,
	    .deaths = *deaths,
	    .region = s->id,
	    .expected = expected,
	};

	if (ioctl(s->fd, LSHM_IOC_WAIT, &w) == 0)
		return 0;
	switch (errno) {
	case EOWNERDEAD:
		*deaths = w.deaths;
		return -EOWNERDEAD;
	case EAGAIN:
	case ETIMEDOUT:
	case EINTR:
		return -errno;
	default:
		return nap(deadline);
	}
}

static int kernel_wake(struct lshmi_store *s, uint32_t *word, int count)
{
	struct lshm_ioc_wake w = {
	    .size = sizeof(w),
	    .offset = (uint64_t)((char *)word - s->base),
	    .region = s->id,
	    .count = (uint32_t)count,
	};

	return ioctl(s->fd, LSHM_IOC_WAKE, &w) < 0 ? -errno : (int)w.count;
}

const struct lshmi_backend lshmi_backend_kernel = {
    .name = "kernel",
    .id = LSHM_BACKEND_KERNEL,
    .there = kernel_there,
    .create = kernel_create,
    .reveal = kernel_reveal,
    .open = kernel_open,
    .open_fd = kernel_open_fd,
    .inspect = kernel_inspect,
    .read = lshmi_file_read,
    .current = kernel_current,
    .close = lshmi_file_close,
    .unlink = kernel_unlink,
    .list = kernel_list,
    .extend = kernel_extend,
    .map = kernel_map,
    .share = kernel_share,
    .claim = kernel_claim,
    .alive = kernel_alive,
    .release = lshmi_ofd_release,
    .revoke = kernel_revoke,
    .wait = kernel_wait,
    .wake = kernel_wake,
};
