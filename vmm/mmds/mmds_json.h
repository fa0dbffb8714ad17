/*
 * JSON values as the metadata service stores and prints them: keys in byte order, no spaces. Pure;
 * any thread, as long as nobody changes the value meanwhile.
 *
 * Printing is our own because the library's is not what clients compare with: it prints 12.12 as
 * 12.119999999999999, or with fewer digits loses some.
 */
#pragma once

#include <jansson.h>

#include "base/util.h"

/* As deep as Firecracker's parser goes; deeper documents are refused. */
#define MMDS_JSON_DEPTH_MAX 127u

/*
 * A deep copy with the keys of every object in byte order, which the library then keeps: whoever
 * prints it need not sort. *out is a new reference. -E2BIG: deeper than MMDS_JSON_DEPTH_MAX; -ENOMEM.
 */
must_check int mmds_json_sorted(json_t *value, json_t **out);

/*
 * The text of a value that mmds_json_sorted() made. Returns its length, and writes it to buf, without
 * a zero at the end, only if it fits into size bytes (buf may be NULL for size 0).
 */
size_t mmds_json_write(json_t *value, char *buf, size_t size);

/* RFC 7396: what `target` (NULL: nothing) becomes by `patch`; neither is changed. A new reference,
 * which shares what did not change; NULL: no memory. Recursion is as deep as the patch. */
json_t *mmds_json_merge(json_t *target, json_t *patch);
