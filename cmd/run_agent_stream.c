/* The command's standard streams, between the guest's sockets and ours. */
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "cmd/run_agent.h"

#define BUFFER 65536u
#define ROUNDS 32 /* buffers before other events are looked at */

static bool is_ready(int fd, short events)
{
	struct pollfd state = { .fd = fd, .events = events };

	return poll(&state, 1, 0) > 0;
}

/* Bytes, 0 at the end, or -errno; -EAGAIN: nothing just now. */
static ssize_t take(const struct agent_stream *stream)
{
	const int fd = stream->from.fd;
	ssize_t len;

	if (stream->to_guest && !is_ready(fd, POLLIN))
		return -EAGAIN;
	len = stream->to_guest ? read(fd, stream->buffer, BUFFER)
			       : recv(fd, stream->buffer, BUFFER, MSG_DONTWAIT);
	/* EIO: a terminal that is another program's just now. */
	return len >= 0 ? len : errno == EINTR || errno == EIO ? -EAGAIN : -errno;
}

/* A pipe that is ready takes this much without waiting; a file takes all. */
static size_t bite(int fd, size_t len)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? len : MIN(len, (size_t)4096);
}

static ssize_t give(const struct agent_stream *stream)
{
	const char *from = stream->buffer + stream->done;
	const size_t len = stream->have - stream->done;
	const int fd = stream->to.fd;
	ssize_t ret;

	if (!stream->to_guest && !is_ready(fd, POLLOUT))
		return -EAGAIN;
	ret = stream->to_guest ? send(fd, from, len, MSG_DONTWAIT | MSG_NOSIGNAL)
			       : write(fd, from, bite(fd, len));
	return ret >= 0 ? ret : errno == EINTR ? 0 : -errno;
}

/* Half of the guest's socket: of its input, or of its output, nothing more will come or go. */
static void end(struct agent_stream *stream)
{
	struct loop_watch *socket = stream->to_guest ? &stream->to : &stream->from;

	stream->ended = true;
	event_loop_unwatch(stream->loop, &stream->from);
	event_loop_unwatch(stream->loop, &stream->to);
	if (stream->to_guest)
		shutdown(socket->fd, SHUT_WR);
	else
		close_fd(&socket->fd);
	agent_stream_ended(stream->agent);
}

/* One buffer: 1 if it is on its way. */
static ssize_t carry(struct agent_stream *stream)
{
	while (stream->done < stream->have) {
		const ssize_t len = give(stream);

		if (len < 0)
			return len;
		stream->done += (size_t)len;
	}
	stream->done = stream->have = 0;
	const ssize_t len = take(stream);

	stream->have = len > 0 ? (size_t)len : 0;
	return len;
}

static void pump(struct agent_stream *stream)
{
	for (int round = 0; round < ROUNDS && !stream->ended; round++) {
		const ssize_t ret = carry(stream);

		if (ret == -EAGAIN)
			return;
		if (ret <= 0)
			end(stream);
	}
	if (!stream->ended)
		loop_timer_arm(&stream->again, 0);
}

static void on_from(struct loop_watch *watch)
{
	pump(container_of(watch, struct agent_stream, from));
}

static void on_to(struct loop_watch *watch)
{
	pump(container_of(watch, struct agent_stream, to));
}

static void on_again(struct loop_timer *timer)
{
	pump(container_of(timer, struct agent_stream, again));
}

/* EPERM: a regular file or /dev/null, which is always ready. */
static bool can_watch(struct event_loop *loop, struct loop_watch *watch)
{
	int ret = event_loop_watch(loop, watch);

	return ret == 0 || ret == -EPERM;
}

void agent_stream_start(struct agent_stream *stream, struct run_agent *agent, int socket, int stdio,
			bool to_guest)
{
	struct event_loop *loop = agent->run->control;

	*stream = (struct agent_stream){
		.agent = agent,
		.loop = loop,
		.from = { .fd = to_guest ? stdio : socket, .ready = on_from },
		.to = { .fd = to_guest ? socket : stdio, .ready = on_to, .writable = true },
		.to_guest = to_guest,
		.started = true,
		.buffer = malloc(BUFFER),
	};
	if (!stream->buffer || loop_timer_init(&stream->again, loop, on_again) < 0 ||
	    !can_watch(loop, &stream->from) || !can_watch(loop, &stream->to)) {
		end(stream);
		return;
	}
	pump(stream);
}

void agent_stream_stop(struct agent_stream *stream)
{
	if (!stream->started)
		return;
	event_loop_unwatch(stream->loop, &stream->from);
	event_loop_unwatch(stream->loop, &stream->to);
	loop_timer_fini(&stream->again);
	close_fd(stream->to_guest ? &stream->to.fd : &stream->from.fd);
	free(stream->buffer);
	stream->started = false;
}
