/* The block device's requests: from a chain to the backend and back. */
#include <linux/virtio_ids.h>
#include <string.h>

#include "base/clock.h"
#include "virtio/iov.h"
#include "virtio/virtio_blk_priv.h"

/* Chains per queue and turn, so that a busy drive leaves the loop to the others now and then. */
#define BUDGET 128

/* And bytes, as the page cache may have them all at once: moving so much takes about a millisecond. */
#define BUDGET_BYTES MIB(4)

/* To copy so much takes longer than an interrupt. */
#define LARGE_BYTES KIB(32)

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
	/* The rest of the turn may take long: a driver that handles the interrupt before goes on with this one. */
	if (request->bytes > LARGE_BYTES)
		virtqueue_show(&queue->ring);
	blk->in_flight--;
	give_back(blk, request);
}

void blk_refuse(struct blk_request *request, uint8_t status)
{
	virtio_count(request->queue->dev, BLK_INVALID_REQS, 1);
	blk_complete(request, status);
}

/* A disk that fails goes on failing: each kind of error is said once, until another one comes. */
static void report(struct virtio_blk *blk, const struct blk_io *io, int ret)
{
	static const char *const verbs[] = { "read", "write", "flush", "discard", "zero", "zero" };

	virtio_count(&blk->dev, ret == -EAGAIN ? BLK_ENGINE_THROTTLED : BLK_EXECUTE_FAILS, 1);
	if (blk->last_error[io->kind] == ret)
		return;
	blk->last_error[io->kind] = ret;
	log_limited(&blk->io_errors, LOG_WARN, "drive %s: %s at byte %lu: %s", blk->dev.name,
		    verbs[io->kind], io->offset, strerrordesc_np(-ret));
}

void blk_take_times(struct loop_defer *defer)
{
	struct virtio_blk *blk = container_of(defer, struct virtio_blk, take_times);
	const uint64_t now = clock_now_ns(CLOCK_MONOTONIC);

	for (unsigned int i = 0; i < BLK_LATENCIES; i++) {
		struct blk_answered *answered = &blk->answered[i];

		if (answered->count)
			latency_add(&blk->dev.latencies[i], now - answered->last,
				    now - answered->first, answered->count * now - answered->sum);
		*answered = (struct blk_answered){ 0 };
	}
}

static void note_answer(struct virtio_blk *blk, enum blk_latency kind, uint64_t start)
{
	struct blk_answered *answered = &blk->answered[kind];

	if (answered->count++ == 0)
		answered->first = answered->last = start;
	answered->first = MIN(answered->first, start);
	answered->last = start > answered->last ? start : answered->last;
	answered->sum += start;
	event_loop_defer(blk->dev.loop, &blk->take_times);
}

static void count(const struct blk_request *request)
{
	struct virtio_device *dev = request->queue->dev;

	switch (request->type) {
	case VIRTIO_BLK_T_IN:
		virtio_count(dev, BLK_READ_COUNT, 1);
		virtio_count(dev, BLK_READ_BYTES, request->bytes);
		note_answer(blk_of(dev), BLK_READ_TIMES, request->start);
		break;
	case VIRTIO_BLK_T_OUT:
		virtio_count(dev, BLK_WRITE_COUNT, 1);
		virtio_count(dev, BLK_WRITE_BYTES, request->bytes);
		note_answer(blk_of(dev), BLK_WRITE_TIMES, request->start);
		break;
	case VIRTIO_BLK_T_FLUSH:
		virtio_count(dev, BLK_FLUSH_COUNT, 1);
		break;
	default:
		break;
	}
}

void blk_io_done(struct blk_io *io, int ret)
{
	struct blk_request *request = container_of(io, struct blk_request, io);

	if (ret < 0)
		report(blk_of(request->queue->dev), io, ret);
	else
		count(request);
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
	blk->is_dirty |= blk_io_changes(&request->io);
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

static void transfer(struct virtio_blk *blk, struct blk_request *request, enum blk_op kind)
{
	if (kind == BLK_READ)
		request->written += request->bytes;
	if (request->bytes > BLK_BYTES_MAX || !blk_in_range(blk, request->sector, request->bytes) ||
	    (kind == BLK_WRITE && blk->file->read_only)) {
		blk_refuse(request, VIRTIO_BLK_S_IOERR);
		return;
	}
	if (request->bytes == 0) {
		blk_complete(request, VIRTIO_BLK_S_OK);
		return;
	}
	request->io.offset = request->sector * BLK_SECTOR;
	blk_submit(blk, request, kind, blk_io_done);
}

static void flush(struct virtio_blk *blk, struct blk_request *request)
{
	request->io.offset = 0;
	if (blk->unsafe) /* not offered, and not to be believed in */
		blk_refuse(request, VIRTIO_BLK_S_UNSUPP);
	else if (!blk_before_holds(blk, request))
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

static bool sends_data(uint32_t type)
{
	return type == VIRTIO_BLK_T_OUT || type == VIRTIO_BLK_T_DISCARD ||
	       type == VIRTIO_BLK_T_WRITE_ZEROES;
}

/* What the driver wants. False: the chain has no room for saying so. */
static bool parse(struct blk_request *request, struct virtqueue_chain *chain)
{
	struct iovec *data_in = chain->iov + chain->readable, *data_out = chain->iov;
	struct virtio_blk_outhdr header;

	request->bytes = 0;
	split_status(request, chain);
	if (iov_read(chain->iov, chain->readable, &header, sizeof(header)) < sizeof(header))
		return false;
	iov_advance(&data_out, &chain->readable, sizeof(header));
	request->type = header.type;
	request->sector = header.sector;
	request->io.iov = sends_data(header.type) ? data_out : data_in;
	request->io.iov_count = sends_data(header.type) ? chain->readable : chain->writable;
	if (header.type == VIRTIO_BLK_T_IN || header.type == VIRTIO_BLK_T_OUT)
		request->bytes = (uint32_t)iov_bytes(request->io.iov, request->io.iov_count);
	return true;
}

static void execute(struct virtio_blk *blk, struct blk_request *request)
{
	switch (request->type) {
	case VIRTIO_BLK_T_IN:
		transfer(blk, request, BLK_READ);
		break;
	case VIRTIO_BLK_T_OUT:
		transfer(blk, request, BLK_WRITE);
		break;
	case VIRTIO_BLK_T_FLUSH:
		flush(blk, request);
		break;
	case VIRTIO_BLK_T_GET_ID:
		get_id(blk, request);
		break;
	case VIRTIO_BLK_T_DISCARD:
		blk_discard(blk, request);
		break;
	case VIRTIO_BLK_T_WRITE_ZEROES:
		blk_write_zeroes(blk, request);
		break;
	default:
		blk_refuse(request, VIRTIO_BLK_S_UNSUPP);
		break;
	}
}

static int leave_waiting(struct virtio_queue *queue)
{
	struct virtqueue *ring = &queue->ring;

	virtqueue_unpop(ring);
	virtio_count(queue->dev, BLK_THROTTLED, 1);
	virtio_count(queue->dev, BLK_REMAINING_REQS,
		     (uint16_t)(ring->avail_seen - ring->state.next_avail));
	return VIRTIO_SERVE_WAITS;
}

/* One chain: taken, answered or on its way to the backend; or left where it is. */
static int serve(struct virtio_queue *queue)
{
	struct virtio_blk *blk = blk_of(queue->dev);
	struct blk_request *request;
	struct virtqueue_chain chain;
	bool makes_sense;
	int ret;

	if (blk->turn_bytes >= BUDGET_BYTES / queue->dev->queue_count) {
		virtio_queue_serve_later(queue);
		return VIRTIO_SERVE_WAITS;
	}
	request = take_request(blk);
	ret = virtqueue_pop(&queue->ring, &chain, request->iov, BLK_IOV_MAX);
	if (ret > 0 && chain.writable == 0) {
		/* There is nowhere to put an answer. */
		queue->ring.broken = "request without a status byte";
		ret = -EINVAL;
	}
	if (ret <= 0) {
		give_back(blk, request);
		return ret;
	}
	makes_sense = parse(request, &chain);
	if (!rate_limiter_take(&blk->limiter, request->bytes)) {
		give_back(blk, request);
		return leave_waiting(queue);
	}
	if (request->bytes > LARGE_BYTES)
		virtio_queue_is_large(queue);
	request->start = blk->turn_start;
	request->queue = queue;
	request->head = chain.head;
	request->written = 1;
	blk->in_flight++;
	blk->turn_bytes += request->bytes;
	if (makes_sense)
		execute(blk, request);
	else
		blk_refuse(request, VIRTIO_BLK_S_IOERR);
	return 1;
}

static void blk_serve(struct virtio_queue *queue)
{
	struct virtio_blk *blk = blk_of(queue->dev);

	blk->turn_bytes = 0;
	blk->turn_start = clock_now_ns(CLOCK_MONOTONIC);
	virtio_queue_serve(queue, serve, BUDGET);
}

static void blk_notify(struct virtio_queue *queue)
{
	const uint16_t before = queue->ring.state.next_avail;

	virtio_count(queue->dev, BLK_QUEUE_EVENTS, 1);
	blk_serve(queue);
	if (queue->ring.state.next_avail == before && !virtqueue_has_more(&queue->ring))
		virtio_count(queue->dev, BLK_NO_AVAIL_BUFFER, 1);
}

/* A flush or a discard is for the engine, but those are rare. */
static bool blk_at_once(const struct virtio_queue *queue)
{
	const struct virtio_blk *blk = blk_of(queue->dev);

	return blk->in_flight == 0 && !blk->before.file && blk_backend_at_once(blk->backend) &&
	       !rate_limiter_limits(&blk->limiter);
}

/* In turn, so that none waits for ever while others take what there is. */
void blk_resume(struct rate_limiter *limiter)
{
	struct virtio_blk *blk = container_of(limiter, struct virtio_blk, limiter);
	struct virtio_device *dev = &blk->dev;

	virtio_count(dev, BLK_RATE_LIMITER_EVENTS, 1);
	blk->turn = (blk->turn + 1) % dev->queue_count;
	for (unsigned int i = 0; i < dev->queue_count && !dev->broken; i++)
		blk_serve(&dev->queues[(blk->turn + i) % dev->queue_count]);
}

/* Life -------------------------------------------------------------------------------------------*/

static int blk_start(struct virtio_device *dev)
{
	struct virtio_blk *blk = blk_of(dev);
	int ret = rate_limiter_start(&blk->limiter, dev->loop);

	if (ret == 0)
		ret = blk_backend_start(blk->backend);
	if (ret < 0)
		return ret;
	if (blk->tell_config)
		virtio_device_change_config(dev, blk_set_capacity,
					    &(uint64_t){ blk->file->size / BLK_SECTOR });
	blk->tell_config = false;
	blk_before_start(blk);
	return 0;
}

static void blk_stop(struct virtio_device *dev)
{
	struct virtio_blk *blk = blk_of(dev);

	rate_limiter_stop(&blk->limiter);
	while (blk->in_flight > 0)
		event_loop_run_once(dev->loop, true);
	if (blk->take_times.queued) {
		event_loop_undefer(dev->loop, &blk->take_times);
		blk_take_times(&blk->take_times);
	}
	blk_backend_stop(blk->backend);
	blk_before_stop(blk);
}

static const char *const blk_counter_names[BLK_COUNTERS] = {
	[BLK_NO_AVAIL_BUFFER] = "no_avail_buffer",
	[BLK_EXECUTE_FAILS] = "execute_fails",
	[BLK_INVALID_REQS] = "invalid_reqs_count",
	[BLK_FLUSH_COUNT] = "flush_count",
	[BLK_QUEUE_EVENTS] = "queue_event_count",
	[BLK_RATE_LIMITER_EVENTS] = "rate_limiter_event_count",
	[BLK_UPDATE_COUNT] = "update_count",
	[BLK_UPDATE_FAILS] = "update_fails",
	[BLK_READ_BYTES] = "read_bytes",
	[BLK_WRITE_BYTES] = "write_bytes",
	[BLK_READ_COUNT] = "read_count",
	[BLK_WRITE_COUNT] = "write_count",
	[BLK_THROTTLED] = "rate_limiter_throttled_events",
	[BLK_ENGINE_THROTTLED] = "io_engine_throttled_events",
	[BLK_REMAINING_REQS] = "remaining_reqs_count",
};

const struct virtio_ops blk_ops = {
	.id = VIRTIO_ID_BLOCK,
	.start = blk_start,
	.notify = blk_notify,
	.stop = blk_stop,
	.free = blk_free,
	.at_once = blk_at_once,
	.gathers = true,
	.state = &blk_state_desc,
	.save = blk_save,
	.load = blk_load,
	.counter_names = blk_counter_names,
	.counter_count = BLK_COUNTERS,
	.latency_names = { "read_agg", "write_agg" },
};
