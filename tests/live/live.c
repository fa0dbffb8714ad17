/*
 * A microVM whose devices are changed while it runs, for tests: `live OPTIONS [-- ARG...]` with the options of
 * `mayfly run`, the guest's console on standard output, commands on standard input (see live_commands.c), each
 * answered by a line on standard error: "ok ..." or "error ...". It ends with the guest, or at `quit`.
 */
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "cmd/run_options.h"
#include "tests/live/live.h"

static int fail(const struct error *err)
{
	fprintf(stderr, "live: error: %s\n", err->text);
	return 1;
}

static void answer(struct machine *machine, char *line)
{
	struct error err = { 0 };
	char text[1024] = "";

	if (live_command(machine, line, text, sizeof(text), &err) < 0)
		fprintf(stderr, "error %s\n", err.text);
	else
		fprintf(stderr, "ok%s%s\n", *text ? " " : "", text);
}

/* Standard input is unbuffered: what getline() had kept, poll() would not see. */
static void serve(struct machine *machine)
{
	struct pollfd fds[] = { { .fd = STDIN_FILENO, .events = POLLIN },
				{ .fd = machine_end_fd(machine), .events = POLLIN } };
	char line[512];

	setvbuf(stdin, NULL, _IONBF, 0);
	for (;;) {
		if (poll(fds, 2, -1) < 0 || fds[1].revents)
			return;
		if (!fgets(line, sizeof(line), stdin)) {
			fds[0].fd = -1; /* no more commands: wait for the guest */
			continue;
		}
		line[strcspn(line, "\n")] = '\0';
		if (strcmp(line, "quit") == 0)
			return;
		answer(machine, line);
	}
}

int main(int argc, char **argv)
{
	static struct timeline timeline;
	static struct run_options options;
	struct machine *machine;
	struct error err = { 0 };
	const char *text;
	int status;

	if (run_options_parse(&options, argc, argv, &err) < 0 ||
	    vm_config_check(&options.vm, &err) < 0)
		return fail(&err);
	options.vm.has_console = true;
	options.vm.console_fd = STDOUT_FILENO;
	if (machine_build(&machine, &options.vm, &timeline, &err) < 0)
		return fail(&err);
	machine_start(machine);
	serve(machine);
	machine_stop(machine);
	switch (machine_end(machine, &text)) {
	case MACHINE_RUNNING:
	case MACHINE_POWERED_OFF:
	case MACHINE_RESET:
		status = 0;
		break;
	default:
		fprintf(stderr, "live: error: %s\n", text);
		status = 1;
		break;
	}
	machine_destroy(machine);
	return status;
}
