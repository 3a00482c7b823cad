/* SPDX-License-Identifier: MIT */
/*
 * inject.h - on a kernel with fault injection: the nth allocation, or copy of
 * user memory, that this thread has the kernel make fails
 */
#ifndef LSHM_TEST_INJECT_H
#define LSHM_TEST_INJECT_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FAIL_NTH "/proc/thread-self/fail-nth"

static int fail_nth = -1;

static inline bool can_inject(void)
{
	return access(FAIL_NTH, F_OK) == 0;
}

/* Faults of all kinds, of allocations that may sleep too, without a word. */
static inline void set_up_injection(void)
{
	static const char *const set[][2] = {
	    {"failslab/ignore-gfp-wait", "N"},
	    {"failslab/verbose", "0"},
	    {"fail_page_alloc/ignore-gfp-wait", "N"},
	    {"fail_page_alloc/min-order", "0"},
	    {"fail_page_alloc/verbose", "0"},
	    {"fail_usercopy/verbose", "0"},
	};
	char path[100];

	for (size_t i = 0; i < sizeof(set) / sizeof(*set); i++) {
		int fd;

		snprintf(path, sizeof(path), "/sys/kernel/debug/%s", set[i][0]);
		fd = open(path, O_WRONLY | O_CLOEXEC);
		if (fd < 0 || write(fd, set[i][1], 1) != 1)
			printf("# %s: %s\n", path, strerror(errno));
		close(fd);
	}
}

/* From now on, count. */
static inline void inject(unsigned int nth)
{
	char text[16];
	int n = snprintf(text, sizeof(text), "%u", nth);

	if (fail_nth < 0)
		fail_nth = open(FAIL_NTH, O_RDWR | O_CLOEXEC);
	if (pwrite(fail_nth, text, (size_t)n, 0) != n)
		abort();
}

/* Has it happened? And no more of it. */
static inline bool injected(void)
{
	char text[16] = "";
	/* It may be this very call to which it happens: then not to another. */
	bool reached =
	    pread(fail_nth, text, sizeof(text) - 1, 0) > 0 && atoi(text) == 0;

	while (pwrite(fail_nth, "0", 1, 0) != 1)
		;
	return reached;
}

#endif
