/*
 * Headers of Ethernet, ARP, IPv4 and TCP, read from bytes and written to bytes. Pure; any thread.
 */
#pragma once

#include "vmm/mmds/mmds_tcp.h"

#define ETH_LEN 14u
#define ARP_LEN 28u
#define IP_LEN 20u
#define TCP_LEN 20u
#define MMDS_REPLY_MAX (ETH_LEN + IP_LEN + TCP_LEN + MMDS_MSS)

/* Of an IPv4 packet in a frame: what is for us to know. */
struct mmds_packet {
	struct mmds_peer peer;
	struct mmds_segment segment;
};

/*
 * Takes an IPv4 frame apart that is for the service. -EPROTO: no sound IPv4, not ours or in
 * fragments, or with options; -EPROTONOSUPPORT: sound, but not TCP; -EBADMSG: no sound TCP, or a wrong
 * checksum.
 */
must_check int mmds_frame_parse(const uint8_t *frame, size_t len, bool checksum_pending,
				struct mmds_packet *out);

/* Builds frames for the peer; their lengths. */
size_t mmds_frame_build(uint8_t out[MMDS_REPLY_MAX], const uint8_t mac[6], const uint8_t ip[4],
			const struct mmds_peer *peer, const struct mmds_segment *segment);
size_t mmds_frame_arp_reply(uint8_t out[MMDS_REPLY_MAX], const uint8_t mac[6],
			    const uint8_t request[ETH_LEN + ARP_LEN]);
