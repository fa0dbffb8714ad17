/*
 * On a tap, for the frames that its guest sends: they come from the guest's own addresses, speak for no other
 * in ARP and neighbour discovery, and go where the lists let them. All else is dropped and counted by reason.
 */
#include <linux/bpf.h>
#include <linux/icmpv6.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "jailer/bpf/tap.h"

#define IP_FRAGMENT_OFFSET 0x1fff
#define EXTENSIONS_MAX 4
#define ND_OPTIONS_MAX 4

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tap_config);
} config SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, TAP_SOURCES_MAX);
	__type(key, struct tap_address);
	__type(value, __u8);
} sources SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, TAP_PREFIXES_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct tap_prefix);
	__type(value, struct tap_rule);
} egress SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, TAP_DROPS);
	__type(key, __u32);
	__type(value, __u64);
} drops SEC(".maps");

/* A frame on its way through the checks: what has been found in it so far. */
struct frame {
	struct __sk_buff *skb;
	const struct tap_config *config;
	__u32 at;	  /* where the next header starts */
	__u8 family;	  /* 4 or 6 */
	__u8 protocol;	  /* of the payload, once the IP headers are read */
	__u8 is_part;	  /* of a datagram in fragments */
	__u8 is_fragment; /* not the first one: its ports are elsewhere */
	struct tap_address source, target;
};

/* Every reader is a copy: the bytes that were checked are the bytes that are used. */
static int take(struct frame *frame, void *to, __u32 size)
{
	int ret = bpf_skb_load_bytes(frame->skb, frame->at, to, size);

	frame->at += size;
	return ret;
}

static int same_mac(const __u8 *a, const __u8 *b)
{
	return a[0] == b[0] && a[1] == b[1] && a[2] == b[2] && a[3] == b[3] && a[4] == b[4] &&
	       a[5] == b[5];
}

static void map_ipv4(struct tap_address *to, __u32 address)
{
	__builtin_memset(to, 0, 10);
	to->bytes[10] = to->bytes[11] = 0xff;
	__builtin_memcpy(to->bytes + 12, &address, 4);
}

static int is_source(const struct frame *frame, const struct tap_address *address)
{
	return !frame->config->check_sources || bpf_map_lookup_elem(&sources, address);
}

/* fe80::/64 with the MAC in it, which an interface gives itself. */
static int is_own_link_local(const struct frame *frame, const __u8 *a)
{
	const __u8 *mac = frame->config->mac;

	return a[0] == 0xfe && a[1] == 0x80 && !(a[2] | a[3] | a[4] | a[5] | a[6] | a[7]) &&
	       a[8] == (mac[0] ^ 2) && a[9] == mac[1] && a[10] == mac[2] && a[11] == 0xff &&
	       a[12] == 0xfe && a[13] == mac[3] && a[14] == mac[4] && a[15] == mac[5];
}

static int is_zero(const struct tap_address *a)
{
	__u8 any = 0;

	for (int i = 0; i < 16; i++)
		any |= a->bytes[i];
	return !any;
}

/* Where to --------------------------------------------------------------------------------------*/

static int judge_ports(const struct tap_rule *rule, const struct frame *frame, __u16 port)
{
	for (int i = 0; i < TAP_PORTS_MAX && i < rule->count; i++)
		if (rule->ports[i].protocol == frame->protocol && port >= rule->ports[i].low &&
		    port <= rule->ports[i].high)
			return rule->ports[i].verdict;
	return rule->verdict;
}

static int check_egress(struct frame *frame)
{
	struct tap_prefix key = { .length = 8 + 128,
				  .family = frame->family,
				  .address = frame->target };
	const struct tap_rule *rule = bpf_map_lookup_elem(&egress, &key);
	__u16 ports[2] = { 0 };
	int verdict;

	if (!rule)
		return frame->config->otherwise == TAP_ALLOW ? -1 : TAP_DROP_EGRESS;
	if (rule->count == 0)
		return rule->verdict == TAP_ALLOW ? -1 : TAP_DROP_EGRESS;
	if (frame->is_fragment)
		return TAP_DROP_FRAGMENT;
	if (frame->protocol != IPPROTO_TCP && frame->protocol != IPPROTO_UDP)
		return rule->verdict == TAP_ALLOW ? -1 : TAP_DROP_EGRESS;
	if (take(frame, ports, sizeof(ports)) < 0)
		return TAP_DROP_SHORT;
	verdict = judge_ports(rule, frame, bpf_ntohs(ports[1]));
	return verdict == TAP_ALLOW ? -1 : TAP_DROP_EGRESS;
}

/* ARP and IPv4 ----------------------------------------------------------------------------------*/

#define ARPHRD_ETHER 1

/* RFC 826, for Ethernet and IPv4. */
struct arp_ipv4 {
	__be16 hardware, protocol;
	__u8 hardware_length, protocol_length;
	__be16 operation;
	__u8 sender_mac[6];
	__u8 sender[4];
	__u8 target_mac[6];
	__u8 target[4];
} __attribute__((packed));

static int check_arp(struct frame *frame)
{
	struct arp_ipv4 arp;
	struct tap_address about;
	__u32 address;

	if (take(frame, &arp, sizeof(arp)) < 0)
		return TAP_DROP_SHORT;
	if (arp.hardware != bpf_htons(ARPHRD_ETHER) || arp.protocol != bpf_htons(ETH_P_IP) ||
	    arp.hardware_length != 6 || arp.protocol_length != 4 ||
	    !same_mac(arp.sender_mac, frame->config->mac))
		return TAP_DROP_ARP;
	__builtin_memcpy(&address, arp.sender, 4);
	/* From 0.0.0.0: is this address taken? Who asks that of another's keeps it from its owner (RFC 5227). */
	if (address == 0)
		__builtin_memcpy(&address, arp.target, 4);
	map_ipv4(&about, address);
	return is_source(frame, &about) ? -1 : TAP_DROP_ARP;
}

#define OPTION_END 0
#define OPTION_NOTHING 1
#define OPTION_LOOSE_ROUTE 0x83
#define OPTION_STRICT_ROUTE 0x89
#define OPTIONS_LENGTH_MAX 40

/* The target of a frame with a route in its options is the next hop alone. */
static int has_route(const struct frame *frame, __u32 at, __u32 end)
{
	for (int i = 0; i < OPTIONS_LENGTH_MAX && at < end; i++) {
		__u8 option[2] = { 0 };

		if (bpf_skb_load_bytes(frame->skb, at, option, 1) < 0 || option[0] == OPTION_END)
			return 0;
		if (option[0] == OPTION_LOOSE_ROUTE || option[0] == OPTION_STRICT_ROUTE)
			return 1;
		if (option[0] == OPTION_NOTHING) {
			at++;
			continue;
		}
		if (bpf_skb_load_bytes(frame->skb, at, option, 2) < 0 || option[1] < 2)
			return 0; /* no options: who gets them drops the frame */
		at += option[1];
	}
	return 0;
}

/* Who has no address yet asks for one. */
static int is_dhcp(struct frame *frame, const struct iphdr *ip)
{
	__u16 ports[2] = { 0 };

	return ip->saddr == 0 && ip->protocol == IPPROTO_UDP && !frame->is_fragment &&
	       bpf_skb_load_bytes(frame->skb, frame->at, ports, sizeof(ports)) == 0 &&
	       ports[0] == bpf_htons(68) && ports[1] == bpf_htons(67);
}

static int check_ipv4(struct frame *frame)
{
	__u32 start = frame->at;
	struct iphdr ip;

	if (take(frame, &ip, sizeof(ip)) < 0 || ip.version != 4 || ip.ihl < 5)
		return TAP_DROP_SHORT;
	frame->at = start + ip.ihl * 4u;
	frame->family = 4;
	frame->protocol = ip.protocol;
	frame->is_fragment = (ip.frag_off & bpf_htons(IP_FRAGMENT_OFFSET)) != 0;
	map_ipv4(&frame->source, ip.saddr);
	map_ipv4(&frame->target, ip.daddr);
	if (!is_source(frame, &frame->source) && !is_dhcp(frame, &ip))
		return TAP_DROP_IPV4;
	if (ip.ihl > 5 && has_route(frame, start + sizeof(ip), frame->at))
		return TAP_DROP_EGRESS;
	return check_egress(frame);
}

/* IPv6 ------------------------------------------------------------------------------------------*/

/* Both kinds of link-layer address: the guest's own or none. */
static int check_nd_options(struct frame *frame)
{
	for (int i = 0; i < ND_OPTIONS_MAX; i++) {
		__u32 start = frame->at;
		__u8 option[8];

		if (bpf_skb_load_bytes(frame->skb, start, option, sizeof(option)) < 0)
			return -1; /* no more of them */
		if (option[1] == 0)
			return TAP_DROP_ND;
		if ((option[0] == 1 || option[0] == 2) &&
		    (option[1] != 1 || !same_mac(option + 2, frame->config->mac)))
			return TAP_DROP_ND;
		frame->at = start + option[1] * 8u;
	}
	return TAP_DROP_ND; /* more than anybody sends */
}

static int check_nd(struct frame *frame, const struct icmp6hdr *icmp)
{
	struct tap_address about;
	int of_itself;

	if (frame->is_part) /* its options may be elsewhere; nobody takes it (RFC 6980) */
		return icmp->icmp6_type >= 133 && icmp->icmp6_type <= 137 ? TAP_DROP_ND : -1;
	switch (icmp->icmp6_type) {
	case 133: /* router solicitation */
		return check_nd_options(frame);
	case 135: /* neighbour solicitation: of anybody; from ::, is this address taken? As with ARP */
	case 136: /* neighbour advertisement: of oneself */
		of_itself = icmp->icmp6_type == 136 || is_zero(&frame->source);
		if (take(frame, &about, sizeof(about)) < 0)
			return TAP_DROP_SHORT;
		if (of_itself && !is_source(frame, &about) &&
		    !is_own_link_local(frame, about.bytes))
			return TAP_DROP_ND;
		return check_nd_options(frame);
	case 134: /* router advertisement */
	case 137: /* redirect */
		return TAP_DROP_ND;
	default:
		return -1;
	}
}

/* To the payload's protocol, past what may stand before it. Why the frame is dropped there, or -1. */
static int skip_extensions(struct frame *frame)
{
	for (int i = 0; i < EXTENSIONS_MAX; i++) {
		__u8 header[8];

		if (frame->protocol != IPPROTO_HOPOPTS && frame->protocol != IPPROTO_ROUTING &&
		    frame->protocol != IPPROTO_DSTOPTS && frame->protocol != IPPROTO_FRAGMENT)
			return -1;
		if (bpf_skb_load_bytes(frame->skb, frame->at, header, sizeof(header)) < 0)
			return TAP_DROP_SHORT;
		/* With segments left, the frame's target is the next hop alone. */
		if (frame->protocol == IPPROTO_ROUTING && header[3])
			return TAP_DROP_EGRESS;
		if (frame->protocol == IPPROTO_FRAGMENT) {
			frame->is_part = 1;
			frame->is_fragment = header[2] || header[3] & 0xf8;
			frame->at += 8;
		} else {
			frame->at += 8 + header[1] * 8u;
		}
		frame->protocol = header[0];
		if (frame->is_fragment)
			return -1;
	}
	return TAP_DROP_PROTOCOL;
}

/* ::ffff:a.b.c.d, which is an IPv4 address and no frame's of IPv6. */
static int is_mapped(const struct tap_address *a)
{
	__u8 any = 0;

	for (int i = 0; i < 10; i++)
		any |= a->bytes[i];
	return !any && a->bytes[10] == 0xff && a->bytes[11] == 0xff;
}

/* From ::, an address is looked for: only solicitations, and reports of the groups to hear them in. */
static int may_be_unspecified(const struct icmp6hdr *icmp)
{
	return icmp->icmp6_type == 135 || icmp->icmp6_type == 133 || icmp->icmp6_type == 143;
}

static int check_ipv6(struct frame *frame)
{
	struct icmp6hdr icmp = { 0 };
	struct ipv6hdr ip;
	int is_icmp, drop;

	if (take(frame, &ip, sizeof(ip)) < 0 || ip.version != 6)
		return TAP_DROP_SHORT;
	frame->family = 6;
	frame->protocol = ip.nexthdr;
	__builtin_memcpy(&frame->source, &ip.saddr, 16);
	__builtin_memcpy(&frame->target, &ip.daddr, 16);
	if (is_mapped(&frame->source) || is_mapped(&frame->target))
		return TAP_DROP_IPV6;
	drop = skip_extensions(frame);
	if (drop >= 0)
		return drop;
	is_icmp = frame->protocol == IPPROTO_ICMPV6 && !frame->is_fragment;
	if (is_icmp && take(frame, &icmp, sizeof(icmp)) < 0)
		return TAP_DROP_SHORT;
	if (!is_source(frame, &frame->source) && !is_own_link_local(frame, frame->source.bytes) &&
	    !(is_zero(&frame->source) && is_icmp && may_be_unspecified(&icmp)))
		return TAP_DROP_IPV6;
	if (is_icmp)
		drop = check_nd(frame, &icmp);
	return drop >= 0 ? drop : check_egress(frame);
}

/* All -------------------------------------------------------------------------------------------*/

static int check(struct frame *frame)
{
	struct ethhdr eth;

	if (take(frame, &eth, sizeof(eth)) < 0)
		return TAP_DROP_SHORT;
	if (!same_mac(eth.h_source, frame->config->mac))
		return TAP_DROP_MAC;
	if (frame->skb->vlan_present)
		return TAP_DROP_PROTOCOL;
	switch (eth.h_proto) {
	case bpf_htons(ETH_P_ARP):
		return check_arp(frame);
	case bpf_htons(ETH_P_IP):
		return check_ipv4(frame);
	case bpf_htons(ETH_P_IPV6):
		return check_ipv6(frame);
	default:
		return TAP_DROP_PROTOCOL;
	}
}

SEC("tc")
int tap(struct __sk_buff *skb)
{
	struct frame frame = { .skb = skb };
	__u32 index = 0;
	__u64 *count;
	int drop;

	frame.config = bpf_map_lookup_elem(&config, &index);
	if (!frame.config)
		return TC_ACT_SHOT;
	drop = check(&frame);
	if (drop < 0)
		return TC_ACT_UNSPEC; /* on to whatever else the host has there */
	index = (__u32)drop;
	count = bpf_map_lookup_elem(&drops, &index);
	if (count)
		(*count)++;
	return TC_ACT_SHOT;
}

char LICENSE[] SEC("license") = "GPL";
