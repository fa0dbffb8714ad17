#include "virtio/virtio_rng.h"

#include <linux/virtio_ids.h>
#include <sys/random.h>

#include "virtio/iov.h"
#include "virtio/rate_limiter.h"

#define QUEUE_SIZE 64

/* What one request gets at most (a driver asks again), and how many requests a turn may serve:
 * a kernel makes about 400 MB of random bytes a second, so a turn takes under 2 ms at worst. */
#define BYTES_MAX KIB(64)
#define BUDGET 8

struct virtio_rng {
	struct virtio_device dev;
	struct iovec iov[QUEUE_SIZE]; /* the loop's: nothing outlives a call of serve() */
	struct rate_limiter limiter;
};

enum rng_counter {
	RNG_EVENT_COUNT, /* buffers served */
	RNG_EVENT_FAILS, /* buffers that got nothing */
	RNG_BYTES,
	RNG_HOST_FAILS, /* buffers that the host's generator did not fill */
	RNG_THROTTLED,
	RNG_LIMITER_EVENTS,
	RNG_COUNTERS,
};

static const char *const counter_names[RNG_COUNTERS] = {
	[RNG_EVENT_COUNT] = "entropy_event_count",
	[RNG_EVENT_FAILS] = "entropy_event_fails",
	[RNG_BYTES] = "entropy_bytes",
	[RNG_HOST_FAILS] = "host_rng_fails",
	[RNG_THROTTLED] = "entropy_rate_limiter_throttled",
	[RNG_LIMITER_EVENTS] = "rate_limiter_event_count",
};

static struct virtio_rng *rng_of(struct virtio_device *dev)
{
	return container_of(dev, struct virtio_rng, dev);
}

/* GRND_NONBLOCK: the host's pool is ready long before the first guest, but a loop may not wait. */
static uint32_t fill(const struct iovec *iov, unsigned int count)
{
	uint32_t done = 0;

	for (unsigned int i = 0; i < count && done < BYTES_MAX; i++) {
		const size_t want = MIN(iov[i].iov_len, BYTES_MAX - done);
		const ssize_t got = getrandom(iov[i].iov_base, want, GRND_NONBLOCK);

		if (got > 0)
			done += (uint32_t)got;
		if (got != (ssize_t)want)
			break;
	}
	return done;
}

static void answer(struct virtio_queue *queue, const struct virtqueue_chain *chain, uint32_t want)
{
	const uint32_t got = fill(chain->iov, chain->writable);

	virtio_count(queue->dev, RNG_EVENT_COUNT, 1);
	virtio_count(queue->dev, RNG_BYTES, got);
	if (got < want)
		virtio_count(queue->dev, RNG_HOST_FAILS, 1);
	if (got == 0)
		virtio_count(queue->dev, RNG_EVENT_FAILS, 1);
	virtio_queue_push(queue, chain->head, got);
}

static int serve(struct virtio_queue *queue)
{
	struct virtio_rng *rng = rng_of(queue->dev);
	struct virtqueue_chain chain;
	uint32_t want;
	int ret = virtqueue_pop(&queue->ring, &chain, rng->iov, ARRAY_SIZE(rng->iov));

	if (ret <= 0)
		return ret;
	if (chain.readable > 0) { /* 5.4.6.1 */
		queue->ring.broken = "buffer that the device cannot write";
		return -EINVAL;
	}
	want = (uint32_t)MIN(iov_bytes(chain.iov, chain.writable), BYTES_MAX);
	if (!rate_limiter_take(&rng->limiter, want)) {
		virtqueue_unpop(&queue->ring);
		virtio_count(queue->dev, RNG_THROTTLED, 1);
		return VIRTIO_SERVE_WAITS;
	}
	answer(queue, &chain, want);
	return 1;
}

static void rng_notify(struct virtio_queue *queue)
{
	virtio_queue_serve(queue, serve, BUDGET);
}

static void resume(struct rate_limiter *limiter)
{
	struct virtio_rng *rng = container_of(limiter, struct virtio_rng, limiter);

	virtio_count(&rng->dev, RNG_LIMITER_EVENTS, 1);
	virtio_queue_resume(&rng->dev.queues[0]);
}

static int rng_start(struct virtio_device *dev)
{
	return rate_limiter_start(&rng_of(dev)->limiter, dev->loop);
}

static void rng_stop(struct virtio_device *dev)
{
	rate_limiter_stop(&rng_of(dev)->limiter);
}

static void rng_free(struct virtio_device *dev)
{
	rate_limiter_fini(&rng_of(dev)->limiter);
	free(rng_of(dev));
}

/* Snapshots: there is nothing in it but its limits. */

struct rng_state {
	struct rate_limiter_state limiter;
};

static const struct state_field state_fields[] = {
	STATE_NESTED(struct rng_state, limiter, &rate_limiter_state_desc, 1),
};

static const struct state_desc state_desc = STATE_DESC("rng", struct rng_state, 1, state_fields);

static void rng_save(struct virtio_device *dev, void *state)
{
	rate_limiter_save(&rng_of(dev)->limiter, &((struct rng_state *)state)->limiter);
}

static int rng_load(struct virtio_device *dev, const void *state, struct error *err)
{
	const struct rng_state *in = state;

	if (rate_limiter_load(&rng_of(dev)->limiter, &in->limiter) < 0)
		return error_set(err, EINVAL, "%s: saved state: impossible rate limiter",
				 dev->name);
	return 0;
}

static const struct virtio_ops rng_ops = {
	.id = VIRTIO_ID_RNG,
	.start = rng_start,
	.notify = rng_notify,
	.stop = rng_stop,
	.free = rng_free,
	.state = &state_desc,
	.save = rng_save,
	.load = rng_load,
	.counter_names = counter_names,
	.counter_count = RNG_COUNTERS,
};

int virtio_rng_create(struct virtio_device **out, const char *name, const struct rate_config *rate,
		      struct guest_memory *mem, struct event_loop *loop, struct irq_line *irq,
		      struct error *err)
{
	static const struct rate_config no_limit;
	struct virtio_rng *rng = calloc(1, sizeof(*rng));
	int ret;

	if (!rng)
		return error_set(err, ENOMEM, "%s: out of memory", name);
	rate_limiter_init(&rng->limiter, rate ? rate : &no_limit, resume);
	ret = virtio_device_init(&rng->dev,
				 &(struct virtio_device_params){
					 .ops = &rng_ops,
					 .name = name,
					 .queue_count = 1,
					 .queue_size_max = QUEUE_SIZE,
					 .mem = mem,
					 .loop = loop,
					 .irq = irq,
				 },
				 err);
	if (ret < 0) {
		rate_limiter_fini(&rng->limiter);
		free(rng);
		return ret;
	}
	*out = &rng->dev;
	return 0;
}
