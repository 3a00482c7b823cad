/* SPDX-License-Identifier: MIT */
/* wc_compare.c - the same count by coreutils, and how the two differ */
#include "wc_compare.h"

#include "wc_children.h"

#include <err.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIFFERENCES_SHOWN 5

/* The empty line in front is there to be taken away: it may be doubled. */
static const char count_command[] =
    "export LC_ALL=C; set -o pipefail; table=$0;"
    "{ echo; cat -- \"$@\"; } | tr -cs A-Za-z '\\n' | tail -n +2 |"
    " tr A-Z a-z | sort | uniq -c > \"$table\"";

static const char top_command[] =
    "LC_ALL=C sort -k1,1nr -k2 -- \"$0\" | head -n 10 |"
    " cut -c 1-72";

static bool run(const char *command, const char *table, char *const *arguments)
{
	char **argv;
	size_t n = 0;
	bool well;

	while (arguments && arguments[n])
		n++;
	argv = calloc(n + 5, sizeof(*argv));
	if (!argv)
		err(1, NULL);
	argv[0] = (char *)"/bin/bash";
	argv[1] = (char *)"-c";
	argv[2] = (char *)command;
	argv[3] = (char *)table;
	for (size_t i = 0; i < n; i++)
		argv[4 + i] = arguments[i];
	well = children_shell(argv);
	free(argv);
	return well;
}

bool table_by_coreutils(const char *table, char *const *files)
{
	return run(count_command, table, files);
}

bool table_print_top(const char *table)
{
	return run(top_command, table, NULL);
}

/* A table being read line by line. */
struct cursor {
	FILE *file;
	char *line;
	size_t size;
	uint64_t count;
	const char *word; /* of the line; NULL at the end */
};

static void next(struct cursor *c)
{
	char *end;

	c->word = NULL;
	if (getline(&c->line, &c->size, c->file) < 0)
		return;
	c->line[strcspn(c->line, "\n")] = '\0';
	c->count = strtoumax(c->line, &end, 10);
	c->word = end + strspn(end, " ");
}

static void start(struct cursor *c, const char *table)
{
	*c = (struct cursor){.file = fopen(table, "re")};
	if (!c->file)
		err(1, "%s", table);
	next(c);
}

static void finish(struct cursor *c)
{
	if (ferror(c->file))
		errx(1, "cannot read a table of words");
	free(c->line);
	fclose(c->file);
}

/* Which word comes first? The end comes after every word. */
static int order(const struct cursor *a, const struct cursor *b)
{
	if (!a->word || !b->word)
		return !a->word - !b->word;
	return strcmp(a->word, b->word);
}

uint64_t table_compare(
    const char *ours, const char *theirs, struct table_sum *sum)
{
	uint64_t differences = 0;
	struct cursor a, b;

	*sum = (struct table_sum){};
	start(&a, ours);
	start(&b, theirs);
	while (a.word || b.word) {
		int first = order(&a, &b);
		const char *word = first <= 0 ? a.word : b.word;
		uint64_t we = first <= 0 ? a.count : 0;
		uint64_t they = first >= 0 ? b.count : 0;

		if (we != they && differences++ < DIFFERENCES_SHOWN)
			printf("different: \"%s\": wordcount %ju, coreutils "
			       "%ju\n",
			    word, (uintmax_t)we, (uintmax_t)they);
		sum->words += we;
		sum->different += we > 0;
		if (first <= 0)
			next(&a);
		if (first >= 0)
			next(&b);
	}
	finish(&a);
	finish(&b);
	return differences;
}
