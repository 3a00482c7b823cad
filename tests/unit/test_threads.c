/* SPDX-License-Identifier: MIT */
/*
 * test_threads.c - many threads of one process, through one handle
 *
 * Small enough to be run under a race detector, and no forks in it. Locks and
 * the like are in test_threads_sync.c.
 */
#include "threads.h"

#include <pthread.h>

static uint64_t drafts(struct lshm_region *region)
{
	struct lshm_heap_info info;

	UT_OK(lshm_heap_stat(region, &info));
	UT_EQ(info.total_bytes,
	    info.free_bytes + info.slab_bytes + info.run_bytes);
	return info.draft_blocks;
}

/* ---- heap ---- */

static void *allocates(void *arg)
{
	struct worker *w = arg;
	uint64_t *blocks[100] = {0};
	size_t words[100] = {0};

	for (uint64_t n = ut_scale(5000); n; n--) {
		size_t i = ut_random(&w->seed) % 100;

		if (blocks[i]) {
			UT_EQ((uintptr_t)w + i, blocks[i][0]);
			UT_EQ((uintptr_t)w + i, blocks[i][words[i] - 1]);
			UT_OK(lshm_free(w->region, blocks[i]));
			blocks[i] = NULL;
			continue;
		}
		words[i] = 1 + ut_random(&w->seed) % 300;
		if (ut_random(&w->seed) % 50 == 0)
			words[i] *= 100;
		UT_SOME(blocks[i] = lshm_alloc(w->region, words[i] * 8));
		blocks[i][0] = (uintptr_t)w + i;
		blocks[i][words[i] - 1] = (uintptr_t)w + i;
	}
	for (size_t i = 0; i < 100; i++)
		UT_OK(lshm_free(w->region, blocks[i]));
	return NULL;
}

UT_TEST(heap, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);

	together(region, allocates, NULL);
	UT_EQ(0, drafts(region));
	lshm_region_close(region);
}

/* A queue between threads, to hand blocks over; private memory. */
struct queue {
	pthread_mutex_t mutex;
	void *blocks[64];
	size_t count;
};

static void *swaps(void *arg)
{
	struct worker *w = arg;
	struct queue *queue = w->arg;

	for (uint64_t n = ut_scale(5000); n; n--) {
		size_t size = 1 + ut_random(&w->seed) % 1000;
		size_t i = ut_random(&w->seed) % UT_COUNT(queue->blocks);
		void *block, *old;

		if (n % 100 == 0)
			size *= 200;
		UT_SOME(block = lshm_alloc(w->region, size));
		memset(block, 1, size);
		pthread_mutex_lock(&queue->mutex);
		old = queue->blocks[i];
		queue->blocks[i] = block;
		pthread_mutex_unlock(&queue->mutex);
		/* by any thread of the process that holds the draft */
		UT_OK(lshm_free(w->region, old));
	}
	return NULL;
}

UT_TEST(heap_blocks_freed_by_another_thread, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct queue queue = {.mutex = PTHREAD_MUTEX_INITIALIZER};

	together(region, swaps, &queue);
	for (size_t i = 0; i < UT_COUNT(queue.blocks); i++)
		UT_OK(lshm_free(region, queue.blocks[i]));
	UT_EQ(0, drafts(region));
	lshm_region_close(region);
}

/* Blocks that one thread allocates and another one frees, all at a time. */
struct batch {
	struct lshm_region *region;
	pthread_barrier_t turn;
	void *blocks[16384];
	size_t count;
};

static void *frees_batches(void *arg)
{
	struct batch *b = arg;

	for (;;) {
		pthread_barrier_wait(&b->turn);
		if (b->count == 0)
			return NULL;
		for (size_t i = 0; i < b->count; i++)
			UT_OK(lshm_free(b->region, b->blocks[i]));
		pthread_barrier_wait(&b->turn);
	}
}

/*
 * What a thread knows of others' slabs: with each batch all of them are cut
 * anew, where there were others before.
 */
UT_TEST(slabs_of_another_thread_change, UT_EACH)
{
	static const size_t sizes[] = {64, 96, 192, 16, 48, 1000, 32, 4096};
	static struct batch b;
	pthread_t thread;

	b.region =
	    ut_create(&(struct lshm_region_opts)LSHM_REGION_OPTS(.size = MIB));
	pthread_barrier_init(&b.turn, NULL, 2);
	UT_EQ(0, pthread_create(&thread, NULL, frees_batches, &b));
	for (size_t i = 0; i < 4 * UT_COUNT(sizes); i++) {
		size_t size = sizes[(i ^ i >> 3) % UT_COUNT(sizes)];
		void *block;

		/* nothing is left, and pages, not slabs, are free */
		UT_NULL(lshm_alloc(b.region, MIB), "full");
		UT_EQ(0, drafts(b.region));
		b.count = 0;
		while (b.count < UT_COUNT(b.blocks) &&
		       (block = lshm_alloc(b.region, size)))
			b.blocks[b.count++] = block;
		pthread_barrier_wait(&b.turn);
		pthread_barrier_wait(&b.turn);
	}
	b.count = 0;
	pthread_barrier_wait(&b.turn);
	UT_EQ(0, pthread_join(thread, NULL));
	pthread_barrier_destroy(&b.turn);
	UT_EQ(0, drafts(b.region));
	lshm_region_close(b.region);
}

/* Threads that come and go: their lanes, and what they held, are not lost. */
UT_TEST(threads_that_end, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_region_info info;

	for (uint64_t i = ut_scale(200); i; i--)
		together(region, allocates, NULL);
	UT_EQ(0, drafts(region));
	UT_OK(lshm_region_stat(region, &info));
	UT_CMP(info.lanes, <=, THREADS + 1);
	lshm_region_close(region);
}

static void *leaves_a_block(void *arg)
{
	struct worker *w = arg;

	UT_SOME(lshm_alloc(w->region, 100));
	return NULL;
}

/* A block is its process's: it outlives the thread that allocated it. */
UT_TEST(blocks_outlive_their_thread, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);

	together(region, leaves_a_block, NULL);
	UT_EQ(THREADS, drafts(region));
	UT_EQ(0, lshm_region_reap(region));
	UT_EQ(THREADS, drafts(region));
	lshm_region_close(region);
}

static void *grows(void *arg)
{
	struct worker *w = arg;

	for (uint64_t size = MIB; size <= 64 * MIB; size += MIB) {
		UT_OK(lshm_region_grow(w->region, size));
		UT_SOME(lshm_at(w->region, size - 8, 8));
		*(volatile uint8_t *)lshm_at(
		    w->region, size - 8 + (w->seed & 3), 1);
	}
	return NULL;
}

UT_TEST(growing, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);

	together(region, grows, NULL);
	lshm_region_close(region);
}

/* ---- errors ---- */

static void *fails(void *arg)
{
	struct lshm_region *none;

	UT_STR("", lshm_error());
	UT_ERR(-ENOENT, lshm_region_open(&none, "memfd:a", 0, NULL), "memfd");
	return NULL;
}

/* The message is the thread's own. */
UT_TEST(errors_are_the_threads_own, UT_ONCE)
{
	struct lshm_region *region = ut_create(UT_SMALL);

	UT_NULL(lshm_alloc_aligned(region, 3, 1), "power of two");
	together(region, fails, NULL);
	UT_TRUE(strcasestr(lshm_error(), "power of two"));
	lshm_region_close(region);
}

/* ---- objects ---- */

static void *creates(void *arg)
{
	struct worker *w = arg;

	for (uint64_t n = ut_scale(200); n; n--) {
		char name[40];
		void *block;
		int ret;

		snprintf(name, sizeof(name), "%u",
		    (unsigned int)(ut_random(&w->seed) % 8));
		ret = lshm_object_create(
		    w->region, name, "t", 100, NULL, NULL, NULL);
		UT_TRUE(ret == 0 || ret == -EEXIST);
		ret = lshm_object_open(w->region, name, "t", 100, &block);
		UT_TRUE(ret == 0 || ret == -ENOENT);
		if (n % 2) {
			ret = lshm_object_remove(w->region, name, "t");
			UT_TRUE(ret == 0 || ret == -ENOENT);
		}
	}
	return NULL;
}

UT_TEST(objects, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);

	together(region, creates, NULL);
	UT_EQ(0, drafts(region));
	lshm_region_close(region);
}

/* ---- channels ---- */

struct flow {
	struct lshm_producer *outs[THREADS / 2];
	struct lshm_consumer *ins[THREADS / 2];
	pthread_mutex_t mutex;
	uint32_t started;
	uint64_t received;
	uint64_t total;
};

static void produce(struct lshm_producer *out, uint64_t letters)
{
	for (uint64_t n = 1; n <= letters; n++) {
		uint64_t *loan;

		UT_OK(lshm_producer_loan(
		    out, 8 + n % 3000, UT_SOON, (void **)&loan));
		*loan = n;
		UT_OK(lshm_producer_publish(out, loan, UT_SOON));
	}
	lshm_producer_close(out);
}

static void consume(struct lshm_consumer *in, struct flow *flow)
{
	uint64_t buffer[400], received = 0, total = 0;
	size_t size;
	int ret;

	while ((ret = lshm_consumer_receive(
		    in, buffer, sizeof(buffer), &size, UT_SOON)) == 0) {
		UT_EQ(8 + buffer[0] % 3000, size);
		received++;
		total += buffer[0];
	}
	UT_EQ(-EPIPE, ret); /* every producer has left */
	lshm_consumer_close(in);
	pthread_mutex_lock(&flow->mutex);
	flow->received += received;
	flow->total += total;
	pthread_mutex_unlock(&flow->mutex);
}

/* Two threads produce, two consume; each has an end of its own. */
static void *flows(void *arg)
{
	struct worker *w = arg;
	struct flow *flow = w->arg;
	uint32_t me;

	pthread_mutex_lock(&flow->mutex);
	me = flow->started++;
	pthread_mutex_unlock(&flow->mutex);
	if (me % 2)
		produce(flow->outs[me / 2], ut_scale(2000));
	else
		consume(flow->ins[me / 2], flow);
	return NULL;
}

static void channel(uint32_t mode, uint64_t copies)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_channel_opts opts =
	    LSHM_CHANNEL_OPTS(.mode = mode, .depth = 16);
	struct flow flow = {.mutex = PTHREAD_MUTEX_INITIALIZER};
	uint64_t letters = ut_scale(2000);

	for (size_t i = 0; i < THREADS / 2; i++) {
		UT_OK(lshm_producer_open(&flow.outs[i], region, "c", &opts));
		UT_OK(lshm_consumer_open(&flow.ins[i], region, "c", &opts));
	}
	together(region, flows, &flow);
	UT_EQ(THREADS / 2 * letters * copies, flow.received);
	UT_EQ(THREADS / 2 * (letters * (letters + 1) / 2) * copies, flow.total);
	UT_OK(lshm_channel_remove(region, "c"));
	UT_EQ(0, drafts(region));
	lshm_region_close(region);
}

UT_TEST(channel_broadcast, UT_EACH)
{
	channel(LSHM_BROADCAST, THREADS / 2);
}

UT_TEST(channel_work, UT_EACH)
{
	channel(LSHM_WORK, 1);
}

/* ---- handles ---- */

static void *attaches(void *arg)
{
	struct worker *w = arg;

	for (uint64_t n = ut_scale(30); n; n--) {
		struct lshm_region *own = ut_reopen(w->region, 0);
		void *block;

		UT_SOME(block = lshm_alloc(own, 1000));
		UT_OK(lshm_free(own, block));
		UT_EQ(0, lshm_region_reap(own));
		lshm_region_close(own);
		UT_EQ(0, lshm_region_reap(w->region));
	}
	return NULL;
}

UT_TEST(attaching, UT_EACH)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_region_info info;

	together(region, attaches, NULL);
	UT_OK(lshm_region_stat(region, &info));
	UT_EQ(1, info.participants);
	UT_EQ(0, info.deaths);
	lshm_region_close(region);
}

/* ---- the map ---- */

/* Each has keys of its own, and all insert the same others. */
static void *maps(void *arg)
{
	struct worker *w = arg;
	struct lshm_map *map = w->arg;
	uint64_t own = (uint64_t)(uintptr_t)w, key, value;

	for (uint64_t n = ut_scale(2000); n; n--) {
		int ret = lshm_map_insert(
		    w->region, map, &n, sizeof(n), &own, sizeof(own));

		UT_TRUE(ret == 0 || ret == -EEXIST);
		key = own + n % 8; /* no two workers are that near */
		UT_OK(lshm_map_put(
		    w->region, map, &key, sizeof(key), &n, sizeof(n)));
		UT_OK(lshm_map_get(w->region, map, &key, sizeof(key), &value,
		    sizeof(value), NULL));
		UT_EQ(n, value);
		if (n % 3 == 0 || n <= 8)
			UT_OK(lshm_map_remove(
			    w->region, map, &key, sizeof(key), NULL));
	}
	return NULL;
}

UT_TEST(map, UT_ONCE)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_map *map;
	uint64_t count;

	UT_OK(lshm_map_create(region, "map", &map));
	together(region, maps, map);
	UT_OK(lshm_map_count(region, map, &count));
	UT_EQ(ut_scale(2000), count);
	UT_EQ(0, drafts(region));
	UT_OK(lshm_map_destroy(region, "map"));
	lshm_region_close(region);
}
