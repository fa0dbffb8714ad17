/* The metadata service's answers, whole: status line, headers and body as Firecracker's. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "vmm/mmds/mmds_http.h"
#include "vmm/mmds/mmds_request.h"

static struct mmds *mmds;
static char answer[8192];
static bool closes;

static void setup(void)
{
	struct error err = { 0 };
	json_t *value;

	cr_assert_eq(mmds_create(&mmds, MMDS_LIMIT_DEFAULT, &err), 0, "%s", err.text);
	value = json_loads("{\"latest\":{\"meta-data\":{\"ami-id\":\"ami-1\",\"n\":7}}}", 0, NULL);
	cr_assert(value);
	cr_assert_eq(mmds_store_put(&mmds->store, value), 0);
	json_decref(value);
}

static void teardown(void)
{
	mmds_destroy(mmds);
}

TestSuite(mmds_http, .init = setup, .fini = teardown);

static const char *ask_at(uint64_t now_ms, const char *request)
{
	struct mmds_response response;

	cr_assert_eq(mmds_request_head(request, strlen(request)), strlen(request), "%s", request);
	cr_assert_eq(mmds_http_answer(mmds, request, strlen(request), now_ms, &response), 0);
	cr_assert_lt(response.len, sizeof(answer));
	memcpy(answer, response.data, response.len);
	answer[response.len] = '\0';
	closes = response.close;
	free(response.data);
	return answer;
}

static const char *ask(const char *request)
{
	return ask_at(0, request);
}

static void expect(const char *request, unsigned int status, const char *type, const char *body)
{
	char want[4096];

	snprintf(want, sizeof(want),
		 "HTTP/1.1 %u \r\nServer: Firecracker API\r\nConnection: keep-alive\r\n"
		 "%sContent-Type: %s\r\nContent-Length: %zu\r\n\r\n%s",
		 status, status == 405 ? "Allow: GET, PUT\r\n" : "", type, strlen(body), body);
	cr_assert_str_eq(ask(request), want, "'%s' gave '%s'", request, answer);
	cr_assert_not(closes);
}

static void expect_closing(const char *request, unsigned int status, const char *body)
{
	char want[64];

	ask(request);
	snprintf(want, sizeof(want), "HTTP/1.1 %u \r\n", status);
	cr_assert(!strncmp(answer, want, strlen(want)), "'%s' gave '%s'", request, answer);
	cr_assert(strstr(answer, "\r\nConnection: close\r\n"));
	cr_assert_str_eq(strstr(answer, "\r\n\r\n") + 4, body);
	cr_assert(closes);
}

#define TEXT "text/plain"
#define JSON "application/json"

Test(mmds_http, get_in_version_1)
{
	expect("GET /latest/meta-data/ami-id HTTP/1.1\r\n\r\n", 200, TEXT, "ami-1");
	expect("GET http://169.254.169.254/latest/meta-data/ HTTP/1.1\r\n\r\n", 200, TEXT,
	       "ami-id\nn");
	expect("GET / HTTP/1.1\nAccept: application/json\n\n", 200, JSON,
	       "{\"latest\":{\"meta-data\":{\"ami-id\":\"ami-1\",\"n\":7}}}");
	expect("GET //latest HTTP/1.1\r\naccept:application/json \r\n\r\n", 200, JSON,
	       "{\"meta-data\":{\"ami-id\":\"ami-1\",\"n\":7}}");
	expect("GET / HTTP/1.1\r\nAccept: */*\r\n\r\n", 200, TEXT, "latest/");
	expect("GET /no HTTP/1.1\r\n\r\n", 404, TEXT, "Resource not found: /no.");
	expect("GET //no?x=1 HTTP/1.1\r\n\r\n", 404, TEXT, "Resource not found: //no?x=1.");
	expect("GET /latest/meta-data/n HTTP/1.1\r\n\r\n", 501, TEXT, MMDS_TEXT_UNSUPPORTED);
	expect("GET http://169.254.169.254 HTTP/1.1\r\n\r\n", 400, TEXT, "Invalid URI.");
}

Test(mmds_http, version_1_counts_tokens_and_needs_none)
{
	expect("GET /latest HTTP/1.1\r\nX-metadata-token: wrong\r\n\r\n", 200, TEXT, "meta-data/");
	cr_assert_eq(mmds->counters.rx_invalid_token, 1);
	expect("GET /latest HTTP/1.1\r\n\r\n", 200, TEXT, "meta-data/");
	cr_assert_eq(mmds->counters.rx_no_token, 1);
}

Test(mmds_http, imds_compat_is_text_whatever_is_asked_for)
{
	mmds->config.imds_compat = true;
	expect("GET /latest HTTP/1.1\r\nAccept: application/json\r\n\r\n", 200, TEXT, "meta-data/");
}

Test(mmds_http, other_methods)
{
	expect("PATCH / HTTP/1.1\r\n\r\n", 405, TEXT, "Not allowed HTTP method.");
	expect("DELETE / HTTP/1.1\r\n\r\n", 405, TEXT, "Not allowed HTTP method.");
	expect("POST / HTTP/1.1\r\n\r\n", 501, JSON, "Unsupported HTTP method.");
	expect_closing("BREW / HTTP/1.1\r\n\r\n", 501, "Unsupported HTTP method.");
	expect_closing("get / HTTP/1.1\r\n\r\n", 501, "Unsupported HTTP method.");
}

#define NO_TOKEN                                                                        \
	"No MMDS token provided. Use `X-metadata-token` or `X-aws-ec2-metadata-token` " \
	"header to specify the session token."
#define NO_TTL                                                                       \
	"Token time to live value not found. Use `X-metadata-token-ttl-seconds` or " \
	"`X-aws-ec2-metadata-token-ttl-seconds` header to specify the token's lifetime."

static const char *token(uint64_t now_ms, const char *header)
{
	static char text[MMDS_TOKEN_LEN + 1];
	char request[256];
	const char *body;

	snprintf(request, sizeof(request), "PUT /latest//api/token HTTP/1.1\r\n%s\r\n\r\n", header);
	ask_at(now_ms, request);
	cr_assert(!strncmp(answer, "HTTP/1.1 200 \r\n", 15), "%s", answer);
	cr_assert(strstr(answer, "\r\nContent-Type: text/plain\r\n"));
	body = strstr(answer, "\r\n\r\n") + 4;
	cr_assert_eq(strlen(body), MMDS_TOKEN_LEN);
	memcpy(text, body, sizeof(text));
	return text;
}

static void expect_with_token(const char *header, const char *text, uint64_t now_ms,
			      unsigned int status)
{
	char request[256], want[32];

	snprintf(request, sizeof(request), "GET /latest HTTP/1.1\r\n%s: %s\r\n\r\n", header, text);
	snprintf(want, sizeof(want), "HTTP/1.1 %u \r\n", status);
	ask_at(now_ms, request);
	cr_assert(!strncmp(answer, want, strlen(want)), "%s", answer);
}

Test(mmds_http, version_2_needs_a_token)
{
	const char *text;

	mmds->config.v2 = true;
	expect("GET /latest HTTP/1.1\r\n\r\n", 401, TEXT, NO_TOKEN);
	expect("GET /latest HTTP/1.1\r\nX-metadata-token: foo\r\n\r\n", 401, TEXT,
	       "MMDS token not valid.");
	cr_assert_eq(mmds->counters.rx_no_token, 1);
	cr_assert_eq(mmds->counters.rx_invalid_token, 1);

	text = token(5000, "X-metadata-token-ttl-seconds: 2");
	expect_with_token("x-METADATA-token", text, 6999, 200);
	cr_assert_str_eq(strstr(answer, "\r\n\r\n") + 4, "meta-data/");
	expect_with_token("X-aws-ec2-metadata-token", text, 6999, 200);
	expect_with_token("X-metadata-token", text, 7000, 401);
	cr_assert(strstr(answer, "HTTP/1.1 401 "));
	text = token(0, "x-aws-ec2-metadata-token-ttl-seconds: +21600 ");
	cr_assert(strstr(answer, "keep-alive\r\nx-aws-ec2-metadata-token-ttl-seconds: 21600\r\n"
				 "Content-Type: text/plain\r\nContent-Length: 64\r\n\r\n"));
	expect_with_token("X-metadata-token", text, 1, 200);
}

Test(mmds_http, refused_tokens_in_both_versions)
{
	for (int v2 = 0; v2 < 2; v2++) {
		mmds->config.v2 = v2;
		expect("PUT /latest/api/token HTTP/1.1\r\n\r\n", 400, TEXT, NO_TTL);
		expect("PUT /latest/api/toke HTTP/1.1\r\nX-metadata-token-ttl-seconds: 60\r\n\r\n",
		       404, TEXT, "Resource not found: /latest/api/toke.");
		expect("PUT / HTTP/1.1\r\nX-Forwarded-For: foo\r\n\r\n", 400, TEXT,
		       "Invalid header. Reason: Unsupported header name. Key: X-Forwarded-For");
		expect("PUT /latest/api/token HTTP/1.1\r\nX-metadata-token-ttl-seconds: 0\r\n\r\n",
		       400, TEXT,
		       "Invalid time to live value provided for token: 0. Please provide a value "
		       "between 1 and 21600.");
		expect("PUT /latest/api/token HTTP/1.1\r\n"
		       "X-metadata-token-ttl-seconds: 21601\r\n\r\n",
		       400, TEXT,
		       "Invalid time to live value provided for token: 21601. Please provide a "
		       "value between 1 and 21600.");
		expect("PUT /latest/api/token HTTP/1.1\r\nX-metadata-token-ttl-seconds: x\r\n\r\n",
		       400, TEXT,
		       "Invalid header. Reason: Invalid value. "
		       "Key:X-metadata-token-ttl-seconds; Value:x");
		expect("PUT /latest/api/token HTTP/1.1\r\n"
		       "X-metadata-token-ttl-seconds: 4294967296\r\n\r\n",
		       400, TEXT,
		       "Invalid header. Reason: Invalid value. "
		       "Key:X-metadata-token-ttl-seconds; Value:4294967296");
	}
}

Test(mmds_http, malformed)
{
	expect_closing("GET / HTTP/1.1\r\nContent-Length: 9\r\n\r\n", 400, "Invalid request.");
	expect_closing("GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 400,
		       "Invalid request.");
	expect_closing("GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400, "Invalid request.");
	expect_closing("GET / HTTP/1.1\r\nno colon\r\n\r\n", 400, "Invalid request.");
	expect_closing("GET / HTTP/1.1\r\nAccept: a\r\n b\r\n\r\n", 400, "Invalid request.");
	expect_closing("\r\n\r\n", 400, "Invalid request.");
	cr_assert(strstr(answer, "\r\nContent-Type: application/json\r\n"));
	expect_closing("GET /latest\r\n\r\n", 400, "Invalid request.");
	expect_closing("GET abc HTTP/1.1\r\n\r\n", 400, "Invalid URI.");
	cr_assert(strstr(answer, "\r\nContent-Type: text/plain\r\n"));
	expect_closing("GET http:// HTTP/1.1\r\n\r\n", 400, "Invalid URI.");
	expect_closing("GET / HTTP/1.1\r\r\n\r\n", 400, "Invalid request.");
	expect_closing("GET / HTTP/3.0\r\nConnection: close\r\n\r\n", 501,
		       "Unsupported HTTP version.");
	expect("GET / HTTP/1.1\r\nAccept-Encoding: gzip, identity;q=0\r\n\r\n", 400, JSON,
	       "Invalid value. Key:Accept-Encoding; Value: identity;q=0");
	expect("GET / HTTP/1.1\r\nAccept-Encoding: *;q=0\r\n\r\n", 400, JSON,
	       "Invalid value. Key:Accept-Encoding; Value:*;q=0");
	expect("GET / HTTP/1.1\r\nAccept-Encoding: *;q=0, identity\r\n\r\n", 200, TEXT, "latest/");
}

Test(mmds_http, the_connection_lives_as_long_as_http_says)
{
	expect_closing("GET /latest HTTP/1.1\r\nConnection: close\r\n\r\n", 200, "meta-data/");
	ask("GET /latest HTTP/1.0\r\n\r\n");
	cr_assert(closes && !strncmp(answer, "HTTP/1.0 200 \r\n", 15));
	ask("GET /latest HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
	cr_assert_not(closes);
}

Test(mmds_http, the_end_of_a_head)
{
	cr_assert_eq(mmds_request_head("GET /\r\n\r\nmore", 13), 9);
	cr_assert_eq(mmds_request_head("GET /\n\nmore", 11), 7);
	cr_assert_eq(mmds_request_head("GET /\n\r\n", 8), 8);
	cr_assert_eq(mmds_request_head("GET /\r\n\r", 8), 0);
	cr_assert_eq(mmds_request_head("", 0), 0);
	cr_assert_eq(mmds_request_head("\n", 1), 0);
}
