/* Every method: add a group here when a device gets one. */
#include "api-socket/methods.h"

const struct method_group *const method_groups[] = {
	&info_methods, &action_methods, &machine_methods, &boot_methods, &drive_methods, NULL,
};
