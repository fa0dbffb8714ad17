/* /balloon, its statistics and its hinting. */
#include <linux/virtio_ids.h>

#include "api-socket/methods.h"
#include "virtio/virtio_balloon.h"

static const struct field put_table[] = {
	FIELD(struct balloon_request, amount_mib, FIELD_U32, FIELD_REQUIRED,
	      .help = "memory that it is to take from the guest, MiB"),
	FIELD(struct balloon_request, deflate_on_oom, FIELD_BOOL, FIELD_REQUIRED,
	      .help = "a guest short of memory takes it back"),
	FIELD(struct balloon_request, stats_polling_interval_s, FIELD_U16, FIELD_DEFAULTED,
	      .help = "seconds between statistics; 0: none"),
	FIELD(struct balloon_request, free_page_hinting, FIELD_BOOL, FIELD_DEFAULTED,
	      .help = "the guest can be asked to name its free pages"),
	FIELD(struct balloon_request, free_page_reporting, FIELD_BOOL, FIELD_DEFAULTED,
	      .help = "the guest names its free pages as they become free"),
};

const struct field_set balloon_fields = FIELD_SET("BalloonDeviceConfig", struct balloon_request,
						  put_table);

static const struct field patch_table[] = {
	FIELD(struct balloon_request, amount_mib, FIELD_U32, FIELD_REQUIRED,
	      .help = "memory that it is to take from the guest, MiB"),
};

static const struct field_set patch_fields = FIELD_SET("BalloonUpdateConfig",
						       struct balloon_request, patch_table);

static const struct field stats_table[] = {
	FIELD(struct balloon_request, stats_polling_interval_s, FIELD_U16, FIELD_REQUIRED,
	      .help = "seconds between statistics"),
};

static const struct field_set stats_fields = FIELD_SET("BalloonUpdateStatsConfig",
						       struct balloon_request, stats_table);

struct hinting_request {
	bool given;
	struct opt_bool acknowledge_on_stop;
};

static const struct field hinting_table[] = {
	FIELD(struct hinting_request, acknowledge_on_stop, FIELD_BOOL, FIELD_DEFAULTED,
	      .fallback = true,
	      .help = "the guest has its pages back as soon as it has named them all"),
};

static const struct field_set hinting_fields = FIELD_SET("StartHintingCmd", struct hinting_request,
							 hinting_table, .lenient = true);

static struct virtio_device *balloon_of(struct controller *controller)
{
	return controller_device(controller, VIRTIO_ID_BALLOON, 0);
}

static int put_balloon(struct controller *controller, struct api_request *request,
		       struct api_reply *reply)
{
	const struct balloon_request *balloon = request->data;

	if (balloon->amount_mib.value > controller->machine_config.mem_size_mib.value)
		return reply_refuse(
			reply, "Balloon config error: Amount of pages requested is too large.");
	controller->balloon = *balloon;
	return 0;
}

static int get_balloon(struct controller *controller, struct api_request *request,
		       struct api_reply *reply)
{
	(void)request;
	if (!controller->balloon.given)
		return reply_refuse(reply, "Balloon config error: No balloon device found.");
	return reply_with(reply, fields_encode(&balloon_fields, &controller->balloon));
}

/* What every change of a running balloon fails with when there is none. */
static int find_balloon(struct controller *controller, struct virtio_device **dev,
			struct api_reply *reply)
{
	*dev = balloon_of(controller);
	return *dev ? 0
		    : reply_refuse(reply, "Balloon update error: Failed perform action on device: "
					  "Device not found");
}

#define NOT_ACTIVATED "Balloon update error: Balloon: Device not activated yet."

static int patch_balloon(struct controller *controller, struct api_request *request,
			 struct api_reply *reply)
{
	const struct balloon_request *patch = request->data;
	struct virtio_device *dev;
	struct error err;
	int ret = find_balloon(controller, &dev, reply);

	if (ret < 0)
		return ret;
	if (!virtio_device_is_driven(dev))
		return reply_refuse(reply, NOT_ACTIVATED);
	if (patch->amount_mib.value > controller->machine_config.mem_size_mib.value)
		return reply_refuse(reply, "Balloon update error: Balloon: Amount of pages "
					   "requested is too large.");
	if (virtio_balloon_set_target(dev, (uint32_t)patch->amount_mib.value, &err) < 0)
		return reply_refuse(reply, "Balloon update error: Balloon: %s", err.text);
	controller->balloon.amount_mib = patch->amount_mib;
	return 0;
}

/* Statistics ------------------------------------------------------------------------------------*/

static int patch_stats(struct controller *controller, struct api_request *request,
		       struct api_reply *reply)
{
	const struct balloon_request *patch = request->data;
	struct opt_uint *seconds = &controller->balloon.stats_polling_interval_s;
	struct virtio_device *dev;
	struct error err;
	int ret = find_balloon(controller, &dev, reply);

	if (ret < 0)
		return ret;
	if (!seconds->value != !patch->stats_polling_interval_s.value)
		return reply_refuse(reply, "Balloon update error: Balloon: Statistics cannot be "
					   "enabled/disabled after activation.");
	if (!seconds->value)
		return 0;
	if (virtio_balloon_set_stats_interval(dev, (uint16_t)patch->stats_polling_interval_s.value,
					      &err) < 0)
		return reply_refuse(reply, "Balloon update error: Balloon: %s", err.text);
	*seconds = patch->stats_polling_interval_s;
	return 0;
}

static json_t *show_stats(const struct virtio_balloon_stats *stats)
{
	json_t *tree = json_pack("{s:i, s:i, s:i, s:i}", "target_pages", stats->target_pages,
				 "actual_pages", stats->actual_pages, "target_mib",
				 stats->target_pages / 256, "actual_mib",
				 stats->actual_pages / 256);

	for (unsigned int tag = 0; tree && tag < VIRTIO_BALLOON_TAGS; tag++)
		if (stats->present & 1u << tag)
			json_object_set_new(tree, virtio_balloon_stat_name(tag),
					    json_integer((json_int_t)stats->values[tag]));
	return tree;
}

json_t *controller_balloon_statistics(struct controller *controller)
{
	struct virtio_device *dev = balloon_of(controller);
	struct virtio_balloon_stats stats = { 0 };
	struct error err;

	return dev && virtio_balloon_get_stats(dev, &stats, &err) == 0 ? show_stats(&stats) : NULL;
}

static int get_stats(struct controller *controller, struct api_request *request,
		     struct api_reply *reply)
{
	struct virtio_device *dev = balloon_of(controller);
	struct virtio_balloon_stats stats = { 0 };
	struct error err;
	int ret;

	(void)request;
	if (!dev)
		return reply_refuse(reply, "Internal VMM error: Failed perform action on device: "
					   "Device not found");
	ret = virtio_balloon_get_stats(dev, &stats, &err);
	if (ret == -ENODATA)
		return reply_refuse(reply, "Internal VMM error: Balloon: Received stats query "
					   "when stats are disabled.");
	if (ret < 0)
		return reply_refuse(reply, "Internal VMM error: Balloon: %s", err.text);
	return reply_with(reply, show_stats(&stats));
}

/* Hinting ---------------------------------------------------------------------------------------*/

/* Without a driver there is nobody to ask. */
static int find_hinting(struct controller *controller, struct virtio_device **dev,
			struct api_reply *reply)
{
	int ret = find_balloon(controller, dev, reply);

	if (ret == 0 && controller->balloon.free_page_hinting.value &&
	    !virtio_device_is_driven(*dev))
		ret = reply_refuse(reply, NOT_ACTIVATED);
	return ret;
}

static int refuse_hinting(struct api_reply *reply, int ret, const struct error *err)
{
	if (ret == 0)
		return 0;
	return reply_refuse(reply, "Balloon update error: Balloon: %s",
			    ret == -ENOTSUP ? "Attempting to use hinting when not enabled"
					    : err->text);
}

static int start_hinting(struct controller *controller, struct api_request *request,
			 struct api_reply *reply)
{
	const struct hinting_request *hinting = request->data;
	struct virtio_device *dev;
	struct error err;

	if (find_hinting(controller, &dev, reply) < 0)
		return -EINVAL;
	return refuse_hinting(
		reply, virtio_balloon_hinting_start(dev, hinting->acknowledge_on_stop.value, &err),
		&err);
}

static int stop_hinting(struct controller *controller, struct api_request *request,
			struct api_reply *reply)
{
	struct virtio_device *dev;
	struct error err;

	(void)request;
	if (find_hinting(controller, &dev, reply) < 0)
		return -EINVAL;
	return refuse_hinting(reply, virtio_balloon_hinting_stop(dev, &err), &err);
}

static int get_hinting(struct controller *controller, struct api_request *request,
		       struct api_reply *reply)
{
	struct virtio_balloon_hinting status = { 0 };
	struct virtio_device *dev;
	struct error err;
	int ret;

	(void)request;
	if (find_balloon(controller, &dev, reply) < 0)
		return -EINVAL;
	ret = virtio_balloon_hinting_status(dev, &status, &err);
	if (ret < 0)
		return refuse_hinting(reply, ret, &err);
	return reply_with(
		reply,
		json_pack("{s:I, s:o}", "host_cmd", (json_int_t)status.host_cmd, "guest_cmd",
			  status.has_guest_cmd ? json_integer(status.guest_cmd) : json_null()));
}

static const struct method methods[] = {
	{
		.name = "balloon.get",
		.verb = API_GET,
		.path = "balloon",
		.exact = true,
		.phases = PHASES_ALL,
		.handle = get_balloon,
		.help = "The balloon as it is configured",
	},
	{
		.name = "balloon.put",
		.verb = API_PUT,
		.path = "balloon",
		.phases = PHASES_BEFORE,
		.fields = &balloon_fields,
		.handle = put_balloon,
		.help = "Adds a balloon, which takes memory from the guest",
	},
	{
		.name = "balloon.patch",
		.verb = API_PATCH,
		.path = "balloon",
		.phases = PHASES_AFTER,
		.fields = &patch_fields,
		.calls_devices = true,
		.handle = patch_balloon,
		.help = "Changes how much memory it is to take",
	},
	{
		.name = "balloon.stats",
		.verb = API_GET,
		.path = "balloon/statistics",
		.phases = PHASES_AFTER,
		.calls_devices = true,
		.handle = get_stats,
		.help = "What the guest says of its memory",
	},
	{
		.name = "balloon.stats.patch",
		.verb = API_PATCH,
		.path = "balloon/statistics",
		.phases = PHASES_AFTER,
		.fields = &stats_fields,
		.calls_devices = true,
		.handle = patch_stats,
		.help = "Changes how often the guest is asked",
	},
	{
		.name = "balloon.hinting.start",
		.verb = API_PATCH,
		.path = "balloon/hinting/start",
		.may_be_empty = true,
		.phases = PHASES_AFTER,
		.fields = &hinting_fields,
		.calls_devices = true,
		.handle = start_hinting,
		.help = "Asks the guest to name its free pages",
	},
	{
		.name = "balloon.hinting.stop",
		.verb = API_PATCH,
		.path = "balloon/hinting/stop",
		.may_be_empty = true,
		.phases = PHASES_AFTER,
		.calls_devices = true,
		.handle = stop_hinting,
		.help = "Gives the guest the pages back that it has named",
	},
	{
		.name = "balloon.hinting",
		.verb = API_GET,
		.path = "balloon/hinting/status",
		.phases = PHASES_AFTER,
		.calls_devices = true,
		.handle = get_hinting,
		.help = "Where a run of hints is",
	},
};

const struct method_group balloon_methods = METHOD_GROUP(methods);
