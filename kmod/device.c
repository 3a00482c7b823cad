// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * device.c - /dev/lshm, the control descriptor, and how ioctls are called
 *
 * An ioctl has a row in a table. Its struct is copied in once, whole, into
 * kernel memory, and nothing of it is read from user space again; the answer is
 * copied out with no lock held. A new descriptor enters the caller's table as
 * the very last step, when nothing can fail any more.
 *
 * A control file has only a cursor of events, under a mutex of its own.
 */
#include <linux/compat.h>
#include <linux/file.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/nospec.h>
#include <linux/poll.h>
#include <linux/slab.h>

#include "lshm.h"

struct control {
	struct mutex lock;
	u64 cursor;
};

/* -- ioctls ---------------------------------------------------------------- */

/* Of a caller who knows less or more than this module. */
int lshm_struct_get(
	void *k, size_t ksize, size_t min, void __user *u, u32 *usize)
{
	u32 __user *size = u;
	int ret;

	if (get_user(*usize, size))
		return -EFAULT;
	if (*usize < min)
		return -EINVAL;
	if (*usize > PAGE_SIZE)
		return -E2BIG;
	ret = copy_struct_from_user(k, ksize, u, *usize);
	if (ret == -E2BIG && put_user((u32)ksize, size))
		return -EFAULT;
	if (ret == 0)
		*(u32 *)k = *usize; /* it may have changed in between */
	return ret;
}

int lshm_struct_put(void __user *u, u32 usize, const void *k, size_t ksize)
{
	size_t n = min_t(size_t, usize, ksize);

	if (copy_to_user(u, k, n))
		return -EFAULT;
	if (usize > n && clear_user(u + n, usize - n))
		return -EFAULT;
	return 0;
}

const struct lshm_call *lshm_call_find(
	const struct lshm_call *calls, unsigned int count, unsigned int nr)
{
	if (nr >= count)
		return NULL;
	calls += array_index_nospec(nr, count);
	return calls->run ? calls : NULL;
}

/* The errors with which an answer comes. */
static bool answers(int ret)
{
	return ret == 0 || ret == -EOWNERDEAD || ret == -EAGAIN;
}

long lshm_ioctl(void *private, const struct lshm_call *call, void __user *u)
{
	struct lshm_new_fd new = { .fd = -1 };
	union lshm_args a;
	u32 size;
	int ret;

	memset(&a, 0, sizeof(a));
	ret = lshm_struct_get(&a, call->size, call->first, u, &size);
	if (ret)
		return ret;
	if (a.head.flags & ~call->flags)
		return -EINVAL;
	if (call->makes_fd) {
		new.fd = get_unused_fd_flags(O_CLOEXEC);
		if (new.fd < 0)
			return new.fd;
	}
	ret = call->run(private, &a, &new);
	if (call->out && answers(ret) &&
		lshm_struct_put(u, size, &a, call->size)) {
		if (ret == 0 && new.made)
			lshm_region_unlink(new.made);
		if (ret == 0 && call->makes_fd)
			fput(new.file);
		ret = -EFAULT;
	}
	if (call->makes_fd && ret)
		put_unused_fd(new.fd);
	else if (call->makes_fd)
		fd_install(new.fd, new.file);
	return ret;
}

/* -- lists ----------------------------------------------------------------- */

int lshm_list_begin(struct lshm_list_to *to, const struct lshm_ioc_list *a)
{
	if (a->record_size < 16 || a->record_size > PAGE_SIZE ||
		a->count > 65536)
		return -EINVAL;
	to->at = u64_to_user_ptr(a->records);
	to->size = a->record_size;
	to->room = a->count;
	to->count = 0;
	to->next = 0;
	/* All of it, before the first record is made. */
	return access_ok(to->at, (u64)to->size * to->room) ? 0 : -EFAULT;
}

/* 1: there is no room for the record of @id, nor for further ones. */
int lshm_list_add(
	struct lshm_list_to *to, const void *record, size_t size, u64 id)
{
	if (to->count == to->room) {
		to->next = id;
		return 1;
	}
	if (lshm_struct_put(to->at, to->size, record, size))
		return -EFAULT;
	to->at += to->size;
	to->count++;
	cond_resched();
	return fatal_signal_pending(current) ? -EINTR : 0;
}

int lshm_list_end(struct lshm_list_to *to, struct lshm_ioc_list *a, int ret)
{
	size_t rest = (size_t)(to->room - to->count) * to->size;

	if (ret < 0)
		return ret;
	if (rest && clear_user(to->at, rest))
		return -EFAULT;
	a->count = to->count;
	a->next = to->next;
	return 0;
}

/* -- the control descriptor ------------------------------------------------ */

static int do_info(void *p, union lshm_args *args, struct lshm_new_fd *fd)
{
	struct lshm_ioc_info *i = &args->info;

	i->abi = LSHM_IOC_ABI;
	i->page_size = PAGE_SIZE;
	i->features = LSHM_HUGE ? LSHM_IOC_FEATURE_HUGE : 0;
	i->regions = lshm_region_count();
	i->handles = lshm_handle_count();
	i->max_waitv = LSHM_MAX_WAITV;
	lshm_quota_info(i);
	return 0;
}

static int do_create(void *p, union lshm_args *args, struct lshm_new_fd *fd)
{
	struct lshm_ioc_create *a = &args->create;
	char name[LSHM_IOC_NAME_SIZE];
	struct lshm_region *r;
	int ret;

	if (a->pad || a->mode & ~0777 || a->map > LSHM_IOC_MAP_PAGES ||
		a->rights & ~LSHM_IOC_RIGHTS ||
		offset_in_page(a->length | a->max_length) ||
		(a->max_length && a->max_length < a->length))
		return -EINVAL;
	if (a->rights && !(a->rights & LSHM_IOC_RIGHT_READ))
		return -EINVAL;
	if (a->node < -1 || a->node >= MAX_NUMNODES ||
		(a->node >= 0 && !node_state(a->node, N_MEMORY)))
		return -EINVAL;
	if (a->name) {
		ret = lshm_name_get(name, a->name);
		if (ret)
			return ret;
	}
	r = lshm_region_create(a, a->name ? name : NULL);
	if (IS_ERR(r))
		return PTR_ERR(r);
	if (!a->rights)
		a->rights = LSHM_IOC_RIGHTS;
	fd->file = lshm_handle_file(r, NULL, a->rights, &a->handle);
	if (IS_ERR(fd->file)) {
		ret = PTR_ERR(fd->file);
		lshm_region_unlink(r);
	} else {
		ret = 0;
		fd->made = r; /* which the file holds */
		a->fd = fd->fd;
		a->id = r->id;
	}
	lshm_region_put(r);
	return ret;
}

/* By name, if that is not 0, or by id. */
static struct lshm_region *find(u64 name, u64 id)
{
	char k[LSHM_IOC_NAME_SIZE];
	struct lshm_region *r;
	int ret;

	if (name) {
		ret = lshm_name_get(k, name);
		if (ret)
			return ERR_PTR(ret);
	}
	r = lshm_region_find(name ? k : NULL, id);
	return r ? r : ERR_PTR(-ENOENT);
}

static int do_open(void *p, union lshm_args *args, struct lshm_new_fd *fd)
{
	struct lshm_ioc_open *a = &args->open;
	struct lshm_region *r;
	u32 allowed;
	int ret;

	if (a->rights & ~LSHM_IOC_RIGHTS)
		return -EINVAL;
	if (a->rights && !(a->rights & LSHM_IOC_RIGHT_READ))
		return -EINVAL;
	r = find(a->name, a->id);
	if (IS_ERR(r))
		return PTR_ERR(r);
	allowed = lshm_region_rights(r);
	if (!(allowed & LSHM_IOC_RIGHT_READ) || a->rights & ~allowed) {
		ret = -EACCES;
		goto out;
	}
	if (!a->rights)
		a->rights = allowed;
	fd->file = lshm_handle_file(r, NULL, a->rights, &a->handle);
	ret = PTR_ERR_OR_ZERO(fd->file);
	if (ret == 0) {
		a->fd = fd->fd;
		a->id = r->id;
		lshm_event(r, lshm_handle_of(fd->file), LSHM_IOC_EVENT_OPEN, 0);
	}
out:
	lshm_region_put(r);
	return ret;
}

static int do_list(void *p, union lshm_args *args, struct lshm_new_fd *fd)
{
	struct lshm_ioc_list *a = &args->list;
	struct lshm_ioc_stat *s;
	struct lshm_region *r;
	struct lshm_list_to to;
	u64 id = a->next;
	int ret = lshm_list_begin(&to, a);

	if (ret)
		return ret;
	s = kmalloc(sizeof(*s), GFP_KERNEL_ACCOUNT);
	if (!s)
		return -ENOMEM;
	for (; ret == 0 && (r = lshm_region_next(&id)); id++) {
		if (lshm_region_rights(r) & LSHM_IOC_RIGHT_READ) {
			memset(s, 0, sizeof(*s));
			lshm_region_stat(r, s);
			s->size = sizeof(*s);
			ret = lshm_list_add(&to, s, sizeof(*s), id);
		}
		lshm_region_put(r);
	}
	kfree(s);
	return lshm_list_end(&to, a, ret);
}

static int do_unlink(void *p, union lshm_args *args, struct lshm_new_fd *fd)
{
	struct lshm_ioc_unlink *a = &args->unlink;
	struct lshm_region *r = find(a->name, a->id);
	int ret = -EPERM;

	if (IS_ERR(r))
		return PTR_ERR(r);
	if (lshm_region_rights(r) & LSHM_IOC_RIGHT_MANAGE) {
		ret = lshm_region_unlink(r);
		if (a->flags & LSHM_IOC_UNLINK_REVOKE) {
			lshm_handle_revoke_all(r, NULL);
			ret = 0;
		}
	}
	lshm_region_put(r);
	return ret;
}

#define CALL(nr, do, type, known, back, fd)   \
	[_IOC_NR(nr)] = { .run = do,          \
		.size = sizeof(struct type),  \
		.first = sizeof(struct type), \
		.flags = known,               \
		.out = back,                  \
		.makes_fd = fd }

static const struct lshm_call calls[] = {
	CALL(LSHM_IOC_INFO, do_info, lshm_ioc_info, 0, true, false),
	CALL(LSHM_IOC_CREATE, do_create, lshm_ioc_create,
		LSHM_IOC_CREATE_HIDDEN | LSHM_IOC_CREATE_CONTIGUOUS, true,
		true),
	CALL(LSHM_IOC_OPEN, do_open, lshm_ioc_open, 0, true, true),
	CALL(LSHM_IOC_LIST, do_list, lshm_ioc_list, 0, true, false),
	CALL(LSHM_IOC_UNLINK, do_unlink, lshm_ioc_unlink,
		LSHM_IOC_UNLINK_REVOKE, false, false),
};

static long control_ioctl(
	struct file *file, unsigned int cmd, unsigned long arg)
{
	const struct lshm_call *call;

	if (_IOC_TYPE(cmd) != LSHM_IOC_TYPE)
		return -ENOTTY;
	call = lshm_call_find(calls, ARRAY_SIZE(calls), _IOC_NR(cmd));
	if (!call)
		return -ENOTTY;
	return lshm_ioctl(file->private_data, call, (void __user *)arg);
}

static int control_open(struct inode *inode, struct file *file)
{
	struct control *c = kzalloc(sizeof(*c), GFP_KERNEL_ACCOUNT);

	if (!c)
		return -ENOMEM;
	mutex_init(&c->lock);
	c->cursor = lshm_events_now();
	file->private_data = c;
	return stream_open(inode, file);
}

static int control_release(struct inode *inode, struct file *file)
{
	kfree(file->private_data);
	return 0;
}

static ssize_t control_read(
	struct file *file, char __user *to, size_t size, loff_t *at)
{
	struct control *c = file->private_data;
	ssize_t ret;

	/* Who sleeps does not hold the cursor: another may not want to. */
	for (;;) {
		if (mutex_lock_interruptible(&c->lock))
			return -ERESTARTSYS;
		ret = lshm_events_read(&c->cursor, to, size);
		mutex_unlock(&c->lock);
		if (ret != -EAGAIN || file->f_flags & O_NONBLOCK)
			return ret;
		if (lshm_events_wait(&c->cursor))
			return -ERESTARTSYS;
	}
}

static __poll_t control_poll(struct file *file, struct poll_table_struct *wait)
{
	struct control *c = file->private_data;

	return lshm_events_poll(READ_ONCE(c->cursor), file, wait);
}

static const struct file_operations control_fops = {
	.owner = THIS_MODULE,
	.open = control_open,
	.release = control_release,
	.read = control_read,
	.poll = control_poll,
	.unlocked_ioctl = control_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

static struct miscdevice device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "lshm",
	.fops = &control_fops,
	.mode = 0600, /* until an administrator says more */
	.groups = lshm_attribute_groups,
};

static int __init lshm_init(void)
{
	int ret = misc_register(&device);

	if (ret == 0)
		lshm_debug_init();
	return ret;
}

static void __exit lshm_exit(void)
{
	lshm_debug_exit();
	misc_deregister(&device);
	lshm_events_exit();
}

module_init(lshm_init);
module_exit(lshm_exit);

MODULE_LICENSE("Dual MIT/GPL");
MODULE_DESCRIPTION("Shared memory regions for libshm");
MODULE_VERSION("1");
