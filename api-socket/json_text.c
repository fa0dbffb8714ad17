#include "api-socket/json_text.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "api-socket/field_words.h"

/* A place in a text; only ever moves forward, and never past the end. */
struct cursor {
	const char *at, *end;
};

/* Parts of a text that jansson has taken --------------------------------------------------------*/

/* JSON's, whatever the locale. */
static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void skip_space(struct cursor *cursor)
{
	while (cursor->at < cursor->end && is_space(*cursor->at))
		cursor->at++;
}

static void skip_string(struct cursor *cursor)
{
	for (cursor->at++; cursor->at < cursor->end && *cursor->at != '"'; cursor->at++)
		if (*cursor->at == '\\' && cursor->at + 1 < cursor->end)
			cursor->at++;
	if (cursor->at < cursor->end)
		cursor->at++;
}

/* A whole value: brackets are counted, strings skipped. */
static void skip_value(struct cursor *cursor)
{
	unsigned int depth = 0;

	do {
		skip_space(cursor);
		if (cursor->at == cursor->end)
			return;
		if (*cursor->at == '"') {
			skip_string(cursor);
		} else if (strchr("[{", *cursor->at)) {
			depth++;
			cursor->at++;
		} else if (strchr("]}", *cursor->at)) {
			depth -= depth > 0;
			cursor->at++;
		} else if (strchr(",:", *cursor->at)) {
			cursor->at++;
		} else {
			while (cursor->at < cursor->end && !strchr(",:]} \t\r\n", *cursor->at))
				cursor->at++;
		}
	} while (depth > 0);
}

/* Past one of the characters that stand between values. */
static bool skip_mark(struct cursor *cursor, char mark)
{
	skip_space(cursor);
	if (cursor->at == cursor->end || *cursor->at != mark)
		return false;
	cursor->at++;
	return true;
}

/* From an object's start to the value of `key`; false when it has none. Keys that the text writes with
 * escapes are not found: their messages have no place. */
static bool enter_member(struct cursor *cursor, const char *key, const char **key_end)
{
	if (!skip_mark(cursor, '{'))
		return false;
	do {
		const char *name;

		skip_space(cursor);
		name = cursor->at + 1;
		if (cursor->at == cursor->end || *cursor->at != '"')
			return false;
		skip_string(cursor);
		*key_end = cursor->at;
		if ((size_t)(cursor->at - name) == strlen(key) + 1 &&
		    memcmp(name, key, strlen(key)) == 0) {
			skip_space(cursor);
			*key_end = cursor->at;
			return skip_mark(cursor, ':');
		}
		if (!skip_mark(cursor, ':'))
			return false;
		skip_value(cursor);
	} while (skip_mark(cursor, ','));
	return false;
}

static bool enter_item(struct cursor *cursor, size_t index)
{
	if (!skip_mark(cursor, '['))
		return false;
	for (; index > 0; index--) {
		skip_value(cursor);
		if (!skip_mark(cursor, ','))
			return false;
	}
	return true;
}

/* Where serde stands when it refuses a value: behind it, but before a bracket that it did not want;
 * and on the first character of one that is no word. */
static const char *refused_value(struct cursor cursor, const char *text)
{
	skip_space(&cursor);
	if (strcmp(text, "expected value") == 0)
		return cursor.at + 1;
	if (cursor.at < cursor.end && strchr("[{", *cursor.at))
		return cursor.at;
	skip_value(&cursor);
	return cursor.at;
}

static const char *find_place(const char *text, size_t len, const struct field_error *why)
{
	struct cursor cursor = { text, text + len };
	const char *key_end = text;

	for (unsigned int i = 0; i < why->step_count && i < FIELD_DEPTH_MAX; i++) {
		const struct field_step *step = &why->steps[i];

		if (step->key ? !enter_member(&cursor, step->key, &key_end)
			      : !enter_item(&cursor, step->index))
			return NULL;
	}
	switch (why->place) {
	case PLACE_KEY:
		return key_end;
	case PLACE_MEMBER:
		skip_value(&cursor);
		if (!skip_mark(&cursor, '}'))
			skip_mark(&cursor, ']');
		return cursor.at;
	case PLACE_VALUE:
		return refused_value(cursor, why->text);
	default:
		skip_value(&cursor);
		return cursor.at;
	}
}

/* Lines and columns count from 1; a column is the number of bytes of the line before the place. */
static void set_at(struct error *err, const char *what, const char *text, const char *place)
{
	unsigned int line = 1, column = 0;

	for (const char *c = text; c < place; c++)
		if (*c == '\n') {
			line++;
			column = 0;
		} else {
			column++;
		}
	error_set(err, EINVAL, "%s at line %u column %u", what, line, column);
}

void json_text_explain(const char *text, size_t len, const struct field_error *why,
		       struct error *err)
{
	const char *place = find_place(text, len, why);

	if (place)
		set_at(err, why->text, text, place);
	else
		error_set(err, EINVAL, "%s", why->text);
}

/* Texts that jansson refuses --------------------------------------------------------------------*/

/* The name that is there twice ends where jansson stopped. */
static void explain_duplicate(const char *text, const char *place, struct error *err)
{
	const char *start = place - 1;
	char what[120];

	while (start > text && start[-1] != '"')
		start--;
	snprintf(what, sizeof(what), "duplicate field `%.*s`",
		 (int)MIN(place - 1 - start, (ptrdiff_t)60), start);
	text_mend(what);
	set_at(err, what, text, place);
}

/* What is open at the end of the text. */
static const char *unfinished(const char *text, const char *end)
{
	char open[128];
	size_t depth = 0;

	for (const char *c = text; c < end; c++) {
		if (*c == '"') {
			struct cursor cursor = { c, end };

			skip_string(&cursor);
			if (cursor.at == end && (end[-1] != '"' || end - 1 == c))
				return "EOF while parsing a string";
			c = cursor.at - 1;
		} else if (strchr("[{", *c) && depth < sizeof(open)) {
			open[depth++] = *c;
		} else if (strchr("]}", *c) && depth > 0) {
			depth--;
		}
	}
	while (end > text && is_space(end[-1]))
		end--;
	if (depth == 0 || (end > text && (end[-1] == ':' || end[-1] == ',')))
		return "EOF while parsing a value";
	return open[depth - 1] == '[' ? "EOF while parsing a list" : "EOF while parsing an object";
}

/* jansson stops behind the token that it could make nothing of. */
static const char *token_start(const char *text, const char *end)
{
	const char *start = end > text ? end - 1 : text;

	if (*start == '"') {
		while (start > text && *--start != '"')
			;
		return start;
	}
	while (start > text && isalnum((unsigned char)*start) && isalnum((unsigned char)start[-1]))
		start--;
	return start;
}

static bool follows_comma(const char *text, const char *at)
{
	while (at > text && is_space(at[-1]))
		at--;
	return at > text && at[-1] == ',';
}

static bool starts_with(const char *text, const char *start)
{
	return strncmp(text, start, strlen(start)) == 0;
}

/* jansson's words for an unexpected token, in serde's. */
static const char *translate(const char *words, const char *text, const char *token)
{
	if (starts_with(words, "':'"))
		return "expected `:`";
	if (starts_with(words, "'}'"))
		return "expected `,` or `}`";
	if (starts_with(words, "']'"))
		return "expected `,` or `]`";
	if (starts_with(words, "invalid escape"))
		return "invalid escape";
	if (starts_with(words, "invalid Unicode"))
		return "lone leading surrogate in hex escape";
	if (starts_with(words, "unexpected newline") || starts_with(words, "control character"))
		return "control character (\\u0000-\\u001F) found while parsing a string";
	if ((*token == '}' || *token == ']') && follows_comma(text, token))
		return "trailing comma";
	if (starts_with(words, "string or"))
		return "key must be a string";
	if (starts_with(words, "invalid token") && isdigit((unsigned char)*token))
		return "invalid number";
	return "expected value";
}

/* serde goes by the letters of the word that the first one begins: the one that is another, or NULL. */
static const char *misspelt(const char *token, const char *end)
{
	static const char *const words[] = { "true", "false", "null" };

	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		const char *word = words[i];

		for (const char *at = token; *word && *token == *words[i] && at < end; at++, word++)
			if (*at != *word)
				return at;
	}
	return NULL;
}

static void explain_token(const char *text, const char *text_end, const char *end,
			  const char *words, struct error *err)
{
	const char *token = token_start(text, end);
	const char *what = translate(words, text, token);
	const char *place = token + 1;

	if (starts_with(words, "invalid escape") || starts_with(words, "invalid Unicode")) {
		place = end;
	} else if (starts_with(words, "unexpected newline") ||
		   starts_with(words, "control character")) {
		while (place < text_end && (unsigned char)place[-1] >= ' ')
			place++;
	} else if (strcmp(what, "invalid number") == 0 && *token == '0') {
		place++; /* one digit too many */
	} else if (strcmp(what, "expected value") == 0 && misspelt(token, text_end)) {
		what = "expected ident";
		place = misspelt(token, text_end) + 1;
	} else if (*token == '-' && place == text_end) {
		what = "EOF while parsing a value";
	}
	set_at(err, what, text, place);
}

static json_t *read_text(const char *text, size_t len, size_t flags, struct error *err)
{
	json_error_t why;
	json_t *tree = json_loadb(text, len, flags | JSON_DECODE_ANY | JSON_ALLOW_NUL, &why);
	const char *end = text;

	if (tree)
		return tree;
	if (why.position > 0)
		end += MIN((size_t)why.position, len);
	switch (json_error_code(&why)) {
	case json_error_out_of_memory:
		error_set(err, ENOMEM, "out of memory");
		break;
	case json_error_duplicate_key:
		explain_duplicate(text, end, err);
		break;
	case json_error_numeric_overflow: /* above 2^63 - 1, too, which serde takes */
		set_at(err, "number out of range", text, end);
		break;
	case json_error_null_byte_in_key:
		set_at(err, "a key has a NUL character", text, end);
		break;
	case json_error_invalid_utf8:
		set_at(err, "invalid unicode code point", text, end);
		break;
	case json_error_premature_end_of_input:
		set_at(err, unfinished(text, text + len), text, text + len);
		break;
	case json_error_end_of_input_expected:
		set_at(err, "trailing characters", text, token_start(text, end) + 1);
		break;
	default:
		explain_token(text, text + len, end, why.text, err);
	}
	return NULL;
}

json_t *json_text_read(const char *text, size_t len, struct error *err)
{
	return read_text(text, len, JSON_REJECT_DUPLICATES, err);
}

json_t *json_text_read_value(const char *text, size_t len, struct error *err)
{
	return read_text(text, len, 0, err);
}

/* Mistakes before that one -----------------------------------------------------------------------*/

static bool refuses(const struct field_set *set, json_t *tree, struct field_error *why)
{
	void *data = calloc(1, set->size);
	int ret = data ? fields_decode(set, tree, NULL, data, why) : -ENOMEM;

	if (ret == 0)
		fields_free(set, data);
	free(data);
	return ret == -EINVAL;
}

/* Places of unknown names are told once whatever ends the object has been looked for. */
static const char *behind_key(struct cursor cursor)
{
	skip_mark(&cursor, '}');
	return cursor.at;
}

/* The first name of an object that no field has; NULL when there is none before the end. */
static const char *find_unknown(struct cursor cursor, const char *text_end,
				const struct field_set *set, struct field_error *why)
{
	bool goes_on = skip_mark(&cursor, '{');

	while (goes_on) {
		const char *name;

		skip_space(&cursor);
		name = cursor.at + 1;
		if (cursor.at == cursor.end || *cursor.at != '"')
			break;
		skip_string(&cursor);
		if (cursor.at - 1 < name || cursor.at[-1] != '"' ||
		    memchr(name, '\\', (size_t)(cursor.at - 1 - name)))
			break;
		if (fields_refuse_name(set, name, (size_t)(cursor.at - 1 - name), why))
			return behind_key((struct cursor){ cursor.at, text_end });
		if (!skip_mark(&cursor, ':'))
			break;
		skip_value(&cursor);
		goes_on = skip_mark(&cursor, ',');
	}
	return NULL;
}

bool json_text_refused_before(const char *text, size_t len, const struct field_set *set,
			      struct error *err)
{
	const size_t flags = JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL;
	json_error_t refusal;
	json_t *tree = json_loadb(text, len, flags | JSON_DISABLE_EOF_CHECK, &refusal);
	struct field_error why = { 0 };
	const char *place;
	bool found;

	if (tree) {
		found = refuses(set, tree, &why);
		text_mend(why.text);
		if (found)
			json_text_explain(text, len, &why, err);
		json_decref(tree); /* the way to the mistake has its names */
		return found;
	}
	if (refusal.position <= 0)
		return false;
	place = find_unknown((struct cursor){ text, text + MIN((size_t)refusal.position, len) },
			     text + len, set, &why);
	text_mend(why.text);
	if (place)
		set_at(err, why.text, text, place);
	return place;
}
