/* The machine's kernel: files opened, command line composed, all of it put into guest memory. */
#include <fcntl.h>
#include <stdio.h>

#include "vmm/boot/cmdline.h"
#include "vmm/machine_priv.h"

int vm_config_cmdline(const struct vm_config *config, const struct boot_device *devices,
		      unsigned int device_count, char *out, struct error *err)
{
	struct cmdline_config cmdline = {
		.text = config->cmdline ? config->cmdline : CMDLINE_DEFAULT,
		.console = config->has_console && !config->plain_cmdline,
		.root_wins = config->plain_cmdline,
		.root_partuuid = config->has_rootfs ? config->drives[0].partuuid : NULL,
		.root = config->has_rootfs ? "/dev/vda" : NULL,
		.root_read_only = config->has_rootfs && config->drives[0].read_only,
		.devices = devices,
		.device_count = device_count,
		.init_args = config->init_args,
		.init_arg_count = config->init_arg_count,
	};
	char root[24];

	for (unsigned int i = 0; i < config->pmem_count; i++) {
		if (!config->pmems[i].root)
			continue;
		snprintf(root, sizeof(root), "/dev/pmem%u", i);
		cmdline.root = root;
		cmdline.root_read_only = config->pmems[i].read_only;
	}
	return cmdline_build(out, &cmdline, err);
}

static int remember_mapping(struct machine *machine, uint64_t gpa, uint64_t len, uint64_t file_end,
			    int fd, const char *path, struct error *err)
{
	const void *host = guest_ptr(&machine->memory, gpa, len);

	return file_backings_add(&machine->backings, host, len, file_end, fd, path, err);
}

static int remember_mappings(struct machine *machine, const struct boot_config *config,
			     const struct boot_result *result, struct error *err)
{
	const struct boot_kernel *kernel = &result->kernel;
	int ret = 0;

	for (unsigned int i = 0; i < kernel->map_count && ret == 0; i++)
		ret = remember_mapping(machine, kernel->maps[i].gpa, kernel->maps[i].len,
				       kernel->maps[i].file_end, config->kernel_fd,
				       config->kernel_path, err);
	if (ret == 0 && result->initrd.is_mapped)
		ret = remember_mapping(
			machine, result->initrd.gpa, align_up(result->initrd.size, PAGE_SIZE),
			result->initrd.size, config->initrd_fd, config->initrd_path, err);
	return ret;
}

/* A boot file by its path or, without one, a copy of its descriptor; -ENOENT: there is none. */
static int open_file(const char *what, const char *path, int fd, struct error *err)
{
	int copy;

	if (path)
		return boot_open(what, path, err);
	if (fd <= 0)
		return -ENOENT;
	copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	return copy < 0 ? error_set_errno(err, errno, "%s: its descriptor", what) : copy;
}

int machine_load_kernel(struct machine *machine, struct boot_cpu *cpu, struct error *err)
{
	const struct vm_config *config = machine->config;
	char cmdline[LAYOUT_CMDLINE_MAX];
	cleanup_fd int kernel = -1;
	cleanup_fd int initrd = -1;
	struct boot_result result;
	struct boot_config boot;
	int ret;

	ret = vm_config_cmdline(config, machine->addresses, machine->device_count, cmdline, err);
	if (ret < 0)
		return ret;
	kernel = open_file("kernel", config->kernel_path, config->kernel_fd, err);
	if (kernel < 0)
		return kernel;
	initrd = open_file("initrd", config->initrd_path, config->initrd_fd, err);
	if (initrd < 0 && (config->initrd_path || config->initrd_fd > 0))
		return initrd;
	boot = (struct boot_config){
		.kernel_fd = kernel,
		.kernel_path = config->kernel_path ? config->kernel_path : "by descriptor",
		.initrd_fd = initrd,
		.initrd_path = initrd < 0	     ? NULL
			       : config->initrd_path ? config->initrd_path
						     : "by descriptor",
		.cmdline = cmdline,
		.vcpus = config->vcpus,
		.acpi = !cmdline_has_word(cmdline, "acpi=off"),
		.devices = machine->addresses,
		.device_count = machine->device_count,
	};
	ret = boot_prepare(&machine->memory, &boot, &result, err);
	if (ret < 0)
		return ret;
	*cpu = result.cpu;
	machine->vmgenid.gpa = boot.acpi ? LAYOUT_VMGENID : 0;
	machine->vmclock.gpa = boot.acpi ? LAYOUT_VMCLOCK : 0;
	if ((ret = vmgenid_renew(&machine->vmgenid, &machine->memory, err)) < 0 ||
	    (ret = vmclock_write(&machine->vmclock, &machine->memory, err)) < 0)
		return ret;
	return remember_mappings(machine, &boot, &result, err);
}
