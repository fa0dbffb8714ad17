/* Private to the ELF loader: the headers of the file, read once and from then on used from here. */
#pragma once

#include <elf.h>

#include "vmm/boot/loader.h"

#define ELF_SEGMENTS_MAX 64u /* program headers; a vmlinux has 5 or 6 */

struct elf {
	const struct boot_file *file;
	Elf64_Ehdr header;
	Elf64_Phdr segments[ELF_SEGMENTS_MAX];
	unsigned int count;
	unsigned int notes_seen;
};

static inline bool elf_in_file(const struct elf *elf, const Elf64_Phdr *seg)
{
	return seg->p_offset <= elf->file->size && seg->p_filesz <= elf->file->size - seg->p_offset;
}

static inline bool elf_is_loaded(const Elf64_Phdr *seg)
{
	return seg->p_type == PT_LOAD && seg->p_memsz != 0;
}

/* Sets protocol and entry; -ENOEXEC when the entry is in nothing that is loaded. */
must_check int elf_find_entry(struct elf *elf, struct boot_kernel *out, struct error *err);
