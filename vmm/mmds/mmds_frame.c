#include "vmm/mmds/mmds_frame.h"

#include <net/ethernet.h>
#include <net/if_arp.h>
#include <netinet/in.h>
#include <string.h>

#define DONT_FRAGMENT 0x4000u
#define TTL 1u

static uint16_t get16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static uint32_t get32(const uint8_t *at)
{
	return (uint32_t)get16(at) << 16 | get16(at + 2);
}

static void put16(uint8_t *at, uint32_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static void put32(uint8_t *at, uint32_t value)
{
	put16(at, value >> 16);
	put16(at + 2, value);
}

/* The Internet checksum (RFC 1071) of what `sum` stands for and these bytes; 0 over what contains a
 * right one. */
static uint16_t checksum(uint32_t sum, const uint8_t *data, size_t len)
{
	for (; len > 1; data += 2, len -= 2)
		sum += get16(data);
	if (len)
		sum += (uint32_t)data[0] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

/* Of the pseudo header: addresses, protocol and length (RFC 9293, 3.1). */
static uint32_t pseudo_sum(const uint8_t *ip, size_t tcp_len)
{
	uint32_t sum = IPPROTO_TCP + (uint32_t)tcp_len;

	for (unsigned int at = 12; at < IP_LEN; at += 2)
		sum += get16(ip + at);
	return sum;
}

/* The MSS option; other options are skipped, and what cannot be read ends the search. */
static uint16_t find_mss(const uint8_t *options, size_t len)
{
	for (size_t at = 0; at < len && options[at] != 0;) {
		if (options[at] == 1) {
			at++;
			continue;
		}
		if (at + 1 >= len || options[at + 1] < 2 || options[at + 1] > len - at)
			return 0;
		if (options[at] == 2 && options[at + 1] == 4)
			return get16(options + at + 2);
		at += options[at + 1];
	}
	return 0;
}

static int parse_tcp(const uint8_t *tcp, size_t len, struct mmds_packet *out)
{
	const size_t header = len >= TCP_LEN ? (size_t)(tcp[12] >> 4) * 4 : 0;

	if (header < TCP_LEN || header > len)
		return -EBADMSG;
	out->peer.port = get16(tcp);
	out->segment = (struct mmds_segment){
		.port = get16(tcp + 2),
		.seq = get32(tcp + 4),
		.ack = get32(tcp + 8),
		.flags = tcp[13] & (TCP_FIN | TCP_SYN | TCP_RST | TCP_PSH | TCP_ACK),
		.window = get16(tcp + 14),
		.mss = find_mss(tcp + TCP_LEN, header - TCP_LEN),
		.data = tcp + header,
		.len = len - header,
	};
	return 0;
}

int mmds_frame_parse(const uint8_t *frame, size_t len, bool checksum_pending,
		     struct mmds_packet *out)
{
	const uint8_t *ip = frame + ETH_LEN;
	size_t total;

	if (len < ETH_LEN + IP_LEN || ip[0] != 0x45)
		return -EPROTO;
	total = get16(ip + 2); /* Ethernet may have padded it */
	if (total < IP_LEN || total > len - ETH_LEN || get16(ip + 6) & ~DONT_FRAGMENT ||
	    checksum(0, ip, IP_LEN))
		return -EPROTO;
	if (ip[9] != IPPROTO_TCP)
		return -EPROTONOSUPPORT;
	if (!checksum_pending &&
	    checksum(pseudo_sum(ip, total - IP_LEN), ip + IP_LEN, total - IP_LEN))
		return -EBADMSG;
	memcpy(out->peer.mac, frame + 6, 6);
	memcpy(out->peer.ip, ip + 12, 4);
	return parse_tcp(ip + IP_LEN, total - IP_LEN, out);
}

static void build_eth(uint8_t *out, const uint8_t *to, const uint8_t *from, unsigned int type)
{
	memcpy(out, to, 6);
	memcpy(out + 6, from, 6);
	put16(out + 12, type);
}

static void build_ip(uint8_t *out, const uint8_t *from, const uint8_t *to, size_t total)
{
	memset(out, 0, IP_LEN);
	out[0] = 0x45;
	put16(out + 2, (uint32_t)total);
	put16(out + 6, DONT_FRAGMENT); /* so the identification may be 0: RFC 6864, 4.1 */
	out[8] = TTL;
	out[9] = IPPROTO_TCP;
	memcpy(out + 12, from, 4);
	memcpy(out + 16, to, 4);
	put16(out + 10, checksum(0, out, IP_LEN));
}

size_t mmds_frame_build(uint8_t out[MMDS_REPLY_MAX], const uint8_t mac[6], const uint8_t ip[4],
			const struct mmds_peer *peer, const struct mmds_segment *segment)
{
	uint8_t *tcp = out + ETH_LEN + IP_LEN;
	const size_t header = TCP_LEN + (segment->mss ? 4 : 0);
	const size_t total = IP_LEN + header + segment->len;

	build_eth(out, peer->mac, mac, ETHERTYPE_IP);
	build_ip(out + ETH_LEN, ip, peer->ip, total);
	put16(tcp, segment->port);
	put16(tcp + 2, peer->port);
	put32(tcp + 4, segment->seq);
	put32(tcp + 8, segment->ack);
	tcp[12] = (uint8_t)(header / 4 << 4);
	tcp[13] = segment->flags;
	put16(tcp + 14, segment->window);
	put32(tcp + 16, 0); /* checksum, urgent pointer */
	if (segment->mss)
		put32(tcp + TCP_LEN, 2u << 24 | 4u << 16 | segment->mss);
	if (segment->len)
		memcpy(tcp + header, segment->data, segment->len);
	put16(tcp + 16, checksum(pseudo_sum(out + ETH_LEN, total - IP_LEN), tcp, total - IP_LEN));
	return ETH_LEN + total;
}

size_t mmds_frame_arp_reply(uint8_t out[MMDS_REPLY_MAX], const uint8_t mac[6],
			    const uint8_t request[ETH_LEN + ARP_LEN])
{
	const uint8_t *asked = request + ETH_LEN;
	uint8_t *arp = out + ETH_LEN;

	build_eth(out, asked + 8, mac, ETHERTYPE_ARP);
	memcpy(arp, asked, 6); /* Ethernet, IPv4, and their lengths */
	put16(arp + 6, ARPOP_REPLY);
	memcpy(arp + 8, mac, 6);
	memcpy(arp + 14, asked + 24, 4); /* we are who was asked for */
	memcpy(arp + 18, asked + 8, 10); /* the asker */
	return ETH_LEN + ARP_LEN;
}
