/* SPDX-License-Identifier: MIT */
/*
 * worker.c - the life of a worker and of its threads
 */
#include "storm.h"

#include <pthread.h>
#include <sched.h>

bool storm_slow; /* see slow.h */

/* A table that grows by a line for each area. */
const struct area *const areas[AREAS] = {
    [HEAP] = &area_heap,
    [LOCK] = &area_lock,
    [SYNC] = &area_sync,
    [CONTAINER] = &area_container,
    [CHANNEL] = &area_channel,
};

/* Kinds: attach, detach, and then the operations of all areas in turn. */
enum { ATTACH, DETACH, FIRST_OP };

static const struct op *op_of(uint32_t kind)
{
	uint32_t n = FIRST_OP;

	for (int a = 0; a < AREAS; a++)
		for (const struct op *op = areas[a]->ops; op->name; op++)
			if (n++ == kind)
				return op;
	return NULL;
}

const char *kind_name(uint32_t kind)
{
	const struct op *op = op_of(kind);

	if (kind < FIRST_OP)
		return kind == ATTACH ? "attach" : "detach";
	return op ? op->name : "none";
}

uint64_t pick(struct worker *w, uint64_t n)
{
	return ut_random(&w->random) % n;
}

void dawdle(struct worker *w)
{
	uint64_t n = pick(w, 16);

	if (n == 0)
		sched_yield();
	else if (n < 4)
		usleep((useconds_t)pick(w, 400));
	else if (n < 8)
		for (n = pick(w, 400); n; n--)
			lshmi_pause();
}

int64_t some_deadline(struct worker *w)
{
	return pick(w, 4) ? LSHM_NOW : lshm_deadline_ms((int64_t)pick(w, 8));
}

bool dead(uint64_t life)
{
	return life == 0 || lshmi_load_seq(&ledger->dying[life]);
}

bool succeeded(struct ut_at at, int ret, const int *allowed)
{
	if (ret == LSHM_OWNER_DIED || ret == -EOWNERDEAD)
		lshmi_fetch_add(&ledger->news, 1);
	if (ret < 0) {
		for (; *allowed; allowed++)
			if (ret == -*allowed)
				return false;
		ut_fail(at,
		    "expected success or a failure that is allowed, seen %d: "
		    "\"%s\"",
		    ret, lshm_error());
	}
	ut_check(at, true);
	return true;
}

/* ---- what is written, and found whole ---- */

static uint64_t word_of(const struct text *text, uint64_t i)
{
	return text->life * 1000003 + text->number * 31 + i;
}

void write_text(
    struct text *text, uint64_t size, uint64_t life, uint64_t number)
{
	text->size = size;
	text->life = life;
	text->number = number;
	for (uint64_t i = 0; i < (size - TEXT_MIN) / 8; i++)
		text->words[i] = word_of(text, i);
}

void check_text(const struct text *text, uint64_t room)
{
	UT_CMP(text->size, >=, TEXT_MIN);
	UT_CMP(text->size, <=, room);
	for (uint64_t i = 0; i < (text->size - TEXT_MIN) / 8; i++)
		if (text->words[i] != word_of(text, i))
			ut_fail(UT_AT("the bytes are whole"),
			    "word %" PRIu64 " of %" PRIu64 ": expected %" PRIx64
			    ", seen %" PRIx64,
			    i, (text->size - TEXT_MIN) / 8, word_of(text, i),
			    text->words[i]);
}

void check_pair(const struct pair *pair)
{
	uint64_t first = lshmi_load_relaxed(&pair->first);
	uint64_t second = lshmi_load_relaxed(&pair->second);

	UT_EQ(CANARY, lshmi_load_relaxed(&pair->canary));
	if (first != second)
		ut_fail(UT_AT("a change under a lock is whole"),
		    "first half %" PRIx64 ", second half %" PRIx64, first,
		    second);
}

void write_pair(struct worker *w, struct pair *pair)
{
	uint64_t value = pick(w, UINT64_MAX);

	lshmi_store_relaxed(&pair->first, value);
	dawdle(w);
	lshmi_store_relaxed(&pair->second, value);
}

void repair_pair(struct pair *pair)
{
	lshmi_store_relaxed(&pair->second, lshmi_load_relaxed(&pair->first));
}

/* ---- coming and going ---- */

void attach(struct worker *w)
{
	bool done;

	w->kind = ATTACH;
	do {
		begin(w, OWN, LSHM_NOW);
		done = MAY_FAIL(
		    w->fd < 0 ? lshm_region_open(&w->region, ut_name, 0, NULL)
			      : lshm_region_open_fd(&w->region, w->fd, 0, NULL),
		    EUSERS);
		end(w);
		if (!done) /* more workers than slots */
			usleep(1000);
	} while (!done);
	for (int a = 0; a < AREAS; a++)
		UT_OK(lshm_object_open(w->region, areas[a]->name, "area",
		    areas[a]->size, &w->shared[a]));
}

static void idle(struct worker *w)
{
	for (int a = 0; a < AREAS; a++)
		if (areas[a]->idle)
			areas[a]->idle(w);
}

static void detach(struct worker *w)
{
	if (pick(w, 2)) /* drafts may go with the region */
		memset(w->drafts, 0, sizeof(w->drafts));
	idle(w);
	memset(w->drafts, 0, sizeof(w->drafts));
	w->kind = DETACH;
	begin(w, OWN, LSHM_NOW);
	lshm_region_close(w->region);
	end(w);
	w->region = NULL;
}

/* ---- working ---- */

static void one_operation(struct worker *w)
{
	static uint64_t total;
	uint64_t n, sum = 0;

	if (!total) {
		for (int a = 0; a < AREAS; a++)
			for (const struct op *o = areas[a]->ops; o->name; o++)
				sum += o->weight;
		lshmi_store_relaxed(&total, sum);
	}
	n = pick(w, lshmi_load_relaxed(&total));
	w->kind = FIRST_OP;
	for (int a = 0; a < AREAS; a++)
		for (const struct op *o = areas[a]->ops; o->name; o++) {
			if (n < o->weight) {
				o->run(w);
				return;
			}
			n -= o->weight;
			w->kind++;
		}
}

static void *thread(void *arg)
{
	struct worker *w = arg;

	if (w->own_handle)
		attach(w);
	while (w->turns-- && !lshmi_load_acquire(&ledger->finish))
		one_operation(w);
	if (w->own_handle)
		detach(w);
	else
		idle(w);
	lshmi_store_release(&w->ended, 1);
	return NULL;
}

struct helper {
	struct worker worker;
	pthread_t id;
	bool running;
};

/* Another thread, for a while; or the end of it, if it has come. */
static void look_after(struct worker *w, struct helper *h, int number)
{
	if (h->running) {
		if (!lshmi_load_acquire(&h->worker.ended))
			return;
		UT_EQ(0, pthread_join(h->id, NULL));
		h->running = false;
	}
	if (lshmi_load_acquire(&ledger->finish))
		return;
	h->worker = (struct worker){.region = w->region,
	    .random = ut_random(&w->random),
	    .life = w->life,
	    .index = w->index,
	    .seat = w->seat + number,
	    .fd = w->fd,
	    .own_handle = pick(w, 8) == 0,
	    .turns = 1 + pick(w, 1000)};
	memcpy(h->worker.shared, w->shared, sizeof(w->shared));
	lshmi_store_seq(&h->worker.seat->life, w->life);
	UT_EQ(0, pthread_create(&h->id, NULL, thread, &h->worker));
	h->running = true;
}

void work(struct lshm_region *none, int fd, void *arg)
{
	struct worker *w = arg;
	struct helper helpers[THREADS - 1] = {0};
	int count = pick(w, 3) ? 0 : 1 + (int)pick(w, THREADS - 1);
	bool more = true;

	storm_slow = true;
	w->seat = &ledger->seats[w->index * THREADS];
	lshmi_store_seq(&w->seat->life, w->life);
	attach(w);
	while (!lshmi_load_acquire(&ledger->finish)) {
		for (int i = 0; i < count; i++)
			look_after(w, &helpers[i], i + 1);
		one_operation(w);
		if (!count && pick(w, 256) == 0) {
			detach(w);
			attach(w);
		}
	}
	while (more) {
		more = false;
		for (int i = 0; i < count; i++) {
			look_after(w, &helpers[i], i + 1);
			more |= helpers[i].running;
		}
		usleep(1000);
	}
	UT_TRUE(lshm_region_reap(w->region) >= 0);
	detach(w);
}
