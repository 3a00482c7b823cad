/* SPDX-License-Identifier: MIT */
/*
 * scenario_table.c - the table of participants is full
 */
#include "scenario.h"

UT_TEST(table_full, UT_EACH)
{
	struct lshm_region *region = ut_create(&few_slots), *extra;
	struct ut_child children[SLOTS - 1];

	make_shared(region);
	for (int round = 0; round < 4; round++) {
		for (int i = 0; i < SLOTS - 1; i++) {
			children[i] = ut_spawn(
			    region, 0, i ? wait_body : hold_body, NULL);
			ut_hear(children[i].fd);
		}
		UT_ERR(-EUSERS, ut_try_reopen(&extra, region, 0, NULL),
		    "max_participants");
		UT_EQ(SLOTS, count_state(region, LSHM_PARTICIPANT_ALIVE));
		UT_EQ(round * (SLOTS - 1), deaths(region));
		for (int i = 0; i < SLOTS - 1; i++)
			ut_kill(&children[i]);
		/* Nobody has reaped them when the next ones come. */
		UT_EQ(SLOTS - 1, count_state(region, LSHM_PARTICIPANT_DEAD));
		extra = ut_reopen(region, 0);
		UT_EQ(2, count_state(region, LSHM_PARTICIPANT_ALIVE));
		UT_EQ(0, count_state(region, LSHM_PARTICIPANT_DEAD));
		lshm_region_close(extra);
		inherit_lock(region);
	}
	TELL("3 newcomers after 3 dead, 4 times; -EUSERS after 4 living",
	    "%llu deaths, -EUSERS each time",
	    (unsigned long long)deaths(region));
	end_balanced(region);
}

/* Nobody at all is alive. */
UT_TEST(table_full_of_dead_only, UT_NAMED)
{
	struct lshm_region *region = ut_create(&few_slots);
	struct ut_child children[SLOTS];

	make_shared(region);
	lshm_region_close(region);
	for (int i = 0; i < SLOTS; i++) {
		children[i] =
		    ut_spawn(region, 0, i ? wait_body : hold_body, NULL);
		ut_hear(children[i].fd);
	}
	for (int i = 0; i < SLOTS; i++)
		ut_kill(&children[i]);
	UT_OK(lshm_region_open(&region, ut_name, 0, NULL));
	TELL("4 dead reaped by the first newcomer", "%llu deaths",
	    (unsigned long long)deaths(region));
	UT_EQ(SLOTS, deaths(region));
	UT_EQ(1, count_state(region, LSHM_PARTICIPANT_ALIVE));
	inherit_lock(region);
	end_balanced(region);
}
