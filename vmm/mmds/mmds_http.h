/*
 * The guest's HTTP requests to the metadata service and the answers to them, word for word as
 * Firecracker gives them. Parsing is http-parser's. Pure but for the store, the tokens and the
 * counters; any thread.
 *
 * A request is its head: no request that is answered with data has a body, so one with a body is
 * malformed and ends the connection, and nobody can hide a second request in it. Otherwise a
 * connection lives as long as HTTP says: Firecracker keeps every one open, which leaves clients
 * hanging that asked for `Connection: close`. Three more differences, seen beside Firecracker 1.17: a
 * head with lone line feeds is taken; `Transfer-Encoding: chunked` is a body; and headers that are none
 * (no colon, several lines, a length that is no number) are an "Invalid request." without details.
 */
#pragma once

#include "vmm/mmds/mmds.h"

/* A longer head is refused. (Firecracker's bound, one byte more than the longest that it takes.) */
#define MMDS_REQUEST_MAX 2500u

struct mmds_response {
	char *data; /* the owner frees it */
	size_t len;
	bool close; /* the connection ends after it */
};

/* Answers one head, whatever it is. -ENOMEM. */
must_check int mmds_http_answer(struct mmds *mmds, const char *head, size_t len, uint64_t now_ms,
				struct mmds_response *out);
