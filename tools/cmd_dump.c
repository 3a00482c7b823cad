/* SPDX-License-Identifier: MIT */
/* cmd_dump.c - shmctl dump: the bytes of a region, in hexadecimal */
#include "shmctl.h"

#include <ctype.h>
#include <err.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define LINE	16
#define NOT_SET UINT64_MAX

static uint64_t offset = NOT_SET, length = NOT_SET;
static const char *object;

static const struct choice choices[] = {
    {"offset", "N", "begin here (0)", parse_size, &offset},
    {"length", "N", "so many bytes (to the end)", parse_size, &length},
    {"object", "NAME", "the bytes of this object", parse_text, &object},
    CHOICE_JSON,
    {0},
};

/* The named object becomes the offset and length to dump. */
static int find_object(struct lshm_region *region)
{
	struct lshm_object_info info;
	uint64_t cursor = 0;
	int ret;

	while ((ret = lshm_object_next(region, &cursor, &info)) == 0) {
		if (strcmp(info.name, object) == 0) {
			offset = info.offset;
			length = info.size;
			break;
		}
	}
	return ret;
}

/* Default what was not asked for. Returns whether there are such bytes. */
static bool find_range(struct lshm_region *region, const char *name)
{
	struct lshm_region_info info;
	int ret = object ? find_object(region) : 0;

	if (ret == -ENOENT) {
		warnx("%s: no object '%s'; 'shmctl info' lists them", name,
		    object);
		return false;
	}
	if (ret < 0 || lshm_region_stat(region, &info) < 0) {
		warnx("%s: %s", name, lshm_error());
		return false;
	}
	if (offset == NOT_SET)
		offset = 0;
	if (length == NOT_SET)
		length = offset < info.size ? info.size - offset : 0;
	/* the last byte, as lshm_at() takes the offset 0 for null */
	if (offset <= info.size && length <= info.size - offset &&
	    (offset + length < 2 || lshm_at(region, offset + length - 1, 1)))
		return true;
	warnx("%s: %" PRIu64 " bytes at offset %" PRIu64
	      " reach beyond its size of %" PRIu64 " bytes",
	    name, length, offset, info.size);
	return false;
}

static void print_line(uint64_t at, const unsigned char *bytes, size_t count)
{
	printf("%08" PRIx64 " ", at);
	for (size_t i = 0; i < LINE; i++) {
		if (i % 8 == 0)
			putchar(' ');
		if (i < count)
			printf("%02x ", bytes[i]);
		else
			printf("   ");
	}
	printf(" |");
	for (size_t i = 0; i < count; i++)
		putchar(bytes[i] < 0x80 && isprint(bytes[i]) ? bytes[i] : '.');
	printf("|\n");
}

/* As hexdump -C: a line like the one before it is a '*', however many. */
static void print_text(const unsigned char *data)
{
	unsigned char line[LINE], before[LINE];
	bool star = false;
	size_t count;

	for (uint64_t at = 0; at < length; at += count) {
		count = length - at < LINE ? length - at : LINE;
		/* a copy: others may be writing */
		memcpy(line, data + at, count);
		if (at && count == LINE && memcmp(line, before, LINE) == 0) {
			if (!star)
				printf("*\n");
			star = true;
			continue;
		}
		star = false;
		print_line(offset + at, line, count);
		memcpy(before, line, LINE);
	}
	printf("%08" PRIx64 "\n", offset + length);
}

static void print_json(const char *name, const unsigned char *data)
{
	json_t *value = json_pack("{s:o, s:I, s:I}", "name", json_text(name),
	    "offset", (json_int_t)offset, "length", (json_int_t)length);
	static const char digits[] = "0123456789abcdef";
	char *hex = calloc(length + 1, 2);

	if (!hex)
		err(EXIT_FAILURE, "%" PRIu64 " bytes", length);
	for (uint64_t i = 0; i < length; i++) {
		hex[2 * i] = digits[data[i] >> 4];
		hex[2 * i + 1] = digits[data[i] & 15];
	}
	if (object)
		json_put(value, "object", json_text(object));
	json_put(value, "hex", json_string(hex));
	free(hex);
	output(value, NULL);
}

static int run(char **names)
{
	int status = EXIT_FAILURE;
	struct lshm_region *region;
	const unsigned char *data;

	if (object && (offset != NOT_SET || length != NOT_SET))
		usage_error(
		    "dump", "--object goes without --offset and --length");
	if (observe(&region, *names) < 0) {
		warnx("%s: %s", *names, lshm_error());
		return EXIT_FAILURE;
	}
	if (!find_range(region, *names))
		goto out_close;
	data = (const unsigned char *)lshm_region_base(region) + offset;
	if (json_wanted)
		print_json(*names, data);
	else
		print_text(data);
	status = EXIT_SUCCESS;
out_close:
	lshm_region_close(region);
	return status;
}

const struct verb verb_dump = {
    .name = "dump",
    .operands = "NAME",
    .summary = "Print the bytes of a region in hexadecimal.",
    .details = "A line equal to the one before it is printed as '*'.\n",
    .min = 1,
    .max = 1,
    .choices = choices,
    .run = run,
};
