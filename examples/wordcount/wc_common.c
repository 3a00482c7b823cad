/* SPDX-License-Identifier: MIT */
/* wc_common.c - what the programs of the word count share; see the header */
#include "wc_common.h"

#include <bsd/stdlib.h>
#include <bsd/unistd.h>
#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

/*
 * Room for both logs full of the largest messages. A usual run needs some 10
 * MiB of it; the region grows only as it must.
 */
#define REGION_SIZE	(UINT64_C(16) << 20)
#define REGION_MAX_SIZE (UINT64_C(256) << 20)

const struct lshm_channel_opts wc_chunks_opts =
    LSHM_CHANNEL_OPTS(.mode = LSHM_WORK, .depth = 32,
	.max_message = sizeof(struct wc_chunk) + WC_CHUNK_MAX);
const struct lshm_channel_opts wc_counts_opts =
    LSHM_CHANNEL_OPTS(.mode = LSHM_WORK, .depth = 32,
	.max_message = WC_COUNTS_SIZE(WC_CHUNK_MAX));

uint64_t wc_number(
    const char *option, const char *text, uint64_t least, uint64_t most)
{
	const char *why;
	uint64_t number = strtonum(text, least, most, &why);

	if (why)
		errx(2, "--%s %s: %s (from %ju to %ju)", option, text, why,
		    (uintmax_t)least, (uintmax_t)most);
	return number;
}

int wc_options_parse(
    struct wc_options *options, int argc, char **argv, const char *usage)
{
	static const struct option table[] = {
	    {"address", required_argument, NULL, 'a'},
	    {"chunk", required_argument, NULL, 'c'},
	    {"delay", required_argument, NULL, 'd'},
	    {"help", no_argument, NULL, 'h'},
	    {"number", required_argument, NULL, 'n'},
	    {"output", required_argument, NULL, 'o'},
	    {"parent", required_argument, NULL, 'p'},
	    {"region", required_argument, NULL, 'r'},
	    {"socket", required_argument, NULL, 's'},
	    {"stop-at", required_argument, NULL, 't'},
	    {"workers", required_argument, NULL, 'w'},
	    {},
	};
	int c, at = 0;

	*options = (struct wc_options){
	    .socket = -1,
	    .workers = 1,
	    .chunk = WC_CHUNK,
	    .stop_at = UINT64_MAX,
	};
	setproctitle_init(argc, argv, environ);
	setlinebuf(stderr); /* several processes share it */
	while ((c = getopt_long(argc, argv, "h", table, &at)) != -1) {
		const char *name = table[at].name;

		switch (c) {
		case 'a':
			options->address = (void *)strtoul(optarg, NULL, 16);
			break;
		case 'c':
			options->chunk =
			    wc_number(name, optarg, 2, WC_CHUNK_MAX);
			break;
		case 'd':
			options->delay_ms = wc_number(name, optarg, 0, 60000);
			break;
		case 'h':
			fputs(usage, stdout);
			exit(0);
		case 'n':
			options->number = wc_number(name, optarg, 0, INT32_MAX);
			break;
		case 'o':
			options->output = optarg;
			break;
		case 'p':
			options->parent = wc_number(name, optarg, 1, INT32_MAX);
			break;
		case 'r':
			options->region = optarg;
			break;
		case 's':
			options->socket = wc_number(name, optarg, 0, INT32_MAX);
			break;
		case 't':
			options->stop_at =
			    wc_number(name, optarg, 0, INT64_MAX);
			break;
		case 'w':
			options->workers =
			    wc_number(name, optarg, 1, LSHM_ENDPOINTS_MAX);
			break;
		default:
			fputs(usage, stderr);
			exit(2);
		}
	}
	if (!options->region && options->socket < 0)
		errx(2, "no region: say --region NAME");
	return optind;
}

/* The job's object is made by whoever needs it first. */
static int open_job(struct wc *wc)
{
	void *block;
	int ret = lshm_object_create(wc->region, "job", "wordcount.job",
	    sizeof(*wc->job), NULL, NULL, &block);

	if (ret == -EEXIST)
		ret = lshm_object_open(wc->region, "job", "wordcount.job",
		    sizeof(*wc->job), &block);
	if (ret == 0)
		wc->job = block;
	return ret;
}

void wc_say_place(struct wc *wc, const char *role)
{
	uint64_t base = (uintptr_t)lshm_region_base(wc->region);
	uint64_t i = __atomic_fetch_add(&wc->job->places, 1, __ATOMIC_RELAXED);

	if (i < WC_PLACES_MAX) {
		WC_SET(wc->job->place[i].pid, getpid());
		WC_SET(wc->job->place[i].base, base);
	}
	printf("%-9s pid %-7d has the region at 0x%jx\n", role, getpid(),
	    (uintmax_t)base);
	fflush(stdout);
}

int wc_create(struct wc *wc, const char *region, void *address)
{
	struct lshm_region_opts opts = LSHM_REGION_OPTS(.size = REGION_SIZE,
	    .max_size = REGION_MAX_SIZE, .address = address);
	unsigned int flags = LSHM_CREATE | LSHM_EXCL;

	if (lshm_region_open(&wc->region, region, flags, &opts) < 0) {
		warnx("no region: %s", lshm_error());
		return -1;
	}
	if (open_job(wc) < 0) {
		warnx("no job in the region: %s", lshm_error());
		wc_detach(wc);
		lshm_region_unlink(region, LSHM_BACKEND_DEFAULT);
		return -1;
	}
	wc_say_place(wc, "launcher");
	return 0;
}

int wc_attach(struct wc *wc, const struct wc_options *options, const char *role)
{
	struct lshm_region_opts opts = LSHM_REGION_OPTS(.size = REGION_SIZE,
	    .max_size = REGION_MAX_SIZE, .address = options->address);
	int ret;

	if (options->parent) {
		/* even if this process is stopped then */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != options->parent) {
			warnx("the launcher is gone");
			return -1;
		}
	}
	if (options->socket >= 0)
		ret =
		    lshm_region_receive(&wc->region, options->socket, 0, &opts);
	else
		ret = lshm_region_open(&wc->region, options->region,
		    options->parent ? 0 : LSHM_CREATE, &opts);
	if (ret < 0) {
		warnx("no region: %s", lshm_error());
		return -1;
	}
	if (open_job(wc) < 0) {
		warnx("no job in the region: %s", lshm_error());
		wc_detach(wc);
		return -1;
	}
	setproctitle("%s", role);
	wc_say_place(wc, role);
	return 0;
}

void wc_detach(struct wc *wc)
{
	lshm_region_close(wc->region);
	wc->region = NULL;
}

int wc_take(struct lshm_consumer *in, struct lshm_message *message)
{
	int ret;

	do
		ret = lshm_consumer_take(
		    in, message, lshm_deadline_ms(WC_JOIN_MS));
	while (ret == -ETIMEDOUT && lshm_consumer_wait(in, 1, LSHM_NOW) == 0);
	return ret;
}
