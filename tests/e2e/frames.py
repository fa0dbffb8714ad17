"""Frames of Ethernet, byte by byte, for guests that lie about who they are."""

import socket
import struct

ARP, IPV4, IPV6 = 0x0806, 0x0800, 0x86DD
BROADCAST = b"\xff" * 6
ROUTER_SOLICITATION, ROUTER_ADVERTISEMENT, NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT, REDIRECT = range(133, 138)
SOURCE_ADDRESS, TARGET_ADDRESS = b"\x01\x01", b"\x02\x01"  # options with a link-layer address


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ip(text):
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


def ethernet(target, source, kind, payload):
    return target + source + struct.pack("!H", kind) + payload


def ipv6(source, target, protocol, payload, hops=64):
    return struct.pack("!IHBB", 6 << 28, len(payload), protocol, hops) + ip(source) + ip(target) + payload


def ipv4(source, target, protocol, payload, options=b""):
    length = 20 + len(options)
    start = struct.pack("!BBHHHBBH", 0x40 + length // 4, 0, length + len(payload), 0, 0, 64, protocol, 0)
    start += ip(source) + ip(target) + options
    return start[:10] + struct.pack("!H", checksum(start)) + start[12:] + payload


def pseudo_header(source, target, protocol, length):
    return ip(source) + ip(target) + struct.pack("!IBBBB", length, 0, 0, 0, protocol)


def udp(source, target, port=7, data=b"x", from_port=1000):
    """(kind, packet): what a frame has after its addresses."""
    length = 8 + len(data)
    if ":" not in target:
        return IPV4, ipv4(source, target, 17, struct.pack("!HHHH", from_port, port, length, 0) + data)
    header = struct.pack("!HHH", from_port, port, length)
    total = checksum(pseudo_header(source, target, 17, length) + header + b"\0\0" + data)
    return IPV6, ipv6(source, target, 17, header + struct.pack("!H", total) + data)


def arp(mac, sender, asked, operation=1):
    return ARP, struct.pack("!HHBBH", 1, IPV4, 6, 4, operation) + mac + ip(sender) + bytes(6) + ip(asked)


def icmp6(source, target, kind, rest):
    body = struct.pack("!BBH", kind, 0, 0) + rest
    total = checksum(pseudo_header(source, target, 58, len(body)) + body)
    return IPV6, ipv6(source, target, 58, body[:2] + struct.pack("!H", total) + body[4:], 255)


def advertisement(source, target, about, mac):
    """Of a neighbour: that the address `about` is at that MAC."""
    return icmp6(source, target, NEIGHBOUR_ADVERTISEMENT, b"\x20\0\0\0" + ip(about) + TARGET_ADDRESS + mac)


def solicitation(source, target, about, mac):
    return icmp6(source, target, NEIGHBOUR_SOLICITATION, bytes(4) + ip(about) + SOURCE_ADDRESS + mac)
