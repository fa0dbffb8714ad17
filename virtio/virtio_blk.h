/*
 * virtio-blk (VIRTIO 1.2 section 5.2): read, write, flush, get-id, discard, write-zeroes; several
 * queues; a capacity that changes.
 */
#pragma once

#include "virtio/virtio_device.h"

/* What a drive is made from. Not called virtio_blk_config: that is the guest's, in linux/. */
struct virtio_blk_params {
	const char *name; /* "vda", for messages */
	const char *path; /* or NULL, and then: */
	int fd;		  /* open already; taken over, whatever the result */
	bool read_only;	  /* nothing is written; a writable descriptor is fine */
	bool direct;	  /* O_DIRECT: around the host's page cache */
	bool unsafe; /* no flush is offered and none is made: a crash of the host may lose anything */
	const char
		*serial; /* what the guest's get-id reads: at most 20 bytes are used; NULL: name */
	unsigned int num_queues; /* 0 for the default of 1 */
	unsigned int queue_size; /* entries, a power of 2, 0 for the default of 256 */
};

/* Control thread. The error names the drive. Everything it is given outlives the device. */
must_check int virtio_blk_create(struct virtio_device **out, const struct virtio_blk_params *params,
				 struct guest_memory *mem, struct event_loop *loop,
				 struct irq_line *irq, struct error *err);

/*
 * The backing may have another size now: looks, and tells the driver of a change. Requests beyond
 * a new end fail, those in flight end as the host ends them. Loop thread (event_loop_call). -errno
 * when the size is not to be had or cannot be used: the capacity stays, and a line is logged.
 */
must_check int virtio_blk_update_capacity(struct virtio_device *dev);
