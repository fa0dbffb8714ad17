/* What the tests of vmm/boot share: guest memory, and kernel files made in memory, to be spoilt. */
#pragma once

#include <criterion/criterion.h>
#include <elf.h>
#include <string.h>
#include <sys/mman.h>

#include "base/guest_memory.h"
#include "vmm/boot/kernel.h"
#include "vmm/layout.h"

static inline struct guest_memory test_memory(uint64_t mib)
{
	struct guest_memory mem = { 0 };
	uint64_t low = MIN(MIB(mib), (uint64_t)LAYOUT_HOLE_START);

	cr_assert_eq(guest_memory_add(&mem, 0, low, NULL), 0);
	if (MIB(mib) > low)
		cr_assert_eq(guest_memory_add(&mem, LAYOUT_HOLE_END, MIB(mib) - low, NULL), 0);
	return mem;
}

/* Byte `offset` of the files made here, where nothing else was put. */
static inline uint8_t test_pattern(uint64_t offset)
{
	return (uint8_t)(offset * 7 + (offset >> 8) + 1);
}

static inline int test_pattern_file(uint64_t size)
{
	cleanup_free uint8_t *bytes = malloc(size + 1);
	int fd = memfd_create("test", MFD_CLOEXEC);

	cr_assert_not_null(bytes);
	cr_assert_geq(fd, 0);
	for (uint64_t i = 0; i < size; i++)
		bytes[i] = test_pattern(i);
	cr_assert_eq(pwrite(fd, bytes, size, 0), (ssize_t)size);
	return fd;
}

static inline int test_file(const void *bytes, size_t size)
{
	int fd = test_pattern_file(size);

	cr_assert_eq(pwrite(fd, bytes, size, 0), (ssize_t)size);
	return fd;
}

/* True when guest memory at gpa holds the file's bytes from offset. */
static inline bool test_holds(const struct guest_memory *mem, uint64_t gpa, uint64_t offset,
			      uint64_t len)
{
	const uint8_t *at = guest_ptr(mem, gpa, len);

	for (uint64_t i = 0; at && i < len; i++)
		if (at[i] != test_pattern(offset + i))
			return false;
	return at;
}

/* True when no page of [gpa, gpa + len) has been touched. */
static inline bool test_untouched(const struct guest_memory *mem, uint64_t gpa, uint64_t len)
{
	uint64_t pages = len / PAGE_SIZE;
	cleanup_free uint8_t *resident = malloc(pages);

	cr_assert_eq(mincore(guest_ptr(mem, gpa, len), len, resident), 0);
	for (uint64_t i = 0; i < pages; i++)
		if (resident[i] & 1)
			return false;
	return true;
}

struct test_elf {
	Elf64_Ehdr header;
	Elf64_Phdr segments[4];
	uint64_t file_size;
	struct {
		Elf64_Nhdr header;
		char name[4];
		uint64_t desc;
	} note;
	uint64_t note_at;
};

#define TEST_ELF_LOAD 0x1000000ul

/* A vmlinux: code of two pages and a half with bss behind it, linked high, and a note segment. */
static inline struct test_elf test_elf(void)
{
	return (struct test_elf){
		.header = {
			.e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
			.e_type = ET_EXEC,
			.e_machine = EM_X86_64,
			.e_version = EV_CURRENT,
			.e_entry = TEST_ELF_LOAD + 0x10,
			.e_phoff = sizeof(Elf64_Ehdr),
			.e_ehsize = sizeof(Elf64_Ehdr),
			.e_phentsize = sizeof(Elf64_Phdr),
			.e_phnum = 2,
		},
		.segments = {
			{ .p_type = PT_LOAD, .p_offset = 0x1000, .p_paddr = TEST_ELF_LOAD,
			  .p_vaddr = 0xffffffff81000000, .p_filesz = 0x2800, .p_memsz = 0x6000,
			  .p_align = 0x1000 },
			{ .p_type = PT_NULL },
		},
		.file_size = 0x4000,
		.note = { { 4, 8, 18 }, "Xen", TEST_ELF_LOAD + 0x20 },
		.note_at = 0x3900,
	};
}

/* With the note: enterable by PVH. */
static inline struct test_elf test_elf_pvh(void)
{
	struct test_elf elf = test_elf();

	elf.segments[1] = (Elf64_Phdr){
		.p_type = PT_NOTE,
		.p_offset = elf.note_at,
		.p_filesz = sizeof(elf.note),
		.p_align = 4,
	};
	return elf;
}

static inline int test_elf_file(const struct test_elf *elf)
{
	int fd = test_pattern_file(0x4000);

	if (elf->segments[1].p_type == PT_NOTE)
		cr_assert_geq(pwrite(fd, &elf->note, sizeof(elf->note), (off_t)elf->note_at), 0);
	cr_assert_geq(pwrite(fd, elf->segments, sizeof(elf->segments), sizeof(elf->header)), 0);
	cr_assert_geq(pwrite(fd, &elf->header, sizeof(elf->header), 0), 0);
	cr_assert_eq(ftruncate(fd, (off_t)elf->file_size), 0);
	return fd;
}

#define TEST_BZIMAGE_SIZE 0x9000u
#define TEST_BZIMAGE_KERNEL 0x5000u /* where the kernel proper starts in the file */

/* The header of a bzImage as Linux 6.12 makes them: page-aligned kernel, protocol 2.15. */
static inline struct setup_header test_bzimage(void)
{
	return (struct setup_header){
		.setup_sects = TEST_BZIMAGE_KERNEL / 512 - 1,
		.syssize = (TEST_BZIMAGE_SIZE - TEST_BZIMAGE_KERNEL) / 16,
		.boot_flag = 0xaa55,
		.jump = 0x6aeb,
		.header = 0x53726448,
		.version = 0x020f,
		.loadflags = LOADED_HIGH,
		.initrd_addr_max = 0x7fffffff,
		.kernel_alignment = 0x200000,
		.relocatable_kernel = 1,
		.xloadflags = XLF_KERNEL_64,
		.cmdline_size = 2047,
		.pref_address = 0x1000000,
		.init_size = 0x800000,
	};
}

static inline int test_bzimage_file(const struct setup_header *setup, uint64_t size)
{
	int fd = test_pattern_file(TEST_BZIMAGE_SIZE);

	cr_assert_geq(pwrite(fd, setup, sizeof(*setup), 0x1f1), 0);
	cr_assert_eq(ftruncate(fd, (off_t)size), 0);
	return fd;
}
