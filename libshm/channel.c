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
 * [D] descriptor word, each step a compare-and-swap (but OWNED -> READY of a
 *     broadcast owner, whom nobody alive competes with, is a store):
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
 * descriptor, payload; plus tail, now and then) and 2 in broadcast (slot, claim
 * of the one taken out), 3 in work-sharing (READY too); broadcast take and
 * release 3 and 0; work-sharing 3 and 2.
 */
#include <string.h>

#include "log.h"

#define DEPTH_MAX  (UINT32_C(1) << 20)
#define JOIN_TRIES 1000000

/* -- the log -------------------------------------------------------------- */

bool lshmi_log_find(
    struct lshmi_end *e, struct lshm_region *r, uint64_t offset, uint32_t kind)
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
	e->spin = LSHMI_SPIN_MAX;
	e->queue = kind == LSHMI_PRODUCER ? &ch->space : &ch->data;
	if (e->depth == 0 || e->depth > DEPTH_MAX ||
	    (e->depth & (e->depth - 1)) || e->mode > LSHM_WORK)
		return false;
	e->shift = (uint32_t)__builtin_ctz(e->depth);
	return lshmi_at(r, offset, sizeof(*ch) + e->depth * sizeof(uint64_t)) !=
	       NULL;
}

uint64_t lshmi_log_tail(const struct lshmi_end *e, uint64_t x, uint64_t *w)
{
	for (uint64_t i = 0; i < (uint64_t)e->depth * 4 + LSHMI_LOSSES; i++) {
		*w = lshmi_load_seq(slot_at(e, x));
		if (ahead(e, *w, x) < 0)
			break;
		x = filled_with(e, *w, x) + 1;
	}
	return x;
}

uint64_t lshmi_log_needed(const struct lshmi_end *e, uint64_t x)
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

bool lshmi_log_redeliver(
    const struct lshmi_end *e, struct lshmi_desc *d, uint64_t w)
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
		lshmi_ring(e->region, &e->channel->data);
	}
	return true;
}

bool lshmi_log_done(const struct lshmi_end *e, uint64_t slot_word)
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
		lshmi_log_redeliver(e, d, w);
	return state_of(w) == DONE;
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
static int find_channel(struct lshmi_end *e, struct lshm_region *r,
    const char *name, uint32_t kind, const struct lshm_channel_opts *opts)
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
	if (!lshmi_log_find(e, r, (uint64_t)((char *)block - r->base), kind))
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

static uint64_t end_word(const struct lshm_region *r)
{
	return (uint64_t)r->generation << 16 | (uint64_t)r->slot << 2 | 1;
}

void lshmi_end_leave(struct lshmi_end *e, uint32_t kind, uint32_t index)
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
	lshmi_fetch_and(&ch->active[kind], ~bit);
	lshmi_ring_both(e->region, ch);
	/* Last: from here on the end, and the channel, may be others'. */
	lshmi_store_seq(&ch->ends[kind][index].word, 0);
}

/* Take an end of the channel; directory_lock is held. */
static int join(struct lshmi_end *e, uint64_t *position)
{
	struct lshm_region *r = e->region;
	struct lshmi_channel *ch = e->channel;
	struct lshmi_endpoint *end = ch->ends[e->kind];
	uint64_t w, x;
	uint32_t i = 0;

	while (i < LSHM_ENDPOINTS_MAX && lshmi_load_acquire(&end[i].word))
		i++;
	if (i == LSHM_ENDPOINTS_MAX) {
		lshmi_ends_reap(e);
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
	x = lshmi_log_tail(e, lshmi_load_relaxed(&ch->tail), &w);
	lshmi_store_seq(&end[i].cursor, x);
	lshmi_store_seq(&end[i].word, end_word(r) | JOINING);
	/* After the word: who finds that some joined finds this one living. */
	lshmi_fetch_add(&ch->joined[e->kind], 1);
	*position = x;
	/* [C] a message may have come, and be overwritten, unseen */
	for (uint32_t k = 0; k < JOIN_TRIES; k++) {
		x = lshmi_log_tail(e, *position, &w);
		if (x == *position || e->kind == LSHMI_PRODUCER ||
		    e->mode == LSHM_WORK) {
			lshmi_store_seq(&end[i].word, end_word(r));
			return 0;
		}
		*position = x;
		lshmi_exchange(&end[i].cursor, x);
	}
	lshmi_end_leave(e, e->kind, i);
	return lshmi_fail(LSHM_ECORRUPT, "the channel is damaged");
}

int lshmi_end_open(struct lshmi_end *e, struct lshm_region *r, const char *name,
    uint32_t kind, const struct lshm_channel_opts *opts, uint64_t *position)
{
	void *block;
	struct lshmi_end now;
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
		    lshmi_log_find(&now, r, e->offset, kind) &&
		    now.depth == e->depth && now.mode == e->mode &&
		    now.max_message == e->max_message) {
			ret = join(e, position);
			lshmi_unlock(r, &r->header->directory_lock);
			if (ret == 0)
				lshmi_ring_both(r, e->channel);
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

static int attempt_meet(struct lshmi_end *e, void *arg)
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

int lshmi_end_meet(struct lshmi_end *e, uint32_t wanted, int64_t deadline)
{
	int ret = lshmi_end_await(e, deadline, attempt_meet, &wanted);

	if (ret == -EAGAIN || ret == -ETIMEDOUT)
		return lshmi_fail(-ret, "fewer than %u %s have joined", wanted,
		    e->kind == LSHMI_PRODUCER ? "consumers" : "producers");
	return ret;
}

/* -- the reaper, removal, figures ----------------------------------------- */

/* What a slot's owner had in channels; @mark is one of its lanes'. */
void lshmi_channel_sweep(struct lshm_region *r, uint32_t slot, uint16_t mark)
{
	uint32_t count = lshmi_desc_count(r);
	struct lshm_object_info info;
	uint64_t cursor = 0, version, w;
	struct lshmi_end e;

	while (lshmi_object_next(r, &cursor, &info, &version) == 0) {
		if (strcmp(info.type, LSHM_CHANNEL_TYPE) != 0 ||
		    !lshmi_log_find(&e, r, info.offset, 0))
			continue;
		for (uint32_t i = 0; i < 2 * LSHM_ENDPOINTS_MAX; i++) {
			w = lshmi_load_seq(&e.channel->ends[i % 2][i / 2].word);
			/* If the channel was there all the time it was its
			 * word, and keeps it from being removed. */
			if (w && end_slot(w) == slot &&
			    lshmi_object_stays(r, cursor, &info, version))
				lshmi_end_leave(&e, i % 2, i / 2);
		}
	}
	for (uint32_t i = 0; i < count; i++) {
		struct lshmi_desc *d = desc_at(r, i);
		uint64_t payload;

		w = d ? lshmi_load_seq(&d->word) : 0;
		if (state_of(w) != OWNED || owner_of(w) != slot)
			continue;
		if (lshmi_desc_in_log(r, d, i)) { /* it was published */
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

int lshm_channel_remove(struct lshm_region *region, const char *name)
{
	struct lshm_region *r = region;
	struct lshmi_desc *d;
	struct lshmi_end e;
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
	if (!lshmi_log_find(&e, r, (uint64_t)((char *)block - r->base), 0)) {
		ret = lshmi_fail(
		    LSHM_ECORRUPT, "the channel \"%s\" is damaged", name);
		goto out;
	}
	lshmi_ends_reap(&e);
	for (uint32_t i = 0; i < 2 * LSHM_ENDPOINTS_MAX; i++) {
		w = lshmi_load_seq(&e.channel->ends[i % 2][i / 2].word);
		if (!w)
			continue;
		if (lshmi_participant_dead(r, end_slot(w), end_generation(w)))
			ret = lshmi_fail(EAGAIN,
			    "somebody else is clearing up after a dead user of "
			    "the channel \"%s\": try again",
			    name);
		else
			ret = lshmi_fail(EBUSY,
			    "the channel \"%s\" has producers or consumers",
			    name);
		goto out;
	}
	for (uint32_t i = 0; i < e.depth; i++) {
		w = lshmi_load_seq(&e.channel->slots[i]);
		lshmi_cas(&e.channel->slots[i], w, w | LSHMI_NO_DESC);
	}
	/* What is claimed from here on is a reaper's to give back. */
	lshmi_fetch_or(&r->slots[r->slot].needs, LSHMI_NEEDS_CHANNELS);
	for (uint32_t i = 0, n = lshmi_desc_count(r); i < n; i++) {
		d = desc_at(r, i);
		if (d && lshmi_load_relaxed(&d->channel) == e.offset &&
		    state_of(lshmi_load_relaxed(&d->word)) != FREE &&
		    lshmi_desc_claim(r, d, i))
			lshmi_desc_put(r, i);
	}
	ret = lshmi_object_drop(r, name, LSHM_CHANNEL_TYPE, &block);
out:
	lshmi_unlock(r, &r->header->directory_lock);
	return ret < 0 ? ret : lshm_free(r, block);
}

static int look_at(struct lshmi_end *e, struct lshm_region *r, const char *name)
{
	void *block;
	int ret = lshm_object_open(r, name, LSHM_CHANNEL_TYPE, 0, &block);

	if (ret < 0)
		return ret;
	if (!lshmi_log_find(e, r, (uint64_t)((char *)block - r->base), 0))
		return lshmi_fail(
		    LSHM_ECORRUPT, "the channel \"%s\" is damaged", name);
	return 0;
}

int lshm_channel_stat(struct lshm_region *region, const char *name,
    struct lshm_channel_info *info)
{
	struct lshmi_desc *d;
	struct lshmi_end e;
	uint64_t w, x, first;
	int ret = look_at(&e, region, name);

	if (ret < 0)
		return ret;
	memset(info, 0, sizeof(*info));
	info->mode = e.mode;
	info->depth = e.depth;
	info->max_message = e.max_message;
	info->producers = lshmi_ends_live(&e, LSHMI_PRODUCER);
	info->consumers = lshmi_ends_live(&e, LSHMI_CONSUMER);
	x = lshmi_log_tail(&e, lshmi_load_relaxed(&e.channel->tail), &w);
	info->ended = (w & LSHMI_SLOT_END) != 0;
	info->published = x;
	info->redelivered = lshmi_load_relaxed(&e.channel->redelivered);
	if (e.mode == LSHM_BROADCAST) {
		info->backlog = x - lshmi_log_needed(&e, x);
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
	struct lshmi_end e;
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
