/* mayctl: a microVM's API socket from the command line. */
#include "cmd/mayctl.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/version.h"

int ctl_fail(int status, const char *fmt, ...)
{
	va_list args;

	fputs("mayctl: error: ", stderr);
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputc('\n', stderr);
	return status;
}

int ctl_fail_call(struct ctl *ctl, int code)
{
	int status = code == -EREMOTEIO	  ? CTL_REFUSED
		     : code == -ETIMEDOUT ? CTL_TOO_LATE
					  : CTL_NO_CONNECTION;

	return ctl_fail(status, "%s", mayfly_client_error(ctl->client));
}

static int call(struct ctl *ctl, int argc, char **argv)
{
	json_error_t why;
	json_t *params, *result = NULL;
	int ret;

	if (argc < 1 || argc > 2)
		return ctl_fail(CTL_BAD_ARGUMENTS, "call METHOD [JSON]");
	params = argc > 1 ? json_loads(argv[1], 0, &why) : NULL;
	if (argc > 1 && !params)
		return ctl_fail(CTL_BAD_ARGUMENTS, "%s", why.text);
	if (params && !json_is_object(params)) {
		json_decref(params);
		return ctl_fail(CTL_BAD_ARGUMENTS, "a method's parameters are one JSON object");
	}
	ret = mayfly_client_call(ctl->client, argv[0], params, &result);
	json_decref(params);
	if (ret < 0)
		return ctl_fail_call(ctl, ret);
	ctl_print_result(&(struct ctl){ .json = true }, result);
	json_decref(result);
	return CTL_OK;
}

static int protocol(struct ctl *ctl, int argc, char **argv)
{
	(void)ctl;
	(void)argc;
	(void)argv;
	describe_protocol(stdout);
	return CTL_OK;
}

static int version(struct ctl *ctl, int argc, char **argv)
{
	(void)ctl;
	(void)argc;
	(void)argv;
	printf("mayctl " MAYFLY_VERSION "\n");
	return CTL_OK;
}

const struct ctl_command ctl_commands[] = {
	{ "events", "[EVENT...]", "Prints what happens, as it happens", true, ctl_events_command },
	{ "wait", "EVENT...", "Waits for one of these events and prints it", true,
	  ctl_wait_command },
	{ "run", "FILE | OPTION... [-- ARG...]",
	  "Runs a microVM as `mayfly run` does, or from a configuration file, over a socket: console, "
	  "messages and exit status are mayfly's",
	  false, ctl_run_command },
	{ "console", "[VM]", "Attaches to the serial port; Ctrl-A x detaches", true,
	  ctl_console_command },
	{ "ps", "DIR", "Lists the microVMs whose sockets are below a folder", false,
	  ctl_ps_command },
	{ "top", "DIR [TIMES]", "The same, each second anew", false, ctl_top_command },
	{ "trace", "[VM] [--svg FILE]",
	  "Draws how it came to run, moment by moment; VM is its socket, instead of --sock", true,
	  ctl_trace_command },
	{ "call", "METHOD [JSON]", "Calls a method with a JSON object", true, call },
	{ "protocol", "", "Prints docs/protocol.md: all methods and their fields", false,
	  protocol },
	{ "completion", "bash", "Prints the script that completes mayctl's words", false,
	  ctl_completion_command },
	{ "help", "[WORDS]", "Explains a command, or lists them", false, ctl_help_command },
	{ "--help", "", NULL, false, ctl_help_command },
	{ "--version", "", "Prints mayctl's version", false, version },
	{ "words", "", NULL, false, ctl_words_command },
	{ .name = NULL },
};

static const struct ctl_command *find_command(const char *name)
{
	for (const struct ctl_command *command = ctl_commands; command->name; command++)
		if (strcmp(command->name, name) == 0)
			return command;
	return NULL;
}

static int open_client(struct ctl *ctl)
{
	int ret;

	if (!ctl->sock)
		return ctl_fail(CTL_BAD_ARGUMENTS, "which microVM? Give --sock PATH");
	ret = mayfly_client_open_within(&ctl->client, ctl->sock,
					ctl->timeout_ms > 0 ? (unsigned int)ctl->timeout_ms : 0);
	if (ret < 0)
		return ctl_fail(CTL_NO_CONNECTION, "%s: %s", ctl->sock, strerrordesc_np(-ret));
	return CTL_OK;
}

/* A socket after the command's name stands for --sock. */
static void take_vm(struct ctl *ctl, int *argc, char **argv)
{
	if (*argc < 2 || strncmp(argv[1], "--", 2) == 0)
		return;
	ctl->sock = argv[1];
	--*argc;
	for (int i = 1; i < *argc; i++)
		argv[i] = argv[i + 1];
}

static int run(struct ctl *ctl, int argc, char **argv)
{
	const struct ctl_command *command = find_command(argv[0]);
	char name[CTL_NAME_MAX];
	struct ctl_verb verb;
	int count, status = CTL_OK;

	if (command && !command->needs_sock)
		return command->run(ctl, argc - 1, argv + 1);
	if (!command && !ctl_find_verb(argc, argv, &verb, name, &count))
		return ctl_fail(CTL_BAD_ARGUMENTS, "there is no command `%s`; see mayctl help",
				argv[0]);
	if (command && (command->run == ctl_console_command || command->run == ctl_trace_command))
		take_vm(ctl, &argc, argv);
	status = open_client(ctl);
	if (status != CTL_OK)
		return status;
	status = command ? command->run(ctl, argc - 1, argv + 1) : ctl_call_verb(ctl, argc, argv);
	mayfly_client_close(ctl->client);
	return status;
}

/* The options before the command; the index of its first word, or -1. */
static int read_options(struct ctl *ctl, int argc, char **argv)
{
	int at = 1;

	for (; at < argc && strncmp(argv[at], "--", 2) == 0 && !find_command(argv[at]); at++) {
		if (strcmp(argv[at], "--json") == 0) {
			ctl->json = true;
		} else if (strcmp(argv[at], "--progress") == 0) {
			ctl->progress = true;
		} else if (strcmp(argv[at], "--sock") == 0 && at + 1 < argc) {
			ctl->sock = argv[++at];
		} else if (strcmp(argv[at], "--timeout") == 0 && at + 1 < argc) {
			char *end;
			double seconds = strtod(argv[++at], &end);

			if (*end || end == argv[at] || !(seconds >= 0 && seconds <= 1e6))
				return -1;
			/* 0 would be as long as it takes. */
			ctl->timeout_ms = MAX(1, (int)(seconds * 1000));
		} else {
			return -1;
		}
	}
	return at < argc ? at : -1;
}

int main(int argc, char **argv)
{
	struct ctl ctl = { .sock = getenv("MAYCTL_SOCK"), .timeout_ms = -1 };
	int first = read_options(&ctl, argc, argv), status;

	if (first < 0) {
		ctl_help(stderr);
		return CTL_BAD_ARGUMENTS;
	}
	status = run(&ctl, argc - first, argv + first);
	if (fflush(stdout) != 0 || ferror(stdout))
		return ctl_fail(status == CTL_OK ? CTL_REFUSED : status,
				"the output cannot be written");
	return status;
}
