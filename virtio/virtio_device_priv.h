/* Private to virtio_device.c, virtio_queue.c, virtio_gather.c and virtio_here.c. */
#pragma once

#include "virtio/virtio_device.h"

/* Control thread. */
void virtio_queue_init(struct virtio_queue *queue);

/* Loop thread: no notify() comes of it any more. */
void virtio_queue_quiet(struct virtio_queue *queue);

/* Loop thread: publishes what is left, and lets go of the ring. */
void virtio_queue_close(struct virtio_queue *queue);

/* virtio_gather.c; loop thread, but for the first. For devices that gather. */
void virtio_gather_init(struct virtio_queue *queue);

/* Does it wait for more than one chain? A driver without event indices cannot be asked to. */
bool virtio_gather_is_on(const struct virtio_queue *queue);

/* A notification came. True: not yet; notify() will be called. */
bool virtio_gather_waits(struct virtio_queue *queue);

/* So many chains there were at once. */
void virtio_gather_served(struct virtio_queue *queue, unsigned int chains);

/* No wait is under way after it. */
void virtio_gather_end(struct virtio_queue *queue);

/* virtio_here.c. Loop thread: a queue that nobody has notified yet; and a turn that found so many chains. */
void virtio_here_init(struct virtio_queue *queue);
void virtio_here_learn(struct virtio_queue *queue, unsigned int chains);

/* Of so many chains that a turn may take, how many here? */
unsigned int virtio_here_budget(const struct virtio_queue *queue, unsigned int budget);
