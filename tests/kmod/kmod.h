/* SPDX-License-Identifier: MIT */
/*
 * kmod.h - for the tests of lshm.ko: TAP, as kselftest has it
 *
 * Each test is a function that runs in a process of its own, with a watchdog.
 * It fails by CHECK(), or by ending in any other way than returning. Whatever
 * it leaves, its processes included, must be gone soon after it: the harness
 * waits until the module has neither region nor handle left, and fails it
 * otherwise. kmod_test NAME... runs those whose names begin so.
 */
#ifndef LSHM_TEST_KMOD_H
#define LSHM_TEST_KMOD_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <libshm/uapi.h>

struct test {
	const char *name;
	void (*run)(void);
};

/* One table in each file, ended by an empty row. */
extern const struct test tests_calls[], tests_rights[], tests_mapping[],
    tests_wait[], tests_claim[], tests_limits[], tests_fail[];

void failed(const char *file, int line, const char *what);

#define CHECK(what)                                        \
	do {                                               \
		if (!(what))                               \
			failed(__FILE__, __LINE__, #what); \
	} while (0)

/* It returns -1 (or MAP_FAILED) with this error. */
#define REFUSED(call, error)                                               \
	do {                                                               \
		errno = 0;                                                 \
		long r_ = (long)(call);                                    \
		if (r_ != -1 || errno != (error))                          \
			failed(__FILE__, __LINE__, #call ": not " #error); \
	} while (0)

extern int ctl;	    /* a control descriptor */
extern size_t page; /* its page size */

/* Of @length bytes, nameless, all rights; with what is set in @with. */
int make(uint64_t length);
int make_with(struct lshm_ioc_create *with);
int make_named(const char *name, uint64_t length, unsigned int mode);
int open_named(const char *name, unsigned int rights);
int dup_with(int fd, unsigned int rights);
uint64_t handle_of(int fd);
void stat_of(int fd, struct lshm_ioc_stat *s);
void info_now(struct lshm_ioc_info *i);
void *map(int fd, size_t length, int prot);
void *claim(int fd, unsigned int slot);
bool claimed(int fd, unsigned int slot);
int revoke_handle(int fd, uint64_t handle);
int unlink_name(const char *name);
void unlink_all(void); /* so that one failure is not the next one's */

/* @size bytes that end where memory does that must not be touched. */
void *edge(size_t size);

/* Does touching it raise SIGBUS (or SIGSEGV)? In a child, so not for good. */
int signal_of_touch(volatile char *p, bool write);

/* CLOCK_MONOTONIC in nanoseconds, @ms from now. */
uint64_t in_ms(int64_t ms);
int wait_word(int fd, uint64_t offset, uint32_t expected, uint64_t deadline);
int wake_word(int fd, uint64_t offset, uint32_t count);

/* Until @count sleep in the region. */
void until_waiters(int fd, unsigned int count);

pid_t child(void);	     /* fork(); the child dies with its parent */
void exited_well(pid_t pid); /* it ends with status 0 */
void kill_and_reap(pid_t pid);

#endif
