"""What a Linux guest sees of its VMClock. Its driver is not in the kernels that there are: the page and its ACPI device are."""

import re
import subprocess

from api import Served
from harness import artefact, equal, holds, test
from native_snapshot import load_body

PAGE = 0xef000
FIELDS = {"magic": 0, "size": 4, "version": 8, "seq": 12, "disruptions": 16, "flags": 24, "generation": 104}


def read(vm, mark):
    """By /dev/mem, as the driver maps it."""
    reads = "; ".join(f"echo {mark}{name}=$(devmem {PAGE + at:#x} 32)" for name, at in FIELDS.items())
    vm.send(reads.encode() + b"; echo re''ad\n")
    vm.until("the page", lambda: re.search(rb"read\r?\n", vm.out), 120)
    found = {name: int(value, 16) for name, value in re.findall(mark + r"(\w+)=0x([0-9A-Fa-f]+)", vm.text())}
    equal("fields", sorted(found), sorted(FIELDS))
    return found


@test("lab", limit=600)
def snapshot_vmclock_of_a_linux_guest(t):
    """The device is the one that Linux' driver looks for; each load is a disruption and a generation, told by the page."""
    vm = Served(t, stdin=subprocess.PIPE)
    vm.client.socket.settimeout(120)
    vm.put("/machine-config", {"vcpu_count": 1, "mem_size_mib": 192})
    vm.put("/boot-source", {"kernel_image_path": artefact("small/vmlinux"), "initrd_path": artefact("vsock.cpio"),
                            "boot_args": "console=ttyS0 reboot=k panic=1 quiet"})
    vm.start()
    vm.wait_for("# ")
    vm.send(b"for d in /sys/bus/acpi/devices/*; do echo $(cat $d/hid) $(cat $d/modalias); done 2>/dev/null; "
            b"echo lis''ted\n")
    vm.wait_for("listed")
    holds("the device, there and known by both names", re.search(r"^AMZNC10C acpi:AMZNC10C:VMCLOCK:", vm.text(), re.M),
          vm.text()[-900:])
    first = read(vm, "first-")
    equal("magic, size and version", (first["magic"], first["size"], first["version"] & 0xffff), (0x4b4c4356, 4096, 1))
    equal("flags: a generation counter, and notifications", first["flags"] & 0x300, 0x300)
    vm.patch("/vm", {"state": "Paused"})
    vm.put("/snapshot/create", {"snapshot_path": t.path("state"), "mem_file_path": t.path("memory")})
    vm.end()
    for number in range(2):
        clone = Served(t, name=f"clone{number}.sock", stdin=subprocess.PIPE)
        clone.client.socket.settimeout(120)
        clone.put("/snapshot/load", load_body(t))
        now = read(clone, f"clone{number}-")
        equal("its counters", (now["seq"], now["disruptions"], now["generation"]),
              (first["seq"] + 2, first["disruptions"] + 1, first["generation"] + 1))
        clone.end()
