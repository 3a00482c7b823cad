/* SPDX-License-Identifier: MIT */
/*
 * participants.h - what the tests of participants share: looking at them
 */
#ifndef LIBSHM_TEST_PARTICIPANTS_H
#define LIBSHM_TEST_PARTICIPANTS_H

#include "unit.h"

/** The participant with this pid, or one whose state is FREE. */
static inline struct lshm_participant_info find(
    struct lshm_region *region, pid_t pid)
{
	struct lshm_participant_info info;

	for (uint32_t i = 0; i < ut_info(region).max_participants; i++) {
		UT_OK(lshm_region_participant(region, i, &info));
		UT_EQ(i, info.slot);
		if (info.state != LSHM_PARTICIPANT_FREE &&
		    info.pid == (uint32_t)pid)
			return info;
	}
	return (struct lshm_participant_info){0};
}

#endif
