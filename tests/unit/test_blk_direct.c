/* Direct I/O: what is aligned, what is not, and blocks larger than what the guest writes. */
#include "tests/unit/blk_driver.h"
#include "virtio/iov.h"

#define BOTH(name) ENGINES(blk_direct, name, .direct = true)

/* As on a disk of 4 KiB blocks: the layer's own idea of alignment decides, whatever is below. */
static void large_blocks(void)
{
	drive()->file->io_align = drive()->file->mem_align = 4096;
}

static void fill(uint64_t gpa, size_t len, uint8_t with)
{
	memset(fake_ptr(&fake, gpa, len), with, len);
}

static bool file_has(uint64_t sector, uint8_t byte)
{
	uint8_t data[512];

	cr_assert_eq(pread(file, data, sizeof(data), (off_t)(sector * 512)), 512);
	for (size_t i = 0; i < sizeof(data); i++)
		if (data[i] != byte)
			return false;
	return true;
}

BOTH(opens_direct)
{
	cr_expect(drive()->file->direct);
	cr_expect_geq(drive()->file->io_align, 1);
	cr_expect_eq(request(VIRTIO_BLK_T_IN, 8, DATA, 4096, NULL), VIRTIO_BLK_S_OK);
	cr_expect_eq(*(uint64_t *)fake_ptr(&fake, DATA + 512, 8), 9);
}

BOTH(reads_to_any_address)
{
	static const uint64_t offsets[] = { 1, 3, 511, 513, 4095 };
	uint64_t number;

	for (size_t i = 0; i < ARRAY_SIZE(offsets); i++) {
		fill(DATA, 0x4000, 0xee);
		cr_expect_eq(request(VIRTIO_BLK_T_IN, 100 + i, DATA + offsets[i], 1024, NULL),
			     VIRTIO_BLK_S_OK);
		memcpy(&number, fake_ptr(&fake, DATA + offsets[i] + 512, 8), 8);
		cr_expect_eq(number, 101 + i);
		cr_expect_eq(*(uint8_t *)fake_ptr(&fake, DATA + offsets[i] - 1, 1), 0xee);
		cr_expect_eq(*(uint8_t *)fake_ptr(&fake, DATA + offsets[i] + 1024, 1), 0xee);
	}
}

BOTH(writes_from_any_address)
{
	fill(DATA, 0x4000, 'a');
	cr_expect_eq(request(VIRTIO_BLK_T_OUT, 33, DATA + 7, 512 * 3, NULL), VIRTIO_BLK_S_OK);
	cr_expect(file_has(33, 'a') && file_has(34, 'a') && file_has(35, 'a'));
	cr_expect_eq(number_of(32), 32);
	cr_expect_eq(number_of(36), 36);
}

/* What it has by then are zeroes that the guest never wrote. */
BOTH(writes_nothing_of_memory_that_was_lost)
{
	fill(DATA, 0x4000, 'a');
	iov_lose_memory();
	request(VIRTIO_BLK_T_OUT, 33, DATA + 7, 512 * 3, NULL);
	for (uint64_t sector = 33; sector < 36; sector++)
		cr_expect_eq(number_of(sector), sector);
}

/* Several windows of the bounce buffer, at odd ends. */
BOTH(more_than_the_buffer_holds)
{
	const uint32_t len = 300 * 512;
	uint64_t number;

	large_blocks();
	fill(DATA, len + 1, 'b');
	cr_expect_eq(request(VIRTIO_BLK_T_OUT, 1003, DATA + 1, len, NULL), VIRTIO_BLK_S_OK);
	for (uint64_t i = 1003; i < 1303; i++)
		cr_assert(file_has(i, 'b'), "sector %lu", i);
	cr_expect_eq(number_of(1002), 1002);
	cr_expect_eq(number_of(1303), 1303);
	cr_expect_eq(request(VIRTIO_BLK_T_IN, 701, DATA + 1, len, NULL), VIRTIO_BLK_S_OK);
	for (uint64_t i = 0; i < 300; i++) {
		memcpy(&number, fake_ptr(&fake, DATA + 1 + i * 512, 8), 8);
		cr_assert_eq(number, 701 + i);
	}
}

BOTH(the_last_sector)
{
	large_blocks();
	fill(DATA, 512, 'z');
	cr_expect_eq(request(VIRTIO_BLK_T_OUT, SECTORS - 1, DATA, 512, NULL), VIRTIO_BLK_S_OK);
	cr_expect(file_has(SECTORS - 1, 'z'));
	cr_expect_eq(number_of(SECTORS - 2), SECTORS - 2);
	cr_expect_eq(request(VIRTIO_BLK_T_IN, SECTORS, DATA, 512, NULL), VIRTIO_BLK_S_IOERR);
}

/*
 * Every sector of some blocks is written by a request of its own, all at once, between writes of
 * whole blocks elsewhere: patches of one block that overlapped would lose one another's sectors.
 */
BOTH(patches_of_one_block_lose_nothing)
{
	const unsigned int n = 64;
	struct vring_used_elem elem;

	large_blocks();
	for (unsigned int round = 0; round < 8; round++) {
		for (unsigned int i = 0; i < n; i++) {
			const bool whole = i % 9 == 8;
			const uint32_t len = whole ? 4096 : 512;
			const uint64_t data = DATA + i * 4096;
			const struct fake_buffer buffers[] = { { HEADER + i * 16, 16, false },
							       { data, len, false },
							       { STATUS + 0x1000 + i, 1, true } };

			fill(data, len, (uint8_t)('0' + (i + round) % 64));
			*(uint8_t *)fake_ptr(&fake, STATUS + 0x1000 + i, 1) = 0xff;
			set_header(HEADER + i * 16, VIRTIO_BLK_T_OUT,
				   whole ? 1024 + i * 8 : 512 + i);
			fake_indirect(&fake, 0xc0000 + i * 64, buffers, 3);
		}
		fake_kick(&fake);
		for (unsigned int i = 0; i < n; i++)
			cr_assert(fake_wait_used(&fake, &elem));
		for (unsigned int i = 0; i < n; i++) {
			cr_expect_eq(*(uint8_t *)fake_ptr(&fake, STATUS + 0x1000 + i, 1),
				     VIRTIO_BLK_S_OK);
			cr_assert(file_has(i % 9 == 8 ? 1024 + i * 8 : 512 + i,
					   (uint8_t)('0' + (i + round) % 64)),
				  "request %u", i);
		}
	}
}

BOTH(reset_in_the_middle_of_patches)
{
	large_blocks();
	for (int round = 0; round < 10; round++) {
		for (unsigned int i = 0; i < 32; i++) {
			const struct fake_buffer buffers[] = { { HEADER, 16, false },
							       { DATA + i * 512, 512, i & 1 },
							       { STATUS, 1, true } };

			set_header(HEADER, i & 1 ? VIRTIO_BLK_T_IN : VIRTIO_BLK_T_OUT, 9);
			fake_chain(&fake, buffers, 3);
		}
		fake_kick(&fake);
		event_loop_run_once(fake.loop, false);
		fake_drive(&fake, FEATURE(FLUSH), 256);
	}
	cr_expect_eq(request(VIRTIO_BLK_T_IN, 10, DATA, 512, NULL), VIRTIO_BLK_S_OK);
}

BOTH(a_file_that_shrank_is_an_error_for_the_request)
{
	cr_assert_eq(ftruncate(file, 4096), 0);
	large_blocks();
	cr_expect_eq(request(VIRTIO_BLK_T_IN, 9, DATA, 512, NULL), VIRTIO_BLK_S_IOERR);
	cr_expect_eq(request(VIRTIO_BLK_T_OUT, 9, DATA, 512, NULL), VIRTIO_BLK_S_IOERR);
	cr_expect_eq(request(VIRTIO_BLK_T_IN, 7, DATA, 512, NULL), VIRTIO_BLK_S_OK);
	cr_expect_eq(device_status(), 15);
}

static const char *refusal(int fd, bool direct)
{
	static struct error err;
	struct blk_file opened;
	int ret = blk_file_open(
		&opened, &(struct blk_file_params){ .drive = "vdb", .fd = fd, .direct = direct },
		&err);

	if (ret == 0)
		blk_file_close(&opened);
	return ret < 0 ? err.text : "";
}

Test(blk_direct, a_descriptor_may_be_direct_already)
{
	struct error err;
	struct blk_file opened;
	char path[32];

	make_file_in("/tmp");
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	cr_assert_eq(blk_file_open(&opened,
				   &(struct blk_file_params){
					   .drive = "vda",
					   .fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC) },
				   &err),
		     0);
	cr_expect(opened.direct);
	cr_expect_gt(opened.io_align, 1);
	blk_file_close(&opened);
}

/* /proc has regular files and no O_DIRECT. */
Test(blk_direct, a_filesystem_without_it_is_named)
{
	const char *text = refusal(open("/proc/sys/kernel/hostname", O_RDWR | O_CLOEXEC), true);

	cr_expect(strstr(text, "drive vdb") && strstr(text, "has no direct I/O"), "%s", text);
}
