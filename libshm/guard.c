/* SPDX-License-Identifier: MIT */
/*
 * guard.c - memory that is taken away becomes an error, for those who ask
 *
 * A handle of the kernel backend can be revoked; whoever may write to a file
 * can truncate it. Who touches the memory then gets SIGBUS. With LSHM_GUARD the
 * signal's handler puts empty private memory in the region's place, all of it,
 * marks the handle as lost, and the program goes on: what it reads are zeros,
 * what it writes nobody sees. A call of the library that was under way ends, as
 * it must whatever it reads; every later one finds the serial gone, as in a
 * fork child, and says why.
 *
 * The table is written under the process's lock, and read by the handler
 * without any: first the end, then the beginning of a range is made valid, in
 * the other order it is taken out. A signal from elsewhere, or for memory that
 * is not guarded, is handled as before.
 */
#include <signal.h>
#include <string.h>
#include <sys/mman.h>

#include "internal.h"

#define GUARDS 256

static struct guard {
	struct lshm_region *region;
	uint64_t begin; /* 0: free */
	uint64_t end;
} guards[GUARDS];

static struct sigaction before;

static bool replace(struct guard *g, uint64_t begin)
{
	struct lshm_region *r = g->region;
	uint64_t size = lshmi_load_seq(&g->end) - begin;

	if (mmap((void *)(uintptr_t)begin, size, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
		0) == MAP_FAILED)
		return false;
	lshmi_store_seq(&r->lost, 1);
	lshmi_store_seq(&r->serial, 0);
	return true;
}

static void on_sigbus(int number, siginfo_t *info, void *context)
{
	uint64_t address = (uint64_t)(uintptr_t)info->si_addr, begin;
	int error = errno;

	for (int i = 0; i < GUARDS && info->si_code > 0; i++) {
		begin = lshmi_load_seq(&guards[i].begin);
		if (begin == 0 || address < begin ||
		    address >= lshmi_load_seq(&guards[i].end))
			continue;
		if (!replace(&guards[i], begin))
			break;
		errno = error;
		return;
	}
	errno = error;
	/* Whatever the flags: they share their place with sa_sigaction. */
	if (before.sa_handler == SIG_IGN && info->si_code <= 0)
		return;
	if (before.sa_handler == SIG_DFL || before.sa_handler == SIG_IGN) {
		/* The access is repeated; what was sent has to be. */
		signal(number, SIG_DFL);
		if (info->si_code <= 0)
			raise(number);
	} else if (before.sa_flags & SA_SIGINFO) {
		before.sa_sigaction(number, info, context);
	} else {
		before.sa_handler(number);
	}
}

int lshmi_guard_add(struct lshm_region *r)
{
	static bool installed;
	struct sigaction action = {
	    .sa_sigaction = on_sigbus,
	    .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART,
	};
	bool added = false;

	lshmi_process_lock();
	if (!installed && sigaction(SIGBUS, &action, &before) == 0)
		installed = true;
	for (int i = 0; i < GUARDS && installed; i++) {
		struct guard *g = &guards[i];

		if (g->begin)
			continue;
		g->region = r;
		lshmi_store_seq(
		    &g->end, (uint64_t)(uintptr_t)r->base + r->max_size);
		lshmi_store_seq(&g->begin, (uint64_t)(uintptr_t)r->base);
		added = true;
		break;
	}
	lshmi_process_unlock();
	return added ? 0
		     : lshmi_fail(EMFILE,
			   "this process has %d guarded handles open: expected "
			   "fewer",
			   GUARDS);
}

void lshmi_guard_remove(const struct lshm_region *r)
{
	lshmi_process_lock();
	for (int i = 0; i < GUARDS; i++)
		if (guards[i].region == r && guards[i].begin)
			lshmi_store_seq(&guards[i].begin, 0);
	lshmi_process_unlock();
}

/* A fork child has none of these regions at those places. */
void lshmi_guard_forked(void)
{
	for (int i = 0; i < GUARDS; i++)
		lshmi_store_seq(&guards[i].begin, 0);
}
