/* mayctl console: a terminal, or pipes, on a microVM's serial port. */
#include <string.h>

#include "cmd/mayctl_console.h"
#include "cmd/run_priv.h"
#include "cmd/terminal.h"

static void leave_by_key(void *opaque)
{
	ctl_console_leave(opaque);
}

/* 128+N for a signal, else how the connection came to its end. */
static int report(struct ctl *ctl, const struct ctl_console *console, int ended_by)
{
	const char *text = json_string_value(json_object_get(console->end, "text"));

	if (ended_by)
		return EXIT_SIGNAL_BASE + ended_by;
	if (console->was_left) {
		if (console->is_terminal)
			fprintf(stderr, "\nmayctl: detached\n");
		return CTL_OK;
	}
	if (!text)
		return ctl_fail_call(ctl, -ECONNRESET);
	fprintf(stderr, "mayctl: the microVM has ended: %s\n", text);
	return CTL_OK;
}

static int follow(struct ctl *ctl, struct ctl_console *console, struct run *run)
{
	int status = ctl_console_open(console, ctl);

	if (status != CTL_OK)
		return status;
	run->console.is_terminal = console->is_terminal;
	if (console->is_terminal)
		fprintf(stderr, "mayctl: attached; Ctrl-A x detaches, Ctrl-A h helps\n");
	status = ctl_console_start(console);
	if (status == CTL_OK)
		event_loop_run(run->control);
	terminal_restore();
	return status == CTL_OK ? report(ctl, console, run->ended_by) : status;
}

int ctl_console_command(struct ctl *ctl, int argc, char **argv)
{
	struct ctl_console console = CTL_CONSOLE_INIT;
	struct run run = RUN_INIT;
	struct error err;
	int status;

	(void)argv;
	if (argc > 0)
		return ctl_fail(CTL_BAD_ARGUMENTS, "console [VM]");
	if (event_loop_create(&run.control, EVENT_LOOP_EPOLL, "mayctl", &err) < 0 ||
	    run_watch_signals(&run, &err) < 0)
		return ctl_fail(CTL_NO_CONNECTION, "%s", err.text);
	console.client = ctl->client;
	console.loop = run.control;
	console.out_fd = STDOUT_FILENO;
	console.has_input = console.needs_reader = true;
	console.patience_ms = ctl->timeout_ms;
	console.keys = (struct escape_keys){ .quit_help = "detach; the microVM goes on",
					     .quit = leave_by_key,
					     .opaque = &console };
	status = follow(ctl, &console, &run);
	ctl_console_close(&console);
	run_unwatch(&run);
	event_loop_destroy(run.control);
	return status;
}
