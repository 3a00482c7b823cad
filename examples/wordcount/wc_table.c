/* SPDX-License-Identifier: MIT */
/* wc_table.c - words and their counts; see the header */
#include "wc_table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Make room for @more elements after the first @used. */
static int reserve(
    void *array, size_t element, size_t used, size_t more, size_t *max)
{
	size_t want = used + more < 2 * *max ? 2 * *max : used + more;
	void *larger;

	if (used + more <= *max)
		return 0;
	larger = reallocarray(*(void **)array, want, element);
	if (!larger)
		return -ENOMEM;
	*(void **)array = larger;
	*max = want;
	return 0;
}

/* Where the word is in the index, or where it would go. */
static uint32_t *find_slot(
    struct wc_table *t, const char *word, uint32_t length, uint32_t hash)
{
	size_t at = hash & (t->n_slots - 1);

	for (; t->slots[at]; at = (at + 1) & (t->n_slots - 1)) {
		const struct wc_word *w = &t->words[t->slots[at] - 1];

		if (w->hash == hash && w->length == length &&
		    !memcmp(t->text + w->offset, word, length))
			break;
	}
	return &t->slots[at];
}

/* Keep at least half of the index empty. */
static int grow_index(struct wc_table *t)
{
	size_t n_slots = t->n_slots ? 2 * t->n_slots : 4096;
	uint32_t *slots;

	if (t->n_words < t->n_slots / 2)
		return 0;
	slots = calloc(n_slots, sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	for (size_t i = 0; i < t->n_words; i++) {
		size_t at = t->words[i].hash & (n_slots - 1);

		while (slots[at])
			at = (at + 1) & (n_slots - 1);
		slots[at] = i + 1;
	}
	free(t->slots);
	t->slots = slots;
	t->n_slots = n_slots;
	return 0;
}

/* FNV-1a, one letter at a time. */
#define HASH_START	    UINT32_C(2166136261)
#define HASH_MORE(hash, ch) (((hash) ^ (uint8_t)(ch)) * UINT32_C(16777619))

static int add(struct wc_table *t, const char *word, uint32_t length,
    uint32_t hash, uint64_t count)
{
	uint32_t *slot;

	if (grow_index(t) < 0)
		return -ENOMEM;
	slot = find_slot(t, word, length, hash);
	if (!*slot) {
		if (reserve(&t->words, sizeof(*t->words), t->n_words, 1,
			&t->words_max) < 0 ||
		    reserve(&t->text, 1, t->text_used, length, &t->text_max) <
			0)
			return -ENOMEM;
		/* wc_table_add_text() has the word there already */
		memmove(t->text + t->text_used, word, length);
		t->words[t->n_words++] = (struct wc_word){
		    .offset = t->text_used,
		    .length = length,
		    .hash = hash,
		};
		t->text_used += length;
		*slot = t->n_words;
	}
	t->words[*slot - 1].count += count;
	return 0;
}

int wc_table_add(
    struct wc_table *t, const char *word, uint32_t length, uint64_t count)
{
	uint32_t hash = HASH_START;

	for (uint32_t i = 0; i < length; i++)
		hash = HASH_MORE(hash, word[i]);
	return add(t, word, length, hash, count);
}

int wc_table_add_text(struct wc_table *t, const char *text, size_t size)
{
	uint32_t hash = HASH_START, length = 0;

	/* each word is spelt where it will stay if it is new */
	if (reserve(&t->text, 1, t->text_used, size, &t->text_max) < 0)
		return -ENOMEM;
	for (size_t i = 0; i <= size; i++) {
		unsigned char c = i < size ? text[i] | 0x20 : 0;
		char *word = t->text + t->text_used;

		if (wc_is_letter(c)) {
			word[length++] = c;
			hash = HASH_MORE(hash, c);
		} else if (length) {
			if (add(t, word, length, hash, 1) < 0)
				return -ENOMEM;
			hash = HASH_START;
			length = 0;
		}
	}
	return 0;
}

static int by_bytes(const void *left, const void *right, void *text)
{
	const struct wc_word *a = left, *b = right;
	size_t length = a->length < b->length ? a->length : b->length;
	int order =
	    memcmp((char *)text + a->offset, (char *)text + b->offset, length);

	return order ? order
		     : (a->length > b->length) - (a->length < b->length);
}

void wc_table_sort(struct wc_table *t)
{
	if (t->n_words)
		qsort_r(
		    t->words, t->n_words, sizeof(*t->words), by_bytes, t->text);
}

void wc_table_clear(struct wc_table *t)
{
	t->n_words = 0;
	t->text_used = 0;
	if (t->slots)
		memset(t->slots, 0, t->n_slots * sizeof(*t->slots));
}

void wc_table_free(struct wc_table *t)
{
	free(t->words);
	free(t->slots);
	free(t->text);
	*t = (struct wc_table){};
}
