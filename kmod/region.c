// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * region.c - regions: their memory, their names, their life
 *
 * Memory is an xarray of blocks of 2 MiB, each an array of pages. It only
 * grows: GROW, under region->grow, fills pages beyond npages and then sets
 * npages with release. Who has read npages with acquire may use all pages
 * below it, without a lock, as long as it holds the region. Pages come in the
 * largest pieces there are, and are split at once: each can be freed, mapped
 * and pinned by itself, and what lies side by side is seen from the numbers.
 *
 * A name holds a reference of its region, taken and dropped under names_lock,
 * so that a region found by name can be held there and then. A region found by
 * id may be on its way out: it is taken only if its count is not zero yet;
 * freeing takes it out of the table, under the same lock, before anything else.
 */
#include <linux/hashtable.h>
#include <linux/module.h>
#include <linux/pid_namespace.h>
#include <linux/slab.h>
#include <linux/stringhash.h>
#include <linux/user_namespace.h>

#include "lshm.h"

static DEFINE_MUTEX(names_lock);
static DEFINE_HASHTABLE(names, 10);
static DEFINE_XARRAY(regions); /* by id */
static atomic64_t last_id;
static u32 region_count; /* names_lock; read without */

/* Of regions and handles; never used twice. */
u64 lshm_new_id(void)
{
	return atomic64_inc_return(&last_id);
}

u32 lshm_region_count(void)
{
	return READ_ONCE(region_count);
}

/* -- memory ---------------------------------------------------------------- */

/* @index is below npages, or the caller holds grow. */
struct page *lshm_region_page(struct lshm_region *r, unsigned long index)
{
	struct page **block = xa_load(&r->blocks, index / LSHM_BLOCK_PAGES);

	return block[index % LSHM_BLOCK_PAGES];
}

/* Is the block around it one aligned piece? */
bool lshm_region_huge(struct lshm_region *r, unsigned long index)
{
	return xa_get_mark(
		&r->blocks, index / LSHM_BLOCK_PAGES, LSHM_HUGE_MARK);
}

/*
 * Is a page held by somebody else than the region and the page tables? An I/O
 * that was begun through a mapping may write to it after the mapping is gone.
 * Pages are not compound: each has its own counts. There may be a moment
 * between the two, when a mapping comes or goes: then this is true, too.
 */
bool lshm_region_pinned(struct lshm_region *r)
{
	unsigned long pages = lshm_region_pages(r);
	struct page *page;

	if (r->map != LSHM_IOC_MAP_PAGES)
		return false;
	for (unsigned long i = 0; i < pages; i++) {
		page = lshm_region_page(r, i);
		if (page_count(page) > atomic_read(&page->_mapcount) + 2)
			return true;
		if (i % LSHM_BLOCK_PAGES == 0)
			cond_resched();
	}
	return false;
}

static int put_page_at(
	struct lshm_region *r, unsigned long index, struct page *page)
{
	unsigned long i = index / LSHM_BLOCK_PAGES;
	struct page **block = xa_load(&r->blocks, i);
	int ret;

	if (!block) {
		block = kvcalloc(
			LSHM_BLOCK_PAGES, sizeof(*block), GFP_KERNEL_ACCOUNT);
		if (!block)
			return -ENOMEM;
		ret = xa_err(
			xa_store(&r->blocks, i, block, GFP_KERNEL_ACCOUNT));
		if (ret) {
			kvfree(block);
			return ret;
		}
	}
	block[index % LSHM_BLOCK_PAGES] = page;
	return 0;
}

/* Free the pages from @from on. */
static void free_pages_from(struct lshm_region *r, unsigned long from)
{
	unsigned long i, first;
	struct page **block;

	xa_for_each_start(&r->blocks, i, block, from / LSHM_BLOCK_PAGES) {
		first = i == from / LSHM_BLOCK_PAGES ? from % LSHM_BLOCK_PAGES
						     : 0;
		for (unsigned long n = first; n < LSHM_BLOCK_PAGES; n++) {
			if (block[n])
				__free_page(block[n]);
			block[n] = NULL;
		}
		if (first == 0) {
			xa_erase(&r->blocks, i);
			kvfree(block);
		} else {
			xa_clear_mark(&r->blocks, i, LSHM_HUGE_MARK);
		}
		cond_resched();
	}
}

/* Where there is no memory, who asks gets an error, and nobody is killed. */
static gfp_t gfp_of(const struct lshm_region *r, unsigned int order)
{
	gfp_t gfp = GFP_KERNEL_ACCOUNT | __GFP_ZERO | __GFP_NOWARN;

	if (order && !r->contiguous)
		gfp |= __GFP_NORETRY;
	else
		gfp |= __GFP_RETRY_MAYFAIL;
	if (r->node >= 0)
		gfp |= __GFP_THISNODE;
	return gfp;
}

static struct page *alloc_piece(const struct lshm_region *r, unsigned int order)
{
	int node = r->node >= 0 ? r->node : numa_mem_id();

	return alloc_pages_node(node, gfp_of(r, order), order);
}

/*
 * Put the pages of a piece at [@index, @index + @count), give back the rest.
 * On failure, those that have their place are left to free_pages_from().
 */
static int place_piece(struct lshm_region *r, unsigned long index,
	struct page *page, unsigned int order, unsigned long count)
{
	unsigned long i;
	int ret = 0;

	if (order)
		split_page(page, order);
	for (i = 0; i < count && ret == 0; i++)
		ret = put_page_at(r, index + i, page + i);
	if (ret)
		i--;
	for (; i < 1UL << order; i++)
		__free_page(page + i);
	return ret;
}

static const unsigned char orders[] = { PMD_SHIFT - PAGE_SHIFT, 6, 3, 0 };

/* Fill [from, to): grow is held. */
static int fill(struct lshm_region *r, unsigned long from, unsigned long to)
{
	unsigned int order, i, best = 0;
	struct page *page;
	int ret;

	if (r->contiguous) {
		if (to == 0)
			return 0;
		order = get_order(to << PAGE_SHIFT);
		page = alloc_piece(r, order);
		if (!page)
			return -ENOMEM;
		return place_piece(r, 0, page, order, to);
	}
	while (from < to) {
		if (fatal_signal_pending(current))
			return -EINTR;
		i = lshm_fitting_order(orders, best, from, to);
		order = orders[i];
		page = alloc_piece(r, order);
		if (!page && order == 0)
			return -ENOMEM;
		if (!page) {
			/* What is not to be had is not asked for again. */
			best = i + 1;
			continue;
		}
		ret = place_piece(r, from, page, order, 1UL << order);
		if (ret)
			return ret;
		from += 1UL << order;
		cond_resched();
	}
	return 0;
}

/* Count the pieces in [from, to), and mark the blocks that are one. */
static void measure(struct lshm_region *r, unsigned long from, unsigned long to)
{
	struct lshm_walk w = { 0 };

	if (from)
		w.next = page_to_pfn(lshm_region_page(r, from - 1)) + 1;
	for (unsigned long i = from; i < to; i++) {
		if (i % LSHM_BLOCK_PAGES == 0)
			cond_resched();
		if (!lshm_walk_on(&w, i, page_to_pfn(lshm_region_page(r, i)),
			    LSHM_BLOCK_PAGES))
			continue;
		xa_set_mark(&r->blocks, i / LSHM_BLOCK_PAGES, LSHM_HUGE_MARK);
		WRITE_ONCE(r->huge, r->huge + 1);
	}
	WRITE_ONCE(r->runs, r->runs + w.runs);
}

/* At least @pages: grow is held. */
static int grow(struct lshm_region *r, u64 pages)
{
	unsigned long now = r->npages;
	int ret;

	if (pages <= now)
		return 0;
	if (pages > lshm_max_region_pages() ||
		(r->max_pages && pages > r->max_pages) || pages > ULONG_MAX)
		return -E2BIG;
	if (r->contiguous && now)
		return -E2BIG;
	ret = lshm_charge_pages(r->user, pages - now);
	if (ret)
		return ret;
	ret = fill(r, now, pages);
	if (ret) {
		free_pages_from(r, now);
		lshm_uncharge_pages(r->user, pages - now);
		return ret;
	}
	measure(r, now, pages);
	/* Pairs with lshm_region_pages(): the pages, then their number. */
	smp_store_release(&r->npages, pages);
	return 0;
}

int lshm_region_grow(struct lshm_region *r, u64 pages)
{
	unsigned long before, now;
	struct lshm_handle *h;
	int ret;

	if (mutex_lock_killable(&r->grow))
		return -EINTR;
	before = r->npages;
	mutex_lock(&r->lock);
	ret = r->seals & LSHM_IOC_SEAL_GROW && pages > before ? -EPERM : 0;
	mutex_unlock(&r->lock);
	if (ret == 0)
		ret = grow(r, pages);
	now = r->npages;
	if (now != before) {
		mutex_lock(&r->lock);
		list_for_each_entry(h, &r->handles, link)
			i_size_write(h->inode, (loff_t)now << PAGE_SHIFT);
		mutex_unlock(&r->lock);
	}
	mutex_unlock(&r->grow);
	if (now != before)
		lshm_event(
			r, NULL, LSHM_IOC_EVENT_GROW, (u64)now << PAGE_SHIFT);
	return ret;
}

/* -- names ----------------------------------------------------------------- */

/* Copy and check a name; @to has LSHM_IOC_NAME_SIZE bytes. */
int lshm_name_get(char *to, u64 from)
{
	long n = strncpy_from_user(
		to, u64_to_user_ptr(from), LSHM_IOC_NAME_SIZE);

	if (n < 0)
		return n;
	if (n == 0)
		return -EINVAL;
	if (n == LSHM_IOC_NAME_SIZE)
		return -ENAMETOOLONG;
	return lshm_name_good(to) ? 0 : -EINVAL;
}

static u32 hash_name(const char *name)
{
	return full_name_hash(NULL, name, strlen(name));
}

static struct lshm_region *named(const char *name)
{
	struct lshm_region *r;

	hash_for_each_possible(names, r, by_name, hash_name(name))
		if (r->user_ns == current_user_ns() && !strcmp(r->name, name))
			return r;
	return NULL;
}

/* May it be seen from this user namespace at all? */
static bool in_sight(const struct lshm_region *r)
{
	return r->user_ns == current_user_ns() ||
	       current_user_ns() == &init_user_ns;
}

/* By name, or by id if @name is NULL; with a reference. */
struct lshm_region *lshm_region_find(const char *name, u64 id)
{
	struct lshm_region *r;

	mutex_lock(&names_lock);
	if (name)
		r = named(name);
	else
		r = id <= ULONG_MAX ? xa_load(&regions, id) : NULL;
	if (r && (!in_sight(r) || !kref_get_unless_zero(&r->ref)))
		r = NULL;
	mutex_unlock(&names_lock);
	return r;
}

/* The first of id *@id or more; with a reference; *@id becomes its id. */
struct lshm_region *lshm_region_next(u64 *id)
{
	struct lshm_region *r;
	unsigned long at = *id;

	if (*id > ULONG_MAX)
		return NULL;
	mutex_lock(&names_lock);
	for (r = xa_find(&regions, &at, ULONG_MAX, XA_PRESENT); r;
		r = xa_find_after(&regions, &at, ULONG_MAX, XA_PRESENT))
		if (in_sight(r) && kref_get_unless_zero(&r->ref))
			break;
	mutex_unlock(&names_lock);
	*id = at;
	return r;
}

int lshm_region_link(struct lshm_region *r)
{
	struct lshm_region *other;
	int ret = 0;

	if (!r->name[0])
		return -ENOENT;
	mutex_lock(&names_lock);
	hash_for_each_possible(names, other, by_name, hash_name(r->name))
		if (other->user_ns == r->user_ns &&
			!strcmp(other->name, r->name))
			ret = -EEXIST;
	if (ret == 0) {
		kref_get(&r->ref);
		r->linked = true;
		hash_add(names, &r->by_name, hash_name(r->name));
	}
	mutex_unlock(&names_lock);
	if (ret == 0)
		lshm_event(r, NULL, LSHM_IOC_EVENT_LINK, 0);
	return ret;
}

int lshm_region_unlink(struct lshm_region *r)
{
	bool was;

	mutex_lock(&names_lock);
	was = r->linked;
	if (was) {
		r->linked = false;
		hash_del(&r->by_name);
	}
	mutex_unlock(&names_lock);
	if (!was)
		return -ENOENT;
	lshm_event(r, NULL, LSHM_IOC_EVENT_UNLINK, 0);
	lshm_region_put(r);
	return 0;
}

/* What owner, group and mode allow the caller. */
u32 lshm_region_rights(const struct lshm_region *r)
{
	u32 mode = r->mode, rights = 0;

	if (ns_capable_noaudit(r->user_ns, CAP_IPC_OWNER))
		return LSHM_IOC_RIGHTS;
	if (uid_eq(current_euid(), r->uid)) {
		mode >>= 6;
		rights = LSHM_IOC_RIGHT_MANAGE;
	} else if (in_egroup_p(r->gid)) {
		mode >>= 3;
	}
	if (mode & 4)
		rights |= LSHM_IOC_RIGHT_READ;
	if (mode & 2)
		rights |= LSHM_IOC_RIGHT_WRITE | LSHM_IOC_RIGHT_GROW;
	return rights;
}

/* -- life ------------------------------------------------------------------ */

static void free_region(struct kref *ref)
{
	struct lshm_region *r = container_of(ref, struct lshm_region, ref);

	bool listed;

	mutex_lock(&names_lock);
	listed = xa_erase(&regions, r->id);
	WRITE_ONCE(region_count, region_count - listed);
	mutex_unlock(&names_lock);
	if (listed)
		lshm_event(r, NULL, LSHM_IOC_EVENT_DESTROY, 0);
	free_pages_from(r, 0);
	xa_destroy(&r->blocks);
	xa_destroy(&r->claims);
	lshm_uncharge_pages(r->user, r->npages);
	lshm_uncharge_region(r->user);
	lshm_user_put(r->user);
	put_user_ns(r->user_ns);
	put_pid(r->creator);
	kfree(r);
	module_put(THIS_MODULE);
}

/* No lock is held, but for mmap_lock. */
void lshm_region_put(struct lshm_region *r)
{
	kref_put(&r->ref, free_region);
}

/* With one reference. @name may be NULL. */
struct lshm_region *lshm_region_create(
	const struct lshm_ioc_create *a, const char *name)
{
	struct lshm_region *r;
	int ret;

	r = kzalloc(sizeof(*r), GFP_KERNEL_ACCOUNT);
	if (!r)
		return ERR_PTR(-ENOMEM);
	kref_init(&r->ref);
	r->id = lshm_new_id();
	r->map = a->map;
	r->mode = a->mode & ~current_umask();
	r->node = a->node;
	r->contiguous = a->flags & LSHM_IOC_CREATE_CONTIGUOUS;
	r->max_pages = a->max_length >> PAGE_SHIFT;
	r->created_ns = ktime_get_real_ns();
	r->uid = current_euid();
	r->gid = current_egid();
	mutex_init(&r->grow);
	mutex_init(&r->lock);
	xa_init(&r->blocks);
	xa_init(&r->claims);
	INIT_LIST_HEAD(&r->handles);
	init_waitqueue_head(&r->poll);
	lshm_wait_init(r);
	if (name)
		strscpy(r->name, name, sizeof(r->name));
	r->user = lshm_user_get(r->uid);
	ret = -ENOMEM;
	if (!r->user)
		goto out_free;
	ret = lshm_charge_region(r->user);
	if (ret)
		goto out_user;
	r->user_ns = get_user_ns(current_user_ns());
	r->creator = get_pid(task_tgid(current));
	__module_get(THIS_MODULE);

	/* Nobody else has it yet: no lock. */
	ret = grow(r, a->length >> PAGE_SHIFT);
	if (ret == 0) {
		mutex_lock(&names_lock);
		ret = xa_err(xa_store(&regions, r->id, r, GFP_KERNEL_ACCOUNT));
		WRITE_ONCE(region_count, region_count + (ret == 0));
		mutex_unlock(&names_lock);
	}
	if (ret == 0)
		lshm_event(r, NULL, LSHM_IOC_EVENT_CREATE, 0);
	if (ret == 0 && name && !(a->flags & LSHM_IOC_CREATE_HIDDEN))
		ret = lshm_region_link(r);
	if (ret) {
		lshm_region_put(r);
		return ERR_PTR(ret);
	}
	return r;

out_user:
	lshm_user_put(r->user);
out_free:
	kfree(r);
	return ERR_PTR(ret);
}

void lshm_region_stat(struct lshm_region *r, struct lshm_ioc_stat *s)
{
	struct user_namespace *ns = current_user_ns();

	s->id = r->id;
	s->length = (u64)lshm_region_pages(r) << PAGE_SHIFT;
	s->max_length = r->max_pages << PAGE_SHIFT;
	s->deaths = atomic64_read(&r->deaths);
	s->created_ns = r->created_ns;
	s->faults = atomic64_read(&r->faults);
	s->waits = atomic64_read(&r->waits);
	s->wakes = atomic64_read(&r->wakes);
	s->uid = from_kuid_munged(ns, r->uid);
	s->gid = from_kgid_munged(ns, r->gid);
	s->mode = r->mode;
	s->pid = pid_vnr(r->creator);
	s->node = r->node;
	s->map = r->map;
	s->maps = atomic_read(&r->maps);
	s->writable_maps = atomic_read(&r->writable);
	s->waiters = atomic_read(&r->waiters);
	s->runs = READ_ONCE(r->runs);
	s->huge = READ_ONCE(r->huge);
	memcpy(s->name, r->name, sizeof(s->name));
	mutex_lock(&names_lock);
	s->flags = r->linked && r->user_ns == ns ? LSHM_IOC_STAT_LINKED : 0;
	mutex_unlock(&names_lock);
	if (r->contiguous)
		s->flags |= LSHM_IOC_STAT_CONTIGUOUS;
	mutex_lock(&r->lock);
	s->seals = r->seals;
	s->handles = r->nhandles;
	s->claims = r->nclaims;
	memcpy(s->label, r->label, sizeof(s->label));
	mutex_unlock(&r->lock);
}
