/*
 * virtio-net (VIRTIO 1.2 section 5.1): checksum and segmentation offloads, merged receive buffers,
 * MAC, MTU, link status, a control queue for the MAC and for several queue pairs.
 *
 *   rx: tap -> readv() -> the guest's buffers         tx: the guest's buffers -> writev() -> tap
 *
 * A frame is copied by the host's kernel alone, but for its headers on the way out.
 */
#pragma once

#include "base/token_bucket.h"
#include "virtio/net_backend.h"
#include "virtio/virtio_device.h"

/* What an interface is made from. Not called virtio_net_config: that is the guest's, in linux/. */
struct virtio_net_params {
	const char *name; /* "net0", for messages */
	bool has_mac;	  /* else one is made up: random, locally administered */
	uint8_t mac[6];
	uint16_t mtu;	/* advertised to the driver; 0: none is */
	bool antispoof; /* drop frames whose source is not the device's MAC; else they are
				    counted only */
	struct rate_config rx_rate, tx_rate; /* as the guest sees it: rx is what it receives */
	unsigned int queue_size;	     /* entries, a power of 2, 0 for the default of 256 */
};

/*
 * Control thread. Takes the backend over, whatever the result; it has a queue pair for each of its
 * descriptors. The error names the interface. Everything else it is given outlives the device.
 */
must_check int virtio_net_create(struct virtio_device **out, const struct virtio_net_params *params,
				 struct net_backend *backend, struct guest_memory *mem,
				 struct event_loop *loop, struct irq_line *irq, struct error *err);

/*
 * The link as the driver sees it. Down: frames are dropped and counted, both ways. Loop thread
 * (event_loop_call). -ENODEV: the tap is gone, and the link with it.
 */
must_check int virtio_net_set_link(struct virtio_device *dev, bool up);

/*
 * For a clone, before its guest runs and after its state was loaded: another MAC. Its driver keeps the one that
 * it knows until it asks again, and frames from that one pass until it does. -EINVAL: of a group, or zero.
 */
must_check int virtio_net_set_mac(struct virtio_device *dev, const uint8_t mac[static 6],
				  struct error *err);

/* What it has now; still the device's. Control thread. */
struct net_backend *virtio_net_backend(struct virtio_device *dev);

/*
 * For a clone, before its state is loaded, while the device is paused: another tap; *backend is the one it had
 * afterwards, the caller's to destroy or to put back. -EINVAL: it has another number of queues.
 */
must_check int virtio_net_swap_backend(struct virtio_device *dev, struct net_backend **backend,
				       struct error *err);

/* New limits: NULL leaves one as it is, one of zeroes takes it away. */
struct net_rates {
	const struct bucket_config *rx_bytes, *rx_ops, *tx_bytes, *tx_ops;
};

/* Control thread; the guest may run. A new bucket starts full, with its burst; frames that wait are
 * tried at once. -errno when the host has no timer for it: then nothing has changed. */
must_check int virtio_net_set_rates(struct virtio_device *dev, const struct net_rates *rates,
				    struct error *err);

/* Of a frame: ARP for IPv4, or Ethernet and IPv4 headers up to both addresses. */
#define NET_PEEK 42u

/*
 * Somebody between guest and tap, who takes some frames for himself and answers them: the metadata
 * service. One for each device; the loop's, and called on its thread only.
 */
struct net_filter {
	/*
	 * A frame that the guest sends: Ethernet (no virtio header), `len` bytes. The first
	 * NET_PEEK bytes are ours, in iov[0], and what the tap gets if the frame is not taken; the
	 * rest lies in guest memory and may change while one looks, so read it once. True: taken,
	 * the tap never sees it. May inject frames.
	 */
	bool (*frame)(struct net_filter *filter, const struct iovec *iov, unsigned int count,
		      size_t len);
	/* The guest has posted receive buffers: after an injection was told -EAGAIN. May be NULL. */
	void (*rx_room)(struct net_filter *filter);
	/* Of the frame that frame() is called for: the driver left its checksum to us. The device's. */
	bool checksum_pending;
};

/* Loop thread, or before the guest runs. NULL: nobody. It outlives the device or is taken away. */
void virtio_net_set_filter(struct virtio_device *dev, struct net_filter *filter);

/*
 * Puts a frame (Ethernet, `len` bytes, from 14 up to 65,535) into the guest's receive buffers. Loop
 * thread. -EAGAIN: there is no room just now, rx_room() tells when; -ENETDOWN: the driver is not
 * there or the link is down; -EMSGSIZE: too long or too short, or never fits what the driver posts.
 */
must_check int virtio_net_inject(struct virtio_device *dev, const void *frame, size_t len);
