/* SPDX-License-Identifier: MIT */
/*
 * kernel.c - what the explored library asks the kernel for, and its backend
 */
#include "world.h"

#include <stdio.h>

/* -- the kernel ------------------------------------------------------------ */

/* A system call is a point, and drains the caller's buffer. */
static void enter_kernel(struct xp_site *site, const volatile void *p)
{
	if (!in_thread)
		return;
	if (++steps > STEPS_MAX)
		XP_FAIL("thread %c does not come to an end", letter(xp_self));
	stand(site, p);
	drain(xp_self);
}

#define KERNEL(what)                                         \
	static struct xp_site site_ = {.function = "kernel", \
	    .word = (what),                                  \
	    .op = XP_KERNEL,                                 \
	    .line = __LINE__}

int64_t lshmi_now(void)
{
	return world.clock;
}

int64_t lshm_deadline_ms(int64_t ms)
{
	return world.clock + ms * 1000000;
}

int xp_clock(struct timespec *t)
{
	t->tv_sec = world.clock / 1000000000;
	t->tv_nsec = world.clock % 1000000000;
	return 0;
}

pid_t xp_pid(void)
{
	return (pid_t)(1000 + xp_self);
}

bool lshmi_membarrier_register(void)
{
	return true;
}

long xp_syscall(long number)
{
	KERNEL("membarrier");

	if (number != SYS_membarrier)
		XP_FAIL("system call %ld: teach it to the explorer", number);
	enter_kernel(&site_, NULL);
	if (effect_of(&site_) == XP_SKIP)
		return 0;
	trace(&site_, NULL, "", 0, 0);
	for (uint32_t i = 0; i < XP_ALL; i++)
		drain(i);
	return 0;
}

void wake_from(uint32_t i, int32_t ret)
{
	world.status[i] = T_READY;
	world.woken[i] = ret;
	world.word[i] = 0;
	world.deadline[i] = 0;
	world.order[i] = 0;
}

static int kernel_wait(struct lshmi_store *s, uint32_t *word, uint32_t expected,
    int64_t deadline, uint64_t *deaths)
{
	uint32_t i = xp_self;
	KERNEL("wait");

	if (!in_thread) {
		world.clock = deadline;
		return -ETIMEDOUT;
	}
	/* The word has other users, too. */
	is_shared(word, 4, true, false);
	enter_kernel(&site_, word);
	trace(&site_, word, "", 0, expected);
	if (*word != expected && effect_of(&site_) != XP_BLIND)
		return -EAGAIN;
	if (world.clock >= deadline)
		return -ETIMEDOUT;
	world.status[i] = T_ASLEEP;
	world.word[i] = (uint64_t)((char *)word - ARENA);
	world.deadline[i] = deadline;
	for (uint32_t k = 0; k < XP_THREADS; k++)
		if (world.order[k] >= world.order[i])
			world.order[i] = world.order[k] + 1;
	to_scheduler();
	if (tracing)
		printf("%5u  %c  wakes up%s\n", ++trace_step, letter(i),
		    world.woken[i] ? ": time is up" : "");
	return world.woken[i];
}

static int kernel_wake(struct lshmi_store *s, uint32_t *word, int count)
{
	uint64_t at = (uint64_t)((char *)word - ARENA);
	int woken = 0;
	KERNEL("wake");

	if (in_thread) {
		enter_kernel(&site_, word);
		trace(&site_, word, "", 0, (uint64_t)count);
		if (effect_of(&site_) == XP_SKIP)
			return 0;
	}
	for (; woken < count; woken++) {
		uint32_t next = XP_ALL;

		for (uint32_t i = 0; i < XP_THREADS; i++)
			if (world.status[i] == T_ASLEEP &&
			    world.word[i] == at &&
			    (next == XP_ALL ||
				world.order[i] < world.order[next]))
				next = i;
		if (next == XP_ALL)
			break;
		wake_from(next, 0);
	}
	return woken;
}

void xp_nap(uint32_t usec)
{
	KERNEL("nap");

	if (!in_thread)
		return;
	enter_kernel(&site_, NULL);
	trace(&site_, NULL, "", 0, usec);
	world.status[xp_self] = T_NAPPING;
	world.deadline[xp_self] = world.clock + LONG_NAP;
	to_scheduler();
}

int xp_lock(pthread_mutex_t *mutex, bool wait)
{
	uint32_t held;

	memcpy(&held, mutex, sizeof(held));
	if (held && wait)
		XP_FAIL("a private mutex is held: teach the explorer to wait");
	if (held)
		return EBUSY;
	held = 1;
	memcpy(mutex, &held, sizeof(held));
	return 0;
}

int xp_unlock(pthread_mutex_t *mutex)
{
	memset(mutex, 0, sizeof(uint32_t));
	return 0;
}

/* -- the backend ----------------------------------------------------------- */

static struct lshm_region *regions[XP_ALL];
static bool made;

static int kernel_create(struct lshmi_store *s, const char *name,
    const struct lshm_region_opts *o, unsigned int flags)
{
	s->writable = s->overmap = s->nameless = true;
	s->page_size = PAGE;
	return 0;
}

static int kernel_reveal(struct lshmi_store *s)
{
	made = true;
	return 0;
}

static int kernel_open(struct lshmi_store *s, const char *name, bool writable)
{
	return made ? kernel_create(s, name, NULL, 0) : -ENOENT;
}

static int kernel_inspect(struct lshmi_store *s, struct lshmi_backing *b)
{
	memset(b, 0, sizeof(*b));
	b->size = REGION_MAX;
	return 0;
}

static ssize_t kernel_read(struct lshmi_store *s, void *to, size_t size)
{
	memcpy(to, ARENA, size);
	return (ssize_t)size;
}

static bool kernel_current(const struct lshmi_store *s)
{
	return true;
}

static void kernel_close(struct lshmi_store *s)
{
}

static int kernel_extend(struct lshmi_store *s, uint64_t from, uint64_t to)
{
	return to <= REGION_MAX ? 0 : -ENOSPC;
}

static int kernel_map(
    struct lshmi_store *s, char *base, uint64_t from, uint64_t to)
{
	return 0;
}

static uint32_t holder_of_slot(uint32_t slot)
{
	uint32_t h = world.holder[slot];

	return h && world.status[h - 1] == T_DEAD ? 0 : h;
}

static int kernel_claim(struct lshmi_store *s, uint32_t slot)
{
	KERNEL("claim");

	enter_kernel(&site_, NULL);
	trace(&site_, NULL, "", 0, slot);
	if (holder_of_slot(slot))
		return -EAGAIN;
	/* The dead one's last stores were before its lock was given up. */
	if (world.holder[slot])
		drain(world.holder[slot] - 1);
	world.holder[slot] = xp_self + 1;
	s->anchor = (void *)(uintptr_t)(slot + 1);
	return 0;
}

static enum lshmi_life kernel_alive(
    struct lshmi_store *s, uint32_t slot, int own)
{
	KERNEL("alive");

	enter_kernel(&site_, NULL);
	if (holder_of_slot(slot)) {
		trace(&site_, NULL, "alive", 0, slot);
		return LSHMI_ALIVE;
	}
	trace(&site_, NULL, "dead", 0, slot);
	if (world.holder[slot])
		drain(world.holder[slot] - 1);
	return LSHMI_DEAD;
}

static void kernel_release(struct lshmi_store *s)
{
	KERNEL("release");

	enter_kernel(&site_, NULL);
	if (s->anchor) {
		trace(&site_, NULL, "", 0, (uintptr_t)s->anchor - 1);
		world.holder[(uintptr_t)s->anchor - 1] = 0;
	}
	s->anchor = NULL;
}

static const struct lshmi_backend backend = {
    .name = "explore",
    .id = 99,
    .nameless = true,
    .create = kernel_create,
    .reveal = kernel_reveal,
    .open = kernel_open,
    .inspect = kernel_inspect,
    .read = kernel_read,
    .current = kernel_current,
    .close = kernel_close,
    .extend = kernel_extend,
    .map = kernel_map,
    .claim = kernel_claim,
    .alive = kernel_alive,
    .release = kernel_release,
    .wait = kernel_wait,
    .wake = kernel_wake,
};

const struct lshmi_backend *lshmi_backend_by_id(uint32_t id)
{
	return &backend;
}

int lshmi_backend_by_name(
    const struct lshmi_backend **out, const char **name, uint32_t id)
{
	*out = &backend;
	return 0;
}

int lshmi_backend_open_fd(struct lshmi_store *s, int fd, bool writable)
{
	return -EBADMSG;
}

int lshmi_backend_list(int (*callback)(const char *name, void *arg), void *arg)
{
	return 0;
}

/* No region is guarded. */
int lshmi_guard_add(struct lshm_region *r)
{
	return 0;
}

void lshmi_guard_remove(const struct lshm_region *r)
{
}

void lshmi_guard_forked(void)
{
}

struct lshm_region *xp_open(void)
{
	struct lshm_region_opts o = LSHM_REGION_OPTS();
	uint32_t heap = scenario->pages ? scenario->pages : 1;
	int ret;

	o.max_participants = scenario->participants;
	if (o.max_participants == 0)
		o.max_participants = scenario->threads + 1;
	o.size = o.max_size = (1 + heap) * LSHMI_PAGE;
	ret = lshm_region_open(&regions[xp_self], "explored", LSHM_CREATE, &o);
	if (ret < 0)
		XP_FAIL("cannot open the region: %s", lshm_error());
	return regions[xp_self];
}

const void *xp_arg(void)
{
	return scenario->arg;
}

void xp_open_all(void)
{
	xp_as(XP_JUDGE);
	xp_open();
	for (uint32_t i = 0; i < scenario->threads; i++) {
		xp_as(i);
		XP_TRUE(lshmi_lane(xp_open()));
	}
	xp_as(XP_JUDGE);
	XP_TRUE(lshmi_lane(xp_region()));
}

struct lshm_region *xp_region_of(uint32_t thread)
{
	return regions[thread];
}

struct lshm_region *xp_region(void)
{
	return regions[xp_self];
}

void xp_kill(uint32_t thread)
{
	world.status[thread] = T_DEAD;
}

bool xp_dead(uint32_t thread)
{
	return world.status[thread] == T_DEAD;
}

bool xp_finished(uint32_t thread)
{
	return world.status[thread] == T_DONE;
}

uint32_t xp_deaths(void)
{
	return world.deaths;
}
