/* Who stands between guest and tap: limits, and a filter. */
#include <sys/resource.h>

#include "base/clock.h"
#include "tests/unit/net_driver.h"

#define USUAL WITH_CONTROL

static void begin(void)
{
	create(EVENT_LOOP_URING, 1, (struct virtio_net_params){ .antispoof = true });
	drive(USUAL, 64);
}

TestSuite(virtio_net_flow, .init = begin, .fini = end);

/* Limits ---------------------------------------------------------------------------------------*/

static double seconds(void)
{
	return (double)clock_now_ns(CLOCK_MONOTONIC) / 1e9;
}

Test(virtio_net_flow, what_is_sent_can_be_limited)
{
	const struct bucket_config ops = { .size = 10, .refill_ms = 100 };
	const struct net_rates rates = { .tx_ops = &ops };
	struct vring_used_elem elem;
	const double begun = seconds();
	unsigned int sent = 0;
	bool same;

	cr_assert_eq(virtio_net_set_rates(fake.dev, &rates, NULL), 0);
	write_frame(TX_DATA, own_mac, 1, 60);
	for (int i = 0; i < 30; i++)
		fake_chain(&tx, &(struct fake_buffer){ TX_DATA, NET_HEADER + 60, false }, 1);
	fake_kick(&tx);
	fake_settle(&fake);
	for (; fake_used(&tx, &elem); sent++)
		;
	cr_expect_geq(sent, 10);
	cr_expect_lt(sent, 30);
	for (; sent < 30; sent++)
		cr_assert(fake_wait_used(&tx, &elem));
	cr_expect_geq(seconds() - begun, 0.19);
	cr_expect_geq(counted(NET_TX_THROTTLED), 1);
	for (int i = 0; i < 30; i++)
		cr_expect_eq(to_network(own_mac, 1, &same), 60);
}

Test(virtio_net_limits, what_is_received_can_be_limited)
{
	const struct bucket_config bytes = { .size = 10000, .refill_ms = 100 }, none = { 0 };
	const struct net_rates rates = { .rx_bytes = &none };
	struct vring_used_elem elem;
	double begun;

	create(EVENT_LOOP_URING, 1, (struct virtio_net_params){ .rx_rate.bytes = bytes });
	drive(USUAL, 64);
	for (uint32_t i = 0; i < 60; i++)
		post(RX_DATA + i * 2048, 2048);
	fake_kick(&fake);
	begun = seconds();
	for (uint32_t i = 0; i < 31; i++)
		from_network(0, i, 1000);
	for (uint32_t i = 0; i < 31; i++) {
		cr_assert(fake_wait_used(&fake, &elem));
		cr_expect(holds_frame(RX_DATA + i * 2048 + NET_HEADER, i, 0, 1000));
	}
	cr_expect_geq(seconds() - begun, 0.19);
	cr_expect_geq(counted(NET_RX_THROTTLED), 1);
	cr_assert_eq(virtio_net_set_rates(fake.dev, &rates, NULL), 0);
	begun = seconds();
	for (uint32_t i = 0; i < 29; i++)
		from_network(0, i, 1000);
	fake_settle(&fake);
	for (uint32_t i = 0; i < 29; i++)
		cr_assert(fake_used(&fake, &elem), "at once, without a limit");
	end();
}

/* A limit wants a timer for each direction, and there is a descriptor for one only. */
Test(virtio_net_flow, both_limits_change_or_none)
{
	const struct bucket_config ops = { .size = 10, .refill_ms = 100 };
	const struct net_rates rates = { .rx_ops = &ops, .tx_ops = &ops };
	struct rlimit before, few;
	struct error err = { 0 };
	int fd, last = -1;

	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
	few = (struct rlimit){ MIN(before.rlim_cur, (rlim_t)100), before.rlim_max };
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
	while ((fd = dup(STDIN_FILENO)) >= 0)
		last = fd;
	close(last);
	cr_expect_eq(virtio_net_set_rates(fake.dev, &rates, &err), -EMFILE);
	cr_expect(strstr(err.text, "net net0"), "%s", err.text);
	cr_expect_eq(interface()->rx_limiter.ops.config.size, 0);
	cr_expect_eq(interface()->tx_limiter.ops.config.size, 0);
	setrlimit(RLIMIT_NOFILE, &before);
	cr_expect_eq(virtio_net_set_rates(fake.dev, &rates, &err), 0);
	cr_expect_eq(interface()->rx_limiter.ops.config.size, 10);
	cr_expect_eq(interface()->tx_limiter.ops.config.size, 10);
}

/* Filter ---------------------------------------------------------------------------------------*/

static struct {
	struct net_filter filter;
	unsigned int seen, taken, told;
	uint8_t last[2000];
	size_t last_len;
} somebody;

/* Takes frames of 100 bytes. */
static bool take(struct net_filter *filter, const struct iovec *iov, unsigned int count, size_t len)
{
	(void)filter;
	somebody.seen++;
	somebody.last_len = 0;
	for (unsigned int i = 0; i < count; i++) {
		memcpy(somebody.last + somebody.last_len, iov[i].iov_base, iov[i].iov_len);
		somebody.last_len += iov[i].iov_len;
	}
	cr_expect_eq(somebody.last_len, len);
	cr_expect_eq(iov[0].iov_len, MIN(len, NET_PEEK), "the device's own copy");
	somebody.taken += len == 100;
	return len == 100;
}

static void note_room(struct net_filter *filter)
{
	(void)filter;
	somebody.told++;
}

Test(virtio_net_flow, a_filter_takes_what_it_wants)
{
	memset(&somebody, 0, sizeof(somebody));
	somebody.filter = (struct net_filter){ .frame = take, .rx_room = note_room };
	virtio_net_set_filter(fake.dev, &somebody.filter);
	cr_expect_eq(send_from(own_mac, 100), 0);
	cr_expect_eq(memcmp(somebody.last, fake_ptr(&fake, TX_DATA + NET_HEADER, 100), 100), 0);
	cr_expect_eq(send_from(own_mac, 101), 101);
	cr_expect_eq(send_from(other_mac, 100), 0);
	cr_expect_eq(somebody.seen, 2, "what is spoofed reaches nobody");
	virtio_net_set_filter(fake.dev, NULL);
	cr_expect_eq(send_from(own_mac, 100), 100);
}

/* Turns the frame into another one while it is looked at. */
static bool meddle(struct net_filter *filter, const struct iovec *iov, unsigned int count,
		   size_t len)
{
	(void)filter;
	(void)iov;
	(void)count;
	fake_end_audit(&fake);
	memset(fake_ptr(&fake, TX_DATA, NET_HEADER + len), 0xff, NET_HEADER + MIN(len, NET_PEEK));
	return false;
}

Test(virtio_net_flow, what_a_filter_judged_is_what_is_sent)
{
	static const uint32_t lens[] = { ETH_HLEN, NET_PEEK - 1, NET_PEEK, NET_PEEK + 1, 1000 };
	struct net_filter filter = { .frame = meddle };
	struct vring_used_elem elem;
	bool same;

	virtio_net_set_filter(fake.dev, &filter);
	for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
		write_frame(TX_DATA, own_mac, 1, lens[i]);
		fake_chain(&tx, &(struct fake_buffer){ TX_DATA, NET_HEADER + lens[i], false }, 1);
		fake_kick(&tx);
		cr_assert(fake_wait_used(&tx, &elem));
		cr_expect_eq(to_network(own_mac, 1, &same), lens[i]);
		cr_expect(same, "%u bytes", lens[i]);
	}
}

Test(virtio_net_flow, a_filter_learns_of_a_pending_checksum)
{
	struct virtio_net_hdr_v1 *header;
	struct vring_used_elem elem;

	memset(&somebody, 0, sizeof(somebody));
	somebody.filter = (struct net_filter){ .frame = take };
	virtio_net_set_filter(fake.dev, &somebody.filter);
	cr_expect_eq(send_from(own_mac, 100), 0);
	cr_expect_not(somebody.filter.checksum_pending);
	write_frame(TX_DATA, own_mac, 1, 100);
	header = fake_ptr(&fake, TX_DATA, NET_HEADER);
	header->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	fake_chain(&tx, &(struct fake_buffer){ TX_DATA, NET_HEADER + 100, false }, 1);
	fake_kick(&tx);
	cr_assert(fake_wait_used(&tx, &elem));
	cr_expect(somebody.filter.checksum_pending);
}

Test(virtio_net_flow, a_filter_answers)
{
	struct vring_used_elem elem;
	uint8_t frame[1500];

	memset(&somebody, 0, sizeof(somebody));
	somebody.filter = (struct net_filter){ .frame = take, .rx_room = note_room };
	virtio_net_set_filter(fake.dev, &somebody.filter);
	for (size_t i = 0; i < sizeof(frame); i++)
		frame[i] = pattern(5, i);
	cr_expect_eq(virtio_net_inject(fake.dev, frame, 13), -EMSGSIZE);
	cr_expect_eq(virtio_net_inject(fake.dev, frame, sizeof(frame)), -EAGAIN);
	cr_expect_eq(somebody.told, 0);
	post(RX_DATA, 1000);
	fake_kick(&fake);
	fake_settle(&fake);
	cr_expect_eq(somebody.told, 1);
	cr_expect_eq(virtio_net_inject(fake.dev, frame, sizeof(frame)), -EAGAIN);
	post(RX_DATA + 0x1000, 1000);
	fake_kick(&fake);
	fake_settle(&fake);
	cr_expect_eq(somebody.told, 2);
	cr_expect_eq(virtio_net_inject(fake.dev, frame, sizeof(frame)), 0);
	cr_assert(fake_wait_used(&fake, &elem));
	cr_expect_eq(elem.len, 1000);
	cr_expect_eq(header_at(RX_DATA)->num_buffers, 2);
	cr_expect(holds_frame(RX_DATA + NET_HEADER, 5, 0, 1000 - NET_HEADER));
	cr_assert(fake_used(&fake, &elem));
	cr_expect_eq(elem.len, 512);
	cr_expect(holds_frame(RX_DATA + 0x1000, 5, 1000 - NET_HEADER, 512));
	fake_write(&fake, VIRTIO_MMIO_STATUS, 0);
	cr_expect_eq(virtio_net_inject(fake.dev, frame, sizeof(frame)), -ENETDOWN);
}
