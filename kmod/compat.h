/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * compat.h - what differs from kernel to kernel, 6.1 to 6.18, and nothing else
 */
#ifndef LSHM_KMOD_COMPAT_H
#define LSHM_KMOD_COMPAT_H

#include <linux/eventfd.h>
#include <linux/huge_mm.h>
#include <linux/mm.h>
#include <linux/version.h>

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 1, 0)
#error "lshm.ko needs Linux 6.1 or later"
#endif

/* The flags of a VMA became constant, and these their only writers. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 3, 0)
static inline void vm_flags_set(struct vm_area_struct *vma, vm_flags_t flags)
{
	vma->vm_flags |= flags;
}

static inline void vm_flags_clear(struct vm_area_struct *vma, vm_flags_t flags)
{
	vma->vm_flags &= ~flags;
}
#endif

static inline void lshm_eventfd_signal(struct eventfd_ctx *ctx)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 8, 0)
	eventfd_signal(ctx, 1);
#else
	eventfd_signal(ctx);
#endif
}

/*
 * 2 MiB entries for memory without struct page semantics: only where such an
 * entry can be told from others, or the fast page walk would take references.
 */
#if defined(CONFIG_ARCH_SUPPORTS_PMD_PFNMAP) && \
	LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0)
#define LSHM_HUGE 1
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 17, 0)
#include <linux/pfn_t.h>
#endif
static inline vm_fault_t lshm_insert_pmd(
	struct vm_fault *vmf, unsigned long pfn, bool write)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 17, 0)
	return vmf_insert_pfn_pmd(vmf, __pfn_to_pfn_t(pfn, PFN_DEV), write);
#else
	return vmf_insert_pfn_pmd(vmf, pfn, write);
#endif
}
#else
#define LSHM_HUGE 0
#endif

#endif
