/* /pmem/{id}. */
#include <linux/virtio_ids.h>

#include "api-socket/methods.h"
#include "virtio/virtio_pmem.h"

static const struct field put_table[] = {
	FIELD(struct pmem_request, id, FIELD_ID, FIELD_REQUIRED, .help = "its name"),
	FIELD(struct pmem_request, path_on_host, FIELD_FILE, FIELD_REQUIRED, .help = "its file"),
	FIELD(struct pmem_request, root_device, FIELD_BOOL, FIELD_DEFAULTED,
	      .help = "the root filesystem is on it"),
	FIELD(struct pmem_request, read_only, FIELD_BOOL, FIELD_DEFAULTED,
	      .help = "the guest cannot write"),
	FIELD(struct pmem_request, rate_limiter, FIELD_STRUCT, FIELD_OPTIONAL, .sub = &rate_fields,
	      .help = "how much it may flush"),
};

const struct field_set pmem_fields = FIELD_SET("PmemConfig", struct pmem_request, put_table);

static const struct field patch_table[] = {
	FIELD(struct pmem_patch_request, id, FIELD_ID, FIELD_REQUIRED, .help = "its name"),
	FIELD(struct pmem_patch_request, rate_limiter, FIELD_STRUCT, FIELD_OPTIONAL,
	      .sub = &rate_fields, .help = "what of its limits changes"),
};

static const struct field_set patch_fields = FIELD_SET("PmemDeviceUpdateConfig",
						       struct pmem_patch_request, patch_table);

static const struct field name_table[] = {
	FIELD(struct name_request, id, FIELD_ID, FIELD_REQUIRED, .help = "its name"),
};

static const struct field_set name_fields = FIELD_SET("Pmem", struct name_request, name_table);

static int check_root(struct controller *controller, const struct pmem_request *pmem,
		      unsigned int place, struct api_reply *reply)
{
	if (!pmem->root_device.value)
		return 0;
	for (unsigned int i = 0; i < controller->pmem_count; i++)
		if (i != place &&
		    ((struct pmem_request *)controller->pmems[i].data)->root_device.value)
			return reply_refuse(reply, "Pmem config error: A root pmem device already "
						   "exist");
	if (controller->drive_count &&
	    ((struct drive_request *)controller->drives[0].data)->is_root_device.value)
		return reply_refuse(reply, "Pmem config error: Attempt to add pmem as a root "
					   "device while the root device defined as a block "
					   "device");
	return 0;
}

static int put_pmem(struct controller *controller, struct api_request *request,
		    struct api_reply *reply)
{
	const struct pmem_request *pmem = request->data;
	unsigned int place = kept_find(controller->pmems, controller->pmem_count, pmem->id);
	int ret;

	if (controller->phase != PHASE_NOT_STARTED)
		return reply_refuse(reply, "PCI is not enabled");
	if (place == VM_PMEMS_MAX)
		return reply_refuse(reply, "Pmem config error: more than %u devices.",
				    VM_PMEMS_MAX);
	if ((ret = check_root(controller, pmem, place, reply)) < 0 ||
	    (ret = kept_take(&controller->pmems[place], &pmem_fields, request, &reply->err)) < 0)
		return ret;
	if (place == controller->pmem_count)
		controller->pmem_count++;
	return 0;
}

static int patch_pmem(struct controller *controller, struct api_request *request,
		      struct api_reply *reply)
{
	const struct pmem_patch_request *patch = request->data;
	unsigned int index = kept_find(controller->pmems, controller->pmem_count, patch->id);
	struct rate_update update;
	struct pmem_request *pmem;
	struct error err;

	if (!patch->rate_limiter.given)
		return 0;
	if (index == controller->pmem_count)
		return reply_refuse(reply, "Pmem config error: Unable to patch the pmem device: "
					   "Failed perform action on device: Device not found "
					   "Please verify the request arguments.");
	compose_rate_update(&patch->rate_limiter, &update);
	if (virtio_pmem_set_rate(controller_device(controller, VIRTIO_ID_PMEM, index),
				 update.new_bytes, update.new_ops, &err) < 0)
		return reply_refuse(reply, "Pmem config error: Unable to patch the pmem device: %s",
				    err.text);
	pmem = controller->pmems[index].data;
	compose_rate_patched(&patch->rate_limiter, &pmem->rate_limiter,
			     &controller->live->pmems[index].rate);
	return 0;
}

static const struct method methods[] = {
	{
		.name = "pmem.put",
		.metric = "pmem",
		.verb = API_PUT,
		.path = "pmem",
		.id_field = "id",
		.phases = PHASES_ALL,
		.fields = &pmem_fields,
		.handle = put_pmem,
		.help = "Adds a persistent memory device, or sets the one of this name anew",
	},
	{
		.name = "pmem.patch",
		.metric = "pmem",
		.verb = API_PATCH,
		.path = "pmem",
		.id_field = "id",
		.phases = PHASES_AFTER,
		.fields = &patch_fields,
		.calls_devices = true,
		.handle = patch_pmem,
		.help = "Gives a running persistent memory device other limits",
	},
	{
		.name = "pmem.delete",
		.verb = API_DELETE,
		.path = "pmem",
		.id_field = "id",
		.phases = PHASES_AFTER,
		.fields = &name_fields,
		.handle = refuse_unplug,
		.help = "Refused: there is no PCI to unplug from",
	},
};

const struct method_group pmem_methods = METHOD_GROUP(methods);
