/* `--net` as data. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "cmd/options_priv.h"

static int hex_digit(char c)
{
	if (isdigit((unsigned char)c))
		return c - '0';
	return isxdigit((unsigned char)c) ? tolower((unsigned char)c) - 'a' + 10 : -1;
}

/* Six pairs of digits with colons between, nothing else. */
static int parse_mac(const char *name, const char *value, struct net_config *out, struct error *err)
{
	bool good = strlen(value) == 17;

	for (unsigned int i = 0; i < 6 && good; i++) {
		const int high = hex_digit(value[3 * i]), low = hex_digit(value[3 * i + 1]);

		good = high >= 0 && low >= 0 && value[3 * i + 2] == (i < 5 ? ':' : '\0');
		out->mac[i] = good ? (uint8_t)(high * 16 + low) : 0;
	}
	if (!good)
		return error_set(err, EINVAL, "%s: mac=%s: it is not of the form 02:00:00:00:00:01",
				 name, value);
	out->has_mac = true;
	return 0;
}

static int parse_net_key(const char *name, const char *key, const char *value, void *config,
			 struct error *err)
{
	struct net_config *out = config;
	unsigned int mtu = 0;
	int ret;

	if (strcmp(key, "mac") == 0)
		return parse_mac(name, value, out, err);
	if (strcmp(key, "antispoof") == 0)
		return parse_choice(name, key, value, "on", "off", &out->antispoof, err);
	if (strcmp(key, "queues") == 0)
		return parse_count(name, key, value, 1, VM_NET_QUEUE_PAIRS_MAX, &out->queue_pairs,
				   err);
	if (strcmp(key, "mtu") == 0) {
		ret = parse_count(name, key, value, VM_NET_MTU_MIN, UINT16_MAX, &mtu, err);
		out->mtu = (uint16_t)mtu;
		return ret;
	}
	return error_set(err, EINVAL,
			 "%s: unknown setting '%s'; there are mac, mtu, antispoof and queues", name,
			 key);
}

int parse_net(const char *name, char *text, struct net_config *out, struct error *err)
{
	char *keys = split_path(text);

	*out = (struct net_config){ .fd = -1, .antispoof = true };
	if (strncmp(text, "tap=", 4) == 0 && text[4]) {
		out->tap = text + 4;
	} else if (strncmp(text, "fd=", 3) != 0) {
		return error_set(err, EINVAL, "%s: '%s' is neither tap=NAME nor fd=N", name, text);
	} else {
		int ret = parse_file(name, text, &out->tap, &out->fd, err);

		if (ret < 0)
			return ret;
	}
	return parse_keys(name, keys, parse_net_key, out, err);
}
