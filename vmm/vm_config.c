#include "vmm/vm_config.h"

#include "vmm/layout.h"

const char *drive_name(unsigned int index)
{
	static const char names[VM_DRIVES_MAX][4] = {
		"vda", "vdb", "vdc", "vdd", "vde", "vdf", "vdg", "vdh",
		"vdi", "vdj", "vdk", "vdl", "vdm", "vdn", "vdo", "vdp",
	};

	return index < VM_DRIVES_MAX ? names[index] : "vd?";
}

const char *net_name(unsigned int index)
{
	static const char names[VM_NETS_MAX][5] = { "net0", "net1", "net2", "net3",
						    "net4", "net5", "net6", "net7" };

	return index < VM_NETS_MAX ? names[index] : "net?";
}

const char *pmem_name(unsigned int index)
{
	static const char names[VM_PMEMS_MAX][6] = { "pmem0", "pmem1", "pmem2", "pmem3",
						     "pmem4", "pmem5", "pmem6", "pmem7" };

	return index < VM_PMEMS_MAX ? names[index] : "pmem?";
}

const char *vm_config_drive_name(const struct vm_config *config, unsigned int index)
{
	return config->drives[index].id ? config->drives[index].id : drive_name(index);
}

const char *vm_config_net_name(const struct vm_config *config, unsigned int index)
{
	return config->nets[index].id ? config->nets[index].id : net_name(index);
}

const char *vm_config_pmem_name(const struct vm_config *config, unsigned int index)
{
	return config->pmems[index].id ? config->pmems[index].id : pmem_name(index);
}

static int check_memory(const struct vm_config *config, struct error *err)
{
	const uint64_t memory = config->memory;

	if (memory < VM_MEMORY_MIN || memory > VM_MEMORY_MAX)
		return error_set(err, EINVAL, "memory: %lu KiB is not between %lu MiB and %lu GiB",
				 memory >> 10, VM_MEMORY_MIN >> 20, VM_MEMORY_MAX >> 30);
	if (!is_aligned(memory, PAGE_SIZE))
		return error_set(err, EINVAL, "memory: %lu bytes is not a multiple of %u", memory,
				 PAGE_SIZE);
	if (config->pages == GUEST_PAGES_2M && !is_aligned(memory, MIB(2)))
		return error_set(err, EINVAL,
				 "memory: %lu KiB is no multiple of the 2 MiB of a huge page",
				 memory >> 10);
	return 0;
}

static int check_drives(const struct vm_config *config, struct error *err)
{
	if (config->drive_count > VM_DRIVES_MAX)
		return error_set(err, EINVAL, "drives: %u are more than the %u a machine can have",
				 config->drive_count, VM_DRIVES_MAX);
	for (unsigned int i = 0; i < config->drive_count; i++) {
		const struct drive_config *drive = &config->drives[i];

		if (!drive->path == (drive->fd < 0))
			return error_set(err, EINVAL,
					 "drive %s: give it a path or a descriptor, one of the two",
					 vm_config_drive_name(config, i));
		for (unsigned int j = 0; drive->fd >= 0 && j < i; j++)
			if (config->drives[j].fd == drive->fd)
				return error_set(err, EINVAL,
						 "drive %s: descriptor %d is drive %s's already",
						 vm_config_drive_name(config, i), drive->fd,
						 vm_config_drive_name(config, j));
		if (drive->loop >= VM_IO_LOOPS_MAX || drive->num_queues > VM_QUEUES_MAX ||
		    drive->queue_size > VM_QUEUE_SIZE_MAX)
			return error_set(err, EINVAL, "drive %s: a setting is out of its range",
					 vm_config_drive_name(config, i));
	}
	return 0;
}

static int check_pmem(const struct vm_config *config, unsigned int index, struct error *err)
{
	const struct pmem_config *pmem = &config->pmems[index];
	const char *name = vm_config_pmem_name(config, index);

	if (!pmem->path == (pmem->fd < 0))
		return error_set(err, EINVAL,
				 "pmem %s: give it a path or a descriptor, one of the two", name);
	for (unsigned int i = 0; i < config->drive_count && pmem->fd >= 0; i++)
		if (config->drives[i].fd == pmem->fd)
			return error_set(err, EINVAL,
					 "pmem %s: descriptor %d is drive %s's already", name,
					 pmem->fd, vm_config_drive_name(config, i));
	for (unsigned int i = 0; i < index; i++) {
		if (pmem->fd >= 0 && config->pmems[i].fd == pmem->fd)
			return error_set(err, EINVAL, "pmem %s: descriptor %d is pmem %s's already",
					 name, pmem->fd, vm_config_pmem_name(config, i));
		if (pmem->root && config->pmems[i].root)
			return error_set(err, EINVAL,
					 "pmem %s: the root filesystem is on %s already", name,
					 vm_config_pmem_name(config, i));
	}
	if (pmem->root && config->has_rootfs)
		return error_set(err, EINVAL, "pmem %s: the root filesystem is on %s already", name,
				 vm_config_drive_name(config, 0));
	return 0;
}

static int check_pmems(const struct vm_config *config, struct error *err)
{
	int ret = 0;

	if (config->pmem_count > VM_PMEMS_MAX)
		return error_set(err, EINVAL, "pmem: %u are more than the %u a machine can have",
				 config->pmem_count, VM_PMEMS_MAX);
	for (unsigned int i = 0; i < config->pmem_count && ret == 0; i++)
		ret = check_pmem(config, i, err);
	return ret;
}

static int check_balloon(const struct vm_config *config, struct error *err)
{
	const struct balloon_config *balloon = &config->balloon;

	if (!config->has_balloon)
		return 0;
	if (MIB(balloon->target_mib) > config->memory)
		return error_set(err, EINVAL,
				 "balloon: %u MiB are more than the guest's memory of %lu MiB",
				 balloon->target_mib, config->memory >> 20);
	if (balloon->stats_interval_s > UINT16_MAX)
		return error_set(err, EINVAL, "balloon: statistics every %u s: at most %u",
				 balloon->stats_interval_s, UINT16_MAX);
	return 0;
}

/* What interface i has in common with another may not be. */
static int check_net_alone(const struct vm_config *config, unsigned int i, struct error *err)
{
	const struct net_config *net = &config->nets[i];

	for (unsigned int j = 0; j < i; j++) {
		const struct net_config *other = &config->nets[j];

		if (net->tap && other->tap && strcmp(net->tap, other->tap) == 0)
			return error_set(err, EINVAL, "net %s: tap %s is net %s's already",
					 vm_config_net_name(config, i), net->tap,
					 vm_config_net_name(config, j));
		if (net->has_mac && other->has_mac && memcmp(net->mac, other->mac, 6) == 0)
			return error_set(err, EINVAL, "net %s: it has net %s's MAC",
					 vm_config_net_name(config, i),
					 vm_config_net_name(config, j));
		if (net->fd >= 0 && net->fd == other->fd)
			return error_set(err, EINVAL, "net %s: descriptor %d is net %s's already",
					 vm_config_net_name(config, i), net->fd,
					 vm_config_net_name(config, j));
	}
	for (unsigned int j = 0; net->fd >= 0 && j < config->drive_count; j++)
		if (net->fd == config->drives[j].fd)
			return error_set(err, EINVAL, "net %s: descriptor %d is drive %s's already",
					 vm_config_net_name(config, i), net->fd,
					 vm_config_drive_name(config, j));
	return 0;
}

static int check_net(const struct net_config *net, const char *name, struct error *err)
{
	static const uint8_t zero[6];

	if (!net->tap == (net->fd < 0))
		return error_set(err, EINVAL,
				 "net %s: give it a tap or a descriptor, one of the two", name);
	if (net->has_mac && (net->mac[0] & 1 || memcmp(net->mac, zero, 6) == 0))
		return error_set(err, EINVAL, "net %s: its MAC is not the address of one station",
				 name);
	if (net->mtu > 0 && net->mtu < VM_NET_MTU_MIN)
		return error_set(err, EINVAL, "net %s: an MTU of %u is less than %u", name,
				 net->mtu, VM_NET_MTU_MIN);
	if (net->fd >= 0 && net->queue_pairs > 1)
		return error_set(err, EINVAL,
				 "net %s: %u queue pairs want a tap by name, not a descriptor",
				 name, net->queue_pairs);
	if (net->queue_pairs > VM_NET_QUEUE_PAIRS_MAX || net->queue_size > VM_QUEUE_SIZE_MAX ||
	    net->queue_size & (net->queue_size - 1))
		return error_set(err, EINVAL, "net %s: a setting is out of its range", name);
	return 0;
}

static int check_nets(const struct vm_config *config, struct error *err)
{
	int ret = 0;

	if (config->net_count > VM_NETS_MAX)
		return error_set(err, EINVAL, "nets: %u are more than the %u a machine can have",
				 config->net_count, VM_NETS_MAX);
	for (unsigned int i = 0; i < config->net_count && ret == 0; i++) {
		ret = check_net(&config->nets[i], vm_config_net_name(config, i), err);
		if (ret == 0)
			ret = check_net_alone(config, i, err);
	}
	return ret;
}

static int check_vsock(const struct vm_config *config, struct error *err)
{
	const struct vsock_config *vsock = &config->vsock;

	if (!config->has_vsock)
		return 0;
	if (!vsock->path || !*vsock->path)
		return error_set(err, EINVAL, "vsock: it has no path");
	if (strlen(vsock->path) > VM_VSOCK_PATH_MAX)
		return error_set(err, EINVAL,
				 "vsock: a path has at most %u bytes, as a port's number follows, "
				 "not the %zu of %s",
				 VM_VSOCK_PATH_MAX, strlen(vsock->path), vsock->path);
	if (vsock->cid < VM_VSOCK_CID_MIN || vsock->cid > VM_VSOCK_CID_MAX)
		return error_set(err, EINVAL, "vsock: the guest's CID %u is not between %u and %u",
				 vsock->cid, VM_VSOCK_CID_MIN, VM_VSOCK_CID_MAX);
	return 0;
}

int vm_config_check(const struct vm_config *config, struct error *err)
{
	if (!config->kernel_path && config->kernel_fd <= 0)
		return error_set(err, EINVAL, "no kernel is given");
	return vm_config_check_shape(config, err);
}

int vm_config_check_shape(const struct vm_config *config, struct error *err)
{
	int ret;

	if (config->vcpus < 1 || config->vcpus > LAYOUT_VCPUS_MAX)
		return error_set(err, EINVAL, "vCPUs: %u is not between 1 and %u", config->vcpus,
				 LAYOUT_VCPUS_MAX);
	if (config->smt && config->vcpus > 1 && config->vcpus % 2)
		return error_set(err, EINVAL, "vCPUs: %u are no cores of two threads",
				 config->vcpus);
	ret = check_memory(config, err);
	if (ret < 0)
		return ret;
	ret = check_drives(config, err);
	if (ret == 0)
		ret = check_nets(config, err);
	if (ret == 0)
		ret = check_vsock(config, err);
	if (ret == 0)
		ret = check_pmems(config, err);
	return ret < 0 ? ret : check_balloon(config, err);
}
