#include "cmd/mayctl_console.h"

#include <fcntl.h>
#include <nettle/base64.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>

#include "cmd/terminal.h"

/* Of output that we keep for a descriptor that does not take it; then the microVM's process counts what is lost. */
#define OUT_MAX MIB(16)
#define PIPE_BITE 4096u /* what a pipe that is ready takes without waiting */

static bool is_ready(int fd, short events)
{
	struct pollfd state = { .fd = fd, .events = events };

	return poll(&state, 1, 0) > 0;
}

/* From the guest --------------------------------------------------------------------------------*/

static void keep_output(struct ctl_console *console, const char *text)
{
	size_t len = strlen(text), count = 0;
	size_t wanted = console->out_len + BASE64_DECODE_LENGTH(len) + 1;
	struct base64_decode_ctx ctx;

	if (wanted > console->out_size) {
		char *more = realloc(console->out, 2 * wanted);

		if (!more)
			return;
		console->out = more;
		console->out_size = 2 * wanted;
	}
	base64_decode_init(&ctx);
	if (base64_decode_update(&ctx, &count, (uint8_t *)console->out + console->out_len, len,
				 text))
		console->out_len += count;
}

static void keep_details(json_t **place, json_t *details)
{
	json_decref(*place);
	*place = json_incref(details);
}

static void handle_event(struct ctl_console *console, const char *name, json_t *details)
{
	const char *data = json_string_value(json_object_get(details, "data"));

	if (strcmp(name, "console.output") == 0 && data) {
		console->dropped +=
			(uint64_t)json_integer_value(json_object_get(details, "dropped"));
		if (console->out_fd >= 0)
			keep_output(console, data);
	} else if (strcmp(name, "vm.ended") == 0) {
		keep_details(&console->end, details);
	} else if (strcmp(name, "vm.trace") == 0) {
		keep_details(&console->trace, details);
	}
	/* Room, or a microVM that has started, or resumed: the guest may take more. */
	console->no_room = false;
}

/* True when something came. */
static bool take_events(struct ctl_console *console)
{
	bool came = false;

	while (!console->is_over && console->out_len < OUT_MAX) {
		json_t *details = NULL;
		char *name = NULL;
		int ret = mayfly_client_event(console->client, 0, &name, &details);

		if (ret == -ETIMEDOUT)
			break;
		came = true;
		if (ret < 0)
			console->is_over = true;
		else
			handle_event(console, name, details);
		json_decref(details);
		free(name);
	}
	console->moved |= came;
	return came;
}

static size_t bite(int fd, size_t len)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? len : MIN(len, PIPE_BITE);
}

/* Others may share the descriptor, so it is not made non-blocking: it is asked first. */
static bool write_output(struct ctl_console *console)
{
	size_t done = 0;

	while (done < console->out_len && is_ready(console->out_fd, POLLOUT)) {
		ssize_t count = retry_eintr(write(console->out_fd, console->out + done,
						  bite(console->out_fd, console->out_len - done)));

		if (count < 0 && errno == EAGAIN)
			break;
		if (count < 0) { /* nobody reads it any more */
			console->out_fd = -1;
			done = console->out_len;
			if (console->needs_reader)
				ctl_console_leave(console);
			break;
		}
		done += (size_t)count;
	}
	console->out_len -= done;
	memmove(console->out, console->out + done, console->out_len);
	return done > 0;
}

/* To the guest ----------------------------------------------------------------------------------*/

static bool send_input(struct ctl_console *console)
{
	char text[BASE64_ENCODE_RAW_LENGTH(sizeof(console->pending)) + 1] = "";
	json_t *params;
	int ret;

	if (console->pending_len == 0 || console->no_room || console->write_id != 0)
		return false;
	base64_encode_raw(text, console->pending_len, console->pending);
	params = json_pack("{s:s}", "data", text);
	console->write_len = console->pending_len;
	ret = mayfly_client_send(console->client, "console.write", params, NULL, 0,
				 &console->write_id);
	json_decref(params);
	console->is_over |= ret < 0;
	return true;
}

/* A microVM that has not started refuses; it takes its input when it has. */
static bool take_answer(struct ctl_console *console)
{
	json_t *result = NULL;
	size_t taken = 0;

	if (console->write_id == 0 || !mayfly_client_answered(console->client, console->write_id))
		return false;
	if (mayfly_client_receive(console->client, console->write_id, &result) == 0)
		taken = (size_t)json_integer_value(json_object_get(result, "taken"));
	json_decref(result);
	console->write_id = 0;
	taken = MIN(taken, console->write_len);
	console->no_room = taken < console->write_len;
	console->pending_len -= taken;
	memmove(console->pending, console->pending + taken, console->pending_len);
	return true;
}

/* The keys of a terminal are looked at whatever the guest does; a pipe waits. */
static bool read_input(struct ctl_console *console)
{
	uint8_t bytes[sizeof(console->pending)];
	ssize_t count;

	if (!console->has_input || console->input_ended ||
	    (console->pending_len > 0 && !console->is_terminal) || !is_ready(STDIN_FILENO, POLLIN))
		return false;
	count = read(STDIN_FILENO, bytes, sizeof(bytes));
	if (count <= 0) {
		/* EIO: a terminal that is another program's just now, or is gone. */
		console->input_ended = count == 0 || errno != EINTR;
		return false;
	}
	if (console->is_terminal)
		count = (ssize_t)escape_keys_filter(&console->keys, bytes, (size_t)count);
	console->pending_len = escape_keys_keep(console->pending, console->pending_len,
						sizeof(console->pending), bytes, (size_t)count);
	return true;
}

/* The loop --------------------------------------------------------------------------------------*/

void ctl_console_leave(struct ctl_console *console)
{
	console->is_over = console->was_left = true;
}

static void on_quiet(struct loop_timer *timer)
{
	struct ctl_console *console = container_of(timer, struct ctl_console, quiet);

	if (!console->moved && console->input_ended && console->pending_len == 0)
		ctl_console_leave(console);
	console->moved = false;
	loop_timer_arm(timer, (uint64_t)console->patience_ms * 1000000);
	ctl_console_turn(console);
}

void ctl_console_turn(struct ctl_console *console)
{
	bool more = true;

	while (more) {
		more = take_events(console);
		more |= write_output(console);
		more |= take_answer(console);
		if (!console->is_over) {
			more |= read_input(console);
			more |= send_input(console);
		}
	}
	if (console->is_over && console->out_len == 0)
		event_loop_quit(console->loop);
}

static void on_socket(struct loop_watch *watch)
{
	ctl_console_turn(container_of(watch, struct ctl_console, socket));
}

static void on_input(struct loop_watch *watch)
{
	ctl_console_turn(container_of(watch, struct ctl_console, input));
}

static void on_output(struct loop_watch *watch)
{
	ctl_console_turn(container_of(watch, struct ctl_console, output));
}

/* EPERM: a regular file or /dev/null, which is always ready; EBADF: closed. */
static int watch(struct ctl_console *console, struct loop_watch *watch, int fd, bool writable,
		 void (*ready)(struct loop_watch *))
{
	int ret;

	*watch = (struct loop_watch){ .fd = fd, .writable = writable, .ready = ready };
	ret = fd < 0 ? 0 : event_loop_watch(console->loop, watch);
	if (ret < 0 && ret != -EPERM && ret != -EBADF)
		return ctl_fail(CTL_NO_CONNECTION, "cannot watch a descriptor: %s",
				strerrordesc_np(-ret));
	return CTL_OK;
}

/* A copy: one that carries an agent's streams watches the same descriptor, and epoll has each number once. */
static int watch_output(struct ctl_console *console)
{
	int fd = console->out_fd < 0 ? -1 : fcntl(console->out_fd, F_DUPFD_CLOEXEC, 3);

	return watch(console, &console->output, fd, true, on_output);
}

int ctl_console_open(struct ctl_console *console, struct ctl *ctl)
{
	json_t *kinds = json_pack("{s:[s,s,s]}", "events", "vm.state", "vm.trace", "vm.ended");
	int ret = mayfly_client_call(console->client, "events.subscribe", kinds, NULL);

	json_decref(kinds);
	if (ret == 0)
		ret = mayfly_client_call(console->client, "console.attach", NULL, NULL);
	console->is_terminal = console->has_input && isatty(STDIN_FILENO);
	return ret < 0 ? ctl_fail_call(ctl, ret) : CTL_OK;
}

int ctl_console_start(struct ctl_console *console)
{
	int status = watch(console, &console->socket, mayfly_client_fd(console->client), false,
			   on_socket);

	if (status == CTL_OK && console->has_input)
		status = watch(console, &console->input, STDIN_FILENO, false, on_input);
	if (status == CTL_OK)
		status = watch_output(console);
	if (status != CTL_OK)
		return status;
	if (console->has_input)
		terminal_make_raw(STDIN_FILENO);
	if (console->patience_ms >= 0 && !console->is_terminal &&
	    loop_timer_init(&console->quiet, console->loop, on_quiet) == 0)
		loop_timer_arm(&console->quiet, (uint64_t)console->patience_ms * 1000000);
	ctl_console_turn(console);
	return CTL_OK;
}

void ctl_console_close(struct ctl_console *console)
{
	terminal_restore();
	loop_timer_fini(&console->quiet);
	if (console->loop) {
		event_loop_unwatch(console->loop, &console->socket);
		event_loop_unwatch(console->loop, &console->input);
		event_loop_unwatch(console->loop, &console->output);
		close_fd(&console->output.fd);
	}
	if (console->dropped > 0)
		fprintf(stderr, "mayctl: %lu bytes of the guest's output are lost\n",
			console->dropped);
	json_decref(console->end);
	json_decref(console->trace);
	free(console->out);
}
