/* SPDX-License-Identifier: MIT */
/*
 * consumer.c - the reading end: [C] and [D] in channel.c
 */
#include <stdlib.h>
#include <string.h>

#include "log.h"

struct held {
	uint64_t position;
	uint64_t word; /* of the descriptor, as taken */
	uint32_t desc;
};

struct lshm_consumer {
	struct lshmi_end e;
	uint64_t next; /* where to look next */
	uint32_t count;
	struct held held[LSHMI_HELD_MAX];
};

static int fill_in(struct lshm_consumer *c, uint64_t position, uint32_t index,
    uint64_t word, struct lshm_message *m)
{
	struct lshm_region *r = c->e.region;
	struct lshmi_desc *d = desc_at(r, index);
	uint64_t size = lshmi_load_relaxed(&d->size);
	const void *data =
	    lshmi_at(r, lshmi_load_relaxed(&d->payload), size ? size : 1);

	c->held[c->count++] =
	    (struct held){.position = position, .word = word, .desc = index};
	m->sequence = position;
	m->deliveries = c->e.mode == LSHM_WORK ? deliveries_of(word) : 1;
	m->reserved = 0;
	m->size = size;
	m->data = data;
	return data && size <= c->e.max_message ? 0 : -LSHM_ECORRUPT;
}

static int attempt_take_next(struct lshmi_end *e, void *arg)
{
	struct lshm_consumer *c = (struct lshm_consumer *)e;
	uint64_t x = c->next, w = lshmi_load_seq(slot_at(e, x));
	bool gone = false;

	e->queue = &e->channel->data;
	while (ahead(e, w, x) == -1) { /* not filled yet */
		if (w & LSHMI_SLOT_END)
			return -ENODATA;
		if (gone)
			return -EPIPE;
		gone = lshmi_ends_gone(e, LSHMI_PRODUCER);
		if (!gone)
			return -EAGAIN;
		/* Look once more, at what they left. */
		w = lshmi_load_seq(slot_at(e, x));
	}
	if (ahead(e, w, x) != 0 || !desc_at(e->region, desc_of(w)))
		return -LSHM_ECORRUPT;
	c->next = x + 1;
	return fill_in(c, x, desc_of(w), 0, arg);
}

enum look { NOTHING, FOUND, END };

/* Look for a message to take at @x and after; *x is where the look ended. */
static enum look look_for_work(struct lshm_consumer *c, uint64_t *x,
    bool *all_done, struct lshm_message *m, int *ret)
{
	struct lshmi_end *e = &c->e;
	struct lshmi_channel *ch = e->channel;
	struct lshmi_desc *d;
	uint64_t w, word, taken, head;

	for (uint64_t i = 0; i < (uint64_t)e->depth * 4 + LSHMI_LOSSES; i++) {
		w = lshmi_load_seq(slot_at(e, *x));
		if (ahead(e, w, *x) < 0) /* the tail */
			return w & LSHMI_SLOT_END ? END : NOTHING;
		if (ahead(e, w, *x) > 0) { /* long done: catch up */
			head = filled_with(e, w, *x) - e->depth + 1;
			if (lshmi_load_relaxed(&ch->head) == *x)
				lshmi_store_relaxed(&ch->head, head);
			*x = head;
			continue;
		}
		d = desc_of(w) == LSHMI_NO_DESC
			? NULL
			: desc_at(e->region, desc_of(w));
		word = d ? lshmi_load_seq(&d->word) : DONE;
		/* The word counts only if the slot still names it. */
		if (d && lshmi_load_seq(slot_at(e, *x)) != w)
			continue;
		switch (state_of(word)) {
		case OWNED:
		case READY:
			taken = turn(word, TAKEN, e->index, true);
			if (deliveries_of(taken) < 255)
				taken += UINT64_C(1) << 16;
			if (!lshmi_cas(&d->word, word, taken))
				continue;
			*ret = fill_in(c, (*x)++, desc_of(w), taken, m);
			return FOUND;
		case TAKEN:
			if (owner_of(word) != e->index &&
			    lshmi_log_redeliver(e, d, word))
				continue;
			if (owner_of(word) != e->index)
				*all_done = false;
			break;
		default:
			/* [T] nobody needs to look here again */
			head = lshmi_load_relaxed(&ch->head);
			if (head == *x)
				lshmi_store_relaxed(&ch->head, *x + 1);
			else if (head > *x)
				*x = head - 1;
		}
		++*x;
	}
	return NOTHING;
}

static int attempt_take_work(struct lshmi_end *e, void *arg)
{
	struct lshm_consumer *c = (struct lshm_consumer *)e;
	bool all_done, gone = false;
	enum look look;
	uint64_t x;
	int ret;

	for (;;) {
		/* What is new; then, from the oldest on, what came back. */
		look = look_for_work(c, &c->next, &all_done, arg, &ret);
		if (look == FOUND)
			return ret;
		all_done = true;
		x = lshmi_load_relaxed(&e->channel->head);
		look = look_for_work(c, &x, &all_done, arg, &ret);
		if (look == FOUND)
			return ret;
		if (look == END || gone) {
			if (all_done)
				return look == END ? -ENODATA : -EPIPE;
			/* Others still work; theirs may come back. */
			e->queue = &e->channel->space;
			return -EAGAIN;
		}
		e->queue = &e->channel->data;
		gone = lshmi_ends_gone(e, LSHMI_PRODUCER);
		if (!gone)
			return -EAGAIN;
	}
}

int lshm_consumer_take(struct lshm_consumer *consumer,
    struct lshm_message *message, int64_t deadline)
{
	struct lshm_consumer *c = consumer;
	struct lshm_message m;
	uint32_t held = c->count;
	int ret;

	if (c->e.region->serial == 0)
		return lshmi_fail_gone(c->e.region);
	if (c->count == LSHMI_HELD_MAX)
		return lshmi_fail(EUSERS,
		    "%d messages are held: release one first", LSHMI_HELD_MAX);
	ret = lshmi_end_await(&c->e, deadline,
	    c->e.mode == LSHM_WORK ? attempt_take_work : attempt_take_next, &m);
	if (ret == 0)
		*message = m;
	else if (c->count > held) /* a damaged one: pass it by */
		lshm_consumer_release(c, &m);
	return ret == 0 ? 0 : lshmi_end_explain(&c->e, ret);
}

/* [C] the oldest still held marks the consumer's place. */
static void move_cursor(struct lshm_consumer *c)
{
	struct lshm_region *r = c->e.region;
	uint64_t oldest = c->next;
	lshm_off *cursor =
	    &c->e.channel->ends[LSHMI_CONSUMER][c->e.index].cursor;

	for (uint32_t i = 0; i < c->count; i++)
		if (c->held[i].position < oldest)
			oldest = c->held[i].position;
	if (r->membarrier)
		lshmi_store_release(cursor, oldest);
	else
		lshmi_exchange(cursor, oldest);
}

int lshm_consumer_release(
    struct lshm_consumer *consumer, const struct lshm_message *message)
{
	struct lshm_consumer *c = consumer;
	struct lshmi_waitq *q = &c->e.channel->space;
	struct lshmi_desc *d;
	struct held h;
	uint32_t i = 0;

	if (c->e.region->serial == 0)
		return lshmi_fail_gone(c->e.region);
	while (i < c->count && c->held[i].position != message->sequence)
		i++;
	if (i == c->count)
		return lshmi_fail(
		    EINVAL, "this message is not held by this consumer");
	h = c->held[i];
	c->held[i] = c->held[--c->count];
	if (c->e.mode == LSHM_WORK) {
		d = desc_at(c->e.region, h.desc);
		lshmi_cas(&d->word, h.word, turn(h.word, DONE, 0, false));
	} else {
		move_cursor(c);
	}
	lshmi_ring_if(&c->e, q,
	    lshmi_load_seq(&q->sleepers[0]) | lshmi_load_seq(&q->sleepers[1]));
	return 0;
}

/* Undo a take: the message is the next one again. */
static void give_back(struct lshm_consumer *c, uint32_t i)
{
	struct held h = c->held[i];
	struct lshmi_desc *d = desc_at(c->e.region, h.desc);

	c->held[i] = c->held[--c->count];
	c->next = h.position;
	if (c->e.mode == LSHM_WORK)
		if (lshmi_cas(&d->word, h.word,
			turn(h.word, READY, 0, true) - (UINT64_C(1) << 16)))
			lshmi_ring(c->e.region, &c->e.channel->data);
}

int lshm_consumer_receive(struct lshm_consumer *consumer, void *buffer,
    size_t capacity, size_t *size, int64_t deadline)
{
	struct lshm_message m;
	int ret;

	ret = lshm_consumer_take(consumer, &m, deadline);
	if (ret < 0)
		return ret;
	*size = m.size;
	if (m.size > capacity) {
		give_back(consumer, consumer->count - 1);
		return lshmi_fail(EMSGSIZE,
		    "the message has %zu bytes: the buffer has room for %zu",
		    m.size, capacity);
	}
	if (m.size)
		memcpy(buffer, m.data, m.size);
	return lshm_consumer_release(consumer, &m);
}

int lshm_consumer_open(struct lshm_consumer **out, struct lshm_region *region,
    const char *name, const struct lshm_channel_opts *opts)
{
	struct lshm_consumer *c = calloc(1, sizeof(*c));
	int ret;

	if (!c)
		return lshmi_fail(ENOMEM, "this process is out of memory");
	ret =
	    lshmi_end_open(&c->e, region, name, LSHMI_CONSUMER, opts, &c->next);
	if (ret < 0) {
		free(c);
		return ret;
	}
	if (c->e.mode == LSHM_WORK)
		c->next = lshmi_load_relaxed(&c->e.channel->head);
	*out = c;
	return 0;
}

void lshm_consumer_close(struct lshm_consumer *consumer)
{
	if (consumer && consumer->e.region->serial != 0)
		lshmi_end_leave(
		    &consumer->e, LSHMI_CONSUMER, consumer->e.index);
	free(consumer);
}

int lshm_consumer_wait(
    struct lshm_consumer *consumer, uint32_t producers, int64_t deadline)
{
	return lshmi_end_meet(&consumer->e, producers, deadline);
}
