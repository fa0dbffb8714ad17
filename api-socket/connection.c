#include "api-socket/connection.h"

#include <string.h>
#include <sys/socket.h>

#include "api-socket/server_priv.h"
#include "base/clock.h"
#include "base/log.h"

#define READ_SIZE 8192u
#define REQUESTS_A_TURN 32u

/* Our side of the front end ---------------------------------------------------------------------*/

struct controller *connection_controller(struct connection *connection)
{
	return connection->server->params.controller;
}

size_t connection_payload_max(const struct connection *connection)
{
	return connection->server->params.payload_max;
}

/* Room for `more` bytes behind the first `len`. */
static bool grow(uint8_t **bytes, size_t *size, size_t len, size_t more)
{
	size_t wanted = *size ? *size : 1024;
	uint8_t *bigger;

	while (wanted < len + more)
		wanted *= 2;
	if (wanted == *size)
		return true;
	bigger = realloc(*bytes, wanted);
	if (!bigger)
		return false;
	*bytes = bigger;
	*size = wanted;
	return true;
}

void connection_send(struct connection *connection, const void *bytes, size_t count)
{
	if (!grow(&connection->out, &connection->out_size, connection->out_len, count)) {
		connection->broken = true;
		return;
	}
	memcpy(connection->out + connection->out_len, bytes, count);
	connection->out_len += count;
}

void connection_request_done(struct connection *connection)
{
	connection->stuck_since = 0;
}

size_t connection_pending(const struct connection *connection)
{
	return connection->out_len;
}

void connection_end_process(struct connection *connection)
{
	connection->closing = true;
	connection->server->end_process = true;
}

unsigned int connection_take_fds(struct connection *connection, size_t len,
				 int fds[CONNECTION_FDS_MAX])
{
	unsigned int count = 0, left = 0;

	for (unsigned int i = 0; i < connection->fd_count; i++)
		if (connection->fd_ends[i] <= len) {
			fds[count++] = connection->fds[i];
		} else {
			connection->fds[left] = connection->fds[i];
			connection->fd_ends[left++] = connection->fd_ends[i];
		}
	connection->fd_count = left;
	return count;
}

void connection_break(struct connection *connection)
{
	connection->broken = true;
}

/* Answers and notices go out in the order they came: none is left once all is gone, and never more than all. */
void connection_wake(struct connection *connection, size_t count)
{
	connection->notices += count;
	if (connection->notices > CONNECTION_NOTICES_MAX && !connection->broken) {
		log_info("api: a client that lets %zu bytes of events pile up is disconnected",
			 connection->notices);
		connection->broken = true;
	}
	connection->more = true;
	server_call_again(connection->server);
}

/* Reading ---------------------------------------------------------------------------------------*/

/* Descriptors beyond what may wait are closed: their sender is told when it names them. */
static void take_control(struct connection *connection, struct msghdr *message)
{
	for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part;
	     part = CMSG_NXTHDR(message, part)) {
		size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(part) + i * sizeof(fd), sizeof(fd));
			if (connection->fd_count == CONNECTION_FDS_MAX) {
				close_fd(&fd);
				continue;
			}
			connection->fds[connection->fd_count] = fd;
			connection->fd_ends[connection->fd_count++] = connection->in_len;
		}
	}
}

/* False when there is nothing (more) to be had just now. */
static bool receive(struct connection *connection)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(CONNECTION_FDS_MAX * sizeof(int))];
	struct iovec piece;
	struct msghdr message = {
		.msg_iov = &piece,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	ssize_t count;

	if (!grow(&connection->in, &connection->in_size, connection->in_len, READ_SIZE)) {
		connection->broken = true;
		return false;
	}
	piece = (struct iovec){ connection->in + connection->in_len, READ_SIZE };
	count = retry_eintr(
		recvmsg(connection->watch.fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC));
	if (count < 0 && errno == EAGAIN)
		return false;
	if (count <= 0) {
		connection->at_end = true;
		connection->broken = count < 0;
		return false;
	}
	connection->in_len += (size_t)count;
	take_control(connection, &message);
	return true;
}

/* Serving ---------------------------------------------------------------------------------------*/

static const char too_many[] = "HTTP/1.1 503\r\n"
			       "Server: Firecracker API\r\n"
			       "Connection: close\r\n"
			       "Content-Length: 40\r\n"
			       "\r\n"
			       "{ \"error\": \"Too many open connections\" }";

/* MessagePack-RPC's messages are arrays, whose first byte no text begins with. */
static const struct front_end *front_end_for(uint8_t first)
{
	return (first & 0xf0) == 0x90 || first == 0xdc || first == 0xdd ? &rpc_front_end
									: &http_front_end;
}

static void choose_front_end(struct connection *connection)
{
	const struct front_end *front_end = front_end_for(connection->in[0]);
	struct api_server *server = connection->server;
	const bool is_http = front_end == &http_front_end;

	if (is_http && server->http_count == API_HTTP_CONNECTIONS_MAX) {
		connection_send(connection, too_many, sizeof(too_many) - 1);
		connection->closing = true;
		return;
	}
	connection->front = front_end->create(connection);
	if (!connection->front) {
		connection->broken = true;
		return;
	}
	connection->front_end = front_end;
	server->http_count += is_http;
}

/* Hands bytes to the front end: one request. False when it cannot go on just now. */
static bool consume(struct connection *connection)
{
	ssize_t taken;

	if (!connection->front_end)
		choose_front_end(connection);
	if (!connection->front_end)
		return false;
	taken = connection->front_end->consume(connection->front, connection->in,
					       connection->in_len);
	if (taken < 0) {
		connection->closing = true;
		return false;
	}
	for (unsigned int i = 0; i < connection->fd_count; i++)
		connection->fd_ends[i] -= MIN(connection->fd_ends[i], (size_t)taken);
	connection->in_len -= (size_t)taken;
	connection->hungry = taken == 0 || connection->in_len == 0;
	memmove(connection->in, connection->in + taken, connection->in_len);
	return true;
}

/* What has come, until all is consumed, the client's answers pile up, or others must have a turn. */
static void serve_input(struct connection *connection)
{
	for (unsigned int i = 0; i < REQUESTS_A_TURN; i++) {
		if (connection->broken || connection->closing ||
		    connection->out_len >= CONNECTION_BACKLOG)
			return;
		if (connection->hungry && !receive(connection))
			return;
		if (!consume(connection))
			return;
	}
	connection->more = true;
}

/* Writing ---------------------------------------------------------------------------------------*/

void connection_send_waiting(struct connection *connection)
{
	size_t done = 0;

	if (connection->out_len == 0)
		return;
	while (done < connection->out_len) {
		ssize_t count = retry_eintr(send(connection->watch.fd, connection->out + done,
						 connection->out_len - done,
						 MSG_DONTWAIT | MSG_NOSIGNAL));

		if (count < 0) {
			connection->broken |= errno != EAGAIN;
			break;
		}
		done += (size_t)count;
	}
	connection->out_len -= done;
	connection->notices = MIN(connection->notices, connection->out_len);
	memmove(connection->out, connection->out + done, connection->out_len);
}

/* In the middle of something: it waits for the rest of a request, or for its client to read. */
static void note_stuck(struct connection *connection, bool moved)
{
	const struct front_end *front_end = connection->front_end;
	const bool has_part = front_end && front_end->has_part &&
			      front_end->has_part(connection->front);

	if (connection->out_len == 0 && connection->in_len == 0 && !has_part)
		connection->stuck_since = 0;
	else if (moved || !connection->stuck_since)
		connection->stuck_since = clock_now_ns(CLOCK_MONOTONIC);
}

static bool is_over(const struct connection *connection)
{
	if (connection->broken)
		return true;
	return connection->out_len == 0 &&
	       (connection->closing || (connection->at_end && !connection->more));
}

void connection_serve(struct connection *connection)
{
	struct api_server *server = connection->server;
	size_t before = connection->out_len;

	connection->more = false;
	connection_send_waiting(connection);
	if (!server->params.is_ending || !server->params.is_ending(server->params.opaque))
		serve_input(connection);
	connection_send_waiting(connection);
	/* Answers that piled up have gone: what they held up goes on, in the next turn. */
	if (before >= CONNECTION_BACKLOG && connection->out_len < CONNECTION_BACKLOG)
		connection->more = true;
	note_stuck(connection, connection->out_len < before);
	if (is_over(connection)) {
		server_forget(server, connection);
		connection_free(connection);
	} else if (connection->more || connection->stuck_since) {
		server_call_again(server);
	}
	if (server->end_process)
		server->params.end(server->params.opaque);
}

/* Life ------------------------------------------------------------------------------------------*/

static void on_ready(struct loop_watch *watch)
{
	connection_serve(container_of(watch, struct connection, watch));
}

int connection_open(struct api_server *server, int fd)
{
	struct connection *connection = calloc(1, sizeof(*connection));
	int ret;

	if (!connection) {
		close_fd(&fd);
		return -ENOMEM;
	}
	connection->server = server;
	connection->hungry = true;
	connection->watch = (struct loop_watch){ .fd = fd, .writable = true, .ready = on_ready };
	ret = event_loop_watch(server->params.loop, &connection->watch);
	if (ret < 0) {
		connection_free(connection);
		return ret;
	}
	connection->next = server->connections;
	server->connections = connection;
	server->count++;
	return 0;
}

void connection_free(struct connection *connection)
{
	if (connection->front_end)
		connection->front_end->destroy(connection->front);
	event_loop_unwatch(connection->server->params.loop, &connection->watch);
	close_fd(&connection->watch.fd);
	for (unsigned int i = 0; i < connection->fd_count; i++)
		close_fd(&connection->fds[i]);
	free(connection->in);
	free(connection->out);
	free(connection);
}
