"""Pmem under Linux's driver: a file that the guest has in its address space."""

import os
import re
import subprocess
import time

import files
from harness import artefact, contains, equal, holds, lacks, test
from vm import cloud

DAX = "quiet reboot=k panic=-1 rootflags=dax rootfstype=erofs"


@test("lab")
def pmem_is_the_file(t):
    """What the guest writes the host has, what the host wrote the guest has; the rest of the last 2 MiB is zeroes."""
    size = (5 << 20) + 4096
    image = t.file("image", files.pattern(65536, 61), size=size)
    vm = cloud(t, "@pattern-check", "/dev/pmem0", 65536, 61, "@@", "@pattern-write", "/dev/pmem0", 1 << 20, 62, 2 << 20, "@@",
               "sh", "-c", "cat /sys/block/pmem0/size; cat /proc/iomem; "
               "dd if=/dev/pmem0 bs=4k skip=1281 iflag=direct 2>/dev/null | tr -d '\\000' | wc -c",
               options=["--pmem", image]).ends(0)
    contains("output", vm.text(), "checked 65536", "wrote 1048576", "12288\n", "100000000-1005fffff : namespace0.0")
    lacks("output", vm.text(), "1005fffff : System RAM")
    numbers = [line for line in vm.text().split("\n") if line.isdigit()]
    equal("sectors, and what is not zero behind the file's end:", numbers, ["12288", "0"])
    content = files.read_at(image, 0, size)
    equal("the file's size", os.path.getsize(image), size)
    holds("the guest's pattern in the file", content[2 << 20:3 << 20] == files.pattern(1 << 20, 62))
    holds("nothing else changed", content[:65536] == files.pattern(65536, 61) and not any(content[65536:2 << 20]))


@test("lab")
def pmem_read_only_by_descriptor(t):
    """Two devices; a file that cannot even be opened for writing."""
    one = t.file("one", files.pattern(4096, 63), size=1 << 20)
    two = t.file("two", files.pattern(4096, 64), size=3 << 20)
    fd = os.open(one, os.O_RDONLY)
    vm = cloud(t, "@pattern-check", "/dev/pmem0", 4096, 63, "@@", "@pattern-check", "/dev/pmem1", 4096, 64, "@@",
               "@pattern-write", "/dev/pmem1", 4096, 65, 1 << 20, options=["--pmem", f"fd={fd}:ro", "--pmem", two], fds=[fd])
    vm.ends(0)
    equal("checks that hold", vm.text().count("pattern: checked"), 2)
    holds("the guest's pattern in the second", files.read_at(two, 1 << 20, 4096) == files.pattern(4096, 65))


@test("lab")
def root_on_pmem_with_dax(t):
    """No disk: EROFS straight from the host's page cache, run by two guests at once."""
    image = artefact("small.erofs")

    def guest():
        return cloud(t, "sh", "-c", "cat /proc/cmdline; grep pmem /proc/mounts; echo root is up; sleep 5",
                     options=["--pmem", image + ":ro,root=on", "--cmdline", DAX])

    one, two = guest(), guest()
    one.wait_for("root is up")
    two.wait_for("root is up")
    one.ends(0)
    two.ends(0)
    for vm in (one, two):
        contains("output", vm.text(), "root=/dev/pmem0 ro")
        mount = re.search(r"^/dev/pmem0 / erofs .*$", vm.text(), re.M)
        holds("a root on pmem with DAX", mount and "dax" in mount.group(0), vm.text()[:2000])


@test("lab")
def pmem_shared_by_two_guests(t):
    """What one writes and flushes, another that runs already reads."""
    image = t.file("image", size=8 << 20)
    reader = cloud(t, "@echo-stdin", "@@", "@pattern-check", "/dev/pmem0", 65536, 66, 4 << 20,
                   options=["--pmem", image + ":ro"], stdin=-1)
    reader.wait_for("ready")
    cloud(t, "@pattern-write", "/dev/pmem0", 65536, 66, 4 << 20, options=["--pmem", image]).ends(0)
    reader.send(b"quit\n")
    reader.ends(0)
    contains("output", reader.text(), "checked 65536")


@test("lab")
def pmem_cut_short_while_the_guest_runs(t):
    """Zeroes instead of what is lost, failing flushes, one line; the guest, and its disk, go on."""
    image = t.file("image", files.pattern(8 << 20, 67))
    other = t.file("other", files.pattern(4096, 68), size=1 << 20)
    read = "dd if=/dev/pmem0 bs=64k count=1 skip={} iflag=direct 2>/dev/null | tr -d '\\000' | wc -c"
    script = f"cat; {read.format(96)}; {read.format(1)}; " \
        "dd if=/dev/zero of=/dev/pmem0 bs=64k count=1 conv=fsync 2>/dev/null || echo flush failed; " \
        "dd if=/dev/zero of=/dev/pmem0 bs=64k count=1 seek=100 conv=fsync 2>/dev/null || echo flush failed again; true"
    vm = cloud(t, "@pattern-check", "/dev/pmem0", 4096, 67, "@@", "@echo-stdin", "@@", "sh", "-c", script.replace("cat; ", ""),
               "@@", "@pattern-check", "/dev/vda", 4096, 68, options=["--pmem", image, "--drive", other], stdin=-1)
    vm.wait_for("ready")
    os.truncate(image, 2 << 20)
    vm.send(b"quit\n")
    vm.ends(0)
    lines = [line for line in vm.text().split("\n") if line.isdigit()]
    equal("bytes that are not zero where the file was lost:", lines[0], "0")
    holds("the file's own where it was not", int(lines[1]) > 60000, lines)
    contains("output", vm.text(), "flush failed\n", "flush failed again\n", "checked 4096")
    equal("lines that name the file:", vm.errors().count(image), 1)
    contains("messages", vm.errors(), "cut short")
    equal("the file's size", os.path.getsize(image), 2 << 20)


@test("lab")
def devices_on_a_full_disk(t):
    """Files with holes and no room for them. Pmem: the guest keeps what it wrote, and is told that none of it lasts. A
    drive: an error of the write, and it goes on."""
    folder = t.path("disk")
    os.mkdir(folder)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", folder], check=True)
    t.cleanups.append(lambda: os.system(f"umount -l {folder}"))
    image, drive = os.path.join(folder, "image"), os.path.join(folder, "drive")
    for number, path in enumerate((image, drive)):
        with open(path, "wb") as file:
            file.write(files.pattern(65536, 70 + number))
            file.truncate(16 << 20)
    script = "head -c 8388608 /dev/urandom >/tmp/wanted; " \
        "dd if=/tmp/wanted of=/dev/pmem0 bs=64k seek=16 conv=fsync 2>/dev/null || echo flush failed; " \
        "dd if=/dev/pmem0 bs=64k skip=16 count=128 iflag=direct 2>/dev/null | cmp - /tmp/wanted && echo the same; " \
        "dd if=/tmp/wanted of=/dev/vda bs=64k seek=16 oflag=direct 2>/dev/null || echo write failed"
    vm = cloud(t, "@cpus", "@@", "sh", "-c", script, "@@", "@pattern-check", "/dev/pmem0", 65536, 70, "@@", "@pattern-check",
               "/dev/vda", 65536, 71, "@@", "@pattern-write", "/dev/vda", 4096, 72, 8192,
               options=["--pmem", image, "--drive", drive])
    vm.ends(0)
    contains("output", vm.text(), "flush failed\n", "the same\n", "write failed\n", "wrote 4096")
    equal("checks that hold", vm.text().count("checked 65536"), 2)
    equal("lines that name pmem's file:", vm.errors().count(image), 1)
    contains("messages", vm.errors(), "no room")


@test("lab")
def dax_file_cut_short_under_a_running_program(t):
    """The root itself: its programs may die, the monitor does not."""
    with open(artefact("small.erofs"), "rb") as file:
        image = t.file("root", file.read())
    vm = cloud(t, "sh", "-c", "echo root is up; while :; do cat /bin/busybox >/dev/null; done",
               options=["--pmem", image + ":ro,root=on", "--cmdline", DAX])
    vm.wait_for("root is up")
    os.truncate(image, 64 << 10)
    vm.wait_for_error("cut short")
    time.sleep(5)
    status = vm.process.poll()
    holds("a monitor that runs, or an end that was the guest's (0)", status in (None, 0), status)
    equal("lines that name the file:", vm.errors().count(image), 1)
