/*
 * virtio-rng (VIRTIO 1.2 section 5.4): the host kernel's random bytes for the guest.
 */
#pragma once

#include "base/token_bucket.h"
#include "virtio/virtio_device.h"

/* Control thread. `name` is for messages; `rate` limits it, each buffer is an operation (NULL: no
 * limit); everything it is given but these two outlives the device. */
must_check int virtio_rng_create(struct virtio_device **out, const char *name,
				 const struct rate_config *rate, struct guest_memory *mem,
				 struct event_loop *loop, struct irq_line *irq, struct error *err);
