/* Private to api-socket/server.c and connection.c. */
#pragma once

#include <sys/stat.h>

#include "api-socket/connection.h"
#include "api-socket/server.h"
#include "base/loop_timer.h"

/* What waits to be sent, at most, before a client is served no further. */
#define CONNECTION_BACKLOG 65536u

/* The same for what nobody asked for just now: who lets more of it pile up is disconnected. */
#define CONNECTION_NOTICES_MAX (4 * CONNECTION_BACKLOG)

struct connection {
	struct api_server *server;
	struct connection *next;
	struct loop_watch watch;
	const struct front_end *front_end; /* NULL: nothing has come yet */
	void *front;

	uint8_t *in; /* what has come and not been consumed */
	size_t in_len, in_size;
	uint8_t *out; /* what has not gone out */
	size_t out_len, out_size;
	size_t notices; /* of `out`, at most: what it has not asked for */
	int fds[CONNECTION_FDS_MAX];
	size_t fd_ends[CONNECTION_FDS_MAX]; /* the end, in `in`, of the bytes that each came with */
	unsigned int fd_count;

	uint64_t stuck_since; /* ns; 0: it is not in the middle of something */
	bool hungry;	      /* what is in `in` is not enough for anything */
	bool at_end;	      /* nothing more will come */
	bool broken;	      /* to be closed without more ado */
	bool closing;	      /* to be closed once `out` is gone */
	bool more;	      /* to be looked at again though its socket is quiet */
};

struct api_server {
	struct api_server_params params;
	char *path;	   /* bound */
	struct stat bound; /* what stands there since */
	struct loop_watch listener;
	struct loop_timer again;	/* for connections with `more`, and for stuck ones */
	struct loop_timer accept_again; /* there was no descriptor for a client that waits */
	struct connection *connections;
	unsigned int count, http_count;
	bool end_process;
	bool is_full; /* it was said that a client cannot be accepted */
};

/* A client has connected; takes the descriptor over. -errno: it is closed. */
must_check int connection_open(struct api_server *server, int fd);

/* Reads, serves, writes, for a bounded time. The connection may be gone afterwards. */
void connection_serve(struct connection *connection);

/* Its resources; the server has forgotten it. */
void connection_free(struct connection *connection);

/* Takes it out of the server's list. */
void server_forget(struct api_server *server, struct connection *connection);

/* connection_serve() is to be called again soon. */
void server_call_again(struct api_server *server);
