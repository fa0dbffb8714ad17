/* Frames from the guest: 5.1.6.2. */
#include "base/clock.h"
#include "virtio/iov.h"
#include "virtio/virtio_net_priv.h"

/* Frames in one turn, then the others have theirs. */
#define BUDGET 128

/* A copy of a frame's beginning: what was judged is what is sent, whatever the guest writes. */
struct __attribute__((packed)) headers {
	struct virtio_net_hdr_v1 virtio;
	struct ethhdr ethernet;
	uint8_t more[NET_PEEK - ETH_HLEN]; /* for a filter */
};

_Static_assert(sizeof(struct headers) == NET_HEADER + NET_PEEK, "no gaps");

/* A driver keeps the MAC that it has read until it looks again, so after a change both are its own. */
static bool is_own(struct virtio_net *net, const uint8_t *source)
{
	if (memcmp(source, net->config.mac, ETH_ALEN) == 0) {
		net->has_former = false;
		return true;
	}
	return net->has_former && memcmp(source, net->former_mac, ETH_ALEN) == 0;
}

static bool may_pass(struct net_pair *pair, const struct headers *headers)
{
	struct virtio_net *net = pair->net;

	if (!is_own(net, headers->ethernet.h_source)) {
		net_count(net, NET_TX_SPOOFED, 1);
		if (net->antispoof)
			return false;
	}
	if (!net->link_up || pair->index >= net->active_pairs) {
		net_count(net, NET_TX_FAILS, 1);
		return false;
	}
	return true;
}

static bool filter_takes(struct virtio_net *net, struct headers *headers, struct iovec *iov,
			 unsigned int count, uint64_t bytes)
{
	if (!net->filter)
		return false;
	iov->iov_base = &headers->ethernet;
	iov->iov_len -= NET_HEADER;
	net->filter->checksum_pending = headers->virtio.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM;
	return net->filter->frame(net->filter, iov, count, bytes - NET_HEADER);
}

/* iov is the frame's rest behind `copied` bytes of headers; the entry before it is free. False: the
 * backend has no room. */
static bool send_frame(struct net_pair *pair, struct headers *headers, size_t copied,
		       struct iovec *iov, unsigned int count, uint64_t bytes)
{
	struct virtio_net *net = pair->net;
	ssize_t ret;

	*--iov = (struct iovec){ headers, copied };
	if (filter_takes(net, headers, iov, count + 1, bytes))
		return true;
	headers->virtio.num_buffers = 0;
	*iov = (struct iovec){ headers, copied };
	ret = retry_eintr(writev(pair->watch.fd, iov, (int)count + 1));
	ret = ret < 0 ? -errno : ret;
	if (ret == -EAGAIN)
		return false;
	if (ret <= 0) {
		net_is_gone(net, ret);
		net_count(net, NET_TAP_WRITE_FAILS, 1);
		net_count(net, NET_TX_FAILS, 1);
	} else {
		pair->tx_sent++;
		net_count(net, NET_TX_PACKETS, 1);
		net_count(net, NET_TX_BYTES, bytes - NET_HEADER);
	}
	return true;
}

/* For tokens. */
static void leave_waiting(struct net_pair *pair)
{
	const struct virtqueue *ring = &net_tx_queue(pair)->ring;

	net_count(pair->net, NET_TX_THROTTLED, 1);
	/* The frame has been taken out of the ring, and goes back. */
	net_count(pair->net, NET_TX_REMAINING,
		  (uint16_t)(ring->avail_seen - ring->state.next_avail + 1));
}

/* A frame is sent, taken by the filter or dropped; false: it waits. */
static bool dispatch(struct net_pair *pair, struct iovec *iov, unsigned int count)
{
	struct virtio_net *net = pair->net;
	const uint64_t bytes = iov_bytes(iov, count);
	struct headers headers;
	size_t copied;

	if (bytes < NET_HEADERS || bytes > NET_FRAME_ROOM) {
		net_count(net, NET_TX_MALFORMED, 1);
		return true;
	}
	if (!rate_limiter_take(&net->tx_limiter, bytes - NET_HEADER)) {
		leave_waiting(pair);
		return false;
	}
	copied = iov_read(iov, count, &headers, net->filter ? sizeof(headers) : NET_HEADERS);
	iov_advance(&iov, &count, copied);
	if (!may_pass(pair, &headers) || send_frame(pair, &headers, copied, iov, count, bytes))
		return true;
	rate_limiter_put_back(&net->tx_limiter, bytes - NET_HEADER);
	pair->tx_waits = true;
	return false;
}

static int serve(struct virtio_queue *queue)
{
	struct virtio_net *net = net_of(queue->dev);
	struct net_pair *pair = &net->pairs[queue->index / 2];
	struct iovec *iov = pair->tx_iov + 1;
	struct virtqueue_chain chain;
	int ret = virtqueue_pop(&queue->ring, &chain, iov, NET_CHAIN_MAX);

	if (ret <= 0)
		return ret;
	if (chain.writable > 0) { /* 5.1.6.2.1 */
		queue->ring.broken = "transmit buffer that the device is to write";
		return -EINVAL;
	}
	if (!dispatch(pair, iov, chain.readable)) {
		virtqueue_unpop(&queue->ring);
		return VIRTIO_SERVE_WAITS;
	}
	net_count(net, NET_TX_COUNT, 1);
	virtio_queue_push(queue, chain.head, 0);
	return 1;
}

void net_transmit(struct net_pair *pair)
{
	uint64_t start, took;

	if (pair->tx_waits) /* its watch comes back */
		return;
	start = clock_now_ns(CLOCK_MONOTONIC);
	pair->tx_sent = 0;
	virtio_queue_serve(net_tx_queue(pair), serve, BUDGET);
	if (pair->tx_sent == 0)
		return;
	/* All of a turn, which is writing to the tap for the most part; two looks at the clock a frame would show. */
	took = clock_now_ns(CLOCK_MONOTONIC) - start;
	latency_add(&pair->net->dev.latencies[0], took / pair->tx_sent, took / pair->tx_sent, took);
}
