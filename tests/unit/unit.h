/* SPDX-License-Identifier: MIT */
/*
 * unit.h - the harness of the unit tests
 *
 * A file of tests is a suite and a program. Each UT_TEST() runs once for each
 * backend (a row of the table in unit.c), in a process of its own that has a
 * time limit; after it nothing may be left: no descriptor, no file, no process.
 *
 *     test_heap                     every test on every backend there is
 *     test_heap memfd               all that can be done on one
 *     test_heap memfd double_free   one test, to be looked at with a debugger
 *
 * Environment: LSHM_TEST_SEED    of the random tests (they print theirs)
 *              LSHM_TEST_SCALE   percent of the repetitions; default 100
 *              LSHM_TEST_TIMEOUT seconds a test may take; default 60
 *              LSHM_TEST_VERBOSE print the message of every expected failure
 */
#ifndef LIBSHM_UNIT_H
#define LIBSHM_UNIT_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include <bsd/string.h>
#include <bsd/sys/queue.h>

#include <libshm/libshm.h>

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

#define UT_COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Long enough for anything that must happen, shorter than a test's limit. */
#define UT_SOON lshm_deadline_ms(20000)
/* Short, for what must not happen. */
#define UT_BRIEF lshm_deadline_ms(30)

/** struct ut_backend - a row of the table of backends */
struct ut_backend {
	const char *name;
	uint32_t id;
	bool named; /* others open it by name; else it is sent to them */
	bool files; /* it is in a file system: ut_path() says where */
};

/** enum ut_where - which backends a test is for */
enum ut_where {
	UT_EACH,   /* every one */
	UT_NAMED,  /* every one whose regions have names */
	UT_ONCE,   /* the first only, or the one that is asked for */
	UT_KERNEL, /* the kernel backend only */
};

/** struct ut_test - a test; made by UT_TEST() */
struct ut_test {
	STAILQ_ENTRY(ut_test) link;
	const char *name;
	void (*run)(void);
	enum ut_where where;
};

void ut_add(struct ut_test *test);

/** UT_TEST(name, where) { ... } - define a test */
#define UT_TEST(name_, where_)                                        \
	static void test_##name_(void);                               \
	static struct ut_test ut_test_##name_ = {                     \
	    .name = #name_, .run = test_##name_, .where = where_};    \
	__attribute__((constructor)) static void ut_add_##name_(void) \
	{                                                             \
		ut_add(&ut_test_##name_);                             \
	}                                                             \
	static void test_##name_(void)

/* ---- the test that is running ---- */

/** The backend it runs on. */
extern const struct ut_backend *ut_backend;
/** The name of the region ut_create() made last, as lshm_region_open() likes */
extern char ut_name[256];

/** A name for a new region: unique, of this backend; removed after the test. */
const char *ut_new_name(void);
/** The path of the file that backs the region of this name, if any does. */
const char *ut_path(const char *name);
/** Is there a region, or something else, of this name? */
bool ut_exists(const char *name);
/** How many are there whose names begin like this one? */
unsigned int ut_count_regions(const char *name);
/** A descriptor of what backs the region of this name: flags as for open(2). */
int ut_open_backing(const char *name, int flags);
/** Make something of this name that is no region yet, for @size bytes. */
int ut_make_backing(const char *name, uint64_t size);
/** A directory on a disk file system, for the test's own files. */
const char *ut_dir(void);

/** Create a region of this backend (opts as for lshm_region_open()). */
struct lshm_region *ut_create(const struct lshm_region_opts *opts);
/** Options that suit most tests: 1 MiB, which may grow to 64 MiB. */
#define UT_SMALL                                                 \
	(&(struct lshm_region_opts)LSHM_REGION_OPTS(.size = MIB, \
	    .max_size = 64 * MIB))
/** Attach once more in this process: by ut_name, or through a socket. */
int ut_try_reopen(struct lshm_region **out, struct lshm_region *region,
    unsigned int flags, const struct lshm_region_opts *opts);
struct lshm_region *ut_reopen(struct lshm_region *region, unsigned int flags);

/** Is mlock(2) without effect in this build, and must malloc() not fail? */
#if defined(__SANITIZE_ADDRESS__)
#define UT_NO_MLOCK 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define UT_NO_MLOCK 1
#endif
#endif
#ifndef UT_NO_MLOCK
#define UT_NO_MLOCK 0
#endif

/** The test cannot be done here: says why and ends it as skipped. */
void ut_skip(const char *reason, ...)
    __attribute__((noreturn, format(printf, 1, 2)));
/** n repetitions, scaled by LSHM_TEST_SCALE; at least 1. */
uint64_t ut_scale(uint64_t n);
/** Random numbers from LSHM_TEST_SEED, or a seed that is printed. */
uint64_t ut_random(uint64_t *state);
uint64_t ut_seed(void);
/** What lshm_region_stat() tells. */
struct lshm_region_info ut_info(struct lshm_region *region);
/** What is in the heap of a region. */
struct lshm_heap_info ut_heap(struct lshm_region *region);
/** Nothing can be mapped any more, as if memory were short; or it can again. */
void ut_allow_mapping(bool allow);
/** How many file descriptors this process has open. */
unsigned int ut_count_fds(void);

/* ---- processes ---- */

/** struct ut_child - a process that a test started */
struct ut_child {
	pid_t pid;
	int fd; /* to talk with it: ut_say(), ut_hear() */
};

/** What a child does, with a region it has opened for itself. */
typedef void ut_body(struct lshm_region *region, int fd, void *arg);

/**
 * Start a child that attaches to the region ut_name (NULL: to none), runs
 * @body, detaches and ends. An assertion that fails in it fails the test.
 */
struct ut_child ut_spawn(
    struct lshm_region *region, unsigned int flags, ut_body *body, void *arg);
/** Wait until it has ended well. */
void ut_join(struct ut_child *child);
/** Kill it with SIGKILL and reap it. */
void ut_kill(struct ut_child *child);
/** Wait until it is a zombie, and leave it one; ut_kill() reaps it. */
void ut_kill_unreaped(struct ut_child *child);
/** Stop it, and return once it stands still; let it go on. */
void ut_stop(struct ut_child *child);
void ut_continue(struct ut_child *child);
/** Wait until it has been killed by @signal. */
void ut_died_of(struct ut_child *child, int signal);
/**
 * What /proc says of a process, or of a thread: its state ('R', 'S', 'Z'...; 0:
 * there is no such one) and its parent (may be NULL).
 */
char ut_state(pid_t pid, pid_t *parent);
/** Wait until a process that is not a child of this one has ended. */
void ut_wait_gone(pid_t pid);
/** Wait until a process, or a thread, sleeps. */
void ut_wait_asleep(pid_t pid);

/** Talk: a number to, or from, the other end. */
void ut_say(int fd, uint64_t value);
uint64_t ut_hear(int fd);

/* ---- assertions; the first that fails ends the test ---- */

struct ut_at {
	const char *file;
	int line;
	const char *text;
};

#define UT_AT(text) ((const struct ut_at){__FILE__, __LINE__, text})

void ut_fail(struct ut_at at, const char *format, ...)
    __attribute__((noreturn, format(printf, 2, 3)));
void ut_check(struct ut_at at, bool good);
void ut_check_cmp(struct ut_at at, bool good, uint64_t left, uint64_t right);
void ut_check_ok(struct ut_at at, int ret, int least);
void ut_check_string(struct ut_at at, const char *expected, const char *seen);
void ut_check_error(
    struct ut_at at, int expected, int seen, const char *const *words);
void ut_check_message(struct ut_at at, const char *const *words);

/** A condition that is to hold. */
#define UT_TRUE(condition) ut_check(UT_AT(#condition), (condition))

/** Two unsigned numbers of which a relation is to hold; both are printed. */
#define UT_CMP(left, op, right)                                         \
	do {                                                            \
		uint64_t l_ = (left);                                   \
		uint64_t r_ = (right);                                  \
		ut_check_cmp(                                           \
		    UT_AT(#left " " #op " " #right), l_ op r_, l_, r_); \
	} while (0)

/** A number, and what it is to be; both are printed. */
#define UT_EQ(expected, seen)                                                  \
	do {                                                                   \
		uint64_t e_ = (uint64_t)(expected);                            \
		uint64_t s_ = (uint64_t)(seen);                                \
		ut_check_cmp(UT_AT(#expected " == " #seen), e_ == s_, e_, s_); \
	} while (0)

/** The same for addresses and for strings. */
#define UT_PTR(expected, seen)                                        \
	do {                                                          \
		const volatile void *e_ = (expected);                 \
		const volatile void *s_ = (seen);                     \
		ut_check_cmp(UT_AT(#expected " == " #seen), e_ == s_, \
		    (uintptr_t)e_, (uintptr_t)s_);                    \
	} while (0)
#define UT_STR(expected, seen) ut_check_string(UT_AT(#seen), expected, seen)

/** A call that is to return 0; its lshm_error() is printed if not. */
#define UT_OK(call) ut_check_ok(UT_AT(#call), (call), 0)
/** A call that is to return the address of something. */
#define UT_SOME(call) ut_check_ok(UT_AT(#call), (call) ? 0 : -1, 0)

/**
 * A call that is to fail with this negative errno value, and whose message is
 * to contain all of these words (in any case; there is a message in any case).
 */
#define UT_ERR(expected, call, ...)                    \
	ut_check_error(UT_AT(#call), expected, (call), \
	    (const char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL})

/** A call that is to return NULL, with a message that has these words. */
#define UT_NULL(call, ...)                                                   \
	do {                                                                 \
		ut_check(UT_AT(#call " == NULL"), !(call));                  \
		ut_check_message(UT_AT(#call),                               \
		    (const char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL}); \
	} while (0)

#endif
