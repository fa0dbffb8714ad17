#include "virtio/virtio_device.h"

#include <linux/virtio_mmio.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>

#include "virtio/virtio_device_priv.h"

/* Offered by every device: nothing in them depends on what the device does. */
#define CORE_FEATURES                                                       \
	(1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_RING_F_INDIRECT_DESC | \
	 1ull << VIRTIO_RING_F_EVENT_IDX | 1ull << VIRTIO_F_RING_RESET)

/* Life -------------------------------------------------------------------------------------------*/

static int init_queues(struct virtio_device *dev, struct error *err)
{
	dev->queues = calloc(dev->queue_count, sizeof(*dev->queues));
	dev->layouts = calloc(dev->queue_count, sizeof(*dev->layouts));
	dev->counters = calloc(dev->ops->counter_count + 1, sizeof(*dev->counters));
	if (!dev->queues || !dev->layouts || !dev->counters)
		return error_set(err, ENOMEM, "%s: out of memory", dev->name);
	for (unsigned int i = 0; i < dev->queue_count; i++)
		dev->queues[i].notified.fd = -1;
	for (unsigned int i = 0; i < dev->queue_count; i++) {
		struct virtio_queue *queue = &dev->queues[i];

		queue->dev = dev;
		queue->index = i;
		virtio_queue_init(queue);
		queue->notified.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (queue->notified.fd < 0)
			return error_set_errno(err, errno, "%s: cannot make an eventfd", dev->name);
	}
	return 0;
}

int virtio_device_init(struct virtio_device *dev, const struct virtio_device_params *params,
		       struct error *err)
{
	int ret;

	dev->ops = params->ops;
	snprintf(dev->name, sizeof(dev->name), "%s", params->name);
	dev->mem = params->mem;
	dev->loop = params->loop;
	dev->irq = params->irq;
	dev->features = params->features | CORE_FEATURES;
	dev->queue_count = params->queue_count;
	dev->queue_size_max = params->queue_size_max;
	dev->config = params->config;
	dev->config_size = params->config_size;
	dev->interrupt_status = &dev->own_interrupt_status;
	pthread_mutex_init(&dev->lock, NULL);
	pthread_cond_init(&dev->settled, NULL);
	ret = init_queues(dev, err);
	if (ret < 0)
		virtio_device_fini(dev);
	return ret;
}

void virtio_device_fini(struct virtio_device *dev)
{
	for (unsigned int i = 0; dev->queues && i < dev->queue_count; i++)
		close_fd(&dev->queues[i].notified.fd);
	free(dev->queues);
	free(dev->layouts);
	free(dev->counters);
	pthread_cond_destroy(&dev->settled);
	pthread_mutex_destroy(&dev->lock);
}

unsigned int virtio_device_queue_count(const struct virtio_device *dev)
{
	return dev->queue_count;
}

int virtio_device_notify_fd(const struct virtio_device *dev, unsigned int queue)
{
	return queue < dev->queue_count ? dev->queues[queue].notified.fd : -EINVAL;
}

/* Locks and transitions --------------------------------------------------------------------------*/

void virtio_device_lock(struct virtio_device *dev)
{
	pthread_mutex_lock(&dev->lock);
	while (dev->in_transition)
		pthread_cond_wait(&dev->settled, &dev->lock);
}

void virtio_device_unlock(struct virtio_device *dev)
{
	pthread_mutex_unlock(&dev->lock);
}

/*
 * Runs fn(dev) on the loop with the register file to itself, though not with the lock, which the
 * caller holds before and after. While in_transition is set only the loop writes registers (the
 * NEEDS_RESET bit, under the lock) and nobody else reads them.
 */
static void transition(struct virtio_device *dev, int (*fn)(void *dev))
{
	dev->in_transition = true;
	pthread_mutex_unlock(&dev->lock);
	event_loop_call(dev->loop, fn, dev);
	pthread_mutex_lock(&dev->lock);
	dev->in_transition = false;
	pthread_cond_broadcast(&dev->settled);
}

/* Loop thread, in a transition, when running. Pause, reset and destruction all come this way. */
static int stop_on_loop(void *arg)
{
	struct virtio_device *dev = arg;

	for (unsigned int i = 0; i < dev->queue_count; i++)
		virtio_queue_quiet(&dev->queues[i]);
	if (dev->ops->stop)
		dev->ops->stop(dev);
	for (unsigned int i = 0; i < dev->queue_count; i++)
		virtio_queue_close(&dev->queues[i]);
	dev->running = false;
	return 0;
}

/* One ring: what its chains are for is the device's business, so it is woken by start_on_loop(). */
static int open_queue(struct virtio_device *dev, unsigned int i)
{
	struct virtio_queue *queue = &dev->queues[i];

	if (!dev->layouts[i].ready)
		return 0;
	if (virtqueue_enable(&queue->ring, &dev->layouts[i], dev->queue_size_max, dev->mem,
			     dev->active_features) < 0) {
		virtio_device_break(dev, queue->ring.broken);
		return -EINVAL;
	}
	return event_loop_watch(dev->loop, &queue->notified);
}

/* Loop thread, in a transition. Each queue is notified once: chains may be waiting already, from
 * before DRIVER_OK or from before a pause. */
static int start_on_loop(void *arg)
{
	struct virtio_device *dev = arg;
	int ret = 0;

	dev->running = true;
	dev->active_features = dev->regs.driver_features;
	dev->broken = dev->regs.status & VIRTIO_CONFIG_S_NEEDS_RESET;
	for (unsigned int i = 0; i < dev->queue_count && ret >= 0; i++)
		ret = open_queue(dev, i);
	if (ret >= 0 && dev->ops->start)
		ret = dev->ops->start(dev);
	if (ret < 0) {
		atomic_fetch_add_explicit(&dev->activate_fails, 1, memory_order_relaxed);
		virtio_device_break(dev, "cannot start");
	}
	for (unsigned int i = 0; i < dev->queue_count && !dev->broken; i++)
		dev->ops->notify(&dev->queues[i]);
	return 0;
}

static bool wants_to_run(const struct virtio_device *dev)
{
	return dev->regs.status & VIRTIO_CONFIG_S_DRIVER_OK && !dev->paused;
}

bool virtio_device_is_driven(struct virtio_device *dev)
{
	bool driven;

	virtio_device_lock(dev);
	driven = dev->regs.status & VIRTIO_CONFIG_S_DRIVER_OK;
	virtio_device_unlock(dev);
	return driven;
}

void virtio_device_pause(struct virtio_device *dev)
{
	virtio_device_lock(dev);
	dev->paused = true;
	if (dev->running)
		transition(dev, stop_on_loop);
	virtio_device_unlock(dev);
}

void virtio_device_resume(struct virtio_device *dev)
{
	virtio_device_lock(dev);
	dev->paused = false;
	virtio_device_refresh(dev); /* it may have been loaded meanwhile */
	if (wants_to_run(dev))
		transition(dev, start_on_loop);
	virtio_device_unlock(dev);
}

void virtio_device_destroy(struct virtio_device *dev)
{
	if (!dev)
		return;
	virtio_device_pause(dev);
	virtio_device_fini(dev);
	dev->ops->free(dev);
}

/* The status register: 2.1, 3.1 ------------------------------------------------------------------*/

static void reset(struct virtio_device *dev)
{
	if (dev->running)
		transition(dev, stop_on_loop);
	dev->broken = false;
	/* The generation lives on (4.2.2.1): a driver may compare across a reset. */
	dev->regs = (struct virtio_registers){ .config_generation = dev->regs.config_generation };
	for (unsigned int i = 0; i < dev->queue_count; i++) {
		dev->layouts[i] = (struct virtqueue_layout){ 0 };
		dev->queues[i].ring.state = (struct virtqueue_state){ 0 };
	}
	atomic_store(dev->interrupt_status, 0);
	if (dev->ops->reset)
		dev->ops->reset(dev);
}

/* 2.2.2, 6.1: what was not offered is not to be had, nor is a device without VERSION_1. */
static bool features_are_acceptable(const struct virtio_device *dev)
{
	return !(dev->regs.driver_features & ~dev->features) && !dev->regs.features_beyond &&
	       dev->regs.driver_features & 1ull << VIRTIO_F_VERSION_1;
}

void virtio_device_set_status(struct virtio_device *dev, uint32_t status)
{
	const uint32_t driver_bits = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
				     VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK |
				     VIRTIO_CONFIG_S_FAILED;
	uint32_t *now = &dev->regs.status;
	uint32_t added;

	if (status == 0) {
		reset(dev);
		return;
	}
	if (*now & driver_bits & ~status) {
		log_limited(&dev->warnings, LOG_WARN,
			    "%s: the driver takes back status bits (%#x after %#x); ignored",
			    dev->name, status, *now);
		return;
	}
	added = status & driver_bits & ~*now;
	if (added & VIRTIO_CONFIG_S_FEATURES_OK &&
	    (!(status & VIRTIO_CONFIG_S_DRIVER) || !features_are_acceptable(dev)))
		added &= ~(uint32_t)VIRTIO_CONFIG_S_FEATURES_OK;
	/* No driver without features: 3.1.1 is a sequence. */
	if (!((*now | added) & VIRTIO_CONFIG_S_FEATURES_OK))
		added &= ~(uint32_t)VIRTIO_CONFIG_S_DRIVER_OK;
	*now |= added;
	if (added & VIRTIO_CONFIG_S_DRIVER_OK && wants_to_run(dev))
		transition(dev, start_on_loop);
}

/* Queue registers --------------------------------------------------------------------------------*/

bool virtio_device_queue_is_open(const struct virtio_device *dev, unsigned int queue)
{
	const uint32_t status = dev->regs.status;

	if (queue >= dev->queue_count || dev->layouts[queue].ready ||
	    !(status & VIRTIO_CONFIG_S_FEATURES_OK))
		return false;
	/* On a live device only a ring that was reset moves, and only if that was agreed (2.6.1). */
	return !(status & VIRTIO_CONFIG_S_DRIVER_OK) ||
	       dev->regs.driver_features & 1ull << VIRTIO_F_RING_RESET;
}

/* Loop thread. */
static int break_on_loop(void *arg)
{
	struct virtio_device *dev = arg;

	virtio_device_break(dev, "impossible ring");
	return 0;
}

void virtio_device_enable_queue(struct virtio_device *dev, unsigned int queue)
{
	struct virtqueue_layout *layout = &dev->layouts[queue];

	if (!virtio_device_queue_is_open(dev, queue))
		return;
	if (virtqueue_check(layout, dev->queue_size_max, dev->mem)) {
		transition(dev, break_on_loop);
		return;
	}
	if (!wants_to_run(dev)) {
		layout->ready = true;
		return;
	}
	/* The others pause for a moment: one drain serves all. */
	if (dev->running)
		transition(dev, stop_on_loop);
	layout->ready = true;
	transition(dev, start_on_loop);
}

void virtio_device_reset_queue(struct virtio_device *dev, unsigned int queue)
{
	if (queue >= dev->queue_count || !dev->layouts[queue].ready)
		return;
	if (dev->running)
		transition(dev, stop_on_loop);
	dev->layouts[queue] = (struct virtqueue_layout){ 0 };
	dev->queues[queue].ring.state = (struct virtqueue_state){ 0 };
	if (wants_to_run(dev))
		transition(dev, start_on_loop);
}
