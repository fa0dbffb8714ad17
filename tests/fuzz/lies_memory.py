#!/usr/bin/env python3
"""Writes the named seeds of corpus/balloon and corpus/pmem: each tells one lie to a device that is otherwise honest,
in the language of fuzz_balloon.c and fuzz_pmem.c (one byte a choice, LIE where a rarely() is to say yes)."""
import pathlib
import struct

LIE = 0xA5
INFLATE, DEFLATE, STATS, HINT, REPORT = range(5)


def word(value):
    return struct.pack(">Q", value)


def balloon(kind, data, last=b"\0", offered=b"\0\0", step=0):
    """start(), then a step that kicks and turns with one request; `last` spoils its last buffer."""
    length = bytes([255])
    return bytes([0, 0]) + bytes([step, kind]) + length + data + last + offered


def pages(*lies):
    honest = bytes(range(64))
    return honest + (bytes([LIE]) + b"".join(word(lies[i % len(lies)]) for i in range(64)) if lies else b"\0")


def spoilt(where, value):
    """offer(): direct, then one field of the ring."""
    return bytes([0, LIE, 0, where]) + word(value)


BALLOON = {
    "pages_beyond_memory": balloon(INFLATE, pages(0xFFFFFFFF)),
    "pages_in_the_hole": balloon(INFLATE, pages(0x100, 0x3FF)),
    "pages_that_are_the_rings": balloon(INFLATE, pages(0, 1, 5, 6)),
    "pages_twice_and_backwards": balloon(INFLATE, pages(0x410, 0x40F, 0x410, 0x40E)),
    "page_list_outside_memory": balloon(INFLATE, pages(), bytes([LIE, 0, 0, 0, LIE, 1, 0, 0])),
    "page_list_of_gigabytes": balloon(INFLATE, pages(), bytes([LIE, 0, 0, 0, 0, LIE]) + word(0xFFFFFFFF) + b"\0"),
    "statistics_of_unknown_tags": balloon(STATS, bytes(range(4, 20)) + bytes([LIE]) + word(0xFFFF)),
    "statistics_that_are_written": balloon(STATS, bytes(17), bytes([LIE, 1, 0, 0, 0, 0])),
    "hint_without_a_run": balloon(HINT, bytes([5, 0, 3, 15, 0])),
    "hint_with_command_and_pages": balloon(HINT, bytes([2, 0, 3, 15, 0]), step=0x10),
    "report_that_is_read": balloon(REPORT, bytes([3, 15, 0]), bytes([LIE, 0, 0, 0, 0, LIE])),
    "report_outside_memory": balloon(REPORT, bytes([3, 15, 0]), bytes([LIE, 1, 0, LIE, 2, 0, 0])),
    "chain_that_loops": balloon(REPORT, bytes([3, 15, 1, 3, 15, 0]), offered=spoilt(3, 0)),
    "index_that_jumps": balloon(DEFLATE, pages(), offered=spoilt(4, 999)),
    "reset_in_the_middle": balloon(INFLATE, pages()) + bytes([LIE, INFLATE, 255]) + pages() + bytes(3),
}


def pmem(shape, kind=None, in_file=None, odd=None, cut=0, step=0, more=b""):
    out = bytes([shape, 0, 0, step, 0, cut])
    out += bytes([LIE]) + word(kind) if kind is not None else b"\0"
    out += b"\0"
    out += bytes([LIE]) + word(in_file) if in_file is not None else b"\0"
    out += bytes([LIE]) + odd if odd is not None else b"\0"
    return out + b"\0\0" + more


CUT = bytes([0xA7, 0, 0, 0, 0, 0, 0, 0, 0, 0]) + word(5000)
PMEM = {
    "request_that_does_not_exist": pmem(0, kind=7),
    "request_in_pieces": pmem(1, cut=3),
    "answer_in_the_file": pmem(0, in_file=1 << 20),
    "answer_in_a_read_only_file": pmem(2, in_file=1 << 20),
    "answer_behind_the_file": pmem(1, in_file=(5 << 20) - 2),
    "answer_outside_memory": pmem(0, odd=bytes([0, 0, LIE, 1, 0, 0])),
    "answer_too_short": pmem(1, odd=bytes([0, 0, 0, LIE]) + word(3) + b"\0"),
    "answer_that_is_read": pmem(0, odd=bytes([0, 0, 0, 0, LIE])),
    "file_cut_short": pmem(0, more=CUT),
    "file_cut_short_uring": pmem(1, more=CUT),
    "file_cut_short_under_the_answer": pmem(1, in_file=2 << 20, more=CUT + pmem(1, in_file=2 << 20)[3:]),
    "reset_in_the_middle": pmem(5, more=bytes([LIE, 0, 0, 0, 0, 0, 0, 0, 0])),
    "limit_and_reset": pmem(4, more=bytes(200) + bytes([LIE])),
}

for device, lies in (("balloon", BALLOON), ("pmem", PMEM)):
    folder = pathlib.Path(__file__).parent / "corpus" / device
    folder.mkdir(exist_ok=True)
    (folder / "honest").write_bytes(bytes(4))
    for name, data in lies.items():
        (folder / f"lie_{name}").write_bytes(data)
