/* Gathering: who makes many requests at once is served by many at once, and nobody else waits. */

#include "base/clock.h"
#include "base/guest_dirty.h"
#include "tests/unit/blk_driver.h"

#define MS 1000000ull

static struct virtio_gather *gather(void)
{
	return &fake.dev->queues[0].gather;
}

static void offer_of(uint32_t len)
{
	put_request(&fake, VIRTIO_BLK_T_IN, 0, DATA, len);
}

/* As many as are said, by one notification, answered. */
static void burst(unsigned int count, uint32_t len)
{
	struct vring_used_elem elem;

	for (unsigned int i = 0; i < count; i++)
		offer_of(len);
	fake_kick(&fake);
	for (unsigned int i = 0; i < count; i++)
		cr_assert(fake_wait_used(&fake, &elem));
}

static unsigned int used_now(void)
{
	struct vring_used_elem elem;
	unsigned int count = 0;

	while (fake_used(&fake, &elem))
		count++;
	return count;
}

/* The driver's "notify me once you have passed this". */
static uint16_t asked_for(void)
{
	return *(volatile uint16_t *)&fake.used->ring[fake.layout.size];
}

/* Notifies, and sees that the queue waits; for ever, so that a slow machine finds it so. */
static void begin_wait(void)
{
	fake_kick(&fake);
	for (int i = 0; i < 1000 && !gather()->waits; i++)
		event_loop_run_once(fake.loop, false);
	cr_assert(gather()->waits);
	gather()->delay.due = UINT64_MAX;
}

static void init(void)
{
	begin(EVENT_LOOP_URING, "/tmp", (struct virtio_blk_params){ 0 });
	fake_settle(&fake);
}

TestSuite(virtio_gather, .init = init, .fini = end);

Test(virtio_gather, one_request_at_a_time_never_waits)
{
	for (int i = 0; i < 200; i++) {
		burst(1, 512);
		cr_assert_eq(gather()->target, 1);
	}
	offer_of(512);
	fake_kick(&fake);
	event_loop_run_once(fake.loop, true);
	cr_expect_eq(used_now(), 1);
}

Test(virtio_gather, many_at_once_are_waited_for_and_no_more_than_there_were)
{
	const uint16_t start = fake.avail->idx;

	burst(12, 512);
	cr_expect_eq(gather()->target, 2);
	burst(12, 512);
	burst(12, 512);
	cr_expect_eq(gather()->target, 8);
	/* Too few of them: not yet, and the driver need say nothing before the eighth. */
	for (int i = 0; i < 3; i++)
		offer_of(512);
	begin_wait();
	cr_expect_eq(asked_for(), (uint16_t)(start + 36 + 7));
	for (int i = 0; i < 4; i++)
		offer_of(512);
	/* Should it say something nevertheless, it does not matter. */
	fake_kick(&fake);
	fake_settle(&fake);
	cr_expect_eq(used_now(), 0);
	offer_of(512);
	fake_kick(&fake);
	fake_settle(&fake);
	cr_expect_eq(used_now(), 8);
	cr_expect_eq(asked_for(), (uint16_t)(start + 44), "each is wanted again");
}

/* The index that it moves lies in the guest's memory. */
Test(virtio_gather, its_wish_is_noted_as_a_change)
{
	const uint64_t page = (FAKE_USED + 4 + 8 * 256) / PAGE_SIZE;
	struct error err = { 0 };

	burst(12, 512);
	burst(12, 512);
	offer_of(512);
	cr_assert_eq(guest_dirty_start(&fake.mem, &err), 0, "%s", err.text);
	begin_wait();
	cr_expect(atomic_load(&fake.mem.dirty[page / 64]) >> page % 64 & 1);
}

Test(virtio_gather, what_does_not_come_is_not_waited_for)
{
	uint64_t start;

	burst(12, 512);
	burst(12, 512);
	cr_expect_eq(gather()->target, 4);
	start = clock_now_ns(CLOCK_MONOTONIC);
	burst(1, 512);
	cr_expect_geq(clock_now_ns(CLOCK_MONOTONIC) - start, 20000);
	cr_expect_eq(gather()->target, 1);
	/* Chances let go by: each wait in vain doubles them. */
	burst(2, 512);
	cr_expect_eq(gather()->target, 1);
	burst(2, 512);
	cr_expect_eq(gather()->target, 2);
	burst(1, 512);
	for (int i = 0; i < 2; i++) {
		burst(2, 512);
		cr_expect_eq(gather()->target, 1);
	}
	burst(2, 512);
	cr_expect_eq(gather()->target, 2);
}

Test(virtio_gather, fewer_than_before_are_what_there_is)
{
	burst(12, 512);
	burst(12, 512);
	burst(12, 512);
	burst(5, 512);
	cr_expect_eq(gather()->target, 5);
	gather()->gap_ns = 100 * MS;
	burst(5, 512);
	cr_expect_eq(gather()->target, 5, "they were all there, and nothing was waited for");
}

Test(virtio_gather, large_requests_do_not_wait)
{
	for (int i = 0; i < 5; i++) {
		burst(6, 65536);
		cr_expect_eq(gather()->target, 1);
	}
}

Test(virtio_gather, a_reset_or_a_pause_ends_the_wait)
{
	struct vring_used_elem elem;

	burst(12, 512);
	burst(12, 512);
	offer_of(512);
	begin_wait();
	virtio_device_pause(fake.dev);
	cr_expect_not(gather()->waits);
	virtio_device_resume(fake.dev);
	cr_assert(fake_wait_used(&fake, &elem));
	cr_expect_not(fake_used(&fake, &elem));

	burst(12, 512);
	burst(12, 512);
	offer_of(512);
	begin_wait();
	fake_drive(&fake, offered(), 256);
	cr_expect_not(gather()->waits);
	burst(1, 512);
}

Test(virtio_gather, without_event_indices_nothing_waits)
{
	fake_drive(&fake, offered() & ~EVENT_IDX, 256);
	for (int i = 0; i < 5; i++)
		burst(12, 512);
	gather()->gap_ns = 1000 * MS;
	burst(1, 512);
	cr_expect_not(gather()->waits);
}

/* An index that jumps is found where chains are taken, wait or not. */
Test(virtio_gather, a_driver_that_lies_during_a_wait_breaks_its_device)
{
	burst(12, 512);
	burst(12, 512);
	offer_of(512);
	begin_wait();
	fake.avail->idx = (uint16_t)(fake.avail->idx + 1000);
	fake_kick(&fake);
	fake_settle(&fake);
	cr_expect(device_status() & VIRTIO_CONFIG_S_NEEDS_RESET);
	cr_expect_not(gather()->waits);
}
