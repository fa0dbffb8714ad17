/* vsock as both sides of it see it when all behave. */
#include "tests/unit/vsock_driver.h"

TestSuite(virtio_vsock, .timeout = 60);

LOOPS(virtio_vsock, host_opens)
{
	uint32_t port;
	int fd = open_from_host(52, &port);

	cr_assert_geq(port, VSOCK_HOST_PORT_FIRST);
	host_say(fd, "hello");
	cr_assert_eq(expect(VIRTIO_VSOCK_OP_RW, port, 52).len, 5);
	cr_assert_eq(memcmp(last_data, "hello", 5), 0);
	say_bytes("welcome", 7, port, 52);
	host_expect(fd, "welcome");
	cr_assert_eq(counter(VSOCK_ADDED), 1);
	cr_assert_eq(counter(VSOCK_RX_BYTES), 5);
	cr_assert_eq(counter(VSOCK_TX_BYTES), 7);
	close(fd);
	cr_assert_eq(expect(VIRTIO_VSOCK_OP_SHUTDOWN, port, 52).flags, VSOCK_SHUTDOWN_BOTH);
	say(VIRTIO_VSOCK_OP_RST, port, 52);
	cr_assert_eq(counter(VSOCK_REMOVED), 1);
	cr_assert_eq(vsock()->table.count, 0);
}

LOOPS(virtio_vsock, guest_opens)
{
	int listener = host_listen("_99"), fd = open_from_guest(listener, 99, 1000);

	say_bytes("hello", 5, 99, 1000);
	host_expect(fd, "hello");
	host_say(fd, "welcome");
	cr_assert_eq(expect(VIRTIO_VSOCK_OP_RW, 99, 1000).len, 7);
	say_shutdown(VSOCK_SHUTDOWN_BOTH, 99, 1000);
	expect(VIRTIO_VSOCK_OP_RST, 99, 1000);
	host_expect_end(fd);
	cr_assert_eq(vsock()->table.count, 0);
	close(fd);
	close(listener);
}

LOOPS(virtio_vsock, nobody_listens)
{
	say(VIRTIO_VSOCK_OP_REQUEST, 98, 1000);
	expect(VIRTIO_VSOCK_OP_RST, 98, 1000);
	cr_assert_eq(vsock()->table.count, 0);
}

/* The guest connects faster than the program accepts, whose queue holds one. A pause in the middle changes nothing. */
LOOPS(virtio_vsock, a_burst_of_connections_to_a_slow_listener)
{
	const int listener = host_listen("_99");
	int fds[8];

	listen(listener, 0);
	for (uint32_t i = 0; i < ARRAY_SIZE(fds); i++)
		say(VIRTIO_VSOCK_OP_REQUEST, 99, 100 + i);
	for (uint32_t i = 0; i < ARRAY_SIZE(fds); i++) {
		expect(VIRTIO_VSOCK_OP_RESPONSE, 99, 100 + i);
		expect_silence();
		if (i == 4) {
			virtio_device_pause(fake.dev);
			virtio_device_resume(fake.dev);
		}
		fds[i] = accept(listener, NULL, NULL);
		cr_assert_geq(fds[i], 0);
		say_bytes("mine", 4, 99, 100 + i);
		host_expect(fds[i], "mine");
		usleep(40000); /* longer than it waits between two tries */
	}
	for (uint32_t i = 0; i < ARRAY_SIZE(fds); i++)
		close(fds[i]);
	close(listener);
}

LOOPS(virtio_vsock, guest_refuses)
{
	int fd = host_dial();
	uint32_t port;

	host_say(fd, "CONNECT 5\n");
	port = expect(VIRTIO_VSOCK_OP_REQUEST, 0, 5).src_port;
	say(VIRTIO_VSOCK_OP_RST, port, 5);
	host_expect_end(fd);
	close(fd);
}

/* Bytes behind the request are the connection's first, and the request may come in pieces. */
LOOPS(virtio_vsock, request_in_pieces_with_bytes_behind_it)
{
	int fd = host_dial();
	uint32_t port;

	host_say(fd, "CONN");
	expect_silence();
	host_say(fd, "ECT 6");
	expect_silence();
	host_say(fd, "6\nearly");
	port = expect(VIRTIO_VSOCK_OP_REQUEST, 0, 66).src_port;
	say(VIRTIO_VSOCK_OP_RESPONSE, port, 66);
	cr_assert_eq(expect(VIRTIO_VSOCK_OP_RW, port, 66).len, 5);
	cr_assert_eq(memcmp(last_data, "early", 5), 0);
	close(fd);
}

LOOPS(virtio_vsock, request_that_is_none)
{
	static const char *const lines[] = { "GET / HTTP/1.0\n",
					     "CONNECT\n",
					     "CONNECT 1x\n",
					     "CONNECT -1\n",
					     "\n",
					     "CONNECT 4294967296\n",
					     "CONNECT 0000000000000000000000000000001\n" };

	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		char byte;
		int fd = host_dial();
		ssize_t ret;

		host_say(fd, lines[i]);
		ret = host_hear(fd, &byte, 1);
		cr_assert(ret == 0 || ret == -ECONNRESET, "%s: %ld", lines[i], ret);
		close(fd);
	}
	expect_silence();
	cr_assert_eq(vsock()->table.count, 0);
}

/* The host's program says that it will send no more, and still receives; then the guest's turn. */
LOOPS(virtio_vsock, half_close)
{
	uint32_t port;
	int fd = open_from_host(52, &port);

	host_say(fd, "last");
	shutdown(fd, SHUT_WR);
	cr_assert_eq(expect(VIRTIO_VSOCK_OP_RW, port, 52).len, 4);
	cr_assert_eq(expect(VIRTIO_VSOCK_OP_SHUTDOWN, port, 52).flags, VIRTIO_VSOCK_SHUTDOWN_SEND);
	say_bytes("answer", 6, port, 52);
	host_expect(fd, "answer");
	say_shutdown(VSOCK_SHUTDOWN_BOTH, port, 52);
	expect(VIRTIO_VSOCK_OP_RST, port, 52);
	host_expect_end(fd);
	close(fd);
}

LOOPS(virtio_vsock, half_close_by_the_guest)
{
	uint32_t port;
	int fd = open_from_host(52, &port);

	say_bytes("last", 4, port, 52);
	say_shutdown(VIRTIO_VSOCK_SHUTDOWN_SEND, port, 52);
	host_expect(fd, "last");
	host_expect_end(fd);
	host_say(fd, "answer");
	cr_assert_eq(expect(VIRTIO_VSOCK_OP_RW, port, 52).len, 6);
	close(fd);
	cr_assert_eq(expect(VIRTIO_VSOCK_OP_SHUTDOWN, port, 52).flags, VSOCK_SHUTDOWN_BOTH);
	say(VIRTIO_VSOCK_OP_RST, port, 52);
	cr_assert_eq(vsock()->table.count, 0);
}

/* Never a byte more than the guest has room for; and it is asked, once. */
LOOPS(virtio_vsock, credit_of_the_guest)
{
	static char data[100];
	uint32_t port;
	int fd;

	guest_alloc = 30;
	fd = open_from_host(52, &port);
	cr_assert_eq(send(fd, data, sizeof(data), 0), 100);
	cr_assert_eq(expect(VIRTIO_VSOCK_OP_RW, port, 52).len, 30);
	expect(VIRTIO_VSOCK_OP_CREDIT_REQUEST, port, 52);
	expect_silence();
	guest_forwarded = 10;
	say(VIRTIO_VSOCK_OP_CREDIT_UPDATE, port, 52);
	cr_assert_eq(expect(VIRTIO_VSOCK_OP_RW, port, 52).len, 10);
	expect(VIRTIO_VSOCK_OP_CREDIT_REQUEST, port, 52);
	guest_forwarded = 40;
	guest_alloc = 1000;
	say(VIRTIO_VSOCK_OP_CREDIT_UPDATE, port, 52);
	cr_assert_eq(expect(VIRTIO_VSOCK_OP_RW, port, 52).len, 60);
	expect_silence();
	close(fd);
}

/* The pattern's byte at an offset. */
static uint8_t byte_at(uint64_t at)
{
	return (uint8_t)(at * 2654435761u >> 13);
}

static void say_pattern(uint32_t *at, uint32_t len, uint32_t port, uint32_t guest_port)
{
	static uint8_t data[TX_DATA_MAX];

	for (uint32_t i = 0; i < len; i++)
		data[i] = byte_at(*at + i);
	say_bytes(data, len, port, guest_port);
	*at += len;
}

static void expect_pattern(int fd, uint32_t *at, uint32_t until)
{
	static uint8_t data[65536];

	while (*at < until) {
		ssize_t len = host_hear(fd, data, sizeof(data));

		cr_assert_gt(len, 0, "%ld after %u of %u", len, *at, until);
		for (ssize_t i = 0; i < len; i++)
			cr_assert_eq(data[i], byte_at(*at + (uint64_t)i));
		*at += (uint32_t)len;
	}
}

/* Fills the connection until the device has no more room; *at counts what it took. */
static void fill(uint32_t *at, uint32_t port, uint32_t guest_port)
{
	const struct vsock_conn *conn = vsock_conn_find(&vsock()->table, port, guest_port);
	struct virtio_vsock_hdr packet;

	while (vsock_conn_room(conn) > 0)
		say_pattern(at, MIN(vsock_conn_room(conn), 50000u), port, guest_port);
	while (hear(&packet))
		cr_assert_eq(packet.op, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
}

/* What the host's program does not take is kept, to the last byte that the guest has credit for. */
LOOPS(virtio_vsock, slow_reader)
{
	const uint32_t rounds = 3;
	uint32_t port, sent = 0, read = 0;
	struct vsock_conn *conn;
	int fd = open_from_host(52, &port);

	conn = vsock_conn_find(&vsock()->table, port, 52);
	for (uint32_t i = 0; i < rounds; i++) {
		fill(&sent, port, 52);
		cr_assert_eq(vsock_conn_buffered(conn), VSOCK_BUFFER);
		expect_pattern(fd, &read, sent);
		expect(VIRTIO_VSOCK_OP_CREDIT_UPDATE, port, 52);
		cr_assert_eq(vsock_conn_buffered(conn), 0);
	}
	close(fd);
}

/* The guest is gone, what it sent is not. */
LOOPS(virtio_vsock, slow_reader_gets_all_after_the_end)
{
	uint32_t port, sent = 0, read = 0;
	int fd = open_from_host(52, &port);

	fill(&sent, port, 52);
	say_shutdown(VSOCK_SHUTDOWN_BOTH, port, 52);
	say(VIRTIO_VSOCK_OP_RST, port, 52); /* it has no patience */
	cr_assert_eq(vsock()->table.count, 1);
	expect_pattern(fd, &read, sent);
	host_expect_end(fd);
	cr_assert_eq(vsock()->table.count, 0);
	expect_silence();
	close(fd);
}

LOOPS(virtio_vsock, reader_that_goes_away)
{
	uint32_t port, sent = 0;
	int fd = open_from_host(52, &port);

	fill(&sent, port, 52);
	close(fd); /* and does not want what was there for it: that is no clean end */
	cr_assert_eq(expect(VIRTIO_VSOCK_OP_SHUTDOWN, port, 52).flags, VIRTIO_VSOCK_SHUTDOWN_RCV);
	expect(VIRTIO_VSOCK_OP_RST, port, 52);
	say_bytes("more", 4, port, 52);
	expect(VIRTIO_VSOCK_OP_RST, port, 52);
	cr_assert_eq(vsock()->table.count, 0);
}

/* One that reads nothing and one that has no credit, among a hundred that are busy. */
LOOPS(virtio_vsock, one_blocked_and_a_hundred_busy)
{
	int listener = host_listen("_99"), blocked = open_from_guest(listener, 99, 1);
	uint32_t sent = 0;
	int fds[100], other;

	guest_alloc = 0;
	other = open_from_guest(listener, 99, 2);
	host_say(other, "nobody hears this");
	expect(VIRTIO_VSOCK_OP_CREDIT_REQUEST, 99, 2);
	guest_alloc = ALLOC;
	fill(&sent, 99, 1);
	for (uint32_t i = 0; i < 100; i++)
		fds[i] = open_from_guest(listener, 99, 100 + i);
	for (int round = 0; round < 20; round++)
		for (uint32_t i = 0; i < 100; i++) {
			say_bytes("ping", 4, 99, 100 + i);
			host_expect(fds[i], "ping");
			host_say(fds[i], "pong");
			cr_assert_eq(expect(VIRTIO_VSOCK_OP_RW, 99, 100 + i).len, 4);
		}
	for (int i = 0; i < 100; i++)
		close(fds[i]);
	close(other);
	close(blocked);
	close(listener);
}

/* As many as a shell's usual limit of descriptors lets the test have on its side. */
LOOPS(virtio_vsock, a_thousand)
{
	struct rlimit limit;
	int listener = host_listen("_99");
	static int fds[1000];

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_cur < 2100)
		cr_skip("no descriptors for it");
	for (uint32_t i = 0; i < 1000; i++)
		fds[i] = open_from_guest(listener, 99, 100 + i);
	cr_assert_eq(vsock()->table.count, 1000);
	for (uint32_t i = 0; i < 1000; i++) {
		say_bytes("ping", 4, 99, 100 + i);
		host_expect(fds[i], "ping");
	}
	for (uint32_t i = 0; i < 1000; i++) {
		say_shutdown(VSOCK_SHUTDOWN_BOTH, 99, 100 + i);
		expect(VIRTIO_VSOCK_OP_RST, 99, 100 + i);
		close(fds[i]);
	}
	cr_assert_eq(vsock()->table.count, 0);
	close(listener);
}

/* A long transfer to the guest: many buffers by one read, all in order. */
LOOPS(virtio_vsock, bulk_to_the_guest)
{
	static uint8_t data[65536];
	uint32_t port, sent = 0, heard = 0;
	int fd;

	guest_alloc = 256 * 1024;
	fd = open_from_host(52, &port);
	while (heard < 1000000) {
		struct virtio_vsock_hdr packet;

		if (sent - heard < 100000) {
			for (uint32_t i = 0; i < sizeof(data); i++)
				data[i] = byte_at(sent + i);
			cr_assert_eq(send(fd, data, sizeof(data), 0), sizeof(data));
			sent += sizeof(data);
		}
		cr_assert(hear(&packet));
		if (packet.op != VIRTIO_VSOCK_OP_RW)
			continue;
		for (uint32_t i = 0; i < packet.len; i++)
			cr_assert_eq(last_data[i], byte_at(heard + i));
		heard += packet.len;
		guest_forwarded = heard;
		say(VIRTIO_VSOCK_OP_CREDIT_UPDATE, port, 52);
	}
	close(fd);
}
