// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * handle.c - region descriptors: what one file of a region can do
 *
 * Each handle has an inode of its own, on a pseudo file system: so its mappings
 * can be found and emptied without anybody else's (REVOKE), and a read-only one
 * cannot be opened again for writing through /proc. The file system is mounted
 * as long as there are handles; it holds the module for whoever still has a
 * path to an inode when the file is gone.
 *
 * The file holds the handle, the handle its inode and region. In the region's
 * list, under region->lock, are the handles whose file is open; who finds one
 * there may hold it. Rights never change; "revoked" is set once.
 *
 * A duplicate is the child of what it was made from, and goes with it when that
 * is revoked. Who is closed leaves its children to its own parent. So a parent
 * is always in the region's list, before its children, and none is held for the
 * sake of another.
 */
#include <linux/file.h>
#include <linux/fs_context.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/pid_namespace.h>
#include <linux/poll.h>
#include <linux/pseudo_fs.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/user_namespace.h>

#include "lshm.h"

#define FS_MAGIC 0x4c53484d /* LSHM */

static int init_fs_context(struct fs_context *fc)
{
	if (!init_pseudo(fc, FS_MAGIC))
		return -ENOMEM;
	fc->s_iflags |= SB_I_NOEXEC | SB_I_NODEV;
	return 0;
}

static struct file_system_type lshm_fs = {
	.owner = THIS_MODULE,
	.name = "lshm",
	.init_fs_context = init_fs_context,
	.kill_sb = kill_anon_super,
};

static struct vfsmount *fs_mount;
static int fs_pins;
static atomic_t handle_count;

static const struct file_operations region_fops;

u32 lshm_handle_count(void)
{
	return atomic_read(&handle_count);
}

/* -- life ------------------------------------------------------------------ */

void lshm_handle_get(struct lshm_handle *h)
{
	kref_get(&h->ref);
}

static void free_handle(struct kref *ref)
{
	struct lshm_handle *h = container_of(ref, struct lshm_handle, ref);

	lshm_mapping_forget(h);
	iput(h->inode);
	simple_release_fs(&fs_mount, &fs_pins);
	put_pid(h->pid);
	lshm_uncharge_handle(h->user);
	lshm_user_put(h->user);
	lshm_region_put(h->region);
	atomic_dec(&handle_count);
	kfree(h);
}

void lshm_handle_put(struct lshm_handle *h)
{
	kref_put(&h->ref, free_handle);
}

/* NULL: it is some other file. */
struct lshm_handle *lshm_handle_of(struct file *file)
{
	return file->f_op == &region_fops ? file->private_data : NULL;
}

static struct inode *new_inode_of(const struct lshm_region *r)
{
	struct inode *inode = alloc_anon_inode(fs_mount->mnt_sb);

	if (IS_ERR(inode))
		return inode;
	inode->i_mode = r->mode;
	inode->i_uid = r->uid;
	inode->i_gid = r->gid;
	return inode;
}

/*
 * A new handle, in a file that is in no table yet. @parent, which may be NULL,
 * is the handle it derives from, whose file the caller holds.
 */
struct file *lshm_handle_file(
	struct lshm_region *r, struct lshm_handle *parent, u32 rights, u64 *id)
{
	bool write = rights & LSHM_IOC_RIGHT_WRITE;
	char name[LSHM_IOC_NAME_SIZE + 8];
	struct lshm_handle *h;
	struct file *file;
	int ret = -ENOMEM;

	h = kzalloc(sizeof(*h), GFP_KERNEL_ACCOUNT);
	if (!h)
		return ERR_PTR(-ENOMEM);
	kref_init(&h->ref);
	h->region = r;
	h->rights = rights;
	h->uid = current_euid();
	init_rwsem(&h->sem);
	mutex_init(&h->mms_lock);
	INIT_LIST_HEAD(&h->mms);
	INIT_LIST_HEAD(&h->link);
	INIT_LIST_HEAD(&h->children);
	INIT_LIST_HEAD(&h->sibling);
	INIT_LIST_HEAD(&h->bindings);
	atomic64_set(&h->seen_deaths, atomic64_read(&r->deaths));
	h->user = lshm_user_get(h->uid);
	if (!h->user)
		goto out_free;
	ret = lshm_charge_handle(h->user);
	if (ret)
		goto out_user;
	ret = simple_pin_fs(&lshm_fs, &fs_mount, &fs_pins);
	if (ret)
		goto out_charge;
	h->inode = new_inode_of(r);
	if (IS_ERR(h->inode)) {
		ret = PTR_ERR(h->inode);
		goto out_fs;
	}
	snprintf(name, sizeof(name), "lshm:%s", r->name);
	__module_get(THIS_MODULE);
	/* It takes the reference over: the handle needs one, too. */
	ihold(h->inode);
	file = alloc_file_pseudo(h->inode, fs_mount, name,
		write ? O_RDWR : O_RDONLY, &region_fops);
	if (IS_ERR(file)) {
		ret = PTR_ERR(file);
		goto out_inode;
	}
	file->private_data = h;
	file->f_mode |= FMODE_LSEEK | FMODE_PREAD | FMODE_PWRITE;
	kref_get(&r->ref);
	h->pid = get_pid(task_tgid(current));
	atomic_inc(&handle_count);

	mutex_lock(&r->lock);
	i_size_write(h->inode, (loff_t)lshm_region_pages(r) << PAGE_SHIFT);
	/* Here, for HANDLES goes by the list being in the order of ids. */
	h->id = lshm_new_id();
	list_add_tail(&h->link, &r->handles);
	r->nhandles++;
	/* Set before who revokes looks at the list for the last time. */
	ret = parent && (parent->doomed || parent->revoked) ? -ENODEV : 0;
	if (parent) {
		h->parent = parent;
		list_add(&h->sibling, &parent->children);
	}
	mutex_unlock(&r->lock);
	if (ret) {
		fput(file);
		return ERR_PTR(ret);
	}
	*id = h->id;
	return file;

out_inode:
	module_put(THIS_MODULE);
	iput(h->inode);
	iput(h->inode);
out_fs:
	simple_release_fs(&fs_mount, &fs_pins);
out_charge:
	lshm_uncharge_handle(h->user);
out_user:
	lshm_user_put(h->user);
out_free:
	kfree(h);
	return ERR_PTR(ret);
}

static int handle_release(struct inode *inode, struct file *file)
{
	struct lshm_handle *h = file->private_data, *child, *next;

	mutex_lock(&h->region->lock);
	list_for_each_entry_safe(child, next, &h->children, sibling) {
		child->parent = h->parent;
		if (h->parent)
			list_move(&child->sibling, &h->parent->children);
		else
			list_del_init(&child->sibling);
	}
	list_del(&h->sibling);
	list_del(&h->link);
	h->region->nhandles--;
	mutex_unlock(&h->region->lock);
	lshm_unbind_all(h, false);
	lshm_handle_put(h);
	return 0;
}

/* -- revocation ------------------------------------------------------------ */

/* Idempotent: on return it is done, whoever did it. No lock is held. */
static void revoke(struct lshm_handle *h)
{
	bool was;

	down_write(&h->sem);
	mutex_lock(&h->region->lock);
	was = h->revoked;
	WRITE_ONCE(h->revoked, true);
	mutex_unlock(&h->region->lock);
	up_write(&h->sem);
	lshm_mapping_revoke(h);
	lshm_wake_handle(h);
	lshm_claim_revoke(h);
	lshm_unbind_all(h, true);
	if (!was)
		lshm_event(h->region, h, LSHM_IOC_EVENT_REVOKE, 0);
}

/*
 * Mark a handle, its duplicates, theirs, and so on: of what is marked no more
 * duplicates are made. One pass, for parents come before their children. False:
 * there is no such handle.
 */
static bool doom(struct lshm_region *r, u64 id)
{
	struct lshm_handle *h;
	bool found = false;

	mutex_lock(&r->lock);
	list_for_each_entry(h, &r->handles, link) {
		if (h->id == id)
			h->doomed = found = true;
		else if (h->parent && h->parent->doomed)
			h->doomed = true;
	}
	mutex_unlock(&r->lock);
	return found;
}

/* The first of id @id or more; with a reference. */
static struct lshm_handle *next_doomed(struct lshm_region *r, u64 id)
{
	struct lshm_handle *h, *found = NULL;

	mutex_lock(&r->lock);
	list_for_each_entry(h, &r->handles, link) {
		if (h->id < id || !h->doomed)
			continue;
		found = h;
		lshm_handle_get(h);
		break;
	}
	mutex_unlock(&r->lock);
	return found;
}

/*
 * With all that descends from it. Another may be at the same ones: each is left
 * marked until somebody is done with it.
 */
static int revoke_tree(struct lshm_region *r, u64 id)
{
	struct lshm_handle *h;

	if (!doom(r, id))
		return -ENOENT;
	while ((h = next_doomed(r, id))) {
		revoke(h);
		mutex_lock(&r->lock);
		h->doomed = false;
		mutex_unlock(&r->lock);
		id = h->id + 1;
		lshm_handle_put(h);
	}
	return 0;
}

static struct lshm_handle *not_revoked(
	struct lshm_region *r, const struct lshm_handle *but)
{
	struct lshm_handle *h, *found = NULL;

	mutex_lock(&r->lock);
	list_for_each_entry(h, &r->handles, link) {
		if (h == but || h->revoked)
			continue;
		found = h;
		lshm_handle_get(h);
		break;
	}
	mutex_unlock(&r->lock);
	return found;
}

void lshm_handle_revoke_all(
	struct lshm_region *r, const struct lshm_handle *but)
{
	struct lshm_handle *h;

	/* Somebody may make handles as fast as they are revoked. */
	while (!fatal_signal_pending(current) && (h = not_revoked(r, but))) {
		revoke(h);
		lshm_handle_put(h);
	}
}

/* -- read, write, and the rest of a file ----------------------------------- */

/*
 * What is read or written passes through a page of the kernel's: the caller's
 * memory may make a copy wait for as long as it likes, and in the meantime the
 * handle may be revoked, or the region sealed. Between the region and that page
 * no copy waits: it is made with a lock held that revocation, and SEAL, take.
 */
static int copy_out(struct lshm_handle *h, void *to, u64 pos, size_t n)
{
	struct page *page = lshm_region_page(h->region, pos >> PAGE_SHIFT);
	int ret = -ENODEV;

	down_read(&h->sem);
	if (!h->revoked) {
		memcpy(to, page_address(page) + offset_in_page(pos), n);
		ret = 0;
	}
	up_read(&h->sem);
	return ret;
}

static int copy_in(struct lshm_handle *h, u64 pos, const void *from, size_t n)
{
	struct page *page = lshm_region_page(h->region, pos >> PAGE_SHIFT);
	struct lshm_region *r = h->region;
	int ret = 0;

	mutex_lock(&r->lock);
	if (h->revoked)
		ret = -ENODEV;
	else if (r->seals & (LSHM_IOC_SEAL_WRITE | LSHM_IOC_SEAL_FUTURE_WRITE))
		ret = -EPERM;
	else
		memcpy(page_address(page) + offset_in_page(pos), from, n);
	mutex_unlock(&r->lock);
	return ret;
}

/* Exactly one of @to and @from is meant, as @write says. */
static ssize_t transfer(struct lshm_handle *h, bool write, char __user *to,
	const char __user *from, size_t size, loff_t *at)
{
	u64 pos = *at, length, n;
	size_t done = 0;
	int ret = 0;
	char *buffer;

	if (READ_ONCE(h->revoked))
		return -ENODEV;
	length = (u64)lshm_region_pages(h->region) << PAGE_SHIFT;
	if (size == 0 || pos >= length)
		return write && size ? -ENOSPC : 0;
	buffer = kmalloc(min_t(size_t, size, PAGE_SIZE), GFP_KERNEL_ACCOUNT);
	if (!buffer)
		return -ENOMEM;
	while (done < size && pos < length) {
		n = min3((u64)(size - done), length - pos,
			(u64)(PAGE_SIZE - offset_in_page(pos)));
		if (write && copy_from_user(buffer, from + done, n))
			ret = -EFAULT;
		else if (write)
			ret = copy_in(h, pos, buffer, n);
		else
			ret = copy_out(h, buffer, pos, n);
		if (ret == 0 && !write && copy_to_user(to + done, buffer, n))
			ret = -EFAULT;
		if (ret)
			break;
		done += n;
		pos += n;
		*at = pos;
		if (fatal_signal_pending(current))
			break;
		cond_resched();
	}
	kfree(buffer);
	return done ? done : ret;
}

static ssize_t handle_read(
	struct file *file, char __user *to, size_t size, loff_t *at)
{
	return transfer(file->private_data, false, to, NULL, size, at);
}

static ssize_t handle_write(
	struct file *file, const char __user *from, size_t size, loff_t *at)
{
	return transfer(file->private_data, true, NULL, from, size, at);
}

static __poll_t handle_poll(struct file *file, struct poll_table_struct *wait)
{
	struct lshm_handle *h = file->private_data;
	struct lshm_region *r = h->region;
	__poll_t ready = 0;

	poll_wait(file, &r->poll, wait);
	if (READ_ONCE(h->revoked))
		ready |= EPOLLHUP | EPOLLERR;
	if (atomic64_read(&r->deaths) != atomic64_read(&h->seen_deaths))
		ready |= EPOLLPRI;
	return ready;
}

static void handle_show_fdinfo(struct seq_file *m, struct file *file)
{
	struct lshm_handle *h = file->private_data;
	struct lshm_region *r = h->region;

	seq_printf(m, "lshm-region:\t%llu\n", r->id);
	seq_puts(m, "lshm-name:\t");
	seq_escape(m, r->name, "\\\n\t ");
	seq_putc(m, '\n');
	seq_printf(m, "lshm-handle:\t%llu\n", h->id);
	seq_printf(m, "lshm-rights:\t%#x\n", h->rights);
	seq_printf(m, "lshm-revoked:\t%d\n", READ_ONCE(h->revoked));
	seq_printf(m, "lshm-length:\t%llu\n",
		(u64)lshm_region_pages(r) << PAGE_SHIFT);
	seq_printf(m, "lshm-maps:\t%d\n", atomic_read(&h->maps));
}

/* -- ioctls ---------------------------------------------------------------- */

static int do_grow(void *p, union lshm_args *a, struct lshm_new_fd *fd)
{
	struct lshm_region *r = ((struct lshm_handle *)p)->region;
	u64 pages = a->grow.length >> PAGE_SHIFT;
	int ret;

	if (offset_in_page(a->grow.length))
		return -EINVAL;
	ret = lshm_region_grow(r, pages);
	a->grow.length = (u64)lshm_region_pages(r) << PAGE_SHIFT;
	return ret;
}

static int do_link(void *p, union lshm_args *a, struct lshm_new_fd *fd)
{
	return lshm_region_link(((struct lshm_handle *)p)->region);
}

static int do_dup(void *p, union lshm_args *a, struct lshm_new_fd *fd)
{
	struct lshm_handle *h = p;
	u32 rights = a->dup.rights ? a->dup.rights : h->rights;

	if (rights & ~LSHM_IOC_RIGHTS || !(rights & LSHM_IOC_RIGHT_READ))
		return -EINVAL;
	if (rights & ~h->rights)
		return -EACCES;
	fd->file = lshm_handle_file(h->region, h, rights, &a->dup.handle);
	if (IS_ERR(fd->file))
		return PTR_ERR(fd->file);
	a->dup.rights = rights;
	a->dup.fd = fd->fd;
	return 0;
}

static int do_seal(void *p, union lshm_args *a, struct lshm_new_fd *fd)
{
	struct lshm_region *r = ((struct lshm_handle *)p)->region;
	int ret = 0;

	if (a->seal.pad || a->seal.seals & ~LSHM_IOC_SEALS)
		return -EINVAL;
	/* A GROW that has seen no seal comes to its end first. */
	if (mutex_lock_killable(&r->grow))
		return -EINTR;
	mutex_lock(&r->lock);
	if (r->seals & LSHM_IOC_SEAL_SEAL && a->seal.seals & ~r->seals)
		ret = -EPERM;
	else if (a->seal.seals & LSHM_IOC_SEAL_WRITE &&
		 (atomic_read(&r->writable) || lshm_region_pinned(r)))
		ret = -EBUSY;
	else
		r->seals |= a->seal.seals;
	a->seal.seals = r->seals;
	mutex_unlock(&r->lock);
	mutex_unlock(&r->grow);
	if (ret == 0)
		lshm_event(r, p, LSHM_IOC_EVENT_SEAL, a->seal.seals);
	return ret;
}

static int do_revoke(void *p, union lshm_args *a, struct lshm_new_fd *fd)
{
	struct lshm_handle *h = p;

	if (a->revoke.flags & LSHM_IOC_REVOKE_OTHERS) {
		if (a->revoke.handle)
			return -EINVAL;
		lshm_handle_revoke_all(h->region, h);
		return 0;
	}
	if (!a->revoke.handle)
		return -EINVAL;
	return revoke_tree(h->region, a->revoke.handle);
}

/* The record of the first handle from *id on: false if there is none. */
static bool handle_record(
	struct lshm_region *r, u64 *id, struct lshm_ioc_handle *to)
{
	struct lshm_handle *h;
	bool found = false;

	memset(to, 0, sizeof(*to));
	mutex_lock(&r->lock);
	/* In the order of their making, so of their ids. */
	list_for_each_entry(h, &r->handles, link) {
		if (h->id < *id)
			continue;
		to->handle = h->id;
		to->flags = h->revoked ? LSHM_IOC_HANDLE_REVOKED : 0;
		to->rights = h->rights;
		to->pid = pid_vnr(h->pid);
		to->uid = from_kuid_munged(current_user_ns(), h->uid);
		to->maps = atomic_read(&h->maps);
		to->claims = h->nclaims;
		*id = h->id;
		found = true;
		break;
	}
	mutex_unlock(&r->lock);
	return found;
}

static int do_handles(void *p, union lshm_args *a, struct lshm_new_fd *fd)
{
	struct lshm_region *r = ((struct lshm_handle *)p)->region;
	struct lshm_ioc_handle record;
	struct lshm_list_to to;
	u64 id = a->list.next;
	int ret = lshm_list_begin(&to, &a->list);

	if (ret)
		return ret;
	for (; handle_record(r, &id, &record); id++) {
		ret = lshm_list_add(&to, &record, sizeof(record), id);
		if (ret)
			break;
	}
	return lshm_list_end(&to, &a->list, ret);
}

static int do_wait(void *p, union lshm_args *a, struct lshm_new_fd *fd)
{
	return lshm_wait(p, &a->wait);
}

static int do_wake(void *p, union lshm_args *a, struct lshm_new_fd *fd)
{
	return lshm_wake(p, &a->wake);
}

static int do_waitv(void *p, union lshm_args *a, struct lshm_new_fd *fd)
{
	return lshm_waitv(p, &a->waitv);
}

static int do_bind(void *p, union lshm_args *a, struct lshm_new_fd *fd)
{
	return lshm_bind(p, &a->bind);
}

static int do_peer(void *p, union lshm_args *a, struct lshm_new_fd *fd)
{
	if (a->peer.pad)
		return -EINVAL;
	return lshm_claim_peer(p, &a->peer);
}

static int do_label(void *p, union lshm_args *a, struct lshm_new_fd *fd)
{
	struct lshm_region *r = ((struct lshm_handle *)p)->region;
	const char __user *from = u64_to_user_ptr(a->label.label);
	long n = strnlen_user(from, LSHM_IOC_LABEL_SIZE);
	char *label;

	if (n == 0)
		return -EFAULT;
	if (n > LSHM_IOC_LABEL_SIZE)
		return -ENAMETOOLONG;
	/* The length is a hint: the string may have changed since. */
	label = kzalloc(LSHM_IOC_LABEL_SIZE, GFP_KERNEL_ACCOUNT);
	if (!label)
		return -ENOMEM;
	if (copy_from_user(label, from, n)) {
		kfree(label);
		return -EFAULT;
	}
	label[n - 1] = '\0';
	mutex_lock(&r->lock);
	strscpy_pad(r->label, label, sizeof(r->label));
	mutex_unlock(&r->lock);
	kfree(label);
	return 0;
}

static int do_frames(void *p, union lshm_args *a, struct lshm_new_fd *fd)
{
	struct lshm_region *r = ((struct lshm_handle *)p)->region;
	u64 __user *to = u64_to_user_ptr(a->frames.frames);
	u64 first = a->frames.offset >> PAGE_SHIFT;
	unsigned long pages = lshm_region_pages(r), pfn;
	u32 n;

	if (offset_in_page(a->frames.offset) || a->frames.pad)
		return -EINVAL;
	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	if (first >= pages)
		return -ERANGE;
	for (n = 0; n < a->frames.count && n < pages - first; n++) {
		pfn = page_to_pfn(lshm_region_page(r, first + n));
		if (put_user((u64)pfn, to + n))
			return -EFAULT;
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}
	a->frames.count = n;
	return 0;
}

#define NEEDS(what) LSHM_IOC_RIGHT_##what
#define CALL(nr, do, type, known, needs, back) \
	[_IOC_NR(nr)] = { .run = do,           \
		.size = sizeof(struct type),   \
		.first = sizeof(struct type),  \
		.flags = known,                \
		.right = needs,                \
		.out = back,                   \
		.makes_fd = (do) == do_dup }

static const struct lshm_call calls[] = {
	CALL(LSHM_IOC_GROW, do_grow, lshm_ioc_grow, 0, NEEDS(GROW), true),
	CALL(LSHM_IOC_LINK, do_link, lshm_ioc_link, 0, NEEDS(MANAGE), false),
	CALL(LSHM_IOC_DUP, do_dup, lshm_ioc_dup, 0, 0, true),
	CALL(LSHM_IOC_SEAL, do_seal, lshm_ioc_seal, 0, NEEDS(MANAGE), true),
	CALL(LSHM_IOC_REVOKE, do_revoke, lshm_ioc_revoke,
		LSHM_IOC_REVOKE_OTHERS, NEEDS(MANAGE), false),
	CALL(LSHM_IOC_HANDLES, do_handles, lshm_ioc_list, 0, NEEDS(MANAGE),
		true),
	CALL(LSHM_IOC_WAIT, do_wait, lshm_ioc_wait, LSHM_IOC_WAIT_DEATHS,
		NEEDS(READ), true),
	CALL(LSHM_IOC_WAKE, do_wake, lshm_ioc_wake, 0, NEEDS(WRITE), true),
	CALL(LSHM_IOC_WAITV, do_waitv, lshm_ioc_waitv, LSHM_IOC_WAIT_DEATHS,
		NEEDS(READ), true),
	CALL(LSHM_IOC_BIND, do_bind, lshm_ioc_bind,
		LSHM_IOC_BIND_WAKE | LSHM_IOC_BIND_DEATHS |
			LSHM_IOC_BIND_REMOVE,
		NEEDS(WRITE), false),
	CALL(LSHM_IOC_PEER, do_peer, lshm_ioc_peer, 0, 0, true),
	CALL(LSHM_IOC_LABEL, do_label, lshm_ioc_label, 0, NEEDS(MANAGE), false),
	CALL(LSHM_IOC_FRAMES, do_frames, lshm_ioc_frames, 0, NEEDS(READ), true),
};

static int do_stat(struct lshm_handle *h, struct lshm_ioc_stat __user *u)
{
	struct lshm_ioc_stat *s;
	u32 size;
	int ret;

	s = kzalloc(sizeof(*s), GFP_KERNEL_ACCOUNT);
	if (!s)
		return -ENOMEM;
	ret = lshm_struct_get(s, sizeof(*s), sizeof(*s), u, &size);
	if (ret == 0 && s->flags)
		ret = -EINVAL;
	if (ret)
		goto out;
	memset(s, 0, sizeof(*s));
	lshm_region_stat(h->region, s);
	s->size = size;
	s->handle = h->id;
	s->rights = h->rights;
	ret = lshm_struct_put(u, size, s, sizeof(*s));
	if (ret == 0)
		atomic64_set(&h->seen_deaths, s->deaths);
out:
	kfree(s);
	return ret;
}

static long handle_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct lshm_handle *h = file->private_data;
	void __user *u = (void __user *)arg;
	unsigned int nr = _IOC_NR(cmd);
	const struct lshm_call *call;

	if (_IOC_TYPE(cmd) != LSHM_IOC_TYPE)
		return -ENOTTY;
	if (READ_ONCE(h->revoked))
		return -ENODEV;
	if (nr == _IOC_NR(LSHM_IOC_STAT))
		return do_stat(h, u);
	call = lshm_call_find(calls, ARRAY_SIZE(calls), nr);
	if (!call)
		return -ENOTTY;
	if (call->right & ~h->rights)
		return -EACCES;
	return lshm_ioctl(h, call, u);
}

static const struct file_operations region_fops = {
	.owner = THIS_MODULE,
	.release = handle_release,
	.read = handle_read,
	.write = handle_write,
	.llseek = generic_file_llseek,
	.poll = handle_poll,
	.mmap = lshm_mapping_mmap,
#if LSHM_HUGE
	.get_unmapped_area = thp_get_unmapped_area,
#endif
	.unlocked_ioctl = handle_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.show_fdinfo = handle_show_fdinfo,
};
