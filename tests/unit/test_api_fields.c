/* api-socket: texts to trees to structs, with serde's words and places for what is refused. */
#include <criterion/criterion.h>
#include <string.h>

#include "api-socket/json_text.h"
#include "api-socket/requests.h"

/* Why `text` is no such request; "" when it is one. */
static const char *refusal(const struct field_set *set, const char *text)
{
	static struct error err;
	struct field_error why = { 0 };
	char data[2048];
	json_t *tree = json_text_read(text, strlen(text), &err);

	if (!tree)
		return err.text;
	cr_assert_leq(set->size, sizeof(data));
	err.text[0] = '\0';
	if (fields_decode(set, tree, NULL, data, &why) < 0)
		json_text_explain(text, strlen(text), &why, &err);
	else
		fields_free(set, data);
	json_decref(tree);
	return err.text;
}

#define REFUSED(set, text, wanted) cr_expect_str_eq(refusal(set, text), wanted)

Test(api_fields, takes_what_the_table_says)
{
	REFUSED(&boot_fields, "{\"kernel_image_path\":\"/k\"}", "");
	REFUSED(&boot_fields, "{\"kernel_image_path\":\"/k\",\"boot_args\":null}", "");
	REFUSED(&machine_fields, "{\"vcpu_count\":255,\"mem_size_mib\":1,\"smt\":true}", "");
	REFUSED(&drive_fields,
		"{\"drive_id\":\"a\",\"is_root_device\":false,\"rate_limiter\":{\"bandwidth\":"
		"{\"size\":1,\"refill_time\":2,\"more\":3},\"ops\":null}}",
		"");
}

Test(api_fields, names_what_is_missing_or_unknown)
{
	REFUSED(&boot_fields, "{}", "missing field `kernel_image_path` at line 1 column 2");
	REFUSED(&machine_fields, "{\"vcpu_count\":1}",
		"missing field `mem_size_mib` at line 1 column 16");
	REFUSED(&boot_fields, "{\"kernel_image_path\":\"/nonexist\",\"foo\":1}",
		"unknown field `foo`, expected one of `kernel_image_path`, `initrd_path`, "
		"`boot_args` at line 1 column 38");
	REFUSED(&boot_fields, "{\"foo\" :1}",
		"unknown field `foo`, expected one of `kernel_image_path`, `initrd_path`, "
		"`boot_args` at line 1 column 7");
	REFUSED(&drive_fields,
		"{\"drive_id\":\"b\",\"is_root_device\":false,\n\"rate_limiter\":{\"foo\":1}}",
		"unknown field `foo`, expected `bandwidth` or `ops` at line 2 column 21");
}

Test(api_fields, names_what_is_of_the_wrong_type)
{
	REFUSED(&boot_fields, "{\"kernel_image_path\":1}",
		"invalid type: integer `1`, expected a string at line 1 column 22");
	REFUSED(&boot_fields, " {\"kernel_image_path\":{\"a\":1}}",
		"invalid type: map, expected a string at line 1 column 22");
	REFUSED(&boot_fields, "{\"kernel_image_path\":1.5}",
		"invalid type: floating point `1.5`, expected a string at line 1 column 24");
	REFUSED(&boot_fields, "\"x\"",
		"invalid type: string \"x\", expected struct BootSourceConfig at line 1 column 3");
	REFUSED(&machine_fields, "{\"vcpu_count\":300,\"mem_size_mib\":128}",
		"invalid value: integer `300`, expected u8 at line 1 column 17");
	REFUSED(&machine_fields, "{\"vcpu_count\":1.0,\"mem_size_mib\":128}",
		"invalid type: floating point `1.0`, expected u8 at line 1 column 17");
	REFUSED(&machine_fields, "{\"vcpu_count\":1,\"mem_size_mib\":128,\"smt\":null}",
		"invalid type: null, expected a boolean at line 1 column 45");
	REFUSED(&machine_fields, "{\"vcpu_count\":1,\"mem_size_mib\":128,\"huge_pages\":\"1G\"}",
		"unknown variant `1G`, expected one of `None`, `Transparent`, `2M` at line 1 column "
		"52");
	REFUSED(&machine_fields, "{\"vcpu_count\":1,\"mem_size_mib\":128,\"huge_pages\":1}",
		"expected value at line 1 column 49");
}

Test(api_fields, names_what_is_no_json)
{
	REFUSED(&boot_fields, "{\"a\":9223372036854775808}",
		"number out of range at line 1 column 24");
	REFUSED(&boot_fields, "{\"a\\u0000\":1}", "a key has a NUL character at line 1 column 10");
	REFUSED(&boot_fields, "{\"kernel_image_path\":\"a\",\"kernel_image_path\":\"b\"}",
		"duplicate field `kernel_image_path` at line 1 column 44");
	REFUSED(&boot_fields, "{\"a\":1", "EOF while parsing an object at line 1 column 6");
	REFUSED(&boot_fields, "{\"a\":1,}", "trailing comma at line 1 column 8");
	REFUSED(&boot_fields, "{]", "key must be a string at line 1 column 2");
	REFUSED(&boot_fields, "xx", "expected value at line 1 column 1");
	REFUSED(&boot_fields, "{\"a\" 1}", "expected `:` at line 1 column 6");
	REFUSED(&boot_fields, "{\"a\":1} x", "trailing characters at line 1 column 9");
	REFUSED(&boot_fields, "{a:1}", "key must be a string at line 1 column 2");
	REFUSED(&boot_fields, "{\"a\":\"a\\q\"}", "invalid escape at line 1 column 9");
	REFUSED(&boot_fields, "{\"a\":\"\\ud800\"}",
		"lone leading surrogate in hex escape at line 1 column 13");
	REFUSED(&boot_fields, "{\"a\":\"\xff\"}", "invalid unicode code point at line 1 column 6");
	REFUSED(&boot_fields, "[1", "EOF while parsing a list at line 1 column 2");
	REFUSED(&boot_fields, "{\"a\":\"xx", "EOF while parsing a string at line 1 column 8");
	REFUSED(&boot_fields, "{\"a\":1 \"b\":2}", "expected `,` or `}` at line 1 column 8");
	REFUSED(&boot_fields, "[1 2]", "expected `,` or `]` at line 1 column 4");
	REFUSED(&boot_fields, "{\"a\":}", "expected value at line 1 column 6");
}

Test(api_fields, shows_what_it_took)
{
	const char *text = "{\"drive_id\":\"a\",\"is_root_device\":true,\"path_on_host\":\"/x\"}";
	struct field_error why = { 0 };
	struct drive_request drive;
	struct error err;
	json_t *tree = json_text_read(text, strlen(text), &err);
	json_t *shown;
	char *dump;

	cr_assert_eq(fields_decode(&drive_fields, tree, NULL, &drive, &why), 0);
	shown = fields_encode(&drive_fields, &drive);
	dump = json_dumps(shown, JSON_COMPACT);
	cr_expect_str_eq(dump, "{\"drive_id\":\"a\",\"partuuid\":null,\"is_root_device\":true,"
			       "\"cache_type\":\"Unsafe\",\"is_read_only\":false,"
			       "\"path_on_host\":\"/x\",\"rate_limiter\":null,\"io_engine\":"
			       "\"Sync\",\"socket\":null}");
	free(dump);
	json_decref(shown);
	json_decref(tree);
}

Test(api_fields, descriptors_come_by_index)
{
	const int fds[] = { 7, 9 };
	const struct field_fds along = { fds, 2 };
	struct field_error why = { 0 };
	struct drive_request drive;
	json_t *tree = json_pack("{s:s, s:b, s:{s:i}}", "drive_id", "a", "is_root_device", 0,
				 "path_on_host", "fd", 1);

	cr_assert_eq(fields_decode(&drive_fields, tree, &along, &drive, &why), 0);
	cr_expect_eq(drive.path_on_host.fd, 9);
	cr_expect_null(drive.path_on_host.path);
	json_object_set_new(json_object_get(tree, "path_on_host"), "fd", json_integer(2));
	cr_expect_lt(fields_decode(&drive_fields, tree, &along, &drive, &why), 0);
	cr_expect_lt(fields_decode(&drive_fields, tree, NULL, &drive, &why), 0);
	json_decref(tree);
}
