/* ELF executables: vmlinux, and whatever small program wants a machine to itself. */
#include <elf.h>
#include <stdio.h>

#include "vmm/boot/loader.h"

#define SEGMENTS_MAX 64u /* program headers; a vmlinux has 5 or 6 */
#define NOTES_MAX 256u	 /* in all; a vmlinux has about 20 */

#define XEN_NOTE_NAME "Xen"
#define XEN_NOTE_PHYS32_ENTRY 18u

struct elf {
	const struct boot_file *file;
	Elf64_Ehdr header;
	Elf64_Phdr segments[SEGMENTS_MAX];
	unsigned int count;
	unsigned int notes_seen;
};

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
	if (header->e_phnum == 0 || header->e_phnum > SEGMENTS_MAX ||
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

static bool in_file(const struct elf *elf, const Elf64_Phdr *seg)
{
	return seg->p_offset <= elf->file->size && seg->p_filesz <= elf->file->size - seg->p_offset;
}

static bool is_loaded(const Elf64_Phdr *seg)
{
	return seg->p_type == PT_LOAD && seg->p_memsz != 0;
}

static int check_segment(const struct elf *elf, unsigned int index, const struct guest_memory *mem,
			 struct error *err)
{
	const Elf64_Phdr *seg = &elf->segments[index];
	uint64_t end = seg->p_paddr + seg->p_memsz;

	if (!in_file(elf, seg))
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

		if (is_loaded(other) && seg->p_paddr < other->p_paddr + other->p_memsz &&
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

		if (!is_loaded(seg))
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

/* The segment with `address` in what the file gives it, by physical or by virtual address. */
static const Elf64_Phdr *find_segment(const struct elf *elf, uint64_t address, bool is_virtual)
{
	for (unsigned int i = 0; i < elf->count; i++) {
		const Elf64_Phdr *seg = &elf->segments[i];
		uint64_t start = is_virtual ? seg->p_vaddr : seg->p_paddr;

		if (is_loaded(seg) && address >= start && address - start < seg->p_filesz)
			return seg;
	}
	return NULL;
}

/* vmlinux gives its entry as a physical address, a program linked high as a virtual one. */
static int find_entry(const struct elf *elf, uint64_t *entry, struct error *err)
{
	uint64_t address = elf->header.e_entry;
	const Elf64_Phdr *seg;

	if (find_segment(elf, address, false)) {
		*entry = address;
		return 0;
	}
	seg = find_segment(elf, address, true);
	if (!seg)
		return error_set(err, ENOEXEC, "is damaged: its entry %#lx is in no segment",
				 address);
	*entry = seg->p_paddr + (address - seg->p_vaddr);
	return 0;
}

static int set_pvh_entry(const struct elf *elf, const Elf64_Nhdr *note, uint64_t desc_at,
			 struct boot_kernel *out, struct error *err)
{
	uint64_t entry = 0;
	int ret;

	if (note->n_descsz != 4 && note->n_descsz != 8)
		return error_set(err, ENOEXEC, "is damaged: its PVH note has %u bytes, not 4 or 8",
				 note->n_descsz);
	ret = boot_file_read(elf->file, desc_at, &entry, note->n_descsz, err);
	if (ret)
		return ret;
	if (!find_segment(elf, entry, false))
		return error_set(err, ENOEXEC, "is damaged: its PVH entry %#lx is in no segment",
				 entry);
	out->protocol = BOOT_PVH;
	out->entry = entry;
	return 0;
}

/* Looks for the PVH note among those of one PT_NOTE segment; out->entry stays 0 without one. */
static int scan_notes(struct elf *elf, const Elf64_Phdr *seg, struct boot_kernel *out,
		      struct error *err)
{
	uint64_t align = seg->p_align == 8 ? 8 : 4;
	uint64_t at = 0;

	while (!out->entry && seg->p_filesz - at >= sizeof(Elf64_Nhdr)) {
		uint64_t name_at, desc_at, end;
		char name[sizeof(XEN_NOTE_NAME)];
		Elf64_Nhdr note;
		int ret;

		if (++elf->notes_seen > NOTES_MAX)
			return error_set(err, ENOEXEC, "is damaged: more than %u ELF notes",
					 NOTES_MAX);
		ret = boot_file_read(elf->file, seg->p_offset + at, &note, sizeof(note), err);
		if (ret)
			return ret;
		/* 32-bit sizes in 64-bit sums: nothing wraps around. */
		name_at = at + sizeof(note);
		desc_at = align_up(name_at + note.n_namesz, align);
		end = desc_at + note.n_descsz;
		if (end > seg->p_filesz)
			return error_set(err, ENOEXEC,
					 "is damaged: an ELF note reaches beyond its segment");
		if (note.n_type == XEN_NOTE_PHYS32_ENTRY && note.n_namesz == sizeof(name)) {
			ret = boot_file_read(elf->file, seg->p_offset + name_at, name, sizeof(name),
					     err);
			if (ret)
				return ret;
			if (!memcmp(name, XEN_NOTE_NAME, sizeof(name)))
				return set_pvh_entry(elf, &note, seg->p_offset + desc_at, out, err);
		}
		at = align_up(end, align);
		if (at > seg->p_filesz) /* the last note may lack its padding */
			break;
	}
	return 0;
}

static int choose_protocol(struct elf *elf, struct boot_kernel *out, struct error *err)
{
	for (unsigned int i = 0; i < elf->count; i++) {
		const Elf64_Phdr *seg = &elf->segments[i];
		int ret;

		if (seg->p_type != PT_NOTE)
			continue;
		if (!in_file(elf, seg))
			return error_set(err, ENOEXEC,
					 "the file is truncated: notes at %#lx, %lu bytes in all",
					 seg->p_offset, elf->file->size);
		ret = scan_notes(elf, seg, out, err);
		if (ret || out->entry)
			return ret;
	}
	out->protocol = BOOT_LINUX64;
	return find_entry(elf, &out->entry, err);
}

static int load_segments(const struct elf *elf, struct guest_memory *mem, struct boot_kernel *out,
			 struct error *err)
{
	for (unsigned int i = 0; i < elf->count; i++) {
		const Elf64_Phdr *seg = &elf->segments[i];
		struct boot_mapping *map = NULL;
		int ret;

		if (!is_loaded(seg) || !seg->p_filesz)
			continue;
		if (out->map_count < BOOT_KERNEL_MAPPINGS_MAX)
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
	ret = choose_protocol(&elf, out, err);
	if (ret)
		return ret;
	return load_segments(&elf, mem, out, err);
}
