/* Any bytes as a configuration file. Files and devices that it would name are out of reach. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "api-socket/config_file.h"
#include "api-socket/controller.h"
#include "tests/fuzz/no_guest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct controller_params params = no_guest_params();
	struct controller *controller;
	struct error err = { 0 };
	char path[40];
	int fd;

	if (memmem(data, size, "log_path", 8) || memmem(data, size, "metrics_path", 12) ||
	    memmem(data, size, "cpu-config\":\"", 13))
		return 0;
	fd = memfd_create("config", MFD_CLOEXEC);
	if (fd < 0 || write(fd, data, size) != (ssize_t)size ||
	    event_loop_create(&params.loop, EVENT_LOOP_EPOLL, "fuzz", &err) < 0 ||
	    controller_create(&controller, &params, &err) < 0)
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (config_file_load(controller, path, &err) < 0 && !err.text[0])
		abort();
	controller_destroy(controller);
	event_loop_destroy(params.loop);
	close_fd(&fd);
	return 0;
}
