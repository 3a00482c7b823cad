/* SPDX-License-Identifier: MIT */
/*
 * test_kernel.c - what the kernel backend has and others do not; the rest of
 * the tests runs on it, too
 */
#include "../kmod/inject.h"
#include "channels.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include <libshm/uapi.h>

#define PARAMETERS "/sys/module/lshm/parameters/"

/* The same on all machines, wherever the module is not. */
UT_TEST(not_contiguous_elsewhere, UT_EACH)
{
	struct lshm_region *region;

	if (ut_backend->id == LSHM_BACKEND_KERNEL)
		ut_skip("it can be had");
	UT_ERR(-ENOTSUP,
	    lshm_region_open(&region, ut_new_name(),
		LSHM_CREATE | LSHM_CONTIGUOUS, UT_SMALL),
	    "contiguous", "kernel");
}

/*
 * A module as it might be found elsewhere: a thread that answers, in the
 * kernel's stead, what the test's own thread asks of /dev/lshm. So it is the
 * same on machines with and without the module.
 */
static struct fake {
	sem_t ready;
	int listener;
	int null;
	int open_error; /* or 0 */
	int info_error; /* or 0 */
	uint32_t abi;
} fake;

static void answer(
    const struct seccomp_data *asked, struct seccomp_notif_resp *answer)
{
	struct lshm_ioc_info *info = (void *)(uintptr_t)asked->args[2];

	if (asked->nr == __NR_openat) {
		if (strcmp((const char *)(uintptr_t)asked->args[1],
			LSHM_IOC_DEVICE) != 0)
			answer->flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
		else if (fake.open_error)
			answer->error = -fake.open_error;
		else
			answer->val = fcntl(fake.null, F_DUPFD_CLOEXEC, 0);
	} else if ((uint32_t)asked->args[1] == LSHM_IOC_INFO) {
		answer->error = -fake.info_error;
		info->abi = fake.abi;
	} else { /* it has no regions */
		answer->error = -ENOENT;
	}
}

static void *be_a_module(void *unused)
{
	struct seccomp_notif asked;
	struct seccomp_notif_resp reply;

	sem_wait(&fake.ready);
	for (;;) {
		memset(&asked, 0, sizeof(asked));
		if (ioctl(fake.listener, SECCOMP_IOCTL_NOTIF_RECV, &asked) < 0)
			continue;
		memset(&reply, 0, sizeof(reply));
		reply.id = asked.id;
		answer(&asked.data, &reply);
		ioctl(fake.listener, SECCOMP_IOCTL_NOTIF_SEND, &reply);
	}
	return NULL;
}

/* From here on, in this thread. */
static void begin_to_fake(void)
{
#define FIELD(field) offsetof(struct seccomp_data, field)
	struct sock_filter code[] = {
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, FIELD(nr)),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_openat, 4, 0),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_ioctl, 0, 4),
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, FIELD(args[1])),
	    BPF_STMT(
		BPF_ALU | BPF_AND | BPF_K, _IOC_TYPEMASK << _IOC_TYPESHIFT),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, LSHM_IOC_TYPE << _IOC_TYPESHIFT,
		0, 1),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {UT_COUNT(code), code};
	pthread_t thread;

	UT_EQ(0, sem_init(&fake.ready, 0, 0));
	UT_EQ(0, pthread_create(&thread, NULL, be_a_module, NULL));
	fake.null = open("/dev/null", O_RDWR | O_CLOEXEC);
	UT_TRUE(fake.null >= 0);
	UT_EQ(0, prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	fake.listener = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
	    SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
	if (fake.listener < 0)
		ut_skip("seccomp(2) cannot be had: %s", strerror(errno));
	sem_post(&fake.ready);
}

UT_TEST(other_modules, UT_ONCE)
{
	static const struct {
		int open_error;
		int info_error;
		uint32_t abi;
		int error;
		const char *words[2];
	} cases[] = {
	    {ENOENT, 0, 0, -ENOTSUP, {"missing", "load the module"}},
	    {ENODEV, 0, 0, -ENOTSUP, {"missing", "load the module"}},
	    {ENXIO, 0, 0, -ENOTSUP, {"missing", "load the module"}},
	    {EACCES, 0, 0, -EACCES, {"no access", "added to the group"}},
	    {EPERM, 0, 0, -EACCES, {"no access", "added to the group"}},
	    {EMFILE, 0, 0, -EMFILE, {"cannot open", "open files"}},
	    {0, ENOTTY, 0, -EPROTONOSUPPORT,
		{"not the module", "same version"}},
	    {0, EINVAL, 0, -EPROTONOSUPPORT,
		{"not the module", "same version"}},
	    {0, E2BIG, 0, -EPROTONOSUPPORT, {"not the module", "same version"}},
	    {0, 0, LSHM_IOC_ABI - 1, -EPROTONOSUPPORT,
		{"too old", "load a newer one"}},
	    /* what is added later is no reason not to use it */
	    {0, 0, LSHM_IOC_ABI, -ENOENT, {"no region", "create"}},
	    {0, 0, LSHM_IOC_ABI + 1, -ENOENT, {"no region", "create"}},
	};
	struct lshm_region *region;
	unsigned int fds;

	begin_to_fake();
	fds = ut_count_fds();
	for (size_t i = 0; i < UT_COUNT(cases); i++) {
		bool there = cases[i].error == -ENOENT;

		fake.open_error = cases[i].open_error;
		fake.info_error = cases[i].info_error;
		fake.abi = cases[i].abi;
		UT_ERR(cases[i].error,
		    lshm_region_open(&region, "kernel:other", 0, NULL),
		    cases[i].words[0], cases[i].words[1]);
		UT_EQ(0, setenv("LSHM_BACKEND", "kernel", 1));
		UT_ERR(cases[i].error,
		    lshm_region_open(&region, "other", 0, NULL),
		    cases[i].words[0], cases[i].words[1]);
		/* another one only if asked for, and needed */
		UT_EQ(0, setenv("LSHM_BACKEND", "kernel,memfd", 1));
		if (there) {
			UT_ERR(-ENOENT,
			    lshm_region_open(&region, "other", 0, NULL));
		} else {
			UT_OK(lshm_region_open(
			    &region, "other", LSHM_CREATE, UT_SMALL));
			UT_EQ(LSHM_BACKEND_MEMFD, ut_info(region).backend);
			lshm_region_close(region);
		}
		UT_EQ(0, unsetenv("LSHM_BACKEND"));
		UT_EQ(fds, ut_count_fds());
	}
	/* there is no end of a filter: not with what exit(3) may open */
	fflush(NULL);
	_exit(EXIT_SUCCESS);
}

UT_TEST(by_environment, UT_KERNEL)
{
	const char *plain = strchr(ut_new_name(), ':') + 1;
	struct lshm_region *one, *two;

	UT_EQ(0, setenv("LSHM_BACKEND", "kernel", 1));
	UT_OK(lshm_region_open(&one, plain, LSHM_CREATE, UT_SMALL));
	UT_EQ(LSHM_BACKEND_KERNEL, ut_info(one).backend);
	UT_OK(lshm_region_open(&two, ut_name, 0, NULL));
	lshm_region_close(two);
	lshm_region_close(one);
	/* the first of several that is there; a prefix has the last word */
	UT_EQ(0, setenv("LSHM_BACKEND", "kernel,posix", 1));
	UT_OK(lshm_region_open(&one, plain, 0, NULL));
	lshm_region_close(one);
	UT_EQ(0, setenv("LSHM_BACKEND", "posix", 1));
	UT_ERR(-ENOENT, lshm_region_open(&one, plain, 0, NULL));
	UT_OK(lshm_region_open(&one, ut_name, 0, NULL));
	lshm_region_close(one);
}

UT_TEST(no_access_to_the_device, UT_KERNEL)
{
	struct lshm_region *region;
	struct stat st;

	UT_EQ(0, stat("/dev/lshm", &st));
	UT_EQ(0, chmod("/dev/lshm", 0600));
	UT_EQ(0, seteuid(12345));
	UT_ERR(-EACCES,
	    lshm_region_open(&region, ut_new_name(), LSHM_CREATE, UT_SMALL),
	    "/dev/lshm", "group");
	UT_EQ(0, setenv("LSHM_BACKEND", "kernel,memfd", 1));
	UT_OK(lshm_region_open(&region, "x", LSHM_CREATE, UT_SMALL));
	UT_EQ(LSHM_BACKEND_MEMFD, ut_info(region).backend);
	lshm_region_close(region);
	UT_EQ(0, seteuid(0));
	UT_EQ(0, chmod("/dev/lshm", st.st_mode & 07777));
}

UT_TEST(contiguous, UT_KERNEL)
{
	struct lshm_region *region;
	unsigned int flags = LSHM_CREATE | LSHM_CONTIGUOUS;

	UT_OK(lshm_region_open(&region, ut_new_name(), flags,
	    &(struct lshm_region_opts)LSHM_REGION_OPTS(.size = MIB)));
	UT_EQ(1, ut_info(region).runs);
	UT_EQ(MIB, ut_info(region).size);
	UT_ERR(-E2BIG, lshm_region_grow(region, 2 * MIB));
	lshm_region_close(region);
	UT_ERR(-EINVAL,
	    lshm_region_open(&region, ut_new_name(), flags, UT_SMALL),
	    "contiguous", "grow");
}

static bool readable_from_outside(struct lshm_region *region)
{
	char buffer[64];
	struct iovec local = {buffer, sizeof(buffer)};
	struct iovec remote = {lshm_region_base(region), sizeof(buffer)};

	return process_vm_readv(getpid(), &local, 1, &remote, 1, 0) ==
	       sizeof(buffer);
}

UT_TEST(pinnable, UT_KERNEL)
{
	struct lshm_region *region = ut_create(UT_SMALL);

	UT_TRUE(!readable_from_outside(region));
	lshm_region_close(region);
	UT_OK(lshm_region_open(
	    &region, ut_new_name(), LSHM_CREATE | LSHM_PINNABLE, UT_SMALL));
	UT_TRUE(readable_from_outside(region));
	lshm_region_close(region);
}

static long faults(void)
{
	struct rusage usage;

	UT_EQ(0, getrusage(RUSAGE_THREAD, &usage));
	return usage.ru_minflt + usage.ru_majflt;
}

/* After opening and after growing alike. */
UT_TEST(no_page_fault, UT_KERNEL)
{
	struct lshm_region *one = ut_create(UT_SMALL);
	struct lshm_region *two = ut_reopen(one, 0);
	volatile char *base = lshm_region_base(two);
	uint64_t sum = 0;
	long before;

	UT_OK(lshm_region_grow(one, 8 * MIB));
	UT_SOME(lshm_at(two, 7 * MIB, MIB));
	before = faults();
	for (uint64_t i = 0; i < 8 * MIB; i += 4096) {
		sum += base[i];
		if (i > MIB)
			base[i] = 1;
	}
	UT_EQ(before, faults());
	UT_CMP(sum, !=, 1);
	lshm_region_close(two);
	lshm_region_close(one);
}

/* An observer's memory, and its descriptor, cannot be made writable. */
UT_TEST(read_only_beyond_doubt, UT_KERNEL)
{
	struct lshm_region *region = ut_create(UT_SMALL);
	struct lshm_region *observer = ut_reopen(region, LSHM_RDONLY);
	char path[64], byte = 0;
	struct stat st;
	int mem;

	UT_EQ(-1,
	    mprotect(lshm_region_base(observer), 4096, PROT_READ | PROT_WRITE));
	UT_EQ(EACCES, errno);
	mem = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	UT_EQ(-1, pwrite(mem, &byte, 1,
		      (off_t)(uintptr_t)lshm_region_base(observer)));
	close(mem);
	for (int fd = 3; fd < 32; fd++) {
		if (fstat(fd, &st) < 0 || st.st_ino != ut_info(observer).inode)
			continue;
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		UT_EQ(-1, open(path, O_RDWR | O_CLOEXEC));
	}
	lshm_region_close(observer);
	lshm_region_close(region);
}

/* Who is handed a region on may use it, not take it away from its owner. */
UT_TEST(received_cannot_revoke, UT_KERNEL)
{
	struct lshm_region *owner = ut_create(UT_SMALL), *other;
	int sockets[2];

	UT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
	UT_OK(lshm_region_send(owner, sockets[0], 0));
	UT_OK(lshm_region_receive(&other, sockets[1], 0, NULL));
	UT_SOME(lshm_alloc(other, 100));
	UT_OK(lshm_region_grow(other, 2 * MIB));
	UT_ERR(-EACCES, lshm_region_revoke(other, 0), "owner");
	close(sockets[0]);
	close(sockets[1]);
	lshm_region_close(other);
	lshm_region_close(owner);
}

/* Who was handed the region on by one who is revoked loses it, too. */
UT_TEST(revoked_with_its_sender, UT_KERNEL)
{
	struct lshm_region *owner = ut_create(UT_SMALL), *sender, *other;
	struct lshm_participant_info info;
	uint32_t slot = 0;
	int sockets[2];

	UT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
	UT_OK(lshm_region_open(&sender, ut_name, LSHM_GUARD, NULL));
	UT_OK(lshm_region_send(sender, sockets[0], 0));
	UT_OK(lshm_region_receive(&other, sockets[1], LSHM_GUARD, NULL));
	/* the owner has the first slot, the sender the next */
	UT_OK(lshm_region_participant(owner, ++slot, &info));
	UT_OK(lshm_region_revoke(owner, slot));
	UT_EQ(0, *(volatile char *)lshm_region_base(other));
	UT_NULL(lshm_alloc(other, 10), "revoked");
	UT_EQ(0, *(volatile char *)lshm_region_base(sender));
	UT_NULL(lshm_alloc(sender, 10), "revoked");
	UT_SOME(lshm_alloc(owner, 10));
	close(sockets[0]);
	close(sockets[1]);
	lshm_region_close(other);
	lshm_region_close(sender);
	lshm_region_close(owner);
}

/* What is wrong with it is said: the name, or something else. */
UT_TEST(what_is_invalid, UT_KERNEL)
{
	struct lshm_region_opts opts = LSHM_REGION_OPTS(.numa_node = 1000);
	struct lshm_region *region;

	UT_ERR(-EINVAL,
	    lshm_region_open(&region, "kernel:a\nb", LSHM_CREATE, NULL),
	    "control character 0xa", "byte 1");
	UT_ERR(-EINVAL, lshm_region_open(&region, "kernel:\x7f", 0, NULL),
	    "control character 0x7f", "byte 0");
	UT_ERR(-EINVAL, lshm_region_unlink("kernel:a\x1f", 0),
	    "control character 0x1f");
	UT_ERR(-EINVAL,
	    lshm_region_open(&region, ut_new_name(), LSHM_CREATE, &opts),
	    "NUMA node 999");
}

static void in_another_namespace(struct lshm_region *region, int fd, void *arg)
{
	UT_EQ(0, unshare(CLONE_NEWUSER));
	UT_OK(lshm_region_open(&region, ut_name, LSHM_CREATE, UT_SMALL));
	ut_say(fd, 0);
	ut_hear(fd);
	lshm_region_close(region);
	UT_OK(lshm_region_unlink(ut_name, 0));
}

static int count_name(const char *name, void *arg)
{
	*(int *)arg += strcmp(name, ut_name) == 0;
	return 0;
}

/* Names of another user namespace: root could not open them. */
UT_TEST(lists_what_can_be_opened, UT_KERNEL)
{
	struct lshm_region *region;
	struct ut_child child;
	int count = 0;

	ut_new_name();
	child = ut_spawn(NULL, 0, in_another_namespace, NULL);
	ut_hear(child.fd);
	UT_OK(lshm_region_list(count_name, &count));
	UT_EQ(0, count);
	UT_ERR(-ENOENT, lshm_region_open(&region, ut_name, 0, NULL));
	ut_say(child.fd, 0);
	ut_join(&child);
	region = ut_create(UT_SMALL);
	UT_OK(lshm_region_list(count_name, &count));
	UT_EQ(1, count);
	lshm_region_close(region);
}

static void set_parameter(const char *name, const char *value, char old[32])
{
	char path[128];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), PARAMETERS "%s", name);
	fd = open(path, O_RDWR | O_CLOEXEC);
	UT_TRUE(fd >= 0);
	if (old) {
		n = read(fd, old, 31);
		UT_CMP(n, >, 0);
		old[n] = '\0';
	}
	UT_EQ(strlen(value), pwrite(fd, value, strlen(value), 0));
	close(fd);
}

UT_TEST(limits, UT_KERNEL)
{
	const char *parameter = "max_region_mb";
	struct lshm_region *region;
	char old[32];

	set_parameter(parameter, "2", old);
	UT_ERR(-ENOSPC,
	    lshm_region_open(&region, ut_new_name(), LSHM_CREATE,
		&(struct lshm_region_opts)LSHM_REGION_OPTS(.size = 3 * MIB)),
	    "space", parameter);
	/* what is there goes on, within the limit */
	UT_OK(lshm_region_open(&region, ut_new_name(), LSHM_CREATE, UT_SMALL));
	UT_NULL(lshm_alloc(region, 4 * MIB), parameter);
	UT_SOME(lshm_alloc(region, 100));
	lshm_region_close(region);
	UT_OK(lshm_region_unlink(ut_name, LSHM_BACKEND_DEFAULT));
	set_parameter(parameter, old, NULL);
}

/*
 * ---- what the kernel does for a call fails, step by step ----
 *
 * On a kernel with fault injection: a call is made with the first allocation,
 * or copy of user memory, that the kernel makes for it failing, then with the
 * second, until there are no more. Whatever it says, it says it in a sentence;
 * the heap is sound, no descriptor, mapping or participant is left, and in the
 * end it works. tests/kmod/test_fail.c does so with the module's own calls.
 */

#define BEYOND 8 /* calls in a row in which the step was not reached */

static struct scene {
	struct lshm_region *region, *other;
	struct lshm_mutex *mutex;
	struct lshm_producer *out;
	struct lshm_consumer *in;
	char name[sizeof(ut_name) + 8];
	uint64_t size, next;
	uint32_t slot;
} scene;

/* @before and @after, which may be NULL, do not fail. */
struct steps {
	void (*before)(void);
	int (*call)(void);
	void (*after)(int ret);
	int otherwise; /* what it says if nothing fails */
};

static void set_scene(void)
{
	if (!can_inject())
		ut_skip("this kernel has no fault injection");
	set_up_injection();
	scene.region =
	    ut_create(&(struct lshm_region_opts)LSHM_REGION_OPTS(.size = MIB,
		.max_size = 16 * MIB));
	UT_OK(lshm_object_create(scene.region, "mutex", "mutex",
	    sizeof(*scene.mutex), NULL, NULL, (void **)&scene.mutex));
	snprintf(scene.name, sizeof(scene.name), "%s.other", ut_name);
	inject(0); /* opens what it needs */
}

static unsigned int count_maps(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512];
	unsigned int n = 0;

	UT_SOME(maps);
	while (fgets(line, sizeof(line), maps))
		n += strstr(line, "lshm:") != NULL;
	fclose(maps);
	return n;
}

/* How many calls failed? */
static unsigned int sweep(const struct steps *s)
{
	unsigned int nth, failures = 0, beyond = 0;
	unsigned int fds = ut_count_fds();
	bool reached;
	int ret;

	for (nth = 1; beyond < BEYOND; nth++) {
		if (s->before)
			s->before();
		inject(nth);
		ret = s->call();
		reached = injected();
		if (ret != s->otherwise) {
			if (!reached || getenv("LSHM_TEST_VERBOSE"))
				printf("step %u: %d, \"%s\"\n", nth, ret,
				    lshm_error());
			UT_TRUE(reached && ret < 0 && ret != -LSHM_ECORRUPT);
			UT_CMP(strlen(lshm_error()), >, 0);
			failures++;
		}
		if (s->after)
			s->after(ret);
		beyond = reached ? 0 : beyond + 1;
		UT_EQ(fds, ut_count_fds());
		UT_OK(lshm_heap_check(scene.region));
	}
	printf("%u steps, %u failures ... ", nth - 1 - BEYOND, failures);
	return failures;
}

/* Alone again: who could not come in, or not leave well, is not there. */
static void leave_scene(void)
{
	UT_TRUE(lshm_region_reap(scene.region) >= 0);
	UT_EQ(1, ut_info(scene.region).participants);
	lshm_region_close(scene.region);
	UT_EQ(0, count_maps());
	close(fail_nth);
}

static uint32_t own_slot(struct lshm_region *region)
{
	struct lshm_participant_info info = {.self = 0};
	uint32_t slot = 0;

	for (;; slot++) {
		UT_OK(lshm_region_participant(region, slot, &info));
		if (info.self)
			return slot;
	}
}

static int open_and_close(const char *name, unsigned int flags)
{
	int ret = lshm_region_open(&scene.other, name, flags,
	    &(struct lshm_region_opts)LSHM_REGION_OPTS(.size = 256 * KIB));

	if (ret == 0)
		lshm_region_close(scene.other);
	return ret;
}

static int create_other(void)
{
	return open_and_close(scene.name, LSHM_CREATE | LSHM_EXCL);
}

/* It is there, or it is not. */
static void remove_other(int ret)
{
	UT_EQ(ret == 0 ? 0 : -ENOENT,
	    lshm_region_unlink(scene.name, LSHM_BACKEND_DEFAULT));
}

UT_TEST(steps_of_create, UT_KERNEL)
{
	set_scene();
	UT_CMP(
	    sweep(&(struct steps){.call = create_other, .after = remove_other}),
	    >, 0);
	leave_scene();
}

static int open_again(void)
{
	return open_and_close(ut_name, 0);
}

UT_TEST(steps_of_open, UT_KERNEL)
{
	set_scene();
	UT_CMP(sweep(&(struct steps){.call = open_again}), >, 0);
	leave_scene();
}

static void reopen(void)
{
	scene.other = ut_reopen(scene.region, LSHM_GUARD);
}

static int close_it(void)
{
	lshm_region_close(scene.other);
	return 0;
}

UT_TEST(steps_of_close, UT_KERNEL)
{
	set_scene();
	UT_EQ(0, sweep(&(struct steps){.before = reopen, .call = close_it}));
	leave_scene();
}

static void make_other(void)
{
	UT_OK(create_other());
}

static int unlink_other(void)
{
	return lshm_region_unlink(scene.name, LSHM_BACKEND_DEFAULT);
}

static void unlink_again(int ret)
{
	if (ret < 0)
		UT_OK(unlink_other());
}

UT_TEST(steps_of_unlink, UT_KERNEL)
{
	set_scene();
	UT_CMP(sweep(&(struct steps){.before = make_other,
		   .call = unlink_other,
		   .after = unlink_again}),
	    >, 0);
	leave_scene();
}

static int grow(void)
{
	int ret = lshm_region_grow(scene.region, scene.size + 16 * KIB);

	if (ret == 0)
		scene.size += 16 * KIB;
	return ret;
}

UT_TEST(steps_of_grow, UT_KERNEL)
{
	set_scene();
	scene.size = ut_info(scene.region).size;
	UT_CMP(sweep(&(struct steps){.call = grow}), >, 0);
	UT_CMP(ut_info(scene.region).size, >=, scene.size);
	leave_scene();
}

static void small_other(void)
{
	UT_OK(
	    lshm_region_open(&scene.other, scene.name, LSHM_CREATE | LSHM_EXCL,
		&(struct lshm_region_opts)LSHM_REGION_OPTS(.size = 256 * KIB,
		    .max_size = MIB)));
}

/* The region must grow for it. */
static int alloc(void)
{
	return lshm_alloc(scene.other, 512 * KIB) ? 0 : -ENOMEM;
}

static void check_other(int ret)
{
	UT_OK(lshm_heap_check(scene.other));
	if (ret < 0)
		UT_OK(alloc());
	lshm_region_close(scene.other);
	UT_OK(lshm_region_unlink(scene.name, LSHM_BACKEND_DEFAULT));
}

UT_TEST(steps_of_alloc, UT_KERNEL)
{
	set_scene();
	UT_CMP(sweep(&(struct steps){
		   .before = small_other, .call = alloc, .after = check_other}),
	    >, 0);
	leave_scene();
}

static void find_mutex(struct lshm_region *region)
{
	UT_OK(lshm_object_open(region, "mutex", "mutex", sizeof(*scene.mutex),
	    (void **)&scene.mutex));
}

static void hold(struct lshm_region *region, int fd, void *arg)
{
	find_mutex(region);
	UT_OK(lshm_mutex_lock(region, scene.mutex, UT_SOON));
	ut_say(fd, 0);
	ut_hear(fd);
	UT_OK(lshm_mutex_unlock(region, scene.mutex));
}

static int lock_in_vain(void)
{
	return lshm_mutex_lock(scene.region, scene.mutex, lshm_deadline_ms(5));
}

/* It is no reason to give up. */
UT_TEST(steps_of_lock, UT_KERNEL)
{
	struct ut_child child;

	set_scene();
	child = ut_spawn(scene.region, 0, hold, NULL);
	ut_hear(child.fd);
	UT_EQ(0, sweep(&(struct steps){
		     .call = lock_in_vain, .otherwise = -ETIMEDOUT}));
	ut_say(child.fd, 0);
	ut_join(&child);
	UT_OK(lshm_mutex_lock(scene.region, scene.mutex, UT_SOON));
	UT_OK(lshm_mutex_unlock(scene.region, scene.mutex));
	leave_scene();
}

static void take_turns(struct lshm_region *region, int fd, void *arg)
{
	find_mutex(region);
	ut_say(fd, 0);
	for (;;) {
		UT_OK(lshm_mutex_lock(region, scene.mutex, UT_SOON));
		UT_OK(lshm_mutex_unlock(region, scene.mutex));
	}
}

static int take_turn(void)
{
	int ret = lshm_mutex_lock(scene.region, scene.mutex, UT_SOON);

	return ret ? ret : lshm_mutex_unlock(scene.region, scene.mutex);
}

UT_TEST(steps_of_turns, UT_KERNEL)
{
	struct ut_child child;

	set_scene();
	child = ut_spawn(scene.region, 0, take_turns, NULL);
	ut_hear(child.fd);
	UT_OK(take_turn());
	UT_EQ(0, sweep(&(struct steps){.call = take_turn}));
	ut_kill(&child);
	leave_scene();
}

static int send_next(void)
{
	int ret = lshm_producer_send(
	    scene.out, &scene.next, sizeof(scene.next), UT_SOON);

	scene.next += ret == 0;
	return ret;
}

/* Each message once, in order; it is waited for at times. */
static int receive_next(void)
{
	uint64_t value;
	size_t size;
	int ret = lshm_consumer_receive(
	    scene.in, &value, sizeof(value), &size, UT_SOON);

	if (ret == 0)
		UT_EQ(scene.next++, value);
	return ret;
}

static void receive_all(struct lshm_region *region, int fd, void *arg)
{
	int ret;

	UT_OK(lshm_consumer_open(&scene.in, region, "c", NULL));
	ut_say(fd, 0);
	while ((ret = receive_next()) == 0)
		;
	UT_EQ(-ENODATA, ret);
	ut_say(fd, scene.next);
	lshm_consumer_close(scene.in);
}

UT_TEST(steps_of_send, UT_KERNEL)
{
	struct ut_child child;

	set_scene();
	UT_OK(lshm_producer_open(&scene.out, scene.region, "c", &broadcast));
	child = ut_spawn(scene.region, 0, receive_all, NULL);
	ut_hear(child.fd);
	sweep(&(struct steps){.call = send_next});
	UT_OK(lshm_producer_end(scene.out));
	UT_EQ(scene.next, ut_hear(child.fd));
	ut_join(&child);
	lshm_producer_close(scene.out);
	leave_scene();
}

static void send_for_ever(struct lshm_region *region, int fd, void *arg)
{
	UT_OK(lshm_producer_open(&scene.out, region, "c", NULL));
	for (;;)
		UT_OK(send_next());
}

UT_TEST(steps_of_receive, UT_KERNEL)
{
	struct ut_child child;

	set_scene();
	UT_OK(lshm_consumer_open(&scene.in, scene.region, "c", &broadcast));
	child = ut_spawn(scene.region, 0, send_for_ever, NULL);
	UT_OK(receive_next()); /* what this thread needs once, it has */
	UT_EQ(0, sweep(&(struct steps){.call = receive_next}));
	ut_kill(&child);
	lshm_consumer_close(scene.in);
	leave_scene();
}

static int wait_in_vain(void)
{
	struct lshm_message message;

	return lshm_consumer_take(scene.in, &message, lshm_deadline_ms(5));
}

UT_TEST(steps_of_waiting, UT_KERNEL)
{
	set_scene();
	UT_OK(lshm_producer_open(&scene.out, scene.region, "c", &broadcast));
	UT_OK(lshm_consumer_open(&scene.in, scene.region, "c", NULL));
	UT_EQ(0, sweep(&(struct steps){
		     .call = wait_in_vain, .otherwise = -ETIMEDOUT}));
	UT_OK(send_next());
	scene.next = 0;
	UT_OK(receive_next());
	lshm_consumer_close(scene.in);
	lshm_producer_close(scene.out);
	leave_scene();
}

static int join_and_leave(void)
{
	int ret = lshm_producer_open(&scene.out, scene.region, "c", &broadcast);

	if (ret == 0)
		lshm_producer_close(scene.out);
	return ret;
}

UT_TEST(steps_of_joining, UT_KERNEL)
{
	set_scene();
	sweep(&(struct steps){.call = join_and_leave});
	UT_OK(lshm_channel_remove(scene.region, "c"));
	leave_scene();
}

static void reopen_victim(void)
{
	reopen();
	scene.slot = own_slot(scene.other);
}

static int revoke_other(void)
{
	return lshm_region_revoke(scene.region, scene.slot);
}

/* What fails has not been done, or all of it but the answer. */
static void revoke_again(int ret)
{
	if (ret < 0)
		ret = revoke_other();
	UT_TRUE(ret == 0 || ret == -ENOENT);
	UT_NULL(lshm_alloc(scene.other, 100), "revoked");
	lshm_region_close(scene.other);
	UT_TRUE(lshm_region_reap(scene.region) >= 0);
}

UT_TEST(steps_of_revoke, UT_KERNEL)
{
	set_scene();
	UT_CMP(sweep(&(struct steps){.before = reopen_victim,
		   .call = revoke_other,
		   .after = revoke_again}),
	    >, 0);
	leave_scene();
}
