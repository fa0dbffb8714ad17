/*
 * A fake driver with a vsock: what its tests share. The guest's half is packets on real rings, the
 * host's half is real Unix sockets in a folder of the test's own.
 */
#pragma once

#include <criterion/criterion.h>
#include <poll.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include "tests/unit/fake_driver.h"
#include "virtio/virtio_device_state.h"
#include "virtio/virtio_vsock_priv.h"

#define RINGS 0x60000u	    /* the other queues', 64 KiB each */
#define TX_HEADER FAKE_DATA /* what the guest sends */
#define TX_DATA 0x20000u
#define TX_DATA_MAX KIB(64)
#define EVENT_BUFFER 0x50000u
#define RX_BUFFERS FAKE_HIGH /* 4 KiB for each entry of the ring */
#define RX_SIZE 4096u
#define RX_COUNT 128u
#define CID 7u
#define ALLOC 65536u

static struct fake_driver fake; /* receive */
static struct fake_driver tx, event;
static char folder[32], path[64];

static inline struct virtio_vsock *vsock(void)
{
	return vsock_of(fake.dev);
}

static inline uint64_t counter(enum vsock_counter which)
{
	return fake.dev->counters[which];
}

static inline void setup(struct fake_driver *other, unsigned int index)
{
	*other = fake;
	other->queue = index;
	fake_place_rings_at(other, RINGS + 0x8000 * index, 64);
	cr_assert(fake_setup_queue(other));
}

static inline void give_rx_sized(unsigned int count, uint32_t size)
{
	for (unsigned int i = 0; i < count; i++) {
		const uint64_t gpa = RX_BUFFERS + (fake.next_desc & (RX_COUNT - 1)) * RX_SIZE;

		fake_chain(&fake, &(struct fake_buffer){ gpa, size, true }, 1);
	}
	fake_kick(&fake);
}

static inline void give_rx(unsigned int count)
{
	give_rx_sized(count, RX_SIZE);
}

/* All queues are ready before DRIVER_OK, as a driver does it. */
static inline void drive(void)
{
	const uint64_t features = fake.dev->features;

	fake_write(&fake, VIRTIO_MMIO_STATUS, 0);
	fake_place_rings(&fake, RX_COUNT);
	cr_assert(fake_negotiate(&fake, features));
	cr_assert(fake_setup_queue(&fake));
	setup(&tx, 1);
	setup(&event, 2);
	fake_write(&fake, VIRTIO_MMIO_STATUS,
		   fake_read(&fake, VIRTIO_MMIO_STATUS) | VIRTIO_CONFIG_S_DRIVER_OK);
}

static inline int create(const char *at, uint32_t cid, struct error *err)
{
	return virtio_vsock_create(&fake.dev,
				   &(struct virtio_vsock_params){ .path = at, .cid = cid },
				   &fake.mem, fake.loop, &fake.irq, err);
}

/* As a clone begins: another device, with what was saved of the one that the guest had. */
static inline void restore(void)
{
	const uint64_t hold_ns = vsock()->hold_ns;
	struct virtio_device_state device;
	struct virtio_vsock_state state;
	struct error err = { 0 };

	virtio_device_pause(fake.dev);
	virtio_device_save(fake.dev, &device);
	fake.dev->ops->save(fake.dev, &state);
	virtio_device_destroy(fake.dev);
	cr_assert_eq(create(path, CID, &err), 0, "%s", err.text);
	tx.dev = event.dev = fake.dev;
	vsock()->hold_ns = hold_ns;
	virtio_device_pause(fake.dev);
	cr_assert_eq(virtio_device_load(fake.dev, &device, &err), 0, "%s", err.text);
	cr_assert_eq(fake.dev->ops->load(fake.dev, &state, &err), 0, "%s", err.text);
	virtio_device_resume(fake.dev);
}

static inline void begin(enum event_loop_kind kind)
{
	struct error err = { 0 };

	log_set_level(LOG_ERROR);
	snprintf(folder, sizeof(folder), "/tmp/mayfly-vsock-XXXXXX");
	cr_assert(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/v", folder);
	fake_init(&fake, kind);
	cr_assert_eq(create(path, CID, &err), 0, "%s", err.text);
	drive();
	give_rx(RX_COUNT);
}

static inline void end(void)
{
	char command[64];

	fake_fini(&fake);
	snprintf(command, sizeof(command), "rm -r %s", folder);
	cr_expect_eq(system(command), 0);
}

/* A test over both ways of waiting. */
#define LOOPS(suite, name)               \
	static void name(void);          \
	Test(suite, name##_epoll)        \
	{                                \
		begin(EVENT_LOOP_EPOLL); \
		name();                  \
		end();                   \
	}                                \
	Test(suite, name##_uring)        \
	{                                \
		begin(EVENT_LOOP_URING); \
		name();                  \
		end();                   \
	}                                \
	static void name(void)

/* The guest --------------------------------------------------------------------------------------*/

static uint32_t guest_alloc = ALLOC, guest_forwarded;

static inline struct virtio_vsock_hdr header(uint16_t op, uint32_t host_port, uint32_t guest_port)
{
	return (struct virtio_vsock_hdr){ .src_cid = CID,
					  .dst_cid = VSOCK_HOST_CID,
					  .src_port = guest_port,
					  .dst_port = host_port,
					  .type = VIRTIO_VSOCK_TYPE_STREAM,
					  .op = op,
					  .buf_alloc = guest_alloc,
					  .fwd_cnt = guest_forwarded };
}

/* One packet, its header as it is and `len` bytes at TX_DATA; taken when it returns, or refused. */
static inline void send_raw(const struct virtio_vsock_hdr *packet, uint32_t len)
{
	const struct fake_buffer buffers[] = { { TX_HEADER, sizeof(*packet), false },
					       { TX_DATA, len, false } };
	struct vring_used_elem elem;

	memcpy(fake_ptr(&fake, TX_HEADER, sizeof(*packet)), packet, sizeof(*packet));
	fake_chain(&tx, buffers, len ? 2 : 1);
	fake_kick(&tx);
	for (int i = 0; i < 50 && !fake_used(&tx, &elem); i++)
		event_loop_run_once(fake.loop, false);
}

static inline void say(uint16_t op, uint32_t host_port, uint32_t guest_port)
{
	const struct virtio_vsock_hdr packet = header(op, host_port, guest_port);

	send_raw(&packet, 0);
}

static inline void say_shutdown(uint32_t flags, uint32_t host_port, uint32_t guest_port)
{
	struct virtio_vsock_hdr packet = header(VIRTIO_VSOCK_OP_SHUTDOWN, host_port, guest_port);

	packet.flags = flags;
	send_raw(&packet, 0);
}

static inline void say_bytes(const void *data, uint32_t len, uint32_t host_port,
			     uint32_t guest_port)
{
	struct virtio_vsock_hdr packet = header(VIRTIO_VSOCK_OP_RW, host_port, guest_port);

	packet.len = len;
	memcpy(fake_ptr(&fake, TX_DATA, len), data, len);
	send_raw(&packet, len);
}

static uint8_t last_data[RX_SIZE];

/* The next packet for the guest, its buffer given back at once; false: none comes. */
static inline bool hear(struct virtio_vsock_hdr *packet)
{
	struct vring_used_elem elem;
	const uint8_t *buffer;

	for (int i = 0; !fake_used(&fake, &elem); i++) {
		if (i == 20)
			return false;
		event_loop_run_once(fake.loop, false);
	}
	buffer = fake_ptr(&fake, RX_BUFFERS + elem.id * RX_SIZE, RX_SIZE);
	memcpy(packet, buffer, sizeof(*packet));
	cr_assert_eq(elem.len, sizeof(*packet) + packet->len);
	cr_assert_eq(packet->dst_cid, CID);
	memcpy(last_data, buffer + sizeof(*packet), packet->len);
	fake_offer(&fake, (uint16_t)elem.id);
	fake_kick(&fake);
	return true;
}

/* The next packet must be this one. */
#define expect(wanted_op, wanted_host, wanted_guest)                                       \
	({                                                                                 \
		struct virtio_vsock_hdr expect_packet = { 0 };                             \
		cr_assert(hear(&expect_packet), "no packet came");                         \
		cr_assert_eq(expect_packet.op, wanted_op, "op %u came", expect_packet.op); \
		cr_assert_eq(expect_packet.dst_port, wanted_guest);                        \
		cr_assert(wanted_host == expect_packet.src_port || wanted_host == 0);      \
		expect_packet;                                                             \
	})

#define expect_silence()                                                                      \
	({                                                                                    \
		struct virtio_vsock_hdr silence_packet = { 0 };                               \
		cr_assert(!hear(&silence_packet), "a packet came: op %u", silence_packet.op); \
	})

/* The host ---------------------------------------------------------------------------------------*/

static inline struct sockaddr_un address(const char *suffix)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s%s", path, suffix);
	return addr;
}

static inline int host_listen(const char *suffix)
{
	struct sockaddr_un addr = address(suffix);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	cr_assert_eq(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	cr_assert_eq(listen(fd, 128), 0);
	return fd;
}

static inline int host_dial(void)
{
	struct sockaddr_un addr = address("");
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	cr_assert_eq(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

static inline void host_say(int fd, const char *text)
{
	cr_assert_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* What is there for the host's program now: bytes, 0 at the end, -EAGAIN, or another error. */
static inline ssize_t host_hear(int fd, void *data, size_t size)
{
	ssize_t len;

	fake_settle(&fake);
	len = recv(fd, data, size, MSG_DONTWAIT);
	return len < 0 ? -errno : len;
}

#define host_expect(fd, wanted)                                                        \
	({                                                                             \
		char host_text[128] = "";                                              \
		ssize_t host_len = host_hear(fd, host_text, sizeof(host_text) - 1);    \
		cr_assert_eq(host_len, (ssize_t)strlen(wanted), "%ld came", host_len); \
		cr_assert_str_eq(host_text, wanted);                                   \
	})

static inline void host_expect_end(int fd)
{
	char byte;

	cr_assert_eq(host_hear(fd, &byte, 1), 0);
}

/* A connection that the host opened to a port of the guest; *host_port is the host's. */
static inline int open_from_host(uint32_t guest_port, uint32_t *host_port)
{
	char line[64];
	int fd = host_dial();

	snprintf(line, sizeof(line), "CONNECT %u\n", guest_port);
	host_say(fd, line);
	*host_port = expect(VIRTIO_VSOCK_OP_REQUEST, 0, guest_port).src_port;
	say(VIRTIO_VSOCK_OP_RESPONSE, *host_port, guest_port);
	snprintf(line, sizeof(line), "OK %u\n", *host_port);
	host_expect(fd, line);
	return fd;
}

/* One that the guest opened to where `listener` listens. */
static inline int open_from_guest(int listener, uint32_t host_port, uint32_t guest_port)
{
	int fd;

	say(VIRTIO_VSOCK_OP_REQUEST, host_port, guest_port);
	expect(VIRTIO_VSOCK_OP_RESPONSE, host_port, guest_port);
	fd = accept(listener, NULL, NULL);
	cr_assert_geq(fd, 0);
	return fd;
}
