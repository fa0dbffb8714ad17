/*
 * A fake driver with a network interface: what the tests of the device share. The backend's
 * descriptors are one side of socket pairs; the test holds the other, where it is the network.
 * Queues are rx (0), tx (1) and control (2); of each pair, where a test has several.
 */
#pragma once

#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>

#include "tests/unit/fake_driver.h"
#include "virtio/virtio_net_priv.h"

#define RINGS 0x400000u /* each queue's, from here on */
#define RING_BYTES 0x4000u
#define RX_DATA 0x440000u
#define TX_DATA 0x480000u

#define ALL_OFFLOADS                                                                \
	(NET_FEATURE(CSUM) | NET_FEATURE(GUEST_CSUM) | NET_FEATURE(HOST_TSO4) |     \
	 NET_FEATURE(HOST_TSO6) | NET_FEATURE(HOST_ECN) | NET_FEATURE(GUEST_TSO4) | \
	 NET_FEATURE(GUEST_TSO6) | NET_FEATURE(GUEST_ECN) | NET_FEATURE(HOST_USO) | \
	 NET_FEATURE(GUEST_USO4) | NET_FEATURE(GUEST_USO6))
#define MERGING NET_FEATURE(MRG_RXBUF)
#define WITH_CONTROL                                                            \
	(MERGING | ALL_OFFLOADS | INDIRECT | EVENT_IDX | NET_FEATURE(CTRL_VQ) | \
	 NET_FEATURE(CTRL_MAC_ADDR) | NET_FEATURE(CTRL_GUEST_OFFLOADS))
#define COMMAND 0x4c0000u
#define ANSWER 0x4c1000u
#define EVENT_IDX (1ull << VIRTIO_RING_F_EVENT_IDX)
#define INDIRECT (1ull << VIRTIO_RING_F_INDIRECT_DESC)

static const uint8_t own_mac[6] = { 2, 0, 0, 0, 0, 1 }, other_mac[6] = { 2, 0, 0, 0, 0, 2 };

/* The network behind the device. */
static struct {
	struct net_backend backend;
	int ends[NET_QUEUE_PAIRS_MAX]; /* the test's sides */
	uint64_t offloads;	       /* what the device asked for last */
	unsigned int pairs;
	bool refuses_pairs;
	bool is_deleted; /* the interface, which says so to the next request */
	bool destroyed;
} network;

static struct fake_driver fake;	       /* the receive queue's, and the device's */
static struct fake_driver tx, control; /* copies, each with its own ring */

static inline int note_offloads(struct net_backend *backend, uint64_t features)
{
	(void)backend;
	if (network.is_deleted)
		return -EBADFD;
	network.offloads = features;
	return 0;
}

static inline int note_pairs(struct net_backend *backend, unsigned int pairs)
{
	(void)backend;
	if (network.refuses_pairs)
		return -EPERM;
	network.pairs = pairs;
	return 0;
}

static inline void note_destroyed(struct net_backend *backend)
{
	for (unsigned int i = 0; i < backend->pairs; i++)
		close(backend->fds[i]);
	network.destroyed = true;
}

static const struct net_backend_ops network_ops = { note_offloads, note_pairs, note_destroyed };

static inline void make_network(unsigned int pairs)
{
	network.destroyed = network.refuses_pairs = network.is_deleted = false;
	network.backend = (struct net_backend){ .ops = &network_ops,
						.features = ALL_OFFLOADS,
						.pairs = pairs };
	for (unsigned int i = 0; i < pairs; i++) {
		int ends[2];

		cr_assert_eq(
			socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends),
			0);
		network.backend.fds[i] = ends[0];
		network.ends[i] = ends[1];
	}
}

/* `params` without a name; it has own_mac. */
static inline void create(enum event_loop_kind kind, unsigned int pairs,
			  struct virtio_net_params params)
{
	struct error err = { 0 };

	log_set_level(LOG_ERROR);
	signal(SIGPIPE, SIG_IGN);
	fake_init(&fake, kind);
	make_network(pairs);
	params.name = "net0";
	params.has_mac = true;
	memcpy(params.mac, own_mac, 6);
	cr_assert_eq(virtio_net_create(&fake.dev, &params, &network.backend, &fake.mem, fake.loop,
				       &fake.irq, &err),
		     0, "%s", err.text);
}

static inline struct virtio_net *interface(void)
{
	return net_of(fake.dev);
}

static inline void end(void)
{
	const unsigned int pairs = network.backend.pairs;

	fake_fini(&fake);
	cr_expect(network.destroyed);
	for (unsigned int i = 0; i < pairs; i++)
		if (network.ends[i] >= 0)
			close(network.ends[i]);
}

static inline void place_queue(struct fake_driver *driver, unsigned int queue, uint16_t size)
{
	driver->queue = queue;
	fake_place_rings_at(driver, RINGS + queue * RING_BYTES, size);
	cr_assert(fake_setup_queue(driver));
}

static inline uint32_t device_status(void)
{
	return fake_read(&fake, VIRTIO_MMIO_STATUS);
}

/* The driver of a book, but for the receive buffers, which the test posts. */
static inline void drive(uint64_t features, uint16_t size)
{
	fake_write(&fake, VIRTIO_MMIO_STATUS, 0);
	cr_assert(fake_negotiate(&fake, features | 1ull << VIRTIO_F_VERSION_1));
	tx = control = fake;
	place_queue(&fake, 0, size);
	place_queue(&tx, 1, size);
	if (features & NET_FEATURE(CTRL_VQ))
		place_queue(&control, 2, 16);
	fake_write(&fake, VIRTIO_MMIO_STATUS, device_status() | VIRTIO_CONFIG_S_DRIVER_OK);
	cr_assert_eq(device_status(), 15);
}

static inline bool is_broken(void)
{
	return device_status() & VIRTIO_CONFIG_S_NEEDS_RESET;
}

static inline uint64_t counted(enum net_counter counter)
{
	return fake.dev->counters[counter];
}

static inline void post(uint64_t gpa, uint32_t len)
{
	fake_chain(&fake, &(struct fake_buffer){ gpa, len, true }, 1);
}

/* Byte `at` of frame number `seed`. */
static inline uint8_t pattern(uint32_t seed, size_t at)
{
	return (uint8_t)(seed * 37 + at * 7 + (at >> 8));
}

/* A frame as the backend gives it: header, Ethernet, pattern. `len` without the header. */
static inline void from_network(unsigned int pair, uint32_t seed, size_t len)
{
	static uint8_t frame[NET_FRAME_ROOM];

	memset(frame, 0, NET_HEADER);
	for (size_t i = 0; i < len; i++)
		frame[NET_HEADER + i] = pattern(seed, i);
	cr_assert_eq(write(network.ends[pair], frame, NET_HEADER + len),
		     (ssize_t)(NET_HEADER + len));
}

/* Does memory at gpa hold bytes [from, from + len) of that frame? */
static inline bool holds_frame(uint64_t gpa, uint32_t seed, size_t from, size_t len)
{
	const uint8_t *data = fake_ptr(&fake, gpa, len);

	for (size_t i = 0; i < len; i++)
		if (data[i] != pattern(seed, from + i))
			return false;
	return true;
}

static inline const struct virtio_net_hdr_v1 *header_at(uint64_t gpa)
{
	return fake_ptr(&fake, gpa, NET_HEADER);
}

/* A frame that the guest sends from `gpa` on: header, destination, source, pattern. */
static inline void write_frame(uint64_t gpa, const uint8_t source[6], uint32_t seed, size_t len)
{
	uint8_t *data = fake_ptr(&fake, gpa, NET_HEADER + len);

	memset(data, 0, NET_HEADER);
	data += NET_HEADER;
	for (size_t i = 0; i < len; i++)
		data[i] = pattern(seed, i);
	if (len >= 12)
		memcpy(data + 6, source, 6);
}

/* The next frame that reached the network: its length without the header, and whether it is the one
 * that write_frame() wrote. 0: none. */
static inline size_t to_network(const uint8_t source[6], uint32_t seed, bool *same)
{
	static uint8_t frame[NET_FRAME_ROOM + 1];
	const ssize_t got = read(network.ends[0], frame, sizeof(frame));

	*same = got >= (ssize_t)NET_HEADERS && memcmp(frame + NET_HEADER + 6, source, 6) == 0;
	for (ssize_t i = NET_HEADER; i < got && *same; i++)
		if ((i < (ssize_t)NET_HEADER + 6 || i >= (ssize_t)NET_HEADER + 12) &&
		    frame[i] != pattern(seed, (size_t)i - NET_HEADER))
			*same = false;
	return got < (ssize_t)NET_HEADER ? 0 : (size_t)got - NET_HEADER;
}

/* The driver sends a frame of len bytes; how many of it reached the network. */
static inline size_t send_from(const uint8_t source[6], size_t len)
{
	struct vring_used_elem elem;
	bool same;

	write_frame(TX_DATA, source, 1, len);
	fake_chain(&tx, &(struct fake_buffer){ TX_DATA, (uint32_t)(NET_HEADER + len), false }, 1);
	fake_kick(&tx);
	cr_assert(fake_wait_used(&tx, &elem));
	return to_network(source, 1, &same);
}

/* A command in one piece; its answer, 0xff when none came. */
static inline uint8_t command(uint8_t class, uint8_t cmd, const void *data, uint32_t len)
{
	const struct fake_buffer buffers[] = { { COMMAND, 2 + len, false }, { ANSWER, 1, true } };
	uint8_t *at = fake_ptr(&fake, COMMAND, 2 + len), *answer = fake_ptr(&fake, ANSWER, 1);
	struct vring_used_elem elem;

	*answer = 0xff;
	at[0] = class;
	at[1] = cmd;
	memcpy(at + 2, data, len);
	fake_chain(&control, buffers, 2);
	fake_kick(&control);
	if (!fake_wait_used(&control, &elem))
		return 0xff;
	cr_expect_eq(elem.len, 1);
	return *answer;
}

static inline uint8_t set_mac(const uint8_t *mac, uint32_t len)
{
	return command(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, mac, len);
}

static inline void expect_mac(const uint8_t mac[6])
{
	uint8_t now[8] = { 0 };

	virtio_mmio_read(fake.dev, VIRTIO_MMIO_CONFIG, now, 4);
	virtio_mmio_read(fake.dev, VIRTIO_MMIO_CONFIG + 4, now + 4, 2);
	cr_expect_eq(memcmp(now, mac, 6), 0);
}
