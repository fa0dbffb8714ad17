/* Which pages of guest memory a device is noted to have changed, by real rings. */
#include <criterion/criterion.h>
#include <string.h>

#include "base/guest_dirty.h"
#include "tests/unit/balloon_driver.h"

static struct virtqueue vq;
static struct virtqueue_chain chain;
static struct iovec iov[8];

static bool is_dirty(uint64_t gpa)
{
	/* The image of the fake driver's memory: low memory, then high. */
	const uint64_t page = (gpa < FAKE_HIGH ? gpa : FAKE_LOW_END + gpa - FAKE_HIGH) / PAGE_SIZE;

	return atomic_load(&fake.mem.dirty[page / 64]) >> page % 64 & 1;
}

static unsigned int count_dirty(void)
{
	unsigned int count = 0;

	for (uint64_t i = 0; i < guest_dirty_words(&fake.mem); i++)
		count += (unsigned int)__builtin_popcountll(atomic_load(&fake.mem.dirty[i]));
	return count;
}

static void begin_queue(uint64_t features)
{
	struct error err = { 0 };

	fake_init(&fake, EVENT_LOOP_EPOLL);
	cr_assert_eq(guest_dirty_start(&fake.mem, &err), 0);
	fake_place_rings(&fake, 16);
	vq = (struct virtqueue){ 0 };
	cr_assert_eq(virtqueue_enable(&vq, &fake.layout, 256, &fake.mem, features), 0);
	cr_assert_eq(count_dirty(), 0);
}

Test(guest_dirty, nothing_is_noted_unless_asked)
{
	fake_init(&fake, EVENT_LOOP_EPOLL);
	cr_expect_null(fake.mem.dirty);
	cr_expect_eq(guest_write(&fake.mem, 0, "x", 1), 0);
	fake_fini(&fake);
}

Test(guest_dirty, what_a_device_may_write_is_noted_when_it_gets_it)
{
	/* Over the end of a page, from the middle of one; in the region behind the hole. */
	const struct fake_buffer buffers[] = { { 0x20000, 4096, false },
					       { 0x30ffe, 4, true },
					       { FAKE_HIGH + 0x800, 8192, true } };

	begin_queue(0);
	fake_chain(&fake, buffers, 3);
	cr_assert_eq(virtqueue_pop(&vq, &chain, iov, 8), 1);
	cr_expect_eq(count_dirty(), 5);
	cr_expect(is_dirty(0x30000) && is_dirty(0x31000));
	cr_expect(is_dirty(FAKE_HIGH) && is_dirty(FAKE_HIGH + 0x1000) &&
		  is_dirty(FAKE_HIGH + 0x2000));
	cr_expect_not(is_dirty(0x20000));
	guest_dirty_clear(&fake.mem);
	cr_expect_eq(count_dirty(), 0);
	/* One that is put back and taken again is noted again. */
	virtqueue_unpop(&vq);
	cr_assert_eq(virtqueue_pop(&vq, &chain, iov, 8), 1);
	cr_expect_eq(count_dirty(), 5);
	fake_fini(&fake);
}

static void check_ring_writes(uint64_t features)
{
	const struct fake_buffer buffer = { 0x20000, 16, false };

	begin_queue(features);
	fake_chain(&fake, &buffer, 1);
	cr_assert_eq(virtqueue_pop(&vq, &chain, iov, 8), 1);
	cr_expect_eq(count_dirty(), 0);
	virtqueue_push(&vq, chain.head, 0);
	cr_expect(is_dirty(FAKE_USED) && count_dirty() == 1, "an entry");
	guest_dirty_clear(&fake.mem);
	(void)!virtqueue_publish(&vq);
	cr_expect(is_dirty(FAKE_USED) && count_dirty() == 1, "the index");
	guest_dirty_clear(&fake.mem);
	virtqueue_disable_notify(&vq);
	cr_expect_eq(count_dirty(), features ? 0 : 1, "the flag, where there is one");
	guest_dirty_clear(&fake.mem);
	(void)!virtqueue_enable_notify(&vq);
	cr_expect(is_dirty(FAKE_USED) && count_dirty() == 1, "the wish");
	fake_fini(&fake);
}

Test(guest_dirty, what_is_written_to_a_ring_is_noted)
{
	check_ring_writes(0);
	check_ring_writes(1ull << VIRTIO_RING_F_EVENT_IDX);
}

/* The used ring of 1024 entries lies on three pages: each entry is noted where it is. */
Test(guest_dirty, each_entry_of_a_large_ring_is_noted_where_it_is)
{
	begin_queue(0);
	fake_place_rings_at(&fake, FAKE_HIGH, 1024);
	cr_assert_eq(virtqueue_enable(&vq, &fake.layout, 1024, &fake.mem, 0), 0);
	for (unsigned int i = 0; i < 1024; i++) {
		const uint64_t entry = fake.layout.used + 4 + 8 * (uint64_t)i;

		guest_dirty_clear(&fake.mem);
		virtqueue_push(&vq, 0, 0);
		cr_assert(is_dirty(entry) && is_dirty(entry + 7), "entry %u", i);
	}
	fake_fini(&fake);
}

Test(guest_dirty, what_the_balloon_drops_has_changed)
{
	const uint32_t pfns[] = { PFN(3), PFN(200) };
	struct error err = { 0 };

	begin(EVENT_LOOP_URING);
	cr_assert_eq(guest_dirty_start(&fake.mem, &err), 0);
	inflate(pfns, ARRAY_SIZE(pfns));
	for (unsigned int i = 0; i < ARRAY_SIZE(pfns); i++)
		cr_expect(is_dirty((uint64_t)pfns[i] << 12), "page %#x", pfns[i]);
	cr_expect_not(is_dirty((uint64_t)PFN(100) << 12));
	end();
}
