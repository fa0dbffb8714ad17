/*
 * virtio-blk (VIRTIO 1.2 section 5.2): read, write, flush, get-id, discard, write-zeroes; several
 * queues; a capacity that changes.
 */
#pragma once

#include "base/token_bucket.h"
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
	struct rate_config rate; /* all queues together; each request of any kind is an operation */
};

/* Control thread. The error names the drive. Everything it is given outlives the device. */
must_check int virtio_blk_create(struct virtio_device **out, const struct virtio_blk_params *params,
				 struct guest_memory *mem, struct event_loop *loop,
				 struct irq_line *irq, struct error *err);

/*
 * Another file behind the same drive, or the same one again, whose size has changed: `path`, or NULL and then the open
 * descriptor fd, which is taken over whatever the result. Read-only and O_DIRECT stay as they were. What is in flight
 * ends on the old file, and the driver is told that its configuration changed. On failure the old file stays. Control
 * thread, which waits for all that; a device that is paused stays so.
 *
 * What was complete on the old file is written back afterwards (but in unsafe mode), and the file is closed then. Only
 * flushes wait for it, and the next call: there is one such file at a time.
 */
must_check int virtio_blk_set_backing(struct virtio_device *dev, const char *path, int fd,
				      struct error *err);

/* A descriptor of the file that it has now, the caller's to close or to set again. -errno. Control thread. */
must_check int virtio_blk_copy_backing(struct virtio_device *dev);

/* Replaces limits as rate_limiter_update() does: NULL leaves one as it is. Control thread. */
must_check int virtio_blk_set_rate(struct virtio_device *dev, const struct bucket_config *bytes,
				   const struct bucket_config *ops, struct error *err);
