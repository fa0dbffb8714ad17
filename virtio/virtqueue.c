#include "virtio/virtqueue.h"

#include <linux/virtio_config.h>
#include <string.h>

#include "base/guest_dirty.h"
#include "virtio/iov.h"
#include "virtio/virtqueue_priv.h"

/* Where the ring is ------------------------------------------------------------------------------*/

struct part {
	uint64_t gpa;
	uint64_t len; /* bytes, with the event index at its end (always there: 2.7.6, 2.7.8) */
	uint64_t align;
	const char *misaligned;
	const char *outside;
};

enum { DESC, AVAIL, USED, PARTS };

static void parts_of(const struct virtqueue_layout *layout, struct part parts[static PARTS])
{
	const uint64_t size = layout->size;

	parts[DESC] = (struct part){ layout->desc, size * sizeof(struct vring_desc),
				     VRING_DESC_ALIGN_SIZE, "misaligned descriptor table",
				     "descriptor table outside memory" };
	parts[AVAIL] = (struct part){ layout->avail, 6 + 2 * size, VRING_AVAIL_ALIGN_SIZE,
				      "misaligned available ring",
				      "available ring outside memory" };
	parts[USED] = (struct part){ layout->used, 6 + sizeof(struct vring_used_elem) * size,
				     VRING_USED_ALIGN_SIZE, "misaligned used ring",
				     "used ring outside memory" };
}

/* Both are inside memory by now, so neither sum wraps around. */
static bool overlap(const struct part *a, const struct part *b)
{
	return a->gpa < b->gpa + b->len && b->gpa < a->gpa + a->len;
}

const char *virtqueue_check(const struct virtqueue_layout *layout, uint16_t size_max,
			    const struct guest_memory *mem)
{
	struct part parts[PARTS];

	if (layout->size == 0 || layout->size > size_max || layout->size & (layout->size - 1))
		return "impossible queue size";
	parts_of(layout, parts);
	for (int i = 0; i < PARTS; i++) {
		if (!is_aligned(parts[i].gpa, parts[i].align))
			return parts[i].misaligned;
		if (!guest_ptr(mem, parts[i].gpa, parts[i].len))
			return parts[i].outside;
	}
	if (overlap(&parts[DESC], &parts[AVAIL]) || overlap(&parts[DESC], &parts[USED]) ||
	    overlap(&parts[AVAIL], &parts[USED]))
		return "overlapping rings";
	return NULL;
}

int virtqueue_enable(struct virtqueue *vq, const struct virtqueue_layout *layout, uint16_t size_max,
		     const struct guest_memory *mem, uint64_t features)
{
	struct part parts[PARTS];

	vq->broken = virtqueue_check(layout, size_max, mem);
	if (vq->broken)
		return -EINVAL;
	parts_of(layout, parts);
	vq->layout = *layout;
	vq->mem = mem;
	vq->desc = guest_ptr(mem, parts[DESC].gpa, parts[DESC].len);
	vq->avail = guest_ptr(mem, parts[AVAIL].gpa, parts[AVAIL].len);
	vq->used = guest_ptr(mem, parts[USED].gpa, parts[USED].len);
	vq->avail_seen = vq->state.next_avail;
	vq->published = vq->state.next_used;
	vq->in_flight = 0;
	vq->event_idx = features & (1ull << VIRTIO_RING_F_EVENT_IDX);
	vq->indirect = features & (1ull << VIRTIO_RING_F_INDIRECT_DESC);
	vq->notify_off = false;
	return 0;
}

void virtqueue_disable(struct virtqueue *vq)
{
	vq->desc = NULL;
	vq->avail = NULL;
	vq->used = NULL;
}

/* Handing back -----------------------------------------------------------------------------------*/

guest_races void virtqueue_push(struct virtqueue *vq, uint16_t head, uint32_t written)
{
	const uint16_t slot = vq->state.next_used & (vq->layout.size - 1);
	volatile struct vring_used_elem *elem = &vq->used->ring[slot];

	elem->id = head;
	elem->len = written;
	guest_dirty(vq->mem, &vq->used->ring[slot], sizeof(*elem));
	vq->state.next_used++;
	vq->in_flight--;
}

/* Has `event` been passed by the step from old to new? All three wrap: 2.7.7.2, 2.7.10. */
static bool event_passed(uint16_t event, uint16_t new, uint16_t old)
{
	return (uint16_t)(new - event - 1) < (uint16_t)(new - old);
}

void virtqueue_show(struct virtqueue *vq)
{
	/* 2.7.8.2: the entries, and the buffers they speak of, before the index that shows them. */
	__atomic_store_n(&vq->used->idx, vq->state.next_used, __ATOMIC_RELEASE);
	guest_dirty(vq->mem, &vq->used->idx, sizeof(vq->used->idx));
}

bool virtqueue_publish(struct virtqueue *vq)
{
	const uint16_t old = vq->published, new = vq->state.next_used;

	if (new == old)
		return false;
	vq->published = new;
	/* 2.7.8.2: the entries, and the buffers they speak of, before the index that shows them.
	 * 2.7.7: the index before our look at whether it is wanted; the driver does the reverse
	 * (asks, then looks at the index), and one of us must see the other. So an exchange, which
	 * is a full barrier and on x86 cheaper than a store and a fence. */
	__atomic_exchange_n(&vq->used->idx, new, __ATOMIC_SEQ_CST);
	guest_dirty(vq->mem, &vq->used->idx, sizeof(vq->used->idx));
	if (vq->event_idx)
		return event_passed(load_relaxed16(used_event(vq)), new, old);
	return !(load_relaxed16(&vq->avail->flags) & VRING_AVAIL_F_NO_INTERRUPT);
}

/* Notifications ----------------------------------------------------------------------------------*/

void virtqueue_disable_notify(struct virtqueue *vq)
{
	if (vq->notify_off)
		return;
	vq->notify_off = true;
	/* With event indices it is enough not to move ours: the driver has passed it already. */
	if (vq->event_idx)
		return;
	guest_dirty(vq->mem, &vq->used->flags, sizeof(vq->used->flags));
	__atomic_store_n(&vq->used->flags, VRING_USED_F_NO_NOTIFY, __ATOMIC_RELAXED);
}

/* 2.7.10: our wish before our last look; the driver publishes, then looks for the wish. An exchange is the
 * full barrier in between. */
static uint16_t ask_for_notify(struct virtqueue *vq, uint16_t index)
{
	uint16_t *wish = vq->event_idx ? avail_event(vq) : &vq->used->flags;

	vq->notify_off = false;
	guest_dirty(vq->mem, wish, sizeof(*wish));
	__atomic_exchange_n(wish, vq->event_idx ? index : 0, __ATOMIC_SEQ_CST);
	return load_relaxed16(&vq->avail->idx);
}

bool virtqueue_enable_notify(struct virtqueue *vq)
{
	return ask_for_notify(vq, vq->state.next_avail) != vq->state.next_avail;
}

uint16_t virtqueue_notify_of_next(struct virtqueue *vq)
{
	return ask_for_notify(vq, load_relaxed16(&vq->avail->idx));
}
