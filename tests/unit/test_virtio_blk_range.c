/* Discard and write-zeroes: on a disk's filesystem, in memory, and on a block device. */
#include "tests/unit/blk_driver.h"
#include "tests/unit/loop_disk.h"

#define DISCARD VIRTIO_BLK_T_DISCARD
#define ZEROES VIRTIO_BLK_T_WRITE_ZEROES
#define UNMAP VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP

#define BOTH(name) ENGINES(virtio_blk_range, name, .num_queues = 1)
/* tmpfs can punch holes, but it has no ZERO_RANGE. */
#define IN_MEMORY(name) ENGINES_IN("/dev/shm", virtio_blk_range, name, .num_queues = 1)

static uint64_t blocks(void)
{
	struct stat st;

	cr_assert_eq(fstat(file, &st), 0);
	cr_expect_eq(st.st_size, SECTORS * 512);
	return (uint64_t)st.st_blocks;
}

static void expect_zeroes(uint64_t first, uint64_t count)
{
	for (uint64_t i = first; i < first + count; i++)
		cr_assert_eq(number_of(i), 0, "sector %lu", i);
	cr_expect_eq(number_of(first - 1), first - 1);
	cr_expect_eq(number_of(first + count), first + count);
}

BOTH(discard_frees_space)
{
	const uint64_t before = blocks();

	cr_expect_eq(range(DISCARD, 64, 64, 0), VIRTIO_BLK_S_OK);
	expect_zeroes(64, 64);
	cr_expect_eq(blocks(), before - 64);
}

BOTH(zeroes_that_keep_the_space)
{
	const uint64_t before = blocks();

	cr_expect_eq(range(ZEROES, 101, 77, 0), VIRTIO_BLK_S_OK);
	expect_zeroes(101, 77);
	cr_expect_geq(blocks(), before, "ZERO_RANGE keeps blocks");
}

BOTH(zeroes_that_may_free_the_space)
{
	const uint64_t before = blocks();

	cr_expect_eq(range(ZEROES, 80, 80, UNMAP), VIRTIO_BLK_S_OK);
	expect_zeroes(80, 80);
	cr_expect_eq(blocks(), before - 80);
}

IN_MEMORY(zeroes_are_written_where_there_is_nothing_better)
{
	/* More than one part of 126 pages. */
	cr_expect_eq(range(ZEROES, 3, 1500, 0), VIRTIO_BLK_S_OK);
	expect_zeroes(3, 1500);
	cr_expect(drive()->no_zero_range);
	cr_expect_eq(range(ZEROES, 1601, 1, 0), VIRTIO_BLK_S_OK);
	expect_zeroes(1601, 1);
}

IN_MEMORY(zeroes_by_a_hole)
{
	cr_expect_eq(range(ZEROES, 80, 80, UNMAP), VIRTIO_BLK_S_OK);
	expect_zeroes(80, 80);
	cr_expect_not(drive()->no_punch);
}

BOTH(zeroes_when_there_are_no_holes)
{
	drive()->no_punch = drive()->no_zero_range = true;
	cr_expect_eq(range(ZEROES, 80, 81, UNMAP), VIRTIO_BLK_S_OK);
	expect_zeroes(80, 81);
}

BOTH(nothing_of_nothing)
{
	cr_expect_eq(range(ZEROES, 5, 0, 0), VIRTIO_BLK_S_OK);
	cr_expect_eq(range(DISCARD, SECTORS, 0, 0), VIRTIO_BLK_S_OK);
	cr_expect_eq(number_of(5), 5);
}

static void expect_refused(uint32_t type, uint64_t sector, uint32_t sectors, uint32_t flags,
			   uint8_t status)
{
	cr_expect_eq(range(type, sector, sectors, flags), status, "%u %lu %u %#x", type, sector,
		     sectors, flags);
}

BOTH(lie_range_beyond_the_end)
{
	static const struct {
		uint64_t sector;
		uint32_t sectors;
	} lies[] = { { SECTORS, 1 },	    { SECTORS - 1, 2 }, { 0, SECTORS + 1 },
		     { UINT64_MAX, 1 },	    { UINT64_MAX, 2 },	{ UINT64_MAX / 512 + 1, 8 },
		     { 1ull << 55, 1 },	    { 0, UINT32_MAX },	{ INT64_MAX, UINT32_MAX },
		     { 1, 0x00800000 | 1 }, { SECTORS + 1, 0 } };

	for (size_t i = 0; i < ARRAY_SIZE(lies); i++) {
		expect_refused(DISCARD, lies[i].sector, lies[i].sectors, 0, VIRTIO_BLK_S_IOERR);
		expect_refused(ZEROES, lies[i].sector, lies[i].sectors, UNMAP, VIRTIO_BLK_S_IOERR);
	}
	for (uint64_t i = 0; i < SECTORS; i++)
		cr_assert_eq(number_of(i), i);
}

BOTH(lie_flags_that_do_not_exist)
{
	expect_refused(DISCARD, 0, 8, UNMAP, VIRTIO_BLK_S_UNSUPP);
	expect_refused(DISCARD, 0, 8, 2, VIRTIO_BLK_S_UNSUPP);
	expect_refused(ZEROES, 0, 8, 2, VIRTIO_BLK_S_UNSUPP);
	expect_refused(ZEROES, 0, 8, UINT32_MAX, VIRTIO_BLK_S_UNSUPP);
	cr_expect_eq(number_of(1), 1);
}

BOTH(lie_segments_that_are_not_one)
{
	static const uint32_t lengths[] = { 1, 15, 17, 32, 4096 };

	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		memset(fake_ptr(&fake, DATA, 4096), 0, 4096);
		cr_expect_eq(request(DISCARD, 0, DATA, lengths[i], NULL), VIRTIO_BLK_S_IOERR);
		cr_expect_eq(request(ZEROES, 0, DATA, lengths[i], NULL), VIRTIO_BLK_S_IOERR);
	}
	cr_expect_eq(request(DISCARD, 0, 0, 0, NULL), VIRTIO_BLK_S_IOERR);
	cr_expect_eq(device_status(), 15);
}

/* The segment cut up like anything else. */
BOTH(any_framing_will_do)
{
	const struct fake_buffer buffers[] = { { HEADER, 9, false },
					       { HEADER + 9, 12, false },
					       { HEADER + 21, 11, false },
					       { STATUS, 1, true } };
	struct vring_used_elem elem;

	set_header(HEADER, ZEROES, 0);
	*(struct virtio_blk_discard_write_zeroes *)fake_ptr(&fake, HEADER + 16, 16) =
		(struct virtio_blk_discard_write_zeroes){ .sector = 50, .num_sectors = 2 };
	*status_byte() = 0xff;
	fake_chain(&fake, buffers, 4);
	fake_kick(&fake);
	cr_assert(fake_wait_used(&fake, &elem));
	cr_expect_eq(*status_byte(), VIRTIO_BLK_S_OK);
	expect_zeroes(50, 2);
}

BOTH(what_was_not_negotiated_is_unsupported)
{
	fake_drive(&fake, FEATURE(FLUSH), 64);
	expect_refused(DISCARD, 0, 8, 0, VIRTIO_BLK_S_UNSUPP);
	expect_refused(ZEROES, 0, 8, 0, VIRTIO_BLK_S_UNSUPP);
}

ENGINES(virtio_blk_range, read_only_is_not_changed, .read_only = true)
{
	cr_expect_not(offered() & (FEATURE(DISCARD) | FEATURE(WRITE_ZEROES)));
	expect_refused(DISCARD, 0, 8, 0, VIRTIO_BLK_S_IOERR);
	expect_refused(ZEROES, 8, 8, 0, VIRTIO_BLK_S_IOERR);
	cr_expect_eq(number_of(9), 9);
}

/* Block devices: a loop device over the file, which passes discards on as holes. */
static void on_a_device(enum event_loop_kind kind, unsigned int block_size, bool direct)
{
	int image, device;

	make_file_in("/tmp");
	image = file;
	device = loop_disk_attach(image, block_size);
	file = device;
	fake_init(&fake, kind);
	create_with((struct virtio_blk_params){ .direct = direct });
	fake_drive(&fake, offered(), 256);
	cr_expect_eq(drive()->config.blk_size, block_size);

	cr_expect_eq(range(DISCARD, 63, 129, 0), VIRTIO_BLK_S_OK);
	cr_expect_eq(number_of(64), 0);
	cr_expect_eq(number_of(191), 0);
	cr_expect_eq(number_of(192), 192);
	cr_expect_eq(number_of(63), block_size == 512 ? 0 : 63, "whole blocks only");
	cr_expect_eq(range(DISCARD, 1001, 6, 0), VIRTIO_BLK_S_OK);
	cr_expect_eq(range(ZEROES, 803, 17, 0), VIRTIO_BLK_S_OK);
	expect_zeroes(803, 17);
	cr_expect_eq(range(ZEROES, 903, 17, UNMAP), VIRTIO_BLK_S_OK);
	expect_zeroes(903, 17);
	cr_expect_eq(request(VIRTIO_BLK_T_IN, 1111, DATA + 3, 512 * 3, NULL), VIRTIO_BLK_S_OK);
	cr_expect_eq(device_status(), 15);
	fake_fini(&fake);
	close(device);
	close(image);
}

Test(virtio_blk_range, device_uring)
{
	on_a_device(EVENT_LOOP_URING, 512, false);
}

Test(virtio_blk_range, device_threads)
{
	on_a_device(EVENT_LOOP_EPOLL, 512, false);
}

Test(virtio_blk_range, device_of_large_blocks_uring)
{
	on_a_device(EVENT_LOOP_URING, 4096, false);
}

Test(virtio_blk_range, direct_device_of_large_blocks_uring)
{
	on_a_device(EVENT_LOOP_URING, 4096, true);
}

Test(virtio_blk_range, direct_device_of_large_blocks_threads)
{
	on_a_device(EVENT_LOOP_EPOLL, 4096, true);
}
