/* SPDX-License-Identifier: MIT */
/*
 * backend.h - where memory comes from: one table, and nothing above it knows
 * which
 *
 * A store is the backing of one region as this process sees it. The posix,
 * memfd and file backends keep an open file in it; their common parts are in
 * backend_file.c, and their liveness and waiting in liveness.c and wait.c.
 */
#ifndef LSHMI_BACKEND_H
#define LSHMI_BACKEND_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <libshm/region.h>

struct lshmi_store {
	const struct lshmi_backend *backend;
	int fd;
	bool writable;
	bool overmap;  /* may be mapped beyond its end */
	bool linked;   /* @temporary is a name to be removed */
	bool nameless; /* it has no name that could have moved on */
	dev_t device;
	ino_t inode;
	uint64_t page_size;
	void *anchor;	     /* what holds this participant's lock */
	char path[PATH_MAX]; /* the name it was opened by */
	char temporary[PATH_MAX];
};

/* What a store is, as its keeper tells. */
struct lshmi_backing {
	uint64_t size;
	uint32_t uid;
	uint32_t gid;
	uint32_t mode;
};

enum lshmi_life { LSHMI_ALIVE, LSHMI_DEAD, LSHMI_UNKNOWN };

struct lshmi_backend {
	const char *name;
	uint32_t id;
	bool nameless; /* it is never opened by a name */

	/* Make it, not yet under its name. */
	int (*create)(struct lshmi_store *s, const char *name, mode_t mode,
	    unsigned int flags);
	/* Put it under its name: -EEXIST if there is one already. */
	int (*reveal)(struct lshmi_store *s);
	int (*open)(struct lshmi_store *s, const char *name, bool writable);
	/* Open what is behind a descriptor: -EBADMSG if not of our kind. */
	int (*open_fd)(struct lshmi_store *s, int fd, bool writable);
	int (*inspect)(struct lshmi_store *s, struct lshmi_backing *b);
	/* Its first bytes, before anything is mapped: how many there were. */
	ssize_t (*read)(struct lshmi_store *s, void *to, size_t size);
	/* Does the name it was opened by still mean it? */
	bool (*current)(const struct lshmi_store *s);
	void (*close)(struct lshmi_store *s);
	int (*unlink)(const char *name);
	int (*list)(int (*callback)(const char *name, void *arg), void *arg);

	/* Reserve memory for [from, to): it is never taken away again. */
	int (*extend)(struct lshmi_store *s, uint64_t from, uint64_t to);
	/* Map [from, to) at its place after @base. */
	int (*map)(
	    struct lshmi_store *s, char *base, uint64_t from, uint64_t to);
	/* A descriptor for another process, read-only or not. */
	int (*share)(struct lshmi_store *s, bool writable);

	/*
	 * Liveness. claim() makes this process's address space the holder of a
	 * slot's lock: -EAGAIN if it is held. alive() is never asked of one's
	 * own slot; @own is the asker's slot, or -1. release() gives it back.
	 */
	int (*claim)(struct lshmi_store *s, uint32_t slot);
	enum lshmi_life (*alive)(struct lshmi_store *s, uint32_t slot, int own);
	void (*release)(struct lshmi_store *s);

	/* Sleep while *word is @expected; wake @count: how many did. */
	int (*wait)(struct lshmi_store *s, uint32_t *word, uint32_t expected,
	    int64_t deadline);
	int (*wake)(struct lshmi_store *s, uint32_t *word, int count);
};

extern const struct lshmi_backend lshmi_backend_posix;
extern const struct lshmi_backend lshmi_backend_memfd;
extern const struct lshmi_backend lshmi_backend_file;

/* By number (a region knows its own); NULL: this version has none such. */
const struct lshmi_backend *lshmi_backend_by_id(uint32_t id);

/* By a name's prefix, or else @id; *name is moved past the prefix. */
int lshmi_backend_by_name(
    const struct lshmi_backend **out, const char **name, uint32_t id);

/* Open with the backend whose descriptor it is. */
int lshmi_backend_open_fd(struct lshmi_store *s, int fd, bool writable);

/* Everything that the backends can list. */
int lshmi_backend_list(int (*callback)(const char *name, void *arg), void *arg);

/* backend_file.c: what the backends that have a path share */
int lshmi_file_create(
    struct lshmi_store *s, const char *path, mode_t mode, unsigned int flags);
int lshmi_file_reveal(struct lshmi_store *s);
int lshmi_file_open(struct lshmi_store *s, const char *path, bool writable);
int lshmi_file_adopt(struct lshmi_store *s, int fd);
int lshmi_file_inspect(struct lshmi_store *s, struct lshmi_backing *b);
ssize_t lshmi_file_read(struct lshmi_store *s, void *to, size_t size);
bool lshmi_file_current(const struct lshmi_store *s);
void lshmi_file_close(struct lshmi_store *s);
int lshmi_file_unlink(const char *path);
int lshmi_file_extend(struct lshmi_store *s, uint64_t from, uint64_t to);
int lshmi_file_map(
    struct lshmi_store *s, char *base, uint64_t from, uint64_t to);
int lshmi_file_share(struct lshmi_store *s, bool writable);

/* liveness.c: by open-file-description locks */
int lshmi_ofd_claim(struct lshmi_store *s, uint32_t slot);
enum lshmi_life lshmi_ofd_alive(struct lshmi_store *s, uint32_t slot, int own);
void lshmi_ofd_release(struct lshmi_store *s);

/* wait.c: by futex */
int lshmi_futex_wait(
    struct lshmi_store *s, uint32_t *word, uint32_t expected, int64_t deadline);
int lshmi_futex_wake(struct lshmi_store *s, uint32_t *word, int count);

/* The members that the three file-backed backends have in common. */
#define LSHMI_FILE_BACKEND                                        \
	.inspect = lshmi_file_inspect, .read = lshmi_file_read,   \
	.current = lshmi_file_current, .close = lshmi_file_close, \
	.extend = lshmi_file_extend, .map = lshmi_file_map,       \
	.share = lshmi_file_share, .claim = lshmi_ofd_claim,      \
	.alive = lshmi_ofd_alive, .release = lshmi_ofd_release,   \
	.wait = lshmi_futex_wait, .wake = lshmi_futex_wake

#endif
