/*
 * What the kernel is told at its start, by the zero page of the Linux boot protocol (boot.rst and
 * zero-page.rst in Documentation/arch/x86): memory map, command line, initrd, ACPI root. pvh.h
 * says the same the PVH way.
 */
#pragma once

#include "vmm/boot/kernel.h"

struct boot_params_config {
	const struct boot_kernel *kernel;
	const struct boot_initrd *initrd; /* size 0: none */
	uint64_t cmdline;		  /* guest physical, terminated */
	uint32_t cmdline_len;		  /* bytes, the terminating zero not counted */
	uint64_t rsdp;			  /* guest physical; 0: no ACPI */
};

struct boot_e820 {
	struct boot_e820_entry entries[GUEST_REGIONS_MAX + 2];
	unsigned int count;
};

/* The memory map: RAM but for the firmware tables' area, in ascending order. */
void boot_e820_fill(const struct guest_memory *mem, struct boot_e820 *out);

/* At LAYOUT_ZERO_PAGE; -EFAULT when there is no RAM. */
must_check int zero_page_write(struct guest_memory *mem, const struct boot_params_config *config);
