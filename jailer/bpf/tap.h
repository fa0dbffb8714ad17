/* What the program on a tap and its loader both know: the maps that are pinned beside it. */
#pragma once

#include <linux/types.h>

/* Why a frame was dropped; the index into `drops`. */
enum tap_drop {
	TAP_DROP_SHORT,	   /* shorter than its headers say */
	TAP_DROP_MAC,	   /* from another MAC address */
	TAP_DROP_PROTOCOL, /* VLAN tags, and all but ARP, IPv4 and IPv6 */
	TAP_DROP_ARP,	   /* ARP that speaks for another */
	TAP_DROP_IPV4,	   /* from another IPv4 address */
	TAP_DROP_IPV6,	   /* from another IPv6 address */
	TAP_DROP_ND,	   /* neighbour discovery that speaks for another, or as a router */
	TAP_DROP_EGRESS,   /* to where the lists do not let it, or by a way of its own choice */
	TAP_DROP_FRAGMENT, /* a fragment without ports, to where ports are told apart */
	TAP_DROPS,
};

#define TAP_DROP_NAMES                                                                        \
	{                                                                                     \
		"short", "mac", "protocol", "arp", "ipv4", "ipv6", "nd", "egress", "fragment" \
	}

enum tap_verdict {
	TAP_ALLOW,
	TAP_DENY,
};

struct tap_config {
	__u8 mac[6];
	__u8 check_sources; /* else any address may be the source */
	__u8 otherwise;	    /* enum tap_verdict: where no prefix of the list matches */
};

/* An IPv4 address as ::ffff:a.b.c.d, so that one map has both; no IPv6 frame has such an address. */
struct tap_address {
	__u8 bytes[16];
};

/*
 * The key of the trie of prefixes. The family comes first and always counts, else ::/0 would be IPv4's too. The length
 * is in bits, of the family and the address: 8 more than the prefix's, and for IPv4 another 96.
 */
struct tap_prefix {
	__u32 length;
	__u8 family; /* 4 or 6 */
	struct tap_address address;
} __attribute__((packed));

struct tap_ports {
	__u16 low, high; /* in the host's order */
	__u8 protocol;	 /* IPPROTO_TCP, _UDP */
	__u8 verdict, pad[2];
};

#define TAP_PORTS_MAX 8

/* For a prefix: the first range of ports that matches decides, else the verdict. */
struct tap_rule {
	__u8 verdict, count, pad[2];
	struct tap_ports ports[TAP_PORTS_MAX];
};

#define TAP_SOURCES_MAX 64
#define TAP_PREFIXES_MAX 1024
