/* SPDX-License-Identifier: MIT */
/* bench.c - see bench.h */
#include "bench.h"

#include <bsd/stdlib.h>
#include <err.h>
#include <getopt.h>
#include <jansson.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define REPETITIONS_MAX 1000
#define REGION_SIZE	(UINT64_C(64) << 20)

/* Between the program and its workers, followed by a figure of each. */
struct common {
	pthread_barrier_t barrier;
	double figures[];
};

static const struct bench_program *program;
static unsigned int repetitions = 7;
static const char *backend = "memfd";
static unsigned int milliseconds = 50;
static bool json;
static int cpus[2];
static struct common *common;

static double *figure(unsigned int role, unsigned int repetition, size_t c)
{
	return &common->figures[(role * repetitions + repetition) *
				    program->count +
				c];
}

/* -- for the cases -------------------------------------------------------- */

void bench_meet(const struct bench *b)
{
	int ret = pthread_barrier_wait(&common->barrier);

	if (ret != 0 && ret != PTHREAD_BARRIER_SERIAL_THREAD)
		errx(EXIT_FAILURE, "worker %u: pthread_barrier_wait: %s",
		    b->role, strerror(ret));
}

void bench_pin(const struct bench *b, unsigned int role)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(b->cores[role], &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		err(EXIT_FAILURE, "cannot run on core %d", b->cores[role]);
}

uint64_t bench_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double bench_median(double *values, size_t count)
{
	qsort(values, count, sizeof(*values), compare);
	return (values[(count - 1) / 2] + values[count / 2]) / 2;
}

void bench_laps_begin(struct bench_laps *l, const struct bench *b)
{
	*l = (struct bench_laps){
	    .ns = b->ns / BENCH_LAPS,
	    .begin = bench_now(),
	};
}

bool bench_laps_add(struct bench_laps *l, uint64_t count)
{
	uint64_t now = bench_now();

	l->count += count;
	if (now - l->begin < l->ns || l->done == BENCH_LAPS)
		return l->done == BENCH_LAPS;
	l->rates[l->done++] = (double)l->count * 1e3 / (double)(now - l->begin);
	l->begin = now;
	l->count = 0;
	return l->done == BENCH_LAPS;
}

double bench_laps_end(struct bench_laps *l)
{
	return l->done ? bench_median(l->rates, l->done) : 0;
}

void bench_failed(void)
{
	errx(EXIT_FAILURE, "%s", lshm_error());
}

/* -- the workers ---------------------------------------------------------- */

void bench_share(const struct bench *b, struct lshm_region **region)
{
	if (b->role == 0)
		bench_must(lshm_region_send(*region, b->socket, 0));
	else
		bench_must(lshm_region_receive(region, b->socket, 0, NULL));
}

struct lshm_region *bench_region(
    const char *kind, unsigned int flags, const struct lshm_region_opts *opts)
{
	struct lshm_region *r;
	char name[64];

	snprintf(name, sizeof(name), "%s:bench-%d", kind, (int)getpid());
	bench_must(
	    lshm_region_open(&r, name, LSHM_CREATE | LSHM_EXCL | flags, opts));
	lshm_region_unlink(name, LSHM_BACKEND_DEFAULT);
	return r;
}

static void open_region(struct bench *b)
{
	struct lshm_region_opts opts =
	    LSHM_REGION_OPTS(.size = REGION_SIZE, .max_size = 16 * REGION_SIZE);

	if (b->role == 0)
		b->region = bench_region(backend, 0, &opts);
	bench_share(b, &b->region);
}

static void work(struct bench *b)
{
	const struct bench_case *c;

	bench_pin(b, b->role);
	open_region(b);
	for (unsigned int i = 0; i < repetitions; i++) {
		for (size_t k = 0; k < program->count; k++) {
			c = &program->cases[k];
			bench_meet(b);
			*figure(b->role, i, k) = c->run(b, c);
			bench_meet(b);
		}
	}
	lshm_region_close(b->region);
}

static pid_t start(unsigned int role, int socket, void *memory)
{
	struct bench b = {
	    .role = role,
	    .cores = {cpus[0], cpus[1]},
	    .one_core = cpus[0] == cpus[1],
	    .ns = milliseconds * UINT64_C(1000000),
	    .memory = memory,
	    .socket = socket,
	};
	pid_t parent = getpid(), pid = fork();

	if (pid < 0)
		err(EXIT_FAILURE, "fork");
	if (pid > 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(EXIT_FAILURE);
	work(&b);
	_exit(EXIT_SUCCESS);
}

static void *share(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		err(EXIT_FAILURE, "mmap");
	return memory;
}

static void measure(void)
{
	size_t count = 2 * program->count * repetitions;
	void *memory = program->memory ? share(program->memory) : NULL;
	pthread_barrierattr_t attr;
	bool failed = false;
	int sockets[2], status;
	pid_t pids[2], pid;

	common = share(sizeof(*common) + count * sizeof(double));
	pthread_barrierattr_init(&attr);
	pthread_barrierattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_barrier_init(&common->barrier, &attr, 2);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sockets) < 0)
		err(EXIT_FAILURE, "socketpair");
	for (unsigned int role = 0; role < 2; role++)
		pids[role] = start(role, sockets[role], memory);
	while ((pid = wait(&status)) > 0) {
		if (status == 0 || failed)
			continue;
		failed = true;
		kill(pids[pid == pids[0]], SIGKILL);
		if (WIFSIGNALED(status))
			warnx("worker %d: %s", pid == pids[1],
			    strsignal(WTERMSIG(status)));
	}
	if (failed)
		exit(EXIT_FAILURE);
}

/* -- the report ----------------------------------------------------------- */

/* Of all repetitions: the figures of case @c, or their ratios to case @over. */
static double *series(size_t c, const size_t *over)
{
	double *values = calloc(repetitions, sizeof(*values)), by;

	if (!values)
		err(EXIT_FAILURE, NULL);
	for (unsigned int i = 0; i < repetitions; i++) {
		values[i] = *figure(0, i, c) + *figure(1, i, c);
		if (values[i] < 0 || (values[i] == 0 && !program->zero))
			errx(EXIT_FAILURE, "\"%s, %s\" was not measured",
			    program->cases[c].group, program->cases[c].name);
		if (!over)
			continue;
		by = *figure(0, i, *over) + *figure(1, i, *over);
		values[i] /= by;
	}
	return values;
}

static size_t find_case(const char *group, const char *name)
{
	for (size_t i = 0; i < program->count; i++)
		if (strcmp(program->cases[i].group, group) == 0 &&
		    strcmp(program->cases[i].name, name) == 0)
			return i;
	errx(EXIT_FAILURE, "there is no case \"%s, %s\"", group, name);
}

static json_t *report_case(size_t k)
{
	const struct bench_case *c = &program->cases[k];
	double *figures = series(k, NULL), *ratios;
	json_t *list = json_array(), *value;
	double median;
	size_t over;

	for (unsigned int i = 0; i < repetitions; i++)
		json_array_append_new(list, json_real(figures[i]));
	median = bench_median(figures, repetitions);
	value = json_pack("{s:s, s:s, s:o, s:f, s:f, s:f}", "group", c->group,
	    "name", c->name, "figures", list, "median", median, "min",
	    figures[0], "max", figures[repetitions - 1]);
	free(figures);
	if (!c->over)
		return value;
	over = find_case(c->group, c->over);
	ratios = series(k, &over);
	json_object_set_new(value, "over", json_string(c->over));
	json_object_set_new(
	    value, "ratio", json_real(bench_median(ratios, repetitions)));
	free(ratios);
	return value;
}

static json_t *report(void)
{
	json_t *cases = json_array();

	for (size_t k = 0; k < program->count; k++)
		json_array_append_new(cases, report_case(k));
	return json_pack("{s:s, s:s, s:[i,i], s:i, s:i, s:s, s:o}", "program",
	    getprogname(), "version", lshm_version(), "cores", cpus[0], cpus[1],
	    "repetitions", (int)repetitions, "milliseconds", (int)milliseconds,
	    "note", program->note ? program->note : "", "cases", cases);
}

static const char *text(const json_t *value, const char *key)
{
	return json_string_value(json_object_get(value, key));
}

static double number(const json_t *value, const char *key)
{
	return json_number_value(json_object_get(value, key));
}

/* Three digits, as a table wants them. */
static const char *three(char *text, size_t size, double value)
{
	int after = value < 10 ? 2 : value < 100 ? 1 : 0;

	snprintf(text, size, "%.*f", value < 1 ? 3 : after, value);
	return text;
}

static void print_table(const json_t *value)
{
	const char *group = "", *over;
	char median[32], min[32], max[32], range[80];
	json_t *c;
	size_t k;

	printf("%s, libshm %s, cores %d and %d: %u repetitions of %u ms each, "
	       "median (min-max)\n",
	    text(value, "program"), text(value, "version"), cpus[0], cpus[1],
	    repetitions, milliseconds);
	printf("%s", text(value, "note"));
	json_array_foreach(json_object_get(value, "cases"), k, c)
	{
		if (strcmp(group, text(c, "group")) != 0)
			printf("\n%s\n", text(c, "group"));
		group = text(c, "group");
		over = text(c, "over");
		snprintf(range, sizeof(range), "(%s-%s)",
		    three(min, sizeof(min), number(c, "min")),
		    three(max, sizeof(max), number(c, "max")));
		printf("  %-30s %7s %-15s", text(c, "name"),
		    three(median, sizeof(median), number(c, "median")), range);
		if (over)
			printf(" %6.2f x %s", number(c, "ratio"), over);
		printf("\n");
	}
}

/* -- options -------------------------------------------------------------- */

static void help(void)
{
	printf(
	    "usage: %s [OPTION...]\n\n%s\n\n"
	    "  --repetitions N  how often each case is run (default %u)\n"
	    "  --time MS        how long each time (default %u)\n"
	    "  --cores A,B      the cores to use; may be the same one twice\n"
	    "  --backend NAME   posix, memfd or kernel (memfd)\n"
	    "  --json           print JSON\n"
	    "  --help           print this\n",
	    getprogname(), program->summary, repetitions, milliseconds);
}

static unsigned int parse(const char *option, const char *value, int max)
{
	const char *wrong;
	long long n = strtonum(value, 1, max, &wrong);

	if (wrong)
		errx(EXIT_FAILURE, "--%s '%s' is %s: expected 1 to %d", option,
		    value, wrong, max);
	return (unsigned int)n;
}

/* Does the kernel say that two cores are threads of one? */
static bool siblings(int a, int b)
{
	char path[2][80], line[2][256] = {"", ""};
	FILE *file;

	for (int i = 0; i < 2; i++) {
		snprintf(path[i], sizeof(path[i]),
		    "/sys/devices/system/cpu/cpu%d/topology/core_cpus_list",
		    i ? b : a);
		file = fopen(path[i], "r");
		if (!file)
			return false;
		if (!fgets(line[i], sizeof(line[i]), file))
			line[i][0] = '\0';
		fclose(file);
	}
	return strcmp(line[0], line[1]) == 0;
}

/* The first core allowed, and the first one that shares nothing with it. */
static void choose_cores(void)
{
	cpu_set_t set;
	int second = -1;

	if (sched_getaffinity(0, sizeof(set), &set) < 0)
		err(EXIT_FAILURE, "sched_getaffinity");
	cpus[0] = -1;
	for (int i = 0; i < CPU_SETSIZE; i++) {
		if (!CPU_ISSET(i, &set))
			continue;
		if (cpus[0] < 0)
			cpus[0] = i;
		else if (second < 0 || siblings(cpus[0], second))
			second = i;
	}
	if (second >= 0 && siblings(cpus[0], second))
		warnx("cores %d and %d are two threads of one core", cpus[0],
		    second);
	cpus[1] = second < 0 ? cpus[0] : second;
}

static void parse_options(int argc, char **argv)
{
	static const struct option options[] = {
	    {"repetitions", required_argument, NULL, 'r'},
	    {"time", required_argument, NULL, 't'},
	    {"cores", required_argument, NULL, 'c'},
	    {"backend", required_argument, NULL, 'b'},
	    {"json", no_argument, NULL, 'j'},
	    {"help", no_argument, NULL, 'h'},
	    {NULL, 0, NULL, 0},
	};
	bool chosen = false;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'r':
			repetitions =
			    parse("repetitions", optarg, REPETITIONS_MAX);
			break;
		case 't':
			milliseconds = parse("time", optarg, 10000);
			break;
		case 'c':
			if (sscanf(optarg, "%d,%d", &cpus[0], &cpus[1]) != 2)
				errx(EXIT_FAILURE,
				    "--cores '%s': expected two numbers, as in "
				    "0,1",
				    optarg);
			chosen = true;
			break;
		case 'b':
			backend = optarg;
			break;
		case 'j':
			json = true;
			break;
		case 'h':
			help();
			exit(EXIT_SUCCESS);
		default:
			errx(EXIT_FAILURE, "try --help");
		}
	}
	if (optind != argc)
		errx(EXIT_FAILURE, "unexpected \"%s\": try --help",
		    argv[optind]);
	if (!chosen)
		choose_cores();
}

int bench_main(int argc, char **argv, const struct bench_program *what)
{
	json_t *value;

	program = what;
	parse_options(argc, argv);
	if (cpus[0] == cpus[1])
		warnx("only core %d is used: the workers take turns, and what "
		      "is measured is the scheduler",
		    cpus[0]);
	measure();
	value = report();
	if (json)
		json_dumpf(value, stdout, JSON_INDENT(2));
	else
		print_table(value);
	if (json)
		printf("\n");
	json_decref(value);
	if (fflush(stdout) != 0)
		err(EXIT_FAILURE, "writing the report");
	return EXIT_SUCCESS;
}
