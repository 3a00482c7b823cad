/* SPDX-License-Identifier: MIT */
/*
 * wc_reducer.c - add the counts of all chunks, and write the sorted table
 *
 * A chunk's counts may come twice; the sequence they carry tells.
 */
#include "wc_common.h"
#include "wc_table.h"

#include <err.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: wc_reducer --region NAME [OPTION]...\n"
    "Add the counts of the workers and write the words, as uniq -c would.\n"
    "\n"
    "  --region NAME   the region; made if there is none\n"
    "  --output FILE   write there instead of to the standard output\n"
    "  --socket FD     receive the region through this Unix socket\n"
    "  --address HEX   map the region there\n"
    "  --parent PID    end when this parent ends\n";

/* Which chunks have been counted: a bit for each sequence. */
struct seen {
	uint64_t *bits;
	uint64_t n_bits;
	uint64_t chunks;
};

/* More chunks than this is not a text but a mistake. */
#define CHUNKS_MAX (UINT64_C(1) << 36)

/* Return: 0 the first time; 1 later; -ENOMEM. */
static int see(struct seen *seen, uint64_t sequence)
{
	uint64_t bit = UINT64_C(1) << sequence % 64;

	if (sequence >= seen->n_bits) {
		uint64_t n_bits = (sequence / 64 + 1) * 64 * 2;
		uint64_t *bits = sequence < CHUNKS_MAX
				     ? realloc(seen->bits, n_bits / 8)
				     : NULL;

		if (!bits)
			return -ENOMEM;
		memset(
		    bits + seen->n_bits / 64, 0, (n_bits - seen->n_bits) / 8);
		seen->bits = bits;
		seen->n_bits = n_bits;
	}
	if (seen->bits[sequence / 64] & bit)
		return 1;
	seen->bits[sequence / 64] |= bit;
	seen->chunks++;
	return 0;
}

/*
 * Add one message's entries. What another process wrote is checked before it
 * is used. Return: 0; -EBADMSG; -ENOMEM.
 */
static int add_entries(
    struct wc_table *table, const char *at, size_t left, uint32_t words)
{
	while (words-- > 0) {
		const struct wc_entry *entry = (const struct wc_entry *)at;
		uint32_t length;
		size_t size;

		if (left < sizeof(*entry))
			return -EBADMSG;
		length = entry->length;
		if (length > left - sizeof(*entry))
			return -EBADMSG;
		if (wc_table_add(table, entry->word, length, entry->count) < 0)
			return -ENOMEM;
		size = (sizeof(*entry) + length + 3) / 4 * 4;
		if (size > left)
			return -EBADMSG;
		at += size;
		left -= size;
	}
	return 0;
}

/* Return: 0; -1: said why. */
static int add_counts(struct wc *wc, struct wc_table *table, struct seen *seen,
    const struct lshm_message *message)
{
	const struct wc_counts *counts = message->data;
	uint32_t length;
	int ret;

	if (message->size < sizeof(*counts)) {
		ret = -EBADMSG;
		goto out;
	}
	length = counts->length;
	ret = see(seen, counts->sequence);
	if (ret > 0) {
		WC_SET(wc->job->repeats, wc->job->repeats + 1);
		return 0;
	}
	if (ret == 0)
		ret = add_entries(table, (const char *)(counts + 1),
		    message->size - sizeof(*counts), counts->words);
	if (ret == 0)
		WC_SET(wc->job->counted_bytes, wc->job->counted_bytes + length);
out:
	if (ret < 0)
		warnx("message %ju: %s", (uintmax_t)message->sequence,
		    strerror(-ret));
	return ret;
}

/* Add until the counts end. Return: 0; -1: said why. */
static int reduce(
    struct wc *wc, struct lshm_consumer *in, struct wc_table *table)
{
	struct lshm_message message;
	struct seen seen = {};
	uint64_t chunks;
	int ret;

	while ((ret = wc_take(in, &message)) == 0) {
		if (add_counts(wc, table, &seen, &message) < 0)
			break;
		lshm_consumer_release(in, &message);
	}
	free(seen.bits);
	chunks = WC_GET(wc->job->chunks);
	if (ret == -ENODATA && seen.chunks == chunks)
		return 0;
	if (ret == -ENODATA)
		warnx("%ju chunks were read, and %ju counted",
		    (uintmax_t)chunks, (uintmax_t)seen.chunks);
	else if (ret == -EPIPE)
		warnx("the workers are gone before the end of the text");
	else if (ret == -ETIMEDOUT)
		warnx("no worker has come");
	else if (ret < 0)
		warnx("cannot take counts: %s", lshm_error());
	return -1;
}

/* Return: 0; -1: said why. */
static int write_table(struct wc_table *table, const char *output)
{
	FILE *file = output ? fopen(output, "we") : stdout;
	int ret = 0;

	if (!file) {
		warn("%s", output);
		return -1;
	}
	wc_table_sort(table);
	for (size_t i = 0; i < table->n_words; i++) {
		const struct wc_word *word = &table->words[i];

		fprintf(file, "%7ju %.*s\n", (uintmax_t)word->count,
		    (int)word->length, table->text + word->offset);
	}
	if (fflush(file) || ferror(file)) {
		warn("%s", output ? output : "standard output");
		ret = -1;
	}
	if (output)
		fclose(file);
	return ret;
}

int main(int argc, char **argv)
{
	struct wc_options options;
	struct wc_table table = {};
	struct lshm_consumer *in;
	struct wc wc;
	int ret = 1;

	wc_options_parse(&options, argc, argv, usage);
	if (wc_attach(&wc, &options, "reducer") < 0)
		return 1;
	if (lshm_consumer_open(&in, wc.region, WC_COUNTS, &wc_counts_opts) <
	    0) {
		warnx("cannot join %s: %s", WC_COUNTS, lshm_error());
		goto out_detach;
	}
	if (reduce(&wc, in, &table) == 0 &&
	    write_table(&table, options.output) == 0)
		ret = 0;
	wc_table_free(&table);
	lshm_consumer_close(in);
out_detach:
	wc_detach(&wc);
	return ret;
}
