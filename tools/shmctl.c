/* SPDX-License-Identifier: MIT */
/* shmctl.c - the admin's tool for libshm regions: main() and table of verbs */
#include "shmctl.h"

#include <err.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

static const struct verb *const verbs[] = {
    &verb_create,
    &verb_list,
    &verb_info,
    &verb_maps,
    &verb_dump,
    &verb_check,
    &verb_rm,
};

static void help(FILE *stream)
{
	fprintf(stream, "usage: shmctl VERB [OPTION...] [NAME...]\n\n");
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		fprintf(
		    stream, "  %-8s  %s\n", verbs[i]->name, verbs[i]->summary);
	fprintf(stream,
	    "\n'shmctl VERB --help' tells more of one, shmctl(1) of all.\n");
}

static const struct verb *find_verb(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		if (strcmp(verbs[i]->name, name) == 0)
			return verbs[i];
	usage_error(NULL, "'%s' is no verb", name);
}

/* Memory for JSON: what is described is described completely, or not at all. */
static void *allocate(size_t size)
{
	void *memory = malloc(size);

	if (!memory)
		err(EXIT_FAILURE, "%zu bytes", size);
	return memory;
}

/* Output that was not written is a failure, too. */
static int finish(int status)
{
	if (fflush(stdout) || ferror(stdout)) {
		warn("standard output");
		return EXIT_FAILURE;
	}
	return status;
}

int main(int argc, char **argv)
{
	const struct verb *verb;

	setlocale(LC_CTYPE, "");
	json_set_alloc_funcs(allocate, free);

	if (argc < 2) {
		help(stderr);
		return EXIT_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
		help(stdout);
		return finish(EXIT_SUCCESS);
	}
	if (strcmp(argv[1], "--version") == 0) {
		printf("shmctl (libshm) %s\n", lshm_version());
		return finish(EXIT_SUCCESS);
	}
	verb = find_verb(argv[1]);
	return finish(verb->run(options_parse(verb, argc - 1, argv + 1)));
}
