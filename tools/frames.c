/* SPDX-License-Identifier: MIT */
/*
 * frames.c - which page frames lie behind a region, by /proc/PID/pagemap
 *
 * Two mappings share memory if a page of the region has one frame in both. So
 * pages are told of that are present in two mappings at least (in one, if there
 * is but one). Memory of the kernel backend does not appear there: of that, its
 * module tells which frame each page of the region is. The kernel tells frames
 * only to those with CAP_SYS_ADMIN.
 */
#include "shmctl.h"

#include <err.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libshm/uapi.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define VIEWS_MAX 64  /* mappings looked at */
#define WINDOW	  512 /* pages looked at in one go */

#define PAGE_PRESENT (UINT64_C(1) << 63)
#define PAGE_FRAME   ((UINT64_C(1) << 55) - 1)

/* struct view - one mapping of pages @first to @end of the region */
struct view {
	const json_t *mapping;
	int pagemap;
	uint64_t address;
	uint64_t entry;
	uint64_t first;
	uint64_t end;
	uint64_t window[WINDOW];
};

static uint64_t integer(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

static bool open_view(struct view *view, const json_t *mapping, uint64_t page)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%" PRIu64 "/pagemap",
	    integer(mapping, "pid"));
	view->pagemap = open(path, O_RDONLY | O_CLOEXEC);
	view->mapping = mapping;
	view->address = strtoull(json_string_of(mapping, "address"), NULL, 16);
	view->entry = view->address / page;
	view->first = integer(mapping, "offset") / page;
	view->end = view->first + integer(mapping, "size") / page;
	return view->pagemap >= 0;
}

/* Load the entries of the window's pages; 0 for those outside the mapping. */
static void load(struct view *view, uint64_t from)
{
	uint64_t first = view->first > from ? view->first : from;
	uint64_t end = view->end < from + WINDOW ? view->end : from + WINDOW;
	size_t bytes = end > first ? (end - first) * sizeof(uint64_t) : 0;
	off_t at = (view->entry + first - view->first) * sizeof(uint64_t);

	memset(view->window, 0, sizeof(view->window));
	/* a process that has ended meanwhile has no pages */
	if (bytes &&
	    pread(view->pagemap, view->window + first - from, bytes, at) < 0)
		memset(view->window, 0, sizeof(view->window));
}

/* A descriptor of the module's region of this number; -1: there is none. */
static int open_region(uint64_t id)
{
	struct lshm_ioc_open o = {
	    .size = sizeof(o),
	    .id = id,
	    .rights = LSHM_IOC_RIGHT_READ,
	};
	int fd = open(LSHM_IOC_DEVICE, O_RDWR | O_CLOEXEC);

	if (ioctl(fd, LSHM_IOC_OPEN, &o) < 0)
		o.fd = -1;
	close(fd);
	return o.fd;
}

/* The same from the module: every page that is mapped is there. */
static void load_kernel(struct view *view, uint64_t from, int region)
{
	uint64_t first = view->first > from ? view->first : from;
	uint64_t end = view->end < from + WINDOW ? view->end : from + WINDOW;
	struct lshm_ioc_frames f = {
	    .size = sizeof(f),
	    .offset = first * sysconf(_SC_PAGESIZE),
	};

	memset(view->window, 0, sizeof(view->window));
	if (first >= end)
		return;
	f.frames = (uintptr_t)(view->window + first - from);
	f.count = end - first;
	ioctl(region, LSHM_IOC_FRAMES, &f); /* without it, they stay hidden */
	for (uint64_t i = first - from; i < end - from; i++)
		view->window[i] |= PAGE_PRESENT;
}

/* One row for each mapping that has the page. False: its frame is hidden. */
static bool add_page(json_t *rows, uint64_t number, size_t i,
    const struct view *views, size_t count)
{
	const struct view *view;
	uint64_t entry, page = sysconf(_SC_PAGESIZE);

	for (view = views; view < views + count; view++) {
		entry = view->window[i];
		if (!(entry & PAGE_PRESENT))
			continue;
		if (!(entry & PAGE_FRAME))
			return false;
		json_array_append_new(rows,
		    json_pack("{s:I, s:o, s:O, s:O, s:o}", "offset",
			(json_int_t)(number * page), "frame",
			json_hex(entry & PAGE_FRAME), "pid",
			json_object_get(view->mapping, "pid"), "command",
			json_object_get(view->mapping, "command"), "address",
			json_hex(
			    view->address + (number - view->first) * page)));
	}
	return true;
}

static size_t present(const struct view *views, size_t count, size_t i)
{
	size_t found = 0;

	for (size_t v = 0; v < count; v++)
		found += (views[v].window[i] & PAGE_PRESENT) != 0;
	return found;
}

json_t *describe_frames(const json_t *mappings, uint64_t region_size,
    uint32_t pages_wanted, uint64_t kernel_region)
{
	uint64_t page = sysconf(_SC_PAGESIZE), pages = region_size / page;
	struct view *views = calloc(VIEWS_MAX, sizeof(*views));
	json_t *rows = json_array();
	int region = kernel_region ? open_region(kernel_region) : -1;
	size_t count = 0, i;
	bool hidden = false;

	if (!views)
		err(EXIT_FAILURE, NULL);
	for (i = 0; i < json_array_size(mappings) && count < VIEWS_MAX; i++)
		count +=
		    open_view(&views[count], json_array_get(mappings, i), page);
	for (uint64_t from = 0; from < pages && pages_wanted && !hidden;
	     from += WINDOW) {
		for (size_t v = 0; v < count; v++)
			if (kernel_region)
				load_kernel(&views[v], from, region);
			else
				load(&views[v], from);
		for (i = 0; i < WINDOW && pages_wanted && !hidden; i++) {
			if (present(views, count, i) < (count > 1 ? 2 : 1))
				continue;
			hidden = !add_page(rows, from + i, i, views, count);
			pages_wanted--;
		}
	}
	for (size_t v = 0; v < count; v++)
		close(views[v].pagemap);
	free(views);
	if (region >= 0)
		close(region);
	if (!hidden)
		return rows;
	json_decref(rows);
	return json_null();
}
