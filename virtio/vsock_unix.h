/*
 * The host's side of vsock: one listening Unix socket, where programs of the host connect to ports
 * of the guest, and sockets beside it, where they listen for the guest's connections. The protocol
 * is Firecracker's:
 *
 *   host to guest   connect to PATH, say "CONNECT <port>\n", hear "OK <port of ours>\n", then bytes
 *   guest to host   the guest connects to a port P of the host: we connect to PATH_P
 *
 * Knows no virtio and keeps no connections. Nothing here blocks; everything but open and close runs
 * on the device's loop.
 */
#pragma once

#include <sys/stat.h>
#include <sys/un.h>

#include "base/error.h"
#include "base/log.h"

/* The longest path, so that with "_4294967295" behind it it is a socket's still. */
#define VSOCK_UNIX_PATH_MAX 96u

struct vsock_unix {
	char path[VSOCK_UNIX_PATH_MAX + 1];
	int listener;
	int spare; /* given up for a moment to accept, and refuse, when descriptors have run out */
	dev_t dev; /* of our socket file, so that only ours is removed; 0: it is not ours */
	ino_t ino;
	struct log_limit warnings;
};

/*
 * Listens. -EINVAL for a path that is too long, -EADDRINUSE when there is anything at
 * the path already; the error names it. `listener` above 0 is a socket that listens already, whose path is its own
 * (vsock_unix_path_of()) and whose file stays; it stays the caller's, and waits for nobody from then on. Control thread.
 */
must_check int vsock_unix_open(struct vsock_unix *host, const char *path, int listener,
			       struct error *err);

/* The path of a Unix socket that listens. -EINVAL: `fd` is none, or has no path, or one that is too long. Any thread. */
must_check int vsock_unix_path_of(int fd, char path[static VSOCK_UNIX_PATH_MAX + 1],
				  struct error *err);

/* Stops to listen and removes the socket file if it is still ours. Harmless on listener -1. */
void vsock_unix_close(struct vsock_unix *host);

/*
 * The next program that has connected: its descriptor; -EAGAIN: none. -EMFILE: there was one, but no
 * descriptor for it, so it was disconnected; more may follow. Any other code: for now no more.
 */
must_check int vsock_unix_accept(struct vsock_unix *host);

/* A socket to connect with; -errno. */
must_check int vsock_unix_socket(void);

/*
 * Connects it to PATH_port. -EAGAIN: somebody listens and cannot take one more just now, which nobody tells the end of;
 * the same socket may try again. Another -errno: nobody listens.
 */
must_check int vsock_unix_connect(const struct vsock_unix *host, int fd, uint32_t port);

/* Takes "CONNECT <port>\n" off a new connection and not a byte more: 1, *port filled in; 0: it is
 * not complete yet; -errno: it will not be. */
must_check int vsock_unix_read_request(int fd, uint32_t *port);

/* Says "OK <port>\n". -errno: the program is gone. */
must_check int vsock_unix_accept_request(int fd, uint32_t port);

/* Is the other end gone in both directions: nothing will come and nothing can be delivered? */
bool vsock_unix_hung_up(int fd);
