"""A monitor's own memory: what is private to its process outside guest RAM."""
import os
import re
import select
import subprocess
import time

HEADER = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ \d+ *(.*)$")


class Mapping:
    def __init__(self, match):
        self.start, self.end = int(match[1], 16), int(match[2], 16)
        self.rights, self.name = match[3], match[4] or "(anonymous)"
        self.private_kib = 0


def read_smaps(pid):
    mappings = []
    with open(f"/proc/{pid}/smaps", encoding="utf-8", errors="replace") as smaps:
        for line in smaps:
            if match := HEADER.match(line):
                mappings.append(Mapping(match))
            elif line.startswith(("Private_Dirty:", "Private_Clean:")):
                mappings[-1].private_kib += int(line.split()[1])
    return mappings


def guest_ram(mappings, size):
    """The mappings that are guest RAM, told by address and size alone, so that one rule holds for both monitors:
    neighbours without a gap, private and writable, which together are exactly as long as the guest's memory.
    Both monitors make guest RAM by one mmap() of that length; files mapped over it (kernel, initrd) split it
    into pieces but leave its ends where they were. Nothing else in either is that long and all writable: a
    malloc arena is reserved without any rights. No or two candidates are an error, not a guess.
    """
    found = []
    for first, mapping in enumerate(mappings):
        end = mapping.start
        for last in range(first, len(mappings)):
            piece = mappings[last]
            if piece.start != end or piece.rights[1] != "w" or piece.rights[3] != "p":
                break
            end = piece.end
            if end - mapping.start == size:
                found.append(mappings[first:last + 1])
    if len(found) != 1:
        raise RuntimeError(f"{len(found)} mappings could be guest RAM, expected one")
    return found[0]


def measure(pid, ram_size):
    """{"kib": outside guest RAM, "guest_kib": inside, "largest": [[kib, count, name], ...]}"""
    mappings = read_smaps(pid)
    ram = guest_ram(mappings, ram_size)
    own = [mapping for mapping in mappings if mapping not in ram]
    by_name = {}
    for mapping in own:
        name = f"{mapping.rights} {os.path.basename(mapping.name)}"
        kib, count = by_name.get(name, (0, 0))
        by_name[name] = kib + mapping.private_kib, count + (mapping.private_kib > 0)
    largest = sorted(([kib, count, name] for name, (kib, count) in by_name.items() if kib), reverse=True)
    return {"kib": sum(mapping.private_kib for mapping in own),
            "guest_kib": sum(mapping.private_kib for mapping in ram), "largest": largest}


def wait_for(pipe, marker, seconds):
    seen, limit = b"", time.monotonic() + seconds
    while marker not in seen:
        if not select.select([pipe], [], [], max(0, limit - time.monotonic()))[0]:
            raise RuntimeError(f"no {marker.decode()!r} within {seconds} s")
        got = os.read(pipe.fileno(), 65536)
        if not got:
            raise RuntimeError(f"it ended before {marker.decode()!r}")
        seen += got


def measure_idle(command, marker, idle, seconds, ram_size):
    """Starts a monitor whose guest stays, waits for the marker and `idle` seconds, measures, ends it."""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as process:
        try:
            wait_for(process.stdout, marker.encode(), seconds)
            time.sleep(idle)
            return measure(process.pid, ram_size)
        finally:
            process.kill()
