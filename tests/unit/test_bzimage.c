#include "test_boot.h"

#include <fcntl.h>

static int load(struct guest_memory *mem, const struct setup_header *setup, uint64_t size,
		struct boot_kernel *out, struct error *err)
{
	cleanup_fd int fd = test_bzimage_file(setup, size);

	return kernel_load(mem, fd, "/k", 0, out, err);
}

Test(bzimage, is_mapped_at_its_preferred_address)
{
	struct guest_memory mem = test_memory(128);
	struct setup_header setup = test_bzimage();
	struct boot_kernel kernel;

	cr_assert_eq(load(&mem, &setup, TEST_BZIMAGE_SIZE, &kernel, NULL), 0);
	cr_expect(kernel.is_bzimage);
	cr_expect_eq(kernel.protocol, BOOT_LINUX64);
	cr_expect_eq(kernel.entry, 0x1000200);
	cr_expect_eq(kernel.load_start, 0x1000000);
	cr_expect_eq(kernel.load_end, 0x1800000, "with room to unpack");
	cr_expect_eq(kernel.map_count, 1);
	cr_expect_eq(kernel.maps[0].gpa, 0x1000000);
	cr_expect_eq(kernel.maps[0].len, TEST_BZIMAGE_SIZE - TEST_BZIMAGE_KERNEL);
	cr_expect(test_holds(&mem, 0x1000000, TEST_BZIMAGE_KERNEL, 0x4000));
	guest_memory_fini(&mem);
}

Test(bzimage, is_read_when_the_file_is_not_aligned)
{
	struct guest_memory mem = test_memory(128);
	struct setup_header setup = test_bzimage();
	struct boot_kernel kernel;

	setup.setup_sects--;
	cr_assert_eq(load(&mem, &setup, TEST_BZIMAGE_SIZE, &kernel, NULL), 0);
	cr_expect_eq(kernel.map_count, 0);
	cr_expect(test_holds(&mem, 0x1000000, TEST_BZIMAGE_KERNEL - 512, 0x4000));
	guest_memory_fini(&mem);
}

Test(bzimage, the_header_ends_where_it_says)
{
	struct guest_memory mem = test_memory(128);
	struct setup_header setup = test_bzimage();
	struct boot_kernel kernel;

	setup.jump = 0x60eb; /* ends after init_size, 0x262 */
	setup.handover_offset = 0x1234;
	cr_assert_eq(load(&mem, &setup, TEST_BZIMAGE_SIZE, &kernel, NULL), 0);
	cr_expect_eq(kernel.setup.handover_offset, 0);
	setup.jump = 0x00eb;
	cr_expect_eq(load(&mem, &setup, TEST_BZIMAGE_SIZE, &kernel, NULL), -ENOEXEC);
	guest_memory_fini(&mem);
}

Test(bzimage, debians_own_kernel_loads)
{
	static const char path[] = "build/guest/cloud/vmlinuz";
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct guest_memory mem = test_memory(128);
	struct boot_kernel kernel;
	struct error err = { 0 };

	if (fd < 0)
		cr_skip("build/guest/cloud/vmlinuz is not there yet: `make guests` fetches it");
	cr_expect_eq(kernel_load(&mem, fd, path, 0, &kernel, &err), 0, "%s", err.text);
	cr_expect_eq(kernel.entry, 0x1000200);
	cr_expect_eq(kernel.map_count, 1);
	guest_memory_fini(&mem);
}

static void no_flag(struct setup_header *setup)
{
	setup->boot_flag = 0;
}

static void old(struct setup_header *setup)
{
	setup->version = 0x020b;
}

static void only_32_bit(struct setup_header *setup)
{
	setup->xloadflags = 0;
}

static void low(struct setup_header *setup)
{
	setup->loadflags = 0;
}

static void odd_alignment(struct setup_header *setup)
{
	setup->kernel_alignment = 0x3000;
}

static void no_alignment(struct setup_header *setup)
{
	setup->kernel_alignment = 0;
}

static void no_kernel(struct setup_header *setup)
{
	setup->syssize = 0;
}

static void truncated(struct setup_header *setup)
{
	setup->syssize++;
}

static void huge(struct setup_header *setup)
{
	setup->syssize = 0xffffffff;
}

static void needs_more(struct setup_header *setup)
{
	setup->init_size = MIB(200);
}

static void beyond(struct setup_header *setup)
{
	setup->pref_address = GIB(3) - MIB(2);
}

static void far(struct setup_header *setup)
{
	setup->pref_address = UINT64_MAX;
}

static void in_first_mib(struct setup_header *setup)
{
	setup->kernel_alignment = 0x1000;
	setup->pref_address = 0x1000;
}

static const struct {
	void (*spoil)(struct setup_header *setup);
	int code;
	const char *sentence;
} refusals[] = {
	{ no_flag, -ENOEXEC, "no boot flag" },
	{ old, -ENOEXEC, "boot protocol 2.11; 2.12 is needed" },
	{ only_32_bit, -ENOEXEC, "32-bit bzImage" },
	{ low, -ENOEXEC, "zImage, loaded low" },
	{ odd_alignment, -ENOEXEC, "kernel alignment 0x3000" },
	{ no_alignment, -ENOEXEC, "kernel alignment 0" },
	{ no_kernel, -ENOEXEC, "0 bytes of kernel" },
	{ truncated, -ENOEXEC, "truncated: the kernel ends at 36880, the file at 36864" },
	{ huge, -ENOEXEC, "truncated" },
	{ needs_more, -ENOMEM, "needs 216 MiB of memory, the guest has 128 MiB; raise --mem" },
	{ beyond, -ENOEXEC, "below 3 GiB" },
	{ far, -ENOEXEC, "load address 0xffffffffffffffff" },
	{ in_first_mib, -ENOEXEC, "in the first MiB" },
};

Test(bzimage, refuses_with_a_sentence)
{
	struct guest_memory mem = test_memory(128);
	struct boot_kernel kernel;
	struct error err = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(refusals); i++) {
		struct setup_header setup = test_bzimage();

		refusals[i].spoil(&setup);
		cr_expect_eq(load(&mem, &setup, TEST_BZIMAGE_SIZE, &kernel, &err), refusals[i].code,
			     "%s: %s", refusals[i].sentence, err.text);
		cr_expect(strstr(err.text, refusals[i].sentence), "%s: %s", refusals[i].sentence,
			  err.text);
	}
	guest_memory_fini(&mem);
}

Test(bzimage, every_truncation_is_refused)
{
	struct guest_memory mem = test_memory(128);
	struct setup_header setup = test_bzimage();
	struct boot_kernel kernel;

	for (uint64_t size = 0x206; size < TEST_BZIMAGE_SIZE; size += 61)
		cr_assert_eq(load(&mem, &setup, size, &kernel, NULL), -ENOEXEC, "%lu bytes", size);
	guest_memory_fini(&mem);
}
