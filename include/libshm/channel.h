/* SPDX-License-Identifier: MIT */
/*
 * channel.h - messages from producers to consumers, without copying them
 *
 * A channel is a log of messages in the region, lossless: a producer who finds
 * it full waits for the consumers. LSHM_BROADCAST gives each message to each
 * consumer that has joined before it was published; LSHM_WORK gives each
 * message to exactly one consumer, and again to another one if that one dies
 * before releasing it: at least once, so results should carry the message's
 * sequence.
 *
 *     lshm_producer_loan(out, n, LSHM_FOREVER, &p);      write into p ...
 *     lshm_producer_publish(out, p, LSHM_FOREVER);
 *
 *     lshm_consumer_take(in, &m, LSHM_FOREVER);          read m.data ...
 *     lshm_consumer_release(in, &m);
 */
#ifndef LIBSHM_CHANNEL_H
#define LIBSHM_CHANNEL_H

#include <libshm/base.h>

#ifdef __cplusplus
extern "C" {
#endif

struct lshm_producer;
struct lshm_consumer;

/** enum lshm_channel_mode - who gets a message */
enum lshm_channel_mode {
	LSHM_BROADCAST = 0, /* every consumer */
	LSHM_WORK = 1,	    /* exactly one consumer */
};

/** Most producers, and most consumers, of one channel. */
#define LSHM_ENDPOINTS_MAX 64

/**
 * struct lshm_channel_opts - options of a channel, fixed when it is created
 * @opts_size:   sizeof(struct lshm_channel_opts), set by LSHM_CHANNEL_OPTS()
 * @mode:        of enum lshm_channel_mode
 * @depth:       messages the log holds, rounded up to a power of two, at most
 *               1048576; 0: 64
 * @max_message: bytes of the largest message; 0: 64 KiB. Costs nothing: each
 *               message takes what it needs
 */
struct lshm_channel_opts {
	uint64_t opts_size;
	uint32_t mode;
	uint32_t depth;
	uint64_t max_message;
};

/** Options by name: &(struct lshm_channel_opts)LSHM_CHANNEL_OPTS(.depth = 8) */
#define LSHM_CHANNEL_OPTS(...)                                             \
	{                                                                  \
		.opts_size = sizeof(struct lshm_channel_opts), __VA_ARGS__ \
	}

/**
 * lshm_producer_open() - join a channel as a producer
 * @out:    [out] the handle; close it with lshm_producer_close()
 * @region: [in] a participant's handle; must outlive *@out
 * @name:   [in] of the channel: an object's name
 * @opts:   [in] create the channel like this if there is none; if there is one
 *          it must be like this. NULL: there must be one, of any kind
 *
 * Return: 0; -ENOENT; -EPROTOTYPE it has other options, or is no channel;
 * -EUSERS it has LSHM_ENDPOINTS_MAX living producers; -ENOMEM; -EINVAL;
 * -ENAMETOOLONG; -EROFS; -ECHILD; -EAGAIN a stopped process is in the way.
 */
LSHM_API int lshm_producer_open(struct lshm_producer **out,
    struct lshm_region *region, const char *name,
    const struct lshm_channel_opts *opts);

/**
 * lshm_producer_close() - leave the channel
 * @producer: [in] consumed; NULL is allowed. Its open loans are discarded
 *
 * Messages already published stay. Consumers see -EPIPE once every producer
 * has left and the log is empty; to say that all is said, call
 * lshm_producer_end() before.
 */
LSHM_API void lshm_producer_close(struct lshm_producer *producer);

/**
 * lshm_producer_loan() - get room for one message, to be written in place
 * @producer: [in]
 * @size:     [in] bytes, 0 to the channel's max_message
 * @deadline: [in] how long to wait for memory that consumers still hold
 * @message:  [out] @size bytes, aligned to 16, not initialised; the caller's
 *            until lshm_producer_publish() or _discard()
 *
 * Up to 64 loans may be open at a time.
 *
 * Return: 0; -EMSGSIZE; -ENOMEM the heap is full, and waiting cannot help;
 * -EAGAIN, -ETIMEDOUT it is full of messages not yet consumed; -EAGAIN, too,
 * and before any deadline, if the heap's lock is held by one who is stopped;
 * -EPIPE it is full, and every consumer is gone; -EUSERS too many open loans;
 * -ESHUTDOWN; -ECHILD.
 * Crash: consumers see nothing; the memory comes back.
 */
LSHM_API int lshm_producer_loan(struct lshm_producer *producer, size_t size,
    int64_t deadline, void **message);

/**
 * lshm_producer_publish() - append a loaned message to the log
 * @producer: [in]
 * @message:  [in] from lshm_producer_loan(); consumed, unless the call fails
 * @deadline: [in] how long to wait while the log is full
 *
 * Return: 0; -EAGAIN, -ETIMEDOUT the log is full, the loan is still the
 * caller's; -EPIPE so it is, and every consumer that ever joined is gone;
 * -ESHUTDOWN the stream was ended; -EINVAL not a loan of this producer;
 * -ECHILD; -LSHM_ECORRUPT.
 * Crash: the message is in the log, whole, or not at all.
 */
LSHM_API int lshm_producer_publish(
    struct lshm_producer *producer, void *message, int64_t deadline);

/**
 * lshm_producer_discard() - give a loan back unpublished
 *
 * Return: 0; -EINVAL not a loan of this producer; -ECHILD. Blocks: never.
 */
LSHM_API int lshm_producer_discard(
    struct lshm_producer *producer, void *message);

/**
 * lshm_producer_send() - loan, copy @size bytes of @data, publish
 *
 * Return, Blocks: as these two do.
 */
LSHM_API int lshm_producer_send(struct lshm_producer *producer,
    const void *data, size_t size, int64_t deadline);

/**
 * lshm_producer_end() - say that the stream is complete, for all producers
 *
 * Consumers see -ENODATA after the last message. Nothing can be published any
 * more, by anybody.
 *
 * Return: 0; -ECHILD. Blocks: never.
 */
LSHM_API int lshm_producer_end(struct lshm_producer *producer);

/**
 * lshm_producer_wait() - wait until there are @consumers living consumers
 *
 * Return: 0; -EAGAIN; -ETIMEDOUT; -ECHILD.
 */
LSHM_API int lshm_producer_wait(
    struct lshm_producer *producer, uint32_t consumers, int64_t deadline);

/**
 * lshm_consumer_open() - join a channel as a consumer
 *
 * Parameters and return values as lshm_producer_open(). A broadcast consumer
 * gets every message published after this call returns.
 */
LSHM_API int lshm_consumer_open(struct lshm_consumer **out,
    struct lshm_region *region, const char *name,
    const struct lshm_channel_opts *opts);

/**
 * lshm_consumer_close() - leave the channel
 * @consumer: [in] consumed; NULL is allowed
 *
 * Messages taken and not released are, in a work-sharing channel, delivered to
 * another consumer.
 */
LSHM_API void lshm_consumer_close(struct lshm_consumer *consumer);

/**
 * struct lshm_message - a message in place, from take to release
 * @data:      inside the mapping, aligned to 16; read it, do not write it.
 *             A hostile producer may still change it: then copy, with
 *             lshm_consumer_receive()
 * @size:      bytes
 * @sequence:  its place in the log: 0, 1, 2 ... as published
 * @deliveries: 1; more if consumers died on it (work-sharing)
 * @reserved:  0
 */
struct lshm_message {
	const void *data;
	size_t size;
	uint64_t sequence;
	uint32_t deliveries;
	uint32_t reserved;
};

/**
 * lshm_consumer_take() - get the next message, in place
 * @consumer: [in]
 * @message:  [out] valid until lshm_consumer_release()
 * @deadline: [in] how long to wait for one
 *
 * Up to 64 messages may be held at a time, and released in any order; in a
 * broadcast channel the oldest one held marks the consumer's place.
 *
 * Return: 0; -EAGAIN, -ETIMEDOUT nothing there; -ENODATA end of stream, and
 * every message has been released by those who took it; -EPIPE every producer
 * that ever joined is gone, nothing is left, and no end was declared; -EUSERS
 * too many held; -ECHILD; -LSHM_ECORRUPT.
 * Crash: broadcast: no trace; work-sharing: another consumer gets the message.
 */
LSHM_API int lshm_consumer_take(struct lshm_consumer *consumer,
    struct lshm_message *message, int64_t deadline);

/**
 * lshm_consumer_release() - let go of a message
 *
 * Return: 0; -EINVAL not held by this consumer; -ECHILD. Blocks: never.
 */
LSHM_API int lshm_consumer_release(
    struct lshm_consumer *consumer, const struct lshm_message *message);

/**
 * lshm_consumer_receive() - take, copy to @buffer, release
 * @buffer, @capacity: [out] room for the message
 * @size:     [out] its length; on -EMSGSIZE too, and the message is still there
 * @deadline: [in] as for lshm_consumer_take()
 *
 * Return: as lshm_consumer_take(); -EMSGSIZE it is larger than @capacity.
 */
LSHM_API int lshm_consumer_receive(struct lshm_consumer *consumer, void *buffer,
    size_t capacity, size_t *size, int64_t deadline);

/**
 * lshm_consumer_wait() - wait until there are @producers living producers
 *
 * Return: 0; -EAGAIN; -ETIMEDOUT; -ECHILD.
 */
LSHM_API int lshm_consumer_wait(
    struct lshm_consumer *consumer, uint32_t producers, int64_t deadline);

/**
 * struct lshm_channel_info - figures of a channel
 * @mode, @depth, @max_message: as created
 * @producers, @consumers: living ones
 * @ended:      1 after lshm_producer_end()
 * @published:  messages ever published
 * @backlog:    broadcast: published, and not yet passed by the slowest
 *              consumer; work-sharing: published, and not yet done
 * @redelivered: messages given out again after a death or close; each reaper
 *               that died doing so may have left one uncounted
 */
struct lshm_channel_info {
	uint32_t mode;
	uint32_t depth;
	uint64_t max_message;
	uint32_t producers;
	uint32_t consumers;
	uint32_t ended;
	uint32_t reserved;
	uint64_t published;
	uint64_t backlog;
	uint64_t redelivered;
};

/** The type tag of channels in the directory. */
#define LSHM_CHANNEL_TYPE "lshm.channel"

/**
 * lshm_channel_stat() - look at a channel
 * @region: [in] any open handle, an observer's too
 * @name:   [in] of the channel
 * @info:   [out] filled in; near where others are busy with it
 *
 * Return: 0; -ENOENT; -EPROTOTYPE; -ECHILD; -LSHM_ECORRUPT.
 */
LSHM_API int lshm_channel_stat(struct lshm_region *region, const char *name,
    struct lshm_channel_info *info);

/**
 * struct lshm_endpoint_info - one end of a channel
 * @producer: 1 a producer, 0 a consumer
 * @slot, @generation: the participant it belongs to
 * @alive:    0 if that one is dead and not reaped yet
 * @held:     messages it has taken and not released (work-sharing)
 * @position: broadcast consumer: the sequence it will read next
 */
struct lshm_endpoint_info {
	uint32_t producer;
	uint32_t slot;
	uint32_t generation;
	uint32_t alive;
	uint32_t held;
	uint32_t reserved;
	uint64_t position;
};

/**
 * lshm_channel_endpoint() - look at one end of a channel
 * @index: [in] 0 to 2 * LSHM_ENDPOINTS_MAX - 1
 *
 * Return: 0; -ENOENT nobody there; -EINVAL no such index; as
 * lshm_channel_stat().
 */
LSHM_API int lshm_channel_endpoint(struct lshm_region *region, const char *name,
    uint32_t index, struct lshm_endpoint_info *info);

/**
 * lshm_channel_remove() - remove a channel and the messages in it
 * @region: [in] a participant's handle
 *
 * Return: 0; -EBUSY it has living producers or consumers; -EAGAIN it has dead
 * ones, and somebody who is slow or stopped is clearing up after them; -ENOENT;
 * -EPROTOTYPE; -EROFS; -ECHILD.
 * Crash: the channel is there, perhaps emptied, or gone.
 */
LSHM_API int lshm_channel_remove(struct lshm_region *region, const char *name);

#ifdef __cplusplus
}
#endif

#endif
