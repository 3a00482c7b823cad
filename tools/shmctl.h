/* SPDX-License-Identifier: MIT */
/*
 * shmctl.h - what the verbs of shmctl share
 *
 * A verb describes what it found as one JSON value. With --json that value is
 * printed; otherwise text is made from the same value, so that both tell the
 * same. Verbs that look open a region as an observer: they never change it.
 */
#ifndef SHMCTL_H
#define SHMCTL_H

#include <jansson.h>
#include <libshm/libshm.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

/** Exit codes, beside EXIT_SUCCESS and EXIT_FAILURE: used in a wrong way. */
#define EXIT_USAGE 2

/**
 * struct choice - an option of a verb
 * @name:     without the dashes
 * @argument: what its argument is called in the help; NULL: it takes none
 * @help:     one line
 * @parse:    reads the argument into @value; returns NULL, or what it expected.
 *            Without an argument: NULL, and @value is a bool that becomes true
 * @value:    where to
 */
struct choice {
	const char *name;
	const char *argument;
	const char *help;
	const char *(*parse)(const char *argument, void *value);
	void *value;
};

/**
 * struct verb - one thing that shmctl does
 * @operands: what comes after it in the usage line
 * @summary:  one line
 * @details:  further lines for its --help
 * @min, @max: how many operands it takes
 * @choices:  its options; the last one has no name
 * @run:      does it, gets the operands, returns the exit code
 */
struct verb {
	const char *name;
	const char *operands;
	const char *summary;
	const char *details;
	int min;
	int max;
	const struct choice *choices;
	int (*run)(char **operands);
};

extern const struct verb verb_create;
extern const struct verb verb_list;
extern const struct verb verb_info;
extern const struct verb verb_maps;
extern const struct verb verb_dump;
extern const struct verb verb_check;
extern const struct verb verb_rm;

/* options.c */

/** options_parse() - read a verb's options; exits on --help and wrong usage */
char **options_parse(const struct verb *verb, int argc, char **argv);
/** usage_error() - say what is wrong, and exit */
void usage_error(const char *where, const char *format, ...)
    __attribute__((noreturn, format(printf, 2, 3)));

const char *parse_size(const char *argument, void *value);   /* uint64_t */
const char *parse_number(const char *argument, void *value); /* uint32_t */
const char *parse_text(const char *argument, void *value);   /* const char * */

/* describe.c */

/** observe() - open a region as an observer */
int observe(struct lshm_region **out, const char *name);
/** describe_header() - what a region's header says of it */
json_t *describe_header(const char *name, struct lshm_region *region);
/** describe_region() - the same, its participants, last deaths, and objects */
json_t *describe_region(const char *name, struct lshm_region *region);

/* frames.c */

/**
 * describe_frames() - which page frames @mappings share; null: it is hidden
 * @kernel_region: the module's number of the region; 0: of another backend
 */
json_t *describe_frames(const json_t *mappings, uint64_t region_size,
    uint32_t pages_wanted, uint64_t kernel_region);

/* output.c */

/** enum format - how a value looks in text */
enum format {
	TEXT,	/* a string */
	NUMBER, /* an integer; of an array: how many elements it has */
	SIZE,	/* 16M */
	BYTES,	/* 16M (16777216 bytes) */
	YESNO,	/* a boolean */
	USER,	/* the name of a user id */
	AGO,	/* nanoseconds of CLOCK_REALTIME: 3 s ago */
	WHEN,	/* the same: date and time */
};

/**
 * struct column - a column of a table, or a line of a list
 * @title:  its heading
 * @key:    the member of the row's JSON object; a table has "-" where it is not
 * @format: how it looks
 */
struct column {
	const char *title;
	const char *key;
	enum format format;
};

/** Set by --json. */
extern bool json_wanted;
#define CHOICE_JSON                                                         \
	{                                                                   \
		.name = "json", .help = "print JSON", .value = &json_wanted \
	}

/** output() - print @value, which is consumed, as JSON or by @text() */
void output(json_t *value, void (*text)(const json_t *value));
/** output_safe() - a string made harmless to terminals, to be freed */
char *output_safe(const char *string);
/** output_cell() - a value as text, to be freed */
char *output_cell(const json_t *value, enum format format);
/** output_table() - a row for each object of @rows; @note() may add lines */
void output_table(int indent, const json_t *rows, const struct column *columns,
    size_t count, void (*note)(const json_t *row));
/** output_list() - a line for each of @columns that @object has */
void output_list(int indent, const json_t *object, const struct column *columns,
    size_t count);

/** json_text() - a string; bytes that are no UTF-8 appear as vis(3) has them */
json_t *json_text(const char *string);
/** json_hex() - a number as a string: "0x7f..." */
json_t *json_hex(uint64_t number);
/** json_put() - json_object_set_new() of a new member */
void json_put(json_t *object, const char *key, json_t *value);
/** json_string_of() - a member that is a string, or NULL */
const char *json_string_of(const json_t *object, const char *key);

#endif
