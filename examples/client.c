/*
 * Starts a microVM behind an API socket and waits for its end.
 *
 *	cc client.c $(pkg-config --cflags --libs mayfly-client) -o client
 *	mayfly --api-sock /tmp/vm.sock &
 *	./client /tmp/vm.sock vmlinux
 */
#include <err.h>
#include <mayfly/client.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void call(struct mayfly_client *vm, const char *method, json_t *params)
{
	if (mayfly_client_call(vm, method, params, NULL) < 0)
		errx(1, "%s: %s", method, mayfly_client_error(vm));
	json_decref(params);
}

int main(int argc, char **argv)
{
	struct mayfly_client *vm;
	json_t *details;
	char *event;
	int ret;

	if (argc != 3)
		errx(2, "usage: client SOCKET KERNEL");
	ret = mayfly_client_open(&vm, argv[1]);
	if (ret < 0)
		errx(1, "%s: %s", argv[1], strerror(-ret));
	call(vm, "events.subscribe", json_pack("{s:[s]}", "events", "vm.ended"));
	call(vm, "machine.put", json_pack("{s:i, s:i}", "vcpu_count", 1, "mem_size_mib", 128));
	call(vm, "boot.put", json_pack("{s:s}", "kernel_image_path", argv[2]));
	call(vm, "action", json_pack("{s:s}", "action_type", "InstanceStart"));
	if (mayfly_client_event(vm, -1, &event, &details) < 0)
		errx(1, "%s", mayfly_client_error(vm));
	printf("%s: %s\n", event, json_string_value(json_object_get(details, "how")));
	free(event);
	json_decref(details);
	mayfly_client_close(vm);
	return 0;
}
