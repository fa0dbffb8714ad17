/* Where a kernel starts, and by which protocol: the PVH note decides. */
#include "vmm/boot/elf_file.h"

#define NOTES_MAX 256u /* in all; a vmlinux has about 20 */

#define XEN_NOTE_NAME "Xen"
#define XEN_NOTE_PHYS32_ENTRY 18u

/* The segment with `address` in what the file gives it, by physical or by virtual address. */
static const Elf64_Phdr *find_segment(const struct elf *elf, uint64_t address, bool is_virtual)
{
	for (unsigned int i = 0; i < elf->count; i++) {
		const Elf64_Phdr *seg = &elf->segments[i];
		uint64_t start = is_virtual ? seg->p_vaddr : seg->p_paddr;

		if (elf_is_loaded(seg) && address >= start && address - start < seg->p_filesz)
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

int elf_find_entry(struct elf *elf, struct boot_kernel *out, struct error *err)
{
	for (unsigned int i = 0; i < elf->count; i++) {
		const Elf64_Phdr *seg = &elf->segments[i];
		int ret;

		if (seg->p_type != PT_NOTE)
			continue;
		if (!elf_in_file(elf, seg))
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
