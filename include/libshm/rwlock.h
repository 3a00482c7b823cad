/* SPDX-License-Identifier: MIT */
/*
 * rwlock.h - a lock for many readers or one writer
 *
 * It lies anywhere in the region, in the user's own structures. Holders are
 * lanes: threads of participants. A reader that dies is gone; a writer that
 * dies leaves the lock to the next writer, with LSHM_OWNER_DIED as news, and
 * readers get -EOWNERDEAD until one has repaired. Use a struct lshm_mutex where
 * what is read is short: reading costs as much as a mutex does, and pays where
 * readers hold the lock for long. What holds for all waiting is in waiters.h.
 *
 * To change references to blocks (lshm_replace() and its like, see heap.h)
 * while it is held for writing, name its member `writer` there as the mutex.
 * Lists want that for each call, lshm_list_next() too: who holds the lock for
 * reading cannot walk through one.
 *
 * A process that is stopped while it asks for the lock may keep others out, as
 * one that has it does: its request may be entered already.
 */
#ifndef LIBSHM_RWLOCK_H
#define LIBSHM_RWLOCK_H

#include <libshm/mutex.h>
#include <libshm/waiters.h>

#ifdef __cplusplus
extern "C" {
#endif

/** How many threads can hold it for reading at a time; more of them wait. */
#define LSHM_READERS_MAX 56

/**
 * struct lshm_rwlock - in shared memory; all zero is unlocked and ready
 * @writer:  held by the writer, and by who waits for the readers to leave; to
 *           be named in lshm_replace(), never to be locked by the user
 * @writing: 1 from when a writer has got the lock until it gives it up
 * @door:    where readers wait for the writer to leave
 * @exits:   where who waits for readers to leave does so
 * @readers: each 0 or who holds it for reading
 */
struct lshm_rwlock {
	struct lshm_mutex writer;
	uint64_t writing __attribute__((aligned(8)));
	struct lshm_waiters door;
	struct lshm_waiters exits;
	uint64_t reserved[2] __attribute__((aligned(8)));
	uint64_t readers[LSHM_READERS_MAX] __attribute__((aligned(8)));
};

/**
 * lshm_rwlock_read() - obtain the lock for reading
 * @region:   [in] a participant's handle
 * @rwlock:   [in] inside @region
 * @deadline: [in] LSHM_NOW, LSHM_FOREVER or a time
 *
 * Not while a writer has the lock, nor while one waits for readers to leave:
 * writers go first, and can keep readers waiting for as long as there always is
 * one. Waits, too, while LSHM_READERS_MAX threads have it for reading.
 *
 * Return: 0; -EOWNERDEAD: a writer died, and may have left half a change:
 * obtain the lock for writing and repair; -EAGAIN; -ETIMEDOUT; -EDEADLK this
 * thread has it already, for reading or for writing; -EINVAL outside the
 * region; -ENOMEM as for lshm_mutex_lock(); -EROFS; -ECHILD; -EUSERS no lane.
 * Crash: the dead count as readers no longer. A writer who waits for them
 * learns that at the latest a second after the kernel has taken their memory
 * down.
 */
LSHM_API int lshm_rwlock_read(
    struct lshm_region *region, struct lshm_rwlock *rwlock, int64_t deadline)
    __attribute__((warn_unused_result));

/**
 * lshm_rwlock_write() - obtain the lock for writing
 * @region, @rwlock, @deadline: [in] as for lshm_rwlock_read()
 *
 * First keeps other writers out, and new readers; then waits for the readers to
 * leave. Writers get it in no particular order. There is no change from reading
 * to writing, nor back: give up, and ask again.
 *
 * Return: 0; LSHM_OWNER_DIED: obtained, and the last writer died with it:
 * repair what it protects; -EAGAIN; -ETIMEDOUT; -EDEADLK this thread has it
 * already, for reading or for writing; -EINVAL; -ENOMEM; -EROFS; -ECHILD;
 * -EUSERS.
 * Crash: the lock goes to the next writer, at the latest a second after the
 * kernel has taken the dead process's memory down; LSHM_OWNER_DIED is returned
 * to writers until one gives the lock up alive, and to none if the dead one had
 * not obtained it yet. After a failure, too, the news is there for the next.
 */
LSHM_API int lshm_rwlock_write(
    struct lshm_region *region, struct lshm_rwlock *rwlock, int64_t deadline)
    __attribute__((warn_unused_result));

/**
 * lshm_rwlock_unlock() - give the lock up, for whatever it is held
 * @region, @rwlock: [in] as for lshm_rwlock_read()
 *
 * Return: 0; -EPERM this thread does not hold it; -EINVAL; -EROFS; -ECHILD.
 * Blocks: never.
 */
LSHM_API int lshm_rwlock_unlock(
    struct lshm_region *region, struct lshm_rwlock *rwlock);

#ifdef __cplusplus
}
#endif

#endif
