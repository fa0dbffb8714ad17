/* Frames through the network device by real rings, both ways, on both kinds of loop. */
#include "tests/unit/net_driver.h"

#define BOTH(name, features)                                                  \
	static void name(void);                                               \
	Test(virtio_net, name##_epoll)                                        \
	{                                                                     \
		create(EVENT_LOOP_EPOLL, 1, (struct virtio_net_params){ 0 }); \
		drive(features, 64);                                          \
		name();                                                       \
		end();                                                        \
	}                                                                     \
	Test(virtio_net, name##_uring)                                        \
	{                                                                     \
		create(EVENT_LOOP_URING, 1, (struct virtio_net_params){ 0 }); \
		drive(features, 64);                                          \
		name();                                                       \
		end();                                                        \
	}                                                                     \
	static void name(void)

#define USUAL (MERGING | ALL_OFFLOADS | INDIRECT | EVENT_IDX)

/* To the guest -----------------------------------------------------------------------------------*/

BOTH(a_frame_reaches_the_guest, USUAL)
{
	struct vring_used_elem elem;

	post(RX_DATA, 2048);
	fake_kick(&fake);
	from_network(0, 1, 100);
	cr_assert(fake_wait_used(&fake, &elem));
	cr_expect_eq(elem.len, NET_HEADER + 100);
	cr_expect_eq(header_at(RX_DATA)->num_buffers, 1);
	cr_expect(holds_frame(RX_DATA + NET_HEADER, 1, 0, 100));
	cr_expect_eq(counted(NET_RX_PACKETS), 1);
	cr_expect_eq(counted(NET_RX_BYTES), 100);
}

BOTH(frames_keep_their_order, USUAL)
{
	struct vring_used_elem elem;

	for (uint32_t i = 0; i < 32; i++)
		post(RX_DATA + i * 2048, 2048);
	fake_kick(&fake);
	for (uint32_t i = 0; i < 32; i++)
		from_network(0, i, 60 + i);
	for (uint32_t i = 0; i < 32; i++) {
		cr_assert(fake_wait_used(&fake, &elem));
		cr_expect_eq(elem.len, NET_HEADER + 60 + i);
		cr_expect(holds_frame(RX_DATA + i * 2048 + NET_HEADER, i, 0, 60 + i));
	}
}

BOTH(a_long_frame_is_spread_over_merged_buffers, USUAL)
{
	struct vring_used_elem elem;
	const size_t len = 65000, first = 1526 - NET_HEADER;
	size_t from = first;

	for (uint32_t i = 0; i < 64; i++)
		post(RX_DATA + i * 1600, 1526);
	fake_kick(&fake);
	from_network(0, 3, len);
	cr_assert(fake_wait_used(&fake, &elem));
	cr_expect_eq(elem.len, 1526);
	cr_expect_eq(header_at(RX_DATA)->num_buffers, (len + NET_HEADER + 1525) / 1526);
	cr_expect(holds_frame(RX_DATA + NET_HEADER, 3, 0, first));
	for (uint32_t i = 1; from < len; i++, from += elem.len) {
		cr_assert(fake_used(&fake, &elem), "all of a frame is shown at once");
		cr_expect_eq(elem.len, MIN(len - from, (size_t)1526));
		cr_expect(holds_frame(RX_DATA + i * 1600, 3, from, elem.len));
	}
	cr_expect_eq(from, len);
}

/* The rest waits on our side, and no byte is lost or doubled. */
BOTH(a_frame_waits_for_the_buffers_that_it_lacks, USUAL)
{
	struct vring_used_elem elem;

	post(RX_DATA, 1000);
	post(RX_DATA + 0x1000, 1000);
	fake_kick(&fake);
	from_network(0, 4, 4000);
	from_network(0, 5, 50);
	fake_settle(&fake);
	cr_expect_not(fake_used(&fake, &elem));
	for (uint32_t i = 2; i < 6; i++) {
		post(RX_DATA + i * 0x1000, 1000);
		fake_kick(&fake);
		fake_settle(&fake);
	}
	for (uint32_t i = 0; i < 5; i++) {
		const size_t from = i ? i * 1000 - NET_HEADER : 0;

		cr_assert(fake_used(&fake, &elem));
		cr_expect_eq(elem.len, i < 4 ? 1000 : 12);
		cr_expect(holds_frame(RX_DATA + i * 0x1000 + (i ? 0 : NET_HEADER), 4, from,
				      elem.len - (i ? 0 : NET_HEADER)));
	}
	cr_expect_eq(header_at(RX_DATA)->num_buffers, 5);
	cr_assert(fake_used(&fake, &elem));
	cr_expect(holds_frame(RX_DATA + 0x5000 + NET_HEADER, 5, 0, 50));
	cr_expect_eq(counted(NET_RX_FAILS), 0);
}

BOTH(without_merging_a_frame_has_one_chain, INDIRECT | ALL_OFFLOADS)
{
	const struct fake_buffer buffers[] = { { RX_DATA, 12, true },
					       { RX_DATA + 0x1000, 50, true },
					       { RX_DATA + 0x2000, 0x10000, true } };
	struct vring_used_elem elem;

	for (uint32_t i = 0; i < 2; i++)
		fake_chain(&fake, buffers, 3);
	fake_kick(&fake);
	from_network(0, 6, 30000);
	cr_assert(fake_wait_used(&fake, &elem));
	cr_expect_eq(elem.len, NET_HEADER + 30000);
	cr_expect_eq(header_at(RX_DATA)->num_buffers, 1);
	cr_expect(holds_frame(RX_DATA + 0x1000, 6, 0, 50));
	cr_expect(holds_frame(RX_DATA + 0x2000, 6, 50, 29950));
	cr_expect_not(fake_used(&fake, &elem));
}

BOTH(without_merging_a_frame_that_does_not_fit_is_counted_and_dropped, 0)
{
	struct vring_used_elem elem;

	post(RX_DATA, 500);
	fake_kick(&fake);
	from_network(0, 7, 600);
	from_network(0, 8, 100);
	cr_assert(fake_wait_used(&fake, &elem));
	cr_expect_eq(elem.len, NET_HEADER + 100);
	cr_expect(holds_frame(RX_DATA + NET_HEADER, 8, 0, 100));
	cr_expect_eq(counted(NET_RX_FAILS), 1);
	cr_expect_eq(device_status(), 15);
}

BOTH(flags_mean_nothing_to_a_driver_without_checksums, 0)
{
	uint8_t frame[112] = { VIRTIO_NET_HDR_F_DATA_VALID };
	struct vring_used_elem elem;

	post(RX_DATA, 2048);
	fake_kick(&fake);
	cr_assert_eq(write(network.ends[0], frame, sizeof(frame)), sizeof(frame));
	cr_assert(fake_wait_used(&fake, &elem));
	cr_expect_eq(header_at(RX_DATA)->flags, 0);
}

/* From the guest ---------------------------------------------------------------------------------*/

/* Header and Ethernet cut in every way, the rest in pieces. */
BOTH(a_frame_in_any_pieces_reaches_the_network, USUAL)
{
	const uint32_t total = NET_HEADER + 1000;
	struct vring_used_elem elem;
	bool same;

	write_frame(TX_DATA, own_mac, 9, 1000);
	for (uint32_t cut = 1; cut < 40; cut++) {
		const struct fake_buffer buffers[] = {
			{ TX_DATA, cut, false },
			{ TX_DATA + cut, cut, false },
			{ TX_DATA + 2 * cut, 1, false },
			{ TX_DATA + 2 * cut + 1, total - 2 * cut - 1, false },
		};

		fake_indirect(&tx, TX_DATA + 0x8000, buffers, 4);
		fake_kick(&tx);
		cr_assert(fake_wait_used(&tx, &elem));
		cr_expect_eq(elem.len, 0);
		cr_expect_eq(to_network(own_mac, 9, &same), 1000);
		cr_expect(same);
	}
	cr_expect_eq(counted(NET_TX_PACKETS), 39);
	cr_expect_eq(counted(NET_TX_BYTES), 39000);
	cr_expect_gt(fake.dev->latencies[0].min, 0);
	cr_expect_geq(fake.dev->latencies[0].sum,
		      fake.dev->latencies[0].max + 38 * fake.dev->latencies[0].min);
	cr_expect_eq(counted(NET_NO_TX_AVAIL_BUFFER), 1, "at the start");
	fake_kick(&tx);
	fake_settle(&fake);
	cr_expect_eq(counted(NET_NO_TX_AVAIL_BUFFER), 2);
}

BOTH(a_full_network_makes_frames_wait, USUAL)
{
	struct vring_used_elem elem;
	uint32_t sent = 0, arrived = 0;
	bool same = true;

	write_frame(TX_DATA, own_mac, 10, 9000);
	for (uint32_t i = 0; i < 60; i++)
		fake_chain(&tx, &(struct fake_buffer){ TX_DATA, NET_HEADER + 9000, false }, 1);
	fake_kick(&tx);
	fake_settle(&fake);
	while (fake_used(&tx, &elem))
		sent++;
	cr_assert_lt(sent, 60, "the socket took everything");
	cr_assert_gt(sent, 0);
	for (int turn = 0; turn < 1000 && arrived < 60; turn++) {
		while (to_network(own_mac, 10, &same) == 9000 && same)
			arrived++;
		fake_settle(&fake);
	}
	while (fake_used(&tx, &elem))
		sent++;
	cr_expect_eq(arrived, 60);
	cr_expect_eq(sent, 60);
	cr_expect_eq(counted(NET_TX_FAILS), 0);
}

BOTH(frames_of_impossible_lengths_are_counted_and_dropped, USUAL)
{
	struct vring_used_elem elem;
	bool same;

	for (uint32_t len = 1; len < NET_HEADERS; len++)
		fake_chain(&tx, &(struct fake_buffer){ TX_DATA, len, false }, 1);
	fake_chain(&tx, &(struct fake_buffer){ RX_DATA, NET_FRAME_ROOM + 1, false }, 1);
	fake_kick(&tx);
	for (uint32_t i = 1; i <= NET_HEADERS; i++)
		cr_assert(fake_wait_used(&tx, &elem));
	cr_expect_eq(counted(NET_TX_MALFORMED), NET_HEADERS);
	cr_expect_eq(to_network(own_mac, 0, &same), 0);
	cr_expect_eq(device_status(), 15);
}
