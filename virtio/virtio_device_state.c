#include "virtio/virtio_device_state.h"

#include <stdio.h>

static const struct state_field register_fields[] = {
	STATE_FIELD(struct virtio_registers, driver_features, STATE_U64, 1),
	STATE_FIELD(struct virtio_registers, features_beyond, STATE_U32, 1),
	STATE_FIELD(struct virtio_registers, device_features_sel, STATE_U32, 1),
	STATE_FIELD(struct virtio_registers, driver_features_sel, STATE_U32, 1),
	STATE_FIELD(struct virtio_registers, queue_sel, STATE_U32, 1),
	STATE_FIELD(struct virtio_registers, status, STATE_U32, 1),
	STATE_FIELD(struct virtio_registers, config_generation, STATE_U32, 1),
};

static const struct state_desc registers_desc = STATE_DESC("registers", struct virtio_registers, 1,
							   register_fields);

static const struct state_field queue_fields[] = {
	STATE_FIELD(struct virtio_queue_state, desc, STATE_U64, 1),
	STATE_FIELD(struct virtio_queue_state, avail, STATE_U64, 1),
	STATE_FIELD(struct virtio_queue_state, used, STATE_U64, 1),
	STATE_FIELD(struct virtio_queue_state, size, STATE_U16, 1),
	STATE_FIELD(struct virtio_queue_state, ready, STATE_BOOL, 1),
	STATE_FIELD(struct virtio_queue_state, next_avail, STATE_U16, 1),
	STATE_FIELD(struct virtio_queue_state, next_used, STATE_U16, 1),
};

static const struct state_desc queue_desc = STATE_DESC("queue", struct virtio_queue_state, 1,
						       queue_fields);

static const struct state_field device_fields[] = {
	STATE_FIELD(struct virtio_device_state, name, STATE_STRING, 1),
	STATE_FIELD(struct virtio_device_state, id, STATE_U32, 1),
	STATE_FIELD(struct virtio_device_state, features, STATE_U64, 1),
	STATE_NESTED(struct virtio_device_state, regs, &registers_desc, 1),
	STATE_FIELD(struct virtio_device_state, interrupt_status, STATE_U32, 1),
	STATE_TABLE(struct virtio_device_state, queues, queue_count, &queue_desc, 1),
};

const struct state_desc virtio_device_state_desc = STATE_DESC("virtio", struct virtio_device_state,
							      1, device_fields);

void virtio_device_save(struct virtio_device *dev, struct virtio_device_state *state)
{
	*state = (struct virtio_device_state){
		.id = dev->ops->id,
		.features = dev->features,
		.regs = dev->regs,
		.interrupt_status = atomic_load(dev->interrupt_status),
		.queue_count = MIN(dev->queue_count, VIRTIO_STATE_QUEUES_MAX),
	};
	snprintf(state->name, sizeof(state->name), "%s", dev->name);
	for (unsigned int i = 0; i < state->queue_count; i++) {
		const struct virtqueue_layout *layout = &dev->layouts[i];
		const struct virtqueue_state *ring = &dev->queues[i].ring.state;

		state->queues[i] = (struct virtio_queue_state){
			.desc = layout->desc,
			.avail = layout->avail,
			.used = layout->used,
			.size = layout->size,
			.ready = layout->ready,
			.next_avail = ring->next_avail,
			.next_used = ring->next_used,
		};
	}
}

static struct virtqueue_layout layout_of(const struct virtio_queue_state *queue)
{
	return (struct virtqueue_layout){
		.desc = queue->desc,
		.avail = queue->avail,
		.used = queue->used,
		.size = queue->size,
		.ready = queue->ready,
	};
}

/* A ring that was ready had been checked: none that cannot be comes from us. */
static int check_queues(const struct virtio_device *dev, const struct virtio_device_state *state,
			struct error *err)
{
	for (unsigned int i = 0; i < dev->queue_count; i++) {
		const struct virtqueue_layout layout = layout_of(&state->queues[i]);
		const char *wrong = layout.ready ? virtqueue_check(&layout, dev->queue_size_max,
								   dev->mem)
						 : NULL;

		if (wrong)
			return error_set(err, EINVAL, "%s: queue %u: %s", dev->name, i, wrong);
	}
	return 0;
}

static int check(const struct virtio_device *dev, const struct virtio_device_state *state,
		 struct error *err)
{
	const uint32_t status = state->regs.status;

	if (state->id != dev->ops->id)
		return error_set(err, EINVAL,
				 "%s: the snapshot has a virtio device of type %u in its place, "
				 "not %u",
				 dev->name, state->id, dev->ops->id);
	if (state->queue_count != dev->queue_count)
		return error_set(err, EINVAL, "%s: the snapshot's has %u queues, not %u", dev->name,
				 state->queue_count, dev->queue_count);
	if (status & VIRTIO_CONFIG_S_DRIVER_OK && !(status & VIRTIO_CONFIG_S_FEATURES_OK))
		return error_set(err, EINVAL, "%s: a driver that agreed on no features", dev->name);
	if (status & VIRTIO_CONFIG_S_FEATURES_OK && state->regs.driver_features & ~dev->features)
		return error_set(err, EINVAL,
				 "%s: its driver uses features that it does not offer here (%#lx)",
				 dev->name, state->regs.driver_features & ~dev->features);
	return check_queues(dev, state, err);
}

int virtio_device_load(struct virtio_device *dev, const struct virtio_device_state *state,
		       struct error *err)
{
	int ret = check(dev, state, err);

	if (ret < 0)
		return ret;
	dev->regs = state->regs;
	atomic_store(dev->interrupt_status, state->interrupt_status);
	for (unsigned int i = 0; i < dev->queue_count; i++) {
		dev->layouts[i] = layout_of(&state->queues[i]);
		dev->queues[i].ring.state = (struct virtqueue_state){
			.next_avail = state->queues[i].next_avail,
			.next_used = state->queues[i].next_used,
		};
	}
	return 0;
}
