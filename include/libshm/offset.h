/* SPDX-License-Identifier: MIT */
/*
 * offset.h - addresses that mean the same in every process
 *
 * Converting checks: whatever another process wrote, no conversion yields a
 * pointer outside the mapping.
 */
#ifndef LIBSHM_OFFSET_H
#define LIBSHM_OFFSET_H

#include <libshm/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * lshm_at() - the address of @size bytes at an offset
 * @region: [in] any open handle
 * @offset: [in] from lshm_offset(), perhaps of another process
 * @size:   [in] bytes that will be used there; 0 counts as 1
 *
 * Extends this process's view first if the region has grown meanwhile.
 *
 * Return: the address; NULL if @offset is 0, if any of the bytes lies outside
 * the region, or if the handle was inherited by fork.
 * Cost: one comparison, no shared cache line.
 */
LSHM_API void *lshm_at(
    struct lshm_region *region, lshm_off offset, uint64_t size);

/**
 * lshm_at_array() - the address of @count elements of @size bytes
 *
 * As lshm_at() with @count * @size bytes; NULL where the product overflows.
 */
LSHM_API void *lshm_at_array(
    struct lshm_region *region, lshm_off offset, uint64_t count, uint64_t size);

/**
 * lshm_at_string() - a string in the region
 * @region: [in] any open handle
 * @offset: [in] of its first byte
 * @length: [out] bytes before the final 0; may be NULL
 *
 * Return: the string; NULL if @offset is 0 or outside, or if no 0 byte follows
 * before the region ends.
 */
LSHM_API const char *lshm_at_string(
    struct lshm_region *region, lshm_off offset, size_t *length);

/**
 * lshm_offset() - the offset of an address inside the region
 *
 * Return: the offset; 0 for NULL and for every address outside the mapping.
 */
LSHM_API lshm_off lshm_offset(
    const struct lshm_region *region, const void *address);

/**
 * LSHM_OFF(type) - an offset that remembers what it points to
 *
 *     struct node { LSHM_OFF(struct node) next; int value; };
 *
 * It is 8 bytes, holds a lshm_off in .off and nothing else: the pointer member
 * is never stored, it carries the type for the compiler.
 */
#define LSHM_OFF(type)           \
	union {                  \
		lshm_off off;    \
		type *lshm_type; \
	}

/** LSHM_PTR(region, o) - lshm_at() of a typed offset, as a typed pointer */
#define LSHM_PTR(region, o)                  \
	((__typeof__((o).lshm_type))lshm_at( \
	    region, (o).off, sizeof(*(o).lshm_type)))

/**
 * LSHM_SET(region, o, pointer) - store a pointer's offset in a typed offset
 *
 * Does not compile unless the types agree.
 */
#ifdef __cplusplus
#define LSHM_SET(region, o, pointer)            \
	((void)(1 ? (pointer) : (o).lshm_type), \
	    (void)((o).off = lshm_offset(region, pointer)))
#else
#define LSHM_SET(region, o, pointer)                                           \
	((void)sizeof(struct {                                                 \
		_Static_assert(                                                \
		    __builtin_types_compatible_p(                              \
			__typeof__(*(pointer)), __typeof__(*(o).lshm_type)),   \
		    "LSHM_SET: the pointer has another type than the offset"); \
		int lshm_unused;                                               \
	}),                                                                    \
	    (void)((o).off = lshm_offset(region, pointer)))
#endif

#ifdef __cplusplus
}
#endif

#endif
