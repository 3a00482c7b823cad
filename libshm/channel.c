/* SPDX-License-Identifier: MIT */
/*
 * channel.c - the log: producers append, consumers own a place in it
 *
 * Position P lies in slot P mod depth. A slot's word is lap | end | descriptor;
 * it is filled with message P when its lap is P / depth + 1, and the next to be
 * filled with P when its lap is one less. Words only go up, so a word that
 * reads the same twice was the same in between.
 *
 * A message is a descriptor (type-stable, of a region-wide table) and a payload
 * (a block of the heap, attached to the descriptor). The descriptor's word is
 * state 3 | owner 13 | deliveries 8 | epoch 40:
 *
 *   FREE   nobody's; no payload
 *   OWNED  by a participant: a loan being written, or one just published
 *   READY  published, or left behind by the log
 *   TAKEN  by a consumer (work-sharing)
 *   DONE   by its consumer (work-sharing)
 *
 * "In the log" is no state but derived: the slot at the descriptor's channel
 * and position names the descriptor. In the log, OWNED and READY both mean
 * "there to be read"; out of it, OWNED is a loan, and the others are free to be
 * claimed. The epoch goes up at each claim and each take, so a compare-and-swap
 * on a descriptor's word succeeds only in the very life in which it was read.
 *
 * Who writes what:
 * [L] slot: next lap, by whoever appends, compare-and-swap, sequentially
 *     consistent. The message is written before: there is no half-published
 *     state, and the one compare-and-swap also takes the old message out. Same
 *     lap without descriptor: whoever takes a consumed message out for its
 *     memory. Same lap with end: lshm_producer_end(); nobody can append then.
 * [D] descriptor word, each step a compare-and-swap:
 *       FREE, READY, DONE not in the log -> OWNED   any producer
 *       OWNED -> READY    its owner, after appending; or the owner's reaper, if
 *                         it is in the log
 *       OWNED -> FREE     its owner; or the owner's reaper, if it is not
 *       OWNED, READY -> TAKEN   a consumer, having seen slot and word agree
 *       TAKEN -> DONE     that consumer
 *       TAKEN -> READY    that consumer leaving; or, if it is dead, anybody
 *     The other fields are written by the owner while it is OWNED and in no
 *     log.
 * [C] cursor of a broadcast consumer: itself; it is the hold on everything from
 *     there on. A producer overwrites P - depth only if every live cursor is
 *     beyond it. Its private limit never exceeds the tail it saw + depth, so a
 *     consumer that joins at the tail cannot be overrun: it stores its cursor,
 *     then looks whether the slot there is still to be filled, else tries
 *     again.
 * [T] tail, head: hints, plain stores, may lag. tail never exceeds the first
 *     position not filled, head never the first not DONE.
 * [Q] wait queues. A sleeper sets its bit and counts itself in `sleeps`, looks
 *     again at everything, and sleeps on `event`. Whoever changes something
 *     looks at the bits afterwards, raises `event` and wakes; who has rung
 *     since the last one went to sleep does not ring again. Store-load pairs:
 *     append (compare-and-swap) against the sleeper's bit: sequentially
 *     consistent on both sides; a cursor's plain store against it: the sleeper
 *     runs membarrier(2) in between. Nobody but the sleeper and its reaper
 *     clears a bit. A death between a change and its wake: every sleep ends
 *     after at most a second and looks at everything again, then at who is
 *     alive.
 *
 * Costs of the plain case, lines moved and read-modify-writes: append 3 (slot,
 * descriptor, payload; plus tail, now and then) and 3 (slot, READY, claim of
 * the one taken out); broadcast take and release 3 and 0; work-sharing 3 and 2.
 */
#include <limits.h>
#include <linux/membarrier.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "internal.h"

#define DEPTH_MAX   (UINT32_C(1) << 20)
#define HELD_MAX    64
#define SPIN_MAX    2000 /* looks before sleep, each after a pause */
#define SPIN_MIN    16
#define SHORT_SLEEP 200000     /* ns: spinning longer would have been better */
#define SLEEP_MIN   100000000  /* ns of the first sleep */
#define SLEEP_MAX   1000000000 /* ns: the bound on noticing a death */
#define JOIN_TRIES  1000000
#define LOSSES	    1000000 /* more lost races than this: damaged */
#define POLLS	    1024    /* fruitless polls between looks at who lives */

enum { FREE = 0, OWNED = 1, READY = 2, TAKEN = 3, DONE = 4 };

/* What producers and consumers have in common. */
struct end {
	struct lshm_region *region;
	struct lshmi_channel *channel;
	uint64_t offset; /* of the channel */
	uint32_t depth;
	uint32_t shift; /* depth is 1 << shift */
	uint32_t mode;
	uint64_t max_message;
	uint32_t kind;
	uint32_t index;
	uint32_t spin;
	uint32_t polls;
	uint32_t rung[2];	   /* `sleeps` of data, space when last rung */
	struct lshmi_waitq *queue; /* where to wait, as the attempt found */
};

struct loan {
	void *message;
	uint32_t desc;
};

struct lshm_producer {
	struct end e;
	uint64_t tail;	/* where to append next, or before */
	uint64_t limit; /* broadcast: positions below may be filled */
	uint32_t spare; /* a descriptor claimed in advance */
	uint32_t rover;
	uint32_t count;
	struct loan loans[HELD_MAX];
};

struct held {
	uint64_t position;
	uint64_t word; /* of the descriptor, as taken */
	uint32_t desc;
};

struct lshm_consumer {
	struct end e;
	uint64_t next; /* where to look next */
	uint32_t count;
	struct held held[HELD_MAX];
};

/* -- words ---------------------------------------------------------------- */

static uint64_t lap_of(uint64_t slot_word)
{
	return slot_word >> LSHMI_SLOT_LAP_SHIFT;
}

static uint32_t desc_of(uint64_t slot_word)
{
	return slot_word & LSHMI_SLOT_INDEX;
}

/* The lap a slot has when it is filled with @position. */
static uint64_t lap_at(const struct end *e, uint64_t position)
{
	return (position >> e->shift) + 1;
}

static uint64_t *slot_at(const struct end *e, uint64_t position)
{
	return &e->channel->slots[position & (e->depth - 1)];
}

/*
 * How many laps a slot is beyond being filled with @position: 0 it is filled
 * with it, -1 it is the next to be. Laps wrap around.
 */
static int64_t ahead(const struct end *e, uint64_t word, uint64_t position)
{
	return (int64_t)((lap_of(word) - lap_at(e, position))
			 << LSHMI_SLOT_LAP_SHIFT) >>
	       LSHMI_SLOT_LAP_SHIFT;
}

/* The position a slot is filled with, given its word and any position in it. */
static uint64_t filled_with(
    const struct end *e, uint64_t word, uint64_t position)
{
	return position + ((uint64_t)ahead(e, word, position) << e->shift);
}

static uint32_t state_of(uint64_t w)
{
	return w & 7;
}

static uint32_t owner_of(uint64_t w)
{
	return (w >> 3) & 0x1fff;
}

#define DELIVERIES (UINT64_C(0xff) << 16)

static uint32_t deliveries_of(uint64_t w)
{
	return (w & DELIVERIES) >> 16;
}

/* @w with another state and owner; @life: of a new epoch. */
static uint64_t turn(uint64_t w, uint32_t state, uint32_t owner, bool life)
{
	w &= ~UINT64_C(0xffff);
	if (life)
		w += UINT64_C(1) << 24;
	return w | state | (uint64_t)owner << 3;
}

/* -- descriptors ---------------------------------------------------------- */

#define SEGMENT_SHIFT 6 /* segment k has 64 << k descriptors */

static struct lshmi_desc *desc_at(struct lshm_region *r, uint32_t index)
{
	uint32_t n = index + (1u << SEGMENT_SHIFT);
	uint32_t k = 31 - (uint32_t)__builtin_clz(n) - SEGMENT_SHIFT;
	uint64_t off, count = UINT64_C(1) << (SEGMENT_SHIFT + k);
	struct lshmi_desc *d;

	if (k >= LSHMI_DESC_SEGMENTS)
		return NULL;
	d = lshmi_load_relaxed(&r->descs[k]);
	if (__builtin_expect(!d, 0)) {
		off = lshmi_load_acquire(&r->header->desc_segments[k]);
		if (off % 64 != 0 ||
		    !(d = lshmi_at(r, off, count * sizeof(*d))))
			return NULL;
		lshmi_store_relaxed(&r->descs[k], d);
	}
	return d + (n - count);
}

/* How many descriptors there are. */
static uint32_t desc_count(struct lshm_region *r)
{
	uint32_t k = 0;

	while (k < LSHMI_DESC_SEGMENTS &&
	       lshmi_load_acquire(&r->header->desc_segments[k]))
		k++;
	return ((1u << k) - 1) << SEGMENT_SHIFT;
}

static int add_segment(struct lshm_region *r)
{
	struct lshmi_lane *lane = lshmi_lane(r);
	uint32_t before = desc_count(r), k = 0;
	uint64_t bytes;
	void *block;
	int ret;

	if (!lane)
		return -EUSERS;
	ret = lshmi_lock_own(r, &r->header->directory_lock, "directory");
	if (ret < 0)
		return ret;
	ret = 0;
	if (desc_count(r) != before)
		goto out; /* somebody else has */
	while (k < LSHMI_DESC_SEGMENTS && r->header->desc_segments[k])
		k++;
	if (k == LSHMI_DESC_SEGMENTS) {
		ret = lshmi_fail(ENOMEM, "the region has too many messages");
		goto out;
	}
	bytes = sizeof(struct lshmi_desc) << (SEGMENT_SHIFT + k);
	block = lshm_alloc_aligned(r, 64, bytes);
	if (!block) {
		ret = -ENOMEM;
		goto out;
	}
	memset(block, 0, bytes);
	ret = lshmi_replace(r, lane, &r->header->desc_segments[k],
	    (uint64_t)((char *)block - r->base), NULL);
out:
	lshmi_unlock(r, &r->header->directory_lock);
	return ret;
}

/* A channel's parts, found by its offset and checked; false: damaged. */
static bool find_parts(
    struct end *e, struct lshm_region *r, uint64_t offset, uint32_t kind)
{
	struct lshmi_channel *ch = lshmi_at(r, offset, sizeof(*ch));

	memset(e, 0, sizeof(*e));
	if (!ch || offset % 64 != 0)
		return false;
	e->region = r;
	e->channel = ch;
	e->offset = offset;
	e->depth = lshmi_load_relaxed(&ch->depth);
	e->mode = lshmi_load_relaxed(&ch->mode);
	e->max_message = lshmi_load_relaxed(&ch->max_message);
	e->kind = kind;
	e->spin = SPIN_MAX;
	e->queue = kind == LSHMI_PRODUCER ? &ch->space : &ch->data;
	if (e->depth == 0 || e->depth > DEPTH_MAX ||
	    (e->depth & (e->depth - 1)) || e->mode > LSHM_WORK)
		return false;
	e->shift = (uint32_t)__builtin_ctz(e->depth);
	return lshmi_at(r, offset, sizeof(*ch) + e->depth * sizeof(uint64_t)) !=
	       NULL;
}

/* Does the slot that a descriptor says it is in name it? */
static bool in_log(
    struct lshm_region *r, const struct lshmi_desc *d, uint32_t index)
{
	uint64_t position = lshmi_load_relaxed(&d->position), w;
	struct end e;

	if (!find_parts(&e, r, lshmi_load_relaxed(&d->channel), 0))
		return false;
	w = lshmi_load_seq(slot_at(&e, position));
	return desc_of(w) == index && ahead(&e, w, position) == 0;
}

/* Give the payload of a descriptor that the caller owns back to the heap. */
static int drop_payload(
    struct lshm_region *r, struct lshmi_lane *lane, struct lshmi_desc *d)
{
	uint64_t old;
	int ret;

	if (!lshmi_load_relaxed(&d->payload))
		return 0;
	ret = lshmi_replace(r, lane, &d->payload, 0, &old);
	if (ret == 0)
		lshm_free(r, lshmi_at(r, old, 1));
	return ret;
}

/* Claim one that is in no log: true if it is ours now. [D] */
static bool claim(struct lshm_region *r, struct lshmi_desc *d, uint32_t index)
{
	uint64_t was = lshmi_load_acquire(&d->word);

	if (state_of(was) == OWNED || state_of(was) == TAKEN ||
	    (state_of(was) != FREE && in_log(r, d, index)))
		return false;
	return lshmi_cas(
	    &d->word, was, turn(was & ~DELIVERIES, OWNED, r->slot, true));
}

/* -- ends ----------------------------------------------------------------- */

static uint64_t end_word(const struct lshm_region *r)
{
	return (uint64_t)r->generation << 16 | (uint64_t)r->slot << 2 | 1;
}

#define JOINING UINT64_C(2) /* it is there, but its place is not settled yet */

static uint32_t end_slot(uint64_t w)
{
	return (w >> 2) & 0xfff;
}

static uint32_t end_generation(uint64_t w)
{
	return (uint32_t)(w >> 16);
}

static bool end_live(struct lshm_region *r, uint64_t w)
{
	return w && lshmi_participant_active(r, end_slot(w), end_generation(w));
}

/* Call for each end in use of one kind: i its index, w its word. */
#define FOR_ENDS(e, k, i, w)                                            \
	for (uint64_t bits_ = lshmi_load_seq(&(e)->channel->active[k]); \
	     bits_ &&                                                   \
	     (i = (uint32_t)__builtin_ctzll(bits_),                     \
	     w = lshmi_load_seq(&(e)->channel->ends[k][i].word), true); \
	     bits_ &= bits_ - 1)

static uint32_t count_live(const struct end *e, uint32_t kind)
{
	uint32_t i, n = 0;
	uint64_t w;

	FOR_ENDS(e, kind, i, w)
		n += end_live(e->region, w);
	return n;
}

/* Has everybody of that kind gone who ever joined? */
static bool all_gone(const struct end *e, uint32_t kind)
{
	return lshmi_load_seq(&e->channel->joined[kind]) != 0 &&
	       count_live(e, kind) == 0;
}

/* Ask the kernel about every end, and reap the dead. */
static void reap_ends(struct end *e)
{
	uint64_t w;

	for (uint32_t i = 0; i < 2 * LSHM_ENDPOINTS_MAX; i++) {
		w = lshmi_load_acquire(&e->channel->ends[i % 2][i / 2].word);
		if (w && end_slot(w) < e->region->max_participants)
			lshmi_reap(e->region, end_slot(w));
	}
}

/* -- waiting [Q] ---------------------------------------------------------- */

static void ring(struct lshm_region *r, struct lshmi_waitq *q)
{
	lshmi_fetch_add(&q->event, 1);
	r->store.backend->wake(&r->store, &q->event, INT_MAX);
}

/* Something has changed on a queue: wake those who have gone to sleep. */
static void ring_if(struct end *e, struct lshmi_waitq *q, uint64_t sleepers)
{
	uint32_t *rung = &e->rung[q == &e->channel->space], sleeps;

	if (__builtin_expect(sleepers == 0, 1))
		return;
	sleeps = lshmi_load_seq(&q->sleeps);
	if (sleeps == *rung)
		return;
	*rung = sleeps;
	ring(e->region, q);
}

static void ring_both(struct lshm_region *r, struct lshmi_channel *ch)
{
	ring(r, &ch->data);
	ring(r, &ch->space);
}

/*
 * Repeat @attempt until it returns something other than -EAGAIN, or until the
 * deadline: poll for about as long as a wake-up takes, then sleep.
 */
static int await(struct end *e, int64_t deadline,
    int (*attempt)(struct end *e, void *arg), void *arg)
{
	struct lshm_region *r = e->region;
	uint64_t bit = UINT64_C(1) << e->index;
	int64_t sleep = SLEEP_MIN, look = 0, now, until;
	struct lshmi_waitq *q;
	uint32_t event;
	int ret;

	if (r->serial == 0)
		return lshmi_fail_fork();
	ret = attempt(e, arg);
	if (ret != -EAGAIN)
		return ret;
	if (deadline == LSHM_NOW) {
		if (++e->polls % POLLS != 0)
			return -EAGAIN;
		reap_ends(e);
		return attempt(e, arg);
	}
	/* By the clock too: to look for memory takes longer than a wake-up. */
	until = lshmi_now() + SHORT_SLEEP;
	if (until > deadline)
		until = deadline;
	for (uint32_t i = 0; i < e->spin; i++) {
		lshmi_pause();
		if (i % 16 == 15 && lshmi_now() >= until)
			break;
		ret = attempt(e, arg);
		if (ret != -EAGAIN)
			return ret;
	}
	for (;;) {
		q = e->queue;
		lshmi_fetch_or(&q->sleepers[e->kind], bit);
		/* Before `sleeps`: a ring for this sleep is after this load. */
		event = lshmi_load_seq(&q->event);
		lshmi_fetch_add(&q->sleeps, 1);
		if (e->kind == LSHMI_PRODUCER && e->mode == LSHM_BROADCAST)
			syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED,
			    0, 0);
		ret = attempt(e, arg);
		now = lshmi_now();
		if (ret == -EAGAIN && now >= deadline)
			ret = -ETIMEDOUT;
		if (ret != -EAGAIN) {
			lshmi_fetch_and(&q->sleepers[e->kind], ~bit);
			return ret;
		}
		if (e->queue != q) { /* it is to be waited for elsewhere now */
			lshmi_fetch_and(&q->sleepers[e->kind], ~bit);
			continue;
		}
		/* Signals and rings in vain do not put off the look at who
		 * lives. */
		if (look == 0)
			look = now + sleep;
		until = look < deadline ? look : deadline;
		r->store.backend->wait(&r->store, &q->event, event, until);
		lshmi_fetch_and(&q->sleepers[e->kind], ~bit);
		if (r->serial == 0)
			return lshmi_fail_fork();
		if (lshmi_now() >= until) {
			reap_ends(e);
			look = 0;
			sleep = sleep * 2 < SLEEP_MAX ? sleep * 2 : SLEEP_MAX;
		} else if (lshmi_now() - now < SHORT_SLEEP) {
			e->spin = SPIN_MAX;
		} else if (e->spin / 2 >= SPIN_MIN) {
			e->spin /= 2;
		}
		ret = attempt(e, arg);
		if (ret != -EAGAIN)
			return ret;
	}
}

/* The sentence for what an attempt returned. */
static int explain(const struct end *e, int ret)
{
	bool producer = e->kind == LSHMI_PRODUCER;

	switch (ret) {
	case -EAGAIN:
	case -ETIMEDOUT:
		return lshmi_fail_with(-ret,
		    producer ? "the channel is full" : "the channel is empty");
	case -EPIPE:
		return lshmi_fail_with(EPIPE,
		    producer ? "the channel is full, and every consumer is gone"
			     : "the channel is empty, and every producer is "
			       "gone without ending the stream");
	case -ENODATA:
		return lshmi_fail_with(ENODATA, "the stream has ended");
	case -ESHUTDOWN:
		return lshmi_fail_with(ESHUTDOWN,
		    "the stream was ended: nothing can be published any more");
	case -LSHM_ECORRUPT:
		return lshmi_fail_with(LSHM_ECORRUPT, "the channel is damaged");
	default:
		return ret;
	}
}

/* -- the log -------------------------------------------------------------- */

/* The first position from @x on that is not filled; its slot's word in *w. */
static uint64_t walk_to_tail(const struct end *e, uint64_t x, uint64_t *w)
{
	for (uint64_t i = 0; i < (uint64_t)e->depth * 4 + LOSSES; i++) {
		*w = lshmi_load_seq(slot_at(e, x));
		if (ahead(e, *w, x) < 0)
			break;
		x = filled_with(e, *w, x) + 1;
	}
	return x;
}

/* [C] the oldest position that some live consumer needs, at most @x. */
static uint64_t oldest_needed(const struct end *e, uint64_t x)
{
	uint64_t w, cursor;
	uint32_t i;

	FOR_ENDS(e, LSHMI_CONSUMER, i, w) {
		cursor = lshmi_load_acquire(
		    &e->channel->ends[LSHMI_CONSUMER][i].cursor);
		if (cursor < x && end_live(e->region, w))
			x = cursor;
	}
	return x;
}

/* A taken message whose consumer is dead becomes available again. [D] */
static bool redeliver(const struct end *e, struct lshmi_desc *d, uint64_t w)
{
	uint32_t index = owner_of(w);
	uint64_t end;

	if (index < LSHM_ENDPOINTS_MAX) {
		end = lshmi_load_seq(
		    &e->channel->ends[LSHMI_CONSUMER][index].word);
		if (end_live(e->region, end))
			return false;
	}
	if (lshmi_cas(&d->word, w, turn(w, READY, 0, true))) {
		lshmi_fetch_add(&e->channel->redelivered, 1);
		ring(e->region, &e->channel->data);
	}
	return true;
}

/* Work-sharing: may the message behind this slot word be overwritten? */
static bool is_done(const struct end *e, uint64_t slot_word)
{
	struct lshmi_desc *d;
	uint64_t w;

	if (desc_of(slot_word) == LSHMI_NO_DESC)
		return true;
	d = desc_at(e->region, desc_of(slot_word));
	if (!d)
		return true; /* damaged: nobody can take it either */
	w = lshmi_load_seq(&d->word);
	if (state_of(w) == TAKEN)
		redeliver(e, d, w);
	return state_of(w) == DONE;
}

static int attempt_publish(struct end *e, void *arg)
{
	struct lshm_producer *p = (struct lshm_producer *)e;
	struct lshm_region *r = e->region;
	struct loan *loan = arg;
	struct lshmi_desc *d = desc_at(r, loan->desc), *old;
	uint64_t owned = lshmi_load_relaxed(&d->word);
	uint64_t x = p->tail, w, hint;
	bool gone = false;

	for (uint32_t i = 0;; i++) {
		if (i > e->depth * 4 + LOSSES)
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
			p->limit = oldest_needed(e, x) + e->depth;
		if (e->mode == LSHM_BROADCAST ? x >= p->limit
					      : !is_done(e, w)) {
			/* Full. If nobody is left who could change that? */
			if (gone)
				return -EPIPE;
			gone = all_gone(e, LSHMI_CONSUMER);
			if (!gone)
				return -EAGAIN;
			continue;
		}
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
	/* Fails if a consumer has taken it by now. */
	lshmi_cas(&d->word, owned, turn(owned, READY, 0, false));
	if (desc_of(w) != LSHMI_NO_DESC && p->spare == LSHMI_NO_DESC) {
		old = desc_at(r, desc_of(w));
		if (old && claim(r, old, desc_of(w)))
			p->spare = desc_of(w);
	}
	return 0;
}

/* -- producers ------------------------------------------------------------ */

/* A descriptor of ours, in no log; LSHMI_NO_DESC: lshm_error() says why. */
static uint32_t get_desc(struct lshm_producer *p)
{
	struct lshm_region *r = p->e.region;
	uint32_t index = p->spare, count;

	p->spare = LSHMI_NO_DESC;
	if (index != LSHMI_NO_DESC)
		return index;
	for (int round = 0; round <= LSHMI_DESC_SEGMENTS; round++) {
		count = desc_count(r);
		/* All of them: a new one is never given back. */
		for (uint32_t i = 0; i < count; i++) {
			index = p->rover = (p->rover + 1) % count;
			if (desc_at(r, index) &&
			    claim(r, desc_at(r, index), index))
				return index;
		}
		if (add_segment(r) < 0)
			break;
		p->rover = count ? count - 1 : 0;
	}
	return LSHMI_NO_DESC;
}

/* Give a descriptor of ours back. */
static void put_desc(struct lshm_region *r, uint32_t index)
{
	struct lshmi_lane *lane = lshmi_lane(r);
	struct lshmi_desc *d = desc_at(r, index);
	uint64_t w = lshmi_load_relaxed(&d->word);

	if (lane && drop_payload(r, lane, d) == 0)
		lshmi_cas(&d->word, w, turn(w, FREE, 0, false));
}

/*
 * Take messages that everybody has consumed out of the log, for the memory they
 * hold: how many.
 */
static uint32_t reclaim(struct end *e)
{
	struct lshm_region *r = e->region;
	uint32_t count = desc_count(r), given = 0;
	uint64_t w,
	    x = walk_to_tail(e, lshmi_load_relaxed(&e->channel->tail), &w);
	uint64_t needed = oldest_needed(e, x),
		 first = x > e->depth ? x - e->depth : 0;

	for (; first < x; first++) {
		w = lshmi_load_seq(slot_at(e, first));
		if (ahead(e, w, first) == 0 && desc_of(w) != LSHMI_NO_DESC &&
		    (e->mode == LSHM_BROADCAST ? first < needed
					       : is_done(e, w)))
			lshmi_cas(slot_at(e, first), w, w | LSHMI_NO_DESC);
	}
	for (uint32_t i = 0; i < count; i++) {
		struct lshmi_desc *d = desc_at(r, i);

		if (d && lshmi_load_relaxed(&d->payload) && claim(r, d, i)) {
			put_desc(r, i);
			given++;
		}
	}
	return given;
}

/* Is anything in the log that consumers still need? */
static bool backlog(const struct end *e)
{
	uint64_t w,
	    x = walk_to_tail(e, lshmi_load_relaxed(&e->channel->tail), &w);
	uint64_t first = x > e->depth ? x - e->depth : 0;

	if (e->mode == LSHM_BROADCAST)
		return oldest_needed(e, x) < x;
	for (; first < x; first++) {
		w = lshmi_load_seq(slot_at(e, first));
		if (ahead(e, w, first) == 0 && !is_done(e, w))
			return true;
	}
	return false;
}

struct room {
	struct lshmi_desc *desc;
	size_t size;
};

/* Let a descriptor of ours have a payload of the right size. */
static int attempt_loan(struct end *e, void *arg)
{
	struct room *room = arg;
	struct lshm_region *r = e->region;
	struct lshmi_lane *lane = lshmi_lane(r);
	uint64_t payload = lshmi_load_relaxed(&room->desc->payload), old;
	size_t have = payload ? lshm_usable_size(r, r->base + payload) : 0;
	size_t need = room->size ? room->size : 1;
	void *block;
	int ret;

	if (!lane)
		return -EUSERS;
	if (have >= need && have <= 4 * need + 4096)
		return 0;
	block = lshm_alloc(r, need);
	if (!block && have) { /* the old one may be in the way */
		ret = drop_payload(r, lane, room->desc);
		if (ret < 0)
			return ret;
		block = lshm_alloc(r, need);
	}
	while (!block && reclaim(e))
		block = lshm_alloc(r, need);
	if (!block && !backlog(e))
		return -ENOMEM;
	if (!block)
		return all_gone(e, LSHMI_CONSUMER) ? -EPIPE : -EAGAIN;
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
		return lshmi_fail_fork();
	if (size > p->e.max_message)
		return lshmi_fail(EMSGSIZE,
		    "the message has %zu bytes: the channel takes at most %llu",
		    size, (unsigned long long)p->e.max_message);
	if (p->count == HELD_MAX)
		return lshmi_fail(EUSERS,
		    "%d loans are open: publish or discard one first",
		    HELD_MAX);
	walk_to_tail(&p->e, lshmi_load_relaxed(&p->e.channel->tail), &w);
	if (w & LSHMI_SLOT_END)
		return explain(&p->e, -ESHUTDOWN);
	index = get_desc(p);
	if (index == LSHMI_NO_DESC)
		return -ENOMEM;
	room.desc = desc_at(r, index);
	ret = attempt_loan(&p->e, &room);
	if (ret == -EAGAIN)
		ret = await(&p->e, deadline, attempt_loan, &room);
	if (ret < 0) {
		p->spare = index;
		if (ret == -EAGAIN || ret == -ETIMEDOUT || ret == -EPIPE)
			return lshmi_fail(-ret,
			    "the heap is full of messages not yet consumed%s",
			    ret == -EPIPE ? ", and every consumer is gone"
					  : "");
		return ret;
	}
	block =
	    lshmi_at(r, lshmi_load_relaxed(&room.desc->payload), size + !size);
	if (!block) {
		p->spare = index;
		return explain(&p->e, -LSHM_ECORRUPT);
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
	int ret = await(&p->e, deadline, attempt_publish, loan);

	if (ret < 0)
		return explain(&p->e, ret);
	*loan = p->loans[--p->count];
	/* [Q] after the compare-and-swap that appended */
	ring_if(&p->e, q, lshmi_load_seq(&q->sleepers[LSHMI_CONSUMER]));
	return 0;
}

int lshm_producer_publish(
    struct lshm_producer *producer, void *message, int64_t deadline)
{
	struct loan *loan;

	if (producer->e.region->serial == 0)
		return lshmi_fail_fork();
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
		put_desc(p->e.region, index);
}

int lshm_producer_discard(struct lshm_producer *producer, void *message)
{
	struct loan *loan;

	if (producer->e.region->serial == 0)
		return lshmi_fail_fork();
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
	struct end *e = &producer->e;
	uint64_t x, w;

	if (e->region->serial == 0)
		return lshmi_fail_fork();
	x = lshmi_load_relaxed(&e->channel->tail);
	do
		x = walk_to_tail(e, x, &w);
	while (!(w & LSHMI_SLOT_END) &&
	       !lshmi_cas(slot_at(e, x), w, w | LSHMI_SLOT_END));
	ring_both(e->region, e->channel);
	return 0;
}

/* -- consumers ------------------------------------------------------------ */

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

static int attempt_take_next(struct end *e, void *arg)
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
		gone = all_gone(e, LSHMI_PRODUCER);
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
	struct end *e = &c->e;
	struct lshmi_channel *ch = e->channel;
	struct lshmi_desc *d;
	uint64_t w, word, taken, head;

	for (uint64_t i = 0; i < (uint64_t)e->depth * 4 + LOSSES; i++) {
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
			if (owner_of(word) != e->index && redeliver(e, d, word))
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

static int attempt_take_work(struct end *e, void *arg)
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
		gone = all_gone(e, LSHMI_PRODUCER);
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
		return lshmi_fail_fork();
	if (c->count == HELD_MAX)
		return lshmi_fail(EUSERS,
		    "%d messages are held: release one first", HELD_MAX);
	ret = await(&c->e, deadline,
	    c->e.mode == LSHM_WORK ? attempt_take_work : attempt_take_next, &m);
	if (ret == 0)
		*message = m;
	else if (c->count > held) /* a damaged one: pass it by */
		lshm_consumer_release(c, &m);
	return ret == 0 ? 0 : explain(&c->e, ret);
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
		return lshmi_fail_fork();
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
	ring_if(&c->e, q,
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
			ring(c->e.region, &c->e.channel->data);
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

/* -- joining and leaving -------------------------------------------------- */

struct shape {
	uint32_t mode;
	uint32_t depth;
	uint64_t max_message;
};

static int init_channel(void *block, void *arg)
{
	struct lshmi_channel *ch = block;
	const struct shape *s = arg;

	ch->mode = s->mode;
	ch->depth = s->depth;
	ch->max_message = s->max_message;
	for (uint32_t i = 0; i < s->depth; i++)
		ch->slots[i] = LSHMI_NO_DESC;
	return 0;
}

static int check_opts(struct shape *s, const struct lshm_channel_opts *o)
{
	uint32_t depth = o->depth ? o->depth : 64;

	if (o->opts_size != sizeof(*o))
		return lshmi_fail(EINVAL,
		    "opts_size is %llu: expected %zu; initialise the options "
		    "with LSHM_CHANNEL_OPTS()",
		    (unsigned long long)o->opts_size, sizeof(*o));
	if (o->mode > LSHM_WORK)
		return lshmi_fail(EINVAL,
		    "mode %u: expected LSHM_BROADCAST or LSHM_WORK", o->mode);
	if (depth > DEPTH_MAX)
		return lshmi_fail(
		    EINVAL, "depth %u: expected at most %u", depth, DEPTH_MAX);
	s->mode = o->mode;
	s->depth = 1;
	while (s->depth < depth)
		s->depth *= 2;
	s->max_message = o->max_message ? o->max_message : 65536;
	return 0;
}

/* Find the channel, or make it; directory_lock is not held. */
static int find_channel(struct end *e, struct lshm_region *r, const char *name,
    uint32_t kind, const struct lshm_channel_opts *opts)
{
	struct shape s;
	void *block;
	int ret;

	if (opts) {
		ret = check_opts(&s, opts);
		if (ret < 0)
			return ret;
	}
	ret = lshm_object_open(r, name, LSHM_CHANNEL_TYPE, 0, &block);
	if (ret == -ENOENT && opts) {
		ret = lshmi_object_make(r, name, LSHM_CHANNEL_TYPE,
		    sizeof(struct lshmi_channel) + s.depth * sizeof(uint64_t),
		    init_channel, &s, &block);
		if (ret == -EEXIST)
			ret = lshm_object_open(
			    r, name, LSHM_CHANNEL_TYPE, 0, &block);
	}
	if (ret < 0)
		return ret;
	if (!find_parts(e, r, (uint64_t)((char *)block - r->base), kind))
		return lshmi_fail(
		    LSHM_ECORRUPT, "the channel \"%s\" is damaged", name);
	if (opts && (s.mode != e->mode || s.depth != e->depth ||
			s.max_message != e->max_message))
		return lshmi_fail(EPROTOTYPE,
		    "the channel \"%s\" has mode %u, depth %u, max_message "
		    "%llu: expected %u, %u, %llu",
		    name, e->mode, e->depth, (unsigned long long)e->max_message,
		    s.mode, s.depth, (unsigned long long)s.max_message);
	return 0;
}

/* Let go of all that one end has; by itself, or by its reaper. */
static void leave(struct end *e, uint32_t kind, uint32_t index)
{
	struct lshmi_channel *ch = e->channel;
	uint64_t bit = UINT64_C(1) << index;

	for (uint32_t i = 0;
	     kind == LSHMI_CONSUMER && e->mode == LSHM_WORK && i < e->depth;
	     i++) {
		uint64_t s = lshmi_load_seq(&ch->slots[i]), w;
		struct lshmi_desc *d = desc_of(s) == LSHMI_NO_DESC
					   ? NULL
					   : desc_at(e->region, desc_of(s));

		w = d ? lshmi_load_seq(&d->word) : 0;
		if (d && state_of(w) == TAKEN && owner_of(w) == index &&
		    lshmi_load_seq(&ch->slots[i]) == s &&
		    lshmi_cas(&d->word, w, turn(w, READY, 0, true)))
			lshmi_fetch_add(&ch->redelivered, 1);
	}
	lshmi_fetch_and(&ch->data.sleepers[kind], ~bit);
	lshmi_fetch_and(&ch->space.sleepers[kind], ~bit);
	/* The bit first: once the word is 0 it may be somebody else's. */
	lshmi_fetch_and(&ch->active[kind], ~bit);
	lshmi_store_seq(&ch->ends[kind][index].word, 0);
	ring_both(e->region, ch);
}

/* Take an end of the channel; directory_lock is held. */
static int join(struct end *e, uint64_t *position)
{
	struct lshm_region *r = e->region;
	struct lshmi_channel *ch = e->channel;
	struct lshmi_endpoint *end = ch->ends[e->kind];
	uint64_t w, x;
	uint32_t i = 0;

	while (i < LSHM_ENDPOINTS_MAX && lshmi_load_acquire(&end[i].word))
		i++;
	if (i == LSHM_ENDPOINTS_MAX) {
		reap_ends(e);
		for (i = 0; i < LSHM_ENDPOINTS_MAX; i++)
			if (!lshmi_load_acquire(&end[i].word))
				break;
	}
	if (i == LSHM_ENDPOINTS_MAX)
		return lshmi_fail(EUSERS,
		    "the channel has %d living %s already", LSHM_ENDPOINTS_MAX,
		    e->kind == LSHMI_PRODUCER ? "producers" : "consumers");
	e->index = i;
	lshmi_fetch_or(&r->slots[r->slot].needs, LSHMI_NEEDS_CHANNELS);
	lshmi_fetch_or(&ch->active[e->kind], UINT64_C(1) << i);
	x = walk_to_tail(e, lshmi_load_relaxed(&ch->tail), &w);
	lshmi_store_seq(&end[i].cursor, x);
	lshmi_store_seq(&end[i].word, end_word(r) | JOINING);
	/* After the word: who finds that some joined finds this one living. */
	lshmi_fetch_add(&ch->joined[e->kind], 1);
	*position = x;
	/* [C] a message may have come, and be overwritten, unseen */
	for (uint32_t k = 0; k < JOIN_TRIES; k++) {
		x = walk_to_tail(e, *position, &w);
		if (x == *position || e->kind == LSHMI_PRODUCER ||
		    e->mode == LSHM_WORK) {
			lshmi_store_seq(&end[i].word, end_word(r));
			return 0;
		}
		*position = x;
		lshmi_exchange(&end[i].cursor, x);
	}
	leave(e, e->kind, i);
	return lshmi_fail(LSHM_ECORRUPT, "the channel is damaged");
}

static int open_end(struct end *e, struct lshm_region *r, const char *name,
    uint32_t kind, const struct lshm_channel_opts *opts, uint64_t *position)
{
	void *block;
	struct end now;
	int ret = lshmi_enter(r);

	for (int i = 0; i < 100 && ret >= 0; i++) {
		ret = find_channel(e, r, name, kind, opts);
		if (ret < 0)
			return ret;
		ret =
		    lshmi_lock_own(r, &r->header->directory_lock, "directory");
		if (ret < 0)
			return ret;
		/* It may have been removed meanwhile, and made anew. */
		if (lshm_object_open(r, name, LSHM_CHANNEL_TYPE, 0, &block) ==
			0 &&
		    block == e->channel &&
		    find_parts(&now, r, e->offset, kind) &&
		    now.depth == e->depth && now.mode == e->mode &&
		    now.max_message == e->max_message) {
			ret = join(e, position);
			lshmi_unlock(r, &r->header->directory_lock);
			if (ret == 0)
				ring_both(r, e->channel);
			return ret;
		}
		lshmi_unlock(r, &r->header->directory_lock);
	}
	return ret < 0 ? ret
		       : lshmi_fail(ENOENT,
			     "the channel \"%s\" is made and removed again and "
			     "again",
			     name);
}

int lshm_producer_open(struct lshm_producer **out, struct lshm_region *region,
    const char *name, const struct lshm_channel_opts *opts)
{
	struct lshm_producer *p = calloc(1, sizeof(*p));
	int ret;

	if (!p)
		return lshmi_fail(ENOMEM, "this process is out of memory");
	ret = open_end(&p->e, region, name, LSHMI_PRODUCER, opts, &p->tail);
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
			put_desc(p->e.region, p->loans[--p->count].desc);
		if (p->spare != LSHMI_NO_DESC)
			put_desc(p->e.region, p->spare);
		leave(&p->e, LSHMI_PRODUCER, p->e.index);
	}
	free(p);
}

int lshm_consumer_open(struct lshm_consumer **out, struct lshm_region *region,
    const char *name, const struct lshm_channel_opts *opts)
{
	struct lshm_consumer *c = calloc(1, sizeof(*c));
	int ret;

	if (!c)
		return lshmi_fail(ENOMEM, "this process is out of memory");
	ret = open_end(&c->e, region, name, LSHMI_CONSUMER, opts, &c->next);
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
		leave(&consumer->e, LSHMI_CONSUMER, consumer->e.index);
	free(consumer);
}

static int attempt_meet(struct end *e, void *arg)
{
	const uint32_t *wanted = arg;
	uint32_t other =
	    e->kind == LSHMI_PRODUCER ? LSHMI_CONSUMER : LSHMI_PRODUCER;
	uint32_t i, n = 0;
	uint64_t w;

	e->queue =
	    e->kind == LSHMI_PRODUCER ? &e->channel->space : &e->channel->data;
	/* Who is still joining may yet skip what is published now. */
	FOR_ENDS(e, other, i, w)
		n += !(w & JOINING) && end_live(e->region, w);
	return n >= *wanted ? 0 : -EAGAIN;
}

static int meet(struct end *e, uint32_t wanted, int64_t deadline)
{
	int ret = await(e, deadline, attempt_meet, &wanted);

	if (ret == -EAGAIN || ret == -ETIMEDOUT)
		return lshmi_fail(-ret, "fewer than %u %s have joined", wanted,
		    e->kind == LSHMI_PRODUCER ? "consumers" : "producers");
	return ret;
}

int lshm_producer_wait(
    struct lshm_producer *producer, uint32_t consumers, int64_t deadline)
{
	return meet(&producer->e, consumers, deadline);
}

int lshm_consumer_wait(
    struct lshm_consumer *consumer, uint32_t producers, int64_t deadline)
{
	return meet(&consumer->e, producers, deadline);
}

/* -- the reaper, removal, figures ----------------------------------------- */

/* What a slot's owner had in channels; @mark is one of its lanes'. */
void lshmi_channel_sweep(struct lshm_region *r, uint32_t slot, uint16_t mark)
{
	uint32_t count = desc_count(r);
	struct lshm_object_info info;
	uint64_t cursor = 0, w;
	struct end e;

	while (lshmi_object_next(r, &cursor, &info) == 0) {
		if (strcmp(info.type, LSHM_CHANNEL_TYPE) != 0 ||
		    !find_parts(&e, r, info.offset, 0))
			continue;
		for (uint32_t i = 0; i < 2 * LSHM_ENDPOINTS_MAX; i++) {
			w = lshmi_load_seq(&e.channel->ends[i % 2][i / 2].word);
			if (w && end_slot(w) == slot)
				leave(&e, i % 2, i / 2);
		}
	}
	for (uint32_t i = 0; i < count; i++) {
		struct lshmi_desc *d = desc_at(r, i);
		uint64_t payload;

		w = d ? lshmi_load_seq(&d->word) : 0;
		if (state_of(w) != OWNED || owner_of(w) != slot)
			continue;
		if (in_log(r, d, i)) { /* it was published */
			lshmi_cas(&d->word, w, turn(w, READY, 0, false));
			continue;
		}
		/* The block becomes a draft of the dead lane; the heap's turn
		 * to sweep comes after this. */
		payload = lshmi_load_relaxed(&d->payload);
		if (payload && mark) {
			lshmi_store_release(
			    &r->lanes[mark - LSHMI_HOLDER_LANE].foreign, 1);
			lshmi_holder_cas(
			    r, payload, LSHMI_HOLDER_ATTACHED, mark);
		}
		lshmi_store_release(&d->payload, 0);
		lshmi_cas(&d->word, w, turn(w, FREE, 0, true));
	}
}

/* Is some reaper at work, who may be looking at what we are about to free? */
static bool reaping(struct lshm_region *r)
{
	for (uint32_t i = 0; i < r->max_participants; i++)
		if ((lshmi_load_seq(&r->slots[i].word) & 3) ==
		    LSHMI_SLOT_REAPING)
			return true;
	return false;
}

int lshm_channel_remove(struct lshm_region *region, const char *name)
{
	struct lshm_region *r = region;
	struct lshmi_desc *d;
	struct end e;
	void *block;
	uint64_t w;
	int ret = lshmi_enter(r);

	if (ret < 0)
		return ret;
	ret = lshmi_lock_own(r, &r->header->directory_lock, "directory");
	if (ret < 0)
		return ret;
	ret = lshm_object_open(r, name, LSHM_CHANNEL_TYPE, 0, &block);
	if (ret < 0)
		goto out;
	if (!find_parts(&e, r, (uint64_t)((char *)block - r->base), 0)) {
		ret = lshmi_fail(
		    LSHM_ECORRUPT, "the channel \"%s\" is damaged", name);
		goto out;
	}
	reap_ends(&e);
	for (uint32_t i = 0; i < 2 * LSHM_ENDPOINTS_MAX; i++) {
		if (!lshmi_load_seq(&e.channel->ends[i % 2][i / 2].word))
			continue;
		ret = lshmi_fail(EBUSY,
		    "the channel \"%s\" has producers or consumers", name);
		goto out;
	}
	for (uint32_t i = 0; i < e.depth; i++) {
		w = lshmi_load_seq(&e.channel->slots[i]);
		lshmi_cas(&e.channel->slots[i], w, w | LSHMI_NO_DESC);
	}
	/* What is claimed from here on is a reaper's to give back. */
	lshmi_fetch_or(&r->slots[r->slot].needs, LSHMI_NEEDS_CHANNELS);
	for (uint32_t i = 0, n = desc_count(r); i < n; i++) {
		d = desc_at(r, i);
		if (d && lshmi_load_relaxed(&d->channel) == e.offset &&
		    state_of(lshmi_load_relaxed(&d->word)) != FREE &&
		    claim(r, d, i))
			put_desc(r, i);
	}
	ret = lshmi_object_drop(r, name, LSHM_CHANNEL_TYPE, &block);
out:
	lshmi_unlock(r, &r->header->directory_lock);
	if (ret < 0)
		return ret;
	/* Nobody finds it any more; a reaper who has found it before may still
	 * be looking at it. If one takes long the block stays our draft. */
	for (int i = 0; i < 1000 && reaping(r); i++)
		usleep(1000);
	return reaping(r) ? 0 : lshm_free(r, block);
}

static int look_at(struct end *e, struct lshm_region *r, const char *name)
{
	void *block;
	int ret = lshm_object_open(r, name, LSHM_CHANNEL_TYPE, 0, &block);

	if (ret < 0)
		return ret;
	if (!find_parts(e, r, (uint64_t)((char *)block - r->base), 0))
		return lshmi_fail(
		    LSHM_ECORRUPT, "the channel \"%s\" is damaged", name);
	return 0;
}

int lshm_channel_stat(struct lshm_region *region, const char *name,
    struct lshm_channel_info *info)
{
	struct lshmi_desc *d;
	struct end e;
	uint64_t w, x, first;
	int ret = look_at(&e, region, name);

	if (ret < 0)
		return ret;
	memset(info, 0, sizeof(*info));
	info->mode = e.mode;
	info->depth = e.depth;
	info->max_message = e.max_message;
	info->producers = count_live(&e, LSHMI_PRODUCER);
	info->consumers = count_live(&e, LSHMI_CONSUMER);
	x = walk_to_tail(&e, lshmi_load_relaxed(&e.channel->tail), &w);
	info->ended = (w & LSHMI_SLOT_END) != 0;
	info->published = x;
	info->redelivered = lshmi_load_relaxed(&e.channel->redelivered);
	if (e.mode == LSHM_BROADCAST) {
		info->backlog = x - oldest_needed(&e, x);
		return 0;
	}
	for (first = x > e.depth ? x - e.depth : 0; first < x; first++) {
		w = lshmi_load_seq(slot_at(&e, first));
		if (ahead(&e, w, first) != 0 || desc_of(w) == LSHMI_NO_DESC)
			continue;
		d = desc_at(region, desc_of(w));
		info->backlog +=
		    d && state_of(lshmi_load_relaxed(&d->word)) != DONE;
	}
	return 0;
}

int lshm_channel_endpoint(struct lshm_region *region, const char *name,
    uint32_t index, struct lshm_endpoint_info *info)
{
	uint32_t kind = index / LSHM_ENDPOINTS_MAX;
	struct lshmi_desc *d;
	struct end e;
	uint64_t w, s;
	int ret = look_at(&e, region, name);

	if (ret < 0)
		return ret;
	if (kind > 1)
		return lshmi_fail(EINVAL, "end %u: expected 0 to %d", index,
		    2 * LSHM_ENDPOINTS_MAX - 1);
	index %= LSHM_ENDPOINTS_MAX;
	w = lshmi_load_acquire(&e.channel->ends[kind][index].word);
	if (w == 0)
		return lshmi_fail(ENOENT, "nobody is at that end");
	memset(info, 0, sizeof(*info));
	info->producer = kind == LSHMI_PRODUCER;
	info->slot = end_slot(w);
	info->generation = end_generation(w);
	info->alive =
	    !lshmi_participant_dead(region, info->slot, info->generation);
	if (kind == LSHMI_CONSUMER && e.mode == LSHM_BROADCAST)
		info->position =
		    lshmi_load_relaxed(&e.channel->ends[kind][index].cursor);
	for (uint32_t i = 0;
	     kind == LSHMI_CONSUMER && e.mode == LSHM_WORK && i < e.depth;
	     i++) {
		s = lshmi_load_seq(&e.channel->slots[i]);
		d = desc_of(s) == LSHMI_NO_DESC ? NULL
						: desc_at(region, desc_of(s));
		w = d ? lshmi_load_relaxed(&d->word) : 0;
		info->held += state_of(w) == TAKEN && owner_of(w) == index;
	}
	return 0;
}
