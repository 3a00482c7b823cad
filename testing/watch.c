/* SPDX-License-Identifier: MIT */
/*
 * watch.c - what changes in a region; see watch.h
 */
#include "watch.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <libshm/testing.h>

static uint64_t mix(uint64_t digest, uint64_t value)
{
	digest = (digest ^ value) * UINT64_C(0x9e3779b97f4a7c15);
	return digest ^ digest >> 29;
}

/* A description of the region's file, by what the library hands to others. */
static int descriptor(struct lshm_region *region)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	char byte;
	struct iovec io = {&byte, 1};
	struct msghdr message = {
	    .msg_iov = &io,
	    .msg_iovlen = 1,
	    .msg_control = &control,
	    .msg_controllen = sizeof(control),
	};
	int sockets[2], fd = -1;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0)
		return -1;
	if (lshm_region_send(region, sockets[0], 0) == 0 &&
	    recvmsg(sockets[1], &message, MSG_CMSG_CLOEXEC) > 0 &&
	    CMSG_FIRSTHDR(&message))
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(fd));
	close(sockets[0]);
	close(sockets[1]);
	return fd;
}

/* All locks that other descriptions have on the file, and its size. */
static uint64_t look_at_kernel(struct watch *w)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	uint64_t digest = 0;
	struct stat st;

	if (fstat(w->fd, &st) == 0) {
		w->size = (uint64_t)st.st_size < w->max_size
			      ? (uint64_t)st.st_size
			      : w->max_size;
		digest = mix(digest, (uint64_t)st.st_size);
		digest = mix(digest, (uint64_t)st.st_blocks);
	}
	while (
	    fcntl(w->fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK) {
		digest = mix(digest, (uint64_t)lock.l_start);
		digest = mix(digest, (uint64_t)lock.l_len);
		digest = mix(digest, (uint64_t)lock.l_type);
		if (lock.l_len == 0)
			break;
		lock.l_start += lock.l_len;
		lock.l_len = 0;
		lock.l_type = F_WRLCK;
		lock.l_pid = 0;
	}
	return digest;
}

void watch_open(struct watch *w, struct lshm_region *region)
{
	struct lshm_region_info info;

	memset(w, 0, sizeof(*w));
	LSHM_TESTING_EXPECT(lshm_region_stat(region, &info) == 0);
	w->max_size = info.max_size;
	w->fd = descriptor(region);
	if (w->fd < 0 || w->max_size > WATCH_PAGES * WATCH_PAGE)
		lshm_testing_fail("the region cannot be watched: it is larger "
				  "than %d MiB, or has no file",
		    WATCH_PAGES / 256);
	w->region = mmap(NULL, w->max_size, PROT_READ, MAP_SHARED, w->fd, 0);
	w->start = mmap(NULL, w->max_size, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	w->before = mmap(NULL, w->max_size, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	w->pages = calloc(WATCH_PAGES, sizeof(*w->pages));
	if (w->region == MAP_FAILED || w->start == MAP_FAILED ||
	    w->before == MAP_FAILED || !w->pages)
		lshm_testing_fail("no memory to watch the region: %m");
}

/* Pages beyond the end of the file cannot be looked at yet. */
static bool exists(const struct watch *w, uint64_t page)
{
	return (page + 1) * WATCH_PAGE <= w->size;
}

void watch_begin(struct watch *w, const struct watch_pages *pages)
{
	w->kernel = look_at_kernel(w);
	w->count = 0;
	w->digest = 0;
	for (uint64_t i = 0; i < w->max_size / WATCH_PAGE; i++) {
		if (pages && !pages->written[i])
			continue;
		w->pages[w->count++] = (uint32_t)i;
		if (!exists(w, i))
			continue;
		memcpy(w->start + i * WATCH_PAGE, w->region + i * WATCH_PAGE,
		    WATCH_PAGE);
		memcpy(w->before + i * WATCH_PAGE, w->region + i * WATCH_PAGE,
		    WATCH_PAGE);
	}
}

static uint64_t digest(const struct watch *w)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < w->count; i++) {
		uint64_t at = (uint64_t)w->pages[i] * WATCH_PAGE;
		const uint64_t *start = (const void *)(w->start + at);
		const uint64_t *now = (const void *)(w->before + at);

		if (memcmp(start, now, WATCH_PAGE) == 0)
			continue;
		for (uint64_t k = 0; k < WATCH_PAGE / 8; k++)
			if (start[k] != now[k])
				sum = mix(sum, at + k);
	}
	return sum;
}

bool watch_changed(struct watch *w)
{
	bool any = false;

	for (uint32_t i = 0; i < w->count; i++) {
		uint64_t at = (uint64_t)w->pages[i] * WATCH_PAGE;

		if (!exists(w, w->pages[i]) ||
		    memcmp(w->before + at, w->region + at, WATCH_PAGE) == 0)
			continue;
		memcpy(w->before + at, w->region + at, WATCH_PAGE);
		any = true;
	}
	if (any)
		w->digest = digest(w);
	return any;
}

bool watch_kernel_changed(struct watch *w)
{
	uint64_t now = look_at_kernel(w);
	bool changed = now != w->kernel;

	w->kernel = now;
	return changed;
}

void watch_learn(struct watch *w, struct watch_pages *pages, bool any)
{
	static const char none[WATCH_PAGE];

	watch_kernel_changed(w);
	for (uint64_t i = 0; i < w->max_size / WATCH_PAGE; i++) {
		const char *now = w->region + i * WATCH_PAGE;

		if (!exists(w, i))
			continue;
		if (memcmp(w->start + i * WATCH_PAGE, now, WATCH_PAGE) != 0 ||
		    (any && memcmp(now, none, WATCH_PAGE) != 0))
			pages->written[i] = 1;
	}
}

void watch_close(struct watch *w)
{
	munmap((void *)(uintptr_t)w->region, w->max_size);
	munmap(w->start, w->max_size);
	munmap(w->before, w->max_size);
	free(w->pages);
	close(w->fd);
}

/* ---- in the child ---- */

static struct {
	struct watch_pages *pages;
	char *base;
	uint64_t size;
} protected;

static void written(int signal, siginfo_t *info, void *context)
{
	uint64_t at = (uint64_t)((char *)info->si_addr - protected.base);

	if (at >=
	    protected.size) { /* not ours: again, and this time for good */
		sigaction(
		    signal, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
		return;
	}
	protected.pages->written[at / WATCH_PAGE] = 1;
	mprotect(protected.base + at / WATCH_PAGE * WATCH_PAGE, WATCH_PAGE,
	    PROT_READ | PROT_WRITE);
}

void watch_protect(struct lshm_region *region, struct watch_pages *pages)
{
	struct sigaction action = {
	    .sa_sigaction = written, .sa_flags = SA_SIGINFO | SA_NODEFER};
	struct lshm_region_info info;

	if (lshm_region_stat(region, &info) < 0)
		return;
	protected.pages = pages;
	protected.base = lshm_region_base(region);
	protected.size = info.size;
	sigaction(SIGSEGV, &action, NULL);
	mprotect(protected.base, protected.size, PROT_READ);
}
