/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * pure.h - what only computes: bounds, quotas, names, pieces of memory
 *
 * Nothing here has a lock, allocates, or touches what others have. It needs
 * the types of uapi.h, and bool; so tests/unit/test_pure.c tries it in user
 * space, this very text.
 */
#ifndef LSHM_KMOD_PURE_H
#define LSHM_KMOD_PURE_H

#include "../include/libshm/uapi.h"

/* Is [at, at + count) within [0, end), and does it begin there? */
static inline bool lshm_within(__u64 at, __u64 count, __u64 end)
{
	return at < end && count <= end - at;
}

/* Is there room for @more, where @used of @limit are used? Or too many. */
static inline bool lshm_room(__u64 used, __u64 more, __u64 limit)
{
	return used <= limit && more <= limit - used;
}

/* MiB as pages of 1 << @shift bytes; at most so many that bytes fit, too. */
static inline __u64 lshm_mb_pages(__u64 mb, unsigned int shift)
{
	const __u64 most = ~0ULL >> 20;

	if (mb > most)
		mb = most;
	return mb << (20 - shift);
}

static inline bool lshm_name_good(const char *name)
{
	for (; *name; name++)
		if (*name == '/' || (unsigned char)*name < ' ' || *name == 127)
			return false;
	return true;
}

/*
 * The first of the @orders from @i on, which become smaller, such that a piece
 * may begin at @from and does not reach beyond @to. The last is 0: it fits.
 */
static inline unsigned int lshm_fitting_order(const unsigned char *orders,
	unsigned int i, unsigned long from, unsigned long to)
{
	while (from % (1UL << orders[i]) || to - from < 1UL << orders[i])
		i++;
	return i;
}

/* A walk over the frames of pages in a row; begins as zeros. */
struct lshm_walk {
	unsigned long next; /* frame that would go on; 0, nobody's, at first */
	unsigned long run; /* pages of a block so far, if it may be one piece */
	unsigned long runs; /* that have begun */
};

/* The page @index has @frame. Does it complete a block that is one piece? */
static inline bool lshm_walk_on(struct lshm_walk *w, unsigned long index,
	unsigned long frame, unsigned long block)
{
	bool goes_on = frame == w->next;

	if (!goes_on)
		w->runs++;
	if (index % block == 0)
		w->run = frame % block == 0;
	else
		w->run = goes_on ? w->run + 1 : 0;
	w->next = frame + 1;
	return w->run == block;
}

#endif
