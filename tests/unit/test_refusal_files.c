/* SPDX-License-Identifier: MIT */
/*
 * test_refusal_files.c - files that lshm_region_open() refuses, and what it
 * says then
 *
 * LSHM_TEST_VERBOSE=1 prints every message.
 */
#include "unit.h"

#include <fcntl.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "../../libshm/layout.h"

#define STRANGER 12345 /* a user id that nobody has */

/* An empty file where a region would be, or memory of that size. */
static int new_file(uint64_t size)
{
	int fd = ut_make_backing(ut_new_name(), size);

	UT_TRUE(fd >= 0);
	return fd;
}

/* The first @size bytes of a good region, in a file of their own. */
static int new_copy(uint64_t size)
{
	struct lshm_region *region =
	    ut_create(&(struct lshm_region_opts)LSHM_REGION_OPTS(.size = MIB));
	int fd = new_file(size);

	UT_EQ(size, write(fd, lshm_region_base(region), size));
	lshm_region_close(region);
	return fd;
}

/* Overwrite a field of the header. */
#define PATCH(fd, field, ...)                                                 \
	do {                                                                  \
		__typeof__(((struct lshmi_header *)0)->field) v_ =            \
		    __VA_ARGS__;                                              \
		UT_EQ(sizeof(v_), pwrite(fd, &v_, sizeof(v_),                 \
				      offsetof(struct lshmi_header, field))); \
	} while (0)

/* Attach to it: by name where it has one, and by descriptor. */
static int attach(int fd, unsigned int flags)
{
	struct lshm_region *region = NULL;
	int by_name = 0;
	int by_fd = lshm_region_open_fd(&region, fd, flags, NULL);

	if (by_fd == 0)
		lshm_region_close(region);
	else
		UT_PTR(NULL, region);
	if (!ut_backend->named)
		return by_fd;
	by_name = lshm_region_open(&region, ut_name, flags, NULL);
	if (by_name == 0)
		lshm_region_close(region);
	UT_EQ(by_fd, by_name);
	return by_name;
}

UT_TEST(a_copy_is_a_region, UT_EACH)
{
	int fd = new_copy(MIB);

	UT_OK(attach(fd, 0));
	UT_OK(attach(fd, LSHM_RDONLY));
	close(fd);
}

UT_TEST(text_file, UT_EACH)
{
	int fd = new_file(64 * KIB);

	for (int i = 0; i < 1000; i++)
		UT_EQ(14, write(fd, "just some text", 14));
	UT_ERR(-EBADMSG, attach(fd, 0), "not a libshm region");
	UT_ERR(-EBADMSG, attach(fd, LSHM_RDONLY), "not a libshm region");
	close(fd);
}

UT_TEST(short_text_file, UT_EACH)
{
	int fd = new_file(64 * KIB);

	UT_EQ(5, write(fd, "text\n", 5));
	UT_ERR(-EBADMSG, attach(fd, 0), "not a libshm region");
	close(fd);
}

UT_TEST(empty_file, UT_EACH)
{
	int fd = new_file(64 * KIB);

	UT_ERR(-EBADMSG, attach(fd, 0), "not a libshm region");
	UT_ERR(-EBADMSG, attach(fd, LSHM_RDONLY), "not a libshm region");
	close(fd);
}

/* LSHM_CREATE does not overwrite what is no region. */
UT_TEST(create_over_a_file, UT_NAMED)
{
	struct lshm_region *region;
	char text[4];
	int fd = new_file(64 * KIB);

	UT_EQ(4, write(fd, "mine", 4));
	UT_ERR(-EBADMSG, lshm_region_open(&region, ut_name, LSHM_CREATE, NULL),
	    "not a libshm region");
	UT_EQ(4, pread(fd, text, 4, 0));
	UT_EQ(0, memcmp(text, "mine", 4));
	close(fd);
}

UT_TEST(no_regular_file, UT_ONCE)
{
	struct lshm_region *region;
	char name[300];

	UT_ERR(-EBADMSG, lshm_region_open(&region, "file:/dev/null", 0, NULL),
	    "regular file");
	UT_ERR(-EBADMSG, lshm_region_open(&region, "file:/tmp", 0, NULL),
	    "directory");
	UT_ERR(-EBADMSG,
	    lshm_region_open(&region, "file:/tmp", LSHM_RDONLY, NULL),
	    "directory");
	snprintf(name, sizeof(name), "file:%s/fifo", ut_dir());
	UT_EQ(0, mkfifo(name + 5, 0600));
	UT_ERR(-EBADMSG, lshm_region_open(&region, name, LSHM_RDONLY, NULL),
	    "regular file");
	UT_ERR(
	    -EBADMSG, lshm_region_open(&region, name, 0, NULL), "regular file");
	unlink(name + 5);
}

UT_TEST(other_byte_order, UT_EACH)
{
	int fd = new_copy(MIB);

	PATCH(fd, byte_order, 0x04030201);
	UT_ERR(-EPROTO, attach(fd, 0), "byte order");
	UT_ERR(-EPROTO, attach(fd, LSHM_RDONLY), "byte order");
	PATCH(fd, byte_order, 0x12345678);
	UT_TRUE(attach(fd, 0) < 0);
	close(fd);
}

UT_TEST(newer_layout, UT_EACH)
{
	int fd = new_copy(MIB);

	PATCH(fd, layout, 77);
	UT_ERR(-EPROTONOSUPPORT, attach(fd, 0), "layout", "77");
	UT_ERR(-EPROTONOSUPPORT, attach(fd, LSHM_RDONLY), "layout", "77");
	PATCH(fd, layout, 0);
	UT_TRUE(attach(fd, 0) < 0);
	close(fd);
}

UT_TEST(unknown_incompatible_feature, UT_EACH)
{
	int fd = new_copy(MIB);

	PATCH(fd, incompat, UINT64_C(1) << 40);
	UT_ERR(-EPROTONOSUPPORT, attach(fd, 0), "feature", "10000000000");
	UT_ERR(-EPROTONOSUPPORT, attach(fd, LSHM_RDONLY), "feature");
	close(fd);
}

UT_TEST(unknown_read_only_compatible_feature, UT_EACH)
{
	int fd = new_copy(MIB);

	PATCH(fd, ro_compat, UINT64_C(1) << 41);
	UT_ERR(-EPROTONOSUPPORT, attach(fd, 0), "feature", "20000000000",
	    "LSHM_RDONLY");
	UT_OK(attach(fd, LSHM_RDONLY));
	close(fd);
}

UT_TEST(unknown_compatible_feature, UT_EACH)
{
	int fd = new_copy(MIB);

	PATCH(fd, compat, UINT64_C(1) << 42);
	UT_OK(attach(fd, 0));
	UT_OK(attach(fd, LSHM_RDONLY));
	close(fd);
}

UT_TEST(shorter_than_it_says, UT_EACH)
{
	int fd = new_copy(MIB - 64 * KIB);

	UT_ERR(-LSHM_ECORRUPT, attach(fd, 0), "truncated", "1048576", "983040");
	UT_ERR(-LSHM_ECORRUPT, attach(fd, LSHM_RDONLY), "truncated");
	close(fd);
}

UT_TEST(shorter_than_a_header, UT_EACH)
{
	int fd = new_copy(100);

	UT_ERR(-LSHM_ECORRUPT, attach(fd, 0), "truncated");
	UT_ERR(-LSHM_ECORRUPT, attach(fd, LSHM_RDONLY), "truncated");
	close(fd);
}

UT_TEST(damaged_header, UT_EACH)
{
	static const uint64_t words[] = {
	    offsetof(struct lshmi_header, max_size),
	    offsetof(struct lshmi_header, granule),
	    offsetof(struct lshmi_header, participants_off),
	    offsetof(struct lshmi_header, lanes_off),
	    offsetof(struct lshmi_header, directory_off),
	    offsetof(struct lshmi_header, pagemap_off),
	    offsetof(struct lshmi_header, heap_off),
	    offsetof(struct lshmi_header, size),
	};
	static const uint64_t values[] = {
	    0, 1, 12345, MIB - 8, MIB + 8, UINT64_C(1) << 63, UINT64_MAX};

	for (size_t i = 0; i < UT_COUNT(words); i++) {
		int fd = new_copy(MIB);
		uint64_t good;

		UT_EQ(8, pread(fd, &good, 8, (off_t)words[i]));
		for (size_t j = 0; j < UT_COUNT(values); j++) {
			UT_EQ(8, pwrite(fd, &values[j], 8, (off_t)words[i]));
			UT_ERR(-LSHM_ECORRUPT, attach(fd, LSHM_RDONLY));
			UT_ERR(-LSHM_ECORRUPT, attach(fd, 0));
		}
		UT_EQ(8, pwrite(fd, &good, 8, (off_t)words[i]));
		UT_OK(attach(fd, 0));
		close(fd);
	}
}

UT_TEST(damaged_counts, UT_EACH)
{
	static const uint32_t counts[] = {0, 4096, 100000, UINT32_MAX};
	int fd = new_copy(MIB);

	for (size_t i = 0; i < UT_COUNT(counts); i++) {
		PATCH(fd, max_participants, counts[i]);
		UT_ERR(-LSHM_ECORRUPT, attach(fd, 0));
		UT_ERR(-LSHM_ECORRUPT, attach(fd, LSHM_RDONLY));
	}
	PATCH(fd, max_participants, 64);
	UT_OK(attach(fd, 0));
	PATCH(fd, max_lanes, UINT32_MAX);
	UT_ERR(-LSHM_ECORRUPT, attach(fd, 0));
	PATCH(fd, max_lanes, 0);
	UT_ERR(-LSHM_ECORRUPT, attach(fd, 0));
	close(fd);
}

/* Any bytes in the tables: attaching and looking never crash or hang. */
UT_TEST(hostile_bytes, UT_EACH)
{
	uint64_t seed = ut_seed();
	int fd = new_copy(MIB);

	for (uint64_t i = ut_scale(300); i; i--) {
		struct lshm_participant_info participant;
		struct lshm_object_info object;
		struct lshm_region *region;
		struct lshm_heap_info heap;
		uint64_t cursor = 0;
		off_t at = (off_t)(16 + ut_random(&seed) % (64 * KIB) / 8 * 8);
		uint64_t bad = ut_random(&seed) >> ut_random(&seed) % 64;
		uint64_t good;

		UT_EQ(8, pread(fd, &good, 8, at));
		UT_EQ(8, pwrite(fd, &bad, 8, at));
		if (lshm_region_open_fd(&region, fd, LSHM_ANY_OWNER, NULL) ==
		    0) {
			void *block;

			for (uint32_t slot = 0; slot < 64; slot++)
				lshm_region_participant(
				    region, slot, &participant);
			lshm_region_death(region, 0, &participant);
			for (int n = 0; n < 1000; n++)
				if (lshm_object_next(region, &cursor, &object) <
				    0)
					break;
			lshm_heap_stat(region, &heap);
			lshm_object_create(
			    region, "o", "t", 64, NULL, NULL, NULL);
			block = lshm_alloc(region, 100);
			if (block)
				lshm_free(region, block);
			block = lshm_alloc(region, 100000);
			if (block)
				lshm_free(region, block);
			lshm_object_remove(region, "o", "t");
			lshm_region_close(region);
		}
		UT_EQ(8, pwrite(fd, &good, 8, at));
		if (i % 16 == 0) { /* begin anew: damage spreads */
			close(fd);
			fd = new_copy(MIB);
		}
	}
	close(fd);
}

UT_TEST(owned_by_somebody_unexpected, UT_EACH)
{
	int fd;

	if (geteuid() != 0)
		ut_skip("only root can be somebody else");
	if (!ut_backend->files && ut_backend->named)
		UT_EQ(0, seteuid(STRANGER)); /* it stays its creator's */
	fd = new_copy(MIB);
	UT_EQ(0, seteuid(0));
	UT_EQ(0, fchown(fd, STRANGER, STRANGER));
	UT_ERR(-EPERM, attach(fd, 0), "12345", "LSHM_ANY_OWNER");
	UT_ERR(-EPERM, attach(fd, LSHM_RDONLY), "12345", "LSHM_ANY_OWNER");
	UT_OK(attach(fd, LSHM_ANY_OWNER));
	UT_OK(attach(fd, LSHM_RDONLY | LSHM_ANY_OWNER));
	if (ut_backend->files) {
		UT_EQ(0, fchown(fd, 0, 0));
		UT_OK(attach(fd, 0));
	}
	close(fd);
}
