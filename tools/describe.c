/* SPDX-License-Identifier: MIT */
/* describe.c - a region as JSON: what several verbs tell of it */
#include "shmctl.h"

#include <errno.h>
#include <sys/sysmacros.h>

/* How many lshm_region_death() remembers. */
#define DEATHS_KEPT 16

static const char *backend_name(uint32_t backend)
{
	static const char *const names[] = {
	    [LSHM_BACKEND_DEFAULT] = "default",
	    [LSHM_BACKEND_POSIX] = "posix",
	    [LSHM_BACKEND_MEMFD] = "memfd",
	    [LSHM_BACKEND_FILE] = "file",
	    [LSHM_BACKEND_KERNEL] = "kernel",
	};

	return backend < ARRAY_SIZE(names) ? names[backend] : "unknown";
}

static const char *state_name(uint32_t state)
{
	static const char *const names[] = {
	    [LSHM_PARTICIPANT_FREE] = "free",
	    [LSHM_PARTICIPANT_ALIVE] = "alive",
	    [LSHM_PARTICIPANT_DEAD] = "dead",
	    [LSHM_PARTICIPANT_REAPING] = "reaping",
	    [LSHM_PARTICIPANT_REAPED] = "reaped",
	};

	return state < ARRAY_SIZE(names) ? names[state] : "unknown";
}

static json_t *uuid_text(const uint8_t u[16])
{
	return json_sprintf("%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-"
			    "%02x%02x%02x%02x%02x%02x",
	    u[0], u[1], u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10],
	    u[11], u[12], u[13], u[14], u[15]);
}

int observe(struct lshm_region **out, const char *name)
{
	return lshm_region_open(out, name, LSHM_RDONLY | LSHM_ANY_OWNER, NULL);
}

json_t *describe_header(const char *name, struct lshm_region *region)
{
	json_t *header = json_pack("{s:o}", "name", json_text(name));
	struct lshm_region_info info;

	if (lshm_region_stat(region, &info) < 0) {
		json_put(header, "error", json_text(lshm_error()));
		return header;
	}
	json_put(header, "backend", json_string(backend_name(info.backend)));
	json_put(header, "size", json_integer(info.size));
	json_put(header, "max_size", json_integer(info.max_size));
	json_put(header, "granule", json_integer(info.granule));
	json_put(header, "page_size", json_integer(info.page_size));
	json_put(header, "heap_offset", json_integer(info.heap_offset));
	json_put(header, "owner_uid", json_integer(info.owner_uid));
	json_put(header, "owner_gid", json_integer(info.owner_gid));
	json_put(header, "mode", json_sprintf("%04o", info.mode & 07777));
	json_put(header, "uuid", uuid_text(info.uuid));
	json_put(header, "layout_version", json_integer(info.layout_version));
	json_put(header, "compat", json_hex(info.compat));
	json_put(header, "ro_compat", json_hex(info.ro_compat));
	json_put(header, "incompat", json_hex(info.incompat));
	json_put(header, "creator_pid", json_integer(info.creator_pid));
	json_put(header, "created_ns", json_integer(info.created_ns));
	json_put(header, "device",
	    json_sprintf("%u:%u", major(info.device), minor(info.device)));
	json_put(header, "inode", json_integer(info.inode));
	if (info.runs)
		json_put(header, "runs", json_integer(info.runs));
	json_put(
	    header, "max_participants", json_integer(info.max_participants));
	json_put(header, "max_lanes", json_integer(info.max_lanes));
	json_put(header, "lanes", json_integer(info.lanes));
	json_put(header, "deaths", json_integer(info.deaths));
	return header;
}

/* Less is remembered of the reaped than is known of those who have a slot. */
static json_t *describe_participant(const struct lshm_participant_info *info)
{
	json_t *row = json_object();

	json_put(row, "slot", json_integer(info->slot));
	json_put(row, "generation", json_integer(info->generation));
	json_put(row, "state", json_string(state_name(info->state)));
	json_put(row, "pid", json_integer(info->pid));
	json_put(row, "uid", json_integer(info->uid));
	json_put(row, "command", json_text(info->command));
	if (info->state == LSHM_PARTICIPANT_REAPED) {
		json_put(row, "reaped_ns", json_integer(info->time_ns));
		return row;
	}
	json_put(
	    row, "same_pid_namespace", json_boolean(info->same_pid_namespace));
	json_put(row, "lanes", json_integer(info->lanes));
	json_put(row, "base", json_hex(info->base));
	json_put(row, "since_ns", json_integer(info->time_ns));
	return row;
}

/* A participant that is not alive is dead, even while it is being reaped. */
static void add_participants(json_t *region, struct lshm_region *handle)
{
	json_t *rows = json_array();
	struct lshm_participant_info info;
	json_int_t alive = 0, dead = 0;

	for (uint32_t slot = 0;
	     lshm_region_participant(handle, slot, &info) == 0; slot++) {
		if (info.state == LSHM_PARTICIPANT_FREE)
			continue;
		*(info.state == LSHM_PARTICIPANT_ALIVE ? &alive : &dead) += 1;
		json_array_append_new(rows, describe_participant(&info));
	}
	json_put(region, "alive", json_integer(alive));
	json_put(region, "dead", json_integer(dead));
	json_put(region, "participants", rows);
}

static void add_deaths(json_t *region, struct lshm_region *handle)
{
	json_t *rows = json_array();
	struct lshm_participant_info info;

	for (uint32_t back = 0; back < DEATHS_KEPT; back++)
		if (lshm_region_death(handle, back, &info) == 0)
			json_array_append_new(
			    rows, describe_participant(&info));
	json_put(region, "last_deaths", rows);
}

static void add_objects(json_t *region, struct lshm_region *handle)
{
	json_t *rows = json_array();
	struct lshm_object_info info;
	uint64_t cursor = 0;
	int ret;

	while ((ret = lshm_object_next(handle, &cursor, &info)) == 0)
		json_array_append_new(rows,
		    json_pack("{s:o, s:o, s:I, s:I}", "name",
			json_text(info.name), "type", json_text(info.type),
			"offset", (json_int_t)info.offset, "size",
			(json_int_t)info.size));
	if (ret != -ENOENT)
		json_put(region, "error", json_text(lshm_error()));
	json_put(region, "objects", rows);
}

json_t *describe_region(const char *name, struct lshm_region *region)
{
	json_t *value = describe_header(name, region);

	add_participants(value, region);
	add_deaths(value, region);
	add_objects(value, region);
	return value;
}
