/* The cgroup device program: loaded and attached while there are privileges, and ends with the cgroup. */
#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>

#include "jailer/bpf/devices.h"
#include "jailer/bpf/devices.skel.h"
#include "jailer/jail_priv.h"

_Static_assert(JAIL_BINDS_MAX + JAIL_DEVICES_MAX + 8 <= DEVICE_RULES_MAX, "a rule for every node");

static void fill_rules(struct devices_bpf *skeleton, const struct jail_plan *plan)
{
	struct jail_node nodes[DEVICE_RULES_MAX];
	unsigned int count = jail_nodes(plan, nodes, DEVICE_RULES_MAX);

	for (unsigned int i = 0; i < count; i++)
		skeleton->rodata->rules[i] = (struct device_rule){
			.type = nodes[i].is_block ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR,
			.access = nodes[i].read_only ? BPF_DEVCG_ACC_READ
						     : BPF_DEVCG_ACC_READ | BPF_DEVCG_ACC_WRITE,
			.major = nodes[i].major,
			.minor = nodes[i].minor,
		};
	skeleton->rodata->rule_count = count;
}

static int attach(const struct devices_bpf *skeleton, const char *cgroup)
{
	int dir cleanup_fd = open(cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (dir < 0)
		return -errno;
	/* MULTI: a program of the host's further up has its say too. */
	return bpf_prog_attach(skeleton->progs.devices.prog_fd, dir, BPF_CGROUP_DEVICE,
			       BPF_F_ALLOW_MULTI);
}

static int limit_devices(struct jail *jail, struct jail_step *step, struct error *err)
{
	struct devices_bpf *skeleton;
	int ret;

	skeleton = devices_bpf__open();
	if (!skeleton)
		return error_set_errno(err, errno, "cannot read the device program");
	fill_rules(skeleton, container_of(jail, struct jail_plan, jail));
	ret = devices_bpf__load(skeleton);
	if (ret == 0)
		ret = attach(skeleton, step->object);
	/* Attached, it is the cgroup's; this process needs it no more. */
	devices_bpf__destroy(skeleton);
	return ret < 0 ? error_set_errno(err, ret,
					 "cannot load a device program for the cgroup %s (see "
					 "--no-device-policy)",
					 step->object)
		       : 0;
}

const struct jail_step_ops jail_device_policy_step = { "devices", limit_devices, NULL };
