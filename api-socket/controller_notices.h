/*
 * What happens in a machine on its own, told to whoever listens: a device that needs a reset, new statistics of the balloon,
 * init that runs. Control thread.
 */
#pragma once

#include "api-socket/events.h"
#include "base/event_loop.h"
#include "virtio/virtio_device.h"
#include "vmm/layout.h"

struct controller;

struct controller_notices {
	struct loop_watch watch; /* the machine's; not armed: there is none */
	uint64_t breaks[LAYOUT_VIRTIO_DEVICES_MAX], statistics; /* that were told */
	bool ready_told;
};

/* controller->machine is built and has not run. -errno and *err. */
must_check int controller_notices_begin(struct controller *controller, struct error *err);

/* It is about to go. */
void controller_notices_end(struct controller *controller);

/* Tells what has happened since the last look. */
void controller_notices_look(struct controller *controller);
