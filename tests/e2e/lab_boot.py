"""Real kernels, by every way into them, with several processors."""

import os
import re

import artefacts
import files
from harness import GUEST, Skip, artefact, contains, equal, holds, lacks, test
from vm import Vm, cloud, small

# /proc/sys/kernel/bootloader_type: what Linux was told of who loaded it. Its PVH entry says 0xb0 itself.
LOADED_BY = {"pvh": "176", "elf64": "255", "bzimage": "255"}


COMPLAINTS = ("ACPI Error", "ACPI BIOS Error", "ACPI Exception", "[Firmware Bug]", "[Firmware Warn]", "WARNING:",
              "Call Trace", "unhandled")


def without_emulators_fault(log):
    """The lab's emulator does not let KVM see XSETBV, so its CPUID 0xd says a wrong size."""
    return re.sub(r"-+\[ cut here \]-+\n[^\n]*XSAVE consistency.*?end trace 0+ \]---", "", log, flags=re.S)


def kernel_for(way):
    if way == "bzimage":
        return artefact("small/bzImage")
    if way == "pvh":
        return artefact("small/vmlinux")
    if not os.path.exists(artefacts.NO_NOTE):
        raise Skip("no build/guest/small/vmlinux: tests/guest/all makes it")
    return artefacts.NO_NOTE


@test("lab", "small-kernel-by-pvh-1-cpu", way="pvh", cpus=1)
@test("lab", "small-kernel-by-pvh-2-cpus", way="pvh", cpus=2)
@test("lab", "small-kernel-by-pvh-8-cpus", way="pvh", cpus=8)
@test("lab", "small-kernel-by-elf64-1-cpu", way="elf64", cpus=1)
@test("lab", "small-kernel-by-elf64-2-cpus", way="elf64", cpus=2)
@test("lab", "small-kernel-by-elf64-8-cpus", way="elf64", cpus=8)
@test("lab", "small-kernel-by-bzimage-1-cpu", way="bzimage", cpus=1)
@test("lab", "small-kernel-by-bzimage-2-cpus", way="bzimage", cpus=2)
@test("lab", "small-kernel-by-bzimage-8-cpus", way="bzimage", cpus=8)
def small_kernel(t, way, cpus):
    vm = small(t, "@cpus", "@@", "cat", "/proc/sys/kernel/bootloader_type", kernel=kernel_for(way),
               options=["--cpus", cpus]).ends(0)
    contains("output", vm.text(), f"cpus: {cpus}\n")
    contains("output", vm.text(), f"\n{LOADED_BY[way]}\n")
    equal("messages", vm.errors(), "")


@test("lab")
def small_kernel_32_cpus(t):
    contains("output", small(t, "@cpus", options=["--cpus", 32, "--mem", 512]).ends(0).text(), "cpus: 32\n")


@test("lab")
def small_kernel_mounts_its_root(t):
    """No initrd: the kernel itself finds vda and mounts it."""
    vm = Vm(t, "run", "--kernel", artefact("small/vmlinux"), "--rootfs", artefact("debian.ext4") + ":ro",
            "--mem", 256, "--", "sh", "-c", "cat /etc/os-release; grep ' / ' /proc/mounts").ends(0)
    contains("output", vm.text(), "bookworm", "/dev/root / ext4 ro")


@test("lab")
def kernel_without_acpi(t):
    """Processors from the MP table, devices from the command line."""
    image = t.file("image", files.pattern(1 << 18, 7), size=8 << 20)
    vm = small(t, "@cpus", "@@", "@pattern-check", "/dev/vda", "256K", "7", "@@", "@pattern-write", "/dev/vda", "256K",
               "8", "1M", "@@", "cat", "/proc/cmdline", kernel=artefact("small-noacpi/vmlinux"),
               options=["--cpus", 2, "--drive", image,
                        "--cmdline", "acpi=off quiet reboot=k panic=-1 MAYFLY_END=reboot"]).ends(0)
    contains("output", vm.text(), "cpus: 2\n", "checked 262144", "wrote 262144", "virtio_mmio.device=4K@0xc0001000:5")
    equal("what the guest wrote", files.read_at(image, 1 << 20, 1 << 18) == files.pattern(1 << 18, 8), True)


@test("lab")
def kernel_with_acpi_told_to_do_without(t):
    image = t.file("image", files.pattern(1 << 16, 7), size=1 << 20)
    vm = small(t, "@cpus", "@@", "@pattern-check", "/dev/vda", "64K", "7",
               options=["--cpus", 2, "--drive", image,
                        "--cmdline", "acpi=off quiet reboot=k panic=-1 MAYFLY_END=reboot"]).ends(0)
    contains("output", vm.text(), "cpus: 2\n", "checked 65536")


@test("lab", "cloud-kernel-1-cpu", cpus=1)
@test("lab", "cloud-kernel-2-cpus", cpus=2)
def cloud_kernel(t, cpus):
    """Debian's kernel as shipped: bzImage, ACPI, modules from the initrd, root filesystem on vda."""
    image = copy_of_rootfs(t)
    script = "uname -r; grep PRETTY /etc/os-release; grep ^virtio_blk /proc/modules; grep ' / ' /proc/mounts; " \
        "echo written by the guest > /root/note; sync"
    vm = cloud(t, "@cpus", "@@", "sh", "-c", script, options=["--cpus", cpus, "--rootfs", image]).ends(0)
    with open(os.path.join(GUEST, "cloud/version")) as file:
        version = file.read().strip()
    contains("output", vm.text(), f"cpus: {cpus}\n", version, "bookworm", "virtio_blk", "/dev/vda / ext4 rw")
    with open(image, "rb") as file:
        holds("the guest's file in the image", b"written by the guest" in file.read())


def copy_of_rootfs(t):
    """Holes stay holes."""
    image = t.path("rootfs")
    holds("a copy", os.system(f"cp --sparse=always {artefact('debian.ext4')} {image}") == 0)
    return image


@test("lab")
def acpi_tables_without_complaint(t):
    """A kernel that finds fault with its firmware says so."""
    vm = small(t, "dmesg", options=["--cpus", 2]).ends(0)
    lacks("the kernel's log", without_emulators_fault(vm.text()), *COMPLAINTS)
    contains("the kernel's log", vm.text(), "ACPI: RSDP 0x00000000000E0000", "Hypervisor detected: KVM")
