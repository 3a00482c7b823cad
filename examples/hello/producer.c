/* SPDX-License-Identifier: MIT */
/*
 * producer.c - write five greetings into shared memory
 *
 *     build/examples/hello/hello_producer &
 *     build/examples/hello/hello_consumer
 *     build/tools/shmctl rm hello
 *
 * Either may start first. The stream ends with the last greeting and stays
 * ended: remove the region, as above, before the next run.
 */
#include <err.h>
#include <libshm/libshm.h>
#include <stdio.h>

int main(int argc, char **argv)
{
	struct lshm_channel_opts opts = LSHM_CHANNEL_OPTS(.mode = LSHM_WORK);
	const char *name = argc > 1 ? argv[1] : "hello";
	struct lshm_region *region;
	struct lshm_producer *out;
	void *message;

	if (lshm_region_open(&region, name, LSHM_CREATE, NULL) < 0 ||
	    lshm_producer_open(&out, region, "greetings", &opts) < 0)
		errx(1, "%s", lshm_error());
	for (int i = 1; i <= 5; i++) {
		if (lshm_producer_loan(out, 32, LSHM_FOREVER, &message) < 0)
			errx(1, "%s", lshm_error());
		snprintf(message, 32, "hello, world, %d of 5", i);
		if (lshm_producer_publish(out, message, LSHM_FOREVER) < 0)
			errx(1, "%s", lshm_error());
	}
	lshm_producer_end(out);
	lshm_producer_close(out);
	lshm_region_close(region);
}
