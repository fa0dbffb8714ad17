#!/usr/bin/env python3
"""Writes the named seeds of corpus/virtqueue and corpus/mmio: each tells one lie in the language of guest.h and its
harness (one byte a choice, LIE where a rarely() is to say yes), between choices of an honest driver."""
import pathlib
import struct

LIE = 0xA5
NO = 0  # what a rarely() that is not to lie reads


def word(value):
    return struct.pack(">Q", value & (1 << 64) - 1)


def lie(value=None):
    """rarely() says yes, then a word, if one is read."""
    return bytes([LIE]) + (word(value) if value is not None else b"")


def address(value):
    """rarely() says yes, then odd_address() takes this one."""
    return bytes([LIE, 8]) + word(value)


def buffer(gpa=None, length=None, turned=False):
    """any_buffer()."""
    return (bytes([1, 1]) + (address(gpa) if gpa is not None else bytes([NO])) +
            (lie(length) if length is not None else bytes([NO])) + bytes([LIE if turned else NO]))


def spoil(which, kind, *value):
    """What spoil() reads: descriptor, what of it, the value."""
    return bytes([LIE, which, kind]) + b"".join(value)


ADDRESS, LENGTH, FLAGS, NEXT, INDEX, HEAD, IN_TABLE = range(7)

# -- the queue alone -------------------------------------------------------------------------------------

SOUND = bytes([0, 0])  # 16 entries; indirect and event index


def layout(desc=None, avail=None, used=None, size=None):
    """enable(): each place may be another."""
    places = b"".join(bytes([NO]) if at is None else address(at) for at in (desc, avail, used))
    return places + (bytes([NO]) if size is None else lie(size))


def chain(buffers, readable=0, indirect=False, spoiled=bytes([NO]), many=False):
    """A step that offers a chain, then pops and pushes all there is."""
    count = bytes([len(buffers) - 1, LIE if many else NO, readable])
    return bytes([0]) + count + b"".join(buffers) + bytes([1, 0] if indirect else [0]) + spoiled


TWO = [buffer(), buffer()]
DONE = bytes(2)  # how much was written, and no lie about the event index
LARGE = bytes([4, 0])  # 256 entries
QUEUE = {
    "rings_misaligned_desc": SOUND + layout(desc=0x1008),
    "rings_misaligned_avail": SOUND + layout(avail=0x5001),
    "rings_misaligned_used": SOUND + layout(used=0x6002),
    "rings_outside_memory": SOUND + layout(desc=1 << 40),
    "rings_in_the_hole": SOUND + layout(used=0x100000),
    "rings_over_the_end": SOUND + layout(avail=0x4FFFF0),
    "rings_that_wrap": SOUND + layout(used=-16),
    "rings_overlapping": SOUND + layout(avail=0x1000),
    "size_zero": SOUND + layout(size=0),
    "size_not_a_power_of_two": SOUND + layout(size=12),
    "size_too_large": SOUND + layout(size=512),
    "index_jumps": SOUND + layout() + chain(TWO, spoiled=spoil(0, INDEX, word(100))),
    "index_goes_back": SOUND + layout() + chain(TWO) + DONE + chain(TWO, spoiled=spoil(0, INDEX, word(-2))),
    "head_beyond_the_table": SOUND + layout() + chain(TWO, spoiled=spoil(0, HEAD, word(16))),
    "next_beyond_the_table": SOUND + layout() + chain(TWO, spoiled=spoil(0, NEXT, word(0xFFFF))),
    "chain_points_at_itself": SOUND + layout() + chain(TWO, spoiled=spoil(0, NEXT, word(0))),
    "chain_loops": SOUND + layout() + chain([buffer()] * 4, spoiled=spoil(2, NEXT, word(0))),
    "overlong_chain": LARGE + layout() + chain([buffer()] * 26, many=True),
    "overlong_indirect_chain": SOUND + layout() + chain([buffer()] * 26, many=True, indirect=True),
    "indirect_loop": SOUND + layout() + chain(TWO, indirect=True, spoiled=spoil(0, IN_TABLE, bytes([NEXT]), word(0))),
    "indirect_in_indirect": SOUND + layout() + chain(TWO, indirect=True, spoiled=spoil(0, IN_TABLE, bytes([FLAGS, 2]))),
    "indirect_with_a_successor": SOUND + layout() + chain(TWO, indirect=True, spoiled=spoil(0, FLAGS, bytes([0]))),
    "indirect_not_negotiated": bytes([0, 1]) + layout() + chain(TWO, indirect=True),
    "indirect_table_length": SOUND + layout() + chain(TWO, indirect=True, spoiled=spoil(0, LENGTH, word(17))),
    "indirect_table_outside": SOUND + layout() + chain(TWO, indirect=True, spoiled=spoil(0, ADDRESS, bytes([8]), word(1 << 50))),
    "zero_length_buffer": SOUND + layout() + chain([buffer(length=0)]),
    "readable_after_writable": SOUND + layout() + chain([buffer(), buffer(turned=True)]),
    "buffer_in_the_hole": SOUND + layout() + chain([buffer(gpa=0x200000)]),
    "buffer_over_the_hole": SOUND + layout() + chain([buffer(gpa=0xFFFFF)]),
    "buffer_over_the_end": SOUND + layout() + chain([buffer(gpa=0x4FFFFF)]),
    "buffer_that_wraps": SOUND + layout() + chain([buffer(gpa=-1)]),
    "chain_of_four_gigabytes": SOUND + layout() + chain([buffer(length=0xFFFFFFFF)] * 2),
}

# -- the registers ---------------------------------------------------------------------------------------

OFFSETS = [0x14, 0x20, 0x24, 0x30, 0x38, 0x44, 0x50, 0x64, 0x70, 0x80, 0x84, 0x90, 0x94, 0xA0, 0xA4, 0xC0]
START = bytes([0, 0, 4, NO])  # every feature, 16 entries


def write(offset, value, length=None):
    """any_write()."""
    place = bytes([OFFSETS.index(offset), 0, NO]) if offset in OFFSETS else bytes([0, 0]) + lie(offset)
    width = bytes([NO]) if length is None else bytes([LIE, length - 1])
    return bytes([2]) + place + width + bytes([1]) + word(value)


def read(offset, length=None):
    """any_read()."""
    return bytes([4, 0]) + lie(offset) + (bytes([NO]) if length is None else bytes([LIE, length - 1]))


def rng_chain(*buffers, spoiled=bytes([NO])):
    """chain(): one or two buffers."""
    second = buffers[1] if len(buffers) > 1 else buffer()
    return bytes([0]) + buffers[0] + second + bytes([len(buffers) - 1, 0]) + spoiled


def renegotiate(*writes):
    """Reset, then by hand up to where the lie is told."""
    return write(0x70, 0) + write(0x70, 1) + write(0x70, 3) + b"".join(writes)


MMIO = {
    "reads_of_any_width": START + b"".join(read(0x34, n) for n in (1, 2, 3, 8)) + read(0xFFF, 4) + read(1 << 60, 8),
    "writes_of_any_width": START + b"".join(write(0x50, 0, n) for n in (1, 2, 3, 8)) + write(0xFFF, 1) + write(1 << 60, 1),
    "features_not_offered": START + renegotiate(write(0x24, 0), write(0x20, 0xFFFFFFFF), write(0x70, 11)),
    "features_beyond_bit_63": START + renegotiate(write(0x24, 2), write(0x20, 1), write(0x70, 11)),
    "driver_ok_without_features_ok": START + renegotiate(write(0x70, 7)),
    "status_bits_taken_back": START + write(0x70, 1),
    "needs_reset_by_the_driver": START + write(0x70, 0x4F),
    "impossible_ring": START[:3] + address(0x5001),
    "queue_that_does_not_exist": START + write(0x30, 77) + write(0x38, 16) + write(0x44, 1) + write(0x50, 77),
    "size_that_wraps": START + write(0x44, 0) + write(0x38, 0x10010) + write(0x44, 1),
    "addresses_of_a_live_ring": START + write(0x80, 0xFFFFFFF0) + write(0x84, 0xFFFFFFFF) + rng_chain(buffer()),
    "ring_reset_in_use": START + rng_chain(buffer()) + write(0xC0, 1) + rng_chain(buffer()),
    "ring_reset_not_negotiated": bytes([0, 1, 4, NO]) + write(0xC0, 1) + rng_chain(buffer()),
    "notify_of_no_queue": START + write(0x50, 0xFFFFFFFF) * 4,
    "buffer_that_cannot_be_written": START + rng_chain(buffer(turned=True)),
    "reset_in_the_middle": START + rng_chain(buffer()) + write(0x70, 0) + START,
    "broken_ring_then_more": START + rng_chain(buffer(), spoiled=spoil(0, HEAD, word(99))) + rng_chain(buffer()),
}

for folder, lies in (("virtqueue", QUEUE), ("mmio", MMIO)):
    for name, seed in lies.items():
        (pathlib.Path(__file__).parent / "corpus" / folder / f"lie_{name}").write_bytes(seed)
