#include "cmd/crash.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "cmd/exit_codes.h"
#include "cmd/terminal.h"

static const struct {
	int signal;
	int exit_code;
	const char *text;
} crashes[] = {
	{ SIGSEGV, EXIT_SEGV, "SIGSEGV: a bug in mayfly, please report it" },
	{ SIGBUS, EXIT_LOST_MEMORY, "SIGBUS: a page of a mapped file cannot be read" },
	{ SIGILL, EXIT_BAD_INSTRUCTION, "SIGILL: a bug in mayfly, or the wrong processor" },
	{ SIGFPE, EXIT_SIGNAL_BASE + SIGFPE, "SIGFPE: a bug in mayfly, please report it" },
	{ SIGABRT, EXIT_SIGNAL_BASE + SIGABRT, "SIGABRT: a bug in mayfly, please report it" },
	{ SIGTRAP, EXIT_SIGNAL_BASE + SIGTRAP, "SIGTRAP: a bug in mayfly, please report it" },
	{ SIGSYS, EXIT_BAD_SYSCALL, "SIGSYS: a system call that is forbidden here" },
};

static const char *(*file_namer)(const void *addr);
static bool (*repairer)(const void *addr);

static void say(const char *text)
{
	if (write(STDERR_FILENO, text, strlen(text)) < 0)
		return;
}

static void on_crash(int signal, siginfo_t *info, void *context)
{
	const char *file = signal == SIGBUS && file_namer ? file_namer(info->si_addr) : NULL;

	(void)context;
	if (signal == SIGBUS && repairer && repairer(info->si_addr))
		return;
	terminal_restore();
	for (size_t i = 0; i < ARRAY_SIZE(crashes); i++) {
		if (crashes[i].signal != signal)
			continue;
		say("mayfly: error: ");
		say(file ? file : crashes[i].text);
		say(file ? " was cut short while the guest was running from it\n" : "\n");
		_exit(crashes[i].exit_code);
	}
}

void crash_setup(const char *(*name_file)(const void *addr), bool (*repair)(const void *addr))
{
	/* No SA_RESTART or mask games: the handler returns only to what could not read memory. */
	struct sigaction action = { .sa_sigaction = on_crash, .sa_flags = SA_SIGINFO };

	file_namer = name_file;
	repairer = repair;
	for (size_t i = 0; i < ARRAY_SIZE(crashes); i++)
		sigaction(crashes[i].signal, &action, NULL);
}
