/* SPDX-License-Identifier: MIT */
/*
 * arch.h - what differs between processors: registers, breakpoints, system
 * calls
 */
#ifndef LSHM_TESTING_ARCH_H
#define LSHM_TESTING_ARCH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/user.h>

#if defined(__x86_64__)

#define ARCH_BREAK	UINT64_C(0xcc) /* int3 */
#define ARCH_BREAK_MASK UINT64_C(0xff)
#define ARCH_BREAK_SIZE 1 /* the program counter is behind it then */

static inline uint64_t arch_pc(const struct user_regs_struct *r)
{
	return r->rip;
}

static inline void arch_set_pc(struct user_regs_struct *r, uint64_t pc)
{
	r->rip = pc;
}

static inline uint64_t arch_sp(const struct user_regs_struct *r)
{
	return r->rsp;
}

static inline bool arch_is_syscall(uint64_t code)
{
	return (code & 0xffff) == 0x050f; /* syscall */
}

/* At a function's first instruction it is at the top of the stack. */
#define ARCH_RETURN_ON_STACK 1
static inline uint64_t arch_return(const struct user_regs_struct *r)
{
	return r->rsp;
}

#elif defined(__aarch64__)

#define ARCH_BREAK	UINT64_C(0xd4200000) /* brk #0 */
#define ARCH_BREAK_MASK UINT64_C(0xffffffff)
#define ARCH_BREAK_SIZE 0

static inline uint64_t arch_pc(const struct user_regs_struct *r)
{
	return r->pc;
}

static inline void arch_set_pc(struct user_regs_struct *r, uint64_t pc)
{
	r->pc = pc;
}

static inline uint64_t arch_sp(const struct user_regs_struct *r)
{
	return r->sp;
}

static inline bool arch_is_syscall(uint64_t code)
{
	return (code & 0xffffffff) == 0xd4000001; /* svc #0 */
}

#define ARCH_RETURN_ON_STACK 0
static inline uint64_t arch_return(const struct user_regs_struct *r)
{
	return r->regs[30];
}

#else
#error "libshm-testing knows x86-64 and aarch64 only: see meson.build"
#endif

#endif
