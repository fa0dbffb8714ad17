"""A Linux guest cloned as somebody else: it answers on the new tap, from the new image, and knows its new addresses."""

import os
import re
import subprocess

import files
from api import Served
from harness import artefact, equal, holds, test
from lab_net import GUEST, HOST, ip, make_tap, pings
from lab_vsock import PORT, connect

NET = 62
OLD, NEW = "02:00:00:00:43:01", "02:00:00:00:43:02"
SERVICE = "169.254.7.7"


def shape(t, vm, tap, sock):
    vm.client.socket.settimeout(120)
    vm.put("/machine-config", {"vcpu_count": 1, "mem_size_mib": 192})
    vm.put("/drives/disk", {"drive_id": "disk", "is_root_device": False, "path_on_host": t.path("disk")})
    vm.put("/network-interfaces/eth0", {"iface_id": "eth0", "host_dev_name": tap, "guest_mac": OLD})
    vm.put("/vsock", {"guest_cid": 43, "uds_path": t.path(sock)})


def ask(vm, command, mark):
    vm.send(command.encode() + f"; echo {mark[:1]}''{mark[1:]}\n".encode())
    vm.wait_for(mark)


def saved(t):
    make_tap(t, "who0", NET)
    t.file("disk", b"first image".ljust(1 << 20, b"\0"))
    vm = Served(t, stdin=subprocess.PIPE)
    shape(t, vm, "who0", "v0.sock")
    vm.put("/mmds/config", {"network_interfaces": ["eth0"], "ipv4_address": SERVICE})
    vm.put("/mmds", {"who": "first"})
    vm.put("/boot-source", {"kernel_image_path": artefact("small/vmlinux"), "initrd_path": artefact("vsock.cpio"),
                            "boot_args": "console=ttyS0 reboot=k panic=1 quiet "
                                         f"ip={GUEST.format(NET)}::{HOST.format(NET)}:255.255.255.0::eth0:off"})
    vm.start()
    vm.wait_for("# ")
    ask(vm, f"vsock serve {PORT} & true", "served")
    vm.wait_for("ready")
    ask(vm, f"route add -host {SERVICE} dev eth0; wget -q -O - http://{SERVICE}/who", "asked")
    holds("its metadata", "first" in vm.text(), vm.text()[-300:])
    equal("pings answered", pings(GUEST.format(NET)), 3)
    body = {"snapshot_path": t.path("state"), "mem_file_path": t.path("memory")}
    vm.patch("/vm", {"state": "Paused"})
    vm.put("/snapshot/create", body)
    vm.end()
    os.unlink(t.path("v0.sock"))
    ip("addr", "del", HOST.format(NET) + "/24", "dev", "who0")
    return body


def load(t, clone, body, number):
    """As another: its tap has the address of the host now, and the old one has none."""
    tap = f"who{number}"
    make_tap(t, tap, NET)
    image = t.file(f"image{number}", f"image {number}".encode().ljust(1 << 20, b"\0"))
    clone.client.socket.settimeout(120)
    clone.put("/snapshot/load", {**body, "resume_vm": True,
                                 "drive_overrides": [{"drive_id": "disk", "path_on_host": image}],
                                 "network_overrides": [{"iface_id": "eth0", "host_dev_name": tap, "guest_mac": NEW}],
                                 "vsock_override": {"uds_path": t.path(f"v{number}.sock"), "guest_cid": 100 + number},
                                 "mmds": {"who": f"clone {number}"}})


def check(t, clone, number):
    holds("pings answered, with the MAC that the driver has read", pings(GUEST.format(NET), 5) >= 3)
    ask(clone, f"wget -q -O - http://{SERVICE}/who", f"asked{number}")
    ask(clone, "dd if=/dev/vda bs=16 count=1 skip=1024 2>/dev/null; head -c 11 /dev/vda", f"read{number}")
    ask(clone, "vsock cid -", f"cid{number}")
    with connect(t.path(f"v{number}.sock")) as s:
        s.sendall(b"echo\nhello")
        equal("the echo", s.recv(100), b"hello")
    text = clone.text()
    holds("its metadata", f"clone {number}" in text, text[-500:])
    holds("its CID", f"cid {100 + number}\r" in text or f"cid {100 + number}\n" in text, text[-500:])
    holds("its image", f"image {number}" in text, text[-500:])
    # Looks again: the driver is taken off and put back.
    ask(clone, "d=$(basename $(readlink /sys/class/net/eth0/device)); cd /sys/bus/virtio/drivers/virtio_net; "
               "echo $d > unbind; echo $d > bind; cat /sys/class/net/eth0/address; cd /; "
               f"ifconfig eth0 {GUEST.format(NET)} up", f"bound{number}")
    holds("its MAC", NEW in clone.text(), clone.text()[-500:])
    ip("neigh", "flush", "dev", f"who{number}")
    holds("pings answered, with the new MAC", pings(GUEST.format(NET), 5) >= 3)
    count = re.search(r'tx_spoofed_mac_count\S* (\d+)', clone.client.call("GET", "/metrics/prometheus").body)
    equal("frames from a MAC that is not its own", count and count.group(1), "0")


@test("lab", limit=900)
def snapshot_identity_of_a_guest(t):
    body = saved(t)
    for number, prepared in ((1, False), (2, True)):
        clone = Served(t, name=f"clone{number}.sock", stdin=subprocess.PIPE)
        if prepared:
            ip("tuntap", "add", "whos", "mode", "tap", "user", "root")
            t.cleanups.append(lambda: os.system("ip link del whos 2>/dev/null"))
            shape(t, clone, "whos", "shape.sock")
            clone.put("/snapshot/prepare", {})
        load(t, clone, body, number)
        check(t, clone, number)
        clone.end()
        os.system(f"ip link del who{number}")


FIRST, SECOND = 210, 211  # two interfaces' networks


def two_interfaces(vm, taps):
    vm.client.socket.settimeout(120)
    vm.put("/machine-config", {"vcpu_count": 1, "mem_size_mib": 128})
    for number, tap in enumerate(taps):
        vm.put(f"/network-interfaces/eth{number}", {"iface_id": f"eth{number}", "host_dev_name": tap,
                                                    "guest_mac": f"02:00:00:00:45:0{number}"})


@test("lab", limit=900)
def snapshot_identity_with_taps_exchanged(t):
    """In a prepared process: each interface of the guest answers on the other's tap from then on."""
    taps = ["swap0", "swap1"]
    for tap, net in zip(taps, (FIRST, SECOND)):
        make_tap(t, tap, net)
    vm = Served(t, stdin=subprocess.PIPE)
    two_interfaces(vm, taps)
    vm.put("/boot-source", {"kernel_image_path": artefact("small/vmlinux"), "initrd_path": artefact("vsock.cpio"),
                            "boot_args": "console=ttyS0 reboot=k panic=1 quiet"})
    vm.start()
    vm.wait_for("# ")
    ask(vm, " && ".join(f"ifconfig eth{number} {GUEST.format(net)} netmask 255.255.255.0 up"
                        for number, net in enumerate((FIRST, SECOND))), "configured")
    for net in (FIRST, SECOND):
        equal("pings answered", pings(GUEST.format(net)), 3)
    body = {"snapshot_path": t.path("state"), "mem_file_path": t.path("memory")}
    vm.patch("/vm", {"state": "Paused"})
    vm.put("/snapshot/create", body)
    vm.end()
    clone = Served(t, name="clone.sock", stdin=subprocess.PIPE)
    two_interfaces(clone, taps)
    clone.put("/snapshot/prepare", {})
    for tap, net, other in zip(taps, (FIRST, SECOND), (SECOND, FIRST)):
        ip("addr", "del", HOST.format(net) + "/24", "dev", tap)
        ip("addr", "add", HOST.format(other) + "/24", "dev", tap)
    clone.put("/snapshot/load", {**body, "resume_vm": True, "network_overrides": [
        {"iface_id": "eth0", "host_dev_name": taps[1]}, {"iface_id": "eth1", "host_dev_name": taps[0]}]})
    for net in (FIRST, SECOND):
        holds("pings answered", pings(GUEST.format(net), 5) >= 3)
    clone.end()
