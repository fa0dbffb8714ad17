#include "cmd/api.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "api-socket/config_file.h"
#include "api-socket/controller.h"
#include "api-socket/server.h"
#include "api-socket/version.h"
#include "base/thread.h"
#include "base/version.h"
#include "cmd/api_options.h"
#include "cmd/crash.h"
#include "cmd/exit_codes.h"
#include "cmd/run_priv.h"
#include "cmd/snapshot.h"
#include "cmd/terminal.h"
#include "jailer/guard.h"
#include "jailer/jail.h"

/* One process that serves the API. Everything is the main thread's, the control loop's. */
struct api {
	struct api_options options;
	struct run run; /* the machine's surroundings; the machine is the controller's */
	struct controller *controller;
	struct api_server *server;
	bool bad_level; /* --level is none */
	bool failed;	/* a request left nothing to go on with */
};

/* The machine's life -----------------------------------------------------------------------------*/

static void quit_by_key(void *opaque)
{
	struct run *run = opaque;

	machine_set_end(run->machine, MACHINE_STOPPED, "ended from the console (Ctrl-A x)");
}

static int on_built(void *opaque, struct machine *machine, struct error *err)
{
	struct run *run = &((struct api *)opaque)->run;
	int ret;

	run->machine = machine;
	run_name_crashes(machine);
	run->console.keys.quit = quit_by_key;
	run->console.keys.opaque = run;
	/* From here to the guest's first instruction nothing can fail. */
	ret = console_init(&run->console, run->control, machine, err);
	return ret < 0 ? ret : thread_arm(THREAD_CONTROL, err);
}

/* It runs whatever happens here: what cannot be watched is said. */
static void on_started(void *opaque)
{
	struct run *run = &((struct api *)opaque)->run;
	struct error err;

	if (console_start(&run->console, &err) < 0 || run_watch_machine(run, &err) < 0)
		machine_set_end(run->machine, MACHINE_KVM_ERROR, err.text);
}

static void on_gone(void *opaque)
{
	struct run *run = &((struct api *)opaque)->run;

	console_stop(&run->console);
	run_unwatch_machine(run);
	run->machine = NULL;
}

/* Till the end its I/O threads may come upon memory that somebody has taken away. */
static void on_freed(void *opaque)
{
	(void)opaque;
	run_name_crashes(NULL);
}

static void on_end_wanted(void *opaque)
{
	struct api *api = opaque;

	api->failed = true;
	event_loop_quit(api->run.control);
}

/* Who sends a signal and then a request expects no answer, as of a process that died of the signal; the loop may
 * hear of the request first. */
static bool is_ending(void *opaque)
{
	struct run *run = &((struct api *)opaque)->run;

	run_take_signals(run);
	return run->ended_by != 0;
}

static int on_load_waits(void *opaque, struct error *err)
{
	(void)opaque;
	return run_open_ending(err);
}

static struct controller *crash_controller; /* for the crash handler alone */

static void tell_crash(int signal)
{
	controller_tell_crash(crash_controller, signal);
}

/* The process ------------------------------------------------------------------------------------*/

static int start_serving(struct api *api, struct error *err)
{
	const struct api_server_params params = {
		.payload_max = api->options.payload_max,
		.loop = api->run.control,
		.controller = api->controller,
		.end = on_end_wanted,
		.is_ending = is_ending,
		.opaque = api,
	};

	return api->server ? api_server_serve(api->server, &params, err) : 0;
}

/* Options that are requests in another form. A request is JSON, which not every word of a command line can be. */
static int add_text(json_t *body, const char *key, const char *option, const char *text,
		    struct error *err)
{
	if (!text || json_object_set_new(body, key, json_string(text)) == 0)
		return 0;
	return error_set(err, EINVAL, "%s: its value is no UTF-8", option);
}

static int apply_logger(struct api *api, struct error *err)
{
	const struct api_options *options = &api->options;
	json_t *body = json_object();
	int ret;

	api->bad_level = options->level && !controller_knows_level(options->level);
	if ((ret = add_text(body, "log_path", "--log-path", options->log_path, err)) == 0 &&
	    (ret = add_text(body, "level", "--level", options->level, err)) == 0)
		ret = add_text(body, "module", "--module", options->module, err);
	if (ret == 0 &&
	    ((options->show_level && json_object_set_new(body, "show_level", json_true()) < 0) ||
	     (options->show_log_origin &&
	      json_object_set_new(body, "show_log_origin", json_true()) < 0)))
		ret = error_set(err, ENOMEM, "out of memory");
	if (ret == 0 && api->bad_level)
		ret = error_set(
			err, EINVAL,
			"--level '%s': there are Off, Error, Warning, Info, Debug and Trace",
			options->level);
	if (ret == 0 && json_object_size(body))
		ret = config_file_apply(api->controller, "logger.put", body, err);
	json_decref(body);
	return ret;
}

static int apply_options(struct api *api, struct error *err)
{
	const struct api_options *options = &api->options;
	int ret = apply_logger(api, err);

	if (ret == 0 && options->metrics_path) {
		json_t *body = json_object();

		ret = add_text(body, "metrics_path", "--metrics-path", options->metrics_path, err);
		if (ret == 0)
			ret = config_file_apply(api->controller, "metrics.put", body, err);
		json_decref(body);
	}
	if (ret == 0 && options->metadata)
		ret = config_file_load_metadata(api->controller, options->metadata, err);
	if (ret == 0 && options->config_file)
		ret = config_file_load(api->controller, options->config_file, err);
	return ret == 0 && options->config_file ? config_file_start(api->controller, err) : ret;
}

static uint64_t micros(clockid_t clock)
{
	return clock_now_ns(clock) / 1000;
}

/* How long this process took to get here, if who started it says when that was. */
static void measure_startup(const struct api_options *options, struct controller_params *params)
{
	if (options->start_time_us)
		params->startup_us = micros(CLOCK_MONOTONIC) - options->start_time_us;
	if (options->start_time_cpu_us)
		params->startup_cpu_us = micros(CLOCK_PROCESS_CPUTIME_ID) -
					 options->start_time_cpu_us + options->parent_cpu_time_us;
}

/* A jailer says what CPU time it took, and by a variable which taps have a policy. */
static const char *tap_policies(const struct api_options *options)
{
	const char *taps = getenv(TAP_POLICIES_VARIABLE);

	if (!taps && options->parent_cpu_time_us)
		taps = "";
	return taps;
}

/* Whoever waits for the socket connects and asks while all the rest is done; signals that end the process remove it. */
static int listen_and_confine(struct api *api, struct error *err)
{
	const struct guard_options guard = { api->options.seccomp_filter, api->options.no_seccomp };
	int ret = api->options.no_api ? 0
				      : api_server_create(&api->server, api->options.api_sock, err);

	return ret < 0 ? ret : guard_setup(&guard, err);
}

static int set_up(struct api *api, const struct controller_host *host, struct error *err)
{
	struct controller_params params = {
		.host = host,
		.timeline = api->run.timeline,
		.id = api->options.id,
		.mmds_max = api->options.mmds_max,
		.tap_policies = tap_policies(&api->options),
		.boot_timer = api->options.boot_timer,
	};
	int ret = event_loop_create(&api->run.control, EVENT_LOOP_EPOLL, "control", err);

	if (ret == 0)
		ret = run_watch_signals(&api->run, err);
	if (ret == 0)
		ret = listen_and_confine(api, err);
	params.loop = api->run.control;
	measure_startup(&api->options, &params);
	if (ret == 0)
		ret = controller_create(&api->controller, &params, err);
	if (ret == 0) {
		crash_controller = api->controller;
		crash_tell(tell_crash);
	}
	/* Clients last: whoever asks finds a microVM that is what the options say. */
	if (ret == 0)
		ret = apply_options(api, err);
	return ret < 0 ? ret : start_serving(api, err);
}

static void clean_up(struct api *api)
{
	api_server_destroy(api->server);
	crash_tell(NULL);
	if (api->controller)
		controller_note_signal(api->controller, api->run.ended_by);
	controller_destroy(api->controller);
	if (api->run.control)
		run_unwatch(&api->run);
	event_loop_destroy(api->run.control);
}

static int fail(int status, const struct error *err)
{
	run_say(LOG_ERROR, "%s", err->text);
	return status;
}

static int end_status(struct api *api)
{
	if (api->failed && !api->run.machine && !api->run.ended_by)
		return EXIT_GENERIC;
	return run_report_end(&api->run);
}

/* Against members made to collide; jansson would open and read /dev/urandom. Without it jansson does. */
static void seed_json(void)
{
	size_t seed = 0;

	if (getrandom(&seed, sizeof(seed), GRND_NONBLOCK) == sizeof(seed))
		json_object_seed(seed);
}

/* As whoever sent it expects, and as Firecracker, which catches none of these: to a shell it is the same status, but
 * systemd takes only an end by SIGTERM for a clean one. The first process of a PID namespace survives it. */
static void die_of(int signal)
{
	fflush(NULL);
	raise(signal);
}

static int serve(struct api *api)
{
	const struct controller_host host = {
		.built = on_built,
		.started = on_started,
		.gone = on_gone,
		.freed = on_freed,
		.load_waits = on_load_waits,
		.opaque = api,
	};
	struct error err = { 0 };
	int status;

	crash_setup(run_file_at, run_repair_at);
	seed_json();
	if (set_up(api, &host, &err) < 0) {
		status = fail(api->bad_level ? EXIT_BAD_CONFIG : EXIT_GENERIC, &err);
	} else {
		event_loop_run(api->run.control);
		run_take_signals(
			&api->run); /* one may be why it ends: a load that it has cut short */
		terminal_restore();
		run_release_signals(&api->run);
		if (api->run.machine)
			machine_stop(api->run.machine);
		controller_tell_end(api->controller);
		api_server_flush(api->server);
		status = end_status(api);
	}
	clean_up(api);
	if (api->run.ended_by && status == EXIT_SIGNAL_BASE + api->run.ended_by)
		die_of(api->run.ended_by);
	return status;
}

static void print_version(void)
{
	printf("Firecracker v" API_VERSION "\n\nmayfly v" MAYFLY_VERSION
	       ", which speaks the API of that Firecracker\n");
}

static int describe_snapshot(const char *path)
{
	struct error err = { 0 };

	return snapshot_describe(path, &err) < 0 ? fail(EXIT_GENERIC, &err) : EXIT_OK;
}

int api_main(int argc, char **argv, struct timeline *timeline)
{
	struct api api = { .run = RUN_INIT };
	struct error err = { 0 };

	api.run.timeline = timeline;
	if (api_options_parse(&api.options, argc, argv, &err) < 0)
		return fail(EXIT_BAD_ARGUMENTS, &err);
	if (api.options.help)
		api_options_help();
	else if (api.options.version)
		print_version();
	else if (api.options.snapshot_version)
		snapshot_print_version();
	else if (api.options.describe_snapshot)
		return describe_snapshot(api.options.describe_snapshot);
	else
		return serve(&api);
	return EXIT_OK;
}
