/* Requests about a range without its data: discard and write-zeroes (5.2.6). */
#include "virtio/iov.h"
#include "virtio/virtio_blk_priv.h"

/* Zeroes for a backing that can only be written to. In the program's file, so nobody's memory. */
static const uint8_t zeroes[PAGE_SIZE] __attribute__((aligned(PAGE_SIZE)));

/*
 * Reads the one segment that we allow and checks it; fills in the io's range. `flags` are those
 * that the request knows: any other is UNSUPP (5.2.6.2), as is one that we did not offer.
 */
static uint8_t take_range(struct virtio_blk *blk, struct blk_request *request, unsigned int feature,
			  uint32_t max_sectors, uint32_t *flags)
{
	struct virtio_blk_discard_write_zeroes segment;
	struct blk_io *io = &request->io;
	uint64_t bytes;

	if (blk->file->read_only)
		return VIRTIO_BLK_S_IOERR;
	if (!virtio_device_has(&blk->dev, feature))
		return VIRTIO_BLK_S_UNSUPP;
	if (iov_bytes(io->iov, io->iov_count) != sizeof(segment))
		return VIRTIO_BLK_S_IOERR;
	if (iov_read(io->iov, io->iov_count, &segment, sizeof(segment)) < sizeof(segment))
		return VIRTIO_BLK_S_IOERR;
	if (segment.flags & ~*flags)
		return VIRTIO_BLK_S_UNSUPP;
	bytes = (uint64_t)segment.num_sectors * BLK_SECTOR;
	if (segment.num_sectors > max_sectors || !blk_in_range(blk, segment.sector, bytes))
		return VIRTIO_BLK_S_IOERR;
	*flags = segment.flags;
	io->offset = segment.sector * BLK_SECTOR;
	io->length = bytes;
	return VIRTIO_BLK_S_OK;
}

/* Discard ----------------------------------------------------------------------------------------*/

/* A discard is a hint, so one that the device finds no use for has been followed. */
static void discarded(struct blk_io *io, int ret)
{
	blk_io_done(io, ret == -EOPNOTSUPP ? 0 : ret);
}

void blk_discard(struct virtio_blk *blk, struct blk_request *request)
{
	struct blk_io *io = &request->io;
	const uint32_t block = blk->file->is_block ? blk->file->block_size : BLK_SECTOR;
	uint32_t flags = 0; /* unmap means nothing here */
	const uint8_t status = take_range(blk, request, VIRTIO_BLK_F_DISCARD,
					  blk->config.max_discard_sectors, &flags);
	uint64_t end;

	if (status != VIRTIO_BLK_S_OK) {
		blk_refuse(request, status);
		return;
	}
	/* A device discards whole blocks of its own; parts of them stay. */
	end = align_down(io->offset + io->length, block);
	io->offset = align_up(io->offset, block);
	if (io->offset >= end) {
		blk_complete(request, VIRTIO_BLK_S_OK);
		return;
	}
	io->length = end - io->offset;
	blk_submit(blk, request, BLK_DISCARD, discarded);
}

/* Write-zeroes -----------------------------------------------------------------------------------*/

static void zero(struct virtio_blk *blk, struct blk_request *request, bool unmap);

/* The next part of it, as data: as many pages of zeroes as there are iovecs. Such writes are paid
 * for like others, afterwards: whether it comes to them is not known before. */
static void write_part(struct blk_io *io, int ret)
{
	struct blk_request *request = container_of(io, struct blk_request, io);
	struct virtio_blk *blk = blk_of(request->queue->dev);
	uint64_t at = request->zero_at;
	unsigned int n = 0;

	if (ret < 0 || at == request->zero_end) {
		blk_io_done(io, ret);
		return;
	}
	io->offset = at;
	for (; n < BLK_SEG_MAX && at < request->zero_end; n++) {
		const size_t len = MIN(request->zero_end - at, sizeof(zeroes));

		/* Only ever read: BLK_WRITE. */
		request->iov[n] = (struct iovec){ (void *)(uintptr_t)zeroes, len };
		at += len;
	}
	io->iov = request->iov;
	io->iov_count = n;
	rate_limiter_charge(&blk->limiter, at - request->zero_at);
	request->zero_at = at;
	blk_submit(blk, request, BLK_WRITE, write_part);
}

static void write_all(struct blk_request *request)
{
	request->zero_at = request->io.offset;
	request->zero_end = request->io.offset + request->io.length;
	write_part(&request->io, 0);
}

static void zeroed(struct blk_io *io, int ret)
{
	struct blk_request *request = container_of(io, struct blk_request, io);
	struct virtio_blk *blk = blk_of(request->queue->dev);
	const bool punched = io->kind == BLK_PUNCH;

	/* EINVAL is a device's answer to less than its own blocks; its other ranges may do. */
	if (ret == -EOPNOTSUPP)
		*(punched ? &blk->no_punch : &blk->no_zero_range) = true;
	if (ret == -EOPNOTSUPP && punched) {
		zero(blk, request, false);
	} else if (ret == -EOPNOTSUPP || (ret == -EINVAL && blk->file->is_block)) {
		write_all(request);
	} else if (ret == 0 && io->durable) {
		blk_submit(blk, request, BLK_FLUSH, blk_io_done);
	} else {
		blk_io_done(io, ret);
	}
}

/* Where the driver lets us, by a hole: that is what keeps an image thin. */
static void zero(struct virtio_blk *blk, struct blk_request *request, bool unmap)
{
	if (unmap && blk->file->discards && !blk->no_punch)
		blk_submit(blk, request, BLK_PUNCH, zeroed);
	else if (!blk->no_zero_range)
		blk_submit(blk, request, BLK_ZERO, zeroed);
	else
		write_all(request);
}

void blk_write_zeroes(struct virtio_blk *blk, struct blk_request *request)
{
	uint32_t flags = VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
	const uint8_t status = take_range(blk, request, VIRTIO_BLK_F_WRITE_ZEROES,
					  blk->config.max_write_zeroes_sectors, &flags);

	if (status != VIRTIO_BLK_S_OK)
		blk_refuse(request, status);
	else if (request->io.length == 0)
		blk_complete(request, status);
	else
		zero(blk, request, flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP);
}
