/*
 * virtio-blk (VIRTIO 1.2 section 5.2): read, write, flush, get-id.
 */
#pragma once

#include "virtio/virtio_device.h"

/* What a drive is made from. Not called virtio_blk_config: that is the guest's, in linux/. */
struct virtio_blk_params {
	const char *name; /* "vda", for messages */
	const char *path; /* or NULL, and then: */
	int fd;		  /* open already; taken over, whatever the result */
	bool read_only;	  /* nothing is written; a writable descriptor is fine */
	const char
		*serial; /* what the guest's get-id reads: at most 20 bytes are used; NULL: name */
	uint16_t queue_size; /* entries, 0 for the default of 256 */
};

/* Control thread. The error names the drive. Everything it is given outlives the device. */
must_check int virtio_blk_create(struct virtio_device **out, const struct virtio_blk_params *params,
				 struct guest_memory *mem, struct event_loop *loop,
				 struct irq_line *irq, struct error *err);
