/* HTTP/1.1, as Firecracker's clients speak it: requests in, answers out. http_parser reads. */
#include <ctype.h>
#include <http_parser.h>
#include <limits.h>
#include <string.h>

#include "api-socket/connection.h"
#include "api-socket/http_priv.h"

/* Reading ---------------------------------------------------------------------------------------*/

static struct http *of(http_parser *parser)
{
	return parser->data;
}

/* Adds to a text of fixed size; false when it does not fit. */
static bool add(char *text, size_t *len, size_t size, const char *more, size_t count)
{
	if (count >= size - *len)
		return false;
	memcpy(text + *len, more, count);
	*len += count;
	text[*len] = '\0';
	return true;
}

static int on_url(http_parser *parser, const char *at, size_t len)
{
	struct http *http = of(parser);

	/* http_parser takes any number of spaces before it; Firecracker one. */
	if (http->url_len == 0 && http->earlier + (size_t)(at - http->bytes) !=
					  strlen(http_method_str(parser->method)) + 1)
		return http_refuse(http, "Invalid URI: Empty URI not allowed.");
	return add(http->url, &http->url_len, sizeof(http->url), at, len)
		       ? 0
		       : http_refuse(http, "Invalid request.");
}

/* A header line is complete when the next one, or the body, begins. */
static int finish_header(struct http *http)
{
	const char *value = http->value;

	if (strcasecmp(http->name, "expect") == 0 && strcasecmp(value, "100-continue") == 0)
		http->expects_continue = true;
	if (strcasecmp(http->name, "accept") == 0)
		http->wants_plain_text = strcasestr(value, "text/plain") &&
					 !strcasestr(value, "application/openmetrics-text");
	if (strcasecmp(http->name, "transfer-encoding") == 0 && strcasecmp(value, "identity") != 0)
		return http_refuse(http, "Invalid request.");
	if (strcasecmp(http->name, "accept-encoding") == 0 &&
	    (strcmp(value, "identity;q=0") == 0 || strcmp(value, "*;q=0") == 0))
		return http_refuse(http,
				   "Invalid header. Reason: Invalid value. "
				   "Key:Accept-Encoding; Value:%s",
				   value);
	http->name_len = http->value_len = 0;
	http->in_value = false;
	http->name[0] = http->value[0] = '\0';
	return 0;
}

static int on_header_field(http_parser *parser, const char *at, size_t len)
{
	struct http *http = of(parser);

	if (http->in_value && finish_header(http) != 0)
		return -1;
	return add(http->name, &http->name_len, sizeof(http->name), at, len)
		       ? 0
		       : http_refuse(http, "Invalid header. Reason: Invalid content length. "
					   "Header: a name too long");
}

static int on_header_value(http_parser *parser, const char *at, size_t len)
{
	struct http *http = of(parser);

	http->in_value = true; /* also when it is empty */
	for (size_t i = 0; i < len; i++)
		if (!isascii((unsigned char)at[i]))
			return http_refuse(http,
					   "Invalid header. Reason: Header contains invalid "
					   "characters. Key: invalid utf-8 sequence of 1 bytes "
					   "from index %zu",
					   http->name_len + 2 + http->value_len + i);
	if (add(http->value, &http->value_len, sizeof(http->value), at, len))
		return 0;
	return http_refuse(http, "Invalid header. Reason: Invalid content length. Header: %s: %s",
			   http->name, http->value);
}

static int on_headers_complete(http_parser *parser)
{
	struct http *http = of(parser);
	size_t max = connection_payload_max(http->connection);
	bool has_body = parser->content_length != ULLONG_MAX && parser->content_length > 0;

	if (finish_header(http) != 0)
		return -1;
	if (http_verb(parser->method) < 0)
		return http_refuse(http, "Invalid HTTP Method: Unsupported HTTP method.");
	/* What http_parser takes a line without a version for. */
	if (parser->http_major == 0)
		return http_refuse(http, "Invalid request.");
	if (parser->http_major != 1 || parser->http_minor > 1)
		return http_refuse(http, "Invalid HTTP Version: Unsupported HTTP version.");
	if (has_body && parser->content_length > max)
		return http_refuse(http,
				   "Request payload with size %llu is larger than the limit of %zu "
				   "allowed by server.",
				   (unsigned long long)parser->content_length, max);
	if (!has_body)
		return 0;
	http->body = malloc(parser->content_length + 1);
	if (!http->body)
		return http_refuse(http, "out of memory");
	http->body[0] = '\0';
	http->body_size = parser->content_length + 1;
	if (http->expects_continue)
		http_send_continue(http);
	return 0;
}

static int on_body(http_parser *parser, const char *at, size_t len)
{
	struct http *http = of(parser);

	return http->body && add(http->body, &http->body_len, http->body_size, at, len) ? 0 : -1;
}

/* The rest of what has come is another request. */
static int on_message_complete(http_parser *parser)
{
	of(parser)->complete = true;
	http_parser_pause(parser, 1);
	return 0;
}

static const http_parser_settings settings = {
	.on_url = on_url,
	.on_header_field = on_header_field,
	.on_header_value = on_header_value,
	.on_headers_complete = on_headers_complete,
	.on_body = on_body,
	.on_message_complete = on_message_complete,
};

/* The parser's refusals, in Firecracker's words ---------------------------------------------------*/

/* Looks at the request line: what http_parser says of one depends on where in it it stopped. */
static const char *explain_line(const char *line, size_t len)
{
	static const char *const verbs[] = { "GET ", "PUT ", "PATCH ", "DELETE " };
	const char *first = memchr(line, ' ', len);
	const char *second;
	bool is_known;

	if (!first)
		return "Invalid request.";
	second = memchr(first + 1, ' ', len - (size_t)(first + 1 - line));
	if (!second)
		return "Invalid request.";
	is_known = line + len - second == strlen(" HTTP/1.1") && memcmp(second, " HTTP/1.", 8) == 0;
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		if (strncmp(line, verbs[i], strlen(verbs[i])) == 0)
			return second == first + 1 ? "Invalid URI: Empty URI not allowed."
			       : is_known	   ? "Invalid URI: A path begins with a slash."
					  : "Invalid HTTP Version: Unsupported HTTP version.";
	return "Invalid HTTP Method: Unsupported HTTP method.";
}

/* The header in which http_parser has stopped at bytes[at]: from its beginning, if that is here, to its end or that of
 * what has come. */
struct header_line {
	const char *text;
	int len;
	bool is_whole; /* what came before is none of it */
};

static struct header_line find_header(const uint8_t *bytes, size_t count, size_t at)
{
	size_t start = at, end = at;

	while (start > 0 && bytes[start - 1] != '\n')
		start--;
	while (end < count && bytes[end] != '\r' && bytes[end] != '\n')
		end++;
	return (struct header_line){ (const char *)bytes + start, (int)(end - start), start > 0 };
}

static int refuse_length(struct http *http, struct header_line line)
{
	const char *colon = line.is_whole ? memchr(line.text, ':', (size_t)line.len) : NULL;
	const int skip = colon ? (int)(colon + 1 - line.text) : 0;

	return http_refuse(
		http, "Invalid header. Reason: Invalid value. Key:Content-Length; Value:%s%s%.*s",
		colon ? "" : " ", colon ? "" : http->value, line.len - skip, line.text + skip);
}

static void explain(struct http *http, const uint8_t *bytes, size_t count, size_t at)
{
	const struct header_line line = find_header(bytes, count, at);
	const uint8_t *end = memchr(bytes, '\r', count);

	if (http->refusal[0])
		return;
	switch (HTTP_PARSER_ERRNO(&http->parser)) {
	case HPE_INVALID_CONTENT_LENGTH:
		refuse_length(http, line);
		break;
	case HPE_UNEXPECTED_CONTENT_LENGTH:
		http_refuse(
			http,
			"Invalid header. Reason: It is there twice, or beside Transfer-Encoding. Key:Content-Length");
		break;
	case HPE_INVALID_HEADER_TOKEN:
		http_refuse(http,
			    "Invalid header. Reason: Header is incorrectly formatted. Key: %s%.*s",
			    line.is_whole || http->in_value ? "" : http->name, line.len, line.text);
		break;
	default:
		http_refuse(http, "%s",
			    explain_line((const char *)bytes, end ? (size_t)(end - bytes) : count));
	}
}

/* A connection ----------------------------------------------------------------------------------*/

static void close_descriptors(struct http *http)
{
	for (unsigned int i = 0; i < http->fd_count; i++)
		close_fd(&http->fds[i]);
}

static void start_request(struct http *http)
{
	close_descriptors(http);
	free(http->body);
	*http = (struct http){ .connection = http->connection };
	http_parser_init(&http->parser, HTTP_REQUEST);
	http->parser.data = http;
}

static void *create(struct connection *connection)
{
	struct http *http = calloc(1, sizeof(*http));

	if (!http)
		return NULL;
	http->connection = connection;
	start_request(http);
	return http;
}

static void destroy(void *front)
{
	struct http *http = front;

	close_descriptors(http);
	free(http->body);
	free(http);
}

/* Those that came with the bytes of this request, up to as many as one may have. */
static void take_descriptors(struct http *http, size_t len)
{
	int fds[CONNECTION_FDS_MAX];
	unsigned int count = connection_take_fds(http->connection, len, fds);

	for (unsigned int i = 0; i < count; i++) {
		if (http->fd_count < CONNECTION_FDS_MAX)
			http->fds[http->fd_count++] = fds[i];
		else
			close_fd(&fds[i]);
	}
}

/* http_parser skips white space before a request; Firecracker does not. */
static bool begins_with_space(const struct http *http, const uint8_t *bytes)
{
	return http->earlier == 0 && isspace(bytes[0]);
}

static ssize_t consume(void *front, const uint8_t *bytes, size_t count)
{
	struct http *http = front;
	size_t taken;

	http->bytes = (const char *)bytes;
	if (begins_with_space(http, bytes))
		http_refuse(http, "Invalid request.");
	taken = http->refusal[0]
			? 0
			: http_parser_execute(&http->parser, &settings, (const char *)bytes, count);
	take_descriptors(http, taken);
	if (http->complete) {
		http_serve(http);
		start_request(http);
		connection_request_done(http->connection);
		return (ssize_t)taken;
	}
	if (http->refusal[0] || HTTP_PARSER_ERRNO(&http->parser) != HPE_OK) {
		explain(http, bytes, count, taken);
		http_send_refusal(http);
		start_request(http);
		return (ssize_t)count; /* what follows cannot be told apart from it */
	}
	http->earlier += taken;
	return (ssize_t)taken;
}

static bool has_part(void *front)
{
	return ((struct http *)front)->earlier > 0;
}

const struct front_end http_front_end = {
	.name = "HTTP",
	.create = create,
	.destroy = destroy,
	.consume = consume,
	.has_part = has_part,
};
