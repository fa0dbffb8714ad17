/*
 * The metadata service on one network device: Ethernet, ARP and IPv4, as much of them as it takes to
 * bring TCP segments in and out.
 *
 * A frame is the service's when the guest sent it and it is for the service's address (IPv4) or asks
 * about it (ARP): such a frame never reaches the tap, whatever else is wrong with it. Frames that
 * come from the tap are never looked at: nobody outside the guest can reach the service, whatever
 * addresses they write. Of the guest's, answered are ARP requests, and TCP in IPv4 without options
 * and without fragments: that is what a guest's stack sends to an on-link host, and reassembly would
 * be memory that a guest decides on. Answers have TTL 1, like Firecracker's: they end at the guest
 * and do not go through it to somebody else.
 *
 * Nothing is queued: what the guest has no buffer for is dropped, and comes again because its asker
 * asks again (ARP, RST) or because TCP keeps it.
 *
 * Belongs to one network device and runs on its loop's thread; the caller brings the clock, in
 * milliseconds of CLOCK_MONOTONIC. No loop, no descriptor, no thread of its own.
 */
#pragma once

#include "vmm/mmds/mmds_tcp.h"

/* Of a frame, what mmds_net_wants() must see. */
#define MMDS_PEEK 42u
/* The longest frame to us: a whole window in one segment, which a guest that leaves segmentation to
 * its device does send. Longer ones are malformed. */
#define MMDS_FRAME_MAX (14u + 20u + 60u + MMDS_REQUEST_MAX)

/* As Firecracker's, which guests may have in their tables. */
#define MMDS_MAC                                   \
	{                                          \
		0x06, 0x01, 0x23, 0x45, 0x67, 0x01 \
	}

struct mmds_net {
	struct mmds_tcp tcp;
	/* Puts a frame into the guest's receive ring, whole; false when it has no buffer. Must not call
	 * back. */
	bool (*send)(void *opaque, const void *frame, size_t len);
	void *opaque;
};

must_check int mmds_net_create(struct mmds_net **out, struct mmds *mmds,
			       bool (*send)(void *opaque, const void *frame, size_t len),
			       void *opaque);
void mmds_net_free(struct mmds_net *net);

/* Is a frame of the guest's the service's? head: its first MMDS_PEEK bytes, or all of a shorter one;
 * a copy, so that what was looked at is what is used. */
bool mmds_net_wants(const struct mmds_net *net, const uint8_t *head, size_t len);

/*
 * A frame that mmds_net_wants(); a copy of its first MMDS_FRAME_MAX bytes is enough, len says how long
 * it is. checksum_pending: the guest left the TCP checksum to its device (VIRTIO_NET_HDR_F_NEEDS_CSUM),
 * so there is none to check. May send.
 */
void mmds_net_frame(struct mmds_net *net, const uint8_t *frame, size_t len, bool checksum_pending,
		    uint64_t now_ms);

/* The guest has receive buffers again. */
void mmds_net_unblocked(struct mmds_net *net, uint64_t now_ms);

/* What is due by now; returns when to call again, 0: not before the next frame. */
uint64_t mmds_net_tick(struct mmds_net *net, uint64_t now_ms);
