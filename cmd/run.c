#include "cmd/run.h"

#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/thread.h"
#include "cmd/crash.h"
#include "cmd/exit_codes.h"
#include "cmd/run_agent.h"
#include "cmd/terminal.h"
#include "cmd/timings.h"
#include "jailer/guard.h"
#include "jailer/jail.h"
#include "virtio/tap_policy.h"

static void quit_by_key(void *opaque)
{
	struct run *run = opaque;

	machine_set_end(run->machine, MACHINE_STOPPED, "ended from the console (Ctrl-A x)");
}

static void give_up(struct run *run, const char *why)
{
	machine_set_end(run->machine, MACHINE_STOPPED, why);
}

int run_open_console(const char *path, int *fd, struct error *err)
{
	if (!*path)
		return error_set(err, EINVAL, "--console: the path is empty");
	/* Not to wait for the reader of a FIFO; after that it is an ordinary descriptor. */
	*fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600);
	if (*fd < 0 && errno == ENXIO)
		return error_set(err, EINVAL, "--console: nobody reads the pipe %s", path);
	if (*fd < 0)
		return error_set_errno(err, errno, "--console: cannot open %s", path);
	fcntl(*fd, F_SETFL, O_WRONLY | O_APPEND);
	return 0;
}

static int open_console(struct run *run, struct error *err)
{
	struct vm_config *vm = &run->options.vm;
	const char *name = run->options.console;
	int ret;

	vm->has_console = strcmp(name, "none") != 0;
	vm->console_fd = -1;
	if (strcmp(name, "stdio") == 0)
		vm->console_fd = STDOUT_FILENO;
	else if (strcmp(name, "stderr") == 0)
		vm->console_fd = STDERR_FILENO;
	if (!vm->has_console || vm->console_fd >= 0)
		return 0;
	ret = run_open_console(name, &run->console_fd, err);
	if (ret < 0)
		return ret;
	vm->console_fd = run->console_fd;
	return 0;
}

/* The guest first: all that follows is done while it runs. */
static int start(struct run *run, struct error *err)
{
	bool stdio = strcmp(run->options.console, "stdio") == 0;
	int ret = stdio ? console_init(&run->console, run->control, run->machine, err) : 0;

	run->console.keys.quit = quit_by_key;
	run->console.keys.opaque = run;
	if (ret == 0)
		ret = thread_arm(THREAD_CONTROL, err);
	if (ret < 0)
		return ret;
	machine_start(run->machine);
	if (run->agent)
		ret = run_agent_start(run, err);
	if (ret < 0)
		return ret;
	ret = stdio ? console_start(&run->console, err) : 0;
	return ret < 0 ? ret : run_watch_machine(run, err);
}

static int load_metadata(struct run *run, struct error *err)
{
	const struct metadata_options *options = &run->options.metadata;
	struct vm_config *vm = &run->options.vm;
	int ret;

	if (!options->path)
		return 0;
	ret = mmds_create(&run->mmds, MMDS_LIMIT_DEFAULT, err);
	if (ret < 0)
		return ret;
	run->mmds->config = options->config;
	vm->mmds = run->mmds;
	for (unsigned int i = 0; i < vm->net_count; i++)
		vm->nets[i].mmds = true;
	return metadata_load(run->mmds, options->path, err);
}

static void judge_taps(const struct vm_config *vm)
{
	const char *policies = getenv(TAP_POLICIES_VARIABLE);
	char name[IFNAMSIZ];

	for (unsigned int i = 0; i < vm->net_count; i++)
		if (!tap_has_policy(policies, vm->nets[i].tap, vm->nets[i].fd, name))
			log_warn(TAP_WITHOUT_POLICY, name);
}

static int build(struct run *run, struct error *err)
{
	int ret = open_console(run, err);

	if (ret == 0)
		ret = load_metadata(run, err);
	if (ret == 0 && run->options.agent.path)
		ret = run_agent_create(run, err);
	if (ret < 0)
		return ret;
	judge_taps(&run->options.vm);
	ret = machine_build(&run->machine, &run->options.vm, run->timeline, err);
	if (ret < 0)
		return ret;
	run_name_crashes(run->machine);
	return 0;
}

/* The machine before the console, which its vCPUs may call. */
static void clean_up(struct run *run)
{
	run_name_crashes(NULL);
	if (run->machine) {
		machine_stop(run->machine);
		console_stop(&run->console);
	}
	if (run->control)
		run_unwatch(run);
	if (run->machine)
		machine_destroy(run->machine);
	mmds_destroy(run->mmds);
	run_agent_destroy(run);
	event_loop_destroy(run->control);
	close_fd(&run->console_fd);
}

static int run_machine(struct run *run, struct error *err)
{
	int ret = event_loop_create(&run->control, EVENT_LOOP_EPOLL, "control", err);

	if (ret == 0)
		ret = run_watch_signals(run, err);
	if (ret < 0) {
		err->code = -ENOTSUP; /* whatever it was, the host's doing */
		return ret;
	}
	ret = build(run, err);
	if (ret == 0)
		ret = start(run, err);
	if (ret < 0)
		return ret;
	event_loop_run(run->control);
	terminal_restore();
	run_release_signals(run);
	machine_stop(run->machine);
	return 0;
}

/* Before the first one of ours is opened: later the number might name that. */
int run_check_descriptors(const struct vm_config *vm, struct error *err)
{
	for (unsigned int i = 0; i < vm->drive_count; i++) {
		int fd = vm->drives[i].fd;

		if (fd >= 0 && fcntl(fd, F_GETFD) < 0)
			return error_set(err, EINVAL, "drive %s: descriptor %d is not open",
					 drive_name(i), fd);
	}
	for (unsigned int i = 0; i < vm->net_count; i++) {
		int fd = vm->nets[i].fd;

		if (fd >= 0 && fcntl(fd, F_GETFD) < 0)
			return error_set(err, EINVAL, "net %s: descriptor %d is not open",
					 net_name(i), fd);
	}
	for (unsigned int i = 0; i < vm->pmem_count; i++) {
		int fd = vm->pmems[i].fd;

		if (fd >= 0 && fcntl(fd, F_GETFD) < 0)
			return error_set(err, EINVAL, "pmem%u: descriptor %d is not open", i, fd);
	}
	return 0;
}

/* Linux would make a tap of any name for root, which reaches nobody: a name that is misspelt most likely. */
static int check_taps(const struct vm_config *vm, struct error *err)
{
	for (unsigned int i = 0; i < vm->net_count; i++) {
		const char *tap = vm->nets[i].tap;

		if (tap && *tap && if_nametoindex(tap) == 0 && errno == ENODEV)
			return error_set(err, EINVAL,
					 "net %s: there is no tap %s; `ip tuntap add %s mode tap` "
					 "makes one",
					 net_name(i), tap, tap);
	}
	return 0;
}

/* Whoever runs a command in the guest must be able to tell its status from ours. */
static int fail(const struct run *run, int status, const struct error *err)
{
	fprintf(stderr, "mayfly: error: %s\n", err->text);
	return run->options.agent.path ? EXIT_AGENT : status;
}

/* The command line may be wrong before --agent was come to. */
static bool wants_agent(int argc, char **argv)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (strcmp(argv[i], "--agent") == 0 || strncmp(argv[i], "--agent=", 8) == 0)
			return true;
	return false;
}

int run_main(int argc, char **argv, struct timeline *timeline)
{
	struct run run = RUN_INIT;
	struct guard_options guard;
	struct error err = { 0 };
	int status;

	run.timeline = timeline;
	run.give_up = give_up;
	if (run_options_parse(&run.options, argc, argv, &err) < 0)
		return fail(&run, wants_agent(argc, argv) ? EXIT_AGENT : EXIT_BAD_ARGUMENTS, &err);
	if (run.options.help) {
		run_options_help();
		return EXIT_OK;
	}
	if (vm_config_check(&run.options.vm, &err) < 0)
		return fail(&run, EXIT_BAD_CONFIG, &err);
	if (run_check_descriptors(&run.options.vm, &err) < 0 ||
	    check_taps(&run.options.vm, &err) < 0)
		return fail(&run, EXIT_BAD_CONFIG, &err);
	timeline_mark(timeline, MOMENT_CONFIGURED);
	guard = (struct guard_options){ run.options.seccomp_filter, run.options.no_seccomp };
	crash_setup(run_file_at, run_repair_at);
	if (run.options.agent.path)
		crash_exit_with(EXIT_AGENT);
	if (guard_setup(&guard, &err) < 0)
		return fail(&run, EXIT_BAD_CONFIG, &err);
	if (run_machine(&run, &err) < 0) {
		terminal_restore();
		run_release_signals(&run);
		clean_up(&run);
		return fail(&run, run_failure_status(&err), &err);
	}
	status = run_report_end(&run);
	clean_up(&run);
	if (run.options.timings)
		timings_print(timeline, stderr);
	return status;
}
