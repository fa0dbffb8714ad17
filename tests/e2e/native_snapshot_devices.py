"""Snapshots with every kind of device, in a jail's surroundings, and a memory file that goes away, with payload guests."""

import ctypes
import os
import shutil
import socket
import subprocess
import time

import files
from api import Served
from harness import MAYFLY, Skip, contains, equal, holds, test
from native_snapshot import FLAG, load, load_body, need_kvm, release, save, start, waiting_kernel
from vm import Vm

CLONE_NEWNET = 0x40000000
UID = 31416


def own_network():
    """A network namespace of this test's own, with a tap."""
    if os.geteuid() != 0 or ctypes.CDLL(None).unshare(CLONE_NEWNET) != 0:
        raise Skip("a network namespace cannot be made here")
    subprocess.run(["ip", "tuntap", "add", "tap0", "mode", "tap"], check=True)
    subprocess.run(["ip", "tuntap", "add", "tap1", "mode", "tap"], check=True)


def ask_for_all(t, vm, vsock="vsock"):
    """One of each, in an order that is not that of their addresses."""
    vm.put("/machine-config", {"vcpu_count": 2, "mem_size_mib": 128})
    vm.put("/entropy", {})
    vm.put("/balloon", {"amount_mib": 5, "deflate_on_oom": True, "stats_polling_interval_s": 1})
    vm.put("/vsock", {"guest_cid": 33, "uds_path": t.path(vsock)})
    vm.put("/pmem/pmem0", {"id": "pmem0", "path_on_host": t.path("pmem"), "read_only": True})
    vm.put("/network-interfaces/eth0", {"iface_id": "eth0", "guest_mac": "02:00:00:00:00:33", "host_dev_name": "tap0"})
    vm.put("/drives/rootfs", {"drive_id": "rootfs", "is_root_device": True, "path_on_host": t.path("disk")})


def start_with(t, ask):
    """A guest that waits, with the devices that are asked for."""
    need_kvm()
    own_network()
    t.file("pmem", b"x" * (2 << 20))
    t.file("disk", size=1 << 20)
    vm = Served(t)
    ask(t, vm)
    vm.put("/boot-source", {"kernel_image_path": waiting_kernel(t)})
    vm.start()
    vm.wait_for("S")
    return vm


def saved_with_all(t):
    vm = start_with(t, ask_for_all)
    save(t, vm)
    config = vm.get("/vm/config")
    vm.end()
    os.unlink(t.path("vsock"))  # it was killed
    release(t)
    return config


RATE = {"bandwidth": {"size": 1000000, "one_time_burst": None, "refill_time": 100},
        "ops": {"size": 1000, "one_time_burst": 5, "refill_time": 100}}


def ask_for_settings(t, vm):
    """What there is to set of them."""
    vm.put("/entropy", {"rate_limiter": RATE})
    vm.put("/balloon", {"amount_mib": 5, "deflate_on_oom": True, "stats_polling_interval_s": 1, "free_page_hinting": True,
                        "free_page_reporting": True})
    vm.put("/pmem/pmem0", {"id": "pmem0", "path_on_host": t.path("pmem"), "read_only": True, "rate_limiter": RATE})
    vm.put("/network-interfaces/eth0", {"iface_id": "eth0", "host_dev_name": "tap0", "mtu": 1400, "antispoof": True,
                                        "rx_rate_limiter": RATE, "tx_rate_limiter": {"ops": RATE["ops"]}})
    vm.put("/drives/rootfs", {"drive_id": "rootfs", "is_root_device": True, "path_on_host": t.path("disk"),
                              "rate_limiter": RATE, "cache_type": "Writeback", "is_read_only": True, "num_queues": 2,
                              "queue_size": 128, "loop": 3, "io_engine": "Async", "partuuid": "0eaa91a0-01"})


def ask_for_the_rest(t, vm):
    vm.put("/vsock", {"guest_cid": 33, "uds_path": t.path("vsock")})
    vm.put("/mmds/config", {"version": "V2", "network_interfaces": ["eth0"], "ipv4_address": "169.254.9.9", "imds_compat": True})
    vm.put("/machine-config", {"vcpu_count": 2, "mem_size_mib": 128, "smt": True, "huge_pages": "Transparent",
                               "track_dirty_pages": True})


@test("native", "snapshot-shows-its-settings", prepared=False)
@test("native", "snapshot-shows-its-settings-in-a-prepared-process", prepared=True)
def snapshot_shows_its_settings(t, prepared):
    """A clone's configuration is the saved one's, all of it, and so is that of a clone of the clone."""
    need_kvm()
    own_network()
    t.file("pmem", b"x" * (2 << 20))
    t.file("disk", size=1 << 20)
    vm = Served(t)
    ask_for_settings(t, vm)
    ask_for_the_rest(t, vm)
    vm.put("/boot-source", {"kernel_image_path": waiting_kernel(t), "initrd_path": t.file("initrd", b"x" * 4096),
                            "boot_args": "of no use"})
    vm.start()
    vm.wait_for("S")
    wanted = vm.get("/vm/config")
    equal("what was not asked for", [key for key, value in wanted.items() if not value],
          ["cpu-config", "logger", "metrics", "memory-hotplug"])
    for number in range(2):
        save(t, vm)
        vm.end()
        os.unlink(t.path("vsock"))
        vm = Served(t, name=f"clone{number}.sock")
        if prepared:
            ask_for_settings(t, vm)
            vm.put("/vsock", {"guest_cid": 34, "uds_path": t.path("vsock")})
            vm.put("/machine-config", {"vcpu_count": 2, "mem_size_mib": 128})
            vm.put("/snapshot/prepare", {})
        vm.put("/snapshot/load", load_body(t, resume_vm=False, track_dirty_pages=True))
        came = vm.get("/vm/config")
        for kind in wanted:
            equal(f"{kind} of clone {number}", came[kind], wanted[kind])
        vm.patch("/vm", {"state": "Resumed"})


def listens(path):
    with socket.socket(socket.AF_UNIX) as s:
        try:
            s.connect(path)
            return True
        except OSError:
            return False


@test("native")
def snapshot_of_every_device(t):
    """A fresh process has them all again, under their names; tap and socket may be others."""
    config = saved_with_all(t)
    clone = Served(t, name="clone.sock")
    clone.put("/snapshot/load", load_body(t, resume_vm=False))
    came = clone.get("/vm/config")
    for kind in ("drives", "network-interfaces", "pmem", "vsock", "balloon", "entropy"):
        equal(kind, came[kind], config[kind])
    holds("a vsock's socket", listens(t.path("vsock")))
    clone.refused("PATCH", "/balloon", {"amount_mib": 7}, "Device not activated yet.")
    clone.patch("/vm", {"state": "Resumed"})
    clone.ends(0)
    contains("output", clone.text(), "R")
    holds("the socket goes with it", not os.path.exists(t.path("vsock")))
    clone = Served(t, name="other.sock")
    clone.put("/snapshot/load", load_body(t, resume_vm=False, vsock_override={"uds_path": t.path("elsewhere")},
                                          network_overrides=[{"iface_id": "eth0", "host_dev_name": "tap1"}]))
    holds("a vsock's socket", listens(t.path("elsewhere")) and not os.path.exists(t.path("vsock")))
    equal("its tap", clone.get("/vm/config")["network-interfaces"][0]["host_dev_name"], "tap1")
    clone.patch("/vm", {"state": "Resumed"})
    contains("output", clone.ends(0).text(), "R")


@test("native")
def snapshot_of_every_device_into_a_prepared_process(t):
    saved_with_all(t)
    clone = Served(t, name="prepared.sock")
    ask_for_all(t, clone)
    clone.put("/snapshot/prepare", {})
    holds("a vsock's socket", listens(t.path("vsock")))
    clone.put("/snapshot/load", load_body(t))
    contains("output", clone.ends(0).text(), "R")


@test("native", "snapshot-without-its-tap", what="tap", why="is not the name of an interface")
@test("native", "snapshot-without-its-pmem", what="pmem", why="pmem: No such file or directory")
@test("native", "snapshot-with-its-vsock-taken", what="vsock", why="Address already in use")
def snapshot_without(t, what, why):
    """A clone that cannot have what the saved one had says so and goes; nothing of others' is replaced."""
    saved_with_all(t)
    more = {}
    if what == "tap":
        more = {"network_overrides": [{"iface_id": "eth0", "host_dev_name": "t" * 20}]}
    elif what == "pmem":
        os.unlink(t.path("pmem"))
    else:
        t.file("vsock")
    clone = Served(t, name="clone.sock")
    clone.refused("PUT", "/snapshot/load", load_body(t, **more), "Load snapshot error: ", why)
    clone.ends(1)
    equal("a file of others", os.path.exists(t.path("vsock")), what == "vsock")


@test("native")
def snapshot_of_a_pmem_that_lost_pages(t):
    """What the guest has in their place is in no file: it would be lost without a word."""
    need_kvm()
    pmem = t.file("pmem", b"x" * (2 << 20))
    vm = Served(t)
    vm.put("/pmem/pmem0", {"id": "pmem0", "path_on_host": pmem})
    vm.put("/boot-source", {"kernel_image_path": waiting_kernel(t)})
    vm.start()
    vm.wait_for("S")
    vm.patch("/vm", {"state": "Paused"})
    body = {"snapshot_path": t.path("state"), "mem_file_path": t.path("memory")}
    vm.put("/snapshot/create", body)
    os.truncate(pmem, 4096)
    vm.refused("PUT", "/snapshot/create", body, "pmem0", pmem, "not in the file any more")
    vm.end()


# Surroundings ---------------------------------------------------------------------------------------


class Rooted(Served):
    """Sees only its folder, as nobody in particular; the test reaches its socket from outside."""

    def __init__(self, t, root, name):
        self.path = os.path.join(root, name)
        Vm.__init__(self, t, "--api-sock", f"/{name}", before=["chroot", f"--userspec={UID}:{UID}", root],
                    binary="/mayfly")
        self.client = self.connect()


def rooted(t):
    """An empty folder but for the program and /dev/kvm, all of it the user's."""
    need_kvm()
    if os.geteuid() != 0:
        raise Skip("needs root to change the root")
    os.chmod(t.dir, 0o711)
    root = t.path("root")
    os.makedirs(os.path.join(root, "dev"))
    shutil.copy(MAYFLY, os.path.join(root, "mayfly"))
    shutil.copy(waiting_kernel(t), os.path.join(root, "kernel"))
    t.file("root/disk", size=1 << 20)
    os.mknod(os.path.join(root, "dev/kvm"), 0o600 | 0o020000, os.stat("/dev/kvm").st_rdev)
    for name in ("", "dev", "dev/kvm", "disk"):
        os.chown(os.path.join(root, name), UID, UID)
    return root


@test("native")
def snapshot_in_an_empty_chroot(t):
    """Saved and loaded by a user without rights, where there is no /proc, no /sys and no library."""
    root = rooted(t)
    vm = Rooted(t, root, "api.sock")
    vm.put("/boot-source", {"kernel_image_path": "/kernel"})
    vm.put("/drives/rootfs", {"drive_id": "rootfs", "is_root_device": True, "path_on_host": "/disk"})
    vm.start()
    vm.wait_for("S")
    vm.patch("/vm", {"state": "Paused"})
    vm.put("/snapshot/create", {"snapshot_path": "/state", "mem_file_path": "/memory"})
    vm.end()
    equal("messages of the save", vm.errors(), "")
    for name in ("state", "memory"):
        equal(f"owner of {name}", os.stat(os.path.join(root, name)).st_uid, UID)
    files.write_at(os.path.join(root, "memory"), FLAG, b"R")
    body = {"snapshot_path": "/state", "mem_backend": {"backend_type": "File", "backend_path": "/memory"}}
    clone = Rooted(t, root, "clone.sock")
    clone.put("/snapshot/load", {**body, "resume_vm": True})
    clone.ends(0)
    contains("output", clone.text(), "R")
    equal("messages of the load", clone.errors(), "")
    prepared = Rooted(t, root, "prepared.sock")
    prepared.put("/drives/rootfs", {"drive_id": "rootfs", "is_root_device": True, "path_on_host": "/disk"})
    prepared.put("/entropy", {})
    prepared.refused("PUT", "/snapshot/load", body, "boot-specific")
    prepared.put("/snapshot/prepare", {})
    prepared.refused("PUT", "/snapshot/load", body, "it has 1 virtio devices")


# A memory file that shrinks ---------------------------------------------------------------------------


@test("native", "snapshot-memory-cut-short-under-a-clone", chroot=False)
@test("native", "snapshot-memory-cut-short-in-a-chroot", chroot=True)
def memory_cut_short(t, chroot):
    """The guest reads a page that is gone for ever: an end with the file's name, within seconds, not a hang."""
    vm = start(t)
    save(t, vm)
    vm.end()
    if chroot:
        root = rooted(t)
        for name in ("state", "memory", "disk"):
            shutil.move(t.path(name), os.path.join(root, name))
            os.chown(os.path.join(root, name), UID, UID)
        memory, clone = os.path.join(root, "memory"), Rooted(t, root, "clone.sock")
        disk = [{"drive_id": "rootfs", "path_on_host": "/disk"}]
        clone.put("/snapshot/load", {"snapshot_path": "/state", "resume_vm": True, "drive_overrides": disk,
                                     "mem_backend": {"backend_type": "File", "backend_path": "/memory"}})
    else:
        memory, clone = t.path("memory"), load(t)
    time.sleep(0.2)
    holds("a clone that runs", clone.process.poll() is None)
    os.truncate(memory, 4096)
    clone.ends(149, 10)
    contains("messages", clone.errors(), "memory was cut short while the guest was running from it")
    equal("lines of messages:", len(clone.errors().splitlines()), 1)


@test("native")
def snapshot_memory_cut_short_while_paused(t):
    """Nobody runs, so nobody trips over it; the clone is still not to be had any more, and ends by name."""
    vm = start(t)
    save(t, vm)
    vm.end()
    clone = load(t, resume_vm=False)
    os.truncate(t.path("memory"), 4096)
    clone.ends(149, 10)
    contains("messages", clone.errors(), t.path("memory"), "was cut short")


@test("native")
def snapshot_of_long_names(t):
    """Every name that a device can be given has a place in a snapshot."""
    name = "d" * 900
    vm = start(t, drive=False, before=lambda vm: [
        vm.put(f"/drives/{name}", {"drive_id": name, "is_root_device": False, "path_on_host": t.file("disk", size=1 << 20)}),
        vm.refused("PUT", "/vsock", {"guest_cid": 3, "uds_path": t.path("v"), "vsock_id": "v" * 1024}, "1024 bytes"),
        vm.put("/vsock", {"guest_cid": 3, "uds_path": t.path("v"), "vsock_id": "v" * 1023})])
    save(t, vm)
    vm.end()
    os.unlink(t.path("v"))
    release(t)
    clone = load(t, resume_vm=False)
    equal("drives", [drive["drive_id"] for drive in clone.get("/vm/config")["drives"]], [name])
    clone.patch("/vm", {"state": "Resumed"})
    clone.ends(0)
