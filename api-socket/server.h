/*
 * The API socket: a Unix stream socket, its clients, and their limits. Runs on the control loop; no
 * thread of its own, nothing blocks, and no guest waits for it.
 */
#pragma once

#include "base/event_loop.h"

struct api_server;
struct controller;

#define API_PAYLOAD_MAX_DEFAULT 51200u
#define API_HTTP_CONNECTIONS_MAX 10u /* Firecracker's */
#define API_CONNECTIONS_MAX 64u	     /* of all kinds */

struct api_server_params {
	size_t payload_max;
	struct event_loop *loop;
	struct controller *controller; /* outlives the server */
	/* How long a client may be in the middle of something without a byte moving; 0: a minute. */
	uint64_t patience_ns;
	void (*end)(void *opaque); /* the process is to end, with a failure */
	/* The process was told to end: no request is served any more. NULL: it never is. */
	bool (*is_ending)(void *opaque);
	void *opaque;
};

/*
 * Makes the socket at `path`, where nothing may be yet, and listens: from now on clients connect and send, and wait. On
 * failure nothing is left behind, in the file system neither.
 */
must_check int api_server_create(struct api_server **out, const char *path, struct error *err);

/* From the loop's next turn on they are served. Once. -errno and *err: they are not. */
must_check int api_server_serve(struct api_server *server, const struct api_server_params *params,
				struct error *err);

/* What waits to be sent goes out, as far as its clients take it within a second: before the process ends. No request is
 * served any more. */
void api_server_flush(struct api_server *server);

/* Ends all connections and removes the socket. NULL is fine. */
void api_server_destroy(struct api_server *server);
