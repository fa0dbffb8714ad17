/* Frames to the guest: 5.1.6.3, 5.1.6.4. */
#include "virtio/iov.h"
#include "virtio/virtio_net_priv.h"

/* Frames in one turn, then the others have theirs. */
#define BUDGET 128u

/* Buffers that are held --------------------------------------------------------------------------*/

static bool is_merging(const struct virtio_net *net)
{
	return virtio_device_has(&net->dev, VIRTIO_NET_F_MRG_RXBUF);
}

static struct iovec *held_iov(struct net_pair *pair)
{
	return &pair->rx_iov[pair->first_iov];
}

/* Room behind those that are there for a whole chain, and then for spill. */
static void make_room(struct net_pair *pair)
{
	if (pair->first_iov + pair->iov_count + NET_CHAIN_MAX <= NET_RX_IOVS)
		return;
	memmove(pair->rx_iov, held_iov(pair), pair->iov_count * sizeof(pair->rx_iov[0]));
	pair->first_iov = 0;
}

static int hold_chain(struct net_pair *pair)
{
	struct virtqueue *ring = &net_rx_queue(pair)->ring;
	struct virtqueue_chain chain;
	uint64_t bytes;
	uint32_t room;
	int ret;

	make_room(pair);
	ret = virtqueue_pop(ring, &chain, held_iov(pair) + pair->iov_count, NET_CHAIN_MAX);
	if (ret <= 0)
		return ret;
	bytes = iov_bytes(chain.iov, chain.writable);
	if (chain.readable > 0 || bytes < NET_HEADER) { /* 5.1.6.3.1 */
		ring->broken = chain.readable ? "receive buffer that the device cannot write"
					      : "receive buffer smaller than a header";
		return -EINVAL;
	}
	/* No frame needs more of it; so no sum of them, over a few chains of 4 GiB, wraps around. */
	room = (uint32_t)MIN(bytes, (uint64_t)NET_FRAME_ROOM);
	pair->held[(pair->first_held + pair->held_count++) % NET_RX_IOVS] =
		(struct net_held){ chain.head, (uint16_t)chain.writable, room };
	pair->iov_count += chain.writable;
	pair->held_bytes += room;
	return 1;
}

/* Holds chains until a frame of `want` bytes fits: then, true. Without merging one chain is all that
 * a frame can have. */
static bool hold(struct net_pair *pair, uint32_t want)
{
	struct virtio_queue *queue = net_rx_queue(pair);
	const bool merging = is_merging(pair->net);
	int ret = 1;

	while (ret > 0 && pair->iov_count < NET_HELD_MAX &&
	       (merging ? pair->held_bytes < want : pair->held_count == 0))
		ret = hold_chain(pair);
	if (ret < 0)
		virtio_device_break(&pair->net->dev, queue->ring.broken);
	return pair->held_bytes >= want;
}

/* Can the driver post any more than it has? */
static bool holds_all(struct net_pair *pair)
{
	const struct virtqueue *ring = &net_rx_queue(pair)->ring;

	return !is_merging(pair->net) || pair->iov_count >= NET_HELD_MAX ||
	       ring->in_flight == ring->layout.size;
}

static void push_first(struct net_pair *pair, uint32_t written)
{
	const struct net_held chain = pair->held[pair->first_held];

	virtio_queue_push(net_rx_queue(pair), chain.head, written);
	pair->first_held = (pair->first_held + 1) % NET_RX_IOVS;
	pair->held_count--;
	pair->first_iov += chain.iovs;
	pair->iov_count -= chain.iovs;
	pair->held_bytes -= chain.bytes;
}

/* 5.1.6.4.1: what the host's header says, but for what only we know. */
static void finish_header(struct net_pair *pair, uint16_t chains)
{
	const struct iovec *iov = held_iov(pair);
	const uint8_t none = 0;

	if (!(pair->net->offloads & NET_FEATURE(GUEST_CSUM)))
		iov_write_at(iov, pair->iov_count, offsetof(struct virtio_net_hdr_v1, flags), &none,
			     sizeof(none));
	iov_write_at(iov, pair->iov_count, offsetof(struct virtio_net_hdr_v1, num_buffers), &chains,
		     sizeof(chains));
}

/* A frame of len bytes, header included, lies in the held chains: they are the driver's again. */
static void deliver(struct net_pair *pair, uint32_t len)
{
	uint32_t left = len;
	uint16_t chains = 0;

	for (uint32_t sum = 0; sum < len; chains++)
		sum += pair->held[(pair->first_held + chains) % NET_RX_IOVS].bytes;
	finish_header(pair, chains);
	while (chains-- > 0) {
		const uint32_t part = MIN(pair->held[pair->first_held].bytes, left);

		push_first(pair, part);
		left -= part;
	}
	net_count(pair->net, NET_RX_PACKETS, 1);
	net_count(pair->net, NET_RX_COUNT, 1);
	net_count(pair->net, NET_RX_BYTES, len - NET_HEADER);
}

/* Frames ----------------------------------------------------------------------------------------*/

/* The rest of a parked frame goes where it belongs, if by now there is room. False: it waits. */
static bool unpark(struct net_pair *pair)
{
	const uint32_t len = pair->parked, begun = pair->parked_begun;

	if (!hold(pair, len)) {
		if (!holds_all(pair))
			return false;
		net_count(pair->net, NET_RX_FAILS, 1);
		pair->parked = 0;
		return true;
	}
	pair->parked = 0;
	iov_write_at(held_iov(pair), pair->iov_count, begun, pair->spill, len - begun);
	deliver(pair, len);
	return true;
}

/* Into the held buffers and then, what they cannot take, into spill; all into spill to discard it. */
static ssize_t read_frame(struct net_pair *pair, bool discard)
{
	struct iovec *iov = held_iov(pair);
	unsigned int count = pair->iov_count;
	ssize_t ret;

	iov[count++] = (struct iovec){ pair->spill, sizeof(pair->spill) };
	if (discard)
		ret = retry_eintr(readv(pair->watch.fd, &iov[count - 1], 1));
	else
		ret = retry_eintr(readv(pair->watch.fd, iov, (int)count));
	return ret < 0 ? -errno : ret;
}

/* False: the backend has no frame. */
static bool receive_one(struct net_pair *pair)
{
	struct virtio_net *net = pair->net;
	const bool discard = !net->link_up;
	const ssize_t ret = read_frame(pair, discard);

	if (ret == -EAGAIN || net_is_gone(net, ret)) {
		rate_limiter_put_back(&net->rx_limiter, 0);
		return false;
	}
	if (ret < (ssize_t)NET_HEADERS || ret > NET_FRAME_ROOM || discard) {
		net_count(net, ret < 0 ? NET_TAP_READ_FAILS : NET_RX_FAILS, 1);
		return true;
	}
	rate_limiter_charge(&net->rx_limiter, (uint64_t)ret - NET_HEADER);
	if ((uint32_t)ret <= pair->held_bytes) {
		deliver(pair, (uint32_t)ret);
		return true;
	}
	pair->parked = (uint32_t)ret;
	pair->parked_begun = pair->held_bytes;
	unpark(pair);
	return true;
}

/* No buffer, or too few: the driver's next notification goes on. True when it has posted one
 * meanwhile. */
static bool starve(struct net_pair *pair)
{
	if (!pair->rx_starved)
		net_count(pair->net, NET_NO_RX_AVAIL_BUFFER, 1);
	pair->rx_starved = true;
	return virtqueue_enable_notify(&net_rx_queue(pair)->ring);
}

/* Is there a place for the next frame? Without a link none is needed. */
static bool has_buffers(struct net_pair *pair)
{
	if (pair->parked && !unpark(pair))
		return false;
	if (!pair->net->link_up)
		return true;
	hold(pair, pair->net->rx_want);
	return pair->held_count > 0;
}

static bool is_throttled(struct virtio_net *net)
{
	if (rate_limiter_take(&net->rx_limiter, 0))
		return false;
	net_count(net, NET_RX_THROTTLED, 1);
	return true;
}

unsigned int net_receive(struct net_pair *pair)
{
	struct virtio_net *net = pair->net;
	struct virtio_queue *queue = net_rx_queue(pair);
	unsigned int frames = 0;

	if (!queue->ring.desc || net->gone || pair->index >= net->active_pairs)
		return 0;
	virtqueue_disable_notify(&queue->ring);
	while (frames < BUDGET) {
		if (!has_buffers(pair)) {
			if (net->dev.broken || !starve(pair))
				return frames;
			virtqueue_disable_notify(&queue->ring);
			continue;
		}
		pair->rx_starved = false;
		if (net->dev.broken || is_throttled(net) || !receive_one(pair))
			return frames;
		/* The guest can begin with it while we look for more, which is what a lone frame needs;
		 * of a flood it takes the rest without another interrupt. */
		if (frames++ == 0)
			virtio_queue_publish(queue);
	}
	virtio_queue_serve_later(queue);
	return frames;
}

/* What the monitor itself sends ------------------------------------------------------------------*/

int virtio_net_inject(struct virtio_device *dev, const void *frame, size_t len)
{
	struct virtio_net *net = net_of(dev);
	struct net_pair *pair = &net->pairs[0];
	const struct virtio_net_hdr_v1 header = { 0 };
	const uint32_t bytes = (uint32_t)(len + NET_HEADER);

	if (!net_rx_queue(pair)->ring.desc || dev->broken || !net->link_up)
		return -ENETDOWN;
	if (len < ETH_HLEN || len > NET_FRAME_MAX - NET_HEADER)
		return -EMSGSIZE;
	while (pair->parked || !hold(pair, bytes)) {
		if (dev->broken)
			return -ENETDOWN;
		if (!pair->parked && holds_all(pair) && pair->held_count > 0)
			return -EMSGSIZE;
		net->filter_waits = true;
		if (pair->parked || !starve(pair))
			return -EAGAIN;
		virtqueue_disable_notify(&net_rx_queue(pair)->ring);
	}
	iov_write_at(held_iov(pair), pair->iov_count, 0, &header, sizeof(header));
	iov_write_at(held_iov(pair), pair->iov_count, sizeof(header), frame, len);
	deliver(pair, bytes);
	return 0;
}

void net_tell_filter(struct virtio_net *net)
{
	if (!net->filter_waits || net->dev.broken)
		return;
	net->filter_waits = false;
	if (net->filter && net->filter->rx_room)
		net->filter->rx_room(net->filter);
}

void net_rx_stop(struct net_pair *pair)
{
	if (pair->parked)
		net_count(pair->net, NET_RX_FAILS, 1);
	for (; pair->held_count > 0; pair->held_count--)
		virtqueue_unpop(&net_rx_queue(pair)->ring);
	pair->first_held = pair->first_iov = pair->iov_count = 0;
	pair->held_bytes = pair->parked = 0;
	pair->rx_starved = false;
}
