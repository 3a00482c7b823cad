/* SPDX-License-Identifier: MIT */
/*
 * unit.c - the harness of the unit tests; see unit.h
 */
#include "unit.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include <CUnit/Basic.h>

#include <libshm/uapi.h>

#include "../../libshm/atomic.h"

#define EXIT_SKIPPED 77

/* Another backend is one more row. */
static const struct ut_backend backends[] = {
    {"posix", LSHM_BACKEND_POSIX, true, true},
    {"memfd", LSHM_BACKEND_MEMFD, false, false},
    {"file", LSHM_BACKEND_FILE, true, true},
    {"kernel", LSHM_BACKEND_KERNEL, true, false},
};

static STAILQ_HEAD(, ut_test) tests = STAILQ_HEAD_INITIALIZER(tests);
static const char *program;
static char directory[128]; /* of this run */
static pid_t harness;	    /* its process */
static unsigned int skipped;
static volatile sig_atomic_t running;	  /* the process group of a test */
static volatile sig_atomic_t interrupted; /* by SIGINT or SIGTERM */
static uint64_t total_checks;

/* Shared by the harness and all processes of a test. */
static struct shared {
	uint64_t checks;
	uint32_t names;
} * shared;

const struct ut_backend *ut_backend;
char ut_name[256];

void ut_add(struct ut_test *test)
{
	STAILQ_INSERT_TAIL(&tests, test, link);
}

static long from_environment(const char *name, long otherwise)
{
	const char *value = getenv(name);

	return value ? strtol(value, NULL, 0) : otherwise;
}

/* ---- assertions ---- */

static void count_check(void)
{
	lshmi_fetch_add(&shared->checks, 1);
}

void ut_fail(struct ut_at at, const char *format, ...)
{
	va_list arguments;

	fflush(stdout);
	fprintf(stderr, "\n    %s:%d: %s\n      ", at.file, at.line, at.text);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	fflush(stderr);
	_exit(EXIT_FAILURE);
}

void ut_check(struct ut_at at, bool good)
{
	count_check();
	if (!good)
		ut_fail(at, "expected this to be so; it is not");
}

void ut_check_cmp(struct ut_at at, bool good, uint64_t left, uint64_t right)
{
	count_check();
	if (!good)
		ut_fail(at,
		    "left %" PRId64 " (0x%" PRIx64 "), right %" PRId64
		    " (0x%" PRIx64 ")",
		    (int64_t)left, left, (int64_t)right, right);
}

void ut_check_ok(struct ut_at at, int ret, int least)
{
	count_check();
	if (ret < least || (!least && ret))
		ut_fail(
		    at, "expected success, seen %d: \"%s\"", ret, lshm_error());
}

void ut_check_string(struct ut_at at, const char *expected, const char *seen)
{
	count_check();
	if (!seen || strcmp(expected, seen) != 0)
		ut_fail(at, "expected \"%s\", seen \"%s\"", expected,
		    seen ? seen : "(null)");
}

void ut_check_message(struct ut_at at, const char *const *words)
{
	const char *message = lshm_error();

	count_check();
	if (getenv("LSHM_TEST_VERBOSE"))
		printf("    %s\n      \"%s\"\n", at.text, message);
	if (!message[0])
		ut_fail(at, "failed as expected, but lshm_error() is empty");
	for (; *words; words++)
		if (!strcasestr(message, *words))
			ut_fail(at,
			    "the message has no \"%s\" in it:\n      \"%s\"",
			    *words, message);
}

void ut_check_error(
    struct ut_at at, int expected, int seen, const char *const *words)
{
	count_check();
	if (seen != expected)
		ut_fail(at, "expected %d (%s), seen %d (%s): \"%s\"", expected,
		    strerror(-expected), seen,
		    seen < 0 ? strerror(-seen) : "no error", lshm_error());
	ut_check_message(at, words);
}

void ut_skip(const char *reason, ...)
{
	va_list arguments;

	printf("skipped: ");
	va_start(arguments, reason);
	vprintf(reason, arguments);
	va_end(arguments);
	printf(" ... ");
	fflush(stdout);
	_exit(EXIT_SKIPPED);
}

/* ---- figures ---- */

uint64_t ut_scale(uint64_t n)
{
	uint64_t scaled =
	    n * (uint64_t)from_environment("LSHM_TEST_SCALE", 100) / 100;

	return scaled ? scaled : 1;
}

uint64_t ut_seed(void)
{
	struct timespec now;
	uint64_t seed;

	clock_gettime(CLOCK_REALTIME, &now);
	seed = (uint64_t)from_environment("LSHM_TEST_SEED",
	    (long)((uint64_t)now.tv_nsec * 1000 + (uint64_t)now.tv_sec) &
		0x7fffffff);
	printf("LSHM_TEST_SEED=%" PRIu64 " ... ", seed);
	fflush(stdout);
	return seed;
}

/* splitmix64 */
uint64_t ut_random(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

struct lshm_region_info ut_info(struct lshm_region *region)
{
	struct lshm_region_info info;

	memset(&info, 0xff, sizeof(info));
	UT_OK(lshm_region_stat(region, &info));
	return info;
}

struct lshm_heap_info ut_heap(struct lshm_region *region)
{
	struct lshm_heap_info info;

	UT_OK(lshm_heap_stat(region, &info));
	return info;
}

void ut_allow_mapping(bool allow)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_AS, &limit) < 0)
		ut_fail(UT_AT("getrlimit()"), "%m");
	limit.rlim_cur = allow ? limit.rlim_max : 0;
	if (setrlimit(RLIMIT_AS, &limit) < 0)
		ut_fail(UT_AT("setrlimit()"), "%m");
}

unsigned int ut_count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned int n = 0;

	if (!dir)
		ut_fail(UT_AT("opendir(/proc/self/fd)"), "%m");
	while (readdir(dir))
		n++;
	closedir(dir);
	return n - 3; /* ".", ".." and the directory itself */
}

/* ---- regions ---- */

const char *ut_dir(void)
{
	return directory;
}

const char *ut_new_name(void)
{
	uint32_t n = lshmi_fetch_add(&shared->names, 1) + 1;

	if (ut_backend->id == LSHM_BACKEND_FILE)
		snprintf(ut_name, sizeof(ut_name), "file:%s/region.%u",
		    directory, n);
	else
		snprintf(ut_name, sizeof(ut_name), "%s:ut.%d.%u",
		    ut_backend->name, (int)harness, n);
	return ut_name;
}

const char *ut_path(const char *name)
{
	static char path[300];
	const char *rest = strchr(name, ':');

	rest = rest ? rest + 1 : name;
	if (strncmp(name, "file:", 5) == 0)
		snprintf(path, sizeof(path), "%s", rest);
	else
		snprintf(path, sizeof(path), "/dev/shm/lshm.%s", rest);
	return path;
}

static int open_device(void)
{
	int fd = open(LSHM_IOC_DEVICE, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		ut_fail(UT_AT("open(" LSHM_IOC_DEVICE ")"), "%m");
	return fd;
}

int ut_open_backing(const char *name, int flags)
{
	struct lshm_ioc_open o = {
	    .size = sizeof(o),
	    .name = (uintptr_t)strchr(name, ':') + 1,
	    .rights = (flags & O_ACCMODE) == O_RDONLY ? LSHM_IOC_RIGHT_READ : 0,
	};
	int device, ret;

	if (ut_backend->files)
		return open(ut_path(name), flags | O_CLOEXEC);
	device = open_device();
	ret = ioctl(device, LSHM_IOC_OPEN, &o);
	close(device);
	return ret < 0 ? -1 : o.fd;
}

int ut_make_backing(const char *name, uint64_t size)
{
	struct lshm_ioc_create c = {
	    .size = sizeof(c),
	    .length = (size + 4095) / 4096 * 4096,
	    .mode = 0600,
	    .node = -1,
	};
	int device, ret;

	if (ut_backend->files)
		return open(
		    ut_path(name), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (ut_backend->id == LSHM_BACKEND_MEMFD)
		return memfd_create("lshm.ut", MFD_CLOEXEC);
	c.name = (uintptr_t)strchr(name, ':') + 1;
	device = open_device();
	ret = ioctl(device, LSHM_IOC_CREATE, &c);
	close(device);
	return ret < 0 ? -1 : c.fd;
}

bool ut_exists(const char *name)
{
	int fd;

	if (ut_backend->files)
		return access(ut_path(name), F_OK) == 0;
	fd = ut_open_backing(name, O_RDONLY);
	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

struct ut_listing {
	const char *prefix;
	unsigned int n;
	char example[256];
};

static int list_one(const char *name, void *arg)
{
	struct ut_listing *l = arg;

	if (strncmp(name, l->prefix, strlen(l->prefix)) == 0) {
		strlcpy(l->example, name, sizeof(l->example));
		l->n++;
	}
	return 0;
}

unsigned int ut_count_regions(const char *name)
{
	struct ut_listing l = {.prefix = name};
	char directory_of[300], *base;
	struct dirent *entry;
	DIR *dir;

	if (!ut_backend->files) {
		UT_OK(lshm_region_list(list_one, &l));
		return l.n;
	}
	strlcpy(directory_of, ut_path(name), sizeof(directory_of));
	base = strrchr(directory_of, '/');
	*base++ = '\0';
	dir = opendir(directory_of);
	UT_SOME(dir);
	while ((entry = readdir(dir)))
		l.n += strncmp(entry->d_name, base, strlen(base)) == 0;
	closedir(dir);
	return l.n;
}

struct lshm_region *ut_create(const struct lshm_region_opts *opts)
{
	struct lshm_region *region;

	UT_OK(lshm_region_open(
	    &region, ut_new_name(), LSHM_CREATE | LSHM_EXCL, opts));
	return region;
}

static void make_sockets(int sockets[2])
{
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0)
		ut_fail(UT_AT("socketpair()"), "%m");
}

int ut_try_reopen(struct lshm_region **out, struct lshm_region *region,
    unsigned int flags, const struct lshm_region_opts *opts)
{
	int sockets[2];
	int ret;

	if (ut_backend->named)
		return lshm_region_open(out, ut_name, flags, opts);
	make_sockets(sockets);
	ret = lshm_region_send(region, sockets[0], flags & LSHM_RDONLY);
	if (!ret)
		ret = lshm_region_receive(out, sockets[1], flags, opts);
	close(sockets[0]);
	close(sockets[1]);
	return ret;
}

struct lshm_region *ut_reopen(struct lshm_region *region, unsigned int flags)
{
	struct lshm_region *again;

	UT_OK(ut_try_reopen(&again, region, flags, NULL));
	return again;
}

/* ---- processes ---- */

void ut_say(int fd, uint64_t value)
{
	if (send(fd, &value, sizeof(value), MSG_NOSIGNAL) != sizeof(value))
		ut_fail(UT_AT("ut_say()"), "the other process is gone: %m");
}

uint64_t ut_hear(int fd)
{
	uint64_t value;

	if (recv(fd, &value, sizeof(value), 0) != sizeof(value))
		ut_fail(UT_AT("ut_hear()"), "the other process is gone");
	return value;
}

static void attach(struct lshm_region **region, int fd, unsigned int flags)
{
	if (ut_backend->named)
		UT_OK(lshm_region_open(region, ut_name, flags, NULL));
	else
		UT_OK(lshm_region_receive(region, fd, flags, NULL));
}

struct ut_child ut_spawn(
    struct lshm_region *region, unsigned int flags, ut_body *body, void *arg)
{
	struct lshm_region *own = NULL;
	struct ut_child child;
	int sockets[2];

	make_sockets(sockets);
	fflush(NULL);
	child.pid = fork();
	if (child.pid < 0)
		ut_fail(UT_AT("fork()"), "%m");
	if (child.pid == 0) {
		close(sockets[0]);
		if (region)
			attach(&own, sockets[1], flags);
		body(own, sockets[1], arg);
		lshm_region_close(own);
		fflush(NULL);
		exit(EXIT_SUCCESS);
	}
	close(sockets[1]);
	child.fd = sockets[0];
	if (region && !ut_backend->named)
		UT_OK(lshm_region_send(region, child.fd, flags & LSHM_RDONLY));
	return child;
}

static int reap(struct ut_child *child)
{
	int status;

	if (waitpid(child->pid, &status, 0) != child->pid)
		ut_fail(UT_AT("waitpid()"), "%m");
	close(child->fd);
	return status;
}

void ut_join(struct ut_child *child)
{
	int status = reap(child);

	count_check();
	if (status)
		ut_fail(UT_AT("ut_join()"), "the child did not end well: %s %d",
		    WIFSIGNALED(status) ? "signal" : "exit status",
		    WIFSIGNALED(status) ? WTERMSIG(status)
					: WEXITSTATUS(status));
}

void ut_died_of(struct ut_child *child, int signal)
{
	int status = reap(child);

	count_check();
	if (!WIFSIGNALED(status) || WTERMSIG(status) != signal)
		ut_fail(UT_AT("ut_died_of()"),
		    "expected death by signal %d, seen wait status 0x%x",
		    signal, (unsigned int)status);
}

void ut_kill_unreaped(struct ut_child *child)
{
	siginfo_t info;

	kill(child->pid, SIGKILL);
	if (waitid(P_PID, (id_t)child->pid, &info, WEXITED | WNOWAIT) < 0)
		ut_fail(UT_AT("waitid()"), "%m");
}

void ut_kill(struct ut_child *child)
{
	kill(child->pid, SIGKILL);
	ut_died_of(child, SIGKILL);
}

char ut_state(pid_t pid, pid_t *parent)
{
	char path[64], line[512], state;
	const char *rest = NULL;
	int ppid;
	FILE *stat;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	stat = fopen(path, "re");
	if (!stat)
		return 0;
	if (fgets(line, sizeof(line), stat)) /* the name may be any text */
		rest = strrchr(line, ')');
	fclose(stat);
	if (!rest || sscanf(rest, ") %c %d", &state, &ppid) != 2)
		return 0;
	if (parent)
		*parent = ppid;
	return state;
}

void ut_wait_gone(pid_t pid)
{
	char state;

	while ((state = ut_state(pid, NULL)) && state != 'Z' && state != 'X')
		sched_yield();
}

void ut_wait_asleep(pid_t pid)
{
	int64_t limit = UT_SOON;
	char state;

	while ((state = ut_state(pid, NULL)) != 'S') {
		if (!state || lshm_deadline_ms(0) >= limit)
			ut_fail(UT_AT("ut_wait_asleep()"),
			    "expected process %d to sleep, its state is '%c'",
			    (int)pid, state ? state : '-');
		sched_yield();
	}
}

void ut_stop(struct ut_child *child)
{
	siginfo_t info;

	kill(child->pid, SIGSTOP);
	if (waitid(P_PID, (id_t)child->pid, &info, WSTOPPED | WEXITED) < 0 ||
	    info.si_code != CLD_STOPPED)
		ut_fail(UT_AT("ut_stop()"), "the child did not stop");
}

void ut_continue(struct ut_child *child)
{
	kill(child->pid, SIGCONT);
}

/* ---- what a test leaves behind ---- */

/* Kill what is left of the test's process group; was there anything alive? */
static bool end_group(pid_t group)
{
	bool alive = false;

	for (;;) {
		pid_t pid = waitpid(-group, NULL, WNOHANG);

		if (pid < 0)
			return alive;
		if (pid > 0)
			continue;
		alive = true;
		kill(-group, SIGKILL);
		waitpid(-group, NULL, 0);
	}
}

static unsigned int remove_files_in(
    const char *path, const char *prefix, char *example, size_t capacity)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	unsigned int n = 0;

	if (!dir)
		return 0;
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.' ||
		    strncmp(entry->d_name, prefix, strlen(prefix)) != 0)
			continue;
		snprintf(example, capacity, "%s/%s", path, entry->d_name);
		remove(example);
		n++;
	}
	closedir(dir);
	return n;
}

static unsigned int remove_files(char *example, size_t capacity)
{
	struct ut_listing l = {.n = 0};
	char prefix[64];
	unsigned int n = 0;

	snprintf(prefix, sizeof(prefix), "kernel:ut.%d.", (int)harness);
	l.prefix = prefix;
	while (ut_backend->id == LSHM_BACKEND_KERNEL) {
		l.n = 0;
		if (lshm_region_list(list_one, &l) < 0 || l.n == 0 ||
		    lshm_region_unlink(l.example, LSHM_BACKEND_DEFAULT) < 0)
			break;
		strlcpy(example, l.example, capacity);
		n++;
	}
	snprintf(prefix, sizeof(prefix), "lshm.ut.%d.", (int)harness);
	return n + remove_files_in("/dev/shm", prefix, example, capacity) +
	       remove_files_in(directory, "", example, capacity);
}

/* ---- running ---- */

static void unlink_names(void)
{
	uint32_t last = shared->names;

	if (!ut_backend->named)
		return;
	for (shared->names = 0; shared->names < last;)
		lshm_region_unlink(ut_new_name(), LSHM_BACKEND_DEFAULT);
}

/* End the test that runs, and begin no other; then clean up as always. */
static void interrupt(int signal)
{
	interrupted = signal;
	if (running)
		kill(-(pid_t)running, SIGKILL);
}

/* In the test's own process. */
static void run_here(const struct ut_test *test)
{
	unsigned int fds = ut_count_fds(), after;

	signal(SIGINT, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
	alarm((unsigned int)from_environment("LSHM_TEST_TIMEOUT", 60));
	test->run();
	unlink_names();
	after = ut_count_fds();
	if (after != fds)
		ut_fail(UT_AT("descriptors"),
		    "%u were open before the test, %u are now", fds, after);
	fflush(NULL);
	exit(EXIT_SUCCESS);
}

/* What to say about a test that ended so; NULL: all is well. */
static const char *judge(int status, bool alive, unsigned int files,
    const char *example, char *text, size_t capacity)
{
	if (interrupted)
		return "it was interrupted";
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
		return "it hangs: killed when its time was up";
	if (WIFSIGNALED(status)) {
		snprintf(text, capacity, "it died of signal %d (%s)",
		    WTERMSIG(status), strsignal(WTERMSIG(status)));
		return text;
	}
	if (WEXITSTATUS(status) == EXIT_SKIPPED)
		return NULL;
	if (WEXITSTATUS(status))
		return "it failed; what it saw is above";
	if (alive)
		return "it left a process behind";
	if (files) {
		snprintf(text, capacity, "it left %u files behind, such as %s",
		    files, example);
		return text;
	}
	return shared->checks ? NULL : "it checked nothing";
}

static const struct ut_test *find_test(const char *name)
{
	const struct ut_test *test;

	STAILQ_FOREACH(test, &tests, link)
		if (strcmp(test->name, name) == 0)
			return test;
	return NULL;
}

static const struct ut_backend *find_backend(const char *name)
{
	for (size_t i = 0; i < UT_COUNT(backends); i++)
		if (strcmp(backends[i].name, name) == 0)
			return &backends[i];
	return NULL;
}

/* Every test, as CUnit sees it. */
static void run_test(void)
{
	const char *name = CU_get_current_test()->pName;
	const struct ut_test *test = find_test(name);
	char example[512] = "";
	char text[640];
	const char *verdict;
	unsigned int files;
	bool alive;
	int status = 0;
	pid_t pid;

	ut_backend = find_backend(CU_get_current_suite()->pName);
	memset(shared, 0, sizeof(*shared));
	if (interrupted) {
		CU_FAIL("interrupted");
		return;
	}
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		setpgid(0, 0);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		run_here(test);
	}
	setpgid(pid, pid);
	running = pid;
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	running = 0;
	alive = end_group(pid);
	files = remove_files(example, sizeof(example));
	total_checks += shared->checks;
	skipped += WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SKIPPED;
	verdict = judge(status, alive, files, example, text, sizeof(text));
	if (verdict)
		fprintf(stderr, "\n    %s.\n    To run it alone: %s %s %s\n",
		    verdict, program, ut_backend->name, name);
	CU_assertImplementation(verdict ? CU_FALSE : CU_TRUE, __LINE__,
	    verdict ? verdict : "", name, "", CU_FALSE);
}

static bool wanted(
    const struct ut_test *test, const struct ut_backend *backend, bool only)
{
	if (test->where == UT_NAMED)
		return backend->named;
	if (test->where == UT_KERNEL)
		return backend->id == LSHM_BACKEND_KERNEL;
	return test->where == UT_EACH || only || backend == &backends[0];
}

/* Tell CUnit about the tests that were asked for; how many there are. */
static unsigned int register_tests(const char *backend, const char *name)
{
	unsigned int n = 0;

	for (size_t i = 0; i < UT_COUNT(backends); i++) {
		struct ut_test *test;
		CU_pSuite suite;

		if (backend ? strcmp(backend, backends[i].name) != 0
			    : backends[i].id == LSHM_BACKEND_KERNEL &&
				  access(LSHM_IOC_DEVICE, F_OK) < 0)
			continue;
		suite = CU_add_suite(backends[i].name, NULL, NULL);
		STAILQ_FOREACH(test, &tests, link)
			if (wanted(test, &backends[i], backend) &&
			    (!name || strcmp(name, test->name) == 0)) {
				CU_add_test(suite, test->name, run_test);
				n++;
			}
	}
	return n;
}

int main(int argc, char **argv)
{
	const char *temporary = getenv("TMPDIR");
	unsigned int failures;

	setvbuf(stdout, NULL, _IOLBF, 0);
	program = argv[0];
	harness = getpid();
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	signal(SIGINT, interrupt);
	signal(SIGTERM, interrupt);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	snprintf(directory, sizeof(directory), "%s/lshm-ut.XXXXXX",
	    temporary && *temporary ? temporary : "/tmp");
	if (shared == MAP_FAILED || !mkdtemp(directory) ||
	    CU_initialize_registry() != CUE_SUCCESS) {
		perror("setting up");
		return EXIT_FAILURE;
	}
	if (!register_tests(
		argc > 1 ? argv[1] : NULL, argc > 2 ? argv[2] : NULL)) {
		fprintf(stderr,
		    "usage: %s [BACKEND [TEST]]: no such test or backend\n",
		    program);
		rmdir(directory);
		return EXIT_FAILURE;
	}
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failures =
	    CU_get_number_of_tests_failed() + CU_get_number_of_suites_failed();
	printf("%s: %u of %u tests failed, %u skipped, %" PRIu64 " checks\n",
	    program, failures, CU_get_number_of_tests_run(), skipped,
	    total_checks);
	CU_cleanup_registry();
	rmdir(directory);
	return failures ? EXIT_FAILURE : EXIT_SUCCESS;
}
