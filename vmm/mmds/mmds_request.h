/*
 * The head of a guest's HTTP request, taken apart by http-parser. What it points at is the caller's
 * buffer. Pure; any thread.
 */
#pragma once

#include <http_parser.h>

#include "base/util.h"

/* Part of the request, in the caller's buffer. data NULL: absent. */
struct mmds_span {
	const char *data;
	size_t len;
};

struct mmds_header {
	struct mmds_span name, value; /* as they were sent, for messages */
};

struct mmds_request {
	struct mmds_span uri, path; /* the path: from its first slash to the end */
	struct mmds_header token, ttl, forwarded, encoding;
	struct mmds_span name; /* of the header that is being parsed */
	bool folded;	       /* a header's value on several lines */
	bool json;
	bool body, keep_alive;
	http_parser parser;
};

/* Is it exactly this text? */
bool mmds_span_is(struct mmds_span span, const char *text);

/* Without blanks at its ends. */
struct mmds_span mmds_span_trimmed(const char *at, size_t len);

/* The length of the first request's head in data, with the empty line at its end; 0: there is no end
 * yet. */
size_t mmds_request_head(const char *data, size_t len);

/* Takes one head apart, into a zeroed *request; HPE_OK, or why it is none. */
enum http_errno mmds_request_parse(struct mmds_request *request, const char *head, size_t len);
