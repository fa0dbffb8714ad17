#include "test_boot.h"

static struct boot_kernel load(struct guest_memory *mem, const struct test_elf *elf)
{
	struct boot_kernel kernel;
	struct error err = { 0 };
	cleanup_fd int fd = test_elf_file(elf);

	cr_assert_eq(kernel_load(mem, fd, "vmlinux", 0, &kernel, &err), 0, "%s", err.text);
	return kernel;
}

Test(elf, whole_pages_are_mapped_and_the_rest_is_read)
{
	struct guest_memory mem = test_memory(128);
	struct test_elf elf = test_elf();
	struct boot_kernel kernel = load(&mem, &elf);

	cr_expect_eq(kernel.protocol, BOOT_LINUX64);
	cr_expect_eq(kernel.entry, TEST_ELF_LOAD + 0x10);
	cr_expect_eq(kernel.load_start, TEST_ELF_LOAD);
	cr_expect_eq(kernel.load_end, TEST_ELF_LOAD + 0x6000);
	cr_expect_eq(kernel.map_count, 1);
	cr_expect_eq(kernel.maps[0].gpa, TEST_ELF_LOAD);
	cr_expect_eq(kernel.maps[0].len, 0x2000);
	cr_expect(test_holds(&mem, TEST_ELF_LOAD, 0x1000, 0x2800));
	guest_memory_fini(&mem);
}

Test(elf, a_small_kernel_is_read_whole)
{
	struct guest_memory mem = test_memory(128);
	struct test_elf elf = test_elf();
	struct boot_kernel kernel;
	cleanup_fd int fd = test_elf_file(&elf);

	cr_assert_eq(kernel_load(&mem, fd, "vmlinux", BOOT_KERNEL_READ_MAX, &kernel, NULL), 0);
	cr_expect_eq(kernel.map_count, 0);
	cr_expect(test_holds(&mem, TEST_ELF_LOAD, 0x1000, 0x2800));
	cr_expect_eq(*(uint8_t *)guest_ptr(&mem, TEST_ELF_LOAD + 0x2800, 1), 0);
	guest_memory_fini(&mem);
}

Test(elf, bss_is_zero_and_untouched)
{
	struct guest_memory mem = test_memory(128);
	struct test_elf elf = test_elf();
	const uint8_t *tail;

	load(&mem, &elf);
	tail = guest_ptr(&mem, TEST_ELF_LOAD + 0x2800, 0x800);
	for (int i = 0; i < 0x800; i++)
		cr_assert_eq(tail[i], 0, "the file's bytes after the segment must not show");
	cr_expect(test_untouched(&mem, TEST_ELF_LOAD + 0x3000, 0x3000));
	guest_memory_fini(&mem);
}

Test(elf, a_segment_may_start_and_end_within_pages)
{
	struct guest_memory mem = test_memory(128);
	struct test_elf elf = test_elf();
	struct boot_kernel kernel;

	elf.segments[0].p_offset += 0x800;
	elf.segments[0].p_paddr += 0x800;
	elf.header.e_entry = elf.segments[0].p_paddr;
	elf.segments[0].p_filesz = 0x2000;
	kernel = load(&mem, &elf);
	cr_expect_eq(kernel.map_count, 1);
	cr_expect_eq(kernel.maps[0].gpa, TEST_ELF_LOAD + 0x1000);
	cr_expect_eq(kernel.maps[0].len, 0x1000);
	cr_expect(test_holds(&mem, TEST_ELF_LOAD + 0x800, 0x1800, 0x2000));
	guest_memory_fini(&mem);
}

Test(elf, misaligned_segments_are_read)
{
	struct guest_memory mem = test_memory(128);
	struct test_elf elf = test_elf();
	struct boot_kernel kernel;

	elf.segments[0].p_offset += 0x234;
	kernel = load(&mem, &elf);
	cr_expect_eq(kernel.map_count, 0);
	cr_expect(test_holds(&mem, TEST_ELF_LOAD, 0x1234, 0x2800));
	guest_memory_fini(&mem);
}

Test(elf, segments_may_share_a_page)
{
	struct guest_memory mem = test_memory(128);
	struct test_elf elf = test_elf();
	struct boot_kernel kernel;

	elf.segments[0].p_filesz = elf.segments[0].p_memsz = 0x1800;
	elf.segments[1] = elf.segments[0];
	elf.segments[1].p_offset += 0x1800;
	elf.segments[1].p_paddr += 0x1800;
	kernel = load(&mem, &elf);
	cr_expect_eq(kernel.map_count, 2);
	cr_expect(test_holds(&mem, TEST_ELF_LOAD, 0x1000, 0x3000));
	guest_memory_fini(&mem);
}

Test(elf, the_note_decides_for_pvh)
{
	struct guest_memory mem = test_memory(128);
	struct test_elf elf = test_elf_pvh();
	struct boot_kernel kernel = load(&mem, &elf);

	cr_expect_eq(kernel.protocol, BOOT_PVH);
	cr_expect_eq(kernel.entry, TEST_ELF_LOAD + 0x20);

	elf.note.header.n_descsz = 4;
	elf.segments[1].p_filesz -= 4;
	elf.note.desc |= 0xffffffffull << 32;
	kernel = load(&mem, &elf);
	cr_expect_eq(kernel.protocol, BOOT_PVH, "a note of 4 bytes");
	cr_expect_eq(kernel.entry, TEST_ELF_LOAD + 0x20);
	guest_memory_fini(&mem);
}

Test(elf, other_notes_do_not_decide)
{
	struct guest_memory mem = test_memory(128);
	struct test_elf elf = test_elf_pvh();

	elf.note.header.n_type = 3;
	cr_expect_eq(load(&mem, &elf).protocol, BOOT_LINUX64);
	elf = test_elf_pvh();
	elf.note.name[0] = 'Y';
	cr_expect_eq(load(&mem, &elf).protocol, BOOT_LINUX64);
	guest_memory_fini(&mem);
}

Test(elf, a_virtual_entry_is_made_physical)
{
	struct guest_memory mem = test_memory(128);
	struct test_elf elf = test_elf();

	elf.header.e_entry = elf.segments[0].p_vaddr + 0x1234;
	cr_expect_eq(load(&mem, &elf).entry, TEST_ELF_LOAD + 0x1234);
	guest_memory_fini(&mem);
}

Test(elf, a_payload_at_1_mib_boots)
{
	struct guest_memory mem = test_memory(128);
	struct test_elf elf = test_elf();
	struct boot_kernel kernel;

	elf.segments[0].p_vaddr = elf.segments[0].p_paddr = elf.header.e_entry = 0x100000;
	elf.segments[0].p_filesz = elf.segments[0].p_memsz = 12;
	kernel = load(&mem, &elf);
	cr_expect_eq(kernel.protocol, BOOT_LINUX64);
	cr_expect_eq(kernel.entry, 0x100000);
	cr_expect_eq(kernel.load_end, 0x10000c);
	guest_memory_fini(&mem);
}

static void short_file(struct test_elf *elf)
{
	elf->file_size = 40;
}

static void short_headers(struct test_elf *elf)
{
	elf->file_size = 100;
}

static void short_segment(struct test_elf *elf)
{
	elf->file_size = 0x3000;
}

static void class32(struct test_elf *elf)
{
	elf->header.e_ident[EI_CLASS] = ELFCLASS32;
}

static void big_endian(struct test_elf *elf)
{
	elf->header.e_ident[EI_DATA] = ELFDATA2MSB;
}

static void arm64(struct test_elf *elf)
{
	elf->header.e_machine = EM_AARCH64;
}

static void riscv(struct test_elf *elf)
{
	elf->header.e_machine = EM_RISCV;
}

static void shared(struct test_elf *elf)
{
	elf->header.e_type = ET_DYN;
}

static void object(struct test_elf *elf)
{
	elf->header.e_type = ET_REL;
}

static void core(struct test_elf *elf)
{
	elf->header.e_type = ET_CORE;
}

static void no_type(struct test_elf *elf)
{
	elf->header.e_type = 77;
}

static void no_headers(struct test_elf *elf)
{
	elf->header.e_phnum = 0;
}

static void many_headers(struct test_elf *elf)
{
	elf->header.e_phnum = 0xffff;
}

static void odd_headers(struct test_elf *elf)
{
	elf->header.e_phentsize = 32;
}

static void far_headers(struct test_elf *elf)
{
	elf->header.e_phoff = UINT64_MAX - 8;
}

static void no_load(struct test_elf *elf)
{
	elf->segments[0].p_type = PT_NULL;
}

static void far_offset(struct test_elf *elf)
{
	elf->segments[0].p_offset = UINT64_MAX - 0xfff;
}

static void more_in_file(struct test_elf *elf)
{
	elf->segments[0].p_memsz = 1;
}

static void wraps(struct test_elf *elf)
{
	elf->segments[0].p_memsz = UINT64_MAX - 0x1000;
}

static void overlaps(struct test_elf *elf)
{
	elf->segments[1] = elf->segments[0];
	elf->segments[1].p_paddr += 0x5fff;
}

static void below_1_mib(struct test_elf *elf)
{
	elf->segments[0].p_paddr = 0xff000;
}

static void in_the_hole(struct test_elf *elf)
{
	elf->segments[0].p_paddr = LAYOUT_HOLE_START - 0x5000;
}

static void too_big(struct test_elf *elf)
{
	elf->segments[0].p_memsz = MIB(200);
}

static void entry_outside(struct test_elf *elf)
{
	elf->header.e_entry = TEST_ELF_LOAD + 0x2800;
}

static void note_entry_outside(struct test_elf *elf)
{
	elf->note.desc = 0x100000;
}

static void note_odd_size(struct test_elf *elf)
{
	elf->note.header.n_descsz = 2;
}

static void note_too_long(struct test_elf *elf)
{
	elf->note.header.n_descsz = 0xfffffffe;
}

static void note_name_too_long(struct test_elf *elf)
{
	elf->note.header.n_namesz = 0xffffffff;
}

static void notes_outside(struct test_elf *elf)
{
	elf->segments[1].p_offset = 0x3ff0;
}

/* Zeroes are notes too: of no name and no value, 12 bytes each. */
static void endless_notes(struct test_elf *elf)
{
	memset(&elf->note, 0, sizeof(elf->note));
	elf->note_at = 0x100000;
	elf->file_size = 0x200000;
	elf->segments[1].p_offset = 0x180000;
	elf->segments[1].p_filesz = 0x10000;
}

static const struct refusal {
	void (*spoil)(struct test_elf *elf);
	int code;
	const char *sentence;
} refusals[] = {
	{ short_file, -ENOEXEC, "truncated: 40 bytes are no whole ELF header" },
	{ short_headers, -ENOEXEC, "truncated: program headers" },
	{ short_segment, -ENOEXEC, "truncated: segment 0 is 10240 bytes at 0x1000" },
	{ class32, -ENOEXEC, "32-bit ELF" },
	{ big_endian, -ENOEXEC, "big-endian" },
	{ arm64, -ENOEXEC, "ELF for arm64 (machine 183)" },
	{ riscv, -ENOEXEC, "another processor (machine 243)" },
	{ shared, -ENOEXEC, "shared library or position-independent" },
	{ object, -ENOEXEC, "object file or kernel module" },
	{ core, -ENOEXEC, "core dump" },
	{ no_type, -ENOEXEC, "unknown type 77" },
	{ no_headers, -ENOEXEC, "0 program headers" },
	{ many_headers, -ENOEXEC, "65535 program headers" },
	{ odd_headers, -ENOEXEC, "program headers of 32 bytes" },
	{ far_headers, -ENOEXEC, "truncated: program headers" },
	{ no_load, -ENOEXEC, "no segment to load" },
	{ far_offset, -ENOEXEC, "truncated: segment 0" },
	{ more_in_file, -ENOEXEC, "more bytes in the file than in memory" },
	{ wraps, -ENOEXEC, "segment 0 wraps around" },
	{ overlaps, -ENOEXEC, "segments 0 and 1 overlap" },
	{ below_1_mib, -ENOEXEC, "in the first MiB" },
	{ in_the_hole, -ENOEXEC, "below 3 GiB" },
	{ too_big, -ENOMEM, "needs 216 MiB of memory, the guest has 128 MiB; raise --mem" },
	{ entry_outside, -ENOEXEC, "entry 0x1002800 is in no segment" },
	{ note_entry_outside, -ENOEXEC, "PVH entry 0x100000 is in no segment" },
	{ note_odd_size, -ENOEXEC, "PVH note has 2 bytes" },
	{ note_too_long, -ENOEXEC, "note reaches beyond its segment" },
	{ note_name_too_long, -ENOEXEC, "note reaches beyond its segment" },
	{ notes_outside, -ENOEXEC, "truncated: notes" },
	{ endless_notes, -ENOEXEC, "more than 256 ELF notes" },
};

Test(elf, refuses_with_a_sentence)
{
	struct guest_memory mem = test_memory(128);

	for (size_t i = 0; i < ARRAY_SIZE(refusals); i++) {
		struct test_elf elf = test_elf_pvh();
		struct boot_kernel kernel;
		struct error err = { 0 };
		int fd;

		if (refusals[i].spoil == entry_outside)
			elf = test_elf();
		refusals[i].spoil(&elf);
		fd = test_elf_file(&elf);
		cr_expect_eq(kernel_load(&mem, fd, "/k", 0, &kernel, &err), refusals[i].code,
			     "%s: %s", refusals[i].sentence, err.text);
		cr_expect(strstr(err.text, refusals[i].sentence), "%s: %s", refusals[i].sentence,
			  err.text);
		cr_expect_eq(strncmp(err.text, "kernel /k: ", 11), 0, "%s", err.text);
		close(fd);
	}
	guest_memory_fini(&mem);
}
