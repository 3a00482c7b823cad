/* SPDX-License-Identifier: MIT */
/*
 * takeover.c - a lock, and data, taken over from the dead
 *
 *     takeover bank         move 1 from one account to the other
 *     takeover bank die     be killed halfway through that
 *     takeover bank         take the lock over, repair, go on
 *
 * While the lock is held the sum of the two accounts may be wrong. Who gets the
 * lock with LSHM_OWNER_DIED as news finds them as the dead one left them, and
 * makes them right before it goes on.
 */
#include <err.h>
#include <errno.h>
#include <libshm/libshm.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#define SUM 100

/* In shared memory: fixed sizes, no pointers. */
struct bank {
	struct lshm_mutex mutex; /* all zero is unlocked */
	uint64_t from;
	uint64_t to;
};

/* Fills the object in, before anybody else can see it. */
static int init(void *block, void *arg)
{
	struct bank *bank = block;

	bank->from = SUM;
	return 0;
}

int main(int argc, char **argv)
{
	struct lshm_region *region;
	struct bank *bank;
	void *block;
	int ret;

	if (argc < 2)
		errx(2, "usage: takeover REGION [die]");
	if (lshm_region_open(&region, argv[1], LSHM_CREATE, NULL) < 0)
		errx(1, "%s", lshm_error());
	ret = lshm_object_create(
	    region, "bank", "bank", sizeof(*bank), init, NULL, &block);
	if (ret == -EEXIST)
		ret = lshm_object_open(
		    region, "bank", "bank", sizeof(*bank), &block);
	if (ret < 0)
		errx(1, "%s", lshm_error());
	bank = block;

	ret = lshm_mutex_lock(region, &bank->mutex, lshm_deadline_ms(10000));
	if (ret < 0)
		errx(1, "%s", lshm_error());
	if (ret == LSHM_OWNER_DIED) {
		printf("the owner of the lock died: %llu + %llu\n",
		    (unsigned long long)bank->from,
		    (unsigned long long)bank->to);
		bank->to = SUM - bank->from;
	}
	if (bank->from > 0) {
		bank->from--;
		if (argc > 2 && strcmp(argv[2], "die") == 0)
			raise(SIGKILL);
		bank->to++;
	}
	printf("%llu + %llu\n", (unsigned long long)bank->from,
	    (unsigned long long)bank->to);
	lshm_mutex_unlock(region, &bank->mutex);
	lshm_region_close(region);
	return 0;
}
