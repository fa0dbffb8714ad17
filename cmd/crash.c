#include "cmd/crash.h"

#include <signal.h>
#include <stdnoreturn.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/thread.h"
#include "cmd/exit_codes.h"
#include "cmd/terminal.h"
#include "jailer/guard.h"

#ifndef SYS_SECCOMP
#define SYS_SECCOMP 1 /* si_code of a SIGSYS that a filter raised; glibc has no name for it */
#endif

#define PREFIX "mayfly: error: "

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

static const char *(*file_namer)(const void *addr, const char **what);
static bool (*repairer)(const void *addr);
static void (*teller)(int signal);
static int status_of_all; /* 0: each has its own */

static noreturn void leave(int exit_code)
{
	_exit(status_of_all ? status_of_all : exit_code);
}

/* The line, as the stream's own functions may be what was interrupted. */
struct words {
	char text[512];
	size_t len;
};

static void add(struct words *words, const char *text)
{
	for (; *text && words->len < sizeof(words->text) - 1; text++)
		words->text[words->len++] = *text;
}

/* To standard error first: should the log be what crashed, that has been said. */
static void say(struct words *words)
{
	const size_t len = words->len;

	words->text[len] = '\n';
	(void)!write(STDERR_FILENO, words->text, len + 1);
	words->text[len] = '\0';
	if (log_is_elsewhere())
		log_error("%s", words->text + strlen(PREFIX));
}

/* By its number if it has no name. */
static void add_system_call(struct words *words, int number)
{
	char digits[12], *at = digits + sizeof(digits) - 1;
	unsigned int rest = (unsigned int)number;

	*at = '\0';
	do
		*--at = (char)('0' + rest % 10);
	while ((rest /= 10) > 0);
	add(words, "thread ");
	add(words, thread_name());
	add(words, ": the system call ");
	add(words, guard_syscall_name(number));
	add(words, " (");
	add(words, at);
	add(words, ") is forbidden here");
}

static void on_crash(int signal, siginfo_t *info, void *context)
{
	struct words words = { .len = 0 };
	const char *what = "";
	const char *file = signal == SIGBUS && file_namer ? file_namer(info->si_addr, &what) : NULL;

	(void)context;
	if (signal == SIGBUS && repairer && repairer(info->si_addr))
		return;
	terminal_restore();
	if (teller)
		teller(signal);
	for (size_t i = 0; i < ARRAY_SIZE(crashes); i++) {
		if (crashes[i].signal != signal)
			continue;
		add(&words, PREFIX);
		if (signal == SIGSYS && info->si_code == SYS_SECCOMP) {
			add_system_call(&words, info->si_syscall);
		} else {
			add(&words, file ? file : crashes[i].text);
			add(&words, file ? what : "");
		}
		say(&words);
		leave(crashes[i].exit_code);
	}
}

void crash_setup(const char *(*name_file)(const void *addr, const char **what),
		 bool (*repair)(const void *addr))
{
	/* No SA_RESTART or mask games: the handler returns only to what could not read memory. */
	struct sigaction action = { .sa_sigaction = on_crash, .sa_flags = SA_SIGINFO };

	file_namer = name_file;
	repairer = repair;
	for (size_t i = 0; i < ARRAY_SIZE(crashes); i++)
		sigaction(crashes[i].signal, &action, NULL);
}

void crash_tell(void (*tell)(int signal))
{
	teller = tell;
}

void crash_exit_with(int status)
{
	status_of_all = status;
}
