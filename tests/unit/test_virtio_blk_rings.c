/* What a driver can do to the rings of a live drive: reset them in mid-I/O, have the disk read into them, run their
 * indices around. */
#include <pthread.h>

#include "tests/unit/blk_driver.h"

#define QUEUE_RESET 0x0c0u
#define RING_RESET (1ull << VIRTIO_F_RING_RESET)
#define READS 32u

#define HEADERS_1 0x10000u
#define DATA_1 0x40000u
#define RINGS_2 0x30000u
#define HEADERS_2 0x18000u
#define DATA_2 0x80000u

#define QUEUES(name) ENGINES(virtio_blk_rings, name, .num_queues = 2, .queue_size = 64)
#define ONE(name) ENGINES(virtio_blk_rings, name, .queue_size = 64)

static struct fake_driver second; /* of the drive's other queue */

static void drive_both(void)
{
	second = fake;
	second.queue = 1;
	fake_place_rings_at(&second, RINGS_2, 64);
	cr_assert(fake_negotiate(&fake, offered()));
	fake_place_rings(&fake, 64);
	cr_assert(fake_setup_queue(&fake));
	cr_assert(fake_setup_queue(&second));
	fake_write(&fake, VIRTIO_MMIO_STATUS, 15);
}

/* One read of 4 KiB at sector 8 * slot into page `slot` behind `data`; its status is status[slot]. */
static void ask(struct fake_driver *driver, uint64_t header, uint64_t data, unsigned int slot)
{
	const uint64_t at = header + slot * 32;
	const struct fake_buffer buffers[] = { { at, 16, false },
					       { data + slot * 4096, 4096, true },
					       { at + 16, 1, true } };

	set_header(at, VIRTIO_BLK_T_IN, 8 * slot);
	*(uint8_t *)fake_ptr(&fake, at + 16, 1) = 0xff;
	fake_indirect(driver, header + 0x1000 + slot * 64, buffers, ARRAY_SIZE(buffers));
}

static void ask_both(void)
{
	for (unsigned int i = 0; i < READS; i++) {
		ask(&fake, HEADERS_1, DATA_1, i);
		ask(&second, HEADERS_2, DATA_2, i);
	}
	fake_kick(&fake);
	fake_kick(&second);
}

static void expect_answers(struct fake_driver *driver, uint64_t header, uint64_t data)
{
	struct vring_used_elem elem;

	for (unsigned int i = 0; i < READS; i++)
		cr_assert(fake_wait_used(driver, &elem), "queue %u, answer %u", driver->queue, i);
	for (unsigned int i = 0; i < READS; i++) {
		cr_expect_eq(*(uint8_t *)fake_ptr(&fake, header + i * 32 + 16, 1), VIRTIO_BLK_S_OK);
		cr_expect_eq(*(uint64_t *)fake_ptr(&fake, data + i * 4096, 8), 8 * i);
	}
}

/* Ring reset --------------------------------------------------------------------------------------*/

/* Once the reset has been answered nothing of that queue reaches memory any more, and the other queue has lost nothing. */
QUEUES(a_queue_is_reset_in_mid_io_and_its_neighbour_goes_on)
{
	for (unsigned int round = 0; round < 20; round++) {
		uint8_t *memory = fake_ptr(&fake, DATA_1, READS * 4096);
		uint8_t *used = fake_ptr(&fake, FAKE_USED, 4096);

		drive_both();
		ask_both();
		if (round % 2)
			event_loop_run_once(fake.loop, false);
		fake_write(&fake, VIRTIO_MMIO_QUEUE_SEL, 0);
		fake_write(&fake, QUEUE_RESET, 1);
		cr_expect_eq(fake_read(&fake, VIRTIO_MMIO_QUEUE_READY), 0);
		memset(memory, 0xee, READS * 4096);
		memset(used, 0, 4096);
		expect_answers(&second, HEADERS_2, DATA_2);
		fake_settle(&fake);
		for (unsigned int i = 0; i < READS * 4096; i++)
			cr_assert_eq(memory[i], 0xee);
		for (unsigned int i = 0; i < 4096; i++)
			cr_assert_eq(used[i], 0);
		fake_place_rings(&fake, 32);
		cr_assert(fake_setup_queue(&fake));
		for (unsigned int i = 0; i < READS; i++)
			ask(&fake, HEADERS_1, DATA_1, i);
		fake_kick(&fake);
		expect_answers(&fake, HEADERS_1, DATA_1);
	}
	cr_expect_eq(device_status(), 15);
}

QUEUES(a_queue_is_reset_that_does_not_exist_or_is_not_there)
{
	drive_both();
	for (uint32_t queue = 2; queue; queue *= 2) {
		fake_write(&fake, VIRTIO_MMIO_QUEUE_SEL, queue);
		fake_write(&fake, QUEUE_RESET, 1);
		fake_write(&fake, VIRTIO_MMIO_QUEUE_READY, 1);
	}
	fake_write(&fake, VIRTIO_MMIO_QUEUE_SEL, 1);
	for (unsigned int i = 0; i < 3; i++)
		fake_write(&fake, QUEUE_RESET, 1);
	ask(&fake, HEADERS_1, DATA_1, 3);
	fake_kick(&fake);
	cr_assert(fake_wait_used(&fake, &(struct vring_used_elem){ 0 }));
	cr_expect_eq(device_status(), 15);
}

/* A vCPU of its own, which resets one queue and sets it up again; QueueSel is everybody's, so that mostly fails. */
struct vcpu {
	pthread_t thread;
	struct fake_driver driver;
	uint64_t headers, data;
};

static void *reset_and_ask(void *arg)
{
	struct vcpu *vcpu = arg;

	for (unsigned int round = 0; round < 300; round++) {
		fake_write(&vcpu->driver, VIRTIO_MMIO_QUEUE_SEL, vcpu->driver.queue);
		fake_write(&vcpu->driver, QUEUE_RESET, 1);
		fake_setup_queue(&vcpu->driver);
		for (unsigned int i = 0; i < 8; i++)
			ask(&vcpu->driver, vcpu->headers, vcpu->data, i);
		fake_kick(&vcpu->driver);
	}
	return NULL;
}

static void reset_both_at_once(enum event_loop_kind kind)
{
	struct vcpu vcpus[2];
	struct vring_used_elem elem;

	log_set_level(LOG_OFF);
	make_file_in("/tmp");
	fake_init_started(&fake, kind);
	create_with((struct virtio_blk_params){ .num_queues = 2, .queue_size = 64 });
	drive_both();
	vcpus[0] = (struct vcpu){ .driver = fake, .headers = HEADERS_1, .data = DATA_1 };
	vcpus[1] = (struct vcpu){ .driver = second, .headers = HEADERS_2, .data = DATA_2 };
	for (unsigned int i = 0; i < 2; i++)
		pthread_create(&vcpus[i].thread, NULL, reset_and_ask, &vcpus[i]);
	for (unsigned int i = 0; i < 2; i++)
		pthread_join(vcpus[i].thread, NULL);
	fake_write(&fake, VIRTIO_MMIO_STATUS, 0);
	drive_both();
	ask(&fake, HEADERS_1, DATA_1, 1);
	fake_kick(&fake);
	for (unsigned int i = 0; i < 5000 && !fake_used(&fake, &elem); i++)
		usleep(1000);
	cr_expect_eq(*(uint8_t *)fake_ptr(&fake, HEADERS_1 + 48, 1), VIRTIO_BLK_S_OK);
	end();
}

Test(virtio_blk_rings, lie_two_queues_reset_at_once_uring)
{
	reset_both_at_once(EVENT_LOOP_URING);
}

Test(virtio_blk_rings, lie_two_queues_reset_at_once_threads)
{
	reset_both_at_once(EVENT_LOOP_EPOLL);
}

/* The disk in the rings ---------------------------------------------------------------------------*/

static void fill_disk(uint8_t byte)
{
	uint8_t bytes[4096];

	memset(bytes, byte, sizeof(bytes));
	cr_assert_eq(pwrite(file, bytes, sizeof(bytes), 0), (ssize_t)sizeof(bytes));
}

/* It writes where the driver tells it to, the rings too. It may find itself with a broken ring, no more. */
ONE(lie_data_that_lies_over_the_rings)
{
	static const uint8_t contents[] = { 0x00, 0x01, 0x07, 0x40, 0x80, 0xff };
	static const uint64_t places[] = { FAKE_DESC, FAKE_AVAIL, FAKE_USED, HEADER & ~4095ull };

	for (size_t i = 0; i < ARRAY_SIZE(contents) * ARRAY_SIZE(places); i++) {
		fill_disk(contents[i / ARRAY_SIZE(places)]);
		for (unsigned int n = 0; n < 8; n++) {
			const struct fake_buffer buffers[] = { { HEADER, 16, false },
							       { places[i % ARRAY_SIZE(places)],
								 4096, true },
							       { STATUS, 1, true } };

			set_header(HEADER, VIRTIO_BLK_T_IN, 0);
			fake_chain(&fake, buffers, ARRAY_SIZE(buffers));
		}
		fake_kick(&fake);
		fake_settle(&fake);
		fake_kick(&fake);
		fake_settle(&fake);
		fake_drive(&fake, offered(), 64);
		fill_disk(0);
		cr_expect_eq(request(VIRTIO_BLK_T_IN, 9, DATA, 512, NULL), VIRTIO_BLK_S_OK);
		cr_expect_eq(*(uint64_t *)fake_ptr(&fake, DATA, 8), 9);
	}
}

/* Header, data, status, indirect table and used ring are one and the same place. */
ONE(lie_everything_in_one_place)
{
	for (uint64_t at = FAKE_USED; at < FAKE_USED + 64; at++) {
		const struct fake_buffer buffers[] = { { at, 16, false },
						       { at, 512, true },
						       { at, 1, true } };

		fake_indirect(&fake, at & ~15ull, buffers, ARRAY_SIZE(buffers));
		fake_chain(&fake, buffers, ARRAY_SIZE(buffers));
		fake_kick(&fake);
		fake_settle(&fake);
		fake_drive(&fake, offered(), 64);
		cr_expect_eq(request(VIRTIO_BLK_T_IN, 9, DATA, 512, NULL), VIRTIO_BLK_S_OK);
	}
}

/* Indices -----------------------------------------------------------------------------------------*/

/* 140,000 requests, in batches whose size is no power of two: both indices wrap, and each event index with them. */
ONE(indices_wrap_with_the_event_index)
{
	struct vring_used_elem elem;

	for (unsigned int sent = 0; sent < 140000; sent += 13) {
		const int interrupts = atomic_load(&fake.interrupts);

		for (unsigned int i = 0; i < 13; i++) {
			const struct fake_buffer buffers[] = { { HEADER, 16, false },
							       { STATUS, 1, true } };

			set_header(HEADER, 99, 0); /* no such request: answered at once */
			fake_indirect(&fake, 0x60000 + i * 64, buffers, ARRAY_SIZE(buffers));
		}
		/* Wants an interrupt with the last of them, and no other. */
		*(uint16_t *)(void *)&fake.avail->ring[64] = (uint16_t)(fake.last_used + 12);
		fake_kick(&fake);
		for (unsigned int i = 0; i < 13; i++)
			cr_assert(fake_wait_used(&fake, &elem), "after %u", sent);
		cr_assert_eq(atomic_load(&fake.interrupts), interrupts + 1, "after %u", sent);
	}
	cr_expect_eq(device_status(), 15);
}

/* While it waits for more of what came lately, the index jumps. */
ONE(lie_an_index_jumps_while_it_gathers)
{
	struct vring_used_elem elem;

	for (unsigned int round = 0; round < 8; round++) {
		for (unsigned int i = 0; i < 20; i++)
			ask(&fake, HEADERS_1, DATA_1, i);
		fake_kick(&fake);
		for (unsigned int i = 0; i < 20; i++)
			cr_assert(fake_wait_used(&fake, &elem));
	}
	cr_expect_gt(fake.dev->queues[0].gather.target, 1);
	ask(&fake, HEADERS_1, DATA_1, 0);
	fake_kick(&fake);
	event_loop_run_once(fake.loop, false);
	fake.avail->idx += 1000;
	fake_kick(&fake);
	fake_settle(&fake);
	for (unsigned int i = 0; i < 1000 && !(device_status() & VIRTIO_CONFIG_S_NEEDS_RESET);
	     i++) {
		usleep(1000);
		fake_settle(&fake);
	}
	cr_expect(device_status() & VIRTIO_CONFIG_S_NEEDS_RESET);
	fake_drive(&fake, offered() | RING_RESET, 64);
	cr_expect_eq(request(VIRTIO_BLK_T_IN, 9, DATA, 512, NULL), VIRTIO_BLK_S_OK);
}
