/* Private to virtio/virtio_net*.c (and tests): an interface and its queues. All of it is the loop's. */
#pragma once

#include <linux/if_ether.h>
#include <sys/uio.h>

#include "virtio/rate_limiter.h"
#include "virtio/virtio_net.h"

#define NET_QUEUE_SIZE_DEFAULT 256u

/* Buffers in one chain, at most: more than any driver makes of 64 KiB. */
#define NET_CHAIN_MAX 256u

/* Receive buffers held at once end at this many descriptors, plus what the last chain brought. */
#define NET_HELD_MAX 512u
#define NET_RX_IOVS (NET_HELD_MAX + 2 * NET_CHAIN_MAX)

/* What is held for a frame where none is longer than the usual MTU. A longer one is parked first. */
#define NET_FRAME_USUAL 1530u

#define NET_HEADER sizeof(struct virtio_net_hdr_v1)

/* The shortest frame with its header. */
#define NET_HEADERS (NET_HEADER + ETH_HLEN)

/* In the order of their names in virtio_net.c. */
enum net_counter {
	NET_EVENT_FAILS,
	NET_NO_RX_AVAIL_BUFFER,
	NET_NO_TX_AVAIL_BUFFER,
	NET_RX_QUEUE_EVENTS,
	NET_RX_TAP_EVENTS,
	NET_RX_LIMITER_EVENTS,
	NET_RX_THROTTLED,
	NET_RX_BYTES,
	NET_RX_PACKETS,
	NET_RX_FAILS,
	NET_RX_COUNT,
	NET_TAP_READ_FAILS,
	NET_TAP_WRITE_FAILS,
	NET_TX_BYTES,
	NET_TX_MALFORMED,
	NET_TX_FAILS,
	NET_TX_COUNT,
	NET_TX_PACKETS,
	NET_TX_QUEUE_EVENTS,
	NET_TX_SPOOFED,
	NET_TX_LIMITER_EVENTS,
	NET_TX_THROTTLED,
	NET_TX_REMAINING,
	NET_COUNTERS,
};

struct net_held {
	uint16_t head;
	uint16_t iovs;
	uint32_t bytes; /* its room for frames; at most NET_FRAME_ROOM */
};

/*
 * One queue pair.
 *
 * Receive buffers are popped ahead, as many as the longest frame needs, and held until frames have
 * filled them, so that readv() can put a frame of unknown length where it belongs. What does not
 * fit is caught in `spill`; the frame is then parked until the driver has posted what is missing.
 */
struct net_pair {
	struct virtio_net *net;
	unsigned int index;
	struct loop_watch watch; /* of the backend's descriptor */
	bool tx_waits;		 /* the backend had no room */
	unsigned int tx_sent;	 /* frames, in this turn */
	bool rx_starved;	 /* the driver's buffers were too few; its notification goes on */

	struct net_held held[NET_RX_IOVS]; /* a ring: chains popped and not pushed */
	unsigned int first_held, held_count;
	unsigned int first_iov, iov_count; /* of all of them, one after the other */
	uint32_t held_bytes;
	uint32_t parked; /* length of the frame that waits for buffers, header included; 0: none */
	uint32_t parked_begun; /* of it, how much lies in held buffers; the rest is in spill */

	struct iovec rx_iov[NET_RX_IOVS + 1]; /* and spill */
	struct iovec tx_iov[NET_CHAIN_MAX + 1];
	uint8_t spill[NET_FRAME_ROOM]; /* untouched while frames fit */
};

struct virtio_net {
	struct virtio_device dev;
	struct virtio_net_config config; /* what the guest reads; changes under the lock */
	struct net_backend *backend;
	struct net_filter *filter;
	bool filter_waits; /* for room */
	bool antispoof;
	bool link_up;
	bool gone;    /* the backend's interface is */
	bool keeps;   /* active_pairs and offloads are the driver's: it was not reset meanwhile */
	bool revives; /* restored from one whose tap was gone: tell the driver of the new one */
	uint8_t own_mac[ETH_ALEN];    /* what a reset returns to */
	bool has_former;	      /* the MAC was changed under a driver that still uses: */
	uint8_t former_mac[ETH_ALEN]; /* frames from it pass until one comes from the new one */
	unsigned int active_pairs;    /* of net->pairs, while running */
	uint32_t rx_want;	      /* bytes to hold for one frame, as negotiated */
	uint64_t offloads;	      /* GUEST_* features in force */
	struct rate_limiter rx_limiter, tx_limiter; /* of all pairs together */

	unsigned int pair_count;
	struct net_pair *pairs; /* mapped: what is never used is never touched */
	size_t pairs_bytes;
};

static inline struct virtio_net *net_of(struct virtio_device *dev)
{
	return container_of(dev, struct virtio_net, dev);
}

static inline struct virtio_queue *net_rx_queue(struct net_pair *pair)
{
	return &pair->net->dev.queues[2 * pair->index];
}

static inline struct virtio_queue *net_tx_queue(struct net_pair *pair)
{
	return &pair->net->dev.queues[2 * pair->index + 1];
}

static inline void net_count(struct virtio_net *net, enum net_counter counter, uint64_t n)
{
	virtio_count(&net->dev, counter, n);
}

/* virtio_net_rx.c: moves what the backend has to the guest, until one of them has no more. Returns how
 * many frames that were. */
unsigned int net_receive(struct net_pair *pair);
/* There may be receive buffers: for a filter that waits for them. */
void net_tell_filter(struct virtio_net *net);
/* Gives back, unused, what is held. */
void net_rx_stop(struct net_pair *pair);

/* virtio_net_tx.c: the transmit queue's notify(). */
void net_transmit(struct net_pair *pair);

/* virtio_net_ctrl.c: the control queue's notify(). */
void net_control(struct virtio_queue *queue);

/* virtio_net_link.c. */

/* A read or write of the backend failed: was it the end of the interface? Then the link is down now. */
bool net_is_gone(struct virtio_net *net, ssize_t ret);

/* Has the interface ended without a word? For a wake-up that brought nothing. */
void net_look_for_end(struct net_pair *pair);

/* Lets the backend spread frames over this many pairs (at least 1), and watches those. */
must_check int net_use_pairs(struct virtio_net *net, unsigned int pairs);

/* Watches none from this pair on. */
void net_unwatch(struct virtio_net *net, unsigned int first);

/* virtio_net_config.c: fills in the configuration space; returns the features to offer. */
uint64_t net_describe(struct virtio_net *net, const struct virtio_net_params *params);

/* Under the lock, for virtio_device_change_config(). */
void net_change_mac(struct virtio_device *dev, const void *mac);

/* Of one station, and not zero. */
bool net_mac_is_usable(const uint8_t mac[static ETH_ALEN]);

/* The GUEST_* features that the driver accepted; and those of them that are in force from now on. */
uint64_t net_offloads_negotiated(const struct virtio_net *net);
must_check int net_set_offloads(struct virtio_net *net, uint64_t offloads);

/* virtio_net_rate.c: a limiter's resume(). */
void net_rx_resume(struct rate_limiter *limiter);
void net_tx_resume(struct rate_limiter *limiter);

/* virtio_net_state.c */
struct net_state {
	uint8_t mac[ETH_ALEN], own_mac[ETH_ALEN], former_mac[ETH_ALEN];
	bool has_former;
	uint16_t mtu;
	uint16_t pairs, active_pairs;
	bool link_up, gone;
	bool keeps;
	uint64_t tap_features; /* VIRTIO_NET_F_* bits; for whoever looks for another tap */
	uint64_t offloads;
	struct rate_limiter_state rx_limiter, tx_limiter;
};

extern const struct state_desc net_state_desc;
void net_save(struct virtio_device *dev, void *state);
int net_load(struct virtio_device *dev, const void *state, struct error *err);
