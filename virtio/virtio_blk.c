#include <linux/virtio_ids.h>
#include <string.h>
#include <sys/mman.h>

#include "virtio/iov.h"
#include "virtio/virtio_blk_priv.h"

/* Chains per queue and turn, so that a busy drive leaves the loop to the others now and then. */
#define BUDGET 128

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

guest_races void blk_complete(struct blk_request *request, uint8_t status)
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

/* A disk that fails goes on failing: each kind of error is said once, until another one comes. */
static void report(struct virtio_blk *blk, const struct blk_io *io, int ret)
{
	static const char *const verbs[] = { "read", "write", "flush", "discard", "zero", "zero" };

	if (blk->last_error[io->kind] == ret)
		return;
	blk->last_error[io->kind] = ret;
	log_limited(&blk->io_errors, LOG_WARN, "drive %s: %s at byte %lu: %s", blk->dev.name,
		    verbs[io->kind], io->offset, strerrordesc_np(-ret));
}

void blk_io_done(struct blk_io *io, int ret)
{
	struct blk_request *request = container_of(io, struct blk_request, io);

	if (ret < 0)
		report(blk_of(request->queue->dev), io, ret);
	blk_complete(request, ret < 0 ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK);
}

/* 5.2.6.2: a driver that cannot flush is told that a write is complete when it is on stable
 * storage; in unsafe mode nobody is promised anything. */
void blk_submit(struct virtio_blk *blk, struct blk_request *request, enum blk_op kind,
		void (*done)(struct blk_io *io, int ret))
{
	request->io.kind = kind;
	request->io.durable = (kind == BLK_WRITE || kind == BLK_PUNCH || kind == BLK_ZERO) &&
			      !blk->unsafe && !virtio_device_has(&blk->dev, VIRTIO_BLK_F_FLUSH);
	request->io.alone = blk->in_flight == 1 && !virtqueue_has_more(&request->queue->ring);
	request->io.done = done;
	blk_backend_submit(blk->backend, &request->io);
}

bool blk_in_range(const struct virtio_blk *blk, uint64_t sector, uint64_t bytes)
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
	if (!blk_in_range(blk, sector, bytes) || (kind == BLK_WRITE && blk->file.read_only)) {
		blk_complete(request, VIRTIO_BLK_S_IOERR);
		return;
	}
	if (bytes == 0) {
		blk_complete(request, VIRTIO_BLK_S_OK);
		return;
	}
	request->io.offset = sector * BLK_SECTOR;
	blk_submit(blk, request, kind, blk_io_done);
}

static void flush(struct virtio_blk *blk, struct blk_request *request)
{
	request->io.offset = 0;
	if (blk->unsafe) /* not offered, and not to be believed in */
		blk_complete(request, VIRTIO_BLK_S_UNSUPP);
	else
		blk_submit(blk, request, BLK_FLUSH, blk_io_done);
}

static void get_id(struct virtio_blk *blk, struct blk_request *request)
{
	const size_t len = iov_write(request->io.iov, request->io.iov_count, blk->serial,
				     sizeof(blk->serial));

	request->written += (uint32_t)len;
	blk_complete(request, VIRTIO_BLK_S_OK);
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
		blk_complete(request, VIRTIO_BLK_S_IOERR);
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
		flush(blk, request);
		break;
	case VIRTIO_BLK_T_GET_ID:
		get_id(blk, request);
		break;
	case VIRTIO_BLK_T_DISCARD:
	case VIRTIO_BLK_T_WRITE_ZEROES:
		request->io.iov = data_out;
		request->io.iov_count = chain->readable;
		(header.type == VIRTIO_BLK_T_DISCARD ? blk_discard : blk_write_zeroes)(blk,
										       request);
		break;
	default:
		blk_complete(request, VIRTIO_BLK_S_UNSUPP);
		break;
	}
}

/* One chain: taken, answered or on its way to the backend. */
static int serve(struct virtio_queue *queue)
{
	struct virtio_blk *blk = blk_of(queue->dev);
	struct blk_request *request = take_request(blk);
	struct virtqueue_chain chain;
	int ret = virtqueue_pop(&queue->ring, &chain, request->iov, BLK_IOV_MAX);

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

/* What creation made, in whatever state it is. */
static void free_blk(struct virtio_blk *blk)
{
	blk_backend_destroy(blk->backend);
	blk_file_close(&blk->file);
	if (blk->requests)
		munmap(blk->requests, blk->requests_bytes);
	free(blk);
}

static void blk_free(struct virtio_device *dev)
{
	free_blk(blk_of(dev));
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
	const struct blk_file_params file = { .drive = params->name,
					      .path = params->path,
					      .fd = params->fd,
					      .read_only = params->read_only,
					      .direct = params->direct };
	int ret = blk_file_open(&blk->file, &file, err);

	if (ret < 0)
		return ret;
	ret = blk_backend_create(&blk->backend, &blk->file, loop, err);
	return ret < 0 ? error_prefix(err, "drive %s", params->name) : 0;
}

/* Mapped and not from the heap, so that it is a promise: what is never used is never touched. One
 * more than entries: serve() takes a request before it knows whether there is a chain. */
static int map_requests(struct virtio_blk *blk, unsigned int entries)
{
	void *map;

	blk->requests_bytes = (entries + 1u) * sizeof(*blk->requests);
	map = mmap(NULL, blk->requests_bytes, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (map == MAP_FAILED)
		return -ENOMEM;
	blk->requests = map;
	return 0;
}

static int init_device(struct virtio_blk *blk, const struct virtio_blk_params *params,
		       struct virtio_device_params core, struct error *err)
{
	core.ops = &blk_ops;
	core.name = params->name;
	core.queue_count = params->num_queues ? params->num_queues : 1;
	core.queue_size_max = (uint16_t)(params->queue_size ? params->queue_size
							    : BLK_QUEUE_SIZE_DEFAULT);
	if (map_requests(blk, core.queue_count * core.queue_size_max) < 0)
		return error_set(err, ENOMEM, "drive %s: out of memory", params->name);
	core.features = blk_describe(blk, core.queue_count, core.queue_size_max);
	core.config = &blk->config;
	core.config_size = sizeof(blk->config);
	return virtio_device_init(&blk->dev, &core, err);
}

int virtio_blk_create(struct virtio_device **out, const struct virtio_blk_params *params,
		      struct guest_memory *mem, struct event_loop *loop, struct irq_line *irq,
		      struct error *err)
{
	const char *serial = params->serial ? params->serial : params->name;
	struct virtio_blk *blk = calloc(1, sizeof(*blk));
	int ret;

	if (!blk) {
		if (!params->path)
			close(params->fd);
		return error_set(err, ENOMEM, "drive %s: out of memory", params->name);
	}
	blk->file.fd = -1;
	blk->unsafe = params->unsafe;
	memcpy(blk->serial, serial, strnlen(serial, sizeof(blk->serial)));
	ret = open_backend(blk, params, loop, err);
	if (ret == 0)
		ret = init_device(
			blk, params,
			(struct virtio_device_params){ .mem = mem, .loop = loop, .irq = irq }, err);
	if (ret < 0) {
		free_blk(blk);
		return ret;
	}
	*out = &blk->dev;
	return 0;
}
