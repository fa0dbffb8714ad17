"""A Linux guest with a device of each kind, saved and loaded in a fresh process: each of them goes on."""

import hashlib
import os
import re
import subprocess
import time

import files
from api import Served
from harness import artefact, becomes, equal, holds, test
from lab_net import GUEST, HOST, make_tap, pings
from lab_snapshot import keep_pinging, move
from lab_vsock import PORT, connect
from native_snapshot import merge

NET, NET_TRACKED = 60, 61  # the two tests run side by side
FAR = 8 << 20  # in the disk, where nothing has been read ahead


def boot(t, net, track=False):
    make_tap(t, f"snaps{net}", net)
    vm = Served(t, stdin=subprocess.PIPE)
    vm.client.socket.settimeout(120)
    vm.put("/machine-config", {"vcpu_count": 2, "mem_size_mib": 256, "track_dirty_pages": track})
    vm.put("/boot-source", {"kernel_image_path": artefact("small/vmlinux"), "initrd_path": artefact("vsock.cpio"),
                            "boot_args": "console=ttyS0 reboot=k panic=1 quiet "
                                         f"ip={GUEST.format(net)}::{HOST.format(net)}:255.255.255.0::eth0:off"})
    vm.put("/drives/disk", {"drive_id": "disk", "is_root_device": False,
                            "path_on_host": t.file("disk", bytes(FAR) + files.pattern(65536, 7), size=16 << 20)})
    vm.put("/network-interfaces/eth0", {"iface_id": "eth0", "host_dev_name": f"snaps{net}"})
    # The small kernel has no driver for this one: it is there all the same.
    vm.put("/pmem/pmem0", {"id": "pmem0", "path_on_host": t.file("pmem", files.pattern(65536, 8), size=4 << 20),
                           "read_only": True})
    vm.put("/vsock", {"guest_cid": 41, "uds_path": t.path("v.sock")})
    vm.put("/balloon", {"amount_mib": 10, "deflate_on_oom": False, "stats_polling_interval_s": 1})
    vm.put("/entropy", {})
    if track:
        metadata(vm)
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
    vm = boot(t, NET)
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


def metadata(vm):
    vm.put("/mmds/config", {"network_interfaces": ["eth0"], "version": "V1"})
    vm.put("/mmds", {"a": "of the metadata service"})


def keep_all_busy(t, vm):
    """Until the machine is paused: every device writes into memory again and again, and the guest does."""
    ask(vm, "ip route add 169.254.169.254 dev eth0", "routed")
    ask(vm, "(while :; do dd if=/dev/vda of=/dev/null bs=64k count=16 2>/dev/null; dd if=/dev/urandom of=/tmp/x bs=64k "
            "count=4 2>/dev/null; echo 3 >/proc/sys/vm/drop_caches; sleep 0.1; done) & "
            "(while :; do dd if=/dev/hwrng of=/tmp/r bs=512 count=2 2>/dev/null; "
            "wget -q -O /tmp/m http://169.254.169.254/a; sleep 0.1; done) & true", "busy")
    keep_pinging(t, NET_TRACKED)


def create(t, vm, name, kind):
    vm.put("/snapshot/create", {"snapshot_path": t.path(f"state{name}"), "mem_file_path": t.path(f"memory{name}"),
                                "snapshot_type": kind})


def differing_pages(t, one, other):
    """Their numbers, the first few."""
    pages = []
    with open(t.path(f"memory{one}"), "rb") as a, open(t.path(f"memory{other}"), "rb") as b:
        for page in range(256 << 8):
            if a.read(4096) != b.read(4096):
                pages.append(page)
    return pages[:20]


@test("lab", limit=900)
def snapshot_diff_of_a_busy_guest_merged_is_a_full_one(t):
    """Byte for byte, with what vCPUs wrote and what each device did: reads of the disk, frames, the metadata
    service's answers, vsock, random numbers, the balloon's pages and statistics."""
    vm = boot(t, NET_TRACKED, track=True)
    ask(vm, f"vsock serve {PORT} & true", "served")
    vm.wait_for("ready")
    keep_all_busy(t, vm)
    vm.client.socket.settimeout(240)
    vm.patch("/vm", {"state": "Paused"})
    create(t, vm, "0", "Full")
    for layer in "12":
        vm.patch("/vm", {"state": "Resumed"})
        echoes(t, b"between saves " + layer.encode())
        vm.patch("/balloon", {"amount_mib": 10 + 10 * int(layer)})
        time.sleep(1)
        vm.patch("/vm", {"state": "Paused"})
        create(t, vm, layer, "Diff")
    create(t, vm, "all", "Full")
    done = merge(t, "0", "1", "2", output="merged")
    equal("mayfly snapshot merge", (done.returncode, done.stderr), (0, ""))
    equal("pages that differ", differing_pages(t, "merged", "all"), [])
    holds("there was something to tell", differing_pages(t, "0", "all"))
    vm.patch("/vm", {"state": "Resumed"})
    echoes(t, b"after")
