/* SPDX-License-Identifier: MIT */
/*
 * step.c - what the sweeps of libshm's own operations share; see step.h
 */
#include "step.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>

/* A sweep of a step: the argument of libshm-testing's functions. */
struct sweep {
	const struct step *step;
	struct world world;
};

/* ---- a step as libshm-testing sees it ---- */

void find_shared(struct world *w)
{
	UT_OK(lshm_object_open(w->region, "shared", "shared",
	    sizeof(*w->shared), (void **)&w->shared));
}

void keep(struct world *w)
{
	w->books = CRASH_BOOKS(w->region);
	lshm_testing_keep(w->region);
}

static void prepare(struct lshm_region *region, void *arg)
{
	struct sweep *s = arg;
	struct world *w = &s->world;

	w->region = region;
	UT_OK(lshm_object_create(region, "shared", "shared", sizeof(*w->shared),
	    NULL, NULL, (void **)&w->shared));
	keep(w);
	if (s->step->prepare)
		s->step->prepare(w);
}

static void begin(struct lshm_region *region, void *arg)
{
	struct sweep *s = arg;
	struct world w = {.region = region};

	memcpy(w.sockets, s->world.sockets, sizeof(w.sockets));
	if (region) {
		find_shared(&w);
		if (!s->step->cold) /* its lane, and the linker's work */
			alloc_free(&w);
	}
	if (s->step->begin)
		s->step->begin(&w);
	s->world = w;
}

static void run(struct lshm_region *region, void *arg)
{
	struct sweep *s = arg;

	s->step->run(&s->world);
}

static void other(struct lshm_region *region, void *arg)
{
	struct sweep *s = arg;
	struct world w = {.region = region};

	find_shared(&w);
	s->step->other(&w);
}

static void meanwhile(struct lshm_region *region, void *arg)
{
	struct sweep *s = arg;

	s->step->meanwhile(&s->world);
}

static void rescue(struct lshm_region *region, void *arg)
{
	struct sweep *s = arg;
	struct world w = {.region = region};

	find_shared(&w);
	s->step->rescue(&w);
}

static void check(struct lshm_region *region, void *arg, int done)
{
	struct sweep *s = arg;

	s->world.done = done;
	s->step->finish(&s->world);
	CRASH_BALANCED(region, &s->world.books);
}

static void report(const char *name, const struct lshm_testing_result *r)
{
	const char *path = getenv("LSHM_CRASH_REPORT");
	char line[256];
	int fd;

	printf("%llu instructions, %llu system calls, %llu states, "
	       "%llu + %llu deaths, %llu strayed, %llu failures "
	       "(LSHM_TEST_SEED=%llu) ... ",
	    (unsigned long long)r->instructions,
	    (unsigned long long)r->system_calls, (unsigned long long)r->states,
	    (unsigned long long)r->kills, (unsigned long long)r->second_kills,
	    (unsigned long long)r->strayed, (unsigned long long)r->failures,
	    (unsigned long long)r->seed);
	fflush(stdout);
	if (!path)
		return;
	snprintf(line, sizeof(line),
	    "%s %s %s %llu %llu %llu %llu %llu %llu %llu\n",
	    program_invocation_short_name, name, ut_backend->name,
	    (unsigned long long)r->instructions,
	    (unsigned long long)r->system_calls, (unsigned long long)r->states,
	    (unsigned long long)r->kills, (unsigned long long)r->second_kills,
	    (unsigned long long)r->strayed, (unsigned long long)r->failures);
	fd = open(path, O_WRONLY | O_APPEND | O_CREAT, 0600);
	/* one write of one line: others write there, too */
	if (fd < 0 || write(fd, line, strlen(line)) != (ssize_t)strlen(line))
		ut_fail(UT_AT("LSHM_CRASH_REPORT"), "%s: %m", path);
	close(fd);
}

bool step_sweep(const char *name, const struct step *step, bool quiet,
    struct lshm_testing_result *result)
{
	struct sweep sweep = {.step = step};
	/* what must be caught does not go by the scale */
	uint32_t samples = quiet ? 16 : (uint32_t)ut_scale(16);
	struct lshm_region_opts region = LSHM_REGION_OPTS(.size = REGION,
	    .max_size = step->rigid ? REGION : 16 * MIB,
	    .max_participants = step->participants ? step->participants : 8);
	struct lshm_testing_operation op =
	    LSHM_TESTING_OPERATION(.name = name, .region_name = ut_new_name(),
		.region = &region, .arg = &sweep, .prepare = prepare,
		.begin = begin, .other = step->other ? other : NULL,
		.meanwhile = step->meanwhile ? meanwhile : NULL, .run = run,
		.check = check, .rescue = step->rescue ? rescue : NULL,
		.samples = samples,
		.first_deaths = step->first_deaths ? step->first_deaths
						   : (uint32_t)ut_scale(2),
		.second_deaths = samples, .timeout_s = step->timeout_s,
		.flags = step->attaches ? LSHM_TESTING_ATTACHES : 0);
	int ret = lshm_testing_sweep(&op, result);

	report(name, result);
	if (ret < 0)
		ut_fail(UT_AT("lshm_testing_sweep()"), "%s: %s", name,
		    strerror(-ret));
	if (result->failures && !quiet)
		lshm_testing_report(ret, &op, result);
	return result->failures != 0;
}

/* ---- the heap ---- */

void alloc_small(struct world *w)
{
	w->block = lshm_alloc(w->region, SMALL_BLOCK);
	UT_SOME(w->block);
	crash_fill(w->block, FILLED, 1000);
}

void alloc_large(struct world *w)
{
	w->block = lshm_alloc(w->region, LARGE_BLOCK);
	UT_SOME(w->block);
}

void alloc_grows(struct world *w)
{
	w->block = lshm_alloc(w->region, 4 * MIB);
	UT_SOME(w->block);
}

void free_block(struct world *w)
{
	UT_OK(lshm_free(w->region, w->block));
}

void alloc_free(struct world *w)
{
	alloc_small(w);
	free_block(w);
}

void finish_heap(struct world *w)
{
	CRASH_BALANCED(w->region, &w->books);
	alloc_free(w);
	alloc_large(w);
	free_block(w);
	alloc_grows(w);
	free_block(w);
}

/* ---- a lock, a field and its block ---- */

void lock(struct world *w)
{
	int ret = lshm_mutex_lock(w->region, &w->shared->mutex, UT_SOON);

	UT_TRUE(ret == 0 || ret == LSHM_OWNER_DIED);
}

void unlock(struct world *w)
{
	UT_OK(lshm_mutex_unlock(w->region, &w->shared->mutex));
}

void take_over(struct world *w)
{
	UT_EQ(LSHM_OWNER_DIED,
	    lshm_mutex_lock(w->region, &w->shared->mutex, UT_SOON));
}

void attach(struct world *w)
{
	UT_OK(lshm_attach(
	    w->region, &w->shared->mutex, &w->shared->field, w->block));
}

void detach(struct world *w)
{
	UT_OK(lshm_detach(
	    w->region, &w->shared->mutex, &w->shared->field, &w->block));
}

void replace(struct world *w)
{
	UT_OK(lshm_replace(w->region, &w->shared->mutex, &w->shared->field,
	    w->block, &w->block));
}

void lock_with_block(struct world *w)
{
	alloc_small(w);
	lock(w);
}

void prepare_small(struct world *w)
{
	lock_with_block(w);
	attach(w);
	unlock(w);
}

void finish_field(struct world *w)
{
	struct crash_books before = w->books, now = CRASH_BOOKS(w->region);

	UT_EQ(before.attached_blocks + (w->shared->field != 0),
	    now.attached_blocks);
	lock(w);
	if (w->shared->field) {
		detach(w);
		UT_CMP(lshm_usable_size(w->region, w->block), >=, SMALL_BLOCK);
		free_block(w);
	}
	alloc_small(w);
	attach(w);
	detach(w);
	free_block(w);
	unlock(w);
}

void finish_replace(struct world *w)
{
	lshm_off old = lshm_offset(w->region, w->block);

	UT_TRUE(w->shared->field);
	UT_TRUE(!w->done || w->shared->field != old);
	finish_field(w);
}

/* ---- a channel ---- */

const struct lshm_channel_opts broadcast =
    LSHM_CHANNEL_OPTS(.mode = LSHM_BROADCAST, .depth = 4);
const struct lshm_channel_opts work =
    LSHM_CHANNEL_OPTS(.mode = LSHM_WORK, .depth = 4);

void open_producer(struct world *w)
{
	UT_OK(lshm_producer_open(&w->out, w->region, "c", NULL));
}

void close_producer(struct world *w)
{
	lshm_producer_close(w->out);
}

void open_consumer(struct world *w)
{
	UT_OK(lshm_consumer_open(&w->in, w->region, "c", NULL));
}

void close_consumer(struct world *w)
{
	lshm_consumer_close(w->in);
}

void loan(struct world *w)
{
	UT_OK(lshm_producer_loan(w->out, MESSAGE, LSHM_NOW, &w->block));
	crash_fill(w->block, FILLED, 5);
}

void publish(struct world *w)
{
	UT_OK(lshm_producer_publish(w->out, w->block, LSHM_NOW));
}

void send_one(struct world *w)
{
	loan(w);
	publish(w);
}

void take(struct world *w)
{
	UT_OK(lshm_consumer_take(w->in, &w->message, LSHM_NOW));
	UT_EQ(5, CRASH_WHOLE(w->message.data, FILLED));
}

void release(struct world *w)
{
	UT_OK(lshm_consumer_release(w->in, &w->message));
}

static void prepare_channel(
    struct world *w, const struct lshm_channel_opts *opts)
{
	for (int again = 0; again < 2; again++) {
		UT_OK(lshm_producer_open(&w->out, w->region, "c", opts));
		open_consumer(w);
		for (w->next = 0; w->next < 9; w->next++) {
			send_one(w);
			take(w);
			release(w);
		}
		if (again)
			break;
		/* The table of descriptors stays: what is left are the books */
		close_producer(w);
		close_consumer(w);
		UT_OK(lshm_channel_remove(w->region, "c"));
		keep(w);
	}
}

void prepare_broadcast(struct world *w)
{
	prepare_channel(w, &broadcast);
}

void prepare_work(struct world *w)
{
	prepare_channel(w, &work);
}

void prepare_work_waiting(struct world *w)
{
	prepare_channel(w, &work);
	send_one(w);
	send_one(w);
}

void fill_log(struct world *w)
{
	for (int i = 0; i < 4; i++)
		send_one(w);
}

struct lshm_channel_info channel_info(struct world *w)
{
	struct lshm_channel_info info;

	UT_OK(lshm_channel_stat(w->region, "c", &info));
	return info;
}

uint64_t drain(struct world *w, bool may_miss)
{
	struct lshm_message m;
	uint64_t got = 0;

	for (; lshm_consumer_take(w->in, &m, LSHM_NOW) == 0; got++) {
		UT_EQ(MESSAGE, m.size);
		UT_EQ(5, CRASH_WHOLE(m.data, FILLED));
		UT_TRUE(m.sequence == w->next ||
			(may_miss && m.sequence == w->next + 1));
		UT_CMP(m.deliveries, <=, 2);
		w->next = m.sequence + 1;
		UT_OK(lshm_consumer_release(w->in, &m));
	}
	UT_EQ(w->next, channel_info(w).published);
	UT_EQ(0, channel_info(w).backlog);
	return got;
}

void finish_channel(struct world *w)
{
	w->next = channel_info(w).published;
	UT_EQ(1, channel_info(w).producers);
	UT_EQ(1, channel_info(w).consumers);
	for (int i = 0; i < 9; i++) {
		send_one(w);
		UT_EQ(1, drain(w, false));
	}
	while (lshm_producer_send(w->out, w->shared, 8, LSHM_NOW) == 0)
		;
	UT_EQ(4, channel_info(w).backlog);
	close_producer(w);
	close_consumer(w);
	UT_OK(lshm_channel_remove(w->region, "c"));
}

void finish_two(struct world *w)
{
	lshm_region_reap(w->region);
	UT_EQ(2, drain(w, false));
	finish_channel(w);
}

/* ---- a victim, and who comes after it ---- */

static void be_victim(struct lshm_region *region, int fd, void *arg)
{
	ut_body *const *body = arg;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	(*body)(region, fd, NULL);
}

void start_victim(struct world *w, ut_body *body)
{
	w->victim = ut_spawn(w->region, 0, be_victim, &body);
}

static void holder_body(struct lshm_region *region, int fd, void *arg)
{
	void (*const *hold)(struct world * w) = arg;
	struct world w = {.region = region};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	find_shared(&w);
	(*hold)(&w);
	ut_say(fd, 0);
	pause();
}

void start_holder(struct world *w, void (*hold)(struct world *w))
{
	w->victim = ut_spawn(w->region, 0, holder_body, &hold);
	ut_hear(w->victim.fd);
}

void open_region(struct world *w)
{
	UT_OK(lshm_testing_attach(&w->region));
}

void hold_much(struct world *w)
{
	lock_with_block(w);
	attach(w);
	alloc_large(w);
	alloc_small(w);
	open_consumer(w);
	take(w);
	open_producer(w);
	loan(w);
}

void finish_much(struct world *w)
{
	lshm_region_reap(w->region);
	UT_EQ(2, drain(w, false));
	take_over(w);
	UT_TRUE(w->shared->field);
	detach(w);
	UT_EQ(1000, CRASH_WHOLE(w->block, FILLED));
	free_block(w);
	unlock(w);
	finish_channel(w);
}

void prepare_victim(struct world *w)
{
	prepare_work_waiting(w);
	start_holder(w, hold_much);
}

void kill_victim(struct world *w)
{
	ut_kill(&w->victim);
}

void prepare_dead(struct world *w)
{
	prepare_victim(w);
	kill_victim(w);
}

void reap(struct world *w)
{
	UT_EQ(1, lshm_region_reap(w->region));
}
