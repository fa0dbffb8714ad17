/* mayfly: a microVM monitor. One process is one microVM. */
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "base/version.h"
#include "cmd/api.h"
#include "cmd/api_options.h"
#include "cmd/check_host.h"
#include "cmd/exit_codes.h"
#include "cmd/run.h"
#include "cmd/run_options.h"
#include "cmd/snapshot.h"
#include "jailer/jail.h"

static void help(void)
{
	printf("mayfly " MAYFLY_VERSION ": a lightweight KVM microVM monitor\n"
	       "\n"
	       "Usage: mayfly COMMAND [OPTION]...\n"
	       "\n"
	       "  run          start a microVM in the foreground\n"
	       "  check-host   what this host has and lacks for running microVMs\n"
	       "  snapshot     what a snapshot is, whether this host can run it, diffs merged\n"
	       "  help [run]   this text, or a command's\n"
	       "\n"
	       "Example: mayfly run --kernel vmlinux --rootfs debian.ext4\n"
	       "\n"
	       "   or: mayfly OPTION...\n"
	       "\n"
	       "Serves one microVM to the clients of an API socket, with Firecracker's options:\n"
	       "\n");
	api_options_help();
}

/* exec was as long ago as the process has used the CPU: nothing before main() waits. */
static void mark_process_start(struct timeline *timeline)
{
	timeline->at[MOMENT_PROCESS_START] = clock_now_ns(CLOCK_MONOTONIC) -
					     clock_now_ns(CLOCK_PROCESS_CPUTIME_ID);
}

/* With a standard stream closed, a device's or the loop's descriptor would take its number and get the
 * guest's output. A path-only descriptor reads and writes as a closed one does. */
static void occupy_standard_descriptors(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/", O_PATH) != fd)
			return;
}

static int help_main(int argc, char **argv)
{
	if (argc < 2) {
		help();
		return EXIT_OK;
	}
	if (strcmp(argv[1], "run") == 0) {
		run_options_help();
		return EXIT_OK;
	}
	if (strcmp(argv[1], "check-host") == 0)
		return check_host_main(2, (char *[]){ argv[1], (char[]){ "--help" }, NULL });
	if (strcmp(argv[1], "snapshot") == 0)
		return snapshot_main(2, (char *[]){ argv[1], (char[]){ "--help" }, NULL });
	fprintf(stderr, "mayfly: error: no help on '%s'; there is `mayfly help run`\n", argv[1]);
	return EXIT_BAD_ARGUMENTS;
}

/* `mayfly-jailer ... -- run ...`: what a jailer says of itself comes before the command. How many words it is. */
static int skip_jailer(int argc, char **argv)
{
	static const char *const options[] = { "--id", "--start-time-us", "--start-time-cpu-us",
					       "--parent-cpu-time-us" };
	int at = 1;

	for (size_t i = 0; i < ARRAY_SIZE(options) && at + 2 < argc; i++)
		if (strcmp(argv[at], options[i]) == 0)
			at += 2;
	return at < argc && strcmp(argv[at], "run") == 0 ? at - 1 : 0;
}

static int dispatch(int argc, char **argv, struct timeline *timeline)
{
	const int skipped = skip_jailer(argc, argv);
	const char *command;

	argc -= skipped;
	argv += skipped;
	/* A jailer that sets no policy does not say so. */
	if (skipped)
		setenv(TAP_POLICIES_VARIABLE, "", 0);
	command = argc > 1 ? argv[1] : "";

	if (strcmp(command, "run") == 0)
		return run_main(argc - 1, argv + 1, timeline);
	if (strcmp(command, "check-host") == 0)
		return check_host_main(argc - 1, argv + 1);
	if (strcmp(command, "snapshot") == 0)
		return snapshot_main(argc - 1, argv + 1);
	if (strcmp(command, "help") == 0)
		return help_main(argc - 1, argv + 1);
	if (strcmp(command, "--help") == 0 || strcmp(command, "-h") == 0)
		return help_main(1, argv);
	if (*command == '-')
		return api_main(argc, argv, timeline);
	fprintf(stderr, "mayfly: error: %s%s%s; try `mayfly --help`\n",
		*command ? "unknown command '" : "no command is given", command,
		*command ? "'" : "");
	return EXIT_BAD_ARGUMENTS;
}

int main(int argc, char **argv)
{
	static struct timeline timeline;
	int status;

	mark_process_start(&timeline);
	occupy_standard_descriptors();
	log_init();
	/* One arena: each further one costs a thread 64 MiB of address space and its first pages. */
	mallopt(M_ARENA_MAX, 1);
	status = dispatch(argc, argv, &timeline);
	if (fflush(stdout) != 0 && status == EXIT_OK) {
		fprintf(stderr, "mayfly: error: cannot write to standard output: %s\n",
			strerrordesc_np(errno));
		return EXIT_GENERIC;
	}
	return status;
}
