/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * trace.h - tracepoints: /sys/kernel/tracing/events/lshm
 *
 * "event" has all that the log of events.c has; the others are too frequent
 * for that.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM lshm

#if !defined(LSHM_KMOD_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define LSHM_KMOD_TRACE_H

#include <linux/tracepoint.h>

#include "../include/libshm/uapi.h"

/* clang-format off */
TRACE_EVENT(lshm_event,
	TP_PROTO(u64 region, u64 handle, u32 type, u64 value),
	TP_ARGS(region, handle, type, value),
	TP_STRUCT__entry(
		__field(u64, region)
		__field(u64, handle)
		__field(u64, value)
		__field(u32, type)
	),
	TP_fast_assign(
		__entry->region = region;
		__entry->handle = handle;
		__entry->value = value;
		__entry->type = type;
	),
	TP_printk("%s region=%llu handle=%llu value=%llu",
		__print_symbolic(__entry->type,
			{ LSHM_IOC_EVENT_CREATE, "create" },
			{ LSHM_IOC_EVENT_LINK, "link" },
			{ LSHM_IOC_EVENT_UNLINK, "unlink" },
			{ LSHM_IOC_EVENT_OPEN, "open" },
			{ LSHM_IOC_EVENT_GROW, "grow" },
			{ LSHM_IOC_EVENT_SEAL, "seal" },
			{ LSHM_IOC_EVENT_REVOKE, "revoke" },
			{ LSHM_IOC_EVENT_CLAIM, "claim" },
			{ LSHM_IOC_EVENT_RELEASE, "release" },
			{ LSHM_IOC_EVENT_DEATH, "death" },
			{ LSHM_IOC_EVENT_DESTROY, "destroy" }),
		__entry->region, __entry->handle, __entry->value)
);

DECLARE_EVENT_CLASS(lshm_pages,
	TP_PROTO(u64 region, u64 handle, u64 page, u64 pages),
	TP_ARGS(region, handle, page, pages),
	TP_STRUCT__entry(
		__field(u64, region)
		__field(u64, handle)
		__field(u64, page)
		__field(u64, pages)
	),
	TP_fast_assign(
		__entry->region = region;
		__entry->handle = handle;
		__entry->page = page;
		__entry->pages = pages;
	),
	TP_printk("region=%llu handle=%llu page=%llu pages=%llu",
		__entry->region, __entry->handle, __entry->page, __entry->pages)
);

DEFINE_EVENT(lshm_pages, lshm_map,
	TP_PROTO(u64 region, u64 handle, u64 page, u64 pages),
	TP_ARGS(region, handle, page, pages)
);

DEFINE_EVENT(lshm_pages, lshm_fault,
	TP_PROTO(u64 region, u64 handle, u64 page, u64 pages),
	TP_ARGS(region, handle, page, pages)
);

DECLARE_EVENT_CLASS(lshm_word,
	TP_PROTO(u64 region, u64 offset, int result),
	TP_ARGS(region, offset, result),
	TP_STRUCT__entry(
		__field(u64, region)
		__field(u64, offset)
		__field(int, result)
	),
	TP_fast_assign(
		__entry->region = region;
		__entry->offset = offset;
		__entry->result = result;
	),
	TP_printk("region=%llu offset=%llu result=%d",
		__entry->region, __entry->offset, __entry->result)
);

DEFINE_EVENT(lshm_word, lshm_wait,
	TP_PROTO(u64 region, u64 offset, int result),
	TP_ARGS(region, offset, result)
);

DEFINE_EVENT(lshm_word, lshm_wake,
	TP_PROTO(u64 region, u64 offset, int result),
	TP_ARGS(region, offset, result)
);
/* clang-format on */

#endif

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
