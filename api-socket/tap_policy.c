/* Which taps nobody set a policy for: said in the log and in the answer of the call that names one. */
#include "api-socket/controller_priv.h"

#include <ctype.h>
#include <linux/if_tun.h>
#include <net/if.h>
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

/* A descriptor is asked for its tap's name. */
static void name_of(const char *tap, int fd, char out[IFNAMSIZ])
{
	struct ifreq request = { 0 };

	if (!tap && ioctl(fd, TUNGETIFF, &request) == 0)
		tap = request.ifr_name;
	snprintf(out, IFNAMSIZ, "%s", tap ? tap : "(a descriptor)");
}

void controller_judge_tap(const struct controller *controller, const char *tap, int fd, bool log,
			  struct api_reply *reply)
{
	char name[IFNAMSIZ];
	size_t used = strlen(reply->warning);

	if (!controller->tap_policies)
		return;
	name_of(tap, fd, name);
	if (is_listed(controller->tap_policies, name))
		return;
	make_printable(name);
	if (log)
		log_warn(
			"net: the jailer set no policy for the tap %s: what the guest sends there is "
			"not checked",
			name);
	snprintf(reply->warning + used, sizeof(reply->warning) - used, "%sthe tap %s has no policy",
		 used ? "; " : "", name);
}

void controller_judge_taps(const struct controller *controller, bool log, struct api_reply *reply)
{
	const struct vm_config *vm = controller->live;

	for (unsigned int i = 0; vm && i < vm->net_count; i++)
		controller_judge_tap(controller, vm->nets[i].tap, vm->nets[i].fd, log, reply);
}
