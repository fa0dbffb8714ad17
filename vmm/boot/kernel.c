#include "vmm/boot/kernel.h"

#include <stdio.h>

#include "vmm/boot/loader.h"

#define MAGIC_WINDOW 520u /* bytes from the start that hold every magic number below */

/* What people name as a kernel by mistake. */
static const struct magic {
	unsigned int offset;
	unsigned int len;
	const char *bytes;
	const char *sentence;
} magics[] = {
	{ 0, 2, "\x1f\x8b", "is a gzip file; unpack it first (gunzip)" },
	{ 0, 6,
	  "\xfd"
	  "7zXZ\0",
	  "is an xz file; unpack it first (unxz)" },
	{ 0, 4, "\x28\xb5\x2f\xfd", "is a zstd file; unpack it first (unzstd)" },
	{ 0, 3, "BZh", "is a bzip2 file; unpack it first (bunzip2)" },
	{ 0, 4, "\x04\x22\x4d\x18", "is an lz4 file; unpack it first (unlz4)" },
	{ 0, 4, "\x02\x21\x4c\x18", "is an lz4 file; unpack it first (unlz4)" },
	{ 0, 5, "\x5d\0\0\0\x04", "is an lzma file; unpack it first (unlzma)" },
	{ 56, 4, "ARM\x64", "is an arm64 Image; this monitor runs x86-64 kernels" },
	{ 0, 4, "\x27\x05\x19\x56", "is a U-Boot image; name the vmlinux or bzImage in it" },
	{ 0, 4, "\xd0\x0d\xfe\xed", "is a device tree; name a vmlinux or bzImage" },
	{ 0, 2, "MZ", "is an EFI program, not a bzImage; name the vmlinux or bzImage in it" },
	{ 0, 5, "07070", "is a cpio archive; name it as the initrd and a vmlinux as the kernel" },
	{ 0, 4, "QFI\xfb", "is a qcow2 disk image; name the vmlinux or bzImage in it" },
	{ 0, 8, "!<arch>\n", "is an ar archive (a Debian package?); unpack it first" },
	{ 0, 2, "#!", "is a script; name a vmlinux or bzImage" },
	{ 510, 2, "\x55\xaa", "is a boot sector or disk image; name the vmlinux or bzImage in it" },
};

static bool has_magic(const uint8_t *head, uint64_t len, unsigned int offset, const void *bytes,
		      unsigned int magic_len)
{
	return offset + magic_len <= len && !memcmp(head + offset, bytes, magic_len);
}

static bool is_text(const uint8_t *head, uint64_t len)
{
	for (uint64_t i = 0; i < len; i++)
		if ((head[i] < 0x20 && (head[i] < '\t' || head[i] > '\r')) || head[i] >= 0x7f)
			return false;
	return true;
}

static int refuse(const uint8_t *head, uint64_t len, struct error *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(magics); i++) {
		const struct magic *magic = &magics[i];

		if (has_magic(head, len, magic->offset, magic->bytes, magic->len))
			return error_set(err, ENOEXEC, "%s", magic->sentence);
	}
	return error_set(err, ENOEXEC, "is %s, neither ELF nor bzImage; name a vmlinux or bzImage",
			 is_text(head, len) ? "a text file" : "of no known format");
}

static int load_by_magic(struct guest_memory *mem, int fd, uint64_t read_max,
			 struct boot_kernel *out, struct error *err)
{
	uint8_t head[MAGIC_WINDOW];
	struct boot_file file;
	uint64_t len;
	int ret;

	ret = boot_file_init(&file, fd, err);
	file.read_max = read_max;
	if (ret)
		return ret;
	len = MIN(file.size, (uint64_t)sizeof(head));
	ret = boot_file_read(&file, 0, head, len, err);
	if (ret)
		return ret;
	if (has_magic(head, len, 0, "\177ELF", 4))
		return elf_load(&file, mem, out, err);
	if (has_magic(head, len, 0x202, "HdrS", 4))
		return bzimage_load(&file, mem, out, err);
	return refuse(head, len, err);
}

int kernel_load(struct guest_memory *mem, int fd, const char *path, uint64_t read_max,
		struct boot_kernel *out, struct error *err)
{
	int ret;

	memset(out, 0, sizeof(*out));
	ret = load_by_magic(mem, fd, read_max, out, err);
	if (ret)
		error_prefix(err, "kernel %.300s", path);
	return ret;
}
