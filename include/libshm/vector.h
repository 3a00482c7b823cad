/* SPDX-License-Identifier: MIT */
/*
 * vector.h - arrays that grow
 *
 * A vector lies anywhere in the region, in the user's own structures, beside
 * the lock that protects it; its elements lie one behind the other in a block
 * of the heap, which is replaced by a larger one when it is full. Who gets the
 * lock with LSHM_OWNER_DIED need not repair the vector: the dead one's last
 * change has happened or has not.
 */
#ifndef LIBSHM_VECTOR_H
#define LIBSHM_VECTOR_H

#include <libshm/base.h>
#include <libshm/mutex.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * struct lshm_vector - in shared memory; empty and ready if all zero but
 * @element
 * @block, @count: the library's
 * @element: bytes of an element; set once, before the vector is used
 */
struct lshm_vector {
	lshm_off block;
	uint64_t count __attribute__((aligned(8)));
	uint32_t element;
	uint32_t reserved;
};

/**
 * lshm_vector_push() - add an element at the end
 * @region:  [in] a participant's handle
 * @mutex:   [in] the lock that protects the vector; the caller holds it
 * @vector:  [in] in the region
 * @element: [in] copied; may be one of the vector's own; NULL: all zero
 *
 * A full vector is copied to a block twice as large: addresses of elements do
 * not hold any more then.
 *
 * Return: 0; -ENOMEM; -EINVAL not in this region, or the size of its elements
 * is 0; -EPERM the lock is not the caller's; -LSHM_ECORRUPT; -EROFS; -ECHILD;
 * -EUSERS.
 * Blocks: as lshm_alloc().
 * Crash: the element is there, or it is not.
 */
LSHM_API int lshm_vector_push(struct lshm_region *region,
    struct lshm_mutex *mutex, struct lshm_vector *vector, const void *element);

/**
 * lshm_vector_pop() - take the last element away
 * @region, @mutex, @vector: [in] as for lshm_vector_push()
 * @element: [out] a copy of it; may be NULL
 *
 * Return: 0; -ENOENT it is empty; -EINVAL; -EPERM; -LSHM_ECORRUPT; -EROFS;
 * -ECHILD; -EUSERS.
 * Blocks: never.
 * Crash: the element is there, or it is not.
 */
LSHM_API int lshm_vector_pop(struct lshm_region *region,
    struct lshm_mutex *mutex, struct lshm_vector *vector, void *element);

/**
 * lshm_vector_at() - the address of an element
 * @region: [in] any open handle
 * @vector: [in] in the region
 * @index:  [in] from 0
 *
 * The elements lie one behind the other: the first one's address leads to all.
 * The address holds until the vector grows or is cleared, so the caller holds
 * the lock, or knows that nobody does that.
 *
 * Return: the element; NULL if there is none with this index, or if a damaged
 * vector leads outside the region. It is aligned as its size and 16 allow.
 * Blocks: never.
 * Crash: what is written to an element may be written in part.
 */
LSHM_API void *lshm_vector_at(struct lshm_region *region,
    const struct lshm_vector *vector, uint64_t index);

/**
 * lshm_vector_reserve() - make room for elements to come
 * @region, @mutex, @vector: [in] as for lshm_vector_push()
 * @count: [in] pushing does not allocate until there are that many
 *
 * Return, Blocks: as lshm_vector_push().
 * Crash: there is room, or there is not.
 */
LSHM_API int lshm_vector_reserve(struct lshm_region *region,
    struct lshm_mutex *mutex, struct lshm_vector *vector, uint64_t count);

/**
 * lshm_vector_truncate() - take all elements away but the first @count
 * @region, @mutex, @vector: [in] as for lshm_vector_push()
 *
 * Their memory is kept for others to come.
 *
 * Return: 0; -EINVAL there are less than @count; otherwise, and Blocks, Crash:
 * as lshm_vector_pop().
 */
LSHM_API int lshm_vector_truncate(struct lshm_region *region,
    struct lshm_mutex *mutex, struct lshm_vector *vector, uint64_t count);

/**
 * lshm_vector_clear() - take all elements away, and free their memory
 * @region, @mutex, @vector: [in] as for lshm_vector_push()
 *
 * Return, Blocks: as lshm_vector_pop(), but for -ENOENT.
 * Crash: it is empty, and its memory may be kept; or it is as it was.
 */
LSHM_API int lshm_vector_clear(struct lshm_region *region,
    struct lshm_mutex *mutex, struct lshm_vector *vector);

#ifdef __cplusplus
}
#endif

#endif
