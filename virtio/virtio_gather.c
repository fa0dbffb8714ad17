/*
 * Gathering: a queue that is notified waits a moment for more of what is coming.
 *
 * A guest with many requests to make puts them into the ring one by one, notifies with the first and
 * is interrupted as soon as the ring was empty for a moment: handling the interrupt then costs it more
 * than the request. So such a queue is served when it has as many chains as it had lately (the driver's
 * notification is moved there by the event index: 2.7.10), or when they do not come in time.
 *
 * A guest that makes one request at a time must not pay for that, so nothing is ever tried out on it:
 * a queue gathers only after more chains than asked for were there anyway, and no longer than it
 * usually takes. Each wait that was in vain makes the next attempt rarer. Nor do large requests gather:
 * the guest makes the next ones while we move the data of the first, and that is worth more.
 */

#include "base/clock.h"
#include "base/guest_dirty.h"
#include "virtio/virtio_device_priv.h"
#include "virtio/virtqueue_priv.h"

#define TARGET_MAX 16u	 /* more hardly saves any; the guest is to have something to do meanwhile */
#define PENALTY_MAX 256u /* chances that are let go by after waits in vain */
#define GAP_FIRST_NS 10000u /* between one request and the next, until it is known */
#define WAIT_MIN_NS 20000u
#define WAIT_MAX_NS 2000000u

/* How many chains wait. The index is checked where chains are taken; here it only chooses when. */
static uint16_t pending(const struct virtqueue *ring)
{
	return (uint16_t)(load_relaxed16(&ring->avail->idx) - ring->state.next_avail);
}

/* Twice as long as that many took lately. */
static uint64_t patience(const struct virtio_gather *gather)
{
	const uint64_t ns = 2ull * gather->target * gather->gap_ns;

	return ns < WAIT_MIN_NS ? WAIT_MIN_NS : MIN(ns, WAIT_MAX_NS);
}

static void learn_gap(struct virtio_gather *gather, uint64_t ns, unsigned int chains)
{
	const uint64_t gap = MIN(ns / chains, WAIT_MAX_NS);

	gather->gap_ns = (uint32_t)((3ull * gather->gap_ns + gap) / 4);
}

static void end_wait(struct virtio_queue *queue)
{
	event_loop_undelay(queue->dev->loop, &queue->gather.delay);
	queue->gather.waits = false;
}

/* Fewer than hoped for: that many are what there is. One alone was a wait in vain. */
static void expired(struct loop_delay *delay)
{
	struct virtio_queue *queue = container_of(delay, struct virtio_queue, gather.delay);
	struct virtio_gather *gather = &queue->gather;
	const uint16_t came = pending(&queue->ring);

	gather->waits = false;
	learn_gap(gather, clock_now_ns(CLOCK_MONOTONIC) - gather->since, came ? came : 1);
	gather->target = came > 1 ? MIN(came, gather->target) : 1;
	if (gather->target == 1) {
		gather->skip = gather->penalty;
		gather->penalty = (uint16_t)MIN(gather->penalty * 2u, PENALTY_MAX);
	}
	virtio_queue_resume(queue);
}

void virtio_gather_init(struct virtio_queue *queue)
{
	queue->gather = (struct virtio_gather){
		.delay.run = expired, .target = 1, .penalty = 1, .gap_ns = GAP_FIRST_NS
	};
}

static bool start_wait(struct virtio_queue *queue, uint16_t have)
{
	struct virtio_gather *gather = &queue->gather;
	struct virtqueue *ring = &queue->ring;

	if (!event_loop_delay(queue->dev->loop, &gather->delay, patience(gather)))
		return false;
	gather->waits = true;
	gather->since = clock_now_ns(CLOCK_MONOTONIC);
	gather->had = have;
	guest_dirty(ring->mem, avail_event(ring), sizeof(uint16_t));
	/* As in virtqueue_enable_notify(): our wish, then our last look. */
	__atomic_exchange_n(avail_event(ring),
			    (uint16_t)(ring->state.next_avail + gather->target - 1),
			    __ATOMIC_SEQ_CST);
	return true;
}

bool virtio_gather_is_on(const struct virtio_queue *queue)
{
	return queue->gather.target > 1 && queue->ring.event_idx;
}

bool virtio_gather_waits(struct virtio_queue *queue)
{
	struct virtio_gather *gather = &queue->gather;
	struct virtqueue *ring = &queue->ring;
	uint16_t have;

	if (!virtio_gather_is_on(queue) || !ring->desc)
		return false;
	have = pending(ring);
	if (!gather->waits) {
		if (have == 0 || have >= gather->target || !start_wait(queue, have))
			return false;
		have = pending(ring);
	}
	if (have < gather->target)
		return true;
	if (have > gather->had)
		learn_gap(gather, clock_now_ns(CLOCK_MONOTONIC) - gather->since,
			  have - gather->had);
	gather->penalty = 1;
	end_wait(queue);
	return false;
}

void virtio_gather_served(struct virtio_queue *queue, unsigned int chains)
{
	struct virtio_gather *gather = &queue->gather;

	if (gather->large)
		gather->target = 1;
	if (gather->large || chains <= gather->target || gather->target == TARGET_MAX) {
		gather->large = false;
		return;
	}
	if (gather->target == 1 && gather->skip > 0)
		gather->skip--;
	else
		gather->target = (uint16_t)MIN(gather->target * 2u, TARGET_MAX);
}

void virtio_gather_end(struct virtio_queue *queue)
{
	if (queue->gather.waits)
		end_wait(queue);
}
