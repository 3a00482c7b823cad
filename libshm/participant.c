/* SPDX-License-Identifier: MIT */
/*
 * participant.c - the table of those who take part, and reaping the dead
 *
 * A slot's word: state 2 | reaper's slot 12 | reaper's generation 18 |
 * generation 32. Who writes it:
 *
 *   FREE(g) -> ACTIVE(g)        the newcomer, who holds the slot's lock by then
 *   ACTIVE(g) -> REAPING(g, r)  whoever has proof that its owner is dead, or
 *                               the owner itself when it leaves
 *   REAPING(g, r) -> REAPING(g, q)  q, who has proof that r is dead or gone
 *   REAPING(g, r) -> FREE(g+1)  r, when all is swept
 *
 * each by a compare-and-swap on the very word that was read before the proof,
 * so that a slot used anew meanwhile makes it fail. Leaving ACTIVE makes the
 * death visible to everybody at once: a slot that is not ACTIVE counts as
 * absent from every set, and nobody waits for the sweep. The sweep is done by
 * the one reaper the word names; every step of it may be done twice, so it can
 * be begun again by the next reaper. A newcomer who finds the table full of the
 * dead locks a dead one's byte (which is the proof), names the slot itself as
 * its reaper, sweeps, and moves in.
 */
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <bsd/string.h>

#include "internal.h"

#define GEN18  UINT32_C(0x3ffff)
#define NOBODY UINT32_C(0xfff) /* a reaper's slot that there never is */

#define MOVE_IN_LIMIT INT64_C(1000000000) /* ns */

static uint32_t word_state(uint64_t w)
{
	return w & 3;
}

static uint32_t word_by(uint64_t w)
{
	return (w >> 2) & 0xfff;
}

static uint32_t word_by_gen(uint64_t w)
{
	return (w >> 14) & GEN18;
}

static uint32_t word_gen(uint64_t w)
{
	return (uint32_t)(w >> 32);
}

static uint64_t make_word(
    uint32_t state, uint32_t gen, uint32_t by, uint32_t by_gen)
{
	return state | (uint64_t)by << 2 | (uint64_t)(by_gen & GEN18) << 14 |
	       (uint64_t)gen << 32;
}

static uint64_t pid_namespace(void)
{
	struct stat st;

	return stat("/proc/self/ns/pid", &st) == 0 ? (uint64_t)st.st_ino : 0;
}

static uint64_t real_time(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/*
 * The second proof, for the windows of vfork and of attaching, in which a child
 * shares the memory or the description that holds the lock: the process is
 * gone, or is a zombie. It can only prove death; a reused pid reads as alive.
 */
static bool process_gone(const struct lshmi_slot *slot)
{
	uint64_t ns = lshmi_load_relaxed(&slot->pid_namespace);
	struct pollfd p = {.events = POLLIN};
	bool gone;
	LSHMI_UNCANCELLED;

	if (ns == 0 || ns != pid_namespace())
		return false;
	p.fd = (int)syscall(
	    SYS_pidfd_open, (pid_t)lshmi_load_relaxed(&slot->pid), 0);
	if (p.fd < 0)
		return errno == ESRCH;
	gone = poll(&p, 1, 0) == 1 && (p.revents & POLLIN);
	close(p.fd);
	return gone;
}

/* Is there proof that nobody lives at this slot? Never asked of one's own. */
static bool slot_gone(struct lshm_region *r, uint32_t slot)
{
	int own = r->observer ? -1 : (int)r->slot;

	if (r->store.backend->alive(&r->store, slot, own) == LSHMI_DEAD)
		return true;
	return process_gone(&r->slots[slot]);
}

bool lshmi_participant_active(
    struct lshm_region *r, uint32_t slot, uint32_t generation)
{
	uint64_t w;

	if (slot >= r->max_participants)
		return false;
	w = lshmi_load_seq(&r->slots[slot].word);
	return word_state(w) == LSHMI_SLOT_ACTIVE && word_gen(w) == generation;
}

bool lshmi_participant_dead(
    struct lshm_region *r, uint32_t slot, uint32_t generation)
{
	if (!lshmi_participant_active(r, slot, generation))
		return true;
	if (!r->observer && slot == r->slot)
		return false;
	return slot_gone(r, slot);
}

static void log_death(struct lshm_region *r, uint32_t slot, uint32_t gen)
{
	struct lshmi_header *h = r->header;
	const struct lshmi_slot *s = &r->slots[slot];
	struct lshmi_death *d;
	uint64_t n;

	for (n = 0; n < LSHMI_DEATHS; n++) {
		d = &h->deaths[n];
		if (lshmi_load_acquire(&d->stamp) && d->slot == slot &&
		    d->generation == gen)
			return; /* by another reaper, who died, too */
	}
	n = lshmi_fetch_add(&h->death_count, 1);
	d = &h->deaths[n % LSHMI_DEATHS];
	lshmi_store_seq(&d->stamp, 0);
	d->time_ns = real_time();
	d->pid = s->pid;
	d->uid = s->uid;
	d->slot = slot;
	d->generation = gen;
	memcpy(d->command, s->command, sizeof(d->command));
	d->command[sizeof(d->command) - 1] = '\0';
	lshmi_store_release(&d->stamp, n + 1);
}

/*
 * Take everything back that a slot held. The order: decide what its lanes had
 * begun, free its ends and messages, free its blocks, orphan its slabs; its
 * lanes come last, because their numbers are what all the rest is marked with.
 */
static void sweep(struct lshm_region *r, uint32_t slot)
{
	uint16_t mark = 0;

	for (uint32_t i = 0; i < r->max_lanes; i++) {
		uint64_t w = lshmi_load_acquire(&r->lanes[i].word);

		r->dead[i] = (w & 0xffff) == slot + 1;
		if (!r->dead[i])
			continue;
		mark = (uint16_t)(LSHMI_HOLDER_LANE + i);
		lshmi_lane_decide(r, i, (uint32_t)(w >> 16));
		lshmi_lane_apply(r, i);
	}
	if (r->slots[slot].needs & LSHMI_NEEDS_CHANNELS)
		lshmi_channel_sweep(r, slot, mark);
	lshmi_heap_sweep(r, r->dead);
	for (uint32_t i = 0; i < r->max_lanes; i++) {
		uint64_t w = lshmi_load_relaxed(&r->lanes[i].word);

		if (!r->dead[i])
			continue;
		lshmi_store_relaxed(&r->lanes[i].foreign, 0);
		lshmi_store_release(&r->lanes[i].word, w & ~UINT64_C(0xffff));
	}
}

/* Is the reaper that a REAPING word names still at it? */
static bool reaper_alive(struct lshm_region *r, uint32_t slot, uint64_t w)
{
	uint32_t by = word_by(w);
	uint64_t other;

	/* It works from the slot's own lock; the pid is the dead one's. */
	if (by == slot)
		return by == r->slot || r->store.backend->alive(&r->store, slot,
					    (int)r->slot) != LSHMI_DEAD;
	if (by >= r->max_participants)
		return false;
	other = lshmi_load_seq(&r->slots[by].word);
	if (word_state(other) != LSHMI_SLOT_ACTIVE ||
	    (word_gen(other) & GEN18) != word_by_gen(w))
		return false;
	return !lshmi_participant_dead(r, by, word_gen(other));
}

int lshmi_reap(struct lshm_region *r, uint32_t slot)
{
	uint64_t w = lshmi_load_seq(&r->slots[slot].word), mine;
	bool gone;
	int ret = 0;

	if (r->observer || slot == r->slot)
		return 0;
	switch (word_state(w)) {
	case LSHMI_SLOT_ACTIVE:
		gone = slot_gone(r, slot);
		break;
	case LSHMI_SLOT_REAPING:
		gone = !reaper_alive(r, slot, w);
		break;
	default:
		return 0;
	}
	if (!gone)
		return 0;
	/* What cannot be seen cannot be swept: somebody else does it. */
	ret = lshmi_refresh(r);
	if (ret < 0)
		return ret;
	/* Two threads of a process would both be the reaper it names. */
	if (pthread_mutex_trylock(&r->reaping) != 0)
		return -EBUSY;
	mine =
	    make_word(LSHMI_SLOT_REAPING, word_gen(w), r->slot, r->generation);
	if (r->slots[slot].needs & ~LSHMI_NEEDS_KNOWN) {
		/* It held what only a newer library knows: marked as reaped by
		 * nobody, it is left to that one. */
		lshmi_cas(&r->slots[slot].word, w,
		    make_word(LSHMI_SLOT_REAPING, word_gen(w), NOBODY, 0));
	} else if (lshmi_cas(&r->slots[slot].word, w, mine)) {
		sweep(r, slot);
		log_death(r, slot, word_gen(w));
		ret = lshmi_cas(&r->slots[slot].word, mine,
		    make_word(LSHMI_SLOT_FREE, word_gen(w) + 1, 0, 0));
	}
	pthread_mutex_unlock(&r->reaping);
	return ret;
}

static void describe_self(struct lshm_region *r, struct lshmi_slot *s)
{
	char name[16] = "";

	prctl(PR_GET_NAME, name);
	s->needs = 0;
	s->base = (uint64_t)(uintptr_t)r->base;
	s->attached_ns = real_time();
	s->pid_namespace = pid_namespace();
	s->pid = (uint32_t)getpid();
	s->uid = (uint32_t)geteuid();
	memset(s->command, 0, sizeof(s->command));
	strlcpy(s->command, name, sizeof(s->command));
}

/*
 * The slot's lock is ours. Move in, over its dead owner if need be: 1 done, 0
 * not; negative: as lshmi_refresh().
 */
static int move_in(struct lshm_region *r, uint32_t slot)
{
	struct lshmi_slot *s = &r->slots[slot];
	uint64_t w = lshmi_load_seq(&s->word), mine;
	uint32_t gen = word_gen(w);
	int ret;

	r->slot = slot;
	if (word_state(w) == LSHMI_SLOT_FREE) {
		describe_self(r, s);
		r->generation = gen;
		return lshmi_cas(
		    &s->word, w, make_word(LSHMI_SLOT_ACTIVE, gen, 0, 0));
	}
	if (s->needs & ~LSHMI_NEEDS_KNOWN)
		return 0;
	if (word_state(w) == LSHMI_SLOT_REAPING && word_by(w) != slot &&
	    reaper_alive(r, slot, w))
		return 0;
	ret = lshmi_refresh(r);
	if (ret < 0)
		return ret;
	r->generation = gen + 1;
	mine = make_word(LSHMI_SLOT_REAPING, gen, slot, gen + 1);
	if (!lshmi_cas(&s->word, w, mine))
		return 0;
	sweep(r, slot);
	log_death(r, slot, gen);
	describe_self(r, s);
	return lshmi_cas(
	    &s->word, mine, make_word(LSHMI_SLOT_ACTIVE, gen + 1, 0, 0));
}

/*
 * Find a slot and move in: 1 done; 0 every slot is a living process's;
 * -EAGAIN some slot is passing from one to another just now.
 */
static int find_slot(struct lshm_region *r)
{
	int found = 0, ret;

	/* A free slot if there is one, else one whose owner is dead. */
	for (int pass = 0; pass < 2; pass++) {
		for (uint32_t i = 0; i < r->max_participants; i++) {
			uint64_t w = lshmi_load_acquire(&r->slots[i].word);

			if (pass == 0 && word_state(w) != LSHMI_SLOT_FREE)
				continue;
			ret = r->store.backend->claim(&r->store, i);
			if (ret == -EAGAIN) {
				/* Locked: by its owner, or by a newcomer? */
				if (word_state(w) != LSHMI_SLOT_ACTIVE ||
				    process_gone(&r->slots[i]))
					found = -EAGAIN;
				continue;
			}
			if (ret < 0)
				return ret;
			ret = move_in(r, i);
			if (ret > 0)
				return 1;
			r->store.backend->release(&r->store);
			if (ret < 0)
				return ret;
			found = -EAGAIN;
		}
	}
	return found;
}

int lshmi_participant_attach(struct lshm_region *r)
{
	int64_t until = lshmi_now() + MOVE_IN_LIMIT;
	int ret;

	/* Others may be moving in and out; a stopped one holds up nobody. */
	while ((ret = find_slot(r)) == -EAGAIN && lshmi_now() < until)
		usleep(1000);
	if (ret == 0 || ret == -EAGAIN)
		return lshmi_fail(EUSERS,
		    "all %u participant slots are taken by living processes: "
		    "create the region with more (max_participants)",
		    r->max_participants);
	if (ret < 0)
		return ret;
	for (uint32_t i = 0; i < r->max_participants; i++)
		lshmi_reap(r, i);
	return 0;
}

/* Leaving is one's own death, announced: the same sweep. */
void lshmi_participant_detach(struct lshm_region *r)
{
	struct lshmi_slot *s = &r->slots[r->slot];

	pthread_mutex_lock(&r->reaping);
	lshmi_store_seq(&s->word, make_word(LSHMI_SLOT_REAPING, r->generation,
				      r->slot, r->generation));
	sweep(r, r->slot);
	lshmi_store_seq(
	    &s->word, make_word(LSHMI_SLOT_FREE, r->generation + 1, 0, 0));
	pthread_mutex_unlock(&r->reaping);
	r->store.backend->release(&r->store);
}

int lshm_region_reap(struct lshm_region *region)
{
	int ret = lshmi_enter(region), count = 0, failed = 0;

	if (ret < 0)
		return ret;
	for (uint32_t i = 0; i < region->max_participants; i++) {
		ret = lshmi_reap(region, i);
		if (ret > 0)
			count++;
		else if (ret != -EBUSY && ret < 0)
			failed = ret;
	}
	return count ? count : failed;
}

void lshmi_reap_all(struct lshm_region *r, uint64_t deaths)
{
	bool all = true;

	for (uint32_t i = 0; i < r->max_participants; i++)
		all &= lshmi_reap(r, i) != -EBUSY;
	if (all)
		lshmi_store_relaxed(&r->deaths, deaths);
}

int lshm_region_revoke(struct lshm_region *region, uint32_t slot)
{
	int ret = lshmi_enter(region);

	if (ret < 0)
		return ret;
	if (slot >= region->max_participants || slot == region->slot)
		return lshmi_fail(EINVAL,
		    "slot %u: expected another one's, 0 to %u", slot,
		    region->max_participants - 1);
	if (!region->store.backend->revoke)
		return lshmi_fail(ENOTSUP,
		    "the %s backend cannot take memory away: use kernel",
		    region->store.backend->name);
	ret = region->store.backend->revoke(&region->store, slot);
	if (ret == 0)
		lshmi_reap(region, slot);
	return ret;
}

int lshm_region_participant(struct lshm_region *region, uint32_t slot,
    struct lshm_participant_info *info)
{
	const struct lshmi_slot *s;
	uint64_t w;

	if (region->serial == 0)
		return lshmi_fail_gone(region);
	if (slot >= region->max_participants)
		return lshmi_fail(EINVAL,
		    "slot %u: the region has slots 0 to %u", slot,
		    region->max_participants - 1);
	s = &region->slots[slot];
	w = lshmi_load_acquire(&s->word);
	memset(info, 0, sizeof(*info));
	info->slot = slot;
	info->generation = word_gen(w);
	if (word_state(w) == LSHMI_SLOT_FREE)
		return 0;
	info->self = !region->observer && slot == region->slot;
	info->pid = lshmi_load_relaxed(&s->pid);
	info->uid = lshmi_load_relaxed(&s->uid);
	info->base = lshmi_load_relaxed(&s->base);
	info->time_ns = lshmi_load_relaxed(&s->attached_ns);
	info->same_pid_namespace =
	    lshmi_load_relaxed(&s->pid_namespace) == pid_namespace();
	memcpy(info->command, s->command, sizeof(info->command));
	info->command[sizeof(info->command) - 1] = '\0';
	for (uint32_t i = 0; i < region->max_lanes; i++)
		info->lanes += (lshmi_load_relaxed(&region->lanes[i].word) &
				   0xffff) == slot + 1;
	if (word_state(w) == LSHMI_SLOT_REAPING)
		info->state = LSHM_PARTICIPANT_REAPING;
	else if (lshmi_participant_dead(region, slot, word_gen(w)))
		info->state = LSHM_PARTICIPANT_DEAD;
	else
		info->state = LSHM_PARTICIPANT_ALIVE;
	return 0;
}

int lshm_region_death(struct lshm_region *region, uint32_t back,
    struct lshm_participant_info *info)
{
	const struct lshmi_death *d;
	uint64_t count, stamp;

	if (region->serial == 0)
		return lshmi_fail_gone(region);
	count = lshmi_load_acquire(&region->header->death_count);
	if (back >= LSHMI_DEATHS || back >= count)
		return lshmi_fail(ENOENT, "there were not that many deaths");
	stamp = count - back;
	d = &region->header->deaths[(stamp - 1) % LSHMI_DEATHS];
	if (lshmi_load_acquire(&d->stamp) != stamp)
		return lshmi_fail(ENOENT, "that death is forgotten");
	memset(info, 0, sizeof(*info));
	info->state = LSHM_PARTICIPANT_REAPED;
	info->slot = d->slot;
	info->generation = d->generation;
	info->pid = d->pid;
	info->uid = d->uid;
	info->time_ns = d->time_ns;
	memcpy(info->command, d->command, sizeof(info->command));
	info->command[sizeof(info->command) - 1] = '\0';
	if (lshmi_load_acquire(&d->stamp) != stamp)
		return lshmi_fail(ENOENT, "that death is forgotten");
	return 0;
}
