/* SPDX-License-Identifier: MIT */
/*
 * tracee.c - a child that is stepped through; see tracee.h
 */
#include "tracee.h"

#include <elf.h>
#include <errno.h>
#include <link.h>
#include <signal.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "arch.h"

int tracee_ready(void)
{
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
		return -errno;
	raise(SIGSTOP);
	return 0;
}

static uint64_t read_word(struct tracee *t, uint64_t address)
{
	return (uint64_t)ptrace(
	    PTRACE_PEEKTEXT, t->pid, (void *)(uintptr_t)address, NULL);
}

static void write_word(struct tracee *t, uint64_t address, uint64_t word)
{
	ptrace(PTRACE_POKETEXT, t->pid, (void *)(uintptr_t)address,
	    (void *)(uintptr_t)word);
}

static void read_registers(struct tracee *t)
{
	struct iovec io = {&t->registers, sizeof(t->registers)};

	ptrace(PTRACE_GETREGSET, t->pid, NT_PRSTATUS, &io);
	t->pc = arch_pc(&t->registers);
	t->sp = arch_sp(&t->registers);
}

static void set_pc(struct tracee *t, uint64_t pc)
{
	struct iovec io = {&t->registers, sizeof(t->registers)};

	arch_set_pc(&t->registers, pc);
	ptrace(PTRACE_SETREGSET, t->pid, NT_PRSTATUS, &io);
	t->pc = pc;
}

/* Until it stops by itself: at a breakpoint or after a step (true). */
static bool go(struct tracee *t, int request)
{
	int signal = 0;

	for (;;) {
		/* fails if it has been killed: waitpid() tells */
		ptrace(request, t->pid, NULL, (void *)(intptr_t)signal);
		while (waitpid(t->pid, &t->status, 0) < 0)
			if (errno != EINTR) {
				t->ended = true;
				return false;
			}
		if (!WIFSTOPPED(t->status)) {
			t->ended = true;
			return false;
		}
		signal = WSTOPSIG(t->status);
		if (signal == SIGTRAP || signal == SIGSTOP) {
			read_registers(t);
			t->signal = signal == SIGSTOP ? SIGSTOP : 0;
			return signal == SIGTRAP;
		}
	}
}

/* As tracee_run_to(), but at least one instruction has been stepped before. */
static bool go_to(struct tracee *t, const uint64_t pc[2])
{
	uint64_t words[2];
	bool there;

	for (int i = 0; i < 2; i++)
		words[i] = read_word(t, pc[i]);
	for (int i = 0; i < 2; i++) /* they may overlap */
		write_word(t, pc[i],
		    (read_word(t, pc[i]) & ~ARCH_BREAK_MASK) | ARCH_BREAK);
	there = go(t, PTRACE_CONT);
	if (t->ended)
		return false;
	for (int i = 0; i < 2; i++)
		write_word(t, pc[i],
		    (read_word(t, pc[i]) & ~ARCH_BREAK_MASK) |
			(words[i] & ARCH_BREAK_MASK));
	if (there && ARCH_BREAK_SIZE)
		set_pc(t, t->pc - ARCH_BREAK_SIZE);
	return there;
}

bool tracee_step(struct tracee *t)
{
	uint64_t back;

	if (!go(t, PTRACE_SINGLESTEP))
		return false;
	if (t->pc < t->vdso || t->pc >= t->vdso_end)
		return true;
	back = arch_return(&t->registers);
	if (ARCH_RETURN_ON_STACK)
		back = read_word(t, back);
	return go_to(t, (const uint64_t[]){back, back});
}

bool tracee_run_to(struct tracee *t, uint64_t pc, uint64_t other_pc)
{
	if (!tracee_step(t))
		return false;
	if (t->pc == pc || t->pc == other_pc)
		return true;
	return go_to(t, (const uint64_t[]){pc, other_pc});
}

bool tracee_at_syscall(struct tracee *t)
{
	uint64_t slot = (t->pc ^ t->pc >> 12) % TRACEE_SEEN;

	if (t->seen[slot].pc != t->pc) {
		t->seen[slot].pc = t->pc;
		t->seen[slot].is_syscall = arch_is_syscall(read_word(t, t->pc));
	}
	return t->seen[slot].is_syscall;
}

/* ---- beginning and end ---- */

/* The vdso is an ELF file in memory, at the same place in a child of fork(). */
static void find_vdso(struct tracee *t)
{
	const ElfW(Ehdr) *file = (void *)(uintptr_t)getauxval(AT_SYSINFO_EHDR);
	const ElfW(Phdr) * part;

	if (!file)
		return;
	part = (const void *)((const char *)file + file->e_phoff);
	t->vdso = (uintptr_t)file;
	for (int i = 0; i < file->e_phnum; i++)
		if (part[i].p_type == PT_LOAD)
			t->vdso_end = t->vdso + part[i].p_memsz;
}

bool tracee_adopt(struct tracee *t, pid_t pid)
{
	memset(t, 0, sizeof(*t));
	t->pid = pid;
	find_vdso(t);
	while (waitpid(pid, &t->status, 0) < 0)
		if (errno != EINTR)
			break;
	if (!WIFSTOPPED(t->status)) {
		t->ended = true;
		return false;
	}
	ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_EXITKILL);
	read_registers(t);
	return true;
}

void tracee_share_processor(struct tracee *t)
{
	int cpu = sched_getcpu();
	cpu_set_t one;

	if (cpu < 0 || sched_getaffinity(0, sizeof(t->cpus), &t->cpus) < 0)
		return;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	t->shares = sched_setaffinity(0, sizeof(one), &one) == 0 &&
		    sched_setaffinity(t->pid, sizeof(one), &one) == 0;
}

void tracee_part(struct tracee *t)
{
	if (!t->shares)
		return;
	sched_setaffinity(0, sizeof(t->cpus), &t->cpus);
	if (!t->ended)
		sched_setaffinity(t->pid, sizeof(t->cpus), &t->cpus);
	t->shares = false;
}

void tracee_release(struct tracee *t, int signal)
{
	tracee_part(t);
	if (!t->ended)
		ptrace(PTRACE_DETACH, t->pid, NULL, (void *)(intptr_t)signal);
}

void tracee_kill(struct tracee *t)
{
	tracee_part(t);
	if (t->ended)
		return;
	kill(t->pid, SIGKILL);
	while (waitpid(t->pid, &t->status, 0) >= 0 || errno == EINTR)
		if (!WIFSTOPPED(t->status))
			break;
	t->ended = true;
}
