/* A network interface: its life, and who is called for what. */
#include "virtio/virtio_net.h"

#include <linux/virtio_ids.h>
#include <string.h>
#include <sys/mman.h>

#include "virtio/virtio_net_priv.h"

/* What moves frames ------------------------------------------------------------------------------*/

/* Without MQ there is one pair, and control right behind it: 5.1.2. */
static unsigned int pairs_of_driver(const struct virtio_net *net)
{
	return virtio_device_has(&net->dev, VIRTIO_NET_F_MQ) ? net->pair_count : 1;
}

static void notify_transmit(struct net_pair *pair)
{
	const struct virtqueue *ring = &net_tx_queue(pair)->ring;
	const uint16_t before = ring->state.next_avail;

	net_count(pair->net, NET_TX_QUEUE_EVENTS, 1);
	net_transmit(pair);
	if (!pair->tx_waits && ring->state.next_avail == before && !virtqueue_has_more(ring))
		net_count(pair->net, NET_NO_TX_AVAIL_BUFFER, 1);
}

static void net_notify(struct virtio_queue *queue)
{
	struct virtio_net *net = net_of(queue->dev);
	const unsigned int control = 2 * pairs_of_driver(net);

	if (queue->index > control)
		return;
	if (queue->index == control) {
		net_control(queue);
	} else if (queue->index & 1) {
		notify_transmit(&net->pairs[queue->index / 2]);
	} else {
		net_count(net, NET_RX_QUEUE_EVENTS, 1);
		net_receive(&net->pairs[queue->index / 2]);
		net_tell_filter(net);
	}
}

/* The backend has a frame, or has room again. */
static void backend_ready(struct loop_watch *watch)
{
	struct net_pair *pair = container_of(watch, struct net_pair, watch);

	if (pair->net->dev.broken)
		return;
	net_count(pair->net, NET_RX_TAP_EVENTS, 1);
	if (net_receive(pair) == 0)
		net_look_for_end(pair);
	if (pair->tx_waits) {
		pair->tx_waits = false;
		virtio_queue_resume(net_tx_queue(pair));
	}
}

void virtio_net_set_filter(struct virtio_device *dev, struct net_filter *filter)
{
	net_of(dev)->filter = filter;
	net_of(dev)->filter_waits = false;
}

/* Life -------------------------------------------------------------------------------------------*/

static int net_start(struct virtio_device *dev)
{
	struct virtio_net *net = net_of(dev);
	const uint64_t negotiated = net_offloads_negotiated(net);
	int ret = net_set_offloads(net, net->keeps ? net->offloads & negotiated : negotiated);

	if (ret == 0)
		ret = rate_limiter_start(&net->rx_limiter, dev->loop);
	if (ret == 0)
		ret = rate_limiter_start(&net->tx_limiter, dev->loop);
	if (ret == 0)
		ret = net_use_pairs(net, net->keeps ? net->active_pairs : 1);
	net->keeps = true;
	if (ret == 0 && net->revives && !net->gone)
		ret = virtio_net_set_link(dev, true);
	net->revives = false;
	if (ret < 0)
		log_warn("net %s: cannot set up its tap: %s", dev->name, strerrordesc_np(-ret));
	return ret;
}

static void net_stop(struct virtio_device *dev)
{
	struct virtio_net *net = net_of(dev);

	net_unwatch(net, 0);
	rate_limiter_stop(&net->rx_limiter);
	rate_limiter_stop(&net->tx_limiter);
	for (unsigned int i = 0; i < net->pair_count; i++) {
		net_rx_stop(&net->pairs[i]);
		net->pairs[i].tx_waits = false;
	}
}

static void net_reset(struct virtio_device *dev)
{
	struct virtio_net *net = net_of(dev);

	net->keeps = false;
	net->active_pairs = 1;
	net_change_mac(dev, net->own_mac);
}

/* What creation made, in whatever state it is. */
static void free_net(struct virtio_net *net)
{
	rate_limiter_fini(&net->rx_limiter);
	rate_limiter_fini(&net->tx_limiter);
	net_backend_destroy(net->backend);
	if (net->pairs)
		munmap(net->pairs, net->pairs_bytes);
	free(net);
}

static void net_free(struct virtio_device *dev)
{
	free_net(net_of(dev));
}

static const char *const counter_names[NET_COUNTERS] = {
	[NET_EVENT_FAILS] = "event_fails",
	[NET_NO_RX_AVAIL_BUFFER] = "no_rx_avail_buffer",
	[NET_NO_TX_AVAIL_BUFFER] = "no_tx_avail_buffer",
	[NET_RX_QUEUE_EVENTS] = "rx_queue_event_count",
	[NET_RX_TAP_EVENTS] = "rx_tap_event_count",
	[NET_RX_LIMITER_EVENTS] = "rx_event_rate_limiter_count",
	[NET_RX_THROTTLED] = "rx_rate_limiter_throttled",
	[NET_RX_BYTES] = "rx_bytes_count",
	[NET_RX_PACKETS] = "rx_packets_count",
	[NET_RX_FAILS] = "rx_fails",
	[NET_RX_COUNT] = "rx_count",
	[NET_TAP_READ_FAILS] = "tap_read_fails",
	[NET_TAP_WRITE_FAILS] = "tap_write_fails",
	[NET_TX_BYTES] = "tx_bytes_count",
	[NET_TX_MALFORMED] = "tx_malformed_frames",
	[NET_TX_FAILS] = "tx_fails",
	[NET_TX_COUNT] = "tx_count",
	[NET_TX_PACKETS] = "tx_packets_count",
	[NET_TX_QUEUE_EVENTS] = "tx_queue_event_count",
	[NET_TX_SPOOFED] = "tx_spoofed_mac_count",
	[NET_TX_LIMITER_EVENTS] = "tx_rate_limiter_event_count",
	[NET_TX_THROTTLED] = "tx_rate_limiter_throttled",
	[NET_TX_REMAINING] = "tx_remaining_reqs_count",
};

static const struct virtio_ops net_ops = {
	.id = VIRTIO_ID_NET,
	.start = net_start,
	.notify = net_notify,
	.stop = net_stop,
	.reset = net_reset,
	.free = net_free,
	.state = &net_state_desc,
	.save = net_save,
	.load = net_load,
	.counter_names = counter_names,
	.counter_count = NET_COUNTERS,
	.latency_names = { "tap_write_agg" },
};

static int make_pairs(struct virtio_net *net)
{
	void *map;

	net->pairs_bytes = net->pair_count * sizeof(*net->pairs);
	map = mmap(NULL, net->pairs_bytes, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (map == MAP_FAILED)
		return -ENOMEM;
	net->pairs = map;
	for (unsigned int i = 0; i < net->pair_count; i++) {
		struct net_pair *pair = &net->pairs[i];

		pair->net = net;
		pair->index = i;
		pair->watch = (struct loop_watch){ .fd = net->backend->fds[i],
						   .writable = true,
						   .ready = backend_ready };
	}
	return 0;
}

static int init_device(struct virtio_net *net, const struct virtio_net_params *params,
		       struct virtio_device_params core, struct error *err)
{
	net->pair_count = net->backend->pairs;
	net->active_pairs = 1;
	net->antispoof = params->antispoof;
	net->link_up = true;
	rate_limiter_init(&net->rx_limiter, &params->rx_rate, net_rx_resume);
	rate_limiter_init(&net->tx_limiter, &params->tx_rate, net_tx_resume);
	if (make_pairs(net) < 0)
		return error_set(err, ENOMEM, "net %s: out of memory", params->name);
	core.ops = &net_ops;
	core.name = params->name;
	core.queue_count = 2 * net->pair_count + 1;
	core.queue_size_max = (uint16_t)(params->queue_size ? params->queue_size
							    : NET_QUEUE_SIZE_DEFAULT);
	core.features = net_describe(net, params);
	core.config = &net->config;
	core.config_size = offsetof(struct virtio_net_config, speed);
	return virtio_device_init(&net->dev, &core, err);
}

int virtio_net_create(struct virtio_device **out, const struct virtio_net_params *params,
		      struct net_backend *backend, struct guest_memory *mem,
		      struct event_loop *loop, struct irq_line *irq, struct error *err)
{
	struct virtio_net *net = calloc(1, sizeof(*net));
	int ret;

	if (!net) {
		net_backend_destroy(backend);
		return error_set(err, ENOMEM, "net %s: out of memory", params->name);
	}
	net->backend = backend;
	ret = init_device(net, params,
			  (struct virtio_device_params){ .mem = mem, .loop = loop, .irq = irq },
			  err);
	if (ret < 0) {
		free_net(net);
		return ret;
	}
	*out = &net->dev;
	return 0;
}
