#include "vmm/boot/boot.h"

#include <string.h>

#include "vmm/boot/acpi.h"
#include "vmm/boot/mptable.h"
#include "vmm/boot/pvh.h"
#include "vmm/layout.h"

static int load_files(struct guest_memory *mem, const struct boot_config *config,
		      struct boot_result *out, struct error *err)
{
	int ret = kernel_load(mem, config->kernel_fd, config->kernel_path, BOOT_KERNEL_READ_MAX,
			      &out->kernel, err);

	if (ret || config->initrd_fd < 0)
		return ret;
	return initrd_load(mem, config->initrd_fd, config->initrd_path, &out->kernel, &out->initrd,
			   err);
}

static int write_cmdline(struct guest_memory *mem, const char *cmdline,
			 const struct boot_kernel *kernel, struct error *err)
{
	size_t len = strlen(cmdline);
	size_t max = LAYOUT_CMDLINE_MAX - 1;

	if (kernel->is_bzimage && kernel->setup.cmdline_size)
		max = MIN(max, (size_t)kernel->setup.cmdline_size);
	if (len > max)
		return error_set(err, E2BIG,
				 "kernel command line: %zu bytes, but this kernel takes %zu; "
				 "shorten it",
				 len, max);
	if (guest_write(mem, LAYOUT_CMDLINE, cmdline, len + 1))
		return error_set(err, EFAULT, "kernel command line: no guest memory for it");
	return 0;
}

static int write_firmware_tables(struct guest_memory *mem, const struct boot_config *config,
				 uint64_t *rsdp, struct error *err)
{
	const struct acpi_config acpi = {
		.vcpus = config->vcpus,
		.devices = config->devices,
		.device_count = config->device_count,
	};

	/* Also for a kernel that has ACPI and will ignore it: Linux looks for one all the same, through all
	 * of the BIOS area, by a mapping for each 16 bytes, unless it finds one at the first place. */
	int ret = mptable_write(mem, config->vcpus, err);

	return ret < 0 || !config->acpi ? ret : acpi_write(mem, &acpi, rsdp, err);
}

static int write_params(struct guest_memory *mem, const struct boot_config *config,
			const struct boot_result *boot, struct error *err)
{
	const struct boot_params_config params = {
		.kernel = &boot->kernel,
		.initrd = &boot->initrd,
		.cmdline = LAYOUT_CMDLINE,
		.cmdline_len = (uint32_t)strlen(config->cmdline),
		.rsdp = boot->rsdp,
	};
	int ret;

	if (boot->kernel.protocol == BOOT_PVH)
		ret = pvh_write(mem, &params);
	else
		ret = zero_page_write(mem, &params);
	if (ret)
		return error_set(err, ret, "boot parameters: no guest memory for them");
	return 0;
}

int boot_prepare(struct guest_memory *mem, const struct boot_config *config,
		 struct boot_result *out, struct error *err)
{
	int ret;

	memset(out, 0, sizeof(*out));
	ret = load_files(mem, config, out, err);
	if (ret)
		return ret;
	ret = write_cmdline(mem, config->cmdline, &out->kernel, err);
	if (ret)
		return ret;
	ret = write_firmware_tables(mem, config, &out->rsdp, err);
	if (ret)
		return ret;
	ret = write_params(mem, config, out, err);
	if (ret)
		return ret;
	return boot_cpu_setup(mem, out->kernel.protocol, out->kernel.entry, &out->cpu, err);
}
