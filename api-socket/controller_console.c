#include "api-socket/controller_console.h"

#include <nettle/base64.h>
#include <sys/eventfd.h>

#include "api-socket/controller_priv.h"
#include "base/loop_timer.h"
#include "vmm/legacy/console_tap.h"
#include "vmm/legacy/serial.h"

/* Of output in a notification: a multiple of three, so that base64 needs no padding in between. */
#define PIECE_MAX 3072u
#define PIECES_A_TURN 8u
#define INPUT_MAX 4096u

/* Output is gathered for so long: a guest writes byte by byte, and a notification of a byte is all envelope. */
#define GATHER_NS 1000000u

struct controller_console {
	struct controller *controller;
	struct console_tap tap;
	struct loop_watch watch; /* an eventfd: there is output, or room for input */
	struct loop_timer gather;
	unsigned int attached;
	uint8_t input[INPUT_MAX]; /* from clients, not yet taken by the port */
	size_t input_len;
	bool fell_short; /* somebody waits for room */
};

/* Output ----------------------------------------------------------------------------------------*/

static void tell(struct controller *controller, const char *name, json_t *detail, size_t bytes)
{
	for (struct listener *at = controller->listeners.first; at && detail; at = at->next)
		if (at->attached)
			at->console(at, name, detail, bytes);
	json_decref(detail);
}

static void hand_on(struct controller *controller, const uint8_t *bytes, size_t count,
		    uint64_t lost)
{
	char text[BASE64_ENCODE_RAW_LENGTH(PIECE_MAX)];

	base64_encode_raw(text, count, bytes);
	tell(controller, "console.output",
	     json_pack("{s:s#, s:I}", "data", text, (int)BASE64_ENCODE_RAW_LENGTH(count), "dropped",
		       (json_int_t)lost),
	     count);
}

/* True when there may be more. */
static bool drain(struct controller_console *console, unsigned int pieces)
{
	uint8_t piece[PIECE_MAX];
	size_t count = 1;
	uint64_t lost;

	for (unsigned int i = 0; i < pieces && count > 0; i++) {
		count = console_tap_take(&console->tap, piece, sizeof(piece), &lost);
		if (count > 0)
			hand_on(console->controller, piece, count, lost);
	}
	return count > 0;
}

/* Input -----------------------------------------------------------------------------------------*/

static void pump(struct controller_console *console)
{
	struct machine *machine = console->controller->machine;
	size_t taken = 0;

	if (machine && console->input_len > 0)
		taken = serial_receive(machine_serial(machine), console->input, console->input_len);
	console->input_len -= taken;
	memmove(console->input, console->input + taken, console->input_len);
	if (console->input_len > 0 || !console->fell_short)
		return;
	console->fell_short = false;
	tell(console->controller, "console.room", json_object(), 0);
}

/* The eventfd ------------------------------------------------------------------------------------*/

/* Any thread. */
static void wake(void *opaque)
{
	const struct controller_console *console = opaque;
	const uint64_t one = 1;

	if (write(console->watch.fd, &one, sizeof(one)) < 0)
		return; /* it counts already, which is as good */
}

static void on_ready(struct loop_watch *watch)
{
	struct controller_console *console = container_of(watch, struct controller_console, watch);
	uint64_t count;

	if (read(watch->fd, &count, sizeof(count)) < 0)
		return;
	pump(console);
	if (!console->gather.armed)
		loop_timer_arm(&console->gather, GATHER_NS);
}

static void on_gathered(struct loop_timer *timer)
{
	struct controller_console *console = container_of(timer, struct controller_console, gather);

	if (drain(console, PIECES_A_TURN))
		loop_timer_arm(timer, 0);
}

/* Made when it is first needed. NULL and *err. */
static struct controller_console *get(struct controller *controller, struct error *err)
{
	struct controller_console *console = controller->console;
	int ret;

	if (console)
		return console;
	console = calloc(1, sizeof(*console));
	if (!console) {
		error_set(err, ENOMEM, "out of memory");
		return NULL;
	}
	console->controller = controller;
	console->watch = (struct loop_watch){ .ready = on_ready };
	console->watch.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ret = console->watch.fd < 0 ? -errno : event_loop_watch(controller->loop, &console->watch);
	if (ret == 0)
		ret = loop_timer_init(&console->gather, controller->loop, on_gathered);
	if (ret < 0) {
		error_set_errno(err, ret, "console: cannot watch an eventfd");
		event_loop_unwatch(controller->loop, &console->watch);
		close_fd(&console->watch.fd);
		free(console);
		return NULL;
	}
	console_tap_init(&console->tap, console->watch.fd);
	controller->console = console;
	return console;
}

/* For clients -----------------------------------------------------------------------------------*/

int controller_console_attach(struct controller *controller, struct listener *listener,
			      struct error *err)
{
	struct controller_console *console = get(controller, err);

	if (!console)
		return err->code;
	if (listener->attached)
		return 0;
	if (console_tap_open(&console->tap) < 0)
		return error_set(err, ENOMEM, "out of memory");
	listener->attached = true;
	console->attached++;
	return 0;
}

void controller_console_detach(struct controller *controller, struct listener *listener)
{
	if (!listener->attached)
		return;
	listener->attached = false;
	if (--controller->console->attached == 0)
		console_tap_close(&controller->console->tap);
}

ssize_t controller_console_write(struct controller *controller, const uint8_t *bytes, size_t count,
				 struct error *err)
{
	struct controller_console *console = get(controller, err);
	size_t taken;

	if (!console)
		return err->code;
	pump(console);
	taken = MIN(count, INPUT_MAX - console->input_len);
	memcpy(console->input + console->input_len, bytes, taken);
	console->input_len += taken;
	pump(console);
	console->fell_short |= taken < count;
	return (ssize_t)taken;
}

/* For the controller ----------------------------------------------------------------------------*/

int controller_console_connect(struct controller *controller, struct error *err)
{
	struct controller_console *console = get(controller, err);

	if (!console)
		return err->code;
	machine_tap_serial(controller->machine, &console->tap);
	machine_on_serial_room(controller->machine, wake, console);
	return 0;
}

void controller_console_disconnect(struct controller *controller)
{
	struct controller_console *console = controller->console;

	if (!console)
		return;
	console->tap.room = NULL;
	console->input_len = 0;
}

void controller_console_flush(struct controller *controller)
{
	if (controller->console)
		drain(controller->console, CONSOLE_TAP_SIZE / PIECE_MAX + 1);
}

void controller_console_destroy(struct controller *controller)
{
	struct controller_console *console = controller->console;

	if (!console)
		return;
	loop_timer_fini(&console->gather);
	event_loop_unwatch(controller->loop, &console->watch);
	close_fd(&console->watch.fd);
	console_tap_fini(&console->tap);
	free(console);
	controller->console = NULL;
}
