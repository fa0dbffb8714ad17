"""Cutting the power of a disk, at every point: a block device that logs what became stable (dm-log-writes), and the
replay of its log."""

import ctypes
import fcntl
import mmap
import os
import struct
import subprocess

from harness import Failure

SECTOR = 512
MAGIC = 0x6A736677736872
DISCARD, MARK = 4, 8  # flags of an entry

DM_TARGET_MSG = 0xC138FD0E
DM_IOCTL_SIZE = 312  # struct dm_ioctl, which is 305 bytes and their alignment

MS_RDONLY = 1
libc = ctypes.CDLL(None, use_errno=True)


def run(*command):
    return subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True).stdout.strip()


def loop_device(t, path):
    device = run("losetup", "--show", "-f", path)
    t.cleanups.append(lambda: subprocess.run(["losetup", "-d", device], check=False))
    return device


def mount(device, folder, flags=0):
    """ext4 only: no process is started, because a replay mounts a hundred times."""
    os.makedirs(folder, exist_ok=True)
    if libc.mount(device.encode(), folder.encode(), b"ext4", flags, b"") < 0:
        raise OSError(ctypes.get_errno(), f"mount of {device}: {os.strerror(ctypes.get_errno())}")


def unmount(folder):
    if libc.umount2(folder.encode(), 0) < 0:
        raise OSError(ctypes.get_errno(), f"umount of {folder}: {os.strerror(ctypes.get_errno())}")


class LoggedDisk:
    """A block device over the file `image`. Its log gets a write only when a flush that began after the write's end
    has ended (or a write through the cache has): what is not in the log does not survive."""

    def __init__(self, t, image):
        with open(image, "rb") as file:
            self.before = bytearray(file.read())
        self.name = f"powercut-{os.getpid()}"
        self.log_file = t.file("log", size=1 << 30)
        self.data, self.log = loop_device(t, image), loop_device(t, self.log_file)
        run("modprobe", "dm-log-writes")
        run("dmsetup", "create", self.name, "--table",
            f"0 {len(self.before) // SECTOR} log-writes {self.data} {self.log}")
        self.there = True
        t.cleanups.append(self.remove)
        # The name in /dev/mapper would be udev's to make.
        self.path = "/dev/dm-" + run("dmsetup", "info", "-c", "--noheadings", "-o", "minor", self.name)

    def mark(self, text):
        """What `dmsetup message NAME 0 mark TEXT` does; programs are slow to start in the lab."""
        message = struct.pack("<Q", 0) + b"mark " + text.encode() + b"\0"
        head = struct.pack("<10IQ128s", 4, 0, 0, DM_IOCTL_SIZE + len(message), DM_IOCTL_SIZE, 0, 0, 0, 0, 0, 0,
                           self.name.encode())
        with open("/dev/mapper/control", "rb") as control:
            fcntl.ioctl(control, DM_TARGET_MSG, bytearray(head.ljust(DM_IOCTL_SIZE, b"\0") + message))

    def remove(self):
        if self.there:
            run("dmsetup", "remove", "--retry", self.name)
            self.there = False

    def entries(self):
        """(sector, data, mark) of each entry, once the disk is removed."""
        run("blockdev", "--flushbufs", self.log)
        with open(self.log_file, "rb") as file:
            magic, version, count, sector_size = struct.unpack("<QQQI", file.read(28))
            if (magic, version, sector_size) != (MAGIC, 1, SECTOR):
                raise Failure("a log of dm-log-writes", (hex(magic), version, sector_size))
            at = SECTOR
            for _ in range(count):
                file.seek(at)
                header = file.read(SECTOR)
                sector, sectors, flags, mark_size = struct.unpack_from("<QQQQ", header)
                data = b"" if flags & DISCARD else file.read(sectors * SECTOR)
                at += SECTOR + len(data)
                if flags & DISCARD:
                    data = bytes(sectors * SECTOR)
                yield sector, data, header[32:32 + mark_size].decode() if flags & MARK else None


class RawImage:
    """What a reader finds when the power comes back: the disk itself."""

    def read(self, disk, size):
        return disk[:size]


class Ext4File:
    """The same for a file in the disk's ext4, after the file system's own recovery."""

    def __init__(self, t, size, name):
        self.image, self.folder, self.name = t.file("scratch", size=size), t.path("scratch.mnt"), name
        self.device = loop_device(t, self.image)

    def read(self, disk, size):
        with open(self.image, "r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
            memory[:] = bytes(disk)
        mount(self.device, self.folder, MS_RDONLY)
        try:
            with open(os.path.join(self.folder, self.name), "rb") as file:
                return file.read(size)
        finally:
            unmount(self.folder)
