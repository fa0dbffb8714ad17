/* The loop's half of the device core: serving, publishing, interrupts, breaking. */
#include <linux/virtio_mmio.h>

#include <stdio.h>

#include "virtio/virtio_device_priv.h"

/* The status bit first: the guest's handler reads it when the interrupt arrives. Acknowledging
 * clears the bit, so the line is raised each time, whether the bit was set already or not. */
static void interrupt(struct virtio_device *dev, unsigned int cause)
{
	atomic_fetch_or(dev->interrupt_status, cause);
	irq_line_raise(dev->irq);
}

static void publish(struct loop_defer *defer)
{
	struct virtio_queue *queue = container_of(defer, struct virtio_queue, publish);

	if (virtqueue_publish(&queue->ring))
		interrupt(queue->dev, VIRTIO_MMIO_INT_VRING);
}

void virtio_queue_resume(struct virtio_queue *queue)
{
	if (!queue->dev->broken && queue->ring.desc)
		queue->dev->ops->notify(queue);
}

static void notified(struct loop_watch *watch)
{
	struct virtio_queue *queue = container_of(watch, struct virtio_queue, notified);

	if (queue->dev->broken || (queue->dev->ops->gathers && virtio_gather_waits(queue)))
		return;
	queue->dev->ops->notify(queue);
}

void virtio_queue_init(struct virtio_queue *queue)
{
	queue->notified.ready = notified;
	queue->publish.run = publish;
	virtio_gather_init(queue);
	virtio_here_init(queue);
}

void virtio_queue_quiet(struct virtio_queue *queue)
{
	event_loop_unwatch(queue->dev->loop, &queue->notified);
	virtio_gather_end(queue);
}

void virtio_queue_close(struct virtio_queue *queue)
{
	if (queue->publish.queued) {
		event_loop_undefer(queue->dev->loop, &queue->publish);
		publish(&queue->publish);
	}
	virtqueue_disable(&queue->ring);
}

void virtio_queue_push(struct virtio_queue *queue, uint16_t head, uint32_t written)
{
	virtqueue_push(&queue->ring, head, written);
	event_loop_defer(queue->dev->loop, &queue->publish);
}

void virtio_queue_publish(struct virtio_queue *queue)
{
	event_loop_undefer(queue->dev->loop, &queue->publish);
	publish(&queue->publish);
}

/* A notification, to ourselves too: arrives with the loop's next turn, after everyone else's. */
void virtio_queue_serve_later(struct virtio_queue *queue)
{
	const uint64_t one = 1;

	if (write(queue->notified.fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		log_error("%s: cannot wake queue %u", queue->dev->name, queue->index);
}

static unsigned int chains_since(const struct virtio_queue *queue, uint16_t first)
{
	return (uint16_t)(queue->ring.state.next_avail - first);
}

void virtio_queue_serve(struct virtio_queue *queue, int (*serve)(struct virtio_queue *queue),
			unsigned int budget)
{
	const uint16_t first = queue->ring.state.next_avail;
	unsigned int chains;
	int ret;

	if (!queue->ring.desc)
		return;
	budget = virtio_here_budget(queue, budget);
	do {
		virtqueue_disable_notify(&queue->ring);
		do {
			if (budget-- == 0) {
				virtio_here_learn(queue, chains_since(queue, first));
				virtio_queue_serve_later(queue);
				return;
			}
			ret = serve(queue);
			if (ret == VIRTIO_SERVE_WAITS)
				return;
		} while (ret > 0);
		if (ret < 0) {
			virtio_device_break(queue->dev, queue->ring.broken);
			return;
		}
	} while (virtqueue_enable_notify(&queue->ring));
	chains = chains_since(queue, first);
	virtio_here_learn(queue, chains);
	if (queue->dev->ops->gathers)
		virtio_gather_served(queue, chains);
}

bool virtio_device_has(const struct virtio_device *dev, unsigned int feature)
{
	return dev->active_features & 1ull << feature;
}

void virtio_device_change_config(struct virtio_device *dev,
				 void (*change)(struct virtio_device *dev, const void *arg),
				 const void *arg)
{
	bool live;

	pthread_mutex_lock(&dev->lock);
	/* Before and after: a driver that reads meanwhile (from the page) sees one of the two. */
	dev->regs.config_generation++;
	virtio_device_refresh(dev);
	change(dev, arg);
	dev->regs.config_generation++;
	virtio_device_refresh(dev);
	live = dev->regs.status & VIRTIO_CONFIG_S_DRIVER_OK;
	pthread_mutex_unlock(&dev->lock);
	if (live)
		interrupt(dev, VIRTIO_MMIO_INT_CONFIG);
}

void virtio_device_tell(const struct virtio_device *dev)
{
	const uint64_t one = 1;

	if (dev->notice_fd > 0 && write(dev->notice_fd, &one, sizeof(one)) < 0)
		return; /* it counts already, which is as good */
}

void virtio_device_break(struct virtio_device *dev, const char *why)
{
	bool live;

	if (dev->broken)
		return;
	dev->broken = true;
	pthread_mutex_lock(&dev->lock);
	dev->regs.status |= VIRTIO_CONFIG_S_NEEDS_RESET;
	virtio_device_refresh(dev);
	snprintf(dev->why_broken, sizeof(dev->why_broken), "%s", why ? why : "broken ring");
	live = dev->regs.status & VIRTIO_CONFIG_S_DRIVER_OK;
	pthread_mutex_unlock(&dev->lock);
	atomic_fetch_add_explicit(&dev->breaks, 1, memory_order_relaxed);
	virtio_device_tell(dev);
	log_limited(&dev->warnings, LOG_WARN, "%s: needs a reset by its driver: %s", dev->name,
		    why ? why : "broken ring");
	if (live) /* 2.1.2: only a driver that is there is told */
		interrupt(dev, VIRTIO_MMIO_INT_CONFIG);
}
