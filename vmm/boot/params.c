#include "vmm/boot/params.h"

#include "vmm/layout.h"

#define E820_RAM 1u
#define E820_RESERVED 2u

#define BOOT_FLAG 0xaa55u
#define HEADER_MAGIC 0x53726448u /* "HdrS" */
#define PROTOCOL_VERSION 0x020fu /* what we fill in for a vmlinux, which has no header */
#define LOADER_UNDEFINED 0xffu
#define KERNEL_ALIGNMENT MIB(16)

static void e820_add(struct boot_e820 *map, uint64_t start, uint64_t end, uint32_t type)
{
	if (start < end)
		map->entries[map->count++] = (struct boot_e820_entry){ .addr = start,
								       .size = end - start,
								       .type = type };
}

void boot_e820_fill(const struct guest_memory *mem, struct boot_e820 *out)
{
	out->count = 0;
	for (unsigned int i = 0; i < mem->count; i++) {
		uint64_t start = mem->regions[i].gpa;
		uint64_t end = start + mem->regions[i].size;

		if (start >= LAYOUT_HIGH_RAM) {
			e820_add(out, start, end, E820_RAM);
			continue;
		}
		/* The tables between low memory and 1 MiB are RAM to us, firmware to the guest. */
		e820_add(out, start, MIN(end, LAYOUT_LOW_RAM_END), E820_RAM);
		e820_add(out, LAYOUT_LOW_RAM_END, MIN(end, LAYOUT_HIGH_RAM), E820_RESERVED);
		e820_add(out, LAYOUT_HIGH_RAM, end, E820_RAM);
	}
}

static void fill_header(struct setup_header *hdr, const struct boot_params_config *config)
{
	*hdr = config->kernel->setup;
	if (!config->kernel->is_bzimage) {
		hdr->boot_flag = BOOT_FLAG;
		hdr->header = HEADER_MAGIC;
		hdr->version = PROTOCOL_VERSION;
		hdr->loadflags = LOADED_HIGH;
		hdr->kernel_alignment = KERNEL_ALIGNMENT;
	}
	hdr->type_of_loader = LOADER_UNDEFINED;
	hdr->cmd_line_ptr = (uint32_t)config->cmdline;
	hdr->cmdline_size = config->cmdline_len;
	/* Below 3 GiB, both of them: the ext_ramdisk fields stay 0. */
	hdr->ramdisk_image = (uint32_t)config->initrd->gpa;
	hdr->ramdisk_size = (uint32_t)config->initrd->size;
}

int zero_page_write(struct guest_memory *mem, const struct boot_params_config *config)
{
	struct boot_params *params = guest_ptr(mem, LAYOUT_ZERO_PAGE, sizeof(*params));
	struct boot_e820 map;

	if (!params)
		return -EFAULT;
	/* No memset: guest memory is fresh. */
	fill_header(&params->hdr, config);
	params->acpi_rsdp_addr = config->rsdp;
	boot_e820_fill(mem, &map);
	memcpy(params->e820_table, map.entries, map.count * sizeof(map.entries[0]));
	params->e820_entries = (uint8_t)map.count;
	return 0;
}
