/*
 * How often the control plane allocates for a call, in both of its languages: the server as it is, in a thread, and
 * malloc() and its kin counted there (the linker puts ours in front: mk/bench.mk).
 *
 *   bench-allocs CALLS SOCKET
 *
 * Prints a line a request: `NAME rpc=N,BYTES http=N,BYTES`, for each call.
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "api-socket/server.h"
#include "base/log.h"
#include "tests/fuzz/no_guest.h"

#define WARM_UP 50

static _Thread_local bool is_server;
static atomic_ulong allocations, allocated;

static void count(size_t size)
{
	if (!is_server)
		return;
	atomic_fetch_add_explicit(&allocations, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&allocated, size, memory_order_relaxed);
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t number, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t number, size_t size);
void *__wrap_realloc(void *old, size_t size);

void *__wrap_malloc(size_t size)
{
	count(size);
	return __real_malloc(size);
}

void *__wrap_calloc(size_t number, size_t size)
{
	count(number * size);
	return __real_calloc(number, size);
}

void *__wrap_realloc(void *old, size_t size)
{
	count(size);
	return __real_realloc(old, size);
}

/* The server ------------------------------------------------------------------------------------*/

struct server {
	const char *path;
	struct event_loop *loop;
};

static void *serve(void *opaque)
{
	struct server *server = opaque;
	struct controller_params params = no_guest_params();
	struct api_server_params serving = { .payload_max = API_PAYLOAD_MAX_DEFAULT,
					     .end = nothing };
	struct controller *controller;
	struct api_server *api;
	struct error err = { 0 };

	is_server = true;
	if (event_loop_create(&server->loop, EVENT_LOOP_EPOLL, "control", &err) < 0)
		exit(1);
	params.loop = serving.loop = server->loop;
	if (controller_create(&controller, &params, &err) < 0)
		exit(1);
	serving.controller = controller;
	if (api_server_create(&api, server->path, &err) < 0 ||
	    api_server_serve(api, &serving, &err) < 0) {
		fprintf(stderr, "bench-allocs: %s\n", err.text);
		exit(1);
	}
	event_loop_run(server->loop);
	return NULL;
}

/* Calls -----------------------------------------------------------------------------------------*/

static int connect_to(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	for (int i = 0; i < 1000; i++) {
		if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
			return fd;
		usleep(1000);
	}
	exit(1);
}

struct request {
	const char *name, *rpc, *http;
	size_t rpc_len;
};

#define RPC(text) .rpc = (text), .rpc_len = sizeof(text) - 1

static const struct request requests[] = {
	{ .name = "vm.info", RPC("\x94\x00\x01\xa7vm.info\x90"), .http = "GET / HTTP/1.1\r\n\r\n" },
	{ .name = "machine.put",
	  RPC("\x94\x00\x01\xabmachine.put\x91\x82\xaavcpu_count\x01\xacmem_size_mib\x40"),
	  .http = "PUT /machine-config HTTP/1.1\r\nContent-Length: 34\r\n\r\n"
		  "{\"vcpu_count\":1,\"mem_size_mib\":64}" },
	{ .name = "drive.put",
	  RPC("\x94\x00\x01\xa9"
	      "drive.put\x91\x83\xa8"
	      "drive_id\xa4root\xaeis_root_device\xc3\xacpath_on_host\xa9/dev/zero"),
	  .http = "PUT /drives/root HTTP/1.1\r\nContent-Length: 68\r\n\r\n"
		  "{\"drive_id\":\"root\",\"is_root_device\":true,\"path_on_host\":\"/dev/zero\"}" },
};

/* Every answer comes in one piece: they are short. */
static void call(int fd, const char *request, size_t len, size_t calls)
{
	char answer[4096];

	for (size_t i = 0; i < calls; i++)
		if (write(fd, request, len) != (ssize_t)len ||
		    read(fd, answer, sizeof(answer)) <= 0)
			exit(1);
}

static void measure(int fd, const char *language, const char *request, size_t len, size_t calls)
{
	call(fd, request, len, WARM_UP);
	atomic_store(&allocations, 0);
	atomic_store(&allocated, 0);
	call(fd, request, len, calls);
	printf(" %s=%.2f,%.0f", language, (double)atomic_load(&allocations) / (double)calls,
	       (double)atomic_load(&allocated) / (double)calls);
}

int main(int argc, char **argv)
{
	size_t calls = argc == 3 ? strtoul(argv[1], NULL, 10) : 0;
	struct server server = { .path = argc == 3 ? argv[2] : NULL };
	pthread_t thread;
	int rpc, http;

	if (calls == 0 || pthread_create(&thread, NULL, serve, &server) != 0) {
		fprintf(stderr, "bench-allocs: CALLS SOCKET\n");
		return 2;
	}
	rpc = connect_to(server.path);
	http = connect_to(server.path);
	for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
		printf("%s", requests[i].name);
		measure(rpc, "rpc", requests[i].rpc, requests[i].rpc_len, calls);
		measure(http, "http", requests[i].http, strlen(requests[i].http), calls);
		printf("\n");
	}
	unlink(server.path);
	return 0;
}
