/* SPDX-License-Identifier: MIT */
/*
 * explore.c - the explorer: see explore.h
 *
 * Memory. One arena at a fixed place: the region, then the private memory of
 * all (handles, lanes, ghost state). After setup() it is write-protected; the
 * first store to a page makes it one of those that are put back before each
 * execution. What else changes is in struct world. So an execution begins with
 * some memory copies and makes no system call.
 *
 * Search. Depth first. A path is the list of the transitions chosen at the
 * points where there was more than one; to go back is to begin anew and choose
 * as before. At a point that is new the state is hashed: if it has been seen
 * with no less of the budget of preemptions left, the execution ends there.
 *
 * Which words are shared is found out on the way: a word is, once two threads
 * have used it and one of them stored. When another one is found, all begins
 * anew, so that the last pass has a point before each access to each of them.
 * An access to any other word concerns nobody else: it commutes with whatever
 * the others do. Such stores do not go through the store buffer.
 */
#include "explore.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>

#define ARENA	      ((char *)UINT64_C(0x100000000000))
#define REGION_MAX    (UINT64_C(4) << 20)
#define ARENA_SIZE    (UINT64_C(8) << 20)
#define PAGE	      UINT64_C(4096)
#define PAGES	      (ARENA_SIZE / PAGE)
#define GRANULES      (ARENA_SIZE / 8)
#define STACK_SIZE    (UINT64_C(128) << 10)
#define XP_BUFFER_MAX 8
#define STEPS_MAX     1000000 /* accesses of one execution */
#define FORCED_MAX    40      /* times that time passed in one */
#define LONG_NAP      1000000000

enum status { T_READY, T_ASLEEP, T_NAPPING, T_DONE, T_DEAD };

struct buffered {
	uint32_t at; /* in the arena */
	uint32_t size;
	uint64_t value;
};

/* Everything that changes besides the arena and the stacks. */
struct world {
	int64_t clock;
	uint32_t deaths, timeouts, forced;
	uint32_t status[XP_ALL];
	uint32_t buffered[XP_ALL];
	struct buffered buffer[XP_ALL][XP_BUFFER_MAX];
	struct buffered delayed[XP_ALL]; /* by a seed; size 0: none */
	uint32_t delayed_for[XP_ALL];	 /* so many stores */
	/* who sleeps */
	uint64_t word[XP_ALL];
	int64_t deadline[XP_ALL];
	uint32_t order[XP_ALL];
	int32_t woken[XP_ALL]; /* what the wait returns */
	/* the kernel */
	uint32_t holder[64]; /* 1 + process, of each slot's lock */
	/* thread-local */
	struct lshmi_lane_cache cache[XP_ALL];
	const void *specific[XP_ALL];
	uint64_t brk; /* private memory in use */
};

enum kind { STEP, FLUSH, KILL, TIME };

struct transition {
	uint8_t kind;
	uint8_t thread;
};

#define TRANSITIONS_MAX (3 * XP_THREADS + 1)

struct node {
	uint32_t count, at;
	struct transition list[TRANSITIONS_MAX];
};

static const struct xp_scenario *scenario;
static const struct xp_bounds *bounds;
static const struct xp_seed *seed;
static struct xp_result *result;
static struct world world, world_first;
static struct lshm_region *regions[XP_ALL];
uint32_t xp_self;

/* -- memory ---------------------------------------------------------------- */

static char *first; /* the arena as setup() left it */
static bool protected;
static uint16_t dirty[PAGES];
static uint32_t dirty_count;
static uint64_t first_hash[PAGES];

static uint64_t mix(uint64_t h, uint64_t v)
{
	__extension__ unsigned __int128 m =
	    (unsigned __int128)(h ^ v) * UINT64_C(0x9e3779b97f4a7c15);

	return (uint64_t)m ^ (uint64_t)(m >> 64);
}

static uint64_t hash_bytes(uint64_t h, const void *p, size_t size)
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

static void make_arena(void)
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

static void protect_arena(void)
{
	first = malloc(ARENA_SIZE);
	memcpy(first, ARENA, ARENA_SIZE);
	world_first = world;
	for (uint32_t i = 0; i < PAGES; i++)
		first_hash[i] = hash_bytes(i, ARENA + i * PAGE, PAGE);
	mprotect(ARENA, ARENA_SIZE, PROT_READ);
	protected = true;
}

static void put_back(void)
{
	for (uint32_t i = 0; i < dirty_count; i++)
		memcpy(ARENA + dirty[i] * PAGE, first + dirty[i] * PAGE, PAGE);
	world = world_first;
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

struct thread {
	char *stack;
	void *sp;
	struct xp_site *site; /* of the access it stands before */
	const volatile void *at;
};

static struct thread threads[XP_THREADS];
static void *scheduler_sp;
static jmp_buf give_up; /* of check(), and of setup() */
static bool in_thread, checking, failed;

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

static void to_scheduler(void)
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

static void make_thread(uint32_t i)
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
static void resume(uint32_t i)
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

/* -- the printed schedule -------------------------------------------------- */

static bool tracing;
static uint32_t trace_step;

struct name {
	uint64_t at;
	size_t size, each;
	const char *name;
};

static struct name names[32];
static uint32_t name_count;

void xp_name(const void *p, size_t size, size_t each, const char *name)
{
	names[name_count++] = (struct name){
	    .at = (uint64_t)((const char *)p - ARENA),
	    .size = size,
	    .each = each,
	    .name = name,
	};
}

static const char *name_of(const volatile void *p)
{
	uint64_t at = (uint64_t)((const volatile char *)p - ARENA), rel;
	static char text[80];

	for (uint32_t i = 0; i < name_count; i++) {
		const struct name *n = &names[i];

		if (at < n->at || at - n->at >= n->size)
			continue;
		rel = at - n->at;
		if (n->each >= n->size)
			snprintf(text, sizeof(text), "%s", n->name);
		else
			snprintf(text, sizeof(text), "%s[%llu]", n->name,
			    (unsigned long long)(rel / n->each));
		rel %= n->each;
		if (rel)
			snprintf(text + strlen(text),
			    sizeof(text) - strlen(text), "+%llu",
			    (unsigned long long)rel);
		return text;
	}
	snprintf(text, sizeof(text), "%#llx", (unsigned long long)at);
	return text;
}

static char letter(uint32_t thread)
{
	return thread == XP_JUDGE ? 'J' : (char)('A' + (int)thread);
}

static void trace(const struct xp_site *s, const volatile void *p,
    const char *what, uint64_t from, uint64_t value)
{
	char text[96];

	if (!tracing || xp_self == XP_JUDGE)
		return;
	snprintf(text, sizeof(text), "%s:%d", s->function, s->line);
	printf("%5u  %c  %-28s %-9s %-26s ", ++trace_step, letter(xp_self),
	    text, what, p ? name_of(p) : "");
	if (s->op != XP_KERNEL && s->op != XP_USER && s->op != XP_LOAD &&
	    s->op != XP_STORE && s->op != XP_STORE_SEQ)
		printf("%#llx -> ", (unsigned long long)from);
	printf("%#llx  (%s)\n", (unsigned long long)value, s->word);
}

/* -- accesses -------------------------------------------------------------- */

static uint8_t users[GRANULES]; /* a bit a thread: has loaded; << 4: stored */
static uint8_t shared[GRANULES];
static bool grown; /* there is more that is shared */
static uint32_t steps;

static bool in_arena(const volatile void *p)
{
	return (uint64_t)((const volatile char *)p - ARENA) < ARENA_SIZE;
}

static uint64_t read_memory(const volatile void *p, uint32_t size)
{
	uint64_t v = 0;

	memcpy(&v, (const void *)p, size);
	return v;
}

static void write_memory(volatile void *p, uint32_t size, uint64_t v)
{
	memcpy((void *)p, &v, size);
}

/* A word that ends in '*' stands for all that begin so. */
static bool is_at(const struct xp_site *s, const struct xp_seed *bug)
{
	size_t n = strcspn(bug->word, "*");

	return strcmp(s->function, bug->function) == 0 &&
	       (bug->word[n] ? strncmp(s->word, bug->word, n) == 0
			     : strcmp(s->word, bug->word) == 0);
}

static enum xp_effect effect_of(struct xp_site *s)
{
	if (!seed)
		return XP_NONE;
	if (!s->looked) {
		s->looked = true;
		s->seed = is_at(s, seed) ? seed : NULL;
	}
	if (!s->seed || xp_self == XP_JUDGE)
		return XP_NONE;
	result->seed_used = true;
	return seed->effect;
}

/* Stand here until chosen to go on. */
static void stand(struct xp_site *site, const volatile void *p)
{
	threads[xp_self].site = site;
	threads[xp_self].at = p;
	to_scheduler();
}

static bool is_shared(
    const volatile void *p, uint32_t size, bool loads, bool stores)
{
	uint64_t at = (uint64_t)((const volatile char *)p - ARENA) / 8;
	uint8_t mine = (uint8_t)(1u << xp_self), *u = &users[at];
	bool others;

	*u |= (uint8_t)((loads ? mine : 0) | (stores ? mine << 4 : 0));
	if (shared[at])
		return true;
	others = stores ? ((*u | *u >> 4) & 15 & ~mine) : (*u >> 4 & ~mine);
	if (others)
		grown = true;
	return false;
}

/* Is this an access that the explorer is concerned with? */
static bool explored(struct xp_site *site, const volatile void *p)
{
	if (!in_arena(p))
		return false;
	if (!in_thread) {
		/* What check() looks at makes a difference to those who die. */
		if (checking && bounds->deaths && site->op != XP_STORE &&
		    site->op != XP_STORE_SEQ)
			is_shared(p, 0, true, false);
		return false;
	}
	if (++steps > STEPS_MAX)
		XP_FAIL("thread %c does not come to an end", letter(xp_self));
	threads[xp_self].site = site;
	return true;
}

static void flush_one(uint32_t i)
{
	struct buffered *b = world.buffer[i];

	if (tracing)
		printf("%5u  %c  %-28s %-9s %-26s %#llx\n", ++trace_step,
		    letter(i), "(store buffer)", "visible",
		    name_of(ARENA + b->at), (unsigned long long)b->value);
	write_memory(ARENA + b->at, b->size, b->value);
	memmove(b, b + 1, (XP_BUFFER_MAX - 1) * sizeof(*b));
	memset(&b[XP_BUFFER_MAX - 1], 0, sizeof(*b));
	world.buffered[i]--;
}

/*
 * To drain one's buffer is seen by others, wherever it is done: a point before
 * each access that does so, even to a word of one's own.
 */
static void drain(uint32_t i)
{
	while (world.buffered[i])
		flush_one(i);
}

static void into_buffer(volatile void *p, uint32_t size, uint64_t v)
{
	if (bounds->buffer == 0) {
		write_memory(p, size, v);
		return;
	}
	if (world.buffered[xp_self] == bounds->buffer)
		stand(threads[xp_self].site, p);
	if (world.buffered[xp_self] == bounds->buffer)
		flush_one(xp_self);
	world.buffer[xp_self][world.buffered[xp_self]++] = (struct buffered){
	    .at = (uint32_t)((volatile char *)p - ARENA),
	    .size = size,
	    .value = v,
	};
}

/* What this thread sees: its own stores, then memory. */
static uint64_t see(const volatile void *p, uint32_t size)
{
	uint64_t at = (uint64_t)((const volatile char *)p - ARENA);
	uint64_t v = read_memory(p, size);

	for (uint32_t i = 0; i < world.buffered[xp_self]; i++) {
		const struct buffered *b = &world.buffer[xp_self][i];

		for (uint32_t k = 0; k < b->size; k++)
			if (b->at + k - at < size)
				memcpy((char *)&v + (b->at + k - at),
				    (const char *)&b->value + k, 1);
	}
	return v;
}

/* What a seed has put off comes after the next store. */
static void after_store(void)
{
	struct buffered *b = &world.delayed[xp_self];

	if (b->size == 0 || --world.delayed_for[xp_self])
		return;
	into_buffer(ARENA + b->at, b->size, b->value);
	memset(b, 0, sizeof(*b));
}

static void put_off(volatile void *p, uint32_t size, uint64_t v)
{
	world.delayed_for[xp_self] = 1;
	after_store();
	world.delayed_for[xp_self] = seed->stores ? seed->stores : 1;
	world.delayed[xp_self] = (struct buffered){
	    .at = (uint32_t)((volatile char *)p - ARENA),
	    .size = size,
	    .value = v,
	};
}

uint64_t xp_load(struct xp_site *site, const volatile void *p, uint32_t size)
{
	uint64_t v;
	bool visible;

	if (!explored(site, p))
		return read_memory(p, size);
	visible = is_shared(p, size, true, false);
	if (visible)
		stand(site, p);
	v = see(p, size);
	if (effect_of(site) == XP_ALTER)
		v = seed->alter(v);
	if (visible)
		trace(site, p, "load", 0, v);
	return v;
}

void xp_store(
    struct xp_site *site, volatile void *p, uint32_t size, uint64_t value)
{
	uint64_t v = 0;
	enum xp_effect effect;
	bool seq = site->op == XP_STORE_SEQ, visible;

	memcpy(&v, &value, size);
	if (!explored(site, p)) {
		write_memory(p, size, v);
		return;
	}
	visible = is_shared(p, size, false, true);
	effect = effect_of(site);
	if (effect == XP_WEAKEN)
		seq = false;
	if (effect == XP_ALTER)
		v = seed->alter(v);
	/* Into the buffer is nobody else's business, unless one may die. */
	if (visible ? seq || bounds->buffer == 0 || bounds->deaths
		    : seq && world.buffered[xp_self])
		stand(site, p);
	if (effect == XP_SKIP) {
		trace(site, p, "(skipped)", 0, v);
		return;
	}
	if (visible)
		trace(site, p, seq ? "store seq" : "store", 0, v);
	if (effect == XP_DELAY) {
		put_off(p, size, v);
		return;
	}
	if (seq)
		drain(xp_self);
	if (seq || !visible)
		write_memory(p, size, v);
	else
		into_buffer(p, size, v);
	after_store();
}

uint64_t xp_change(struct xp_site *site, volatile void *p, uint32_t size,
    uint64_t from, uint64_t value)
{
	static const char *const op_names[] = {[XP_EXCHANGE] = "exchange",
	    [XP_ADD] = "add",
	    [XP_OR] = "or",
	    [XP_AND] = "and",
	    [XP_CAS] = "cas"};
	uint64_t old, v = 0, want = 0;
	enum xp_effect effect;
	const char *what = op_names[site->op];
	bool inside = explored(site, p), stores = true, visible = false;

	memcpy(&v, &value, size);
	memcpy(&want, &from, size);
	effect = inside ? effect_of(site) : XP_NONE;
	if (inside)
		visible = is_shared(p, size, true, true);
	if (visible || (inside && world.buffered[xp_self]))
		stand(site, p);
	if (inside && effect != XP_WEAKEN && effect != XP_DELAY)
		drain(xp_self);
	old = inside ? see(p, size) : read_memory(p, size);
	switch (site->op) {
	case XP_ADD:
		v += old;
		break;
	case XP_OR:
		v |= old;
		break;
	case XP_AND:
		v &= old;
		break;
	case XP_CAS:
		stores = old == want || effect == XP_BLIND;
		if (!stores) {
			what = "cas fails";
			v = want;
		}
		break;
	default:
		break;
	}
	if (size < 8)
		v &= (UINT64_C(1) << size * 8) - 1;
	if (effect == XP_ALTER)
		v = seed->alter(v);
	if (!inside) {
		if (stores)
			write_memory(p, size, v);
		return old;
	}
	if (effect == XP_SKIP)
		what = "(skipped)";
	if (visible)
		trace(site, p, what, old, v);
	if (!stores || effect == XP_SKIP)
		return effect == XP_SKIP ? want : old;
	if (effect == XP_DELAY) {
		put_off(p, size, v);
		return old;
	}
	if (effect == XP_WEAKEN) {
		if (visible) /* it is two accesses now */
			stand(site, p);
		into_buffer(p, size, v);
	} else {
		write_memory(p, size, v);
	}
	after_store();
	return effect == XP_BLIND ? want : old;
}

void xp_step_at(struct xp_site *site)
{
	if (!in_thread)
		return;
	stand(site, NULL);
	trace(site, NULL, "", 0, 0);
}

/* -- the kernel ------------------------------------------------------------ */

/* A system call is a point, and drains the caller's buffer. */
static void enter_kernel(struct xp_site *site, const volatile void *p)
{
	if (!in_thread)
		return;
	if (++steps > STEPS_MAX)
		XP_FAIL("thread %c does not come to an end", letter(xp_self));
	stand(site, p);
	drain(xp_self);
}

#define KERNEL(what)                                         \
	static struct xp_site site_ = {.function = "kernel", \
	    .word = (what),                                  \
	    .op = XP_KERNEL,                                 \
	    .line = __LINE__}

int64_t lshmi_now(void)
{
	return world.clock;
}

int64_t lshm_deadline_ms(int64_t ms)
{
	return world.clock + ms * 1000000;
}

int xp_clock(struct timespec *t)
{
	t->tv_sec = world.clock / 1000000000;
	t->tv_nsec = world.clock % 1000000000;
	return 0;
}

pid_t xp_pid(void)
{
	return (pid_t)(1000 + xp_self);
}

bool lshmi_membarrier_register(void)
{
	return true;
}

long xp_syscall(long number)
{
	KERNEL("membarrier");

	if (number != SYS_membarrier)
		XP_FAIL("system call %ld: teach it to the explorer", number);
	enter_kernel(&site_, NULL);
	if (effect_of(&site_) == XP_SKIP)
		return 0;
	trace(&site_, NULL, "", 0, 0);
	for (uint32_t i = 0; i < XP_ALL; i++)
		drain(i);
	return 0;
}

static void wake_from(uint32_t i, int32_t ret)
{
	world.status[i] = T_READY;
	world.woken[i] = ret;
	world.word[i] = 0;
	world.deadline[i] = 0;
	world.order[i] = 0;
}

static int kernel_wait(
    struct lshmi_store *s, uint32_t *word, uint32_t expected, int64_t deadline)
{
	uint32_t i = xp_self;
	KERNEL("wait");

	if (!in_thread) {
		world.clock = deadline;
		return -ETIMEDOUT;
	}
	/* The word has other users, too. */
	is_shared(word, 4, true, false);
	enter_kernel(&site_, word);
	trace(&site_, word, "", 0, expected);
	if ((uint32_t)read_memory(word, 4) != expected)
		return -EAGAIN;
	if (world.clock >= deadline)
		return -ETIMEDOUT;
	world.status[i] = T_ASLEEP;
	world.word[i] = (uint64_t)((char *)word - ARENA);
	world.deadline[i] = deadline;
	for (uint32_t k = 0; k < XP_THREADS; k++)
		if (world.order[k] >= world.order[i])
			world.order[i] = world.order[k] + 1;
	to_scheduler();
	if (tracing)
		printf("%5u  %c  wakes up%s\n", ++trace_step, letter(i),
		    world.woken[i] ? ": time is up" : "");
	return world.woken[i];
}

static void kernel_wake(struct lshmi_store *s, uint32_t *word, int count)
{
	uint64_t at = (uint64_t)((char *)word - ARENA);
	KERNEL("wake");

	if (in_thread) {
		enter_kernel(&site_, word);
		trace(&site_, word, "", 0, (uint64_t)count);
		if (effect_of(&site_) == XP_SKIP)
			return;
	}
	for (; count > 0; count--) {
		uint32_t next = XP_ALL;

		for (uint32_t i = 0; i < XP_THREADS; i++)
			if (world.status[i] == T_ASLEEP &&
			    world.word[i] == at &&
			    (next == XP_ALL ||
				world.order[i] < world.order[next]))
				next = i;
		if (next == XP_ALL)
			break;
		wake_from(next, 0);
	}
}

void xp_nap(uint32_t usec)
{
	KERNEL("nap");

	if (!in_thread)
		return;
	enter_kernel(&site_, NULL);
	trace(&site_, NULL, "", 0, usec);
	world.status[xp_self] = T_NAPPING;
	world.deadline[xp_self] = world.clock + LONG_NAP;
	to_scheduler();
}

int xp_lock(pthread_mutex_t *mutex, bool wait)
{
	uint32_t held;

	memcpy(&held, mutex, sizeof(held));
	if (held && wait)
		XP_FAIL("a private mutex is held: teach the explorer to wait");
	if (held)
		return EBUSY;
	held = 1;
	memcpy(mutex, &held, sizeof(held));
	return 0;
}

int xp_unlock(pthread_mutex_t *mutex)
{
	memset(mutex, 0, sizeof(uint32_t));
	return 0;
}

/* -- the backend ----------------------------------------------------------- */

static bool made;

static int kernel_create(
    struct lshmi_store *s, const char *name, mode_t mode, unsigned int flags)
{
	s->writable = s->overmap = s->nameless = true;
	s->page_size = PAGE;
	return 0;
}

static int kernel_reveal(struct lshmi_store *s)
{
	made = true;
	return 0;
}

static int kernel_open(struct lshmi_store *s, const char *name, bool writable)
{
	return made ? kernel_create(s, name, 0, 0) : -ENOENT;
}

static int kernel_inspect(struct lshmi_store *s, struct lshmi_backing *b)
{
	memset(b, 0, sizeof(*b));
	b->size = REGION_MAX;
	return 0;
}

static ssize_t kernel_read(struct lshmi_store *s, void *to, size_t size)
{
	memcpy(to, ARENA, size);
	return (ssize_t)size;
}

static bool kernel_current(const struct lshmi_store *s)
{
	return true;
}

static void kernel_close(struct lshmi_store *s)
{
}

static int kernel_extend(struct lshmi_store *s, uint64_t from, uint64_t to)
{
	return to <= REGION_MAX ? 0 : -ENOSPC;
}

static int kernel_map(
    struct lshmi_store *s, char *base, uint64_t from, uint64_t to)
{
	return 0;
}

static uint32_t holder_of_slot(uint32_t slot)
{
	uint32_t h = world.holder[slot];

	return h && world.status[h - 1] == T_DEAD ? 0 : h;
}

static int kernel_claim(struct lshmi_store *s, uint32_t slot)
{
	KERNEL("claim");

	enter_kernel(&site_, NULL);
	trace(&site_, NULL, "", 0, slot);
	if (holder_of_slot(slot))
		return -EAGAIN;
	/* The dead one's last stores were before its lock was given up. */
	if (world.holder[slot])
		drain(world.holder[slot] - 1);
	world.holder[slot] = xp_self + 1;
	s->anchor = (void *)(uintptr_t)(slot + 1);
	return 0;
}

static enum lshmi_life kernel_alive(
    struct lshmi_store *s, uint32_t slot, int own)
{
	KERNEL("alive");

	enter_kernel(&site_, NULL);
	if (holder_of_slot(slot)) {
		trace(&site_, NULL, "alive", 0, slot);
		return LSHMI_ALIVE;
	}
	trace(&site_, NULL, "dead", 0, slot);
	if (world.holder[slot])
		drain(world.holder[slot] - 1);
	return LSHMI_DEAD;
}

static void kernel_release(struct lshmi_store *s)
{
	KERNEL("release");

	enter_kernel(&site_, NULL);
	if (s->anchor) {
		trace(&site_, NULL, "", 0, (uintptr_t)s->anchor - 1);
		world.holder[(uintptr_t)s->anchor - 1] = 0;
	}
	s->anchor = NULL;
}

static const struct lshmi_backend backend = {
    .name = "explore",
    .id = 99,
    .nameless = true,
    .create = kernel_create,
    .reveal = kernel_reveal,
    .open = kernel_open,
    .inspect = kernel_inspect,
    .read = kernel_read,
    .current = kernel_current,
    .close = kernel_close,
    .extend = kernel_extend,
    .map = kernel_map,
    .claim = kernel_claim,
    .alive = kernel_alive,
    .release = kernel_release,
    .wait = kernel_wait,
    .wake = kernel_wake,
};

const struct lshmi_backend *lshmi_backend_by_id(uint32_t id)
{
	return &backend;
}

int lshmi_backend_by_name(
    const struct lshmi_backend **out, const char **name, uint32_t id)
{
	*out = &backend;
	return 0;
}

int lshmi_backend_open_fd(struct lshmi_store *s, int fd, bool writable)
{
	return -EBADMSG;
}

int lshmi_backend_list(int (*callback)(const char *name, void *arg), void *arg)
{
	return 0;
}

struct lshm_region *xp_open(void)
{
	struct lshm_region_opts o = LSHM_REGION_OPTS();
	uint32_t heap = scenario->pages ? scenario->pages : 1;
	int ret;

	o.max_participants = scenario->participants;
	if (o.max_participants == 0)
		o.max_participants = scenario->threads + 1;
	o.size = o.max_size = (1 + heap) * LSHMI_PAGE;
	ret = lshm_region_open(&regions[xp_self], "explored", LSHM_CREATE, &o);
	if (ret < 0)
		XP_FAIL("cannot open the region: %s", lshm_error());
	return regions[xp_self];
}

const void *xp_arg(void)
{
	return scenario->arg;
}

void xp_open_all(void)
{
	xp_as(XP_JUDGE);
	xp_open();
	for (uint32_t i = 0; i < scenario->threads; i++) {
		xp_as(i);
		XP_TRUE(lshmi_lane(xp_open()));
	}
	xp_as(XP_JUDGE);
	XP_TRUE(lshmi_lane(xp_region()));
}

struct lshm_region *xp_region_of(uint32_t thread)
{
	return regions[thread];
}

struct lshm_region *xp_region(void)
{
	return regions[xp_self];
}

void xp_kill(uint32_t thread)
{
	world.status[thread] = T_DEAD;
}

bool xp_dead(uint32_t thread)
{
	return world.status[thread] == T_DEAD;
}

bool xp_finished(uint32_t thread)
{
	return world.status[thread] == T_DONE;
}

uint32_t xp_deaths(void)
{
	return world.deaths;
}

/* -- states ---------------------------------------------------------------- */

/* A hash, 0 being none, and 1 + the fewest preemptions it was seen with. */
struct seen {
	uint64_t hash;
	uint32_t preemptions;
};

static struct seen *seen;
static uint64_t seen_room, seen_count;
bool xp_plain;

static struct seen *seen_at(uint64_t hash)
{
	uint64_t i = hash & (seen_room - 1);

	while (seen[i].hash && seen[i].hash != hash)
		i = (i + 1) & (seen_room - 1);
	return &seen[i];
}

static void seen_forget(void)
{
	free(seen);
	seen_room = 1 << 16;
	seen = calloc(seen_room, sizeof(*seen));
	seen_count = 0;
}

static void seen_more(void)
{
	struct seen *old = seen;
	uint64_t room = seen_room;

	seen_room *= 2;
	seen = calloc(seen_room, sizeof(*seen));
	if (!seen) {
		fprintf(stderr, "explore: out of memory\n");
		exit(2);
	}
	for (uint64_t i = 0; i < room; i++)
		if (old[i].hash)
			*seen_at(old[i].hash) = old[i];
	free(old);
}

static uint64_t hash_state(uint32_t last)
{
	uint64_t h = hash_bytes(1, &world, sizeof(world)), sum = 0;

	for (uint32_t i = 0; i < dirty_count; i++) {
		uint32_t page = dirty[i];

		sum += hash_bytes(page, ARENA + page * PAGE, PAGE) -
		       first_hash[page];
	}
	h = mix(h, sum);
	for (uint32_t i = 0; i < scenario->threads; i++) {
		const char *sp = threads[i].sp;

		if (world.status[i] == T_DONE || world.status[i] == T_DEAD)
			continue;
		h = hash_bytes(
		    h, sp, (size_t)(threads[i].stack + STACK_SIZE - sp));
	}
	/* Whoever ran last may go on at no cost. */
	if (bounds->preemptions || last > XP_JUDGE)
		h = mix(h, last);
	return h ? h : 1;
}

/* Seen before, with as much of the budget left? */
static bool seen_before(uint32_t last, uint32_t preemptions)
{
	uint64_t hash = hash_state(last);
	struct seen *s = seen_at(hash);

	if (s->hash) {
		if (s->preemptions <= preemptions)
			return true;
		s->preemptions = preemptions;
		return false;
	}
	*s = (struct seen){.hash = hash, .preemptions = preemptions};
	if (++seen_count > seen_room / 2)
		seen_more();
	return false;
}

/* -- the search ------------------------------------------------------------ */

static struct node *path;
static uint32_t path_length, path_room;
static char *made_schedule; /* of this execution */
static size_t schedule_length, schedule_room;

static void note(struct transition t)
{
	static const char kinds[] = {'s', 'f', 'k', 't'};

	if (schedule_length + 3 > schedule_room) {
		schedule_room = schedule_room ? schedule_room * 2 : 4096;
		made_schedule = realloc(made_schedule, schedule_room);
	}
	made_schedule[schedule_length++] = kinds[t.kind];
	made_schedule[schedule_length++] = (char)('a' + t.thread);
	made_schedule[schedule_length] = '\0';
}

static bool runnable(uint32_t i)
{
	return world.status[i] == T_READY;
}

static uint32_t earliest(void)
{
	uint32_t next = XP_ALL;

	for (uint32_t i = 0; i < scenario->threads; i++)
		if ((world.status[i] == T_ASLEEP ||
			world.status[i] == T_NAPPING) &&
		    (next == XP_ALL ||
			world.deadline[i] < world.deadline[next]))
			next = i;
	return next;
}

static uint32_t enumerate(
    struct transition *list, uint32_t last, uint32_t preemptions)
{
	uint32_t n = 0, running = 0, i, t = scenario->threads;
	bool bound = bounds->preemptions && preemptions >= bounds->preemptions;

	if (last < t && runnable(last))
		list[n++] = (struct transition){STEP, (uint8_t)last};
	for (i = 0; i < t; i++) {
		running += runnable(i);
		if (i != last && runnable(i) &&
		    !(bound && last < t && runnable(last)))
			list[n++] = (struct transition){STEP, (uint8_t)i};
	}
	for (i = 0; i < t; i++)
		if (world.buffered[i])
			list[n++] = (struct transition){FLUSH, (uint8_t)i};
	/* Who waits for somebody who is dead, and may. */
	if (n == 0 && scenario->patient && world.deaths &&
	    world.forced > FORCED_MAX)
		return 0;
	/* Those who nap go on once nobody else can, or time is let pass. */
	i = earliest();
	if (i != XP_ALL &&
	    (n == 0 || (running && world.timeouts < bounds->timeouts)))
		list[n++] = (struct transition){TIME, (uint8_t)i};
	if (n == 0)
		return 0;
	for (i = 0; i < t; i++)
		if (world.deaths < bounds->deaths &&
		    world.status[i] != T_DONE && world.status[i] != T_DEAD &&
		    !(scenario->immortal >> i & 1))
			list[n++] = (struct transition){KILL, (uint8_t)i};
	return n;
}

static void let_time_pass(uint32_t i)
{
	bool forced = true, naps = scenario->naps || world.deaths;
	bool patient = scenario->patient && world.deaths;

	for (uint32_t k = 0; k < scenario->threads; k++) {
		if (runnable(k))
			forced = false;
		if (world.status[k] == T_NAPPING)
			naps = true;
	}
	if (forced && ++world.forced > FORCED_MAX && !patient)
		XP_FAIL("nobody gets on, however long they wait");
	if (forced && !naps && world.timeouts == 0)
		XP_FAIL("a lost wake-up: everybody sleeps, and only the end of "
			"%c's sleep would help",
		    letter(i));
	if (!forced)
		world.timeouts++;
	if (world.deadline[i] > world.clock)
		world.clock = world.deadline[i];
	for (uint32_t k = 0; k < scenario->threads; k++)
		if ((world.status[k] == T_ASLEEP ||
			world.status[k] == T_NAPPING) &&
		    world.deadline[k] <= world.clock)
			wake_from(k, -ETIMEDOUT);
}

static void apply(struct transition t)
{
	note(t);
	switch (t.kind) {
	case STEP:
		resume(t.thread);
		for (uint32_t i = 0; i < scenario->threads; i++)
			if (i != t.thread && world.status[i] == T_NAPPING)
				wake_from(i, 0);
		break;
	case FLUSH:
		flush_one(t.thread);
		break;
	case KILL:
		if (tracing)
			printf("%5u  %c  is killed before %s:%d\n",
			    ++trace_step, letter(t.thread),
			    threads[t.thread].site->function,
			    threads[t.thread].site->line);
		wake_from(t.thread, 0);
		world.status[t.thread] = T_DEAD;
		world.deaths++;
		break;
	case TIME:
		if (tracing)
			printf("%5u  -  time passes\n", ++trace_step);
		let_time_pass(t.thread);
		break;
	}
}

/* The next transition of a schedule; at its end, or if there is none, any. */
static struct transition from_schedule(
    const char **text, const struct transition *list, uint32_t count)
{
	static const char kinds[] = "sfkt";
	const char *s = *text;

	if (!s[0] || !s[1])
		return list[0];
	*text = s + 2;
	for (uint32_t i = 0; i < count; i++)
		if (kinds[list[i].kind] == s[0] && 'a' + list[i].thread == s[1])
			return list[i];
	printf("the schedule does not fit at \"%s\"\n", s);
	return list[0];
}

/* One execution, along the path and beyond it; false: it has failed. */
static __attribute__((noinline)) bool execute_on(const char *replay)
{
	struct transition list[TRANSITIONS_MAX], chosen;
	uint32_t depth = 0, last = XP_THREADS, preemptions = 0, n;

	put_back();
	failed = checking = false;
	steps = 0;
	schedule_length = 0;
	xp_self = XP_JUDGE;
	lshmi_lane_cache = world.cache[XP_JUDGE];
	for (uint32_t i = 0; i < scenario->threads; i++) {
		make_thread(i);
		resume(i);
		if (failed)
			return false;
	}
	while ((n = enumerate(list, last, preemptions))) {
		if (replay) {
			chosen = from_schedule(&replay, list, n);
		} else if (n == 1) {
			chosen = list[0];
		} else {
			if (depth == path_length) {
				if (!xp_plain &&
				    seen_before(last,
					bounds->preemptions ? preemptions : 0))
					return true;
				if (path_length == path_room) {
					path_room =
					    path_room ? path_room * 2 : 1024;
					path = realloc(
					    path, path_room * sizeof(*path));
				}
				path[path_length].count = n;
				path[path_length].at = 0;
				memcpy(path[path_length].list, list,
				    n * sizeof(*list));
				path_length++;
				result->points++;
			}
			chosen = path[depth].list[path[depth].at];
			depth++;
		}
		if (chosen.kind == STEP) {
			if (last < scenario->threads && chosen.thread != last &&
			    runnable(last))
				preemptions++;
			last = chosen.thread;
		}
		apply(chosen);
		if (failed)
			return false;
	}
	if (schedule_length / 2 > result->longest)
		result->longest = (uint32_t)(schedule_length / 2);
	if (tracing)
		printf("       all have come to their end\n");
	if (!seen_before(XP_JUDGE + 1, 0))
		result->ends++;
	checking = true;
	if (scenario->check)
		scenario->check();
	return true;
}

static bool execute(const char *replay)
{
	return setjmp(give_up) == 0 && execute_on(replay);
}

/* The next path; false: there is none. */
static bool next_path(void)
{
	while (path_length) {
		struct node *n = &path[path_length - 1];

		if (++n->at < n->count)
			return true;
		path_length--;
	}
	return false;
}

/* More words are shared than was known: how many are? */
static uint64_t share(void)
{
	uint64_t count = 0;

	for (uint32_t i = 0; i < GRANULES; i++) {
		uint8_t all = (users[i] | users[i] >> 4) & 15;

		shared[i] = (users[i] >> 4) && (all & (all - 1));
		count += shared[i];
	}
	grown = false;
	return count;
}

static void name_words(void)
{
	const struct lshmi_header *h = (void *)ARENA;

	xp_name(&h->size, 8, 8, "size");
	xp_name(&h->directory_lock, 8, 8, "directory_lock");
	xp_name(&h->heap_lock, 8, 8, "heap_lock");
	xp_name(&h->heap_rover, 8, 8, "heap_rover");
	xp_name(&h->orphans, 8, 8, "orphans");
	xp_name(&h->death_count, 8, 8, "death_count");
	xp_name(h->deaths, sizeof(h->deaths), sizeof(h->deaths[0]), "death");
	xp_name(ARENA + h->participants_off,
	    h->max_participants * sizeof(struct lshmi_slot),
	    sizeof(struct lshmi_slot), "slot");
	xp_name(ARENA + h->lanes_off,
	    h->max_lanes * sizeof(struct lshmi_lane_rec),
	    sizeof(struct lshmi_lane_rec), "lane");
	xp_name(ARENA + h->pagemap_off, (h->max_size >> LSHMI_PAGE_SHIFT) * 8,
	    8, "page");
}

static bool prepare(void)
{
	if (setjmp(give_up))
		return false;
	scenario->setup();
	xp_as(XP_JUDGE);
	name_words();
	protect_arena();
	return true;
}

void xp_explore(struct xp_result *r, const struct xp_scenario *s,
    const struct xp_bounds *b, const struct xp_seed *broken, const char *replay,
    bool show)
{
	struct timespec from, to;

	memset(r, 0, sizeof(*r));
	result = r;
	scenario = s;
	bounds = b;
	make_arena();
	seen_forget();
	xp_self = XP_JUDGE;
	if (!prepare()) {
		r->failed = true;
		return;
	}
	seed = broken;
	clock_gettime(CLOCK_MONOTONIC, &from);
	do {
		r->executions++;
		if (!execute(NULL)) {
			r->failed = true;
			break;
		}
		if (grown) {
			r->words = share();
			path_length = 0;
			r->executions = r->points = r->ends = 0;
			seen_forget();
			continue;
		}
	} while (path_length == 0 ? r->executions == 0 : next_path());
	clock_gettime(CLOCK_MONOTONIC, &to);
	r->states = seen_count - r->ends;
	if (r->failed && !replay)
		replay = strdup(made_schedule ? made_schedule : "");
	r->schedule = replay;
	if (replay && show) {
		tracing = true;
		r->failed = !execute(replay);
	}
	r->seconds = (double)(to.tv_sec - from.tv_sec) +
		     (double)(to.tv_nsec - from.tv_nsec) / 1e9;
}
