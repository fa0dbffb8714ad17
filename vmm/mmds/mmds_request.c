#include "vmm/mmds/mmds_request.h"

#include <limits.h>
#include <string.h>
#include <strings.h>

size_t mmds_request_head(const char *data, size_t len)
{
	for (size_t i = 0; i + 1 < len; i++) {
		if (data[i] != '\n')
			continue;
		if (data[i + 1] == '\n')
			return i + 2;
		if (i + 2 < len && data[i + 1] == '\r' && data[i + 2] == '\n')
			return i + 3;
	}
	return 0;
}

bool mmds_span_is(struct mmds_span span, const char *text)
{
	return span.len == strlen(text) && !memcmp(span.data, text, span.len);
}

struct mmds_span mmds_span_trimmed(const char *at, size_t len)
{
	for (; len && (*at == ' ' || *at == '\t'); len--)
		at++;
	while (len && (at[len - 1] == ' ' || at[len - 1] == '\t'))
		len--;
	return (struct mmds_span){ at, len };
}

static bool name_is(struct mmds_span span, const char *text)
{
	return span.len == strlen(text) && !strncasecmp(span.data, text, span.len);
}

static int on_url(http_parser *parser, const char *at, size_t len)
{
	struct mmds_request *request = parser->data;

	request->uri = (struct mmds_span){ at, len };
	return 0;
}

static int on_field(http_parser *parser, const char *at, size_t len)
{
	struct mmds_request *request = parser->data;

	request->name = (struct mmds_span){ at, len };
	return 0;
}

static int on_value(http_parser *parser, const char *at, size_t len)
{
	struct mmds_request *request = parser->data;
	const struct mmds_header header = { request->name, mmds_span_trimmed(at, len) };

	if (!request->name.data)
		request->folded = true;
	else if (name_is(header.name, "X-metadata-token") ||
		 name_is(header.name, "X-aws-ec2-metadata-token"))
		request->token = header;
	else if (name_is(header.name, "X-metadata-token-ttl-seconds") ||
		 name_is(header.name, "X-aws-ec2-metadata-token-ttl-seconds"))
		request->ttl = header;
	else if (name_is(header.name, "X-Forwarded-For"))
		request->forwarded = header;
	else if (name_is(header.name, "Accept-Encoding"))
		request->encoding = header;
	else if (name_is(header.name, "Accept"))
		request->json = mmds_span_is(header.value, "application/json");
	request->name = (struct mmds_span){ 0 };
	return 0;
}

static int on_headers_complete(http_parser *parser)
{
	struct mmds_request *request = parser->data;

	request->body = parser->flags & F_CHUNKED ||
			(parser->content_length != ULLONG_MAX && parser->content_length > 0);
	request->keep_alive = http_should_keep_alive(parser);
	http_parser_pause(parser, 1);
	return 0;
}

static const http_parser_settings callbacks = {
	.on_url = on_url,
	.on_header_field = on_field,
	.on_header_value = on_value,
	.on_headers_complete = on_headers_complete,
};

/* An absolute URI loses its host; what is no path at all becomes empty. */
static struct mmds_span path_of(struct mmds_span uri)
{
	const char scheme[] = "http://", *slash;
	size_t skip = 0;

	if (uri.len > strlen(scheme) && !strncasecmp(uri.data, scheme, strlen(scheme)))
		skip = strlen(scheme);
	slash = memchr(uri.data + skip, '/', uri.len - skip);
	if (!slash || (!skip && slash != uri.data))
		return (struct mmds_span){ uri.data, 0 };
	return (struct mmds_span){ slash, uri.len - (size_t)(slash - uri.data) };
}

enum http_errno mmds_request_parse(struct mmds_request *request, const char *head, size_t len)
{
	enum http_errno error;

	http_parser_init(&request->parser, HTTP_REQUEST);
	request->parser.data = request;
	http_parser_execute(&request->parser, &callbacks, head, len);
	error = HTTP_PARSER_ERRNO(&request->parser);
	if (error == HPE_PAUSED)
		error = request->uri.data && !request->folded ? HPE_OK : HPE_UNKNOWN;
	else if (error == HPE_OK) /* the head has no end after all */
		error = HPE_UNKNOWN;
	if (error == HPE_OK && request->parser.http_major == 0) /* no version at all */
		error = HPE_UNKNOWN;
	if (error == HPE_OK)
		request->path = path_of(request->uri);
	return error;
}
