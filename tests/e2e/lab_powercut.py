"""The power goes: what the guest was told is flushed is there, wherever in the disk's history that happens."""

import functools
import os
import re
import struct
import time

from harness import Failure, equal, holds, test
from powercut import SECTOR, Ext4File, LoggedDisk, RawImage, mount, run, unmount
from vm import small

# As in tests/guest/init/write_flush.c.
BLOCK, SLOTS, WRITES_PER_STEP = 4096, 32, 3
SEED = 77
IMAGE = 2 << 20  # of the guest's drive
FILE_SYSTEM = 16 << 20
MASK = (1 << 64) - 1


def pattern_word(seed, k):
    """tests/guest/init/pattern.h"""
    z = (seed + (k + 1) * 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def slots_of(step):
    return [pattern_word(SEED, step * WRITES_PER_STEP + i) % SLOTS for i in range(WRITES_PER_STEP)]


class Promises:
    """The version that each slot was promised to have at least."""

    def __init__(self):
        self.versions, self.flushed = {}, 0

    def add(self, step):
        self.flushed = step
        for slot in slots_of(step):
            self.versions[slot] = step

    def broken_in(self, data):
        """The first broken one, as text."""
        for slot, wanted in self.versions.items():
            found = version_of(slot, bytes(data[slot * BLOCK:(slot + 1) * BLOCK]))
            if found < wanted:
                return f"slot {slot} has version {found}, flushed {wanted}"
        return None


@functools.lru_cache(4096)
def version_of(slot, block):
    """The oldest of its sectors (a disk tears nothing smaller), -1 where one of them was never written."""
    oldest = MASK
    for i in range(BLOCK // SECTOR):
        number = slot * (BLOCK // SECTOR) + i
        seed, version, where, check = struct.unpack_from("<4Q", block, i * SECTOR)
        if seed != SEED or where != number or check != pattern_word(SEED, number ^ version << 32 & MASK):
            return -1
        oldest = min(oldest, version)
    return oldest


def write_and_flush(t, disk, path, steps, settings, devices=()):
    """The guest waits at each step until the log has a mark: nothing but the flush itself can have got the step's
    writes there by then."""
    vm = small(t, "@write-flush", "/dev/vda", steps, SEED, options=["--drive", path + settings], stdin=-1, devices=devices)
    for step in range(1, steps + 1):
        vm.wait_for(f"flushed {step}\r\n")
        disk.mark(f"flushed-{step}")
        vm.send(b"\n")
    vm.ends(0)


def replay(t, disk, medium):
    """Cuts the power after each entry of the log; returns at how many points, and what was lost."""
    state, promises, lost, points, start = disk.before, Promises(), [], 0, time.monotonic()
    for number, (sector, data, mark) in enumerate(disk.entries()):
        state[sector * SECTOR:sector * SECTOR + len(data)] = data
        if mark and (match := re.fullmatch(r"flushed-(\d+)", mark)):
            promises.add(int(match[1]))
        elif not data:
            continue  # a flush changes nothing, nor does the mark of the end
        points += 1
        if broken := promises.broken_in(medium.read(state, SLOTS * BLOCK)):
            lost.append(f"after entry {number}: {broken}")
    t.log(f"replayed in {time.monotonic() - start:.1f} s: {points} points, "
          f"{promises.flushed} steps, {len(lost)} with losses\n" + "\n".join(lost[:20]))
    return promises.flushed, points, lost


def check(found, steps):
    flushed, points, lost = found
    equal("marks", flushed, steps)
    holds("at least a write a step", points >= 2 * steps, points)
    if lost:
        raise Failure("what was flushed, after each power cut", f"{len(lost)} losses in {points}, first {lost[0]}")


def cut_raw(t, steps, settings):
    disk = LoggedDisk(t, t.file("image", size=IMAGE))
    write_and_flush(t, disk, disk.path, steps, settings, [disk.path])
    disk.remove()
    return replay(t, disk, RawImage())


RAW_STEPS, FILE_STEPS = 20, 5


@test("lab", "powercut-raw", settings="")
@test("lab", "powercut-raw-direct", settings=",direct=on")
def raw(t, settings):
    """The drive is the block device."""
    check(cut_raw(t, RAW_STEPS, settings), RAW_STEPS)


@test("lab", "powercut-ext4-file", settings="")
@test("lab", "powercut-ext4-file-direct", settings=",direct=on")
def ext4_file(t, settings):
    """The drive is a file with holes: to be flushed, it needs the file system to remember its blocks."""
    image = t.file("image", size=FILE_SYSTEM)
    run("mke2fs", "-q", "-t", "ext4", "-b", BLOCK, "-J", "size=4", "-E", "lazy_itable_init=0,lazy_journal_init=0",
        image)
    make_drive(t, image)
    disk, folder = LoggedDisk(t, image), t.path("mnt")
    mount(disk.path, folder)
    t.cleanups.append(lambda: run("umount", folder) if os.path.ismount(folder) else None)
    write_and_flush(t, disk, os.path.join(folder, "drive"), FILE_STEPS, settings)
    unmount(folder)
    disk.remove()
    check(replay(t, disk, Ext4File(t, FILE_SYSTEM, "drive")), FILE_STEPS)


def make_drive(t, image):
    folder = t.path("made")
    os.makedirs(folder)
    run("mount", "-o", "loop", image, folder)
    with open(os.path.join(folder, "drive"), "wb") as file:
        file.truncate(IMAGE)
    run("umount", folder)


@test("lab", "powercut-unsafe-loses")
def unsafe_loses(t):
    """The same with a drive that promises nothing: were nothing found, the tests above could find nothing."""
    flushed, points, lost = cut_raw(t, FILE_STEPS, ",cache=unsafe")
    equal("marks", flushed, FILE_STEPS)
    holds("losses", len(lost) > 0, f"none at {points} points")
