/* A network device saved, and another one over another tap in its place. */
#include "snapshot/state_file.h"
#include "tests/unit/net_driver.h"
#include "virtio/virtio_device_state.h"

#define USUAL WITH_CONTROL

static void begin(void)
{
	create(EVENT_LOOP_URING, 1, (struct virtio_net_params){ .antispoof = true });
	drive(USUAL, 64);
}

TestSuite(virtio_net_state, .init = begin, .fini = end);

/* Saved state ----------------------------------------------------------------------------------*/

static void save(struct virtio_device_state *device, struct net_state *state)
{
	struct state_writer writer = { 0 };
	struct state_buffer bytes;
	struct state_file file;
	struct error err = { 0 };

	virtio_device_pause(fake.dev);
	virtio_device_save(fake.dev, device);
	net_save(fake.dev, state);
	state_writer_add(&writer, &net_state_desc, 0, state);
	cr_assert_eq(state_writer_finish(&writer, &bytes, &err), 0);
	state_writer_fini(&writer);
	memset(state, 0, sizeof(*state));
	cr_assert_eq(state_file_parse(&file, bytes.bytes, bytes.len, "s", &err), 0);
	cr_assert_eq(state_file_get(&file, &net_state_desc, 0, state, &err), 0, "%s", err.text);
	state_file_fini(&file);
	free(bytes.bytes);
}

/* The device of the snapshot goes; another one over another network takes its place. */
static void replace_device(void)
{
	const struct virtio_net_params params = { .name = "net0", .antispoof = true };

	virtio_device_destroy(fake.dev);
	close(network.ends[0]);
	make_network(1);
	cr_assert_eq(virtio_net_create(&fake.dev, &params, &network.backend, &fake.mem, fake.loop,
				       &fake.irq, NULL),
		     0);
	virtio_device_pause(fake.dev);
	tx.dev = control.dev = fake.dev;
}

static void load(const struct virtio_device_state *device, const struct net_state *state)
{
	struct error err = { 0 };

	replace_device();
	cr_assert_eq(virtio_device_load(fake.dev, device, &err), 0, "%s", err.text);
	cr_assert_eq(net_load(fake.dev, state, &err), 0, "%s", err.text);
	virtio_device_resume(fake.dev);
	fake_settle(&fake);
}

static struct virtio_device_state device_state;
static struct net_state net_state;

Test(virtio_net_state, a_restored_device_goes_on_over_another_tap)
{
	const uint64_t fewer = NET_FEATURE(GUEST_CSUM);
	struct vring_used_elem elem;

	for (uint32_t i = 0; i < 4; i++)
		post(RX_DATA + i * 2048, 2048);
	fake_kick(&fake);
	fake_settle(&fake);
	cr_expect_eq(set_mac(other_mac, 6), VIRTIO_NET_OK);
	command(VIRTIO_NET_CTRL_GUEST_OFFLOADS, VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET, &fewer, 8);
	save(&device_state, &net_state);
	load(&device_state, &net_state);
	expect_mac(other_mac);
	cr_expect_eq(network.offloads, fewer);
	from_network(0, 7, 100);
	cr_assert(fake_wait_used(&fake, &elem));
	cr_expect(holds_frame(RX_DATA + NET_HEADER, 7, 0, 100));
	cr_expect_eq(send_from(other_mac, 60), 60);
	cr_expect_eq(send_from(own_mac, 60), 0);
}

static const uint8_t new_mac[ETH_ALEN] = { 2, 0, 0, 0, 0, 0x77 };

static void load_and_change_mac(void)
{
	struct error err = { 0 };

	replace_device();
	cr_assert_eq(virtio_device_load(fake.dev, &device_state, &err), 0, "%s", err.text);
	cr_assert_eq(net_load(fake.dev, &net_state, &err), 0, "%s", err.text);
	cr_assert_eq(virtio_net_set_mac(fake.dev, new_mac, &err), 0, "%s", err.text);
	virtio_device_resume(fake.dev);
	fake_settle(&fake);
}

/* Its driver has read the old one, and reads the new one when it looks again. */
Test(virtio_net_state, a_clone_with_another_mac_may_use_both_until_it_uses_the_new_one)
{
	cr_expect_eq(set_mac(other_mac, 6), VIRTIO_NET_OK);
	save(&device_state, &net_state);
	load_and_change_mac();
	expect_mac(new_mac);
	cr_expect_eq(send_from(other_mac, 60), 60);
	cr_expect_eq(send_from(own_mac, 60), 0, "that of neither");
	cr_expect_eq(send_from(other_mac, 60), 60);
	cr_expect_eq(send_from(new_mac, 60), 60);
	cr_expect_eq(send_from(other_mac, 60), 0, "the old one is another's by now");
	cr_expect_eq(send_from(new_mac, 60), 60);
}

Test(virtio_net_state, a_clone_of_a_clone_with_another_mac)
{
	cr_expect_eq(set_mac(other_mac, 6), VIRTIO_NET_OK);
	save(&device_state, &net_state);
	load_and_change_mac();
	save(&device_state, &net_state);
	load(&device_state, &net_state);
	expect_mac(new_mac);
	cr_expect_eq(send_from(other_mac, 60), 60, "it has never used the new one");
	cr_expect_eq(send_from(new_mac, 60), 60);
	cr_expect_eq(send_from(other_mac, 60), 0);
}

Test(virtio_net_state, a_mac_that_cannot_be_one)
{
	const uint8_t group[ETH_ALEN] = { 1, 0, 0, 0, 0, 1 };
	struct error err = { 0 };

	cr_expect_eq(virtio_net_set_mac(fake.dev, group, &err), -EINVAL);
	cr_expect_str_eq(err.text, "net net0: that MAC cannot be an interface's");
}

Test(virtio_net_state, a_restored_link_is_up_again_over_a_new_tap)
{
	struct vring_used_elem elem;

	close(network.ends[0]);
	network.ends[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	fake_settle(&fake);
	cr_assert(interface()->gone);
	save(&device_state, &net_state);
	atomic_store(&fake.interrupts, 0);
	load(&device_state, &net_state);
	cr_expect_gt(fake.interrupts, 0, "the driver is told");
	cr_expect_eq(interface()->config.status, VIRTIO_NET_S_LINK_UP);
	post(RX_DATA, 2048);
	fake_kick(&fake);
	from_network(0, 7, 100);
	cr_assert(fake_wait_used(&fake, &elem));
}

Test(virtio_net_state, saved_state_that_lies)
{
	struct net_state bad;

	save(&device_state, &net_state);
	replace_device();
#define EXPECT_REFUSED(change, sentence)                                            \
	do {                                                                        \
		struct error err = { 0 };                                           \
		bad = net_state;                                                    \
		bad.change;                                                         \
		cr_expect_lt(net_load(fake.dev, &bad, &err), 0, #change);           \
		cr_expect(strstr(err.text, sentence) != NULL, "got: %s", err.text); \
	} while (0)
	EXPECT_REFUSED(mac[0] = 1, "a saved MAC");
	EXPECT_REFUSED(own_mac[0] = 0xff, "a saved MAC");
	EXPECT_REFUSED(pairs = 2, "2 queue pairs, not 1");
	EXPECT_REFUSED(active_pairs = 0, "0 of 1");
	EXPECT_REFUSED(active_pairs = 2, "2 of 1");
	EXPECT_REFUSED(offloads = NET_FEATURE(GUEST_UFO), "lacks offloads");
	EXPECT_REFUSED(rx_limiter.bytes.tokens = 5, "impossible rate limiter");
}
