#include "cmd/terminal.h"

#include <signal.h>
#include <termios.h>
#include <unistd.h>

static struct termios original;
static int terminal_fd;
static volatile sig_atomic_t is_raw;

bool terminal_make_raw(int fd)
{
	struct termios raw;

	/* In the background the terminal is another program's. */
	if (!isatty(fd) || tcgetpgrp(fd) != getpgrp())
		return false;
	if (!is_raw && tcgetattr(fd, &original) < 0)
		return false;
	raw = original;
	cfmakeraw(&raw);
	raw.c_oflag = original.c_oflag; /* messages of ours still end in a newline alone */
	terminal_fd = fd;
	if (tcsetattr(fd, TCSANOW, &raw) < 0)
		return false;
	is_raw = 1;
	return true;
}

bool terminal_take(int fd)
{
	return !is_raw && terminal_make_raw(fd);
}

void terminal_restore(void)
{
	if (!is_raw)
		return;
	is_raw = 0;
	tcsetattr(terminal_fd, TCSANOW, &original);
}
