#include "api-socket/field_words.h"

/* json_*_new() functions may fail; json_object_set_new() then refuses NULL, and so do we. */
static json_t *encode_list(const struct field *field, const struct opt_list *list)
{
	json_t *array = json_array();

	for (uint32_t i = 0; array && i < list->count; i++) {
		json_t *item = field->type == FIELD_STRINGS
				       ? json_string(((const char *const *)list->items)[i])
				       : fields_encode(field->sub, (const char *)list->items +
									   i * field->sub->size);

		if (json_array_append_new(array, item) < 0) {
			json_decref(array);
			return NULL;
		}
	}
	return array;
}

static json_t *encode_value(const struct field *field, const void *member)
{
	switch (field->type) {
	case FIELD_BOOL:
		return json_boolean(((const struct opt_bool *)member)->value);
	case FIELD_CHOICE:
		return json_string(field->choices[((const struct opt_uint *)member)->value]);
	case FIELD_STRING:
	case FIELD_ID:
		return json_string(*(const char *const *)member);
	case FIELD_FILE: {
		const struct opt_file *file = member;

		return file->path ? json_string(file->path) : json_pack("{s:i}", "fd", file->fd);
	}
	case FIELD_STRUCT:
		return fields_encode(field->sub, member);
	case FIELD_LIST:
	case FIELD_STRINGS:
		return encode_list(field, member);
	case FIELD_NAMES:
	case FIELD_ANY:
		return json_incref(*(json_t *const *)member);
	default:
		return json_integer((json_int_t)((const struct opt_uint *)member)->value);
	}
}

json_t *fields_encode(const struct field_set *set, const void *data)
{
	json_t *tree = json_object();

	for (uint32_t i = 0; tree && i < set->count; i++) {
		const struct field *field = &set->fields[i];
		const void *member = (const char *)data + field->offset;
		bool given = fields_has(field, data) || field->shown ||
			     field->need == FIELD_DEFAULTED;

		if (!given && field->silent)
			continue;
		if (json_object_set_new(tree, field->name,
					given ? encode_value(field, member) : json_null()) < 0) {
			json_decref(tree);
			return NULL;
		}
	}
	return tree;
}
