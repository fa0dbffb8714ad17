"""What becomes of a process that was prepared: it tracks when the load says so, and is saved as who it is by then."""

import copy
import os
import signal
import subprocess
import time

from api import Served
from harness import contains, equal, holds, test
from lab_net import open_tap
from native_snapshot import (create, load, load_body, memory, merge_is_all, need_kvm, release, run_a_little, save, start,
                             start_writing)
from native_snapshot_devices import own_network
from native_snapshot_hostile import read_state, write_state
from native_snapshot_identity import opened


def prepare(t, drive=True, name="prepared.sock", **machine):
    clone = Served(t, name=name)
    clone.put("/machine-config", {"vcpu_count": 1, "mem_size_mib": 128, **machine})
    if drive:
        clone.put("/drives/rootfs", {"drive_id": "rootfs", "is_root_device": True, "path_on_host": t.path("disk")})
    clone.put("/snapshot/prepare", {})
    return clone


def saved(t, **shape):
    vm = start(t, **shape)
    save(t, vm)
    vm.end()
    release(t)


@test("native", "snapshot-prepared-that-begins-to-track", prepared=False)
@test("native", "snapshot-prepared-that-tracks", prepared=True)
def snapshot_prepared_tracks(t, prepared):
    """Whether it was prepared for it or is told so by the load: a diff and what it is based on are all of it."""
    vm = start_writing(t, track=False)
    vm.patch("/vm", {"state": "Paused"})
    create(t, vm, "")
    vm.end()
    clone = prepare(t, drive=False, track_dirty_pages=prepared)
    clone.put("/snapshot/load", load_body(t, resume_vm=False, track_dirty_pages=not prepared))
    equal("whether it tracks", clone.get("/machine-config")["track_dirty_pages"], True)
    run_a_little(clone)
    create(t, clone, "1", "Diff")
    create(t, clone, "all")
    merge_is_all(t, "", "1")
    holds("something was written", memory(t, "all") != memory(t, ""))
    clone.end()


@test("native")
def snapshot_prepared_loads_again(t):
    """A load that was refused is no part of the trace of the next."""
    saved(t)
    clone = prepare(t)
    clone.refused("PUT", "/snapshot/load", load_body(t, snapshot_path=t.path("none")), "No such file")
    time.sleep(0.4)
    clone.put("/snapshot/load", load_body(t, resume_vm=False))
    moments = {one["moment"]: one["at_ns"] for one in clone.get("/vm/trace")["moments"]}
    holds("it was asked for after it was prepared", moments["start asked for"] - moments["vCPUs and devices"] > 4e8, moments)
    holds("in this order", moments["start asked for"] < moments["snapshot read"] < moments["snapshot taken up"], moments)
    clone.end()


@test("native")
def snapshot_prepared_whose_tracked_load_failed(t):
    """It tracks no more than if it had never been asked."""
    saved(t)
    clone = prepare(t)
    drives = [{"drive_id": "rootfs", "path_on_host": t.path("none")}]
    clone.refused("PUT", "/snapshot/load", load_body(t, track_dirty_pages=True, drive_overrides=drives), "No such file")
    bodies = read_state(t)
    spoilt = copy.deepcopy(bodies)
    next(fields for name, _, _, fields in spoilt if name == "vmgenid")["gpa"] = 0xfffffff8
    write_state(t, spoilt)
    clone.refused("PUT", "/snapshot/load", load_body(t, track_dirty_pages=True), "vmgenid: no guest memory at")
    write_state(t, bodies)
    equal("whether it tracks", clone.get("/machine-config")["track_dirty_pages"], False)
    clone.put("/snapshot/load", load_body(t, resume_vm=False))
    equal("whether it tracks", clone.get("/machine-config")["track_dirty_pages"], False)
    clone.refused("PUT", "/snapshot/create", {"snapshot_path": t.path("s"), "mem_file_path": t.path("m"),
                                              "snapshot_type": "Diff"}, "a diff snapshot needs")
    clone.patch("/vm", {"state": "Resumed"})
    contains("output", clone.ends(0).text(), "R")


@test("native")
def snapshot_prepared_after_a_drive_was_replaced(t):
    """What is saved is the file that the drive has now, not the one that was loaded."""
    saved(t)
    clone = prepare(t)
    clone.put("/snapshot/load", load_body(t, resume_vm=False))
    for number in range(20):
        path = t.file(f"disk-{number}-" + "x" * 50, size=1 << 20)
        clone.patch("/drives/rootfs", {"drive_id": "rootfs", "path_on_host": path})
    save(t, clone, "2")
    clone.end()
    again = load(t, "2", sock="again.sock", resume_vm=False)
    equal("its image", again.get("/vm/config")["drives"][0]["path_on_host"], path)
    again.patch("/vm", {"state": "Resumed"})
    contains("output", again.ends(0).text(), "R")


@test("native", "snapshot-prepared-and-terminated", number=signal.SIGTERM)
@test("native", "snapshot-prepared-and-interrupted", number=signal.SIGINT)
def snapshot_prepared_and_ended(t, number):
    """By a signal, as any other process: nothing has run yet, and nothing is left."""
    need_kvm()
    open(t.path("disk"), "wb").truncate(1 << 20)
    clone = prepare(t)
    clone.signal(number)
    clone.ends(128 + number)
    contains("messages", clone.errors(), f"ended by signal {number.name}")
    holds("the socket is gone", not os.path.exists(clone.path))


def nets(vm, *taps):
    for number, tap in enumerate(taps):
        vm.put(f"/network-interfaces/eth{number}", {"iface_id": f"eth{number}", "host_dev_name": tap,
                                                    "guest_mac": f"02:00:00:00:44:0{number}"})


def on(*taps):
    """As a load's overrides: the first interface on the first tap, and so on; None: as it is."""
    return [{"iface_id": f"eth{number}", "host_dev_name": tap} for number, tap in enumerate(taps) if tap]


def taps_of(vm):
    return [net["host_dev_name"] for net in vm.get("/vm/config")["network-interfaces"]]


@test("native", "snapshot-prepared-that-exchanges-taps", taps=("tap1", "tap0", "tap2"))
@test("native", "snapshot-prepared-that-turns-taps", taps=("tap1", "tap2", "tap0"))
@test("native", "snapshot-prepared-that-hands-taps-on", taps=("tap1", "tap2", "tap3"))
def snapshot_prepared_exchanges_taps(t, taps):
    """Of its own interfaces, and back when the load fails; no tap has two, and none is left open."""
    need_kvm()
    own_network()
    for name in ("tap2", "tap3"):
        subprocess.run(["ip", "tuntap", "add", name, "mode", "tap"], check=True)
    saved(t, drive=False, before=lambda vm: nets(vm, "tap0", "tap1", "tap2"))
    clone = Served(t, name="prepared.sock")
    nets(clone, "tap0", "tap1", "tap2")
    clone.put("/snapshot/prepare", {})
    before = sorted(opened(clone))
    for overrides, why in ((on("tap1", None, None), "net eth0: tap tap1 is in use"), (on("tap3", "tap3", None), "net eth1: tap tap3 is in use"),
                           (on("tap1", "tap0", "tap1"), "net eth2: tap tap1 is in use"), (on(*taps[:2], "no/such"), "no/such")):
        clone.refused("PUT", "/snapshot/load", load_body(t, network_overrides=overrides), why)
        equal("open files", sorted(opened(clone)), before)
    bodies = read_state(t)
    spoilt = copy.deepcopy(bodies)
    next(fields for name, _, _, fields in spoilt if name == "vmgenid")["gpa"] = 0xfffffff8
    write_state(t, spoilt)
    for _ in range(3):
        clone.refused("PUT", "/snapshot/load", load_body(t, network_overrides=on(*taps)), "vmgenid: no guest memory at")
        equal("open files", sorted(opened(clone)), before)
    write_state(t, bodies)
    equal("its taps", taps_of(clone), ["tap0", "tap1", "tap2"])
    clone.put("/snapshot/load", load_body(t, resume_vm=False, network_overrides=on(*taps)))
    equal("its taps", taps_of(clone), list(taps))
    for name in {"tap0", "tap1", "tap2", "tap3"} - set(taps):
        os.close(open_tap(name))  # nobody has it
    clone.patch("/vm", {"state": "Resumed"})
    contains("output", clone.ends(0).text(), "R")


@test("native")
def snapshot_prepared_of_more_interfaces_than_devices(t):
    """A state whose configuration lists an interface that is no device, with the metadata service behind it."""
    need_kvm()
    own_network()

    def shape(vm):
        nets(vm, "tap0")
        vm.put("/mmds/config", {"network_interfaces": ["eth0"]})

    saved(t, drive=False, before=shape)
    clone = Served(t, name="prepared.sock")
    shape(clone)
    clone.put("/snapshot/prepare", {})
    bodies = read_state(t)
    spoilt = copy.deepcopy(bodies)
    listed = next(fields for name, _, _, fields in spoilt if name == "config")["nets"]
    listed.append({**listed[0], "id": "eth1"})
    write_state(t, spoilt)
    clone.refused("PUT", "/snapshot/load", load_body(t), "it has 2 interfaces, the machine was prepared with 1")
    write_state(t, bodies)
    clone.put("/snapshot/load", load_body(t, resume_vm=False))
    clone.end()


@test("native")
def snapshot_prepared_in_another_order(t):
    """No drive of the guest gets the image of another of its drives; drives of other names are what they are."""
    def drives(vm, *names):
        for name in names:
            vm.put(f"/drives/{name}", {"drive_id": name, "is_root_device": False, "path_on_host": t.path(name)})

    for name in ("a", "b", "c", "d"):
        t.file(name, size=1 << 20)
    saved(t, drive=False, before=lambda vm: drives(vm, "a", "b"))
    for number, names in enumerate((("b", "a"), ("c", "a"), ("c", "b"), ("c", "d"))):
        clone = Served(t, name=f"{number}.sock")
        drives(clone, *names)
        clone.put("/snapshot/prepare", {})
        if "a" in names:
            clone.refused("PUT", "/snapshot/load", load_body(t), "device 0 is a, the machine was prepared with a as device 1")
        else:
            clone.put("/snapshot/load", load_body(t, resume_vm=False))
        clone.end()


@test("native")
def snapshot_prepare_says_what_it_takes(t):
    """A shape is not told in the request itself; and what is not done any more has a reason that fits."""
    vm = Served(t)
    vm.refused("PUT", "/snapshot/prepare", {"vcpu_count": 2}, "unknown field `vcpu_count`, there are no fields")
    vm.put("/snapshot/prepare", {})
    for method, path, body in (("PUT", "/snapshot/prepare", {}), ("PATCH", "/vm", {"state": "Paused"}),
                               ("PUT", "/actions", {"action_type": "InstanceStart"})):
        vm.refused(method, path, body, "not supported in a process that was prepared for a snapshot")
