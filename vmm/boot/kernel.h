/*
 * Kernel and initrd files into guest memory. Pages that can be mapped straight from the file are
 * (private, copied by the host when the guest writes); the rest is read to where it belongs. Pages
 * that hold only zeroes (bss) are not touched.
 *
 * Both files are hostile: every refusal is a sentence that names the file and what to do. Any
 * thread, before vCPUs run.
 */
#pragma once

#include <asm/bootparam.h>
#include <stdint.h>

#include "base/error.h"
#include "base/guest_memory.h"

enum boot_protocol {
	BOOT_LINUX64, /* Documentation/arch/x86/boot.rst, "64-bit Boot Protocol" */
	BOOT_PVH,     /* xen/include/public/arch-x86/hvm/start_info.h */
};

/* A range of guest memory whose pages are a file's: if the file is cut short, touching it faults. */
struct boot_mapping {
	uint64_t gpa; /* bytes, page-aligned */
	uint64_t len;
	uint64_t file_end; /* the file must stay at least this long, bytes */
};

#define BOOT_KERNEL_MAPPINGS_MAX 16u /* further segments are read instead */

struct boot_kernel {
	enum boot_protocol protocol;
	uint64_t entry;	     /* guest physical address */
	uint64_t load_start; /* guest physical; the kernel is in [load_start, load_end) */
	uint64_t load_end;   /* bss and what a bzImage needs to unpack itself included */

	bool is_bzimage;
	struct setup_header setup; /* the file's own when is_bzimage, else zeroes */

	struct boot_mapping maps[BOOT_KERNEL_MAPPINGS_MAX];
	unsigned int map_count;
};

struct boot_initrd {
	uint64_t gpa;  /* page-aligned; 0 when there is none */
	uint64_t size; /* bytes of the file; the rest of its last page is zeroes */

	bool is_mapped; /* from the file, [gpa, align_up(gpa + size)) */
};

/*
 * Opens a boot file ("kernel", "initrd") for reading; returns the descriptor. Never blocks, a FIFO
 * neither; whether it is a regular file is checked by the loaders.
 */
must_check int boot_open(const char *what, const char *path, struct error *err);

/*
 * What is read, by measurement: with a small kernel of 10 MiB all mapped a boot in the lab took 6,500
 * nested faults, with its text mapped 3,600, all read 20, and a third of the time. Above 16 MiB the
 * copy would be felt at the start: a 40 MiB vmlinux is mapped.
 */
#define BOOT_KERNEL_READ_MAX MIB(16)

/*
 * Loads an x86-64 ELF executable (PVH when it has the note, else the 64-bit protocol) or a bzImage
 * of boot protocol 2.12 or later. path is for the sentences only. On failure guest memory may hold
 * a part of it. -ENOEXEC: not a kernel we know; -ENOMEM: the guest is too small.
 *
 * A kernel with up to read_max bytes to load is read to where it belongs; of a larger one only what
 * the guest writes is, and the rest is mapped. Mapped pages are shared by all guests of the file and
 * cost nothing at the start, but each costs a nested fault when it is used and another, with a copy
 * and a flush, when Linux patches it.
 */
must_check int kernel_load(struct guest_memory *mem, int fd, const char *path, uint64_t read_max,
			   struct boot_kernel *out, struct error *err);

/*
 * Puts the initrd at the top of the memory below 3 GiB (lower if the kernel asks for it). -ENOMEM
 * when it does not fit between there and the kernel.
 */
must_check int initrd_load(struct guest_memory *mem, int fd, const char *path,
			   const struct boot_kernel *kernel, struct boot_initrd *out,
			   struct error *err);
