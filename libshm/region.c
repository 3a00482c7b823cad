/* SPDX-License-Identifier: MIT */
/*
 * region.c - making, opening, growing and leaving regions
 *
 * A region is made where nobody can see it: its memory is reserved, its tables
 * are written, its maker has attached; then it gets its name in one step. Who
 * opens a name reads the header from the file and checks it against what can be
 * computed from it, before anything is mapped. Address space for max_size is
 * reserved at once, so the base never moves. Growth: fallocate(2), then the
 * header's size goes up by compare-and-swap; each process extends its own view
 * when it first meets an offset beyond it.
 *
 * The handle lies on pages that fork() wipes, and the region is not mapped in a
 * child: a child's call gets -ECHILD, its touch a SIGSEGV.
 */
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <bsd/stdlib.h>

#include "internal.h"

#define BASE_ALIGN	 (UINT64_C(2) << 20)
#define DEFAULT_SIZE	 (UINT64_C(16) << 20)
#define DEFAULT_MAX_SIZE (UINT64_C(1) << 30)
#define MAX_MAX_SIZE	 (UINT64_C(1) << 46)
#define MAX_PARTICIPANTS 4095
#define LANES_EACH	 4

#define FLAGS_ALL                                                             \
	(LSHM_CREATE | LSHM_EXCL | LSHM_RDONLY | LSHM_ANY_OWNER | LSHM_LOCK | \
	    LSHM_PREFAULT | LSHM_HUGE | LSHM_PINNABLE | LSHM_CONTIGUOUS |     \
	    LSHM_GUARD)

/* -- open handles of this process ----------------------------------------- */

static LIST_HEAD(, lshm_region) open_regions;
static pthread_mutex_t process_lock = PTHREAD_MUTEX_INITIALIZER;

/* The parent's handles are wiped, and may be unmapped: no list of them. */
static void forked(void)
{
	LIST_INIT(&open_regions);
	lshmi_guard_forked();
	lshmi_process_unlock();
}

static void exclude_fork(void)
{
	pthread_atfork(lshmi_process_lock, lshmi_process_unlock, forked);
}

void lshmi_process_lock(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, exclude_fork);
	pthread_mutex_lock(&process_lock);
}

void lshmi_process_unlock(void)
{
	pthread_mutex_unlock(&process_lock);
}

struct lshm_region *lshmi_region_find(uint64_t serial)
{
	struct lshm_region *r;

	LIST_FOREACH(r, &open_regions, link)
		if (r->serial == serial)
			return r;
	return NULL;
}

static size_t handle_size(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	return (sizeof(struct lshm_region) + page - 1) / page * page;
}

static struct lshm_region *new_handle(unsigned int flags)
{
	struct lshm_region *r = mmap(NULL, handle_size(),
	    PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (r == MAP_FAILED) {
		lshmi_fail(ENOMEM, "this process is out of memory");
		return NULL;
	}
	madvise(r, handle_size(), MADV_WIPEONFORK);
	r->flags = flags;
	r->observer = flags & LSHM_RDONLY;
	r->store.fd = -1;
	pthread_mutex_init(&r->mutex, NULL);
	pthread_mutex_init(&r->reaping, NULL);
	SLIST_INIT(&r->lanes_all);
	SLIST_INIT(&r->lanes_idle);
	return r;
}

/* The handle works from here on. */
static void publish_handle(struct lshm_region *r)
{
	static uint64_t last;

	lshmi_process_lock();
	r->serial = ++last;
	LIST_INSERT_HEAD(&open_regions, r, link);
	lshmi_process_unlock();
}

void lshmi_unmap(void *p, uint64_t size)
{
	for (int i = 0; i < LSHMI_NOMEM_RETRIES; i++)
		if (munmap(p, size) == 0 || errno != ENOMEM)
			return;
}

static void free_handle(struct lshm_region *r)
{
	lshmi_guard_remove(r);
	if (r->base)
		lshmi_unmap(r->base, r->max_size);
	if (r->store.backend)
		r->store.backend->close(&r->store);
	if (r->dead)
		lshmi_unmap(r->dead, r->max_lanes * sizeof(*r->dead));
	lshmi_unmap(r, handle_size());
}

/* -- geometry ------------------------------------------------------------- */

static uint64_t round_up(uint64_t n, uint64_t to)
{
	return (n + to - 1) / to * to;
}

/* Where things lie follows from two numbers. */
static void geometry(
    struct lshmi_header *h, uint64_t max_size, uint32_t participants)
{
	h->max_size = max_size;
	h->max_participants = participants;
	h->max_lanes = participants * LANES_EACH;
	h->participants_off = sizeof(*h);
	h->lanes_off = h->participants_off +
		       (uint64_t)participants * sizeof(struct lshmi_slot);
	h->directory_off = h->lanes_off + (uint64_t)h->max_lanes *
					      sizeof(struct lshmi_lane_rec);
	h->pagemap_off =
	    round_up(h->directory_off + sizeof(struct lshmi_directory), 4096);
	h->heap_off = round_up(
	    h->pagemap_off + (max_size >> LSHMI_PAGE_SHIFT) * sizeof(uint64_t),
	    LSHMI_PAGE);
}

static int use_header(struct lshm_region *r, const struct lshmi_header *h)
{
	r->max_size = h->max_size;
	r->granule = h->granule;
	r->directory_off = h->directory_off;
	r->heap_off = h->heap_off;
	r->max_participants = h->max_participants;
	r->max_lanes = h->max_lanes;
	r->header = (void *)r->base;
	r->slots = (void *)(r->base + h->participants_off);
	r->lanes = (void *)(r->base + h->lanes_off);
	r->pagemap = (void *)(r->base + h->pagemap_off);
	if (r->flags & LSHM_GUARD) {
		int ret = lshmi_guard_add(r);

		if (ret < 0)
			return ret;
	}
	/* Like the handle, not for a fork child: it could not free it. */
	r->dead = mmap(NULL, r->max_lanes * sizeof(*r->dead),
	    PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (r->dead == MAP_FAILED) {
		r->dead = NULL;
		return lshmi_fail(ENOMEM, "this process is out of memory");
	}
	madvise(r->dead, r->max_lanes * sizeof(*r->dead), MADV_DONTFORK);
	return 0;
}

/* -- address space -------------------------------------------------------- */

/* Reserve max_size bytes at a multiple of 2 MiB, near @hint if given. */
static int reserve(struct lshm_region *r, void *hint)
{
	uint64_t align = BASE_ALIGN, extra;
	char *p, *base;

	if (r->store.page_size > align)
		align = r->store.page_size;
	hint = (void *)round_up((uint64_t)(uintptr_t)hint, align);
	p = mmap(hint, r->max_size, PROT_NONE,
	    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p != MAP_FAILED && (uintptr_t)p % align == 0) {
		r->base = p;
		return 0;
	}
	if (p != MAP_FAILED)
		lshmi_unmap(p, r->max_size);
	p = mmap(NULL, r->max_size + align, PROT_NONE,
	    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return lshmi_fail(ENOMEM,
		    "no address space for max_size %llu: expected a smaller "
		    "one, or a larger limit (ulimit -v)",
		    (unsigned long long)r->max_size);
	base = (char *)round_up((uint64_t)(uintptr_t)p, align);
	extra = (uint64_t)(base - p);
	if (extra)
		lshmi_unmap(p, extra);
	if (align - extra)
		lshmi_unmap(base + r->max_size, align - extra);
	r->base = base;
	return 0;
}

/* Lock and prefault, as asked for, what has become mapped. */
static int settle(struct lshm_region *r, uint64_t from, uint64_t to)
{
	char *p = r->base + from;
	uint64_t n = to - from;

	if (r->flags & LSHM_HUGE) {
		madvise(p, n, MADV_HUGEPAGE);
#ifdef MADV_COLLAPSE
		madvise(p, n, MADV_COLLAPSE);
#endif
	}
	if ((r->flags & LSHM_LOCK) && !r->store.pinned && mlock(p, n) < 0)
		return lshmi_fail(errno == EPERM ? ENOMEM : errno,
		    "cannot lock %llu bytes in memory: %s; raise the limit "
		    "(ulimit -l), or do without LSHM_LOCK",
		    (unsigned long long)n, strerror(errno));
	if (r->flags & LSHM_PREFAULT) {
		if (madvise(p, n,
			r->observer ? MADV_POPULATE_READ
				    : MADV_POPULATE_WRITE) == 0)
			return 0;
		for (uint64_t i = 0; i < n; i += 4096)
			(void)lshmi_load_relaxed((uint64_t *)(p + i));
	}
	return 0;
}

int lshmi_refresh(struct lshm_region *r)
{
	uint64_t size, have;
	struct lshmi_backing b;
	int ret = 0;

	if (!r->header)
		return -ECHILD;
	pthread_mutex_lock(&r->mutex);
	have = lshmi_load_relaxed(&r->size);
	size = lshmi_load_acquire(&r->header->size);
	if (size <= have || size > r->max_size || size % r->granule != 0)
		goto out;
	/* The header is believed only as far as there is a file. */
	if (r->store.backend->inspect(&r->store, &b) == 0 && b.size < size)
		goto out;
	if (!r->store.overmap) {
		ret = r->store.backend->map(&r->store, r->base, have, size);
		if (ret < 0)
			goto out;
	}
	settle(r, have, size);
	lshmi_store_release(&r->size, size);
out:
	pthread_mutex_unlock(&r->mutex);
	return ret;
}

/* Make the region @size bytes or more; heap_lock is held. */
int lshmi_grow(struct lshm_region *r, uint64_t size)
{
	uint64_t now = lshmi_load_acquire(&r->header->size);
	int ret;

	if (size > r->max_size)
		return lshmi_fail(E2BIG,
		    "%llu bytes are more than the region's max_size, %llu",
		    (unsigned long long)size, (unsigned long long)r->max_size);
	size = round_up(size, r->granule);
	if (size <= now)
		return 0;
	ret = r->store.backend->extend(&r->store, now, size);
	if (ret < 0)
		return ret;
	/* The page map lies before the heap: it is mapped already. */
	lshmi_heap_grown(r, now, size);
	while (now < size && !lshmi_cas(&r->header->size, now, size))
		now = lshmi_load_acquire(&r->header->size);
	return lshmi_refresh(r);
}

int lshm_region_grow(struct lshm_region *region, uint64_t size)
{
	int ret = lshmi_enter(region);

	if (ret < 0)
		return ret;
	ret = lshmi_lock_own(region, &region->header->heap_lock, "heap");
	if (ret < 0)
		return ret;
	if (ret == LSHM_OWNER_DIED)
		lshmi_store_relaxed(&region->header->heap_rover, 0);
	ret = lshmi_grow(region, size);
	lshmi_unlock(region, &region->header->heap_lock);
	return ret;
}

/* -- creating ------------------------------------------------------------- */

static int check_opts(struct lshm_region_opts *o, unsigned int flags,
    const struct lshm_region_opts *user)
{
	memset(o, 0, sizeof(*o));
	if (user) {
		if (user->opts_size != sizeof(*o))
			return lshmi_fail(EINVAL,
			    "opts_size is %llu: expected %zu; initialise the "
			    "options with LSHM_REGION_OPTS()",
			    (unsigned long long)user->opts_size, sizeof(*o));
		*o = *user;
	}
	if (flags & ~(unsigned int)FLAGS_ALL)
		return lshmi_fail(EINVAL, "flags %#x: only %#x are known",
		    flags, (unsigned int)FLAGS_ALL);
	if ((flags & LSHM_RDONLY) && (flags & LSHM_CREATE))
		return lshmi_fail(
		    EINVAL, "an observer (LSHM_RDONLY) cannot create");
	if ((flags & LSHM_EXCL) && !(flags & LSHM_CREATE))
		return lshmi_fail(EINVAL, "LSHM_EXCL needs LSHM_CREATE");
	if (o->max_participants > MAX_PARTICIPANTS)
		return lshmi_fail(EINVAL,
		    "max_participants is %u: expected 1 to %d",
		    o->max_participants, MAX_PARTICIPANTS);
	if (o->mode & ~UINT32_C(0777))
		return lshmi_fail(
		    EINVAL, "mode %#o: expected permission bits", o->mode);
	if (o->max_size == 0)
		o->max_size = o->size ? o->size : DEFAULT_MAX_SIZE;
	if (o->size == 0)
		o->size =
		    DEFAULT_SIZE < o->max_size ? DEFAULT_SIZE : o->max_size;
	if (o->size > o->max_size)
		return lshmi_fail(EINVAL,
		    "size %llu is more than max_size %llu",
		    (unsigned long long)o->size,
		    (unsigned long long)o->max_size);
	if (o->max_size > MAX_MAX_SIZE)
		return lshmi_fail(ENOMEM,
		    "max_size %llu: no address space has more than %llu",
		    (unsigned long long)o->max_size,
		    (unsigned long long)MAX_MAX_SIZE);
	if (o->mode == 0)
		o->mode = 0600;
	if (o->max_participants == 0)
		o->max_participants = 64;
	return 0;
}

/* Let the region's memory come from one NUMA node. */
static int bind_node(struct lshm_region *r, uint32_t node)
{
	unsigned long mask[16] = {0};

	if (node >= sizeof(mask) * 8)
		return lshmi_fail(EINVAL, "there is no NUMA node %u", node);
	mask[node / (8 * sizeof(long))] = 1ul << node % (8 * sizeof(long));
	if (syscall(SYS_mbind, r->base, r->max_size, MPOL_BIND, mask,
		sizeof(mask) * 8, r->store.overmap ? 0 : MPOL_MF_MOVE) < 0)
		return lshmi_fail(errno == ENOSYS ? ENOTSUP : errno,
		    "cannot take memory from NUMA node %u: %s", node,
		    strerror(errno));
	return 0;
}

static void format(struct lshm_region *r, const struct lshmi_header *h)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	*r->header = *h;
	memcpy(r->header->magic, LSHMI_MAGIC, sizeof(r->header->magic));
	r->header->byte_order = LSHMI_BYTE_ORDER;
	r->header->layout = LSHMI_LAYOUT;
	arc4random_buf(r->header->uuid, sizeof(r->header->uuid));
	r->header->backend = r->store.backend->id;
	r->header->creator_pid = (uint32_t)getpid();
	r->header->created_ns =
	    (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
	r->header->size = r->size;
	lshmi_heap_format(r);
}

static int create(struct lshm_region *r, const char *name, unsigned int flags,
    const struct lshm_region_opts *o)
{
	struct lshmi_store *s = &r->store;
	struct lshmi_header h;
	uint64_t size;
	int ret;

	if ((flags & LSHM_CONTIGUOUS) && s->backend->id != LSHM_BACKEND_KERNEL)
		return lshmi_fail(ENOTSUP,
		    "the %s backend has no contiguous memory: use kernel",
		    s->backend->name);
	ret = s->backend->create(s, name, o, flags);
	if (ret < 0)
		return ret;
	memset(&h, 0, sizeof(h));
	h.granule = s->page_size > LSHMI_PAGE ? s->page_size : LSHMI_PAGE;
	size = round_up(o->size, h.granule);
	geometry(&h, round_up(o->max_size, h.granule), o->max_participants);
	if (h.heap_off + LSHMI_PAGE > size)
		return lshmi_fail(EINVAL,
		    "size %llu is too small: expected at least %llu for %u "
		    "participants and max_size %llu",
		    (unsigned long long)o->size,
		    (unsigned long long)round_up(
			h.heap_off + LSHMI_PAGE, h.granule),
		    h.max_participants, (unsigned long long)h.max_size);
	r->max_size = h.max_size;
	ret = reserve(r, o->address);
	if (ret < 0)
		return ret;
	if (!s->overmap) {
		ret = s->backend->extend(s, 0, size);
		if (ret < 0)
			return ret;
	}
	ret = s->backend->map(s, r->base, 0, s->overmap ? h.max_size : size);
	if (ret == 0 && o->numa_node && !s->pinned)
		ret = bind_node(r, o->numa_node - 1);
	if (ret == 0 && s->overmap)
		ret = s->backend->extend(s, 0, size);
	if (ret < 0)
		return ret;
	r->size = size;
	ret = use_header(r, &h);
	if (ret < 0)
		return ret;
	format(r, &h);
	ret = settle(r, 0, size);
	if (ret == 0)
		ret = lshmi_participant_attach(r);
	if (ret < 0)
		return ret;
	ret = s->backend->reveal(s);
	if (ret < 0)
		lshmi_participant_detach(r);
	return ret;
}

/* -- opening -------------------------------------------------------------- */

static int damaged(const char *what, uint64_t expected, uint64_t found)
{
	return lshmi_fail(LSHM_ECORRUPT,
	    "the region is truncated or damaged: expected %s %llu, found %llu",
	    what, (unsigned long long)expected, (unsigned long long)found);
}

/* Read the header from the file and believe nothing in it. */
static int check_header(
    struct lshm_region *r, struct lshmi_header *h, unsigned int flags)
{
	struct lshmi_store *s = &r->store;
	struct lshmi_header expected;
	struct lshmi_backing b;
	ssize_t n;
	int ret;

	ret = s->backend->inspect(s, &b);
	if (ret < 0)
		return ret;
	if (b.uid != geteuid() && b.uid != 0 && !(flags & LSHM_ANY_OWNER))
		return lshmi_fail(EPERM,
		    "the region is owned by user %u: expected %u (the caller) "
		    "or 0 (root); LSHM_ANY_OWNER trusts everybody",
		    b.uid, (unsigned int)geteuid());
	n = s->backend->read(s, h, sizeof(*h));
	if (n < 0)
		return (int)n;
	if ((size_t)n < sizeof(h->magic) ||
	    memcmp(h->magic, LSHMI_MAGIC, sizeof(h->magic)) != 0)
		return lshmi_fail(EBADMSG,
		    "not a libshm region: expected \"" LSHMI_MAGIC
		    "\" at its start, found %s",
		    n == 0 ? "an empty file" : "something else");
	if ((size_t)n < sizeof(*h))
		return damaged("a header of bytes", sizeof(*h), (uint64_t)n);
	if (h->byte_order == __builtin_bswap32(LSHMI_BYTE_ORDER))
		return lshmi_fail(EPROTO,
		    "the region has the other byte order (endianness): it was "
		    "made on another kind of machine");
	if (h->byte_order != LSHMI_BYTE_ORDER)
		return damaged(
		    "the byte order mark", LSHMI_BYTE_ORDER, h->byte_order);
	if (h->layout != LSHMI_LAYOUT)
		return lshmi_fail(EPROTONOSUPPORT,
		    "the region has layout version %u: this library (%s) knows "
		    "version %u; use a newer library",
		    h->layout, LSHMI_VERSION, LSHMI_LAYOUT);
	if (h->incompat & ~LSHMI_INCOMPAT)
		return lshmi_fail(EPROTONOSUPPORT,
		    "the region has incompatible features %#llx that this "
		    "library (%s) does not know: use a newer library",
		    (unsigned long long)(h->incompat & ~LSHMI_INCOMPAT),
		    LSHMI_VERSION);
	if ((h->ro_compat & ~LSHMI_RO_COMPAT) && !r->observer)
		return lshmi_fail(EPROTONOSUPPORT,
		    "the region has features %#llx that this library (%s) may "
		    "not write with: open it with LSHM_RDONLY, or use a newer "
		    "library",
		    (unsigned long long)(h->ro_compat & ~LSHMI_RO_COMPAT),
		    LSHMI_VERSION);
	if (h->max_participants == 0 || h->max_participants > MAX_PARTICIPANTS)
		return damaged("participants of at most", MAX_PARTICIPANTS,
		    h->max_participants);
	if (h->granule == 0 || h->granule % LSHMI_PAGE != 0 ||
	    h->granule % s->page_size != 0)
		return damaged("a granule of", LSHMI_PAGE, h->granule);
	if (h->max_size > MAX_MAX_SIZE || h->max_size % h->granule != 0)
		return damaged("max_size at most", MAX_MAX_SIZE, h->max_size);
	geometry(&expected, h->max_size, h->max_participants);
	if (h->max_lanes != expected.max_lanes)
		return damaged("lanes", expected.max_lanes, h->max_lanes);
	if (h->participants_off != expected.participants_off ||
	    h->lanes_off != expected.lanes_off ||
	    h->directory_off != expected.directory_off ||
	    h->pagemap_off != expected.pagemap_off ||
	    h->heap_off != expected.heap_off)
		return damaged(
		    "its heap at offset", expected.heap_off, h->heap_off);
	if (h->size > h->max_size || h->size % h->granule != 0 ||
	    h->size < h->heap_off + LSHMI_PAGE)
		return damaged("size at most", h->max_size, h->size);
	/* It may have grown since the first look at the file. */
	if (h->size > b.size && (ret = s->backend->inspect(s, &b)) < 0)
		return ret;
	if (h->size > b.size)
		return damaged("bytes", h->size, b.size);
	return 0;
}

/* The store is open: check, map, attach. */
static int attach(
    struct lshm_region *r, unsigned int flags, const struct lshm_region_opts *o)
{
	struct lshmi_store *s = &r->store;
	const struct lshmi_backend *own;
	struct lshmi_header h;
	int ret;

	ret = check_header(r, &h, flags);
	if (ret < 0)
		return ret;
	/* It knows best what it is: a memfd may come as /proc/PID/fd/N. */
	own = lshmi_backend_by_id(h.backend);
	if (own && own != s->backend) {
		s->backend = own;
		s->nameless |= own->nameless;
	}
	r->max_size = h.max_size;
	ret = reserve(r, o->address);
	if (ret < 0)
		return ret;
	ret = s->backend->map(s, r->base, 0, s->overmap ? h.max_size : h.size);
	if (ret < 0)
		return ret;
	r->size = h.size;
	ret = use_header(r, &h);
	if (ret < 0)
		return ret;
	lshmi_refresh(r); /* it may have grown since */
	ret = settle(r, 0, r->size);
	if (ret == 0 && !r->observer)
		ret = lshmi_participant_attach(r);
	return ret;
}

static int finish(struct lshm_region *r, struct lshm_region **out)
{
	r->membarrier = lshmi_membarrier_register();
	publish_handle(r);
	*out = r;
	return 0;
}

int lshm_region_open(struct lshm_region **out, const char *name,
    unsigned int flags, const struct lshm_region_opts *opts)
{
	const struct lshmi_backend *backend;
	struct lshm_region_opts o;
	struct lshm_region *r;
	const char *plain = name;
	int ret;
	LSHMI_UNCANCELLED;

	ret = check_opts(&o, flags, opts);
	if (ret < 0)
		return ret;
	lshmi_heap_setup();
	ret = lshmi_backend_by_name(&backend, &plain, o.backend);
	if (ret < 0)
		return ret;
	for (int tries = 0; tries < 100; tries++) {
		r = new_handle(flags);
		if (!r)
			return -ENOMEM;
		r->store.backend = backend;
		ret = backend->open(&r->store, plain, !r->observer);
		if (ret == 0) {
			if ((flags & LSHM_CREATE) && (flags & LSHM_EXCL))
				ret = -EEXIST;
			else
				ret = attach(r, flags, &o);
			if (ret == 0 && r->store.backend->current(&r->store))
				return finish(r, out);
			if (ret == 0) {
				/* It was unlinked while we attached. */
				if (!r->observer)
					lshmi_participant_detach(r);
				free_handle(r);
				continue;
			}
		} else if (ret == -ENOENT && (flags & LSHM_CREATE)) {
			ret = create(r, plain, flags, &o);
			if (ret == 0)
				return finish(r, out);
			if (ret == -EEXIST && !(flags & LSHM_EXCL)) {
				free_handle(r);
				continue;
			}
		}
		free_handle(r);
		if (ret == -EEXIST)
			lshmi_fail(
			    EEXIST, "there is a region \"%s\" already", name);
		return ret;
	}
	return lshmi_fail(ENOENT,
	    "the region \"%s\" is made and removed again and again", name);
}

static int check_fd_opts(struct lshm_region_opts *o, unsigned int flags,
    const struct lshm_region_opts *user)
{
	if (flags & (LSHM_CREATE | LSHM_EXCL))
		return lshmi_fail(
		    EINVAL, "a descriptor is opened, not created");
	return check_opts(o, flags, user);
}

int lshm_region_open_fd(struct lshm_region **out, int fd, unsigned int flags,
    const struct lshm_region_opts *opts)
{
	struct lshm_region_opts o;
	struct lshm_region *r;
	struct stat st;
	int ret;
	LSHMI_UNCANCELLED;

	ret = check_fd_opts(&o, flags, opts);
	if (ret < 0)
		return ret;
	lshmi_heap_setup();
	if (fstat(fd, &st) < 0)
		return lshmi_fail(EBADF, "%d is no open descriptor", fd);
	r = new_handle(flags);
	if (!r)
		return -ENOMEM;
	ret = lshmi_backend_open_fd(&r->store, fd, !r->observer);
	if (ret == 0)
		ret = attach(r, flags, &o);
	if (ret == 0)
		return finish(r, out);
	free_handle(r);
	return ret;
}

/* -- handing on ----------------------------------------------------------- */

static void close_fd(void *fd)
{
	LSHMI_UNCANCELLED;

	close(*(int *)fd);
}

int lshm_region_send(struct lshm_region *region, int sock, unsigned int flags)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct iovec iov = {.iov_base = (char[1]){0}, .iov_len = 1};
	struct msghdr m = {
	    .msg_iov = &iov,
	    .msg_iovlen = 1,
	    .msg_control = control.space,
	    .msg_controllen = sizeof(control.space),
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	ssize_t n;
	int fd, ret;

	if (region->serial == 0)
		return lshmi_fail_gone(region);
	if (flags & ~(unsigned int)LSHM_RDONLY)
		return lshmi_fail(
		    EINVAL, "flags %#x: only LSHM_RDONLY is known", flags);
	fd = region->store.backend->share(
	    &region->store, !(flags & LSHM_RDONLY) && !region->observer);
	if (fd < 0)
		return fd;
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(int));
	pthread_cleanup_push(close_fd, &fd);
	do
		n = sendmsg(sock, &m, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	ret = n < 0 ? lshmi_fail(
			  errno, "cannot send the region: %s", strerror(errno))
		    : 0;
	pthread_cleanup_pop(1);
	return ret;
}

int lshm_region_receive(struct lshm_region **out, int sock, unsigned int flags,
    const struct lshm_region_opts *opts)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int))];
	} control = {0};
	char byte;
	struct iovec iov = {.iov_base = &byte, .iov_len = 1};
	struct msghdr m = {
	    .msg_iov = &iov,
	    .msg_iovlen = 1,
	    .msg_control = control.space,
	    .msg_controllen = sizeof(control.space),
	};
	struct cmsghdr *c;
	struct lshm_region_opts o;
	ssize_t n;
	int fd, ret;

	/* What is wrong with the call must not cost the message. */
	ret = check_fd_opts(&o, flags, opts);
	if (ret < 0)
		return ret;
	do
		n = recvmsg(sock, &m, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return lshmi_fail(
		    errno, "cannot receive the region: %s", strerror(errno));
	if (n == 0)
		return lshmi_fail(
		    ENODATA, "the socket was closed before a region came");
	c = CMSG_FIRSTHDR(&m);
	if (!c || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS ||
	    c->cmsg_len != CMSG_LEN(sizeof(int)))
		return lshmi_fail(EBADMSG,
		    "the message carried no descriptor: expected one of "
		    "lshm_region_send()");
	memcpy(&fd, CMSG_DATA(c), sizeof(int));
	ret = lshm_region_open_fd(out, fd, flags, opts);
	close_fd(&fd);
	return ret;
}

/* -- leaving and looking -------------------------------------------------- */

void lshm_region_close(struct lshm_region *region)
{
	LSHMI_UNCANCELLED;

	if (!region)
		return;
	if (region->serial == 0 && !lshmi_load_seq(&region->lost)) {
		/* inherited: wiped, and not mapped here */
		lshmi_unmap(region, handle_size());
		return;
	}
	lshmi_process_lock();
	LIST_REMOVE(region, link);
	lshmi_process_unlock();
	if (lshmi_load_seq(&region->lost))
		region->store.backend->release(&region->store);
	else if (!region->observer)
		lshmi_participant_detach(region);
	lshmi_lane_forget(region);
	free_handle(region);
}

int lshm_region_unlink(const char *name, uint32_t backend)
{
	const struct lshmi_backend *b;
	int ret = lshmi_backend_by_name(&b, &name, backend);
	LSHMI_UNCANCELLED;

	return ret < 0 ? ret : b->unlink(name);
}

void *lshm_region_base(const struct lshm_region *region)
{
	return region->base;
}

int lshm_region_list(int (*callback)(const char *name, void *arg), void *arg)
{
	LSHMI_UNCANCELLED;

	return lshmi_backend_list(callback, arg);
}

/* What this process's mapping has got, from /proc. */
static void mapping_figures(
    struct lshm_region *r, struct lshm_region_info *info)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	unsigned long from, to, kb;
	bool inside = false;
	char line[512], key[64];

	if (!f)
		return;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2) {
			inside = from >= (unsigned long)r->base &&
				 to <= (unsigned long)r->base + r->max_size;
			continue;
		}
		if (!inside || sscanf(line, "%63[^:]: %lu kB", key, &kb) != 2)
			continue;
		if (strcmp(key, "ShmemPmdMapped") == 0 ||
		    strcmp(key, "FilePmdMapped") == 0 ||
		    strcmp(key, "Shared_Hugetlb") == 0 ||
		    strcmp(key, "Private_Hugetlb") == 0)
			info->huge_bytes += (uint64_t)kb << 10;
		if (strcmp(key, "Locked") == 0)
			info->locked_bytes += (uint64_t)kb << 10;
	}
	fclose(f);
}

int lshm_region_stat(struct lshm_region *region, struct lshm_region_info *info)
{
	const struct lshmi_header *h = region->header;
	struct lshm_participant_info p;
	struct lshmi_backing b;
	LSHMI_UNCANCELLED;

	if (region->serial == 0)
		return lshmi_fail_gone(region);
	memset(info, 0, sizeof(*info));
	lshmi_refresh(region);
	info->size = lshmi_load_relaxed(&region->size);
	info->max_size = region->max_size;
	info->granule = region->granule;
	info->heap_offset = region->heap_off;
	memcpy(info->uuid, h->uuid, sizeof(info->uuid));
	info->created_ns = h->created_ns;
	info->layout_version = h->layout;
	info->compat = h->compat;
	info->ro_compat = h->ro_compat;
	info->incompat = h->incompat;
	info->backend = h->backend;
	info->creator_pid = h->creator_pid;
	info->max_participants = region->max_participants;
	info->max_lanes = region->max_lanes;
	info->deaths = lshmi_load_relaxed(&h->death_count);
	info->page_size = region->store.page_size;
	info->device = region->store.device;
	info->inode = region->store.inode;
	if (region->store.backend->inspect(&region->store, &b) == 0) {
		info->owner_uid = b.uid;
		info->owner_gid = b.gid;
		info->mode = b.mode;
		info->runs = b.runs;
	}
	for (uint32_t i = 0; i < region->max_participants; i++) {
		lshm_region_participant(region, i, &p);
		info->participants += p.state == LSHM_PARTICIPANT_ALIVE ||
				      p.state == LSHM_PARTICIPANT_DEAD;
		info->dead += p.state == LSHM_PARTICIPANT_DEAD ||
			      p.state == LSHM_PARTICIPANT_REAPING;
	}
	for (uint32_t i = 0; i < region->max_lanes; i++)
		info->lanes +=
		    (lshmi_load_relaxed(&region->lanes[i].word) & 0xffff) != 0;
	mapping_figures(region, info);
	if (region->store.pinned)
		info->locked_bytes = info->size;
	return 0;
}
