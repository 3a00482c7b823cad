/* SPDX-License-Identifier: MIT */
/*
 * cmd_maps.c - shmctl maps: who has a region mapped, where, and by which pages
 *
 * All of it is the kernel's word: /proc/PID/maps says who maps the region's
 * file, smaps how much of it, pagemap which page frames. Of a region of the
 * kernel backend every descriptor is a file of its own; /proc/PID/fdinfo says
 * which are of the region.
 */
#include "shmctl.h"

#include <ctype.h>
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILES_MAX 64 /* descriptors of one region in one process */

static uint32_t pages_wanted = 4;

static const struct choice choices[] = {
    {"pages", "N", "page frames to tell of (4)", parse_number, &pages_wanted},
    CHOICE_JSON,
    {0},
};

/* struct mapping - a line of /proc/PID/maps */
struct mapping {
	uint64_t start;
	uint64_t end;
	uint64_t offset;
	uint64_t inode;
	unsigned int major;
	unsigned int minor;
	char rights[5];
};

static bool parse_mapping(const char *line, struct mapping *m)
{
	return sscanf(line,
		   "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %x:%x %" SCNu64,
		   &m->start, &m->end, m->rights, &m->offset, &m->major,
		   &m->minor, &m->inode) == 7;
}

/* struct files - what a process may have mapped of the region */
struct files {
	unsigned int major;
	unsigned int minor;
	uint64_t region; /* the kernel backend's number of it; 0: another one */
	uint64_t inodes[FILES_MAX];
	size_t count;
};

/* The mappings of the region's file, without those that only hold a place. */
static bool is_wanted(const struct mapping *m, const struct files *files)
{
	if (m->major != files->major || m->minor != files->minor ||
	    strncmp(m->rights, "---", 3) == 0)
		return false;
	for (size_t i = 0; i < files->count; i++)
		if (files->inodes[i] == m->inode)
			return true;
	return false;
}

static FILE *open_proc(const char *pid, const char *file)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "/proc/%s/%s", pid, file);
	return fopen(path, "re");
}

/* One descriptor of a process: of which region is it, and which file? */
static uint64_t read_fdinfo(const char *pid, const char *fd, uint64_t *inode)
{
	char file[300], line[256];
	uint64_t region = 0;
	FILE *stream;

	snprintf(file, sizeof(file), "fdinfo/%s", fd);
	stream = open_proc(pid, file);
	*inode = 0;
	while (stream && fgets(line, sizeof(line), stream)) {
		sscanf(line, "ino: %" SCNu64, inode);
		sscanf(line, "lshm-region: %" SCNu64, &region);
	}
	if (stream)
		fclose(stream);
	return region;
}

/*
 * Look through a process's descriptors for those of the region @files->region;
 * if that is 0, for the region of the file @own.
 */
static void find_files(const char *pid, struct files *files, uint64_t own)
{
	uint64_t region, inode;
	struct dirent *entry;
	char path[64];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%s/fdinfo", pid);
	files->count = 0;
	dir = opendir(path);
	while (dir && files->count < FILES_MAX && (entry = readdir(dir))) {
		region = read_fdinfo(pid, entry->d_name, &inode);
		if (region && files->region == 0 && inode == own)
			files->region = region;
		else if (region && region == files->region)
			files->inodes[files->count++] = inode;
	}
	if (dir)
		closedir(dir);
}

/*
 * What /proc calls the region's file. It is looked up by our own mapping of it,
 * as stat(2) gives other device numbers on some file systems.
 */
static int find_own(const void *base, struct mapping *own)
{
	FILE *stream = open_proc("self", "maps");
	char *line = NULL;
	size_t size = 0;
	int ret = -ENOENT;

	if (!stream)
		return -errno;
	while (ret && getline(&line, &size, stream) > 0)
		if (parse_mapping(line, own) && own->start <= (uintptr_t)base &&
		    own->end > (uintptr_t)base)
			ret = 0;
	free(line);
	fclose(stream);
	return ret;
}

static json_t *describe_mapping(const char *pid, const struct mapping *m)
{
	json_t *row = json_object();
	FILE *stream = open_proc(pid, "comm");
	char command[64] = "";

	if (stream) {
		if (fgets(command, sizeof(command), stream))
			command[strcspn(command, "\n")] = '\0';
		fclose(stream);
	}
	json_put(row, "pid", json_integer(atoi(pid)));
	json_put(row, "command", json_text(command));
	json_put(row, "address", json_hex(m->start));
	json_put(row, "offset", json_integer(m->offset));
	json_put(row, "size", json_integer(m->end - m->start));
	json_put(row, "rights", json_string(m->rights));
	return row;
}

/* "Rss:   12 kB" in smaps, below the line of its mapping; "VmFlags: rd wr" */
static void add_amount(json_t *row, const char *line)
{
	static const struct {
		const char *label;
		const char *key;
	} amounts[] = {
	    {"Rss:", "rss"},
	    {"Locked:", "locked"},
	    {"Swap:", "swap"},
	};
	const char *flags = "VmFlags: ";
	size_t length = strlen(flags);

	if (strncmp(line, flags, length) == 0)
		json_put(row, "vm_flags",
		    json_stringn(line + length, strcspn(line, "\n") - length));
	for (size_t i = 0; i < ARRAY_SIZE(amounts); i++) {
		length = strlen(amounts[i].label);
		if (strncmp(line, amounts[i].label, length) == 0)
			json_put(row, amounts[i].key,
			    json_integer(1024 * atoll(line + length)));
	}
}

/*
 * A process's mappings of the region, from its maps or (slower, with amounts)
 * its smaps. NULL with errno: it cannot be looked into.
 */
static json_t *read_mappings(
    const char *pid, const char *file, const struct files *files)
{
	FILE *stream = open_proc(pid, file);
	json_t *rows, *row = NULL;
	struct mapping m;
	char *line = NULL;
	size_t size = 0;

	if (!stream)
		return NULL;
	rows = json_array();
	while (getline(&line, &size, stream) > 0) {
		if (parse_mapping(line, &m)) {
			row = NULL;
			if (!is_wanted(&m, files))
				continue;
			row = describe_mapping(pid, &m);
			json_array_append_new(rows, row);
		} else if (row) {
			add_amount(row, line);
		}
	}
	free(line);
	fclose(stream);
	return rows;
}

/* All processes but this one. Returns how many could not be looked into. */
static int scan(struct files *files, json_t *mappings)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	json_t *rows;
	int unreadable = 0;

	if (!proc)
		return -errno;
	while ((entry = readdir(proc))) {
		if (!isdigit((unsigned char)*entry->d_name) ||
		    atoi(entry->d_name) == getpid())
			continue;
		if (files->region)
			find_files(entry->d_name, files, 0);
		rows = read_mappings(entry->d_name, "maps", files);
		if (rows && json_array_size(rows)) {
			json_decref(rows);
			rows = read_mappings(entry->d_name, "smaps", files);
		}
		if (!rows && (errno == EACCES || errno == EPERM))
			unreadable++;
		json_array_extend(mappings, rows);
		json_decref(rows);
	}
	closedir(proc);
	return unreadable;
}

static void print_frames(const json_t *frames)
{
	static const struct column columns[] = {
	    {"OFFSET", "offset", NUMBER},
	    {"FRAME", "frame", TEXT},
	    {"PID", "pid", NUMBER},
	    {"COMMAND", "command", TEXT},
	    {"ADDRESS", "address", TEXT},
	};

	if (!json_is_array(frames)) {
		printf("\npage frames: need root\n");
	} else if (json_array_size(frames)) {
		printf("\npage frames (one frame: the same memory)\n");
		output_table(2, frames, columns, ARRAY_SIZE(columns), NULL);
	}
}

static void text(const json_t *value)
{
	static const struct column columns[] = {
	    {"PID", "pid", NUMBER},
	    {"COMMAND", "command", TEXT},
	    {"ADDRESS", "address", TEXT},
	    {"OFFSET", "offset", NUMBER},
	    {"SIZE", "size", SIZE},
	    {"RIGHTS", "rights", TEXT},
	    {"RESIDENT", "rss", SIZE},
	    {"LOCKED", "locked", SIZE},
	    {"SWAPPED", "swap", SIZE},
	    {"VMFLAGS", "vm_flags", TEXT},
	};
	const json_t *mappings = json_object_get(value, "mappings");
	json_int_t unreadable =
	    json_integer_value(json_object_get(value, "unreadable"));

	if (json_array_size(mappings)) {
		output_table(0, mappings, columns, ARRAY_SIZE(columns), NULL);
		print_frames(json_object_get(value, "frames"));
	} else {
		printf("no process has it mapped\n");
	}
	if (unreadable)
		printf("\nprocesses that could not be looked into: "
		       "%" JSON_INTEGER_FORMAT "\n",
		    unreadable);
}

static int run(char **names)
{
	struct lshm_region_info info;
	struct lshm_region *region;
	struct files files = {.count = 1};
	struct mapping own;
	json_t *mappings;
	int ret;

	if (observe(&region, *names) < 0 || lshm_region_stat(region, &info)) {
		warnx("%s: %s", *names, lshm_error());
		return EXIT_FAILURE;
	}
	mappings = json_array();
	ret = find_own(lshm_region_base(region), &own);
	if (ret == 0) {
		files.major = own.major;
		files.minor = own.minor;
		files.inodes[0] = own.inode;
		if (info.backend == LSHM_BACKEND_KERNEL)
			find_files("self", &files, own.inode);
		ret = scan(&files, mappings);
	}
	lshm_region_close(region);
	if (ret < 0) {
		warnx("/proc: %s", strerror(-ret));
		return EXIT_FAILURE;
	}
	output(json_pack("{s:o, s:o, s:i, s:o}", "name", json_text(*names),
		   "mappings", mappings, "unreadable", ret, "frames",
		   describe_frames(
		       mappings, info.size, pages_wanted, files.region)),
	    text);
	return EXIT_SUCCESS;
}

const struct verb verb_maps = {
    .name = "maps",
    .operands = "NAME",
    .summary = "Tell which processes have a region mapped, and where.",
    .details = "Page frames are told to root only.\n",
    .min = 1,
    .max = 1,
    .choices = choices,
    .run = run,
};
