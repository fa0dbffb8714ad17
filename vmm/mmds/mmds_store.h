/*
 * The data of the metadata service: one JSON document that the host puts and patches and the guest
 * reads by path.
 *
 * Who owns it: the control thread is the only writer. A document that has been published is never
 * changed again: a put or a patch builds a new one and swaps the pointer under a lock that is held
 * for that swap alone. A reader (the I/O loop of a network device, or the control thread) takes a
 * reference under the same lock and works without it. So nobody waits while another one parses,
 * merges or prints, and a reader sees the old document or the new one, never a mixture. References
 * are counted for the whole document, by us: the library's own counts are the control thread's, until
 * the last reference goes.
 */
#pragma once

#include <jansson.h>
#include <pthread.h>

#include "base/util.h"

#define MMDS_LIMIT_DEFAULT 51200u
#define MMDS_PATH_MAX 2500u /* a longer path leads nowhere */

/* Firecracker's words for what may go wrong; clients match on them. */
#define MMDS_TEXT_LIMIT "The MMDS patch request doesn't fit."
#define MMDS_TEXT_NOT_INITIALIZED "The MMDS data store is not initialized."
#define MMDS_TEXT_UNSUPPORTED "Cannot retrieve value. The value has an unsupported type."

struct mmds_document;

struct mmds_store {
	pthread_mutex_t lock;		/* of the pointer */
	struct mmds_document *document; /* JSON null before the first put */
	bool was_put;			/* the control thread's: null may be put too */
	size_t limit;
};

enum mmds_format {
	MMDS_IMDS, /* an object: its keys, a line each, with a slash where an object follows; a
		      string: itself; nothing else can be shown */
	MMDS_JSON,
};

/* Empty; limit: bytes of the document's text at most. -ENOMEM. */
must_check int mmds_store_init(struct mmds_store *store, size_t limit);
void mmds_store_fini(struct mmds_store *store);

/*
 * A new document, of any JSON type; `data` is copied. -EMSGSIZE: its text is over the limit
 * (MMDS_TEXT_LIMIT); -E2BIG: nested deeper than MMDS_JSON_DEPTH_MAX; -ENOMEM. On failure the old one
 * stays. Control thread.
 */
must_check int mmds_store_put(struct mmds_store *store, json_t *data);

/* What a put of it would answer, but for -ENOMEM. Pure. */
must_check int mmds_store_check(const struct mmds_store *store, json_t *data);

/* Merges a patch (RFC 7396). Besides, -ENOENT: nothing was put before (MMDS_TEXT_NOT_INITIALIZED). */
must_check int mmds_store_patch(struct mmds_store *store, json_t *patch);

/* A copy of the whole document, for the host's eyes; {} before the first put. NULL: no memory. Control
 * thread. */
json_t *mmds_store_document(struct mmds_store *store);

/*
 * What is at a path: a JSON pointer (RFC 6901) of `len` bytes, with a slash at the end or without;
 * doubled slashes count once. *text (freed by the caller, not terminated) and *text_len. -ENOENT:
 * nothing is there; -ENOTSUP: not to be shown in this format (MMDS_TEXT_UNSUPPORTED); -ENOMEM.
 */
must_check int mmds_store_get(struct mmds_store *store, const char *path, size_t len,
			      enum mmds_format format, char **text, size_t *text_len);
