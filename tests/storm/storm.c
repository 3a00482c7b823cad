/* SPDX-License-Identifier: MIT */
/*
 * storm.c - processes that do everything at random, and are killed and stopped
 * at random; then the books balance to the byte
 *
 * The workers check what they see while they live: no torn byte, no lost lock,
 * no gap in a stream. What must be true whoever died is noted in a ledger that
 * is private memory of the test, outside the region. How to run it on one
 * backend, for how long, and with which seed: see ../unit/unit.h.
 */
#include "../unit/unit.h"

#include <inttypes.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include "../../libshm/atomic.h"
#include "../../libshm/layout.h"

#define WORKERS	  8
#define FIELDS	  12
#define OBJECTS	  6
#define DRAFTS	  32
#define HELD	  4
#define LIVES	  16384 /* most workers ever started in a storm */
#define MESSAGES  8192	/* most messages for work of one worker */
#define PRODUCERS 32	/* last ones that a consumer remembers */

/* No operation of a worker that is not stopped may take longer. */
#define BOUND_NS INT64_C(5000000000)

static const struct lshm_channel_opts options[] = {
    LSHM_CHANNEL_OPTS(.mode = LSHM_BROADCAST, .depth = 8),
    LSHM_CHANNEL_OPTS(.mode = LSHM_WORK, .depth = 8),
};
static const char *const channels[] = {"broadcast", "work"};

/* Shared data of the workers, an object of the region. */
struct common {
	struct lshm_mutex field_lock[FIELDS];
	lshm_off field[FIELDS];
	uint64_t field_user[FIELDS]; /* who is between lock and unlock */
	struct lshm_mutex object_lock[OBJECTS];
};

enum kind {
	ATTACH,
	DETACH,
	REPLACE,
	ALLOC,
	FREE,
	JOIN,
	LEAVE,
	SEND,
	TAKE,
	RELEASE,
	OBJECT,
	GROW,
	REAP,
	KINDS,
};

static const char *const kind_names[KINDS] = {
    [ATTACH] = "attach",
    [DETACH] = "detach",
    [REPLACE] = "replace",
    [ALLOC] = "alloc",
    [FREE] = "free",
    [JOIN] = "join",
    [LEAVE] = "leave",
    [SEND] = "send",
    [TAKE] = "take",
    [RELEASE] = "release",
    [OBJECT] = "object",
    [GROW] = "grow",
    [REAP] = "reap",
};

/* The test's own memory, shared with the workers. */
static struct ledger {
	uint64_t stops[WORKERS]; /* +1 before each stop and each continuation */
	uint64_t done[KINDS];
	uint64_t longest[KINDS];   /* ns */
	uint32_t published[LIVES]; /* messages for work that were accepted */
	uint8_t delivered[LIVES][MESSAGES / 8];
} * ledger;

/* A message, and a block: what it says follows from its first three words. */
struct text {
	uint64_t size;
	uint64_t life;
	uint64_t number;
	uint64_t words[];
};

#define TEXT_MIN sizeof(struct text)

struct stream {
	struct lshm_consumer *in;
	bool begun;
	uint64_t least, most, next; /* sequences */
	struct {
		uint64_t life, number;
	} last[PRODUCERS];
	struct lshm_message held[HELD];
	int count;
};

struct worker {
	struct lshm_region *region;
	struct common *common;
	uint64_t random;
	uint64_t life;
	uint32_t index;
	int fd; /* of the region's file */
	struct lshm_producer *out[2];
	uint64_t sent[2];
	struct stream stream[2];
	void *drafts[DRAFTS];
	uint64_t stops;
	int64_t since;
};

static int64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* ---- what is written, and found whole ---- */

static void write_text(
    struct text *text, uint64_t size, uint64_t life, uint64_t number)
{
	text->size = size;
	text->life = life;
	text->number = number;
	for (uint64_t i = 0; i < (size - TEXT_MIN) / 8; i++)
		text->words[i] = life * 1000003 + number * 31 + i;
}

static void check_text(const struct text *text, uint64_t room)
{
	UT_CMP(text->size, >=, TEXT_MIN);
	UT_CMP(text->size, <=, room);
	for (uint64_t i = 0; i < (text->size - TEXT_MIN) / 8; i++)
		if (text->words[i] !=
		    text->life * 1000003 + text->number * 31 + i)
			ut_fail(UT_AT("the bytes are whole"),
			    "word %" PRIu64 " of %" PRIu64 ": expected %" PRIx64
			    ", seen %" PRIx64,
			    i, (text->size - TEXT_MIN) / 8,
			    text->life * 1000003 + text->number * 31 + i,
			    text->words[i]);
}

/* ---- operations ---- */

static uint64_t pick(struct worker *w, uint64_t n)
{
	return ut_random(&w->random) % n;
}

static void begin(struct worker *w)
{
	w->stops = lshmi_load_acquire(&ledger->stops[w->index]);
	w->since = now();
}

/* Time stopped does not count, nor what a stop may have lengthened. */
static void end(struct worker *w, enum kind kind)
{
	int64_t took = now() - w->since;
	uint64_t longest = lshmi_load_relaxed(&ledger->longest[kind]);

	lshmi_fetch_add(&ledger->done[kind], 1);
	if (w->stops != lshmi_load_acquire(&ledger->stops[w->index]))
		return;
	while ((uint64_t)took > longest &&
	       !lshmi_cas(&ledger->longest[kind], longest, (uint64_t)took))
		longest = lshmi_load_relaxed(&ledger->longest[kind]);
	if (took > BOUND_NS)
		ut_fail(UT_AT("an operation's time"),
		    "%s: expected less than %d ms, seen %d ms",
		    kind_names[kind], (int)(BOUND_NS / 1000000),
		    (int)(took / 1000000));
}

/* It succeeded (true), or failed in a way it may (false). */
static bool succeeded(struct ut_at at, int ret, const int *allowed)
{
	if (ret < 0) {
		for (; *allowed; allowed++)
			if (ret == -*allowed)
				return false;
		ut_fail(at,
		    "expected success or a want of room, seen %d: \"%s\"", ret,
		    lshm_error());
	}
	ut_check(at, true);
	return true;
}

#define MAY_FAIL(call, ...) \
	succeeded(UT_AT(#call), call, (const int[]){__VA_ARGS__, 0})

static void attach(struct worker *w)
{
	void *block;
	bool done;

	do {
		begin(w);
		done = MAY_FAIL(
		    w->fd < 0 ? lshm_region_open(&w->region, ut_name, 0, NULL)
			      : lshm_region_open_fd(&w->region, w->fd, 0, NULL),
		    EUSERS);
		end(w, ATTACH);
		if (!done) /* more workers than slots */
			usleep(1000);
	} while (!done);
	UT_OK(lshm_object_open(
	    w->region, "common", "common", sizeof(*w->common), &block));
	w->common = block;
}

static void leave(struct worker *w, int mode)
{
	begin(w);
	lshm_consumer_close(w->stream[mode].in);
	memset(&w->stream[mode], 0, sizeof(w->stream[mode]));
	end(w, LEAVE);
}

static void detach(struct worker *w)
{
	for (int mode = 0; mode < 2; mode++) {
		leave(w, mode);
		lshm_producer_close(w->out[mode]);
		w->out[mode] = NULL;
	}
	memset(w->drafts, 0, sizeof(w->drafts));
	begin(w);
	lshm_region_close(w->region);
	end(w, DETACH);
}

static void *new_block(struct worker *w)
{
	uint64_t size = TEXT_MIN + pick(w, 3000);
	struct text *block;

	if (pick(w, 8) == 0)
		size = 200000 + pick(w, 400000);
	begin(w);
	block = lshm_alloc(w->region, size);
	end(w, ALLOC);
	if (block)
		write_text(block, size, w->life, size);
	else
		UT_TRUE(lshm_error()[0]);
	return block;
}

static void free_block(struct worker *w, void *block)
{
	check_text(block, lshm_usable_size(w->region, block));
	begin(w);
	UT_OK(lshm_free(w->region, block));
	end(w, FREE);
}

static void use_heap(struct worker *w)
{
	void **draft = &w->drafts[pick(w, DRAFTS)];

	if (*draft)
		free_block(w, *draft);
	*draft = *draft ? NULL : new_block(w);
}

static bool lock(struct worker *w, struct lshm_mutex *mutex)
{
	int ret = lshm_mutex_lock(w->region, mutex, UT_SOON);

	if (ret < 0)
		ut_fail(UT_AT("lshm_mutex_lock()"),
		    "expected 0 or LSHM_OWNER_DIED, seen %d: \"%s\"", ret,
		    lshm_error());
	return ret == LSHM_OWNER_DIED;
}

static void use_field(struct worker *w)
{
	struct common *c = w->common;
	uint64_t i = pick(w, FIELDS);
	void *block = pick(w, 3) ? new_block(w) : NULL, *old;
	bool died;

	begin(w);
	died = lock(w, &c->field_lock[i]);
	if (!died)
		UT_EQ(0, lshmi_load_relaxed(&c->field_user[i]));
	lshmi_store_relaxed(&c->field_user[i], w->life);
	if (c->field[i])
		UT_CMP(lshm_usable_size(
			   w->region, lshm_at(w->region, c->field[i], 1)),
		    >=, TEXT_MIN);
	UT_OK(lshm_replace(
	    w->region, &c->field_lock[i], &c->field[i], block, &old));
	UT_EQ(w->life, lshmi_load_relaxed(&c->field_user[i]));
	lshmi_store_relaxed(&c->field_user[i], 0);
	UT_OK(lshm_mutex_unlock(w->region, &c->field_lock[i]));
	end(w, REPLACE);
	if (old)
		free_block(w, old);
}

static int write_object(void *block, void *arg)
{
	struct worker *w = arg;

	write_text(block, 64 + 8 * (w->life % 100), w->life, 0);
	return 0;
}

/* Make, look at, or remove a named object, under a lock of its own. */
static void use_object(struct worker *w)
{
	uint64_t i = pick(w, OBJECTS);
	struct lshm_mutex *mutex = &w->common->object_lock[i];
	char name[16];
	void *block;
	int ret;

	snprintf(name, sizeof(name), "o%" PRIu64, i);
	begin(w);
	lock(w, mutex);
	ret = lshm_object_open(w->region, name, "text", 0, &block);
	if (ret == -ENOENT) {
		MAY_FAIL(lshm_object_create(w->region, name, "text",
			     64 + 8 * (w->life % 100), write_object, w, NULL),
		    ENOMEM, EAGAIN);
	} else {
		UT_OK(ret);
		check_text(block, lshm_usable_size(w->region, block));
		MAY_FAIL(lshm_object_remove(w->region, name, "text"), EAGAIN);
	}
	UT_OK(lshm_mutex_unlock(w->region, mutex));
	end(w, OBJECT);
}

static uint64_t published(struct worker *w, int mode)
{
	struct lshm_channel_info info;

	UT_OK(lshm_channel_stat(w->region, channels[mode], &info));
	return info.published;
}

static void join_or_leave(struct worker *w, int mode)
{
	struct stream *s = &w->stream[mode];

	if (s->in) {
		leave(w, mode);
		return;
	}
	s->least = published(w, mode);
	begin(w);
	if (MAY_FAIL(lshm_consumer_open(&s->in, w->region, channels[mode],
			 pick(w, 2) ? &options[mode] : NULL),
		EAGAIN, ENOMEM))
		s->most = published(w, mode);
	end(w, JOIN);
}

static void produce_or_not(struct worker *w, int mode)
{
	begin(w);
	if (w->out[mode]) {
		lshm_producer_close(w->out[mode]);
		w->out[mode] = NULL;
		end(w, LEAVE);
		return;
	}
	MAY_FAIL(lshm_producer_open(&w->out[mode], w->region, channels[mode],
		     pick(w, 2) ? &options[mode] : NULL),
	    EAGAIN, ENOMEM);
	end(w, JOIN);
}

static int64_t some_deadline(struct worker *w)
{
	return pick(w, 4) ? LSHM_NOW : lshm_deadline_ms((int64_t)pick(w, 8));
}

static void send_text(struct worker *w, int mode)
{
	uint64_t size = TEXT_MIN + pick(w, pick(w, 16) ? 600 : 20000);
	int64_t deadline = some_deadline(w);
	void *message;

	if (!w->out[mode] || w->sent[mode] == MESSAGES)
		return;
	begin(w);
	if (MAY_FAIL(lshm_producer_loan(w->out[mode], size, deadline, &message),
		EAGAIN, ETIMEDOUT, EPIPE, ENOMEM)) {
		write_text(message, size, w->life, w->sent[mode]);
		if (MAY_FAIL(
			lshm_producer_publish(w->out[mode], message, deadline),
			EAGAIN, ETIMEDOUT, EPIPE))
			w->sent[mode]++;
		else
			UT_OK(lshm_producer_discard(w->out[mode], message));
	}
	end(w, SEND);
	if (mode == LSHM_WORK)
		lshmi_store_release(
		    &ledger->published[w->life], (uint32_t)w->sent[LSHM_WORK]);
}

/* Broadcast: every message from the first one on, of every producer. */
static void check_stream(struct stream *s, const struct lshm_message *m)
{
	const struct text *text = m->data;
	size_t i = text->life % PRODUCERS;

	if (s->begun) {
		UT_EQ(s->next, m->sequence);
	} else {
		UT_CMP(m->sequence, >=, s->least);
		UT_CMP(m->sequence, <=, s->most);
	}
	s->begun = true;
	s->next = m->sequence + 1;
	if (s->last[i].life == text->life)
		UT_EQ(s->last[i].number + 1, text->number);
	s->last[i].life = text->life;
	s->last[i].number = text->number;
}

/* Work: once, and again only if a consumer was lost on it. */
static void note_work(const struct lshm_message *m)
{
	const struct text *text = m->data;
	uint8_t bit = (uint8_t)(1 << text->number % 8), before;

	UT_CMP(text->life, <, LIVES);
	UT_CMP(text->number, <, MESSAGES);
	before = lshmi_fetch_or(
	    &ledger->delivered[text->life][text->number / 8], bit);
	if (before & bit)
		UT_CMP(m->deliveries, >, 1);
}

static void release_one(struct worker *w, struct stream *s)
{
	int i = (int)pick(w, (uint64_t)s->count);

	check_text(s->held[i].data, s->held[i].size);
	begin(w);
	UT_OK(lshm_consumer_release(s->in, &s->held[i]));
	end(w, RELEASE);
	s->held[i] = s->held[--s->count];
}

static void take_text(struct worker *w, int mode)
{
	struct stream *s = &w->stream[mode];
	struct lshm_message *m = &s->held[s->count];
	bool done;

	if (!s->in)
		return;
	if (s->count == HELD || (s->count && pick(w, 2))) {
		release_one(w, s);
		return;
	}
	begin(w);
	done = MAY_FAIL(lshm_consumer_take(s->in, m, some_deadline(w)), EAGAIN,
	    ETIMEDOUT, EPIPE);
	end(w, TAKE);
	if (!done)
		return;
	s->count++;
	UT_EQ(m->size, ((const struct text *)m->data)->size);
	check_text(m->data, m->size);
	if (mode == LSHM_BROADCAST)
		check_stream(s, m);
	else
		note_work(m);
	if (pick(w, 4))
		release_one(w, s);
}

static void grow(struct worker *w)
{
	struct lshm_region_info info;
	uint64_t size;

	UT_OK(lshm_region_stat(w->region, &info));
	size = info.size + pick(w, 2) * info.granule;
	if (size > info.max_size)
		size = info.max_size;
	begin(w);
	MAY_FAIL(lshm_region_grow(w->region, size), EAGAIN);
	end(w, GROW);
}

static void reap(struct worker *w)
{
	begin(w);
	UT_TRUE(lshm_region_reap(w->region) >= 0);
	end(w, REAP);
}

static void work(struct lshm_region *none, int fd, void *arg)
{
	struct worker *w = arg;

	attach(w);
	for (int mode = 0; mode < 2; mode++) {
		if (pick(w, 2))
			produce_or_not(w, mode);
		if (pick(w, 2))
			join_or_leave(w, mode);
	}
	for (;;) {
		int mode = (int)pick(w, 2);

		switch (pick(w, 64)) {
		default:
			send_text(w, mode);
			break;
		case 20 ... 39:
			take_text(w, mode);
			break;
		case 40 ... 47:
			use_field(w);
			break;
		case 48 ... 53:
			use_heap(w);
			break;
		case 54 ... 56:
			produce_or_not(w, mode);
			break;
		case 57 ... 59:
			join_or_leave(w, mode);
			break;
		case 60 ... 61:
			use_object(w);
			break;
		case 62:
			if (pick(w, 8) == 0)
				reap(w);
			else if (pick(w, 8) == 0)
				grow(w);
			break;
		case 63:
			if (pick(w, 4) == 0) {
				detach(w);
				attach(w);
			}
		}
	}
}

/* ---- the books ---- */

/* What the heap is to contain. */
struct books {
	uint64_t offsets[4096];
	uint64_t blocks;
	uint64_t bytes;
};

/* A block that was asked for with @size bytes at a multiple of @alignment. */
static void enter(struct books *b, struct lshm_region *region, uint64_t offset,
    uint64_t size, uint64_t alignment)
{
	void *block = lshm_at(region, offset, size), *like;

	UT_SOME(block);
	UT_CMP(lshm_usable_size(region, block), >=, size);
	for (uint64_t i = 0; i < b->blocks; i++)
		UT_CMP(offset, !=, b->offsets[i]);
	UT_CMP(b->blocks, <, UT_COUNT(b->offsets));
	b->offsets[b->blocks++] = offset;
	if (alignment <= 16) {
		b->bytes += lshm_usable_size(region, block);
		return;
	}
	/* it may begin before: as large as one made like it */
	UT_SOME(like = lshm_alloc(region, size + alignment - 16));
	b->bytes += lshm_usable_size(region, like);
	UT_OK(lshm_free(region, like));
}

static void enter_descriptors(struct books *b, struct lshm_region *region)
{
	struct lshmi_header *header = lshm_region_base(region);

	for (int k = 0; k < LSHMI_DESC_SEGMENTS; k++) {
		uint64_t count = UINT64_C(64) << k;
		uint64_t offset = header->desc_segments[k];
		struct lshmi_desc *d;

		if (!offset)
			continue;
		enter(b, region, offset, count * sizeof(*d), 64);
		d = lshm_at(region, offset, count * sizeof(*d));
		for (uint64_t i = 0; i < count; i++)
			if (d[i].payload)
				enter(b, region, d[i].payload, 1, 16);
	}
}

static void compare(const struct books *b, struct lshm_region *region)
{
	struct lshm_heap_info heap;

	UT_OK(lshm_heap_stat(region, &heap));
	UT_EQ(0, heap.draft_blocks);
	UT_EQ(b->blocks, heap.attached_blocks);
	UT_EQ(b->bytes, heap.attached_bytes);
	UT_EQ(heap.total_bytes,
	    heap.free_bytes + heap.slab_bytes + heap.run_bytes);
}

static void nobody_is_left(struct lshm_region *region)
{
	struct lshm_endpoint_info endpoint;
	struct lshm_region_info info;

	UT_TRUE(lshm_region_reap(region) >= 0);
	UT_OK(lshm_region_stat(region, &info));
	UT_EQ(1, info.participants);
	UT_EQ(0, info.dead);
	UT_CMP(info.lanes, <=, 1);
	for (int mode = 0; mode < 2; mode++)
		for (uint32_t i = 0; i < 2 * LSHM_ENDPOINTS_MAX; i++)
			UT_ERR(-ENOENT, lshm_channel_endpoint(region,
					    channels[mode], i, &endpoint));
}

static void all_work_is_delivered(struct lshm_region *region)
{
	struct lshm_consumer *in;
	struct lshm_message m;
	int ret;

	UT_OK(lshm_consumer_open(&in, region, channels[LSHM_WORK], NULL));
	while ((ret = lshm_consumer_take(in, &m, LSHM_NOW)) == 0) {
		check_text(m.data, m.size);
		note_work(&m);
		UT_OK(lshm_consumer_release(in, &m));
	}
	UT_EQ(-EPIPE, ret);
	lshm_consumer_close(in);
	for (uint64_t life = 0; life < LIVES; life++)
		for (uint32_t n = 0; n < ledger->published[life]; n++)
			if (!(ledger->delivered[life][n / 8] & 1 << n % 8))
				ut_fail(UT_AT("work is delivered"),
				    "message %u of %u of worker %" PRIu64
				    ": expected once or more, seen never",
				    n, ledger->published[life], life);
}

static void take_books(struct lshm_region *region)
{
	struct books b = {0};
	struct lshm_object_info object;
	struct common *c;
	uint64_t cursor = 0;
	void *block;

	UT_OK(lshm_object_open(region, "common", "common", sizeof(*c), &block));
	c = block;
	while (lshm_object_next(region, &cursor, &object) == 0)
		enter(&b, region, object.offset, object.size, 64);
	for (int i = 0; i < FIELDS; i++)
		if (c->field[i])
			enter(&b, region, c->field[i], TEXT_MIN, 16);
	enter_descriptors(&b, region);
	compare(&b, region);
	/* and it can all be given back */
	for (int i = 0; i < FIELDS; i++) {
		UT_TRUE(
		    lshm_mutex_lock(region, &c->field_lock[i], UT_SOON) >= 0);
		UT_OK(lshm_detach(
		    region, &c->field_lock[i], &c->field[i], &block));
		if (block)
			check_text(block, lshm_usable_size(region, block));
		UT_OK(lshm_free(region, block));
		UT_OK(lshm_mutex_unlock(region, &c->field_lock[i]));
	}
	UT_OK(lshm_channel_remove(region, channels[0]));
	UT_OK(lshm_channel_remove(region, channels[1]));
	cursor = 0;
	while (lshm_object_next(region, &cursor, &object) == 0) {
		UT_OK(lshm_object_remove(region, object.name, object.type));
		cursor = 0;
	}
	memset(&b, 0, sizeof(b));
	enter_descriptors(&b, region);
	compare(&b, region);
}

/* ---- the storm ---- */

/* A raw descriptor of a region without a name; -1 for one with. */
static int descriptor(struct lshm_region *region)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {0};
	char byte;
	struct iovec iov = {&byte, 1};
	struct msghdr message = {.msg_iov = &iov,
	    .msg_iovlen = 1,
	    .msg_control = &control,
	    .msg_controllen = sizeof(control)};
	int sockets[2], fd;

	if (ut_backend->named)
		return -1;
	UT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
	UT_OK(lshm_region_send(region, sockets[0], 0));
	UT_EQ(1, recvmsg(sockets[1], &message, 0));
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(fd));
	close(sockets[0]);
	close(sockets[1]);
	return fd;
}

/* A region with the channels and the common data in it, and nobody attached. */
static int prepare(uint32_t slots)
{
	struct lshm_region *region = ut_create(
	    &(struct lshm_region_opts)LSHM_REGION_OPTS(.size = 2 * MIB,
		.max_size = 24 * MIB, .max_participants = slots));
	struct lshm_producer *out;
	int fd = descriptor(region);

	UT_OK(lshm_object_create(region, "common", "common",
	    sizeof(struct common), NULL, NULL, NULL));
	for (int mode = 0; mode < 2; mode++) {
		UT_OK(lshm_producer_open(
		    &out, region, channels[mode], &options[mode]));
		lshm_producer_close(out);
	}
	lshm_region_close(region);
	return fd;
}

/* A worker that ends by itself has found something wrong. */
static void still_there(const struct ut_child *child)
{
	siginfo_t info = {0};

	UT_EQ(0, waitid(P_PID, (id_t)child->pid, &info,
		     WEXITED | WNOHANG | WNOWAIT));
	if (info.si_pid)
		ut_fail(UT_AT("a worker"),
		    "it ended by itself (%s %d); if it saw something it is "
		    "above",
		    info.si_code == CLD_EXITED ? "exit" : "signal",
		    info.si_status);
}

/* One storm of @ms milliseconds on a region of @slots slots. */
static void storm(uint64_t *seed, uint32_t slots, uint64_t ms)
{
	struct ut_child child[WORKERS];
	int64_t resume[WORKERS] = {0}, until;
	uint64_t kills = 0, stops = 0, lives = 0, done = 0, longest = 0;
	struct worker w = {.fd = prepare(slots)};
	int slowest = 0;

	ledger = mmap(NULL, sizeof(*ledger), PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	UT_TRUE(ledger != MAP_FAILED);
	memset(child, 0, sizeof(child));
	for (until = now() + (int64_t)ms * 1000000;
	     now() < until && lives < LIVES - 1;) {
		uint32_t i = (uint32_t)(ut_random(seed) % WORKERS);

		for (uint32_t k = 0; k < WORKERS; k++) {
			if (child[k].pid)
				still_there(&child[k]);
			if (!resume[k] || resume[k] > now())
				continue;
			lshmi_fetch_add(&ledger->stops[k], 1);
			ut_continue(&child[k]);
			resume[k] = 0;
		}
		if (child[i].pid && !resume[i] && ut_random(seed) % 2) {
			uint64_t most = ut_random(seed) % 8 ? 20 : 300;

			lshmi_fetch_add(&ledger->stops[i], 1);
			ut_stop(&child[i]);
			resume[i] =
			    now() +
			    1000000 * (int64_t)(1 + ut_random(seed) % most);
			stops++;
		} else {
			if (child[i].pid) {
				ut_kill(&child[i]);
				kills++;
			}
			w.index = i;
			w.life = ++lives;
			w.random = ut_random(seed);
			resume[i] = 0;
			child[i] = ut_spawn(NULL, 0, work, &w);
		}
		usleep((useconds_t)(ut_random(seed) % 6000));
	}
	for (uint32_t i = 0; i < WORKERS; i++)
		if (child[i].pid) {
			still_there(&child[i]);
			ut_kill(&child[i]);
			kills++;
		}
	attach(&w);
	nobody_is_left(w.region);
	all_work_is_delivered(w.region);
	take_books(w.region);
	lshm_region_close(w.region);
	for (int k = 0; k < KINDS; k++) {
		done += ledger->done[k];
		if (ledger->longest[k] > longest) {
			longest = ledger->longest[k];
			slowest = k;
		}
	}
	UT_CMP(done, >, 0);
	printf("\n    %u slots: %" PRIu64 " kills, %" PRIu64 " stops, %" PRIu64
	       " operations (%" PRIu64 " sent, %" PRIu64
	       " taken); longest %.1f ms (%s) ",
	    slots, kills, stops, done, ledger->done[SEND], ledger->done[TAKE],
	    (double)longest / 1e6, kind_names[slowest]);
	fflush(stdout);
	UT_EQ(0, munmap(ledger, sizeof(*ledger)));
	if (w.fd >= 0)
		close(w.fd);
}

UT_TEST(storm, UT_EACH)
{
	uint64_t seed = ut_seed();
	uint64_t ms = ut_scale(2500);
	int more = ut_backend->id == LSHM_BACKEND_POSIX ? 3 : 1;

	storm(&seed, 2, ms);
	for (int i = 0; i < more; i++)
		storm(&seed, 2 + (uint32_t)(ut_random(&seed) % 11), ms);
}
