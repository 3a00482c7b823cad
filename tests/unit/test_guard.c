/* SPDX-License-Identifier: MIT */
/* test_guard.c - memory that is taken away, with LSHM_GUARD and without */
#include "unit.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>

static uint32_t slot_of(struct lshm_region *region, pid_t pid)
{
	struct lshm_participant_info info;
	uint32_t slot = 0;

	while (lshm_region_participant(region, slot, &info) == 0 &&
	       info.pid != (uint32_t)pid)
		slot++;
	UT_EQ(pid, info.pid);
	return slot;
}

/* From the child, by its region's backend's means. */
static void take_away(struct lshm_region *region, pid_t pid)
{
	if (ut_backend->id == LSHM_BACKEND_KERNEL)
		UT_OK(lshm_region_revoke(region, slot_of(region, pid)));
	else
		UT_EQ(0, truncate(ut_path(ut_name), 0));
}

/* Where it is truncated, its maker has lost it, too. */
static struct lshm_region *create(void)
{
	struct lshm_region *region;

	UT_OK(lshm_region_open(
	    &region, ut_new_name(), LSHM_CREATE | LSHM_GUARD, UT_SMALL));
	return region;
}

static void done(struct lshm_region *region)
{
	if (ut_backend->id == LSHM_BACKEND_KERNEL) /* for it, nothing is new */
		UT_SOME(lshm_alloc(region, 10000));
	lshm_region_close(region);
}

static void wait_and_touch(struct lshm_region *region, int fd, void *arg)
{
	volatile char *block = lshm_alloc(region, 1000);

	UT_SOME(block);
	*block = 1;
	ut_say(fd, 0);
	ut_hear(fd);
	if (!arg) /* a sanitizer has a handler of its own */
		signal(SIGBUS, SIG_DFL);
	*block = 2;
	if (!arg)
		return;
	/* it is still there, and nothing but memory */
	UT_EQ(2, *block);
	UT_EQ(0, block[1]);
	UT_NULL(lshm_alloc(region, 10), "revoked");
	UT_ERR(-ENODEV, lshm_region_reap(region), "revoked", "truncated");
	UT_ERR(-ENODEV, lshm_region_grow(region, 2 * MIB));
	UT_TRUE(lshm_free(region, (void *)block) < 0);
}

UT_TEST(guarded, UT_NAMED)
{
	struct lshm_region *region = create();
	struct ut_child child =
	    ut_spawn(region, LSHM_GUARD, wait_and_touch, "guarded");

	ut_hear(child.fd);
	take_away(region, child.pid);
	ut_say(child.fd, 0);
	ut_join(&child);
	done(region);
}

UT_TEST(not_guarded, UT_NAMED)
{
	struct lshm_region *region = create();
	struct ut_child child = ut_spawn(region, 0, wait_and_touch, NULL);

	ut_hear(child.fd);
	take_away(region, child.pid);
	ut_say(child.fd, 0);
	ut_died_of(&child, SIGBUS);
	done(region);
}

static void observe(struct lshm_region *region, int fd, void *arg)
{
	const volatile char *base = lshm_region_base(region);
	struct lshm_region_info info;

	ut_say(fd, 0);
	ut_hear(fd);
	UT_EQ(0, base[0]); /* of the magic */
	UT_ERR(-ENODEV, lshm_region_stat(region, &info));
}

UT_TEST(guarded_observer, UT_NAMED)
{
	struct lshm_region *region;
	struct ut_child child;

	if (!ut_backend->files)
		ut_skip("an observer has no slot to be revoked by");
	region = create();
	child = ut_spawn(region, LSHM_GUARD | LSHM_RDONLY, observe, NULL);
	ut_hear(child.fd);
	take_away(region, child.pid);
	ut_say(child.fd, 0);
	ut_join(&child);
	done(region);
}

static sigjmp_buf back;

static void jump(int number)
{
	siglongjmp(back, number);
}

/* Faults elsewhere are the program's own. */
UT_TEST(others_faults, UT_EACH)
{
	struct lshm_region *region, *child_has_none;
	volatile char *p;
	int fd;

	signal(SIGBUS, jump);
	UT_OK(lshm_region_open(
	    &region, ut_new_name(), LSHM_CREATE | LSHM_GUARD, UT_SMALL));
	UT_OK(ut_try_reopen(&child_has_none, region, LSHM_GUARD, NULL));
	lshm_region_close(child_has_none);
	fd = memfd_create("empty", MFD_CLOEXEC);
	p = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	UT_TRUE(p != MAP_FAILED);
	if (sigsetjmp(back, 1) == 0) {
		(void)*p;
		UT_TRUE(!"SIGBUS");
	}
	close(fd);
	UT_SOME(lshm_alloc(region, 10));
	lshm_region_close(region);
}

/* What the program did about SIGBUS before, it goes on to do. */
static void sent_before(struct lshm_region *region, int fd, void *arg)
{
	struct sigaction action = {.sa_flags = SA_SIGINFO};
	struct lshm_region *guarded;

	action.sa_handler = arg ? SIG_IGN : SIG_DFL;
	UT_EQ(0, sigaction(SIGBUS, &action, NULL));
	UT_OK(ut_try_reopen(&guarded, region, LSHM_GUARD, NULL));
	UT_EQ(0, raise(SIGBUS)); /* what is sent is no fault */
	UT_TRUE(arg);
	UT_EQ(0, raise(SIGBUS));
	lshm_region_close(guarded);
}

UT_TEST(sent_and_ignored, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct ut_child child = ut_spawn(region, 0, sent_before, "ignored");

	ut_join(&child);
	lshm_region_close(region);
}

UT_TEST(sent_and_deadly, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct ut_child child = ut_spawn(region, 0, sent_before, NULL);

	ut_died_of(&child, SIGBUS);
	lshm_region_close(region);
}

static void wait_for_lock(struct lshm_region *region, int fd, void *arg)
{
	struct lshm_mutex *mutex;

	UT_OK(lshm_object_open(
	    region, "mutex", "mutex", sizeof(*mutex), (void **)&mutex));
	ut_say(fd, 0);
	UT_ERR(-ENODEV, lshm_mutex_lock(region, mutex, UT_SOON), "revoked");
}

/* Who is asleep is told, too. */
UT_TEST(revoked_asleep, UT_KERNEL)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_mutex *mutex;
	struct ut_child child;

	UT_OK(lshm_object_create(region, "mutex", "mutex", sizeof(*mutex), NULL,
	    NULL, (void **)&mutex));
	UT_OK(lshm_mutex_lock(region, mutex, LSHM_NOW));
	child = ut_spawn(region, LSHM_GUARD, wait_for_lock, NULL);
	ut_hear(child.fd);
	while (!(__extension__(*(volatile uint64_t *)&mutex->word) & 1))
		usleep(1000); /* it is about to sleep, or does */
	take_away(region, child.pid);
	ut_join(&child);
	UT_OK(lshm_mutex_unlock(region, mutex));
	lshm_region_close(region);
}

UT_TEST(who_may_revoke, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_region *observer = ut_reopen(region, LSHM_RDONLY);

	UT_ERR(-EROFS, lshm_region_revoke(observer, 1));
	UT_ERR(-EINVAL, lshm_region_revoke(region, 0), "slot 0");
	UT_ERR(-EINVAL, lshm_region_revoke(region, 64), "slot 64");
	if (ut_backend->id == LSHM_BACKEND_KERNEL)
		UT_ERR(-ENOENT, lshm_region_revoke(region, 1), "slot 1");
	else
		UT_ERR(-ENOTSUP, lshm_region_revoke(region, 1), "kernel");
	lshm_region_close(observer);
	lshm_region_close(region);
}
