/* Files that are no kernel at all, and the initrd. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "test_boot.h"

static void expect_refusal(int fd, int code, const char *sentence)
{
	struct guest_memory mem = test_memory(128);
	struct boot_kernel kernel;
	struct error err = { 0 };

	cr_expect_eq(kernel_load(&mem, fd, "/k", 0, &kernel, &err), code, "%s", sentence);
	cr_expect(strstr(err.text, sentence), "%s: %s", sentence, err.text);
	guest_memory_fini(&mem);
}

static const struct {
	unsigned int offset;
	const char *bytes;
	size_t len;
	const char *sentence;
} not_kernels[] = {
	{ 0, "\x1f\x8b\x08", 3, "gzip file; unpack it first (gunzip)" },
	{ 0,
	  "\xfd"
	  "7zXZ\0",
	  6, "xz file" },
	{ 0, "\x28\xb5\x2f\xfd", 4, "zstd file" },
	{ 0, "BZh9", 4, "bzip2 file" },
	{ 0, "\x02\x21\x4c\x18", 4, "lz4 file" },
	{ 56, "ARM\x64", 4, "arm64 Image" },
	{ 0, "MZ", 2, "EFI program" },
	{ 0, "070701", 6, "cpio archive; name it as the initrd" },
	{ 0, "QFI\xfb", 4, "qcow2 disk image" },
	{ 0, "!<arch>\n", 8, "ar archive" },
	{ 0, "#!/bin/sh\n", 10, "script" },
	{ 510, "\x55\xaa", 2, "boot sector" },
	{ 0, "\1", 1, "no known format" },
};

Test(boot_files, what_is_no_kernel_is_named)
{
	for (size_t i = 0; i < ARRAY_SIZE(not_kernels); i++) {
		uint8_t bytes[600] = { 0 };
		int fd;

		memcpy(bytes + not_kernels[i].offset, not_kernels[i].bytes, not_kernels[i].len);
		fd = test_file(bytes, sizeof(bytes));
		expect_refusal(fd, -ENOEXEC, not_kernels[i].sentence);
		close(fd);
	}
}

Test(boot_files, short_files_of_any_length_are_refused)
{
	for (size_t len = 1; len < 600; len += 7) {
		cleanup_fd int fd = test_pattern_file(len);

		expect_refusal(fd, -ENOEXEC, "neither ELF nor bzImage");
	}
}

Test(boot_files, what_is_no_regular_file_is_named)
{
	cleanup_fd int empty = test_pattern_file(0);
	cleanup_fd int directory = open("/", O_RDONLY | O_CLOEXEC);
	cleanup_fd int device = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	cleanup_fd int text = test_file("hello, world\n", 13);
	int pipes[2];

	expect_refusal(empty, -EINVAL, "kernel /k: the file is empty");
	expect_refusal(directory, -EINVAL, "is a directory; name a regular file");
	expect_refusal(device, -EINVAL, "is a device");
	expect_refusal(text, -ENOEXEC, "is a text file");
	cr_assert_eq(pipe(pipes), 0);
	expect_refusal(pipes[0], -EINVAL, "is a pipe");
	expect_refusal(-1, -EBADF, "Bad file descriptor");
	close(pipes[0]);
	close(pipes[1]);
}

Test(boot_files, opening_never_waits)
{
	char path[] = "/tmp/mayfly-test-XXXXXX";
	struct error err = { 0 };
	char fifo[64];
	int fd;

	cr_assert_not_null(mkdtemp(path));
	snprintf(fifo, sizeof(fifo), "%s/fifo", path);
	cr_assert_eq(mkfifo(fifo, 0600), 0);
	fd = boot_open("kernel", fifo, &err);
	expect_refusal(fd, -EINVAL, "is a pipe");
	close(fd);
	unlink(fifo);
	rmdir(path);
	cr_expect_eq(boot_open("kernel", fifo, &err), -ENOENT);
	cr_expect(strstr(err.text, "kernel: cannot open /tmp/mayfly-test-"), "%s", err.text);
	cr_expect(strstr(err.text, "No such file or directory"), "%s", err.text);
}

Test(boot_files, a_long_path_leaves_room_for_the_sentence)
{
	struct guest_memory mem = test_memory(128);
	cleanup_fd int fd = test_pattern_file(0);
	struct boot_kernel kernel;
	struct error err = { 0 };
	char path[4000];

	memset(path, 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	cr_expect_eq(kernel_load(&mem, fd, path, 0, &kernel, &err), -EINVAL);
	cr_expect(strstr(err.text, "the file is empty"), "%s", err.text);
	guest_memory_fini(&mem);
}

static int load_initrd(struct guest_memory *mem, uint64_t size, const struct boot_kernel *kernel,
		       struct boot_initrd *out, struct error *err)
{
	cleanup_fd int fd = test_pattern_file(0);

	if (size < MIB(1)) {
		close_fd(&fd);
		fd = test_pattern_file(size);
	} else {
		cr_assert_eq(ftruncate(fd, (off_t)size), 0);
	}
	return initrd_load(mem, fd, "/i", kernel, out, err);
}

/* Small ones are read, large ones mapped; where they lie and what the guest reads is the same. */
static void expect_at_top(size_t size, bool is_mapped)
{
	const struct boot_kernel kernel = { .load_end = 0x1234567 };
	struct guest_memory mem = test_memory(128);
	struct boot_initrd initrd;

	cr_assert_eq(load_initrd(&mem, size, &kernel, &initrd, NULL), 0);
	cr_expect_eq(initrd.gpa, MIB(128) - align_up(size, PAGE_SIZE));
	cr_expect_eq(initrd.size, size);
	cr_expect_eq(initrd.is_mapped, is_mapped);
	cr_expect(is_mapped || test_holds(&mem, initrd.gpa, 0, size)); /* the large one is a hole */
	cr_expect_eq(((uint8_t *)guest_ptr(&mem, MIB(128) - 1, 1))[0], 0);
	guest_memory_fini(&mem);
}

Test(boot_initrd, a_small_one_is_read_to_the_top_of_low_memory)
{
	expect_at_top(5000, false);
}

Test(boot_initrd, a_large_one_is_mapped_at_the_top_of_low_memory)
{
	expect_at_top(MIB(16) + 5000, true);
}

Test(boot_initrd, lies_below_what_the_kernel_can_reach)
{
	struct boot_kernel kernel = { .load_end = 0x2000000 };
	struct guest_memory mem = test_memory(4096);
	struct boot_initrd initrd;

	cr_assert_eq(load_initrd(&mem, 0x1000, &kernel, &initrd, NULL), 0);
	cr_expect_eq(initrd.gpa, 0x7ffff000);
	kernel.is_bzimage = true;
	kernel.setup.initrd_addr_max = 0x37ffffff;
	cr_assert_eq(load_initrd(&mem, 0x1000, &kernel, &initrd, NULL), 0);
	cr_expect_eq(initrd.gpa, 0x37fff000);
	guest_memory_fini(&mem);
}

Test(boot_initrd, refuses_with_a_sentence)
{
	struct boot_kernel kernel = { .load_end = MIB(64) };
	struct guest_memory mem = test_memory(128);
	struct boot_initrd initrd;
	struct error err = { 0 };
	cleanup_fd int directory = open("/", O_RDONLY | O_CLOEXEC);

	cr_expect_eq(load_initrd(&mem, 0, &kernel, &initrd, &err), -EINVAL);
	cr_expect_str_eq(err.text, "initrd /i: the file is empty");
	cr_expect_eq(initrd_load(&mem, directory, "/", &kernel, &initrd, &err), -EINVAL);
	cr_expect(strstr(err.text, "is a directory"), "%s", err.text);
	cr_expect_eq(load_initrd(&mem, MIB(64), &kernel, &initrd, &err), 0, "it just fits");
	cr_expect_eq(load_initrd(&mem, MIB(64) + 1, &kernel, &initrd, &err), -ENOMEM);
	cr_expect_str_eq(err.text, "initrd /i: its 65 MiB do not fit into the 64 MiB that the "
				   "kernel leaves; raise --mem");
	cr_expect_eq(load_initrd(&mem, MIB(65), &kernel, &initrd, &err), -ENOMEM);
	cr_expect(strstr(err.text, "its 65 MiB do not"), "%s", err.text);
	cr_expect_eq(load_initrd(&mem, MIB(1984), &kernel, &initrd, &err), -ENOMEM);
	cr_expect(strstr(err.text, "raise --mem"), "%s", err.text);
	cr_expect_eq(load_initrd(&mem, MIB(1984) + 1, &kernel, &initrd, &err), -ENOMEM);
	cr_expect_str_eq(err.text,
			 "initrd /i: its 1985 MiB are more than the 1984 MiB between the "
			 "kernel and the end of what it can reach, whatever --mem is; make "
			 "it smaller");
	cr_expect_eq(load_initrd(&mem, INT64_MAX, &kernel, &initrd, &err), -ENOMEM);
	kernel.load_end = MIB(128);
	cr_expect_eq(load_initrd(&mem, 1, &kernel, &initrd, &err), -ENOMEM);
	guest_memory_fini(&mem);
}
