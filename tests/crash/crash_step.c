/* SPDX-License-Identifier: MIT */
/*
 * crash_step.c - death at every instruction that matters
 *
 * A child is stepped, instruction by instruction, through one operation. Each
 * instruction after which the region's bytes differ from before begins a new
 * state, of which a copy is kept. For each state a survivor finds the region as
 * in the copy, and the child dead: it reaps, looks whether the operation
 * happened wholly or not at all, does work of its own with the same structures,
 * undoes everything, and the books must balance. Since a copy has no state of
 * the kernel's (locks, the file's size), the operation is run anew for a sample
 * of the states, system calls included, and the child killed with SIGKILL right
 * there. LSHM_TEST_SCALE=100000 kills it in all of them, and takes long.
 *
 * Each test is one operation, and prints its instructions, the states of the
 * region, the kills, and how often the survivor found fault.
 *
 *     LSHM_TEST_STATE=7 crash_step posix replace     that state alone
 *     LSHM_TEST_KILL=7 crash_step posix replace      that kill alone
 *
 * Not covered: points inside system calls, several threads dying at different
 * places, what others do at the same time. On processors with load-linked and
 * store-conditional pairs the code must use single atomic instructions
 * (aarch64: LSE), since such a pair never succeeds under stepping.
 */
#include "crash.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

/* In the region, named "shared". */
struct shared {
	struct lshm_mutex mutex;
	lshm_off field;
	uint64_t full; /* the two words of the test of this test */
	uint64_t data;
};

/* Slabs of such blocks have few words, so that a sweep is short. */
#define SMALL_BLOCK 6000
#define LARGE_BLOCK 200000
#define FILLED	    32 /* of its bytes */

/* What a process has at hand; the child and the survivor have one each. */
struct world {
	struct lshm_region *region;
	struct shared *shared;
	struct lshm_producer *out;
	struct lshm_consumer *in;
	struct lshm_message message;
	void *block;
	uint64_t next;		  /* survivor: messages got so far */
	struct crash_books books; /* survivor: how it must be in the end */
	bool done;		  /* the operation came to its end */
	struct ut_child victim;	  /* survivor: a third process */
	int fd;			  /* child: to get the region through */
};

struct operation {
	void (*prepare)(struct world *w);   /* the survivor, beforehand */
	void (*begin)(struct world *w);	    /* the child, unwatched */
	void (*meanwhile)(struct world *w); /* the survivor, after that */
	void (*run)(struct world *w);	    /* the child, stepped */
	void (*finish)(struct world *w);    /* the survivor: check, then undo */
	bool attaches; /* run() attaches the child itself */
	bool cold;     /* the child has done nothing before */
	bool grows;    /* the file too: a copy would not do */
};

/* ---- the harness ---- */

#define REGION	    (3 * MIB)
#define PART	    4096
#define PARTS	    (REGION / PART)
#define COPIES	    128
#define KILL_BUDGET 10000 /* instructions that may be stepped for kills */

enum how {
	WATCH, /* step through all of it, keep the copies, then kill */
	COPY,  /* kill at once, and put a copy in place of the region */
	KILL,  /* step until a certain state is entered, and kill there */
};

/* What the trials tell the test. */
static struct result {
	uint64_t steps;
	uint64_t changes; /* copies; copy 0 is from before the operation */
	uint64_t points;  /* changes and system calls: where to kill */
	char copies[COPIES][REGION];
} * result;

/* One trial looks at the region. */
struct watch {
	const char *region;
	char *before;	  /* its bytes, as last seen */
	bool used[PARTS]; /* what is compared */
	enum how how;
	uint64_t points;
	uint64_t last; /* the point to stop at */
};

/* All that is in use before, and where the heap's pages have their words. */
static void choose_parts(struct watch *w)
{
	static const char none[PART];

	for (size_t i = 0; i < PARTS; i++)
		w->used[i] = i % (LSHMI_PAGE / PART) == 0 ||
			     memcmp(w->region + i * PART, none, PART) != 0;
}

/* Have its bytes changed? Then take note of that. */
static bool changed(struct watch *w)
{
	bool any = false;

	for (size_t i = 0; i < PARTS && !any; i++)
		any = w->used[i] && memcmp(w->before + i * PART,
					w->region + i * PART, PART) != 0;
	if (any)
		memcpy(w->before, w->region, REGION);
	return any;
}

static bool new_state(void *arg, bool kernel)
{
	struct watch *w = arg;
	bool change = changed(w);

	if (!kernel && !change)
		return false;
	w->points++;
	if (w->how == WATCH && change) {
		UT_CMP(result->changes + 1, <, COPIES);
		memcpy(result->copies[++result->changes], w->region, REGION);
	}
	return w->how == KILL && w->points == w->last;
}

/* What is never the same, and matters to people only. */
static void blank_hints(char *region)
{
	struct lshmi_header *h = (struct lshmi_header *)region;
	struct lshmi_slot *s =
	    (struct lshmi_slot *)(region + h->participants_off);

	memset(h->uuid, 0, sizeof(h->uuid));
	memset(h->deaths, 0, sizeof(h->deaths));
	h->created_ns = h->creator_pid = 0;
	for (uint32_t i = 0; i < h->max_participants; i++)
		s[i].base = s[i].attached_ns = s[i].pid = 0;
}

/* The region as it was once, if it is now what it was before that. */
static void put_copy(struct lshm_region *handle, uint64_t number)
{
	char *region = lshm_region_base(handle);
	char *now = malloc(REGION), *then = malloc(REGION);
	struct lshmi_slot *slot = crash_slot(handle, crash_own_slot(handle));
	struct lshmi_slot self = *slot;

	memcpy(now, region, REGION);
	memcpy(then, result->copies[0], REGION);
	blank_hints(now);
	blank_hints(then);
	UT_TRUE(memcmp(now, then, REGION) == 0);
	memcpy(region, result->copies[number], REGION);
	*slot = self; /* only the dead may have a pid that is gone */
	free(now);
	free(then);
}

static void find_shared(struct world *w)
{
	UT_OK(lshm_object_open(w->region, "shared", "shared",
	    sizeof(*w->shared), (void **)&w->shared));
}

static void child_body(struct lshm_region *region, int fd, void *arg)
{
	const struct operation *op = arg;
	struct world w = {.region = region, .fd = fd};

	if (region) {
		find_shared(&w);
		if (!op->cold) /* its lane, and the linker's work, are done */
			UT_OK(
			    lshm_free(region, lshm_alloc(region, SMALL_BLOCK)));
	}
	if (op->begin)
		op->begin(&w);
	crash_mark();
	op->run(&w);
	crash_mark();
}

/* One run of an operation, ended as is said. */
static void trial(const struct operation *op, enum how how, uint64_t number)
{
	struct world w = {0};
	struct watch watch = {.how = how, .last = number};
	struct lshm_region_info info;
	struct ut_child child;
	uint64_t steps = 0;

	w.region =
	    ut_create(&(struct lshm_region_opts)LSHM_REGION_OPTS(.size = REGION,
		.max_size = 16 * MIB, .max_participants = 4));
	UT_OK(lshm_object_create(w.region, "shared", "shared",
	    sizeof(*w.shared), NULL, NULL, (void **)&w.shared));
	w.books = CRASH_BOOKS(w.region);
	if (op->prepare)
		op->prepare(&w);
	child =
	    ut_spawn(op->attaches ? NULL : w.region, 0, child_body, (void *)op);
	if (op->attaches && !ut_backend->named)
		UT_OK(lshm_region_send(w.region, child.fd, 0));
	crash_await_mark(&child);
	if (op->meanwhile)
		op->meanwhile(&w);

	UT_OK(lshm_region_stat(w.region, &info));
	UT_EQ(REGION, info.size);
	watch.region = lshm_region_base(w.region);
	watch.before = malloc(REGION);
	memcpy(watch.before, watch.region, REGION);
	choose_parts(&watch);
	if (how == WATCH)
		memcpy(result->copies[0], watch.region, REGION);
	if (how != COPY)
		w.done = !crash_step(&child, new_state, &watch, &steps);
	ut_kill(&child);
	free(watch.before);
	if (how == WATCH) {
		result->steps = steps;
		result->points = watch.points;
	} else if (how == COPY) {
		put_copy(w.region, number);
	}

	op->finish(&w);
	CRASH_BALANCED(w.region, &w.books);
	lshm_region_close(w.region);
	if (ut_backend->named)
		UT_OK(lshm_region_unlink(ut_name, LSHM_BACKEND_DEFAULT));
}

/* The same in a process of its own: did the survivor find fault? */
static unsigned int fails(
    const struct operation *op, enum how how, uint64_t number, bool quiet)
{
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		if (quiet)
			dup2(open("/dev/null", O_WRONLY), STDERR_FILENO);
		trial(op, how, number);
		exit(EXIT_SUCCESS);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		ut_fail(UT_AT("fork()"), "%m");
	if (status != 0 && !quiet)
		fprintf(stderr, "      seen %s %llu\n",
		    how == WATCH  ? "after all, kill"
		    : how == COPY ? "in LSHM_TEST_STATE"
				  : "by LSHM_TEST_KILL",
		    (unsigned long long)number);
	return status != 0;
}

/* Every state of an operation: in how many was something wrong? */
static unsigned int sweep(const struct operation *op, bool quiet)
{
	const char *state = getenv("LSHM_TEST_STATE");
	const char *alone = getenv("LSHM_TEST_KILL");
	uint64_t seed = ut_seed(), every, kills = 0;
	unsigned int failures;

	result = mmap(NULL, sizeof(*result), PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	failures = fails(op, WATCH, 0, quiet);
	for (uint64_t i = 0; i <= result->changes && !op->grows; i++)
		if (!alone && (!state || strtoull(state, NULL, 0) == i))
			failures += fails(op, COPY, i, quiet);
	/* A kill costs half of the steps, on average. */
	every = 1 + result->points * result->steps / 2 / ut_scale(KILL_BUDGET);
	if (every > result->points)
		every = result->points ? result->points : 1;
	for (uint64_t i = 1 + ut_random(&seed) % every; i <= result->points;
	     i += alone ? 1 : every) {
		if (state || (alone && strtoull(alone, NULL, 0) != i))
			continue;
		failures += fails(op, KILL, i, quiet);
		kills++;
	}
	printf("%6llu instructions %3llu states %3llu kills %2u failures ... ",
	    (unsigned long long)result->steps,
	    (unsigned long long)result->changes, (unsigned long long)kills,
	    failures);
	fflush(stdout);
	UT_CMP(result->steps, >, 0);
	munmap(result, sizeof(*result));
	return failures;
}

/** STEP(name, where, members of struct operation) - a test of one operation */
#define STEP(name, where, ...)                                   \
	static const struct operation op_##name = {__VA_ARGS__}; \
	UT_TEST(name, where)                                     \
	{                                                        \
		UT_EQ(0, sweep(&op_##name, false));              \
	}

/* ---- the test of this test: two words, of which one vouches for the other */

static void run_right(struct world *w)
{
	volatile struct shared *s = w->shared;

	s->data = 42;
	s->full = 1;
}

static void run_wrong(struct world *w)
{
	volatile struct shared *s = w->shared;

	s->full = 1;
	s->data = 42;
}

static void finish_words(struct world *w)
{
	UT_TRUE(!w->shared->full || w->shared->data == 42);
	UT_TRUE(!w->done || w->shared->full);
}

STEP(right_order, UT_ONCE, .run = run_right, .finish = finish_words)

static const struct operation op_wrong_order = {
    .run = run_wrong, .finish = finish_words};

UT_TEST(wrong_order_is_noticed, UT_ONCE)
{
	UT_CMP(sweep(&op_wrong_order, true), >, 0);
}

/* ---- the heap ---- */

static void alloc_small(struct world *w)
{
	w->block = lshm_alloc(w->region, SMALL_BLOCK);
	UT_SOME(w->block);
	crash_fill(w->block, FILLED, 1000);
}

static void alloc_large(struct world *w)
{
	w->block = lshm_alloc(w->region, LARGE_BLOCK);
	UT_SOME(w->block);
}

static void alloc_aligned(struct world *w)
{
	w->block = lshm_alloc_aligned(w->region, 2 * LSHMI_PAGE, LARGE_BLOCK);
	UT_SOME(w->block);
}

static void alloc_grows(struct world *w)
{
	w->block = lshm_alloc(w->region, 4 * MIB);
	UT_SOME(w->block);
}

static void free_block(struct world *w)
{
	UT_OK(lshm_free(w->region, w->block));
}

static void alloc_free(struct world *w)
{
	alloc_small(w);
	free_block(w);
}

/* After a death: every size can be had, and given back. */
static void finish_heap(struct world *w)
{
	CRASH_BALANCED(w->region, &w->books);
	alloc_free(w);
	alloc_large(w);
	free_block(w);
	alloc_grows(w);
	free_block(w);
}

STEP(alloc_first, UT_ONCE, .cold = true, .run = alloc_small,
    .finish = finish_heap)
STEP(alloc, UT_ONCE, .begin = alloc_free, .run = alloc_small,
    .finish = finish_heap)
STEP(alloc_run, UT_ONCE, .run = alloc_large, .finish = finish_heap)
STEP(alloc_aligned, UT_ONCE, .run = alloc_aligned, .finish = finish_heap)
STEP(alloc_that_grows, UT_EACH, .grows = true, .run = alloc_grows,
    .finish = finish_heap)
STEP(free, UT_ONCE, .begin = alloc_small, .run = free_block,
    .finish = finish_heap)
STEP(free_run, UT_ONCE, .begin = alloc_large, .run = free_block,
    .finish = finish_heap)

static void grow(struct world *w)
{
	UT_OK(lshm_region_grow(w->region, 5 * MIB));
}

static void finish_grow(struct world *w)
{
	struct lshm_region_info info;

	UT_OK(lshm_region_stat(w->region, &info));
	UT_TRUE(info.size == REGION || info.size == 5 * MIB);
	UT_TRUE(!w->done || info.size == 5 * MIB);
	finish_heap(w);
	UT_OK(lshm_region_grow(w->region, 12 * MIB));
	UT_OK(lshm_region_stat(w->region, &info));
	UT_EQ(12 * MIB, info.size);
}

STEP(grow, UT_EACH, .grows = true, .run = grow, .finish = finish_grow)

/* ---- the mutex ---- */

static void lock(struct world *w)
{
	int ret = lshm_mutex_lock(w->region, &w->shared->mutex, UT_SOON);

	UT_TRUE(ret == 0 || ret == LSHM_OWNER_DIED);
}

static void unlock(struct world *w)
{
	UT_OK(lshm_mutex_unlock(w->region, &w->shared->mutex));
}

static void finish_lock(struct world *w)
{
	int ret = lshm_mutex_lock(w->region, &w->shared->mutex, UT_SOON);

	UT_TRUE(w->done ? ret == LSHM_OWNER_DIED
			: ret == 0 || ret == LSHM_OWNER_DIED);
	unlock(w);
}

static void finish_unlock(struct world *w)
{
	int ret = lshm_mutex_lock(w->region, &w->shared->mutex, UT_SOON);

	UT_TRUE(w->done ? ret == 0 : ret == 0 || ret == LSHM_OWNER_DIED);
	unlock(w);
}

STEP(mutex_lock, UT_ONCE, .run = lock, .finish = finish_lock)
STEP(mutex_unlock, UT_ONCE, .begin = lock, .run = unlock,
    .finish = finish_unlock)

/* ---- a field and its block ---- */

static void attach(struct world *w)
{
	UT_OK(lshm_attach(
	    w->region, &w->shared->mutex, &w->shared->field, w->block));
}

static void detach(struct world *w)
{
	UT_OK(lshm_detach(
	    w->region, &w->shared->mutex, &w->shared->field, &w->block));
}

static void replace(struct world *w)
{
	UT_OK(lshm_replace(w->region, &w->shared->mutex, &w->shared->field,
	    w->block, &w->block));
}

static void lock_with_block(struct world *w)
{
	alloc_small(w);
	lock(w);
}

static void lock_with_run(struct world *w)
{
	alloc_large(w);
	lock(w);
}

static void prepare_small(struct world *w)
{
	lock_with_block(w);
	attach(w);
	unlock(w);
}

static void prepare_run(struct world *w)
{
	lock_with_run(w);
	attach(w);
	unlock(w);
}

/* The field names a block in use, whole, or none; and no block is lost. */
static void finish_field(struct world *w)
{
	struct crash_books before = w->books, now = CRASH_BOOKS(w->region);

	UT_EQ(before.attached_blocks + (w->shared->field != 0),
	    now.attached_blocks);
	lock(w);
	if (w->shared->field) {
		detach(w);
		UT_CMP(lshm_usable_size(w->region, w->block), >=, SMALL_BLOCK);
		free_block(w);
	}
	alloc_small(w);
	attach(w);
	detach(w);
	free_block(w);
	unlock(w);
}

static void finish_attach(struct world *w)
{
	UT_TRUE(!w->done || w->shared->field);
	finish_field(w);
}

static void finish_detach(struct world *w)
{
	UT_TRUE(!w->done || !w->shared->field);
	finish_field(w);
}

static void finish_replace(struct world *w)
{
	lshm_off old = lshm_offset(w->region, w->block);

	UT_TRUE(w->shared->field);
	UT_TRUE(!w->done || w->shared->field != old);
	finish_field(w);
}

STEP(attach, UT_ONCE, .begin = lock_with_block, .run = attach,
    .finish = finish_attach)
STEP(detach, UT_ONCE, .prepare = prepare_small, .begin = lock, .run = detach,
    .finish = finish_detach)
STEP(replace, UT_ONCE, .prepare = prepare_small, .begin = lock_with_block,
    .run = replace, .finish = finish_replace)
STEP(replace_runs, UT_ONCE, .prepare = prepare_run, .begin = lock_with_run,
    .run = replace, .finish = finish_replace)

static void detach_free(struct world *w)
{
	detach(w);
	free_block(w);
}

/* The block lies in a slab of the survivor's. */
STEP(detach_and_free, UT_ONCE, .prepare = prepare_small, .begin = lock,
    .run = detach_free, .finish = finish_detach)

/* ---- named objects ---- */

#define OBJECT 100

static int fill_object(void *block, void *arg)
{
	crash_fill(block, FILLED, 7);
	return 0;
}

static void create_object(struct world *w)
{
	UT_OK(lshm_object_create(
	    w->region, "object", "test", OBJECT, fill_object, NULL, NULL));
}

static void remove_object(struct world *w)
{
	UT_OK(lshm_object_remove(w->region, "object", "test"));
}

/* Is it there? Then it is whole. The books know about it. */
static bool object_is_there(struct world *w)
{
	struct crash_books now = CRASH_BOOKS(w->region);
	void *block;
	int ret = lshm_object_open(w->region, "object", "test", OBJECT, &block);

	UT_EQ(w->books.attached_blocks + (ret == 0), now.attached_blocks);
	if (ret == 0)
		UT_EQ(7, CRASH_WHOLE(block, FILLED));
	else
		UT_EQ(-ENOENT, ret);
	return ret == 0;
}

static void finish_object(struct world *w, bool there)
{
	if (there)
		remove_object(w);
	create_object(w);
	UT_TRUE(object_is_there(w));
	remove_object(w);
}

static void finish_create(struct world *w)
{
	bool there = object_is_there(w);

	UT_TRUE(!w->done || there);
	finish_object(w, there);
}

static void finish_remove(struct world *w)
{
	bool there = object_is_there(w);

	UT_TRUE(!w->done || !there);
	finish_object(w, there);
}

STEP(object_create, UT_ONCE, .run = create_object, .finish = finish_create)
STEP(object_remove, UT_ONCE, .prepare = create_object, .run = remove_object,
    .finish = finish_remove)

/* ---- channels ---- */

#define MESSAGE 6500

static const struct lshm_channel_opts broadcast =
    LSHM_CHANNEL_OPTS(.mode = LSHM_BROADCAST, .depth = 4);
static const struct lshm_channel_opts work =
    LSHM_CHANNEL_OPTS(.mode = LSHM_WORK, .depth = 4);

static void open_producer(struct world *w)
{
	UT_OK(lshm_producer_open(&w->out, w->region, "c", NULL));
}

static void close_producer(struct world *w)
{
	lshm_producer_close(w->out);
}

static void open_consumer(struct world *w)
{
	UT_OK(lshm_consumer_open(&w->in, w->region, "c", NULL));
}

static void close_consumer(struct world *w)
{
	lshm_consumer_close(w->in);
}

static void loan(struct world *w)
{
	UT_OK(lshm_producer_loan(w->out, MESSAGE, LSHM_NOW, &w->block));
	crash_fill(w->block, FILLED, 5);
}

static void publish(struct world *w)
{
	UT_OK(lshm_producer_publish(w->out, w->block, LSHM_NOW));
}

static void discard(struct world *w)
{
	UT_OK(lshm_producer_discard(w->out, w->block));
}

static void send(struct world *w)
{
	loan(w);
	publish(w);
}

static void take(struct world *w)
{
	UT_OK(lshm_consumer_take(w->in, &w->message, LSHM_NOW));
	UT_EQ(5, CRASH_WHOLE(w->message.data, FILLED));
}

static void release(struct world *w)
{
	UT_OK(lshm_consumer_release(w->in, &w->message));
}

/* The survivor takes part. The channel has been in use for some laps. */
static void prepare_channel(
    struct world *w, const struct lshm_channel_opts *opts)
{
	for (int again = 0; again < 2; again++) {
		UT_OK(lshm_producer_open(&w->out, w->region, "c", opts));
		open_consumer(w);
		for (w->next = 0; w->next < 9; w->next++) {
			send(w);
			take(w);
			release(w);
		}
		if (again)
			break;
		/* The table of descriptors stays: what is left are the books */
		close_producer(w);
		close_consumer(w);
		UT_OK(lshm_channel_remove(w->region, "c"));
		w->books = CRASH_BOOKS(w->region);
	}
}

static void prepare_broadcast(struct world *w)
{
	prepare_channel(w, &broadcast);
}

static void prepare_work(struct world *w)
{
	prepare_channel(w, &work);
}

static void prepare_work_waiting(struct world *w)
{
	prepare_channel(w, &work);
	send(w);
	send(w);
}

/* The child sends them, so that it has joined before. */
static void begin_waiting(struct world *w)
{
	open_consumer(w);
	open_producer(w);
	send(w);
	send(w);
}

static void begin_taken(struct world *w)
{
	begin_waiting(w);
	take(w);
}

static void begin_loan(struct world *w)
{
	open_producer(w);
	loan(w);
}

static void begin_work_taken(struct world *w)
{
	open_consumer(w);
	take(w);
}

static struct lshm_channel_info channel_info(struct world *w)
{
	struct lshm_channel_info info;

	UT_OK(lshm_channel_stat(w->region, "c", &info));
	return info;
}

/*
 * The survivor takes what is there: each message whole, of the right sequence.
 * One may be missing if the dead one may have done it.
 */
static uint64_t drain(struct world *w, bool may_miss)
{
	struct lshm_message m;
	uint64_t got = 0;

	for (; lshm_consumer_take(w->in, &m, LSHM_NOW) == 0; got++) {
		UT_EQ(MESSAGE, m.size);
		UT_EQ(5, CRASH_WHOLE(m.data, FILLED));
		UT_TRUE(m.sequence == w->next ||
			(may_miss && m.sequence == w->next + 1));
		UT_CMP(m.deliveries, <=, 2);
		w->next = m.sequence + 1;
		UT_OK(lshm_consumer_release(w->in, &m));
	}
	UT_EQ(w->next, channel_info(w).published);
	UT_EQ(0, channel_info(w).backlog);
	return got;
}

/* After that, alone in the channel, it goes on, and removes it all. */
static void finish_channel(struct world *w)
{
	UT_EQ(1, channel_info(w).producers);
	UT_EQ(1, channel_info(w).consumers);
	for (int i = 0; i < 9; i++) {
		send(w);
		UT_EQ(1, drain(w, false));
	}
	while (lshm_producer_send(w->out, w->shared, 8, LSHM_NOW) == 0)
		;
	UT_EQ(4, channel_info(w).backlog);
	close_producer(w);
	close_consumer(w);
	UT_OK(lshm_channel_remove(w->region, "c"));
}

static void finish_none(struct world *w)
{
	lshm_region_reap(w->region);
	UT_EQ(0, drain(w, false));
	finish_channel(w);
}

static void finish_one(struct world *w)
{
	uint64_t got;

	lshm_region_reap(w->region);
	got = drain(w, false);
	UT_TRUE(w->done ? got == 1 : got <= 1);
	finish_channel(w);
}

static void finish_two(struct world *w)
{
	lshm_region_reap(w->region);
	UT_EQ(2, drain(w, false));
	finish_channel(w);
}

static void finish_released(struct world *w)
{
	uint64_t got;

	lshm_region_reap(w->region);
	got = drain(w, true);
	UT_TRUE(w->done ? got == 1 : got == 1 || got == 2);
	UT_EQ(got - 1, channel_info(w).redelivered);
	finish_channel(w);
}

STEP(producer_open, UT_ONCE, .prepare = prepare_broadcast, .run = open_producer,
    .finish = finish_none)
STEP(producer_close, UT_ONCE, .prepare = prepare_broadcast,
    .begin = open_producer, .run = close_producer, .finish = finish_none)
STEP(producer_close_with_loan, UT_ONCE, .prepare = prepare_broadcast,
    .begin = begin_loan, .run = close_producer, .finish = finish_none)
STEP(loan, UT_ONCE, .prepare = prepare_broadcast, .begin = open_producer,
    .run = loan, .finish = finish_none)
STEP(discard, UT_ONCE, .prepare = prepare_broadcast, .begin = begin_loan,
    .run = discard, .finish = finish_none)
STEP(publish_broadcast, UT_ONCE, .prepare = prepare_broadcast,
    .begin = begin_loan, .run = publish, .finish = finish_one)
STEP(publish_work, UT_ONCE, .prepare = prepare_work, .begin = begin_loan,
    .run = publish, .finish = finish_one)
STEP(send, UT_ONCE, .prepare = prepare_broadcast, .begin = open_producer,
    .run = send, .finish = finish_one)

STEP(consumer_open_broadcast, UT_ONCE, .prepare = prepare_broadcast,
    .run = open_consumer, .finish = finish_none)
STEP(consumer_open_work, UT_ONCE, .prepare = prepare_work_waiting,
    .run = open_consumer, .finish = finish_two)
STEP(consumer_close_broadcast, UT_ONCE, .prepare = prepare_broadcast,
    .begin = begin_taken, .run = close_consumer, .finish = finish_two)
STEP(consumer_close_work, UT_ONCE, .prepare = prepare_work_waiting,
    .begin = begin_work_taken, .run = close_consumer, .finish = finish_two)
STEP(take_broadcast, UT_ONCE, .prepare = prepare_broadcast,
    .begin = begin_waiting, .run = take, .finish = finish_two)
STEP(release_broadcast, UT_ONCE, .prepare = prepare_broadcast,
    .begin = begin_taken, .run = release, .finish = finish_two)
STEP(take_work, UT_ONCE, .prepare = prepare_work_waiting,
    .begin = open_consumer, .run = take, .finish = finish_two)
STEP(release_work, UT_ONCE, .prepare = prepare_work_waiting,
    .begin = begin_work_taken, .run = release, .finish = finish_released)

static void end_stream(struct world *w)
{
	UT_OK(lshm_producer_end(w->out));
}

static void finish_ended(struct world *w)
{
	struct lshm_message m;

	lshm_region_reap(w->region);
	UT_TRUE(!w->done || channel_info(w).ended);
	end_stream(w);
	UT_EQ(-ENODATA, lshm_consumer_take(w->in, &m, LSHM_NOW));
	close_producer(w);
	close_consumer(w);
	UT_OK(lshm_channel_remove(w->region, "c"));
}

STEP(end, UT_ONCE, .prepare = prepare_broadcast, .begin = open_producer,
    .run = end_stream, .finish = finish_ended)

/* -- a channel comes and goes -- */

static void prepare_gone(struct world *w)
{
	prepare_broadcast(w);
	close_producer(w);
	close_consumer(w);
	UT_OK(lshm_channel_remove(w->region, "c"));
}

static void prepare_left(struct world *w)
{
	prepare_broadcast(w);
	send(w);
	send(w);
	close_producer(w);
	close_consumer(w);
}

static void create_channel(struct world *w)
{
	UT_OK(lshm_producer_open(&w->out, w->region, "c", &work));
}

static void remove_channel(struct world *w)
{
	UT_OK(lshm_channel_remove(w->region, "c"));
}

static void finish_made(struct world *w)
{
	struct lshm_channel_info info;

	lshm_region_reap(w->region);
	UT_TRUE(!w->done || lshm_channel_stat(w->region, "c", &info) == 0);
	create_channel(w);
	open_consumer(w);
	w->next = 0;
	finish_channel(w);
}

/* "The channel is there, perhaps ended and emptied, or gone." */
static void finish_removed(struct world *w)
{
	int ret;

	lshm_region_reap(w->region);
	ret = lshm_channel_remove(w->region, "c");
	UT_TRUE(w->done ? ret == -ENOENT : ret == 0 || ret == -ENOENT);
	create_channel(w);
	open_consumer(w);
	w->next = 0;
	finish_channel(w);
}

STEP(channel_create, UT_ONCE, .prepare = prepare_gone, .run = create_channel,
    .finish = finish_made)
STEP(channel_remove, UT_ONCE, .prepare = prepare_left, .run = remove_channel,
    .finish = finish_removed)

/* ---- coming, leaving, rescuing ---- */

static void open_region(struct world *w)
{
	if (ut_backend->named)
		UT_OK(lshm_region_open(&w->region, ut_name, 0, NULL));
	else
		UT_OK(lshm_region_receive(&w->region, w->fd, 0, NULL));
}

static void finish_opened(struct world *w)
{
	struct lshm_region *again;

	CRASH_BALANCED(w->region, &w->books);
	again = ut_reopen(w->region, 0); /* the slot can be used anew */
	lshm_region_close(again);
	finish_heap(w);
}

STEP(region_open, UT_EACH, .attaches = true, .run = open_region,
    .finish = finish_opened)

static void hold_much(struct world *w)
{
	lock_with_block(w);
	attach(w);
	alloc_large(w);
	alloc_small(w);
	open_consumer(w);
	take(w);
	open_producer(w);
	loan(w);
}

static void close_region(struct world *w)
{
	lshm_region_close(w->region);
	w->region = NULL;
}

/* The dead one held a lock, a field's block, drafts, a message and a loan. */
static void finish_much(struct world *w)
{
	lshm_region_reap(w->region);
	UT_EQ(2, drain(w, false));
	UT_EQ(LSHM_OWNER_DIED,
	    lshm_mutex_lock(w->region, &w->shared->mutex, UT_SOON));
	UT_TRUE(w->shared->field);
	detach(w);
	UT_EQ(1000, CRASH_WHOLE(w->block, FILLED));
	free_block(w);
	unlock(w);
	finish_channel(w);
}

STEP(region_close, UT_EACH, .prepare = prepare_work_waiting, .begin = hold_much,
    .run = close_region, .finish = finish_much)

/* A third one, the victim, has much in hand; it dies once the child is there */
static void victim_body(struct lshm_region *region, int fd, void *arg)
{
	struct world w = {.region = region};

	find_shared(&w);
	hold_much(&w);
	ut_say(fd, 0);
	pause();
}

static void prepare_victim(struct world *w)
{
	prepare_work_waiting(w);
	w->victim = ut_spawn(w->region, 0, victim_body, NULL);
	ut_hear(w->victim.fd);
}

static void kill_victim(struct world *w)
{
	ut_kill(&w->victim);
}

static void prepare_dead(struct world *w)
{
	prepare_victim(w);
	kill_victim(w);
}

static void reap(struct world *w)
{
	UT_EQ(1, lshm_region_reap(w->region));
}

static void take_over(struct world *w)
{
	UT_EQ(LSHM_OWNER_DIED,
	    lshm_mutex_lock(w->region, &w->shared->mutex, UT_SOON));
}

STEP(rescue_by_attaching, UT_EACH, .prepare = prepare_dead, .attaches = true,
    .run = open_region, .finish = finish_much)
STEP(rescue_by_reaping, UT_ONCE, .prepare = prepare_victim,
    .meanwhile = kill_victim, .run = reap, .finish = finish_much)
STEP(rescue_by_locking, UT_ONCE, .prepare = prepare_victim,
    .meanwhile = kill_victim, .run = take_over, .finish = finish_much)
STEP(rescue_by_taking, UT_ONCE, .prepare = prepare_victim,
    .begin = open_consumer, .meanwhile = kill_victim, .run = take,
    .finish = finish_much)

/* The victim dies amid a replacement, when the field has just changed. */
static void torn_body(struct lshm_region *region, int fd, void *arg)
{
	struct world w = {.region = region};

	find_shared(&w);
	lock_with_block(&w);
	crash_mark();
	replace(&w);
}

static bool field_changed(void *arg, bool kernel)
{
	struct world *w = arg;
	volatile lshm_off *field = &w->shared->field;

	return *field != lshm_offset(w->region, w->block);
}

static void prepare_torn(struct world *w)
{
	prepare_small(w);
	w->victim = ut_spawn(w->region, 0, torn_body, NULL);
	crash_await_mark(&w->victim);
	UT_TRUE(crash_step(&w->victim, field_changed, w, NULL));
}

STEP(rescue_torn_by_locking, UT_ONCE, .prepare = prepare_torn,
    .meanwhile = kill_victim, .run = take_over, .finish = finish_replace)
STEP(rescue_torn_by_reaping, UT_ONCE, .prepare = prepare_torn,
    .meanwhile = kill_victim, .run = reap, .finish = finish_replace)
