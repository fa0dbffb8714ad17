/* The network device under drivers that lie, taps that vanish, resets and floods. */
#include "tests/unit/net_driver.h"

#define USUAL (MERGING | ALL_OFFLOADS | INDIRECT | EVENT_IDX)

static void begin(void)
{
	create(EVENT_LOOP_URING, 1, (struct virtio_net_params){ .antispoof = true });
	drive(USUAL, 64);
}

TestSuite(virtio_net_lies, .init = begin, .fini = end);

/* Protocol --------------------------------------------------------------------------------------*/

static void expect_broken(struct fake_driver *driver)
{
	bool same;

	fake_kick(driver);
	from_network(0, 1, 100);
	fake_settle(&fake);
	cr_expect(is_broken());
	/* Nothing moves until a reset, and everything after it. */
	from_network(0, 2, 100);
	fake_settle(&fake);
	drive(USUAL, 64);
	post(RX_DATA, 2048);
	fake_kick(&fake);
	write_frame(TX_DATA, own_mac, 3, 100);
	fake_chain(&tx, &(struct fake_buffer){ TX_DATA, NET_HEADER + 100, false }, 1);
	fake_kick(&tx);
	fake_settle(&fake);
	cr_expect_not(is_broken());
	cr_expect(holds_frame(RX_DATA + NET_HEADER, 1, 0, 100) ||
		  holds_frame(RX_DATA + NET_HEADER, 2, 0, 100));
	cr_expect_eq(to_network(own_mac, 3, &same), 100);
}

Test(virtio_net_lies, a_receive_buffer_that_cannot_be_written)
{
	fake_chain(&fake, &(struct fake_buffer){ RX_DATA, 2048, false }, 1);
	expect_broken(&fake);
}

Test(virtio_net_lies, a_receive_buffer_without_room_for_a_header)
{
	post(RX_DATA, NET_HEADER - 1);
	expect_broken(&fake);
}

Test(virtio_net_lies, a_receive_buffer_outside_memory)
{
	post(FAKE_HIGH_END, 2048);
	expect_broken(&fake);
}

/* The same memory again and again, 4 GiB but a byte, behind a buffer of 100: their sum has 33 bits. */
Test(virtio_net_lies, receive_buffers_of_four_GiB_are_not_added_up)
{
	const uint64_t much = 0x10000000;
	struct fake_buffer buffers[64];
	struct vring_used_elem elem;
	struct error err = { 0 };

	fake_end_audit(&fake);
	cr_assert_eq(guest_memory_add(&fake.mem, much, MIB(64), &err), 0, "%s", err.text);
	for (unsigned int i = 0; i < 64; i++)
		buffers[i] = (struct fake_buffer){ much, MIB(64) - (i == 63), true };
	for (unsigned int round = 0; round < 3; round++) {
		post(RX_DATA, 100);
		fake_indirect(&fake, TX_DATA, buffers, 64);
		fake_kick(&fake);
		from_network(0, round, 300);
		cr_assert(fake_wait_used(&fake, &elem));
		cr_expect_eq(elem.len, 100);
		cr_assert(fake_wait_used(&fake, &elem));
		cr_expect_eq(elem.len, NET_HEADER + 200);
		cr_expect(holds_frame(RX_DATA + NET_HEADER, round, 0, 100 - NET_HEADER));
		cr_expect(holds_frame(much, round, 100 - NET_HEADER, 200 + NET_HEADER));
	}
	cr_expect_not(is_broken());
}

Test(virtio_net_lies, a_lie_behind_honest_buffers)
{
	for (uint32_t i = 0; i < 8; i++)
		post(RX_DATA + i * 2048, 2048);
	fake_chain(&fake, &(struct fake_buffer){ FAKE_LOW_END, 1, true }, 1);
	expect_broken(&fake);
}

Test(virtio_net_lies, a_transmit_buffer_that_is_to_be_written)
{
	const struct fake_buffer buffers[] = { { TX_DATA, 100, false }, { TX_DATA, 100, true } };

	fake_chain(&tx, buffers, 2);
	expect_broken(&tx);
}

Test(virtio_net_lies, an_index_that_jumps)
{
	tx.avail->idx = 1000;
	expect_broken(&tx);
}

/* A buffer of nearly 4 GiB cannot be; the largest that can, must not confuse the sums. */
Test(virtio_net_lies, one_enormous_receive_buffer)
{
	struct vring_used_elem elem;

	post(RX_DATA, FAKE_HIGH_END - RX_DATA);
	post(RX_DATA, FAKE_HIGH_END - RX_DATA);
	fake_kick(&fake);
	from_network(0, 1, 65000);
	from_network(0, 2, 100);
	cr_assert(fake_wait_used(&fake, &elem));
	cr_expect_eq(elem.len, NET_HEADER + 65000);
	cr_assert(fake_wait_used(&fake, &elem));
	cr_expect_eq(elem.len, NET_HEADER + 100);
}

/* Every ring entry holds the smallest buffer there is: a long frame can never fit. */
Test(virtio_net_lies, buffers_that_together_are_too_small)
{
	struct vring_used_elem elem;

	for (uint32_t i = 0; i < 64; i++)
		post(RX_DATA + i * 16, 12);
	fake_kick(&fake);
	from_network(0, 1, 2000);
	from_network(0, 2, 60);
	cr_assert(fake_wait_used(&fake, &elem));
	cr_expect_eq(header_at(RX_DATA)->num_buffers, 6);
	for (uint32_t i = 0; i < 5; i++) {
		cr_assert(fake_used(&fake, &elem));
		cr_expect(holds_frame(RX_DATA + (i + 1) * 16, 2, i * 12, 12));
	}
	cr_expect_eq(counted(NET_RX_FAILS), 1);
	cr_expect_not(is_broken());
}

/* Antispoofing ---------------------------------------------------------------------------------*/

Test(virtio_net_lies, a_frame_from_anothers_mac_is_counted_and_dropped)
{
	cr_expect_eq(send_from(other_mac, 60), 0);
	cr_expect_eq(counted(NET_TX_SPOOFED), 1);
	cr_expect_eq(send_from(own_mac, 60), 60);
	cr_expect_eq(counted(NET_TX_SPOOFED), 1);
}

Test(virtio_net_lies, or_only_counted)
{
	interface()->antispoof = false;
	cr_expect_eq(send_from(other_mac, 60), 60);
	cr_expect_eq(counted(NET_TX_SPOOFED), 1);
}

/* Floods and ends ------------------------------------------------------------------------------*/

Test(virtio_net_lies, a_flood_without_buffers_waits_outside)
{
	struct vring_used_elem elem;
	uint8_t frame[NET_HEADER + 1000] = { 0 };
	uint32_t sent = 0, got = 0;

	for (int turn = 0; turn < 100; turn++) {
		while (write(network.ends[0], frame, sizeof(frame)) > 0)
			sent++;
		fake_settle(&fake);
	}
	cr_expect_eq(counted(NET_RX_PACKETS), 0);
	cr_expect_eq(counted(NET_NO_RX_AVAIL_BUFFER), 1);
	for (int turn = 0; turn < 1000 && got < sent; turn++) {
		post(RX_DATA, 2048);
		fake_kick(&fake);
		fake_settle(&fake);
		while (fake_used(&fake, &elem))
			got++;
	}
	cr_expect_eq(got, sent);
}

Test(virtio_net_lies, a_reset_in_the_middle_of_everything)
{
	struct vring_used_elem elem;
	bool same;

	for (uint32_t round = 0; round < 20; round++) {
		post(RX_DATA, 1000);
		fake_kick(&fake);
		from_network(0, round, 3000); /* parked */
		write_frame(TX_DATA, own_mac, 10, 9000);
		for (uint32_t i = 0; i < 60; i++)
			fake_chain(&tx, &(struct fake_buffer){ TX_DATA, NET_HEADER + 9000, false },
				   1);
		fake_kick(&tx);
		for (uint32_t turn = 0; turn < round % 4; turn++)
			event_loop_run_once(fake.loop, false);
		drive(USUAL, 64);
		while (to_network(own_mac, 10, &same) > 0)
			;
	}
	cr_expect_not(is_broken());
	fake_settle(&fake);
	for (uint32_t i = 0; i < 60; i++)
		post(RX_DATA + i * 2048, 2048);
	fake_kick(&fake);
	from_network(0, 99, 500);
	do
		cr_assert(fake_wait_used(&fake, &elem));
	while (elem.len != NET_HEADER + 500);
}

/* What was held is in the ring again: a pause, and a snapshot, lose no buffer. */
Test(virtio_net_lies, a_pause_gives_back_what_was_held)
{
	struct vring_used_elem elem;

	for (uint32_t i = 0; i < 10; i++)
		post(RX_DATA + i * 2048, 2048);
	fake_kick(&fake);
	fake_settle(&fake);
	cr_expect_eq(interface()->pairs[0].held_count, 10);
	for (int i = 0; i < 3; i++) {
		virtio_device_pause(fake.dev);
		cr_expect_eq(fake.dev->queues[0].ring.state.next_avail, i * 2);
		cr_expect_eq(fake.dev->queues[0].ring.in_flight, 0);
		virtio_device_resume(fake.dev);
		for (uint32_t j = 0; j < 2; j++) {
			from_network(0, j, 100);
			cr_assert(fake_wait_used(&fake, &elem));
			cr_expect_eq(elem.id, i * 2 + j);
		}
	}
}

static uint16_t link_status(void)
{
	uint16_t status = 0;

	virtio_mmio_read(fake.dev, VIRTIO_MMIO_CONFIG + offsetof(struct virtio_net_config, status),
			 &status, sizeof(status));
	return status;
}

/* The link goes down, the driver is told, the frames are counted, and nothing else happens. */
static void expect_dead_link(void)
{
	cr_expect_eq(link_status(), 0);
	cr_expect(fake_read(&fake, VIRTIO_MMIO_INTERRUPT_STATUS) & VIRTIO_MMIO_INT_CONFIG);
	send_from(own_mac, 60);
	cr_expect_eq(counted(NET_TX_FAILS), 1);
	cr_expect_eq(virtio_net_set_link(fake.dev, true), -ENODEV);
	cr_expect_eq(link_status(), 0);
	drive(USUAL, 64);
	send_from(own_mac, 60);
	cr_expect_eq(counted(NET_TX_FAILS), 2);
	cr_expect_not(is_broken());
}

Test(virtio_net_lies, the_network_vanishes)
{
	post(RX_DATA, 2048);
	fake_kick(&fake);
	fake_settle(&fake);
	cr_expect_eq(link_status(), VIRTIO_NET_S_LINK_UP);
	close(network.ends[0]);
	network.ends[0] = -1;
	fake_settle(&fake);
	expect_dead_link();
}

/* Nobody reads when there is no buffer, so the end must be seen otherwise. */
Test(virtio_net_lies, the_network_vanishes_while_no_buffer_is_posted)
{
	fake_settle(&fake);
	close(network.ends[0]);
	network.ends[0] = -1;
	fake_settle(&fake);
	expect_dead_link();
}

Test(virtio_net_lies, the_network_vanishes_before_the_driver_starts)
{
	network.is_deleted = true;
	drive(USUAL, 64);
	fake_settle(&fake);
	expect_dead_link();
}

Test(virtio_net_lies, the_network_vanishes_during_a_pause)
{
	virtio_device_pause(fake.dev);
	network.is_deleted = true;
	virtio_device_resume(fake.dev);
	fake_settle(&fake);
	expect_dead_link();
}

Test(virtio_net_lies, a_link_that_is_down_and_up_again)
{
	struct vring_used_elem elem;

	post(RX_DATA, 2048);
	fake_kick(&fake);
	fake_settle(&fake);
	cr_expect_eq(virtio_net_set_link(fake.dev, false), 0);
	cr_expect_eq(link_status(), 0);
	from_network(0, 1, 100);
	cr_expect_eq(send_from(own_mac, 60), 0);
	fake_settle(&fake);
	cr_expect_not(fake_used(&fake, &elem));
	cr_expect_eq(counted(NET_RX_FAILS), 1);
	cr_expect_eq(counted(NET_TX_FAILS), 1);
	cr_expect_eq(virtio_net_set_link(fake.dev, true), 0);
	cr_expect_eq(link_status(), VIRTIO_NET_S_LINK_UP);
	from_network(0, 2, 100);
	cr_assert(fake_wait_used(&fake, &elem));
	cr_expect(holds_frame(RX_DATA + NET_HEADER, 2, 0, 100));
}

/* The interface's headers of a few frames are wrong: those frames are dropped, not the device. */
Test(virtio_net_lies, frames_without_a_header_from_the_network)
{
	struct vring_used_elem elem;
	uint8_t frame[NET_HEADERS - 1] = { 0 };

	post(RX_DATA, 2048);
	fake_kick(&fake);
	cr_assert_eq(write(network.ends[0], frame, sizeof(frame)), sizeof(frame));
	cr_assert_eq(write(network.ends[0], frame, 1), 1);
	from_network(0, 1, 100);
	cr_assert(fake_wait_used(&fake, &elem));
	cr_expect(holds_frame(RX_DATA + NET_HEADER, 1, 0, 100));
	cr_expect_eq(counted(NET_RX_FAILS), 2);
}
