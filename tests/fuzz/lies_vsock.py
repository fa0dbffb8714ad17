#!/usr/bin/env python3
"""Writes the named seeds of corpus/vsock: each tells one lie to a device that is otherwise driven honestly,
in the language of fuzz_vsock.c (one byte a choice, LIE where a rarely() is to say yes)."""
import pathlib
import struct

LIE = 0xA5
REQUEST, RW, RESPONSE, SHUTDOWN, CREDIT_UPDATE, CREDIT_REQUEST, RST = range(7)
GIVE_8 = bytes([0, 0, 0]) * 8  # honest receive buffers: no lie, a plain chain, not spoiled
TURN = bytes([0x86])
RESET, RESTORE, PAUSE = bytes([0x7E]), bytes([0x77]), bytes([0x7F])
WAIT = bytes([0x76, 0x86])
EVENT = bytes([0x85, 7])  # a buffer of 8 bytes for one
FIELDS = ("src_cid", "dst_cid", "type", "op", "flags", "buf_alloc", "fwd_cnt")


def lie(value):
    return bytes([LIE]) + struct.pack(">Q", value & (1 << 64) - 1)


def packet(kind, to_program=False, flags=0, size=0, length=None, header_size=None, **lies):
    """A step that sends it and turns."""
    out = bytes([0x80, kind | (32 if to_program else 0), flags, 10, 0])
    for field in FIELDS:
        out += lie(lies[field]) if field in lies else b"\0"
    if kind == RW and "op" not in lies:
        out += bytes([size])
    out += lie(length) if length is not None else b"\0"
    out += bytes([LIE, header_size - 1]) if header_size is not None else b"\0"
    return out + bytes([0, 0, 0])  # its data where it is, a plain chain, not spoiled


def program(which, what, argument=0):
    return bytes([0x83, which, what | argument << 3])


OPEN = packet(REQUEST) + program(0, 1) + TURN
DIALED = program(0, 0) + TURN * 3
OPEN_FROM_HOST = DIALED + packet(RESPONSE, True) + TURN

BURST = b"".join(packet(REQUEST | port << 3) for port in range(4))  # the host's program holds one
SECOND = RW | 1 << 3

LIES = {
    "burst_that_is_taken_in_time": BURST + (WAIT + program(0, 1) + WAIT + program(1, 1)) * 2 + packet(SECOND, size=3),
    "burst_and_a_reset": BURST + RESET + WAIT,
    "burst_and_a_pause": BURST + PAUSE + WAIT + program(0, 1) + WAIT,
    "burst_and_a_restore": BURST + RESTORE + WAIT,
    "bytes_before_the_answer": BURST + packet(SECOND, size=3) + WAIT,
    "request_again_before_the_answer": BURST * 2 + packet(RST | 1 << 3) + WAIT,
    "credit_before_the_answer": BURST + packet(CREDIT_REQUEST | 1 << 3) + packet(SHUTDOWN | 2 << 3, flags=3) + WAIT,
    "longer_than_its_buffer": OPEN + packet(RW, size=1, length=1 << 20),
    "length_that_wraps": OPEN + packet(RW, length=0xFFFFFFFF),
    "length_of_a_request": packet(REQUEST, length=100),
    "header_cut_short": packet(REQUEST, header_size=43),
    "somebody_elses_cid": OPEN + packet(RW, src_cid=4) + packet(RST, src_cid=2),
    "to_somebody_else": packet(REQUEST, dst_cid=9),
    "type_that_does_not_exist": packet(REQUEST, type=7),
    "operation_that_does_not_exist": OPEN + packet(REQUEST, op=99) + packet(REQUEST, op=0),
    "credit_of_nothing": OPEN_FROM_HOST + packet(CREDIT_UPDATE, True, buf_alloc=0) + program(0, 2, 9) + TURN * 3,
    "credit_ahead_of_itself": OPEN_FROM_HOST + packet(CREDIT_UPDATE, True, fwd_cnt=1 << 31) + program(0, 2, 9) + TURN,
    "credit_overrun": OPEN + packet(RW, size=255) * 8,
    "answer_to_no_question": packet(RESPONSE) + OPEN + packet(RESPONSE),
    "ports_used_again": OPEN + packet(REQUEST) + packet(RW, size=3),
    "bytes_after_the_end": OPEN + packet(SHUTDOWN, flags=2) + packet(RW, size=3),
    "shutdown_of_nothing": OPEN + packet(SHUTDOWN, flags=0) + packet(SHUTDOWN, flags=1) + packet(SHUTDOWN, flags=3),
    "reset_with_bytes_under_way": OPEN + packet(RW, size=255) * 4 + RESET,
    "restore_with_connections": OPEN + OPEN_FROM_HOST + RESTORE + packet(RW, size=9),
    "restore_that_is_handled": OPEN + EVENT * 2 + RESTORE + TURN * 2 + EVENT + TURN * 2 + OPEN_FROM_HOST,
    "restore_that_is_handled_late": EVENT + RESTORE + OPEN_FROM_HOST + WAIT * 2 + EVENT + TURN * 2,
    "event_that_does_not_fit": bytes([0x85, 0]) + RESTORE + TURN,
    "pause_in_a_handshake": program(0, 0, 3) + PAUSE + program(0, 6, 5) + TURN + packet(RST, True),
    "program_that_goes_away": OPEN_FROM_HOST + packet(RW, True, size=200) * 4 + program(0, 7) + TURN * 3,
    "answer_after_the_program_went": DIALED + program(0, 7) + packet(RESPONSE, True) + TURN,
    "refusals_without_end": packet(RST, op=5) * 40,
}

folder = pathlib.Path(__file__).parent / "corpus" / "vsock"
folder.mkdir(parents=True, exist_ok=True)
for name, steps in LIES.items():
    (folder / f"lie_{name}").write_bytes(GIVE_8 + steps)
