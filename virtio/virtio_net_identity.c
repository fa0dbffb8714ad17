/* What of an interface may be another in a clone: its tap and its MAC. */
#include <string.h>

#include "virtio/virtio_net_priv.h"

int virtio_net_set_mac(struct virtio_device *dev, const uint8_t mac[static ETH_ALEN],
		       struct error *err)
{
	struct virtio_net *net = net_of(dev);

	if (!net_mac_is_usable(mac))
		return error_set(err, EINVAL, "net %s: that MAC cannot be an interface's",
				 dev->name);
	if (memcmp(net->config.mac, mac, ETH_ALEN) != 0) {
		/* Changed twice, and the guest has used only the first one. */
		if (!net->has_former)
			memcpy(net->former_mac, net->config.mac, ETH_ALEN);
		net->has_former = true;
	}
	memcpy(net->config.mac, mac, ETH_ALEN);
	memcpy(net->own_mac, mac, ETH_ALEN);
	return 0;
}

struct net_backend *virtio_net_backend(struct virtio_device *dev)
{
	return net_of(dev)->backend;
}

int virtio_net_swap_backend(struct virtio_device *dev, struct net_backend **backend,
			    struct error *err)
{
	struct virtio_net *net = net_of(dev);
	struct net_backend *old = net->backend;

	if ((*backend)->pairs != net->pair_count)
		return error_set(err, EINVAL, "net %s: its tap has %u queue pairs, not %u",
				 dev->name, (*backend)->pairs, net->pair_count);
	dev->features = (dev->features & ~old->features) | (*backend)->features;
	net->backend = *backend;
	net->gone = false;
	for (unsigned int i = 0; i < net->pair_count; i++)
		net->pairs[i].watch.fd = net->backend->fds[i];
	*backend = old;
	return 0;
}
