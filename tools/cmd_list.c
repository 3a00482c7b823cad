/* SPDX-License-Identifier: MIT */
/* cmd_list.c - shmctl list: all regions, and who died in them */
#include "shmctl.h"

#include <err.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Deaths that the text tells of one by one; JSON has all that are known. */
#define DEATHS_SHOWN 4

static bool strict;

static const struct choice choices[] = {
    CHOICE_JSON,
    {"strict", NULL, "exit 1 if a region cannot be read", NULL, &strict},
    {0},
};

/* lshm_region_list()'s callback: one more region */
static int add(const char *name, void *regions)
{
	struct lshm_region *region;
	int ret = observe(&region, name);

	if (ret == -ENOENT) /* removed meanwhile */
		return 0;
	if (ret < 0) {
		json_array_append_new(
		    regions, json_pack("{s:o, s:o}", "name", json_text(name),
				 "error", json_text(lshm_error())));
		return 0;
	}
	json_array_append_new(regions, describe_region(name, region));
	lshm_region_close(region);
	return 0;
}

static int compare(const void *left, const void *right)
{
	return strcmp(json_string_of(*(json_t *const *)left, "name"),
	    json_string_of(*(json_t *const *)right, "name"));
}

/* A new array with the same regions by name; @regions is consumed. */
static json_t *by_name(json_t *regions)
{
	size_t count = json_array_size(regions);
	json_t **order = calloc(count + 1, sizeof(*order));
	json_t *sorted = json_array();

	if (!order)
		err(EXIT_FAILURE, NULL);
	for (size_t i = 0; i < count; i++)
		order[i] = json_array_get(regions, i);
	qsort(order, count, sizeof(*order), compare);
	for (size_t i = 0; i < count; i++)
		json_array_append(sorted, order[i]);
	free(order);
	json_decref(regions);
	return sorted;
}

static void print_death(const char *how, const json_t *who, const char *when)
{
	char *command = output_safe(json_string_of(who, "command"));

	printf("  %s: pid %" JSON_INTEGER_FORMAT "%s %s, %s\n", how,
	    json_integer_value(json_object_get(who, "pid")),
	    json_is_false(json_object_get(who, "same_pid_namespace"))
		? " (of another pid namespace)"
		: "",
	    command, when);
	free(command);
}

/* What stands below a region's line: what died, and why it cannot be read. */
static void print_notes(const json_t *region)
{
	const json_t *participants = json_object_get(region, "participants");
	const json_t *deaths = json_object_get(region, "last_deaths");
	const char *error = json_string_of(region, "error"), *state;
	const json_t *who;
	char *text;
	size_t i;

	for (i = 0; i < json_array_size(participants); i++) {
		who = json_array_get(participants, i);
		state = json_string_of(who, "state");
		if (strcmp(state, "dead") == 0)
			print_death("died", who, "not yet reaped");
		else if (strcmp(state, "reaping") == 0)
			print_death("gone", who, "being reaped");
	}
	for (i = 0; i < json_array_size(deaths) && i < DEATHS_SHOWN; i++) {
		who = json_array_get(deaths, i);
		text = output_cell(json_object_get(who, "reaped_ns"), AGO);
		print_death("died", who, text);
		free(text);
	}
	if (i < json_array_size(deaths))
		printf("  died: %zu more; 'shmctl info' tells\n",
		    json_array_size(deaths) - i);
	if (error) {
		text = output_safe(error);
		printf("  cannot be read: %s\n", text);
		free(text);
	}
}

static void text(const json_t *value)
{
	static const struct column columns[] = {
	    {"NAME", "name", TEXT},
	    {"BACKEND", "backend", TEXT},
	    {"SIZE", "size", SIZE},
	    {"MAX", "max_size", SIZE},
	    {"OWNER", "owner_uid", USER},
	    {"MODE", "mode", TEXT},
	    {"ALIVE", "alive", NUMBER},
	    {"DEAD", "dead", NUMBER},
	    {"SLOTS", "max_participants", NUMBER},
	    {"DEATHS", "deaths", NUMBER},
	    {"OBJECTS", "objects", NUMBER},
	};

	output_table(0, json_object_get(value, "regions"), columns,
	    ARRAY_SIZE(columns), print_notes);
}

static bool all_read(const json_t *regions)
{
	for (size_t i = 0; i < json_array_size(regions); i++)
		if (json_object_get(json_array_get(regions, i), "error"))
			return false;
	return true;
}

static int run(char **none)
{
	json_t *regions = json_array();
	int ret = lshm_region_list(add, regions);
	bool complete = ret == 0 && all_read(regions);

	output(json_pack("{s:o}", "regions", by_name(regions)), text);
	if (ret < 0) {
		warnx("%s", lshm_error());
		return EXIT_FAILURE;
	}
	return strict && !complete ? EXIT_FAILURE : EXIT_SUCCESS;
}

const struct verb verb_list = {
    .name = "list",
    .operands = "",
    .summary = "List all regions, and who died in them.",
    .choices = choices,
    .run = run,
};
