#include "snapshot/state_codec.h"

#include <msgpack/pack.h>
#include <string.h>

/* Numbers in structures ---------------------------------------------------------------------------*/

static uint64_t load_number(const uint8_t *at, uint32_t size)
{
	uint64_t value = 0;

	memcpy(&value, at,
	       MIN(size, (uint32_t)sizeof(value))); /* little-endian, as every host of ours */
	return value;
}

static uint32_t number_size(enum state_type type)
{
	switch (type) {
	case STATE_BOOL:
	case STATE_U8:
		return 1;
	case STATE_U16:
		return 2;
	case STATE_U32:
		return 4;
	default:
		return 8;
	}
}

static uint32_t count_of(const struct state_field *field, const uint8_t *state, uint32_t all)
{
	if (!field->count_offset)
		return all;
	return MIN((uint32_t)load_number(state + field->count_offset, 4), all);
}

/* Encoding ----------------------------------------------------------------------------------------*/

int state_buffer_write(void *opaque, const char *bytes, size_t len)
{
	struct state_buffer *buffer = opaque;

	if (buffer->failed)
		return -1;
	if (buffer->room - buffer->len < len) {
		size_t room = 2 * buffer->room + len + 256;
		uint8_t *more = realloc(buffer->bytes, room);

		if (!more) {
			buffer->failed = true;
			return -1;
		}
		buffer->bytes = more;
		buffer->room = room;
	}
	memcpy(buffer->bytes + buffer->len, bytes, len);
	buffer->len += len;
	return 0;
}

static void pack_struct(msgpack_packer *packer, const struct state_desc *desc,
			const uint8_t *state);

static void pack_element(msgpack_packer *packer, const struct state_field *field, const uint8_t *at)
{
	switch (field->type) {
	case STATE_BOOL:
		if (*at)
			msgpack_pack_true(packer);
		else
			msgpack_pack_false(packer);
		break;
	case STATE_I64:
		msgpack_pack_int64(packer, (int64_t)load_number(at, 8));
		break;
	case STATE_STRING:
		msgpack_pack_str_with_body(packer, (const char *)at,
					   strnlen((const char *)at, field->size));
		break;
	case STATE_STRUCT:
		pack_struct(packer, field->sub, at);
		break;
	default:
		msgpack_pack_uint64(packer, load_number(at, number_size(field->type)));
		break;
	}
}

static void pack_field(msgpack_packer *packer, const struct state_field *field,
		       const uint8_t *state)
{
	const uint8_t *at = state + field->offset;
	uint32_t count;

	if (field->type == STATE_BYTES) {
		msgpack_pack_bin_with_body(packer, at, count_of(field, state, field->size));
		return;
	}
	if (!field->max) {
		pack_element(packer, field, at);
		return;
	}
	count = count_of(field, state, field->max);
	msgpack_pack_array(packer, count);
	for (uint32_t i = 0; i < count; i++)
		pack_element(packer, field, at + (size_t)i * field->size);
}

/* As deep as the tables are. */
static void pack_struct(msgpack_packer *packer, const struct state_desc *desc, const uint8_t *state)
{
	msgpack_pack_map(packer, desc->field_count);
	for (uint32_t i = 0; i < desc->field_count; i++) {
		msgpack_pack_str_with_body(packer, desc->fields[i].name,
					   strlen(desc->fields[i].name));
		pack_field(packer, &desc->fields[i], state);
	}
}

void state_encode(struct state_buffer *out, const struct state_desc *desc, const void *state)
{
	msgpack_packer packer;

	msgpack_packer_init(&packer, out, state_buffer_write);
	pack_struct(&packer, desc, state);
}

/* Decoding ----------------------------------------------------------------------------------------*/

static int malformed(struct error *err)
{
	return error_set(err, EINVAL, "ends too early or is no MessagePack");
}

static int take_number(const struct mp_value *value, const struct state_field *field, uint8_t *at,
		       struct error *err)
{
	const uint32_t size = number_size(field->type);

	if (field->type == STATE_I64) {
		if (value->type != MP_INT && (value->type != MP_UINT || value->number >> 63))
			return error_set(err, EINVAL, "not a signed number of 64 bits");
	} else if (value->type != MP_UINT) {
		return error_set(err, EINVAL, "not a number of its kind");
	} else if (size < 8 && value->number >> (8 * size)) {
		return error_set(err, EINVAL, "%lu is more than %u bits hold", value->number,
				 8 * size);
	}
	memcpy(at, &value->number, size);
	return 0;
}

static int take_string(const struct mp_value *value, const struct state_field *field, uint8_t *at,
		       struct error *err)
{
	if (value->type != MP_STR || memchr(value->bytes, 0, value->len))
		return error_set(err, EINVAL, "not a string");
	if (value->len >= field->size)
		return error_set(err, EINVAL, "a string of %u bytes, %u at most", value->len,
				 field->size - 1);
	memcpy(at, value->bytes, value->len); /* the rest is zero already */
	return 0;
}

static int take_bytes(const struct mp_value *value, const struct state_field *field, uint8_t *state,
		      struct error *err)
{
	if (value->type != MP_BIN)
		return error_set(err, EINVAL, "not bytes");
	if (field->count_offset ? value->len > field->size : value->len != field->size)
		return error_set(err, EINVAL, "%u bytes instead of %s%u", value->len,
				 field->count_offset ? "at most " : "", field->size);
	memcpy(state + field->offset, value->bytes, value->len);
	if (field->count_offset)
		memcpy(state + field->count_offset, &value->len, sizeof(value->len));
	return 0;
}

static int unpack_struct(struct mp_reader *in, const struct state_desc *desc, uint64_t version,
			 uint8_t *state, struct error *err);

static int unpack_element(struct mp_reader *in, const struct state_field *field, uint8_t *at,
			  struct error *err)
{
	struct mp_value value;

	if (field->type == STATE_STRUCT)
		return unpack_struct(in, field->sub, 1, at, err);
	if (mp_next(in, &value) < 0)
		return malformed(err);
	if (field->type == STATE_STRING)
		return take_string(&value, field, at, err);
	if (field->type != STATE_BOOL)
		return take_number(&value, field, at, err);
	if (value.type != MP_BOOL)
		return error_set(err, EINVAL, "neither true nor false");
	*at = value.boolean;
	return 0;
}

static int unpack_array(struct mp_reader *in, const struct state_field *field, uint8_t *state,
			struct error *err)
{
	struct mp_value head;

	if (mp_next(in, &head) < 0)
		return malformed(err);
	if (head.type != MP_ARRAY)
		return error_set(err, EINVAL, "not an array");
	if (head.len > field->max)
		return error_set(err, EINVAL, "%u elements, %u at most", head.len, field->max);
	for (uint32_t i = 0; i < head.len; i++) {
		uint8_t *at = state + field->offset + (size_t)i * field->size;

		if (unpack_element(in, field, at, err) < 0)
			return error_prefix(err, "element %u", i);
	}
	if (field->count_offset)
		memcpy(state + field->count_offset, &head.len, sizeof(head.len));
	return 0;
}

static int unpack_field(struct mp_reader *in, const struct state_field *field, uint8_t *state,
			struct error *err)
{
	struct mp_value value;

	if (field->type == STATE_BYTES)
		return mp_next(in, &value) < 0 ? malformed(err)
					       : take_bytes(&value, field, state, err);
	if (field->max)
		return unpack_array(in, field, state, err);
	return unpack_element(in, field, state + field->offset, err);
}

/* `next` is where it probably is: who writes a table of fields writes them in its order. */
static const struct state_field *find_field(const struct state_desc *desc,
					    const struct mp_value *name, uint32_t next)
{
	if (next < desc->field_count && mp_is(name, desc->fields[next].name))
		return &desc->fields[next];
	for (uint32_t i = 0; i < desc->field_count; i++)
		if (mp_is(name, desc->fields[i].name))
			return &desc->fields[i];
	return NULL;
}

/* Tables have at most 64 fields, a bit each. */
static int check_all_seen(const struct state_desc *desc, uint64_t version, uint64_t seen,
			  struct error *err)
{
	for (uint32_t i = 0; i < desc->field_count; i++)
		if (!(seen >> i & 1) && desc->fields[i].since <= version)
			return error_set(err, EINVAL, "%s: missing", desc->fields[i].name);
	return 0;
}

static int unpack_pair(struct mp_reader *in, const struct state_desc *desc, uint8_t *state,
		       uint64_t *seen, struct error *err)
{
	const struct state_field *field;
	struct mp_value name;
	uint64_t bit;

	if (mp_next(in, &name) < 0 || name.type != MP_STR)
		return malformed(err);
	field = find_field(desc, &name, (uint32_t)__builtin_popcountll(*seen));
	if (!field)
		return mp_skip(in) < 0 ? malformed(err) : 0;
	bit = 1ull << (field - desc->fields);
	if (*seen & bit)
		return error_set(err, EINVAL, "%s: twice there", field->name);
	*seen |= bit;
	return unpack_field(in, field, state, err) < 0 ? error_prefix(err, "%s", field->name) : 0;
}

static int unpack_struct(struct mp_reader *in, const struct state_desc *desc, uint64_t version,
			 uint8_t *state, struct error *err)
{
	struct mp_value head;
	uint64_t seen = 0;

	if (mp_next(in, &head) < 0)
		return malformed(err);
	if (head.type != MP_MAP)
		return error_set(err, EINVAL, "not a map of fields");
	for (uint32_t i = 0; i < head.len; i++) {
		int ret = unpack_pair(in, desc, state, &seen, err);

		if (ret < 0)
			return ret;
	}
	return check_all_seen(desc, version, seen, err);
}

int state_fill(struct mp_reader *in, const struct state_desc *desc, uint64_t version, void *zeroes,
	       struct error *err)
{
	struct error ignored;

	return unpack_struct(in, desc, version, zeroes, err ? err : &ignored);
}

int state_decode(struct mp_reader *in, const struct state_desc *desc, uint64_t version, void *state,
		 struct error *err)
{
	memset(state, 0, desc->size);
	return state_fill(in, desc, version, state, err);
}
