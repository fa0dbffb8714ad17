/* bzImage: the setup header and what it says of the file. */
#include "tests/fuzz/boot.h"

struct file {
	uint8_t boot_sector[0x1f1];
	struct setup_header setup;
	uint8_t rest[0x2800 - 0x1f1 - sizeof(struct setup_header)];
} __attribute__((packed));

static const struct file valid = {
	.setup = {
		.setup_sects = 7,
		.syssize = (sizeof(struct file) - 0x1000) / 16,
		.boot_flag = 0xaa55,
		.jump = 0x6aeb,
		.header = 0x53726448,
		.version = 0x020f,
		.loadflags = LOADED_HIGH,
		.initrd_addr_max = 0x7fffffff,
		.kernel_alignment = 0x200000,
		.relocatable_kernel = 1,
		.xloadflags = XLF_KERNEL_64,
		.cmdline_size = 2047,
		.pref_address = 0x1000000,
		.init_size = 0x800000,
	},
};

/* The boot sector before the header is never looked at: the input starts at the header. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct file file = valid;
	size_t offset = offsetof(struct file, setup);

	if (size > 2) {
		uint8_t *at = (uint8_t *)&file + offset;

		for (size_t i = 2; i < size && i - 2 < sizeof(file) - offset; i++)
			at[i - 2] ^= data[i];
		size = 2;
	}
	fuzz_load(fuzz_file((uint8_t *)&file, sizeof(file), data, size), size == 0);
	return 0;
}
