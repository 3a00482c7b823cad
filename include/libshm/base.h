/* SPDX-License-Identifier: MIT */
/*
 * base.h - what every libshm header shares: conventions, errors, deadlines
 *
 * Conventions. They hold for every function unless its own comment differs:
 *
 * Return    0 done; a negative errno value: not done, and everything is as it
 *           was; a positive value: done, with news. `if (ret < 0)` is always
 *           the right test for failure. Results come through out parameters,
 *           which are left alone on failure. errno is never set. Nothing is
 *           ever printed.
 * Message   After a failure lshm_error() says what was expected, what was
 *           found, and what to do.
 * Units     Sizes, lengths and offsets are bytes. Times are nanoseconds of
 *           CLOCK_MONOTONIC.
 * Errors    Each call names its own. Besides, any that takes a region handle
 *           may return -ECHILD; any that changes something -EROFS, -EUSERS (all
 *           lanes are taken), -EAGAIN (one has held a lock of the library's
 *           for a second: it is stopped, or very slow), -ENOMEM (this
 *           process has no memory for a lane, or cannot map what the region
 *           has grown by) and -LSHM_ECORRUPT.
 * Blocks    Only where a deadline is taken, and where a lock of the library's
 *           is needed: for a second if its holder is stopped; for longer only
 *           while it goes from one to the other, for it is not fair.
 * Threads   A region handle may be used by any number of threads. A producer
 *           or consumer handle is used by one thread at a time. Cancellation
 *           points are lshm_region_send() and lshm_region_receive() only,
 *           while they wait for the socket. Threads are not to be cancelled
 *           asynchronously.
 * Processes Any number, each with the region at its own address. Only offsets
 *           (lshm_off) may be stored in a region, never pointers.
 * Signals   Not async-signal-safe. Signal handlers may interrupt any call;
 *           blocking calls resume until their deadline.
 * Fork      A handle belongs to the process that opened it. The child of a
 *           fork gets -ECHILD from every call on it and must open its own.
 *           In a vfork child no call may be made.
 * Crash     A process may be killed at any instruction of any call: the call
 *           has then happened wholly or not at all, and the survivors get back
 *           what the dead process held.
 */
#ifndef LIBSHM_BASE_H
#define LIBSHM_BASE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Marks what the shared library exports. */
#define LSHM_API __attribute__((visibility("default")))

/**
 * lshm_off - an address inside a region: bytes from its start; 0 is null
 *
 * The same 8 bytes, aligned to 8, for every compiler, libc and word size.
 */
typedef uint64_t lshm_off __attribute__((aligned(8)));

struct lshm_region;

/*
 * Errors, beside the usual meanings of EINVAL (an argument), ENOMEM (the
 * region's heap, or this process, has no memory left) and EACCES:
 *
 *   EAGAIN           would block, and the deadline was LSHM_NOW
 *   ETIMEDOUT        the deadline passed
 *   ECHILD           the handle was inherited through fork()
 *   EROFS            the handle is an observer's (LSHM_RDONLY)
 *   EDEADLK          the caller would wait for itself
 *   EOWNERDEAD       a writer died: obtain the lock for writing, and repair
 *   EBADMSG          not a libshm region
 *   EPROTO           a region of the other byte order
 *   EPROTONOSUPPORT  a region of a layout or feature this library is too old
 *                    for
 *   LSHM_ECORRUPT    truncated or damaged
 *   EPERM            owned by somebody unexpected
 *   EPROTOTYPE       the object has another type, size or options
 *   EUSERS           no free participant slot, lane, endpoint or place
 *   ENODATA          end of stream
 *   EPIPE            everybody on the other side of the channel is gone
 *   ESHUTDOWN        the stream was ended
 *   EMSGSIZE         the message is larger than the channel or buffer takes
 */

/** The region or an object in it is damaged ("Structure needs cleaning"). */
#define LSHM_ECORRUPT 117 /* EUCLEAN */

/**
 * LSHM_OWNER_DIED - a lock was obtained, and its last owner died holding it
 *
 * Positive: a success with news. Repair what the lock protects, then go on.
 */
#define LSHM_OWNER_DIED 1

/**
 * LSHM_NOW - the deadline of a call that shall not block
 *
 * It fails with -EAGAIN where it would have to. Locks and their like look
 * whether their owner has died at each such call; who polls a channel looks
 * for the dead at every 1024th fruitless call only.
 */
#define LSHM_NOW INT64_C(0)
/** LSHM_FOREVER - the deadline of a call that blocks until it is done */
#define LSHM_FOREVER INT64_MAX

/**
 * lshm_deadline_ms() - the deadline that lies @ms milliseconds ahead
 * @ms: [in] 0 or more
 *
 * Return: nanoseconds of CLOCK_MONOTONIC, at least 1; never fails.
 * Signals: async-signal-safe.
 */
LSHM_API int64_t lshm_deadline_ms(int64_t ms);

/**
 * lshm_error() - why this thread's last failing libshm call failed
 *
 * Return: a sentence for people, never NULL; valid until the thread's next
 * libshm call; empty when nothing has failed yet.
 */
LSHM_API const char *lshm_error(void);

/** lshm_version() - the version of the library in use, such as "0.1.0" */
LSHM_API const char *lshm_version(void);

#ifdef __cplusplus
}
#endif

#endif
