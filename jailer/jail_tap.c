#include <arpa/inet.h>
#include <net/if.h>
#include <string.h>

#include "jailer/jail_options.h"
#include "jailer/jail_text.h"

static int add_address(struct jail_tap *tap, const char *text, struct error *err)
{
	struct in6_addr *to = &tap->addresses[tap->address_count];

	if (tap->address_count == JAIL_TAP_ADDRESSES_MAX)
		return error_set(err, EINVAL, "--tap %s: more than %u addresses", tap->name,
				 JAIL_TAP_ADDRESSES_MAX);
	tap->address_count++;
	if (inet_pton(AF_INET6, text, to) == 1)
		return 0;
	*to = (struct in6_addr){ .s6_addr = { [10] = 0xff, 0xff } };
	if (inet_pton(AF_INET, text, &to->s6_addr[12]) == 1)
		return 0;
	return error_set(err, EINVAL, "--tap %s: ip=%s is not an address", tap->name, text);
}

static int set_default(struct jail_tap *tap, const char *text, struct error *err)
{
	tap->deny = strcmp(text, "deny") == 0;
	if (!tap->deny && strcmp(text, "allow") != 0)
		return error_set(err, EINVAL, "--tap %s: default=%s is neither allow nor deny",
				 tap->name, text);
	return 0;
}

static int parse_key(struct jail_tap *tap, const char *word, bool *has_mac, struct error *err)
{
	if (strncmp(word, "default=", 8) == 0)
		return set_default(tap, word + 8, err);
	if (strncmp(word, "ip=", 3) == 0)
		return add_address(tap, word + 3, err);
	if (strncmp(word, "mac=", 4) == 0 && !*has_mac) {
		*has_mac = true;
		return jail_parse_mac("--tap", word + 4, tap->mac, err);
	}
	return error_set(err, EINVAL,
			 "--tap %s: '%s' is neither one mac=M nor ip=A nor default=deny", tap->name,
			 word);
}

int jail_parse_tap(struct jail_tap *tap, char *text, struct error *err)
{
	char *word = strchrnul(text, ',');
	bool has_mac = false;
	int ret;

	*tap = (struct jail_tap){ .name = text };
	while (*word) {
		char *next = strchrnul(word + 1, ',');
		bool last = *next == '\0';

		*word++ = '\0';
		*next = '\0';
		ret = parse_key(tap, word, &has_mac, err);
		if (ret < 0)
			return ret;
		if (last)
			break;
		*next = ',';
		word = next;
	}
	ret = jail_check_name("--tap", tap->name, err);
	if (ret == 0 && strlen(tap->name) >= IFNAMSIZ)
		return error_set(err, EINVAL, "--tap %s: an interface's name has at most %u bytes",
				 tap->name, IFNAMSIZ - 1);
	if (ret == 0 && !has_mac)
		return error_set(err, EINVAL, "--tap %s: mac=M is missing", tap->name);
	return ret;
}
