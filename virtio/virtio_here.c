/*
 * Serving here: where a guest makes one request at a time, and the page cache has the answer, waking the loop takes several
 * times as long as the work, and the guest, with nothing else to do, goes to sleep meanwhile. So its vCPU comes out to us
 * with the notification, borrows the loop and serves the queue itself; it finds the interrupt when it goes back in. In the
 * lab, 4 KiB at depth 1: 1.5 times the requests, for two thirds of the processor time.
 *
 * A guest that has more to ask must not be held up by that: it would be answered before it can send the next, and never be
 * seen to have two. So the loop, beside whom the guest goes on, decides: a vCPU serves only after several turns of the
 * loop's that found one small chain each, and now and then leaves one to the loop again. Each time that this finds more,
 * the next attempt takes longer. And the notifications of a queue that keeps finding more go past the vCPU then, straight
 * from KVM to the loop: 32 requests of 4 KiB at a time are a tenth to a third faster so.
 */
#include <string.h>

#include "base/log.h"
#include "virtio/virtio_device_priv.h"

#define WANTED_MIN 4u
#define WANTED_MAX 256u
#define LEFT_MAX 64u

/* Turns of the loop's that found more, less those that did not, until notifications go past the vCPU; and the reverse,
 * until they come to it again. To change it costs more than many of them. */
#define TURNS 64u
#define AGAINST 4u /* how many of them one of the other kind undoes */

/* Chains that other vCPUs may add meanwhile: as many as cost the loop's other devices nothing to speak of. */
#define BUDGET 4u

void virtio_here_init(struct virtio_queue *queue)
{
	queue->here = (struct virtio_here){ .wanted = WANTED_MIN };
}

static void give_up(struct virtio_here *here)
{
	if (here->alone >= here->wanted)
		here->wanted = (uint16_t)MIN(here->wanted * 2u, WANTED_MAX);
	here->alone = 0;
}

static void bind(struct virtio_queue *queue, bool to_fd)
{
	struct virtio_device *dev = queue->dev;
	const int ret = dev->bell->bind(dev->bell, dev, queue->index, to_fd);

	if (ret == 0) {
		queue->here.is_past = to_fd;
		return;
	}
	log_info("%s: queue %u: its notifications cannot be led elsewhere: %s", dev->name,
		 queue->index, strerrordesc_np(-ret));
	dev->bell = NULL;
}

static void steer(struct virtio_queue *queue, bool found_more)
{
	struct virtio_here *here = &queue->here;

	if (found_more == here->is_past)
		here->turns = here->turns > AGAINST ? (uint16_t)(here->turns - AGAINST) : 0;
	else if (++here->turns == TURNS) {
		here->turns = 0;
		bind(queue, found_more);
	}
}

void virtio_here_learn(struct virtio_queue *queue, unsigned int chains)
{
	struct virtio_here *here = &queue->here;
	const bool found_more = chains > 1 || queue->gather.large;

	/* Not with the loop borrowed: binding is its own thread's. */
	if (queue->dev->bell && !here->now && chains > 0)
		steer(queue, found_more);
	if (found_more)
		give_up(here);
	else if (here->now || chains == 0)
		return;
	else if (here->alone < here->wanted)
		here->alone++;
	else
		here->wanted = MAX((uint16_t)(here->wanted / 2), (uint16_t)WANTED_MIN);
}

unsigned int virtio_here_budget(const struct virtio_queue *queue, unsigned int budget)
{
	return queue->here.now ? MIN(budget, BUDGET) : budget;
}

/* With the loop borrowed. An unarmed watch: the queue is not enabled, or the device stopped. */
static bool is_for_here(struct virtio_queue *queue)
{
	struct virtio_here *here = &queue->here;

	if (!queue->notified.node || queue->dev->broken || here->alone < here->wanted ||
	    virtio_gather_is_on(queue) || !queue->dev->ops->at_once(queue))
		return false;
	if (here->left == 0) {
		here->left = LEFT_MAX;
		return false;
	}
	here->left--;
	return true;
}

static bool serve_here(struct virtio_queue *queue)
{
	struct event_loop *loop = queue->dev->loop;
	bool is_served;

	if (!event_loop_borrow(loop))
		return false;
	is_served = is_for_here(queue);
	if (is_served) {
		queue->here.now = true;
		queue->dev->ops->notify(queue);
		queue->here.now = false;
		/* It had to be the engine's after all: what is asked for is not in the page cache, say. */
		if (!queue->dev->ops->at_once(queue))
			give_up(&queue->here);
	}
	event_loop_give_back(loop);
	return is_served;
}

void virtio_device_notify(struct virtio_device *dev, uint32_t queue)
{
	if (queue < dev->queue_count && !(dev->serves_here && serve_here(&dev->queues[queue])))
		virtio_queue_serve_later(&dev->queues[queue]);
}
