/*
 * What a snapshot holds of a drive: what its guest was told (a file that is found on a host with
 * other filesystems must not look different to a driver that has read all this) and its limits. The
 * data is in the file. Of a file that has another size by now the guest hears when it goes on.
 */
#include "virtio/virtio_blk_priv.h"

struct blk_state {
	uint64_t features; /* offered */
	uint64_t capacity; /* sectors */
	uint32_t blk_size;
	uint8_t physical_block_exp;
	uint8_t alignment_offset;
	uint16_t min_io_size;
	uint32_t opt_io_size;
	uint32_t max_discard_sectors;
	uint32_t max_discard_seg;
	uint32_t discard_sector_alignment;
	uint32_t max_write_zeroes_sectors;
	uint32_t max_write_zeroes_seg;
	uint8_t write_zeroes_may_unmap;
	struct rate_limiter_state limiter;
};

static const struct state_field fields[] = {
	STATE_FIELD(struct blk_state, features, STATE_U64, 1),
	STATE_FIELD(struct blk_state, capacity, STATE_U64, 1),
	STATE_FIELD(struct blk_state, blk_size, STATE_U32, 1),
	STATE_FIELD(struct blk_state, physical_block_exp, STATE_U8, 1),
	STATE_FIELD(struct blk_state, alignment_offset, STATE_U8, 1),
	STATE_FIELD(struct blk_state, min_io_size, STATE_U16, 1),
	STATE_FIELD(struct blk_state, opt_io_size, STATE_U32, 1),
	STATE_FIELD(struct blk_state, max_discard_sectors, STATE_U32, 1),
	STATE_FIELD(struct blk_state, max_discard_seg, STATE_U32, 1),
	STATE_FIELD(struct blk_state, discard_sector_alignment, STATE_U32, 1),
	STATE_FIELD(struct blk_state, max_write_zeroes_sectors, STATE_U32, 1),
	STATE_FIELD(struct blk_state, max_write_zeroes_seg, STATE_U32, 1),
	STATE_FIELD(struct blk_state, write_zeroes_may_unmap, STATE_U8, 1),
	STATE_NESTED(struct blk_state, limiter, &rate_limiter_state_desc, 1),
};

const struct state_desc blk_state_desc = STATE_DESC("blk", struct blk_state, 1, fields);

void blk_save(struct virtio_device *dev, void *state)
{
	struct virtio_blk *blk = blk_of(dev);
	const struct virtio_blk_config *config = &blk->config;
	struct blk_state *out = state;

	*out = (struct blk_state){
		.features = dev->features,
		.capacity = config->capacity,
		.blk_size = config->blk_size,
		.physical_block_exp = config->physical_block_exp,
		.alignment_offset = config->alignment_offset,
		.min_io_size = config->min_io_size,
		.opt_io_size = config->opt_io_size,
		.max_discard_sectors = config->max_discard_sectors,
		.max_discard_seg = config->max_discard_seg,
		.discard_sector_alignment = config->discard_sector_alignment,
		.max_write_zeroes_sectors = config->max_write_zeroes_sectors,
		.max_write_zeroes_seg = config->max_write_zeroes_seg,
		.write_zeroes_may_unmap = config->write_zeroes_may_unmap,
	};
	rate_limiter_save(&blk->limiter, &out->limiter);
}

/* Discard is there or not as the filesystem has it, and a request for what is not there is answered;
 * all else follows from the configuration, which is the same. */
#define MAY_DIFFER (1ull << VIRTIO_BLK_F_DISCARD)

/* What bounds the work of a request; the rest is only ever shown to the guest. */
static const char *find_fault(const struct virtio_blk *blk, const struct blk_state *state)
{
	if ((state->features ^ blk->dev.features) & ~MAY_DIFFER)
		return "its features are not those of this drive";
	if (state->max_discard_sectors > BLK_DISCARD_MAX_SECTORS ||
	    state->max_write_zeroes_sectors > BLK_ZEROES_MAX_SECTORS)
		return "a limit is too high";
	return NULL;
}

int blk_load(struct virtio_device *dev, const void *state, struct error *err)
{
	struct virtio_blk *blk = blk_of(dev);
	const struct blk_state *in = state;
	const char *fault = find_fault(blk, in);

	if (!fault && rate_limiter_load(&blk->limiter, &in->limiter) < 0)
		fault = "impossible rate limiter";
	if (fault)
		return error_set(err, EINVAL, "drive %s: saved state: %s", dev->name, fault);
	dev->features = in->features;
	blk->tell_config = in->capacity != blk->file->size / BLK_SECTOR;
	blk->config.capacity = in->capacity;
	blk->config.blk_size = in->blk_size;
	blk->config.physical_block_exp = in->physical_block_exp;
	blk->config.alignment_offset = in->alignment_offset;
	blk->config.min_io_size = in->min_io_size;
	blk->config.opt_io_size = in->opt_io_size;
	blk->config.max_discard_sectors = in->max_discard_sectors;
	blk->config.max_discard_seg = in->max_discard_seg;
	blk->config.discard_sector_alignment = in->discard_sector_alignment;
	blk->config.max_write_zeroes_sectors = in->max_write_zeroes_sectors;
	blk->config.max_write_zeroes_seg = in->max_write_zeroes_seg;
	blk->config.write_zeroes_may_unmap = in->write_zeroes_may_unmap;
	return 0;
}
