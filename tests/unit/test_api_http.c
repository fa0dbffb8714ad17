/* api-socket: an HTTP request is the same however it comes in pieces, and what is in it makes no line of the log. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "api-socket/connection.h"
#include "api-socket/controller.h"
#include "api-socket/server_priv.h"
#include "tests/fuzz/no_guest.h"
#include "tests/unit/log_lines.h"

#define PUT_MMDS "PUT /mmds HTTP/1.1\r\nContent-Length: "

static char answers[16384];

/* All that is answered to `text`, handed over `piece` bytes at a time. */
static const char *ask(const char *text, size_t piece)
{
	struct api_server server = { .params.payload_max = API_PAYLOAD_MAX_DEFAULT };
	struct connection connection = { .server = &server, .watch.fd = -1 };
	struct controller_params params = no_guest_params();
	size_t len = strlen(text);
	struct error err;
	void *front;

	cr_assert_eq(event_loop_create(&params.loop, EVENT_LOOP_EPOLL, "test", &err), 0);
	cr_assert_eq(controller_create(&server.params.controller, &params, &err), 0);
	front = http_front_end.create(&connection);
	while (len > 0) {
		char *copy = strndup(
			text, MIN(piece, len)); /* of its own, that nothing looks around it */
		ssize_t taken = http_front_end.consume(front, (const uint8_t *)copy, strlen(copy));

		free(copy);
		cr_assert_gt(taken, 0);
		text += taken;
		len -= (size_t)taken;
	}
	snprintf(answers, sizeof(answers), "%.*s", (int)connection.out_len,
		 (const char *)connection.out);
	http_front_end.destroy(front);
	free(connection.out);
	controller_destroy(server.params.controller);
	event_loop_destroy(params.loop);
	return answers;
}

static void expect(const char *text, const char *status, const char *part)
{
	for (size_t piece = 1; piece <= strlen(text); piece++) {
		const char *answer = ask(text, piece);
		const char *last = answer;

		for (const char *at = answer; (at = strstr(at, "HTTP/1.1 ")); at++)
			last = at;
		cr_expect(strncmp(last + 9, status, 3) == 0, "%s by %zu: %s", text, piece, answer);
		cr_expect(strstr(answer, part), "%s by %zu: %s", text, piece, answer);
	}
}

Test(api_http, in_pieces, .timeout = 60)
{
	expect("GET /version HTTP/1.1\r\n\r\n", "200", "firecracker_version");
	expect("PATCH /vm HTTP/1.1\r\n\r\n", "400", "Empty PATCH request.");
	expect(PUT_MMDS "2\r\n\r\n{}", "204", "");
	expect(PUT_MMDS "2\r\n\r\n{}GET /mmds HTTP/1.1\r\n\r\n", "200", "\r\n\r\n{}");
}

/* Firecracker takes one space. Byte by byte the rest is another request that is none. */
Test(api_http, two_spaces_in_pieces, .timeout = 60)
{
	static const char text[] = "GET  /version HTTP/1.1\r\n\r\n";

	for (size_t piece = 1; piece <= strlen(text); piece++)
		cr_expect_null(strstr(ask(text, piece), "HTTP/1.1 200"), "by %zu: %s", piece,
			       answers);
	cr_expect_not_null(strstr(ask(text, strlen(text)), "Empty URI not allowed"));
}

/* In pieces what came before the mistake may be another's to tell; whole, the words are Firecracker's. */
Test(api_http, refused_headers_are_named, .timeout = 60)
{
	static const struct {
		const char *text, *words;
	} cases[] = {
		{ "GET / HTTP/1.1\r\nA: b\r\nfoo\r\n\r\n", "incorrectly formatted. Key: foo\n" },
		{ "GET / HTTP/1.1\r\nContent-Length: 1x\r\n\r\n",
		  "Key:Content-Length; Value: 1x\n" },
		{ "PUT /vsock HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
		  "twice" },
		{ "PUT /vsock HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
		  "beside Transfer-Encoding" },
		{ "GET /\r\n\r\n", "\"Invalid request.\n" },
		{ "GET version HTTP/1.1\r\n\r\n", "Invalid URI: A path begins with a slash." },
		{ "GET / HTTP/2.0\r\n\r\n", "Unsupported HTTP version" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const char *text = cases[i].text;

		for (size_t piece = 1; piece < strlen(text); piece++)
			cr_expect_null(strstr(ask(text, piece), "HTTP/1.1 200"), "by %zu: %s",
				       piece, answers);
		cr_expect(strstr(ask(text, strlen(text)), cases[i].words), "%s: %s", text, answers);
	}
}

/* Of two mistakes the one that comes first in the text. */
Test(api_http, a_wrong_name_before_what_is_no_json, .timeout = 60)
{
	expect("PUT /vsock HTTP/1.1\r\nContent-Length: 16\r\n\r\n{\"guest_cid\":3x}", "400",
	       "expected `,` or `}`");
	expect("PUT /vsock HTTP/1.1\r\nContent-Length: 7\r\n\r\n{\"a\":x}", "400",
	       "unknown field `a`, expected one of `vsock_id`, `guest_cid`, `uds_path` at line 1 column 4");
	expect("PUT /vsock HTTP/1.1\r\nContent-Length: 8\r\n\r\n{x,\"a\":1", "400",
	       "key must be a string");
	expect("PUT /vsock HTTP/1.1\r\nContent-Length: 3\r\n\r\n{}}", "400",
	       "missing field `guest_cid` at line 1 column 2");
	expect("PUT /entropy HTTP/1.1\r\nContent-Length: 3\r\n\r\n{}}", "400",
	       "trailing characters at line 1 column 3");
}

Test(api_http, headers_without_a_value, .timeout = 60)
{
	expect(PUT_MMDS "2\r\nX:\r\nExpect: 100-continue\r\n\r\n{}", "204", "HTTP/1.1 100");
	expect("GET / HTTP/1.1\r\nX:\r\nY: \r\nAccept-Encoding: identity;q=0\r\n\r\n", "400",
	       "Key:Accept-Encoding;");
}

/* Whatever a key is made of. */
Test(api_http, no_line_of_the_log_is_forged)
{
	static const char body[] = "{\"x\\n2026-01-01 forged\\u001b[2J\":1}";
	char text[200];

	read_log_from_now(LOG_INFO);
	snprintf(text, sizeof(text),
		 "PUT /machine-config HTTP/1.1\r\nContent-Length: %zu\r\n\r\n%s", strlen(body),
		 body);
	cr_expect_not_null(strstr(ask(text, strlen(text)), "unknown field"));
	cr_expect_eq(lines_with("x?2026-01-01 forged?[2J"), 1);
	cr_expect_eq(lines_with("\n"), 1);
}

/* What is shown of a long name ends between characters: the answer is JSON. */
static void expect_json(const char *before, const char *name, const char *after)
{
	char text[1000];

	snprintf(text, sizeof(text),
		 "PUT /machine-config HTTP/1.1\r\nContent-Length: %zu\r\n\r\n%s%s%s",
		 strlen(before) + strlen(name) + strlen(after), before, name, after);
	cr_expect_not_null(strstr(ask(text, strlen(text)), "deserializing"), "%s: %s", text,
			   answers);
}

Test(api_http, long_names_are_cut_between_characters)
{
	for (size_t shift = 0; shift < 4; shift++) {
		char name[300] = "aaa", twice[620];
		size_t len = shift;

		for (; len < 280; len += 4)
			memcpy(name + len, "\xf0\x9f\x98\x80", 4);
		name[len] = '\0';
		snprintf(twice, sizeof(twice), "%s\":1,\"%s", name, name);
		expect_json("{\"", name, "\":1}");
		expect_json("{\"", twice, "\":1}");
		expect_json("{\"vcpu_count\":\"", name, "\"}");
		expect_json("{\"vcpu_count\":1,\"mem_size_mib\":1,\"huge_pages\":\"", name, "\"}");
	}
}
