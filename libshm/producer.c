/* SPDX-License-Identifier: MIT */
/*
 * producer.c - the appending end: [L] in channel.c
 */
#include <stdlib.h>
#include <string.h>

#include "log.h"

struct loan {
	void *message;
	uint32_t desc;
};

struct lshm_producer {
	struct lshmi_end e;
	uint64_t tail;	/* where to append next, or before */
	uint64_t limit; /* broadcast: positions below may be filled */
	uint32_t spare; /* a descriptor claimed in advance */
	uint32_t rover;
	uint32_t count;
	struct loan loans[LSHMI_HELD_MAX];
};

static int attempt_publish(struct lshmi_end *e, void *arg)
{
	struct lshm_producer *p = (struct lshm_producer *)e;
	struct lshm_region *r = e->region;
	struct loan *loan = arg;
	struct lshmi_desc *d = desc_at(r, loan->desc), *old;
	uint64_t owned = lshmi_load_relaxed(&d->word), was;
	uint64_t x = p->tail, w, hint;
	bool gone = false;

	for (uint32_t i = 0;; i++) {
		if (i > e->depth * 4 + LSHMI_LOSSES)
			return -LSHM_ECORRUPT;
		w = lshmi_load_seq(slot_at(e, x));
		if (ahead(e, w, x) >= 0) { /* filled: go on from there */
			x = filled_with(e, w, x) + 1;
			hint = lshmi_load_relaxed(&e->channel->tail);
			if (hint > x)
				x = hint;
			continue;
		}
		if (ahead(e, w, x) != -1)
			return -LSHM_ECORRUPT;
		if (w & LSHMI_SLOT_END)
			return -ESHUTDOWN;
		p->tail = x;
		if (e->mode == LSHM_BROADCAST && x >= p->limit)
			p->limit = lshmi_log_needed(e, x) + e->depth;
		if (e->mode == LSHM_BROADCAST ? x >= p->limit
					      : !lshmi_log_done(e, w)) {
			/* Full. If nobody is left who could change that? */
			if (gone)
				return -EPIPE;
			gone = lshmi_ends_gone(e, LSHMI_CONSUMER);
			if (!gone)
				return -EAGAIN;
			continue;
		}
		old =
		    desc_of(w) == LSHMI_NO_DESC ? NULL : desc_at(r, desc_of(w));
		was = old ? lshmi_load_acquire(&old->word) : 0;
		lshmi_store_relaxed(&d->channel, e->offset);
		lshmi_store_relaxed(&d->position, x);
		/* [L] before: a loan; after: published, whole */
		if (lshmi_cas(slot_at(e, x), w,
			lap_at(e, x) << LSHMI_SLOT_LAP_SHIFT | loan->desc))
			break;
	}
	p->tail = x + 1;
	if (lshmi_load_relaxed(&e->channel->tail) < x + 1)
		lshmi_store_relaxed(&e->channel->tail, x + 1);
	/* Broadcast: nobody else writes the word of a living owner. Else this
	 * fails if a consumer has taken it by now. */
	if (e->mode == LSHM_BROADCAST)
		lshmi_store_release(&d->word, turn(owned, READY, 0, false));
	else
		lshmi_cas(&d->word, owned, turn(owned, READY, 0, false));
	/* Read while it was in the log: if it is the same still, nobody has
	 * claimed it since, and it is in no log. */
	if (old && p->spare == LSHMI_NO_DESC &&
	    (state_of(was) == READY || state_of(was) == DONE) &&
	    lshmi_cas(
		&old->word, was, turn(was & ~DELIVERIES, OWNED, r->slot, true)))
		p->spare = desc_of(w);
	return 0;
}

/* A descriptor of ours, in no log; LSHMI_NO_DESC: lshmi_failed() says why. */
static uint32_t get_desc(struct lshm_producer *p)
{
	struct lshm_region *r = p->e.region;
	uint32_t index = p->spare, count;

	p->spare = LSHMI_NO_DESC;
	if (index != LSHMI_NO_DESC)
		return index;
	for (int round = 0; round <= LSHMI_DESC_SEGMENTS; round++) {
		count = lshmi_desc_count(r);
		/* All of them: a new one is never given back. */
		for (uint32_t i = 0; i < count; i++) {
			index = p->rover = (p->rover + 1) % count;
			if (desc_at(r, index) &&
			    lshmi_desc_claim(r, desc_at(r, index), index))
				return index;
		}
		if (lshmi_desc_more(r) < 0)
			return LSHMI_NO_DESC;
		p->rover = count ? count - 1 : 0;
	}
	lshmi_fail(ENOMEM, "others have taken all that there is for messages");
	return LSHMI_NO_DESC;
}

/*
 * Take messages that everybody has consumed out of the log, for the memory they
 * hold: how many.
 */
static uint32_t reclaim(struct lshmi_end *e)
{
	struct lshm_region *r = e->region;
	uint32_t count = lshmi_desc_count(r), given = 0;
	uint64_t w,
	    x = lshmi_log_tail(e, lshmi_load_relaxed(&e->channel->tail), &w);
	uint64_t needed = lshmi_log_needed(e, x),
		 first = x > e->depth ? x - e->depth : 0;

	for (; first < x; first++) {
		w = lshmi_load_seq(slot_at(e, first));
		if (ahead(e, w, first) == 0 && desc_of(w) != LSHMI_NO_DESC &&
		    (e->mode == LSHM_BROADCAST ? first < needed
					       : lshmi_log_done(e, w)))
			lshmi_cas(slot_at(e, first), w, w | LSHMI_NO_DESC);
	}
	for (uint32_t i = 0; i < count; i++) {
		struct lshmi_desc *d = desc_at(r, i);

		if (d && lshmi_load_relaxed(&d->payload) &&
		    lshmi_desc_claim(r, d, i)) {
			lshmi_desc_put(r, i);
			given++;
		}
	}
	return given;
}

/* Is anything in the log that consumers still need? */
static bool backlog(const struct lshmi_end *e)
{
	uint64_t w,
	    x = lshmi_log_tail(e, lshmi_load_relaxed(&e->channel->tail), &w);
	uint64_t first = x > e->depth ? x - e->depth : 0;

	if (e->mode == LSHM_BROADCAST)
		return lshmi_log_needed(e, x) < x;
	for (; first < x; first++) {
		w = lshmi_load_seq(slot_at(e, first));
		if (ahead(e, w, first) == 0 && !lshmi_log_done(e, w))
			return true;
	}
	return false;
}

struct room {
	struct lshmi_desc *desc;
	size_t size;
};

static int alloc(struct lshm_region *r, size_t size, void **block)
{
	*block = lshm_alloc(r, size);
	return *block ? 0 : lshmi_failed();
}

/*
 * Let a descriptor of ours have a payload of the right size. -EBUSY: a lock of
 * the library's is held, which is nothing that consumers could mend.
 */
static int attempt_loan(struct lshmi_end *e, void *arg)
{
	struct room *room = arg;
	struct lshm_region *r = e->region;
	struct lshmi_lane *lane = lshmi_lane(r);
	uint64_t payload = lshmi_load_relaxed(&room->desc->payload), old;
	size_t have = lshm_usable_size(r, lshmi_at(r, payload, 1));
	size_t need = room->size ? room->size : 1;
	void *block;
	int ret;

	if (!lane)
		return lshmi_failed();
	if (have >= need && have <= 4 * need + 4096)
		return 0;
	ret = alloc(r, need, &block);
	if (ret == -ENOMEM && have) { /* the old one may be in the way */
		ret = lshmi_desc_drop(r, lane, room->desc);
		if (ret < 0)
			return ret;
		ret = alloc(r, need, &block);
	}
	while (ret == -ENOMEM && reclaim(e))
		ret = alloc(r, need, &block);
	if (ret == -ENOMEM && backlog(e))
		return lshmi_ends_gone(e, LSHMI_CONSUMER) ? -EPIPE : -EAGAIN;
	if (ret < 0)
		return ret == -EAGAIN ? -EBUSY : ret;
	ret = lshmi_replace(r, lane, &room->desc->payload,
	    (uint64_t)((char *)block - r->base), &old);
	if (ret == 0 && old)
		lshm_free(r, lshmi_at(r, old, 1));
	return ret;
}

int lshm_producer_loan(struct lshm_producer *producer, size_t size,
    int64_t deadline, void **message)
{
	struct lshm_producer *p = producer;
	struct lshm_region *r = p->e.region;
	struct room room = {.size = size};
	void *block;
	uint32_t index;
	uint64_t w;
	int ret;

	if (r->serial == 0)
		return lshmi_fail_gone(r);
	if (size > p->e.max_message)
		return lshmi_fail(EMSGSIZE,
		    "the message has %zu bytes: the channel takes at most %llu",
		    size, (unsigned long long)p->e.max_message);
	if (p->count == LSHMI_HELD_MAX)
		return lshmi_fail(EUSERS,
		    "%d loans are open: publish or discard one first",
		    LSHMI_HELD_MAX);
	lshmi_log_tail(&p->e, lshmi_load_relaxed(&p->e.channel->tail), &w);
	if (w & LSHMI_SLOT_END)
		return lshmi_end_explain(&p->e, -ESHUTDOWN);
	index = get_desc(p);
	if (index == LSHMI_NO_DESC)
		return lshmi_failed();
	room.desc = desc_at(r, index);
	ret = attempt_loan(&p->e, &room);
	if (ret == -EAGAIN)
		ret = lshmi_end_await(&p->e, deadline, attempt_loan, &room);
	if (ret < 0) {
		p->spare = index;
		if (ret == -EAGAIN || ret == -ETIMEDOUT || ret == -EPIPE)
			return lshmi_fail(-ret,
			    "the heap is full of messages not yet consumed%s",
			    ret == -EPIPE ? ", and every consumer is gone"
					  : "");
		return ret == -EBUSY ? -EAGAIN : ret;
	}
	block =
	    lshmi_at(r, lshmi_load_relaxed(&room.desc->payload), size + !size);
	if (!block) {
		p->spare = index;
		return lshmi_end_explain(&p->e, -LSHM_ECORRUPT);
	}
	lshmi_store_relaxed(&room.desc->size, size);
	*message = block;
	p->loans[p->count++] = (struct loan){.message = block, .desc = index};
	return 0;
}

static struct loan *find_loan(struct lshm_producer *p, const void *message)
{
	for (uint32_t i = p->count; i-- > 0;)
		if (p->loans[i].message == message)
			return &p->loans[i];
	lshmi_fail(EINVAL, "this is no open loan of this producer");
	return NULL;
}

static int publish(struct lshm_producer *p, struct loan *loan, int64_t deadline)
{
	struct lshmi_waitq *q = &p->e.channel->data;
	int ret = lshmi_end_await(&p->e, deadline, attempt_publish, loan);

	if (ret < 0)
		return lshmi_end_explain(&p->e, ret);
	*loan = p->loans[--p->count];
	/* [Q] after the compare-and-swap that appended */
	lshmi_ring_if(&p->e, q, lshmi_load_seq(&q->sleepers[LSHMI_CONSUMER]));
	return 0;
}

int lshm_producer_publish(
    struct lshm_producer *producer, void *message, int64_t deadline)
{
	struct loan *loan;

	if (producer->e.region->serial == 0)
		return lshmi_fail_gone(producer->e.region);
	loan = find_loan(producer, message);
	return loan ? publish(producer, loan, deadline) : -EINVAL;
}

static void discard(struct lshm_producer *p, struct loan *loan)
{
	uint32_t index = loan->desc;

	*loan = p->loans[--p->count];
	if (p->spare == LSHMI_NO_DESC)
		p->spare = index;
	else
		lshmi_desc_put(p->e.region, index);
}

int lshm_producer_discard(struct lshm_producer *producer, void *message)
{
	struct loan *loan;

	if (producer->e.region->serial == 0)
		return lshmi_fail_gone(producer->e.region);
	loan = find_loan(producer, message);
	if (!loan)
		return -EINVAL;
	discard(producer, loan);
	return 0;
}

int lshm_producer_send(struct lshm_producer *producer, const void *data,
    size_t size, int64_t deadline)
{
	struct loan *loan;
	void *message;
	int ret = lshm_producer_loan(producer, size, deadline, &message);

	if (ret < 0)
		return ret;
	if (size)
		memcpy(message, data, size);
	loan = &producer->loans[producer->count - 1];
	ret = publish(producer, loan, deadline);
	if (ret < 0)
		discard(producer, &producer->loans[producer->count - 1]);
	return ret;
}

int lshm_producer_end(struct lshm_producer *producer)
{
	struct lshmi_end *e = &producer->e;
	uint64_t x, w;

	if (e->region->serial == 0)
		return lshmi_fail_gone(e->region);
	x = lshmi_load_relaxed(&e->channel->tail);
	do
		x = lshmi_log_tail(e, x, &w);
	while (!(w & LSHMI_SLOT_END) &&
	       !lshmi_cas(slot_at(e, x), w, w | LSHMI_SLOT_END));
	lshmi_ring_both(e->region, e->channel);
	return 0;
}

int lshm_producer_open(struct lshm_producer **out, struct lshm_region *region,
    const char *name, const struct lshm_channel_opts *opts)
{
	struct lshm_producer *p = calloc(1, sizeof(*p));
	int ret;

	if (!p)
		return lshmi_fail(ENOMEM, "this process is out of memory");
	ret =
	    lshmi_end_open(&p->e, region, name, LSHMI_PRODUCER, opts, &p->tail);
	if (ret < 0) {
		free(p);
		return ret;
	}
	p->limit = p->tail;
	p->spare = LSHMI_NO_DESC;
	p->rover = p->e.index * 16;
	*out = p;
	return 0;
}

void lshm_producer_close(struct lshm_producer *producer)
{
	struct lshm_producer *p = producer;

	if (p && p->e.region->serial != 0) {
		while (p->count)
			lshmi_desc_put(p->e.region, p->loans[--p->count].desc);
		if (p->spare != LSHMI_NO_DESC)
			lshmi_desc_put(p->e.region, p->spare);
		lshmi_end_leave(&p->e, LSHMI_PRODUCER, p->e.index);
	}
	free(p);
}

int lshm_producer_wait(
    struct lshm_producer *producer, uint32_t consumers, int64_t deadline)
{
	return lshmi_end_meet(&producer->e, consumers, deadline);
}
