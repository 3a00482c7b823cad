/* SPDX-License-Identifier: MIT */
/*
 * map.h - from keys to values, for many processes at once
 *
 * A map is an object in the region's directory. Keys are strings of bytes. A
 * value is a string of bytes too, which is copied in and out; or a block, which
 * belongs to the map while it is in it. The map locks for itself: keys are
 * spread over 32 parts, and calls that meet in the same part wait for each
 * other. Who may write to the region cannot be kept from making many keys meet;
 * who can only choose keys is, by a random seed.
 *
 * Return: every call 0; -EINVAL not a map of this region, or a key that is too
 * long; -EDEADLK called from a function that looks at an item of the same part;
 * -EAGAIN one process has held the part's lock for a second: it is stopped, or
 * very slow; -LSHM_ECORRUPT; -EROFS; -ECHILD; -EUSERS; and what is said at
 * each.
 * Blocks: for the part's lock, and for the heap's where memory is needed: see
 * base.h.
 * Crash: the call has happened wholly or not at all.
 */
#ifndef LIBSHM_MAP_H
#define LIBSHM_MAP_H

#include <libshm/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The type tag of a map in the region's directory. */
#define LSHM_MAP_TYPE "lshm.map"
/** The longest key. */
#define LSHM_MAP_KEY_MAX 65535

/** struct lshm_map - a map in the mapping of the region; there is no handle */
struct lshm_map;

/**
 * struct lshm_map_item - an entry in place, while a function looks at it
 * @key, @key_size: its key
 * @value: its value, aligned to 8: bytes, or the block
 * @value_size: of the bytes; or what lshm_usable_size() says of the block
 * @block: the offset of the block; 0: the value is bytes
 */
struct lshm_map_item {
	const void *key;
	uint64_t key_size;
	void *value;
	uint64_t value_size;
	lshm_off block;
};

/**
 * lshm_map_create() - make an empty map with a name
 * @region: [in] a participant's handle
 * @name:   [in] as for lshm_object_create()
 * @out:    [out] the map; valid while the region is open here
 *
 * Return: also -EEXIST; -ENAMETOOLONG; -ENOMEM.
 */
LSHM_API int lshm_map_create(
    struct lshm_region *region, const char *name, struct lshm_map **out);

/**
 * lshm_map_open() - find a map
 * @region, @name, @out: as for lshm_map_create()
 *
 * Return: also -ENOENT; -EPROTOTYPE it is something else; -ENAMETOOLONG.
 */
LSHM_API int lshm_map_open(
    struct lshm_region *region, const char *name, struct lshm_map **out);

/**
 * lshm_map_destroy() - free a map with all that is in it
 * @region, @name: [in] as for lshm_map_create()
 *
 * The caller knows that nobody uses it any more.
 *
 * Return: also -ENOENT; -EPROTOTYPE; -ENAMETOOLONG; -EBUSY somebody has put
 * something into it meanwhile.
 * Crash: some entries, or all, or the map as well, are gone: destroy it again.
 */
LSHM_API int lshm_map_destroy(struct lshm_region *region, const char *name);

/**
 * lshm_map_put() - give a key a value
 * @region: [in] a participant's handle
 * @map:    [in]
 * @key, @key_size:     [in] up to LSHM_MAP_KEY_MAX bytes; copied
 * @value, @value_size: [in] copied; may be empty
 *
 * The value that the key had is gone, its block freed.
 *
 * Return: also -ENOMEM.
 * Crash: the key has the new value, whole, or what it had.
 */
LSHM_API int lshm_map_put(struct lshm_region *region, struct lshm_map *map,
    const void *key, size_t key_size, const void *value, size_t value_size);

/**
 * lshm_map_insert() - give a key a value if it has none
 *
 * Otherwise as lshm_map_put(); -EEXIST it has one.
 */
LSHM_API int lshm_map_insert(struct lshm_region *region, struct lshm_map *map,
    const void *key, size_t key_size, const void *value, size_t value_size);

/**
 * lshm_map_put_block() - give a key a block as its value
 * @region, @map, @key, @key_size: [in] as for lshm_map_put()
 * @block: [in] a draft of the caller's; it is attached with its key at once
 * @old:   [out] the block the key had, a draft of the caller's now; NULL if it
 *         had none. May be NULL itself if the key must be new
 *
 * Return: also -EEXIST the key has a value and @old is NULL; -EPERM @block is
 * not a draft of the caller's; -EINVAL it is no block; -ENOMEM.
 */
LSHM_API int lshm_map_put_block(struct lshm_region *region,
    struct lshm_map *map, const void *key, size_t key_size, void *block,
    void **old);

/**
 * lshm_map_get() - copy a value
 * @region, @map, @key, @key_size: [in] as for lshm_map_put()
 * @buffer, @capacity: [out] room for it
 * @size: [out] its length, on -EMSGSIZE too; may be NULL
 *
 * Return: also -ENOENT there is no such key; -EMSGSIZE the value is larger than
 * @capacity; -EPROTOTYPE it is a block.
 */
LSHM_API int lshm_map_get(struct lshm_region *region, struct lshm_map *map,
    const void *key, size_t key_size, void *buffer, size_t capacity,
    size_t *size);

/**
 * lshm_map_get_block() - the address of a value that is a block
 * @region, @map, @key, @key_size: [in] as for lshm_map_put()
 * @block: [out] valid until somebody replaces or removes it: that nobody does,
 *         or who may, is for the users of the map to agree on
 *
 * Return: also -ENOENT there is no such key; -EPROTOTYPE its value is bytes.
 */
LSHM_API int lshm_map_get_block(struct lshm_region *region,
    struct lshm_map *map, const void *key, size_t key_size, void **block);

/**
 * lshm_map_view() - look at a value in place
 * @region, @map, @key, @key_size: [in] as for lshm_map_put()
 * @look: [in] called once, with the lock of the key's part held: it is short,
 *        and does not call the map
 * @arg:  [in] for @look
 *
 * @look may change the value's bytes. A death may leave a part of such a
 * change, unless it is one store.
 *
 * Return: also -ENOENT there is no such key.
 */
LSHM_API int lshm_map_view(struct lshm_region *region, struct lshm_map *map,
    const void *key, size_t key_size,
    void (*look)(const struct lshm_map_item *item, void *arg), void *arg);

/**
 * lshm_map_remove() - remove a key with its value
 * @region, @map, @key, @key_size: [in] as for lshm_map_put()
 * @old: [out] the block that was its value, a draft of the caller's now; NULL
 *       if it was bytes. May be NULL itself: the block is freed
 *
 * Return: also -ENOENT there is no such key.
 */
LSHM_API int lshm_map_remove(struct lshm_region *region, struct lshm_map *map,
    const void *key, size_t key_size, void **old);

/**
 * lshm_map_next() - walk through the map
 * @region, @map: [in] as for lshm_map_put()
 * @cursor: [in,out] 0 to begin
 * @look, @arg: [in] as for lshm_map_view(); called for the next entry
 *
 * Others may change the map between the calls. An entry that is there all the
 * time is met once; one whose value is replaced, once, with one or the other;
 * one that comes or goes, once or not at all. The order means nothing. (@look
 * is called for two entries at once if their hashes are the same.)
 *
 * Return: also -ENOENT no more.
 */
LSHM_API int lshm_map_next(struct lshm_region *region, struct lshm_map *map,
    uint64_t *cursor, void (*look)(const struct lshm_map_item *item, void *arg),
    void *arg);

/**
 * lshm_map_count() - how many entries there are
 * @region, @map: [in] as for lshm_map_put()
 * @count: [out] exact if nobody changes the map meanwhile
 */
LSHM_API int lshm_map_count(
    struct lshm_region *region, struct lshm_map *map, uint64_t *count);

/**
 * lshm_map_clear() - remove all entries, and free their blocks
 * @region, @map: [in] as for lshm_map_put()
 *
 * Entries that are put meanwhile may stay.
 *
 * Crash: each entry is there or gone.
 */
LSHM_API int lshm_map_clear(struct lshm_region *region, struct lshm_map *map);

#ifdef __cplusplus
}
#endif

#endif
