/* The metadata service's data, its text forms and its session tokens. */
#include <criterion/criterion.h>
#include <pthread.h>

#include "snapshot/state_codec.h"
#include "vmm/mmds/mmds.h"
#include "vmm/mmds/mmds_json.h"

static struct mmds_store store;

static json_t *json(const char *text)
{
	json_t *value = json_loads(text, JSON_DECODE_ANY, NULL);

	cr_assert(value, "not JSON: %s", text);
	return value;
}

static int put(const char *text)
{
	json_t *value = json(text);
	int ret = mmds_store_put(&store, value);

	json_decref(value);
	return ret;
}

static int patch(const char *text)
{
	json_t *value = json(text);
	int ret = mmds_store_patch(&store, value);

	json_decref(value);
	return ret;
}

static void setup(void)
{
	cr_assert_eq(mmds_store_init(&store, MMDS_LIMIT_DEFAULT), 0);
}

static void teardown(void)
{
	mmds_store_fini(&store);
}

TestSuite(mmds_store, .init = setup, .fini = teardown);

static void expect(const char *path, enum mmds_format format, const char *want)
{
	char *text = NULL;
	size_t len = 0;
	int ret = mmds_store_get(&store, path, strlen(path), format, &text, &len);

	cr_assert_eq(ret, 0, "%s: %d", path, ret);
	cr_assert(len == strlen(want) && !memcmp(text, want, len), "%s: '%.*s', not '%s'", path,
		  (int)len, text, want);
	free(text);
}

static void expect_error(const char *path, enum mmds_format format, int want)
{
	char *text;
	size_t len;
	int ret = mmds_store_get(&store, path, strlen(path), format, &text, &len);

	cr_assert_eq(ret, want, "%s: %d", path, ret);
}

static const char data[] =
	"{\"name\":{\"first\":\"John\",\"second\":\"Doe\"},\"age\":43,"
	"\"phones\":[\"+401\",\"+441\",{\"k\":null}],\"member\":false,"
	"\"share\":12.12,\"balance\":-24,\"empty\":\"\",\"a/b\":{\"m~n\":\"x\"}}";

Test(mmds_store, paths)
{
	cr_assert_eq(put(data), 0);
	expect("/name/first", MMDS_JSON, "\"John\"");
	expect("/name/first", MMDS_IMDS, "John");
	expect("/name/first/", MMDS_IMDS, "John");
	expect("//name///second", MMDS_IMDS, "Doe");
	expect("/name", MMDS_JSON, "{\"first\":\"John\",\"second\":\"Doe\"}");
	expect("/name/", MMDS_IMDS, "first\nsecond");
	expect("/", MMDS_IMDS, "a/b/\nage\nbalance\nempty\nmember\nname/\nphones\nshare");
	expect("/phones/0", MMDS_IMDS, "+401");
	expect("/phones/1/", MMDS_JSON, "\"+441\"");
	expect("/phones", MMDS_JSON, "[\"+401\",\"+441\",{\"k\":null}]");
	expect("/empty", MMDS_IMDS, "");
	expect("/a~1b/m~0n", MMDS_IMDS, "x");
	expect("/age", MMDS_JSON, "43");
	expect("/share", MMDS_JSON, "12.12");
	expect("/balance", MMDS_JSON, "-24");
	expect("/member", MMDS_JSON, "false");
	expect("/phones/2/k", MMDS_JSON, "null");
}

Test(mmds_store, what_is_not_there_or_not_to_be_shown)
{
	cr_assert_eq(put(data), 0);
	expect_error("/nobody", MMDS_JSON, -ENOENT);
	expect_error("/name/first/x", MMDS_IMDS, -ENOENT);
	expect_error("/phones/3", MMDS_JSON, -ENOENT);
	expect_error("/phones/00", MMDS_JSON, -ENOENT);
	expect_error("/phones/+1", MMDS_JSON, -ENOENT);
	expect_error("/phones/18446744073709551616", MMDS_JSON, -ENOENT);
	expect_error("name", MMDS_JSON, -ENOENT);
	expect_error("/age", MMDS_IMDS, -ENOTSUP);
	expect_error("/phones", MMDS_IMDS, -ENOTSUP);
	expect_error("/member", MMDS_IMDS, -ENOTSUP);
	expect_error("/phones/2/k", MMDS_IMDS, -ENOTSUP);
}

Test(mmds_store, empty)
{
	json_t *document = mmds_store_document(&store);

	expect("/", MMDS_JSON, "null");
	expect_error("/", MMDS_IMDS, -ENOTSUP);
	expect_error("/x", MMDS_IMDS, -ENOENT);
	cr_assert(json_is_object(document) && json_object_size(document) == 0);
	json_decref(document);
	cr_assert_eq(patch("{}"), -ENOENT);
}

/* RFC 7396, appendix A, and what was there before stays readable as it was. */
Test(mmds_store, patches_are_merged)
{
	static const char *const cases[][3] = {
		{ "{\"a\":\"b\"}", "{\"a\":\"c\"}", "{\"a\":\"c\"}" },
		{ "{\"a\":\"b\"}", "{\"b\":\"c\"}", "{\"a\":\"b\",\"b\":\"c\"}" },
		{ "{\"a\":\"b\"}", "{\"a\":null}", "{}" },
		{ "{\"a\":\"b\",\"b\":\"c\"}", "{\"a\":null}", "{\"b\":\"c\"}" },
		{ "{\"a\":[\"b\"]}", "{\"a\":\"c\"}", "{\"a\":\"c\"}" },
		{ "{\"a\":\"c\"}", "{\"a\":[\"b\"]}", "{\"a\":[\"b\"]}" },
		{ "{\"a\":{\"b\":\"c\"}}", "{\"a\":{\"b\":\"d\",\"c\":null}}",
		  "{\"a\":{\"b\":\"d\"}}" },
		{ "{\"a\":[{\"b\":\"c\"}]}", "{\"a\":[1]}", "{\"a\":[1]}" },
		{ "[\"a\",\"b\"]", "[\"c\",\"d\"]", "[\"c\",\"d\"]" },
		{ "{\"a\":\"b\"}", "[\"c\"]", "[\"c\"]" },
		{ "{\"e\":null}", "{\"a\":1}", "{\"a\":1,\"e\":null}" },
		{ "[1,2]", "{\"a\":\"b\",\"c\":null}", "{\"a\":\"b\"}" },
		{ "{}", "{\"a\":{\"bb\":{\"ccc\":null}}}", "{\"a\":{\"bb\":{}}}" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		json_t *before;

		cr_assert_eq(put(cases[i][0]), 0);
		before = mmds_store_document(&store);
		cr_assert_eq(patch(cases[i][1]), 0);
		expect("", MMDS_JSON, cases[i][2]);
		cr_assert_eq(mmds_store_put(&store, before), 0);
		expect("", MMDS_JSON, cases[i][0]);
		json_decref(before);
	}
}

Test(mmds_store, the_limit_counts_bytes_of_text_and_leaves_the_old_data)
{
	mmds_store_fini(&store);
	cr_assert_eq(mmds_store_init(&store, 20), 0);
	cr_assert_eq(put("{ \"a\" : \"0123456789ab\" }"), 0); /* 20 without the spaces */
	cr_assert_eq(put("{\"a\":\"0123456789abc\"}"), -EMSGSIZE);
	cr_assert_eq(patch("{\"b\":1}"), -EMSGSIZE);
	expect("/a", MMDS_IMDS, "0123456789ab");
	cr_assert_eq(patch("{\"a\":null,\"b\":\"1\"}"), 0);
	expect("", MMDS_JSON, "{\"b\":\"1\"}");
}

Test(mmds_store, too_deep)
{
	char text[2 * 128 + 1] = "";

	memset(text, '[', 128);
	memset(text + 128, ']', 128);
	cr_assert_eq(put(text), -E2BIG);
	cr_assert_eq(put("{}"), 0);
	cr_assert_eq(patch(text), -E2BIG);
	memset(text, 0, sizeof(text));
	memset(text, '[', 127);
	memset(text + 127, ']', 127);
	cr_assert_eq(put(text), 0);
	expect("", MMDS_JSON, text);
}

/* A reader that sees a document sees one that was put, whole. */
static void *read_often(void *arg)
{
	unsigned int *odd = arg;

	for (int i = 0; i < 20000; i++) {
		char *text = NULL;
		size_t len = 0;

		if (mmds_store_get(&store, "/", 1, MMDS_JSON, &text, &len) < 0 ||
		    (strncmp(text, "{\"a\":\"old\"}", len) != 0 &&
		     strncmp(text, "{\"a\":\"new\",\"b\":{\"c\":1}}", len) != 0))
			++*odd;
		free(text);
	}
	return NULL;
}

Test(mmds_store, readers_never_see_half_of_a_change)
{
	unsigned int odd[2] = { 0 };
	pthread_t threads[2];

	cr_assert_eq(put("{\"a\":\"old\"}"), 0);
	for (int i = 0; i < 2; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, read_often, &odd[i]), 0);
	for (int i = 0; i < 2000; i++) {
		cr_assert_eq(patch("{\"a\":\"new\",\"b\":{\"c\":1}}"), 0);
		cr_assert_eq(patch("{\"a\":\"old\",\"b\":null}"), 0);
	}
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	cr_assert_eq(odd[0] + odd[1], 0);
}

/* Text is what other programs print for the same value, with as few digits as say it. */
Test(mmds_store, printed_values_are_read_back_the_same)
{
	static const char *const same[] = {
		"0.1",
		"1.0",
		"-0.0",
		"3.141592653589793",
		"1e+300",
		"2.2250738585072014e-308",
		"123456789012.34567",
		"9223372036854775807",
		"-9223372036854775808",
		"[]",
		"{}",
		"\"\\\"\\\\\\b\\f\\n\\r\\t\\u0001\\u001f/\x7f\xc3\xa9\"",
		"[1,[2,[3,{\"a\":[true,false,null]}]]]",
	};

	for (size_t i = 0; i < ARRAY_SIZE(same); i++) {
		cr_assert_eq(put(same[i]), 0);
		expect("", MMDS_JSON, same[i]);
	}
}

Test(mmds_token, what_is_made_is_valid_until_it_ends)
{
	struct mmds_tokens tokens, others;
	char token[MMDS_TOKEN_LEN], second[MMDS_TOKEN_LEN];

	cr_assert_eq(mmds_tokens_init(&tokens), 0);
	cr_assert_eq(mmds_tokens_init(&others), 0);
	cr_assert_eq(mmds_token_make(&tokens, 60, 1000, token), 0);
	cr_assert_eq(mmds_token_make(&tokens, 60, 1000, second), 0);
	cr_assert(memcmp(token, second, sizeof(token)) != 0);
	cr_assert(mmds_token_valid(&tokens, token, sizeof(token), 1000));
	cr_assert(mmds_token_valid(&tokens, token, sizeof(token), 60999));
	cr_assert_not(mmds_token_valid(&tokens, token, sizeof(token), 61000));
	cr_assert_not(mmds_token_valid(&others, token, sizeof(token), 1000));
}

Test(mmds_token, lifetimes)
{
	struct mmds_tokens tokens;
	char token[MMDS_TOKEN_LEN];

	cr_assert_eq(mmds_tokens_init(&tokens), 0);
	cr_assert_eq(mmds_token_make(&tokens, 0, 0, token), -EINVAL);
	cr_assert_eq(mmds_token_make(&tokens, 1, 0, token), 0);
	cr_assert_eq(mmds_token_make(&tokens, 21600, 0, token), 0);
	cr_assert_eq(mmds_token_make(&tokens, 21601, 0, token), -EINVAL);
}

Test(mmds_token, one_character_changed_anywhere_or_another_length_is_refused)
{
	struct mmds_tokens tokens;
	char token[MMDS_TOKEN_LEN + 4] = "";

	cr_assert_eq(mmds_tokens_init(&tokens), 0);
	cr_assert_eq(mmds_token_make(&tokens, 60, 0, token), 0);
	for (unsigned int i = 0; i < MMDS_TOKEN_LEN; i++) {
		const char was = token[i];

		token[i] = was == 'A' ? 'B' : 'A';
		cr_assert_not(mmds_token_valid(&tokens, token, MMDS_TOKEN_LEN, 0), "%u", i);
		token[i] = '=';
		cr_assert_not(mmds_token_valid(&tokens, token, MMDS_TOKEN_LEN, 0), "%u", i);
		token[i] = was;
	}
	cr_assert_not(mmds_token_valid(&tokens, token, 0, 0));
	cr_assert_not(mmds_token_valid(&tokens, token, MMDS_TOKEN_LEN - 1, 0));
	cr_assert_not(mmds_token_valid(&tokens, token, MMDS_TOKEN_LEN + 4, 0));
	cr_assert(mmds_token_valid(&tokens, token, MMDS_TOKEN_LEN, 0));
}

Test(mmds_address, link_local_without_the_reserved_ranges)
{
	cr_assert(mmds_address_ok((const uint8_t[4]){ 169, 254, 169, 254 }));
	cr_assert(mmds_address_ok((const uint8_t[4]){ 169, 254, 1, 0 }));
	cr_assert(mmds_address_ok((const uint8_t[4]){ 169, 254, 254, 255 }));
	cr_assert_not(mmds_address_ok((const uint8_t[4]){ 169, 254, 0, 255 }));
	cr_assert_not(mmds_address_ok((const uint8_t[4]){ 169, 254, 255, 0 }));
	cr_assert_not(mmds_address_ok((const uint8_t[4]){ 1, 1, 1, 1 }));
}

Test(mmds_config, saved_and_loaded)
{
	const struct mmds_config config = { true, true, { 169, 254, 7, 8 } };
	struct mmds_config back;
	struct state_buffer buffer = { 0 };
	struct mp_reader reader;
	struct error err = { 0 };

	state_encode(&buffer, &mmds_config_desc, &config);
	cr_assert_not(buffer.failed);
	reader = (struct mp_reader){ .at = buffer.bytes, .end = buffer.bytes + buffer.len };
	cr_assert_eq(
		state_decode(&reader, &mmds_config_desc, mmds_config_desc.version, &back, &err), 0,
		"%s", err.text);
	cr_assert(back.v2 && back.imds_compat);
	cr_assert_eq(memcmp(back.ipv4, config.ipv4, sizeof(back.ipv4)), 0);
	free(buffer.bytes);
}
