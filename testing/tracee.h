/* SPDX-License-Identifier: MIT */
/*
 * tracee.h - a child that is stepped through, instruction by instruction
 *
 * The child calls tracee_ready(), which stops it; from then on the parent says
 * how it goes on. Calls into the kernel's vdso count as one instruction: its
 * loops begin anew whenever the clock is adjusted, and stepped they take longer
 * than that takes. Signals are delivered to the child, but for SIGSTOP, which
 * ends a step.
 */
#ifndef LSHM_TESTING_TRACEE_H
#define LSHM_TESTING_TRACEE_H

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>

/* Instructions that were looked at, whether they are system calls. */
#define TRACEE_SEEN 4096

struct tracee {
	pid_t pid;
	struct user_regs_struct registers;
	uint64_t pc;
	uint64_t sp;
	bool ended;
	int status; /* ended: as of wait(2) */
	int signal; /* SIGSTOP: it was to stop */
	uint64_t vdso, vdso_end;
	bool shares;
	cpu_set_t cpus; /* before that */
	struct {
		uint64_t pc;
		bool is_syscall;
	} seen[TRACEE_SEEN];
};

/** In the child: be traced by the parent, and stop. 0, or -errno. */
int tracee_ready(void);

/**
 * In the parent: take over a child that calls tracee_ready(), and wait until it
 * stands still. False: it has ended instead.
 */
bool tracee_adopt(struct tracee *t, pid_t pid);
/** Have both run on one processor: a step takes half the time then; or not. */
void tracee_share_processor(struct tracee *t);
void tracee_part(struct tracee *t);
/** Have nothing more to do with it: it goes on, or gets @signal. */
void tracee_release(struct tracee *t, int signal);
/** Kill it. */
void tracee_kill(struct tracee *t);

/** One instruction on. False: it has ended, or was to stop. */
bool tracee_step(struct tracee *t);
/** At full speed until it comes to one of two places; false as above. */
bool tracee_run_to(struct tracee *t, uint64_t pc, uint64_t other_pc);
/** Is its next instruction a system call? */
bool tracee_at_syscall(struct tracee *t);

#endif
