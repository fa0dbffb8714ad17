#include "virtio/virtio_vsock.h"

#include <linux/virtio_ids.h>
#include <stdio.h>

#include "virtio/iov.h"
#include "virtio/virtio_vsock_priv.h"

/* Bit 0 (VIRTIO 1.2, 5.10.3): streams. Linux's header has only the bit for what we do not have. */
#define VIRTIO_VSOCK_F_STREAM 0

/* Packets, or turns of connections of up to 64 KiB, before other devices have theirs. */
#define TX_BUDGET 64
#define RX_BUDGET 32

static const char *const counter_names[VSOCK_COUNTERS] = {
	[VSOCK_RX_EVENTS] = "rx_queue_event_count",
	[VSOCK_TX_EVENTS] = "tx_queue_event_count",
	[VSOCK_RX_BYTES] = "rx_bytes_count",
	[VSOCK_TX_BYTES] = "tx_bytes_count",
	[VSOCK_RX_PACKETS] = "rx_packets_count",
	[VSOCK_TX_PACKETS] = "tx_packets_count",
	[VSOCK_ADDED] = "conns_added",
	[VSOCK_REMOVED] = "conns_removed",
	[VSOCK_KILLED] = "conns_killed",
	[VSOCK_FLUSH_FAILS] = "tx_flush_fails",
	[VSOCK_WRITE_FAILS] = "tx_write_fails",
	[VSOCK_READ_FAILS] = "rx_read_fails",
	[VSOCK_CONN_EVENT_FAILS] = "conn_event_fails",
	[VSOCK_MUXER_EVENT_FAILS] = "muxer_event_fails",
	[VSOCK_RX_EVENT_FAILS] = "rx_queue_event_fails",
	[VSOCK_TX_EVENT_FAILS] = "tx_queue_event_fails",
	[VSOCK_EV_EVENT_FAILS] = "ev_queue_event_fails",
};

/* Queues -----------------------------------------------------------------------------------------*/

static void serve(struct virtio_queue *queue)
{
	switch (queue->index) {
	case VSOCK_RX:
		virtio_count(queue->dev, VSOCK_RX_EVENTS, 1);
		virtio_queue_serve(queue, vsock_serve_rx, RX_BUDGET);
		break;
	case VSOCK_TX:
		virtio_count(queue->dev, VSOCK_TX_EVENTS, 1);
		virtio_queue_serve(queue, vsock_serve_tx, TX_BUDGET);
		break;
	default:
		virtio_queue_serve(queue, vsock_serve_event, 1);
	}
}

static void vsock_notify(struct virtio_queue *queue)
{
	serve(queue);
	if (queue->dev->broken)
		virtio_count(queue->dev, VSOCK_RX_EVENT_FAILS + queue->index, 1);
}

static void pump(struct loop_defer *defer)
{
	struct virtio_vsock *vsock = container_of(defer, struct virtio_vsock, pump);

	if (!vsock->dev.broken)
		virtio_queue_serve(&vsock->dev.queues[VSOCK_RX], vsock_serve_rx, RX_BUDGET);
}

/* Life -------------------------------------------------------------------------------------------*/

static int vsock_start(struct virtio_device *dev)
{
	return vsock_watch_all(vsock_of(dev));
}

static void vsock_stop(struct virtio_device *dev)
{
	struct virtio_vsock *vsock = vsock_of(dev);

	vsock_unwatch_all(vsock);
	loop_timer_fini(&vsock->hold);
	event_loop_undefer(dev->loop, &vsock->pump);
}

/* A new driver knows of no connection. */
static void vsock_reset(struct virtio_device *dev)
{
	vsock_drop_all(vsock_of(dev));
	vsock_of(dev)->reset = VSOCK_NO_RESET;
	vsock_of(dev)->is_held = false;
}

void virtio_vsock_set_cid(struct virtio_device *dev, uint32_t cid)
{
	vsock_of(dev)->config.guest_cid = cid;
}

void virtio_vsock_swap_host(struct virtio_device *dev, struct vsock_unix *host)
{
	struct virtio_vsock *vsock = vsock_of(dev);
	struct vsock_unix old = vsock->host;

	vsock->host = *host;
	*host = old;
}

static void free_vsock(struct virtio_vsock *vsock)
{
	loop_timer_fini(&vsock->timer);
	vsock_unix_close(&vsock->host);
	vsock_table_fini(&vsock->table);
	free(vsock);
}

static void vsock_free(struct virtio_device *dev)
{
	struct virtio_vsock *vsock = vsock_of(dev);

	for (unsigned int i = 0; i < vsock->table.fresh; i++)
		if (vsock->table.conns[i].state != VSOCK_FREE)
			vsock_conn_free(&vsock->table, &vsock->table.conns[i]);
	free_vsock(vsock);
}

/* Saving -----------------------------------------------------------------------------------------*/

static const struct state_field state_fields[] = {
	STATE_FIELD(struct virtio_vsock_state, cid, STATE_U32, 1),
	STATE_FIELD(struct virtio_vsock_state, path, STATE_STRING, 1),
	STATE_FIELD(struct virtio_vsock_state, next_port, STATE_U32, 2),
};

static const struct state_desc state = STATE_DESC("vsock", struct virtio_vsock_state, 2,
						  state_fields);

static void vsock_save(struct virtio_device *dev, void *out)
{
	const struct virtio_vsock *vsock = vsock_of(dev);
	struct virtio_vsock_state *saved = out;

	*saved = (struct virtio_vsock_state){ .cid = (uint32_t)vsock->config.guest_cid,
					      .next_port = vsock->table.next_port };
	snprintf(saved->path, sizeof(saved->path), "%s", vsock->host.path);
}

/*
 * The guest's connections have nobody at the other end any more: it is told as soon as the device starts
 * (5.10.6.7). A guest without a driver resets the device before it hears of it. Its programs may keep the ends
 * that they have; a new connection from the same port of ours would be taken for one of those and refused, so
 * ports go on where they were.
 */
static int vsock_load(struct virtio_device *dev, const void *in, struct error *err)
{
	const struct virtio_vsock_state *saved = in;

	if (saved->cid < VSOCK_CID_MIN || saved->cid > VSOCK_CID_MAX)
		return error_set(err, EINVAL, "%s: %u is no guest's CID", dev->name, saved->cid);
	vsock_of(dev)->config.guest_cid = saved->cid;
	vsock_reset_to_tell(vsock_of(dev));
	if (saved->next_port >= VSOCK_HOST_PORT_FIRST && saved->next_port < UINT32_MAX)
		vsock_of(dev)->table.next_port = saved->next_port;
	return 0;
}

static const struct virtio_ops vsock_ops = {
	.id = VIRTIO_ID_VSOCK,
	.start = vsock_start,
	.notify = vsock_notify,
	.stop = vsock_stop,
	.reset = vsock_reset,
	.free = vsock_free,
	.state = &state,
	.save = vsock_save,
	.load = vsock_load,
	.counter_names = counter_names,
	.counter_count = VSOCK_COUNTERS,
};

static int init_vsock(struct virtio_vsock *vsock, const struct virtio_vsock_params *params,
		      struct virtio_device_params core, struct error *err)
{
	int ret;

	if (params->cid < VSOCK_CID_MIN || params->cid > VSOCK_CID_MAX)
		return error_set(err, EINVAL, "vsock: %u is no guest's CID: they start at %u",
				 params->cid, VSOCK_CID_MIN);
	if (vsock_table_init(&vsock->table) < 0)
		return error_set(err, ENOMEM, "vsock: no memory for %u connections",
				 VSOCK_CONNS_MAX);
	ret = vsock_unix_open(&vsock->host, params->path, params->listener, err);
	if (ret < 0)
		return ret;
	vsock->config.guest_cid = params->cid;
	ret = loop_timer_open(&vsock->timer, vsock_on_silence);
	if (ret < 0)
		return error_set_errno(err, ret, "vsock: cannot make a timer");
	vsock->pump.run = pump;
	vsock->patience_ns = VSOCK_PATIENCE_NS;
	vsock->hold_ns = VSOCK_HOLD_NS;
	core.ops = &vsock_ops;
	core.name = "vsock";
	core.features = 1ull << VIRTIO_VSOCK_F_STREAM;
	core.queue_count = VSOCK_QUEUES;
	core.queue_size_max = VSOCK_QUEUE_SIZE;
	core.config = &vsock->config;
	core.config_size = sizeof(vsock->config);
	return virtio_device_init(&vsock->dev, &core, err);
}

int virtio_vsock_create(struct virtio_device **out, const struct virtio_vsock_params *params,
			struct guest_memory *mem, struct event_loop *loop, struct irq_line *irq,
			struct error *err)
{
	struct virtio_vsock *vsock = calloc(1, sizeof(*vsock));
	int ret;

	if (!vsock)
		return error_set(err, ENOMEM, "vsock: out of memory");
	vsock->host.listener = vsock->host.spare = -1;
	vsock->timer.watch.fd = vsock->redial.watch.fd = vsock->hold.watch.fd = -1;
	ret = init_vsock(vsock, params,
			 (struct virtio_device_params){ .mem = mem, .loop = loop, .irq = irq },
			 err);
	if (ret < 0) {
		free_vsock(vsock);
		return ret;
	}
	*out = &vsock->dev;
	return 0;
}
