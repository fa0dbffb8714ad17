/* The control queue: 5.1.6.5. */
#include "virtio/iov.h"
#include "virtio/virtio_net_priv.h"

#define BUDGET 8

/* Commands are a few bytes; each may come in a buffer of its own. */
#define COMMAND_IOVS 32u

static uint8_t set_mac(struct virtio_net *net, const struct iovec *iov, unsigned int count)
{
	uint8_t mac[ETH_ALEN];

	if (iov_bytes(iov, count) != sizeof(mac) ||
	    !virtio_device_has(&net->dev, VIRTIO_NET_F_CTRL_MAC_ADDR))
		return VIRTIO_NET_ERR;
	iov_read(iov, count, mac, sizeof(mac));
	if (!net_mac_is_usable(mac))
		return VIRTIO_NET_ERR;
	virtio_device_change_config(&net->dev, net_change_mac, mac);
	net->has_former = false;
	return VIRTIO_NET_OK;
}

static uint8_t set_pairs(struct virtio_net *net, const struct iovec *iov, unsigned int count)
{
	uint16_t pairs;

	if (iov_bytes(iov, count) != sizeof(pairs) ||
	    !virtio_device_has(&net->dev, VIRTIO_NET_F_MQ))
		return VIRTIO_NET_ERR;
	iov_read(iov, count, &pairs, sizeof(pairs));
	if (pairs < 1 || pairs > net->pair_count || net_use_pairs(net, pairs) < 0)
		return VIRTIO_NET_ERR;
	return VIRTIO_NET_OK;
}

static uint8_t set_offloads(struct virtio_net *net, const struct iovec *iov, unsigned int count)
{
	uint64_t offloads;

	if (iov_bytes(iov, count) != sizeof(offloads) ||
	    !virtio_device_has(&net->dev, VIRTIO_NET_F_CTRL_GUEST_OFFLOADS))
		return VIRTIO_NET_ERR;
	iov_read(iov, count, &offloads, sizeof(offloads));
	if (offloads & ~net_offloads_negotiated(net) || net_set_offloads(net, offloads) < 0)
		return VIRTIO_NET_ERR;
	return VIRTIO_NET_OK;
}

static uint8_t execute(struct virtio_net *net, struct iovec *iov, unsigned int count)
{
	struct virtio_net_ctrl_hdr command;

	if (iov_read(iov, count, &command, sizeof(command)) < sizeof(command))
		return VIRTIO_NET_ERR;
	iov_advance(&iov, &count, sizeof(command));
	if (command.class == VIRTIO_NET_CTRL_MAC && command.cmd == VIRTIO_NET_CTRL_MAC_ADDR_SET)
		return set_mac(net, iov, count);
	if (command.class == VIRTIO_NET_CTRL_MQ && command.cmd == VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET)
		return set_pairs(net, iov, count);
	if (command.class == VIRTIO_NET_CTRL_GUEST_OFFLOADS &&
	    command.cmd == VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET)
		return set_offloads(net, iov, count);
	return VIRTIO_NET_ERR;
}

static int serve(struct virtio_queue *queue)
{
	struct virtio_net *net = net_of(queue->dev);
	struct iovec iov[COMMAND_IOVS];
	struct virtqueue_chain chain;
	uint8_t answer;
	int ret = virtqueue_pop(&queue->ring, &chain, iov, ARRAY_SIZE(iov));

	if (ret <= 0)
		return ret;
	if (chain.writable == 0) {
		queue->ring.broken = "command without a place for its answer";
		return -EINVAL;
	}
	answer = execute(net, chain.iov, chain.readable);
	if (answer != VIRTIO_NET_OK)
		virtio_config_failed(&net->dev);
	/* execute() moves inside of readable entries only. */
	iov_write(chain.iov + chain.readable, chain.writable, &answer, sizeof(answer));
	virtio_queue_push(queue, chain.head, sizeof(answer));
	return 1;
}

void net_control(struct virtio_queue *queue)
{
	virtio_queue_serve(queue, serve, BUDGET);
}
