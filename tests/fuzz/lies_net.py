#!/usr/bin/env python3
"""Writes the named seeds of corpus/net: each tells one lie to an interface that is otherwise honest, in the
language of fuzz_net.c (one byte a choice, LIE where a rarely() is to say yes)."""
import pathlib
import struct

LIE = 0xA5
ALL, NO_MERGING, NO_MQ = 0, 1, 4
RECEIVE, SEND, COMMAND, NETWORK, FILTER = 0, 2, 4, 5, 7
KICK, QUIET = 1, 0
NOTHING_ELSE = bytes(4)  # no reset, pause, link or end
RESET, PAUSE, LINK, END = (bytes(LIE if at == which else 0 for at in range(4)) for which in range(4))


def word(value):
    return struct.pack(">Q", value)


def buffer(where=0, size=0, gpa=None, length=None, flip=False):
    out = bytes([where, size])
    out += bytes([LIE, 8]) + word(gpa) if gpa is not None else b"\0"
    out += bytes([LIE]) + word(length) if length is not None else b"\0"
    return out + bytes([LIE if flip else 0])


def spoil(desc, kind, data=b""):
    return bytes([LIE, desc, kind]) + data


def receive(*buffers, small=False, lie=b"\0", indirect=0, after=NOTHING_ELSE, pair=0):
    """A chain of receive buffers."""
    out = bytes([pair, RECEIVE, len(buffers) - 1])
    for one in buffers:
        out += one + bytes([LIE if small else 0])
    return out + bytes([indirect]) + lie + bytes([KICK]) + after


def send(cut=25, size=20, third=buffer(), spoof=None, parts=2, lie=b"\0", indirect=0, after=NOTHING_ELSE, pair=0):
    out = bytes([pair, SEND, cut, 0, size]) + third
    out += bytes([LIE, *spoof]) if spoof else b"\0"
    return out + bytes([parts - 1, indirect]) + lie + bytes([KICK]) + after


def command(which, data, length=None, answer=b"\0", alone=False, after=NOTHING_ELSE):
    out = bytes([0, COMMAND, which]) + data.ljust(8, b"\0")
    out += bytes([LIE, length - 1]) if length is not None else b"\0"
    return out + answer + bytes([LIE if alone else 0, 0, 0, KICK]) + after


def network(size=10, length=None, flags=0, after=NOTHING_ELSE, pair=0):
    out = bytes([0, NETWORK, pair, size])
    out += bytes([LIE]) + word(length - 1) if length is not None else b"\0"
    return out + bytes([flags]) + after


def use_filter(after=NOTHING_ELSE):
    return bytes([0, FILTER, 1]) + after


many = receive(buffer(1, 200)) + receive(buffer(9, 200)) + receive(buffer(17, 200))
LIES = {
    "receive_buffer_read_only": receive(buffer(flip=True)) + network(),
    "receive_buffer_smaller_than_a_header": receive(buffer(length=3), small=True) + network(),
    "receive_buffer_outside_memory": receive(buffer(gpa=1 << 40)) + network(),
    "receive_buffer_of_4_gib": receive(buffer(length=(1 << 32) - 1)) + network(),
    "receive_chain_that_loops": receive(buffer(), buffer(), lie=spoil(1, 2, b"\0")) + network(),
    "receive_index_that_jumps": receive(buffer(), lie=spoil(0, 4, word(500))) + network(),
    "receive_head_beyond_the_ring": receive(buffer(), lie=spoil(0, 5, b"\0" + word(900))) + network(),
    "frame_longer_than_all_buffers": many + network(length=60000),
    "frame_longer_than_can_be": many + network(length=65640),
    "frame_shorter_than_its_headers": many + network(length=20),
    "frame_parked_over_a_reset": receive(buffer(1, 20)) + network(length=3000, after=RESET) + many + network(),
    "frame_parked_over_a_pause": receive(buffer(1, 20)) + network(length=3000, after=PAUSE) + many + network(),
    "frame_parked_when_the_link_goes": receive(buffer(1, 20)) + network(length=3000, after=LINK) + many + network(after=LINK),
    "flood_without_buffers": network() * 12,
    "network_that_ends_with_buffers": many + network(after=END) + send(),
    "network_that_ends_without_buffers": network(after=END) + send() + many,
    "send_buffer_to_be_written": send(third=buffer(flip=True), parts=3),
    "send_shorter_than_its_headers": send(cut=10, parts=1),
    "send_header_in_two": send(cut=5),
    "send_longer_than_can_be": send(third=buffer(length=70000), parts=3),
    "send_from_another_mac": send(spoof=(20, 9)),
    "send_with_impossible_gso": send(spoof=(1, 0xFF)),
    "send_on_a_pair_that_is_off": send(pair=1),
    "send_table_outside_memory": send(indirect=1, lie=spoil(0, 0, bytes([0x3F]))),
    "mac_of_a_group": command(0, b"\1\2\3\4\5\6"),
    "mac_of_zeroes": command(0, bytes(6)),
    "mac_too_long": command(0, b"\2\2\3\4\5\6", length=9),
    "no_pairs": command(1, struct.pack("<H", 0)),
    "too_many_pairs": command(1, struct.pack("<H", 0xFFFF)),
    "pairs_and_traffic": command(1, struct.pack("<H", 2)) + receive(buffer(1, 200), pair=1) + network(pair=1) + send(pair=1),
    "offloads_that_were_not_agreed": command(2, b"\xff" * 8),
    "command_that_does_not_exist": command(3, b"\1"),
    "command_without_an_answer": command(0, b"\2\2\3\4\5\6", alone=True),
    "filter_without_room": use_filter() + send(cut=40, size=0) * 4 + many,
    "filter_with_a_parked_frame": use_filter() + receive(buffer(1, 20)) + network(length=3000) + send(cut=40, size=0) + many,
}

folder = pathlib.Path(__file__).parent / "corpus" / "net"
folder.mkdir(exist_ok=True)
for name, steps in LIES.items():
    for kind, bits in (("epoll", 0), ("uring", 1)):
        for driver, refused in (("", ALL), ("_plain", NO_MERGING | NO_MQ)):
            (folder / f"lie_{name}_{kind}{driver}").write_bytes(bytes([bits, refused, 1]) + steps)
