"""Snapshots of Linux guests: a computation, a busy disk, a network and timers go on across saves and restores."""

import os
import re
import subprocess
import time

from api import Served
from harness import artefact, equal, holds, test
from lab_net import GUEST, HOST, make_tap, pings

ARGS = "console=ttyS0 reboot=k panic=1 quiet"
LONG = int(os.environ.get("MAYFLY_LONG_MOVES", "0"))  # as many saves and loads as this, of each: 100, say


def boot(t, vcpus, mem=256, entropy=True, net=None):
    vm = Served(t, stdin=subprocess.PIPE)
    vm.client.socket.settimeout(120)
    vm.put("/machine-config", {"vcpu_count": vcpus, "mem_size_mib": mem})
    vm.put("/boot-source", {"kernel_image_path": artefact("small/vmlinux"), "initrd_path": artefact("vsock.cpio"),
                            "boot_args": ARGS + (f" ip={GUEST.format(net)}::{HOST.format(net)}:255.255.255.0::eth0:off"
                                                 if net else "")})
    if net:
        make_tap(t, f"snap{net}", net)
        vm.put("/network-interfaces/eth0", {"iface_id": "eth0", "host_dev_name": f"snap{net}"})
    vm.put("/drives/scratch", {"drive_id": "scratch", "is_root_device": False, "path_on_host": t.file("disk", size=16 << 20)})
    if entropy:
        vm.put("/entropy", {})
    vm.start()
    vm.wait_for("# ")
    return vm


def move(t, vm, number):
    """Saved, ended, loaded in a fresh process."""
    body = {"snapshot_path": t.path(f"state{number % 2}"), "mem_file_path": t.path(f"memory{number % 2}")}
    vm.patch("/vm", {"state": "Paused"})
    vm.put("/snapshot/create", body)
    vm.pump(0.05)
    vm.end()
    clone = Served(t, name=f"clone{number}.sock", stdin=subprocess.PIPE)
    clone.client.socket.settimeout(120)
    clone.put("/snapshot/load", {"snapshot_path": body["snapshot_path"], "resume_vm": True,
                                 "mem_backend": {"backend_type": "File", "backend_path": body["mem_file_path"]}})
    clone.out = vm.out  # one guest's output, whichever process it came from
    return clone


def checksum(steps):
    total = 0
    for i in range(steps):
        total = (total * 31 + i) % 1000003
    return total


def keep_pinging(t, net):
    """Packets both ways, as far as somebody is there."""
    process = subprocess.Popen(["busybox", "ping", "-q", "-i", "0.05", GUEST.format(net)], stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    t.cleanups.append(process.wait)
    t.cleanups.append(process.kill)
    return process


@test("lab", "snapshot-computation-1-vcpu", limit=900 + 30 * LONG, vcpus=1, moves=6)
@test("lab", "snapshot-computation-2-vcpus", limit=900 + 30 * LONG, vcpus=2, moves=6)
@test("lab", "snapshot-computation-8-vcpus", limit=900 + 60 * LONG, vcpus=8, moves=4)
def snapshot_computation(t, vcpus, moves):
    """Integers in the shell, floating point in awk, vectors and x87 registers that never leave the processor, on every
    vCPU, while the disk is written and flushed and the network answers."""
    steps, terms = 3000, 3000
    net = 50 + vcpus
    vm = boot(t, vcpus, net=net)
    keep_pinging(t, net)
    vm.send(b"sum() { i=0; s=0; while [ $i -lt %d ]; do s=$(( (s * 31 + i) %% 1000003 )); i=$((i + 1)); done; echo sum=$s; }\n"
            % steps)
    vm.send(b"float() { awk 'BEGIN { for (i = 1; i <= %d; i++) s += i * i / 7; printf \"float=%%.4f\\n\", s }'; }\n" % terms)
    vm.send(b"(while :; do dd if=/dev/urandom of=/dev/vda bs=64k count=8 conv=fsync 2>/dev/null; done) &\n")
    vm.send(b"for n in $(seq %d); do (sum; float) & vectors /tmp/stop & done; echo compu''ting\n" % vcpus)
    vm.wait_for("computing")
    for number in range(LONG or moves):
        time.sleep(0.7)
        vm = move(t, vm, number)
    total = sum_of_fractions(terms)
    vm.until("every sum", lambda: len(re.findall(rb"float=[0-9.]+\r", vm.out)) >= vcpus, 300)
    equal("sums", re.findall(r"sum=(\d+)", vm.text()), [str(checksum(steps))] * vcpus)
    vm.send(b"touch /tmp/stop\n")
    vm.until("every vector", lambda: len(re.findall(rb"vectors: [^\r]*\r", vm.out)) >= vcpus, 300)
    equal("vectors", re.findall(r"vectors: \w+, (\w+)", vm.text()), ["right"] * vcpus)
    t.log(", ".join(re.findall(r"vectors: .*", vm.text())))
    holds("pings answered", pings(GUEST.format(net), 5) >= 3)
    equal("floats", re.findall(r"float=([\d.]+)", vm.text()), [f"{total:.4f}"] * vcpus)
    vm.send(b"dd if=/dev/vda of=/dev/null bs=64k count=8 2>/dev/null && echo re''ads\n")
    vm.wait_for("reads")
    for sign in ("rcu:", "stall", "soft lockup", "BUG", "Oops", "I/O error"):
        holds(f"no '{sign}' from the kernel", sign not in vm.text(), vm.text()[-900:])


@test("lab", "snapshot-clones-draw-different-numbers", limit=600)
def snapshot_clones_draw(t):
    """The guest's kernel hears of its new generation, and reseeds, without a device that gives it entropy."""
    vm = boot(t, 1, entropy=False)
    vm.send(b"dmesg -n 7; draw() { head -c 16 /dev/urandom | od -An -tx1 | tr -d ' '; }; echo re''ady\n")
    vm.wait_for("ready")
    body = {"snapshot_path": t.path("state"), "mem_file_path": t.path("memory")}
    vm.patch("/vm", {"state": "Paused"})
    vm.put("/snapshot/create", body)
    vm.end()
    drawn = []
    for number in range(2):
        clone = Served(t, name=f"clone{number}.sock", stdin=subprocess.PIPE)
        clone.client.socket.settimeout(120)
        clone.put("/snapshot/load", {"snapshot_path": body["snapshot_path"], "resume_vm": True,
                                     "mem_backend": {"backend_type": "File", "backend_path": body["mem_file_path"]}})
        clone.send(b"echo drew=$(draw)\n")
        clone.until("the numbers", lambda: re.search(rb"drew=[0-9a-f]{32}\r", clone.out), 120)
        clone.send(b"dmesg | tail -n 3; echo do''ne\n")
        clone.wait_for("done")
        holds("the kernel reseeded", "crng reseeded due to virtual machine fork" in clone.text(), clone.text()[-900:])
        drawn.append(re.search(r"drew=([0-9a-f]{32})", clone.text()).group(1))
        clone.end()
    holds("different numbers", drawn[0] != drawn[1], drawn)


def sum_of_fractions(terms):
    total = 0.0
    for i in range(1, terms + 1):
        total += i * i / 7
    return total
