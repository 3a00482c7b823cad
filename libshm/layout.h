/* SPDX-License-Identifier: MIT */
/*
 * layout.h - everything that lies in shared memory, and nothing else
 *
 *   0                    struct lshmi_header
 *   participants_off     struct lshmi_slot[max_participants]
 *   lanes_off            struct lshmi_lane_rec[max_lanes]
 *   directory_off        struct lshmi_directory, the first of a chain
 *   pagemap_off          uint64_t[max_size / LSHMI_PAGE], one entry a heap page
 *   heap_off             the heap, to the end of the region
 *
 * Named objects, channels and descriptor segments are blocks of the heap.
 * docs/layout.md is checked against this file.
 */
#ifndef LSHMI_LAYOUT_H
#define LSHMI_LAYOUT_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include <libshm/barrier.h>
#include <libshm/channel.h>
#include <libshm/cond.h>
#include <libshm/event.h>
#include <libshm/list.h>
#include <libshm/mutex.h>
#include <libshm/object.h>
#include <libshm/once.h>
#include <libshm/rwlock.h>
#include <libshm/semaphore.h>
#include <libshm/vector.h>

typedef uint64_t lshmi_u64 __attribute__((aligned(8)));

#define LSHMI_MAGIC	 "LSHMRGN1"
#define LSHMI_BYTE_ORDER UINT32_C(0x01020304)
#define LSHMI_LAYOUT	 UINT32_C(1)

/* Features this library knows. Immutable on a live region. */
#define LSHMI_COMPAT	UINT64_C(0)
#define LSHMI_RO_COMPAT UINT64_C(0)
#define LSHMI_INCOMPAT	UINT64_C(0)

/* Bits of struct lshmi_slot.needs: kinds of holdings a reaper must know. */
#define LSHMI_NEEDS_LANES    (UINT64_C(1) << 0)
#define LSHMI_NEEDS_CHANNELS (UINT64_C(1) << 1)
#define LSHMI_NEEDS_KNOWN    (LSHMI_NEEDS_LANES | LSHMI_NEEDS_CHANNELS)

/* The heap's page: what slabs and runs are made of. */
#define LSHMI_PAGE_SHIFT 16
#define LSHMI_PAGE	 (UINT64_C(1) << LSHMI_PAGE_SHIFT)

#define LSHMI_DEATHS	    16
#define LSHMI_DESC_SEGMENTS 18

/* The lock bytes of participants: this file offset + slot. */
#define LSHMI_LOCK_BASE (INT64_C(1) << 62)

/* A death, told by the reaper; hints for people. 0 @stamp: being written. */
struct lshmi_death {
	lshmi_u64 stamp; /* 1 + its number */
	lshmi_u64 time_ns;
	uint32_t pid;
	uint32_t uid;
	uint32_t slot;
	uint32_t generation;
	char command[32];
};

/*
 * Written once, before the region is visible: all up to @size. After that:
 *   @size       compare-and-swap to larger values only, heap lock held
 *   @*_lock     lock words, see mutex.c
 *   @heap_rover where the next search for pages begins; a page with a head;
 *               heap lock held
 *   @orphans    +1 by each sweep, after slabs have lost their owner; a hint
 *   @desc_segments  attached under directory_lock; segment k has
 *               64 << k descriptors, and is never given back
 *   @deaths     by reapers; @death_count by fetch-and-add
 */
struct lshmi_header {
	char magic[8];
	uint32_t byte_order;
	uint32_t layout;
	lshmi_u64 compat;
	lshmi_u64 ro_compat;
	lshmi_u64 incompat;
	uint8_t uuid[16];
	lshmi_u64 max_size;
	lshmi_u64 granule;
	uint32_t backend;
	uint32_t max_participants;
	uint32_t max_lanes;
	uint32_t creator_pid;
	lshmi_u64 created_ns;
	lshmi_u64 participants_off;
	lshmi_u64 lanes_off;
	lshmi_u64 directory_off;
	lshmi_u64 pagemap_off;
	lshmi_u64 heap_off;
	lshmi_u64 reserved0[7];
	lshmi_u64 size;
	lshmi_u64 reserved1[7];
	struct lshm_mutex directory_lock;
	lshmi_u64 reserved2[7];
	struct lshm_mutex heap_lock;
	lshmi_u64 heap_rover;
	lshmi_u64 orphans;
	lshmi_u64 reserved3[5];
	lshmi_u64 death_count;
	lshmi_u64 reserved4[7];
	lshmi_u64 desc_segments[LSHMI_DESC_SEGMENTS];
	lshmi_u64 reserved5[6];
	lshmi_u64 reserved6[48];
	struct lshmi_death deaths[LSHMI_DEATHS];
	lshmi_u64 reserved7[256];
};

/*
 * A participant. @word decides; the rest is for people and for testing
 * liveness, written by the owner before @word becomes ACTIVE.
 */
struct lshmi_slot {
	lshmi_u64 word; /* LSHMI_SLOT_* */
	lshmi_u64 needs;
	lshmi_u64 base;
	lshmi_u64 attached_ns;
	lshmi_u64 pid_namespace; /* inode of /proc/self/ns/pid, 0 unknown */
	uint32_t pid;
	uint32_t uid;
	char command[32];
	lshmi_u64 reserved[6];
};

/* A slot's word: state 2 | reaper's slot 12, generation 18 | generation 32 */
enum { LSHMI_SLOT_FREE = 0, LSHMI_SLOT_ACTIVE = 1, LSHMI_SLOT_REAPING = 2 };

/*
 * A lane: one thread of a participant, as owner of slabs and holder of locks.
 *   @word    owner's slot + 1 in the low 16 bits, 0 free; generation above 16;
 *            compare-and-swap to take, reaper or owner to give back
 *   @foreign 1 once the lane has held a block in a slab it does not own
 *   @intent  state 2 | what else there is to read 3 | sequence 59; the lane
 *            itself, and a compare-and-swap from PENDING to a decision by
 *            anybody who met its death
 */
struct lshmi_lane_rec {
	lshmi_u64 word;
	lshmi_u64 foreign;
	lshmi_u64 intent;
	lshmi_u64 intent_field; /* its offset */
	lshmi_u64 intent_value; /* what it shall hold, if not intent_take */
	lshmi_u64 intent_take; /* a block it takes: attached if it holds that */
	lshmi_u64 intent_give; /* a block it gives: attached if it does not */
	lshmi_u64 intent_take_too;
	lshmi_u64 intent_give_too;
	lshmi_u64 reserved[7];
};

enum {
	LSHMI_INTENT_IDLE = 0,
	LSHMI_INTENT_PENDING = 1,
	LSHMI_INTENT_DONE = 2,	 /* the field holds what it shall */
	LSHMI_INTENT_UNDONE = 3, /* it does not */
	LSHMI_INTENT_STATE = 3,
	LSHMI_INTENT_TAKES = 4, /* intent_take is meant; else it is 0 */
	LSHMI_INTENT_GIVES = 8, /* intent_give */
	LSHMI_INTENT_MORE = 16, /* intent_value, _take_too, _give_too */
	LSHMI_INTENT_STEP = 32, /* one of the sequence */
};

/*
 * A named object. It exists if @offset is not 0; the other fields are written
 * while it is 0, all under directory_lock. @version goes up before they change,
 * so that readers without the lock notice.
 */
struct lshmi_entry {
	lshmi_u64 offset;
	lshmi_u64 size;
	lshmi_u64 version;
	lshmi_u64 reserved[3];
	char name[LSHM_OBJECT_NAME_MAX + 1];
	char type[LSHM_OBJECT_TYPE_MAX + 1];
};

#define LSHMI_DIRECTORY_ENTRIES 63

struct lshmi_directory {
	lshmi_u64 next; /* the next block of the chain, 0: last */
	lshmi_u64 reserved[15];
	struct lshmi_entry entries[LSHMI_DIRECTORY_ENTRIES];
};

/*
 * A page map entry: extent 30 | holder 16 | generation 7 | kind 2 | shape 9
 *
 * A head says what begins here. Extent: of a free run or a large block, how
 * many pages; of a slab's page, how many pages before it the slab's head lies.
 * All pages of a slab are of kind SLAB; the others behind a head are BODY.
 * Shape, of a slab's page: log2 of the slab's pages 3 | class 6. Holder: 0
 * nobody, 1 attached (a slab: no owner), 2 + lane.
 */
enum {
	LSHMI_PM_BODY = 0,
	LSHMI_PM_FREE = 1,
	LSHMI_PM_RUN = 2,
	LSHMI_PM_SLAB = 3,
};

enum {
	LSHMI_HOLDER_NONE = 0,
	LSHMI_HOLDER_ATTACHED = 1,
	LSHMI_HOLDER_LANE = 2
};

/* Where sleepers are marked and woken. One bit an endpoint. */
struct lshmi_waitq {
	uint32_t event;	       /* +1 by each waker; what sleepers sleep on */
	uint32_t sleeps;       /* +1 by each who goes to sleep */
	lshmi_u64 sleepers[2]; /* producers, consumers; each clears its own */
	lshmi_u64 reserved[5];
};

/* An end: @word is 0, or generation 32 | slot 12 | joining 1 | 1. */
struct lshmi_endpoint {
	lshmi_u64 word;
	lshmi_u64 cursor; /* broadcast consumer: the oldest it still needs */
	lshmi_u64 reserved[14];
};

/*
 * A channel: this, then uint64_t slots[depth]. All up to @tail is written once.
 *   @tail, @head       hints that anybody may help forward: no message beyond
 *                      @tail - 1, none before @head, is needed to find them
 *   @joined[2]         ends that ever joined; directory_lock
 *   @active[2]         a bit for each end in use: set before its word, cleared
 *                      before it; by the end, or its reaper
 *   @redelivered       statistics
 */
struct lshmi_channel {
	lshmi_u64 features;
	uint32_t mode;
	uint32_t depth;
	lshmi_u64 max_message;
	lshmi_u64 reserved0[5];
	lshmi_u64 tail;
	lshmi_u64 reserved1[7];
	lshmi_u64 head;
	lshmi_u64 reserved2[7];
	lshmi_u64 joined[2];
	lshmi_u64 active[2];
	lshmi_u64 redelivered;
	lshmi_u64 reserved3[3];
	struct lshmi_waitq data;  /* consumers wait for messages */
	struct lshmi_waitq space; /* producers wait for room */
	struct lshmi_endpoint ends[2][LSHM_ENDPOINTS_MAX];
	lshmi_u64 slots[];
};

enum { LSHMI_PRODUCER = 0, LSHMI_CONSUMER = 1 };

/* A log slot's word: lap 39 | end 1 | descriptor 24. Goes up only. */
#define LSHMI_SLOT_LAP_SHIFT 25
#define LSHMI_SLOT_END	     (UINT64_C(1) << 24)
#define LSHMI_SLOT_INDEX     UINT64_C(0xffffff)
#define LSHMI_NO_DESC	     UINT64_C(0xffffff)

/*
 * A message's descriptor. The table of them is type-stable and shared by all
 * channels of the region.
 *   @word     state 3 | owner 13 | deliveries 8 | epoch 40, see channel.c
 *   the rest  written by the owner only, while it is OWNED and in no log
 */
struct lshmi_desc {
	lshmi_u64 word;
	lshmi_u64
	    channel; /* "in a log" is: slot (channel, position) names it */
	lshmi_u64 position;
	lshmi_u64 payload; /* an attached block, or 0 */
	lshmi_u64 size;
	lshmi_u64 reserved[3];
};

/*
 * A map, an object in the directory. A key's hash has the shard in its highest
 * bits and the bucket in its lowest.
 *   @seed    of the hash; written once, before the map is visible
 *   @table   a block, or 0: no entry yet; under @mutex
 *   @count   of entries; by whoever holds @mutex; who takes that lock over from
 *            the dead counts anew
 */
#define LSHMI_MAP_SHARD_BITS  5
#define LSHMI_MAP_SHARDS      (1 << LSHMI_MAP_SHARD_BITS)
#define LSHMI_MAP_BUCKETS_MIN 8

struct lshmi_map_shard {
	struct lshm_mutex mutex;
	lshmi_u64 table;
	lshmi_u64 count;
	lshmi_u64 reserved[5];
};

struct lshmi_map {
	lshmi_u64 features;
	lshmi_u64 seed[2];
	lshmi_u64 reserved[5];
	struct lshmi_map_shard shards[LSHMI_MAP_SHARDS];
};

/* A shard's table: this, then the first entry of each chain. */
struct lshmi_map_table {
	lshmi_u64 which;   /* of its entries' links are this table's: 0 or 1 */
	lshmi_u64 buckets; /* a power of two */
	lshmi_u64 bucket[];
};

/*
 * An entry: this, then the key, then from the next multiple of 8 on the value,
 * unless that is a block. All but @next is written before it is linked.
 */
struct lshmi_map_entry {
	lshmi_u64 next[2]; /* by the table in use, and by one in the making */
	lshmi_u64 hash;
	lshmi_u64 value; /* its size; or the block's offset */
	uint32_t key_size;
	uint32_t kind;
	uint8_t bytes[];
};

enum { LSHMI_MAP_BYTES = 0, LSHMI_MAP_BLOCK = 1 };

#define LSHMI_AT(type, field, offset) \
	static_assert(                \
	    offsetof(struct type, field) == (offset), #type "." #field)

LSHMI_AT(lshmi_header, max_size, 56);
LSHMI_AT(lshmi_header, created_ns, 88);
LSHMI_AT(lshmi_header, size, 192);
LSHMI_AT(lshmi_header, directory_lock, 256);
LSHMI_AT(lshmi_header, heap_lock, 320);
LSHMI_AT(lshmi_header, deaths, 1024);
static_assert(sizeof(struct lshmi_death) == 64, "lshmi_death");
static_assert(sizeof(struct lshmi_header) == 4096, "lshmi_header");
static_assert(sizeof(struct lshmi_slot) == 128, "lshmi_slot");
static_assert(sizeof(struct lshmi_lane_rec) == 128, "lshmi_lane_rec");
static_assert(sizeof(struct lshmi_entry) == 128, "lshmi_entry");
static_assert(sizeof(struct lshmi_directory) == 8192, "lshmi_directory");
static_assert(sizeof(struct lshmi_waitq) == 64, "lshmi_waitq");
static_assert(sizeof(struct lshmi_endpoint) == 128, "lshmi_endpoint");
static_assert(sizeof(struct lshmi_desc) == 64, "lshmi_desc");
static_assert(sizeof(struct lshmi_map_shard) == 64, "lshmi_map_shard");
static_assert(sizeof(struct lshmi_map) == 64 + 32 * 64, "lshmi_map");
static_assert(sizeof(struct lshmi_map_table) == 16, "lshmi_map_table");
static_assert(sizeof(struct lshmi_map_entry) == 40, "lshmi_map_entry");
LSHMI_AT(lshmi_map_entry, hash, 16);
LSHMI_AT(lshmi_map_entry, value, 24);
LSHMI_AT(lshmi_map_entry, kind, 36);
static_assert(sizeof(struct lshm_link) == 16, "lshm_link");
static_assert(sizeof(struct lshm_list) == 32, "lshm_list");
LSHMI_AT(lshm_link, prev, 8);
LSHMI_AT(lshm_list, tail, 8);
LSHMI_AT(lshm_list, dirty, 16);
static_assert(sizeof(struct lshm_vector) == 24, "lshm_vector");
LSHMI_AT(lshm_vector, count, 8);
LSHMI_AT(lshm_vector, element, 16);
LSHMI_AT(lshmi_channel, tail, 64);
LSHMI_AT(lshmi_channel, head, 128);
LSHMI_AT(lshmi_channel, data, 256);
LSHMI_AT(lshmi_channel, ends, 384);
static_assert(offsetof(struct lshmi_channel, slots) == 384 + 2 * 64 * 128,
    "lshmi_channel.slots");

/* What lies in users' structures; the headers of these define it. */
static_assert(sizeof(struct lshm_mutex) == 8, "lshm_mutex");
static_assert(sizeof(struct lshm_waiters) == 16, "lshm_waiters");
static_assert(sizeof(struct lshm_cond) == 16, "lshm_cond");
static_assert(sizeof(struct lshm_once) == 16, "lshm_once");
LSHMI_AT(lshm_once, done, 8);
static_assert(sizeof(struct lshm_event) == 24, "lshm_event");
LSHMI_AT(lshm_event, count, 16);
static_assert(sizeof(struct lshm_semaphore) == 32, "lshm_semaphore");
LSHMI_AT(lshm_semaphore, value, 16);
LSHMI_AT(lshm_semaphore, total, 24);
static_assert(sizeof(struct lshm_permit) == 8, "lshm_permit");
static_assert(sizeof(struct lshm_rwlock) == 512, "lshm_rwlock");
LSHMI_AT(lshm_rwlock, writing, 8);
LSHMI_AT(lshm_rwlock, door, 16);
LSHMI_AT(lshm_rwlock, exits, 32);
LSHMI_AT(lshm_rwlock, readers, 64);
static_assert(sizeof(struct lshm_barrier) == 512, "lshm_barrier");
LSHMI_AT(lshm_barrier, phase, 16);
LSHMI_AT(lshm_barrier, members, 32);

#endif
