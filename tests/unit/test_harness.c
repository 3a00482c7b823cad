/* SPDX-License-Identifier: MIT */
/*
 * test_harness.c - one test for each way to fail; harness.sh expects them to
 */
#include "unit.h"

#include <fcntl.h>
#include <unistd.h>

UT_TEST(passes, UT_ONCE)
{
	UT_TRUE(true);
}

UT_TEST(wrong_number, UT_ONCE)
{
	UT_EQ(1, 2);
}

UT_TEST(wrong_error, UT_ONCE)
{
	struct lshm_region *region;

	UT_ERR(-EEXIST, lshm_region_open(&region, "", 0, NULL));
}

UT_TEST(wrong_message, UT_ONCE)
{
	struct lshm_region *region;

	UT_ERR(-EINVAL, lshm_region_open(&region, "", 0, NULL), "elephant");
}

UT_TEST(checks_nothing, UT_ONCE)
{
}

UT_TEST(crashes, UT_ONCE)
{
	abort();
}

UT_TEST(hangs, UT_ONCE)
{
	for (;;)
		pause();
}

static void fails_body(struct lshm_region *none, int fd, void *arg)
{
	UT_STR("one", "two");
}

UT_TEST(child_fails, UT_ONCE)
{
	struct ut_child child = ut_spawn(NULL, 0, fails_body, NULL);

	ut_join(&child);
}

static void waits_body(struct lshm_region *none, int fd, void *arg)
{
	for (;;)
		pause();
}

UT_TEST(leaves_a_process, UT_ONCE)
{
	struct ut_child child = ut_spawn(NULL, 0, waits_body, NULL);

	close(child.fd);
	UT_TRUE(true);
}

UT_TEST(leaves_a_descriptor, UT_ONCE)
{
	UT_TRUE(open("/dev/null", O_RDONLY | O_CLOEXEC) >= 0);
}

UT_TEST(leaves_a_region, UT_ONCE)
{
	char name[80];
	struct lshm_region *region;

	/* under a name that is not cleaned up, as ut_new_name()'s are */
	snprintf(name, sizeof(name), "%s.left", ut_new_name());
	UT_OK(lshm_region_open(&region, name, LSHM_CREATE, UT_SMALL));
	lshm_region_close(region);
}

UT_TEST(leaves_a_file, UT_ONCE)
{
	char path[300];

	snprintf(path, sizeof(path), "%s/left", ut_dir());
	close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	UT_TRUE(true);
}
