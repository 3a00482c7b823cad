/* SPDX-License-Identifier: MIT */
/* output.c - JSON, or text made of it: tables and lists */
#include "shmctl.h"

#define LIBBSD_NETBSD_VIS
#include <bsd/libutil.h>
#include <bsd/vis.h>
#include <err.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

bool json_wanted;

void output(json_t *value, void (*text)(const json_t *value))
{
	if (json_wanted) {
		json_dumpf(value, stdout, JSON_INDENT(2));
		putchar('\n');
	} else {
		text(value);
	}
	json_decref(value);
}

__attribute__((format(printf, 1, 2))) static char *print(
    const char *format, ...)
{
	va_list args;
	char *text;

	va_start(args, format);
	if (vasprintf(&text, format, args) < 0)
		err(EXIT_FAILURE, NULL);
	va_end(args);
	return text;
}

char *output_safe(const char *string)
{
	char *text;

	if (stravis(&text, string, VIS_NL | VIS_TAB | VIS_NOSLASH) < 0)
		err(EXIT_FAILURE, NULL);
	return text;
}

static char *size(uint64_t bytes)
{
	char text[5];

	humanize_number(text, sizeof(text), (int64_t)bytes, "", HN_AUTOSCALE,
	    HN_DECIMAL | HN_NOSPACE);
	return print("%s", text);
}

static char *bytes(uint64_t number)
{
	char *human = size(number), *text;

	if (number < 1024)
		return human;
	text = print("%s (%" PRIu64 " bytes)", human, number);
	free(human);
	return text;
}

static char *user(uid_t uid)
{
	const struct passwd *entry = getpwuid(uid);

	return entry ? output_safe(entry->pw_name) : print("%u", (unsigned)uid);
}

static char *ago(int64_t time_ns)
{
	static const struct {
		const char *name;
		int64_t seconds;
	} units[] = {{"d", 86400}, {"h", 3600}, {"min", 60}, {"s", 1}};
	int64_t seconds = time(NULL) - time_ns / 1000000000;
	size_t i = 0;

	if (seconds < 0)
		seconds = 0;
	while (i < ARRAY_SIZE(units) - 1 && seconds < 2 * units[i].seconds)
		i++;
	return print(
	    "%" PRId64 " %s ago", seconds / units[i].seconds, units[i].name);
}

static char *when(int64_t time_ns)
{
	time_t seconds = time_ns / 1000000000;
	struct tm local;
	char text[64] = "";

	if (localtime_r(&seconds, &local))
		strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &local);
	return print("%s", text);
}

char *output_cell(const json_t *value, enum format format)
{
	json_int_t number = json_integer_value(value);

	if (!value || json_is_null(value))
		return print("-");
	switch (format) {
	case TEXT:
		return output_safe(json_string_value(value));
	case NUMBER:
		if (json_is_array(value))
			number = json_array_size(value);
		return print("%" JSON_INTEGER_FORMAT, number);
	case SIZE:
		return size(number);
	case BYTES:
		return bytes(number);
	case YESNO:
		return print("%s", json_is_true(value) ? "yes" : "no");
	case USER:
		return user(number);
	case AGO:
		return ago(number);
	case WHEN:
		return when(number);
	}
	return print("?");
}

static char *cell(const json_t *object, const struct column *column)
{
	return output_cell(
	    json_object_get(object, column->key), column->format);
}

/* Numbers to the right, all else to the left; nothing behind the last one. */
static void print_cell(
    const char *text, int width, enum format format, bool last)
{
	if (format == NUMBER || format == SIZE)
		printf("%*s", width, text);
	else
		printf("%-*s", last ? 0 : width, text);
	printf(last ? "\n" : "  ");
}

void output_table(int indent, const json_t *rows, const struct column *columns,
    size_t count, void (*note)(const json_t *row))
{
	size_t lines = json_array_size(rows);
	char **cells = calloc(lines * count + 1, sizeof(*cells));
	int *widths = calloc(count, sizeof(*widths));
	const json_t *row;

	if (!cells || !widths)
		err(EXIT_FAILURE, NULL);
	for (size_t c = 0; c < count; c++)
		widths[c] = strlen(columns[c].title);
	for (size_t i = 0; i < lines * count; i++) {
		row = json_array_get(rows, i / count);
		cells[i] = cell(row, &columns[i % count]);
		if ((int)strlen(cells[i]) > widths[i % count])
			widths[i % count] = strlen(cells[i]);
	}

	printf("%*s", indent, "");
	for (size_t c = 0; c < count; c++)
		print_cell(columns[c].title, widths[c], columns[c].format,
		    c == count - 1);
	for (size_t i = 0; i < lines * count; i++) {
		if (i % count == 0)
			printf("%*s", indent, "");
		print_cell(cells[i], widths[i % count],
		    columns[i % count].format, i % count == count - 1);
		if (note && i % count == count - 1)
			note(json_array_get(rows, i / count));
		free(cells[i]);
	}
	free(widths);
	free(cells);
}

void output_list(int indent, const json_t *object, const struct column *columns,
    size_t count)
{
	char *text;

	for (size_t c = 0; c < count; c++) {
		if (!json_object_get(object, columns[c].key))
			continue;
		text = cell(object, &columns[c]);
		printf("%*s%-14s  %s\n", indent, "", columns[c].title, text);
		free(text);
	}
}

json_t *json_text(const char *string)
{
	json_t *value = json_string(string);
	char *text;

	if (value)
		return value;
	if (stravis(&text, string, VIS_NOLOCALE) < 0)
		err(EXIT_FAILURE, NULL);
	value = json_string(text);
	free(text);
	return value;
}

json_t *json_hex(uint64_t number)
{
	return json_sprintf("0x%" PRIx64, number);
}

void json_put(json_t *object, const char *key, json_t *value)
{
	json_object_set_new(object, key, value);
}

const char *json_string_of(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}
