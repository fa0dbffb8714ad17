/* What may be behind a drive, and what is said when it may not. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "virtio/blk_file.h"

static struct error err;
static struct blk_file file;

static int try(const char *path, bool read_only)
{
	return blk_file_open(
		&file,
		&(struct blk_file_params){
			.drive = "vda", .path = path, .fd = -1, .read_only = read_only },
		&err);
}

static int take(int fd, bool read_only)
{
	return blk_file_open(
		&file,
		&(struct blk_file_params){ .drive = "vda", .fd = fd, .read_only = read_only },
		&err);
}

static void expect_text(const char *part)
{
	cr_expect(strstr(err.text, "drive vda") && strstr(err.text, part), "%s", err.text);
}

#define TEMPLATE "/tmp/mayfly-file-XXXXXX"

static int temporary(char name[static sizeof(TEMPLATE)], off_t size)
{
	int fd;

	memcpy(name, TEMPLATE, sizeof(TEMPLATE));
	fd = mkostemp(name, O_CLOEXEC);
	cr_assert_geq(fd, 0);
	cr_assert_eq(ftruncate(fd, size), 0);
	return fd;
}

Test(blk_file, sizes_are_rounded_down_to_sectors)
{
	static const struct {
		off_t real, seen;
	} sizes[] = { { 0, 0 }, { 511, 0 }, { 512, 512 }, { 1025, 1024 }, { 1 << 20, 1 << 20 } };

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		char name[32];

		close(temporary(name, sizes[i].real));
		cr_assert_eq(try(name, false), 0, "%s", err.text);
		cr_expect_eq(file.size, (uint64_t)sizes[i].seen);
		blk_file_close(&file);
		unlink(name);
	}
}

Test(blk_file, what_is_no_disk_is_named)
{
	char fifo[] = "/tmp/mayfly-fifo-XXXXXX";

	cr_expect_eq(try("/nowhere/at/all", true), -ENOENT);
	expect_text("/nowhere/at/all: No such file or directory");
	cr_expect_eq(try("/tmp", true), -EINVAL);
	expect_text("/tmp: is a directory");
	cr_expect_eq(try("/tmp", false), -EISDIR);
	expect_text("/tmp: Is a directory");
	/* Nobody may write this one, root neither. */
	cr_expect_eq(try("/sys/kernel/uevent_seqnum", false), -EACCES);
	expect_text("uevent_seqnum for writing; a drive that is only read (:ro) would do: "
		    "Permission denied");
	cr_expect_eq(try("/dev/null", false), -EINVAL);
	expect_text("a character device");
	close(mkostemp(fifo, O_CLOEXEC));
	unlink(fifo);
	cr_assert_eq(mkfifo(fifo, 0600), 0);
	cr_expect_eq(try(fifo, true), -EINVAL, "and does not wait for a writer");
	expect_text("a FIFO");
	unlink(fifo);
	cr_expect_eq(file.fd, -1);
}

Test(blk_file, descriptors_are_checked_for_what_they_allow)
{
	char name[32];
	int fd = temporary(name, 4096);

	close(fd);
	fd = open(name, O_RDONLY | O_CLOEXEC);
	cr_expect_eq(take(fd, false), -EBADF);
	expect_text("not open for writing");
	fd = open(name, O_WRONLY | O_CLOEXEC);
	cr_expect_eq(take(fd, true), -EBADF);
	expect_text("not open for reading");
	fd = open(name, O_RDWR | O_APPEND | O_CLOEXEC);
	cr_expect_eq(take(fd, false), -EINVAL);
	expect_text("appending");
	fd = open(name, O_PATH | O_CLOEXEC);
	cr_expect_eq(take(fd, true), -EBADF);
	expect_text("path only");
	cr_expect_eq(take(999, true), -EBADF);
	expect_text("descriptor 999");
	fd = open(name, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	cr_expect_eq(take(fd, true), 0);
	cr_expect(!(fcntl(fd, F_GETFL) & O_NONBLOCK));
	blk_file_close(&file);
	unlink(name);
}
