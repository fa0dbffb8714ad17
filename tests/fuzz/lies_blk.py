#!/usr/bin/env python3
"""Writes the named seeds of corpus/blk: each tells one lie, or none, to a drive that is otherwise honest, in the
language of fuzz_blk.c (one byte a choice, LIE where a rarely() is to say yes)."""
import pathlib
import struct

LIE = 0xA5
IN, OUT, FLUSH, GET_ID, DISCARD, ZEROES = range(6)
RING, DIRECT, BARE, READ_ONLY, UNSAFE, QUEUES, NO_HOLES, LIMITED = (1 << i for i in range(8))
LARGE = BARE  # with DIRECT
START = bytes([0, 0, 0])  # indirect and event index, every feature, 16 entries


def word(value):
    return struct.pack(">Q", value)


def request(kind, cut=0, type_lie=None, sector_lie=None, data=None, where=0, status=bytes(2), indirect=False):
    """A step that kicks and turns, then any_request(), all of it."""
    out = bytes([0, kind, cut])
    if kind not in (FLUSH, DISCARD, ZEROES):
        out += bytes([0])  # one piece of data
    out += bytes([where, 0])  # where the header is, which sector
    out += bytes([LIE]) + word(type_lie) if type_lie is not None else b"\0"
    out += bytes([LIE]) + word(sector_lie) if sector_lie is not None else b"\0"
    if data is None:
        data = b"" if kind == FLUSH else segment() if kind in (DISCARD, ZEROES) else bytes(6)
    return out + data + status + bytes([indirect, 0])


def segment(sector_lie=None, count_lie=None, flags_lie=None, length_lie=None):
    out = bytes([0, 8, 0, 0])
    for lie in (sector_lie, count_lie, flags_lie):
        out += bytes([LIE]) + word(lie) if lie is not None else b"\0"
    return out + (bytes([LIE, length_lie]) if length_lie is not None else b"\0")


def during(step, request, *rest):
    """The same with an update in the turn of it, or without a kick (QUIET)."""
    return bytes([step]) + request[1:] + bytes(rest)


SAME_FILE, CUT, OTHER_FILE, LIMITS, PAUSED, NO_FILE, QUIET = 0xA7, 0xA8, 0xA9, 0xAA, 0xAB, 0xAC, 0x15

LIES = {
    "sector_beyond_the_end": (0, request(IN, sector_lie=1 << 40)),
    "sector_that_overflows": (0, request(OUT, sector_lie=(1 << 64) // 512)),
    "type_that_does_not_exist": (0, request(IN, type_lie=99)),
    "header_in_two": (0, request(IN, cut=7)),
    "discard_beyond_the_end": (0, request(DISCARD, data=segment(sector_lie=1 << 60))),
    "discard_that_overflows": (0, request(DISCARD, data=segment(sector_lie=(1 << 64) - 1))),
    "discard_of_too_much": (0, request(DISCARD, data=segment(count_lie=0xFFFFFFFF))),
    "discard_with_unmap": (0, request(DISCARD, data=segment(flags_lie=1))),
    "discard_reserved_flags": (0, request(DISCARD, data=segment(flags_lie=0xFFFFFFFE))),
    "discard_of_half_a_segment": (0, request(DISCARD, data=segment(length_lie=7))),
    "discard_of_two_segments": (0, request(DISCARD, data=segment(length_lie=31))),
    "zeroes_beyond_the_end": (0, request(ZEROES, data=segment(sector_lie=255, count_lie=2))),
    "zeroes_that_overflow": (0, request(ZEROES, data=segment(sector_lie=1 << 55))),
    "zeroes_reserved_flags": (0, request(ZEROES, data=segment(flags_lie=2))),
    "zeroes_without_holes": (NO_HOLES, request(ZEROES, data=segment(count_lie=120))),
    "write_to_read_only": (READ_ONLY, request(OUT)),
    "discard_on_read_only": (READ_ONLY, request(DISCARD)),
    "flush_that_was_not_offered": (UNSAFE, request(FLUSH)),
    "patch_beyond_the_end": (DIRECT | LARGE, request(OUT, sector_lie=255)),
    "patches_of_one_block": (DIRECT | LARGE, request(OUT) * 3 + request(IN)),
    "no_room_for_a_status": (0, request(FLUSH, status=bytes([LIE, 0, 0, 0, 0, LIE]))),
    "file_cut_short": (0, during(CUT, request(IN)) + request(OUT) + request(IN) * 2),
    "file_cut_short_direct": (DIRECT | LARGE, during(CUT, request(IN)) + request(OUT, cut=3) + request(IN)),
    "misaligned_direct": (DIRECT, request(OUT, cut=3) + request(IN, cut=5)),
}

# What the lies are to be seen beside, and reaches what no lie does. UNMAP is the segment's flag.
UNMAP = bytes([0, 8, 1, 0, 0, 0, 0, 0])
HONEST = {
    "discard": (0, request(DISCARD)),
    "discard_of_nothing": (0, request(DISCARD, data=bytes(8))),
    "zeroes": (0, request(ZEROES)),
    "zeroes_by_a_hole": (0, request(ZEROES, data=UNMAP)),
    "zeroes_as_data": (NO_HOLES, request(ZEROES, data=UNMAP) * 2),
    "several_queues": (QUEUES, request(OUT) + request(FLUSH) + request(GET_ID)),
    "direct": (DIRECT, request(DISCARD) + request(ZEROES, data=UNMAP) + request(OUT) * 3),
    "large": (0, request(IN, data=bytes([0, 0, 0, LIE]) + word(1 << 16) + bytes([0, LIE]))),
    "direct_blocks": (DIRECT | LARGE, request(ZEROES, data=UNMAP) + request(OUT)),
    "limited": (LIMITED, request(OUT) * 6 + request(IN) * 3),
    "limited_queues": (LIMITED | QUEUES, request(OUT) * 6),
    "many_at_once": (0, (during(QUIET, request(OUT, indirect=True)) * 5 + request(IN)) * 4 + request(FLUSH) * 3),
    "without_flush": (0, bytes([0, 1, 0]), request(OUT) + request(ZEROES, data=UNMAP)),
}

# What is done to a drive in mid-run, whatever its layer. PAUSED takes two bits for each change: the other file, the same
# one, saved and loaded.
UPDATES = {
    "other_file": request(OUT) + during(OTHER_FILE, request(OUT)) + request(OUT) + request(FLUSH) + request(IN) * 2 +
    during(OTHER_FILE, request(FLUSH)) + request(IN),
    "same_file": request(OUT) + during(SAME_FILE, request(FLUSH)) + request(IN),
    "file_cut_short_and_said": during(CUT, request(IN)) + during(SAME_FILE, request(OUT)) + request(IN),
    "file_cut_short_in_a_request": during(CUT, request(IN)) + request(IN, sector_lie=126, data=bytes([0, 255, 0, 0, 0, 0])),
    "no_file": during(NO_FILE, request(OUT)) + request(IN),
    "limits": during(LIMITS, request(OUT), 2, 0, 1, 1) + request(OUT) * 4 + during(LIMITS, request(IN), 0, 0, 0, 0) +
    request(IN),
    "paused_other_files": request(OUT) + during(PAUSED, request(OUT), 0b010101) + request(FLUSH) + request(IN),
    "paused_saved": during(PAUSED, request(OUT), 0b11) + request(FLUSH) + request(IN),
    "on_disk": during(OTHER_FILE, request(IN)) + request(OUT) * 4 + request(IN) * 4 + request(DISCARD) +
    request(ZEROES, data=UNMAP) + request(FLUSH),
    "on_disk_by_its_layer": during(PAUSED, request(IN), 0b01) + request(OUT) * 4 + request(IN) * 4 +
    request(DISCARD) + request(ZEROES, data=UNMAP) + request(FLUSH),
}
LAYERS = {"cached": 0, "direct": DIRECT, "bare": BARE, "blocks": DIRECT | LARGE}
HONEST |= {f"{name}_{layer}": (shape, steps) for name, steps in UPDATES.items() for layer, shape in LAYERS.items()}

folder = pathlib.Path(__file__).parent / "corpus" / "blk"
for kind, seeds in (("lie", LIES), ("honest", HONEST)):
    for name, (shape, *start, steps) in seeds.items():
        for engine, bit in (("threads", 0), ("uring", RING)):
            (folder / f"{kind}_{name}_{engine}").write_bytes(bytes([shape | bit]) + (b"".join(start) or START) + steps)
