"""Drives: what the guest writes, the host has, byte for byte, and the other way round."""

import hashlib
import os
import signal
import time

import files
from harness import contains, equal, holds, lacks, test
from vm import small

SIZE = 512 << 10


def same(what, came, wanted):
    if came != wanted:
        at = next((i for i, (a, b) in enumerate(zip(came, wanted)) if a != b), min(len(came), len(wanted)))
        equal(what, f"differs at byte {at}", "the same bytes")


@test("lab")
def guest_writes_what_the_host_reads(t):
    """At the start, at odd sectors in the middle, and up to the last sector; nothing else changes."""
    size = 32 << 20
    image = t.file("image", size=size)
    last = size - 65536
    vm = small(t, "@pattern-write", "/dev/vda", SIZE, 11, "@@", "@pattern-write", "/dev/vda", 1536, 12, 5 * (1 << 20) + 512,
               "@@", "@pattern-write", "/dev/vda", 65536, 13, last, options=["--drive", image]).ends(0)
    equal("writes", vm.text().count("pattern: wrote"), 3)
    wanted = bytearray(size)
    for offset, length, seed in ((0, SIZE, 11), (5 * (1 << 20) + 512, 1536, 12), (last, 65536, 13)):
        wanted[offset:offset + length] = files.pattern(length, seed)
    same("the image", files.read_at(image, 0, size), bytes(wanted))


@test("lab")
def guest_reads_what_the_host_wrote(t):
    image = t.file("image", size=16 << 20)
    files.write_at(image, 0, files.pattern(SIZE, 21))
    files.write_at(image, (16 << 20) - 4096, files.pattern(4096, 22))
    vm = small(t, "@pattern-check", "/dev/vda", SIZE, 21, "@@", "@pattern-check", "/dev/vda", 4096, 22, (16 << 20) - 4096,
               "@@", "@pattern-check", "/dev/vda", 4096, 23, options=["--drive", image]).ends(0)
    equal("checks that hold", vm.text().count("pattern: checked"), 2)
    contains("output", vm.text(), "pattern differs at byte 0")  # the third is to fail: the check can


@test("lab")
def read_only_drive(t):
    content = files.pattern(4096, 31)
    image = t.file("image", content, size=1 << 20)
    vm = small(t, "@pattern-check", "/dev/vda", 4096, 31, "@@", "cat", "/sys/block/vda/ro", "@@", "@pattern-write",
               "/dev/vda", 4096, 32, options=["--drive", image + ":ro"]).ends(0)
    contains("output", vm.text(), "checked 4096", "\n1\n", "init: ")
    lacks("output", vm.text(), "wrote")
    same("the image", files.read_at(image, 0, 1 << 20), content + bytes((1 << 20) - 4096))


@test("lab")
def read_only_file_as_read_only_drive(t):
    """Not even the right to write is needed, and none is asked for."""
    image = t.file("image", files.pattern(4096, 33), size=1 << 20)
    fd = os.open(image, os.O_RDONLY)
    vm = small(t, "@pattern-check", "/dev/vda", 4096, 33, options=["--drive", f"fd={fd}:ro"], fds=[fd]).ends(0)
    contains("output", vm.text(), "checked 4096")


@test("lab")
def drive_by_descriptor(t):
    image = t.file("image", size=1 << 20)
    fd = os.open(image, os.O_RDWR)
    os.unlink(image)
    vm = small(t, "@pattern-write", "/dev/vda", 65536, 41, options=["--drive", f"fd={fd}"], fds=[fd]).ends(0)
    contains("output", vm.text(), "wrote 65536")
    same("the file", os.pread(fd, 65536, 0), files.pattern(65536, 41))


@test("lab")
def drive_with_a_comma_and_spaces_in_its_path(t):
    image = t.file("a, b", files.pattern(4096, 42), size=1 << 20)
    vm = small(t, "@pattern-check", "/dev/vda", 4096, 42, options=["--drive", image.replace(",", ",,")]).ends(0)
    contains("output", vm.text(), "checked 4096")


@test("lab")
def drive_that_is_a_block_device(t):
    image = t.file("image", files.pattern(4096, 43), size=1 << 20)
    loop = os.popen(f"losetup --show -f {image}").read().strip()
    holds("a loop device", loop, loop)
    t.cleanups.append(lambda: os.system(f"losetup -d {loop}"))
    vm = small(t, "@pattern-check", "/dev/vda", 4096, 43, "@@", "@pattern-write", "/dev/vda", 4096, 44, 8192,
               options=["--drive", loop], devices=[loop]).ends(0)
    contains("output", vm.text(), "checked 4096", "wrote 4096")
    os.system("sync")
    same("the image", files.read_at(image, 8192, 4096), files.pattern(4096, 44))


@test("lab")
def block_device_that_nobody_may_write(t):
    """As a drive to write to it is refused, with what to do; as a read-only one it is read."""
    image = t.file("image", files.pattern(4096, 45), size=1 << 20)
    loop = os.popen(f"losetup --show -r -f {image}").read().strip()
    t.cleanups.append(lambda: os.system(f"losetup -d {loop}"))
    vm = small(t, "true", options=["--drive", loop], devices=[loop]).ends(152)
    contains("messages", vm.errors(), f"drive vda: {loop}: the device cannot be written to; a drive that is only read (:ro) would do")
    vm = small(t, "@pattern-check", "/dev/vda", 4096, 45, "@@", "cat", "/sys/block/vda/ro",
               options=["--drive", loop + ":ro,direct=on"], devices=[loop]).ends(0)
    contains("output", vm.text(), "checked 4096", "\n1\n")


# Large and small, whole and odd, at once on queues as large and as many as there can be.
MANY = """
for n in 1 2 3; do
	for d in a b c; do
		dd if=/dev/urandom of=/dev/vd$d bs=$((512 * n)) seek=$((n * 1000)) count=400 oflag=direct 2>/dev/null &
		dd if=/dev/vd$d of=/dev/null bs=1M count=7 iflag=direct 2>/dev/null &
	done
done
wait
for d in a b c; do
	blkdiscard -o 4194304 -l 524288 /dev/vd$d && echo discarded
	cat /sys/block/vd$d/queue/nr_requests
	md5sum /dev/vd$d
done
"""


@test("lab")
def every_setting_at_once(t):
    """The settings that a drive has, in combinations that no other test has, and the smallest queue."""
    images = [t.file(name, b"x" * (8 << 20)) for name in ("one", "two", "three")]
    settings = (",num-queues=32,queue-size=1024,direct=on,loop=15", ",queue-size=2,cache=unsafe",
                ",cache=writeback,direct=on,num-queues=2,queue-size=16,loop=1")
    script = t.file("script", MANY.encode().ljust(4096, b"\n"))
    drives = [image + setting for image, setting in zip(images, settings)]
    vm = small(t, "sh", "/dev/vdd", options=["--cpus", 2, *(word for drive in (*drives, script + ":ro")
                                                            for word in ("--drive", drive))]).ends(0)
    equal("discarded", vm.text().count("discarded"), 3)
    for image in images:
        with open(image, "rb") as file:
            content = file.read()
        contains("output", vm.text(), hashlib.md5(content).hexdigest())
        holds("zeroes", content[4 << 20:(4 << 20) + 524288] == bytes(524288), "others")
        holds("the rest", content[6 << 20:] == b"x" * (2 << 20), "changed")
    equal("messages", vm.errors(), "")


@test("lab")
def rootfs_is_vda_wherever_it_stands(t):
    one, root, two = (t.file(name, name.encode() * 128, size=1 << 20) for name in ("oneX", "root", "twoX"))
    vm = small(t, "sh", "-c", "for d in a b c; do head -c 4 /dev/vd$d; echo; done; cat /sys/block/vda/serial",
               options=["--drive", one, "--rootfs", root, "--drive", two, "--cmdline", "quiet reboot=k"]).ends(0)
    contains("output", vm.text(), "root\noneX\ntwoX\n")


@test("lab")
def sixteen_drives(t):
    """All at once, each with a line of its own at the interrupt controller, and the random numbers beside them."""
    letters = "abcdefghijklmnop"
    images = [t.file(f"image-{letter}", f"host {letter}".encode(), size=(index + 1) << 20)
              for index, letter in enumerate(letters)]
    script = "for d in " + " ".join(letters) + "; do head -c 6 /dev/vd$d; echo; cat /sys/block/vd$d/size; " \
        "(printf guest-$d; head -c 506 /dev/zero) | dd of=/dev/vd$d seek=3 conv=notrunc,fsync 2>/dev/null & done; wait; " \
        "grep virtio /proc/interrupts"
    vm = small(t, "@rng", 16, "@@", "sh", "-c", script, options=[option for image in images for option in ("--drive", image)])
    vm.ends(0)
    for index, letter in enumerate(letters):
        contains("output", vm.text(), f"host {letter}\n{2048 * (index + 1)}\n")
        equal(f"what the guest wrote to vd{letter}", files.read_at(images[index], 1536, 7), f"guest-{letter}".encode())
    lines = {line.split(":")[0].strip() for line in vm.text().split("\n") if "IO-APIC" in line and "virtio" in line}
    equal("interrupt lines of virtio devices:", len(lines), 17)


@test("lab")
def drives_on_threads_of_their_own(t):
    """Two that are written to at once, each by the I/O thread that it asks for."""
    images = [t.file(name, size=8 << 20) for name in ("first", "second")]
    script = "for d in a b; do dd if=/dev/urandom of=/dev/vd$d bs=64k count=64 conv=fsync 2>/dev/null & done; wait; " \
        "md5sum /dev/vda /dev/vdb; echo written; read line"
    vm = small(t, "sh", "-c", script, stdin=-1, options=["--drive", images[0] + ",loop=1", "--drive", images[1] + ",loop=2"])
    vm.wait_for("written")
    names = vm.thread_names()
    holds("their threads", {"io1", "io2"} <= set(names), names)
    vm.send(b"end\n")
    vm.ends(0)
    for image in images:
        with open(image, "rb") as file:
            contains("output", vm.text(), hashlib.md5(file.read()).hexdigest())


@test("lab", "ended-by-SIGTERM-while-it-writes", number=signal.SIGTERM, status=143)
@test("lab", "killed-while-it-writes", number=signal.SIGKILL, status=137)
def ended_in_io(t, number, status):
    image = t.file("image", size=32 << 20)
    vm = small(t, "sh", "-c", "echo ready; while :; do dd if=/dev/zero of=/dev/vda bs=64k count=256 2>/dev/null; done",
               options=["--drive", image, "--cpus", 2])
    vm.wait_for("ready")
    time.sleep(2)
    vm.signal(number)
    vm.ends(status, 60)


@test("lab")
def image_that_grew_short_of_a_sector(t):
    """What is behind the last whole sector is left alone."""
    image = t.file("image", size=(1 << 20) + 100)
    files.write_at(image, 1 << 20, b"t" * 100)
    vm = small(t, "@pattern-write", "/dev/vda", 4096, 53, "@@", "cat", "/sys/block/vda/size",
               options=["--drive", image]).ends(0)
    contains("output", vm.text(), "2048\n")
    same("the tail", files.read_at(image, 1 << 20, 200), b"t" * 100)
