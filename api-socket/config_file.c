#include "api-socket/config_file.h"

#include <stdio.h>
#include <string.h>

#include "api-socket/field_words.h"
#include "api-socket/json_text.h"
#include "api-socket/method.h"
#include "base/log.h"
#include "base/read_file.h"

#define FILE_MAX_MIB 16u

/* What a file may hold, in the order in which it counts. */
static const struct {
	const char *key, *method;
	bool required;
	bool is_list;	  /* one request for each element */
	bool may_be_path; /* a string is the path of another file, with the object */
} sections[] = {
	{ "logger", "logger.put", .required = false },
	{ "metrics", "metrics.put", .required = false },
	{ "machine-config", "machine.put", .required = false },
	{ "cpu-config", "cpu.put", .may_be_path = true },
	{ "boot-source", "boot.put", .required = true },
	{ "drives", "drive.put", .required = true, .is_list = true },
	{ "network-interfaces", "net.put", .is_list = true },
	{ "vsock", "vsock.put", .required = false },
	{ "balloon", "balloon.put", .required = false },
	{ "mmds-config", "mmds.config", .required = false },
	{ "entropy", "entropy.put", .required = false },
	{ "pmem", "pmem.put", .is_list = true },
	{ "memory-hotplug", "hotplug.memory.put", .required = false },
};

/* Reading ---------------------------------------------------------------------------------------*/

static json_t *read_json(const char *path, json_t *(*read)(const char *, size_t, struct error *),
			 struct error *err)
{
	size_t len = 0;
	cleanup_free char *text = read_file(path, FILE_MAX_MIB, &len, err);
	json_t *tree = text ? read(text, len, err) : NULL;

	if (text && !tree)
		error_prefix(err, "%s", path);
	return tree;
}

/* Applying --------------------------------------------------------------------------------------*/

static int apply(struct controller *controller, const char *name, json_t *body,
		 const struct field_fds *fds, struct error *err)
{
	const struct method *method = method_by_name(name);
	const struct api_input input = { .tree = body, .fds = fds };
	struct field_error why;
	struct api_reply reply;
	enum api_outcome outcome;

	if (!method)
		return error_set(err, ENOTSUP, "it is not supported");
	outcome = method_call(controller, method, &input, &why, &reply);
	json_decref(reply.result);
	if (outcome == API_DONE)
		return 0;
	return error_set(err, EINVAL, "%s", outcome == API_BAD_FIELDS ? why.text : reply.err.text);
}

int config_file_apply(struct controller *controller, const char *name, json_t *body,
		      struct error *err)
{
	return apply(controller, name, body, NULL, err);
}

static int apply_list(struct controller *controller, const char *key, const char *method,
		      json_t *list, const struct field_fds *fds, struct error *err)
{
	json_t *item;
	size_t i;

	if (!json_is_array(list))
		return error_set(err, EINVAL, "%s: it is no list", key);
	json_array_foreach(list, i, item)
	{
		int ret = apply(controller, method, item, fds, err);

		if (ret < 0) {
			error_prefix(err, "%s[%zu]", key, i);
			return ret;
		}
	}
	return 0;
}

static int apply_path(struct controller *controller, const char *method, const char *path,
		      struct error *err)
{
	json_t *body = read_json(path, json_text_read, err);
	int ret = body ? config_file_apply(controller, method, body, err) : err->code;

	json_decref(body);
	return ret;
}

static int apply_section(struct controller *controller, size_t index, json_t *body,
			 const struct field_fds *fds, struct error *err)
{
	const char *key = sections[index].key, *method = sections[index].method;
	int ret;

	if (!body || json_is_null(body))
		return sections[index].required ? error_set(err, EINVAL, "missing field `%s`", key)
						: 0;
	if (sections[index].is_list)
		return apply_list(controller, key, method, body, fds, err);
	if (sections[index].may_be_path && json_is_string(body))
		ret = apply_path(controller, method, json_string_value(body), err);
	else
		ret = apply(controller, method, body, fds, err);
	if (ret < 0)
		error_prefix(err, "%s", key);
	return ret;
}

static bool is_section(const char *key)
{
	for (size_t i = 0; i < ARRAY_SIZE(sections); i++)
		if (strcmp(sections[i].key, key) == 0)
			return true;
	return false;
}

/* Firecracker ignores them without a word; who wrote network_interfaces misses an interface. */
static void tell_ignored(const char *path, json_t *tree)
{
	struct log_limit limit = { 0 };
	struct error said;
	const char *key;
	json_t *value;

	json_object_foreach(tree, key, value)
	{
		if (is_section(key))
			continue;
		error_set(&said, EINVAL, "%s: there is no section `%.60s`; it is ignored", path,
			  key);
		text_mend(said.text);
		log_limited(&limit, LOG_WARN, "%s", said.text);
	}
}

int config_file_load(struct controller *controller, const char *path, struct error *err)
{
	json_t *tree = read_json(path, json_text_read, err);
	int ret = 0;

	if (!tree)
		return err->code;
	if (!json_is_object(tree))
		ret = error_set(err, EINVAL, "it holds no JSON object");
	for (size_t i = 0; i < ARRAY_SIZE(sections) && ret == 0; i++)
		ret = apply_section(controller, i, json_object_get(tree, sections[i].key), NULL,
				    err);
	if (ret < 0)
		error_prefix(err, "%s", path);
	else
		tell_ignored(path, tree);
	json_decref(tree);
	return ret;
}

int config_tree_apply(struct controller *controller, json_t *tree, const struct field_fds *fds,
		      struct error *err)
{
	int ret = 0;

	for (size_t i = 0; i < ARRAY_SIZE(sections) && ret == 0; i++) {
		json_t *body = json_object_get(tree, sections[i].key);

		if (json_is_string(body))
			ret = error_set(err, EINVAL, "%s: it is no map", sections[i].key);
		else if (body)
			ret = apply_section(controller, i, body, fds, err);
	}
	return ret;
}

int config_file_load_metadata(struct controller *controller, const char *path, struct error *err)
{
	json_t *tree = read_json(path, json_text_read_value, err);
	int ret = tree ? config_file_apply(controller, "mmds.put", tree, err) : err->code;

	json_decref(tree);
	return ret;
}

int config_file_start(struct controller *controller, struct error *err)
{
	json_t *body = json_pack("{s:s}", "action_type", "InstanceStart");
	int ret = body ? config_file_apply(controller, "action", body, err) : -ENOMEM;

	json_decref(body);
	return ret;
}
