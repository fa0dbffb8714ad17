/* What a file or a block device can do and would like: asked at opening, nothing is changed. */
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "virtio/blk_file.h"

static bool is_power_of_2(uint32_t value)
{
	return value && !(value & (value - 1));
}

/* Topology ---------------------------------------------------------------------------------------*/

/* A field that the device does not answer keeps what it has. */
static void topology_of_device(struct blk_file *file)
{
	int logical = 0;
	unsigned int value;
	int offset;

	if (ioctl(file->fd, BLKSSZGET, &logical) == 0 && logical >= (int)BLK_SECTOR &&
	    is_power_of_2((uint32_t)logical))
		file->block_size = (uint32_t)logical;
	file->physical_size = file->min_io = file->block_size;
	if (ioctl(file->fd, BLKPBSZGET, &value) == 0 && value >= file->block_size &&
	    is_power_of_2(value))
		file->physical_size = value;
	if (ioctl(file->fd, BLKALIGNOFF, &offset) == 0 && offset > 0)
		file->alignment_offset = (uint32_t)offset;
	if (ioctl(file->fd, BLKIOMIN, &value) == 0 && value >= file->block_size)
		file->min_io = value;
	if (ioctl(file->fd, BLKIOOPT, &value) == 0)
		file->opt_io = value;
}

/*
 * An image's partitions and filesystems count in sectors of 512 bytes wherever it lies. A
 * filesystem's own block is what it does not have to read before it writes; more than a page
 * (network filesystems) is a wish for transfers, not a block.
 */
static void topology_of_regular(struct blk_file *file, uint32_t st_blksize)
{
	if (!is_power_of_2(st_blksize) || st_blksize < BLK_SECTOR)
		return;
	file->physical_size = file->min_io = MIN(st_blksize, PAGE_SIZE);
	file->opt_io = st_blksize > PAGE_SIZE ? st_blksize : 0;
}

/* Direct I/O -------------------------------------------------------------------------------------*/

/* Linux 6.1 says what it wants; before that a page satisfies every filesystem. */
static int direct_alignment(struct blk_file *file)
{
	struct statx stx;

	file->mem_align = file->io_align = PAGE_SIZE;
	if (file->is_block)
		file->mem_align = file->io_align = file->block_size;
	if (statx(file->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) < 0 ||
	    !(stx.stx_mask & STATX_DIOALIGN))
		return 0;
	if (stx.stx_dio_offset_align == 0)
		return -EINVAL;
	if (!is_power_of_2(stx.stx_dio_offset_align) || !is_power_of_2(stx.stx_dio_mem_align))
		return 0;
	file->io_align = stx.stx_dio_offset_align;
	file->mem_align = stx.stx_dio_mem_align;
	return 0;
}

/* Giving space back ------------------------------------------------------------------------------*/

/* Both probes ask for something past any end: the answer is whether it could be done at all. */
static bool device_discards(const struct blk_file *file)
{
	const uint64_t past_the_end[2] = { 1ull << 62, BLK_SECTOR };

	return ioctl(file->fd, BLKDISCARD, past_the_end) == 0 || errno == EINVAL;
}

static bool regular_punches_holes(const struct blk_file *file, uint64_t size)
{
	/* Far past it: should the file grow just now, the new part has nothing but zeroes yet. */
	const uint64_t past_the_end = align_up(size, PAGE_SIZE) + GIB(1);

	return fallocate(file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)past_the_end,
			 PAGE_SIZE) == 0 ||
	       errno == EFBIG;
}

int blk_file_limits(struct blk_file *file, uint64_t size, uint32_t st_blksize)
{
	file->block_size = file->physical_size = file->min_io = BLK_SECTOR;
	file->mem_align = file->io_align = 1;
	if (file->is_block)
		topology_of_device(file);
	else
		topology_of_regular(file, st_blksize);
	if (!file->read_only)
		file->discards = file->is_block ? device_discards(file)
						: regular_punches_holes(file, size);
	return file->direct ? direct_alignment(file) : 0;
}
