/* SPDX-License-Identifier: MIT */
/*
 * backend.c - the table of backends, and how one is chosen
 */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

static const struct lshmi_backend *const backends[] = {
    &lshmi_backend_posix,
    &lshmi_backend_memfd,
    &lshmi_backend_kernel, /* before file: some file it is in any case */
    &lshmi_backend_file,
};

#define NAME_LONG 200 /* bytes */
#define COUNT	  (sizeof(backends) / sizeof(backends[0]))

const struct lshmi_backend *lshmi_backend_by_id(uint32_t id)
{
	for (size_t i = 0; i < COUNT; i++)
		if (backends[i]->id == id)
			return backends[i];
	return NULL;
}

static const struct lshmi_backend *called(const char *name, size_t n)
{
	for (size_t i = 0; i < COUNT; i++)
		if (strlen(backends[i]->name) == n &&
		    memcmp(backends[i]->name, name, n) == 0)
			return backends[i];
	return NULL;
}

/*
 * As the environment says: a name, or several with commas between them, of
 * which the first that can be used here is meant; the last one in any case, so
 * that it says why it cannot.
 */
static int by_environment(const struct lshmi_backend **out)
{
	const char *names = secure_getenv("LSHM_BACKEND");
	const struct lshmi_backend *b;
	size_t n;

	*out = &lshmi_backend_posix;
	if (!names || !*names)
		return 0;
	for (;; names += n + 1) {
		n = strcspn(names, ",");
		b = called(names, n);
		if (!b)
			return lshmi_fail(EINVAL,
			    "LSHM_BACKEND names \"%.*s\": expected posix, "
			    "memfd, file or kernel, or several of them with "
			    "commas between them",
			    (int)n, names);
		*out = b;
		if (!names[n] || !b->there || b->there())
			return 0;
	}
}

int lshmi_backend_by_name(
    const struct lshmi_backend **out, const char **name, uint32_t id)
{
	const char *colon = strchr(*name, ':');
	const struct lshmi_backend *b =
	    colon ? called(*name, (size_t)(colon - *name)) : NULL;

	if (b && id != LSHM_BACKEND_DEFAULT && id != b->id)
		return lshmi_fail(EINVAL,
		    "the name \"%s\" asks for the %s backend, the options for "
		    "another one",
		    *name, b->name);
	if (b) {
		*name = colon + 1;
		*out = b;
		return 0;
	}
	if (id == LSHM_BACKEND_DEFAULT)
		return by_environment(out);
	*out = lshmi_backend_by_id(id);
	if (!*out)
		return lshmi_fail(EINVAL,
		    "backend %u: expected 0 (default), 1 (posix), 2 (memfd), 3 "
		    "(file) or 4 (kernel)",
		    id);
	return 0;
}

int lshmi_check_name(const char *name)
{
	size_t n = strlen(name);

	if (n == 0)
		return lshmi_fail(EINVAL, "the name is empty");
	if (n > NAME_LONG)
		return lshmi_fail(ENAMETOOLONG,
		    "the name has %zu bytes: expected at most %d", n,
		    NAME_LONG);
	if (strchr(name, '/'))
		return lshmi_fail(EINVAL,
		    "the name \"%s\" has a slash: expected a plain name, or "
		    "\"file:PATH\" for a file",
		    name);
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return lshmi_fail(
		    EINVAL, "\"%s\" cannot be a region's name", name);
	return 0;
}

int lshmi_backend_open_fd(struct lshmi_store *s, int fd, bool writable)
{
	int ret = -EBADMSG;

	for (size_t i = 0; i < COUNT && ret == -EBADMSG; i++) {
		if (!backends[i]->open_fd)
			continue;
		s->backend = backends[i];
		ret = backends[i]->open_fd(s, fd, writable);
	}
	return ret;
}

int lshmi_backend_list(int (*callback)(const char *name, void *arg), void *arg)
{
	int ret = 0;

	for (size_t i = 0; i < COUNT && ret == 0; i++)
		if (backends[i]->list)
			ret = backends[i]->list(callback, arg);
	return ret;
}
