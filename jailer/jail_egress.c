/* PREFIX[,tcp|udp/PORT[-PORT]]. */
#include <arpa/inet.h>
#include <string.h>

#include "jailer/jail_bpf.h"
#include "jailer/jail_text.h"

/* 4 or 6; 0: neither. */
static int parse_address(const char *text, struct in6_addr *out)
{
	if (inet_pton(AF_INET6, text, out) == 1)
		return 6;
	*out = (struct in6_addr){ .s6_addr = { [10] = 0xff, 0xff } };
	return inet_pton(AF_INET, text, &out->s6_addr[12]) == 1 ? 4 : 0;
}

int jail_parse_address(const char *option, const char *text, struct in6_addr *out,
		       struct error *err)
{
	return parse_address(text, out)
		       ? 0
		       : error_set(err, EINVAL, "%s: '%s' is not an address", option, text);
}

/* What the prefix leaves out must be zero: 10.0.0.1/8 is somebody's mistake. */
static bool has_host_bits(const struct jail_egress *rule)
{
	for (unsigned int bit = rule->length; bit < 128; bit++)
		if (rule->address.s6_addr[bit / 8] & 0x80 >> bit % 8)
			return true;
	return false;
}

static int parse_prefix(const char *option, char *text, struct jail_egress *out, struct error *err)
{
	char *slash = strchr(text, '/');
	uint64_t length = 128;
	int family, ret = 0;

	if (slash)
		*slash++ = '\0';
	family = parse_address(text, &out->address);
	if (!family)
		return error_set(err, EINVAL, "%s: '%s' is not an address", option, text);
	if (slash) {
		ret = jail_parse_number(option, slash, family == 4 ? 32 : 128, &length, err);
		length += family == 4 ? 96 : 0;
	}
	if (ret < 0)
		return ret;
	out->length = (unsigned int)length;
	out->is_ipv4 = family == 4;
	return has_host_bits(out)
		       ? error_set(err, EINVAL, "%s: %s/%s has bits set outside of its prefix",
				   option, text, slash ? slash : "")
		       : 0;
}

static int parse_ports(const char *option, char *text, struct jail_egress *out, struct error *err)
{
	char *slash = strchr(text, '/'), *dash;
	uint64_t low = 0, high = 0;
	int ret;

	if (slash)
		*slash++ = '\0';
	out->protocol = strcmp(text, "tcp") == 0   ? IPPROTO_TCP
			: strcmp(text, "udp") == 0 ? IPPROTO_UDP
						   : 0;
	if (!out->protocol || !slash)
		return error_set(err, EINVAL, "%s: '%s' is not tcp/PORT or udp/PORT[-PORT]", option,
				 text);
	dash = strchr(slash, '-');
	if (dash)
		*dash++ = '\0';
	ret = jail_parse_number(option, slash, 65535, &low, err);
	if (ret == 0)
		ret = jail_parse_number(option, dash ? dash : slash, 65535, &high, err);
	if (ret == 0 && low > high)
		return error_set(err, EINVAL, "%s: ports %lu to %lu are none", option, low, high);
	out->low = (uint16_t)low;
	out->high = (uint16_t)high;
	return ret;
}

int jail_parse_egress(const char *option, char *text, struct jail_egress *out, struct error *err)
{
	char *comma = strchr(text, ',');
	int ret;

	*out = (struct jail_egress){ 0 };
	if (comma)
		*comma++ = '\0';
	ret = parse_prefix(option, text, out, err);
	return ret < 0 || !comma ? ret : parse_ports(option, comma, out, err);
}
