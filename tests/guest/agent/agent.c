/*
 * The guest's agent: the first process of build/guest/agent.cpio. Sets the system up, asks the host
 * what to run (cmd/agent_protocol.h), runs it with its standard streams over vsock, tells its status
 * and powers off. On the console it speaks of trouble only.
 */
#define _GNU_SOURCE
#include "agent.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <unistd.h>

#include "cmd/agent_protocol.h"

__attribute__((format(printf, 1, 0))) static void say_args(const char *format, va_list args)
{
	fputs("agent: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
}

void say(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say_args(format, args);
	va_end(args);
}

/* Where a power-off only halts (no ACPI), a restart ends the monitor too. */
static _Noreturn void power_off(void)
{
	sync();
	if (access("/sys/firmware/acpi", F_OK) == 0)
		reboot(RB_POWER_OFF);
	reboot(RB_AUTOBOOT);
	for (;;)
		pause();
}

void give_up(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say_args(format, args);
	va_end(args);
	power_off();
}

/* The host ends the channel when it has all output; until then nothing may go. */
static void wait_for_host(int control)
{
	struct pollfd end = { .fd = control, .events = POLLIN };
	char byte;

	do
		poll(&end, 1, -1);
	while (read(control, &byte, 1) > 0);
}

int main(void)
{
	struct channels channels;
	char **argv, line[32];
	int status;

	set_up_system();
	channels.control = open_channel(AGENT_CONTROL);
	argv = read_args(channels.control);
	channels.in = open_channel(AGENT_STDIN);
	channels.out = open_channel(AGENT_STDOUT);
	channels.err = open_channel(AGENT_STDERR);
	status = run_command(argv, &channels);
	snprintf(line, sizeof(line), "status %d\n", status);
	if (write(channels.control, line, strlen(line)) < 0)
		say("cannot tell the status: %s", strerror(errno));
	wait_for_host(channels.control);
	tear_down_system();
	if (write(channels.control, "off\n", 4) < 0)
		say("cannot say the end: %s", strerror(errno));
	power_off();
}
