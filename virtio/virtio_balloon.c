#include <linux/virtio_ids.h>

#include "virtio/virtio_balloon_priv.h"

#define FEATURE(name) (1ull << VIRTIO_BALLOON_F_##name)

static const char *const counter_names[BALLOON_COUNTERS] = {
	[BALLOON_INFLATE_COUNT] = "inflate_count",
	[BALLOON_DEFLATE_COUNT] = "deflate_count",
	[BALLOON_EVENT_FAILS] = "event_fails",
	[BALLOON_STATS_UPDATES_COUNT] = "stats_updates_count",
	[BALLOON_STATS_UPDATE_FAILS] = "stats_update_fails",
	[BALLOON_REPORT_COUNT] = "free_page_report_count",
	[BALLOON_REPORT_FREED] = "free_page_report_freed",
	[BALLOON_REPORT_FAILS] = "free_page_report_fails",
	[BALLOON_HINT_COUNT] = "free_page_hint_count",
	[BALLOON_HINT_FREED] = "free_page_hint_freed",
	[BALLOON_HINT_FAILS] = "free_page_hint_fails",
};

/* Chains -----------------------------------------------------------------------------------------*/

int balloon_take(struct virtio_queue *queue, struct balloon_work *work)
{
	struct virtqueue_chain chain;
	int ret;

	if (work->busy)
		return 1;
	ret = virtqueue_pop(&queue->ring, &chain, work->iov, BALLOON_IOV_MAX);
	if (ret <= 0)
		return ret;
	work->busy = true;
	work->head = chain.head;
	work->at = chain.iov;
	work->left = chain.readable + chain.writable;
	work->readable = chain.readable;
	return 1;
}

void balloon_finish(struct virtio_queue *queue, struct balloon_work *work)
{
	work->busy = false;
	virtio_queue_push(queue, work->head, 0);
}

/* The guest takes pages back by touching them; it only wants to know that we know. */
static int serve_deflate(struct virtio_queue *queue)
{
	struct virtio_balloon *balloon = balloon_of(queue->dev);
	struct balloon_work *work = &balloon->work[BALLOON_DEFLATE];
	int ret = balloon_take(queue, work);

	if (ret <= 0)
		return ret;
	virtio_count(&balloon->dev, BALLOON_DEFLATE_COUNT, 1);
	balloon_finish(queue, work);
	return 1;
}

/* By kind: one step, and how many a turn of the loop has room for. */
static const struct {
	int (*serve)(struct virtio_queue *queue);
	unsigned int budget;
} kinds[BALLOON_QUEUES] = {
	[BALLOON_INFLATE] = { balloon_serve_inflate, 1 },
	[BALLOON_DEFLATE] = { serve_deflate, 64 },
	[BALLOON_STATS] = { balloon_serve_stats, 4 },
	[BALLOON_HINT] = { balloon_serve_hint, 2 },
	[BALLOON_REPORT] = { balloon_serve_report, 2 },
};

static void balloon_notify(struct virtio_queue *queue)
{
	const enum balloon_queue_kind kind = balloon_of(queue->dev)->kinds[queue->index];

	virtio_queue_serve(queue, kinds[kind].serve, kinds[kind].budget);
}

/* The target -------------------------------------------------------------------------------------*/

static uint32_t pages_of(uint32_t mib)
{
	return mib << (20 - VIRTIO_BALLOON_PFN_SHIFT);
}

static int check_target(const struct virtio_balloon *balloon, uint32_t mib, struct error *err)
{
	if ((uint64_t)mib << (20 - VIRTIO_BALLOON_PFN_SHIFT) > balloon_pages_max(balloon))
		return error_set(err, EINVAL, "Amount of pages requested is too large.");
	return 0;
}

static void change_target(struct virtio_device *dev, const void *arg)
{
	balloon_of(dev)->config.num_pages = *(const uint32_t *)arg;
}

struct target_call {
	struct virtio_device *dev;
	uint32_t pages;
};

static int set_target(void *arg)
{
	const struct target_call *call = arg;

	virtio_device_change_config(call->dev, change_target, &call->pages);
	return 0;
}

int virtio_balloon_set_target(struct virtio_device *dev, uint32_t mib, struct error *err)
{
	struct target_call call = { dev, pages_of(mib) };
	int ret = check_target(balloon_of(dev), mib, err);

	return ret < 0 ? ret : event_loop_call(dev->loop, set_target, &call);
}

/* 5.5.4: the driver says how far it has got; everything else is ours. vCPU threads, under the lock. */
static void balloon_write_config(struct virtio_device *dev, uint64_t offset, const void *data,
				 unsigned int len)
{
	struct virtio_balloon_config *config = &balloon_of(dev)->config;

	if (offset == offsetof(struct virtio_balloon_config, actual) &&
	    len == sizeof(config->actual))
		memcpy(&config->actual, data, len);
}

/* Life -------------------------------------------------------------------------------------------*/

static int balloon_start(struct virtio_device *dev)
{
	balloon_stats_start(balloon_of(dev));
	return 0;
}

/* What is left of a chain stays with the guest: nobody promised to take it, and a liar's may be endless. */
static void balloon_stop(struct virtio_device *dev)
{
	struct virtio_balloon *balloon = balloon_of(dev);

	for (unsigned int i = 0; i < dev->queue_count; i++) {
		struct balloon_work *work = &balloon->work[balloon->kinds[i]];

		if (work->busy)
			balloon_finish(&dev->queues[i], work);
	}
	balloon_stats_stop(balloon);
}

static void balloon_free(struct virtio_device *dev)
{
	free(balloon_of(dev));
}

static const struct virtio_ops balloon_ops = {
	.id = VIRTIO_ID_BALLOON,
	.start = balloon_start,
	.notify = balloon_notify,
	.write_config = balloon_write_config,
	.stop = balloon_stop,
	.free = balloon_free,
	.state = &balloon_state_desc,
	.save = balloon_save,
	.load = balloon_load,
	.counter_names = counter_names,
	.counter_count = BALLOON_COUNTERS,
};

static void add_queue(struct virtio_balloon *balloon, struct virtio_device_params *core,
		      enum balloon_queue_kind kind, uint64_t feature)
{
	balloon->kinds[core->queue_count++] = kind;
	core->features |= feature;
}

static void describe(struct virtio_balloon *balloon, const struct virtio_balloon_params *params,
		     struct virtio_device_params *core)
{
	core->features = params->deflate_on_oom ? FEATURE(DEFLATE_ON_OOM) : 0;
	add_queue(balloon, core, BALLOON_INFLATE, 0);
	add_queue(balloon, core, BALLOON_DEFLATE, 0);
	if (params->stats_interval_s)
		add_queue(balloon, core, BALLOON_STATS, FEATURE(STATS_VQ));
	if (params->hinting)
		add_queue(balloon, core, BALLOON_HINT, FEATURE(FREE_PAGE_HINT));
	if (params->reporting)
		add_queue(balloon, core, BALLOON_REPORT, FEATURE(REPORTING));
}

int virtio_balloon_create(struct virtio_device **out, const struct virtio_balloon_params *params,
			  struct guest_memory *mem, struct event_loop *loop, struct irq_line *irq,
			  struct error *err)
{
	struct virtio_balloon *balloon = calloc(1, sizeof(*balloon));
	struct virtio_device_params core = { .ops = &balloon_ops,
					     .name = params->name,
					     .queue_size_max = BALLOON_QUEUE_SIZE,
					     .mem = mem,
					     .loop = loop,
					     .irq = irq };
	int ret;

	if (!balloon)
		return error_set(err, ENOMEM, "%s: out of memory", params->name);
	core.config = &balloon->config;
	core.config_size = sizeof(balloon->config);
	describe(balloon, params, &core);
	balloon->config.num_pages = pages_of(params->target_mib);
	balloon->stats_interval_s = params->stats_interval_s;
	balloon->last_run = VIRTIO_BALLOON_CMD_ID_DONE;
	balloon->dev.mem = mem;
	ret = check_target(balloon, params->target_mib, err);
	if (ret == 0)
		ret = virtio_device_init(&balloon->dev, &core, err);
	if (ret < 0) {
		free(balloon);
		return ret;
	}
	*out = &balloon->dev;
	return 0;
}
