/* SPDX-License-Identifier: MIT */
/* options.c - a verb's table of choices: how to parse it and its help */
#include "shmctl.h"

#include <bsd/libutil.h>
#include <bsd/stdlib.h>
#include <ctype.h>
#include <err.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>

#define CHOICES_MAX 16

void usage_error(const char *where, const char *format, ...)
{
	const char *space = where ? " " : "";
	va_list args;
	char *text;

	if (!where)
		where = "";
	va_start(args, format);
	if (vasprintf(&text, format, args) < 0)
		err(EXIT_FAILURE, NULL);
	va_end(args);
	warnx("%s%s%s", where, *where ? ": " : "", text);
	errx(EXIT_USAGE, "try 'shmctl%s%s --help'", space, where);
}

static void help(const struct verb *verb)
{
	char name[64];

	printf("usage: shmctl %s [OPTION...]%s%s\n\n%s\n", verb->name,
	    *verb->operands ? " " : "", verb->operands, verb->summary);
	if (verb->details)
		printf("%s", verb->details);
	printf("\n");
	for (const struct choice *c = verb->choices; c->name; c++) {
		snprintf(name, sizeof(name), "--%s%s%s", c->name,
		    c->argument ? " " : "", c->argument ? c->argument : "");
		printf("  %-20s  %s\n", name, c->help);
	}
	printf("  %-20s  %s\n", "--help", "print this");
}

static void take(const struct verb *verb, const struct choice *choice)
{
	const char *expected;

	if (!choice->argument) {
		*(bool *)choice->value = true;
		return;
	}
	expected = choice->parse(optarg, choice->value);
	if (expected)
		usage_error(verb->name, "--%s '%s': expected %s", choice->name,
		    optarg, expected);
}

char **options_parse(const struct verb *verb, int argc, char **argv)
{
	struct option options[CHOICES_MAX + 2] = {0};
	char where[32];
	int n, option, which;

	for (n = 0; verb->choices[n].name && n < CHOICES_MAX; n++) {
		options[n].name = verb->choices[n].name;
		options[n].has_arg = verb->choices[n].argument != NULL;
	}
	options[n].name = "help";
	options[n].val = 'h';

	/* getopt_long() puts this before its own messages. */
	snprintf(where, sizeof(where), "shmctl: %s", verb->name);
	argv[0] = where;
	while ((option = getopt_long(argc, argv, "h", options, &which)) != -1) {
		if (option == 'h') {
			help(verb);
			exit(fflush(stdout) ? EXIT_FAILURE : EXIT_SUCCESS);
		}
		if (option == '?')
			errx(EXIT_USAGE, "try 'shmctl %s --help'", verb->name);
		take(verb, &verb->choices[which]);
	}
	if (argc - optind < verb->min)
		usage_error(verb->name, "expected %s", verb->operands);
	if (argc - optind > verb->max)
		usage_error(
		    verb->name, "'%s' is too much", argv[optind + verb->max]);
	return argv + optind;
}

const char *parse_size(const char *argument, void *value)
{
	uint64_t size;

	/* expand_number() would take "-1" for a very large number */
	if (!isdigit((unsigned char)*argument) ||
	    expand_number(argument, &size) || size > INT64_MAX)
		return "a number of bytes such as 4096, 64K, 16M, 1G";
	*(uint64_t *)value = size;
	return NULL;
}

const char *parse_number(const char *argument, void *value)
{
	const char *why;
	long long number = strtonum(argument, 0, UINT32_MAX - 1, &why);

	if (why)
		return "a number, 0 or more";
	*(uint32_t *)value = number;
	return NULL;
}

const char *parse_text(const char *argument, void *value)
{
	*(const char **)value = argument;
	return NULL;
}
