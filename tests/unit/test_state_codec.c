#include <criterion/criterion.h>
#include <fcntl.h>
#include <msgpack/pack.h>
#include <string.h>
#include <sys/mman.h>
#include <zlib.h>

#include "snapshot/state_file.h"

struct inner {
	uint16_t a;
	bool on;
};

struct outer {
	uint64_t first;
	uint8_t small;
	int64_t below;
	char name[8];
	uint8_t bytes[5];
	uint32_t blob_len;
	uint8_t blob[300];
	uint32_t inner_count;
	struct inner inners[4];
	struct inner one;
	uint32_t all[3];
	uint64_t later; /* of version 2 */
};

static const struct state_field inner_fields[] = {
	STATE_FIELD(struct inner, a, STATE_U16, 1),
	STATE_FIELD(struct inner, on, STATE_BOOL, 1),
};
static const struct state_desc inner_desc = STATE_DESC("inner", struct inner, 1, inner_fields);

static const struct state_field outer_fields[] = {
	STATE_FIELD(struct outer, first, STATE_U64, 1),
	STATE_FIELD(struct outer, small, STATE_U8, 1),
	STATE_FIELD(struct outer, below, STATE_I64, 1),
	STATE_FIELD(struct outer, name, STATE_STRING, 1),
	STATE_FIELD(struct outer, bytes, STATE_BYTES, 1),
	STATE_BLOB(struct outer, blob, blob_len, 1),
	STATE_TABLE(struct outer, inners, inner_count, &inner_desc, 1),
	STATE_NESTED(struct outer, one, &inner_desc, 1),
	STATE_ARRAY(struct outer, all, STATE_U32, 1),
	STATE_FIELD(struct outer, later, STATE_U64, 2),
};
static const struct state_desc outer_desc = STATE_DESC("outer", struct outer, 2, outer_fields);

/* What version 1 of the same table was. */
static const struct state_desc outer_desc_1 = {
	.name = "outer",
	.version = 1,
	.size = sizeof(struct outer),
	.fields = outer_fields,
	.field_count = ARRAY_SIZE(outer_fields) - 1,
};

static struct outer example(void)
{
	struct outer o = { .first = UINT64_MAX,
			   .small = 200,
			   .below = -5000000000,
			   .name = "seven77",
			   .bytes = { 1, 2, 3, 4, 5 },
			   .blob_len = 280,
			   .inner_count = 3,
			   .inners = { { 1, true }, { 2, false }, { 65535, true } },
			   .one = { 7, true },
			   .all = { 1, 2, UINT32_MAX },
			   .later = 9 };

	memset(o.blob, 0xaa, o.blob_len);
	return o;
}

static struct state_buffer encode(const struct state_desc *desc, const struct outer *o)
{
	struct state_buffer out = { 0 };

	state_encode(&out, desc, o);
	cr_assert(!out.failed);
	return out;
}

static int decode(const struct state_buffer *in, const struct state_desc *desc, uint64_t version,
		  struct outer *o, struct error *err)
{
	struct mp_reader reader = { .at = in->bytes, .end = in->bytes + in->len };

	return state_decode(&reader, desc, version, o, err);
}

Test(state_codec, what_is_encoded_is_decoded)
{
	struct outer in = example(), out;
	struct state_buffer bytes = encode(&outer_desc, &in);
	struct error err = { 0 };

	memset(&out, 0xee, sizeof(out));
	cr_assert_eq(decode(&bytes, &outer_desc, 2, &out, &err), 0, "%s", err.text);
	cr_expect_eq(out.first, in.first);
	cr_expect_eq(out.small, 200);
	cr_expect_eq(out.below, -5000000000);
	cr_expect_str_eq(out.name, "seven77");
	cr_expect_arr_eq(out.bytes, in.bytes, sizeof(in.bytes));
	cr_expect_eq(out.blob_len, 280);
	cr_expect_arr_eq(out.blob, in.blob, sizeof(in.blob));
	cr_expect_eq(out.inner_count, 3);
	cr_expect(out.inners[2].a == 65535 && out.inners[2].on && !out.inners[1].on);
	cr_expect_eq(out.inners[3].a, 0);
	cr_expect(out.one.a == 7 && out.one.on);
	cr_expect_arr_eq(out.all, in.all, sizeof(in.all));
	cr_expect_eq(out.later, 9);
	free(bytes.bytes);
}

Test(state_codec, a_field_that_came_later_keeps_its_default)
{
	struct outer in = example(), out;
	struct state_buffer bytes = encode(&outer_desc_1, &in);
	struct error err = { 0 };

	cr_assert_eq(decode(&bytes, &outer_desc, 1, &out, &err), 0, "%s", err.text);
	cr_expect_eq(out.later, 0);
	/* Of a file that says it is of version 2 the field must be there. */
	cr_expect_eq(decode(&bytes, &outer_desc, 2, &out, &err), -EINVAL);
	cr_expect_str_eq(err.text, "later: missing");
	free(bytes.bytes);
}

Test(state_codec, a_field_from_the_future_is_skipped)
{
	struct outer in = example(), out;
	struct state_buffer bytes = encode(&outer_desc, &in);

	cr_assert_eq(decode(&bytes, &outer_desc_1, 2, &out, NULL), 0);
	cr_expect_eq(out.later, 0);
	cr_expect_eq(out.all[2], UINT32_MAX);
	free(bytes.bytes);
}

/* The value of a field of one byte, in the encoding of a structure with that field alone. */
static int decode_value(const struct state_field *field, const char *bytes, size_t len,
			struct error *err)
{
	const struct state_desc desc = { "one", 1, sizeof(struct outer), field, 1 };
	struct state_buffer in = { 0 };
	uint8_t head[] = { 0x81, (uint8_t)(0xa0 | strlen(field->name)) };
	struct outer out;
	int ret;

	state_buffer_write(&in, (const char *)head, sizeof(head));
	state_buffer_write(&in, field->name, strlen(field->name));
	state_buffer_write(&in, bytes, len);
	ret = decode(&in, &desc, 1, &out, err);
	free(in.bytes);
	return ret;
}

#define REFUSED(field, bytes, why)                                                              \
	do {                                                                                    \
		struct error refused = { 0 };                                                   \
		cr_expect_eq(                                                                   \
			decode_value(&outer_fields[field], bytes, sizeof(bytes) - 1, &refused), \
			-EINVAL);                                                               \
		cr_expect(strstr(refused.text, why), "'%s' without '%s'", refused.text, why);   \
	} while (0)

Test(state_codec, values_that_do_not_fit_are_refused)
{
	REFUSED(1, "\xcd\x01\x00", "small: 256 is more than 8 bits");
	REFUSED(1, "\xff", "small: not a number");
	REFUSED(2, "\xcf\xff\xff\xff\xff\xff\xff\xff\xff", "below: not a signed");
	REFUSED(3,
		"\xa8"
		"12345678",
		"name: a string of 8 bytes, 7 at most");
	REFUSED(3, "\xa2\x61\x00", "name: not a string");
	REFUSED(4,
		"\xc4\x04"
		"1234",
		"bytes: 4 bytes instead of 5");
	REFUSED(4,
		"\xa5"
		"12345",
		"bytes: not bytes");
	REFUSED(5, "\xc5\x01\x2d", "blob: ends too early");
	REFUSED(6, "\x95\x80\x80\x80\x80\x80", "inners: 5 elements, 4 at most");
	REFUSED(6, "\x91\x80", "inners: element 0: a: missing");
	REFUSED(6, "\xdd\xff\xff\xff\xff", "inners: ends too early");
	REFUSED(7, "\x82\xa1\x61\x01\xa1\x61\x01", "one: a: twice there");
	REFUSED(7, "\x82\xa1\x61\x01\xa2on\x01", "one: on: neither true nor false");
	REFUSED(8, "\x01", "all: not an array");
	REFUSED(0, "\xc1", "first: ends too early or is no MessagePack");
	REFUSED(0, "", "first: ends too early or is no MessagePack");
}

Test(state_codec, every_truncation_is_refused)
{
	struct outer in = example(), out;
	struct state_buffer bytes = encode(&outer_desc, &in);
	size_t whole = bytes.len;

	for (bytes.len = 0; bytes.len < whole; bytes.len++)
		cr_assert_eq(decode(&bytes, &outer_desc, 2, &out, NULL), -EINVAL, "%zu", bytes.len);
	free(bytes.bytes);
}

Test(msgpack_reader, every_kind_of_value)
{
	static const uint8_t bytes[] = {
		0xc0, 0xc2, 0xc3, 0x7f, 0xe0, 0xcc, 0xff, 0xcd, 1,    0,    0xce, 1,	0,
		0,    0,    0xcf, 0x80, 0,    0,    0,	  0,	0,    0,    0,	  0xd0, 0x80,
		0xd1, 0x80, 0,	  0xd2, 0x7f, 0xff, 0xff, 0xff, 0xd3, 0x80, 0,	  0,	0,
		0,    0,    0,	  0,	0xca, 0x3f, 0x80, 0,	0,    0xd9, 1,	  'a',	0xda,
		0,    1,    'b',  0xdb, 0,    0,    0,	  1,	'c',  0xc4, 1,	  9,	0xc7,
		1,    5,    9,	  0xd4, 5,    9,    0x92, 1,	2,    0xdc, 0,	  1,	3,
		0x81, 1,    2,	  0xde, 0,    1,    1,	  2,
	};
	static const enum mp_type types[] = {
		MP_NIL,	 MP_BOOL, MP_BOOL, MP_UINT, MP_INT,  MP_UINT, MP_UINT,
		MP_UINT, MP_UINT, MP_INT,  MP_INT,  MP_UINT, MP_INT,  MP_FLOAT,
		MP_STR,	 MP_STR,  MP_STR,  MP_BIN,  MP_EXT,  MP_EXT,  MP_ARRAY,
	};
	static const int64_t numbers[] = {
		[3] = 127,	 [4] = -32,  [5] = 255,	    [6] = 256,	      [7] = 1 << 24,
		[8] = INT64_MIN, [9] = -128, [10] = -32768, [11] = INT32_MAX, [12] = INT64_MIN
	};
	struct mp_reader reader = { .at = bytes, .end = bytes + sizeof(bytes) };
	struct mp_value value;

	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		cr_assert_eq(mp_next(&reader, &value), 0);
		cr_expect_eq(value.type, types[i], "%zu: %d", i, value.type);
		if (i < ARRAY_SIZE(numbers))
			cr_expect_eq((int64_t)value.number, numbers[i], "%zu", i);
	}
	cr_assert_eq(mp_skip(&reader) | mp_skip(&reader), 0); /* what is in the array */
	cr_assert_eq(mp_skip(&reader) | mp_skip(&reader) | mp_skip(&reader), 0);
	cr_expect_eq(reader.at, reader.end);
	cr_expect_eq(mp_skip(&reader), -EINVAL);
}

/* Nesting costs nothing, and a count that the bytes cannot hold is refused at once. */
Test(msgpack_reader, depth_and_false_claims)
{
	static uint8_t deep[100000];
	struct mp_reader reader = { .at = deep, .end = deep + sizeof(deep) };

	memset(deep, 0x91, sizeof(deep));
	cr_expect_eq(mp_skip(&reader), -EINVAL);
	deep[sizeof(deep) - 1] = 0;
	reader.at = deep;
	cr_expect_eq(mp_skip(&reader), 0);
	memcpy(deep, "\xdf\xff\xff\xff\xff", 5);
	reader.at = deep;
	cr_expect_eq(mp_skip(&reader), -EINVAL);
}

/* Files -------------------------------------------------------------------------------------------*/

static struct state_buffer make_file(void)
{
	struct state_writer writer = { 0 };
	struct state_buffer out;
	struct outer o = example();

	state_writer_add(&writer, &outer_desc, 0, &o);
	o.small = 1;
	state_writer_add(&writer, &outer_desc, 1, &o);
	state_writer_add(&writer, &inner_desc, 0, &o.one);
	cr_assert_eq(state_writer_finish(&writer, &out, NULL), 0);
	state_writer_fini(&writer);
	return out;
}

static struct state_file parse_made(const struct state_buffer *bytes)
{
	struct state_file file;
	struct error err = { 0 };

	cr_assert_eq(state_file_parse(&file, bytes->bytes, bytes->len, "s", &err), 0, "%s",
		     err.text);
	return file;
}

Test(state_file, sections_are_found_by_name_and_index)
{
	struct state_buffer bytes = make_file();
	struct state_file file = parse_made(&bytes);
	struct error err = { 0 };
	struct outer o;
	struct inner i;

	cr_expect_eq(file.count, 3);
	cr_expect_eq(state_file_count(&file, "outer"), 2);
	cr_expect_eq(state_file_get(&file, &outer_desc, 1, &o, &err), 0);
	cr_expect_eq(o.small, 1);
	cr_expect_eq(state_file_get(&file, &outer_desc, 0, &o, &err), 0);
	cr_expect_eq(o.small, 200);
	cr_expect_eq(state_file_get(&file, &inner_desc, 0, &i, &err), 0);
	cr_expect_eq(i.a, 7);
	cr_expect_eq(state_file_get(&file, &inner_desc, 1, &i, &err), -ENOENT);
	cr_expect_str_eq(err.text, "snapshot s: there is no section inner 1");
	state_file_fini(&file);
	free(bytes.bytes);
}

/* A section whose checksum holds and in whose end something else follows its fields. */
static struct state_buffer make_file_with_more(void)
{
	struct state_writer writer = { 0 };
	struct state_buffer out, body = { 0 };
	const struct inner i = example().one;
	const char nil = (char)0xc0;
	msgpack_packer packer;

	msgpack_packer_init(&packer, &body, state_buffer_write);
	msgpack_pack_array(&packer, 4);
	msgpack_pack_str_with_body(&packer, inner_desc.name, strlen(inner_desc.name));
	msgpack_pack_uint32(&packer, 0);
	msgpack_pack_uint32(&packer, inner_desc.version);
	state_encode(&body, &inner_desc, &i);
	state_buffer_write(&body, &nil, 1);
	msgpack_packer_init(&packer, &writer.body, state_buffer_write);
	msgpack_pack_array(&packer, 2);
	msgpack_pack_uint32(&packer, (uint32_t)crc32(0, body.bytes, (uInt)body.len));
	msgpack_pack_bin_with_body(&packer, body.bytes, body.len);
	writer.count = 1;
	cr_assert_eq(state_writer_finish(&writer, &out, NULL), 0);
	state_writer_fini(&writer);
	free(body.bytes);
	return out;
}

Test(state_file, what_follows_the_fields_is_refused)
{
	struct state_buffer bytes = make_file_with_more();
	struct state_file file = parse_made(&bytes);
	struct error err = { 0 };
	struct inner i;

	cr_expect_eq(state_file_get(&file, &inner_desc, 0, &i, &err), -EINVAL);
	cr_expect_str_eq(err.text,
			 "snapshot s: section inner 0: there is more in it than its fields");
	state_file_fini(&file);
	free(bytes.bytes);
}

Test(state_file, a_section_is_compared_with_what_would_be_written)
{
	struct state_buffer bytes = make_file(), same = { 0 }, other = { 0 };
	struct state_file file = parse_made(&bytes);
	struct state_desc later = outer_desc;
	struct outer o = example();

	state_encode(&same, &outer_desc, &o);
	o.small = 2;
	state_encode(&other, &outer_desc, &o);
	later.version++;
	cr_expect(state_file_has(&file, &outer_desc, 0, &same));
	cr_expect_not(state_file_has(&file, &outer_desc, 1, &same), "another in one field");
	cr_expect_not(state_file_has(&file, &outer_desc, 0, &other));
	cr_expect_not(state_file_has(&file, &outer_desc, 2, &same), "there is none");
	cr_expect_not(state_file_has(&file, &later, 0, &same), "of an older table");
	same.len--;
	cr_expect_not(state_file_has(&file, &outer_desc, 0, &same));
	state_file_fini(&file);
	free(bytes.bytes);
	free(same.bytes);
	free(other.bytes);
}

Test(state_file, every_truncation_and_every_flipped_bit_is_refused)
{
	struct state_buffer bytes = make_file();
	struct state_file file;

	for (size_t len = 0; len < bytes.len; len++)
		cr_assert_eq(state_file_parse(&file, bytes.bytes, len, "s", NULL), -EINVAL);
	for (size_t bit = 0; bit < 8 * bytes.len; bit++) {
		bytes.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		cr_assert_lt(state_file_parse(&file, bytes.bytes, bytes.len, "s", NULL), 0,
			     "bit %zu", bit);
		bytes.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	state_buffer_write(&bytes, "", 1);
	cr_expect_eq(state_file_parse(&file, bytes.bytes, bytes.len, "s", NULL), -EINVAL);
	free(bytes.bytes);
}

Test(state_file, another_format_is_refused_by_name)
{
	struct state_buffer bytes = make_file();
	struct error err = { 0 };
	struct state_file file;
	uint8_t *format = memchr(bytes.bytes, STATE_FILE_FORMAT, bytes.len);

	*format = 2;
	cr_expect_eq(state_file_parse(&file, bytes.bytes, bytes.len, "s", &err), -EPROTONOSUPPORT);
	cr_expect_str_eq(err.text, "snapshot s: of format 2, but this mayfly reads format 1");
	free(bytes.bytes);
}

Test(state_file, files_are_read_up_to_a_size)
{
	struct state_buffer bytes = make_file();
	struct error err = { 0 };
	struct state_file file;
	cleanup_fd int fd = memfd_create("state", MFD_CLOEXEC);
	int null[2];

	cr_assert_eq(write(fd, bytes.bytes, bytes.len), (ssize_t)bytes.len);
	cr_assert_eq(state_file_read(&file, fd, "s", &err), 0, "%s", err.text);
	state_file_fini(&file);
	cr_assert_eq(ftruncate(fd, STATE_FILE_MAX + 1), 0);
	cr_expect_eq(state_file_read(&file, fd, "s", &err), -EFBIG);
	cr_assert_eq(pipe(null), 0);
	cr_expect_eq(state_file_read(&file, null[0], "s", &err), -EINVAL);
	cr_expect_str_eq(err.text, "snapshot s: not a regular file");
	free(bytes.bytes);
}
