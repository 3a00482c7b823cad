/* SPDX-License-Identifier: MIT */
/*
 * crash_death.c - ways to die, and ways not to, beside plain SIGKILL
 */
#include "scene.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

extern char **environ;

/* ---- deaths ---- */

UT_TEST(killed_while_stopped, UT_EACH)
{
	struct victim v;

	victim_start(&v, waits);
	ut_stop(&v.child);
	ut_kill(&v.child);
	victim_is_dead(&v);
}

static void exits(int fd)
{
	_exit(0);
}

UT_TEST(exited_without_a_word, UT_EACH)
{
	struct victim v;

	victim_start(&v, exits);
	ut_join(&v.child);
	victim_is_dead(&v);
}

static void faults(int fd)
{
	/* a sanitizer's handler would end it in another way */
	signal(SIGSEGV, SIG_DFL);
	raise(SIGSEGV);
}

UT_TEST(died_of_a_fault, UT_EACH)
{
	struct victim v;

	victim_start(&v, faults);
	ut_died_of(&v.child, SIGSEGV);
	victim_is_dead(&v);
}

static void spawns(int fd)
{
	char *const arguments[] = {(char *)"sleep", (char *)"60", NULL};
	pid_t pid;

	UT_EQ(
	    0, posix_spawn(&pid, "/bin/sleep", NULL, NULL, arguments, environ));
	ut_say(fd, (uint64_t)pid);
	pause();
}

/* A program that it has started lives on. */
UT_TEST(killed_but_its_program_lives, UT_EACH)
{
	struct victim v;
	pid_t pid;

	victim_start(&v, spawns);
	pid = (pid_t)ut_hear(v.child.fd);
	ut_kill(&v.child);
	victim_is_dead(&v);
	UT_EQ(0, kill(pid, SIGKILL));
	ut_wait_gone(pid);
}

/* ---- no deaths ---- */

/* A daemon closes what it has not opened; here, all but the way to talk. */
static void closes_all(int fd)
{
	syscall(SYS_close_range, 3, fd - 1, 0);
	syscall(SYS_close_range, fd + 1, ~0u, 0);
	ut_say(fd, 0);
	pause();
}

UT_TEST(alive_after_close_range, UT_EACH)
{
	struct victim v;

	victim_start(&v, closes_all);
	ut_hear(v.child.fd);
	victim_is_alive(&v);
	victim_dies_at_last(&v);
}

UT_TEST(alive_while_stopped, UT_EACH)
{
	struct victim v;

	victim_start(&v, waits);
	ut_stop(&v.child);
	victim_is_alive(&v);
	victim_dies_at_last(&v);
}

static void *second_thread(void *arg)
{
	ut_wait_gone(getpid()); /* the first thread, that is */
	ut_say((int)(intptr_t)arg, 0);
	pause();
	return NULL;
}

static void leaves_a_thread(int fd)
{
	pthread_t thread;

	UT_EQ(0,
	    pthread_create(&thread, NULL, second_thread, (void *)(intptr_t)fd));
	pthread_exit(NULL);
}

/* The first thread is a zombie, and the process goes on. */
UT_TEST(alive_without_its_first_thread, UT_EACH)
{
	struct victim v;

	victim_start(&v, leaves_a_thread);
	ut_hear(v.child.fd);
	victim_is_alive(&v);
	victim_dies_at_last(&v);
}

/* ---- two attachments in one process: each is somebody of its own ---- */

UT_TEST(one_of_two_attachments_ends, UT_EACH)
{
	struct shared *shared, *again;
	struct lshm_region *first = create(&shared);
	struct crash_books books = CRASH_BOOKS(first);
	struct lshm_region *second = ut_reopen(first, 0);
	struct lshm_message m;
	struct lshm_consumer *in;
	struct lshm_producer *out;
	void *block;

	again = find(second);
	UT_TRUE(again != shared);
	UT_EQ(0, lshm_region_reap(first));
	UT_EQ(0, lshm_region_reap(second));
	UT_OK(lshm_mutex_lock(first, &shared->mutex, LSHM_NOW));
	UT_EQ(-EAGAIN, lshm_mutex_lock(second, &again->mutex, LSHM_NOW));
	UT_EQ(-EPERM, lshm_mutex_unlock(second, &again->mutex));
	block = lshm_alloc(second, 100);
	UT_EQ(-EPERM,
	    lshm_free(first, lshm_at(first, lshm_offset(second, block), 1)));
	UT_OK(lshm_free(second, block));
	out = producer(first, "c", &work);
	in = consumer(second, "c", &work);
	UT_OK(send_number(out, 9, UT_SOON));
	m = take(in);
	UT_EQ(9, number_in(&m));
	lshm_consumer_close(in);
	in = consumer(first, "c", &work);
	m = take(in);
	UT_EQ(2, m.deliveries);
	UT_OK(lshm_consumer_release(in, &m));
	lshm_consumer_close(in);
	lshm_producer_close(out);
	UT_OK(lshm_channel_remove(first, "c"));
	lshm_region_close(first); /* the lock still held */
	UT_EQ(LSHM_OWNER_DIED, lshm_mutex_lock(second, &again->mutex, UT_SOON));
	UT_OK(lshm_mutex_unlock(second, &again->mutex));
	books.attached_blocks++; /* the descriptors */
	UT_EQ(books.attached_blocks, CRASH_BOOKS(second).attached_blocks);
	UT_EQ(1, CRASH_BOOKS(second).participants);
	lshm_region_close(second);
}

/* ---- memory, files, descriptors ---- */

static void hoards_body(struct lshm_region *region, int fd, void *arg)
{
	while (lshm_alloc(region, 100000))
		;
	ut_say(fd, 0);
	pause();
}

/* The heap is full of what a dead one held: who allocates gets it. */
UT_TEST(memory_of_the_dead, UT_EACH)
{
	struct lshm_region *region = ut_create(
	    &(struct lshm_region_opts)LSHM_REGION_OPTS(.size = 4 * MIB));
	struct ut_child child = ut_spawn(region, 0, hoards_body, NULL);
	void *block;

	ut_hear(child.fd);
	UT_NULL(lshm_alloc(region, MIB), "full");
	ut_kill(&child);
	block = lshm_alloc(region, MIB);
	UT_SOME(block);
	UT_OK(lshm_free(region, block));
	lshm_region_close(region);
}

/* A descriptor's number means another file by now: that one is left alone. */
UT_TEST(descriptor_used_anew, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	char path[300];
	struct stat st;
	int files[16];

	for (int fd = 3; fd < 16; fd++)
		/* the region's, which alone is a file as large as that */
		if (fstat(fd, &st) == 0 && !S_ISCHR(st.st_mode) &&
		    (uint64_t)st.st_size >= MIB)
			close(fd);
	snprintf(path, sizeof(path), "%s/another", ut_dir());
	for (size_t i = 0; i < UT_COUNT(files); i++)
		files[i] = open(path, O_RDWR | O_CREAT, 0600);
	UT_TRUE(lshm_region_grow(region, 8 * MIB) < 0);
	for (size_t size = 16; size < 256 * KIB; size *= 2) {
		void *block = lshm_alloc(region, size);

		UT_SOME(block);
		UT_OK(lshm_free(region, block));
	}
	lshm_region_close(region);
	for (size_t i = 0; i < UT_COUNT(files); i++) {
		UT_EQ(0, fstat(files[i], &st));
		UT_EQ(0, st.st_size);
		close(files[i]);
	}
	unlink(path);
}

static void creates_body(struct lshm_region *none, int fd, void *arg)
{
	ut_say(fd, 0);
	for (;;) {
		struct lshm_region *region;

		UT_OK(
		    lshm_region_open(&region, ut_name, LSHM_CREATE, UT_SMALL));
		lshm_region_close(region);
		UT_OK(lshm_region_unlink(ut_name, LSHM_BACKEND_DEFAULT));
	}
}

/* Killed at a random moment: the region is there, complete, or nothing is. */
UT_TEST(creator_killed, UT_NAMED)
{
	uint64_t seed = ut_seed();

	ut_new_name();
	for (uint64_t n = ut_scale(200); n; n--) {
		struct ut_child child = ut_spawn(NULL, 0, creates_body, NULL);
		struct lshm_region *region;
		int ret;

		ut_hear(child.fd);
		usleep(ut_random(&seed) % 1500);
		ut_kill(&child);
		ret = lshm_region_open(&region, ut_name, 0, NULL);
		UT_EQ(ret == 0, ut_count_regions(ut_name));
		if (ret == -ENOENT)
			continue;
		UT_OK(ret);
		UT_EQ(1, CRASH_BOOKS(region).participants);
		UT_EQ(0, CRASH_BOOKS(region).attached_blocks);
		lshm_region_close(region);
		UT_OK(lshm_region_unlink(ut_name, LSHM_BACKEND_DEFAULT));
	}
}
