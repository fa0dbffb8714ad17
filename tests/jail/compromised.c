/*
 * The monitor with a hole in it, for end-to-end tests: whoever sends one of its threads a SIGTRAP with a number has that
 * thread, armed and with all that it holds, make the attempt in that line of /attempts ("NAME ARGUMENT") and say how it
 * went. SIGTRAP, since no thread blocks it. The file is read at the start, before anything is guarded.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "cmd/crash.h"
#include "tests/jail/attempts.h"

#define LINES_MAX 16

struct line {
	char name[32], argument[256];
};

static struct line lines[LINES_MAX];
static struct event_loop *first_loop;

/* What the linker puts in the place of the monitor's calls, and what those called (-Wl,--wrap). */
void __real_crash_setup(const char *(*name_file)(const void *addr, const char **what),
			bool (*repair)(const void *addr));
void __wrap_crash_setup(const char *(*name_file)(const void *addr, const char **what),
			bool (*repair)(const void *addr));
int __real_event_loop_start(struct event_loop **out, enum event_loop_kind kind, const char *name,
			    struct error *err);
int __wrap_event_loop_start(struct event_loop **out, enum event_loop_kind kind, const char *name,
			    struct error *err);

static void injected(int signal, siginfo_t *info, void *context)
{
	const int number = info->si_value.sival_int;
	attempt_function *attempt;

	(void)signal;
	(void)context;
	if (number < 0 || number >= LINES_MAX)
		return;
	attempt = attempt_find(lines[number].name);
	if (!attempt)
		return;
	attempt_use(first_loop, lines[number].argument);
	attempt_make(attempt);
}

void __wrap_crash_setup(const char *(*name_file)(const void *addr, const char **what),
			bool (*repair)(const void *addr))
{
	const struct sigaction action = { .sa_sigaction = injected, .sa_flags = SA_SIGINFO };
	FILE *file = fopen("/attempts", "re");

	__real_crash_setup(name_file, repair);
	for (int i = 0; file && i < LINES_MAX; i++)
		if (fscanf(file, "%31s %255s", lines[i].name, lines[i].argument) != 2)
			break;
	if (file)
		fclose(file);
	sigaction(SIGTRAP, &action, NULL);
}

int __wrap_event_loop_start(struct event_loop **out, enum event_loop_kind kind, const char *name,
			    struct error *err)
{
	int ret = __real_event_loop_start(out, kind, name, err);

	if (ret == 0 && !first_loop)
		first_loop = *out;
	return ret;
}
