/* SPDX-License-Identifier: MIT */
/*
 * holder.c - a process that takes part in a region until it is told to end
 *
 *     holder REGION ADDRESS idle | producer | consumer
 *
 * It attaches (or creates REGION if that is "memfd:NAME"), with the region at
 * ADDRESS if that is free, prints the address it got, and waits for a line on
 * its standard input. A producer makes the object "greeting" and puts three
 * messages into the channel "lines"; a consumer takes one of them and keeps it.
 */
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libshm/libshm.h>

#define MESSAGES 3

static void check(int ret, const char *what)
{
	if (ret < 0)
		errx(1, "%s: %s", what, lshm_error());
}

static int greet(void *block, void *arg)
{
	strcpy(block, "Hello from shared memory");
	return 0;
}

static const struct lshm_channel_opts work =
    LSHM_CHANNEL_OPTS(.mode = LSHM_WORK, .depth = 8);

static struct lshm_producer *produce(struct lshm_region *region)
{
	struct lshm_producer *out;

	check(lshm_object_create(
		  region, "greeting", "text", 256, greet, NULL, NULL),
	    "object");
	check(lshm_producer_open(&out, region, "lines", &work), "producer");
	for (int i = 0; i < MESSAGES; i++)
		check(lshm_producer_send(out, &i, sizeof(i), LSHM_NOW), "send");
	return out;
}

static struct lshm_consumer *consume(struct lshm_region *region)
{
	struct lshm_message message;
	struct lshm_consumer *in;

	check(lshm_consumer_open(&in, region, "lines", &work), "consumer");
	check(lshm_consumer_take(in, &message, LSHM_NOW), "take");
	return in;
}

int main(int argc, char **argv)
{
	struct lshm_region_opts opts = LSHM_REGION_OPTS(0);
	struct lshm_producer *out = NULL;
	struct lshm_consumer *in = NULL;
	struct lshm_region *region;
	unsigned int flags = 0;

	if (argc != 4)
		errx(2, "usage: holder REGION ADDRESS ROLE");
	opts.address = (void *)(uintptr_t)strtoull(argv[2], NULL, 16);
	if (strncmp(argv[1], "memfd:", 6) == 0)
		flags = LSHM_CREATE;
	check(lshm_region_open(&region, argv[1], flags, &opts), argv[1]);
	if (strcmp(argv[3], "producer") == 0)
		out = produce(region);
	if (strcmp(argv[3], "consumer") == 0)
		in = consume(region);
	printf("%p\n", lshm_region_base(region));
	fflush(stdout);
	getchar();
	lshm_consumer_close(in);
	lshm_producer_close(out);
	lshm_region_close(region);
	return 0;
}
