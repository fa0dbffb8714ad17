/* How much an interface may receive and send. */
#include "virtio/virtio_net_priv.h"

void net_rx_resume(struct rate_limiter *limiter)
{
	struct virtio_net *net = container_of(limiter, struct virtio_net, rx_limiter);

	net_count(net, NET_RX_LIMITER_EVENTS, 1);
	for (unsigned int i = 0; i < net->active_pairs && !net->dev.broken; i++)
		net_receive(&net->pairs[i]);
}

void net_tx_resume(struct rate_limiter *limiter)
{
	struct virtio_net *net = container_of(limiter, struct virtio_net, tx_limiter);

	net_count(net, NET_TX_LIMITER_EVENTS, 1);
	/* All of them: what waited in a pair that was put aside meanwhile is dropped there. */
	for (unsigned int i = 0; i < net->pair_count; i++)
		virtio_queue_resume(net_tx_queue(&net->pairs[i]));
}

struct change {
	struct virtio_net *net;
	const struct net_rates *rates;
};

/* Both directions or none. Loop thread. */
static int set_rates(void *arg)
{
	const struct change *change = arg;
	const struct net_rates *rates = change->rates;
	struct rate_limiter *rx = &change->net->rx_limiter, *tx = &change->net->tx_limiter;
	int ret = rate_limiter_prepare(tx, rates->tx_bytes, rates->tx_ops);

	if (ret == 0)
		ret = rate_limiter_update(rx, rates->rx_bytes, rates->rx_ops);
	if (ret == 0)
		ret = rate_limiter_update(tx, rates->tx_bytes, rates->tx_ops);
	return ret;
}

int virtio_net_set_rates(struct virtio_device *dev, const struct net_rates *rates,
			 struct error *err)
{
	struct change change = { net_of(dev), rates };
	const int ret = event_loop_call(dev->loop, set_rates, &change);

	if (ret < 0)
		return error_set_errno(err, ret, "net %s: cannot make a timer for its limits",
				       dev->name);
	return 0;
}
