// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * quota.c - how much memory, how many regions and handles there may be
 *
 * Pages of a region count for the user who created it, whoever makes it grow;
 * a handle counts for who opened it. users_lock guards the table, the counters
 * and the reference counts in it: a user is in the table exactly as long as
 * somebody counts for it. CAP_SYS_RESOURCE is above the limits of a user, not
 * above those of the machine. The limits can be changed at any time; what is
 * there already stays.
 */
#include <linux/capability.h>
#include <linux/hashtable.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/slab.h>
#include <linux/user_namespace.h>

#include "lshm.h"

static unsigned long max_total_mb;
module_param(max_total_mb, ulong, 0644);
MODULE_PARM_DESC(max_total_mb, "MiB of all regions; 0: a quarter of memory");

static unsigned long max_user_mb;
module_param(max_user_mb, ulong, 0644);
MODULE_PARM_DESC(max_user_mb, "MiB of one user; 0: half of max_total_mb");

static unsigned long max_region_mb;
module_param(max_region_mb, ulong, 0644);
MODULE_PARM_DESC(max_region_mb, "MiB of one region; 0: as max_total_mb");

static unsigned int max_regions_per_user = 4096;
module_param(max_regions_per_user, uint, 0644);
MODULE_PARM_DESC(max_regions_per_user, "regions of one user");

static unsigned int max_handles_per_user = 16384;
module_param(max_handles_per_user, uint, 0644);
MODULE_PARM_DESC(max_handles_per_user, "open handles of one user");

struct lshm_user {
	struct hlist_node link;
	kuid_t uid;
	unsigned long refs;
	u64 pages;
	u32 regions;
	u32 handles;
};

static DEFINE_SPINLOCK(users_lock);
static DEFINE_HASHTABLE(users, 6);
static u64 total_pages;

static u64 max_total_pages(void)
{
	unsigned long mb = READ_ONCE(max_total_mb);

	return mb ? lshm_mb_pages(mb, PAGE_SHIFT) : totalram_pages() / 4;
}

static u64 max_user_pages(void)
{
	unsigned long mb = READ_ONCE(max_user_mb);

	return mb ? lshm_mb_pages(mb, PAGE_SHIFT) : max_total_pages() / 2;
}

u64 lshm_max_region_pages(void)
{
	unsigned long mb = READ_ONCE(max_region_mb);
	u64 pages = mb ? lshm_mb_pages(mb, PAGE_SHIFT) : max_total_pages();

	return min_t(u64, pages, LSHM_IOC_CLAIM_BASE >> PAGE_SHIFT);
}

static bool above_limits(void)
{
	return ns_capable_noaudit(&init_user_ns, CAP_SYS_RESOURCE);
}

static struct lshm_user *find(kuid_t uid)
{
	struct lshm_user *u;

	hash_for_each_possible(users, u, link, __kuid_val(uid))
		if (uid_eq(u->uid, uid))
			return u;
	return NULL;
}

/* NULL: out of memory. */
struct lshm_user *lshm_user_get(kuid_t uid)
{
	struct lshm_user *new, *u;

	new = kzalloc(sizeof(*new), GFP_KERNEL_ACCOUNT);
	if (!new)
		return NULL;
	new->uid = uid;
	spin_lock(&users_lock);
	u = find(uid);
	if (!u) {
		u = new;
		new = NULL;
		hash_add(users, &u->link, __kuid_val(uid));
	}
	u->refs++;
	spin_unlock(&users_lock);
	kfree(new);
	return u;
}

void lshm_user_put(struct lshm_user *u)
{
	bool last;

	spin_lock(&users_lock);
	last = --u->refs == 0;
	if (last)
		hash_del(&u->link);
	spin_unlock(&users_lock);
	if (last)
		kfree(u);
}

int lshm_charge_pages(struct lshm_user *u, u64 pages)
{
	u64 total = max_total_pages(), user = max_user_pages();
	bool above = above_limits();
	int ret = 0;

	spin_lock(&users_lock);
	if (!lshm_room(total_pages, pages, total)) {
		ret = -ENOSPC;
	} else if (!above && !lshm_room(u->pages, pages, user)) {
		ret = -EDQUOT;
	} else {
		total_pages += pages;
		u->pages += pages;
	}
	spin_unlock(&users_lock);
	return ret;
}

void lshm_uncharge_pages(struct lshm_user *u, u64 pages)
{
	spin_lock(&users_lock);
	total_pages -= pages;
	u->pages -= pages;
	spin_unlock(&users_lock);
}

static int charge(u32 *count, unsigned int max)
{
	bool above = above_limits();
	int ret = 0;

	spin_lock(&users_lock);
	if (!lshm_room(*count, 1, above ? U32_MAX : max))
		ret = -EDQUOT;
	else
		++*count;
	spin_unlock(&users_lock);
	return ret;
}

static void uncharge(u32 *count)
{
	spin_lock(&users_lock);
	--*count;
	spin_unlock(&users_lock);
}

int lshm_charge_region(struct lshm_user *u)
{
	return charge(&u->regions, READ_ONCE(max_regions_per_user));
}

void lshm_uncharge_region(struct lshm_user *u)
{
	uncharge(&u->regions);
}

int lshm_charge_handle(struct lshm_user *u)
{
	return charge(&u->handles, READ_ONCE(max_handles_per_user));
}

void lshm_uncharge_handle(struct lshm_user *u)
{
	uncharge(&u->handles);
}

void lshm_quota_info(struct lshm_ioc_info *i)
{
	struct lshm_user *u;

	i->max_total = max_total_pages() << PAGE_SHIFT;
	i->max_user = max_user_pages() << PAGE_SHIFT;
	i->max_region = lshm_max_region_pages() << PAGE_SHIFT;
	spin_lock(&users_lock);
	i->total = total_pages << PAGE_SHIFT;
	u = find(current_euid());
	i->user = u ? u->pages << PAGE_SHIFT : 0;
	spin_unlock(&users_lock);
}
