/* SPDX-License-Identifier: MIT */
/* cmd_create.c - shmctl create: make a region and leave it to others */
#include "shmctl.h"

#include <err.h>
#include <stdlib.h>
#include <string.h>

static struct lshm_region_opts opts = LSHM_REGION_OPTS(0);
static uint32_t numa_node = UINT32_MAX;
static bool contiguous, huge, lock, pinnable, prefault;

static const char *parse_mode(const char *argument, void *value)
{
	char *end;
	unsigned long mode = strtoul(argument, &end, 8);

	if (*argument < '0' || *argument > '7' || *end || mode > 0777)
		return "permission bits in octal such as 0660";
	*(uint32_t *)value = mode;
	return NULL;
}

static const char *parse_backend(const char *argument, void *value)
{
	uint32_t *backend = value;

	if (strcmp(argument, "posix") == 0)
		*backend = LSHM_BACKEND_POSIX;
	else if (strcmp(argument, "file") == 0)
		*backend = LSHM_BACKEND_FILE;
	else if (strcmp(argument, "kernel") == 0)
		*backend = LSHM_BACKEND_KERNEL;
	else
		return "posix, kernel or file";
	return NULL;
}

static const struct choice choices[] = {
    {"size", "SIZE", "bytes it has now (16M)", parse_size, &opts.size},
    {"max-size", "SIZE", "bytes it may grow to (--size, or else 1G)",
	parse_size, &opts.max_size},
    {"mode", "MODE", "permission bits, less the umask (0600)", parse_mode,
	&opts.mode},
    {"participants", "N", "how many may take part at a time (64)", parse_number,
	&opts.max_participants},
    {"backend", "NAME", "posix, kernel, or file: NAME is a path (by NAME)",
	parse_backend, &opts.backend},
    {"numa", "NODE", "take its memory from this NUMA node", parse_number,
	&numa_node},
    {"contiguous", NULL, "in one physical piece (kernel)", NULL, &contiguous},
    {"huge", NULL, "ask for huge pages", NULL, &huge},
    {"lock", NULL, "check that it can be locked in memory", NULL, &lock},
    {"pinnable", NULL, "fit for O_DIRECT and its like (kernel)", NULL,
	&pinnable},
    {"prefault", NULL, "touch every page now", NULL, &prefault},
    CHOICE_JSON,
    {0},
};

static void text(const json_t *region)
{
	static const struct column lines[] = {
	    {"name", "name", TEXT},
	    {"backend", "backend", TEXT},
	    {"size", "size", BYTES},
	    {"grows to", "max_size", BYTES},
	    {"mode", "mode", TEXT},
	    {"participants", "max_participants", NUMBER},
	    {"in huge pages", "huge_bytes", BYTES},
	    {"locked", "locked_bytes", BYTES},
	    {"physical runs", "runs", NUMBER},
	};

	output_list(0, region, lines, ARRAY_SIZE(lines));
}

static int run(char **names)
{
	unsigned int flags = LSHM_CREATE | LSHM_EXCL | LSHM_ANY_OWNER;
	struct lshm_region_info info;
	struct lshm_region *region;
	json_t *value;

	flags |= contiguous ? LSHM_CONTIGUOUS : 0;
	flags |= huge ? LSHM_HUGE : 0;
	flags |= lock ? LSHM_LOCK : 0;
	flags |= pinnable ? LSHM_PINNABLE : 0;
	flags |= prefault ? LSHM_PREFAULT : 0;
	if (numa_node != UINT32_MAX)
		opts.numa_node = numa_node + 1;
	if (lshm_region_open(&region, *names, flags, &opts) < 0) {
		warnx("%s: %s", *names, lshm_error());
		return EXIT_FAILURE;
	}
	value = describe_header(*names, region);
	if (lshm_region_stat(region, &info) == 0) {
		if (huge)
			json_put(
			    value, "huge_bytes", json_integer(info.huge_bytes));
		if (lock)
			json_put(value, "locked_bytes",
			    json_integer(info.locked_bytes));
	}
	output(value, text);
	lshm_region_close(region);
	return EXIT_SUCCESS;
}

const struct verb verb_create = {
    .name = "create",
    .operands = "NAME",
    .summary = "Create a region, for others to attach to.",
    .min = 1,
    .max = 1,
    .choices = choices,
    .run = run,
};
