#include "api-socket/field_words.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

printf_like(3, 4) static void append(char *out, size_t size, const char *fmt, ...)
{
	size_t used = strlen(out);
	va_list args;

	va_start(args, fmt);
	vsnprintf(out + used, size - used, fmt, args);
	va_end(args);
}

/* As Rust shows a string to a programmer. */
static void quote(char *out, size_t size, const char *text)
{
	append(out, size, "string \"");
	for (; *text; text++)
		switch (*text) {
		case '"':
		case '\\':
			append(out, size, "\\%c", *text);
			break;
		case '\n':
			append(out, size, "\\n");
			break;
		case '\t':
			append(out, size, "\\t");
			break;
		case '\r':
			append(out, size, "\\r");
			break;
		default:
			append(out, size, "%c", *text);
		}
	append(out, size, "\"");
}

static void describe_real(char *out, size_t size, double value)
{
	char digits[40];

	for (int precision = 1; precision <= 17; precision++) {
		snprintf(digits, sizeof(digits), "%.*g", precision, value);
		if (strtod(digits, NULL) >= value && strtod(digits, NULL) <= value)
			break;
	}
	append(out, size, "floating point `%s%s`", digits, strpbrk(digits, ".e") ? "" : ".0");
}

/* Bytes of the character that begins here; 0: it is not whole. Only what was cut is meant: whether a whole one
 * means something was seen when it was read. */
static size_t whole_character(const unsigned char *at)
{
	size_t len = *at < 0x80 ? 1 : *at < 0xc0 ? 0 : *at < 0xe0 ? 2 : *at < 0xf0 ? 3 : 4;

	for (size_t i = 1; i < len; i++)
		if ((at[i] & 0xc0) != 0x80)
			return 0;
	return len;
}

void text_mend(char *text)
{
	while (*text) {
		size_t len = whole_character((const unsigned char *)text);

		if (len == 0)
			*text++ = '?';
		text += len;
	}
}

void field_describe_value(char *out, size_t size, json_t *value)
{
	*out = '\0';
	switch (json_typeof(value)) {
	case JSON_OBJECT:
		append(out, size, "map");
		break;
	case JSON_ARRAY:
		append(out, size, "sequence");
		break;
	case JSON_STRING:
		quote(out, size, json_string_value(value));
		break;
	case JSON_INTEGER:
		append(out, size, "integer `%" JSON_INTEGER_FORMAT "`", json_integer_value(value));
		break;
	case JSON_REAL:
		describe_real(out, size, json_real_value(value));
		break;
	case JSON_TRUE:
	case JSON_FALSE:
		append(out, size, "boolean `%s`", json_is_true(value) ? "true" : "false");
		break;
	default:
		append(out, size, "null");
	}
}

/* name(at, i) is the i-th of `count` words. */
static void list(char *out, size_t size, unsigned int count,
		 const char *(*name)(const void *at, unsigned int i), const void *at)
{
	*out = '\0';
	if (count == 0)
		append(out, size, "there are no fields");
	else if (count == 1)
		append(out, size, "expected `%s`", name(at, 0));
	else if (count == 2)
		append(out, size, "expected `%s` or `%s`", name(at, 0), name(at, 1));
	else
		for (unsigned int i = 0; i < count; i++)
			append(out, size, "%s`%s`", i ? ", " : "expected one of ", name(at, i));
}

static const char *choice_name(const void *at, unsigned int i)
{
	return ((const char *const *)at)[i];
}

void field_list_choices(char *out, size_t size, const char *const *choices)
{
	unsigned int count = 0;

	while (choices[count])
		count++;
	list(out, size, count, choice_name, choices);
}

static const char *field_name(const void *at, unsigned int i)
{
	return ((const struct field_set *)at)->fields[i].name;
}

void field_list_names(char *out, size_t size, const struct field_set *set)
{
	unsigned int count = set->count;

	while (count > 0 && set->fields[count - 1].ours)
		count--;
	list(out, size, count, field_name, set);
}

bool fields_has(const struct field *field, const void *data)
{
	const void *member = (const char *)data + field->offset;

	switch (field->type) {
	case FIELD_STRING:
	case FIELD_ID:
	case FIELD_NAMES:
	case FIELD_ANY:
		return *(const void *const *)member != NULL;
	case FIELD_FILE: {
		const struct opt_file *file = member;

		return file->path || file->fd >= 0;
	}
	default: /* the others begin with it */
		return *(const bool *)member;
	}
}
