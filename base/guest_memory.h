/*
 * Guest memory: a few regions of the guest's physical address space, each mapped once into ours.
 *
 * The table is built before any thread starts and does not change while a vCPU or a loop runs, so
 * it needs no lock. The bytes behind it change at any moment under us: a vCPU is writing. Read a
 * guest field once into a local, check the local, use the local.
 *
 * guest_ptr() is the only way from a guest address to a pointer.
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "base/error.h"

#define GUEST_REGIONS_MAX 16
#define GUEST_WINDOWS_MAX 8

struct guest_region {
	uint64_t gpa;  /* first guest physical address; page-aligned */
	uint64_t size; /* bytes, a multiple of the page size, not 0 */
	uint8_t *host; /* where it is mapped; at a multiple of 2 MiB, so that huge pages fit */
};

/* Memory that is not RAM and not ours to free: a file that the guest sees (pmem). */
struct guest_window {
	struct guest_region region;
	bool read_only;
};

/* What memory is made of. */
enum guest_pages {
	GUEST_PAGES_4K,
	GUEST_PAGES_TRANSPARENT, /* of 2 MiB where the kernel has one at hand when it is touched */
	GUEST_PAGES_2M, /* of the host's pool of huge pages; all are set aside when it is added */
};

struct guest_memory {
	enum guest_pages pages; /* of regions that are added; set it before the first */
	struct guest_region regions[GUEST_REGIONS_MAX]; /* ascending, never overlapping */
	unsigned int count;
	struct guest_window
		windows[GUEST_WINDOWS_MAX]; /* anywhere else; not in any sum or map of RAM */
	unsigned int window_count;
	_Atomic uint64_t *dirty; /* pages that we changed: base/guest_dirty.h; NULL: not noted */
};

/*
 * Adds `size` bytes of zeroed private memory at gpa, between guard pages that belong to nobody.
 * Nothing is touched: pages appear when used.
 * Regions must be added in ascending order. -EINVAL on overlap or misalignment (GUEST_PAGES_2M: of 2 MiB),
 * -ENOSPC when the table is full, -ENOMEM where the host refuses the mapping or has too few huge pages.
 */
must_check int guest_memory_add(struct guest_memory *mem, uint64_t gpa, uint64_t size,
				struct error *err);

/* Adds a window on memory that the caller has mapped and unmaps after guest_memory_fini(). Errors as above; it
 * overlaps nothing. */
must_check int guest_memory_add_window(struct guest_memory *mem, const struct guest_region *region,
				       bool read_only, struct error *err);

/*
 * The same for memory whose contents come later: only the address range is set aside, and nothing is mapped
 * there. To KVM a slot over a hole is as good as any, and mapping an image into a hole costs it nothing,
 * while replacing a mapping makes it look through the whole slot. The range lies where the kernel puts no
 * mapping by itself.
 */
must_check int guest_memory_reserve(struct guest_memory *mem, uint64_t gpa, uint64_t size,
				    struct error *err);

/*
 * Maps a file over all of reserved memory, private: the regions follow one another in it, from offset 0.
 * -errno of mmap; -EEXIST when something else is in the range by now. Then nothing is mapped.
 */
must_check int guest_memory_map_image(struct guest_memory *mem, int fd);

/* The same of a file on hugetlbfs, whose pages are of 2 MiB: memory is GUEST_PAGES_2M from then on. The error says what
 * the host lacks. */
must_check int guest_memory_map_huge_image(struct guest_memory *mem, int fd, struct error *err);

/* The same without contents, of the pages that memory is to have. The error says what the host lacks. */
must_check int guest_memory_map_zeroes(struct guest_memory *mem, struct error *err);

/* Makes all memory a hole again, as guest_memory_reserve() left it. No vCPU and no device runs. */
void guest_memory_unmap(struct guest_memory *mem);

/* Unmaps every region. Nothing may hold a pointer into guest memory any more. */
void guest_memory_fini(struct guest_memory *mem);

/* What memory can be given back to the host by: the size of its pages, bytes. */
uint64_t guest_memory_granule(const struct guest_memory *mem);

/* Sum of all regions, bytes. */
uint64_t guest_memory_size(const struct guest_memory *mem);

/*
 * The host address of [gpa, gpa + len), or NULL when any byte of it is outside one region or writable window (a
 * range across two adjacent regions is outside: the regions need not be adjacent in ours). A
 * length of 0 is valid anywhere inside a region.
 */
void *guest_ptr(const struct guest_memory *mem, uint64_t gpa, uint64_t len);

/* The same for memory that is only read, so in read-only windows too. */
void *guest_ptr_to_read(const struct guest_memory *mem, uint64_t gpa, uint64_t len);

/* Copies into guest memory; -EFAULT when the range is not all inside a region. */
must_check int guest_write(const struct guest_memory *mem, uint64_t gpa, const void *data,
			   uint64_t len);

/*
 * Maps `len` bytes of fd at `offset` over guest memory, private: the guest reads the file's pages
 * and writes to copies. All three are multiples of the page size. Only before vCPUs run.
 * -EFAULT when the range is not inside a region, -ENODEV when memory is GUEST_PAGES_2M (read the file instead),
 * else mmap's errno.
 */
must_check int guest_memory_map_file(struct guest_memory *mem, uint64_t gpa, int fd,
				     uint64_t offset, uint64_t len);
