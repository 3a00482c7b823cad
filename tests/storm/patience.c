/* SPDX-License-Identifier: MIT */
/*
 * patience.c - how long a call may block, and whether it did
 *
 * The headers say: where something is waited for that a process held that died,
 * a second after its death; where a lock of the library's is needed, a second,
 * even if its holder is stopped (some calls need two of them); where a deadline
 * is given, until then. Add to this SLACK for a loaded machine. It does not
 * count while the caller's own process is stopped; nor, where it waits for what
 * other users hold, while any of them is. The controller notes both. Nor does
 * it count while the machine stands still: while a process that has nothing to
 * do with the region, and wants to run for an instant every BEAT, does not.
 *
 * Each call is judged when it returns; and by the controller while it lasts, so
 * that one that never returns is found, too.
 */
#include "storm.h"

#include <sched.h>
#include <time.h>

#define SECOND INT64_C(1000000000)
#define SLACK  (2 * SECOND)
#define BEAT   INT64_C(10000000) /* 10 ms */

static const int64_t limits[PATIENCES] = {
    [OWN] = 2 * SECOND + SLACK,
    [OTHERS] = SECOND + SLACK,
};

int64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * SECOND + t.tv_nsec;
}

void note_stop(struct stopped *s, bool stop)
{
	int64_t t = now();

	lshmi_fetch_add(&s->version, 1);
	if (!stop)
		lshmi_store_seq(&s->before, s->before + t - s->since);
	lshmi_store_seq(&s->since, stop ? t : 0);
	lshmi_fetch_add(&s->version, 1);
}

/* For how long it has been stopped in all. */
static int64_t stopped_for(struct stopped *s)
{
	uint64_t version;
	int64_t before, since;

	do {
		while ((version = lshmi_load_seq(&s->version)) & 1)
			sched_yield();
		before = lshmi_load_seq(&s->before);
		since = lshmi_load_seq(&s->since);
	} while (lshmi_load_seq(&s->version) != version);
	return before + (since ? now() - since : 0);
}

void beat(struct lshm_region *none, int fd, void *arg)
{
	struct pulse *p = &ledger->pulse;
	int64_t t, gap;

	for (;;) {
		usleep(BEAT / 1000);
		t = now();
		gap = t - p->last;
		lshmi_fetch_add(&p->version, 1);
		if (gap > 4 * BEAT)
			lshmi_store_seq(&p->missed, p->missed + gap - BEAT);
		lshmi_store_seq(&p->last, t);
		lshmi_fetch_add(&p->version, 1);
	}
}

/* It changes steadily, whether the pulse has noticed yet or not. */
int64_t missed_beats(void)
{
	struct pulse *p = &ledger->pulse;
	uint64_t version;
	int64_t missed, last, gap;

	do {
		while ((version = lshmi_load_seq(&p->version)) & 1)
			sched_yield();
		missed = lshmi_load_seq(&p->missed);
		last = lshmi_load_seq(&p->last);
	} while (lshmi_load_seq(&p->version) != version);
	gap = now() - last;
	return missed + (gap > 4 * BEAT ? gap - BEAT : 0);
}

/* Of the stops that count as an excuse for what this seat does. */
static int64_t excuse(const struct seat *seat, uint32_t patience)
{
	size_t i = patience == OWN ? (size_t)(seat - ledger->seats) / THREADS
				   : WORKERS_MAX;

	return stopped_for(&ledger->stopped[i]) + missed_beats();
}

static int64_t late(
    const struct seat *seat, uint32_t patience, int64_t until, int64_t excused)
{
	/* the clock first: a stop that begins after it is no excuse yet */
	int64_t t = now();

	return t - until - (excuse(seat, patience) - excused);
}

static void too_long(
    const struct seat *seat, uint32_t patience, uint32_t kind, int64_t took)
{
	ut_fail(UT_AT("a survivor is not blocked for long"),
	    "%s, worker %d, thread %d: expected at most %d ms, seen %d ms",
	    kind_name(kind), (int)((seat - ledger->seats) / THREADS),
	    (int)((seat - ledger->seats) % THREADS),
	    (int)(limits[patience] / 1000000), (int)(took / 1000000));
}

void begin(struct worker *w, enum patience patience, int64_t deadline)
{
	struct seat *s = w->seat;
	int64_t t = now();

	lshmi_store_seq(&s->since, t);
	lshmi_store_seq(
	    &s->until, deadline > t && deadline != LSHM_FOREVER ? deadline : t);
	lshmi_store_seq(&s->excused, excuse(s, patience));
	lshmi_store_seq(&s->patience, patience);
	lshmi_store_seq(&s->kind, w->kind);
	lshmi_fetch_add(&s->step, 1);
}

void end(struct worker *w)
{
	struct seat *s = w->seat;
	int64_t took = late(s, s->patience, s->until, s->excused);
	uint64_t *most = &ledger->longest[w->kind];
	uint64_t longest = lshmi_load_relaxed(most);

	lshmi_fetch_add(&s->step, 1);
	lshmi_fetch_add(&ledger->calls[w->kind], 1);
	while (took > 0 && (uint64_t)took > longest &&
	       !lshmi_cas(most, longest, (uint64_t)took))
		longest = lshmi_load_relaxed(most);
	if (took > limits[s->patience])
		too_long(s, s->patience, w->kind, took);
}

void judge(struct seat *s)
{
	uint64_t step = lshmi_load_seq(&s->step);
	uint32_t patience = lshmi_load_seq(&s->patience);
	uint32_t kind = lshmi_load_seq(&s->kind);
	int64_t took;

	if (!(step & 1) || patience >= PATIENCES || kind >= KINDS_MAX)
		return;
	took = late(s, patience, lshmi_load_seq(&s->until),
	    lshmi_load_seq(&s->excused));
	/* a grace for it to come back and say so itself */
	if (took > limits[patience] + SECOND &&
	    lshmi_load_seq(&s->step) == step)
		too_long(s, patience, kind, took);
}

void print_longest(void)
{
	bool told[KINDS_MAX] = {false};

	for (int n = 0; n < 4; n++) {
		uint32_t most = 0;

		for (uint32_t k = 0; k < KINDS_MAX; k++)
			if (!told[k] &&
			    (told[most] ||
				ledger->longest[k] > ledger->longest[most]))
				most = k;
		told[most] = true;
		printf("%s%s %.1f ms", n ? ", " : "", kind_name(most),
		    (double)ledger->longest[most] / 1e6);
	}
}
