/* SPDX-License-Identifier: MIT */
/*
 * explore_atomic.h - what the explored library has in place of atomic.h and of
 * the operating system
 *
 * Read before every source file of the library, with atomic.h's include guard:
 * each access to a shared word becomes a step of the explorer (explore.h), and
 * what the library asks of the kernel and the C library is answered by it. The
 * library's sources know nothing of it.
 */
#ifndef EXPLORE_ATOMIC_H
#define EXPLORE_ATOMIC_H

#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define LSHMI_ATOMIC_H

enum xp_op {
	XP_LOAD,
	XP_STORE,     /* into the store buffer */
	XP_STORE_SEQ, /* and out of it */
	XP_EXCHANGE,
	XP_ADD,
	XP_OR,
	XP_AND,
	XP_CAS,
	XP_KERNEL, /* a system call */
	XP_USER,   /* a step of the scenario's own */
};

/* Where in the sources an access is. */
struct xp_site {
	const char *function;
	const char *word; /* the expression */
	enum xp_op op;
	int line;
	const struct xp_seed *seed; /* a bug put there, once looked up */
	bool looked;
};

uint64_t xp_load(struct xp_site *site, const volatile void *p, uint32_t size);
void xp_store(
    struct xp_site *site, volatile void *p, uint32_t size, uint64_t value);
/* The old value; XP_CAS: stores @value if it was @from. */
uint64_t xp_change(struct xp_site *site, volatile void *p, uint32_t size,
    uint64_t from, uint64_t value);

#define XP_SITE(p, kind)                \
	static struct xp_site site_ = { \
	    .function = __func__, .word = #p, .op = (kind), .line = __LINE__}

#define XP_LOADED(p)                                                  \
	__extension__({                                               \
		XP_SITE(p, XP_LOAD);                                  \
		(__typeof__(*(p)))xp_load(&site_, (p), sizeof(*(p))); \
	})
#define XP_STORED(p, v, kind)                                       \
	__extension__({                                             \
		XP_SITE(p, kind);                                   \
		xp_store(&site_, (p), sizeof(*(p)), (uint64_t)(v)); \
	})
#define XP_CHANGED(p, from, v, kind)                                   \
	__extension__({                                                \
		XP_SITE(p, kind);                                      \
		(__typeof__(*(p)))xp_change(&site_, (p), sizeof(*(p)), \
		    (uint64_t)(from), (uint64_t)(v));                  \
	})

#define lshmi_load_relaxed(p) XP_LOADED(p)
#define lshmi_load_acquire(p) XP_LOADED(p)
#define lshmi_load_seq(p)     XP_LOADED(p)

#define lshmi_store_relaxed(p, v) XP_STORED(p, v, XP_STORE)
#define lshmi_store_release(p, v) XP_STORED(p, v, XP_STORE)
#define lshmi_store_seq(p, v)	  XP_STORED(p, v, XP_STORE_SEQ)

#define lshmi_exchange(p, v)  XP_CHANGED(p, 0, v, XP_EXCHANGE)
#define lshmi_fetch_add(p, v) XP_CHANGED(p, 0, v, XP_ADD)
#define lshmi_fetch_or(p, v)  XP_CHANGED(p, 0, v, XP_OR)
#define lshmi_fetch_and(p, v) XP_CHANGED(p, 0, v, XP_AND)

#define XP_SWAPPED(p, from, v)                            \
	__extension__({                                   \
		__typeof__(*(p)) from_ = (from);          \
		XP_CHANGED(p, from_, v, XP_CAS) == from_; \
	})
#define lshmi_cas(p, from, v)	XP_SWAPPED(p, from, v)
#define lshmi_cas16(p, from, v) XP_SWAPPED(p, from, v)

/* Bounded polling says nothing new: who polls is as one who is slow. */
static inline void lshmi_pause(void)
{
}

/* -- the C library and the kernel ------------------------------------------ */

void *xp_calloc(size_t count, size_t size);
void *xp_realloc(void *block, size_t size);
void *xp_mmap(size_t size, int protection);
void *xp_specific(void);
int xp_set_specific(const void *value);
int xp_lock(pthread_mutex_t *mutex, bool wait);
int xp_unlock(pthread_mutex_t *mutex);
void xp_nap(uint32_t usec);
long xp_syscall(long number);
int xp_clock(struct timespec *t);
pid_t xp_pid(void);

#ifndef XP_OUTSIDE
#define calloc(n, size)		      xp_calloc(n, size)
#define aligned_alloc(align, n)	      xp_calloc(1, n)
#define realloc(block, size)	      xp_realloc(block, size)
#define free(block)		      ((void)(block))
#define mmap(at, size, prot, f, d, o) ((void)(at), xp_mmap(size, prot))
#define munmap(at, size)	      ((void)(at), 0)
#define madvise(at, size, advice)     ((void)(at), 0)
#define usleep(usec)		      xp_nap(usec)
#define sched_yield()		      ((void)0)
#define syscall(number, ...)	      xp_syscall(number)
#define clock_gettime(clock, t)	      xp_clock(t)
#define getpid()		      xp_pid()
#define geteuid()		      ((uid_t)0)
#define prctl(...)		      ((void)0)
#define stat(path, buffer)	      ((void)(buffer), -1)
#define pthread_getspecific(key)      ((void)(key), xp_specific())
#define pthread_setspecific(key, v)   ((void)(key), xp_set_specific(v))
#define pthread_mutex_lock(m)	      xp_lock(m, true)
#define pthread_mutex_trylock(m)      xp_lock(m, false)
#define pthread_mutex_unlock(m)	      xp_unlock(m)
#endif

#endif
