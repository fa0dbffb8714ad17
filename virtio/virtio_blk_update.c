/* What changes of a drive while its guest runs: its size, its file, its limits. */
#include <string.h>

#include "virtio/virtio_blk_priv.h"

/* Size -------------------------------------------------------------------------------------------*/

void blk_set_capacity(struct virtio_device *dev, const void *sectors)
{
	memcpy(&blk_of(dev)->config.capacity, sectors, sizeof(uint64_t));
}

int virtio_blk_update_capacity(struct virtio_device *dev)
{
	struct virtio_blk *blk = blk_of(dev);
	const int ret = blk_file_resize(blk->file);
	const uint64_t sectors = blk->file->size / BLK_SECTOR;

	if (ret < 0) {
		log_warn("drive %s: its new size cannot be used: %s", dev->name,
			 strerrordesc_np(-ret));
		return ret;
	}
	if (sectors == blk->config.capacity)
		return 0;
	log_info("drive %s: now %lu sectors", dev->name, sectors);
	virtio_device_change_config(dev, blk_set_capacity, &sectors);
	return 0;
}

/* File -------------------------------------------------------------------------------------------*/

/* A flush that is yet to come goes to the new file, and what it promises is also about writes that
 * went to the old one. */
static int sync_old(const struct virtio_blk *blk, struct error *err)
{
	if (blk->unsafe || blk->file->read_only || fdatasync(blk->file->fd) == 0)
		return 0;
	return error_set_errno(err, errno, "drive %s: cannot write back the file it had",
			       blk->dev.name);
}

/* Loop thread. */
static int tell_capacity(void *arg)
{
	struct virtio_blk *blk = arg;
	const uint64_t sectors = blk->file->size / BLK_SECTOR;

	virtio_device_change_config(&blk->dev, blk_set_capacity, &sectors);
	return 0;
}

static void adopt(struct virtio_blk *blk, struct blk_file *file, struct blk_backend *backend)
{
	blk_backend_destroy(blk->backend);
	blk_file_close(blk->file);
	blk->backend = backend;
	blk->file = file;
	blk->no_punch = blk->no_zero_range = false;
	memset(blk->last_error, 0, sizeof(blk->last_error));
	event_loop_call(blk->dev.loop, tell_capacity, blk);
}

static int replace(struct virtio_blk *blk, struct blk_file *file, struct blk_backend *backend,
		   struct error *err)
{
	struct virtio_device *dev = &blk->dev;
	const bool was_paused = dev->paused;
	/* Most of it while the guest goes on; what it writes meanwhile is little. */
	int ret = sync_old(blk, err);

	if (ret < 0)
		return ret;
	virtio_device_pause(dev);
	ret = sync_old(blk, err);
	if (ret == 0)
		adopt(blk, file, backend);
	if (!was_paused)
		virtio_device_resume(dev);
	return ret;
}

int virtio_blk_set_backing(struct virtio_device *dev, const char *path, int fd, struct error *err)
{
	struct virtio_blk *blk = blk_of(dev);
	const struct blk_file_params params = { .drive = dev->name,
						.path = path,
						.fd = fd,
						.read_only = blk->file->read_only,
						.direct = blk->file->direct };
	struct blk_file *file = &blk->files[blk->file == &blk->files[0]];
	struct blk_backend *backend = NULL;
	int ret = blk_open_backing(&params, dev->loop, file, &backend, err);

	if (ret == 0) {
		ret = replace(blk, file, backend, err);
		if (ret < 0) {
			blk_backend_destroy(backend);
			blk_file_close(file);
		}
	}
	virtio_count(dev, ret < 0 ? BLK_UPDATE_FAILS : BLK_UPDATE_COUNT, 1);
	return ret;
}

/* Limits -----------------------------------------------------------------------------------------*/

int virtio_blk_set_rate(struct virtio_device *dev, const struct bucket_config *bytes,
			const struct bucket_config *ops, struct error *err)
{
	const int ret = rate_limiter_replace(&blk_of(dev)->limiter, dev->loop, dev->name, bytes,
					     ops, err);

	virtio_count(dev, ret < 0 ? BLK_UPDATE_FAILS : BLK_UPDATE_COUNT, 1);
	return ret;
}
