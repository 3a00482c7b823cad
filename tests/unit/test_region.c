/* SPDX-License-Identifier: MIT */
/*
 * test_region.c - create, open, grow, unlink, list, hand on; see region.h
 *
 * Who takes part is in test_participant.c, what is refused in test_refusal.c,
 * and what its memory can be in test_region_memory.c.
 */
#include "unit.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

static bool same_region(struct lshm_region *one, struct lshm_region *two)
{
	struct lshm_region_info a = ut_info(one);
	struct lshm_region_info b = ut_info(two);

	return memcmp(a.uuid, b.uuid, sizeof(a.uuid)) == 0 &&
	       ((a.inode == b.inode && a.device == b.device) ||
		   ut_backend->id == LSHM_BACKEND_KERNEL);
}

/* One message of one byte with one descriptor, of the mode asked for. */
static int receive_fd(int socket)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(2 * sizeof(int))];
	} control = {0};
	char bytes[2];
	struct iovec iov = {bytes, sizeof(bytes)};
	struct msghdr message = {.msg_iov = &iov,
	    .msg_iovlen = 1,
	    .msg_control = &control,
	    .msg_controllen = sizeof(control)};
	struct cmsghdr *header;
	int fd;

	UT_EQ(1, recvmsg(socket, &message, 0));
	header = CMSG_FIRSTHDR(&message);
	UT_SOME(header);
	UT_EQ(SCM_RIGHTS, header->cmsg_type);
	UT_EQ(CMSG_LEN(sizeof(int)), header->cmsg_len);
	memcpy(&fd, CMSG_DATA(header), sizeof(fd));
	return fd;
}

/* The file that backs a region. */
static struct stat file_of(struct lshm_region *region)
{
	struct stat st;
	int sockets[2], fd;

	UT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
	UT_OK(lshm_region_send(region, sockets[0], LSHM_RDONLY));
	fd = receive_fd(sockets[1]);
	UT_EQ(0, fstat(fd, &st));
	close(fd);
	close(sockets[0]);
	close(sockets[1]);
	return st;
}

/* ---- creating ---- */

UT_TEST(version, UT_ONCE)
{
	UT_STR("0.1.0", lshm_version());
}

UT_TEST(error_is_empty_before_any, UT_ONCE)
{
	UT_STR("", lshm_error());
}

UT_TEST(create_as_asked, UT_EACH)
{
	struct timespec before, after;
	struct lshm_region *region;
	struct lshm_region_info info;

	clock_gettime(CLOCK_REALTIME, &before);
	umask(0);
	region = ut_create(
	    &(struct lshm_region_opts)LSHM_REGION_OPTS(.size = 3 * MIB - 1,
		.max_size = 10 * MIB, .mode = 0640, .max_participants = 7));
	clock_gettime(CLOCK_REALTIME, &after);
	info = ut_info(region);
	UT_EQ(3 * MIB, info.size);
	UT_EQ(10 * MIB, info.max_size);
	UT_EQ(64 * KIB, info.granule);
	UT_CMP(info.heap_offset, >, 0);
	UT_CMP(info.heap_offset, <, info.size);
	UT_CMP(info.created_ns, >=,
	    (uint64_t)before.tv_sec * 1000000000 + (uint64_t)before.tv_nsec);
	UT_CMP(info.created_ns, <=,
	    (uint64_t)after.tv_sec * 1000000000 + (uint64_t)after.tv_nsec);
	UT_EQ(1, info.layout_version);
	UT_EQ(ut_backend->id, info.backend);
	UT_EQ(getpid(), info.creator_pid);
	UT_EQ(geteuid(), info.owner_uid);
	UT_EQ(getegid(), info.owner_gid);
	UT_EQ(0640, info.mode);
	UT_EQ(7, info.max_participants);
	UT_EQ(1, info.participants);
	UT_EQ(0, info.dead);
	UT_EQ(0, info.deaths);
	UT_CMP(info.max_lanes, >=, 7);
	UT_CMP(info.lanes, <=, info.max_lanes);
	UT_CMP(info.page_size, >=, (uint64_t)sysconf(_SC_PAGESIZE));
	UT_EQ(0, info.page_size & (info.page_size - 1));
	UT_EQ(ut_backend->id == LSHM_BACKEND_KERNEL ? info.size : 0,
	    info.locked_bytes);
	lshm_region_close(region);
}

UT_TEST(create_with_defaults, UT_EACH)
{
	struct lshm_region *region;
	struct lshm_region_info info;

	umask(022);
	region = ut_create(NULL);
	info = ut_info(region);
	UT_EQ(16 * MIB, info.size);
	UT_EQ(1 * GIB, info.max_size);
	UT_EQ(0600, info.mode);
	UT_EQ(64, info.max_participants);
	lshm_region_close(region);
}

UT_TEST(max_size_defaults_to_size, UT_EACH)
{
	struct lshm_region *region = ut_create(
	    &(struct lshm_region_opts)LSHM_REGION_OPTS(.size = 2 * MIB));

	UT_EQ(2 * MIB, ut_info(region).max_size);
	UT_ERR(-E2BIG, lshm_region_grow(region, 2 * MIB + 1), "max_size");
	lshm_region_close(region);
}

UT_TEST(umask_applies, UT_NAMED)
{
	struct lshm_region *region;

	umask(027);
	region =
	    ut_create(&(struct lshm_region_opts)LSHM_REGION_OPTS(.mode = 0666));
	UT_EQ(0640, ut_info(region).mode);
	lshm_region_close(region);
}

UT_TEST(memory_is_reserved, UT_EACH)
{
	struct lshm_region *region = ut_create(
	    &(struct lshm_region_opts)LSHM_REGION_OPTS(.size = 5 * MIB,
		.max_size = 8 * MIB));
	struct lshm_region_info info = ut_info(region);
	struct stat st = file_of(region);

	if (ut_backend->id == LSHM_BACKEND_KERNEL)
		ut_skip("its files do not tell what is reserved");
	UT_EQ(st.st_ino, info.inode);
	UT_EQ(st.st_dev, info.device);
	UT_CMP((uint64_t)st.st_size, >=, 5 * MIB);
	UT_CMP((uint64_t)st.st_blocks * 512, >=, 5 * MIB);
	UT_OK(lshm_region_grow(region, 7 * MIB));
	st = file_of(region);
	UT_CMP((uint64_t)st.st_size, >=, 7 * MIB);
	UT_CMP((uint64_t)st.st_blocks * 512, >=, 7 * MIB);
	lshm_region_close(region);
}

UT_TEST(uuids_differ, UT_EACH)
{
	static const uint8_t zero[16];
	struct lshm_region *one = ut_create(UT_SMALL);
	struct lshm_region *two = ut_create(UT_SMALL);
	struct lshm_region_info a = ut_info(one);
	struct lshm_region_info b = ut_info(two);

	UT_TRUE(memcmp(a.uuid, zero, sizeof(zero)) != 0);
	UT_TRUE(memcmp(a.uuid, b.uuid, sizeof(a.uuid)) != 0);
	UT_CMP(a.inode, !=, b.inode);
	lshm_region_close(one);
	lshm_region_close(two);
}

UT_TEST(open_or_create, UT_NAMED)
{
	struct lshm_region *one = ut_create(UT_SMALL);
	struct lshm_region *two = ut_reopen(one, LSHM_CREATE);
	struct lshm_region *three;

	UT_TRUE(same_region(one, two));
	UT_EQ(2, ut_info(one).participants);
	UT_ERR(-EEXIST,
	    lshm_region_open(
		&three, ut_name, LSHM_CREATE | LSHM_EXCL, UT_SMALL),
	    strchr(ut_name, ':') + 1);
	lshm_region_close(two);
	lshm_region_close(one);
	UT_OK(lshm_region_unlink(ut_name, LSHM_BACKEND_DEFAULT));
	UT_OK(lshm_region_open(&one, ut_name, LSHM_CREATE, UT_SMALL));
	lshm_region_close(one);
}

/* An existing region's size is its own, whatever the options say. */
UT_TEST(opening_ignores_the_creators_options, UT_NAMED)
{
	struct lshm_region *one = ut_create(UT_SMALL);
	struct lshm_region *two;

	UT_OK(lshm_region_open(&two, ut_name, LSHM_CREATE,
	    &(struct lshm_region_opts)LSHM_REGION_OPTS(.size = 8 * MIB,
		.max_size = GIB, .max_participants = 3)));
	UT_EQ(1 * MIB, ut_info(two).size);
	UT_EQ(64 * MIB, ut_info(two).max_size);
	UT_EQ(64, ut_info(two).max_participants);
	lshm_region_close(two);
	lshm_region_close(one);
}

UT_TEST(memfd_is_always_new, UT_ONCE)
{
	struct lshm_region *one, *two;

	UT_OK(lshm_region_open(&one, "memfd:x", LSHM_CREATE, UT_SMALL));
	UT_OK(lshm_region_open(&two, "memfd:x", LSHM_CREATE, UT_SMALL));
	UT_TRUE(!same_region(one, two));
	lshm_region_close(one);
	lshm_region_close(two);
}

/* The backend by option and by prefix. */
UT_TEST(backend_by_option, UT_NAMED)
{
	struct lshm_region_opts opts =
	    LSHM_REGION_OPTS(.size = MIB, .backend = ut_backend->id);
	struct lshm_region *one, *two;

	/* the name without its prefix */
	UT_OK(lshm_region_open(
	    &one, strchr(ut_new_name(), ':') + 1, LSHM_CREATE, &opts));
	UT_EQ(ut_backend->id, ut_info(one).backend);
	UT_OK(lshm_region_open(&two, ut_name, 0, NULL));
	UT_TRUE(same_region(one, two));
	lshm_region_close(two);
	lshm_region_close(one);
	UT_OK(lshm_region_unlink(strchr(ut_name, ':') + 1, ut_backend->id));
}

UT_TEST(posix_is_the_default, UT_ONCE)
{
	struct lshm_region *region;
	struct stat st;

	if (ut_backend->id != LSHM_BACKEND_POSIX)
		ut_skip("it is another one that is tested");
	UT_OK(lshm_region_open(
	    &region, strchr(ut_new_name(), ':') + 1, LSHM_CREATE, UT_SMALL));
	UT_EQ(LSHM_BACKEND_POSIX, ut_info(region).backend);
	UT_EQ(0, stat(ut_path(ut_name), &st));
	lshm_region_close(region);
}

static void create_body(struct lshm_region *none, int fd, void *excl)
{
	struct lshm_region *region;
	unsigned int flags = LSHM_CREATE | (excl ? LSHM_EXCL : 0);
	int ret;

	ut_say(fd, 0);
	ut_hear(fd);
	ret = lshm_region_open(&region, ut_name, flags, UT_SMALL);
	if (excl && ret)
		UT_EQ(-EEXIST, ret);
	else
		UT_OK(ret);
	ut_say(fd, ret == 0);
	ut_hear(fd);
	if (!ret)
		lshm_region_close(region);
}

/* Four at a time create it: how many of them succeed? */
static unsigned int creation_race(bool excl)
{
	struct ut_child children[4];
	unsigned int winners = 0;

	ut_new_name();
	for (size_t i = 0; i < UT_COUNT(children); i++)
		children[i] = ut_spawn(NULL, 0, create_body, excl ? "" : NULL);
	for (size_t i = 0; i < UT_COUNT(children); i++)
		ut_hear(children[i].fd);
	for (size_t i = 0; i < UT_COUNT(children); i++)
		ut_say(children[i].fd, 0);
	for (size_t i = 0; i < UT_COUNT(children); i++)
		winners += ut_hear(children[i].fd);
	if (!excl) {
		struct lshm_region *region;

		UT_OK(lshm_region_open(&region, ut_name, 0, NULL));
		UT_EQ(5, ut_info(region).participants);
		lshm_region_close(region);
	}
	for (size_t i = 0; i < UT_COUNT(children); i++) {
		ut_say(children[i].fd, 0);
		ut_join(&children[i]);
	}
	return winners;
}

UT_TEST(creation_race_exclusive, UT_NAMED)
{
	for (uint64_t i = ut_scale(20); i; i--)
		UT_EQ(1, creation_race(true));
}

UT_TEST(creation_race_shared, UT_NAMED)
{
	for (uint64_t i = ut_scale(20); i; i--)
		UT_EQ(4, creation_race(false));
}

static void impatient_body(struct lshm_region *none, int fd, void *arg)
{
	struct lshm_region *region;
	int ret;

	ut_say(fd, 0);
	do
		ret = lshm_region_open(&region, ut_name, 0, NULL);
	while (ret == -ENOENT);
	UT_OK(ret);
	UT_EQ(1 * MIB, ut_info(region).size);
	UT_SOME(lshm_alloc(region, 100));
	lshm_region_close(region);
}

/* Whoever sees the name sees a complete region. */
UT_TEST(appears_complete, UT_NAMED)
{
	for (uint64_t i = ut_scale(20); i; i--) {
		struct lshm_region *region;
		struct ut_child child;

		ut_new_name();
		child = ut_spawn(NULL, 0, impatient_body, NULL);
		ut_hear(child.fd);
		UT_OK(lshm_region_open(&region, ut_name, LSHM_CREATE,
		    &(struct lshm_region_opts)LSHM_REGION_OPTS(.size = MIB)));
		ut_join(&child);
		lshm_region_close(region);
	}
}

/* ---- mapping ---- */

UT_TEST(two_attachments, UT_EACH)
{
	struct lshm_region *one = ut_create(UT_SMALL);
	struct lshm_region *two = ut_reopen(one, 0);
	char *a, *b;

	UT_CMP((uintptr_t)lshm_region_base(one), !=,
	    (uintptr_t)lshm_region_base(two));
	UT_EQ(2, ut_info(two).participants);
	UT_SOME(a = lshm_strdup(one, "seen through both"));
	UT_SOME(b = lshm_at(two, lshm_offset(one, a), 18));
	UT_TRUE(a != b);
	UT_STR("seen through both", b);
	b[0] = 'S';
	UT_STR("Seen through both", a);
	UT_OK(lshm_free(one, a));
	lshm_region_close(one);
	UT_SOME(lshm_alloc(two, 1));
	UT_EQ(1, ut_info(two).participants);
	lshm_region_close(two);
}

/* A multiple of 2 MiB with @size bytes of free address space behind it. */
static void *free_address(size_t size)
{
	char *address = mmap(NULL, size + 2 * MIB, PROT_NONE,
	    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	UT_TRUE(address != (char *)MAP_FAILED);
	munmap(address, size + 2 * MIB);
	return address + (-(uintptr_t)address & (2 * MIB - 1));
}

UT_TEST(address_is_honoured, UT_EACH)
{
	void *wish = free_address(256 * MIB);
	struct lshm_region *one =
	    ut_create(&(struct lshm_region_opts)LSHM_REGION_OPTS(.size = MIB,
		.max_size = 64 * MIB, .address = wish));
	struct lshm_region *two;

	UT_PTR(wish, lshm_region_base(one));
	wish = (char *)wish + 128 * MIB;
	UT_OK(ut_try_reopen(&two, one, 0,
	    &(struct lshm_region_opts)LSHM_REGION_OPTS(.address = wish)));
	UT_PTR(wish, lshm_region_base(two));
	lshm_region_close(two);
	lshm_region_close(one);
}

/* It is a hint: what is there already is not touched. */
UT_TEST(address_in_use, UT_EACH)
{
	char *taken = mmap(NULL, MIB, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct lshm_region *region;

	UT_TRUE(taken != MAP_FAILED);
	strlcpy(taken, "mine", 5);
	region =
	    ut_create(&(struct lshm_region_opts)LSHM_REGION_OPTS(.size = MIB,
		.address = taken));
	UT_TRUE(lshm_region_base(region) != (void *)taken);
	UT_STR("mine", taken);
	lshm_region_close(region);
	munmap(taken, MIB);
}

UT_TEST(base_is_page_aligned, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	uintptr_t base = (uintptr_t)lshm_region_base(region);

	UT_EQ(0, base % (uintptr_t)sysconf(_SC_PAGESIZE));
	lshm_region_close(region);
}

UT_TEST(nothing_is_left_mapped, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	void *base = lshm_region_base(region);
	unsigned char core;

	lshm_region_close(region);
	UT_EQ(-1, mincore(base, (size_t)sysconf(_SC_PAGESIZE), &core));
	UT_EQ(ENOMEM, errno);
}

UT_TEST(close_null, UT_ONCE)
{
	lshm_region_close(NULL);
	UT_STR("", lshm_error());
}

/* ---- observers ---- */

struct observed {
	struct lshm_mutex mutex;
	lshm_off field;
};

UT_TEST(observer_is_refused_every_change, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_region *observer = ut_reopen(region, LSHM_RDONLY);
	struct lshm_producer *producer;
	struct lshm_consumer *consumer;
	struct observed *object;
	void *block;

	UT_OK(lshm_object_create(
	    region, "o", "t", sizeof(*object), NULL, NULL, NULL));
	UT_OK(lshm_object_open(observer, "o", "t", 0, (void **)&object));
	UT_EQ(1, ut_info(observer).participants);
	UT_ERR(-EROFS, lshm_region_grow(observer, 2 * MIB), "observer");
	UT_ERR(-EROFS, lshm_region_reap(observer), "observer");
	UT_NULL(lshm_alloc(observer, 1), "observer");
	UT_NULL(lshm_alloc_aligned(observer, 64, 1), "observer");
	UT_NULL(lshm_strdup(observer, "a"), "observer");
	UT_ERR(-EROFS, lshm_free(observer, object), "observer");
	UT_ERR(-EROFS, lshm_mutex_lock(observer, &object->mutex, LSHM_NOW),
	    "observer");
	UT_ERR(-EROFS,
	    lshm_detach(observer, &object->mutex, &object->field, &block),
	    "observer");
	UT_ERR(-EROFS,
	    lshm_object_create(observer, "p", "t", 1, NULL, NULL, NULL),
	    "observer");
	UT_ERR(-EROFS, lshm_object_remove(observer, "o", "t"), "observer");
	UT_ERR(-EROFS,
	    lshm_producer_open(&producer, observer, "c",
		&(struct lshm_channel_opts)LSHM_CHANNEL_OPTS()),
	    "observer");
	UT_ERR(-EROFS,
	    lshm_consumer_open(&consumer, observer, "c",
		&(struct lshm_channel_opts)LSHM_CHANNEL_OPTS()),
	    "observer");
	UT_ERR(-EROFS, lshm_channel_remove(observer, "c"), "observer");
	lshm_region_close(observer);
	lshm_region_close(region);
}

static void write_body(struct lshm_region *observer, int fd, void *arg)
{
	volatile char *base = lshm_region_base(observer);

	signal(SIGSEGV, SIG_DFL); /* sanitizers have their own handler */
	base[ut_info(observer).heap_offset] = 1;
	UT_TRUE(!"the write was not refused");
}

UT_TEST(observer_cannot_write, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct ut_child child = ut_spawn(region, LSHM_RDONLY, write_body, NULL);

	ut_died_of(&child, SIGSEGV);
	UT_EQ(0, lshm_region_reap(region));
	lshm_region_close(region);
}

UT_TEST(observer_may_look, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_participant_info participant;
	struct lshm_channel_info channel;
	struct lshm_endpoint_info endpoint;
	struct lshm_object_info object;
	struct lshm_heap_info heap;
	struct lshm_producer *out;
	struct lshm_region *observer;
	uint64_t cursor = 0;
	size_t length;
	char *text;

	UT_OK(lshm_producer_open(
	    &out, region, "c", &(struct lshm_channel_opts)LSHM_CHANNEL_OPTS()));
	UT_SOME(text = lshm_strdup(region, "hello"));
	observer = ut_reopen(region, LSHM_RDONLY);
	UT_EQ(ut_info(region).size, ut_info(observer).size);
	UT_STR("hello",
	    lshm_at_string(observer, lshm_offset(region, text), &length));
	UT_EQ(5, length);
	UT_CMP(lshm_usable_size(
		   observer, lshm_at(observer, lshm_offset(region, text), 6)),
	    >=, 6);
	UT_OK(lshm_object_next(observer, &cursor, &object));
	UT_STR("c", object.name);
	UT_OK(lshm_heap_stat(observer, &heap));
	UT_CMP(heap.draft_blocks, >=, 1);
	UT_OK(lshm_channel_stat(observer, "c", &channel));
	UT_EQ(1, channel.producers);
	UT_OK(lshm_channel_endpoint(observer, "c", 0, &endpoint));
	UT_OK(lshm_region_participant(observer, 0, &participant));
	UT_EQ(LSHM_PARTICIPANT_ALIVE, participant.state);
	UT_EQ(0, participant.self);
	lshm_region_close(observer);
	lshm_producer_close(out);
	lshm_region_close(region);
}

/* It leaves no trace: not one byte changes. */
UT_TEST(observer_leaves_no_trace, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_participant_info participant;
	struct lshm_heap_info heap;
	struct lshm_region *observer;
	char *before = malloc(MIB);

	UT_OK(lshm_object_create(region, "o", "t", 8, NULL, NULL, NULL));
	memcpy(before, lshm_region_base(region), MIB);
	observer = ut_reopen(region, LSHM_RDONLY);
	ut_info(observer);
	UT_OK(lshm_heap_stat(observer, &heap));
	UT_OK(lshm_region_participant(observer, 0, &participant));
	UT_TRUE(memcmp(before, lshm_region_base(region), MIB) == 0);
	lshm_region_close(observer);
	UT_TRUE(memcmp(before, lshm_region_base(region), MIB) == 0);
	UT_EQ(1, ut_info(region).participants);
	free(before);
	lshm_region_close(region);
}

/* ---- growing ---- */

UT_TEST(grow, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	void *base = lshm_region_base(region);

	UT_OK(lshm_region_grow(region, MIB));
	UT_OK(lshm_region_grow(region, 1));
	UT_EQ(1 * MIB, ut_info(region).size);
	UT_OK(lshm_region_grow(region, 5 * MIB + 1));
	UT_EQ(5 * MIB + 64 * KIB, ut_info(region).size);
	UT_PTR(base, lshm_region_base(region));
	UT_OK(lshm_region_grow(region, 64 * MIB));
	UT_OK(lshm_region_grow(region, 64 * MIB));
	UT_EQ(64 * MIB, ut_info(region).size);
	UT_ERR(-E2BIG, lshm_region_grow(region, 64 * MIB + 1), "max_size");
	UT_ERR(-E2BIG, lshm_region_grow(region, UINT64_MAX), "max_size");
	UT_EQ(64 * MIB, ut_info(region).size);
	lshm_region_close(region);
}

struct page {
	lshm_off old;
	lshm_off fresh;
	lshm_off reply;
};

static void grow_body(struct lshm_region *region, int fd, void *arg)
{
	void *base = lshm_region_base(region);
	struct page *page;
	char *old, *reply;

	UT_OK(lshm_object_open(
	    region, "page", "page", sizeof(*page), (void **)&page));
	UT_SOME(old = lshm_at(region, page->old, 4));
	UT_STR("old", old);
	ut_say(fd, 0);
	ut_hear(fd); /* now it is larger */
	UT_STR("fresh", lshm_at(region, page->fresh, 8 * MIB));
	UT_PTR(base, lshm_region_base(region));
	UT_STR("old", old);
	UT_EQ(16 * MIB, ut_info(region).size);
	UT_SOME(reply = lshm_at(region, page->fresh + 4 * MIB, 6));
	strlcpy(reply, "reply", 6);
	ut_say(fd, 0);
	ut_hear(fd);
}

UT_TEST(grow_while_another_uses_it, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	void *base = lshm_region_base(region);
	struct ut_child child;
	struct page *page;
	char *old, *fresh;

	UT_OK(lshm_object_create(
	    region, "page", "page", sizeof(*page), NULL, NULL, (void **)&page));
	UT_SOME(old = lshm_strdup(region, "old"));
	page->old = lshm_offset(region, old);
	child = ut_spawn(region, 0, grow_body, NULL);
	ut_hear(child.fd);
	UT_OK(lshm_region_grow(region, 16 * MIB));
	UT_SOME(fresh = lshm_alloc(region, 8 * MIB));
	strlcpy(fresh, "fresh", 6);
	page->fresh = lshm_offset(region, fresh);
	UT_CMP(page->fresh + 8 * MIB, >, 1 * MIB);
	ut_say(child.fd, 0);
	ut_hear(child.fd);
	UT_STR("reply", fresh + 4 * MIB);
	UT_PTR(base, lshm_region_base(region));
	UT_STR("old", old);
	ut_say(child.fd, 0);
	ut_join(&child);
	lshm_region_close(region);
}

static void grower_body(struct lshm_region *region, int fd, void *arg)
{
	ut_say(fd, 0);
	ut_hear(fd);
	for (uint64_t size = 2 * MIB; size <= 64 * MIB; size += 2 * MIB) {
		UT_OK(lshm_region_grow(region, size));
		UT_CMP(ut_info(region).size, >=, size);
	}
}

/* Several at a time: it never becomes smaller. */
UT_TEST(grow_race, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct ut_child children[3];

	for (size_t i = 0; i < UT_COUNT(children); i++)
		children[i] = ut_spawn(region, 0, grower_body, NULL);
	for (size_t i = 0; i < UT_COUNT(children); i++)
		ut_hear(children[i].fd);
	for (size_t i = 0; i < UT_COUNT(children); i++)
		ut_say(children[i].fd, 0);
	for (size_t i = 0; i < UT_COUNT(children); i++)
		ut_join(&children[i]);
	UT_EQ(64 * MIB, ut_info(region).size);
	memset(lshm_at(region, 60 * MIB, 4 * MIB), 0, 4 * MIB);
	lshm_region_close(region);
}

static void slow_grower_body(struct lshm_region *region, int fd, void *arg)
{
	ut_say(fd, 0);
	for (uint64_t size = 2 * MIB; size <= 64 * MIB; size += 64 * KIB)
		UT_OK(lshm_region_grow(region, size));
	ut_say(fd, 0);
}

/* Who attaches while it grows sees one size or the other, and no damage. */
UT_TEST(attach_while_it_grows, UT_EACH)
{
	struct lshm_region *region;
	struct ut_child child;
	uint64_t size;

	for (uint64_t i = ut_scale(5); i; i--) {
		region = ut_create(UT_SMALL);
		child = ut_spawn(region, 0, slow_grower_body, NULL);
		ut_hear(child.fd);
		for (size = 0; size < 64 * MIB;) {
			struct lshm_region *again =
			    ut_reopen(region, LSHM_RDONLY);

			size = ut_info(again).size;
			lshm_region_close(again);
		}
		ut_hear(child.fd);
		ut_join(&child);
		lshm_region_close(region);
	}
}

/* ---- names ---- */

UT_TEST(unlink, UT_NAMED)
{
	struct lshm_region *old = ut_create(UT_SMALL);
	struct lshm_region *fresh;

	UT_OK(lshm_region_unlink(ut_name, LSHM_BACKEND_DEFAULT));
	UT_TRUE(!ut_exists(ut_name));
	UT_ERR(-ENOENT, lshm_region_unlink(ut_name, LSHM_BACKEND_DEFAULT));
	UT_ERR(-ENOENT, lshm_region_open(&fresh, ut_name, 0, NULL));
	/* those attached go on */
	UT_SOME(lshm_alloc(old, 100));
	UT_OK(lshm_region_grow(old, 4 * MIB));
	/* and the name is free for another one */
	UT_OK(lshm_region_open(
	    &fresh, ut_name, LSHM_CREATE | LSHM_EXCL, UT_SMALL));
	UT_TRUE(!same_region(old, fresh));
	lshm_region_close(old);
	UT_SOME(lshm_alloc(fresh, 100));
	lshm_region_close(fresh);
}

/* Nameless now, it can still be handed on. */
UT_TEST(send_after_unlink, UT_NAMED)
{
	struct lshm_region *one = ut_create(UT_SMALL);
	struct lshm_region *two;
	int sockets[2];

	UT_OK(lshm_region_unlink(ut_name, LSHM_BACKEND_DEFAULT));
	UT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
	UT_OK(lshm_region_send(one, sockets[0], 0));
	UT_OK(lshm_region_receive(&two, sockets[1], 0, NULL));
	UT_TRUE(same_region(one, two));
	close(sockets[0]);
	close(sockets[1]);
	lshm_region_close(one);
	lshm_region_close(two);
}

struct listing {
	struct lshm_region_info wanted;
	char found[256];
	unsigned int n;
};

static int list_one(const char *name, void *arg)
{
	struct listing *listing = arg;
	struct lshm_region *region;

	listing->n++;
	/* others come and go meanwhile */
	if (lshm_region_open(
		&region, name, LSHM_RDONLY | LSHM_ANY_OWNER, NULL) < 0)
		return 0;
	if (memcmp(ut_info(region).uuid, listing->wanted.uuid, 16) == 0)
		strlcpy(listing->found, name, sizeof(listing->found));
	lshm_region_close(region);
	return 0;
}

static int list_stop(const char *name, void *arg)
{
	++*(int *)arg;
	return -77;
}

UT_TEST(list, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct listing listing = {.wanted = ut_info(region)};
	char pid[40];
	int calls = 0;

	UT_OK(lshm_region_list(list_one, &listing));
	switch (ut_backend->id) {
	case LSHM_BACKEND_KERNEL:
		UT_STR(ut_name, listing.found);
		break;
	case LSHM_BACKEND_POSIX:
		UT_TRUE(strcmp(listing.found, ut_name) == 0 ||
			strcmp(listing.found, strchr(ut_name, ':') + 1) == 0);
		break;
	case LSHM_BACKEND_MEMFD:
		snprintf(pid, sizeof(pid), "file:/proc/%d/fd/", getpid());
		UT_TRUE(strncmp(listing.found, pid, strlen(pid)) == 0);
		break;
	default: /* known only to those who use it */
		UT_STR("", listing.found);
	}
	if (listing.n) {
		UT_EQ(-77, lshm_region_list(list_stop, &calls));
		UT_EQ(1, calls);
	}
	lshm_region_close(region);
}

/* ---- handing on ---- */

UT_TEST(open_fd, UT_NAMED)
{
	struct lshm_region *one = ut_create(UT_SMALL);
	struct lshm_region *two, *observer;
	int fd = ut_open_backing(ut_name, O_RDWR);

	UT_OK(lshm_region_open_fd(&two, fd, 0, NULL));
	UT_OK(lshm_region_open_fd(&observer, fd, LSHM_RDONLY, NULL));
	UT_EQ(0, close(fd)); /* it was borrowed */
	UT_TRUE(same_region(one, two));
	UT_TRUE(same_region(one, observer));
	UT_EQ(2, ut_info(one).participants);
	lshm_region_close(observer);
	lshm_region_close(two);
	lshm_region_close(one);
}

static void receive_body(struct lshm_region *region, int fd, void *arg)
{
	UT_EQ(2, ut_info(region).participants);
	UT_SOME(lshm_alloc(region, 10));
}

UT_TEST(send_to_another_process, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct ut_child child = ut_spawn(region, 0, receive_body, NULL);

	ut_join(&child);
	UT_EQ(1, ut_info(region).participants);
	UT_EQ(0, ut_info(region).deaths);
	lshm_region_close(region);
}

UT_TEST(what_is_sent, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_region *again;
	int sockets[2], fd;

	UT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
	UT_OK(lshm_region_send(region, sockets[0], 0));
	fd = receive_fd(sockets[1]);
	UT_EQ(O_RDWR, fcntl(fd, F_GETFL) & O_ACCMODE);
	UT_OK(lshm_region_open_fd(&again, fd, 0, NULL));
	lshm_region_close(again);
	close(fd);
	UT_OK(lshm_region_send(region, sockets[0], LSHM_RDONLY));
	fd = receive_fd(sockets[1]);
	UT_EQ(O_RDONLY, fcntl(fd, F_GETFL) & O_ACCMODE);
	UT_OK(lshm_region_open_fd(&again, fd, LSHM_RDONLY, NULL));
	UT_ERR(-EROFS, lshm_region_reap(again));
	lshm_region_close(again);
	close(fd);
	close(sockets[0]);
	close(sockets[1]);
	lshm_region_close(region);
}

UT_TEST(send_and_receive_refusals, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_region *again = region;
	int sockets[2];

	UT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
	UT_ERR(-EINVAL, lshm_region_send(region, sockets[0], LSHM_CREATE));
	UT_EQ(1, write(sockets[0], "x", 1));
	/* bad flags are refused before the message is read */
	UT_ERR(-EINVAL,
	    lshm_region_receive(&again, sockets[1], LSHM_CREATE, NULL));
	UT_ERR(-EBADMSG, lshm_region_receive(&again, sockets[1], 0, NULL),
	    "descriptor");
	close(sockets[0]);
	UT_ERR(-ENODATA, lshm_region_receive(&again, sockets[1], 0, NULL),
	    "closed");
	UT_TRUE(lshm_region_send(region, sockets[1], 0) < 0);
	close(sockets[1]);
	UT_ERR(-EBADF, lshm_region_send(region, sockets[1], 0));
	UT_ERR(-EBADF, lshm_region_open_fd(&again, sockets[1], 0, NULL));
	UT_ERR(-EBADF, lshm_region_open_fd(&again, -1, 0, NULL));
	UT_PTR(region, again); /* out is left alone on failure */
	lshm_region_close(region);
}
