/* What a drive tells its driver: features and configuration space (5.2.3, 5.2.4). */
#include "virtio/virtio_blk_priv.h"

static void describe_topology(struct virtio_blk_config *config, const struct blk_file *file)
{
	const uint32_t block = file->block_size;

	config->blk_size = block;
	config->physical_block_exp = (uint8_t)__builtin_ctz(file->physical_size / block);
	config->alignment_offset = (uint8_t)MIN(file->alignment_offset / block, 0xffu);
	config->min_io_size = (uint16_t)MIN(file->min_io / block, 0xffffu);
	config->opt_io_size = file->opt_io / block;
}

static uint64_t describe_ranges(struct virtio_blk_config *config, const struct blk_file *file)
{
	uint64_t features = 0;

	if (file->read_only)
		return 0;
	if (file->discards) {
		config->max_discard_sectors = BLK_DISCARD_MAX_SECTORS;
		config->max_discard_seg = 1;
		config->discard_sector_alignment = file->physical_size / BLK_SECTOR;
		features |= 1ull << VIRTIO_BLK_F_DISCARD;
	}
	/* Always: what can do nothing better is written to. */
	config->max_write_zeroes_sectors = BLK_ZEROES_MAX_SECTORS;
	config->max_write_zeroes_seg = 1;
	config->write_zeroes_may_unmap = file->discards;
	return features | 1ull << VIRTIO_BLK_F_WRITE_ZEROES;
}

uint64_t blk_describe(struct virtio_blk *blk, unsigned int num_queues, unsigned int queue_size)
{
	struct virtio_blk_config *config = &blk->config;
	uint64_t features = 1ull << VIRTIO_BLK_F_SEG_MAX | 1ull << VIRTIO_BLK_F_SIZE_MAX |
			    1ull << VIRTIO_BLK_F_BLK_SIZE | 1ull << VIRTIO_BLK_F_TOPOLOGY;

	config->capacity = blk->file->size / BLK_SECTOR;
	config->size_max = BLK_SIZE_MAX;
	/* Without indirect descriptors a request must fit into the ring, header and status too. */
	config->seg_max = queue_size > 3 ? MIN(BLK_SEG_MAX, queue_size - 2) : 1;
	describe_topology(config, blk->file);
	features |= describe_ranges(config, blk->file);
	if (blk->file->read_only)
		features |= 1ull << VIRTIO_BLK_F_RO;
	if (!blk->unsafe)
		features |= 1ull << VIRTIO_BLK_F_FLUSH;
	if (num_queues > 1) {
		config->num_queues = (uint16_t)num_queues;
		features |= 1ull << VIRTIO_BLK_F_MQ;
	}
	return features;
}
