"""Disks that fail under a guest, a driver that breaks its device, and what a guest sees of its drives."""

import os

import files
from harness import contains, equal, lacks, test
from powercut import SECTOR, loop_device, run
from vm import small

MIB = 1 << 20

# Each twice: what has been said once is not said again.
ATTEMPTS = """
for n in 1 2; do
	dd if=/dev/vda of=/dev/null bs=4k skip=1500 count=1 iflag=direct && echo no error
	dd if=/dev/zero of=/dev/vdb bs=64k count=64 oflag=direct && echo no error
	dd if=/dev/vdc of=/dev/null bs=4k skip=$n count=1 iflag=direct && echo no error
	dd if=/dev/zero of=/dev/vdc bs=4k seek=$n count=1 oflag=direct && echo no error
done
true
"""


def script(t, text):
    """A drive that a shell can read: a kernel's command line has neither lines nor quotes."""
    return t.file("script", text.encode().ljust(4096, b"\n")) + ":ro"


class Mapped:
    """A disk that can be taken away while it is in use."""

    def __init__(self, t, image):
        self.name = f"trouble-{os.getpid()}"
        run("modprobe", "dm-mod")
        run("dmsetup", "create", self.name, "--table",
            f"0 {os.path.getsize(image) // SECTOR} linear {loop_device(t, image)} 0")
        t.cleanups.append(lambda: run("dmsetup", "remove", "--retry", self.name))
        self.path = "/dev/dm-" + run("dmsetup", "info", "-c", "--noheadings", "-o", "minor", self.name)

    def take_away(self):
        run("dmsetup", "wipe_table", "--noflush", self.name)


def full_folder(t):
    folder = t.path("small")
    os.makedirs(folder)
    run("mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder)
    t.cleanups.append(lambda: run("umount", folder))
    return folder


@test("lab")
def disks_that_fail(t):
    """A file cut short, a full file system, a disk that is gone: the guest is told, the log once for each drive, the
    monitor and the fourth drive go on."""
    cut = t.file("cut", files.pattern(65536, 51), size=8 * MIB)
    thin = os.path.join(full_folder(t), "thin")
    with open(thin, "wb") as file:
        file.truncate(8 * MIB)
    disk = Mapped(t, t.file("disk", size=8 * MIB))
    sound = t.file("sound", files.pattern(4096, 52), size=MIB)
    drives = (cut, thin, disk.path + ",direct=on", sound, script(t, ATTEMPTS))
    vm = small(t, "@pattern-check", "/dev/vda", 65536, 51, "@@", "@echo-stdin", "@@", "sh", "/dev/vde", "@@",
               "@pattern-check", "/dev/vdd", 4096, 52, stdin=-1, devices=[disk.path],
               options=[word for drive in drives for word in ("--drive", drive)])
    vm.wait_for("ready")
    os.truncate(cut, 32768)
    disk.take_away()
    vm.send(b"quit\n")
    vm.ends(0)
    contains("output", vm.text(), "checked 65536", "checked 4096")
    lacks("output", vm.text(), "no error")
    for line in ("drive vda: read at byte 6144000: Input/output error", "drive vdb: write at byte ",
                 "drive vdc: read at byte 4096: Input/output error",
                 "drive vdc: write at byte 4096: Input/output error"):
        equal(f"lines with {line!r}:", vm.errors().count(line), 1)
    contains("messages", vm.errors(), ": No space left on device")
    lacks("messages", vm.errors(), "drive vdd")


# A driver of a few lines, behind the back of Linux's: what it says of its ring cannot be.
LIAR = """
set -e
device=$(readlink -f /sys/block/vda/device)
name=${device##*/} platform=${device%/*}
base=0x$(sed -n "s/^ *\\([0-9a-f]*\\)-.*: ${platform##*/}.*/\\1/p" /proc/iomem | head -n 1)
get() { devmem $((base + $1)) 32; }
set_to() { devmem $((base + $1)) 32 $2; }
lie() {
	for status in 0 1 3; do set_to 0x70 $status; done
	set_to 0x24 1; set_to 0x20 1; set_to 0x24 0; set_to 0x20 0
	set_to 0x70 11
	set_to 0x30 0; set_to 0x38 16; set_to 0x80 0x1001; set_to 0x90 0x2000; set_to 0xa0 0x3000; set_to 0x44 1
	echo "after the lie: $(get 0x70)"
}
lie
set_to 0x70 0
echo "after a reset: $(get 0x70)"
lie
for what in unbind bind; do echo $name >/sys/bus/virtio/drivers/virtio_blk/$what; done
echo "after a bind: $(get 0x70)"
"""


@test("lab")
def a_broken_device_recovers(t):
    """By a reset that a driver writes by hand, and by Linux's unbind and bind."""
    image = t.file("image", files.pattern(65536, 55), size=MIB)
    vm = small(t, "@pattern-check", "/dev/vda", 4096, 55, "@@", "sh", "/dev/vdb", "@@",
               "@pattern-check", "/dev/vda", 65536, 55, "@@", "@pattern-write", "/dev/vda", 4096, 56, 65536,
               options=["--drive", image, "--drive", script(t, LIAR)]).ends(0)
    contains("output", vm.text(), "after a reset: 0x00000000", "after a bind: 0x0000000F", "checked 65536",
             "wrote 4096")
    equal("broken", vm.text().count("after the lie: 0x0000004B"), 2)
    contains("messages", vm.errors(), "vda: needs a reset by its driver: impossible ring")
    equal("what the guest wrote", files.read_at(image, 65536, 4096), files.pattern(4096, 56))


LOOK = """
for d in a b c; do
	cd /sys/block/vd$d/queue
	echo "vd$d: $(cat logical_block_size physical_block_size minimum_io_size write_cache)" $(ls ../mq | wc -l)
	[ $d = c ] || blkdiscard -o 1048576 -l 1048576 /dev/vd$d
done
"""


@test("lab")
def what_a_guest_sees_of_its_drives(t):
    """Block size and topology, the cache, queues; and what it discards is gone."""
    content = b"x" * (4 * MIB)
    images = [t.file(name, content) for name in ("file", "disk", "unsafe")]
    disk = run("losetup", "--show", "-b", 4096, "-f", images[1])
    t.cleanups.append(lambda: run("losetup", "-d", disk))
    drives = (images[0], disk + ",direct=on", images[2] + ",cache=unsafe,num-queues=2", script(t, LOOK))
    vm = small(t, "sh", "/dev/vdd", devices=[disk],
               options=["--cpus", 2, *(word for drive in drives for word in ("--drive", drive))]).ends(0)
    contains("output", " ".join(vm.text().split()), "vda: 512 4096 4096 write back 1",
             "vdb: 4096 4096 4096 write back 1", "vdc: 512 4096 4096 write through 2")
    run("sync")
    for path in images[:2]:
        equal(f"what is left of {path}", files.read_at(path, MIB, MIB) == bytes(MIB) and
              files.read_at(path, 0, MIB) + files.read_at(path, 2 * MIB, 2 * MIB) == content[MIB:], True)
        equal(f"space of {path}", os.stat(path).st_blocks * 512 <= 3 * MIB + 65536, True)
