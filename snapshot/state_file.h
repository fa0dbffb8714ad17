/*
 * The state file of a snapshot: MessagePack from beginning to end, sections of named fields, each with its
 * checksum. docs/snapshot-format.md is its specification. It knows neither machine nor device.
 *
 * A file is untrusted: its size is capped before it is read, every claim in it is checked against the bytes
 * that are there, and nothing is built before all checksums hold.
 *
 * Any thread; an object belongs to its creator.
 */
#pragma once

#include "snapshot/state_codec.h"

#define STATE_FILE_MAGIC "mayfly snapshot"
#define STATE_FILE_FORMAT 1u /* of the framing; sections have versions of their own */
#define STATE_FILE_MAX MIB(16)
#define STATE_SECTIONS_MAX 512u

/* Writing -----------------------------------------------------------------------------------------*/

struct state_writer {
	struct state_buffer body; /* the sections so far */
	uint32_t count;
};

/* Adds a section, named by the table; `index` tells several of a name apart. */
void state_writer_add(struct state_writer *writer, const struct state_desc *desc, uint32_t index,
		      const void *state);

/* The whole file, head and sections. -ENOMEM; -EFBIG when it would be larger than any reader takes. The
 * caller frees out->bytes. */
must_check int state_writer_finish(const struct state_writer *writer, struct state_buffer *out,
				   struct error *err);
void state_writer_fini(struct state_writer *writer);

/* Reading -----------------------------------------------------------------------------------------*/

struct state_section {
	struct mp_value name;
	uint64_t index, version;
	const uint8_t *fields; /* the map, to the section's end */
	const uint8_t *end;
};

struct state_file {
	const char *name; /* borrowed, for messages */
	uint8_t *bytes;
	size_t size;
	uint32_t count;
	struct state_section *sections; /* [count] */
};

/*
 * Reads a whole file and checks it, all but the fields. `name` is for messages. -EFBIG when it is larger
 * than STATE_FILE_MAX, -EINVAL when it is damaged or none of ours, -EPROTONOSUPPORT when it is of a newer
 * format. On failure nothing is left to undo.
 */
must_check int state_file_read(struct state_file *file, int fd, const char *name,
			       struct error *err);

/* The same for bytes in memory, which it copies. */
must_check int state_file_parse(struct state_file *file, const void *bytes, size_t size,
				const char *name, struct error *err);
void state_file_fini(struct state_file *file);

/* Decodes the index-th section of the table's name. -ENOENT when there is none. */
must_check int state_file_get(const struct state_file *file, const struct state_desc *desc,
			      uint32_t index, void *state, struct error *err);

/* The same by state_fill(). */
must_check int state_file_fill(const struct state_file *file, const struct state_desc *desc,
			       uint32_t index, void *zeroes, struct error *err);

/* Has the index-th section exactly these fields? They are of the table as it is now. */
bool state_file_has(const struct state_file *file, const struct state_desc *desc, uint32_t index,
		    const struct state_buffer *fields);

/* How many sections have this name. */
uint32_t state_file_count(const struct state_file *file, const char *name);
