/* Private to api-socket/http*.c: one HTTP client, in the middle of one request. */
#pragma once

#include <http_parser.h>

#include "api-socket/connection.h"

#define HTTP_LINE_MAX 1024u /* Firecracker's limit, of the request line and of a header */

struct http {
	struct connection *connection;
	http_parser parser;
	const char *bytes; /* what it is reading just now */
	size_t earlier;	   /* bytes of this request that came before those */
	char url[HTTP_LINE_MAX];
	size_t url_len;
	char name[HTTP_LINE_MAX], value[HTTP_LINE_MAX]; /* of the header that is being read */
	size_t name_len, value_len;
	bool in_value; /* the name is complete */
	char *body;    /* terminated */
	size_t body_len, body_size;
	int fds[CONNECTION_FDS_MAX]; /* that came with its bytes; what is not kept goes with it */
	unsigned int fd_count;
	bool expects_continue;
	bool wants_plain_text;
	bool complete;
	char refusal[HTTP_LINE_MAX + 200]; /* why it is no request that we take; "" so far */
};

/* An enum api_verb; -1 for what Firecracker does not take. method: http_parser's. */
int http_verb(unsigned int method);

/* The request is refused with this text; returns -1, which stops http_parser. */
int http_refuse(struct http *http, const char *fmt, ...) printf_like(2, 3);

/* api-socket/http_serve.c: the answers. */
void http_send_continue(struct http *http);
void http_send_refusal(struct http *http);
/* Serves the complete request. */
void http_serve(struct http *http);
