/* SPDX-License-Identifier: MIT */
/* cmd_check.c - shmctl check: whether the heaps of regions are sound */
#include "shmctl.h"

#include <err.h>
#include <limits.h>
#include <stdlib.h>

static const struct choice choices[] = {
    CHOICE_JSON,
    {0},
};

static json_t *verdict(const char *name, bool *sound)
{
	json_t *row = json_object();
	struct lshm_region *region = NULL;
	int ret = observe(&region, name);

	json_put(row, "name", json_text(name));
	if (ret == 0) {
		ret = lshm_heap_check(region);
		json_put(row, "sound", json_boolean(ret == 0));
	}
	if (ret < 0)
		json_put(row, "error", json_text(lshm_error()));
	*sound &= ret == 0;
	lshm_region_close(region);
	return row;
}

static void text(const json_t *value)
{
	const json_t *rows = json_object_get(value, "regions");
	const json_t *row;
	size_t i;

	json_array_foreach(rows, i, row)
	{
		const char *name = json_string_of(row, "name");
		const char *error = json_string_of(row, "error");

		if (error)
			warnx("%s: %s", name, error);
		else
			printf("%s: sound\n", name);
	}
}

static int run(char **names)
{
	json_t *value = json_object(), *rows = json_array();
	bool sound = true;

	for (; *names; names++)
		json_array_append_new(rows, verdict(*names, &sound));
	json_put(value, "regions", rows);
	output(value, text);
	return sound ? EXIT_SUCCESS : EXIT_FAILURE;
}

const struct verb verb_check = {
    .name = "check",
    .operands = "NAME...",
    .summary = "Tell whether the heaps of regions are sound.",
    .details = "Nothing is changed, and they may be in use.\n",
    .min = 1,
    .max = INT_MAX,
    .choices = choices,
    .run = run,
};
