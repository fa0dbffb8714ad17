#include "virtio/tap_policy.h"

#include <ctype.h>
#include <linux/if_tun.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

static bool is_listed(const char *list, const char *name)
{
	size_t len = strlen(name);

	while (*list) {
		size_t word = strcspn(list, ",");

		if (word == len && memcmp(list, name, len) == 0)
			return true;
		list += word + (list[word] == ',');
	}
	return false;
}

/* As it may stand in a line of the log and in a header. */
static void make_printable(char *name)
{
	for (char *c = name; *c; c++)
		if (!isgraph((unsigned char)*c) || *c == '"' || *c == '\\')
			*c = '?';
}

bool tap_has_policy(const char *policies, const char *tap, int fd, char name[IFNAMSIZ])
{
	struct ifreq request = { 0 };
	bool has;

	if (!tap && ioctl(fd, TUNGETIFF, &request) == 0)
		tap = request.ifr_name;
	snprintf(name, IFNAMSIZ, "%s", tap ? tap : "(a descriptor)");
	has = !policies || is_listed(policies, name);
	make_printable(name);
	return has;
}
