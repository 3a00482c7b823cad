/* SPDX-License-Identifier: MIT */
/*
 * backend.c - the table of backends, and how a name chooses one
 */
#include <string.h>

#include "internal.h"

static const struct lshmi_backend *const backends[] = {
    &lshmi_backend_posix,
    &lshmi_backend_memfd,
    &lshmi_backend_file,
};

#define COUNT (sizeof(backends) / sizeof(backends[0]))

const struct lshmi_backend *lshmi_backend_by_id(uint32_t id)
{
	for (size_t i = 0; i < COUNT; i++)
		if (backends[i]->id == id)
			return backends[i];
	return NULL;
}

int lshmi_backend_by_name(
    const struct lshmi_backend **out, const char **name, uint32_t id)
{
	const char *colon = strchr(*name, ':');
	size_t n = colon ? (size_t)(colon - *name) : 0;

	for (size_t i = 0; colon && i < COUNT; i++) {
		if (strlen(backends[i]->name) != n ||
		    memcmp(backends[i]->name, *name, n) != 0)
			continue;
		if (id != LSHM_BACKEND_DEFAULT && id != backends[i]->id)
			return lshmi_fail(EINVAL,
			    "the name \"%s\" asks for the %s backend, the "
			    "options for another one",
			    *name, backends[i]->name);
		*name = colon + 1;
		*out = backends[i];
		return 0;
	}
	if ((n == 6 && memcmp(*name, "kernel", n) == 0) ||
	    id == LSHM_BACKEND_KERNEL)
		return lshmi_fail(ENOTSUP,
		    "this version has no kernel backend: use posix, memfd or "
		    "file");
	*out = lshmi_backend_by_id(id ? id : LSHM_BACKEND_POSIX);
	if (!*out)
		return lshmi_fail(EINVAL,
		    "backend %u: expected 0 (default), 1 (posix), 2 (memfd) or "
		    "3 (file)",
		    id);
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
