/*
 * Measures restores from snapshots: runs monitors in turn (A B C A B C ...), has each load a snapshot over
 * its API socket and waits for the first byte of the restored guest. It sleeps in poll() meanwhile, as clients do:
 * one that spins keeps a processor from the monitor's threads, which on two processors costs them a tick of
 * the scheduler more often than not. A warm-up comes first and does not count.
 *
 *   restore [OPTION]... -- NAME SOCKET SETUP LOAD COMMAND [ARGUMENT]... [--- NAME SOCKET ...]...
 *
 *   -r RUNS     of each command (40), after -w WARM-UP (2)
 *   -t SECONDS  for one run (20)
 *   -p MS       pause before each run (20): a VM's end goes on in the kernel after its process
 *   -m MARKER   the guest's byte (M)
 *   -e DIR      for standard errors (.)
 *
 * LOAD is a file with the HTTP request that loads. SETUP is `-`: the clock starts just before the spawn; or a
 * file with requests, each ended by a zero byte, that prepare the process: the clock starts before LOAD is
 * sent. With SOCKET `-` nothing is sent at all. SOCKET is removed before each run; standard error is added to DIR/NAME.err. Prints a line for each command:
 *   NAME runs=40 failed=0 first_us=P50,P99,MIN answer_us=P50,P99,MIN
 */
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "benches/stats.h"
#include "benches/turns.h"

#define SETTLE_MS 20 /* until a prepared process is idle */

struct command {
	const char *name, *socket;
	char *setup, *load; /* NULL: none */
	size_t setup_len, load_len;
	char **argv;
	int error_fd;
	unsigned int runs, failed;
	double *first, *answer; /* of each good run, us */
};

struct run {
	uint64_t start, first, answer; /* ns; 0 until it came */
	int out, socket, status;
	const char *wrong;
};

static struct command commands[TURNS_COMMANDS_MAX];
static unsigned int command_count;

/* One run ---------------------------------------------------------------------------------------*/

static bool has_ended(void)
{
	siginfo_t info = { 0 };

	return waitid(P_PID, (id_t)turns_child, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
	       info.si_pid;
}

static void dial(struct run *run, const char *path)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };

	snprintf(at.sun_path, sizeof(at.sun_path), "%s", path);
	run->socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	while (connect(run->socket, (struct sockaddr *)&at, sizeof(at)) < 0) {
		if (turns_timed_out || has_ended()) {
			run->wrong = "no API socket came";
			return;
		}
		sched_yield(); /* nothing tells when the socket is there */
	}
}

static void look_for_answer(struct run *run, int flags)
{
	char answer[4096];
	ssize_t got = recv(run->socket, answer, sizeof(answer) - 1, flags);

	if (got <= 0) {
		if (got == 0 || (errno != EAGAIN && errno != EINTR))
			run->wrong = "the connection ended";
		return;
	}
	run->answer = clock_now_ns(CLOCK_MONOTONIC);
	answer[got] = 0;
	if (strncmp(answer, "HTTP/1.1 2", 10) == 0)
		return;
	fprintf(stderr, "restore: %s\n", answer);
	run->wrong = "a request failed";
}

static void ask(struct run *run, const char *request, size_t len)
{
	if (send(run->socket, request, len, MSG_NOSIGNAL) != (ssize_t)len)
		run->wrong = "a request could not be sent";
}

static void set_up(struct run *run, const struct command *command)
{
	const char *end = command->setup + command->setup_len;

	for (const char *at = command->setup; at < end && !run->wrong; at += strlen(at) + 1) {
		ask(run, at, strlen(at));
		while (!run->wrong && !turns_timed_out && !run->answer)
			look_for_answer(run, 0);
		run->answer = 0;
	}
	usleep(SETTLE_MS * 1000);
	run->start = clock_now_ns(CLOCK_MONOTONIC);
}

static void look_for_marker(struct run *run, char marker)
{
	char output[4096];
	ssize_t got = read(run->out, output, sizeof(output));

	if (got > 0 && memchr(output, marker, (size_t)got))
		run->first = clock_now_ns(CLOCK_MONOTONIC);
	else if (got == 0)
		run->wrong = "the guest's output ended before its marker";
}

static void wait_for_either(struct run *run, bool has_request)
{
	struct pollfd fds[] = {
		{ .fd = run->first ? -1 : run->out, .events = POLLIN },
		{ .fd = has_request && !run->answer ? run->socket : -1, .events = POLLIN },
	};

	poll(fds, ARRAY_SIZE(fds), -1);
}

static void measure(struct run *run, const struct command *command, char marker)
{
	if (command->load)
		dial(run, command->socket);
	if (command->setup && !run->wrong)
		set_up(run, command);
	if (command->load && !run->wrong)
		ask(run, command->load, command->load_len);
	while (!run->wrong && !turns_timed_out &&
	       (!run->first || (command->load && !run->answer))) {
		wait_for_either(run, command->load);
		if (!run->first)
			look_for_marker(run, marker);
		if (command->load && !run->answer)
			look_for_answer(run, MSG_DONTWAIT);
	}
}

static void await_end(struct run *run)
{
	siginfo_t info;

	if (run->wrong)
		kill(turns_child, SIGKILL);
	retry_eintr(waitid(P_PID, (id_t)turns_child, &info, WEXITED | WNOWAIT));
	turns_set_alarm(0);
	waitpid(turns_child, &run->status, 0);
	turns_child = 0;
	if (!run->wrong && turns_timed_out)
		run->wrong = "its time was over";
	if (!run->wrong && run->status != 0)
		run->wrong = "its status is not 0";
}

static void run_command(const struct command *command, const struct turns *turns, struct run *run)
{
	posix_spawn_file_actions_t actions;
	int fds[2], ret;
	pid_t pid;

	*run = (struct run){ .socket = -1 };
	unlink(command->socket);
	if (pipe2(fds, O_CLOEXEC) < 0 || fcntl(fds[0], F_SETFL, O_NONBLOCK) < 0)
		turns_fail(turns, "cannot make a pipe");
	turns_prepare_spawn(&actions, fds[1], command->error_fd);
	turns_timed_out = 0;
	run->out = fds[0];
	run->start = clock_now_ns(CLOCK_MONOTONIC);
	ret = posix_spawnp(&pid, command->argv[0], &actions, NULL, command->argv, environ);
	close(fds[1]);
	if (ret == 0) {
		turns_child = pid;
		turns_set_alarm(turns->seconds);
		measure(run, command, *turns->marker);
		await_end(run);
	} else {
		run->wrong = "cannot be run";
	}
	close(fds[0]);
	if (run->socket >= 0)
		close(run->socket);
	posix_spawn_file_actions_destroy(&actions);
}

/* All runs --------------------------------------------------------------------------------------*/

static double us(uint64_t from, uint64_t to)
{
	return to > from ? (double)(to - from) / 1e3 : 0;
}

static void run_once(const struct turns *turns, unsigned int index, bool counts)
{
	struct command *command = &commands[index];
	struct run run;

	run_command(command, turns, &run);
	if (run.wrong) {
		fprintf(stderr, "restore: %s: %s\n", command->name, run.wrong);
		command->failed++;
	} else if (counts) {
		command->first[command->runs] = us(run.start, run.first);
		command->answer[command->runs++] = us(run.start, run.answer);
	}
}

static void print_result(struct command *command)
{
	struct stats first = stats_of(command->first, command->runs);
	struct stats answer = stats_of(command->answer, command->runs);

	printf("%s runs=%u failed=%u", command->name, command->runs, command->failed);
	if (command->runs)
		printf(" first_us=%.1f,%.1f,%.1f answer_us=%.1f,%.1f,%.1f", first.p50, first.p99,
		       first.min, answer.p50, answer.p99, answer.min);
	putchar('\n');
}

/* Set-up ----------------------------------------------------------------------------------------*/

static char *read_file(const struct turns *turns, const char *path, size_t *len)
{
	int fd = strcmp(path, "-") != 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	struct stat st;
	char *bytes = NULL;

	if (strcmp(path, "-") == 0)
		return NULL;
	if (fd < 0 || fstat(fd, &st) < 0 || !(bytes = calloc(1, (size_t)st.st_size + 1)) ||
	    read(fd, bytes, (size_t)st.st_size) != st.st_size)
		turns_fail(turns, "cannot read SETUP or LOAD");
	close(fd);
	*len = (size_t)st.st_size;
	return bytes;
}

static void add_command(const struct turns *turns, char **argv)
{
	struct command *command = &commands[command_count];

	if (command_count++ == TURNS_COMMANDS_MAX)
		turns_fail(turns, "more than 16 commands");
	for (unsigned int i = 0; i < 5; i++)
		if (!argv[i])
			turns_fail(turns,
				   "a command is NAME SOCKET SETUP LOAD COMMAND [ARGUMENT]...");
	command->name = argv[0];
	command->socket = argv[1];
	command->setup = read_file(turns, argv[2], &command->setup_len);
	command->load = read_file(turns, argv[3], &command->load_len);
	command->argv = argv + 4;
	command->error_fd = turns_open_errors(turns, command->name);
	command->first = calloc(2 * (size_t)turns->runs, sizeof(double));
	if (!command->first)
		turns_fail(turns, "out of memory");
	command->answer = command->first + turns->runs;
}

int main(int argc, char **argv)
{
	struct turns turns = { "restore", 40, 2, 20, 20, 0, "M", "." };

	turns_parse(&turns, argc, argv, add_command);
	turns_run(&turns, command_count, run_once);
	for (unsigned int i = 0; i < command_count; i++)
		print_result(&commands[i]);
	return 0;
}
