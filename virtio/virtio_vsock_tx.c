/* Packets from the guest: checked, and what each means for its connection. */
#include "virtio/iov.h"
#include "virtio/virtio_vsock_priv.h"

struct packet {
	struct virtio_vsock_hdr header;
	struct iovec *data; /* header.len bytes are there */
	unsigned int count;
};

/* What the guest says of its buffer is in every packet of a connection (5.10.6.3). */
static void note_credit(struct virtio_vsock *vsock, struct vsock_conn *conn,
			const struct virtio_vsock_hdr *header)
{
	conn->guest_alloc = header->buf_alloc;
	conn->guest_forwarded = header->fwd_cnt;
	if (vsock_conn_credit(conn) > 0) {
		conn->asked = false;
		if (conn->readable)
			vsock_ready(vsock, conn);
	}
}

static void refuse(struct virtio_vsock *vsock, const struct virtio_vsock_hdr *header)
{
	if (header->op == VIRTIO_VSOCK_OP_RST)
		return;
	vsock_refuse(vsock, &(struct vsock_refusal){ .cid = header->dst_cid,
						     .host_port = header->dst_port,
						     .guest_port = header->src_port });
}

static void receive(struct virtio_vsock *vsock, struct vsock_conn *conn,
		    const struct packet *packet)
{
	const uint32_t len = packet->header.len;
	int ret;

	if (conn->state != VSOCK_CONNECTED || conn->guest_shut & VIRTIO_VSOCK_SHUTDOWN_SEND ||
	    len > vsock_conn_room(conn)) {
		vsock_end(vsock, conn, VSOCK_SEND_RST);
		return;
	}
	if (conn->host_shut & VIRTIO_VSOCK_SHUTDOWN_RCV) { /* it crossed our word of that */
		conn->received += len;
		conn->forwarded = conn->received;
		vsock_settle(vsock, conn);
		return;
	}
	virtio_count(&vsock->dev, VSOCK_TX_BYTES, len);
	ret = vsock_conn_take(conn, packet->data, packet->count, len);
	if (ret < 0) {
		virtio_count(&vsock->dev, VSOCK_WRITE_FAILS, 1);
		vsock_host_refuses(vsock, conn);
	}
	vsock_settle(vsock, conn);
}

/* An ended connection hears nothing but the guest's word that it knows. */
static void handle_ended(struct virtio_vsock *vsock, struct vsock_conn *conn,
			 const struct virtio_vsock_hdr *header)
{
	switch (header->op) {
	case VIRTIO_VSOCK_OP_RST:
		vsock_remove(vsock, conn);
		break;
	case VIRTIO_VSOCK_OP_CREDIT_UPDATE:
	case VIRTIO_VSOCK_OP_CREDIT_REQUEST:
		break;
	case VIRTIO_VSOCK_OP_SHUTDOWN:
		conn->guest_shut |= header->flags & VSOCK_SHUTDOWN_BOTH;
		if (conn->guest_shut != VSOCK_SHUTDOWN_BOTH)
			break;
		vsock_end(vsock, conn, VSOCK_SEND_RST);
		break;
	default:
		vsock_end(vsock, conn, VSOCK_SEND_RST);
	}
}

static void handle(struct virtio_vsock *vsock, struct vsock_conn *conn, const struct packet *packet)
{
	const struct virtio_vsock_hdr *header = &packet->header;

	note_credit(vsock, conn, header);
	switch (header->op) {
	case VIRTIO_VSOCK_OP_RESPONSE:
		if (conn->state == VSOCK_REQUESTED)
			vsock_opened(vsock, conn);
		else
			vsock_end(vsock, conn, VSOCK_SEND_RST);
		break;
	case VIRTIO_VSOCK_OP_RST:
		vsock_guest_reset(vsock, conn);
		break;
	case VIRTIO_VSOCK_OP_SHUTDOWN:
		vsock_guest_shut(vsock, conn, header->flags);
		break;
	case VIRTIO_VSOCK_OP_RW:
		receive(vsock, conn, packet);
		break;
	case VIRTIO_VSOCK_OP_CREDIT_UPDATE:
		break;
	case VIRTIO_VSOCK_OP_CREDIT_REQUEST:
		conn->pending |= VSOCK_SEND_CREDIT;
		vsock_ready(vsock, conn);
		break;
	default:
		vsock_end(vsock, conn, VSOCK_SEND_RST);
	}
}

static void dispatch(struct virtio_vsock *vsock, const struct packet *packet)
{
	const struct virtio_vsock_hdr *header = &packet->header;
	struct vsock_conn *conn;

	if (header->src_cid != vsock->config.guest_cid) {
		log_limited(&vsock->warnings, LOG_WARN,
			    "%s: dropped a packet from CID %lu, which the guest (%lu) is not",
			    vsock->dev.name, (unsigned long)header->src_cid,
			    (unsigned long)vsock->config.guest_cid);
		return;
	}
	if (header->dst_cid != VSOCK_HOST_CID || header->type != VIRTIO_VSOCK_TYPE_STREAM) {
		refuse(vsock, header);
		return;
	}
	conn = vsock_conn_find(&vsock->table, header->dst_port, header->src_port);
	if (conn && header->op == VIRTIO_VSOCK_OP_REQUEST) {
		/* It uses the ports again, so it has forgotten the connection that had them. */
		vsock_guest_reset(vsock, conn);
		conn = NULL;
	}
	if (conn) {
		(conn->state == VSOCK_ENDED) ? handle_ended(vsock, conn, header)
					     : handle(vsock, conn, packet);
	} else if (header->op == VIRTIO_VSOCK_OP_REQUEST) {
		vsock_open(vsock, header->dst_port, header->src_port);
		conn = vsock_conn_find(&vsock->table, header->dst_port, header->src_port);
		if (conn)
			note_credit(vsock, conn, header);
	} else {
		refuse(vsock, header);
	}
}

/* Header and data out of a chain; -EINVAL: it is none that a driver makes. */
static int read_packet(struct virtio_queue *queue, struct virtqueue_chain *chain,
		       struct packet *packet)
{
	if (chain->writable > 0) {
		queue->ring.broken = "packet that the device is to write";
		return -EINVAL;
	}
	if (iov_read(chain->iov, chain->readable, &packet->header, sizeof(packet->header)) <
	    sizeof(packet->header)) {
		queue->ring.broken = "packet without a whole header";
		return -EINVAL;
	}
	packet->data = chain->iov;
	packet->count = chain->readable;
	iov_advance(&packet->data, &packet->count, sizeof(packet->header));
	if (packet->header.len > iov_bytes(packet->data, packet->count)) {
		queue->ring.broken = "packet that says it is longer than its buffer";
		return -EINVAL;
	}
	return 0;
}

int vsock_serve_tx(struct virtio_queue *queue)
{
	struct virtio_vsock *vsock = vsock_of(queue->dev);
	struct virtqueue_chain chain;
	struct packet packet;
	int ret;

	if (vsock_refusals_full(vsock))
		return VIRTIO_SERVE_WAITS;
	ret = virtqueue_pop(&queue->ring, &chain, vsock->iov, VSOCK_QUEUE_SIZE);
	if (ret <= 0)
		return ret;
	ret = read_packet(queue, &chain, &packet);
	if (ret < 0)
		return ret;
	virtio_count(queue->dev, VSOCK_TX_PACKETS, 1);
	dispatch(vsock, &packet);
	virtio_queue_push(queue, chain.head, 0);
	return 1;
}
