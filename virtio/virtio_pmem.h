/*
 * virtio-pmem (VIRTIO 1.2 section 5.19): a file in the guest's address space. The guest reads and writes it without
 * us; the device tells where it is, and makes durable what was written. The rest is pmem_file.h.
 */
#pragma once

#include "base/token_bucket.h"
#include "virtio/pmem_file.h"
#include "virtio/virtio_device.h"

struct virtio_pmem_params {
	struct pmem_file *file;	 /* mapped; outlives the device */
	uint64_t gpa;		 /* where the guest has it, a multiple of PMEM_ALIGN */
	struct rate_config rate; /* a flush is an operation, and as many bytes as the file has */
};

/* Control thread. Everything it is given outlives the device. */
must_check int virtio_pmem_create(struct virtio_device **out,
				  const struct virtio_pmem_params *params, struct guest_memory *mem,
				  struct event_loop *loop, struct irq_line *irq, struct error *err);

/*
 * Another file, of the same size, takes the place of the device's; as pmem_file_swap(), and the device flushes that one
 * from then on. The device is paused. Control thread.
 */
must_check int virtio_pmem_swap_file(struct virtio_device *dev, struct pmem_file *other,
				     struct error *err);

/* Live; any thread but a loop's. NULL leaves a bucket as it is, one of zeroes takes the limit away. */
must_check int virtio_pmem_set_rate(struct virtio_device *dev, const struct bucket_config *bytes,
				    const struct bucket_config *ops, struct error *err);
