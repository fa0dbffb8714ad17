/*
 * The method table in words: docs/protocol.md, what `methods` answers, and mayctl's help are made of it, so none
 * of them can say something else than the table does. Pure; any thread.
 */
#pragma once

#include <stdio.h>

#include "api-socket/method.h"

/* "text", "number, 0 to 255", "one of None, 2M": a field's type for people. */
void describe_type(const struct field *field, char *out, size_t size);

/* "before the start", "any time". */
const char *describe_phases(unsigned int phases);

/* "PUT /drives/{drive_id}"; "" for a method that HTTP has not. */
void describe_http(const struct method *method, char *out, size_t size);

/* Calls visit() for each field, those of structs inside by their dotted path ("rate_limiter.ops.size"). */
void describe_fields(const struct field_set *set,
		     void (*visit)(void *opaque, const char *path, const struct field *field),
		     void *opaque);

/* All of docs/protocol.md. */
void describe_protocol(FILE *out);

/* [{"name", "help", "phases", "fields": [...]}, ...]. NULL when out of memory. */
json_t *describe_methods(void);
