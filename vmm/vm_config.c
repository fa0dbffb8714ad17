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

static int check_memory(uint64_t memory, struct error *err)
{
	if (memory < VM_MEMORY_MIN || memory > VM_MEMORY_MAX)
		return error_set(err, EINVAL, "memory: %lu KiB is not between %lu MiB and %lu GiB",
				 memory >> 10, VM_MEMORY_MIN >> 20, VM_MEMORY_MAX >> 30);
	if (!is_aligned(memory, PAGE_SIZE))
		return error_set(err, EINVAL, "memory: %lu bytes is not a multiple of %u", memory,
				 PAGE_SIZE);
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
					 drive_name(i));
		for (unsigned int j = 0; drive->fd >= 0 && j < i; j++)
			if (config->drives[j].fd == drive->fd)
				return error_set(err, EINVAL,
						 "drive %s: descriptor %d is drive %s's already",
						 drive_name(i), drive->fd, drive_name(j));
		if (drive->loop >= VM_IO_LOOPS_MAX || drive->num_queues > VM_QUEUES_MAX ||
		    drive->queue_size > VM_QUEUE_SIZE_MAX)
			return error_set(err, EINVAL, "drive %s: a setting is out of its range",
					 drive_name(i));
	}
	return 0;
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

int vm_config_check(const struct vm_config *config, struct error *err)
{
	int ret;

	if (!config->kernel_path)
		return error_set(err, EINVAL, "no kernel is given");
	if (config->vcpus < 1 || config->vcpus > LAYOUT_VCPUS_MAX)
		return error_set(err, EINVAL, "vCPUs: %u is not between 1 and %u", config->vcpus,
				 LAYOUT_VCPUS_MAX);
	ret = check_memory(config->memory, err);
	if (ret < 0)
		return ret;
	ret = check_drives(config, err);
	return ret < 0 ? ret : check_balloon(config, err);
}
