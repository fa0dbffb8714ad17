#include "api-socket/fields.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "api-socket/field_words.h"
#include "vmm/vm_config.h"

/* One decoding on its way through the tree. */
struct decoder {
	const struct field_fds *fds;
	struct field_error *error;
};

static int decode_struct(struct decoder *decoder, const struct field_set *set, json_t *tree,
			 void *out);
static void set_defaults(const struct field_set *set, char *out);

printf_like(3, 4) static int refuse(struct decoder *decoder, enum field_place place,
				    const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(decoder->error->text, sizeof(decoder->error->text), fmt, args);
	va_end(args);
	decoder->error->place = place;
	return -EINVAL;
}

static int refuse_type(struct decoder *decoder, json_t *value, const char *wanted)
{
	char what[200];

	field_describe_value(what, sizeof(what), value);
	return refuse(decoder, PLACE_VALUE, "invalid type: %s, expected %s", what, wanted);
}

static void step_down(struct decoder *decoder, const char *key, size_t index)
{
	struct field_error *error = decoder->error;

	if (error->step_count < FIELD_DEPTH_MAX)
		error->steps[error->step_count] = (struct field_step){ key, index };
	error->step_count++;
}

/* Only after success: an error keeps the way to where it happened. */
static void step_up(struct decoder *decoder)
{
	decoder->error->step_count--;
}

/* One value -------------------------------------------------------------------------------------*/

static int decode_bool(struct decoder *decoder, json_t *value, struct opt_bool *out)
{
	if (!json_is_boolean(value))
		return refuse_type(decoder, value, "a boolean");
	*out = (struct opt_bool){ .given = true, .value = json_is_true(value) };
	return 0;
}

static int decode_uint(struct decoder *decoder, enum field_type type, json_t *value,
		       struct opt_uint *out)
{
	static const struct {
		const char *name;
		uint64_t max;
	} kinds[] = {
		[FIELD_U8] = { "u8", UINT8_MAX },
		[FIELD_U16] = { "u16", UINT16_MAX },
		[FIELD_U32] = { "u32", UINT32_MAX },
		[FIELD_U64] = { "u64", INT64_MAX }, /* jansson's numbers end there */
		[FIELD_USIZE] = { "usize", INT64_MAX },
	};
	json_int_t number = json_integer_value(value);

	if (!json_is_integer(value))
		return refuse_type(decoder, value, kinds[type].name);
	if (number < 0 || (uint64_t)number > kinds[type].max)
		return refuse(decoder, PLACE_VALUE,
			      "invalid value: integer `%" JSON_INTEGER_FORMAT "`, expected %s",
			      number, kinds[type].name);
	*out = (struct opt_uint){ .given = true, .value = (uint64_t)number };
	return 0;
}

static int decode_choice(struct decoder *decoder, const struct field *field, json_t *value,
			 struct opt_uint *out)
{
	const char *word = json_string_value(value);
	char wanted[300];

	if (!word)
		return refuse(decoder, PLACE_VALUE, "expected value");
	for (unsigned int i = 0; field->choices[i]; i++)
		if (strcmp(word, field->choices[i]) == 0) {
			*out = (struct opt_uint){ .given = true, .value = i };
			return 0;
		}
	field_list_choices(wanted, sizeof(wanted), field->choices);
	return refuse(decoder, PLACE_VALUE, "unknown variant `%.100s`, %s", word, wanted);
}

static int decode_string(struct decoder *decoder, const struct field *field, json_t *value,
			 const char **out)
{
	const char *text = json_string_value(value);
	char why[300];

	if (!text)
		return refuse_type(decoder, value, field->expected ? field->expected : "a string");
	if (strlen(text) != json_string_length(value))
		return refuse(decoder, PLACE_VALUE, "a string has a NUL character");
	if (field->check && field->check(text, why, sizeof(why)) < 0)
		return refuse(decoder, field->check_early ? PLACE_VALUE : PLACE_MEMBER, "%s", why);
	*out = text;
	return 0;
}

/* {"fd": i}. */
static int decode_descriptor(struct decoder *decoder, json_t *value, struct opt_file *out)
{
	const struct field_fds *fds = decoder->fds;
	const unsigned int count = fds ? fds->count : 0;
	json_t *index = json_object_get(value, "fd");

	if (!json_is_integer(index) || json_object_size(value) != 1)
		return refuse(decoder, PLACE_VALUE, "a descriptor is named by {\"fd\": index}");
	if (!fds || json_integer_value(index) < 0 || json_integer_value(index) >= (json_int_t)count)
		return refuse(decoder, PLACE_VALUE,
			      "no descriptor %" JSON_INTEGER_FORMAT " came along, but %u",
			      json_integer_value(index), count);
	out->fd = fds->fds[json_integer_value(index)];
	return 0;
}

static int decode_file(struct decoder *decoder, const struct field *field, json_t *value,
		       struct opt_file *out)
{
	/* Without descriptors any other object is what it is for Firecracker. */
	if (json_is_object(value) && (decoder->fds || json_object_get(value, "fd")))
		return decode_descriptor(decoder, value, out);
	return decode_string(decoder, field, value, &out->path);
}

/* Lists -----------------------------------------------------------------------------------------*/

static int decode_item(struct decoder *decoder, const struct field *field, json_t *value, void *out)
{
	return field->type == FIELD_STRINGS
		       ? decode_string(decoder, field, value, (const char **)out)
		       : decode_struct(decoder, field->sub, value, out);
}

static size_t item_size(const struct field *field)
{
	return field->type == FIELD_STRINGS ? sizeof(const char *) : field->sub->size;
}

static int decode_list(struct decoder *decoder, const struct field *field, json_t *value,
		       struct opt_list *out)
{
	size_t count = json_array_size(value);

	if (!json_is_array(value))
		return refuse_type(decoder, value, "a sequence");
	*out = (struct opt_list){ .given = true };
	if (count == 0)
		return 0;
	out->items = calloc(count, item_size(field));
	if (!out->items)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		int ret;

		step_down(decoder, NULL, i);
		out->count++; /* what an item holds by now is freed with the others */
		ret = decode_item(decoder, field, json_array_get(value, i),
				  (char *)out->items + i * item_size(field));
		if (ret < 0)
			return ret;
		step_up(decoder);
	}
	return 0;
}

static int decode_names(struct decoder *decoder, const struct field *field, json_t *value,
			json_t **out)
{
	const char *key, *text;
	json_t *member;

	if (!json_is_object(value))
		return refuse_type(decoder, value, "a map");
	json_object_foreach(value, key, member)
	{
		int ret;

		step_down(decoder, key, 0);
		ret = decode_string(decoder, field, member, &text);
		if (ret < 0)
			return ret;
		step_up(decoder);
	}
	*out = value;
	return 0;
}

/* Structs ---------------------------------------------------------------------------------------*/

static int decode_value(struct decoder *decoder, const struct field *field, json_t *value,
			void *out)
{
	switch (field->type) {
	case FIELD_BOOL:
		return decode_bool(decoder, value, out);
	case FIELD_CHOICE:
		return decode_choice(decoder, field, value, out);
	case FIELD_STRING:
	case FIELD_ID:
		return decode_string(decoder, field, value, out);
	case FIELD_FILE:
		return decode_file(decoder, field, value, out);
	case FIELD_STRUCT:
		return decode_struct(decoder, field->sub, value, out);
	case FIELD_LIST:
	case FIELD_STRINGS:
		return decode_list(decoder, field, value, out);
	case FIELD_NAMES:
		return decode_names(decoder, field, value, out);
	case FIELD_ANY:
		*(json_t **)out = value;
		return 0;
	default:
		return decode_uint(decoder, field->type, value, out);
	}
}

static const struct field *find_field(const struct field_set *set, const char *name)
{
	for (uint32_t i = 0; i < set->count; i++)
		if (strcmp(set->fields[i].name, name) == 0)
			return &set->fields[i];
	return NULL;
}

static int refuse_unknown(struct decoder *decoder, const struct field_set *set, const char *key)
{
	char wanted[400];

	if (set->count == 0)
		return refuse(decoder, PLACE_KEY, "unknown field `%.60s`, there are no fields",
			      key);
	field_list_names(wanted, sizeof(wanted), set);
	return refuse(decoder, PLACE_KEY, "unknown field `%.60s`, %s", key, wanted);
}

bool fields_refuse_name(const struct field_set *set, const char *name, size_t len,
			struct field_error *error)
{
	struct decoder decoder = { .error = error };
	char key[64];

	snprintf(key, sizeof(key), "%.*s", (int)MIN(len, sizeof(key)), name);
	if (set->whole || set->lenient || find_field(set, key))
		return false;
	refuse_unknown(&decoder, set, key);
	return true;
}

static int decode_member(struct decoder *decoder, const struct field_set *set, const char *key,
			 json_t *value, char *out)
{
	const struct field *field = find_field(set, key);
	int ret = 0;

	step_down(decoder, key, 0);
	if (!field && !set->lenient)
		return refuse_unknown(decoder, set, key);
	if (field && !(json_is_null(value) && field->need == FIELD_OPTIONAL))
		ret = decode_value(decoder, field, value, out + field->offset);
	if (ret == 0)
		step_up(decoder);
	return ret;
}

static void set_default(const struct field *field, char *member)
{
	switch (field->type) {
	case FIELD_FILE:
		((struct opt_file *)(void *)member)->fd = -1;
		break;
	case FIELD_STRUCT:
		set_defaults(field->sub, member);
		break;
	case FIELD_BOOL:
		((struct opt_bool *)(void *)member)->value = field->fallback;
		break;
	case FIELD_STRING:
	case FIELD_ID:
	case FIELD_LIST:
	case FIELD_STRINGS:
	case FIELD_NAMES:
	case FIELD_ANY:
		break;
	default:
		((struct opt_uint *)(void *)member)->value = field->fallback;
	}
}

static void set_defaults(const struct field_set *set, char *out)
{
	memset(out, 0, set->size);
	for (uint32_t i = 0; i < set->count; i++)
		set_default(&set->fields[i], out + set->fields[i].offset);
}

static bool has_ours(const struct field_set *set, json_t *tree)
{
	for (uint32_t i = 0; i < set->count; i++) {
		json_t *value = json_object_get(tree, set->fields[i].name);

		if (set->fields[i].ours && value && !json_is_null(value))
			return true;
	}
	return false;
}

static bool is_required(const struct field_set *set, const struct field *field, json_t *tree)
{
	return field->need == FIELD_REQUIRED ||
	       (field->need == FIELD_REQUIRED_OR_OURS && !has_ours(set, tree));
}

/* What has to be there, in the order of the table, as serde looks for it. */
static int check_required(struct decoder *decoder, const struct field_set *set, json_t *tree)
{
	for (uint32_t i = 0; i < set->count; i++)
		if (!json_object_get(tree, set->fields[i].name) &&
		    is_required(set, &set->fields[i], tree))
			return refuse(decoder, PLACE_END, "missing field `%s`",
				      set->fields[i].name);
	return 0;
}

static int decode_struct(struct decoder *decoder, const struct field_set *set, json_t *tree,
			 void *out)
{
	const char *key;
	json_t *value;
	char wanted[80];

	if (decoder->error->step_count >= FIELD_DEPTH_MAX)
		return refuse(decoder, PLACE_VALUE, "recursion limit exceeded");
	set_defaults(set, out);
	snprintf(wanted, sizeof(wanted), "struct %s", set->name);
	if (!json_is_object(tree))
		return refuse_type(decoder, tree, wanted);
	json_object_foreach(tree, key, value)
	{
		int ret = decode_member(decoder, set, key, value, out);

		if (ret < 0)
			return ret;
	}
	*(bool *)out = true;
	return check_required(decoder, set, tree);
}

int fields_decode(const struct field_set *set, json_t *tree, const struct field_fds *fds, void *out,
		  struct field_error *error)
{
	struct decoder decoder = { .fds = fds, .error = error };
	int ret;

	error->step_count = 0;
	set_defaults(set, out);
	if (set->whole) {
		*(bool *)out = true;
		*(json_t **)(void *)((char *)out + set->fields[0].offset) = tree;
		return 0;
	}
	ret = decode_struct(&decoder, set, tree, out);
	if (ret < 0)
		fields_free(set, out);
	return ret;
}

static void free_list(const struct field *field, struct opt_list *list)
{
	for (uint32_t i = 0; field->type == FIELD_LIST && i < list->count; i++)
		fields_free(field->sub, (char *)list->items + i * item_size(field));
	free(list->items);
	*list = (struct opt_list){ 0 };
}

void fields_free(const struct field_set *set, void *data)
{
	for (uint32_t i = 0; i < set->count; i++) {
		const struct field *field = &set->fields[i];
		void *member = (char *)data + field->offset;

		if (field->type == FIELD_LIST || field->type == FIELD_STRINGS)
			free_list(field, member);
		else if (field->type == FIELD_STRUCT)
			fields_free(field->sub, member);
	}
}

bool fields_use_deprecated(const struct field_set *set, const void *data)
{
	for (uint32_t i = 0; i < set->count; i++) {
		const struct field *field = &set->fields[i];

		if (field->deprecated && fields_has(field, data))
			return true;
	}
	return false;
}

int api_id_check(const char *id, const char *more, struct error *err)
{
	if (!*id)
		return error_set(err, EINVAL, "The ID cannot be empty.");
	if (strlen(id) >= VM_ID_SIZE)
		return error_set(err, EINVAL, "The ID has %zu characters, at most %u are possible.",
				 strlen(id), VM_ID_SIZE - 1);
	for (; *id; id++)
		if (!isascii(*id) || (!isalnum(*id) && *id != '_' && !strchr(more, *id)))
			return error_set(err, EINVAL,
					 "API Resource IDs can only contain alphanumeric "
					 "characters and underscores.");
	return 0;
}
