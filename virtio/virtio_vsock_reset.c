/*
 * All connections are gone, and the guest is told by an event. Nothing else reaches it before it has handled that:
 * Linux drops every connection that it knows of then, one that was made meanwhile too, and of that tells nobody.
 * It has handled the event when it hands its buffer back; a driver that does not is not waited for, and if it does at
 * last, what began meanwhile ends.
 */
#include "virtio/iov.h"
#include "virtio/virtio_vsock_priv.h"

void vsock_reset_to_tell(struct virtio_vsock *vsock)
{
	vsock->reset = VSOCK_RESET_TO_TELL;
	vsock->is_held = true;
}

static void release(struct virtio_vsock *vsock)
{
	vsock->is_held = false;
	loop_timer_fini(&vsock->hold);
	event_loop_defer(vsock->dev.loop, &vsock->pump);
}

static int tell(struct virtio_queue *queue)
{
	static const struct virtio_vsock_event event = { .id = VIRTIO_VSOCK_EVENT_TRANSPORT_RESET };
	struct virtio_vsock *vsock = vsock_of(queue->dev);
	struct virtqueue_chain chain;
	int ret = virtqueue_pop(&queue->ring, &chain, vsock->iov, VSOCK_QUEUE_SIZE);

	if (ret <= 0)
		return ret;
	if (chain.readable > 0 ||
	    iov_write(chain.iov, chain.writable, &event, sizeof(event)) < sizeof(event)) {
		queue->ring.broken = "event buffer that an event does not fit in";
		return -EINVAL;
	}
	/* Before the guest has the buffer, so that what moves the index is what it hands back. */
	vsock->reset_index = virtqueue_notify_of_next(&queue->ring);
	vsock->reset = VSOCK_RESET_TOLD;
	virtio_queue_push(queue, chain.head, sizeof(event));
	return 1;
}

int vsock_serve_event(struct virtio_queue *queue)
{
	struct virtio_vsock *vsock = vsock_of(queue->dev);

	if (vsock->reset == VSOCK_RESET_TO_TELL)
		return tell(queue);
	if (vsock->reset == VSOCK_RESET_TOLD &&
	    virtqueue_notify_of_next(&queue->ring) != vsock->reset_index) {
		vsock->reset = VSOCK_NO_RESET;
		if (!vsock->is_held) /* it came late: what the guest had meanwhile it has dropped */
			vsock_drop_all(vsock);
		release(vsock);
	}
	return VIRTIO_SERVE_WAITS;
}

static void on_patience(struct loop_timer *timer)
{
	struct virtio_vsock *vsock = container_of(timer, struct virtio_vsock, hold);

	log_limited(&vsock->warnings, LOG_WARN,
		    "%s: the guest does not say that it handled the reset: it gets connections now",
		    vsock->dev.name);
	release(vsock);
}

bool vsock_holds_back(struct virtio_vsock *vsock)
{
	if (!vsock->is_held)
		return false;
	if (vsock->hold.watch.fd < 0 &&
	    loop_timer_init(&vsock->hold, vsock->dev.loop, on_patience) < 0) {
		release(vsock);
		return false;
	}
	if (!vsock->hold.armed)
		loop_timer_arm(&vsock->hold, vsock->hold_ns);
	return true;
}
