/* What an interface tells its driver: features and configuration space (5.1.3, 5.1.4). */
#include <string.h>
#include <sys/random.h>

#include "virtio/virtio_net_priv.h"

bool net_mac_is_usable(const uint8_t mac[static ETH_ALEN])
{
	static const uint8_t zero[ETH_ALEN];

	return !(mac[0] & 1) && memcmp(mac, zero, sizeof(zero)) != 0;
}

/* Locally administered, of no group. The pool is ready long before the first guest. */
static void make_up_mac(uint8_t mac[static ETH_ALEN])
{
	if (getrandom(mac, ETH_ALEN, GRND_NONBLOCK) != ETH_ALEN)
		log_warn("the host has no random bytes for a MAC");
	mac[0] = (uint8_t)((mac[0] & 0xfc) | 2);
}

uint64_t net_describe(struct virtio_net *net, const struct virtio_net_params *params)
{
	struct virtio_net_config *config = &net->config;
	uint64_t features = NET_FEATURE(MAC) | NET_FEATURE(STATUS) | NET_FEATURE(MRG_RXBUF) |
			    NET_FEATURE(CTRL_VQ) | NET_FEATURE(CTRL_MAC_ADDR) |
			    NET_FEATURE(CTRL_GUEST_OFFLOADS) | net->backend->features;

	if (params->has_mac)
		memcpy(config->mac, params->mac, ETH_ALEN);
	else
		make_up_mac(config->mac);
	memcpy(net->own_mac, config->mac, ETH_ALEN);
	config->status = VIRTIO_NET_S_LINK_UP;
	config->max_virtqueue_pairs = (uint16_t)net->pair_count;
	config->mtu = params->mtu;
	if (params->mtu)
		features |= NET_FEATURE(MTU);
	if (net->pair_count > 1)
		features |= NET_FEATURE(MQ);
	return features;
}

void net_change_mac(struct virtio_device *dev, const void *mac)
{
	memcpy(net_of(dev)->config.mac, mac, ETH_ALEN);
}

/* A driver begins with what it negotiated, and may take of that away later. */
uint64_t net_offloads_negotiated(const struct virtio_net *net)
{
	const uint64_t offloads = NET_FEATURE(GUEST_CSUM) | NET_FEATURE(GUEST_TSO4) |
				  NET_FEATURE(GUEST_TSO6) | NET_FEATURE(GUEST_ECN) |
				  NET_FEATURE(GUEST_UFO) | NET_FEATURE(GUEST_USO4) |
				  NET_FEATURE(GUEST_USO6);

	return net->dev.active_features & offloads;
}

int net_set_offloads(struct virtio_net *net, uint64_t offloads)
{
	const bool whole = offloads & ~NET_FEATURE(GUEST_CSUM);
	int ret = net->gone ? 0 : net_backend_set_offloads(net->backend, offloads);

	if (ret < 0 && !net_is_gone(net, ret))
		return ret;
	net->offloads = offloads;
	net->rx_want = whole ? NET_FRAME_MAX : NET_FRAME_USUAL;
	return 0;
}
