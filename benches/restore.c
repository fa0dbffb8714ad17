/*
 * Measures restores from snapshots: runs monitors in turn (A B C A B C ...), has each load a snapshot over
 * its API socket and waits for the first byte of the restored guest. It polls without ever sleeping,
 * so what it sees is not late by a wake-up of its own. A warm-up comes first and does not count.
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
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/util.h"
#include "benches/stats.h"

#define COMMANDS_MAX 16
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

struct options {
	unsigned int runs, warm_up, seconds, pause_ms;
	char marker;
	const char *error_dir;
};

struct run {
	uint64_t start, first, answer; /* ns; 0 until it came */
	int out, socket, status;
	const char *wrong;
};

static struct command commands[COMMANDS_MAX];
static unsigned int command_count;
static volatile sig_atomic_t child, timed_out;

static void fail(const char *what)
{
	fprintf(stderr, "restore: %s\n", what);
	exit(2);
}

static void on_alarm(int signal)
{
	(void)signal;
	timed_out = 1;
	if (child > 0)
		kill(child, SIGKILL);
}

static void set_alarm(unsigned int seconds)
{
	struct itimerval timer = { .it_value.tv_sec = seconds };

	setitimer(ITIMER_REAL, &timer, NULL);
}

/* One run ---------------------------------------------------------------------------------------*/

static bool has_ended(void)
{
	siginfo_t info = { 0 };

	return waitid(P_PID, (id_t)child, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid;
}

static void dial(struct run *run, const char *path)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };

	snprintf(at.sun_path, sizeof(at.sun_path), "%s", path);
	run->socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	while (connect(run->socket, (struct sockaddr *)&at, sizeof(at)) < 0)
		if (timed_out || has_ended()) {
			run->wrong = "no API socket came";
			return;
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
		while (!run->wrong && !timed_out && !run->answer)
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

static void measure(struct run *run, const struct command *command, char marker)
{
	if (command->load)
		dial(run, command->socket);
	if (command->setup && !run->wrong)
		set_up(run, command);
	if (command->load && !run->wrong)
		ask(run, command->load, command->load_len);
	while (!run->wrong && !timed_out && !run->first) {
		look_for_marker(run, marker);
		if (command->load && !run->answer && !run->first)
			look_for_answer(run, MSG_DONTWAIT);
	}
	while (command->load && !run->wrong && !timed_out && !run->answer)
		look_for_answer(run, MSG_DONTWAIT);
}

static void await_end(struct run *run)
{
	siginfo_t info;

	if (run->wrong)
		kill(child, SIGKILL);
	retry_eintr(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT));
	set_alarm(0);
	waitpid(child, &run->status, 0);
	child = 0;
	if (!run->wrong && timed_out)
		run->wrong = "its time was over";
	if (!run->wrong && run->status != 0)
		run->wrong = "its status is not 0";
}

static void run_command(const struct command *command, const struct options *options,
			struct run *run)
{
	posix_spawn_file_actions_t actions;
	int fds[2], ret;
	pid_t pid;

	*run = (struct run){ .socket = -1 };
	unlink(command->socket);
	if (pipe2(fds, O_CLOEXEC) < 0 || fcntl(fds[0], F_SETFL, O_NONBLOCK) < 0)
		fail("cannot make a pipe");
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, fds[1], STDOUT_FILENO);
	posix_spawn_file_actions_adddup2(&actions, command->error_fd, STDERR_FILENO);
	timed_out = 0;
	run->out = fds[0];
	run->start = clock_now_ns(CLOCK_MONOTONIC);
	ret = posix_spawnp(&pid, command->argv[0], &actions, NULL, command->argv, environ);
	close(fds[1]);
	if (ret == 0) {
		child = pid;
		set_alarm(options->seconds);
		measure(run, command, options->marker);
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

static void run_once(struct command *command, const struct options *options, bool counts)
{
	struct run run;

	usleep(options->pause_ms * 1000);
	run_command(command, options, &run);
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

static char *read_file(const char *path, size_t *len)
{
	int fd = strcmp(path, "-") != 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	struct stat st;
	char *bytes = NULL;

	if (strcmp(path, "-") == 0)
		return NULL;
	if (fd < 0 || fstat(fd, &st) < 0 || !(bytes = calloc(1, (size_t)st.st_size + 1)) ||
	    read(fd, bytes, (size_t)st.st_size) != st.st_size)
		fail("cannot read SETUP or LOAD");
	close(fd);
	*len = (size_t)st.st_size;
	return bytes;
}

static void add_command(const struct options *options, char **argv)
{
	struct command *command = &commands[command_count];
	char path[4096];

	if (command_count++ == COMMANDS_MAX)
		fail("more than 16 commands");
	for (unsigned int i = 0; i < 5; i++)
		if (!argv[i])
			fail("a command is NAME SOCKET SETUP LOAD COMMAND [ARGUMENT]...");
	command->name = argv[0];
	command->socket = argv[1];
	command->setup = read_file(argv[2], &command->setup_len);
	command->load = read_file(argv[3], &command->load_len);
	command->argv = argv + 4;
	snprintf(path, sizeof(path), "%s/%s.err", options->error_dir, command->name);
	command->error_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	command->first = calloc(2 * (size_t)options->runs, sizeof(double));
	if (command->error_fd < 0 || !command->first)
		fail("cannot write standard errors to the folder given by -e");
	command->answer = command->first + options->runs;
}

static void parse_options(struct options *options, int argc, char **argv)
{
	int option;

	while ((option = getopt(argc, argv, "+r:w:t:p:m:e:")) != -1) {
		if (option == 'r')
			options->runs = (unsigned int)strtoul(optarg, NULL, 10);
		else if (option == 'w')
			options->warm_up = (unsigned int)strtoul(optarg, NULL, 10);
		else if (option == 't')
			options->seconds = (unsigned int)strtoul(optarg, NULL, 10);
		else if (option == 'p')
			options->pause_ms = (unsigned int)strtoul(optarg, NULL, 10);
		else if (option == 'm')
			options->marker = *optarg;
		else if (option == 'e')
			options->error_dir = optarg;
		else
			fail("unknown option");
	}
	if (!options->runs || !options->seconds || !options->marker)
		fail("RUNS, SECONDS and MARKER cannot be nothing");
}

static void parse_commands(const struct options *options, char **argv)
{
	char **start = argv;

	for (char **at = argv;; at++) {
		bool last = !*at;

		if (!last && strcmp(*at, "---") != 0)
			continue;
		*at = NULL;
		add_command(options, start);
		start = at + 1;
		if (last)
			break;
	}
}

int main(int argc, char **argv)
{
	struct options options = { 40, 2, 20, 20, 'M', "." };

	parse_options(&options, argc, argv);
	parse_commands(&options, argv + optind);
	signal(SIGALRM, on_alarm);
	for (unsigned int round = 0; round < options.warm_up + options.runs; round++)
		for (unsigned int i = 0; i < command_count; i++)
			run_once(&commands[i], &options, round >= options.warm_up);
	for (unsigned int i = 0; i < command_count; i++)
		print_result(&commands[i]);
	return 0;
}
