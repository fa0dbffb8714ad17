#include "vmm/mmds/mmds_net.h"

#include <string.h>

#include "vmm/mmds/mmds_frame.h"

static const uint8_t service_mac[6] = MMDS_MAC;

static bool emit(struct mmds_net *net, const uint8_t *frame, size_t len)
{
	struct mmds *mmds = net->tcp.mmds;

	mmds_count(mmds, tx_count, 1);
	if (!net->send(net->opaque, frame, len)) {
		mmds_count(mmds, tx_errors, 1);
		return false;
	}
	mmds_count(mmds, tx_frames, 1);
	mmds_count(mmds, tx_bytes, len);
	return true;
}

static bool send_segment(struct mmds_tcp *tcp, const struct mmds_peer *peer,
			 const struct mmds_segment *segment)
{
	struct mmds_net *net = container_of(tcp, struct mmds_net, tcp);
	uint8_t frame[MMDS_REPLY_MAX];
	const size_t len = mmds_frame_build(frame, service_mac, tcp->mmds->config.ipv4, peer,
					    segment);

	return emit(net, frame, len);
}

int mmds_net_create(struct mmds_net **out, struct mmds *mmds,
		    bool (*send)(void *opaque, const void *frame, size_t len), void *opaque)
{
	struct mmds_net *net = calloc(1, sizeof(*net));

	if (!net)
		return -ENOMEM;
	net->tcp.mmds = mmds;
	net->tcp.send = send_segment;
	net->send = send;
	net->opaque = opaque;
	*out = net;
	return 0;
}

void mmds_net_free(struct mmds_net *net)
{
	if (net)
		mmds_tcp_clear(&net->tcp);
	free(net);
}

static bool has_type(const uint8_t *frame, uint8_t high, uint8_t low)
{
	return frame[12] == high && frame[13] == low;
}

/* Where an ARP packet (RFC 826, for Ethernet and IPv4) and an IPv4 header have the address that they
 * are about. */
bool mmds_net_wants(const struct mmds_net *net, const uint8_t *head, size_t len)
{
	const uint8_t *address = net->tcp.mmds->config.ipv4;

	if (len >= ETH_LEN + IP_LEN && has_type(head, 0x08, 0x00))
		return !memcmp(head + ETH_LEN + 16, address, 4);
	if (len >= ETH_LEN + ARP_LEN && has_type(head, 0x08, 0x06))
		return !memcmp(head + ETH_LEN + 24, address, 4);
	return false;
}

/* A request of a guest that has no address yet is a probe (RFC 5227) and answered like any other: the
 * address is taken. */
static void arp(struct mmds_net *net, const uint8_t *frame, size_t len)
{
	static const uint8_t request[8] = { 0, 1, 0x08, 0, 6, 4, 0, 1 };
	uint8_t reply[MMDS_REPLY_MAX];

	if (len < ETH_LEN + ARP_LEN || memcmp(frame + ETH_LEN, request, sizeof(request)) != 0) {
		mmds_count(net->tcp.mmds, rx_accepted_err, 1);
		return;
	}
	emit(net, reply, mmds_frame_arp_reply(reply, service_mac, frame));
}

void mmds_net_frame(struct mmds_net *net, const uint8_t *frame, size_t len, bool checksum_pending,
		    uint64_t now_ms)
{
	struct mmds *mmds = net->tcp.mmds;
	struct mmds_packet packet;
	int ret;

	if (len < ETH_LEN + IP_LEN || len > MMDS_FRAME_MAX) {
		mmds_count(mmds, rx_bad_eth, 1);
		return;
	}
	mmds_count(mmds, rx_accepted, 1);
	if (has_type(frame, 0x08, 0x06)) {
		arp(net, frame, len);
		return;
	}
	ret = mmds_frame_parse(frame, len, checksum_pending, &packet);
	if (ret == -EPROTONOSUPPORT)
		mmds_count(mmds, rx_accepted_unusual, 1);
	else if (ret < 0)
		mmds_count(mmds, rx_accepted_err, 1);
	else
		mmds_tcp_input(&net->tcp, &packet.peer, &packet.segment, now_ms);
}

void mmds_net_unblocked(struct mmds_net *net, uint64_t now_ms)
{
	mmds_tcp_unblocked(&net->tcp, now_ms);
}

uint64_t mmds_net_tick(struct mmds_net *net, uint64_t now_ms)
{
	return mmds_tcp_tick(&net->tcp, now_ms);
}
