/* The host's end of the lab: relay RUN-DIR START-SECONDS COMMAND-SECONDS QEMU [ARG...]
 *
 * Starts QEMU with one end of a socket pair as fd 3, hands the guest the time and our stdin, writes what
 * comes back to our stdout and stderr, and ends with the command's status: 124 after COMMAND-SECONDS
 * (0: no limit), 125 when the lab failed. RUN-DIR/console and RUN-DIR/qemu are read to say why. */
#include "frame.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>

enum { EXIT_TIMEOUT = 124, EXIT_LAB = 125, QEMU_FD = 3, TICK_MS = 1000 };

#define RETRY_FD 9 /* tests/lab/lab's pipe */
static const char *run_dir;

/* The end of a log file, to stderr. */
static void show_tail(const char *name)
{
	char path[4096], text[3000];
	snprintf(path, sizeof(path), "%s/%s", run_dir, name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	if (fd < 0 || fstat(fd, &st) || !st.st_size)
		return;
	off_t from = st.st_size > (off_t)sizeof(text) ? st.st_size - (off_t)sizeof(text) : 0;
	ssize_t n = pread(fd, text, sizeof(text), from);
	close(fd);
	if (n <= 0)
		return;
	fprintf(stderr, "lab: the end of its %s log:\n", name);
	fwrite(text, 1, (size_t)n, stderr);
	if (text[n - 1] != '\n')
		fputc('\n', stderr);
}

static _Noreturn void fail(const char *what)
{
	fprintf(stderr, "lab: %s\n", what);
	show_tail("qemu");
	show_tail("console");
	exit(EXIT_LAB);
}

/* In a handler, because the program may be blocked on a reader of our output that does not read. */
static void command_timed_out(int sig)
{
	(void)sig;
	static const char text[] =
		"lab: timed out: the command was still running at the limit given with -t\n";
	if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0) {
	}
	_exit(EXIT_TIMEOUT);
}

static pid_t start_qemu(char **argv, int *sock)
{
	int pair[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		fail("cannot make a socket pair");
	pid_t pid = fork();
	if (pid < 0)
		fail("cannot fork");
	if (!pid) {
		char log[4096];
		snprintf(log, sizeof(log), "%s/qemu", run_dir);
		int out = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		int in = open("/dev/null", O_RDONLY | O_CLOEXEC);
		/* Above every fd we give away, so that dup2 cannot tread on it. */
		int end = fcntl(pair[1], F_DUPFD_CLOEXEC, QEMU_FD + 1);
		dup2(in, STDIN_FILENO);
		dup2(out, STDOUT_FILENO);
		dup2(out, STDERR_FILENO);
		dup2(end, QEMU_FD);
		signal(SIGPIPE, SIG_DFL);
		execvp(argv[0], argv);
		perror(argv[0]);
		_exit(EXIT_LAB);
	}
	close(pair[1]);
	*sock = pair[0];
	return pid;
}

static bool has_stdin(void)
{
	struct stat st;
	if (fstat(STDIN_FILENO, &st) || isatty(STDIN_FILENO))
		return false;
	return !(S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3));
}

static bool one_output(void)
{
	struct stat out, err;
	return !fstat(STDOUT_FILENO, &out) && !fstat(STDERR_FILENO, &err) &&
	       out.st_dev == err.st_dev && out.st_ino == err.st_ino;
}

static bool send_start(int sock)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	struct frame_start start = {
		.sec = now.tv_sec,
		.nsec = now.tv_nsec,
		.has_stdin = has_stdin(),
		.one_output = one_output(),
	};
	struct frame f = { .type = FRAME_START, .len = sizeof(start) };
	memcpy(f.data, &start, sizeof(start));
	return frame_send(sock, &f);
}

/* From stdin, as far as there is one; false at its end. */
static bool send_input(int sock)
{
	struct frame f = { .type = FRAME_IN };
	ssize_t n = read(STDIN_FILENO, f.data, sizeof(f.data));

	f.len = n > 0 ? (uint32_t)n : 0;
	return frame_send(sock, &f) && n > 0;
}

/* A process of its own, because the command may write before it reads, or never read.
 *
 * The emulator loses an interrupt now and then, most likely when VMRUN and the thread with the timers change the same word.
 * When it was the timer's of a host with one CPU, no other comes and the guest that runs there runs for ever: seen with a
 * guest of 8 vCPUs on a machine with nothing else to do. The next interrupt delivers the lost one too, so there is one
 * every second. */
static void feed(int sock)
{
	struct pollfd in = { .fd = has_stdin() ? STDIN_FILENO : -1, .events = POLLIN };
	struct frame tick = { .type = FRAME_TICK };

	if (fork())
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		int ready = poll(&in, 1, TICK_MS);

		if (ready == 0 && !frame_send(sock, &tick))
			_exit(0);
		if (ready > 0 && !send_input(sock))
			in.fd = -1;
	}
}

static _Noreturn void relay_failed(struct frame *f)
{
	fprintf(stderr, "lab: %.*s\n", (int)f->len, f->data);
	show_tail("console");
	exit(EXIT_LAB);
}

/* Ends the lab when the reader of our output has gone away, as it would end the command. Not by SIGPIPE:
 * process 1 does not die of it. Of other errors, such as a full disk, the writer should have learnt; it
 * cannot any more, so they are told and the status counts. */
static void output(int fd, const struct frame *f)
{
	static bool told;

	if (write_all(fd, f->data, f->len) || errno == EBADF)
		return;
	if (errno == EPIPE)
		exit(128 + SIGPIPE);
	if (!told)
		perror("lab: output is lost");
	told = true;
}

/* Until the status arrives. */
static int relay_output(int sock, struct frame *f)
{
	int32_t status;

	while (frame_receive(sock, f)) {
		switch (f->type) {
		case FRAME_OUT:
		case FRAME_ERR:
			output(f->type == FRAME_OUT ? STDOUT_FILENO : STDERR_FILENO, f);
			break;
		case FRAME_STATUS:
			memcpy(&status, f->data, sizeof(status));
			return status;
		case FRAME_FAILED:
			relay_failed(f);
		}
	}
	return -1;
}

static void wait_until_ready(int sock, const char *seconds)
{
	struct pollfd fd = { .fd = sock, .events = POLLIN };

	if (poll(&fd, 1, (int)strtol(seconds, NULL, 10) * 1000) == 0)
		fail("the emulated host was not ready in time (is this machine very busy?)");
}

/* Before the command has started: the caller may try again, and then hears nothing of this. */
static _Noreturn void died_while_starting(void)
{
	const char *may_retry = getenv("LAB_MAY_RETRY");

	if (may_retry && strcmp(may_retry, "1") == 0 && write(RETRY_FD, "x", 1) == 1)
		exit(EXIT_LAB);
	fail("the emulated host died while starting");
}

int main(int argc, char **argv)
{
	static struct frame f;
	int sock;

	if (argc < 5)
		return EXIT_LAB;
	run_dir = argv[1];
	signal(SIGPIPE, SIG_IGN);
	pid_t qemu = start_qemu(argv + 4, &sock);

	wait_until_ready(sock, argv[2]);
	if (!frame_receive(sock, &f))
		died_while_starting();
	if (f.type == FRAME_FAILED)
		relay_failed(&f);
	signal(SIGALRM, command_timed_out);
	alarm((unsigned int)strtoul(argv[3], NULL, 10));
	if (!send_start(sock))
		died_while_starting();
	feed(sock);

	int status = relay_output(sock, &f);
	if (status < 0) {
		waitpid(qemu, NULL, 0); /* its logs are complete only now */
		fail("the emulated host died while the command was running");
	}
	return status;
}
