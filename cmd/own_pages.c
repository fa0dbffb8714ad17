#include "cmd/own_pages.h"

#include <link.h>
#include <malloc.h>
#include <sys/auxv.h>
#include <sys/mman.h>

#include "base/util.h"

/* Where the program was loaded: its headers are at the start of the first segment's file image. */
static uintptr_t load_base(const ElfW(Phdr) * headers, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (headers[i].p_type == PT_PHDR)
			return (uintptr_t)headers - headers[i].p_vaddr;
	/* Without a PT_PHDR (a static-pie need not have one) they follow the ELF header at once. */
	return (uintptr_t)headers - sizeof(ElfW(Ehdr));
}

static void release_program(void)
{
	const ElfW(Phdr) *headers = (const void *)getauxval(AT_PHDR);
	const size_t count = getauxval(AT_PHNUM);

	if (!headers)
		return;
	for (size_t i = 0; i < count; i++) {
		uintptr_t start = load_base(headers, count) + headers[i].p_vaddr;
		uintptr_t end = start + headers[i].p_memsz;

		/* Never a segment that can be written: its pages exist nowhere else. */
		if (headers[i].p_type != PT_LOAD || headers[i].p_flags & PF_W)
			continue;
		start = align_down(start, PAGE_SIZE);
		madvise((void *)start, end - start, MADV_DONTNEED);
	}
}

void own_pages_release(void)
{
	malloc_trim(0);
	release_program(); /* malloc_trim() is part of it */
}
