/* bzImage: setup header, then the kernel proper, entered in 64-bit mode (boot.rst). */
#include "vmm/boot/loader.h"
#include "vmm/layout.h"

#define HEADER_AT 0x1f1u
#define HEADER_END_BASE 0x202u /* the header ends here plus the byte before */
#define HEADER_END_BYTE 0x201u
#define ENTRY_64 0x200u
#define BOOT_FLAG 0xaa55u
#define PROTOCOL_MIN 0x020cu
#define SETUP_SECTS_DEFAULT 4u

static int read_header(const struct boot_file *file, struct setup_header *setup, struct error *err)
{
	uint8_t end_byte;
	uint64_t len;
	int ret;

	if (file->size < HEADER_AT + sizeof(*setup))
		return error_set(err, ENOEXEC, "the file is truncated: %lu bytes are no bzImage",
				 file->size);
	ret = boot_file_read(file, HEADER_END_BYTE, &end_byte, 1, err);
	if (ret)
		return ret;
	/* What lies beyond the header's own end is code, not fields. */
	len = MIN((uint64_t)HEADER_END_BASE + end_byte - HEADER_AT, (uint64_t)sizeof(*setup));
	return boot_file_read(file, HEADER_AT, setup, len, err);
}

static int check_header(const struct setup_header *setup, struct error *err)
{
	if (setup->boot_flag != BOOT_FLAG)
		return error_set(err, ENOEXEC, "is a damaged bzImage: no boot flag");
	if (setup->version < PROTOCOL_MIN)
		return error_set(
			err, ENOEXEC,
			"is a bzImage of boot protocol %u.%02u; 2.12 is needed (Linux 3.8)",
			setup->version >> 8, setup->version & 0xff);
	if (!(setup->xloadflags & XLF_KERNEL_64))
		return error_set(err, ENOEXEC, "is a 32-bit bzImage; a 64-bit kernel is needed");
	if (!(setup->loadflags & LOADED_HIGH))
		return error_set(err, ENOEXEC, "is a zImage, loaded low; build a bzImage");
	if (!setup->kernel_alignment || !is_aligned(setup->kernel_alignment, PAGE_SIZE) ||
	    (setup->kernel_alignment & (setup->kernel_alignment - 1)))
		return error_set(err, ENOEXEC, "is a damaged bzImage: kernel alignment %#x",
				 setup->kernel_alignment);
	return 0;
}

/*
 * Where the kernel runs and hence unpacks itself: it moves there from wherever it was loaded (a
 * relocatable one never below pref_address either), so loading it elsewhere gains nothing.
 */
static uint64_t load_address(const struct setup_header *setup)
{
	uint64_t wanted = setup->pref_address ? setup->pref_address : LAYOUT_HIGH_RAM;

	/* No wrap-around: what would wrap is beyond all memory and refused as it is. */
	if (wanted > LAYOUT_HOLE_END)
		return wanted;
	return align_up(wanted, setup->kernel_alignment);
}

int bzimage_load(const struct boot_file *file, struct guest_memory *mem, struct boot_kernel *out,
		 struct error *err)
{
	struct setup_header *setup = &out->setup;
	uint64_t offset, len, start, end;
	int ret;

	ret = read_header(file, setup, err);
	if (ret)
		return ret;
	ret = check_header(setup, err);
	if (ret)
		return ret;

	offset = (setup->setup_sects ? setup->setup_sects : SETUP_SECTS_DEFAULT) * 512ul + 512;
	len = setup->syssize * 16ul;
	if (len <= ENTRY_64)
		return error_set(err, ENOEXEC, "is a damaged bzImage: %lu bytes of kernel", len);
	if (offset + len > file->size)
		return error_set(err, ENOEXEC,
				 "the file is truncated: the kernel ends at %lu, the file at %lu",
				 offset + len, file->size);

	start = load_address(setup);
	end = start + (setup->init_size > len ? setup->init_size : len);
	if (end < start)
		return error_set(err, ENOEXEC, "is a damaged bzImage: load address %#lx", start);
	ret = boot_check_placement(mem, start, end, err);
	if (ret)
		return ret;

	out->is_bzimage = true;
	out->protocol = BOOT_LINUX64;
	out->load_start = start;
	out->load_end = end;
	out->entry = start + ENTRY_64;
	ret = boot_file_load(file, mem, offset, start, len,
			     len > file->read_max ? &out->maps[0] : NULL, err);
	out->map_count = !ret && out->maps[0].len;
	return ret;
}
