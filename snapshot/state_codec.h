/*
 * Structures to MessagePack and back, by their tables (snapshot/state_desc.h): a structure is a map from
 * field names to values, a list an array, bytes a bin. Any thread.
 */
#pragma once

#include "base/error.h"
#include "base/msgpack_reader.h"
#include "snapshot/state_desc.h"

/* Bytes that grow as they are written. */
struct state_buffer {
	uint8_t *bytes; /* free() them */
	size_t len, room;
	bool failed; /* there was no memory for more */
};

/* Adds the structure. Without memory the buffer says so and stays as it is. */
void state_encode(struct state_buffer *out, const struct state_desc *desc, const void *state);

/*
 * Fills the structure (desc->size bytes, all of it written) from a map that a table of version `version`
 * made. Fields that the table does not know are skipped. -EINVAL, with the field's name, when one is
 * missing, twice there, of another type, too long or too large for its place.
 */
must_check int state_decode(struct mp_reader *in, const struct state_desc *desc, uint64_t version,
			    void *state, struct error *err);

/* The same where all is zero already, and of which only what the map has is touched: for a large structure in fresh
 * pages, most of which a machine does not have. */
must_check int state_fill(struct mp_reader *in, const struct state_desc *desc, uint64_t version,
			  void *zeroes, struct error *err);

/* For whoever packs what is no structure: an msgpack_packer's write function, with a state_buffer as data. */
int state_buffer_write(void *buffer, const char *bytes, size_t len);
