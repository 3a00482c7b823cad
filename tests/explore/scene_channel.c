/* SPDX-License-Identifier: MIT */
/*
 * scene_channel.c - the log and its ends: append, take, join, redelivery,
 * and going to sleep while others publish, release, end or leave
 *
 * What the threads do is written as a program, one letter an operation:
 *
 *   O o   open a producer, a consumer
 *   l     loan and fill in a message, to be published later
 *   p P   publish the oldest loan: blocking, or not
 *   s     send: loan, fill in, publish
 *   e     end the stream
 *   t T   take: blocking, or not
 *   r     release the oldest message held
 *   x     close the producer or consumer
 *   w     wait until another end has joined
 *   m     reap the dead
 *   k     (before only) be killed
 */
#include "explore.h"

#define IDS   32
#define BYTES 1000

struct program {
	uint32_t mode;
	uint32_t depth;
	const char *before; /* pairs: thread (A..), operation */
	const char *run[XP_THREADS];
};

struct kept {
	struct lshm_message m;
	uint64_t id;
};

static struct ghost {
	struct lshm_producer *producer[XP_ALL];
	struct lshm_consumer *consumer[XP_ALL];
	uint64_t *loan[XP_ALL][4];
	uint32_t loans[XP_ALL];
	struct kept kept[XP_ALL][4];
	uint32_t held[XP_ALL];
	uint32_t made[XP_ALL]; /* messages, for their ids */
	uint64_t next[XP_ALL]; /* broadcast: 1 + the sequence expected */
	uint64_t at[IDS];      /* by sequence: the id there */
	uint32_t taken[IDS];   /* how often */
	bool begun[IDS];       /* its publishing has begun */
	bool published[IDS];   /* and returned */
	bool leaving[IDS];     /* its release has begun */
	bool released[IDS];    /* and ended */
	bool ended;
	struct lshmi_channel *channel;
	uint32_t corpses; /* who was dead before */
} * ghost;

static const struct program *program(void)
{
	return xp_arg();
}

static struct lshm_channel_opts opts(void)
{
	struct lshm_channel_opts o = LSHM_CHANNEL_OPTS();

	o.mode = program()->mode;
	o.depth = program()->depth;
	return o;
}

static void fill_in(uint64_t *message)
{
	struct ghost *g = ghost;
	uint32_t i = xp_self;

	for (uint32_t k = 0; k < XP_ALL; k++)
		for (uint32_t n = 0; n < g->loans[k]; n++)
			if (g->loan[k][n] == message && !xp_dead(k))
				XP_FAIL("%c and %c write the same message",
				    (char)('A' + i), (char)('A' + k));
	*message = 1 + (i % 4) * 8 + g->made[i]++;
	g->loan[i][g->loans[i]++] = message;
}

static uint64_t *oldest_loan(void)
{
	struct ghost *g = ghost;
	uint64_t *m = g->loan[xp_self][0];

	memmove(&g->loan[xp_self][0], &g->loan[xp_self][1],
	    3 * sizeof(g->loan[0][0]));
	g->loans[xp_self]--;
	return m;
}

static void took(const struct lshm_message *m)
{
	struct ghost *g = ghost;
	uint64_t id = *(const uint64_t *)m->data;
	uint32_t i = xp_self;

	if (id == 0 || id >= IDS || m->sequence >= IDS)
		XP_FAIL("message %llu at %llu: no such", (unsigned long long)id,
		    (unsigned long long)m->sequence);
	if (g->at[m->sequence] && g->at[m->sequence] != id)
		XP_FAIL("message %llu at %llu, where %llu was",
		    (unsigned long long)id, (unsigned long long)m->sequence,
		    (unsigned long long)g->at[m->sequence]);
	g->at[m->sequence] = id;
	if (program()->mode == LSHM_BROADCAST) {
		if (g->next[i] && g->next[i] != m->sequence + 1)
			XP_FAIL("%c gets message %llu: expected %llu",
			    (char)('A' + i), (unsigned long long)m->sequence,
			    (unsigned long long)g->next[i] - 1);
		g->next[i] = m->sequence + 2;
	} else {
		if (g->taken[id] && m->deliveries == 1)
			XP_FAIL("message %llu is delivered twice",
			    (unsigned long long)id);
		if (g->released[id] && xp_deaths() == 0)
			XP_FAIL("message %llu is delivered after its release",
			    (unsigned long long)id);
	}
	g->taken[id]++;
	g->kept[i][g->held[i]++] = (struct kept){.m = *m, .id = id};
}

/* One operation; false: the program ends here. */
static bool operate(char op)
{
	struct lshm_channel_opts o = opts();
	struct ghost *g = ghost;
	uint32_t i = xp_self;
	struct lshm_message m;
	struct kept k;
	uint64_t id;
	void *p;
	int ret = 0;

	switch (op) {
	case 'O':
		XP_EQ(0, lshm_producer_open(
			     &g->producer[i], xp_region(), "log", &o));
		break;
	case 'o':
		XP_EQ(0, lshm_consumer_open(
			     &g->consumer[i], xp_region(), "log", &o));
		break;
	case 'x':
		lshm_producer_close(g->producer[i]);
		lshm_consumer_close(g->consumer[i]);
		g->producer[i] = NULL;
		g->consumer[i] = NULL;
		break;
	case 'l':
	case 's':
		ret =
		    lshm_producer_loan(g->producer[i], BYTES, LSHM_FOREVER, &p);
		if (ret == 0)
			fill_in(p);
		if (op == 'l' || ret < 0)
			break;
		/* fall through */
	case 'p':
	case 'P':
		p = oldest_loan();
		/* Now: it may be overwritten before the call returns. */
		id = *(const uint64_t *)p;
		g->begun[id] = true;
		ret = lshm_producer_publish(
		    g->producer[i], p, op == 'P' ? LSHM_NOW : LSHM_FOREVER);
		if (ret == 0)
			g->published[id] = true;
		break;
	case 'e':
		g->ended = true;
		XP_EQ(0, lshm_producer_end(g->producer[i]));
		break;
	case 't':
	case 'T':
		ret = lshm_consumer_take(
		    g->consumer[i], &m, op == 'T' ? LSHM_NOW : LSHM_FOREVER);
		if (ret == 0)
			took(&m);
		break;
	case 'r':
		if (g->held[i] == 0)
			break;
		k = g->kept[i][0];
		memmove(
		    &g->kept[i][0], &g->kept[i][1], 3 * sizeof(g->kept[0][0]));
		g->held[i]--;
		/* What was read in place is still what it was. */
		XP_EQ(k.id, *(const uint64_t *)k.m.data);
		g->leaving[k.id] = true;
		XP_EQ(0, lshm_consumer_release(g->consumer[i], &k.m));
		g->released[k.id] = true;
		break;
	case 'w':
		ret = g->producer[i]
			  ? lshm_producer_wait(g->producer[i], 1, LSHM_FOREVER)
			  : lshm_consumer_wait(g->consumer[i], 1, LSHM_FOREVER);
		break;
	case 'm':
		lshm_region_reap(xp_region());
		break;
	case 'k':
		xp_kill(i);
		g->corpses++;
		break;
	default:
		XP_FAIL("no operation '%c'", op);
	}
	if (ret == 0 || (ret == -EAGAIN && (op == 'P' || op == 'T')))
		return true;
	if (xp_deaths() + g->corpses && ret == -EPIPE)
		return false;
	if (g->ended && (ret == -ENODATA || ret == -ESHUTDOWN))
		return false;
	XP_FAIL("operation '%c' of %c returns %d: %s", op, (char)('A' + i), ret,
	    lshm_error());
}

static void run(void)
{
	for (const char *op = program()->run[xp_self]; *op; op++)
		if (!operate(*op))
			break;
}

static void setup(void)
{
	struct lshm_producer *first;
	struct lshm_channel_opts o = opts();
	struct lshmi_channel *ch;
	const char *s = program()->before;

	ghost = xp_ghost(sizeof(*ghost));
	xp_open_all();
	XP_EQ(0, lshm_producer_open(&first, xp_region(), "log", &o));
	ch = ((struct lshmi_end *)first)->channel;
	ghost->channel = ch;
	lshm_producer_close(first);
	/* As if nobody had ever come. */
	ch->joined[LSHMI_PRODUCER] = 0;
	xp_name(&ch->tail, 8, 8, "tail");
	xp_name(&ch->head, 8, 8, "head");
	xp_name(ch->joined, 16, 8, "joined");
	xp_name(ch->active, 16, 8, "active");
	xp_name(&ch->data.event, 4, 4, "data.event");
	xp_name(&ch->data.sleeps, 4, 4, "data.sleeps");
	xp_name(ch->data.sleepers, 16, 8, "data.sleepers");
	xp_name(&ch->space.event, 4, 4, "space.event");
	xp_name(&ch->space.sleeps, 4, 4, "space.sleeps");
	xp_name(ch->space.sleepers, 16, 8, "space.sleepers");
	xp_name(ch->ends[0], sizeof(ch->ends[0]), sizeof(ch->ends[0][0]),
	    "producer");
	xp_name(ch->ends[1], sizeof(ch->ends[1]), sizeof(ch->ends[1][0]),
	    "consumer");
	xp_name(ch->slots, ch->depth * 8, 8, "log");
	for (; s[0] && s[1]; s += s[2] ? 3 : 2) {
		xp_as((uint32_t)(s[0] - 'A'));
		if (!xp_region())
			XP_TRUE(lshmi_lane(xp_open()));
		XP_TRUE(operate(s[1]));
	}
	xp_as(XP_JUDGE);
	if (xp_region()->header->desc_segments[0])
		xp_name(desc_at(xp_region(), 0), 64 * sizeof(struct lshmi_desc),
		    sizeof(struct lshmi_desc), "desc");
}

/* What was published and not released is there for another consumer. */
static void check_work(void)
{
	struct lshm_channel_opts o = opts();
	struct lshm_consumer *c;
	struct lshm_message m;
	uint64_t id;

	XP_EQ(0, lshm_consumer_open(&c, xp_region(), "log", &o));
	for (;;) {
		int ret = lshm_consumer_take(c, &m, LSHM_NOW);

		if (ret == -EAGAIN || ret == -EPIPE || ret == -ENODATA)
			break;
		XP_EQ(0, ret);
		took(&m);
		id = ghost->kept[xp_self][--ghost->held[xp_self]].id;
		XP_EQ(0, lshm_consumer_release(c, &m));
		ghost->leaving[id] = ghost->released[id] = true;
	}
	for (id = 1; id < IDS; id++) {
		if (!ghost->published[id] || ghost->leaving[id])
			continue;
		/* Somebody alive holds it. */
		for (uint32_t i = 0; i < XP_ALL; i++)
			for (uint32_t k = 0; k < ghost->held[i]; k++)
				if (ghost->kept[i][k].id == id && !xp_dead(i))
					ghost->leaving[id] = true;
		if (!ghost->leaving[id])
			XP_FAIL("message %llu is lost", (unsigned long long)id);
	}
	lshm_consumer_close(c);
}

/* What is in the log was published there, and no message is there twice. */
static void check_log(void)
{
	struct lshm_region *r = xp_region();
	bool there[IDS] = {false};
	struct lshmi_end e;
	const uint64_t *id;
	uint32_t index;

	XP_TRUE(lshmi_log_find(&e, r, lshm_offset(r, ghost->channel), 0));
	for (uint32_t i = 0; i < e.depth; i++) {
		index = desc_of(lshmi_load_seq(&e.channel->slots[i]));
		if (index == LSHMI_NO_DESC)
			continue;
		XP_TRUE(desc_at(r, index));
		id = lshm_at(r, desc_at(r, index)->payload, BYTES);
		if (!id || *id >= IDS || !ghost->begun[*id])
			XP_FAIL("the log has what was never published");
		if (there[*id])
			XP_FAIL("message %llu is in the log twice",
			    (unsigned long long)*id);
		there[*id] = true;
	}
}

static void check(void)
{
	struct lshm_channel_info info;
	struct lshm_heap_info heap;
	uint64_t least = 0;

	while (lshm_region_reap(xp_region()) > 0)
		continue;
	for (uint32_t id = 1; id < IDS; id++)
		least += ghost->published[id];
	XP_EQ(0, lshm_channel_stat(xp_region(), "log", &info));
	XP_TRUE(info.published >= least);
	if (xp_deaths() == 0)
		XP_EQ(least, info.published);
	check_log();
	if (program()->mode == LSHM_WORK)
		check_work();
	/* Nothing of the dead is left in the heap. */
	XP_EQ(0, lshm_heap_stat(xp_region(), &heap));
	XP_EQ(0, heap.draft_blocks);
}

#define CHANNEL \
	.setup = setup, .run = {run, run, run}, .check = check, .pages = 16

#define PROGRAM(...)                   \
	.arg = &(const struct program) \
	{                              \
		__VA_ARGS__            \
	}

/* -- waiting --------------------------------------------------------------- */

static const struct xp_seed seeds_data[] = {
    XP_SEED("the sleeper's marks are plain stores", "lshmi_end_await", "&q->s*",
	XP_WEAKEN),
    XP_SEED("no wake", "kernel", "wake", XP_SKIP),
    XP_SEED("the event is not raised", "lshmi_ring", "&q->event", XP_SKIP),
    XP_SEED("append is a plain store", "attempt_publish", "slot_at(e, x)",
	XP_WEAKEN),
    {0},
};

XP_SCENARIO(wait_data) = {
    .name = "wait-data",
    .what = "broadcast: publish against a consumer going to sleep",
    .threads = 2,
    CHANNEL,
    PROGRAM(LSHM_BROADCAST, 1, "Ao BO Bl", {"t", "p"}),
    .seeds = seeds_data,
};

static const struct xp_seed seeds_space[] = {
    XP_SEED("no membarrier", "kernel", "membarrier", XP_SKIP),
    XP_SEED("no wake", "kernel", "wake", XP_SKIP),
    {0},
};

XP_SCENARIO(wait_space) = {
    .name = "wait-space",
    .what = "broadcast: release against a producer going to sleep",
    .threads = 2,
    CHANNEL,
    PROGRAM(LSHM_BROADCAST, 1, "AO Bo Al Ap Al Bt", {"p", "r"}),
    .seeds = seeds_space,
};

/* Who has rung does not ring again until somebody has gone to sleep since. */
static const struct xp_seed seeds_twice[] = {
    XP_SEED("the sleep is counted before the event is read", "lshmi_end_await",
	"&q->sleeps", XP_DELAY),
    XP_SEED(
	"the sleep is not counted", "lshmi_end_await", "&q->sleeps", XP_SKIP),
    {0},
};

XP_SCENARIO(wait_twice) = {
    .name = "wait-twice",
    .what = "broadcast: two messages for a consumer that sleeps twice",
    .threads = 2,
    CHANNEL,
    PROGRAM(LSHM_BROADCAST, 2, "Ao BO Bl Bl", {"trt", "pp"}),
    .seeds = seeds_twice,
};

XP_SCENARIO(wait_both) = {
    .name = "wait-both",
    .what = "broadcast: one place in the log, both go to sleep",
    .threads = 2,
    CHANNEL,
    PROGRAM(LSHM_BROADCAST, 1, "Ao BO Bl Bl", {"trtr", "pp"}),
    .seeds = seeds_space,
};

XP_SCENARIO(wait_many) = {
    .name = "wait-many",
    .what = "broadcast: two consumers asleep, one wake for both",
    .threads = 3,
    .bounds = {.buffer = 2},
    .full = {.preemptions = 3, .deaths = 1, .buffer = 4},
    CHANNEL,
    PROGRAM(LSHM_BROADCAST, 2, "Ao Bo CO Cl", {"t", "t", "p"}),
    .seeds = seeds_data,
};

static const struct xp_seed seeds_end[] = {
    XP_SEED("no wake", "kernel", "wake", XP_SKIP),
    {0},
};

XP_SCENARIO(wait_end) = {
    .name = "wait-end",
    .what = "broadcast: the end of the stream against going to sleep",
    .threads = 2,
    CHANNEL,
    PROGRAM(LSHM_BROADCAST, 1, "Ao BO", {"t", "e"}),
    .seeds = seeds_end,
};

/* Here a compare-and-swap follows that drains the buffer, too. */
static const struct xp_seed seeds_work[] = {
    XP_SEED("the sleeper's marks are plain stores", "lshmi_end_await", "&q->s*",
	XP_WEAKEN),
    XP_SEED(
	"append and READY are plain stores", "attempt_publish", "*", XP_WEAKEN),
    {0},
};

XP_SCENARIO(wait_work) = {
    .name = "wait-work",
    .what = "work-sharing: publish against two consumers going to sleep",
    .threads = 3,
    .bounds = {.preemptions = 3, .buffer = 2},
    .full = {.preemptions = 3, .deaths = 1, .buffer = 4},
    CHANNEL,
    PROGRAM(LSHM_WORK, 2, "Ao Bo CO Cl Cl", {"tr", "tr", "pp"}),
    .seeds = seeds_work,
};

static const struct xp_seed seeds_room[] = {
    XP_SEED("the sleeper's marks are plain stores", "lshmi_end_await", "&q->s*",
	XP_WEAKEN),
    XP_SEED("release is a plain store", "lshm_consumer_release", "&d->word",
	XP_WEAKEN),
    {0},
};

XP_SCENARIO(wait_room) = {
    .name = "wait-room",
    .what = "work-sharing: release against a producer going to sleep",
    .threads = 2,
    CHANNEL,
    PROGRAM(LSHM_WORK, 1, "AO Bo Al Ap Al Bt", {"p", "r"}),
    .seeds = seeds_room,
};

XP_SCENARIO(wait_rooms) = {
    .name = "wait-rooms",
    .what = "broadcast: two producers asleep for room, a consumer takes",
    .threads = 3,
    .bounds = {.preemptions = 3, .buffer = 2},
    CHANNEL,
    PROGRAM(LSHM_BROADCAST, 1, "AO BO Co Al Ap Al Bl", {"p", "p", "trtrtr"}),
    .patient = true,
    .seeds = seeds_space,
};

/* -- appending and taking -------------------------------------------------- */

static const struct xp_seed seeds_append[] = {
    XP_SEED("append stores whatever it finds", "attempt_publish",
	"slot_at(e, x)", XP_BLIND),
    {0},
};

XP_SCENARIO(log_append) = {
    .name = "log-append",
    .what = "broadcast: two producers append, a consumer takes both",
    .threads = 3,
    .bounds = {.preemptions = 3, .buffer = 2},
    .full = {.preemptions = 2, .deaths = 1, .buffer = 2},
    CHANNEL,
    PROGRAM(LSHM_BROADCAST, 2, "AO BO Co Al Bl", {"px", "px", "tt"}),
    .seeds = seeds_append,
};

XP_SCENARIO(log_append_dying) = {
    .name = "log-append-dying",
    .what = "broadcast: two producers append, one may die; what is left",
    .threads = 2,
    CHANNEL,
    PROGRAM(LSHM_BROADCAST, 4, "AO BO Al Bl Al Bl", {"pp", "pp"}),
    .seeds = seeds_append,
};

static uint64_t further(uint64_t cursor)
{
	return cursor + 1;
}

static const struct xp_seed seeds_gate[] = {
    XP_SEED("the cursor is one too far", "move_cursor", "cursor", XP_ALTER,
	.alter = further),
    {0},
};

XP_SCENARIO(log_gate) = {
    .name = "log-gate",
    .what = "broadcast: nothing is overwritten that a consumer needs",
    .threads = 2,
    CHANNEL,
    PROGRAM(LSHM_BROADCAST, 2, "Ao BO Bl Bl Bp Bp Bl Bl", {"trtrTr", "PP"}),
    .seeds = seeds_gate,
};

/* -- descriptors ----------------------------------------------------------- */

static uint64_t done(uint64_t word)
{
	return turn(word, DONE, 0, false);
}

static uint64_t joined(uint64_t word)
{
	return word & ~JOINING;
}

static uint64_t nothing(uint64_t word)
{
	return 0;
}

static const struct xp_seed seeds_recycle[] = {
    XP_SEED("what is not done is overwritten", "lshmi_log_done", "&d->word",
	XP_ALTER, .alter = done),
    {0},
};

static const struct xp_seed seeds_claim[] = {
    XP_SEED("a claim stores whatever it finds", "lshmi_desc_claim", "&d->word",
	XP_BLIND),
    XP_SEED("what is in the log is claimed, too", "lshmi_desc_in_log",
	"slot_at(&e, position)", XP_ALTER, .alter = nothing),
    {0},
};

/* All six descriptors are in use; those that leave the log are wanted. */
XP_SCENARIO(log_claim) = {
    .name = "log-claim",
    .what = "broadcast: two producers claim and recycle descriptors",
    .threads = 2,
    CHANNEL,
    PROGRAM(LSHM_BROADCAST, 2, "AO BO As Bs Al Al Bl Bl", {"lp", "pl"}),
    .seeds = seeds_claim,
};

/* -- work-sharing ---------------------------------------------------------- */

static const struct xp_seed seeds_take[] = {
    XP_SEED("a take stores whatever it finds", "look_for_work", "&d->word",
	XP_BLIND),
    {0},
};

XP_SCENARIO(log_take) = {
    .name = "log-take",
    .what = "work-sharing: two consumers take and release two messages",
    .threads = 2,
    CHANNEL,
    .participants = 4,
    PROGRAM(LSHM_WORK, 2, "Ao Bo CO Cl Cl Cp Cp", {"TrTr", "TrTr"}),
    .seeds = seeds_take,
};

static const struct xp_seed seeds_redeliver[] = {
    XP_SEED("a redelivery stores whatever it finds", "lshmi_log_redeliver",
	"&d->word", XP_BLIND),
    {0},
};

XP_SCENARIO(log_redeliver) = {
    .name = "log-redeliver",
    .what = "work-sharing: two take over from a dead consumer, one reaps it",
    .threads = 2,
    .participants = 5,
    CHANNEL,
    PROGRAM(LSHM_WORK, 2, "Ao Bo EO Eo El Ep Et Ek", {"mTr", "Tr"}),
    .seeds = seeds_redeliver,
};

XP_SCENARIO(log_recycle) = {
    .name = "log-recycle",
    .what = "work-sharing: a producer recycles what a consumer has done",
    .threads = 2,
    CHANNEL,
    PROGRAM(LSHM_WORK, 1, "Ao BO Bs", {"TrTr", "lPlP"}),
    .seeds = seeds_recycle,
};

/* -- joining and leaving --------------------------------------------------- */

static const struct xp_seed seeds_join[] = {
    XP_SEED("joining makes plain stores", "join", "*", XP_WEAKEN),
    {0},
};

XP_SCENARIO(log_join) = {
    .name = "log-join",
    .what = "broadcast: a consumer joins while a producer laps the log",
    .threads = 2,
    CHANNEL,
    PROGRAM(LSHM_BROADCAST, 1, "AO Al Al Al", {"PPP", "oT"}),
    .seeds = seeds_join,
};

static const struct xp_seed seeds_meet[] = {
    XP_SEED("who is joining counts as joined", "join", "&end[i].word", XP_ALTER,
	.alter = joined),
    {0},
};

XP_SCENARIO(log_meet) = {
    .name = "log-meet",
    .what = "broadcast: who is waited for gets all from there on",
    .patient = true,
    .threads = 2,
    CHANNEL,
    PROGRAM(LSHM_BROADCAST, 2, "AO Al Al", {"wpp", "ott"}),
    .seeds = seeds_meet,
};

XP_SCENARIO(log_leave) = {
    .name = "log-leave",
    .what = "broadcast: a consumer leaves while a producer waits for room",
    .threads = 2,
    CHANNEL,
    PROGRAM(LSHM_BROADCAST, 1, "AO Bo Al Ap Al", {"p", "x"}),
    .seeds = seeds_end,
};

XP_SCENARIO(log_end) = {
    .name = "log-end",
    .what = "broadcast: one ends the stream while the other publishes",
    .patient = true,
    .threads = 3,
    .bounds = {.buffer = 2},
    .full = {.preemptions = 3, .deaths = 1, .buffer = 4},
    CHANNEL,
    PROGRAM(LSHM_BROADCAST, 2, "AO BO Co Al", {"p", "e", "tt"}),
    .seeds = seeds_append,
};
