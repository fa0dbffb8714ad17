/* What the device program and its loader both know. */
#pragma once

#include <linux/types.h>

#define DEVICE_RULES_MAX 56

struct device_rule {
	__u32 type;   /* BPF_DEVCG_DEV_CHAR or _BLOCK */
	__u32 access; /* BPF_DEVCG_ACC_* that it allows */
	__u32 major, minor;
};
