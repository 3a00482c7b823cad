/* SPDX-License-Identifier: MIT */
/*
 * test_regressions.c - what has been wrong once, and must not be again
 *
 * Each test names the interleaving, or the hostile bytes, that it guards
 * against. What has been wrong in channels is in test_channel_regressions.c.
 */
#include "channels.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "../../libshm/layout.h"

#define ECORRUPT LSHM_ECORRUPT

static struct lshmi_header *header(struct lshm_region *region)
{
	return lshm_region_base(region);
}

static void *at(struct lshm_region *region, uint64_t offset)
{
	return (char *)lshm_region_base(region) + offset;
}

/* ---- memory of this process ---- */

static void makes_mutex(struct lshm_region *region, int fd, void *arg)
{
	UT_OK(lshm_object_create(region, "lock", "lock",
	    sizeof(struct lshm_mutex), NULL, NULL, NULL));
}

/* That there is no memory for a lane is not to say that all are taken. */
UT_TEST(no_memory_for_a_lane, UT_EACH)
{
	struct lshm_region *region;
	struct ut_child child;
	struct eaten {
		struct eaten *next;
	} *eaten = NULL, *e;
	void *mutex;

	if (UT_NO_MLOCK)
		ut_skip("malloc() does not fail under a sanitizer");
	region = ut_create(UT_SMALL);
	child = ut_spawn(region, 0, makes_mutex, NULL);
	ut_join(&child);
	UT_OK(lshm_object_open(region, "lock", "lock", 0, &mutex));
	ut_allow_mapping(false);
	for (size_t size = MIB; size >= 4 * KIB; size /= 2)
		while ((e = malloc(size))) {
			e->next = eaten;
			eaten = e;
		}
	UT_ERR(
	    -ENOMEM, lshm_mutex_lock(region, mutex, LSHM_NOW), "this process");
	UT_ERR(-ENOMEM,
	    lshm_object_create(region, "o", "o", 8, NULL, NULL, NULL),
	    "this process");
	UT_ERR(-ENOMEM, lshm_region_grow(region, 2 * MIB), "this process");
	while ((e = eaten)) {
		eaten = e->next;
		free(e);
	}
	ut_allow_mapping(true);
	UT_OK(lshm_mutex_lock(region, mutex, LSHM_NOW));
	UT_OK(lshm_mutex_unlock(region, mutex));
	lshm_region_close(region);
}

/* ---- attaching and reaping ---- */

static void join_and_die(struct lshm_region *region, int fd, void *arg)
{
	consumer(region, "c", UT_CHANNEL(LSHM_WORK, .depth = 4));
	raise(SIGKILL);
}

/*
 * Whoever attaches sweeps the dead before its handle is open: that sweep, too,
 * must see the channels, or the ends of the dead stay taken for ever.
 */
UT_TEST(sweep_while_attaching_sees_channels, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_endpoint_info end;

	for (int i = 0; i < LSHM_ENDPOINTS_MAX; i++) {
		struct ut_child child = ut_spawn(region, 0, join_and_die, NULL);

		ut_died_of(&child, SIGKILL);
	}
	lshm_consumer_close(
	    consumer(region, "c", UT_CHANNEL(LSHM_WORK, .depth = 4)));
	UT_CMP(lshm_region_reap(region), <=, 1);
	for (uint32_t i = 0; i < 2 * LSHM_ENDPOINTS_MAX; i++)
		UT_ERR(-ENOENT, lshm_channel_endpoint(region, "c", i, &end));
	UT_OK(lshm_channel_remove(region, "c"));
	lshm_region_close(region);
}

static void reads(struct lshm_region *region, int fd, void *arg)
{
	struct lshm_rwlock *lock;

	UT_OK(lshm_object_open(region, "lock", "lock", 0, (void **)&lock));
	UT_EQ(0, lshm_rwlock_read(region, lock, LSHM_NOW));
	ut_say(fd, 0);
	ut_hear(fd);
	UT_OK(lshm_rwlock_unlock(region, lock));
}

struct cancelled {
	struct lshm_region *region;
	struct lshm_rwlock *lock;
	int written;
	void *block;
};

static void *cancelled_thread(void *arg)
{
	struct cancelled *c = arg;

	pthread_cancel(pthread_self());
	/* looks whether the reader lives */
	c->written = lshm_rwlock_write(c->region, c->lock, LSHM_NOW);
	/* makes the region grow */
	c->block = lshm_alloc(c->region, 8 * MIB);
	return NULL;
}

/*
 * A thread is to be cancelled, and makes calls that wait, or grow the region:
 * they end as always, and none of the locks they take stays behind.
 */
UT_TEST(cancelled_in_a_call, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct cancelled c = {.region = region};
	struct ut_child child;
	pthread_t thread;
	void *ended;

	UT_OK(lshm_object_create(region, "lock", "lock", sizeof(*c.lock), NULL,
	    NULL, (void **)&c.lock));
	child = ut_spawn(region, 0, reads, NULL);
	ut_hear(child.fd);
	UT_EQ(0, pthread_create(&thread, NULL, cancelled_thread, &c));
	UT_EQ(0, pthread_join(thread, &ended));
	UT_PTR(NULL, ended);
	UT_EQ(-EAGAIN, c.written);
	UT_SOME(c.block);
	UT_EQ(0, c.lock->writer.word);
	UT_EQ(0, header(region)->heap_lock.word);
	ut_say(child.fd, 0);
	ut_join(&child);
	lshm_region_close(region);
}

static int ignore_name(const char *name, void *arg)
{
	return 0;
}

static void *opens_cancelled(void *arg)
{
	struct lshm_region *region, *again;
	struct lshm_region_info info;

	pthread_cancel(pthread_self());
	region = ut_create(UT_SMALL);
	if (ut_backend->named) {
		UT_OK(lshm_region_open(&again, ut_name, 0, NULL));
		UT_OK(lshm_region_list(ignore_name, NULL));
		UT_OK(lshm_region_unlink(ut_name, LSHM_BACKEND_DEFAULT));
		lshm_region_close(again);
	}
	UT_OK(lshm_region_stat(region, &info));
	lshm_region_close(region);
	return "ended";
}

static void does_nothing(struct lshm_region *region, int fd, void *arg)
{
}

/*
 * The same of calls on whole regions, which hold a lock of the process's and a
 * descriptor with the lock of a slot: the one would keep all other threads from
 * opening and from fork(), the other the slot from everybody.
 */
UT_TEST(cancelled_while_opening, UT_EACH)
{
	struct lshm_region *region;
	struct ut_child child;
	pthread_t thread;
	void *ended;

	UT_EQ(0, pthread_create(&thread, NULL, opens_cancelled, NULL));
	UT_EQ(0, pthread_join(thread, &ended));
	UT_TRUE(ended != PTHREAD_CANCELED);
	UT_STR("ended", ended);
	region = ut_create(UT_SMALL);
	child = ut_spawn(region, 0, does_nothing, NULL);
	ut_join(&child);
	lshm_region_close(region);
}

struct passing {
	struct lshm_region *region;
	int sockets[2];
};

static void *sends_cancelled(void *arg)
{
	const struct passing *p = arg;

	pthread_cancel(pthread_self());
	lshm_region_send(p->region, p->sockets[0], 0);
	return NULL;
}

static void *receives_cancelled(void *arg)
{
	const struct passing *p = arg;
	struct lshm_region *region;

	pthread_cancel(pthread_self());
	lshm_region_receive(&region, p->sockets[1], 0, NULL);
	return NULL;
}

/* Whoever waits for a socket can be cancelled, and no descriptor stays. */
UT_TEST(cancelled_while_passing_on, UT_EACH)
{
	struct passing p = {.region = ut_create(UT_SMALL)};
	struct lshm_region *again;
	unsigned int fds;
	pthread_t thread;
	void *ended;

	UT_EQ(0,
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, p.sockets));
	fds = ut_count_fds();
	UT_EQ(0, pthread_create(&thread, NULL, sends_cancelled, &p));
	UT_EQ(0, pthread_join(thread, &ended));
	UT_PTR(PTHREAD_CANCELED, ended);
	UT_EQ(0, pthread_create(&thread, NULL, receives_cancelled, &p));
	UT_EQ(0, pthread_join(thread, &ended));
	UT_PTR(PTHREAD_CANCELED, ended);
	UT_EQ(fds, ut_count_fds());
	UT_OK(lshm_region_send(p.region, p.sockets[0], 0));
	UT_OK(lshm_region_receive(&again, p.sockets[1], 0, NULL));
	close(p.sockets[0]);
	close(p.sockets[1]);
	lshm_region_close(again);
	lshm_region_close(p.region);
}

struct two_locks {
	struct lshm_mutex lock[2];
};

/* One of the two who find the table full of the dead. */
static void newcomer(struct lshm_region *none, int fd, void *arg)
{
	struct lshm_region *region;
	struct lshm_participant_info self = {0};
	struct two_locks *locks;
	void *block;
	int ret;

	ut_hear(fd);
	do /* the dead one's reaper may be at work */
		ret = lshm_region_open(&region, ut_name, 0, NULL);
	while (ret == -EUSERS);
	UT_OK(ret);
	UT_OK(lshm_object_open(region, "locks", "locks", 0, &block));
	locks = block;
	UT_OK(lshm_mutex_lock(region, &locks->lock[*(int *)arg], UT_SOON));
	for (uint32_t i = 0; i < 3 && !self.self; i++)
		UT_OK(lshm_region_participant(region, i, &self));
	ut_say(fd, self.slot);
	ut_hear(fd);
	UT_OK(lshm_mutex_unlock(region, &locks->lock[*(int *)arg]));
	lshm_region_close(region);
}

static void sit(struct lshm_region *region, int fd, void *arg)
{
	ut_say(fd, 0);
	pause();
}

/*
 * Two newcomers and a reaper fall upon a table full of the dead: no slot gets
 * two owners, and nobody reaps one who lives.
 */
UT_TEST(newcomers_among_the_dead, UT_NAMED)
{
	struct lshm_region *region =
	    ut_create(&(struct lshm_region_opts)LSHM_REGION_OPTS(.size = MIB,
		.max_participants = 3));
	struct two_locks *locks;
	void *block;

	UT_OK(lshm_object_create(
	    region, "locks", "locks", sizeof(*locks), NULL, NULL, &block));
	locks = block;
	for (uint64_t n = ut_scale(50); n; n--) {
		struct ut_child dead[2], new[2];
		struct lshm_participant_info info;
		uint64_t slot[2];
		int number[2] = {0, 1};

		for (int i = 0; i < 2; i++) {
			new[i] = ut_spawn(NULL, 0, newcomer, &number[i]);
			dead[i] = ut_spawn(region, 0, sit, NULL);
		}
		for (int i = 0; i < 2; i++)
			ut_hear(dead[i].fd);
		for (int i = 0; i < 2; i++)
			ut_kill(&dead[i]);
		for (int i = 0; i < 2; i++)
			ut_say(new[i].fd, 0);
		if (n % 2)
			lshm_region_reap(region);
		for (int i = 0; i < 2; i++)
			slot[i] = ut_hear(new[i].fd);
		UT_CMP(slot[0], !=, slot[1]);
		UT_EQ(0, lshm_region_reap(region));
		for (int i = 0; i < 2; i++) {
			UT_OK(lshm_region_participant(
			    region, (uint32_t)slot[i], &info));
			UT_EQ(LSHM_PARTICIPANT_ALIVE, info.state);
			UT_EQ(new[i].pid, info.pid);
			UT_ERR(-EAGAIN,
			    lshm_mutex_lock(region, &locks->lock[i], LSHM_NOW));
		}
		for (int i = 0; i < 2; i++)
			ut_say(new[i].fd, 0);
		for (int i = 0; i < 2; i++)
			ut_join(&new[i]);
	}
	lshm_region_close(region);
}

static void on_processor(int number)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(number, &set);
	UT_EQ(0, sched_setaffinity(0, sizeof(set), &set));
}

/* Has the lock again before the one whom it has woken gets there. */
static void always_first(struct lshm_region *region, int fd, void *arg)
{
	struct lshm_mutex *lock = &header(region)->heap_lock;

	on_processor(*(int *)arg);
	UT_OK(lshm_mutex_lock(region, lock, LSHM_NOW));
	ut_say(fd, 0);
	for (int i = 0; i < 30; i++) {
		usleep(100000);
		UT_OK(lshm_mutex_unlock(region, lock));
		UT_OK(lshm_mutex_lock(region, lock, UT_SOON));
	}
	UT_OK(lshm_mutex_unlock(region, lock));
}

static void never_first(struct lshm_region *region, int fd, void *arg)
{
	int now = getpriority(PRIO_PROCESS, 0);

	on_processor(*(int *)arg);
	UT_EQ(0, setpriority(PRIO_PROCESS, 0, now < 10 ? 10 : now));
	UT_OK(lshm_region_grow(region, 4 * MIB));
}

/*
 * Who has the heap's lock now and had it a second ago may have given it up in
 * between: that is not to be stopped, and who waits is not refused.
 */
UT_TEST(one_is_always_first, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	int processor = sched_getcpu();
	struct ut_child first, second;

	first = ut_spawn(region, 0, always_first, &processor);
	ut_hear(first.fd);
	second = ut_spawn(region, 0, never_first, &processor);
	ut_join(&second);
	ut_join(&first);
	lshm_region_close(region);
}

static void lock_and_die(struct lshm_region *region, int fd, void *arg)
{
	void *lock;

	UT_OK(lshm_object_open(region, "stale", "lock", 0, &lock));
	UT_OK(lshm_mutex_lock(region, lock, LSHM_NOW));
	raise(SIGKILL);
}

/* The lane that a lock's word names. */
static struct lshmi_lane_rec *lane_of(
    struct lshm_region *region, const struct lshm_mutex *lock)
{
	struct lshmi_lane_rec *lanes = at(region, header(region)->lanes_off);

	return &lanes[((lock->word >> 1) & 0xffff) - 1];
}

/* Stands still in the middle of a replacement, in the lane used before. */
static void replace_for_ever(struct lshm_region *region, int fd, void *arg)
{
	struct lshmi_lane_rec *lane;
	void *lock;

	UT_OK(lshm_object_open(region, "stale", "lock", 0, &lock));
	UT_SOME(lshm_alloc(region, 1));
	lane = lane_of(region, lock);
	lane->intent_field = lshm_offset(region, lock);
	lane->intent |= LSHMI_INTENT_PENDING;
	ut_say(fd, lane->word & 0xffff);
	ut_hear(fd);
	UT_EQ(LSHMI_INTENT_PENDING, lane->intent & LSHMI_INTENT_STATE);
	lane->intent &= ~(uint64_t)LSHMI_INTENT_STATE;
}

/*
 * A lock still names a lane that has been swept and is somebody else's by now:
 * who takes the lock over decides nothing about the new one's replacement.
 */
UT_TEST(stale_lock_decides_nothing, UT_EACH)
{
	struct lshm_region *region =
	    ut_create(&(struct lshm_region_opts)LSHM_REGION_OPTS(.size = MIB,
		.max_participants = 2));
	struct ut_child child;
	void *lock;

	UT_OK(lshm_object_create(region, "stale", "lock",
	    sizeof(struct lshm_mutex), NULL, NULL, &lock));
	child = ut_spawn(region, 0, lock_and_die, NULL);
	ut_died_of(&child, SIGKILL);
	UT_EQ(1, lshm_region_reap(region));
	UT_EQ(0, lane_of(region, lock)->word & 0xffff);
	child = ut_spawn(region, 0, replace_for_ever, NULL);
	UT_EQ(2, ut_hear(child.fd)); /* slot 1 has the lane anew */
	UT_EQ(LSHM_OWNER_DIED, lshm_mutex_lock(region, lock, UT_SOON));
	ut_say(child.fd, 0);
	ut_join(&child);
	UT_OK(lshm_mutex_unlock(region, lock));
	lshm_region_close(region);
}

static uint64_t attached(struct lshm_region *region)
{
	struct lshm_heap_info info;

	UT_OK(lshm_heap_stat(region, &info));
	return info.attached_blocks;
}

/* Dies with the lock; said to have begun a change of what is no field. */
static void forge_and_die(struct lshm_region *region, int fd, void *arg)
{
	struct lshmi_lane_rec *lane;
	void *lock, *block = lshm_alloc(region, 100);

	UT_OK(lshm_object_open(region, "stale", "lock", 0, &lock));
	UT_EQ(0, lshm_mutex_lock(region, lock, LSHM_NOW));
	lane = lane_of(region, lock);
	lane->intent_field =
	    lshm_offset(region, lock) + 9; /* 7 zero bytes, 1 */
	lane->intent_value = (uint64_t)1 << 56;
	lane->intent_take = lshm_offset(region, block);
	lane->intent_take_too = lane->intent_give_too = 0;
	lane->intent |=
	    LSHMI_INTENT_PENDING | LSHMI_INTENT_TAKES | LSHMI_INTENT_MORE;
	raise(SIGKILL);
}

/*
 * A change that is said to be under way names 8 bytes that no field can have:
 * they are not looked at, since an atomic access to them would trap on some
 * machines, and the change has not happened.
 */
UT_TEST(intent_names_no_field, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct ut_child child;
	uint64_t before;
	char *lock;

	UT_OK(lshm_object_create(
	    region, "stale", "lock", 24, NULL, NULL, (void **)&lock));
	lock[16] = 1;
	before = attached(region);
	child = ut_spawn(region, 0, forge_and_die, NULL);
	ut_died_of(&child, SIGKILL);
	UT_EQ(LSHM_OWNER_DIED, lshm_mutex_lock(region, (void *)lock, UT_SOON));
	UT_OK(lshm_mutex_unlock(region, (void *)lock));
	UT_EQ(before, attached(region));
	lshm_region_close(region);
}

static void attach_here(struct lshm_region **region, int fd)
{
	if (ut_backend->named)
		UT_OK(lshm_region_open(region, ut_name, 0, NULL));
	else
		UT_OK(lshm_region_receive(region, fd, 0, NULL));
}

static void *use_heap(void *region)
{
	UT_OK(lshm_free(region, lshm_alloc(region, 8)));
	return NULL;
}

static void close_inherited(struct lshm_region *none, int fd, void *inherited)
{
	struct lshm_region *region;
	pthread_t thread;

	lshm_region_close(inherited);
	/* may come to lie where the parent has its handle */
	UT_TRUE(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		    0) != MAP_FAILED);
	attach_here(&region, fd);
	use_heap(region);
	lshm_region_close(region);
	attach_here(&region, fd);
	UT_EQ(0, pthread_create(&thread, NULL, use_heap, region));
	pthread_join(thread, NULL);
	use_heap(region);
	lshm_region_close(region);
}

/*
 * A fork child closes the handle it inherited and opens its own, at the same
 * addresses: nothing remembered of the old one is taken for the new one's.
 */
UT_TEST(child_closes_inherited_handle, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct ut_child child;

	use_heap(region);
	child = ut_spawn(NULL, 0, close_inherited, region);
	for (int i = 0; i < 2 && !ut_backend->named; i++)
		UT_OK(lshm_region_send(region, child.fd, 0));
	ut_join(&child);
	use_heap(region);
	lshm_region_close(region);
}

static void reuse_descriptors(struct lshm_region *region, int fd, void *path)
{
	struct lshm_heap_info before, after;
	int last = fcntl(fd, F_DUPFD_CLOEXEC, 100), log;
	struct stat st;

	UT_OK(lshm_heap_stat(region, &before));
	for (int i = 3; i < 100; i++)
		close(i);
	do
		log = open(path, O_RDWR | O_CREAT, 0600);
	while (log < 99);
	UT_NULL(lshm_alloc(region, 8 * MIB), "descriptor");
	UT_ERR(-EBADF, lshm_region_grow(region, 8 * MIB), "descriptor");
	UT_EQ(0, fstat(log, &st));
	UT_EQ(0, st.st_size);
	UT_OK(lshm_heap_stat(region, &after));
	UT_EQ(before.total_bytes, after.total_bytes);
	/* grown by another, it is mapped as ever, or not at all */
	ut_say(last, 0);
	void *block = lshm_at(region, ut_hear(last), 8 * MIB);

	if (block)
		UT_EQ(0x5a, ((unsigned char *)block)[8 * MIB - 1]);
	/* so is memory that it takes now, which may lie there */
	block = lshm_alloc(region, 100);
	if (block)
		memset(block, 1, 100);
	else
		UT_TRUE(lshm_error()[0]);
	UT_EQ(0, fstat(log, &st));
	UT_EQ(0, st.st_size);
}

/*
 * The program closes all descriptors, and theirs become numbers of its own
 * files: those are neither grown nor mapped in the region's place.
 */
UT_TEST(descriptor_number_reused, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct ut_child child;
	char path[256], *block;

	snprintf(path, sizeof(path), "%s/log", ut_dir());
	child = ut_spawn(region, 0, reuse_descriptors, path);
	ut_hear(child.fd);
	UT_SOME(block = lshm_alloc(region, 8 * MIB));
	memset(block, 0x5a, 8 * MIB);
	ut_say(child.fd, lshm_offset(region, block));
	ut_join(&child);
	UT_EQ(0, unlink(path));
	lshm_region_close(region);
}

/* ---- memory ---- */

static void hold_everything(struct lshm_region *region, int fd, void *arg)
{
	while (lshm_alloc(region, 100000))
		;
	while (lshm_alloc(region, 100))
		;
	raise(SIGKILL);
}

/* The heap is full of what a dead process held: that is no want of memory. */
UT_TEST(memory_of_the_dead, UT_EACH)
{
	struct lshm_region *region = ut_create(
	    &(struct lshm_region_opts)LSHM_REGION_OPTS(.size = 4 * MIB));
	struct ut_child child = ut_spawn(region, 0, hold_everything, NULL);

	ut_died_of(&child, SIGKILL);
	UT_SOME(lshm_alloc(region, MIB));
	UT_SOME(lshm_alloc(region, 32));
	lshm_region_close(region);
}

static void cut_and_merge(struct lshm_region *region, int fd, void *arg)
{
	uint64_t random = 1;
	void *blocks[32] = {0};

	ut_say(fd, 0);
	for (;;) {
		void **block = &blocks[ut_random(&random) % 32];

		if (*block)
			UT_OK(lshm_free(region, *block));
		*block = *block
			     ? NULL
			     : lshm_alloc(region,
				   ut_random(&random) % 2 ? 1000000 : 200000);
	}
}

/* Runs that are cut and merged meanwhile are no damage. */
UT_TEST(heap_stat_under_load, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct ut_child child = ut_spawn(region, 0, cut_and_merge, NULL);
	struct lshm_heap_info info;

	ut_hear(child.fd);
	for (uint64_t n = ut_scale(20000); n; n--)
		UT_OK(lshm_heap_stat(region, &info));
	ut_kill(&child);
	lshm_region_close(region);
}

/* ---- hostile bytes: an error, or no harm; never a crash, nor for ever ---- */

UT_TEST(hostile_directory, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	uint64_t first = header(region)->directory_off, cursor = 0, n = 0;
	struct lshmi_directory *directory = at(region, first);
	struct lshm_object_info info;
	struct lshm_region *again;
	void *block;

	UT_OK(lshm_object_create(region, "o", "t", 8, NULL, NULL, NULL));
	directory->next = first; /* a circle */
	UT_TRUE(lshm_object_open(region, "none", "t", 8, &block) < 0);
	UT_OK(lshm_object_open(region, "o", "t", 8, &block));
	while (lshm_object_next(region, &cursor, &info) == 0)
		UT_CMP(++n, <, 1000000);
	UT_TRUE(lshm_object_remove(region, "none", "t") < 0);
	directory->next = UINT64_C(1) << 45;
	UT_TRUE(lshm_object_open(region, "none", "t", 8, &block) < 0);
	directory->next = 0;
	/* those who are attached do not look at it again */
	header(region)->directory_off = UINT64_C(1) << 45;
	UT_OK(lshm_object_open(region, "o", "t", 8, &block));
	UT_ERR(-ECORRUPT, ut_try_reopen(&again, region, 0, NULL));
	header(region)->directory_off = first;
	lshm_region_close(region);
}

UT_TEST(hostile_mutex_address, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_mutex *beyond = at(region, 32 * MIB); /* not there yet */

	UT_ERR(-EINVAL, lshm_mutex_lock(region, beyond, LSHM_NOW));
	UT_ERR(-EINVAL, lshm_mutex_unlock(region, beyond));
	lshm_region_close(region);
}

/* The page map says that the slab in use is cut into smaller blocks. */
UT_TEST(hostile_slab, UT_EACH)
{
	struct lshm_region *region =
	    ut_create(&(struct lshm_region_opts)LSHM_REGION_OPTS(.size = MIB));
	uint64_t *entry = at(region, header(region)->pagemap_off), good;
	char *base = lshm_region_base(region), *block;
	uint64_t *blocks[1024], n = 0;

	UT_SOME(block = lshm_alloc(region, 1000));
	entry += lshm_offset(region, block) / LSHMI_PAGE;
	good = *entry;
	*entry &= ~(UINT64_C(127) << 48);
	while ((block = lshm_alloc(region, 1000))) {
		UT_TRUE(block >= base + header(region)->heap_off);
		UT_TRUE(block + 1000 <= base + MIB);
		UT_CMP(n, <, UT_COUNT(blocks));
		blocks[n] = (uint64_t *)block;
		memset(block, 0, 1000);
		*blocks[n] = n;
		n++;
	}
	*entry = good;
	while (n--) { /* nobody's bytes are somebody else's, too */
		UT_EQ(n, *blocks[n]);
		UT_OK(lshm_free(region, blocks[n]));
	}
	lshm_region_close(region);
}
