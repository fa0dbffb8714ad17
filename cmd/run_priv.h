/* Private to cmd/run*.c: one `mayfly run`. Everything here is the main thread's, the control loop's. */
#pragma once

#include "base/log.h"
#include "base/loop_timer.h"
#include "cmd/console.h"
#include "cmd/run_options.h"

struct run_agent;

struct run {
	struct run_options options;
	struct timeline *timeline;
	struct event_loop *control;
	struct machine *machine;
	struct mmds *mmds; /* NULL: no metadata */
	struct console console;
	struct loop_watch signals, end, files;
	struct loop_timer settling;
	unsigned int releases;	 /* of our own pages, so far */
	int console_fd;		 /* --console PATH; -1 otherwise */
	int ended_by;		 /* a signal's number */
	struct run_agent *agent; /* --agent; NULL: none */
	/* Ends the machine for the agent's sake, wherever it runs. */
	void (*give_up)(struct run *run, const char *why);
};

/* Nothing is open yet. */
#define RUN_INIT                                                                             \
	{                                                                                    \
		.console_fd = -1, .files.fd = -1, .settling.watch.fd = -1, .signals.fd = -1, \
		.console.room.fd = -1,                                                       \
	}

/* cmd/run_watch.c ------------------------------------------------------------------------------*/

/* Signals come to the control loop from here on: before any thread exists. */
must_check int run_watch_signals(struct run *run, struct error *err);

/* A descriptor that is readable while a signal that ends the process waits to be taken, for whoever waits when the
 * control loop cannot. The caller's; -errno and *err. */
must_check int run_open_ending(struct error *err);

/* Signals that have come so far have their effect now. */
void run_take_signals(struct run *run);

/* From here on a signal does what it does by default: nothing that is left to do may outwait it. */
void run_release_signals(struct run *run);

/* The end of the machine; what only matters once the guest runs. */
must_check int run_watch_machine(struct run *run, struct error *err);

/* The machine is about to go: the first of these, which run_unwatch() does too. */
void run_unwatch_machine(struct run *run);
void run_unwatch(struct run *run);

/* cmd/run_report.c: the line for people and the exit status of an end, and of a failed start. ------*/

/* What ends the process: to standard error, whatever is logged, and to the log where that is elsewhere. */
void run_say(enum log_level level, const char *fmt, ...) printf_like(2, 3);

int run_report_end(struct run *run);

/* The same of an end that is known: with a signal's number or 0. */
int run_end_status(enum machine_end end, const char *text, int ended_by);
int run_failure_status(const struct error *err);

/* cmd/run.c: opens what --console names. */
must_check int run_open_console(const char *path, int *fd, struct error *err);

/* The same: are the descriptors open that options name? Before the first one of ours is. */
must_check int run_check_descriptors(const struct vm_config *vm, struct error *err);

/* For the crash handler: the file behind an address in the machine's memory, or NULL; whether the
 * address can be read again; and which machine that is. */
const char *run_file_at(const void *addr, const char **what);
bool run_repair_at(const void *addr);
void run_name_crashes(struct machine *machine);
