/*
 * Reads MessagePack (its specification: github.com/msgpack/msgpack/blob/master/spec.md) from bytes that
 * nobody vouches for. It allocates nothing, copies nothing and never recurses: a library's decoder builds
 * objects, and reserves room for as many elements as a header claims before it has seen the first.
 *
 * Any thread; a reader belongs to its caller and the bytes must outlive what was read.
 */
#pragma once

#include "base/util.h"

struct mp_reader {
	const uint8_t *at, *end;
	bool ended; /* it failed for want of bytes: with more of them it might not */
};

enum mp_type {
	MP_NIL,
	MP_BOOL,
	MP_UINT, /* not negative, however it was encoded */
	MP_INT,	 /* negative */
	MP_FLOAT,
	MP_STR,
	MP_BIN,
	MP_ARRAY, /* `len` values follow */
	MP_MAP,	  /* `len` pairs of key and value follow */
	MP_EXT,
};

struct mp_value {
	enum mp_type type;
	bool boolean;
	uint64_t
		number; /* MP_UINT; of MP_INT the same bits, as int64_t; of MP_FLOAT those of a double */
	const uint8_t *bytes; /* MP_STR (not terminated), MP_BIN, MP_EXT: into the input */
	uint32_t len;	      /* of bytes; or elements, or pairs */
};

/* The next value, of an array or a map only its head. -EINVAL when the bytes end too early or are not
 * MessagePack; then the reader is of no further use. */
must_check int mp_next(struct mp_reader *reader, struct mp_value *value);

/* The next value with all that is in it, checked and left out. */
must_check int mp_skip(struct mp_reader *reader);

/* Is this the string? */
bool mp_is(const struct mp_value *value, const char *string);
