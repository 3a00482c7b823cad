/* SPDX-License-Identifier: MIT */
/*
 * explore.c - the explorer: see explore.h
 *
 * Search. Depth first. A path is the list of the transitions chosen at the
 * points where there was more than one; to go back is to begin anew and choose
 * as before. At a point that is new the state is hashed: if it has been seen
 * with no less of the budget of preemptions left, the execution ends there.
 *
 * Which words are shared is found out on the way: a word is, once two threads
 * have used it and one of them stored. When another one is found, all begins
 * anew, so that the last pass has a point before each access to each of them.
 * An access to any other word concerns nobody else: it commutes with whatever
 * the others do. Such stores do not go through the store buffer.
 */
#include "world.h"

#include <stdio.h>

enum kind { STEP, FLUSH, KILL, TIME };

struct transition {
	uint8_t kind;
	uint8_t thread;
};

#define TRANSITIONS_MAX (3 * XP_THREADS + 1)

struct node {
	uint32_t count, at;
	struct transition list[TRANSITIONS_MAX];
};

const struct xp_scenario *scenario;
const struct xp_bounds *bounds;
const struct xp_seed *seed;
struct xp_result *result;

/* -- states ---------------------------------------------------------------- */

/* A hash, 0 being none, and 1 + the fewest preemptions it was seen with. */
struct seen {
	uint64_t hash;
	uint32_t preemptions;
};

static struct seen *seen;
static uint64_t seen_room, seen_count;
bool xp_plain;

static struct seen *seen_at(uint64_t hash)
{
	uint64_t i = hash & (seen_room - 1);

	while (seen[i].hash && seen[i].hash != hash)
		i = (i + 1) & (seen_room - 1);
	return &seen[i];
}

static void seen_forget(void)
{
	free(seen);
	seen_room = 1 << 16;
	seen = calloc(seen_room, sizeof(*seen));
	seen_count = 0;
}

static void seen_more(void)
{
	struct seen *old = seen;
	uint64_t room = seen_room;

	seen_room *= 2;
	seen = calloc(seen_room, sizeof(*seen));
	if (!seen) {
		fprintf(stderr, "explore: out of memory\n");
		exit(2);
	}
	for (uint64_t i = 0; i < room; i++)
		if (old[i].hash)
			*seen_at(old[i].hash) = old[i];
	free(old);
}

static uint64_t hash_state(uint32_t last)
{
	uint64_t h = mix(hash_bytes(1, &world, sizeof(world)), hash_arena());

	for (uint32_t i = 0; i < scenario->threads; i++) {
		const char *sp = threads[i].sp;

		if (world.status[i] == T_DONE || world.status[i] == T_DEAD)
			continue;
		h = hash_bytes(
		    h, sp, (size_t)(threads[i].stack + STACK_SIZE - sp));
	}
	/* Whoever ran last may go on at no cost. */
	if (bounds->preemptions || last > XP_JUDGE)
		h = mix(h, last);
	return h ? h : 1;
}

/* Seen before, with as much of the budget left? */
static bool seen_before(uint32_t last, uint32_t preemptions)
{
	uint64_t hash = hash_state(last);
	struct seen *s = seen_at(hash);

	if (s->hash) {
		if (s->preemptions <= preemptions)
			return true;
		s->preemptions = preemptions;
		return false;
	}
	*s = (struct seen){.hash = hash, .preemptions = preemptions};
	if (++seen_count > seen_room / 2)
		seen_more();
	return false;
}

/* -- the search ------------------------------------------------------------ */

static struct node *path;
static uint32_t path_length, path_room;
static char *made_schedule; /* of this execution */
static size_t schedule_length, schedule_room;

static void note(struct transition t)
{
	static const char kinds[] = {'s', 'f', 'k', 't'};

	if (schedule_length + 3 > schedule_room) {
		schedule_room = schedule_room ? schedule_room * 2 : 4096;
		made_schedule = realloc(made_schedule, schedule_room);
	}
	made_schedule[schedule_length++] = kinds[t.kind];
	made_schedule[schedule_length++] = (char)('a' + t.thread);
	made_schedule[schedule_length] = '\0';
}

static bool runnable(uint32_t i)
{
	return world.status[i] == T_READY;
}

static uint32_t earliest(void)
{
	uint32_t next = XP_ALL;

	for (uint32_t i = 0; i < scenario->threads; i++)
		if ((world.status[i] == T_ASLEEP ||
			world.status[i] == T_NAPPING) &&
		    (next == XP_ALL ||
			world.deadline[i] < world.deadline[next]))
			next = i;
	return next;
}

static uint32_t enumerate(
    struct transition *list, uint32_t last, uint32_t preemptions)
{
	uint32_t n = 0, running = 0, i, t = scenario->threads;
	bool bound = bounds->preemptions && preemptions >= bounds->preemptions;

	if (last < t && runnable(last))
		list[n++] = (struct transition){STEP, (uint8_t)last};
	for (i = 0; i < t; i++) {
		running += runnable(i);
		if (i != last && runnable(i) &&
		    !(bound && last < t && runnable(last)))
			list[n++] = (struct transition){STEP, (uint8_t)i};
	}
	for (i = 0; i < t; i++)
		if (world.buffered[i])
			list[n++] = (struct transition){FLUSH, (uint8_t)i};
	/* Who waits for somebody who is dead, and may. */
	if (n == 0 && scenario->patient && world.deaths &&
	    world.forced > FORCED_MAX)
		return 0;
	/* Those who nap go on once nobody else can, or time is let pass. */
	i = earliest();
	if (i != XP_ALL &&
	    (n == 0 || (running && world.timeouts < bounds->timeouts)))
		list[n++] = (struct transition){TIME, (uint8_t)i};
	if (n == 0)
		return 0;
	for (i = 0; i < t; i++)
		if (world.deaths < bounds->deaths &&
		    world.status[i] != T_DONE && world.status[i] != T_DEAD &&
		    !(scenario->immortal >> i & 1))
			list[n++] = (struct transition){KILL, (uint8_t)i};
	return n;
}

static void let_time_pass(uint32_t i)
{
	bool forced = true, naps = scenario->naps || world.deaths;
	bool patient = scenario->patient && world.deaths;

	for (uint32_t k = 0; k < scenario->threads; k++) {
		if (runnable(k))
			forced = false;
		if (world.status[k] == T_NAPPING)
			naps = true;
	}
	if (forced && ++world.forced > FORCED_MAX && !patient)
		XP_FAIL("nobody gets on, however long they wait");
	if (forced && !naps && world.timeouts == 0)
		XP_FAIL("a lost wake-up: everybody sleeps, and only the end of "
			"%c's sleep would help",
		    letter(i));
	if (!forced)
		world.timeouts++;
	if (world.deadline[i] > world.clock)
		world.clock = world.deadline[i];
	for (uint32_t k = 0; k < scenario->threads; k++)
		if ((world.status[k] == T_ASLEEP ||
			world.status[k] == T_NAPPING) &&
		    world.deadline[k] <= world.clock)
			wake_from(k, -ETIMEDOUT);
}

static void apply(struct transition t)
{
	note(t);
	switch (t.kind) {
	case STEP:
		resume(t.thread);
		for (uint32_t i = 0; i < scenario->threads; i++)
			if (i != t.thread && world.status[i] == T_NAPPING)
				wake_from(i, 0);
		break;
	case FLUSH:
		flush_one(t.thread);
		break;
	case KILL:
		if (tracing)
			printf("%5u  %c  is killed before %s:%d\n",
			    ++trace_step, letter(t.thread),
			    threads[t.thread].site->function,
			    threads[t.thread].site->line);
		wake_from(t.thread, 0);
		world.status[t.thread] = T_DEAD;
		world.deaths++;
		break;
	case TIME:
		if (tracing)
			printf("%5u  -  time passes\n", ++trace_step);
		let_time_pass(t.thread);
		break;
	}
}

/* The next transition of a schedule; at its end, or if there is none, any. */
static struct transition from_schedule(
    const char **text, const struct transition *list, uint32_t count)
{
	static const char kinds[] = "sfkt";
	const char *s = *text;

	if (!s[0] || !s[1])
		return list[0];
	*text = s + 2;
	for (uint32_t i = 0; i < count; i++)
		if (kinds[list[i].kind] == s[0] && 'a' + list[i].thread == s[1])
			return list[i];
	printf("the schedule does not fit at \"%s\"\n", s);
	return list[0];
}

/* One execution, along the path and beyond it; false: it has failed. */
static bool execute_on(const char *replay)
{
	struct transition list[TRANSITIONS_MAX], chosen;
	uint32_t depth = 0, last = XP_THREADS, preemptions = 0, n;

	put_back();
	failed = checking = false;
	steps = 0;
	schedule_length = 0;
	xp_self = XP_JUDGE;
	lshmi_lane_cache = world.cache[XP_JUDGE];
	for (uint32_t i = 0; i < scenario->threads; i++) {
		make_thread(i);
		resume(i);
		if (failed)
			return false;
	}
	while ((n = enumerate(list, last, preemptions))) {
		if (replay) {
			chosen = from_schedule(&replay, list, n);
		} else if (n == 1) {
			chosen = list[0];
		} else {
			if (depth == path_length) {
				if (!xp_plain &&
				    seen_before(last,
					bounds->preemptions ? preemptions : 0))
					return true;
				if (path_length == path_room) {
					path_room =
					    path_room ? path_room * 2 : 1024;
					path = realloc(
					    path, path_room * sizeof(*path));
				}
				path[path_length].count = n;
				path[path_length].at = 0;
				memcpy(path[path_length].list, list,
				    n * sizeof(*list));
				path_length++;
				result->points++;
			}
			chosen = path[depth].list[path[depth].at];
			depth++;
		}
		if (chosen.kind == STEP) {
			if (last < scenario->threads && chosen.thread != last &&
			    runnable(last))
				preemptions++;
			last = chosen.thread;
		}
		apply(chosen);
		if (failed)
			return false;
	}
	if (schedule_length / 2 > result->longest)
		result->longest = (uint32_t)(schedule_length / 2);
	if (tracing)
		printf("       all have come to their end\n");
	if (!seen_before(XP_JUDGE + 1, 0))
		result->ends++;
	checking = true;
	if (scenario->check)
		scenario->check();
	return true;
}

static bool execute(const char *replay)
{
	return guarded(execute_on, replay);
}

/* The next path; false: there is none. */
static bool next_path(void)
{
	while (path_length) {
		struct node *n = &path[path_length - 1];

		if (++n->at < n->count)
			return true;
		path_length--;
	}
	return false;
}

static void name_words(void)
{
	const struct lshmi_header *h = (void *)ARENA;

	xp_name(&h->size, 8, 8, "size");
	xp_name(&h->directory_lock, 8, 8, "directory_lock");
	xp_name(&h->heap_lock, 8, 8, "heap_lock");
	xp_name(&h->heap_rover, 8, 8, "heap_rover");
	xp_name(&h->orphans, 8, 8, "orphans");
	xp_name(&h->death_count, 8, 8, "death_count");
	xp_name(h->deaths, sizeof(h->deaths), sizeof(h->deaths[0]), "death");
	xp_name(ARENA + h->participants_off,
	    h->max_participants * sizeof(struct lshmi_slot),
	    sizeof(struct lshmi_slot), "slot");
	xp_name(ARENA + h->lanes_off,
	    h->max_lanes * sizeof(struct lshmi_lane_rec),
	    sizeof(struct lshmi_lane_rec), "lane");
	xp_name(ARENA + h->pagemap_off, (h->max_size >> LSHMI_PAGE_SHIFT) * 8,
	    8, "page");
}

static bool prepare(const char *unused)
{
	scenario->setup();
	xp_as(XP_JUDGE);
	name_words();
	protect_arena();
	return true;
}

void xp_explore(struct xp_result *r, const struct xp_scenario *s,
    const struct xp_bounds *b, const struct xp_seed *broken, const char *replay,
    bool show)
{
	struct timespec from, to;

	memset(r, 0, sizeof(*r));
	result = r;
	scenario = s;
	bounds = b;
	make_arena();
	seen_forget();
	xp_self = XP_JUDGE;
	if (!guarded(prepare, NULL)) {
		r->failed = true;
		return;
	}
	seed = broken;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
	do {
		r->executions++;
		if (!execute(NULL)) {
			r->failed = true;
			break;
		}
		if (grown) {
			r->words = share();
			path_length = 0;
			r->executions = r->points = r->ends = 0;
			seen_forget();
			continue;
		}
	} while (path_length == 0 ? r->executions == 0 : next_path());
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
	r->states = seen_count - r->ends;
	if (r->failed && !replay)
		replay = strdup(made_schedule ? made_schedule : "");
	r->schedule = replay;
	if (replay && show) {
		tracing = true;
		r->failed = !execute(replay);
	}
	r->seconds = (double)(to.tv_sec - from.tv_sec) +
		     (double)(to.tv_nsec - from.tv_nsec) / 1e9;
}
