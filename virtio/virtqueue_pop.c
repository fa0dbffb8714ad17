/* Taking chains out of a virtqueue: the one place that reads descriptors. */
#include "base/guest_dirty.h"
#include "virtio/iov.h"
#include "virtio/virtqueue_priv.h"

/* Remembers the first rule that was broken; the queue is of no use from here on. */
static int refuse(struct virtqueue *vq, const char *rule)
{
	vq->broken = rule;
	return -EINVAL;
}

/*
 * How far the driver has got. A chain in flight keeps at least one descriptor, so the driver
 * cannot have more outstanding than there are entries: an index further on has jumped.
 */
static int refresh_avail(struct virtqueue *vq)
{
	/* 2.7.13.3: the driver wrote chain and ring entry before this index; read them after it. */
	const uint16_t idx = __atomic_load_n(&vq->avail->idx, __ATOMIC_ACQUIRE);
	const uint16_t pending = (uint16_t)(idx - vq->state.next_avail);

	if (pending > vq->layout.size - vq->in_flight)
		return refuse(vq, "available index jumps");
	vq->avail_seen = idx;
	return pending > 0;
}

/* An indirect table need not be aligned, hence by two loads of an unaligned type. */
struct __attribute__((packed)) desc_words {
	uint64_t word[2];
};

guest_races static struct vring_desc load_desc(const uint8_t *at)
{
	const volatile struct desc_words *raw = (const volatile void *)at;
	const uint64_t addr = raw->word[0], rest = raw->word[1];

	return (struct vring_desc){ .addr = addr,
				    .len = (uint32_t)rest,
				    .flags = (uint16_t)(rest >> 32),
				    .next = (uint16_t)(rest >> 48) };
}

/* A walk along one chain. */
struct walk {
	struct virtqueue *vq;
	struct virtqueue_chain *chain;
	unsigned int iov_max;
	uint64_t bytes;

	const uint8_t *table; /* the queue's own, then an indirect one */
	uint32_t entries;     /* descriptors in it */
	uint32_t left;	      /* steps until the walk must have ended; else it is a loop */
	bool indirect;
};

static int add_buffer(struct walk *walk, const struct vring_desc *desc)
{
	struct virtqueue_chain *chain = walk->chain;
	const unsigned int count = chain->readable + chain->writable;
	void *host;

	if (desc->len == 0)
		return refuse(walk->vq, "zero-length buffer");
	if (count == walk->iov_max)
		return refuse(walk->vq, "chain of too many buffers");
	walk->bytes += desc->len;
	if (walk->bytes > UINT32_MAX) /* 2.7.5.1 */
		return refuse(walk->vq, "chain of 4 GiB or more");
	host = desc->flags & VRING_DESC_F_WRITE
		       ? guest_ptr(walk->vq->mem, desc->addr, desc->len)
		       : guest_ptr_to_read(walk->vq->mem, desc->addr, desc->len);
	if (!host)
		return refuse(walk->vq, "buffer outside memory");

	if (desc->flags & VRING_DESC_F_WRITE) {
		guest_dirty(walk->vq->mem, host, desc->len); /* it says why here */
		chain->writable++;
	} else if (chain->writable > 0) { /* 2.7.4.2 */
		return refuse(walk->vq, "readable buffer after a writable one");
	} else {
		chain->readable++;
	}
	chain->iov[count] = (struct iovec){ host, desc->len };
	return 0;
}

/* 2.7.5.3: the chain goes on in a table of its own. The descriptor's write flag means nothing. */
static int enter_indirect(struct walk *walk, const struct vring_desc *desc)
{
	if (!walk->vq->indirect)
		return refuse(walk->vq, "indirect table that was not negotiated");
	if (walk->indirect)
		return refuse(walk->vq, "indirect table in an indirect table");
	if (desc->flags & VRING_DESC_F_NEXT)
		return refuse(walk->vq, "indirect descriptor with a successor");
	if (desc->len == 0 || desc->len % sizeof(struct vring_desc))
		return refuse(walk->vq, "indirect table of an impossible length");
	walk->table = guest_ptr(walk->vq->mem, desc->addr, desc->len);
	if (!walk->table)
		return refuse(walk->vq, "indirect table outside memory");
	walk->indirect = true;
	walk->entries = desc->len / sizeof(struct vring_desc);
	walk->left = walk->entries;
	return 0;
}

static int walk_chain(struct walk *walk)
{
	uint16_t at = walk->chain->head;

	for (;;) {
		struct vring_desc desc;
		int ret;

		if (at >= walk->entries)
			return refuse(walk->vq, "descriptor index beyond its table");
		if (walk->left-- == 0)
			return refuse(walk->vq, "chain that loops");
		desc = load_desc(walk->table + (size_t)at * sizeof(desc));

		if (desc.flags & VRING_DESC_F_INDIRECT) {
			ret = enter_indirect(walk, &desc);
			at = 0;
		} else {
			ret = add_buffer(walk, &desc);
			at = desc.next;
		}
		if (ret < 0)
			return ret;
		if (!(desc.flags & (VRING_DESC_F_NEXT | VRING_DESC_F_INDIRECT)))
			return 1;
	}
}

int virtqueue_pop(struct virtqueue *vq, struct virtqueue_chain *chain, struct iovec *iov,
		  unsigned int iov_max)
{
	struct walk walk = { .vq = vq, .chain = chain, .iov_max = iov_max };
	int ret = 1;

	if (vq->broken)
		return -EINVAL;
	if (!vq->desc)
		return 0;
	if (vq->avail_seen == vq->state.next_avail)
		ret = refresh_avail(vq);
	if (ret <= 0)
		return ret;

	*chain = (struct virtqueue_chain){
		.iov = iov,
		.head = load_relaxed16(
			&vq->avail->ring[vq->state.next_avail & (vq->layout.size - 1)]),
	};
	walk.table = (const uint8_t *)vq->desc;
	walk.entries = walk.left = vq->layout.size;
	ret = walk_chain(&walk);
	if (ret > 0) {
		vq->state.next_avail++;
		vq->in_flight++;
	}
	return ret;
}
