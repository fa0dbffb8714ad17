/*
 * Everything a guest finds in its memory when its first vCPU starts, in one call: kernel, initrd,
 * command line, boot parameters, firmware tables. No KVM here.
 */
#pragma once

#include "vmm/boot/cpu_state.h"
#include "vmm/boot/device.h"
#include "vmm/boot/kernel.h"

struct boot_config {
	int kernel_fd; /* borrowed; may be closed after boot_prepare() */
	const char *kernel_path;
	int initrd_fd; /* -1: none */
	const char *initrd_path;
	const char *cmdline; /* final, of cmdline_build() */
	unsigned int vcpus;
	bool acpi; /* ACPI tables beside the MP table; !cmdline_has_word(cmdline, "acpi=off") */
	const struct boot_device *devices;
	unsigned int device_count;
};

struct boot_result {
	struct boot_cpu cpu;
	struct boot_kernel kernel; /* its maps, to name the file when one is cut short */
	struct boot_initrd initrd;
	uint64_t rsdp; /* 0 without ACPI */
};

/* Any thread, before vCPUs run. On failure guest memory holds a part of it: throw it away. */
must_check int boot_prepare(struct guest_memory *mem, const struct boot_config *config,
			    struct boot_result *out, struct error *err);
