/*
 * mayctl run: `mayfly run` over a socket. The microVM is one that waits behind --sock, or a process of our own that ends
 * when we do; either way its console, the messages of its end and the exit status are those of `mayfly run`.
 */
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "cmd/mayctl_console.h"
#include "cmd/mayctl_monitor.h"
#include "cmd/mayctl_run.h"
#include "cmd/run_agent.h"
#include "cmd/terminal.h"
#include "cmd/timings.h"

#define ANSWER_PATIENCE_MS 5000

struct remote_run {
	struct run run; /* what is shared with mayfly run; it has no machine */
	struct ctl *ctl;
	struct ctl_monitor monitor;
	struct ctl_console console;
	struct ctl_run_files files;
	json_t *config; /* for vm.configure_and_start */
	bool has_agent; /* after the agent itself is gone */
	bool asked_to_end;
	int out_fd; /* --console PATH; -1 */
};

/* Whoever runs a command in the guest must be able to tell its status from ours. */
static int fail(const struct remote_run *remote, int status, const struct error *err)
{
	return ctl_fail(remote->has_agent ? EXIT_AGENT : status, "%s", err->text);
}

/* Ends ------------------------------------------------------------------------------------------*/

/* Nobody waits for the answer: the connection's end is the answer. Who asks twice does not wait at all. */
static void end_it(struct remote_run *remote, const char *why)
{
	json_t *params = json_pack("{s:s}", "text", why);
	uint32_t id;

	if (remote->asked_to_end ||
	    mayfly_client_send(remote->ctl->client, "vm.stop", params, NULL, 0, &id) < 0) {
		ctl_monitor_signal(&remote->monitor, SIGKILL);
		ctl_console_leave(&remote->console);
	}
	remote->asked_to_end = true;
	json_decref(params);
}

static void quit_by_key(void *opaque)
{
	end_it(opaque, "ended from the console (Ctrl-A x)");
}

static void give_up(struct run *run, const char *why)
{
	end_it(container_of(run, struct remote_run, run), why);
}

/* A signal ends the microVM as it would end mayfly. */
static void pass_on(struct remote_run *remote)
{
	int number = remote->run.ended_by;

	if (!ctl_monitor_signal(&remote->monitor, number))
		end_it(remote, sigdescr_np(number) ? sigdescr_np(number) : "real-time signal");
}

static enum machine_end end_of(const json_t *end)
{
	static const char *const words[] = {
		[MACHINE_POWERED_OFF] = "powered-off",	 [MACHINE_RESET] = "reset",
		[MACHINE_TRIPLE_FAULT] = "triple-fault", [MACHINE_KVM_ERROR] = "kvm-error",
		[MACHINE_MEMORY_LOST] = "memory-lost",	 [MACHINE_STOPPED] = "stopped",
	};
	const char *how = json_string_value(json_object_get(end, "how"));

	for (size_t i = 0; how && i < ARRAY_SIZE(words); i++)
		if (words[i] && strcmp(words[i], how) == 0)
			return (enum machine_end)i;
	return MACHINE_KVM_ERROR;
}

static int report(struct remote_run *remote)
{
	const char *text = json_string_value(json_object_get(remote->console.end, "text"));
	int ended_by = remote->run.ended_by;
	int status = ctl_monitor_wait(&remote->monitor);

	if (remote->has_agent && !ended_by)
		return run_agent_report(&remote->run,
					text ? text : "the microVM's process has ended");
	if (status >= 0) /* its own process has said why */
		return status;
	if (!remote->console.end && remote->asked_to_end)
		return ended_by ? EXIT_SIGNAL_BASE + ended_by : EXIT_OK;
	if (!remote->console.end)
		return ctl_fail_call(remote->ctl, -ECONNRESET);
	return run_end_status(end_of(remote->console.end), text ? text : "", ended_by);
}

/* From names back to moments: their clock starts at 0 here, which there means never. */
static void print_timings(const json_t *trace)
{
	struct timeline timeline = { 0 };
	json_t *item;
	size_t i;

	json_array_foreach(json_object_get(trace, "moments"), i, item)
	{
		const char *name = json_string_value(json_object_get(item, "moment"));
		int moment = name ? timings_moment(name) : -1;

		if (moment >= 0)
			timeline.at[moment] =
				(uint64_t)json_integer_value(json_object_get(item, "at_ns")) + 1;
	}
	timings_print(&timeline, stderr);
}

/* The start -------------------------------------------------------------------------------------*/

static int open_output(struct remote_run *remote, struct error *err)
{
	const char *name = remote->run.options.console;
	struct ctl_console *console = &remote->console;

	console->has_input = strcmp(name, "stdio") == 0;
	if (console->has_input)
		console->out_fd = STDOUT_FILENO;
	else if (strcmp(name, "stderr") == 0)
		console->out_fd = STDERR_FILENO;
	else if (strcmp(name, "none") != 0)
		return run_open_console(name, &console->out_fd, err) < 0
			       ? err->code
			       : (remote->out_fd = console->out_fd, 0);
	return 0;
}

static int put_metadata(struct remote_run *remote, struct error *err)
{
	const char *path = remote->run.options.metadata.path;
	json_error_t why;
	json_t *data;
	int ret;

	if (!path)
		return 0;
	data = json_load_file(path, JSON_DECODE_ANY, &why);
	if (!data)
		return error_set(err, EINVAL, "metadata %s: line %d: %s", path, why.line, why.text);
	ret = mayfly_client_call(remote->ctl->client, "mmds.put", data, NULL);
	json_decref(data);
	return ret < 0 ? error_set(err, -ret, "metadata %s: %s", path,
				   mayfly_client_error(remote->ctl->client))
		       : 0;
}

static int configure(struct remote_run *remote, struct error *err)
{
	struct mayfly_client *client = remote->ctl->client;
	uint32_t id;
	int ret = put_metadata(remote, err);

	if (ret < 0)
		return ret;
	if (!remote->config)
		remote->config = ctl_run_config(&remote->run.options, &remote->files, err);
	if (!remote->config)
		return err->code ? err->code : -EINVAL;
	ret = mayfly_client_send(client, "vm.configure_and_start", remote->config,
				 remote->files.fds, remote->files.count, &id);
	if (ret == 0)
		ret = mayfly_client_receive(client, id, NULL);
	ctl_run_close_files(&remote->files);
	return ret < 0 ? error_set(err, -ret, "%s", mayfly_client_error(client)) : 0;
}

static int start(struct remote_run *remote, struct error *err)
{
	int ret = configure(remote, err);

	if (ret == 0 && remote->has_agent)
		ret = run_agent_start(&remote->run, err);
	return ret;
}

/* A process of our own answers soon or never: it may have found no descriptor left to take us in with. */
static int attach(struct remote_run *remote)
{
	struct mayfly_client *client = remote->ctl->client;
	bool is_own = remote->monitor.pid > 0 && remote->ctl->timeout_ms < 0;
	int status = CTL_OK;

	if (is_own && mayfly_client_set_timeout(client, ANSWER_PATIENCE_MS) < 0)
		return ctl_fail(CTL_NO_CONNECTION, "no time can be set for an answer");
	status = ctl_console_open(&remote->console, remote->ctl);
	if (status == CTL_OK && is_own && mayfly_client_set_timeout(client, 0) < 0)
		return ctl_fail(CTL_NO_CONNECTION, "no time can be set for an answer");
	return status;
}

/* A process of our own would be waited for, and has nobody else who ends it. */
static int abandon(struct remote_run *remote, int status)
{
	ctl_monitor_signal(&remote->monitor, SIGKILL);
	return status;
}

/* Until the microVM has ended; a status. */
static int follow(struct remote_run *remote)
{
	struct error err = { 0 };
	int status = attach(remote);

	if (status != CTL_OK)
		return abandon(remote, status);
	if (start(remote, &err) < 0)
		return abandon(remote, fail(remote, EXIT_BAD_CONFIG, &err));
	remote->run.console.is_terminal = remote->console.is_terminal;
	status = ctl_console_start(&remote->console);
	if (status != CTL_OK)
		return abandon(remote, status);
	while (!remote->console.is_over) {
		event_loop_run(remote->run.control);
		if (!remote->console.is_over)
			pass_on(remote);
	}
	terminal_restore();
	status = report(remote);
	if (remote->run.options.timings)
		print_timings(remote->console.trace);
	return status;
}

/* The command line ------------------------------------------------------------------------------*/

static int load_file(struct remote_run *remote, const char *path)
{
	json_error_t why;

	remote->config = json_load_file(path, JSON_REJECT_DUPLICATES, &why);
	remote->run.options.console = "stdio";
	if (!remote->config)
		return ctl_fail(CTL_BAD_ARGUMENTS, "%s: line %d: %s", path, why.line, why.text);
	if (!json_is_object(remote->config))
		return ctl_fail(CTL_BAD_ARGUMENTS, "%s: it holds no JSON object", path);
	return CTL_OK;
}

/* -1: go on. */
static int read_options(struct remote_run *remote, int argc, char **argv)
{
	struct run_options *options = &remote->run.options;
	struct error err = { 0 };

	if (run_options_parse(options, argc, argv, &err) < 0)
		return fail(remote, CTL_BAD_ARGUMENTS, &err);
	if (options->help) {
		printf("mayctl run [OPTION]... takes what mayfly run takes, and does the same over a "
		       "socket: --sock's or, when\nnobody is there, one of its own. mayctl run FILE "
		       "takes the options from a configuration file.\n\n");
		run_options_help();
		return CTL_OK;
	}
	remote->has_agent = options->agent.path != NULL;
	options->vm.has_console = strcmp(options->console, "none") != 0;
	if (vm_config_check(&options->vm, &err) < 0 ||
	    run_check_descriptors(&options->vm, &err) < 0)
		return fail(remote, EXIT_BAD_CONFIG, &err);
	return -1;
}

static int prepare(struct remote_run *remote, struct error *err)
{
	struct run *run = &remote->run;
	int ret = event_loop_create(&run->control, EVENT_LOOP_EPOLL, "mayctl", err);

	if (ret == 0)
		ret = run_watch_signals(run, err);
	if (ret == 0)
		ret = open_output(remote, err);
	if (ret == 0 && remote->has_agent)
		ret = run_agent_create(run, err);
	return ret;
}

static int run_it(struct remote_run *remote)
{
	struct ctl *ctl = remote->ctl;
	struct error err = { 0 };
	int status;

	if (prepare(remote, &err) < 0)
		return fail(remote, EXIT_BAD_CONFIG, &err);
	status = ctl_monitor_open(&remote->monitor, ctl, &remote->run.options);
	if (status != CTL_OK) {
		ctl_monitor_wait(&remote->monitor); /* and its folder goes */
		return status;
	}
	remote->files.by_descriptor = remote->monitor.pid == 0;
	remote->console.client = ctl->client;
	remote->console.loop = remote->run.control;
	status = follow(remote);
	ctl_console_close(&remote->console);
	mayfly_client_close(ctl->client);
	ctl_monitor_wait(&remote->monitor);
	return status;
}

int ctl_run_command(struct ctl *ctl, int argc, char **argv)
{
	struct remote_run remote = {
		.run = RUN_INIT, .ctl = ctl, .console = CTL_CONSOLE_INIT, .out_fd = -1
	};
	int status;

	remote.run.give_up = give_up;
	remote.console.keys = (struct escape_keys){ .quit_help = "end the microVM",
						    .quit = quit_by_key,
						    .opaque = &remote };
	/* The parser wants a program's name in front, which "run" is. */
	if (argc == 1 && argv[0][0] != '-')
		status = load_file(&remote, argv[0]);
	else
		status = read_options(&remote, argc + 1, argv - 1);
	if (status < 0 || (status == CTL_OK && remote.config))
		status = run_it(&remote);
	run_agent_destroy(&remote.run);
	if (remote.run.control)
		run_unwatch(&remote.run);
	event_loop_destroy(remote.run.control);
	ctl_run_close_files(&remote.files);
	close_fd(&remote.out_fd);
	json_decref(remote.config);
	return status;
}
