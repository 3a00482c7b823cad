/* SPDX-License-Identifier: MIT */
/*
 * offset.c - checked conversion between offsets and addresses
 */
#include <string.h>

#include "internal.h"

void *lshm_at(struct lshm_region *region, lshm_off offset, uint64_t size)
{
	return lshmi_at(region, offset, size ? size : 1);
}

void *lshm_at_array(
    struct lshm_region *region, lshm_off offset, uint64_t count, uint64_t size)
{
	uint64_t bytes;

	if (__builtin_mul_overflow(count, size, &bytes))
		return NULL;
	return lshm_at(region, offset, bytes);
}

const char *lshm_at_string(
    struct lshm_region *region, lshm_off offset, size_t *length)
{
	const char *s = lshmi_at(region, offset, 1);
	size_t max, n;

	if (!s)
		return NULL;
	max = lshmi_load_relaxed(&region->size) - offset;
	n = strnlen(s, max);
	if (n == max)
		return NULL;
	if (length)
		*length = n;
	return s;
}

lshm_off lshm_offset(const struct lshm_region *region, const void *address)
{
	uint64_t off = (uint64_t)((const char *)address - region->base);

	/* A handle wiped by fork has size 0. */
	if (off < lshmi_load_relaxed(&region->size))
		return off;
	return off < region->max_size &&
		       off < lshmi_load_acquire(&region->header->size)
		   ? off
		   : 0;
}
