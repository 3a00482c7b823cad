// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * mapping.c - regions in the address spaces of processes
 *
 * Each mapping holds its file, that the handle, that the region: the pages of a
 * mapping exist as long as it does. Page tables refer to them by number only
 * (EAGER, LAZY), so nothing else can take a reference; or as pages (PAGES), and
 * then each page's own count keeps it until the last pin is gone.
 *
 * Only shared mappings: fault-time insertion into a private one is a BUG in the
 * kernel. What matters is VM_MAYSHARE, for VM_SHARED is cleared for read-only
 * files.
 *
 * Revocation, for one handle: it is marked under handle->sem, which mmap and
 * fault hold shared around their check and their insertion; then the page
 * tables of the handle's own inode are emptied. That would miss an eager mmap
 * that has filled its page tables, but whose VMA is not yet where
 * unmap_mapping_range() looks: mmap runs before that. So every address space
 * that has ever mapped the handle is noted (handle->mms, under mms_lock; held,
 * not used), and its mmap_lock is taken once, which such an mmap still holds,
 * before the page tables are emptied. A fork copies only from page tables that
 * are emptied first, into a VMA that is already linked.
 */
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "lshm.h"
#include "trace.h"

struct mm_entry {
	struct list_head link;
	struct mm_struct *mm;
};

static struct lshm_handle *handle_of(const struct vm_area_struct *vma)
{
	return vma->vm_private_data;
}

/* -- who has mapped it ----------------------------------------------------- */

static void drop_mm(struct mm_entry *e)
{
	list_del(&e->link);
	mmdrop(e->mm);
	kfree(e);
}

/* Note the caller's address space; forget those that are gone: sem is held. */
static int note_mm(struct lshm_handle *h)
{
	struct mm_entry *e, *next, *new;
	bool found = false;

	new = kmalloc(sizeof(*new), GFP_KERNEL_ACCOUNT);
	if (!new)
		return -ENOMEM;
	mutex_lock(&h->mms_lock);
	list_for_each_entry_safe(e, next, &h->mms, link) {
		if (e->mm == current->mm)
			found = true;
		else if (atomic_read(&e->mm->mm_users) == 0)
			drop_mm(e);
	}
	if (!found) {
		mmgrab(current->mm);
		new->mm = current->mm;
		list_add(&new->link, &h->mms);
		new = NULL;
	}
	mutex_unlock(&h->mms_lock);
	kfree(new);
	return 0;
}

void lshm_mapping_forget(struct lshm_handle *h)
{
	struct mm_entry *e, *next;

	list_for_each_entry_safe(e, next, &h->mms, link)
		drop_mm(e);
}

/*
 * The handle is marked as revoked, so that its list changes no more. The caller
 * holds no lock.
 */
void lshm_mapping_revoke(struct lshm_handle *h)
{
	struct mm_entry *e;

	list_for_each_entry(e, &h->mms, link) {
		if (!mmget_not_zero(e->mm))
			continue;
		mmap_read_lock(e->mm);
		mmap_read_unlock(e->mm);
		mmput(e->mm);
	}
	unmap_mapping_range(h->inode->i_mapping, 0, 0, 1);
}

/* -- what a mapping does --------------------------------------------------- */

static void count_maps(struct vm_area_struct *vma, int n)
{
	struct lshm_handle *h = handle_of(vma);

	atomic_add(n, &h->maps);
	atomic_add(n, &h->region->maps);
	if (vma->vm_flags & VM_MAYWRITE)
		atomic_add(n, &h->region->writable);
}

/* A VMA was split, moved, or copied by fork. */
static void mapping_open(struct vm_area_struct *vma)
{
	count_maps(vma, 1);
}

static void mapping_close(struct vm_area_struct *vma)
{
	count_maps(vma, -1);
}

/* How many of @max pages from @index on lie side by side. */
static unsigned long run_at(
	struct lshm_region *r, unsigned long index, unsigned long max)
{
	unsigned long pfn = page_to_pfn(lshm_region_page(r, index)), n = 1;

	while (n < max &&
		page_to_pfn(lshm_region_page(r, index + n)) == pfn + n)
		n++;
	return n;
}

/* Put in here, not by the caller later, when handle->sem is free again. */
static vm_fault_t fault_page(struct vm_fault *vmf, struct lshm_region *r)
{
	int ret = vm_insert_page(vmf->vma, vmf->address & PAGE_MASK,
		lshm_region_page(r, vmf->pgoff));

	/* Another thread may have been faster. */
	return ret == 0 || ret == -EBUSY ? VM_FAULT_NOPAGE : vmf_error(ret);
}

/* The whole block around the address, as far as the VMA goes. */
static vm_fault_t fault_pfn(struct vm_fault *vmf, struct lshm_region *r)
{
	struct vm_area_struct *vma = vmf->vma;
	unsigned long start = max(vmf->address & PMD_MASK, vma->vm_start);
	unsigned long end =
		min((vmf->address & PMD_MASK) + PMD_SIZE, vma->vm_end);
	unsigned long index;
	vm_fault_t ret, got = VM_FAULT_SIGBUS;

	for (unsigned long a = start; a < end; a += PAGE_SIZE) {
		index = vma->vm_pgoff + ((a - vma->vm_start) >> PAGE_SHIFT);
		ret = vmf_insert_pfn(
			vma, a, page_to_pfn(lshm_region_page(r, index)));
		if (a == (vmf->address & PAGE_MASK))
			got = ret;
		if (ret & VM_FAULT_ERROR)
			break;
	}
	return got;
}

/*
 * Regions never shrink, and mmap has checked the bounds of the VMA, which can
 * only have become smaller: checked again all the same.
 */
static bool beyond(const struct vm_fault *vmf, struct lshm_region *r)
{
	return !lshm_within(
		vmf->vma->vm_pgoff, vma_pages(vmf->vma), lshm_region_pages(r));
}

static vm_fault_t mapping_fault(struct vm_fault *vmf)
{
	struct lshm_handle *h = handle_of(vmf->vma);
	struct lshm_region *r = h->region;
	vm_fault_t ret = VM_FAULT_SIGBUS;

	atomic64_inc(&r->faults);
	trace_lshm_fault(r->id, h->id, vmf->pgoff, 1);
	down_read(&h->sem);
	if (!h->revoked && !beyond(vmf, r))
		ret = r->map == LSHM_IOC_MAP_PAGES ? fault_page(vmf, r)
						   : fault_pfn(vmf, r);
	up_read(&h->sem);
	return ret;
}

#if LSHM_HUGE
static vm_fault_t mapping_huge_fault(struct vm_fault *vmf, unsigned int order)
{
	struct vm_area_struct *vma = vmf->vma;
	struct lshm_handle *h = handle_of(vma);
	struct lshm_region *r = h->region;
	unsigned long start = vmf->address & PMD_MASK, index;
	vm_fault_t ret = VM_FAULT_FALLBACK;

	if (order != PMD_SHIFT - PAGE_SHIFT || r->map != LSHM_IOC_MAP_LAZY ||
		start < vma->vm_start || vma->vm_end - start < PMD_SIZE)
		return VM_FAULT_FALLBACK;
	index = vma->vm_pgoff + ((start - vma->vm_start) >> PAGE_SHIFT);
	if (index % LSHM_BLOCK_PAGES || beyond(vmf, r) ||
		!lshm_region_huge(r, index))
		return VM_FAULT_FALLBACK;
	atomic64_inc(&r->faults);
	trace_lshm_fault(r->id, h->id, index, LSHM_BLOCK_PAGES);
	down_read(&h->sem);
	if (h->revoked)
		ret = VM_FAULT_SIGBUS;
	else
		ret = lshm_insert_pmd(vmf,
			page_to_pfn(lshm_region_page(r, index)),
			vmf->flags & FAULT_FLAG_WRITE);
	up_read(&h->sem);
	return ret;
}
#endif

/* For ptrace and /proc/PID/mem, which cannot pin the pages. */
static int mapping_access(struct vm_area_struct *vma, unsigned long addr,
	void *buf, int len, int write)
{
	struct lshm_handle *h = handle_of(vma);
	struct lshm_region *r = h->region;
	unsigned long at = addr - vma->vm_start, index;
	int ret = -EACCES;
	char *p;

	if (len <= 0 || addr < vma->vm_start || addr >= vma->vm_end)
		return -EINVAL;
	index = vma->vm_pgoff + (at >> PAGE_SHIFT);
	if (index >= lshm_region_pages(r))
		return -EINVAL;
	len = min_t(unsigned long, len, PAGE_SIZE - offset_in_page(at));
	p = page_address(lshm_region_page(r, index)) + offset_in_page(at);
	down_read(&h->sem);
	if (h->revoked) {
		ret = -EIO;
	} else if (!write) {
		memcpy(buf, p, len);
		ret = len;
	} else if (vma->vm_flags & VM_WRITE) {
		memcpy(p, buf, len);
		ret = len;
	}
	up_read(&h->sem);
	return ret;
}

static const struct vm_operations_struct mapping_ops = {
	.open = mapping_open,
	.close = mapping_close,
	.fault = mapping_fault,
#if LSHM_HUGE
	.huge_fault = mapping_huge_fault,
#endif
	.access = mapping_access,
};

/* -- mmap ------------------------------------------------------------------ */

/*
 * A piece of a VMA. Where remap_pfn_range() is given all of a VMA at once, x86
 * marks it, and wants to find its first page table entry when it is unmapped:
 * it warns if a revocation that runs at the same time has taken that out just
 * then. So it is never given all.
 */
static int map_piece(struct vm_area_struct *vma, unsigned long addr,
	unsigned long pfn, unsigned long pages)
{
	vm_fault_t got;
	int ret = 0;

	if (pages == vma_pages(vma)) {
		pages--;
		got = vmf_insert_pfn(
			vma, addr + (pages << PAGE_SHIFT), pfn + pages);
		if (got != VM_FAULT_NOPAGE)
			return vm_fault_to_errno(got, 0) ?: -ENOMEM;
	}
	if (pages)
		ret = remap_pfn_range(
			vma, addr, pfn, pages << PAGE_SHIFT, vma->vm_page_prot);
	return ret;
}

/* All of it, piece by piece: each is bounded by what is left of the VMA. */
static int map_all(struct vm_area_struct *vma, struct lshm_region *r)
{
	unsigned long left = vma_pages(vma), index = vma->vm_pgoff, n;
	unsigned long addr = vma->vm_start;
	int ret;

	while (left) {
		n = run_at(r, index, left);
		ret = map_piece(
			vma, addr, page_to_pfn(lshm_region_page(r, index)), n);
		if (ret) {
			/* What is there already comes out. */
			zap_vma_ptes(vma, vma->vm_start,
				vma->vm_end - vma->vm_start);
			return ret;
		}
		addr += n << PAGE_SHIFT;
		index += n;
		left -= n;
		cond_resched();
	}
	return 0;
}

/*
 * Seals and the count of writable mappings change under the same lock: either
 * SEAL sees this mapping, or this sees the seal.
 */
static int count_in(struct vm_area_struct *vma, struct lshm_region *r)
{
	int ret = 0;

	mutex_lock(&r->lock);
	if (r->seals & (LSHM_IOC_SEAL_WRITE | LSHM_IOC_SEAL_FUTURE_WRITE)) {
		if (vma->vm_flags & VM_WRITE)
			ret = -EPERM;
		else
			vm_flags_clear(vma, VM_MAYWRITE);
	}
	if (ret == 0)
		count_maps(vma, 1);
	mutex_unlock(&r->lock);
	return ret;
}

int lshm_mapping_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct lshm_handle *h = lshm_handle_of(file);
	struct lshm_region *r = h->region;
	unsigned long n = vma_pages(vma);
	int ret;

	if (!(vma->vm_flags & VM_MAYSHARE))
		return -EINVAL;
	if (vma->vm_pgoff >= LSHM_IOC_CLAIM_BASE >> PAGE_SHIFT)
		return lshm_claim_mmap(h, vma);
	if (!lshm_within(vma->vm_pgoff, n, lshm_region_pages(r)))
		return -ENXIO;
	if (vma->vm_flags & VM_EXEC)
		return -EPERM;

	down_read(&h->sem);
	ret = h->revoked ? -ENODEV : note_mm(h);
	if (ret)
		goto out;
	vma->vm_private_data = h;
	ret = count_in(vma, r);
	if (ret)
		goto out;
	vm_flags_clear(vma, VM_MAYEXEC);
	vm_flags_set(vma, VM_DONTEXPAND | VM_DONTDUMP);
	if (r->map == LSHM_IOC_MAP_PAGES)
		vm_flags_set(vma, VM_MIXEDMAP);
	else
		vm_flags_set(vma, VM_IO | VM_PFNMAP);
	if (r->map == LSHM_IOC_MAP_EAGER)
		ret = map_all(vma, r);
	if (ret)
		count_maps(vma, -1);
	else
		vma->vm_ops = &mapping_ops;
out:
	up_read(&h->sem);
	if (ret == 0)
		trace_lshm_map(r->id, h->id, vma->vm_pgoff, n);
	return ret;
}
