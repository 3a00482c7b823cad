/* SPDX-License-Identifier: MIT */
/* cmd_info.c - shmctl info: all about one region */
#include "shmctl.h"

#include <err.h>
#include <stdlib.h>
#include <string.h>

static const struct choice choices[] = {
    CHOICE_JSON,
    {0},
};

/* Remember the first thing that could not be read, and go on without it. */
static void add_error(json_t *region)
{
	if (!json_object_get(region, "error"))
		json_put(region, "error", json_text(lshm_error()));
}

static void add_heap(json_t *region, struct lshm_region *handle)
{
	json_t *heap = json_object();
	struct lshm_heap_info info;

	json_put(region, "heap", heap);
	if (lshm_heap_stat(handle, &info) < 0) {
		add_error(region);
		return;
	}
	json_put(heap, "total_bytes", json_integer(info.total_bytes));
	json_put(heap, "max_bytes", json_integer(info.max_bytes));
	json_put(heap, "free_bytes", json_integer(info.free_bytes));
	json_put(
	    heap, "largest_free_bytes", json_integer(info.largest_free_bytes));
	json_put(heap, "slab_bytes", json_integer(info.slab_bytes));
	json_put(heap, "run_bytes", json_integer(info.run_bytes));
	json_put(heap, "slabs", json_integer(info.slabs));
	json_put(heap, "orphan_slabs", json_integer(info.orphan_slabs));
	json_put(heap, "draft_blocks", json_integer(info.draft_blocks));
	json_put(heap, "draft_bytes", json_integer(info.draft_bytes));
	json_put(heap, "attached_blocks", json_integer(info.attached_blocks));
	json_put(heap, "attached_bytes", json_integer(info.attached_bytes));
}

static json_t *describe_endpoint(
    struct lshm_region *handle, const struct lshm_endpoint_info *info)
{
	struct lshm_participant_info who;
	json_t *row = json_object();

	json_put(
	    row, "role", json_string(info->producer ? "producer" : "consumer"));
	json_put(row, "slot", json_integer(info->slot));
	json_put(row, "generation", json_integer(info->generation));
	json_put(row, "alive", json_boolean(info->alive));
	json_put(row, "held", json_integer(info->held));
	json_put(row, "position", json_integer(info->position));
	if (lshm_region_participant(handle, info->slot, &who) == 0 &&
	    who.generation == info->generation) {
		json_put(row, "pid", json_integer(who.pid));
		json_put(row, "command", json_text(who.command));
	}
	return row;
}

static json_t *describe_channel(struct lshm_region *handle, const char *name)
{
	struct lshm_endpoint_info endpoint;
	struct lshm_channel_info info;
	json_t *row, *endpoints;

	if (lshm_channel_stat(handle, name, &info) < 0)
		return NULL;
	row = json_object();
	json_put(row, "name", json_text(name));
	json_put(row, "mode",
	    json_string(info.mode == LSHM_WORK ? "work" : "broadcast"));
	json_put(row, "depth", json_integer(info.depth));
	json_put(row, "max_message", json_integer(info.max_message));
	json_put(row, "producers", json_integer(info.producers));
	json_put(row, "consumers", json_integer(info.consumers));
	json_put(row, "ended", json_boolean(info.ended));
	json_put(row, "published", json_integer(info.published));
	json_put(row, "backlog", json_integer(info.backlog));
	json_put(row, "redelivered", json_integer(info.redelivered));
	endpoints = json_array();
	for (uint32_t i = 0; i < 2 * LSHM_ENDPOINTS_MAX; i++)
		if (lshm_channel_endpoint(handle, name, i, &endpoint) == 0)
			json_array_append_new(
			    endpoints, describe_endpoint(handle, &endpoint));
	json_put(row, "endpoints", endpoints);
	return row;
}

static void add_channels(json_t *region, struct lshm_region *handle)
{
	json_t *rows = json_array(), *row;
	struct lshm_object_info info;
	uint64_t cursor = 0;

	while (lshm_object_next(handle, &cursor, &info) == 0) {
		if (strcmp(info.type, LSHM_CHANNEL_TYPE) != 0)
			continue;
		row = describe_channel(handle, info.name);
		if (row)
			json_array_append_new(rows, row);
		else
			add_error(region);
	}
	json_put(region, "channels", rows);
}

static void print_header(const json_t *region)
{
	static const struct column lines[] = {
	    {"uuid", "uuid", TEXT},
	    {"backend", "backend", TEXT},
	    {"size", "size", BYTES},
	    {"grows to", "max_size", BYTES},
	    {"in steps of", "granule", BYTES},
	    {"page size", "page_size", BYTES},
	    {"heap begins at", "heap_offset", BYTES},
	    {"owner", "owner_uid", USER},
	    {"mode", "mode", TEXT},
	    {"created", "created_ns", WHEN},
	    {"by pid", "creator_pid", NUMBER},
	    {"layout version", "layout_version", NUMBER},
	    {"compat", "compat", TEXT},
	    {"ro_compat", "ro_compat", TEXT},
	    {"incompat", "incompat", TEXT},
	    {"device", "device", TEXT},
	    {"inode", "inode", NUMBER},
	    {"physical runs", "runs", NUMBER},
	    {"alive", "alive", NUMBER},
	    {"dead", "dead", NUMBER},
	    {"slots", "max_participants", NUMBER},
	    {"deaths so far", "deaths", NUMBER},
	    {"lanes in use", "lanes", NUMBER},
	    {"lanes at most", "max_lanes", NUMBER},
	};

	output_list(2, region, lines, ARRAY_SIZE(lines));
}

static void print_heap(const json_t *heap)
{
	static const struct column lines[] = {
	    {"spans", "total_bytes", BYTES},
	    {"grows to", "max_bytes", BYTES},
	    {"free pages", "free_bytes", BYTES},
	    {"longest run", "largest_free_bytes", BYTES},
	    {"in slabs", "slab_bytes", BYTES},
	    {"in runs", "run_bytes", BYTES},
	    {"slabs", "slabs", NUMBER},
	    {"orphan slabs", "orphan_slabs", NUMBER},
	    {"drafts", "draft_blocks", NUMBER},
	    {"in drafts", "draft_bytes", BYTES},
	    {"attached", "attached_blocks", NUMBER},
	    {"in attached", "attached_bytes", BYTES},
	};

	printf("\nheap\n");
	output_list(2, heap, lines, ARRAY_SIZE(lines));
}

/* A heading and a table; nothing at all if there are no rows. */
static void print_section(const char *heading, const json_t *rows,
    const struct column *columns, size_t count, void (*note)(const json_t *row))
{
	if (json_array_size(rows) == 0)
		return;
	printf("\n%s\n", heading);
	output_table(2, rows, columns, count, note);
}

static void print_endpoints(const json_t *channel)
{
	static const struct column columns[] = {
	    {"END", "role", TEXT},
	    {"SLOT", "slot", NUMBER},
	    {"PID", "pid", NUMBER},
	    {"COMMAND", "command", TEXT},
	    {"ALIVE", "alive", YESNO},
	    {"HELD", "held", NUMBER},
	    {"POSITION", "position", NUMBER},
	};
	const json_t *rows = json_object_get(channel, "endpoints");

	if (json_array_size(rows))
		output_table(6, rows, columns, ARRAY_SIZE(columns), NULL);
}

static void text(const json_t *region)
{
	static const struct column participants[] = {
	    {"SLOT", "slot", NUMBER},
	    {"PID", "pid", NUMBER},
	    {"COMMAND", "command", TEXT},
	    {"USER", "uid", USER},
	    {"STATE", "state", TEXT},
	    {"BASE", "base", TEXT},
	    {"LANES", "lanes", NUMBER},
	    {"SINCE", "since_ns", AGO},
	};
	static const struct column deaths[] = {
	    {"SLOT", "slot", NUMBER},
	    {"PID", "pid", NUMBER},
	    {"COMMAND", "command", TEXT},
	    {"USER", "uid", USER},
	    {"REAPED", "reaped_ns", AGO},
	};
	static const struct column objects[] = {
	    {"NAME", "name", TEXT},
	    {"TYPE", "type", TEXT},
	    {"OFFSET", "offset", NUMBER},
	    {"SIZE", "size", NUMBER},
	};
	static const struct column channels[] = {
	    {"NAME", "name", TEXT},
	    {"MODE", "mode", TEXT},
	    {"DEPTH", "depth", NUMBER},
	    {"LARGEST", "max_message", SIZE},
	    {"PRODUCERS", "producers", NUMBER},
	    {"CONSUMERS", "consumers", NUMBER},
	    {"ENDED", "ended", YESNO},
	    {"PUBLISHED", "published", NUMBER},
	    {"BACKLOG", "backlog", NUMBER},
	    {"REDELIVERED", "redelivered", NUMBER},
	};
	char *name = output_safe(json_string_of(region, "name"));

	printf("%s\n", name);
	free(name);
	print_header(region);
	print_section("participants", json_object_get(region, "participants"),
	    participants, ARRAY_SIZE(participants), NULL);
	print_section("last deaths", json_object_get(region, "last_deaths"),
	    deaths, ARRAY_SIZE(deaths), NULL);
	print_heap(json_object_get(region, "heap"));
	print_section("objects", json_object_get(region, "objects"), objects,
	    ARRAY_SIZE(objects), NULL);
	print_section("channels", json_object_get(region, "channels"), channels,
	    ARRAY_SIZE(channels), print_endpoints);
}

static int run(char **names)
{
	int status = EXIT_SUCCESS;
	struct lshm_region *region;
	json_t *value;

	if (observe(&region, *names) < 0) {
		warnx("%s: %s", *names, lshm_error());
		return EXIT_FAILURE;
	}
	value = describe_region(*names, region);
	add_heap(value, region);
	add_channels(value, region);
	lshm_region_close(region);
	if (json_object_get(value, "error")) {
		warnx("%s: %s", *names, json_string_of(value, "error"));
		status = EXIT_FAILURE;
	}
	output(value, text);
	return status;
}

const struct verb verb_info = {
    .name = "info",
    .operands = "NAME",
    .summary = "Tell all about one region.",
    .min = 1,
    .max = 1,
    .choices = choices,
    .run = run,
};
