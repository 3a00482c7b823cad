/* SPDX-License-Identifier: MIT */
/*
 * wc_table.h - words and their counts
 *
 * A word is a longest run of the letters A-Z and a-z, counted in lower case:
 *
 *     tr -cs A-Za-z '\n' | tr A-Z a-z | sort | uniq -c
 */
#ifndef WC_TABLE_H
#define WC_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** wc_is_letter() - may @c be part of a word? */
static inline bool wc_is_letter(unsigned char c)
{
	return (unsigned char)((c | 0x20) - 'a') < 26;
}

/** struct wc_word - a word of a table, and how often it came */
struct wc_word {
	uint64_t count;
	size_t offset; /* into the table's text */
	uint32_t length;
	uint32_t hash;
};

/**
 * struct wc_table - words and their counts; all zero is an empty one
 * @words, @n_words, @words_max: in the order they came
 * @slots, @n_slots: the index, 1 + a place in @words; n_slots is a power of 2
 * @text, @text_used, @text_max: their letters
 */
struct wc_table {
	struct wc_word *words;
	size_t n_words;
	size_t words_max;
	uint32_t *slots;
	size_t n_slots;
	char *text;
	size_t text_used;
	size_t text_max;
};

/**
 * wc_table_add() - count a word @count times more
 * wc_table_add_text() - count each word of a text
 *
 * Return: 0; -ENOMEM.
 */
int wc_table_add(
    struct wc_table *table, const char *word, uint32_t length, uint64_t count);
int wc_table_add_text(struct wc_table *table, const char *text, size_t size);

/** wc_table_sort() - by the words' bytes; nothing can be added any more */
void wc_table_sort(struct wc_table *table);

/** wc_table_clear() - make it empty, keep its memory */
void wc_table_clear(struct wc_table *table);

/** wc_table_free() - make it empty, free its memory */
void wc_table_free(struct wc_table *table);

#endif
