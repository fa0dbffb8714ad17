#include "cmd/console.h"

#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>

#include "cmd/terminal.h"
#include "vmm/legacy/serial.h"

/* Standard input may be shared with the shell, so it is not made non-blocking: it is asked first. */
static bool read_more(struct console *console)
{
	struct pollfd ready = { .fd = STDIN_FILENO, .events = POLLIN };
	uint8_t bytes[sizeof(console->pending)];
	ssize_t count;

	if (console->at_end || poll(&ready, 1, 0) <= 0)
		return false;
	count = read(STDIN_FILENO, bytes, sizeof(bytes));
	if (count <= 0) {
		/* EIO: a terminal that is another program's just now, or is gone. A Ctrl-D ends no input. */
		console->at_end = count == 0 && !terminal_take(STDIN_FILENO);
		return false;
	}
	terminal_take(STDIN_FILENO);
	if (console->is_terminal)
		count = (ssize_t)escape_keys_filter(&console->keys, bytes, (size_t)count);
	console->pending_len = escape_keys_keep(console->pending, console->pending_len,
						sizeof(console->pending), bytes, (size_t)count);
	return true;
}

/* A full port stops the reading, and room() starts it again; but the keys of a terminal are looked at
 * whatever the guest does, or a guest that hangs could not be quit. */
static void pump(struct console *console)
{
	do {
		size_t taken = serial_receive(console->serial, console->pending,
					      console->pending_len);

		console->pending_len -= taken;
		memmove(console->pending, console->pending + taken, console->pending_len);
		if (console->pending_len && !console->is_terminal)
			return;
	} while (read_more(console));
}

static void on_input(struct loop_watch *watch)
{
	pump(container_of(watch, struct console, input));
}

static void on_room(struct loop_watch *watch)
{
	pump(container_of(watch, struct console, room));
}

static void signal_room(void *opaque)
{
	const struct console *console = opaque;
	const uint64_t one = 1;

	if (write(console->room.fd, &one, sizeof(one)) < 0)
		return;
}

int console_init(struct console *console, struct event_loop *loop, struct machine *machine,
		 struct error *err)
{
	console->loop = loop;
	console->serial = machine_serial(machine);
	console->is_terminal = isatty(STDIN_FILENO);
	console->keys.quit_help = "end the microVM";
	console->input = (struct loop_watch){ .fd = STDIN_FILENO, .ready = on_input };
	console->room = (struct loop_watch){ .ready = on_room };
	console->room.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (console->room.fd < 0)
		return error_set_errno(err, errno, "console: cannot make an eventfd");
	machine_on_serial_room(machine, signal_room, console);
	return 0;
}

int console_start(struct console *console, struct error *err)
{
	int ret = event_loop_watch(console->loop, &console->room);

	if (ret < 0)
		return error_set_errno(err, ret, "console: cannot watch an eventfd");
	ret = event_loop_watch(console->loop, &console->input);
	/* EPERM: a regular file or /dev/null, which is always ready; EBADF: closed. */
	if (ret < 0 && ret != -EPERM && ret != -EBADF)
		return error_set_errno(err, ret, "console: cannot watch standard input");
	console->at_end = ret == -EBADF;
	terminal_make_raw(STDIN_FILENO);
	pump(console);
	return 0;
}

void console_stop(struct console *console)
{
	terminal_restore();
	if (!console->loop)
		return;
	event_loop_unwatch(console->loop, &console->input);
	event_loop_unwatch(console->loop, &console->room);
	close_fd(&console->room.fd);
}
