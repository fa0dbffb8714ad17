/* Which device nodes the processes of a cgroup may open: those of the list, in the ways that it says. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "jailer/bpf/devices.h"

const volatile struct device_rule rules[DEVICE_RULES_MAX] = {};
const volatile __u32 rule_count = 0;

/* 1 allows. The kernel asks for every open and mknod of a device by a process of the cgroup. */
SEC("cgroup/dev")
int devices(struct bpf_cgroup_dev_ctx *ctx)
{
	__u32 type = ctx->access_type & 0xffff, access = ctx->access_type >> 16;

	for (int i = 0; i < DEVICE_RULES_MAX && i < rule_count; i++)
		if (rules[i].type == type && rules[i].major == ctx->major &&
		    rules[i].minor == ctx->minor && (access & ~rules[i].access) == 0)
			return 1;
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
