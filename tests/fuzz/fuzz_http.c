/*
 * Any bytes over HTTP to a controller that has no microVM: the parser's glue, the JSON, the tables of fields,
 * every method that needs no machine. Paths that a request could have opened are taken out of its reach: the
 * fuzzer runs in a folder of its own, and what it makes there is small. Nothing may crash or hang, and what is
 * answered is whole answers. A first byte that is a control character says how many bytes of the rest come
 * at a time.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "api-socket/connection.h"
#include "api-socket/controller.h"
#include "api-socket/server_priv.h"
#include "tests/fuzz/no_guest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Requests that would make files, open devices or start a guest are not what this is about. */
static bool is_harmless(const uint8_t *data, size_t size)
{
	static const char *const words[] = { "path", "InstanceStart", "host_dev" };

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (memmem(data, size, words[i], strlen(words[i])))
			return false;
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct api_server server = { .params.payload_max = API_PAYLOAD_MAX_DEFAULT };
	struct connection connection = { .server = &server, .watch.fd = -1 };
	struct controller_params params = no_guest_params();
	struct error err;
	size_t piece = SIZE_MAX;
	void *front;

	if (!is_harmless(data, size))
		return 0;
	if (size > 0 && data[0] > 0 && data[0] < ' ') {
		piece = data[0];
		data++;
		size--;
	}
	if (event_loop_create(&params.loop, EVENT_LOOP_EPOLL, "fuzz", &err) < 0 ||
	    controller_create(&server.params.controller, &params, &err) < 0)
		abort();
	front = http_front_end.create(&connection);
	while (size > 0) {
		ssize_t taken = http_front_end.consume(front, data, MIN(size, piece));

		if (taken <= 0)
			break;
		data += taken;
		size -= (size_t)taken;
	}
	if (connection.out_len && memcmp(connection.out, "HTTP/1.1 ", 9) != 0)
		abort();
	http_front_end.destroy(front);
	free(connection.out);
	controller_destroy(server.params.controller);
	event_loop_destroy(params.loop);
	return 0;
}
