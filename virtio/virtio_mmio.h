/*
 * The virtio-mmio transport, version 2 (VIRTIO 1.2 section 4.2): the registers of one device, as
 * the guest sees them in its page. Called on vCPU threads, several at once; a call may wait for
 * the device's loop (status and queue registers), never for another vCPU's guest code.
 *
 * Queue notifications normally arrive at the eventfd of virtio_device_notify_fd(), bound by the
 * monitor to offset VIRTIO_MMIO_QUEUE_NOTIFY with the queue's index as a 4-byte data match; those
 * that come here all the same are passed on to it.
 */
#pragma once

#include "virtio/virtio_device.h"

#define VIRTIO_MMIO_VENDOR 0x7966796du /* "myfy" */

/* Any offset, any length up to 8. What is not there, or not to be read like that, is zeroes. */
void virtio_mmio_read(struct virtio_device *dev, uint64_t offset, void *data, unsigned int len);

/*
 * Where the hypervisor shows the guest a page that it may only read: a read of a register is then no exit, of which each
 * interrupt costs one (what is it for?). The page (zeroes, PAGE_SIZE bytes, alive as long as the device) has from now on
 * what virtio_mmio_read() would say of aligned words. Control thread, before the driver is there.
 *
 * It does not wait: a driver that looks while another vCPU's reset is under way sees the status of before, and one that
 * reads the configuration while that changes may see half of it, with a generation that is another by the time that it
 * has been told of the change.
 */
void virtio_mmio_show(struct virtio_device *dev, void *page);

/* Writes to what is not there, or may not be changed now, are ignored. */
void virtio_mmio_write(struct virtio_device *dev, uint64_t offset, const void *data,
		       unsigned int len);
