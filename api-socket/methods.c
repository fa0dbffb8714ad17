/* Every method: add a group here when a device gets one. */
#include "api-socket/methods.h"

const struct method_group *const method_groups[] = {
	&events_methods,
	&info_methods,
	&action_methods,
	&vm_methods,
	&machine_methods,
	&boot_methods,
	&drive_methods,
	&net_methods,
	&pmem_methods,
	&vsock_methods,
	&balloon_methods,
	&entropy_methods,
	&serial_methods,
	&logger_methods,
	&metrics_methods,
	&cpu_methods,
	&mmds_methods,
	&snapshot_methods,
	&hotplug_methods,
	&stats_methods,
	&configure_methods,
	&console_methods,
	NULL,
};

/* What of Firecracker needs PCI. */
int refuse_unplug(struct controller *controller, struct api_request *request,
		  struct api_reply *reply)
{
	(void)controller;
	(void)request;
	return reply_refuse(reply, "PCI is not enabled");
}
