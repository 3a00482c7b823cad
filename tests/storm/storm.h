/* SPDX-License-Identifier: MIT */
/*
 * storm.h - what the parts of the storm share
 *
 *   storm.c        the controller: starts, kills, stops, watches
 *   worker.c       the life of a worker and of its threads
 *   patience.c     how long a call may block, and whether it did
 *   ops_heap.c     areas of operations: memory and names,
 *   ops_lock.c     locks and once,
 *   ops_sync.c     semaphores, events, conditions, barriers,
 *   ops_container.c  lists, vectors, maps,
 *   ops_channel.c  channels
 *   books.c        what must be there at the end, to the byte
 *
 * Another area is one more file with a struct area, one more
 * line in the table in worker.c, and one more number in enum area_id.
 */
#ifndef LIBSHM_STORM_H
#define LIBSHM_STORM_H

#include "../unit/unit.h"

#include <assert.h>
#include <inttypes.h>

#include "../../libshm/atomic.h"

#define WORKERS_MAX 32
#define THREADS	    3 /* most of one worker */
#define SEATS	    (WORKERS_MAX * THREADS)
#define LIVES	    (1 << 18) /* most workers ever started in a storm */
#define LOCKS	    64	      /* whose holder the ledger knows */
#define TRACKED	    2	      /* semaphores with tracked permits */
#define BARRIERS    2
#define STREAMS	    (1 << 18) /* of messages for work */
#define MESSAGES    1024      /* most of one stream */
#define ONCES	    2048
#define KINDS_MAX   64

/* ---- how long a call may block ---- */

/* What a call that blocks is allowed to wait for. */
enum patience {
	OWN,	/* locks of the library only: nobody's stop is an excuse */
	OTHERS, /* what others hold: they may be stopped */
	PATIENCES,
};

/* Time during which somebody was stopped; written by the controller. */
struct stopped {
	uint64_t version; /* odd: being written */
	int64_t before;	  /* ns, of the stops that are over */
	int64_t since;	  /* of the one that lasts, or 0 */
};

/* Time during which the machine did nothing for us; written by a process. */
struct pulse {
	uint64_t version; /* odd: being written */
	int64_t missed;	  /* ns, in all */
	int64_t last;	  /* when it last beat */
};

/* A thread of a worker, as the others and the controller see it. */
struct seat {
	uint64_t life; /* of its process; 0: nobody */
	/* the call it is in */
	uint64_t step; /* odd: in a call */
	int64_t since;
	int64_t until;	 /* from when on it is late */
	int64_t excused; /* of the stops, when it began */
	uint32_t patience;
	uint32_t kind;
	/* what it holds: noted after it has it, cleared before it gives up */
	uint64_t rwlock;	    /* life 40 | number 23 | writing 1 */
	uint64_t permits[TRACKED];  /* life 40 | version 16 | how many 8 */
	uint64_t member[BARRIERS];  /* when it joined; 0: no member */
	uint64_t arrived[BARRIERS]; /* the phase it has come to last */
} __attribute__((aligned(64)));

/*
 * The test's own memory, shared with the workers, outside the region: what must
 * be true whoever died.
 */
struct ledger {
	struct stopped stopped[WORKERS_MAX + 1]; /* the last: any of them */
	struct pulse pulse;
	uint32_t finish; /* survivors are to end */
	uint64_t joins;
	uint64_t streams;
	struct seat seats[SEATS];
	uint8_t dying[LIVES];  /* set before a worker is killed */
	uint64_t owner[LOCKS]; /* life of who is between lock and unlock */
	struct {
		uint64_t begun, running, done; /* lives, but for @begun */
	} once[ONCES];
	uint64_t once_next;
	struct {
		uint64_t begun, ended;
	} posts[2], takes[2]; /* [0] the plain semaphore, [1] the event */
	/* figures */
	uint64_t news; /* LSHM_OWNER_DIED, -EOWNERDEAD */
	uint64_t calls[KINDS_MAX];
	uint64_t longest[KINDS_MAX]; /* ns */
	/* work-sharing */
	uint32_t published[STREAMS]; /* messages that were accepted */
	uint8_t taken[STREAMS][MESSAGES / 8];
	uint8_t done[STREAMS][MESSAGES / 8]; /* about to be released */
};

extern struct ledger *ledger;

struct worker;

int64_t now(void);
/* Around each call that may block: by when must it be back? */
void begin(struct worker *w, enum patience patience, int64_t deadline);
void end(struct worker *w);
/* Fail if the call that a seat is in lasts too long. */
void judge(struct seat *seat);
void note_stop(struct stopped *stopped, bool stop);
/* The process that beats, for ut_spawn(). */
void beat(struct lshm_region *none, int fd, void *arg);
int64_t missed_beats(void); /* ns */
/* "heap.alloc 1.2 ms, ..." of the calls that took longest. */
void print_longest(void);

/* ---- operations ---- */

enum area_id { HEAP, LOCK, SYNC, CONTAINER, CHANNEL, AREAS };

struct op {
	const char *name;
	unsigned int weight; /* how often, in proportion to the others */
	void (*run)(struct worker *w);
};

struct books;

/* A group of operations and what they need in the region. */
struct area {
	const char *name;
	uint64_t size;	      /* of its object in the region, @shared below */
	const struct op *ops; /* up to one without a name */
	void (*prepare)(struct lshm_region *region, void *shared);
	/* Give back what the thread holds beyond one operation. */
	void (*idle)(struct worker *w);
	/* Everybody is gone: check all, enter attached blocks in the books. */
	void (*audit)(struct books *books, void *shared);
	/* Empty it all. */
	void (*clear)(struct lshm_region *region, void *shared);
};

extern const struct area area_heap, area_lock, area_sync, area_container,
    area_channel;
extern const struct area *const areas[AREAS];

/* A block, and a message: what it says follows from its first words. */
struct text {
	uint64_t size;
	uint64_t life;
	uint64_t number; /* of a message; of a block: its alignment */
	uint64_t words[];
};

#define TEXT_MIN  sizeof(struct text)
#define DRAFTS	  24
#define HELD	  4
#define PRODUCERS 32 /* last ones that a consumer remembers */

struct stream {
	struct lshm_consumer *in;
	bool begun;
	uint64_t least, most, next; /* sequences */
	struct {
		uint64_t life, number;
	} last[PRODUCERS];
	struct lshm_message held[HELD];
	int count;
};

/* A thread of a worker, as it sees itself. */
struct worker {
	struct lshm_region *region;
	void *shared[AREAS];
	uint64_t random;
	uint64_t life;
	uint32_t index;
	uint32_t kind; /* the operation it is at, among all */
	struct seat *seat;
	int fd; /* of the region's file */
	bool own_handle;
	uint64_t turns; /* operations until it ends; 0: for ever */
	uint32_t ended; /* 1: to be joined */
	/* heap */
	void *drafts[DRAFTS];
	/* containers */
	uint64_t own_value; /* of its key in the map; 0: not known */
	/* channels */
	struct lshm_producer *out[2];
	uint64_t stream_id[2];
	uint64_t sent[2];
	struct stream stream[2];
	uint64_t event_seen;
};

/* The life of a worker, for ut_spawn(); @arg: its struct worker. */
void work(struct lshm_region *none, int fd, void *arg);
void attach(struct worker *w);
extern bool storm_slow;
const char *kind_name(uint32_t kind);

uint64_t pick(struct worker *w, uint64_t n);
/* Spend a moment: none, some, or a yield of the processor. */
void dawdle(struct worker *w);
/* Now, soon, or for ever. */
int64_t some_deadline(struct worker *w);
bool dead(uint64_t life);

void write_text(
    struct text *text, uint64_t size, uint64_t life, uint64_t number);
void check_text(const struct text *text, uint64_t room);

/* Data under a lock, written in two halves. */
struct pair {
	uint64_t first;
	uint64_t canary;
	uint64_t second;
};

#define CANARY UINT64_C(0x5afe5afe5afe5afe)

void check_pair(const struct pair *pair);
void write_pair(struct worker *w, struct pair *pair);
void repair_pair(struct pair *pair);

/* It succeeded (true), or failed in a way it may (false). */
bool succeeded(struct ut_at at, int ret, const int *allowed);

#define MAY_FAIL(call, ...) \
	succeeded(UT_AT(#call), call, (const int[]){__VA_ARGS__, 0})

/* ops_heap.c, for all who need blocks with a text in them */
void *new_block(struct worker *w);
void free_block(struct worker *w, void *block);
void check_block(struct lshm_region *region, const void *block);

/* ops_lock.c: a mutex whose holder the ledger knows; died: repair */
enum {
	LOCK_FIELD = 0,
	LOCK_OBJECT = 16,
	LOCK_QUEUE = 32,
	LOCK_BRIEF = 40,
	LOCK_LIST = 44,
	LOCK_VECTOR = 48
};
void owned(struct worker *w, uint32_t number, bool died);
void disowned(struct worker *w, uint32_t number);
/* true: had, and *died tells; false: not by the deadline */
bool lock_by(struct worker *w, struct lshm_mutex *mutex, uint32_t number,
    int64_t deadline, bool *died);
void unlock(struct worker *w, struct lshm_mutex *mutex, uint32_t number);

/* ---- the books ---- */

struct books {
	struct lshm_region *region;
	uint64_t blocks;
	uint64_t bytes;
	uint64_t offsets[4096];
};

/* A block in use, asked for with @size bytes at a multiple of @alignment. */
void enter(struct books *b, uint64_t offset, uint64_t size, uint64_t alignment);
/* A block with a text in it. */
void enter_text(struct books *b, uint64_t offset);
/* Everybody is gone: check all there is, and that it can all be given back. */
void take_books(struct worker *w);

#endif
