/* SPDX-License-Identifier: MIT */
/*
 * ops_channel.c - channels of both kinds: producers and consumers come and go
 */
#include "storm.h"

static const struct lshm_channel_opts options[] = {
    LSHM_CHANNEL_OPTS(.mode = LSHM_BROADCAST, .depth = 8),
    LSHM_CHANNEL_OPTS(.mode = LSHM_WORK, .depth = 8),
};
static const char *const channels[] = {"broadcast", "work"};

/* Channels that one worker at a time makes, uses and removes. */
#define BRIEF 2

/* Shared data of this area, beside the channels. */
struct shared {
	struct lshm_mutex brief[BRIEF];
};

static_assert(LOCK_BRIEF + BRIEF <= LOCKS, "numbers of locks");

static uint64_t published(struct worker *w, int mode)
{
	struct lshm_channel_info info;

	UT_OK(lshm_channel_stat(w->region, channels[mode], &info));
	return info.published;
}

/* ---- coming and going ---- */

static void leave(struct worker *w, int mode)
{
	if (!w->stream[mode].in)
		return;
	begin(w, OWN, LSHM_NOW);
	lshm_consumer_close(w->stream[mode].in);
	end(w);
	memset(&w->stream[mode], 0, sizeof(w->stream[mode]));
}

static void close_producer(struct worker *w, int mode)
{
	if (!w->out[mode])
		return;
	begin(w, OWN, LSHM_NOW);
	lshm_producer_close(w->out[mode]);
	end(w);
	w->out[mode] = NULL;
}

static void join(struct worker *w, int mode)
{
	struct stream *s = &w->stream[mode];
	bool done;

	s->least = published(w, mode);
	begin(w, OWN, LSHM_NOW);
	done = MAY_FAIL(lshm_consumer_open(&s->in, w->region, channels[mode],
			    pick(w, 2) ? &options[mode] : NULL),
	    EAGAIN, ENOMEM, EUSERS);
	end(w);
	if (done)
		s->most = published(w, mode);
}

static void open_producer(struct worker *w, int mode)
{
	uint64_t id = lshmi_fetch_add(&ledger->streams, 1);

	if (id >= STREAMS)
		return;
	w->stream_id[mode] = id;
	w->sent[mode] = 0;
	begin(w, OWN, LSHM_NOW);
	MAY_FAIL(lshm_producer_open(&w->out[mode], w->region, channels[mode],
		     pick(w, 2) ? &options[mode] : NULL),
	    EAGAIN, ENOMEM, EUSERS);
	end(w);
}

static void come_or_go(struct worker *w)
{
	int mode = (int)pick(w, 2);

	if (w->out[mode])
		close_producer(w, mode);
	else
		open_producer(w, mode);
	mode = (int)pick(w, 2);
	if (w->stream[mode].in)
		leave(w, mode);
	else
		join(w, mode);
}

/* ---- messages ---- */

static bool publish(struct worker *w, int mode, void *message)
{
	int64_t deadline = some_deadline(w);
	bool done;

	begin(w, OWN, deadline);
	done = MAY_FAIL(lshm_producer_publish(w->out[mode], message, deadline),
	    EAGAIN, ETIMEDOUT, EPIPE);
	end(w);
	return done;
}

static void send_text(struct worker *w)
{
	uint64_t size = TEXT_MIN + pick(w, pick(w, 16) ? 600 : 20000);
	int mode = (int)pick(w, 2);
	uint64_t id = w->stream_id[mode];
	int64_t deadline = some_deadline(w);
	void *message;
	bool done;

	if (w->sent[mode] == MESSAGES) /* go on with a new stream */
		close_producer(w, mode);
	if (!w->out[mode]) {
		open_producer(w, mode);
		return;
	}
	begin(w, OWN, deadline);
	done =
	    MAY_FAIL(lshm_producer_loan(w->out[mode], size, deadline, &message),
		EAGAIN, ETIMEDOUT, EPIPE, ENOMEM);
	end(w);
	if (!done)
		return;
	write_text(message, size, id, w->sent[mode]);
	dawdle(w);
	if (!publish(w, mode, message)) {
		UT_OK(lshm_producer_discard(w->out[mode], message));
		return;
	}
	w->sent[mode]++;
	if (mode == LSHM_WORK)
		lshmi_store_release(
		    &ledger->published[id], (uint32_t)w->sent[mode]);
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
	if (s->last[i].life == text->life && s->last[i].number)
		UT_EQ(s->last[i].number, text->number);
	s->last[i].life = text->life;
	s->last[i].number = text->number + 1;
}

/* Note a message in one of the ledger's tables: was it there before? */
static bool note(uint8_t table[][MESSAGES / 8], const struct lshm_message *m)
{
	const struct text *text = m->data;
	uint8_t bit = (uint8_t)(1 << text->number % 8);

	UT_CMP(text->life, <, STREAMS);
	UT_CMP(text->number, <, MESSAGES);
	return lshmi_fetch_or(&table[text->life][text->number / 8], bit) & bit;
}

/* Work: once, and again only if a consumer was lost on it. */
static void note_taken(const struct lshm_message *m)
{
	if (note(ledger->taken, m))
		UT_CMP(m->deliveries, >, 1);
}

static void release_one(struct worker *w, int mode)
{
	struct stream *s = &w->stream[mode];
	int i = (int)pick(w, (uint64_t)s->count);

	check_text(s->held[i].data, s->held[i].size);
	if (mode == LSHM_WORK)
		note(ledger->done, &s->held[i]);
	begin(w, OWN, LSHM_NOW);
	UT_OK(lshm_consumer_release(s->in, &s->held[i]));
	end(w);
	s->held[i] = s->held[--s->count];
}

static void take_text(struct worker *w)
{
	int mode = (int)pick(w, 2);
	struct stream *s = &w->stream[mode];
	struct lshm_message *m = &s->held[s->count];
	int64_t deadline = some_deadline(w);
	bool done;

	if (!s->in) {
		join(w, mode);
		return;
	}
	if (s->count == HELD || (s->count && pick(w, 2))) {
		release_one(w, mode);
		return;
	}
	begin(w, OWN, deadline);
	done = MAY_FAIL(
	    lshm_consumer_take(s->in, m, deadline), EAGAIN, ETIMEDOUT, EPIPE);
	end(w);
	if (!done)
		return;
	s->count++;
	UT_EQ(m->size, ((const struct text *)m->data)->size);
	check_text(m->data, m->size);
	if (mode == LSHM_BROADCAST)
		check_stream(s, m);
	else
		note_taken(m);
	if (pick(w, 4))
		release_one(w, mode);
}

/* ---- a channel from beginning to end ---- */

static void send_all(struct worker *w, struct lshm_producer *out, uint64_t n)
{
	char room[200];
	struct text *text = (void *)room;
	uint64_t size;

	for (uint64_t i = 0; i < n; i++) {
		size = TEXT_MIN + pick(w, sizeof(room) - TEXT_MIN);
		write_text(text, size, w->life, i);
		begin(w, OWN, LSHM_NOW);
		MAY_FAIL(lshm_producer_send(out, text, size, LSHM_NOW), ENOMEM,
		    EAGAIN);
		end(w);
	}
	if (pick(w, 2))
		UT_OK(lshm_producer_end(out));
}

static void receive_all(struct worker *w, struct lshm_consumer *in)
{
	char room[200] __attribute__((aligned(8)));
	struct text *text = (void *)room;
	uint64_t last = 0;
	size_t size;
	int ret;

	for (;;) {
		begin(w, OWN, LSHM_NOW);
		ret = lshm_consumer_receive(
		    in, room, sizeof(room), &size, LSHM_NOW);
		end(w);
		if (!MAY_FAIL(ret, EAGAIN, ENODATA))
			break;
		check_text(text, size);
		UT_EQ(w->life, text->life);
		UT_CMP(text->number, >=, last);
		last = text->number + 1;
		if (pick(w, 8) == 0)
			break;
	}
}

/* Nobody who lives has it open: it can be removed, whatever the dead left. */
static void use_brief(struct worker *w)
{
	struct shared *s = w->shared[CHANNEL];
	uint32_t i = (uint32_t)pick(w, BRIEF);
	int mode = (int)pick(w, 2);
	struct lshm_producer *out = NULL;
	struct lshm_consumer *in = NULL;
	char name[16];
	bool died;
	int ret;

	snprintf(name, sizeof(name), "brief%" PRIu32, i);
	lock_by(w, &s->brief[i], LOCK_BRIEF + i, LSHM_FOREVER, &died);
	begin(w, OWN, LSHM_NOW);
	ret = lshm_channel_remove(w->region, name);
	MAY_FAIL(ret, ENOENT, EAGAIN);
	end(w);
	begin(w, OWN, LSHM_NOW);
	if (ret != -EAGAIN && /* what the dead left in it is not checked here */
	    MAY_FAIL(lshm_producer_open(&out, w->region, name, &options[mode]),
		ENOMEM, EAGAIN))
		MAY_FAIL(lshm_consumer_open(&in, w->region, name, NULL), ENOMEM,
		    EAGAIN);
	end(w);
	if (in) {
		UT_OK(lshm_producer_wait(out, 1, LSHM_NOW));
		UT_OK(lshm_consumer_wait(in, 1, LSHM_NOW));
		send_all(w, out, pick(w, 8));
		receive_all(w, in);
	}
	begin(w, OWN, LSHM_NOW);
	lshm_consumer_close(in);
	lshm_producer_close(out);
	end(w);
	unlock(w, &s->brief[i], LOCK_BRIEF + i);
}

/* ---- this area ---- */

static void idle(struct worker *w)
{
	for (int mode = 0; mode < 2; mode++) {
		leave(w, mode);
		close_producer(w, mode);
	}
}

static void prepare(struct lshm_region *region, void *shared)
{
	struct lshm_producer *out;

	for (int mode = 0; mode < 2; mode++) {
		UT_OK(lshm_producer_open(
		    &out, region, channels[mode], &options[mode]));
		lshm_producer_close(out);
	}
}

static void audit(struct books *b, void *shared)
{
	struct lshm_endpoint_info endpoint;
	struct lshm_consumer *in;
	struct lshm_message m;
	int ret;

	for (int mode = 0; mode < 2; mode++)
		for (uint32_t i = 0; i < 2 * LSHM_ENDPOINTS_MAX; i++)
			UT_ERR(-ENOENT, lshm_channel_endpoint(b->region,
					    channels[mode], i, &endpoint));
	UT_OK(lshm_consumer_open(&in, b->region, channels[LSHM_WORK], NULL));
	while ((ret = lshm_consumer_take(in, &m, LSHM_NOW)) == 0) {
		check_text(m.data, m.size);
		note_taken(&m);
		note(ledger->done, &m);
		UT_OK(lshm_consumer_release(in, &m));
	}
	UT_EQ(-EPIPE, ret);
	lshm_consumer_close(in);
	for (uint64_t id = 0; id < ledger->streams && id < STREAMS; id++)
		for (uint32_t n = 0; n < ledger->published[id]; n++)
			if (!(ledger->done[id][n / 8] & 1 << n % 8))
				ut_fail(UT_AT("work is done"),
				    "message %u of %u of stream %" PRIu64
				    ": expected once or more, seen never",
				    n, ledger->published[id], id);
}

static void clear(struct lshm_region *region, void *shared)
{
	struct shared *s = shared;

	for (int i = 0; i < BRIEF; i++) {
		char name[16];

		snprintf(name, sizeof(name), "brief%d", i);
		UT_TRUE(lshm_mutex_lock(region, &s->brief[i], LSHM_NOW) >= 0);
		MAY_FAIL(lshm_channel_remove(region, name), ENOENT);
		UT_OK(lshm_mutex_unlock(region, &s->brief[i]));
	}
	UT_OK(lshm_channel_remove(region, channels[0]));
	UT_OK(lshm_channel_remove(region, channels[1]));
}

static const struct op ops[] = {
    {"send", 140, send_text},
    {"take", 140, take_text},
    {"come or go", 20, come_or_go},
    {"brief channel", 6, use_brief},
    {0},
};

const struct area area_channel = {
    .name = "area.channel",
    .size = sizeof(struct shared),
    .ops = ops,
    .prepare = prepare,
    .idle = idle,
    .audit = audit,
    .clear = clear,
};
