/* The registers as memory that the guest may read: always what a read would have said. */
#include "tests/unit/blk_driver.h"
#include "virtio/virtio_device_state.h"

#define BOTH(name) ENGINES(virtio_mmio_page, name, .num_queues = 2)

static uint8_t page[PAGE_SIZE] __attribute__((aligned(PAGE_SIZE)));

static uint32_t shown(uint64_t offset)
{
	return *(const volatile uint32_t *)(const void *)(page + offset);
}

static void expect_truth(void)
{
	const uint64_t truth_end = VIRTIO_MMIO_CONFIG + fake.dev->config_size;

	for (uint64_t offset = 0; offset < truth_end; offset += 4)
		cr_expect_eq(shown(offset), fake_read(&fake, offset), "offset %#lx", offset);
}

static void step(uint64_t offset, uint32_t value)
{
	fake_write(&fake, offset, value);
	expect_truth();
}

BOTH(each_step_of_a_driver_is_seen)
{
	virtio_mmio_show(fake.dev, page);
	expect_truth();
	for (uint32_t status = 0; status <= 3; status += status + 1)
		step(VIRTIO_MMIO_STATUS, status);
	for (uint32_t half = 0; half < 3; half++)
		step(VIRTIO_MMIO_DEVICE_FEATURES_SEL, half);
	step(VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	step(VIRTIO_MMIO_DRIVER_FEATURES, 1);
	step(VIRTIO_MMIO_STATUS, 11);
	for (uint32_t queue = 0; queue < 3; queue++)
		step(VIRTIO_MMIO_QUEUE_SEL, queue);
	cr_expect_eq(shown(VIRTIO_MMIO_QUEUE_NUM_MAX), 0, "there is no third queue");
	cr_expect(fake_setup_queue(&fake));
	expect_truth();
	cr_expect_eq(shown(VIRTIO_MMIO_QUEUE_READY), 1);
	step(VIRTIO_MMIO_STATUS, 15);
	step(VIRTIO_MMIO_QUEUE_READY, 0);
	step(VIRTIO_MMIO_STATUS, 0);
	cr_expect_eq(shown(VIRTIO_MMIO_MAGIC_VALUE), 0x74726976);
}

BOTH(an_interrupt_and_its_acknowledgement_are_seen)
{
	virtio_mmio_show(fake.dev, page);
	cr_expect_eq(request(VIRTIO_BLK_T_IN, 7, DATA, 512, NULL), VIRTIO_BLK_S_OK);
	cr_expect_eq(shown(VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_VRING);
	expect_truth();
	step(VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_VRING);
	cr_expect_eq(shown(VIRTIO_MMIO_INTERRUPT_STATUS), 0);
}

/* What was pending when the page came is in it. */
BOTH(it_begins_with_what_there_was)
{
	cr_expect_eq(request(VIRTIO_BLK_T_IN, 7, DATA, 512, NULL), VIRTIO_BLK_S_OK);
	virtio_mmio_show(fake.dev, page);
	cr_expect_eq(shown(VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_VRING);
	expect_truth();
}

BOTH(a_broken_device_is_seen)
{
	virtio_mmio_show(fake.dev, page);
	fake_chain(&fake, &(struct fake_buffer){ FAKE_LOW_END - 1, 2, true }, 1);
	fake_kick(&fake);
	fake_settle(&fake);
	cr_expect(shown(VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET);
	expect_truth();
}

BOTH(another_size_is_seen)
{
	const uint64_t bigger = (SECTORS + 8) * 512;
	struct error err = { 0 };

	virtio_mmio_show(fake.dev, page);
	cr_assert_eq(ftruncate(file, (off_t)bigger), 0);
	cr_assert_eq(virtio_blk_set_backing(fake.dev, NULL, dup(file), &err), 0, "%s", err.text);
	cr_expect_eq(shown(VIRTIO_MMIO_CONFIG), SECTORS + 8);
	expect_truth();
}

static uint32_t generation_before;

static void look(struct virtio_device *dev, const void *arg)
{
	(void)dev;
	(void)arg;
	cr_expect_neq(shown(VIRTIO_MMIO_CONFIG_GENERATION), generation_before);
	generation_before = shown(VIRTIO_MMIO_CONFIG_GENERATION);
}

/* Whoever began to read before a change, or ends after it, finds another generation. */
BOTH(the_generation_is_another_before_and_after_a_change)
{
	virtio_mmio_show(fake.dev, page);
	generation_before = shown(VIRTIO_MMIO_CONFIG_GENERATION);
	virtio_device_change_config(fake.dev, look, NULL);
	cr_expect_neq(shown(VIRTIO_MMIO_CONFIG_GENERATION), generation_before);
}

/* A clone's device is shown before its state is there. */
BOTH(a_loaded_device_is_seen)
{
	struct virtio_device_state state;
	struct error err = { 0 };

	cr_expect_eq(request(VIRTIO_BLK_T_IN, 7, DATA, 512, NULL), VIRTIO_BLK_S_OK);
	virtio_device_pause(fake.dev);
	virtio_device_save(fake.dev, &state);
	virtio_device_destroy(fake.dev);
	create_with((struct virtio_blk_params){ .num_queues = 2 });
	virtio_mmio_show(fake.dev, page);
	virtio_device_pause(fake.dev);
	cr_assert_eq(virtio_device_load(fake.dev, &state, &err), 0, "%s", err.text);
	virtio_device_resume(fake.dev);
	cr_expect_eq(shown(VIRTIO_MMIO_STATUS), 15);
	cr_expect_eq(shown(VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_VRING);
	expect_truth();
}
