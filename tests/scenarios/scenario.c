/* SPDX-License-Identifier: MIT */
/*
 * scenario.c - what the stories share; see scenario.h
 */
#include "scenario.h"

#include <dirent.h>
#include <stdarg.h>

#include "../../libshm/atomic.h"

void tell(const char *function, const char *expected, const char *format, ...)
{
	va_list arguments;

	printf("\n    expected: %s\n    saw:      ", expected);
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	printf("\n    alone:    %s %s %s\n    ", program_invocation_name,
	    ut_backend->name, function + strlen("test_"));
	fflush(stdout);
}

const struct lshm_region_opts few_slots = LSHM_REGION_OPTS(.size = MIB,
    .max_size = 64 * MIB, .max_participants = SLOTS);

uint32_t count_state(struct lshm_region *region, uint32_t state)
{
	struct lshm_participant_info info;
	uint32_t n = 0;

	for (uint32_t i = 0; i < crash_header(region)->max_participants; i++) {
		UT_OK(lshm_region_participant(region, i, &info));
		n += info.state == state;
	}
	return n;
}

uint64_t deaths(struct lshm_region *region)
{
	return lshmi_load_acquire(&crash_header(region)->death_count);
}

void hold_things(struct lshm_region *region)
{
	UT_OK(lshm_mutex_lock(region, &find(region)->mutex, UT_SOON));
	UT_SOME(lshm_alloc(region, 100));
	UT_SOME(lshm_alloc(region, 3 * LSHMI_PAGE));
}

void wait_body(struct lshm_region *region, int fd, void *arg)
{
	ut_say(fd, 0);
	ut_hear(fd);
}

void hold_body(struct lshm_region *region, int fd, void *arg)
{
	hold_things(region);
	wait_body(region, fd, arg);
}

uint64_t inherit_lock(struct lshm_region *region)
{
	struct shared *shared = find(region);
	uint64_t start = milliseconds(), taken;

	UT_EQ(LSHM_OWNER_DIED, lshm_mutex_lock(region, &shared->mutex, GO_ON));
	taken = milliseconds() - start;
	UT_OK(lshm_mutex_unlock(region, &shared->mutex));
	return taken;
}

void end_balanced(struct lshm_region *region)
{
	struct crash_books books;
	uint64_t tables = 0;
	int ret = lshm_object_remove(region, "shared", "shared");

	UT_TRUE(ret == 0 || ret == -ENOENT);
	books = CRASH_BOOKS(region);
	for (size_t i = 0; i < LSHMI_DESC_SEGMENTS; i++)
		tables += crash_header(region)->desc_segments[i] != 0;
	UT_EQ(1, books.participants);
	UT_CMP(books.lanes, <=, 1);
	UT_EQ(tables, books.attached_blocks);
	lshm_region_close(region);
}

/* ---- the last test of each program: nothing is left of all that ---- */

/* How many processes have this parent? */
static int count_children(pid_t parent)
{
	DIR *dir = opendir("/proc");
	struct dirent *entry;
	int n = 0;

	UT_TRUE(dir);
	while ((entry = readdir(dir))) {
		pid_t seen;

		/* "self" is no other, and there is no process 0 */
		n += ut_state(atoi(entry->d_name), &seen) && seen == parent;
	}
	closedir(dir);
	return n;
}

/* The harness looks after each scenario; this looks after the harness. */
UT_TEST(nothing_left, UT_EACH)
{
	char prefix[64];
	int files, processes = count_children(getppid());

	snprintf(prefix, sizeof(prefix), "%s:ut.%d.",
	    ut_backend->id == LSHM_BACKEND_FILE ? "posix" : ut_backend->name,
	    (int)getppid());
	files = (int)ut_count_regions(prefix);
	TELL("no file, and no process but this one", "%d files, %d processes",
	    files, processes);
	UT_EQ(0, files);
	UT_EQ(1, processes);
}
