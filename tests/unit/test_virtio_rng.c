/* The random numbers and what limits them. */
#include <criterion/criterion.h>
#include <string.h>

#include "tests/unit/fake_driver.h"
#include "virtio/virtio_rng.h"

static struct fake_driver fake;

static void begin(struct rate_config rate)
{
	fake_init(&fake, EVENT_LOOP_EPOLL);
	cr_assert_eq(
		virtio_rng_create(&fake.dev, "rng", &rate, &fake.mem, fake.loop, &fake.irq, NULL),
		0);
	fake_drive(&fake, 0, 16);
}

static void fini(void)
{
	fake_fini(&fake);
}

static uint64_t counter(const char *name)
{
	for (unsigned int i = 0; i < fake.dev->ops->counter_count; i++)
		if (strcmp(fake.dev->ops->counter_names[i], name) == 0)
			return atomic_load(&fake.dev->counters[i]);
	cr_assert(false, "no counter %s", name);
	return 0;
}

static void ask(uint32_t bytes)
{
	fake_chain(&fake, &(struct fake_buffer){ FAKE_DATA, bytes, true }, 1);
	fake_kick(&fake);
}

/* How many bytes came, of all buffers that are back by now. */
static uint32_t got(void)
{
	struct vring_used_elem elem;
	uint32_t bytes = 0;

	fake_settle(&fake);
	while (fake_used(&fake, &elem))
		bytes += elem.len;
	return bytes;
}

Test(virtio_rng, fills_what_it_is_given_and_counts, .fini = fini)
{
	begin((struct rate_config){ 0 });
	ask(64);
	ask(1000);
	cr_expect_eq(got(), 1064);
	cr_expect_eq(counter("entropy_event_count"), 2);
	cr_expect_eq(counter("entropy_bytes"), 1064);
	cr_expect_eq(counter("entropy_rate_limiter_throttled"), 0);
}

Test(virtio_rng, waits_for_its_bytes, .fini = fini)
{
	struct vring_used_elem elem;

	begin((struct rate_config){ .bytes = { 100, 0, 50 } });
	ask(100);
	ask(60);
	cr_expect_eq(got(), 100);
	cr_expect_eq(counter("entropy_rate_limiter_throttled"), 1);
	cr_assert(fake_wait_used(&fake, &elem));
	cr_expect_eq(elem.len, 60);
	cr_expect_eq(counter("rate_limiter_event_count"), 1);
}

Test(virtio_rng, a_large_buffer_is_charged_what_it_can_get, .fini = fini)
{
	begin((struct rate_config){ .bytes = { 65536, 0, 3600000 } });
	ask(0x80000);
	cr_expect_eq(got(), 65536);
	ask(1);
	cr_expect_eq(got(), 0);
}

/* The level of the bucket is the device's and stays; whoever waited is the old driver's. */
Test(virtio_rng, a_reset_forgets_what_waits, .fini = fini)
{
	struct vring_used_elem elem;

	begin((struct rate_config){ .ops = { 1, 0, 100 } });
	ask(10);
	ask(20);
	cr_expect_eq(got(), 10);
	memset(fake_ptr(&fake, FAKE_DATA, 20), 0x55, 20);
	fake_drive(&fake, 0, 16);
	ask(5);
	cr_assert(fake_wait_used(&fake, &elem));
	cr_expect_eq(elem.len, 5);
	cr_expect_eq(*(uint8_t *)fake_ptr(&fake, FAKE_DATA + 19, 1), 0x55);
	cr_expect_eq(got(), 0);
}

Test(virtio_rng, a_buffer_that_it_cannot_write_breaks_it, .fini = fini)
{
	begin((struct rate_config){ 0 });
	fake_chain(&fake, &(struct fake_buffer){ FAKE_DATA, 10, false }, 1);
	fake_kick(&fake);
	cr_expect_eq(got(), 0);
	cr_expect(fake_read(&fake, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET);
	fake_drive(&fake, 0, 16);
	ask(10);
	cr_expect_eq(got(), 10);
}

Test(virtio_rng, its_limit_is_saved, .fini = fini)
{
	struct error err = { 0 };
	void *state;

	begin((struct rate_config){ .ops = { 2, 0, 3600000 } });
	state = calloc(1, fake.dev->ops->state->size);
	ask(10);
	cr_expect_eq(got(), 10);
	virtio_device_pause(fake.dev);
	fake.dev->ops->save(fake.dev, state);
	fake_fini(&fake);

	begin((struct rate_config){ 0 });
	virtio_device_pause(fake.dev);
	cr_assert_eq(fake.dev->ops->load(fake.dev, state, &err), 0, "%s", err.text);
	memset(state, 0xff, fake.dev->ops->state->size);
	cr_expect_eq(fake.dev->ops->load(fake.dev, state, &err), -EINVAL);
	free(state);
	virtio_device_resume(fake.dev);
	ask(10);
	ask(20);
	cr_expect_eq(got(), 10, "one operation was left");
}
