/* SPDX-License-Identifier: MIT */
/*
 * region.h - named pieces of shared memory, and who takes part in them
 *
 * A process attached for writing is a *participant*: it has a slot in the
 * region's table, and survivors recover what it held when it dies. A process
 * attached with LSHM_RDONLY is an *observer*: it holds nothing and leaves no
 * trace in the region.
 */
#ifndef LIBSHM_REGION_H
#define LIBSHM_REGION_H

#include <libshm/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/** enum lshm_backend - where a region's memory comes from */
enum lshm_backend {
	LSHM_BACKEND_DEFAULT = 0, /* by the name's prefix, else as
				   * LSHM_BACKEND in the environment says, else
				   * posix */
	LSHM_BACKEND_POSIX = 1,	  /* shm_open(3): /dev/shm/lshm.NAME */
	LSHM_BACKEND_MEMFD = 2, /* memfd_create(2): nameless, passed as an fd */
	LSHM_BACKEND_FILE = 3,	/* a path; hugetlbfs and tmpfs included */
	LSHM_BACKEND_KERNEL = 4, /* /dev/lshm: memory of the module lshm */
};

/** enum lshm_region_flags - how lshm_region_open() opens */
enum lshm_region_flags {
	LSHM_CREATE = 1 << 0,	 /* create it if there is none of that name */
	LSHM_EXCL = 1 << 1,	 /* with LSHM_CREATE: -EEXIST if there is one */
	LSHM_RDONLY = 1 << 2,	 /* attach as an observer */
	LSHM_ANY_OWNER = 1 << 3, /* trust a region of any owner, not only one
				  * of this user or of root */
	LSHM_LOCK = 1 << 4,	 /* lock it in memory: mlock(2) */
	LSHM_PREFAULT = 1 << 5,	 /* map every page now, not at first touch */
	LSHM_HUGE = 1 << 6,	 /* ask for huge pages; lshm_region_stat() says
				  * how many bytes got them */
	LSHM_PINNABLE = 1 << 7,	 /* to be created so that O_DIRECT, io_uring
				  * buffers and process_vm_readv(2) work on it:
				  * without effect where they do anyway */
	LSHM_GUARD = 1 << 9, /* if the memory is taken away (revoked, its file
			      * truncated), it becomes empty private memory,
			      * and calls that begin after that return
			      * -ENODEV; else there is SIGBUS */
	LSHM_CONTIGUOUS = 1 << 8, /* to be created in one physical piece, which
				   * cannot grow: kernel backend only */
};

/**
 * struct lshm_region_opts - options of lshm_region_open() and its kin
 * @opts_size: sizeof(struct lshm_region_opts), set by LSHM_REGION_OPTS()
 * @size:      bytes the region has when created, rounded up to 64 KiB or the
 *             huge page; 0: 16 MiB
 * @max_size:  bytes it may grow to; 0: @size, or 1 GiB if @size is 0 too
 * @mode:      permission bits when created, before umask; 0: 0600
 * @backend:   one of enum lshm_backend
 * @max_participants: slots when created, 1 to 4095; 0: 64
 * @numa_node: 1 + the node its memory shall come from when created; 0: any
 * @address:   where to map it, a hint, rounded to 2 MiB; NULL: anywhere
 *
 * Only @backend and @address matter when an existing region is opened.
 */
struct lshm_region_opts {
	uint64_t opts_size;
	uint64_t size;
	uint64_t max_size;
	uint32_t mode;
	uint32_t backend;
	uint32_t max_participants;
	uint32_t numa_node;
	void *address;
};

/** Options by name: &(struct lshm_region_opts)LSHM_REGION_OPTS(.size = n) */
#define LSHM_REGION_OPTS(...)                                             \
	{                                                                 \
		.opts_size = sizeof(struct lshm_region_opts), __VA_ARGS__ \
	}

/**
 * lshm_region_open() - attach to a region, or create it
 * @out:   [out] the handle; close it with lshm_region_close()
 * @name:  [in] 1 to 200 bytes without '/'; "file:PATH" selects the file
 *         backend, "memfd:NAME", "posix:NAME", "kernel:NAME" the others
 * @flags: [in] of enum lshm_region_flags
 * @opts:  [in] borrowed for the call; NULL: all defaults
 *
 * A region appears under its name complete or not at all, with its memory
 * reserved. Whoever attaches first recovers what dead participants left.
 * A memfd region has no name to open it by: LSHM_CREATE always makes a new
 * one, to be handed on with lshm_region_send().
 *
 * Where neither the name nor @opts chooses a backend, LSHM_BACKEND in the
 * environment does: "kernel", say; or "kernel,posix", the first of them that
 * can be used here. Without such a list there is no falling back.
 *
 * Return: 0; -EINVAL a bad name, flag or option; -ENAMETOOLONG; -ENOENT no
 * such region; -EEXIST; -EACCES no permission; -EPERM owned by somebody
 * unexpected; -EBADMSG, -EPROTO, -EPROTONOSUPPORT, -LSHM_ECORRUPT it is no
 * region this library can use; -ENOSPC no space to reserve its memory; -ENOMEM
 * no address space, or the memory lock limit; -EUSERS every slot is taken by a
 * living process; -ENOTSUP the file system has no open-file-description locks
 * or no fallocate(2), or there is no kernel module (-EACCES: it may not be
 * used; -EPROTONOSUPPORT: it is too old), or the backend has no contiguous
 * memory;
 * -ENODEV access to the region has been revoked.
 * Crash: nothing, or the whole region, is left under the name. Where the file
 * system has no O_TMPFILE a file PATH.lshm-PID-N may be left; the next creator
 * of the same name removes it.
 */
LSHM_API int lshm_region_open(struct lshm_region **out, const char *name,
    unsigned int flags, const struct lshm_region_opts *opts);

/**
 * lshm_region_open_fd() - attach to the region behind a file descriptor
 * @out:   [out] as for lshm_region_open()
 * @fd:    [in] borrowed: the caller closes it, at once if it likes
 * @flags: [in] without LSHM_CREATE and LSHM_EXCL
 * @opts:  [in] as for lshm_region_open(); @backend is ignored
 *
 * Return, Crash: as lshm_region_open(); -EBADF.
 */
LSHM_API int lshm_region_open_fd(struct lshm_region **out, int fd,
    unsigned int flags, const struct lshm_region_opts *opts);

/**
 * lshm_region_send() - hand the region on through a Unix socket
 * @region: [in] an open handle
 * @socket: [in] a connected AF_UNIX socket; borrowed
 * @flags:  [in] LSHM_RDONLY: the receiver's descriptor is read-only
 *
 * One message of one byte with one descriptor (SCM_RIGHTS) is sent: a fresh
 * description of the region's file, closed here once sent.
 *
 * Return: 0; -EINVAL; -ECHILD; the negated errno of sendmsg(2).
 * Blocks: as the socket does.
 */
LSHM_API int lshm_region_send(
    struct lshm_region *region, int socket, unsigned int flags);

/**
 * lshm_region_receive() - attach to a region handed on by lshm_region_send()
 * @out:    [out] as for lshm_region_open()
 * @socket: [in] a connected AF_UNIX socket; borrowed
 * @flags, @opts: [in] as for lshm_region_open_fd()
 *
 * Return: as lshm_region_open_fd(); -ENODATA the peer closed the socket;
 * -EBADMSG the message carried no descriptor.
 * Blocks: as the socket does.
 */
LSHM_API int lshm_region_receive(struct lshm_region **out, int socket,
    unsigned int flags, const struct lshm_region_opts *opts);

/**
 * lshm_region_close() - detach
 * @region: [in] consumed; NULL is allowed
 *
 * Producers and consumers of the region must be closed before. What this
 * process still holds (drafts, locks, loans) is given back as on its death.
 * The region stays until lshm_region_unlink(); a memfd region goes with its
 * last user. No other thread may use the handle any more.
 */
LSHM_API void lshm_region_close(struct lshm_region *region);

/**
 * lshm_region_unlink() - remove a region's name
 * @name:    [in] as for lshm_region_open()
 * @backend: [in] of enum lshm_backend, as in its options
 *
 * Those attached go on with it; its memory goes with the last of them.
 *
 * Return: 0; -ENOENT; -EACCES; -EINVAL; -ENAMETOOLONG; -ENOTSUP for memfd,
 * which has no name.
 */
LSHM_API int lshm_region_unlink(const char *name, uint32_t backend);

/**
 * lshm_region_grow() - make the region larger, in place, while in use
 * @region: [in] a participant's handle
 * @size:   [in] bytes it shall have at least; rounded up
 *
 * Its base never moves and offsets stay valid. The heap grows by itself up to
 * max_size; this call is for whoever wants the memory reserved beforehand.
 *
 * Return: 0, also when it is that large already; -ENOSPC; -E2BIG beyond
 * max_size; -EROFS; -ECHILD; -EAGAIN its heap lock is held by a stopped
 * process for more than a second.
 * Crash: grown or not; memory reserved but not yet counted is used by the next
 * growth.
 */
LSHM_API int lshm_region_grow(struct lshm_region *region, uint64_t size);

/**
 * lshm_region_base() - where this process has the region mapped
 *
 * Return: its first byte, page aligned; NULL for a handle inherited by fork.
 */
LSHM_API void *lshm_region_base(const struct lshm_region *region);

/**
 * struct lshm_region_info - what lshm_region_stat() tells
 * @size, @max_size, @granule: now; limit; every size is a multiple of @granule
 * @heap_offset:   where the heap starts; before it lie the region's own tables
 * @uuid:          differs for each region ever created
 * @created_ns:    CLOCK_REALTIME when it was created
 * @layout_version, @compat, @ro_compat, @incompat: of its layout
 * @backend:       of enum lshm_backend
 * @creator_pid:   in the creator's pid namespace; a hint for people
 * @owner_uid, @owner_gid, @mode: who may open it
 * @max_participants, @participants, @dead: slots; ACTIVE ones; of those, proved
 *                 dead but not reaped yet
 * @deaths:        how many participants have been reaped, ever
 * @max_lanes, @lanes: threads that may hold memory and locks; that do
 * @page_size:     the page size of the backing file
 * @huge_bytes:    bytes of it that this process has mapped by huge pages
 * @locked_bytes:  bytes locked in memory by this process; kernel: all
 * @runs:          physically contiguous pieces it consists of; 0: not known
 * @device, @inode: of the file that backs it; kernel: of this handle
 */
struct lshm_region_info {
	uint64_t size;
	uint64_t max_size;
	uint64_t granule;
	uint64_t heap_offset;
	uint8_t uuid[16];
	uint64_t created_ns;
	uint64_t compat;
	uint64_t ro_compat;
	uint64_t incompat;
	uint32_t layout_version;
	uint32_t backend;
	uint32_t creator_pid;
	uint32_t owner_uid;
	uint32_t owner_gid;
	uint32_t mode;
	uint32_t max_participants;
	uint32_t participants;
	uint32_t dead;
	uint32_t max_lanes;
	uint32_t lanes;
	uint32_t runs;
	uint64_t deaths;
	uint64_t page_size;
	uint64_t huge_bytes;
	uint64_t locked_bytes;
	uint64_t device;
	uint64_t inode;
};

/**
 * lshm_region_stat() - figures of the region
 * @region: [in] any open handle, an observer's too
 * @info:   [out] filled in
 *
 * Return: 0; -ECHILD. Cost: reads /proc/self/smaps; not for a hot path.
 */
LSHM_API int lshm_region_stat(
    struct lshm_region *region, struct lshm_region_info *info);

/** enum lshm_participant_state - of struct lshm_participant_info */
enum lshm_participant_state {
	LSHM_PARTICIPANT_FREE = 0,    /* nobody */
	LSHM_PARTICIPANT_ALIVE = 1,   /* attached; stopped counts as alive */
	LSHM_PARTICIPANT_DEAD = 2,    /* dead, and nobody has reaped it yet */
	LSHM_PARTICIPANT_REAPING = 3, /* dead, and being reaped */
	LSHM_PARTICIPANT_REAPED = 4,  /* of lshm_region_death(): it was */
};

/**
 * struct lshm_participant_info - one participant, alive or dead
 * @slot, @generation: its place in the table, and the how-manieth user of it
 * @state:   of enum lshm_participant_state
 * @pid:     in its own pid namespace; a hint for people, never to be signalled
 * @uid:     its effective user
 * @same_pid_namespace: 1 if @pid means the same to the caller
 * @lanes:   how many lanes it has
 * @base:    the address it has the region mapped at
 * @time_ns: CLOCK_REALTIME when it attached; for a death: when it was reaped
 * @self:    1 if it is the handle that asks
 * @command: the first 31 bytes of its command's name
 */
struct lshm_participant_info {
	uint32_t slot;
	uint32_t generation;
	uint32_t state;
	uint32_t pid;
	uint32_t uid;
	uint32_t same_pid_namespace;
	uint32_t lanes;
	uint32_t self;
	uint64_t base;
	uint64_t time_ns;
	char command[32];
};

/**
 * lshm_region_participant() - look at one slot of the table
 * @region: [in] any open handle
 * @slot:   [in] 0 to max_participants - 1
 * @info:   [out] filled in
 *
 * Return: 0; -EINVAL no such slot; -ECHILD.
 */
LSHM_API int lshm_region_participant(struct lshm_region *region, uint32_t slot,
    struct lshm_participant_info *info);

/**
 * lshm_region_death() - look at one of the last deaths
 * @region: [in] any open handle
 * @back:   [in] 0: the last one; at most 15
 * @info:   [out] filled in; @state is LSHM_PARTICIPANT_REAPED
 *
 * Return: 0; -ENOENT there were not that many, or it has been forgotten.
 */
LSHM_API int lshm_region_death(struct lshm_region *region, uint32_t back,
    struct lshm_participant_info *info);

/**
 * lshm_region_reap() - recover what dead participants held
 * @region: [in] a participant's handle
 *
 * Attaching and every blocked call do this by themselves; this call is for
 * whoever wants it done now.
 *
 * Return: how many were reaped, 0 or more; -ENOMEM somebody is dead, but there
 * is memory of the region that this process cannot map: another one has to;
 * -EROFS; -ECHILD.
 */
LSHM_API int lshm_region_reap(struct lshm_region *region);

/**
 * lshm_region_revoke() - take the region away from a participant
 * @region: [in] a participant's handle
 * @slot:   [in] whose, not one's own: see lshm_region_participant()
 *
 * For who misbehaves; kernel backend only. When it returns, that handle's
 * memory cannot be touched any more, not through a child or another thread
 * either: SIGBUS, or see LSHM_GUARD. It counts as dead. So it is with who was
 * sent the region through that handle, and so on. Nobody else notices.
 * Only the region's owner may, and CAP_IPC_OWNER, but not with a handle that
 * lshm_region_receive() gave. It may open the region again if its mode still
 * lets it.
 *
 * Return: 0; -ENOENT nobody is there; -EINVAL no such slot, or one's own;
 * -EACCES; -ENOTSUP another backend; -EROFS; -ECHILD; -ENODEV.
 * Crash: revoked or not.
 */
LSHM_API int lshm_region_revoke(struct lshm_region *region, uint32_t slot);

/**
 * lshm_region_list() - call a function for each region that has a name here
 * @callback: [in] gets a name lshm_region_open() takes, and @arg; a value other
 *            than 0 ends the listing
 * @arg:      [in] for @callback
 *
 * Lists posix regions, kernel regions that one may read, and memfd regions that
 * a process this user may look into has open (as "file:/proc/PID/fd/N"). Files
 * elsewhere are known only to those who use them.
 *
 * Return: 0; what @callback returned; a negative errno of opendir(3).
 */
LSHM_API int lshm_region_list(
    int (*callback)(const char *name, void *arg), void *arg);

#ifdef __cplusplus
}
#endif

#endif
