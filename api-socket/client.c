#include "api-socket/client.h"

#include <fcntl.h>
#include <msgpack.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include "api-socket/rpc_tree.h"

/* The longest answer that is waited for. */
#define ANSWER_MAX MIB(16)
#define READ_SIZE 65536u

/* Events that are kept until somebody asks for them. */
#define EVENTS_MAX 65536u

struct mayfly_client {
	int fd;
	uint32_t last_id;
	unsigned int timeout_ms; /* 0: none */
	char error[600];
	uint8_t *in; /* what has come and is no whole message yet */
	size_t in_len, in_size;
	json_t *answers; /* messages that nobody has asked for yet, in the order they came */
	json_t *events;
};

/* Life -------------------------------------------------------------------------------------------*/

/* A path that is too long for an address is reached through its folder. */
static int shorten(const char *path, char *out, size_t size, int *folder)
{
	const char *name = strrchr(path, '/');
	char *dir;

	if (!name)
		return -ENAMETOOLONG;
	dir = strndup(path, (size_t)(name - path));
	*folder = dir ? open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
	free(dir);
	if (*folder < 0)
		return -errno;
	return snprintf(out, size, "/proc/self/fd/%d%s", *folder, name) < (int)size ? 0
										    : -ENAMETOOLONG;
}

static int connect_to(int fd, const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	cleanup_fd int folder = -1;
	int ret = 0;

	if (strlen(path) < sizeof(address.sun_path))
		memcpy(address.sun_path, path, strlen(path));
	else
		ret = shorten(path, address.sun_path, sizeof(address.sun_path), &folder);
	if (ret < 0)
		return ret;
	return connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
}

int mayfly_client_open_within(struct mayfly_client **out, const char *path, unsigned int timeout_ms)
{
	struct mayfly_client *client = calloc(1, sizeof(*client));
	int ret = -ENOMEM;

	if (!client)
		return ret;
	client->answers = json_array();
	client->events = json_array();
	client->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (client->fd < 0)
		ret = -errno;
	else if (client->answers && client->events)
		ret = mayfly_client_set_timeout(client, timeout_ms);
	if (ret == 0)
		ret = connect_to(client->fd, path);
	if (ret < 0)
		mayfly_client_close(client);
	else
		*out = client;
	return ret;
}

int mayfly_client_open(struct mayfly_client **out, const char *path)
{
	return mayfly_client_open_within(out, path, 0);
}

void mayfly_client_close(struct mayfly_client *client)
{
	if (!client)
		return;
	close_fd(&client->fd);
	json_decref(client->answers);
	json_decref(client->events);
	free(client->in);
	free(client);
}

int mayfly_client_fd(const struct mayfly_client *client)
{
	return client->fd;
}

int mayfly_client_set_timeout(struct mayfly_client *client, unsigned int timeout_ms)
{
	const struct timeval limit = { timeout_ms / 1000, timeout_ms % 1000 * 1000 };

	client->timeout_ms = timeout_ms;
	if (setsockopt(client->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0 ||
	    setsockopt(client->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0)
		return -errno;
	return 0;
}

const char *mayfly_client_error(const struct mayfly_client *client)
{
	return client->error;
}

printf_like(3, 4) static int fail(struct mayfly_client *client, int code, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(client->error, sizeof(client->error), fmt, args);
	va_end(args);
	return -code;
}

/* Sending ---------------------------------------------------------------------------------------*/

/* The descriptors go with the first byte. */
static int send_bytes(struct mayfly_client *client, const msgpack_sbuffer *bytes, const int *fds,
		      unsigned int fd_count)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(MAYFLY_CLIENT_FDS_MAX * sizeof(int))];
	size_t done = 0;

	while (done < bytes->size) {
		struct iovec piece = { bytes->data + done, bytes->size - done };
		struct msghdr message = { .msg_iov = &piece, .msg_iovlen = 1 };
		ssize_t count;

		if (fd_count > 0 && done == 0) {
			struct cmsghdr *part = (struct cmsghdr *)(void *)control;

			memset(control, 0, sizeof(control));
			part->cmsg_level = SOL_SOCKET;
			part->cmsg_type = SCM_RIGHTS;
			part->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
			memcpy(CMSG_DATA(part), fds, fd_count * sizeof(int));
			message.msg_control = control;
			message.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
		}
		count = retry_eintr(sendmsg(client->fd, &message, MSG_NOSIGNAL));
		if (count < 0 && errno == EAGAIN)
			return fail(client, ETIMEDOUT, "the request was not taken in time");
		if (count < 0)
			return fail(client, errno, "cannot send: %s", strerrordesc_np(errno));
		done += (size_t)count;
	}
	return 0;
}

int mayfly_client_send(struct mayfly_client *client, const char *method, json_t *params,
		       const int *fds, unsigned int fd_count, uint32_t *id)
{
	msgpack_sbuffer bytes = { 0 };
	json_t *message;
	int ret;

	if (fd_count > MAYFLY_CLIENT_FDS_MAX)
		return fail(client, EINVAL, "at most %u descriptors go with a request",
			    MAYFLY_CLIENT_FDS_MAX);
	*id = ++client->last_id;
	message = params ? json_pack("[i,I,s,[O]]", RPC_REQUEST, (json_int_t)*id, method, params)
			 : json_pack("[i,I,s,[]]", RPC_REQUEST, (json_int_t)*id, method);
	if (!message || rpc_tree_write(message, msgpack_sbuffer_write, &bytes) != 0)
		ret = fail(client, ENOMEM, "out of memory");
	else
		ret = send_bytes(client, &bytes, fds, fd_count);
	json_decref(message);
	msgpack_sbuffer_destroy(&bytes);
	return ret;
}

/* Receiving -------------------------------------------------------------------------------------*/

/* Takes the message over. Who sends more than `max` that nobody asks for is no microVM. */
static int keep_in(struct mayfly_client *client, json_t *list, size_t max, json_t *message)
{
	if (json_array_size(list) >= max) {
		json_decref(message);
		return fail(client, EPROTO, "more came than anybody can have asked for");
	}
	return json_array_append_new(list, message) < 0 ? fail(client, ENOMEM, "out of memory") : 0;
}

/* Puts a message where it will be looked for; takes it over. */
static int keep(struct mayfly_client *client, json_t *message)
{
	json_int_t type = json_integer_value(json_array_get(message, 0));
	const char *name = json_string_value(json_array_get(message, 1));

	if (type == RPC_RESPONSE && json_array_size(message) == 4)
		return keep_in(client, client->answers, client->last_id, message);
	if (type == RPC_NOTIFICATION && json_array_size(message) == 3 && name) {
		if (strcmp(name, "error") != 0)
			return keep_in(client, client->events, EVENTS_MAX, message);
		fail(client, EPROTO, "refused: %s",
		     json_string_value(json_object_get(
			     json_array_get(json_array_get(message, 2), 0), "message")));
	} else {
		fail(client, EPROTO, "the answer is no MessagePack-RPC");
	}
	json_decref(message);
	return -EPROTO;
}

/* 1: a message was there and is kept. */
static int take_message(struct mayfly_client *client)
{
	const char *why = "";
	struct error err;
	json_t *message;
	size_t len;
	int ret;

	if (client->in_len == 0)
		return 0;
	switch (rpc_measure(client->in, client->in_len, ANSWER_MAX, &len, &why)) {
	case RPC_PART:
		return 0;
	case RPC_LIE:
		return fail(client, EPROTO, "the answer is no MessagePack-RPC: %s", why);
	default:
		break;
	}
	message = rpc_tree_read(client->in, len, &err);
	client->in_len -= len;
	memmove(client->in, client->in + len, client->in_len);
	if (!message)
		return fail(client, EPROTO, "the answer cannot be read: %s", err.text);
	ret = keep(client, message);
	return ret < 0 ? ret : 1;
}

static int read_more(struct mayfly_client *client)
{
	ssize_t count;

	if (client->in_size - client->in_len < READ_SIZE) {
		size_t size = 2 * client->in_size + READ_SIZE;
		uint8_t *more = realloc(client->in, size);

		if (!more)
			return fail(client, ENOMEM, "out of memory");
		client->in = more;
		client->in_size = size;
	}
	count = retry_eintr(recv(client->fd, client->in + client->in_len, READ_SIZE, 0));
	if (count < 0 && errno == EAGAIN)
		return fail(client, ETIMEDOUT, "no answer came in time");
	if (count < 0)
		return fail(client, errno, "cannot receive: %s", strerrordesc_np(errno));
	if (count == 0)
		return fail(client, ECONNRESET, "the microVM's process has ended");
	client->in_len += (size_t)count;
	return 0;
}

/* Waiting ---------------------------------------------------------------------------------------*/

/* CLOCK_MONOTONIC, ms. */
static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* 1: something can be read. deadline: as now_ms(); UINT64_MAX: none. */
static int wait_until(struct mayfly_client *client, uint64_t deadline, const char *what)
{
	struct pollfd wait = { .fd = client->fd, .events = POLLIN };
	uint64_t now = now_ms();
	int left = deadline == UINT64_MAX ? -1 : deadline > now ? (int)(deadline - now) : 0;
	int ret = poll(&wait, 1, left);

	if (ret < 0 && errno == EINTR)
		return wait_until(client, deadline, what);
	if (ret < 0)
		return fail(client, errno, "cannot wait: %s", strerrordesc_np(errno));
	return ret == 0 ? fail(client, ETIMEDOUT, "no %s came in time", what) : 1;
}

/*
 * Until one more message is kept. recv()'s own limit is for the next byte: who sends one now and then must not make an
 * answer of any length of them. What has come before the end of the time counts, though it is read after it.
 */
static int wait_for_message(struct mayfly_client *client, uint64_t deadline)
{
	int ret;

	while ((ret = take_message(client)) == 0) {
		if (deadline != UINT64_MAX && client->in_len > 0 && now_ms() >= deadline)
			return fail(client, ETIMEDOUT, "no whole answer came in time");
		if (deadline != UINT64_MAX && (ret = wait_until(client, deadline, "answer")) < 0)
			return ret;
		if ((ret = read_more(client)) < 0)
			return ret;
	}
	return ret < 0 ? ret : 0;
}

/* Answers and events ----------------------------------------------------------------------------*/

/* What came of a response. */
static int unpack_answer(struct mayfly_client *client, json_t *answer, json_t **result)
{
	json_t *error = json_array_get(answer, 2);
	const char *text = json_string_value(json_object_get(error, "message"));

	if (!json_is_null(error))
		return fail(client, EREMOTEIO, "%s", text ? text : "refused without a reason");
	if (result)
		*result = json_incref(json_array_get(answer, 3));
	return 0;
}

/* Its place among the answers that are kept, or how many there are. */
static size_t find_answer(const struct mayfly_client *client, uint32_t id)
{
	size_t count = json_array_size(client->answers);

	for (size_t i = 0; i < count; i++)
		if (json_integer_value(json_array_get(json_array_get(client->answers, i), 1)) == id)
			return i;
	return count;
}

bool mayfly_client_answered(const struct mayfly_client *client, uint32_t id)
{
	return find_answer(client, id) < json_array_size(client->answers);
}

int mayfly_client_receive(struct mayfly_client *client, uint32_t id, json_t **result)
{
	const uint64_t deadline = client->timeout_ms > 0 ? now_ms() + client->timeout_ms
							 : UINT64_MAX;
	size_t at;
	int ret;

	while ((at = find_answer(client, id)) == json_array_size(client->answers)) {
		ret = wait_for_message(client, deadline);
		if (ret < 0)
			return ret;
	}
	ret = unpack_answer(client, json_array_get(client->answers, at), result);
	json_array_remove(client->answers, at);
	return ret;
}

int mayfly_client_call(struct mayfly_client *client, const char *method, json_t *params,
		       json_t **result)
{
	uint32_t id;
	int ret = mayfly_client_send(client, method, params, NULL, 0, &id);

	return ret < 0 ? ret : mayfly_client_receive(client, id, result);
}

int mayfly_client_event(struct mayfly_client *client, int timeout_ms, char **name, json_t **details)
{
	const uint64_t deadline = timeout_ms < 0 ? UINT64_MAX : now_ms() + (uint64_t)timeout_ms;
	json_t *event;
	int ret;

	while (json_array_size(client->events) == 0) {
		ret = take_message(client);
		if (ret == 0 && (ret = wait_until(client, deadline, "event")) > 0)
			ret = read_more(client);
		if (ret < 0)
			return ret;
	}
	event = json_array_get(client->events, 0);
	*name = strdup(json_string_value(json_array_get(event, 1)));
	*details = json_incref(json_array_get(json_array_get(event, 2), 0));
	json_array_remove(client->events, 0);
	return *name ? 0 : fail(client, ENOMEM, "out of memory");
}
