/* Packets to the guest: each connection that has something for it in turn, and refusals first. */
#include "virtio/iov.h"
#include "virtio/virtio_vsock_priv.h"

/* Bytes of one connection before the next has its turn. */
#define TURN_BYTES KIB(64)

static bool has_bytes(const struct vsock_conn *conn)
{
	return conn->readable && conn->state == VSOCK_CONNECTED &&
	       !(conn->guest_shut & VIRTIO_VSOCK_SHUTDOWN_RCV) &&
	       !(conn->host_shut & VIRTIO_VSOCK_SHUTDOWN_SEND);
}

static void stand_in_line(struct virtio_vsock *vsock, struct vsock_conn *conn)
{
	if (conn->is_ready)
		return;
	conn->is_ready = true;
	TAILQ_INSERT_TAIL(&vsock->table.ready, conn, ready_link);
}

void vsock_ready(struct virtio_vsock *vsock, struct vsock_conn *conn)
{
	stand_in_line(vsock, conn);
	event_loop_defer(vsock->dev.loop, &vsock->pump);
}

void vsock_refuse(struct virtio_vsock *vsock, const struct vsock_refusal *refusal)
{
	vsock->refusals[vsock->next_refusal++ % VSOCK_REFUSALS] = *refusal;
	event_loop_defer(vsock->dev.loop, &vsock->pump);
}

/* A buffer of the guest's. Linux gives about 4 KiB each; a header and a byte are the least. */
static int pop_buffer(struct virtio_queue *queue, struct virtqueue_chain *chain, struct iovec *iov)
{
	int ret = virtqueue_pop(&queue->ring, chain, iov, VSOCK_QUEUE_SIZE);

	if (ret <= 0)
		return ret;
	if (chain->readable > 0) {
		queue->ring.broken = "receive buffer that the device cannot write";
		return -EINVAL;
	}
	if (iov_bytes(iov, chain->writable) <= sizeof(struct virtio_vsock_hdr)) {
		queue->ring.broken = "receive buffer that is too small for a packet";
		return -EINVAL;
	}
	return 1;
}

/* Control packets --------------------------------------------------------------------------------*/

static int send_packet(struct virtio_queue *queue, const struct virtio_vsock_hdr *header)
{
	struct virtio_vsock *vsock = vsock_of(queue->dev);
	struct virtqueue_chain chain;
	int ret = pop_buffer(queue, &chain, vsock->iov);

	if (ret <= 0)
		return ret;
	iov_write(chain.iov, chain.writable, header, sizeof(*header));
	virtio_queue_push(queue, chain.head, sizeof(*header));
	virtio_count(queue->dev, VSOCK_RX_PACKETS, 1);
	return 1;
}

static int send_refusal(struct virtio_queue *queue)
{
	struct virtio_vsock *vsock = vsock_of(queue->dev);
	const struct vsock_refusal *refusal =
		&vsock->refusals[vsock->first_refusal % VSOCK_REFUSALS];
	const struct virtio_vsock_hdr header = { .src_cid = refusal->cid,
						 .dst_cid = vsock->config.guest_cid,
						 .src_port = refusal->host_port,
						 .dst_port = refusal->guest_port,
						 .type = VIRTIO_VSOCK_TYPE_STREAM,
						 .op = VIRTIO_VSOCK_OP_RST };
	const bool was_full = vsock_refusals_full(vsock);
	int ret = send_packet(queue, &header);

	if (ret <= 0)
		return ret;
	vsock->first_refusal++;
	if (was_full)
		virtio_queue_serve_later(&queue->dev->queues[VSOCK_TX]);
	return 1;
}

/* With what the guest may know of our buffer: that is in every packet. */
static struct virtio_vsock_hdr header_of(const struct virtio_vsock *vsock,
					 const struct vsock_conn *conn, uint16_t op)
{
	return (struct virtio_vsock_hdr){
		.src_cid = VSOCK_HOST_CID,
		.dst_cid = vsock->config.guest_cid,
		.src_port = conn->host_port,
		.dst_port = conn->guest_port,
		.type = VIRTIO_VSOCK_TYPE_STREAM,
		.op = op,
		.flags = op == VIRTIO_VSOCK_OP_SHUTDOWN ? conn->host_shut : 0,
		.buf_alloc = VSOCK_BUFFER,
		.fwd_cnt = conn->forwarded,
	};
}

static int send_pending(struct virtio_queue *queue, struct vsock_conn *conn)
{
	static const struct {
		uint8_t pending;
		uint16_t op;
	} order[] = {
		{ VSOCK_SEND_RST, VIRTIO_VSOCK_OP_RST },
		{ VSOCK_SEND_REQUEST, VIRTIO_VSOCK_OP_REQUEST },
		{ VSOCK_SEND_RESPONSE, VIRTIO_VSOCK_OP_RESPONSE },
		{ VSOCK_SEND_CREDIT, VIRTIO_VSOCK_OP_CREDIT_UPDATE },
		{ VSOCK_ASK_CREDIT, VIRTIO_VSOCK_OP_CREDIT_REQUEST },
		{ VSOCK_SEND_SHUTDOWN, VIRTIO_VSOCK_OP_SHUTDOWN },
	};
	struct virtio_vsock *vsock = vsock_of(queue->dev);
	struct virtio_vsock_hdr header;
	unsigned int i = 0;
	int ret;

	while (!(conn->pending & order[i].pending))
		i++;
	header = header_of(vsock, conn, order[i].op);
	ret = send_packet(queue, &header);
	if (ret <= 0)
		return ret;
	conn->told = conn->forwarded;
	conn->pending &= (uint8_t)~order[i].pending;
	if (order[i].pending == VSOCK_SEND_RST)
		vsock_remove(vsock, conn);
	return 1;
}

/* Bytes ------------------------------------------------------------------------------------------*/

/* Receive buffers for one read: their chains, and of each the part behind the header. */
struct batch {
	struct virtqueue_chain chains[VSOCK_BATCH];
	unsigned int chain_count;
	unsigned int iov_count;	 /* used of vsock->iov, the chains as they are */
	unsigned int data_count; /* used of vsock->data, the parts for bytes */
	uint32_t room;		 /* of those */
};

static int gather(struct virtio_queue *queue, struct batch *batch, unsigned int max, uint32_t want)
{
	struct virtio_vsock *vsock = vsock_of(queue->dev);

	while (batch->chain_count < max && batch->room < want &&
	       batch->iov_count <= VSOCK_QUEUE_SIZE) {
		struct virtqueue_chain *chain = &batch->chains[batch->chain_count];
		struct iovec *data = vsock->data + batch->data_count;
		unsigned int count;
		int ret = pop_buffer(queue, chain, vsock->iov + batch->iov_count);

		if (ret < 0)
			return ret;
		if (ret == 0)
			break;
		count = chain->writable;
		memcpy(data, chain->iov, count * sizeof(*data));
		iov_advance(&data, &count, sizeof(struct virtio_vsock_hdr));
		memmove(vsock->data + batch->data_count, data, count * sizeof(*data));
		for (unsigned int i = 0; i < count; i++) {
			struct iovec *part = &vsock->data[batch->data_count + i];

			part->iov_len = MIN(part->iov_len, (size_t)(want - batch->room));
			batch->room += (uint32_t)part->iov_len;
		}
		batch->data_count += count;
		batch->iov_count += chain->writable;
		batch->chain_count++;
	}
	return batch->chain_count > 0;
}

/* The first `len` bytes of the batch are there: headers before them, and what is left goes back. */
static void deliver(struct virtio_queue *queue, struct vsock_conn *conn, struct batch *batch,
		    uint32_t len)
{
	struct virtio_vsock *vsock = vsock_of(queue->dev);
	struct virtio_vsock_hdr header = header_of(vsock, conn, VIRTIO_VSOCK_OP_RW);
	unsigned int used = 0;

	for (uint32_t left = len; left > 0; left -= header.len, used++) {
		struct virtqueue_chain *chain = &batch->chains[used];
		const uint64_t bytes = iov_bytes(chain->iov, chain->writable);

		header.len = (uint32_t)MIN(bytes - sizeof(header), (uint64_t)left);
		iov_write(chain->iov, chain->writable, &header, sizeof(header));
		virtio_queue_push(queue, chain->head, (uint32_t)sizeof(header) + header.len);
	}
	for (unsigned int i = used; i < batch->chain_count; i++)
		virtqueue_unpop(&queue->ring);
	conn->sent += len;
	conn->told = used ? conn->forwarded : conn->told;
	virtio_count(queue->dev, VSOCK_RX_BYTES, len);
	virtio_count(queue->dev, VSOCK_RX_PACKETS, used);
}

static int send_bytes(struct virtio_queue *queue, struct vsock_conn *conn)
{
	const uint32_t want = MIN(vsock_conn_credit(conn), (uint32_t)TURN_BYTES);
	struct virtio_vsock *vsock = vsock_of(queue->dev);
	struct batch batch = { 0 };
	ssize_t len;
	int ret = gather(queue, &batch, conn->bulk ? VSOCK_BATCH : 1, want);

	if (ret <= 0)
		return ret;
	len = retry_eintr(readv(conn->watch.fd, vsock->data, (int)batch.data_count));
	ret = len < 0 ? -errno : 0;
	conn->bulk = len == batch.room;
	deliver(queue, conn, &batch, len > 0 ? (uint32_t)len : 0);
	if (ret == -EAGAIN) {
		conn->readable = false;
	} else if (ret < 0) {
		virtio_count(queue->dev, VSOCK_READ_FAILS, 1);
		vsock_end(vsock, conn, VSOCK_SEND_RST);
	} else if (len == 0) {
		vsock_host_ended(vsock, conn);
	}
	return 1;
}

/* A turn -----------------------------------------------------------------------------------------*/

/* Goes to the end of the line if it has more; the guest's credit brings it back if that is short. */
static void next_turn(struct virtio_vsock *vsock, struct vsock_conn *conn)
{
	TAILQ_REMOVE(&vsock->table.ready, conn, ready_link);
	conn->is_ready = false;
	if (has_bytes(conn) && vsock_conn_credit(conn) == 0 && !conn->asked) {
		conn->asked = true;
		conn->pending |= VSOCK_ASK_CREDIT;
	}
	if (conn->pending || (has_bytes(conn) && vsock_conn_credit(conn) > 0))
		stand_in_line(vsock, conn);
}

int vsock_serve_rx(struct virtio_queue *queue)
{
	struct virtio_vsock *vsock = vsock_of(queue->dev);
	struct vsock_conn *conn = TAILQ_FIRST(&vsock->table.ready);
	const bool has_refusal = vsock->first_refusal != vsock->next_refusal;
	int ret = 1;

	if ((!has_refusal && !conn) || vsock_holds_back(vsock))
		return VIRTIO_SERVE_WAITS;
	if (has_refusal)
		return send_refusal(queue);
	if (conn->pending)
		ret = send_pending(queue, conn);
	else if (has_bytes(conn) && vsock_conn_credit(conn) > 0)
		ret = send_bytes(queue, conn);
	if (ret > 0 && conn->is_ready) /* sending a RST freed it */
		next_turn(vsock, conn);
	return ret;
}
