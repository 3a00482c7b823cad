/* SPDX-License-Identifier: MIT */
/*
 * end.c - who is at a channel's ends, and how they wait: [Q] in channel.c
 */
#include <limits.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "log.h"

#define SPIN_MIN    16
#define SHORT_SLEEP 200000     /* ns: spinning longer would have been better */
#define SLEEP_MIN   100000000  /* ns of the first sleep */
#define SLEEP_MAX   1000000000 /* ns: the bound on noticing a death */
#define POLLS	    1024       /* fruitless polls between looks at who lives */

uint32_t lshmi_ends_live(const struct lshmi_end *e, uint32_t kind)
{
	uint32_t i, n = 0;
	uint64_t w;

	FOR_ENDS(e, kind, i, w)
		n += end_live(e->region, w);
	return n;
}

bool lshmi_ends_gone(const struct lshmi_end *e, uint32_t kind)
{
	return lshmi_load_seq(&e->channel->joined[kind]) != 0 &&
	       lshmi_ends_live(e, kind) == 0;
}

void lshmi_ends_reap(struct lshmi_end *e)
{
	uint64_t w;

	for (uint32_t i = 0; i < 2 * LSHM_ENDPOINTS_MAX; i++) {
		w = lshmi_load_acquire(&e->channel->ends[i % 2][i / 2].word);
		if (w && end_slot(w) < e->region->max_participants)
			lshmi_reap(e->region, end_slot(w));
	}
}

void lshmi_ring(struct lshm_region *r, struct lshmi_waitq *q)
{
	lshmi_fetch_add(&q->event, 1);
	r->store.backend->wake(&r->store, &q->event, INT_MAX);
}

void lshmi_ring_if(
    struct lshmi_end *e, struct lshmi_waitq *q, uint64_t sleepers)
{
	uint32_t *rung = &e->rung[q == &e->channel->space], sleeps;

	if (__builtin_expect(sleepers == 0, 1))
		return;
	sleeps = lshmi_load_seq(&q->sleeps);
	if (sleeps == *rung)
		return;
	*rung = sleeps;
	lshmi_ring(e->region, q);
}

void lshmi_ring_both(struct lshm_region *r, struct lshmi_channel *ch)
{
	lshmi_ring(r, &ch->data);
	lshmi_ring(r, &ch->space);
}

int lshmi_end_await(struct lshmi_end *e, int64_t deadline,
    int (*attempt)(struct lshmi_end *e, void *arg), void *arg)
{
	struct lshm_region *r = e->region;
	uint64_t bit = UINT64_C(1) << e->index;
	int64_t sleep = SLEEP_MIN, look = 0, now, until;
	uint64_t deaths = lshmi_load_relaxed(&r->deaths);
	struct lshmi_waitq *q;
	uint32_t event;
	int ret;

	if (r->serial == 0)
		return lshmi_fail_gone(r);
	ret = attempt(e, arg);
	if (ret != -EAGAIN)
		return ret;
	if (deadline == LSHM_NOW) {
		if (++e->polls % POLLS != 0)
			return -EAGAIN;
		lshmi_ends_reap(e);
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
		if (i % 64 == 63) /* the one waited for may share our core */
			sched_yield();
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
		ret = r->store.backend->wait(
		    &r->store, &q->event, event, until, &deaths);
		if (r->serial == 0) /* forked by a signal handler */
			return lshmi_fail_gone(r);
		lshmi_fetch_and(&q->sleepers[e->kind], ~bit);
		if (ret == -EOWNERDEAD) {
			lshmi_reap_all(r, deaths);
		} else if (lshmi_now() >= until) {
			lshmi_ends_reap(e);
			look = 0;
			sleep = sleep * 2 < SLEEP_MAX ? sleep * 2 : SLEEP_MAX;
		} else if (lshmi_now() - now < SHORT_SLEEP) {
			e->spin = LSHMI_SPIN_MAX;
		} else if (e->spin / 2 >= SPIN_MIN) {
			e->spin /= 2;
		}
		ret = attempt(e, arg);
		if (ret != -EAGAIN)
			return ret;
	}
}

int lshmi_end_explain(const struct lshmi_end *e, int ret)
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
