/*
 * virtio-vsock (VIRTIO 1.2 section 5.10): stream sockets between programs of the guest and of the
 * host, over Unix sockets on the host's side (virtio/vsock_unix.h has the protocol there).
 *
 * A connection that is slow or stuck costs the others nothing: towards the guest bytes go from the
 * socket straight into the guest's buffers, when it has credit; towards the host what a socket does
 * not take is kept, up to the credit that the guest was given.
 */
#pragma once

#include "virtio/virtio_device.h"

struct vsock_unix;

#define VSOCK_CID_MIN 3u
#define VSOCK_CID_MAX (UINT32_MAX - 1)
#define VSOCK_PATH_SIZE 108u /* of a Unix socket, terminated */

struct virtio_vsock_params {
	const char *path; /* where the host's programs connect to; and the prefix of their ports */
	int listener; /* above 0: listens at its own path, which `path` is; stays the caller's */
	uint32_t cid; /* the guest's, VSOCK_CID_MIN to VSOCK_CID_MAX */
};

/* What a snapshot holds of it. The connections are not in it: a restored guest is told that they
 * are gone. */
struct virtio_vsock_state {
	uint32_t cid;
	char path[VSOCK_PATH_SIZE]; /* where it was; load() does not move the socket */
	uint32_t next_port;	    /* of the host's, for the next connection to the guest */
};

/*
 * Control thread. Listens at once; connections are accepted when the guest's driver is there. The
 * error names the path: what is there already is never replaced. The socket file is removed when
 * the device is freed.
 */
must_check int virtio_vsock_create(struct virtio_device **out,
				   const struct virtio_vsock_params *params,
				   struct guest_memory *mem, struct event_loop *loop,
				   struct irq_line *irq, struct error *err);

/*
 * For a clone, while the device is paused: another CID, after its state was loaded (the guest hears of it with
 * the reset); and another socket: *host is the one that it had afterwards. Control thread.
 */
void virtio_vsock_set_cid(struct virtio_device *dev, uint32_t cid);
void virtio_vsock_swap_host(struct virtio_device *dev, struct vsock_unix *host);
