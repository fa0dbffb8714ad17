/* /hotplug/memory: virtio-mem, which there is not. Its requests are checked all the same. */
#include "api-socket/methods.h"

struct hotplug_request {
	bool given;
	struct opt_uint total_size_mib, block_size_mib, slot_size_mib;
};

static const struct field put_table[] = {
	FIELD(struct hotplug_request, total_size_mib, FIELD_U32, FIELD_REQUIRED,
	      .help = "memory that can be added, MiB"),
	FIELD(struct hotplug_request, block_size_mib, FIELD_U32, FIELD_DEFAULTED, .fallback = 2,
	      .help = "the least that can be added, MiB"),
	FIELD(struct hotplug_request, slot_size_mib, FIELD_U32, FIELD_DEFAULTED, .fallback = 128,
	      .help = "the least that the host maps, MiB"),
};

static const struct field_set put_fields = FIELD_SET("MemoryHotplugConfig", struct hotplug_request,
						     put_table);

struct hotplug_patch_request {
	bool given;
	struct opt_uint requested_size_mib;
};

static const struct field patch_table[] = {
	FIELD(struct hotplug_patch_request, requested_size_mib, FIELD_U32, FIELD_REQUIRED,
	      .help = "memory that is to be added, MiB"),
};

static const struct field_set patch_fields = FIELD_SET("MemoryHotplugSizeUpdate",
						       struct hotplug_patch_request, patch_table);

static int put_hotplug(struct controller *controller, struct api_request *request,
		       struct api_reply *reply)
{
	(void)controller;
	(void)request;
	return reply_refuse(reply, "Memory hotplug config error: memory hotplug is not supported.");
}

static int patch_hotplug(struct controller *controller, struct api_request *request,
			 struct api_reply *reply)
{
	(void)controller;
	(void)request;
	return reply_refuse(reply, "Memory hotplug update error: Failed perform action on device: "
				   "Device not found");
}

static int get_hotplug(struct controller *controller, struct api_request *request,
		       struct api_reply *reply)
{
	(void)controller;
	(void)request;
	return reply_refuse(reply, "Internal VMM error: Failed perform action on device: "
				   "Device not found");
}

static const struct method methods[] = {
	{
		.name = "hotplug.memory.put",
		.metric = "hotplug_memory",
		.verb = API_PUT,
		.path = "hotplug/memory",
		.phases = PHASES_BEFORE,
		.fields = &put_fields,
		.handle = put_hotplug,
		.help = "Refused: memory cannot be added to a running microVM",
	},
	{
		.name = "hotplug.memory.patch",
		.metric = "hotplug_memory",
		.verb = API_PATCH,
		.path = "hotplug/memory",
		.phases = PHASES_AFTER,
		.fields = &patch_fields,
		.handle = patch_hotplug,
		.help = "Refused: memory cannot be added to a running microVM",
	},
	{
		.name = "hotplug.memory",
		.metric = "hotplug_memory",
		.verb = API_GET,
		.path = "hotplug/memory",
		.phases = PHASES_AFTER,
		.handle = get_hotplug,
		.help = "Refused: memory cannot be added to a running microVM",
	},
};

const struct method_group hotplug_methods = METHOD_GROUP(methods);
