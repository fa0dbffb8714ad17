#include "vmm/mmds/mmds_json.h"

#include <stdio.h>
#include <string.h>

struct sink {
	char *buf;
	size_t size, len; /* len goes on counting when the buffer is full */
};

static void put(struct sink *sink, const char *text, size_t len)
{
	if (len && sink->len <= sink->size && len <= sink->size - sink->len)
		memcpy(sink->buf + sink->len, text, len);
	sink->len += len;
}

static void put_escape(struct sink *sink, unsigned char c)
{
	static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
	const char *found = memchr(from, c, sizeof(from) - 1);
	char text[8];

	if (found)
		put(sink, (const char[]){ '\\', to[found - from] }, 2);
	else
		put(sink, text, (size_t)snprintf(text, sizeof(text), "\\u%04x", c));
}

static void put_string(struct sink *sink, const char *text, size_t len)
{
	size_t start = 0;

	put(sink, "\"", 1);
	for (size_t i = 0; i < len; i++) {
		const unsigned char c = (unsigned char)text[i];

		if (c >= 0x20 && c != '"' && c != '\\')
			continue;
		put(sink, text + start, i - start);
		put_escape(sink, c);
		start = i + 1;
	}
	put(sink, text + start, len - start);
	put(sink, "\"", 1);
}

/* The fewest digits that are read back as the same number; a number that was not an integer never
 * looks like one. */
static void put_real(struct sink *sink, double value)
{
	char text[40];
	int len = 0;

	for (int digits = 15; digits <= 17; digits++) {
		len = snprintf(text, sizeof(text), "%.*g", digits, value);
		if (strtod(text, NULL) == value)
			break;
	}
	put(sink, text, (size_t)len);
	if (!strpbrk(text, ".e"))
		put(sink, ".0", 2);
}

static void put_value(struct sink *sink, json_t *value);

static void put_object(struct sink *sink, json_t *object)
{
	json_t *value;
	const char *key;
	bool first = true;

	put(sink, "{", 1);
	json_object_foreach(object, key, value)
	{
		if (!first)
			put(sink, ",", 1);
		first = false;
		put_string(sink, key, strlen(key));
		put(sink, ":", 1);
		put_value(sink, value);
	}
	put(sink, "}", 1);
}

static void put_array(struct sink *sink, json_t *array)
{
	put(sink, "[", 1);
	for (size_t i = 0; i < json_array_size(array); i++) {
		if (i)
			put(sink, ",", 1);
		put_value(sink, json_array_get(array, i));
	}
	put(sink, "]", 1);
}

/* No deeper than mmds_json_sorted() let through. */
static void put_value(struct sink *sink, json_t *value)
{
	char text[24];

	switch (json_typeof(value)) {
	case JSON_OBJECT:
		return put_object(sink, value);
	case JSON_ARRAY:
		return put_array(sink, value);
	case JSON_STRING:
		return put_string(sink, json_string_value(value), json_string_length(value));
	case JSON_INTEGER:
		return put(sink, text,
			   (size_t)snprintf(text, sizeof(text), "%lld",
					    (long long)json_integer_value(value)));
	case JSON_REAL:
		return put_real(sink, json_real_value(value));
	case JSON_TRUE:
		return put(sink, "true", 4);
	case JSON_FALSE:
		return put(sink, "false", 5);
	case JSON_NULL:
		return put(sink, "null", 4);
	}
}

size_t mmds_json_write(json_t *value, char *buf, size_t size)
{
	struct sink sink = { .buf = buf, .size = size };

	put_value(&sink, value);
	return sink.len;
}

static int by_bytes(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int sorted(json_t *value, unsigned int depth, json_t **out);

static int copy_sorted(json_t *object, const char **keys, unsigned int depth, json_t *copy)
{
	json_t *value;
	const char *key;
	size_t count = 0;

	json_object_foreach(object, key, value)
	{
		keys[count++] = key;
	}
	qsort(keys, count, sizeof(*keys), by_bytes);
	for (size_t i = 0; i < count; i++) {
		const int ret = sorted(json_object_get(object, keys[i]), depth, &value);

		if (ret < 0)
			return ret;
		if (json_object_set_new_nocheck(copy, keys[i], value) < 0)
			return -ENOMEM;
	}
	return 0;
}

static int sorted_object(json_t *object, unsigned int depth, json_t **out)
{
	const char **keys = malloc((json_object_size(object) + 1) * sizeof(*keys));
	json_t *copy = json_object();
	int ret = -ENOMEM;

	if (keys && copy)
		ret = copy_sorted(object, keys, depth, copy);
	free(keys);
	if (ret < 0) {
		json_decref(copy);
		return ret;
	}
	*out = copy;
	return 0;
}

static int sorted_array(json_t *array, unsigned int depth, json_t **out)
{
	json_t *copy = json_array(), *value;
	int ret = copy ? 0 : -ENOMEM;

	for (size_t i = 0; i < json_array_size(array) && !ret; i++) {
		ret = sorted(json_array_get(array, i), depth, &value);
		if (!ret && json_array_append_new(copy, value) < 0)
			ret = -ENOMEM;
	}
	if (ret < 0) {
		json_decref(copy);
		return ret;
	}
	*out = copy;
	return 0;
}

static int sorted(json_t *value, unsigned int depth, json_t **out)
{
	const bool object = json_is_object(value);

	if ((object || json_is_array(value)) && depth == MMDS_JSON_DEPTH_MAX)
		return -E2BIG;
	if (object)
		return sorted_object(value, depth + 1, out);
	if (json_is_array(value))
		return sorted_array(value, depth + 1, out);
	*out = json_copy(value);
	return *out ? 0 : -ENOMEM;
}

int mmds_json_sorted(json_t *value, json_t **out)
{
	return sorted(value, 0, out);
}

json_t *mmds_json_merge(json_t *target, json_t *patch)
{
	json_t *result, *value, *merged;
	const char *key;

	if (!json_is_object(patch))
		return json_incref(patch);
	result = json_is_object(target) ? json_copy(target) : json_object();
	if (!result)
		return NULL;
	json_object_foreach(patch, key, value)
	{
		if (json_is_null(value)) {
			json_object_del(result, key);
			continue;
		}
		merged = mmds_json_merge(json_object_get(result, key), value);
		if (!merged || json_object_set_new_nocheck(result, key, merged) < 0) {
			json_decref(result);
			return NULL;
		}
	}
	return result;
}
