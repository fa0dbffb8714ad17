/* The network device's control queue. */
#include "tests/unit/net_driver.h"

#define USUAL WITH_CONTROL

static void begin(void)
{
	create(EVENT_LOOP_URING, 1, (struct virtio_net_params){ .antispoof = true });
	drive(USUAL, 64);
}

TestSuite(virtio_net_control, .init = begin, .fini = end);

/* Commands ---------------------------------------------------------------------------------------*/

Test(virtio_net_control, the_driver_sets_another_mac)
{
	expect_mac(own_mac);
	cr_expect_eq(set_mac(other_mac, 6), VIRTIO_NET_OK);
	expect_mac(other_mac);
	cr_expect_eq(send_from(own_mac, 60), 0, "the old one is somebody else's now");
	cr_expect_eq(send_from(other_mac, 60), 60);
	drive(USUAL, 64);
	expect_mac(own_mac);
}

Test(virtio_net_control, macs_that_cannot_be)
{
	const uint8_t group[6] = { 1, 2, 3, 4, 5, 6 }, zero[7] = { 0 };

	cr_expect_eq(set_mac(group, 6), VIRTIO_NET_ERR);
	cr_expect_eq(set_mac(zero, 6), VIRTIO_NET_ERR);
	cr_expect_eq(set_mac(other_mac, 5), VIRTIO_NET_ERR);
	cr_expect_eq(set_mac(zero, 7), VIRTIO_NET_ERR);
	expect_mac(own_mac);
	cr_expect_eq(fake.dev->config_fails, 4);
}

Test(virtio_net_control, commands_that_are_none)
{
	const uint64_t zero = 0;

	cr_expect_eq(command(99, 0, &zero, 8), VIRTIO_NET_ERR);
	cr_expect_eq(command(VIRTIO_NET_CTRL_MAC, 99, &zero, 8), VIRTIO_NET_ERR);
	cr_expect_eq(command(VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, "\1", 2),
		     VIRTIO_NET_ERR, "it was not negotiated");
	cr_expect_eq(device_status(), 15);
}

Test(virtio_net_control, a_command_of_one_byte_has_an_answer)
{
	const struct fake_buffer buffers[] = { { COMMAND, 1, false }, { ANSWER, 1, true } };
	struct vring_used_elem elem;

	fake_chain(&control, buffers, 2);
	fake_chain(&control, buffers + 1, 1);
	fake_kick(&control);
	cr_assert(fake_wait_used(&control, &elem));
	cr_assert(fake_wait_used(&control, &elem));
	cr_expect_eq(*(uint8_t *)fake_ptr(&fake, ANSWER, 1), VIRTIO_NET_ERR);
}

Test(virtio_net_control, a_command_without_a_place_for_its_answer)
{
	fake_chain(&control, &(struct fake_buffer){ COMMAND, 8, false }, 1);
	fake_kick(&control);
	fake_settle(&fake);
	cr_expect(is_broken());
}

Test(virtio_net_control, offloads_begin_as_negotiated_and_can_be_taken_back)
{
	const uint64_t guest = NET_FEATURE(GUEST_CSUM) | NET_FEATURE(GUEST_TSO4) |
			       NET_FEATURE(GUEST_TSO6) | NET_FEATURE(GUEST_ECN) |
			       NET_FEATURE(GUEST_USO4) | NET_FEATURE(GUEST_USO6);
	const uint64_t fewer = NET_FEATURE(GUEST_CSUM), wrong = NET_FEATURE(GUEST_UFO);

	cr_expect_eq(network.offloads, guest);
	cr_expect_eq(command(VIRTIO_NET_CTRL_GUEST_OFFLOADS, VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET,
			     &fewer, 8),
		     VIRTIO_NET_OK);
	cr_expect_eq(network.offloads, fewer);
	cr_expect_eq(command(VIRTIO_NET_CTRL_GUEST_OFFLOADS, VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET,
			     &wrong, 8),
		     VIRTIO_NET_ERR);
	virtio_device_pause(fake.dev);
	virtio_device_resume(fake.dev);
	cr_expect_eq(network.offloads, fewer);
	drive(USUAL, 64);
	cr_expect_eq(network.offloads, guest);
}
