/* Each lie that a driver may tell about a ring: where it lies, what its chains are, and when. */
#include <criterion/criterion.h>
#include <pthread.h>

#include "tests/unit/queue_fixture.h"

TestSuite(virtqueue_lies, .init = init, .fini = fini);

static void expect_broken(const char *rule)
{
	cr_expect_eq(pop(), -EINVAL);
	cr_expect_str_eq(vq.broken ? vq.broken : "", rule);
	cr_expect_eq(pop(), -EINVAL, "a broken ring stays broken");
	cr_expect_eq(vq.in_flight, 0);
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

Test(virtqueue_lies, sound_layout_is_accepted)
{
	cr_expect_null(check(sound()));
}

Test(virtqueue_lies, queue_size)
{
	static const uint16_t sizes[] = { 0, 3, 255, 257, 512, 1024, 32768, 65535 };

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct virtqueue_layout layout = sound();

		layout.size = sizes[i];
		cr_expect_not_null(check(layout), "size %u", sizes[i]);
	}
}

Test(virtqueue_lies, misaligned_rings)
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
Test(virtqueue_lies, rings_outside_memory)
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
Test(virtqueue_lies, ring_whose_last_bytes_are_outside)
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

Test(virtqueue_lies, overlapping_rings)
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

Test(virtqueue_lies, restored_layout_is_not_trusted)
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

Test(virtqueue_lies, index_jumps)
{
	fake.avail->idx = 17;
	expect_broken("available index jumps");
}

Test(virtqueue_lies, index_goes_back)
{
	const struct fake_buffer buffer = { FAKE_DATA, 8, true };

	fake_chain(&fake, &buffer, 1);
	cr_assert_eq(pop(), 1);
	fake.avail->idx = 0;
	cr_expect_eq(pop(), -EINVAL);
	cr_expect_str_eq(vq.broken, "available index jumps");
}

/* Sixteen entries, all in flight: a seventeenth chain must reuse a descriptor that is ours. */
Test(virtqueue_lies, more_chains_than_entries)
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

Test(virtqueue_lies, head_beyond_the_table)
{
	fake_offer(&fake, 16);
	expect_broken("descriptor index beyond its table");
}

Test(virtqueue_lies, next_beyond_the_table)
{
	offer_desc((struct vring_desc){ FAKE_DATA, 8, VRING_DESC_F_NEXT, 0xffff });
	expect_broken("descriptor index beyond its table");
}

Test(virtqueue_lies, chain_points_at_itself)
{
	offer_desc((struct vring_desc){ FAKE_DATA, 8, VRING_DESC_F_NEXT, 0 });
	expect_broken("chain that loops");
}

Test(virtqueue_lies, chain_loops)
{
	fake_desc(&fake, 1, (struct vring_desc){ FAKE_DATA, 8, VRING_DESC_F_NEXT, 2 });
	fake_desc(&fake, 2, (struct vring_desc){ FAKE_DATA, 8, VRING_DESC_F_NEXT, 1 });
	offer_desc((struct vring_desc){ FAKE_DATA, 8, VRING_DESC_F_NEXT, 1 });
	expect_broken("chain that loops");
}

Test(virtqueue_lies, overlong_chain)
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

Test(virtqueue_lies, overlong_indirect_chain)
{
	struct fake_buffer buffers[IOVS + 1];

	for (unsigned int i = 0; i <= IOVS; i++)
		buffers[i] = (struct fake_buffer){ FAKE_DATA, 1, true };
	fake_indirect(&fake, 0x20000, buffers, IOVS + 1);
	expect_broken("chain of too many buffers");
}

Test(virtqueue_lies, indirect_loop)
{
	struct vring_desc *table = fake_ptr(&fake, 0x20000, 32);

	table[0] = (struct vring_desc){ FAKE_DATA, 8, VRING_DESC_F_NEXT, 1 };
	table[1] = (struct vring_desc){ FAKE_DATA, 8, VRING_DESC_F_NEXT, 0 };
	offer_desc((struct vring_desc){ 0x20000, 32, VRING_DESC_F_INDIRECT, 0 });
	expect_broken("chain that loops");
}

Test(virtqueue_lies, indirect_in_indirect)
{
	struct vring_desc *table = fake_ptr(&fake, 0x20000, 16);

	table[0] = (struct vring_desc){ 0x20000, 16, VRING_DESC_F_INDIRECT, 0 };
	offer_desc((struct vring_desc){ 0x20000, 16, VRING_DESC_F_INDIRECT, 0 });
	expect_broken("indirect table in an indirect table");
}

Test(virtqueue_lies, indirect_with_a_successor)
{
	offer_desc(
		(struct vring_desc){ 0x20000, 16, VRING_DESC_F_INDIRECT | VRING_DESC_F_NEXT, 1 });
	expect_broken("indirect descriptor with a successor");
}

Test(virtqueue_lies, indirect_not_negotiated)
{
	enable(16, 0);
	offer_desc((struct vring_desc){ 0x20000, 16, VRING_DESC_F_INDIRECT, 0 });
	expect_broken("indirect table that was not negotiated");
}

Test(virtqueue_lies, indirect_table_length)
{
	static const uint32_t lengths[] = { 0, 1, 15, 17 };

	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		enable(16, INDIRECT);
		offer_desc((struct vring_desc){ 0x20000, lengths[i], VRING_DESC_F_INDIRECT, 0 });
		expect_broken("indirect table of an impossible length");
	}
}

Test(virtqueue_lies, indirect_table_outside_memory)
{
	offer_desc((struct vring_desc){ FAKE_LOW_END - 16, 32, VRING_DESC_F_INDIRECT, 0 });
	expect_broken("indirect table outside memory");
}

Test(virtqueue_lies, zero_length_buffer)
{
	offer_desc((struct vring_desc){ FAKE_DATA, 0, 0, 0 });
	expect_broken("zero-length buffer");
}

Test(virtqueue_lies, readable_after_writable)
{
	const struct fake_buffer buffers[] = { { FAKE_DATA, 8, true }, { FAKE_DATA, 8, false } };

	fake_chain(&fake, buffers, 2);
	expect_broken("readable buffer after a writable one");
}

Test(virtqueue_lies, buffers_outside_memory)
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

Test(virtqueue_lies, chain_of_four_gigabytes)
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

Test(virtqueue_lies, ring_rewritten_while_read)
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
