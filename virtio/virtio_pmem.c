#include "virtio/virtio_pmem.h"

#include <linux/virtio_pmem.h>

#include "virtio/blk_backend.h"
#include "virtio/iov.h"
#include "virtio/rate_limiter.h"

#define QUEUE_SIZE 64
#define BUDGET 32

/* Request and answer are four bytes each, which a driver may cut into single ones. */
#define REQUEST_IOVS 8

/* How long a guest stands still at most when its file has holes and the disk is full. */
#define ROOM_NS 1000000000ull

#define FLUSH_OK 0u
#define FLUSH_FAILED 1u

enum pmem_counter {
	PMEM_QUEUE_EVENT_COUNT,
	PMEM_EVENT_FAILS,
	PMEM_THROTTLED,
	PMEM_RATE_LIMITER_EVENTS,
	PMEM_COUNTERS,
};

static const char *const counter_names[PMEM_COUNTERS] = {
	[PMEM_QUEUE_EVENT_COUNT] = "queue_event_count",
	[PMEM_EVENT_FAILS] = "event_fails",
	[PMEM_THROTTLED] = "rate_limiter_throttled_events",
	[PMEM_RATE_LIMITER_EVENTS] = "rate_limiter_event_count",
};

/* Lives from pop to push; there is one for every entry of the ring. */
struct pmem_request {
	struct blk_io io;
	struct virtio_pmem *pmem;
	struct pmem_request *next_free;
	struct iovec *answer;
	unsigned int answer_count;
	uint16_t head;
	struct iovec iov[REQUEST_IOVS];
};

struct virtio_pmem {
	struct virtio_device dev;
	struct virtio_pmem_config config;
	struct pmem_file *file;
	struct blk_file flushed[2];  /* the same file, as the engine wants it; and one to come */
	unsigned int current;	     /* of the two */
	struct blk_backend *backend; /* flushes, and nothing else: an engine of drives */
	struct rate_limiter limiter;
	struct loop_timer room; /* only for a file that wants some */
	struct pmem_request *free;
	unsigned int in_flight;
	struct pmem_request
		requests[QUEUE_SIZE + 1]; /* serve() looks at one before it has a chain */
};

static struct virtio_pmem *pmem_of(struct virtio_device *dev)
{
	return container_of(dev, struct virtio_pmem, dev);
}

/* Requests ---------------------------------------------------------------------------------------*/

static void complete(struct pmem_request *request, uint32_t result)
{
	struct virtio_pmem *pmem = request->pmem;
	const struct virtio_pmem_resp answer = { .ret = result };

	if (result != FLUSH_OK)
		virtio_count(&pmem->dev, PMEM_EVENT_FAILS, 1);
	virtio_queue_push(&pmem->dev.queues[0], request->head,
			  (uint32_t)iov_write(request->answer, request->answer_count, &answer,
					      sizeof(answer)));
	request->next_free = pmem->free;
	pmem->free = request;
	pmem->in_flight--;
}

/* What was lost while it was on its way to the disk was not flushed either. */
static void flushed(struct blk_io *io, int ret)
{
	struct pmem_request *request = container_of(io, struct pmem_request, io);
	struct virtio_pmem *pmem = request->pmem;

	if (ret < 0)
		log_limited(&pmem->dev.warnings, LOG_WARN, "pmem %s: flush of %s: %s",
			    pmem->file->name, pmem->file->label, strerrordesc_np(-ret));
	pmem_file_check(pmem->file);
	complete(request, ret < 0 || atomic_load(&pmem->file->failed) ? FLUSH_FAILED : FLUSH_OK);
	pmem_file_tell(pmem->file);
}

static void flush(struct virtio_pmem *pmem, struct pmem_request *request)
{
	if (pmem->file->read_only) {
		complete(request, FLUSH_OK); /* there is nothing to make durable */
		return;
	}
	request->io = (struct blk_io){ .kind = BLK_FLUSH, .done = flushed };
	blk_backend_submit(pmem->backend, &request->io);
}

static void execute(struct virtio_pmem *pmem, struct pmem_request *request,
		    const struct virtqueue_chain *chain)
{
	struct virtio_pmem_req what;

	request->head = chain->head;
	request->answer = chain->iov + chain->readable;
	request->answer_count = chain->writable;
	pmem->in_flight++;
	if (iov_read(chain->iov, chain->readable, &what, sizeof(what)) < sizeof(what) ||
	    what.type != VIRTIO_PMEM_REQ_TYPE_FLUSH || atomic_load(&pmem->file->failed))
		complete(request, FLUSH_FAILED);
	else
		flush(pmem, request);
}

static int serve(struct virtio_queue *queue)
{
	struct virtio_pmem *pmem = pmem_of(queue->dev);
	struct pmem_request *request = pmem->free;
	struct virtqueue_chain chain;
	int ret = virtqueue_pop(&queue->ring, &chain, request->iov, REQUEST_IOVS);

	if (ret <= 0)
		return ret;
	if (!rate_limiter_take(&pmem->limiter, pmem->file->length)) {
		virtio_count(&pmem->dev, PMEM_THROTTLED, 1);
		virtqueue_unpop(&queue->ring);
		return VIRTIO_SERVE_WAITS;
	}
	if (iov_bytes(chain.iov + chain.readable, chain.writable) <
	    sizeof(struct virtio_pmem_resp)) {
		queue->ring.broken = "request without room for an answer";
		return -EINVAL;
	}
	pmem->free = request->next_free;
	execute(pmem, request, &chain);
	return 1;
}

static void pmem_notify(struct virtio_queue *queue)
{
	struct virtio_pmem *pmem = pmem_of(queue->dev);

	virtio_count(&pmem->dev, PMEM_QUEUE_EVENT_COUNT, 1);
	pmem_file_tell(pmem->file);
	virtio_queue_serve(queue, serve, BUDGET);
}

static void resume(struct rate_limiter *limiter)
{
	struct virtio_pmem *pmem = container_of(limiter, struct virtio_pmem, limiter);

	virtio_count(&pmem->dev, PMEM_RATE_LIMITER_EVENTS, 1);
	virtio_queue_resume(&pmem->dev.queues[0]);
}

/* The limit, live --------------------------------------------------------------------------------*/

int virtio_pmem_set_rate(struct virtio_device *dev, const struct bucket_config *bytes,
			 const struct bucket_config *ops, struct error *err)
{
	return rate_limiter_replace(&pmem_of(dev)->limiter, dev->loop, dev->name, bytes, ops, err);
}

/* State ------------------------------------------------------------------------------------------*/

/* Whether something was lost is the file's to say, then as now; where the guest has it must stay. */
struct pmem_state {
	uint64_t start, size;
	struct rate_limiter_state limiter;
};

static const struct state_field state_fields[] = {
	STATE_FIELD(struct pmem_state, start, STATE_U64, 1),
	STATE_FIELD(struct pmem_state, size, STATE_U64, 1),
	STATE_NESTED(struct pmem_state, limiter, &rate_limiter_state_desc, 1),
};

static const struct state_desc state_desc = STATE_DESC("pmem", struct pmem_state, 1, state_fields);

static void pmem_save(struct virtio_device *dev, void *state)
{
	struct virtio_pmem *pmem = pmem_of(dev);
	struct pmem_state *out = state;

	*out = (struct pmem_state){ .start = pmem->config.start, .size = pmem->config.size };
	rate_limiter_save(&pmem->limiter, &out->limiter);
}

static int pmem_load(struct virtio_device *dev, const void *state, struct error *err)
{
	struct virtio_pmem *pmem = pmem_of(dev);
	const struct pmem_state *in = state;

	if (in->start != pmem->config.start || in->size != pmem->config.size)
		return error_set(
			err, EINVAL,
			"pmem %s: %s is mapped as %#lx bytes at %#lx; the guest had %#lx at "
			"%#lx",
			pmem->file->name, pmem->file->label, (uint64_t)pmem->config.size,
			(uint64_t)pmem->config.start, in->size, in->start);
	if (rate_limiter_load(&pmem->limiter, &in->limiter) < 0)
		return error_set(err, EINVAL, "pmem %s: impossible rate limiter", pmem->file->name);
	return 0;
}

/* Life -------------------------------------------------------------------------------------------*/

static void look_for_room(struct loop_timer *timer)
{
	struct virtio_pmem *pmem = container_of(timer, struct virtio_pmem, room);

	pmem_file_check_room(pmem->file);
	pmem_file_tell(pmem->file);
	if (pmem_file_wants_room(pmem->file))
		loop_timer_arm(timer, ROOM_NS);
}

static int start_looking_for_room(struct virtio_pmem *pmem)
{
	int ret = 0;

	if (!pmem_file_wants_room(pmem->file))
		return 0;
	ret = loop_timer_init(&pmem->room, pmem->dev.loop, look_for_room);
	if (ret == 0)
		loop_timer_arm(&pmem->room, ROOM_NS);
	return ret;
}

static int pmem_start(struct virtio_device *dev)
{
	struct virtio_pmem *pmem = pmem_of(dev);
	int ret = rate_limiter_start(&pmem->limiter, dev->loop);

	if (ret == 0)
		ret = start_looking_for_room(pmem);
	if (ret == 0 && pmem->backend)
		ret = blk_backend_start(pmem->backend);
	return ret;
}

static void pmem_stop(struct virtio_device *dev)
{
	struct virtio_pmem *pmem = pmem_of(dev);

	rate_limiter_stop(&pmem->limiter);
	loop_timer_fini(&pmem->room);
	while (pmem->in_flight > 0)
		event_loop_run_once(dev->loop, true);
	if (pmem->backend)
		blk_backend_stop(pmem->backend);
}

static void free_pmem(struct virtio_pmem *pmem)
{
	rate_limiter_fini(&pmem->limiter);
	blk_backend_destroy(pmem->backend);
	free(pmem);
}

static void pmem_free(struct virtio_device *dev)
{
	struct virtio_pmem *pmem = pmem_of(dev);

	atomic_store(&pmem->file->wake_fd, -1);
	free_pmem(pmem);
}

static const struct virtio_ops pmem_ops = {
	.id = VIRTIO_ID_PMEM,
	.start = pmem_start,
	.notify = pmem_notify,
	.stop = pmem_stop,
	.free = pmem_free,
	.state = &state_desc,
	.save = pmem_save,
	.load = pmem_load,
	.counter_names = counter_names,
	.counter_count = PMEM_COUNTERS,
};

static int create_backend(struct blk_backend **out, struct blk_file *flushed,
			  const struct pmem_file *file, struct event_loop *loop, struct error *err)
{
	int ret;

	*out = NULL;
	if (file->read_only)
		return 0;
	*flushed = (struct blk_file){
		.fd = file->fd, .size = file->length, .mem_align = 1, .io_align = 1
	};
	ret = blk_backend_create(out, flushed, loop, err);
	return ret < 0 ? error_prefix(err, "pmem %s", file->name) : 0;
}

int virtio_pmem_swap_file(struct virtio_device *dev, struct pmem_file *other, struct error *err)
{
	struct virtio_pmem *pmem = pmem_of(dev);
	struct blk_backend *backend;
	int ret = create_backend(&backend, &pmem->flushed[!pmem->current], other, dev->loop, err);

	if (ret == 0)
		ret = pmem_file_swap(pmem->file, other, err);
	if (ret < 0) {
		blk_backend_destroy(backend);
		return ret;
	}
	blk_backend_destroy(pmem->backend);
	pmem->backend = backend;
	pmem->current = !pmem->current;
	return 0;
}

static struct virtio_pmem *make(const struct virtio_pmem_params *params)
{
	struct virtio_pmem *pmem = calloc(1, sizeof(*pmem));

	if (!pmem)
		return NULL;
	pmem->file = params->file;
	pmem->config = (struct virtio_pmem_config){ params->gpa, params->file->size };
	rate_limiter_init(&pmem->limiter, &params->rate, resume);
	for (unsigned int i = 0; i < ARRAY_SIZE(pmem->requests); i++) {
		pmem->requests[i].pmem = pmem;
		pmem->requests[i].next_free = pmem->free;
		pmem->free = &pmem->requests[i];
	}
	return pmem;
}

int virtio_pmem_create(struct virtio_device **out, const struct virtio_pmem_params *params,
		       struct guest_memory *mem, struct event_loop *loop, struct irq_line *irq,
		       struct error *err)
{
	struct virtio_pmem *pmem = make(params);
	int ret;

	if (!pmem)
		return error_set(err, ENOMEM, "pmem %s: out of memory", params->file->name);
	ret = create_backend(&pmem->backend, &pmem->flushed[0], pmem->file, loop, err);
	if (ret == 0)
		ret = virtio_device_init(&pmem->dev,
					 &(struct virtio_device_params){
						 .ops = &pmem_ops,
						 .name = params->file->name,
						 .queue_count = 1,
						 .queue_size_max = QUEUE_SIZE,
						 .config = &pmem->config,
						 .config_size = sizeof(pmem->config),
						 .mem = mem,
						 .loop = loop,
						 .irq = irq,
					 },
					 err);
	if (ret < 0) {
		free_pmem(pmem);
		return ret;
	}
	atomic_store(&params->file->wake_fd, virtio_device_notify_fd(&pmem->dev, 0));
	*out = &pmem->dev;
	return 0;
}
