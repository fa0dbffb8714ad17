/* The queue on its own: what it gives to a device, and each lie that a driver may tell it. */
#include <criterion/criterion.h>
#include <pthread.h>

#include "tests/unit/fake_driver.h"

#define IOVS 32
#define INDIRECT (1ull << VIRTIO_RING_F_INDIRECT_DESC)
#define EVENT_IDX (1ull << VIRTIO_RING_F_EVENT_IDX)

static struct fake_driver fake;
static struct virtqueue vq;
static struct virtqueue_chain chain;
static struct iovec iov[IOVS];

static void enable(uint16_t size, uint64_t features)
{
	fake_place_rings(&fake, size);
	vq = (struct virtqueue){ 0 };
	cr_assert_eq(virtqueue_enable(&vq, &fake.layout, 256, &fake.mem, features), 0);
}

static void init(void)
{
	fake_init(&fake, EVENT_LOOP_EPOLL);
	enable(16, INDIRECT);
}

static void fini(void)
{
	fake_fini(&fake);
}

TestSuite(virtqueue, .init = init, .fini = fini);

static int pop(void)
{
	return virtqueue_pop(&vq, &chain, iov, IOVS);
}

static void expect_broken(const char *rule)
{
	cr_expect_eq(pop(), -EINVAL);
	cr_expect_str_eq(vq.broken ? vq.broken : "", rule);
	cr_expect_eq(pop(), -EINVAL, "a broken ring stays broken");
	cr_expect_eq(vq.in_flight, 0);
}

/* What works -------------------------------------------------------------------------------------*/

Test(virtqueue, empty_ring_has_nothing)
{
	cr_expect_eq(pop(), 0);
}

Test(virtqueue, chain_becomes_iovecs)
{
	const struct fake_buffer buffers[] = { { FAKE_DATA, 16, false },
					       { 0x20000, 4096, false },
					       { 0x30000, 1, true } };
	const uint16_t head = fake_chain(&fake, buffers, 3);

	cr_assert_eq(pop(), 1);
	cr_expect_eq(chain.head, head);
	cr_expect_eq(chain.readable, 2);
	cr_expect_eq(chain.writable, 1);
	cr_expect_eq(iov[0].iov_base, fake_ptr(&fake, FAKE_DATA, 16));
	cr_expect_eq(iov[1].iov_len, 4096);
	cr_expect_eq(iov[2].iov_base, fake_ptr(&fake, 0x30000, 1));
	cr_expect_eq(pop(), 0);
}

Test(virtqueue, indirect_table_becomes_iovecs)
{
	struct fake_buffer buffers[20];

	for (unsigned int i = 0; i < 20; i++)
		buffers[i] = (struct fake_buffer){ FAKE_DATA + i * 512, 512, i >= 10 };
	fake_indirect(&fake, 0x20001, buffers, 20); /* an unaligned table is allowed */
	cr_assert_eq(pop(), 1);
	cr_expect_eq(chain.readable, 10);
	cr_expect_eq(chain.writable, 10);
}

/* 2.7.5.3.2: zero or more normal descriptors, then an indirect one. */
Test(virtqueue, indirect_table_may_end_a_direct_chain)
{
	const struct fake_buffer tail = { FAKE_DATA, 64, true };

	fake_indirect(&fake, 0x20000, &tail, 1);
	fake_desc(&fake, 5, (struct vring_desc){ FAKE_DATA, 16, VRING_DESC_F_NEXT, 0 });
	fake.avail->ring[0] = 5;
	cr_assert_eq(pop(), 1);
	cr_expect_eq(chain.readable, 1);
	cr_expect_eq(chain.writable, 1);
}

Test(virtqueue, whole_ring_in_one_chain)
{
	struct fake_buffer buffers[16];

	for (unsigned int i = 0; i < 16; i++)
		buffers[i] = (struct fake_buffer){ FAKE_DATA, 1, true };
	fake_chain(&fake, buffers, 16);
	cr_assert_eq(pop(), 1);
	cr_expect_eq(chain.writable, 16);
}

Test(virtqueue, indices_wrap_around)
{
	const struct fake_buffer buffer = { FAKE_DATA, 8, true };
	struct vring_used_elem elem;

	for (unsigned int i = 0; i < 70000; i++) {
		const uint16_t head = fake_chain(&fake, &buffer, 1);

		cr_assert_eq(pop(), 1);
		virtqueue_push(&vq, chain.head, i);
		cr_assert(!fake_used(&fake, &elem), "not shown before it is published");
		cr_assert(virtqueue_publish(&vq));
		cr_assert(fake_used(&fake, &elem));
		cr_assert_eq(elem.id, head);
		cr_assert_eq(elem.len, i);
	}
}

Test(virtqueue, goes_on_where_saved_state_says)
{
	const struct fake_buffer buffer = { FAKE_DATA, 8, true };
	struct virtqueue_state saved;

	fake_chain(&fake, &buffer, 1);
	fake_chain(&fake, &buffer, 1);
	cr_assert_eq(pop(), 1);
	virtqueue_push(&vq, chain.head, 0);
	(void)!virtqueue_publish(&vq);
	saved = vq.state;
	vq = (struct virtqueue){ .state = saved };
	cr_assert_eq(virtqueue_enable(&vq, &fake.layout, 256, &fake.mem, 0), 0);
	cr_expect_eq(pop(), 1);
	cr_expect_eq(chain.head, 1);
	cr_expect_eq(pop(), 0);
}

/* Notifications and interrupts -------------------------------------------------------------------*/

static bool complete_one(void)
{
	const struct fake_buffer buffer = { FAKE_DATA, 8, true };

	fake_chain(&fake, &buffer, 1);
	cr_assert_eq(pop(), 1);
	virtqueue_push(&vq, chain.head, 0);
	return virtqueue_publish(&vq);
}

Test(virtqueue, interrupts_obey_the_flag_without_event_idx)
{
	cr_expect(complete_one());
	fake.avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
	cr_expect(!complete_one());
	cr_expect(!virtqueue_publish(&vq), "nothing new, nothing to say");
}

Test(virtqueue, interrupts_obey_the_event_index)
{
	enable(16, EVENT_IDX);
	fake.avail->flags = VRING_AVAIL_F_NO_INTERRUPT; /* means nothing now: 2.7.7.1 */
	fake.avail->ring[16] = 0;
	cr_expect(complete_one(), "entry 0 was asked for");
	cr_expect(!complete_one(), "nobody asked for entry 1");
	fake.avail->ring[16] = 3;
	cr_expect(!complete_one());
	cr_expect(complete_one());
}

Test(virtqueue, a_batch_that_passes_the_event_index_interrupts_once)
{
	const struct fake_buffer buffer = { FAKE_DATA, 8, true };

	enable(16, EVENT_IDX);
	fake.avail->ring[16] = 4;
	for (int i = 0; i < 8; i++)
		fake_chain(&fake, &buffer, 1);
	for (int i = 0; i < 8; i++) {
		cr_assert_eq(pop(), 1);
		virtqueue_push(&vq, chain.head, 0);
	}
	cr_expect(virtqueue_publish(&vq));
	cr_expect(!virtqueue_publish(&vq));
}

Test(virtqueue, notifications_go_off_and_on_by_flag)
{
	virtqueue_disable_notify(&vq);
	cr_expect_eq(fake.used->flags, VRING_USED_F_NO_NOTIFY);
	cr_expect(!virtqueue_enable_notify(&vq));
	cr_expect_eq(fake.used->flags, 0);
}

Test(virtqueue, notifications_go_on_by_event_index)
{
	enable(16, EVENT_IDX);
	complete_one();
	virtqueue_disable_notify(&vq);
	cr_expect_eq(fake.used->flags, 0, "the flag is not used with event indices");
	cr_expect(!virtqueue_enable_notify(&vq));
	cr_expect_eq(*(uint16_t *)(void *)&fake.used->ring[16], 1);
}

Test(virtqueue, a_chain_that_came_before_notifications_went_on_is_reported)
{
	const struct fake_buffer buffer = { FAKE_DATA, 8, true };

	virtqueue_disable_notify(&vq);
	cr_expect_eq(pop(), 0);
	fake_chain(&fake, &buffer, 1);
	cr_expect(virtqueue_enable_notify(&vq));
}

/* Rings that cannot be ---------------------------------------------------------------------------*/

static const char *check(struct virtqueue_layout layout)
{
	return virtqueue_check(&layout, 256, &fake.mem);
}

static struct virtqueue_layout sound(void)
{
	return (struct virtqueue_layout){ FAKE_DESC, FAKE_AVAIL, FAKE_USED, 256, true };
}

Test(virtqueue, sound_layout_is_accepted)
{
	cr_expect_null(check(sound()));
}

Test(virtqueue, lie_queue_size)
{
	static const uint16_t sizes[] = { 0, 3, 255, 257, 512, 1024, 32768, 65535 };

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct virtqueue_layout layout = sound();

		layout.size = sizes[i];
		cr_expect_not_null(check(layout), "size %u", sizes[i]);
	}
}

Test(virtqueue, lie_misaligned_rings)
{
	struct virtqueue_layout layout = sound();

	layout.desc += 8;
	cr_expect_str_eq(check(layout), "misaligned descriptor table");
	layout = sound();
	layout.avail += 1;
	cr_expect_str_eq(check(layout), "misaligned available ring");
	layout = sound();
	layout.used += 2;
	cr_expect_str_eq(check(layout), "misaligned used ring");
}

/* Each part on its own: before memory, over the hole, over the end, wrapping around. */
Test(virtqueue, lie_rings_outside_memory)
{
	static const uint64_t places[] = { FAKE_LOW_END - 16,  FAKE_LOW_END, FAKE_HIGH_END - 16,
					   FAKE_HIGH_END,      0x8000000000, UINT64_MAX - 15,
					   UINT64_MAX - 0x1fff };

	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		struct virtqueue_layout layout = sound();
		const uint64_t place = align_down(places[i], 16);

		layout.desc = place;
		cr_expect_str_eq(check(layout), "descriptor table outside memory");
		layout = sound();
		layout.avail = place;
		cr_expect_str_eq(check(layout), "available ring outside memory");
		layout = sound();
		layout.used = place;
		cr_expect_str_eq(check(layout), "used ring outside memory");
	}
}

/* The event index behind the ring is part of it. */
Test(virtqueue, lie_ring_whose_last_bytes_are_outside)
{
	struct virtqueue_layout layout = sound();

	layout.avail = FAKE_LOW_END - (4 + 2 * 256);
	cr_expect_not_null(check(layout));
	layout.avail -= 2;
	cr_expect_null(check(layout));
	layout = sound();
	layout.used = FAKE_LOW_END - (4 + 8 * 256);
	cr_expect_not_null(check(layout));
	layout.used -= 4;
	cr_expect_null(check(layout));
}

Test(virtqueue, lie_overlapping_rings)
{
	struct virtqueue_layout layout = sound();

	layout.avail = layout.desc + 16 * 256 - 2;
	cr_expect_str_eq(check(layout), "overlapping rings");
	layout.avail += 2;
	cr_expect_null(check(layout), "side by side is fine");
	layout = sound();
	layout.used = layout.desc + 64;
	cr_expect_str_eq(check(layout), "overlapping rings");
	layout = sound();
	layout.used = layout.avail + 512;
	cr_expect_str_eq(check(layout), "overlapping rings");
}

Test(virtqueue, lie_restored_layout_is_not_trusted)
{
	struct virtqueue_layout layout = sound();

	layout.used = FAKE_HIGH_END;
	cr_expect_eq(virtqueue_enable(&vq, &layout, 256, &fake.mem, 0), -EINVAL);
}

/* Chains that cannot be --------------------------------------------------------------------------*/

static void offer_desc(struct vring_desc desc)
{
	fake_desc(&fake, 0, desc);
	fake_offer(&fake, 0);
}

Test(virtqueue, lie_index_jumps)
{
	fake.avail->idx = 17;
	expect_broken("available index jumps");
}

Test(virtqueue, lie_index_goes_back)
{
	complete_one();
	fake.avail->idx = 0;
	expect_broken("available index jumps");
}

/* Sixteen entries, all in flight: a seventeenth chain must reuse a descriptor that is ours. */
Test(virtqueue, lie_more_chains_than_entries)
{
	const struct fake_buffer buffer = { FAKE_DATA, 8, true };

	for (int i = 0; i < 16; i++)
		fake_chain(&fake, &buffer, 1);
	for (int i = 0; i < 16; i++)
		cr_assert_eq(pop(), 1);
	fake_chain(&fake, &buffer, 1);
	cr_expect_eq(pop(), -EINVAL);
	cr_expect_str_eq(vq.broken, "available index jumps");
}

Test(virtqueue, lie_head_beyond_the_table)
{
	fake_offer(&fake, 16);
	expect_broken("descriptor index beyond its table");
}

Test(virtqueue, lie_next_beyond_the_table)
{
	offer_desc((struct vring_desc){ FAKE_DATA, 8, VRING_DESC_F_NEXT, 0xffff });
	expect_broken("descriptor index beyond its table");
}

Test(virtqueue, lie_chain_points_at_itself)
{
	offer_desc((struct vring_desc){ FAKE_DATA, 8, VRING_DESC_F_NEXT, 0 });
	expect_broken("chain that loops");
}

Test(virtqueue, lie_chain_loops)
{
	fake_desc(&fake, 1, (struct vring_desc){ FAKE_DATA, 8, VRING_DESC_F_NEXT, 2 });
	fake_desc(&fake, 2, (struct vring_desc){ FAKE_DATA, 8, VRING_DESC_F_NEXT, 1 });
	offer_desc((struct vring_desc){ FAKE_DATA, 8, VRING_DESC_F_NEXT, 1 });
	expect_broken("chain that loops");
}

Test(virtqueue, lie_overlong_chain)
{
	struct fake_buffer buffers[IOVS + 1];

	enable(64, 0);
	for (unsigned int i = 0; i <= IOVS; i++)
		buffers[i] = (struct fake_buffer){ FAKE_DATA, 1, true };
	fake_chain(&fake, buffers, IOVS);
	cr_expect_eq(pop(), 1, "as long as there is room");
	virtqueue_push(&vq, chain.head, 0);
	fake_chain(&fake, buffers, IOVS + 1);
	expect_broken("chain of too many buffers");
}

Test(virtqueue, lie_overlong_indirect_chain)
{
	struct fake_buffer buffers[IOVS + 1];

	for (unsigned int i = 0; i <= IOVS; i++)
		buffers[i] = (struct fake_buffer){ FAKE_DATA, 1, true };
	fake_indirect(&fake, 0x20000, buffers, IOVS + 1);
	expect_broken("chain of too many buffers");
}

Test(virtqueue, lie_indirect_loop)
{
	struct vring_desc *table = fake_ptr(&fake, 0x20000, 32);

	table[0] = (struct vring_desc){ FAKE_DATA, 8, VRING_DESC_F_NEXT, 1 };
	table[1] = (struct vring_desc){ FAKE_DATA, 8, VRING_DESC_F_NEXT, 0 };
	offer_desc((struct vring_desc){ 0x20000, 32, VRING_DESC_F_INDIRECT, 0 });
	expect_broken("chain that loops");
}

Test(virtqueue, lie_indirect_in_indirect)
{
	struct vring_desc *table = fake_ptr(&fake, 0x20000, 16);

	table[0] = (struct vring_desc){ 0x20000, 16, VRING_DESC_F_INDIRECT, 0 };
	offer_desc((struct vring_desc){ 0x20000, 16, VRING_DESC_F_INDIRECT, 0 });
	expect_broken("indirect table in an indirect table");
}

Test(virtqueue, lie_indirect_with_a_successor)
{
	offer_desc(
		(struct vring_desc){ 0x20000, 16, VRING_DESC_F_INDIRECT | VRING_DESC_F_NEXT, 1 });
	expect_broken("indirect descriptor with a successor");
}

Test(virtqueue, lie_indirect_not_negotiated)
{
	enable(16, 0);
	offer_desc((struct vring_desc){ 0x20000, 16, VRING_DESC_F_INDIRECT, 0 });
	expect_broken("indirect table that was not negotiated");
}

Test(virtqueue, lie_indirect_table_length)
{
	static const uint32_t lengths[] = { 0, 1, 15, 17 };

	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		enable(16, INDIRECT);
		offer_desc((struct vring_desc){ 0x20000, lengths[i], VRING_DESC_F_INDIRECT, 0 });
		expect_broken("indirect table of an impossible length");
	}
}

Test(virtqueue, lie_indirect_table_outside_memory)
{
	offer_desc((struct vring_desc){ FAKE_LOW_END - 16, 32, VRING_DESC_F_INDIRECT, 0 });
	expect_broken("indirect table outside memory");
}

Test(virtqueue, lie_zero_length_buffer)
{
	offer_desc((struct vring_desc){ FAKE_DATA, 0, 0, 0 });
	expect_broken("zero-length buffer");
}

Test(virtqueue, lie_readable_after_writable)
{
	const struct fake_buffer buffers[] = { { FAKE_DATA, 8, true }, { FAKE_DATA, 8, false } };

	fake_chain(&fake, buffers, 2);
	expect_broken("readable buffer after a writable one");
}

Test(virtqueue, lie_buffers_outside_memory)
{
	static const struct fake_buffer outside[] = {
		{ FAKE_LOW_END - 1, 2, true },	      /* into the hole */
		{ FAKE_LOW_END, 1, true },	      /* in the hole */
		{ FAKE_LOW_END - 8, 0x300010, true }, /* over the hole */
		{ FAKE_HIGH - 1, 2, true },	      /* out of the hole */
		{ FAKE_HIGH_END - 1, 2, false },      /* over the end */
		{ FAKE_HIGH_END, 1, false },	      /* beyond the end */
		{ UINT64_MAX, 2, true },	      /* around the end of everything */
		{ UINT64_MAX - 7, UINT32_MAX, false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(outside); i++) {
		enable(16, INDIRECT);
		fake_chain(&fake, &outside[i], 1);
		expect_broken("buffer outside memory");
	}
}

Test(virtqueue, lie_chain_of_four_gigabytes)
{
	struct guest_memory big = { 0 };
	struct fake_buffer buffers[2] = { { 0, UINT32_MAX, true }, { 0, 1, true } };

	cr_assert_eq(guest_memory_add(&big, 0, GIB(4), NULL), 0);
	vq = (struct virtqueue){ 0 };
	fake.desc = guest_ptr(&big, FAKE_DESC, 1);
	fake.avail = guest_ptr(&big, FAKE_AVAIL, 1);
	cr_assert_eq(virtqueue_enable(&vq, &fake.layout, 256, &big, 0), 0);
	fake_chain(&fake, buffers, 2);
	expect_broken("chain of 4 GiB or more");
	guest_memory_fini(&big);
}

/* A vCPU that rewrites everything while we read ---------------------------------------------------*/

static atomic_bool rewriting;

static uint64_t random_word(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* Rings only, words at a time; mostly plausible, so that walks get far. */
static void *rewrite(void *arg)
{
	uint64_t state = 88172645463325252ull;
	uint64_t *desc = (uint64_t *)(void *)fake.desc;

	(void)arg;
	while (atomic_load(&rewriting)) {
		const uint64_t r = random_word(&state);
		const uint64_t at = (r >> 8) % 16;
		const uint64_t len = r & 0x700 ? 64 : random_word(&state) & UINT32_MAX;
		const uint64_t flags = (r >> 40) & 7, next = (r >> 48) % 17;

		__atomic_store_n(&desc[2 * at], r & 0x1800 ? FAKE_DATA + (r >> 52) : r,
				 __ATOMIC_RELAXED);
		__atomic_store_n(&desc[2 * at + 1], len | flags << 32 | next << 48,
				 __ATOMIC_RELAXED);
		__atomic_store_n(&fake.avail->ring[at], (uint16_t)((r >> 60) % 17),
				 __ATOMIC_RELAXED);
	}
	return NULL;
}

/* Whatever was read, what comes out is inside guest memory and within bounds. */
static void check_chain(void)
{
	cr_assert_leq(chain.readable + chain.writable, IOVS);
	cr_assert_gt(chain.readable + chain.writable, 0);
	for (unsigned int i = 0; i < chain.readable + chain.writable; i++) {
		const uint8_t *base = iov[i].iov_base;
		const struct guest_region *low = &fake.mem.regions[0], *high = low + 1;
		const bool in_low = base >= low->host && base < low->host + low->size;
		const struct guest_region *in = in_low ? low : high;

		cr_assert(base >= in->host && iov[i].iov_len <= in->size &&
			  (uint64_t)(base - in->host) <= in->size - iov[i].iov_len);
	}
}

Test(virtqueue, lie_ring_rewritten_while_read)
{
	pthread_t thread;
	unsigned int good = 0, bad = 0;

	enable(16, INDIRECT);
	atomic_store(&rewriting, true);
	pthread_create(&thread, NULL, rewrite, NULL);
	while (good < 20000 || bad < 20000) { /* the runner's timeout ends it otherwise */
		int ret;

		vq.broken = NULL;
		vq.avail_seen = (uint16_t)(vq.state.next_avail + 1);
		vq.in_flight = 0;
		ret = pop();
		if (ret > 0)
			check_chain();
		good += ret > 0;
		bad += ret < 0;
	}
	atomic_store(&rewriting, false);
	pthread_join(thread, NULL);
}
