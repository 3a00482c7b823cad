/* SPDX-License-Identifier: MIT */
/*
 * wc_reader.c - cut text into chunks, and publish them
 *
 * read(2) puts the text where the workers read it: in a loan. A word that the
 * end of a loan cuts off is carried to the beginning of the next.
 */
#include "wc_common.h"
#include "wc_table.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char usage[] =
    "usage: wc_reader --region NAME [OPTION]... FILE...\n"
    "Cut the files, one after the other, into chunks for wc_worker.\n"
    "\n"
    "  --region NAME   the region; made if there is none\n"
    "  --workers N     wait for N workers before reading (1)\n"
    "  --chunk BYTES   of text in a chunk (65536)\n"
    "  --stop-at BYTES stop (SIGSTOP) once after so many, for a look around\n"
    "  --socket FD     receive the region through this Unix socket\n"
    "  --address HEX   map the region there\n"
    "  --parent PID    end when this parent ends\n";

/* All the files as one stream. */
struct text {
	char **names; /* of the files to come; ends with NULL */
	int fd;	      /* of the one being read, or -1 */
};

/* Return: how much was read, less than @size at the end only; -1: said why. */
static ssize_t text_read(struct text *text, char *to, size_t size)
{
	size_t have = 0;

	while (have < size && (text->fd >= 0 || *text->names)) {
		ssize_t n;

		if (text->fd < 0) {
			text->fd = open(*text->names, O_RDONLY | O_CLOEXEC);
			if (text->fd < 0) {
				warn("%s", *text->names);
				return -1;
			}
		}
		n = read(text->fd, to + have, size - have);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			warn("%s", *text->names);
			return -1;
		}
		if (n == 0) {
			close(text->fd);
			text->fd = -1;
			text->names++;
		}
		have += n;
	}
	return have;
}

/* How much of the text ends where no word goes on. */
static size_t whole_words(const char *text, size_t size)
{
	while (size > 0 && wc_is_letter(text[size - 1]))
		size--;
	return size;
}

/* The beginning of a word, from one loan to the next. */
struct carry {
	char word[WC_CHUNK_MAX];
	size_t length;
};

/*
 * Fill one loan and publish it. Where a word takes all of it, nothing is
 * published and the word goes on in the largest loan there is.
 *
 * Return: 1; 0 at the end of the text; -1: said why. @published: bytes
 */
static int publish_chunk(struct lshm_producer *out, struct text *text,
    struct carry *carry, size_t size, size_t *published)
{
	struct wc_chunk *chunk;
	void *message;
	size_t length;
	ssize_t n;

	if (carry->length >= size)
		size = WC_CHUNK_MAX;
	if (carry->length >= size) {
		warnx("a word of more than %u letters", WC_CHUNK_MAX);
		return -1;
	}
	if (lshm_producer_loan(
		out, sizeof(*chunk) + size, LSHM_FOREVER, &message) < 0) {
		warnx("no room for text: %s", lshm_error());
		return -1;
	}
	chunk = message;
	memcpy(chunk->text, carry->word, carry->length);
	n = text_read(text, chunk->text + carry->length, size - carry->length);
	if (n < 0)
		goto out_discard;
	length = carry->length + n;
	*published = length < size ? length : whole_words(chunk->text, length);
	carry->length = length - *published;
	memcpy(carry->word, chunk->text + *published, carry->length);
	if (!*published) {
		lshm_producer_discard(out, chunk);
		return length > 0;
	}
	chunk->length = *published;
	if (lshm_producer_publish(out, chunk, LSHM_FOREVER) < 0) {
		warnx("cannot publish text: %s", lshm_error());
		goto out_discard;
	}
	return 1;

out_discard:
	lshm_producer_discard(out, chunk);
	return -1;
}

/* Publish everything. Return: how many chunks; -1: said why. */
static int64_t publish_text(struct lshm_producer *out, struct text *text,
    uint32_t size, uint64_t stop_at)
{
	static struct carry carry;
	uint64_t bytes = 0;
	int64_t chunks = 0;
	size_t published;
	int ret;

	while ((ret = publish_chunk(out, text, &carry, size, &published)) > 0) {
		chunks += published > 0;
		bytes += published;
		if (bytes >= stop_at) {
			raise(SIGSTOP);
			stop_at = UINT64_MAX;
		}
	}
	return ret < 0 ? -1 : chunks;
}

/* Return: 0 once the workers are there, or one of them after a while. */
static int wait_for_workers(struct lshm_producer *out, uint32_t workers)
{
	int ret =
	    lshm_producer_wait(out, workers, lshm_deadline_ms(WC_JOIN_MS));

	return ret == -ETIMEDOUT ? lshm_producer_wait(out, 1, LSHM_NOW) : ret;
}

int main(int argc, char **argv)
{
	struct wc_options options;
	struct lshm_producer *out;
	struct text text = {.fd = -1};
	struct wc wc;
	int64_t chunks;
	int ret = 1;

	text.names = argv + wc_options_parse(&options, argc, argv, usage);
	if (wc_attach(&wc, &options, "reader") < 0)
		return 1;
	if (lshm_producer_open(&out, wc.region, WC_CHUNKS, &wc_chunks_opts) <
	    0) {
		warnx("cannot join %s: %s", WC_CHUNKS, lshm_error());
		goto out_detach;
	}
	if (wait_for_workers(out, options.workers) < 0) {
		warnx("no worker has come");
		goto out_close;
	}
	chunks = publish_text(out, &text, options.chunk, options.stop_at);
	if (chunks < 0)
		goto out_close;
	WC_SET(wc.job->chunks, chunks);
	if (lshm_producer_end(out) < 0) {
		warnx("cannot end %s: %s", WC_CHUNKS, lshm_error());
		goto out_close;
	}
	ret = 0;

out_close:
	lshm_producer_close(out);
out_detach:
	wc_detach(&wc);
	return ret;
}
