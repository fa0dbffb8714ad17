/* The command and its three streams. They are pipes and not the port itself, so that a program can open
 * /dev/stderr, poll, and be one of several writers. */
#include "command.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

struct streams {
	int in[2], out[2], err[2];
};

static void open_streams(struct streams *s, const struct frame_start *start)
{
	if (pipe2(s->out, O_CLOEXEC) || pipe2(s->err, O_CLOEXEC) || pipe2(s->in, O_CLOEXEC))
		lab_fail("cannot make a pipe");
	if (start->one_output)
		dup3(s->out[1], s->err[1], O_CLOEXEC);
	if (!start->has_stdin) {
		close(s->in[0]);
		s->in[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	}
}

static _Noreturn void exec_command(const struct job *job, const struct streams *s)
{
	sigset_t none;

	setsid();
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	dup2(s->in[0], STDIN_FILENO);
	dup2(s->out[1], STDOUT_FILENO);
	dup2(s->err[1], STDERR_FILENO);
	environ = job->env; /* execvp searches this PATH */
	execvp(job->argv[0], job->argv);
	int error = errno;
	fprintf(stderr, "lab: cannot run %s: %s\n", job->argv[0], strerror(error));
	_exit(error == ENOENT ? 127 : 126);
}

/* A process of its own: it sleeps while the command does not read. */
static void feed_stdin(const struct streams *s, int port)
{
	static struct frame f;

	if (fork())
		return;
	close(s->in[0]);
	/* Once nobody reads, still take what comes, or the host's end would wait for ever. */
	signal(SIGPIPE, SIG_IGN);
	while (frame_receive(port, &f)) {
		if (f.type == FRAME_IN && f.len)
			write_all(s->in[1], f.data, f.len);
		else if (f.type == FRAME_IN)
			close(s->in[1]);
	}
	for (;;)
		pause(); /* its end must not be taken for the command's */
}

/* Sends one read's worth; the number of bytes, or 0 at the end of the stream. */
static size_t forward(int fd, uint32_t type, int port, size_t max)
{
	static struct frame f;
	ssize_t n = read(fd, f.data, max < sizeof(f.data) ? max : sizeof(f.data));

	if (n <= 0)
		return 0;
	f.type = type;
	f.len = (uint32_t)n;
	frame_send(port, &f);
	return (size_t)n;
}

/* What the pipe holds at this moment, and no more: a process left behind may write for ever. */
static void drain(int fd, uint32_t type, int port)
{
	int left = 0;

	if (ioctl(fd, FIONREAD, &left))
		return;
	while (left > 0) {
		size_t n = forward(fd, type, port, (size_t)left);
		if (!n)
			return;
		left -= (int)n;
	}
}

/* Reaps all that died; true when the command is among them. */
static bool reap(pid_t command, int sigfd, int *status)
{
	struct signalfd_siginfo info;
	bool ended = false;
	pid_t pid;
	int how;

	if (read(sigfd, &info, sizeof(info)) < 0)
		return false;
	while ((pid = waitpid(-1, &how, WNOHANG)) > 0) {
		if (pid != command)
			continue;
		ended = true;
		*status = WIFSIGNALED(how) ? 128 + WTERMSIG(how) : WEXITSTATUS(how);
	}
	return ended;
}

static int relay_until_end(const struct streams *s, pid_t command, int sigfd, int port)
{
	struct pollfd fds[] = {
		{ .fd = sigfd, .events = POLLIN },
		{ .fd = s->out[0], .events = POLLIN },
		{ .fd = s->err[0], .events = POLLIN },
	};
	const uint32_t types[] = { 0, FRAME_OUT, FRAME_ERR };
	int status = 0;

	for (;;) {
		if (poll(fds, 3, -1) < 0)
			continue;
		for (int i = 1; i < 3; i++)
			if (fds[i].revents && !forward(fds[i].fd, types[i], port, FRAME_DATA_MAX))
				fds[i].fd = -1;
		if (fds[0].revents && reap(command, sigfd, &status))
			return status;
	}
}

static void send_status(int port, int32_t status)
{
	struct frame f = { .type = FRAME_STATUS, .len = sizeof(status) };

	memcpy(f.data, &status, sizeof(status));
	frame_send(port, &f);
}

void run_command(const struct job *job, const struct frame_start *start, int port)
{
	struct streams s;
	sigset_t child;

	if (chdir(job->cwd))
		lab_fail("cannot enter %s", job->cwd);
	open_streams(&s, start);
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, NULL);
	int sigfd = signalfd(-1, &child, SFD_CLOEXEC);

	pid_t command = fork();
	if (command < 0)
		lab_fail("cannot fork");
	if (!command)
		exec_command(job, &s);
	if (start->has_stdin)
		feed_stdin(&s, port);
	close(s.in[0]);
	close(s.in[1]);
	close(s.out[1]);
	close(s.err[1]);

	int status = relay_until_end(&s, command, sigfd, port);
	drain(s.out[0], FRAME_OUT, port);
	drain(s.err[0], FRAME_ERR, port);
	sync(); /* pages written through a mapping of a -w file reach the machine only now */
	send_status(port, status);
}
