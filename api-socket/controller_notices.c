#include "api-socket/controller_notices.h"

#include <string.h>

#include "api-socket/controller_priv.h"

static void look_at_devices(struct controller *controller)
{
	struct controller_notices *notices = &controller->notices;
	struct machine_breaks device;

	for (unsigned int i = 0; machine_device_breaks(controller->machine, i, &device); i++) {
		if (device.count == notices->breaks[i])
			continue;
		notices->breaks[i] = device.count;
		listeners_tell(&controller->listeners, EVENT_DEVICE_FAILED,
			       json_pack("{s:s, s:s}", "device", device.name, "text", device.why));
	}
}

static uint64_t updates(const struct virtio_device *balloon)
{
	for (unsigned int i = 0; balloon && i < balloon->ops->counter_count; i++)
		if (strcmp(balloon->ops->counter_names[i], "stats_updates_count") == 0)
			return atomic_load_explicit(&balloon->counters[i], memory_order_relaxed);
	return 0;
}

/* Of several that have come meanwhile the last one. */
static void look_at_balloon(struct controller *controller)
{
	uint64_t count = updates(machine_balloon(controller->machine));
	struct error err;

	if (count == controller->notices.statistics)
		return;
	/* They are told with the next ones when the device waits for a page that does not come. */
	if (machine_await_devices(controller->machine, 100, &err) < 0)
		return;
	controller->notices.statistics = count;
	listeners_tell(&controller->listeners, EVENT_BALLOON_STATISTICS,
		       controller_balloon_statistics(controller));
	machine_had_devices(controller->machine);
}

static void look_at_init(struct controller *controller)
{
	bool is_ready = atomic_load_explicit(&controller->timeline->at[MOMENT_INIT],
					     memory_order_relaxed) != 0;

	if (!is_ready || controller->notices.ready_told)
		return;
	controller->notices.ready_told = true;
	listeners_tell(&controller->listeners, EVENT_READY, NULL);
}

void controller_notices_look(struct controller *controller)
{
	look_at_init(controller);
	look_at_devices(controller);
	look_at_balloon(controller);
}

static void on_notice(struct loop_watch *watch)
{
	controller_notices_look(container_of(watch, struct controller, notices.watch));
}

int controller_notices_begin(struct controller *controller, struct error *err)
{
	struct controller_notices *notices = &controller->notices;
	int ret;

	*notices = (struct controller_notices){ .watch.ready = on_notice };
	notices->watch.fd = machine_notice_fd(controller->machine);
	ret = event_loop_watch(controller->loop, &notices->watch);
	return ret < 0 ? error_set_errno(err, ret, "cannot watch an eventfd") : 0;
}

void controller_notices_end(struct controller *controller)
{
	event_loop_unwatch(controller->loop, &controller->notices.watch);
}
