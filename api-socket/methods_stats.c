/* What a microVM costs its host, and how it came to run. Methods of ours. */
#include <string.h>

#include "api-socket/methods.h"
#include "vmm/timeline.h"

static uint64_t moment(const struct controller *controller, enum moment which)
{
	return atomic_load_explicit(&controller->timeline->at[which], memory_order_relaxed);
}

static int get_stats(struct controller *controller, struct api_request *request,
		     struct api_reply *reply)
{
	uint64_t start = moment(controller, MOMENT_FIRST_RUN);
	struct machine_stats stats = { 0 };

	(void)request;
	if (controller->machine)
		machine_stats(controller->machine, &stats);
	return reply_with(
		reply,
		json_pack("{s:s, s:s, s:I, s:i, s:I, s:I, s:I, s:I}", "id", controller->id, "state",
			  controller_state(controller), "uptime_ns",
			  (json_int_t)(start ? clock_now_ns(CLOCK_MONOTONIC) - start : 0), "vcpus",
			  stats.vcpus, "vcpu_ns", (json_int_t)stats.vcpu_ns, "exits",
			  (json_int_t)stats.exits, "memory_bytes", (json_int_t)stats.memory_bytes,
			  "resident_bytes", (json_int_t)stats.resident_bytes));
}

/* The start, moment by moment ---------------------------------------------------------------------*/

static const char *const moment_names[MOMENT_COUNT] = {
	[MOMENT_PROCESS_START] = "process start",
	[MOMENT_CONFIGURED] = "configuration read",
	[MOMENT_ASKED] = "start asked for",
	[MOMENT_SNAPSHOT_READ] = "snapshot read",
	[MOMENT_ADOPTED] = "snapshot taken up",
	[MOMENT_VM_CREATED] = "KVM VM and memory",
	[MOMENT_KERNEL_LOADED] = "kernel load",
	[MOMENT_DEVICES_READY] = "vCPUs and devices",
	[MOMENT_FIRST_RUN] = "first KVM_RUN",
	[MOMENT_FIRST_OUTPUT] = "first guest console byte",
	[MOMENT_INIT] = "init",
	[MOMENT_END] = "end",
};

/* The earliest that comes after `last`, which is one of them or -1; -1: there is none. */
static int next_moment(const uint64_t at[MOMENT_COUNT], int last)
{
	int next = -1;

	for (int i = 0; i < MOMENT_COUNT; i++) {
		bool is_later = last < 0 || at[i] > at[last] || (at[i] == at[last] && i > last);

		if (at[i] != 0 && is_later && (next < 0 || at[i] < at[next]))
			next = i;
	}
	return next;
}

json_t *controller_trace(const struct controller *controller)
{
	json_t *list = json_array();
	uint64_t at[MOMENT_COUNT], first;
	int i;

	for (i = 0; i < MOMENT_COUNT; i++)
		at[i] = moment(controller, (enum moment)i);
	i = next_moment(at, -1);
	first = i < 0 ? 0 : at[i];
	for (; list && i >= 0; i = next_moment(at, i))
		json_array_append_new(list, json_pack("{s:s, s:I}", "moment", moment_names[i],
						      "at_ns", (json_int_t)(at[i] - first)));
	return json_pack("{s:s, s:o}", "id", controller->id, "moments", list);
}

static int get_trace(struct controller *controller, struct api_request *request,
		     struct api_reply *reply)
{
	(void)request;
	return reply_with(reply, controller_trace(controller));
}

static const struct method methods[] = {
	{
		.name = "vm.stats",
		.verb = API_GET,
		.path = "vm/stats",
		.phases = PHASES_ALL,
		.handle = get_stats,
		.help = "What it costs its host: processor time, memory, exits",
	},
	{
		.name = "vm.trace",
		.verb = API_GET,
		.path = "vm/trace",
		.phases = PHASES_ALL,
		.handle = get_trace,
		.help = "When its start reached which moment",
	},
};

const struct method_group stats_methods = METHOD_GROUP(methods);
