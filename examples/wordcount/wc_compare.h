/* SPDX-License-Identifier: MIT */
/* wc_compare.h - the same count by coreutils, and how the two differ */
#ifndef WC_COMPARE_H
#define WC_COMPARE_H

#include <stdbool.h>
#include <stdint.h>

/** struct table_sum - of a table of words: their number, and how many differ */
struct table_sum {
	uint64_t words;
	uint64_t different;
};

/**
 * table_by_coreutils() - count the words of files into the file @table
 * @files: ends with NULL
 *
 * Return: did it go well?
 */
bool table_by_coreutils(const char *table, char *const *files);

/**
 * table_compare() - print the first differences between two tables
 * @sum: of @ours
 *
 * Return: how many there are.
 */
uint64_t table_compare(
    const char *ours, const char *theirs, struct table_sum *sum);

/** table_print_top() - print the most frequent words */
bool table_print_top(const char *table);

#endif
