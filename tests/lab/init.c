/* Process 1 of the emulated host: makes it look like the machine, runs one command, tells its status.
 * It never powers off: the host ends the emulator when it has the status. */
#include "command.h"
#include "frame.h"
#include "hold-vm.h"
#include "machine.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int port = -1;

_Noreturn void lab_fail(const char *format, ...)
{
	struct frame f = { .type = FRAME_FAILED };
	int error = errno;
	va_list args;

	va_start(args, format);
	int n = vsnprintf(f.data, 256, format, args);
	va_end(args);
	n += snprintf(f.data + n, 256, ": %s", strerror(error));
	f.len = (uint32_t)n;
	if (port >= 0)
		frame_send(port, &f);
	else
		fprintf(stderr, "lab: %s\n", f.data); /* the console, which the host shows */
	for (;;)
		pause();
}

/* The kernel makes the port when the host has answered a few messages, which nobody waits for. */
static void open_port(void)
{
	for (int tries = 0; tries < 2000; tries++) {
		port = open("/dev/vport0p1", O_RDWR | O_CLOEXEC);
		if (port >= 0)
			return;
		usleep(5000);
	}
	lab_fail("cannot open the port to the host");
}

static struct frame_start wait_for_start(void)
{
	static struct frame f = { .type = FRAME_READY };
	struct frame_start start;

	if (!frame_send(port, &f) || !frame_receive(port, &f) || f.type != FRAME_START)
		lab_fail("the host did not answer");
	memcpy(&start, f.data, sizeof(start));
	clock_settime(CLOCK_REALTIME, &(struct timespec){ start.sec, start.nsec });
	return start;
}

/* The kernel starts us with the console open. */
int main(void)
{
	mount_devices();
	struct job job = read_job("/job", "/env");
	load_modules("/modules", "/lib-modules");
	mount_machine(&job);
	const char *error = hold_vms();
	open_port();
	if (error)
		lab_fail("%s", error);
	struct frame_start start = wait_for_start();
	run_command(&job, &start, port);
	for (;;)
		pause();
}
