/*
 * The serial port for clients: what the guest writes goes to every listener that is attached, beside where the port's
 * output goes anyway, and what clients write goes to the guest beside what is typed there. No client holds up the guest
 * or another client: what a listener cannot take just now it counts as lost.
 *
 * Control thread.
 */
#pragma once

#include "api-socket/events.h"
#include "base/error.h"

struct controller;
struct controller_console;

/* Output reaches the listener from now on, until it is detached. Twice is the same as once. -errno and *err. */
must_check int controller_console_attach(struct controller *controller, struct listener *listener,
					 struct error *err);
void controller_console_detach(struct controller *controller, struct listener *listener);

/* How many bytes were taken; when fewer than all, the attached hear "console.room" once there is room. -errno and
 * *err. */
must_check ssize_t controller_console_write(struct controller *controller, const uint8_t *bytes,
					    size_t count, struct error *err);

/* controller->machine is built and has not run. -errno and *err. */
must_check int controller_console_connect(struct controller *controller, struct error *err);

/* It is about to go. */
void controller_console_disconnect(struct controller *controller);

/* Hands on what the guest has written last. */
void controller_console_flush(struct controller *controller);

/* The controller's end. */
void controller_console_destroy(struct controller *controller);
