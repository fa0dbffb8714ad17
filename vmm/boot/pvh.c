#include "vmm/boot/pvh.h"

#include "vmm/layout.h"

struct pvh_page {
	struct pvh_start_info info;
	struct pvh_module initrd;
	struct pvh_memmap_entry memmap[ARRAY_SIZE(((struct boot_e820 *)0)->entries)];
};

_Static_assert(LAYOUT_PVH_START_INFO + sizeof(struct pvh_page) <= LAYOUT_ZERO_PAGE,
	       "the PVH start info runs into the zero page");

int pvh_write(struct guest_memory *mem, const struct boot_params_config *config)
{
	struct pvh_page *page = guest_ptr(mem, LAYOUT_PVH_START_INFO, sizeof(*page));
	struct boot_e820 map;

	if (!page)
		return -EFAULT;
	boot_e820_fill(mem, &map);
	page->info = (struct pvh_start_info){
		.magic = PVH_MAGIC,
		.version = 1,
		.cmdline_paddr = config->cmdline,
		.rsdp_paddr = config->rsdp,
		.memmap_paddr = LAYOUT_PVH_START_INFO + offsetof(struct pvh_page, memmap),
		.memmap_entries = map.count,
	};
	if (config->initrd->size) {
		page->info.nr_modules = 1;
		page->info.modlist_paddr = LAYOUT_PVH_START_INFO +
					   offsetof(struct pvh_page, initrd);
		page->initrd = (struct pvh_module){
			.paddr = config->initrd->gpa,
			.size = config->initrd->size,
		};
	}
	for (unsigned int i = 0; i < map.count; i++)
		page->memmap[i] = (struct pvh_memmap_entry){
			.addr = map.entries[i].addr,
			.size = map.entries[i].size,
			.type = map.entries[i].type,
		};
	return 0;
}
