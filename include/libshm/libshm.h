/* SPDX-License-Identifier: MIT */
/* libshm.h - all of libshm */
#ifndef LIBSHM_LIBSHM_H
#define LIBSHM_LIBSHM_H

#include <libshm/base.h>
#include <libshm/channel.h>
#include <libshm/heap.h>
#include <libshm/mutex.h>
#include <libshm/object.h>
#include <libshm/offset.h>
#include <libshm/region.h>

#endif
