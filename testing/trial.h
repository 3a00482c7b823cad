/* SPDX-License-Identifier: MIT */
/*
 * trial.h - one run of an operation, with its deaths, in a process of its own
 */
#ifndef LSHM_TESTING_TRIAL_H
#define LSHM_TESTING_TRIAL_H

#include <stdbool.h>
#include <stdint.h>

#include <libshm/testing.h>

#include "watch.h"

/* Instructions that an operation may have. */
#define TRACE_MAX (UINT64_C(1) << 22)

enum { TRACE_CHANGED = 1, TRACE_SYSCALL = 2 };

/** What was seen after so many instructions. */
struct trace_step {
	uint64_t pc;
	uint32_t check; /* of the stack pointer and of what had changed */
	uint32_t flags; /* the step to it changed something; a system call is
			 * next */
};

/** A first run, step by step: steps[0] is before the first instruction. */
struct trace {
	uint64_t count; /* instructions */
	struct watch_pages pages;
	struct trace_step steps[TRACE_MAX + 1];
};

/** enum leg_how - how the child, or the rescuer, goes through its part */
enum leg_how {
	LEG_NONE,  /* there is no rescuer */
	LEG_LEARN, /* to the end at full speed: which pages does it write? */
	LEG_GUESS, /* the same for who cannot tell: those that hold anything */
	LEG_WATCH, /* to the end step by step, and write the trace */
	LEG_KILL,  /* to a certain instruction, by the trace */
};

struct leg {
	enum leg_how how;
	struct trace *trace;
	uint64_t at;  /* LEG_KILL: after so many instructions */
	uint64_t hit; /* on the way there: to the instruction after @hit ... */
	uint64_t times; /* ... which is come to for the @times-th time */
};

/** What a sweep and its trials share. */
struct trial_plan {
	const struct lshm_testing_operation *operation;
	struct leg first;
	struct leg second;
	bool late; /* the rescuer attaches after the first death */
	struct trial_news *news;
	char region_name[256];
};

/** In shared memory: what the trial tells. */
struct trial_news {
	bool strayed; /* it came somewhere else than the trace says */
	bool too_long;
};

/** In a process of its own: does not return. Standard error is the sweep's. */
void trial_run(const struct trial_plan *plan) __attribute__((noreturn));

#endif
