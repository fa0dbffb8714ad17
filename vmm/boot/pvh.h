/* PVH: struct hvm_start_info, version 1 (xen/include/public/arch-x86/hvm/start_info.h). */
#pragma once

#include "vmm/boot/params.h"

#define PVH_MAGIC 0x336ec578u

struct pvh_start_info {
	uint32_t magic;
	uint32_t version;
	uint32_t flags;
	uint32_t nr_modules;
	uint64_t modlist_paddr;
	uint64_t cmdline_paddr;
	uint64_t rsdp_paddr;
	uint64_t memmap_paddr;
	uint32_t memmap_entries;
	uint32_t reserved;
};

struct pvh_module {
	uint64_t paddr;
	uint64_t size;
	uint64_t cmdline_paddr;
	uint64_t reserved;
};

struct pvh_memmap_entry {
	uint64_t addr;
	uint64_t size;
	uint32_t type; /* E820's numbers */
	uint32_t reserved;
};

/* Start info, the one module (the initrd) and the memory map, at LAYOUT_PVH_START_INFO; -EFAULT
 * when there is no RAM. */
must_check int pvh_write(struct guest_memory *mem, const struct boot_params_config *config);
