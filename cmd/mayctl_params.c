/* FIELD=VALUE to a method's parameters, typed by the table. */
#include <ctype.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/mayctl.h"

static const struct field *field_named(const struct field_set *set, const char *name, size_t len)
{
	for (uint32_t i = 0; set && i < set->count; i++)
		if (strlen(set->fields[i].name) == len &&
		    strncmp(set->fields[i].name, name, len) == 0)
			return &set->fields[i];
	return NULL;
}

const struct field *ctl_field(const struct field_set *set, const char *path)
{
	for (;;) {
		size_t len = strcspn(path, ".");
		const struct field *field = field_named(set, path, len);

		if (!field || path[len] == '\0')
			return field;
		if (field->type != FIELD_STRUCT)
			return NULL;
		set = field->sub;
		path += len + 1;
	}
}

/* Values ----------------------------------------------------------------------------------------*/

static json_t *read_bool(const char *text)
{
	static const char *const yes[] = { "true", "yes", "on", "1" };
	static const char *const no[] = { "false", "no", "off", "0" };

	for (size_t i = 0; i < ARRAY_SIZE(yes); i++) {
		if (strcmp(text, yes[i]) == 0)
			return json_true();
		if (strcmp(text, no[i]) == 0)
			return json_false();
	}
	return NULL;
}

static json_t *read_number(const char *text)
{
	char *end;
	long long number;

	errno = 0;
	number = strtoll(text, &end, 10);
	return isdigit((unsigned char)*text) && *end == '\0' && errno == 0 ? json_integer(number)
									   : NULL;
}

/* Words separated by commas. */
static json_t *read_words(const char *text)
{
	json_t *list = json_array();

	while (list && *text) {
		size_t len = strcspn(text, ",");

		json_array_append_new(list, json_stringn(text, len));
		text += len + (text[len] == ',');
	}
	return list;
}

/* fd:N is a descriptor that we were started with, fd:PATH a file to open, newfd:PATH one to make. */
static int open_file(const char *text, struct error *err)
{
	bool is_new = strncmp(text, "new", 3) == 0;
	const char *path = text + (is_new ? 6 : 3);
	int fd;

	if (!is_new && *path && strspn(path, "0123456789") == strlen(path)) {
		fd = fcntl((int)strtol(path, NULL, 10), F_DUPFD_CLOEXEC, 3);
	} else if (is_new) {
		fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	} else {
		fd = open(path, O_RDWR | O_CLOEXEC);
		if (fd < 0)
			fd = open(path, O_RDONLY | O_CLOEXEC);
	}
	return fd < 0 ? error_set(err, errno, "%s: %s", path, strerrordesc_np(errno)) : fd;
}

static json_t *read_file(struct ctl_params *params, const char *text, struct error *err)
{
	int fd;

	if (strncmp(text, "fd:", 3) != 0 && strncmp(text, "newfd:", 6) != 0)
		return json_string(text);
	if (params->fd_count == MAYFLY_CLIENT_FDS_MAX) {
		error_set(err, EINVAL, "more descriptors than the %u that go with a request",
			  MAYFLY_CLIENT_FDS_MAX);
		return NULL;
	}
	fd = open_file(text, err);
	if (fd < 0)
		return NULL;
	params->fds[params->fd_count] = fd;
	return json_pack("{s:I}", "fd", (json_int_t)params->fd_count++);
}

/* Whatever is no JSON is a text. */
static json_t *read_anything(const char *text)
{
	json_t *value = json_loads(text, JSON_DECODE_ANY, NULL);

	return value ? value : json_string(text);
}

static json_t *read_value(struct ctl_params *params, const struct field *field, const char *text,
			  struct error *err)
{
	switch (field->type) {
	case FIELD_BOOL:
		return read_bool(text);
	case FIELD_U8:
	case FIELD_U16:
	case FIELD_U32:
	case FIELD_U64:
	case FIELD_USIZE:
		return read_number(text);
	case FIELD_FILE:
		return read_file(params, text, err);
	case FIELD_STRINGS:
		return *text == '[' ? json_loads(text, 0, NULL) : read_words(text);
	case FIELD_STRUCT:
	case FIELD_LIST:
	case FIELD_NAMES:
		return json_loads(text, 0, NULL);
	case FIELD_ANY:
		return read_anything(text);
	default:
		return json_string(text);
	}
}

/* Places ----------------------------------------------------------------------------------------*/

/* Puts the value, which it takes over, at a dotted path, making the maps on the way. */
static int put(json_t *tree, const char *path, json_t *value)
{
	size_t len = strcspn(path, ".");
	char key[64];
	json_t *inner;

	if (len >= sizeof(key)) {
		json_decref(value);
		return -EINVAL;
	}
	memcpy(key, path, len);
	key[len] = '\0';
	if (path[len] == '\0')
		return json_object_set_new(tree, key, value);
	inner = json_object_get(tree, key);
	if (!json_is_object(inner)) {
		inner = json_object();
		json_object_set_new(tree, key, inner);
	}
	return put(inner, path + len + 1, value);
}

int ctl_params_set(struct ctl_params *params, const struct method *method, const char *path,
		   const char *value, struct error *err)
{
	const struct field *field = ctl_field(method->fields, path);
	char type[400];
	json_t *item;

	if (!field)
		return error_set(err, EINVAL, "%s has no field `%s`", method->name, path);
	err->text[0] = '\0';
	item = read_value(params, field, value, err);
	describe_type(field, type, sizeof(type));
	if (!item)
		return err->text[0]
			       ? -EINVAL
			       : error_set(err, EINVAL, "%s=%s: it is to be %s", path, value, type);
	if (!params->tree)
		params->tree = json_object();
	return put(params->tree, path, item) < 0 ? error_set(err, ENOMEM, "out of memory") : 0;
}

int ctl_params_add(struct ctl_params *params, const struct method *method, const char *assignment,
		   struct error *err)
{
	size_t len = strcspn(assignment, "=");
	char path[128];

	if (assignment[len] == '\0' || len >= sizeof(path))
		return error_set(err, EINVAL, "`%s` is not FIELD=VALUE", assignment);
	memcpy(path, assignment, len);
	path[len] = '\0';
	return ctl_params_set(params, method, path, assignment + len + 1, err);
}

void ctl_params_free(struct ctl_params *params)
{
	json_decref(params->tree);
	for (unsigned int i = 0; i < params->fd_count; i++)
		close_fd(&params->fds[i]);
}
