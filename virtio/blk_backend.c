#include "virtio/blk_backend.h"

#include "base/log.h"
#include "virtio/iov.h"

static int create_engine(struct blk_backend **out, const struct blk_file *file,
			 struct event_loop *loop, struct error *err)
{
	int ret;

	if (!event_loop_has_ring(loop))
		return blk_threads_create(out, file, loop, err);
	ret = blk_uring_create(out, file, loop, err);
	if (ret != -EOPNOTSUPP)
		return ret;
	log_warn("drive %s: %s; using worker threads", file->drive, err->text);
	return blk_threads_create(out, file, loop, err);
}

int blk_backend_create(struct blk_backend **out, const struct blk_file *file,
		       struct event_loop *loop, struct error *err)
{
	struct blk_backend *engine = NULL;
	int ret = create_engine(&engine, file, loop, err);

	if (ret < 0)
		return ret;
	ret = file->direct ? blk_direct_create(out, engine, err)
			   : blk_inline_create(out, engine, err);
	if (ret < 0)
		blk_backend_destroy(engine);
	return ret;
}

bool blk_io_progress(struct blk_io *io, int64_t result, int *ret)
{
	*ret = 0;
	if (result == -EINTR)
		return false;
	if (result < 0) {
		*ret = (int)result;
		return true;
	}
	if (io->kind != BLK_READ && io->kind != BLK_WRITE)
		return true;
	iov_advance(&io->iov, &io->iov_count, (size_t)result);
	if (io->iov_count == 0)
		return true;
	/* Nothing moved and there is a rest: the file has become shorter than it was. */
	if (result == 0)
		*ret = -EIO;
	io->offset += (uint64_t)result;
	return result == 0;
}
