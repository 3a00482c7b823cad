/* SPDX-License-Identifier: MIT */
/*
 * object.c - the region's directory
 *
 * A chain of blocks of entries, the first in the region's own tables. An entry
 * is a name if its offset is not 0. Making one, under directory_lock: fill in
 * the other fields while the offset is 0, then attach the block to the offset,
 * which is the one step that counts; removing detaches it. Both go through the
 * intent of lshmi_replace(), so a death leaves the old state or the new one,
 * and no block lost. Readers take no lock: they look at the version before and
 * after.
 */
#include <string.h>

#include "internal.h"

#define CHAIN_MAX 1024 /* blocks; a longer chain is a damaged one */

/* The entry at a cursor, which moves on; NULL: the end. */
static struct lshmi_entry *entry_next(struct lshm_region *r, uint64_t *cursor)
{
	uint64_t block = *cursor / LSHMI_DIRECTORY_ENTRIES;
	uint64_t index = *cursor % LSHMI_DIRECTORY_ENTRIES;
	uint64_t off = r->directory_off;
	struct lshmi_directory *d;

	if (block >= CHAIN_MAX)
		return NULL;
	d = (void *)(r->base + off);
	for (; block; block--) {
		off = lshmi_load_acquire(&d->next);
		if (off % 8 != 0 || !(d = lshmi_at(r, off, sizeof(*d))))
			return NULL;
	}
	++*cursor;
	return &d->entries[index];
}

/* A name or tag of 1 to @max bytes? */
static int check_word(const char *what, const char *word, size_t max)
{
	size_t n = word ? strlen(word) : 0;

	if (n == 0)
		return lshmi_fail(EINVAL, "the object's %s is empty", what);
	if (n > max)
		return lshmi_fail(ENAMETOOLONG,
		    "the object's %s has %zu bytes: expected at most %zu", what,
		    n, max);
	return 0;
}

static int check_words(const char *name, const char *type)
{
	int ret = check_word("name", name, LSHM_OBJECT_NAME_MAX);

	return ret < 0 ? ret : check_word("type", type, LSHM_OBJECT_TYPE_MAX);
}

/* Byte by byte: readers take no lock, and look at the version afterwards. */
static void write_word(char *to, const char *from, size_t size)
{
	size_t n = strnlen(from, size - 1);

	for (size_t i = 0; i < size; i++)
		lshmi_store_release(&to[i], i < n ? from[i] : '\0');
}

static void read_word(char *to, const char *from, size_t size)
{
	/* Each load is an acquire: the last looks come after them. */
	for (size_t i = 0; i < size; i++)
		to[i] = lshmi_load_acquire(&from[i]);
	to[size - 1] = '\0';
}

/* A consistent copy of an entry in use; false: not in use. */
static bool read_entry(const struct lshmi_entry *e,
    struct lshm_object_info *info, uint64_t *version)
{
	for (int i = 0; i < 1000; i++) {
		*version = lshmi_load_seq(&e->version);
		info->offset = lshmi_load_seq(&e->offset);
		if (info->offset == 0)
			return false;
		info->size = lshmi_load_relaxed(&e->size);
		read_word(info->name, e->name, sizeof(info->name));
		read_word(info->type, e->type, sizeof(info->type));
		if (lshmi_load_seq(&e->offset) == info->offset &&
		    lshmi_load_seq(&e->version) == *version)
			return true;
	}
	return false;
}

static struct lshmi_entry *find(
    struct lshm_region *r, const char *name, struct lshm_object_info *info)
{
	struct lshmi_entry *e;
	uint64_t cursor = 0, version;

	while ((e = entry_next(r, &cursor)))
		if (read_entry(e, info, &version) &&
		    strcmp(info->name, name) == 0)
			return e;
	return NULL;
}

static int wrong_type(const char *name, const char *type, uint64_t size,
    const struct lshm_object_info *info)
{
	return lshmi_fail(EPROTOTYPE,
	    "the object \"%s\" is a \"%s\" of %llu bytes: expected a \"%s\" of "
	    "%llu",
	    name, info->type, (unsigned long long)info->size, type,
	    (unsigned long long)(size ? size : info->size));
}

static int lock(struct lshm_region *r)
{
	return lshmi_lock_own(r, &r->header->directory_lock, "directory");
}

static void unlock(struct lshm_region *r)
{
	lshmi_unlock(r, &r->header->directory_lock);
}

/* An entry that is free, with the lock held; adds a block to the chain. */
static int free_entry(
    struct lshm_region *r, struct lshmi_lane *lane, struct lshmi_entry **free)
{
	struct lshmi_directory *d, *more;
	struct lshmi_entry *e, *last = NULL;
	uint64_t cursor = 0;
	int ret;

	while ((e = entry_next(r, &cursor))) {
		if (lshmi_load_relaxed(&e->offset) == 0) {
			*free = e;
			return 0;
		}
		last = e;
	}
	d = (void *)((char *)(last - (LSHMI_DIRECTORY_ENTRIES - 1)) -
		     offsetof(struct lshmi_directory, entries));
	if (lshmi_load_relaxed(&d->next) != 0 ||
	    cursor / LSHMI_DIRECTORY_ENTRIES >= CHAIN_MAX)
		return lshmi_fail(
		    LSHM_ECORRUPT, "the region's directory is damaged");
	more = lshm_alloc(r, sizeof(*more));
	if (!more)
		return lshmi_failed();
	memset(more, 0, sizeof(*more));
	ret = lshmi_replace(
	    r, lane, &d->next, (uint64_t)((char *)more - r->base), NULL);
	if (ret == 0)
		*free = more->entries;
	return ret;
}

int lshmi_object_make(struct lshm_region *r, const char *name, const char *type,
    uint64_t size, int (*init)(void *, void *), void *arg, void **out)
{
	struct lshm_object_info info;
	struct lshmi_lane *lane = lshmi_lane(r);
	struct lshmi_entry *e = NULL;
	void *block;
	int ret;

	if (!lane)
		return lshmi_failed();
	if (find(r, name, &info))
		goto exists;
	block = lshm_alloc_aligned(r, 64, size);
	if (!block)
		return lshmi_failed();
	memset(block, 0, size);
	if (init) {
		ret = init(block, arg);
		if (ret < 0)
			goto out_free;
	}
	ret = lock(r);
	if (ret < 0)
		goto out_free;
	if (find(r, name, &info)) {
		unlock(r);
		lshm_free(r, block);
		goto exists;
	}
	ret = free_entry(r, lane, &e);
	if (ret < 0) {
		unlock(r);
		goto out_free;
	}
	lshmi_store_seq(&e->version, lshmi_load_relaxed(&e->version) + 1);
	lshmi_store_relaxed(&e->size, size);
	write_word(e->name, name, sizeof(e->name));
	write_word(e->type, type, sizeof(e->type));
	ret = lshmi_replace(r, lane, (uint64_t *)&e->offset,
	    (uint64_t)((char *)block - r->base), NULL);
	unlock(r);
	if (ret < 0)
		goto out_free;
	if (out)
		*out = block;
	return 0;
out_free:
	lshm_free(r, block);
	return ret;
exists:
	return lshmi_fail(EEXIST, "there is an object \"%s\" already", name);
}

/* With directory_lock held: take the name away; the block is a draft then. */
int lshmi_object_drop(
    struct lshm_region *r, const char *name, const char *type, void **block)
{
	struct lshm_object_info info;
	struct lshmi_lane *lane = lshmi_lane(r);
	struct lshmi_entry *e = find(r, name, &info);
	uint64_t off;
	int ret;

	if (!lane)
		return lshmi_failed();
	if (!e)
		return lshmi_fail(ENOENT, "there is no object \"%s\"", name);
	if (strcmp(info.type, type) != 0)
		return wrong_type(name, type, 0, &info);
	ret = lshmi_replace(r, lane, (uint64_t *)&e->offset, 0, &off);
	if (ret < 0)
		return ret;
	*block = lshmi_at(r, off, 1);
	return 0;
}

int lshm_object_create(struct lshm_region *region, const char *name,
    const char *type, uint64_t size, int (*init)(void *block, void *arg),
    void *arg, void **out)
{
	int ret = lshmi_enter(region);

	if (ret < 0 || (ret = check_words(name, type)) < 0)
		return ret;
	if (strncmp(type, "lshm.", 5) == 0)
		return lshmi_fail(EINVAL,
		    "types that begin with \"lshm.\" are the library's");
	if (size == 0)
		return lshmi_fail(EINVAL, "an object has at least 1 byte");
	return lshmi_object_make(region, name, type, size, init, arg, out);
}

int lshm_object_open(struct lshm_region *region, const char *name,
    const char *type, uint64_t size, void **out)
{
	struct lshm_object_info info;
	void *block;
	int ret;

	if (region->serial == 0)
		return lshmi_fail_gone(region);
	ret = check_words(name, type);
	if (ret < 0)
		return ret;
	if (!find(region, name, &info))
		return lshmi_fail(ENOENT, "there is no object \"%s\"", name);
	if (strcmp(info.type, type) != 0 || (size && size != info.size))
		return wrong_type(name, type, size, &info);
	block = lshmi_at(region, info.offset, info.size);
	if (!block)
		return lshmi_fail(LSHM_ECORRUPT,
		    "the object \"%s\" lies outside the region", name);
	*out = block;
	return 0;
}

int lshm_object_remove(
    struct lshm_region *region, const char *name, const char *type)
{
	void *block;
	int ret = lshmi_enter(region);

	if (ret < 0 || (ret = check_words(name, type)) < 0)
		return ret;
	if (strncmp(type, "lshm.", 5) == 0)
		return lshmi_fail(EINVAL,
		    "types that begin with \"lshm.\" are the library's: use "
		    "lshm_channel_remove() or lshm_map_destroy()");
	ret = lock(region);
	if (ret < 0)
		return ret;
	ret = lshmi_object_drop(region, name, type, &block);
	unlock(region);
	if (ret == 0)
		lshm_free(region, block);
	return ret;
}

int lshmi_object_next(struct lshm_region *r, uint64_t *cursor,
    struct lshm_object_info *info, uint64_t *version)
{
	struct lshmi_entry *e;

	while ((e = entry_next(r, cursor)))
		if (read_entry(e, info, version))
			return 0;
	return lshmi_fail_with(ENOENT, "there are no more objects");
}

bool lshmi_object_stays(struct lshm_region *r, uint64_t cursor,
    const struct lshm_object_info *info, uint64_t version)
{
	struct lshmi_entry *e;

	cursor--;
	e = entry_next(r, &cursor);
	return e && lshmi_load_seq(&e->offset) == info->offset &&
	       lshmi_load_seq(&e->version) == version;
}

int lshm_object_next(
    struct lshm_region *region, uint64_t *cursor, struct lshm_object_info *info)
{
	uint64_t version;

	if (region->serial == 0)
		return lshmi_fail_gone(region);
	return lshmi_object_next(region, cursor, info, &version);
}
