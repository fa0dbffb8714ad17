/*
 * One client of the socket: bytes in, bytes out, descriptors in. What the bytes mean is its front
 * end's business, which the first byte chooses (HTTP begins with a letter, MessagePack-RPC with an
 * array). Control thread.
 *
 * Nothing blocks. A client that does not read its answers is not served further until it does; one
 * that sends faster than it is served waits in its socket.
 */
#pragma once

#include "api-socket/fields.h"
#include "base/event_loop.h"

struct controller;
struct connection;

#define CONNECTION_FDS_MAX 16u

/* A way of talking. Constant. */
struct front_end {
	const char *name;

	/* A connection of it begins. NULL when out of memory. */
	void *(*create)(struct connection *connection);
	void (*destroy)(void *front);

	/*
	 * Takes bytes: as many as it needs for at most one request, which it serves. Returns how many
	 * it has taken; they are not shown again. Fewer than all means: call again (after what was sent
	 * has gone out); none: when there are more. -errno ends the connection once all that was sent has gone out.
	 */
	ssize_t (*consume)(void *front, const uint8_t *bytes, size_t count);

	/* Has it taken the beginning of a request, of which the rest is yet to come? NULL: it takes whole ones. */
	bool (*has_part)(void *front);
};

extern const struct front_end http_front_end, rpc_front_end;

/* What front ends use ---------------------------------------------------------------------------*/

struct controller *connection_controller(struct connection *connection);

/* The most bytes that the body of a request may have. */
size_t connection_payload_max(const struct connection *connection);

/* Adds bytes to what goes out. Never blocks; out of memory ends the connection. */
void connection_send(struct connection *connection, const void *bytes, size_t count);

/* A request was served: the time that the next may take begins. */
void connection_request_done(struct connection *connection);

/* How many bytes wait to be taken by the client. */
size_t connection_pending(const struct connection *connection);

/* After the answer that was just sent the process is to end. */
void connection_end_process(struct connection *connection);

/* The connection ends without more ado, once the front end has returned. */
void connection_break(struct connection *connection);

/* The last `count` bytes were sent while the front end was not asked, as at an event: they go out in the loop's next
 * turn. A client that lets too much of this pile up is disconnected; what it has asked for does not count. */
void connection_wake(struct connection *connection, size_t count);

/* Sends what waits, as far as it goes at once: for what is not to wait until the loop turns. */
void connection_send_waiting(struct connection *connection);

/*
 * Descriptors that came with the next `len` bytes of those that consume() was shown, and were not taken:
 * count of them, in fds. The taker's to close. (A descriptor comes with the bytes of one sendmsg();
 * it belongs to the request that has the last of these bytes.)
 */
unsigned int connection_take_fds(struct connection *connection, size_t len,
				 int fds[CONNECTION_FDS_MAX]);
