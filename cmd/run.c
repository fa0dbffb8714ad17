#include "cmd/run.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

#include "base/log.h"
#include "cmd/console.h"
#include "cmd/crash.h"
#include "cmd/exit_codes.h"
#include "cmd/own_pages.h"
#include "cmd/run_options.h"
#include "cmd/terminal.h"
#include "cmd/timings.h"

struct run {
	struct run_options options;
	struct timeline *timeline;
	struct event_loop *control;
	struct machine *machine;
	struct console console;
	struct loop_watch signals, end, files, settled;
	int console_fd; /* --console PATH; -1 otherwise */
	int ended_by;	/* a signal's number */
};

/* Ends ------------------------------------------------------------------------------------------*/

static void quit_by_key(void *opaque)
{
	struct run *run = opaque;

	machine_set_end(run->machine, MACHINE_STOPPED, "ended from the console (Ctrl-A x)");
}

static void on_end(struct loop_watch *watch)
{
	event_loop_quit(container_of(watch, struct run, end)->control);
}

/* A file that guest memory is mapped from was changed; that matters only if it got shorter. */
static void on_file_change(struct loop_watch *watch)
{
	struct run *run = container_of(watch, struct run, files);
	char events[512];

	while (read(watch->fd, events, sizeof(events)) > 0)
		;
	machine_check_files(run->machine);
}

static void on_signal(struct run *run, int signal)
{
	switch (signal) {
	case SIGTSTP:
		terminal_restore();
		kill(getpid(), SIGSTOP);
		terminal_make_raw(STDIN_FILENO);
		break;
	case SIGCONT:
		if (run->console.is_terminal)
			terminal_make_raw(STDIN_FILENO);
		break;
	default:
		run->ended_by = signal;
		machine_set_end(run->machine, MACHINE_STOPPED, sigdescr_np(signal));
	}
}

static void on_signals(struct loop_watch *watch)
{
	struct run *run = container_of(watch, struct run, signals);
	struct signalfd_siginfo info;

	while (read(watch->fd, &info, sizeof(info)) == sizeof(info))
		on_signal(run, (int)info.ssi_signo);
}

/* Set-up ----------------------------------------------------------------------------------------*/

/* Blocked before any thread exists, so that they all come to the control loop. */
static int make_signalfd(struct error *err)
{
	static const int handled[] = { SIGINT,	SIGTERM, SIGHUP,  SIGQUIT, SIGXCPU,
				       SIGTSTP, SIGCONT, SIGTTIN, SIGTTOU };
	sigset_t set;
	int fd;

	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_SIZE(handled); i++)
		sigaddset(&set, handled[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* an image at its size limit is an I/O error of the guest's */
	sigdelset(&set, SIGTTIN);
	sigdelset(&set, SIGTTOU);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? error_set_errno(err, errno, "cannot make a signalfd") : fd;
}

static int open_console(struct run *run, struct error *err)
{
	struct vm_config *vm = &run->options.vm;
	const char *name = run->options.console;

	vm->has_console = strcmp(name, "none") != 0;
	if (!vm->has_console || strcmp(name, "stdio") == 0) {
		vm->console_fd = vm->has_console ? STDOUT_FILENO : -1;
		return 0;
	}
	run->console_fd = open(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0600);
	if (run->console_fd < 0)
		return error_set_errno(err, errno, "--console: cannot open %s", name);
	vm->console_fd = run->console_fd;
	return 0;
}

static int watch(struct run *run, struct loop_watch *watch, int fd,
		 void (*ready)(struct loop_watch *), struct error *err)
{
	int ret;

	watch->fd = fd;
	watch->ready = ready;
	ret = event_loop_watch(run->control, watch);
	return ret < 0 ? error_set_errno(err, ret, "cannot watch a descriptor") : 0;
}

/* Without inotify a shrunk file still shows, through SIGBUS and EFAULT, in most cases. */
static int watch_files(struct run *run, struct error *err)
{
	int fd = machine_watch_files(run->machine);

	if (fd == -ENODATA)
		return 0;
	if (fd >= 0)
		return watch(run, &run->files, fd, on_file_change, err);
	log_info("cannot watch the kernel's and initrd's files for changes: %s",
		 strerrordesc_np(-fd));
	return 0;
}

static void on_settled(struct loop_watch *watch)
{
	struct run *run = container_of(watch, struct run, settled);

	event_loop_unwatch(run->control, watch);
	own_pages_release();
}

/* By then all threads have done what they do once. */
static int watch_settling(struct run *run, struct error *err)
{
	const struct itimerspec soon = { .it_value.tv_nsec = 250000000 };
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);

	if (fd < 0)
		return error_set_errno(err, errno, "cannot make a timer");
	timerfd_settime(fd, 0, &soon, NULL);
	return watch(run, &run->settled, fd, on_settled, err);
}

static struct machine *crash_machine; /* for the crash handler alone */

static const char *name_file(const void *addr)
{
	return crash_machine ? machine_file_at(crash_machine, addr) : NULL;
}

/* The guest first: all that follows is done while it runs. */
static int start(struct run *run, struct error *err)
{
	bool stdio = strcmp(run->options.console, "stdio") == 0;
	int ret = stdio ? console_init(&run->console, run->control, run->machine, err) : 0;

	run->console.quit = quit_by_key;
	run->console.opaque = run;
	if (ret < 0)
		return ret;
	machine_start(run->machine);
	ret = watch(run, &run->end, machine_end_fd(run->machine), on_end, err);
	if (ret == 0 && stdio)
		ret = console_start(&run->console, err);
	if (ret == 0)
		ret = watch_files(run, err);
	return ret < 0 ? ret : watch_settling(run, err);
}

static int build(struct run *run, struct error *err)
{
	int ret = open_console(run, err);

	if (ret < 0)
		return ret;
	ret = machine_build(&run->machine, &run->options.vm, run->timeline, err);
	if (ret < 0)
		return ret;
	crash_machine = run->machine;
	return 0;
}

/* Reporting -------------------------------------------------------------------------------------*/

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

static int report_end(struct run *run)
{
	const char *text;

	switch (machine_end(run->machine, &text)) {
	case MACHINE_POWERED_OFF:
	case MACHINE_RESET:
		log_info("%s", text);
		return EXIT_OK;
	case MACHINE_STOPPED:
		if (!run->ended_by) {
			fprintf(stderr, "mayfly: %s\n", text);
			return EXIT_OK;
		}
		fprintf(stderr, "mayfly: ended by signal SIG%s (%s)\n", sigabbrev_np(run->ended_by),
			text);
		return signal_status(run->ended_by);
	case MACHINE_TRIPLE_FAULT:
		fprintf(stderr, "mayfly: error: the guest crashed: %s\n", text);
		return EXIT_TRIPLE_FAULT;
	case MACHINE_MEMORY_LOST:
		fprintf(stderr, "mayfly: error: %s\n", text);
		return EXIT_LOST_MEMORY;
	default:
		fprintf(stderr, "mayfly: error: %s\n", text);
		return EXIT_GENERIC;
	}
}

/* What is wrong with the request is told from what is wrong with the host (machine_build()). */
static int failure_status(const struct error *err)
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

static void clean_up(struct run *run)
{
	console_stop(&run->console);
	event_loop_unwatch(run->control, &run->settled);
	event_loop_unwatch(run->control, &run->files);
	event_loop_unwatch(run->control, &run->end);
	event_loop_unwatch(run->control, &run->signals);
	close_fd(&run->settled.fd);
	close_fd(&run->files.fd);
	close_fd(&run->signals.fd);
	crash_machine = NULL;
	if (run->machine)
		machine_destroy(run->machine);
	event_loop_destroy(run->control);
	close_fd(&run->console_fd);
}

static int run_machine(struct run *run, struct error *err)
{
	int ret = event_loop_create(&run->control, EVENT_LOOP_EPOLL, "control", err);

	if (ret < 0)
		return ret;
	ret = make_signalfd(err);
	if (ret >= 0)
		ret = watch(run, &run->signals, ret, on_signals, err);
	if (ret == 0)
		ret = build(run, err);
	if (ret == 0)
		ret = start(run, err);
	if (ret < 0)
		return ret;
	event_loop_run(run->control);
	console_stop(&run->console);
	machine_stop(run->machine);
	return 0;
}

static int fail(int status, const struct error *err)
{
	fprintf(stderr, "mayfly: error: %s\n", err->text);
	return status;
}

int run_main(int argc, char **argv, struct timeline *timeline)
{
	struct run run = { .timeline = timeline,
			   .console_fd = -1,
			   .files.fd = -1,
			   .settled.fd = -1,
			   .signals.fd = -1 };
	struct error err = { 0 };
	int status;

	run.console.room.fd = -1;
	if (run_options_parse(&run.options, argc, argv, &err) < 0)
		return fail(EXIT_BAD_ARGUMENTS, &err);
	if (run.options.help) {
		run_options_help();
		return EXIT_OK;
	}
	if (vm_config_check(&run.options.vm, &err) < 0)
		return fail(EXIT_BAD_CONFIG, &err);
	timeline_mark(timeline, MOMENT_CONFIGURED);
	crash_setup(name_file);
	if (run_machine(&run, &err) < 0) {
		clean_up(&run);
		return fail(failure_status(&err), &err);
	}
	status = report_end(&run);
	clean_up(&run);
	if (run.options.timings)
		timings_print(timeline, stderr);
	return status;
}
