/* SPDX-License-Identifier: MIT */
/*
 * waiters.c - sleeping until a synchronisation object changes, and waking
 *
 *   event    what sleepers sleep on; +1 by each waker that rings
 *   sleeps   +1 by each who is about to sleep: its value after that is the
 *            sleep's ticket. Loaded by wakers
 *   rung     by wakers: nobody sleeps any more with a ticket up to this one
 *
 * Everything here and all words that attempts look at are read and written
 * sequentially consistently, so there is one order of it all:
 *
 *   sleeper  S1 load event   S2 raise sleeps   S3 attempt   S4 sleep while the
 *            event is as in S1
 *   waker    W1 the change   W2 load sleeps; leave if it equals rung
 *            W3 raise event  W4 wake up to n   W5 if fewer than n were woken,
 *            rung := what W2 loaded
 *
 * No wake-up is lost [Z]. If W2 comes before S2, W1 comes before S3, which
 * sees the change. If S2 comes before W2, the ticket is counted in what W2
 * loads, and then:
 *
 *   - W2 finds it equal to rung. That value was stored by W5 of some waker who
 *     had loaded it itself after S2. Its W3 came after S1, so a ticket not yet
 *     asleep at its W4 does not fall asleep at all, for the event differs; and
 *     one that slept was woken, since fewer were woken than might have been.
 *     Awake, it attempts again, with a new ticket before it sleeps. That new
 *     ticket is not in what W2 loaded, so its S3 sees the change.
 *   - W2 finds it different, and rings. A ticket not yet asleep is awake, as
 *     above; of those asleep as many are woken as the change is of use to.
 *
 * What rung says stays true for ever, so it does not matter that a slow waker
 * may put an old value in a newer one's place: the next waker rings in vain.
 * The counters wrap around. An event is mistaken for an equal one only after
 * exactly 2^32 others within one sleep, a ticket for rung after exactly 2^32
 * since somebody last rang; and the sleep that is missed then is bounded.
 *
 * Death. A waker killed after W1, W2 or W3 leaves rung as it was: the next
 * waker rings. One killed in W4 has woken those it has woken. A sleeper that is
 * killed is a ticket that somebody rings for in vain, once; if it had been
 * woken as the one of n = 1, the change it was woken for is there for others,
 * who find it when they next look. Every sleep ends after a tenth of a second
 * at first, after a second at the latest, and rings in vain and signals do not
 * put that off: so all of this is over within a second.
 */
#include "internal.h"

#define ROUNDS	  24 /* of polling before sleep */
#define PAUSE_MIN 32 /* pauses between two looks */
#define PAUSE_MAX 256
#define SLEEP_MIN 100000000  /* ns of the first sleep */
#define SLEEP_MAX 1000000000 /* ns: the bound on noticing a death */

int lshmi_await(struct lshm_region *r, struct lshm_waiters *q, int64_t deadline,
    int (*attempt)(void *arg, bool look), void *arg, const char *why)
{
	int64_t sleep = SLEEP_MIN, look, now;
	int pauses = PAUSE_MIN, ret = attempt(arg, false);
	uint64_t deaths = lshmi_load_relaxed(&r->deaths);
	uint32_t event;
	bool late;

	if (ret != -EAGAIN)
		return ret;
	if (deadline == LSHM_NOW) {
		ret = attempt(arg, true);
		return ret == -EAGAIN ? lshmi_fail_with(EAGAIN, why) : ret;
	}
	for (int round = 0; round < ROUNDS; round++) {
		for (int i = 0; i < pauses; i++)
			lshmi_pause();
		if (pauses < PAUSE_MAX)
			pauses *= 2;
		ret = attempt(arg, false);
		if (ret != -EAGAIN)
			return ret;
	}
	now = lshmi_now();
	look = now + sleep;
	for (;;) {
		event = lshmi_load_seq(&q->event); /* [Z] S1 before S2 */
		lshmi_fetch_add(&q->sleeps, 1);
		late = now >= look || now >= deadline;
		ret = attempt(arg, late);
		if (ret != -EAGAIN)
			return ret;
		if (now >= deadline)
			return lshmi_fail_with(ETIMEDOUT, why);
		if (late) {
			sleep = sleep < SLEEP_MAX / 2 ? sleep * 2 : SLEEP_MAX;
			look = now + sleep;
		}
		ret = r->store.backend->wait(&r->store, &q->event, event,
		    look < deadline ? look : deadline, &deaths);
		if (r->serial == 0)
			return lshmi_fail_gone(r);
		now = lshmi_now();
		if (ret == -EOWNERDEAD) {
			lshmi_reap_all(r, deaths);
			look = now;
		}
	}
}

void lshmi_wake(struct lshm_region *r, struct lshm_waiters *q, int count)
{
	uint32_t sleeps = lshmi_load_seq(&q->sleeps);
	int woken;

	if (__builtin_expect(sleeps == lshmi_load_seq(&q->rung), 1))
		return;
	lshmi_fetch_add(&q->event, 1);
	woken = r->store.backend->wake(&r->store, &q->event, count);
	if (woken >= 0 && woken < count)
		lshmi_store_seq(&q->rung, sleeps);
}
