/* SPDX-License-Identifier: MIT */
/*
 * internal.h - what the library's files share in this process's own memory
 */
#ifndef LSHMI_INTERNAL_H
#define LSHMI_INTERNAL_H

#include <bsd/sys/queue.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <libshm/libshm.h>

#include "atomic.h"
#include "backend.h"
#include "layout.h"

#define LSHMI_CLASSES 48
#define LSHMI_SMALL   4096 /* sizes whose class is looked up */
#define LSHMI_TRIES   4096 /* pages whose slab is looked up */
#define LSHMI_OTHERS  64   /* pages the like, of other lanes' slabs */

/* A block of a lane's slab, as the lane knows it. */
struct lshmi_spot {
	char *block;
	uint16_t *word;
};

/*
 * A slab, as the lane knows it that owns it; @inverse and @shift are what
 * number_of() wants.
 */
struct lshmi_slab {
	char *first; /* block */
	uint64_t inverse;
	uint16_t *words;
	uint64_t count; /* of blocks */
	struct lshmi_class *class;
	uint16_t mark; /* the lane's */
	uint8_t shift;
	uint32_t head;	/* page */
	uint32_t index; /* in the class's list */
};

/*
 * What a lane has of a size class. What was freed last is handed out first.
 * Above the top lies what was handed out last; it is the lane's own still, or
 * no block.
 */
struct lshmi_class {
	struct lshmi_spot *top;	 /* what is handed out next; block NULL: none */
	struct lshmi_spot *full; /* no room behind that, but for no block */
	struct lshmi_spot *stack;  /* its bottom, with NULL for a block */
	uint32_t size;		   /* of a block */
	uint16_t mark;		   /* the lane's */
	struct lshmi_slab *slab;   /* words of this one are looked at next... */
	uint32_t next;		   /* ...from this group on... */
	uint32_t left;		   /* ...for so many groups */
	struct lshmi_slab *hint;   /* one that has a free block, or NULL */
	struct lshmi_slab **slabs; /* all of them */
	uint32_t count;
	uint32_t room;
	uint32_t turn; /* which is looked at next when others are full */
	uint64_t orphans_seen;
} __attribute__((aligned(64)));

/*
 * A slab that is another lane's: all that is known of it follows from its
 * head's entry, and holds as long as that is what it was.
 */
struct lshmi_other {
	struct lshmi_slab slab;
	uint64_t entry;
} __attribute__((aligned(64)));

/* This process's side of a lane: used by one thread at a time. */
struct lshmi_lane {
	struct lshmi_class classes[LSHMI_CLASSES];
	struct lshmi_other others[LSHMI_OTHERS]; /* by page, once seen */
	struct lshmi_class *small[LSHMI_SMALL / 16 + 1]; /* by size */
	struct lshmi_slab *tries[LSHMI_TRIES]; /* by page; maybe another's */
	struct lshmi_slab no_slab;
	struct lshmi_spot no_spots[2];
	struct lshm_region *region;
	struct lshmi_lane_rec *rec;
	uint64_t lockword; /* of its locks */
	uint32_t reads;	   /* rwlocks it holds for reading */
	uint16_t mark;	   /* of its blocks: LSHMI_HOLDER_LANE + its number */
	bool foreign;	   /* what its record says */
	SLIST_ENTRY(lshmi_lane) all;
	SLIST_ENTRY(lshmi_lane) idle;
};

/*
 * A handle. It lies on pages that fork() wipes: a child sees @serial 0. Who has
 * lost the memory, too.
 */
struct lshm_region {
	uint64_t serial;
	uint32_t lost; /* its memory was taken away: guard.c */
	char *base;
	uint64_t size; /* mapped and reserved: grows; see lshmi_refresh() */
	uint64_t max_size;
	struct lshmi_header *header;
	struct lshmi_slot *slots;
	struct lshmi_lane_rec *lanes;
	uint64_t *pagemap;
	uint64_t directory_off;
	uint64_t heap_off;
	uint64_t granule;
	uint32_t max_participants;
	uint32_t max_lanes;
	bool observer;
	unsigned int flags;
	uint32_t slot;
	uint32_t generation;
	bool membarrier; /* sleepers may rely on membarrier(2) */
	struct lshmi_store store;
	struct lshmi_desc *descs[LSHMI_DESC_SEGMENTS]; /* once looked up */
	pthread_mutex_t mutex; /* lists of lanes; mapping; not held for long */
	bool *dead; /* for a reaper: which lanes are the dead one's */
	pthread_mutex_t reaping; /* one reaper at a time in this process */
	uint64_t deaths; /* the backend's count, up to which all are reaped */
	SLIST_HEAD(, lshmi_lane) lanes_all;
	SLIST_HEAD(, lshmi_lane) lanes_idle;
	LIST_ENTRY(lshm_region) link;
};

/* error.c */
int lshmi_fail(int error, const char *format, ...)
    __attribute__((format(printf, 2, 3), cold));
/* The same with a sentence that is never written over: for polling loops. */
int lshmi_fail_with(int error, const char *sentence);
/*
 * Why this thread has just got NULL: what lshmi_fail() returned, but that to a
 * heap a full file system is a lack of memory.
 */
int lshmi_failed(void);
struct lshm_region;
int lshmi_fail_gone(const struct lshm_region *r) __attribute__((cold));
int lshmi_fail_observer(void) __attribute__((cold));

/* What every public call that needs a participant begins with. */
static inline int lshmi_enter(const struct lshm_region *r)
{
	if (__builtin_expect(r->serial == 0, 0))
		return lshmi_fail_gone(r);
	if (__builtin_expect(r->observer, 0))
		return lshmi_fail_observer();
	return 0;
}

/*
 * What gives something back may itself need memory of the kernel's. It cannot
 * be left undone: a slot would stay taken. So it is tried again, as often as
 * this.
 */
#define LSHMI_NOMEM_RETRIES 100
/* munmap(2) of a mapping, or of an end of one. */
void lshmi_unmap(void *p, uint64_t size);

/*
 * From here to the end of the block nothing is a point to cancel the thread at:
 * who holds a lock, or a descriptor, would leave it behind.
 */
#define LSHMI_UNCANCELLED                                               \
	__attribute__((cleanup(lshmi_cancel_as), unused)) int cancel_ = \
	    lshmi_cancel_off()

static inline int lshmi_cancel_off(void)
{
	int state;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
	return state;
}

static inline void lshmi_cancel_as(const int *state)
{
	pthread_setcancelstate(*state, NULL);
}

/* wait.c */
int64_t lshmi_now(void);
bool lshmi_membarrier_register(void);

/* guard.c */
int lshmi_guard_add(struct lshm_region *r);
void lshmi_guard_remove(const struct lshm_region *r);
void lshmi_guard_forked(void);

/* participant.c */
int lshmi_participant_attach(struct lshm_region *r);
void lshmi_participant_detach(struct lshm_region *r);
/* Is the participant that holds (slot, generation) gone? Asks the kernel. */
bool lshmi_participant_dead(
    struct lshm_region *r, uint32_t slot, uint32_t generation);
/* Is it marked as one who takes part? Looks at the table only. */
bool lshmi_participant_active(
    struct lshm_region *r, uint32_t slot, uint32_t generation);
/*
 * Reap one slot if its owner is dead: 1 reaped, 0 not; -EBUSY: another thread
 * reaps just now; other negative values: as lshmi_refresh().
 */
int lshmi_reap(struct lshm_region *r, uint32_t slot);
/* A sleep has ended because of @deaths: reap whoever is dead by now. */
void lshmi_reap_all(struct lshm_region *r, uint64_t deaths);

/* lane.c */
struct lshmi_lane *lshmi_lane_slow(struct lshm_region *r);
void lshmi_lane_forget(struct lshm_region *r);
bool lshmi_lane_gone(struct lshm_region *r, uint32_t lane);
bool lshmi_lane_dead(struct lshm_region *r, uint64_t lockword);
/* Negative: it cannot be seen here what the dead one has done. */
int lshmi_lane_decide(struct lshm_region *r, uint32_t lane, uint32_t gen);
void lshmi_lane_apply(struct lshm_region *r, uint32_t lane);
void lshmi_lane_reap(struct lshm_region *r, uint64_t lockword);
/* Is this a draft of the process's? Then it is one of this lane's from now. */
int lshmi_lane_draft(
    struct lshm_region *r, struct lshmi_lane *lane, const void *block);

struct lshmi_lane_cache {
	uint64_t serial; /* of the handle: no two of a process have the same */
	struct lshmi_lane *lane;
};
extern __thread struct lshmi_lane_cache lshmi_lane_cache
    __attribute__((tls_model("initial-exec"), visibility("hidden")));

/*
 * Is the cached lane the one for this handle? Then the handle is a
 * participant's and this process's own: a serial that is cached is not 0, as
 * that of a handle is which was wiped by fork().
 */
static inline bool lshmi_lane_cached(const struct lshm_region *r)
{
	return __builtin_expect(lshmi_lane_cache.serial == r->serial, 1);
}

/* The calling thread's lane; NULL: lshmi_failed() says why. */
static inline struct lshmi_lane *lshmi_lane(struct lshm_region *r)
{
	return lshmi_lane_cached(r) ? lshmi_lane_cache.lane
				    : lshmi_lane_slow(r);
}

/* region.c */
/* Held: no fork(), no change to the list of open handles. */
void lshmi_process_lock(void);
void lshmi_process_unlock(void);
/* An open handle by its serial, or NULL; with the process lock held. */
struct lshm_region *lshmi_region_find(uint64_t serial);
/*
 * Extend this process's view to the size the region has by now. Negative: what
 * there is cannot be mapped here. A size that cannot be true extends nothing.
 */
int lshmi_refresh(struct lshm_region *r);
int lshmi_grow(struct lshm_region *r, uint64_t size);

/* Like lshm_at(), for the library's own use. */
static inline void *lshmi_at(struct lshm_region *r, uint64_t off, uint64_t size)
{
	uint64_t have = lshmi_load_relaxed(&r->size);

	if (__builtin_expect(size > have || off > have - size, 0)) {
		if (lshmi_refresh(r) < 0)
			return NULL;
		have = lshmi_load_relaxed(&r->size);
		if (size > have || off > have - size)
			return NULL;
	}
	return off ? r->base + off : NULL;
}

/* Does what the user points to lie in the region, as it should? */
static inline int lshmi_check(
    struct lshm_region *r, const void *p, uint64_t size, const char *what)
{
	uint64_t off = (uint64_t)((const char *)p - r->base);

	if (off % 8 != 0 || !lshmi_at(r, off, size))
		return lshmi_fail(
		    EINVAL, "the %s does not lie in this region", what);
	return 0;
}

/* The same for what can only be a block of the heap, or a part of one. */
static inline void *lshmi_in_heap(
    struct lshm_region *r, uint64_t off, uint64_t size)
{
	return off >= r->heap_off && off % 8 == 0 ? lshmi_at(r, off, size)
						  : NULL;
}

/* mutex.c */
/* Is the lane the owner? Its own answer cannot change meanwhile. */
static inline bool lshmi_holds(
    const struct lshmi_lane *lane, const struct lshm_mutex *m)
{
	return (lshmi_load_relaxed(&m->word) & ~UINT64_C(1)) == lane->lockword;
}

int lshmi_lock(struct lshm_region *r, struct lshm_mutex *m, int64_t deadline);
void lshmi_unlock(struct lshm_region *r, struct lshm_mutex *m);
/*
 * If its owner is dead: free it, for whoever wants it. 1 that happened here, 0
 * not; negative: as lshmi_lane_decide().
 */
int lshmi_unlock_dead(struct lshm_region *r, struct lshm_mutex *m);
/* What calls begin with that a caller makes with a lock of his held. */
int lshmi_enter_held(
    struct lshm_region *r, struct lshm_mutex *m, struct lshmi_lane **lane);
/* The library's own locks: a holder that is stopped costs -EAGAIN. */
int lshmi_lock_own(
    struct lshm_region *r, struct lshm_mutex *m, const char *what);

/* waiters.c */
/*
 * Repeat @attempt until it returns something other than -EAGAIN, or until the
 * deadline, @why being the sentence for that: poll for a moment, then sleep.
 * @look: ask the kernel, too, whether those it waits for are alive.
 */
int lshmi_await(struct lshm_region *r, struct lshm_waiters *q, int64_t deadline,
    int (*attempt)(void *arg, bool look), void *arg, const char *why);
/* What they wait for has changed: wake up to @count who have gone to sleep. */
void lshmi_wake(struct lshm_region *r, struct lshm_waiters *q, int count);

/* heap.c */
void lshmi_heap_setup(void);
void lshmi_heap_format(struct lshm_region *r);
void lshmi_heap_grown(struct lshm_region *r, uint64_t from, uint64_t to);
void lshmi_heap_lane_init(struct lshmi_lane *lane);
void lshmi_heap_lane_fini(struct lshmi_lane *lane);
/* Give back the slabs of a lane in which nothing is left: how many. */
uint32_t lshmi_slabs_trim(struct lshmi_lane *lane);
/* Give back all that the lanes marked in @dead hold. */
void lshmi_heap_sweep(struct lshm_region *r, const bool *dead);
bool lshmi_holder_cas(
    struct lshm_region *r, uint64_t off, uint16_t from, uint16_t to);
/*
 * What becomes of blocks when a field changes: those to take, held by the lane,
 * become attached; those to give, attached, become held by it. 0: none.
 */
struct lshmi_change {
	uint64_t value; /* of the field */
	uint64_t take, take_too;
	uint64_t give, give_too;
};
/* Change a field that nobody else can change, atomically under death. */
int lshmi_change(struct lshm_region *r, struct lshmi_lane *lane,
    uint64_t *field, const struct lshmi_change *c);
/* The change by which the field names @block instead of what it names now. */
int lshmi_replace(struct lshm_region *r, struct lshmi_lane *lane,
    uint64_t *field, uint64_t block, uint64_t *old);

/* object.c */
/* lshm_object_next(), for a reaper too, whose handle is not open yet. */
int lshmi_object_next(struct lshm_region *r, uint64_t *cursor,
    struct lshm_object_info *info, uint64_t *version);
/* Has the object that lshmi_object_next() told of never been gone since? */
bool lshmi_object_stays(struct lshm_region *r, uint64_t cursor,
    const struct lshm_object_info *info, uint64_t version);
int lshmi_object_make(struct lshm_region *r, const char *name, const char *type,
    uint64_t size, int (*init)(void *, void *), void *arg, void **out);
int lshmi_object_drop(
    struct lshm_region *r, const char *name, const char *type, void **block);

/* channel.c */
void lshmi_channel_sweep(struct lshm_region *r, uint32_t slot, uint16_t mark);

#endif
