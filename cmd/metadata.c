#include "cmd/metadata.h"

#include <arpa/inet.h>
#include <string.h>

#include "cmd/options_priv.h"
#include "vmm/mmds/mmds_json.h"

static int parse_key(const char *name, const char *key, const char *value, void *config,
		     struct error *err)
{
	struct mmds_config *out = config;

	if (strcmp(key, "version") == 0)
		return parse_choice(name, key, value, "V2", "V1", &out->v2, err);
	if (strcmp(key, "address") != 0)
		return error_set(err, EINVAL,
				 "%s: unknown setting '%s'; there are version and address", name,
				 key);
	if (inet_pton(AF_INET, value, out->ipv4) != 1 || !mmds_address_ok(out->ipv4))
		return error_set(err, EINVAL,
				 "%s: address=%s: it is not from 169.254.1.0 to 169.254.254.255",
				 name, value);
	return 0;
}

int parse_metadata(const char *name, char *text, struct metadata_options *out, struct error *err)
{
	char *keys = split_path(text);

	*out = (struct metadata_options){ .path = text, .config.ipv4 = MMDS_ADDRESS_DEFAULT };
	if (!*text)
		return error_set(err, EINVAL, "%s: the path is empty", name);
	return parse_keys(name, keys, parse_key, &out->config, err);
}

static int put(struct mmds *mmds, const char *path, json_t *data, struct error *err)
{
	switch (mmds_store_put(&mmds->store, data)) {
	case 0:
		return 0;
	case -EMSGSIZE:
		return error_set(err, EMSGSIZE, "metadata %s: more than %zu bytes", path,
				 mmds->store.limit);
	case -E2BIG:
		return error_set(err, E2BIG, "metadata %s: nested deeper than %u", path,
				 MMDS_JSON_DEPTH_MAX);
	default:
		return error_set(err, ENOMEM, "metadata %s: out of memory", path);
	}
}

int metadata_load(struct mmds *mmds, const char *path, struct error *err)
{
	json_error_t why;
	json_t *data = json_load_file(path, JSON_DECODE_ANY, &why);
	int ret;

	if (!data && json_error_code(&why) == json_error_cannot_open_file)
		return error_set_errno(err, errno, "metadata %s", path);
	if (!data)
		return error_set(err, EINVAL, "metadata %s: line %d, column %d: %s", path, why.line,
				 why.column, why.text);
	ret = put(mmds, path, data, err);
	json_decref(data);
	return ret;
}
