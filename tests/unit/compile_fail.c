/* SPDX-License-Identifier: MIT */
/*
 * compile_fail.c - typed offsets: right as it is, wrong with -DMISTAKE_...
 *
 * Compiled by compile_fail.sh both ways, so that a mistake is refused for
 * what it is and not for something else.
 */
#include <libshm/offset.h>

struct node {
	LSHM_OFF(struct node) next;
	LSHM_OFF(double) weight;
};

void link_nodes(struct lshm_region *region, struct node *from, struct node *to,
    double *weight)
{
#if defined(MISTAKE_SET_POINTER)
	LSHM_SET(region, from->weight, (float *)weight);
#else
	LSHM_SET(region, from->weight, weight);
#endif
#if defined(MISTAKE_SET_STRUCT)
	LSHM_SET(region, from->next, weight);
#else
	LSHM_SET(region, from->next, to);
#endif
}

struct node *follow(struct lshm_region *region, struct node *from)
{
#if defined(MISTAKE_PTR_TYPE)
	return LSHM_PTR(region, from->weight);
#else
	return LSHM_PTR(region, from->next);
#endif
}
