/*
 * What a snapshot holds of every virtio device: its registers and how far each queue got. What a device
 * has beside that is its own: virtio_ops.state, save(), load().
 *
 * Control thread; the device is paused, so nothing is in flight and nobody else touches it.
 */
#pragma once

#include "virtio/virtio_device.h"

#define VIRTIO_STATE_QUEUES_MAX 66u

struct virtio_queue_state {
	uint64_t desc, avail, used; /* guest physical addresses */
	uint16_t size;
	bool ready;
	uint16_t next_avail, next_used;
};

struct virtio_device_state {
	char name[32]; /* for messages and for people */
	uint32_t id;   /* VIRTIO_ID_* */
	uint64_t features;
	struct virtio_registers regs;
	uint32_t interrupt_status;
	uint32_t queue_count;
	struct virtio_queue_state queues[VIRTIO_STATE_QUEUES_MAX];
};

extern const struct state_desc virtio_device_state_desc;

/* Fills in the state of a paused device. */
void virtio_device_save(struct virtio_device *dev, struct virtio_device_state *state);

/*
 * Gives a paused device, as it was created, the state; virtio_device_resume() then goes on where the saved
 * one was. The state is untrusted: -EINVAL when it is another kind of device, has other queues, uses
 * features that this device does not offer or a ring that cannot be there.
 */
must_check int virtio_device_load(struct virtio_device *dev,
				  const struct virtio_device_state *state, struct error *err);
