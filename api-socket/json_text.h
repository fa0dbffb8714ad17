/*
 * JSON text to a tree, with refusals in the words, and at the line and column, of serde_json, which
 * Firecracker reads with. jansson reads; what is here only finds places in a text for messages. Pure.
 */
#pragma once

#include "api-socket/fields.h"

/* NULL and *err: "trailing characters at line 1 column 27". */
json_t *json_text_read(const char *text, size_t len, struct error *err);

/* The same for a document that is nobody's request: of two members of a name the last counts. */
json_t *json_text_read_value(const char *text, size_t len, struct error *err);

/* The same for a tree that was read from this text and was then refused by fields_decode(). */
void json_text_explain(const char *text, size_t len, const struct field_error *why,
		       struct error *err);

/*
 * Of a text that json_text_read() has refused: what is not as `set` wants it comes before that mistake, as whoever decodes
 * while reading finds it. True: *err is that. Names of fields are looked at, and all of a value that something follows.
 */
bool json_text_refused_before(const char *text, size_t len, const struct field_set *set,
			      struct error *err);
