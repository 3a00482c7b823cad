/* SPDX-License-Identifier: MIT */
/*
 * wordcount.c - count words with several processes, and check the result
 *
 * The launcher makes a region, starts wc_reducer, the wc_workers and wc_reader
 * on it, waits for them, and compares their table with coreutils'. It tells
 * each of them another address for the region, to show that nothing in it
 * depends on where it is mapped. However it ends, clean_up() runs.
 */
#include "wc_children.h"
#include "wc_common.h"
#include "wc_compare.h"

#include <bsd/err.h>
#include <bsd/string.h>
#include <errno.h>
#include <fts.h>
#include <ftw.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const char usage[] =
    "usage: wordcount [OPTION]... [FILE|DIRECTORY]...\n"
    "Count the words of all the files with several processes that share\n"
    "memory, and compare the result with coreutils'. The default is to read\n"
    "the files in /usr/share/common-licenses.\n"
    "\n"
    "  --workers N     so many processes count (4)\n"
    "  --backend NAME  where the memory is from: posix, file, memfd or kernel\n"
    "                  (posix)\n"
    "  --region NAME   what to call it; for the file backend, a path\n"
    "                  (wordcount-PID; $TMPDIR/wordcount-PID.lshm)\n"
    "  --chunk BYTES   of text in a message (65536)\n"
    "  --output FILE   write the table of words there\n"
    "  --progress      show how far it is\n"
    "  --look COMMAND  stop reading half-way, run COMMAND, go on. It finds in\n"
    "                  its environment WORDCOUNT_REGION, a name for shmctl,\n"
    "                  and the process numbers WORDCOUNT_LAUNCHER, _READER,\n"
    "                  _REDUCER and _WORKERS\n"
    "  --delay MS      let workers sleep so long over each chunk, to be looked\n"
    "                  at\n"
    "  --keep          leave the region there\n"
    "  --help\n"
    "\n"
    "Exit: 0 the counts are identical; 1 they are not, or something failed;\n"
    "2 a wrong option; 128 + N ended by signal N.\n"
    "\n"
    "If the launcher is killed with SIGKILL the others end too, and\n"
    "`shmctl rm NAME` removes the region.\n";

/* The addresses to ask for: far from everything, and from one another. */
#define ADDRESS_FIRST UINT64_C(0x200000000000)
#define ADDRESS_STEP  UINT64_C(0x001000000000)

/* How long a job that has failed may take to end by itself. */
#define GRACE_NS INT64_C(15000000000)

static const struct backend {
	const char *name;
	const char *prefix; /* of the region's name */
} backends[] = {{"posix", "posix:"}, {"file", "file:"}, {"memfd", "memfd:"},
    {"kernel", "kernel:"}};

static struct {
	/* options */
	const struct backend *backend;
	const char *region;
	const char *output;
	const char *look;
	uint32_t workers;
	uint32_t chunk;
	uint32_t delay_ms;
	bool progress;
	bool keep;
	/* the text */
	char **files; /* ends with NULL */
	size_t n_files;
	uint64_t bytes;
	/* where things are */
	char name[PATH_MAX]; /* of the region */
	char tmp[PATH_MAX];  /* our directory for temporary files */
	char table[PATH_MAX + 16];
	char reference[PATH_MAX + 16];
	struct wc wc;
	/* times, by now_ns() */
	int64_t start_ns;
	int64_t shown_ns;
	int64_t look_ns;
	int64_t looked_ns; /* how long the look took */
	int64_t failed_ns; /* when the job had failed */
} job = {
    .backend = &backends[0],
    .workers = 4,
    .chunk = WC_CHUNK,
};

static bool is_memfd(void)
{
	return !strcmp(job.backend->name, "memfd");
}

static int64_t now_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}

static int remove_path(
    const char *path, const struct stat *stat, int type, struct FTW *ftw)
{
	return remove(path);
}

/* At exit: end what runs, remove what was made. */
static void clean_up(void)
{
	children_kill();
	if (job.wc.region) {
		wc_detach(&job.wc);
		if (job.keep)
			printf("the region %s is kept\n", job.name);
		else if (!is_memfd())
			lshm_region_unlink(job.name, LSHM_BACKEND_DEFAULT);
	}
	if (*job.tmp)
		nftw(job.tmp, remove_path, 8, FTW_DEPTH | FTW_PHYS);
}

/* --- the text ------------------------------------------------------------ */

static void add_file(const char *path, uint64_t bytes)
{
	job.files =
	    reallocarray(job.files, job.n_files + 2, sizeof(*job.files));
	if (!job.files || !(job.files[job.n_files++] = strdup(path)))
		err(1, NULL);
	job.files[job.n_files] = NULL;
	job.bytes += bytes;
}

static int by_name(const FTSENT **a, const FTSENT **b)
{
	return strcmp((*a)->fts_name, (*b)->fts_name);
}

/* Find the files named, and those below the directories named. */
static void find_files(char *const *paths)
{
	FTS *fts = fts_open(
	    paths, FTS_PHYSICAL | FTS_COMFOLLOW | FTS_NOCHDIR, by_name);
	FTSENT *entry;

	if (!fts)
		err(1, "fts_open");
	while ((entry = fts_read(fts))) {
		switch (entry->fts_info) {
		case FTS_F:
			add_file(entry->fts_path, entry->fts_statp->st_size);
			break;
		case FTS_DNR:
		case FTS_ERR:
		case FTS_NS:
			errc(1, entry->fts_errno, "%s", entry->fts_path);
		case FTS_DEFAULT:
		case FTS_SLNONE:
			if (entry->fts_level == FTS_ROOTLEVEL)
				errx(1, "%s: no file or directory",
				    entry->fts_path);
		}
	}
	fts_close(fts);
	if (!job.n_files)
		errx(1, "no files found");
}

/* --- starting ------------------------------------------------------------ */

static void make_names(void)
{
	const char *tmp = getenv("TMPDIR");
	bool file = !strcmp(job.backend->name, "file");
	char region[PATH_MAX / 2];

	tmp = tmp && *tmp ? tmp : "/tmp";
	snprintf(region, sizeof(region), "%s%swordcount-%d%s", file ? tmp : "",
	    file ? "/" : "", getpid(), file ? ".lshm" : "");
	snprintf(job.name, sizeof(job.name), "%s%s", job.backend->prefix,
	    job.region ? job.region : region);
	snprintf(job.tmp, sizeof(job.tmp), "%s/wordcount.XXXXXX", tmp);
	if (!mkdtemp(job.tmp)) {
		*job.tmp = '\0';
		err(1, "%s", tmp);
	}
	snprintf(job.table, sizeof(job.table), "%s/table", job.tmp);
	snprintf(job.reference, sizeof(job.reference), "%s/ref", job.tmp);
	if (job.output)
		strlcpy(job.table, job.output, sizeof(job.table));
	setenv("TMPDIR", job.tmp, 1); /* for sort */
}

/* Each process gets another address. */
static void *next_address(void)
{
	static uint64_t n;

	return (void *)(uintptr_t)(ADDRESS_FIRST + n++ * ADDRESS_STEP);
}

/* A command line being put together. */
struct args {
	char **list; /* ends with NULL */
	size_t n;
};

__attribute__((format(printf, 2, 3))) static void arg(
    struct args *args, const char *format, ...)
{
	va_list list;

	args->list = reallocarray(args->list, args->n + 2, sizeof(*args->list));
	va_start(list, format);
	if (!args->list || vasprintf(&args->list[args->n++], format, list) < 0)
		errx(1, "out of memory");
	va_end(list);
	args->list[args->n] = NULL;
}

static void free_args(struct args *args)
{
	for (size_t i = 0; i < args->n; i++)
		free(args->list[i]);
	free(args->list);
}

/* The program beside this one, and the options that all take. */
static void common_args(struct args *args, const char *program)
{
	char self[PATH_MAX] = "";

	if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
		err(1, "/proc/self/exe");
	*strrchr(self, '/') = '\0';
	arg(args, "%s/%s", self, program);
	arg(args, "--parent=%d", getpid());
	arg(args, "--address=%p", next_address());
	if (is_memfd())
		arg(args, "--socket=3");
	else
		arg(args, "--region=%s", job.name);
}

/* Start one program; a memfd region waits for it in a socket. */
static void start(enum child_kind kind, uint32_t number, struct args *args)
{
	int pair[2] = {-1, -1};

	if (is_memfd()) {
		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
			err(1, "socketpair");
		if (lshm_region_send(job.wc.region, pair[1], 0) < 0)
			errx(1, "cannot hand on: %s", lshm_error());
	}
	child_start(kind, number, args->list, pair[0]);
	if (pair[0] >= 0) {
		close(pair[0]);
		close(pair[1]);
	}
	free_args(args);
}

static void start_all(void)
{
	struct args reducer = {}, reader = {};

	common_args(&reducer, "wc_reducer");
	arg(&reducer, "--output=%s", job.table);
	start(CHILD_REDUCER, 0, &reducer);
	for (uint32_t i = 1; i <= job.workers; i++) {
		struct args worker = {};

		common_args(&worker, "wc_worker");
		arg(&worker, "--number=%u", i);
		arg(&worker, "--delay=%u", job.delay_ms);
		start(CHILD_WORKER, i, &worker);
	}
	common_args(&reader, "wc_reader");
	arg(&reader, "--workers=%u", job.workers);
	arg(&reader, "--chunk=%u", job.chunk);
	if (job.look)
		arg(&reader, "--stop-at=%ju", (uintmax_t)job.bytes / 2);
	arg(&reader, "--");
	for (size_t i = 0; i < job.n_files; i++)
		arg(&reader, "%s", job.files[i]);
	start(CHILD_READER, 0, &reader);
}

/* --- while it runs ------------------------------------------------------- */

static void show_progress(bool done)
{
	bool terminal = isatty(STDOUT_FILENO);
	int64_t now = now_ns();
	double counted = WC_GET(job.wc.job->counted_bytes);
	double seconds = (now - job.start_ns - job.looked_ns) / 1e9;

	if (!job.progress || job.look_ns ||
	    (!done && now - job.shown_ns < (terminal ? 100e6 : 1e9)))
		return;
	job.shown_ns = now;
	printf("%s%3.0f %%  %.1f of %.1f MB  %.1f MB/s%s", terminal ? "\r" : "",
	    job.bytes ? 100 * counted / job.bytes : 100, counted / 1e6,
	    job.bytes / 1e6, counted / 1e6 / seconds,
	    terminal && !done ? "  " : "\n");
	fflush(stdout);
}

static void set_number(const char *name, intmax_t number)
{
	char text[32];

	snprintf(text, sizeof(text), "%jd", number);
	setenv(name, text, 1);
}

/* A memfd region has no name but that of a descriptor in /proc. */
static void find_memfd_name(void)
{
	struct lshm_region_info info;
	struct stat stat;

	if (lshm_region_stat(job.wc.region, &info) < 0)
		errx(1, "cannot look at the region: %s", lshm_error());
	for (int fd = 0; fd < 1024; fd++)
		if (fstat(fd, &stat) == 0 && stat.st_ino == info.inode &&
		    stat.st_dev == info.device)
			snprintf(job.name, sizeof(job.name),
			    "file:/proc/%d/fd/%d", getpid(), fd);
}

/* The reader has stopped half-way: run the command. */
static void look(void)
{
	const char *const argv[] = {"/bin/sh", "-c", job.look, NULL};
	char workers[16 * LSHM_ENDPOINTS_MAX] = "";
	char worker[16];

	for (uint32_t i = 1; i <= job.workers; i++) {
		snprintf(worker, sizeof(worker), "%s%d", i > 1 ? " " : "",
		    children_find(CHILD_WORKER, i)->pid);
		strlcat(workers, worker, sizeof(workers));
	}
	setenv("WORDCOUNT_WORKERS", workers, 1);
	setenv("WORDCOUNT_REGION", job.name, 1);
	set_number("WORDCOUNT_LAUNCHER", getpid());
	set_number("WORDCOUNT_READER", children_find(CHILD_READER, 0)->pid);
	set_number("WORDCOUNT_REDUCER", children_find(CHILD_REDUCER, 0)->pid);
	show_progress(true);
	job.look_ns = now_ns();
	child_start(CHILD_SHELL, 0, (char *const *)argv, -1);
	job.look = NULL;
}

/* The command has ended: go on. */
static void look_no_more(void)
{
	const struct child *reader = children_find(CHILD_READER, 0);

	job.looked_ns = now_ns() - job.look_ns;
	job.look_ns = 0;
	if (reader->state != CHILD_ENDED)
		kill(reader->pid, SIGCONT);
}

/* Can nobody do what is left to be done? */
static bool has_failed(void)
{
	return children_failed(CHILD_READER) ||
	       children_failed(CHILD_REDUCER) ||
	       children_failed(CHILD_WORKER) == job.workers;
}

/* A child has ended or stopped. */
static void news(const struct child *child)
{
	if (child->kind == CHILD_SHELL && child->state == CHILD_ENDED)
		look_no_more();
	if (child->kind == CHILD_READER && child->state == CHILD_STOPPED &&
	    job.look)
		look();
	if (!job.failed_ns && has_failed())
		job.failed_ns = now_ns();
}

/* Wait until all have ended. Return: is there a result? */
static bool wait_for_all(void)
{
	while (children_running()) {
		const struct child *child = children_next(50);

		if (child)
			news(child);
		show_progress(false);
		if (job.failed_ns && now_ns() - job.failed_ns > GRACE_NS) {
			warnx("some are still there: ending them by force");
			children_signal(SIGKILL);
			job.failed_ns = now_ns();
		}
	}
	return !has_failed();
}

/* --- afterwards ---------------------------------------------------------- */

/* Was the region at another address in each process? */
static bool check_places(void)
{
	const struct wc_place *place = job.wc.job->place;
	uint64_t n = WC_GET(job.wc.job->places);

	for (uint64_t i = 0; i < n && i < WC_PLACES_MAX; i++)
		for (uint64_t k = 0; k < i; k++)
			if (place[i].base && place[i].base == place[k].base) {
				warnx("pid %ju and pid %ju both have the "
				      "region at 0x%jx",
				    (uintmax_t)place[k].pid,
				    (uintmax_t)place[i].pid,
				    (uintmax_t)place[i].base);
				return false;
			}
	printf("%ju processes, at %ju different addresses\n", (uintmax_t)n,
	    (uintmax_t)n);
	return true;
}

static void report_repeats(void)
{
	struct lshm_channel_info info;
	uint64_t repeats = WC_GET(job.wc.job->repeats);

	if (lshm_channel_stat(job.wc.region, WC_CHUNKS, &info) == 0 &&
	    (info.redelivered || repeats))
		printf("%ju chunks delivered again, %ju counted twice and "
		       "ignored\n",
		    (uintmax_t)info.redelivered, (uintmax_t)repeats);
}

/* Return: the exit status. */
static int check_result(int64_t ns)
{
	double seconds = ns / 1e9;
	struct table_sum sum;
	uint64_t differences;
	int64_t theirs_ns = now_ns();

	printf("counting again, with coreutils\n");
	if (!table_by_coreutils(job.reference, job.files))
		errx(1, "coreutils cannot count");
	theirs_ns = now_ns() - theirs_ns;
	differences = table_compare(job.table, job.reference, &sum);
	printf("wordcount: %.3f s, %.1f MB in %zu files, %.1f MB/s; "
	       "%ju words, %ju different\n",
	    seconds, job.bytes / 1e6, job.n_files, job.bytes / 1e6 / seconds,
	    (uintmax_t)sum.words, (uintmax_t)sum.different);
	report_repeats();
	printf("coreutils: %.3f s\n", theirs_ns / 1e9);
	printf("the most frequent words:\n");
	if (!table_print_top(job.table))
		errx(1, "cannot sort %s", job.table);
	if (differences) {
		printf("%ju words are counted differently\n",
		    (uintmax_t)differences);
		return 1;
	}
	printf("identical\n");
	return 0;
}

static const struct backend *find_backend(const char *name)
{
	for (size_t i = 0; i < sizeof(backends) / sizeof(*backends); i++)
		if (!strcmp(backends[i].name, name))
			return &backends[i];
	errx(2, "--backend %s: posix, file, memfd or kernel", name);
}

static void parse_options(int argc, char **argv)
{
	static const struct option table[] = {
	    {"backend", required_argument, NULL, 'b'},
	    {"chunk", required_argument, NULL, 'c'},
	    {"delay", required_argument, NULL, 'd'},
	    {"help", no_argument, NULL, 'h'},
	    {"keep", no_argument, NULL, 'k'},
	    {"look", required_argument, NULL, 'l'},
	    {"output", required_argument, NULL, 'o'},
	    {"progress", no_argument, NULL, 'p'},
	    {"region", required_argument, NULL, 'r'},
	    {"workers", required_argument, NULL, 'w'},
	    {},
	};
	int c;

	while ((c = getopt_long(argc, argv, "h", table, NULL)) != -1) {
		switch (c) {
		case 'b':
			job.backend = find_backend(optarg);
			break;
		case 'c':
			job.chunk = wc_number("chunk", optarg, 2, WC_CHUNK_MAX);
			break;
		case 'd':
			job.delay_ms = wc_number("delay", optarg, 0, 60000);
			break;
		case 'h':
			fputs(usage, stdout);
			exit(0);
		case 'k':
			job.keep = true;
			break;
		case 'l':
			job.look = optarg;
			break;
		case 'o':
			job.output = optarg;
			break;
		case 'p':
			job.progress = true;
			break;
		case 'r':
			job.region = optarg;
			break;
		case 'w':
			job.workers =
			    wc_number("workers", optarg, 1, LSHM_ENDPOINTS_MAX);
			break;
		default:
			fputs(usage, stderr);
			exit(2);
		}
	}
}

int main(int argc, char **argv)
{
	static char *const texts[] = {"/usr/share/common-licenses", NULL};
	int64_t ns;

	setlinebuf(stderr); /* the others have it, too */
	parse_options(argc, argv);
	find_files(argv[optind] ? argv + optind : texts);
	children_begin();
	atexit(clean_up);
	make_names();
	if (wc_create(&job.wc, job.name, next_address()) < 0)
		return 1;
	if (is_memfd())
		find_memfd_name();
	job.start_ns = job.shown_ns = now_ns();
	start_all();
	if (!wait_for_all())
		errx(1, "no result");
	show_progress(true);
	ns = now_ns() - job.start_ns - job.looked_ns;
	if (!check_places())
		return 1;
	return check_result(ns);
}
