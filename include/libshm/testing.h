/* SPDX-License-Identifier: MIT */
/*
 * testing.h - kill your own operation at every instruction that matters
 *
 * A library of its own, libshm-testing (pkg-config has it), for tests. You
 * describe one operation on a structure of yours in a region; a child is
 * stepped through it, instruction by instruction. Then children are killed, in
 * fresh runs: at the start, after each instruction that changed the region,
 * before and after each system call, and at a random sample of the other
 * instructions. After each death a survivor, your check(), must find everything
 * as it shall be, go on with the structure, and undo what was made; nothing of
 * the heap may be lost. Then a second process is killed as well, while it
 * recovers from the first death.
 *
 *     static const struct lshm_testing_operation push =
 *         LSHM_TESTING_OPERATION(.name = "push", .prepare = make_list,
 *             .begin = open_list, .run = push_one, .check = list_is_well,
 *             .arg = &list);
 *     struct lshm_testing_result result;
 *
 *     return lshm_testing_report(lshm_testing_sweep(&push, &result),
 *         &push, &result);
 *
 * Each run is a process of its own, the survivor, forked from the caller, and
 * its child. Both have a copy of @arg: what prepare() stores there, the child
 * finds, but for handles. An assertion that fails in any of them, by
 * lshm_testing_fail(), assert(3), abort(3), or _exit(2) with a status other
 * than 0, fails the run; what it wrote to standard error is the message.
 *
 * The operation must be one thread's, must not fork, and do the same each time:
 * nothing in it may depend on the time, on random numbers or on a process id.
 * Set LD_BIND_NOW=1, or the dynamic linker's work at each first call is stepped
 * through, too. A run that went another way is noticed (@strayed). What the
 * method does not see: points within system calls, what other processes do at
 * the same time, several deaths at the same moment, the order in which the
 * processor makes stores visible.
 * On aarch64 the program must be built for LSE atomics (-march=armv8.1-a or
 * -moutline-atomics), since a load-exclusive never succeeds when it is stepped.
 *
 * Environment: LSHM_TEST_SEED   of the samples; it is printed
 *              LSHM_TEST_KILL   kill at this instruction only
 *              LSHM_TEST_RESCUE and the rescuer at this one; with an 'l' before
 *                               it the one that attaches after the death
 */
#ifndef LIBSHM_TESTING_H
#define LIBSHM_TESTING_H

#include <libshm/base.h>
#include <libshm/region.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The operation failed at least once: the result says how. */
#define LSHM_TESTING_FAILED 1

/** enum lshm_testing_flags - of struct lshm_testing_operation */
enum lshm_testing_flags {
	LSHM_TESTING_ATTACHES = 1 << 0, /* begin() and run() get no region:
					 * run() attaches, by
					 * lshm_testing_attach() */
};

/**
 * struct lshm_testing_operation - what is to be swept
 * @opts_size: sizeof, set by LSHM_TESTING_OPERATION()
 * @name:      for people
 * @region_name, @region: of the regions; NULL: a memfd region of 4 MiB that may
 *             grow to 16 MiB. A name is free again after each run. At most
 *             256 MiB
 * @arg:       for the functions; each process has a copy
 * @prepare:   [survivor] build the start state in a fresh region; or NULL
 * @begin:     [child] what comes before the operation: open, lock; or NULL
 * @other:     [another process] must wait for something, such as a lock that
 *             the child holds. Once it sleeps it is stopped; it goes on after
 *             the child's death, and must return then; or NULL
 * @meanwhile: [survivor] after all that and before run(); or NULL
 * @run:       [child] the operation
 * @check:     [survivor] after a death. @done: run() had returned. Must find
 *             everything in order, do an operation of its own, and undo what
 *             prepare() and run() have made: afterwards the heap must hold what
 *             it held before prepare(), or at lshm_testing_keep()
 * @rescue:    [rescuer] what the second to die does; NULL: lshm_region_reap()
 * @samples:   of the instructions that change nothing, and are no system calls:
 *             how many are kill points, too; 0: 16
 * @first_deaths, @second_deaths: so many times it dies where something has just
 *             changed, chosen at random; and for each of these so many times a
 *             rescuer dies: half of them where something has just changed, half
 *             at any instruction; 0: 2 and 16; UINT32_MAX: none
 * @timeout_s: seconds that a run may take; 0: 20
 * @flags:     of enum lshm_testing_flags
 */
struct lshm_testing_operation {
	uint64_t opts_size;
	const char *name;
	const char *region_name;
	const struct lshm_region_opts *region;
	void *arg;
	void (*prepare)(struct lshm_region *region, void *arg);
	void (*begin)(struct lshm_region *region, void *arg);
	void (*other)(struct lshm_region *region, void *arg);
	void (*meanwhile)(struct lshm_region *region, void *arg);
	void (*run)(struct lshm_region *region, void *arg);
	void (*check)(struct lshm_region *region, void *arg, int done);
	void (*rescue)(struct lshm_region *region, void *arg);
	uint32_t samples;
	uint32_t first_deaths;
	uint32_t second_deaths;
	uint32_t timeout_s;
	uint32_t flags;
	uint32_t reserved;
};

/** By name: LSHM_TESTING_OPERATION(.run = f, .check = g) */
#define LSHM_TESTING_OPERATION(...)                                 \
	{                                                           \
		.opts_size = sizeof(struct lshm_testing_operation), \
		__VA_ARGS__                                         \
	}

/**
 * struct lshm_testing_result - what a sweep has seen
 * @seed:         of the samples
 * @instructions: of run(); a call into the vdso is one
 * @system_calls: of run()
 * @states:       states of the region, of the locks on its file and of the
 *                file's size that differ from the one before; the first counts
 * @kills:        children killed in run()
 * @second_kills: rescuers killed after that
 * @rescue_instructions: of the longest rescue
 * @strayed:      runs that went another way than the first one, and were killed
 *                and checked somewhere else than was meant
 * @failures:     runs in which something was wrong. After 5 of them, or one
 *                that hung, the sweep ends
 * @failed_at:    of the first failure: the instruction of run() before which
 *                the child was killed; @instructions: after the last one
 * @failed_rescue: and the one before which the rescuer was; 0: there was none,
 *                or before its first one
 * @failed_late:  1 if that rescuer had attached after the first death
 * @failed_address: the offset of the last victim's next instruction in the file
 *                @failed_file, as addr2line(1) takes it
 * @failed_symbol: the exported function it lies in and the offset there, or
 *                empty
 * @message:      what was wrong, in words
 */
struct lshm_testing_result {
	uint64_t seed;
	uint64_t instructions;
	uint64_t system_calls;
	uint64_t states;
	uint64_t kills;
	uint64_t second_kills;
	uint64_t rescue_instructions;
	uint64_t strayed;
	uint64_t failures;
	uint64_t failed_at;
	uint64_t failed_rescue;
	uint64_t failed_late;
	uint64_t failed_address;
	char failed_file[256];
	char failed_symbol[128];
	char message[1024];
};

/**
 * lshm_testing_sweep() - kill an operation at every instruction that matters
 * @operation: [in] borrowed for the call
 * @result:    [out] filled in, also when the operation failed
 *
 * Return: 0 no run failed; LSHM_TESTING_FAILED at least one did, or none could
 * be made; -EINVAL a member is missing or unknown, or LSHM_TEST_KILL is beyond
 * the operation's end; -E2BIG it has more than four million instructions;
 * -ENOMEM.
 * Blocks: for some seconds: an instruction takes about 20 microseconds, a death
 * some milliseconds.
 * Threads: the caller has only one.
 */
LSHM_API int lshm_testing_sweep(const struct lshm_testing_operation *operation,
    struct lshm_testing_result *result);

/**
 * lshm_testing_report() - print what lshm_testing_sweep() has found
 * @ret: [in] what it returned
 *
 * One line to standard output; if something was wrong, what it was and how to
 * see it again, to standard error.
 *
 * Return: 0 if @ret is 0; else 1: the exit status of a test.
 */
LSHM_API int lshm_testing_report(int ret,
    const struct lshm_testing_operation *operation,
    const struct lshm_testing_result *result);

/**
 * lshm_testing_fail() - something is wrong: say so, and end this process
 *
 * For all functions of an operation, in any process. Does not return.
 */
LSHM_API void lshm_testing_fail(const char *format, ...)
    __attribute__((noreturn, format(printf, 1, 2)));

/** LSHM_TESTING_EXPECT(condition) - lshm_testing_fail() unless it holds */
#define LSHM_TESTING_EXPECT(condition)                                        \
	((condition) ? (void)0                                                \
		     : lshm_testing_fail("%s:%d: expected %s (lshm_error(): " \
					 "\"%s\")",                           \
			   __FILE__, __LINE__, #condition, lshm_error()))

/**
 * lshm_testing_keep() - from here on: what is in the region now stays in it
 * @region: [in] of the survivor
 *
 * For prepare(), where it makes what check() does not undo. It must hold no
 * draft.
 */
LSHM_API void lshm_testing_keep(struct lshm_region *region);

/**
 * lshm_testing_attach() - attach to the region: for LSHM_TESTING_ATTACHES
 * @out: [out] the handle
 *
 * To be called once, by run() or begin().
 *
 * Return: as lshm_region_open(), or lshm_region_receive() for a memfd region.
 */
LSHM_API int lshm_testing_attach(struct lshm_region **out);

/**
 * lshm_testing_join() - in check(): wait until other() has returned
 *
 * Where check() needs that; it is done after check() otherwise.
 */
LSHM_API void lshm_testing_join(void);

#ifdef __cplusplus
}
#endif

#endif
