/*
 * A MessagePack-RPC client's bytes: measured, read, called, written again; then the same bytes to the front end, with
 * descriptors that came somewhere among them. Nothing is started, and no file is opened. What is answered is whole
 * answers, and each descriptor has been closed in the end.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "api-socket/connection.h"
#include "api-socket/controller_priv.h"
#include "api-socket/rpc_tree.h"
#include "api-socket/server_priv.h"
#include "base/log.h"
#include "tests/fuzz/no_guest.h"

#define LEN_MAX 51200u

static struct controller *controller;

static int drop(void *to, const char *bytes, size_t len)
{
	(void)to;
	(void)bytes;
	(void)len;
	return 0;
}

/* Methods that touch nothing outside; what starts a machine or opens a path is left out. */
static void call(const json_t *tree)
{
	const char *name = json_string_value(json_array_get(tree, 2));
	const struct method *method = name ? method_by_name(name) : NULL;
	struct listener listener = { .kinds = 0 };
	struct api_input input = { .tree = json_array_get(json_array_get(tree, 3), 0),
				   .listener = &listener };
	struct field_error why;
	struct api_reply reply;

	if (!method || strcmp(name, "action") == 0 || (input.tree && !json_is_object(input.tree)))
		return;
	if (strncmp(name, "machine.", 8) != 0 && strncmp(name, "events.", 7) != 0 &&
	    strncmp(name, "drive.", 6) != 0 && strncmp(name, "vm.info", 7) != 0)
		return;
	method_call(controller, method, &input, &why, &reply);
	if (reply.result)
		rpc_tree_write(reply.result, drop, NULL);
	json_decref(reply.result);
}

static void read_and_call(const uint8_t *data, size_t size)
{
	const struct controller_params params = no_guest_params();
	struct error err;
	const char *why;
	json_t *tree;
	size_t len;

	if (!controller && controller_create(&controller, &params, &err) < 0)
		abort();
	while (size > 0 && rpc_measure(data, size, LEN_MAX, &len, &why) == RPC_WHOLE) {
		if (len == 0 || len > size)
			abort();
		tree = rpc_tree_read(data, len, &err);
		if (tree) {
			rpc_tree_write(tree, drop, NULL);
			call(tree);
		}
		json_decref(tree);
		data += len;
		size -= len;
	}
}

/* The front end ---------------------------------------------------------------------------------*/

#define FDS 3u

/* Requests that would make files, open devices or start a guest are not what this is about. */
static bool is_harmless(const uint8_t *data, size_t size)
{
	static const char *const words[] = { "path", "InstanceStart", "host_dev",
					     "boot", "snapshot",      "configure" };

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (memmem(data, size, words[i], strlen(words[i])))
			return false;
	return true;
}

/* One each for every third of the bytes. */
static void lend_descriptors(struct connection *connection, size_t size)
{
	for (unsigned int i = 0; i < FDS; i++) {
		connection->fds[i] = open("/dev/null", O_RDWR | O_CLOEXEC);
		connection->fd_ends[i] = i * size / FDS;
		if (connection->fds[i] < 0)
			abort();
	}
	connection->fd_count = FDS;
}

static void consume(struct connection *connection, const uint8_t *data, size_t size)
{
	while (size > 0 && !connection->broken) {
		ssize_t taken = connection->front_end->consume(connection->front, data, size);

		if (taken <= 0)
			break;
		for (unsigned int i = 0; i < connection->fd_count; i++)
			connection->fd_ends[i] -= MIN(connection->fd_ends[i], (size_t)taken);
		data += taken;
		size -= (size_t)taken;
	}
}

static void check_answers(const uint8_t *data, size_t size)
{
	const char *why;
	size_t len;

	for (; size > 0; data += len, size -= len)
		if (rpc_measure(data, size, size, &len, &why) != RPC_WHOLE)
			abort();
}

/* A bit for each of the first 64. */
static uint64_t open_descriptors(void)
{
	uint64_t open = 0;

	for (int fd = 0; fd < 64; fd++)
		if (fcntl(fd, F_GETFD) >= 0)
			open |= UINT64_C(1) << fd;
	return open;
}

static void nothing_again(struct loop_timer *timer)
{
	(void)timer;
}

static void serve(const uint8_t *data, size_t size)
{
	struct api_server server = { .params.payload_max = LEN_MAX };
	struct connection connection = { .server = &server,
					 .watch.fd = -1,
					 .front_end = &rpc_front_end };
	struct controller_params params = no_guest_params();
	struct error err;
	const uint64_t before = open_descriptors();

	if (event_loop_create(&params.loop, EVENT_LOOP_EPOLL, "fuzz", &err) < 0 ||
	    controller_create(&server.params.controller, &params, &err) < 0)
		abort();
	server.params.loop = params.loop;
	if (loop_timer_init(&server.again, params.loop, nothing_again) < 0)
		abort();
	connection.front = rpc_front_end.create(&connection);
	lend_descriptors(&connection, size);
	consume(&connection, data, size);
	listeners_tell(&server.params.controller->listeners, EVENT_STATE, NULL);
	if (!connection.broken)
		check_answers(connection.out, connection.out_len);
	rpc_front_end.destroy(connection.front);
	for (unsigned int i = 0; i < connection.fd_count; i++)
		close_fd(&connection.fds[i]);
	free(connection.out);
	loop_timer_fini(&server.again);
	controller_destroy(server.params.controller);
	event_loop_destroy(params.loop);
	if (open_descriptors() != before)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	log_set_level(LOG_ERROR);
	read_and_call(data, size);
	if (is_harmless(data, size))
		serve(data, size);
	return 0;
}
