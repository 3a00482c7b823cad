/* SPDX-License-Identifier: MIT */
/*
 * watch.h - what changes in a region while a child is stepped
 *
 * The region is seen through a mapping of its own. To compare all of it after
 * each instruction would take long: a first run, at full speed, tells which
 * pages are written at all.
 */
#ifndef LSHM_TESTING_WATCH_H
#define LSHM_TESTING_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include <libshm/libshm.h>

#define WATCH_PAGE  4096
#define WATCH_PAGES 65536 /* a region may have: 256 MiB */

/** In memory that all processes of a sweep share: a byte for each page. */
struct watch_pages {
	uint8_t written[WATCH_PAGES];
};

struct watch {
	int fd;
	uint64_t max_size;
	uint64_t size;	    /* of the file, by now */
	const char *region; /* as it is */
	char *start;	    /* as it was when the watch began */
	char *before;	    /* as last seen */
	uint32_t *pages;    /* what is compared */
	uint32_t count;
	uint64_t kernel; /* a digest of the file's locks and its size */
	uint64_t digest; /* of which words differ from @start */
};

/** Prepare for it; lshm_testing_fail() says why if that cannot be. */
void watch_open(struct watch *w, struct lshm_region *region);
/** Begin to compare these pages; NULL: all. */
void watch_begin(struct watch *w, const struct watch_pages *pages);
/** Has any of their bytes changed since the last call? */
bool watch_changed(struct watch *w);
/** After a system call: have the locks or the size? */
bool watch_kernel_changed(struct watch *w);
/** After a run with all pages: which differ from the start, or hold anything */
void watch_learn(struct watch *w, struct watch_pages *pages, bool any);
void watch_close(struct watch *w);

/**
 * In a child: note which pages of the region are written from here on. Each is
 * made writable when it is written for the first time.
 */
void watch_protect(struct lshm_region *region, struct watch_pages *pages);

#endif
