#include "virtio/virtio_rng.h"

#include <linux/virtio_ids.h>
#include <sys/random.h>

#include "virtio/iov.h"

#define QUEUE_SIZE 64

/* What one request gets at most (a driver asks again), and how many requests a turn may serve:
 * a kernel makes about 400 MB of random bytes a second, so a turn takes under 2 ms at worst. */
#define BYTES_MAX KIB(64)
#define BUDGET 8

struct virtio_rng {
	struct virtio_device dev;
	struct iovec iov[QUEUE_SIZE]; /* the loop's: nothing outlives a call of serve() */
};

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

static int serve(struct virtio_queue *queue)
{
	struct virtio_rng *rng = container_of(queue->dev, struct virtio_rng, dev);
	struct virtqueue_chain chain;
	int ret = virtqueue_pop(&queue->ring, &chain, rng->iov, ARRAY_SIZE(rng->iov));

	if (ret <= 0)
		return ret;
	if (chain.readable > 0) { /* 5.4.6.1 */
		queue->ring.broken = "buffer that the device cannot write";
		return -EINVAL;
	}
	virtio_queue_push(queue, chain.head, fill(chain.iov, chain.writable));
	return 1;
}

static void rng_notify(struct virtio_queue *queue)
{
	virtio_queue_serve(queue, serve, BUDGET);
}

static void rng_free(struct virtio_device *dev)
{
	free(container_of(dev, struct virtio_rng, dev));
}

static const struct virtio_ops rng_ops = {
	.id = VIRTIO_ID_RNG,
	.notify = rng_notify,
	.free = rng_free,
};

int virtio_rng_create(struct virtio_device **out, const char *name, struct guest_memory *mem,
		      struct event_loop *loop, struct irq_line *irq, struct error *err)
{
	struct virtio_rng *rng = calloc(1, sizeof(*rng));
	int ret;

	if (!rng)
		return error_set(err, ENOMEM, "%s: out of memory", name);
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
		free(rng);
		return ret;
	}
	*out = &rng->dev;
	return 0;
}
