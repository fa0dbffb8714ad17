"""A Linux guest with a device of each kind, saved and loaded in a fresh process: each of them goes on."""

import hashlib
import os
import re
import subprocess

import files
from api import Served
from harness import artefact, becomes, equal, holds, test
from lab_net import GUEST, HOST, make_tap, pings
from lab_snapshot import move
from lab_vsock import PORT, connect

NET = 41
FAR = 8 << 20  # in the disk, where nothing has been read ahead


def boot(t):
    make_tap(t, "snaps", NET)
    vm = Served(t, stdin=subprocess.PIPE)
    vm.client.socket.settimeout(120)
    vm.put("/machine-config", {"vcpu_count": 2, "mem_size_mib": 256})
    vm.put("/boot-source", {"kernel_image_path": artefact("small/vmlinux"), "initrd_path": artefact("vsock.cpio"),
                            "boot_args": "console=ttyS0 reboot=k panic=1 quiet "
                                         f"ip={GUEST.format(NET)}::{HOST.format(NET)}:255.255.255.0::eth0:off"})
    vm.put("/drives/disk", {"drive_id": "disk", "is_root_device": False,
                            "path_on_host": t.file("disk", bytes(FAR) + files.pattern(65536, 7), size=16 << 20)})
    vm.put("/network-interfaces/eth0", {"iface_id": "eth0", "host_dev_name": "snaps"})
    # The small kernel has no driver for this one: it is there all the same.
    vm.put("/pmem/pmem0", {"id": "pmem0", "path_on_host": t.file("pmem", files.pattern(65536, 8), size=4 << 20),
                           "read_only": True})
    vm.put("/vsock", {"guest_cid": 41, "uds_path": t.path("v.sock")})
    vm.put("/balloon", {"amount_mib": 10, "deflate_on_oom": False, "stats_polling_interval_s": 1})
    vm.put("/entropy", {})
    vm.start()
    vm.wait_for("# ")
    return vm


def echoes(t, text):
    with connect(t.path("v.sock")) as s:
        s.sendall(b"echo\n" + text)
        equal("the echo", s.recv(100), text)


def ask(vm, command, mark):
    """What a command of the guest's shell prints."""
    vm.send(command.encode() + f"; echo {mark[:1]}''{mark[1:]}\n".encode())
    vm.wait_for(mark)


def in_memory(vm):
    return vm.get("/balloon/statistics")["actual_mib"]


@test("lab", limit=900)
def snapshot_of_every_device_goes_on(t):
    vm = boot(t)
    ask(vm, f"vsock serve {PORT} & true", "served")
    vm.wait_for("ready")
    equal("pings answered", pings(GUEST.format(NET)), 3)
    becomes("a balloon of 10 MiB", lambda: in_memory(vm) == 10, 60)
    held, read = connect(t.path("v.sock")), connect(t.path("v.sock"))
    held.sendall(b"hold\n")  # this end stays, for nobody reads it; its ports are not to be had again
    read.sendall(b"echo\n")
    equal("an echo", (read.send(b"x"), read.recv(1))[1], b"x")
    echoes(t, b"before")
    ask(vm, "echo busy: $(ps | grep -c '[v]sock serve')", "asked")
    vm.client.socket.settimeout(240)
    for number in range(2):
        # Its end is by SIGKILL, which leaves the socket file behind.
        vm = moved(t, vm, number)
        after(t, vm, number)
    text = vm.text()
    equal("who serves, and one less once told of the reset", re.findall(r"busy: (\d)\n", text), ["3", "2", "2"])
    for sign in ("rcu:", "stall", "soft lockup", "BUG", "Oops", "I/O error"):
        holds(f"no '{sign}' from the kernel", sign not in text, text[-900:])


def moved(t, vm, number):
    path, end = t.path("v.sock"), vm.end

    def end_and_unlink():
        end()
        os.unlink(path)

    vm.end = end_and_unlink
    clone = move(t, vm, number)
    vm.end = end
    return clone


def after(t, vm, number):
    holds("pings answered", pings(GUEST.format(NET), 5) >= 3)
    echoes(t, b"after %d" % number)
    ask(vm, "sleep 1; echo busy: $(ps | grep -c '[v]sock serve')", f"again{number}")
    vm.patch("/balloon", {"amount_mib": 40 + 20 * number})
    becomes("a balloon that follows", lambda: in_memory(vm) == 40 + 20 * number, 90)
    ask(vm, "echo random: $(dd if=/dev/hwrng bs=16 count=1 2>/dev/null | wc -c)", f"drawn{number}")
    equal("random bytes", vm.text().count("random: 16\n"), number + 1)
    block = files.pattern(65536, 7)[4096 * number:4096 * (number + 1)]
    ask(vm, f"dd if=/dev/vda bs=4096 skip={FAR // 4096 + number} count=1 2>/dev/null | md5sum", f"disk{number}")
    holds("the disk's block", hashlib.md5(block).hexdigest() in vm.text(), vm.text()[-300:])
