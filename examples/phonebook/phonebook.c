/* SPDX-License-Identifier: MIT */
/*
 * phonebook.c - a map in shared memory, that any number of processes change
 *
 *     phonebook REGION add NAME NUMBER    add, or replace
 *     phonebook REGION find NAME
 *     phonebook REGION remove NAME
 *     phonebook REGION list
 *
 * Whoever comes first makes region and map; they stay until "shmctl rm REGION".
 * A process that is killed in the midst of it leaves the old entry or the new
 * one, and the others go on.
 */
#include <err.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <libshm/libshm.h>

static void print(const struct lshm_map_item *item, void *unused)
{
	(void)unused;
	printf("%.*s %.*s\n", (int)item->key_size, (const char *)item->key,
	    (int)item->value_size, (const char *)item->value);
}

static int open_book(struct lshm_region *region, struct lshm_map **book)
{
	int ret = lshm_map_create(region, "phonebook", book);

	return ret == -EEXIST ? lshm_map_open(region, "phonebook", book) : ret;
}

/* 1: it is said how to use it. */
static int act(struct lshm_region *region, struct lshm_map *book, char **argv)
{
	const char *verb = argv[0], *name = argv[1];
	uint64_t cursor = 0;
	int ret;

	if (strcmp(verb, "list") == 0 && !name) {
		while ((ret = lshm_map_next(
			    region, book, &cursor, print, NULL)) == 0)
			;
		return ret == -ENOENT ? 0 : ret;
	}
	if (strcmp(verb, "add") == 0 && name && argv[2])
		return lshm_map_put(
		    region, book, name, strlen(name), argv[2], strlen(argv[2]));
	if (strcmp(verb, "find") == 0 && name)
		return lshm_map_view(
		    region, book, name, strlen(name), print, NULL);
	if (strcmp(verb, "remove") == 0 && name)
		return lshm_map_remove(region, book, name, strlen(name), NULL);
	return 1;
}

int main(int argc, char **argv)
{
	struct lshm_region *region;
	struct lshm_map *book;
	int ret = 1;

	if (argc > 2) {
		if (lshm_region_open(&region, argv[1], LSHM_CREATE, NULL) < 0 ||
		    open_book(region, &book) < 0)
			errx(1, "%s", lshm_error());
		ret = act(region, book, argv + 2);
		if (ret < 0)
			warnx("%s", lshm_error());
		lshm_region_close(region);
	}
	if (ret > 0)
		errx(2, "usage: phonebook REGION add NAME NUMBER | find NAME | "
			"remove NAME | list");
	return ret < 0;
}
