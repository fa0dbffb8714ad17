#include "snapshot/state_file.h"

#include <msgpack/pack.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

static int malformed(const struct state_file *file, const char *what, struct error *err)
{
	return error_set(err, EINVAL, "snapshot %s: %s", file->name, what);
}

static uint32_t checksum(const uint8_t *bytes, size_t len)
{
	return (uint32_t)crc32(0, bytes, (uInt)len); /* at most STATE_FILE_MAX */
}

/* Framing: [checksum, bin of [name, index, version, fields]] ----------------------------------------*/

static int parse_body(struct state_section *section, const struct mp_value *body)
{
	struct mp_reader in = { .at = body->bytes, .end = body->bytes + body->len };
	struct mp_value head, index, version;

	if (mp_next(&in, &head) < 0 || head.type != MP_ARRAY || head.len != 4 ||
	    mp_next(&in, &section->name) < 0 || section->name.type != MP_STR ||
	    mp_next(&in, &index) < 0 || index.type != MP_UINT || mp_next(&in, &version) < 0 ||
	    version.type != MP_UINT)
		return -EINVAL;
	section->index = index.number;
	section->version = version.number;
	section->fields = in.at;
	section->end = in.end;
	return 0;
}

static int parse_section(struct state_file *file, struct mp_reader *in, struct error *err)
{
	struct state_section *section = &file->sections[file->count];
	struct mp_value head, sum, body;

	if (mp_next(in, &head) < 0 || head.type != MP_ARRAY || head.len != 2 ||
	    mp_next(in, &sum) < 0 || sum.type != MP_UINT || mp_next(in, &body) < 0 ||
	    body.type != MP_BIN)
		return malformed(file, "damaged: a section is cut off or malformed", err);
	if (checksum(body.bytes, body.len) != sum.number)
		return malformed(file, "damaged: a section's checksum does not hold", err);
	if (parse_body(section, &body) < 0)
		return malformed(file, "malformed: a section is not what its head says", err);
	file->count++;
	return 0;
}

static int parse_head(struct state_file *file, struct mp_reader *in, uint64_t *sections,
		      struct error *err)
{
	struct mp_value head, magic, format, count;

	if (mp_next(in, &head) < 0 || head.type != MP_ARRAY || head.len != 3 ||
	    mp_next(in, &magic) < 0 || !mp_is(&magic, STATE_FILE_MAGIC) ||
	    mp_next(in, &format) < 0 || format.type != MP_UINT)
		return malformed(file, "not the state file of a mayfly snapshot", err);
	if (format.number != STATE_FILE_FORMAT)
		return error_set(err, EPROTONOSUPPORT,
				 "snapshot %s: of format %lu, but this mayfly reads format %u",
				 file->name, format.number, STATE_FILE_FORMAT);
	if (mp_next(in, &count) < 0 || count.type != MP_UINT || count.number > STATE_SECTIONS_MAX)
		return malformed(file, "malformed: an impossible number of sections", err);
	*sections = count.number;
	return 0;
}

static int parse(struct state_file *file, struct error *err)
{
	struct mp_reader in = { .at = file->bytes, .end = file->bytes + file->size };
	uint64_t sections = 0;
	int ret = parse_head(file, &in, &sections, err);

	if (ret < 0)
		return ret;
	file->sections = calloc(sections + 1, sizeof(*file->sections));
	if (!file->sections)
		return error_set(err, ENOMEM, "snapshot %s: out of memory", file->name);
	while (file->count < sections) {
		ret = parse_section(file, &in, err);
		if (ret < 0)
			return ret;
	}
	if (in.at != in.end)
		return malformed(file, "malformed: something follows its last section", err);
	return 0;
}

/* Takes over `bytes`, also on failure. */
static int parse_own(struct state_file *file, uint8_t *bytes, size_t size, const char *name,
		     struct error *err)
{
	int ret;

	*file = (struct state_file){ .name = name, .size = size, .bytes = bytes };
	ret = parse(file, err);
	if (ret < 0)
		state_file_fini(file);
	return ret;
}

int state_file_parse(struct state_file *file, const void *bytes, size_t size, const char *name,
		     struct error *err)
{
	uint8_t *copy = malloc(size + 1);

	if (!copy)
		return error_set(err, ENOMEM, "snapshot %s: out of memory", name);
	memcpy(copy, bytes, size);
	return parse_own(file, copy, size, name, err);
}

/* Until `size` bytes or the end, whichever comes first; how many it were. */
static ssize_t read_up_to(int fd, uint8_t *to, size_t size)
{
	size_t total = 0;

	while (total < size) {
		ssize_t got = pread(fd, to + total, size - total, (off_t)total);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			break;
		total += (size_t)got;
	}
	return (ssize_t)total;
}

static int read_whole(struct state_file *file, int fd, size_t size, const char *name,
		      struct error *err)
{
	uint8_t *bytes = malloc(size + 1);
	ssize_t got = bytes ? read_up_to(fd, bytes, size) : -ENOMEM;

	if (got >= 0)
		return parse_own(file, bytes, (size_t)got, name, err);
	free(bytes);
	return error_set_errno(err, (int)-got, "snapshot %s: cannot read it", name);
}

int state_file_read(struct state_file *file, int fd, const char *name, struct error *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return error_set_errno(err, errno, "snapshot %s", name);
	if (!S_ISREG(st.st_mode))
		return error_set(err, EINVAL, "snapshot %s: not a regular file", name);
	if (st.st_size > (off_t)STATE_FILE_MAX)
		return error_set(err, EFBIG,
				 "snapshot %s: %ld bytes, more than the %lu MiB of a state file",
				 name, (long)st.st_size, STATE_FILE_MAX >> 20);
	return read_whole(file, fd, (size_t)st.st_size, name, err);
}

void state_file_fini(struct state_file *file)
{
	free(file->bytes);
	free(file->sections);
	*file = (struct state_file){ 0 };
}

uint32_t state_file_count(const struct state_file *file, const char *name)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < file->count; i++)
		count += mp_is(&file->sections[i].name, name);
	return count;
}

static const struct state_section *find(const struct state_file *file, const char *name,
					uint32_t index)
{
	for (uint32_t i = 0; i < file->count; i++)
		if (file->sections[i].index == index && mp_is(&file->sections[i].name, name))
			return &file->sections[i];
	return NULL;
}

int state_file_fill(const struct state_file *file, const struct state_desc *desc, uint32_t index,
		    void *zeroes, struct error *err)
{
	const struct state_section *section = find(file, desc->name, index);
	struct mp_reader in;
	int ret;

	if (!section)
		return error_set(err, ENOENT, "snapshot %s: there is no section %s %u", file->name,
				 desc->name, index);
	in = (struct mp_reader){ .at = section->fields, .end = section->end };
	ret = state_fill(&in, desc, section->version, zeroes, err);
	if (ret == 0 && in.at != in.end)
		ret = error_set(err, EINVAL, "there is more in it than its fields");
	return ret == 0 ? 0
			: error_prefix(err, "snapshot %s: section %s %u", file->name, desc->name,
				       index);
}

bool state_file_has(const struct state_file *file, const struct state_desc *desc, uint32_t index,
		    const struct state_buffer *fields)
{
	const struct state_section *section = find(file, desc->name, index);

	return section && section->version == desc->version &&
	       (size_t)(section->end - section->fields) == fields->len &&
	       memcmp(section->fields, fields->bytes, fields->len) == 0;
}

int state_file_get(const struct state_file *file, const struct state_desc *desc, uint32_t index,
		   void *state, struct error *err)
{
	memset(state, 0, desc->size);
	return state_file_fill(file, desc, index, state, err);
}

/* Writing -----------------------------------------------------------------------------------------*/

void state_writer_add(struct state_writer *writer, const struct state_desc *desc, uint32_t index,
		      const void *state)
{
	struct state_buffer body = { 0 };
	msgpack_packer packer;

	msgpack_packer_init(&packer, &body, state_buffer_write);
	msgpack_pack_array(&packer, 4);
	msgpack_pack_str_with_body(&packer, desc->name, strlen(desc->name));
	msgpack_pack_uint32(&packer, index);
	msgpack_pack_uint32(&packer, desc->version);
	state_encode(&body, desc, state);
	msgpack_packer_init(&packer, &writer->body, state_buffer_write);
	msgpack_pack_array(&packer, 2);
	msgpack_pack_uint32(&packer, body.failed ? 0 : checksum(body.bytes, body.len));
	msgpack_pack_bin_with_body(&packer, body.bytes, body.len);
	writer->body.failed |= body.failed;
	writer->count++;
	free(body.bytes);
}

int state_writer_finish(const struct state_writer *writer, struct state_buffer *out,
			struct error *err)
{
	msgpack_packer packer;

	*out = (struct state_buffer){ .failed = writer->body.failed };
	msgpack_packer_init(&packer, out, state_buffer_write);
	msgpack_pack_array(&packer, 3);
	msgpack_pack_str_with_body(&packer, STATE_FILE_MAGIC, strlen(STATE_FILE_MAGIC));
	msgpack_pack_uint32(&packer, STATE_FILE_FORMAT);
	msgpack_pack_uint32(&packer, writer->count);
	state_buffer_write(out, (const char *)writer->body.bytes, writer->body.len);
	if (!out->failed && out->len <= STATE_FILE_MAX && writer->count <= STATE_SECTIONS_MAX)
		return 0;
	free(out->bytes);
	if (out->failed)
		return error_set(err, ENOMEM, "snapshot: out of memory");
	return error_set(err, EFBIG, "snapshot: the state is too large for a file");
}

void state_writer_fini(struct state_writer *writer)
{
	free(writer->body.bytes);
	*writer = (struct state_writer){ 0 };
}
