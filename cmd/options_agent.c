/* --agent: the initrd of the guest's agent, and how long it may take. */
#include <string.h>

#include "cmd/options_priv.h"
#include "cmd/run_options.h"

static int parse_agent_key(const char *name, const char *key, const char *value, void *config,
			   struct error *err)
{
	struct agent_config *out = config;

	if (strcmp(key, "wait") == 0)
		return parse_count(name, key, value, 1, 86400, &out->patience_s, err);
	return error_set(err, EINVAL, "%s: unknown setting '%s'; there is wait", name, key);
}

int parse_agent(const char *name, char *text, struct agent_config *out, struct error *err)
{
	char *keys = split_path(text);

	*out = (struct agent_config){ .path = text, .patience_s = AGENT_PATIENCE_DEFAULT_S };
	if (!*text)
		return error_set(err, EINVAL, "%s: the path is empty", name);
	return parse_keys(name, keys, parse_agent_key, out, err);
}
