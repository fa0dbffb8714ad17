/*
 * Frames of a guest to the metadata service: any bytes, and segments that fit what the service has
 * sent so well that they get deep into a connection. The input is steps: a byte says what kind, more
 * bytes say the rest. Nothing may be taken that is not the service's, every answer is a sound frame,
 * memory stays in its bounds, and afterwards a client that behaves is served.
 */
#include <stdio.h>
#include <string.h>

#include "tests/fuzz/expect.h"
#include "vmm/mmds/mmds_frame.h"
#include "vmm/mmds/mmds_net.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define LIMIT 4000u

static const uint8_t guest_mac[6] = { 2, 0, 0, 0, 0, 1 }, guest_ip[4] = { 10, 0, 0, 2 };

static struct {
	struct mmds *mmds;
	struct mmds_net *net;
	uint64_t now;
	bool full;
	/* What the service last said on each of a few ports. */
	struct {
		uint32_t next, ack; /* the end of its data; what it has of ours */
		uint8_t flags;
		size_t total;
	} seen[4];
} guest;

struct input {
	const uint8_t *at, *end;
};

static uint8_t next8(struct input *in)
{
	return in->at < in->end ? *in->at++ : 0;
}

static uint16_t next16(struct input *in)
{
	const unsigned int high = next8(in);

	return (uint16_t)(high << 8 | next8(in));
}

static size_t next_bytes(struct input *in, const uint8_t **bytes, size_t max)
{
	const size_t want = MIN((size_t)next16(in), max);
	const size_t left = (size_t)(in->end - in->at);
	const size_t len = MIN(want, left);

	*bytes = in->at;
	in->at += len;
	return len;
}

static bool take(void *opaque, const void *frame, size_t len)
{
	struct mmds_packet packet;
	const uint8_t *bytes = frame;
	unsigned int i;

	(void)opaque;
	if (guest.full)
		return false;
	if (bytes[13] == 6) {
		expect(len == ETH_LEN + ARP_LEN);
		return true;
	}
	expect(mmds_frame_parse(frame, len, false, &packet) == 0);
	expect(packet.peer.port == MMDS_PORT || packet.segment.flags & TCP_RST);
	i = packet.segment.port & 3;
	guest.seen[i].next = packet.segment.seq + (uint32_t)packet.segment.len +
			     !!(packet.segment.flags & (TCP_SYN | TCP_FIN));
	guest.seen[i].ack = packet.segment.ack;
	guest.seen[i].flags |= packet.segment.flags;
	guest.seen[i].total += packet.segment.len;
	return true;
}

static void give(const uint8_t *frame, size_t len, bool pending)
{
	if (mmds_net_wants(guest.net, frame, MIN(len, MMDS_PEEK)))
		mmds_net_frame(guest.net, frame, len, pending, guest.now);
}

static void send_segment(uint16_t port, struct mmds_segment segment)
{
	struct mmds_peer service = { .port = MMDS_PORT };
	uint8_t frame[MMDS_REPLY_MAX + MMDS_REQUEST_MAX];

	memcpy(service.ip, guest.mmds->config.ipv4, sizeof(service.ip));
	segment.port = port;
	give(frame, mmds_frame_build(frame, guest_mac, guest_ip, &service, &segment), false);
}

static int8_t delta(struct input *in)
{
	return (int8_t)next8(in);
}

static void step(struct input *in)
{
	const uint8_t *bytes, kind = next8(in), i = kind >> 6;
	struct mmds_segment segment = { 0 };
	size_t len;

	switch (kind & 7) {
	case 0:
		len = next_bytes(in, &bytes, 5000);
		give(bytes, len, kind & 8);
		break;
	case 1:
		guest.now += (uint64_t)next8(in) << (kind >> 3 & 7);
		mmds_net_tick(guest.net, guest.now);
		break;
	case 2:
		guest.full = kind & 8;
		if (!guest.full)
			mmds_net_unblocked(guest.net, guest.now);
		break;
	case 3:
		guest.mmds->config.v2 = kind & 8;
		guest.mmds->config.imds_compat = kind & 16;
		break;
	default: /* a segment near what is expected */
		segment.flags = next8(in);
		segment.seq = guest.seen[i].ack + (uint32_t)delta(in);
		segment.ack = guest.seen[i].next + (uint32_t)delta(in);
		segment.window = next16(in);
		segment.mss = kind & 8 ? next16(in) : 0;
		segment.len = next_bytes(in, &bytes, MMDS_REQUEST_MAX);
		segment.data = bytes;
		send_segment((uint16_t)(1024 + i), segment);
	}
}

static void check_bounds(void)
{
	const struct mmds_tcp *tcp = &guest.net->tcp;
	size_t bytes = 0;

	for (unsigned int i = 0; i < MMDS_CONNS_MAX; i++) {
		const struct mmds_conn *conn = &tcp->conns[i];

		expect(conn->rx_len <= MMDS_REQUEST_MAX);
		expect(conn->state != CONN_FREE || !conn->tx.data);
		bytes += conn->tx.len;
	}
	expect(bytes == tcp->answer_bytes);
	expect(bytes <= MMDS_ANSWERS_MAX * mmds_answer_max(guest.mmds));
}

/* Everybody else is idle by now, so there is a place. */
static void check_service(void)
{
	static const char request[] = "PUT / HTTP/1.0\r\n\r\n";
	const uint16_t port = 2048; /* its place in `seen` is that of 1024 too */
	struct mmds_segment segment = { .flags = TCP_SYN, .seq = 7, .window = 8000, .mss = 1460 };

	guest.full = false;
	mmds_net_unblocked(guest.net, guest.now);
	guest.now += 2 * (uint64_t)MMDS_IDLE_MS;
	mmds_net_tick(guest.net, guest.now);
	memset(guest.seen, 0, sizeof(guest.seen));
	send_segment(port, segment);
	expect(guest.seen[0].flags & TCP_SYN);
	guest.seen[0].flags = 0;
	segment = (struct mmds_segment){ .flags = TCP_ACK,
					 .seq = 8,
					 .ack = guest.seen[0].next,
					 .window = 8000,
					 .data = request,
					 .len = strlen(request) };
	send_segment(port, segment);
	expect(guest.seen[0].flags & TCP_FIN && guest.seen[0].total > 100);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, data + size };
	struct error err = { 0 };
	json_t *value = json_pack("{s:{s:s,s:i},s:[s]}", "a", "b", "text", "c", 7, "d", "e");

	memset(&guest, 0, sizeof(guest));
	guest.now = 1;
	expect(value && mmds_create(&guest.mmds, LIMIT, &err) == 0);
	expect(mmds_store_put(&guest.mmds->store, value) == 0);
	json_decref(value);
	expect(mmds_net_create(&guest.net, guest.mmds, take, NULL) == 0);
	while (in.at < in.end) {
		step(&in);
		check_bounds();
	}
	check_service();
	mmds_net_free(guest.net);
	expect(guest.mmds->counters.connections_created ==
	       guest.mmds->counters.connections_destroyed);
	mmds_destroy(guest.mmds);
	return 0;
}
