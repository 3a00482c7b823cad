/* SPDX-License-Identifier: MIT */
/*
 * error.c - the sentence that goes with an error number
 *
 * One buffer a thread, written on failure only.
 */
#include <stdarg.h>
#include <stdio.h>

#include "internal.h"

static __thread char buffer[512];
static __thread const char *message;
static __thread int code;

int lshmi_fail(int error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(buffer, sizeof(buffer), format, args);
	va_end(args);
	message = buffer;
	code = error;
	return -error;
}

int lshmi_fail_with(int error, const char *sentence)
{
	message = sentence;
	code = error;
	return -error;
}

int lshmi_failed(void)
{
	return code == ENOSPC ? -ENOMEM : -code;
}

int lshmi_fail_gone(const struct lshm_region *r)
{
	if (lshmi_load_seq(&r->lost))
		return lshmi_fail(ENODEV,
		    "access to the region was revoked, or its file truncated: "
		    "what this process has of it is empty memory; close it");
	return lshmi_fail(ECHILD,
	    "this handle was closed, or inherited through fork(): the child must "
	    "open the region itself");
}

int lshmi_fail_observer(void)
{
	return lshmi_fail(EROFS,
	    "this handle is an observer's: open the region without LSHM_RDONLY "
	    "to change it");
}

const char *lshm_error(void)
{
	return message ? message : "";
}

const char *lshm_version(void)
{
	return LSHMI_VERSION;
}
