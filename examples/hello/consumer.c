/* SPDX-License-Identifier: MIT */
/*
 * consumer.c - print the greetings that producer.c writes, in place
 *
 *     build/examples/hello/hello_consumer &
 *     build/examples/hello/hello_producer
 *     build/tools/shmctl rm hello
 *
 * Either may start first, and several consumers share the greetings.
 */
#include <err.h>
#include <errno.h>
#include <libshm/libshm.h>
#include <stdio.h>

int main(int argc, char **argv)
{
	struct lshm_channel_opts opts = LSHM_CHANNEL_OPTS(.mode = LSHM_WORK);
	const char *name = argc > 1 ? argv[1] : "hello";
	struct lshm_region *region;
	struct lshm_consumer *in;
	struct lshm_message m;
	int ret;

	if (lshm_region_open(&region, name, LSHM_CREATE, NULL) < 0 ||
	    lshm_consumer_open(&in, region, "greetings", &opts) < 0)
		errx(1, "%s", lshm_error());
	while ((ret = lshm_consumer_take(in, &m, LSHM_FOREVER)) == 0) {
		printf("%.*s\n", (int)m.size, (const char *)m.data);
		lshm_consumer_release(in, &m);
	}
	if (ret != -ENODATA)
		errx(1, "%s", lshm_error());
	lshm_consumer_close(in);
	lshm_region_close(region);
}
