/* vm.configure_and_start: a whole microVM in one call, which comes to be or leaves nothing. Ours. */
#include "api-socket/config_file.h"
#include "api-socket/methods.h"
#include "vmm/mmds/mmds.h"

/* The names are those of Firecracker's configuration file; what each holds is its own method's to check. */
struct configure_request {
	json_t *machine, *cpu, *boot, *drives, *nets, *vsock, *balloon, *mmds, *entropy, *pmems;
};

#define SECTION(key, member, need_of, what)                                         \
	{                                                                           \
		.name = key, .type = FIELD_ANY, .need = need_of,                    \
		.offset = offsetof(struct configure_request, member), .help = what, \
	}

static const struct field fields[] = {
	SECTION("machine-config", machine, FIELD_OPTIONAL, "as machine.put's fields"),
	SECTION("cpu-config", cpu, FIELD_OPTIONAL, "as cpu.put's fields"),
	SECTION("boot-source", boot, FIELD_REQUIRED, "as boot.put's fields"),
	SECTION("drives", drives, FIELD_OPTIONAL, "a list, each as drive.put's fields"),
	SECTION("network-interfaces", nets, FIELD_OPTIONAL, "a list, each as net.put's fields"),
	SECTION("vsock", vsock, FIELD_OPTIONAL, "as vsock.put's fields"),
	SECTION("balloon", balloon, FIELD_OPTIONAL, "as balloon.put's fields"),
	SECTION("mmds-config", mmds, FIELD_OPTIONAL, "as mmds.config's fields"),
	SECTION("entropy", entropy, FIELD_OPTIONAL, "as entropy.put's fields"),
	SECTION("pmem", pmems, FIELD_OPTIONAL, "a list, each as pmem.put's fields"),
};

static const struct field_set configure_fields = FIELD_SET("Configuration",
							   struct configure_request, fields);

/* The metadata service as it was: made by what failed, or with another configuration. */
static void restore_mmds(struct controller *controller, bool had, const struct mmds_config *config)
{
	if (!controller->mmds)
		return;
	if (had) {
		controller->mmds->config = *config;
		return;
	}
	mmds_destroy(controller->mmds);
	controller->mmds = NULL;
}

static int configure_and_start(struct controller *controller, struct api_request *request,
			       struct api_reply *reply)
{
	bool had_mmds = controller->mmds != NULL;
	struct mmds_config mmds = { 0 };
	int ret;

	if (!controller_is_fresh(controller))
		return reply_refuse(reply, "Something of the microVM is configured already; this "
					   "call configures all of it.");
	if (had_mmds)
		mmds = controller->mmds->config;
	ret = config_tree_apply(controller, request->tree, request->fds, &reply->err);
	if (ret == 0)
		ret = config_file_start(controller, &reply->err);
	if (ret < 0) {
		controller_forget(controller);
		restore_mmds(controller, had_mmds, &mmds);
	} else {
		controller_judge_taps(controller, false, reply);
	}
	return ret;
}

static const struct method methods[] = {
	{
		.name = "vm.configure_and_start",
		.verb = API_PUT,
		.path = "vm/configure-and-start",
		.phases = PHASES_BEFORE,
		.fields = &configure_fields,
		.handle = configure_and_start,
		.help = "Configures a whole microVM and starts it; when it fails, nothing is configured",
	},
};

const struct method_group configure_methods = METHOD_GROUP(methods);
