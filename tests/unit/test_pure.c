/* SPDX-License-Identifier: MIT */
/*
 * test_pure.c - what the kernel module computes, tried here: kmod/pure.h
 *
 * Random arguments, most of them near where something may wrap, and beside each
 * function another way to have the same, too simple to be wrong.
 */
#include "unit.h"

#include <ctype.h>

#include "../../kmod/pure.h"

#define TIMES ut_scale(1000000)

typedef unsigned __int128 wide;

/* Near zero, a power of two, the largest number, or anywhere. */
static uint64_t near_edge(uint64_t *state)
{
	uint64_t edge = 1ull << ut_random(state) % 64;
	uint64_t near = ut_random(state) % 9 - 4;

	switch (ut_random(state) % 4) {
	case 0:
		return ut_random(state);
	case 1:
		return near;
	default:
		return edge + near;
	}
}

UT_TEST(bounds, UT_ONCE)
{
	uint64_t state = ut_seed(), inside = 0;

	for (uint64_t i = 0; i < TIMES; i++) {
		uint64_t at = near_edge(&state), count = near_edge(&state);
		uint64_t end = near_edge(&state);
		bool good = at < end && (wide)at + count <= end;

		if (good != lshm_within(at, count, end))
			UT_EQ(good, lshm_within(at, count, end));
		inside += good;
	}
	UT_CMP(inside, >, 0);
}

UT_TEST(room_in_a_quota, UT_ONCE)
{
	uint64_t state = ut_seed(), had = 0;

	for (uint64_t i = 0; i < TIMES; i++) {
		uint64_t used = near_edge(&state), more = near_edge(&state);
		uint64_t limit = near_edge(&state);
		bool good = (wide)used + more <= limit;

		if (good != lshm_room(used, more, limit))
			UT_EQ(good, lshm_room(used, more, limit));
		had += good;
	}
	UT_CMP(had, >, 0);
}

/* Those of one user, and of all: never over the limit, and back to nothing. */
UT_TEST(room_is_kept, UT_ONCE)
{
	uint64_t state = ut_seed(), used = 0, refused = 0, got[16] = {0};
	const uint64_t limit = 1000;

	for (uint64_t i = 0; i < TIMES; i++) {
		uint64_t *g = &got[ut_random(&state) % UT_COUNT(got)];
		uint64_t more = ut_random(&state) % 200;

		if (ut_random(&state) % 2) {
			used -= *g;
			*g = 0;
		} else if (lshm_room(used, more, limit)) {
			used += more;
			*g += more;
		} else {
			refused++;
		}
		if (used > limit)
			UT_CMP(used, <=, limit);
	}
	for (size_t i = 0; i < UT_COUNT(got); i++)
		used -= got[i];
	UT_EQ(0, used);
	UT_CMP(refused, >, 0);
}

UT_TEST(megabytes_as_pages, UT_ONCE)
{
	uint64_t state = ut_seed();

	UT_EQ(256, lshm_mb_pages(1, 12));
	UT_EQ(16, lshm_mb_pages(1, 16));
	for (uint64_t i = 0; i < TIMES; i++) {
		unsigned int shift = 12 + 2 * (unsigned int)(i % 3);
		uint64_t mb = near_edge(&state);
		wide bytes = (wide)mb << 20;
		uint64_t pages = lshm_mb_pages(mb, shift);

		/* As many as that, or so many that one MiB more is too much. */
		if (bytes != (wide)pages << shift &&
		    (pages << shift >> shift != pages || bytes <= UINT64_MAX ||
			(pages << shift) + MIB != 0))
			UT_EQ(mb, pages);
	}
}

UT_TEST(names, UT_ONCE)
{
	uint64_t state = ut_seed(), good = 0;

	for (int c = 1; c < 256; c++) {
		char name[] = {'a', (char)c, 'b', '\0'};

		UT_EQ(c != '/' && !iscntrl(c), lshm_name_good(name));
	}
	for (uint64_t i = 0; i < TIMES; i++) {
		char name[LSHM_IOC_NAME_SIZE];
		size_t length = ut_random(&state) % 20;
		bool fine = true;

		for (size_t n = 0; n < length; n++) {
			int c = (int)(ut_random(&state) % 255) + 1;

			if (ut_random(&state) % 16)
				c = 'a' + c % 26;
			name[n] = (char)c;
			fine = fine && c != '/' && !iscntrl(c);
		}
		name[length] = '\0';
		name[length + 1] = '/'; /* no longer of it */
		if (fine != lshm_name_good(name))
			UT_EQ(fine, lshm_name_good(name));
		good += fine;
	}
	UT_CMP(good, >, 0);
}

/* [0, to) in pieces, some of which are not to be had: as fill() does it. */
UT_TEST(pieces_fill, UT_ONCE)
{
	static const unsigned char orders[] = {9, 6, 3, 0};
	uint64_t state = ut_seed();

	for (uint64_t n = ut_scale(20000); n; n--) {
		unsigned long from = ut_random(&state) % 3000;
		unsigned long to = from + ut_random(&state) % 3000;
		unsigned int best = 0;

		while (from < to) {
			unsigned int i =
			    lshm_fitting_order(orders, best, from, to);
			unsigned long size = 1ul << orders[i];

			if (from % size || from + size > to)
				UT_EQ(from, to);
			while (i-- > best) {
				/* a larger one does not fit */
				unsigned long larger = 1ul << orders[i];

				if (from % larger == 0 && from + larger <= to)
					UT_EQ(size, larger);
			}
			if (size > 1 && ut_random(&state) % 50 == 0)
				best++;
			else
				from += size;
		}
		UT_EQ(to, from);
	}
}

#define BLOCK 8
#define PAGES (6 * BLOCK)

/* A region of pieces here and there that grows some times. */
UT_TEST(walks, UT_ONCE)
{
	uint64_t state = ut_seed(), huge = 0;

	for (uint64_t n = ut_scale(100000); n; n--) {
		unsigned long frames[PAGES], runs = 0, expected = 0;
		bool whole[PAGES / BLOCK] = {false};

		for (int i = 0; i < PAGES; i++) {
			uint64_t new = BLOCK *(1 + ut_random(&state) % 100);

			if (i && ut_random(&state) % 12)
				frames[i] = frames[i - 1] + 1;
			else
				frames[i] = new + ut_random(&state) % 4 % 3;
			expected += i == 0 || frames[i] != frames[i - 1] + 1;
		}
		for (unsigned long from = 0, to; from < PAGES; from = to) {
			struct lshm_walk w = {0};

			to = from + 1 + ut_random(&state) % (PAGES - from);
			if (from)
				w.next = frames[from - 1] + 1;
			for (unsigned long i = from; i < to; i++)
				if (lshm_walk_on(&w, i, frames[i], BLOCK))
					whole[i / BLOCK] = true;
			runs += w.runs;
			/* only blocks that came at once */
			for (unsigned long b = 0; b < PAGES; b += BLOCK) {
				bool one = frames[b] % BLOCK == 0 &&
					   b >= from && b + BLOCK <= to;

				for (unsigned long i = 1; i < BLOCK; i++)
					one = one &&
					      frames[b + i] == frames[b] + i;
				if (b + BLOCK > from && b < to &&
				    one != whole[b / BLOCK])
					UT_EQ(one, whole[b / BLOCK]);
				huge += one;
			}
		}
		if (expected != runs)
			UT_EQ(expected, runs);
	}
	UT_CMP(huge, >, 0);
}
