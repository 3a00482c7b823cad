/* SPDX-License-Identifier: MIT */
/*
 * list.h - lists of blocks, linked in both directions
 *
 * A list lies anywhere in the region, in the user's own structures, beside the
 * lock that protects it. What it links are blocks of the heap that begin with a
 * struct lshm_link:
 *
 *     struct item { struct lshm_link link; int value; };
 *
 * A block is its maker's draft before it is inserted, belongs to the list then,
 * and is a draft again of whoever removes it. Every call is made with the lock
 * held. Who gets the lock with LSHM_OWNER_DIED need not repair the list: the
 * dead one's last change has happened or has not, and the next call puts in
 * order what remains.
 *
 * Whether a block is in the list that a call names is looked at only as far as
 * that takes no walk: a block that is in no list is noticed, and the first and
 * last one of another list, but not one from the middle of another list.
 */
#ifndef LIBSHM_LIST_H
#define LIBSHM_LIST_H

#include <libshm/base.h>
#include <libshm/mutex.h>

#ifdef __cplusplus
extern "C" {
#endif

/** struct lshm_link - what a block begins with; its fields are the library's */
struct lshm_link {
	lshm_off next;
	lshm_off prev;
};

/** struct lshm_list - in shared memory; all zero is empty and ready */
struct lshm_list {
	lshm_off head;
	lshm_off tail;
	uint64_t dirty __attribute__((aligned(8)));
	uint64_t reserved __attribute__((aligned(8)));
};

/**
 * lshm_list_push_front() - insert a block before all others
 * @region: [in] a participant's handle
 * @mutex:  [in] the lock that protects the list; the caller holds it
 * @list:   [in] in the region
 * @link:   [in] the beginning of a draft of the caller's
 *
 * Return: 0; -EINVAL not in this region, or @link does not begin a block;
 * -EPERM the lock is not the caller's, or the block is not its draft;
 * -LSHM_ECORRUPT; -EROFS; -ECHILD; -EUSERS.
 * Blocks: never; after a death, the next call walks the list once.
 * Crash: the block is in the list, or returned to the heap.
 */
LSHM_API int lshm_list_push_front(struct lshm_region *region,
    struct lshm_mutex *mutex, struct lshm_list *list, struct lshm_link *link);

/**
 * lshm_list_push_back() - insert a block behind all others
 *
 * Parameters, Return, Blocks, Crash: as lshm_list_push_front().
 */
LSHM_API int lshm_list_push_back(struct lshm_region *region,
    struct lshm_mutex *mutex, struct lshm_list *list, struct lshm_link *link);

/**
 * lshm_list_insert_after() - insert a block behind one that is in the list
 * @after: [in] in this list
 *
 * Otherwise as lshm_list_push_front(); -EINVAL also if @after is not in this
 * list.
 */
LSHM_API int lshm_list_insert_after(struct lshm_region *region,
    struct lshm_mutex *mutex, struct lshm_list *list, struct lshm_link *after,
    struct lshm_link *link);

/**
 * lshm_list_remove() - take a block out of the list
 * @region, @mutex, @list: [in] as for lshm_list_push_front()
 * @link: [in] in this list; its block is a draft of the caller's then
 *
 * Takes the same time wherever the block is.
 *
 * Return: 0; -EINVAL not in this list; -EPERM; -LSHM_ECORRUPT; -EROFS; -ECHILD;
 * -EUSERS.
 * Blocks: as lshm_list_push_front().
 * Crash: the block is in the list, or returned to the heap.
 */
LSHM_API int lshm_list_remove(struct lshm_region *region,
    struct lshm_mutex *mutex, struct lshm_list *list, struct lshm_link *link);

/**
 * lshm_list_next() - walk through the list
 * @region, @mutex, @list: [in] as for lshm_list_push_front()
 * @after: [in] in this list; NULL: begin
 * @out:   [out] the block behind @after, or the first
 *
 * Each step is checked against the one before: a damaged list does not lead in
 * circles. Go on before removing the block one stands at.
 *
 * Return: 0; -ENOENT no more; -EINVAL @after is not in this list; -EPERM;
 * -LSHM_ECORRUPT; -EROFS; -ECHILD; -EUSERS.
 */
LSHM_API int lshm_list_next(struct lshm_region *region,
    struct lshm_mutex *mutex, struct lshm_list *list,
    const struct lshm_link *after, struct lshm_link **out);

#ifdef __cplusplus
}
#endif

#endif
