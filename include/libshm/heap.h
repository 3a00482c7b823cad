/* SPDX-License-Identifier: MIT */
/*
 * heap.h - memory inside a region
 *
 * A block is a *draft* of the process that allocated it: if that process dies
 * or detaches, the block returns to the heap. Once a field in shared memory
 * refers to it, by lshm_attach() or as a named object, it is *attached*: it
 * stays, whoever dies, until somebody detaches and frees it.
 *
 * The allocating calls do not bear the compiler's "malloc" attribute: a block
 * is reached through offsets too, which the compiler would take for another
 * object.
 */
#ifndef LIBSHM_HEAP_H
#define LIBSHM_HEAP_H

#include <libshm/base.h>
#include <libshm/mutex.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * lshm_alloc() - allocate a block
 * @region: [in] a participant's handle
 * @size:   [in] bytes, 1 or more; 0 counts as 1
 *
 * Grows the region, up to its max_size, where nothing is free.
 *
 * Return: the block, aligned to 16 bytes, not initialised, a draft of the
 * caller's; NULL if there is no memory (everything is as it was) or the handle
 * cannot allocate: lshm_error() says which.
 * Blocks: not on the fast path; taking fresh pages waits for the heap's lock,
 * at most a second if its holder is stopped.
 * Crash: the block returns to the heap.
 */
LSHM_API void *lshm_alloc(struct lshm_region *region, size_t size)
    __attribute__((alloc_size(2), warn_unused_result));

/**
 * lshm_alloc_aligned() - allocate a block at a multiple of @alignment
 * @alignment: [in] a power of two up to 2 MiB, which holds in every process
 *
 * Otherwise as lshm_alloc().
 */
LSHM_API void *lshm_alloc_aligned(struct lshm_region *region, size_t alignment,
    size_t size) __attribute__((alloc_size(3), warn_unused_result));

/**
 * lshm_strdup() - copy a string into a new block
 *
 * Return, Blocks, Crash: as lshm_alloc().
 */
LSHM_API char *lshm_strdup(struct lshm_region *region, const char *string)
    __attribute__((warn_unused_result));

/**
 * lshm_free() - return a block to the heap
 * @region: [in] a participant's handle
 * @block:  [in] from an allocating call of any process; NULL is allowed
 *
 * A draft may be freed by its holder's process only; an attached block by
 * whoever knows that nothing refers to it any more (lshm_detach() first).
 *
 * Return: 0; -EINVAL not a block of this heap, or free already; -EPERM the
 * draft of another process; -EROFS; -ECHILD.
 * Blocks: never.
 */
LSHM_API int lshm_free(struct lshm_region *region, void *block);

/**
 * lshm_usable_size() - how many bytes a block really has
 *
 * Return: at least what was asked for; 0 if @block is no allocated block.
 */
LSHM_API size_t lshm_usable_size(struct lshm_region *region, const void *block);

/**
 * lshm_replace() - let a field refer to another block, atomically under death
 * @region: [in] a participant's handle
 * @mutex:  [in] a lock in the region that the caller holds, and under which
 *          alone @field changes
 * @field:  [in] an offset field in the region, in an attached block or a named
 *          object: what a draft refers to is lost with it
 * @block:  [in] a draft of the caller's, or NULL to empty the field
 * @old:    [out] the block the field referred to, a draft of the caller's now,
 *          or NULL; may be NULL itself if the field must be empty
 *
 * @block becomes attached, and what was attached there becomes a draft. At
 * every instruction a death leaves the field naming an attached block or null,
 * and the other block returned to the heap: whoever holds the lock next finds
 * it so.
 *
 * Each attached block has one field that owns it. Where two fields change
 * together, as in a list, use lshm_list_push_front() and the other containers:
 * two calls of this one may have a death in between.
 *
 * Return: 0; -EINVAL not blocks or fields of this heap; -EBUSY the field is
 * not empty and @old is NULL; -EPERM the lock is not the caller's, or @block is
 * not its draft; -LSHM_ECORRUPT what the field refers to is no block in use;
 * -EROFS; -ECHILD; -EUSERS.
 */
LSHM_API int lshm_replace(struct lshm_region *region, struct lshm_mutex *mutex,
    lshm_off *field, void *block, void **old);

/**
 * lshm_attach() - let an empty field refer to a draft
 * @region, @mutex, @field, @block: [in] as for lshm_replace()
 *
 * Return, Crash: as lshm_replace() without @old: -EBUSY if the field is not
 * empty.
 */
LSHM_API int lshm_attach(struct lshm_region *region, struct lshm_mutex *mutex,
    lshm_off *field, void *block);

/**
 * lshm_detach() - empty a field and take its block as a draft
 * @region, @mutex, @field: [in] as for lshm_replace()
 * @block: [out] the block, which the caller may free or attach elsewhere; NULL
 *         if the field was empty
 *
 * Return, Crash: as lshm_replace().
 */
LSHM_API int lshm_detach(struct lshm_region *region, struct lshm_mutex *mutex,
    lshm_off *field, void **block);

/**
 * struct lshm_heap_info - what lshm_heap_stat() tells
 * @total_bytes:    what the heap spans now; @max_bytes: what it may span
 * @free_bytes:     in free pages
 * @slab_bytes:     in pages that are cut into blocks of one size
 * @run_bytes:      in blocks of whole pages
 * @draft_blocks, @draft_bytes:       held by some lane
 * @attached_blocks, @attached_bytes: referred to by shared data
 * @largest_free_bytes: the longest run of free pages
 * @slabs, @orphan_slabs: slabs; those without an owner
 */
struct lshm_heap_info {
	uint64_t total_bytes;
	uint64_t max_bytes;
	uint64_t free_bytes;
	uint64_t slab_bytes;
	uint64_t run_bytes;
	uint64_t draft_blocks;
	uint64_t draft_bytes;
	uint64_t attached_blocks;
	uint64_t attached_bytes;
	uint64_t largest_free_bytes;
	uint64_t slabs;
	uint64_t orphan_slabs;
};

/**
 * lshm_heap_stat() - figures of the heap, taken by looking at all of it
 * @region: [in] any open handle, an observer's too
 * @info:   [out]
 *
 * Exact if nobody allocates meanwhile; otherwise near. Who looks for a leak
 * compares blocks, not free bytes: pages that have been cut into blocks stay so
 * for the next ones of that size, and slabs without an owner are taken up by
 * whoever needs one.
 *
 * Return: as lshm_heap_check().
 */
LSHM_API int lshm_heap_stat(
    struct lshm_region *region, struct lshm_heap_info *info);

/**
 * lshm_heap_check() - is the heap sound? Looks at all of it, changes nothing
 * @region: [in] any open handle, an observer's too
 *
 * Sound means: from the heap's beginning to its end there is one run of pages
 * after the other, each free, a large block, or a slab that can be; all pages
 * of a run say what they belong to; slabs have an owner, or none by intent;
 * each block in use is attached, or held by a lane that some participant has,
 * alive or not yet reaped; the next search for pages begins where a run does;
 * the directory's names refer to blocks in use.
 *
 * Others may work meanwhile, and may have died in the middle of anything: what
 * is sound remains sound. What they pass through while it is looked at can seem
 * damaged, so a fault is told only if look after look finds the same one; where
 * they work too fast for either verdict, it is -EAGAIN. On a heap at rest the
 * verdict is certain. It does not see what is in the blocks, whether anything
 * refers to an attached one, or whether a word that can be is the right one.
 *
 * Return: 0; -LSHM_ECORRUPT, and lshm_error() says what is wrong and at which
 * offset of the region; -EAGAIN; -ENOMEM not all of it can be mapped here;
 * -ECHILD.
 * Blocks: never; as long as a thousand looks take, at most.
 */
LSHM_API int lshm_heap_check(struct lshm_region *region);

#ifdef __cplusplus
}
#endif

#endif
