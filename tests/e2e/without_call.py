#!/usr/bin/python3
"""without_call.py NUMBER[:ARGUMENT] ERRNO COMMAND...: a kernel where one system call, or one of its functions that the
first argument chooses, fails, as an older
one or another configuration would have it."""

import ctypes
import os
import struct
import sys

PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, MODE_FILTER = 22, 38, 2
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
FIRST_ARGUMENT = 16  # in the filter's data, its lower half
ALLOW, FAIL = 0x7FFF0000, 0x00050000


def main():
    number, _, argument = sys.argv[1].partition(":")
    error, command = int(sys.argv[2]), sys.argv[3:]
    instructions = [(RETURN, 0, 0, FAIL | error), (RETURN, 0, 0, ALLOW)]
    if argument:
        instructions[:0] = [(LOAD, 0, 0, FIRST_ARGUMENT), (JUMP_IF_EQUAL, 0, 1, int(argument))]
    instructions[:0] = [(LOAD, 0, 0, 0), (JUMP_IF_EQUAL, 0, len(instructions) - 1, int(number))]
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in instructions)
    buffer = ctypes.create_string_buffer(code)
    program = struct.pack("HP", len(code) // 8, ctypes.addressof(buffer))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    if prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or prctl(PR_SET_SECCOMP, MODE_FILTER, program, 0, 0):
        sys.exit(f"no filter: {os.strerror(ctypes.get_errno())}")
    os.execv(command[0], command)


main()
