/*
 * A split virtqueue, VIRTIO 1.2 section 2.7, seen from the device.
 *
 *   descriptor table        available ring (driver writes)    used ring (device writes)
 *   { addr len flags next } flags idx ring[size] used_event   flags idx ring[size] avail_event
 *   16-aligned, 16 * size   2-aligned, 6 + 2 * size           4-aligned, 6 + 8 * size
 *
 * The driver puts chains of descriptors into the available ring; virtqueue_pop() turns the next
 * chain into iovecs, the parts to read before the parts to write, and the device never sees a
 * descriptor. virtqueue_push() hands a chain back; the driver sees it after virtqueue_publish().
 *
 * All of it lies in guest memory and may change at any moment: each field is read once, checked
 * and only then used. A ring that breaks the rules makes virtqueue_pop() fail for good with
 * -EINVAL; nothing here ends the process, allocates or blocks. A queue belongs to its device's
 * loop: everything but virtqueue_check() runs on that thread.
 */
#pragma once

#include <linux/virtio_ring.h>
#include <sys/uio.h>

#include "base/guest_memory.h"

/* More than this is refused at creation; the used length of a chain is 32 bits. */
#define VIRTQUEUE_SIZE_MAX 1024u

/* Where the driver says the ring is: registers, so the transport's, under the device's lock. */
struct virtqueue_layout {
	uint64_t desc;	/* guest physical addresses */
	uint64_t avail; /* the "driver area" */
	uint64_t used;	/* the "device area" */
	uint16_t size;	/* entries, a power of 2 */
	bool ready;
};

/* How far the device got. With the layout this is all that a saved queue consists of. */
struct virtqueue_state {
	uint16_t next_avail; /* index of the next chain to take; runs freely, wraps at 2^16 */
	uint16_t next_used;  /* index of the next chain to hand back */
};

struct virtqueue {
	struct virtqueue_state state;
	struct virtqueue_layout layout;
	const struct guest_memory *mem;

	/* Checked host addresses of the three parts; NULL when the queue is not enabled. */
	const struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;

	uint16_t avail_seen; /* what the driver's index was when last read */
	uint16_t
		published; /* what our index was when we last looked whether the driver wants an interrupt */
	uint16_t in_flight; /* chains popped and not yet pushed */
	bool event_idx;	    /* VIRTIO_RING_F_EVENT_IDX was negotiated */
	bool indirect;	    /* VIRTIO_RING_F_INDIRECT_DESC was negotiated */
	bool notify_off;    /* we told the driver not to notify */
	const char *broken; /* which rule the driver broke, NULL while it behaves */
};

/* One chain. iov[0, readable) is the driver's to the device, iov[readable, readable + writable)
 * is for the device to fill. */
struct virtqueue_chain {
	struct iovec *iov;
	unsigned int readable;
	unsigned int writable;
	uint16_t head; /* its name, for virtqueue_push() */
};

/*
 * NULL when a ring may be there: a power of 2 no larger than size_max, each part aligned and
 * inside one region of guest memory, none over another. Else which rule it breaks. Any thread.
 */
const char *virtqueue_check(const struct virtqueue_layout *layout, uint16_t size_max,
			    const struct guest_memory *mem);

/*
 * Starts to use a ring that lies at `layout`, from vq->state on. `features` are the negotiated
 * ones. -EINVAL when virtqueue_check() would refuse it: restored layouts are no better than a
 * driver's.
 */
must_check int virtqueue_enable(struct virtqueue *vq, const struct virtqueue_layout *layout,
				uint16_t size_max, const struct guest_memory *mem,
				uint64_t features);

/* Lets go of guest memory. The state stays; nothing may be in flight. */
void virtqueue_disable(struct virtqueue *vq);

/*
 * Takes the next chain: 1, with iov (room for iov_max, the caller's until it has pushed) filled;
 * 0 when there is none; -EINVAL when the driver broke a rule now or before (vq->broken says
 * which). Chains with more than iov_max buffers, without any, or with 4 GiB or more are refused.
 */
must_check int virtqueue_pop(struct virtqueue *vq, struct virtqueue_chain *chain, struct iovec *iov,
			     unsigned int iov_max);

/*
 * Puts the chain that was popped last, and just now, back: it is the next to be popped again. For a
 * request that has to wait; nothing of it is kept, it is read anew then.
 */
static inline void virtqueue_unpop(struct virtqueue *vq)
{
	vq->state.next_avail--;
	vq->in_flight--;
}

/* Are there chains that we have seen and not popped? Does not look at the ring again. */
static inline bool virtqueue_has_more(const struct virtqueue *vq)
{
	return vq->avail_seen != vq->state.next_avail;
}

/* Hands a chain back, `written` bytes filled. The driver does not see it yet. */
void virtqueue_push(struct virtqueue *vq, uint16_t head, uint32_t written);

/* Shows the driver what was pushed, should it be looking; virtqueue_publish() is still to come. */
void virtqueue_show(struct virtqueue *vq);

/* The same. True when the driver wants an interrupt for what was pushed since the last time. */
must_check bool virtqueue_publish(struct virtqueue *vq);

/* Asks for no notifications: we look at the ring anyway. A hint; they may come still. */
void virtqueue_disable_notify(struct virtqueue *vq);

/* Asks for a notification with the next chain. True when one came meanwhile, unnotified: look
 * again or it waits for ever. */
must_check bool virtqueue_enable_notify(struct virtqueue *vq);

/* For a queue whose chains stay where they are: asks for a notification when the driver adds another one.
 * Returns how far its index is, which runs freely; where that is not what it was, one came already. */
uint16_t virtqueue_notify_of_next(struct virtqueue *vq);
