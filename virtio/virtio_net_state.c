/* What a snapshot holds of an interface beside registers and queues. */
#include <string.h>

#include "virtio/virtio_net_priv.h"

static const struct state_field fields[] = {
	STATE_FIELD(struct net_state, mac, STATE_BYTES, 1),
	STATE_FIELD(struct net_state, own_mac, STATE_BYTES, 1),
	STATE_FIELD(struct net_state, former_mac, STATE_BYTES, 2),
	STATE_FIELD(struct net_state, has_former, STATE_BOOL, 2),
	STATE_FIELD(struct net_state, mtu, STATE_U16, 1),
	STATE_FIELD(struct net_state, pairs, STATE_U16, 1),
	STATE_FIELD(struct net_state, active_pairs, STATE_U16, 1),
	STATE_FIELD(struct net_state, link_up, STATE_BOOL, 1),
	STATE_FIELD(struct net_state, gone, STATE_BOOL, 1),
	STATE_FIELD(struct net_state, keeps, STATE_BOOL, 1),
	STATE_FIELD(struct net_state, tap_features, STATE_U64, 1),
	STATE_FIELD(struct net_state, offloads, STATE_U64, 1),
	STATE_NESTED(struct net_state, rx_limiter, &rate_limiter_state_desc, 1),
	STATE_NESTED(struct net_state, tx_limiter, &rate_limiter_state_desc, 1),
};

const struct state_desc net_state_desc = STATE_DESC("net", struct net_state, 2, fields);

void net_save(struct virtio_device *dev, void *state)
{
	struct virtio_net *net = net_of(dev);
	struct net_state *to = state;

	*to = (struct net_state){
		.has_former = net->has_former,
		.mtu = net->config.mtu,
		.pairs = (uint16_t)net->pair_count,
		.active_pairs = (uint16_t)net->active_pairs,
		.link_up = net->link_up,
		.gone = net->gone,
		.keeps = net->keeps,
		.tap_features = net->backend->features,
		.offloads = net->offloads,
	};
	memcpy(to->mac, net->config.mac, ETH_ALEN);
	memcpy(to->own_mac, net->own_mac, ETH_ALEN);
	memcpy(to->former_mac, net->former_mac, ETH_ALEN);
	rate_limiter_save(&net->rx_limiter, &to->rx_limiter);
	rate_limiter_save(&net->tx_limiter, &to->tx_limiter);
}

/* The tap may be another one than when it was saved, and have other offloads: those that are in use
 * it must have. What may be negotiated from now on is the new one's. */
int net_load(struct virtio_device *dev, const void *state, struct error *err)
{
	struct virtio_net *net = net_of(dev);
	const struct net_state *from = state;

	if (!net_mac_is_usable(from->mac) || !net_mac_is_usable(from->own_mac))
		return error_set(err, EINVAL, "net %s: a saved MAC cannot be one", dev->name);
	if (from->pairs != net->pair_count)
		return error_set(err, EINVAL, "net %s: saved with %u queue pairs, not %u",
				 dev->name, from->pairs, net->pair_count);
	if (from->active_pairs < 1 || from->active_pairs > from->pairs)
		return error_set(err, EINVAL, "net %s: %u of %u queue pairs cannot be active",
				 dev->name, from->active_pairs, from->pairs);
	if (from->offloads & ~net->backend->features)
		return error_set(err, ENOTSUP,
				 "net %s: its tap lacks offloads that the guest uses (%#lx)",
				 dev->name, from->offloads & ~net->backend->features);
	if (rate_limiter_load(&net->rx_limiter, &from->rx_limiter) < 0 ||
	    rate_limiter_load(&net->tx_limiter, &from->tx_limiter) < 0)
		return error_set(err, EINVAL, "net %s: impossible rate limiter", dev->name);
	memcpy(net->config.mac, from->mac, ETH_ALEN);
	memcpy(net->own_mac, from->own_mac, ETH_ALEN);
	memcpy(net->former_mac, from->former_mac, ETH_ALEN);
	net->has_former = from->has_former;
	net->config.mtu = from->mtu;
	net->dev.features &= ~NET_FEATURE(MTU);
	net->dev.features |= from->mtu ? NET_FEATURE(MTU) : 0;
	net->active_pairs = from->active_pairs;
	net->offloads = from->offloads;
	net->keeps = from->keeps;
	net->link_up = from->link_up;
	net->revives = from->gone;
	net->config.status = from->link_up ? VIRTIO_NET_S_LINK_UP : 0;
	return 0;
}
