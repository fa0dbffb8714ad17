/*
 * What a network interface is to the device above it: a few descriptors that carry frames. A frame
 * is a struct virtio_net_hdr_v1 and then Ethernet, and moves by one readv() or writev() between the
 * descriptor and wherever it is to be, so nothing copies it on our side. It knows no queues.
 *
 * A backend belongs to one event loop: everything here runs on its thread, but for creation and
 * net_backend_destroy() (control thread, with no descriptor watched).
 */
#pragma once

#include <linux/virtio_net.h>

#include "base/error.h"

#define NET_QUEUE_PAIRS_MAX 8u

/* The longest frame with its header: VIRTIO 1.2, 5.1.6.3.1; and room for a VLAN tag. */
#define NET_FRAME_MAX 65562u
#define NET_FRAME_ROOM (NET_FRAME_MAX + 4u)

/* Segmentation of UDP, VIRTIO 1.3 section 5.1.3; not in every linux/virtio_net.h yet. */
#ifndef VIRTIO_NET_F_HOST_USO
#define VIRTIO_NET_F_GUEST_USO4 54
#define VIRTIO_NET_F_GUEST_USO6 55
#define VIRTIO_NET_F_HOST_USO 56
#endif

#define NET_FEATURE(name) (1ull << VIRTIO_NET_F_##name)

struct net_backend;

struct net_backend_ops {
	/* Which of the GUEST_* features (bits of VIRTIO_NET_F_*) received frames may make use of. */
	int (*set_offloads)(struct net_backend *backend, uint64_t features);
	/* Frames arrive at the first `pairs` descriptors only. */
	int (*set_pairs)(struct net_backend *backend, unsigned int pairs);
	void (*destroy)(struct net_backend *backend);
};

struct net_backend {
	const struct net_backend_ops *ops;
	uint64_t features;  /* bits of VIRTIO_NET_F_*: the offloads that it can do, both ways */
	unsigned int pairs; /* descriptors */
	/*
	 * Non-blocking. What read() and write() answer: -EAGAIN, nothing there or no room, and a watch
	 * tells when that changes; -EBADFD or an end of file, the interface is gone; another error is
	 * that frame's.
	 */
	int fds[NET_QUEUE_PAIRS_MAX];
};

/* What a tap is opened from. */
struct net_tap_params {
	const char *net;    /* the device's name, for messages */
	const char *tap;    /* the interface's; or NULL, and then: */
	int fd;		    /* a tap open already; taken over, whatever the result */
	unsigned int pairs; /* 1 to NET_QUEUE_PAIRS_MAX; a descriptor is 1 */
};

/*
 * Opens a tap of the host, which is made if there is none of this name and we may. Control thread.
 * The error names the device and the tap.
 */
must_check int net_tap_open(struct net_backend **out, const struct net_tap_params *params,
			    struct error *err);

static inline int net_backend_set_offloads(struct net_backend *backend, uint64_t features)
{
	return backend->ops->set_offloads(backend, features);
}

static inline int net_backend_set_pairs(struct net_backend *backend, unsigned int pairs)
{
	return backend->ops->set_pairs(backend, pairs);
}

static inline void net_backend_destroy(struct net_backend *backend)
{
	if (backend)
		backend->ops->destroy(backend);
}
