/* SPDX-License-Identifier: MIT */
/*
 * world.c - memory that is put back before each execution, and coroutines
 *
 * One arena at a fixed place: the region, then the private memory of all
 * (handles, lanes, ghost state). After setup() it is write-protected; the first
 * store to a page makes it one of those that are put back. What else changes is
 * in struct world, and on the stacks, which are begun anew. So an execution
 * begins with some memory copies and makes no system call.
 */
#include "world.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>

struct world world;
static struct world world_first;
uint32_t xp_self;

/* -- memory ---------------------------------------------------------------- */

static char *first; /* the arena as setup() left it */
static bool protected;
static uint16_t dirty[PAGES];
static uint32_t dirty_count;
static uint64_t first_hash[PAGES];

uint64_t mix(uint64_t h, uint64_t v)
{
	__extension__ unsigned __int128 m =
	    (unsigned __int128)(h ^ v) * UINT64_C(0x9e3779b97f4a7c15);

	return (uint64_t)m ^ (uint64_t)(m >> 64);
}

uint64_t hash_bytes(uint64_t h, const void *p, size_t size)
{
	const uint64_t *w = p;
	uint64_t a = h, b = ~h, c = h + 1, d = h - 1;
	size_t n = size / 8;

	for (; n >= 4; n -= 4, w += 4) {
		a = mix(a, w[0]);
		b = mix(b, w[1]);
		c = mix(c, w[2]);
		d = mix(d, w[3]);
	}
	for (; n; n--, w++)
		a = mix(a, *w);
	return mix(mix(a, b), mix(c, d + 0x5bd1e995));
}

static void on_fault(int sig, siginfo_t *info, void *context)
{
	uint64_t off = (uint64_t)((char *)info->si_addr - ARENA);

	if (!protected || off >= ARENA_SIZE || dirty_count == PAGES) {
		signal(SIGSEGV, SIG_DFL);
		return;
	}
	dirty[dirty_count++] = (uint16_t)(off / PAGE);
	mprotect(ARENA + off / PAGE * PAGE, PAGE, PROT_READ | PROT_WRITE);
}

void make_arena(void)
{
	struct sigaction act = {.sa_flags = SA_SIGINFO | SA_NODEFER};

	if (mmap(ARENA, ARENA_SIZE, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1,
		0) != ARENA) {
		perror("explore: the arena");
		exit(2);
	}
	act.sa_sigaction = on_fault;
	sigaction(SIGSEGV, &act, NULL);
	world.brk = REGION_MAX;
}

void protect_arena(void)
{
	first = malloc(ARENA_SIZE);
	memcpy(first, ARENA, ARENA_SIZE);
	world_first = world;
	for (uint32_t i = 0; i < PAGES; i++)
		first_hash[i] = hash_bytes(i, ARENA + i * PAGE, PAGE);
	mprotect(ARENA, ARENA_SIZE, PROT_READ);
	protected = true;
}

void put_back(void)
{
	for (uint32_t i = 0; i < dirty_count; i++)
		memcpy(ARENA + dirty[i] * PAGE, first + dirty[i] * PAGE, PAGE);
	world = world_first;
}

/* Of what differs from the arena as it was. */
uint64_t hash_arena(void)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < dirty_count; i++) {
		uint32_t page = dirty[i];

		sum += hash_bytes(page, ARENA + page * PAGE, PAGE) -
		       first_hash[page];
	}
	return sum;
}

static void *take(size_t size, size_t align)
{
	world.brk = (world.brk + align - 1) / align * align + size;
	if (world.brk > ARENA_SIZE) {
		fprintf(stderr, "explore: the arena is too small\n");
		exit(2);
	}
	return ARENA + world.brk - size;
}

void *xp_ghost(size_t size)
{
	return take(size, 64);
}

void *xp_calloc(size_t count, size_t size)
{
	return memset(take(count * size, 64), 0, count * size);
}

void *xp_realloc(void *block, size_t size)
{
	char *more = take(size, 64);

	/* What is copied too much is the arena's own. */
	return block ? memmove(more, block, size) : memset(more, 0, size);
}

void *xp_mmap(size_t size, int protection)
{
	if (protection == PROT_NONE)
		return ARENA; /* the region: everybody has it there */
	return memset(take(size, PAGE), 0, size);
}

void *xp_specific(void)
{
	return (void *)world.specific[xp_self];
}

int xp_set_specific(const void *value)
{
	world.specific[xp_self] = value;
	return 0;
}

/* -- coroutines ------------------------------------------------------------ */

struct thread threads[XP_THREADS];
static void *scheduler_sp;
static jmp_buf give_up; /* of check(), and of setup() */
bool in_thread, checking, failed;

/* Save the registers on the stack and the stack in *from; go on at @to. */
void xp_switch(void **from, void *to);

#if defined(__x86_64__)
__asm__(".text\n"
	".globl xp_switch\n"
	".type xp_switch, @function\n"
	"xp_switch:\n"
	"	pushq %rbp\n"
	"	pushq %rbx\n"
	"	pushq %r12\n"
	"	pushq %r13\n"
	"	pushq %r14\n"
	"	pushq %r15\n"
	"	movq %rsp, (%rdi)\n"
	"	movq %rsi, %rsp\n"
	"	popq %r15\n"
	"	popq %r14\n"
	"	popq %r13\n"
	"	popq %r12\n"
	"	popq %rbx\n"
	"	popq %rbp\n"
	"	ret\n"
	".size xp_switch, . - xp_switch\n");
#define FRAME 8 /* words, the return address and a place to align by */
#define ENTRY 6 /* where the return address is */
#elif defined(__aarch64__)
__asm__(".text\n"
	".globl xp_switch\n"
	".type xp_switch, @function\n"
	"xp_switch:\n"
	"	sub sp, sp, #160\n"
	"	stp x19, x20, [sp]\n"
	"	stp x21, x22, [sp, #16]\n"
	"	stp x23, x24, [sp, #32]\n"
	"	stp x25, x26, [sp, #48]\n"
	"	stp x27, x28, [sp, #64]\n"
	"	stp x29, x30, [sp, #80]\n"
	"	stp d8, d9, [sp, #96]\n"
	"	stp d10, d11, [sp, #112]\n"
	"	stp d12, d13, [sp, #128]\n"
	"	stp d14, d15, [sp, #144]\n"
	"	mov x2, sp\n"
	"	str x2, [x0]\n"
	"	mov sp, x1\n"
	"	ldp x19, x20, [sp]\n"
	"	ldp x21, x22, [sp, #16]\n"
	"	ldp x23, x24, [sp, #32]\n"
	"	ldp x25, x26, [sp, #48]\n"
	"	ldp x27, x28, [sp, #64]\n"
	"	ldp x29, x30, [sp, #80]\n"
	"	ldp d8, d9, [sp, #96]\n"
	"	ldp d10, d11, [sp, #112]\n"
	"	ldp d12, d13, [sp, #128]\n"
	"	ldp d14, d15, [sp, #144]\n"
	"	add sp, sp, #160\n"
	"	ret\n"
	".size xp_switch, . - xp_switch\n");
#define FRAME 20
#define ENTRY 11
#else
#error "explore: write xp_switch() for this processor"
#endif

void to_scheduler(void)
{
	xp_switch(&threads[xp_self].sp, scheduler_sp);
}

static void begin(void)
{
	scenario->run[xp_self]();
	world.status[xp_self] = T_DONE;
	to_scheduler();
	abort();
}

void make_thread(uint32_t i)
{
	struct thread *t = &threads[i];
	uint64_t *sp;

	if (!t->stack)
		t->stack = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	sp = (uint64_t *)(t->stack + STACK_SIZE - 64) - FRAME;
	memset(sp, 0, FRAME * sizeof(*sp));
	sp[ENTRY] = (uint64_t)(uintptr_t)begin;
	t->sp = sp;
	t->site = NULL;
}

/* Be somebody else. */
void xp_as(uint32_t thread)
{
	world.cache[xp_self] = lshmi_lane_cache;
	xp_self = thread;
	lshmi_lane_cache = world.cache[thread];
}

/* Let a thread run until it stands before a shared access, sleeps or ends. */
void resume(uint32_t i)
{
	xp_as(i);
	in_thread = true;
	xp_switch(&scheduler_sp, threads[i].sp);
	in_thread = false;
	xp_as(XP_JUDGE);
}

void xp_fail(const char *file, int line, const char *format, ...)
{
	const char *base = strrchr(file, '/');
	va_list args;
	int n;

	n = snprintf(result->why, sizeof(result->why),
	    "%s:%d: ", base ? base + 1 : file, line);
	va_start(args, format);
	vsnprintf(
	    result->why + n, sizeof(result->why) - (size_t)n, format, args);
	va_end(args);
	failed = true;
	if (!in_thread)
		longjmp(give_up, 1);
	to_scheduler();
	abort();
}

bool guarded(bool (*f)(const char *), const char *argument)
{
	return setjmp(give_up) == 0 && f(argument);
}
