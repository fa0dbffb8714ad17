/* Block I/O on the loop's own ring: from guest pages, no thread, no copy, one submit a batch. */
#include <liburing.h>

#include "virtio/blk_backend.h"

static void done(struct loop_op *op, int32_t res, uint32_t flags)
{
	struct blk_io *io = container_of(op, struct blk_io, op);
	int ret;

	(void)flags;
	if (blk_io_progress(io, res, &ret))
		io->done(io, ret);
	else
		io->backend->ops->submit(io->backend, io);
}

static void prepare(struct io_uring_sqe *sqe, int fd, const struct blk_io *io)
{
	const struct iovec *iov = io->iov;

	switch (io->kind) {
	case BLK_FLUSH:
		io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
		return;
	/* One segment is the usual case and spares the kernel the copy of an iovec. */
	case BLK_READ:
		if (io->iov_count == 1 && iov->iov_len <= INT32_MAX)
			io_uring_prep_read(sqe, fd, iov->iov_base, (unsigned int)iov->iov_len,
					   io->offset);
		else
			io_uring_prep_readv(sqe, fd, iov, io->iov_count, io->offset);
		return;
	case BLK_WRITE:
		if (io->iov_count == 1 && iov->iov_len <= INT32_MAX)
			io_uring_prep_write(sqe, fd, iov->iov_base, (unsigned int)iov->iov_len,
					    io->offset);
		else
			io_uring_prep_writev(sqe, fd, iov, io->iov_count, io->offset);
		if (io->durable)
			sqe->rw_flags = RWF_DSYNC;
		return;
	}
}

static void submit(struct blk_backend *backend, struct blk_io *io)
{
	struct io_uring_sqe *sqe = event_loop_sqe(backend->loop);

	if (!sqe) {
		io->done(io, -EAGAIN);
		return;
	}
	prepare(sqe, backend->file.fd, io);
	io->op.done = done;
	event_loop_submit_op(sqe, &io->op);
}

static void destroy(struct blk_backend *backend)
{
	blk_file_close(&backend->file);
	free(backend);
}

static const struct blk_backend_ops ops = {
	.name = "io_uring",
	.submit = submit,
	.destroy = destroy,
};

int blk_uring_create(struct blk_backend **out, struct blk_file *file, struct event_loop *loop,
		     struct error *err)
{
	struct blk_backend *backend = calloc(1, sizeof(*backend));

	if (!backend)
		return error_set(err, ENOMEM, "out of memory");
	backend->ops = &ops;
	backend->loop = loop;
	backend->file = *file;
	file->fd = -1;
	*out = backend;
	return 0;
}
