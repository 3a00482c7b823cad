/* SPDX-License-Identifier: MIT */
/* cmd_rm.c - shmctl rm: remove the names of regions */
#include "shmctl.h"

#include <err.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

static bool force;

static const struct choice choices[] = {
    {"force", NULL, "even if it is in use, or cannot be read", NULL, &force},
    {0},
};

/* Say who takes part in a region. Returns whether anybody does. */
static bool in_use(const char *name, struct lshm_region *region)
{
	struct lshm_participant_info who;
	unsigned int alive = 0;
	char *command;

	for (uint32_t slot = 0;
	     lshm_region_participant(region, slot, &who) == 0; slot++) {
		if (who.state != LSHM_PARTICIPANT_ALIVE)
			continue;
		if (alive++ == 0)
			warnx("%s: in use; --force removes the name all the "
			      "same",
			    name);
		command = output_safe(who.command);
		warnx("%s: in use by pid %u %s", name, who.pid, command);
		free(command);
	}
	return alive > 0;
}

/*
 * May the name be removed? What is no region at all, behind a path somewhere,
 * may be anybody's file: that is left to rm(1).
 */
static bool may_remove(const char *name)
{
	struct lshm_region *region;
	int ret = observe(&region, name);
	bool may;

	if (ret == 0) {
		may = force || !in_use(name, region);
		lshm_region_close(region);
		return may;
	}
	may = force && ret != -ENOENT &&
	      !(ret == -EBADMSG && strncmp(name, "file:", 5) == 0);
	if (!may)
		warnx("%s: %s", name, lshm_error());
	return may;
}

static int run(char **names)
{
	int status = EXIT_SUCCESS;

	for (; *names; names++) {
		if (!may_remove(*names)) {
			status = EXIT_FAILURE;
		} else if (lshm_region_unlink(*names, LSHM_BACKEND_DEFAULT) <
			   0) {
			warnx("%s: %s", *names, lshm_error());
			status = EXIT_FAILURE;
		}
	}
	return status;
}

const struct verb verb_rm = {
    .name = "rm",
    .operands = "NAME...",
    .summary = "Remove the names of regions that nobody uses any more.",
    .details = "Those attached go on; the memory goes with the last one.\n",
    .min = 1,
    .max = INT_MAX,
    .choices = choices,
    .run = run,
};
