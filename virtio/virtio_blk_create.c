/* How a drive comes to be, and goes. */
#include <string.h>
#include <sys/mman.h>

#include "virtio/virtio_blk_priv.h"

/* What creation made, in whatever state it is. */
static void free_drive(struct virtio_blk *blk)
{
	blk_before_free(blk);
	rate_limiter_fini(&blk->limiter);
	blk_backend_destroy(blk->backend);
	blk_file_close(blk->file);
	if (blk->requests)
		munmap(blk->requests, blk->requests_bytes);
	free(blk);
}

void blk_free(struct virtio_device *dev)
{
	free_drive(blk_of(dev));
}

int blk_open_backing(const struct blk_file_params *params, struct event_loop *loop,
		     struct blk_file *file, struct blk_backend **backend, struct error *err)
{
	int ret = blk_file_open(file, params, err);

	if (ret < 0)
		return ret;
	ret = blk_backend_create(backend, file, loop, err);
	if (ret == 0)
		return 0;
	blk_file_close(file);
	return error_prefix(err, "drive %s", params->drive);
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
	const struct virtio_device_params core = { .mem = mem, .loop = loop, .irq = irq };
	const struct blk_file_params file = { .drive = params->name,
					      .path = params->path,
					      .fd = params->fd,
					      .read_only = params->read_only,
					      .direct = params->direct };
	const char *serial = params->serial ? params->serial : params->name;
	struct virtio_blk *blk = calloc(1, sizeof(*blk));
	int ret;

	if (!blk) {
		if (!params->path)
			close(params->fd);
		return error_set(err, ENOMEM, "drive %s: out of memory", params->name);
	}
	blk->file = &blk->files[0];
	blk->file->fd = -1;
	blk->unsafe = params->unsafe;
	memcpy(blk->serial, serial, strnlen(serial, sizeof(blk->serial)));
	rate_limiter_init(&blk->limiter, &params->rate, blk_resume);
	blk->take_times.run = blk_take_times;
	ret = blk_open_backing(&file, loop, blk->file, &blk->backend, err);
	if (ret == 0)
		ret = init_device(blk, params, core, err);
	if (ret < 0) {
		free_drive(blk);
		return ret;
	}
	blk->dev.serves_here = blk_backend_at_once(blk->backend);
	*out = &blk->dev;
	return 0;
}
