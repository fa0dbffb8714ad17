/*
 * Standard input to the guest's serial port, with the escape keys when it is a terminal. Runs on
 * the control loop. When the port is full a pipe waits until the guest has taken some; a terminal's
 * further input is lost but for the escape keys.
 */
#pragma once

#include "base/event_loop.h"
#include "cmd/escape_keys.h"
#include "vmm/machine.h"

struct console {
	struct event_loop *loop;
	struct serial *serial;
	struct loop_watch input; /* standard input */
	struct loop_watch room;	 /* an eventfd: the port has room again */
	bool is_terminal;
	bool at_end;	     /* end of input */
	uint8_t pending[64]; /* read, not yet taken by the port */
	size_t pending_len;
	struct escape_keys keys; /* its quit and opaque are the creator's to set */
};

/* Before machine_start(). The machine must outlive the console; set keys.quit and keys.opaque after it. */
must_check int console_init(struct console *console, struct event_loop *loop,
			    struct machine *machine, struct error *err);

/* Makes the terminal raw and starts reading standard input. */
must_check int console_start(struct console *console, struct error *err);

void console_stop(struct console *console);
