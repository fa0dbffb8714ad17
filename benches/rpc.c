/*
 * Round trips over a microVM's API socket, in both of its languages.
 *
 *   bench-rpc rpc|http CALLS CLIENTS DEPTH SOCKET
 *
 * Each of CLIENTS threads calls CALLS times for the machine's configuration, DEPTH requests at a time in one write.
 * Prints `calls batch=P50,P99,MIN rate=N`: µs from a write to its last answer, and calls a second of all threads.
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "api-socket/rpc_tree.h"
#include "base/clock.h"
#include "base/util.h"
#include "benches/stats.h"

#define DEPTH_MAX 64
#define ANSWERS_SIZE 65536

struct client {
	pthread_t thread;
	const char *path;
	bool is_rpc, failed;
	size_t batches, depth;
	double *times;
};

static double now_us(void)
{
	return (double)clock_now_ns(CLOCK_MONOTONIC) / 1e3;
}

static int connect_to(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		close_fd(&fd);
	return fd;
}

/* The answers in what came; SIZE_MAX: a refusal. */
static size_t count_rpc(const uint8_t *bytes, size_t count)
{
	size_t answers = 0, at = 0, len;
	const char *why;

	while (at < count &&
	       rpc_measure(bytes + at, count - at, ANSWERS_SIZE, &len, &why) == RPC_WHOLE) {
		/* [1, id, nil, ...]: the id takes one byte. */
		if (len < 5 || bytes[at + 3] != 0xc0)
			return SIZE_MAX;
		at += len;
		answers++;
	}
	return answers;
}

/* The body of each is an object without another inside, and no header has a brace. */
static size_t count_http(const uint8_t *bytes, size_t count)
{
	size_t answers = 0;

	if (count >= 12 && memcmp(bytes, "HTTP/1.1 200", 12) != 0)
		return SIZE_MAX;
	for (size_t i = 0; i < count; i++)
		answers += bytes[i] == '}';
	return answers;
}

static bool call(const struct client *client, int fd, const char *requests, size_t len)
{
	uint8_t answers[ANSWERS_SIZE];
	size_t have = 0, done = 0;

	if (write(fd, requests, len) != (ssize_t)len)
		return false;
	while (done < client->depth) {
		ssize_t more = read(fd, answers + have, sizeof(answers) - have);

		if (more <= 0)
			return false;
		have += (size_t)more;
		done = client->is_rpc ? count_rpc(answers, have) : count_http(answers, have);
	}
	return done == client->depth;
}

static size_t make_requests(const struct client *client, char *out)
{
	static const char http[] = "GET /machine-config HTTP/1.1\r\n\r\n";
	static const char rpc[] = "\x94\x00\x01\xabmachine.get\x90";
	const char *one = client->is_rpc ? rpc : http;
	size_t len = client->is_rpc ? sizeof(rpc) - 1 : sizeof(http) - 1;

	for (size_t i = 0; i < client->depth; i++)
		memcpy(out + i * len, one, len);
	return client->depth * len;
}

static void *run_client(void *opaque)
{
	struct client *client = opaque;
	char requests[DEPTH_MAX * 64];
	size_t len = make_requests(client, requests);
	cleanup_fd int fd = connect_to(client->path);

	client->failed = fd < 0;
	for (size_t i = 0; i < client->batches && !client->failed; i++) {
		double start = now_us();

		client->failed = !call(client, fd, requests, len);
		client->times[i] = now_us() - start;
	}
	return NULL;
}

static int measure(const struct client *like, size_t count)
{
	struct client *clients = calloc(count, sizeof(*clients));
	double *times = calloc(like->batches * count, sizeof(*times));
	double start = now_us(), seconds;
	bool failed = !clients || !times;
	size_t started = 0;

	for (; started < count && !failed; started++) {
		clients[started] = *like;
		clients[started].times = times + started * like->batches;
		if (pthread_create(&clients[started].thread, NULL, run_client, &clients[started]))
			break;
	}
	for (size_t i = 0; i < started; i++) {
		pthread_join(clients[i].thread, NULL);
		failed |= clients[i].failed;
	}
	seconds = (now_us() - start) / 1e6;
	if (!failed && started == count) {
		struct stats stats = stats_of(times, (unsigned int)(like->batches * count));

		printf("calls batch=%.1f,%.1f,%.1f rate=%.0f\n", stats.p50, stats.p99, stats.min,
		       (double)(like->batches * count * like->depth) / seconds);
	}
	free(clients);
	free(times);
	return failed || started < count;
}

int main(int argc, char **argv)
{
	struct client like = { 0 };
	size_t calls, clients;

	if (argc != 6 || (strcmp(argv[1], "rpc") != 0 && strcmp(argv[1], "http") != 0)) {
		fprintf(stderr, "bench-rpc: rpc|http CALLS CLIENTS DEPTH SOCKET\n");
		return 2;
	}
	like.is_rpc = strcmp(argv[1], "rpc") == 0;
	calls = strtoul(argv[2], NULL, 10);
	clients = strtoul(argv[3], NULL, 10);
	like.depth = strtoul(argv[4], NULL, 10);
	like.path = argv[5];
	if (like.depth < 1 || like.depth > DEPTH_MAX || clients < 1 || calls < like.depth)
		return 2;
	like.batches = calls / like.depth;
	return measure(&like, clients);
}
