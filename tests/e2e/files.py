"""Files to feed a monitor: kernels of a few bytes, right and wrong, and the pattern of tests/guest."""

import array
import os
import struct

LOAD = 0x100000  # where a kernel may lie
EM_X86_64 = 62
EM_AARCH64 = 183
HALT = b"\xf4\xeb\xfd"  # hlt; jmp to it


def segment(address=LOAD, data=HALT, memory=None, offset=0x1000, size=None):
    return {"address": address, "data": data, "memory": len(data) if memory is None else memory,
            "offset": offset, "size": len(data) if size is None else size}


def elf(*segments, entry=LOAD, machine=EM_X86_64, kind=2, bits=2, count=None):
    """An ELF file of these segments."""
    ident = b"\x7fELF" + bytes([bits, 1, 1]) + bytes(9)
    header = ident + struct.pack("<HHIQQQIHHHHHH", kind, machine, 1, entry, 64, 0, 0, 64, 56,
                                 len(segments) if count is None else count, 0, 0, 0)
    table = b"".join(
        struct.pack("<IIQQQQQQ", 1, 5, s["offset"], s["address"], s["address"], s["size"], s["memory"], 0x1000)
        for s in segments)
    out = bytearray(header + table)
    for s in segments:
        if s["data"]:
            out.extend(bytes(max(0, s["offset"] + len(s["data"]) - len(out))))
            out[s["offset"]:s["offset"] + len(s["data"])] = s["data"]
    return bytes(out)


def without_pvh_note(source, target):
    """A copy of a vmlinux that can only be entered by the 64-bit boot protocol: of its PVH note's type
    is made one that nobody knows."""
    with open(source, "rb") as file:
        data = file.read()
    for size in (4, 8):
        note = struct.pack("<III", 4, size, 18) + b"Xen\0"
        data = data.replace(note, struct.pack("<III", 4, size, 0x4d4d) + b"Xen\0")
    with open(target + ".tmp", "wb") as file:
        file.write(data)
    os.rename(target + ".tmp", target)


def with_much_to_load(source, target):
    """A copy of a vmlinux with 17 MiB of zeroes more to load, in place of its notes: large enough to be mapped."""
    size = 17 << 20
    with open(source, "rb") as file:
        data = bytearray(file.read())
    table, count = struct.unpack_from("<Q", data, 32)[0], struct.unpack_from("<H", data, 56)[0]
    at = next(table + 56 * i for i in range(count) if struct.unpack_from("<I", data, table + 56 * i)[0] == 4)
    offset = (len(data) + 4095) & ~4095
    struct.pack_into("<IIQQQQQQ", data, at, 1, 4, offset, 0x3000000, 0x3000000, size, size, 0x1000)
    with open(target, "wb") as file:
        file.write(data)
        file.truncate(offset + size)


def pattern(size, seed, offset=0):
    """tests/guest/init/pattern.h: 64-bit word k is output k of splitmix64 seeded with `seed`."""
    mask = (1 << 64) - 1
    words = array.array("Q")
    state = (seed + (offset // 8) * 0x9E3779B97F4A7C15) & mask
    for _ in range(size // 8):
        state = (state + 0x9E3779B97F4A7C15) & mask
        z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        words.append(z ^ (z >> 31))
    return words.tobytes()


def read_at(path, offset, size):
    with open(path, "rb") as file:
        file.seek(offset)
        return file.read(size)


def write_at(path, offset, data):
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


def cpio(contents):
    """A RAM disk of these files, {path: bytes}, each executable, to be unpacked over another one."""
    out = b""
    for number, (name, data) in enumerate([*contents.items(), ("TRAILER!!!", b"")], 1):
        fields = (number, 0o100755, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        for part in (b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0", data):
            out += part
            out += bytes(-len(out) % 4)
    return out


def initrd_with(base, contents):
    """The bytes of an uncompressed RAM disk with these files added."""
    with open(base, "rb") as file:
        data = file.read()
    return data + bytes(-len(data) % 512) + cpio(contents)
