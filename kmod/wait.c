// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * wait.c - sleep while a word of a region has a value; wake who does
 *
 * Sleepers are in the bucket that their offset hashes to, in the order of their
 * coming. Under the bucket's lock, WAIT looks at the word, through the kernel's
 * own mapping, and joins; WAKE, under the same lock, looks for sleepers of
 * exactly its offset. Who changes a word and then calls WAKE: either WAKE has
 * the lock first, and then WAIT sees the new value; or WAIT has, and then WAKE
 * sees the sleeper. Death and revocation are told in the same manner: first the
 * count of deaths, or handle->revoked, then each bucket's lock is taken and all
 * concerned are woken; WAIT looks at both under the lock.
 *
 * A sleeper of WAITV is in several buckets with one result word, and is woken
 * by who sets that first, by compare-and-swap under some bucket's lock. A WAKE
 * that comes too late does not count it and looks for another: no wake-up is
 * spent on who is awake. A sleeper leaves by taking the lock of each of its
 * buckets, so that no waker still looks at its stack; a result set until then
 * counts, even if a signal or the deadline came, too.
 *
 * Bound eventfds are in the bucket, too, and in their handle's list, which
 * region->lock guards; those for deaths have a bucket of their own.
 */
#include <linux/file.h>
#include <linux/freezer.h>
#include <linux/hash.h>
#include <linux/hrtimer.h>
#include <linux/overflow.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/time_namespace.h>

#include "lshm.h"
#include "trace.h"

#define MAX_BINDINGS 1024 /* of one region: a WAKE goes through its bucket's */

#define NO_WORD U64_MAX

struct sleeper {
	struct task_struct *task;
	int result; /* 0 asleep; 1 + index of the word; or an error */
};

struct waiter {
	struct list_head link; /* bucket->lock; empty when taken out */
	struct sleeper *sleeper;
	struct lshm_handle *handle;
	u64 offset;
	u64 deaths; /* of the region, when it joined */
	int index;
};

struct binding {
	struct list_head link;	    /* bucket->lock */
	struct list_head of_handle; /* region->lock */
	struct lshm_bucket *bucket;
	struct eventfd_ctx *ctx;
	u64 offset;
};

static void init_bucket(struct lshm_bucket *b)
{
	spin_lock_init(&b->lock);
	INIT_LIST_HEAD(&b->waiters);
	INIT_LIST_HEAD(&b->bindings);
}

void lshm_wait_init(struct lshm_region *r)
{
	for (int i = 0; i < LSHM_BUCKETS; i++)
		init_bucket(&r->buckets[i]);
	init_bucket(&r->death_bell);
}

static struct lshm_bucket *bucket_of(struct lshm_region *r, u64 offset)
{
	return &r->buckets[hash_64(offset, ilog2(LSHM_BUCKETS))];
}

/* The kernel's own view of a word; the region, and so the page, stays. */
static int find_word(struct lshm_region *r, u64 offset, u32 **word)
{
	if (offset % sizeof(u32))
		return -EINVAL;
	if (offset >> PAGE_SHIFT >= lshm_region_pages(r))
		return -ERANGE;
	*word = page_address(lshm_region_page(r, offset >> PAGE_SHIFT)) +
		offset_in_page(offset);
	return 0;
}

/* The bucket's lock is held. Was it asleep? */
static bool wake(struct waiter *w, int result)
{
	list_del_init(&w->link);
	if (cmpxchg(&w->sleeper->result, 0, result) != 0)
		return false;
	wake_up_process(w->sleeper->task);
	return true;
}

/* -- waking ---------------------------------------------------------------- */

int lshm_wake(struct lshm_handle *h, struct lshm_ioc_wake *a)
{
	struct lshm_region *r = h->region;
	struct lshm_bucket *b = bucket_of(r, a->offset);
	struct waiter *w, *next;
	struct binding *bound;
	u32 *word, woken = 0;
	int ret;

	if (a->pad)
		return -EINVAL;
	if (a->region && a->region != r->id)
		return -ESTALE;
	ret = find_word(r, a->offset, &word);
	if (ret)
		return ret;
	spin_lock(&b->lock);
	list_for_each_entry_safe(w, next, &b->waiters, link) {
		if (woken >= a->count)
			break;
		if (w->offset == a->offset && wake(w, 1 + w->index))
			woken++;
	}
	list_for_each_entry(bound, &b->bindings, link)
		if (bound->offset == a->offset)
			lshm_eventfd_signal(bound->ctx);
	spin_unlock(&b->lock);
	atomic64_add(woken, &r->wakes);
	trace_lshm_wake(r->id, a->offset, woken);
	a->count = woken;
	return 0;
}

/* A claim has ended: tell everybody. */
void lshm_wake_death(struct lshm_region *r)
{
	struct waiter *w, *next;
	struct binding *bound;
	struct lshm_bucket *b;
	u64 deaths = atomic64_inc_return(&r->deaths);

	for (int i = 0; i < LSHM_BUCKETS; i++) {
		b = &r->buckets[i];
		spin_lock(&b->lock);
		/* Who came later has known of it. */
		list_for_each_entry_safe(w, next, &b->waiters, link)
			if (w->deaths < deaths)
				wake(w, -EOWNERDEAD);
		spin_unlock(&b->lock);
	}
	b = &r->death_bell;
	spin_lock(&b->lock);
	list_for_each_entry(bound, &b->bindings, link)
		lshm_eventfd_signal(bound->ctx);
	spin_unlock(&b->lock);
	wake_up_all(&r->poll);
}

/* The handle is revoked: end its waits, and nobody else's. */
void lshm_wake_handle(struct lshm_handle *h)
{
	struct waiter *w, *next;
	struct lshm_bucket *b;

	for (int i = 0; i < LSHM_BUCKETS; i++) {
		b = &h->region->buckets[i];
		spin_lock(&b->lock);
		list_for_each_entry_safe(w, next, &b->waiters, link)
			if (w->handle == h)
				wake(w, -ENODEV);
		spin_unlock(&b->lock);
	}
	wake_up_all(&h->region->poll);
}

/* -- waiting --------------------------------------------------------------- */

/* A deadline of the caller's time namespace, as the kernel's own time. */
static ktime_t host_time(u64 deadline)
{
	s64 t = deadline;

#ifdef CONFIG_TIME_NS
	/* It was not negative: if it does not fit, it is too large. */
	if (check_sub_overflow(t,
		    (s64)timespec64_to_ns(
			    &current->nsproxy->time_ns->offsets.monotonic),
		    &t))
		return KTIME_MAX;
#endif
	return max_t(s64, t, 0);
}

/*
 * Join, if all is as expected: 0; or what is not: an error. At NO_WORD, which
 * nobody can wake, there is only the handle and the deaths to look at.
 */
static int join(struct waiter *w, u32 expected, const u64 *deaths)
{
	struct lshm_region *r = w->handle->region;
	struct lshm_bucket *b = bucket_of(r, w->offset);
	u32 *word = &expected;
	int ret = 0;

	if (w->offset != NO_WORD)
		ret = find_word(r, w->offset, &word);
	if (ret)
		return ret;
	spin_lock(&b->lock);
	w->deaths = atomic64_read(&r->deaths);
	if (READ_ONCE(w->handle->revoked))
		ret = -ENODEV;
	else if (deaths && w->deaths != *deaths)
		ret = -EOWNERDEAD;
	else if (READ_ONCE(*word) != expected)
		ret = -EAGAIN;
	else
		list_add_tail(&w->link, &b->waiters);
	spin_unlock(&b->lock);
	return ret;
}

static void leave(struct waiter *w)
{
	struct lshm_bucket *b = bucket_of(w->handle->region, w->offset);

	spin_lock(&b->lock);
	list_del_init(&w->link);
	spin_unlock(&b->lock);
}

/* Until there is a result: 0; or -ETIMEDOUT, or -ERESTARTNOHAND. */
static int sleep(struct sleeper *s, u64 deadline)
{
	ktime_t until, *limit = NULL;
	int ret = 0;

	if (deadline < LSHM_IOC_FOREVER) {
		until = host_time(deadline);
		limit = &until;
	}
	for (;;) {
		set_current_state(TASK_INTERRUPTIBLE | TASK_FREEZABLE);
		if (READ_ONCE(s->result))
			break;
		if (signal_pending(current)) {
			/* By a stop, say: go on. After a handler: -EINTR. */
			ret = -ERESTARTNOHAND;
			break;
		}
		if (schedule_hrtimeout_range(limit, current->timer_slack_ns,
			    HRTIMER_MODE_ABS) == 0) {
			ret = -ETIMEDOUT;
			break;
		}
	}
	__set_current_state(TASK_RUNNING);
	return ret;
}

/*
 * Sleep on @count words, of which none has joined yet; @deaths are those of
 * region @r.
 */
static int wait_on(struct lshm_region *r, struct waiter *w, const u32 *expected,
	int count, const u64 *deaths, u64 deadline, u32 *index)
{
	struct sleeper s = { .task = current };
	int ret = 0, joined;

	for (joined = 0; joined < count; joined++) {
		w[joined].sleeper = &s;
		ret = join(&w[joined], expected[joined],
			w[joined].handle->region == r ? deaths : NULL);
		if (ret)
			break;
	}
	if (ret == 0) {
		atomic_inc(&r->waiters);
		atomic64_inc(&r->waits);
		ret = sleep(&s, deadline);
		atomic_dec(&r->waiters);
	} else if (ret == -EAGAIN) {
		*index = joined;
	}
	for (int i = 0; i < joined; i++)
		leave(&w[i]);
	if (s.result > 0) {
		*index = s.result - 1;
		ret = 0;
	} else if (s.result) {
		ret = s.result;
	}
	trace_lshm_wait(r->id, w[0].offset, ret);
	return ret;
}

int lshm_wait(struct lshm_handle *h, struct lshm_ioc_wait *a)
{
	bool exact = a->flags & LSHM_IOC_WAIT_DEATHS;
	struct waiter w = { .handle = h, .offset = a->offset };
	u64 seen = a->deaths;
	u32 index;
	int ret;

	if (a->pad)
		return -EINVAL;
	if (a->region && a->region != h->region->id)
		return -ESTALE;
	ret = wait_on(h->region, &w, &a->expected, 1, exact ? &seen : NULL,
		a->deadline, &index);
	a->deaths = atomic64_read(&h->region->deaths);
	return ret;
}

int lshm_waitv(struct lshm_handle *h, struct lshm_ioc_waitv *a)
{
	bool exact = a->flags & LSHM_IOC_WAIT_DEATHS;
	struct lshm_ioc_waiton __user *from = u64_to_user_ptr(a->words);
	struct lshm_ioc_waiton *words;
	struct file **files;
	struct waiter *w;
	u32 *expected;
	u64 seen = a->deaths;
	int ret = -ENOMEM;

	if (a->count == 0 || a->count > LSHM_MAX_WAITV)
		return -EINVAL;
	/* All of it, before anything is allocated or held. */
	if (!access_ok(from, a->count * sizeof(*from)))
		return -EFAULT;
	words = kcalloc(a->count, sizeof(*words), GFP_KERNEL_ACCOUNT);
	files = kcalloc(a->count, sizeof(*files), GFP_KERNEL_ACCOUNT);
	/* One more, for what happens to the handle and its region. */
	w = kcalloc(a->count + 1, sizeof(*w), GFP_KERNEL_ACCOUNT);
	expected = kcalloc(a->count + 1, sizeof(*expected), GFP_KERNEL_ACCOUNT);
	if (!words || !files || !w || !expected)
		goto out;
	ret = -EFAULT;
	if (__copy_from_user(words, from, a->count * sizeof(*words)))
		goto out;
	for (u32 i = 0; i < a->count; i++) {
		expected[i] = words[i].expected;
		w[i].offset = words[i].offset;
		w[i].index = i;
		w[i].handle = h;
		if (words[i].fd == -1)
			continue;
		ret = -EBADF;
		files[i] = fget(words[i].fd);
		if (!files[i])
			goto out;
		w[i].handle = lshm_handle_of(files[i]);
		if (!w[i].handle)
			goto out;
		ret = -EACCES;
		if (!(w[i].handle->rights & LSHM_IOC_RIGHT_READ))
			goto out;
	}
	w[a->count].handle = h;
	w[a->count].offset = NO_WORD;
	ret = wait_on(h->region, w, expected, a->count + 1,
		exact ? &seen : NULL, a->deadline, &a->index);
	a->deaths = atomic64_read(&h->region->deaths);
out:
	for (u32 i = 0; files && i < a->count; i++)
		if (files[i])
			fput(files[i]);
	kfree(expected);
	kfree(w);
	kfree(files);
	kfree(words);
	return ret;
}

/* -- eventfds -------------------------------------------------------------- */

/* region->lock is held. */
static void remove_binding(struct lshm_region *r, struct binding *b)
{
	r->nbindings--;
	list_del(&b->of_handle);
	spin_lock(&b->bucket->lock);
	list_del(&b->link);
	spin_unlock(&b->bucket->lock);
	eventfd_ctx_put(b->ctx);
	kfree(b);
}

static struct binding *find_binding(struct lshm_handle *h,
	const struct lshm_bucket *bucket, const struct eventfd_ctx *ctx,
	u64 offset)
{
	struct binding *b;

	list_for_each_entry(b, &h->bindings, of_handle)
		if (b->bucket == bucket && b->ctx == ctx && b->offset == offset)
			return b;
	return NULL;
}

int lshm_bind(struct lshm_handle *h, struct lshm_ioc_bind *a)
{
	u32 what = a->flags & (LSHM_IOC_BIND_WAKE | LSHM_IOC_BIND_DEATHS);
	struct lshm_region *r = h->region;
	struct lshm_bucket *bucket = &r->death_bell;
	struct binding *new, *old;
	struct eventfd_ctx *ctx;
	u32 *word;
	int ret;

	if (!is_power_of_2(what) || a->pad ||
		(what == LSHM_IOC_BIND_DEATHS && a->offset))
		return -EINVAL;
	if (what == LSHM_IOC_BIND_WAKE) {
		ret = find_word(r, a->offset, &word);
		if (ret)
			return ret;
		bucket = bucket_of(r, a->offset);
	}
	ctx = eventfd_ctx_fdget(a->fd);
	if (IS_ERR(ctx))
		return PTR_ERR(ctx);
	ret = -ENOMEM;
	new = kzalloc(sizeof(*new), GFP_KERNEL_ACCOUNT);
	if (!new)
		goto out;
	new->bucket = bucket;
	new->ctx = ctx;
	new->offset = a->offset;

	mutex_lock(&r->lock);
	old = find_binding(h, bucket, ctx, a->offset);
	ret = 0;
	if (a->flags & LSHM_IOC_BIND_REMOVE) {
		if (old)
			remove_binding(r, old);
		else
			ret = -ENOENT;
	} else if (h->revoked) {
		ret = -ENODEV;
	} else if (old) {
		ret = -EEXIST;
	} else if (r->nbindings >= MAX_BINDINGS) {
		ret = -ENOSPC;
	} else {
		list_add(&new->of_handle, &h->bindings);
		r->nbindings++;
		spin_lock(&bucket->lock);
		list_add_tail(&new->link, &bucket->bindings);
		spin_unlock(&bucket->lock);
		new = NULL;
		ctx = NULL;
	}
	mutex_unlock(&r->lock);
	kfree(new);
out:
	if (ctx)
		eventfd_ctx_put(ctx);
	return ret;
}

/* @ring: who waits for one of them is to find the handle revoked. */
void lshm_unbind_all(struct lshm_handle *h, bool ring)
{
	struct binding *b, *next;

	mutex_lock(&h->region->lock);
	list_for_each_entry_safe(b, next, &h->bindings, of_handle) {
		if (ring)
			lshm_eventfd_signal(b->ctx);
		remove_binding(h->region, b);
	}
	mutex_unlock(&h->region->lock);
}
