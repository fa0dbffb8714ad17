/* What is not in HTTP: events, and what methods there are. */
#include <string.h>

#include "api-socket/describe.h"
#include "api-socket/methods.h"

struct events_request {
	bool given;
	struct opt_list events; /* of const char * */
};

static const struct field event_table[] = {
	FIELD(struct events_request, events, FIELD_STRINGS, FIELD_REQUIRED,
	      .help = "names: vm.state, vm.ready, vm.trace, vm.ended, device.failed, balloon.statistics, "
		      "snapshot.progress"),
};

static const struct field_set event_fields = FIELD_SET("Events", struct events_request,
						       event_table);

static int kind_by_name(const char *name)
{
	for (int kind = 0; event_names[kind]; kind++)
		if (strcmp(event_names[kind], name) == 0)
			return kind;
	return -ENOENT;
}

/* The kinds that the request names, or'ed; 0 and reply->err when there is one that does not exist. */
static unsigned int named_kinds(const struct events_request *events, struct api_reply *reply)
{
	const char *const *names = events->events.items;
	unsigned int kinds = 0;

	for (uint32_t i = 0; i < events->events.count; i++) {
		int kind = kind_by_name(names[i]);

		if (kind < 0) {
			reply_refuse(reply, "there are no events `%s`", names[i]);
			return 0;
		}
		kinds |= 1u << kind;
	}
	if (!kinds)
		reply_refuse(reply, "no events are named");
	return kinds;
}

static int subscribe(struct controller *controller, struct api_request *request,
		     struct api_reply *reply)
{
	unsigned int kinds = named_kinds(request->data, reply);

	(void)controller;
	request->listener->kinds |= kinds;
	return kinds ? 0 : -EINVAL;
}

static int unsubscribe(struct controller *controller, struct api_request *request,
		       struct api_reply *reply)
{
	unsigned int kinds = named_kinds(request->data, reply);

	(void)controller;
	request->listener->kinds &= ~kinds;
	return kinds ? 0 : -EINVAL;
}

static int await(struct controller *controller, struct api_request *request,
		 struct api_reply *reply)
{
	(void)controller;
	reply->awaits = named_kinds(request->data, reply);
	return reply->awaits ? 0 : -EINVAL;
}

static int list(struct controller *controller, struct api_request *request, struct api_reply *reply)
{
	(void)controller;
	(void)request;
	return reply_with(reply, describe_methods());
}

static const struct method methods[] = {
	{
		.name = "methods",
		.verb = API_VERBS,
		.phases = PHASES_ALL,
		.handle = list,
		.help = "All methods with their fields",
	},
	{
		.name = "events.subscribe",
		.verb = API_VERBS,
		.phases = PHASES_ALL,
		.fields = &event_fields,
		.listens = true,
		.handle = subscribe,
		.help = "From now on these events come as notifications",
	},
	{
		.name = "events.unsubscribe",
		.verb = API_VERBS,
		.phases = PHASES_ALL,
		.fields = &event_fields,
		.listens = true,
		.handle = unsubscribe,
		.help = "These do not any more",
	},
	{
		.name = "events.wait",
		.verb = API_VERBS,
		.phases = PHASES_ALL,
		.fields = &event_fields,
		.listens = true,
		.handle = await,
		.help = "Answered by the next event of these kinds, with its details; other requests are "
			"answered meanwhile",
	},
};

const struct method_group events_methods = METHOD_GROUP(methods);
