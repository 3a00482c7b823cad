/* SPDX-License-Identifier: MIT */
/*
 * wc_worker.c - count the words of each chunk, and publish the counts
 *
 * The order is what makes a worker's death harmless: take a chunk, publish its
 * counts, release the chunk. Killed before the last step, somebody else gets
 * the chunk again.
 */
#include "wc_common.h"
#include "wc_table.h"

#include <err.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static const char usage[] =
    "usage: wc_worker --region NAME [OPTION]...\n"
    "Count the words of the chunks that wc_reader publishes, for wc_reducer.\n"
    "\n"
    "  --region NAME   the region; made if there is none\n"
    "  --number N      which worker this is\n"
    "  --delay MS      sleep so long over each chunk, to be looked at\n"
    "  --socket FD     receive the region through this Unix socket\n"
    "  --address HEX   map the region there\n"
    "  --parent PID    end when this parent ends\n";

static struct wc_entry *next_entry(struct wc_entry *entry)
{
	size_t size = sizeof(*entry) + entry->length;

	return (struct wc_entry *)((char *)entry + (size + 3) / 4 * 4);
}

static size_t counts_size(const struct wc_table *table)
{
	size_t size = sizeof(struct wc_counts);

	for (size_t i = 0; i < table->n_words; i++)
		size += sizeof(struct wc_entry) +
			(table->words[i].length + 3) / 4 * 4;
	return size;
}

/* Return: 0; -1: said why. */
static int publish_counts(struct lshm_producer *out,
    const struct wc_table *table, uint64_t sequence, uint32_t length)
{
	struct wc_counts *counts;
	struct wc_entry *entry;
	void *message;

	if (lshm_producer_loan(
		out, counts_size(table), LSHM_FOREVER, &message) < 0) {
		warnx("no room for counts: %s", lshm_error());
		return -1;
	}
	counts = message;
	counts->sequence = sequence;
	counts->length = length;
	counts->words = table->n_words;
	entry = (struct wc_entry *)(counts + 1);
	for (size_t i = 0; i < table->n_words; i++) {
		const struct wc_word *word = &table->words[i];

		entry->count = word->count;
		entry->length = word->length;
		memcpy(entry->word, table->text + word->offset, word->length);
		entry = next_entry(entry);
	}
	if (lshm_producer_publish(out, counts, LSHM_FOREVER) < 0) {
		warnx("cannot publish counts: %s", lshm_error());
		lshm_producer_discard(out, counts);
		return -1;
	}
	return 0;
}

/* Return: 0; -1: said why. */
static int count_chunk(struct lshm_producer *out, struct wc_table *table,
    const struct lshm_message *message)
{
	const struct wc_chunk *chunk = message->data;
	uint32_t length = message->size < sizeof(*chunk) ? 0 : chunk->length;

	/* what another process wrote is checked before it is used */
	if (!length || length > message->size - sizeof(*chunk)) {
		warnx(
		    "message %ju is not a chunk", (uintmax_t)message->sequence);
		return -1;
	}
	wc_table_clear(table);
	if (wc_table_add_text(table, chunk->text, length) < 0) {
		warnx("out of memory");
		return -1;
	}
	return publish_counts(out, table, message->sequence, length);
}

static void sleep_ms(uint32_t ms)
{
	struct timespec time = {ms / 1000, ms % 1000 * 1000000L};

	while (ms && nanosleep(&time, &time) < 0 && errno == EINTR)
		;
}

/* Count until the text ends. Return: 0; -1: said why. */
static int work(
    struct lshm_consumer *in, struct lshm_producer *out, uint32_t delay_ms)
{
	struct wc_table table = {};
	struct lshm_message message;
	int ret;

	while ((ret = wc_take(in, &message)) == 0) {
		sleep_ms(delay_ms);
		if (count_chunk(out, &table, &message) < 0)
			break;
		lshm_consumer_release(in, &message);
	}
	wc_table_free(&table);
	if (ret == 0)
		return -1;
	if (ret == -ENODATA) /* all chunks released: all counts published */
		return lshm_producer_end(out);
	if (ret == -EPIPE)
		warnx("the reader is gone before the end of the text");
	else if (ret == -ETIMEDOUT)
		warnx("no reader has come");
	else
		warnx("cannot take text: %s", lshm_error());
	return -1;
}

int main(int argc, char **argv)
{
	struct wc_options options;
	struct lshm_consumer *in;
	struct lshm_producer *out;
	struct wc wc;
	char role[32];
	int ret = 1;

	wc_options_parse(&options, argc, argv, usage);
	snprintf(role, sizeof(role), "worker %u", options.number);
	if (wc_attach(&wc, &options, role) < 0)
		return 1;
	if (lshm_producer_open(&out, wc.region, WC_COUNTS, &wc_counts_opts) <
	    0) {
		warnx("cannot join %s: %s", WC_COUNTS, lshm_error());
		goto out_detach;
	}
	if (lshm_producer_wait(out, 1, lshm_deadline_ms(WC_JOIN_MS)) < 0) {
		warnx("no reducer has come");
		goto out_close;
	}
	/* last, because the reader begins once all the workers are here */
	if (lshm_consumer_open(&in, wc.region, WC_CHUNKS, &wc_chunks_opts) <
	    0) {
		warnx("cannot join %s: %s", WC_CHUNKS, lshm_error());
		goto out_close;
	}
	if (work(in, out, options.delay_ms) == 0)
		ret = 0;
	lshm_consumer_close(in);
out_close:
	lshm_producer_close(out);
out_detach:
	wc_detach(&wc);
	return ret;
}
