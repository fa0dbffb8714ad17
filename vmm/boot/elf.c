/* ELF executables: vmlinux, and whatever small program wants a machine to itself. */
#include "vmm/boot/elf_file.h"

static int check_machine(const Elf64_Ehdr *header, struct error *err)
{
	if (header->e_ident[EI_CLASS] != ELFCLASS64)
		return error_set(err, ENOEXEC, "is a 32-bit ELF; a 64-bit kernel is needed");
	if (header->e_ident[EI_DATA] != ELFDATA2LSB)
		return error_set(err, ENOEXEC, "is a big-endian ELF; an x86-64 kernel is needed");
	if (header->e_machine != EM_X86_64)
		return error_set(err, ENOEXEC,
				 "is an ELF for %s (machine %u); an x86-64 kernel is needed",
				 header->e_machine == EM_AARCH64 ? "arm64" : "another processor",
				 header->e_machine);
	return 0;
}

static int check_type(const Elf64_Ehdr *header, struct error *err)
{
	switch (header->e_type) {
	case ET_EXEC:
		return 0;
	case ET_DYN:
		return error_set(err, ENOEXEC,
				 "is a shared library or position-independent program; name a "
				 "vmlinux, or link with -static -no-pie");
	case ET_REL:
		return error_set(err, ENOEXEC,
				 "is an object file or kernel module; name a vmlinux");
	case ET_CORE:
		return error_set(err, ENOEXEC, "is a core dump; name a vmlinux");
	default:
		return error_set(err, ENOEXEC, "is an ELF of unknown type %u; name a vmlinux",
				 header->e_type);
	}
}

static int read_headers(struct elf *elf, struct error *err)
{
	Elf64_Ehdr *header = &elf->header;
	uint64_t len;
	int ret;

	if (elf->file->size < sizeof(*header))
		return error_set(err, ENOEXEC,
				 "the file is truncated: %lu bytes are no whole ELF header",
				 elf->file->size);
	ret = boot_file_read(elf->file, 0, header, sizeof(*header), err);
	if (ret)
		return ret;
	ret = check_machine(header, err);
	if (ret)
		return ret;
	ret = check_type(header, err);
	if (ret)
		return ret;
	if (header->e_phnum == 0 || header->e_phnum > ELF_SEGMENTS_MAX ||
	    header->e_phentsize != sizeof(Elf64_Phdr))
		return error_set(err, ENOEXEC,
				 "has a damaged ELF header: %u program headers of %u bytes",
				 header->e_phnum, header->e_phentsize);
	elf->count = header->e_phnum;
	len = elf->count * sizeof(Elf64_Phdr);
	if (header->e_phoff > elf->file->size || len > elf->file->size - header->e_phoff)
		return error_set(err, ENOEXEC,
				 "the file is truncated: program headers at %#lx, %lu bytes in all",
				 header->e_phoff, elf->file->size);
	return boot_file_read(elf->file, header->e_phoff, elf->segments, len, err);
}

static int check_segment(const struct elf *elf, unsigned int index, const struct guest_memory *mem,
			 struct error *err)
{
	const Elf64_Phdr *seg = &elf->segments[index];
	uint64_t end = seg->p_paddr + seg->p_memsz;

	if (!elf_in_file(elf, seg))
		return error_set(err, ENOEXEC,
				 "the file is truncated: segment %u is %lu bytes at %#lx, the file "
				 "%lu in all",
				 index, seg->p_filesz, seg->p_offset, elf->file->size);
	if (seg->p_filesz > seg->p_memsz)
		return error_set(err, ENOEXEC,
				 "is damaged: segment %u has more bytes in the file than in memory",
				 index);
	if (end < seg->p_paddr)
		return error_set(err, ENOEXEC,
				 "is damaged: segment %u wraps around the end of memory", index);
	for (unsigned int i = 0; i < index; i++) {
		const Elf64_Phdr *other = &elf->segments[i];

		if (elf_is_loaded(other) && seg->p_paddr < other->p_paddr + other->p_memsz &&
		    other->p_paddr < end)
			return error_set(err, ENOEXEC, "is damaged: segments %u and %u overlap", i,
					 index);
	}
	return boot_check_placement(mem, seg->p_paddr, end, err);
}

static int check_segments(struct elf *elf, const struct guest_memory *mem, struct boot_kernel *out,
			  struct error *err)
{
	out->load_start = UINT64_MAX;
	for (unsigned int i = 0; i < elf->count; i++) {
		const Elf64_Phdr *seg = &elf->segments[i];
		int ret;

		if (!elf_is_loaded(seg))
			continue;
		ret = check_segment(elf, i, mem, err);
		if (ret)
			return ret;
		out->load_start = MIN(out->load_start, (uint64_t)seg->p_paddr);
		if (seg->p_paddr + seg->p_memsz > out->load_end)
			out->load_end = seg->p_paddr + seg->p_memsz;
	}
	if (!out->load_end)
		return error_set(err, ENOEXEC, "has no segment to load; name a vmlinux");
	return 0;
}

/* Of a large kernel too: these pages are copied sooner or later, one by one if not at once. */
#define WRITABLE_READ_MAX MIB(8)

static bool is_mapped(const struct elf *elf, const Elf64_Phdr *seg)
{
	uint64_t bytes = 0;

	for (unsigned int i = 0; i < elf->count; i++)
		if (elf_is_loaded(&elf->segments[i]))
			bytes += elf->segments[i].p_filesz; /* each is inside the file */
	if (bytes <= elf->file->read_max)
		return false;
	return !(seg->p_flags & PF_W) || seg->p_filesz > WRITABLE_READ_MAX;
}

static int load_segments(const struct elf *elf, struct guest_memory *mem, struct boot_kernel *out,
			 struct error *err)
{
	for (unsigned int i = 0; i < elf->count; i++) {
		const Elf64_Phdr *seg = &elf->segments[i];
		struct boot_mapping *map = NULL;
		int ret;

		if (!elf_is_loaded(seg) || !seg->p_filesz)
			continue;
		if (is_mapped(elf, seg) && out->map_count < BOOT_KERNEL_MAPPINGS_MAX)
			map = &out->maps[out->map_count];
		ret = boot_file_load(elf->file, mem, seg->p_offset, seg->p_paddr, seg->p_filesz,
				     map, err);
		if (ret)
			return ret;
		if (map && map->len)
			out->map_count++;
	}
	return 0;
}

int elf_load(const struct boot_file *file, struct guest_memory *mem, struct boot_kernel *out,
	     struct error *err)
{
	struct elf elf = { .file = file };
	int ret;

	ret = read_headers(&elf, err);
	if (ret)
		return ret;
	ret = check_segments(&elf, mem, out, err);
	if (ret)
		return ret;
	ret = elf_find_entry(&elf, out, err);
	if (ret)
		return ret;
	return load_segments(&elf, mem, out, err);
}
