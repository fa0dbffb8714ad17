/* Private to api-socket/field*.c: values and tables in serde's words. Pure. */
#pragma once

#include "api-socket/fields.h"

/* "string \"x\"", "integer `1`", "map": what a value is. */
void field_describe_value(char *out, size_t size, json_t *value);

/* "expected `a` or `b`", "expected one of `a`, `b`, `c`". */
void field_list_choices(char *out, size_t size, const char *const *choices);
void field_list_names(char *out, size_t size, const struct field_set *set);

/* Puts '?' where a character of valid UTF-8 was cut by a text's end or by a limit inside it. */
void text_mend(char *text);

/* Was the field given? */
bool fields_has(const struct field *field, const void *data);
