/* SPDX-License-Identifier: MIT */
/*
 * object.h - blocks with a name in the region's directory
 *
 * Whoever comes first makes the object, and all others find it:
 *
 *     ret = lshm_object_create(region, name, type, size, init, NULL, &block);
 *     if (ret == -EEXIST)
 *             ret = lshm_object_open(region, name, type, size, &block);
 *
 * Nobody sees an object before its init function is through with it.
 */
#ifndef LIBSHM_OBJECT_H
#define LIBSHM_OBJECT_H

#include <libshm/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Longest name of an object, and of a type tag, without the final 0. */
#define LSHM_OBJECT_NAME_MAX 55
#define LSHM_OBJECT_TYPE_MAX 23

/**
 * lshm_object_create() - make a named block
 * @region: [in] a participant's handle
 * @name:   [in] 1 to LSHM_OBJECT_NAME_MAX bytes, unique in the region
 * @type:   [in] 1 to LSHM_OBJECT_TYPE_MAX bytes that say what it is; openers
 *          must name the same. "lshm." at its start is the library's.
 * @size:   [in] bytes, 1 or more; openers must name the same
 * @init:   [in] fills in the block before anybody can see it; gets the block,
 *          all zero, and @arg; a negative value gives up. NULL: all zero
 * @arg:    [in] for @init
 * @out:    [out] the block, aligned to 64 bytes, attached; may be NULL
 *
 * Return: 0; -EEXIST; -EINVAL; -ENAMETOOLONG; -ENOMEM; the negative value
 * that @init returned.
 * Crash: there is no object, or a complete one.
 */
LSHM_API int lshm_object_create(struct lshm_region *region, const char *name,
    const char *type, uint64_t size, int (*init)(void *block, void *arg),
    void *arg, void **out);

/**
 * lshm_object_open() - find a named block
 * @region: [in] any open handle, an observer's too
 * @name, @type, @size: [in] as it was created; @size 0: any
 * @out:    [out] the block
 *
 * Return: 0; -ENOENT; -EPROTOTYPE it has another type or size; -ECHILD.
 * Blocks: never.
 */
LSHM_API int lshm_object_open(struct lshm_region *region, const char *name,
    const char *type, uint64_t size, void **out);

/**
 * lshm_object_remove() - take the name away and free the block
 * @region: [in] a participant's handle
 * @name, @type: [in] as it was created
 *
 * The caller knows that nobody uses it any more. Channels are removed with
 * lshm_channel_remove().
 *
 * Return: 0; -ENOENT; -EPROTOTYPE; -EINVAL a type of the library's; -EROFS;
 * -ECHILD.
 */
LSHM_API int lshm_object_remove(
    struct lshm_region *region, const char *name, const char *type);

/**
 * struct lshm_object_info - one named object
 * @offset, @size: where it is
 * @name, @type:   0-terminated
 */
struct lshm_object_info {
	lshm_off offset;
	uint64_t size;
	char name[LSHM_OBJECT_NAME_MAX + 1];
	char type[LSHM_OBJECT_TYPE_MAX + 1];
};

/**
 * lshm_object_next() - walk through the directory
 * @region: [in] any open handle
 * @cursor: [in,out] 0 to begin
 * @info:   [out] the next object
 *
 * Return: 0; -ENOENT no more; -ECHILD.
 */
LSHM_API int lshm_object_next(struct lshm_region *region, uint64_t *cursor,
    struct lshm_object_info *info);

#ifdef __cplusplus
}
#endif

#endif
