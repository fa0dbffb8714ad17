/* A device saved and another one in its place that goes on: through the file's bytes. */
#include <criterion/criterion.h>

#include "snapshot/state_file.h"
#include "tests/unit/fake_driver.h"
#include "virtio/virtio_device_state.h"
#include "virtio/virtio_rng.h"

static struct fake_driver fake;
static struct virtio_device_state state;

static void create(void)
{
	cr_assert_eq(
		virtio_rng_create(&fake.dev, "rng", NULL, &fake.mem, fake.loop, &fake.irq, NULL),
		0);
}

static void init(void)
{
	fake_init(&fake, EVENT_LOOP_EPOLL);
	create();
	fake_drive(&fake, 1ull << VIRTIO_RING_F_EVENT_IDX, 16);
}

static void fini(void)
{
	fake_fini(&fake);
}

TestSuite(virtio_state, .init = init, .fini = fini);

static void offer(uint32_t bytes)
{
	fake_chain(&fake, &(struct fake_buffer){ FAKE_DATA, bytes, true }, 1);
	fake_kick(&fake);
}

static void through_a_file(void)
{
	struct state_writer writer = { 0 };
	struct state_buffer bytes;
	struct state_file file;
	struct error err = { 0 };

	state_writer_add(&writer, &virtio_device_state_desc, 3, &state);
	cr_assert_eq(state_writer_finish(&writer, &bytes, &err), 0);
	state_writer_fini(&writer);
	cr_assert_eq(state_file_parse(&file, bytes.bytes, bytes.len, "s", &err), 0);
	cr_assert_eq(state_file_get(&file, &virtio_device_state_desc, 3, &state, &err), 0, "%s",
		     err.text);
	state_file_fini(&file);
	free(bytes.bytes);
}

static void save(void)
{
	virtio_device_pause(fake.dev);
	virtio_device_save(fake.dev, &state);
	virtio_device_destroy(fake.dev);
	create();
	virtio_device_pause(fake.dev);
	through_a_file();
}

Test(virtio_state, a_restored_device_goes_on_in_the_same_ring)
{
	struct vring_used_elem elem;
	struct error err = { 0 };

	for (int i = 0; i < 20; i++) {
		offer(8);
		cr_assert(fake_wait_used(&fake, &elem));
	}
	save();
	cr_assert_eq(virtio_device_load(fake.dev, &state, &err), 0, "%s", err.text);
	cr_expect_eq(fake_read(&fake, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_DRIVER_OK,
		     VIRTIO_CONFIG_S_DRIVER_OK);
	virtio_device_resume(fake.dev);
	fake_settle(&fake);
	cr_expect(!fake_used(&fake, &elem), "a chain was done twice");
	for (int i = 0; i < 20; i++) {
		offer(16);
		cr_assert(fake_wait_used(&fake, &elem));
		cr_expect_eq(elem.len, 16);
	}
}

/* The notification for it went to the device that is gone. */
Test(virtio_state, what_was_offered_before_the_save_is_done_after_it)
{
	struct vring_used_elem elem;

	virtio_device_pause(fake.dev);
	offer(32);
	save();
	cr_assert_eq(virtio_device_load(fake.dev, &state, NULL), 0);
	virtio_device_resume(fake.dev);
	cr_assert(fake_wait_used(&fake, &elem));
	cr_expect_eq(elem.len, 32);
}

Test(virtio_state, a_device_that_nobody_drives_stays_so)
{
	fake_write(&fake, VIRTIO_MMIO_STATUS, 0);
	save();
	cr_assert_eq(virtio_device_load(fake.dev, &state, NULL), 0);
	virtio_device_resume(fake.dev);
	cr_expect_eq(fake_read(&fake, VIRTIO_MMIO_STATUS), 0);
	fake_drive(&fake, 0, 16);
	offer(4);
	cr_assert(fake_wait_used(&fake, &(struct vring_used_elem){ 0 }));
}

#define REFUSED(why)                                                                          \
	do {                                                                                  \
		struct error refused = { 0 };                                                 \
		cr_expect_eq(virtio_device_load(fake.dev, &state, &refused), -EINVAL);        \
		cr_expect(strstr(refused.text, why), "'%s' without '%s'", refused.text, why); \
	} while (0)

Test(virtio_state, state_that_cannot_be_is_refused)
{
	struct virtio_device_state good;

	save();
	good = state;
	state.id = 2;
	REFUSED("a virtio device of type 2 in its place");
	state = good;
	state.queue_count = 2;
	REFUSED("2 queues, not 1");
	state = good;
	state.regs.driver_features |= 1ull << 50;
	REFUSED("features that it does not offer");
	state = good;
	state.regs.status = VIRTIO_CONFIG_S_DRIVER_OK;
	REFUSED("agreed on no features");
	state = good;
	state.queues[0].desc = FAKE_LOW_END;
	REFUSED("descriptor table outside memory");
	state = good;
	state.queues[0].used = UINT64_MAX - 3;
	REFUSED("used ring outside memory");
	state = good;
	state.queues[0].size = 1024;
	REFUSED("impossible queue size");
	state = good;
	state.queues[0].avail = state.queues[0].desc;
	REFUSED("overlapping rings");
	/* Indices are free to be anything: a ring that makes no sense of them breaks the device. */
	state = good;
	state.queues[0].next_avail += 100;
	cr_assert_eq(virtio_device_load(fake.dev, &state, NULL), 0);
	virtio_device_resume(fake.dev);
	fake_settle(&fake);
	cr_expect(fake_read(&fake, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET);
}
