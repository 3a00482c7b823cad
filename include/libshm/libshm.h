/* SPDX-License-Identifier: MIT */
/* libshm.h - all of libshm */
#ifndef LIBSHM_LIBSHM_H
#define LIBSHM_LIBSHM_H

#include <libshm/barrier.h>
#include <libshm/base.h>
#include <libshm/channel.h>
#include <libshm/cond.h>
#include <libshm/event.h>
#include <libshm/heap.h>
#include <libshm/list.h>
#include <libshm/map.h>
#include <libshm/mutex.h>
#include <libshm/object.h>
#include <libshm/offset.h>
#include <libshm/once.h>
#include <libshm/region.h>
#include <libshm/rwlock.h>
#include <libshm/semaphore.h>
#include <libshm/vector.h>

#endif
