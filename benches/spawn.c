/*
 * Runs commands in turn (A B C A B C ...) and measures each from just before its spawn to the first
 * MARKER on its standard output, and to its end. A warm-up comes first and does not count.
 *
 *   spawn [OPTION]... -- NAME COMMAND [ARGUMENT]... [--- NAME COMMAND [ARGUMENT]...]...
 *
 *   -r RUNS     of each command (40), after -w WARM-UP (2)
 *   -t SECONDS  for one run (60)
 *   -p MS       pause before each run (0): a VM's end goes on in the kernel after its process
 *   -s MIB      written and given back before each run (0): turns_scrub() says why
 *   -m MARKER   what to wait for (M)
 *   -e DIR      for standard errors (.)
 *
 * Standard error is added to DIR/NAME.err. A run fails when the marker does not come, the
 * status is not 0 or SECONDS are over (then the command is killed). Prints a line for each command:
 *   NAME runs=40 failed=0 first_us=P50,P99,MIN end_us=P50,P99,MIN cpu_us=P50 faults=P50
 */
#include <sys/resource.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "benches/stats.h"
#include "benches/turns.h"

struct command {
	const char *name;
	char **argv;
	int error_fd;
	unsigned int runs, failed;
	double *first, *end, *cpu, *faults; /* of each good run, us */
};

struct run {
	uint64_t start, first, end; /* ns; first is 0 until the marker has come */
	struct rusage usage;
	int status;
};

static struct command commands[TURNS_COMMANDS_MAX];
static unsigned int command_count;
static char output[65536];

/* One run ---------------------------------------------------------------------------------------*/

/* Reads to the end of the output; notes when the marker was there. */
static void watch_output(struct run *run, int in, const char *marker)
{
	size_t marker_len = strlen(marker), used = 0;
	ssize_t got;

	while ((got = retry_eintr(read(in, output + used, sizeof(output) - used))) > 0) {
		uint64_t now = clock_now_ns(CLOCK_MONOTONIC);

		if (run->first)
			continue;
		used += (size_t)got;
		if (memmem(output, used, marker, marker_len)) {
			run->first = now;
			used = 0;
		} else if (used == sizeof(output)) {
			/* Keep what may be the beginning of the marker. */
			memmove(output, output + used - marker_len, marker_len);
			used = marker_len;
		}
	}
}

/* The child is reaped only after the alarm is off: its number cannot be another's by then. */
static void wait_for_end(struct run *run)
{
	siginfo_t info;

	retry_eintr(waitid(P_PID, (id_t)turns_child, &info, WEXITED | WNOWAIT));
	run->end = clock_now_ns(CLOCK_MONOTONIC);
	turns_set_alarm(0);
	wait4(turns_child, &run->status, 0, &run->usage);
	turns_child = 0;
}

static int run_command(const struct command *command, const struct turns *turns, struct run *run)
{
	posix_spawn_file_actions_t actions;
	int fds[2], ret;
	pid_t pid;

	*run = (struct run){ 0 };
	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	turns_prepare_spawn(&actions, fds[1], command->error_fd);
	turns_timed_out = 0;
	run->start = clock_now_ns(CLOCK_MONOTONIC);
	ret = posix_spawnp(&pid, command->argv[0], &actions, NULL, command->argv, environ);
	close(fds[1]);
	if (ret == 0) {
		turns_child = pid;
		turns_set_alarm(turns->seconds);
		watch_output(run, fds[0], turns->marker);
		wait_for_end(run);
	}
	close(fds[0]);
	posix_spawn_file_actions_destroy(&actions);
	return -ret;
}

/* All runs --------------------------------------------------------------------------------------*/

static double us(uint64_t from, uint64_t to)
{
	return (double)(to - from) / 1e3;
}

static double timeval_us(struct timeval t)
{
	return (double)t.tv_sec * 1e6 + (double)t.tv_usec;
}

static void keep(struct command *command, const struct run *run)
{
	unsigned int n = command->runs++;

	command->first[n] = us(run->start, run->first);
	command->end[n] = us(run->start, run->end);
	command->cpu[n] = timeval_us(run->usage.ru_utime) + timeval_us(run->usage.ru_stime);
	command->faults[n] = (double)(run->usage.ru_minflt + run->usage.ru_majflt);
}

static void complain(const struct command *command, const struct run *run, int ret)
{
	if (ret < 0)
		fprintf(stderr, "spawn: %s: cannot run %s: %s\n", command->name, command->argv[0],
			strerror(-ret));
	else if (turns_timed_out)
		fprintf(stderr, "spawn: %s: killed, its time was over\n", command->name);
	else
		fprintf(stderr, "spawn: %s: %s %d%s\n", command->name,
			WIFSIGNALED(run->status) ? "signal" : "status",
			WIFSIGNALED(run->status) ? WTERMSIG(run->status) : WEXITSTATUS(run->status),
			run->first ? "" : ", the marker did not come");
}

static void run_once(const struct turns *turns, unsigned int index, bool counts)
{
	struct command *command = &commands[index];
	struct run run;
	int ret = run_command(command, turns, &run);

	if (ret < 0 || turns_timed_out || run.status != 0 || !run.first) {
		complain(command, &run, ret);
		command->failed++;
	} else if (counts) {
		keep(command, &run);
	}
}

static void print_result(struct command *command)
{
	struct stats first = stats_of(command->first, command->runs);
	struct stats end = stats_of(command->end, command->runs);
	struct stats cpu = stats_of(command->cpu, command->runs);
	struct stats faults = stats_of(command->faults, command->runs);

	printf("%s runs=%u failed=%u", command->name, command->runs, command->failed);
	if (command->runs)
		printf(" first_us=%.1f,%.1f,%.1f end_us=%.1f,%.1f,%.1f cpu_us=%.0f faults=%.0f",
		       first.p50, first.p99, first.min, end.p50, end.p99, end.min, cpu.p50,
		       faults.p50);
	putchar('\n');
}

/* Set-up ----------------------------------------------------------------------------------------*/

static void add_command(const struct turns *turns, char **argv)
{
	struct command *command = &commands[command_count];

	if (command_count++ == TURNS_COMMANDS_MAX || !argv[0] || !argv[1])
		turns_fail(turns,
			   "a command is NAME COMMAND [ARGUMENT]..., and there are at most 16");
	command->name = argv[0];
	command->argv = argv + 1;
	command->error_fd = turns_open_errors(turns, command->name);
	command->first = calloc(4 * (size_t)turns->runs, sizeof(double));
	if (!command->first)
		turns_fail(turns, "out of memory");
	command->end = command->first + turns->runs;
	command->cpu = command->end + turns->runs;
	command->faults = command->cpu + turns->runs;
}

int main(int argc, char **argv)
{
	struct turns turns = { "spawn", 40, 2, 60, 0, 0, "M", "." };

	turns_parse(&turns, argc, argv, add_command);
	turns_run(&turns, command_count, run_once);
	for (unsigned int i = 0; i < command_count; i++)
		print_result(&commands[i]);
	return 0;
}
