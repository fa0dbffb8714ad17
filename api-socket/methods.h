/* Private to api-socket/: the groups of methods, each in its file. */
#pragma once

#include "api-socket/controller_priv.h"

extern const struct method_group info_methods, action_methods, vm_methods, machine_methods,
	boot_methods, drive_methods, net_methods, pmem_methods, vsock_methods, balloon_methods,
	entropy_methods, serial_methods, logger_methods, metrics_methods, cpu_methods, mmds_methods,
	snapshot_methods, hotplug_methods, events_methods, stats_methods, configure_methods,
	console_methods;

/* A handler: taking devices out of a running machine. */
int refuse_unplug(struct controller *controller, struct api_request *request,
		  struct api_reply *reply);
