/* SPDX-License-Identifier: MIT */
/*
 * attach.c - fields of shared data that refer to blocks
 *
 * What a field names is attached; a change of the field is a change of some
 * blocks' words, too, and a death in between must leave all of it, or nothing.
 * So the lane notes first what it is about to do: see "Intents" in lane.c.
 *
 * The fast way, for blocks of slabs that this lane owns, does no
 * read-modify-write. It loads the lock, the field, and the block's word; it
 * stores three words of the lane's record, which is a cache line of its own
 * (four, for a replacement), the block's word, the field, and the record's
 * first word again.
 */
#include "pages.h"

/* Become the holder of a block that is in use: see [W] and [S]. */
static bool hold(struct lshm_region *r, struct lshmi_lane *lane, uint64_t off)
{
	struct lshmi_where w;
	uint16_t holder;

	for (int i = 0; i < 8; i++) {
		if (!lshmi_locate(r, off, &w))
			return false;
		holder = holder_of(&w);
		if (holder == LSHMI_HOLDER_NONE)
			return false;
		if (w.word && entry_holder(w.entry) != lane->mark &&
		    !lane->foreign) {
			lane->foreign = true;
			lshmi_store_release(&lane->rec->foreign, 1);
		}
		if (holder == lane->mark)
			return true;
		if (holder == LSHMI_HOLDER_ATTACHED || ours(r, holder)) {
			lshmi_set_holder(r, &w, lane->mark);
			return true;
		}
		/* Marked with a dead lane whose reaper is still under way? */
		if (!lshmi_lane_gone(r, holder - LSHMI_HOLDER_LANE))
			continue; /* its lane is used anew: look again */
		if (lshmi_holder_cas(r, off, holder, lane->mark))
			return true;
	}
	return false;
}

/* A block that is held by this lane is referred to by shared data from now. */
static void attach(struct lshm_region *r, uint64_t off)
{
	struct lshmi_where w;

	if (off && lshmi_locate(r, off, &w))
		lshmi_set_holder(r, &w, LSHMI_HOLDER_ATTACHED);
}

#define INLINE static inline __attribute__((always_inline))

/*
 * First of all: what a death from here on leaves to be decided. Returns what
 * the intent is to be when all of it is done. Only this lane writes it, so that
 * the sequence goes on from what is there.
 */
INLINE uint64_t note_intent(struct lshmi_lane_rec *rec, uint64_t field,
    uint64_t take, uint64_t give, uint64_t flags)
{
	uint64_t idle = lshmi_load_relaxed(&rec->intent) + LSHMI_INTENT_STEP;

	lshmi_store_relaxed(&rec->intent_field, field);
	if (flags & LSHMI_INTENT_TAKES)
		lshmi_store_relaxed(&rec->intent_take, take);
	if (flags & LSHMI_INTENT_GIVES)
		lshmi_store_relaxed(&rec->intent_give, give);
	lshmi_store_release(&rec->intent, idle + flags + LSHMI_INTENT_PENDING);
	return idle;
}

int lshmi_change(struct lshm_region *r, struct lshmi_lane *lane,
    uint64_t *field, const struct lshmi_change *c)
{
	struct lshmi_lane_rec *rec = lane->rec;
	uint64_t lost = 0, idle;

	lshmi_store_relaxed(&rec->intent_value, c->value);
	lshmi_store_relaxed(&rec->intent_take_too, c->take_too);
	lshmi_store_relaxed(&rec->intent_give_too, c->give_too);
	idle = note_intent(rec, (uint64_t)((char *)field - r->base), c->take,
	    c->give,
	    LSHMI_INTENT_TAKES | LSHMI_INTENT_GIVES | LSHMI_INTENT_MORE);
	if (c->give && !hold(r, lane, c->give))
		lost = c->give;
	else if (c->give_too && !hold(r, lane, c->give_too))
		lost = c->give_too;
	if (!lost) {
		lshmi_store_release(field, c->value);
		attach(r, c->take);
		attach(r, c->take_too);
	} else if (lost != c->give) {
		attach(r, c->give);
	}
	lshmi_store_release(&rec->intent, idle);
	if (lost)
		return lshmi_fail(LSHM_ECORRUPT,
		    "%#llx is referred to, but is no block in use",
		    (unsigned long long)lost);
	return 0;
}

int lshmi_replace(struct lshm_region *r, struct lshmi_lane *lane,
    uint64_t *field, uint64_t block, uint64_t *old)
{
	uint64_t was = lshmi_load_acquire(field);
	int ret = lshmi_change(r, lane, field,
	    &(struct lshmi_change){.value = block, .take = block, .give = was});

	if (ret == 0 && old)
		*old = was;
	return ret;
}

/* What may be wrong with a replacement, or unusual about its block. */
static int check_replace(struct lshm_region *region,
    const struct lshm_mutex *mutex, lshm_off *field, void *block, void **old)
{
	uint64_t off = (uint64_t)((char *)block - region->base);
	struct lshmi_lane *lane;
	struct lshmi_where w;
	uint16_t holder;
	int ret = lshmi_enter(region);

	if (ret < 0)
		return ret;
	lane = lshmi_lane(region);
	if (!lane)
		return lshmi_failed();
	ret = lshmi_check(region, field, 8, "field");
	if (ret == 0)
		ret = lshmi_check(region, mutex, 8, "mutex");
	if (ret < 0)
		return ret;
	if (!lshmi_holds(lane, mutex))
		return lshmi_fail(EPERM,
		    "the caller must hold the lock that protects the field");
	if (!old && lshmi_load_relaxed(field) != 0)
		return lshmi_fail(EBUSY,
		    "the field refers to a block already: use lshm_replace()");
	if (!block)
		return 0;
	if (!lshmi_locate(region, off, &w))
		return lshmi_no_block("this is no block of the region's heap");
	holder = holder_of(&w);
	if (holder != lane->mark && !ours(region, holder))
		return lshmi_fail(
		    EPERM, "only a draft of the caller's can be attached");
	if (!hold(region, lane, off))
		return lshmi_no_block("this block is free");
	return 0;
}

/* Whatever is wrong with a replacement, or unusual about its blocks. */
static NOINLINE int replace_slow(struct lshm_region *region,
    struct lshm_mutex *mutex, lshm_off *field, void *block, void **old)
{
	uint64_t off = block ? (uint64_t)((char *)block - region->base) : 0,
		 was;
	int ret = check_replace(region, mutex, field, block, old);

	if (ret < 0)
		return ret;
	ret = lshmi_replace(region, lshmi_lane(region), field, off, &was);
	if (ret == 0 && old)
		*old = was ? region->base + was : NULL;
	return ret;
}

/*
 * The fast way: a block is taken, or given, or both, which are constants. A
 * lock that names this lane needs no question where it lies.
 */
INLINE int change(struct lshm_region *region, struct lshm_mutex *mutex,
    lshm_off *field, void *block, void **old, bool takes, bool gives)
{
	struct lshmi_lane *lane = lshmi_lane_cache.lane;
	char *base = region->base;
	uint64_t at = (uint64_t)((char *)field - base), off = 0, was, idle;
	uint16_t *take = NULL, *give = NULL;
	struct lshmi_lane_rec *rec;

	if (UNLIKELY(!lshmi_lane_cached(region) || at % 8 != 0 ||
		     at >= lshmi_load_relaxed(&region->size) ||
		     !lshmi_holds(lane, mutex)))
		return replace_slow(region, mutex, field, block, old);
	was = lshmi_load_acquire(field);
	if (UNLIKELY(gives ? !old : was != 0))
		return replace_slow(region, mutex, field, block, old);
	/* which may be anything: no pointer until it is found to be one */
	if (gives &&
	    UNLIKELY(!find(lane, (void *)((uintptr_t)base + (uintptr_t)was),
			 &give) ||
		     lshmi_load_relaxed(give) != LSHMI_HOLDER_ATTACHED))
		return replace_slow(region, mutex, field, block, old);
	if (takes && UNLIKELY(!find(lane, block, &take) ||
			      lshmi_load_relaxed(take) != lane->mark))
		return replace_slow(region, mutex, field, block, old);
	if (takes)
		off = (uint64_t)((char *)block - base);
	rec = lane->rec;
	idle = note_intent(rec, at, off, was,
	    (takes ? LSHMI_INTENT_TAKES : 0) |
		(gives ? LSHMI_INTENT_GIVES : 0));
	if (gives)
		lshmi_store_release(give, lane->mark);
	lshmi_store_release(field, off);
	if (takes)
		lshmi_store_release(take, LSHMI_HOLDER_ATTACHED);
	lshmi_store_release(&rec->intent, idle);
	if (gives)
		*old = base + was;
	return 0;
}

HOT int lshm_attach(struct lshm_region *region, struct lshm_mutex *mutex,
    lshm_off *field, void *block)
{
	return change(region, mutex, field, block, NULL, true, false);
}

HOT int lshm_detach(struct lshm_region *region, struct lshm_mutex *mutex,
    lshm_off *field, void **block)
{
	return change(region, mutex, field, NULL, block, false, true);
}

HOT int lshm_replace(struct lshm_region *region, struct lshm_mutex *mutex,
    lshm_off *field, void *block, void **old)
{
	return change(region, mutex, field, block, old, true, true);
}
