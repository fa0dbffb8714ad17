/* MessagePack to trees and back: what is believed of bytes that anybody may have sent. */
#include <criterion/criterion.h>
#include <string.h>

#include "api-socket/rpc_tree.h"

#define LEN_MAX 1000

static enum rpc_extent measure(const char *bytes, size_t count, size_t *len)
{
	const char *why = "";

	*len = 0;
	return rpc_measure((const uint8_t *)bytes, count, LEN_MAX, len, &why);
}

/* The tree as JSON; the refusal, or why it is no whole value. */
static const char *read_as_json(const char *bytes, size_t count)
{
	static char text[512];
	struct error err;
	size_t len;
	json_t *tree;

	switch (measure(bytes, count, &len)) {
	case RPC_PART:
		return "part";
	case RPC_LIE:
		return "lie";
	default:
		break;
	}
	tree = rpc_tree_read((const uint8_t *)bytes, len, &err);
	if (!tree) {
		snprintf(text, sizeof(text), "%s", err.text);
		return text;
	}
	text[json_dumpb(tree, text, sizeof(text) - 1, JSON_COMPACT | JSON_ENCODE_ANY)] = '\0';
	json_decref(tree);
	return text;
}

#define READS(bytes, wanted) cr_expect_str_eq(read_as_json(bytes, sizeof(bytes) - 1), wanted)

Test(rpc_tree, reads_what_json_has_a_place_for)
{
	READS("\x94\x00\x01\xa1m\x91\x81\xa1k\xc0", "[0,1,\"m\",[{\"k\":null}]]");
	READS("\x93\xc2\xc3\xff", "[false,true,-1]");
	READS("\xcf\x7f\xff\xff\xff\xff\xff\xff\xff", "9223372036854775807");
	READS("\xd3\x80\x00\x00\x00\x00\x00\x00\x00", "-9223372036854775808");
	READS("\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00", "1.5");
	READS("\x90more", "[]");
}

Test(rpc_tree, refuses_what_it_has_not)
{
	READS("\xcf\x80\x00\x00\x00\x00\x00\x00\x00", "a number is beyond 63 bits, or none");
	READS("\xcb\x7f\xf0\x00\x00\x00\x00\x00\x00", "a number is beyond 63 bits, or none");
	READS("\xc4\x01x", "binary values and extensions mean nothing here");
	READS("\xd4\x01x", "binary values and extensions mean nothing here");
	READS("\x81\x01\x02", "a key is not a string");
	READS("\x82\xa1k\x01\xa1k\x02", "the key `k` is there twice");
	READS("\xa2\xff\xff", "a string is not UTF-8, or holds a NUL");
	READS("\xa2x\0", "a string is not UTF-8, or holds a NUL");
	READS("\x81\xa1\0\x01", "a string is not UTF-8, or holds a NUL");
	READS("\xc1", "lie");
}

Test(rpc_tree, waits_for_the_rest_but_not_for_what_cannot_come)
{
	static const char whole[] = "\x93\x02\xa5hello\x91\x81\xa1k\xcd\x01\x02";
	size_t len;

	for (size_t i = 0; i < sizeof(whole) - 1; i++)
		cr_expect_eq(measure(whole, i, &len), RPC_PART, "%zu bytes of it", i);
	cr_expect_eq(measure(whole, sizeof(whole) - 1, &len), RPC_WHOLE);
	cr_expect_eq(len, sizeof(whole) - 1);
	READS("\xdd\xff\xff\xff\xff", "lie"); /* four billion elements */
	READS("\xdf\x00\x00\x10\x00", "lie");
	READS("\xdb\x00\x00\xff\xff", "lie"); /* a string longer than any message */
	READS("\xdc\x00\x10\x01", "part");
}

Test(rpc_tree, a_message_too_long_is_none)
{
	char bytes[LEN_MAX + 10];
	size_t len;

	memset(bytes, 1, sizeof(bytes));
	memcpy(bytes, "\x92\xda\x03\xe6", 4); /* two elements, the first of 998 bytes */
	cr_expect_eq(measure(bytes, sizeof(bytes), &len), RPC_LIE);
	memcpy(bytes, "\x92\xda\x03\xe3", 4); /* 995: 1 + 3 + 995 + 1 = LEN_MAX */
	cr_expect_eq(measure(bytes, sizeof(bytes), &len), RPC_WHOLE);
	cr_expect_eq(len, LEN_MAX);
}

Test(rpc_tree, nesting_has_an_end)
{
	char bytes[64];
	size_t len;

	memset(bytes, 0x91, sizeof(bytes));
	bytes[RPC_DEPTH_MAX] = 0x01;
	cr_expect_eq(measure(bytes, sizeof(bytes), &len), RPC_WHOLE);
	bytes[RPC_DEPTH_MAX] = (char)0x91;
	cr_expect_eq(measure(bytes, sizeof(bytes), &len), RPC_LIE);
}

struct written {
	char bytes[256];
	size_t len;
};

static int write_piece(void *to, const char *bytes, size_t len)
{
	struct written *written = to;

	if (len > sizeof(written->bytes) - written->len)
		return -1;
	memcpy(written->bytes + written->len, bytes, len);
	written->len += len;
	return 0;
}

Test(rpc_tree, what_is_written_reads_the_same)
{
	json_t *tree = json_pack("[i,I,{s:s,s:n,s:b,s:f},[i]]", 1, (json_int_t)4294967296, "text",
				 "\xc3\xa4", "none", "yes", 1, "half", 0.5, -7);
	struct written written = { .len = 0 };
	json_t *again;
	struct error err;

	cr_assert_eq(rpc_tree_write(tree, write_piece, &written), 0);
	again = rpc_tree_read((const uint8_t *)written.bytes, written.len, &err);
	cr_expect(json_equal(tree, again));
	json_decref(tree);
	json_decref(again);
	cr_expect_neq(rpc_tree_write(json_null(), write_piece,
				     &(struct written){ .len = sizeof(written.bytes) }),
		      0);
}
