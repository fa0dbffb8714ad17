/* The kernel: its version, io_uring, userfaultfd, tap devices. */
#include <fcntl.h>
#include <liburing.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>

#include "cmd/check_host_priv.h"

#define KERNEL_LEAST KERNEL(5, 13)
#define KERNEL_FAST KERNEL(6, 1)

static void run_version(const struct host *host, const struct host_check *check,
			struct check_result *result)
{
	struct utsname name;

	if (uname(&name) || !host->kernel) {
		check_set(result, CHECK_UNKNOWN, "no version that makes sense");
		return;
	}
	check_set(result, CHECK_OK, "%s", name.release);
	if (host->kernel < KERNEL_LEAST) {
		result->state = check->lack;
	} else if (host->kernel < KERNEL_FAST) {
		result->state = CHECK_SLOW;
		result->cost = "each completion of I/O interrupts the thread that waits for it "
			       "(no DEFER_TASKRUN before 6.1)";
	}
}

/* A ring of a few entries, as mayfly makes them. 0 or -errno. */
static int make_ring(struct io_uring *ring, unsigned int flags)
{
	struct io_uring_params params = { .flags = flags };

	return io_uring_queue_init_params(4, ring, &params);
}

static void run_io_uring(const struct host *host, const struct host_check *check,
			 struct check_result *result)
{
	struct io_uring ring;
	long long disabled = 0;
	int ret = make_ring(&ring, 0);

	if (ret == 0) {
		io_uring_queue_exit(&ring);
		check_set(result, CHECK_OK, "yes");
		return;
	}
	if (host_read_number(host, "proc/sys/kernel/io_uring_disabled", &disabled) == 0 && disabled)
		check_set(result, check->lack, "forbidden (kernel.io_uring_disabled = %lld)",
			  disabled);
	else
		check_set(result, check->lack, "no: %s", strerror(-ret));
	if (ret == -ENOSYS)
		result->advice = "use a kernel with CONFIG_IO_URING, and no seccomp filter that "
				 "hides it";
	else if (ret == -ENOMEM)
		result->advice = "raise the locked-memory limit (ulimit -l)";
}

static void run_restrictions(const struct host *host, const struct host_check *check,
			     struct check_result *result)
{
	struct io_uring_restriction rule = { .opcode = IORING_RESTRICTION_SQE_OP,
					     .sqe_op = IORING_OP_READV };
	struct io_uring ring;
	int ret = make_ring(&ring, IORING_SETUP_R_DISABLED);

	(void)host;
	if (ret == 0) {
		ret = io_uring_register_restrictions(&ring, &rule, 1);
		io_uring_queue_exit(&ring);
	}
	if (ret)
		check_set(result, check->lack, "no: %s", strerror(-ret));
	else
		check_set(result, CHECK_OK, "yes");
}

static void run_defer_taskrun(const struct host *host, const struct host_check *check,
			      struct check_result *result)
{
	struct io_uring ring;
	int ret = make_ring(&ring, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);

	(void)host;
	if (ret == 0)
		io_uring_queue_exit(&ring);
	if (ret)
		check_set(result, check->lack, "no: %s", strerror(-ret));
	else
		check_set(result, CHECK_OK, "yes");
}

static const struct {
	int op;
	const char *name;
} ring_ops[] = {
	{ IORING_OP_READV, "readv" },
	{ IORING_OP_WRITEV, "writev" },
	{ IORING_OP_READ, "read" },
	{ IORING_OP_WRITE, "write" },
	{ IORING_OP_FSYNC, "fsync" },
	{ IORING_OP_FALLOCATE, "fallocate" },
	{ IORING_OP_POLL_ADD, "poll" },
	{ IORING_OP_POLL_REMOVE, "poll-remove" },
	{ IORING_OP_READ_FIXED, "read-fixed" },
	{ IORING_OP_WRITE_FIXED, "write-fixed" },
	{ IORING_OP_URING_CMD, "uring-cmd" }, /* as base/event_loop_uring.c allows them */
};

static void run_ops(const struct host *host, const struct host_check *check,
		    struct check_result *result)
{
	struct io_uring_probe *probe = io_uring_get_probe();
	char lacking[128] = "";

	(void)host;
	if (!probe) {
		check_set(result, CHECK_UNKNOWN, "needs io_uring");
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(ring_ops); i++)
		if (!io_uring_opcode_supported(probe, ring_ops[i].op))
			check_append_word(lacking, sizeof(lacking), ", ", ring_ops[i].name);
	io_uring_free_probe(probe);
	if (lacking[0])
		check_set(result, check->lack, "lacks %s", lacking);
	else
		check_set(result, CHECK_OK, "all %zu that mayfly uses", ARRAY_SIZE(ring_ops));
}

/* Faults of KVM come from the kernel, so UFFD_USER_MODE_ONLY would not do. */
static int open_userfaultfd(const struct host *host)
{
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	int ret = -errno;
	cleanup_fd int dev = -1;

	if (fd >= 0)
		return fd;
	dev = openat(host->root, "dev/userfaultfd", O_RDWR | O_CLOEXEC);
	if (dev < 0)
		return ret;
	fd = ioctl(dev, _IO(0xAA, 0x00), O_CLOEXEC | O_NONBLOCK); /* USERFAULTFD_IOC_NEW */
	return fd < 0 ? -errno : fd;
}

static void run_userfaultfd(const struct host *host, const struct host_check *check,
			    struct check_result *result)
{
	struct uffdio_api api = { .api = UFFD_API };
	cleanup_fd int fd = open_userfaultfd(host);

	if (fd < 0) {
		check_set(result, check->lack, "no: %s", strerror(-fd));
		if (fd == -ENOSYS)
			result->advice = "use a kernel with CONFIG_USERFAULTFD";
	} else if (ioctl(fd, UFFDIO_API, &api)) {
		check_set(result, check->lack, "UFFDIO_API: %s", strerror(errno));
	} else {
		check_set(result, CHECK_OK, "yes%s",
			  api.features & UFFD_FEATURE_PAGEFAULT_FLAG_WP
				  ? ", with write protection"
				  : ", without write protection");
	}
}

static void run_tun(const struct host *host, const struct host_check *check,
		    struct check_result *result)
{
	cleanup_fd int fd = openat(host->root, "dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);

	if (fd >= 0)
		check_set(result, CHECK_OK, "/dev/net/tun can be opened");
	else
		check_set(result, check->lack, "/dev/net/tun: %s", strerror(errno));
}

static const struct host_check checks[] = {
	{ .id = "kernel_version",
	  .title = "kernel",
	  .run = run_version,
	  .lack = CHECK_CANNOT_RUN,
	  .cost = "mayfly is made for Linux 5.13 and later",
	  .advice = "use Linux 6.1 or later (6.11 for all of it)" },
	{ .id = "io_uring",
	  .title = "io_uring",
	  .run = run_io_uring,
	  .lack = CHECK_SLOW,
	  .cost = "disks are served by threads, a system call for each request",
	  .advice = "sysctl kernel.io_uring_disabled=0, or 1 and kernel.io_uring_group" },
	{ .id = "io_uring_restrictions",
	  .title = "ring restrictions",
	  .run = run_restrictions,
	  .lack = CHECK_MISSING,
	  .cost = "a ring takes any operation, past the seccomp filter",
	  .advice = "see io_uring" },
	{ .id = "io_uring_defer_taskrun",
	  .title = "ring DEFER_TASKRUN",
	  .run = run_defer_taskrun,
	  .lack = CHECK_SLOW,
	  .cost = "each completion interrupts the thread that waits for it",
	  .advice = "use Linux 6.1 or later; see io_uring" },
	{ .id = "io_uring_ops",
	  .title = "ring operations",
	  .run = run_ops,
	  .lack = CHECK_SLOW,
	  .cost = "disks are served by threads, a system call for each request",
	  .advice = "use a newer kernel" },
	{ .id = "userfaultfd",
	  .title = "userfaultfd",
	  .run = run_userfaultfd,
	  .lack = CHECK_MISSING,
	  .cost = "a snapshot's memory cannot be paged in by a process of yours",
	  .advice = "give mayfly the right to /dev/userfaultfd, or sysctl "
		    "vm.unprivileged_userfaultfd=1" },
	{ .id = "tun",
	  .title = "tap devices",
	  .run = run_tun,
	  .lack = CHECK_MISSING,
	  .cost = "guests have no network",
	  .advice = "modprobe tun; in a container, pass the device in (--device /dev/net/tun)" },
};

const struct check_group check_kernel = { "Kernel", checks, ARRAY_SIZE(checks) };
