/* Private to the loaders of vmm/boot: a checked file, and bytes of it into guest memory. */
#pragma once

#include "vmm/boot/kernel.h"

/* Sentences of these functions lack the "kernel PATH: " that kernel_load() and initrd_load() add. */
struct boot_file {
	int fd;
	uint64_t size;	   /* bytes, not 0; it may shrink under us */
	uint64_t read_max; /* kernel_load() says */
};

/* -EINVAL unless fd is a regular file that is not empty. */
must_check int boot_file_init(struct boot_file *file, int fd, struct error *err);

/* Exactly len bytes at offset, or an error. */
must_check int boot_file_read(const struct boot_file *file, uint64_t offset, void *to, uint64_t len,
			      struct error *err);

/*
 * [offset, offset + len) of the file to gpa: whole pages mapped where offset and gpa allow it, all
 * else read. *mapped is what was mapped, len 0 for nothing; NULL asks for no mapping. The range
 * must be inside the file and inside one region.
 */
must_check int boot_file_load(const struct boot_file *file, struct guest_memory *mem,
			      uint64_t offset, uint64_t gpa, uint64_t len,
			      struct boot_mapping *mapped, struct error *err);

/* First address after the RAM that begins below and goes on above 1 MiB; 0 when there is none. */
uint64_t boot_low_ram_end(const struct guest_memory *mem);

/* -ENOMEM or -ENOEXEC unless a kernel may occupy [start, end). */
must_check int boot_check_placement(const struct guest_memory *mem, uint64_t start, uint64_t end,
				    struct error *err);

/* kernel_load() of each format; file is at least as long as its magic number. */
must_check int elf_load(const struct boot_file *file, struct guest_memory *mem,
			struct boot_kernel *out, struct error *err);
must_check int bzimage_load(const struct boot_file *file, struct guest_memory *mem,
			    struct boot_kernel *out, struct error *err);
