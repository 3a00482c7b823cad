/* SPDX-License-Identifier: MIT */
/*
 * sweep.c - is a structure of one's own safe against kill -9?
 *
 * A diary in shared memory: entries are appended under a lock, and the count
 * says how many there are. The entry must be written before the count goes up:
 * whoever dies in between has then written nothing that anybody sees. The
 * wrong version counts first. Each is killed at every instruction that matters:
 *
 *     sweep          the right one
 *     sweep wrong    the other: tells where it was killed, and what was seen
 */
#include <string.h>

#include <libshm/libshm.h>
#include <libshm/testing.h>

#define CAPACITY 16

struct diary {
	struct lshm_mutex mutex;
	uint64_t count;
	struct {
		char text[56];
		uint64_t length;
	} entries[CAPACITY];
};

static void lock(struct lshm_region *region, struct diary *d)
{
	/* LSHM_OWNER_DIED: there is never anything to repair */
	LSHM_TESTING_EXPECT(
	    lshm_mutex_lock(region, &d->mutex, lshm_deadline_ms(5000)) >= 0);
}

/* ---- the two versions ---- */

static void append(struct diary *d, const char *text)
{
	strcpy(d->entries[d->count].text, text);
	d->entries[d->count].length = strlen(text);
	/* what is before it in the program is before it in memory */
	__atomic_store_n(&d->count, d->count + 1, __ATOMIC_RELEASE);
}

static void append_wrong(struct diary *d, const char *text)
{
	__atomic_store_n(&d->count, d->count + 1, __ATOMIC_SEQ_CST);
	strcpy(d->entries[d->count - 1].text, text);
	d->entries[d->count - 1].length = strlen(text);
}

/* ---- how they are swept ---- */

struct world {
	void (*append)(struct diary *d, const char *text);
	struct diary *diary; /* each process has its own address of it */
};

static void make_diary(struct lshm_region *region, void *arg)
{
	struct world *w = arg;
	void *block;

	LSHM_TESTING_EXPECT(lshm_object_create(region, "diary", "diary",
				sizeof(struct diary), NULL, NULL, &block) == 0);
	w->diary = block;
	w->append(w->diary, "monday");
}

static void open_diary(struct lshm_region *region, void *arg)
{
	struct world *w = arg;
	void *block;

	LSHM_TESTING_EXPECT(lshm_object_open(region, "diary", "diary",
				sizeof(struct diary), &block) == 0);
	w->diary = block;
}

static void append_one(struct lshm_region *region, void *arg)
{
	struct world *w = arg;

	lock(region, w->diary);
	w->append(w->diary, "tuesday");
	lshm_mutex_unlock(region, &w->diary->mutex);
}

static void diary_is_well(struct lshm_region *region, void *arg, int done)
{
	struct world *w = arg;
	struct diary *d = w->diary;

	lock(region, d);
	LSHM_TESTING_EXPECT(d->count == 1 || d->count == 2);
	LSHM_TESTING_EXPECT(!done || d->count == 2);
	w->append(d, "wednesday");
	for (uint64_t i = 0; i < d->count; i++)
		LSHM_TESTING_EXPECT(
		    d->entries[i].length >= 6 &&
		    strlen(d->entries[i].text) == d->entries[i].length);
	lshm_mutex_unlock(region, &d->mutex);
	LSHM_TESTING_EXPECT(lshm_object_remove(region, "diary", "diary") == 0);
}

int main(int argc, char **argv)
{
	int wrong = argc > 1 && strcmp(argv[1], "wrong") == 0;
	struct world world = {.append = wrong ? append_wrong : append};
	struct lshm_testing_operation op =
	    LSHM_TESTING_OPERATION(.name = "append", .prepare = make_diary,
		.begin = open_diary, .run = append_one, .check = diary_is_well,
		.arg = &world);
	struct lshm_testing_result result;

	return lshm_testing_report(
	    lshm_testing_sweep(&op, &result), &op, &result);
}
