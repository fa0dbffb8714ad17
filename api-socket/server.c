#include "api-socket/server.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "api-socket/server_priv.h"
#include "base/clock.h"
#include "base/log.h"

#define PATIENCE_DEFAULT_NS 60000000000u
#define ACCEPT_AGAIN_NS 100000000u
#define FLUSH_PATIENCE_NS 1000000000u

/* Connections -----------------------------------------------------------------------------------*/

void server_forget(struct api_server *server, struct connection *connection)
{
	struct connection **at = &server->connections;

	while (*at != connection)
		at = &(*at)->next;
	*at = connection->next;
	server->count--;
	server->http_count -= connection->front_end == &http_front_end;
}

static bool has_more(const struct api_server *server)
{
	for (const struct connection *at = server->connections; at; at = at->next)
		if (at->more)
			return true;
	return false;
}

/* At once for those with more to do, in a while for those that are stuck. */
void server_call_again(struct api_server *server)
{
	if (has_more(server))
		loop_timer_arm(&server->again, 0);
	else if (!server->again.armed)
		loop_timer_arm(&server->again, server->params.patience_ns / 12);
}

/* Serving one may end it, and only it. */
static void serve_again(struct loop_timer *timer)
{
	struct api_server *server = container_of(timer, struct api_server, again);
	struct connection *next;

	for (struct connection *at = server->connections; at; at = next) {
		next = at->next;
		if (at->stuck_since &&
		    clock_now_ns(CLOCK_MONOTONIC) - at->stuck_since > server->params.patience_ns) {
			log_info("api: a client was in the middle of a request for too long");
			at->broken = true;
		}
		if (at->more || at->broken)
			connection_serve(at);
		else if (at->stuck_since)
			server_call_again(server);
	}
}

/* No descriptor, or no memory: the client stays in the listener's queue, of which the kernel has told once and
 * does not tell again. */
static void wait_for_room(struct api_server *server, int code)
{
	if (!server->is_full)
		log_warn("api: cannot accept a client, will try again: %s", strerrordesc_np(code));
	server->is_full = true;
	loop_timer_arm(&server->accept_again, ACCEPT_AGAIN_NS);
}

static void accept_clients(struct api_server *server)
{
	for (;;) {
		int fd = accept4(server->listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
			continue;
		if (fd < 0 && errno != EAGAIN)
			return wait_for_room(server, errno);
		server->is_full = false;
		if (fd < 0)
			return;
		if (server->count == API_CONNECTIONS_MAX)
			close_fd(&fd);
		else if (connection_open(server, fd) < 0)
			log_warn("api: no memory for another client");
	}
}

static void on_client(struct loop_watch *watch)
{
	accept_clients(container_of(watch, struct api_server, listener));
}

static void on_accept_again(struct loop_timer *timer)
{
	accept_clients(container_of(timer, struct api_server, accept_again));
}

/* The socket ------------------------------------------------------------------------------------*/

static int explain_bind(const char *path, int code, struct error *err)
{
	struct stat st;

	if (code == EADDRINUSE && lstat(path, &st) == 0 && !S_ISSOCK(st.st_mode))
		return error_set(err, EEXIST, "%s exists and is no socket", path);
	if (code == EADDRINUSE)
		return error_set(
			err, EADDRINUSE,
			"Failed to open the API socket at: %s. Check that it is not already "
			"used.",
			path);
	return error_set_errno(err, code, "Failed to open the API socket at: %s", path);
}

static int bind_socket(struct api_server *server, const char *path, struct error *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd;

	if (strlen(path) >= sizeof(address.sun_path))
		return error_set(
			err, ENAMETOOLONG,
			"the API socket's path has %zu bytes, at most %zu are possible: %s",
			strlen(path), sizeof(address.sun_path) - 1, path);
	if (!*path)
		return error_set(err, EINVAL, "the API socket's path is empty");
	memcpy(address.sun_path, path, strlen(path));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return error_set_errno(err, errno, "cannot make the API socket");
	server->listener = (struct loop_watch){ .fd = fd, .ready = on_client };
	if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return explain_bind(path, errno, err);
	if (lstat(path, &server->bound) < 0)
		return error_set_errno(err, errno, "the API socket at %s is gone already", path);
	server->path = strdup(path);
	if (!server->path) {
		unlink(path);
		return error_set(err, ENOMEM, "out of memory");
	}
	if (listen(fd, 128) < 0)
		return error_set_errno(err, errno, "cannot listen on the API socket");
	return 0;
}

int api_server_create(struct api_server **out, const char *path, struct error *err)
{
	struct api_server *server = calloc(1, sizeof(*server));
	int ret;

	if (!server)
		return error_set(err, ENOMEM, "out of memory");
	server->listener.fd = server->again.watch.fd = server->accept_again.watch.fd = -1;
	ret = bind_socket(server, path, err);
	if (ret < 0)
		api_server_destroy(server);
	else
		*out = server;
	return ret;
}

int api_server_serve(struct api_server *server, const struct api_server_params *params,
		     struct error *err)
{
	int ret;

	server->params = *params;
	if (!params->patience_ns)
		server->params.patience_ns = PATIENCE_DEFAULT_NS;
	ret = loop_timer_init(&server->again, params->loop, serve_again);
	if (ret == 0)
		ret = loop_timer_init(&server->accept_again, params->loop, on_accept_again);
	if (ret < 0)
		return error_set_errno(err, ret, "cannot make a timer");
	ret = event_loop_watch(params->loop, &server->listener);
	return ret < 0 ? error_set_errno(err, ret, "cannot watch the API socket") : 0;
}

/* Those who have not taken all; at most `max`. */
static nfds_t find_takers(struct api_server *server, struct pollfd *takers, nfds_t max)
{
	nfds_t count = 0;
	for (struct connection *at = server->connections; at && count < max; at = at->next) {
		connection_send_waiting(at);
		if (at->out_len > 0 && !at->broken)
			takers[count++] = (struct pollfd){ .fd = at->watch.fd, .events = POLLOUT };
	}
	return count;
}

void api_server_flush(struct api_server *server)
{
	uint64_t until = clock_now_ns(CLOCK_MONOTONIC) + FLUSH_PATIENCE_NS, now;
	struct pollfd takers[API_CONNECTIONS_MAX];
	nfds_t count = server ? find_takers(server, takers, ARRAY_SIZE(takers)) : 0;

	while (count > 0 && (now = clock_now_ns(CLOCK_MONOTONIC)) < until) {
		if (poll(takers, count, (int)((until - now) / 1000000) + 1) < 0 && errno != EINTR)
			return;
		count = find_takers(server, takers, ARRAY_SIZE(takers));
	}
}

/* Somebody else may have put another socket where ours was. */
static bool is_ours(const struct api_server *server)
{
	struct stat now;

	return server->path && lstat(server->path, &now) == 0 &&
	       now.st_dev == server->bound.st_dev && now.st_ino == server->bound.st_ino;
}

void api_server_destroy(struct api_server *server)
{
	struct connection *next;

	if (!server)
		return;
	for (struct connection *at = server->connections; at; at = next) {
		next = at->next;
		connection_free(at);
	}
	event_loop_unwatch(server->params.loop, &server->listener);
	close_fd(&server->listener.fd);
	loop_timer_fini(&server->again);
	loop_timer_fini(&server->accept_again);
	if (is_ours(server))
		unlink(server->path);
	free(server->path);
	free(server);
}
