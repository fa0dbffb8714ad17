#include "base/msgpack_reader.h"

#include <string.h>

static int want_bytes(struct mp_reader *reader)
{
	reader->ended = true;
	return -EINVAL;
}

/* Big-endian, `len` bytes. */
static int take_number(struct mp_reader *reader, unsigned int len, uint64_t *out)
{
	if ((size_t)(reader->end - reader->at) < len)
		return want_bytes(reader);
	*out = 0;
	while (len--)
		*out = *out << 8 | *reader->at++;
	return 0;
}

static int take_bytes(struct mp_reader *reader, enum mp_type type, uint64_t len,
		      struct mp_value *value)
{
	value->type = type;
	value->len = (uint32_t)len;
	value->bytes = reader->at;
	if ((uint64_t)(reader->end - reader->at) < len)
		return want_bytes(reader);
	reader->at += len;
	return 0;
}

/* Each element is at least a byte: a claim that the rest of the bytes cannot hold is refused here. */
static int take_elements(struct mp_reader *reader, enum mp_type type, uint64_t len,
			 struct mp_value *value)
{
	const uint64_t least = type == MP_MAP ? 2 * len : len;

	value->type = type;
	value->len = (uint32_t)len;
	return least > (uint64_t)(reader->end - reader->at) ? want_bytes(reader) : 0;
}

static int take_signed(struct mp_reader *reader, unsigned int len, struct mp_value *value)
{
	int ret = take_number(reader, len, &value->number);
	int64_t number = (int64_t)value->number;

	if (len == 1)
		number -= number >= 0x80 ? 0x100 : 0;
	else if (len == 2)
		number = (int16_t)number;
	else if (len == 4)
		number = (int32_t)number;
	value->number = (uint64_t)number;
	value->type = number < 0 ? MP_INT : MP_UINT;
	return ret;
}

static int take_float(struct mp_reader *reader, unsigned int len, struct mp_value *value)
{
	int ret = take_number(reader, len, &value->number);
	uint32_t bits = (uint32_t)value->number;
	float single;
	double wide;

	value->type = MP_FLOAT;
	if (ret < 0 || len == 8)
		return ret;
	memcpy(&single, &bits, sizeof(single));
	wide = (double)single;
	memcpy(&value->number, &wide, sizeof(wide));
	return 0;
}

static int take_counted(struct mp_reader *reader, enum mp_type type, unsigned int size_of_count,
			struct mp_value *value)
{
	uint64_t len = 0;
	int ret = take_number(reader, size_of_count, &len);

	if (ret < 0)
		return ret;
	if (type == MP_ARRAY || type == MP_MAP)
		return take_elements(reader, type, len, value);
	return take_bytes(reader, type, type == MP_EXT ? len + 1 : len, value);
}

static int take_uint(struct mp_reader *reader, unsigned int len, struct mp_value *value)
{
	value->type = MP_UINT;
	return take_number(reader, len, &value->number);
}

/* 0xc0 to 0xdf, where each byte means something of its own. */
static int take_marked(struct mp_reader *reader, uint8_t mark, struct mp_value *value)
{
	switch (mark) {
	case 0xc0:
		return 0;
	case 0xc2:
	case 0xc3:
		value->type = MP_BOOL;
		value->boolean = mark == 0xc3;
		return 0;
	case 0xc4 ... 0xc6:
		return take_counted(reader, MP_BIN, 1u << (mark - 0xc4), value);
	case 0xc7 ... 0xc9:
		return take_counted(reader, MP_EXT, 1u << (mark - 0xc7), value);
	case 0xca:
	case 0xcb:
		return take_float(reader, mark == 0xca ? 4 : 8, value);
	case 0xcc ... 0xcf:
		return take_uint(reader, 1u << (mark - 0xcc), value);
	case 0xd0 ... 0xd3:
		return take_signed(reader, 1u << (mark - 0xd0), value);
	case 0xd4 ... 0xd8: /* fixext: 1, 2, 4, 8, 16 and the type */
		return take_bytes(reader, MP_EXT, (1ull << (mark - 0xd4)) + 1, value);
	case 0xd9 ... 0xdb:
		return take_counted(reader, MP_STR, 1u << (mark - 0xd9), value);
	case 0xdc:
	case 0xdd:
		return take_counted(reader, MP_ARRAY, mark == 0xdc ? 2 : 4, value);
	case 0xde:
	case 0xdf:
		return take_counted(reader, MP_MAP, mark == 0xde ? 2 : 4, value);
	default: /* 0xc1 is never used */
		return -EINVAL;
	}
}

int mp_next(struct mp_reader *reader, struct mp_value *value)
{
	uint8_t mark;

	*value = (struct mp_value){ .type = MP_NIL };
	if (reader->at >= reader->end)
		return want_bytes(reader);
	mark = *reader->at++;
	switch (mark) {
	case 0x00 ... 0x7f:
		value->type = MP_UINT;
		value->number = mark;
		return 0;
	case 0x80 ... 0x8f:
		return take_elements(reader, MP_MAP, mark & 0x0f, value);
	case 0x90 ... 0x9f:
		return take_elements(reader, MP_ARRAY, mark & 0x0f, value);
	case 0xa0 ... 0xbf:
		return take_bytes(reader, MP_STR, mark & 0x1f, value);
	case 0xe0 ... 0xff:
		value->type = MP_INT;
		value->number = (uint64_t)(int64_t)(int8_t)mark;
		return 0;
	default:
		return take_marked(reader, mark, value);
	}
}

/* Every value takes at least a byte, so this ends; the count cannot overflow: 2^33 more a byte at most. */
int mp_skip(struct mp_reader *reader)
{
	uint64_t left = 1;

	while (left > 0) {
		struct mp_value value;
		int ret = mp_next(reader, &value);

		if (ret < 0)
			return ret;
		left--;
		if (value.type == MP_ARRAY)
			left += value.len;
		else if (value.type == MP_MAP)
			left += 2ull * value.len;
	}
	return 0;
}

bool mp_is(const struct mp_value *value, const char *string)
{
	return value->type == MP_STR && value->len == strlen(string) &&
	       memcmp(value->bytes, string, value->len) == 0;
}
