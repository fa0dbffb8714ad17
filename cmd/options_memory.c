/* `--balloon` and `--pmem` as data. */
#include <string.h>

#include "cmd/options_priv.h"

/* Balloon ----------------------------------------------------------------------------------------*/

static int parse_balloon_key(const char *name, const char *key, const char *value, void *config,
			     struct error *err)
{
	struct balloon_config *out = config;

	if (strcmp(key, "deflate-on-oom") == 0)
		return parse_choice(name, key, value, "on", "off", &out->deflate_on_oom, err);
	if (strcmp(key, "stats") == 0)
		return parse_count(name, key, value, 0, UINT16_MAX, &out->stats_interval_s, err);
	if (strcmp(key, "reporting") == 0)
		return parse_choice(name, key, value, "on", "off", &out->free_page_reporting, err);
	if (strcmp(key, "hinting") == 0)
		return parse_choice(name, key, value, "on", "off", &out->free_page_hinting, err);
	return error_set(err, EINVAL,
			 "%s: unknown setting '%s'; there are deflate-on-oom, stats, reporting and "
			 "hinting",
			 name, key);
}

int parse_balloon(const char *name, char *text, struct balloon_config *out, struct error *err)
{
	char *keys = split_path(text);
	unsigned long mib = 0;
	int ret = parse_number(name, text, 0, VM_MEMORY_MAX >> 20, &mib, err);

	if (ret < 0)
		return ret;
	*out = (struct balloon_config){ .target_mib = (uint32_t)mib };
	return parse_keys(name, keys, parse_balloon_key, out, err);
}

/* Pmem -------------------------------------------------------------------------------------------*/

static int parse_pmem_key(const char *name, const char *key, const char *value, void *config,
			  struct error *err)
{
	struct pmem_config *out = config;

	if (strcmp(key, "root") == 0)
		return parse_choice(name, key, value, "on", "off", &out->root, err);
	return error_set(err, EINVAL, "%s: unknown setting '%s'; there is root", name, key);
}

int parse_pmem(const char *name, char *text, struct pmem_config *out, struct error *err)
{
	char *keys = split_path(text);

	*out = (struct pmem_config){ .fd = -1 };
	out->read_only = strip_suffix(text, ":ro");
	if (parse_keys(name, keys, parse_pmem_key, out, err) < 0)
		return -EINVAL;
	return parse_file(name, text, &out->path, &out->fd, err);
}
