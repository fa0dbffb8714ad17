"""Hosts that give less, and files that go away under a running guest."""

import os
import shutil

import files
from harness import MAYFLY, artefact, contains, equal, holds, test
from vm import Vm, small


@test("lab")
def host_without_io_uring(t):
    """Debian's hardening guides turn it off; drives work all the same."""
    setting = "/proc/sys/kernel/io_uring_disabled"
    with open(setting) as file:
        before = file.read()
    t.cleanups.append(lambda: write(setting, before))
    write(setting, "2")
    image = t.file("image", files.pattern(65536, 61), size=8 << 20)
    vm = small(t, "@pattern-check", "/dev/vda", 65536, 61, "@@", "@pattern-write", "/dev/vda", 262144, 62, "1M", "@@",
               "@rng", 16, options=["--drive", image, "--cpus", 2]).ends(0)
    contains("output", vm.text(), "checked 65536", "wrote 262144", "rng: ")
    contains("messages", vm.errors(), "loop io0: no io_uring (Operation not permitted); using epoll and worker threads")
    holds("the same bytes", files.read_at(image, 1 << 20, 262144) == files.pattern(262144, 62))


def write(path, text):
    with open(path, "w") as file:
        file.write(text)


@test("lab")
def real_guest_in_an_empty_chroot(t):
    """One static file, /dev/kvm, and what the command line names."""
    root = t.path("root")
    os.makedirs(os.path.join(root, "dev"))
    for source, name in ((MAYFLY, "mayfly"), (artefact("small/vmlinux"), "kernel"), (artefact("init.cpio"), "initrd")):
        shutil.copy(source, os.path.join(root, name))
    image = t.file("root/image", size=1 << 20)
    os.mknod(os.path.join(root, "dev/kvm"), 0o600 | 0o020000, os.stat("/dev/kvm").st_rdev)
    vm = Vm(t, "run", "--kernel", "/kernel", "--initrd", "/initrd", "--drive", "/image", "--",
            "@pattern-write", "/dev/vda", 4096, 63, "@@", "@rng", 16, before=["chroot", root], binary="/mayfly").ends(0)
    contains("output", vm.text(), "wrote 4096", "rng: ")
    equal("messages", vm.errors(), "")
    holds("the same bytes", files.read_at(image, 0, 4096) == files.pattern(4096, 63))


@test("lab", "real-kernel-cut-short-while-it-runs", what="kernel")
@test("lab", "real-initrd-cut-short-while-it-runs", what="initrd")
def cut_short(t, what):
    kernel, initrd = t.path("kernel"), t.path("initrd")
    # Small ones are copied, and then their files are nobody's concern.
    files.with_much_to_load(artefact("small/vmlinux"), kernel)
    shutil.copy(artefact("init.cpio"), initrd)
    os.truncate(initrd, 20 << 20)
    vm = Vm(t, "run", "--kernel", kernel, "--initrd", initrd, "--cpus", 2, "--", "@echo-stdin", stdin=-1)
    vm.wait_for("ready")
    os.truncate(t.path(what), 8192)
    vm.ends(149, 60)
    equal("lines of messages:", len(vm.errors().splitlines()), 1)
    contains("a message", vm.errors(), "mayfly: error: ", t.path(what), "cut short")


@test("lab")
def small_initrd_cut_short_harms_nobody(t):
    initrd = t.path("initrd")
    shutil.copy(artefact("init.cpio"), initrd)
    vm = Vm(t, "run", "--kernel", artefact("small/vmlinux"), "--initrd", initrd, "--", "@echo-stdin", stdin=-1)
    vm.wait_for("ready")
    os.truncate(initrd, 0)
    vm.send(b"still here\nquit\n")
    vm.ends(0)
    contains("output", vm.text(), "got:still here")


@test("lab")
def check_host_in_the_lab(t):
    vm = Vm(t, "check-host", "--json").ends(0)
    contains("output", vm.text(), '"can_run_guests"', "true")
