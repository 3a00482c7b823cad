/* SPDX-License-Identifier: MIT */
/*
 * descriptor.c - the region's table of message descriptors: [D] in channel.c
 */
#include <string.h>

#include "log.h"

uint32_t lshmi_desc_count(struct lshm_region *r)
{
	uint32_t k = 0;

	while (k < LSHMI_DESC_SEGMENTS &&
	       lshmi_load_acquire(&r->header->desc_segments[k]))
		k++;
	return ((1u << k) - 1) << SEGMENT_SHIFT;
}

int lshmi_desc_more(struct lshm_region *r)
{
	struct lshmi_lane *lane = lshmi_lane(r);
	uint32_t before = lshmi_desc_count(r), k = 0;
	uint64_t bytes;
	void *block;
	int ret;

	if (!lane)
		return lshmi_failed();
	ret = lshmi_lock_own(r, &r->header->directory_lock, "directory");
	if (ret < 0)
		return ret;
	ret = 0;
	if (lshmi_desc_count(r) != before)
		goto out; /* somebody else has */
	while (k < LSHMI_DESC_SEGMENTS && r->header->desc_segments[k])
		k++;
	if (k == LSHMI_DESC_SEGMENTS) {
		ret = lshmi_fail(ENOMEM, "the region has too many messages");
		goto out;
	}
	bytes = sizeof(struct lshmi_desc) << (SEGMENT_SHIFT + k);
	block = lshm_alloc_aligned(r, 64, bytes);
	if (!block) {
		ret = lshmi_failed();
		goto out;
	}
	memset(block, 0, bytes);
	ret = lshmi_replace(r, lane, &r->header->desc_segments[k],
	    (uint64_t)((char *)block - r->base), NULL);
out:
	lshmi_unlock(r, &r->header->directory_lock);
	return ret;
}

bool lshmi_desc_in_log(
    struct lshm_region *r, const struct lshmi_desc *d, uint32_t index)
{
	uint64_t position = lshmi_load_relaxed(&d->position), w;
	struct lshmi_end e;

	if (!lshmi_log_find(&e, r, lshmi_load_relaxed(&d->channel), 0))
		return false;
	w = lshmi_load_seq(slot_at(&e, position));
	return desc_of(w) == index && ahead(&e, w, position) == 0;
}

bool lshmi_desc_claim(
    struct lshm_region *r, struct lshmi_desc *d, uint32_t index)
{
	uint64_t was = lshmi_load_acquire(&d->word);

	if (state_of(was) == OWNED || state_of(was) == TAKEN ||
	    (state_of(was) != FREE && lshmi_desc_in_log(r, d, index)))
		return false;
	return lshmi_cas(
	    &d->word, was, turn(was & ~DELIVERIES, OWNED, r->slot, true));
}

int lshmi_desc_drop(
    struct lshm_region *r, struct lshmi_lane *lane, struct lshmi_desc *d)
{
	uint64_t old;
	int ret;

	if (!lshmi_load_relaxed(&d->payload))
		return 0;
	ret = lshmi_replace(r, lane, &d->payload, 0, &old);
	if (ret == 0)
		lshm_free(r, lshmi_at(r, old, 1));
	return ret;
}

void lshmi_desc_put(struct lshm_region *r, uint32_t index)
{
	struct lshmi_lane *lane = lshmi_lane(r);
	struct lshmi_desc *d = desc_at(r, index);
	uint64_t w = lshmi_load_relaxed(&d->word);

	if (lane && lshmi_desc_drop(r, lane, d) == 0)
		lshmi_cas(&d->word, w, turn(w, FREE, 0, false));
}
