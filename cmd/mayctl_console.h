/*
 * A microVM's serial port over its API socket: what the guest writes to a descriptor of ours, standard input to the
 * guest. One thread, an event loop.
 */
#pragma once

#include "base/loop_timer.h"
#include "cmd/escape_keys.h"
#include "cmd/mayctl.h"

struct ctl_console {
	struct mayfly_client *client;
	struct event_loop *loop;
	struct loop_watch socket, input, output;
	struct escape_keys keys;
	int out_fd;	   /* -1: the guest's output is discarded */
	bool has_input;	   /* standard input is the guest's */
	bool is_terminal;  /* and a terminal */
	bool input_ended;  /* nothing more will come from there */
	bool no_room;	   /* the guest does not take more just now */
	bool needs_reader; /* it is over when nobody reads the output any more */
	int patience_ms; /* without a terminal it is over when input has ended and nothing has come for so long; -1 */

	uint8_t pending[1024]; /* read, not yet taken by the guest's port */
	size_t pending_len;
	uint32_t write_id; /* of the console.write under way; 0: none */
	size_t write_len;

	char *out; /* from the guest, not yet written */
	size_t out_len, out_size;
	uint64_t dropped; /* bytes that were lost because we did not read */

	bool is_over;  /* the connection has ended, or was left */
	bool was_left; /* by the user */
	bool moved;    /* something came since this was last looked at */
	json_t *end;   /* what vm.ended said; NULL: nothing */
	json_t *trace; /* what vm.trace said; NULL: nothing */
	struct loop_timer quiet;
};

#define CTL_CONSOLE_INIT                                                                           \
	{                                                                                          \
		.socket.fd = -1, .input.fd = -1, .output.fd = -1, .out_fd = -1, .patience_ms = -1, \
		.quiet.watch.fd = -1                                                               \
	}

/* Attaches: client, loop, out_fd, has_input and keys are set. A status; what failed is printed. */
must_check int ctl_console_open(struct ctl_console *console, struct ctl *ctl);

/* Makes the terminal raw and carries what there is; the rest happens on the loop, which quits when all is over and
 * written. A status. */
must_check int ctl_console_start(struct ctl_console *console);

/* Carries what can be carried now. */
void ctl_console_turn(struct ctl_console *console);

/* The user has seen enough. */
void ctl_console_leave(struct ctl_console *console);

/* Restores the terminal; what has not been written is lost. */
void ctl_console_close(struct ctl_console *console);
