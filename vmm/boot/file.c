#include <fcntl.h>
#include <sys/stat.h>

#include "vmm/boot/loader.h"
#include "vmm/layout.h"

int boot_open(const char *what, const char *path, struct error *err)
{
	int fd;

	if (!*path)
		return error_set(err, ENOENT, "%s: the path is empty", what);
	/* NONBLOCK: opening a FIFO must not wait for a writer. It means nothing to regular files. */
	fd = retry_eintr(open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
	if (fd < 0)
		return error_set_errno(err, errno, "%s: cannot open %s", what, path);
	return fd;
}

static const char *file_type_name(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFDIR:
		return "a directory";
	case S_IFIFO:
		return "a pipe";
	case S_IFSOCK:
		return "a socket";
	case S_IFCHR:
	case S_IFBLK:
		return "a device";
	default:
		return "of an unknown type";
	}
}

int boot_file_init(struct boot_file *file, int fd, struct error *err)
{
	struct stat st;

	if (fstat(fd, &st))
		return error_set_errno(err, errno, "cannot look at it");
	if (!S_ISREG(st.st_mode))
		return error_set(err, EINVAL, "is %s; name a regular file",
				 file_type_name(st.st_mode));
	if (st.st_size <= 0)
		return error_set(err, EINVAL, "the file is empty");
	*file = (struct boot_file){ .fd = fd, .size = (uint64_t)st.st_size };
	return 0;
}

int boot_file_read(const struct boot_file *file, uint64_t offset, void *to, uint64_t len,
		   struct error *err)
{
	uint8_t *at = to;

	while (len) {
		ssize_t n = retry_eintr(pread(file->fd, at, len, (off_t)offset));

		if (n < 0)
			return error_set_errno(err, errno, "cannot read %lu bytes at %#lx", len,
					       offset);
		if (n == 0)
			return error_set(err, ENOEXEC,
					 "the file is truncated: it ends at %#lx, %lu bytes early",
					 offset, len);
		at += n;
		offset += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return 0;
}

static int read_to_guest(const struct boot_file *file, struct guest_memory *mem, uint64_t offset,
			 uint64_t gpa, uint64_t len, struct error *err)
{
	void *to = guest_ptr(mem, gpa, len);

	if (!to)
		return error_set(err, EFAULT, "no guest memory at %#lx", gpa);
	return boot_file_read(file, offset, to, len, err);
}

/* The pages that lie whole in [gpa, gpa + len); none when file and memory are out of step. */
static struct boot_mapping whole_pages(uint64_t offset, uint64_t gpa, uint64_t len)
{
	uint64_t first = align_up(gpa, PAGE_SIZE);
	uint64_t end = align_down(gpa + len, PAGE_SIZE);

	if (!is_aligned(offset - gpa, PAGE_SIZE) || first >= end)
		return (struct boot_mapping){ 0 };
	return (struct boot_mapping){ .gpa = first, .len = end - first };
}

int boot_file_load(const struct boot_file *file, struct guest_memory *mem, uint64_t offset,
		   uint64_t gpa, uint64_t len, struct boot_mapping *mapped, struct error *err)
{
	struct boot_mapping map = { 0 };
	uint64_t head, tail;
	int ret;

	if (mapped)
		map = whole_pages(offset, gpa, len);
	if (map.len) {
		ret = guest_memory_map_file(mem, map.gpa, file->fd, offset + (map.gpa - gpa),
					    map.len);
		if (ret == -ENODEV) /* a filesystem that maps no files */
			map.len = 0;
		else if (ret)
			return error_set_errno(err, ret, "cannot map %lu bytes at guest %#lx",
					       map.len, map.gpa);
	}
	map.file_end = offset + (map.gpa - gpa) + map.len;
	if (mapped)
		*mapped = map;
	if (!map.len)
		return read_to_guest(file, mem, offset, gpa, len, err);

	head = map.gpa - gpa;
	tail = head + map.len;
	ret = read_to_guest(file, mem, offset, gpa, head, err);
	if (ret)
		return ret;
	return read_to_guest(file, mem, offset + tail, gpa + tail, len - tail, err);
}

uint64_t boot_low_ram_end(const struct guest_memory *mem)
{
	for (unsigned int i = 0; i < mem->count; i++) {
		const struct guest_region *region = &mem->regions[i];

		if (region->gpa <= LAYOUT_HIGH_RAM && region->size > LAYOUT_HIGH_RAM - region->gpa)
			return region->gpa + region->size;
	}
	return 0;
}

int boot_check_placement(const struct guest_memory *mem, uint64_t start, uint64_t end,
			 struct error *err)
{
	if (start < LAYOUT_HIGH_RAM)
		return error_set(err, ENOEXEC,
				 "wants to be loaded at %#lx, in the first MiB, which holds the "
				 "boot parameters; link it at 0x100000 or above",
				 start);
	if (end > LAYOUT_HOLE_START)
		return error_set(err, ENOEXEC,
				 "wants to be loaded at %#lx to %#lx, but kernels must lie below "
				 "3 GiB, where the devices begin",
				 start, end);
	if (end > boot_low_ram_end(mem))
		return error_set(err, ENOMEM,
				 "needs %lu MiB of memory, the guest has %lu MiB; raise --mem",
				 align_up(end, MIB(1)) >> 20, guest_memory_size(mem) >> 20);
	return 0;
}
