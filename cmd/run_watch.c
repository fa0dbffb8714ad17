/* What the control loop waits for while a guest runs. */
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

#include "base/log.h"
#include "cmd/own_pages.h"
#include "cmd/run_priv.h"
#include "cmd/terminal.h"

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
	int ret;

	if (fd == -ENODATA)
		return 0;
	if (fd < 0) {
		log_info("cannot watch the kernel's and initrd's files for changes: %s",
			 strerrordesc_np(-fd));
		return 0;
	}
	ret = watch(run, &run->files, fd, on_file_change, err);
	/* The guest runs already: what has happened so far is not told. */
	machine_check_files(run->machine);
	return ret;
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

int run_watch_signals(struct run *run, struct error *err)
{
	int fd = make_signalfd(err);

	return fd < 0 ? fd : watch(run, &run->signals, fd, on_signals, err);
}

int run_watch_machine(struct run *run, struct error *err)
{
	int ret = watch(run, &run->end, machine_end_fd(run->machine), on_end, err);

	if (ret == 0)
		ret = watch_files(run, err);
	return ret < 0 ? ret : watch_settling(run, err);
}

void run_unwatch(struct run *run)
{
	event_loop_unwatch(run->control, &run->settled);
	event_loop_unwatch(run->control, &run->files);
	event_loop_unwatch(run->control, &run->end);
	event_loop_unwatch(run->control, &run->signals);
	close_fd(&run->settled.fd);
	close_fd(&run->files.fd);
	close_fd(&run->signals.fd);
}
