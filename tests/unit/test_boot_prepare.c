/* Everything together: what the first vCPU finds, by each protocol. */
#include "test_boot.h"
#include "vmm/boot/boot.h"
#include "vmm/boot/cmdline.h"
#include "vmm/boot/pvh.h"

static const struct boot_device devices[] = { { LAYOUT_VIRTIO_MMIO, 0x1000, LAYOUT_GSI_VIRTIO } };

static struct boot_result prepare(struct guest_memory *mem, int kernel_fd, int initrd_fd, bool acpi)
{
	const struct boot_config config = {
		.kernel_fd = kernel_fd,
		.kernel_path = "/k",
		.initrd_fd = initrd_fd,
		.initrd_path = "/i",
		.cmdline = "quiet",
		.vcpus = 2,
		.acpi = acpi,
		.devices = devices,
		.device_count = 1,
	};
	struct boot_result boot;
	struct error err = { 0 };

	cr_assert_eq(boot_prepare(mem, &config, &boot, &err), 0, "%s", err.text);
	cr_expect_str_eq(guest_ptr(mem, LAYOUT_CMDLINE, 6), "quiet");
	return boot;
}

Test(boot, zero_page_of_a_vmlinux)
{
	struct guest_memory mem = test_memory(4096);
	struct test_elf elf = test_elf();
	cleanup_fd int kernel = test_elf_file(&elf), initrd = test_pattern_file(5000);
	const struct boot_params *params;
	struct boot_result boot = prepare(&mem, kernel, initrd, true);

	cr_expect_eq(boot.cpu.rip, TEST_ELF_LOAD + 0x10);
	cr_expect_eq(boot.cpu.rsi, LAYOUT_ZERO_PAGE);
	params = guest_ptr(&mem, boot.cpu.rsi, sizeof(*params));
	cr_expect_eq(params->hdr.header, 0x53726448);
	cr_expect_eq(params->hdr.boot_flag, 0xaa55);
	cr_expect_eq(params->hdr.type_of_loader, 0xff);
	cr_expect_eq(params->hdr.cmd_line_ptr, LAYOUT_CMDLINE);
	cr_expect_eq(params->hdr.ramdisk_image, 0x7fffe000);
	cr_expect_eq(params->hdr.ramdisk_size, 5000);
	cr_expect_eq(params->acpi_rsdp_addr, LAYOUT_ACPI);
	cr_expect_eq(boot.rsdp, LAYOUT_ACPI);
	cr_expect_eq(params->sentinel, 0);
	cr_expect_eq(params->e820_entries, 4);
	cr_expect_eq(params->e820_table[0].size, LAYOUT_LOW_RAM_END);
	cr_expect_eq(params->e820_table[1].type, 2);
	cr_expect_eq(params->e820_table[2].addr, LAYOUT_HIGH_RAM);
	cr_expect_eq(params->e820_table[2].size, LAYOUT_HOLE_START - LAYOUT_HIGH_RAM);
	cr_expect_eq(params->e820_table[3].addr, LAYOUT_HOLE_END);
	cr_expect_eq(params->e820_table[3].size, GIB(1));
	guest_memory_fini(&mem);
}

Test(boot, zero_page_of_a_bzimage_keeps_its_header)
{
	struct guest_memory mem = test_memory(128);
	struct setup_header setup = test_bzimage();
	cleanup_fd int kernel = test_bzimage_file(&setup, TEST_BZIMAGE_SIZE);
	const struct boot_params *params;
	struct boot_result boot = prepare(&mem, kernel, -1, false);

	params = guest_ptr(&mem, boot.cpu.rsi, sizeof(*params));
	cr_expect_eq(params->hdr.init_size, setup.init_size);
	cr_expect_eq(params->hdr.pref_address, setup.pref_address);
	cr_expect_eq(params->hdr.type_of_loader, 0xff);
	cr_expect_eq(params->hdr.ramdisk_size, 0);
	cr_expect_eq(params->acpi_rsdp_addr, 0);
	cr_expect_eq(memcmp(guest_ptr(&mem, LAYOUT_MP_FLOATING, 4), "_MP_", 4), 0);
	cr_expect(test_untouched(&mem, LAYOUT_ACPI, LAYOUT_ACPI_MAX), "no ACPI tables");
	guest_memory_fini(&mem);
}

Test(boot, start_info_of_pvh)
{
	struct guest_memory mem = test_memory(128);
	struct test_elf elf = test_elf_pvh();
	cleanup_fd int kernel = test_elf_file(&elf), initrd = test_pattern_file(5000);
	const struct pvh_start_info *info;
	const struct pvh_memmap_entry *map;
	const struct pvh_module *module;
	struct boot_result boot = prepare(&mem, kernel, initrd, true);

	cr_expect_eq(boot.cpu.rip, TEST_ELF_LOAD + 0x20);
	info = guest_ptr(&mem, boot.cpu.rbx, sizeof(*info));
	cr_expect_eq(info->magic, PVH_MAGIC);
	cr_expect_eq(info->version, 1);
	cr_expect_eq(info->cmdline_paddr, LAYOUT_CMDLINE);
	cr_expect_eq(info->rsdp_paddr, LAYOUT_ACPI);
	cr_expect_eq(info->nr_modules, 1);
	module = guest_ptr(&mem, info->modlist_paddr, sizeof(*module));
	cr_expect_eq(module->paddr, MIB(128) - 0x2000);
	cr_expect_eq(module->size, 5000);
	cr_expect_eq(info->memmap_entries, 3);
	map = guest_ptr(&mem, info->memmap_paddr, 3 * sizeof(*map));
	cr_expect_eq(map[0].size, LAYOUT_LOW_RAM_END);
	cr_expect_eq(map[2].addr + map[2].size, MIB(128));
	cr_expect_eq(map[2].type, 1);
	cr_expect(test_untouched(&mem, LAYOUT_PAGE_TABLES, 6 * PAGE_SIZE), "no paging, no tables");
	guest_memory_fini(&mem);
}

Test(boot, cpu_of_the_64_bit_protocol)
{
	struct guest_memory mem = test_memory(128);
	struct boot_cpu cpu;
	const uint64_t *gdt;

	cr_assert_eq(boot_cpu_setup(&mem, BOOT_LINUX64, 0x1234, &cpu, NULL), 0);
	cr_expect_eq(cpu.cr0, 0x80000011);
	cr_expect_eq(cpu.cr4, 0x20);
	cr_expect_eq(cpu.efer, 0x500);
	cr_expect_eq(cpu.rflags, 2);
	cr_expect_eq(cpu.cs.selector, 0x10);
	cr_expect_eq(cpu.data.selector, 0x18);
	cr_expect(cpu.cs.l && !cpu.cs.db);
	gdt = guest_ptr(&mem, cpu.gdt.base, cpu.gdt.limit + 1u);
	cr_expect_eq(gdt[2], 0x00af9b000000ffff, "%#lx", gdt[2]);
	cr_expect_eq(gdt[3], 0x00cf93000000ffff, "%#lx", gdt[3]);
	cr_expect_eq(gdt[4], 0x00008b0000000067, "%#lx", gdt[4]);
	guest_memory_fini(&mem);
}

/* Walks the tables as a CPU does. */
static bool translates_to_itself(const struct guest_memory *mem, uint64_t cr3, uint64_t address)
{
	const uint64_t *table = guest_ptr(mem, cr3, PAGE_SIZE);
	uint64_t entry = 0;

	for (int shift = 39; shift >= 21; shift -= 9) {
		if (!table)
			return false;
		entry = table[address >> shift & 511];
		if ((entry & 3) != 3)
			return false;
		table = guest_ptr(mem, entry & ~0xffful, PAGE_SIZE);
	}
	return (entry & 0x80) && (entry & ~0x1ffffful) == (address & ~0x1ffffful);
}

Test(boot, page_tables_map_ram_and_devices)
{
	struct guest_memory mem = test_memory(1025);
	struct boot_cpu cpu;

	cr_assert_eq(boot_cpu_setup(&mem, BOOT_LINUX64, 0, &cpu, NULL), 0);
	cr_expect(translates_to_itself(&mem, cpu.cr3, 0));
	cr_expect(translates_to_itself(&mem, cpu.cr3, MIB(1025) - 1));
	cr_expect_not(translates_to_itself(&mem, cpu.cr3, GIB(2)));
	cr_expect(translates_to_itself(&mem, cpu.cr3, LAYOUT_VIRTIO_MMIO));
	cr_expect(translates_to_itself(&mem, cpu.cr3, LAYOUT_LAPIC));
	cr_expect_not(translates_to_itself(&mem, cpu.cr3, GIB(4)));
	guest_memory_fini(&mem);
}

Test(boot, cpu_of_pvh)
{
	struct guest_memory mem = test_memory(128);
	struct boot_cpu cpu;

	cr_assert_eq(boot_cpu_setup(&mem, BOOT_PVH, 0x1234, &cpu, NULL), 0);
	cr_expect_eq(cpu.rip, 0x1234);
	cr_expect_eq(cpu.cr0, 0x11);
	cr_expect_eq(cpu.cr3 | cpu.cr4 | cpu.efer, 0);
	cr_expect(!cpu.cs.l && cpu.cs.db);
	cr_expect_eq(cpu.cs.limit, 0xffffffff);
	cr_expect_eq(cpu.tr.limit, 0x67);
	cr_expect_eq(cpu.tr.type, 0xb);
	guest_memory_fini(&mem);
}

Test(boot, refuses_with_the_sentence_of_what_failed)
{
	struct guest_memory mem = test_memory(128);
	struct setup_header setup = test_bzimage();
	struct boot_config config = { .kernel_path = "/k", .initrd_fd = -1, .vcpus = 1 };
	struct boot_result boot;
	struct error err = { 0 };
	cleanup_fd int kernel = -1, empty = test_pattern_file(0);

	setup.cmdline_size = 4;
	kernel = test_bzimage_file(&setup, TEST_BZIMAGE_SIZE);
	config.kernel_fd = kernel;
	config.cmdline = "quiet";
	cr_expect_eq(boot_prepare(&mem, &config, &boot, &err), -E2BIG);
	cr_expect(strstr(err.text, "5 bytes, but this kernel takes 4"), "%s", err.text);
	config.initrd_fd = empty;
	config.initrd_path = "/i";
	cr_expect_eq(boot_prepare(&mem, &config, &boot, &err), -EINVAL);
	cr_expect_str_eq(err.text, "initrd /i: the file is empty");
	guest_memory_fini(&mem);
}
