/* Inflating, deflating, reporting: that pages really go, and no others; what lying about them does. */
#include "tests/unit/balloon_driver.h"

static void init(void)
{
	begin(EVENT_LOOP_URING);
}

TestSuite(virtio_balloon, .init = init, .fini = end);

Test(virtio_balloon, gives_back_the_named_pages_and_no_others)
{
	const uint32_t pfns[] = { PFN(3), PFN(4), PFN(5), PFN(200) };

	inflate(pfns, ARRAY_SIZE(pfns));
	cr_expect_eq(pages_resident(), 252);
	cr_expect_eq(pages_there(), 252);
	cr_expect_not(is_there(3) || is_there(4) || is_there(5) || is_there(200));
	cr_expect_eq(counter(BALLOON_INFLATE_COUNT), 1);
	cr_expect_eq(counter(BALLOON_EVENT_FAILS), 0);
}

Test(virtio_balloon, order_and_repetition_do_not_matter)
{
	uint32_t pfns[256];

	for (unsigned int i = 0; i < 256; i++) /* every second page, from the end, some twice */
		pfns[i] = PFN(255 - 2 * (i % 128));
	inflate(pfns, 256);
	for (unsigned int i = 0; i < 256; i++)
		cr_expect_eq(is_there(i), i % 2 == 0, "page %u", i);
}

Test(virtio_balloon, descending_neighbours_are_one_range)
{
	uint32_t pfns[256];

	for (unsigned int i = 0; i < 256; i++)
		pfns[i] = PFN(255 - i);
	inflate(pfns, 256);
	cr_expect_eq(pages_resident(), 0);
}

Test(virtio_balloon, list_cut_anywhere)
{
	const uint32_t pfns[] = { PFN(7), PFN(9) };
	const struct fake_buffer pieces[] = { { LIST, 3, false },
					      { LIST + 3, 2, false },
					      { LIST + 5, 3, false } };

	memcpy(fake_ptr(&fake, LIST, 8), pfns, 8);
	send(&fake, pieces, 3);
	cr_expect_eq(pages_there(), 254);
	cr_expect_not(is_there(7) || is_there(9));
}

Test(virtio_balloon, pages_that_are_not_there_cost_nothing)
{
	const uint32_t pfns[] = { 0xffffffff, 0x200 /* the hole */, PFN(256), PFN(1), 0xc0001 };

	inflate(pfns, ARRAY_SIZE(pfns));
	cr_expect_eq(pages_there(), 255);
	cr_expect_not(is_there(1));
	cr_expect_eq(counter(BALLOON_EVENT_FAILS), 4);
	cr_expect_not(device_status() & VIRTIO_CONFIG_S_NEEDS_RESET);
}

/* As long a list as memory holds, by buffers that overlap: no turn of the loop takes it all. */
Test(virtio_balloon, a_million_pages_in_one_chain_leave_the_loop_to_others)
{
	struct fake_buffer lists[16];
	struct vring_used_elem elem;
	unsigned int turns = 0;

	memset(fake_ptr(&fake, LIST, 0x40000), 0xff, 0x40000);
	for (unsigned int i = 0; i < 16; i++)
		lists[i] = (struct fake_buffer){ LIST, 0x40000, false };
	fake_chain(&fake, lists, 16);
	fake_kick(&fake);
	for (; !fake_used(&fake, &elem); turns++)
		event_loop_run_once(fake.loop, true);
	cr_expect_geq(turns, 4096);
	cr_expect_eq(counter(BALLOON_EVENT_FAILS), 16 * 0x10000);
	cr_expect_eq(pages_there(), 256);
}

Test(virtio_balloon, reset_in_the_middle_of_a_long_list)
{
	const struct fake_buffer list = { LIST, 0x40000, false };
	const uint32_t pfn = PFN(5);

	fake_chain(&fake, &list, 1);
	fake_kick(&fake);
	event_loop_run_once(fake.loop, true);
	cr_assert(balloon()->work[BALLOON_INFLATE].busy);
	drive_all();
	cr_assert_not(balloon()->work[BALLOON_INFLATE].busy);
	inflate(&pfn, 1);
	cr_expect_not(is_there(5));
}

Test(virtio_balloon, pages_come_back_when_touched)
{
	const uint32_t pfn = PFN(9);
	const struct fake_buffer list = { LIST, 4, false };
	uint8_t *page = fake_ptr(&fake, PAGES + 9 * PAGE_SIZE, PAGE_SIZE);

	inflate(&pfn, 1);
	cr_expect_eq(page[0], 0);
	send(&deflate, &list, 1);
	page[0] = 1;
	cr_expect_eq(page[0], 1);
	cr_expect_eq(counter(BALLOON_DEFLATE_COUNT), 1);
}

Test(virtio_balloon, reported_ranges_go)
{
	const struct fake_buffer ranges[] = { { PAGES, 0x4000, true },
					      { PAGES + 0x8000, 0x1000, true } };

	send(&report, ranges, 2);
	cr_expect_eq(pages_there(), 251);
	cr_expect_eq(counter(BALLOON_REPORT_COUNT), 1);
	cr_expect_eq(counter(BALLOON_REPORT_FREED), 0x5000);
}

Test(virtio_balloon, part_of_a_page_does_not_go)
{
	const struct fake_buffer ranges[] = { { PAGES + 1, 0x2fff, true },
					      { PAGES + 0x8000, 0xfff, true } };

	send(&report, ranges, 2);
	cr_expect_eq(pages_there(), 254);
	cr_expect(is_there(0) && is_there(8));
}

/* Configuration --------------------------------------------------------------------------------*/

Test(virtio_balloon, target_is_told)
{
	const uint32_t generation = fake_read(&fake, VIRTIO_MMIO_CONFIG_GENERATION);
	const int interrupts = fake.interrupts;

	cr_assert_eq(virtio_balloon_set_target(fake.dev, 1, NULL), 0);
	cr_expect_eq(config_read(0), 256);
	cr_expect_neq(fake_read(&fake, VIRTIO_MMIO_CONFIG_GENERATION), generation);
	cr_expect_eq(fake.interrupts, interrupts + 1);
}

Test(virtio_balloon, target_beyond_the_memory_is_refused)
{
	struct error err = { 0 };

	cr_expect_eq(virtio_balloon_set_target(fake.dev, 3, &err), -EINVAL);
	cr_expect_str_eq(err.text, "Amount of pages requested is too large.");
	cr_expect_eq(virtio_balloon_set_target(fake.dev, UINT32_MAX, NULL), -EINVAL);
	cr_expect_eq(config_read(0), 0);
}

Test(virtio_balloon, only_actual_is_the_drivers)
{
	const uint8_t byte = 0xff;

	fake_write(&fake, VIRTIO_MMIO_CONFIG + 4, 100);
	for (uint64_t at = 0; at < 32; at += 4)
		if (at != 4)
			fake_write(&fake, VIRTIO_MMIO_CONFIG + at, 77);
	virtio_mmio_write(fake.dev, VIRTIO_MMIO_CONFIG + 4, &byte, 1);
	cr_expect_eq(config_read(0), 0);
	cr_expect_eq(config_read(4), 100);
	cr_expect_eq(config_read(8), 0);
	cr_expect_eq(config_read(12), 0);
}

Test(virtio_balloon_plain, queues_are_numbered_without_gaps)
{
	fake_init(&fake, EVENT_LOOP_EPOLL);
	create_with((struct virtio_balloon_params){ .reporting = true, .target_mib = 1 });
	cr_expect_eq(virtio_device_queue_count(fake.dev), 3);
	cr_expect_eq(balloon()->kinds[2], BALLOON_REPORT);
	cr_expect_eq(fake.dev->features & 0xff, FEATURE(REPORTING));
	cr_expect_eq(config_read(0), 256);
	fake_fini(&fake);
}

Test(virtio_balloon_plain, target_beyond_the_memory_is_refused_at_creation)
{
	const struct virtio_balloon_params params = { .name = "balloon", .target_mib = 3 };
	struct virtio_device *dev = NULL;
	struct error err = { 0 };

	fake_init(&fake, EVENT_LOOP_EPOLL);
	cr_expect_eq(virtio_balloon_create(&dev, &params, &fake.mem, fake.loop, &fake.irq, &err),
		     -EINVAL);
	cr_expect_null(dev);
	fake_fini(&fake);
}
