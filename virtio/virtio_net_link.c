/* The link: what the driver is told of it, which queues it has, and its end. */
#include <poll.h>

#include "virtio/virtio_net_priv.h"

/* Under the lock. */
static void change_status(struct virtio_device *dev, const void *up)
{
	net_of(dev)->config.status = *(const bool *)up ? VIRTIO_NET_S_LINK_UP : 0;
}

static void change_link(struct virtio_net *net, bool up)
{
	if (net->link_up == up)
		return;
	net->link_up = up;
	virtio_device_change_config(&net->dev, change_status, &up);
}

int virtio_net_set_link(struct virtio_device *dev, bool up)
{
	struct virtio_net *net = net_of(dev);

	if (up && net->gone)
		return -ENODEV;
	change_link(net, up);
	return 0;
}

void net_unwatch(struct virtio_net *net, unsigned int first)
{
	for (unsigned int i = first; i < net->pair_count; i++)
		event_loop_unwatch(net->dev.loop, &net->pairs[i].watch);
}

static void end_of_interface(struct virtio_net *net)
{
	if (net->gone)
		return;
	net->gone = true;
	net_unwatch(net, 0);
	net_count(net, NET_EVENT_FAILS, 1);
	log_warn("net %s: the tap is gone; the link is down from now on", net->dev.name);
	change_link(net, false);
}

bool net_is_gone(struct virtio_net *net, ssize_t ret)
{
	if (ret != 0 && ret != -EBADFD && ret != -ENODEV && ret != -EPIPE && ret != -ECONNRESET)
		return false;
	end_of_interface(net);
	return true;
}

void net_look_for_end(struct net_pair *pair)
{
	struct pollfd poll_fd = { .fd = pair->watch.fd };

	if (!pair->net->gone && poll(&poll_fd, 1, 0) > 0 && poll_fd.revents & (POLLERR | POLLHUP))
		end_of_interface(pair->net);
}

int net_use_pairs(struct virtio_net *net, unsigned int pairs)
{
	int ret = 0;

	net_unwatch(net, pairs);
	if (net->gone)
		return 0;
	ret = net_backend_set_pairs(net->backend, pairs);
	for (unsigned int i = 0; i < pairs && ret == 0; i++)
		if (!net->pairs[i].watch.node)
			ret = event_loop_watch(net->dev.loop, &net->pairs[i].watch);
	if (ret < 0)
		return ret;
	net->active_pairs = pairs;
	/* Frames may be there already, and no edge tells of them. */
	for (unsigned int i = 0; i < pairs; i++)
		virtio_queue_serve_later(net_rx_queue(&net->pairs[i]));
	return 0;
}
