/* SPDX-License-Identifier: MIT */
/*
 * waiters.h - where those who wait for a synchronisation object sleep
 *
 * A part of rwlock.h, cond.h, semaphore.h, event.h and barrier.h; there is no
 * function that takes one. What holds for the waiting on each of them:
 *
 * Bound     A waiter sleeps for a tenth of a second at first and for a second
 *           at most, and then looks at everything again, and at who lives. So a
 *           waker that dies between its change and the wake-up, or a waiter
 *           that dies with a wake-up meant for one, delays the others by a
 *           second at most.
 * Order     None is promised. Whoever comes by first gets what there is, before
 *           those who sleep; those who sleep are woken in the order in which
 *           they went to sleep, but each sleep that ends by itself puts a
 *           waiter last again.
 * Cost      Where nobody sleeps, waking makes no system call, but for the first
 *           time after somebody did. Who cannot get what it wants polls for a
 *           moment before it sleeps. Each look at who lives costs some
 *           microseconds for each holder.
 * Deadline  LSHM_NOW: -EAGAIN instead of waiting, after a look at who lives. A
 *           time that has passed: what can be had at once is still obtained.
 * Signals   A waiter whose signal handler returns goes on waiting. Not from
 *           within signal handlers.
 * Fork      The child holds nothing of what its parent does, and does not keep
 *           it when the parent dies. It opens the region itself.
 * Freeing   A call that wakes others writes to the object once more after its
 *           change is seen. So who got what it waited for must not free the
 *           memory yet, unlike with sem_post(3): first every call on the object
 *           must have returned. Where one process shall free what another one
 *           is just done with, let them wait with a mutex and a condition
 *           variable, and signal with the mutex held: lshm_mutex_unlock()
 *           writes nothing after its change.
 * Leaving   Closing the handle is like dying, for what its threads held. A
 *           thread that ends gives nothing back; the next new one of the same
 *           process may find itself the holder.
 */
#ifndef LIBSHM_WAITERS_H
#define LIBSHM_WAITERS_H

#include <libshm/base.h>

/**
 * struct lshm_waiters - in shared memory; all zero is ready; the library's
 * @event:  goes up with each ring; what waiters sleep on
 * @sleeps: goes up with each sleep that begins
 * @rung:   the @sleeps up to which nobody is left asleep
 */
struct lshm_waiters {
	uint32_t event __attribute__((aligned(8)));
	uint32_t sleeps;
	uint32_t rung;
	uint32_t reserved;
};

#endif
