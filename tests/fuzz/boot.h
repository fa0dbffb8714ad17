/*
 * What the fuzzers of kernel files share. The input is laid over a valid file with XOR, so that the
 * empty input and one of zeroes are the valid file, and each bit set spoils one bit of it. The
 * first two bytes say how much of the file's end is cut off.
 */
#pragma once

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/fuzz/expect.h"
#include "vmm/boot/kernel.h"
#include "vmm/layout.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline int fuzz_file(uint8_t *valid, size_t valid_size, const uint8_t *data, size_t size)
{
	static int fd = -1;
	size_t cut = 0;

	if (fd < 0)
		fd = memfd_create("fuzz", MFD_CLOEXEC);
	if (size >= 2)
		cut = (size_t)(data[0] | data[1] << 8) % (valid_size + 1);
	for (size_t i = 2; i < size && i - 2 < valid_size; i++)
		valid[i - 2] ^= data[i];
	expect(!ftruncate(fd, 0));
	expect(pwrite(fd, valid, valid_size - cut, 0) == (ssize_t)(valid_size - cut));
	return fd;
}

static inline void fuzz_check_kernel(const struct guest_memory *mem,
				     const struct boot_kernel *kernel)
{
	expect(kernel->load_start >= LAYOUT_HIGH_RAM);
	expect(kernel->load_start < kernel->load_end);
	expect(guest_ptr(mem, kernel->load_start, kernel->load_end - kernel->load_start));
	expect(kernel->entry >= kernel->load_start && kernel->entry < kernel->load_end);
	expect(kernel->map_count <= BOOT_KERNEL_MAPPINGS_MAX);
	for (unsigned int i = 0; i < kernel->map_count; i++) {
		const struct boot_mapping *map = &kernel->maps[i];

		expect(map->len && is_aligned(map->gpa | map->len, PAGE_SIZE));
		expect(map->gpa >= kernel->load_start);
		expect(map->gpa + map->len <= kernel->load_end);
		expect(guest_ptr(mem, map->gpa, map->len));
	}
}

/* Loads the file as kernel and, after it, as initrd. */
static inline void fuzz_load(int fd, bool must_load)
{
	struct guest_memory mem = { 0 };
	struct boot_kernel kernel;
	struct boot_initrd initrd;
	struct error err = { 0 };
	int ret;

	expect(!guest_memory_add(&mem, 0, MIB(64), NULL));
	ret = kernel_load(&mem, fd, "fuzz", 0, &kernel, &err);
	expect(ret == 0 || (ret == err.code && ret < 0 && strlen(err.text) > 20));
	expect(!must_load || ret == 0);
	if (ret == 0) {
		fuzz_check_kernel(&mem, &kernel);
		ret = initrd_load(&mem, fd, "fuzz", &kernel, &initrd, &err);
		expect(ret == -ENOMEM || (ret == 0 && initrd.gpa >= kernel.load_end &&
					  guest_ptr(&mem, initrd.gpa, initrd.size)));
	}
	guest_memory_fini(&mem);
}
