#include "tests/jail/attempts.h"

#include <fcntl.h>
#include <liburing.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>

static const char *argument = "";
static struct event_loop *loop;

static long number(void)
{
	return strtol(argument, NULL, 0);
}

static int nothing(void)
{
	return 0;
}

static int open_path(void)
{
	return open(argument, O_RDONLY);
}

static int write_path(void)
{
	return open(argument, O_WRONLY | O_CREAT, 0600);
}

static int connect_path(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", argument);
	return fd < 0 ? fd : connect(fd, (const struct sockaddr *)&address, sizeof(address));
}

/* From whom listens at that path, a folder's descriptor; then a file below it. */
static int open_by_descriptor(void)
{
	union {
		struct cmsghdr head;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	char byte;
	struct iovec data = { &byte, 1 };
	struct msghdr message = { .msg_iov = &data,
				  .msg_iovlen = 1,
				  .msg_control = &control,
				  .msg_controllen = sizeof(control) };
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), folder;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", argument);
	if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
	    recvmsg(fd, &message, 0) != 1 || !CMSG_FIRSTHDR(&message))
		return -1;
	memcpy(&folder, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(folder));
	return openat(folder, "file", O_RDONLY);
}

static int kill_other(void)
{
	return kill((pid_t)number(), 0);
}

static int trace_other(void)
{
	return (int)ptrace(PTRACE_ATTACH, (pid_t)number(), NULL, NULL);
}

static int read_other(void)
{
	char byte;
	struct iovec here = { &byte, 1 }, there = { (void *)0x400000, 1 };

	return (int)process_vm_readv((pid_t)number(), &here, 1, &there, 1, 0);
}

static int mount_proc(void)
{
	return mount("proc", "/run", "proc", 0, NULL);
}

static int make_node(void)
{
	return mknod(argument, S_IFBLK | 0600, makedev(7, 0));
}

static int make_pipe(void)
{
	return mkfifo(argument, 0600);
}

static int make_link(void)
{
	return symlink("/etc", argument);
}

static int make_file(void)
{
	return open(argument, O_WRONLY | O_CREAT | O_EXCL, 0600);
}

static int raw_socket(void)
{
	return socket(AF_INET, SOCK_RAW, 1);
}

static int packet_socket(void)
{
	return socket(AF_PACKET, SOCK_RAW, 0);
}

static int internet_socket(void)
{
	return socket(AF_INET, SOCK_STREAM, 0);
}

static int bind_tcp(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	return fd < 0 ? fd : bind(fd, (const struct sockaddr *)&address, sizeof(address));
}

static int executable_memory(void)
{
	return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
			       MAP_FAILED
		       ? -1
		       : 0;
}

static int make_executable(void)
{
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return mprotect(page, 4096, PROT_READ | PROT_EXEC);
}

static int second_ring(void)
{
	struct io_uring_params params = { 0 };

	return (int)syscall(SYS_io_uring_setup, 8, &params);
}

/* Given to the monitor's own kind of loop, whose ring is limited to its operations. */
static int operation_result = 1;

static void operation_done(struct loop_op *op, int32_t res, uint32_t flags)
{
	(void)op;
	(void)flags;
	operation_result = res;
}

static int submit_operation(void *arg)
{
	static struct loop_op op = { operation_done };
	struct io_uring_sqe *sqe = event_loop_sqe(loop);

	if (!sqe)
		return -EAGAIN;
	io_uring_prep_openat(sqe, AT_FDCWD, arg, O_RDONLY, 0);
	event_loop_submit_op(sqe, &op);
	while (operation_result > 0)
		event_loop_run_once(loop, true);
	return operation_result;
}

static int ring_operation(void)
{
	static char path[] = "/etc/passwd";
	int ret = event_loop_call(loop, submit_operation, path);

	errno = -ret;
	return ret;
}

/* The same given to a ring that nobody limited. */
static int bare_ring_operation(void)
{
	struct io_uring ring;
	struct io_uring_cqe *cqe;
	struct io_uring_sqe *sqe = io_uring_queue_init(2, &ring, 0) < 0 ? NULL
									: io_uring_get_sqe(&ring);

	if (!sqe)
		return -1;
	io_uring_prep_openat(sqe, AT_FDCWD, "/etc/passwd", O_RDONLY, 0);
	if (io_uring_submit(&ring) != 1 || io_uring_wait_cqe(&ring, &cqe) < 0)
		return -1;
	errno = -cqe->res;
	return cqe->res;
}

/* Milliseconds of processor time. */
static int burn(void)
{
	struct timespec used;

	do
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
	while (used.tv_sec * 1000 + used.tv_nsec / 1000000 < number());
	return 0;
}

static int unset_handler(void)
{
	return signal(SIGSYS, SIG_DFL) == SIG_ERR ? -1 : 0;
}

static int new_user_namespace(void)
{
	return unshare(CLONE_NEWUSER);
}

static int become_root(void)
{
	return (int)syscall(SYS_setresuid, 0, 0, 0); /* of this thread alone */
}

static int change_root(void)
{
	return chroot(argument);
}

static int leave_by_descriptor(void)
{
	struct stat info;

	return fchdir((int)number()) < 0 ? -1 : stat("../../../etc/passwd", &info);
}

static int execute(void)
{
	char *const none[] = { NULL };

	return execve(argument, none, none);
}

static int make_process(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	return pid < 0 ? -1 : waitpid(pid, NULL, 0) < 0;
}

static int many_processes(void)
{
	for (long i = 0; i < number(); i++) {
		pid_t pid = fork();

		if (pid < 0)
			return -1;
		if (pid == 0) {
			close(STDOUT_FILENO); /* whoever reads it waits for nobody else */
			close(STDERR_FILENO);
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			sleep(20);
			_exit(0);
		}
	}
	return 0;
}

/* In MiB; touched. */
static int much_memory(void)
{
	for (long i = 0; i < number(); i++) {
		char *mib = mmap(NULL, MIB(1), PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

		if (mib == MAP_FAILED)
			return -1;
		for (size_t at = 0; at < MIB(1); at += 4096)
			mib[at] = 1;
	}
	return 0;
}

/* In MiB, at the root. */
static int fill_disk(void)
{
	static char mib[1 << 20];
	int fd = open("/fill", O_WRONLY | O_CREAT, 0600);

	signal(SIGXFSZ, SIG_IGN);
	for (long left = number() << 20; fd >= 0 && left > 0;) {
		ssize_t count = write(fd, mib, sizeof(mib));

		if (count < 0)
			return -1;
		left -= count;
	}
	return fd < 0 ? -1 : 0;
}

static int dump_core(void)
{
	return prctl(PR_GET_DUMPABLE) == 0 ? (errno = EPERM, -1) : 0;
}

/* There for tests that look at the process from outside. */
static int wait_long(void)
{
	struct timespec time = { .tv_sec = number() };

	printf("waiting\n");
	fflush(stdout);
	return nanosleep(&time, NULL);
}

/* Where no handler can run. */
static int with_handler_blocked(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGSYS);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	return (int)ptrace(PTRACE_TRACEME, 0, NULL, NULL);
}

/* The system call with this number, of another ABI say, with arguments that no rule has. */
static int any_call(void)
{
	return (int)syscall(number(), -1L, -1L, -1L, -1L, -1L, -1L);
}

static int load_bpf(void)
{
	char attr[128] = { 0 };

	return (int)syscall(SYS_bpf, 0, attr, sizeof(attr));
}

static const struct {
	const char *name;
	int (*attempt)(void);
} attempts[] = {
	{ "nothing", nothing },
	{ "open", open_path },
	{ "write", write_path },
	{ "connect", connect_path },
	{ "kill", kill_other },
	{ "ptrace", trace_other },
	{ "read-memory", read_other },
	{ "mount", mount_proc },
	{ "mknod", make_node },
	{ "mkfifo", make_pipe },
	{ "symlink", make_link },
	{ "create", make_file },
	{ "descriptor", open_by_descriptor },
	{ "bind-tcp", bind_tcp },
	{ "raw-socket", raw_socket },
	{ "packet-socket", packet_socket },
	{ "internet-socket", internet_socket },
	{ "mmap-exec", executable_memory },
	{ "mprotect-exec", make_executable },
	{ "io-uring-setup", second_ring },
	{ "ring-operation", ring_operation },
	{ "bare-ring-operation", bare_ring_operation },
	{ "burn", burn },
	{ "sigaction", unset_handler },
	{ "user-namespace", new_user_namespace },
	{ "setuid", become_root },
	{ "chroot", change_root },
	{ "fchdir", leave_by_descriptor },
	{ "exec", execute },
	{ "fork", make_process },
	{ "forks", many_processes },
	{ "memory", much_memory },
	{ "fill", fill_disk },
	{ "dumpable", dump_core },
	{ "wait", wait_long },
	{ "bpf", load_bpf },
	{ "blocked", with_handler_blocked },
	{ "call", any_call },
};

attempt_function *attempt_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(attempts); i++)
		if (strcmp(attempts[i].name, name) == 0)
			return attempts[i].attempt;
	return NULL;
}

void attempt_use(struct event_loop *with_loop, const char *with_argument)
{
	loop = with_loop;
	argument = with_argument;
}

void attempt_make(attempt_function *attempt)
{
	char text[64];
	int len;

	if (attempt() < 0)
		len = snprintf(text, sizeof(text), "refused: %s\n", strerrorname_np(errno));
	else
		len = snprintf(text, sizeof(text), "done\n");
	if (write(STDOUT_FILENO, text, (size_t)len) < 0)
		return;
}
