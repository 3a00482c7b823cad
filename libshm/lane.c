/* SPDX-License-Identifier: MIT */
/*
 * lane.c - threads as owners of slabs and holders of locks
 *
 * A thread takes a lane when it first needs one and gives it back to its
 * process when it ends, for the next thread to use; to the region it goes back
 * when the process leaves or dies. A lane's word: owner's slot + 1 in 16 bits,
 * 0 free | generation. It is taken by a compare-and-swap that raises the
 * generation, and given back by a store of the owner's reaper (or the owner
 * itself, leaving), after everything marked with it has been swept.
 *
 * Intents. lshmi_change() gives a field another value, by which shared data
 * comes to refer to some blocks and ceases to refer to others. It notes in its
 * lane what it is about to do:
 *
 *   intent := PENDING(n), naming field, value, blocks to take and to give
 *   blocks to give: attached -> held by the lane
 *   field := value
 *   blocks to take: held by the lane -> attached
 *   intent := IDLE(n)
 *
 * After a death at any point one question decides: does the field hold the
 * value? Then the blocks to take are attached and those to give are drafts; if
 * not, the other way round. The field cannot change before the question is
 * answered, since it is protected by a lock the dead one held: whoever takes
 * that lock over asks first, and records the answer by a compare-and-swap on
 * the intent. Who cannot see the field cannot have the lock. Only the dead
 * one's reaper applies the answer: of the blocks held by the dead lane those
 * that it says become attached, the rest is swept as drafts. Each step may be
 * done again.
 */
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

#define NO_SERIAL UINT64_MAX

__thread struct lshmi_lane_cache lshmi_lane_cache = {.serial = NO_SERIAL};

/* What a thread has, to be given back when it ends. */
struct holding {
	pid_t pid; /* of a fork's parent: left alone, for its lane is lost */
	uint64_t serial;
	struct lshmi_lane *lane;
	SLIST_ENTRY(holding) link;
};

SLIST_HEAD(holdings, holding);

static pthread_key_t key;
static bool key_made;

/* A thread may outlive many regions. */
static void forget_closed(struct holdings *list)
{
	struct holding *h, *next;

	lshmi_process_lock();
	for (h = SLIST_FIRST(list); h; h = next) {
		next = SLIST_NEXT(h, link);
		if (h->pid != getpid() || lshmi_region_find(h->serial))
			continue;
		SLIST_REMOVE(list, h, holding, link);
		free(h);
	}
	lshmi_process_unlock();
}

static void thread_ended(void *arg)
{
	struct holdings *list = arg;
	struct holding *h;

	while ((h = SLIST_FIRST(list))) {
		struct lshm_region *r;

		lshmi_process_lock();
		r = lshmi_region_find(h->serial);
		if (r) {
			lshmi_slabs_trim(h->lane); /* nobody will soon */
			pthread_mutex_lock(&r->mutex);
			SLIST_INSERT_HEAD(&r->lanes_idle, h->lane, idle);
			pthread_mutex_unlock(&r->mutex);
		}
		lshmi_process_unlock();
		SLIST_REMOVE_HEAD(list, link);
		free(h);
	}
	free(list);
	lshmi_lane_cache.serial = NO_SERIAL;
}

static void make_key(void)
{
	key_made = pthread_key_create(&key, thread_ended) == 0;
}

/* Take a lane that nobody has; its number, or -1. */
static int claim(struct lshm_region *r)
{
	uint32_t n = r->max_lanes, at = r->slot * (n / r->max_participants);

	for (uint32_t i = 0; i < n; i++) {
		uint32_t lane = (at + i) % n;
		uint64_t w = lshmi_load_relaxed(&r->lanes[lane].word);
		uint32_t gen = (uint32_t)(w >> 16) + 1;

		if ((w & 0xffff) == 0 &&
		    lshmi_cas(&r->lanes[lane].word, w,
			(uint64_t)gen << 16 | (r->slot + 1)))
			return (int)lane;
	}
	return -1;
}

static struct lshmi_lane *new_lane(struct lshm_region *r)
{
	struct lshmi_lane *l;
	uint64_t gen;
	int n;

	/* The classes are a cache line each. */
	l = aligned_alloc(alignof(struct lshmi_lane), sizeof(*l));
	if (!l) {
		lshmi_fail(ENOMEM, "this process is out of memory");
		return NULL;
	}
	memset(l, 0, sizeof(*l));
	lshmi_fetch_or(&r->slots[r->slot].needs, LSHMI_NEEDS_LANES);
	n = claim(r);
	if (n < 0) {
		free(l);
		lshmi_fail(EUSERS,
		    "all %u lanes are taken: too many threads of the "
		    "participants use the region (4 for each participant)",
		    r->max_lanes);
		return NULL;
	}
	l->region = r;
	l->rec = &r->lanes[n];
	l->mark = (uint16_t)(LSHMI_HOLDER_LANE + n);
	gen = (uint32_t)(lshmi_load_relaxed(&l->rec->word) >> 16);
	l->lockword = gen << 17 | (uint64_t)(n + 1) << 1;
	lshmi_heap_lane_init(l);
	return l;
}

struct lshmi_lane *lshmi_lane_slow(struct lshm_region *r)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct holdings *list;
	struct holding *h;

	if (lshmi_enter(r) < 0)
		return NULL;
	pthread_once(&once, make_key);
	list = key_made ? pthread_getspecific(key) : NULL;
	if (!list) {
		list = calloc(1, sizeof(*list));
		if (!list || !key_made || pthread_setspecific(key, list) != 0) {
			free(list);
			lshmi_fail(ENOMEM, "this process is out of memory");
			return NULL;
		}
	}
	SLIST_FOREACH(h, list, link)
		if (h->serial == r->serial)
			goto out;
	forget_closed(list);
	h = calloc(1, sizeof(*h));
	if (!h) {
		lshmi_fail(ENOMEM, "this process is out of memory");
		return NULL;
	}
	do { /* the dead may have lanes to spare */
		pthread_mutex_lock(&r->mutex);
		h->lane = SLIST_FIRST(&r->lanes_idle);
		if (h->lane)
			SLIST_REMOVE_HEAD(&r->lanes_idle, idle);
		else if ((h->lane = new_lane(r)))
			SLIST_INSERT_HEAD(&r->lanes_all, h->lane, all);
		pthread_mutex_unlock(&r->mutex);
	} while (!h->lane && lshm_region_reap(r) > 0);
	if (!h->lane) {
		free(h);
		return NULL;
	}
	h->pid = getpid();
	h->serial = r->serial;
	SLIST_INSERT_HEAD(list, h, link);
out:
	lshmi_lane_cache.serial = r->serial;
	lshmi_lane_cache.lane = h->lane;
	return h->lane;
}

/* The region is being closed: this process's side of its lanes ends. */
void lshmi_lane_forget(struct lshm_region *r)
{
	struct lshmi_lane *l;

	while ((l = SLIST_FIRST(&r->lanes_all))) {
		SLIST_REMOVE_HEAD(&r->lanes_all, all);
		lshmi_heap_lane_fini(l);
		free(l);
	}
}

/* Does no living participant have this lane? */
bool lshmi_lane_gone(struct lshm_region *r, uint32_t lane)
{
	uint32_t slot;
	uint64_t s;

	if (lane >= r->max_lanes)
		return true; /* there is no such lane */
	slot = (uint32_t)(lshmi_load_seq(&r->lanes[lane].word) & 0xffff) - 1;
	if (slot >= r->max_participants)
		return true; /* swept */
	s = lshmi_load_seq(&r->slots[slot].word);
	return lshmi_participant_dead(r, slot, (uint32_t)(s >> 32));
}

bool lshmi_lane_dead(struct lshm_region *r, uint64_t lockword)
{
	uint32_t lane = (uint32_t)((lockword >> 1) & 0xffff) - 1;
	uint32_t gen = (uint32_t)(lockword >> 17);

	/* Another generation: swept, and used anew. */
	return lane >= r->max_lanes ||
	       (uint32_t)(lshmi_load_seq(&r->lanes[lane].word) >> 16) != gen ||
	       lshmi_lane_gone(r, lane);
}

/* The owner of a lock was found dead: reap its participant, if need be. */
void lshmi_lane_reap(struct lshm_region *r, uint64_t lockword)
{
	uint32_t lane = (uint32_t)((lockword >> 1) & 0xffff) - 1, slot;

	if (lane >= r->max_lanes)
		return;
	slot =
	    (uint32_t)(lshmi_load_relaxed(&r->lanes[lane].word) & 0xffff) - 1;
	if (slot < r->max_participants)
		lshmi_reap(r, slot);
}

/* A word of an intent, if the intent says that it is one of its words. */
static uint64_t meant(uint64_t intent, uint64_t flag, lshmi_u64 *word)
{
	return intent & flag ? lshmi_load_relaxed(word) : 0;
}

/*
 * Did the pending replacement of a dead lane happen? Recorded once. The lane
 * may have been swept and be somebody else's by now: the intent is the dead
 * one's only if the lane still has its generation after the intent was read.
 *
 * A field that lies nowhere in the region was damaged, and counts as one that
 * does not hold the value. A field that this process cannot map says nothing:
 * then somebody else decides, or this one later.
 */
int lshmi_lane_decide(struct lshm_region *r, uint32_t lane, uint32_t gen)
{
	struct lshmi_lane_rec *rec = &r->lanes[lane];
	uint64_t w = lshmi_load_seq(&rec->intent);
	uint64_t *field, off, value;
	int ret;

	if ((w & LSHMI_INTENT_STATE) != LSHMI_INTENT_PENDING ||
	    (uint32_t)(lshmi_load_seq(&rec->word) >> 16) != gen)
		return 0;
	off = lshmi_load_relaxed(&rec->intent_field);
	if (off >= lshmi_load_relaxed(&r->size)) {
		ret = lshmi_refresh(r);
		if (ret < 0)
			return ret;
	}
	field = off % 8 == 0 ? lshmi_at(r, off, 8) : NULL;
	value = w & LSHMI_INTENT_MORE
		    ? lshmi_load_relaxed(&rec->intent_value)
		    : meant(w, LSHMI_INTENT_TAKES, &rec->intent_take);
	lshmi_cas(&rec->intent, w,
	    (w & ~(uint64_t)LSHMI_INTENT_STATE) |
		(field && lshmi_load_acquire(field) == value
			? LSHMI_INTENT_DONE
			: LSHMI_INTENT_UNDONE));
	return 0;
}

/* By the lane's one reaper only. */
void lshmi_lane_apply(struct lshm_region *r, uint32_t lane)
{
	struct lshmi_lane_rec *rec = &r->lanes[lane];
	uint64_t w = lshmi_load_seq(&rec->intent), blocks[2];

	switch (w & LSHMI_INTENT_STATE) {
	case LSHMI_INTENT_IDLE:
		return;
	case LSHMI_INTENT_DONE:
		blocks[0] = meant(w, LSHMI_INTENT_TAKES, &rec->intent_take);
		blocks[1] = meant(w, LSHMI_INTENT_MORE, &rec->intent_take_too);
		break;
	default:
		blocks[0] = meant(w, LSHMI_INTENT_GIVES, &rec->intent_give);
		blocks[1] = meant(w, LSHMI_INTENT_MORE, &rec->intent_give_too);
	}
	for (int i = 0; i < 2; i++)
		if (blocks[i])
			lshmi_holder_cas(r, blocks[i],
			    (uint16_t)(LSHMI_HOLDER_LANE + lane),
			    LSHMI_HOLDER_ATTACHED);
	lshmi_store_release(&rec->intent, w & -(uint64_t)LSHMI_INTENT_STEP);
}

int lshmi_lane_draft(
    struct lshm_region *r, struct lshmi_lane *lane, const void *block)
{
	uint64_t off = (uint64_t)((const char *)block - r->base);
	uint16_t mark = LSHMI_HOLDER_LANE;

	if (lshmi_holder_cas(r, off, lane->mark, lane->mark))
		return 0;
	if (lshm_usable_size(r, block) == 0)
		return lshmi_fail(
		    EINVAL, "this is no block of the region's heap");
	/* Another thread's? All lanes of a process are swept together. */
	for (uint32_t i = 0; i < r->max_lanes; i++, mark++)
		if ((lshmi_load_relaxed(&r->lanes[i].word) & 0xffff) ==
			r->slot + 1 &&
		    lshmi_holder_cas(r, off, mark, lane->mark))
			return 0;
	return lshmi_fail(EPERM,
	    "this block is not a draft of the caller's: it is attached, or "
	    "another process's");
}
