/* Private to virtio_device.c and virtio_queue.c. */
#pragma once

#include "virtio/virtio_device.h"

/* Control thread. */
void virtio_queue_init(struct virtio_queue *queue);

/* Loop thread: publishes what is left, and lets go of the ring. */
void virtio_queue_close(struct virtio_queue *queue);
