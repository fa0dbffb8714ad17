/* The network device with several queue pairs. */
#include "tests/unit/net_driver.h"

#define USUAL WITH_CONTROL

static uint8_t set_pairs(uint16_t pairs)
{
	return command(VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, &pairs, sizeof(pairs));
}

/* Several pairs --------------------------------------------------------------------------------*/

/* Queue 3 is the second pair's tx, 2 its rx; control is behind all of them. */
static void drive_pairs(struct fake_driver *rx2, struct fake_driver *tx2)
{
	fake_write(&fake, VIRTIO_MMIO_STATUS, 0);
	cr_assert(fake_negotiate(&fake, USUAL | NET_FEATURE(MQ) | 1ull << VIRTIO_F_VERSION_1));
	tx = control = *rx2 = *tx2 = fake;
	place_queue(&fake, 0, 16);
	place_queue(&tx, 1, 16);
	place_queue(rx2, 2, 16);
	place_queue(tx2, 3, 16);
	place_queue(&control, 6, 16);
	fake_write(&fake, VIRTIO_MMIO_STATUS, device_status() | VIRTIO_CONFIG_S_DRIVER_OK);
}

Test(virtio_net_pairs, several_pairs)
{
	struct fake_driver rx2, tx2;
	struct vring_used_elem elem;
	uint8_t frame[200];

	create(EVENT_LOOP_EPOLL, 3, (struct virtio_net_params){ 0 });
	drive_pairs(&rx2, &tx2);
	cr_expect_eq(network.pairs, 1, "one until the driver asks for more");
	fake_chain(&rx2, &(struct fake_buffer){ RX_DATA, 2048, true }, 1);
	fake_kick(&rx2);
	from_network(1, 1, 100);
	fake_settle(&fake);
	cr_expect_not(fake_used(&rx2, &elem));

	cr_expect_eq(set_pairs(2), VIRTIO_NET_OK);
	cr_expect_eq(network.pairs, 2);
	cr_assert(fake_wait_used(&rx2, &elem));
	cr_expect(holds_frame(RX_DATA + NET_HEADER, 1, 0, 100));
	write_frame(TX_DATA, own_mac, 2, 100);
	fake_chain(&tx2, &(struct fake_buffer){ TX_DATA, NET_HEADER + 100, false }, 1);
	fake_kick(&tx2);
	cr_assert(fake_wait_used(&tx2, &elem));
	cr_expect_eq(read(network.ends[1], frame, sizeof(frame)), NET_HEADER + 100);

	cr_expect_eq(set_pairs(0), VIRTIO_NET_ERR);
	cr_expect_eq(set_pairs(4), VIRTIO_NET_ERR);
	network.refuses_pairs = true;
	cr_expect_eq(set_pairs(3), VIRTIO_NET_ERR);
	network.refuses_pairs = false;
	virtio_device_pause(fake.dev);
	virtio_device_resume(fake.dev);
	cr_expect_eq(network.pairs, 2);
	cr_expect_eq(set_pairs(1), VIRTIO_NET_OK);
	fake_chain(&tx2, &(struct fake_buffer){ TX_DATA, NET_HEADER + 100, false }, 1);
	fake_kick(&tx2);
	cr_assert(fake_wait_used(&tx2, &elem));
	cr_expect_eq(counted(NET_TX_FAILS), 1);
	end();
}

/* What waited for its tokens while its pair was put aside would wait for ever: nobody notifies again. */
Test(virtio_net_pairs, a_limit_lets_go_of_a_pair_that_was_put_aside)
{
	const struct bucket_config ops = { .size = 1, .refill_ms = 3600000 }, none = { 0 };
	const struct net_rates slow = { .tx_ops = &ops }, fast = { .tx_ops = &none };
	struct fake_driver rx2, tx2;
	struct vring_used_elem elem;

	create(EVENT_LOOP_URING, 2, (struct virtio_net_params){ 0 });
	fake_write(&fake, VIRTIO_MMIO_STATUS, 0);
	cr_assert(fake_negotiate(&fake, USUAL | NET_FEATURE(MQ) | 1ull << VIRTIO_F_VERSION_1));
	tx = control = rx2 = tx2 = fake;
	place_queue(&fake, 0, 16);
	place_queue(&tx, 1, 16);
	place_queue(&rx2, 2, 16);
	place_queue(&tx2, 3, 16);
	place_queue(&control, 4, 16);
	fake_write(&fake, VIRTIO_MMIO_STATUS, device_status() | VIRTIO_CONFIG_S_DRIVER_OK);
	cr_expect_eq(set_pairs(2), VIRTIO_NET_OK);
	cr_assert_eq(virtio_net_set_rates(fake.dev, &slow, NULL), 0);
	write_frame(TX_DATA, own_mac, 2, 100);
	for (int i = 0; i < 2; i++)
		fake_chain(&tx2, &(struct fake_buffer){ TX_DATA, NET_HEADER + 100, false }, 1);
	fake_kick(&tx2);
	cr_assert(fake_wait_used(&tx2, &elem));
	fake_settle(&fake);
	cr_expect_not(fake_used(&tx2, &elem));
	cr_expect_eq(set_pairs(1), VIRTIO_NET_OK);
	cr_assert_eq(virtio_net_set_rates(fake.dev, &fast, NULL), 0);
	cr_expect(fake_wait_used(&tx2, &elem));
	end();
}

/* A driver that knows of one pair only has its control queue right behind it. */
Test(virtio_net_pairs, several_pairs_and_a_driver_of_one)
{
	create(EVENT_LOOP_EPOLL, 3, (struct virtio_net_params){ 0 });
	drive(USUAL, 16);
	cr_expect_eq(set_mac(other_mac, 6), VIRTIO_NET_OK);
	expect_mac(other_mac);
	end();
}
