/*
 * The control plane's times, seen from outside.
 *
 *   bench-api start RUNS SOCKET PROGRAM...       from spawn to a connection, and to the answer of GET /
 *   bench-api calls CALLS CLIENTS SOCKET         round trips of GET /machine-config, by CLIENTS threads
 *   bench-api --api-sock SOCKET                  listens and answers, and does nothing else: the least possible
 *
 * Prints `start connect=P50,P99,MIN answer=P50,P99,MIN` or `calls round=P50,P99,MIN rate=N`, in µs and a second.
 */
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/util.h"
#include "benches/stats.h"

#define PATIENCE_US 5000000.0

extern char **environ;

static double now_us(void)
{
	return (double)clock_now_ns(CLOCK_MONOTONIC) / 1e3;
}

static void print_times(const char *name, double *times, size_t count)
{
	struct stats stats = stats_of(times, (unsigned int)count);

	printf(" %s=%.1f,%.1f,%.1f", name, stats.p50, stats.p99, stats.min);
}

static int try_connect(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	close_fd(&fd);
	return -1;
}

/* A request and its answer, whose body ends with a brace. */
static bool call(int fd, const char *path)
{
	char text[2048];
	size_t len = 0;
	int count = snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\n\r\n", path);

	if (write(fd, text, (size_t)count) != count)
		return false;
	while (len == 0 || text[len - 1] != '}') {
		ssize_t more = read(fd, text + len, sizeof(text) - len);

		if (more <= 0)
			return false;
		len += (size_t)more;
	}
	return strncmp(text, "HTTP/1.1 200", 12) == 0;
}

static int start_once(const char *path, char **program, double *connected, double *answered)
{
	double start = now_us();
	pid_t pid;
	int fd = -1;
	bool good;

	if (posix_spawn(&pid, program[0], NULL, NULL, program, environ) != 0)
		return -1;
	while (fd < 0 && now_us() - start < PATIENCE_US)
		fd = try_connect(path);
	*connected = now_us() - start;
	good = fd >= 0 && call(fd, "/");
	*answered = now_us() - start;
	close_fd(&fd);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	unlink(path);
	return good ? 0 : -1;
}

static int measure_start(size_t runs, const char *path, char **program)
{
	double *connected = calloc(runs, sizeof(*connected));
	double *answered = calloc(runs, sizeof(*answered));
	int ret = connected && answered ? 0 : -1;

	for (size_t i = 0; i < runs && ret == 0; i++)
		ret = start_once(path, program, &connected[i], &answered[i]);
	if (ret == 0) {
		printf("start");
		print_times("connect", connected, runs);
		print_times("answer", answered, runs);
		printf("\n");
	}
	free(connected);
	free(answered);
	return ret;
}

struct client {
	pthread_t thread;
	const char *path;
	double *times;
	size_t calls;
	bool failed;
};

static void *run_client(void *opaque)
{
	struct client *client = opaque;
	cleanup_fd int fd = try_connect(client->path);

	client->failed = fd < 0;
	for (size_t i = 0; i < client->calls && !client->failed; i++) {
		double start = now_us();

		client->failed = !call(fd, "/machine-config");
		client->times[i] = now_us() - start;
	}
	return NULL;
}

static int measure_calls(size_t calls, size_t count, const char *path)
{
	struct client *clients = calloc(count, sizeof(*clients));
	double *times = calloc(calls * count, sizeof(*times));
	double start = now_us(), seconds;
	bool failed = !clients || !times;

	for (size_t i = 0; i < count && !failed; i++) {
		clients[i] =
			(struct client){ .path = path, .times = times + i * calls, .calls = calls };
		failed = pthread_create(&clients[i].thread, NULL, run_client, &clients[i]) != 0;
	}
	for (size_t i = 0; i < count && !failed; i++)
		pthread_join(clients[i].thread, NULL);
	for (size_t i = 0; i < count && !failed; i++)
		failed = clients[i].failed;
	seconds = (now_us() - start) / 1e6;
	if (!failed) {
		printf("calls");
		print_times("round", times, calls * count);
		printf(" rate=%.0f\n", (double)(calls * count) / seconds);
	}
	free(clients);
	free(times);
	return failed ? -1 : 0;
}

static int serve_least(const char *path)
{
	static const char answer[] = "HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\n{}";
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char request[1024];

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 1) < 0)
		return 1;
	for (;;) {
		cleanup_fd int client = accept(fd, NULL, NULL);

		if (read(client, request, sizeof(request)) > 0 &&
		    write(client, answer, sizeof(answer) - 1) < 0)
			return 1;
	}
}

int main(int argc, char **argv)
{
	size_t number = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;

	if (argc == 3 && strcmp(argv[1], "--api-sock") == 0)
		return serve_least(argv[2]);
	if (argc > 4 && number && strcmp(argv[1], "start") == 0)
		return measure_start(number, argv[3], argv + 4) < 0;
	if (argc == 5 && number && strcmp(argv[1], "calls") == 0)
		return measure_calls(number, strtoul(argv[3], NULL, 10), argv[4]) < 0;
	fprintf(stderr, "bench-api: start RUNS SOCKET PROGRAM... or calls CALLS CLIENTS SOCKET\n");
	return 2;
}
