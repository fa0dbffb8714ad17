/* Which taps nobody set a policy for: said in the log and in the answer of the call that names one. */
#include "virtio/tap_policy.h"

#include <stdio.h>
#include <string.h>

#include "api-socket/controller_priv.h"

void controller_judge_tap(const struct controller *controller, const char *tap, int fd, bool log,
			  struct api_reply *reply)
{
	char name[IFNAMSIZ];
	size_t used = strlen(reply->warning);

	if (tap_has_policy(controller->tap_policies, tap, fd, name))
		return;
	if (log)
		log_warn(TAP_WITHOUT_POLICY, name);
	snprintf(reply->warning + used, sizeof(reply->warning) - used, "%sthe tap %s has no policy",
		 used ? "; " : "", name);
}

void controller_judge_taps(const struct controller *controller, bool log, struct api_reply *reply)
{
	const struct vm_config *vm = controller->live;

	for (unsigned int i = 0; vm && i < vm->net_count; i++)
		controller_judge_tap(controller, vm->nets[i].tap, vm->nets[i].fd, log, reply);
}
