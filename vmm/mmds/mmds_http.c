#include "vmm/mmds/mmds_http.h"

#include <stdio.h>
#include <string.h>

#include "vmm/mmds/mmds_request.h"

#define TOKEN_PATH "/latest/api/token"
#define TEXT_MAX (MMDS_REQUEST_MAX + 256u) /* of an error that quotes the request */
#define HEAD_MAX 512u
#define HEADER "Invalid header. Reason: "

/* The answer as it is put together; the body is `text`, or `data` where the store gave it. */
struct answer {
	unsigned int status;
	const char *allow;
	const struct mmds_header *echo; /* a header of the request that the answer repeats */
	uint32_t ttl;			/* its value */
	bool json;
	bool close;
	char *data;
	size_t len;
	char text[TEXT_MAX];
};

static void say(struct answer *answer, unsigned int status, const char *fmt, ...) printf_like(3, 4);
static void say(struct answer *answer, unsigned int status, const char *fmt, ...)
{
	va_list args;
	int len;

	va_start(args, fmt);
	len = vsnprintf(answer->text, sizeof(answer->text), fmt, args);
	va_end(args);
	answer->status = status;
	answer->len = len < 0 ? 0 : MIN((size_t)len, sizeof(answer->text) - 1);
}

static void say_value(struct answer *answer, const char *before, const struct mmds_header *header)
{
	say(answer, 400, "%sInvalid value. Key:%.*s; Value:%.*s", before, (int)header->name.len,
	    header->name.data, (int)header->value.len, header->value.data);
}

/* What Firecracker's parser refuses it calls JSON; what its service refuses, text. */
static void say_malformed(struct answer *answer, unsigned int status, const char *text)
{
	say(answer, status, "%s", text);
	answer->json = true;
}

static void say_not_found(struct answer *answer, const struct mmds_request *request)
{
	say(answer, 404, "Resource not found: %.*s.", (int)request->path.len, request->path.data);
}

static void answer_data(struct mmds *mmds, const struct mmds_request *request,
			struct answer *answer)
{
	const bool json = request->json && !mmds->config.imds_compat;
	const int ret = mmds_store_get(&mmds->store, request->path.data, request->path.len,
				       json ? MMDS_JSON : MMDS_IMDS, &answer->data, &answer->len);

	if (ret == -ENOENT)
		return say_not_found(answer, request);
	if (ret == -ENOTSUP)
		return say(answer, 501, MMDS_TEXT_UNSUPPORTED);
	if (ret < 0)
		return say(answer, 500, "Out of memory.");
	answer->status = 200;
	answer->json = json;
}

static void answer_get(struct mmds *mmds, const struct mmds_request *request, uint64_t now_ms,
		       struct answer *answer)
{
	const struct mmds_span token = request->token.value;

	if (!token.data) {
		mmds_count(mmds, rx_no_token, 1);
		if (mmds->config.v2)
			return say(answer, 401,
				   "No MMDS token provided. Use `X-metadata-token` or "
				   "`X-aws-ec2-metadata-token` header to specify the session "
				   "token.");
	} else if (!mmds_token_valid(&mmds->tokens, token.data, token.len, now_ms)) {
		mmds_count(mmds, rx_invalid_token, 1);
		if (mmds->config.v2)
			return say(answer, 401, "MMDS token not valid.");
	}
	answer_data(mmds, request, answer);
}

/* A 32-bit decimal number; a sign that is a plus is allowed. */
static bool parse_ttl(struct mmds_span value, uint32_t *out)
{
	uint64_t number = 0;
	size_t i = value.len > 1 && value.data[0] == '+' ? 1 : 0;

	if (i == value.len)
		return false;
	for (; i < value.len; i++) {
		if (value.data[i] < '0' || value.data[i] > '9')
			return false;
		number = number * 10 + (uint64_t)(value.data[i] - '0');
		if (number > UINT32_MAX)
			return false;
	}
	*out = (uint32_t)number;
	return true;
}

/* Doubled slashes count once. */
static bool is_token_path(struct mmds_span path)
{
	const char *want = TOKEN_PATH;

	for (size_t i = 0; i < path.len; i++) {
		if (path.data[i] == '/' && i > 0 && path.data[i - 1] == '/')
			continue;
		if (!*want || path.data[i] != *want++)
			return false;
	}
	return !*want;
}

static void answer_put(struct mmds *mmds, const struct mmds_request *request, uint64_t now_ms,
		       struct answer *answer)
{
	uint32_t ttl;
	int ret;

	/* A request that came through a proxy is not the guest's own. */
	if (request->forwarded.name.data)
		return say(answer, 400, HEADER "Unsupported header name. Key: %.*s",
			   (int)request->forwarded.name.len, request->forwarded.name.data);
	if (!is_token_path(request->path))
		return say_not_found(answer, request);
	if (!request->ttl.name.data)
		return say(answer, 400,
			   "Token time to live value not found. Use "
			   "`X-metadata-token-ttl-seconds` or "
			   "`X-aws-ec2-metadata-token-ttl-seconds` header to specify the token's "
			   "lifetime.");
	if (!parse_ttl(request->ttl.value, &ttl))
		return say_value(answer, HEADER, &request->ttl);
	ret = mmds_token_make(&mmds->tokens, ttl, now_ms, answer->text);
	if (ret == -EINVAL)
		return say(answer, 400,
			   "Invalid time to live value provided for token: %u. Please provide a "
			   "value between %u and %u.",
			   ttl, MMDS_TOKEN_TTL_MIN, MMDS_TOKEN_TTL_MAX);
	if (ret < 0)
		return say(answer, 500, "No random bytes.");
	answer->status = 200;
	answer->len = MMDS_TOKEN_LEN;
	answer->echo = &request->ttl;
	answer->ttl = ttl;
}

/* A client that takes no plain answer gets none; *refusal is what says so. */
static bool refuses_identity(const struct mmds_header *encoding, struct mmds_header *refusal)
{
	const struct mmds_span list = encoding->value;
	size_t at = 0;
	bool named;

	if (!list.data)
		return false;
	named = memmem(list.data, list.len, "identity", strlen("identity"));
	refusal->name = (struct mmds_span){ "Accept-Encoding", strlen("Accept-Encoding") };
	while (at < list.len) {
		const char *comma = memchr(list.data + at, ',', list.len - at);
		const size_t end = comma ? (size_t)(comma - list.data) : list.len;

		const struct mmds_span item = mmds_span_trimmed(list.data + at, end - at);

		refusal->value = (struct mmds_span){ list.data + at, end - at };
		if (mmds_span_is(item, "identity;q=0") || (mmds_span_is(item, "*;q=0") && !named))
			return true;
		at = end + 1;
	}
	return false;
}

static void answer_request(struct mmds *mmds, const struct mmds_request *request, uint64_t now_ms,
			   struct answer *answer)
{
	const unsigned int method = request->parser.method;
	struct mmds_header refusal;

	answer->close = !request->keep_alive || request->body;
	if (request->parser.http_major != 1 || request->parser.http_minor > 1)
		return say_malformed(answer, 501, "Unsupported HTTP version.");
	if (method != HTTP_GET && method != HTTP_PUT && method != HTTP_PATCH &&
	    method != HTTP_DELETE)
		return say_malformed(answer, 501, "Unsupported HTTP method.");
	if (refuses_identity(&request->encoding, &refusal)) {
		say_value(answer, "", &refusal);
		answer->json = true;
		return;
	}
	if (request->body)
		return say_malformed(answer, 400, "Invalid request.");
	if (!request->path.len)
		return say(answer, 400, "Invalid URI.");
	if (method == HTTP_GET)
		return answer_get(mmds, request, now_ms, answer);
	if (method == HTTP_PUT)
		return answer_put(mmds, request, now_ms, answer);
	answer->allow = "Allow: GET, PUT\r\n";
	say(answer, 405, "Not allowed HTTP method.");
}

static void answer_malformed(enum http_errno error, struct answer *answer)
{
	answer->close = true;
	if (error == HPE_INVALID_METHOD)
		say_malformed(answer, 501, "Unsupported HTTP method.");
	else if (error == HPE_INVALID_VERSION)
		say_malformed(answer, 501, "Unsupported HTTP version.");
	else if (error == HPE_INVALID_URL)
		say(answer, 400, "Invalid URI.");
	else
		say_malformed(answer, 400, "Invalid request.");
}

/* Which name the client chose for the time to live, and what was understood. */
static void print_echo(const struct answer *answer, char *out, size_t size)
{
	if (answer->echo)
		snprintf(out, size, "%.*s: %u\r\n", (int)answer->echo->name.len,
			 answer->echo->name.data, answer->ttl);
}

static int compose(const struct answer *answer, unsigned int minor, struct mmds_response *out)
{
	char head[HEAD_MAX], echo[64] = "";
	int head_len;

	print_echo(answer, echo, sizeof(echo));
	head_len = snprintf(head, sizeof(head),
			    "HTTP/1.%u %u \r\n"
			    "Server: Firecracker API\r\n"
			    "Connection: %s\r\n"
			    "%s%s"
			    "Content-Type: %s\r\n"
			    "Content-Length: %zu\r\n\r\n",
			    minor, answer->status, answer->close ? "close" : "keep-alive",
			    answer->allow ? answer->allow : "", echo,
			    answer->json ? "application/json" : "text/plain", answer->len);
	out->close = answer->close;
	out->len = (size_t)head_len + answer->len;
	out->data = malloc(out->len);
	if (!out->data)
		return -ENOMEM;
	memcpy(out->data, head, (size_t)head_len);
	memcpy(out->data + head_len, answer->data ? answer->data : answer->text, answer->len);
	return 0;
}

int mmds_http_answer(struct mmds *mmds, const char *head, size_t len, uint64_t now_ms,
		     struct mmds_response *out)
{
	struct mmds_request request = { 0 };
	struct answer answer;
	enum http_errno error;
	unsigned int minor = 1;
	int ret;

	answer.allow = NULL;
	answer.echo = NULL;
	answer.data = NULL;
	answer.json = false;
	error = mmds_request_parse(&request, head, len);
	if (error != HPE_OK) {
		answer_malformed(error, &answer);
	} else {
		answer_request(mmds, &request, now_ms, &answer);
		minor = request.parser.http_major != 1 || request.parser.http_minor ? 1 : 0;
	}
	ret = compose(&answer, minor, out);
	free(answer.data);
	return ret;
}
