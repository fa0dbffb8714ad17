#include "vmm/boot/loader.h"
#include "vmm/layout.h"

/* Highest address of an initrd where the kernel file does not say: its own default (boot.rst). */
#define INITRD_ADDR_MAX_DEFAULT 0x7fffffffu

/* More memory helps only as far as the kernel can reach. */
static int refuse(uint64_t size, uint64_t bottom, uint64_t top, uint64_t reach, struct error *err)
{
	uint64_t wanted = (size >> 20) + !!(size & (MIB(1) - 1));

	if (reach <= bottom || size > reach - bottom)
		return error_set(err, ENOMEM,
				 "its %lu MiB are more than the %lu MiB between the kernel and the "
				 "end of what it can reach, whatever --mem is; make it smaller",
				 wanted, reach > bottom ? (reach - bottom) >> 20 : 0);
	return error_set(err, ENOMEM,
			 "its %lu MiB do not fit into the %lu MiB that the kernel leaves; "
			 "raise --mem",
			 wanted, top > bottom ? (top - bottom) >> 20 : 0);
}

static int place(const struct guest_memory *mem, const struct boot_kernel *kernel, uint64_t size,
		 uint64_t *gpa, struct error *err)
{
	uint64_t bottom = align_up(kernel->load_end, PAGE_SIZE);
	uint64_t limit = INITRD_ADDR_MAX_DEFAULT;
	uint64_t reach;
	uint64_t top;

	if (kernel->is_bzimage && kernel->setup.initrd_addr_max)
		limit = kernel->setup.initrd_addr_max;
	reach = align_down(MIN(limit + 1, LAYOUT_HOLE_START), PAGE_SIZE);
	top = MIN(reach, align_down(boot_low_ram_end(mem), PAGE_SIZE));
	/* In this order nothing wraps: size may be anything. */
	if (top <= bottom || size > top - bottom)
		return refuse(size, bottom, top, reach, err);
	*gpa = align_down(top - size, PAGE_SIZE);
	return 0;
}

/* The guest reads all of it once and then reuses its memory, so a copy in huge pages is cheaper than
 * a nested fault for each page and another when it is written; a large one would delay the start. */
#define INITRD_READ_MAX MIB(16)

/* Its last page too is mapped: beyond the file's end it reads as zeroes. */
static int load(struct guest_memory *mem, const struct boot_file *file, struct boot_initrd *out,
		struct error *err)
{
	uint64_t pages = align_up(file->size, PAGE_SIZE);
	int ret;

	if (file->size <= INITRD_READ_MAX)
		return boot_file_load(file, mem, 0, out->gpa, file->size, NULL, err);
	ret = guest_memory_map_file(mem, out->gpa, file->fd, 0, pages);
	if (!ret) {
		out->is_mapped = true;
		return 0;
	}
	if (ret != -ENODEV)
		return error_set_errno(err, ret, "cannot map %lu bytes", pages);
	return boot_file_load(file, mem, 0, out->gpa, file->size, NULL, err);
}

int initrd_load(struct guest_memory *mem, int fd, const char *path,
		const struct boot_kernel *kernel, struct boot_initrd *out, struct error *err)
{
	struct boot_file file;
	int ret;

	memset(out, 0, sizeof(*out));
	ret = boot_file_init(&file, fd, err);
	if (!ret)
		ret = place(mem, kernel, file.size, &out->gpa, err);
	if (!ret) {
		out->size = file.size;
		ret = load(mem, &file, out, err);
	}
	if (ret)
		error_prefix(err, "initrd %.300s", path);
	return ret;
}
