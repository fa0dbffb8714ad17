/* The command, and the bytes between its pipes and the host's channels. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent.h"
#include "cmd/agent_protocol.h"

#define BUFFER 65536

/* One direction of one stream. */
struct stream {
	int from, to;	/* -1 when closed */
	int to_host;
	size_t have, done;
	char *buffer;
};

struct command {
	const struct channels *channels;
	struct stream in, out, err;
	pid_t pid;
	int children; /* a signalfd */
	int status;   /* -1 while it runs */
};

static void set_nonblocking(int fd)
{
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

/* The command's output ends with a half-close, so that the host gets all of it; its input by the end of
 * its pipe. */
static void end_stream(struct stream *stream)
{
	if (stream->from < 0)
		return;
	if (stream->to_host)
		shutdown(stream->to, SHUT_WR);
	else
		shutdown(stream->from, SHUT_RDWR);
	close(stream->from);
	close(stream->to);
	stream->from = stream->to = -1;
}

/* 1: bytes have moved; 0: not now; -1: no more. */
static int move(struct stream *stream)
{
	ssize_t n;

	if (stream->done == stream->have) {
		n = read(stream->from, stream->buffer, BUFFER);
		if (n <= 0)
			return n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
		stream->have = (size_t)n;
		stream->done = 0;
	}
	n = write(stream->to, stream->buffer + stream->done, stream->have - stream->done);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -1;
	stream->done += (size_t)n;
	return 1;
}

/* Some at a time, so that each stream has its turn. */
static void pump(struct stream *stream)
{
	int ret = 1;

	for (int i = 0; i < 16 && ret > 0 && stream->from >= 0; i++)
		ret = move(stream);
	if (ret < 0)
		end_stream(stream);
}

/* All that the command has left in its pipe. What others who have the pipe still write comes too late. */
static void drain(struct stream *stream)
{
	while (stream->from >= 0) {
		struct pollfd room = { .fd = stream->to, .events = POLLOUT };
		int ret = move(stream);

		if (ret > 0)
			continue;
		if (ret < 0 || stream->done == stream->have)
			break;
		poll(&room, 1, -1);
	}
	end_stream(stream);
}

/* What is to be waited for: bytes, else room for them; and on the other side, its end. */
static void watch(const struct stream *stream, struct pollfd fds[2])
{
	const int full = stream->done < stream->have;

	fds[0] = (struct pollfd){ .fd = stream->from, .events = full ? 0 : POLLIN };
	fds[1] = (struct pollfd){ .fd = stream->to, .events = full ? POLLOUT : 0 };
	/* A source that has ended says so all the time: not while there is nowhere to put it. */
	if (full)
		fds[0].fd = -1;
}

static void look(struct stream *stream, const struct pollfd fds[2])
{
	if (stream->from >= 0 && fds[1].revents & (POLLERR | POLLHUP))
		end_stream(stream);
	else if (fds[0].revents || fds[1].revents)
		pump(stream);
}

static void reap(struct command *command)
{
	struct signalfd_siginfo info;
	int status;
	pid_t pid;

	while (read(command->children, &info, sizeof(info)) > 0)
		;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		if (pid == command->pid)
			command->status = WIFSIGNALED(status) ? 128 + WTERMSIG(status)
							      : WEXITSTATUS(status);
}

static void carry(struct command *command)
{
	while (command->status < 0) {
		struct pollfd fds[8] = { { .fd = command->children, .events = POLLIN },
					 { .fd = command->channels->control, .events = POLLIN } };

		watch(&command->in, fds + 2);
		watch(&command->out, fds + 4);
		watch(&command->err, fds + 6);
		if (poll(fds, 8, -1) < 0)
			continue;
		if (fds[1].revents)
			give_up("the host is gone");
		look(&command->in, fds + 2);
		look(&command->out, fds + 4);
		look(&command->err, fds + 6);
		if (fds[0].revents)
			reap(command);
	}
	drain(&command->out);
	drain(&command->err);
	end_stream(&command->in);
}

static _Noreturn void exec_command(char **argv, const int ends[3])
{
	sigset_t none;

	setsid();
	for (int fd = 0; fd < 3; fd++)
		dup2(ends[fd], fd);
	signal(SIGPIPE, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execvp(argv[0], argv);
	int status = errno == ENOENT ? AGENT_NOT_FOUND : AGENT_NOT_EXECUTABLE;

	say("cannot run %s: %s", argv[0], strerror(errno));
	_exit(status);
}

/* A pipe: the command's end in *end, ours in the stream. */
static void make_stream(struct stream *stream, int socket, int to_host, int *end)
{
	int ends[2];

	/* The command's ends lie above its streams, or one dup2() would close another's. */
	if (pipe2(ends, O_CLOEXEC))
		give_up("cannot make a pipe: %s", strerror(errno));
	*end = fcntl(ends[to_host], F_DUPFD_CLOEXEC, 3);
	close(ends[to_host]);
	*stream = (struct stream){ .from = to_host ? ends[0] : socket,
				   .to = to_host ? socket : ends[1],
				   .to_host = to_host,
				   .buffer = malloc(BUFFER) };
	if (!stream->buffer || *end < 0)
		give_up("no memory for a stream");
	set_nonblocking(stream->from);
	set_nonblocking(stream->to);
}

int run_command(char **argv, const struct channels *channels)
{
	struct command command = { .channels = channels, .status = -1 };
	sigset_t chld;
	int ends[3];

	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	sigprocmask(SIG_BLOCK, &chld, NULL);
	command.children = signalfd(-1, &chld, SFD_CLOEXEC | SFD_NONBLOCK);
	make_stream(&command.in, channels->in, 0, &ends[0]);
	make_stream(&command.out, channels->out, 1, &ends[1]);
	make_stream(&command.err, channels->err, 1, &ends[2]);
	command.pid = fork();
	if (command.pid == 0)
		exec_command(argv, ends);
	for (int i = 0; i < 3; i++)
		close(ends[i]);
	if (command.pid < 0 || command.children < 0)
		give_up("cannot start a process: %s", strerror(errno));
	carry(&command);
	return command.status;
}
