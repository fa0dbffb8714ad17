/* Questions about the microVM as a whole. */
#include "api-socket/methods.h"
#include "api-socket/version.h"

static int get_info(struct controller *controller, struct api_request *request,
		    struct api_reply *reply)
{
	(void)request;
	return reply_with(reply, json_pack("{s:s, s:s, s:s, s:s}", "id", controller->id, "state",
					   controller_state(controller), "vmm_version", API_VERSION,
					   "app_name", "Firecracker"));
}

static int get_version(struct controller *controller, struct api_request *request,
		       struct api_reply *reply)
{
	(void)controller;
	(void)request;
	return reply_with(reply, json_pack("{s:s}", "firecracker_version", API_VERSION));
}

/* Everything that was asked for. */

static json_t *show_all(const struct kept *kept, unsigned int count)
{
	json_t *array = json_array();

	for (unsigned int i = 0; array && i < count; i++)
		if (json_array_append_new(array, kept_encode(&kept[i])) < 0) {
			json_decref(array);
			return NULL;
		}
	return array;
}

/* Without a kernel there still is an object, of one without a name. */
static json_t *show_boot(const struct controller *controller)
{
	const struct boot_request none = { .kernel_image_path = { "", -1 }, .initrd_path.fd = -1 };

	return controller->boot.set ? kept_encode(&controller->boot)
				    : fields_encode(&boot_fields, &none);
}

static int get_config(struct controller *controller, struct api_request *request,
		      struct api_reply *reply)
{
	json_t *balloon = controller->balloon.given
				  ? fields_encode(&balloon_fields, &controller->balloon)
				  : json_null();

	(void)request;
	return reply_with(
		reply,
		json_pack("{s:o, s:o, s:o, s:n, s:n, s:o, s:n, s:o, s:o, s:o, s:o, s:o, s:n}",
			  "balloon", balloon, "drives",
			  show_all(controller->drives, controller->drive_count), "boot-source",
			  show_boot(controller), "cpu-config", "logger", "machine-config",
			  fields_encode(&machine_fields, &controller->machine_config), "metrics",
			  "mmds-config", kept_encode(&controller->mmds_config),
			  "network-interfaces", show_all(controller->nets, controller->net_count),
			  "vsock", kept_encode(&controller->vsock), "entropy",
			  kept_encode(&controller->entropy), "pmem",
			  show_all(controller->pmems, controller->pmem_count), "memory-hotplug"));
}

static const struct method methods[] = {
	{
		.name = "vm.info",
		.metric = "instance_info",
		.verb = API_GET,
		.path = "",
		.phases = PHASES_ALL,
		.handle = get_info,
		.help = "Identity, phase and version of the microVM",
	},
	{
		.name = "version",
		.metric = "vmm_version",
		.verb = API_GET,
		.path = "version",
		.phases = PHASES_ALL,
		.handle = get_version,
		.help = "The version of the API",
	},
	{
		.name = "vm.config",
		.verb = API_GET,
		.path = "vm/config",
		.phases = PHASES_ALL,
		.handle = get_config,
		.help = "Everything that was configured",
	},
};

const struct method_group info_methods = METHOD_GROUP(methods);
