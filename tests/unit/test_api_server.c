/* api-socket: clients that do not behave, by a server whose patience is a fraction of a second. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "api-socket/controller_priv.h"
#include "api-socket/server_priv.h"
#include "base/clock.h"
#include "tests/fuzz/no_guest.h"

#define PATIENCE_NS 300000000u
#define SECOND_NS 1000000000u
#define GET "GET /version HTTP/1.1\r\n\r\n"

static struct event_loop *loop;
static struct controller *controller;
static struct api_server *server;
static struct error err;
static char folder[] = "/tmp/mayfly-api-XXXXXX";
static char path[64];
static bool ending;

static bool is_ending(void *opaque)
{
	(void)opaque;
	return ending;
}

static void set_up(void)
{
	struct controller_params params = no_guest_params();
	struct api_server_params serving = { .payload_max = API_PAYLOAD_MAX_DEFAULT,
					     .patience_ns = PATIENCE_NS,
					     .is_ending = is_ending };

	cr_assert_not_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/api", folder);
	cr_assert_eq(event_loop_create(&loop, EVENT_LOOP_EPOLL, "test", &err), 0);
	params.loop = serving.loop = loop;
	cr_assert_eq(controller_create(&controller, &params, &err), 0);
	serving.controller = controller;
	cr_assert_eq(api_server_create(&server, path, &err), 0, "%s", err.text);
	cr_assert_eq(api_server_serve(server, &serving, &err), 0, "%s", err.text);
}

static void tear_down(void)
{
	api_server_destroy(server);
	controller_destroy(controller);
	event_loop_destroy(loop);
	rmdir(folder);
}

TestSuite(api_server, .init = set_up, .fini = tear_down, .timeout = 60);

static int client(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	cr_assert_eq(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static void say(int fd, const char *text)
{
	cr_assert_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* Lets the server work until the client hears something, for so long: bytes, 0 for the end, -1 for silence. */
static ssize_t hear(int fd, char *text, size_t size, uint64_t ns)
{
	const uint64_t until = clock_now_ns(CLOCK_MONOTONIC) + ns;
	ssize_t count;

	do {
		event_loop_run_once(loop, false);
		count = recv(fd, text, size, 0);
	} while (count < 0 && clock_now_ns(CLOCK_MONOTONIC) < until);
	return count;
}

static void expect_answer(int fd)
{
	char text[512] = "";

	cr_expect_gt(hear(fd, text, sizeof(text) - 1, 10ull * SECOND_NS), 0);
	cr_expect(strncmp(text, "HTTP/1.1 200 ", 13) == 0, "%s", text);
}

Test(api_server, half_a_request_is_cut_off)
{
	const uint64_t start = clock_now_ns(CLOCK_MONOTONIC);
	int half = client(), idle = client();
	char text[64];

	say(half, "PUT /machine-config HTTP/1.1\r\nContent-Length: 40\r\n\r\n{\"vcpu");
	say(idle, GET);
	expect_answer(idle);
	cr_expect_eq(hear(half, text, sizeof(text), 10ull * SECOND_NS), 0);
	cr_expect_geq(clock_now_ns(CLOCK_MONOTONIC) - start, PATIENCE_NS);
	say(idle, GET); /* who is in the middle of nothing may stay as long as it likes */
	expect_answer(idle);
	close(half);
	close(idle);
}

/* It is served no further, costs a bounded amount of memory, delays nobody, and is cut off in the end. */
static void expect_that_one_who_never_reads_is_cut_off(const char *requests, size_t len)
{
	int deaf = client(), other = client();
	size_t sent = 0;
	bool gone = false;
	const uint64_t until = clock_now_ns(CLOCK_MONOTONIC) + 10ull * SECOND_NS;

	while (!gone && clock_now_ns(CLOCK_MONOTONIC) < until) {
		ssize_t count = send(deaf, requests, len, MSG_NOSIGNAL);

		gone = count < 0 && errno == EPIPE;
		sent += count > 0 ? (size_t)count : 0;
		event_loop_run_once(loop, false);
		for (struct connection *at = server->connections; at; at = at->next)
			cr_assert_leq(at->out_size + at->in_size, 8 * CONNECTION_BACKLOG);
		if (sent % 64 == 0) {
			say(other, GET);
			expect_answer(other);
		}
	}
	cr_expect(gone, "after %zu bytes", sent);
	say(other, GET);
	expect_answer(other);
	close(deaf);
	close(other);
}

Test(api_server, who_never_reads)
{
	expect_that_one_who_never_reads_is_cut_off(GET GET GET GET, 4 * strlen(GET));
}

Test(api_server, who_never_reads_messagepack)
{
	static const char requests[] = "\x94\x00\x01\xa7version\x90"
				       "\x94\x00\x02\xa7methods\x90";

	expect_that_one_who_never_reads_is_cut_off(requests, sizeof(requests) - 1);
}

/* Nobody connects afterwards: the one that waits is served when there is room again. */
Test(api_server, out_of_descriptors)
{
	struct rlimit before, now;
	int fd = client();
	char text[64];

	say(fd, GET);
	getrlimit(RLIMIT_NOFILE, &before);
	now = before;
	now.rlim_cur = 3;
	setrlimit(RLIMIT_NOFILE, &now);
	(void)!hear(fd, text, sizeof(text), SECOND_NS / 4);
	cr_expect(server->is_full);
	setrlimit(RLIMIT_NOFILE, &before);
	expect_answer(fd);
	cr_expect_not(server->is_full);
	close(fd);
}

/* As behind a signal that ends the process. */
Test(api_server, told_to_end)
{
	int fd = client();
	char text[64];

	say(fd, GET);
	expect_answer(fd);
	ending = true;
	say(fd, GET);
	cr_expect_eq(hear(fd, text, sizeof(text), SECOND_NS / 10), -1);
	api_server_flush(server);
	cr_expect_eq(hear(fd, text, sizeof(text), SECOND_NS / 10), -1);
	close(fd);
}

/* What another has put where its socket was is not its own to take away. */
Test(api_server, takes_away_its_own_socket_only)
{
	char away[80];
	int fd;

	snprintf(away, sizeof(away), "%s/away", folder);
	cr_assert_eq(rename(path, away), 0);
	fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
	cr_assert_geq(fd, 0);
	close(fd);
	api_server_destroy(server);
	server = NULL;
	cr_expect_eq(unlink(path), 0, "it is there still");
	unlink(away);
}

/* Others' events --------------------------------------------------------------------------------*/

#define ANSWER_LEN (2 * CONNECTION_NOTICES_MAX)

/* It has not asked for any, and has a long answer before it. */
static int client_with_an_answer(const char *request, size_t len)
{
	static const char answer[ANSWER_LEN];
	int fd = client();
	char text[64];

	cr_assert_eq(send(fd, request, len, MSG_NOSIGNAL), (ssize_t)len);
	cr_assert_gt(hear(fd, text, sizeof(text), 10ull * SECOND_NS), 0);
	connection_send(server->connections, answer, sizeof(answer));
	return fd;
}

/* What comes until silence or the end. */
static size_t hear_all(int fd, bool *at_end)
{
	char text[4096];
	size_t len = 0;
	ssize_t count;

	while ((count = hear(fd, text, sizeof(text), SECOND_NS / 10)) > 0)
		len += (size_t)count;
	*at_end = count == 0;
	return len;
}

Test(api_server, others_events_cut_nobody_off)
{
	static const char request[] = "\x94\x00\x01\xa7version\x90";
	int fd = client_with_an_answer(request, sizeof(request) - 1);
	bool at_end;

	listeners_tell(&controller->listeners, EVENT_STATE, NULL);
	cr_expect_eq(hear_all(fd, &at_end), ANSWER_LEN);
	cr_expect_not(at_end);
	close(fd);
}

/* An event of its own takes its place behind a long answer; too many of them do not. */
Test(api_server, events_of_its_own_cut_it_off_by_themselves)
{
	static const char request[] = "\x94\x00\x01\xb0"
				      "events.subscribe"
				      "\x91\x81\xa6"
				      "events"
				      "\x91\xa8"
				      "vm.state";
	int fd = client_with_an_answer(request, sizeof(request) - 1);
	bool at_end;

	listeners_tell(&controller->listeners, EVENT_STATE, NULL);
	cr_expect_gt(hear_all(fd, &at_end), ANSWER_LEN);
	cr_expect_not(at_end);
	for (unsigned int i = 0; i < CONNECTION_NOTICES_MAX / 8; i++)
		listeners_tell(&controller->listeners, EVENT_STATE, NULL);
	hear_all(fd, &at_end);
	cr_expect(at_end);
	close(fd);
}

/* How it ended and what its balloon holds, to who subscribed and to who waits, once each. */
Test(api_server, every_event_has_its_name_and_details)
{
	static const char *const names[] = { "vm.ended", "balloon.statistics" };
	static const char *const keys[] = { "powered-off", "free_memory" };
	int fd = client();
	char text[512];

	for (unsigned int i = 0; i < 2; i++) {
		char request[128];
		const char *name = names[i];
		int len = snprintf(request, sizeof(request),
				   "\x93\x02\xb0"
				   "events.subscribe"
				   "\x91\x81\xa6"
				   "events"
				   "\x91%c%s",
				   (char)(0xa0 + strlen(name)), name);

		cr_assert_eq(send(fd, request, (size_t)len, MSG_NOSIGNAL), len);
		(void)!hear(fd, text, sizeof(text), SECOND_NS / 10);
		listeners_tell(&controller->listeners, i ? EVENT_BALLOON_STATISTICS : EVENT_ENDED,
			       i ? json_pack("{s:i}", keys[i], 5)
				 : json_pack("{s:s}", "how", keys[i]));
		len = (int)hear(fd, text, sizeof(text), 10ull * SECOND_NS);
		cr_assert_gt(len, 0);
		cr_expect(memmem(text, (size_t)len, name, strlen(name)));
		cr_expect(memmem(text, (size_t)len, keys[i], strlen(keys[i])));
	}
	close(fd);
}

/* Metrics ----------------------------------------------------------------------------------------*/

/* A line is longer than what a pipe takes at once. */
Test(api_server, metrics_through_a_pipe_that_is_full)
{
	static char text[1 << 20], long_text[6000];
	json_t *properties;
	char fifo[80];
	size_t len = 0;
	int reader, lines = 0;

	snprintf(fifo, sizeof(fifo), "%s/metrics", folder);
	cr_assert_eq(mkfifo(fifo, 0600), 0);
	reader = open(fifo, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	cr_assert_eq(fcntl(reader, F_SETPIPE_SZ, 4096), 4096);
	cr_assert_eq(metrics_open(controller, &(struct opt_file){ fifo, -1 }, &err), 0, "%s",
		     err.text);
	memset(long_text, 'x', sizeof(long_text) - 1);
	properties = json_pack("{s:s}", "long", long_text);
	controller->metrics.properties = properties;
	controller->deprecated_calls = 5;
	metrics_flush(controller);
	cr_assert_gt(controller->metrics.rest_len, 0, "half a line");
	controller->deprecated_calls = 7;
	metrics_flush(controller);
	cr_expect_eq(controller->metrics.missed, 1);
	/* The rest comes by itself. */
	while (controller->metrics.rest) {
		ssize_t count = read(reader, text + len, sizeof(text) - len);

		len += count > 0 ? (size_t)count : 0;
		event_loop_run_once(loop, true);
	}
	len += (size_t)read(reader, text + len, sizeof(text) - len);
	metrics_flush(controller);
	len += (size_t)read(reader, text + len, sizeof(text) - len);
	while (controller->metrics.rest) {
		event_loop_run_once(loop, true);
		len += (size_t)MAX(read(reader, text + len, sizeof(text) - len), 0);
	}
	for (char *line, *at = text; (line = strsep(&at, "\n")) && *line; lines++) {
		json_t *tree = json_loads(line, 0, NULL);
		json_t *calls = json_object_get(tree, "deprecated_api");

		cr_assert_not_null(tree, "line %d is whole: %s", lines, line);
		cr_expect_eq(
			json_integer_value(json_object_get(calls, "deprecated_http_api_calls")),
			lines == 0 ? 5 : 2, "what was not told is told later");
		json_decref(tree);
	}
	cr_expect_eq(lines, 2);
	controller->metrics.properties = NULL;
	json_decref(properties);
	close(reader);
	unlink(fifo);
}
