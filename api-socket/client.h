/*
 * A client of a mayfly's API socket, over MessagePack-RPC (docs/protocol.md lists the methods). Values are
 * jansson's trees. Link with `pkg-config --static --libs mayfly-client`.
 *
 *	struct mayfly_client *vm;
 *	json_t *info;
 *
 *	if (mayfly_client_open(&vm, "/run/vm.sock") < 0)
 *		err(1, "vm.sock");
 *	if (mayfly_client_call(vm, "vm.info", NULL, &info) < 0)
 *		errx(1, "%s", mayfly_client_error(vm));
 *
 * Pipelined: several mayfly_client_send(), then a mayfly_client_receive() for each, in any order. Events
 * that have been subscribed to are kept until mayfly_client_event() asks for them.
 *
 * A client belongs to one thread at a time. Nothing here ends the process or prints.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct mayfly_client;

/* Descriptors that one request can pass along. */
#define MAYFLY_CLIENT_FDS_MAX 16u

/* -errno. */
int mayfly_client_open(struct mayfly_client **out, const char *path);

/* The same, and then mayfly_client_set_timeout(), which counts for the connection itself too. */
int mayfly_client_open_within(struct mayfly_client **out, const char *path,
			      unsigned int timeout_ms);

/* NULL is fine. Answers that are still to come are lost. */
void mayfly_client_close(struct mayfly_client *client);

/* Readable when an answer or an event may have come: to wait for several clients. */
int mayfly_client_fd(const struct mayfly_client *client);

/* From now on an answer, however many pieces it comes in, or a send that takes longer than this (ms; 0: as long as it
 * takes) fails with -ETIMEDOUT, and the connection is of no further use. -errno. */
int mayfly_client_set_timeout(struct mayfly_client *client, unsigned int timeout_ms);

/* Why the last call that failed did: a sentence, good until the next call. */
const char *mayfly_client_error(const struct mayfly_client *client);

/*
 * Calls a method and waits for its answer. params: an object or NULL; stays the caller's. *result: the
 * caller's to release, null for most methods; `result` may be NULL. 0; -EREMOTEIO: refused, for the reason that
 * mayfly_client_error() has; any other -errno: the connection is of no further use.
 */
int mayfly_client_call(struct mayfly_client *client, const char *method, json_t *params,
		       json_t **result);

/* Sends a request, with descriptors that its params name as {"fd": i}; they stay the caller's. *id is what
 * mayfly_client_receive() wants. -errno as above. */
int mayfly_client_send(struct mayfly_client *client, const char *method, json_t *params,
		       const int *fds, unsigned int fd_count, uint32_t *id);

/* Waits for the answer to the request. As mayfly_client_call(). */
int mayfly_client_receive(struct mayfly_client *client, uint32_t id, json_t **result);

/* Has the answer to the request been read while something else was waited for? Then mayfly_client_receive() does not
 * wait. To go on with other things meanwhile: mayfly_client_event() with no time reads what has come. */
bool mayfly_client_answered(const struct mayfly_client *client, uint32_t id);

/*
 * The next event: *name and *details are the caller's to free() and to release. Waits at most timeout_ms (-1: as
 * long as it takes); -ETIMEDOUT.
 */
int mayfly_client_event(struct mayfly_client *client, int timeout_ms, char **name,
			json_t **details);
