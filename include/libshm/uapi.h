/* SPDX-License-Identifier: MIT OR GPL-2.0 WITH Linux-syscall-note */
/*
 * uapi.h - the interface between the kernel module lshm.ko and user space
 *
 * /dev/lshm gives a control descriptor. CREATE and OPEN on it give region
 * descriptors. Each of these is a *handle* of its own, with rights that can
 * only become fewer; DUP makes another, which goes with the first when that is
 * revoked. A descriptor that dup(2), fork(2) or SCM_RIGHTS copies is the same
 * handle. A region lives as long as it has a name, a handle or a mapping. All
 * descriptors are made close-on-exec.
 *
 * Memory: mmap(2) of a region descriptor, MAP_SHARED, within the region's
 * length. With LSHM_IOC_MAP_EAGER no page fault ever follows. The memory is
 * zeroed, pinned, counted against the creator's quota and the memory cgroup of
 * who had it made, and never shrinks. ENXIO beyond the length; EINVAL
 * MAP_PRIVATE; EPERM PROT_EXEC, or sealed against writing. read(2), write(2),
 * pread(2), pwrite(2) and lseek(2) work.
 *
 * Claims: who takes part in a region holds a numbered slot of it, by mapping
 * one page with PROT_NONE at LSHM_IOC_CLAIM_OFFSET(slot, page_size):
 *
 *	mmap(NULL, page_size, PROT_NONE, MAP_SHARED, fd, offset)
 *
 * fails with EAGAIN if the slot is held, EACCES without LSHM_IOC_RIGHT_WRITE,
 * EINVAL for any other length, protection or flag. The claim lasts as long as
 * this mapping: munmap(2), exit, any kind of death and exec(2) end it. A fork
 * child does not get it, closing the descriptor does not end it, who else has
 * the descriptor does not matter. Where the address space went down, no access
 * through it can follow. Its end wakes all who wait in the region.
 *
 * Structs: each begins with its size as the caller knows it, then flags. Who
 * calls with a smaller one (an older program) gets the first fields; with a
 * larger one, the rest must be zero (else E2BIG, and @size says what the
 * module knows) and is zero on return. Pointers are 64 bits wide. All fields
 * not marked [out] are [in]; padding must be zero. The layout is the same for
 * 32-bit processes.
 *
 * Errors of every call: ENOTTY no such call on this descriptor; EFAULT a bad
 * pointer; EINVAL unknown flags, a size too small, padding that is not zero;
 * E2BIG as above; ENODEV the handle is revoked; EACCES it lacks the right.
 */
#ifndef LIBSHM_UAPI_H
#define LIBSHM_UAPI_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define LSHM_IOC_DEVICE "/dev/lshm"
#define LSHM_IOC_ABI	1

/* Bytes, the terminating null among them. A name has no '/' and no control
 * characters. */
#define LSHM_IOC_NAME_SIZE  256
#define LSHM_IOC_LABEL_SIZE 256

/* Where in a region descriptor the claims are; also the limit of a region's
 * size. Within reach of mmap2(2) in 32-bit processes. */
#define LSHM_IOC_CLAIM_BASE (1ULL << 43)
#define LSHM_IOC_SLOTS	    65536
#define LSHM_IOC_CLAIM_OFFSET(slot, page_size) \
	(LSHM_IOC_CLAIM_BASE + (__u64)(slot) * (page_size))

/* What a handle may do. */
#define LSHM_IOC_RIGHT_READ   (1u << 0) /* mmap to read, read(2), WAIT */
#define LSHM_IOC_RIGHT_WRITE  (1u << 1) /* mmap to write, claim, WAKE, BIND */
#define LSHM_IOC_RIGHT_GROW   (1u << 2) /* GROW */
#define LSHM_IOC_RIGHT_MANAGE (1u << 3) /* LINK, SEAL, REVOKE, LABEL */
#define LSHM_IOC_RIGHTS	      0xfu

/* How a region is mapped. */
#define LSHM_IOC_MAP_EAGER 0u /* all of it by mmap(2) */
#define LSHM_IOC_MAP_LAZY \
	1u /* at first touch; 2 MiB at once where the
			       * kernel can (LSHM_IOC_FEATURE_HUGE) */
#define LSHM_IOC_MAP_PAGES \
	2u /* as LAZY, but the kernel can pin it: O_DIRECT,
			       * io_uring, process_vm_readv(2). Such pins
			       * outlive a REVOKE. */

/* What can no longer be done, by no handle. */
#define LSHM_IOC_SEAL_SEAL (1u << 0) /* add seals */
#define LSHM_IOC_SEAL_GROW (1u << 1)
#define LSHM_IOC_SEAL_WRITE \
	(1u << 2)			     /* EBUSY while anyone maps it so
					      * that it could be written, or the
					      * kernel has it pinned */
#define LSHM_IOC_SEAL_FUTURE_WRITE (1u << 3) /* mappings that exist go on */
#define LSHM_IOC_SEALS		   0xfu

/* -- on the control descriptor --------------------------------------------- */

#define LSHM_IOC_FEATURE_HUGE (1u << 0)

/**
 * struct lshm_ioc_info - what the module is and what its limits are
 * @abi:	[out] LSHM_IOC_ABI, raised when something is added
 * @page_size:	[out] the kernel's, the unit of lengths and claim offsets
 * @features:	[out] LSHM_IOC_FEATURE_*
 * @regions:	[out] how many exist
 * @handles:	[out] how many exist
 * @max_waitv:	[out] entries of one WAITV
 * @total:	[out] bytes of all regions
 * @max_total:	[out] the most @total may be
 * @user:	[out] bytes of regions created by the caller's user
 * @max_user:	[out] the most @user may be
 * @max_region: [out] the most one region may have
 */
struct lshm_ioc_info {
	__u32 size;
	__u32 flags;
	__u32 abi;
	__u32 page_size;
	__u32 features;
	__u32 regions;
	__u32 handles;
	__u32 max_waitv;
	__aligned_u64 total;
	__aligned_u64 max_total;
	__aligned_u64 user;
	__aligned_u64 max_user;
	__aligned_u64 max_region;
};

/* Not under its name yet: LINK puts it there. */
#define LSHM_IOC_CREATE_HIDDEN (1u << 0)
/* Physically contiguous, or ENOMEM; it cannot grow. */
#define LSHM_IOC_CREATE_CONTIGUOUS (1u << 1)

/**
 * struct lshm_ioc_create - make a region
 * @name:	pointer to its name; 0: it never has one
 * @length:	bytes, a multiple of the page size; 0 is allowed
 * @max_length: bytes it may grow to; 0: as far as quotas allow
 * @mode:	permission bits, less the umask
 * @node:	NUMA node its memory comes from, only; -1: any, preferably near
 * @map:	LSHM_IOC_MAP_*
 * @rights:	of the descriptor; 0: all
 * @fd:		[out] a region descriptor
 * @id:		[out] of the region, never used again
 * @handle:	[out] of the handle, never used again
 *
 * Names are those of the caller's user namespace. EEXIST the name is taken;
 * ENAMETOOLONG; EINVAL; E2BIG longer than a region may be; EDQUOT the user's
 * quota; ENOSPC the quota of all; ENOMEM; EMFILE; ENFILE.
 */
struct lshm_ioc_create {
	__u32 size;
	__u32 flags;
	__aligned_u64 name;
	__aligned_u64 length;
	__aligned_u64 max_length;
	__u32 mode;
	__s32 node;
	__u32 map;
	__u32 rights;
	__s32 fd;
	__u32 pad;
	__aligned_u64 id;
	__aligned_u64 handle;
};

/**
 * struct lshm_ioc_open - a new handle of an existing region
 * @name:	pointer to its name; 0: by @id
 * @id:		[in, out]
 * @rights:	[in, out] what is needed (EACCES if there is less); 0: all that
 *		owner, group and mode allow: read: READ, write: WRITE and GROW,
 *		to the owner and CAP_IPC_OWNER: MANAGE
 * @fd:		[out] a region descriptor
 * @handle:	[out] of the handle
 *
 * ENOENT no such region; EACCES; EDQUOT too many handles; EMFILE; ENFILE.
 */
struct lshm_ioc_open {
	__u32 size;
	__u32 flags;
	__aligned_u64 name;
	__aligned_u64 id;
	__u32 rights;
	__s32 fd;
	__aligned_u64 handle;
};

/**
 * struct lshm_ioc_list - what there is, in the order of ids
 * @records:	 pointer to an array: of struct lshm_ioc_stat on a control
 *		 descriptor (LIST: the regions that the caller may read), of
 *		 struct lshm_ioc_handle on a region descriptor (HANDLES)
 * @record_size: bytes of one record as the caller knows it
 * @count:	 [in, out] of records; records that are not filled become zero
 * @next:	 [in, out] list from this id on; 0 on return: this is all
 */
struct lshm_ioc_list {
	__u32 size;
	__u32 flags;
	__aligned_u64 records;
	__u32 record_size;
	__u32 count;
	__aligned_u64 next;
};

/* Revoke all its handles, too. */
#define LSHM_IOC_UNLINK_REVOKE (1u << 0)

/**
 * struct lshm_ioc_unlink - take a region's name away
 * @name:	pointer to its name; 0: by @id
 * @id:		of the region
 *
 * ENOENT; EPERM not the owner, and no CAP_IPC_OWNER.
 */
struct lshm_ioc_unlink {
	__u32 size;
	__u32 flags;
	__aligned_u64 name;
	__aligned_u64 id;
};

#define LSHM_IOC_EVENT_LOST    0u /* @value events were overwritten unread */
#define LSHM_IOC_EVENT_CREATE  1u
#define LSHM_IOC_EVENT_LINK    2u
#define LSHM_IOC_EVENT_UNLINK  3u
#define LSHM_IOC_EVENT_OPEN    4u
#define LSHM_IOC_EVENT_GROW    5u /* @value: the new length */
#define LSHM_IOC_EVENT_SEAL    6u /* @value: all seals */
#define LSHM_IOC_EVENT_REVOKE  7u /* @handle: the revoked */
#define LSHM_IOC_EVENT_CLAIM   8u /* @value: the slot, as in the next two */
#define LSHM_IOC_EVENT_RELEASE 9u
#define LSHM_IOC_EVENT_DEATH   10u
#define LSHM_IOC_EVENT_DESTROY 11u

/**
 * struct lshm_ioc_event - what read(2) on a control descriptor gives
 *
 * Whole records, of what has happened since the descriptor was opened to
 * regions that the reader may read. Blocks, or EAGAIN with O_NONBLOCK;
 * poll(2) says POLLIN if there is such a record. @pid is who did it, 0 where
 * the reader's pid namespace has no name for it; @time_ns of CLOCK_MONOTONIC.
 */
struct lshm_ioc_event {
	__u32 type;
	__u32 pid;
	__aligned_u64 sequence;
	__aligned_u64 time_ns;
	__aligned_u64 region;
	__aligned_u64 handle;
	__aligned_u64 value;
};

/* -- on a region descriptor ------------------------------------------------ */

/* Its name means it, in the caller's user namespace. */
#define LSHM_IOC_STAT_LINKED	 (1u << 0)
#define LSHM_IOC_STAT_CONTIGUOUS (1u << 1)

/**
 * struct lshm_ioc_stat - what a region is; all [out] but @size and @flags
 * @flags:	[in] 0, [out] LSHM_IOC_STAT_*
 * @id:		of the region
 * @handle:	of the handle; 0 in a LIST
 * @length, @max_length: in bytes; 0: no maximum of its own
 * @deaths:	how many claims have ended, by death, revocation or munmap(2)
 * @created_ns: CLOCK_REALTIME
 * @faults:	page faults in its mappings, ever
 * @waits, @wakes: sleeps begun and sleepers woken, ever
 * @rights:	of the handle; 0 in a LIST
 * @uid, @gid, @mode: as fstat(2); of the creator
 * @pid:	the creator's process, 0: not of this pid namespace
 * @node:	as at CREATE
 * @map:	LSHM_IOC_MAP_*
 * @seals:	LSHM_IOC_SEAL_*
 * @handles, @maps, @claims, @waiters: how many there are now
 * @writable_maps: how many of @maps may be or become writable
 * @runs:	physically contiguous pieces
 * @huge:	aligned ones of 2 MiB
 * @name, @label: with a null
 *
 * Needs no right.
 */
struct lshm_ioc_stat {
	__u32 size;
	__u32 flags;
	__aligned_u64 id;
	__aligned_u64 handle;
	__aligned_u64 length;
	__aligned_u64 max_length;
	__aligned_u64 deaths;
	__aligned_u64 created_ns;
	__aligned_u64 faults;
	__aligned_u64 waits;
	__aligned_u64 wakes;
	__u32 rights;
	__u32 uid;
	__u32 gid;
	__u32 mode;
	__u32 pid;
	__s32 node;
	__u32 map;
	__u32 seals;
	__u32 handles;
	__u32 maps;
	__u32 writable_maps;
	__u32 claims;
	__u32 waiters;
	__u32 runs;
	__u32 huge;
	__u32 pad;
	char name[LSHM_IOC_NAME_SIZE];
	char label[LSHM_IOC_LABEL_SIZE];
};

/**
 * struct lshm_ioc_grow - make it longer, in place
 * @length:	[in, out] bytes it shall have at least; those it has
 *
 * The new memory is zero and is mapped by a further mmap(2). EPERM sealed;
 * E2BIG, EDQUOT, ENOSPC, ENOMEM as for CREATE: nothing has changed then.
 */
struct lshm_ioc_grow {
	__u32 size;
	__u32 flags;
	__aligned_u64 length;
};

/** struct lshm_ioc_link - put it under its name: EEXIST; ENOENT it has none */
struct lshm_ioc_link {
	__u32 size;
	__u32 flags;
};

/**
 * struct lshm_ioc_dup - another handle, with fewer rights or the same
 * @rights:	[in, out] 0: the same
 * @fd:		[out] a region descriptor
 * @handle:	[out] of the handle
 *
 * It descends from the one it is called on; when that one is closed, from whom
 * that one descended.
 */
struct lshm_ioc_dup {
	__u32 size;
	__u32 flags;
	__u32 rights;
	__s32 fd;
	__aligned_u64 handle;
};

/**
 * struct lshm_ioc_seal - forbid something for ever
 * @seals:	[in, out] LSHM_IOC_SEAL_* to add; those it has
 *
 * EPERM LSHM_IOC_SEAL_SEAL is set; EBUSY see LSHM_IOC_SEAL_WRITE.
 */
struct lshm_ioc_seal {
	__u32 size;
	__u32 flags;
	__u32 seals;
	__u32 pad;
};

#define LSHM_IOC_REVOKE_OTHERS (1u << 0) /* all but the one it is called on */

/**
 * struct lshm_ioc_revoke - take the region away from whoever uses a handle
 * @handle:	which; 0 with LSHM_IOC_REVOKE_OTHERS
 *
 * On return no access through the handle's mappings is possible any more
 * (SIGBUS), its waits have ended, its claims have ended, as by death, and all
 * calls on it fail with ENODEV. So it is with all handles that descend from it
 * through DUP. Others, those it descends from among them, do not notice.
 * Eventfds bound through it are signalled a last time. ENOENT.
 */
struct lshm_ioc_revoke {
	__u32 size;
	__u32 flags;
	__aligned_u64 handle;
};

#define LSHM_IOC_HANDLE_REVOKED (1u << 0)

/** struct lshm_ioc_handle - one handle, as HANDLES tells; needs MANAGE */
struct lshm_ioc_handle {
	__aligned_u64 handle;
	__u32 flags; /* LSHM_IOC_HANDLE_* */
	__u32 rights;
	__u32 pid; /* who opened it; 0: not of this pid namespace */
	__u32 uid;
	__u32 maps;
	__u32 claims;
};

#define LSHM_IOC_FOREVER 0x7fffffffffffffffULL

/* Return EOWNERDEAD at once if the region's @deaths are not those given. */
#define LSHM_IOC_WAIT_DEATHS (1u << 0)

/**
 * struct lshm_ioc_wait - sleep while a 32-bit word has the value expected
 * @offset:	of the word in the region, a multiple of 4
 * @deadline:	of CLOCK_MONOTONIC, in nanoseconds; LSHM_IOC_FOREVER or
 *		more: none
 * @deaths:	[in] with LSHM_IOC_WAIT_DEATHS: as last seen, from STAT or from
 *		an earlier WAIT; [out] of now, at 0, EAGAIN and EOWNERDEAD; left
 *		alone at other errors, so that the same call can be made again
 * @region:	id of the region this is meant for, else ESTALE; 0: any
 * @expected:	the value
 *
 * Looking at the word and going to sleep are one step for WAKE: no wake-up is
 * lost. Returns 0 when woken; EAGAIN the word has another value; EOWNERDEAD a
 * claim has ended; ETIMEDOUT; EINTR a signal handler has run; ENODEV revoked;
 * EINVAL, ERANGE the offset.
 */
struct lshm_ioc_wait {
	__u32 size;
	__u32 flags;
	__aligned_u64 offset;
	__aligned_u64 deadline;
	__aligned_u64 deaths;
	__aligned_u64 region;
	__u32 expected;
	__u32 pad;
};

/**
 * struct lshm_ioc_wake - wake who sleeps on a word
 * @offset:	of the word
 * @region:	as for WAIT
 * @count:	[in, out] wake at most so many, the longest sleepers first; how
 *		many were. Sleepers of other offsets are left alone.
 *
 * Bound eventfds of this offset are signalled, beyond @count.
 */
struct lshm_ioc_wake {
	__u32 size;
	__u32 flags;
	__aligned_u64 offset;
	__aligned_u64 region;
	__u32 count;
	__u32 pad;
};

/** struct lshm_ioc_waiton - a word of WAITV; @fd: -1 the one it is called on */
struct lshm_ioc_waiton {
	__aligned_u64 offset;
	__u32 expected;
	__s32 fd;
};

/**
 * struct lshm_ioc_waitv - sleep while all of many words are as expected
 * @words:	pointer to an array of struct lshm_ioc_waiton
 * @count:	of them, 1 to @max_waitv of INFO
 * @index:	[out] which was woken, or (EAGAIN) has another value
 * @deadline, @deaths: as for WAIT; of the region it is called on
 *
 * A claim that ends while it sleeps, in any of the regions, is EOWNERDEAD.
 */
struct lshm_ioc_waitv {
	__u32 size;
	__u32 flags;
	__aligned_u64 words;
	__u32 count;
	__u32 index;
	__aligned_u64 deadline;
	__aligned_u64 deaths;
};

#define LSHM_IOC_BIND_WAKE   (1u << 0) /* signal it at a WAKE of @offset */
#define LSHM_IOC_BIND_DEATHS (1u << 1) /* signal it when a claim ends */
#define LSHM_IOC_BIND_REMOVE (1u << 2) /* undo the same call without this */

/**
 * struct lshm_ioc_bind - let an eventfd(2) be signalled, for epoll and its kin
 * @offset:	of a word, with LSHM_IOC_BIND_WAKE; else 0
 * @fd:		the eventfd
 *
 * With exactly one of WAKE and DEATHS. Lasts until it is removed, or the handle
 * is closed or revoked. ENOENT nothing to remove; EEXIST; ENOSPC too many of
 * the region; EINVAL no eventfd.
 */
struct lshm_ioc_bind {
	__u32 size;
	__u32 flags;
	__aligned_u64 offset;
	__s32 fd;
	__u32 pad;
};

#define LSHM_IOC_PEER_CLAIMED (1u << 0)

/**
 * struct lshm_ioc_peer - who holds a slot
 * @flags:	[in] 0, [out] LSHM_IOC_PEER_CLAIMED or 0: it is free
 * @region:	as for WAIT
 * @slot:	which
 * @pid, @uid:	[out] of who claimed it; 0: not of this pid namespace
 * @handle:	[out] through which
 *
 * Needs no right. ERANGE no such slot.
 */
struct lshm_ioc_peer {
	__u32 size;
	__u32 flags;
	__aligned_u64 region;
	__u32 slot;
	__u32 pid;
	__u32 uid;
	__u32 pad;
	__aligned_u64 handle;
};

/**
 * struct lshm_ioc_label - a line for people, shown by STAT
 * @label:	pointer to a string; ENAMETOOLONG
 */
struct lshm_ioc_label {
	__u32 size;
	__u32 flags;
	__aligned_u64 label;
};

/**
 * struct lshm_ioc_frames - the page frames of a region's memory, for people
 * @offset:	of the first page
 * @frames:	pointer to an array of 64-bit numbers
 * @count:	[in, out] of them; fewer where the region ends
 *
 * EPERM without CAP_SYS_ADMIN; EINVAL, ERANGE the offset.
 */
struct lshm_ioc_frames {
	__u32 size;
	__u32 flags;
	__aligned_u64 offset;
	__aligned_u64 frames;
	__u32 count;
	__u32 pad;
};

#define LSHM_IOC_TYPE 0xd8

#define LSHM_IOC_INFO	_IOWR(LSHM_IOC_TYPE, 0x00, struct lshm_ioc_info)
#define LSHM_IOC_CREATE _IOWR(LSHM_IOC_TYPE, 0x01, struct lshm_ioc_create)
#define LSHM_IOC_OPEN	_IOWR(LSHM_IOC_TYPE, 0x02, struct lshm_ioc_open)
#define LSHM_IOC_LIST	_IOWR(LSHM_IOC_TYPE, 0x03, struct lshm_ioc_list)
#define LSHM_IOC_UNLINK _IOW(LSHM_IOC_TYPE, 0x04, struct lshm_ioc_unlink)

#define LSHM_IOC_STAT	 _IOWR(LSHM_IOC_TYPE, 0x20, struct lshm_ioc_stat)
#define LSHM_IOC_GROW	 _IOWR(LSHM_IOC_TYPE, 0x21, struct lshm_ioc_grow)
#define LSHM_IOC_LINK	 _IOW(LSHM_IOC_TYPE, 0x22, struct lshm_ioc_link)
#define LSHM_IOC_DUP	 _IOWR(LSHM_IOC_TYPE, 0x23, struct lshm_ioc_dup)
#define LSHM_IOC_SEAL	 _IOWR(LSHM_IOC_TYPE, 0x24, struct lshm_ioc_seal)
#define LSHM_IOC_REVOKE	 _IOW(LSHM_IOC_TYPE, 0x25, struct lshm_ioc_revoke)
#define LSHM_IOC_HANDLES _IOWR(LSHM_IOC_TYPE, 0x26, struct lshm_ioc_list)
#define LSHM_IOC_WAIT	 _IOWR(LSHM_IOC_TYPE, 0x27, struct lshm_ioc_wait)
#define LSHM_IOC_WAKE	 _IOWR(LSHM_IOC_TYPE, 0x28, struct lshm_ioc_wake)
#define LSHM_IOC_WAITV	 _IOWR(LSHM_IOC_TYPE, 0x29, struct lshm_ioc_waitv)
#define LSHM_IOC_BIND	 _IOW(LSHM_IOC_TYPE, 0x2a, struct lshm_ioc_bind)
#define LSHM_IOC_PEER	 _IOWR(LSHM_IOC_TYPE, 0x2b, struct lshm_ioc_peer)
#define LSHM_IOC_LABEL	 _IOW(LSHM_IOC_TYPE, 0x2c, struct lshm_ioc_label)
#define LSHM_IOC_FRAMES	 _IOWR(LSHM_IOC_TYPE, 0x2d, struct lshm_ioc_frames)

#endif
