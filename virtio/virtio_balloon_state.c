/* What a snapshot holds of a balloon. The pages themselves are holes of the guest's memory. */
#include "virtio/virtio_balloon_priv.h"

struct balloon_state {
	uint32_t target_pages, actual_pages;
	uint16_t stats_interval_s;
	uint32_t stats_present;
	uint64_t stats[VIRTIO_BALLOON_TAGS];
	uint32_t host_cmd, guest_cmd, last_run;
	bool has_guest_cmd, acknowledge_on_stop;
};

static const struct state_field fields[] = {
	STATE_FIELD(struct balloon_state, target_pages, STATE_U32, 1),
	STATE_FIELD(struct balloon_state, actual_pages, STATE_U32, 1),
	STATE_FIELD(struct balloon_state, stats_interval_s, STATE_U16, 1),
	STATE_FIELD(struct balloon_state, stats_present, STATE_U32, 1),
	STATE_ARRAY(struct balloon_state, stats, STATE_U64, 1),
	STATE_FIELD(struct balloon_state, host_cmd, STATE_U32, 1),
	STATE_FIELD(struct balloon_state, guest_cmd, STATE_U32, 1),
	STATE_FIELD(struct balloon_state, last_run, STATE_U32, 1),
	STATE_FIELD(struct balloon_state, has_guest_cmd, STATE_BOOL, 1),
	STATE_FIELD(struct balloon_state, acknowledge_on_stop, STATE_BOOL, 1),
};

const struct state_desc balloon_state_desc = STATE_DESC("balloon", struct balloon_state, 1, fields);

void balloon_save(struct virtio_device *dev, void *state)
{
	const struct virtio_balloon *balloon = balloon_of(dev);
	struct balloon_state *out = state;

	*out = (struct balloon_state){
		.target_pages = balloon->config.num_pages,
		.actual_pages = balloon->config.actual,
		.stats_interval_s = balloon->stats_interval_s,
		.stats_present = balloon->stats.present,
		.host_cmd = balloon->hinting.host_cmd,
		.guest_cmd = balloon->hinting.guest_cmd,
		.last_run = balloon->last_run,
		.has_guest_cmd = balloon->hinting.has_guest_cmd,
		.acknowledge_on_stop = balloon->acknowledge_on_stop,
	};
	memcpy(out->stats, balloon->stats.values, sizeof(out->stats));
}

/* `actual` and the guest's command are the guest's word and may be anything. */
static int check(const struct virtio_balloon *balloon, const struct balloon_state *in,
		 struct error *err)
{
	const bool has_stats = balloon->dev.features & 1ull << VIRTIO_BALLOON_F_STATS_VQ;

	if (in->target_pages > balloon_pages_max(balloon))
		return error_set(err, EINVAL,
				 "balloon: its target is more than the guest's memory");
	if (has_stats != (in->stats_interval_s > 0))
		return error_set(err, EINVAL,
				 "balloon: statistics are %s, but their interval is %u",
				 has_stats ? "on" : "off", in->stats_interval_s);
	if (in->stats_present >> VIRTIO_BALLOON_TAGS)
		return error_set(err, EINVAL, "balloon: statistics that do not exist");
	if (in->last_run < VIRTIO_BALLOON_CMD_ID_DONE || in->host_cmd > in->last_run)
		return error_set(err, EINVAL, "balloon: impossible hinting run %u of %u",
				 in->host_cmd, in->last_run);
	return 0;
}

int balloon_load(struct virtio_device *dev, const void *state, struct error *err)
{
	struct virtio_balloon *balloon = balloon_of(dev);
	const struct balloon_state *in = state;
	int ret = check(balloon, in, err);

	if (ret < 0)
		return ret;
	balloon->config.num_pages = in->target_pages;
	balloon->config.actual = in->actual_pages;
	balloon->config.free_page_hint_cmd_id = in->host_cmd;
	balloon->stats_interval_s = in->stats_interval_s;
	balloon->stats.present = in->stats_present;
	memcpy(balloon->stats.values, in->stats, sizeof(in->stats));
	balloon->hinting = (struct virtio_balloon_hinting){ .host_cmd = in->host_cmd,
							    .guest_cmd = in->guest_cmd,
							    .has_guest_cmd = in->has_guest_cmd };
	balloon->last_run = in->last_run;
	balloon->acknowledge_on_stop = in->acknowledge_on_stop;
	return 0;
}
