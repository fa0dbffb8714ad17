/*
 * What programs have in common that run commands in turn (A B C A B C ...), with a warm-up that does not count:
 * their options, the commands behind them, a child that is killed when its time is over. Included once by a
 * program; it may know only one child at a time.
 */
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>

#include "base/util.h"

#define TURNS_COMMANDS_MAX 16u

struct turns {
	const char *program; /* for messages */
	unsigned int runs, warm_up, seconds, pause_ms, scrub_mib;
	const char *marker, *error_dir;
};

static volatile sig_atomic_t turns_child, turns_timed_out;

static inline void turns_fail(const struct turns *turns, const char *what)
{
	fprintf(stderr, "%s: %s\n", turns->program, what);
	exit(2);
}

/* A run's time: the child is killed when it is over; 0: it is not measured any more. */
static inline void turns_set_alarm(unsigned int seconds)
{
	struct itimerval timer = { .it_value.tv_sec = seconds };

	setitimer(ITIMER_REAL, &timer, NULL);
}

static inline void turns_on_alarm(int signal)
{
	(void)signal;
	turns_timed_out = 1;
	if (turns_child > 0)
		kill(turns_child, SIGKILL);
}

/* Everything that allocates is done before the clock starts. */
static inline void turns_prepare_spawn(posix_spawn_file_actions_t *actions, int out, int error_fd)
{
	posix_spawn_file_actions_init(actions);
	posix_spawn_file_actions_addopen(actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(actions, out, STDOUT_FILENO);
	posix_spawn_file_actions_adddup2(actions, error_fd, STDERR_FILENO);
}

/* Where a command's standard error goes. */
static inline int turns_open_errors(const struct turns *turns, const char *name)
{
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/%s.err", turns->error_dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (fd < 0)
		turns_fail(turns, "cannot write standard errors to the folder given by -e");
	return fd;
}

static inline void turns_parse_options(struct turns *turns, int argc, char **argv)
{
	int option;

	while ((option = getopt(argc, argv, "+r:w:t:p:s:m:e:")) != -1) {
		if (option == 'r')
			turns->runs = (unsigned int)strtoul(optarg, NULL, 10);
		else if (option == 'w')
			turns->warm_up = (unsigned int)strtoul(optarg, NULL, 10);
		else if (option == 't')
			turns->seconds = (unsigned int)strtoul(optarg, NULL, 10);
		else if (option == 'p')
			turns->pause_ms = (unsigned int)strtoul(optarg, NULL, 10);
		else if (option == 's')
			turns->scrub_mib = (unsigned int)strtoul(optarg, NULL, 10);
		else if (option == 'm')
			turns->marker = optarg;
		else if (option == 'e')
			turns->error_dir = optarg;
		else
			turns_fail(turns, "unknown option");
	}
	if (!turns->runs || !turns->seconds || !*turns->marker)
		turns_fail(turns, "RUNS, SECONDS and MARKER cannot be nothing");
}

/* Options, then add() for each of the commands, which `---` separates; argv of one ends with NULL. */
static inline void turns_parse(struct turns *turns, int argc, char **argv,
			       void (*add)(const struct turns *turns, char **argv))
{
	char **start;

	turns_parse_options(turns, argc, argv);
	start = argv + optind;
	for (char **at = start;; at++) {
		bool last = !*at;

		if (!last && strcmp(*at, "---") != 0)
			continue;
		*at = NULL;
		add(turns, start);
		start = at + 1;
		if (last)
			break;
	}
}

/*
 * Writes to so much memory and gives it back: the host takes first what was freed last. In an emulated host what a guest
 * has left holds code that the emulator has translated, and who writes there first waits until it has thrown that away.
 */
static inline void turns_scrub(const struct turns *turns)
{
	const size_t size = (size_t)turns->scrub_mib << 20;
	char *memory;

	if (!size)
		return;
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		turns_fail(turns, "no memory to scrub");
	madvise(memory, size, MADV_HUGEPAGE); /* as guests have it; small pages do as well */
	for (size_t at = 0; at < size; at += 4096)
		((volatile char *)memory)[at] = 1;
	munmap(memory, size);
}

/* run_once() for each of `count` commands in turn, after scrub and pause. */
static inline void turns_run(const struct turns *turns, unsigned int count,
			     void (*run_once)(const struct turns *turns, unsigned int command,
					      bool counts))
{
	signal(SIGALRM, turns_on_alarm);
	for (unsigned int round = 0; round < turns->warm_up + turns->runs; round++)
		for (unsigned int i = 0; i < count; i++) {
			turns_scrub(turns);
			usleep(turns->pause_ms * 1000);
			run_once(turns, i, round >= turns->warm_up);
		}
}
