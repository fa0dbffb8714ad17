/* The queue on its own: what it gives to a device, and takes from it. */
#include <criterion/criterion.h>

#include "tests/unit/queue_fixture.h"

TestSuite(virtqueue, .init = init, .fini = fini);

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

static void push_one(void)
{
	const struct fake_buffer buffer = { FAKE_DATA, 8, true };

	fake_chain(&fake, &buffer, 1);
	cr_assert_eq(pop(), 1);
	virtqueue_push(&vq, chain.head, 0);
}

static bool complete_one(void)
{
	push_one();
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

/* Seen at once, and told of by the interrupt that all of them have. */
Test(virtqueue, what_is_shown_early_is_published_all_the_same)
{
	enable(16, EVENT_IDX);
	fake.avail->ring[16] = 0;
	push_one();
	cr_expect_eq(fake.used->idx, 0);
	virtqueue_show(&vq);
	cr_expect_eq(fake.used->idx, 1);
	push_one();
	virtqueue_show(&vq);
	cr_expect_eq(fake.used->idx, 2);
	cr_expect(virtqueue_publish(&vq), "entry 0 was asked for");
	cr_expect(!virtqueue_publish(&vq));
	push_one();
	virtqueue_show(&vq);
	/* The driver has seen it meanwhile, and asks for the next. */
	fake.avail->ring[16] = 3;
	cr_expect(!virtqueue_publish(&vq), "nobody waits for entry 2 any more");
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

Test(virtqueue, a_chain_put_back_is_the_next_again)
{
	fake_chain(&fake, &(struct fake_buffer){ FAKE_DATA, 10, true }, 1);
	fake_chain(&fake, &(struct fake_buffer){ FAKE_DATA, 20, true }, 1);
	for (int i = 0; i < 3; i++) {
		cr_assert_eq(pop(), 1);
		cr_expect_eq(iov[0].iov_len, 10);
		virtqueue_unpop(&vq);
		cr_expect_eq(vq.in_flight, 0);
	}
	/* It is read anew: what the driver makes of it meanwhile is what counts. */
	fake.desc[0].len = 30;
	cr_assert_eq(pop(), 1);
	cr_expect_eq(iov[0].iov_len, 30);
	cr_assert_eq(pop(), 1);
	cr_expect_eq(iov[0].iov_len, 20);
	cr_expect_eq(pop(), 0);
}
