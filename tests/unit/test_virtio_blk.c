/* The block device by real rings on a real file, over io_uring and over worker threads. */
#include "tests/unit/blk_driver.h"

#define FLUSH FEATURE(FLUSH)
#define BOTH(name) ENGINES(virtio_blk, name, .serial = "serial-0123456789abc")

/* What works -------------------------------------------------------------------------------------*/

BOTH(reads_a_sector)
{
	uint32_t written;

	cr_expect_eq(request(VIRTIO_BLK_T_IN, 7, DATA, 512, &written), VIRTIO_BLK_S_OK);
	cr_expect_eq(*(uint64_t *)fake_ptr(&fake, DATA, 8), 7);
	cr_expect_eq(written, 513);
}

BOTH(reads_the_last_sector_and_none_after_it)
{
	cr_expect_eq(request(VIRTIO_BLK_T_IN, SECTORS - 1, DATA, 512, NULL), VIRTIO_BLK_S_OK);
	cr_expect_eq(request(VIRTIO_BLK_T_IN, SECTORS - 1, DATA, 1024, NULL), VIRTIO_BLK_S_IOERR);
	cr_expect_eq(request(VIRTIO_BLK_T_IN, SECTORS, DATA, 512, NULL), VIRTIO_BLK_S_IOERR);
	cr_expect_eq(device_status(), 15);
}

BOTH(writes_what_the_guest_wrote)
{
	char back[4096];
	uint32_t written;

	memset(fake_ptr(&fake, DATA, 4096), 'x', 4096);
	cr_expect_eq(request(VIRTIO_BLK_T_OUT, 8, DATA, 4096, &written), VIRTIO_BLK_S_OK);
	cr_expect_eq(written, 1);
	cr_assert_eq(pread(file, back, sizeof(back), 4096), 4096);
	cr_expect_eq(memcmp(back, fake_ptr(&fake, DATA, 4096), 4096), 0);
	cr_expect_eq(request(VIRTIO_BLK_T_FLUSH, 0, 0, 0, NULL), VIRTIO_BLK_S_OK);
}

/* Reads and writes, each from when it was taken to the end of the turn that answers it; nothing else. */
BOTH(times_what_it_does)
{
	const struct latency *reads = &fake.dev->latencies[BLK_READ_TIMES];
	const struct latency *writes = &fake.dev->latencies[BLK_WRITE_TIMES];

	cr_expect_eq(request(VIRTIO_BLK_T_GET_ID, 0, DATA, 20, NULL), VIRTIO_BLK_S_OK);
	cr_expect_eq(request(VIRTIO_BLK_T_IN, SECTORS, DATA, 512, NULL), VIRTIO_BLK_S_IOERR);
	cr_expect_eq(reads->sum + writes->sum, 0);
	cr_expect_eq(request(VIRTIO_BLK_T_IN, 0, DATA, 512, NULL), VIRTIO_BLK_S_OK);
	cr_expect_gt(reads->min, 0);
	cr_expect(reads->min == reads->max && reads->max == reads->sum);
	cr_expect_eq(writes->sum, 0);
	cr_expect_eq(request(VIRTIO_BLK_T_OUT, 0, DATA, 512, NULL), VIRTIO_BLK_S_OK);
	cr_expect_eq(request(VIRTIO_BLK_T_OUT, 0, DATA, 512, NULL), VIRTIO_BLK_S_OK);
	cr_expect_leq(writes->min, writes->max);
	cr_expect_eq(writes->sum, writes->min + writes->max);
	cr_expect_lt(writes->sum, 10000000000u);
}

BOTH(tells_its_serial)
{
	cr_expect_eq(request(VIRTIO_BLK_T_GET_ID, 0, DATA, 20, NULL), VIRTIO_BLK_S_OK);
	cr_expect_eq(memcmp(fake_ptr(&fake, DATA, 20), "serial-0123456789abc", 20), 0);
	cr_expect_eq(request(VIRTIO_BLK_T_GET_ID, 0, DATA + 64, 4, NULL), VIRTIO_BLK_S_OK);
	cr_expect_eq(memcmp(fake_ptr(&fake, DATA + 64, 8), "seri\0\0\0\0", 8), 0);
}

BOTH(unknown_requests_are_unsupported)
{
	cr_expect_eq(request(99, 0, 0, 0, NULL), VIRTIO_BLK_S_UNSUPP);
	cr_expect_eq(device_status(), 15);
}

/* Every way to cut 16 bytes of header, 1,024 of data and a status into descriptors. */
BOTH(any_framing_will_do)
{
	for (uint32_t cut = 1; cut < 16; cut++) {
		const struct fake_buffer buffers[] = {
			{ HEADER, cut, false },
			{ HEADER + cut, 16 - cut, false },
			{ DATA, 100 + cut, true },
			{ DATA + 100 + cut, 512, true },
			{ DATA + 612 + cut, 412 - cut + 1, true }, /* the status at its end */
		};
		struct vring_used_elem elem;

		memset(fake_ptr(&fake, DATA, 2048), 0xee, 2048);
		set_header(HEADER, VIRTIO_BLK_T_IN, cut);
		fake_indirect(&fake, 0x30000, buffers, ARRAY_SIZE(buffers));
		fake_kick(&fake);
		cr_assert(fake_wait_used(&fake, &elem));
		cr_expect_eq(elem.len, 1025);
		cr_expect_eq(*(uint64_t *)fake_ptr(&fake, DATA, 8), cut);
		cr_expect_eq(*(uint64_t *)fake_ptr(&fake, DATA + 512, 8), cut + 1);
		cr_expect_eq(*(uint8_t *)fake_ptr(&fake, DATA + 1024, 1), VIRTIO_BLK_S_OK);
	}
}

BOTH(header_and_data_in_one_descriptor)
{
	const struct fake_buffer buffers[] = { { HEADER, 16 + 512, false }, { STATUS, 1, true } };
	struct vring_used_elem elem;
	uint64_t back;

	set_header(HEADER, VIRTIO_BLK_T_OUT, 3);
	*(uint64_t *)fake_ptr(&fake, HEADER + 16, 8) = 0x1122334455667788;
	fake_chain(&fake, buffers, 2);
	fake_kick(&fake);
	cr_assert(fake_wait_used(&fake, &elem));
	cr_expect_eq(*status_byte(), VIRTIO_BLK_S_OK);
	cr_assert_eq(pread(file, &back, 8, 3 * 512), 8);
	cr_expect_eq(back, 0x1122334455667788);
}

/* More requests than the submission queue holds, in one notification. */
BOTH(a_full_ring_of_requests_in_one_notification)
{
	const unsigned int n = 256;
	uint32_t seen = 0;

	for (unsigned int i = 0; i < n; i++) {
		const struct fake_buffer buffers[] = { { HEADER + i * 16, 16, false },
						       { DATA + i * 512, 512, true },
						       { STATUS + 0x4000 + i, 1, true } };

		set_header(HEADER + i * 16, VIRTIO_BLK_T_IN, i * 8);
		fake_indirect(&fake, 0x60000 + i * 64, buffers, 3);
	}
	fake_kick(&fake);
	for (struct vring_used_elem elem; seen < n; seen++)
		cr_assert(fake_wait_used(&fake, &elem));
	for (unsigned int i = 0; i < n; i++)
		cr_expect_eq(*(uint64_t *)fake_ptr(&fake, DATA + i * 512, 8), i * 8);
	cr_expect_geq(fake.dev->latencies[BLK_READ_TIMES].sum,
		      n * fake.dev->latencies[BLK_READ_TIMES].min);
	cr_expect_leq(fake.dev->latencies[BLK_READ_TIMES].sum,
		      n * fake.dev->latencies[BLK_READ_TIMES].max);
	cr_expect_eq(device_status(), 15);
}

BOTH(configuration_space)
{
	struct virtio_blk_config config = { 0 };

	virtio_mmio_read(fake.dev, VIRTIO_MMIO_CONFIG, &config, 8);
	cr_expect_eq(config.capacity, SECTORS);
	cr_expect_eq(fake_read(&fake, VIRTIO_MMIO_CONFIG + 4), 0);
	cr_expect_eq(
		fake_read(&fake, VIRTIO_MMIO_CONFIG + offsetof(struct virtio_blk_config, seg_max)),
		126);
	cr_expect_eq(fake.dev->config_fails, 0);
	fake_write(&fake, VIRTIO_MMIO_CONFIG, 0xffffffff);
	cr_expect_eq(fake_read(&fake, VIRTIO_MMIO_CONFIG), SECTORS);
	cr_expect_eq(fake.dev->config_fails, 1);
	virtio_mmio_read(fake.dev, VIRTIO_MMIO_CONFIG + sizeof(config) - 4, &config, 8);
	cr_expect_eq(fake.dev->config_fails, 2);
}

Test(virtio_blk, read_only_drive_refuses_writes)
{
	uint64_t back;

	begin(EVENT_LOOP_URING, "/tmp", (struct virtio_blk_params){ .read_only = true });
	cr_expect_eq(request(VIRTIO_BLK_T_OUT, 5, DATA, 512, NULL), VIRTIO_BLK_S_IOERR);
	cr_assert_eq(pread(file, &back, 8, 5 * 512), 8);
	cr_expect_eq(back, 5);
	cr_expect_eq(request(VIRTIO_BLK_T_IN, 5, DATA, 512, NULL), VIRTIO_BLK_S_OK);
	end();
}

/* A file truncated under us: an error for the request, and life goes on. */
BOTH(a_file_that_shrank_is_an_error_for_the_request)
{
	cr_assert_eq(ftruncate(file, 1024 + 100), 0);
	log_set_level(LOG_ERROR);
	cr_expect_eq(request(VIRTIO_BLK_T_IN, 4, DATA, 512, NULL), VIRTIO_BLK_S_IOERR);
	cr_expect_eq(request(VIRTIO_BLK_T_IN, 2, DATA, 512, NULL), VIRTIO_BLK_S_IOERR);
	cr_expect_eq(request(VIRTIO_BLK_T_IN, 1, DATA, 512, NULL), VIRTIO_BLK_S_OK);
	cr_expect_eq(device_status(), 15);
}

/* Lies -------------------------------------------------------------------------------------------*/

BOTH(lie_sector_arithmetic_that_overflows)
{
	static const uint64_t sectors[] = { UINT64_MAX, UINT64_MAX / 512, UINT64_MAX / 512 + 1,
					    1ull << 55, (1ull << 55) + 1, INT64_MAX };

	for (size_t i = 0; i < ARRAY_SIZE(sectors); i++) {
		cr_expect_eq(request(VIRTIO_BLK_T_IN, sectors[i], DATA, 512, NULL),
			     VIRTIO_BLK_S_IOERR);
		cr_expect_eq(request(VIRTIO_BLK_T_OUT, sectors[i], DATA, 512, NULL),
			     VIRTIO_BLK_S_IOERR);
	}
}

BOTH(lie_data_that_is_no_whole_sector)
{
	cr_expect_eq(request(VIRTIO_BLK_T_IN, 0, DATA, 511, NULL), VIRTIO_BLK_S_IOERR);
	cr_expect_eq(request(VIRTIO_BLK_T_OUT, 0, DATA, 513, NULL), VIRTIO_BLK_S_IOERR);
}

BOTH(lie_header_too_short)
{
	const struct fake_buffer buffers[] = { { HEADER, 15, false }, { STATUS, 1, true } };
	struct vring_used_elem elem;

	*status_byte() = 0xff;
	fake_chain(&fake, buffers, 2);
	fake_kick(&fake);
	cr_assert(fake_wait_used(&fake, &elem));
	cr_expect_eq(*status_byte(), VIRTIO_BLK_S_IOERR);
}

BOTH(lie_no_room_for_a_status)
{
	const struct fake_buffer buffers[] = { { HEADER, 16, false }, { DATA, 512, false } };

	fake_chain(&fake, buffers, 2);
	fake_kick(&fake);
	fake_settle(&fake);
	cr_expect(device_status() & VIRTIO_CONFIG_S_NEEDS_RESET);
	cr_expect_eq(fake.used->idx, 0);
}

/* Data in the direction that the request does not have: a read with nowhere to put it. */
BOTH(lie_wrong_direction)
{
	const struct fake_buffer buffers[] = { { HEADER, 16, false },
					       { DATA, 512, false },
					       { STATUS, 1, true } };
	struct vring_used_elem elem;

	memset(fake_ptr(&fake, DATA, 512), 0xee, 512);
	set_header(HEADER, VIRTIO_BLK_T_IN, 1);
	fake_chain(&fake, buffers, 3);
	fake_kick(&fake);
	cr_assert(fake_wait_used(&fake, &elem));
	cr_expect_eq(*(uint8_t *)fake_ptr(&fake, DATA, 1), 0xee);
	cr_expect_eq(elem.len, 1);
}

static uint8_t read_mebibytes(unsigned int n)
{
	struct fake_buffer buffers[BLK_IOV_MAX] = { { HEADER, 16, false } };
	struct vring_used_elem elem;

	for (unsigned int i = 0; i < n; i++)
		buffers[1 + i] = (struct fake_buffer){ FAKE_HIGH, MIB(1), true };
	buffers[1 + n] = (struct fake_buffer){ STATUS, 1, true };
	*status_byte() = 0xff;
	set_header(HEADER, VIRTIO_BLK_T_IN, 0);
	fake_indirect(&fake, 0x30000, buffers, n + 2);
	fake_kick(&fake);
	cr_assert(fake_wait_used(&fake, &elem));
	return *status_byte();
}

/* seg_max times size_max is what a request may be, and no chain makes it more. */
BOTH(lie_more_data_than_all_segments_may_have)
{
	struct error err = { 0 };

	cr_assert_eq(ftruncate(file, 1 << 30), 0);
	cr_assert_eq(virtio_blk_set_backing(fake.dev, NULL, dup(file), &err), 0, "%s", err.text);
	cr_expect_eq(read_mebibytes(BLK_SEG_MAX), VIRTIO_BLK_S_OK);
	cr_expect_eq(read_mebibytes(BLK_SEG_MAX + 1), VIRTIO_BLK_S_IOERR);
	cr_expect_eq(device_status(), 15);
}

/* A broken chain behind good ones: those are answered, and answered right. */
BOTH(lie_among_honest_requests)
{
	struct vring_used_elem elem;

	for (unsigned int i = 0; i < 10; i++) {
		const struct fake_buffer buffers[] = { { HEADER + i * 16, 16, false },
						       { DATA + i * 512, 512, true },
						       { STATUS + i, 1, true } };

		set_header(HEADER + i * 16, VIRTIO_BLK_T_IN, 100 + i);
		fake_chain(&fake, buffers, 3);
	}
	fake_chain(&fake, &(struct fake_buffer){ FAKE_LOW_END - 1, 2, true }, 1);
	fake_kick(&fake);
	for (unsigned int i = 0; i < 10; i++) {
		cr_assert(fake_wait_used(&fake, &elem));
		cr_expect_eq(*(uint64_t *)fake_ptr(&fake, DATA + i * 512, 8), 100 + i);
	}
	cr_expect(device_status() & VIRTIO_CONFIG_S_NEEDS_RESET);
	fake_drive(&fake, FLUSH, 64);
	cr_expect_eq(request(VIRTIO_BLK_T_IN, 9, DATA, 512, NULL), VIRTIO_BLK_S_OK);
}

/* When the reset returns nothing writes into guest memory any more. */
BOTH(lie_reset_in_the_middle_of_io)
{
	for (int round = 0; round < 20; round++) {
		uint8_t *used = fake_ptr(&fake, FAKE_USED, 4096);

		for (unsigned int i = 0; i < 64; i++) {
			const struct fake_buffer buffers[] = { { HEADER, 16, false },
							       { DATA + i * 4096, 4096, true },
							       { STATUS, 1, true } };

			set_header(HEADER, VIRTIO_BLK_T_IN, 8);
			fake_chain(&fake, buffers, 3);
		}
		fake_kick(&fake);
		event_loop_run_once(fake.loop, false);
		fake_write(&fake, VIRTIO_MMIO_STATUS, 0);
		memset(used, 0, 4096);
		memset(fake_ptr(&fake, DATA, 0x40000), 0, 0x40000);
		fake_settle(&fake);
		for (unsigned int i = 0; i < 4096; i++)
			cr_assert_eq(used[i], 0);
		for (unsigned int i = 0; i < 64; i++)
			cr_assert_eq(*(uint64_t *)fake_ptr(&fake, DATA + i * 4096, 8), 0);
		fake_drive(&fake, FLUSH, 256);
	}
	cr_expect_eq(request(VIRTIO_BLK_T_IN, 9, DATA, 512, NULL), VIRTIO_BLK_S_OK);
}

/* Destruction with requests in flight frees nothing that the kernel still writes to. */
BOTH(destroyed_in_the_middle_of_io)
{
	for (unsigned int i = 0; i < 64; i++) {
		const struct fake_buffer buffers[] = { { HEADER, 16, false },
						       { DATA, 4096, true },
						       { STATUS, 1, true } };

		set_header(HEADER, VIRTIO_BLK_T_IN, 8);
		fake_chain(&fake, buffers, 3);
	}
	fake_kick(&fake);
	event_loop_run_once(fake.loop, false);
}

/* With a thread, as in the monitor: 50,000 requests, each must be answered without a poll. */
static void storm(enum event_loop_kind kind)
{
	const unsigned int total = 20000;
	unsigned int sent = 0, done = 0;
	struct vring_used_elem elem;

	begin_started(kind, (struct virtio_blk_params){ 0 });
	fake_drive(&fake, FLUSH | INDIRECT | EVENT_IDX, 64);
	for (time_t stop = time(NULL) + 50; done < total && time(NULL) < stop;) {
		while (sent < total && sent - done < 32) {
			const unsigned int slot = sent % 64;
			const struct fake_buffer buffers[] = { { HEADER + slot * 16, 16, false },
							       { DATA + slot * 512, 512, true },
							       { STATUS + slot, 1, true } };

			set_header(HEADER + slot * 16, VIRTIO_BLK_T_IN, slot);
			fake_indirect(&fake, 0x60000 + slot * 64, buffers, 3);
			sent++;
			/* Only when asked for: a lost wake-up would hang us here. */
			if ((uint16_t)(fake.avail->idx -
				       __atomic_load_n((uint16_t *)(void *)&fake.used->ring[64],
						       __ATOMIC_SEQ_CST) -
				       1) < 1)
				fake_kick(&fake);
		}
		while (fake_used(&fake, &elem))
			done++;
	}
	cr_expect_eq(done, total);
	fake_fini(&fake);
}

Test(virtio_blk, no_notification_is_lost_uring)
{
	storm(EVENT_LOOP_URING);
}

Test(virtio_blk, no_notification_is_lost_threads)
{
	storm(EVENT_LOOP_EPOLL);
}
