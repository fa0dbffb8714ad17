/* Private to api-socket/: the groups of methods, each in its file. */
#pragma once

#include "api-socket/controller_priv.h"

extern const struct method_group info_methods, action_methods, machine_methods, boot_methods,
	drive_methods;
