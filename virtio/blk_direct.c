/*
 * The layer for direct I/O, which wants addresses, offsets and lengths aligned. What is aligned
 * passes through. The rest goes through a bounce buffer, one request at a time: correct for every
 * driver, and slow only for one that takes no care (Linux aligns to blk_size).
 *
 * A write that covers a block in part (the device's blocks are larger than the guest's) is a
 * patch: read, change, write back. Beside it no other change may be under way, or the patch would
 * write back old bytes over new ones; so a patch waits for the changes before it to end and those
 * after it wait for the patch. A buffered descriptor beside the direct one would not do instead:
 * nothing keeps a page cache write-back and a direct write to one block apart on block devices.
 */
#include <sys/mman.h>

#include "virtio/blk_io_list.h"
#include "virtio/iov.h"

/* Per drive, and touched only when it is needed. A multiple of every alignment that we accept. */
#define BOUNCE_BYTES KIB(64)

struct blk_direct {
	struct blk_backend backend;
	struct blk_backend *engine;
	uint8_t *bounce;
	struct blk_io_list waiting; /* for the buffer, for a patch to end, or to patch */
	unsigned int changes;	    /* with the engine, not bounced; counted where patches exist */

	struct blk_io *bounced; /* who has the buffer; its iov and offset are what is left of it */
	uint64_t window;	/* where on the disk the buffer is */
	uint64_t window_end;
	struct blk_io step; /* the engine's part of it */
	struct iovec step_iov;
};

static struct blk_direct *direct_of(struct blk_backend *backend)
{
	return container_of(backend, struct blk_direct, backend);
}

/* One request through the buffer -----------------------------------------------------------------*/

static void serve_waiting(struct blk_direct *direct);

static void finish(struct blk_direct *direct, int ret)
{
	struct blk_io *io = direct->bounced;

	direct->bounced = NULL;
	io->done(io, ret);
	serve_waiting(direct);
}

static void step(struct blk_direct *direct, enum blk_op kind,
		 void (*done)(struct blk_io *step, int ret))
{
	direct->step_iov = (struct iovec){ direct->bounce, direct->window_end - direct->window };
	direct->step = (struct blk_io){ .kind = kind,
					.durable = direct->bounced->durable,
					.offset = direct->window,
					.iov = &direct->step_iov,
					.iov_count = 1,
					.done = done };
	blk_backend_submit(direct->engine, &direct->step);
}

/* The part of the request that lies in the window: where it is in the buffer, and its length. */
static uint8_t *in_buffer(const struct blk_direct *direct, size_t *len)
{
	const struct blk_io *io = direct->bounced;

	*len = MIN(direct->window_end - io->offset, iov_bytes(io->iov, io->iov_count));
	return direct->bounce + (io->offset - direct->window);
}

static void next_window(struct blk_direct *direct);

static void advance(struct blk_direct *direct, size_t len)
{
	struct blk_io *io = direct->bounced;

	iov_advance(&io->iov, &io->iov_count, len);
	io->offset += len;
	if (io->iov_count == 0)
		finish(direct, 0);
	else
		next_window(direct);
}

static void window_read(struct blk_io *done, int ret)
{
	struct blk_direct *direct = container_of(done, struct blk_direct, step);
	size_t len;
	const uint8_t *from = in_buffer(direct, &len);

	if (ret < 0) {
		finish(direct, ret);
		return;
	}
	iov_write(direct->bounced->iov, direct->bounced->iov_count, from, len);
	advance(direct, len);
}

static void window_written(struct blk_io *done, int ret)
{
	struct blk_direct *direct = container_of(done, struct blk_direct, step);
	size_t len;

	in_buffer(direct, &len);
	if (ret < 0)
		finish(direct, ret);
	else
		advance(direct, len);
}

static void fill_and_write(struct blk_direct *direct)
{
	size_t len;
	uint8_t *to = in_buffer(direct, &len);

	if (iov_read(direct->bounced->iov, direct->bounced->iov_count, to, len) < len)
		finish(direct, -EFAULT);
	else
		step(direct, BLK_WRITE, window_written);
}

static void patch_read(struct blk_io *done, int ret)
{
	struct blk_direct *direct = container_of(done, struct blk_direct, step);

	if (ret < 0)
		finish(direct, ret);
	else
		fill_and_write(direct);
}

static void next_window(struct blk_direct *direct)
{
	const uint32_t align = direct->backend.file->io_align;
	const struct blk_io *io = direct->bounced;
	const uint64_t end = io->offset + iov_bytes(io->iov, io->iov_count);

	direct->window = align_down(io->offset, align);
	direct->window_end = MIN(align_up(end, align), direct->window + BOUNCE_BYTES);
	if (io->kind == BLK_READ)
		step(direct, BLK_READ, window_read);
	else if (io->offset > direct->window || end < direct->window_end)
		step(direct, BLK_READ, patch_read);
	else
		fill_and_write(direct);
}

/* Order ------------------------------------------------------------------------------------------*/

static bool may_start(const struct blk_direct *direct, const struct blk_io *io)
{
	if (io->patches && direct->changes > 0)
		return false;
	if (io->bounces)
		return !direct->bounced;
	return !blk_io_changes(io) || !direct->bounced || !direct->bounced->patches;
}

static void changed(struct blk_io *io, int ret)
{
	struct blk_direct *direct = direct_of(io->layer);

	direct->changes--;
	io->done = io->layer_done;
	io->done(io, ret);
	serve_waiting(direct);
}

static void start_io(struct blk_direct *direct, struct blk_io *io)
{
	if (io->bounces) {
		direct->bounced = io;
		next_window(direct);
		return;
	}
	/* Only a block larger than the guest's unit is ever patched; else nobody need count. */
	if (direct->backend.file->io_align > BLK_SECTOR && blk_io_changes(io)) {
		direct->changes++;
		io->layer = &direct->backend;
		io->layer_done = io->done;
		io->done = changed;
	}
	blk_backend_submit(direct->engine, io);
}

static void serve_waiting(struct blk_direct *direct)
{
	while (direct->waiting.head && may_start(direct, direct->waiting.head))
		start_io(direct, blk_io_list_take(&direct->waiting));
}

static void classify(struct blk_io *io, const struct blk_file *file)
{
	uint64_t addresses = 0, sizes = io->offset;

	io->bounces = io->patches = false;
	if (io->kind != BLK_READ && io->kind != BLK_WRITE)
		return;
	for (unsigned int i = 0; i < io->iov_count; i++) {
		addresses |= (uintptr_t)io->iov[i].iov_base;
		sizes |= io->iov[i].iov_len;
	}
	io->bounces = !is_aligned(addresses, file->mem_align) || !is_aligned(sizes, file->io_align);
	io->patches = io->kind == BLK_WRITE &&
		      !is_aligned(io->offset | iov_bytes(io->iov, io->iov_count), file->io_align);
}

static void submit(struct blk_backend *backend, struct blk_io *io)
{
	struct blk_direct *direct = direct_of(backend);
	bool in_turn;

	classify(io, backend->file);
	/* Whoever waits is not overtaken by those who would make it wait longer. */
	in_turn = direct->waiting.head && (io->bounces || blk_io_changes(io));
	if (in_turn || !may_start(direct, io))
		blk_io_list_add(&direct->waiting, io);
	else
		start_io(direct, io);
}

/* Life -------------------------------------------------------------------------------------------*/

static int start(struct blk_backend *backend)
{
	return blk_backend_start(direct_of(backend)->engine);
}

static void stop(struct blk_backend *backend)
{
	blk_backend_stop(direct_of(backend)->engine);
}

static void destroy(struct blk_backend *backend)
{
	struct blk_direct *direct = direct_of(backend);

	blk_backend_destroy(direct->engine);
	munmap(direct->bounce, BOUNCE_BYTES);
	free(direct);
}

static const struct blk_backend_ops ops = {
	.name = "direct",
	.start = start,
	.stop = stop,
	.submit = submit,
	.destroy = destroy,
};

int blk_direct_create(struct blk_backend **out, struct blk_backend *engine, struct error *err)
{
	const struct blk_file *file = engine->file;
	struct blk_direct *direct;

	if (file->io_align > BOUNCE_BYTES || file->mem_align > PAGE_SIZE)
		return error_set(err, EINVAL,
				 "direct I/O wants units of %u bytes at multiples of %u; leave "
				 "direct=on out",
				 file->io_align, file->mem_align);
	direct = calloc(1, sizeof(*direct));
	if (!direct)
		return error_set(err, ENOMEM, "out of memory");
	direct->bounce = mmap(NULL, BOUNCE_BYTES, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (direct->bounce == MAP_FAILED) {
		free(direct);
		return error_set(err, ENOMEM, "out of memory");
	}
	direct->backend = (struct blk_backend){ &ops, file, engine->loop };
	direct->engine = engine;
	blk_io_list_init(&direct->waiting);
	*out = &direct->backend;
	return 0;
}
