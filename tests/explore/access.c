/* SPDX-License-Identifier: MIT */
/*
 * access.c - accesses to shared words, store buffers, and the printed schedule
 */
#include "world.h"

#include <stdio.h>

/* -- the printed schedule -------------------------------------------------- */

bool tracing;
uint32_t trace_step;

struct name {
	uint64_t at;
	size_t size, each;
	const char *name;
};

static struct name names[32];
static uint32_t name_count;

void xp_name(const void *p, size_t size, size_t each, const char *name)
{
	names[name_count++] = (struct name){
	    .at = (uint64_t)((const char *)p - ARENA),
	    .size = size,
	    .each = each,
	    .name = name,
	};
}

static const char *name_of(const volatile void *p)
{
	uint64_t at = (uint64_t)((const volatile char *)p - ARENA), rel;
	static char text[80];

	for (uint32_t i = 0; i < name_count; i++) {
		const struct name *n = &names[i];

		if (at < n->at || at - n->at >= n->size)
			continue;
		rel = at - n->at;
		if (n->each >= n->size)
			snprintf(text, sizeof(text), "%s", n->name);
		else
			snprintf(text, sizeof(text), "%s[%llu]", n->name,
			    (unsigned long long)(rel / n->each));
		rel %= n->each;
		if (rel)
			snprintf(text + strlen(text),
			    sizeof(text) - strlen(text), "+%llu",
			    (unsigned long long)rel);
		return text;
	}
	snprintf(text, sizeof(text), "%#llx", (unsigned long long)at);
	return text;
}

char letter(uint32_t thread)
{
	return thread == XP_JUDGE ? 'J' : (char)('A' + (int)thread);
}

void trace(const struct xp_site *s, const volatile void *p, const char *what,
    uint64_t from, uint64_t value)
{
	char text[96];

	if (!tracing || xp_self == XP_JUDGE)
		return;
	snprintf(text, sizeof(text), "%s:%d", s->function, s->line);
	printf("%5u  %c  %-28s %-9s %-26s ", ++trace_step, letter(xp_self),
	    text, what, p ? name_of(p) : "");
	if (s->op != XP_KERNEL && s->op != XP_USER && s->op != XP_LOAD &&
	    s->op != XP_STORE && s->op != XP_STORE_SEQ)
		printf("%#llx -> ", (unsigned long long)from);
	printf("%#llx  (%s)\n", (unsigned long long)value, s->word);
}

/* -- accesses -------------------------------------------------------------- */

static uint8_t users[GRANULES]; /* a bit a thread: has loaded; << 4: stored */
static uint8_t shared[GRANULES];
bool grown; /* there is more that is shared */
uint32_t steps;

static bool in_arena(const volatile void *p)
{
	return (uint64_t)((const volatile char *)p - ARENA) < ARENA_SIZE;
}

static uint64_t read_memory(const volatile void *p, uint32_t size)
{
	uint64_t v = 0;

	memcpy(&v, (const void *)p, size);
	return v;
}

static void write_memory(volatile void *p, uint32_t size, uint64_t v)
{
	memcpy((void *)p, &v, size);
}

/* A word that ends in '*' stands for all that begin so. */
static bool is_at(const struct xp_site *s, const struct xp_seed *bug)
{
	size_t n = strcspn(bug->word, "*");

	return strcmp(s->function, bug->function) == 0 &&
	       (bug->word[n] ? strncmp(s->word, bug->word, n) == 0
			     : strcmp(s->word, bug->word) == 0);
}

enum xp_effect effect_of(struct xp_site *s)
{
	if (!seed)
		return XP_NONE;
	if (!s->looked) {
		s->looked = true;
		s->seed = is_at(s, seed) ? seed : NULL;
	}
	if (!s->seed || xp_self == XP_JUDGE)
		return XP_NONE;
	result->seed_used = true;
	return seed->effect;
}

/* Stand here until chosen to go on. */
void stand(struct xp_site *site, const volatile void *p)
{
	threads[xp_self].site = site;
	threads[xp_self].at = p;
	to_scheduler();
}

bool is_shared(const volatile void *p, uint32_t size, bool loads, bool stores)
{
	uint64_t at = (uint64_t)((const volatile char *)p - ARENA) / 8;
	uint8_t mine = (uint8_t)(1u << xp_self), *u = &users[at];
	bool others;

	*u |= (uint8_t)((loads ? mine : 0) | (stores ? mine << 4 : 0));
	if (shared[at])
		return true;
	others = stores ? ((*u | *u >> 4) & 15 & ~mine) : (*u >> 4 & ~mine);
	if (others)
		grown = true;
	return false;
}

/* Is this an access that the explorer is concerned with? */
static bool explored(struct xp_site *site, const volatile void *p)
{
	if (!in_arena(p))
		return false;
	if (!in_thread) {
		/* What check() looks at makes a difference to those who die. */
		if (checking && bounds->deaths && site->op != XP_STORE &&
		    site->op != XP_STORE_SEQ)
			is_shared(p, 0, true, false);
		return false;
	}
	if (++steps > STEPS_MAX)
		XP_FAIL("thread %c does not come to an end", letter(xp_self));
	threads[xp_self].site = site;
	return true;
}

void flush_one(uint32_t i)
{
	struct buffered *b = world.buffer[i];

	if (tracing)
		printf("%5u  %c  %-28s %-9s %-26s %#llx\n", ++trace_step,
		    letter(i), "(store buffer)", "visible",
		    name_of(ARENA + b->at), (unsigned long long)b->value);
	write_memory(ARENA + b->at, b->size, b->value);
	memmove(b, b + 1, (XP_BUFFER_MAX - 1) * sizeof(*b));
	memset(&b[XP_BUFFER_MAX - 1], 0, sizeof(*b));
	world.buffered[i]--;
}

/*
 * To drain one's buffer is seen by others, wherever it is done: a point before
 * each access that does so, even to a word of one's own.
 */
void drain(uint32_t i)
{
	while (world.buffered[i])
		flush_one(i);
}

static void into_buffer(volatile void *p, uint32_t size, uint64_t v)
{
	if (bounds->buffer == 0) {
		write_memory(p, size, v);
		return;
	}
	if (world.buffered[xp_self] == bounds->buffer)
		stand(threads[xp_self].site, p);
	if (world.buffered[xp_self] == bounds->buffer)
		flush_one(xp_self);
	world.buffer[xp_self][world.buffered[xp_self]++] = (struct buffered){
	    .at = (uint32_t)((volatile char *)p - ARENA),
	    .size = size,
	    .value = v,
	};
}

/* What this thread sees: its own stores, then memory. */
static uint64_t see(const volatile void *p, uint32_t size)
{
	uint64_t at = (uint64_t)((const volatile char *)p - ARENA);
	uint64_t v = read_memory(p, size);

	for (uint32_t i = 0; i < world.buffered[xp_self]; i++) {
		const struct buffered *b = &world.buffer[xp_self][i];

		for (uint32_t k = 0; k < b->size; k++)
			if (b->at + k - at < size)
				memcpy((char *)&v + (b->at + k - at),
				    (const char *)&b->value + k, 1);
	}
	return v;
}

/* What a seed has put off comes after the next store. */
static void after_store(void)
{
	struct buffered *b = &world.delayed[xp_self];

	if (b->size == 0 || --world.delayed_for[xp_self])
		return;
	into_buffer(ARENA + b->at, b->size, b->value);
	memset(b, 0, sizeof(*b));
}

static void put_off(volatile void *p, uint32_t size, uint64_t v)
{
	world.delayed_for[xp_self] = 1;
	after_store();
	world.delayed_for[xp_self] = seed->stores ? seed->stores : 1;
	world.delayed[xp_self] = (struct buffered){
	    .at = (uint32_t)((volatile char *)p - ARENA),
	    .size = size,
	    .value = v,
	};
}

uint64_t xp_load(struct xp_site *site, const volatile void *p, uint32_t size)
{
	uint64_t v;
	bool visible;

	if (!explored(site, p))
		return read_memory(p, size);
	visible = is_shared(p, size, true, false);
	if (visible)
		stand(site, p);
	v = see(p, size);
	if (effect_of(site) == XP_ALTER)
		v = seed->alter(v);
	if (visible)
		trace(site, p, "load", 0, v);
	return v;
}

void xp_store(
    struct xp_site *site, volatile void *p, uint32_t size, uint64_t value)
{
	uint64_t v = 0;
	enum xp_effect effect;
	bool seq = site->op == XP_STORE_SEQ, visible;

	memcpy(&v, &value, size);
	if (!explored(site, p)) {
		write_memory(p, size, v);
		return;
	}
	visible = is_shared(p, size, false, true);
	effect = effect_of(site);
	if (effect == XP_WEAKEN)
		seq = false;
	if (effect == XP_ALTER)
		v = seed->alter(v);
	/* Into the buffer is nobody else's business, unless one may die. */
	if (visible ? seq || bounds->buffer == 0 || bounds->deaths
		    : seq && world.buffered[xp_self])
		stand(site, p);
	if (effect == XP_SKIP) {
		trace(site, p, "(skipped)", 0, v);
		return;
	}
	if (visible)
		trace(site, p, seq ? "store seq" : "store", 0, v);
	if (effect == XP_DELAY) {
		put_off(p, size, v);
		return;
	}
	if (seq)
		drain(xp_self);
	if (seq || !visible)
		write_memory(p, size, v);
	else
		into_buffer(p, size, v);
	after_store();
}

uint64_t xp_change(struct xp_site *site, volatile void *p, uint32_t size,
    uint64_t from, uint64_t value)
{
	static const char *const op_names[] = {[XP_EXCHANGE] = "exchange",
	    [XP_ADD] = "add",
	    [XP_OR] = "or",
	    [XP_AND] = "and",
	    [XP_CAS] = "cas"};
	uint64_t old, v = 0, want = 0;
	enum xp_effect effect;
	const char *what = op_names[site->op];
	bool inside = explored(site, p), stores = true, visible = false;

	memcpy(&v, &value, size);
	memcpy(&want, &from, size);
	effect = inside ? effect_of(site) : XP_NONE;
	if (inside)
		visible = is_shared(p, size, true, true);
	if (visible || (inside && world.buffered[xp_self]))
		stand(site, p);
	if (inside && effect != XP_WEAKEN && effect != XP_DELAY)
		drain(xp_self);
	old = inside ? see(p, size) : read_memory(p, size);
	switch (site->op) {
	case XP_ADD:
		v += old;
		break;
	case XP_OR:
		v |= old;
		break;
	case XP_AND:
		v &= old;
		break;
	case XP_CAS:
		stores = old == want || effect == XP_BLIND;
		if (!stores) {
			what = "cas fails";
			v = want;
		}
		break;
	default:
		break;
	}
	if (size < 8)
		v &= (UINT64_C(1) << size * 8) - 1;
	if (effect == XP_ALTER)
		v = seed->alter(v);
	if (!inside) {
		if (stores)
			write_memory(p, size, v);
		return old;
	}
	if (effect == XP_SKIP)
		what = "(skipped)";
	if (visible)
		trace(site, p, what, old, v);
	if (!stores || effect == XP_SKIP)
		return effect == XP_SKIP ? want : old;
	if (effect == XP_DELAY) {
		put_off(p, size, v);
		return old;
	}
	if (effect == XP_WEAKEN) {
		if (visible) /* it is two accesses now */
			stand(site, p);
		into_buffer(p, size, v);
	} else {
		write_memory(p, size, v);
	}
	after_store();
	return effect == XP_BLIND ? want : old;
}

void xp_step_at(struct xp_site *site)
{
	if (!in_thread)
		return;
	stand(site, NULL);
	trace(site, NULL, "", 0, 0);
}

/* More words are shared than was known: how many are? */
uint64_t share(void)
{
	uint64_t count = 0;

	for (uint32_t i = 0; i < GRANULES; i++) {
		uint8_t all = (users[i] | users[i] >> 4) & 15;

		shared[i] = (users[i] >> 4) && (all & (all - 1));
		count += shared[i];
	}
	grown = false;
	return count;
}
