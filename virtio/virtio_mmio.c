#include "virtio/virtio_mmio.h"

#include <linux/virtio_mmio.h>
#include <string.h>

#ifndef VIRTIO_MMIO_QUEUE_RESET
#define VIRTIO_MMIO_QUEUE_RESET 0x0c0
#endif

#define MMIO_MAGIC 0x74726976u /* "virt" */
#define MMIO_VERSION 2u
#define NO_SHARED_MEMORY UINT32_MAX /* both halves of a length of -1: 4.2.2 */

/* Reading ----------------------------------------------------------------------------------------*/

static uint32_t half(uint64_t value, uint32_t select)
{
	return select > 1 ? 0 : (uint32_t)(value >> (select * 32));
}

/* Registers of the selected queue; a queue that is not there has size 0 and nothing else. */
static uint32_t read_queue(const struct virtio_device *dev, uint64_t offset)
{
	const uint32_t queue = dev->regs.queue_sel;

	if (queue >= dev->queue_count)
		return 0;
	switch (offset) {
	case VIRTIO_MMIO_QUEUE_NUM_MAX:
		return dev->queue_size_max;
	case VIRTIO_MMIO_QUEUE_READY:
		return dev->layouts[queue].ready;
	default: /* QUEUE_RESET too: a reset is over when its write returns */
		return 0;
	}
}

static uint32_t read_register(const struct virtio_device *dev, uint64_t offset)
{
	switch (offset) {
	case VIRTIO_MMIO_MAGIC_VALUE:
		return MMIO_MAGIC;
	case VIRTIO_MMIO_VERSION:
		return MMIO_VERSION;
	case VIRTIO_MMIO_DEVICE_ID:
		return dev->ops->id;
	case VIRTIO_MMIO_VENDOR_ID:
		return VIRTIO_MMIO_VENDOR;
	case VIRTIO_MMIO_DEVICE_FEATURES:
		return half(dev->features, dev->regs.device_features_sel);
	case VIRTIO_MMIO_STATUS:
		return dev->regs.status;
	case VIRTIO_MMIO_SHM_LEN_LOW:
	case VIRTIO_MMIO_SHM_LEN_HIGH:
	case VIRTIO_MMIO_SHM_BASE_LOW:
	case VIRTIO_MMIO_SHM_BASE_HIGH:
		return NO_SHARED_MEMORY;
	case VIRTIO_MMIO_CONFIG_GENERATION:
		return dev->regs.config_generation;
	default:
		return read_queue(dev, offset);
	}
}

static void read_config(const struct virtio_device *dev, uint64_t offset, void *data,
			unsigned int len)
{
	if (offset < dev->config_size)
		memcpy(data, (const uint8_t *)dev->config + offset,
		       MIN((size_t)len, dev->config_size - offset));
}

void virtio_mmio_read(struct virtio_device *dev, uint64_t offset, void *data, unsigned int len)
{
	uint32_t value;

	memset(data, 0, len);
	if (offset >= VIRTIO_MMIO_CONFIG) {
		if (offset - VIRTIO_MMIO_CONFIG + len > dev->config_size)
			virtio_config_failed(dev);
		virtio_device_lock(dev);
		read_config(dev, offset - VIRTIO_MMIO_CONFIG, data, len);
		virtio_device_unlock(dev);
		return;
	}
	/* 4.2.2.2: the registers are read and written in aligned 32 bits only. */
	if (len != sizeof(value) || !is_aligned(offset, sizeof(value)))
		return;
	if (offset == VIRTIO_MMIO_INTERRUPT_STATUS) {
		/* Once per interrupt, so without the lock. */
		value = atomic_load(dev->interrupt_status);
	} else {
		virtio_device_lock(dev);
		value = read_register(dev, offset);
		virtio_device_unlock(dev);
	}
	memcpy(data, &value, sizeof(value));
}

/* Writing ----------------------------------------------------------------------------------------*/

static void set_half(uint64_t *value, bool high, uint32_t bits)
{
	if (high)
		*value = (*value & UINT32_MAX) | (uint64_t)bits << 32;
	else
		*value = (*value & ~(uint64_t)UINT32_MAX) | bits;
}

static void write_driver_features(struct virtio_device *dev, uint32_t value)
{
	const uint32_t negotiable = VIRTIO_CONFIG_S_DRIVER;
	const uint32_t too_late = VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK;

	if ((dev->regs.status & (negotiable | too_late)) != negotiable)
		return;
	if (dev->regs.driver_features_sel <= 1)
		set_half(&dev->regs.driver_features, dev->regs.driver_features_sel, value);
	else
		dev->regs.features_beyond |= value;
}

static void write_queue_layout(struct virtio_device *dev, uint64_t offset, uint32_t value)
{
	struct virtqueue_layout *layout;

	if (!virtio_device_queue_is_open(dev, dev->regs.queue_sel))
		return;
	layout = &dev->layouts[dev->regs.queue_sel];
	switch (offset) {
	case VIRTIO_MMIO_QUEUE_NUM:
		/* Too large stays too large in 16 bits, for the check at QueueReady. */
		layout->size = (uint16_t)MIN(value, (uint32_t)UINT16_MAX);
		break;
	case VIRTIO_MMIO_QUEUE_DESC_LOW:
	case VIRTIO_MMIO_QUEUE_DESC_HIGH:
		set_half(&layout->desc, offset == VIRTIO_MMIO_QUEUE_DESC_HIGH, value);
		break;
	case VIRTIO_MMIO_QUEUE_AVAIL_LOW:
	case VIRTIO_MMIO_QUEUE_AVAIL_HIGH:
		set_half(&layout->avail, offset == VIRTIO_MMIO_QUEUE_AVAIL_HIGH, value);
		break;
	case VIRTIO_MMIO_QUEUE_USED_LOW:
	case VIRTIO_MMIO_QUEUE_USED_HIGH:
		set_half(&layout->used, offset == VIRTIO_MMIO_QUEUE_USED_HIGH, value);
		break;
	default:
		break;
	}
}

static void write_register(struct virtio_device *dev, uint64_t offset, uint32_t value)
{
	switch (offset) {
	case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
		dev->regs.device_features_sel = value;
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES_SEL:
		dev->regs.driver_features_sel = value;
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES:
		write_driver_features(dev, value);
		break;
	case VIRTIO_MMIO_QUEUE_SEL:
		dev->regs.queue_sel = value;
		break;
	case VIRTIO_MMIO_QUEUE_READY:
		if (value == 1)
			virtio_device_enable_queue(dev, dev->regs.queue_sel);
		else if (value == 0)
			virtio_device_reset_queue(dev, dev->regs.queue_sel);
		break;
	case VIRTIO_MMIO_QUEUE_RESET:
		if (value == 1 && dev->regs.driver_features & 1ull << VIRTIO_F_RING_RESET)
			virtio_device_reset_queue(dev, dev->regs.queue_sel);
		break;
	case VIRTIO_MMIO_STATUS:
		virtio_device_set_status(dev, value);
		break;
	default:
		write_queue_layout(dev, offset, value);
		break;
	}
}

static void write_config(struct virtio_device *dev, uint64_t offset, const void *data,
			 unsigned int len)
{
	if (!dev->ops->write_config) {
		virtio_config_failed(dev);
		return;
	}
	virtio_device_lock(dev);
	dev->ops->write_config(dev, offset, data, len);
	virtio_device_refresh(dev);
	virtio_device_unlock(dev);
}

void virtio_mmio_write(struct virtio_device *dev, uint64_t offset, const void *data,
		       unsigned int len)
{
	uint32_t value = 0;

	memcpy(&value, data, MIN((size_t)len, sizeof(value)));
	if (offset == VIRTIO_MMIO_QUEUE_NOTIFY) {
		virtio_device_notify(dev, value);
		return;
	}
	if (offset >= VIRTIO_MMIO_CONFIG) {
		write_config(dev, offset - VIRTIO_MMIO_CONFIG, data, len);
		return;
	}
	if (len != sizeof(value) || !is_aligned(offset, sizeof(value)))
		return;
	if (offset == VIRTIO_MMIO_INTERRUPT_ACK) {
		atomic_fetch_and(dev->interrupt_status, ~value);
		return;
	}
	virtio_device_lock(dev);
	write_register(dev, offset, value);
	virtio_device_refresh(dev);
	virtio_device_unlock(dev);
}

/* Showing ----------------------------------------------------------------------------------------*/

static void show(struct virtio_device *dev, uint64_t offset, uint32_t value)
{
	__atomic_store_n((uint32_t *)(void *)(dev->page + offset), value, __ATOMIC_RELAXED);
}

/* All of it: it is rare that anything changes while the guest runs. */
static void refresh(struct virtio_device *dev)
{
	for (uint64_t offset = 0; offset < VIRTIO_MMIO_CONFIG; offset += sizeof(uint32_t))
		if (offset != VIRTIO_MMIO_INTERRUPT_STATUS)
			show(dev, offset, read_register(dev, offset));
	for (uint64_t offset = 0; offset < dev->config_size; offset += sizeof(uint32_t)) {
		uint32_t word = 0;

		read_config(dev, offset, &word, sizeof(word));
		show(dev, VIRTIO_MMIO_CONFIG + offset, word);
	}
}

void virtio_mmio_show(struct virtio_device *dev, void *page)
{
	_Atomic uint32_t *status = (void *)((uint8_t *)page + VIRTIO_MMIO_INTERRUPT_STATUS);

	virtio_device_lock(dev);
	atomic_store(status, atomic_load(dev->interrupt_status));
	dev->interrupt_status = status;
	dev->page = page;
	dev->refresh = refresh;
	refresh(dev);
	virtio_device_unlock(dev);
}
