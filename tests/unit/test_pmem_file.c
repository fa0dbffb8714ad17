/* The file behind a pmem device: what is mapped, and what becomes of it when the file is cut short. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "virtio/pmem_file.h"

static int fd = -1;
static struct pmem_file file;

static void make_file(uint64_t size)
{
	char path[] = "/tmp/mayfly-pmem-XXXXXX";

	fd = mkostemp(path, O_CLOEXEC);
	cr_assert_geq(fd, 0);
	unlink(path);
	for (uint64_t at = 0; at < size; at += PAGE_SIZE)
		cr_assert_eq(pwrite(fd, "page", 4, (off_t)at), 4);
	cr_assert_eq(ftruncate(fd, (off_t)size), 0);
}

static void open_it(bool read_only)
{
	const struct pmem_file_params params = { "pmem0", NULL, dup(fd), read_only };
	struct error err = { 0 };

	cr_assert_eq(pmem_file_open(&file, &params, &err), 0, "%s", err.text);
}

static void on_sigbus(int number, siginfo_t *info, void *context)
{
	(void)number, (void)context;
	if (!pmem_file_repair(&file, info->si_addr))
		_exit(99);
}

static void catch_sigbus(void)
{
	const struct sigaction action = { .sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO };

	sigaction(SIGBUS, &action, NULL);
}

static void init(void)
{
	make_file(MIB(2) + 5000);
	open_it(false);
	catch_sigbus();
}

static void fini(void)
{
	pmem_file_close(&file);
	close(fd);
}

TestSuite(pmem_file, .init = init, .fini = fini);

static volatile uint8_t *at(uint64_t offset)
{
	return file.host + offset;
}

/* How much was replaced. */
static unsigned int repairs_by(void (*call)(struct pmem_file *file))
{
	const unsigned int before = file.repairs;

	call(&file);
	return file.repairs - before;
}

Test(pmem_file, is_a_multiple_of_2_mib_with_zeroes_at_its_end)
{
	char byte = 0;

	cr_expect_eq(file.size, MIB(4));
	cr_expect(is_aligned((uintptr_t)file.host, MIB(2)));
	cr_expect_eq(*at(PAGE_SIZE), 'p');
	cr_expect_eq(*at(MIB(2) + 4999), 0);
	cr_expect_eq(*at(MIB(4) - 1), 0);
	*at(MIB(4) - 1) = 1; /* behind the end: goes nowhere */
	*at(0) = 'P';
	cr_expect_eq(lseek(fd, 0, SEEK_END), (off_t)(MIB(2) + 5000));
	cr_expect_eq(repairs_by(pmem_file_check), 0);
	cr_expect_not(pmem_file_wants_room(&file), "it has all its pages");
	cr_expect_eq(repairs_by(pmem_file_detach_if_stuck), 0, "there is room");
	*at(PAGE_SIZE) = 'Q';
	cr_assert_eq(pread(fd, &byte, 1, PAGE_SIZE), 1);
	cr_expect_eq(byte, 'Q', "the mapping is shared still");
}

Test(pmem_file, writes_are_the_files)
{
	char text[4] = "";

	memcpy(file.host + MIB(1), "mine", 4);
	cr_assert_eq(pread(fd, text, 4, (off_t)MIB(1)), 4);
	cr_expect_arr_eq(text, "mine", 4);
}

Test(pmem_file, lost_pages_are_zeroes_for_the_thread_that_touches_them)
{
	const int wake = eventfd(0, EFD_NONBLOCK);
	uint64_t count = 0;

	file.wake_fd = wake;
	cr_assert_eq(ftruncate(fd, 10000), 0);
	cr_expect_eq(*at(MIB(1)), 0);
	cr_expect(file.failed);
	cr_expect_eq(read(wake, &count, sizeof(count)), 8);
	cr_expect_eq(*at(PAGE_SIZE), 'p', "what the file has still is there");
	*at(MIB(1)) = 7;
	*at(MIB(2)) = 8;
	cr_expect_eq(*at(MIB(1)), 7);
	cr_expect_eq(repairs_by(pmem_file_check), 0, "nothing new is lost");
	cr_expect_eq(*at(MIB(1)), 7, "and what was written since stays");
	cr_assert_eq(ftruncate(fd, PAGE_SIZE), 0);
	cr_expect_eq(repairs_by(pmem_file_check), 1, "cut again");
	cr_expect_eq(*at(PAGE_SIZE), 0);
	cr_expect_eq(*at(MIB(1)), 7);
	close(wake);
}

Test(pmem_file, file_that_grows_again_is_lost_still)
{
	cr_assert_eq(ftruncate(fd, 0), 0);
	cr_expect_eq(repairs_by(pmem_file_check), 1);
	cr_assert_eq(ftruncate(fd, (off_t)MIB(3)), 0);
	cr_expect_eq(repairs_by(pmem_file_check), 0);
	cr_expect_eq(*at(0), 0);
	*at(0) = 1;
	cr_expect(file.failed);
}

Test(pmem_file, addresses_of_others_are_not_its_business)
{
	int mine = 0;

	cr_expect_not(pmem_file_repair(&file, &mine));
	cr_expect_not(pmem_file_repair(&file, file.host - 1));
	cr_expect_not(pmem_file_repair(&file, file.host + file.size));
	cr_expect_not(file.failed);
}

/* That pages are replaced under a reader is what is tested; to TSan the mapping is a write to them. */
__attribute__((no_sanitize("thread"))) static void *touch_all(void *arg)
{
	uint64_t sum = 0;

	(void)arg;
	for (uint64_t offset = 0; offset < file.size; offset += PAGE_SIZE)
		sum += *at(offset + 1);
	return (void *)(uintptr_t)sum;
}

Test(pmem_file, several_threads_lose_pages_at_once)
{
	pthread_t threads[4];

	for (unsigned int i = 0; i < 4; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, touch_all, NULL), 0);
	for (off_t size = (off_t)MIB(2); size > 0; size -= (off_t)KIB(64))
		cr_assert_eq(ftruncate(fd, size), 0);
	for (unsigned int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	touch_all(NULL);
	cr_expect(file.failed);
}

/* Disks without room ---------------------------------------------------------------------------*/

/* A tmpfs of 128 KiB that is mounted nowhere. */
static int small_disk(void)
{
	const int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
	int disk = -1;

	if (fs >= 0 && fsconfig(fs, FSCONFIG_SET_STRING, "size", "128k", 0) == 0 &&
	    fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
		disk = fsmount(fs, FSMOUNT_CLOEXEC, 0);
	close(fs);
	return disk;
}

/* 1 MiB: a page, a hole, pages until the disk is full, a hole. */
static void fill(int disk)
{
	fd = openat(disk, "image", O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	cr_assert_geq(fd, 0);
	cr_assert_eq(ftruncate(fd, (off_t)MIB(1)), 0);
	cr_assert_eq(pwrite(fd, "page", 4, 0), 4);
	for (off_t offset = (off_t)KIB(512); pwrite(fd, "page", 4, offset) == 4;
	     offset += PAGE_SIZE)
		;
	cr_assert_eq(errno, ENOSPC);
}

/* KVM_RUN says no more than that it failed. */
Test(pmem_file_room, a_guest_goes_on_with_a_copy_of_its_own, .fini = fini)
{
	const int disk = small_disk();
	char byte = 0;

	if (disk < 0)
		cr_skip("no right to mount a tmpfs");
	fill(disk);
	open_it(false);
	cr_expect_eq(repairs_by(pmem_file_check), 0);
	cr_expect(pmem_file_wants_room(&file));
	cr_expect_eq(repairs_by(pmem_file_check_room), 1);
	cr_expect(file.failed && file.detached);
	cr_expect_not(pmem_file_wants_room(&file));
	cr_expect_eq(*at(0), 'p');
	cr_expect_eq(*at(KIB(512)), 'p');
	for (uint64_t offset = 0; offset < MIB(2); offset += PAGE_SIZE)
		*at(offset + 1) = 1;
	cr_assert_eq(pread(fd, &byte, 1, 1), 1);
	cr_expect_eq(byte, 'a', "the file stays as it was");
	cr_expect_eq(repairs_by(pmem_file_detach_if_stuck), 0, "once");
	cr_expect_eq(*at(KIB(64) + 1), 1, "what was written since stays");
	close(disk);
}

/* Even reading a hole wants room there. */
Test(pmem_file_room, a_reader_has_zeroes, .fini = fini)
{
	const int disk = small_disk();
	unsigned int sum = 0;

	if (disk < 0)
		cr_skip("no right to mount a tmpfs");
	fill(disk);
	open_it(true);
	cr_expect_eq(repairs_by(pmem_file_detach_if_stuck), 1);
	for (uint64_t offset = PAGE_SIZE; offset < KIB(512); offset += PAGE_SIZE)
		sum += *at(offset);
	cr_expect_eq(sum, 0);
	cr_expect_eq(*at(KIB(512)), 'p');
	close(disk);
}

/* Another file ---------------------------------------------------------------------------------*/

Test(pmem_file, another_in_its_place_and_back)
{
	struct pmem_file other;
	struct error err = { 0 };
	int memfd = memfd_create("other", MFD_CLOEXEC);
	uint8_t *const host = file.host;
	char byte = 0;

	cr_assert_eq(pwrite(memfd, "other", 5, (off_t)(MIB(2) + 100)), 5);
	file.wake_fd = 77;
	cr_assert_eq(
		pmem_file_open_unmapped(
			&other, &(struct pmem_file_params){ "pmem0", NULL, memfd, false }, &err),
		0, "%s", err.text);
	cr_assert_eq(pmem_file_swap(&file, &other, &err), 0, "%s", err.text);
	cr_expect_eq(file.host, host);
	cr_expect_eq(file.wake_fd, 77);
	cr_expect_null(other.host);
	cr_expect_eq(*at(MIB(2) + 100), 'o');
	cr_expect_eq(*at(0), 0);
	*at(1) = 'x';
	cr_assert_eq(pread(memfd, &byte, 1, 1), 1);
	cr_expect_eq(byte, 'x');
	*at(MIB(3)) = 1; /* behind its end: zeroes again when the first is back */
	cr_assert_eq(pmem_file_swap(&file, &other, &err), 0, "%s", err.text);
	cr_expect_eq(*at(0), 'p');
	cr_expect_eq(*at(MIB(3)), 0);
	pmem_file_close(&other);
}

/* Refusals -------------------------------------------------------------------------------------*/

static void refuse(const char *path, int descriptor, bool read_only, const char *text)
{
	const struct pmem_file_params params = { "pmem7", path, descriptor, read_only };
	struct pmem_file out;
	struct error err = { 0 };

	cr_expect_lt(pmem_file_open(&out, &params, &err), 0);
	cr_expect(strstr(err.text, text) && strstr(err.text, "pmem7"), "%s", err.text);
}

Test(pmem_file_refusals, what_is_no_file_of_some_size)
{
	char path[] = "/tmp/mayfly-pmem-XXXXXX", fifo[64];
	int empty = mkostemp(path, O_CLOEXEC);

	snprintf(fifo, sizeof(fifo), "%s.fifo", path);
	cr_assert_eq(mkfifo(fifo, 0600), 0);
	refuse(path, -1, false, "is empty");
	refuse("/tmp", -1, true, "is not a regular file");
	refuse(fifo, -1, false, "is not a regular file");
	refuse("/nonexistent", -1, true, "No such file");
	cr_assert_eq(ftruncate(empty, 1), 0);
	refuse(NULL, open(path, O_RDONLY), false, "is it open for writing?");
	unlink(path);
	unlink(fifo);
	close(empty);
}
