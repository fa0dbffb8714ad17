/* The register file, by way of an rng: negotiation, queue registers, status, and lies about them. */
#include <criterion/criterion.h>
#include <linux/virtio_ids.h>
#include <pthread.h>

#include "tests/unit/fake_driver.h"
#include "virtio/virtio_rng.h"

#define VERSION_1 (1ull << VIRTIO_F_VERSION_1)
#define RING_RESET (1ull << VIRTIO_F_RING_RESET)
#define QUEUE_RESET 0x0c0

static struct fake_driver fake;

static void init(void)
{
	fake_init(&fake, EVENT_LOOP_EPOLL);
	cr_assert_eq(
		virtio_rng_create(&fake.dev, "rng", NULL, &fake.mem, fake.loop, &fake.irq, NULL),
		0);
	log_set_level(LOG_ERROR);
}

static void fini(void)
{
	fake_fini(&fake);
}

TestSuite(virtio_mmio, .init = init, .fini = fini);

static uint32_t status(void)
{
	return fake_read(&fake, VIRTIO_MMIO_STATUS);
}

static const struct fake_buffer buffer = { FAKE_DATA, 64, true };

static bool answers(void)
{
	struct vring_used_elem elem;

	fake_chain(&fake, &buffer, 1);
	fake_kick(&fake);
	return fake_wait_used(&fake, &elem) && elem.len == 64;
}

/* Reading ----------------------------------------------------------------------------------------*/

Test(virtio_mmio, identity)
{
	cr_expect_eq(fake_read(&fake, VIRTIO_MMIO_MAGIC_VALUE), 0x74726976);
	cr_expect_eq(fake_read(&fake, VIRTIO_MMIO_VERSION), 2);
	cr_expect_eq(fake_read(&fake, VIRTIO_MMIO_DEVICE_ID), VIRTIO_ID_RNG);
	cr_expect_eq(fake_read(&fake, VIRTIO_MMIO_VENDOR_ID), VIRTIO_MMIO_VENDOR);
	cr_expect_eq(fake_read(&fake, VIRTIO_MMIO_SHM_LEN_LOW), UINT32_MAX);
	cr_expect_eq(fake_read(&fake, VIRTIO_MMIO_SHM_LEN_HIGH), UINT32_MAX);
	cr_expect_eq(status(), 0);
}

Test(virtio_mmio, features_in_two_words_and_no_third)
{
	fake_write(&fake, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
	cr_expect_eq(fake_read(&fake, VIRTIO_MMIO_DEVICE_FEATURES),
		     1u << VIRTIO_RING_F_INDIRECT_DESC | 1u << VIRTIO_RING_F_EVENT_IDX);
	fake_write(&fake, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
	cr_expect_eq(fake_read(&fake, VIRTIO_MMIO_DEVICE_FEATURES),
		     1u | 1u << (VIRTIO_F_RING_RESET - 32));
	fake_write(&fake, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 2);
	cr_expect_eq(fake_read(&fake, VIRTIO_MMIO_DEVICE_FEATURES), 0);
}

Test(virtio_mmio, a_queue_that_is_not_there_has_size_zero)
{
	cr_expect_eq(fake_read(&fake, VIRTIO_MMIO_QUEUE_NUM_MAX), 64);
	fake_write(&fake, VIRTIO_MMIO_QUEUE_SEL, 1);
	cr_expect_eq(fake_read(&fake, VIRTIO_MMIO_QUEUE_NUM_MAX), 0);
	fake_write(&fake, VIRTIO_MMIO_QUEUE_READY, 1);
	cr_expect_eq(fake_read(&fake, VIRTIO_MMIO_QUEUE_READY), 0);
	cr_expect_eq(virtio_device_notify_fd(fake.dev, 1), -EINVAL);
}

Test(virtio_mmio, lie_reads_of_any_width_and_offset)
{
	for (uint64_t offset = 0; offset < 0x1100; offset++) {
		for (unsigned int len = 1; len <= 8; len++) {
			uint8_t data[8 + 1] = { [8] = 0xaa };

			virtio_mmio_read(fake.dev, offset, data, len);
			cr_expect_eq(data[8], 0xaa);
			if (len != 4 || offset % 4)
				for (unsigned int i = 0; i < len; i++)
					cr_expect_eq(data[i], 0);
		}
	}
	virtio_mmio_read(fake.dev, UINT64_MAX - 3, &(uint64_t){ 0 }, 8);
}

/* Negotiation ------------------------------------------------------------------------------------*/

Test(virtio_mmio, lie_configuration_that_is_not_there)
{
	uint32_t word;

	virtio_mmio_read(fake.dev, VIRTIO_MMIO_CONFIG, &word, 4);
	cr_expect_eq(fake.dev->config_fails, 1);
	virtio_mmio_write(fake.dev, VIRTIO_MMIO_CONFIG + 8, &word, 4);
	cr_expect_eq(fake.dev->config_fails, 2);
}

Test(virtio_mmio, what_was_offered_is_accepted)
{
	cr_expect(fake_negotiate(&fake, VERSION_1));
	cr_expect(fake_negotiate(&fake, VERSION_1 | RING_RESET));
}

Test(virtio_mmio, lie_features_that_were_not_offered)
{
	cr_expect(!fake_negotiate(&fake, VERSION_1 | 1));
	cr_expect(!fake_negotiate(&fake, VERSION_1 | 1ull << VIRTIO_F_RING_PACKED));
	cr_expect(!fake_negotiate(&fake, VERSION_1 | 1ull << 63));
}

Test(virtio_mmio, lie_features_beyond_bit_63)
{
	fake_write(&fake, VIRTIO_MMIO_STATUS, 3);
	fake_write(&fake, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 2);
	fake_write(&fake, VIRTIO_MMIO_DRIVER_FEATURES, 1);
	fake_write(&fake, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	fake_write(&fake, VIRTIO_MMIO_DRIVER_FEATURES, 1);
	fake_write(&fake, VIRTIO_MMIO_STATUS, 3 | VIRTIO_CONFIG_S_FEATURES_OK);
	cr_expect_eq(status(), 3);
}

Test(virtio_mmio, a_driver_from_before_version_1_is_refused)
{
	cr_expect(!fake_negotiate(&fake, 0));
}

Test(virtio_mmio, features_are_fixed_once_agreed)
{
	cr_assert(fake_negotiate(&fake, VERSION_1));
	fake_write(&fake, VIRTIO_MMIO_DRIVER_FEATURES, UINT32_MAX);
	fake_place_rings(&fake, 64);
	cr_assert(fake_setup_queue(&fake));
	fake_write(&fake, VIRTIO_MMIO_STATUS, status() | VIRTIO_CONFIG_S_DRIVER_OK);
	cr_expect(answers());
}

Test(virtio_mmio, lie_driver_ok_without_features_ok)
{
	fake_write(&fake, VIRTIO_MMIO_STATUS, 3);
	fake_write(&fake, VIRTIO_MMIO_STATUS, 3 | VIRTIO_CONFIG_S_DRIVER_OK);
	cr_expect_eq(status(), 3);
}

Test(virtio_mmio, lie_status_bits_taken_back)
{
	fake_drive(&fake, 0, 64);
	fake_write(&fake, VIRTIO_MMIO_STATUS, 3);
	cr_expect_eq(status(), 15);
	cr_expect(answers());
}

Test(virtio_mmio, lie_driver_sets_needs_reset_itself)
{
	fake_drive(&fake, 0, 64);
	fake_write(&fake, VIRTIO_MMIO_STATUS, 15 | VIRTIO_CONFIG_S_NEEDS_RESET);
	cr_expect_eq(status(), 15);
	cr_expect(answers());
}

/* Queue registers --------------------------------------------------------------------------------*/

Test(virtio_mmio, queue_registers_move_only_between_features_ok_and_ready)
{
	fake_place_rings(&fake, 64);
	cr_expect(!fake_setup_queue(&fake), "before FEATURES_OK");
	cr_assert(fake_negotiate(&fake, VERSION_1));
	cr_expect(fake_setup_queue(&fake));
	/* Ready: a move to nowhere does nothing. */
	fake_write(&fake, VIRTIO_MMIO_QUEUE_DESC_LOW, 0x7ffffff0);
	fake_write(&fake, VIRTIO_MMIO_QUEUE_NUM, 3);
	fake_write(&fake, VIRTIO_MMIO_STATUS, 15);
	cr_expect(answers());
	cr_expect_eq(status(), 15);
}

Test(virtio_mmio, lie_impossible_ring_needs_a_reset)
{
	cr_assert(fake_negotiate(&fake, VERSION_1));
	fake_place_rings(&fake, 64);
	fake.layout.avail = FAKE_LOW_END - 2;
	cr_expect(!fake_setup_queue(&fake));
	cr_expect_eq(status(), 11 | VIRTIO_CONFIG_S_NEEDS_RESET);
	cr_expect_eq(fake.interrupts, 0, "no driver is there to be told yet");
	fake_drive(&fake, 0, 64);
	cr_expect(answers(), "a reset heals it");
}

Test(virtio_mmio, lie_queue_size_that_wraps_to_a_small_one)
{
	cr_assert(fake_negotiate(&fake, VERSION_1));
	fake_place_rings(&fake, 64);
	fake_setup_queue(&fake);
	fake_write(&fake, VIRTIO_MMIO_QUEUE_READY, 0);
	fake_write(&fake, VIRTIO_MMIO_QUEUE_DESC_LOW, FAKE_DESC);
	fake_write(&fake, VIRTIO_MMIO_QUEUE_AVAIL_LOW, FAKE_AVAIL);
	fake_write(&fake, VIRTIO_MMIO_QUEUE_USED_LOW, FAKE_USED);
	fake_write(&fake, VIRTIO_MMIO_QUEUE_NUM, 0x10040);
	fake_write(&fake, VIRTIO_MMIO_QUEUE_READY, 1);
	cr_expect_eq(fake_read(&fake, VIRTIO_MMIO_QUEUE_READY), 0);
}

Test(virtio_mmio, a_live_ring_is_reset_and_set_up_again)
{
	fake_drive(&fake, RING_RESET, 64);
	cr_expect(answers());
	fake_write(&fake, QUEUE_RESET, 1);
	cr_expect_eq(fake_read(&fake, QUEUE_RESET), 0);
	cr_expect_eq(fake_read(&fake, VIRTIO_MMIO_QUEUE_READY), 0);
	fake_place_rings(&fake, 16);
	cr_expect(fake_setup_queue(&fake));
	cr_expect(answers());
}

Test(virtio_mmio, lie_ring_reset_that_was_not_negotiated)
{
	fake_drive(&fake, 0, 64);
	fake_write(&fake, QUEUE_RESET, 1);
	cr_expect_eq(fake_read(&fake, VIRTIO_MMIO_QUEUE_READY), 1);
	cr_expect(answers());
}

/* 4.2.2.2: a driver that stops using a queue writes 0 to QueueReady. */
Test(virtio_mmio, a_queue_that_is_not_ready_any_more_is_not_served)
{
	fake_drive(&fake, 0, 64);
	fake_write(&fake, VIRTIO_MMIO_QUEUE_READY, 0);
	fake_chain(&fake, &buffer, 1);
	fake_kick(&fake);
	fake_settle(&fake);
	cr_expect_eq(fake.used->idx, 0);
	cr_expect(!fake_setup_queue(&fake), "not again without RING_RESET");
}

/* Running ----------------------------------------------------------------------------------------*/

Test(virtio_mmio, nothing_is_served_before_driver_ok_and_everything_after)
{
	struct vring_used_elem elem;

	cr_assert(fake_negotiate(&fake, VERSION_1));
	fake_place_rings(&fake, 64);
	cr_assert(fake_setup_queue(&fake));
	fake_chain(&fake, &buffer, 1);
	fake_kick(&fake);
	fake_settle(&fake);
	cr_expect(!fake_used(&fake, &elem));
	fake_write(&fake, VIRTIO_MMIO_STATUS, 15);
	cr_expect(fake_wait_used(&fake, &elem), "without another notification");
}

Test(virtio_mmio, interrupt_status_is_set_and_acknowledged)
{
	fake_drive(&fake, 0, 64);
	cr_expect(answers());
	cr_expect_eq(fake.interrupts, 1);
	cr_expect_eq(fake_read(&fake, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_VRING);
	fake_write(&fake, VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_CONFIG);
	cr_expect_eq(fake_read(&fake, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_VRING);
	fake_write(&fake, VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_VRING);
	cr_expect_eq(fake_read(&fake, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
}

Test(virtio_mmio, a_batch_interrupts_once)
{
	struct vring_used_elem elem;

	fake_drive(&fake, 0, 64);
	for (int i = 0; i < 5; i++)
		fake_chain(&fake, &buffer, 1);
	fake_kick(&fake);
	for (int i = 0; i < 5; i++)
		cr_expect(fake_wait_used(&fake, &elem));
	cr_expect_eq(fake.interrupts, 1);
}

Test(virtio_mmio, a_full_ring_is_served_in_more_than_one_turn)
{
	struct vring_used_elem elem;

	fake_drive(&fake, 0, 64);
	for (int i = 0; i < 64; i++)
		fake_chain(&fake, &buffer, 1);
	fake_kick(&fake);
	event_loop_run_once(fake.loop, false);
	cr_expect_lt(fake.used->idx, 64, "others have their turn");
	for (int i = 0; i < 64; i++)
		cr_expect(fake_wait_used(&fake, &elem));
}

Test(virtio_mmio, notifications_by_register_of_any_width)
{
	const uint64_t queue = 0;
	struct vring_used_elem elem;

	fake_drive(&fake, 0, 64);
	for (unsigned int len = 1; len <= 8; len *= 2) {
		fake_chain(&fake, &buffer, 1);
		virtio_mmio_write(fake.dev, VIRTIO_MMIO_QUEUE_NOTIFY, &queue, len);
		cr_expect(fake_wait_used(&fake, &elem));
	}
	fake_write(&fake, VIRTIO_MMIO_QUEUE_NOTIFY, 1);
	fake_write(&fake, VIRTIO_MMIO_QUEUE_NOTIFY, UINT32_MAX);
}

Test(virtio_mmio, a_broken_ring_needs_a_reset_and_says_so)
{
	fake_drive(&fake, 0, 64);
	fake_offer(&fake, 64);
	fake_kick(&fake);
	fake_settle(&fake);
	cr_expect_eq(status(), 15 | VIRTIO_CONFIG_S_NEEDS_RESET);
	cr_expect_eq(fake_read(&fake, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_CONFIG);
	cr_expect_eq(fake.interrupts, 1);
	fake_chain(&fake, &buffer, 1);
	fake_kick(&fake);
	fake_settle(&fake);
	cr_expect_eq(fake.used->idx, 0, "served nothing more");
	fake_drive(&fake, 0, 64);
	cr_expect_eq(status(), 15);
	cr_expect_eq(fake_read(&fake, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
	cr_expect(answers());
}

Test(virtio_mmio, lie_rng_buffer_that_cannot_be_written)
{
	const struct fake_buffer readable = { FAKE_DATA, 64, false };

	fake_drive(&fake, 0, 64);
	fake_chain(&fake, &readable, 1);
	fake_kick(&fake);
	fake_settle(&fake);
	cr_expect(status() & VIRTIO_CONFIG_S_NEEDS_RESET);
}

Test(virtio_mmio, rng_fills_at_most_64_kib_with_something)
{
	const struct fake_buffer big = { FAKE_HIGH, 0x80000, true };
	struct vring_used_elem elem;
	const uint64_t *word = fake_ptr(&fake, FAKE_HIGH, 0x80000);

	fake_drive(&fake, 0, 64);
	fake_chain(&fake, &big, 1);
	fake_kick(&fake);
	cr_assert(fake_wait_used(&fake, &elem));
	cr_expect_eq(elem.len, 0x10000);
	cr_expect_neq(word[0], 0);
	cr_expect_neq(word[0x1fff], 0);
	cr_expect_eq(word[0x2000], 0);
}

Test(virtio_mmio, reset_forgets_everything)
{
	fake_drive(&fake, 0, 64);
	cr_expect(answers());
	fake_write(&fake, VIRTIO_MMIO_STATUS, 0);
	cr_expect_eq(status(), 0);
	cr_expect_eq(fake_read(&fake, VIRTIO_MMIO_QUEUE_READY), 0);
	cr_expect_eq(fake_read(&fake, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
	cr_expect_null(fake.dev->queues[0].notified.node, "no watch is armed");
	fake_drive(&fake, 0, 16);
	cr_expect(answers());
}

Test(virtio_mmio, pause_and_resume_lose_nothing)
{
	struct vring_used_elem elem;

	fake_drive(&fake, 0, 64);
	cr_expect(answers());
	virtio_device_pause(fake.dev);
	cr_expect_null(fake.dev->queues[0].notified.node);
	fake_chain(&fake, &buffer, 1);
	fake_kick(&fake);
	fake_settle(&fake);
	cr_expect(!fake_used(&fake, &elem));
	virtio_device_resume(fake.dev);
	cr_expect(fake_wait_used(&fake, &elem));
	cr_expect(answers());
}

/* Two vCPUs at once ------------------------------------------------------------------------------*/

/* No order, no sense: resets against starts against queue registers against notifications. */
static void *hammer(void *arg)
{
	static const uint32_t offsets[] = { VIRTIO_MMIO_STATUS,
					    VIRTIO_MMIO_STATUS,
					    VIRTIO_MMIO_QUEUE_READY,
					    VIRTIO_MMIO_QUEUE_NOTIFY,
					    QUEUE_RESET,
					    VIRTIO_MMIO_DRIVER_FEATURES,
					    VIRTIO_MMIO_INTERRUPT_ACK,
					    VIRTIO_MMIO_QUEUE_NUM,
					    VIRTIO_MMIO_QUEUE_SEL,
					    VIRTIO_MMIO_QUEUE_DESC_LOW,
					    VIRTIO_MMIO_QUEUE_NOTIFY };
	uint64_t state = *(uint64_t *)arg;

	for (int i = 0; i < 3000; i++) {
		uint32_t value;

		state = state * 6364136223846793005ull + 1442695040888963407ull;
		value = (uint32_t)(state >> 40) & 15;
		if (i % 20 == 0 && fake_negotiate(&fake, VERSION_1 | RING_RESET)) {
			fake_setup_queue(&fake);
			fake_write(&fake, VIRTIO_MMIO_STATUS, 15);
		}
		fake_write(&fake, offsets[(state >> 33) % ARRAY_SIZE(offsets)], value);
		(void)fake_read(&fake, offsets[(state >> 50) % ARRAY_SIZE(offsets)]);
	}
	return NULL;
}

Test(virtio_mmio_threads, lie_registers_from_two_vcpus_at_once)
{
	uint64_t seeds[2] = { 1, 2 };
	pthread_t threads[2];

	log_set_level(LOG_ERROR);
	fake_init_started(&fake, EVENT_LOOP_EPOLL);
	cr_assert_eq(
		virtio_rng_create(&fake.dev, "rng", NULL, &fake.mem, fake.loop, &fake.irq, NULL),
		0);
	fake_place_rings(&fake, 64);
	for (int i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, hammer, &seeds[i]);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	fake_drive(&fake, 0, 64);
	cr_expect_eq(status(), 15);
	fake_fini(&fake);
}

/* Notify storm: the other device on the loop still answers promptly. */
Test(virtio_mmio_threads, lie_notify_storm_leaves_the_loop_to_others)
{
	struct fake_driver other = { 0 };
	struct vring_used_elem elem;

	init();
	fake_drive(&fake, 0, 64);
	other = fake;
	cr_assert_eq(
		virtio_rng_create(&other.dev, "other", NULL, &fake.mem, fake.loop, &fake.irq, NULL),
		0);
	cr_assert(fake_negotiate(&other, VERSION_1));
	other.layout.desc += 0x20000;
	other.layout.avail += 0x20000;
	other.layout.used += 0x20000;
	other.desc = fake_ptr(&fake, other.layout.desc, 16);
	other.avail = fake_ptr(&fake, other.layout.avail, 16);
	other.used = fake_ptr(&fake, other.layout.used, 16);
	cr_assert(fake_setup_queue(&other));
	fake_write(&other, VIRTIO_MMIO_STATUS, 15);
	fake_chain(&other, &buffer, 1);
	fake_kick(&other);
	for (int turn = 0; turn < 3; turn++) {
		for (int i = 0; i < 1000; i++)
			fake_kick(&fake);
		for (int i = 0; i < 20; i++)
			fake_chain(&fake, &buffer, 1);
		event_loop_run_once(fake.loop, false);
	}
	cr_expect(fake_used(&other, &elem), "within three turns");
	virtio_device_destroy(other.dev);
	fini();
}
