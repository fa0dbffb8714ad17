/* What the control loop waits for while a guest runs. */
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>

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
		if (run->machine)
			machine_set_end(run->machine, MACHINE_STOPPED,
					sigdescr_np(signal) ? sigdescr_np(signal)
							    : "real-time signal");
		/* The end of a machine that was only prepared nobody watches. */
		event_loop_quit(run->control);
	}
}

/* What our parent has us ignore (nohup; a shell's background jobs) stays ignored: blocked, it comes all the same. */
static bool is_ignored(int signal)
{
	struct sigaction action;

	return sigaction(signal, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
}

void run_take_signals(struct run *run)
{
	struct signalfd_siginfo info;

	while (read(run->signals.fd, &info, sizeof(info)) == sizeof(info))
		if (!is_ignored((int)info.ssi_signo))
			on_signal(run, (int)info.ssi_signo);
}

static void on_signals(struct loop_watch *watch)
{
	run_take_signals(container_of(watch, struct run, signals));
}

/* Every signal that would end or stop the process where it stands, but those of a crash. */
static bool is_handled(int signal)
{
	static const int some[] = { SIGINT,  SIGTERM, SIGHUP,  SIGQUIT,	  SIGXCPU,
				    SIGTSTP, SIGCONT, SIGUSR1, SIGUSR2,	  SIGALRM,
				    SIGIO,   SIGPROF, SIGPWR,  SIGVTALRM, SIGSTKFLT };

	for (size_t i = 0; i < ARRAY_SIZE(some); i++)
		if (signal == some[i])
			return true;
	return signal > SIGRTMIN && signal <= SIGRTMAX; /* SIGRTMIN kicks vCPUs */
}

static void handled_signals(sigset_t *set)
{
	sigemptyset(set);
	for (int signal = 1; signal <= SIGRTMAX; signal++)
		if (is_handled(signal))
			sigaddset(set, signal);
}

static int make_signalfd(struct error *err)
{
	sigset_t set, blocked;
	int fd;

	handled_signals(&set);
	blocked = set;
	/* In the background neither reading the terminal nor setting it must stop us. */
	sigaddset(&blocked, SIGTTIN);
	sigaddset(&blocked, SIGTTOU);
	sigprocmask(SIG_BLOCK, &blocked, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* an image at its size limit is an I/O error of the guest's */
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? error_set_errno(err, errno, "cannot make a signalfd") : fd;
}

/* What has come so far has had its effect. */
void run_release_signals(struct run *run)
{
	struct signalfd_siginfo info;
	sigset_t set;

	while (run->signals.fd >= 0 && read(run->signals.fd, &info, sizeof(info)) > 0)
		;
	handled_signals(&set);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
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
	/* In a jail what came as a descriptor has no name to watch it by. */
	if (fd < 0) {
		log_message(fd == -ENOENT ? LOG_INFO : LOG_WARN,
			    "cannot watch the files that guest memory is from for changes: %s",
			    strerrordesc_np(-fd));
		return 0;
	}
	ret = watch(run, &run->files, fd, on_file_change, err);
	/* The guest runs already: what has happened so far is not told. */
	machine_check_files(run->machine);
	return ret;
}

/* When threads have done what they do once, and when a guest has booted: what either needed of the
 * program is not needed again soon. A boot takes a tenth of a second on a good host and ten seconds on an
 * emulated one that is busy, and one more look costs next to nothing. Each follows the one before. */
static const uint64_t settled_ns[] = { 250000000,  500000000,  2000000000,
				       2500000000, 5000000000, 20000000000 };

static void on_settled(struct loop_timer *timer)
{
	struct run *run = container_of(timer, struct run, settling);

	if (++run->releases < ARRAY_SIZE(settled_ns))
		loop_timer_arm(timer, settled_ns[run->releases]);
	own_pages_release(); /* last: whatever follows brings pages back */
}

static void watch_settling(struct run *run)
{
	int ret = loop_timer_init(&run->settling, run->control, on_settled);

	run->releases = 0;
	if (ret < 0)
		log_info("no timer to give back memory with: %s", strerrordesc_np(-ret));
	else
		loop_timer_arm(&run->settling, settled_ns[0]);
}

int run_open_ending(struct error *err)
{
	sigset_t set;
	int fd;

	handled_signals(&set);
	for (int signal = 1; signal <= SIGRTMAX; signal++)
		if (signal == SIGTSTP || signal == SIGCONT || is_ignored(signal))
			sigdelset(&set, signal);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? error_set_errno(err, errno, "cannot make a signalfd") : fd;
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
	if (ret == 0)
		watch_settling(run);
	return ret;
}

void run_unwatch_machine(struct run *run)
{
	event_loop_unwatch(run->control, &run->files);
	event_loop_unwatch(run->control, &run->end);
	loop_timer_fini(&run->settling);
	close_fd(&run->files.fd);
}

void run_unwatch(struct run *run)
{
	run_unwatch_machine(run);
	event_loop_unwatch(run->control, &run->signals);
	close_fd(&run->signals.fd);
}
