/* How a run ended: one line for people, and the status that scripts read (cmd/exit_codes.h). */
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "cmd/exit_codes.h"
#include "cmd/run_agent.h"

static int signal_status(int signal)
{
	switch (signal) {
	case SIGHUP:
		return EXIT_HANGUP;
	case SIGXCPU:
		return EXIT_CPU_LIMIT;
	default:
		return EXIT_SIGNAL_BASE + signal;
	}
}

static const char *signal_name(int signal, char *name, size_t size)
{
	if (sigabbrev_np(signal))
		snprintf(name, size, "SIG%s", sigabbrev_np(signal));
	else
		snprintf(name, size, "SIGRTMIN+%d", signal - SIGRTMIN);
	return name;
}

static struct machine *crash_machine; /* for the crash handler alone */

const char *run_file_at(const void *addr, const char **what)
{
	return crash_machine ? machine_file_at(crash_machine, addr, what) : NULL;
}

bool run_repair_at(const void *addr)
{
	return crash_machine && machine_repair_at(crash_machine, addr);
}

void run_name_crashes(struct machine *machine)
{
	crash_machine = machine;
}

void run_say(enum log_level level, const char *fmt, ...)
{
	char text[2048]; /* registers, should it be a vCPU's failure */
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	fprintf(stderr, "mayfly: %s%s\n", level == LOG_ERROR ? "error: " : "", text);
	if (log_is_elsewhere())
		log_message(level, "%s", text);
}

int run_report_end(struct run *run)
{
	const char *text = run->ended_by ? sigdescr_np(run->ended_by) : "";
	enum machine_end end = run->machine ? machine_end(run->machine, &text) : MACHINE_STOPPED;

	if (run->agent && !run->ended_by)
		return run_agent_report(run, text);
	return run_end_status(end, text, run->ended_by);
}

int run_end_status(enum machine_end end, const char *text, int ended_by)
{
	char name[24];

	switch (end) {
	case MACHINE_POWERED_OFF:
	case MACHINE_RESET:
		log_info("%s", text);
		return EXIT_OK;
	case MACHINE_STOPPED:
		if (!ended_by) {
			run_say(LOG_INFO, "%s", text);
			return EXIT_OK;
		}
		run_say(LOG_INFO, "ended by signal %s (%s)",
			signal_name(ended_by, name, sizeof(name)), text);
		return signal_status(ended_by);
	case MACHINE_TRIPLE_FAULT:
		run_say(LOG_ERROR, "the guest crashed: %s", text);
		return EXIT_TRIPLE_FAULT;
	case MACHINE_MEMORY_LOST:
		run_say(LOG_ERROR, "%s", text);
		return EXIT_LOST_MEMORY;
	default:
		run_say(LOG_ERROR, "%s", text);
		return EXIT_GENERIC;
	}
}

/* What is wrong with the request is told from what is wrong with the host (machine_build()). */
int run_failure_status(const struct error *err)
{
	switch (-err->code) {
	case ENOTSUP:
	case EMFILE:
	case ENFILE:
	case EAGAIN:
	case EIO:
		return EXIT_GENERIC;
	default:
		return EXIT_BAD_CONFIG;
	}
}
