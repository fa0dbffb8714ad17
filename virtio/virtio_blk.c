#include "virtio/virtio_blk.h"

#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>
#include <string.h>

#include "virtio/blk_backend.h"
#include "virtio/iov.h"

#define QUEUE_SIZE_DEFAULT 256

/* As many data segments as we promise in seg_max, and room for a header that the driver cut up
 * in any way (2.7.4: framing means nothing) and for the status. */
#define SEG_MAX 126u
#define IOV_MAX_CHAIN (SEG_MAX + sizeof(struct virtio_blk_outhdr) + 1)

/* Chains per queue and turn, so that a busy drive leaves the loop to the others now and then. */
#define BUDGET 128

/* Lives from pop to push. There is one for every ring entry, so a free one is always there. */
struct blk_request {
	struct blk_io io;
	struct virtio_queue *queue;
	struct blk_request *next_free;
	uint8_t *status;  /* in guest memory */
	uint32_t written; /* bytes the guest may look at if it succeeds, the status included */
	uint16_t head;
	struct iovec iov[IOV_MAX_CHAIN];
};

struct virtio_blk {
	struct virtio_device dev;
	struct virtio_blk_config config; /* what the guest reads */
	struct blk_backend *backend;
	char serial[VIRTIO_BLK_ID_BYTES]; /* zero-padded, not terminated when full: 5.2.6.1 */
	struct log_limit io_errors;

	/* The loop's. Touched one after the other: what is never used costs no memory. */
	struct blk_request *requests;
	struct blk_request *free;
	unsigned int fresh; /* requests[fresh...] were never used */
	unsigned int in_flight;
};

static struct virtio_blk *blk_of(struct virtio_device *dev)
{
	return container_of(dev, struct virtio_blk, dev);
}

/* Requests ---------------------------------------------------------------------------------------*/

static struct blk_request *take_request(struct virtio_blk *blk)
{
	struct blk_request *request = blk->free;

	if (request)
		blk->free = request->next_free;
	else
		request = &blk->requests[blk->fresh++];
	return request;
}

static void give_back(struct virtio_blk *blk, struct blk_request *request)
{
	request->next_free = blk->free;
	blk->free = request;
}

guest_races static void complete(struct blk_request *request, uint8_t status)
{
	struct virtio_queue *queue = request->queue;
	struct virtio_blk *blk = blk_of(queue->dev);

	*(volatile uint8_t *)request->status = status;
	/* 2.7.8: no more than was surely written from the start of the chain. A failed read may
	 * have left holes before the status byte. */
	virtio_queue_push(queue, request->head,
			  status == VIRTIO_BLK_S_OK || request->written == 1 ? request->written
									     : 0);
	blk->in_flight--;
	give_back(blk, request);
}

static const char *verb(enum blk_op kind)
{
	static const char *const verbs[] = { "read", "write", "flush" };

	return verbs[kind];
}

static void io_done(struct blk_io *io, int ret)
{
	struct blk_request *request = container_of(io, struct blk_request, io);
	struct virtio_blk *blk = blk_of(request->queue->dev);

	if (ret < 0)
		log_limited(&blk->io_errors, LOG_WARN, "drive %s: %s at byte %lu: %s",
			    blk->dev.name, verb(io->kind), io->offset, strerrordesc_np(-ret));
	complete(request, ret < 0 ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK);
}

static void submit(struct virtio_blk *blk, struct blk_request *request, enum blk_op kind)
{
	request->io.kind = kind;
	request->io.durable = kind == BLK_WRITE &&
			      !virtio_device_has(&blk->dev, VIRTIO_BLK_F_FLUSH);
	request->io.done = io_done;
	blk_backend_submit(blk->backend, &request->io);
}

static bool in_range(const struct virtio_blk *blk, uint64_t sector, uint64_t bytes)
{
	const uint64_t capacity = blk->config.capacity;

	return bytes % BLK_SECTOR == 0 && sector <= capacity &&
	       bytes / BLK_SECTOR <= capacity - sector;
}

static void transfer(struct virtio_blk *blk, struct blk_request *request, enum blk_op kind,
		     uint64_t sector)
{
	const uint64_t bytes = iov_bytes(request->io.iov, request->io.iov_count);

	if (kind == BLK_READ)
		request->written += (uint32_t)bytes;
	if (!in_range(blk, sector, bytes) || (kind == BLK_WRITE && blk->backend->file.read_only)) {
		complete(request, VIRTIO_BLK_S_IOERR);
		return;
	}
	if (bytes == 0) {
		complete(request, VIRTIO_BLK_S_OK);
		return;
	}
	request->io.offset = sector * BLK_SECTOR;
	submit(blk, request, kind);
}

static void get_id(struct virtio_blk *blk, struct blk_request *request)
{
	const size_t len = iov_write(request->io.iov, request->io.iov_count, blk->serial,
				     sizeof(blk->serial));

	request->written += (uint32_t)len;
	complete(request, VIRTIO_BLK_S_OK);
}

/* Chains -----------------------------------------------------------------------------------------*/

/* The status is the last writable byte; what stays of the writable part is for data. */
static void split_status(struct blk_request *request, struct virtqueue_chain *chain)
{
	struct iovec *last = &chain->iov[chain->readable + chain->writable - 1];

	request->status = (uint8_t *)last->iov_base + --last->iov_len;
	if (last->iov_len == 0)
		chain->writable--;
}

static void execute(struct virtio_blk *blk, struct blk_request *request,
		    struct virtqueue_chain *chain)
{
	struct iovec *data_in = chain->iov + chain->readable, *data_out = chain->iov;
	struct virtio_blk_outhdr header;

	if (iov_read(chain->iov, chain->readable, &header, sizeof(header)) < sizeof(header)) {
		complete(request, VIRTIO_BLK_S_IOERR);
		return;
	}
	iov_advance(&data_out, &chain->readable, sizeof(header));
	request->io.iov = data_in;
	request->io.iov_count = chain->writable;

	switch (header.type) {
	case VIRTIO_BLK_T_IN:
		transfer(blk, request, BLK_READ, header.sector);
		break;
	case VIRTIO_BLK_T_OUT:
		request->io.iov = data_out;
		request->io.iov_count = chain->readable;
		transfer(blk, request, BLK_WRITE, header.sector);
		break;
	case VIRTIO_BLK_T_FLUSH:
		request->io.offset = 0;
		submit(blk, request, BLK_FLUSH);
		break;
	case VIRTIO_BLK_T_GET_ID:
		get_id(blk, request);
		break;
	default:
		complete(request, VIRTIO_BLK_S_UNSUPP);
		break;
	}
}

/* One chain: taken, answered or on its way to the backend. */
static int serve(struct virtio_queue *queue)
{
	struct virtio_blk *blk = blk_of(queue->dev);
	struct blk_request *request = take_request(blk);
	struct virtqueue_chain chain;
	int ret = virtqueue_pop(&queue->ring, &chain, request->iov, ARRAY_SIZE(request->iov));

	if (ret > 0 && chain.writable == 0) {
		/* There is nowhere to put an answer. */
		queue->ring.broken = "request without a status byte";
		ret = -EINVAL;
	}
	if (ret <= 0) {
		give_back(blk, request);
		return ret;
	}
	request->queue = queue;
	request->head = chain.head;
	request->written = 1;
	blk->in_flight++;
	split_status(request, &chain);
	execute(blk, request, &chain);
	return 1;
}

static void blk_notify(struct virtio_queue *queue)
{
	virtio_queue_serve(queue, serve, BUDGET);
}

/* Life -------------------------------------------------------------------------------------------*/

static int blk_start(struct virtio_device *dev)
{
	return blk_backend_start(blk_of(dev)->backend);
}

static void blk_stop(struct virtio_device *dev)
{
	struct virtio_blk *blk = blk_of(dev);

	while (blk->in_flight > 0)
		event_loop_run_once(dev->loop, true);
	blk_backend_stop(blk->backend);
}

static void blk_free(struct virtio_device *dev)
{
	struct virtio_blk *blk = blk_of(dev);

	blk_backend_destroy(blk->backend);
	free(blk->requests);
	free(blk);
}

static const struct virtio_ops blk_ops = {
	.id = VIRTIO_ID_BLOCK,
	.start = blk_start,
	.notify = blk_notify,
	.stop = blk_stop,
	.free = blk_free,
};

static int open_backend(struct virtio_blk *blk, const struct virtio_blk_params *params,
			struct event_loop *loop, struct error *err)
{
	struct blk_file file;
	int ret = blk_file_open(&file, params->name, params->path, params->fd, params->read_only,
				err);

	if (ret < 0)
		return ret;
	blk->config.capacity = file.size / BLK_SECTOR;
	ret = blk_backend_create(&blk->backend, &file, loop, err);
	if (ret < 0) {
		blk_file_close(&file);
		return error_prefix(err, "drive %s", params->name);
	}
	return 0;
}

static uint64_t features_of(const struct virtio_blk_params *params)
{
	return 1ull << VIRTIO_BLK_F_SEG_MAX | 1ull << VIRTIO_BLK_F_BLK_SIZE |
	       1ull << VIRTIO_BLK_F_FLUSH | (params->read_only ? 1ull << VIRTIO_BLK_F_RO : 0);
}

int virtio_blk_create(struct virtio_device **out, const struct virtio_blk_params *params,
		      struct guest_memory *mem, struct event_loop *loop, struct irq_line *irq,
		      struct error *err)
{
	const uint16_t queue_size = params->queue_size ? params->queue_size : QUEUE_SIZE_DEFAULT;
	const char *serial = params->serial ? params->serial : params->name;
	struct virtio_blk *blk = calloc(1, sizeof(*blk));
	int ret;

	if (!blk) {
		if (!params->path)
			close(params->fd);
		return error_set(err, ENOMEM, "drive %s: out of memory", params->name);
	}
	ret = open_backend(blk, params, loop, err);
	if (ret < 0)
		goto err_free;
	/* One more than entries: serve() takes a request before it knows whether there is a chain. */
	blk->requests = calloc(queue_size + 1u, sizeof(*blk->requests));
	if (!blk->requests) {
		ret = error_set(err, ENOMEM, "drive %s: out of memory", params->name);
		goto err_backend;
	}
	memcpy(blk->serial, serial, strnlen(serial, sizeof(blk->serial)));
	blk->config.seg_max = SEG_MAX;
	blk->config.blk_size = BLK_SECTOR;
	ret = virtio_device_init(&blk->dev,
				 &(struct virtio_device_params){
					 .ops = &blk_ops,
					 .name = params->name,
					 .features = features_of(params),
					 .queue_count = 1,
					 .queue_size_max = queue_size,
					 .config = &blk->config,
					 .config_size = sizeof(blk->config),
					 .mem = mem,
					 .loop = loop,
					 .irq = irq,
				 },
				 err);
	if (ret < 0)
		goto err_requests;
	*out = &blk->dev;
	return 0;

err_requests:
	free(blk->requests);
err_backend:
	blk_backend_destroy(blk->backend);
err_free:
	free(blk);
	return ret;
}
