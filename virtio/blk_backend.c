#include "virtio/blk_backend.h"

#include "virtio/iov.h"

int blk_backend_create(struct blk_backend **out, struct blk_file *file, struct event_loop *loop,
		       struct error *err)
{
	if (event_loop_has_ring(loop))
		return blk_uring_create(out, file, loop, err);
	return blk_threads_create(out, file, loop, err);
}

bool blk_io_progress(struct blk_io *io, int64_t result, int *ret)
{
	*ret = 0;
	if (io->kind == BLK_FLUSH) {
		*ret = (int)MIN(result, (int64_t)0);
		return result != -EINTR;
	}
	if (result == -EINTR)
		return false;
	if (result < 0) {
		*ret = (int)result;
		return true;
	}
	iov_advance(&io->iov, &io->iov_count, (size_t)result);
	if (io->iov_count == 0)
		return true;
	/* Nothing moved and there is a rest: the file has become shorter than it was. */
	if (result == 0)
		*ret = -EIO;
	io->offset += (uint64_t)result;
	return result == 0;
}
