/* Questions about the microVM as a whole. */
#include "api-socket/methods.h"
#include "api-socket/version.h"

static const char *phase_name(enum api_phase phase)
{
	switch (phase) {
	case PHASE_NOT_STARTED:
		return "Not started";
	case PHASE_RUNNING:
		return "Running";
	default:
		return "Paused";
	}
}

static int out_of_memory(struct api_reply *reply)
{
	return error_set(&reply->err, ENOMEM, "out of memory");
}

static int get_info(struct controller *controller, struct api_request *request,
		    struct api_reply *reply)
{
	(void)request;
	reply->result = json_pack("{s:s, s:s, s:s, s:s}", "id", controller->id, "state",
				  phase_name(controller->phase), "vmm_version", API_VERSION,
				  "app_name", "Firecracker");
	return reply->result ? 0 : out_of_memory(reply);
}

static int get_version(struct controller *controller, struct api_request *request,
		       struct api_reply *reply)
{
	(void)controller;
	(void)request;
	reply->result = json_pack("{s:s}", "firecracker_version", API_VERSION);
	return reply->result ? 0 : out_of_memory(reply);
}

static const struct method methods[] = {
	{
		.name = "vm.info",
		.verb = API_GET,
		.path = "",
		.phases = PHASES_ALL,
		.handle = get_info,
		.help = "Identity, phase and version of the microVM",
	},
	{
		.name = "version",
		.verb = API_GET,
		.path = "version",
		.phases = PHASES_ALL,
		.handle = get_version,
		.help = "The version of the API",
	},
};

const struct method_group info_methods = METHOD_GROUP(methods);
