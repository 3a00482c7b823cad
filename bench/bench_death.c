/* SPDX-License-Identifier: MIT */
/*
 * bench_death.c - how long the living wait for the dead, and what it costs
 *
 * A process that holds what another waits for is killed with SIGKILL at a
 * random moment. Measured is the time from just before kill(2) until the waiter
 * goes on; the kernel's part, taking the dead one's memory down, is in it.
 */
#include "bench.h"

#include <err.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define IDLE 80 /* units of --time, for which sleeps are counted */

/*
 * @hold: what the one who dies does, beforehand
 * @wait: how the other one waits for it
 * @after: when it is killed, in units of --time, and up to half as much again
 */
struct death {
	void (*hold)(struct lshm_region *r);
	void (*wait)(struct lshm_region *r);
	unsigned int after;
};

/* An object of the region. */
struct held {
	struct lshm_mutex mutex;
};

static struct held *find(struct lshm_region *r)
{
	void *block;
	int ret = lshm_object_create(
	    r, "held", "held", sizeof(struct held), NULL, NULL, &block);

	if (ret == -EEXIST)
		ret = lshm_object_open(
		    r, "held", "held", sizeof(struct held), &block);
	bench_must(ret);
	return block;
}

static void hold_mutex(struct lshm_region *r)
{
	bench_must(lshm_mutex_lock(r, &find(r)->mutex, LSHM_NOW));
}

static void wait_mutex(struct lshm_region *r)
{
	struct held *held = find(r);

	if (lshm_mutex_lock(r, &held->mutex, LSHM_FOREVER) != LSHM_OWNER_DIED)
		errx(EXIT_FAILURE, "the lock's owner is not known as dead");
	bench_must(lshm_mutex_unlock(r, &held->mutex));
}

static const struct lshm_channel_opts opts = LSHM_CHANNEL_OPTS();

static void hold_producer(struct lshm_region *r)
{
	struct lshm_producer *out;

	bench_must(lshm_producer_open(&out, r, "c", &opts));
}

static void wait_consumer(struct lshm_region *r)
{
	struct lshm_message m;
	struct lshm_consumer *in;

	bench_must(lshm_consumer_open(&in, r, "c", &opts));
	if (lshm_consumer_take(in, &m, LSHM_FOREVER) != -EPIPE)
		errx(EXIT_FAILURE, "the producer is not known as dead");
	lshm_consumer_close(in);
}

static void nap(const struct bench *b, double units)
{
	uint64_t ns = (uint64_t)(units * (double)b->ns);
	struct timespec t = {
	    (time_t)(ns / 1000000000), (long)(ns % 1000000000)};

	nanosleep(&t, NULL);
}

/* Fork a process that goes when this one goes, and get its end of a socket. */
static pid_t start(int *fd)
{
	pid_t parent = getpid(), pid;
	int sockets[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) < 0)
		err(EXIT_FAILURE, "socketpair");
	pid = fork();
	if (pid < 0)
		err(EXIT_FAILURE, "fork");
	*fd = sockets[pid == 0];
	close(sockets[pid != 0]);
	if (pid == 0 &&
	    (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent))
		_exit(EXIT_FAILURE);
	return pid;
}

/* Start one who attaches and holds; return when it does. Then it waits. */
static pid_t start_one(struct lshm_region *r,
    void (*hold)(struct lshm_region *), void (*wait)(struct lshm_region *))
{
	struct lshm_region *own;
	pid_t pid;
	char c = 0;
	int fd;

	pid = start(&fd);
	if (pid == 0) {
		bench_must(lshm_region_receive(&own, fd, 0, NULL));
		if (hold)
			hold(own);
		if (write(fd, &c, 1) != 1)
			_exit(EXIT_FAILURE);
		if (wait)
			wait(own);
		pause();
		_exit(0);
	}
	bench_must(lshm_region_send(r, fd, 0));
	if (read(fd, &c, 1) != 1)
		errx(EXIT_FAILURE, "the one to die was not ready");
	close(fd);
	return pid;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* Make the region as it was. */
static void clear(struct lshm_region *r)
{
	lshm_region_reap(r);
	lshm_object_remove(r, "held", "held");
	lshm_channel_remove(r, "c");
}

/* Milliseconds from the kill until the waiter goes on. */
static double detect(struct bench *b, const struct bench_case *c)
{
	const struct death *d = c->with;
	volatile uint64_t *killed = b->memory;
	pid_t victim, killer;
	double ms;
	int fd;

	bench_meet(b);
	if (b->role != 0)
		return 0;
	victim = start_one(b->region, d->hold, NULL);
	srandom((unsigned int)bench_now());
	killer = start(&fd);
	if (killer == 0) {
		nap(b, d->after + (double)random() / RAND_MAX * d->after / 2);
		*killed = bench_now();
		kill(victim, SIGKILL);
		_exit(0);
	}
	close(fd);
	d->wait(b->region);
	ms = (double)(bench_now() - *killed) / 1e6;
	waitpid(victim, NULL, 0);
	waitpid(killer, NULL, 0);
	clear(b->region);
	return ms;
}

/* How often a process has gone to sleep of itself. */
static double sleeps_of(pid_t pid)
{
	char path[64], line[128];
	long n = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		sscanf(line, "voluntary_ctxt_switches: %ld", &n);
	if (!f || n < 0)
		errx(EXIT_FAILURE, "%s: no voluntary_ctxt_switches", path);
	fclose(f);
	return (double)n;
}

/* Sleeps a second of one who waits, and has for a while; or does not wait. */
static double idle(struct bench *b, const struct bench_case *c)
{
	const struct death *d = c->with;
	pid_t holder, waiter;
	double before, sleeps;

	bench_meet(b);
	if (b->role != 0)
		return 0;
	holder = start_one(b->region, d->hold, NULL);
	waiter = start_one(b->region, NULL, d->wait);
	nap(b, d->after);
	before = sleeps_of(waiter);
	nap(b, IDLE);
	sleeps = (sleeps_of(waiter) - before) * 1e9 / (IDLE * (double)b->ns);
	end(waiter);
	end(holder);
	clear(b->region);
	return sleeps;
}

#define DEATH(...) (&(const struct death){__VA_ARGS__})
#define SOON	   "from kill(2) until one who waits for 10 x --time goes on, ms"
#define LATE	   "from kill(2) until one who waits for 60 x --time goes on, ms"
#define SLEEP	   "one who has waited for 60 x --time: sleeps a second"

static const struct bench_case cases[] = {
    {SOON, "mutex", NULL, detect, DEATH(hold_mutex, wait_mutex, 10)},
    {SOON, "channel", NULL, detect, DEATH(hold_producer, wait_consumer, 10)},
    {LATE, "mutex", NULL, detect, DEATH(hold_mutex, wait_mutex, 60)},
    {LATE, "channel", NULL, detect, DEATH(hold_producer, wait_consumer, 60)},
    {SLEEP, "mutex", NULL, idle, DEATH(hold_mutex, wait_mutex, 60)},
    {SLEEP, "channel", NULL, idle, DEATH(hold_producer, wait_consumer, 60)},
    {SLEEP, "nobody waits", NULL, idle, DEATH(hold_mutex, NULL, 10)},
};

int main(int argc, char **argv)
{
	static const struct bench_program program = {
	    .summary = "How long it takes to notice that the process one waits "
		       "for is dead, and what\nit costs meanwhile.",
	    .cases = cases,
	    .count = sizeof(cases) / sizeof(cases[0]),
	    .memory = sizeof(uint64_t),
	    .zero = true,
	};

	return bench_main(argc, argv, &program);
}
