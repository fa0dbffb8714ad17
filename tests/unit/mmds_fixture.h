/* A client of a service that has a value at /a, for the tests of its TCP. Each that includes it has its own. */
#pragma once

#include <criterion/criterion.h>

#include "tests/unit/mmds_client.h"

#define GET "GET /a HTTP/1.1\r\n\r\n"
#define BODY "\r\n\r\nvalue"

static struct client client;

static void setup(void)
{
	client_start(&client, "{\"a\":\"value\"}");
}

static void teardown(void)
{
	client_stop(&client);
}

static bool ends_with(const char *text, const char *end)
{
	const size_t len = strlen(text), end_len = strlen(end);

	return len >= end_len && !strcmp(text + len - end_len, end);
}

static unsigned int open_count(void)
{
	return (unsigned int)(client.mmds->counters.connections_created -
			      client.mmds->counters.connections_destroyed);
}

/* Data of `len` bytes at /big. */
static void put_big(size_t len)
{
	char *text = malloc(len + 1);
	json_t *value;

	cr_assert(text);
	for (size_t i = 0; i < len; i++)
		text[i] = (char)('a' + i * 7 % 26);
	text[len] = '\0';
	value = json_pack("{s:s,s:s}", "a", "value", "big", text);
	cr_assert_eq(mmds_store_put(&client.mmds->store, value), 0);
	json_decref(value);
	free(text);
}

static const struct seen *last(void)
{
	cr_assert_gt(client.seen_count, 0);
	return &client.seen[client.seen_count - 1];
}
