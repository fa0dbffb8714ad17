/* ELF kernels: header, segments, notes. The valid file is a small PVH vmlinux. */
#include <elf.h>

#include "tests/fuzz/boot.h"

struct file {
	Elf64_Ehdr header;
	Elf64_Phdr segments[3];
	struct {
		Elf64_Nhdr header;
		char name[4];
		uint64_t desc;
	} notes[2];
	uint8_t rest[0x3000];
} __attribute__((packed));

static const struct file valid = {
	.header = {
		.e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
		.e_type = ET_EXEC,
		.e_machine = EM_X86_64,
		.e_version = EV_CURRENT,
		.e_entry = 0x1000000,
		.e_phoff = offsetof(struct file, segments),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = 3,
	},
	.segments = {
		{ .p_type = PT_LOAD, .p_offset = 0x1000, .p_vaddr = 0xffffffff81000000,
		  .p_paddr = 0x1000000, .p_filesz = 0x1800, .p_memsz = 0x4000 },
		{ .p_type = PT_LOAD, .p_offset = 0x2804, .p_vaddr = 0xffffffff81004000,
		  .p_paddr = 0x1004000, .p_filesz = 0x80, .p_memsz = 0x80 },
		{ .p_type = PT_NOTE, .p_offset = offsetof(struct file, notes),
		  .p_filesz = sizeof(valid.notes), .p_align = 4 },
	},
	.notes = { { { 4, 8, 6 }, "Xen", 0 }, { { 4, 8, 18 }, "Xen", 0x1000010 } },
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct file file = valid;

	fuzz_load(fuzz_file((uint8_t *)&file, sizeof(file), data, size), size == 0);
	return 0;
}
