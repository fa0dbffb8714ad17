/* PUT /actions. */
#include "api-socket/methods.h"

static const char *const actions[] = { "FlushMetrics", "InstanceStart", "SendCtrlAltDel", NULL };

static const struct field fields[] = {
	FIELD(struct action_request, action_type, FIELD_CHOICE, FIELD_REQUIRED, .choices = actions,
	      .help = "what to do"),
};

static const struct field_set action_fields = FIELD_SET("ActionBody", struct action_request,
							fields);

/* What an action is allowed in depends on the action. */
static int check_phase(const struct controller *controller, enum action action, struct error *err)
{
	static const unsigned int allowed[] = {
		[ACTION_FLUSH_METRICS] = PHASES_AFTER | PHASE_PREPARED,
		[ACTION_INSTANCE_START] = PHASES_BEFORE,
		[ACTION_SEND_CTRL_ALT_DEL] = PHASES_AFTER,
	};

	return method_check_phase(controller, allowed[action], err);
}

static int put_action(struct controller *controller, struct api_request *request,
		      struct api_reply *reply)
{
	const struct action_request *action = request->data;
	int ret = check_phase(controller, action->action_type.value, &reply->err);

	if (ret < 0)
		return ret;
	switch (action->action_type.value) {
	case ACTION_INSTANCE_START:
		ret = controller_start(controller, &reply->err);
		return ret < 0 ? reply_prefix(reply, "Start microvm error") : 0;
	case ACTION_FLUSH_METRICS:
		metrics_flush(controller);
		return 0;
	default:
		machine_press_ctrl_alt_del(controller->machine);
		return 0;
	}
}

static const struct method methods[] = {
	{
		.name = "action",
		.metric = "actions",
		.verb = API_PUT,
		.path = "actions",
		.phases = PHASES_ALL,
		.fields = &action_fields,
		.handle = put_action,
		.help = "Starts the microVM, writes its metrics, presses Ctrl-Alt-Del",
	},
};

const struct method_group action_methods = METHOD_GROUP(methods);
