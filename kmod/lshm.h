/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * lshm.h - the objects of the module, and what its files have of each other
 *
 * Lifetime
 *	A region lives as long as it has a name, a handle, or somebody inside a
 *	call; its pages are freed with it, and never before. A handle is what is
 *	behind one open file of a region: the file holds it, each mapping holds
 *	the file. So no page is freed while it is mapped. Each region and each
 *	file holds the module.
 *
 * Locks, outermost first
 *	region->grow	one GROW at a time; npages and blocks
 *	mmap_lock	of the caller; mmap, fault, open and close come with it
 *	handle->sem	shared: mmap, fault; exclusive: to set handle->revoked
 *	names_lock	names, ids and "linked" of all regions; region.c
 *	region->lock	handles, claims, seals, label, bindings
 *	bucket->lock	spinlock: who waits on the words of this bucket; wait.c
 *	events_lock	spinlock; events.c
 *	users_lock	spinlock; quota.c
 *
 *	User memory is not touched with any of them held, but for a mutex of a
 *	control file that serves nothing else: a fault takes mmap_lock.
 */
#ifndef LSHM_KMOD_LSHM_H
#define LSHM_KMOD_LSHM_H

#include <linux/atomic.h>
#include <linux/cred.h>
#include <linux/fs.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/refcount.h>
#include <linux/rwsem.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/uaccess.h>
#include <linux/wait.h>
#include <linux/xarray.h>

#include "../include/libshm/uapi.h"
#include "compat.h"
#include "pure.h"

#undef pr_fmt
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#define LSHM_BLOCK_PAGES (PMD_SIZE / PAGE_SIZE)
#define LSHM_HUGE_MARK	 XA_MARK_1
#define LSHM_BUCKETS	 64
#define LSHM_MAX_WAITV	 128

struct lshm_user;

/* Those who wait on the words that hash to it; its lock guards the lists. */
struct lshm_bucket {
	spinlock_t lock;
	struct list_head waiters;
	struct list_head bindings;
};

struct lshm_region {
	struct kref ref;
	u64 id;
	u64 max_pages; /* 0: no maximum of its own */
	u64 created_ns;
	u32 map;
	u32 mode;
	int node;
	bool contiguous;
	kuid_t uid;
	kgid_t gid;
	struct user_namespace *user_ns;
	struct lshm_user *user;
	struct pid *creator;

	struct hlist_node by_name; /* names_lock */
	bool linked;		   /* names_lock */

	struct mutex grow;
	struct xarray blocks; /* of 2 MiB: arrays of struct page * */
	unsigned long npages; /* set with release, read with acquire */
	u32 runs;	      /* under @grow, read without */
	u32 huge;	      /* the same */

	struct mutex lock;
	struct list_head handles;
	struct xarray claims;
	u32 nhandles;
	u32 nclaims;
	u32 nbindings;
	u32 seals;
	char label[LSHM_IOC_LABEL_SIZE];

	atomic_t maps;
	atomic_t writable; /* maps that may be or become so */
	atomic_t waiters;
	atomic64_t deaths;
	atomic64_t faults;
	atomic64_t waits;
	atomic64_t wakes;
	wait_queue_head_t poll;
	struct lshm_bucket buckets[LSHM_BUCKETS];
	struct lshm_bucket death_bell; /* only its bindings */

	char name[LSHM_IOC_NAME_SIZE]; /* never changes */
};

struct lshm_handle {
	struct kref ref;
	struct lshm_region *region;
	u64 id;
	u32 rights;
	struct inode *inode;
	struct pid *pid;
	kuid_t uid;
	struct lshm_user *user;

	struct rw_semaphore sem;
	bool revoked;	      /* set under @sem, never cleared */
	bool doomed;	      /* a REVOKE is about to; region->lock */
	struct list_head mms; /* that map it just now; mms_lock, under @sem */
	struct mutex mms_lock;

	/* region->lock */
	struct list_head link;
	struct list_head bindings;
	u32 nclaims;
	struct lshm_handle *parent; /* of which it is a duplicate, or NULL */
	struct list_head children;
	struct list_head sibling;

	atomic_t maps;
	atomic64_t seen_deaths; /* what poll(2) goes by */
};

/* device.c */
int lshm_struct_get(
	void *k, size_t ksize, size_t min, void __user *u, u32 *usize);
int lshm_struct_put(void __user *u, u32 usize, const void *k, size_t ksize);

/* What the calls that make a descriptor hand to who copies the answer out. */
struct lshm_new_fd {
	struct file *file;
	int fd;
	struct lshm_region *made; /* with it: loses its name if that fails */
};

union lshm_args {
	struct {
		__u32 size;
		__u32 flags;
	} head; /* all have it */
	struct lshm_ioc_info info;
	struct lshm_ioc_create create;
	struct lshm_ioc_open open;
	struct lshm_ioc_list list;
	struct lshm_ioc_unlink unlink;
	struct lshm_ioc_grow grow;
	struct lshm_ioc_link link;
	struct lshm_ioc_dup dup;
	struct lshm_ioc_seal seal;
	struct lshm_ioc_revoke revoke;
	struct lshm_ioc_wait wait;
	struct lshm_ioc_wake wake;
	struct lshm_ioc_waitv waitv;
	struct lshm_ioc_bind bind;
	struct lshm_ioc_peer peer;
	struct lshm_ioc_label label;
	struct lshm_ioc_frames frames;
};

/**
 * struct lshm_call - a row of a table of ioctls
 * @run:   gets the file's private data and the arguments
 * @size:  of the struct, as this version knows it
 * @first: of the struct in the first version of the ABI
 * @flags: that are known
 * @right: which a handle needs
 * @out:   the struct is copied back
 * @makes_fd: @run gives a file, and puts the number where it belongs
 */
struct lshm_call {
	int (*run)(void *private, union lshm_args *a, struct lshm_new_fd *fd);
	u16 size;
	u16 first;
	u32 flags;
	u32 right;
	bool out;
	bool makes_fd;
};

/* A list in user memory that is being filled. */
struct lshm_list_to {
	void __user *at;
	u32 size;
	u32 room;
	u32 count;
	u64 next;
};

int lshm_list_begin(struct lshm_list_to *to, const struct lshm_ioc_list *a);
int lshm_list_add(
	struct lshm_list_to *to, const void *record, size_t size, u64 id);
int lshm_list_end(struct lshm_list_to *to, struct lshm_ioc_list *a, int ret);

const struct lshm_call *lshm_call_find(
	const struct lshm_call *calls, unsigned int count, unsigned int nr);
long lshm_ioctl(void *private, const struct lshm_call *call, void __user *u);

/* region.c */
struct lshm_region *lshm_region_create(
	const struct lshm_ioc_create *a, const char *name);
struct lshm_region *lshm_region_find(const char *name, u64 id);
struct lshm_region *lshm_region_next(u64 *id);
void lshm_region_put(struct lshm_region *r);
int lshm_region_link(struct lshm_region *r);
int lshm_region_unlink(struct lshm_region *r);
int lshm_region_grow(struct lshm_region *r, u64 pages);
u32 lshm_region_rights(const struct lshm_region *r);
struct page *lshm_region_page(struct lshm_region *r, unsigned long index);
bool lshm_region_pinned(struct lshm_region *r);
bool lshm_region_huge(struct lshm_region *r, unsigned long index);
void lshm_region_stat(struct lshm_region *r, struct lshm_ioc_stat *s);
u32 lshm_region_count(void);
int lshm_name_get(char *to, u64 from);
u64 lshm_new_id(void);

static inline unsigned long lshm_region_pages(struct lshm_region *r)
{
	/* Pairs with the release in grow(): the pages are there. */
	return smp_load_acquire(&r->npages);
}

/* handle.c */
struct file *lshm_handle_file(
	struct lshm_region *r, struct lshm_handle *parent, u32 rights, u64 *id);
struct lshm_handle *lshm_handle_of(struct file *file);
void lshm_handle_get(struct lshm_handle *h);
void lshm_handle_put(struct lshm_handle *h);
void lshm_handle_revoke_all(
	struct lshm_region *r, const struct lshm_handle *but);
u32 lshm_handle_count(void);

/* mapping.c */
int lshm_mapping_mmap(struct file *file, struct vm_area_struct *vma);
void lshm_mapping_revoke(struct lshm_handle *h);
void lshm_mapping_forget(struct lshm_handle *h);

/* claim.c */
int lshm_claim_mmap(struct lshm_handle *h, struct vm_area_struct *vma);
void lshm_claim_revoke(struct lshm_handle *h);
int lshm_claim_peer(struct lshm_handle *h, struct lshm_ioc_peer *a);

/* wait.c */
void lshm_wait_init(struct lshm_region *r);
int lshm_wait(struct lshm_handle *h, struct lshm_ioc_wait *a);
int lshm_waitv(struct lshm_handle *h, struct lshm_ioc_waitv *a);
int lshm_wake(struct lshm_handle *h, struct lshm_ioc_wake *a);
int lshm_bind(struct lshm_handle *h, struct lshm_ioc_bind *a);
void lshm_unbind_all(struct lshm_handle *h, bool ring);
void lshm_wake_death(struct lshm_region *r);
void lshm_wake_handle(struct lshm_handle *h);

/* quota.c */
struct lshm_user *lshm_user_get(kuid_t uid);
void lshm_user_put(struct lshm_user *u);
int lshm_charge_pages(struct lshm_user *u, u64 pages);
void lshm_uncharge_pages(struct lshm_user *u, u64 pages);
int lshm_charge_region(struct lshm_user *u);
void lshm_uncharge_region(struct lshm_user *u);
int lshm_charge_handle(struct lshm_user *u);
void lshm_uncharge_handle(struct lshm_user *u);
u64 lshm_max_region_pages(void);
void lshm_quota_info(struct lshm_ioc_info *i);

/* events.c */
void lshm_event(
	struct lshm_region *r, struct lshm_handle *h, u32 type, u64 value);
u64 lshm_events_now(void);
ssize_t lshm_events_read(u64 *cursor, char __user *to, size_t size);
int lshm_events_wait(const u64 *cursor);
__poll_t lshm_events_poll(
	u64 cursor, struct file *file, struct poll_table_struct *wait);
void lshm_events_exit(void);

/* debug.c */
extern const struct attribute_group *lshm_attribute_groups[];
void lshm_debug_init(void);
void lshm_debug_exit(void);

#endif
