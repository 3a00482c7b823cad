/* SPDX-License-Identifier: MIT */
/*
 * wc_common.h - what the programs of the word count share
 *
 *     wc_reader --chunks--> wc_worker (several) --counts--> wc_reducer
 *
 * Both channels share work: each message goes to one consumer, and again to
 * another if that one dies on it. A worker publishes the counts of a chunk
 * before it releases the chunk, so a chunk whose worker dies may be counted
 * twice, never not at all; the counts name the chunk's sequence, and the
 * reducer takes each only once.
 */
#ifndef WC_COMMON_H
#define WC_COMMON_H

#include <libshm/libshm.h>
#include <stdbool.h>
#include <sys/types.h>

#define WC_CHUNKS "chunks"
#define WC_COUNTS "counts"

/** Bytes of text in a chunk, unless told otherwise. */
#define WC_CHUNK (UINT32_C(64) << 10)
/** The largest chunk, and so the longest word. */
#define WC_CHUNK_MAX (UINT32_C(1) << 20)
/** How long the programs wait for each other to appear. */
#define WC_JOIN_MS 10000
/** Most processes whose places are kept. */
#define WC_PLACES_MAX 128

/* The one message of WC_CHUNKS: text that ends where a word ends. */
struct wc_chunk {
	uint32_t length;
	char text[];
};

/* The one message of WC_COUNTS; @words entries follow. */
struct wc_counts {
	uint64_t sequence; /* of the chunk */
	uint32_t length;   /* of the chunk */
	uint32_t words;
};

/* One word's count; the next entry follows at a multiple of 4 bytes. */
struct wc_entry {
	uint32_t count;
	uint32_t length;
	char word[];
};

/*
 * The most bytes the counts of @length bytes of text take: a word of two
 * letters and its blank take 12 instead of 3, and only the 26 words of one
 * letter are worse.
 */
#define WC_COUNTS_SIZE(length) \
	(sizeof(struct wc_counts) + 26 * 12 + 4 * (size_t)(length))

/* Where a process has the region. */
struct wc_place {
	uint64_t base;
	uint64_t pid;
};

/*
 * A named object: how far the job is. Each field has one writer, and is read
 * and written by WC_GET() and WC_SET() only.
 */
struct wc_job {
	uint64_t counted_bytes; /* and merged; the reducer */
	uint64_t chunks;  /* of all the text, once it is read; the reader */
	uint64_t repeats; /* counts that came twice; the reducer */
	uint64_t places;  /* how many of @place are taken; everybody */
	struct wc_place place[WC_PLACES_MAX];
};

#define WC_GET(field)	     __atomic_load_n(&(field), __ATOMIC_RELAXED)
#define WC_SET(field, value) __atomic_store_n(&(field), value, __ATOMIC_RELAXED)

/**
 * struct wc_options - the command line of the reader, a worker, the reducer
 * @region:  its name; NULL: it comes through @socket
 * @socket:  a Unix socket to receive the region from
 * @address: where to map it, a hint
 * @parent:  the launcher, with which to end; 0: started by hand
 * @workers, @chunk, @stop_at: for the reader
 * @number, @delay_ms: for a worker
 * @output:  for the reducer
 */
struct wc_options {
	const char *region;
	int socket;
	void *address;
	pid_t parent;
	uint32_t workers;
	uint32_t chunk;
	uint32_t number;
	uint32_t delay_ms;
	uint64_t stop_at;
	const char *output;
};

/**
 * wc_options_parse() - read the command line, or print what went wrong and exit
 * @usage: the text for --help
 *
 * Return: the index of the first argument that is no option.
 */
int wc_options_parse(
    struct wc_options *options, int argc, char **argv, const char *usage);

/**
 * wc_number() - a number from the command line
 *
 * Return: @text, from @least to @most; prints what is wrong and exits if it is
 * not.
 */
uint64_t wc_number(
    const char *option, const char *text, uint64_t least, uint64_t most);

/** struct wc - the region, and the job in it */
struct wc {
	struct lshm_region *region;
	struct wc_job *job;
};

/**
 * wc_create() - make a region for the job and attach to it
 * wc_attach() - attach to the region that the options name
 * @role: for the line that says where the region is mapped
 *
 * Return: 0; -1, and why has been printed.
 */
int wc_create(struct wc *wc, const char *region, void *address);
int wc_attach(
    struct wc *wc, const struct wc_options *options, const char *role);

/** wc_detach() - undo wc_create() or wc_attach() */
void wc_detach(struct wc *wc);

/** wc_say_place() - print where this process has the region, and keep it */
void wc_say_place(struct wc *wc, const char *role);

/** The options of the two channels, the same for all who join them. */
extern const struct lshm_channel_opts wc_chunks_opts;
extern const struct lshm_channel_opts wc_counts_opts;

/**
 * wc_take() - lshm_consumer_take(), but do not wait for ever for a producer
 * who never comes
 *
 * Return: as lshm_consumer_take(); -ETIMEDOUT nobody produces.
 */
int wc_take(struct lshm_consumer *in, struct lshm_message *message);

#endif
