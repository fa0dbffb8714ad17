/* A guest that lies to its vsock: each lie costs it a connection or a reset, and nobody else anything. */
#include "tests/unit/vsock_driver.h"

TestSuite(virtio_vsock_lies, .timeout = 60);

static bool needs_reset(void)
{
	return fake_read(&fake, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET;
}

/* After its reset an honest driver is served as ever. */
static void expect_recovery(void)
{
	uint32_t port;
	int fd;

	cr_assert(needs_reset());
	drive();
	give_rx(RX_COUNT);
	fd = open_from_host(52, &port);
	say_bytes("well", 4, port, 52);
	host_expect(fd, "well");
	close(fd);
}

LOOPS(virtio_vsock_lies, longer_than_its_buffer)
{
	uint32_t port;
	int fd = open_from_host(52, &port);
	struct virtio_vsock_hdr packet = header(VIRTIO_VSOCK_OP_RW, port, 52);

	packet.len = 101;
	send_raw(&packet, 100);
	expect_recovery();
	close(fd);
}

LOOPS(virtio_vsock_lies, header_cut_short)
{
	const struct fake_buffer buffer = { TX_HEADER, sizeof(struct virtio_vsock_hdr) - 1, false };

	fake_chain(&tx, &buffer, 1);
	fake_kick(&tx);
	fake_settle(&fake);
	expect_recovery();
}

LOOPS(virtio_vsock_lies, packet_to_be_written)
{
	const struct fake_buffer buffers[] = { { TX_HEADER, 44, false }, { TX_DATA, 10, true } };

	fake_chain(&tx, buffers, 2);
	fake_kick(&tx);
	fake_settle(&fake);
	expect_recovery();
}

/* A buffer is looked at when there is something for it. */
LOOPS(virtio_vsock_lies, receive_buffer_for_a_header_only)
{
	int fd;

	drive();
	give_rx_sized(4, sizeof(struct virtio_vsock_hdr));
	fd = host_dial();
	host_say(fd, "CONNECT 5\n");
	fake_settle(&fake);
	expect_recovery();
	close(fd);
}

LOOPS(virtio_vsock_lies, receive_buffer_that_is_read_only)
{
	int fd;

	drive();
	fake_chain(&fake, &(struct fake_buffer){ RX_BUFFERS, RX_SIZE, false }, 1);
	fd = host_dial();
	host_say(fd, "CONNECT 5\n");
	fake_settle(&fake);
	expect_recovery();
	close(fd);
}

LOOPS(virtio_vsock_lies, event_buffer_too_small)
{
	fake_chain(&event, &(struct fake_buffer){ EVENT_BUFFER, 3, true }, 1);
	restore();
	fake_settle(&fake);
	expect_recovery();
}

LOOPS(virtio_vsock_lies, somebody_elses_cid)
{
	uint32_t port;
	int fd = open_from_host(52, &port);
	struct virtio_vsock_hdr packet = header(VIRTIO_VSOCK_OP_RST, port, 52);

	packet.src_cid = CID + 1;
	send_raw(&packet, 0);
	packet.op = VIRTIO_VSOCK_OP_REQUEST;
	send_raw(&packet, 0);
	expect_silence();
	say_bytes("still here", 10, port, 52);
	host_expect(fd, "still here");
	close(fd);
}

LOOPS(virtio_vsock_lies, to_somebody_else)
{
	struct virtio_vsock_hdr packet = header(VIRTIO_VSOCK_OP_REQUEST, 99, 52), answer;
	int listener = host_listen("_99");

	packet.dst_cid = 55;
	send_raw(&packet, 0);
	answer = expect(VIRTIO_VSOCK_OP_RST, 99, 52);
	cr_assert_eq(answer.src_cid, 55);
	packet.dst_cid = VSOCK_HOST_CID;
	packet.type = VIRTIO_VSOCK_TYPE_SEQPACKET;
	send_raw(&packet, 0);
	expect(VIRTIO_VSOCK_OP_RST, 99, 52);
	cr_assert_eq(vsock()->table.count, 0);
	close(listener);
}

LOOPS(virtio_vsock_lies, operations_that_are_none)
{
	static const uint16_t ops[] = { 0, 8, 99, 65535, VIRTIO_VSOCK_OP_RESPONSE };

	for (size_t i = 0; i < ARRAY_SIZE(ops); i++) {
		uint32_t port;
		int fd = open_from_host(52, &port);

		say(ops[i], port, 52);
		expect(VIRTIO_VSOCK_OP_RST, port, 52);
		host_expect_end(fd);
		say(ops[i], port, 52); /* and without a connection */
		expect(VIRTIO_VSOCK_OP_RST, port, 52);
		close(fd);
	}
	say(VIRTIO_VSOCK_OP_RST, 1, 2);
	expect_silence();
	cr_assert_eq(vsock()->table.count, 0);
}

/* More bytes than it has credit for: what was within is delivered, then the connection is over. */
LOOPS(virtio_vsock_lies, more_than_its_credit)
{
	static char data[TX_DATA_MAX];
	struct virtio_vsock_hdr packet;
	uint32_t port;
	int fd = open_from_host(52, &port);

	for (int i = 0; i < 100 && vsock()->table.count; i++)
		say_bytes(data, sizeof(data), port, 52);
	do
		cr_assert(hear(&packet));
	while (packet.op == VIRTIO_VSOCK_OP_CREDIT_UPDATE);
	cr_assert_eq(packet.op, VIRTIO_VSOCK_OP_RST);
	cr_assert(!needs_reset());
	cr_assert_eq(vsock()->table.count, 0);
	close(fd);
}

/* It claims to have taken more than it was sent, or takes back what it has taken. */
LOOPS(virtio_vsock_lies, impossible_credit)
{
	uint32_t port, other_port;
	int fd = open_from_host(52, &port), other;

	guest_forwarded = 1000;
	say(VIRTIO_VSOCK_OP_CREDIT_UPDATE, port, 52);
	host_say(fd, "x");
	expect(VIRTIO_VSOCK_OP_CREDIT_REQUEST, port, 52);
	guest_forwarded = 0;
	guest_alloc = UINT32_MAX;
	say(VIRTIO_VSOCK_OP_CREDIT_UPDATE, port, 52);
	expect(VIRTIO_VSOCK_OP_RW, port, 52);
	other = open_from_host(53, &other_port);
	host_say(other, "x");
	expect(VIRTIO_VSOCK_OP_RW, other_port, 53);
	close(other);
	close(fd);
}

LOOPS(virtio_vsock_lies, ports_used_again)
{
	int listener = host_listen("_99"), first = open_from_guest(listener, 99, 1), second;

	second = open_from_guest(listener, 99, 1);
	host_expect_end(first);
	say_bytes("two", 3, 99, 1);
	host_expect(second, "two");
	cr_assert_eq(vsock()->table.count, 1);
	close(first);
	close(second);
	close(listener);
}

LOOPS(virtio_vsock_lies, bytes_after_it_said_there_are_none)
{
	uint32_t port;
	int fd = open_from_host(52, &port);

	say_shutdown(VIRTIO_VSOCK_SHUTDOWN_SEND, port, 52);
	say_bytes("x", 1, port, 52);
	expect(VIRTIO_VSOCK_OP_RST, port, 52);
	host_expect_end(fd);
	close(fd);
}

/* Packets to nobody while no refusal can be delivered: they wait in the guest's ring, and in the
 * end each has its answer. */
LOOPS(virtio_vsock_lies, storm_of_refusals)
{
	const unsigned int storm = 1000;
	struct virtio_vsock_hdr packet;
	struct vring_used_elem elem;
	unsigned int offered = 0, answers = 0, taken = 0;

	drive(); /* without a receive buffer */
	packet = header(VIRTIO_VSOCK_OP_RW, 98, 1);
	memcpy(fake_ptr(&fake, TX_HEADER, sizeof(packet)), &packet, sizeof(packet));
	while (answers < storm) {
		for (; offered < storm && offered - taken < 64; offered++)
			fake_chain(&tx, &(struct fake_buffer){ TX_HEADER, 44, false }, 1);
		fake_kick(&tx);
		fake_settle(&fake);
		while (fake_used(&tx, &elem))
			taken++;
		cr_assert_leq(taken, answers + VSOCK_REFUSALS);
		if (taken == VSOCK_REFUSALS && answers == 0)
			give_rx(RX_COUNT);
		while (taken >= VSOCK_REFUSALS && hear(&packet)) {
			cr_assert_eq(packet.op, VIRTIO_VSOCK_OP_RST);
			answers++;
		}
	}
	expect_silence();
}

/* Connections that end while the guest takes no packet: their places come back with the packets. */
LOOPS(virtio_vsock_lies, guest_that_takes_nothing)
{
	int listener = host_listen("_99"), fds[60];

	drive();
	for (uint32_t i = 0; i < ARRAY_SIZE(fds); i++) {
		say(VIRTIO_VSOCK_OP_REQUEST, 99, i);
		fds[i] = accept(listener, NULL, NULL);
		cr_assert_geq(fds[i], 0);
	}
	for (uint32_t i = 0; i < ARRAY_SIZE(fds); i++)
		close(fds[i]);
	fake_settle(&fake);
	cr_assert_eq(vsock()->table.count, ARRAY_SIZE(fds));
	for (uint32_t i = 0; i < ARRAY_SIZE(fds); i++)
		say(VIRTIO_VSOCK_OP_RST, 99, i);
	cr_assert_eq(vsock()->table.count, 0);
	close(listener);
}
