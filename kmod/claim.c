// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * claim.c - who takes part in a region
 *
 * A claim is the mapping of one page that cannot be touched, at an offset that
 * names the slot: VM_DONTCOPY, so that no fork child has it. It goes with
 * munmap, or with the address space: exit, death and exec in place end it at
 * once, whoever else has inherited the descriptor. An address space is emptied
 * of pages before its VMAs are closed: once a claim is seen to have ended in
 * that way, its holder can no longer write to the region.
 *
 * The claim is in region->claims exactly while the slot is held, under
 * region->lock; the VMA keeps its memory. Revocation ends it earlier, after the
 * handle's mappings are gone. mremap copies the VMA before it closes the old
 * one: hence a count. When it has ended, the region's count of deaths goes up
 * and all who wait are woken, in this order; see wait.c.
 */
#include <linux/pid_namespace.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "lshm.h"

struct lshm_claim {
	struct lshm_handle *handle; /* held by the VMA's file */
	refcount_t vmas;
	u32 slot;
	kuid_t uid;
	struct pid *pid;
	bool ended; /* region->lock */
};

static void end_claim(struct lshm_claim *c, u32 event)
{
	struct lshm_region *r = c->handle->region;
	bool ended;

	mutex_lock(&r->lock);
	ended = c->ended;
	if (!ended) {
		c->ended = true;
		xa_erase(&r->claims, c->slot);
		r->nclaims--;
		c->handle->nclaims--;
	}
	mutex_unlock(&r->lock);
	if (ended)
		return;
	lshm_wake_death(r);
	lshm_event(r, c->handle, event, c->slot);
}

static void claim_open(struct vm_area_struct *vma)
{
	struct lshm_claim *c = vma->vm_private_data;

	refcount_inc(&c->vmas);
}

static void claim_close(struct vm_area_struct *vma)
{
	struct lshm_claim *c = vma->vm_private_data;

	if (!refcount_dec_and_test(&c->vmas))
		return;
	/* Nobody uses the address space any more: it is being taken down. */
	end_claim(c, atomic_read(&vma->vm_mm->mm_users) == 0
			     ? LSHM_IOC_EVENT_DEATH
			     : LSHM_IOC_EVENT_RELEASE);
	put_pid(c->pid);
	kfree(c);
}

static vm_fault_t claim_fault(struct vm_fault *vmf)
{
	return VM_FAULT_SIGBUS;
}

static const struct vm_operations_struct claim_ops = {
	.open = claim_open,
	.close = claim_close,
	.fault = claim_fault,
};

int lshm_claim_mmap(struct lshm_handle *h, struct vm_area_struct *vma)
{
	struct lshm_region *r = h->region;
	unsigned long slot =
		vma->vm_pgoff - (LSHM_IOC_CLAIM_BASE >> PAGE_SHIFT);
	struct lshm_claim *c;
	int ret;

	if (!(h->rights & LSHM_IOC_RIGHT_WRITE))
		return -EACCES;
	if (slot >= LSHM_IOC_SLOTS)
		return -ENXIO;
	if (vma_pages(vma) != 1 ||
		vma->vm_flags & (VM_READ | VM_WRITE | VM_EXEC))
		return -EINVAL;
	c = kzalloc(sizeof(*c), GFP_KERNEL_ACCOUNT);
	if (!c)
		return -ENOMEM;
	c->handle = h;
	c->slot = slot;
	c->uid = current_euid();
	c->pid = get_pid(task_tgid(current));
	refcount_set(&c->vmas, 1);

	down_read(&h->sem);
	mutex_lock(&r->lock);
	if (h->revoked)
		ret = -ENODEV;
	else
		ret = xa_insert(&r->claims, slot, c, GFP_KERNEL_ACCOUNT);
	if (ret == -EBUSY)
		ret = -EAGAIN;
	if (ret == 0) {
		r->nclaims++;
		h->nclaims++;
	}
	mutex_unlock(&r->lock);
	up_read(&h->sem);
	if (ret) {
		put_pid(c->pid);
		kfree(c);
		return ret;
	}
	vm_flags_clear(vma, VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC);
	vm_flags_set(vma,
		VM_IO | VM_PFNMAP | VM_DONTCOPY | VM_DONTEXPAND | VM_DONTDUMP);
	vma->vm_private_data = c;
	vma->vm_ops = &claim_ops;
	lshm_event(r, h, LSHM_IOC_EVENT_CLAIM, slot);
	return 0;
}

/* The handle is revoked: it takes part no more. */
void lshm_claim_revoke(struct lshm_handle *h)
{
	struct lshm_region *r = h->region;
	struct lshm_claim *c;
	unsigned long slot;
	u32 ended = 0;

	mutex_lock(&r->lock);
	xa_for_each(&r->claims, slot, c) {
		if (c->handle != h)
			continue;
		c->ended = true;
		xa_erase(&r->claims, slot);
		r->nclaims--;
		h->nclaims--;
		ended++;
		lshm_event(r, h, LSHM_IOC_EVENT_DEATH, slot);
	}
	mutex_unlock(&r->lock);
	if (ended)
		lshm_wake_death(r);
}

int lshm_claim_peer(struct lshm_handle *h, struct lshm_ioc_peer *a)
{
	struct lshm_region *r = h->region;
	struct lshm_claim *c;

	if (a->region && a->region != r->id)
		return -ESTALE;
	if (a->slot >= LSHM_IOC_SLOTS)
		return -ERANGE;
	a->flags = 0;
	a->pid = 0;
	a->uid = 0;
	a->handle = 0;
	mutex_lock(&r->lock);
	c = xa_load(&r->claims, a->slot);
	if (c) {
		a->flags = LSHM_IOC_PEER_CLAIMED;
		a->pid = pid_vnr(c->pid);
		a->uid = from_kuid_munged(current_user_ns(), c->uid);
		a->handle = c->handle->id;
	}
	mutex_unlock(&r->lock);
	return 0;
}
