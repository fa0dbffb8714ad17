/* What changes of a drive while its guest runs: its file, or that one's size; its limits. */
#include <fcntl.h>
#include <string.h>

#include "virtio/virtio_blk_priv.h"

void blk_set_capacity(struct virtio_device *dev, const void *sectors)
{
	memcpy(&blk_of(dev)->config.capacity, sectors, sizeof(uint64_t));
}

/* What the file before owes -----------------------------------------------------------------------*/

/* By a defer, as it must not be freed while its backend is calling. */
static void let_go(struct loop_defer *defer)
{
	struct virtio_blk *blk = container_of(defer, struct virtio_blk, before.let_go);

	blk_before_stop(blk);
	blk_before_free(blk);
}

/* Flushes that waited go on; where it failed they fail with it, for what they promise is not so. */
static void safe_or_not(struct blk_io *io, int ret)
{
	struct virtio_blk *blk = container_of(io, struct virtio_blk, before.io);
	struct blk_request *held = blk->before.held;

	if (ret < 0)
		log_error("drive %s: cannot write back the file it had: %s", blk->dev.name,
			  strerrordesc_np(-ret));
	else
		ret = blk->before.error; /* of one still earlier, that no flush was told of */
	blk->before.is_under_way = false;
	blk->before.is_safe = true; /* or lost: another try would not bring it back */
	blk->before.held = NULL;
	blk->before.error = held ? 0 : ret;
	blk->in_flight--;
	blk->before.let_go.run = let_go;
	event_loop_defer(blk->dev.loop, &blk->before.let_go);
	while (held) {
		struct blk_request *next = held->next_free;

		held->io.kind = BLK_FLUSH;
		if (ret < 0)
			blk_io_done(&held->io, ret);
		else
			blk_submit(blk, held, BLK_FLUSH, blk_io_done);
		held = next;
	}
}

void blk_before_start(struct virtio_blk *blk)
{
	struct blk_before *before = &blk->before;
	int ret;

	if (before->is_safe)
		blk_before_free(blk);
	if (!before->file)
		return;
	before->io = (struct blk_io){ .kind = BLK_FLUSH, .done = safe_or_not };
	before->is_under_way = true;
	blk->in_flight++;
	ret = blk_backend_start(before->backend);
	before->is_started = ret == 0;
	if (ret == 0)
		blk_backend_submit(before->backend, &before->io);
	else
		safe_or_not(&before->io, ret);
}

bool blk_before_holds(struct virtio_blk *blk, struct blk_request *request)
{
	const int error = blk->before.error;

	if (blk->before.is_under_way) {
		request->next_free = blk->before.held;
		blk->before.held = request;
	} else if (error) {
		blk->before.error = 0;
		request->io.kind = BLK_FLUSH;
		blk_io_done(&request->io, error);
	}
	return blk->before.is_under_way || error;
}

void blk_before_stop(struct virtio_blk *blk)
{
	event_loop_undefer(blk->dev.loop, &blk->before.let_go);
	if (blk->before.is_started)
		blk_backend_stop(blk->before.backend);
	blk->before.is_started = false;
}

void blk_before_free(struct virtio_blk *blk)
{
	struct blk_before *before = &blk->before;

	if (!before->file)
		return;
	blk_backend_destroy(before->backend);
	blk_file_close(before->file);
	*before = (struct blk_before){ .error = before->error };
}

/* Replaced twice while the guest was paused: what the first one owes is done here and now. Where that fails the
 * next flush fails too, for the file itself tells of an error only once. */
static int settle(struct virtio_blk *blk, struct error *err)
{
	struct blk_before *before = &blk->before;

	if (before->file && !before->is_safe && fdatasync(before->file->fd) < 0) {
		before->error = -errno;
		return error_set_errno(err, errno, "drive %s: cannot write back the file it had",
				       blk->dev.name);
	}
	blk_before_free(blk);
	return 0;
}

/* Another file -----------------------------------------------------------------------------------*/

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
	blk->before = (struct blk_before){ .file = blk->file,
					   .backend = blk->backend,
					   .error = blk->before.error };
	if (blk->unsafe || !blk->is_dirty)
		blk_before_free(blk);
	blk->is_dirty = false;
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
	int ret;

	virtio_device_pause(dev);
	ret = settle(blk, err);
	if (ret == 0)
		adopt(blk, file, backend);
	if (!was_paused)
		virtio_device_resume(dev);
	return ret;
}

/* The place for a file that is neither the drive's nor the one before. Loop thread, which may be letting go of that. */
static int unused_place(void *arg)
{
	const struct virtio_blk *blk = arg;
	int i = 0;

	while (&blk->files[i] == blk->file || &blk->files[i] == blk->before.file)
		i++;
	return i;
}

int virtio_blk_set_backing(struct virtio_device *dev, const char *path, int fd, struct error *err)
{
	struct virtio_blk *blk = blk_of(dev);
	const struct blk_file_params params = { .drive = dev->name,
						.path = path,
						.fd = fd,
						.read_only = blk->file->read_only,
						.direct = blk->file->direct };
	struct blk_file *file = &blk->files[event_loop_call(dev->loop, unused_place, blk)];
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

int virtio_blk_copy_backing(struct virtio_device *dev)
{
	int fd = fcntl(blk_of(dev)->file->fd, F_DUPFD_CLOEXEC, 3);

	return fd < 0 ? -errno : fd;
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
