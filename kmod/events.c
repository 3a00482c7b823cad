// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * events.c - one log of what happened, many readers
 *
 * A ring of records with consecutive sequence numbers, under events_lock. Each
 * control file has a cursor of its own: a slow reader loses the oldest records
 * and is told how many, and holds up nobody. Who may read the region a record
 * is about is decided when it is read, by the region's owner and mode at the
 * time of the record.
 */
#include <linux/pid_namespace.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/timekeeping.h>
#include <linux/user_namespace.h>

#include "lshm.h"
#include "trace.h"

#define RECORDS 1024

struct record {
	u64 time_ns;
	u64 region;
	u64 handle;
	u64 value;
	u32 type;
	u32 mode;
	kuid_t uid;
	kgid_t gid;
	unsigned int user_ns;
	struct pid *pid;
};

static struct record records[RECORDS];
static u64 next_record; /* its sequence number */
static DEFINE_SPINLOCK(events_lock);
static DECLARE_WAIT_QUEUE_HEAD(readers);

void lshm_event(
	struct lshm_region *r, struct lshm_handle *h, u32 type, u64 value)
{
	struct record new = {
		.time_ns = ktime_get_ns(),
		.region = r->id,
		.handle = h ? h->id : 0,
		.value = value,
		.type = type,
		.mode = r->mode,
		.uid = r->uid,
		.gid = r->gid,
		.user_ns = r->user_ns->ns.inum,
		.pid = get_pid(task_tgid(current)),
	};
	struct record *to;
	struct pid *old;

	trace_lshm_event(new.region, new.handle, type, value);
	spin_lock(&events_lock);
	to = &records[next_record % RECORDS];
	old = to->pid;
	*to = new;
	WRITE_ONCE(next_record, next_record + 1);
	spin_unlock(&events_lock);
	put_pid(old);
	wake_up_interruptible(&readers);
}

u64 lshm_events_now(void)
{
	u64 now;

	spin_lock(&events_lock);
	now = next_record;
	spin_unlock(&events_lock);
	return now;
}

static bool readable(const struct record *e)
{
	if (ns_capable_noaudit(&init_user_ns, CAP_IPC_OWNER))
		return true;
	if (e->user_ns != current_user_ns()->ns.inum)
		return false;
	if (uid_eq(current_euid(), e->uid))
		return e->mode & 0400;
	if (in_egroup_p(e->gid))
		return e->mode & 0040;
	return e->mode & 0004;
}

/* The next record for this reader: false if there is none. */
static bool take(u64 *cursor, struct lshm_ioc_event *to)
{
	struct record e;
	u64 oldest;

	for (;;) {
		memset(to, 0, sizeof(*to));
		spin_lock(&events_lock);
		oldest = next_record > RECORDS ? next_record - RECORDS : 0;
		if (*cursor == next_record) {
			spin_unlock(&events_lock);
			return false;
		}
		if (*cursor < oldest) {
			to->type = LSHM_IOC_EVENT_LOST;
			to->sequence = *cursor;
			to->value = oldest - *cursor;
			WRITE_ONCE(*cursor, oldest);
			spin_unlock(&events_lock);
			return true;
		}
		e = records[*cursor % RECORDS];
		get_pid(e.pid);
		to->sequence = *cursor;
		WRITE_ONCE(*cursor, *cursor + 1);
		spin_unlock(&events_lock);

		to->type = e.type;
		to->pid = pid_vnr(e.pid);
		to->time_ns = e.time_ns;
		to->region = e.region;
		to->handle = e.handle;
		to->value = e.value;
		put_pid(e.pid);
		if (readable(&e))
			return true;
		cond_resched();
	}
}

/*
 * Only the caller changes @cursor during the call; poll looks at it. -EAGAIN:
 * there is nothing.
 */
ssize_t lshm_events_read(u64 *cursor, char __user *to, size_t size)
{
	struct lshm_ioc_event e;
	size_t done = 0;
	u64 before;

	if (size < sizeof(e))
		return -EINVAL;
	while (size - done >= sizeof(e)) {
		before = *cursor;
		if (take(cursor, &e)) {
			if (copy_to_user(to + done, &e, sizeof(e))) {
				WRITE_ONCE(*cursor, before);
				return done ? done : -EFAULT;
			}
			done += sizeof(e);
			continue;
		}
		return done ? done : -EAGAIN;
	}
	return done;
}

/* Until there may be something; @cursor may be moved by others. */
int lshm_events_wait(const u64 *cursor)
{
	return wait_event_interruptible(
		readers, READ_ONCE(next_record) != READ_ONCE(*cursor));
}

__poll_t lshm_events_poll(
	u64 cursor, struct file *file, struct poll_table_struct *wait)
{
	struct lshm_ioc_event e;

	poll_wait(file, &readers, wait);
	/* Only what this reader may read: with a cursor of one's own. */
	return take(&cursor, &e) ? EPOLLIN | EPOLLRDNORM : 0;
}

void lshm_events_exit(void)
{
	for (int i = 0; i < RECORDS; i++)
		put_pid(records[i].pid);
}
