#include "api-socket/rpc_tree.h"

#include <math.h>
#include <msgpack.h>
#include <string.h>

#include "base/msgpack_reader.h"

/* How far ----------------------------------------------------------------------------------------*/

/* Values that are still to come, of each array and map that is open. */
struct open_values {
	uint64_t left[RPC_DEPTH_MAX];
	unsigned int depth;
};

/* One value was there. False when its arrays are nested too deep. */
static bool count_value(struct open_values *open, const struct mp_value *value)
{
	const bool is_open = value->type == MP_ARRAY || value->type == MP_MAP;

	if (open->depth > 0)
		open->left[open->depth - 1]--;
	if (is_open && value->len > 0) {
		if (open->depth == RPC_DEPTH_MAX)
			return false;
		open->left[open->depth++] = (uint64_t)value->len * (value->type == MP_MAP ? 2 : 1);
	}
	while (open->depth > 0 && open->left[open->depth - 1] == 0)
		open->depth--;
	return true;
}

enum rpc_extent rpc_measure(const uint8_t *bytes, size_t count, size_t max, size_t *len,
			    const char **why)
{
	struct mp_reader reader = { .at = bytes, .end = bytes + count };
	struct open_values open = { .depth = 0 };
	struct mp_value value;

	do {
		if (mp_next(&reader, &value) < 0) {
			*why = !reader.ended ? "it is not MessagePack"
					     : "it is longer than a message may be";
			return reader.ended && count < max && value.len <= max ? RPC_PART : RPC_LIE;
		}
		if (!count_value(&open, &value)) {
			*why = "it is nested too deep";
			return RPC_LIE;
		}
	} while (open.depth > 0);
	*len = (size_t)(reader.at - bytes);
	*why = "it is longer than a message may be";
	return *len > max ? RPC_LIE : RPC_WHOLE;
}

/* Reading ---------------------------------------------------------------------------------------*/

static json_t *read_value(struct mp_reader *reader, struct error *err);

static json_t *read_string(const struct mp_value *value, struct error *err)
{
	const char *text = (const char *)value->bytes;
	json_t *string = memchr(text, '\0', value->len) ? NULL : json_stringn(text, value->len);

	if (!string)
		error_set(err, EINVAL, "a string is not UTF-8, or holds a NUL");
	return string;
}

static json_t *read_number(const struct mp_value *value, struct error *err)
{
	double real;

	if (value->type == MP_INT || (value->type == MP_UINT && value->number <= INT64_MAX))
		return json_integer((json_int_t)value->number);
	memcpy(&real, &value->number, sizeof(real));
	if (value->type == MP_FLOAT && isfinite(real))
		return json_real(real);
	error_set(err, EINVAL, "a number is beyond 63 bits, or none");
	return NULL;
}

static json_t *read_array(struct mp_reader *reader, uint32_t count, struct error *err)
{
	json_t *array = json_array();

	for (uint32_t i = 0; array && i < count; i++) {
		json_t *item = read_value(reader, err);

		if (!item || json_array_append_new(array, item) < 0) {
			json_decref(array);
			return NULL;
		}
	}
	return array;
}

/* Most keys are names of fields, and short. */
#define KEY_SHORT 64u

static bool read_named(struct mp_reader *reader, json_t *map, const char *name, struct error *err)
{
	json_t *item;

	if (json_object_get(map, name)) {
		error_set(err, EINVAL, "the key `%s` is there twice", name);
		return false;
	}
	item = read_value(reader, err);
	if (item && json_object_set(map, name, item) < 0) {
		error_set(err, EINVAL, "a key is not UTF-8");
		json_decref(item);
		return false;
	}
	json_decref(item);
	return item != NULL;
}

static bool read_pair(struct mp_reader *reader, json_t *map, struct error *err)
{
	char name[KEY_SHORT];
	struct mp_value key;
	json_t *text;
	bool ok;

	if (mp_next(reader, &key) < 0 || key.type != MP_STR) {
		error_set(err, EINVAL, "a key is not a string");
		return false;
	}
	if (key.len < sizeof(name) && !memchr(key.bytes, '\0', key.len)) {
		memcpy(name, key.bytes, key.len);
		name[key.len] = '\0';
		return read_named(reader, map, name, err);
	}
	text = read_string(&key, err);
	ok = text && read_named(reader, map, json_string_value(text), err);
	json_decref(text);
	return ok;
}

static json_t *read_map(struct mp_reader *reader, uint32_t count, struct error *err)
{
	json_t *map = json_object();

	for (uint32_t i = 0; map && i < count; i++)
		if (!read_pair(reader, map, err)) {
			json_decref(map);
			return NULL;
		}
	return map;
}

/* Recurses as deep as rpc_measure() has allowed. */
static json_t *read_value(struct mp_reader *reader, struct error *err)
{
	struct mp_value value;

	if (mp_next(reader, &value) < 0) {
		error_set(err, EINVAL, "it is not MessagePack");
		return NULL;
	}
	switch (value.type) {
	case MP_NIL:
		return json_null();
	case MP_BOOL:
		return json_boolean(value.boolean);
	case MP_UINT:
	case MP_INT:
	case MP_FLOAT:
		return read_number(&value, err);
	case MP_STR:
		return read_string(&value, err);
	case MP_ARRAY:
		return read_array(reader, value.len, err);
	case MP_MAP:
		return read_map(reader, value.len, err);
	default:
		error_set(err, EINVAL, "binary values and extensions mean nothing here");
		return NULL;
	}
}

json_t *rpc_tree_read(const uint8_t *bytes, size_t len, struct error *err)
{
	struct mp_reader reader = { .at = bytes, .end = bytes + len };

	error_set(err, ENOMEM, "out of memory"); /* unless another reason is found */
	return read_value(&reader, err);
}

/* Writing ---------------------------------------------------------------------------------------*/

static int pack(msgpack_packer *packer, const json_t *tree);

static int pack_map(msgpack_packer *packer, const json_t *tree)
{
	const char *key;
	json_t *value;
	int ret = msgpack_pack_map(packer, json_object_size(tree));

	json_object_foreach((json_t *)(uintptr_t)tree, key, value)
	{
		if (ret == 0)
			ret = msgpack_pack_str_with_body(packer, key, strlen(key));
		if (ret == 0)
			ret = pack(packer, value);
	}
	return ret;
}

static int pack_array(msgpack_packer *packer, const json_t *tree)
{
	int ret = msgpack_pack_array(packer, json_array_size(tree));

	for (size_t i = 0; ret == 0 && i < json_array_size(tree); i++)
		ret = pack(packer, json_array_get(tree, i));
	return ret;
}

static int pack(msgpack_packer *packer, const json_t *tree)
{
	switch (json_typeof(tree)) {
	case JSON_OBJECT:
		return pack_map(packer, tree);
	case JSON_ARRAY:
		return pack_array(packer, tree);
	case JSON_STRING:
		return msgpack_pack_str_with_body(packer, json_string_value(tree),
						  json_string_length(tree));
	case JSON_INTEGER:
		return msgpack_pack_int64(packer, json_integer_value(tree));
	case JSON_REAL:
		return msgpack_pack_double(packer, json_real_value(tree));
	case JSON_TRUE:
		return msgpack_pack_true(packer);
	case JSON_FALSE:
		return msgpack_pack_false(packer);
	default:
		return msgpack_pack_nil(packer);
	}
}

int rpc_tree_write(const json_t *tree, int (*write)(void *to, const char *bytes, size_t len),
		   void *to)
{
	msgpack_packer packer;

	msgpack_packer_init(&packer, to, write);
	return pack(&packer, tree);
}
